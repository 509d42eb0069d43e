//! The ledger: gatelog's durable memory, a hash chain and a Merkle tree over the same leaf hashes.
//!
//! | module | what it is |
//! |---|---|
//! | [`entry`] | entries (leaves), drafts, receipts |
//! | [`chain`] | leaf and node hashes; [`merkle`]: the root after each append; [`edge`]: what grows |
//! | [`tile`] | the tree and the entries as static files (C2SP tlog-tiles) |
//! | [`proof`] | inclusion and consistency, made and verified; proof files (C2SP tlog-proof) |
//! | [`note`] | signed notes and their keys; [`checkpoint`]: what a log signs |
//! | [`key`] | the file with the log's key; [`publish`]: signing, and what must hold before |
//! | [`cosignature`] | what witnesses sign; [`quorum`]: whose word is enough; [`witness`]: being one |
//! | [`body`] | salted commitments to what people wrote |
//! | [`erasure`] | which bodies go, on whose word, and how the ledger tells of it |
//! | [`summary`] | what look-ups need of an entry; [`index`]: the look-ups; [`postings`]: those of files |
//! | [`sequencer`] | the one thread that appends: order, time, keys, group commit |
//! | [`evidence`] | what an auditor takes away, and checks without the ledger |
//! | [`follow`] | what an auditor keeps of a log, and checks of what is new |
//! | [`verify`] | checks a journal with nothing but its files; [`judged`]: whether entries say what was judged |

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::{
    event::Sha,
    store::{
        ReadError, Store, StoreStats,
        embedded::{Embedded, OpenError, Opened},
        generation::{self, Beginning},
        journal::{Sizes, mark, recover::Torn},
    },
    time::Time,
    verdict::Target,
};

pub mod body;
pub mod chain;
pub mod checkpoint;
pub mod cosignature;
pub mod edge;
pub mod entry;
pub mod erasure;
pub mod evidence;
pub mod follow;
pub mod index;
pub mod judged;
pub mod key;
mod load;
pub mod merkle;
pub mod note;
pub mod postings;
pub mod proof;
pub mod publish;
pub mod quorum;
pub mod sequencer;
pub mod summary;
pub mod tile;
mod tiles;
pub mod verify;
pub mod vkey;
pub mod witness;

pub use crate::store::Scanned;
use edge::Edge;
use entry::{Draft, Entry, Hash, Receipt};
use index::Index;
use load::{Loaded, generation_in, load};
use sequencer::{Order, Prepared, Sequencer};
use summary::Secret;

/// Appends that may wait for the sequencer; the next ones wait before they are handed over.
const QUEUE: usize = 1024;

/// Bytes that may wait for the sequencer. One delivery is at most 25 MB.
const QUEUE_BYTES: usize = 256 << 20;

/// The ledger of a running gatelog. Cloning is cheap; all clones are the same ledger.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    secret: Secret,
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    room: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
    opened: OpenReport,
    /// One erasure at a time.
    erasing: tokio::sync::Mutex<()>,
    known_to_erasures: Mutex<erasure::plan::Known>,
}

/// What readers and the sequencer share.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    index: RwLock<Index>,
    head: RwLock<Head>,
    /// The tree over all of them; a reader keeps the one it took.
    tree: RwLock<Arc<Edge>>,
    counts: RwLock<Counts>,
    /// Why the ledger can take no more, once that is so.
    failed: watch::Sender<Option<String>>,
}

/// The end of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries.
    pub size: u64,
    /// Merkle root over all of them.
    pub root: Hash,
    /// Leaf hash of the last.
    pub leaf: Hash,
    /// Of the last.
    pub time: Time,
    pub generation: u64,
    pub ledger_id: [u8; 16],
}

/// An entry as it is stored, and read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is hashed.
    pub raw: Bytes,
    pub leaf: Hash,
    pub entry: Entry,
}

/// What opening found and did, for the `service` entry and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The ledger did not exist: it now has entry 0.
    pub created: bool,
    /// Entries at open, before anything was appended.
    pub size: u64,
    /// A write cut short by a crash, now removed. Nobody was told that it was stored.
    pub torn: Option<Torn>,
    /// Entries that the applied view did not have yet.
    pub replayed: u64,
    /// Why the applied view was made again from the journal.
    pub rebuilt: Option<String>,
    /// The last process that wrote did not stop cleanly.
    pub unclean: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub groups: u64,
    pub entries: u64,
    pub duplicates: u64,
}

/// Since the ledger was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups committed: each one write and one sync.
    pub groups: u64,
    /// Entries appended.
    pub entries: u64,
    /// Drafts answered with an entry that existed.
    pub duplicates: u64,
    pub store: StoreStats,
    /// Appends waiting for the sequencer.
    pub waiting: usize,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was stored; the same may work later.
    #[error("the disk is full")]
    Full,
    /// The ledger was closed. Nothing was stored.
    #[error("the ledger is closed")]
    Closed,
    /// Nothing was stored.
    #[error("{0}")]
    TooLarge(String),
    /// The drafts contradict the ledger or its format: a mistake of the caller. Nothing was stored.
    #[error("{0}")]
    Invalid(String),
    /// It may be stored or not; the process must end. Opening again tells, and the same draft is
    /// then answered by its key.
    #[error("the ledger failed and takes no more: {0}")]
    Fatal(String),
}

impl Ledger {
    /// Opens or creates the ledger in `dir`: takes the lock, mends a torn write, makes the applied
    /// view whole, builds the index. Blocks; a new ledger gets its entry 0 here.
    ///
    /// `now` is the clock of the entries' times.
    ///
    /// # Errors
    /// In use by another process, damaged, or I/O.
    pub fn open(
        dir: &Path,
        now: impl FnMut() -> Time + Send + 'static,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_telling(dir, now, &mut |_| {})
    }

    /// [`Ledger::open`], which reads and hashes every entry: each is handed to `tell` with it, in order, so that who
    /// must know them all need not read them again. Where the applied view proves wrong they come once more, from
    /// entry 0. What was told counts if the ledger opens.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_telling(
        dir: &Path,
        now: impl FnMut() -> Time + Send + 'static,
        tell: &mut dyn FnMut(Scanned<'_>),
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_so(dir, Sizes::default(), Box::new(now), tell)
    }

    /// [`Ledger::open`] with other sizes of segments, for tests.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_sized(
        dir: &Path,
        sizes: Sizes,
        now: impl FnMut() -> Time + Send + 'static,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::open_so(dir, sizes, Box::new(now), &mut |_| {})
    }

    fn open_so(
        dir: &Path,
        sizes: Sizes,
        now: sequencer::Clock,
        tell: &mut dyn FnMut(Scanned<'_>),
    ) -> Result<(Self, OpenReport), OpenError> {
        let (mut store, mut opened) = Embedded::open(dir, sizes)?;
        let secret = store.secret();
        let marks = mark::seen_outside(dir)?;
        let loaded = match load(&store, &marks, tell) {
            Ok(loaded) => loaded,
            Err(damaged) => {
                opened.rebuilt = Some(damaged.to_string());
                store.rebuild()?;
                load(&store, &marks, tell).map_err(read_failed)?
            }
        };
        loaded.agrees_with(&marks)?;
        let beginning = generation::beginning(dir)?;
        Self::start(Arc::new(store), opened, loaded, secret, &beginning, now)
    }

    /// A ledger on a store of the caller's, for tests. Fingerprints use a fixed secret.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn on_store(
        store: Arc<dyn Store>,
        now: impl FnMut() -> Time + Send + 'static,
    ) -> Result<(Self, OpenReport), OpenError> {
        let loaded = load(&*store, &[], &mut |_| {}).map_err(read_failed)?;
        let secret = Secret(zeroize::Zeroizing::new([0x73; 32]));
        Self::start(store, Opened::default(), loaded, secret, &Beginning::default(), Box::new(now))
    }

    fn start(
        store: Arc<dyn Store>,
        opened: Opened,
        loaded: Loaded,
        secret: Secret,
        beginning: &Beginning,
        now: sequencer::Clock,
    ) -> Result<(Self, OpenReport), OpenError> {
        let Opened { torn, replayed, rebuilt, unclean } = opened;
        let Loaded { index, tree, time, .. } = loaded;
        let tip = store.tip();
        let created = tip.size == 0;
        let report = OpenReport { created, size: tip.size, torn, replayed, rebuilt, unclean };
        let ledger_id = store.ledger_id();
        let generation = generation_in(&*store).map_err(read_failed)?.unwrap_or(beginning.generation);
        let head = Head { size: tip.size, root: tree.root(), leaf: tip.leaf, time, generation, ledger_id };
        let shared = Arc::new(Shared {
            store,
            index: index.into(),
            head: head.into(),
            tree: RwLock::new(Arc::new(tree)),
            counts: RwLock::default(),
            failed: watch::Sender::new(None),
        });
        shared.drop_erased_fingerprints().map_err(read_failed)?;
        if let Err(e) = shared.complete_erasures() {
            // What is to be erased is still there, and said so by `log verify`. The gate works on.
            tracing::error!("an erasure is not complete: {e}");
        }
        let mut sequencer = Sequencer::new(shared.clone(), now);
        sequencer
            .begin(&secret, beginning)
            .map_err(|e| OpenError::CannotOpen(format!("writing entry 0: {e}")))?;
        let (queue, inbox) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || sequencer.run(inbox))
            .map_err(|e| OpenError::CannotOpen(format!("starting the sequencer: {e}")))?;
        let ledger = Self(Arc::new(Inner {
            shared,
            secret,
            queue: Mutex::new(Some(queue)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            thread: Mutex::new(Some(thread)),
            opened: report.clone(),
            erasing: tokio::sync::Mutex::default(),
            known_to_erasures: Mutex::default(),
        }));
        Ok((ledger, report))
    }

    /// Appends the drafts as one group: all of them or none, durable on return. Each draft has its
    /// receipt, in order; one whose key existed is answered with the first entry and not written.
    ///
    /// # Errors
    /// See [`AppendError`]: only after `Fatal` may something be stored.
    pub async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, AppendError> {
        let size: usize = drafts.iter().flat_map(|d| &d.bodies).map(|(_, b)| b.bytes.len()).sum();
        let room = self.take_room(size).await?;
        let secret = self.0.secret.clone();
        let prepare = move || drafts.into_iter().map(|d| Prepared::new(d, &secret)).collect();
        // Hashing a megabyte takes a millisecond: more than a shared thread should be held for.
        let prepared: Result<Vec<_>, AppendError> = if size > 1 << 20 {
            tokio::task::spawn_blocking(prepare)
                .await
                .map_err(|e| AppendError::Fatal(format!("hashing: {e}")))?
        } else {
            prepare()
        };
        let (reply, answer) = oneshot::channel();
        self.send(Order::Append { drafts: prepared?, size, room, reply }).await?;
        answer.await.map_err(|_| self.gone())?
    }

    async fn take_room(&self, size: usize) -> Result<OwnedSemaphorePermit, AppendError> {
        if size > sequencer::MAX_GROUP {
            let what = format!("a group of {size} bytes is over the limit of {}", sequencer::MAX_GROUP);
            return Err(AppendError::TooLarge(what));
        }
        // Below QUEUE_BYTES, so it fits in 32 bits and is always granted in the end.
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        self.0.room.clone().acquire_many_owned(permits).await.map_err(|_| AppendError::Closed)
    }

    async fn send(&self, order: Order) -> Result<(), AppendError> {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or(AppendError::Closed)?.send(order).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> AppendError {
        self.failure().map_or(AppendError::Closed, AppendError::Fatal)
    }

    #[must_use]
    pub fn head(&self) -> Head {
        *read(&self.0.shared.head)
    }

    /// What opening found and did.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.0.opened
    }

    /// The entry `seq`; `None`: it does not exist yet.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn entry(&self, seq: u64) -> Result<Option<Stored>, ReadError> {
        self.0.shared.entry(seq)
    }

    /// A body of an entry, checked against its commitment. `None`: it was erased, or the entry has
    /// no body of that name.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn body(&self, seq: u64, name: &str) -> Result<Option<Bytes>, ReadError> {
        self.0.shared.body(seq, name)
    }

    /// Events and verdicts whose subject has this head, oldest first.
    #[must_use]
    pub fn with_head(&self, sha: &Sha) -> Vec<u64> {
        self.index(|i| i.with_head(sha))
    }

    /// All entries about a pull request, oldest first.
    #[must_use]
    pub fn of_pull(&self, repository: u64, number: u64) -> Vec<u64> {
        self.index(|i| i.of_pull(repository, number))
    }

    /// The verdict that answers an event.
    #[must_use]
    pub fn verdict_of(&self, event: u64) -> Option<u64> {
        self.index(|i| i.verdict_of(event))
    }

    /// Events without a verdict, oldest first: the work to do.
    #[must_use]
    pub fn unjudged(&self) -> Vec<u64> {
        self.index(Index::unjudged)
    }

    /// The newest report of what a target shows.
    #[must_use]
    pub fn report_of(&self, target: &Target) -> Option<u64> {
        self.index(|i| i.report_of(target))
    }

    /// Verdicts with a target that no report covers, oldest first. Of one pull request only the
    /// newest: it replaces the others.
    #[must_use]
    pub fn unreported(&self) -> Vec<u64> {
        self.index(Index::unreported)
    }

    /// The verdict of a pull request, by ids of GitHub, that waits to be shown.
    #[must_use]
    pub fn unreported_of(&self, repository: u64, number: u64) -> Option<u64> {
        self.index(|i| i.unreported_of(repository, number))
    }

    /// Numbers of the pull requests of a repository of which a verdict waits to be shown.
    #[must_use]
    pub fn pulls_unreported(&self, repository: u64) -> Vec<u64> {
        self.index(|i| i.pulls_unreported(repository))
    }

    /// The first entry with an idempotency key such as `delivery:<GUID>`; not for verdicts, which
    /// [`Ledger::verdict_of`] finds.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Option<u64> {
        self.index(|i| i.with_key(key))
    }

    /// A name that stands for `text` in keys: made with the ledger's secret, so that what people named
    /// cannot be guessed from it. 32 hex digits.
    #[must_use]
    pub fn pseudonym(&self, text: &str) -> String {
        hex::encode(self.0.secret.fingerprint(text.as_bytes()))
    }

    /// A copy of all look-ups, to compare.
    #[must_use]
    pub fn index_snapshot(&self) -> Index {
        self.index(Clone::clone)
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let Counts { groups, entries, duplicates } = *read(&self.0.shared.counts);
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queue.as_ref().map_or(0, |q| q.max_capacity() - q.capacity());
        Stats { groups, entries, duplicates, store: self.0.shared.store.stats(), waiting }
    }

    /// Why the ledger can take no more: the process must end.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.shared.failed.borrow().clone()
    }

    /// Returns once the ledger has failed, with the reason; never otherwise.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            _ => std::future::pending().await,
        }
    }

    /// A clean stop: what was handed over is committed, then the journal is trimmed and sealed.
    /// Later appends are [`AppendError::Closed`]; reading goes on.
    ///
    /// # Errors
    /// Sealing failed. Every acknowledged entry is durable all the same.
    pub async fn close(&self) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Close { reply }).await?;
        *self.0.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        answer.await.map_err(|_| self.gone())?
    }

    fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        ask(&read(&self.0.shared.index))
    }
}

impl Shared {
    fn entry(&self, seq: u64) -> Result<Option<Stored>, ReadError> {
        let damaged = |what: String| ReadError::Damaged { seq, what };
        let Some(kept) = self.store.entry(seq)? else { return Ok(None) };
        if chain::leaf_hash(&kept.raw) != kept.leaf {
            return Err(damaged("its bytes do not have its hash".into()));
        }
        let entry = Entry::parse(&kept.raw).map_err(|e| damaged(format!("it cannot be read: {e}")))?;
        Ok(Some(Stored { raw: kept.raw, leaf: kept.leaf, entry }))
    }

    fn body(&self, seq: u64, name: &str) -> Result<Option<Bytes>, ReadError> {
        let damaged = |what: &str| Err(ReadError::Damaged { seq, what: format!("body {name}: {what}") });
        let Some(stored) = self.entry(seq)? else { return Ok(None) };
        let Some(promised) = stored.entry.bodies.get(name) else { return Ok(None) };
        let Some(body) = self.store.body(seq, name)? else { return Ok(None) };
        if body::commitment(&body.salt, &body.bytes) != promised.commit {
            return damaged("it is not what the entry commits to");
        }
        Ok(Some(body.bytes))
    }
}

impl Drop for Inner {
    /// Ends the sequencer without sealing, as far as files go like a crash: whoever wants a clean
    /// stop calls [`Ledger::close`] first.
    fn drop(&mut self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn read_failed(e: ReadError) -> OpenError {
    match e {
        ReadError::Damaged { seq, what } => OpenError::Damaged { at: seq, what },
        ReadError::Io(what) => OpenError::CannotOpen(what),
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
