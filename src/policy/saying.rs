//! What the rules of a control mean by their names.
//!
//! `deny`, `violation` and `warn` may have a suffix, and `exception` takes such rules' findings out, both as
//! [conftest](https://www.conftest.dev/exceptions/) has it: rules written for it move in unchanged.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::names::Names;
use crate::verdict::{Finding, FindingKind};

/// Rules that are sets of findings, and what their items are.
pub(crate) const SETS: &[(&str, FindingKind)] = &[
    ("deny", FindingKind::Deny),
    ("violation", FindingKind::Deny),
    ("error", FindingKind::Error),
    ("pending", FindingKind::Pending),
    ("warn", FindingKind::Warn),
];
/// Of these, what may have a suffix and be excepted.
const SUFFIXED: &[&str] = &["deny", "violation", "warn"];
/// Rules that are read beside the sets.
pub(crate) const READ: &[&str] =
    &["allow", "violations", "exception", "applies", "skip_reason", "needs", "valid_until"];
/// For messages: a control needs one of them.
pub(crate) const SAYING: &str = "deny, violation, warn, pending, error, allow";

/// What the items of the rule of this name are; `None`: it is no set of findings.
pub(crate) fn kind_of(rule: &str) -> Option<FindingKind> {
    let (word, suffix) = rule.split_once('_').map_or((rule, None), |(word, suffix)| (word, Some(suffix)));
    let (_, kind) = SETS.iter().find(|(name, _)| *name == word)?;
    let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric());
    suffix.is_none_or(|s| SUFFIXED.contains(&word) && s.split('_').all(part)).then_some(*kind)
}

/// A control with this rule says something.
pub(crate) fn says(rule: &str) -> bool {
    rule == "allow" || kind_of(rule).is_some()
}

/// The rules of a package that are sets of findings, by name.
pub(crate) fn sets<'n>(names: &'n Names<'_>, package: &'n [String]) -> impl Iterator<Item = &'n str> {
    names.values_of(package).filter(|name| kind_of(name).is_some())
}

/// The name by which `exception` knows a rule, empty for one without suffix; `None`: it cannot be excepted.
fn excepted_as(rule: &str) -> Option<&str> {
    if SUFFIXED.contains(&rule) {
        return Some("");
    }
    if !SUFFIXED.iter().any(|word| rule.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'))) {
        return None;
    }
    // One after the other, as conftest does.
    let without = |rule, prefix| str::strip_prefix(rule, prefix).unwrap_or(rule);
    Some(["violation_", "deny_", "warn_"].into_iter().fold(rule, without))
}

/// The names in an `exception`: a collection of collections of them.
///
/// # Errors
/// Anything else: an exception that its author thinks is made must not go unnoticed when it is not.
pub(crate) fn exceptions(exception: &Value) -> Result<BTreeSet<&str>, String> {
    let wrong = || "`exception` is not a set of lists of rule names".to_owned();
    let mut out = BTreeSet::new();
    for rules in items(exception).ok_or_else(wrong)? {
        for rule in items(rules).ok_or_else(wrong)? {
            let Value::String(rule) = rule else { return Err(wrong()) };
            out.insert(rule.as_ref());
        }
    }
    Ok(out)
}

fn items(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(a) => Some(a.iter().collect()),
        Value::Set(s) => Some(s.iter().collect()),
        Value::Object(o) => Some(o.values().collect()),
        _ => None,
    }
}

/// Marks the findings of rules that are excepted, and names the rule: they stay to be read.
pub(crate) fn except(
    findings: BTreeMap<&str, BTreeSet<Finding>>,
    excepted: &BTreeSet<&str>,
) -> BTreeSet<Finding> {
    let mut out = BTreeSet::new();
    for (rule, found) in findings {
        if excepted_as(rule).is_some_and(|name| excepted.contains(name)) {
            let one =
                |f: Finding| Finding { kind: FindingKind::Excepted, msg: format!("{rule}: {}", f.msg), ..f };
            out.extend(found.into_iter().map(one));
        } else {
            out.extend(found);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_conftest_reads_them() {
        assert_eq!(kind_of("deny_run_as_root"), Some(FindingKind::Deny));
        assert_eq!(kind_of("violation_1"), Some(FindingKind::Deny));
        assert_eq!(kind_of("warn_x"), Some(FindingKind::Warn));
        for no in
            ["denyx", "deny_", "deny__x", "deny_x_", "pending_x", "error_x", "denied", "warning", "allow"]
        {
            assert_eq!(kind_of(no), None, "{no}");
        }
        for (rule, name) in [("deny", ""), ("warn", ""), ("deny_a_b", "a_b"), ("violation_deny_a", "a")] {
            assert_eq!(excepted_as(rule), Some(name));
        }
        assert_eq!((excepted_as("error"), excepted_as("pending")), (None, None));
    }
}
