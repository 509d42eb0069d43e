//! Witnesses as processes, and some that lie; logs that ask them.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod log;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::common::program::said;
use gatelog::ledger::{
    cosignature::{Cosigner, CosigningKey},
    witness::origin_hash,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub const ORIGIN: &str = "gate.example.com/log/1";

pub fn gatelog(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

/// `gatelog witness serve`, in a folder of its own.
pub struct Process {
    pub dir: TempDir,
    pub vkey: String,
    pub logs: Vec<String>,
    child: Option<Child>,
    pub port: u16,
}

impl Process {
    /// Makes its key; nothing runs yet.
    pub fn new(name: &str, logs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = gatelog(dir.path(), &["witness", "key", "new", "--key", "w.key", "--name", name]);
        assert!(out.status.success(), "{}", said(&out));
        let vkey = String::from_utf8(out.stdout).unwrap().lines().last().unwrap().to_owned();
        let logs = logs.iter().map(|l| (*l).to_owned()).collect();
        Self { dir, vkey, logs, child: None, port: 0 }
    }

    pub fn started(name: &str, logs: &[&str]) -> Self {
        let mut witness = Self::new(name, logs);
        witness.start(&[]);
        witness
    }

    /// Starts on the port that it had, if it had one.
    pub fn start(&mut self, env: &[(&str, &str)]) {
        let log = File::options().append(true).create(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
        command.args(["witness", "serve", "--key", "w.key", "--listen"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        for vkey in &self.logs {
            command.args(["--log", vkey]);
        }
        command.envs(env.iter().copied()).current_dir(self.dir.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        let rest =
            line.strip_prefix("listening on http://127.0.0.1:").unwrap_or_else(|| panic!("{}", self.log()));
        let (port, vkey) = rest.trim().split_once(" as ").unwrap();
        assert_eq!(vkey, self.vkey);
        self.port = port.parse().unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    pub fn key(&self) -> Cosigner {
        self.vkey.parse().unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("witness").join(format!("{}.json", origin_hash(ORIGIN)))
    }

    pub async fn ask(&self, body: &[u8]) -> Answer {
        send(self.port, "POST", "/add-checkpoint", body).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill9();
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// `None`: the connection was cut.
pub async fn send(port: u16, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

impl Process {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// What a [`Fake`] answers to a request: status and body. `None`: nothing, ever.
pub type Say = fn(&CosigningKey, &str) -> Option<(u16, String)>;

/// A witness that says what it is told to.
pub struct Fake {
    pub key: CosigningKey,
    pub url: String,
    /// Requests that it leaves without an answer and that somebody waits for still.
    pub waiting: Arc<AtomicUsize>,
}

impl Fake {
    pub async fn start(seed: u8, say: Say) -> Self {
        let key = CosigningKey::new(&format!("witness.example/fake{seed}"), &[seed; 32]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (own, waiting) = (key.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = waiting.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, own.clone(), say, counted.clone()));
            }
        });
        Self { key, url, waiting }
    }
}

async fn answer(mut stream: TcpStream, key: CosigningKey, say: Say, waiting: Arc<AtomicUsize>) {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    let request = loop {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        read.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
            break text;
        }
    };
    let Some((status, body)) = say(&key, &request) else {
        waiting.fetch_add(1, Ordering::SeqCst);
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        waiting.fetch_sub(1, Ordering::SeqCst);
        return;
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
}

/// Filippo Valsorda's litewitness, with a key in an agent of its own.
pub struct Litewitness {
    pub key: Cosigner,
    pub url: String,
    agent: Child,
    child: Child,
    _dir: TempDir,
}

impl Litewitness {
    /// It witnesses the log with that vkey.
    pub async fn start(program: &Path, vkey: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).current_dir(dir.path()).env("SSH_AUTH_SOCK", dir.path().join("agent"));
            let out = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
            assert!(out.status.success(), "{program}: {}", said(&out));
            String::from_utf8(out.stdout).unwrap()
        };
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "w.pem"]);
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(dir.path().join("agent"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.path().join("agent").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        run("ssh-add", &["-q", "w.pem"]);
        let fingerprint = run("ssh-keygen", &["-l", "-f", "w.pem.pub"]);
        let fingerprint = fingerprint.split(' ').nth(1).unwrap().to_owned();
        // `witnessctl` would write these two rows.
        let sql = "
import sqlite3, sys
db = sqlite3.connect('w.db')
db.execute('CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)')
db.execute('CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))')
db.execute('INSERT INTO log VALUES (?, 0, ?)', (sys.argv[1], '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='))
db.execute('INSERT INTO key VALUES (?, ?)', (sys.argv[1], sys.argv[2]))
db.commit()
";
        run("python3", &["-c", sql, vkey.split('+').next().unwrap(), vkey]);
        let port = crate::common::ports::free_port();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(program)
            .args([
                "-db",
                "w.db",
                "-name",
                "witness.example/lite",
                "-ssh-agent",
                "agent",
                "-key",
                &fingerprint,
            ])
            .args(["-listen", &format!("127.0.0.1:{port}")])
            .current_dir(dir.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let key = vkey_of(&fs::read_to_string(dir.path().join("w.pem.pub")).unwrap());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let log = || fs::read_to_string(dir.path().join("log")).unwrap();
            assert!(std::time::Instant::now() < until, "{}", log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Self { key, url: format!("http://127.0.0.1:{port}"), agent, child, _dir: dir }
    }
}

/// The vkey of an SSH key: the last 32 bytes of it are the Ed25519 key.
fn vkey_of(public: &str) -> Cosigner {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let blob = BASE64_STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    cosigner("witness.example/lite", blob.last_chunk().unwrap())
}

/// The vkey of a witness with that public key.
pub fn cosigner(name: &str, key: &[u8; 32]) -> Cosigner {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use sha2::{Digest as _, Sha256};
    let typed = [&[4][..], key].concat();
    let id = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&typed).finalize();
    format!("{name}+{}+{}", hex::encode(&id[..4]), BASE64_STANDARD.encode(&typed)).parse().unwrap()
}

impl Drop for Litewitness {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
