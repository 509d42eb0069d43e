//! A check is never stuck: what is left behind is completed, what lacked facts is judged again.

mod common;

use std::time::{Duration, Instant};

use common::scene::{REPO, Scene};
use gatelog::simulated_github::{CheckRun, Fault, Route, commit};

async fn until<T>(what: &str, s: &Scene, patience: u64, f: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(patience);
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(Instant::now() < end, "{what}:\n{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn completed(s: &Scene, sha: &str) -> Option<CheckRun> {
    s.run_on(sha, "gatelog").filter(|r| r.conclusion.is_some())
}

#[tokio::test]
async fn a_run_in_progress_on_a_head_that_was_left_is_completed() {
    let mut s = Scene::started().await;
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    let number = s.pull("topic", "A door").await;
    let old = s.head(number);
    until("in progress", &s, 20, || s.run_on(&old, "gatelog")).await;
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    let new = s.head(number);
    hold.release();
    s.gh.heal();
    let left = until("the old head is completed", &s, 20, || completed(&s, &old)).await;
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
    until("in progress", &s, 20, || s.run_on(&head, "gatelog")).await;
    s.act(|w| w.close("alice", REPO, number)).await;
    hold.release();
    s.gh.heal();
    let left = until("completed", &s, 20, || completed(&s, &head)).await;
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
    let after = until("judged again", &s, 60, || Some(s.check(number).1).filter(|t| *t != before)).await;
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
