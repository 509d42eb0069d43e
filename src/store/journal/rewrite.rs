//! Replacing a sealed segment by one with the same entries and other body records: compressed, or gone.
//!
//! Written aside, synced, compared with the old one, renamed over it, the folder synced. A crash leaves
//! the old segment or the new one; what was written aside is removed at the next open. Leaves, groups and
//! order never change, so nothing that was proved of the ledger changes.
//!
//! Whoever reads the old file goes on reading it whole; whoever opens it from now on sees the new one.
//! Frames lie elsewhere in it: places that were noted before hold no more (see [`super::shelf`]).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use bytes::Bytes;

use super::{
    JournalError,
    frame::{self, BodyRecord, Codec, Seal},
    reader::{Group, SegmentReader, Step},
    segment_path,
};
use crate::{
    ledger::body::Salt,
    store::files::{self, fail_at},
};

/// zstd's own default. What it gives and costs here is in `docs/erasure.md`.
const LEVEL: i32 = 3;

/// A body that is not smaller by this many bytes stays as it is: reading it would cost more than it saves.
const WORTH: usize = 64;

/// Written aside in pieces of this many bytes, each synced: a commit never waits for one large sync.
const PIECE: u64 = 4 << 20;

/// What becomes of the body records of entry `seq`. Other bytes than before are refused.
pub type Transform<'a> = dyn FnMut(u64, BodyRecord) -> BodyRecord + 'a;

/// Called between frames; `false`: give up, nothing was changed.
pub type Pause<'a> = dyn FnMut() -> bool + 'a;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewritten {
    Done,
    /// `pause` said so.
    GivenUp,
}

/// Rewrites the sealed segment that begins with entry `first`. `compressed`: every body that is worth it
/// is compressed then. At most one rewrite of a journal may run at a time.
///
/// # Errors
/// The segment is not sealed or damaged, or I/O: it is as it was, or (when the folder could not be synced)
/// one of the two.
pub fn rewrite(
    dir: &Path,
    first: u64,
    compressed: bool,
    transform: &mut Transform<'_>,
    pause: &mut Pause<'_>,
) -> Result<Rewritten, JournalError> {
    let path = segment_path(dir, first);
    let aside = path.with_extension("seg.rewrite.new");
    let done = write_aside(dir, first, &aside, compressed, transform, pause);
    match done {
        Ok(Rewritten::Done) => {}
        other => {
            let _ = fs::remove_file(&aside);
            return other;
        }
    }
    let replace = || -> io::Result<()> {
        fs::rename(&aside, &path)?;
        // The power may go before the name is durable: then the old segment is there.
        fail_at("journal.rewrite.renamed")?;
        files::sync_dir(dir)?;
        fail_at("journal.rewrite.after")
    };
    replace().map_err(JournalError::io("replacing", &path))?;
    Ok(Rewritten::Done)
}

fn write_aside(
    dir: &Path,
    first: u64,
    aside: &Path,
    compressed: bool,
    transform: &mut Transform<'_>,
    pause: &mut Pause<'_>,
) -> Result<Rewritten, JournalError> {
    let io = |e| JournalError::io("writing", aside)(e);
    fail_at("journal.rewrite.before").map_err(io)?;
    let mut old = SegmentReader::open(dir, first)?;
    let mut header = old.header.clone();
    header.compressed |= compressed;
    header.rewritten = another(header.rewritten).map_err(io)?;
    let mut out = Aside::create(aside).map_err(io)?;
    out.write(&header.encode()).map_err(io)?;
    loop {
        match old.step()? {
            Step::Group(mut group) => {
                change(&mut group, transform);
                let frame = frame::encode_entries(group.first, &group.entries)
                    .map_err(|why| JournalError::damaged(group.first, why))?;
                out.write(&frame.bytes).map_err(io)?;
            }
            Step::Sealed(seal) => {
                let length = out.length + frame::SEAL as u64;
                out.write(&Seal { length, ..seal }.encode()).map_err(io)?;
                break;
            }
            Step::Tail(_) => return Err(JournalError::damaged(old.tip.size, "its segment has no seal")),
        }
        if !pause() {
            return Ok(Rewritten::GivenUp);
        }
    }
    fail_at("journal.rewrite.written").map_err(io)?;
    out.file.sync_all().map_err(io)?;
    fail_at("journal.rewrite.synced").map_err(io)?;
    same_entries(dir, first, aside)?;
    Ok(Rewritten::Done)
}

/// A random number that is not 0 and not `before`.
fn another(before: u32) -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let drawn = u32::from_le_bytes(bytes);
    Ok(if drawn == 0 || drawn == before { before.wrapping_add(1).max(1) } else { drawn })
}

fn change(group: &mut Group, transform: &mut Transform<'_>) {
    for (seq, entry) in (group.first..).zip(&mut group.entries) {
        for body in &mut entry.bodies {
            *body = transform(seq, body.clone());
        }
    }
}

struct Aside {
    file: File,
    length: u64,
    unsynced: u64,
}

impl Aside {
    fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, length: 0, unsynced: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= PIECE {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// Reads both back: the same entries, and of every body the same bytes or nothing. A mistake in the
/// compressor would otherwise be found years later.
fn same_entries(dir: &Path, first: u64, aside: &Path) -> Result<(), JournalError> {
    let mut old = SegmentReader::open(dir, first)?;
    let mut new = SegmentReader::open_file(aside.to_owned(), first)?;
    loop {
        let at = old.tip.size;
        let same = match (old.step()?, new.step()?) {
            (Step::Group(old), Step::Group(new)) => same_group(&old, &new),
            (Step::Sealed(old), Step::Sealed(new)) if old.next == new.next && old.leaf == new.leaf => {
                return Ok(());
            }
            _ => false,
        };
        if !same {
            return Err(JournalError::damaged(at, "rewriting its segment would have changed it"));
        }
    }
}

fn same_group(old: &Group, new: &Group) -> bool {
    let same_body = |(old, new): (&BodyRecord, &BodyRecord)| {
        old.name == new.name
            && match new.bytes() {
                Ok(Some(bytes)) => old.bytes() == Ok(Some(bytes)) && old.salt == new.salt,
                Ok(None) => true,
                Err(_) => false,
            }
    };
    old.leaves == new.leaves
        && old.entries.iter().zip(&new.entries).all(|(old, new)| {
            old.bodies.len() == new.bodies.len() && old.bodies.iter().zip(&new.bodies).all(same_body)
        })
}

/// The record with its bytes compressed, if that is worth it.
#[must_use]
pub fn compressed(body: BodyRecord) -> BodyRecord {
    if body.codec != Codec::Raw {
        return body;
    }
    match zstd::bulk::compress(&body.stored, LEVEL) {
        Ok(small) if small.len() + WORTH <= body.stored.len() => {
            BodyRecord { codec: Codec::Zstd, stored: small.into(), ..body }
        }
        _ => body,
    }
}

/// The record without bytes and salt.
#[must_use]
pub fn erased(body: BodyRecord) -> BodyRecord {
    BodyRecord { codec: Codec::Absent, raw_length: 0, salt: Salt([0; 32]), stored: Bytes::new(), ..body }
}
