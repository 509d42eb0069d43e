//! The check run of a target: its page and the request that shows it.

use super::{super::Gate, Recorded, unreadable};
use crate::{
    github::{
        RepoAt, Trouble,
        check_run::{self, Context, InTheWay, Rendered},
        report::{KnownRun, Show},
    },
    ledger::{Stored, entry::ReportData},
    verdict::{Decision, Target, Verdict},
};

impl Gate {
    /// The page of a target. On a shared head it names the pull request in the way.
    pub(super) fn render(
        &self,
        target: &Target,
        at: &RepoAt,
        worst: &Recorded,
        newest: &[Recorded],
        verdict: &Verdict,
        stored: &Stored,
    ) -> Result<Rendered, Trouble> {
        if verdict.decision == Decision::Allow && self.alarmed() {
            let why = "an operator must acknowledge a check run that is not in the ledger";
            return Ok(check_run::waiting_for_github(
                why,
                &self.context(target, at, stored, worst.number, None),
            ));
        }
        let best = newest.iter().filter(|v| v.seq != worst.seq).min_by_key(|v| (v.decision, v.seq));
        let in_the_way = |b: &&Recorded| b.decision < worst.decision && worst.number.is_some();
        let Some(best) = best.filter(in_the_way) else {
            return Ok(check_run::render(verdict, &self.context(target, at, stored, worst.number, None)));
        };
        let in_the_way = InTheWay {
            number: worst.number.unwrap_or_default(),
            decision: worst.decision,
            reason: verdict.reason.clone(),
            entry: worst.seq,
        };
        let own = self.verdict(best.seq)?;
        let Some(stored) = self.stored(best.seq)? else { return Err(unreadable("an entry is gone")) };
        Ok(check_run::render(&own, &self.context(target, at, &stored, best.number, Some(in_the_way))))
    }

    pub(super) fn context(
        &self,
        target: &Target,
        at: &RepoAt,
        stored: &Stored,
        pull_request: Option<u64>,
        in_the_way: Option<InTheWay>,
    ) -> Context {
        let head = self.0.ledger.head();
        Context {
            check_name: target.check.clone(),
            repository: at.repository.name.clone(),
            head: target.sha.clone(),
            pull_request,
            draft: self.is_draft(stored.entry.seq),
            judged_at: stored.entry.time,
            entry: stored.entry.seq,
            leaf: stored.leaf.to_string(),
            tree_size: head.size,
            root: head.root.to_string(),
            in_the_way,
        }
    }

    pub(super) fn is_draft(&self, verdict: u64) -> bool {
        let Ok(Some(facts)) = self.0.ledger.body(verdict, "facts") else { return false };
        serde_json::from_slice::<serde_json::Value>(&facts)
            .is_ok_and(|facts| facts["pull_request"]["draft"].as_bool() == Some(true))
    }

    pub(super) fn show(
        &self,
        target: &Target,
        rendered: Rendered,
        stored: &Stored,
        shown: Option<&ReportData>,
        look_first: bool,
    ) -> Show {
        let known = |s: &ReportData| Some(KnownRun { id: s.check_run?, completed: s.conclusion.is_some() });
        Show {
            name: target.check.clone(),
            sha: target.sha.clone(),
            state: rendered.state,
            title: rendered.title,
            summary: rendered.summary,
            text: rendered.text,
            annotations: rendered.annotations,
            external_id: self.external_id(stored.entry.seq, stored.leaf),
            known_run: shown.and_then(known),
            look_first,
            keep_red: false,
            started_at: Some(stored.entry.time),
            details_url: None,
        }
    }
}
