//! Sweeps: what GitHub says happened and the ledger does not have is found, fetched and judged.

use std::time::Duration;

use crate::common::{
    scene::{REPO, Scene, push_and_open},
    view::View,
};
use gatelog::{
    ledger::entry::{Entry, Kind},
    simulated_github::{Fault, Route, commit},
    time::Time,
    verdict::Decision,
};
use serde_json::{Value, json};

/// `gatelog reconcile`; the counts of the entry it made.
async fn sweep(s: &Scene) -> Value {
    let out = s.service.gatelog(&["reconcile", "--ledger", "data"]).await;
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(matches!(out.status.code(), Some(0 | 4)), "{said}{errors}\n{}", s.service.log());
    let view = s.view();
    view.of_kind(&Kind::Reconcile).last().unwrap().data.clone()
}

/// What the last sweep found, item by item.
async fn found(s: &Scene) -> Value {
    let seq = s.view().of_kind(&Kind::Reconcile).last().unwrap().seq.to_string();
    let out = s.service.gatelog(&["log", "show", &seq, "--ledger", "data"]).await;
    let text = String::from_utf8_lossy(&out.stdout);
    let (_, body) = text.split_once("\nbody sweep").unwrap().1.split_once('\n').unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    body["found"].clone()
}

/// Events that were read from GitHub's API.
fn by_api(view: &View) -> Vec<Entry> {
    view.of_kind(&Kind::Event).filter(|e| e.data["source"] == json!("api")).cloned().collect()
}

fn direct_push(s: &Scene, text: &str) -> String {
    s.gh.with(|w| w.push("mallory", REPO, "main", &[commit("mallory", text).write("x", text)])).unwrap().what
}

#[tokio::test]
async fn a_delivery_that_failed_is_asked_for_again_and_judged() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    s.service.stop().await;
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    for hook in &did.hooks {
        s.gh.deliver(hook).await.unwrap_err();
    }
    s.service.start().await;
    assert!(by_api(&s.view()).is_empty());
    let swept = sweep(&s).await;
    assert_eq!(swept["asked_again"], json!(did.hooks.len()), "{swept}");
    assert_eq!((&swept["sent"], &swept["lost"]), (&json!(did.hooks.len()), &json!(0)));
    s.settle().await;
    let view = s.view();
    for hook in &did.hooks {
        assert!(view.decision(&hook.guid).is_some(), "{} was not judged", hook.event);
    }
    assert_eq!(s.check(did.what).0, "failure");
    let again = sweep(&s).await;
    assert_eq!(
        (&again["asked_again"], &again["waiting"], &again["found"]),
        (&json!(0), &json!(0), &json!(0))
    );
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_head_that_no_delivery_told_of_is_judged() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    let swept = sweep(&s).await;
    assert_eq!((&swept["open_heads"], &swept["judged_again"]), (&json!(1), &json!(1)), "{swept}");
    s.settle().await;
    assert_eq!(s.check(did.what).0, "failure");
    assert_eq!(sweep(&s).await["judged_again"], json!(0));
    s.service.stop().await;
}

#[tokio::test]
async fn what_is_not_delivered_again_is_read() {
    let mut s = Scene::started().await;
    s.service.stop().await;
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    for hook in &did.hooks {
        s.gh.deliver(hook).await.unwrap_err();
    }
    s.gh.fault(Route::Rest("POST", "app/hook/deliveries"), usize::MAX, Fault::Status(404));
    s.service.start().await;
    let swept = sweep(&s).await;
    assert_eq!(swept["read_by_get"], json!(did.hooks.len()), "{swept}\n{}", s.service.log());
    let view = s.settle().await;
    let read = by_api(&view);
    assert_eq!(read.len(), did.hooks.len());
    for event in &read {
        assert!(event.key.starts_with("delivery-by-get:"), "{}", event.key);
        assert!(view.verdict_of(event.seq).is_some());
    }
    assert_eq!(sweep(&s).await["read_by_get"], json!(0), "once is enough");
    // Should the delivery still come, its signed bytes are recorded, unflagged.
    s.deliver(&did.hooks[0]).await;
    let view = s.settle().await;
    let late = view.deliveries(&did.hooks[0].guid)[0].seq;
    assert!(view.flags(late).is_empty(), "{:?}", view.flags(late));
    s.service.stop().await;
}

#[tokio::test]
async fn a_direct_push_while_nobody_listened_is_found() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    s.service.stop().await;
    let (first, second) = (direct_push(&s, "one"), direct_push(&s, "two"));
    s.service.start().await;
    let swept = sweep(&s).await;
    assert_eq!(
        (&swept["waiting"], &swept["found"]),
        (&json!(2), &json!(0)),
        "a webhook may be on its way: {swept}"
    );
    let swept = sweep(&s).await;
    assert_eq!(
        (&swept["waiting"], &swept["found"], &swept["landed"]),
        (&json!(0), &json!(2), &json!(2)),
        "{swept}"
    );
    let view = s.settle().await;
    let pushes = by_api(&view);
    let heads: Vec<_> = pushes.iter().map(|e| e.subject.head.clone().unwrap().to_string()).collect();
    assert_eq!(heads, [first.clone(), second.clone()]);
    let landed = found(&s).await["landed"].clone();
    assert_eq!((&landed[0]["sha"], &landed[1]["sha"]), (&json!(second), &json!(first)));
    assert_eq!((&landed[0]["event"], &landed[1]["event"]), (&json!(pushes[1].seq), &json!(pushes[0].seq)));
    for push in &pushes {
        assert!(view.verdict_of(push.seq).is_some());
    }
    let again = sweep(&s).await;
    assert_eq!((&again["found"], &again["landed"]), (&json!(0), &json!(0)));
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn without_the_activity_the_history_tells() {
    let mut s = Scene::started().await;
    s.gh.with(|w| w.repositories.values_mut().for_each(|r| r.records_hidden = true));
    sweep(&s).await;
    let told = s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "told").write("y", "y")])).await.what;
    let tip = direct_push(&s, "not told");
    sweep(&s).await;
    let swept = sweep(&s).await;
    assert_eq!((&swept["found"], &swept["landed"]), (&json!(1), &json!(2)), "{swept}\n{}", s.service.log());
    let pushes = by_api(&s.settle().await);
    let subject = &pushes[0].subject;
    assert_eq!(subject.head.as_ref().unwrap().as_str(), tip);
    // What GitHub shows of the way is where it began: the push that was told lies inside.
    assert_ne!(subject.base.as_ref().unwrap().as_str(), told);
    s.service.stop().await;
}

#[tokio::test]
async fn a_push_that_was_taken_back_is_found() {
    let mut s = Scene::started().await;
    s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "told").write("y", "y")])).await;
    s.settle().await;
    sweep(&s).await;
    let before = s.gh.with(|w| w.branch(w.repository(REPO).unwrap().id, "main").unwrap().to_owned());
    direct_push(&s, "for a moment");
    s.gh.with(|w| w.force_push("mallory", REPO, "main", &before, &[])).unwrap();
    sweep(&s).await;
    let swept = sweep(&s).await;
    assert_eq!(swept["found"], json!(2), "{swept}\n{}", s.service.log());
    assert_eq!(by_api(&s.settle().await).len(), 2);
    s.service.stop().await;
}

#[tokio::test]
async fn a_webhook_that_comes_late_is_no_finding() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    let did = s.gh.with(|w| w.push("bob", REPO, "main", &[commit("bob", "late").write("y", "y")])).unwrap();
    assert_eq!(sweep(&s).await["waiting"], json!(1));
    s.gh.deliver_all(&did.hooks).await.unwrap();
    let swept = sweep(&s).await;
    assert_eq!((&swept["found"], &swept["landed"]), (&json!(0), &json!(1)), "{swept}");
    assert!(by_api(&s.settle().await).is_empty());
    s.service.stop().await;
}

#[tokio::test]
async fn tags_that_github_sends_no_event_for_are_found() {
    let mut s = Scene::started().await;
    let tip = s.gh.with(|w| {
        let tip = w.branch(w.repository(REPO).unwrap().id, "main").unwrap().to_owned();
        w.tag("bob", REPO, "v0", &tip).unwrap();
        tip
    });
    sweep(&s).await;
    s.gh.with(|w| {
        for n in 1..=4 {
            w.tag("mallory", REPO, &format!("v{n}"), &tip).unwrap();
        }
        w.delete_tag("mallory", REPO, "v0").unwrap();
    });
    sweep(&s).await;
    let swept = sweep(&s).await;
    assert_eq!(swept["found"], json!(5), "{swept}\n{}", s.service.log());
    let view = s.settle().await;
    assert_eq!(by_api(&view).len(), 5);
    assert_eq!(sweep(&s).await["found"], json!(0));
    s.service.stop().await;
}

#[tokio::test]
async fn a_sweep_that_dies_is_made_again_and_records_nothing_twice() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    let tip = direct_push(&s, "x");
    assert_eq!(sweep(&s).await["waiting"], json!(1));
    s.service.kill9().await;
    let sweeps = s.view().of_kind(&Kind::Reconcile).count();
    s.service.start_with_failpoints("reconcile::record=return").await.unwrap();
    let out = s.service.gatelog(&["reconcile", "--ledger", "data"]).await;
    assert_eq!(out.status.code(), Some(5), "{out:?}");
    s.service.wait_until_ended(std::time::Duration::from_secs(10)).await;
    let view = s.view();
    assert_eq!(view.of_kind(&Kind::Reconcile).count(), sweeps, "it died before it was recorded");
    assert_eq!(by_api(&view).len(), 1, "the push was recorded before");
    s.service.start().await;
    let swept = sweep(&s).await;
    assert_eq!((&swept["landed"], &swept["waiting"]), (&json!(1), &json!(0)), "{swept}");
    let view = s.settle().await;
    let pushes = by_api(&view);
    assert_eq!(pushes.len(), 1);
    assert_eq!(
        found(&s).await["landed"][0],
        json!({
            "repository": pushes[0].subject.repository, "ref": "refs/heads/main", "sha": tip, "event": pushes[0].seq,
        })
    );
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_repository_that_vanished_holds_up_nothing() {
    let mut s = Scene::set().await;
    let lost = s.gh.with(|w| w.add_repository("octo-org/lost").unwrap());
    s.service.start().await;
    assert_eq!(sweep(&s).await["repositories"], json!(2));
    s.gh.with(|w| w.repositories.remove(&lost));
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    let swept = sweep(&s).await;
    assert_eq!((&swept["vanished"], &swept["judged_again"]), (&json!(1), &json!(1)), "{swept}");
    assert_eq!(found(&s).await["vanished"][0]["name"], json!("octo-org/lost"));
    s.settle().await;
    assert_eq!(s.check(did.what).0, "failure");
    assert_eq!(sweep(&s).await["vanished"], json!(0), "said once");
    s.service.stop().await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_is_said_and_read_next_time() {
    let mut s = Scene::started().await;
    sweep(&s).await;
    direct_push(&s, "x");
    s.gh.fault(Route::Rest("GET", "matching-refs"), 1, Fault::Status(500));
    let swept = sweep(&s).await;
    assert_eq!((&swept["trouble"], &swept["complete"]), (&json!(1), &json!(false)), "{swept}");
    sweep(&s).await;
    assert_eq!(sweep(&s).await["found"], json!(1));
    s.service.stop().await;
}

#[tokio::test]
async fn a_delivery_that_github_never_sent_is_named() {
    let mut s = Scene::started().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    let body = json!({"zen": "Keep it logically awesome.", "hook_id": 1}).to_string();
    s.gh.courier()
        .deliver_raw("00000000-dead-beef-0000-000000000000", "ping", body.as_bytes())
        .await
        .unwrap();
    let first = sweep(&s).await;
    assert_eq!(
        (&first["never_sent"], &first["waiting"]),
        (&json!(0), &json!(1)),
        "the list may lag: {first}"
    );
    assert_eq!(sweep(&s).await["never_sent"], json!(1));
    assert_eq!(found(&s).await["never_sent"][0]["guid"], json!("00000000-dead-beef-0000-000000000000"));
    assert_eq!(sweep(&s).await["never_sent"], json!(0), "said once");
    s.service.stop().await;
}

#[tokio::test]
async fn a_sweep_leaves_githubs_limits_to_judging() {
    let mut s = Scene::started().await;
    s.gh.set_remaining(900, 5000);
    sweep(&s).await;
    let swept = sweep(&s).await;
    assert_eq!((&swept["left_over"], &swept["swept"]), (&json!(1), &json!(0)), "{swept}");
    assert_eq!(swept["complete"], json!(false));
    s.gh.heal();
    s.service.stop().await;
}

#[tokio::test]
async fn sweeps_are_made_at_start_and_a_new_process_knows_what_the_old_one_saw() {
    let mut s = Scene::set().await;
    s.service.start_with([("GATELOG__RECONCILE__MINUTES", "1")]).await.unwrap();
    let swept = |s: &Scene| s.view().of_kind(&Kind::Reconcile).count();
    for n in 1..=2 {
        while swept(&s) < n {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        if n == 1 {
            s.service.stop().await;
            direct_push(&s, "x");
            s.service.start_with([("GATELOG__RECONCILE__MINUTES", "1")]).await.unwrap();
        }
    }
    let view = s.view();
    let entries: Vec<&Value> = view.of_kind(&Kind::Reconcile).map(|e| &e.data).collect();
    assert_eq!((&entries[0]["trigger"], &entries[0]["waiting"]), (&json!("start"), &json!(0)));
    assert_eq!(entries[1]["waiting"], json!(1), "{}", entries[1]);
    assert!(view.of_kind(&Kind::Verdict).all(|v| v.data["decision"] != json!(Decision::Allow)));
    s.service.stop().await;
}

/// A pull request that bob approved and that is green, and his review.
async fn green(s: &Scene) -> (u64, u64) {
    let number = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, number)).await.what;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{}", s.service.log());
    (number, review)
}

/// gatelog's own events of a cause.
fn looks(s: &Scene, cause: &str) -> usize {
    s.view().of_kind(&Kind::Event).filter(|e| e.data["cause"] == json!(cause)).count()
}

#[tokio::test]
async fn a_dismissal_that_no_delivery_told_of_turns_the_check_and_is_looked_at_once() {
    let mut s = Scene::started().await;
    let (number, review) = green(&s).await;
    assert_eq!(sweep(&s).await["judged_again"], json!(0), "what was judged is as it was");
    s.gh.with(|w| w.dismiss("carol", REPO, number, review)).unwrap();
    assert_eq!(sweep(&s).await["judged_again"], json!(1), "{}", s.service.log());
    s.settle().await;
    assert_eq!(s.check(number).0, "failure", "{:?}", s.check(number));
    assert_eq!(sweep(&s).await["judged_again"], json!(0), "once is enough");
    // A new process reads in the ledger what the old one judged.
    s.service.stop().await;
    s.service.start().await;
    assert_eq!(sweep(&s).await["judged_again"], json!(0));
    s.settle().await;
    assert_eq!((looks(&s, "start"), looks(&s, "sweep")), (0, 1));
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_new_base_while_nobody_listened_is_judged_at_start() {
    let mut s = Scene::started().await;
    s.act(|w| w.push("bob", REPO, "release", &[commit("bob", "a release").write("r", "r").signed()])).await;
    let (number, _) = green(&s).await;
    s.service.stop().await;
    s.gh.with(|w| w.retarget("alice", REPO, number, "release")).unwrap();
    s.service.start().await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while s.check(number).0 != "failure" {
        assert!(std::time::Instant::now() < until, "{:?}\n{}", s.check(number), s.service.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    s.settle().await;
    s.service.stop().await;
    s.service.start().await;
    sweep(&s).await;
    s.settle().await;
    assert_eq!((looks(&s, "start"), looks(&s, "sweep")), (1, 0));
    s.service.stop().await;
}

#[tokio::test]
async fn a_check_that_github_refused_is_shown_by_the_next_sweep() {
    let mut s = Scene::started().await;
    s.gh.fault(Route::CreateCheckRun, usize::MAX, Fault::Status(404));
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(number).0, "none", "withheld: {}", s.service.log());
    s.gh.heal();
    assert_eq!(sweep(&s).await["judged_again"], json!(0), "it is judged, and was not shown");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while s.check(number).0 != "failure" {
        assert!(std::time::Instant::now() < until, "{:?}\n{}", s.check(number), s.service.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    s.assert_runs_are_sound();
    s.service.stop().await;
}

/// Who owns what stands on the base, and the push that changed it was never delivered.
#[tokio::test]
async fn owners_that_a_lost_push_changed_are_asked_for() {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{REPO}\": {{required_reviews: {{require_code_owner_review: true}}}}"));
    s.service.start().await;
    let (number, _) = green(&s).await;
    sweep(&s).await;
    s.gh.with(|w| {
        w.push("bob", REPO, "main", &[commit("bob", "owners").write("CODEOWNERS", "* @carol\n").signed()])
    })
    .unwrap();
    sweep(&s).await;
    assert_eq!(sweep(&s).await["found"], json!(1), "{}", s.service.log());
    s.settle().await;
    assert_eq!(looks(&s, "base"), 1, "{}", s.service.log());
    assert_eq!(s.check(number).0, "failure", "{:?}\n{}", s.check(number), s.service.log());
    s.service.stop().await;
}

/// A branch moved to and fro: each move needs a push of its own.
#[tokio::test]
async fn a_push_tells_of_one_move_only() {
    let mut s = Scene::started().await;
    s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "told").write("y", "y")])).await;
    s.settle().await;
    sweep(&s).await;
    let before = s.gh.with(|w| w.branch(w.repository(REPO).unwrap().id, "main").unwrap().to_owned());
    let bad = commit("mallory", "bad").write("x", "x");
    let bad = s.act(|w| w.push("mallory", REPO, "main", &[bad])).await.what;
    s.act(|w| w.force_push("mallory", REPO, "main", &before, &[])).await;
    s.settle().await;
    s.gh.with(|w| w.force_push("mallory", REPO, "main", &bad, &[])).unwrap();
    assert_eq!(sweep(&s).await["waiting"], json!(1), "the third move");
    assert_eq!(sweep(&s).await["found"], json!(1), "{}", s.service.log());
    let view = s.settle().await;
    let pushes = by_api(&view);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].subject.head.as_ref().unwrap().as_str(), bad);
    assert_eq!(sweep(&s).await["found"], json!(0), "once is enough");
    s.service.stop().await;
    s.service.verify().await;
}

/// GitHub tells in whole seconds when something changed, so a second change in the second that was judged looks as
/// if it had been judged.
#[tokio::test]
async fn a_change_that_was_lost_in_the_second_that_was_judged_is_found() {
    let mut s = Scene::started().await;
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let second = Duration::from_secs(1);
    s.gh.with(|w| w.now = Time::now().before(second));
    let review = s.act(|w| w.approve("bob", REPO, number)).await.what;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{}", s.service.log());
    let changed = |s: &Scene| s.gh.with(|w| w.pull(REPO, number).unwrap().updated_at);
    let judged = changed(&s);
    s.gh.with(|w| {
        w.now = judged.before(second);
        w.dismiss("carol", REPO, number, review).unwrap();
    });
    assert_eq!(changed(&s), judged);
    tokio::time::sleep(judged.plus(3 * second).since(Time::now())).await;
    assert_eq!(sweep(&s).await["judged_again"], json!(1), "{}", s.service.log());
    s.settle().await;
    assert_eq!(s.check(number).0, "failure", "{:?}", s.check(number));
    // By another process too: what is read of it in the ledger is that it was looked at later.
    assert_eq!(sweep(&s).await["judged_again"], json!(0), "once is enough");
    s.service.stop().await;
    s.service.start().await;
    assert_eq!(sweep(&s).await["judged_again"], json!(0));
    s.settle().await;
    assert_eq!((looks(&s, "start"), looks(&s, "sweep")), (0, 1));
    s.service.stop().await;
}

#[tokio::test]
async fn a_sweep_that_panics_is_not_the_last() {
    let mut s = Scene::set().await;
    s.service.configure("minutes = 0", "minutes = 10");
    let armed = "reconcile::panic=1*panic(a fault of ours);reconcile::again=return(100)";
    s.service.start_with_failpoints(armed).await.unwrap();
    s.until("swept", 60, || s.view().of_kind(&Kind::Reconcile).next().map(|_| ())).await;
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_panics_total{task=\"sweeping\"} 1"), "{metrics}");
    s.service.stop().await;
    s.service.verify().await;
}
