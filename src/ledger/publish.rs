//! Publishing checkpoints: what the ledger says of itself to the outside, signed.
//!
//! A log that once signed two trees of which neither goes on from the other is caught by anyone who saw
//! both, and rightly not believed any more. So what is signed is durable (`signed`, a file beside the
//! journal) before anybody can see it, and goes on from what was signed before, which is proved from the
//! stored tree each time. A ledger that is shorter than `signed`, or another one, does not open.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    AppendError, Ledger,
    checkpoint::Checkpoint,
    entry::{Draft, Key, Kind},
    key::{KeyFileError, Keys},
    note::{self, Verifier},
    proof::{TlogProof, verify_consistency, verify_inclusion},
};
use crate::{
    event::Subject,
    store::{
        ReadError, files,
        journal::{
            JournalError,
            mark::{self, Signed},
        },
    },
    time::Time,
};

/// How often it is looked whether the ledger grew: a checkpoint is out within a second.
const LOOK: Duration = Duration::from_millis(500);

/// Without growth a checkpoint is signed again after this, which shows that somebody is there.
const AGAIN: Duration = Duration::from_secs(600);

/// The pause after a failure, such as a full disk.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

const RESTORED: &str = "it was restored from a backup, and more may have been signed after that, which whoever \
    follows the log has seen; so it goes on as another log: `gatelog log new-generation`. (Was the service stopped \
    before the backup, and not started since? Then restore with --nothing-signed-since)";

/// A signed checkpoint that everybody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
    pub time: Time,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The ledger contradicts what was signed: it must not go on.
    #[error("the ledger contradicts its last signed checkpoint: {0}")]
    Contradiction(String),
    /// Nothing was published; the same may work later.
    #[error("{0}")]
    Failed(String),
    /// Asked for at the wrong time.
    #[error("{0}")]
    Refused(String),
}

impl From<ReadError> for PublishError {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Damaged { .. } => Self::Contradiction(e.to_string()),
            ReadError::Io(_) => Self::Failed(e.to_string()),
        }
    }
}

impl From<JournalError> for PublishError {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Damaged { what, .. } => Self::Contradiction(what),
            JournalError::Io { .. } => Self::Failed(e.to_string()),
        }
    }
}

impl From<AppendError> for PublishError {
    fn from(e: AppendError) -> Self {
        Self::Failed(e.to_string())
    }
}

/// Where a log publishes, and as which one.
#[derive(Clone, Debug)]
pub struct Place {
    /// The ledger's folder.
    pub dir: PathBuf,
    /// Of the checkpoints; the name of the key.
    pub origin: String,
    pub key_file: PathBuf,
}

/// Signs and hands out checkpoints of one ledger.
pub struct Publisher {
    ledger: Ledger,
    place: Place,
    state: Mutex<State>,
    published: watch::Sender<Option<Arc<Published>>>,
    /// One change of keys at a time.
    changing: tokio::sync::Mutex<()>,
}

struct State {
    keys: Keys,
    last: Option<Signed>,
}

impl Publisher {
    /// Reads the keys and what was signed last.
    ///
    /// # Errors
    /// The key file cannot be used, or what was signed is of another log.
    pub fn open(ledger: Ledger, place: Place) -> Result<Self, PublishError> {
        let keys = Keys::read(&place.key_file, &place.origin)?;
        // Whoever wrote the file may have died before its name was durable. With the name the power would take
        // keys that had signed.
        files::sync_name(&place.key_file).map_err(|e| {
            PublishError::Failed(format!("making the key file {} durable: {e}", place.key_file.display()))
        })?;
        if mark::is_restored(&place.dir) {
            return Err(PublishError::Contradiction(RESTORED.to_owned()));
        }
        let last = mark::last_signed(&place.dir)?;
        if let Some(last) = last.as_ref().filter(|s| s.origin != place.origin) {
            let what = format!("it was signed for {}, and [ledger] origin is {}", last.origin, place.origin);
            return Err(PublishError::Contradiction(what));
        }
        let state = State { keys, last }.into();
        let (published, changing) = (watch::channel(None).0, tokio::sync::Mutex::default());
        Ok(Self { ledger, place, state, published, changing })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that was published by this process.
    #[must_use]
    pub fn published(&self) -> Option<Arc<Published>> {
        self.published.borrow().clone()
    }

    /// Old to new.
    #[must_use]
    pub fn keys(&self) -> Vec<Verifier> {
        self.state().keys.verifiers().cloned().collect()
    }

    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Records the keys that sign, if the ledger does not know them yet; then publishes.
    ///
    /// # Errors
    /// The ledger takes nothing, or see [`Publisher::publish`].
    pub async fn begin(&self) -> Result<(), PublishError> {
        self.announce().await?;
        self.publish().map(drop)
    }

    /// A power cut before: the keys stand in their file, and the next start records them.
    async fn announce(&self) -> Result<(), PublishError> {
        let keys = self.keys();
        let mut before = None;
        let mut drafts = vec![];
        for key in &keys {
            let data = json!({"event": "active", "vkey": key.to_string(), "beside": before});
            drafts.push(draft(format!("key:active:{:08x}", key.id()), data));
            before = Some(key.to_string());
        }
        self.ledger.append(drafts).await?;
        Ok(())
    }

    /// Signs the ledger as it is and publishes that. Blocks for a sync.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing was published then.
    pub fn publish(&self) -> Result<Arc<Published>, PublishError> {
        let mut state = self.state();
        let tree = self.ledger.tree();
        let (size, root) = (tree.size(), tree.root());
        if let Some(last) = &state.last {
            self.goes_on(last, size, root)?;
        }
        let checkpoint = Checkpoint { origin: self.place.origin.clone(), size, root };
        let note = note::sign(&checkpoint.text(), state.keys.signers())
            .map_err(|e| PublishError::Failed(format!("signing: {e}")))?;
        let time = Time::now();
        let signed = Signed { origin: checkpoint.origin.clone(), size, root, time, checkpoint: note.clone() };
        // A power cut before: nobody saw this one. After: it is what the next one must go on from.
        mark::write_signed(&self.place.dir, &signed)
            .map_err(|e| PublishError::Failed(format!("writing what was signed: {e}")))?;
        state.last = Some(signed);
        let published = Arc::new(Published { checkpoint, note, time });
        self.published.send_replace(Some(published.clone()));
        Ok(published)
    }

    fn goes_on(&self, last: &Signed, size: u64, root: super::entry::Hash) -> Result<(), PublishError> {
        if last.size == 0 {
            return Ok(());
        }
        let contradiction = |what: String| PublishError::Contradiction(what);
        if last.size > size {
            return Err(contradiction(format!("it holds {size} entries, {} were signed", last.size)));
        }
        let proof = self.ledger.consistency(last.size, size)?;
        verify_consistency(last.size, last.root, size, root, &proof)
            .map_err(|e| contradiction(format!("from {} to {size} entries: {e}", last.size)))
    }

    /// Publishes when the ledger has grown, and every ten minutes, until `stop` says so.
    ///
    /// # Errors
    /// Only [`PublishError::Contradiction`]: the process must end.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> Result<(), PublishError> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            let size = self.published.borrow().as_ref().map(|p| p.checkpoint.size);
            if size == Some(self.ledger.tree().size()) && last.elapsed() < AGAIN {
                continue;
            }
            let publisher = self.clone();
            match tokio::task::spawn_blocking(move || publisher.publish()).await {
                Ok(Ok(_)) => last = Instant::now(),
                Ok(Err(e @ PublishError::Contradiction(_))) => return Err(e),
                Ok(Err(e)) => late(&e, &mut look),
                Err(e) => late(&e, &mut look),
            }
        }
    }

    /// A new key beside the old one: recorded, and both sign from now on.
    ///
    /// # Errors
    /// A change is under way, or something cannot be written. Where the key is written but not recorded,
    /// the next start records it.
    pub async fn rotate(&self) -> Result<Verifier, PublishError> {
        let _one = self.changing.lock().await;
        let keys = self.state().keys.rotated().map_err(PublishError::Refused)?;
        self.write_keys(&keys)?;
        self.state().keys = keys;
        self.announce().await?;
        self.publish()?;
        self.keys().pop().ok_or_else(|| PublishError::Failed("there is no key".into()))
    }

    /// The end of a change: the old key signs no more. Verifiers that did not look meanwhile must be told
    /// the new one.
    ///
    /// # Errors
    /// No change is under way, or something cannot be written.
    pub async fn finish_rotation(&self) -> Result<Verifier, PublishError> {
        let _one = self.changing.lock().await;
        // Where the beginning of the change could not be recorded, it is now.
        self.announce().await?;
        let keys = self.state().keys.finished().map_err(PublishError::Refused)?;
        let old = self.keys().swap_remove(0);
        let data = json!({"event": "retired", "vkey": old.to_string()});
        // A power cut after: the old key still signs, and asking again ends it.
        self.ledger.append(vec![draft(format!("key:retired:{:08x}", old.id()), data)]).await?;
        // Whoever follows sees it under the old key.
        self.publish()?;
        self.write_keys(&keys)?;
        self.state().keys = keys;
        self.publish()?;
        Ok(old)
    }

    fn write_keys(&self, keys: &Keys) -> Result<(), PublishError> {
        let path = &self.place.key_file;
        keys.write(path).map_err(|e| PublishError::Failed(format!("writing {}: {e}", path.display())))
    }

    /// The proof of an entry in the newest published checkpoint. `None`: it is not in it yet.
    ///
    /// # Errors
    /// The tree cannot be read.
    pub fn prove(&self, seq: u64) -> Result<Option<TlogProof>, PublishError> {
        let Some(published) = self.published() else { return Ok(None) };
        let Checkpoint { size, root, .. } = published.checkpoint;
        let Some(stored) = self.ledger.entry(seq)?.filter(|_| seq < size) else { return Ok(None) };
        let path = self.ledger.inclusion(seq, size)?;
        // What we hand out is right, or we say that we are not.
        verify_inclusion(stored.leaf, seq, size, &path, root)
            .map_err(|e| PublishError::Contradiction(format!("entry {seq}: {e}")))?;
        Ok(Some(TlogProof { extra: None, index: seq, path, checkpoint: published.note.clone() }))
    }
}

/// What failed may work later; a full log is no help meanwhile.
fn late(why: &dyn std::fmt::Display, look: &mut tokio::time::Interval) {
    tracing::error!("no checkpoint was published: {why}");
    look.reset_after(AFTER_FAILURE);
}

fn draft(key: String, data: serde_json::Value) -> Draft {
    Draft {
        kind: Kind::Key,
        subject: Subject::NONE,
        key: Key::Plain(key),
        refs: vec![],
        bodies: vec![],
        data,
    }
}

/// What to do about a ledger that does not hold what was signed. `None`: nothing was signed.
#[must_use]
pub fn advice(dir: &std::path::Path) -> Option<String> {
    let Signed { origin, size, root, time, .. } = mark::last_signed(dir).ok()??;
    Some(format!(
        "The last signed checkpoint of {origin} ({time}) holds {size} entries with the root {root}. Restore a \
         backup of the journal with at least {size} entries, made after that: on it, `gatelog log verify` with this \
         folder's file `signed` beside it succeeds. If there is none, what is left goes on as another log: \
         `gatelog log new-generation`."
    ))
}

/// The generation that an origin names: its last part. `None`: it names none.
#[must_use]
pub fn generation_of(origin: &str) -> Option<(&str, u64)> {
    let (prefix, number) = origin.rsplit_once('/')?;
    let generation = super::checkpoint::decimal(number).filter(|n| *n > 0)?;
    (!prefix.is_empty()).then_some((prefix, generation))
}
