use serde_json::{Value, json};

use super::*;
use crate::event::{ContentType, parse_stored};

const APP: u64 = 5;

fn found(name: &str, payload: Value) -> Option<Tampering> {
    found_reading(&[], name, payload)
}

/// Where the controls ask for these facts.
fn found_reading(facts: &[&str], name: &str, mut payload: Value) -> Option<Tampering> {
    payload["sender"] = json!({"id": 9, "login": "mallory", "type": "User"});
    let body = payload.to_string();
    let event = parse_stored(name, Source::Github, None, ContentType::Json, body.as_bytes()).unwrap();
    let reads = facts.iter().map(|f| (*f).to_owned()).collect();
    let ours = Ours { check: "gatelog", app: APP, reads: &reads };
    tells(&event).then(|| of(&event, &payload, &ours)).flatten()
}

fn said(name: &str, payload: Value) -> Option<(String, String)> {
    found(name, payload).map(|t| (t.data.kind, super::text(&t.body).to_owned()))
}

fn run(name: &str, app: Value, conclusion: Value) -> Value {
    let head = "a".repeat(40);
    json!({"action": "completed", "check_run": {
        "id": 1, "name": name, "head_sha": head, "conclusion": conclusion, "app": app}})
}

#[test]
fn a_check_of_our_name_by_another_app_is_forged() {
    let evil = || json!({"id": 6, "slug": "evil"});
    let found = found("check_run", run("gatelog", evil(), json!("success"))).unwrap();
    assert_eq!((found.data.kind.as_str(), found.data.passes), ("forged_check", true));
    let text =
        "the check run `gatelog` on aaaaaaa is not ours: the App `evil` made it, and it PASSES (success)";
    assert_eq!(super::text(&found.body), text);
    for (name, app, conclusion, passes) in [
        ("GateLog/push", evil(), json!("neutral"), Some(true)),
        ("gatelog", evil(), json!("failure"), Some(false)),
        ("gatelog", evil(), Value::Null, Some(false)),
        ("gatelog", Value::Null, json!("skipped"), Some(true)),
        ("gatelog", json!({"id": APP}), json!("success"), None),
        ("gatelog-lint", evil(), json!("success"), None),
    ] {
        let found = super::tests::found("check_run", run(name, app, conclusion));
        assert_eq!(found.map(|t| t.data.passes), passes, "{name}");
    }
}

#[test]
fn a_commit_status_of_our_name_is_forged_whoever_sets_it() {
    let status = |context, state| json!({"id": 1, "sha": "b".repeat(40), "context": context, "state": state});
    let (kind, text) = said("status", status("gatelog", "success")).unwrap();
    assert_eq!(kind, "forged_status");
    assert_eq!(
        text,
        "the commit status `gatelog` on bbbbbbb is not ours: gatelog sets none, and it PASSES (success); set by mallory"
    );
    assert!(!found("status", status("gatelog", "pending")).unwrap().data.passes);
    assert!(found("status", status("ci/build", "success")).is_none());
}

fn rule(app: Value) -> Value {
    let check = json!({"context": "gatelog", "integration_id": app});
    json!({"type": "required_status_checks", "parameters": {"required_status_checks": [check]}})
}

fn ruleset(action: &str, enforcement: &str, rules: Value, changes: Value) -> Option<String> {
    let ruleset = json!({"id": 3, "name": "main", "enforcement": enforcement, "rules": rules});
    let payload = json!({"action": action, "repository_ruleset": ruleset, "changes": changes});
    said("repository_ruleset", payload).map(|(kind, text)| {
        assert_eq!(kind, "rules_weakened");
        text
    })
}

#[test]
fn rulesets() {
    let ours = || json!([{"type": "deletion"}, rule(json!(APP))]);
    let was = |app: Value| {
        json!({"rules": {"updated": [{"rule": {"type": "required_status_checks"},
        "changes": {"configuration": {"from": rule(app)["parameters"].to_string()}}}]}})
    };
    let none = || json!({});
    let weakened = [
        ("deleted", "active", ours(), none(), "that demanded our check was deleted"),
        ("deleted", "active", Value::Null, none(), "that demanded our check was deleted"),
        (
            "edited",
            "disabled",
            ours(),
            json!({"enforcement": {"from": "active"}}),
            "is not enforced any more",
        ),
        ("edited", "active", json!([]), json!({"rules": {"deleted": [rule(json!(APP))]}}), "does not demand"),
        ("edited", "active", json!([]), was(json!(APP)), "does not demand our check any more"),
        ("edited", "active", json!([rule(Value::Null)]), was(json!(APP)), "from anyone now"),
        (
            "edited",
            "active",
            ours(),
            json!({"conditions": {"added": [{"ref_name": {"exclude": ["main"]}}]}}),
            "holds for other branches now",
        ),
        (
            "edited",
            "active",
            json!([]),
            json!({"rules": {"updated": [{"changes": {"configuration":
            {"from": "gatelog (App 5)"}}}]}}),
            "does not demand our check any more",
        ),
    ];
    for (action, enforcement, rules, changes, what) in weakened {
        let text = ruleset(action, enforcement, rules, changes).unwrap_or_else(|| panic!("nothing: {what}"));
        assert!(text.starts_with("the ruleset `main` ") && text.contains(what), "{text}");
        assert!(text.ends_with("; by mallory"), "{text}");
    }
    let harmless = [
        ("created", "active", json!([]), none()),
        ("deleted", "disabled", ours(), none()),
        ("deleted", "active", json!([{"type": "deletion"}]), none()),
        ("edited", "active", ours(), json!({"name": {"from": "old"}})),
        ("edited", "active", ours(), was(json!(APP))),
        ("edited", "active", ours(), was(Value::Null)),
        ("edited", "evaluate", json!([]), was(json!(APP))),
        ("edited", "active", ours(), json!({"enforcement": {"from": "disabled"}})),
        ("edited", "active", ours(), json!({"rules": {"deleted": [{"type": "deletion"}]}})),
        ("edited", "active", json!([{"type": "deletion"}]), json!({"conditions": {"deleted": [{"a": "b"}]}})),
    ];
    for (action, enforcement, rules, changes) in harmless {
        let text = ruleset(action, enforcement, rules.clone(), changes.clone());
        assert_eq!(text, None, "{action} {enforcement} {rules} {changes}");
    }
}

#[test]
fn classic_protection() {
    let said = |action: &str, level: &str, checks: Value, changes: Value| {
        let rule = json!({"id": 3, "name": "main", "admin_enforced": false,
            "required_status_checks": checks, "required_status_checks_enforcement_level": level});
        let payload = json!({"action": action, "rule": rule, "changes": changes});
        said("branch_protection_rule", payload).map(|(_, text)| text)
    };
    let ours = || json!(["gatelog", "ci"]);
    let from = |names: Value| json!({"required_status_checks": {"from": names}});
    for (action, level, checks, changes, what) in [
        ("deleted", "everyone", ours(), json!({}), "was deleted"),
        ("edited", "everyone", json!(["ci"]), from(ours()), "does not demand"),
        (
            "edited",
            "off",
            ours(),
            json!({"required_status_checks_enforcement_level": {"from": "non_admins"}}),
            "does not",
        ),
        (
            "edited",
            "non_admins",
            ours(),
            json!({"required_status_checks_enforcement_level": {"from": "everyone"}}),
            "administrators",
        ),
        ("edited", "everyone", ours(), json!({"admin_enforced": {"from": true}}), "administrators"),
    ] {
        let text = said(action, level, checks, changes).unwrap_or_else(|| panic!("nothing: {what}"));
        assert!(text.starts_with("the protection of branches `main` ") && text.contains(what), "{text}");
    }
    for (action, level, checks, changes) in [
        ("created", "everyone", json!([]), json!({})),
        ("deleted", "everyone", json!(["ci"]), json!({})),
        ("deleted", "off", ours(), json!({})),
        ("edited", "everyone", json!(["ci"]), from(json!(["ci", "lint"]))),
        ("edited", "everyone", ours(), from(json!(["gatelog"]))),
        ("edited", "off", json!([]), from(ours())),
    ] {
        let off = level == "off" && action == "edited";
        let changes = match off {
            true => json!({"required_status_checks_enforcement_level": {"from": "off"}}),
            false => changes,
        };
        assert_eq!(said(action, level, checks.clone(), changes), None, "{action} {level} {checks}");
    }
    let all = super::tests::said("branch_protection_configuration", json!({"action": "disabled"}));
    assert_eq!(all.unwrap().1, "the protection of all branches was switched off; by mallory");
}

#[test]
fn an_app_that_is_taken_away() {
    let account = || json!({"id": 2, "login": "octo-org", "type": "Organization"});
    let of = |action: &str, permissions: Value| json!({"action": action, "installation": {"id": 7, "account": account(), "permissions": permissions}});
    let (kind, text) = said("installation", of("deleted", Value::Null)).unwrap();
    assert_eq!(
        (kind.as_str(), text.as_str()),
        ("access_lost", "the App was uninstalled at octo-org; by mallory")
    );
    assert!(said("installation", of("suspend", Value::Null)).unwrap().1.contains("suspended"));
    for action in ["created", "unsuspend"] {
        assert!(found("installation", of(action, Value::Null)).is_none(), "{action}");
    }
    let all: serde_json::Map<String, Value> =
        needed::PERMISSIONS.iter().map(|(name, level)| ((*name).to_owned(), json!(level))).collect();
    assert!(found("installation", of("new_permissions_accepted", json!(all))).is_none());
    let mut less = all.clone();
    less.insert("checks".into(), json!("read"));
    less.remove("members");
    less.remove("statuses");
    let text = said("installation", of("new_permissions_accepted", json!(less))).unwrap().1;
    assert!(text.contains("(checks: write, members: read)"), "{text}");
    // What only some controls need matters where one of them is on.
    let left = |facts: &[&str], gone: &str, level: Option<&str>| {
        let mut rest = all.clone();
        rest.insert("secret_scanning_alerts".into(), json!("read"));
        match level {
            Some(level) => rest.insert(gone.into(), json!(level)),
            None => rest.remove(gone),
        };
        let found = found_reading(facts, "installation", of("new_permissions_accepted", json!(rest)));
        found.map(|t| super::text(&t.body).to_owned())
    };
    for (fact, gone, level, shown) in [
        ("checks", "statuses", None, "(statuses: read)"),
        ("deployment", "actions", None, "(actions: read)"),
        ("deployment", "deployments", Some("read"), "(deployments: write)"),
        ("secret_alerts", "secret_scanning_alerts", None, "(secret_scanning_alerts: read)"),
    ] {
        assert!(left(&[fact], gone, level).is_some_and(|text| text.contains(shown)), "{gone}");
        assert_eq!(left(&["reviews", "files"], gone, level), None, "{gone}");
    }
    let mut taken = of("removed", Value::Null);
    taken["repositories_removed"] =
        (1..8).map(|n| json!({"id": n, "full_name": format!("octo-org/r{n}")})).collect();
    let text = said("installation_repositories", taken).unwrap().1;
    let named = "octo-org/r1, octo-org/r2, octo-org/r3, octo-org/r4, octo-org/r5, …; by mallory";
    assert!(text.ends_with(named), "{text}");
}

#[test]
fn what_is_said_again_and_again_is_posted_once() {
    let mut said = Alerted::default();
    let now: Time = "2026-11-24T15:00:00Z".parse().unwrap();
    said.remember("a".into(), 7, now);
    assert_eq!(said.before("a", now.plus(QUIET / 2)), Some(7));
    assert_eq!(said.before("a", now.plus(QUIET)), None);
    assert_eq!(said.before("b", now), None);
    // Each commit that newly passes is one of its own; those that do not are one.
    let once = |sha: &str, conclusion: &str| {
        let mut payload = run("gatelog", json!({"id": 6}), json!(conclusion));
        payload["check_run"]["head_sha"] = json!(sha.repeat(40));
        found("check_run", payload).unwrap().once
    };
    assert_ne!(once("a", "success"), once("b", "success"));
    assert_eq!(once("a", "success"), once("a", "success"));
    assert_eq!(once("a", "failure"), once("b", "failure"));
    // The check of pushes is another one than that which lets merge.
    let of_name =
        |name: &str| found("check_run", run(name, json!({"id": 6}), json!("success"))).unwrap().once;
    assert_ne!(of_name("gatelog"), of_name("gatelog/push"));
    assert_eq!(of_name("gatelog"), of_name("GateLog"));
}
