//! The task of a target: round after round, until GitHub shows what it should.

use std::collections::BTreeSet;

use super::{
    super::{
        Gate, lock,
        waits::{OUTAGE_PATIENCE, backoff, jitter},
    },
    Waiting,
};
use crate::{
    github::{RepoAt, Trouble, TroubleKind},
    telemetry::Task,
    time::Time,
    verdict::Target,
};

/// What a round is for.
#[derive(Clone)]
pub(super) struct Turning {
    pub(super) force: bool,
    pub(super) look: bool,
    pub(super) explain: Option<u32>,
    pub(super) progress: Option<Waiting>,
    pub(super) closed: BTreeSet<u64>,
}

impl Gate {
    /// Works until GitHub shows what it should.
    ///
    /// A panic is a fault of ours. It must not end the task, which stands for its target: nothing would be shown
    /// there any more, and a green that is denied would stay. What it left half done may be written, so the next
    /// round looks first.
    pub(super) async fn keep_right(&self, target: Target, at: RepoAt) {
        let begun = Time::now();
        let mut ambiguous = false;
        while let Some(turn) = self.take_turn(&target) {
            let round = self.round(&target, &at, &turn, ambiguous, begun);
            let trouble = match self.guarded_try(Task::Publishing, round).await {
                Ok(certain) => {
                    ambiguous &= !certain;
                    continue;
                }
                Err(trouble) => trouble,
            };
            ambiguous = true;
            self.again_later(&target, turn);
            let wait = trouble.retry_after.unwrap_or_else(|| backoff(Time::now().since(begun)));
            let wait = wait.min(std::time::Duration::from_secs(300));
            tracing::warn!(
                repo.name = at.repository.name.as_str(),
                retry_in_s = wait.as_secs_f64(),
                "cannot report: {}",
                trouble.reason
            );
            let mut stopping = self.0.stopping.subscribe();
            tokio::select! {
                () = tokio::time::sleep(wait + jitter(wait)) => {}
                // What is not reported is found again at the next start.
                _ = stopping.wait_for(|s| *s) => {
                    lock(&self.0.publisher.targets).remove(&target);
                    return;
                }
            }
        }
    }

    /// Whether it is certain now what stands at GitHub; where nothing that is tried again would help, it is not.
    ///
    /// # Errors
    /// It is tried again.
    async fn round(
        &self,
        target: &Target,
        at: &RepoAt,
        turn: &Turning,
        ambiguous: bool,
        begun: Time,
    ) -> Result<bool, Trouble> {
        match self.publish_once(target, at, turn, ambiguous).await {
            Err(trouble) if is_hopeless(&trouble, begun) => {
                tracing::warn!(repo.name = at.repository.name.as_str(), "not shown: {}", trouble.reason);
                self.withhold(target).await;
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// The next thing to do, or `None` when the target is as it should be.
    fn take_turn(&self, target: &Target) -> Option<Turning> {
        let mut targets = lock(&self.0.publisher.targets);
        let doing = targets.get_mut(target)?;
        if !doing.dirty {
            targets.remove(target);
            return None;
        }
        doing.dirty = false;
        let (force, closed) = (std::mem::take(&mut doing.force), std::mem::take(&mut doing.closed));
        let (progress, explain) = (doing.progress.take(), doing.explain.take());
        let look = std::mem::take(&mut doing.look);
        Some(Turning { force, look, explain, progress, closed })
    }

    pub(super) fn again_later(&self, target: &Target, turn: Turning) {
        if let Some(doing) = lock(&self.0.publisher.targets).get_mut(target) {
            doing.dirty = true;
            doing.force |= turn.force;
            doing.look |= turn.look;
            doing.closed.extend(turn.closed);
            doing.explain = doing.explain.or(turn.explain);
            if doing.progress.is_none() {
                doing.progress = turn.progress;
            }
        }
    }
}

/// Nothing that is tried again would help: what is written for is not there, or GitHub has refused
/// it for as long as an outage is waited for.
fn is_hopeless(trouble: &Trouble, begun: Time) -> bool {
    match trouble.kind {
        TroubleKind::Gone => true,
        TroubleKind::Unexpected => Time::now().since(begun) > OUTAGE_PATIENCE,
        _ => false,
    }
}
