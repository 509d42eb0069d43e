//! Why a rule holds or not: the statement that did not hold, and the values known before it.
//!
//! The engine says only what a rule's value is. So each body is asked in pieces: for every prefix of
//! its statements a rule is written below the author's text (in OPA's meaning, as the engine reads it)
//! that collects what was known by then. The first prefix without a solution names the statement.
//! Statements are shown in the order of the text, though the engine may try them in another.

use std::collections::BTreeMap;

use regorus::{
    Value,
    unstable::{Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleBody},
};

use super::{
    ast,
    bundle::Checked,
    engine::{self, Evaluator, Template},
    extent::Brackets,
    names::Names,
    rewrite::Fresh,
};
use crate::time::Time;

mod groups;
mod reading;
mod text;

use groups::{Group, groups, value_group};
use reading::read_body;
pub use text::{Style, text};

/// Rules below rules that are told.
const MAX_DEPTH: usize = 3;
/// Rules of one name, or names in one statement, that are followed.
const MAX_BELOW: usize = 6;

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
