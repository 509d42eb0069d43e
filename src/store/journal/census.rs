//! Counting what a journal holds, for `log status`. Reads the segments that have no catalog.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    JournalError,
    catalog::{self, Directory},
    frame::{BodyRecord, Codec},
    reader::{SegmentReader, Step, list},
};
use crate::store::Tip;

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    pub segments: u64,
    pub sealed: u64,
    /// Of the sealed.
    pub compressed: u64,
    /// Of the sealed: replaced since they were written, to compress or to erase.
    pub rewritten: u64,
    /// Whose bodies were counted by a catalog: it may be wrong, only a full verify reads them.
    pub by_catalog: u64,
    /// `None`: not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bodies: Option<Bodies>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bodies {
    pub raw: u64,
    pub compressed: u64,
    pub erased: u64,
    /// Bytes of those that are there, as they were received or made.
    pub bytes: u64,
    /// Bytes they take in the journal.
    pub stored: u64,
}

impl Bodies {
    pub(super) fn add(&mut self, body: &BodyRecord) {
        *match body.codec {
            Codec::Raw => &mut self.raw,
            Codec::Zstd => &mut self.compressed,
            Codec::Absent => &mut self.erased,
        } += 1;
        self.bytes += u64::from(body.raw_length);
        self.stored += body.stored.len() as u64;
    }

    fn extend(&mut self, other: Self) {
        self.raw += other.raw;
        self.compressed += other.compressed;
        self.erased += other.erased;
        self.bytes += other.bytes;
        self.stored += other.stored;
    }
}

/// Counts; with `bodies` what no catalog tells is read, else headers and seals. Where it ends.
///
/// # Errors
/// I/O or damage.
pub fn count(journal: &Path, bodies: bool) -> Result<(Census, Tip), JournalError> {
    let mut census = Census { bodies: bodies.then(Bodies::default), ..Census::default() };
    let mut tip = Tip::default();
    let directory = bodies.then(|| Directory::open(journal, u64::MAX, true)).transpose()?;
    for first in list(journal)?.firsts {
        let mut segment = match SegmentReader::open(journal, first) {
            // A clean stop removes a segment that nothing was written to.
            Err(JournalError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let seal = segment.seal_at_end()?;
        census.segments += 1;
        census.sealed += u64::from(seal.is_some());
        census.compressed += u64::from(segment.header.compressed);
        census.rewritten += u64::from(segment.header.rewritten != 0);
        let known = directory.as_ref().and_then(|d| catalog::bodies(d, &segment));
        if let (Some(all), Some((known, believed))) = (&mut census.bodies, known) {
            all.extend(known);
            census.by_catalog += u64::from(believed);
        }
        if seal.is_none() || (bodies && known.is_none()) {
            while let Step::Group(group) = segment.step()? {
                if let Some(all) = census.bodies.as_mut().filter(|_| known.is_none()) {
                    group.entries.iter().flat_map(|e| &e.bodies).for_each(|b| all.add(b));
                }
            }
        }
        tip = seal.map_or(segment.tip, |s| Tip { size: s.next, leaf: s.leaf });
    }
    Ok((census, tip))
}
