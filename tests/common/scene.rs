//! An organisation on a simulated GitHub, and the service that guards it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use gatelog::simulated_github::{
    Answer, CheckRun, DeliveryError, Did, Logged, Options, Role, SimulatedGithub, Webhook, World, commit,
};
use tempfile::TempDir;

use super::{foreign::root, program::copy, service::Service, view::View};

pub const REPO: &str = "octo-org/app";

/// How long everything in hand may take.
const SETTLED: Duration = Duration::from_secs(300);

pub struct Scene {
    pub gh: SimulatedGithub,
    pub service: Service,
    _dir: TempDir,
}

/// Waiting for [`Scene::settle`], one look at a time.
pub struct Settling {
    until: Instant,
    quiet: u32,
}

impl Settling {
    pub fn begun() -> Self {
        Self { until: Instant::now() + SETTLED, quiet: 0 }
    }

    /// The ledger, once nothing is to be done any more.
    ///
    /// # Errors
    /// GitHub could not deliver a webhook: the service does not listen.
    pub async fn look(&mut self, s: &Scene) -> Result<Option<View>, DeliveryError> {
        let told = s.gh.deliver_outbox().await?;
        let began = Instant::now();
        let view = s.view();
        // A long ledger is not read all the time: it takes from what it waits for.
        let pause = Duration::from_millis(40).max(3 * began.elapsed());
        let (unjudged, unreported) = view.unfinished();
        let is_quiet = told.is_empty() && unjudged.is_empty() && unreported.is_empty();
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
        if self.quiet == 3 {
            return Ok(Some(view));
        }
        assert!(
            Instant::now() < self.until,
            "not settled: unjudged {unjudged:?}, unreported {unreported:?}\n{}",
            s.service.log()
        );
        tokio::time::sleep(pause).await;
        Ok(None)
    }
}

impl Scene {
    /// alice, bob and carol may write to `octo-org/app`, mallory may read it. Nothing runs yet.
    pub async fn set() -> Self {
        let gh = SimulatedGithub::start_with(Options::default()).await.unwrap();
        gh.with(|w| {
            w.add_organization("octo-org");
            w.add_repository(REPO).unwrap();
            for login in ["alice", "bob", "carol", "mallory"] {
                w.add_user(login);
                let role = if login == "mallory" { Role::Read } else { Role::Write };
                w.grant(login, REPO, role).unwrap();
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let service = Service::prepare(dir.path(), &gh);
        Self { gh, service, _dir: dir }
    }

    /// Our policies with parameters per repository, written as lines of YAML below `repositories:`. Before
    /// the start.
    pub fn use_parameters(&self, repositories: &str) {
        let own = self.service.dir.join("policies");
        copy(&root().join("policies"), &own);
        let data = std::fs::read_to_string(own.join("data.yaml")).unwrap();
        let lines: String = repositories.lines().map(|l| format!("    {l}\n")).collect();
        let data = data.replace("  repositories: {}\n", &format!("  repositories:\n{lines}"));
        std::fs::write(own.join("data.yaml"), data).unwrap();
        let config = self.service.dir.join("gatelog.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let there = root().join("policies").display().to_string();
        std::fs::write(config, text.replace(&there, "policies")).unwrap();
    }

    /// As [`Scene::set`], with the service running.
    pub async fn started() -> Self {
        let mut scene = Self::set().await;
        scene.service.start().await;
        scene
    }

    /// Does something on GitHub and delivers what GitHub sends for it. All must be taken.
    pub async fn act<T>(&self, f: impl FnOnce(&mut World) -> gatelog::simulated_github::Act<T>) -> Did<T> {
        let did = self.gh.with(f).unwrap();
        for answer in self.gh.deliver_all(&did.hooks).await.unwrap() {
            assert!(matches!(answer.status, 200 | 202), "{answer:?}\n{}", self.service.log());
        }
        did
    }

    /// alice pushes a signed commit to `branch` and opens a pull request for it.
    pub async fn pull(&self, branch: &str, title: &str) -> u64 {
        self.act(|w| push_and_open(w, branch, title)).await.what
    }

    pub async fn deliver(&self, hook: &Webhook) -> Answer {
        self.gh.deliver(hook).await.unwrap()
    }

    pub fn view(&self) -> View {
        View::read(&self.service.ledger)
    }

    /// Waits until every event has its verdict and every verdict is shown, GitHub's own webhooks about
    /// our check runs included.
    pub async fn settle(&self) -> View {
        let mut settling = Settling::begun();
        loop {
            if let Some(view) = settling.look(self).await.unwrap() {
                return view;
            }
        }
    }

    /// Waits for what comes by itself, for so many seconds at most.
    pub async fn until<T>(&self, what: &str, patience: u64, f: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(patience);
        loop {
            if let Some(found) = f() {
                return found;
            }
            assert!(Instant::now() < end, "{what}:\n{}", self.service.log());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub fn head(&self, number: u64) -> String {
        self.gh.with(|w| w.pull(REPO, number).unwrap().head.sha.clone())
    }

    /// Our check run that counts on a commit: the newest of its name.
    pub fn run_on(&self, sha: &str, name: &str) -> Option<CheckRun> {
        let (ours, runs) = (self.gh.app_id(), self.gh.check_runs_on(sha));
        runs.into_iter().filter(|r| r.app == ours && r.name == name).max_by_key(|r| r.id)
    }

    /// Conclusion (or status) and title of the check on a pull request's head.
    pub fn check(&self, number: u64) -> (String, String) {
        match self.run_on(&self.head(number), "gatelog") {
            Some(run) => (run.conclusion.unwrap_or(run.status), run.title.unwrap_or_default()),
            None => ("none".to_owned(), String::new()),
        }
    }

    /// At most one run per target is live, and never neutral or skipped.
    pub fn assert_runs_are_sound(&self) {
        let mut live: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        let runs = self.gh.with(|w| w.check_runs.values().cloned().collect::<Vec<_>>());
        for run in runs.into_iter().filter(|r| r.app == self.gh.app_id()) {
            match run.conclusion.as_deref() {
                Some(c) => assert!(matches!(c, "success" | "failure"), "{c}"),
                None => live.entry((run.head_sha, run.name)).or_default().push(run.id),
            }
        }
        live.retain(|_, runs| runs.len() > 1);
        assert!(live.is_empty(), "several live runs: {live:?}\n{}\n{}", self.writes(), self.service.log());
    }

    /// Every request about check runs, for a failed test.
    fn writes(&self) -> String {
        let about_runs = |r: &Logged| r.path.contains("check-runs");
        let short = |r: Logged| {
            let body: serde_json::Value = serde_json::from_str(&r.body).unwrap_or_default();
            let (status, head) = (&body["status"], &body["head_sha"]);
            format!("{} {} {:?} {status} {head} {}\n", r.method, r.path, r.status, body["external_id"])
        };
        self.gh.requests().into_iter().filter(about_runs).map(short).collect()
    }
}

/// alice pushes a signed commit to `branch` and opens a pull request for it.
pub fn push_and_open(w: &mut World, branch: &str, title: &str) -> gatelog::simulated_github::Act<u64> {
    let change = commit("alice", title).write(&format!("{branch}.txt"), title).signed();
    let pushed = w.push("alice", REPO, branch, &[change])?;
    let mut opened = w.open_pull("alice", REPO, branch, "main", title)?;
    opened.hooks.splice(..0, pushed.hooks);
    Ok(opened)
}

/// A webhook that takes alerts; what it was told.
pub async fn alerts_listener() -> (String, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = told.clone();
    let app = axum::Router::new().fallback(move |body: String| {
        heard.lock().unwrap().push(body);
        async { "ok" }
    });
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/x", door.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(door, app).await });
    (url, told)
}
