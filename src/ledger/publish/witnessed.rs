//! What came of asking the witnesses: kept, told, and held against the ledger.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Place, PublishError, Published, Publisher, on_thread};
use crate::{
    ledger::{
        checkpoint::Checkpoint,
        cosignature::{Cosigned, Cosigner},
        note,
        proof::verify_consistency,
        witness::{Told, Trouble, Witnesses},
    },
    store::journal::mark::{self, Seen, Signed, Witnessed},
    time::Time,
};

/// The last time that the witnesses were asked, and what is kept of all times.
pub(super) struct Round {
    kept: Witnessed,
    told: Vec<Told>,
    /// What of the quorum is missing.
    missing: Option<String>,
}

impl Round {
    /// `last`: what was signed last.
    ///
    /// # Errors
    /// What is kept is of another log, or cannot be read.
    pub fn open(
        place: &Place,
        witnesses: Option<&Witnesses>,
        last: Option<&Signed>,
    ) -> Result<Self, PublishError> {
        let fresh = Witnessed { origin: place.origin.clone(), ..Witnessed::default() };
        let mut kept = mark::witnessed(&place.dir)?.unwrap_or(fresh);
        if kept.origin != place.origin {
            let what = format!("{} was cosigned, and [ledger] origin is {}", kept.origin, place.origin);
            return Err(PublishError::Contradiction(what));
        }
        let only_with_quorum = witnesses.is_some_and(Witnesses::only_with_quorum);
        let before = std::mem::replace(&mut kept.only_with_quorum, only_with_quorum);
        let mut changed = before != only_with_quorum;
        if changed && only_with_quorum && kept.published.is_none() {
            // What was signed until now waited for nobody: everybody may have seen it, and may go on doing so.
            kept.published = last.cloned();
        }
        if witnesses.is_none() {
            // Nothing is added to it any more: what is signed is what is published.
            changed |= kept.published.take().is_some();
        }
        if changed {
            mark::write_witnessed(&place.dir, &kept).map_err(not_written)?;
        }
        Ok(Self { kept, told: vec![], missing: None })
    }
}

fn not_written(e: std::io::Error) -> PublishError {
    PublishError::Failed(format!("writing what was cosigned: {e}"))
}

/// A witness, for those who run the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessState {
    pub name: String,
    /// Entries that it cosigned last, and when. `None`: never.
    pub seen: Option<(u64, Time)>,
    /// Why it did not cosign the last time. `None`: it did.
    pub trouble: Option<String>,
}

impl Publisher {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size that a witness saw last, as far as we know.
    pub(super) fn seen_by(&self, by: &Cosigner) -> u64 {
        self.round().kept.witnesses.get(&by.to_string()).map_or(0, |s| s.size)
    }

    /// What of the quorum of witnesses the last checkpoint lacks. `None`: nothing, or none is asked for.
    #[must_use]
    pub fn quorum_missed(&self) -> Option<String> {
        self.round().missing.clone()
    }

    /// The witnesses in the order of the policy.
    #[must_use]
    pub fn witnesses(&self) -> Vec<WitnessState> {
        let round = self.round();
        let state = |key: Cosigner| {
            let told = round.told.iter().find(|t| t.by == key);
            WitnessState {
                name: key.name().to_owned(),
                seen: round.kept.witnesses.get(&key.to_string()).map(|s| (s.size, s.time)),
                trouble: told.and_then(|t| t.answer.as_ref().err()).map(|t| t.what.clone()),
            }
        };
        self.witnesses.iter().flat_map(|w| w.policy().keys()).map(state).collect()
    }

    /// Keeps what the witnesses cosigned, then publishes the checkpoint with that. Blocks for a sync.
    ///
    /// # Errors
    /// [`PublishError::Contradiction`] where a witness proves that the log was rolled back.
    pub(super) fn conclude(&self, signed: Signed, told: Vec<Told>) -> Result<Arc<Published>, PublishError> {
        let ours = Checkpoint { origin: signed.origin.clone(), size: signed.size, root: signed.root };
        self.is_not_ahead_late(&ours)?;
        for t in &told {
            if let Err(Trouble { shown: Some(note), .. }) = &t.answer {
                self.is_not_ahead(t.by.name(), note, &ours)?;
            }
        }
        let cosigned: Vec<Cosigned> = told.iter().filter_map(|t| t.answer.clone().ok()).collect();
        let (missing, only_with_quorum) = self
            .witnesses
            .as_ref()
            .map_or((None, false), |w| (w.policy().missing(&cosigned), w.only_with_quorum()));
        let lines: String = cosigned.iter().map(|c| c.line.as_str()).collect();
        let signed = Signed { checkpoint: signed.checkpoint + &lines, ..signed };
        let withheld = missing.clone().filter(|_| only_with_quorum);
        let mut round = self.round();
        let mut kept = round.kept.clone();
        for c in &cosigned {
            kept.witnesses.insert(c.by.to_string(), Seen { size: signed.size, time: c.time });
            (kept.size, kept.root) = (signed.size, Some(signed.root));
        }
        if withheld.is_none() {
            kept.published = Some(signed.clone());
        }
        // A power cut before: nobody but the witnesses saw it, and `signed` is what the next one goes on from.
        mark::write_witnessed(&self.place.dir, &kept).map_err(not_written)?;
        say(&round, &told, missing.as_deref(), withheld.is_some());
        let before = kept.published.clone();
        *round = Round { kept, told, missing };
        drop(round);
        match withheld {
            Some(missing) => {
                if let Some(before) = before.filter(|_| self.published().is_none()) {
                    self.show_again(before)?;
                }
                Err(PublishError::Withheld(missing))
            }
            None => Ok(self.show(signed, cosigned)),
        }
    }

    /// Holds the ledger against what the witnesses show of it. One that shows nothing is believed to have seen
    /// nothing: it is asked again with every checkpoint.
    ///
    /// # Errors
    /// [`PublishError::Contradiction`] where a witness proves that the log was rolled back.
    pub(super) async fn holds_what_was_seen(self: &Arc<Self>) -> Result<(), PublishError> {
        let Some(witnesses) = &self.witnesses else { return Ok(()) };
        let shown = witnesses.shown(&self.place.origin).await;
        let publisher = self.clone();
        on_thread(move || {
            let tree = publisher.ledger.tree();
            let ours =
                Checkpoint { origin: publisher.place.origin.clone(), size: tree.size(), root: tree.root() };
            shown.iter().try_for_each(|(by, note)| publisher.is_not_ahead(by.name(), note, &ours))
        })
        .await
    }

    /// Holds the ledger against what witnesses showed when nobody waited for them.
    ///
    /// # Errors
    /// As [`Publisher::conclude`].
    pub(super) fn is_not_ahead_late(&self, ours: &Checkpoint) -> Result<(), PublishError> {
        let shown = self.witnesses.iter().flat_map(|w| w.shown_late());
        shown.into_iter().try_for_each(|(by, note)| self.is_not_ahead(by.name(), &note, ours))
    }

    /// What a witness shows may be anything; with the signature of our own key it is what we once signed.
    fn is_not_ahead(&self, witness: &str, note: &str, ours: &Checkpoint) -> Result<(), PublishError> {
        let Ok(seen) = Checkpoint::open(note.as_bytes(), &self.keys()) else {
            if is_of(note, &ours.origin) {
                tracing::error!(
                    witness,
                    "it shows a checkpoint of this log that no key in {} has signed: of a key that was retired, or \
                     the ledger and its keys were put back to before a change of keys",
                    self.place.key_file.display()
                );
            }
            return Ok(());
        };
        if seen.origin != ours.origin || seen.size == 0 {
            return Ok(());
        }
        let contradiction = |what: String| {
            let advice = "the ledger or its folder was put back to an older state: restore a backup that holds them, \
                          or `gatelog log new-generation --last FILE` with the checkpoint that the witness shows in \
                          FILE";
            let what = format!(
                "the witness {witness} has seen {} entries that were signed, {what}; {advice}",
                seen.size
            );
            Err(PublishError::Contradiction(what))
        };
        if seen.size > ours.size {
            return contradiction(format!("and there are {}", ours.size));
        }
        let proof = self.ledger.consistency(seen.size, ours.size)?;
        match verify_consistency(seen.size, seen.root, ours.size, ours.root, &proof) {
            Ok(()) => Ok(()),
            Err(_) => contradiction(format!("and the {} that there are do not begin with them", ours.size)),
        }
    }
}

/// Whether a note says that it is a checkpoint of the log `origin`, whoever has signed it.
fn is_of(note: &str, origin: &str) -> bool {
    let said = note::parse(note.as_bytes()).ok().and_then(|note| Checkpoint::parse(note.text).ok());
    said.is_some_and(|seen| seen.origin == origin)
}

/// Once when something changes, not with every checkpoint.
fn say(before: &Round, told: &[Told], missing: Option<&str>, withheld: bool) {
    for t in told {
        let old = before.told.iter().find(|b| b.by == t.by).map(|b| &b.answer);
        match (old, &t.answer) {
            (Some(Err(old)), Err(new)) if old == new => {}
            (_, Err(new)) => tracing::warn!(witness = t.by.name(), "no cosignature: {}", new.what),
            (Some(Err(_)), Ok(_)) => tracing::info!(witness = t.by.name(), "it cosigns again"),
            (_, Ok(_)) => {}
        }
    }
    match (before.missing.is_some(), missing) {
        (false, Some(why)) if withheld => tracing::error!("nothing is published: {why}"),
        (false, Some(why)) => tracing::error!("checkpoints are published without the quorum: {why}"),
        (true, None) => tracing::info!("the quorum of witnesses is there again"),
        _ => {}
    }
}
