//! The tree and the entries as static files, C2SP tlog-tiles: names and bytes. Pure.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]            hashes of level L: tile(L, N)[i] is the root over the 256^L leaves
//!                                 from (N * 256 + i) * 256^L on; 32 bytes each, W of them, or 256
//! tile/entries/<N>[.p/<W>]        entries N * 256 …: length, 2 bytes big-endian, and bytes, of each
//! N                               groups of three digits, all but the last with an x: x001/x234/067
//! ```

use bytes::Bytes;

use super::{chain::node_hash, entry::Hash, proof::Node};

/// Hashes or entries of a full tile.
pub const WIDTH: u64 = 256;

/// Levels that a tree of fewer than 2^64 leaves can have hashes on.
pub const LEVELS: u8 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Hashes(u8),
    Entries,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    pub kind: Kind,
    pub index: u64,
    /// 1 to 256; 256 is a full one.
    pub width: u16,
}

impl Tile {
    /// As it stands behind the prefix of a log: `tile/0/x001/234.p/5`.
    #[must_use]
    pub fn path(&self) -> String {
        let level = match self.kind {
            Kind::Hashes(level) => level.to_string(),
            Kind::Entries => "entries".to_owned(),
        };
        let (mut rest, mut number) = (self.index / 1000, format!("{:03}", self.index % 1000));
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{number}{partial}")
    }

    /// Reads exactly what [`Tile::path`] writes. `None`: no file has that name.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = if level == "entries" { Kind::Entries } else { Kind::Hashes(level.parse().ok()?) };
        if let Kind::Hashes(64..) = kind {
            return None;
        }
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, 256),
        };
        let tile = Self { kind, index: index(number)?, width };
        // One name for each file: no leading zeros, no signs.
        (tile.path() == path).then_some(tile)
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    fn level(&self) -> u8 {
        match self.kind {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        }
    }

    /// Whether a log of `size` entries has all of it.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        let end = self.index.checked_mul(WIDTH).and_then(|start| start.checked_add(self.width.into()));
        end.is_some_and(|end| end <= hashes(self.level(), size))
    }

    /// The tile `index` of a kind as a log of `size` entries has it. `None`: it has nothing of it.
    #[must_use]
    pub fn of(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let all = hashes(Self { kind, index, width: 1 }.level(), size);
        let left = all.checked_sub(index.checked_mul(WIDTH)?)?.min(WIDTH);
        Some(Self { kind, index, width: u16::try_from(left).ok().filter(|w| *w > 0)? })
    }
}

fn index(number: &str) -> Option<u64> {
    let mut index: u64 = 0;
    for group in number.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

/// How many hashes a level has in the tree of `size` leaves.
#[must_use]
pub fn hashes(level: u8, size: u64) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// The entry that completes a tile of hashes. `None`: no ledger is so long.
#[must_use]
pub fn completed_by(level: u8, index: u64) -> Option<u64> {
    let leaves = 1_u64.checked_shl(8 * (u32::from(level) + 1))?;
    index.checked_add(1)?.checked_mul(leaves)?.checked_sub(1)
}

/// Tiles of hashes that a log of `new` entries has, and one of `old` had not, or not so wide.
#[must_use]
pub fn new_tiles(old: u64, new: u64) -> Vec<Tile> {
    let mut all = vec![];
    for level in 0..LEVELS {
        let (before, now) = (hashes(level, old), hashes(level, new));
        if before < now {
            let indices = before / WIDTH..now.div_ceil(WIDTH);
            all.extend(indices.filter_map(|index| Tile::of(Kind::Hashes(level), index, new)));
        }
    }
    all
}

/// In which tile a node's hashes lie: level, index, first hash, how many. The node is the root over them.
#[must_use]
pub fn place(node: Node) -> (u8, u64, usize, usize) {
    let (level, inner) = (node.height / 8, node.height % 8);
    let first = node.index << inner;
    // Below 256, both.
    (level, first / WIDTH, (first % WIDTH) as usize, 1 << inner)
}

/// The root of a node from the hashes of its tile. `None`: the tile is too narrow.
#[must_use]
pub fn node_of(node: Node, tile: &[Hash]) -> Option<Hash> {
    let (_, _, first, count) = place(node);
    perfect_root(tile.get(first..first + count)?)
}

/// The root over a power of two of hashes. `None`: they are not.
#[must_use]
pub fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row.first().copied()
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.0).collect()
}

/// `None`: not a whole number of hashes.
#[must_use]
pub fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().copied().map(Hash).collect())
}

/// The bytes of a bundle of entries. `None`: one of them is over 65,535 bytes.
#[must_use]
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a Bytes>) -> Option<Vec<u8>> {
    let mut out = vec![];
    for entry in entries {
        out.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Some(out)
}

/// `None`: it is cut.
#[must_use]
pub fn decode_entries(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let (mut at, mut entries) = (0, vec![]);
    while at < bytes.len() {
        let length = bytes.get(at..at + 2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        bytes.get(at + 2..at + 2 + length)?;
        entries.push(bytes.slice(at + 2..at + 2 + length));
        at += 2 + length;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tile(kind: Kind, index: u64, width: u16) -> Tile {
        Tile { kind, index, width }
    }

    /// Examples of C2SP tlog-tiles and of golang.org/x/mod/sumdb/tlog.
    #[test]
    fn names() {
        for (tile, path) in [
            (tile(Kind::Hashes(0), 0, 256), "tile/0/000"),
            (tile(Kind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(Kind::Hashes(1), 1000, 17), "tile/1/x001/000.p/17"),
            (tile(Kind::Hashes(63), 999, 1), "tile/63/999.p/1"),
            (tile(Kind::Entries, 1_234_067, 255), "tile/entries/x001/x234/067.p/255"),
            (tile(Kind::Entries, u64::MAX, 256), "tile/entries/x018/x446/x744/x073/x709/x551/615"),
        ] {
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse(path), Some(tile), "{path}");
        }
    }

    #[test]
    fn other_names_are_no_files() {
        for bad in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/+0/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/x001/x000",
            "tile/0/X001/000",
            "tile/0/+01",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/1.p/1",
            "tile/0/000/",
            "tile/0//000",
            "tile/0/../000",
            "tile/0/%30%30%30",
            "tile/0/٠٠٠",
            "tile/Entries/000",
            "/tile/0/000",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }

    /// The example of the specification: 70,000 entries.
    #[test]
    fn tiles_of_a_log_of_seventy_thousand() {
        let all = new_tiles(0, 70_000);
        let of = |level| all.iter().filter(|t| t.kind == Kind::Hashes(level)).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(1).len(), of(2).len(), all.len()), (274, 2, 1, 277));
        let last: Vec<String> = [0, 1, 2].map(|l| of(l).last().unwrap().path()).to_vec();
        assert_eq!(last, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert!(all.iter().all(|t| t.is_within(70_000)));
        assert_eq!(all.iter().filter(|t| !t.is_within(69_999)).count(), 1);
        assert!(!tile(Kind::Hashes(2), 0, 2).is_within(70_000));
        assert!(!tile(Kind::Hashes(9), 0, 1).is_within(u64::MAX));
        assert!(!tile(Kind::Entries, u64::MAX, 256).is_within(u64::MAX));
        let paths = |old, new| new_tiles(old, new).iter().map(Tile::path).collect::<Vec<_>>();
        assert_eq!(paths(255, 256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(paths(256, 257), ["tile/0/001.p/1"]);
        assert_eq!(paths(7, 7), [""; 0]);
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_written_the_same(path in "tile/([0-9]{1,2}|entries)/(x?[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
            if let Some(tile) = Tile::parse(&path) {
                prop_assert_eq!(tile.path(), path);
            }
        }

        #[test]
        fn bundles_read_as_they_were_written(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let entries: Vec<Bytes> = entries.into_iter().map(Bytes::from).collect();
            let bytes = Bytes::from(encode_entries(&entries).unwrap());
            prop_assert_eq!(decode_entries(&bytes).unwrap(), entries);
            if !bytes.is_empty() {
                let cut = decode_entries(&bytes.slice(..bytes.len() - 1));
                prop_assert!(cut.is_none_or(|e| encode_entries(&e).unwrap().len() == bytes.len() - 1));
            }
        }
    }

    #[test]
    fn the_limit_of_a_bundle_is_exact() {
        let entry = |n: usize| Bytes::from(vec![0; n]);
        assert!(encode_entries(&[entry(65_535)]).is_some());
        assert!(encode_entries(&[entry(65_536)]).is_none());
    }
}
