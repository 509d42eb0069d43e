//! One flipped bit anywhere in the journal: the entry is named, and nothing after it is silently dropped.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::{Random, long, measured};
use crate::ledger_util::{Dir, copy, delivery, verdict};
use gatelog::{
    ledger::{
        Ledger,
        entry::Ref,
        verify::{VerifyError, verify},
    },
    store::{
        embedded::OpenError,
        journal::{
            Sizes,
            frame::{FRAME_HEADER, SEAL, SEGMENT_HEADER},
            reader::Groups,
            segment_path, segments,
        },
    },
    time::Time,
    verdict::Decision,
};

/// A few segments, some groups of one entry and some of two; stopped cleanly or not.
async fn written(close: bool) -> Dir {
    let dir = Dir::new();
    let sizes = Sizes { segment: 3500, ahead: 900 };
    let (ledger, _) = Ledger::open_sized(&dir.path(), sizes, Time::now).unwrap();
    for i in 0..8 {
        let mut group = vec![delivery(&i.to_string(), &format!("body {i}"))];
        if i % 2 == 0 {
            group.push(verdict(Ref::InGroup(0), Decision::Allow));
        }
        ledger.append(group).await.unwrap();
    }
    if close {
        ledger.close().await.unwrap();
    }
    dir
}

/// Bytes of a segment, and the entries that they are part of.
struct Part {
    file: PathBuf,
    from: u64,
    to: u64,
    entries: std::ops::RangeInclusive<u64>,
    /// Nothing was written behind it.
    last: bool,
}

fn parts(journal: &Path) -> Vec<Part> {
    let mut parts = vec![];
    for first in segments(journal).unwrap() {
        let file = segment_path(journal, first);
        parts.push(Part { file, from: 0, to: SEGMENT_HEADER as u64, entries: first..=first, last: false });
    }
    let mut groups = Groups::open(journal).unwrap().unwrap();
    while let Some(group) = groups.next_group().unwrap() {
        let length: usize = group.entries.iter().map(record_length).sum();
        let from = group.payload - FRAME_HEADER as u64;
        let entries = group.first..=group.first + group.entries.len() as u64 - 1;
        let to = group.payload + length as u64 + 4;
        parts.push(Part { file: segment_path(journal, group.segment), from, to, entries, last: false });
    }
    for first in segments(journal).unwrap() {
        let file = segment_path(journal, first);
        let last = parts.iter().filter(|p| p.file == file).max_by_key(|p| p.to).unwrap();
        let (from, next, length) = (last.to, last.entries.end() + 1, fs::metadata(&file).unwrap().len());
        let zeros = groups.segment == first && !groups.sealed();
        assert!(zeros || length - from == SEAL as u64);
        parts.push(Part { file, from, to: length, entries: next..=next, last: zeros });
    }
    if !groups.sealed() {
        let newest = parts.iter_mut().filter(|p| !p.last).max_by_key(|p| (*p.entries.end(), p.from)).unwrap();
        newest.last = true;
    }
    parts
}

fn record_length(entry: &gatelog::store::journal::frame::FrameEntry) -> usize {
    let bodies = entry.bodies.iter().map(|b| 42 + b.name.len() + b.stored.len());
    5 + entry.raw.len() + bodies.sum::<usize>()
}

fn flip(part: &Part, at: u64, bit: u64) -> PathBuf {
    let file = fs::OpenOptions::new().read(true).write(true).open(&part.file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
    part.file.clone()
}

/// In a plain run some bytes, for long every byte; one bit of each.
async fn each_flip(close: bool, mut check: impl FnMut(&Path, &Part, u64)) -> u64 {
    let mut random = Random::seeded("flipped bits");
    let dir = written(close).await;
    let journal = dir.path().join("journal");
    let mut flipped = 0;
    for part in parts(&journal) {
        let bytes = part.to - part.from;
        let some: Vec<u64> = (0..6).map(|_| part.from + random.below(bytes)).collect();
        for at in if long() { (part.from..part.to).collect() } else { some } {
            let bit = random.below(8);
            flip(&part, at, bit);
            check(&journal, &part, at);
            flip(&part, at, bit);
            flipped += 1;
        }
    }
    verify(&journal).unwrap();
    flipped
}

#[tokio::test]
async fn a_flipped_bit_of_a_stopped_journal_is_named_by_its_entry() {
    let mut shown = 0;
    let flipped = each_flip(true, |journal, part, at| {
        let Err(VerifyError::Failed { at: named, what }) = verify(journal) else {
            panic!("byte {at} of {} passed", part.file.display());
        };
        assert!(
            part.entries.contains(&named),
            "byte {at} of {} is of {:?}, but {named} was named: {what}",
            part.file.display(),
            part.entries
        );
        // And as people see it.
        if shown < 5 {
            shown += 1;
            let out = Command::new(env!("CARGO_BIN_EXE_gatelog"))
                .args(["log", "verify", "--ledger"])
                .arg(journal.parent().unwrap())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stdout);
            assert_eq!(out.status.code(), Some(3), "{said}");
            assert!(said.contains(&format!("FAILED at entry {named}: ")), "{said}");
        }
    })
    .await;
    measured("flipped bits of a stopped journal", &format!("{flipped} bits, all named"));
}

#[tokio::test]
async fn a_flipped_bit_of_a_running_journal_is_named_or_said_to_be_a_torn_write() {
    let flipped = each_flip(false, |journal, part, at| {
        match verify(journal) {
            Err(VerifyError::Failed { at: named, what }) => {
                assert!(part.entries.contains(&named), "byte {at}, {:?}: {named}: {what}", part.entries);
            }
            Err(e) => panic!("{e}"),
            // Only at the very end a crash could have done the same.
            Ok(found) => assert!(part.last && found.torn.is_some(), "byte {at} of {:?}", part.entries),
        }
    })
    .await;
    measured("flipped bits of a running journal", &format!("{flipped} bits, all named or said"));
}

/// The applied view knows what was acknowledged: what looks like a torn write is no such thing then.
#[tokio::test]
async fn a_flipped_bit_of_an_acknowledged_entry_is_no_torn_write_to_the_next_start() {
    let dir = written(false).await;
    let journal = dir.path().join("journal");
    let size = verify(&journal).unwrap().entries;
    let mut random = Random::seeded("flipped bits of the last group");
    let newest: Vec<Part> =
        parts(&journal).into_iter().filter(|p| p.last && p.entries.end() + 1 == size).collect();
    assert_eq!(newest.len(), 1);
    for part in &newest {
        for _ in 0..5 {
            let other = Dir::new();
            copy(&dir.path(), &other.path());
            let name = part.file.file_name().unwrap();
            let part = Part {
                file: other.path().join("journal").join(name),
                entries: part.entries.clone(),
                ..*part
            };
            flip(&part, part.from + random.below(part.to - part.from), 3);
            match Ledger::open(&other.path(), Time::now).map(drop) {
                Err(OpenError::Damaged { at, .. }) => assert_eq!(at, *part.entries.start()),
                opened => panic!("{opened:?}"),
            }
        }
    }
}
