//! The right edge of the tree: all of it that is not in full tiles yet, and what grows when a leaf comes.

use super::{
    entry::Hash,
    merkle::CompactRange,
    tile::{LEVELS, WIDTH, hashes},
};

/// The tree of `size` leaves as far as full tiles do not hold it: at most 255 hashes on each level, of
/// which 3 are in use at 16 million leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    range: CompactRange,
    /// Of each level, the tile that is not full.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    #[must_use]
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        self.range.root()
    }

    /// Adds a leaf. The tiles that it fills, from level 0 up: mostly none.
    pub fn push(&mut self, leaf: Hash) -> Vec<Vec<Hash>> {
        let Self { range, levels } = self;
        let mut full = vec![];
        range.push_seen(leaf, &mut |height, hash| {
            if height % 8 != 0 {
                return;
            }
            let level = usize::from(height / 8);
            if levels.len() <= level {
                levels.resize(level + 1, vec![]);
            }
            levels[level].push(hash);
            if levels[level].len() as u64 == WIDTH {
                full.push(std::mem::take(&mut levels[level]));
            }
        });
        full
    }

    /// The hashes of the tile that is not full on this level; its index is `hashes(level, size) / 256`.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The edge of a tree that is stored: `tile` gives the first hashes of a tile by level, index and
    /// how many. It is asked for leaf hashes on level 0, and on other levels for roots of full tiles, at
    /// most 255 of each.
    ///
    /// # Errors
    /// What `tile` says.
    pub fn load<E>(
        size: u64,
        tile: &mut impl FnMut(u8, u64, usize) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut levels = vec![];
        for level in 0..LEVELS {
            let all = hashes(level, size);
            if all == 0 {
                break;
            }
            // Below 256.
            let count = (all % WIDTH) as usize;
            levels.push(if count == 0 { vec![] } else { tile(level, all / WIDTH, count)? });
        }
        let range = CompactRange::of_edge(size, &levels);
        Ok(Self { range, levels })
    }

    /// As it was written down by whoever follows a log: the hashes of each level.
    #[must_use]
    pub fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ledger::chain::leaf_hash;

    #[test]
    fn it_grows_as_the_tree_does_and_loads_as_it_grew() {
        let (mut edge, mut range) = (Edge::default(), CompactRange::default());
        let mut stored: HashMap<(u8, u64), Vec<Hash>> = HashMap::new();
        for n in 0..70_000_u64 {
            let leaf = leaf_hash(&n.to_le_bytes());
            range.push(leaf);
            for (level, tile) in (0..).zip(edge.push(leaf)) {
                let index = hashes(level, n + 1) / WIDTH - 1;
                assert_eq!(stored.insert((level, index), tile), None);
            }
            if [0, 1, 254, 255, 256, 257, 511, 65_534, 65_535, 65_536, 69_999].contains(&n) {
                assert_eq!((edge.size(), edge.root()), (range.size(), range.root()));
                let grown = edge.clone();
                let loaded = Edge::load(edge.size(), &mut |level, index, count| {
                    let partial = grown.partial(level);
                    assert_eq!((index, partial.len()), (hashes(level, n + 1) / WIDTH, count));
                    Ok::<_, ()>(partial.to_vec())
                })
                .unwrap();
                assert_eq!(loaded, edge, "{n}");
            }
        }
        assert_eq!(stored.len(), 273 + 1);
        assert_eq!(edge.levels().iter().map(Vec::len).collect::<Vec<_>>(), [112, 17, 1]);
    }
}
