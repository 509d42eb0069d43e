//! Where entries and bodies are kept.
//!
//! | module | what it is |
//! |---|---|
//! | [`embedded`] | the store of one machine: [`journal`] is the truth, [`sled`] the applied view |
//! | [`memory`] | for tests: can fail before or after storing |
//! | [`journal`] | append-only segments of group frames; readable while the service runs |
//! | [`sled`] | entries, summaries and places of bodies by sequential keys |
//! | [`backup`] | a copy of a ledger that is written to, and a ledger from it |
//! | [`generation`] | a ledger that cannot go on is set aside, another begins |
//! | [`files`] | making files durable, the lock, the secret |

use bytes::Bytes;

use crate::ledger::{
    body::Salt,
    entry::Hash,
    erasure::Bodies,
    summary::{Short, Summary},
};

pub mod backup;
pub mod embedded;
pub mod files;
pub mod generation;
pub mod journal;
pub mod memory;
pub mod sled;
pub mod wire;

/// The end of a ledger: how many entries, and the leaf hash of the last (zeros: there is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tip {
    pub size: u64,
    pub leaf: Hash,
}

/// One entry on its way to the store, with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Canonical JSON, hashed as it is.
    pub raw: Bytes,
    pub leaf: Hash,
    pub summary: Summary,
    pub bodies: Vec<SaltedBody>,
    /// Tiles of the tree that this entry completes, from level 0 up: see [`Store::tile`].
    pub tiles: Vec<Vec<Hash>>,
}

#[derive(Clone)]
pub struct SaltedBody {
    pub name: String,
    pub salt: Salt,
    pub bytes: Bytes,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub raw: Bytes,
    pub leaf: Hash,
}

/// An entry as a scan hands it out.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    pub seq: u64,
    pub raw: &'a [u8],
    /// As it is kept: whoever relies on it hashes `raw`.
    pub leaf: Hash,
    pub summary: &'a Summary,
}

/// Where the entries and bodies of one ledger are kept, durably and in order.
///
/// One writer: a ledger has one sequencer, which alone calls [`Store::append`]. Reading may happen
/// from many threads at once, during an append too, and sees every entry whose append returned.
///
/// **Append** stores a group whole or not at all, also over a crash, and the group is durable when
/// the call returns `Ok`. It is refused as [`StoreError::Stale`] unless `expected` is the store's
/// tip: nothing was stored, somebody else writes.
/// * [`StoreError::Full`]: nothing was stored; the same call may be made again later.
/// * [`StoreError::Fatal`]: the group may be stored or not (a write or sync failed). The store takes
///   no more appends. The process must end; opening again tells which it was, and a draft that is
///   appended again is then answered by its idempotency key.
///
/// **Duplicate keys** are the sequencer's: it holds the index of all keys under its own
/// single-writer position, so it answers a key that exists with the first entry before anything
/// reaches the store. A stale tip is what keeps this true when two sequencers meet.
pub trait Store: Send + Sync {
    /// 16 random bytes that name this ledger, also in its entry 0.
    fn ledger_id(&self) -> [u8; 16];

    fn tip(&self) -> Tip;

    /// # Errors
    /// See above: nothing stored ([`StoreError::Full`], [`StoreError::Stale`]), or not known.
    fn append(&self, expected: Tip, group: &[Record]) -> Result<(), StoreError>;

    /// # Errors
    /// What is kept cannot be read, or is not what was written.
    fn entry(&self, seq: u64) -> Result<Option<Kept>, ReadError>;

    /// `None`: there is no such body, or it was erased. The caller checks the commitment.
    ///
    /// # Errors
    /// What is kept cannot be read, or is not what was written.
    fn body(&self, seq: u64, name: &str) -> Result<Option<SaltedBody>, ReadError>;

    /// The 256 hashes of a full tile of the tree (`ledger::tile`). `None`: it is not full yet.
    ///
    /// # Errors
    /// What is kept cannot be read, or is not what was written.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, ReadError>;

    /// Every entry in order, read from front to back.
    ///
    /// # Errors
    /// One is missing or damaged. What was handed out before counts for nothing then.
    fn scan(&self, each: &mut dyn FnMut(Scanned<'_>)) -> Result<(), ReadError>;

    /// Removes these bodies, their salts and the fingerprints of those that have one, durably on return.
    /// Nothing else changes; bodies that are gone already stay so, and so the same call may be made again.
    /// `through`: with it, all that the erasures up to this entry name is gone. The fingerprints that were
    /// removed are returned, for the index.
    ///
    /// # Errors
    /// Some of them may be gone: make the same call again. [`StoreError::Fatal`] where appends ended too.
    fn erase(&self, bodies: &Bodies, through: u64) -> Result<Vec<(u64, Short)>, EraseError>;

    /// The `through` of the last [`Store::erase`] that returned; may be older, or `None`, after a restore.
    ///
    /// # Errors
    /// It cannot be read.
    fn erased_through(&self) -> Result<Option<u64>, ReadError>;

    /// Removes fingerprints of bodies that were erased, from the view that [`Store::scan`] reads.
    ///
    /// # Errors
    /// The view cannot be used.
    fn forget_fingerprints(&self, of: &[u64]) -> Result<Vec<(u64, Short)>, ReadError>;

    /// Makes what will not be written to again smaller, and keeps a catalog of it beside it. `pause` is called often; `false`: stop there. How
    /// many segments were made smaller. Appends and reads go on meanwhile.
    ///
    /// # Errors
    /// Something is damaged, or I/O. Nothing is lost by it.
    fn compress(&self, pause: &mut dyn FnMut() -> bool) -> Result<u64, ReadError>;

    /// A clean stop: every byte that was written is covered by a check. Later appends are refused.
    ///
    /// # Errors
    /// As for append; every entry is durable all the same.
    fn close(&self) -> Result<(), StoreError>;

    fn stats(&self) -> StoreStats;

    /// Entries that were applied to what reads are served from; the rest is on its way.
    fn applied(&self) -> u64;
}

/// Since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Times something was synced before it was acknowledged.
    pub syncs: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Time spent writing and syncing.
    pub busy: std::time::Duration,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the disk is full")]
    Full,
    #[error("the store ends at entry {found}, the sequencer expected {expected}: somebody else writes to it")]
    Stale { expected: u64, found: u64 },
    #[error("{0}")]
    Fatal(String),
}

/// Why bodies were not erased, or not all of them.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment is damaged, or cannot be read or replaced.
    #[error(transparent)]
    Rewrite(#[from] ReadError),
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes are not what was written.
    #[error("entry {seq}: {what}")]
    Damaged { seq: u64, what: String },
    #[error("{0}")]
    Io(String),
}

impl std::fmt::Debug for SaltedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither content nor salt belongs in a log.
        write!(f, "SaltedBody({}, {} bytes)", self.name, self.bytes.len())
    }
}
