//! Running an erasure: said first, then done; and done to the end after a crash.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use super::{
    Bodies, Cause, Erasure, ErasureData, LIST, draft,
    people::Person,
    plan::{Hold, Known, Plan, PlanError, Wanted, plan},
};
use crate::{
    ledger::{AppendError, Ledger, Shared, read, write},
    store::{EraseError, ReadError},
};

/// Longest reason, in bytes: it stands in the entry.
pub const LONGEST_REASON: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub wanted: Wanted,
    pub cause: Cause,
    /// Why: a law, a ticket. It stays in the ledger for ever and names nobody.
    pub reason: String,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The entry that records it. `None`: there was nothing to erase, or it was a dry run.
    pub erasure: Option<u64>,
    pub plan: Plan,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nothing was erased.
    #[error("the erasure could not be recorded: {0}")]
    Append(#[from] AppendError),
    /// It is recorded and some of it may be done; the next run or start completes it.
    #[error(
        "erasure {erasure} is recorded and not complete yet: {error}; it is tried again at the next erasure and start"
    )]
    Incomplete { erasure: u64, error: EraseError },
}

impl Ledger {
    /// Erases bodies: finds them, records the erasure, removes them. On return they are gone from the
    /// journal, durably. One run at a time; holds win.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn erase(&self, request: Request, holds: Vec<Hold>) -> Result<Erased, RunError> {
        let _one = self.0.erasing.lock().await;
        let Request { wanted, cause, reason, dry_run } = request;
        check_reason(&reason, &wanted)?;
        let about = match &wanted {
            Wanted::Entry { seq, .. } => Some(*seq),
            _ => None,
        };
        if !dry_run {
            // What a full disk kept from being done; if it still does, that is said below.
            let shared = self.0.shared.clone();
            if let Err(e) = on_thread(move || shared.complete_erasures()).await? {
                tracing::error!("an erasure is still not complete: {e}");
            }
        }
        let ledger = self.clone();
        let (plan, carried) =
            on_thread(move || plan(&ledger, &wanted, &holds, &mut ledger.known_to_erasures())).await??;
        if dry_run {
            return Ok(Erased { erasure: None, plan });
        }
        if plan.bodies.is_empty() {
            self.known_to_erasures().carried_out(carried);
            return Ok(Erased { erasure: None, plan });
        }
        let data = ErasureData { cause, reason, bodies: plan.count, entries: plan.entries };
        let receipts = self.append(vec![draft(&data, &plan.bodies, about)]).await?;
        let erasure = receipts.first().map_or(0, |r| r.seq);
        // Said, and nothing is done yet: a crash here is completed at the next open.
        let shared = self.0.shared.clone();
        let done = on_thread(move || shared.complete_erasures()).await?;
        done.map_err(|error| RunError::Incomplete { erasure, error })?;
        self.known_to_erasures().carried_out(carried);
        Ok(Erased { erasure: Some(erasure), plan })
    }

    fn known_to_erasures(&self) -> MutexGuard<'_, Known> {
        self.0.known_to_erasures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The erasure that took a body; `None`: none names it.
    ///
    /// # Errors
    /// An erasure cannot be read.
    pub fn erasure_of(&self, seq: u64, name: &str) -> Result<Option<Erasure>, ReadError> {
        for at in self.index(|i| i.erasures().to_vec()).into_iter().filter(|at| *at > seq) {
            let erasure = self.0.shared.erasure(at)?;
            if erasure.bodies.contains(seq, name) {
                return Ok(Some(erasure));
            }
        }
        Ok(None)
    }

    /// Whether a body is there, without checking it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_body(&self, seq: u64, name: &str) -> Result<bool, ReadError> {
        Ok(self.0.shared.store.body(seq, name)?.is_some())
    }

    /// Entries that the view the service works on has taken in.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.0.shared.store.applied()
    }

    /// Makes segments that are not written to any more smaller: see [`crate::store::Store::compress`].
    ///
    /// # Errors
    /// As there.
    pub fn compress(&self, pause: &mut dyn FnMut() -> bool) -> Result<u64, ReadError> {
        self.0.shared.store.compress(pause)
    }
}

async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PlanError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| PlanError::Read(ReadError::Io(format!("the thread ended: {e}"))))
}

fn check_reason(reason: &str, wanted: &Wanted) -> Result<(), PlanError> {
    let says = |text: &String| !text.is_empty() && reason.to_lowercase().contains(&text.to_lowercase());
    let names = |login: &str, also: &[String]| {
        Person::new(login, also).is_in_words(reason.as_bytes()) || also.iter().any(says)
    };
    if let Wanted::Person { login, also } = wanted
        && names(login, also)
    {
        let what =
            "the reason names the person, and stays in the ledger for ever: write a law, a ticket, a case";
        return Err(PlanError::Refused(what.into()));
    }
    let wrong = match reason.trim() {
        "" => "an erasure needs a reason",
        r if r.len() > LONGEST_REASON => "the reason is longer than 1000 bytes",
        r if r.chars().any(char::is_control) => "the reason has control characters",
        _ => return Ok(()),
    };
    Err(PlanError::Refused(wrong.into()))
}

impl Shared {
    fn erasure(&self, seq: u64) -> Result<Erasure, ReadError> {
        let damaged = |what: &str| ReadError::Damaged { seq, what: what.into() };
        let stored = self.entry(seq)?.ok_or_else(|| damaged("it is missing"))?;
        let list = self.body(seq, LIST)?.ok_or_else(|| damaged("its list is missing"))?;
        Erasure::read(&stored.entry, &list).ok_or_else(|| damaged("it is not an erasure that can be read"))
    }

    /// Does what erasures say and what a crash or a full disk kept from being done.
    pub(crate) fn complete_erasures(&self) -> Result<(), EraseError> {
        let erasures = read(&self.index).erasures().to_vec();
        let done = self.store.erased_through()?;
        let (mut bodies, mut through) = (Bodies::default(), None);
        for seq in erasures.into_iter().filter(|seq| done.is_none_or(|done| *seq > done)) {
            bodies.extend(&self.erasure(seq)?.bodies);
            through = Some(seq);
        }
        let Some(through) = through else { return Ok(()) };
        let forgotten = self.store.erase(&bodies, through)?;
        write(&self.index).forget_fingerprints(&forgotten);
        Ok(())
    }

    /// sled may have lost in a power cut that fingerprints were dropped.
    pub(crate) fn drop_erased_fingerprints(&self) -> Result<(), ReadError> {
        let erasures = read(&self.index).erasures().to_vec();
        let mut gone = BTreeSet::new();
        for seq in erasures {
            let payloads: Vec<u64> = self.erasure(seq)?.bodies.entries_with("payload").collect();
            gone.extend(read(&self.index).fingerprinted(&payloads));
        }
        let gone: Vec<u64> = gone.into_iter().collect();
        let forgotten = self.store.forget_fingerprints(&gone)?;
        write(&self.index).forget_fingerprints(&forgotten);
        Ok(())
    }
}
