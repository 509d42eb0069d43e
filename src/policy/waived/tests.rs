use serde_json::json;

use super::*;

const HEAD: &str = "9ac3f1e0000000000000000000000000000000aa";

fn ids() -> BTreeSet<&'static str> {
    BTreeSet::from(["CHG-02", "CHG-05"])
}

fn wrong(data: Value) -> String {
    read(&data, &ids()).unwrap_err().to_string()
}

fn written(change: impl Fn(&mut Value)) -> Value {
    let mut item = json!({"control": "CHG-02", "owner": "mona", "reason": "import", "until": "2026-12-01"});
    change(&mut item);
    json!({"waivers": [item]})
}

fn input(about: &str, change: impl Fn(&mut Value)) -> Input {
    let mut document = json!({
        "time": "2026-11-24T12:00:00Z", "about": about,
        "event": {"name": "pull_request", "payload": {}},
        "repository": {"id": 3, "name": "octo-org/payments"},
        "target": {"ref_kind": "branch", "name": "main"},
        "pull_request": {"number": 7, "head": {"sha": HEAD}},
        "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T12:00:00Z"},
    });
    change(&mut document);
    Input::from_json(document).unwrap()
}

fn finding(kind: FindingKind, path: Option<&str>) -> Finding {
    let path = path.map(str::to_owned);
    Finding { kind, msg: "m".into(), path, line: None, commit: None, who: None, fix: None }
}

fn control(outcome: Outcome, findings: Vec<Finding>) -> Control {
    Control {
        id: "CHG-02".into(),
        package: "controls.required_reviews".into(),
        title: "Reviews".into(),
        severity: None,
        outcome,
        evaluate_only: false,
        findings,
        skip_reason: None,
        waived_by: vec![],
    }
}

/// The outcome of a denied control, and until when it stands.
fn denied(data: &Value, input: &Input) -> (Outcome, Option<String>) {
    let mut controls = [control(Outcome::Deny, vec![finding(FindingKind::Deny, None)])];
    let until = apply(&read(data, &ids()).unwrap(), input, &mut controls);
    assert_eq!(controls[0].outcome == Outcome::Waived, !controls[0].waived_by.is_empty());
    assert_eq!(controls[0].findings.len(), 1, "a waived finding stays");
    (controls[0].outcome, until.map(|t| t.to_string()))
}

#[test]
fn an_exception_without_owner_reason_end_or_control_is_refused_with_its_place() {
    for (change, says) in [
        (written(|w| _ = w.as_object_mut().unwrap().remove("owner")), "`waivers[0]`: missing field `owner`"),
        (written(|w| w["reason"] = json!(" ")), "`reason` is empty"),
        (written(|w| _ = w.as_object_mut().unwrap().remove("until")), "missing field `until`"),
        (written(|w| w["until"] = json!("soon")), "until: `soon` is no day"),
        (written(|w| w["from"] = json!("2027-01-01")), "it ends before it begins"),
        (written(|w| w["control"] = json!("CHG-99")), "no control has the id `CHG-99`"),
        (written(|w| _ = w.as_object_mut().unwrap().remove("control")), "no control is named"),
        (written(|w| w["repositry"] = json!("a/b")), "unknown field `repositry`"),
        (written(|w| w["paths"] = json!(["{a"])), "`{a`"),
        (json!({"waivers": {}}), "`waivers`: it is no list"),
        (json!({"waiving": {"waive": {"by": {}, "controls": ["*"], "max_days": 1}}}), "neither `permission`"),
        (
            json!({"waiving": {"waive": {"by": {"permission": "read"}, "controls": ["*"], "max_days": 1}}}),
            "unknown variant `read`",
        ),
        (
            json!({"waiving": {"waive": {"by": {"teams": ["x"]}, "controls": ["*"], "max_days": 1}}}),
            "org/slug",
        ),
        (
            json!({"waiving": {"waive": {"by": {"permission": "admin"}, "controls": ["*"], "max_days": 1, "approvals": 3}}}),
            "neither 1 nor 2",
        ),
    ] {
        assert!(wrong(change.clone()).contains(says), "{change}: {}", wrong(change.clone()));
    }
}

#[test]
fn it_holds_from_its_begin_to_its_end_and_the_verdict_no_longer() {
    let here = input("pull_request", |_| ());
    let at = |from: &str, until: &str| {
        denied(&written(|w| (w["from"], w["until"]) = (json!(from), json!(until))), &here)
    };
    let end = Some("2026-11-25T00:00:00.000000Z".to_owned());
    assert_eq!(at("2026-11-24", "2026-11-24"), (Outcome::Waived, end), "to the end of the day");
    assert_eq!(at("2026-11-01", "2026-11-24T12:00:00Z"), (Outcome::Deny, None), "over now");
    let begin = Some("2026-11-24T12:00:01.000000Z".to_owned());
    assert_eq!(
        at("2026-11-24T12:00:01Z", "2026-12-01"),
        (Outcome::Deny, begin),
        "looked at again when it begins"
    );
    let now = Some("2026-12-02T00:00:00.000000Z".to_owned());
    assert_eq!(at("2026-11-24T12:00:00Z", "2026-12-01"), (Outcome::Waived, now));
}

#[test]
fn it_holds_only_where_its_scope_says() {
    let here = input("pull_request", |_| ());
    let tag = input("ref", |d| d["target"]["ref_kind"] = json!("tag"));
    let push = input("ref", |_| ());
    for (key, value, in_pull, in_push, on_tag) in [
        ("repository", json!("Octo-Org/Payments"), true, true, true),
        ("repository", json!("octo-org/*"), true, true, true),
        ("repository", json!("octo-org/pay*"), false, false, false),
        ("repository", json!("octo/*"), false, false, false),
        ("branch", json!("main"), true, true, false),
        ("branch", json!("m*"), true, true, false),
        ("branch", json!("release/*"), false, false, false),
        ("pull_request", json!(7), true, false, false),
        ("pull_request", json!(8), false, false, false),
        ("paths", json!(["**"]), false, false, false),
    ] {
        let data = written(|w| w[key] = value.clone());
        let waived = |input: &Input| denied(&data, input).0 == Outcome::Waived;
        assert_eq!(
            (waived(&here), waived(&push), waived(&tag)),
            (in_pull, in_push, on_tag),
            "{key}: {value}"
        );
    }
}

#[test]
fn what_landed_is_excused_as_its_pull_requests_were() {
    let landed = |hold: Value, numbers: &[u64]| {
        let pulls: Vec<Value> =
            numbers.iter().map(|n| json!({"number": n, "head": HEAD, "allowed": true})).collect();
        input("ref", |d| d["push"] = json!({"landed": {"pull_requests": pulls, "waivers_hold": hold}}))
    };
    let data = written(|w| w["pull_request"] = json!(7));
    assert_eq!(denied(&data, &landed(json!(true), &[7])).0, Outcome::Waived);
    assert_eq!(denied(&data, &landed(json!(true), &[7, 8])).0, Outcome::Deny);
    assert_eq!(denied(&data, &landed(json!(true), &[])).0, Outcome::Deny);
    assert_eq!(denied(&written(|_| ()), &landed(json!(true), &[7, 8])).0, Outcome::Waived);
    // A bypass, and what was judged when this was not known.
    for not in [json!(false), Value::Null, json!("true")] {
        assert_eq!(denied(&data, &landed(not, &[7])).0, Outcome::Deny);
    }
    let comment = |head: &str| {
        let waiver = json!({"entry": 5, "controls": ["CHG-02"], "repository_id": 3, "branch": "main", "pull_request": 7,
            "head": head, "owner": "dora", "reason": "r", "from": "2026-11-24T11:00:00Z", "until": "2026-11-25T11:00:00Z"});
        let mut document = landed(json!(true), &[7]).document().clone();
        document["waivers"] = json!([waiver]);
        denied(&json!({}), &Input::from_json(document).unwrap()).0
    };
    assert_eq!(comment(HEAD), Outcome::Waived);
    assert_eq!(comment(&HEAD.replace('9', "8")), Outcome::Deny, "another head than what landed");
}

#[test]
fn a_group_is_excused_only_if_each_of_its_pull_requests_is() {
    let entry = |n: u64| json!({"pull_request": {"number": n, "head": {"sha": HEAD}}});
    let group = |numbers: &[u64]| {
        let entries: Vec<Value> = numbers.iter().map(|n| entry(*n)).collect();
        input("merge_group", |d| d["merge_group"] = json!({"entries": entries}))
    };
    let data = written(|w| w["pull_request"] = json!(7));
    assert_eq!(denied(&data, &group(&[7])).0, Outcome::Waived);
    assert_eq!(denied(&data, &group(&[7, 8])).0, Outcome::Deny);
    assert_eq!(denied(&data, &group(&[])).0, Outcome::Deny, "a group whose pull requests are not known");
    assert_eq!(denied(&written(|_| ()), &group(&[7, 8])).0, Outcome::Waived);
}

#[test]
fn every_finding_must_be_covered_and_an_error_never_is() {
    let here = input("pull_request", |_| ());
    let waiving = read(&written(|w| w["paths"] = json!(["vendor/**"])), &ids()).unwrap();
    let outcome = |start: Outcome, findings: Vec<Finding>| {
        let mut controls = [control(start, findings)];
        apply(&waiving, &here, &mut controls);
        controls[0].outcome
    };
    let deny = |path| finding(FindingKind::Deny, path);
    assert_eq!(outcome(Outcome::Deny, vec![deny(Some("vendor/a/b.c"))]), Outcome::Waived);
    assert_eq!(outcome(Outcome::Deny, vec![deny(Some("vendor/a")), deny(Some("src/a"))]), Outcome::Deny);
    assert_eq!(outcome(Outcome::Deny, vec![deny(None)]), Outcome::Deny);
    let pending = finding(FindingKind::Pending, Some("vendor/a"));
    assert_eq!(outcome(Outcome::Pending, vec![pending]), Outcome::Waived);
    let error = finding(FindingKind::Error, Some("vendor/a"));
    assert_eq!(outcome(Outcome::Error, vec![error.clone()]), Outcome::Error);
    assert_eq!(outcome(Outcome::Deny, vec![deny(Some("vendor/a")), error]), Outcome::Deny);
    assert_eq!(outcome(Outcome::Pass, vec![]), Outcome::Pass, "one that is not needed is not shown");
}

#[test]
fn the_ledgers_hold_for_the_head_they_were_asked_for() {
    let of_the_ledger = |head: &str| {
        json!([{
            "entry": 9, "kind": "break_glass", "controls": ["*"], "repository_id": 3, "pull_request": 7,
            "head": head, "owner": "mona", "reason": "down",
            "from": "2026-11-24T11:00:00Z", "until": "2026-11-24T15:00:00Z",
        }])
    };
    let with = |head: &str| input("pull_request", |d| d["waivers"] = of_the_ledger(head));
    let nothing = json!({});
    assert_eq!(denied(&nothing, &with(HEAD)).0, Outcome::Waived);
    assert_eq!(denied(&nothing, &with(&"a".repeat(40))).0, Outcome::Deny);
    let other = input("pull_request", |d| {
        d["waivers"] = of_the_ledger(HEAD);
        d["repository"]["id"] = json!(4);
    });
    assert_eq!(denied(&nothing, &other).0, Outcome::Deny);
    let bad = Input::from_json(json!({
        "time": "2026-11-24T12:00:00Z", "event": {}, "waivers": [{"controls": 1}],
        "facts": {"missing": []},
    }));
    assert!(bad.unwrap_err().to_string().contains("waivers"));
}
