//! Parameters: those that no rule reads, and those that rules read and no data has.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref, Rule, Span};
use serde_json::Value;

use super::{
    super::{
        ast::{self, Visit},
        bundle::{Checked, is_test},
        error::LoadError,
        names::{self, Names, Scope, locals},
    },
    Finding, Level,
};

/// Functions of `policies/lib` whose value are the parameters of the control that they are given.
const GIVING: &[&str] = &["data.lib.params.effective", "data.lib.optional.settings"];
/// What `lib.optional` takes beside a control's own parameters.
const ALWAYS: &str = "enabled";

pub(super) fn findings(checked: &Checked, names: &Names<'_>) -> Vec<Finding> {
    let policies: Vec<&Ref<Module>> =
        checked.modules.iter().filter(|m| !is_test(m.package.span.source.file())).collect();
    let mut out = unread(checked, policies.iter().map(|m| m.package.span.source.contents().as_str()));
    if let Some(params) = checked.data.get("params") {
        out.extend(undefined(params, names, &policies));
    }
    out
}

/// Rules that stand for the parameters of a control: path → control.
fn given(names: &Names<'_>, policies: &[&Ref<Module>]) -> BTreeMap<Vec<String>, String> {
    let mut out = BTreeMap::new();
    for module in policies {
        let scope = names.scope(module);
        for rule in &module.policy {
            let Rule::Spec { head, .. } = rule.as_ref() else { continue };
            let control = ast::head_value(head).and_then(|value| control_of(&scope, value));
            if let (Some((name, true)), Some(control)) = (ast::path(ast::head(rule)), control) {
                out.insert(names::full(&scope.package, &name), control);
            }
        }
    }
    out
}

/// `params.effective("required_reviews")`.
fn control_of(scope: &Scope, expr: &Expr) -> Option<String> {
    let Expr::Call { fcn, params, .. } = expr else { return None };
    let (path, true) = ast::path(fcn)? else { return None };
    let [control] = params.as_slice() else { return None };
    let Expr::String { value, .. } = control.as_ref() else { return None };
    let giving = GIVING.contains(&scope.resolve_any(&path).join(".").as_str());
    giving.then(|| value.as_string().ok().map(ToString::to_string)).flatten()
}

/// One reading of a parameter: control, key, place.
type Reading = (String, String, Span);

fn readings(scope: &Scope, rule: &Rule, given: &BTreeMap<Vec<String>, String>) -> Vec<Reading> {
    struct Seen<'a> {
        scope: &'a Scope,
        given: &'a BTreeMap<Vec<String>, String>,
        locals: BTreeSet<String>,
        out: Vec<Reading>,
    }
    impl Seen<'_> {
        fn control(&self, of: &Expr) -> Option<String> {
            if matches!(of, Expr::Call { .. }) {
                return control_of(self.scope, of);
            }
            let (path, true) = ast::path(of)? else { return None };
            if path.first().is_none_or(|first| self.locals.contains(first)) {
                return None;
            }
            let path = self.scope.resolve_any(&path);
            match path.as_slice() {
                [data, params, defaults, control]
                    if [data.as_str(), params, defaults] == ["data", "params", "defaults"] =>
                {
                    Some(control.clone())
                }
                _ => self.given.get(&path).cloned(),
            }
        }
    }
    impl Visit for Seen<'_> {
        fn expr(&mut self, expr: &Ref<Expr>) {
            let (of, key, span) = match expr.as_ref() {
                Expr::RefDot { refr, field, .. } => (refr, field.0.text().to_owned(), &field.0),
                Expr::RefBrack { refr, index, .. } => match index.as_ref() {
                    Expr::String { value, span, .. } => match value.as_string() {
                        Ok(key) => (refr, key.to_string(), span),
                        Err(_) => return,
                    },
                    _ => return,
                },
                _ => return,
            };
            if let Some(control) = self.control(of) {
                self.out.push((control, key, span.clone()));
            }
        }
    }
    let mut seen = Seen { scope, given, locals: locals(rule), out: vec![] };
    ast::walk_rule(rule, &mut seen);
    seen.out
}

/// Parameters that are read and stand neither in the defaults nor in what is laid over them.
fn undefined(params: &Value, names: &Names<'_>, policies: &[&Ref<Module>]) -> Vec<Finding> {
    let known = known(params);
    let given = given(names, policies);
    let mut out = Vec::new();
    for module in policies {
        let optional = may_be_left_out(module);
        let scope = names.scope(module);
        for (control, key, place) in module.policy.iter().flat_map(|rule| readings(&scope, rule, &given)) {
            // Without any section the control is off, or says itself that its parameters are missing.
            let Some(keys) = known.get(control.as_str()) else { continue };
            if keys.contains(key.as_str()) || key == ALWAYS || optional.contains(&key) {
                continue;
            }
            let all: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
            let fix = super::infer::nearest(&key, &all)
                .unwrap_or_else(|| format!("set it below params.defaults.{control}"));
            let message = format!("the parameter `{control}.{key}` is read, and no data defines it");
            let e = LoadError::span(&place, message);
            out.push(
                Finding::of("undefined-parameter", Level::Warning, e.help(fix))
                    .why("what is not there is undefined: a rule that reads it never holds"),
            );
        }
    }
    out
}

/// Control → keys, over the defaults, the repositories, and the branches of both.
fn known(params: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    fn objects(value: Option<&Value>) -> Vec<&Value> {
        value.and_then(Value::as_object).into_iter().flat_map(|o| o.values()).collect()
    }
    let sections = params.get("defaults").into_iter().chain(objects(params.get("repositories")));
    let mut out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for section in sections {
        let branches = section.get("branches").and_then(Value::as_array).into_iter().flatten();
        for part in std::iter::once(section).chain(branches) {
            for (control, settings) in part.as_object().into_iter().flatten() {
                if let Some(settings) = settings.as_object() {
                    out.entry(control).or_default().extend(settings.keys().map(String::as_str));
                }
            }
        }
    }
    out
}

/// Keys whose type, in a `shape` of `lib.params`, ends in `?`.
fn may_be_left_out(module: &Module) -> BTreeSet<String> {
    struct Shapes(BTreeSet<String>);
    impl Visit for Shapes {
        fn expr(&mut self, expr: &Ref<Expr>) {
            let Expr::Object { fields, .. } = expr.as_ref() else { return };
            for (_, key, kind) in fields {
                if let (Expr::String { value: key, .. }, Expr::String { value: kind, .. }) =
                    (key.as_ref(), kind.as_ref())
                    && let (Ok(key), Ok(kind)) = (key.as_string(), kind.as_string())
                    && kind.ends_with('?')
                {
                    self.0.insert(key.to_string());
                }
            }
        }
    }
    let mut shapes = Shapes(BTreeSet::new());
    ast::walk_module(module, &mut shapes);
    shapes.0
}

/// Parameters whose name no rule has.
fn unread<'t>(checked: &Checked, texts: impl Iterator<Item = &'t str>) -> Vec<Finding> {
    let Some(defaults) = checked.data.pointer("/params/defaults").and_then(serde_json::Value::as_object)
    else {
        return vec![];
    };
    let words: BTreeSet<&str> = texts
        .flat_map(|t| t.lines().filter(|l| !l.trim_start().starts_with('#')))
        .flat_map(|l| l.split(|c: char| !(c.is_alphanumeric() || c == '_')))
        .collect();
    let mut out = Vec::new();
    let mut unread = |name: String, key: &str| {
        if !words.contains(key) {
            let (path, line) = place_of(checked, key);
            let text = checked.files.get(&path).map_or("", String::as_str);
            let e = LoadError::at_line(&path, text, line, 1, format!("no rule reads the parameter `{name}`"));
            out.push(Finding::of(
                "unused-parameter",
                Level::Warning,
                e.help("take it out, or correct its name"),
            ));
        }
    };
    for (control, settings) in defaults.iter().filter(|(name, _)| *name != "branches") {
        unread(control.clone(), control);
        for key in settings.as_object().into_iter().flat_map(|s| s.keys()) {
            unread(format!("{control}.{key}"), key);
        }
    }
    out
}

/// The first line of a data file with this key.
fn place_of(checked: &Checked, key: &str) -> (String, u32) {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let has = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + key.len()..]);
            !before.ends_with(word) && after.trim_start_matches(['"', '\'']).trim_start().starts_with(':')
        })
    };
    let files = checked.files.iter().filter(|(path, _)| !path.ends_with(".rego"));
    for (path, text) in files {
        if let Some(at) = text.lines().position(|l| !l.trim_start().starts_with('#') && has(l)) {
            return (path.clone(), u32::try_from(at).unwrap_or(0) + 1);
        }
    }
    ("data".to_owned(), 0)
}
