//! Setting gatelog up: how it reaches GitHub, creating the App, and what `doctor` says.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use gatelog::{
    event::Repository,
    github::{Github, RepoAt, Settings, TroubleKind, gather},
    ledger::key::Keys,
    outbound::{Outbound, Proxies},
    simulated_github::{Options, Role, SimulatedGithub, commit},
    telemetry::alerts::Poster,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, pem::PemObject as _},
    },
};

const REPO: &str = "octo-org/app";

/// Hosts with certificates of an authority that only `ca.pem` knows, and a proxy that leads to them.
struct Network {
    dir: tempfile::TempDir,
    proxy: SocketAddr,
    /// What the proxy was asked for: `CONNECT` lines, and who asked.
    asked: Arc<Mutex<Vec<String>>>,
    /// Host → where it really is.
    hosts: Arc<Mutex<HashMap<String, SocketAddr>>>,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Network {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (proxy, asked, hosts) = (listener.local_addr().unwrap(), Arc::default(), Arc::default());
        tokio::spawn(run_proxy(listener, Arc::clone(&asked), Arc::clone(&hosts)));
        Self { dir, proxy, asked, hosts, authority }
    }

    fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// `https://host/` leads to `to`, over TLS as far as here.
    async fn host(&self, host: &str, to: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let (acceptor, to) = (TlsAcceptor::from(Arc::new(tls)), to.trim_start_matches("http://").to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.hosts.lock().unwrap().insert(host.to_owned(), listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let mut inside = acceptor.accept(stream).await.ok()?;
                    let mut behind = TcpStream::connect(to).await.ok()?;
                    copy_bidirectional(&mut inside, &mut behind).await.ok()
                });
            }
        });
    }

    fn proxies(&self, no: &str) -> Proxies {
        Proxies::of(&format!("http://gate:pass@{}", self.proxy), no)
    }

    fn outbound(&self) -> Outbound {
        Outbound::new(Some(&self.ca_file()), &self.proxies("")).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// `gatelog <args>` in `dir`, with this proxy.
    async fn gatelog(&self, dir: &Path, args: &[&str]) -> (i32, String) {
        let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
            .args(args)
            .current_dir(dir)
            .env("HTTPS_PROXY", format!("http://{}", self.proxy))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .await
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap(), String::from_utf8(said).unwrap())
    }
}

async fn run_proxy(
    listener: TcpListener,
    asked: Arc<Mutex<Vec<String>>>,
    hosts: Arc<Mutex<HashMap<String, SocketAddr>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (asked, hosts) = (asked.clone(), hosts.clone());
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let (mut head, mut line) = (Vec::new(), String::new());
            while stream.read_line(&mut line).await.ok()? > 2 {
                head.push(std::mem::take(&mut line).trim_end().to_owned());
            }
            let who = head.iter().find_map(|l| l.strip_prefix("Proxy-Authorization: "));
            asked.lock().unwrap().push(format!("{} as {}", head[0], who.unwrap_or("nobody")));
            let host = head[0].strip_prefix("CONNECT ")?.split(':').next()?.to_owned();
            let to = hosts.lock().unwrap().get(&host).copied();
            let Some(to) = to else {
                return stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.ok();
            };
            let mut behind = TcpStream::connect(to).await.ok()?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            copy_bidirectional(&mut stream, &mut behind).await.ok().map(|_| ())
        });
    }
}

/// octo-org/app with one open pull request.
async fn simulated(enterprise: bool) -> (SimulatedGithub, RepoAt) {
    let sim = SimulatedGithub::start_with(Options { enterprise, ..Options::default() }).await.unwrap();
    let (installation, id) = sim.with(|w| {
        let installation = w.add_organization("octo-org");
        w.add_user("alice");
        let id = w.add_repository(REPO).unwrap();
        w.grant("alice", REPO, Role::Write).unwrap();
        w.push("alice", REPO, "topic", &[commit("alice", "A door").write("door.rs", "1").signed()]).unwrap();
        w.open_pull("alice", REPO, "topic", "main", "A door").unwrap();
        (installation, id)
    });
    let repository = Repository { id, name: REPO.parse().unwrap(), default_branch: Some("main".to_owned()) };
    (sim, RepoAt { installation, repository })
}

fn client(sim: &SimulatedGithub, api_url: &str, outbound: Outbound) -> Github {
    let settings = Settings {
        api_url: api_url.to_owned(),
        graphql_url: None,
        app_id: sim.app_id(),
        private_key_pem: sim.app_key_pem().into_bytes().into(),
        timeout: Duration::from_secs(10),
        outbound,
        secondary_limits: false,
    };
    Github::new(&settings).unwrap()
}

#[tokio::test]
async fn every_kind_of_github_is_reached_through_a_proxy_and_a_private_authority() {
    let net = Network::new().await;
    let kinds = [
        ("git.example.com", "https://git.example.com/api/v3", true, "/api/v3", "/api/graphql"),
        ("api.acme.ghe.com", "https://api.acme.ghe.com", false, "", "/graphql"),
        ("api.github.com", "https://api.github.com/", false, "", "/graphql"),
    ];
    for (host, api_url, enterprise, rest, graphql) in kinds {
        let (sim, at) = simulated(enterprise).await;
        net.host(host, &sim.url()).await;
        let github = client(&sim, api_url, net.outbound());
        // As the App, as an installation, by GraphQL, and a write.
        assert_eq!(github.get_app("/app").await.unwrap().status, 200, "{host}");
        let pulls = gather::open_pulls(&github, &at).await.unwrap();
        assert_eq!(pulls.len(), 1, "{host}");
        let activity = at.path("/activity?ref=refs/heads/main&per_page=100");
        assert_eq!(github.get(at.installation, &activity).await.unwrap().status, 200, "{host}");
        let run = serde_json::json!({"name": "gatelog", "head_sha": pulls[0].head, "status": "in_progress"});
        let written = github.post(at.installation, &at.path("/check-runs"), &run).await.unwrap();
        assert_eq!(written.status, 201, "{host}");
        let mut asked: Vec<String> =
            sim.requests().iter().map(|r| r.path.split('?').next().unwrap().to_owned()).collect();
        asked.dedup();
        let expected = [
            format!("{rest}/app"),
            format!("{rest}/app/installations/{}/access_tokens", at.installation),
            graphql.to_owned(),
            format!("{rest}/repos/{REPO}/activity"),
            format!("{rest}/repos/{REPO}/check-runs"),
        ];
        assert_eq!(asked, expected, "{host}");
        // Z2F0ZTpwYXNz: gate:pass.
        let tunnels = net.asked();
        let expected = format!("CONNECT {host}:443 HTTP/1.1 as Basic Z2F0ZTpwYXNz");
        assert!(!tunnels.is_empty() && tunnels.iter().all(|t| *t == expected), "{tunnels:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_checked_also_behind_a_proxy() {
    let (net, (sim, _)) = (Network::new().await, simulated(true).await);
    net.host("git.example.com", &sim.url()).await;
    // Another host's certificate.
    let stolen = net.hosts.lock().unwrap()["git.example.com"];
    net.hosts.lock().unwrap().insert("other.example.com".to_owned(), stolen);
    let said = async |api: &str, outbound: Outbound| {
        let trouble = client(&sim, api, outbound).get_app("/app").await.unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Unavailable);
        trouble.reason
    };
    let unknown = Outbound::new(None, &net.proxies("")).unwrap();
    let reason = said("https://git.example.com/api/v3", unknown).await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    let reason = said("https://other.example.com/api/v3", net.outbound()).await;
    assert!(reason.contains("not valid for name"), "{reason}");
    let reason = said("https://nowhere.example.com/api/v3", net.outbound()).await;
    assert!(reason.contains("proxy") && reason.contains("unsuccessful"), "{reason}");
    assert!(!reason.contains("pass"), "{reason}");
    // Not through the proxy: there is no such host.
    net.asked();
    let direct = Outbound::new(Some(&net.ca_file()), &net.proxies(".example.com")).unwrap();
    said("https://git.example.com/api/v3", direct).await;
    assert!(net.asked().is_empty());
    assert!(sim.requests().is_empty());
}

#[tokio::test]
async fn alerts_and_the_monitor_go_the_same_way() {
    let (net, (sim, _)) = (Network::new().await, simulated(false).await);
    net.host("hooks.example.com", &sim.url()).await;
    let alert = Poster::new("https://hooks.example.com/services/x", &net.outbound()).unwrap();
    assert_eq!(alert.post("a merge").await.unwrap_err(), "it answered 401 Unauthorized");
    assert_eq!(net.asked().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    let ca = net.ca_file();
    let key = Keys::new("gate.example.com/log/1").unwrap();
    let vkey = key.verifiers().next().unwrap().to_string();
    let monitor = ["log", "monitor", "https://hooks.example.com/log", "--state", "s.json", "--vkey", &vkey];
    let (code, said) =
        net.gatelog(dir.path(), &[&monitor[..], &["--ca-file", ca.to_str().unwrap()]].concat()).await;
    assert!(code == 5 && said.contains("401"), "{code}: {said}");
    let (code, said) = net.gatelog(dir.path(), &monitor).await;
    assert!(code == 5 && said.contains("UnknownIssuer"), "{code}: {said}");
    assert_eq!(net.asked().len(), 2);
}

// -- gatelog app create

struct Creating {
    child: tokio::process::Child,
    out: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    /// The page for the browser.
    page: String,
}

impl Creating {
    async fn start(dir: &Path, sim: &SimulatedGithub) -> Self {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
            .args([
                "app",
                "create",
                "--org",
                "octo-org",
                "--url",
                "https://gate.example.com/",
                "--dir",
                "gate",
            ])
            .args(["--github", &sim.url()])
            .current_dir(dir)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let page = loop {
            let line = out.next_line().await.unwrap().expect("a page");
            if let Some(page) = line.trim().strip_prefix("http") {
                break format!("http{page}");
            }
        };
        Self { child, out, page }
    }

    /// Exit code and what was said after the page.
    async fn end(mut self) -> (i32, String) {
        let mut said = String::new();
        while let Some(line) = self.out.next_line().await.unwrap() {
            said += &format!("{line}\n");
        }
        (self.child.wait().await.unwrap().code().unwrap(), said)
    }
}

/// A browser: status, where it is sent, what it shows.
async fn browse(method: &str, url: &str, host: Option<&str>, body: String) -> (u16, String, String) {
    let (host, path) = match host {
        Some(host) => (host, url.splitn(4, '/').nth(3).unwrap()),
        None => (url.split('/').nth(2).unwrap(), url.splitn(4, '/').nth(3).unwrap()),
    };
    let mut stream = TcpStream::connect(url.split('/').nth(2).unwrap()).await.unwrap();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let location = head.lines().find_map(|l| l.strip_prefix("location: ")).unwrap_or_default();
    (status, location.to_owned(), body.to_owned())
}

/// Presses the button on the page: where GitHub sends the browser then.
async fn agree(page: &str) -> String {
    let (status, _, shown) = browse("GET", page, None, String::new()).await;
    assert_eq!(status, 200, "{shown}");
    let part = |name: &str| {
        let value = shown.split(&format!(" {name}=\"")).last().unwrap().split('"').next().unwrap();
        value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    let (action, manifest) = (part("action"), part("value"));
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("manifest", &manifest).finish();
    let (status, location, said) = browse("POST", &action, None, form).await;
    assert_eq!(status, 302, "{said}");
    location
}

#[tokio::test]
async fn an_app_is_registered_by_its_manifest() {
    use std::os::unix::fs::PermissionsExt as _;
    let (sim, _) = simulated(true).await;
    let dir = tempfile::tempdir().unwrap();
    let creating = Creating::start(dir.path(), &sim).await;
    let back = agree(&creating.page).await;
    // A browser that was led here, another's name for this address, and a spent code.
    let (other, query) = back.split_once("state=").map(|(b, _)| (b, "state=0")).unwrap();
    assert_eq!(browse("GET", &format!("{other}{query}"), None, String::new()).await.0, 400);
    assert_eq!(browse("GET", &creating.page, Some("evil.example:80"), String::new()).await.0, 404);
    let spent = back.replace("code=", "code=0");
    let (status, _, shown) = browse("GET", &spent, None, String::new()).await;
    assert!(status == 200 && shown.contains("GitHub does not know this code"), "{shown}");
    assert!(fs::read_to_string(dir.path().join("gate/app.pem")).unwrap().is_empty());

    let (status, _, shown) = browse("GET", &back, None, String::new()).await;
    assert!(status == 200 && shown.contains("The App gatelog-octo-org is there"), "{shown}");
    let (code, said) = creating.end().await;
    assert!(code == 0 && said.contains("/apps/gatelog-octo-org/installations/new"), "{code}: {said}");

    let gate = dir.path().join("gate");
    for name in ["gatelog.toml", "app.pem", "webhook.secret"] {
        let mode = gate.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::read_to_string(gate.join("app.pem")).unwrap(), sim.app_key_pem());
    assert!(gate.join("policies/data.yaml").is_file());
    assert_eq!(sim.with(|w| w.app.hook_url.clone()), "https://gate.example.com/webhook");
    let config = gatelog::config::Config::load(&gate.join("gatelog.toml"), &Default::default()).unwrap();
    let secrets = config.secrets().unwrap();
    assert!(secrets.warnings.is_empty() && secrets.webhook[0].expose().len() >= 32);
    assert_eq!(config.github.api_url, format!("{}/api/v3", sim.url()));

    // Nothing that is there is ever written over.
    let again = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["app", "create", "--org", "octo-org", "--url", "https://gate.example.com", "--dir", "gate"])
        .current_dir(dir.path())
        .output()
        .await
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(fs::read_to_string(gate.join("app.pem")).unwrap(), sim.app_key_pem());
}

/// The power could take the folder, and with it what GitHub shows once.
#[tokio::test]
async fn the_folder_of_key_and_secret_is_durable_before_anything_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let Some(shim) = crate::shim::Shim::over(dir.path()) else { return };
    let shim = shim.fault("sync:=etc:1:0:EIO");
    let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["app", "create", "--org", "octo-org", "--url", "https://gate.example.com", "--dir", "gate"])
        .current_dir(&etc)
        .envs(shim.env())
        .kill_on_drop(true)
        .output();
    let out = tokio::time::timeout(Duration::from_secs(10), out).await.expect("it went on").unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(5) && text.contains("cannot write to gate: Input/output error"),
        "{text}"
    );
}

#[tokio::test]
async fn the_address_can_be_pasted_and_a_stop_leaves_nothing() {
    let (sim, _) = simulated(true).await;
    let dir = tempfile::tempdir().unwrap();
    let stopped = Creating::start(dir.path(), &sim).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(stopped.child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(stopped.end().await.0, 5);
    assert_eq!(fs::read_dir(dir.path().join("gate")).unwrap().count(), 0);

    let mut creating = Creating::start(dir.path(), &sim).await;
    let back = agree(&creating.page).await;
    let mut terminal = creating.child.stdin.take().unwrap();
    terminal.write_all(format!("what?\n{back}\n").as_bytes()).await.unwrap();
    let (code, said) = creating.end().await;
    assert!(code == 0 && said.contains("Registered the App"), "{code}: {said}");
}

// -- gatelog doctor

/// What `gatelog doctor` says of `sim`, without what differs from run to run; its exit code.
async fn doctor(dir: &Path, sim: &SimulatedGithub) -> (i32, String) {
    let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["doctor", "--config", "gate/gatelog.toml"])
        .current_dir(dir)
        .env("GATELOG__SERVER__LISTEN", "127.0.0.1:0")
        .env("GATELOG__SERVER__INTERNAL_LISTEN", "127.0.0.1:0")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap().replace(&sim.url(), "https://git.example.com");
    let line = |l: &str| match l.split_once(" controls, sha256:") {
        Some(_) => "ok        policies    N controls, sha256:DIGEST\n".to_owned(),
        None => format!("{l}\n"),
    };
    let said = said.lines().map(line).collect();
    (out.status.code().unwrap(), said)
}

#[tokio::test]
async fn doctor_says_what_to_change_and_where() {
    let (sim, at) = simulated(true).await;
    let dir = tempfile::tempdir().unwrap();
    let creating = Creating::start(dir.path(), &sim).await;
    let back = agree(&creating.page).await;
    browse("GET", &back, None, String::new()).await;
    assert_eq!(creating.end().await.0, 0);
    // As it is made: only the requirement is missing.
    let (code, fresh) = doctor(dir.path(), &sim).await;
    assert_eq!(code, 1, "{fresh}");
    insta::assert_snapshot!("doctor_of_a_new_app", fresh);

    let rule = |integration: serde_json::Value| {
        serde_json::json!({"type": "required_status_checks", "ruleset_id": 7, "ruleset_source": "octo-org",
            "ruleset_source_type": "Organization", "parameters": {"required_status_checks":
                [{"context": "gatelog", "integration_id": integration}]}})
    };
    let (app, id) = (sim.app_id(), at.repository.id);
    sim.with(|w| {
        let repository = w.repositories.get_mut(&id).unwrap();
        repository.rules.insert("main".to_owned(), vec![rule(serde_json::json!(app))]);
        let ruleset = serde_json::json!({"id": 7, "name": "main", "bypass_actors": []});
        repository.rulesets.insert(7, ruleset);
    });
    let (code, good) = doctor(dir.path(), &sim).await;
    assert!(code == 0 && good.contains("nobody may bypass it"), "{good}");

    sim.set_hook("http://127.0.0.1:1/", "secret");
    let pushed =
        sim.with(|w| w.push("alice", REPO, "next", &[commit("alice", "B").write("b", "1")])).unwrap();
    assert!(sim.deliver_all(&pushed.hooks).await.is_err());
    sim.with(|w| {
        let other = w.add_repository("octo-org/other").unwrap();
        let protection = serde_json::json!({"enabled": true, "required_status_checks":
            {"enforcement_level": "non_admins", "contexts": ["gatelog"],
             "checks": [{"context": "gatelog", "app_id": app}]}});
        w.repositories.get_mut(&other).unwrap().protection_shown.insert("main".to_owned(), protection);
        w.add_repository("octo-org/open").unwrap();
        w.app.permissions.remove("merge_queues");
        w.app.permissions.insert("contents".to_owned(), "write".to_owned());
        w.app.events.retain(|e| e != "push" && e != "status");
        w.app.events.push("workflow_job".to_owned());
        let repository = w.repositories.get_mut(&id).unwrap();
        repository.rules.insert("main".to_owned(), vec![rule(serde_json::Value::Null)]);
        repository.rulesets.insert(
            7,
            serde_json::json!({"id": 7, "name": "main", "bypass_actors": [
                {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"},
                {"actor_id": null, "actor_type": "OrganizationAdmin", "bypass_mode": "pull_request"}]}),
        );
    });
    let (code, bad) = doctor(dir.path(), &sim).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!("doctor_of_what_is_wrong", bad);

    // GitHub is away: nothing is claimed.
    sim.outage(true);
    let (code, away) = doctor(dir.path(), &sim).await;
    assert!(code == 5 && away.contains("503"), "{code}: {away}");
}
