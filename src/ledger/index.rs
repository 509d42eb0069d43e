//! Look-ups, in memory: rebuilt at open from the summaries, in order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    entry::Kind,
    erasure::SeqSet,
    summary::{Short, Summary, head_hash, key_hash, target_hash},
};
use crate::{
    event::{Sha, SubjectKind},
    verdict::{Decision, Target},
};

/// (repository, number)
type Pull = (u64, u64);

/// Everything that is found without reading entries. About 150 bytes per entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    keys: BTreeMap<Short, u64>,
    fingerprints: BTreeSet<(Short, u64)>,
    /// Events that have none: our own, and deliveries whose payload was erased.
    unprinted: SeqSet,
    erasures: Vec<u64>,
    heads: BTreeSet<(Short, u64)>,
    pulls: BTreeSet<(Pull, u64)>,
    /// Event → verdict.
    verdicts: BTreeMap<u64, u64>,
    unjudged: BTreeSet<u64>,
    /// Target → newest report.
    reports: BTreeMap<Short, u64>,
    /// Verdicts with a target that no report covers, and their pull request.
    unreported: BTreeMap<u64, Option<Pull>>,
    /// The one of them that a newer verdict of the pull request replaces.
    unreported_pull: BTreeMap<Pull, u64>,
    /// The same for merge groups, which are judged again on the same head: by target.
    unreported_group: BTreeMap<Short, u64>,
}

impl Index {
    /// Takes in the entry `seq`; to be called for every entry, in order.
    pub fn apply(&mut self, seq: u64, s: &Summary) {
        let pull = s.repository.zip(s.id).filter(|_| s.about == SubjectKind::PullRequest);
        if let Some(pull) = pull {
            self.pulls.insert((pull, seq));
        }
        if let (Some(head), Kind::Event | Kind::Verdict) = (s.head, &s.kind) {
            self.heads.insert((head, seq));
        }
        if let Some(fingerprint) = s.fingerprint {
            self.fingerprints.insert((fingerprint, seq));
        }
        if s.kind != Kind::Verdict && s.key != Short::default() {
            // The first entry of a key is the one that answers for it.
            self.keys.entry(s.key).or_insert(seq);
        }
        match s.kind {
            Kind::Event => {
                self.unjudged.insert(seq);
                if s.fingerprint.is_none() {
                    self.unprinted.insert(seq);
                }
            }
            Kind::Erasure => self.erasures.push(seq),
            Kind::Verdict => self.apply_verdict(seq, s, pull),
            Kind::Report => self.apply_report(seq, s),
            _ => {}
        }
    }

    fn apply_verdict(&mut self, seq: u64, s: &Summary, pull: Option<Pull>) {
        let Some((decision, event)) = s.verdict else { return };
        self.verdicts.entry(event).or_insert(seq);
        self.unjudged.remove(&event);
        if s.target.is_none() || decision == Decision::Superseded {
            return;
        }
        self.unreported.insert(seq, pull);
        if let Some(older) = pull.and_then(|p| self.unreported_pull.insert(p, seq)) {
            self.unreported.remove(&older);
        }
        if let (SubjectKind::MergeGroup, Some(target)) = (s.about, s.target)
            && let Some(older) = self.unreported_group.insert(target, seq)
        {
            self.unreported.remove(&older);
        }
    }

    fn apply_report(&mut self, seq: u64, s: &Summary) {
        if let Some(target) = s.target {
            self.reports.insert(target, seq);
        }
        for covered in &s.covers {
            if let Some(Some(pull)) = self.unreported.remove(covered) {
                self.unreported_pull.remove(&pull);
            }
        }
    }

    /// The first entry with this idempotency key; not for keys of verdicts.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Option<u64> {
        self.keys.get(&key_hash(key)).copied()
    }

    /// Is this the body of delivery `seq`?
    #[must_use]
    pub fn has_body(&self, fingerprint: Short, seq: u64) -> bool {
        self.fingerprints.contains(&(fingerprint, seq))
    }

    /// Was the body of delivery `seq` erased?
    #[must_use]
    pub fn is_erased(&self, seq: u64) -> bool {
        self.unprinted.contains(seq)
    }

    /// Those of `events` that have a fingerprint.
    #[must_use]
    pub fn fingerprinted(&self, events: &[u64]) -> Vec<u64> {
        events.iter().copied().filter(|seq| !self.unprinted.contains(*seq)).collect()
    }

    /// Their bodies were erased.
    pub fn forget_fingerprints(&mut self, of: &[(u64, Short)]) {
        for (seq, fingerprint) in of {
            self.fingerprints.remove(&(*fingerprint, *seq));
            self.unprinted.insert(*seq);
        }
    }

    /// The entries of kind `erasure`, oldest first.
    #[must_use]
    pub fn erasures(&self) -> &[u64] {
        &self.erasures
    }

    /// Is this the body of any delivery?
    #[must_use]
    pub fn knows_body(&self, fingerprint: Short) -> bool {
        self.fingerprints.range((fingerprint, 0)..=(fingerprint, u64::MAX)).next().is_some()
    }

    #[must_use]
    pub fn with_head(&self, sha: &Sha) -> Vec<u64> {
        let head = head_hash(sha);
        self.heads.range((head, 0)..=(head, u64::MAX)).map(|(_, seq)| *seq).collect()
    }

    #[must_use]
    pub fn of_pull(&self, repository: u64, number: u64) -> Vec<u64> {
        let pull = (repository, number);
        self.pulls.range((pull, 0)..=(pull, u64::MAX)).map(|(_, seq)| *seq).collect()
    }

    #[must_use]
    pub fn verdict_of(&self, event: u64) -> Option<u64> {
        self.verdicts.get(&event).copied()
    }

    #[must_use]
    pub fn unjudged(&self) -> Vec<u64> {
        self.unjudged.iter().copied().collect()
    }

    #[must_use]
    pub fn report_of(&self, target: &Target) -> Option<u64> {
        self.reports.get(&target_hash(target)).copied()
    }

    #[must_use]
    pub fn unreported(&self) -> Vec<u64> {
        self.unreported.keys().copied().collect()
    }

    #[must_use]
    pub fn unreported_of(&self, repository: u64, number: u64) -> Option<u64> {
        self.unreported_pull.get(&(repository, number)).copied()
    }

    #[must_use]
    pub fn pulls_unreported(&self, repository: u64) -> Vec<u64> {
        let of = (repository, 0)..=(repository, u64::MAX);
        self.unreported_pull.range(of).map(|((_, number), _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(kind: Kind) -> Summary {
        Summary {
            kind,
            about: SubjectKind::PullRequest,
            repository: Some(1),
            id: Some(2),
            ..Summary::opaque("2026-11-24T15:04:05Z".parse().unwrap())
        }
    }
    fn verdict(event: u64, decision: Decision, target: bool) -> Summary {
        Summary {
            verdict: Some((decision, event)),
            target: target.then_some([9; 16]),
            ..summary(Kind::Verdict)
        }
    }
    fn report(covers: &[u64]) -> Summary {
        Summary { target: Some([9; 16]), covers: covers.to_vec(), ..summary(Kind::Report) }
    }
    fn index(all: &[Summary]) -> Index {
        let mut index = Index::default();
        for (seq, s) in (0..).zip(all) {
            index.apply(seq, s);
        }
        index
    }

    #[test]
    fn an_event_is_unjudged_until_its_verdict() {
        let i = index(&[summary(Kind::Event), summary(Kind::Event), verdict(1, Decision::Allow, true)]);
        assert_eq!(i.unjudged(), [0]);
        assert_eq!((i.verdict_of(1), i.verdict_of(0)), (Some(2), None));
        assert_eq!(i.of_pull(1, 2), [0, 1, 2]);
        assert!(i.of_pull(1, 3).is_empty());
    }

    #[test]
    fn a_report_covers_what_it_names_only() {
        let e = || summary(Kind::Event);
        let i = index(&[e(), verdict(0, Decision::Deny, true), report(&[0])]);
        assert_eq!(i.unreported(), [1], "`in_progress` covers the event, not the verdict");
        let i = index(&[e(), verdict(0, Decision::Deny, true), report(&[0, 1])]);
        assert!(i.unreported().is_empty());
    }

    #[test]
    fn a_newer_verdict_of_the_pull_request_replaces() {
        let e = || summary(Kind::Event);
        let two = [e(), e(), verdict(0, Decision::Deny, true), verdict(1, Decision::Allow, true)];
        assert_eq!(index(&two).unreported(), [3]);
        let superseded = [e(), e(), verdict(0, Decision::Deny, true), verdict(1, Decision::Superseded, true)];
        assert_eq!(index(&superseded).unreported(), [2], "a superseded verdict says nothing");
        let silent = [e(), e(), verdict(0, Decision::Deny, true), verdict(1, Decision::Allow, false)];
        assert_eq!(index(&silent).unreported(), [2], "a verdict without a target says nothing there");
    }

    #[test]
    fn a_newer_verdict_of_the_merge_group_replaces() {
        let on_group =
            |event| Summary { about: SubjectKind::MergeGroup, ..verdict(event, Decision::Deny, true) };
        let i = index(&[summary(Kind::Event), summary(Kind::Event), on_group(0), on_group(1)]);
        assert_eq!(i.unreported(), [3]);
    }

    #[test]
    fn verdicts_on_refs_never_replace_each_other() {
        let on_ref = |event| Summary { about: SubjectKind::Ref, ..verdict(event, Decision::Deny, true) };
        let i = index(&[summary(Kind::Event), summary(Kind::Event), on_ref(0), on_ref(1)]);
        assert_eq!(i.unreported(), [2, 3]);
    }
}
