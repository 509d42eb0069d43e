//! After the merge: what lands on a watched branch has a merge verdict, and an exception is told.

use std::time::Duration;

use crate::common::{
    scene::{REPO, Scene, alerts_listener},
    view::View,
};
use gatelog::{
    ledger::entry::{Entry, Kind},
    simulated_github::{Fault, Method, Route, World, commit},
    time::Time,
};
use serde_json::{Value, json};

/// A ruleset on `main` that demands our check, of our App where `app` says so.
fn demand(w: &mut World, app: Option<u64>) {
    let check = json!({"context": "gatelog", "integration_id": app});
    let parameters =
        json!({"strict_required_status_checks_policy": false, "required_status_checks": [check]});
    let rule = json!({
        "type": "required_status_checks", "parameters": parameters,
        "ruleset_source_type": "Repository", "ruleset_source": REPO, "ruleset_id": 42,
    });
    let id = w.repository(REPO).unwrap().id;
    w.repositories.get_mut(&id).unwrap().rules.insert("main".to_owned(), vec![rule]);
}

async fn bound() -> Scene {
    let s = Scene::started().await;
    let app = s.gh.app_id();
    s.gh.with(|w| demand(w, Some(app)));
    s
}

/// The merge verdicts, oldest first.
fn landings(view: &View) -> Vec<(Entry, Value)> {
    let own = view.of_kind(&Kind::Verdict).filter(|e| !e.data["landing"].is_null());
    own.map(|e| (e.clone(), e.data["landing"].clone())).collect()
}

/// A pull request that bob approved and that is green.
async fn green(s: &Scene, branch: &str) -> u64 {
    let number = s.pull(branch, "A door").await;
    s.settle().await;
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{}", s.service.log());
    number
}

async fn audit(s: &Scene, args: &[&str]) -> (i32, Value, String) {
    let json: Vec<&str> = [&["audit"], args, &["--ledger", "data", "--format", "json"]].concat();
    let out = s.service.gatelog(&json).await;
    let errors = String::from_utf8_lossy(&out.stderr);
    let answer = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    let table = s.service.gatelog(&[&["audit"], args, &["--ledger", "data"]].concat()).await;
    assert_eq!(table.status.code(), out.status.code());
    (out.status.code().unwrap(), answer, String::from_utf8_lossy(&table.stdout).into_owned())
}

async fn sweep(s: &Scene) {
    let out = s.service.gatelog(&["reconcile", "--ledger", "data"]).await;
    assert!(matches!(out.status.code(), Some(0 | 4)), "{out:?}");
}

#[tokio::test]
async fn what_was_allowed_and_demanded_is_no_exception() {
    let mut s = bound().await;
    // One commit rebased looks as if squashed.
    for (branch, method, kind) in
        [("a", Method::Merge, "merge"), ("b", Method::Squash, "squash"), ("c", Method::Rebase, "squash")]
    {
        let number = green(&s, branch).await;
        s.act(|w| w.merge("bob", REPO, number, method)).await;
        let (_, landing) = landings(&s.settle().await).pop().unwrap();
        let wanted = json!({"kind": kind, "required": "bound", "bypassed": false, "exceptions": []});
        assert_eq!(landing, wanted, "{}", s.service.log());
    }
    let (code, answer, table) = audit(&s, &["exceptions"]).await;
    assert_eq!(
        (code, answer, table.as_str()),
        (0, json!({"exceptions": [], "tampering": [], "break_glass": []}), "no exceptions\n")
    );
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn each_way_past_the_gate_is_an_exception_with_its_reason() {
    let mut s = bound().await;
    // Merged by somebody who may, without an approval.
    let number = s.pull("topic", "A window").await;
    s.settle().await;
    s.act(|w| w.merge("carol", REPO, number, Method::Merge)).await;
    s.settle().await;
    // Pushed.
    s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "quick fix").write("x", "x")])).await;
    s.settle().await;
    // Force-pushed, and noted by GitHub as a bypass of its rules.
    let before = s.gh.with(|w| w.commits.values().find(|c| c.parents.is_empty()).unwrap().sha.clone());
    let did = s.gh.with(|w| {
        let did = w
            .force_push("mallory", REPO, "main", &before, &[commit("mallory", "gone").write("z", "z")])
            .unwrap();
        let suite = json!({"id": 21, "actor_id": 5, "actor_name": "mallory", "before_sha": before,
            "after_sha": did.what, "ref": "refs/heads/main", "repository_id": 1, "result": "bypass",
            "evaluation_result": "fail", "pushed_at": "2026-11-02T09:00:00Z"});
        w.repositories.values_mut().next().unwrap().rule_suites.push(suite);
        did
    });
    s.gh.deliver_all(&did.hooks).await.unwrap();
    s.settle().await;
    let view = s.view();
    let all: Vec<_> =
        landings(&view).into_iter().map(|(_, l)| (l["kind"].clone(), l["exceptions"].clone())).collect();
    let wanted = [
        (json!("bypass"), json!(["not_allowed"])),
        (json!("direct"), json!(["not_allowed"])),
        (json!("direct"), json!(["not_allowed", "bypassed"])),
    ];
    assert_eq!(all, wanted, "{}", s.service.log());
    let (code, answer, table) = audit(&s, &["exceptions"]).await;
    assert_eq!(code, 0);
    let by: Vec<&str> =
        answer["exceptions"].as_array().unwrap().iter().map(|e| e["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["carol", "bob", "mallory"], "{answer}");
    assert!(
        table.contains("octo-org/app main") && table.contains("by carol: not_allowed (bypass)"),
        "{table}"
    );
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_alerts_total{kind=\"exception\"} 3"), "{metrics}");
    assert!(
        s.service.log().contains("is on `main` by carol: it is not what was allowed"),
        "{}",
        s.service.log()
    );
    s.service.stop().await;
}

#[tokio::test]
async fn what_the_queue_lands_was_allowed_as_a_group() {
    let s = bound().await;
    for branch in ["a", "b"] {
        let number = green(&s, branch).await;
        s.act(|w| w.enqueue("alice", REPO, number)).await;
    }
    s.settle().await;
    for landed in 1..=2 {
        s.act(|w| w.merge_queue_lands("alice", REPO, "main")).await;
        let all = landings(&s.settle().await);
        let wanted = json!({"kind": "merge_group", "required": "bound", "bypassed": false, "exceptions": []});
        assert_eq!(all.len(), landed);
        assert_eq!(all.last().unwrap().1, wanted, "{}", s.service.log());
    }
    s.service.verify().await;
}

#[tokio::test]
async fn a_group_that_was_not_allowed_lands_as_an_exception() {
    let s = bound().await;
    let number = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, number)).await.what;
    let group = s.act(|w| w.enqueue("alice", REPO, number)).await.what;
    s.settle().await;
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("success"));
    s.act(|w| w.dismiss("carol", REPO, number, review)).await;
    s.settle().await;
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("failure"));
    s.act(|w| w.merge_queue_lands("alice", REPO, "main")).await;
    let (_, landing) = landings(&s.settle().await).pop().unwrap();
    let wanted =
        json!({"kind": "bypass", "required": "bound", "bypassed": false, "exceptions": ["not_allowed"]});
    assert_eq!(landing, wanted, "{}", s.service.log());
}

#[tokio::test]
async fn a_check_that_github_does_not_demand_or_bind_is_an_exception() {
    let mut s = Scene::started().await;
    let number = green(&s, "a").await;
    s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await;
    let view = s.settle().await;
    assert_eq!(landings(&view)[0].1["exceptions"], json!(["not_required"]));
    s.gh.with(|w| demand(w, None));
    let number = green(&s, "b").await;
    s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await;
    let view = s.settle().await;
    assert_eq!(landings(&view)[1].1["exceptions"], json!(["not_bound"]));
    // Classic protection, as everyone who may read sees it.
    let app = s.gh.app_id();
    s.gh.with(|w| {
        let r = w.repositories.values_mut().next().unwrap();
        r.rules.clear();
        let checks = json!([{"context": "gatelog", "app_id": app}]);
        let required = json!({"enforcement_level": "everyone", "contexts": ["gatelog"], "checks": checks});
        r.protection_shown
            .insert("main".into(), json!({"enabled": true, "required_status_checks": required}));
    });
    let number = green(&s, "c").await;
    s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await;
    let view = s.settle().await;
    assert_eq!(landings(&view)[2].1["exceptions"], json!([]));
    s.service.stop().await;
}

#[tokio::test]
async fn rules_that_cannot_be_read_are_an_exception_too() {
    let mut s = bound().await;
    let number = green(&s, "a").await;
    s.gh.fault(Route::Rest("GET", "/rules/branches"), usize::MAX, Fault::Status(404));
    s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await;
    let view = s.settle().await;
    let (_, landing) = landings(&view).pop().unwrap();
    let wanted =
        json!({"kind": "squash", "required": "unknown", "bypassed": false, "exceptions": ["unknown"]});
    assert_eq!(landing, wanted);
    s.service.stop().await;
}

async fn until(what: &str, s: &Scene, f: impl Fn() -> bool) {
    s.until(what, 30, || f().then_some(())).await;
}

#[tokio::test]
async fn an_exception_is_posted_and_posted_again_if_it_could_not_be() {
    let mut s = Scene::set().await;
    let (url, told) = alerts_listener().await;
    let file = s.service.dir.join("alerts.url");
    // Nobody listens there.
    std::fs::write(&file, "http://127.0.0.1:9/nobody\n").unwrap();
    // What follows soon is said together; here soon is over at once.
    let env = [
        ("GATELOG__ALERTS__URL_FILE", file.to_str().unwrap()),
        ("FAILPOINTS", "alerts::together=return(100)"),
    ];
    s.service.start_with(env).await.unwrap();
    s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "one <fix>").write("x", "x")])).await;
    let first = landings(&s.settle().await)[0].0.seq;
    s.service.kill9().await;
    std::fs::write(&file, format!("{url}\n")).unwrap();
    s.service.start_with(env).await.unwrap();
    until("posted after the start", &s, || told.lock().unwrap().len() == 1).await;
    s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "two").write("x", "y")])).await;
    let second = landings(&s.settle().await)[1].0.seq;
    until("posted", &s, || told.lock().unwrap().len() == 2).await;
    let posts: Vec<Value> = told.lock().unwrap().iter().map(|t| serde_json::from_str(t).unwrap()).collect();
    for (post, seq) in posts.iter().zip([first, second]) {
        let text = post["text"].as_str().unwrap();
        assert!(
            text.starts_with("gatelog: octo-org/app: ") && text.ends_with(&format!("(entry {seq})")),
            "{text}"
        );
    }
    assert!(!s.service.log().contains("/services/x"), "the address is a secret");
    // What was posted is not posted again.
    until("recorded", &s, || {
        s.view().entries.iter().filter(|e| e.data["event"] == json!("alerted")).count() == 2
    })
    .await;
    s.service.stop().await;
    s.service.start_with(env).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(told.lock().unwrap().len(), 2);
    s.service.stop().await;
}

#[tokio::test]
async fn completeness_counts_what_github_says_against_what_there_is() {
    let mut s = bound().await;
    sweep(&s).await;
    let number = green(&s, "a").await;
    s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await;
    s.settle().await;
    s.service.stop().await;
    s.gh.with(|w| w.push("bob", REPO, "main", &[commit("bob", "at night").write("x", "x")])).unwrap();
    let lost = s.gh.with(|w| w.edit_title("alice", REPO, number, "A gate")).unwrap();
    s.gh.deliver(&lost.hooks[0]).await.unwrap_err();
    s.service.start().await;
    sweep(&s).await;
    let since = "2026-01-01";
    let (code, answer, table) = audit(&s, &["completeness", "--since", since]).await;
    assert_eq!(code, 4, "the ledger begins later, and an event is on its way: {answer}");
    assert!(
        table.contains("before the ledger begins") && table.contains("it is not in the ledger"),
        "{table}"
    );
    s.settle().await;
    sweep(&s).await;
    s.settle().await;
    let begun = s.view().entries[0].time.to_string();
    let (code, answer, table) = audit(&s, &["completeness", "--since", &begun, "--repo", REPO]).await;
    assert_eq!(code, 0, "{table}");
    assert!(table.ends_with("COMPLETE\n"), "{table}");
    let landed = json!({"commits": 2, "with_verdict": 1, "with_exception": 1, "unexplained": 0});
    assert_eq!((&answer["landed"], &answer["found_without_webhook"]), (&landed, &json!(1)), "{answer}");
    let events = &answer["events"];
    assert_eq!(events["sent"], events["recorded"]);
    assert_eq!(events["sent"], events["judged"]);
    assert_eq!(answer["down"].as_array().unwrap().len(), 1);
    // Nobody compared what came after the last sweep.
    let (code, answer, _) = audit(&s, &["completeness", "--since", &begun, "--until", "2099-01-01"]).await;
    assert_eq!(
        (code, &answer["unexplained"][0]["why"]),
        (4, &json!("after the last sweep that read everything"))
    );
    s.service.stop().await;
    s.service.verify().await;
}

/// The verdict on what landed is durable, its check cannot be written, and the process that judged dies.
#[tokio::test]
async fn a_push_that_was_not_shown_in_time_is_shown_later_and_until_then_not_complete() {
    let mut s = bound().await;
    sweep(&s).await;
    let number = green(&s, "a").await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::Status(502));
    let landed = s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await.what;
    until("judged", &s, || s.view().unfinished().0.is_empty() && landings(&s.view()).len() == 1).await;
    sweep(&s).await;
    let begun = s.view().entries[0].time.to_string();
    let (code, answer, table) = audit(&s, &["completeness", "--since", &begun]).await;
    assert_eq!(code, 4, "{table}");
    assert!(answer["unexplained"].to_string().contains("is not shown"), "{answer}");
    s.service.kill9().await;
    s.gh.heal();
    s.service.start().await;
    let shown = || s.run_on(&landed, "gatelog/push").and_then(|r| r.conclusion);
    until("shown", &s, || shown().as_deref() == Some("success")).await;
    s.settle().await;
    sweep(&s).await;
    let (code, _, table) = audit(&s, &["completeness", "--since", &begun]).await;
    assert_eq!(code, 0, "{table}");
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

/// GitHub's times have no fractions: what it sent at 10:00:00.9 says 10:00:00.
#[tokio::test]
async fn a_period_that_begins_within_a_second_has_all_that_github_sent_in_it() {
    let mut s = Scene::started().await;
    // In another second than the ledger's first entry.
    let began = s.view().entries[0].time;
    until("the next second", &s, || Time::now().unix_seconds() > began.unix_seconds()).await;
    s.pull("topic", "A door").await;
    s.settle().await;
    sweep(&s).await;
    let sent: Vec<Time> = s.gh.with(|w| w.deliveries.iter().map(|d| d.at).collect());
    let second = sent.last().unwrap().unix_seconds();
    let since = Time::from_unix_micros(second * 1_000_000 + 1).unwrap();
    let wanted = sent.iter().filter(|at| at.unix_seconds() == second).count();
    let (code, answer, table) = audit(&s, &["completeness", "--since", &since.to_string()]).await;
    assert_eq!((code, answer["events"]["sent"].as_u64()), (0, Some(wanted as u64)), "{sent:?}\n{table}");
    s.service.stop().await;
}

/// GitHub notes this push as one that bypassed its rules.
fn note_bypass(s: &Scene, before: &str, after: &str) {
    let suite = json!({"id": 21, "actor_id": 5, "actor_name": "mallory", "before_sha": before,
        "after_sha": after, "ref": "refs/heads/main", "repository_id": 1, "result": "bypass",
        "evaluation_result": "fail", "pushed_at": "2026-11-02T09:00:00Z"});
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().rule_suites.push(suite));
}

async fn exceptions(s: &Scene) -> (Value, String) {
    let (code, answer, table) = audit(s, &["exceptions"]).await;
    assert_eq!(code, 0, "{table}");
    (answer["exceptions"].clone(), table)
}

/// Commits with a merge verdict, and with an exception.
async fn counted(s: &Scene) -> (u64, u64) {
    let begun = s.view().entries[0].time.to_string();
    let (_, answer, _) = audit(s, &["completeness", "--since", &begun]).await;
    let count = |name: &str| answer["landed"][name].as_u64().unwrap();
    assert_eq!(count("unexplained"), 0, "{answer}");
    (count("with_verdict"), count("with_exception"))
}

fn alerted(s: &Scene) -> usize {
    s.service.log().matches("\"alert\":\"exception\"").count()
}

#[tokio::test]
async fn a_bypass_that_github_shows_later_is_an_exception_then() {
    let mut s = Scene::set().await;
    let app = s.gh.app_id();
    s.gh.with(|w| demand(w, Some(app)));
    let env = [("FAILPOINTS", "gate::settling=return(3000)")];
    s.service.start_with(env).await.unwrap();
    sweep(&s).await;
    let number = green(&s, "a").await;
    let landed = s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await.what;
    let first = landings(&s.settle().await).pop().unwrap();
    assert_eq!(first.1["exceptions"], json!([]), "{}", s.service.log());
    sweep(&s).await;
    assert_eq!((counted(&s).await, alerted(&s)), ((1, 0), 0));
    // By another process, which knows the push from the ledger alone.
    s.service.stop().await;
    note_bypass(&s, &landed, &landed);
    s.service.start_with(env).await.unwrap();
    until("judged again", &s, || landings(&s.view()).len() == 2).await;
    let view = s.settle().await;
    let (entry, landing) = landings(&view).pop().unwrap();
    let wanted = json!({"kind": "squash", "required": "bound", "bypassed": true, "exceptions": ["bypassed"],
        "instead_of": first.0.seq});
    assert_eq!(landing, wanted);
    let (rows, table) = exceptions(&s).await;
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["entry"], &rows[0]["by"]),
        (1, &json!(entry.seq), &json!("mallory")),
        "{table}"
    );
    assert_eq!((counted(&s).await, alerted(&s)), ((0, 1), 1), "{}", s.service.log());
    // Looked at once more it says the same, and nothing new is recorded of it.
    let run = s.run_on(&landed, "gatelog/push").unwrap().id;
    s.act(|w| w.rerequest("carol", run)).await;
    assert_eq!((landings(&s.settle().await).len(), alerted(&s)), (2, 1));
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn an_exception_that_was_only_not_known_yet_leaves_the_list() {
    let mut s = bound().await;
    sweep(&s).await;
    let number = green(&s, "a").await;
    s.gh.fault(Route::Rest("GET", "/rules/branches"), usize::MAX, Fault::Status(404));
    let landed = s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await.what;
    s.settle().await;
    sweep(&s).await;
    assert_eq!(counted(&s).await, (0, 1));
    assert_eq!(exceptions(&s).await.0[0]["exceptions"], json!(["unknown"]));
    s.gh.heal();
    let run = s.run_on(&landed, "gatelog/push").unwrap().id;
    s.act(|w| w.rerequest("carol", run)).await;
    let (_, landing) = landings(&s.settle().await).pop().unwrap();
    assert_eq!(
        (&landing["required"], &landing["exceptions"]),
        (&json!("bound"), &json!([])),
        "{}",
        s.service.log()
    );
    assert_eq!(counted(&s).await, (1, 0));
    assert_eq!(exceptions(&s).await.1, "no exceptions\n");
    // What was read when it landed stands, whatever becomes of the rules.
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().rules.clear());
    s.service.stop().await;
    s.service.verify().await;
}

/// Withheld is neither shown nor unexplained.
#[tokio::test]
async fn what_is_withheld_is_counted_apart() {
    let mut s = bound().await;
    sweep(&s).await;
    // GitHub says in whole seconds when it sent something: this is in the period.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::Status(502));
    let number = s.pull("topic", "A door").await;
    until("judged", &s, || s.view().unfinished().0.is_empty() && s.view().unfinished().1.len() == 1).await;
    s.act(|w| w.close("alice", REPO, number)).await;
    until("withheld", &s, || {
        s.view().reports().any(|r| r.result == gatelog::ledger::entry::ReportResult::Withheld)
    })
    .await;
    s.gh.heal();
    s.settle().await;
    sweep(&s).await;
    let begun = s.view().entries[0].time.to_string();
    let (code, answer, table) = audit(&s, &["completeness", "--since", &begun]).await;
    assert_eq!(
        (code, &answer["events"]["withheld"], &answer["events"]["reported"]),
        (0, &json!(1), &json!(0)),
        "{table}"
    );
    assert!(table.contains("reported 0, withheld 1, "), "{table}");
    s.service.stop().await;
}
