//! Which rules are tests, and how each is asked.
//!
//! As `opa test` has it: every *definition* of a rule `test_…` is a test of its own, the second of a
//! name as `test_x#01`; `test_x[name] if …` has cases, and passes if every case that its body comes to
//! is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead};

use super::{
    super::{
        ast::{self, Visit},
        bundle::Checked,
        engine::OWN_PACKAGE,
        extent::{Brackets, statement_text},
        names::{self, Names},
        rewrite::Fresh,
    },
    Outcome, Test,
};

/// A test, and the rules that answer.
pub(super) struct Found<'c> {
    pub test: Test,
    pub rule: &'c Rule,
    /// Without `data.`
    pub ask: String,
    /// The answer is the first element of an array.
    pub wrapped: bool,
    /// Lists the paths of the cases. Without `data.`
    pub cases: Option<String>,
}

/// The tests of a bundle, and the texts in which they can be asked one by one.
pub(super) struct Plan<'c> {
    pub found: Vec<Found<'c>>,
    pub texts: BTreeMap<String, String>,
    pub asking: String,
}

pub(super) fn plan<'c>(checked: &'c Checked, names: &Names<'_>, only: Option<&regex::Regex>) -> Plan<'c> {
    let mut plan = Plan {
        found: vec![],
        texts: checked.rewritten.clone(),
        asking: format!("package {OWN_PACKAGE}\n\n"),
    };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for module in &checked.modules {
        in_module(checked, names, module, only, &mut seen, &mut plan);
    }
    plan
}

/// A part of the reference in a rule's head.
enum Part {
    Name(String),
    Index(Ref<Expr>),
}

fn parts(expr: &Expr) -> Vec<Part> {
    match expr {
        Expr::Var { span, .. } => vec![Part::Name(span.text().to_owned())],
        Expr::RefDot { refr, field, .. } => {
            let mut out = parts(refr);
            out.push(Part::Name(field.0.text().to_owned()));
            out
        }
        Expr::RefBrack { refr, index, .. } => {
            let mut out = parts(refr);
            out.push(match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => match value.as_string() {
                    Ok(name) => Part::Name(name.to_string()),
                    Err(_) => Part::Index(index.clone()),
                },
                _ => Part::Index(index.clone()),
            });
            out
        }
        _ => vec![],
    }
}

fn in_module<'c>(
    checked: &'c Checked,
    names: &Names<'_>,
    module: &'c Ref<Module>,
    only: Option<&regex::Regex>,
    seen: &mut BTreeMap<String, usize>,
    plan: &mut Plan<'c>,
) {
    let path = module.package.span.source.file();
    let package = ast::package(module);
    let mut parsed = None;
    let mut edits: Vec<(usize, usize, String)> = vec![];
    let mut below = String::new();
    let text = checked.rewritten.get(path).map_or("", String::as_str);
    let mut fresh = Fresh::new(text, "__test");
    for (index, rule) in module.policy.iter().enumerate() {
        let Some((at, head, skipped)) = test_name(rule) else { continue };
        let mut full: Vec<String> = std::iter::once("data".to_owned()).chain(package.clone()).collect();
        full.extend(head[..=at].iter().filter_map(|p| match p {
            Part::Name(n) => Some(n.clone()),
            Part::Index(_) => None,
        }));
        let name = ast::dotted(&full);
        let before = *seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
        if only.is_some_and(|r| !r.is_match(&name)) {
            continue;
        }
        let mut found = Found {
            test: test(module, rule, &name, before, skipped),
            rule,
            ask: full[1..].join("."),
            wrapped: false,
            cases: None,
        };
        let dynamic = head.iter().any(|p| matches!(p, Part::Index(_)));
        if before > 0 || dynamic {
            let parsed = parsed.get_or_insert_with(|| {
                let parsed = ast::parse(path, text).ok()?;
                let brackets = Brackets::new(&parsed.package.span.source);
                Some((parsed, brackets))
            });
            if let Some((parsed, brackets)) = parsed
                && let Some(ours) = parsed.policy.get(index)
            {
                if before > 0 && at == 0 {
                    let new = fresh.name();
                    if let Expr::Var { span, .. } = ast::root(ast::head(ours)) {
                        edits.push((span.start as usize, span.end as usize, new.clone()));
                    }
                    full.truncate(package.len() + 1);
                    full.push(new);
                    found.ask = full[1..].join(".");
                } else if before > 0 {
                    found.test.outcome = Outcome::Error("there are two tests of this name".to_owned());
                }
                if dynamic && !matches!(rule.as_ref(), Rule::Spec { head: RuleHead::Set { .. }, .. }) {
                    let new = fresh.name();
                    let head = parts(ast::head(ours));
                    below.push_str(&cases(names, module, text, brackets, ours, &head[at + 1..], &new));
                    let mut cases: Vec<String> = package.clone();
                    cases.push(new);
                    found.cases = Some(cases.join("."));
                }
            }
        }
        // The engine knows `test_x[a]` and not `test_x[a][b]` as a rule `test_x`.
        if head.len() > at + 2
            || (head.len() > at + 1 && !dynamic)
            || !full[1..].iter().all(|p| ast::is_identifier(p))
        {
            wrap(plan, &mut found, &full);
        }
        plan.found.push(found);
    }
    if let Some(text) = plan.texts.get_mut(path) {
        edits.sort_by_key(|e| std::cmp::Reverse(e.0));
        for (start, end, new) in edits {
            text.replace_range(start..end, &new);
        }
        text.push_str(&below);
    }
}

/// What cannot be asked directly: a package whose name is no identifier, an object of several levels.
fn wrap(plan: &mut Plan<'_>, found: &mut Found<'_>, full: &[String]) {
    let n = plan.found.len();
    plan.asking.push_str(&format!("test_{n} := [x | x := {}]\n", ast::dotted(full)));
    found.ask = format!("{OWN_PACKAGE}.test_{n}");
    found.wrapped = true;
    if let Some(cases) = &mut found.cases {
        let mut full = full[..full.len() - 1].to_vec();
        full.extend(cases.rsplit('.').next().map(str::to_owned));
        plan.asking.push_str(&format!("cases_{n} := {}\n", ast::dotted(&full)));
        *cases = format!("{OWN_PACKAGE}.cases_{n}");
    }
}

/// Where in the head's reference the test is named, all its parts, and whether it is skipped.
fn test_name(rule: &Rule) -> Option<(usize, Vec<Part>, bool)> {
    let head = parts(ast::head(rule));
    let named =
        |p: &Part| matches!(p, Part::Name(n) if n.starts_with("test_") || n.starts_with("todo_test_"));
    let ground = head.iter().take_while(|p| matches!(p, Part::Name(_))).count();
    let at = head[..ground].iter().position(named)?;
    let skipped = matches!(&head[at], Part::Name(n) if n.starts_with("todo_"));
    Some((at, head, skipped))
}

fn test(module: &Module, rule: &Rule, name: &str, before: usize, skipped: bool) -> Test {
    let span = ast::head(rule).span();
    let root = ast::root(ast::head(rule)).span();
    Test {
        name: if before > 0 && !skipped { format!("{name}#{before:02}") } else { name.to_owned() },
        package: ast::dotted(&ast::package(module)),
        path: span.source.file().clone(),
        line: root.line,
        column: u32::try_from(
            root.source.line(root.line.saturating_sub(1)).chars().take_while(|c| c.is_whitespace()).count(),
        )
        .unwrap_or(0)
            + 1,
        source: span.source.line(root.line.saturating_sub(1)).to_owned(),
        outcome: if skipped { Outcome::Skipped } else { Outcome::Pass },
        took: Duration::ZERO,
        prints: vec![],
        cases: vec![],
        why: None,
    }
}

/// A rule with the paths of all cases that the body comes to: OPA counts a case as soon as all its
/// parts are known, so that one whose conditions then fail is a failed case, not a missing one.
fn cases(
    names: &Names<'_>,
    module: &Module,
    text: &str,
    brackets: &Brackets,
    rule: &Rule,
    tail: &[Part],
    name: &str,
) -> String {
    let Rule::Spec { bodies, .. } = rule else { return String::new() };
    let stmts: &[LiteralStmt] = bodies.first().map_or(&[], |b| b.query.stmts.as_slice());
    let slice = |e: &Expr| {
        let (start, end) = brackets.extent(e);
        text.get(start..end).unwrap_or_default().to_owned()
    };
    let mut paths = Vec::new();
    let mut after = 0;
    for part in tail {
        match part {
            Part::Name(n) => paths.push(format!("{n:?}")),
            Part::Index(e) => {
                paths.push(slice(e));
                for var in variables(names, module, e) {
                    if let Some(first) = stmts.iter().position(|s| mentions(s, &var)) {
                        after = after.max(first + 1);
                    }
                }
            }
        }
    }
    let before: Vec<&str> = stmts[..after].iter().map(|s| statement_text(text, s)).collect();
    let before = if before.is_empty() { "true".to_owned() } else { before.join("\n") };
    format!("\n{name} := [[{}] | {before}\n]\n", paths.join(", "))
}

/// Local variables of an expression.
fn variables(names: &Names<'_>, module: &Module, expr: &Ref<Expr>) -> BTreeSet<String> {
    let mut seen = Variables::default();
    ast::walk_expr(expr, &mut seen);
    let imports = names::imports(module);
    let rule = |n: &str| n == "input" || n == "data" || imports.contains_key(n) || names.is_rule(module, n);
    seen.0.retain(|n| !rule(n));
    seen.0
}

#[derive(Default)]
struct Variables(BTreeSet<String>);

impl Visit for Variables {
    fn statement(&mut self, stmt: &LiteralStmt) {
        let spans = match &stmt.literal {
            Literal::SomeVars { vars, .. } => vars.iter().collect(),
            Literal::Every { key, value, .. } => key.iter().chain([value]).collect(),
            _ => vec![],
        };
        self.0.extend(spans.into_iter().map(|s| s.text().to_owned()));
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::Var { span, .. } = ast::root(expr) {
            self.0.insert(span.text().to_owned());
        }
    }
}

fn mentions(stmt: &LiteralStmt, var: &str) -> bool {
    // `some x` alone gives it no value.
    if matches!(&stmt.literal, Literal::SomeVars { .. }) {
        return false;
    }
    let mut seen = Variables::default();
    // Values given to it count wherever they stand: `x := …`, `some x in …`, `x = …`.
    if let Literal::Expr { expr, .. } = &stmt.literal
        && let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref()
    {
        ast::walk_expr(lhs, &mut seen);
    }
    ast::walk_stmt(stmt, &mut seen);
    seen.0.contains(var)
}
