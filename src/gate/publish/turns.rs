//! Turns to write: waited for, and kept for a success that is gathered anew.

use std::time::Duration;

use tokio::{sync::Notify, time::Instant};

use super::{
    super::{Gate, lock, waits::sooner},
    Step, Turning, Write,
};
use crate::{
    github::{RepoAt, Trouble, TroubleKind, Turn, check_run::State},
    verdict::Target,
};

/// How long "in progress" waits where GitHub's limits leave little.
const NOT_NOW: Duration = Duration::from_secs(2);

/// How often it is looked whether a kept turn is needed still.
const LOOK: Duration = Duration::from_millis(200);

/// A turn is kept no longer, whatever it waits for: an outage of GitHub would keep them all.
const MOST_KEPT: Duration = Duration::from_secs(300);

/// Judging anew takes seconds where GitHub answers. Of turns that are kept for longer, an installation may have a
/// quarter of those of a minute: a red waits for the others.
const LONG: Duration = Duration::from_secs(10);

/// A turn that was given, and the events whose verdicts it is for.
pub(super) struct Kept {
    turn: Turn,
    looks: Vec<u64>,
    installation: u64,
    since: Instant,
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
        ambiguous: bool,
    ) -> Result<Option<Turn>, Trouble> {
        if let Some(kept) = lock(&self.0.publisher.kept).remove(target) {
            return Ok(Some(kept.turn));
        }
        let mut stopping = self.0.stopping.subscribe();
        let stopped = || Trouble::new(TroubleKind::Unavailable, "gatelog is stopping");
        let changed = lock(&self.0.publisher.targets).get(target).map(|doing| doing.changed.clone());
        let changed = changed.unwrap_or_default();
        if write.spare {
            let spare = self.0.github.spare_turn_to_write(at);
            if spare.is_none() {
                self.again_later(target, turn.clone());
                tokio::select! {
                    () = tokio::time::sleep(NOT_NOW) => {}
                    () = changed.notified() => {}
                    _ = stopping.wait_for(|s| *s) => return Err(stopped()),
                }
            }
            return Ok(spare);
        }
        tokio::select! {
            given = self.turn_by_rank(target, at, write, turn, (ambiguous, &changed)) => given.map(Some),
            _ = stopping.wait_for(|s| *s) => Err(stopped()),
        }
    }

    /// Who waits for a turn, and then has a green to take away, waits no longer in its old place.
    async fn turn_by_rank(
        &self,
        target: &Target,
        at: &RepoAt,
        write: &Write,
        turn: &Turning,
        (ambiguous, changed): (bool, &Notify),
    ) -> Result<Turn, Trouble> {
        let newest = |write: &Write| write.covers.iter().max().copied().unwrap_or_default();
        if self.takes_green_away(target, write, ambiguous) {
            return Ok(self.0.github.urgent_turn_to_write(at, newest(write)).await);
        }
        let given = self.0.github.turn_to_write(at, newest(write));
        tokio::pin!(given);
        loop {
            tokio::select! {
                given = &mut given => return Ok(given),
                () = changed.notified() => {}
            }
            if let Step::Write(now) = self.next_step(target, at, turn, ambiguous)?
                && self.takes_green_away(target, &now, ambiguous)
            {
                return Ok(self.0.github.urgent_turn_to_write(at, newest(&now)).await);
            }
        }
    }

    /// GitHub may show a success, and shows none after this.
    fn takes_green_away(&self, target: &Target, write: &Write, ambiguous: bool) -> bool {
        write.show.state != State::Success && (ambiguous || self.shows_green(target))
    }

    /// Keeps a turn for the verdicts that these events will bring, and until those are shown. Under a flood that
    /// is long, and a success that had to wait for another turn would be too old again.
    pub(super) fn keep_turn(&self, target: &Target, at: &RepoAt, given: Turn, looks: Vec<u64>) {
        if looks.is_empty() {
            return;
        }
        let (installation, since) = (at.installation, Instant::now());
        let kept = Kept { turn: given, looks: looks.clone(), installation, since };
        lock(&self.0.publisher.kept).insert(target.clone(), kept);
        let (gate, target) = (self.clone(), target.clone());
        tokio::spawn(async move {
            let (until, mut idle) = (since + MOST_KEPT, 0);
            // Seen twice: between a verdict and its showing there is a moment.
            while idle < 2
                && gate.keeps(&target, &looks)
                && Instant::now() < until
                && !gate.keeps_too_many(installation, since)
            {
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

    /// Whether others must have a turn that was kept since then.
    fn keeps_too_many(&self, installation: u64, since: Instant) -> bool {
        let kept = lock(&self.0.publisher.kept);
        let own = kept.values().filter(|k| k.installation == installation).map(|k| k.since);
        is_too_many(since, own, self.0.github.writes_in_a_minute() as usize / 4, Instant::now())
    }

    /// Whether what a turn is kept for is judged or shown now.
    fn is_awaited(&self, target: &Target, looks: &[u64]) -> bool {
        let judging = || looks.iter().any(|seq| self.0.ledger.verdict_of(*seq).is_none());
        let showing = || lock(&self.0.publisher.targets).contains_key(target);
        !*self.0.stopping.borrow() && (judging() || showing())
    }
}

/// Of turns that are kept for long, the oldest stay: as many as `most`, and one where that is none.
fn is_too_many(since: Instant, kept: impl Iterator<Item = Instant>, most: usize, now: Instant) -> bool {
    let older = kept.filter(|other| *other < since).count();
    now.duration_since(since) > sooner("turns::long", LONG) && older >= most.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_turns_that_are_kept_for_long_a_quarter_stays() {
        let begun = Instant::now();
        let kept: Vec<Instant> = (0..72).map(|n| begun + Duration::from_millis(n)).collect();
        let left = |seconds| {
            let now = begun + Duration::from_secs(seconds);
            kept.iter().filter(|since| !is_too_many(**since, kept.iter().copied(), 18, now)).count()
        };
        // While they may be judged anew at any moment, all are kept.
        assert_eq!((left(9), left(11)), (72, 18));
        assert!(!is_too_many(kept[0], kept[..1].iter().copied(), 0, begun + LONG * 2), "one may");
    }
}
