//! Turns to write: waited for, and kept for a success that is gathered anew.

use std::time::Duration;

use super::{
    super::{Gate, lock},
    Turning, Write,
};
use crate::{
    github::{RepoAt, Trouble, TroubleKind, Turn},
    verdict::Target,
};

/// How long "in progress" waits where GitHub's limits leave little.
const NOT_NOW: Duration = Duration::from_secs(2);

/// How often it is looked whether a kept turn is needed still.
const LOOK: Duration = Duration::from_millis(200);

/// A turn is kept no longer, whatever it waits for: an outage of GitHub would keep them all.
const MOST_KEPT: Duration = Duration::from_secs(300);

/// A turn that was given, and the events whose verdicts it is for.
pub(super) struct Kept {
    turn: Turn,
    looks: Vec<u64>,
}

impl Gate {
    /// Waits until GitHub's limits let it write. `None`: not now, and it is tried again in a while: "in progress"
    /// is shown only where plenty is left, because a verdict follows.
    pub(super) async fn turn_for(
        &self,
        target: &Target,
        at: &RepoAt,
        write: &Write,
        turn: &Turning,
    ) -> Result<Option<Turn>, Trouble> {
        if let Some(kept) = lock(&self.0.publisher.kept).remove(target) {
            return Ok(Some(kept.turn));
        }
        let mut stopping = self.0.stopping.subscribe();
        let stopped = || Trouble::new(TroubleKind::Unavailable, "gatelog is stopping");
        let waits = turn.progress.as_ref().is_some_and(|(seq, _)| write.covers == [*seq]);
        if waits {
            let spare = self.0.github.spare_turn_to_write(at);
            if spare.is_none() {
                self.again_later(target, turn.clone());
                tokio::select! {
                    () = tokio::time::sleep(NOT_NOW) => {}
                    _ = stopping.wait_for(|s| *s) => return Err(stopped()),
                }
            }
            return Ok(spare);
        }
        let newest = write.covers.iter().max().copied().unwrap_or_default();
        tokio::select! {
            given = self.0.github.turn_to_write(at, newest) => Ok(Some(given)),
            _ = stopping.wait_for(|s| *s) => Err(stopped()),
        }
    }

    /// Keeps a turn for the verdicts that these events will bring, and until those are shown. Under a flood that
    /// is long, and a success that had to wait for another turn would be too old again.
    pub(super) fn keep_turn(&self, target: &Target, given: Turn, looks: Vec<u64>) {
        if looks.is_empty() {
            return;
        }
        lock(&self.0.publisher.kept).insert(target.clone(), Kept { turn: given, looks: looks.clone() });
        let (gate, target) = (self.clone(), target.clone());
        tokio::spawn(async move {
            let (until, mut idle) = (tokio::time::Instant::now() + MOST_KEPT, 0);
            // Seen twice: between a verdict and its showing there is a moment.
            while idle < 2 && gate.keeps(&target, &looks) && tokio::time::Instant::now() < until {
                tokio::time::sleep(LOOK).await;
                idle = if gate.is_awaited(&target, &looks) { 0 } else { idle + 1 };
            }
            if gate.keeps(&target, &looks) {
                lock(&gate.0.publisher.kept).remove(&target);
            }
        });
    }

    /// Whether the turn that was kept for these events is there still.
    fn keeps(&self, target: &Target, looks: &[u64]) -> bool {
        lock(&self.0.publisher.kept).get(target).is_some_and(|kept| kept.looks == looks)
    }

    /// Whether what a turn is kept for is judged or shown now.
    fn is_awaited(&self, target: &Target, looks: &[u64]) -> bool {
        let judging = || looks.iter().any(|seq| self.0.ledger.verdict_of(*seq).is_none());
        let showing = || lock(&self.0.publisher.targets).contains_key(target);
        !*self.0.stopping.borrow() && (judging() || showing())
    }
}
