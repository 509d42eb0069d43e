//! What somebody must look at: said in the log, counted, and posted to the webhook of the configuration.
//!
//! An alert is about an entry. That it was posted is an entry too, so that one which a crash cut short is
//! posted again at the next start: at least once, not exactly once.
//!
//! Thousands of one kind would drown the others: of each kind about each repository the first is said at once,
//! and what follows within a minute together, with its number and the newest of it. The ledger has them all.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry as Slot},
    time::Duration,
};

use serde_json::json;

use super::{Gate, drafts, lock, waits::sooner};
use crate::{
    event::RepoName,
    ledger::entry::{Draft, Entry, Kind, Ref, VerdictData, WaiverData, WaiverStep},
    telemetry::alerts::Poster,
    time::Time,
};

/// Older alerts are not posted any more at a start: nobody would wait for them.
pub(super) const STILL_NEWS: Duration = Duration::from_secs(24 * 3600);

/// Times one alert is posted before it is left to the next start.
const TRIES: u32 = 5;

/// What follows an alert of the same kind about the same repository is said together so long after it.
const TOGETHER: Duration = Duration::from_secs(60);

/// Texts that are said of those; the others are counted.
const MOST_TOLD: usize = 5;

/// Entries that one note names, so that it fits into an entry.
const MOST_NOTED: usize = 500;

/// What is said together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Topic {
    kind: &'static str,
    repository: Option<RepoName>,
    /// A forgery that passes does not wait behind those that do not.
    grave: bool,
}

impl Topic {
    fn message(&self, text: &str) -> String {
        let place = self.repository.as_ref().map_or(String::new(), |r| format!("{r}: "));
        format!("gatelog: {place}{text}")
    }
}

/// Alerts that wait to be said together.
#[derive(Default)]
pub(super) struct Held {
    /// Topics of which something was said a while ago.
    topics: HashMap<Topic, More>,
    /// Messages on their way.
    posting: usize,
}

#[derive(Default)]
struct More {
    /// Oldest first.
    entries: Vec<u64>,
    /// The newest of them, oldest first.
    texts: VecDeque<(u64, String)>,
}

impl More {
    fn add(&mut self, entry: u64, text: &str) {
        self.entries.push(entry);
        if self.texts.len() == MOST_TOLD {
            self.texts.pop_front();
        }
        self.texts.push_back((entry, text.to_owned()));
    }

    fn text(&self, kind: &str) -> String {
        let texts: Vec<String> =
            self.texts.iter().rev().map(|(entry, text)| format!("{text} (entry {entry})")).collect();
        let texts = texts.join("; ");
        match (&self.entries[..], self.entries.len() > self.texts.len()) {
            ([_], _) => texts,
            ([first, .., last], true) => format!(
                "{} more alerts `{kind}`, entries {first} to {last}, the newest of them: {texts}",
                self.entries.len()
            ),
            (entries, _) => format!("{} more alerts `{kind}`: {texts}", entries.len()),
        }
    }
}

/// Entries to alert of that no entry says were posted, as the ledger is read at start.
#[derive(Debug, Default)]
pub(super) struct Unposted(BTreeSet<u64>);

impl Unposted {
    pub(super) fn note(&mut self, entry: &Entry, now: Time) {
        if entry.kind == Kind::Service && entry.data["event"] == json!("alerted") {
            entry.refs.iter().for_each(|seq| _ = self.0.remove(seq));
        }
        // What was said of the push before holds no more.
        if let Some(before) = entry.data["landing"]["instead_of"].as_u64() {
            self.0.remove(&before);
        }
        let exception = || entry.data["landing"]["exceptions"].as_array().is_some_and(|e| !e.is_empty());
        if entry.kind == Kind::Waiver && now.since(entry.time) < STILL_NEWS && alarming(entry) {
            self.0.insert(entry.seq);
        }
        let tampering = || {
            let found =
                serde_json::from_value::<VerdictData>(entry.data.clone()).ok().and_then(|d| d.tampering);
            found.is_some_and(|t| t.repeats.is_none())
        };
        if entry.kind == Kind::Verdict && now.since(entry.time) < STILL_NEWS && (exception() || tampering()) {
            self.0.insert(entry.seq);
        }
    }
}

/// A broken glass, or one that nobody looked at afterwards.
fn alarming(entry: &Entry) -> bool {
    let data = serde_json::from_value::<WaiverData>(entry.data.clone());
    data.is_ok_and(|d| {
        d.break_glass && matches!(d.step, WaiverStep::Granted | WaiverStep::Approved | WaiverStep::Overdue)
    })
}

impl Gate {
    /// Says it, and has it posted.
    pub(super) fn alert(&self, kind: &'static str, entry: u64, repository: Option<&RepoName>, text: &str) {
        self.raise(Topic { kind, repository: repository.cloned(), grave: false }, entry, text);
    }

    /// The same of a forgery, which may pass.
    pub(super) fn alert_of_forgery(
        &self,
        kind: &'static str,
        entry: u64,
        repository: Option<&RepoName>,
        text: &str,
        passes: bool,
    ) {
        self.raise(Topic { kind, repository: repository.cloned(), grave: passes }, entry, text);
    }

    fn raise(&self, topic: Topic, entry: u64, text: &str) {
        let (kind, repo) = (topic.kind, topic.repository.as_ref().map_or("", |r| r.as_str()));
        self.0.metrics.alerted(kind);
        match lock(&self.0.alerts).topics.entry(topic.clone()) {
            Slot::Occupied(mut held) => {
                held.get_mut().add(entry, text);
                tracing::warn!(alert = kind, entry, repo.name = repo, "{text}");
                return;
            }
            Slot::Vacant(free) => _ = free.insert(More::default()),
        }
        tracing::error!(alert = kind, entry, repo.name = repo, "{text}");
        self.post(kind, vec![entry], topic.message(&format!("{text} (entry {entry})")));
        let gate = self.clone();
        tokio::spawn(async move { gate.say_the_rest(topic).await });
    }

    /// Says what follows together, until nothing does for a while.
    async fn say_the_rest(&self, topic: Topic) {
        let mut stopping = self.0.stopping.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(sooner("alerts::together", TOGETHER)) => {}
                _ = stopping.wait_for(|s| *s) => {}
            }
            let mut held = lock(&self.0.alerts);
            let more = held.topics.get_mut(&topic).map(std::mem::take).unwrap_or_default();
            if more.entries.is_empty() {
                held.topics.remove(&topic);
                return;
            }
            drop(held);
            let text = more.text(topic.kind);
            let repo = topic.repository.as_ref().map_or("", |r| r.as_str());
            tracing::error!(alert = topic.kind, repo.name = repo, "{text}");
            self.post(topic.kind, more.entries, topic.message(&text));
        }
    }

    /// Posts one message about these entries; where nothing is configured to take it, that is all.
    fn post(&self, kind: &'static str, entries: Vec<u64>, message: String) {
        let Some(poster) = self.0.settings.alerts.clone() else { return };
        lock(&self.0.alerts).posting += 1;
        let gate = self.clone();
        tokio::spawn(async move {
            gate.post_now(&poster, kind, &entries, &message).await;
            lock(&gate.0.alerts).posting -= 1;
        });
    }

    /// Returns when all is said, at a stop. What could not be posted is left to the next start.
    pub(super) async fn alerts_done(&self) {
        let done = || {
            let held = lock(&self.0.alerts);
            held.topics.is_empty() && held.posting == 0
        };
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn post_now(&self, poster: &Poster, kind: &'static str, entries: &[u64], message: &str) {
        let mut stopping = self.0.stopping.subscribe();
        for tries in 0..TRIES {
            match poster.post(message).await {
                Ok(()) => {
                    let data = json!({"event": "alerted", "kind": kind});
                    let note = |seqs: &[u64]| Draft {
                        refs: seqs.iter().copied().map(Ref::Seq).collect(),
                        ..drafts::service(data.clone())
                    };
                    // Not recorded: it is posted once more after the next start.
                    let _ = self.append(entries.chunks(MOST_NOTED).map(note).collect()).await;
                    return;
                }
                Err(why) => {
                    tracing::warn!(
                        alert = kind,
                        entry = entries.first(),
                        "the alert could not be posted: {why}"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(2 << (2 * tries))) => {}
                _ = stopping.wait_for(|s| *s) => return,
            }
        }
    }

    /// Posts what an earlier process had no time to.
    pub(super) fn post_again(&self, unposted: Unposted) {
        if self.0.settings.alerts.is_none() {
            return;
        }
        for seq in unposted.0 {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            if stored.entry.kind == Kind::Waiver {
                let reason = super::commands::words_of(&self.0.ledger, seq).map(|w| w.reason);
                let text = format!("break-glass: {}", reason.as_deref().unwrap_or("(erased)"));
                self.alert("break_glass", seq, None, &text);
                continue;
            }
            let Ok(data) = serde_json::from_value::<VerdictData>(stored.entry.data) else { continue };
            if let (Some(found), Some(body)) = (data.tampering, self.json_body(seq, "tampering")) {
                let kind = super::tampering::alert_kind(&found.kind);
                let text = super::tampering::text(&body);
                self.alert_of_forgery(kind, seq, named(&body).as_ref(), text, found.passes);
            }
            if let (Some(landing), Some(body)) = (data.landing, self.json_body(seq, "landing")) {
                let text = super::landed::sentence(&landing, &body);
                self.alert("exception", seq, named(&body).as_ref(), &text);
            }
        }
    }

    fn json_body(&self, seq: u64, name: &str) -> Option<serde_json::Value> {
        let body = self.0.ledger.body(seq, name).ok()??;
        serde_json::from_slice(&body).ok()
    }
}

fn named(body: &serde_json::Value) -> Option<RepoName> {
    body["repository"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn more(count: u64) -> More {
        let mut more = More::default();
        (1..=count).for_each(|n| more.add(10 * n, &format!("the status of {n} is forged")));
        more
    }

    #[test]
    fn what_follows_is_said_with_its_number_and_the_newest() {
        let said: Vec<String> = [1, 2, 4_000].map(|n| more(n).text("forged_status")).to_vec();
        insta::assert_snapshot!(said.join("\n"), @r"
        the status of 1 is forged (entry 10)
        2 more alerts `forged_status`: the status of 2 is forged (entry 20); the status of 1 is forged (entry 10)
        4000 more alerts `forged_status`, entries 10 to 40000, the newest of them: the status of 4000 is forged (entry 40000); the status of 3999 is forged (entry 39990); the status of 3998 is forged (entry 39980); the status of 3997 is forged (entry 39970); the status of 3996 is forged (entry 39960)
        ");
        assert_eq!(more(4_000).entries.len(), 4_000, "none is forgotten");
    }
}
