//! The store of one machine: the journal is the truth, sled is the applied view of it.
//!
//! ```text
//! DIR/journal/   segments, and the mark of the last clean stop
//! DIR/sled/      the view; may be deleted while nothing runs
//! DIR/erased     up to which erasure all that was to go is gone; may be deleted
//! DIR/lock       held by the process that writes; its process id
//! DIR/secret     makes fingerprints of bodies; 0600
//! ```

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    EraseError, ReadError, Record, SaltedBody, Scanned, Store, StoreError, StoreStats, Tip,
    files::{self, Lock, Locked},
    journal::{
        JournalError, Place, Sizes,
        frame::{BodyRecord, FrameEntry},
        mark::{self, Mark},
        reader::{Group, Groups},
        recover::{Recovered, Torn, recover},
        segments,
        shelf::Shelf,
        writer::{self, Writer},
    },
    sled::{Value, View},
};
use crate::ledger::{
    body::Salt,
    edge::Edge,
    entry::{Entry, Hash, Link},
    erasure::Bodies,
    summary::{Secret, Short, Summary},
    tile,
};

mod tidy;

pub struct Embedded {
    dir: PathBuf,
    writer: Mutex<Writer>,
    /// Of the last append that returned. Apart from the writer, which is locked during a sync.
    tip: Mutex<Tip>,
    ledger_id: [u8; 16],
    view: View,
    secret: Secret,
    shelf: Shelf,
    stats: Mutex<StoreStats>,
    _lock: Lock,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// A write cut short by a crash, now removed.
    pub torn: Option<Torn>,
    /// Entries that were applied to sled now.
    pub replayed: u64,
    /// Why sled was made again from the journal.
    pub rebuilt: Option<String>,
    /// The last process that wrote did not stop cleanly.
    pub unclean: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the ledger {} is in use{}", .dir.display(), .pid.map_or(String::new(), |p| format!(" by process {p}")))]
    Locked { dir: PathBuf, pid: Option<u32> },
    /// Entries were lost or changed. Nothing was written.
    #[error("the ledger is damaged at entry {at}: {what}")]
    Damaged { at: u64, what: String },
    #[error("{0}")]
    CannotOpen(String),
}

impl From<JournalError> for OpenError {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Damaged { at, what } => Self::Damaged { at, what },
            JournalError::Io { .. } => Self::CannotOpen(e.to_string()),
        }
    }
}

impl OpenError {
    fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |e| Self::CannotOpen(format!("{doing} {}: {e}", path.display()))
    }
}

impl Embedded {
    /// Opens or creates the store in `dir`: takes the lock, mends a torn tail, brings sled up to the
    /// journal or makes it again.
    ///
    /// # Errors
    /// In use by another process, damaged, or I/O.
    pub fn open(dir: &Path, sizes: Sizes) -> Result<(Self, Opened), OpenError> {
        let journal = dir.join("journal");
        files::create_dir(&journal).map_err(OpenError::io("creating", &journal))?;
        let lock = match files::lock(dir).map_err(OpenError::io("locking", dir))? {
            Locked::Ours(lock) => lock,
            Locked::Theirs(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }),
        };
        // A segment whose name a process that died left unsynced is gone if the power goes. Sled, made
        // from here on, could outlive it, and would then tell of a ledger that is not there.
        files::sync_dir(&journal).map_err(OpenError::io("syncing", &journal))?;
        let (secret, new_secret) = files::secret(dir).map_err(OpenError::io("reading the secret of", dir))?;
        let brand_new = begin(dir, &journal, sizes)?;
        let (view, mut applied, mut rebuilt) = open_view(dir, new_secret)?;
        let recovered = recover(&journal, &witnesses(dir, &journal, applied)?)?;
        if recovered.is_none() && rebuilt.is_some() {
            let what = "there is no journal, but a damaged sled database".into();
            return Err(OpenError::Damaged { at: 0, what });
        }
        let unclean = !brand_new && recovered.as_ref().is_some_and(|r| r.unsealed.is_some());
        let Recovered { ledger_id, tip, unsealed, torn } = match recovered {
            Some(recovered) => recovered,
            None => Recovered { ledger_id: new_id()?, tip: Tip::default(), unsealed: None, torn: None },
        };
        if applied.size == 0 && tip.size > 0 {
            rebuilt.get_or_insert_with(|| "it was missing or empty".into());
        }
        let writer = Writer::open(&journal, ledger_id, tip, unsealed, sizes)
            .map_err(OpenError::io("opening", &journal))?;
        let mut store = Self {
            dir: dir.to_owned(),
            writer: writer.into(),
            tip: tip.into(),
            ledger_id,
            view,
            secret,
            shelf: Shelf::new(journal),
            stats: Mutex::default(),
            _lock: lock,
        };
        let edge = match store.edge(applied.size) {
            Ok(edge) => edge,
            Err(e) => {
                rebuilt.get_or_insert_with(|| e.to_string());
                store.view.finish();
                store.view = fresh_view(dir)?;
                applied = Tip::default();
                Edge::default()
            }
        };
        let replayed = store.replay(applied, edge)?;
        Ok((store, Opened { torn, replayed, rebuilt, unclean }))
    }

    /// Throws sled away and makes it again from the journal.
    ///
    /// # Errors
    /// The journal is damaged, or I/O.
    pub fn rebuild(&mut self) -> Result<(), OpenError> {
        self.view.finish();
        self.view = fresh_view(&self.dir)?;
        self.replay(Tip::default(), Edge::default()).map(drop)
    }

    #[must_use]
    pub fn secret(&self) -> Secret {
        self.secret.clone()
    }

    fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Applies what the journal holds beyond `applied`, where the tree has this edge; how many entries
    /// that were.
    fn replay(&self, applied: Tip, mut edge: Edge) -> Result<u64, OpenError> {
        let tip = self.tip();
        if applied.size == tip.size {
            return Ok(0);
        }
        let Some(mut groups) = Groups::open_at(&self.journal(), applied.size)? else { return Ok(0) };
        let mut progress = Progress::new(applied.size, tip.size);
        while let Some(group) = groups.next_group()? {
            check_applied(&group, applied)?;
            let links = group.links()?;
            let values = (group.first..).zip(group.entries.iter().zip(links)).zip(&group.leaves);
            let todo = values
                .filter(|((seq, _), _)| *seq >= applied.size)
                .map(|((seq, (entry, link)), leaf)| {
                    let tiles = edge.push(*leaf);
                    (seq, Value { tiles, ..self.value(entry, &link, *leaf, &group) }.encode())
                })
                .collect();
            // Groups of the segment before what is missing give nothing to do.
            self.view.take(todo).map_err(OpenError::CannotOpen)?;
            progress.at(groups.tip.size);
        }
        Ok(tip.size - applied.size)
    }

    /// The edge of the tree over what was applied.
    fn edge(&self, applied: u64) -> Result<Edge, ReadError> {
        Edge::load(applied, &mut |level, index, count| {
            let first = index * tile::WIDTH;
            let hash = |at: u64| match level.checked_sub(1) {
                None => self.view.get(at)?.map(|v| v.leaf).ok_or_else(|| missing(at)),
                Some(below) => {
                    let hashes = self.tile(below, at)?.ok_or_else(|| missing(at))?;
                    tile::perfect_root(&hashes).ok_or_else(|| missing(at))
                }
            };
            (first..first + count as u64).map(hash).collect()
        })
    }

    /// What sled keeps of an entry that was read from the journal, but for its tiles.
    fn value(&self, entry: &FrameEntry, link: &Link, leaf: Hash, group: &Group) -> Value {
        let place =
            |b: &BodyRecord| Place { segment: group.segment, offset: group.payload + b.offset as u64 };
        let summary = Entry::parse(&entry.raw)
            .map_or_else(|_| Summary::opaque(link.time), |e| Summary::of(&e, self.fingerprint(&e, entry)));
        Value {
            leaf,
            summary,
            places: entry.bodies.iter().map(|b| (b.name.clone(), place(b))).collect(),
            tiles: vec![],
            raw: entry.raw.clone(),
        }
    }

    fn fingerprint(&self, entry: &Entry, stored: &FrameEntry) -> Option<[u8; 16]> {
        if !entry.key.starts_with("delivery:") {
            return None;
        }
        // Erased: no fingerprint. Damaged: found when it is read or verified.
        let payload = stored.bodies.iter().find(|b| b.name == "payload")?.bytes().ok()??;
        Some(self.secret.fingerprint(&payload))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Embedded {
    fn ledger_id(&self) -> [u8; 16] {
        self.ledger_id
    }

    fn tip(&self) -> Tip {
        *self.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, expected: Tip, group: &[Record]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        if writer.tip() != expected {
            return Err(StoreError::Stale { expected: expected.size, found: writer.tip().size });
        }
        let bytes: usize = group.iter().flat_map(|r| &r.bodies).map(|b| b.bytes.len()).sum();
        if !files::has_room(&self.dir, bytes as u64) {
            return Err(StoreError::Full);
        }
        let places = writer.append(group)?;
        // The group is durable. A crash from here on: the next open applies it to sled.
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = writer.stats;
        let values = group.iter().zip(&places).map(|(r, places)| Value::new(r, places).encode());
        self.view.take((expected.size..).zip(values).collect()).map_err(StoreError::Fatal)?;
        *self.tip.lock().unwrap_or_else(PoisonError::into_inner) = writer.tip();
        Ok(())
    }

    fn entry(&self, seq: u64) -> Result<Option<super::Kept>, ReadError> {
        Ok(self.view.get(seq)?.map(Into::into))
    }

    fn body(&self, seq: u64, name: &str) -> Result<Option<SaltedBody>, ReadError> {
        let Some(value) = self.view.get(seq)? else { return Ok(None) };
        let Some((_, place)) = value.places.iter().find(|(n, _)| n == name) else { return Ok(None) };
        let damaged = |what: String| ReadError::Damaged { seq, what };
        let record = self.shelf.body(seq, name, *place).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => damaged(e.to_string()),
            _ => ReadError::Io(format!("reading the body of entry {seq}: {e}")),
        })?;
        if record.name != name {
            return Err(damaged(format!("another body lies in place of {name}")));
        }
        let bytes = record.bytes().map_err(|why| damaged(format!("body {name}: {why}")))?;
        Ok(bytes.map(|bytes| SaltedBody { name: record.name, salt: record.salt, bytes }))
    }

    fn erase(&self, bodies: &Bodies, through: u64) -> Result<Vec<(u64, Short)>, EraseError> {
        self.erase_bodies(bodies, through)
    }

    fn erased_through(&self) -> Result<Option<u64>, ReadError> {
        mark::erased(&self.dir).map_err(tidy::read_error)
    }

    fn forget_fingerprints(&self, of: &[u64]) -> Result<Vec<(u64, Short)>, ReadError> {
        self.drop_fingerprints(of)
    }

    fn compress(&self, pause: &mut dyn FnMut() -> bool) -> Result<u64, ReadError> {
        self.compress_sealed(pause)
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        let Some(seq) = tile::completed_by(level, index) else { return Ok(None) };
        let Some(mut value) = self.view.get(seq)? else { return Ok(None) };
        if value.tiles.len() <= level.into() {
            let what = format!("sled does not hold tile {index} of level {level}, which it completes");
            return Err(ReadError::Damaged { seq, what });
        }
        Ok(Some(value.tiles.swap_remove(level.into())))
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned<'_>)) -> Result<(), ReadError> {
        self.view.wait();
        let mut next = 0;
        self.view
            .scan(&mut |seq, value| {
                next = seq + 1;
                each(Scanned { seq, raw: &value.raw, leaf: value.leaf, summary: &value.summary });
            })
            .map_err(|what| ReadError::Damaged { seq: next, what: format!("sled: {what}") })?;
        if next == self.tip().size {
            return Ok(());
        }
        Err(ReadError::Damaged { seq: next, what: format!("sled ends before it; {} exist", self.tip().size) })
    }

    fn close(&self) -> Result<(), StoreError> {
        self.view.finish();
        self.writer().stop().map_err(|e| StoreError::Fatal(format!("closing the journal: {e}")))
    }

    fn stats(&self) -> StoreStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn applied(&self) -> u64 {
        self.view.waiting().unwrap_or(self.tip().size)
    }
}

fn missing(at: u64) -> ReadError {
    ReadError::Damaged { seq: at, what: "sled does not hold it".into() }
}

/// Gives a new ledger its first segment, empty, before anything else is made that can be damaged.
///
/// If the power goes before it has its name, the next open begins anew; after, the segment says that a
/// ledger was begun here. So a sled without any segment is never what a power cut left: a journal was lost.
fn begin(dir: &Path, journal: &Path, sizes: Sizes) -> Result<bool, OpenError> {
    let something = !segments(journal).map_err(OpenError::io("listing", journal))?.is_empty()
        || dir.join("sled").exists()
        || mark::stopped(journal)?.is_some()
        || !mark::seen_outside(dir)?.is_empty();
    if !something {
        writer::begin(journal, new_id()?, sizes).map_err(OpenError::io("creating", journal))?;
    }
    Ok(!something)
}

fn new_id() -> Result<[u8; 16], OpenError> {
    let Salt(random) = Salt::random().map_err(|e| OpenError::CannotOpen(format!("no randomness: {e}")))?;
    let mut id = [0; 16];
    id.copy_from_slice(&random[..16]);
    Ok(id)
}

/// Everything that can say how much existed.
fn witnesses(dir: &Path, journal: &Path, applied: Tip) -> Result<Vec<(&'static str, Mark)>, JournalError> {
    let sled = (applied.size > 0).then_some(Mark {
        size: applied.size,
        leaf: Some(applied.leaf),
        root: None,
        sealed: false,
    });
    let known = [("sled", sled), ("the last clean stop", mark::stopped(journal)?)];
    let known = known.into_iter().filter_map(|(who, mark)| Some((who, mark?)));
    Ok(known.chain(mark::seen_outside(dir)?).collect())
}

/// Opens sled; if it cannot be used, an empty one, and says why.
fn open_view(dir: &Path, new_secret: bool) -> Result<(View, Tip, Option<String>), OpenError> {
    let path = dir.join("sled");
    let existed = path.exists();
    let opened = View::open(&path).and_then(|view| {
        let applied = view.applied()?;
        if new_secret && applied.size > 0 {
            return Err("the ledger's secret was missing, so its fingerprints are void".into());
        }
        Ok((view, applied))
    });
    match opened {
        Ok((view, applied)) => Ok((view, applied, None)),
        Err(why) if existed => Ok((fresh_view(dir)?, Tip::default(), Some(why))),
        Err(why) => Err(OpenError::CannotOpen(format!("creating {}: {why}", path.display()))),
    }
}

fn fresh_view(dir: &Path) -> Result<View, OpenError> {
    let path = dir.join("sled");
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(OpenError::io("removing", &path)(e)),
        _ => {}
    }
    View::open(&path).map_err(|why| OpenError::CannotOpen(format!("creating {}: {why}", path.display())))
}

/// The journal and sled must agree on the entry where sled ends.
fn check_applied(group: &Group, applied: Tip) -> Result<(), OpenError> {
    let Some(last) = applied.size.checked_sub(1) else { return Ok(()) };
    let journal = if applied.size == group.first {
        Some(group.before)
    } else {
        last.checked_sub(group.first).and_then(|i| group.leaves.get(usize::try_from(i).ok()?)).copied()
    };
    if journal.is_some_and(|leaf| leaf != applied.leaf) {
        let what = "sled knows another entry in its place: the journal or sled was changed. If you trust \
                    the journal (`gatelog log verify`), delete the folder sled";
        return Err(OpenError::Damaged { at: last, what: what.into() });
    }
    Ok(())
}

/// Says on a terminal's standard error how far a long replay is.
struct Progress {
    from: u64,
    to: u64,
    next: Instant,
}

impl Progress {
    fn new(from: u64, to: u64) -> Self {
        Self { from, to, next: Instant::now() + Duration::from_secs(1) }
    }

    fn at(&mut self, seq: u64) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + Duration::from_secs(1);
        let (done, all) = (seq.saturating_sub(self.from), self.to.saturating_sub(self.from));
        if io::stderr().is_terminal() {
            let filled = usize::try_from(30 * done / all.max(1)).unwrap_or(30).min(30);
            let _ = write!(
                io::stderr(),
                "\rrebuilding sled [{:<30}] {done} of {all} entries",
                "#".repeat(filled)
            );
            if seq >= self.to {
                let _ = writeln!(io::stderr());
            }
        } else {
            tracing::info!(done, all, "applying the journal to sled");
        }
    }
}
