//! Walking regorus' syntax tree.
//!
//! The tree is regorus' own (`regorus::unstable`), which is why its version is pinned: names that
//! change there stop this file from compiling instead of changing an answer.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::{
    Engine,
    unstable::{Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Source},
    utils::limits::PolicyLengthConfig,
};

use super::error::{EngineError, LoadError};

/// Characters in a line. Rewriting makes lines longer, so this is far above what a person writes.
const MAX_COLUMNS: u32 = 1 << 20;
/// Bytes of a file as the author wrote it.
pub(crate) const MAX_FILE: usize = 1 << 20;
const MAX_LINES: usize = 20_000;

/// Limits for the engine; a rewritten file may be somewhat larger than what was admitted.
pub(crate) fn lengths() -> PolicyLengthConfig {
    const fn size(n: usize) -> NonZeroUsize {
        match NonZeroUsize::new(n) {
            Some(n) => n,
            None => NonZeroUsize::MIN,
        }
    }
    PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_COLUMNS).unwrap_or(NonZeroU32::MIN),
        max_file_bytes: size(4 * MAX_FILE),
        max_lines: size(MAX_LINES),
    }
}

/// Parses one file that was admitted.
///
/// # Errors
/// The first thing that is not Rego v1, with its place.
pub(crate) fn parse(path: &str, text: &str) -> Result<Ref<Module>, LoadError> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(lengths());
    engine.add_policy(path.to_owned(), text.to_owned()).map_err(|e| located(path, text, &format!("{e}")))?;
    engine.get_modules().first().cloned().ok_or_else(|| LoadError::new(path, "not parsed"))
}

/// An error of regorus about `text` as a [`LoadError`].
pub(crate) fn located(path: &str, text: &str, error: &str) -> LoadError {
    let e = EngineError::read(error);
    let help = e.message.contains("must have a body or assignment").then_some("write `f(\"a\") := true`");
    let out = match e.path {
        Some(_) => LoadError::at_line(path, text, e.line, e.column, e.message),
        None => LoadError::new(path, e.message),
    };
    match help {
        Some(help) => out.help(help),
        None => out,
    }
}

/// A walk over statements and expressions, outermost first.
pub(crate) trait Visit {
    fn statement(&mut self, _stmt: &LiteralStmt) {}
    fn query(&mut self, _query: &Query) {}
    fn expr(&mut self, _expr: &Ref<Expr>) {}
}

pub(crate) fn walk_module(module: &Module, v: &mut impl Visit) {
    for rule in &module.policy {
        walk_rule(rule, v);
    }
}

pub(crate) fn walk_rule(rule: &Rule, v: &mut impl Visit) {
    match rule {
        Rule::Spec { head, bodies, .. } => {
            ast_head(head, v);
            for body in bodies {
                body.assign.iter().for_each(|a| walk_expr(&a.value, v));
                walk_query(&body.query, v);
            }
        }
        Rule::Default { args, value, .. } => {
            args.iter().for_each(|a| walk_expr(a, v));
            walk_expr(value, v);
        }
    }
}

/// The name in a head is no use of the rule; its indexes, parameters and value are expressions.
fn ast_head(head: &RuleHead, v: &mut impl Visit) {
    let (refr, rest): (_, Vec<&Ref<Expr>>) = match head {
        RuleHead::Compr { refr, assign, .. } => (refr, assign.iter().map(|a| &a.value).collect()),
        RuleHead::Set { refr, key, .. } => (refr, key.iter().collect()),
        RuleHead::Func { refr, args, assign, .. } => {
            (refr, args.iter().chain(assign.iter().map(|a| &a.value)).collect())
        }
    };
    children(refr).into_iter().chain(rest).for_each(|e| walk_expr(e, v));
}

/// What a rule's head gives: its value, the item of a set.
pub(crate) fn head_value(head: &RuleHead) -> Option<&Ref<Expr>> {
    match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref().map(|a| &a.value),
        RuleHead::Set { key, .. } => key.as_ref(),
    }
}

/// Nodes on the longest path from the rule to a leaf of its tree: how deep evaluating it recurses.
pub(crate) fn depth(rule: &Rule) -> usize {
    fn of_expr(expr: &Ref<Expr>) -> usize {
        let below = children(expr).into_iter().map(of_expr).max().unwrap_or(0);
        let below = below.max(comprehension(expr).map_or(0, of_query));
        1 + match expr.as_ref() {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => below.max(links(refr)),
            _ => below,
        }
    }
    fn links(expr: &Expr) -> usize {
        match expr {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => 1 + links(refr),
            _ => 1,
        }
    }
    fn of_query(query: &Query) -> usize {
        let of_stmt = |stmt: &LiteralStmt| {
            let withs = stmt.with_mods.iter().map(|w| of_expr(&w.r#as)).max().unwrap_or(0);
            withs.max(match &stmt.literal {
                Literal::SomeVars { .. } => 0,
                Literal::SomeIn { collection, value, .. } => of_expr(collection).max(of_expr(value)),
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => of_expr(expr),
                Literal::Every { domain, query, .. } => of_expr(domain).max(of_query(query)),
            })
        };
        // Statements of a query are evaluated inside one another.
        query.stmts.iter().map(of_stmt).max().unwrap_or(0) + query.stmts.len()
    }
    match rule {
        Rule::Spec { bodies, .. } => bodies.iter().map(|b| of_query(&b.query)).max().unwrap_or(1),
        Rule::Default { value, .. } => of_expr(value),
    }
}

pub(crate) fn walk_query(query: &Query, v: &mut impl Visit) {
    v.query(query);
    for stmt in &query.stmts {
        walk_stmt(stmt, v);
    }
}

pub(crate) fn walk_stmt(stmt: &LiteralStmt, v: &mut impl Visit) {
    v.statement(stmt);
    match &stmt.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { key, value, collection, .. } => {
            key.iter().for_each(|k| walk_expr(k, v));
            walk_expr(value, v);
            walk_expr(collection, v);
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => walk_expr(expr, v),
        Literal::Every { domain, query, .. } => {
            walk_expr(domain, v);
            walk_query(query, v);
        }
    }
    for with in &stmt.with_mods {
        walk_expr(&with.refr, v);
        walk_expr(&with.r#as, v);
    }
}

pub(crate) fn walk_expr(expr: &Ref<Expr>, v: &mut impl Visit) {
    v.expr(expr);
    for child in children(expr) {
        walk_expr(child, v);
    }
    if let Some(query) = comprehension(expr) {
        walk_query(query, v);
    }
}

/// The query of a comprehension.
pub(crate) fn comprehension(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::ArrayCompr { query, .. } | Expr::SetCompr { query, .. } | Expr::ObjectCompr { query, .. } => {
            Some(query)
        }
        _ => None,
    }
}

/// Direct subexpressions; the query of a comprehension is not among them. A reference is one thing:
/// its children are its indexes at any depth, and its root unless that is a variable.
pub(crate) fn children(expr: &Expr) -> Vec<&Ref<Expr>> {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => vec![],
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().collect(),
        Expr::Object { fields, .. } => fields.iter().flat_map(|(_, k, v)| [k, v]).collect(),
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![term],
        Expr::ObjectCompr { key, value, .. } => vec![key, value],
        Expr::Call { fcn, params, .. } => std::iter::once(fcn).chain(params).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => inner(refr),
        Expr::RefBrack { refr, index, .. } => {
            let mut parts = inner(refr);
            parts.push(index);
            parts
        }
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => key.iter().chain([value, collection]).collect(),
    }
}

/// The children of a reference that goes on.
fn inner(refr: &Ref<Expr>) -> Vec<&Ref<Expr>> {
    match refr.as_ref() {
        Expr::Var { .. } => vec![],
        Expr::RefDot { .. } | Expr::RefBrack { .. } => children(refr),
        _ => vec![refr],
    }
}

/// A reference as its static parts: `input.a["b"].c[x]` is (`[input, a, b, c]`, false): the second
/// says whether that is the whole of it. `None` where the root is not a variable.
pub(crate) fn path(expr: &Expr) -> Option<(Vec<String>, bool)> {
    match expr {
        Expr::Var { span, .. } => Some((vec![span.text().to_owned()], true)),
        Expr::RefDot { refr, field, .. } => {
            let (mut p, whole) = path(refr)?;
            if whole {
                p.push(field.0.text().to_owned());
            }
            Some((p, whole))
        }
        Expr::RefBrack { refr, index, .. } => {
            let (mut p, whole) = path(refr)?;
            match (whole, index.as_ref()) {
                (true, Expr::String { value, .. } | Expr::RawString { value, .. }) => {
                    p.push(value.as_string().ok()?.to_string());
                    Some((p, true))
                }
                _ => Some((p, false)),
            }
        }
        _ => None,
    }
}

/// The variable at the root of a reference.
pub(crate) fn root(expr: &Expr) -> &Expr {
    match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => root(refr),
        other => other,
    }
}

/// The reference in a rule's head: `deny`, `a.b`, `latest[login]`.
pub(crate) fn head(rule: &Rule) -> &Ref<Expr> {
    match rule {
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => refr,
    }
}

/// Number of parameters, if the rule is a function.
pub(crate) fn arity(rule: &Rule) -> Option<usize> {
    match rule {
        Rule::Spec { head: RuleHead::Func { args, .. }, .. } => Some(args.len()),
        Rule::Default { args, .. } if !args.is_empty() => Some(args.len()),
        _ => None,
    }
}

/// `controls.x` of `package controls.x`, as parts.
pub(crate) fn package(module: &Module) -> Vec<String> {
    path(&module.package.refr).map(|(p, _)| p).unwrap_or_default()
}

/// `a.b.c`; parts that are no identifiers are quoted.
pub(crate) fn dotted(parts: &[String]) -> String {
    let mut out = String::new();
    for p in parts {
        match is_identifier(p) {
            true if out.is_empty() => out.push_str(p),
            true => out.extend([".", p]),
            false => out.push_str(&format!("[{p:?}]")),
        }
    }
    out
}

pub(crate) fn is_identifier(s: &str) -> bool {
    let mut bytes = s.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A source for positions of things that have none.
pub(crate) fn nowhere() -> Option<Source> {
    Source::from_contents("builtin".to_owned(), " ".to_owned()).ok()
}
