//! The journal: append-only segment files, the durable truth of a ledger.
//!
//! It can be read while the service runs, copied with `cp -r`, and everything else can be made from
//! it again. All numbers are little-endian; CRCs are CRC-32C.
//!
//! ```text
//! journal/00000000000000000000.seg        named by its first entry, 20 digits
//!   header  80  "GATELOG1" · version 4 · flags 4 (1: bodies compressed) · ledger id 16 · first seq 8
//!               · prev leaf 32 · number of the rewrite 4 (0: none) · crc 4
//!   frame       one whole group, so groups are atomic:
//!     header 32  "gFRM" · flags 4 · first seq 8 · count 4 · length of payload 8 · crc 4
//!     payload    per entry: length 4 · entry · bodies 1 · per body:
//!                  name (length 1) · codec 1 · stored length 4 · raw length 4 · salt 32 · bytes
//!     crc 4      of the payload
//!   frame …
//!   zeros       written ahead of use, until the segment is sealed
//!   seal    64  "gEND" · flags 4 · next seq 8 · frames 4 · leaf 32 · length of the file 8 · crc 4
//! journal/stopped                         what existed at the last clean stop
//! journal/00000000000000000000.idx        made from a sealed segment, may be deleted: see [`catalog`]
//! ```
//!
//! Every segment but the last is sealed, and the last after a clean stop: then no byte is uncovered.
//! A sealed segment may be replaced whole by [`rewrite`]: the same entries, with bodies compressed or gone.
//! The end of an unsealed segment is found by its frames: see [`recover`] for what a bad end means.

use std::path::{Path, PathBuf};

pub mod catalog;
pub mod census;
pub mod fill;
pub mod frame;
pub mod mark;
pub mod pick;
pub mod reader;
pub mod recover;
pub mod rewrite;
pub mod shelf;
pub mod when;
pub mod writer;

/// A segment is sealed before it outgrows this; one group may be larger. Small enough to be read
/// again after a crash (0.1 s), large enough that a year has hundreds, not thousands.
pub const SEGMENT: u64 = 64 << 20;

/// Zeros kept ahead of the writer. Writing over blocks that exist is 1.1 to 1.7 times faster than
/// growing a file; a megabyte is hundreds of groups.
pub const AHEAD: u64 = 1 << 20;

/// No frame is larger: a header that claims more is not a header.
pub const MAX_FRAME: u64 = 512 << 20;

/// Sizes that tests make small.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub segment: u64,
    pub ahead: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { segment: SEGMENT, ahead: AHEAD }
    }
}

/// Where a body record lies: the segment, by its first entry, and the offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
}

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It is not what was written. `at`: the first entry that cannot be trusted.
    #[error("entry {at}: {what}")]
    Damaged { at: u64, what: String },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

impl JournalError {
    pub(crate) fn damaged(at: u64, what: impl Into<String>) -> Self {
        Self::Damaged { at, what: what.into() }
    }

    /// For `map_err`: what was being done, and to which file.
    pub(crate) fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |error| Self::Io { what: format!("{doing} {}", path.display()), error }
    }
}

/// The file of the segment that starts with entry `first`.
#[must_use]
pub fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// First entries of the segments in `dir`, ascending. Other files are none of ours.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut firsts = vec![];
    for item in std::fs::read_dir(dir)? {
        let name = item?.file_name();
        let digits = name.to_str().and_then(|n| n.strip_suffix(".seg")).filter(|d| d.len() == 20);
        firsts.extend(digits.and_then(|d| d.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The folder of segments that someone means by `dir`: the ledger's folder, one that holds it as
/// `data`, or the folder of segments itself.
#[must_use]
pub fn locate(dir: &Path) -> Option<PathBuf> {
    let candidates = [dir.join("journal"), dir.join("data").join("journal"), dir.to_owned()];
    let (is_journal, is_any) = candidates.split_at(2);
    let holds_segments = |p: &&PathBuf| segments(p).is_ok_and(|s| !s.is_empty());
    is_journal.iter().find(|p| p.is_dir()).or_else(|| is_any.iter().find(holds_segments)).cloned()
}
