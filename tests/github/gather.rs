//! Gathering facts from a GitHub over real HTTP: what is read, what it costs, and what becomes of
//! answers that are late, partial or wrong.

use std::{collections::BTreeSet, time::Duration};

use gatelog::{
    event::{Circle, Membership, RefKind, Repository, Sha},
    facts::{
        self, Change, Facts, MergeGroup, Push, Status,
        landed::{self, Judged, JudgedPull},
    },
    github::{
        Github, RepoAt, Settings, Trouble, TroubleKind,
        gather::{self, Completed, Floor, Known, KnownPull, KnownPush, Pulled, Retargeted},
    },
    simulated_github::{
        Change as Meanwhile, Fault, Method, Options, Role, Route, SimulatedGithub, Webhook, World, commit,
    },
    time::Time,
};

const REPO: &str = "octo-org/app";

static FLOOR: Floor = Floor {
    head: None,
    older_heads: vec![],
    base_ref: None,
    reviews: vec![],
    commits: None,
    at: None,
    patient: false,
    retarget: None,
};

struct Setup {
    sim: SimulatedGithub,
    github: Github,
    at: RepoAt,
}

/// alice writes, bob and carol review; one open pull request (#1) of one commit.
async fn setup() -> Setup {
    setup_with(Options::default(), |_| ()).await
}

async fn setup_with(options: Options, more: impl FnOnce(&mut World)) -> Setup {
    let sim = SimulatedGithub::start_with(options).await.unwrap();
    let (installation, id) = sim.with(|w| {
        let installation = w.add_organization("octo-org");
        for who in ["alice", "bob", "carol"] {
            w.add_user(who);
        }
        let id = w.add_repository(REPO).unwrap();
        for who in ["alice", "bob", "carol"] {
            w.grant(who, REPO, Role::Write).unwrap();
        }
        more(w);
        w.push("alice", REPO, "topic", &[commit("alice", "A door").write("door.rs", "1").signed()]).unwrap();
        w.open_pull("alice", REPO, "topic", "main", "A door").unwrap();
        (installation, id)
    });
    let github = client(&sim, Duration::from_secs(10));
    let name = REPO.parse().unwrap();
    let repository = Repository { id, name, default_branch: Some("main".to_owned()) };
    Setup { sim, github, at: RepoAt { installation, repository } }
}

fn client(sim: &SimulatedGithub, timeout: Duration) -> Github {
    let settings = Settings {
        api_url: sim.api_url(),
        graphql_url: None,
        app_id: sim.app_id(),
        private_key_pem: sim.app_key_pem().into_bytes().into(),
        timeout,
        outbound: gatelog::outbound::Outbound::new(None, &gatelog::outbound::Proxies::default()).unwrap(),
        secondary_limits: false,
    };
    Github::new(&settings).unwrap()
}

impl Setup {
    async fn group(&self, group: &MergeGroup) -> Result<gather::Grouped, Trouble> {
        gather::merge_group(&self.github, &self.at, group, &|_| Floor::default()).await
    }

    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        self.sim.with(f)
    }

    async fn pull(&self) -> Pulled {
        gather::pull(&self.github, &self.at, 1, &FLOOR).await.unwrap()
    }

    fn head(&self) -> Sha {
        self.with(|w| w.pull(REPO, 1).unwrap().head.sha.parse().unwrap())
    }

    /// Requests since the last call of this, without those for tokens, as `METHOD path`.
    fn asked(&self) -> Vec<String> {
        let all = self.sim.requests();
        self.sim.forget_requests();
        let asked = all.iter().filter(|r| !r.path.contains("access_tokens"));
        asked.map(|r| format!("{} {}", r.method, r.path)).collect()
    }

    async fn complete(&self, needs: &[(&str, &str)]) -> Completed {
        self.complete_knowing(needs, &Known::default()).await
    }

    async fn complete_knowing(&self, needs: &[(&str, &str)], known: &Known) -> Completed {
        self.try_complete(needs, known).await.unwrap()
    }

    async fn try_complete(&self, needs: &[(&str, &str)], known: &Known) -> Result<Completed, Trouble> {
        let pulled = self.pull().await;
        let mut facts = no_facts();
        facts.facts.missing = pulled.missing;
        facts.change = Some(pulled.change);
        self.try_finish(facts, needs, known).await
    }

    async fn finish(&self, facts: Facts, needs: &[(&str, &str)], known: &Known) -> Completed {
        self.try_finish(facts, needs, known).await.unwrap()
    }

    async fn try_finish(
        &self,
        facts: Facts,
        needs: &[(&str, &str)],
        known: &Known,
    ) -> Result<Completed, Trouble> {
        let need = |&(fact, id): &(&str, &str)| (fact.to_owned(), (!id.is_empty()).then(|| id.to_owned()));
        let needs = needs.iter().map(need).collect();
        self.sim.forget_requests();
        gather::complete(&self.github, &self.at, facts, &needs, known).await
    }
}

fn no_facts() -> Facts {
    let time = Time::now();
    Facts {
        time,
        repository: None,
        target: None,
        change: None,
        push: None,
        merge_group: None,
        teams: Default::default(),
        organizations: Default::default(),
        base_rules: None,
        secret_alerts: None,
        deployment: None,
        waivers: vec![],
        commands: vec![],
        facts: Status { complete: true, missing: vec![], fetched_at: time },
    }
}

fn gone(missing: &[facts::Missing]) -> Vec<(&str, Option<&str>)> {
    missing.iter().map(|m| (m.fact.as_str(), m.id.as_deref())).collect()
}

fn change(completed: &Completed) -> &Change {
    completed.facts.change.as_ref().unwrap()
}

/// `null` at this path of the pull request, and an error for it.
fn partial(below: &[&str]) -> Fault {
    let path = ["repository", "pullRequest"].iter().chain(below).map(|&p| p.to_owned()).collect();
    Fault::GraphqlPartial { path, kind: "FORBIDDEN", message: "no" }
}

// -- stage 1

#[tokio::test]
async fn the_usual_event_costs_one_call_and_one_point() {
    let s = setup().await;
    s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.comment("carol", REPO, 1, "hm").unwrap();
        w.label("alice", REPO, 1, "door").unwrap();
    });
    let pulled = s.pull().await;
    assert_eq!(s.asked(), ["POST /graphql"]);
    assert_eq!(s.github.usage().graphql_points, 1);
    assert!(pulled.missing.is_empty(), "{:?}", pulled.missing);

    let Change { pull_request: pr, reviews, commits, files, .. } = pulled.change;
    assert_eq!((pr.number, pr.state.as_str(), pr.title.as_str()), (1, "open", "A door"));
    assert_eq!(pr.user.unwrap().login, "alice");
    assert_eq!((pr.base.name.as_str(), pr.head.name.as_str()), ("main", "topic"));
    assert_eq!(pr.base.repo.unwrap().id, s.at.repository.id);
    assert_eq!(pr.labels[0].name, "door");
    assert_eq!((pr.commits, pr.changed_files), (1, 1));
    assert_eq!(pr.head.sha, Some(s.head()));

    assert_eq!(reviews.len(), 1, "a comment is no opinion");
    assert_eq!(reviews[0].state, "APPROVED");
    assert!(reviews[0].can_push);
    assert_eq!(reviews[0].commits_since, Some(vec![]));
    assert!(commits[0].verification.verified);
    assert_eq!(commits[0].verification.signer.as_ref().unwrap().login, "alice");
    assert_eq!((files[0].filename.as_str(), files[0].status.as_str()), ("door.rs", "added"));
}

#[tokio::test]
async fn a_review_knows_what_came_after_it() {
    let s = setup().await;
    let first = s.head();
    s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.push("alice", REPO, "topic", &[commit("alice", "more").write("b", "1")]).unwrap();
        w.approve("carol", REPO, 1).unwrap();
    });
    let change = s.pull().await.change;
    assert_eq!(change.reviews[0].commit_id, Some(first));
    assert_eq!(change.reviews[0].commits_since, Some(vec![s.head()]));
    assert_eq!(change.reviews[1].commits_since, Some(vec![]));
    let again = [commit("alice", "again").write("c", "1")];
    s.with(|w| w.force_push("alice", REPO, "topic", "main", &again).unwrap());
    assert!(s.pull().await.change.reviews.iter().all(|r| r.commits_since.is_none()), "vanished");
}

#[tokio::test]
async fn all_pages_are_read() {
    let s = setup().await;
    s.with(|w| {
        let more: Vec<_> = (0..249).map(|n| commit("alice", "x").write(&format!("f{n}"), "1")).collect();
        w.push("alice", REPO, "topic", &more).unwrap();
        for _ in 0..130 {
            w.approve("bob", REPO, 1).unwrap();
        }
    });
    let pulled = s.pull().await;
    assert!(pulled.missing.is_empty(), "{:?}", pulled.missing);
    assert_eq!(pulled.change.commits.len(), 250);
    assert_eq!(pulled.change.reviews.len(), 130);
    assert_eq!(pulled.change.files.len(), 250);

    // With the number of commits from the payload: one page of commits less.
    s.asked();
    let floor = Floor { commits: Some(250), ..Floor::default() };
    gather::pull(&s.github, &s.at, 1, &floor).await.unwrap();
    assert_eq!(s.asked().len(), 3);
}

#[tokio::test]
async fn more_than_250_commits_are_a_missing_fact() {
    let s = setup().await;
    s.with(|w| {
        let more: Vec<_> = (0..250).map(|n| commit("alice", "x").write(&format!("f{n}"), "1")).collect();
        w.push("alice", REPO, "topic", &more).unwrap();
    });
    let pulled = s.pull().await;
    assert_eq!(gone(&pulled.missing), [("commits", None)]);
    assert!(pulled.missing[0].reason.contains("251"), "{}", pulled.missing[0].reason);
    assert!(pulled.change.commits.is_empty());
    assert_eq!(pulled.change.files.len(), 251, "the rest is there");
}

fn a_push(n: usize) -> impl FnOnce(&mut World) + Send {
    move |w| {
        let late = commit("alice", &format!("late {n}")).write(&format!("l{n}"), "1");
        w.push("alice", REPO, "topic", &[late]).unwrap();
    }
}

#[tokio::test]
async fn a_head_that_moves_between_two_pages_is_read_again() {
    let s = setup().await;
    s.with(|w| {
        for _ in 0..101 {
            w.approve("bob", REPO, 1).unwrap();
        }
    });
    s.sim.fault_after(Route::Graphql, 1, 1, Fault::Meanwhile(Meanwhile::new(a_push(1))));
    let pulled = s.pull().await;
    assert_eq!(s.asked().len(), 4, "two pages, twice");
    assert_eq!(pulled.change.pull_request.head.sha, Some(s.head()));
    assert_eq!(pulled.change.commits.len(), 2);

    for n in 0..4 {
        s.sim.fault_after(Route::Graphql, 1 + 2 * n, 1, Fault::Meanwhile(Meanwhile::new(a_push(2 + n))));
    }
    let trouble = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(trouble.kind, TroubleKind::Unavailable);
}

#[tokio::test]
async fn an_api_that_lags_behind_the_event_is_read_again() {
    let s = setup().await;
    let old = s.head();
    s.sim.lag(2);
    s.with(a_push(1));
    let floor = Floor { head: Some(s.head()), older_heads: vec![old.clone()], ..Floor::default() };
    let pulled = gather::pull(&s.github, &s.at, 1, &floor).await.unwrap();
    assert_eq!(pulled.change.pull_request.head.sha, Some(s.head()));
    assert_eq!(s.asked().len(), 3);

    s.sim.lag(usize::MAX);
    s.with(a_push(2));
    let older_heads = vec![old, floor.head.unwrap()];
    let floor = Floor { head: Some(s.head()), older_heads, ..Floor::default() };
    let trouble = gather::pull(&s.github, &s.at, 1, &floor).await.unwrap_err();
    assert_eq!(trouble.kind, TroubleKind::Unavailable);
    assert_eq!(s.asked().len(), 4, "once, and three times again");
}

#[tokio::test]
async fn a_head_that_nobody_knows_is_newer() {
    let s = setup().await;
    let floor = Floor { head: Some(s.head()), ..Floor::default() };
    s.with(a_push(1));
    let pulled = gather::pull(&s.github, &s.at, 1, &floor).await.unwrap();
    assert_eq!(pulled.change.pull_request.head.sha, Some(s.head()));
}

#[tokio::test]
async fn reviews_and_the_base_are_a_floor_too() {
    let s = setup().await;
    let review = s.with(|w| {
        w.push("alice", REPO, "dev", &[]).unwrap();
        w.approve("bob", REPO, 1).unwrap().what
    });
    let with = |state: &str| Floor { reviews: vec![(review, state.to_owned())], ..Floor::default() };
    assert!(gather::pull(&s.github, &s.at, 1, &with("APPROVED")).await.is_ok());
    assert!(gather::pull(&s.github, &s.at, 1, &with("DISMISSED")).await.is_err(), "still shown as approved");
    s.with(|w| w.dismiss("alice", REPO, 1, review).unwrap());
    assert!(gather::pull(&s.github, &s.at, 1, &with("APPROVED")).await.is_ok(), "went on");
    let comment = Floor { reviews: vec![(4711, "COMMENTED".to_owned())], ..Floor::default() };
    assert!(gather::pull(&s.github, &s.at, 1, &comment).await.is_ok(), "comments are not read");

    let floor = Floor { base_ref: Some("dev".to_owned()), ..Floor::default() };
    assert!(gather::pull(&s.github, &s.at, 1, &floor).await.is_err());
    s.with(|w| w.retarget("alice", REPO, 1, "dev").unwrap());
    let pulled = gather::pull(&s.github, &s.at, 1, &floor).await.unwrap();
    let retarget = pulled.change.pull_request.retarget.unwrap();
    assert_eq!((retarget.from.as_str(), retarget.to.as_str()), ("main", "dev"));
}

#[tokio::test]
async fn a_change_of_the_base_is_waited_for_in_the_timeline() {
    let s = setup().await;
    s.with(|w| {
        w.push("alice", REPO, "dev", &[]).unwrap();
        w.retarget("alice", REPO, 1, "dev").unwrap();
    });
    let changed = s.with(|w| w.pull(REPO, 1).unwrap().updated_at);
    let told = |from: &str, at| Floor {
        base_ref: Some("dev".to_owned()),
        retarget: Some(Retargeted { from: from.to_owned(), to: "dev".to_owned(), at: Some(at) }),
        ..Floor::default()
    };
    let floor = |from: &str| told(from, changed);
    assert!(gather::pull(&s.github, &s.at, 1, &floor("main")).await.is_ok());
    let behind = gather::pull(&s.github, &s.at, 1, &floor("older")).await.unwrap_err();
    assert_eq!(behind.kind, TroubleKind::Unavailable);
    // What was told is older than the newest change that is shown, so it is in the timeline too.
    let before = changed.before(std::time::Duration::from_secs(1));
    assert!(gather::pull(&s.github, &s.at, 1, &told("older", before)).await.is_ok());
    // It has been changed again since, so this change need not be the newest.
    s.with(|w| w.retarget("alice", REPO, 1, "main").unwrap());
    let at = Some(s.with(|w| w.pull(REPO, 1).unwrap().created_at));
    assert!(gather::pull(&s.github, &s.at, 1, &Floor { at, ..floor("main") }).await.is_ok());
}

#[tokio::test]
async fn an_error_in_the_answer_is_a_missing_fact_and_a_ghost_is_not() {
    let s = setup().await;
    s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.approve("carol", REPO, 1).unwrap();
        w.delete_account("bob").unwrap();
    });
    let pulled = s.pull().await;
    assert!(pulled.missing.is_empty(), "a ghost is a fact");
    assert!(pulled.change.reviews[0].user.is_none());

    let cases: &[(&[&str], &str)] = &[
        (&["reviews", "nodes", "1", "author"], "reviews"),
        (&["reviews"], "reviews"),
        (&["commits", "nodes", "0", "commit", "signature"], "commits"),
        (&["files"], "files"),
        (&["mergedBy"], "pull_request"),
        (&["labels"], "pull_request"),
    ];
    for (path, fact) in cases {
        s.sim.fault(Route::Graphql, 1, partial(path));
        assert_eq!(gone(&s.pull().await.missing), [(*fact, None)]);
    }
    let nowhere = Fault::GraphqlPartial {
        path: vec!["repository".to_owned(), "no such field".to_owned()],
        kind: "INTERNAL",
        message: "somewhere",
    };
    s.sim.fault(Route::Graphql, 1, nowhere);
    assert_eq!(gone(&s.pull().await.missing), [("pull_request", None)], "beside all that is read");
}

#[tokio::test]
async fn what_is_not_there_is_gone() {
    let s = setup().await;
    let pull = |number| gather::pull(&s.github, &s.at, number, &FLOOR);
    assert_eq!(pull(99).await.unwrap_err().kind, TroubleKind::Gone);
    let mut elsewhere = s.at.clone();
    elsewhere.repository.id += 1000;
    let other = gather::pull(&s.github, &elsewhere, 1, &FLOOR).await.unwrap_err();
    assert_eq!(other.kind, TroubleKind::Gone, "the name went to another repository");
    s.sim.fault(Route::Graphql, 1, partial(&[]));
    assert_eq!(pull(1).await.unwrap_err().kind, TroubleKind::Denied);
}

// -- the way to GitHub

#[tokio::test(flavor = "multi_thread")]
async fn twenty_first_calls_mint_one_token() {
    let s = setup().await;
    twenty_calls(&s).await;
    assert_eq!(s.sim.tokens_minted(), 1);
}

async fn twenty_calls(s: &Setup) {
    let calls = (0..20).map(|_| {
        let (github, at) = (s.github.clone(), s.at.clone());
        tokio::spawn(async move { gather::pull(&github, &at, 1, &FLOOR).await.map(|_| ()) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_worth_nothing_is_replaced_once() {
    let s = setup().await;
    s.pull().await;
    s.sim.expire_tokens();
    twenty_calls(&s).await;
    assert_eq!(s.sim.tokens_minted(), 2);
    // GitHub goes on refusing: no endless circle.
    s.sim.fault(Route::Graphql, 2, Fault::Status(401));
    let refused = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(refused.kind, TroubleKind::Denied);
}

#[tokio::test]
async fn a_limit_is_obeyed() {
    let s = setup().await;
    s.sim.fault(Route::Graphql, 1, Fault::RetryAfter { status: 403, seconds: 1 });
    let limited = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!((limited.kind, limited.retry_after), (TroubleKind::RateLimited, Some(Duration::from_secs(1))));
    s.asked();
    let held = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(held.kind, TroubleKind::RateLimited);
    assert!(s.asked().is_empty(), "nothing is sent before the time");
    assert_eq!(s.github.usage().refused, 1);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    s.pull().await;

    let kind = "RATE_LIMITED";
    s.sim.fault(Route::Graphql, 1, Fault::GraphqlError { kind, message: "API rate limit exceeded" });
    let limited = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(limited.kind, TroubleKind::RateLimited);
    assert!(limited.retry_after.unwrap() >= Duration::from_secs(60));
    assert!(s.github.get(s.at.installation, &s.at.path("")).await.is_ok(), "REST has a budget of its own");
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_the_next_call() {
    let s = setup().await;
    s.sim.set_remaining(5000, 1);
    s.pull().await;
    s.asked();
    let held = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(held.kind, TroubleKind::RateLimited);
    assert!(s.asked().is_empty());
    let usage = s.github.usage();
    let left = usage.remaining.iter().find(|r| r.resource == "graphql").unwrap();
    assert_eq!((left.installation, left.left), (Some(s.at.installation), 0));
}

#[tokio::test]
async fn an_outage_passes_and_one_502_is_tried_again() {
    let s = setup().await;
    s.sim.fault(Route::Graphql, 1, Fault::Status(502));
    s.pull().await;
    s.sim.fault(Route::Graphql, 2, Fault::Status(502));
    let faults = [
        None,
        Some(Fault::Status(500)),
        Some(Fault::Disconnect),
        Some(Fault::GraphqlError { kind: "INTERNAL", message: "Something went wrong" }),
    ];
    for fault in faults {
        if let Some(fault) = fault {
            s.sim.fault(Route::Graphql, 1, fault);
        }
        let trouble = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Unavailable, "{trouble}");
        assert!(trouble.passes());
    }
    s.pull().await;
    let counted = s.github.usage().calls.into_iter().find(|c| c.kind == "graphql" && c.status == Some(502));
    assert_eq!(counted.unwrap().count, 3);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_passes_too() {
    let s = setup().await;
    s.sim.fault(Route::Graphql, 1, Fault::Truncated);
    let trouble = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert!(trouble.passes(), "{trouble:?}");
}

#[tokio::test]
async fn a_github_that_hangs_is_given_up() {
    let s = setup().await;
    let github = client(&s.sim, Duration::from_millis(300));
    let _hold = s.sim.hold(Route::Graphql);
    let trouble = gather::pull(&github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(trouble.kind, TroubleKind::Unavailable);
    assert!(trouble.reason.contains("0.3 s"), "{trouble}");
}

#[tokio::test]
async fn a_wrong_key_says_so_without_showing_it() {
    let s = setup().await;
    s.sim.fault(Route::Token, 1, Fault::Status(401));
    let trouble = gather::pull(&s.github, &s.at, 1, &FLOOR).await.unwrap_err();
    assert_eq!(trouble.kind, TroubleKind::Denied);
    assert!(trouble.reason.contains("access_tokens"), "{trouble}");
    assert!(!format!("{:?}", s.github).contains("PRIVATE"));
}

#[tokio::test]
async fn enterprise_server_has_its_own_paths() {
    let s = setup_with(Options { enterprise: true, ..Options::default() }, |_| ()).await;
    let pulled = s.pull().await;
    assert_eq!(pulled.change.commits.len(), 1);
    s.github.get(s.at.installation, &s.at.path("")).await.unwrap().expect(&[200]).unwrap();
    let paths: Vec<String> = s.sim.requests().into_iter().map(|r| r.path).collect();
    assert!(paths[0].starts_with("/api/v3/app/installations/"), "{paths:?}");
    assert_eq!(paths[1], "/api/graphql");
    assert_eq!(paths[2], "/api/v3/repos/octo-org/app");

    // The second page of a list comes as an absolute address, which octocrab would send bare.
    s.with(|w| {
        for n in 0..120 {
            w.push("alice", REPO, "topic", &[commit("alice", "x").write(&format!("f{n}"), "1")]).unwrap();
        }
    });
    let completed = s.complete(&[("pushes", "")]).await;
    let pushes = change(&completed).pushes.as_ref().unwrap();
    assert_eq!(pushes.len(), 121);
    assert!(pushes.iter().all(|p| p.source == "activity"));
}

// -- stage 2

#[tokio::test]
async fn nothing_is_fetched_that_nobody_asked_for() {
    let s = setup().await;
    s.with(|w| w.approve("bob", REPO, 1).unwrap());
    let completed = s.complete(&[("reviews", ""), ("commits", ""), ("files", "")]).await;
    assert!(s.asked().is_empty());
    assert!(completed.facts.facts.complete);
    let change = change(&completed);
    assert!(change.codeowners.is_none() && change.pushes.is_none() && change.files[0].owners.is_none());
}

#[tokio::test]
async fn a_clean_update_of_the_branch_is_told_from_a_hand_written_one() {
    let s = setup().await;
    s.with(|w| {
        w.push("bob", REPO, "main", &[commit("bob", "other").write("other", "1")]).unwrap();
        w.update_branch("carol", REPO, 1).unwrap();
    });
    let marks = |c: &Completed| change(c).commits.iter().map(|c| c.update_merge).collect::<Vec<_>>();
    let completed = s.complete(&[("commits", "")]).await;
    assert_eq!(marks(&completed), [false, true]);
    assert_eq!(s.asked().len(), 2, "two compares");
    s.complete(&[("commits", "")]).await;
    assert!(s.asked().is_empty(), "a commit does not change");

    s.with(|w| {
        w.push("bob", REPO, "main", &[commit("bob", "more").write("other", "2")]).unwrap();
        w.resolve_conflicts("carol", REPO, 1, &[("door.rs", "by hand")]).unwrap();
    });
    let completed = s.complete(&[("commits", "")]).await;
    assert_eq!(marks(&completed), [false, true, false]);
}

#[tokio::test]
async fn after_a_change_of_base_the_second_parent_is_looked_up() {
    let s = setup().await;
    s.with(|w| {
        w.push("bob", REPO, "dev", &[commit("bob", "dev only").write("dev", "1")]).unwrap();
        w.retarget("alice", REPO, 1, "dev").unwrap();
        w.update_branch("carol", REPO, 1).unwrap();
    });
    let completed = s.complete(&[("commits", "")]).await;
    assert_eq!(s.asked().len(), 3, "is it on the base, and two compares");
    let web = change(&completed).commits.iter().find(|c| c.committed_via_web).unwrap();
    assert!(web.update_merge);
}

#[tokio::test]
async fn old_paths_and_their_owners() {
    let s = setup_with(Options::default(), |w| {
        let owners = "* @octo-org/all\n/safe/ @bob\n/gone/ @carol x@nowhere.example\n";
        let files = commit("alice", "base").write("CODEOWNERS", owners);
        let files = files.write("safe/a", "text").write("gone/b", "going");
        w.push("alice", REPO, "main", &[files]).unwrap();
        let team = w.add_team("octo-org", "all", None, &["bob", "carol"]).unwrap();
        w.grant_team(team, REPO, Role::Write).unwrap();
    })
    .await;
    s.with(|w| {
        let moved = commit("alice", "move").rename("safe/a", "open/a").remove("gone/b");
        w.push("alice", REPO, "topic", &[moved]).unwrap();
    });
    let completed = s.complete(&[("old_paths", ""), ("codeowners", "")]).await;
    assert!(completed.facts.facts.complete, "{:?}", completed.facts.facts.missing);
    let change = change(&completed);
    assert_eq!(change.codeowners.as_ref().unwrap().path.as_deref(), Some("CODEOWNERS"));
    let file = |name: &str| change.files.iter().find(|f| f.filename == name).unwrap();
    let moved = file("open/a");
    assert_eq!(moved.previous_filename.as_deref(), Some("safe/a"));
    let owned: Vec<(&str, u64)> =
        moved.owners.as_ref().unwrap().iter().map(|o| (o.path.as_str(), o.line)).collect();
    assert_eq!(owned, [("open/a", 1), ("safe/a", 2)], "a renamed file counts under its old path too");
    assert_eq!(moved.owners.as_ref().unwrap()[0].teams, ["octo-org/all"]);
    let removed = &file("gone/b").owners.as_ref().unwrap()[0];
    assert_eq!(removed.users, ["carol"]);
    assert!(removed.error.as_ref().unwrap().contains("x@nowhere.example"));
    let team = &completed.facts.teams["octo-org/all"];
    assert!(team.can_write);
    assert_eq!(team.members.len(), 2);

    // Only the files are asked for again: the base commit, the team and its right are known.
    s.asked();
    s.complete(&[("codeowners", "")]).await;
    let asked = s.asked();
    // And whether they are of the head that was read.
    assert_eq!(asked.iter().filter(|a| a.starts_with("GET")).count(), 2, "{asked:?}");
}

/// Another head has a file of the same name, renamed from elsewhere: whoever owns the old path would not be asked.
#[tokio::test]
async fn old_paths_of_another_head_are_missing() {
    let s = setup_with(Options::default(), |w| {
        let files = commit("alice", "base").write("safe/a", "text").write("other/a", "text");
        w.push("alice", REPO, "main", &[files]).unwrap();
    })
    .await;
    let base = s.with(|w| w.branch(s.at.repository.id, "main").unwrap().to_owned());
    let moved = |from: &str| commit("alice", "move").rename(from, "open/a");
    let of_safe = moved("safe/a");
    s.with(|w| w.force_push("alice", REPO, "topic", &base, &[of_safe]).unwrap());
    let of_other = moved("other/a");
    let meanwhile = Meanwhile::new(move |w: &mut World| {
        w.force_push("alice", REPO, "topic", &base, &[of_other]).unwrap();
    });
    s.sim.fault(Route::Rest("GET", "/files"), 1, Fault::Meanwhile(meanwhile));
    let completed = s.complete(&[("old_paths", "")]).await;
    let missing = &completed.facts.facts.missing;
    assert!(missing.iter().any(|m| m.fact == "old_paths" && m.reason.contains("moved")), "{missing:?}");
    assert!(change(&completed).files.iter().all(|f| f.previous_filename.is_none()));
}

#[tokio::test]
async fn an_owner_by_email_is_found_in_the_history() {
    let s = setup_with(Options::default(), |w| {
        let owners = commit("bob", "base").write("docs/CODEOWNERS", "* bob@example.com\n");
        w.push("bob", REPO, "main", &[owners]).unwrap();
    })
    .await;
    let completed = s.complete(&[("codeowners", "")]).await;
    let owned = &change(&completed).files[0].owners.as_ref().unwrap()[0];
    assert_eq!((owned.users.as_slice(), owned.error.as_ref()), (["bob".to_owned()].as_slice(), None));
}

#[tokio::test]
async fn no_codeowners_file_owns_nothing() {
    let s = setup().await;
    let completed = s.complete(&[("codeowners", "")]).await;
    assert!(completed.facts.facts.complete);
    assert_eq!(change(&completed).codeowners.as_ref().unwrap().path, None);
    assert_eq!(change(&completed).files[0].owners, Some(vec![]));
}

#[tokio::test]
async fn a_codeowners_file_that_cannot_be_read_is_missing() {
    let s = setup().await;
    let route = || Route::GraphqlWith("query Codeowners".to_owned());
    let hide = |alias: &str| {
        let path = vec!["repository".to_owned(), alias.to_owned()];
        s.sim.fault(route(), 1, Fault::GraphqlPartial { path, kind: "FORBIDDEN", message: "no" });
    };
    hide("root");
    let completed = s.complete(&[("codeowners", "")]).await;
    assert_eq!(gone(&completed.facts.facts.missing), [("codeowners", None)]);
    assert!(!completed.facts.facts.complete);
    // What GitHub thinks of the file is only shown.
    hide("codeowners");
    assert!(s.complete(&[("codeowners", "")]).await.facts.facts.complete);
}

/// What GitHub hands out as the text of a link is where it leads: read as rules, nobody would own anything.
#[tokio::test]
async fn a_codeowners_file_that_is_a_link_is_missing() {
    for (path, to) in [("CODEOWNERS", "tools/OWNERS"), (".github/CODEOWNERS", "../tools/OWNERS")] {
        let s = setup_with(Options::default(), |w| {
            let base = commit("alice", "base").write("tools/OWNERS", "* @bob\n").link(path, to);
            w.push("alice", REPO, "main", &[base]).unwrap();
        })
        .await;
        let completed = s.complete(&[("codeowners", "")]).await;
        let missing = &completed.facts.facts.missing;
        assert_eq!(gone(missing), [("codeowners", None)], "{path}");
        assert!(missing[0].reason.contains(&format!("{path} is a symbolic link")), "{missing:?}");
        assert!(change(&completed).codeowners.is_none());
    }
    // And where GitHub does not say what it is.
    let s = setup_with(Options::default(), |w| {
        let base = commit("alice", "base").write("CODEOWNERS", "* @bob\n");
        w.push("alice", REPO, "main", &[base]).unwrap();
    })
    .await;
    let path = ["repository", "modes", "root"].map(str::to_owned).to_vec();
    let partial = Fault::GraphqlPartial { path, kind: "FORBIDDEN", message: "no" };
    s.sim.fault(Route::GraphqlWith("query Codeowners".to_owned()), 1, partial);
    let completed = s.complete(&[("codeowners", "")]).await;
    assert_eq!(gone(&completed.facts.facts.missing), [("codeowners", None)]);
}

#[tokio::test]
async fn an_owner_team_that_is_not_there_is_an_error_of_its_line() {
    let s = setup_with(Options::default(), |w| {
        let owners = "door.rs @octo-org/ghosts @bob\n";
        w.push("alice", REPO, "main", &[commit("alice", "base").write(".github/CODEOWNERS", owners)])
            .unwrap();
    })
    .await;
    let completed = s.complete(&[("codeowners", "")]).await;
    assert!(completed.facts.facts.complete, "{:?}", completed.facts.facts.missing);
    let owned = &change(&completed).files[0].owners.as_ref().unwrap()[0];
    assert!(owned.error.as_ref().unwrap().contains("@octo-org/ghosts"));
    assert_eq!(owned.users, ["bob"]);
}

#[tokio::test]
async fn teams() {
    let s = setup_with(Options::default(), |w| {
        let parent = w.add_team("octo-org", "parent", None, &["bob"]).unwrap();
        w.add_team("octo-org", "child", Some("parent"), &["carol"]).unwrap();
        w.grant_team(parent, REPO, Role::Maintain).unwrap();
        let readers = w.add_team("octo-org", "readers", None, &["bob"]).unwrap();
        w.grant_team(readers, REPO, Role::Triage).unwrap();
        w.add_team("octo-org", "strangers", None, &["bob"]).unwrap();
    })
    .await;
    let needs = [
        ("team_members", "Octo-Org/Parent"),
        ("team_members", "octo-org/child"),
        ("team_members", "octo-org/readers"),
        ("team_members", "octo-org/strangers"),
        ("team_members", "Octo-Org/Nobody"),
        ("team_members", "nonsense"),
    ];
    let completed = s.complete(&needs).await;
    let facts = &completed.facts;
    assert_eq!(
        gone(&facts.facts.missing),
        [("team_members", Some("nonsense")), ("team_members", Some("Octo-Org/Nobody"))],
        "spelt as it was asked for"
    );
    let team = |name: &str| (facts.teams[name].members.len(), facts.teams[name].can_write);
    assert_eq!(team("octo-org/parent"), (2, true), "with the members of its child");
    assert_eq!(team("octo-org/child"), (1, true), "its parent's right");
    assert_eq!(team("octo-org/readers"), (1, false));
    assert_eq!(team("octo-org/strangers"), (1, false));
    let asked = s.asked();
    assert_eq!(
        asked.iter().filter(|a| a.starts_with("POST")).count(),
        2,
        "all together, and the absent alone"
    );
    assert_eq!(asked.iter().filter(|a| a.starts_with("GET")).count(), 4);

    // Known for five minutes, unless an event says otherwise.
    s.complete(&needs[..4]).await;
    assert!(s.asked().is_empty());
    s.with(|w| w.set_team_member("alice", "octo-org", "readers", "carol", true).unwrap());
    s.github.drop_people_cache();
    let completed = s.complete(&needs[..4]).await;
    assert_eq!(completed.facts.teams["octo-org/readers"].members.len(), 2);
}

#[tokio::test]
async fn a_team_that_cannot_be_read_is_missing() {
    let s = setup_with(Options::default(), |w| {
        w.add_team("octo-org", "core", None, &["bob"]).unwrap();
    })
    .await;
    let needs = [("team_members", "octo-org/core")];
    let unreadable = [("team_members", Some("octo-org/core"))];
    let path = vec!["organization".to_owned(), "t0".to_owned()];
    let route = Route::GraphqlWith("query Teams".to_owned());
    s.sim.fault(route, 1, Fault::GraphqlPartial { path, kind: "FORBIDDEN", message: "no" });
    assert_eq!(gone(&s.complete(&needs).await.facts.facts.missing), unreadable);
    s.sim.fault(Route::Rest("GET", "repos/octo-org"), 1, Fault::Status(403));
    assert_eq!(gone(&s.complete(&needs).await.facts.facts.missing), unreadable);
    assert!(s.complete(&needs).await.facts.facts.complete);
}

#[tokio::test]
async fn a_huge_team_is_asked_person_by_person() {
    let s = setup_with(Options::default(), |w| {
        let logins: Vec<String> = (0..320).map(|n| format!("u{n}")).collect();
        for login in &logins {
            w.add_user(login);
        }
        let mut members: Vec<&str> = logins.iter().map(String::as_str).collect();
        members.push("bob");
        let team = w.add_team("octo-org", "everyone", None, &members).unwrap();
        w.grant_team(team, REPO, Role::Write).unwrap();
        let large = w.add_team("octo-org", "large", None, &members[..250]).unwrap();
        w.grant_team(large, REPO, Role::Write).unwrap();
    })
    .await;
    let bob = s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.approve("carol", REPO, 1).unwrap();
        w.account("bob").unwrap().id
    });
    let needs = [("team_members", "octo-org/everyone"), ("team_members", "octo-org/large")];
    let completed = s.complete(&needs).await;
    assert_eq!(completed.facts.teams["octo-org/everyone"].members, [bob], "of the reviewers, who is in it");
    assert_eq!(completed.facts.teams["octo-org/large"].members.len(), 250);
    let asked = s.asked();
    assert_eq!(asked.iter().filter(|a| a.contains("/memberships/")).count(), 2);
}

#[tokio::test]
async fn organizations() {
    let s = setup().await;
    let bob = s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.approve("carol", REPO, 1).unwrap();
        w.add_org_member("octo-org", "bob", false).unwrap();
        w.account("bob").unwrap().id
    });
    let needs = [("organization_members", "Octo-Org")];
    let completed = s.complete(&needs).await;
    assert_eq!(completed.facts.organizations["octo-org"], [bob]);

    // GitHub redirects to the public members: that says nothing about the others.
    s.with(|w| {
        let org = w.account("octo-org").unwrap().id;
        w.accounts.get_mut(&org).unwrap().members_hidden = true;
    });
    s.github.drop_people_cache();
    let completed = s.complete(&needs).await;
    assert_eq!(gone(&completed.facts.facts.missing), [("organization_members", Some("Octo-Org"))]);
    let completed = s.complete(&[("organization_members", "nobody")]).await;
    assert_eq!(gone(&completed.facts.facts.missing), [("organization_members", Some("nobody"))]);
}

#[tokio::test]
async fn permissions() {
    let s = setup_with(Options::default(), |w| {
        for who in ["dora", "erik", "finn"] {
            w.add_user(who);
        }
        w.add_bot("helper");
        w.grant("carol", REPO, Role::Maintain).unwrap();
        w.grant_custom("dora", REPO, Role::Write, "release manager").unwrap();
        w.grant("erik", REPO, Role::Triage).unwrap();
    })
    .await;
    s.with(|w| {
        for who in ["bob", "carol", "dora", "erik", "finn", "helper[bot]"] {
            w.approve(who, REPO, 1).unwrap();
        }
    });
    for hidden in [false, true] {
        s.with(|w| w.repositories.get_mut(&s.at.repository.id).unwrap().collaborators_hidden = hidden);
        s.github.drop_people_cache();
        let completed = s.complete(&[("permissions", "")]).await;
        assert!(completed.facts.facts.complete, "{:?}", completed.facts.facts.missing);
        let levels: Vec<&str> =
            change(&completed).reviews.iter().map(|r| r.permission.as_deref().unwrap()).collect();
        assert_eq!(levels, ["write", "maintain", "write", "triage", "none", "none"], "hidden: {hidden}");
        let rest = s.asked().iter().filter(|a| a.starts_with("GET")).count();
        assert_eq!(rest, if hidden { 5 } else { 0 }, "REST where GraphQL does not say");
    }
    s.github.drop_people_cache();
    s.sim.fault(Route::Rest("GET", "/collaborators/"), 1, Fault::Status(403));
    let completed = s.complete(&[("permissions", "")]).await;
    assert_eq!(gone(&completed.facts.facts.missing), [("permissions", None)]);
}

/// (login, source) of each push.
fn pushers(completed: &Completed) -> Vec<(Option<String>, String)> {
    let pushes = change(completed).pushes.as_ref().unwrap();
    pushes.iter().map(|p| (p.user.as_ref().map(|u| u.login.clone()), p.source.clone())).collect()
}

fn pusher(login: &str, source: &str) -> (Option<String>, String) {
    (Some(login.to_owned()), source.to_owned())
}

#[tokio::test]
async fn pushes_come_from_the_ledger_and_gaps_from_the_activity() {
    let s = setup().await;
    let first = s.head();
    s.with(|w| w.push("bob", REPO, "topic", &[commit("alice", "more").write("b", "1")]).unwrap());
    let completed = s.complete(&[("pushes", "")]).await;
    assert_eq!(pushers(&completed), [pusher("bob", "activity"), pusher("alice", "activity")]);

    let dora = gatelog::event::Account { id: 4711, login: "dora".to_owned(), kind: "User".to_owned() };
    let push = |before: Option<Sha>, after: Sha| KnownPush {
        repository: s.at.repository.id,
        before,
        after,
        user: Some(dora.clone()),
        forced: false,
    };
    let pushes = vec![push(None, first.clone()), push(Some(first), s.head())];
    let mut known = Known::default();
    known.pulls.insert(1, KnownPull { pushes, shared_heads: vec![7, 1], ..KnownPull::default() });
    let completed = s.complete_knowing(&[("pushes", "")], &known).await;
    assert!(s.asked().is_empty(), "the ledger knows it all");
    assert_eq!(pushers(&completed).len(), 2);
    assert_eq!(change(&completed).shared_head, [7]);

    known.pulls.get_mut(&1).unwrap().pushes.remove(0);
    let completed = s.complete_knowing(&[("pushes", "")], &known).await;
    assert_eq!(pushers(&completed), [pusher("dora", "ledger"), pusher("alice", "activity")]);
    s.sim.fault(Route::Rest("GET", "/activity"), 1, Fault::Status(403));
    let completed = s.complete_knowing(&[("pushes", "")], &known).await;
    assert_eq!(pushers(&completed)[1], (None, "unknown".to_owned()));
    assert!(completed.facts.facts.complete, "an unknown pusher is a fact");
}

#[tokio::test]
async fn a_fork_that_cannot_be_read_leaves_the_pusher_unknown() {
    let s = setup().await;
    let number = s.with(|w| {
        w.add_user("mallory");
        w.fork(REPO, "mallory/app").unwrap();
        w.push("mallory", "mallory/app", "topic", &[commit("alice", "mine").write("x", "1")]).unwrap();
        w.open_pull("mallory", REPO, "mallory/app:topic", "main", "Mine").unwrap().what
    });
    let mut facts = no_facts();
    facts.change = Some(gather::pull(&s.github, &s.at, number, &FLOOR).await.unwrap().change);
    let completed = s.finish(facts, &[("pushes", "")], &Known::default()).await;
    assert_eq!(pushers(&completed), [(None, "unknown".to_owned())]);
    assert_eq!(change(&completed).pull_request.head.repo.as_ref().unwrap().full_name, "mallory/app");
}

#[tokio::test]
async fn facts_that_build_on_missing_ones_are_missing() {
    let s = setup().await;
    let cases =
        [("commits", "pushes"), ("files", "codeowners"), ("files", "old_paths"), ("reviews", "permissions")];
    for (section, need) in cases {
        s.sim.fault(Route::Graphql, 1, partial(&[section]));
        let completed = s.complete(&[(need, "")]).await;
        assert!(gone(&completed.facts.facts.missing).contains(&(need, None)), "{need}");
    }
}

#[tokio::test]
async fn stage_two_passes_an_outage_on() {
    let s = setup_with(Options::default(), |w| {
        w.add_team("octo-org", "core", None, &["bob"]).unwrap();
    })
    .await;
    let mut facts = no_facts();
    facts.change = Some(s.pull().await.change);
    s.sim.outage(true);
    for (fact, id) in [("codeowners", None), ("pushes", None), ("team_members", Some("octo-org/core"))] {
        let needs = BTreeSet::from([(fact.to_owned(), id.map(str::to_owned))]);
        let known = Known::default();
        let trouble = gather::complete(&s.github, &s.at, facts.clone(), &needs, &known).await.unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Unavailable, "{fact}");
    }
}

// -- merge groups, pushes, open pull requests

fn group_of(s: &Setup, number: u64) -> MergeGroup {
    s.with(|w| {
        let r = w.repository(REPO).unwrap();
        let entry = r.queues["main"].iter().find(|e| e.pull == number).unwrap();
        MergeGroup {
            head_sha: entry.head_commit.parse().unwrap(),
            head_ref: entry.head_ref.clone(),
            base_sha: Some(entry.base_commit.parse().unwrap()),
            base_ref: "refs/heads/main".to_owned(),
            entries: None,
        }
    })
}

async fn with_queue() -> Setup {
    let s = setup().await;
    s.with(|w| {
        w.push("bob", REPO, "second", &[commit("bob", "A window").write("window", "1")]).unwrap();
        w.open_pull("bob", REPO, "second", "main", "A window").unwrap();
        w.enqueue("alice", REPO, 1).unwrap();
        w.enqueue("alice", REPO, 2).unwrap();
    });
    s
}

#[tokio::test]
async fn a_merge_group_is_its_entry_and_all_ahead() {
    let s = with_queue().await;
    let grouped = s.group(&group_of(&s, 2)).await.unwrap();
    assert!(grouped.missing.is_empty(), "{:?}", grouped.missing);
    let numbers = |g: &gather::Grouped| {
        g.group.entries.as_ref().unwrap().iter().map(|c| c.pull_request.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&grouped), [1, 2]);
    assert_eq!(s.asked().len(), 3, "the queue, and each pull request");
    let first = s.group(&group_of(&s, 1)).await.unwrap();
    assert_eq!(numbers(&first), [1]);

    // Stage 2 works on every entry.
    let mut facts = no_facts();
    facts.merge_group = Some(grouped.group);
    let completed = s.finish(facts, &[("pushes", ""), ("merge_group", "")], &Known::default()).await;
    let entries = completed.facts.merge_group.unwrap().entries.unwrap();
    let pushers: Vec<_> =
        entries.iter().map(|c| c.pushes.as_ref().unwrap()[0].user.as_ref().unwrap().login.clone()).collect();
    assert_eq!(pushers, ["alice", "bob"]);
}

#[tokio::test]
async fn a_group_that_the_queue_does_not_show_is_missing() {
    let s = with_queue().await;
    let mut group = group_of(&s, 2);
    group.head_sha = s.head();
    let grouped = s.group(&group).await.unwrap();
    assert_eq!(gone(&grouped.missing), [("merge_group", None)]);
    assert!(grouped.group.entries.is_none());

    let s = setup().await;
    s.sim.lag(2);
    s.with(|w| w.enqueue("alice", REPO, 1).unwrap());
    let grouped = s.group(&group_of(&s, 1)).await.unwrap();
    assert!(grouped.missing.is_empty(), "{:?}", grouped.missing);
}

#[tokio::test]
async fn what_an_entry_lacks_the_group_lacks() {
    let s = with_queue().await;
    s.sim.fault_after(Route::Graphql, 2, 1, partial(&["reviews"]));
    let grouped = s.group(&group_of(&s, 2)).await.unwrap();
    assert_eq!(gone(&grouped.missing), [("merge_group", None), ("reviews", None)]);
    assert!(grouped.missing[1].reason.starts_with("#2: "), "{}", grouped.missing[1].reason);
}

/// Its green is merged when all checks have passed: what it carries is read as late as a pull request itself.
#[tokio::test]
async fn a_group_is_not_read_from_before_what_events_told_of_its_entries() {
    let s = with_queue().await;
    let told = s.with(|w| w.pull(REPO, 1).unwrap().updated_at).plus(Duration::from_secs(1));
    let group = group_of(&s, 2);
    let read = async |patient| {
        let floor = |n| Floor { at: (n == 1).then_some(told), patient, ..Floor::default() };
        gather::merge_group(&s.github, &s.at, &group, &floor).await
    };
    assert_eq!(read(true).await.unwrap_err().kind, TroubleKind::Unavailable);
    let late = read(false).await.unwrap();
    assert!(late.behind && late.missing.is_empty(), "it is taken, and marked: {:?}", late.missing);
    assert!(!s.group(&group).await.unwrap().behind);
}

/// A push to `main` as its webhook tells it.
fn push_of(hooks: &[Webhook]) -> (Push, Known) {
    let own = |h: &&Webhook| h.event == "push" && h.payload["ref"] == "refs/heads/main";
    let payload = &hooks.iter().find(own).unwrap().payload;
    let sha = |name: &str| payload[name].as_str().unwrap().parse::<Sha>().ok().filter(|s| !s.is_zero());
    let push = Push {
        full_ref: "refs/heads/main".to_owned(),
        ref_kind: RefKind::Branch,
        ref_name: "main".to_owned(),
        before: sha("before"),
        after: sha("after"),
        created: false,
        deleted: false,
        forced: payload["forced"].as_bool().unwrap(),
        pusher_kind: "user".to_owned(),
        pusher: None,
        commits: None,
        on_default_branch: None,
        landed: None,
    };
    let ids =
        payload["commits"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().parse().unwrap());
    (push, Known { pushed: Some(ids.collect()), ..Known::default() })
}

const BOTH: [(&str, &str); 2] = [("push_commits", ""), ("landed", "")];

/// Makes the push happen and says what it is, our ledger having allowed #1 at its present head.
async fn landed_by(s: &Setup, act: impl FnOnce(&mut World) -> Vec<Webhook>) -> (String, Completed) {
    let before = s.pull().await.change;
    let hooks = s.with(act);
    let (push, known) = push_of(&hooks);
    let mut facts = no_facts();
    facts.push = Some(push.clone());
    let completed = s.finish(facts, &BOTH, &known).await;
    assert!(completed.facts.facts.complete, "{:?}", completed.facts.facts.missing);
    let allowed = JudgedPull {
        number: 1,
        head: before.pull_request.head.sha.clone().unwrap(),
        base_ref: "main".to_owned(),
        allowed: true,
        until: None,
        verdict: 40,
        at: before.pull_request.updated_at,
        commits: before.commits.iter().map(|c| (c.sha.clone(), c.parents.len())).collect(),
    };
    let judged = Judged { pulls: vec![allowed], groups: vec![] };
    let landing = completed.landing.clone().unwrap();
    (landed::prove(&push, &landing, &judged).kind, completed)
}

#[tokio::test]
async fn merges_by_github_are_told_from_pushes() {
    for (method, kind, brought) in
        [(Method::Merge, "merge", 3), (Method::Squash, "squash", 1), (Method::Rebase, "rebase", 2)]
    {
        let s = setup().await;
        s.with(a_push(1));
        let (landed, completed) = landed_by(&s, |w| w.merge("bob", REPO, 1, method).unwrap().hooks).await;
        assert_eq!(landed, kind);
        assert_eq!(completed.facts.push.unwrap().commits.unwrap().len(), brought);
    }
    let s = setup().await;
    let quick = [commit("bob", "quick")];
    let (landed, completed) = landed_by(&s, |w| w.push("bob", REPO, "main", &quick).unwrap().hooks).await;
    assert_eq!(landed, "direct");
    assert_eq!(completed.facts.push.unwrap().commits.unwrap().len(), 1);
    assert_eq!(s.asked().len(), 3, "its commits, its last one, and how the branch was moved");
}

#[tokio::test]
async fn the_commits_of_a_pull_request_pushed_by_hand_are_a_direct_push() {
    let s = setup().await;
    let by_hand = |w: &mut World| w.force_push("bob", REPO, "main", "topic", &[]).unwrap().hooks;
    let (landed, completed) = landed_by(&s, by_hand).await;
    assert_eq!(completed.landing.unwrap().merged.len(), 1, "GitHub calls it merged");
    assert_eq!(landed, "direct");
}

#[tokio::test]
async fn a_merge_that_github_does_not_show_yet_is_waited_for() {
    let s = setup().await;
    s.pull().await;
    s.sim.lag(2);
    let hooks = s.with(|w| w.merge("bob", REPO, 1, Method::Squash).unwrap().hooks);
    let (push, known) = push_of(&hooks);
    let mut facts = no_facts();
    facts.push = Some(push);
    let completed = s.finish(facts, &[("landed", "")], &known).await;
    assert!(completed.facts.facts.complete, "{:?}", completed.facts.facts.missing);
    assert_eq!(completed.landing.unwrap().merged.len(), 1);
}

#[tokio::test]
async fn a_push_that_cannot_be_read_is_missing() {
    let s = setup().await;
    let hooks = s.with(|w| w.push("bob", REPO, "main", &[commit("bob", "quick")]).unwrap().hooks);
    let (push, mut known) = push_of(&hooks);
    let both = [("push_commits", None), ("landed", None)];
    let mut facts = no_facts();
    facts.push = Some(push);
    known.pushed.as_mut().unwrap().insert(0, "1".repeat(40).parse().unwrap());
    let completed = s.finish(facts.clone(), &BOTH, &known).await;
    assert_eq!(gone(&completed.facts.facts.missing), both, "a commit that is not shown");
    known.pushed = Some((0..2048).map(|n| format!("{n:040x}").parse().unwrap()).collect());
    let completed = s.finish(facts.clone(), &BOTH, &known).await;
    assert_eq!(gone(&completed.facts.facts.missing), both, "more than GitHub lists");
    known.pushed = None;
    let completed = s.finish(facts, &BOTH, &known).await;
    assert_eq!(gone(&completed.facts.facts.missing), both, "no list");
}

#[tokio::test]
async fn a_long_push_is_read_in_calls_of_one_point() {
    let s = setup().await;
    let many: Vec<_> = (0..100).map(|n| commit("bob", "x").write(&format!("m{n}"), "1")).collect();
    let before = s.github.usage().graphql_points;
    let (landed, completed) = landed_by(&s, |w| w.push("bob", REPO, "main", &many).unwrap().hooks).await;
    assert_eq!(landed, "direct");
    assert_eq!(completed.facts.push.unwrap().commits.unwrap().len(), 100);
    let calls = s.asked().len() as u64;
    assert_eq!(calls, 5, "the commits by 49, the last one, and how the branch was moved");
    assert_eq!(s.github.usage().graphql_points - before, calls, "the pull request before, and one REST");
}

#[tokio::test]
async fn open_pull_requests_of_all_pages() {
    let s = setup().await;
    s.with(|w| {
        for n in 0..120 {
            w.open_draft("alice", REPO, "topic", "main", &format!("{n}")).unwrap();
        }
        w.close("alice", REPO, 1).unwrap();
    });
    let open = gather::open_pulls(&s.github, &s.at).await.unwrap();
    assert_eq!(open.len(), 120);
    let head = s.head();
    assert!(open.iter().all(|p| p.draft && p.head == head && p.head_ref == "topic" && p.base_ref == "main"));
    assert_eq!(s.asked().len(), 2);
}

fn left(circle: Circle, account: u64) -> Membership {
    Membership { circle, account, member: false }
}

/// The event is there before the API shows it: who left does not count for a moment longer.
#[tokio::test]
async fn who_left_is_out_before_the_api_shows_it() {
    let s = setup_with(Options::default(), |w| {
        for team in ["core", "docs"] {
            w.add_team("octo-org", team, None, &["bob", "carol"]).unwrap();
        }
        w.add_org_member("octo-org", "bob", false).unwrap();
        w.add_org_member("octo-org", "carol", false).unwrap();
    })
    .await;
    let (bob, carol, core) = s.with(|w| {
        w.approve("bob", REPO, 1).unwrap();
        w.approve("carol", REPO, 1).unwrap();
        let id = |login: &str| w.account(login).unwrap().id;
        (id("bob"), id("carol"), w.team(id("octo-org"), "core").unwrap().id)
    });
    let needs = [("team_members", "octo-org/core"), ("team_members", "octo-org/docs")];

    // Two reads behind: read again until it shows.
    s.sim.lag(2);
    s.with(|w| w.set_team_member("alice", "octo-org", "core", "bob", false).unwrap());
    s.github.people_changed(&left(Circle::Team(core), bob));
    let teams = s.complete(&needs).await.facts.teams;
    assert_eq!(teams["octo-org/core"].members, [carol]);
    assert_eq!(teams["octo-org/docs"].members, [bob, carol], "another team");

    // It goes on not showing it: no facts, instead of the old ones.
    s.sim.lag(usize::MAX);
    s.with(|w| w.remove_org_member("alice", "octo-org", "carol").unwrap());
    s.github.people_changed(&left(Circle::Organization("octo-org".to_owned()), carol));
    for need in [("team_members", "octo-org/docs"), ("organization_members", "octo-org")] {
        let trouble = s.try_complete(&[need], &Known::default()).await.unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Unavailable);
        assert!(trouble.reason.contains("does not show yet who is in"), "{}", trouble.reason);
    }
    s.sim.catch_up();
    assert_eq!(s.complete(&needs).await.facts.teams["octo-org/docs"].members, [bob]);
}
