//! The ledger on its embedded store: what is acknowledged is there after any end of the process.

use std::{fs, sync::Arc};

use gatelog::{
    ledger::{
        AppendError, Ledger,
        entry::{Draft, Flag, Key, Kind, Ref},
    },
    store::{
        embedded::OpenError,
        journal::{Sizes, segments},
        memory::{Disk, Fault, Memory},
        sled::View,
    },
    time::Time,
    verdict::Decision,
};

use crate::ledger_util::*;

#[tokio::test]
async fn a_new_ledger_begins_with_itself() {
    let dir = Dir::new();
    let (ledger, report) = open(&dir.path());
    assert!(report.created && report.size == 0);
    let zero = ledger.entry(0).unwrap().unwrap();
    assert_eq!((zero.entry.kind, zero.entry.prev.0), (Kind::Service, [0; 32]));
    let id = hex::encode(ledger.head().ledger_id);
    assert_eq!(
        zero.entry.data,
        serde_json::json!({"format": 1, "ledger_id": id, "generation": 1, "predecessor": null})
    );
    assert_eq!(ledger.head().root, zero.leaf, "the root of one leaf is the leaf");
    assert!(ledger.entry(1).unwrap().is_none());
}

#[tokio::test]
async fn write_then_read_gives_the_same_also_after_a_crash_and_after_a_stop() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.path());
    let group = vec![delivery("a", "{\"a\":1}"), verdict(Ref::InGroup(0), Decision::Deny), report(&[])];
    let receipts = ledger.append(group).await.unwrap();
    assert_eq!(receipts.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let second = one(&ledger, delivery("b", "{\"b\":1}")).await;
    let (head, index) = (ledger.head(), ledger.index_snapshot());
    assert_eq!((ledger.unjudged(), ledger.unreported()), (vec![4], vec![2]));
    assert_eq!(ledger.report_of(&target()), Some(3));
    assert_eq!(ledger.with_head(&SHA.parse().unwrap()), [1, 2, 4]);

    drop(ledger);
    for unclean in [true, false] {
        let (ledger, report) = open(&dir.path());
        assert_eq!((report.unclean, &report.rebuilt, report.torn), (unclean, &None, None));
        assert_eq!((ledger.head(), ledger.index_snapshot()), (head, index.clone()));
        assert_eq!(ledger.body(1, "payload").unwrap().unwrap(), "{\"a\":1}");
        assert_eq!(ledger.body(2, "verdict").unwrap().unwrap(), "{}");
        assert!(ledger.body(2, "facts").unwrap().is_none());
        let entry = ledger.entry(4).unwrap().unwrap();
        assert_eq!((entry.leaf, entry.entry.key.as_str()), (second.leaf, "delivery:b"));
        assert_eq!(ledger.entry(2).unwrap().unwrap().entry.refs, [1]);
        ledger.close().await.unwrap();
    }
}

#[tokio::test]
async fn deliveries_are_known_by_guid_and_body() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.path());
    let first = one(&ledger, delivery("g", "one")).await;
    for round in 0..2 {
        let again = one(&ledger, delivery("g", "one")).await;
        assert_eq!((again.seq, again.leaf, again.duplicate), (first.seq, first.leaf, true), "round {round}");
    }
    let other = one(&ledger, delivery("g", "two")).await;
    assert_eq!((other.duplicate, other.flag), (false, Some(Flag::OtherBody)));
    assert_eq!(ledger.entry(other.seq).unwrap().unwrap().entry.key, "delivery:g#2");
    let third = one(&ledger, delivery("g", "three")).await;
    assert_eq!(ledger.entry(third.seq).unwrap().unwrap().entry.key, "delivery:g#3");
    assert!(one(&ledger, delivery("g", "two")).await.duplicate);

    let replayed = one(&ledger, delivery("h", "one")).await;
    assert_eq!((replayed.duplicate, replayed.flag), (false, Some(Flag::Replayed)));
    let data = ledger.entry(replayed.seq).unwrap().unwrap().entry.data;
    assert_eq!(data["flags"], serde_json::json!(["replayed"]));

    // The same in one group, where nothing is in the index yet.
    let group = vec![delivery("x", "x"), delivery("x", "x"), delivery("x", "y"), delivery("z", "x")];
    let receipts = ledger.append(group).await.unwrap();
    assert_eq!(receipts[1].seq, receipts[0].seq);
    assert_eq!(receipts[1].leaf, receipts[0].leaf);
    assert!(receipts[1].duplicate);
    assert_eq!(receipts[2].flag, Some(Flag::OtherBody));
    assert_eq!(receipts[3].flag, Some(Flag::Replayed));
}

#[tokio::test]
async fn other_keys_answer_with_the_first_entry() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.path());
    let event = one(&ledger, delivery("a", "a")).await;
    let first = one(&ledger, verdict(Ref::Seq(event.seq), Decision::Allow)).await;
    let again = one(&ledger, verdict(Ref::Seq(event.seq), Decision::Deny)).await;
    assert_eq!((again.seq, again.leaf, again.duplicate), (first.seq, first.leaf, true));

    let plain = |key: &str| Draft { key: Key::Plain(key.into()), ..delivery("", "") };
    let first = one(&ledger, plain("look:1")).await;
    assert_eq!(one(&ledger, plain("look:1")).await.seq, first.seq);
    let size = ledger.head().size;
    // An event that was redelivered, and its verdict: both are there already.
    let receipts =
        ledger.append(vec![delivery("a", "a"), verdict(Ref::InGroup(0), Decision::Allow)]).await.unwrap();
    assert!(receipts.iter().all(|r| r.duplicate));
    assert_eq!(ledger.head().size, size);
}

#[tokio::test]
async fn what_cannot_be_an_entry_leaves_nothing_of_its_group() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.path());
    let with = |data| Draft { data, ..delivery("big", "") };
    let cases = [
        with(serde_json::json!({"flags": [], "x": "y".repeat(20_000)})),
        with(serde_json::json!({"flags": [], "x": 1.5})),
        verdict(Ref::Seq(99), Decision::Allow),
        verdict(Ref::InGroup(7), Decision::Allow),
        Draft { key: Key::Plain("delivery:x".into()), ..delivery("", "") },
        Draft { data: serde_json::json!({}), ..verdict(Ref::Seq(0), Decision::Allow) },
    ];
    for bad in cases {
        let error = ledger.append(vec![delivery("ok", "ok"), bad]).await.unwrap_err();
        assert!(matches!(error, AppendError::TooLarge(_) | AppendError::Invalid(_)), "{error:?}");
        assert_eq!(ledger.head().size, 1);
    }
    assert_eq!(one(&ledger, delivery("ok", "ok")).await.seq, 1, "the key was not taken");
}

#[tokio::test]
async fn time_never_goes_back() {
    let dir = Dir::new();
    let mut clock: Vec<Time> = ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"]
        .iter()
        .map(|t| t.parse().unwrap())
        .rev()
        .collect();
    let (ledger, _) = Ledger::open(&dir.path(), move || clock.pop().unwrap()).unwrap();
    one(&ledger, delivery("a", "a")).await;
    one(&ledger, delivery("b", "b")).await;
    let time = |seq| ledger.entry(seq).unwrap().unwrap().entry.time.to_string();
    assert_eq!(time(0), "2026-01-01T00:00:00.000000Z");
    assert_eq!(
        (time(1), time(2)),
        ("2026-01-03T00:00:00.000000Z".into(), "2026-01-03T00:00:00.000000Z".into())
    );
}

#[tokio::test]
async fn a_second_opener_is_refused_and_told_who_has_it() {
    let dir = Dir::new();
    let (_ledger, _) = open(&dir.path());
    let Err(error) = Ledger::open(&dir.path(), Time::now) else { panic!("opened twice") };
    assert!(error.to_string().contains(&format!("by process {}", std::process::id())), "{error}");
    assert!(matches!(error, OpenError::Locked { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs_and_segments_roll() {
    let dir = Dir::new();
    let sizes = Sizes { segment: 20_000, ahead: 4096 };
    let (ledger, _) = Ledger::open_sized(&dir.path(), sizes, Time::now).unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|w| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for i in 0..10 {
                    let body = format!("{w} {i} {}", "x".repeat(100 * i));
                    let group =
                        vec![delivery(&format!("{w}-{i}"), &body), verdict(Ref::InGroup(0), Decision::Allow)];
                    let receipts = ledger.append(group).await.unwrap();
                    assert_eq!(ledger.body(receipts[0].seq, "payload").unwrap().unwrap(), body);
                    assert_eq!(ledger.verdict_of(receipts[0].seq), Some(receipts[1].seq));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(ledger.head().size, 1281);
    let stats = ledger.stats();
    assert!(stats.groups < 640, "{stats:?}");
    assert_eq!((stats.entries, stats.waiting), (1280, 0));
    assert!(segments(&dir.path().join("journal")).unwrap().len() > 5);
    let (head, index) = (ledger.head(), ledger.index_snapshot());
    ledger.close().await.unwrap();
    assert!(matches!(ledger.append(vec![delivery("late", "")]).await, Err(AppendError::Closed)));
    drop(ledger);

    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (ledger, report) = open(&dir.path());
    assert_eq!((report.replayed, report.unclean), (1281, false));
    assert_eq!((ledger.head(), ledger.index_snapshot()), (head, index));
}

// ---- The sequencer on a store that fails as it is told.

fn on(disk: &Disk) -> Ledger {
    Ledger::on_store(Arc::new(Memory::open(disk)), Time::now).unwrap().0
}

#[tokio::test]
async fn a_failed_append_is_settled_by_opening_again() {
    for (fault, stored) in [(Fault::FailedNotStored, false), (Fault::FailedButStored, true)] {
        let disk = Disk::default();
        let ledger = on(&disk);
        let group = || vec![delivery("a", "a"), verdict(Ref::InGroup(0), Decision::Allow)];
        disk.fail_next(fault);
        assert!(matches!(ledger.append(group()).await, Err(AppendError::Fatal(_))));
        assert_eq!(ledger.head().size, 1, "what is not known to be stored is not shown");
        assert_eq!(ledger.failed().await, "the write failed");
        assert!(matches!(ledger.append(group()).await, Err(AppendError::Fatal(_))), "never go on");
        drop(ledger);

        let ledger = on(&disk);
        let receipts = ledger.append(group()).await.unwrap();
        assert_eq!(
            receipts.iter().map(|r| (r.seq, r.duplicate)).collect::<Vec<_>>(),
            [(1, stored), (2, stored)]
        );
        assert_eq!(ledger.head().size, 3);
    }
}

#[tokio::test]
async fn a_full_store_takes_nothing_and_recovers() {
    let disk = Disk::default();
    let ledger = on(&disk);
    one(&ledger, delivery("a", "a")).await;
    disk.fail_next(Fault::Full);
    assert!(matches!(ledger.append(vec![delivery("b", "b")]).await, Err(AppendError::Full)));
    assert_eq!((ledger.head().size, ledger.with_key("delivery:b"), ledger.failure()), (2, None, None));
    let b = one(&ledger, delivery("b", "b")).await;
    assert_eq!((b.seq, b.duplicate), (2, false));
}

#[tokio::test]
async fn two_writers_cannot_share_a_store() {
    let disk = Disk::default();
    let (first, second) = (on(&disk), on(&disk));
    one(&first, delivery("a", "a")).await;
    let error = second.append(vec![delivery("b", "b")]).await.unwrap_err();
    assert!(error.to_string().contains("somebody else writes"), "{error}");
    assert_eq!(one(&first, delivery("c", "c")).await.seq, 2);
}

/// Somebody changed an entry in sled and made its checksum right again: the hash that is kept of it is not believed.
#[tokio::test]
async fn an_entry_changed_in_sled_is_taken_from_the_journal() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.path());
    for n in 0..6 {
        one(&ledger, delivery(&format!("g{n}"), "{}")).await;
    }
    let (head, before) = (ledger.head(), ledger.entry(3).unwrap().unwrap());
    ledger.close().await.unwrap();
    drop(ledger);
    let view = View::open(&dir.path().join("sled")).unwrap();
    let mut value = view.get(3).unwrap().unwrap();
    let changed = String::from_utf8(value.raw.to_vec()).unwrap().replace("\"push\"", "\"pull\"");
    assert_ne!(changed.as_bytes(), &value.raw[..]);
    value.raw = changed.into();
    view.amend(3, &value).unwrap();
    view.finish();
    drop(view);
    let (ledger, report) = open(&dir.path());
    let why = report.rebuilt.expect("sled is made again");
    assert_eq!(why, "entry 3: its bytes do not have its hash");
    assert_eq!((ledger.entry(3).unwrap().unwrap().raw, ledger.head().root), (before.raw, head.root));
}
