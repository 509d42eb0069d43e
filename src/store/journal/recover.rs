//! Opening a journal that may have been left in the middle of a write.
//!
//! A group is written and synced before it is acknowledged, one at a time. So after a crash at most
//! the last frame is bad, and nobody was told that it exists. That is a torn write: it is said,
//! zeroed and synced before anything else is written. Everything else is damage, and refused:
//! * a bad frame with a whole frame or a seal behind it: that was written after the bad one was synced;
//! * fewer entries than the applied view, the mark of a clean stop or the last signed size know of.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{
    JournalError,
    mark::Mark,
    reader::{Listed, SegmentReader, Step, Tail, list},
    segment_path,
};
use crate::store::{Tip, files};

/// A write that a crash cut short. Nobody was told that it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The last whole entry; `None`: there is none.
    pub after: Option<u64>,
    pub bytes: u64,
}

impl std::fmt::Display for Torn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.after {
            Some(seq) => write!(f, "torn tail after {seq}, {} bytes", self.bytes),
            None => write!(f, "torn tail before the first entry, {} bytes", self.bytes),
        }
    }
}

/// Where writing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// First entry of the segment.
    pub first: u64,
    pub position: u64,
    pub frames: u32,
}

#[derive(Clone, Debug)]
pub struct Recovered {
    pub ledger_id: [u8; 16],
    pub tip: Tip,
    /// `None`: the last segment is sealed.
    pub unsealed: Option<Unsealed>,
    pub torn: Option<Torn>,
}

/// What is known to have existed, and who says so.
pub type Witnessed = (&'static str, Mark);

/// Finds the end of the journal and mends a torn write. `None`: there are no segments.
///
/// # Errors
/// I/O, or damage. Nothing was changed then.
pub fn recover(dir: &Path, witnessed: &[Witnessed]) -> Result<Option<Recovered>, JournalError> {
    remove_unfinished(dir).map_err(JournalError::io("cleaning up", dir))?;
    let Listed { firsts, headless } = list(dir)?;
    let end = open_chain(dir, &firsts)?.map(find_end).transpose()?;
    check_witnessed(end.as_ref(), witnessed)?;
    // Nothing was refused: from here on things are changed.
    if let Some((first, _)) = headless {
        let path = segment_path(dir, first);
        fs::remove_file(&path).map_err(JournalError::io("removing", &path))?;
    }
    let Some(End { ledger_id, tip, unsealed }) = end else { return Ok(None) };
    let torn = unsealed.map(|(u, tail)| mend(dir, u.first, tip, tail)).transpose()?.flatten();
    if let Some(&last) = firsts.last() {
        make_durable(dir, last).map_err(JournalError::io("syncing", dir))?;
    }
    Ok(Some(Recovered { ledger_id, tip, unsealed: unsealed.map(|(u, _)| u), torn }))
}

struct End {
    ledger_id: [u8; 16],
    tip: Tip,
    /// `None`: sealed.
    unsealed: Option<(Unsealed, Tail)>,
}

fn find_end(mut last: SegmentReader) -> Result<End, JournalError> {
    let ledger_id = last.header.ledger_id;
    if let Some(seal) = last.seal_at_end()? {
        let tip = Tip { size: seal.next, leaf: seal.leaf };
        return Ok(End { ledger_id, tip, unsealed: None });
    }
    let tail = read_to_end(&mut last)?;
    let unsealed = |tail: Tail| {
        let SegmentReader { header, frames, .. } = &last;
        (Unsealed { first: header.first, position: tail.at, frames: *frames }, tail)
    };
    Ok(End { ledger_id, tip: last.tip, unsealed: tail.map(unsealed) })
}

/// A segment that was being created when the process ended: nothing was written to it.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.extension().is_some_and(|e| e == "new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Checks that the segments follow each other by their headers and seals alone, and opens the last.
fn open_chain(dir: &Path, all: &[u64]) -> Result<Option<SegmentReader>, JournalError> {
    let mut before: Option<(Tip, [u8; 16])> = None;
    for (i, &first) in all.iter().enumerate() {
        let reader = SegmentReader::open(dir, first)?;
        let damaged = |what: &str| Err(JournalError::damaged(first, what));
        let expected = before.unwrap_or((Tip::default(), reader.header.ledger_id));
        if (reader.tip, reader.header.ledger_id) != expected {
            return damaged("the segment does not follow the one before it");
        }
        if i + 1 == all.len() {
            return Ok(Some(reader));
        }
        let Some(seal) = reader.seal_at_end()? else {
            return damaged("the segment has no seal, and another follows it");
        };
        before = Some((Tip { size: seal.next, leaf: seal.leaf }, reader.header.ledger_id));
    }
    Ok(None)
}

/// Reads frames to the end and checks the chain. `None`: it ends with a seal after all.
fn read_to_end(segment: &mut SegmentReader) -> Result<Option<Tail>, JournalError> {
    loop {
        match segment.step()? {
            Step::Group(group) => {
                group.links()?;
            }
            Step::Sealed(_) => return Ok(None),
            Step::Tail(Tail { later: Some(_), .. }) => {
                let what = "its frame is damaged, and whole frames follow it";
                return Err(JournalError::damaged(segment.tip.size, what));
            }
            Step::Tail(tail) => return Ok(Some(tail)),
        }
    }
}

fn check_witnessed(end: Option<&End>, witnessed: &[Witnessed]) -> Result<(), JournalError> {
    let tip = end.map_or(Tip::default(), |e| e.tip);
    let unsealed = end.and_then(|e| e.unsealed).map(|(u, _)| u.first);
    for (who, mark) in witnessed {
        if mark.size > tip.size {
            let what = format!("the journal ends before it, but {who} knows {} entries", mark.size);
            return Err(JournalError::damaged(tip.size, what));
        }
        if mark.size == tip.size && mark.leaf.is_some_and(|leaf| leaf != tip.leaf) {
            let what = format!("{who} knows another entry in its place");
            return Err(JournalError::damaged(tip.size.saturating_sub(1), what));
        }
        if mark.sealed && unsealed.is_some_and(|first| first < mark.size) {
            let what = format!("{who} sealed the segment that ends before it, but the seal is not there");
            return Err(JournalError::damaged(tip.size, what));
        }
    }
    Ok(())
}

/// A process that died (and left the power on) may have left what it had not synced: a whole frame, a
/// seal, the name of the last segment. From here on it counts: a duplicate is acknowledged by it, sled
/// takes it over, later segments follow it. If the power went then, all of these would know more than
/// the journal. Segments before the last were synced before the next one had its name.
fn make_durable(dir: &Path, last: u64) -> io::Result<()> {
    File::open(segment_path(dir, last))?.sync_all()?;
    files::sync_dir(dir)
}

/// Zeroes a torn write, durably: otherwise a shorter frame written over it would leave its end
/// behind, which the next recovery would take for something that had been there.
fn mend(dir: &Path, segment: u64, tip: Tip, tail: Tail) -> Result<Option<Torn>, JournalError> {
    if tail.garbage == 0 {
        return Ok(None);
    }
    let path = segment_path(dir, segment);
    let zero = || -> io::Result<()> {
        files::fail_at("journal.mend.before")?;
        let file = OpenOptions::new().write(true).open(&path)?;
        let zeros = vec![0; usize::try_from(tail.garbage).map_err(io::Error::other)?];
        file.write_all_at(&zeros, tail.at)?;
        file.sync_data()?;
        files::fail_at("journal.mend.after")
    };
    zero().map_err(JournalError::io("zeroing the torn tail of", &path))?;
    Ok(Some(Torn { after: tip.size.checked_sub(1), bytes: tail.garbage }))
}
