//! The merge verdict of a push that is judged again: recorded where it says something else than the one before,
//! and that one counts from then on.
//!
//! What landed, and whether a rule was bypassed, GitHub's record says of the push, however late it is read. Whether
//! our check was demanded it says only of now: what was read first, when it landed, stands.

use serde_json::{Value, json};

use super::{MergeVerdict, exceptions};
use crate::{
    event::{About, Cause, Event, Source, Subject},
    facts::rules::Required,
    gate::{
        Gate, Item,
        again::{SETTLING, passed, settling},
        look,
        pushes::Landed,
        waits::{backoff, jitter},
    },
    github::Trouble,
    ledger::entry::{EventData, Kind, LandingData, VerdictData},
    time::Time,
};

/// A merge verdict that was recorded of a push.
struct Said {
    seq: u64,
    data: LandingData,
    /// `None`: it was erased.
    body: Option<Value>,
    /// When the push was recorded.
    pushed_at: Time,
}

impl Gate {
    /// What is to be recorded of a push that was looked at. `None`: it says what was said before.
    pub(in crate::gate) fn news_of_landing(
        &self,
        item: &Item,
        subject: &Subject,
        now: MergeVerdict,
    ) -> Option<MergeVerdict> {
        if item.event.as_deref().is_none_or(|e| e.source != Source::Gatelog) {
            return Some(now);
        }
        let Some(said) = self.said_of_landing(item.seq, subject) else { return Some(now) };
        // GitHub's answers may be those of before for so long.
        let soon = Time::now().since(said.pushed_at) <= 2 * SETTLING;
        let news = told(&said, now, soon);
        let before = LandingData { instead_of: news.data.instead_of, ..said.data };
        (news.data != before).then_some(news)
    }

    /// The last merge verdict on the push that an event looks at again.
    fn said_of_landing(&self, event: u64, subject: &Subject) -> Option<Said> {
        let push = self.first_event(event)?;
        let pushed_at = self.0.ledger.entry(push).ok()??.entry.time;
        let on_head = subject.head.as_ref().map(|head| self.0.ledger.with_head(head));
        // Of a branch that was deleted there is no head: its looks follow each other.
        let seqs = on_head.unwrap_or_else(|| self.looks_before(event));
        seqs.into_iter().rev().find_map(|seq| {
            let entry = self.0.ledger.entry(seq).ok()??.entry;
            if entry.kind != Kind::Verdict || self.first_event(*entry.refs.first()?) != Some(push) {
                return None;
            }
            let data = serde_json::from_value::<VerdictData>(entry.data).ok()?.landing?;
            let body = self.0.ledger.body(seq, "landing").ok().flatten();
            let body = body.and_then(|b| serde_json::from_slice(&b).ok());
            Some(Said { seq, data, body, pushed_at })
        })
    }

    /// The delivery that an event looks at again; that event itself, if it is one.
    pub(super) fn first_event(&self, event: u64) -> Option<u64> {
        match self.looks_before(event).first() {
            Some(verdict) => self.0.ledger.entry(*verdict).ok()??.entry.refs.first().copied(),
            None => Some(event),
        }
    }

    /// The verdicts that a look of our own and those before it followed, oldest first.
    fn looks_before(&self, mut event: u64) -> Vec<u64> {
        let mut verdicts = Vec::new();
        let own = |seq| {
            let entry = self.0.ledger.entry(seq).ok()??.entry;
            let data = serde_json::from_value::<EventData>(entry.data).ok()?;
            entry.refs.first().copied().filter(|_| data.source == Source::Gatelog)
        };
        let judged = |seq| self.0.ledger.entry(seq).ok()??.entry.refs.first().copied();
        // Each refers to an older one, so it ends.
        while let Some(verdict) = own(event).filter(|v| *v < event) {
            let Some(older) = judged(verdict).filter(|e| *e < verdict) else { break };
            verdicts.push(verdict);
            event = older;
        }
        verdicts.reverse();
        verdicts
    }

    /// Asks once more, a while after the push, whether GitHub says that its rules were bypassed: that record may
    /// come later than the push.
    pub(in crate::gate) fn look_at_bypass_later(&self, item: &Item, verdict: u64, said: &LandingData) {
        let first = item.event.as_deref().is_some_and(|e| e.source != Source::Gatelog);
        if first && said.bypassed == Some(false) {
            let until = Time::now().plus(settling());
            self.look_at_bypass_at(Landed { verdict, event: item.seq, until });
        }
    }

    pub(in crate::gate) fn look_at_bypass_at(&self, push: Landed) {
        let gate = self.clone();
        tokio::spawn(async move {
            passed(push.until, Time::now).await;
            let begun = Time::now();
            while !*gate.0.stopping.borrow() {
                let Err(trouble) = gate.look_if_bypassed(push).await else { return };
                if !trouble.passes() {
                    return tracing::error!("a push is not judged again: {}", trouble.reason);
                }
                let pause = trouble.retry_after.unwrap_or_else(|| backoff(Time::now().since(begun)));
                tokio::time::sleep(pause + jitter(pause)).await;
            }
        });
    }

    async fn look_if_bypassed(&self, push: Landed) -> Result<(), Trouble> {
        let event = self.recorded_event(push.event);
        let place = |e: &Event| match (&e.about, look::repo_at(e)) {
            (About::Ref(r), Some(at)) => Some((at, r.name.clone(), r.after.clone()?)),
            _ => None,
        };
        // Its payload was erased: nothing is known of it any more.
        let Some((at, branch, after)) = event.as_ref().and_then(place) else { return Ok(()) };
        match self.0.github.bypass(&at, &branch, &after).await? {
            Some(Some(_)) => {
                self.look_at_event_again(push.event, push.verdict, Cause::Expired, "bypass").await
            }
            _ => Ok(()),
        }
    }
}

/// What is true of a push after another look: what that could not tell stays as it was told.
fn told(said: &Said, now: MergeVerdict, soon: bool) -> MergeVerdict {
    let (before, MergeVerdict { data, mut body }) = (&said.data, now);
    let kind = if data.kind == "unknown" { before.kind.clone() } else { data.kind.clone() };
    let required = required(parsed(&before.required), parsed(&data.required), soon);
    let bypassed = match (before.bypassed, data.bypassed) {
        // GitHub's list reaches back a week only.
        (Some(true), _) => Some(true),
        (before, now) => now.or(before),
    };
    let mut keep = |names: &[&str]| {
        for name in names {
            body[*name] = said.body.as_ref().map_or(Value::Null, |b| b[*name].clone());
        }
    };
    if kind != data.kind {
        keep(&["landed", "merged_by"]);
    }
    if required != parsed(&data.required) {
        keep(&["rules"]);
    }
    if bypassed != data.bypassed {
        keep(&["bypassed_by"]);
    }
    if let Some(missing) = body["missing"].as_array_mut() {
        missing.retain(|m| match m["fact"].as_str() {
            Some("landed") => kind == "unknown",
            Some("base_rules") => required.is_none(),
            _ => true,
        });
    }
    let data = LandingData {
        exceptions: exceptions(&kind, required, bypassed == Some(true)),
        kind,
        required: required.map_or("unknown", Required::as_str).to_owned(),
        bypassed,
        instead_of: Some(said.seq),
    };
    body["instead_of"] = json!(said.seq);
    MergeVerdict { data, body }
}

/// Soon after the push both readings may be of then, and the worse counts; later the first does.
fn required(before: Option<Required>, now: Option<Required>, soon: bool) -> Option<Required> {
    match (before, now) {
        (Some(before), Some(now)) if soon => Some(before.min(now)),
        (before, now) => before.or(now),
    }
}

fn parsed(required: &str) -> Option<Required> {
    [Required::Missing, Required::Unbound, Required::Bound].into_iter().find(|r| r.as_str() == required)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(kind: &str, required: &str, bypassed: Option<bool>) -> LandingData {
        LandingData {
            kind: kind.to_owned(),
            required: required.to_owned(),
            bypassed,
            exceptions: exceptions(kind, parsed(required), bypassed == Some(true)),
            instead_of: None,
        }
    }

    /// Kind, required, bypassed of the look before and of now → why it is an exception after both.
    fn after(before: (&str, &str, Option<bool>), now: (&str, &str, Option<bool>), soon: bool) -> Vec<String> {
        let body = json!({"landed": "then", "rules": "then", "missing": [{"fact": "landed"}]});
        let said = Said {
            seq: 40,
            data: data(before.0, before.1, before.2),
            body: Some(body),
            pushed_at: Time::now(),
        };
        let body = json!({"landed": "now", "rules": "now", "missing": [{"fact": "base_rules"}]});
        let news = told(&said, MergeVerdict { data: data(now.0, now.1, now.2), body }, soon);
        assert_eq!(news.data.instead_of, Some(40));
        let of = |known: bool| if known { "now" } else { "then" };
        assert_eq!(news.body["landed"], json!(of(now.0 != "unknown" || before.0 == "unknown")));
        let none = [] as [&str; 0];
        assert_eq!(news.body["missing"] == json!(none), news.data.required != "unknown");
        news.data.exceptions
    }

    #[test]
    fn what_a_later_look_tells_counts_and_what_it_cannot_tell_stays() {
        let none: [&str; 0] = [];
        let fine = ("merge", "bound", Some(false));
        let unknown = ("unknown", "unknown", None);
        assert_eq!(after(unknown, fine, false), none);
        assert_eq!(after(fine, unknown, false), none);
        assert_eq!(after(unknown, unknown, false), ["unknown"]);
        assert_eq!(after(unknown, ("direct", "bound", Some(true)), false), ["not_allowed", "bypassed"]);
        assert_eq!(after(fine, ("merge", "bound", Some(true)), false), ["bypassed"]);
        assert_eq!(after(("merge", "bound", Some(true)), fine, false), ["bypassed"], "a week is over");
        assert_eq!(after(fine, ("direct", "bound", Some(false)), false), ["not_allowed"]);
    }

    #[test]
    fn whether_our_check_was_demanded_is_what_was_read_when_it_landed() {
        let none: [&str; 0] = [];
        let with = |required| ("merge", required, Some(false));
        assert_eq!(after(with("bound"), with("missing"), false), none, "the rules were changed since");
        assert_eq!(after(with("missing"), with("bound"), false), ["not_required"]);
        // The first answer may have been one of before.
        assert_eq!(after(with("bound"), with("missing"), true), ["not_required"]);
        assert_eq!(after(with("unbound"), with("bound"), true), ["not_bound"]);
    }
}
