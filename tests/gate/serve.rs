//! `gatelog serve` as a process: what it says when it cannot start, and how it stops.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use gatelog::simulated_github::AppKey;
use tempfile::TempDir;

/// A folder with everything `serve` needs.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new() -> Self {
        let s = Self { dir: tempfile::tempdir().unwrap() };
        let init = Command::new(env!("CARGO_BIN_EXE_gatelog")).arg("init").arg(s.path()).output().unwrap();
        assert!(init.status.success(), "{init:?}");
        s.secret("app.pem", &AppKey::of_this_process().unwrap().private_pem);
        s.secret("webhook.secret", "It's a Secret to Everybody\n");
        s
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn secret(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
        command
            .args(["serve", "--config"])
            .arg(self.path().join("gatelog.toml"))
            .env("GATELOG__SERVER__LISTEN", "127.0.0.1:0")
            .env("GATELOG__SERVER__INTERNAL_LISTEN", "127.0.0.1:0")
            .env("GATELOG__GITHUB__API_URL", "http://127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `serve`, which cannot start: exit code and what it says last.
    fn fails(&self, variables: &[(&str, &str)]) -> (i32, String) {
        let Output { status, stderr, .. } = self.serve().envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8(stderr).unwrap();
        let message = text.split("gatelog: ").last().unwrap().replace(self.path().to_str().unwrap(), "DIR");
        (status.code().unwrap(), message.trim().to_owned())
    }
}

/// A running `serve`, and where it listens.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(setup: &Setup) -> Self {
        let mut child = setup.serve().spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").and_then(|l| l.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, address }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        let limit = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < limit, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), log)
    }
}

#[test]
fn stops_cleanly_on_a_signal() {
    let setup = Setup::new();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let serving = Serving::start(&setup);
        assert!(setup.path().join("data/admin.sock").exists());
        let mut idle = TcpStream::connect(&serving.address).unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        serving.signal(signal);
        let (code, log) = serving.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(!setup.path().join("data/admin.sock").exists());
    }
}

#[test]
fn a_signal_during_the_start_ends_it_too() {
    let setup = Setup::new();
    for pause in [30, 80, 150, 300] {
        let child = setup.serve().spawn().unwrap();
        let serving = Serving { child, address: String::new() };
        std::thread::sleep(Duration::from_millis(pause));
        serving.signal(rustix::process::Signal::TERM);
        // Before the handler stands, the signal itself ends the process.
        let (code, log) = serving.end();
        assert!(matches!(code, Some(0) | None), "{code:?} {log}");
    }
    let serving = Serving::start(&setup);
    serving.signal(rustix::process::Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_hangup_reloads_the_policies_or_keeps_the_old_ones() {
    let setup = Setup::new();
    let serving = Serving::start(&setup);
    fs::write(setup.path().join("policies/broken.rego"), "package broken\n\nx := [").unwrap();
    serving.signal(rustix::process::Signal::HUP);
    std::thread::sleep(Duration::from_millis(1500));
    let mut health = TcpStream::connect(&serving.address).unwrap();
    health.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.signal(rustix::process::Signal::TERM);
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("broken.rego:3"), "{log}");
}

#[test]
fn what_keeps_it_from_starting_is_one_clear_sentence() {
    let setup = Setup::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = setup.fails(&[("GATELOG__SERVER__LISTEN", &address)]);
    assert_eq!((code, said), (5, format!("[server] listen: {address} is in use by another program")));

    let (code, said) = setup.fails(&[("GATELOG__GITHUB__PRIVATE_KEY_FILE", "gone.pem")]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said, @"[github] private_key_file: there is no file DIR/gone.pem; put it there (mode 0600), or name another");

    let (code, said) = setup.fails(&[("GATELOG__GITHUB__PRIVATE_KEY_FILE", "webhook.secret")]);
    assert_eq!(code, 2);
    assert!(said.contains("is not a private key in PEM") && !said.contains("Everybody"), "{said}");

    let (code, said) = setup.fails(&[("GATELOG__GITHUB__APP_ID", "none")]);
    assert_eq!((code, said.contains("for example GATELOG__GITHUB__APP_ID=12345")), (2, true), "{said}");

    let serving = Serving::start(&setup);
    let pid = serving.child.id();
    let (code, said) = setup.fails(&[]);
    assert_eq!((code, said), (5, format!("the ledger DIR/data is in use by process {pid}")));
    serving.signal(rustix::process::Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_policy_that_does_not_load_is_shown() {
    let setup = Setup::new();
    fs::write(setup.path().join("policies/broken.rego"), "package broken\n\nx := nothing(1)\n").unwrap();
    let (code, said) = setup.fails(&[]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(said);
}
