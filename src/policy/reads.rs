//! Which facts the controls of a bundle may ask for, wherever it is used: what the App must be let read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::metadata::ControlMeta;
use crate::facts::FACTS;

/// The facts of all controls that are not switched off everywhere. A control that does not say what it reads
/// may read all.
pub(super) fn reads(controls: &[ControlMeta], data: &Value) -> BTreeSet<String> {
    let on = controls.iter().filter(|c| !is_off(c, data));
    on.flat_map(|c| match &c.facts {
        Some(facts) => facts.clone(),
        None => FACTS.iter().map(|(fact, _)| (*fact).to_owned()).collect(),
    })
    .collect()
}

/// `params.defaults` say `enabled: false` for it, and no branch or repository says otherwise. Whatever is
/// unclear is on.
fn is_off(control: &ControlMeta, data: &Value) -> bool {
    let name = control.package.rsplit('.').next().unwrap_or(&control.package);
    let params = &data["params"];
    let off = |section: &Value| section["enabled"] == Value::Bool(false);
    off(&params["defaults"][name])
        && sections(params, name).iter().all(|s| s.get("enabled").is_none() || off(s))
}

/// Every section of that name, at whatever depth.
fn sections<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, inner)| if key == name { vec![inner] } else { sections(inner, name) })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|inner| sections(inner, name)).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Bundle;

    fn with(params: Value) -> BTreeSet<String> {
        let dir = tempfile::tempdir().unwrap();
        let control = "# METADATA\n# title: Checks\n# custom:\n#   id: X-1\n#   facts: [checks]\npackage controls.checked\n\napplies := true\n\ndeny contains \"no\" if input.x == 1\n";
        std::fs::write(dir.path().join("checked.rego"), control).unwrap();
        std::fs::write(dir.path().join("data.json"), json!({ "params": params }).to_string()).unwrap();
        Bundle::load(dir.path()).unwrap().reads().clone()
    }

    #[test]
    fn a_control_reads_unless_it_is_off_everywhere() {
        let off = || json!({"checked": {"enabled": false}});
        let on = BTreeSet::from(["checks".to_owned()]);
        assert_eq!(with(json!({"defaults": off()})), BTreeSet::new());
        assert_eq!(with(json!({"defaults": off(), "repositories": {"o/r": off()}})), BTreeSet::new());
        for params in [
            json!({}),
            json!({"defaults": {}}),
            json!({"defaults": {"checked": {}}}),
            json!({"defaults": {"checked": {"enabled": "no"}}}),
            json!({"defaults": off(), "repositories": {"o/r": {"checked": {"enabled": true}}}}),
            json!({"defaults": off(), "repositories": {"o/r": {"branches": [{"branches": ["main"], "checked": {"enabled": 1}}]}}}),
        ] {
            assert_eq!(with(params.clone()), on, "{params}");
        }
    }
}
