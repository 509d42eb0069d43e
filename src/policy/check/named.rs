//! Rules that say more by their names than their authors may think: `deny_…`, `violation_…`, `warn_…`.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Rule, RuleHead};

use super::{
    super::{
        ast,
        bundle::{Checked, is_test},
        error::LoadError,
        names::{Names, full},
        saying::kind_of,
    },
    Finding, Level,
    types::Type,
};

/// The rules of controls that are read as sets of findings, the first definition of each: name, full path, rule.
fn finding<'c>(checked: &'c Checked, names: &Names<'_>) -> Vec<(String, Vec<String>, &'c Rule)> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for module in checked.modules.iter().filter(|m| !is_test(m.package.span.source.file())) {
        let scope = names.scope(module);
        if !matches!(scope.package.as_slice(), [first, _] if first == "controls") {
            continue;
        }
        for rule in module.policy.iter().filter(|rule| ast::arity(rule).is_none()) {
            let Some((path, _)) = ast::path(ast::head(rule)) else { continue };
            let [name] = path.as_slice() else { continue };
            let full = full(&scope.package, &path);
            if kind_of(name).is_some() && seen.insert(full.clone()) {
                out.push((name.clone(), full, rule.as_ref()));
            }
        }
    }
    out
}

/// Rules that can be no set: the control is `error` whatever is judged.
pub(super) fn no_sets(
    checked: &Checked,
    names: &Names<'_>,
    forms: &BTreeMap<Vec<String>, Type>,
) -> Vec<Finding> {
    let never = |full: &Vec<String>| forms.get(full).is_some_and(|form| !form.may_be_set());
    let one = |(name, _, rule): (String, Vec<String>, &Rule)| {
        let e = LoadError::span(
            ast::head(rule).span(),
            format!("`{name}` is no set, and is read as a set of findings"),
        );
        let other = if name.contains('_') { "; a helper needs another name" } else { "" };
        Finding::of("no-set", Level::Error, e.help(format!("write `{name} contains … if …`{other}")))
            .why("a control whose set of findings is none cannot be judged: it ends as `error`")
    };
    finding(checked, names).into_iter().filter(|(_, full, _)| never(full)).map(one).collect()
}

/// Rules with a suffix that look like helpers: another rule uses them, or they are made at once (`deny_list := {…}`).
pub(super) fn helpers(checked: &Checked, names: &Names<'_>) -> Vec<Finding> {
    let used = names.used(|module| !is_test(module.package.span.source.file()));
    let mut out = Vec::new();
    for (name, full, rule) in finding(checked, names) {
        let how = match rule {
            _ if !name.contains('_') => continue,
            _ if used.contains(full.as_slice()) => "another rule uses it",
            Rule::Spec { head: RuleHead::Compr { assign: Some(assign), .. }, .. }
                if matches!(assign.value.as_ref(), Expr::Set { .. }) =>
            {
                "it is made at once"
            }
            _ => continue,
        };
        let e = LoadError::span(
            ast::head(rule).span(),
            format!("every item of `{name}` is a finding, and {how}"),
        );
        out.push(
            Finding::of("helper-finds", Level::Warning, e.help("if it is a helper, give it another name"))
                .why("rules `deny_…`, `violation_…` and `warn_…` are read as `deny`, `violation` and `warn` are"),
        );
    }
    out
}
