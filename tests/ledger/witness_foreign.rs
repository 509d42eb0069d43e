//! Witnesses and logs of other people: litewitness cosigns ours, our witness cosigns Tessera's, and Go accepts both.

use std::{fs, path::Path, process::Command};

use crate::common::{
    foreign::{Tool, foreign},
    program::{copy, said},
};
use crate::witness_util::{
    Litewitness, Process,
    log::{asking, open, vkey},
};
use gatelog::ledger::{
    checkpoint::Checkpoint,
    cosignature::{Cosigner, CosigningKey, cosigned},
    note::{self, Signer},
};

/// Building it takes minutes: with `GATELOG_EFFORT=long`, or where it is required.
fn litewitness() -> Option<std::path::PathBuf> {
    let required =
        std::env::var("GATELOG_REQUIRE").is_ok_and(|r| r.split(',').any(|t| t.trim() == "litewitness"));
    (crate::common::long() || required).then(|| foreign(Tool::Litewitness)).flatten()
}

/// Go accepts the checkpoint, with the cosignatures of all of these.
fn go_accepts(dir: &Path, note: &str, log: &str, witnesses: &[String]) {
    let Some(golog) = foreign(Tool::Go) else { return };
    fs::write(dir.join("checkpoint"), note).unwrap();
    let go = |witnesses: &[String]| {
        let out = Command::new(&golog)
            .args(["cosigned", "checkpoint", log])
            .args(witnesses)
            .current_dir(dir)
            .output();
        let out = out.unwrap();
        (out.status.success(), said(&out))
    };
    let (fine, text) = go(witnesses);
    assert!(fine && text.starts_with("ACCEPTED "), "{text}");
    let other = CosigningKey::new("witness.example/other", &[5; 32]).unwrap().cosigner().to_string();
    assert!(!go(&[witnesses, &[other]].concat()).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_log_is_witnessed_by_litewitness() {
    let Some(program) = litewitness() else { return };
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let vkey = vkey(dir.path());
    let lite = Litewitness::start(&program, &vkey).await;
    let ours = Process::started("witness.example/w1", &[&vkey]);
    let (key, url) = (ours.key(), ours.url());
    for size in [1, 2, 257] {
        let asks = asking(&[(&lite.key, &lite.url), (&key, &url)], "all", true);
        let log = open(dir.path(), asks).unwrap();
        log.grow("a", size).await;
        let published = log.publisher.publish().await.unwrap();
        assert_eq!(published.cosigned.len(), 2);
        go_accepts(dir.path(), &published.note, &vkey, &[lite.key.to_string(), key.to_string()]);
        log.ledger.close().await.unwrap();
        if size == 2 {
            // It answers 409 with the size that it saw.
            fs::remove_file(dir.path().join("data/witnessed")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_log_is_refused_by_litewitness() {
    let Some(program) = litewitness() else { return };
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let lite = Litewitness::start(&program, &vkey(dir.path())).await;
    let asks = || asking(&[(&lite.key, &lite.url)], "all", false);
    let log = open(dir.path(), asks()).unwrap();
    log.grow("a", 8).await;
    assert_eq!(log.publisher.publish().await.unwrap().cosigned.len(), 1);
    log.ledger.close().await.unwrap();
    drop(log);
    // Another ledger with the real key: as long, longer, and shorter.
    for (size, why) in
        [(8, "it saw another log"), (12, "it saw another log"), (5, "it saw 8 entries, and there are 5")]
    {
        fs::remove_dir_all(dir.path().join("data")).unwrap();
        crate::ledger_util::forget_ledger(&dir.path().join("log.key"));
        let log = open(dir.path(), asks()).unwrap();
        log.grow("b", size).await;
        assert!(log.publisher.publish().await.unwrap().cosigned.is_empty());
        let trouble = log.trouble("witness.example/lite").unwrap();
        assert!(trouble.contains(why), "{size}: {trouble}");
        log.ledger.close().await.unwrap();
    }
}

/// Adds entries to a log of Tessera, which asks its witness; the checkpoint that it then publishes.
fn tessera(program: &Path, dir: &Path, log: &str, entries: &[&str], more: &[&str]) -> String {
    let folder = dir.join(format!("entries-{}", entries[0]));
    fs::create_dir_all(&folder).unwrap();
    for entry in entries {
        fs::write(folder.join(entry), entry).unwrap();
    }
    let out = Command::new(program)
        .arg(format!("--storage_dir={log}"))
        .arg(format!("--entries={}/*", folder.display()))
        .args(["--private_key=tessera.key", "--witness_policy_file=policy"])
        .args(more)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    fs::read_to_string(dir.join(log).join("checkpoint")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_witness_cosigns_tesseras_log_and_go_accepts_it() {
    let Some(program) = foreign(Tool::Tessera) else { return };
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new("example.com/tessera", &[3; 32]).unwrap();
    let vkey = signer.verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    fs::write(dir.path().join("tessera.key"), &**signer.to_skey()).unwrap();
    let policy = format!("witness w1 {} {}\ngroup g all w1\nquorum g\n", witness.vkey, witness.url());
    fs::write(dir.path().join("policy"), policy).unwrap();
    let by_us = |note: &str| {
        let found = cosigned(&note::parse(note.as_bytes()).unwrap(), &[witness.vkey.parse().unwrap()]);
        (Checkpoint::parse(note::parse(note.as_bytes()).unwrap().text).unwrap().size, found.unwrap().len())
    };
    let first = tessera(&program, dir.path(), "log", &["a", "b", "c"], &[]);
    assert_eq!(by_us(&first), (3, 1));
    go_accepts(dir.path(), &first, &vkey, &[witness.vkey.clone()]);
    copy(&dir.path().join("log"), &dir.path().join("old"));
    // A process each time: it has to be told by us, with 409, what we saw.
    let second = tessera(&program, dir.path(), "log", &["d", "e"], &[]);
    assert_eq!(by_us(&second), (5, 1));
    go_accepts(dir.path(), &second, &vkey, &[witness.vkey.clone()]);
    witness.kill9();
    witness.start(&[]);
    // The log is put back to an older copy, and goes on in another way.
    let open = ["--witness_fail_open", "--witness_timeout=2s"];
    for (entries, size) in [(&["x"][..], 4), (&["y", "z"], 6)] {
        let forked = tessera(&program, dir.path(), "old", entries, &open);
        let key: Cosigner = witness.vkey.parse().unwrap();
        let parsed = note::parse(forked.as_bytes()).unwrap();
        assert_eq!(Checkpoint::parse(parsed.text).unwrap().size, size);
        assert_eq!(cosigned(&parsed, &[key]).unwrap(), [], "it is not what we saw");
    }
    let third = tessera(&program, dir.path(), "log", &["f"], &[]);
    let key: Cosigner = witness.vkey.parse().unwrap();
    assert_eq!(cosigned(&note::parse(third.as_bytes()).unwrap(), &[key]).unwrap().len(), 1);
}
