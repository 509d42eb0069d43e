//! What was changed is noticed; what a crash cut short is not taken for damage.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use bytes::Bytes;
use gatelog::{
    ledger::{
        Ledger,
        body::Salt,
        entry::Ref,
        summary::Summary,
        verify::{VerifyError, verify},
    },
    store::{
        Record, SaltedBody,
        embedded::OpenError,
        journal::{
            Sizes,
            frame::{self, Seal, SegmentHeader},
            mark::Mark,
            reader::Groups,
            recover::recover,
            segment_path, segments,
        },
    },
    time::Time,
    verdict::Decision,
};
use proptest::prelude::*;

use crate::ledger_util::*;

/// Entries of the sample ledger; the last one is a verdict.
const SIZE: u64 = 13;

struct Sample {
    dir: Dir,
    head: gatelog::ledger::Head,
    index: gatelog::ledger::index::Index,
}

/// A ledger of three segments that was stopped cleanly. Never changed: copy it.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = Dir::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (head, index) = runtime.block_on(fill(&dir.path()));
        assert_eq!((segments(&dir.path().join("journal")).unwrap().len(), head.size), (3, SIZE));
        Sample { dir, head, index }
    })
}

async fn fill(dir: &Path) -> (gatelog::ledger::Head, gatelog::ledger::index::Index) {
    let sizes = Sizes { segment: 4000, ahead: 512 };
    let (ledger, _) = Ledger::open_sized(dir, sizes, Time::now).unwrap();
    for i in 0..6 {
        let group =
            vec![delivery(&i.to_string(), &format!("body {i}")), verdict(Ref::InGroup(0), Decision::Deny)];
        ledger.append(group).await.unwrap();
    }
    ledger.close().await.unwrap();
    (ledger.head(), ledger.index_snapshot())
}

fn copied() -> Dir {
    let dir = Dir::new();
    copy(&sample().dir.path(), &dir.path());
    dir
}

fn journal_of(dir: &Dir) -> PathBuf {
    dir.path().join("journal")
}

fn failure(journal: &Path) -> Option<(u64, String)> {
    match verify(journal) {
        Ok(_) => None,
        Err(VerifyError::Failed { at, what }) => Some((at, what)),
        Err(e) => panic!("{e}"),
    }
}

fn files(journal: &Path) -> Vec<PathBuf> {
    segments(journal).unwrap().into_iter().map(|first| segment_path(journal, first)).collect()
}

#[test]
fn an_untouched_ledger_verifies() {
    let found = verify(&journal_of(&sample().dir)).unwrap();
    assert_eq!((found.entries, found.root), (SIZE, sample().head.root));
    assert!(found.sealed && found.torn.is_none() && found.lints.is_empty());
    assert_eq!((found.bodies, found.redacted_bodies), (12, 0));
}

// ---- Any changed, dropped, repeated or swapped entry or body is noticed, even when whoever did it
// ---- wrote new frames around it with every CRC and seal right.

fn records(journal: &Path) -> (SegmentHeader, Vec<Record>) {
    let mut groups = Groups::open(journal).unwrap().unwrap();
    let header = SegmentHeader {
        ledger_id: groups.ledger_id,
        first: 0,
        prev: Default::default(),
        compressed: false,
        rewritten: 0,
    };
    let mut out = vec![];
    while let Some(group) = groups.next_group().unwrap() {
        for (entry, leaf) in group.entries.into_iter().zip(group.leaves) {
            let bodies = entry.bodies.into_iter();
            out.push(Record {
                tiles: vec![],
                raw: entry.raw,
                leaf,
                summary: Summary::opaque(Time::now()),
                bodies: bodies.map(|b| SaltedBody { name: b.name, salt: b.salt, bytes: b.stored }).collect(),
            });
        }
    }
    (header, out)
}

/// Writes a journal of one sealed segment as a careful forger would.
fn forge(journal: &Path, header: &SegmentHeader, records: &[Record]) {
    for file in files(journal) {
        fs::remove_file(file).unwrap();
    }
    let mut bytes = header.encode();
    for (seq, record) in (0..).zip(records) {
        bytes.extend(frame::encode(seq, std::slice::from_ref(record)).unwrap().bytes);
    }
    let seal = Seal {
        next: records.len() as u64,
        frames: u32::try_from(records.len()).unwrap(),
        leaf: records.last().map_or(Default::default(), |r| gatelog::ledger::chain::leaf_hash(&r.raw)),
        length: (bytes.len() + frame::SEAL) as u64,
    };
    bytes.extend(seal.encode());
    fs::write(segment_path(journal, 0), bytes).unwrap();
}

#[derive(Clone, Debug)]
enum Tamper {
    Change { entry: usize, byte: usize, bit: u8 },
    Drop(usize),
    Repeat(usize),
    Swap(usize, usize),
    ChangeBody { entry: usize, byte: usize },
    ChangeSalt { entry: usize },
    DropBody(usize),
    RepeatBody(usize),
    SwapBodies(usize, usize),
    AddBody(usize),
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let n = 0..usize::try_from(SIZE).unwrap();
    // Entry 0 has no body.
    let b = 1..usize::try_from(SIZE).unwrap();
    let two = |r: std::ops::Range<usize>| (r.clone(), r).prop_filter("two", |(a, b)| a != b);
    prop_oneof![
        (n.clone(), any::<usize>(), 0..8_u8).prop_map(|(entry, byte, bit)| Tamper::Change {
            entry,
            byte,
            bit
        }),
        n.clone().prop_map(Tamper::Drop),
        n.clone().prop_map(Tamper::Repeat),
        two(n.clone()).prop_map(|(a, b)| Tamper::Swap(a, b)),
        (b.clone(), any::<usize>()).prop_map(|(entry, byte)| Tamper::ChangeBody { entry, byte }),
        b.clone().prop_map(|entry| Tamper::ChangeSalt { entry }),
        b.clone().prop_map(Tamper::DropBody),
        b.clone().prop_map(Tamper::RepeatBody),
        two(b).prop_map(|(a, b)| Tamper::SwapBodies(a, b)),
        n.prop_map(Tamper::AddBody),
    ]
}

fn apply(t: &Tamper, records: &mut Vec<Record>) {
    let flip = |bytes: &Bytes, at: usize, bit: u8| {
        let mut bytes = bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        Bytes::from(bytes)
    };
    match *t {
        Tamper::Change { entry, byte, bit } => records[entry].raw = flip(&records[entry].raw, byte, bit),
        Tamper::Drop(i) => drop(records.remove(i)),
        Tamper::Repeat(i) => records.insert(i, records[i].clone()),
        Tamper::Swap(a, b) => records.swap(a, b),
        Tamper::ChangeBody { entry, byte } => {
            let body = &mut records[entry].bodies[0];
            body.bytes = flip(&body.bytes, byte, 0);
        }
        Tamper::ChangeSalt { entry } => records[entry].bodies[0].salt = Salt([9; 32]),
        Tamper::DropBody(i) => records[i].bodies.clear(),
        Tamper::RepeatBody(i) => {
            let body = records[i].bodies[0].clone();
            records[i].bodies.push(body);
        }
        Tamper::SwapBodies(a, b) => {
            let (x, y) = (records[a].bodies.remove(0), records[b].bodies.remove(0));
            // Under the other's name, so that only the commitment can tell.
            records[a].bodies.push(SaltedBody { name: x.name.clone(), ..y.clone() });
            records[b].bodies.push(SaltedBody { name: y.name, ..x });
        }
        Tamper::AddBody(i) => records[i].bodies.push(SaltedBody {
            name: "extra".into(),
            salt: Salt([1; 32]),
            bytes: Bytes::from_static(b"extra"),
        }),
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn any_forgery_is_noticed(t in tamper()) {
        let dir = copied();
        let journal = journal_of(&dir);
        let (header, mut records) = records(&journal);
        apply(&t, &mut records);
        forge(&journal, &header, &records);
        prop_assert!(failure(&journal).is_some(), "{:?} passed", t);
    }

    #[test]
    fn any_flipped_bit_of_a_stopped_journal_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let dir = copied();
        let journal = journal_of(&dir);
        let all = files(&journal);
        let sizes: Vec<usize> = all.iter().map(|f| usize::try_from(fs::metadata(f).unwrap().len()).unwrap()).collect();
        let mut at = at.index(sizes.iter().sum());
        let file = sizes.iter().position(|n| at < *n || { at -= n; false }).unwrap();
        let mut bytes = fs::read(&all[file]).unwrap();
        bytes[at] ^= 1 << bit;
        fs::write(&all[file], bytes).unwrap();
        prop_assert!(failure(&journal).is_some(), "bit {} of byte {} of file {} passed", bit, at, file);
    }
}

#[test]
fn a_forger_who_changes_nothing_passes() {
    let dir = copied();
    let (header, all) = records(&journal_of(&dir));
    forge(&journal_of(&dir), &header, &all);
    assert_eq!(failure(&journal_of(&dir)), None);
}

#[test]
fn verify_names_the_first_bad_entry_and_what_is_wrong() {
    let cases = [
        (Tamper::Drop(4), 4, "it says that it is entry 5"),
        (Tamper::ChangeBody { entry: 3, byte: 0 }, 3, "body payload is not what the entry commits to"),
        (Tamper::DropBody(2), 2, "body verdict is missing"),
        (Tamper::AddBody(5), 5, "body extra is there, but the entry does not name it"),
        (Tamper::Drop(12), 12, "the last clean stop knows 13 entries"),
    ];
    for (t, at, what) in cases {
        let dir = copied();
        let (header, mut all) = records(&journal_of(&dir));
        apply(&t, &mut all);
        forge(&journal_of(&dir), &header, &all);
        let (found, said) = failure(&journal_of(&dir)).unwrap();
        assert!(found == at && said.contains(what), "{t:?}: {found}: {said}");
    }
}

#[test]
fn time_that_goes_back_is_named_as_such() {
    let dir = copied();
    let (header, all) = records(&journal_of(&dir));
    // The forger keeps the chain whole: every entry from there on is written anew.
    let mut forged: Vec<Record> = vec![];
    for record in all {
        let mut entry = gatelog::ledger::entry::Entry::parse(&record.raw).unwrap();
        if entry.seq == 5 {
            entry.time = "2020-01-01T00:00:00Z".parse().unwrap();
        }
        entry.prev = forged.last().map_or(Default::default(), |r| r.leaf);
        let raw = entry.canonical().unwrap();
        forged.push(Record { leaf: gatelog::ledger::chain::leaf_hash(&raw), raw, ..record });
    }
    forge(&journal_of(&dir), &header, &forged);
    let (at, what) = failure(&journal_of(&dir)).unwrap();
    assert!(at == 5 && what.starts_with("time order: 2020-01-01T00:00:00.000000Z is before"), "{at}: {what}");
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// ---- Prefixes

/// Cuts the journal after `keep` bytes, counted over all segments; forgets the clean stop.
fn cut(journal: &Path, mut keep: u64) {
    let _ = fs::remove_file(journal.join("stopped"));
    for file in files(journal) {
        let length = fs::metadata(&file).unwrap().len();
        if keep == 0 {
            fs::remove_file(file).unwrap();
            continue;
        }
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(keep.min(length)).unwrap();
        keep = keep.saturating_sub(length);
    }
}

fn total(journal: &Path) -> u64 {
    files(journal).iter().map(|f| fs::metadata(f).unwrap().len()).sum()
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn any_prefix_opens_when_nothing_says_that_more_existed(at in any::<prop::sample::Index>(), more in 1_u64..3) {
        let dir = copied();
        let journal = journal_of(&dir);
        cut(&journal, at.index(usize::try_from(total(&journal)).unwrap()) as u64);
        let verified = verify(&journal).map(|v| v.entries).unwrap_or(0);
        // With a witness of more it is refused, and nothing is changed.
        let mark = Mark { size: verified + more, leaf: None, root: None, sealed: false };
        prop_assert!(recover(&journal, &[("someone", mark)]).is_err());
        let size = recover(&journal, &[]).unwrap().map_or(0, |r| r.tip.size);
        prop_assert_eq!(size, verified);
        // Mended: the second time there is nothing to mend.
        if let Some(again) = recover(&journal, &[]).unwrap() {
            prop_assert_eq!((again.tip.size, again.torn), (size, None));
        }
        let mark = Mark { size, leaf: None, root: None, sealed: false };
        prop_assert!(recover(&journal, &[("someone", mark)]).is_ok());
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_ledger_goes_on_from_any_prefix(at in any::<prop::sample::Index>()) {
        let dir = copied();
        let journal = journal_of(&dir);
        let keep = at.index(usize::try_from(total(&journal)).unwrap()) as u64;
        cut(&journal, keep);
        // sled still knows everything: refused.
        let size = verify(&journal).map(|v| v.entries).unwrap_or(0);
        let refused = Ledger::open(&dir.path(), Time::now).map(drop);
        prop_assert_eq!(size < SIZE, matches!(refused, Err(OpenError::Damaged { .. })));
        if size == SIZE {
            return Ok(());
        }
        fs::remove_dir_all(dir.path().join("sled")).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let (ledger, report) = open(&dir.path());
            assert_eq!((report.size, report.created), (size, size == 0));
            one(&ledger, delivery("new", "new")).await;
            ledger.close().await.unwrap();
            let verified = verify(&journal).unwrap();
            assert_eq!((verified.entries, verified.root), (ledger.head().size, ledger.head().root));
        });
    }
}

#[test]
fn every_mark_is_heeded() {
    let size = r#"{"size":99}"#;
    for mark in ["signed", "journal/stopped"] {
        let dir = copied();
        fs::write(dir.path().join(mark), size).unwrap();
        let error = Ledger::open(&dir.path(), Time::now).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { at: SIZE, .. }), "{mark}: {error}");
        let (at, what) = failure(&journal_of(&dir)).unwrap();
        assert!(at == SIZE && what.contains("knows 99 entries"), "{mark}: {what}");
    }
}

#[test]
fn a_bad_frame_before_a_whole_one_is_damage_whatever_the_marks() {
    let dir = copied();
    let journal = journal_of(&dir);
    fs::remove_file(journal.join("stopped")).unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let last = files(&journal).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    // In the first frame's payload; whole frames and the seal follow. Unsealed, so that it is read.
    bytes[frame::SEGMENT_HEADER + frame::FRAME_HEADER + 9] ^= 1;
    bytes.truncate(bytes.len() - frame::SEAL);
    bytes.extend([0; 100]);
    fs::write(&last, bytes).unwrap();
    let error = Ledger::open(&dir.path(), Time::now).map(drop).unwrap_err();
    assert!(error.to_string().contains("whole frames follow"), "{error}");
    assert!(failure(&journal).is_some());
}

#[tokio::test]
async fn a_torn_tail_is_said_removed_and_told_by_verify() {
    let dir = copied();
    let journal = journal_of(&dir);
    let (ledger, _) = open(&dir.path());
    one(&ledger, delivery("x", &"x".repeat(500))).await;
    drop(ledger);
    let last = files(&journal).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    // Half a frame after the last whole one.
    let half = frame::encode(SIZE + 1, &records(&journal).1[..1]).unwrap().bytes;
    bytes[end..end + 100].copy_from_slice(&half[..100]);
    fs::write(&last, &bytes).unwrap();
    let found = verify(&journal).unwrap();
    assert_eq!(found.torn.unwrap().to_string(), format!("torn tail after {SIZE}, 100 bytes"));
    let (ledger, report) = open(&dir.path());
    assert_eq!(report.torn, found.torn);
    assert_eq!(verify(&journal).unwrap().torn, None);
    assert_eq!(one(&ledger, delivery("y", "y")).await.seq, SIZE + 1);
    ledger.close().await.unwrap();
    assert_eq!(verify(&journal).unwrap().entries, SIZE + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_being_written_verifies() {
    let dir = Dir::new();
    let sizes = Sizes { segment: 100_000, ahead: 4096 };
    let (ledger, _) = Ledger::open_sized(&dir.path(), sizes, Time::now).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|w| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for i in 0..150 {
                    one(&ledger, delivery(&format!("{w}-{i}"), &format!("{w} {i} {}", "x".repeat(5000))))
                        .await;
                }
            })
        })
        .collect();
    let journal = journal_of(&dir);
    let mut sizes = vec![];
    while !writers.iter().all(|w| w.is_finished()) {
        sizes.push(verify(&journal).unwrap().entries);
        tokio::task::yield_now().await;
    }
    assert!(sizes.is_sorted() && verify(&journal).unwrap().entries == 1201, "{sizes:?}");
}

// ---- sled

fn damage_sled(sled: &Path, how: &str) {
    let db = sled.join("db");
    let length = fs::metadata(&db).unwrap().len();
    let snapshot = || {
        for item in fs::read_dir(sled).unwrap() {
            let path = item.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("snap") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    match how {
        "removed" => fs::remove_dir_all(sled).unwrap(),
        "emptied" => drop(fs::File::create(&db).unwrap()),
        "halved" => fs::OpenOptions::new().write(true).open(&db).unwrap().set_len(length / 2).unwrap(),
        "conf torn" => fs::write(sled.join("conf"), [0; 58]).unwrap(),
        "no snapshot" => snapshot(),
        flips => {
            snapshot();
            let mut bytes = fs::read(&db).unwrap();
            let step: usize = flips.parse().unwrap();
            let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
            for at in used.into_iter().step_by(step) {
                bytes[at] ^= 0x10;
            }
            fs::write(&db, bytes).unwrap();
        }
    }
}

#[test]
fn whatever_happens_to_sled_the_ledger_is_the_same() {
    for how in ["removed", "emptied", "halved", "conf torn", "no snapshot", "7", "97", "501", "1999"] {
        let dir = copied();
        damage_sled(&dir.path().join("sled"), how);
        let (ledger, report) = open(&dir.path());
        assert_eq!(ledger.head(), sample().head, "{how}");
        assert_eq!(ledger.index_snapshot(), sample().index, "{how}");
        for seq in 0..SIZE {
            assert_eq!(ledger.entry(seq).unwrap().unwrap().entry.seq, seq, "{how}");
        }
        assert_eq!(ledger.body(1, "payload").unwrap().unwrap(), "body 0", "{how}");
        if ["conf torn", "7"].contains(&how) {
            assert!(report.rebuilt.is_some(), "{how}");
        }
    }
}

#[test]
fn sled_of_another_history_is_refused() {
    let dir = copied();
    let (header, all) = records(&journal_of(&dir));
    // Another ledger with the same id and length: only the hashes tell.
    let mut forged: Vec<Record> = vec![];
    for record in all {
        let mut entry = gatelog::ledger::entry::Entry::parse(&record.raw).unwrap();
        entry.time = "2020-01-01T00:00:00Z".parse().unwrap();
        entry.prev = forged.last().map_or(Default::default(), |r| r.leaf);
        let raw = entry.canonical().unwrap();
        forged.push(Record { leaf: gatelog::ledger::chain::leaf_hash(&raw), raw, ..record });
    }
    forge(&journal_of(&dir), &header, &forged);
    fs::remove_file(journal_of(&dir).join("stopped")).unwrap();
    assert_eq!(failure(&journal_of(&dir)), None, "a whole new ledger cannot be told without a witness");
    let error = Ledger::open(&dir.path(), Time::now).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_lost_secret_is_replaced_and_fingerprints_made_again() {
    let dir = copied();
    fs::remove_file(dir.path().join("secret")).unwrap();
    let (ledger, report) = open(&dir.path());
    assert!(report.rebuilt.unwrap().contains("secret"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(one(&ledger, delivery("0", "body 0"))).duplicate);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(dir.path().join("secret")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_lost_journal_is_not_a_new_ledger() {
    let dir = copied();
    fs::remove_dir_all(journal_of(&dir)).unwrap();
    let error = Ledger::open(&dir.path(), Time::now).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}
