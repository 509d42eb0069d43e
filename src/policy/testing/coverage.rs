//! Which lines of the policies the tests reached.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, Module, Query, Ref, Rule};

use super::super::{
    ast,
    bundle::{Checked, is_test},
};

/// Lines per file, tests left out, in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Coverage {
    pub files: Vec<FileCoverage>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FileCoverage {
    pub path: String,
    pub covered: BTreeSet<u32>,
    pub not_covered: BTreeSet<u32>,
}

impl Coverage {
    /// Of the lines with expressions in all files; 100 where there are none.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(
            self.files.iter().map(|f| f.covered.len()).sum(),
            self.files.iter().map(|f| f.not_covered.len()).sum(),
        )
    }

    pub(crate) fn new(checked: &Checked, reached: &BTreeMap<String, BTreeSet<u32>>) -> Self {
        let file = |module: &Ref<Module>| {
            let path = module.package.span.source.file().clone();
            let lines = lines(module);
            let none = BTreeSet::new();
            let reached = reached.get(&path).unwrap_or(&none);
            let (covered, not_covered) = lines.into_iter().partition(|l| reached.contains(l));
            FileCoverage { path, covered, not_covered }
        };
        let policies = checked.modules.iter().filter(|m| !is_test(m.package.span.source.file()));
        Self { files: policies.map(file).collect() }
    }
}

impl FileCoverage {
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.covered.len(), self.not_covered.len())
    }

    /// `12-14, 20`
    #[must_use]
    pub fn uncovered_ranges(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &line in &self.not_covered {
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == line => *end = line,
                _ => ranges.push((line, line)),
            }
        }
        let one = |(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
        ranges.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(covered: usize, not_covered: usize) -> f64 {
    match covered + not_covered {
        0 => 100.0,
        all => covered as f64 * 100.0 / all as f64,
    }
}

/// Lines that have a step of the engine's: statements, and expressions that are more than a variable or a
/// literal. Values of an `else` chain and what a comprehension collects are no steps of their own.
fn lines(module: &Module) -> BTreeSet<u32> {
    let mut out = BTreeSet::new();
    for rule in &module.policy {
        match rule.as_ref() {
            Rule::Spec { head, bodies, .. } => {
                if !bodies.iter().any(|b| b.is_else) {
                    ast::head_value(head).into_iter().for_each(|v| in_expr(v, &mut out));
                }
                bodies.iter().for_each(|b| in_query(&b.query, &mut out));
            }
            Rule::Default { value, .. } => in_expr(value, &mut out),
        }
    }
    out
}

fn in_query(query: &Query, out: &mut BTreeSet<u32>) {
    for stmt in &query.stmts {
        match &stmt.literal {
            Literal::SomeVars { .. } => continue,
            Literal::SomeIn { collection, .. } => in_expr(collection, out),
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => in_expr(expr, out),
            Literal::Every { domain, query, .. } => {
                in_expr(domain, out);
                in_query(query, out);
            }
        }
        out.insert(stmt.span.line);
    }
}

fn in_expr(expr: &Ref<Expr>, out: &mut BTreeSet<u32>) {
    if let Some(query) = ast::comprehension(expr) {
        return in_query(query, out);
    }
    let children = ast::children(expr);
    if !children.is_empty() && !is_constant(expr) {
        out.insert(expr.span().line);
    }
    children.into_iter().for_each(|c| in_expr(c, out));
}

fn is_constant(expr: &Ref<Expr>) -> bool {
    match expr.as_ref() {
        Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
            ast::children(expr).into_iter().all(is_constant)
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. } => true,
        _ => false,
    }
}
