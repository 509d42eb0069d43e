//! Reading a store at open: the index, the tree, and whether it is the ledger that it should be.

use super::{
    chain::leaf_hash,
    edge::Edge,
    entry::{Entry, Hash},
    index::Index,
};
use crate::{
    store::{ReadError, Scanned, Store, embedded::OpenError, journal::mark::Mark},
    time::Time,
};

/// What a store holds, for look-ups.
pub(super) struct Loaded {
    pub index: Index,
    pub tree: Edge,
    /// Of the last entry.
    pub time: Time,
    /// The root at the size of each mark. `None`: there are not so many entries.
    roots: Vec<Option<Hash>>,
}

impl Loaded {
    /// A log must never sign what contradicts what others have seen of it: it would be caught, and rightly.
    /// `marks` are those that [`load`] had.
    pub fn agrees_with(&self, marks: &[(&str, Mark)]) -> Result<(), OpenError> {
        for ((who, Mark { size, root, .. }), found) in marks.iter().zip(&self.roots) {
            let Some(root) = root else { continue };
            if *found != Some(*root) {
                let what = format!(
                    "{who} says that the first {size} entries have the root {root}, but {}",
                    found.map_or("they are not there".into(), |f| format!("theirs is {f}"))
                );
                return Err(OpenError::Damaged { at: size.saturating_sub(1), what });
            }
        }
        Ok(())
    }
}

/// Builds the index and the tree from the store, and finds the time of the last entry. Each entry is handed on.
pub(super) fn load(
    store: &dyn Store,
    marks: &[(&str, Mark)],
    tell: &mut dyn FnMut(Scanned<'_>),
) -> Result<Loaded, ReadError> {
    let mut index = Index::default();
    let mut tree = Edge::default();
    let mut last = Hash::default();
    let mut time = Time::from_unix_micros(0);
    let mut roots = vec![None; marks.len()];
    let mut take_roots = |tree: &Edge| {
        for ((_, mark), root) in marks.iter().zip(&mut roots) {
            if mark.size == tree.size() {
                *root = Some(tree.root());
            }
        }
    };
    take_roots(&tree);
    let mut changed = None;
    store.scan(&mut |scanned| {
        let Scanned { seq, raw, leaf, summary } = scanned;
        tell(scanned);
        index.apply(seq, summary);
        // Of the entry as it is, not of a hash that is kept of it.
        let hash = leaf_hash(raw);
        if hash != leaf {
            changed.get_or_insert(seq);
        }
        tree.push(hash);
        take_roots(&tree);
        (last, time) = (hash, Some(summary.time));
    })?;
    if let Some(seq) = changed {
        return Err(ReadError::Damaged { seq, what: "its bytes do not have its hash".into() });
    }
    if last != store.tip().leaf {
        let what = "its hash is not the one that the journal ends with".into();
        return Err(ReadError::Damaged { seq: tree.size().saturating_sub(1), what });
    }
    let time = time.ok_or_else(|| ReadError::Io("no time".into()))?;
    Ok(Loaded { index, tree, time, roots })
}

/// Of entry 0, which must be of this ledger. `None`: there is none yet.
pub(super) fn generation_in(store: &dyn Store) -> Result<Option<u64>, ReadError> {
    let Some(first) = store.entry(0)? else { return Ok(None) };
    let damaged = |what: String| ReadError::Damaged { seq: 0, what };
    let data = Entry::parse(&first.raw).map_err(|e| damaged(format!("it cannot be read: {e}")))?.data;
    if data.get("ledger_id").and_then(|id| id.as_str()) != Some(&hex::encode(store.ledger_id())) {
        return Err(damaged("it is not the first entry of the ledger that the segments belong to".into()));
    }
    data.get("generation")
        .and_then(serde_json::Value::as_u64)
        .map(Some)
        .ok_or_else(|| damaged("it has no generation".into()))
}
