//! Every REST call that gatelog makes, checked by Prism against GitHub's own OpenAPI description, and the answers and
//! webhooks of the simulated GitHub, checked by ajv against the same and against that of webhooks: it must not be easier
//! than the real one.
//!
//! A tour makes each call once, on the simulated GitHub. That none is left out is read from our source: every path
//! that stands there must have been asked for. Prism then gets the same requests, and refuses those that are no request
//! of GitHub's API: another path, a body or a value of another shape. It ignores query parameters that it does not know, so those
//! are looked up by name.
//!
//! Of the fields that GitHub always sends, only those are demanded of the simulated GitHub whose names stand in our
//! source (`read_names`): the others, mostly addresses, nobody here reads. Types, enums and formats are always
//! checked, and no field may be sent that GitHub does not describe.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{
    foreign::{Tool, foreign, root},
    schemas,
};
use gatelog::{
    event::{Account, Repository, Sha},
    facts::{FACTS, Facts, MergeGroup, Status},
    github::{
        Github, RepoAt, Settings,
        check_run::State,
        deployments::Review,
        gather::{self, Floor, Known},
        manifest,
        report::{self, KnownRun, Show},
    },
    outbound::{Outbound, Proxies},
    simulated_github::{Logged, Options, Role, SimulatedGithub, commit},
    time::Time,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const REPO: &str = "octo-org/app";

/// Query parameters that GitHub takes and does not describe: why they are sent.
const UNDESCRIBED: &[(&str, &str, &str)] = &[(
    "/repos/{owner}/{repo}/git/matching-refs/{ref}",
    "per_page",
    "described up to Enterprise Server 3.1, which pages this list; the others ignore it",
)];

struct Tour {
    sim: SimulatedGithub,
    github: Github,
    at: RepoAt,
}

impl Tour {
    async fn begin() -> Self {
        let sim = SimulatedGithub::start_with(Options::default()).await.unwrap();
        let (installation, id) = sim.with(|w| {
            let installation = w.add_organization("octo-org");
            let id = w.add_repository(REPO).unwrap();
            for login in ["alice", "bob"] {
                w.add_user(login);
                w.grant(login, REPO, Role::Write).unwrap();
            }
            let logins: Vec<String> = (0..320).map(|n| format!("u{n}")).collect();
            logins.iter().for_each(|login| _ = w.add_user(login));
            let mut members: Vec<&str> = logins.iter().map(String::as_str).collect();
            members.push("bob");
            let team = w.add_team("octo-org", "everyone", None, &members).unwrap();
            w.grant_team(team, REPO, Role::Write).unwrap();
            w.secret_alert("alice", REPO, 3, None).unwrap();
            let base = commit("alice", "base")
                .write("old.txt", "1")
                .write("docs/CODEOWNERS", "* @bob\n*.txt alice@example.com\n");
            w.push("alice", REPO, "main", &[base]).unwrap();
            let change = commit("alice", "A door")
                .rename("old.txt", "new.txt")
                .write(".github/workflows/build.yml", "on: push\njobs: {}\n");
            w.push("alice", REPO, "topic", &[change]).unwrap();
            w.open_pull("alice", REPO, "topic", "main", "A door").unwrap();
            w.approve("bob", REPO, 1).unwrap();
            (installation, id)
        });
        let outbound = Outbound::new(None, &Proxies::default()).unwrap();
        let settings = Settings {
            api_url: sim.api_url(),
            graphql_url: None,
            app_id: sim.app_id(),
            private_key_pem: sim.app_key_pem().into_bytes().into(),
            timeout: Duration::from_secs(10),
            outbound,
            secondary_limits: true,
        };
        let repository = Repository { id, name: REPO.parse().unwrap(), default_branch: Some("main".into()) };
        Self { sim, github: Github::new(&settings).unwrap(), at: RepoAt { installation, repository } }
    }

    fn tip(&self, branch: &str) -> Sha {
        let name = format!("refs/heads/{branch}");
        self.sim.with(|w| w.repository(REPO).unwrap().refs[&name].parse().unwrap())
    }

    /// All that a pull request may be asked for, and what a push and a deployment may.
    async fn facts(&self) {
        let needs: BTreeSet<(String, Option<String>)> = FACTS
            .iter()
            .map(|(fact, _)| match *fact {
                "team_members" => ("team_members", Some("octo-org/everyone".to_owned())),
                "organization_members" => ("organization_members", Some("octo-org".to_owned())),
                fact => (fact, None),
            })
            .map(|(fact, id)| (fact.to_owned(), id))
            .collect();
        let pulled = gather::pull(&self.github, &self.at, 1, &Floor::default()).await.unwrap();
        let known =
            Known { tip: Some(self.tip("topic")), deployed: Some(self.tip("main")), ..Known::default() };
        let mut facts = no_facts();
        facts.change = Some(pulled.change);
        gather::complete(&self.github, &self.at, facts, &needs, &known).await.unwrap();
        // Of no pull request: whether the commit is on the default branch.
        gather::complete(&self.github, &self.at, no_facts(), &needs, &known).await.unwrap();
        let bob = self.sim.with(|w| w.account("bob").unwrap().id);
        let bob = Account { id: bob, login: "bob".into(), kind: "User".into() };
        self.github.level_now(&self.at, &bob).await.unwrap().unwrap();
        self.github.is_member_now(&self.at, "octo-org/everyone", &bob).await.unwrap().unwrap();
        self.github.bypass(&self.at, "main", &self.tip("main")).await.unwrap();
    }

    /// What else is asked of GraphQL.
    async fn queries(&self) {
        let did = self.sim.with(|w| w.enqueue("alice", REPO, 1)).unwrap();
        let group = &did.hooks.last().unwrap().payload["merge_group"];
        let text = |field: &str| group[field].as_str().unwrap().to_owned();
        let group = MergeGroup {
            head_sha: text("head_sha").parse().unwrap(),
            head_ref: text("head_ref"),
            base_sha: Some(text("base_sha").parse().unwrap()),
            base_ref: text("base_ref"),
            entries: None,
        };
        gather::merge_group(&self.github, &self.at, &group, &|_| gather::Floor::default()).await.unwrap();
        gather::open_pulls(&self.github, &self.at).await.unwrap();
    }

    async fn check_runs(&self) {
        let mut show = Show {
            name: "gatelog".into(),
            sha: self.tip("topic"),
            state: State::InProgress,
            title: "Waiting".into(),
            summary: "Not yet.".into(),
            text: String::new(),
            annotations: vec![
                json!({"path": "a.yml", "start_line": 1, "end_line": 1, "annotation_level": "failure",
                "title": "CHG-07", "message": "not pinned"}),
            ],
            external_id: "1:2:3".into(),
            known_run: None,
            look_first: true,
            keep_red: false,
            started_at: Some(Time::now()),
            details_url: Some("https://gate.example.com".into()),
        };
        let shown = report::show(&self.github, &self.at, &show, None).await.unwrap();
        for (state, text) in [(State::Failure, "Text."), (State::Success, "")] {
            show = Show {
                state,
                text: text.into(),
                look_first: false,
                known_run: Some(KnownRun { id: shown.check_run, completed: false }),
                ..show
            };
            report::show(&self.github, &self.at, &show, None).await.unwrap();
        }
    }

    async fn deployments(&self) {
        let api = self.sim.api_url();
        let run = self.sim.with(|w| w.ask_to_deploy("bob", REPO, "production", &api)).unwrap().what;
        for review in [Review::Waiting, Review::Rejected] {
            self.github.review_deployment(&self.at, run, "production", review, "Because.").await.unwrap();
        }
        self.github.run_goes_on(&self.at, run).await.unwrap();
        self.github.can_read(&self.at).await.unwrap();
    }

    async fn sweep(&self) {
        let (github, at) = (&self.github, &self.at);
        let since = Time::from_unix_micros(0).unwrap();
        github.deliveries(since, 1).await.unwrap();
        let hook = self.sim.with(|w| w.label("alice", REPO, 1, "asked-again")).unwrap().hooks.remove(0);
        // To nobody.
        self.sim.set_hook("http://127.0.0.1:9/", "secret");
        self.sim.deliver(&hook).await.unwrap_err();
        let id = self.sim.with(|w| w.deliveries[0].id);
        github.redeliver(id).await.unwrap();
        github.delivered_payload(id).await.unwrap();
        github.installations().await.unwrap();
        github.covered(at.installation).await.unwrap();
        github.refs(at, "heads/ma").await.unwrap();
        github.refs(at, "tags/").await.unwrap();
        github.moves(at, "main", None, 1).await.unwrap();
        github.first_parents(at, &self.tip("main"), None, 10).await.unwrap();
        github.between(at, self.tip("main").as_str(), &self.tip("topic")).await.unwrap();
    }

    async fn doctor(&self) {
        self.github.app().await.unwrap();
        self.github.installed().await.unwrap();
        self.github.hook().await.unwrap();
        self.github.branch_rules(&self.at, "main").await.unwrap().unwrap();
        let _ = self.github.ruleset(&self.at, 42).await;
        let outbound = Outbound::new(None, &Proxies::default()).unwrap();
        let api = self.sim.api_url();
        let place = manifest::Place { web: api.clone(), api };
        let _ = manifest::convert(&outbound, &place, "code", Duration::from_secs(5)).await;
    }
}

fn no_facts() -> Facts {
    let now = Time::now();
    let status = Status { complete: true, missing: vec![], fetched_at: now };
    serde_json::from_value(json!({"time": now, "facts": status})).unwrap()
}

/// The paths that stand in our source, as lists of segments; `None` is something named.
fn written() -> BTreeSet<Vec<Option<String>>> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root().join("src/github"), root().join("src/github.rs")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        // Addresses and tests are no calls.
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".rs") || matches!(name, "tests.rs" | "setup.rs" | "page.rs" | "check_run.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        // Nor are pointers into JSON, what is cut off, and pages for people.
        let calls = |l: &&str| {
            let other = ["//", ".pointer(", "strip_suffix(", "/settings/apps/"];
            !l.trim_start().starts_with(other[0]) && !other[1..].iter().any(|o| l.contains(o))
        };
        let lines = code.lines().filter(calls);
        for literal in
            lines.flat_map(|l| l.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        {
            let Some(from) =
                literal.find('/').filter(|at| literal[..*at].is_empty() || literal.starts_with("{}"))
            else {
                continue;
            };
            let bare = literal[from..].split('?').next().unwrap();
            if bare.len() < 2 || bare.ends_with('/') || bare.contains("{rest}") || bare.contains(' ') {
                continue;
            }
            let named = |s: &str| if s.contains('{') { None } else { Some(s.to_owned()) };
            let mut path: Vec<Option<String>> = bare[1..].split('/').map(named).collect();
            let first = path[0].clone().unwrap_or_default();
            if !matches!(first.as_str(), "repos" | "orgs" | "app" | "installation" | "app-manifests") {
                path.splice(0..0, [Some("repos".to_owned()), None, None]);
            }
            found.insert(path);
        }
    }
    found
}

fn asks_for(request: &Logged, written: &[Option<String>]) -> bool {
    let asked: Vec<&str> = request.path.split('?').next().unwrap()[1..].split('/').collect();
    // Their last part may hold slashes: a path, a ref, the full name of a repository.
    let at = |n: usize| written.get(n).and_then(Option::as_deref);
    let ragged = matches!(at(3), Some("contents" | "git")) || at(4) == Some("repos");
    // `/repos/{}` stands for a repository by its full name, with more behind it.
    let open = written.len() == 2;
    (asked.len() == written.len() || (asked.len() > written.len() && (ragged || open)))
        && asked.iter().zip(written).all(|(a, w)| w.as_ref().is_none_or(|w| w == a))
}

/// A request and its answer, as `subset.cjs` takes them.
fn answered(request: &Logged) -> Value {
    let mut out = json!({"method": request.method, "path": request.path, "status": request.status});
    if let Ok(answer) = serde_json::from_slice::<Value>(&request.answer) {
        out["answer"] = answer;
    }
    out
}

struct Prism {
    child: Child,
    port: u16,
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prism {
    async fn start(dir: &Path, subset: &Path) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new("node")
            .arg("node_modules/@stoplight/prism-cli/dist/index.js")
            .args(["mock", "-h", "127.0.0.1", "-p", &port.to_string()])
            .arg(subset)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut prism = Self { child, port };
        let until = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                prism.child.try_wait().unwrap().is_none() && Instant::now() < until,
                "Prism does not start"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prism
    }

    /// Status and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let content = match body.is_empty() {
            true => String::new(),
            false => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\nconnection: close\r\n{content}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn every_rest_call_is_one_of_githubs() {
    let tour = Tour::begin().await;
    tour.facts().await;
    tour.check_runs().await;
    tour.deployments().await;
    tour.sweep().await;
    tour.doctor().await;
    let all: Vec<Logged> =
        tour.sim.requests().into_iter().filter(|r| !r.path.starts_with("/graphql")).collect();
    let (written, mut lost) = (written(), Vec::new());
    assert!(written.len() > 25, "the source is not read as it should be: {written:?}");
    for path in &written {
        if !all.iter().any(|r| asks_for(r, path)) {
            lost.push(path);
        }
    }
    assert!(
        lost.is_empty(),
        "the tour makes no call of {lost:?}: {:?}",
        all.iter().map(|r| &r.path).collect::<Vec<_>>()
    );

    // Both are asked for, so that both are said to be missing.
    let (dir, node) = (foreign(Tool::Prism), foreign(Tool::Node));
    let (Some(dir), Some(node)) = (dir, node) else { return };
    let place = tempfile::tempdir().unwrap();
    let (asked, subset) = (place.path().join("requests.json"), place.path().join("subset.json"));
    let question = json!({
        "requests": all.iter().map(answered).collect::<Vec<_>>(),
        "read": schemas::read_names(&["src/github", "src/github.rs"]),
    });
    fs::write(&asked, question.to_string()).unwrap();
    let out = Command::new("node")
        .arg(root().join("tests/foreign/prism/subset.cjs"))
        .args([&asked, &subset])
        .env("NODE_PATH", std::env::join_paths([&node, &dir].map(|d| d.join("node_modules"))).unwrap())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["lost"], json!([]), "GitHub has no such operation");
    let wrong: Vec<&str> = found["wrong"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert!(wrong.is_empty(), "answers of the simulated GitHub:\n{}", wrong.join("\n"));
    assert!(found["answers"].as_u64().unwrap() > 20, "answers were compared: {}", found["answers"]);

    let prism = Prism::start(&dir, &subset).await;
    let requests = found["requests"].as_array().unwrap();
    assert_eq!(requests.len(), all.len());
    let mut wrong = Vec::new();
    for (request, logged) in requests.iter().zip(&all) {
        let text = |name: &str| request[name].as_str().unwrap();
        for parameter in request["unknown"].as_array().unwrap() {
            let described = |(template, name, _): &&(&str, &str, &str)| {
                *template == text("template") && parameter == name
            };
            if !UNDESCRIBED.iter().any(|u| described(&u)) {
                wrong.push(format!("{} {}: no parameter {parameter}", text("method"), text("path")));
            }
        }
        let (status, said) = prism.ask(text("method"), text("path"), &logged.body).await;
        if status >= 400 {
            wrong.push(format!("{} {} {}: {status} {said}", text("method"), text("path"), logged.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // It is Prism that agrees, and it would not agree to everything.
    let run = |more: Value| {
        let mut body =
            json!({"name": "gatelog", "head_sha": "a", "status": "completed", "conclusion": "success"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let action = json!({"label": "longer than twenty characters", "identifier": "x", "description": "x"});
    for (method, path, body, wanted) in [
        ("POST", "/repos/o/r/check-runs", run(json!({})), 201),
        ("POST", "/repos/o/r/check-runs", run(json!({"conclusion": "fine"})), 422),
        ("POST", "/repos/o/r/check-runs", run(json!({"actions": [action]})), 422),
        ("POST", "/repos/o/r/check-runs", json!({"name": "gatelog"}).to_string(), 422),
        ("GET", "/repos/o/r/pulls/one/files", String::new(), 422),
        ("GET", "/repos/o/r/no-such-thing", String::new(), 404),
    ] {
        let (status, said) = prism.ask(method, path, &body).await;
        assert_eq!(status, wanted, "{method} {path} {body}: {said}");
    }
}

/// The simulated GitHub's answers to queries of real stories are compared by `scenarios.rs`; here none is left out.
#[tokio::test]
async fn every_query_and_webhook_is_as_github_describes_it() {
    let hooks = crate::told::all().await;
    let made: BTreeSet<&str> = hooks.iter().map(|h| h.event.as_str()).collect();
    assert_eq!(
        made,
        crate::told::written().iter().map(String::as_str).collect(),
        "the events in the source of the simulated GitHub"
    );
    let tour = Tour::begin().await;
    tour.facts().await;
    tour.queries().await;
    let Some(checked) = schemas::check(&tour.sim.requests(), &hooks) else { return };
    assert_eq!(
        checked.operations,
        schemas::declared(),
        "the queries in our source, and those that were sent"
    );
    let name = |h: &gatelog::simulated_github::Webhook| match h.payload["action"].as_str() {
        Some(action) => format!("{}.{action}", h.event),
        None => h.event.clone(),
    };
    assert_eq!(checked.webhooks, hooks.iter().map(name).collect());
}
