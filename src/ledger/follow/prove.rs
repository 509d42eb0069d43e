//! One entry, proved from what a log publishes.

use bytes::Bytes;

use super::{Fetch, FollowError, get, get_tile, nodes};
use crate::ledger::{
    chain::leaf_hash,
    checkpoint::Checkpoint,
    note::Verifier,
    proof::{self, TlogProof, verify_inclusion},
    tile::{self, Kind, Tile, WIDTH},
};

/// The entry and its proof under the checkpoint that is served: O(log n) files are fetched.
///
/// # Errors
/// See [`FollowError`]: the checkpoint does not cover the entry, a trusted key did not sign it, or what is
/// served is not what it covers.
pub fn prove(
    seq: u64,
    trusted: &[Verifier],
    fetch: &mut Fetch<'_>,
) -> Result<(TlogProof, Bytes), FollowError> {
    let note = get(fetch, "checkpoint")?;
    let checkpoint = Checkpoint::open(&note, trusted)?;
    prove_under(&note, &checkpoint, seq, fetch)
}

/// The same, under a checkpoint that was opened: `note`.
pub(super) fn prove_under(
    note: &[u8],
    &Checkpoint { size, root, .. }: &Checkpoint,
    seq: u64,
    fetch: &mut Fetch<'_>,
) -> Result<(TlogProof, Bytes), FollowError> {
    let tile = Tile::of(Kind::Entries, seq / WIDTH, size).filter(|_| seq < size);
    let tile = tile.ok_or(FollowError::NotCovered { seq, size })?;
    let bundle = tile::decode_entries(&get_tile(fetch, tile)?);
    // Below 256.
    let entry = bundle.and_then(|entries| entries.get((seq % WIDTH) as usize).cloned());
    let entry =
        entry.ok_or_else(|| FollowError::Tile(format!("{} does not have entry {seq}", tile.path())))?;
    let path = proof::inclusion(seq, size, &mut nodes(size, fetch))?;
    verify_inclusion(leaf_hash(&entry), seq, size, &path, root).map_err(|e| {
        let what = format!("it is served, but not under the root that is signed: {e}");
        FollowError::Broken { at: seq, what }
    })?;
    // The note was opened, so it is text.
    let checkpoint = String::from_utf8_lossy(note).into_owned();
    Ok((TlogProof { extra: None, index: seq, path, checkpoint }, entry))
}
