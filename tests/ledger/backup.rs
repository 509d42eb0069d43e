//! Backups through the real binary: of a service that works, again and again, and ledgers made from them.

use std::{fs, path::Path};

use crate::common::{
    Random,
    scene::{REPO, Scene},
};
use gatelog::{
    ledger::{
        Ledger,
        erasure::{Cause, plan::Wanted, run::Request},
        verify::{VerifyError, verify},
    },
    store::{backup, journal::Sizes},
    time::Time,
};

async fn gatelog(s: &Scene, args: &[&str]) -> (Option<i32>, String) {
    let out = s.service.gatelog(args).await;
    (out.status.code(), [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat())
}

fn root(said: &str) -> &str {
    said.rsplit("root ").next().unwrap().split_whitespace().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_backed_up_restored_and_goes_on() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.comment("mallory", REPO, pr, "nice")).await;
    s.settle().await;
    let (code, said) = gatelog(&s, &["log", "backup", "backup", "--verify"]).await;
    assert!(code == Some(0) && said.contains("VERIFIED"), "{said}");
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (code, said) = gatelog(&s, &["log", "erase", "--login", "mallory", "--reason", "ticket 7"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = gatelog(&s, &["log", "backup", "backup", "--verify"]).await;
    assert!(code == Some(0) && said.contains("VERIFIED"), "{said}");
    let (_, again) = gatelog(&s, &["log", "backup", "backup"]).await;
    assert!(again.contains("1 were there") || again.contains("2 were there"), "{again}");
    assert!(!s.service.dir.join("backup/secret").exists());

    let (code, status) = gatelog(&s, &["log", "status", "--format", "json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["applied"]), (Some(0), &status["size"]), "{status}");
    assert_eq!(status["bodies"]["erased"], 1, "{status}");
    let (code, text) = gatelog(&s, &["log", "status"]).await;
    assert!(code == Some(0) && text.contains("1 erased"), "{text}");

    assert_eq!(s.service.stop().await.code(), Some(0));
    let (code, said) = gatelog(&s, &["log", "backup", "backup"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = gatelog(&s, &["log", "restore", "backup", "--into", "data"]).await;
    assert!(code == Some(2) && said.contains("is not empty"), "{said}");
    let original = s.service.verify().await;
    fs::rename(&s.service.ledger, s.service.dir.join("lost")).unwrap();
    let (code, said) = gatelog(&s, &["log", "restore", "backup", "--into", "data"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(root(&s.service.verify().await), root(&original), "{said}");
    s.service.start().await;
    let before = s.check(pr);
    s.settle().await;
    assert_eq!(s.check(pr), before);
    s.act(|w| w.comment("bob", REPO, pr, "it is here again")).await;
    s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0));
    s.service.verify().await;
    let (code, said) = gatelog(&s, &["log", "backup", "backup"]).await;
    assert_eq!(code, Some(0), "the backup goes on with the restored ledger: {said}");
}

// ---- On the ledger itself, with small segments

const SIZES: Sizes = Sizes { segment: 6_000, ahead: 900 };

use crate::ledger_util::{copy, delivery};

fn open(dir: &Path) -> Ledger {
    Ledger::open_sized(dir, SIZES, Time::now).unwrap().0
}

async fn more(ledger: &Ledger, n: u64) {
    for _ in 0..n {
        let i = ledger.head().size;
        let text = "words ".repeat((i % 9) as usize * 30);
        let own = gatelog::ledger::entry::Draft {
            kind: gatelog::ledger::entry::Kind::Report,
            key: gatelog::ledger::entry::Key::Own("report"),
            bodies: vec![(
                "check_run".into(),
                gatelog::ledger::entry::Body {
                    bytes: format!("{{\"n\": {i}, \"text\": \"{text}\"}}").into(),
                    media: "application/json",
                },
            )],
            ..crate::ledger_util::report(&[])
        };
        ledger.append(vec![own]).await.unwrap();
    }
}

fn erase(seq: u64) -> Request {
    Request {
        wanted: Wanted::Entry { seq, bodies: vec![] },
        cause: Cause::LocalOperator,
        reason: "ticket 7".into(),
        dry_run: false,
    }
}

#[tokio::test]
async fn only_what_is_new_or_rewritten_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
    let ledger = open(&data);
    more(&ledger, 40).await;
    let back_up = || backup::backup(&data.join("journal"), &to, Time::now()).unwrap();
    let first = back_up();
    assert!(first.copied > 5 && first.kept == 0);
    let second = back_up();
    assert_eq!((second.copied, second.kept), (1, first.copied - 1), "the one that is written to");
    ledger.erase(erase(3), vec![]).await.unwrap();
    let third = back_up();
    assert_eq!(third.copied, 2, "the one that was erased from, and the last: {third:?}");
    assert_eq!(verify(&to.join("journal")).unwrap().redactions[0].left, 0);
    ledger.compress(&mut || true).unwrap();
    assert!(back_up().copied > 3);
    assert_eq!(verify(&to.join("journal")).unwrap().root, ledger.head().root);
}

#[tokio::test]
async fn a_backup_of_something_else_or_of_a_rolled_back_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
    let ledger = open(&data);
    more(&ledger, 9).await;
    drop(ledger);
    let journal = data.join("journal");
    copy(&data, &dir.path().join("old"));
    let ledger = open(&data);
    more(&ledger, 9).await;
    drop(ledger);
    backup::backup(&journal, &to, Time::now()).unwrap();
    let refused = |journal: &Path, to: &Path| backup::backup(journal, to, Time::now()).unwrap_err();
    let old = dir.path().join("old/journal");
    assert!(matches!(refused(&old, &to), backup::BackupError::RolledBack(_)));
    // Gone on otherwise since: a fork.
    let fork = open(&dir.path().join("old"));
    more(&fork, 20).await;
    drop(fork);
    assert!(matches!(refused(&old, &to), backup::BackupError::RolledBack(_)));
    let other = dir.path().join("other");
    drop(open(&other));
    assert!(refused(&other.join("journal"), &to).to_string().contains("of another ledger"));
    assert!(refused(&journal, &data).to_string().contains("holds the ledger itself"));
    fs::create_dir(dir.path().join("photos")).unwrap();
    fs::write(dir.path().join("photos/cat.jpg"), "").unwrap();
    assert!(refused(&journal, &dir.path().join("photos")).to_string().contains("cat.jpg"));
    assert_eq!(verify(&to.join("journal")).unwrap().entries, 19);
}

#[tokio::test]
async fn a_backup_that_lost_something_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to, into) = (dir.path().join("data"), dir.path().join("backup"), dir.path().join("new"));
    let ledger = open(&data);
    more(&ledger, 40).await;
    backup::backup(&data.join("journal"), &to, Time::now()).unwrap();
    let restored =
        || backup::restore(&to, &into, backup::Last::Nothing, |j| verify(j).map_err(|e| panic_free(&e)));
    let last = fs::read_dir(to.join("journal")).unwrap().map(|f| f.unwrap().path()).max().unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    let error = restored().unwrap_err().to_string();
    assert!(error.contains("the backup held 41 entries"), "{error}");
    let manifest = fs::read(to.join("backup.json")).unwrap();
    fs::remove_file(to.join("backup.json")).unwrap();
    assert!(restored().unwrap_err().to_string().contains("no backup that came to its end"));
    fs::write(to.join("backup.json"), manifest).unwrap();
    let mut bad = bytes.clone();
    bad[200] ^= 1;
    fs::write(&last, bad).unwrap();
    restored().unwrap_err();
    assert!(!into.exists() && !dir.path().join("new.restoring").exists());
    fs::write(&last, bytes).unwrap();
    assert_eq!(restored().unwrap().entries, 41);
    let again = open(&into);
    assert_eq!(again.head().root, ledger.head().root);
}

fn panic_free(e: &VerifyError) -> backup::BackupError {
    backup::BackupError::Refused(e.to_string())
}

/// The backup runs while entries are appended, segments compressed and bodies erased; each time what it
/// holds is a beginning of the ledger that verifies.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_ledger_in_full_work_is_a_beginning_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
    let ledger = open(&data);
    more(&ledger, 5).await;
    let working = ledger.clone();
    let work = tokio::spawn(async move {
        let mut random = Random::new(7);
        for i in 0..60 {
            more(&working, 1 + random.below(9)).await;
            if i % 5 == 0 {
                let seq = 1 + random.below(working.head().size - 1);
                let _ = working.erase(erase(seq), vec![]).await;
            }
            if i % 7 == 0 {
                let compressing = working.clone();
                tokio::task::spawn_blocking(move || compressing.compress(&mut || true).unwrap())
                    .await
                    .unwrap();
            }
        }
    });
    let mut backups = 0;
    while !work.is_finished() {
        let (journal, to) = (data.join("journal"), to.clone());
        let done = tokio::task::spawn_blocking(move || {
            let done = backup::backup(&journal, &to, Time::now()).unwrap();
            (done.manifest.size, verify(&to.join("journal")).unwrap().entries)
        });
        let (said, found) = done.await.unwrap();
        assert_eq!(said, found);
        backups += 1;
    }
    work.await.unwrap();
    assert!(backups > 3, "{backups}");
    backup::backup(&data.join("journal"), &to, Time::now()).unwrap();
    let found = verify(&to.join("journal")).unwrap();
    assert_eq!(found.root, ledger.head().root);
    assert!(found.redactions.iter().all(|r| r.left == 0));
    let _ = delivery("", "");
}

/// What was signed after the backup has been seen by others: a ledger without it may not sign as the same log.
#[tokio::test(flavor = "multi_thread")]
async fn a_signing_ledger_from_a_backup_goes_on_as_another_log() {
    let mut s = Scene::set().await;
    s.service.with_log(false).await;
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0));
    let (code, said) = gatelog(&s, &["log", "backup", "backup"]).await;
    assert_eq!(code, Some(0), "{said}");
    fs::rename(&s.service.ledger, s.service.dir.join("lost")).unwrap();
    let (code, said) = gatelog(&s, &["log", "restore", "backup", "--into", "data"]).await;
    assert!(code == Some(0) && said.contains("new-generation"), "{said}");
    let (code, said) = gatelog(&s, &["serve", "--config", "gatelog.toml"]).await;
    assert!(code == Some(3) && said.contains("gatelog log new-generation"), "{code:?} {said}");
    let (code, said) = gatelog(&s, &["log", "new-generation"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(s.service.dir.join("data/generation-1/restored").exists());
    // Another log has another name and key.
    s.service.configure("/log/1\"", "/log/2\"");
    fs::rename(s.service.dir.join("log.key"), s.service.dir.join("old.key")).unwrap();
    s.service.new_key().await;
    s.service.start().await;
    assert_eq!(s.service.stop().await.code(), Some(0));
    // The planned move: nothing can have been signed since.
    s.service.configure("/log/2\"", "/log/1\"");
    fs::rename(s.service.dir.join("old.key"), s.service.dir.join("log.key")).unwrap();
    fs::rename(&s.service.ledger, s.service.dir.join("second")).unwrap();
    let moved = ["log", "restore", "backup", "--into", "data", "--nothing-signed-since"];
    let (code, said) = gatelog(&s, &moved).await;
    assert_eq!(code, Some(0), "{said}");
    s.service.start().await;
    assert_eq!(s.service.stop().await.code(), Some(0));
}
