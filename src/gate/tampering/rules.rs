//! Rulesets and branch protection that demand our check no more, or less than they did. Pure.
//!
//! Only what an event takes away is told, whatever other rules still demand: what they do is in the merge
//! verdict of every change that lands.

use serde_json::{Value, json};

/// Whether events of this name are about rules.
pub(super) fn tells(name: &str) -> bool {
    matches!(name, "repository_ruleset" | "branch_protection_rule" | "branch_protection_configuration")
}

/// How strictly a list of rules demands our check. In this order: more is stricter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    No,
    /// By any app.
    Any,
    /// By our app.
    Bound,
}

/// What was taken away, and the details for the body.
pub(super) fn weakened(
    name: &str,
    action: &str,
    payload: &Value,
    check: &str,
    app: u64,
) -> Option<(String, Value)> {
    match (name, action) {
        ("repository_ruleset", "edited" | "deleted") => {
            let ruleset = &payload["repository_ruleset"];
            let what = Ruleset { ruleset, changes: &payload["changes"], check, app }.weakened(action)?;
            let name = super::short(ruleset["name"].as_str().unwrap_or("?"));
            let details = json!({
                "ruleset": {"id": ruleset["id"], "name": ruleset["name"], "source": ruleset["source"]},
                "changes": payload["changes"],
            });
            Some((format!("the ruleset `{name}` {what}"), details))
        }
        ("branch_protection_rule", "edited" | "deleted") => {
            let rule = &payload["rule"];
            let what = protection_weakened(action, rule, &payload["changes"], check)?;
            let name = super::short(rule["name"].as_str().unwrap_or("?"));
            let details =
                json!({"rule": {"id": rule["id"], "name": rule["name"]}, "changes": payload["changes"]});
            Some((format!("the protection of branches `{name}` {what}"), details))
        }
        ("branch_protection_configuration", "disabled") => {
            Some(("the protection of all branches was switched off".to_owned(), json!({})))
        }
        _ => None,
    }
}

struct Ruleset<'a> {
    ruleset: &'a Value,
    changes: &'a Value,
    check: &'a str,
    app: u64,
}

impl Ruleset<'_> {
    fn weakened(&self, action: &str) -> Option<&'static str> {
        let active = self.ruleset["enforcement"].as_str().is_none_or(|e| e == "active");
        // What the payload does not list may have demanded us.
        let now = self.ruleset["rules"].is_array().then(|| self.demands(&self.ruleset["rules"]));
        let ours_now = now.is_none_or(|d| d > Demand::No);
        if action == "deleted" {
            return (active && ours_now).then_some("that demanded our check was deleted");
        }
        let before = self.demanded_before();
        let was = before.max(now.unwrap_or(Demand::No));
        let was_active = self.changes["enforcement"]["from"].as_str().map_or(active, |e| e == "active");
        if !was_active {
            return None;
        }
        if !active {
            return (ours_now || was > Demand::No)
                .then_some("that demanded our check is not enforced any more");
        }
        match now.unwrap_or(Demand::No) {
            Demand::No if before > Demand::No => Some("does not demand our check any more"),
            Demand::Any if before > Demand::Any => {
                Some("takes our check from anyone now, not only from our App")
            }
            _ if ours_now && something(&self.changes["conditions"]) => {
                Some("that demands our check holds for other branches now")
            }
            _ => None,
        }
    }

    fn demands(&self, rules: &Value) -> Demand {
        let status = list(rules).filter(|r| r["type"] == "required_status_checks");
        let demands = status.map(|r| self.in_parameters(&r["parameters"]));
        demands.max().unwrap_or(Demand::No)
    }

    fn in_parameters(&self, parameters: &Value) -> Demand {
        let ours = list(&parameters["required_status_checks"]).filter(|c| c["context"] == self.check);
        let demands = ours.map(|c| match &c["integration_id"] {
            id if id.as_u64() == Some(self.app) => Demand::Bound,
            id if id.is_null() || id.as_i64() == Some(-1) => Demand::Any,
            _ => Demand::No,
        });
        demands.max().unwrap_or(Demand::No)
    }

    /// Of the rules that were deleted or changed. GitHub gives what a changed rule was as a text.
    fn demanded_before(&self) -> Demand {
        let rules = &self.changes["rules"];
        let changed = list(&rules["updated"]).map(|u| match u["changes"]["configuration"]["from"].as_str() {
            Some(text) => self.in_text(text),
            None => Demand::No,
        });
        changed.max().unwrap_or(Demand::No).max(self.demands(&rules["deleted"]))
    }

    fn in_text(&self, text: &str) -> Demand {
        match serde_json::from_str::<Value>(text) {
            // The parameters, or the list in them.
            Ok(was) if was["required_status_checks"].is_array() => self.in_parameters(&was),
            Ok(was) if was.is_array() => self.in_parameters(&json!({"required_status_checks": was})),
            // In another form: taken for the strictest, if it names our check.
            _ if text.contains(self.check) => Demand::Bound,
            _ => Demand::No,
        }
    }
}

/// Classic protection. Its payload names checks, not Apps.
fn protection_weakened(action: &str, rule: &Value, changes: &Value, check: &str) -> Option<&'static str> {
    let rank = |level: Option<&str>| match level {
        Some("off") => 0,
        Some("non_admins") => 1,
        _ => 2,
    };
    let has = |names: &Value| list(names).any(|n| n == check);
    let level = rank(rule["required_status_checks_enforcement_level"].as_str());
    let (now, listed) = (has(&rule["required_status_checks"]), rule["required_status_checks"].is_array());
    let ours = now || !listed;
    if action == "deleted" {
        return (level > 0 && ours).then_some("that demanded our check was deleted");
    }
    let level_before =
        changes["required_status_checks_enforcement_level"]["from"].as_str().map_or(level, |l| rank(Some(l)));
    let before = match &changes["required_status_checks"]["from"] {
        Value::Null => ours,
        names => has(names),
    };
    if level_before == 0 || !before {
        return None;
    }
    if level == 0 || !ours {
        return Some("does not demand our check any more");
    }
    let lets_admins = changes["admin_enforced"]["from"] == true && rule["admin_enforced"] == false;
    (level < level_before || lets_admins).then_some("does not hold administrators to our check any more")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Something stands there: a list or object that is not empty all the way down.
fn something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => items.iter().any(something),
        Value::Object(fields) => fields.values().any(something),
        _ => true,
    }
}
