//! Drafts and folders for the tests of the ledger.
#![allow(dead_code, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};

use gatelog::{
    event::{Subject, SubjectKind},
    ledger::{
        Ledger, OpenReport,
        entry::{Body, Draft, Key, Kind, Receipt, Ref, ReportData, ReportResult, VerdictData},
        key::Keys,
        publish::{Place, Publisher},
    },
    time::Time,
    verdict::{Decision, Target},
};

pub const SHA: &str = "00112233445566778899aabbccddeeff00112233";

pub fn subject() -> Subject {
    Subject {
        kind: SubjectKind::PullRequest,
        installation: Some(1),
        organization: Some(2),
        repository: Some(3),
        id: Some(4),
        head: Some(SHA.parse().unwrap()),
        base: None,
        ref_kind: None,
    }
}

pub fn delivery(guid: &str, body: &str) -> Draft {
    Draft {
        kind: Kind::Event,
        subject: subject(),
        key: Key::Delivery { guid: guid.into() },
        refs: vec![],
        bodies: vec![("payload".into(), Body { bytes: body.to_owned().into(), media: "application/json" })],
        data: serde_json::json!({"name": "push", "action": null, "source": "github", "cause": null, "flags": []}),
    }
}

pub fn target() -> Target {
    Target { repository: 3, sha: SHA.parse().unwrap(), check: "gatelog".into() }
}

pub fn verdict(event: Ref, decision: Decision) -> Draft {
    let data = VerdictData {
        decision,
        bundle: "sha256:00".into(),
        engine: "regorus".into(),
        rewriter: 1,
        valid_until: None,
        target: Some(target()),
        superseded_by: None,
        landing: None,
        tampering: None,
        pulls: None,
        waivers: Some(vec![]),
    };
    Draft {
        kind: Kind::Verdict,
        key: Key::Verdict(event),
        refs: vec![event],
        bodies: vec![("verdict".into(), Body { bytes: "{}".into(), media: "application/json" })],
        data: serde_json::to_value(data).unwrap(),
        ..delivery("", "")
    }
}

/// The policies that [`verdict`] names.
pub fn policy() -> Draft {
    Draft {
        kind: Kind::Policy,
        key: Key::Plain("policy:1".into()),
        bodies: vec![("bundle".into(), Body { bytes: "rego".into(), media: "application/zip" })],
        data: serde_json::json!({"bundle": "sha256:00"}),
        ..delivery("", "")
    }
}

pub fn report(covers: &[u64]) -> Draft {
    let data = ReportData {
        target: target(),
        result: ReportResult::Created,
        check_run: Some(9),
        conclusion: None,
        covers: covers.to_vec(),
    };
    Draft {
        kind: Kind::Report,
        key: Key::Own("report"),
        refs: covers.iter().copied().map(Ref::Seq).collect(),
        bodies: vec![],
        data: serde_json::to_value(data).unwrap(),
        ..delivery("", "")
    }
}

pub fn open(dir: &Path) -> (Ledger, OpenReport) {
    Ledger::open(dir, Time::now).unwrap()
}

pub async fn one(ledger: &Ledger, draft: Draft) -> Receipt {
    ledger.append(vec![draft]).await.unwrap()[0]
}

pub struct Dir(pub tempfile::TempDir);
impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

/// The ledger in `dir` is signed under a new key beside it; the key's `vkey`. It is closed then.
pub async fn sign_and_close(ledger: &Ledger, dir: &Path, origin: &str) -> String {
    let place = Place { dir: dir.to_owned(), origin: origin.into(), key_file: dir.join("log.key") };
    Keys::new(origin).unwrap().write(&place.key_file).unwrap();
    let publisher = Publisher::open(ledger.clone(), place, None).unwrap();
    publisher.begin().await.unwrap();
    let vkey = publisher.keys()[0].to_string();
    ledger.close().await.unwrap();
    vkey
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

/// The catalogs beside the segments of the ledger in `dir`.
pub fn catalogs(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap().map(|f| f.unwrap().path());
    let mut all: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "idx")).collect();
    all.sort();
    all
}

/// Fills these segments with nonsense between header and seal. How many.
pub fn destroy(journal: &Path, firsts: impl Iterator<Item = u64>) -> u64 {
    let mut broken = 0;
    for first in firsts {
        let path = gatelog::store::journal::segment_path(journal, first);
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len() - 64;
        bytes[80..end].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        broken += 1;
    }
    broken
}

/// What whoever holds the key can do: the file no longer says which ledger the key has signed.
pub fn forget_ledger(key_file: &std::path::Path) {
    let text = std::fs::read_to_string(key_file).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with(gatelog::ledger::key::LEDGER));
    let forgotten: String = lines.map(|l| format!("{l}\n")).collect();
    assert_ne!(forgotten, text, "the key file said whose it is");
    std::fs::write(key_file, forgotten).unwrap();
}
