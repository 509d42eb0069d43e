//! The explanation of a verdict on the run that shows it.
//!
//! Nothing is owed to who asked: it never holds up a verdict, decides nothing, and is given up after a few tries.

use std::time::Duration;

use super::{
    super::waits::{backoff, jitter},
    Gate, Write,
};
use crate::{
    github::{RepoAt, Trouble, TroubleKind, check_run::State, report},
    time::Time,
    verdict::Target,
};

/// How often it is tried, over some minutes.
const TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Gate {
    /// Shows it, or tries again later.
    pub(super) async fn show_explanation(&self, target: &Target, at: &RepoAt, tries: u32) {
        let begun = Time::now();
        let Err(trouble) = self.explain_now(target, at).await else { return };
        tracing::warn!(repo.name = at.repository.name.as_str(), "cannot explain: {}", trouble.reason);
        if !trouble.passes() || tries + 1 >= TRIES {
            return;
        }
        let wait = trouble.retry_after.unwrap_or_else(|| backoff(Time::now().since(begun)) * 2u32.pow(tries));
        let wait = wait.min(LONGEST_WAIT);
        let (gate, target, at) = (self.clone(), target.clone(), at.clone());
        tokio::spawn(async move {
            let mut stopping = gate.0.stopping.subscribe();
            tokio::select! {
                () = tokio::time::sleep(wait + jitter(wait)) => {
                    gate.touch(target, at, |doing| doing.explain = doing.explain.or(Some(tries + 1)));
                }
                _ = stopping.wait_for(|s| *s) => {}
            }
        });
    }

    async fn explain_now(&self, target: &Target, at: &RepoAt) -> Result<(), Trouble> {
        let Some(write) = self.explain_step(target, at).await? else {
            tracing::info!(
                "nothing is explained: GitHub does not show the newest decision, or shows another"
            );
            return Ok(());
        };
        // Verdicts go first.
        let busy = || Trouble::new(TroubleKind::RateLimited, "GitHub's limits leave little");
        let turn = self.0.github.spare_turn_to_write(at).ok_or_else(busy)?;
        self.write(target, at, write, Some(turn)).await
    }

    /// The same run with the explanation as its text. Nothing where GitHub does not show the newest verdict (an
    /// event is still to be judged, or the write of its verdict is), or shows something else for it: the ledger
    /// may be older than what GitHub shows.
    async fn explain_step(&self, target: &Target, at: &RepoAt) -> Result<Option<Write>, Trouble> {
        let (newest, shown) = (self.newest_verdicts(target)?, self.shown(target));
        let Some(worst) = newest.iter().max_by_key(|v| (v.decision, v.seq)) else { return Ok(None) };
        let Some(shown) = shown.filter(|s| newest.iter().all(|v| s.covers.contains(&v.seq))) else {
            return Ok(None);
        };
        let Some(stored) = self.stored(worst.seq)? else { return Ok(None) };
        let verdict = self.verdict(worst.seq)?;
        let mut rendered = self.render(target, at, worst, &newest, &verdict, &stored)?;
        let conclusion = rendered.state.conclusion();
        if shown.check_run.is_none() || shown.conclusion.as_deref() != conclusion {
            return Ok(None);
        }
        // The payload may be old, and what it calls private be public now.
        let private = self.0.github.is_private(at).await?;
        let context = self.context(target, at, &stored, worst.number, None);
        rendered.text = self.explanation(&stored, &verdict, private, &context).await;
        let runs = report::find_runs(&self.0.github, at, &target.sha, &target.check).await?;
        let stands =
            runs.iter().any(|r| Some(r.id) == shown.check_run && r.conclusion.as_deref() == conclusion);
        let withheld = rendered.state == State::Success && (self.alarmed() || self.any_unjudged(target));
        if !stands || withheld {
            return Ok(None);
        }
        let show = self.show(target, rendered, &stored, Some(&shown), false);
        Ok(Some(Write {
            show,
            covers: shown.covers,
            subject: worst.subject.clone(),
            without_github: false,
            spare: true,
        }))
    }
}
