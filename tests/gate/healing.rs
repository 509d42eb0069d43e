//! A check is never stuck: what is left behind is completed, what lacked facts is judged again.

use std::time::Duration;

use crate::common::scene::{REPO, Scene};
use gatelog::{
    ledger::entry::{Kind, ReportResult},
    simulated_github::{CheckRun, Fault, Route, commit},
};

fn completed(s: &Scene, sha: &str) -> Option<CheckRun> {
    s.run_on(sha, "gatelog").filter(|r| r.conclusion.is_some())
}

#[tokio::test]
async fn a_run_in_progress_on_a_head_that_was_left_is_completed() {
    let mut s = Scene::started().await;
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    let number = s.pull("topic", "A door").await;
    let old = s.head(number);
    s.until("in progress", 20, || s.run_on(&old, "gatelog")).await;
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    let new = s.head(number);
    hold.release();
    s.gh.heal();
    let left = s.until("the old head is completed", 20, || completed(&s, &old)).await;
    let title = left.title.unwrap_or_default();
    assert_eq!(left.conclusion.as_deref(), Some("failure"));
    assert_eq!(title, format!("Not judged: superseded by the newer head {}", &new[..7]));
    s.settle().await;
    assert_eq!(s.check(number).0, "failure");
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_pull_request_closed_before_it_was_judged_leaves_nothing_in_progress() {
    let mut s = Scene::started().await;
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    let number = s.pull("topic", "A door").await;
    let head = s.head(number);
    s.until("in progress", 20, || s.run_on(&head, "gatelog")).await;
    s.act(|w| w.close("alice", REPO, number)).await;
    hold.release();
    s.gh.heal();
    let left = s.until("completed", 20, || completed(&s, &head)).await;
    assert_eq!(left.title.as_deref(), Some("Not judged: the pull request was closed"));
    s.act(|w| w.reopen("alice", REPO, number)).await;
    s.settle().await;
    assert!(s.check(number).1.starts_with("Blocked"), "{:?}", s.check(number));
    s.assert_runs_are_sound();
    s.service.stop().await;
}

#[tokio::test]
async fn a_partial_answer_heals_by_itself() {
    let mut s = Scene::started().await;
    let path = ["repository", "pullRequest", "reviews"].map(str::to_owned).to_vec();
    let partial = Fault::GraphqlPartial { path, kind: "INTERNAL", message: "Something went wrong" };
    s.gh.fault(Route::GraphqlWith("PrFacts".to_owned()), usize::MAX, partial);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert!(s.check(number).1.contains("Cannot decide"), "{:?}", s.check(number));
    let before = s.check(number).1;
    s.gh.heal();
    // No event comes.
    let after = s.until("judged again", 60, || Some(s.check(number).1).filter(|t| *t != before)).await;
    assert!(after.starts_with("Blocked"), "{after}");
    s.settle().await;
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn after_a_restart_a_slow_judgement_leaves_a_red_run_as_it_is() {
    let mut s = Scene::started().await;
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(number).0, "failure");
    s.service.kill9().await;
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    s.service.start().await;
    s.act(|w| w.label("alice", REPO, number, "urgent")).await;
    hold.arrived(1).await;
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let runs = s.gh.check_runs_on(&s.head(number));
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0].conclusion.as_deref(), Some("failure"));
    hold.release();
    s.gh.heal();
    s.settle().await;
    assert_eq!(s.gh.check_runs_on(&s.head(number)).len(), 1);
    s.assert_runs_are_sound();
    s.service.stop().await;
}

/// The verdict is durable, its check run cannot be written, the process dies, and meanwhile the pull request is
/// closed. Nothing will ever show that verdict: the next start says so, and no later one looks at it again.
#[tokio::test]
async fn a_verdict_whose_pull_request_was_closed_before_it_was_shown_is_settled_once() {
    let mut s = Scene::started().await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::Status(502));
    let number = s.pull("topic", "A door").await;
    let verdict = s.until("it is judged", 20, || waiting(&s)).await;
    s.service.kill9().await;
    // GitHub could not deliver it.
    s.gh.with(|w| w.close("alice", REPO, number)).unwrap();

    s.service.start().await;
    let settled = s.until("it is settled", 60, || report_of(&s, verdict)).await;
    assert_eq!(settled, (ReportResult::Withheld, None));
    s.gh.heal();
    s.settle().await;
    assert!(s.gh.check_runs_on(&s.head(number)).is_empty());
    assert_eq!(s.service.stop().await.code(), Some(0));
    is_not_taken_up_again(&mut s, verdict).await;

    s.act(|w| w.reopen("alice", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "failure", "{:?}", s.check(number));
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

/// The same without a death: the closing is told.
#[tokio::test]
async fn a_verdict_whose_pull_request_is_closed_while_it_waits_is_settled() {
    let mut s = Scene::started().await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::Status(502));
    let number = s.pull("topic", "A door").await;
    let verdict = s.until("it is judged", 20, || waiting(&s)).await;
    s.act(|w| w.close("alice", REPO, number)).await;
    let settled = s.until("it is settled", 60, || report_of(&s, verdict)).await;
    assert_eq!(settled, (ReportResult::Withheld, None));
    s.gh.heal();
    s.settle().await;
    s.service.stop().await;
}

/// It had been written when the process died, and only that was not recorded: then it was shown.
#[tokio::test]
async fn a_verdict_that_was_shown_and_not_recorded_is_found_at_github() {
    let mut s = Scene::started().await;
    let number = s.pull("topic", "A door").await;
    // Red: nothing is shown as in progress over it, so the next write is that of a verdict.
    s.settle().await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::DoneButStatus(502));
    s.gh.fault(Route::ListCheckRuns, usize::MAX, Fault::Status(502));
    s.act(|w| w.approve("bob", REPO, number)).await;
    let head = s.head(number);
    let green = |s: &Scene| s.run_on(&head, "gatelog").filter(|r| r.conclusion.as_deref() == Some("success"));
    s.until("it is shown", 60, || green(&s)).await;
    s.service.kill9().await;
    let verdict = *s.view().unfinished().1.first().unwrap();
    s.gh.with(|w| w.close("alice", REPO, number)).unwrap();
    s.gh.heal();
    // So that the closing is known before the check could be looked at.
    s.gh.fault(Route::ListCheckRuns, 2, Fault::Status(502));
    s.service.start().await;
    let settled = s.until("it is settled", 60, || report_of(&s, verdict)).await;
    assert_eq!(settled, (ReportResult::Unchanged, Some("success".to_owned())));
    s.settle().await;
    s.assert_runs_are_sound();
    assert_eq!(s.service.stop().await.code(), Some(0));
    is_not_taken_up_again(&mut s, verdict).await;
    s.service.stop().await;
}

/// The one verdict that no report covers.
fn waiting(s: &Scene) -> Option<u64> {
    let (unjudged, waiting) = s.view().unfinished();
    waiting.first().copied().filter(|_| unjudged.is_empty() && waiting.len() == 1)
}

fn report_of(s: &Scene, verdict: u64) -> Option<(ReportResult, Option<String>)> {
    s.view().reports().find(|r| r.covers.contains(&verdict)).map(|r| (r.result, r.conclusion))
}

async fn is_not_taken_up_again(s: &mut Scene, verdict: u64) {
    let about_runs = |s: &Scene| s.gh.requests().iter().filter(|r| r.path.contains("check-runs")).count();
    let (before, asked) = (s.view().entries.len(), about_runs(s));
    s.service.start().await;
    s.settle().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let new: Vec<_> = s.view().entries[before..].iter().map(|e| e.kind.clone()).collect();
    assert!(!new.contains(&Kind::Report) && !new.contains(&Kind::Event), "{new:?}");
    assert_eq!(about_runs(s), asked, "GitHub was asked about a pull request that is closed");
    // Nothing is in work, so it can be erased.
    let seq = verdict.to_string();
    let out = s.service.gatelog(&["log", "erase", "--entry", &seq, "--reason", "a test"]).await;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[tokio::test]
async fn a_judgement_that_panics_is_made_again_and_holds_up_nothing() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("judge::panic=1*panic(a fault of ours)").await.unwrap();
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert!(s.service.log().contains("judging an event panicked"), "{}", s.service.log());
    assert!(s.check(number).1.starts_with("Blocked"), "{:?}", s.check(number));
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{:?}", s.check(number));
    s.service.stop().await;
    // One that always panics is an error in the end, and the next event is judged by its own.
    s.service.start_with_failpoints("judge::panic=3*panic(a fault of ours)").await.unwrap();
    s.act(|w| w.label("carol", REPO, number, "one")).await;
    s.settle().await;
    assert_ne!(s.check(number).0, "success", "{:?}", s.check(number));
    s.act(|w| w.label("carol", REPO, number, "two")).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{:?}\n{}", s.check(number), s.service.log());
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_check_run_whose_showing_panics_is_shown_all_the_same() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("publish::panic=1*panic(a fault of ours)").await.unwrap();
    let number = s.pull("topic", "A door").await;
    s.until("shown", 60, || s.check(number).1.starts_with("Blocked").then_some(())).await;
    s.settle().await;
    assert!(s.service.log().contains("publishing panicked"), "{}", s.service.log());
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_panics_total{task=\"publishing\"} 1"), "{metrics}");
    // What comes after it is shown too, and a stop waits for nothing that has ended.
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{:?}", s.check(number));
    s.assert_runs_are_sound();
    s.service.stop().await;
    assert!(!s.service.log().contains("still being judged or reported"), "{}", s.service.log());
    s.service.verify().await;
}
