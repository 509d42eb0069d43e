//! The two hashes that everything hangs on: RFC 6962 §2.1.
//!
//! `prev` of an entry is the leaf hash of the entry before, so the linear chain and level 0 of the
//! Merkle tree are the same hashes.

use sha2::{Digest as _, Sha256};

use super::entry::Hash;

/// `SHA-256(0x00 ‖ leaf)`
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

/// `SHA-256(0x01 ‖ left ‖ right)`
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of no entries: `SHA-256("")`
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}
