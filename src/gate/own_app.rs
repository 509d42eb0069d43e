//! Checks of our own App: recorded without judging, because a verdict on each report would be reported too.
//!
//! One that this ledger did not write is an alarm: the App's key was stolen, or the ledger was rolled back.
//! Success is withheld until an operator has looked at it.

use super::{Gate, ReceiveError, drafts, lock, tampering::Tampering};
use crate::{
    event::{About, Cause, CheckRef, Delivery, Event},
    ledger::entry::{Draft, EventData, Flag, Kind, Ref},
    policy::Bundle,
    verdict::{Decision, Verdict},
};

/// Whether a run of our App that this ledger did not write was seen, and nobody has looked at it.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    on: bool,
    /// How often it was raised in this process.
    raised: u64,
    /// What an operator has looked at: all entries before this one.
    seen: u64,
}

/// The same as the ledger tells it at a start, entry for entry.
#[derive(Debug, Default)]
pub(super) struct Told {
    newest: Option<u64>,
    seen: u64,
}

impl Told {
    /// An event that was flagged.
    pub(super) fn unknown_run(&mut self, seq: u64) {
        self.newest = Some(seq);
    }

    pub(super) fn acknowledged(&mut self, seq: u64, data: &serde_json::Value) {
        // Entries of old did not say: then all before it.
        self.seen = self.seen.max(data["seen"].as_u64().unwrap_or(seq));
    }

    pub(super) fn alarm(&self) -> Alarm {
        Alarm { on: self.newest.is_some_and(|seq| seq >= self.seen), raised: 0, seen: self.seen }
    }
}

impl Alarm {
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    fn raise(&mut self) {
        self.on = true;
        self.raised += 1;
    }
}

/// What a delivery becomes.
pub(super) struct Entries {
    pub group: Vec<Draft>,
    /// It is of our own App, and not judged.
    pub own: bool,
    /// To be alerted once it is durable.
    pub forged: Option<Tampering>,
    /// It raised the alarm.
    alarming: bool,
}

impl Entries {
    fn of_others(draft: Draft) -> Self {
        Self { group: vec![draft], own: false, forged: None, alarming: false }
    }
}

impl Gate {
    pub(super) fn entries_of(&self, delivery: &Delivery, event: Option<&Event>) -> Entries {
        let Some(event) = event else {
            return Entries::of_others(drafts::delivery(delivery, None, vec![Flag::Unreadable]));
        };
        let Some(check) = self.own_check(event) else {
            return Entries::of_others(drafts::delivery(delivery, Some(event), vec![]));
        };
        let mut flags = vec![Flag::OwnApp];
        let verdict = own_app_verdict(&self.bundle());
        let mut verdict = drafts::verdict(Ref::InGroup(0), event.subject(), &verdict, None, None);
        let (mut forged, mut alarming) = (None, false);
        if !self.wrote(check) {
            let mut found = self.unknown_run(event, check);
            match self.looked_at(delivery, check) {
                // Still listed among what was done against the gate, and said no more.
                Some(first) => found.data.repeats = Some(first),
                None => {
                    flags.push(Flag::UnknownRun);
                    alarming = true;
                    // Before it is durable: nothing is let through meanwhile.
                    self.raise_alarm(check.external_id.as_deref());
                }
            }
            verdict = drafts::with_tampering(verdict, &found.data, &found.body);
            forged = Some(found);
        }
        let group = vec![drafts::delivery(delivery, Some(event), flags), verdict];
        Entries { group, own: true, forged, alarming }
    }

    /// The entry that raised the alarm is durable: an operator who acknowledged just before has not seen it.
    pub(super) fn keep_alarm(&self, entries: &Entries, seq: u64) {
        let mut alarm = lock(&self.0.alarm);
        if entries.alarming && seq >= alarm.seen {
            alarm.raise();
            drop(alarm);
            self.0.metrics.alarm(true);
        }
    }

    /// The check of our own App that an event is about, unless a person asks for something with it.
    fn own_check<'e>(&self, event: &'e Event) -> Option<&'e CheckRef> {
        let About::Check(check) = &event.about else { return None };
        let asks = matches!(event.action.as_deref(), Some("rerequested" | "requested_action"));
        let known = matches!(event.name.as_str(), "check_run" | "check_suite");
        (known && !asks && check.app_id == Some(self.0.settings.app_id)).then_some(check)
    }

    /// The entry that brought the same bytes and that an operator has looked at since.
    ///
    /// GitHub signs the body only, so whoever saw one can send it again and stop every green with it. Of the
    /// same bytes nothing is new: they name the run, its times, what it shows, and when its suite last changed,
    /// so that a run which is forged again after it was mended comes with others. Whatever differs in one byte,
    /// was erased, or came after the operator looked, is an alarm.
    fn looked_at(&self, delivery: &Delivery, check: &CheckRef) -> Option<u64> {
        let seen = lock(&self.0.alarm).seen;
        let before = self.0.ledger.with_head(check.head.as_ref()?).into_iter().filter(|seq| *seq < seen);
        before.into_iter().find(|seq| {
            let Ok(Some(stored)) = self.0.ledger.entry(*seq) else { return false };
            let alarming = stored.entry.kind == Kind::Event
                && serde_json::from_value::<EventData>(stored.entry.data)
                    .is_ok_and(|d| d.name == delivery.name && d.flags.contains(&Flag::UnknownRun));
            alarming && matches!(self.0.ledger.body(*seq, "payload"), Ok(Some(b)) if b == delivery.body)
        })
    }

    fn raise_alarm(&self, external_id: Option<&str>) {
        lock(&self.0.alarm).raise();
        self.0.metrics.alarm(true);
        tracing::error!(
            external_id = external_id.unwrap_or("none"),
            "a check run of this App is not in the ledger: its key was stolen or the ledger was rolled back; \
             success is withheld until `gatelog log acknowledge`"
        );
    }

    pub(super) fn alarmed(&self) -> bool {
        lock(&self.0.alarm).is_on()
    }

    /// An operator has looked at the alarm: success may be sent again, unless there was another one meanwhile.
    /// Recorded.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn acknowledge(&self) -> Result<u64, ReceiveError> {
        // In this order: what is raised after the first line is on again, whatever its entry.
        let raised = lock(&self.0.alarm).raised;
        let seen = self.0.ledger.head().size;
        let data = serde_json::json!({"acknowledged": true, "seen": seen, "actor": "local operator"});
        let receipts =
            self.0.ledger.append(vec![drafts::service(data)]).await.map_err(|e| self.refused(e))?;
        let mut alarm = lock(&self.0.alarm);
        alarm.seen = seen;
        alarm.on = alarm.raised != raised;
        let on = alarm.on;
        drop(alarm);
        self.0.metrics.alarm(on);
        let gate = self.clone();
        // A push is not judged again: it happened once.
        gate.show_live(true);
        tokio::spawn(async move {
            gate.look_again_at_all(Cause::Stale).await;
            // Whatever look could not be recorded.
            gate.show_live(false);
        });
        Ok(receipts.first().map_or(0, |r| r.seq))
    }
}

fn own_app_verdict(bundle: &Bundle) -> Verdict {
    Verdict {
        decision: Decision::Allow,
        reason: "Recorded: a check of this App".into(),
        controls: vec![],
        valid_until: None,
        bundle: bundle.digest().to_owned(),
        engine: crate::policy::ENGINE.to_owned(),
        rewriter: crate::policy::REWRITER,
        answers: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(steps: &[(&str, u64, u64)]) -> Alarm {
        let mut told = Told::default();
        for (what, seq, seen) in steps {
            match *what {
                "run" => told.unknown_run(*seq),
                "of old" => told.acknowledged(*seq, &serde_json::json!({"acknowledged": true})),
                _ => told.acknowledged(*seq, &serde_json::json!({"acknowledged": true, "seen": seen})),
            }
        }
        told.alarm()
    }

    #[test]
    fn an_alarm_ends_with_who_has_seen_it() {
        assert!(!told(&[]).is_on());
        assert!(told(&[("run", 5, 0)]).is_on());
        assert!(!told(&[("run", 5, 0), ("seen", 7, 6)]).is_on());
        assert!(!told(&[("run", 5, 0), ("of old", 7, 0)]).is_on());
        // It came while the operator acknowledged, who has not seen it.
        assert!(told(&[("run", 5, 0), ("run", 6, 0), ("seen", 8, 6)]).is_on());
        assert!(told(&[("run", 5, 0), ("seen", 7, 6), ("run", 9, 0)]).is_on());
    }
}
