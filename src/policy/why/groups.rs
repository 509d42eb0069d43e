//! The statements of a body, each with what stands for it in the text that the engine reads.

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleBody, Span};

use super::super::{
    ast,
    extent::{Brackets, statement_text},
};

/// Parts of a statement whose values are shown.
const MAX_PARTS: usize = 6;
/// Characters of one value.
const MAX_VALUE: usize = 240;

/// A statement of the author with what stands for it in the text that the engine reads.
pub(super) struct Group<'c> {
    /// `None`: the value of the rule.
    pub stmt: Option<&'c LiteralStmt>,
    pub line: u32,
    pub column: u32,
    pub text: String,
    /// Statements to the engine.
    pub engine: String,
    pub withs: String,
    /// Statements that the `with`s use.
    pub lifts: String,
    pub parts: Vec<String>,
    /// Variables that it binds.
    pub binds: Vec<String>,
}

/// Pairs the author's statements with what stands for them. Names that the author's text does not have
/// were made by the rewriting, and belong to the statement that follows.
pub(super) fn groups<'c>(
    author: &'c Module,
    parsed: &Module,
    brackets: &Brackets,
    engine_brackets: &Brackets,
    theirs: &'c RuleBody,
    ours: &RuleBody,
) -> Vec<Group<'c>> {
    let (text, engine_text) = (author.package.span.source.contents(), parsed.package.span.source.contents());
    let mut out: Vec<Group<'c>> = Vec::new();
    let mut statements = theirs.query.stmts.iter();
    let mut lifted: Vec<(String, String)> = Vec::new();
    for stmt in &ours.query.stmts {
        let written = statement_text(engine_text, stmt).to_owned();
        if let Some(name) = generated(stmt, text) {
            lifted.push((name, written));
            continue;
        }
        let Some(original) = statements.next() else { break };
        let withs = stmt
            .with_mods
            .iter()
            .map(|w| {
                let (start, end) = engine_brackets.extent(&w.r#as);
                let head = engine_text.get(w.span.start as usize..start).unwrap_or_default();
                format!(" {head}{}", engine_text.get(start..end).unwrap_or_default())
            })
            .collect::<String>();
        let used: Vec<&str> =
            lifted.iter().filter(|(n, _)| withs.contains(n)).map(|(_, w)| w.as_str()).collect();
        let all: Vec<&str> = lifted.iter().map(|(_, w)| w.as_str()).chain([written.as_str()]).collect();
        out.push(Group {
            stmt: Some(original),
            line: original.span.line,
            column: column(&original.span),
            text: one_line(statement_text(text, original)),
            engine: all.join("\n"),
            lifts: used.join("\n"),
            withs,
            parts: parts(text, brackets, original),
            binds: binds(original),
        });
        lifted.clear();
    }
    out
}

fn generated(stmt: &LiteralStmt, author: &str) -> Option<String> {
    let Literal::Expr { expr, .. } = &stmt.literal else { return None };
    let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() else { return None };
    let Expr::Var { span, .. } = lhs.as_ref() else { return None };
    let name = span.text();
    (name.starts_with("__") && !author.contains(name)).then(|| name.to_owned())
}

/// What comes of it once all statements hold.
pub(super) fn value_group<'c>(
    author: &Module,
    brackets: &Brackets,
    rule: &Rule,
    value: Option<&Ref<Expr>>,
) -> Group<'c> {
    let text = author.package.span.source.contents();
    let span = value.map_or_else(|| ast::head(rule).span(), |v| v.span());
    let written = value.map(|v| slice(text, brackets, v)).unwrap_or_default();
    Group {
        stmt: None,
        line: span.line,
        column: column(span),
        text: one_line(&written),
        engine: String::new(),
        withs: String::new(),
        lifts: String::new(),
        parts: if written.is_empty() { vec![] } else { vec![written] },
        binds: vec![],
    }
}

/// In characters, from 1: the engine counts a tab as several.
fn column(span: &Span) -> u32 {
    let before = span.source.contents().get(..span.start as usize).unwrap_or_default();
    let in_line = before.rsplit('\n').next().unwrap_or_default();
    u32::try_from(in_line.chars().count()).unwrap_or(u32::MAX - 1) + 1
}

fn slice(text: &str, brackets: &Brackets, expr: &Expr) -> String {
    let (start, end) = brackets.extent(expr);
    text.get(start..end).unwrap_or_default().to_owned()
}

pub(super) fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    short(&joined)
}

pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Parts of a statement that have a value of their own worth showing.
fn parts(text: &str, brackets: &Brackets, stmt: &LiteralStmt) -> Vec<String> {
    let mut found = Parts { text, brackets, out: vec![] };
    match &stmt.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { collection, .. } => found.whole(collection),
        Literal::Every { domain, .. } => found.whole(domain),
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => found.of(expr),
    }
    found.out.truncate(MAX_PARTS);
    found.out
}

struct Parts<'t> {
    text: &'t str,
    brackets: &'t Brackets,
    out: Vec<String>,
}

impl Parts<'_> {
    fn whole(&mut self, expr: &Ref<Expr>) {
        let part = slice(self.text, self.brackets, expr);
        if !part.is_empty() && !self.out.contains(&part) {
            self.out.push(part);
        }
    }

    fn of(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { span, .. } if matches!(span.text(), "input" | "data" | "_") => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.whole(expr),
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => self.whole(expr),
            Expr::Call { fcn, params, .. } => {
                if fcn.span().text() != "print" {
                    self.whole(expr);
                }
                params.iter().for_each(|p| self.of(p));
            }
            Expr::ArithExpr { .. } | Expr::BinExpr { .. } => {
                self.whole(expr);
                ast::children(expr).into_iter().for_each(|c| self.of(c));
            }
            // The left side is what is made.
            Expr::AssignExpr { op: AssignOp::ColEq, rhs, .. } => self.of(rhs),
            _ => ast::children(expr).into_iter().for_each(|c| self.of(c)),
        }
    }
}

/// Variables that surely have a value after the statement.
fn binds(stmt: &LiteralStmt) -> Vec<String> {
    fn pattern(expr: &Ref<Expr>, out: &mut Vec<String>) {
        match expr.as_ref() {
            Expr::Var { span, .. } if span.text() != "_" => out.push(span.text().to_owned()),
            Expr::Array { items, .. } => items.iter().for_each(|i| pattern(i, out)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, v)| pattern(v, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    match &stmt.literal {
        Literal::SomeIn { key, value, .. } => key.iter().chain([value]).for_each(|e| pattern(e, &mut out)),
        Literal::Expr { expr, .. } => {
            if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                pattern(lhs, &mut out);
            }
        }
        _ => {}
    }
    out
}
