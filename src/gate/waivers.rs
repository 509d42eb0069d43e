//! The exceptions of the ledger: read back from its entries, so that a restart changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::often::Often;
use crate::{
    event::Sha,
    facts::waivers::{Answered, Scope, Waiver, WaiverKind},
    ledger::entry::{Entry, WaiverData, WaiverStep},
    time::Time,
    verdict::Verdict,
};

/// [`WaiverData::via`] of those that were asked for on a pull request.
pub const COMMENT: &str = "comment";

/// Answers that are shown with a pull request.
const SHOWN: usize = 5;

/// The body `waiver`: what may be erased of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Words {
    pub by: Who,
    /// Who answers for the exception, where that is not `by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why, or what was answered.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What the check run shows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// `null`: the local operator.
    pub id: Option<u64>,
    pub login: String,
}

/// One exception and how far it came.
#[derive(Clone, Debug)]
pub struct Held {
    pub waiver: Waiver,
    pub by: Who,
    /// Waits for a second person.
    pub waits: bool,
    pub approved_by: Option<Who>,
    /// The entry in which the second person agreed.
    pub agreed_in: Option<u64>,
    /// Asked for on the pull request, not by the operator.
    pub by_comment: bool,
    pub revoked: bool,
    pub review: Review,
    pub pull: Option<(u64, u64)>,
}

impl Held {
    /// Goes on when the pull request gets another head, as long as nobody who made it pushed there.
    pub fn goes_on(&self) -> bool {
        self.by_comment && self.waiver.scope.head.is_none()
    }

    /// Of a comment, and names no base (older entries do not): perhaps it was made for another one, so it does not
    /// hold.
    pub fn names_no_base(&self) -> bool {
        self.by_comment && self.waiver.scope.branch.is_none()
    }

    /// Whether one of these people made it.
    pub fn made_by_one_of(&self, people: &BTreeSet<u64>) -> bool {
        let makers = [self.by.id, self.approved_by.as_ref().and_then(|w| w.id)];
        makers.iter().flatten().any(|id| people.contains(id))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    NotNeeded,
    /// To be done until then.
    Due(Time),
    /// It was not, and that was said.
    Overdue,
    Done,
}

/// An answer, and the head it was given at.
type At = (Option<Sha>, Answered);

#[derive(Default)]
pub struct Waivers {
    held: BTreeMap<u64, Held>,
    answers: HashMap<(u64, u64), VecDeque<At>>,
    /// Repository, pull request, account → when that person asked for another look.
    rechecks: Often<(u64, u64, u64)>,
}

impl Waivers {
    /// Learns a step. Without its body (erased) an exception cannot be shown for what it is, and does not hold.
    pub fn note(&mut self, entry: &Entry, words: Option<Words>) {
        let Ok(data) = serde_json::from_value::<WaiverData>(entry.data.clone()) else { return };
        let pull = entry.subject.repository.zip(entry.subject.id);
        if let (Some(pull), Some(words)) = (pull, &words)
            && let Some(answer) = &words.answer
        {
            let said = Answered { entry: entry.seq, by: words.by.login.clone(), answer: answer.clone() };
            let answers = self.answers.entry(pull).or_default();
            answers.push_back((entry.subject.head.clone(), said));
            while answers.len() > SHOWN {
                answers.pop_front();
            }
        }
        match (data.step, data.of) {
            (WaiverStep::Requested | WaiverStep::Granted, _) => self.begin(entry, data, words, pull),
            (step, Some(of)) => self.step(entry.seq, of, step, &data, words),
            (_, None) => {}
        }
    }

    fn begin(&mut self, entry: &Entry, data: WaiverData, words: Option<Words>, pull: Option<(u64, u64)>) {
        let (Some(words), Some(from), Some(until)) = (words, data.from, data.until) else { return };
        let kind = if data.break_glass { WaiverKind::BreakGlass } else { WaiverKind::Waiver };
        let scope = Scope {
            repository: words.repository,
            repository_id: entry.subject.repository,
            branch: words.branch,
            pull_request: entry.subject.id,
            head: data.head,
            paths: words.paths,
        };
        let owner = words.owner.unwrap_or_else(|| words.by.login.clone());
        let waiver = Waiver {
            entry: Some(entry.seq),
            kind,
            controls: data.controls,
            scope,
            owner,
            reason: words.reason,
            from,
            until,
        };
        let waits = data.step == WaiverStep::Requested;
        let review = data.review_due.map_or(Review::NotNeeded, Review::Due);
        let by_comment = data.via == COMMENT;
        let held = Held {
            waiver,
            by: words.by,
            waits,
            approved_by: None,
            agreed_in: None,
            by_comment,
            revoked: false,
            review,
            pull,
        };
        self.held.insert(entry.seq, held);
    }

    fn step(&mut self, seq: u64, of: u64, step: WaiverStep, data: &WaiverData, words: Option<Words>) {
        let Some(held) = self.held.get_mut(&of) else { return };
        match step {
            WaiverStep::Approved => {
                // Of an erased one it is not known any more whose it was.
                let Some(words) = words else { return };
                held.waits = false;
                held.approved_by = Some(words.by);
                held.agreed_in = Some(seq);
                // An emergency's clock begins when it is agreed to.
                held.waiver.from = data.from.unwrap_or(held.waiver.from);
                held.waiver.until = data.until.unwrap_or(held.waiver.until);
                held.review = data.review_due.map_or(held.review, Review::Due);
            }
            WaiverStep::Revoked => held.revoked = true,
            WaiverStep::Reviewed => held.review = Review::Done,
            WaiverStep::Overdue if held.review != Review::Done => held.review = Review::Overdue,
            _ => {}
        }
    }

    /// Entries whose words are held.
    pub fn told_by(&self) -> BTreeSet<u64> {
        let agreed = self.held.values().filter_map(|h| h.agreed_in);
        let answers = self.answers.values().flatten().map(|(_, said)| said.entry);
        self.held.keys().copied().chain(agreed).chain(answers).collect()
    }

    /// Forgets what a step said, because its body was erased: an exception that rests on it does not hold any more.
    pub fn forget(&mut self, seq: u64) {
        self.held.remove(&seq);
        for held in self.held.values_mut().filter(|h| h.agreed_in == Some(seq)) {
            (held.waits, held.approved_by, held.agreed_in) = (true, None, None);
        }
        for answers in self.answers.values_mut() {
            answers.retain(|(_, said)| said.entry != seq);
        }
    }

    /// Whether somebody may ask for another look once more; counted if so.
    pub fn may_recheck(&mut self, who: (u64, u64, u64), now: Time, most: usize, within: Duration) -> bool {
        self.rechecks.may(who, now, most, within)
    }

    /// Every exception, by its first entry.
    pub fn all(&self) -> impl Iterator<Item = (u64, &Held)> {
        self.held.iter().map(|(seq, held)| (*seq, held))
    }

    pub fn get(&self, seq: u64) -> Option<&Held> {
        self.held.get(&seq)
    }

    /// The steps that made the exceptions which a verdict rests on.
    pub fn steps_of(&self, verdict: &Verdict) -> BTreeSet<u64> {
        let firsts = verdict.controls.iter().flat_map(|c| &c.waived_by).filter_map(|by| by.entry);
        let steps = |first| [Some(first), self.held.get(&first).and_then(|h| h.agreed_in)];
        firsts.flat_map(steps).flatten().collect()
    }

    /// What holds, or will, for a repository.
    pub fn of_repository(&self, repository: u64, now: Time) -> Vec<&Held> {
        let holds = |h: &&Held| !h.waits && !h.revoked && h.waiver.until > now && !h.names_no_base();
        let here = |h: &&Held| h.waiver.scope.repository_id.is_none_or(|id| id == repository);
        self.held.values().filter(holds).filter(here).collect()
    }

    /// Requests on a pull request that wait for a second person and have not ended.
    pub fn requests(&self, pull: (u64, u64), now: Time) -> Vec<u64> {
        let waits = |h: &Held| h.waits && !h.revoked && h.pull == Some(pull) && h.waiver.until > now;
        self.held.iter().filter(|(_, h)| waits(h)).map(|(seq, _)| *seq).collect()
    }

    /// Answers at a head of a pull request, oldest first.
    pub fn answers(&self, pull: (u64, u64), head: Option<&Sha>) -> Vec<Answered> {
        let all = self.answers.get(&pull).into_iter().flatten();
        all.filter(|(at, _)| at.is_none() || at.as_ref() == head).map(|(_, said)| said.clone()).collect()
    }

    /// Reviews to be done: entry and until when.
    pub fn due(&self) -> Vec<(u64, Time)> {
        let due = |(seq, h): (&u64, &Held)| match h.review {
            Review::Due(at) if !h.waits => Some((*seq, at)),
            _ => None,
        };
        self.held.iter().filter_map(due).collect()
    }
}
