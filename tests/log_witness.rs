//! Witnesses: our own as a process, other people's, and what the service makes of their answers.

mod common;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use gatelog::ledger::{
    checkpoint::Checkpoint,
    cosignature::{Cosigned, Cosigner, cosigned},
    note::{self, Signer},
    witness::{AddCheckpoint, origin_hash},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const ORIGIN: &str = "gate.example.com/log/1";

fn gatelog(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// `gatelog witness serve`, in a folder of its own.
struct Process {
    dir: TempDir,
    vkey: String,
    logs: Vec<String>,
    child: Option<Child>,
    port: u16,
}

impl Process {
    /// Makes its key; nothing runs yet.
    fn new(name: &str, logs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = gatelog(dir.path(), &["witness", "key", "new", "--key", "w.key", "--name", name]);
        assert!(out.status.success(), "{}", said(&out));
        let vkey = String::from_utf8(out.stdout).unwrap().lines().last().unwrap().to_owned();
        let logs = logs.iter().map(|l| (*l).to_owned()).collect();
        Self { dir, vkey, logs, child: None, port: 0 }
    }

    fn started(name: &str, logs: &[&str]) -> Self {
        let mut witness = Self::new(name, logs);
        witness.start(&[]);
        witness
    }

    /// Starts on the port that it had, if it had one.
    fn start(&mut self, env: &[(&str, &str)]) {
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

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    fn key(&self) -> Cosigner {
        self.vkey.parse().unwrap()
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("witness").join(format!("{}.json", origin_hash(ORIGIN)))
    }

    async fn ask(&self, body: &[u8]) -> Answer {
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
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// `None`: the connection was cut.
async fn send(port: u16, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
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

/// The cosignature in an answer to a request.
fn cosignature(request: &AddCheckpoint, answer: &Answer, key: &Cosigner) -> Cosigned {
    assert_eq!(answer.status, 200, "{answer:?}");
    let note = request.checkpoint.clone() + &answer.body;
    let found = cosigned(&note::parse(note.as_bytes()).unwrap(), std::slice::from_ref(key)).unwrap();
    found.into_iter().next().unwrap()
}

/// A log of so few entries that its proofs are written by hand.
mod small {
    use gatelog::ledger::{
        chain::{leaf_hash, node_hash},
        entry::Hash,
    };

    pub fn leaf(n: u8) -> Hash {
        leaf_hash(&[n])
    }

    /// Of the entries 1, 2.
    pub fn two() -> Hash {
        node_hash(&leaf(1), &leaf(2))
    }

    /// Of the entries 1, 2, `third`.
    pub fn three(third: u8) -> Hash {
        node_hash(&two(), &leaf(third))
    }
}

fn log() -> Signer {
    Signer::new(ORIGIN, &[1; 32]).unwrap()
}

fn request(
    old: u64,
    proof: Vec<gatelog::ledger::entry::Hash>,
    size: u64,
    root: gatelog::ledger::entry::Hash,
) -> AddCheckpoint {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
    AddCheckpoint { old, proof, checkpoint: note::sign(&checkpoint.text(), [&log()]).unwrap() }
}

#[tokio::test]
async fn our_witness_answers_as_c2sp_says() {
    let vkey = log().verifier().to_string();
    let witness = Process::started("witness.example/w1", &[&vkey]);
    let path = format!("/{}/checkpoint", origin_hash(ORIGIN));
    assert_eq!(send(witness.port, "GET", &path, b"").await.unwrap().status, 404);
    let two = request(0, vec![], 2, small::two());
    let answer = witness.ask(two.text().as_bytes()).await;
    cosignature(&two, &answer, &witness.key());
    let conflict = witness.ask(two.text().as_bytes()).await;
    assert_eq!((conflict.status, &*conflict.body), (409, "2\n"));
    assert!(conflict.head.contains("content-type: text/x.tlog.size"), "{}", conflict.head);
    let three = request(2, vec![small::leaf(3)], 3, small::three(3));
    cosignature(&three, &witness.ask(three.text().as_bytes()).await, &witness.key());
    let shown = send(witness.port, "GET", &path, b"").await.unwrap();
    assert_eq!(shown.status, 200);
    let shown_note = note::parse(shown.body.as_bytes()).unwrap();
    assert_eq!(shown_note.signatures.len(), 2, "the log's and the witness'");
    assert_eq!(Checkpoint::open(shown.body.as_bytes(), &[log().verifier().clone()]).unwrap().size, 3);

    let unsigned = AddCheckpoint { checkpoint: three.checkpoint.replace("\n3\n", "\n4\n"), ..three.clone() };
    let unknown = three.text().replace("/log/1", "/log/2");
    for (body, status) in [
        (b"nonsense".to_vec(), 400),
        (AddCheckpoint { old: 4, ..three.clone() }.text().into_bytes(), 400),
        (unsigned.text().into_bytes(), 403),
        (unknown.into_bytes(), 404),
        (request(3, vec![], 3, small::three(4)).text().into_bytes(), 422),
        (request(3, vec![small::leaf(9)], 4, small::three(4)).text().into_bytes(), 422),
        (vec![b'x'; 200 << 10], 413),
    ] {
        let answer = witness.ask(&body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.body.contains("nonsense") && !answer.body.contains(ORIGIN), "{answer:?}");
    }
    assert_eq!(send(witness.port, "GET", "/add-checkpoint", b"").await.unwrap().status, 405);
    assert_eq!(send(witness.port, "GET", "/x/../witness/checkpoint", b"").await.unwrap().status, 404);
}

/// A log with its real key that shows another past, or less than before.
#[tokio::test]
async fn a_lying_log_is_refused_by_our_witness() {
    let vkey = log().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    let three = request(0, vec![], 3, small::three(3));
    cosignature(&three, &witness.ask(three.text().as_bytes()).await, &witness.key());
    for killed in [false, true] {
        if killed {
            witness.kill9();
            witness.start(&[]);
        }
        let rollback = witness.ask(request(0, vec![], 2, small::two()).text().as_bytes()).await;
        assert_eq!((rollback.status, &*rollback.body), (409, "3\n"));
        let fork = witness.ask(request(3, vec![], 3, small::three(4)).text().as_bytes()).await;
        assert_eq!(fork.status, 422, "{fork:?}");
        let root = gatelog::ledger::chain::node_hash(&small::three(4), &small::leaf(5));
        let longer = witness.ask(request(3, vec![small::leaf(5)], 4, root).text().as_bytes()).await;
        assert_eq!(longer.status, 422, "{longer:?}");
    }
    assert!(witness.log().contains("does not go on from what was seen before"), "{}", witness.log());
}

/// Killed at any step of keeping what it saw: nobody ever has a cosignature that it does not remember.
#[tokio::test]
async fn a_witness_that_dies_forgets_nothing_it_cosigned() {
    let vkey = log().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    let two = request(0, vec![], 2, small::two());
    cosignature(&two, &witness.ask(two.text().as_bytes()).await, &witness.key());
    let three = request(2, vec![small::leaf(3)], 3, small::three(3));
    for (step, size) in [("witness.seen.before", 2), ("witness.seen.after", 3)] {
        witness.kill9();
        witness.start(&[("FAILPOINTS", &format!("{step}=return(die)"))]);
        let cut = send(witness.port, "POST", "/add-checkpoint", three.text().as_bytes()).await;
        assert!(cut.is_none_or(|a| a.status != 200), "no cosignature came");
        assert!(!witness.wait().success());
        witness.start(&[]);
        let asked = witness.ask(request(0, vec![], 2, small::two()).text().as_bytes()).await;
        assert_eq!((asked.status, asked.body), (409, format!("{size}\n")), "{step}");
        let fork = request(size, if size == 2 { vec![small::leaf(4)] } else { vec![] }, 3, small::three(4));
        let fork = witness.ask(fork.text().as_bytes()).await;
        assert_eq!(
            fork.status,
            if size == 2 { 200 } else { 422 },
            "{step}: what it has not cosigned binds nobody"
        );
        if size == 2 {
            // Back to where it was, so that the next step is looked at from there.
            witness.kill9();
            fs::remove_file(witness.state()).unwrap();
            witness.start(&[]);
            cosignature(&two, &witness.ask(two.text().as_bytes()).await, &witness.key());
        }
    }
    // What cannot be read is no memory: it does not start.
    witness.kill9();
    fs::write(witness.state(), "{}").unwrap();
    let args = ["witness", "serve", "--key", "w.key", "--log", &vkey, "--listen", "127.0.0.1:0"];
    let out = gatelog(witness.dir.path(), &args);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
}

#[test]
fn the_key_of_a_witness_is_its_owners_alone() {
    let witness = Process::new("witness.example/w1", &[]);
    let dir = witness.dir.path();
    let out = gatelog(dir, &["witness", "key", "show", "--key", "w.key"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), witness.vkey);
    assert_eq!(fs::metadata(dir.join("w.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = gatelog(dir, &["witness", "key", "new", "--key", "w.key", "--name", "x"]);
    assert!(again.status.code() == Some(2) && said(&again).contains("exists already"), "{}", said(&again));
    let vkey = log().verifier().to_string();
    fs::set_permissions(dir.join("w.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for args in [
        &["witness", "key", "show", "--key", "w.key"][..],
        &["witness", "serve", "--key", "w.key", "--log", &vkey, "--listen", "127.0.0.1:0"],
    ] {
        let out = gatelog(dir, args);
        assert!(out.status.code() == Some(2) && said(&out).contains("mode 644"), "{}", said(&out));
    }
    let args = ["witness", "serve", "--key", "w.key", "--log", &witness.vkey, "--listen", "127.0.0.1:0"];
    let out = gatelog(dir, &args);
    assert!(
        out.status.code() == Some(2) && said(&out).contains("of a witness, not of a log"),
        "{}",
        said(&out)
    );
}
