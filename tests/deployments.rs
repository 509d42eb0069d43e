//! Environments that wait for gatelog: judged, answered once, and never opened by mistake.

mod common;

use std::{
    fs,
    time::{Duration, Instant},
};

use common::scene::{REPO, Scene};
use gatelog::simulated_github::{Fault, Route};

/// Refuses `frozen`, waits with `slow` until a second look, allows the rest.
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

applies if input.about == "deployment"

skip_reason := "it is about no deployment"

deny contains {"msg": "nothing is deployed to `frozen`"} if input.event.payload.environment == "frozen"

pending contains {"msg": "the first look decides nothing"} if {
	input.event.payload.environment == "slow"
	input.event.source == "github"
}
"#;

async fn scene() -> Scene {
    let mut s = Scene::set().await;
    s.use_parameters("");
    let folder = s.service.dir.join("policies/controls/deployments");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("deployments.rego"), CONTROL).unwrap();
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

async fn ask(s: &Scene, environment: &str) -> u64 {
    let api = s.gh.api_url();
    s.act(|w| w.ask_to_deploy("alice", REPO, environment, &api)).await.what
}

#[tokio::test]
async fn environments_are_answered_once_and_after_a_restart() {
    let mut s = scene().await;
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
    s.gh.fault(Route::Rest("POST", "deployment_protection_rule"), usize::MAX, Fault::Status(503));
    let run = ask(&s, "production").await;
    let until = Instant::now() + Duration::from_secs(30);
    while !s.gh.requests().iter().any(|r| r.path.contains(&format!("runs/{run}/")) && r.status == Some(503)) {
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    s.service.kill9().await;
    s.gh.heal();
    s.service.start().await;
    assert_eq!(said(&s, run, 1).await, [r#""production" "approved": Allowed by 1 control"#]);
    s.settle().await;
    s.service.stop().await;
    s.service.start().await;
    s.settle().await;
    let all = s.gh.with(|w| w.deployment_reviews.len());
    assert_eq!(all, 5, "each was answered once, one with a note before");
    s.service.verify().await;
}

#[tokio::test]
async fn only_the_documented_address_is_answered() {
    let s = scene().await;
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
