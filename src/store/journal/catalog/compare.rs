//! Whether a catalog says what its segment says.

use std::path::Path;

use super::{Contents, Making, Part, path};
use crate::{
    ledger::{entry::Hash, postings::Postings},
    store::journal::{
        JournalError,
        frame::{FrameEntry, SegmentHeader},
        reader::{SegmentReader, list},
    },
};

/// A catalog that is compared with its segment, as that is read.
pub struct Comparison {
    said: Part,
    read: Making,
}

impl Comparison {
    /// Of the segment with this header. `None`: it has no catalog that anybody would use.
    ///
    /// # Errors
    /// The folder, or the header of the segment that follows, cannot be read.
    pub fn begin(dir: &Path, segment: &SegmentHeader) -> Result<Option<Self>, JournalError> {
        let firsts = list(dir)?.firsts;
        let Some(next) = firsts.get(firsts.partition_point(|first| *first <= segment.first)) else {
            return Ok(None);
        };
        let next = match SegmentReader::open(dir, *next) {
            // A clean stop removes a segment that nothing was written to.
            Err(JournalError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            next => next?,
        };
        let said = Part::open(dir, segment.ledger_id, segment.first, next.tip);
        Ok(said.map(|said| Self { said, read: Making::new(segment, true) }))
    }

    /// The segment's first entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.said.first
    }

    /// The next entry of the segment, and the hashes of the subtrees that it completes.
    ///
    /// # Errors
    /// It is an erasure that cannot be read.
    pub fn add(&mut self, entry: &FrameEntry, leaf: Hash, completes: &[Hash]) -> Result<(), JournalError> {
        self.read.add(entry, leaf, completes)
    }

    /// After the last one: what in it is not what the segment says. Where bodies were erased since it was made,
    /// nothing is said of those.
    ///
    /// # Errors
    /// I/O.
    pub fn end(self, dir: &Path) -> Result<Option<&'static str>, JournalError> {
        let (said, read) = (self.said, self.read.done());
        let same_bodies = said.is_of(read.rewritten);
        let bodies = said.contents.bodies;
        if said.contents != (Contents { bodies, ..read.contents.clone() }) {
            return Ok(Some("its policies and erasures"));
        }
        if same_bodies && bodies != read.contents.bodies {
            return Ok(Some("how many bodies it has"));
        }
        let of = |postings: Postings| if same_bodies { postings } else { postings.without_names() };
        // Those that cannot be read are not used.
        let postings = said.postings().map(of);
        if postings.is_some() && postings != read.postings().map(of) {
            return Ok(Some("which entries are about what"));
        }
        let io = |e| JournalError::io("reading", &path(dir, said.first))(e);
        Ok((said.hashes().map_err(io)? != read.hashes().map_err(io)?).then_some("the hashes of its entries"))
    }
}
