//! The main job, through the real binary and real HTTP: webhook in, verdict, ledger, check run out.

use std::time::Duration;

use crate::common::{
    foreign::{Tool, foreign},
    scene::{REPO, Scene, push_and_open},
};
use gatelog::{
    ledger::entry::Kind,
    simulated_github::{Change, Fault, Route, Webhook, commit},
    verdict::Decision,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn blocked_until_somebody_else_approves() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains("0 of 1 approval"), "{title}");

    // His own approval does not count, and it is said why; a comment changes nothing.
    s.act(|w| w.approve("alice", REPO, pr)).await;
    s.act(|w| w.comment("bob", REPO, pr, "Nice.")).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains("ignored"), "{title}");

    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());

    // A new commit after the approval: the approval is stale, and the new head has no green.
    let change = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[change])).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{:?}", s.check(pr));
    s.act(|w| w.approve("carol", REPO, pr)).await;
    let view = s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));

    s.assert_runs_are_sound();
    for report in view.reports() {
        assert!(report.check_run.is_some(), "{report:?}");
    }
    s.service.verify().await;
    assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
    assert!(s.service.verify().await.contains("VERIFIED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dismissed_approval_turns_the_check_red_again() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, pr)).await.what;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    s.act(|w| w.dismiss("carol", REPO, pr, review)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{:?}", s.check(pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_commits_are_named_with_the_command_that_mends_them() {
    let s = Scene::started().await;
    let pr = s
        .act(|w| {
            w.push("alice", REPO, "topic", &[commit("alice", "unsigned").write("a", "a")])?;
            w.open_pull("alice", REPO, "topic", "main", "Unsigned")
        })
        .await
        .what;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"));
    let summary = run.summary.unwrap();
    assert!(summary.contains("CHG-05") && summary.contains("git commit --amend"), "{summary}");
    assert!(summary.contains(&s.head(pr)[..7]), "{summary}");
    s.act(|w| w.sign_head("alice", REPO, "topic")).await;
    s.act(|w| w.approve("carol", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_again_is_the_same_entry() {
    let s = Scene::started().await;
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    let hook = did.hooks.last().unwrap();
    let first = s.deliver(hook).await;
    assert_eq!(first.status, 202, "{first:?}");
    let again = s.deliver(hook).await;
    assert_eq!((again.status, &again.json()["seq"]), (200, &first.json()["seq"]), "{again:?}");

    // The same GUID with another body; the same body under another GUID.
    let mut other_body = hook.clone();
    other_body.payload["pull_request"]["title"] = json!("Another title");
    let answer = s.deliver(&other_body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let replay = Webhook { guid: "00000000-0000-4000-8000-000000000001".to_owned(), ..hook.clone() };
    let replayed = s.deliver(&replay).await;
    assert_eq!(replayed.status, 202, "{replayed:?}");

    let view = s.settle().await;
    assert_eq!(view.deliveries(&hook.guid).len(), 2);
    assert_eq!(view.flags(answer.json()["seq"].as_u64().unwrap()), [json!("other_body")]);
    assert_eq!(view.flags(replayed.json()["seq"].as_u64().unwrap()), [json!("replayed")]);
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_deliveries_leave_no_trace() {
    let s = Scene::started().await;
    let before = s.settle().await.entries.len();
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    let refused = s.gh.courier().deliver_badly_signed(&did.hooks[0]).await.unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    let json_type = ("content-type", "application/json");
    let (event, guid) = (("x-github-event", "push"), ("x-github-delivery", "1"));
    let unsigned = s.service.post(&[json_type, event, guid], b"{}").await.unwrap();
    assert_eq!(unsigned.0, 401, "{unsigned:?}");
    let signed = (
        "x-hub-signature-256",
        &*gatelog::simulated_github::sign(crate::common::service::SECRET.as_bytes(), b"{}"),
    );
    for missing in [vec![json_type, event, signed], vec![json_type, guid, signed]] {
        assert_eq!(s.service.post(&missing, b"{}").await.unwrap().0, 400);
    }
    let large = vec![b' '; 25 * 1024 * 1024 + 1];
    let too_large = s.service.post(&[json_type, event, guid, signed], &large).await.unwrap();
    assert_eq!(too_large.0, 413, "{too_large:?}");
    assert_eq!(s.view().entries.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_well_signed_is_recorded_and_judged() {
    let s = Scene::started().await;
    let unknown =
        s.act(|w| w.any_event("alice", REPO, "never_heard_of", json!({"action": "appeared"}))).await;
    let courier = s.gh.courier();
    let broken = courier.deliver_raw("broken", "pull_request", b"{\"action\": ").await.unwrap();
    assert_eq!(broken.status, 202, "{broken:?}");
    let not_utf8 = courier.deliver_raw("bytes", "push", b"\xff\xfe\x00").await.unwrap();
    assert_eq!(not_utf8.status, 202, "{not_utf8:?}");
    let form = s.gh.with(|w| w.any_event("alice", REPO, "star", json!({"action": "created"}))).unwrap();
    assert_eq!(courier.deliver_form(&form.hooks[0]).await.unwrap().status, 202);
    let view = s.settle().await;
    assert_eq!(view.decision(&unknown.hooks[0].guid), Some(Decision::Allow));
    assert_eq!(view.decision("broken"), Some(Decision::Error));
    assert_eq!(view.decision("bytes"), Some(Decision::Error));
    assert_eq!(view.decision(&form.hooks[0].guid), Some(Decision::Allow));
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_is_shown_harmlessly() {
    let s = Scene::started().await;
    let hostile = "<script>x</script> @octo-org/all [a](https://evil.example) \u{1b}[2J \u{202e}evil | `";
    let pr = s.pull("to<b>pic", hostile).await;
    s.act(|w| w.push("alice", REPO, "to<b>pic", &[commit("mallory", hostile).write("<i>.txt", hostile)]))
        .await;
    s.act(|w| w.request_changes("bob", REPO, pr, hostile)).await;
    let view = s.settle().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"));
    for shown in [run.summary.unwrap(), run.text.unwrap()] {
        for bad in ["<script", "<b>", "<i>", "](https:", "@octo-org/all", "\u{1b}", "\u{202e}"] {
            assert!(!shown.contains(bad), "{bad:?} in {shown}");
        }
    }
    for seq in 0..view.entries.len() {
        let shown = s.service.gatelog(&["log", "show", &seq.to_string(), "--ledger", "data"]).await;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(
            !text.chars().any(|c| c != '\n' && c != '\t' && gatelog::escape::is_invisible(c)),
            "{text:?}"
        );
    }
    let listed = s.service.gatelog(&["log", "list", "--ledger", "data"]).await;
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(['\u{1b}', '\u{202e}']));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_restart_goes_on_where_it_stopped() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let before = s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
    let writes = s.gh.check_run_writes();
    s.service.start().await;
    let after = s.settle().await;
    assert!(after.entries.len() > before.entries.len());
    let services = |v: &crate::common::view::View| v.of_kind(&Kind::Service).count();
    assert_eq!(services(&after), services(&before) + 2, "stopped, started");
    assert_eq!(s.gh.check_run_writes(), writes, "nothing changed, so nothing is written");
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pull_requests_with_one_head_share_the_worse_decision() {
    let s = Scene::started().await;
    let first = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, first)).await;
    s.settle().await;
    assert_eq!(s.check(first).0, "success");
    s.gh.with(|w| w.push("alice", REPO, "release", &[commit("alice", "r").signed()])).unwrap();
    let second = s.act(|w| w.open_pull("alice", REPO, "topic", "release", "The same again")).await.what;
    assert_eq!(s.head(first), s.head(second));
    s.settle().await;
    let (state, title) = s.check(first);
    assert_eq!(state, "failure", "{title}");
    // Approved there too: now both may.
    s.act(|w| w.approve("bob", REPO, second)).await;
    s.settle().await;
    assert_eq!(s.check(first).0, "success", "{:?}", s.check(first));
    s.assert_runs_are_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_example_payloads_are_recorded_and_judged() {
    let Some(node) = foreign(Tool::Node) else { return };
    let file = node.join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let s = Scene::started().await;
    let mut guids = Vec::new();
    for event in &all {
        for payload in event["examples"].as_array().unwrap() {
            let guid = format!("example-{}", guids.len());
            let name = event["name"].as_str().unwrap().to_owned();
            let hook = Webhook { guid: guid.clone(), event: name, payload: payload.clone() };
            let answer = s.deliver(&hook).await;
            assert_eq!(answer.status, 202, "{} {answer:?}", hook.event);
            guids.push(guid);
        }
    }
    assert_eq!(guids.len(), 329);
    let view = s.settle().await;
    for guid in guids {
        assert!(view.decision(&guid).is_some(), "{guid} has no verdict");
    }
    s.service.verify().await;
}

/// One pull request, approved, while something is wrong with GitHub: in the end one run, and it is green.
async fn green_in_spite_of(fault: impl FnOnce(&Scene)) -> Scene {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    fault(&s);
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    s.assert_runs_are_sound();
    s.service.verify().await;
    s
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_after_the_write() {
    let s = Scene::started().await;
    s.gh.fault(Route::WriteCheckRun, 1, Fault::DoneButStatus(502));
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
    assert_eq!(s.gh.check_runs_on(&s.head(pr)).len(), 1, "written once");

    green_in_spite_of(|s| s.gh.fault(Route::WriteCheckRun, 2, Fault::DoneButStatus(504))).await;
    green_in_spite_of(|s| s.gh.fault(Route::WriteCheckRun, 1, Fault::Disconnect)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_outages_are_waited_for() {
    let limited = Fault::RetryAfter { status: 403, seconds: 1 };
    green_in_spite_of(|s| s.gh.fault(Route::Any, 2, limited.clone())).await;
    let limited = Fault::RetryAfter { status: 429, seconds: 1 };
    green_in_spite_of(|s| s.gh.fault(Route::WriteCheckRun, 1, limited.clone())).await;
    green_in_spite_of(|s| s.gh.fault(Route::Any, 4, Fault::Status(503))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_errors_and_broken_answers_are_no_facts() {
    let error = Fault::GraphqlError { kind: "INTERNAL", message: "Something went wrong" };
    green_in_spite_of(|s| s.gh.fault(Route::Graphql, 2, error.clone())).await;
    green_in_spite_of(|s| s.gh.fault(Route::Graphql, 1, Fault::Truncated)).await;
    green_in_spite_of(|s| s.gh.expire_tokens()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_an_error_until_somebody_looks_again() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let path = ["repository", "pullRequest", "reviews"].map(str::to_owned).to_vec();
    s.gh.fault(Route::Graphql, 1, Fault::GraphqlPartial { path, kind: "INTERNAL", message: "timed out" });
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.starts_with("Could not decide"), "{title}");
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    s.act(|w| w.rerequest("alice", run.id)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_lags_behind_the_webhook() {
    green_in_spite_of(|s| s.gh.lag(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_moves_while_it_is_read_is_never_green_for_what_came() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let old = s.head(pr);
    let moved = Change::new(|w| {
        let more = commit("alice", "sneaked in").write("sneaked.txt", "in").signed();
        w.push("alice", REPO, "topic", &[more]).unwrap();
    });
    s.gh.fault(Route::Graphql, 1, Fault::Meanwhile(moved));
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let new = s.head(pr);
    assert_ne!(old, new);
    let on_new = s.run_on(&new, "gatelog");
    assert!(on_new.is_none_or(|r| r.conclusion.as_deref() != Some("success")), "nobody approved {new}");
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_verdict_shows_in_progress_meanwhile() {
    let s = Scene::started().await;
    let hold = s.gh.hold(Route::Graphql);
    let pr = s.pull("topic", "A door").await;
    hold.arrived(1).await;
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while s.check(pr).0 != "in_progress" {
        assert!(std::time::Instant::now() < until, "{:?}\n{}", s.check(pr), s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hold.release();
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
    assert_eq!(s.gh.check_runs_on(&s.head(pr)).len(), 1, "the same run");
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_answer_and_a_second_service_is_refused() {
    let s = Scene::started().await;
    assert_eq!(s.service.get(s.service.port, "/healthz").await.unwrap().0, 200);
    let (status, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE"), "{metrics}");
    assert_eq!(s.service.get(s.service.port, "/metrics").await.unwrap().0, 404, "not on the public port");
    let second = s.service.gatelog(&["serve", "--config", "gatelog.toml"]).await;
    assert_eq!(second.status.code(), Some(5), "{second:?}");
}
