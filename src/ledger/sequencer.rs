//! The sequencer: the one thread that appends to a ledger.
//!
//! It takes what is queued, gives each draft its place, time, key and `prev`, hands the whole as one
//! group to the store, and acknowledges all of it when the store returns. It commits at once when
//! idle; while the store syncs, the next group gathers. There is no timer.
//!
//! Being the only writer, it also answers idempotency keys that exist: what it has seen is in the
//! index, what it is about to write in the batch, and nobody else writes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    AppendError, Head, Shared,
    body::{Salt, commitment},
    edge::Edge,
    entry::{BodyRef, Draft, Entry, EntryError, FORMAT, Flag, Hash, Key, Kind, Receipt, Ref},
    read,
    summary::{Secret, Short, Summary},
    write,
};
use crate::{
    event::Subject,
    store::{Record, SaltedBody, StoreError, Tip, generation::Beginning},
    time::Time,
};

/// Gathering stops at this many bytes of bodies, so that the first of a group does not wait for the
/// last of many large ones.
const GROUP_BYTES: usize = 8 << 20;

/// Gathering stops at this many entries.
const GROUP_ENTRIES: usize = 4096;

/// Bytes of bodies that one append may bring: several times the largest delivery.
pub const MAX_GROUP: usize = 128 << 20;

/// More than any kind has; the journal's format could hold 255.
const MAX_BODIES: usize = 16;

pub(crate) type Clock = Box<dyn FnMut() -> Time + Send>;

pub(crate) enum Order {
    Append {
        drafts: Vec<Prepared>,
        size: usize,
        /// Room in the queue, given back when the order is done.
        room: OwnedSemaphorePermit,
        reply: Reply,
    },
    Close {
        reply: oneshot::Sender<Result<(), AppendError>>,
    },
}

type Reply = oneshot::Sender<Result<Vec<Receipt>, AppendError>>;

/// A draft with everything done that needs no order: salts, commitments, the fingerprint.
pub(crate) struct Prepared {
    kind: Kind,
    subject: Subject,
    key: Key,
    refs: Vec<Ref>,
    promised: BTreeMap<String, BodyRef>,
    bodies: Vec<SaltedBody>,
    fingerprint: Option<Short>,
    data: serde_json::Value,
}

impl Prepared {
    /// # Errors
    /// The draft has names or keys that the format cannot hold, or there is no randomness.
    pub fn new(draft: Draft, secret: &Secret) -> Result<Self, AppendError> {
        let Draft { kind, subject, key, refs, bodies, data } = draft;
        if let Key::Plain(key) = &key
            && ["delivery:", "verdict:"].iter().any(|p| key.starts_with(p))
        {
            return Err(AppendError::Invalid(format!("the key {key} is not a plain one")));
        }
        if bodies.len() > MAX_BODIES {
            return Err(AppendError::Invalid(format!("{} bodies of one entry", bodies.len())));
        }
        let fingerprint = match (&key, bodies.iter().find(|(name, _)| name == "payload")) {
            (Key::Delivery { .. }, Some((_, payload))) => Some(secret.fingerprint(&payload.bytes)),
            (Key::Delivery { .. }, None) => {
                return Err(AppendError::Invalid("a delivery without its payload".into()));
            }
            _ => None,
        };
        let mut promised = BTreeMap::new();
        let mut salted = Vec::with_capacity(bodies.len());
        for (name, body) in bodies {
            let salt = Salt::random().map_err(|e| AppendError::Fatal(format!("no randomness: {e}")))?;
            let commit = commitment(&salt, &body.bytes);
            let promise = BodyRef { commit, size: body.bytes.len() as u64, media: body.media.to_owned() };
            if !good_name(&name) || promised.insert(name.clone(), promise).is_some() {
                return Err(AppendError::Invalid(format!("{name:?} cannot be the name of a body here")));
            }
            salted.push(SaltedBody { name, salt, bytes: body.bytes });
        }
        Ok(Self { kind, subject, key, refs, promised, bodies: salted, fingerprint, data })
    }
}

fn good_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    now: Clock,
}

/// A group in the making, on top of what the index knows.
struct Batch {
    /// The ledger before this group.
    base: Tip,
    /// And after what was built so far.
    tip: Tip,
    time: Time,
    records: Vec<Record>,
    keys: HashMap<Short, u64>,
    verdicts: HashMap<u64, u64>,
    fingerprints: HashMap<Short, Vec<u64>>,
}

impl Sequencer {
    pub fn new(shared: Arc<Shared>, now: Clock) -> Self {
        Self { shared, now }
    }

    /// Writes entry 0 of a new ledger.
    ///
    /// # Errors
    /// As for any append.
    pub fn begin(&mut self, secret: &Secret, beginning: &Beginning) -> Result<(), AppendError> {
        let id = read(&self.shared.head).ledger_id;
        if read(&self.shared.head).size > 0 {
            return Ok(());
        }
        let data = serde_json::json!({
            "format": FORMAT, "ledger_id": hex::encode(id), "generation": beginning.generation,
            "predecessor": beginning.predecessor,
        });
        let key = Key::Own("service");
        let draft =
            Draft { kind: Kind::Service, subject: Subject::NONE, key, refs: vec![], bodies: vec![], data };
        let mut batch = self.batch();
        self.build(&mut batch, vec![Prepared::new(draft, secret)?])?;
        self.store(batch)
    }

    /// Serves orders until the ledger is closed, dropped or has failed.
    pub fn run(self, inbox: mpsc::Receiver<Order>) {
        let shared = self.shared.clone();
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run_guarded(inbox)));
        if served.is_err() {
            // A mistake in this program: what it was about to write is not known to be there.
            shared.failed.send_replace(Some("the sequencer panicked".into()));
        }
    }

    fn run_guarded(mut self, mut inbox: mpsc::Receiver<Order>) {
        while let Some(order) = inbox.blocking_recv() {
            let mut orders = vec![order];
            gather(&mut orders, &mut inbox);
            if !self.serve(orders) {
                break;
            }
        }
    }

    /// `false`: no more.
    fn serve(&mut self, orders: Vec<Order>) -> bool {
        let mut batch = self.batch();
        let mut waiting = vec![];
        let mut close = None;
        for order in orders {
            match order {
                Order::Append { drafts, room, reply, .. } => match self.build(&mut batch, drafts) {
                    Ok(receipts) => waiting.push((receipts, room, reply)),
                    Err(e) => drop(reply.send(Err(e))),
                },
                // Gathering stops at a close: what comes later finds the queue gone.
                Order::Close { reply } => close = Some(reply),
            }
        }
        let base = batch.base.size;
        let result = self.store(batch);
        self.count(&result, base, &waiting);
        let fatal = matches!(result, Err(AppendError::Fatal(_)));
        for (receipts, room, reply) in waiting {
            // A duplicate of something older needs no room on the disk.
            let old = receipts.iter().all(|r| r.seq < base);
            let answer = if old { Ok(receipts) } else { result.clone().map(|()| receipts) };
            // Whoever asked may have gone away; the entries stay.
            let _ = reply.send(answer);
            drop(room);
        }
        if let Some(reply) = close {
            let closed = if fatal { result } else { self.shared.store.close().map_err(append_error) };
            let _ = reply.send(closed);
            return false;
        }
        !fatal
    }

    fn count(
        &self,
        result: &Result<(), AppendError>,
        base: u64,
        waiting: &[(Vec<Receipt>, OwnedSemaphorePermit, Reply)],
    ) {
        let mut counts = write(&self.shared.counts);
        let receipts = || waiting.iter().flat_map(|(receipts, ..)| receipts);
        counts.duplicates += receipts().filter(|r| r.duplicate).count() as u64;
        let size = read(&self.shared.head).size;
        if result.is_ok() && size > base {
            counts.groups += 1;
            counts.entries += size - base;
        }
    }

    fn batch(&mut self) -> Batch {
        let Head { size, leaf, time, .. } = *read(&self.shared.head);
        let base = Tip { size, leaf };
        Batch {
            base,
            tip: base,
            // Never before the previous entry's, whatever the clock says.
            time: (self.now)().max(time),
            records: vec![],
            keys: HashMap::new(),
            verdicts: HashMap::new(),
            fingerprints: HashMap::new(),
        }
    }

    /// Adds the entries of one append to the batch: all of them, or on an error none.
    fn build(&self, batch: &mut Batch, drafts: Vec<Prepared>) -> Result<Vec<Receipt>, AppendError> {
        let start = batch.tip;
        let mut receipts: Vec<Receipt> = Vec::with_capacity(drafts.len());
        for draft in drafts {
            match self.add(batch, draft, &receipts) {
                Ok(receipt) => receipts.push(receipt),
                Err(e) => {
                    batch.cut(start);
                    return Err(e);
                }
            }
        }
        Ok(receipts)
    }

    fn add(&self, batch: &mut Batch, draft: Prepared, group: &[Receipt]) -> Result<Receipt, AppendError> {
        let seq = batch.tip.size;
        let (key, flags) = match self.settle_key(batch, &draft, group)? {
            Settled::New { key, flags } => (key, flags),
            Settled::Exists(first) => return self.duplicate(batch, first),
        };
        let refs = draft.refs.iter().map(|r| resolve(*r, group, seq)).collect::<Result<_, _>>()?;
        let entry = Entry {
            v: FORMAT,
            seq,
            time: batch.time,
            kind: draft.kind,
            prev: batch.tip.leaf,
            subject: draft.subject,
            key,
            refs,
            bodies: draft.promised,
            data: with_flags(draft.data, &flags)?,
        };
        let raw = entry.canonical().map_err(|e| refused(&entry, &e))?;
        let leaf = super::chain::leaf_hash(&raw);
        let summary = Summary::of(&entry, draft.fingerprint);
        check_kind(&entry, &summary)?;
        batch.push(raw, leaf, summary, draft.bodies);
        Ok(Receipt { seq, leaf, duplicate: false, flag: flags.last().copied() })
    }

    fn duplicate(&self, batch: &Batch, first: u64) -> Result<Receipt, AppendError> {
        let leaf = match batch.record(first) {
            Some(record) => record.leaf,
            None => match self.shared.store.entry(first) {
                Ok(Some(kept)) => kept.leaf,
                Ok(None) => return Err(AppendError::Fatal(format!("entry {first} is gone"))),
                Err(e) => return Err(AppendError::Fatal(e.to_string())),
            },
        };
        Ok(Receipt { seq: first, leaf, duplicate: true, flag: None })
    }

    fn settle_key(&self, batch: &Batch, draft: &Prepared, group: &[Receipt]) -> Result<Settled, AppendError> {
        let new = |key| Ok(Settled::New { key, flags: vec![] });
        match &draft.key {
            Key::Own(prefix) => new(format!("{prefix}:{}", batch.tip.size)),
            Key::Plain(key) => match self.with_key(batch, key) {
                Some(first) => Ok(Settled::Exists(first)),
                None => new(key.clone()),
            },
            Key::Verdict(event) => {
                let event = resolve(*event, group, batch.tip.size)?;
                let known = read(&self.shared.index).verdict_of(event);
                match known.or_else(|| batch.verdicts.get(&event).copied()) {
                    Some(first) => Ok(Settled::Exists(first)),
                    None => new(format!("verdict:{event}")),
                }
            }
            Key::Delivery { guid } => {
                Ok(self.settle_delivery(batch, guid, draft.fingerprint.unwrap_or_default()))
            }
        }
    }

    /// The same GUID with the same body is a redelivery; so it counts where the first body was erased and
    /// nobody can tell any more: GitHub uses a GUID once, and what was erased must not come back. With
    /// another body it gets a key of its own and a flag. A body that another delivery brought before is flagged as replayed.
    fn settle_delivery(&self, batch: &Batch, guid: &str, fingerprint: Short) -> Settled {
        let mut flags = vec![];
        let mut key = format!("delivery:{guid}");
        for nth in 2_u64.. {
            match self.with_key(batch, &key) {
                None => break,
                Some(first) if self.has_body(batch, fingerprint, first) => return Settled::Exists(first),
                Some(first) if read(&self.shared.index).is_erased(first) => return Settled::Exists(first),
                Some(_) => key = format!("delivery:{guid}#{nth}"),
            }
            flags = vec![Flag::OtherBody];
        }
        let known = read(&self.shared.index).knows_body(fingerprint);
        if known || batch.fingerprints.contains_key(&fingerprint) {
            flags.push(Flag::Replayed);
        }
        Settled::New { key, flags }
    }

    fn with_key(&self, batch: &Batch, key: &str) -> Option<u64> {
        let known = read(&self.shared.index).with_key(key);
        known.or_else(|| batch.keys.get(&super::summary::key_hash(key)).copied())
    }

    fn has_body(&self, batch: &Batch, fingerprint: Short, seq: u64) -> bool {
        let in_batch = batch.fingerprints.get(&fingerprint).is_some_and(|seqs| seqs.contains(&seq));
        in_batch || read(&self.shared.index).has_body(fingerprint, seq)
    }

    /// Makes the batch durable, then visible.
    fn store(&mut self, mut batch: Batch) -> Result<(), AppendError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let mut tree = Edge::clone(&read(&self.shared.tree));
        for record in &mut batch.records {
            record.tiles = tree.push(record.leaf);
        }
        if let Err(e) = self.shared.store.append(batch.base, &batch.records).map_err(append_error) {
            if let AppendError::Fatal(why) = &e {
                self.shared.failed.send_replace(Some(why.clone()));
            }
            return Err(e);
        }
        // Durable, but nobody knows yet: a crash here makes the caller ask again, and the key answers.
        let mut index = write(&self.shared.index);
        for (seq, record) in (batch.base.size..).zip(&batch.records) {
            index.apply(seq, &record.summary);
        }
        drop(index);
        let root = tree.root();
        *write(&self.shared.tree) = Arc::new(tree);
        let mut head = write(&self.shared.head);
        (head.size, head.leaf, head.time) = (batch.tip.size, batch.tip.leaf, batch.time);
        head.root = root;
        Ok(())
    }
}

enum Settled {
    New { key: String, flags: Vec<Flag> },
    Exists(u64),
}

impl Batch {
    fn push(&mut self, raw: Bytes, leaf: Hash, summary: Summary, bodies: Vec<SaltedBody>) {
        let seq = self.tip.size;
        match summary.verdict {
            Some((_, event)) => drop(self.verdicts.insert(event, seq)),
            None => drop(self.keys.insert(summary.key, seq)),
        }
        if let Some(fingerprint) = summary.fingerprint {
            self.fingerprints.entry(fingerprint).or_default().push(seq);
        }
        self.records.push(Record { raw, leaf, summary, bodies, tiles: vec![] });
        self.tip = Tip { size: seq + 1, leaf };
    }

    /// Forgets everything after `tip`.
    fn cut(&mut self, tip: Tip) {
        self.tip = tip;
        self.records.truncate(usize::try_from(tip.size - self.base.size).unwrap_or(0));
        self.keys.retain(|_, seq| *seq < tip.size);
        self.verdicts.retain(|_, seq| *seq < tip.size);
        self.fingerprints.retain(|_, seqs| {
            seqs.retain(|seq| *seq < tip.size);
            !seqs.is_empty()
        });
    }

    fn record(&self, seq: u64) -> Option<&Record> {
        self.records.get(usize::try_from(seq.checked_sub(self.base.size)?).ok()?)
    }
}

/// Takes what is queued, up to the limits of a group and not beyond a close.
fn gather(orders: &mut Vec<Order>, inbox: &mut mpsc::Receiver<Order>) {
    let (mut bytes, mut entries) = (0, 0);
    loop {
        match orders.last() {
            Some(Order::Append { size, drafts, .. }) => {
                bytes += size;
                entries += drafts.len();
            }
            _ => return,
        }
        if bytes >= GROUP_BYTES || entries >= GROUP_ENTRIES {
            return;
        }
        match inbox.try_recv() {
            Ok(order) => orders.push(order),
            Err(_) => return,
        }
    }
}

fn resolve(r: Ref, group: &[Receipt], next: u64) -> Result<u64, AppendError> {
    match r {
        Ref::Seq(seq) if seq < next => Ok(seq),
        Ref::Seq(seq) => Err(AppendError::Invalid(format!("entry {seq} does not exist yet"))),
        Ref::InGroup(i) => group
            .get(i)
            .map(|r| r.seq)
            .ok_or_else(|| AppendError::Invalid(format!("draft {i} of the group does not come before"))),
    }
}

/// Adds flags to `data.flags`.
fn with_flags(mut data: serde_json::Value, flags: &[Flag]) -> Result<serde_json::Value, AppendError> {
    for flag in flags {
        let flag = serde_json::to_value(flag).map_err(|e| AppendError::Invalid(e.to_string()))?;
        match data.as_object_mut().map(|o| o.entry("flags").or_insert_with(|| serde_json::json!([]))) {
            Some(serde_json::Value::Array(list)) => {
                if !list.contains(&flag) {
                    list.push(flag);
                }
            }
            _ => return Err(AppendError::Invalid("`data.flags` of a delivery is not a list".into())),
        }
    }
    Ok(data)
}

/// The index must find what it is asked for: verdicts by their event, reports by their target.
fn check_kind(entry: &Entry, summary: &Summary) -> Result<(), AppendError> {
    let bad = match entry.kind {
        Kind::Verdict => summary.verdict.is_none(),
        Kind::Report => summary.target.is_none(),
        _ => entry.key.starts_with("verdict:"),
    };
    if !bad {
        return Ok(());
    }
    let what = format!("`data` or key {} does not fit a {} entry", entry.key, entry.kind.as_str());
    Err(AppendError::Invalid(what))
}

fn refused(entry: &Entry, e: &EntryError) -> AppendError {
    let what = format!("the {} entry {}: {e}", entry.kind.as_str(), entry.key);
    match e {
        EntryError::TooLarge(_) => AppendError::TooLarge(what),
        EntryError::Number(_) | EntryError::Json(_) => AppendError::Invalid(what),
    }
}

fn append_error(e: StoreError) -> AppendError {
    match e {
        StoreError::Full => AppendError::Full,
        StoreError::Stale { .. } | StoreError::Fatal(_) => AppendError::Fatal(e.to_string()),
    }
}
