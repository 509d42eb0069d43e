//! Erasing and compressing: what is done to sealed segments while the ledger goes on.

use super::Embedded;
use crate::{
    ledger::{erasure::Bodies, summary::Short},
    store::{
        EraseError, ReadError, StoreError,
        files::fail_at,
        journal::{
            JournalError, catalog, mark,
            reader::{SegmentReader, Step},
            rewrite::{Rewritten, compressed, erased, rewrite},
            segments,
        },
    },
};

/// The body whose fingerprint finds a delivery that comes again.
const FINGERPRINTED: &str = "payload";

impl Embedded {
    /// A crash anywhere before the mark: some segments are rewritten, and the same is done again at the
    /// next open, where those have nothing left to erase.
    pub(super) fn erase_bodies(
        &self,
        bodies: &Bodies,
        through: u64,
    ) -> Result<Vec<(u64, Short)>, EraseError> {
        let _one = self.shelf.rewriting();
        if let Some(last) = bodies.entries().iter().last() {
            self.writer().seal_over(last)?;
        }
        for (first, end) in self.ranges().map_err(read_error)? {
            if bodies.meets(first, end) && self.holds_any(first, bodies).map_err(read_error)? {
                self.erase_in(first, bodies).map_err(read_error)?;
            }
        }
        let of: Vec<u64> = bodies.entries_with(FINGERPRINTED).collect();
        let forgotten = self.drop_fingerprints(&of)?;
        // Fingerprints that sled loses again in a power cut are dropped at the next open.
        let written = mark::write_erased(&self.dir, through);
        written.map_err(|e| StoreError::Fatal(format!("recording the end of an erasure: {e}")))?;
        Ok(forgotten)
    }

    /// First entry of each segment and of the one after it.
    fn ranges(&self) -> Result<Vec<(u64, u64)>, JournalError> {
        let journal = self.journal();
        let firsts = segments(&journal).map_err(JournalError::io("listing", &journal))?;
        let ends = firsts.iter().skip(1).copied().chain([u64::MAX]);
        Ok(firsts.iter().copied().zip(ends).collect())
    }

    fn holds_any(&self, first: u64, bodies: &Bodies) -> Result<bool, JournalError> {
        let mut reader = SegmentReader::open(&self.journal(), first)?;
        while let Step::Group(group) = reader.step()? {
            let mut entries = (group.first..).zip(&group.entries);
            let there = |(seq, entry): (u64, &super::FrameEntry)| {
                entry.bodies.iter().any(|b| !b.is_absent() && bodies.contains(seq, &b.name))
            };
            if entries.any(there) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn erase_in(&self, first: u64, bodies: &Bodies) -> Result<(), JournalError> {
        fail_at("erase.segment.before").map_err(|e| JournalError::io("erasing in", &self.journal())(e))?;
        let mut transform = |seq: u64, body: super::BodyRecord| {
            if bodies.contains(seq, &body.name) { erased(body) } else { body }
        };
        rewrite(&self.journal(), first, false, &mut transform, &mut || true)?;
        self.shelf.replaced(first);
        fail_at("erase.segment.after").map_err(|e| JournalError::io("erasing in", &self.journal())(e))
    }

    pub(super) fn drop_fingerprints(&self, of: &[u64]) -> Result<Vec<(u64, Short)>, ReadError> {
        let mut dropped = vec![];
        for &seq in of {
            let Some(mut value) = self.view.get(seq)? else { continue };
            if let Some(fingerprint) = value.summary.fingerprint.take() {
                self.view.amend(seq, &value).map_err(ReadError::Io)?;
                dropped.push((seq, fingerprint));
            }
        }
        Ok(dropped)
    }

    pub(super) fn compress_sealed(&self, pause: &mut dyn FnMut() -> bool) -> Result<u64, ReadError> {
        let mut done = 0;
        for (first, is_compressed) in self.shelf.sealed().map_err(read_error)? {
            if is_compressed {
                continue;
            }
            let _one = self.shelf.rewriting();
            let rewritten = rewrite(&self.journal(), first, true, &mut |_, body| compressed(body), pause)
                .map_err(read_error)?;
            if rewritten == Rewritten::GivenUp {
                break;
            }
            self.shelf.replaced(first);
            done += 1;
        }
        catalog::keep(&self.journal(), pause).map_err(read_error)?;
        Ok(done)
    }
}

pub(super) fn read_error(e: JournalError) -> ReadError {
    match e {
        JournalError::Damaged { at, what } => ReadError::Damaged { seq: at, what },
        JournalError::Io { .. } => ReadError::Io(e.to_string()),
    }
}
