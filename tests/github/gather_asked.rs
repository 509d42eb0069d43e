//! Facts that are fetched only where a control asks for them, and answers of GitHub that are behind what
//! its events have told.

use std::time::Duration;

use gatelog::{
    event::{Repository, Sha},
    facts::{
        Change, Facts, Status,
        checks::{CheckKind, ToldCheck},
    },
    github::{
        Github, RepoAt, Settings,
        gather::{self, Completed, Floor, Known, KnownPull},
    },
    simulated_github::{Fault, Options, Role, Route, SimulatedGithub, World, commit},
    time::Time,
};

const REPO: &str = "octo-org/app";

struct Setup {
    sim: SimulatedGithub,
    github: Github,
    at: RepoAt,
}

/// One open pull request (#1) of two commits by alice.
async fn setup() -> Setup {
    let sim = SimulatedGithub::start_with(Options::default()).await.unwrap();
    let (installation, id) = sim.with(|w| {
        let installation = w.add_organization("octo-org");
        let id = w.add_repository(REPO).unwrap();
        for who in ["alice", "bob"] {
            w.add_user(who);
            w.grant(who, REPO, Role::Write).unwrap();
        }
        let door = commit("alice", "A door\n\nSigned-off-by: alice").write("door", "1");
        w.push("alice", REPO, "topic", &[door, commit("alice", "A window").write("window", "1")]).unwrap();
        w.open_pull("alice", REPO, "topic", "main", "A house").unwrap();
        (installation, id)
    });
    let settings = Settings {
        api_url: sim.api_url(),
        graphql_url: None,
        app_id: sim.app_id(),
        private_key_pem: sim.app_key_pem().into_bytes().into(),
        timeout: Duration::from_secs(10),
        outbound: gatelog::outbound::Outbound::new(None, &gatelog::outbound::Proxies::default()).unwrap(),
        secondary_limits: false,
    };
    let repository = Repository { id, name: REPO.parse().unwrap(), default_branch: Some("main".to_owned()) };
    Setup { sim, github: Github::new(&settings).unwrap(), at: RepoAt { installation, repository } }
}

fn no_facts() -> Facts {
    let now = Time::now();
    serde_json::from_value(serde_json::json!({
        "time": now, "facts": Status { complete: true, missing: vec![], fetched_at: now },
    }))
    .unwrap()
}

impl Setup {
    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        self.sim.with(f)
    }

    fn head(&self) -> String {
        self.with(|w| w.pull(REPO, 1).unwrap().head.sha.clone())
    }

    async fn complete(&self, need: &str, known: KnownPull) -> Completed {
        let pulled = gather::pull(&self.github, &self.at, 1, &Floor::default()).await.unwrap();
        self.sim.forget_requests();
        let mut facts = no_facts();
        facts.facts.missing = pulled.missing;
        facts.change = Some(pulled.change);
        self.completed(facts, need, known).await
    }

    async fn completed(&self, facts: Facts, need: &str, known: KnownPull) -> Completed {
        let needs = [(need.to_owned(), None)].into_iter().collect();
        let mut all = Known::default();
        all.pulls.insert(1, known);
        gather::complete(&self.github, &self.at, facts, &needs, &all).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.sim.requests().iter().filter(|r| !r.path.contains("access_tokens")).count()
    }
}

fn change(completed: &Completed) -> &Change {
    completed.facts.change.as_ref().unwrap()
}

/// Facts and reasons.
fn missing(completed: &Completed) -> Vec<(String, String)> {
    completed.facts.facts.missing.iter().map(|m| (m.fact.clone(), m.reason.clone())).collect()
}

#[tokio::test]
async fn what_nobody_asks_for_is_not_fetched() {
    let s = setup().await;
    let done = s.complete("files", KnownPull::default()).await;
    assert_eq!(s.asked(), 0);
    let change = change(&done);
    assert!(change.comparison.is_none() && change.checks.is_none());
    assert!(change.commits.iter().all(|c| c.full_message.is_none()));
}

#[tokio::test]
async fn whole_messages() {
    let s = setup().await;
    let done = s.complete("commit_messages", KnownPull::default()).await;
    let messages: Vec<_> = change(&done).commits.iter().map(|c| c.full_message.clone().unwrap()).collect();
    assert_eq!(messages, ["A door\n\nSigned-off-by: alice", "A window"]);
    assert_eq!((missing(&done), s.asked()), (vec![], 1));

    // The list that came lacks a commit.
    let mut facts = done.facts;
    let lost = "1".repeat(40);
    facts.change.as_mut().unwrap().commits[0].sha = lost.parse().unwrap();
    let done = s.completed(facts, "commit_messages", KnownPull::default()).await;
    let why = "GitHub does not list the commit 1111111".to_owned();
    assert_eq!(missing(&done), [("commit_messages".to_owned(), why)]);
}

#[tokio::test]
async fn how_far_behind() {
    let s = setup().await;
    let done = s.complete("comparison", KnownPull::default()).await;
    let found = change(&done).comparison.clone().unwrap();
    assert_eq!((found.ahead_by, found.behind_by, s.asked()), (2, 0, 1));
    assert_eq!(found.head_sha.as_str(), s.head());
    assert_eq!(found.merge_base_sha, Some(found.base_sha.clone()));

    // Somebody pushes to the base. GitHub's API still shows the old one; an event has told of the new.
    let old = gather::pull(&s.github, &s.at, 1, &Floor::default()).await.unwrap().change;
    let landed = s.with(|w| w.push("bob", REPO, "main", &[commit("bob", "x").write("x", "1")]).unwrap().what);
    let mut facts = no_facts();
    facts.change = Some(old);
    let told = KnownPull { base_told: Some(landed.parse().unwrap()), ..KnownPull::default() };
    let done = s.completed(facts, "comparison", told).await;
    assert_eq!(change(&done).comparison.as_ref().unwrap().behind_by, 1);

    let gone: Sha = "2".repeat(40).parse().unwrap();
    let told = KnownPull { base_told: Some(gone), ..KnownPull::default() };
    let done = s.complete("comparison", told).await;
    assert_eq!(change(&done).comparison, None);
    assert_eq!(missing(&done)[0].0, "comparison");
}

fn told(id: u64, app: u64, conclusion: Option<&str>) -> KnownPull {
    let conclusion = conclusion.map(str::to_owned);
    let told = ToldCheck { kind: CheckKind::CheckRun, id, app: Some(app), name: "build".into(), conclusion };
    KnownPull { checks: vec![told], ..KnownPull::default() }
}

#[tokio::test]
async fn checks_with_the_app_that_made_them() {
    let s = setup().await;
    let head = s.head();
    s.with(|w| {
        w.check_by("ci", REPO, &head, "build", Some("failure")).unwrap();
        w.check_by("ci", REPO, &head, "build", Some("success")).unwrap();
        w.check_by("evil", REPO, &head, "build", None).unwrap();
        w.set_status("bob", REPO, &head, "legacy", "success").unwrap();
        w.set_status("bob", REPO, &head, "legacy", "pending").unwrap();
    });
    let done = s.complete("checks", KnownPull::default()).await;
    let checks = change(&done).checks.clone().unwrap();
    let app = |c: &gatelog::facts::Check| c.app.as_ref().map(|a| a.slug.clone());
    let shown: Vec<_> = checks
        .iter()
        .map(|c| (c.name.as_str(), app(c), c.status.as_str(), c.conclusion.as_deref()))
        .collect();
    let (ci, evil) = (Some("ci".to_owned()), Some("evil".to_owned()));
    assert_eq!(
        shown,
        [
            ("build", ci, "completed", Some("success")),
            ("build", evil, "in_progress", None),
            ("legacy", None, "pending", None),
        ]
    );
    assert_eq!(checks[2].creator.as_ref().unwrap().login, "bob");
    assert_eq!(s.asked(), 2);
}

/// A run that was begun again is told of, and the API still shows the old success.
#[tokio::test]
async fn an_answer_that_is_behind_the_events_is_no_answer() {
    let s = setup().await;
    let head = s.head();
    let id = s.with(|w| w.check_by("ci", REPO, &head, "build", Some("success")).unwrap().what);
    let app = s.with(|w| w.check_runs[&id].app);
    let done = s.complete("checks", told(id, app, Some("success"))).await;
    assert!(missing(&done).is_empty());
    let done = s.complete("checks", told(id + 1, app, None)).await;
    assert_eq!(change(&done).checks, None);
    let why = "GitHub's API does not show what it told of the check `build`".to_owned();
    assert_eq!(missing(&done), [("checks".to_owned(), why)]);
    assert_eq!(s.asked(), 8, "read four times");
    let done = s.complete("checks", told(id, app, Some("failure"))).await;
    assert_eq!(change(&done).checks, None);
}

#[tokio::test]
async fn what_cannot_be_read_is_missing_and_an_outage_is_tried_again() {
    let s = setup().await;
    s.sim.fault(Route::Rest("GET", "/statuses"), 1, Fault::Status(403));
    let done = s.complete("checks", KnownPull::default()).await;
    assert_eq!((change(&done).checks.clone(), missing(&done)[0].0.as_str()), (None, "checks"));
    s.sim.fault(Route::Rest("GET", "/compare"), usize::MAX, Fault::Status(404));
    let done = s.complete("comparison", KnownPull::default()).await;
    assert_eq!(missing(&done)[0].0, "comparison");
    s.sim.fault(Route::Rest("GET", "/pulls/1/commits"), usize::MAX, Fault::Status(503));
    let pulled = gather::pull(&s.github, &s.at, 1, &Floor::default()).await.unwrap();
    let mut facts = no_facts();
    facts.change = Some(pulled.change);
    let needs = [("commit_messages".to_owned(), None)].into_iter().collect();
    let trouble = gather::complete(&s.github, &s.at, facts, &needs, &Known::default()).await.unwrap_err();
    assert!(trouble.passes(), "{trouble:?}");
}
