//! Environments that wait for gatelog: judged, answered once, and never opened by mistake.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::common::{
    program,
    scene::{REPO, Scene},
};
use gatelog::{
    event::SubjectKind,
    ledger::entry::{Kind, ReportResult},
    simulated_github::{Fault, Method, Role, Route, commit},
    time::Time,
};
use serde_json::json;

/// Refuses `frozen`, waits with `slow` until a second look and with `held` for ever, does not judge `unjudged`,
/// allows the rest.
const CONTROL: &str = r#"# METADATA
# title: Deployments
# description: What the tests of deployments decide on.
# custom:
#   id: DEP-01
#   severity: low
#   owner: tests
#   solution: Deploy elsewhere.
#   frameworks:
#     soc2: [CC8.1]
package controls.deployments

default applies := false

applies if {
	input.about == "deployment"
	not input.event.payload.environment in {"unjudged", "trial"}
}

skip_reason := "it is about no deployment"

deny contains {"msg": "nothing is deployed to `frozen`"} if input.event.payload.environment == "frozen"

pending contains {"msg": "the first look decides nothing"} if {
	input.event.payload.environment == "slow"
	input.event.source == "github"
}

pending contains {"msg": "it waits"} if input.event.payload.environment == "held"
"#;

/// On trial: judges `trial`, and blocks nobody.
const TRIAL: &str = r#"# METADATA
# title: Deployments on trial
# description: What the tests of deployments try.
# custom:
#   id: DEP-02
#   severity: low
#   owner: tests
#   solution: Deploy elsewhere.
#   mode: evaluate
#   frameworks:
#     soc2: [CC8.1]
package controls.trial

default applies := false

applies if input.event.payload.environment == "trial"

skip_reason := "it is about no deployment"

deny contains {"msg": "nothing is deployed to `trial`"} if applies
"#;

/// The others would only take time.
fn keep_controls(s: &Scene, kept: &[&str]) {
    for control in fs::read_dir(s.service.dir.join("policies/controls")).unwrap() {
        let control = control.unwrap();
        if !kept.iter().any(|c| control.file_name() == *c) {
            fs::remove_dir_all(control.path()).unwrap();
        }
    }
}

async fn scene() -> Scene {
    let s = Scene::set().await;
    s.use_parameters("");
    keep_controls(&s, &[]);
    let folder = s.service.dir.join("policies/controls/deployments");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("deployments.rego"), CONTROL).unwrap();
    let folder = s.service.dir.join("policies/controls/trial");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("trial.rego"), TRIAL).unwrap();
    s
}

async fn started() -> Scene {
    let mut s = scene().await;
    s.service.start().await;
    s
}

/// What was said of a run, as `state: comment`'s first line, once there are `n`.
async fn said(s: &Scene, run: u64, n: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let all = s.gh.with(|w| w.deployment_reviews.clone());
        let of_run: Vec<String> = all
            .iter()
            .filter(|(r, _)| *r == run)
            .map(|(_, body)| {
                let line = body["comment"].as_str().unwrap().lines().next().unwrap_or_default();
                format!("{} {}: {line}", body["environment_name"], body["state"])
            })
            .collect();
        if of_run.len() >= n {
            return of_run;
        }
        assert!(Instant::now() < until, "{all:?}\n{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Results and conclusions of the reports on deployments, once there are `n`.
async fn reported(s: &Scene, n: usize) -> Vec<(ReportResult, Option<String>)> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let all: Vec<_> = s
            .view()
            .reports()
            .filter(|r| r.target.check.contains("/deployment/"))
            .map(|r| (r.result, r.conclusion))
            .collect();
        if all.len() >= n {
            return all;
        }
        assert!(Instant::now() < until, "{all:?}\n{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const REVIEW: Route = Route::Rest("POST", "deployment_protection_rule");

async fn ask(s: &Scene, environment: &str) -> u64 {
    let api = s.gh.api_url();
    s.act(|w| w.ask_to_deploy("alice", REPO, environment, &api)).await.what
}

#[tokio::test]
async fn environments_are_answered_once_and_after_a_restart() {
    let mut s = started().await;
    let run = ask(&s, "production").await;
    assert_eq!(said(&s, run, 1).await, [r#""production" "approved": Allowed by 1 control"#]);
    let run = ask(&s, "frozen").await;
    let refused = said(&s, run, 1).await;
    assert!(refused[0].starts_with(r#""frozen" "rejected": Blocked"#), "{refused:?}");
    let run = ask(&s, "slow").await;
    let waited = said(&s, run, 2).await;
    assert!(waited[0].starts_with(r#""slow" null: Waiting: "#), "{waited:?}");
    assert_eq!(waited[1], r#""slow" "approved": Allowed by 1 control"#);

    // GitHub does not take the answer, and gatelog is killed: the next process gives it, by a verdict of its own.
    s.gh.fault(REVIEW, usize::MAX, Fault::Status(503));
    let run = ask(&s, "production").await;
    let until = Instant::now() + Duration::from_secs(30);
    while !s.gh.requests().iter().any(|r| r.path.contains(&format!("runs/{run}/")) && r.status == Some(503)) {
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    s.service.kill9().await;
    let killed = s.view().entries.len() as u64;
    s.gh.heal();
    s.service.start().await;
    assert_eq!(said(&s, run, 1).await, [r#""production" "approved": Allowed by 1 control"#]);
    s.settle().await;
    // Whatever the killed process allowed a moment ago, the next one has judged anew.
    let comment = s.gh.with(|w| w.deployment_reviews.last().unwrap().1["comment"].clone());
    let entry: u64 = comment.as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(entry > killed, "entry {entry} was made before the kill at {killed}");
    s.service.stop().await;
    s.service.start().await;
    s.settle().await;
    let all = s.gh.with(|w| w.deployment_reviews.len());
    assert_eq!(all, 5, "each was answered once, one with a note before");
    s.service.verify().await;
}

#[tokio::test]
async fn only_the_documented_address_is_answered() {
    let s = started().await;
    let api = s.gh.api_url();
    let elsewhere = [
        "https://evil.example".to_owned(),
        format!("{api}/repos/octo-org/other/../.."),
        format!("{api}.evil.example"),
    ];
    for (n, api) in elsewhere.iter().enumerate() {
        s.act(|w| w.ask_to_deploy("alice", REPO, "production", api)).await;
        s.settle().await;
        let asked = s.gh.requests().iter().filter(|r| r.path.contains("deployment_protection_rule")).count();
        assert_eq!(asked, 0, "{api}");
        assert_eq!(s.service.log().matches("cannot be answered").count(), n + 1, "{}", s.service.log());
    }
    // A body that was sent before is not answered again.
    let did = s.act(|w| w.ask_to_deploy("alice", REPO, "production", &api)).await;
    said(&s, did.what, 1).await;
    let mut again = did.hooks[0].clone();
    again.guid = "00000000-0000-4000-8000-000000000001".into();
    s.deliver(&again).await;
    s.settle().await;
    assert_eq!(said(&s, did.what, 1).await.len(), 1);
}

#[tokio::test]
async fn what_github_may_have_taken_is_never_called_unsent() {
    let mut s = started().await;
    // GitHub approves, and the answer is lost: the next try finds nothing that waits.
    s.gh.fault(REVIEW, 1, Fault::DoneButStatus(502));
    let run = ask(&s, "production").await;
    said(&s, run, 1).await;
    let unknown = (ReportResult::Unknown, Some("success".to_owned()));
    assert_eq!(reported(&s, 1).await[0], unknown);
    assert_eq!(s.service.log().matches("is not known").count(), 1, "{}", s.service.log());

    // The same, and the process is killed before it can know.
    s.gh.fault(REVIEW, usize::MAX, Fault::DoneButStatus(503));
    let run = ask(&s, "production").await;
    said(&s, run, 1).await;
    s.service.kill9().await;
    s.gh.heal();
    s.service.start().await;
    assert_eq!(reported(&s, 2).await[1], unknown);

    // Refused for good, and nothing was tried before: that is known.
    let did = s.gh.with(|w| w.ask_to_deploy("alice", REPO, "production", &s.gh.api_url())).unwrap();
    s.gh.with(|w| w.cancel_run(did.what));
    for hook in &did.hooks {
        s.deliver(hook).await;
    }
    assert_eq!(reported(&s, 3).await[2], (ReportResult::Withheld, None));
    s.settle().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_run_and_not_with_a_note() {
    let s = started().await;
    // No control judges it, so nobody has allowed it.
    let unjudged = ask(&s, "unjudged").await;
    let told = said(&s, unjudged, 1).await;
    assert!(
        told[0].starts_with(r#""unjudged" null: Waiting: No control judges this deployment"#),
        "{told:?}"
    );

    // Nor does a control that is only on trial, whatever it says.
    let trial = ask(&s, "trial").await;
    let told = said(&s, trial, 1).await;
    assert!(told[0].starts_with(r#""trial" null: Waiting: No control judges this deployment"#), "{told:?}");

    // GitHub takes no more notes: it is looked at again all the same.
    let api = s.gh.api_url();
    let did = s.gh.with(|w| w.ask_to_deploy("alice", REPO, "slow", &api)).unwrap();
    s.gh.with(|w| {
        let note = json!({"environment_name": "slow", "comment": "of another"});
        w.deployment_reviews.extend((0..10).map(|_| (did.what, note.clone())));
    });
    for hook in &did.hooks {
        s.deliver(hook).await;
    }
    let held = ask(&s, "held").await;
    said(&s, held, 1).await;
    let all = said(&s, did.what, 11).await;
    assert_eq!(all[10], r#""slow" "approved": Allowed by 1 control"#);

    // Cancelled while they wait: that ends it, without an answer.
    s.gh.with(|w| [held, unjudged, trial].map(|run| w.cancel_run(run)));
    let ends = reported(&s, 4).await;
    assert_eq!(ends[1..], [(); 3].map(|()| (ReportResult::Withheld, None)));
    let looks = s.settle().await.entries.len();
    assert!(s.gh.with(|w| {
        w.deployment_reviews.iter().all(|(run, b)| *run == did.what || b.get("state").is_none())
    }));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(s.view().entries.len(), looks, "nothing goes on");
}

const RULES: &str = r#"octo-org/app:
  required_reviews: {required_approving_review_count: 0, require_last_push_approval: false}
  deployments:
    enabled: true
    environments:
      - {environment: production, branches: [main], on_default_branch: true, require_allowed: true, separate_deployer: true, deployers: []}
      - {environment: preview, branches: ["v*"], on_default_branch: false, require_allowed: false, separate_deployer: false, deployers: []}"#;

/// Asks, and what the answer was.
async fn answer(s: &Scene, who: &str, from: (&str, &str), environment: &str) -> String {
    let api = s.gh.api_url();
    let run = s.act(|w| w.ask_to_deploy_from(who, REPO, from, environment, &api)).await.what;
    let all = said(s, run, 1).await;
    let findings = s.gh.with(|w| w.deployment_reviews.last().unwrap().1["comment"].clone());
    format!("{} {}", all[0], findings.as_str().unwrap().replace('\n', " "))
}

#[tokio::test]
async fn only_what_github_merged_and_gatelog_allowed_is_deployed() {
    let mut s = Scene::set().await;
    s.use_parameters(RULES);
    keep_controls(&s, &["deployments", "required_reviews", "restricted_branches"]);
    s.service.start().await;

    // Merged on GitHub, and judged when it landed.
    let number = s.pull("one", "one").await;
    s.settle().await;
    let merged = s.act(|w| w.merge("bob", REPO, number, Method::Squash)).await.what;
    s.settle().await;
    let said = answer(&s, "bob", ("main", &merged), "Production").await;
    assert!(said.starts_with(r#""Production" "approved""#), "{said}");
    let said = answer(&s, "alice", ("main", &merged), "production").await;
    assert!(said.contains(r#""rejected""#) && said.contains("alice wrote"), "{said}");
    assert!(
        said.contains("somebody who did not write it starts the deployment (anyone else who may deploy)"),
        "{said}"
    );
    let said = answer(&s, "bob", ("refs/tags/main", &merged), "production").await;
    assert!(said.contains(r#""rejected""#) && said.contains("may not be deployed"), "{said}");
    let said = answer(&s, "bob", ("main", &merged), "staging").await;
    assert!(said.contains(r#""rejected""#) && said.contains("no rule is for the environment"), "{said}");

    // Merged on GitHub, which asks before the push is told.
    let number = s.pull("two", "two").await;
    s.settle().await;
    let held = s.gh.with(|w| w.merge("bob", REPO, number, Method::Merge)).unwrap();
    let said = answer(&s, "bob", ("main", &held.what), "production").await;
    assert!(said.contains(r#""approved""#), "{said}");
    for hook in &held.hooks {
        s.deliver(hook).await;
    }

    // What was said of its push is erased: GitHub's record alone does not stand in for it.
    let of_push = |e: &&gatelog::ledger::entry::Entry| {
        e.subject.kind == SubjectKind::Ref && e.subject.head.as_ref().is_some_and(|h| h.as_str() == merged)
    };
    let seq = s.view().of_kind(&Kind::Verdict).find(of_push).unwrap().seq.to_string();
    let ledger = s.service.ledger.to_str().unwrap().to_owned();
    let out = s
        .service
        .gatelog(&[
            "log", "erase", "--ledger", &ledger, "--entry", &seq, "--body", "facts", "--reason", "a test",
        ])
        .await;
    assert!(out.status.success(), "{}", program::said(&out));
    let said = answer(&s, "carol", ("main", &merged), "production").await;
    assert!(said.contains("null: Waiting") && said.contains("is not known"), "{said}");
    s.gh.with(|w| w.cancel_run(w.deployment_reviews.last().unwrap().0));

    // Its commits pushed as they are: GitHub calls the pull request merged.
    let number = s.pull("three", "three").await;
    s.settle().await;
    let head = s.head(number);
    let held = s.gh.with(|w| w.force_push("bob", REPO, "main", &head, &[])).unwrap();
    assert!(s.gh.with(|w| w.pull(REPO, number).unwrap().merged.is_some()));
    for told in [false, true] {
        let said = answer(&s, "carol", ("main", &head), "production").await;
        assert!(said.contains(r#""rejected""#) && said.contains("did not come by"), "told {told}: {said}");
        for hook in &held.hooks {
            s.deliver(hook).await;
        }
        s.settle().await;
    }

    // GitHub merged it into another branch, and that was pushed: parents and signature are as they should be.
    let number = s.pull("four", "four").await;
    s.act(|w| w.push("alice", REPO, "side", &[])).await;
    let other = s.act(|w| w.open_pull("alice", REPO, "four", "side", "elsewhere")).await.what;
    s.settle().await;
    let joined = s.act(|w| w.merge("bob", REPO, other, Method::Merge)).await.what;
    s.settle().await;
    let held = s.gh.with(|w| w.force_push("bob", REPO, "main", &joined, &[])).unwrap();
    assert!(s.gh.with(|w| w.pull(REPO, number).unwrap().merged.is_some()));
    for told in [false, true] {
        let said = answer(&s, "carol", ("main", &joined), "production").await;
        assert!(said.contains(r#""rejected""#) && said.contains("did not come by"), "told {told}: {said}");
        for hook in &held.hooks {
            s.deliver(hook).await;
        }
        s.settle().await;
    }

    // A name is the branch of that name only where the commit is on it.
    let said = answer(&s, "carol", ("v1", &joined), "preview").await;
    assert!(said.contains(r#""rejected""#) && said.contains("is not on a branch v1"), "{said}");
    s.act(|w| w.push("alice", REPO, "v1", &[])).await;
    let said = answer(&s, "carol", ("v1", &joined), "preview").await;
    assert!(said.contains(r#""approved""#), "{said}");
    s.settle().await;
    s.service.verify().await;
}

/// An unsigned hotfix under a broken glass: allowed where it landed, so it may be deployed.
#[tokio::test]
async fn what_was_excused_where_it_landed_is_deployed() {
    let mut s = Scene::set().await;
    s.use_parameters(RULES);
    keep_controls(&s, &["deployments", "signed_commits", "restricted_branches"]);
    let glass = "waiving:\n  break_glass: {by: {permission: maintain}, hours: 4, review_within_hours: 72}\n";
    fs::write(s.service.dir.join("policies/waivers.yaml"), glass).unwrap();
    s.gh.with(|w| {
        w.now = Time::now();
        w.add_user("erin");
        w.grant("erin", REPO, Role::Maintain).unwrap();
    });
    s.service.start().await;
    let unsigned = commit("alice", "hot").write("hot.txt", "h");
    s.act(|w| w.push("alice", REPO, "hot", &[unsigned])).await;
    let number = s.act(|w| w.open_pull("alice", REPO, "hot", "main", "hot")).await.what;
    s.settle().await;
    assert_eq!(s.check(number).0, "failure");
    s.act(|w| w.say("erin", REPO, number, "/gatelog break-glass because the shop is down")).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{}", s.service.log());
    let merged = s.act(|w| w.merge("erin", REPO, number, Method::Merge)).await.what;
    s.settle().await;
    let said = answer(&s, "bob", ("main", &merged), "production").await;
    assert!(said.contains(r#""approved""#), "{said}\n{}", s.service.log());
    // The same pushed by hand is excused by nothing.
    let by_hand = commit("alice", "by hand").write("hand.txt", "h");
    let pushed = s.act(|w| w.push("alice", REPO, "main", &[by_hand])).await.what;
    s.settle().await;
    let said = answer(&s, "bob", ("main", &pushed), "production").await;
    assert!(said.contains(r#""rejected""#), "{said}");
    s.service.stop().await;
}

/// Whether GitHub verifies the signature of a commit, from now on.
fn verifies(s: &Scene, sha: &str, valid: bool) {
    s.gh.with(|w| {
        let signature = w.commits.get_mut(sha).unwrap().signature.as_mut().unwrap();
        signature.valid = valid;
        signature.state = if valid { "VALID" } else { "UNKNOWN_KEY" }.to_owned();
    });
}

/// The key of a commit is taken off its account, and comes back: what was said of its push is not what holds.
#[tokio::test]
async fn of_a_push_that_was_judged_again_the_newest_verdict_decides() {
    let mut s = Scene::set().await;
    s.use_parameters(RULES);
    keep_controls(&s, &["deployments", "signed_commits", "restricted_branches"]);
    s.service.start().await;
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success", "{}", s.service.log());
    let written = s.head(number);
    // Denied at first, though it was merged when all was well; then allowed, then denied again.
    verifies(&s, &written, false);
    let merged = s.act(|w| w.merge("bob", REPO, number, Method::Merge)).await.what;
    for (look, valid) in [false, true, false].into_iter().enumerate() {
        if look > 0 {
            verifies(&s, &written, valid);
            let run = s.run_on(&merged, "gatelog/push").unwrap().id;
            s.act(|w| w.rerequest("carol", run)).await;
        }
        s.settle().await;
        let run = s.run_on(&merged, "gatelog/push").unwrap();
        let wanted = if valid { "success" } else { "failure" };
        assert_eq!(run.conclusion.as_deref(), Some(wanted), "look {look}: {:?}", run.title);
        let said = answer(&s, "bob", ("main", &merged), "production").await;
        let answered = if valid { r#""approved""# } else { r#""rejected""# };
        assert!(said.contains(answered), "look {look}: {said}\n{}", s.service.log());
        assert_eq!(said.contains("was denied"), !valid, "look {look}: {said}");
    }
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn an_environment_whose_answer_panics_is_answered_all_the_same() {
    let mut s = scene().await;
    s.service.start_with_failpoints("answer::panic=1*panic(a fault of ours)").await.unwrap();
    let run = ask(&s, "production").await;
    assert_eq!(said(&s, run, 1).await, [r#""production" "approved": Allowed by 1 control"#]);
    s.settle().await;
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_panics_total{task=\"answering\"} 1"), "{metrics}");
    assert_eq!(s.gh.with(|w| w.deployment_reviews.len()), 1);
    s.service.stop().await;
    s.service.verify().await;
}
