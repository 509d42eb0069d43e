//! A store in memory, for tests: its disk outlives it, and can be told to fail.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{EraseError, Kept, ReadError, Record, SaltedBody, Scanned, Store, StoreError, StoreStats, Tip};
use crate::ledger::{entry::Hash, erasure::Bodies, summary::Short, tile};

/// What an append does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full; nothing is stored and the next append may work.
    Full,
    /// The write failed, and nothing was stored.
    FailedNotStored,
    /// The write failed, but everything was stored.
    FailedButStored,
}

/// What survives when a [`Memory`] is dropped: open another one on it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    records: Vec<Record>,
    faults: VecDeque<Fault>,
    stats: StoreStats,
    erased_through: Option<u64>,
}

impl Disk {
    /// The next append, and one more for each further call, fails like this.
    pub fn fail_next(&self, fault: Fault) {
        self.content().faults.push_back(fault);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store on a [`Disk`].
pub struct Memory {
    disk: Disk,
    /// Set by a failure or a close.
    ended: Mutex<Option<String>>,
}

impl Memory {
    #[must_use]
    pub fn open(disk: &Disk) -> Self {
        Self { disk: disk.clone(), ended: Mutex::default() }
    }

    fn ended(&self) -> MutexGuard<'_, Option<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) -> StoreError {
        let why = "the write failed".to_owned();
        *self.ended() = Some(why.clone());
        StoreError::Fatal(why)
    }
}

impl Store for Memory {
    fn ledger_id(&self) -> [u8; 16] {
        [0x6d; 16]
    }

    fn tip(&self) -> Tip {
        let content = self.disk.content();
        let leaf = content.records.last().map_or(Hash::default(), |r| r.leaf);
        Tip { size: content.records.len() as u64, leaf }
    }

    fn append(&self, expected: Tip, group: &[Record]) -> Result<(), StoreError> {
        if let Some(why) = &*self.ended() {
            return Err(StoreError::Fatal(why.clone()));
        }
        let found = self.tip();
        if found != expected {
            return Err(StoreError::Stale { expected: expected.size, found: found.size });
        }
        let mut content = self.disk.content();
        let fault = content.faults.pop_front();
        match fault {
            Some(Fault::Full) => return Err(StoreError::Full),
            Some(Fault::FailedNotStored) => return Err(self.fail()),
            Some(Fault::FailedButStored) | None => {}
        }
        content.records.extend_from_slice(group);
        content.stats.syncs += 1;
        if fault.is_some() { Err(self.fail()) } else { Ok(()) }
    }

    fn entry(&self, seq: u64) -> Result<Option<Kept>, ReadError> {
        let kept = |r: &Record| Kept { raw: r.raw.clone(), leaf: r.leaf };
        Ok(usize::try_from(seq).ok().and_then(|i| self.disk.content().records.get(i).map(kept)))
    }

    fn body(&self, seq: u64, name: &str) -> Result<Option<SaltedBody>, ReadError> {
        let find = |r: &Record| r.bodies.iter().find(|b| b.name == name).cloned();
        Ok(usize::try_from(seq).ok().and_then(|i| self.disk.content().records.get(i).and_then(find)))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        let of = |r: &Record| r.tiles.get(usize::from(level)).cloned();
        let last = tile::completed_by(level, index).and_then(|seq| usize::try_from(seq).ok());
        Ok(last.and_then(|i| self.disk.content().records.get(i).and_then(of)))
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned<'_>)) -> Result<(), ReadError> {
        for (seq, Record { raw, leaf, summary, .. }) in (0..).zip(&self.disk.content().records) {
            each(Scanned { seq, raw, leaf: *leaf, summary });
        }
        Ok(())
    }

    fn erase(&self, bodies: &Bodies, through: u64) -> Result<Vec<(u64, Short)>, EraseError> {
        let mut content = self.disk.content();
        for (seq, record) in (0..).zip(&mut content.records) {
            record.bodies.retain(|b| !bodies.contains(seq, &b.name));
        }
        content.erased_through = Some(through);
        drop(content);
        let of: Vec<u64> = bodies.entries_with("payload").collect();
        Ok(self.forget_fingerprints(&of)?)
    }

    fn erased_through(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.disk.content().erased_through)
    }

    fn forget_fingerprints(&self, of: &[u64]) -> Result<Vec<(u64, Short)>, ReadError> {
        let mut content = self.disk.content();
        let mut forgotten = vec![];
        for &seq in of {
            let record = usize::try_from(seq).ok().and_then(|i| content.records.get_mut(i));
            let fingerprint = record.and_then(|r| r.summary.fingerprint.take());
            forgotten.extend(fingerprint.map(|f| (seq, f)));
        }
        Ok(forgotten)
    }

    fn compress(&self, _: &mut dyn FnMut() -> bool) -> Result<u64, ReadError> {
        Ok(0)
    }

    fn close(&self) -> Result<(), StoreError> {
        *self.ended() = Some("the store is closed".into());
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.disk.content().stats
    }

    fn applied(&self) -> u64 {
        self.tip().size
    }
}
