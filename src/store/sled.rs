//! The applied view: entries, summaries, places of bodies and tiles of the tree in one sled tree, by
//! sequential keys. A full tile lies with the entry that completed it, so it costs no key of its own.
//!
//! sled 0.34 does not sync on `flush`, can open a damaged database silently empty, and can panic. So
//! it is never the truth: each value carries its own CRC, keys must count from 0 without a gap, and
//! whatever is wrong, the view is made again from the journal. A group is applied here after it is
//! durable in the journal, off the commit path, so the view never knows more than the journal did.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;

use super::{Kept, ReadError, Record, Tip, files, journal::Place, wire::Take};
use crate::ledger::{entry::Hash, summary::Summary, tile};

/// Of the values' format. Another one is rebuilt.
const VERSION: u8 = 2;

/// Pages that sled keeps in memory. The index answers look-ups; this serves reads of entries.
const CACHE: u64 = 64 << 20;

/// Groups that may wait to be applied before a commit waits.
const WAITING: usize = 256;

/// Bytes of a full tile.
const TILE: usize = 256 * 32;

/// What is kept of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub leaf: Hash,
    pub summary: Summary,
    /// Name of each body and where its record lies in the journal.
    pub places: Vec<(String, Place)>,
    /// Of 256 hashes each: the tiles that this entry completes, from level 0 up.
    pub tiles: Vec<Vec<Hash>>,
    pub raw: Bytes,
}

impl Value {
    #[must_use]
    pub fn new(record: &Record, places: &[Place]) -> Self {
        let names = record.bodies.iter().map(|b| b.name.clone());
        Self {
            leaf: record.leaf,
            summary: record.summary.clone(),
            places: names.zip(places.iter().copied()).collect(),
            tiles: record.tiles.clone(),
            raw: record.raw.clone(),
        }
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![0; 4];
        out.push(VERSION);
        out.extend_from_slice(&self.leaf.0);
        self.summary.encode(&mut out);
        out.push(u8::try_from(self.places.len()).unwrap_or(u8::MAX));
        for (name, place) in self.places.iter().take(u8::MAX.into()) {
            // Names are shorter than 256 bytes: the journal's own record could not hold them else.
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&place.segment.to_le_bytes());
            out.extend_from_slice(&place.offset.to_le_bytes());
        }
        // A tree has 8 levels at most.
        out.push(u8::try_from(self.tiles.len()).unwrap_or(u8::MAX));
        for tile in &self.tiles {
            out.extend_from_slice(&tile::encode_hashes(tile));
        }
        out.extend_from_slice(&self.raw);
        let crc = crc32c::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out.into()
    }

    /// `None`: damaged, or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.u32()? != crc32c::crc32c(take.0) || take.u8()? != VERSION {
            return None;
        }
        let leaf = Hash(take.array()?);
        let summary = Summary::decode(&mut take)?;
        let mut places = vec![];
        for _ in 0..take.u8()? {
            let name = std::str::from_utf8(take.short()?).ok()?.to_owned();
            places.push((name, Place { segment: take.u64()?, offset: take.u64()? }));
        }
        let mut tiles = vec![];
        for _ in 0..take.u8()? {
            tiles.push(tile::decode_hashes(take.bytes(TILE)?)?);
        }
        Some(Self { leaf, summary, places, tiles, raw: Bytes::copy_from_slice(take.0) })
    }
}

type Group = Vec<(u64, Bytes)>;
/// Entries that are durable but not applied yet.
type Recent = Arc<RwLock<BTreeMap<u64, Bytes>>>;

/// The view, and the thread that applies to it.
pub struct View {
    db: sled::Db,
    recent: Recent,
    orders: Mutex<Option<SyncSender<Group>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failed: Arc<OnceLock<String>>,
}

impl View {
    /// Opens or creates the database and starts the thread.
    ///
    /// # Errors
    /// Why it cannot be used: to be removed and made again.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let db = guarded(|| open_patiently(dir))??;
        let recent = Recent::default();
        let failed = Arc::new(OnceLock::new());
        let (orders, inbox) = mpsc::sync_channel(WAITING);
        let applier = Applier { db: db.clone(), recent: recent.clone(), failed: failed.clone() };
        let thread = std::thread::Builder::new()
            .name("sled-apply".into())
            .spawn(move || applier.run(&inbox))
            .map_err(|e| e.to_string())?;
        Ok(Self { db, recent, orders: Some(orders).into(), thread: Some(thread).into(), failed })
    }

    /// How much was applied, by the last entry.
    ///
    /// # Errors
    /// Why the view cannot be used.
    pub fn applied(&self) -> Result<Tip, String> {
        guarded(|| {
            let Some((key, value)) = self.db.last().map_err(|e| e.to_string())? else {
                return Ok(Tip::default());
            };
            let seq = key_seq(&key).ok_or("a key is damaged")?;
            let value = Value::decode(&value).ok_or_else(|| format!("entry {seq} is damaged"))?;
            Ok(Tip { size: seq + 1, leaf: value.leaf })
        })?
    }

    /// Takes a durable group: it can be read at once, and is applied soon.
    ///
    /// # Errors
    /// Applying failed, now or before.
    pub fn take(&self, group: Group) -> Result<(), String> {
        if group.is_empty() {
            return Ok(());
        }
        self.recent.write().unwrap_or_else(PoisonError::into_inner).extend(group.iter().cloned());
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = orders.as_ref().is_some_and(|o| o.send(group).is_ok());
        match self.failed.get() {
            Some(why) => Err(why.clone()),
            None if !sent => Err("the view is closed".into()),
            None => Ok(()),
        }
    }

    /// Replaces the value of an entry that was taken before, in the order of what is taken.
    ///
    /// # Errors
    /// Applying failed, now or before.
    pub fn amend(&self, seq: u64, value: &Value) -> Result<(), String> {
        self.take(vec![(seq, value.encode())])
    }

    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn get(&self, seq: u64) -> Result<Option<Value>, ReadError> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).get(&seq).cloned();
        let bytes = match recent {
            Some(bytes) => Some(bytes),
            None => guarded(|| self.db.get(seq.to_be_bytes()).map_err(|e| e.to_string()))
                .and_then(|r| r)
                .map_err(ReadError::Io)?
                .map(|v| Bytes::copy_from_slice(&v)),
        };
        let damaged = || ReadError::Damaged { seq, what: "sled does not hold what was written".into() };
        bytes.map(|b| Value::decode(&b).ok_or_else(damaged)).transpose()
    }

    /// Every applied entry in order, each checked.
    ///
    /// # Errors
    /// Why the view cannot be used.
    pub fn scan(&self, each: &mut dyn FnMut(u64, Value)) -> Result<(), String> {
        guarded(|| {
            for (expected, item) in (0..).zip(self.db.iter()) {
                let (key, value) = item.map_err(|e| e.to_string())?;
                if key_seq(&key) != Some(expected) {
                    return Err(format!("entry {expected} is missing"));
                }
                let value = Value::decode(&value).ok_or_else(|| format!("entry {expected} is damaged"))?;
                each(expected, value);
            }
            Ok(())
        })?
    }

    /// The first entry that was taken and is not applied yet.
    #[must_use]
    pub fn waiting(&self) -> Option<u64> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner).keys().next().copied()
    }

    /// Waits until everything taken is applied, or applying has failed.
    pub fn wait(&self) {
        let waiting = || !self.recent.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        while waiting() && self.failed.get().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until everything taken is applied, and ends the thread.
    pub fn finish(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let _ = guarded(|| self.db.flush());
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The lock of a database that was just closed in this process is freed a little later.
fn open_patiently(dir: &Path) -> Result<sled::Db, String> {
    let mut tries = 0;
    loop {
        match sled::Config::new().path(dir).cache_capacity(CACHE).open() {
            Ok(db) => return Ok(db),
            Err(e) if tries < 20 && e.to_string().contains("lock") => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(e.to_string()),
        }
    }
}

struct Applier {
    db: sled::Db,
    recent: Recent,
    failed: Arc<OnceLock<String>>,
}

impl Applier {
    fn run(self, inbox: &Receiver<Group>) {
        while let Ok(mut group) = inbox.recv() {
            // What has gathered meanwhile goes in one batch: sled's cost is per batch and key.
            while let Some(more) = (group.len() < 256).then(|| inbox.try_recv().ok()).flatten() {
                group.extend(more);
            }
            if let Err(why) = self.apply(&group) {
                tracing::error!(%why, "the applied view failed; it is made again at the next start");
                let _ = self.failed.set(format!("applying to sled: {why}"));
                return;
            }
        }
    }

    /// A crash before, during or after: the view holds all of the batch or nothing, and the journal's
    /// tail is applied at the next open.
    fn apply(&self, group: &Group) -> Result<(), String> {
        files::fail_at("sled.apply.before").map_err(|e| e.to_string())?;
        let mut batch = sled::Batch::default();
        for (seq, value) in group {
            batch.insert(&seq.to_be_bytes(), &value[..]);
        }
        guarded(|| self.db.apply_batch(batch).map_err(|e| e.to_string()))??;
        files::fail_at("sled.apply.after").map_err(|e| e.to_string())?;
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        for (seq, value) in group {
            // Unless it was amended since: that is applied with a later group.
            if recent.get(seq) == Some(value) {
                recent.remove(seq);
            }
        }
        Ok(())
    }
}

/// sled panics on some damage; that is one more way for it to be unusable.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("it panicked: {}", text.unwrap_or("no message"))
    })
}

fn key_seq(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

impl From<Value> for Kept {
    fn from(value: Value) -> Self {
        Self { raw: value.raw, leaf: value.leaf }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_completes_tiles_keeps_them() {
        let value = Value {
            leaf: Hash([7; 32]),
            summary: Summary::opaque("2026-11-24T15:04:05Z".parse().unwrap()),
            places: vec![],
            tiles: vec![vec![Hash([1; 32]); 256], vec![Hash([2; 32]); 256]],
            raw: Bytes::from_static(b"{}"),
        };
        let bytes = value.encode();
        assert_eq!(Value::decode(&bytes), Some(value));
        assert_eq!(Value::decode(&bytes[..bytes.len() - 9000]), None);
    }

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let value = Value {
            leaf: Hash([7; 32]),
            summary: Summary::opaque("2026-11-24T15:04:05Z".parse().unwrap()),
            places: vec![("payload".into(), Place { segment: 1, offset: 2 })],
            tiles: vec![],
            raw: Bytes::from_static(b"{}"),
        };
        let bytes = value.encode();
        assert_eq!(Value::decode(&bytes), Some(value));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Value::decode(&bad), None, "bit {bit}");
        }
    }
}
