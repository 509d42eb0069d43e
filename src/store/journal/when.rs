//! Where a time is in a journal: times never go back, so the segments are halved by when they begin.

use std::path::Path;

use super::{
    JournalError,
    reader::{SegmentReader, Step, list},
};
use crate::time::Time;

/// The first entry of the last segment whose first entry `is_before` the time that is looked for; 0: none is.
/// Every entry before it is, too, so nothing of that time is missed by who reads from there. Of O(log n)
/// segments, the first frame is read.
///
/// A segment that cannot be read tells nothing: one before it is asked, and whoever reads on meets the damage.
///
/// # Errors
/// The folder cannot be listed.
pub fn before(dir: &Path, is_before: &dyn Fn(Time) -> bool) -> Result<u64, JournalError> {
    let firsts = list(dir)?.firsts;
    let (mut low, mut high, mut found) = (0, firsts.len(), 0);
    while low < high {
        let middle = low + (high - low) / 2;
        match (low..=middle).rev().find_map(|i| Some((i, begun(dir, firsts[i])?))) {
            Some((i, time)) if is_before(time) => (found, low) = (i, middle + 1),
            Some((i, _)) => high = i,
            None => low = middle + 1,
        }
    }
    Ok(firsts.get(found).copied().unwrap_or(0))
}

/// When the first entry of segment `first` was written. `None`: nothing is in it, or it cannot be read.
fn begun(dir: &Path, first: u64) -> Option<Time> {
    let Step::Group(group) = SegmentReader::open(dir, first).ok()?.step().ok()? else { return None };
    Some(group.links().ok()?.first()?.time)
}
