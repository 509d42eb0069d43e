//! Looking again: which pull requests, because of what, and when.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use super::{
    Gate, Item, Later,
    drafts::{self, PullAddress},
    lock, look,
    waits::sooner,
};
use crate::{
    event::{self, About, Cause, CheckRef, ContentType, Event, FanOut, Handling, Sha, Source, SubjectKind},
    github::{Trouble, TroubleKind},
    ledger::entry::{Body, Draft, EventData, Key, Kind, Receipt, Ref},
    time::Time,
    verdict::{Decision, Verdict},
};

/// Own events that a change of everything (a new bundle, a start) asks for, per second: a burst of
/// check runs is a known way into GitHub's secondary limits (80 content writes a minute).
const LOOKS_PER_SECOND: u32 = 5;

/// An answer from before what an event told is read again after this.
const CATCH_UP: Duration = Duration::from_secs(30);

/// After people, teams or rules changed, GitHub's answers may be those of before for so long: nothing in them
/// tells. They are cached no longer either.
pub(super) const SETTLING: Duration = Duration::from_secs(61);

/// What settles: whose looks, in a repository or in all of an installation.
pub(super) type Place = (FanOut, Option<u64>, Option<u64>);

/// An `error` for want of facts is judged again by itself after this, then after twice that …
const FIRST_HEALING: Duration = Duration::from_secs(30);
const LONGEST_HEALING: Duration = Duration::from_secs(3600);

/// While it waits for an end, the wall clock is looked at this often.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// Waits until the wall clock says so, also where it is set back or forward meanwhile.
pub(super) async fn passed(until: Time, now: impl Fn() -> Time) {
    loop {
        let left = until.since(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_NAP)).await;
    }
}

/// One look for each end of each verdict: a later verdict may end at the same time, and is looked at too.
fn once_ended(until: Time, (repository, number): (u64, u64), verdict: Option<u64>) -> String {
    let verdict = verdict.map_or("none".to_owned(), |seq| seq.to_string());
    format!("expired:{until}:{verdict}:{repository}:{number}")
}

impl Gate {
    /// Every pull request to look at again because of this event and those it stands for, once.
    pub(super) fn fan_outs(&self, item: &Item, older: &[Item]) -> Vec<(PullAddress, Cause)> {
        let mut again: Vec<(PullAddress, Cause)> = Vec::new();
        for item in older.iter().chain([item]) {
            let Some(event) = item.event.as_deref() else { continue };
            for (at, cause) in self.fan_out(event, event::handling(event)) {
                if again.iter().all(|(known, _)| *known != at) {
                    again.push((at, cause));
                }
            }
        }
        again
    }

    /// The pull requests to look at again because of an event.
    pub(super) fn fan_out(&self, event: &Event, handling: Handling) -> Vec<(PullAddress, Cause)> {
        let repository = event.repository.as_ref().map(|r| r.id);
        let because =
            |cause: Cause, found: Vec<PullAddress>| found.into_iter().map(|at| (at, cause)).collect();
        match handling.fan_out {
            FanOut::None => vec![],
            FanOut::Head => self.on_head(repository, event.subject().head.as_ref(), Cause::Rerequested),
            FanOut::SharedHead => {
                let About::PullRequest(pull) = &event.about else { return vec![] };
                let mut again = self.on_head(repository, pull.head.as_ref(), Cause::SharedHead);
                again.extend(self.on_head(repository, pull.before.as_ref(), Cause::SharedHead));
                again.retain(|(at, _)| at.number != pull.number);
                again
            }
            FanOut::Repository => {
                let found = repository.map(|r| lock(&self.0.pulls).of_repository(r));
                because(Cause::Membership, found.unwrap_or_default())
            }
            FanOut::Organization => {
                let pulls = lock(&self.0.pulls);
                because(Cause::Membership, pulls.of_organization(event.organization, event.installation))
            }
            FanOut::Base => match (&event.about, repository) {
                (About::Ref(r), Some(id)) => because(Cause::Base, lock(&self.0.pulls).with_base(id, &r.name)),
                _ => vec![],
            },
            FanOut::Reading(fact) => because(Cause::Fact, self.reading(event, fact)),
        }
    }

    /// The pull requests that an event is about whose controls read this fact.
    fn reading(&self, event: &Event, fact: &str) -> Vec<PullAddress> {
        let pulls = lock(&self.0.pulls);
        let repository = event.repository.as_ref().map(|r| r.id);
        let mut found = match (&event.about, repository) {
            (About::Check(CheckRef { head, .. }), Some(id)) => {
                let numbers = head.iter().flat_map(|h| pulls.on_head(id, h));
                numbers.filter_map(|n| pulls.address(id, n)).collect()
            }
            (About::Ref(r), Some(id)) => pulls.with_base(id, &r.name),
            (_, Some(id)) => pulls.of_repository(id),
            (_, None) => pulls.of_organization(event.organization, event.installation),
        };
        found.retain(|at| pulls.reads(at.repository.id, at.number, fact));
        found
    }

    /// Pull requests that GitHub shows on the head just read, and that no delivery has told of: the one
    /// that opened it, or moved it there, was lost. What is shown on the head must hold for them too.
    pub(super) fn not_known_yet(&self, looked: &look::Looked) -> Vec<(PullAddress, Cause)> {
        let (Some(repository), Some(head), Some(true)) =
            (looked.subject.repository, &looked.subject.head, looked.open)
        else {
            return vec![];
        };
        let mut pulls = lock(&self.0.pulls);
        let unknown = |n: &&u64| !pulls.on_head(repository, head).contains(n);
        let numbers: Vec<u64> = looked.shared_head.iter().filter(unknown).copied().collect();
        for number in &numbers {
            pulls.open(repository, *number, Some(head.clone()), None);
        }
        let address = |n: u64| pulls.address(repository, n);
        numbers.into_iter().filter_map(address).map(|at| (at, Cause::SharedHead)).collect()
    }

    /// The open pull requests on a head.
    pub(super) fn on_head(
        &self,
        repository: Option<u64>,
        head: Option<&Sha>,
        cause: Cause,
    ) -> Vec<(PullAddress, Cause)> {
        let (Some(repository), Some(head)) = (repository, head) else { return vec![] };
        let pulls = lock(&self.0.pulls);
        let numbers = pulls.on_head(repository, head).into_iter();
        numbers.filter_map(|n| pulls.address(repository, n)).map(|at| (at, cause)).collect()
    }

    pub(super) fn fan_out_draft(&self, seq: u64, at: &PullAddress, cause: Cause) -> Draft {
        let key = format!("again:{seq}:{}:{}", at.repository.id, at.number);
        drafts::look_again(at, cause, vec![Ref::Seq(seq)], key)
    }

    pub(super) fn enqueue_again(&self, at: &PullAddress, cause: Cause, receipt: Receipt) {
        if receipt.duplicate {
            return;
        }
        self.enqueue(Item {
            seq: receipt.seq,
            event: Some(Arc::new(look::own_event(at, cause))),
            received_at: Time::now(),
            guid: None,
            replayed: false,
            unreadable: false,
        });
    }

    /// Asks for another look at a pull request, once per `key`.
    pub(super) async fn look_again(
        &self,
        at: &PullAddress,
        cause: Cause,
        refs: Vec<Ref>,
        key: String,
    ) -> Result<Vec<u64>, Later> {
        let receipts = self.append(vec![drafts::look_again(at, cause, refs, key)]).await?;
        let seqs = receipts.iter().map(|r| r.seq).collect();
        for receipt in receipts {
            self.enqueue_again(at, cause, receipt);
        }
        Ok(seqs)
    }

    /// As [`Gate::look_again`]. What cannot be recorded now (the ledger is full) is recorded later: a green stands
    /// on it. `None`: the gate stops.
    pub(super) async fn look_again_for_sure(
        &self,
        at: &PullAddress,
        cause: Cause,
        refs: Vec<Ref>,
        key: String,
    ) -> Option<Vec<u64>> {
        while !*self.0.stopping.borrow() {
            match self.look_again(at, cause, refs.clone(), key.clone()).await {
                Ok(looks) => return Some(looks),
                Err(later) => tokio::time::sleep(later.after).await,
            }
        }
        None
    }

    /// An own event with the payload of the first: judged and answered anew, once for `what`.
    pub(super) async fn look_at_event_again(
        &self,
        event: u64,
        verdict: u64,
        cause: Cause,
        what: &str,
    ) -> Result<(), Trouble> {
        let broken = |why: String| Trouble::new(TroubleKind::Unexpected, why);
        let stored = self.stored(event)?.ok_or_else(|| broken("the event is not in the ledger".into()))?;
        let was: EventData =
            serde_json::from_value(stored.entry.data.clone()).map_err(|e| broken(e.to_string()))?;
        let media = stored.entry.bodies.get("payload").map_or("", |b| b.media.as_str());
        let content = ContentType::of_media(media);
        let body = self.0.ledger.body(event, "payload").map_err(|e| broken(e.to_string()))?;
        let body = body.ok_or_else(|| broken("its payload was erased".into()))?;
        let parsed = event::parse_stored(&was.name, Source::Gatelog, Some(cause), content, &body)
            .map_err(|e| broken(e.to_string()))?;
        let data = EventData { source: Source::Gatelog, cause: Some(cause), flags: vec![], ..was };
        let draft = Draft {
            kind: Kind::Event,
            subject: stored.entry.subject,
            key: Key::Plain(format!("again:{verdict}:{what}")),
            refs: vec![Ref::Seq(verdict)],
            bodies: vec![("payload".into(), Body { bytes: body.to_vec().into(), media: content.media() })],
            data: serde_json::json!(data),
        };
        let receipts = self.append(vec![draft]).await.map_err(|later| {
            Trouble::new(TroubleKind::Unavailable, "the look could not be recorded").after(later.after)
        })?;
        if let Some(receipt) = receipts.first().filter(|r| !r.duplicate) {
            self.enqueue(Item {
                seq: receipt.seq,
                event: Some(Arc::new(parsed)),
                received_at: Time::now(),
                guid: None,
                replayed: false,
                unreadable: false,
            });
        }
        Ok(())
    }

    /// Another look at every merge group and every open pull request, throttled.
    pub(super) async fn look_again_at_all(&self, cause: Cause) {
        super::die_at("gate::looks");
        // First: their queue waits for them.
        self.look_again_at_groups(cause, |_| true).await;
        let head = self.0.ledger.head().size;
        let repositories = lock(&self.0.pulls).repositories();
        for known in repositories {
            let addresses = lock(&self.0.pulls).of_repository(known.repository.id);
            for at in addresses {
                let key = format!("all:{head}:{}:{}", at.repository.id, at.number);
                if self.look_again_for_sure(&at, cause, vec![], key).await.is_none() {
                    return;
                }
                tokio::time::sleep(pace()).await;
            }
        }
    }

    /// Looks a second time at what an event about people, teams or rules touched, when GitHub must show what
    /// it told: a right to write that was taken away would keep its approval green. Events that come while a
    /// place waits share its next look, and no stream of them puts it off.
    pub(super) fn look_when_settled(&self, seq: u64, event: Arc<Event>) {
        let fan_out = event::handling(&event).fan_out;
        let repository = event.repository.as_ref().filter(|_| fan_out != FanOut::Organization).map(|r| r.id);
        let place: Place = (fan_out, repository, event.installation);
        if fan_out == FanOut::None {
            return;
        }
        let waits = match lock(&self.0.settling).entry(place) {
            Entry::Occupied(mut newest) => {
                if newest.get().0 < seq {
                    newest.insert((seq, event));
                }
                true
            }
            Entry::Vacant(new) => {
                new.insert((seq, event));
                false
            }
        };
        if !waits {
            let gate = self.clone();
            tokio::spawn(async move { gate.settle(place, seq).await });
        }
    }

    async fn settle(&self, place: Place, mut since: u64) {
        loop {
            tokio::time::sleep(settling()).await;
            let Some((seq, event)) = lock(&self.0.settling).get(&place).cloned() else { return };
            for (at, cause) in self.fan_out(&event, event::handling(&event)) {
                // Of the newest there may be two: with those that came before it, and when it has settled itself.
                let key = format!("settled:{since}:{seq}:{}:{}", at.repository.id, at.number);
                if self.look_again_for_sure(&at, cause, vec![Ref::Seq(seq)], key).await.is_none() {
                    return;
                }
                tokio::time::sleep(pace()).await;
            }
            let mut settling = lock(&self.0.settling);
            // What came meanwhile has settled when as much time has passed again.
            if seq == since && settling.get(&place).is_some_and(|(newest, _)| *newest == seq) {
                settling.remove(&place);
                return;
            }
            since = settling.get(&place).map_or(seq, |(newest, _)| *newest);
        }
    }

    /// Looks again at an open pull request when its verdict is no longer valid.
    pub(super) fn schedule(&self, event: &Event, verdict: &Verdict) {
        // A comment decides nothing, and ends no waiting for the end of a decision.
        if event::handling(event).judge != event::Judge::PullRequest {
            return;
        }
        let Some(at) = drafts::address(event) else { return };
        match verdict.valid_until {
            Some(until) => self.schedule_at(at, until),
            // The verdict before may have had an end.
            None => _ = lock(&self.0.timers).remove(&(at.repository.id, at.number)),
        }
    }

    pub(super) fn schedule_at(&self, at: PullAddress, until: Time) {
        let key = (at.repository.id, at.number);
        lock(&self.0.timers).insert(key, until);
        let gate = self.clone();
        tokio::spawn(async move {
            passed(until, Time::now).await;
            loop {
                // Before the look: its verdict may end at the same time, and waits for that anew.
                let own = {
                    let mut timers = lock(&gate.0.timers);
                    let own = timers.get(&key) == Some(&until);
                    if own {
                        timers.remove(&key);
                    }
                    own
                };
                // Also where it is thought to be closed: the look finds out, and costs little. The verdict on a
                // pull request that was closed ends the waiting.
                if !own || *gate.0.stopping.borrow() {
                    return;
                }
                let once = once_ended(until, key, gate.decided_last(key.0, key.1));
                let Err(later) = gate.look_again(&at, Cause::Expired, vec![], once).await else { return };
                // What cannot be recorded now (the ledger is full) must be later: a green stands on it.
                lock(&gate.0.timers).entry(key).or_insert(until);
                tokio::time::sleep(later.after).await;
            }
        });
    }

    /// The entry of the last verdict on a pull request.
    fn decided_last(&self, repository: u64, number: u64) -> Option<u64> {
        let decides = |seq: &u64| matches!(self.0.ledger.entry(*seq), Ok(Some(stored)) if self.decides_pull_request(&stored));
        self.0.ledger.of_pull(repository, number).into_iter().rev().find(decides)
    }

    /// When what may not be so any more is judged again by itself: an answer that was behind, soon. And an
    /// `error` for want of facts: a partial answer of GitHub heals, and
    /// nobody would send an event for it. Half a minute at first, an hour at most.
    pub(super) fn heals_at(&self, looked: &look::Looked, verdict: &Verdict) -> Option<Time> {
        if looked.behind {
            let soon = Time::now().plus(sooner("gate::catch_up", CATCH_UP));
            return Some(verdict.valid_until.map_or(soon, |until| until.min(soon)));
        }
        let subject = &looked.subject;
        let stands = matches!(subject.kind, SubjectKind::MergeGroup | SubjectKind::Ref);
        let lacking = looked.incomplete && !looked.without_github && (looked.open == Some(true) || stands);
        if verdict.decision != Decision::Error || verdict.valid_until.is_some() || !lacking {
            return None;
        }
        let before = self.errors_in_a_row(subject)?;
        let wait = FIRST_HEALING * 2u32.pow(before.min(7));
        Some(Time::now().plus(wait.min(LONGEST_HEALING)))
    }

    fn errors_in_a_row(&self, subject: &event::Subject) -> Option<u32> {
        let mut count = 0;
        let pull = subject.kind == SubjectKind::PullRequest;
        let seqs = match pull {
            true => self.0.ledger.of_pull(subject.repository?, subject.id?),
            false => self.0.ledger.with_head(subject.head.as_ref()?),
        };
        for seq in seqs.into_iter().rev() {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            let same = match pull {
                true => self.decides_pull_request(&stored),
                false => stored.entry.kind == Kind::Verdict && stored.entry.subject.kind == subject.kind,
            };
            if !same {
                continue;
            }
            match stored.entry.data["decision"].as_str() {
                Some("error") if count < 8 => count += 1,
                Some("superseded") => {}
                _ => break,
            }
        }
        Some(count)
    }
}

/// Between two looks that a change of everything asks for. Tests stop after the first.
pub(super) fn pace() -> Duration {
    sooner("gate::pace", Duration::from_secs(1) / LOOKS_PER_SECOND)
}

pub(super) fn settling() -> Duration {
    sooner("gate::settling", SETTLING)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn an_end_is_waited_for_though_the_clock_is_set_back() {
        let until: Time = "2026-11-24T12:00:00Z".parse().unwrap();
        let before = |ms| until.before(Duration::from_millis(ms));
        // Nearly over, set back, a little before, over.
        let clock = Mutex::new(vec![until, before(1), before(20), before(5)]);
        passed(until, || clock.lock().unwrap().pop().expect("asked again after the end")).await;
        assert!(clock.lock().unwrap().is_empty(), "{clock:?}");
    }

    #[test]
    fn the_end_of_a_later_verdict_is_another_one() {
        let until: Time = "2026-11-24T12:00:00Z".parse().unwrap();
        assert_ne!(once_ended(until, (3, 7), Some(40)), once_ended(until, (3, 7), Some(42)));
        assert_eq!(once_ended(until, (3, 7), Some(40)), once_ended(until, (3, 7), Some(40)));
    }
}
