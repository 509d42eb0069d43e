//! Faults of GitHub, at the moments that matter: each has an outcome, and never a second check run.
//!
//! | fault | here, or |
//! |---|---|
//! | 5xx after the write happened | `journey`: `an_answer_lost_after_the_write` |
//! | 403 with `Retry-After` | `journey`: `limits_and_outages_are_waited_for`; `gather`: `a_limit_is_obeyed` |
//! | GraphQL 200 with errors, or partial | `journey`: `graphql_errors_and_broken_answers_are_no_facts`, `half_an_answer_…`; `healing` |
//! | the token expires mid-way | [`the_token_is_worth_nothing_between_reading_and_writing`] |
//! | the head moves while it is read | `journey`: `a_head_that_moves_while_it_is_read_is_never_green_for_what_came` |
//! | slow answers | [`slow_answers_are_given_up_and_looked_after`], [`a_github_that_is_too_slow_for_too_long_is_an_error_and_judged_again`]; `gather`: `a_github_that_hangs_is_given_up` |
//! | truncated JSON | [`an_answer_to_the_write_that_breaks_off`]; `journey`, `gather` |
//! | the webhook comes before the API shows the change | [`a_pull_request_that_the_api_does_not_show_yet`]; `journey` |
//! | 404 for a repository we lost | [`a_repository_that_is_lost_between_reading_and_writing`], [`a_repository_that_is_not_there_any_more`]; `reconcile` |

use std::time::Duration;

use crate::common::scene::{REPO, Scene, push_and_open};
use gatelog::{
    ledger::entry::{Kind, ReportResult},
    simulated_github::{Fault, Role, Route},
    verdict::Decision,
};

/// Our runs on a pull request's head: how many, and the conclusion.
fn runs(s: &Scene, number: u64) -> (usize, Option<String>) {
    let ours: Vec<_> =
        s.gh.check_runs_on(&s.head(number)).into_iter().filter(|r| r.app == s.gh.app_id()).collect();
    (ours.len(), ours.last().and_then(|r| r.conclusion.clone()))
}

fn red() -> (usize, Option<String>) {
    (1, Some("failure".to_owned()))
}

/// How often it was tried to make a check run.
fn made(s: &Scene) -> usize {
    s.gh.requests().iter().filter(|r| r.method == "POST" && r.path.ends_with("/check-runs")).count()
}

async fn end(mut s: Scene) {
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_worth_nothing_between_reading_and_writing() {
    let s = Scene::started().await;
    // The facts are read; the write is on its way and shows its token late.
    let hold = s.gh.hold(Route::CreateCheckRun);
    let number = s.pull("topic", "A door").await;
    hold.arrived(1).await;
    let minted = s.gh.tokens_minted();
    s.gh.expire_tokens();
    hold.release();
    s.settle().await;
    let statuses: Vec<_> =
        s.gh.requests().iter().filter(|r| r.path.ends_with("/check-runs")).map(|r| r.status).collect();
    assert_eq!(statuses, [Some(401), Some(201)], "refused, and made once with another token");
    assert_eq!((runs(&s, number), s.gh.tokens_minted()), (red(), minted + 1));
    end(s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_the_write_that_breaks_off() {
    let s = Scene::started().await;
    s.gh.fault(Route::CreateCheckRun, 1, Fault::Truncated);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!((runs(&s, number), made(&s)), (red(), 1), "looked for, found, not made again");
    // And so does what it sees when it looks.
    s.gh.fault(Route::UpdateCheckRun, 1, Fault::Truncated);
    s.gh.fault(Route::ListCheckRuns, 1, Fault::Truncated);
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(runs(&s, number), (1, Some("success".to_owned())), "{}", s.service.log());
    end(s).await;
}

/// How long answers take that are given up, and how often one was.
const SLOW: Duration = Duration::from_secs(4);

fn given_up(s: &Scene) -> usize {
    let log = std::fs::read_to_string(s.service.dir.join("serve.log")).unwrap();
    log.matches("GitHub did not answer within 1 s").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_given_up_and_looked_after() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("github::timeout=return(1000)").await.unwrap();
    // Nothing is read in time; and then GitHub does what it is told, and says so too late.
    s.gh.fault(Route::GraphqlWith("PrFacts".to_owned()), 1, Fault::Delay(SLOW));
    s.gh.fault(Route::CreateCheckRun, 1, Fault::LateAnswer(SLOW));
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert!(given_up(&s) >= 2, "{}", s.service.log());
    assert_eq!((runs(&s, number), made(&s)), (red(), 1), "found, and not made again: {}", s.service.log());
    // And where it is too late to say that a run was changed.
    let before = given_up(&s);
    s.gh.fault(Route::UpdateCheckRun, 1, Fault::LateAnswer(SLOW));
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert!(given_up(&s) > before, "{}", s.service.log());
    assert_eq!((runs(&s, number), made(&s)), ((1, Some("success".to_owned())), 1), "{}", s.service.log());
    end(s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_that_is_too_slow_for_too_long_is_an_error_and_judged_again() {
    let mut s = Scene::set().await;
    let armed = "github::timeout=return(1000);gate::patience=return(1500)";
    s.service.start_with_failpoints(armed).await.unwrap();
    s.gh.fault(Route::GraphqlWith("PrFacts".to_owned()), usize::MAX, Fault::Delay(SLOW));
    let number = s.pull("topic", "A door").await;
    let view = s.settle().await;
    let decided: Vec<_> = view.of_kind(&Kind::Verdict).map(|e| e.data["decision"].clone()).collect();
    assert!(decided.contains(&serde_json::json!("error")), "{decided:?}");
    assert!(given_up(&s) >= 1, "{}", s.service.log());
    let (conclusion, title) = s.check(number);
    assert_eq!(conclusion, "failure", "what could not be read is not allowed");
    assert!(title.contains("Cannot decide"), "{title}");
    // As fast as ever: the next event is judged on what GitHub says.
    s.gh.heal();
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(runs(&s, number), (1, Some("success".to_owned())), "{}", s.service.log());
    end(s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_the_api_does_not_show_yet() {
    let s = Scene::started().await;
    // Three reads show GitHub as it was before.
    s.gh.lag(3);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(runs(&s, number), red(), "{}", s.service.log());
    assert!(s.check(number).1.starts_with("Blocked: 0 of 1 approvals"), "{:?}", s.check(number));
    end(s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_lost_between_reading_and_writing() {
    let s = Scene::started().await;
    s.gh.fault(Route::CreateCheckRun, usize::MAX, Fault::Status(404));
    let number = s.pull("topic", "A door").await;
    let view = s.settle().await;
    let reports: Vec<_> = view.reports().map(|r| r.result).collect();
    assert_eq!(reports, [ReportResult::Withheld], "said, and not tried for ever: {}", s.service.log());
    // Once for the verdict; on a slow machine once before, as in progress.
    assert_eq!(runs(&s, number), (0, None));
    assert!(matches!(made(&s), 1 | 2), "{}", made(&s));
    // It is ours again: the next event shows where the pull request stands.
    s.gh.heal();
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(runs(&s, number), (1, Some("success".to_owned())), "{}", s.service.log());
    end(s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_any_more() {
    let s = Scene::set().await;
    let lost = s.gh.with(|w| {
        let id = w.add_repository("octo-org/lost").unwrap();
        w.grant("alice", "octo-org/lost", Role::Write).unwrap();
        id
    });
    let mut s = s;
    s.service.start().await;
    let hooks = s.gh.with(|w| {
        let change = gatelog::simulated_github::commit("alice", "A wall").write("wall", "1").signed();
        let mut hooks = w.push("alice", "octo-org/lost", "topic", &[change]).unwrap().hooks;
        hooks.extend(w.open_pull("alice", "octo-org/lost", "topic", "main", "A wall").unwrap().hooks);
        w.repositories.remove(&lost);
        hooks
    });
    for hook in &hooks {
        assert_eq!(s.deliver(hook).await.status, 202);
    }
    // Another repository is held up by nothing.
    let number = s.act(|w| push_and_open(w, "topic", "A door")).await.what;
    let view = s.settle().await;
    assert_eq!(runs(&s, number), red(), "{}", s.service.log());
    let opened = hooks.iter().find(|h| h.event == "pull_request").unwrap();
    assert_eq!(view.decision(&opened.guid), Some(Decision::Error), "what cannot be read is not allowed");
    let withheld =
        view.reports().filter(|r| r.target.repository == lost).map(|r| r.result).collect::<Vec<_>>();
    assert_eq!(withheld, [ReportResult::Withheld], "{}", s.service.log());
    assert!(view.of_kind(&Kind::Verdict).count() > hooks.len());
    end(s).await;
}
