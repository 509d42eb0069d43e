//! Publishing checkpoints: what the ledger says of itself to the outside, signed.
//!
//! A log that once signed two trees of which neither goes on from the other is caught by anyone who saw
//! both, and rightly not believed any more. So what is signed is durable (`signed`, a file beside the
//! journal) before anybody can see it, and goes on from what was signed before, which is proved from the
//! stored tree each time. A ledger that is shorter than `signed`, or another one, does not open.
//!
//! ```text
//! sign ─▶ `signed`, durable ─▶ witnesses (1 s) ─▶ `witnessed`, durable ─▶ everybody
//! ```

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    AppendError, Ledger,
    checkpoint::Checkpoint,
    cosignature::{Cosigned, cosigned},
    key::{KeyFileError, Keys},
    note::{self, Verifier},
    proof::{TlogProof, verify_consistency, verify_inclusion},
    witness::Witnesses,
};
use crate::{
    store::{
        ReadError, files,
        journal::{
            JournalError,
            mark::{self, Signed},
        },
    },
    time::Time,
};

mod change;
mod witnessed;

use witnessed::Round;
pub use witnessed::WitnessState;

/// How often it is looked whether the ledger grew: a checkpoint is out within a second.
const LOOK: Duration = Duration::from_millis(500);

/// Without growth a checkpoint is signed again after this, which shows that somebody is there.
const AGAIN: Duration = Duration::from_secs(600);

/// The pause after a failure, such as a full disk or a quorum of witnesses that was missed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

const RESTORED: &str = "it was restored from a backup, and more may have been signed after that, which whoever \
    follows the log has seen; so it goes on as another log: `gatelog log new-generation`. (Was the service stopped \
    before the backup, and not started since? Then restore with --nothing-signed-since)";

/// A signed checkpoint that everybody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub checkpoint: Checkpoint,
    /// The signed note, with its cosignatures.
    pub note: String,
    pub cosigned: Vec<Cosigned>,
    /// When it was signed.
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
    /// Nothing is published without the quorum of witnesses, which was missed. What there is, is signed.
    #[error("{0}")]
    Withheld(String),
    /// Asked for at the wrong time, or with a witness that is the log itself.
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
    /// One publication at a time: what is published only grows.
    publishing: tokio::sync::Mutex<()>,
    /// One change of keys at a time.
    changing: tokio::sync::Mutex<()>,
    /// `None`: none are asked.
    witnesses: Option<Arc<Witnesses>>,
    /// What came of asking them.
    round: Mutex<Round>,
}

struct State {
    keys: Keys,
    last: Option<Signed>,
}

impl Publisher {
    /// Reads the keys, and what was signed and witnessed last.
    ///
    /// # Errors
    /// The key file cannot be used, what was signed is of another log, or a witness is this log.
    pub fn open(
        ledger: Ledger,
        place: Place,
        witnesses: Option<Witnesses>,
    ) -> Result<Arc<Self>, PublishError> {
        let keys = Keys::read(&place.key_file, &place.origin)?;
        if let Some(witnesses) = &witnesses {
            let keys: Vec<Verifier> = keys.verifiers().cloned().collect();
            witnesses.policy().witnesses_others(&keys).map_err(PublishError::Refused)?;
        }
        // Whoever wrote the file may have died before its name was durable. With the name the power would take
        // keys that had signed.
        files::sync_name(&place.key_file).map_err(|e| {
            PublishError::Failed(format!("making the key file {} durable: {e}", place.key_file.display()))
        })?;
        if mark::is_restored(&place.dir) {
            return Err(PublishError::Contradiction(RESTORED.to_owned()));
        }
        let keys = bound(keys, &place, ledger.head().ledger_id)?;
        let last = mark::last_signed(&place.dir)?;
        if let Some(last) = last.as_ref().filter(|s| s.origin != place.origin) {
            let what = format!("it was signed for {}, and [ledger] origin is {}", last.origin, place.origin);
            return Err(PublishError::Contradiction(what));
        }
        let round = Round::open(&place, witnesses.as_ref(), last.as_ref())?;
        let witnesses = witnesses.map(Arc::new);
        let (round, state) = (round.into(), State { keys, last }.into());
        let (published, publishing, changing) = (watch::channel(None).0, <_>::default(), <_>::default());
        Ok(Arc::new(Self { ledger, place, state, published, publishing, changing, witnesses, round }))
    }

    /// What an earlier process published, where this one has nothing newer to show. A file says what it was: only
    /// what our keys have signed, of the ledger as it is, is shown.
    fn show_again(&self, before: Signed) -> Result<(), PublishError> {
        let is_ours = Checkpoint::open(before.checkpoint.as_bytes(), &self.keys())
            .is_ok_and(|c| (&c.origin, c.size, c.root) == (&self.place.origin, before.size, before.root));
        // Where the key was changed since, nobody is shown what the old one signed.
        if !is_ours {
            return Ok(());
        }
        let tree = self.ledger.tree();
        self.goes_on(&before, tree.size(), tree.root())?;
        let known = self.witnesses.iter().flat_map(|w| w.policy().keys()).collect::<Vec<_>>();
        let parsed = note::parse(before.checkpoint.as_bytes());
        let cosigned = parsed.and_then(|note| cosigned(&note, &known)).unwrap_or_default();
        self.show(before, cosigned);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that was published.
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

    /// The first publication of a process. Before anything is signed, the witnesses are asked what they saw: a
    /// ledger that was put back to an older state, together with what says how large it was, shows there.
    ///
    /// # Errors
    /// The ledger takes nothing, or see [`Publisher::publish`].
    pub async fn begin(self: &Arc<Self>) -> Result<(), PublishError> {
        self.holds_what_was_seen().await?;
        self.announce_and_publish().await
    }

    /// Records the keys that sign, if the ledger does not know them yet; then publishes.
    async fn announce_and_publish(self: &Arc<Self>) -> Result<(), PublishError> {
        self.announce().await?;
        self.publish_or_withhold().await
    }

    /// As [`Publisher::publish`], where it is no failure that the quorum of witnesses is missed.
    async fn publish_or_withhold(self: &Arc<Self>) -> Result<(), PublishError> {
        match self.publish().await {
            Ok(_) | Err(PublishError::Withheld(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Signs the ledger as it is, asks the witnesses, and publishes that with what came within a second.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing was published then.
    pub async fn publish(self: &Arc<Self>) -> Result<Arc<Published>, PublishError> {
        let _one = self.publishing.lock().await;
        let publisher = self.clone();
        let signed = on_thread(move || publisher.sign()).await?;
        let Some(witnesses) = &self.witnesses else { return Ok(self.show(signed, vec![])) };
        let told = witnesses.ask(&self.ledger, &signed, |by| self.seen_by(by)).await;
        let publisher = self.clone();
        on_thread(move || publisher.conclude(signed, told)).await
    }

    fn show(&self, signed: Signed, cosigned: Vec<Cosigned>) -> Arc<Published> {
        let Signed { origin, size, root, time, checkpoint: note } = signed;
        let checkpoint = Checkpoint { origin, size, root };
        let published = Arc::new(Published { checkpoint, note, cosigned, time });
        self.published.send_replace(Some(published.clone()));
        published
    }

    /// Signs the ledger as it is. Nobody has seen it when this returns, and what comes after must go on from
    /// it. Blocks for a sync.
    fn sign(&self) -> Result<Signed, PublishError> {
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
        let signed = Signed { origin: checkpoint.origin, size, root, time, checkpoint: note };
        // A power cut before: nobody saw this one. After: it is what the next one must go on from.
        mark::write_signed(&self.place.dir, &signed)
            .map_err(|e| PublishError::Failed(format!("writing what was signed: {e}")))?;
        state.last = Some(signed.clone());
        Ok(signed)
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
                () = self.heard_late() => {
                    let last = self.state().last.clone();
                    if let Some(Signed { origin, size, root, .. }) = last {
                        self.is_not_ahead_late(&Checkpoint { origin, size, root })?;
                    }
                    continue;
                }
            }
            let size = self.published.borrow().as_ref().map(|p| p.checkpoint.size);
            let again = if self.quorum_missed().is_some() { AFTER_FAILURE } else { AGAIN };
            if size == Some(self.ledger.tree().size()) && last.elapsed() < again {
                continue;
            }
            match self.publish().await {
                Ok(_) => last = Instant::now(),
                Err(e @ PublishError::Contradiction(_)) => return Err(e),
                // It was said when it began.
                Err(PublishError::Withheld(_)) => look.reset_after(AFTER_FAILURE),
                Err(e) => {
                    tracing::error!("no checkpoint was published: {e}");
                    look.reset_after(AFTER_FAILURE);
                }
            }
        }
    }

    async fn heard_late(&self) {
        match &self.witnesses {
            Some(witnesses) => witnesses.heard().await,
            None => std::future::pending().await,
        }
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

/// The keys, of this ledger from now on: durable before they sign anything.
///
/// # Errors
/// They are another ledger's, or the file cannot say whose they are.
fn bound(keys: Keys, place: &Place, ledger: [u8; 16]) -> Result<Keys, PublishError> {
    let (file, dir) = (place.key_file.display(), place.dir.display());
    let id = hex::encode(ledger);
    match keys.ledger() {
        Some(signed) if signed == ledger => return Ok(keys),
        Some(signed) => {
            return Err(PublishError::Contradiction(format!(
                "the key in {file} has signed the ledger {}, and in {dir} is the ledger {id}: put the right folder \
                 in its place (is its disk mounted?). If it is lost, restore a backup; without one, another log \
                 begins: move the key file away, give [ledger] origin another name, `gatelog log key new`",
                hex::encode(signed)
            )));
        }
        None => {}
    }
    let keys = keys.bound_to(ledger);
    keys.write(&place.key_file).map_err(|e| {
        PublishError::Failed(format!(
            "{file} does not say which ledger its key signs, and cannot be written ({e}): add the line `{}{id}` to it",
            super::key::LEDGER
        ))
    })?;
    Ok(keys)
}

/// Waits for the disk without holding up others.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(PublishError::Failed(e.to_string())))
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
