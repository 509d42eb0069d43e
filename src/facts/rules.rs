//! What GitHub itself demands on a branch, and whether it demands our check. Pure.
//!
//! Rulesets: <https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch>. Classic protection, as
//! everyone who may read sees it: <https://docs.github.com/en/rest/branches/branches#get-a-branch>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The rules of a branch at the moment they were read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BaseRules {
    /// Without `refs/heads/`.
    pub branch: String,
    /// Active rules of all rulesets, of the repository and above it, under REST's names (`type`,
    /// `parameters`, `ruleset_id`, `ruleset_source`, `ruleset_source_type`).
    pub rules: Vec<Value>,
    /// Classic protection under REST's names (`enabled`, `required_status_checks`); `null`: the branch is
    /// not there.
    pub protection: Option<Value>,
    /// Whether GitHub demands the check that gatelog reports; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<Required>,
}

/// Whether GitHub demands our check on a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Required {
    /// It does not.
    Missing,
    /// It does, by whichever app or person: anyone with write access can make it green.
    Unbound,
    /// It does, and only our app counts.
    Bound,
}

impl Required {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unbound => "unbound",
            Self::Bound => "bound",
        }
    }
}

impl BaseRules {
    /// Whether the check of this name is demanded, and of this app: the strictest of all rules counts,
    /// because GitHub enforces all of them.
    #[must_use]
    pub fn demands(&self, check: &str, app: u64) -> Required {
        let by_rules = self
            .rules
            .iter()
            .filter(|r| r["type"] == "required_status_checks")
            .flat_map(|r| list(&r["parameters"]["required_status_checks"]))
            .map(|c| demanded(c, "integration_id", check, app));
        let classic = self.protection.as_ref().map(|p| &p["required_status_checks"]);
        let classic = classic.filter(|c| c["enforcement_level"].as_str().is_some_and(|l| l != "off"));
        let by_app = classic.into_iter().flat_map(|c| list(&c["checks"]));
        let by_app = by_app.map(|c| demanded(c, "app_id", check, app));
        let by_name = classic.into_iter().flat_map(|c| list(&c["contexts"]));
        let by_name = by_name.map(|c| if c == check { Required::Unbound } else { Required::Missing });
        by_rules.chain(by_app).chain(by_name).max().unwrap_or(Required::Missing)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An entry `{context, <app>}`; no app, or -1, is any app.
fn demanded(entry: &Value, app_field: &str, check: &str, app: u64) -> Required {
    if entry["context"] != check {
        return Required::Missing;
    }
    match &entry[app_field] {
        id if id.as_u64() == Some(app) => Required::Bound,
        id if id.is_null() || id.as_i64() == Some(-1) => Required::Unbound,
        // Another app's check of our name: ours satisfies nothing.
        _ => Required::Missing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(rules: Value, protection: Value) -> BaseRules {
        let protection = (!protection.is_null()).then_some(protection);
        BaseRules {
            branch: "main".into(),
            rules: rules.as_array().cloned().unwrap_or_default(),
            protection,
            required: None,
        }
    }

    fn ruleset(check: Value) -> Value {
        json!([{"type": "deletion"},
               {"type": "required_status_checks", "parameters": {"required_status_checks": [check]}}])
    }

    fn classic(level: &str, contexts: Value, checks: Value) -> Value {
        json!({"enabled": true,
               "required_status_checks": {"enforcement_level": level, "contexts": contexts, "checks": checks}})
    }

    #[test]
    fn by_ruleset() {
        let required = |c| rules(ruleset(c), Value::Null).demands("gatelog", 5);
        assert_eq!(required(json!({"context": "gatelog", "integration_id": 5})), Required::Bound);
        assert_eq!(required(json!({"context": "gatelog"})), Required::Unbound);
        assert_eq!(required(json!({"context": "gatelog", "integration_id": null})), Required::Unbound);
        assert_eq!(required(json!({"context": "gatelog", "integration_id": 6})), Required::Missing);
        assert_eq!(required(json!({"context": "other", "integration_id": 5})), Required::Missing);
    }

    #[test]
    fn by_classic_protection() {
        let required = |p| rules(json!([]), p).demands("gatelog", 5);
        let bound = json!([{"context": "gatelog", "app_id": 5}]);
        let any = json!([{"context": "gatelog", "app_id": -1}]);
        assert_eq!(required(classic("everyone", json!(["gatelog"]), bound.clone())), Required::Bound);
        assert_eq!(required(classic("non_admins", json!(["gatelog"]), any)), Required::Unbound);
        assert_eq!(required(classic("everyone", json!(["gatelog"]), json!([]))), Required::Unbound);
        assert_eq!(required(classic("off", json!(["gatelog"]), bound)), Required::Missing);
        assert_eq!(required(Value::Null), Required::Missing);
    }

    #[test]
    fn the_strictest_counts() {
        let both = rules(
            ruleset(json!({"context": "gatelog", "integration_id": 5})),
            classic("everyone", json!(["gatelog"]), json!([])),
        );
        assert_eq!(both.demands("gatelog", 5), Required::Bound);
    }
}
