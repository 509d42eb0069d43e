//! What a target shows, and what it should: read from the ledger.

use std::collections::HashMap;

use super::{
    super::{FRESH, Gate, lock, pulls::Pulls, waits::sooner},
    Recorded, unreadable,
};
use crate::{
    event::{self, Sha, SubjectKind},
    github::{Trouble, check_run::State},
    ledger::{
        Stored,
        entry::{Hash, Kind, ReportData, ReportResult, VerdictData},
    },
    time::Time,
    verdict::{Decision, Target, Verdict},
};

impl Gate {
    /// The newest verdict of each open pull request (or of the push, or merge group) on a target.
    pub(in crate::gate) fn newest_verdicts(&self, target: &Target) -> Result<Vec<Recorded>, Trouble> {
        let mut newest: HashMap<(Option<u64>, Option<String>), Recorded> = HashMap::new();
        for seq in self.0.ledger.with_head(&target.sha) {
            let Some(stored) = self.stored(seq)? else { continue };
            if stored.entry.kind != Kind::Verdict {
                continue;
            }
            let Ok(data) = serde_json::from_value::<VerdictData>(stored.entry.data.clone()) else { continue };
            if data.target.as_ref() != Some(target) {
                continue;
            }
            let subject = stored.entry.subject.clone();
            let number = subject.id.filter(|_| subject.kind == SubjectKind::PullRequest);
            let (decision, leaf) = (data.decision, stored.leaf);
            // One commit may be pushed to several branches, and to one of them without leave.
            let pushed_to = (subject.kind == SubjectKind::Ref).then(|| self.pushed_to(seq));
            newest.insert((number, pushed_to), Recorded { seq, leaf, number, decision, subject });
        }
        let pulls = lock(&self.0.pulls);
        let mut newest: Vec<_> = newest
            .into_values()
            .filter(|v| v.number.is_none_or(|n| pulls.is_open(target.repository, n)))
            // A pull request that has moved on does not speak for its old head.
            .filter(|v| v.number.is_none_or(|n| self.stands_on(&pulls, target, n)))
            .collect();
        newest.sort_by_key(|v| v.seq);
        Ok(newest)
    }

    /// The ref that the verdict on a push is about; where its facts are erased, one of its own.
    fn pushed_to(&self, verdict: u64) -> String {
        let facts = self.0.ledger.body(verdict, "facts").ok().flatten();
        let facts = facts.and_then(|f| serde_json::from_slice::<serde_json::Value>(&f).ok());
        let name = facts.as_ref().and_then(|f| f["push"]["ref"].as_str());
        name.map_or_else(|| format!("#{verdict}"), str::to_owned)
    }

    pub(super) fn stands_on(&self, pulls: &Pulls, target: &Target, number: u64) -> bool {
        pulls.head(target.repository, number).is_none_or(|head: Sha| head == target.sha)
    }

    /// Whether an open pull request that this target speaks for, or its merge group, or one that the group carries,
    /// has an event that is not judged yet.
    ///
    /// A push speaks for itself: no verdict on a pull request would bring its target up again.
    pub(super) fn any_unjudged(&self, target: &Target) -> bool {
        if target.check != self.0.settings.check_name {
            return false;
        }
        let carried = {
            let groups = lock(&self.0.groups);
            if groups.is_unjudged(target.repository, &target.sha) {
                return true;
            }
            groups.carried(target.repository, &target.sha)
        };
        let on_head = lock(&self.0.pulls).on_head(target.repository, &target.sha);
        let unjudged = lock(&self.0.unjudged);
        on_head.into_iter().chain(carried).any(|n| unjudged.contains_key(&(target.repository, n)))
    }

    pub(super) fn is_fresh(&self, verdict: u64) -> bool {
        let made = lock(&self.0.publisher.made);
        made.get(&verdict).is_some_and(|m| Time::now().since(m.frozen_at) < sooner("publish::fresh", FRESH))
    }

    pub(super) fn made_without_github(&self, verdict: u64) -> bool {
        lock(&self.0.publisher.made).get(&verdict).is_some_and(|m| m.without_github)
    }

    /// Whether a process before this one may have written to the target and died before it recorded
    /// that: GitHub then shows a run that the ledger does not know.
    pub(super) fn unsure(&self, target: &Target) -> bool {
        let start = self.0.started_at_seq();
        let reported = self.0.ledger.report_of(target).is_some_and(|seq| seq >= start);
        !reported && self.0.ledger.with_head(&target.sha).first().is_some_and(|seq| *seq < start)
    }

    pub(in crate::gate) fn shown(&self, target: &Target) -> Option<ReportData> {
        let seq = self.0.ledger.report_of(target)?;
        let stored = self.stored(seq).ok()??;
        let data = serde_json::from_value::<ReportData>(stored.entry.data).ok()?;
        match (data.result, data.check_run) {
            (ReportResult::Withheld, None) => None,
            // What stands there is older, and not of the verdicts that were not sent.
            (ReportResult::Withheld, Some(_)) => Some(ReportData { covers: vec![], ..data }),
            _ => Some(data),
        }
    }

    pub(super) fn title_shown(&self, target: &Target) -> Option<String> {
        let seq = self.0.ledger.report_of(target)?;
        let request = self.0.ledger.body(seq, "check_run").ok()??;
        let request: serde_json::Value = serde_json::from_slice(&request).ok()?;
        request["output"]["title"].as_str().map(str::to_owned)
    }

    /// Whether what GitHub shows says the same in the same words.
    pub(super) fn says_the_same(&self, shown: Option<&ReportData>, verdict: &Verdict, state: State) -> bool {
        let Some(shown) = shown else { return false };
        if shown.conclusion.as_deref() != state.conclusion() {
            return false;
        }
        let worst_before =
            shown.covers.iter().filter_map(|seq| self.verdict(*seq).ok()).max_by_key(|v| v.decision);
        worst_before.is_some_and(|before| {
            before.reason == verdict.reason
                && before.controls == verdict.controls
                && before.answers == verdict.answers
        })
    }

    /// `<generation>:<seq>:<leaf hash>` of the entry that a run shows.
    pub(in crate::gate) fn external_id(&self, seq: u64, leaf: Hash) -> String {
        format!("{}:{seq}:{leaf}", self.0.ledger.head().generation)
    }

    /// Whether our ledger wrote the run that an event is about: it names an entry of ours, and passes only
    /// if that entry is a verdict that lets it. Whoever has the App's key can keep the external id of a
    /// red run and turn it green.
    pub(in crate::gate) fn wrote(&self, check: &event::CheckRef) -> bool {
        // A suite has no external id: GitHub makes it for every push.
        if check.check_run.is_none() {
            return true;
        }
        let Some((generation, seq, leaf)) = named(check) else { return false };
        let Ok(Some(stored)) = self.0.ledger.entry(seq) else { return false };
        generation == self.0.ledger.head().generation.to_string()
            && stored.leaf.to_string() == leaf
            && match check.conclusion.as_deref() {
                Some("success") => lets_pass(&stored, check),
                // Both pass a required check, and gatelog sends neither.
                Some("neutral" | "skipped") => false,
                _ => true,
            }
    }

    /// Of a run that is not ours: which entry it names that this ledger does not have, and which backup to restore if
    /// it had it once. `None`: it names none, or one of ours that allows nothing.
    pub(in crate::gate) fn names_what_is_lost(&self, check: &event::CheckRef) -> Option<String> {
        let (generation, seq, leaf) = named(check)?;
        let head = self.0.ledger.head();
        if generation != head.generation.to_string() {
            return Some(format!(
                "it names entry {seq} of the generation {}, and this is {}: perhaps another gatelog runs with the same App",
                short(generation),
                head.generation
            ));
        }
        let restore = format!(
            "if the ledger was rolled back, restore a backup of which `gatelog log show {seq}` says the leaf {}",
            short(leaf)
        );
        let here = self.0.ledger.entry(seq).ok().flatten().map(|stored| stored.leaf.to_string());
        match here {
            Some(here) if here == leaf => None,
            Some(_) => Some(format!("it names an entry {seq} that is another one here; {restore}")),
            None => {
                Some(format!("it names entry {seq}, and the ledger has {} entries; {restore}", head.size))
            }
        }
    }

    pub(in crate::gate) fn stored(&self, seq: u64) -> Result<Option<Stored>, Trouble> {
        self.0.ledger.entry(seq).map_err(|e| unreadable(&e.to_string()))
    }

    pub(in crate::gate) fn verdict(&self, seq: u64) -> Result<Verdict, Trouble> {
        let body = self.0.ledger.body(seq, "verdict").map_err(|e| unreadable(&e.to_string()))?;
        let Some(body) = body else { return self.erased_verdict(seq) };
        serde_json::from_slice(&body).map_err(|e| unreadable(&e.to_string()))
    }
}

/// Generation, entry and leaf of the external id of a run.
fn named(check: &event::CheckRef) -> Option<(&str, u64, &str)> {
    let (generation, rest) = check.external_id.as_deref()?.split_once(':')?;
    let (seq, leaf) = rest.split_once(':')?;
    Some((generation, seq.parse().ok()?, leaf))
}

/// Of what anybody may have written: as much as tells it from others.
fn short(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

impl Gate {
    /// The decision stands in the entry; why it was made is gone.
    fn erased_verdict(&self, seq: u64) -> Result<Verdict, Trouble> {
        let stored = self.stored(seq)?.ok_or_else(|| unreadable("a verdict is missing"))?;
        let data: VerdictData =
            serde_json::from_value(stored.entry.data).map_err(|e| unreadable(&e.to_string()))?;
        Ok(Verdict {
            decision: data.decision,
            reason: "The reasons of this decision were erased".into(),
            controls: vec![],
            valid_until: data.valid_until,
            bundle: data.bundle,
            engine: data.engine,
            rewriter: data.rewriter,
            answers: vec![],
        })
    }
}

/// The entry is a verdict `allow` for just this commit and check.
fn lets_pass(stored: &Stored, check: &event::CheckRef) -> bool {
    if stored.entry.kind != Kind::Verdict {
        return false;
    }
    let verdict = serde_json::from_value::<VerdictData>(stored.entry.data.clone());
    verdict.is_ok_and(|v| {
        v.decision == Decision::Allow
            && v.target
                .is_some_and(|t| Some(&t.sha) == check.head.as_ref() && Some(&t.check) == check.name.as_ref())
    })
}
