use super::*;
use crate::event::{CheckRef, PullRequestRef, RefChange, Repository};

fn event(name: &str, action: &str, about: About) -> Event {
    let repository = Repository { id: 7, name: "octo/app".parse().unwrap(), default_branch: None };
    Event {
        name: name.into(),
        action: (!action.is_empty()).then(|| action.into()),
        source: Source::Github,
        cause: None,
        installation: Some(1),
        organization: None,
        repository: Some(repository),
        sender: None,
        about,
    }
}

fn sha() -> Sha {
    "1".repeat(40).parse().unwrap()
}

fn pull(open: Option<bool>) -> About {
    About::PullRequest(PullRequestRef { number: 5, open, ..PullRequestRef::default() })
}

fn push(touches_codeowners: bool) -> About {
    About::Ref(RefChange {
        kind: RefKind::Branch,
        name: "main".into(),
        before: None,
        after: None,
        created: false,
        deleted: false,
        forced: false,
        touches_codeowners,
    })
}

fn group() -> About {
    About::MergeGroup { head: sha(), head_ref: "q".into(), base: None, base_ref: "main".into(), reason: None }
}

fn check() -> About {
    let head = Some(sha());
    About::Check(CheckRef {
        head,
        app_id: None,
        check_run: None,
        name: None,
        external_id: None,
        status: None,
        conclusion: None,
        button: None,
    })
}

#[test]
fn how_events_are_handled() {
    let is = |name, action, about, judge, fan_out, drop_caches| {
        let e = event(name, action, about);
        assert_eq!(handling(&e), Handling { judge, fan_out, drop_caches }, "{name}.{action}");
        // What the ledger shows of an event without its payload says the same.
        if matches!(e.about, About::PullRequest(_)) {
            assert_eq!(decides_pull_request(name, e.source), judge == Judge::PullRequest, "{name}.{action}");
        }
    };
    use {FanOut as F, Judge as J};
    for action in ["opened", "closed", "reopened", "synchronize", "edited"] {
        is("pull_request", action, pull(None), J::PullRequest, F::SharedHead, false);
    }
    for action in ["labeled", "converted_to_draft", "invented_tomorrow", ""] {
        is("pull_request", action, pull(None), J::PullRequest, F::None, false);
        is("pull_request_review", action, pull(None), J::PullRequest, F::None, false);
    }
    is("issue_comment", "created", pull(None), J::Bare, F::None, false);
    is("push", "", push(false), J::Ref, F::Reading("comparison"), false);
    is("push", "", push(true), J::Ref, F::Base, false);
    is("push", "", About::Nothing, J::Bare, F::None, false);
    is("merge_group", "checks_requested", group(), J::MergeGroup, F::None, false);
    is("merge_group", "destroyed", group(), J::Bare, F::None, false);
    is("check_run", "rerequested", check(), J::Bare, F::Head, false);
    is("check_run", "requested_action", check(), J::Bare, F::Head, false);
    is("check_run", "completed", check(), J::Bare, F::Reading("checks"), false);
    is("status", "", check(), J::Bare, F::Reading("checks"), false);
    is("secret_scanning_alert", "created", About::Nothing, J::Bare, F::Reading("secret_alerts"), false);
    is("check_suite", "rerequested", check(), J::Bare, F::Head, false);
    is("member", "edited", About::Nothing, J::Bare, F::Repository, true);
    for name in ["team", "team_add", "membership", "organization"] {
        is(name, "x", About::Organization, J::Bare, F::Organization, true);
    }
    for name in ["branch_protection_rule", "repository_ruleset"] {
        is(name, "edited", About::Nothing, J::Bare, F::Reading("base_rules"), true);
    }
    is("repository", "archived", About::Nothing, J::Bare, F::None, true);
    for action in ["renamed", "transferred", "edited"] {
        is("repository", action, About::Nothing, J::Bare, F::Repository, true);
    }
    is("never_heard_of", "", About::Nothing, J::Bare, F::None, false);
}

#[test]
fn only_our_own_look_again_is_one() {
    let mut e = event("gatelog", "look_again", pull(None));
    assert_eq!(handling(&e).judge, Judge::Bare);
    e.source = Source::Gatelog;
    assert_eq!(handling(&e).judge, Judge::PullRequest);
    e.about = group();
    assert_eq!(handling(&e).judge, Judge::MergeGroup);
    e.about = pull(None);
    assert!(is_look_again(&e));
}

#[test]
fn what_happens_once_is_never_superseded() {
    assert!(is_look_again(&event("pull_request", "synchronize", pull(Some(true)))));
    assert!(is_look_again(&event("pull_request_review", "submitted", pull(Some(true)))));
    assert!(!is_look_again(&event("pull_request", "closed", pull(Some(false)))));
    assert!(!is_look_again(&event("pull_request", "labeled", pull(Some(false)))));
    assert!(!is_look_again(&event("push", "", push(false))));
    assert!(!is_look_again(&event("merge_group", "checks_requested", group())));
    assert!(!is_look_again(&event("issue_comment", "created", pull(Some(true)))));
}

#[test]
fn lanes() {
    let pulls = Lane::PullRequest { repository: 7, number: 5 };
    assert_eq!(lane(&event("pull_request", "opened", pull(None))), pulls);
    assert_eq!(lane(&event("pull_request_review", "submitted", pull(None))), pulls);
    assert_eq!(lane(&event("push", "", push(false))), lane(&event("create", "", push(false))));
    assert_eq!(
        lane(&event("merge_group", "checks_requested", group())),
        Lane::MergeGroup { repository: 7, head: sha() }
    );
    assert_eq!(lane(&event("merge_group", "destroyed", group())), Lane::Own);
    assert_eq!(lane(&event("issue_comment", "created", pull(None))), Lane::Own);
}
