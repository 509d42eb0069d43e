//! What a ledger gives out of its tree: tiles, bundles, proofs, each from O(log n) stored tiles.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::Arc,
};

use super::{
    Ledger,
    edge::Edge,
    entry::Hash,
    proof::{self, Node},
    read,
    tile::{self, Kind, Tile, WIDTH},
};
use crate::store::{ReadError, Store};

impl Ledger {
    /// The tree as it is now: its size, its root, and what is not in full tiles.
    #[must_use]
    pub fn tree(&self) -> Arc<Edge> {
        read(&self.0.shared.tree).clone()
    }

    /// The bytes of a file of the log. `None`: the ledger has not that much.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, ReadError> {
        let tree = self.tree();
        if !tile.is_within(tree.size()) {
            return Ok(None);
        }
        match tile.kind {
            Kind::Entries => self.bundle(tile).map(Some),
            Kind::Hashes(level) => {
                let width = usize::from(tile.width);
                let hashes = hashes_of(&*self.0.shared.store, &tree, level, tile.index)?;
                Ok(hashes.get(..width).map(tile::encode_hashes))
            }
        }
    }

    fn bundle(&self, tile: &Tile) -> Result<Vec<u8>, ReadError> {
        let first = tile.index * WIDTH;
        let mut entries = Vec::with_capacity(tile.width.into());
        for seq in first..first + u64::from(tile.width) {
            let kept = self.0.shared.store.entry(seq)?.ok_or_else(|| missing(seq))?;
            entries.push(kept.raw);
        }
        // Entries are at most 16 KiB.
        Ok(tile::encode_entries(&entries).unwrap_or_default())
    }

    /// The audit path of an entry in the tree of the first `size` entries. Empty where it is not in it.
    ///
    /// # Errors
    /// A tile cannot be read, or is not what was written.
    pub fn inclusion(&self, seq: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
        proof::inclusion(seq, size, &mut self.nodes())
    }

    /// That the tree of the first `new` entries goes on from that of the first `old`.
    ///
    /// # Errors
    /// A tile cannot be read, or is not what was written.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ReadError> {
        proof::consistency(old, new, &mut self.nodes())
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// A tile cannot be read, or is not what was written; there are fewer entries.
    pub fn root_of(&self, size: u64) -> Result<Hash, ReadError> {
        proof::root(size, &mut self.nodes())
    }

    /// Roots of perfect subtrees. A tile is read once, however many of its nodes are asked for.
    fn nodes(&self) -> impl FnMut(Node) -> Result<Hash, ReadError> {
        let (tree, shared) = (self.tree(), self.0.shared.clone());
        let mut tiles: HashMap<(u8, u64), Vec<Hash>> = HashMap::new();
        move |node| {
            let (level, index, first, _) = tile::place(node);
            let known = match tiles.entry((level, index)) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(slot) => slot.insert(hashes_of(&*shared.store, &tree, level, index)?),
            };
            tile::node_of(node, known).ok_or_else(|| missing(index * WIDTH + first as u64))
        }
    }
}

/// The hashes of a tile: 256 of a full one, what there is of the one on the edge, else none.
fn hashes_of(store: &dyn Store, tree: &Edge, level: u8, index: u64) -> Result<Vec<Hash>, ReadError> {
    let full = tile::hashes(level, tree.size()) / WIDTH;
    match index.cmp(&full) {
        std::cmp::Ordering::Less => {
            let last = || tile::completed_by(level, index).unwrap_or(u64::MAX);
            store.tile(level, index)?.ok_or_else(|| missing(last()))
        }
        std::cmp::Ordering::Equal => Ok(tree.partial(level).to_vec()),
        std::cmp::Ordering::Greater => Ok(vec![]),
    }
}

fn missing(seq: u64) -> ReadError {
    ReadError::Damaged { seq, what: "the tree does not have it".into() }
}
