//! Verdicts whose pull request was closed before they were shown.
//!
//! Nothing shows them any more. Until a report says so, each start takes them up again, and their bodies
//! cannot be erased.

use std::collections::BTreeSet;

use super::{super::lock, Gate};
use crate::{
    event::SubjectKind,
    github::{RepoAt, Trouble, report},
    ledger::{
        Stored,
        entry::{ReportData, ReportResult, VerdictData},
    },
    verdict::Target,
};

impl Gate {
    /// GitHub says that a pull request is closed.
    pub(in crate::gate) fn closed(&self, at: &RepoAt, number: u64) {
        let Some(seq) = self.0.ledger.unreported_of(at.repository.id, number) else { return };
        let Ok(Some(stored)) = self.stored(seq) else { return };
        let data = serde_json::from_value::<VerdictData>(stored.entry.data);
        if let Ok(VerdictData { target: Some(target), .. }) = data {
            self.touch(target, at.clone(), |doing| doing.closed.extend([seq]));
        }
    }

    /// The pull requests of a repository that GitHub does not list as open, and that no event in hand is about.
    pub(in crate::gate) fn closed_all_but(&self, at: &RepoAt, listed: &[u64]) {
        let id = at.repository.id;
        for number in self.0.ledger.pulls_unreported(id) {
            if !listed.contains(&number) && !lock(&self.0.unjudged).contains_key(&(id, number)) {
                self.closed(at, number);
            }
        }
    }

    /// Reports of these verdicts, unless they were shown or taken back meanwhile, that they are not sent.
    pub(super) async fn withhold_closed(
        &self,
        target: &Target,
        at: &RepoAt,
        closed: &BTreeSet<u64>,
        unsure: bool,
    ) -> Result<(), Trouble> {
        for seq in closed {
            let Some(stored) = self.stored(*seq)? else { continue };
            if !self.waits_closed(&stored) {
                continue;
            }
            let shown = self.shown(target);
            let mut data = ReportData {
                target: target.clone(),
                result: ReportResult::Withheld,
                // What stays on GitHub.
                check_run: shown.as_ref().and_then(|s| s.check_run),
                conclusion: shown.and_then(|s| s.conclusion),
                covers: vec![*seq],
            };
            if unsure {
                // A process before this one may have written it and died.
                let runs = report::find_runs(&self.0.github, at, &target.sha, &target.check).await?;
                let own = self.external_id(*seq, stored.leaf);
                if let Some(run) = runs.into_iter().find(|r| r.external_id.as_ref() == Some(&own)) {
                    data.result = ReportResult::Unchanged;
                    (data.check_run, data.conclusion) = (Some(run.id), run.conclusion);
                }
            }
            self.record(stored.entry.subject.clone(), &data, None).await?;
        }
        Ok(())
    }

    fn waits_closed(&self, verdict: &Stored) -> bool {
        let subject = &verdict.entry.subject;
        let (SubjectKind::PullRequest, Some(repository), Some(number)) =
            (subject.kind, subject.repository, subject.id)
        else {
            return false;
        };
        self.0.ledger.unreported_of(repository, number) == Some(verdict.entry.seq)
            && !lock(&self.0.pulls).is_open(repository, number)
    }
}
