//! The root after each append: a compact range over the leaves seen so far.

use super::{
    chain::{empty_root, node_hash},
    entry::Hash,
};

/// Roots of the perfect subtrees that cover leaves `0..size`, largest first: as many as `size` has
/// one-bits, so at most 64 hashes however long the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    peaks: Vec<Hash>,
}

impl CompactRange {
    /// Adds a leaf by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_seen(leaf, &mut |_, _| {});
    }

    /// [`CompactRange::push`], and hands out every perfect subtree that is complete now: its height and
    /// root, the leaf first.
    pub fn push_seen(&mut self, leaf: Hash, seen: &mut impl FnMut(u8, Hash)) {
        let mut hash = leaf;
        seen(0, hash);
        // Each trailing one-bit of the old size is a subtree as large as what we carry.
        for height in (1..).take(self.size.trailing_ones() as usize) {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
                seen(height, hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The range over `size` leaves, from the tiles that are not full: `levels[l]` holds
    /// `(size >> 8 l) % 256` hashes of height `8 l`.
    #[must_use]
    pub(super) fn of_edge(size: u64, levels: &[Vec<Hash>]) -> Self {
        let mut peaks = vec![];
        for level in levels.iter().rev() {
            let mut left = level.as_slice();
            while !left.is_empty() {
                let (peak, rest) = left.split_at(1 << left.len().ilog2());
                peaks.extend(super::tile::perfect_root(peak));
                left = rest;
            }
        }
        Self { size, peaks }
    }

    /// The range over `size` leaves, from its perfect subtrees, largest first. `None`: there are as many as
    /// `size` has one-bits, not so many as these.
    #[must_use]
    pub fn of_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// RFC 6962's `MTH` of the leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::chain::leaf_hash;

    /// RFC 6962 §2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let k = many.len().next_power_of_two() / 2;
                node_hash(&mth(&many[..k]), &mth(&many[k..]))
            }
        }
    }

    fn roots(leaves: &[Vec<u8>]) -> Vec<Hash> {
        let mut range = CompactRange::default();
        let mut roots = vec![range.root()];
        for leaf in leaves {
            range.push(leaf_hash(leaf));
            roots.push(range.root());
        }
        roots
    }

    /// The eight leaves and roots that the tests of Certificate Transparency use.
    #[test]
    fn known_answers_of_certificate_transparency() {
        let leaves: Vec<Vec<u8>> = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ]
        .iter()
        .map(|h| hex::decode(h).unwrap())
        .collect();
        let expected = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let got: Vec<String> = roots(&leaves).iter().map(ToString::to_string).collect();
        assert_eq!(got, expected);
    }

    proptest! {
        #[test]
        fn every_size_agrees_with_the_definition(n in 0_u32..300) {
            let leaves: Vec<Vec<u8>> = (0..n).map(|i| i.to_le_bytes().to_vec()).collect();
            let hashes: Vec<Hash> = leaves.iter().map(|l| leaf_hash(l)).collect();
            prop_assert_eq!(*roots(&leaves).last().unwrap(), mth(&hashes));
        }
    }
}
