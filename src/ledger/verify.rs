//! Checks a journal with nothing but its files: while the service runs, or on a copy.
//!
//! Proved: every frame is whole; entries count from 0 and each names the hash of the one before;
//! times never go back; every body that is there is the one its entry commits to, and every one that is
//! not is named by an erasure; the root; with the log's key, that it signed this root or one from which
//! the ledger goes on. Not proved, without something outside that remembers an earlier root: that nobody
//! who has the key wrote the whole ledger anew, or cut off its end.

use std::path::Path;

use serde::Deserialize as _;

use super::{
    body::commitment,
    checkpoint::Checkpoint,
    entry::{Entry, Hash, Kind, Link, not_canonical},
    erasure::{Bodies, Erasure, LIST},
    merkle::CompactRange,
    note::Verifier,
};
use crate::{
    store::journal::{
        JournalError,
        catalog::Comparison,
        frame::{BodyRecord, FrameEntry, SegmentHeader},
        mark::{self, Mark, Signed},
        reader::{Group, Groups},
        recover::Torn,
    },
    time::Time,
};

/// What was found in a ledger in which nothing is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many; they are `0..=entries-1`.
    pub entries: u64,
    pub root: Hash,
    pub ledger_id: [u8; 16],
    /// It is a later generation: the last checkpoint of the one before, as its first entry names it. Whether that
    /// was the last one, only somebody knows who saw it.
    pub predecessor: Option<Signed>,
    /// Of the first and the last entry.
    pub times: Option<(Time, Time)>,
    /// Bodies that are what their entries commit to.
    pub bodies: u64,
    /// Bodies that were erased.
    pub redacted_bodies: u64,
    /// What each erasure explains, oldest first.
    pub redactions: Vec<Redaction>,
    /// What is not as gatelog writes it, though nothing is wrong with the chain.
    pub lints: Vec<(u64, String)>,
    /// The last segment is sealed: the service was stopped cleanly.
    pub sealed: bool,
    /// Bytes after the last whole frame.
    pub torn: Option<Torn>,
    /// What the checkpoint beside the journal covers; it is this ledger's. `None`: there is none.
    pub covered: Option<Covered>,
    /// Catalogs that do not say what their segments say: the first entry, and what it is. Nothing of the ledger is
    /// wrong by that, but who searches it may be led past something.
    pub catalogs: Vec<(u64, &'static str)>,
}

/// The last checkpoint that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Entries.
    pub size: u64,
    /// The log that a trusted key signed it for. `None`: no key was given, so nobody vouches for it.
    pub signed_by: Option<String>,
}

/// Bodies that are gone, and the erasure that says why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    pub erasure: u64,
    pub reason: String,
    /// Bodies that are gone.
    pub bodies: u64,
    /// Entries they are of.
    pub entries: Vec<u64>,
    /// Bodies that it names and that are still there: it is not complete yet.
    pub left: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The first entry that is wrong or missing.
    #[error("entry {at}: {what}")]
    Failed { at: u64, what: String },
    /// No trusted key vouches for the ledger.
    #[error("{0}")]
    Unsigned(String),
    /// There is nothing to verify, or it cannot be read.
    #[error("{0}")]
    CannotRead(String),
}

impl From<JournalError> for VerifyError {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Damaged { at, what } => Self::Failed { at, what },
            JournalError::Io { .. } => Self::CannotRead(e.to_string()),
        }
    }
}

/// Verifies the segments in `journal`, and that at least as much is there as the marks beside them
/// say.
///
/// # Errors
/// The first thing that is wrong, or that it cannot be read.
pub fn verify(journal: &Path) -> Result<Verified, VerifyError> {
    verify_signed(journal, &[])
}

/// As [`verify`]; where keys are given, also that one of them signed the checkpoint beside the journal: a
/// checkpoint without that vouches for nothing, because whoever changes the journal changes it too.
///
/// # Errors
/// As [`verify`].
pub fn verify_signed(journal: &Path, trusted: &[Verifier]) -> Result<Verified, VerifyError> {
    for _ in 0..2 {
        match verify_once(journal, trusted) {
            // An erasure at work: it was recorded after the segments were listed, and what it names was
            // gone before it was read. In a ledger that stands still this only costs time.
            Err(Once::Unexplained { .. }) => {}
            done => return done.map_err(Once::into_error),
        }
    }
    verify_once(journal, trusted).map_err(Once::into_error)
}

/// Why one reading failed.
enum Once {
    Unexplained { at: u64, what: String },
    Other(VerifyError),
}

impl Once {
    fn into_error(self) -> VerifyError {
        match self {
            Self::Unexplained { at, what } => VerifyError::Failed { at, what },
            Self::Other(e) => e,
        }
    }
}

impl<E: Into<VerifyError>> From<E> for Once {
    fn from(e: E) -> Self {
        Self::Other(e.into())
    }
}

fn verify_once(journal: &Path, trusted: &[Verifier]) -> Result<Verified, Once> {
    let (marks, covered) = marks(journal, trusted)?;
    let Some(mut groups) = Groups::open(journal)? else {
        check_marks_reached(&marks, 0)?;
        let what = format!("there are no segments in {}", journal.display());
        return Err(VerifyError::CannotRead(what).into());
    };
    let found = Verified { ledger_id: groups.ledger_id, covered, ..Verified::default() };
    let mut check = Check {
        journal,
        catalog: None,
        found,
        tree: CompactRange::default(),
        marks,
        absent: Bodies::default(),
        there: Bodies::default(),
        erasures: vec![],
    };
    let mut segment = None;
    while let Some(group) = groups.next_group()? {
        if segment.replace(group.segment) != Some(group.segment) {
            check.segment(groups.header())?;
        }
        check.group(&group)?;
    }
    check.end_of_segment()?;
    check_marks_reached(&check.marks, check.tree.size())?;
    if let Some((who, _)) = check.marks.iter().find(|(_, m)| m.sealed && m.size > groups.segment)
        && groups.tail.is_some()
    {
        let what = format!("{who} sealed the segment that ends before it, but the seal is not there");
        return Err(VerifyError::Failed { at: check.tree.size(), what }.into());
    }
    let torn = groups.tail.filter(|t| t.garbage > 0);
    check.found.redactions = check.redactions()?;
    Ok(Verified {
        entries: check.tree.size(),
        root: check.tree.root(),
        sealed: groups.sealed(),
        torn: torn.map(|t| Torn { after: check.tree.size().checked_sub(1), bytes: t.garbage }),
        ..check.found
    })
}

type Marks = Vec<(&'static str, Mark)>;

/// Read before the journal, which only grows: so a mark made meanwhile cannot be ahead of it.
fn marks(journal: &Path, trusted: &[Verifier]) -> Result<(Marks, Option<Covered>), VerifyError> {
    let dir = journal.parent().unwrap_or(journal);
    // The smaller one first: what comes meanwhile only makes the other larger.
    let witnessed = mark::witnessed_mark(dir)?;
    let (signed, signed_by) = match trusted {
        [] => (mark::signed(dir)?, None),
        keys => signed_mark(dir, keys).map(|(mark, by)| (Some(mark), Some(by)))?,
    };
    let covered = signed.map(|mark| Covered { size: mark.size, signed_by });
    let all = [
        ("the last clean stop", mark::stopped(journal)?),
        ("the last signed checkpoint", signed),
        ("the last cosigned checkpoint", witnessed),
    ];
    Ok((all.into_iter().filter_map(|(who, mark)| Some((who, mark?))).collect(), covered))
}

/// What a trusted key signed, and for which log. Nothing but the note itself is believed.
fn signed_mark(dir: &Path, trusted: &[Verifier]) -> Result<(Mark, String), VerifyError> {
    let path = dir.join("signed");
    let signed = mark::last_signed(dir)?.ok_or_else(|| {
        VerifyError::Unsigned(format!("nothing is signed: there is no checkpoint in {}", path.display()))
    })?;
    let Checkpoint { origin, size, root } = Checkpoint::open(signed.checkpoint.as_bytes(), trusted)
        .map_err(|e| VerifyError::Unsigned(format!("the checkpoint in {}: {e}", path.display())))?;
    Ok((Mark { size, leaf: None, root: Some(root), sealed: false }, origin))
}

fn check_marks_reached(marks: &Marks, size: u64) -> Result<(), VerifyError> {
    match marks.iter().find(|(_, mark)| mark.size > size) {
        None => Ok(()),
        Some((who, mark)) => failed(
            size,
            format!("it is missing: the journal ends before it, but {who} knows {} entries", mark.size),
        ),
    }
}

struct Check<'a> {
    journal: &'a Path,
    /// Of the segment that is being read.
    catalog: Option<Comparison>,
    found: Verified,
    tree: CompactRange,
    marks: Marks,
    absent: Bodies,
    there: Bodies,
    erasures: Vec<Erasure>,
}

impl Check<'_> {
    /// Another one begins.
    fn segment(&mut self, header: &SegmentHeader) -> Result<(), VerifyError> {
        self.end_of_segment()?;
        self.catalog = Comparison::begin(self.journal, header)?;
        Ok(())
    }

    fn end_of_segment(&mut self) -> Result<(), VerifyError> {
        let Some(catalog) = self.catalog.take() else { return Ok(()) };
        let first = catalog.first();
        self.found.catalogs.extend(catalog.end(self.journal)?.map(|what| (first, what)));
        Ok(())
    }

    fn group(&mut self, group: &Group) -> Result<(), VerifyError> {
        let links = group.links()?;
        for ((entry, link), leaf) in group.entries.iter().zip(&links).zip(&group.leaves) {
            if link.seq == 0 {
                self.first(entry)?;
            }
            self.time(link)?;
            self.bodies(entry, link)?;
            if let Some(e) = not_canonical(&entry.raw) {
                self.found.lints.push((link.seq, e.to_string()));
            }
            let mut completes = vec![];
            self.tree.push_seen(*leaf, &mut |_, node| completes.push(node));
            if let Some(catalog) = &mut self.catalog {
                catalog.add(entry, *leaf, &completes)?;
            }
            self.known(link.seq, *leaf)?;
        }
        Ok(())
    }

    /// Entry 0 says which ledger this is.
    fn first(&mut self, entry: &FrameEntry) -> Result<(), VerifyError> {
        let entry = Entry::parse(&entry.raw).or_else(|e| failed(0, format!("it cannot be read: {e}")))?;
        let predecessor = entry.data.get("predecessor").filter(|p| !p.is_null());
        self.found.predecessor = predecessor
            .map(Signed::deserialize)
            .transpose()
            .or_else(|e| failed(0, format!("what it names as the generation before cannot be read: {e}")))?;
        let id = entry.data.get("ledger_id").and_then(|id| id.as_str());
        if entry.kind != Kind::Service || id != Some(&hex::encode(self.found.ledger_id)) {
            return failed(0, "it is not the first entry of the ledger that the segments belong to");
        }
        Ok(())
    }

    fn time(&mut self, link: &Link) -> Result<(), VerifyError> {
        let (first, last) = self.found.times.unwrap_or((link.time, link.time));
        if link.time < last {
            return failed(
                link.seq,
                format!("time order: {} is before {last} of the entry before", link.time),
            );
        }
        self.found.times = Some((first, link.time));
        Ok(())
    }

    fn bodies(&mut self, entry: &FrameEntry, link: &Link) -> Result<(), VerifyError> {
        let mut left = link.bodies.clone();
        for body in &entry.bodies {
            let Some(promised) = left.remove(&body.name) else {
                return failed(
                    link.seq,
                    format!("body {} is there, but the entry does not name it", shown(body)),
                );
            };
            let bytes =
                body.bytes().or_else(|why| failed(link.seq, format!("body {}: {why}", shown(body))))?;
            let Some(bytes) = bytes else {
                self.found.redacted_bodies += 1;
                self.absent.insert(link.seq, &body.name);
                continue;
            };
            if commitment(&body.salt, &bytes) != promised.commit {
                return failed(link.seq, format!("body {} is not what the entry commits to", shown(body)));
            }
            self.found.bodies += 1;
            self.there.insert(link.seq, &body.name);
            if body.name == LIST {
                self.erasure(entry, &bytes, link.seq)?;
            }
        }
        match left.keys().next() {
            None => Ok(()),
            Some(name) => failed(link.seq, format!("body {} is missing", name.escape_debug())),
        }
    }

    fn erasure(&mut self, entry: &FrameEntry, list: &[u8], seq: u64) -> Result<(), VerifyError> {
        let Ok(entry) = Entry::parse(&entry.raw) else { return Ok(()) };
        if entry.kind == Kind::Erasure {
            let erasure = Erasure::read(&entry, list);
            self.erasures
                .push(erasure.map_or_else(|| failed(seq, "its list of erased bodies cannot be read"), Ok)?);
        }
        Ok(())
    }

    /// Every body that is absent must be named by an erasure that was recorded after it.
    fn redactions(&self) -> Result<Vec<Redaction>, Once> {
        let mut all: Vec<Redaction> = self.erasures.iter().map(Redaction::of).collect();
        let mut unexplained: Option<(u64, &str)> = None;
        for (name, seqs) in self.absent.each() {
            for seq in seqs.iter() {
                match self.erasures.iter().position(|e| e.bodies.contains(seq, name)) {
                    Some(i) => all[i].took(seq),
                    None if unexplained.is_none_or(|(first, _)| seq < first) => {
                        unexplained = Some((seq, name))
                    }
                    None => {}
                }
            }
        }
        if let Some((seq, name)) = unexplained {
            let name = name.escape_debug();
            let what = format!("body {name} was removed, and no erasure explains it");
            return Err(Once::Unexplained { at: seq, what });
        }
        for (redaction, erasure) in all.iter_mut().zip(&self.erasures) {
            redaction.entries.sort_unstable();
            redaction.entries.dedup();
            redaction.left = self.left_of(erasure);
        }
        Ok(all)
    }

    fn left_of(&self, erasure: &Erasure) -> u64 {
        let left = |(name, seqs): (&str, &super::erasure::SeqSet)| {
            seqs.iter().filter(|seq| self.there.contains(*seq, name)).count() as u64
        };
        erasure.bodies.each().map(left).sum()
    }

    /// Where a mark knows the ledger's state at this size, it must be this one.
    fn known(&self, seq: u64, leaf: Hash) -> Result<(), VerifyError> {
        for (who, mark) in self.marks.iter().filter(|(_, mark)| mark.size == self.tree.size()) {
            let other_leaf = mark.leaf.is_some_and(|l| l != leaf);
            if other_leaf || mark.root.is_some_and(|r| r != self.tree.root()) {
                return failed(seq, format!("{who} knows another entry in its place"));
            }
        }
        Ok(())
    }
}

impl Redaction {
    fn of(erasure: &Erasure) -> Self {
        Self { erasure: erasure.seq, reason: erasure.reason.clone(), ..Self::default() }
    }

    fn took(&mut self, seq: u64) {
        self.bodies += 1;
        self.entries.push(seq);
    }
}

fn shown(body: &BodyRecord) -> std::str::EscapeDebug<'_> {
    body.name.escape_debug()
}

fn failed<T>(at: u64, what: impl Into<String>) -> Result<T, VerifyError> {
    Err(VerifyError::Failed { at, what: what.into() })
}
