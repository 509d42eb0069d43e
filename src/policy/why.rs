//! Why a rule holds or not: the statement that did not hold, and the values known before it.
//!
//! The engine says only what a rule's value is. So each body is asked in pieces: for every prefix of
//! its statements a rule is written below the author's text (in OPA's meaning, as the engine reads it)
//! that collects what was known by then. The first prefix without a solution names the statement.
//! Statements are shown in the order of the text, though the engine may try them in another.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Value,
    unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleBody, Span},
};

use super::{
    ast,
    bundle::Checked,
    engine::{self, Evaluator, Template},
    extent::{Brackets, statement_text},
    names::Names,
    rewrite::Fresh,
};
use crate::time::Time;

mod text;

pub use text::{Style, text};

/// Rules below rules that are told.
const MAX_DEPTH: usize = 3;
/// Ways to satisfy the statements before the one that did not hold.
const MAX_ATTEMPTS: usize = 3;
/// Parts of a statement whose values are shown.
const MAX_PARTS: usize = 6;
/// Rules of one name, or names in one statement, that are followed.
const MAX_BELOW: usize = 6;
/// Characters of one value.
const MAX_VALUE: usize = 240;

/// One definition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// `data.controls.reviews.deny`
    pub rule: String,
    pub path: String,
    pub line: u32,
    /// The first, then the `else` ones.
    pub bodies: Vec<Body>,
}

/// One body of a rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Body {
    pub line: u32,
    /// What did not hold; `None`: all did.
    pub failed: Option<Statement>,
    /// What was known where all held; the only part is the value that comes of it.
    pub held: Vec<Attempt>,
    /// How many more ways there were.
    pub more: usize,
}

/// A statement that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Statement {
    pub line: u32,
    pub column: u32,
    /// As the author wrote it.
    pub text: String,
    /// What went wrong, if it was an error and not only "did not hold".
    pub error: Option<String>,
    pub attempts: Vec<Attempt>,
    pub more: usize,
    /// The rules that it asks.
    pub below: Vec<Told>,
}

/// What was known when a statement was tried.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// Variables, in the order of the text.
    pub known: Vec<(String, String)>,
    /// Parts of the statement; `None`: undefined.
    pub parts: Vec<(String, Option<String>)>,
}

/// Explains definitions of rules under one input. `None`: could not be taken apart.
pub(crate) fn explain(
    checked: &Checked,
    names: &Names<'_>,
    rules: &[&Rule],
    input: &Value,
    time: Time,
) -> Vec<Option<Told>> {
    let mut why = Why { checked, names, parsed: BTreeMap::new(), nodes: Vec::new() };
    let mut level: Vec<usize> = Vec::new();
    let places: Vec<Option<usize>> = rules.iter().map(|rule| why.node(vec![], rule)).collect();
    level.extend(places.iter().flatten());
    for depth in 0..=MAX_DEPTH {
        if level.is_empty() {
            break;
        }
        why.answer(&level, input, time);
        level = if depth < MAX_DEPTH { why.descend(&level) } else { vec![] };
    }
    places.into_iter().map(|place| place.and_then(|p| why.told(p))).collect()
}

struct Why<'c, 'n> {
    checked: &'c Checked,
    names: &'c Names<'n>,
    /// What the engine reads, taken apart, with its brackets.
    parsed: BTreeMap<usize, Option<(Ref<Module>, Brackets, Brackets)>>,
    nodes: Vec<Node<'c>>,
}

/// The statements around a question: it is asked once they hold.
#[derive(Clone)]
struct Frame {
    module: usize,
    before: String,
    withs: String,
}

struct Node<'c> {
    frames: Vec<Frame>,
    module: usize,
    rule: &'c Rule,
    bodies: Vec<Vec<Group<'c>>>,
    answers: Option<Vec<Body>>,
    /// Body and node of the rules that a failed statement asks.
    below: Vec<(usize, usize)>,
}

/// A statement of the author with what stands for it in the text that the engine reads.
struct Group<'c> {
    /// `None`: the value of the rule.
    stmt: Option<&'c LiteralStmt>,
    line: u32,
    column: u32,
    text: String,
    /// Statements to the engine.
    engine: String,
    withs: String,
    /// Statements that the `with`s use.
    lifts: String,
    parts: Vec<String>,
    /// Variables that it binds.
    binds: Vec<String>,
}

impl<'c> Why<'c, '_> {
    fn node(&mut self, frames: Vec<Frame>, rule: &Rule) -> Option<usize> {
        let find = |m: &Ref<Module>| m.policy.iter().position(|r| std::ptr::eq(r.as_ref(), rule));
        let (module, index) =
            self.checked.modules.iter().enumerate().find_map(|(i, m)| Some((i, find(m)?)))?;
        let author: &'c Module = self.checked.modules.get(module)?.as_ref();
        let rule: &'c Rule = author.policy.get(index)?.as_ref();
        if matches!(rule, Rule::Default { .. }) || ast::arity(rule).is_some() {
            return None;
        }
        let bodies = self.bodies(module, index, author, rule)?;
        self.nodes.push(Node { frames, module, rule, bodies, answers: None, below: vec![] });
        Some(self.nodes.len() - 1)
    }

    fn bodies(
        &mut self,
        module: usize,
        index: usize,
        author: &'c Module,
        rule: &'c Rule,
    ) -> Option<Vec<Vec<Group<'c>>>> {
        let path = author.package.span.source.file();
        let checked = self.checked;
        let parsed = self.parsed.entry(module).or_insert_with(|| {
            let parsed = ast::parse(path, checked.rewritten.get(path)?).ok()?;
            let brackets = Brackets::new(&parsed.package.span.source);
            Some((parsed, Brackets::new(&author.package.span.source), brackets))
        });
        let (parsed, brackets, engine_brackets) = parsed.as_ref()?;
        let (Rule::Spec { bodies: theirs, head, .. }, Rule::Spec { bodies: ours, .. }) =
            (rule, parsed.policy.get(index)?.as_ref())
        else {
            return None;
        };
        if theirs.is_empty() {
            return Some(vec![vec![value_group(author, brackets, rule, ast::head_value(head))]]);
        }
        let pairs = theirs.iter().zip(ours).enumerate();
        let groups = |(i, (theirs, ours)): (usize, (&'c RuleBody, &RuleBody))| {
            let mut groups = groups(author, parsed, brackets, engine_brackets, theirs, ours);
            let value = if i == 0 { ast::head_value(head) } else { theirs.assign.as_ref().map(|a| &a.value) };
            groups.push(value_group(author, brackets, rule, value));
            groups
        };
        Some(pairs.map(groups).collect())
    }

    /// Asks the engine about these nodes, all at once where that loads.
    fn answer(&mut self, level: &[usize], input: &Value, time: Time) {
        let mut extra = Extra::new(self.checked);
        let asked: Vec<(usize, Vec<Vec<[String; 2]>>)> =
            level.iter().map(|n| (*n, self.questions(&self.nodes[*n], &mut extra))).collect();
        if let Some(template) = extra.load(self.checked) {
            for (node, names) in asked {
                let answers = self.read(&self.nodes[node], &names, &mut template.evaluator(input, time));
                self.nodes[node].answers = Some(answers);
            }
        } else if let [_, _, ..] = level {
            // One that needs another order of its statements must not hide the others.
            level.iter().for_each(|one| self.answer(&[*one], input, time));
        }
    }

    /// Writes the rules that collect what is known before each statement, and after the last.
    fn questions(&self, node: &Node<'_>, extra: &mut Extra) -> Vec<Vec<[String; 2]>> {
        let mut out = Vec::new();
        for groups in &node.bodies {
            let mut names = Vec::new();
            let (mut before, mut known) = (String::new(), Vec::new());
            for group in groups {
                let body = if before.is_empty() { "true".to_owned() } else { before.clone() };
                let variables: Vec<String> = known.iter().map(|v| format!("{v:?}: {v}")).collect();
                let part =
                    |p: &String| format!("[{0} | {1}\n{0} := ({p}){2}]", extra.var, group.lifts, group.withs);
                let parts: Vec<String> = group.parts.iter().map(part).collect();
                let ask = |parts: &str, extra: &mut Extra| {
                    let variables = variables.join(", ");
                    let query = format!("[{{\"v\": {{{variables}}}, \"e\": [{parts}]}} | {body}\n]");
                    self.framed(node, &query, extra)
                };
                names.push([ask(&parts.join(", "), extra), ask("", extra)]);
                before.extend([group.engine.as_str(), "\n"]);
                for bound in &group.binds {
                    if !known.contains(&bound) {
                        known.push(bound);
                    }
                }
            }
            out.push(names);
        }
        out
    }

    /// The full name of a rule that asks inside the statements around a node.
    fn framed(&self, node: &Node<'_>, query: &str, extra: &mut Extra) -> String {
        let mut name = extra.add(self.checked, node.module, query);
        for frame in node.frames.iter().rev() {
            let query = format!("[{0} | {1}\n{0} := {name}{2}]", extra.var, frame.before, frame.withs);
            name = extra.add(self.checked, frame.module, &query);
        }
        name
    }

    fn read(&self, node: &Node<'_>, names: &[Vec<[String; 2]>], evaluator: &mut Evaluator<'_>) -> Vec<Body> {
        let depth = node.frames.len();
        node.bodies
            .iter()
            .zip(names)
            .map(|(groups, names)| read_body(groups, names, depth, evaluator))
            .collect()
    }

    /// The rules that the failed statements of these nodes ask.
    fn descend(&mut self, level: &[usize]) -> Vec<usize> {
        let mut next = Vec::new();
        for &at in level {
            let node = &self.nodes[at];
            let mut wanted = Vec::new();
            for (b, body) in node.answers.iter().flatten().enumerate() {
                let Some(failed) = &body.failed else { continue };
                let groups = &node.bodies[b];
                let Some(i) = groups.iter().position(|g| (g.line, g.column) == (failed.line, failed.column))
                else {
                    continue;
                };
                let Some(stmt) = groups[i].stmt else { continue };
                let before: Vec<&str> = groups[..i].iter().map(|g| g.engine.as_str()).collect();
                let before = format!("{}\n{}", before.join("\n"), groups[i].lifts);
                let before = if before.trim().is_empty() { "true".to_owned() } else { before };
                let frame = Frame { module: node.module, before, withs: groups[i].withs.clone() };
                let frames: Vec<Frame> = node.frames.iter().cloned().chain([frame]).collect();
                let author = &self.checked.modules[node.module];
                for rule in asked_rules(self.names, author, stmt) {
                    wanted.push((b, frames.clone(), rule));
                }
            }
            for (b, frames, rule) in wanted {
                if let Some(below) = self.node(frames, rule) {
                    self.nodes[at].below.push((b, below));
                    next.push(below);
                }
            }
        }
        next
    }

    fn told(&self, at: usize) -> Option<Told> {
        let node = self.nodes.get(at)?;
        let mut bodies = node.answers.clone()?;
        for (b, below) in &node.below {
            if let (Some(failed), Some(told)) = (bodies[*b].failed.as_mut(), self.told(*below)) {
                failed.below.push(told);
            }
        }
        let module = &self.checked.modules[node.module];
        let head = ast::head(node.rule);
        let name = ast::path(head).map(|(p, _)| p).unwrap_or_default();
        let mut full = vec!["data".to_owned()];
        full.extend(ast::package(module).into_iter().chain(name));
        let span = head.span();
        Some(Told { rule: ast::dotted(&full), path: span.source.file().clone(), line: span.line, bodies })
    }
}

/// Text to be put below files.
struct Extra {
    texts: BTreeMap<String, String>,
    fresh: Fresh,
    var: String,
}

impl Extra {
    fn new(checked: &Checked) -> Self {
        let all: String = checked.rewritten.values().map(String::as_str).collect();
        Self {
            texts: BTreeMap::new(),
            fresh: Fresh::new(&all, "__why"),
            var: Fresh::new(&all, "__it").name(),
        }
    }

    /// The full name of a new rule with this value.
    fn add(&mut self, checked: &Checked, module: usize, query: &str) -> String {
        let module = &checked.modules[module];
        let name = self.fresh.name();
        let text = self.texts.entry(module.package.span.source.file().clone()).or_default();
        text.push_str(&format!("\n{name} := {query}\n"));
        let mut full = vec!["data".to_owned()];
        full.extend(ast::package(module));
        full.push(name);
        ast::dotted(&full)
    }

    fn load(&self, checked: &Checked) -> Option<Template> {
        let mut texts = checked.rewritten.clone();
        for (path, more) in &self.texts {
            texts.get_mut(path)?.push_str(more);
        }
        Some(Template::of(engine::prepare(checked, &texts, "").ok()?))
    }
}

/// Pairs the author's statements with what stands for them. Names that the author's text does not have
/// were made by the rewriting, and belong to the statement that follows.
fn groups<'c>(
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
fn value_group<'c>(
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

fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    short(&joined)
}

fn short(text: &str) -> String {
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

/// Definitions of the rules that a statement names outside of comprehensions.
fn asked_rules<'n>(names: &Names<'n>, module: &Module, stmt: &LiteralStmt) -> Vec<&'n Rule> {
    fn refs<'e>(expr: &'e Ref<Expr>, out: &mut Vec<&'e Ref<Expr>>) {
        if matches!(expr.as_ref(), Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
            out.push(expr);
        }
        ast::children(expr).into_iter().for_each(|c| refs(c, out));
    }
    let mut found = Vec::new();
    match &stmt.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { collection, .. } => refs(collection, &mut found),
        Literal::Every { domain, .. } => refs(domain, &mut found),
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => refs(expr, &mut found),
    }
    let mut out: Vec<&'n Rule> = Vec::new();
    for rule in found.into_iter().flat_map(|e| names.rules_of(module, e)) {
        if !out.iter().any(|r| std::ptr::eq(*r, rule)) {
            out.push(rule);
        }
    }
    out.truncate(MAX_BELOW);
    out
}

/// Goes through the prefixes until one has no solution. Each is asked with the parts of the next
/// statement and, should those be an error, without.
fn read_body(
    groups: &[Group<'_>],
    names: &[[String; 2]],
    depth: usize,
    evaluator: &mut Evaluator<'_>,
) -> Body {
    let line = groups.first().map_or(0, |g| g.line);
    let mut before: (Vec<Attempt>, usize) = (vec![], 0);
    for (i, [with_parts, without]) in names.iter().enumerate() {
        let known: Vec<&String> = groups[..i].iter().flat_map(|g| &g.binds).collect();
        let parts = &groups[i].parts;
        let mut ask = |name: &str, parts: &[String]| {
            let asked = evaluator.ask(name.strip_prefix("data.").unwrap_or(name));
            asked.map(|v| attempts(&v, depth, &known, parts))
        };
        let failed = |at: usize, error, (attempts, more)| Body {
            line,
            failed: groups.get(at).map(|g| g.failed(error, attempts, more)),
            held: vec![],
            more: 0,
        };
        match (ask(with_parts, parts), i.checked_sub(1)) {
            (Ok(found), _) if !found.0.is_empty() => before = found,
            (Ok(_), Some(at)) => return failed(at, None, before),
            (Ok(_), None) => return failed(i, None, before),
            (Err(error), at) => match (ask(without, &[]), at) {
                (Ok(found), _) if !found.0.is_empty() => return failed(i, Some(error), found),
                (_, at) => return failed(at.unwrap_or(i), Some(error), before),
            },
        }
    }
    Body { line, failed: None, held: before.0, more: before.1 }
}

/// An error without the `file:line: ` in front.
fn without_place(error: &str) -> &str {
    match error.split_once(": ") {
        Some((place, message)) if place.rsplit_once(':').is_some_and(|(_, n)| n.parse::<u32>().is_ok()) => {
            message
        }
        _ => error,
    }
}

impl Group<'_> {
    fn failed(&self, error: Option<String>, attempts: Vec<Attempt>, more: usize) -> Statement {
        let (line, column, text) = (self.line, self.column, self.text.clone());
        // The place is that of the question, which is below the author's text.
        let error = error.map(|e| without_place(&e).to_owned());
        Statement { line, column, text, error, attempts, more, below: vec![] }
    }
}

/// Takes what the question collected apart. A question inside others is the first element of theirs.
fn attempts(answer: &Value, depth: usize, known: &[&String], parts: &[String]) -> (Vec<Attempt>, usize) {
    let mut answer = answer;
    for _ in 0..depth {
        match answer {
            Value::Array(a) if !a.is_empty() => answer = &a[0],
            _ => return (vec![], 0),
        }
    }
    let Value::Array(found) = answer else { return (vec![], 0) };
    let one = |item: &Value| {
        let (v, e) = (&item["v"], &item["e"]);
        let mut seen = BTreeSet::new();
        Attempt {
            known: known
                .iter()
                .filter(|k| seen.insert(k.as_str()))
                .map(|k| ((**k).clone(), shown(&v[k.as_str()])))
                .collect(),
            parts: parts
                .iter()
                .enumerate()
                .filter(|(_, p)| !known.contains(p))
                .map(|(i, p)| (one_line(p), first(&e[i]).map(shown)))
                .collect(),
        }
    };
    let attempts: Vec<Attempt> = found.iter().take(MAX_ATTEMPTS).map(one).collect();
    (attempts, found.len().saturating_sub(MAX_ATTEMPTS))
}

fn first(values: &Value) -> Option<&Value> {
    match values {
        Value::Array(a) => a.first(),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    short(&serde_json::to_string(value).unwrap_or_else(|_| "?".to_owned()))
}
