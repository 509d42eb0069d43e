//! Which verdicts stood when something landed on a branch: what `facts::landed` proves with.

use serde_json::Value;

use super::Gate;
use crate::{
    event::{Sha, SubjectKind},
    facts::{
        Facts, Push,
        landed::{self, Judged, JudgedGroup, JudgedPull, Landing, MergedPull},
    },
    ledger::entry::{Kind, VerdictData},
    time::Time,
    verdict::Decision,
};

/// The longest chain of merge groups that one push may land.
const MOST_GROUPS: usize = 100;

impl Gate {
    /// Adds what the push is, as far as GitHub's facts and our verdicts prove it.
    pub(super) fn with_landed(&self, repository: u64, mut facts: Facts, landing: Option<&Landing>) -> Facts {
        if let (Some(push), Some(landing)) = (&mut facts.push, landing) {
            let judged = self.judged_before(repository, push, landing);
            push.landed = Some(landed::prove(push, landing, &judged));
        }
        facts
    }

    fn judged_before(&self, repository: u64, push: &Push, landing: &Landing) -> Judged {
        Judged {
            pulls: landing.merged.iter().filter_map(|m| self.judged_pull(repository, m)).collect(),
            groups: self.judged_groups(repository, push),
        }
    }

    /// The last verdict on this pull request at this head while it was open.
    fn judged_pull(&self, repository: u64, merged: &MergedPull) -> Option<JudgedPull> {
        let seqs = self.0.ledger.of_pull(repository, merged.number);
        seqs.into_iter().rev().find_map(|seq| {
            let (data, facts) = self.verdict_on(seq, SubjectKind::PullRequest, &merged.head)?;
            let pull = &facts["pull_request"];
            if pull["state"].as_str() != Some("open") {
                return None;
            }
            Some(JudgedPull {
                number: merged.number,
                head: merged.head.clone(),
                base_ref: pull["base"]["ref"].as_str()?.to_owned(),
                allowed: data.decision == Decision::Allow,
                verdict: seq,
                at: facts["time"].as_str()?.parse::<Time>().ok()?,
                commits: commits(&facts["commits"])?,
            })
        })
    }

    /// The groups from the pushed head back towards where the branch was.
    fn judged_groups(&self, repository: u64, push: &Push) -> Vec<JudgedGroup> {
        let mut groups: Vec<JudgedGroup> = Vec::new();
        let mut at = push.after.clone();
        while let Some(head) = at.take() {
            let Some(group) = self.judged_group(repository, &head) else { break };
            let further = group.base.clone().filter(|b| Some(b) != push.before.as_ref());
            at = further.filter(|b| groups.len() < MOST_GROUPS && groups.iter().all(|g| g.head != *b));
            groups.push(group);
        }
        groups
    }

    fn judged_group(&self, repository: u64, head: &Sha) -> Option<JudgedGroup> {
        let seqs = self.0.ledger.with_head(head);
        seqs.into_iter().rev().find_map(|seq| {
            let (data, facts) = self.verdict_on(seq, SubjectKind::MergeGroup, head)?;
            if facts["repository"]["id"].as_u64() != Some(repository) {
                return None;
            }
            let group = &facts["merge_group"];
            Some(JudgedGroup {
                head: head.clone(),
                base: group["base_sha"].as_str().and_then(|s| s.parse().ok()),
                base_ref: group["base_ref"].as_str()?.to_owned(),
                allowed: data.decision == Decision::Allow,
                verdict: seq,
                pulls: group["entries"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(number_and_head)
                    .collect(),
            })
        })
    }

    /// A verdict on this head that was really judged, with the facts it was judged on.
    fn verdict_on(&self, seq: u64, kind: SubjectKind, head: &Sha) -> Option<(VerdictData, Value)> {
        let stored = self.0.ledger.entry(seq).ok()??;
        let subject = &stored.entry.subject;
        if stored.entry.kind != Kind::Verdict || subject.kind != kind || subject.head.as_ref() != Some(head) {
            return None;
        }
        let data: VerdictData = serde_json::from_value(stored.entry.data).ok()?;
        if data.decision == Decision::Superseded {
            return None;
        }
        let facts = self.0.ledger.body(seq, "facts").ok()??;
        Some((data, serde_json::from_slice(&facts).ok()?))
    }
}

/// Commits with how many parents each has.
fn commits(value: &Value) -> Option<Vec<(Sha, usize)>> {
    let one = |c: &Value| Some((c["sha"].as_str()?.parse().ok()?, c["parents"].as_array()?.len()));
    value.as_array()?.iter().map(one).collect()
}

fn number_and_head(entry: &Value) -> Option<(u64, Sha)> {
    let pull = &entry["pull_request"];
    Some((pull["number"].as_u64()?, pull["head"]["sha"].as_str()?.parse().ok()?))
}
