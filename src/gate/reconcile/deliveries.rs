//! What GitHub tried to deliver, compared with what the ledger has.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{DeliveryState, Found, state::Deletion};
use crate::{
    event::{self, ContentType, Source},
    gate::{Gate, Item},
    github::{Trouble, reconcile::PastDelivery},
    ledger::{
        Stored,
        entry::{Body, Draft, EventData, Key, Kind},
    },
    time::Time,
};

/// Pages of a hundred deliveries that one sweep reads.
const PAGES: usize = 200;

/// GitHub keeps deliveries 3 days (Enterprise Server 7): what is about as old cannot be compared.
const KEPT: Duration = Duration::from_secs(66 * 3600);

/// Lists overlap by this much: GitHub's times have seconds, and clocks differ.
const OVERLAP: Duration = Duration::from_secs(60);

/// How often a delivery is asked for before its payload is read instead.
const ASKS: u32 = 2;

/// Deliveries asked for in one sweep.
const MOST_ASKED: usize = 500;

impl Gate {
    pub(super) async fn sweep_deliveries(
        &self,
        state: &mut DeliveryState,
        deleted: &mut BTreeSet<Deletion>,
        found: &mut Found,
    ) {
        let begun = Time::now();
        let size = self.0.ledger.head().size;
        let recent = self.since_last(state.compared_until, size, deleted);
        let since = self.list_from(state, begun);
        let listed = match self.0.github.deliveries(since, PAGES).await {
            Ok(listed) => listed,
            Err(trouble) => {
                found.trouble("deliveries", None, &trouble);
                return;
            }
        };
        let mut events: BTreeMap<&str, Vec<&PastDelivery>> = BTreeMap::new();
        for delivery in &listed.items {
            events.entry(&delivery.guid).or_default().push(delivery);
        }
        for attempts in events.values() {
            self.compare_delivery(attempts, state, found).await;
        }
        found.counts.truncated = !listed.complete;
        if listed.complete {
            let recent = recent.iter().filter(|(_, _, at)| *at >= since);
            compare_recorded(recent, &|guid| events.contains_key(guid), state, found);
            state.compared_until = size;
            state.listed_until = Some(begun);
            // What GitHub does not keep any more cannot be asked for any more.
            state
                .asked
                .retain(|guid, asked| events.contains_key(guid.as_str()) || begun.since(asked.at) < KEPT);
        }
    }

    /// From when on GitHub's list is needed: the last list, and what is still open from before it.
    fn list_from(&self, state: &DeliveryState, now: Time) -> Time {
        let entry = |seq: &u64| Some(self.0.ledger.entry(*seq).ok()??.entry.time);
        let open = state.asked.values().map(|a| a.at).chain(state.unlisted.values().filter_map(entry));
        let from = open.chain(state.listed_until).min().unwrap_or(now);
        before(from, OVERLAP)
    }

    async fn compare_delivery(
        &self,
        attempts: &[&PastDelivery],
        state: &mut DeliveryState,
        found: &mut Found,
    ) {
        let Some(newest) = attempts.iter().max_by_key(|d| d.id) else { return };
        let first = attempts.iter().map(|d| d.delivered_at).min().unwrap_or(newest.delivered_at);
        let guid = newest.guid.as_str();
        let about = json!({
            "guid": guid, "event": newest.event, "action": newest.action,
            "repository": newest.repository_id, "at": first,
        });
        let known_before = state.listed_until.is_some_and(|until| first < before(until, OVERLAP));
        if !known_before {
            found.sent.push(about.clone());
        }
        if self.has_delivery(guid) {
            state.asked.remove(guid);
            return;
        }
        let times = state.asked.get(guid).map_or(0, |a| a.times);
        if times == 0 && attempts.iter().any(|d| d.arrived()) {
            found.lost.push(about.clone());
        }
        if times < ASKS && found.asked.len() < MOST_ASKED {
            match self.0.github.redeliver(newest.id).await {
                Ok(()) => {
                    state.asked.insert(guid.to_owned(), super::state::Asked { times: times + 1, at: first });
                    found.asked.push(about.clone());
                    found.waiting.push(about);
                    return;
                }
                Err(trouble) if trouble.passes() => {
                    found.trouble("asking for a delivery again", newest.repository_id, &trouble);
                    return;
                }
                Err(_) => {}
            }
        }
        match self.record_by_get(newest).await {
            Ok(seq) => {
                state.asked.remove(guid);
                found.by_get.push(json!({"guid": guid, "event": newest.event, "seq": seq}));
            }
            Err(trouble) => found.trouble("reading a delivery", newest.repository_id, &trouble),
        }
    }

    fn has_delivery(&self, guid: &str) -> bool {
        self.0.ledger.with_key(&format!("delivery:{guid}")).is_some()
            || self.0.ledger.with_key(&by_get(guid)).is_some()
    }

    /// Records what only GitHub's API still has: its parsed payload, not the bytes that were signed.
    async fn record_by_get(&self, delivery: &PastDelivery) -> Result<u64, Trouble> {
        let payload = self.0.github.delivered_payload(delivery.id).await?;
        let draft = self.found_event(&delivery.event, &payload, by_get(&delivery.guid));
        self.take_in_found(draft, &delivery.event, &payload, Some(delivery.guid.clone())).await
    }

    /// An event that was read from GitHub's API.
    pub(super) fn found_event(&self, name: &str, payload: &Value, key: String) -> Draft {
        let bytes = payload.to_string().into_bytes();
        let event = event::parse_stored(name, Source::Api, None, ContentType::Json, &bytes).ok();
        let data = EventData {
            name: name.to_owned(),
            action: event.as_ref().and_then(|e| e.action.clone()),
            source: Source::Api,
            cause: None,
            flags: vec![],
        };
        Draft {
            kind: Kind::Event,
            subject: event.as_ref().map_or(event::Subject::NONE, event::Event::subject),
            key: Key::Plain(key),
            refs: vec![],
            bodies: vec![("payload".to_owned(), Body { bytes: bytes.into(), media: "application/json" })],
            data: json!(data),
        }
    }

    /// Appends such an event and has it judged.
    pub(super) async fn take_in_found(
        &self,
        draft: Draft,
        name: &str,
        payload: &Value,
        guid: Option<String>,
    ) -> Result<u64, Trouble> {
        let event =
            event::parse_stored(name, Source::Api, None, ContentType::Json, payload.to_string().as_bytes());
        let receipts = self.append(vec![draft]).await.map_err(|later| {
            let full = Trouble::new(crate::github::TroubleKind::Unavailable, "the ledger takes nothing now");
            full.after(later.after)
        })?;
        let Some(receipt) = receipts.first() else {
            return Err(Trouble::new(crate::github::TroubleKind::Unexpected, "the ledger answered nothing"));
        };
        if !receipt.duplicate {
            self.enqueue(Item {
                seq: receipt.seq,
                unreadable: event.is_err(),
                event: event.ok().map(std::sync::Arc::new),
                received_at: Time::now(),
                guid,
                replayed: false,
            });
        }
        Ok(receipt.seq)
    }

    /// Deliveries recorded since the last comparison, newest first; and the deletions among what came.
    fn since_last(&self, from: u64, to: u64, deleted: &mut BTreeSet<Deletion>) -> Vec<(u64, String, Time)> {
        let oldest = before(Time::now(), KEPT);
        let mut recent = Vec::new();
        for seq in (from..to).rev() {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            if stored.entry.time < oldest {
                break;
            }
            if stored.entry.kind != Kind::Event {
                continue;
            }
            if let Some(guid) = guid_of(&stored) {
                recent.push((seq, guid, stored.entry.time));
            }
            deleted.extend(self.deletion(seq, &stored));
        }
        recent
    }

    /// The deletion of a ref that a `push` tells.
    fn deletion(&self, seq: u64, stored: &Stored) -> Option<Deletion> {
        let subject = &stored.entry.subject;
        if stored.entry.data["name"] != json!("push") || subject.head.is_some() {
            return None;
        }
        let payload = self.payload_of(seq).ok()?;
        let (repository, full_ref) = (subject.repository?, payload["ref"].as_str()?.to_owned());
        let (before, recorded_at) = (subject.base.clone(), stored.entry.time);
        Some(Deletion { repository, full_ref, before, event: seq, recorded_at })
    }
}

/// What was recorded and GitHub does not list. Named once it is missing in two lists: the first may lag.
fn compare_recorded<'r>(
    recent: impl Iterator<Item = &'r (u64, String, Time)>,
    listed: &dyn Fn(&str) -> bool,
    state: &mut DeliveryState,
    found: &mut Found,
) {
    for (guid, seq) in std::mem::take(&mut state.unlisted) {
        if !listed(&guid) {
            found.never_sent.push(json!({"guid": guid, "seq": seq}));
        }
    }
    for (seq, guid, _) in recent.filter(|(_, guid, _)| !listed(guid)) {
        state.unlisted.insert(guid.clone(), *seq);
    }
    found.waiting.extend(state.unlisted.iter().map(|(guid, seq)| json!({"guid": guid, "seq": seq})));
}

/// The key of a delivery that was read instead of received. Not the key of the delivery itself: should that
/// still come, its signed bytes are recorded.
fn by_get(guid: &str) -> String {
    format!("delivery-by-get:{guid}")
}

/// Of a received delivery.
fn guid_of(stored: &Stored) -> Option<String> {
    let guid = stored.entry.key.strip_prefix("delivery:")?;
    Some(guid.split('#').next().unwrap_or(guid).to_owned())
}

fn before(time: Time, d: Duration) -> Time {
    let micros = i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    Time::from_unix_micros(time.unix_micros().saturating_sub(micros)).unwrap_or(time)
}
