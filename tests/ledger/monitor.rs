//! The log seen from outside: by `gatelog log monitor`, and by other people's code.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{
    foreign::{Tool, foreign},
    long,
    program::said,
    scene::Scene,
    service::{ORIGIN, Service},
};
use bytes::Bytes;
use gatelog::{
    ledger::{
        Ledger,
        checkpoint::Checkpoint,
        entry::{Draft, Kind, Ref, VerdictData},
        key::Keys,
        note::Verifier,
        tile,
    },
    time::Time,
    verdict::Decision,
};
use serde_json::Value;

/// Events with verdicts that publish nothing, so that a long log is made fast.
fn judged(number: u64) -> Vec<Draft> {
    let event = crate::ledger_util::delivery(&format!("guid-{number}"), &format!("{{\"number\":{number}}}"));
    let mut verdict = crate::ledger_util::verdict(Ref::InGroup(0), Decision::Allow);
    let data: VerdictData = serde_json::from_value(verdict.data).unwrap();
    verdict.data = serde_json::to_value(VerdictData { target: None, ..data }).unwrap();
    vec![event, verdict]
}

/// The service on a ledger that holds `entries` already, its log on.
async fn scene(entries: u64) -> (Scene, String) {
    let s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let (ledger, _) = Ledger::open(&s.service.ledger, Time::now).unwrap();
    while ledger.head().size < entries {
        let first = ledger.head().size;
        ledger.append((first..first + 50).flat_map(judged).collect()).await.unwrap();
    }
    ledger.close().await.unwrap();
    (s, vkey)
}

fn url(s: &Service) -> String {
    format!("http://127.0.0.1:{}/log", s.internal)
}

/// Waits until all that is there is under the published checkpoint.
async fn covered(s: &Scene, vkey: &str) -> u64 {
    let trusted: [Verifier; 1] = [vkey.parse().unwrap()];
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, _, note) = s.service.fetch(s.service.internal, "/log/checkpoint").await;
        let size = Checkpoint::open(&note, &trusted).unwrap().size;
        if size == s.view().entries.len() as u64 {
            return size;
        }
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn monitor(s: &Service, more: &[&str]) -> (i32, String) {
    let url = url(s);
    let state = if more.contains(&"--state") { &[][..] } else { &["--state", "auditor.json"] };
    let args = [&["log", "monitor", &url], state, more].concat();
    let out = s.gatelog(&args).await;
    (out.status.code().unwrap(), said(&out))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_follows_the_log() {
    let (mut s, vkey) = scene(300).await;
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    let size = covered(&s, &vkey).await;
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 2 && text.contains("--vkey"), "{text}");
    let (code, text) = monitor(&s.service, &["--vkey", &vkey]).await;
    assert!(code == 0 && text.contains(&format!("new: entries 0..{}", size - 1)), "{text}");
    assert!(text.contains(&format!("VERIFIED  {size} entries")) && text.contains(ORIGIN), "{text}");
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0 && text.contains("nothing new"), "{text}");

    // A change of keys, a stop and a start: followed, and told.
    let out = s.service.gatelog(&["log", "key", "rotate"]).await;
    assert!(out.status.success(), "{}", said(&out));
    s.service.stop().await;
    s.service.start().await;
    s.settle().await;
    covered(&s, &vkey).await;
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0 && text.contains("gap: nobody judged: stopped"), "{text}");
    assert!(text.contains("a new key signs, beside the old one"), "{text}");
    let out = s.service.gatelog(&["log", "key", "rotate", "--finish"]).await;
    assert!(out.status.success(), "{}", said(&out));
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0, "the new key is trusted, because the old one signed it: {text}");

    s.service.kill9().await;
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 5 && text.contains("Connection refused"), "{text}");
    s.service.start().await;
    s.settle().await;
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0 && text.contains("it died after"), "{text}");
}

/// The same files a while later: nothing new, as where nothing happens. Only their age tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stands_still_is_said_to() {
    let (mut s, vkey) = scene(20).await;
    s.service.start().await;
    s.settle().await;
    covered(&s, &vkey).await;
    let (code, text) = monitor(&s.service, &["--vkey", &vkey, "--max-age", "1h"]).await;
    assert!(code == 0 && text.contains("last entry ") && text.contains("VERIFIED"), "{text}");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (code, text) = monitor(&s.service, &["--max-age", "1s"]).await;
        if code == 4 {
            assert!(text.contains("nothing new") && text.contains("FAILED: the last entry is of "), "{text}");
            break;
        }
        assert!(code == 0 && Instant::now() < until, "{text}");
    }
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0 && text.contains("nothing new"), "{text}");
}

#[test]
fn two_monitors_of_one_state_do_not_write_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let vkey = Keys::new(ORIGIN).unwrap().verifiers().next().unwrap().to_string();
    let look = || {
        let args = ["log", "monitor", "http://127.0.0.1:1/log", "--state", "auditor.json", "--vkey", &vkey];
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatelog"));
        let out = command.args(args).current_dir(&dir).output().unwrap();
        assert_eq!(out.status.code(), Some(5), "{}", said(&out));
        said(&out)
    };
    assert!(look().contains("Connection refused"), "{}", look());
    let file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.path().join("auditor.json.lock"));
    let other = file.unwrap();
    other.lock().unwrap();
    assert!(look().contains("another monitor"), "{}", look());
    other.unlock().unwrap();
    assert!(look().contains("Connection refused"), "{}", look());
}

/// What is erased stays proved: to an auditor who saw it before, to one who comes later, and by a proof of before.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_followed_and_proofs_of_before_hold() {
    let (mut s, vkey) = scene(0).await;
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    covered(&s, &vkey).await;
    let event = s.view().of_kind(&Kind::Event).find(|e| e.subject.id == Some(pr)).unwrap().seq.to_string();
    assert_eq!(monitor(&s.service, &["--vkey", &vkey]).await.0, 0);
    for (proof, entry) in [("before", "before.json"), ("after", "after.json")] {
        if proof == "after" {
            let out = s.service.gatelog(&["log", "erase", "--entry", &event, "--reason", "ticket 7"]).await;
            assert!(out.status.success(), "{}", said(&out));
            s.settle().await;
            covered(&s, &vkey).await;
        }
        let out = s.service.gatelog(&["log", "prove", &event, "-o", proof, "--entry", entry]).await;
        assert!(out.status.success(), "{}", said(&out));
    }
    let (code, text) = monitor(&s.service, &[]).await;
    assert!(code == 0 && text.contains("1 erasures"), "{text}");
    let (code, text) = monitor(&s.service, &["--state", "late.json", "--vkey", &vkey]).await;
    assert!(code == 0 && text.contains("1 erasures"), "{text}");
    let read = |name: &str| fs::read(s.service.dir.join(name)).unwrap();
    assert_eq!(read("before.json"), read("after.json"), "the entry is what it was");
    for proof in ["before", "after"] {
        let check = ["log", "verify-proof", proof, "--vkey", &vkey, "--entry", "after.json"];
        let out = s.service.gatelog(&check).await;
        assert!(out.status.success() && said(&out).contains("VERIFIED"), "{}", said(&out));
    }
    let other = String::from_utf8(read("after.json")).unwrap().replace("github", "gitlab");
    assert_ne!(other.as_bytes(), read("after.json"));
    fs::write(s.service.dir.join("other.json"), other).unwrap();
    let check = ["log", "verify-proof", "after", "--vkey", &vkey, "--entry", "other.json"];
    assert_eq!(s.service.gatelog(&check).await.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rewritten_with_its_own_key_is_caught_and_proved() {
    let (mut s, vkey) = scene(20).await;
    s.service.start().await;
    covered(&s, &vkey).await;
    assert_eq!(monitor(&s.service, &["--vkey", &vkey]).await.0, 0);
    let state = fs::read(s.service.dir.join("auditor.json")).unwrap();
    s.service.stop().await;
    // Everything is in the operator's hand: the ledger goes, another is written, longer and well signed.
    fs::remove_dir_all(&s.service.ledger).unwrap();
    crate::ledger_util::forget_ledger(&s.service.dir.join("log.key"));
    let (ledger, _) = Ledger::open(&s.service.ledger, Time::now).unwrap();
    ledger.append((500..600).flat_map(judged).collect()).await.unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    s.service.start().await;
    covered(&s, &vkey).await;
    for _ in 0..2 {
        let (code, text) = monitor(&s.service, &[]).await;
        assert!(code == 3 && text.contains("FAILED: the log was rewritten"), "{text}");
    }
    assert_eq!(
        fs::read(s.service.dir.join("auditor.json")).unwrap(),
        state,
        "what was seen is not forgotten"
    );
    assert!(!s.service.dir.join("auditor.json.misbehaviour-2.json").exists(), "the same proof is kept once");
    let proof = fs::read(s.service.dir.join("auditor.json.misbehaviour-1.json")).unwrap();
    let proof: Value = serde_json::from_slice(&proof).unwrap();
    let trusted: [Verifier; 1] = [vkey.parse().unwrap()];
    let open = |name: &str| Checkpoint::open(proof[name].as_str().unwrap().as_bytes(), &trusted).unwrap();
    let (kept, served) = (open("kept"), open("served"));
    // Anybody can check it: what the served tree begins with is not what was signed.
    let hash = |v: &Value| v.as_str().unwrap().parse().unwrap();
    let prefix = &proof["prefix"];
    let path: Vec<_> = prefix["proof"].as_array().unwrap().iter().map(hash).collect();
    let root = hash(&prefix["root"]);
    assert!(prefix["size"] == kept.size && root != kept.root);
    gatelog::ledger::proof::verify_consistency(kept.size, root, served.size, served.root, &path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_code_accepts_the_log_and_its_proofs() {
    let (mut s, vkey) = scene(600).await;
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    let size = covered(&s, &vkey).await;
    let Some(golog) = foreign(Tool::Go) else { return };
    let golog = |args: &[&str]| {
        let out = Command::new(&golog).args(args).current_dir(&s.service.dir).output().unwrap();
        (out.status.success(), said(&out))
    };
    let accepted = golog(&["log", &url(&s.service), &vkey]);
    assert_eq!(accepted, (true, format!("ACCEPTED {size} entries\n")));
    let other = Keys::new(ORIGIN).unwrap().verifiers().next().unwrap().to_string();
    assert!(!golog(&["log", &url(&s.service), &other]).0);
    for seq in [0, 255, 256, size - 1] {
        let seq = seq.to_string();
        let args = ["log", "prove", &seq, "-o", "x.tlog-proof", "--entry", "x.json"];
        let out = s.service.gatelog(&args).await;
        assert!(out.status.success(), "{}", said(&out));
        let (fine, text) = golog(&["proof", "x.tlog-proof", "x.json", &vkey]);
        assert!(fine && text.starts_with(&format!("ACCEPTED entry {seq} of ")), "{text}");
        let entry = fs::read(s.service.dir.join("x.json")).unwrap();
        fs::write(s.service.dir.join("y.json"), [&entry[..], b" "].concat()).unwrap();
        assert!(!golog(&["proof", "x.tlog-proof", "y.json", &vkey]).0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tesseras_fsck_accepts_the_log() {
    if !long() {
        return;
    }
    let (mut s, vkey) = scene(600).await;
    s.service.start().await;
    covered(&s, &vkey).await;
    let Some(fsck) = foreign(Tool::Fsck) else { return };
    fs::write(s.service.dir.join("log.vkey"), &vkey).unwrap();
    let out = Command::new(fsck)
        .args(["--ui=false", "--public_key=log.vkey"])
        .arg(format!("--storage_url={}/", url(&s.service)))
        .current_dir(&s.service.dir)
        .output()
        .unwrap();
    // It ends with 0 whatever it finds.
    let text = said(&out);
    let fine = text.contains("Successfully fsck'd log with size") && !text.contains("fsck failed");
    assert!(fine, "{text}");
}

const CANONICAL: &str = "
import json, rfc8785, sys
n = 0
for line in sys.stdin.buffer:
    line = line.rstrip(b'\\n')
    assert rfc8785.dumps(json.loads(line)) == line, line
    n += 1
print(n)
";

#[tokio::test(flavor = "multi_thread")]
async fn python_agrees_on_the_bytes_of_entries() {
    let (mut s, vkey) = scene(0).await;
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    let size = covered(&s, &vkey).await;
    let Some(python) = foreign(Tool::Python) else { return };
    let name = tile::Tile::of(tile::Kind::Entries, 0, size).unwrap().path();
    let (_, _, bundle) = s.service.fetch(s.service.internal, &format!("/log/{name}")).await;
    let entries = tile::decode_entries(&Bytes::from(bundle)).unwrap();
    let mut child = Command::new(python)
        .args(["-c", CANONICAL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<u8> = entries.iter().flat_map(|e| [&e[..], b"\n"].concat()).collect();
    child.stdin.take().unwrap().write_all(&lines).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(said(&out).trim(), size.to_string());
}
