//! Reading a store at open: the index, the tree, and whether it is the ledger that it should be.

use super::{
    edge::Edge,
    entry::{Entry, Hash},
    index::Index,
};
use crate::{
    store::{ReadError, Store, embedded::OpenError, journal::mark::Mark},
    time::Time,
};

/// What a store holds, for look-ups.
pub(super) struct Loaded {
    pub index: Index,
    pub tree: Edge,
    /// Of the last entry.
    pub time: Time,
    /// The root where the last signed checkpoint was made.
    root_signed: Option<Hash>,
}

impl Loaded {
    /// A log must never sign what contradicts what it has signed: it would be caught, and rightly.
    pub fn agrees_with(&self, signed: Option<&Mark>) -> Result<(), OpenError> {
        let Some(Mark { size, root: Some(root), .. }) = signed else { return Ok(()) };
        match self.root_signed {
            Some(found) if found == *root => Ok(()),
            found => Err(OpenError::Damaged {
                at: size.saturating_sub(1),
                what: format!(
                    "the last signed checkpoint says that the first {size} entries have the root {root}, but {}",
                    found.map_or("they are not there".into(), |f| format!("theirs is {f}"))
                ),
            }),
        }
    }
}

/// Builds the index and the tree from the store, and finds the time of the last entry.
pub(super) fn load(store: &dyn Store, signed: Option<&Mark>) -> Result<Loaded, ReadError> {
    let mut index = Index::default();
    let mut tree = Edge::default();
    let mut last = Hash::default();
    let mut time = Time::from_unix_micros(0);
    let root_where_signed = |tree: &Edge| signed.filter(|m| m.size == tree.size()).map(|_| tree.root());
    let mut root_signed = root_where_signed(&tree);
    store.scan(&mut |seq, leaf, summary| {
        index.apply(seq, summary);
        tree.push(leaf);
        root_signed = root_signed.or_else(|| root_where_signed(&tree));
        (last, time) = (leaf, Some(summary.time));
    })?;
    if last != store.tip().leaf {
        let what = "its hash is not the one that the journal ends with".into();
        return Err(ReadError::Damaged { seq: tree.size().saturating_sub(1), what });
    }
    let time = time.ok_or_else(|| ReadError::Io("no time".into()))?;
    Ok(Loaded { index, tree, time, root_signed })
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
