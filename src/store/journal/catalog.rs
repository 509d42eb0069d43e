//! What is asked of a sealed segment without reading it: a small file beside it.
//!
//! So that a proof costs O(log n) reads and evidence costs as much as what is in it, however long the ledger
//! is, with nothing but the files: the service's own index is the service's. Everything here is made from
//! the segment and may be deleted. Nothing here is believed: whoever uses a hash proves it against a signed
//! root, and reads the segments themselves where that fails.
//!
//! ```text
//! journal/00000000000000000000.idx        named as its segment
//!   header  80  "GATEIDX1" · ledger id 16 · first 8 · next 8 · leaf of the last 32 · rewrite of the segment 4
//!               · length of the contents 4
//!   contents    JSON: [`Contents`]
//!   crc 4       of both
//!   hashes      32 each: of every perfect subtree that ends in one of the segment's entries, in the order
//!               in which they become complete, each leaf before the subtrees above it
//! ```

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    JournalError,
    census::Bodies,
    frame::FrameEntry,
    reader::{SegmentReader, Step, list, read_up_to},
    segment_path,
};
use crate::{
    ledger::{
        entry::{Entry, Hash, Kind},
        erasure::{Bodies as Erased, LIST},
        merkle::CompactRange,
        proof::Node,
    },
    store::{Tip, files, wire::Take},
};

const MAGIC: &[u8; 8] = b"GATEIDX1";
const HEADER: usize = 80;
const HASH: u64 = 32;

/// A segment has at most this many entries, so no contents are larger.
const MAX_CONTENTS: u32 = 64 << 20;

/// What is known of the entries of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Entry and bundle of each `policy`.
    pub policies: Vec<(u64, String)>,
    pub erasures: Vec<Named>,
    /// Of the segment as it was when this was written.
    pub bodies: Bodies,
}

/// An erasure, and between which entries those lie whose bodies it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub erasure: u64,
    pub first: u64,
    pub last: u64,
}

/// A segment, or what of it is within the size that was asked for.
pub struct Part {
    /// Its entries.
    pub first: u64,
    pub next: u64,
    /// Of the last of them.
    pub leaf: Hash,
    /// Number of the segment's last rewrite.
    rewritten: u32,
    pub contents: Contents,
    hashes: Hashes,
}

enum Hashes {
    Read(Vec<Hash>),
    File { file: File, at: u64 },
}

/// How many hashes stand before those that `leaf` completes.
fn before(leaf: u64) -> u64 {
    2 * leaf - u64::from(leaf.count_ones())
}

impl Part {
    /// Reads a segment up to its end, or to `end`. `tree` is that of the entries before, then with it.
    fn read(dir: &Path, first: u64, end: u64, tree: &mut CompactRange) -> Result<Self, JournalError> {
        let mut segment = SegmentReader::open(dir, first)?;
        let (mut contents, mut hashes) = (Contents::default(), vec![]);
        let (mut next, mut leaf) = (first, segment.header.prev);
        while next < end
            && let Step::Group(group) = segment.step()?
        {
            group.links()?;
            for ((entry, hash), seq) in group.entries.iter().zip(&group.leaves).zip(next..end) {
                contents.add(seq, entry)?;
                tree.push_seen(*hash, &mut |_, node| hashes.push(node));
                (next, leaf) = (seq + 1, *hash);
            }
        }
        let rewritten = segment.header.rewritten;
        Ok(Self { first, next, leaf, rewritten, contents, hashes: Hashes::Read(hashes) })
    }

    /// The file beside segment `first`. `None`: there is none that fits: it is written anew, or done without.
    fn open(dir: &Path, ledger_id: [u8; 16], first: u64, tip: Tip) -> Option<Self> {
        let file = File::open(path(dir, first)).ok()?;
        let mut start = [0; HEADER];
        read_up_to(&file, &mut start, 0).ok().filter(|n| *n == HEADER)?;
        let mut take = Take(&start);
        let fits = take.array::<8>()? == *MAGIC
            && take.array::<16>()? == ledger_id
            && (take.u64()?, take.u64()?) == (first, tip.size)
            && take.array::<32>()? == tip.leaf.0;
        let (rewritten, length) = (take.u32()?, take.u32().filter(|n| fits && *n <= MAX_CONTENTS)?);
        let mut rest = vec![0; length as usize + 4];
        read_up_to(&file, &mut rest, HEADER as u64).ok().filter(|n| *n == rest.len())?;
        let (json, crc) = rest.split_last_chunk::<4>()?;
        (crc32c::crc32c_append(crc32c::crc32c(&start), json) == u32::from_le_bytes(*crc)).then_some(())?;
        let at = (HEADER + rest.len()) as u64;
        let contents = serde_json::from_slice(json).ok()?;
        let hashes = HASH * (before(tip.size) - before(first));
        (file.metadata().ok()?.len() == at + hashes).then_some(())?;
        let hashes = Hashes::File { file, at };
        Some(Self { first, next: tip.size, leaf: tip.leaf, rewritten, contents, hashes })
    }

    fn write(&self, dir: &Path, ledger_id: [u8; 16]) -> io::Result<()> {
        let Hashes::Read(hashes) = &self.hashes else { return Ok(()) };
        let json = serde_json::to_vec(&self.contents)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&ledger_id);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.leaf.0);
        out.extend_from_slice(&self.rewritten.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&json);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        hashes.iter().for_each(|h| out.extend_from_slice(&h.0));
        let name = path(dir, self.first);
        let name = name.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        files::replace(dir, name, &out)
    }

    /// The hash of a node whose last leaf is `last`, of this part.
    fn hash(&self, node: Node, last: u64) -> io::Result<Option<Hash>> {
        let index = before(last) - before(self.first) + u64::from(node.height);
        match &self.hashes {
            Hashes::Read(all) => Ok(usize::try_from(index).ok().and_then(|i| all.get(i)).copied()),
            Hashes::File { file, at } => {
                let mut hash = [0; 32];
                let n = read_up_to(file, &mut hash, at + HASH * index)?;
                Ok((n == hash.len()).then_some(Hash(hash)))
            }
        }
    }

    /// Whether its [`Contents::bodies`] are those of the segment as it is now.
    fn is_of(&self, rewritten: u32) -> bool {
        self.rewritten == rewritten
    }
}

impl Contents {
    fn add(&mut self, seq: u64, stored: &FrameEntry) -> Result<(), JournalError> {
        stored.bodies.iter().for_each(|b| self.bodies.add(b));
        let Ok(entry) = Entry::parse(&stored.raw) else { return Ok(()) };
        match entry.kind {
            Kind::Policy => {
                let bundle = entry.data.get("bundle").and_then(|b| b.as_str()).unwrap_or_default();
                self.policies.push((seq, bundle.to_owned()));
            }
            Kind::Erasure => {
                let list = stored.bodies.iter().find(|b| b.name == LIST);
                let list = list.and_then(|b| Erased::of_list(&b.bytes().ok()??, seq));
                let list = list
                    .ok_or_else(|| JournalError::damaged(seq, "its list of erased bodies cannot be read"))?;
                let entries = list.entries();
                let mut named = entries.iter();
                let first = named.next().unwrap_or(seq);
                self.erasures.push(Named { erasure: seq, first, last: named.last().unwrap_or(first) });
            }
            _ => {}
        }
        Ok(())
    }
}

fn path(dir: &Path, first: u64) -> PathBuf {
    segment_path(dir, first).with_extension("idx")
}

/// Called with a part that had no file; whether to go on.
type Made<'a> = dyn FnMut(&Part, [u8; 16]) -> Result<bool, JournalError> + 'a;

/// The first entries of a journal, by its catalogs; what has none is read.
pub struct Directory {
    parts: Vec<Part>,
    size: u64,
}

impl Directory {
    /// Of the first `size` entries, or as many as there are. `trust`: use the files; they may be wrong.
    ///
    /// # Errors
    /// I/O, or a segment is missing or damaged.
    pub fn open(dir: &Path, size: u64, trust: bool) -> Result<Self, JournalError> {
        let mut directory = Self { parts: vec![], size: 0 };
        directory.extend(dir, size, trust, &mut |_, _| Ok(true))?;
        Ok(directory)
    }

    /// `made` is called with each part that had no file, if it is a whole segment that another one follows;
    /// it says whether to go on.
    fn extend(
        &mut self,
        dir: &Path,
        size: u64,
        trust: bool,
        made: &mut Made<'_>,
    ) -> Result<(), JournalError> {
        let firsts = list(dir)?.firsts;
        let mut tree = CompactRange::default();
        for (i, &first) in firsts.iter().enumerate() {
            if self.size >= size {
                break;
            }
            if first != self.size {
                return Err(JournalError::damaged(
                    self.size,
                    format!("the next segment begins with entry {first}"),
                ));
            }
            let follows = firsts.get(i + 1).map(|next| SegmentReader::open(dir, *next)).transpose()?;
            let ledger_id = SegmentReader::open(dir, first)?.header.ledger_id;
            let known = follows
                .as_ref()
                .filter(|f| trust && f.header.first <= size)
                .and_then(|f| Part::open(dir, ledger_id, first, f.tip));
            let (part, is_new) = match known {
                Some(part) => (part, false),
                None => {
                    if tree.size() != first {
                        tree = self.tree()?;
                    }
                    (Part::read(dir, first, size, &mut tree)?, true)
                }
            };
            if follows.as_ref().is_some_and(|f| part.next == f.header.first && part.leaf != f.header.prev) {
                return Err(JournalError::damaged(
                    part.next,
                    "the next segment does not follow the entry before it",
                ));
            }
            self.size = part.next;
            let go_on =
                !is_new || follows.is_none_or(|f| f.header.first != part.next) || made(&part, ledger_id)?;
            self.parts.push(part);
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// The tree over its entries.
    fn tree(&self) -> Result<CompactRange, JournalError> {
        let mut peaks = vec![];
        for node in peaks_of(self.size) {
            peaks.push(self.node(node)?);
        }
        // As many as the size has one-bits.
        Ok(CompactRange::of_peaks(self.size, peaks).unwrap_or_default())
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The root of a perfect subtree: one read.
    ///
    /// # Errors
    /// I/O, or it is not within the size.
    pub fn node(&self, node: Node) -> Result<Hash, JournalError> {
        let missing = || JournalError::damaged(self.size, "the tree does not have it");
        let end = (node.index + 1).checked_shl(node.height.into()).filter(|end| *end <= self.size);
        let last = end.ok_or_else(missing)? - 1;
        let part = self.part_of(last).ok_or_else(missing)?;
        part.hash(node, last)
            .map_err(|error| JournalError::Io {
                what: format!("reading the index of segment {}", part.first),
                error,
            })?
            .ok_or_else(missing)
    }

    /// The part that holds entry `seq`.
    #[must_use]
    pub fn part_of(&self, seq: u64) -> Option<&Part> {
        let at = self.parts.partition_point(|p| p.next <= seq);
        self.parts.get(at).filter(|p| p.first <= seq)
    }
}

/// The perfect subtrees over the first `size` leaves, largest first.
pub fn peaks_of(size: u64) -> impl Iterator<Item = Node> {
    let heights = (0..64_u8).rev().filter(move |h| size >> h & 1 == 1);
    heights.map(move |height| Node { height, index: (size >> height) - 1 })
}

/// Makes the files that are missing, or were made before their segment was rewritten, of the segments that
/// another one follows. `pause`: called between segments; `false`: give up. How many were made.
///
/// # Errors
/// I/O, or a segment is damaged.
pub fn keep(dir: &Path, pause: &mut dyn FnMut() -> bool) -> Result<u64, JournalError> {
    let mut firsts = list(dir)?.firsts;
    // The last one may be written to.
    let Some(size) = firsts.pop() else { return Ok(0) };
    let mut made = 0;
    let mut write = |part: &Part, ledger_id| {
        part.write(dir, ledger_id).map_err(JournalError::io("writing", &path(dir, part.first)))?;
        made += 1;
        Ok(pause())
    };
    let mut directory = Directory { parts: vec![], size: 0 };
    directory.extend(dir, size, true, &mut write)?;
    for part in &directory.parts {
        let rewritten = SegmentReader::open(dir, part.first)?.header.rewritten;
        if !part.is_of(rewritten) {
            let mut before = Directory::open(dir, part.first, true)?.tree()?;
            let anew = Part::read(dir, part.first, part.next, &mut before)?;
            if !write(&anew, SegmentReader::open(dir, part.first)?.header.ledger_id)? {
                break;
            }
        }
    }
    Ok(made)
}

/// How many bodies segment `first` has, if that is known without reading it (again), and whether a file that
/// may be wrong says so.
#[must_use]
pub fn bodies(directory: &Directory, segment: &SegmentReader) -> Option<(Bodies, bool)> {
    let part = directory.parts.iter().find(|p| p.first == segment.header.first)?;
    let believed = matches!(part.hashes, Hashes::File { .. });
    part.is_of(segment.header.rewritten).then_some((part.contents.bodies, believed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_counted_as_they_become_complete() {
        // Leaves 0, 1 and 01, 2, 3 and 23 and 0123, 4.
        let all: Vec<u64> = (0..6).map(before).collect();
        assert_eq!(all, [0, 1, 3, 4, 7, 8]);
        let peaks: Vec<_> = peaks_of(6).map(|n| (n.height, n.index)).collect();
        assert_eq!(peaks, [(2, 0), (1, 2)]);
        assert_eq!(peaks_of(0).count(), 0);
    }
}
