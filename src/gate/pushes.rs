//! Pushes that could not be decided: judged again, because no other event would bring their check to an end.
//! And when the verdict on a merge group ends.
//!
//! A push happened once, and what was decided of it stays decided. Only `pending`, which ends, and `error`
//! for want of facts are looked at again by themselves, and whatever somebody asks to be judged again. The
//! event of the look has the payload of the first. Its merge verdict is another matter: [`super::landed`].

use std::{collections::HashMap, time::Duration};

use super::{
    Gate, Item,
    again::{passed, settling},
    look::Looked,
    waits::{backoff, jitter},
};
use crate::{
    event::{Cause, Subject, SubjectKind},
    ledger::entry::{Entry, VerdictData},
    time::Time,
    verdict::{Decision, Target, Verdict},
};

/// A push that landed longer ago is not asked about again at a start.
const LANDED_LATELY: Duration = Duration::from_secs(3600);

/// A verdict on a push that does not stand: it, its event, and until when it is valid.
#[derive(Clone, Copy)]
pub(super) struct Undecided {
    pub verdict: u64,
    pub event: u64,
    pub until: Time,
}

/// A push whose merge verdict saw no bypass: it, its event, and when that is asked again.
#[derive(Clone, Copy)]
pub(super) struct Landed {
    pub verdict: u64,
    pub event: u64,
    pub until: Time,
}

impl Gate {
    /// Looks again at a push or a merge group when the verdict on it ends. Pull requests have timers of their
    /// own.
    pub(super) fn look_when_it_ends(
        &self,
        item: &Item,
        looked: &Looked,
        verdict: u64,
        judged: &Verdict,
        heals_at: Option<Time>,
    ) {
        let until = heals_at.or(judged.valid_until);
        let (subject, group) = (&looked.subject, looked.subject.kind == SubjectKind::MergeGroup);
        if let (true, Some(repository), Some(head)) = (group, subject.repository, &subject.head) {
            match until {
                Some(until) => self.look_at_group_at(repository, head.clone(), until),
                None => super::lock(&self.0.groups).end(repository, head, None),
            }
        }
        if let (SubjectKind::Ref, Some(until)) = (subject.kind, until.filter(|_| is_open(judged.decision))) {
            self.look_at_push_at(Undecided { verdict, event: item.seq, until });
        }
    }

    pub(super) fn look_at_push_at(&self, push: Undecided) {
        let gate = self.clone();
        tokio::spawn(async move {
            passed(push.until, Time::now).await;
            let begun = Time::now();
            while !*gate.0.stopping.borrow() {
                let look = gate.look_at_event_again(push.event, push.verdict, Cause::Expired, "push").await;
                match look {
                    Ok(()) => return,
                    // However long the ledger is full: nothing else would bring the check to an end.
                    Err(trouble) if trouble.passes() => {
                        let waited = Time::now().since(begun);
                        let pause = trouble.retry_after.unwrap_or_else(|| backoff(waited));
                        tokio::time::sleep(pause + jitter(pause)).await;
                    }
                    Err(trouble) => {
                        return tracing::error!("a push is not judged again: {}", trouble.reason);
                    }
                }
            }
        });
    }

    pub(super) fn look_at_pushes_told(&self, told: Told) {
        told.undecided.into_values().for_each(|push| self.look_at_push_at(push));
        told.landed.into_iter().for_each(|push| self.look_at_bypass_at(push));
    }

    /// Somebody asks for the checks on a commit: what was pushed there is judged again, once for each time.
    pub(super) async fn look_at_pushes_on(&self, asked: &Subject, by: u64) {
        let (Some(repository), Some(sha)) = (asked.repository, asked.head.clone()) else { return };
        let check = format!("{}/push", self.0.settings.check_name);
        let Ok(newest) = self.newest_verdicts(&Target { repository, sha, check }) else { return };
        for pushed in newest {
            let Ok(Some(stored)) = self.stored(pushed.seq) else { continue };
            let Some(event) = stored.entry.refs.first() else { continue };
            let what = format!("push:{by}");
            if let Err(trouble) =
                self.look_at_event_again(*event, pushed.seq, Cause::Rerequested, &what).await
            {
                tracing::error!("a push is not judged again: {}", trouble.reason);
            }
        }
    }
}

/// What is told at start of pushes that were not decided, or landed lately.
#[derive(Default)]
pub(super) struct Told {
    pub undecided: HashMap<u64, Undecided>,
    landed: Vec<Landed>,
}

impl Told {
    /// A verdict.
    pub fn judged(&mut self, entry: &Entry, now: Time) {
        if entry.subject.kind == SubjectKind::Ref
            && let Some(event) = entry.refs.first()
            && let Ok(data) = serde_json::from_value::<VerdictData>(entry.data.clone())
        {
            let (verdict, event) = (entry.seq, *event);
            if let Some(until) = data.valid_until.filter(|_| is_open(data.decision)) {
                self.undecided.insert(verdict, Undecided { verdict, event, until });
            }
            let first = data.landing.is_some_and(|l| l.bypassed == Some(false) && l.instead_of.is_none());
            if first && now.since(entry.time) < LANDED_LATELY {
                self.landed.push(Landed { verdict, event, until: entry.time.plus(settling()) });
            }
        }
    }

    /// An event: where it is about a push that was judged before, it is the look that followed.
    pub fn looked(&mut self, subject: &Subject, refs: &[u64]) {
        if let (SubjectKind::Ref, Some(verdict)) = (subject.kind, refs.first()) {
            self.undecided.remove(verdict);
        }
    }
}

/// Whether something is still to be decided.
pub(super) fn is_open(decision: Decision) -> bool {
    matches!(decision, Decision::Pending | Decision::Error)
}
