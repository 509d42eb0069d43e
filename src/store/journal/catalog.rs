//! What is asked of a sealed segment without reading it: a small file beside it.
//!
//! So that a proof costs O(log n) reads and evidence costs as much as what is in it, however long the ledger
//! is, with nothing but the files: the service's own index is the service's. Everything here is made from
//! the segment and may be deleted. Nothing here is believed: whoever uses a hash proves it against a signed
//! root, and reads the segments themselves where that fails. Searches (`log list`, `waiver list`) leave unread
//! what the postings do not name, and conclude nothing from it; `log verify` compares all of it with the segment.
//!
//! ```text
//! journal/00000000000000000000.idx        named as its segment
//!   header  88  "GATEIDX2" · ledger id 16 · first 8 · next 8 · leaf of the last 32 · rewrite of the segment 4
//!               · length of the contents 4 · length of the postings 4 · crc of the postings 4
//!   contents    JSON: [`Contents`]
//!   crc 4       of both
//!   postings    which entries are about what: [`Postings`]
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
    frame::{FrameEntry, SegmentHeader},
    reader::{SegmentReader, Step, list, read_up_to},
    segment_path,
};
use crate::{
    ledger::{
        entry::{Entry, Hash, Kind},
        erasure::{Bodies as Erased, LIST},
        merkle::CompactRange,
        postings::{Made as Posting, Postings},
        proof::Node,
    },
    store::{Tip, files, wire::Take},
};

mod compare;

pub use compare::Comparison;

/// Another version is made anew.
const MAGIC: &[u8; 8] = b"GATEIDX2";
const HEADER: usize = 88;
const HASH: u64 = 32;

/// A segment has at most this many entries, so no contents and no postings are larger.
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
    rest: Rest,
}

/// What is not always needed.
enum Rest {
    Read {
        postings: Postings,
        hashes: Vec<Hash>,
    },
    /// Where they begin.
    File {
        file: File,
        postings: Stretch,
        hashes: u64,
    },
}

#[derive(Clone, Copy)]
struct Stretch {
    at: u64,
    length: u32,
    crc: u32,
}

/// How many hashes stand before those that `leaf` completes.
fn before(leaf: u64) -> u64 {
    2 * leaf - u64::from(leaf.count_ones())
}

/// A part while its segment is read.
struct Making {
    first: u64,
    next: u64,
    leaf: Hash,
    rewritten: u32,
    contents: Contents,
    /// `None`: not asked for.
    postings: Option<Posting>,
    hashes: Vec<Hash>,
}

impl Making {
    fn new(header: &SegmentHeader, postings: bool) -> Self {
        Self {
            first: header.first,
            next: header.first,
            leaf: header.prev,
            rewritten: header.rewritten,
            contents: Contents::default(),
            postings: postings.then(Posting::default),
            hashes: vec![],
        }
    }

    /// The next entry, and the hashes of the subtrees that it completes.
    fn add(&mut self, entry: &FrameEntry, leaf: Hash, completes: &[Hash]) -> Result<(), JournalError> {
        self.contents.add(self.next, entry)?;
        if let Some(postings) = &mut self.postings {
            postings.add(self.next, entry);
        }
        self.hashes.extend_from_slice(completes);
        (self.next, self.leaf) = (self.next + 1, leaf);
        Ok(())
    }

    fn done(self) -> Part {
        let Self { first, next, leaf, rewritten, contents, postings, hashes } = self;
        let rest = Rest::Read { postings: postings.map(Posting::done).unwrap_or_default(), hashes };
        Part { first, next, leaf, rewritten, contents, rest }
    }
}

impl Part {
    /// Reads a segment up to its end, or to `end`. `tree` is that of the entries before, then with it.
    fn read(
        dir: &Path,
        first: u64,
        end: u64,
        tree: &mut CompactRange,
        postings: bool,
    ) -> Result<Self, JournalError> {
        let mut segment = SegmentReader::open(dir, first)?;
        let mut made = Making::new(&segment.header, postings);
        while made.next < end
            && let Step::Group(group) = segment.step()?
        {
            group.links()?;
            for (entry, hash) in group.entries.iter().zip(&group.leaves) {
                if made.next == end {
                    break;
                }
                let mut completes = vec![];
                tree.push_seen(*hash, &mut |_, node| completes.push(node));
                made.add(entry, *hash, &completes)?;
            }
        }
        Ok(made.done())
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
        let rewritten = take.u32().filter(|_| fits)?;
        let mut length = || take.u32().filter(|n| *n <= MAX_CONTENTS);
        let (contents, postings, crc) = (length()?, length()?, take.u32()?);
        let mut rest = vec![0; contents as usize + 4];
        read_up_to(&file, &mut rest, HEADER as u64).ok().filter(|n| *n == rest.len())?;
        let (json, own_crc) = rest.split_last_chunk::<4>()?;
        (crc32c::crc32c_append(crc32c::crc32c(&start), json) == u32::from_le_bytes(*own_crc)).then_some(())?;
        let postings = Stretch { at: (HEADER + rest.len()) as u64, length: postings, crc };
        let contents = serde_json::from_slice(json).ok()?;
        let hashes = postings.at + u64::from(postings.length);
        let end = hashes + HASH * (before(tip.size) - before(first));
        (file.metadata().ok()?.len() == end).then_some(())?;
        let rest = Rest::File { file, postings, hashes };
        Some(Self { first, next: tip.size, leaf: tip.leaf, rewritten, contents, rest })
    }

    fn write(&self, dir: &Path, ledger_id: [u8; 16]) -> io::Result<()> {
        let Rest::Read { postings, hashes } = &self.rest else { return Ok(()) };
        let (json, postings) = (serde_json::to_vec(&self.contents)?, postings.encode(self.first));
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&ledger_id);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.leaf.0);
        let crc = crc32c::crc32c(&postings);
        for n in [self.rewritten, length(&json)?, length(&postings)?, crc] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&json);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&postings);
        hashes.iter().for_each(|h| out.extend_from_slice(&h.0));
        let name = path(dir, self.first);
        let name = name.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        files::replace(dir, name, &out)
    }

    /// The hash of a node whose last leaf is `last`, of this part.
    fn hash(&self, node: Node, last: u64) -> io::Result<Option<Hash>> {
        let index = before(last) - before(self.first) + u64::from(node.height);
        match &self.rest {
            Rest::Read { hashes, .. } => Ok(usize::try_from(index).ok().and_then(|i| hashes.get(i)).copied()),
            Rest::File { file, hashes, .. } => {
                let mut hash = [0; 32];
                let n = read_up_to(file, &mut hash, hashes + HASH * index)?;
                Ok((n == hash.len()).then_some(Hash(hash)))
            }
        }
    }

    /// `None`: they cannot be read.
    fn postings(&self) -> Option<Postings> {
        match &self.rest {
            Rest::Read { postings, .. } => Some(postings.clone()),
            Rest::File { file, postings: Stretch { at, length, crc }, .. } => {
                let mut bytes = vec![0; *length as usize];
                read_up_to(file, &mut bytes, *at).ok().filter(|n| *n == bytes.len())?;
                (crc32c::crc32c(&bytes) == *crc).then_some(())?;
                Postings::decode(&bytes, self.first, self.next)
            }
        }
    }

    /// All of them.
    fn hashes(&self) -> io::Result<Vec<Hash>> {
        match &self.rest {
            Rest::Read { hashes, .. } => Ok(hashes.clone()),
            Rest::File { file, hashes, .. } => {
                let length = HASH * (before(self.next) - before(self.first));
                // As long as the file, which was checked.
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                let n = read_up_to(file, &mut bytes, *hashes)?;
                Ok(bytes[..n].as_chunks::<32>().0.iter().map(|h| Hash(*h)).collect())
            }
        }
    }

    /// Whether what it says of bodies is so of the segment as it is now.
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
        directory.extend(dir, size, trust, None)?;
        Ok(directory)
    }

    /// `made` is called with each part that had no file, with its postings, if it is a whole segment that another
    /// one follows; it says whether to go on.
    fn extend(
        &mut self,
        dir: &Path,
        size: u64,
        trust: bool,
        mut made: Option<&mut Made<'_>>,
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
                    (Part::read(dir, first, size, &mut tree, made.is_some())?, true)
                }
            };
            if follows.as_ref().is_some_and(|f| part.next == f.header.first && part.leaf != f.header.prev) {
                return Err(JournalError::damaged(
                    part.next,
                    "the next segment does not follow the entry before it",
                ));
            }
            self.size = part.next;
            let is_whole = is_new && follows.is_some_and(|f| f.header.first == part.next);
            let go_on = match &mut made {
                Some(made) if is_whole => made(&part, ledger_id)?,
                _ => true,
            };
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
    directory.extend(dir, size, true, Some(&mut write))?;
    for part in &directory.parts {
        let rewritten = SegmentReader::open(dir, part.first)?.header.rewritten;
        if !part.is_of(rewritten) {
            let mut before = Directory::open(dir, part.first, true)?.tree()?;
            let anew = Part::read(dir, part.first, part.next, &mut before, true)?;
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
    let believed = matches!(part.rest, Rest::File { .. });
    part.is_of(segment.header.rewritten).then_some((part.contents.bodies, believed))
}

/// What the catalog of a segment says, to look up.
pub struct Known {
    pub postings: Postings,
    /// What it says of names is of bodies that are still there.
    pub names: bool,
}

/// What the catalog of segment `first` says, which another one, `next`, follows. `None`: there is none that fits.
///
/// # Errors
/// The header of one of the two cannot be read.
pub fn known(dir: &Path, first: u64, next: u64) -> Result<Option<Known>, JournalError> {
    let (segment, next) = (SegmentReader::open(dir, first)?.header, SegmentReader::open(dir, next)?);
    let part = Part::open(dir, segment.ledger_id, first, next.tip);
    let known = |part: Part| {
        let names = part.is_of(segment.rewritten);
        Some(Known { postings: part.postings()?, names })
    };
    Ok(part.and_then(known))
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
