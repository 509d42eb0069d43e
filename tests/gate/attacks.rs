//! What somebody with write access may try so that a check turns, or stays, green: through the real
//! binary and real HTTP. Each was possible once, or is a near relative of one that was.

use std::time::{Duration, Instant};

use crate::common::scene::{REPO, Scene};
use gatelog::{
    simulated_github::{Change, Fault, Hold, Role, Route, Webhook, commit},
    verdict::Decision,
};
use serde_json::json;

/// A running scene with parameters of its own for `octo-org/app`, written as YAML in one line.
async fn started_with(parameters: &str) -> Scene {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{REPO}\": {parameters}"));
    s.service.start().await;
    s
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pushes_a_head_again_is_its_last_pusher() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let old = s.head(pr);
    let more = commit("alice", "more").write("more.txt", "more").signed();
    let new = s.act(|w| w.push("alice", REPO, "topic", &[more])).await.what;
    // bob takes the branch back and puts the same commit there again: now he is who pushed it last.
    s.act(|w| w.force_push("bob", REPO, "topic", &old, &[])).await;
    s.act(|w| w.force_push("bob", REPO, "topic", &new, &[])).await;
    assert_eq!(s.head(pr), new);
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains("@bob, last pusher"), "{title}");
    s.act(|w| w.approve("carol", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_push_does_not_hide_who_pushed_what_stays() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    // bob's commit carries an e-mail that no account has, so only his push tells that it is his.
    let hidden = commit("nobody@nowhere.invalid", "hidden").write("hidden.txt", "h").signed_by("alice");
    let hidden = s.act(|w| w.push("bob", REPO, "topic", &[hidden])).await.what;
    let mine = commit("alice", "mine").write("mine.txt", "m").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[mine])).await;
    // alice amends her commit: her push brought bob's again, from a head that is gone.
    let amended = commit("alice", "mine, better").write("mine.txt", "b").signed();
    s.act(|w| w.force_push("alice", REPO, "topic", &hidden, &[amended])).await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains("@bob, contributor"), "{title}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_push_of_a_commit_does_not_whitewash_a_forbidden_one() {
    let rules = "{restricted_branches: {rules: [\
        {type: branch, pattern: main, restrict: [updates], allow: {users: [], teams: [], apps: []}},\
        {type: branch, pattern: release, restrict: [updates], allow: {users: [bob], teams: [], apps: []}}]}}";
    let s = started_with(rules).await;
    s.act(|w| w.push("bob", REPO, "release", &[])).await;
    let direct = commit("bob", "straight").write("straight.txt", "s").signed();
    let sha = s.act(|w| w.push("bob", REPO, "main", &[direct])).await.what;
    s.settle().await;
    let shown = || s.run_on(&sha, "gatelog/push").unwrap().conclusion;
    assert_eq!(shown().as_deref(), Some("failure"));
    s.act(|w| w.force_push("bob", REPO, "release", &sha, &[])).await;
    s.settle().await;
    assert_eq!(shown().as_deref(), Some("failure"), "{}", s.service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_group_turns_red_when_its_pull_request_does() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let other = s.pull("other", "A window").await;
    let review = s.act(|w| w.approve("bob", REPO, pr)).await.what;
    s.act(|w| w.approve("bob", REPO, other)).await;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    let behind = s.act(|w| w.enqueue("alice", REPO, other)).await.what;
    s.settle().await;
    let shown = |sha: &str| s.run_on(sha, "gatelog").unwrap().conclusion;
    assert_eq!(shown(&group).as_deref(), Some("success"), "{}", s.service.log());
    assert_eq!(shown(&behind).as_deref(), Some("success"));
    s.act(|w| w.dismiss("carol", REPO, pr, review)).await;
    s.settle().await;
    assert_eq!(shown(&group).as_deref(), Some("failure"), "{}", s.service.log());
    assert_eq!(shown(&behind).as_deref(), Some("failure"), "it carries the first as well");
    // Who may not write any more has approved nothing, in the queue too.
    s.act(|w| w.approve("carol", REPO, pr)).await;
    s.settle().await;
    assert_eq!(shown(&group).as_deref(), Some("success"), "{}", s.service.log());
    s.act(|w| w.set_role("alice", REPO, "carol", Some(Role::Read))).await;
    s.settle().await;
    assert_eq!(shown(&group).as_deref(), Some("failure"), "{}", s.service.log());
}

/// Its look may ask another replica than that of the pull request, which is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_group_is_not_kept_green_by_an_answer_from_before_what_turned_its_pull_request() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, pr)).await.what;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    let shown = || s.run_on(&group, "gatelog").unwrap().conclusion;
    assert_eq!(shown().as_deref(), Some("success"), "{}", s.service.log());
    let pull = || s.gh.with(|w| w.pull(REPO, pr).unwrap().clone());
    let before = pull();
    let did = s.gh.with(|w| w.dismiss("carol", REPO, pr, review)).unwrap();
    let after = pull();
    // The first read is the pull request's own, the second that of the group.
    for (nth, shows) in [(1, before), (2, after)] {
        let change = Change::new(move |w| {
            let id = w.repository(REPO).unwrap().id;
            w.repositories.get_mut(&id).unwrap().pulls.insert(pr, shows);
        });
        s.gh.fault_after(Route::GraphqlWith("query PrFacts".into()), nth, 1, Fault::Meanwhile(change));
    }
    s.gh.deliver_all(&did.hooks).await.unwrap();
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{:?}", s.check(pr));
    assert_eq!(shown().as_deref(), Some("failure"), "{}", s.service.log());
}

/// GitHub merges a group when it is green: what just happened to a pull request that it carries is judged first.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_group_is_not_shown_green_before_what_happened_to_its_pull_request_is_judged() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let hold = Hold::default();
    s.gh.fault(Route::GraphqlWith("query PrFacts".into()), 1, Fault::Hold(hold.clone()));
    s.act(|w| w.label("carol", REPO, pr, "nice")).await;
    hold.arrived(1).await;
    let did = s.act(|w| w.enqueue("alice", REPO, pr)).await;
    let shown = || s.run_on(&did.what, "gatelog").and_then(|r| r.conclusion);
    let allowed = || {
        let view = s.view();
        did.hooks.iter().any(|h| h.event == "merge_group" && view.decision(&h.guid) == Some(Decision::Allow))
    };
    s.until("the group is judged", 90, || allowed().then_some(())).await;
    // It would be shown at once.
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        assert_eq!(shown(), None, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hold.release();
    s.until("it is shown then", 90, || (shown().as_deref() == Some("success")).then_some(())).await;
    s.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_cannot_be_seen_any_more_is_not_green() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    let path = ["repository", "pullRequest"].map(str::to_owned).to_vec();
    let not_found = Fault::GraphqlPartial { path, kind: "NOT_FOUND", message: "no such pull request" };
    s.gh.fault(Route::Graphql, 100, not_found);
    s.act(|w| w.label("alice", REPO, pr, "odd")).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}\n{}", s.service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_sent_again_does_not_take_a_pull_request_off_a_shared_head() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.act(|w| w.push("alice", REPO, "release", &[commit("alice", "r").signed()])).await;
    let second = s.act(|w| w.open_pull("alice", REPO, "topic", "release", "Into release")).await.what;
    let closed = s.act(|w| w.close("alice", REPO, second)).await.hooks;
    s.act(|w| w.reopen("alice", REPO, second)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "the second one has no approval");
    // The signed body of `closed`, seen in some log, under a new GUID; reading the second one takes long.
    let hold = s.gh.hold(Route::GraphqlWith(format!("\"number\":{second}")));
    let replay = Webhook { guid: "00000000-0000-4000-8000-000000000007".to_owned(), ..closed[0].clone() };
    s.deliver(&replay).await;
    s.act(|w| w.label("alice", REPO, pr, "again")).await;
    let until = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < until {
        assert_ne!(s.check(pr).0, "success", "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hold.release();
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_comes_late_holds_nothing_up() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let more = |n: &str| commit("alice", n).write(&format!("{n}.txt"), n).signed();
    let late = s.gh.with(|w| w.push("alice", REPO, "topic", &[more("one")])).unwrap().hooks;
    s.act(|w| w.push("alice", REPO, "topic", &[more("two")])).await;
    s.act(|w| w.push("alice", REPO, "other-base", &[])).await;
    let late_base = s.gh.with(|w| w.label("alice", REPO, pr, "late")).unwrap().hooks;
    s.act(|w| w.retarget("alice", REPO, pr, "other-base")).await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    for hook in late.iter().chain(&late_base) {
        s.deliver(hook).await;
    }
    let began = std::time::Instant::now();
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pull_request_whose_delivery_was_lost_still_counts_on_a_shared_head() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.push("alice", REPO, "release", &[commit("alice", "r").signed()])).await;
    s.settle().await;
    // GitHub shows it as a pull request with this head; its own `opened` never came.
    let second = s.gh.with(|w| w.open_pull("alice", REPO, "topic", "release", "Into release")).unwrap().what;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}\n{}", s.service.log());
    assert!(title.contains(&format!("#{second}")), "{title}");
    s.act(|w| w.approve("bob", REPO, second)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_run_of_a_merge_group_is_answered() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    let before = s.view().reports().filter(|r| r.conclusion.is_some()).count();
    let run = s.run_on(&group, "gatelog").unwrap();
    s.act(|w| w.rerequest("carol", run.id)).await;
    let view = s.settle().await;
    let last = view.reports().last().unwrap();
    assert_eq!(
        (last.target.sha.as_str(), view.reports().filter(|r| r.conclusion.is_some()).count()),
        (group.as_str(), before + 1)
    );
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_annotated_tag_is_on_its_commit() {
    let rules = "{restricted_branches: {rules: [{type: tag, pattern: \"v*\", restrict: [creations], \
        allow: {users: [bob], teams: [], apps: []}}]}}";
    let s = started_with(rules).await;
    let commit = s.act(|w| w.push("bob", REPO, "main", &[commit("bob", "x").signed()])).await.what;
    s.act(|w| w.annotated_tag("carol", REPO, "v1", &commit)).await;
    s.settle().await;
    let run = s.run_on(&commit, "gatelog/push").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"), "{run:?}");
    assert!(run.title.unwrap().contains("@carol may not create tag v1"));
}

/// A pull request that one approval has made green, in a repository that asks for two under another name; its head.
async fn green_where_another_name_is_stricter(name: &str) -> (Scene, u64, String) {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{name}\": {{required_reviews: {{required_approving_review_count: 2}}}}"));
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    let head = s.head(pr);
    (s, pr, head)
}

fn one_approval_is_not_enough(s: &Scene, head: &str) {
    let run = s.run_on(head, "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"), "{run:?}\n{}", s.service.log());
    assert!(run.title.unwrap().contains("1 of 2 approvals"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_gets_a_stricter_name_is_judged_by_it() {
    let (s, _, head) = green_where_another_name_is_stricter("octo-org/payments").await;
    s.act(|w| {
        let id = w.repository(REPO).unwrap().id;
        w.repositories.get_mut(&id).unwrap().name = "payments".to_owned();
        w.any_event("alice", "octo-org/payments", "repository", serde_json::json!({"action": "renamed"}))
    })
    .await;
    s.settle().await;
    one_approval_is_not_enough(&s, &head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_transferred_is_judged_by_the_rules_of_where_it_is() {
    let (s, pr, head) = green_where_another_name_is_stricter("other-org/app").await;
    s.act(|w| {
        w.add_organization("other-org");
        let owner = w.account("other-org").unwrap().id;
        let id = w.repository(REPO).unwrap().id;
        w.repositories.get_mut(&id).unwrap().owner = owner;
        w.any_event("alice", "other-org/app", "repository", serde_json::json!({"action": "transferred"}))
    })
    .await;
    s.settle().await;
    one_approval_is_not_enough(&s, &head);
    s.act(|w| w.approve("carol", "other-org/app", pr)).await;
    s.settle().await;
    let run = s.run_on(&head, "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("success"), "{run:?}\n{}", s.service.log());
}

/// GitHub makes no check suite for such a commit; a required check must come all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_asks_for_no_checks_is_checked() {
    let s = Scene::started().await;
    let quiet = commit("alice", "A door\n\n\nskip-checks: true").write("door.txt", "door").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[quiet])).await;
    let pr = s.act(|w| w.open_pull("alice", REPO, "topic", "main", "A door")).await.what;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_closed_while_nobody_looked_stands_in_nobodys_way() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.act(|w| w.push("alice", REPO, "release", &[commit("alice", "r").signed()])).await;
    let second = s.act(|w| w.open_pull("alice", REPO, "topic", "release", "Into release")).await.what;
    s.settle().await;
    s.act(|w| w.close("alice", REPO, second)).await;
    // What comes after the end does not open it again.
    s.act(|w| w.label("alice", REPO, second, "done")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
    s.service.stop().await;
    s.service.start().await;
    // The list of open pull requests is read in the background.
    tokio::time::sleep(Duration::from_secs(2)).await;
    s.act(|w| w.label("alice", REPO, pr, "again")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
}

/// alice gets a commit allowed where nothing is asked, and somebody opens another pull request from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_does_not_outlive_its_pull_request() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let head = s.head(pr);
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let on = |sha: &str| s.run_on(sha, "gatelog").unwrap();
    let conclusion = |sha: &str| on(sha).conclusion.unwrap_or_default();
    assert_eq!(conclusion(&head), "success");
    s.act(|w| w.close("alice", REPO, pr)).await;
    s.until("closed: taken back", 30, || (conclusion(&head) == "failure").then_some(())).await;
    assert_eq!(on(&head).title.as_deref(), Some("Taken back: the pull request was closed"));
    // Reopened, it is what it was; and a head that it leaves allows nothing any more.
    s.act(|w| w.reopen("alice", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    s.until("left: taken back", 30, || (conclusion(&head) == "failure").then_some(())).await;
    let new = s.head(pr);
    assert_eq!(on(&head).title, Some(format!("Superseded by the newer head {}", &new[..7])));
    // What was merged stays as it was judged.
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    s.act(|w| w.merge("bob", REPO, pr, gatelog::simulated_github::Method::Squash)).await;
    s.settle().await;
    assert_eq!(conclusion(&new), "success");
    s.assert_runs_are_sound();
}

/// GitHub counts the check of a commit, whatever pull request it was given to.
#[tokio::test(flavor = "multi_thread")]
async fn another_pull_request_does_not_pass_by_a_success_until_it_is_judged() {
    let s = Scene::started().await;
    let release = commit("bob", "a release").write("r", "r").signed();
    s.act(|w| w.push("bob", REPO, "release", &[release])).await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let head = s.head(pr);
    let passes = || s.run_on(&head, "gatelog").unwrap().conclusion.as_deref() == Some("success");
    assert!(passes());
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    let other = s.act(|w| w.open_pull("mallory", REPO, "topic", "release", "Elsewhere")).await.what;
    s.until("in progress while it is judged", 20, || (!passes()).then_some(())).await;
    hold.release();
    s.gh.heal();
    s.settle().await;
    assert!(!passes(), "{:?}", s.check(other));
    s.act(|w| w.close("mallory", REPO, other)).await;
    s.settle().await;
    assert!(passes(), "{:?}\n{}", s.check(pr), s.service.log());
    // The same by a new base.
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    s.act(|w| w.retarget("alice", REPO, pr, "release")).await;
    s.until("in progress after the retarget", 20, || (!passes()).then_some(())).await;
    hold.release();
    s.gh.heal();
    s.settle().await;
    s.assert_runs_are_sound();
}

/// A comment has no time by which a late one is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_comment_of_old_does_not_close_a_pull_request() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    let comment = json!({
        "action": "created", "comment": {"id": 5, "body": "well"},
        "issue": {"number": pr, "state": "closed", "pull_request": {"url": ""}},
    });
    s.act(|w| w.any_event("mallory", REPO, "issue_comment", comment)).await;
    s.settle().await;
    s.act(|w| w.set_role("alice", REPO, "bob", Some(Role::Read))).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{:?}\n{}", s.check(pr), s.service.log());
}
