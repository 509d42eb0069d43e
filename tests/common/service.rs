//! The real binary, as a child process with a folder of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use gatelog::simulated_github::SimulatedGithub;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use super::{foreign::root, ports::free_port};

/// The log of the tests.
pub const ORIGIN: &str = "gate.example.com/log/1";

pub const SECRET: &str = "a secret of the tests";

/// How long a start may take: a debug build on a busy machine, loading and testing policies; in the long suite, a
/// million entries.
fn patience() -> Duration {
    Duration::from_secs(if super::long() { 600 } else { 60 })
}

pub struct Service {
    pub dir: PathBuf,
    /// Where its ledger is seen from here.
    pub ledger: PathBuf,
    /// Program and arguments that start it; empty: it is started directly.
    pub launcher: Vec<String>,
    /// `listen`
    pub port: u16,
    /// `internal_listen`
    pub internal: u16,
    child: Option<Child>,
}

impl Service {
    /// Writes configuration, key and secret into `dir`; nothing runs yet.
    pub fn prepare(dir: &Path, gh: &SimulatedGithub) -> Self {
        let (port, internal) = (free_port(), free_port());
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\ninternal_listen = \"127.0.0.1:{internal}\"\n\
             [github]\napi_url = \"{}\"\napp_id = {}\nprivate_key_file = \"app.pem\"\n\
             webhook_secret_file = \"webhook.secret\"\nsecondary_limits = false\n\
             [policies]\npath = \"{}\"\n[ledger]\npath = \"data\"\n[reconcile]\nminutes = 0\n[log]\nformat = \"json\"\nlevel = \"info\"\n",
            gh.api_url(),
            gh.app_id(),
            root().join("policies").display(),
        );
        fs::write(dir.join("gatelog.toml"), config).unwrap();
        write_secret(&dir.join("app.pem"), &gh.app_key_pem());
        write_secret(&dir.join("webhook.secret"), SECRET);
        gh.set_hook(&format!("http://127.0.0.1:{port}/webhook"), SECRET);
        let ledger = dir.join("data");
        Self { dir: dir.to_owned(), ledger, launcher: vec![], port, internal, child: None }
    }

    /// Gives it a log: origin, key file, and the key. Its vkey.
    pub async fn with_log(&self, public: bool) -> String {
        let lines = format!("[ledger]\norigin = \"{ORIGIN}\"\nkey_file = \"log.key\"\npublic = {public}\n");
        self.configure("[ledger]\n", &lines);
        self.new_key().await
    }

    /// `gatelog log key new`; the vkey.
    pub async fn new_key(&self) -> String {
        let out = self.gatelog(&["log", "key", "new"]).await;
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        said.lines().last().unwrap().to_owned()
    }

    /// Changes its configuration file.
    pub fn configure(&self, from: &str, to: &str) {
        let file = self.dir.join("gatelog.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    /// GET as it stands: status, head and body.
    pub async fn fetch(&self, port: u16, path: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len() - 4);
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }

    /// Starts and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn(&[]);
        if let Err(status) = self.ready().await {
            panic!("the service ended with {status}:\n{}", self.log());
        }
    }

    /// Starts with `FAILPOINTS` set; it may die at any time from now on.
    pub async fn start_with_failpoints(&mut self, failpoints: &str) -> Result<(), ExitStatus> {
        self.start_with([("FAILPOINTS", failpoints)]).await
    }

    /// Starts with an environment under which it may fail; waits until it is ready or has ended.
    pub async fn start_with<'a>(
        &mut self,
        env: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), ExitStatus> {
        self.spawn(&env.into_iter().collect::<Vec<_>>());
        self.ready().await
    }

    /// Starts, and says SIGTERM after so many milliseconds, whether it is ready or not.
    pub async fn stop_while_starting<'a>(
        &mut self,
        env: impl IntoIterator<Item = (&'a str, &'a str)>,
        after_ms: u64,
    ) -> ExitStatus {
        self.spawn(&env.into_iter().collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        self.stop().await
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    fn spawn(&mut self, env: &[(&str, &str)]) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().append(true).create(true).open(self.dir.join("serve.log")).unwrap();
        let words = self.launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_gatelog")]);
        let words: Vec<&str> = words.chain(["serve", "--config"]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg(self.dir.join("gatelog.toml"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    async fn ready(&mut self) -> Result<(), ExitStatus> {
        let until = Instant::now() + patience();
        loop {
            if let Some(status) = self.ended() {
                return Err(status);
            }
            if self.get(self.port, "/readyz").await.is_some_and(|(status, _)| status == 200) {
                return Ok(());
            }
            assert!(Instant::now() < until, "not ready after {:?}:\n{}", patience(), self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its exit status, if it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Waits for it to end by itself.
    pub async fn wait_until_ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let status = tokio::time::timeout(patience, child.wait()).await.ok()?.unwrap();
        self.child = None;
        Some(status)
    }

    /// As a power cut, as far as a process can have one.
    pub async fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Its process.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// SIGHUP: load the policies again.
    #[allow(dead_code, reason = "not every test does")]
    pub fn hang_up(&self) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// SIGTERM, and waits until it has finished what was in hand.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let id = i32::try_from(child.id().expect("it was not waited for")).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        match tokio::time::timeout(Duration::from_secs(30), child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("still running 30 s after SIGTERM:\n{}", self.log()),
        }
    }

    /// `gatelog <args>`, in the folder of the service.
    pub async fn gatelog(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).output().await.unwrap()
    }

    /// The last line of `gatelog log verify`, which must succeed.
    pub async fn verify(&self) -> String {
        let out = self.gatelog(&["log", "verify", "--ledger", self.ledger.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{said}{errors}");
        assert!(said.lines().any(|l| l.starts_with("VERIFIED")), "{said}{errors}");
        said
    }

    /// GET on one of its ports: status and body. `None`: nobody answers.
    pub async fn get(&self, port: u16, path: &str) -> Option<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        send(port, request.as_bytes()).await
    }

    /// POST /webhook with exactly these headers.
    pub async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, String)> {
        let mut request = format!(
            "POST /webhook HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        send(self.port, &[request.as_bytes(), body].concat()).await
    }

    /// The end of what it wrote, for a failed test.
    pub fn log(&self) -> String {
        let all = fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

async fn send(port: u16, request: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // Refused before all was sent: the answer is there all the same.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
