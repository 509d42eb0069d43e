//! Who reads what: facts, rules, data.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Module, Ref, Span};

use super::{
    super::{
        ast::{self, Visit},
        bundle::{Checked, is_test},
        error::LoadError,
        metadata::ControlMeta,
        names::{Names, Scope, full},
        saying::{READ, SETS, kind_of},
    },
    Finding, Level,
};
use crate::verdict::FindingKind;

/// Path below `input` (`*`: any index) → the fact that brings it. `pull_request` is always read.
const BRINGS: &[(&[&str], &str)] = &[
    (&["reviews"], "reviews"),
    (&["reviews", "*", "permission"], "permissions"),
    (&["commits"], "commits"),
    (&["commits", "*", "full_message"], "commit_messages"),
    (&["files"], "files"),
    (&["files", "*", "previous_filename"], "old_paths"),
    (&["files", "*", "owners"], "codeowners"),
    (&["codeowners"], "codeowners"),
    (&["pushes"], "pushes"),
    (&["push", "commits"], "push_commits"),
    (&["push", "landed"], "landed"),
    (&["merge_group", "entries"], "merge_group"),
    (&["push", "on_default_branch"], "on_default_branch"),
    (&["deployment"], "deployment"),
    (&["base_rules"], "base_rules"),
    (&["checks"], "checks"),
    (&["comparison"], "comparison"),
    (&["secret_alerts"], "secret_alerts"),
    (&["workflows"], "workflows"),
    (&["teams"], "team_members"),
    (&["organizations"], "organization_members"),
];

/// References of a module with their steps from `input` or `data` on, and where they begin.
fn references(names: &Names<'_>, module: &Module) -> Vec<(Vec<String>, Span)> {
    struct Seen<'s> {
        scope: &'s Scope,
        found: Vec<(Vec<String>, Span)>,
    }
    impl Visit for Seen<'_> {
        fn expr(&mut self, expr: &Ref<Expr>) {
            if !matches!(expr.as_ref(), Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                return;
            }
            let Some(path) = steps(expr) else { return };
            let Some((first, rest)) = path.split_first() else { return };
            let full = match self.scope.imports.get(first) {
                Some(import) => import.iter().chain(rest).cloned().collect(),
                None if first == "input" || first == "data" => path,
                None => return,
            };
            self.found.push((full, ast::root(expr).span().clone()));
        }
    }
    let scope = names.scope(module);
    let mut seen = Seen { scope: &scope, found: vec![] };
    ast::walk_module(module, &mut seen);
    seen.found
}

/// As [`ast::path`], with `*` for every index that is not known.
fn steps(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Var { span, .. } => Some(vec![span.text().to_owned()]),
        Expr::RefDot { refr, field, .. } => {
            let mut p = steps(refr)?;
            p.push(field.0.text().to_owned());
            Some(p)
        }
        Expr::RefBrack { refr, index, .. } => {
            let mut p = steps(refr)?;
            p.push(match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => {
                    value.as_string().ok()?.to_string()
                }
                _ => "*".to_owned(),
            });
            Some(p)
        }
        _ => None,
    }
}

/// Facts that a control reads itself and does not ask for: nobody fetches them, and what is read is
/// empty or undefined.
pub(super) fn facts(checked: &Checked, names: &Names<'_>, controls: &[ControlMeta]) -> Vec<Finding> {
    let mut out = Vec::new();
    for module in checked.modules.iter().filter(|m| !is_test(m.package.span.source.file())) {
        let package = ast::dotted(&ast::package(module));
        let Some(control) = controls.iter().find(|c| c.package == package) else { continue };
        let declared = control.facts.clone().unwrap_or_default();
        let silent = control.facts.is_none() && is_silent(names, &ast::package(module));
        let mut said = BTreeSet::new();
        for (path, place) in references(names, module) {
            if path.first().is_none_or(|f| f != "input") {
                continue;
            }
            if silent && path.get(1).is_some_and(|p| p == "pull_request") && said.insert("pull_request") {
                out.push(passes_elsewhere(&place));
            }
            for (fact, how) in brought_by(&path[1..]) {
                if !declared.contains(fact) && said.insert(fact) {
                    let message =
                        format!("`input.{how}` is read, but METADATA does not ask for the fact `{fact}`");
                    let e = LoadError::span(&place, message);
                    // With a guard, what is not there can be noticed.
                    let (rule, level) = match (silent, control.facts.is_some()) {
                        (true, _) => ("silent-deny", Level::Error),
                        (_, true) => ("undeclared-fact", Level::Error),
                        (_, false) => ("undeclared-fact", Level::Warning),
                    };
                    out.push(
                        Finding::of(rule, level, e.help(format!("add {fact} to custom.facts"))).why(
                            "what no control asks for is not fetched: the control would judge on nothing",
                        ),
                    );
                }
            }
        }
        // Said of the file that asks.
        if control.path == *module.package.span.source.file() {
            out.extend(unused_facts(checked, names, module, control));
        }
    }
    out
}

/// The control finds something to deny or nothing, and has no rule that could notice that it sees nothing.
fn is_silent(names: &Names<'_>, package: &[String]) -> bool {
    let guarded = ["applies", "error", "allow", "needs"].iter().any(|rule| names.declares(package, rule));
    let denies = |rule: &str| matches!(kind_of(rule), Some(FindingKind::Deny | FindingKind::Pending));
    !guarded && names.values_of(package).any(denies)
}

fn passes_elsewhere(place: &Span) -> Finding {
    let message = "where the event is about no pull request, this control passes without a word";
    let fix = "write `default applies := false` and `applies if input.about == \"pull_request\"`, or declare custom.facts";
    Finding::of("silent-deny", Level::Warning, LoadError::span(place, message).help(fix))
        .why("`input.pull_request` is undefined there, and a rule that reads it never holds")
}

/// The facts that a path needs, with the path as it is said.
fn brought_by(path: &[String]) -> Vec<(&'static str, String)> {
    let fits = |wanted: &&(&[&str], &'static str)| {
        wanted.0.len() <= path.len() && wanted.0.iter().zip(path).all(|(w, p)| *w == "*" || w == p)
    };
    BRINGS.iter().filter(fits).map(|(path, fact)| (*fact, path.join(".").replace(".*", "[_]"))).collect()
}

/// Facts that neither the control nor anything it uses speaks of.
fn unused_facts(
    checked: &Checked,
    names: &Names<'_>,
    module: &Ref<Module>,
    control: &ControlMeta,
) -> Vec<Finding> {
    let used = names.modules_below(&checked.modules, module);
    let texts: Vec<&str> = used.iter().map(|m| m.package.span.source.contents().as_str()).collect();
    let mut out = Vec::new();
    for fact in control.facts.iter().flatten().filter(|f| *f != "pull_request") {
        let words: Vec<&str> = BRINGS
            .iter()
            .filter(|(_, f)| f == fact)
            .filter_map(|(path, _)| path.last().copied())
            .chain([fact.as_str()])
            .collect();
        let code = |text: &&str| {
            text.lines().any(|l| !l.trim_start().starts_with('#') && words.iter().any(|w| l.contains(w)))
        };
        if !texts.iter().any(code) {
            let e = LoadError::span(
                &module.package.span,
                format!("custom.facts asks for `{fact}`, which nothing reads"),
            );
            out.push(Finding::of("unused-fact", Level::Warning, e.help("take it out: it costs requests")));
        }
    }
    out
}

/// Rules that neither gatelog nor another rule reads.
pub(super) fn unused_rules(checked: &Checked, names: &Names<'_>) -> Vec<Finding> {
    let used = names.used(|_| true);
    let mut out = Vec::new();
    for module in checked.modules.iter().filter(|m| !is_test(m.package.span.source.file())) {
        let package = ast::package(module);
        let is_control = package.first().is_some_and(|p| p == "controls");
        let mut said = BTreeSet::new();
        for rule in &module.policy {
            let Some((name, _)) = ast::path(ast::head(rule)) else { continue };
            let mut full = vec!["data".to_owned()];
            full.extend(package.iter().chain(&name).cloned());
            let asked = |name: &String| READ.contains(&name.as_str()) || kind_of(name).is_some();
            let asked = is_control && matches!(name.as_slice(), [one] if asked(one));
            if !asked && !used.contains(full.as_slice()) && said.insert(full) {
                let e = LoadError::span(
                    ast::head(rule).span(),
                    format!("nothing reads `{}`", ast::dotted(&name)),
                );
                let near = is_control
                    .then(|| super::infer::nearest(&name[0], &asked_names(&asked_list())))
                    .flatten()
                    .unwrap_or_else(|| "take it out, or use it".to_owned());
                out.push(Finding::of("unused-rule", Level::Warning, e.help(near)));
            }
        }
    }
    out
}

fn asked_list() -> Vec<&'static str> {
    SETS.iter().map(|(n, _)| *n).chain(READ.iter().copied()).collect()
}

fn asked_names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// References into `data` that nothing defines.
pub(super) fn data(checked: &Checked, names: &Names<'_>) -> Vec<Finding> {
    let packages: BTreeSet<Vec<String>> =
        checked.modules.iter().map(|m| full(&names.scope(m).package, &[])).collect();
    let mut out = Vec::new();
    for module in &checked.modules {
        let test = is_test(module.package.span.source.file());
        for (path, place) in references(names, module) {
            let known: Vec<String> = path.iter().take_while(|p| *p != "*").cloned().collect();
            if known.first().is_none_or(|f| f != "data") || known.len() < 2 || names.touches(&known) {
                continue;
            }
            let mut here = Some(&checked.data);
            let missing = known[1..].iter().find(|step| {
                here = here.and_then(|h| h.get(step.as_str()));
                here.is_none()
            });
            // What a bundle's own files begin may go on elsewhere; what nothing begins is a mistake.
            let nothing = missing == known.get(1) && known[1] != "params" && !test;
            let no_rule = missing.is_some() && (2..known.len()).any(|n| packages.contains(&known[..n]));
            if nothing || no_rule {
                let e = LoadError::span(&place, format!("there is no `{}`", ast::dotted(&known)));
                out.push(Finding::of(
                    "no-data",
                    Level::Warning,
                    e.help("neither a rule nor a data file has it: it is undefined"),
                ));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::BRINGS;
    use crate::facts::FACTS;

    #[test]
    fn every_fact_is_known_by_what_it_brings() {
        let brought: Vec<&str> = BRINGS.iter().map(|(_, fact)| *fact).collect();
        for (fact, _) in FACTS.iter().filter(|(fact, _)| *fact != "pull_request") {
            assert!(brought.contains(fact), "{fact}");
        }
        for (_, fact) in BRINGS {
            assert!(FACTS.iter().any(|(known, _)| known == fact), "{fact}");
        }
    }
}
