//! Every durable step of the ledger, failed and not stored, failed but stored, and ended by a death.
//!
//! Failpoints are global to a process: every test here takes the scenario, so they run one by one.
#![cfg(feature = "failpoints")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use fail::FailScenario;
use gatelog::{
    ledger::{
        AppendError, Ledger,
        entry::{Draft, Entry, Kind, Ref},
        erasure::{
            Cause,
            plan::Wanted,
            run::{Request, RunError},
        },
        key::Keys,
        publish::{Place, Publisher},
        verify::{verify, verify_signed},
    },
    store::{
        backup::{self, BackupError},
        journal::Sizes,
    },
    time::Time,
    verdict::Decision,
};

#[path = "../ledger_util/mod.rs"]
mod ledger_util;
use crate::ledger_util::*;

/// Small, so that segments are sealed and created in the middle of it.
const SIZES: Sizes = Sizes { segment: 2500, ahead: 600 };

fn open_small(dir: &Path) -> Ledger {
    Ledger::open_sized(dir, SIZES, Time::now).unwrap().0
}

fn pair(i: usize) -> Vec<Draft> {
    vec![delivery(&i.to_string(), &format!("body {i}")), verdict(Ref::InGroup(0), Decision::Allow)]
}

/// What the ledger holds: pairs, none of them half.
fn pairs(ledger: &Ledger) -> u64 {
    assert_eq!(ledger.head().size % 2, 1, "half a group was stored");
    assert!(ledger.unjudged().is_empty());
    ledger.head().size / 2
}

/// Where a step fails, and whether the group is there afterwards.
const STEPS: &[(&str, Option<bool>)] = &[
    ("journal.write.before", Some(false)),
    ("journal.write.torn", Some(false)),
    // Written, and the machine did not lose power: there, but that was not known.
    ("journal.sync.before", Some(true)),
    ("journal.sync.after", Some(true)),
    ("journal.create.before", Some(false)),
    ("journal.create.after", Some(false)),
    ("journal.seal.before", Some(false)),
    ("journal.seal.after", Some(false)),
    ("journal.fill", Some(false)),
    // Applied off the commit path: acknowledged before, refused after.
    ("sled.apply.before", None),
    ("sled.apply.after", None),
];

#[tokio::test]
async fn an_error_at_any_step_ends_the_ledger_and_opening_tells_what_was_stored() {
    let scenario = FailScenario::setup();
    for (step, stored) in STEPS {
        let dir = Dir::new();
        let ledger = open_small(&dir.path());
        ledger.append(pair(0)).await.unwrap();
        fail::cfg(*step, "return(error)").unwrap();
        let mut acked = 1;
        let error = loop {
            match ledger.append(pair(acked)).await {
                Ok(_) => acked += 1,
                Err(e) => break e,
            }
            assert!(acked < 2000, "{step} was never reached");
        };
        assert!(matches!(error, AppendError::Fatal(_)), "{step}: {error}");
        assert_eq!(
            Some(error.to_string().rsplit(": ").next().unwrap()),
            ledger.failure().as_deref().map(|w| w.rsplit(": ").next().unwrap())
        );
        let later = ledger.append(pair(5000)).await.unwrap_err();
        assert!(matches!(later, AppendError::Fatal(_)), "{step}: a failed ledger took more: {later}");
        fail::remove(*step);
        drop(ledger);

        let ledger = open_small(&dir.path());
        let there = pairs(&ledger) - acked as u64;
        match stored {
            Some(stored) => assert_eq!(there == 1, *stored, "{step}"),
            None => assert!(there <= 1, "{step}"),
        }
        // Whoever was told of the failure asks again.
        let again = ledger.append(pair(acked)).await.unwrap();
        assert_eq!(again[0].duplicate, there == 1, "{step}");
        assert_eq!(pairs(&ledger), acked as u64 + 1, "{step}");
        ledger.close().await.unwrap();
        assert_eq!(verify(&dir.path().join("journal")).unwrap().root, ledger.head().root, "{step}");
    }
    scenario.teardown();
}

#[tokio::test]
async fn a_full_disk_is_told_and_is_over_when_there_is_room() {
    let scenario = FailScenario::setup();
    for step in ["journal.fill", "journal.create.before", "journal.seal.before"] {
        let dir = Dir::new();
        let ledger = open_small(&dir.path());
        ledger.append(pair(0)).await.unwrap();
        fail::cfg(step, "return(full)").unwrap();
        let mut acked = 1;
        while let Ok(receipts) = ledger.append(pair(acked)).await {
            acked += 1;
            assert!(!receipts[0].duplicate && acked < 2000, "{step} was never reached");
        }
        for _ in 0..3 {
            let error = ledger.append(pair(acked)).await.unwrap_err();
            assert!(matches!(error, AppendError::Full), "{step}: {error}");
        }
        let known = ledger.append(pair(0)).await.unwrap();
        assert!(known.iter().all(|r| r.duplicate), "a redelivery needs no room");
        fail::remove(step);
        assert!(!ledger.append(pair(acked)).await.unwrap()[0].duplicate);
        assert_eq!((pairs(&ledger), ledger.failure()), (acked as u64 + 1, None));
        ledger.close().await.unwrap();
        assert_eq!(verify(&dir.path().join("journal")).unwrap().root, ledger.head().root, "{step}");
    }
    scenario.teardown();
}

#[tokio::test]
async fn a_clean_stop_that_fails_loses_nothing() {
    let scenario = FailScenario::setup();
    let steps =
        ["journal.seal.before", "journal.seal.after", "journal.stopped.before", "journal.stopped.after"];
    for step in steps {
        let dir = Dir::new();
        let ledger = open_small(&dir.path());
        ledger.append(pair(0)).await.unwrap();
        fail::cfg(step, "return(error)").unwrap();
        assert!(ledger.close().await.is_err(), "{step}");
        fail::remove(step);
        drop(ledger);
        let ledger = open_small(&dir.path());
        assert_eq!(pairs(&ledger), 1, "{step}");
        ledger.append(pair(1)).await.unwrap();
        ledger.close().await.unwrap();
        assert_eq!(verify(&dir.path().join("journal")).unwrap().entries, 5, "{step}");
    }
    scenario.teardown();
}

#[tokio::test]
async fn mending_may_fail_and_be_tried_again() {
    let scenario = FailScenario::setup();
    for step in ["journal.mend.before", "journal.mend.after"] {
        let dir = Dir::new();
        let ledger = open_small(&dir.path());
        fail::cfg("journal.write.torn", "return(error)").unwrap();
        ledger.append(pair(0)).await.unwrap_err();
        fail::remove("journal.write.torn");
        drop(ledger);
        fail::cfg(step, "return(error)").unwrap();
        assert!(Ledger::open_sized(&dir.path(), SIZES, Time::now).is_err(), "{step}");
        fail::remove(step);
        let (ledger, report) = Ledger::open_sized(&dir.path(), SIZES, Time::now).unwrap();
        assert_eq!(report.torn.is_some(), step == "journal.mend.before");
        ledger.append(pair(0)).await.unwrap();
        assert_eq!(pairs(&ledger), 1);
    }
    scenario.teardown();
}

// ---- Erasing and compressing

/// Steps of an erasure, and whether its bodies may be gone already.
const ERASING: &[&str] = &[
    "erase.segment.before",
    "journal.rewrite.before",
    "journal.rewrite.written",
    "journal.rewrite.synced",
    "journal.rewrite.renamed",
    "journal.rewrite.after",
    "erase.segment.after",
    "erase.mark.before",
    "erase.mark.after",
];

/// Entries 1, 3, 5 … are events; those whose number divides by three are of ada.
fn pair_of_someone(i: usize) -> Vec<Draft> {
    let who = if i.is_multiple_of(3) { "ada" } else { "bob" };
    let text = "words ".repeat(i % 5 * 20);
    vec![
        delivery(&i.to_string(), &format!(r#"{{"login": "{who}", "n": {i}, "text": "{text}"}}"#)),
        Draft { data: superseded(), ..verdict(Ref::InGroup(0), Decision::Allow) },
    ]
}

/// A verdict that publishes nothing, so that nothing is in work.
fn superseded() -> serde_json::Value {
    let mut data = verdict(Ref::InGroup(0), Decision::Superseded).data;
    data["target"] = serde_json::Value::Null;
    data
}

fn ada() -> Request {
    let wanted = Wanted::Person { login: "ada".into(), also: vec![] };
    Request { wanted, cause: Cause::LocalOperator, reason: "ticket 7".into(), dry_run: false }
}

/// Everything of ada is gone from the files and explained, everything else is there.
fn all_but_ada(dir: &Path, ledger: &Ledger, pairs: usize) {
    let mut left = 0;
    for i in 0..pairs {
        let body = ledger.body(2 * i as u64 + 1, "payload").unwrap();
        assert_eq!(body.is_none(), i.is_multiple_of(3), "pair {i}");
        if let Some(body) = body {
            assert_eq!(body, pair_of_someone(i)[0].bodies[0].1.bytes, "pair {i}");
            left += 1;
        }
    }
    assert!(left > 0);
    let found = verify(&dir.join("journal")).unwrap();
    assert_eq!(found.root, ledger.head().root);
    assert!(found.redactions.iter().all(|r| r.left == 0), "{:?}", found.redactions);
    let files = fs::read_dir(dir.join("journal")).unwrap().map(|f| f.unwrap().path());
    for file in files {
        assert!(file.extension().is_none_or(|e| e != "new"), "{file:?} was left aside");
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(5).any(|w| w == b"\"ada\""), "{file:?} names her");
    }
}

async fn filled_with_pairs(dir: &Path, pairs: usize) -> Ledger {
    let ledger = open_small(dir);
    for i in 0..pairs {
        ledger.append(pair_of_someone(i)).await.unwrap();
    }
    ledger
}

#[tokio::test]
async fn an_erasure_that_fails_at_any_step_is_completed() {
    let scenario = FailScenario::setup();
    for step in ERASING {
        for again_at_once in [true, false] {
            let dir = Dir::new();
            let mut ledger = filled_with_pairs(&dir.path(), 12).await;
            fail::cfg(*step, "1*off->return(error)").unwrap();
            if *step == "erase.mark.before" || *step == "erase.mark.after" {
                fail::cfg(*step, "return(error)").unwrap();
            }
            let error = ledger.erase(ada(), vec![]).await.unwrap_err();
            assert!(matches!(error, RunError::Incomplete { erasure: 25, .. }), "{step}: {error}");
            // The ledger goes on all the same.
            ledger.append(pair_of_someone(100 * 3 + 1)).await.unwrap();
            fail::remove(*step);
            if again_at_once {
                let nothing_new = ledger.erase(ada(), vec![]).await;
                // Nobody is named any more, or the rest is erased again under a second erasure.
                nothing_new.unwrap();
            }
            drop(ledger);
            ledger = open_small(&dir.path());
            all_but_ada(&dir.path(), &ledger, 12);
        }
    }
    scenario.teardown();
}

#[tokio::test]
async fn a_full_disk_stops_an_erasure_and_not_the_ledger() {
    let scenario = FailScenario::setup();
    let dir = Dir::new();
    let ledger = filled_with_pairs(&dir.path(), 12).await;
    fail::cfg("journal.rewrite.written", "return(full)").unwrap();
    assert!(matches!(ledger.erase(ada(), vec![]).await, Err(RunError::Incomplete { .. })));
    assert!(ledger.compress(&mut || true).is_err());
    ledger.append(pair_of_someone(301)).await.unwrap();
    fail::remove("journal.rewrite.written");
    ledger.compress(&mut || true).unwrap();
    ledger.erase(ada(), vec![]).await.unwrap();
    all_but_ada(&dir.path(), &ledger, 12);
    scenario.teardown();
}

#[tokio::test]
async fn a_death_at_any_step_of_erasing_or_compressing_loses_nothing() {
    let scenario = FailScenario::setup();
    for step in ERASING {
        for after in [0, 1, 3] {
            let dir = Dir::new();
            drop(filled_with_pairs(&dir.path(), 12).await);
            let status = die("child_erases", &dir.path(), &format!("{step}={after}*off->return(die)"));
            let reached = !status.success();
            assert!(reached || step.starts_with("erase"), "{step} was not reached {after} times");
            let ledger = open_small(&dir.path());
            // Compressing comes first: it may have died before anything was said.
            if ledger.head().size > 25 {
                all_but_ada(&dir.path(), &ledger, 12);
            }
            ledger.erase(ada(), vec![]).await.unwrap();
            ledger.compress(&mut || true).unwrap();
            all_but_ada(&dir.path(), &ledger, 12);
            ledger.close().await.unwrap();
        }
    }
    scenario.teardown();
}

/// What was backed up before, or all of what is new: an erased body is never there without its erasure.
#[tokio::test]
async fn a_backup_that_ends_at_any_step_restores_and_is_taken_up() {
    let scenario = FailScenario::setup();
    let steps = ["segment.before", "segment.after", "manifest.before", "manifest.after", "renamed"];
    for (step, after) in steps.iter().flat_map(|s| [(s, 0), (s, 1), (s, 3)]) {
        let dir = Dir::new();
        let (journal, to) = (dir.path().join("journal"), dir.0.path().join("backup"));
        let ledger = filled_with_pairs(&dir.path(), 12).await;
        let back_up = || backup::backup(&journal, &to, Time::now());
        let before = back_up().unwrap().manifest.size;
        for i in 12..20 {
            ledger.append(pair_of_someone(i)).await.unwrap();
        }
        ledger.erase(ada(), vec![]).await.unwrap();
        fail::cfg(format!("backup.{step}"), &format!("{after}*off->return(error)")).unwrap();
        let failed = back_up().is_err();
        assert!(
            failed || (*step == "manifest.before" || *step == "manifest.after") && after > 1,
            "{step} {after}"
        );
        fail::remove(format!("backup.{step}"));
        let restored = dir.0.path().join("restored");
        let found = backup::restore(&to, &restored, backup::Last::Nothing, |journal| {
            verify(journal).map_err(|e| BackupError::Refused(e.to_string()))
        });
        let entries = found.unwrap().entries;
        assert!(entries == before || entries == ledger.head().size, "{step} {after}: {entries}");
        back_up().unwrap();
        assert_eq!(verify(&to.join("journal")).unwrap().root, ledger.head().root, "{step} {after}");
        let aside = fs::read_dir(to.join("journal")).unwrap().map(|f| f.unwrap().path());
        assert_eq!(aside.filter(|f| f.extension().is_some_and(|e| e == "new")).count(), 0, "{step} {after}");
    }
    scenario.teardown();
}

/// While a backup copies its n-th segment, somebody is erased, and the erasure is recorded in a segment that
/// was begun meanwhile. What is copied after that has lost bodies, so the backup must hold that segment too.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_erasure_of_what_was_lost_while_it_copied() {
    let scenario = FailScenario::setup();
    let mut at = 0;
    loop {
        let dir = Dir::new();
        let (journal, to) = (dir.path().join("journal"), dir.0.path().join("backup"));
        let ledger = filled_with_pairs(&dir.path(), 12).await;
        let segments = list_segments(&journal);
        if at == segments.len() {
            break;
        }
        let (working, here) = (ledger.clone(), tokio::runtime::Handle::current());
        let copied = AtomicUsize::new(0);
        fail::cfg_callback("backup.segment.before", move || {
            if copied.fetch_add(1, Ordering::Relaxed) == at {
                here.block_on(async {
                    for i in 12..24 {
                        working.append(pair_of_someone(i)).await.unwrap();
                    }
                    working.erase(ada(), vec![]).await.unwrap();
                });
            }
        })
        .unwrap();
        let (from, into) = (journal.clone(), to.clone());
        let done = tokio::task::spawn_blocking(move || backup::backup(&from, &into, Time::now()));
        let done = done.await.unwrap().unwrap();
        fail::remove("backup.segment.before");
        let erasure = ledger.head().size - 1;
        assert!(*list_segments(&journal).last().unwrap() > *segments.last().unwrap(), "no segment was begun");
        // A body that is gone without its erasure does not verify.
        let found = verify(&to.join("journal")).unwrap_or_else(|e| panic!("segment {at}: {e}"));
        assert_eq!((done.manifest.size, found.entries), (erasure + 1, erasure + 1), "segment {at}");
        let [redaction] = &found.redactions[..] else { panic!("segment {at}: {:?}", found.redactions) };
        assert_eq!(redaction.erasure, erasure);
        // What was copied before has her bodies still; what was copied after has not. (The last segment had
        // grown, so it was copied again.)
        let before = segments.get(at + 1).copied().unwrap_or(segments[at]);
        let hers = (0..12).filter(|i| i % 3 == 0 && 2 * i + 1 < before).count() as u64;
        assert_eq!(redaction.left, hers, "segment {at} of {segments:?}");
        at += 1;
    }
    assert!(at > 2, "{at} segments");
    scenario.teardown();
}

/// First entries, in order.
fn list_segments(journal: &Path) -> Vec<u64> {
    let names = fs::read_dir(journal).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut firsts: Vec<u64> =
        names.filter_map(|n| n.strip_suffix(".seg").map(|n| n.parse().unwrap())).collect();
    firsts.sort_unstable();
    firsts
}

#[test]
#[ignore = "run by the test of deaths as a process of its own"]
fn child_erases() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let _scenario = FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let ledger = open_small(Path::new(&dir));
        ledger.compress(&mut || true).unwrap();
        ledger.erase(ada(), vec![]).await.unwrap();
        ledger.close().await.unwrap();
    });
}

fn die(child: &str, dir: &Path, failpoints: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([child, "--exact", "--ignored"])
        .env(CHILD, dir)
        .env("FAILPOINTS", failpoints)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

// ---- Checkpoints and keys.

const ORIGIN: &str = "gate.example.com/log/1";

fn place(dir: &Path) -> Place {
    Place { dir: dir.to_owned(), origin: ORIGIN.into(), key_file: dir.join("log.key") }
}

#[test]
#[ignore = "run by the test of deaths as a process of its own"]
fn child_changes_keys() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let _scenario = FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let dir = Path::new(&dir);
        let ledger = open_small(dir);
        let publisher = Publisher::open(ledger.clone(), place(dir), None).unwrap();
        publisher.begin().await.unwrap();
        let said = std::cell::RefCell::new(String::new());
        // What somebody has seen: size, root, keys.
        let publish = async |i: usize| {
            ledger.append(pair(i)).await.unwrap();
            let shown = publisher.publish().await.unwrap();
            let keys: Vec<String> = publisher.keys().iter().map(ToString::to_string).collect();
            let (size, root) = (shown.checkpoint.size, shown.checkpoint.root);
            *said.borrow_mut() += &format!("{size} {root} {}\n", keys.join(" "));
            fs::write(dir.join("said.aside"), said.borrow().as_bytes()).unwrap();
            fs::rename(dir.join("said.aside"), dir.join("said")).unwrap();
        };
        publish(0).await;
        publisher.rotate().await.unwrap();
        publish(1).await;
        publisher.finish_rotation().await.unwrap();
        publish(2).await;
        ledger.close().await.unwrap();
    });
}

/// At each step of publishing checkpoints, and of a change of keys from its beginning to its end: what somebody has
/// seen goes on, under keys that the ledger tells of, and the change can be brought to its end.
#[tokio::test]
async fn a_death_at_any_step_of_a_checkpoint_or_a_change_of_keys_contradicts_nothing() {
    let scenario = FailScenario::setup();
    let of_keys = ["key.write.before", "key.write.after"];
    let of_checkpoints = ["ledger.signed.before", "ledger.signed.after"];
    let of_entries =
        ["journal.write.before", "journal.write.torn", "journal.sync.before", "journal.sync.after"];
    for (step, times) in [(&of_keys[..], 2), (&of_checkpoints, 7), (&of_entries, 7)]
        .into_iter()
        .flat_map(|(steps, times)| steps.iter().map(move |s| (*s, times)))
    {
        for after in 0.. {
            let dir = Dir::new();
            fs::create_dir_all(dir.path()).unwrap();
            Keys::new(ORIGIN).unwrap().write(&place(&dir.path()).key_file).unwrap();
            let status = die("child_changes_keys", &dir.path(), &format!("{step}={after}*off->return(die)"));
            let ledger = open_small(&dir.path());
            let publisher = Publisher::open(ledger.clone(), place(&dir.path()), None)
                .unwrap_or_else(|e| panic!("{step} {after}: {e}"));
            publisher.begin().await.unwrap_or_else(|e| panic!("{step} {after}: {e}"));
            let told: Vec<Entry> = (0..ledger.head().size)
                .map(|seq| ledger.entry(seq).unwrap().unwrap().entry)
                .filter(|e| e.kind == Kind::Key)
                .collect();
            let is_told = |event: &str, key: &str| {
                told.iter().any(|e| e.data["event"] == event && e.data["vkey"] == key)
            };
            let keys: Vec<String> = publisher.keys().iter().map(ToString::to_string).collect();
            assert!(keys.iter().all(|key| is_told("active", key)), "{step} {after}: {keys:?} of {told:?}");
            for line in fs::read_to_string(dir.path().join("said")).unwrap_or_default().lines() {
                let mut words = line.split_whitespace();
                let (size, root) = (words.next().unwrap().parse().unwrap(), words.next().unwrap());
                assert_eq!(ledger.root_of(size).unwrap().to_string(), root, "{step} {after}: {line}");
                for key in words {
                    assert!(
                        keys.iter().any(|k| k == key) || is_told("retired", key),
                        "{step} {after}: {key}"
                    );
                }
            }
            if keys.len() == 1 && !told.iter().any(|e| e.data["event"] == "retired") {
                publisher.rotate().await.unwrap();
            }
            if publisher.keys().len() == 2 {
                publisher.finish_rotation().await.unwrap();
            }
            ledger.close().await.unwrap();
            let found = verify_signed(&dir.path().join("journal"), &publisher.keys()).unwrap();
            assert_eq!(found.root, ledger.head().root, "{step} {after}");
            if status.success() {
                assert!(after >= times, "{step} was reached {after} times");
                break;
            }
        }
    }
    scenario.teardown();
}

// ---- Deaths: a child process appends and says what was acknowledged, until it dies at the step.

const CHILD: &str = "GATELOG_TEST_LEDGER";

#[test]
#[ignore = "run by the test of deaths as a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    // Takes the failpoints from the environment.
    let _scenario = FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = open_small(Path::new(&dir));
        for i in 0..30 {
            ledger.append(pair(i)).await.unwrap();
            // Renamed into place: a thread that dies at its step ends the process in the middle of this.
            let (aside, acked) = (Path::new(&dir).join("acked.aside"), Path::new(&dir).join("acked"));
            fs::write(&aside, (i + 1).to_string()).unwrap();
            fs::rename(aside, acked).unwrap();
        }
        ledger.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_that_was_acknowledged() {
    let scenario = FailScenario::setup();
    let steps = STEPS.iter().map(|(step, _)| *step).chain([
        "journal.seal.before",
        "journal.seal.after",
        "journal.stopped.before",
        "journal.stopped.after",
    ]);
    for step in steps {
        for after in [0, 1, 3] {
            let dir = Dir::new();
            fs::create_dir_all(dir.path()).unwrap();
            let status = die("child", &dir.path(), &format!("{step}={after}*off->return(die)"));
            let reached = !status.success();
            assert!(reached || step.starts_with("journal.stopped"), "{step} was not reached {after} times");
            let acked: u64 =
                fs::read_to_string(dir.path().join("acked")).map_or(0, |text| text.parse().unwrap());
            let ledger = open_small(&dir.path());
            let there = pairs(&ledger);
            assert!(there == acked || there == acked + 1, "{step} {after}: acked {acked}, there {there}");
            for i in 0..acked + 2 {
                let receipts = ledger.append(pair(usize::try_from(i).unwrap())).await.unwrap();
                assert_eq!(receipts[0].duplicate, i < there, "{step} {after}");
            }
            ledger.close().await.unwrap();
            assert_eq!(verify(&dir.path().join("journal")).unwrap().root, ledger.head().root);
        }
    }
    scenario.teardown();
}
