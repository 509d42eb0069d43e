//! What somebody must look at: said in the log, counted, and posted to the webhook of the configuration.
//!
//! An alert is about an entry. That it was posted is an entry too, so that one which a crash cut short is
//! posted again at the next start: at least once, not exactly once.

use serde_json::json;

use super::{Gate, drafts};
use crate::{
    event::RepoName,
    ledger::entry::{Draft, Entry, Kind, Ref, VerdictData, WaiverData, WaiverStep},
    telemetry::alerts::Poster,
    time::Time,
};

/// Older alerts are not posted any more at a start: nobody would wait for them.
const STILL_NEWS: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Times one alert is posted before it is left to the next start.
const TRIES: u32 = 5;

/// Exceptions that no entry says were posted, as the ledger is read at start.
#[derive(Default)]
pub(super) struct Unposted(Vec<u64>);

impl Unposted {
    pub(super) fn note(&mut self, entry: &Entry, now: Time) {
        if entry.kind == Kind::Service && entry.data["event"] == json!("alerted") {
            self.0.retain(|seq| !entry.refs.contains(seq));
        }
        let exception = || entry.data["landing"]["exceptions"].as_array().is_some_and(|e| !e.is_empty());
        if entry.kind == Kind::Waiver && now.since(entry.time) < STILL_NEWS && alarming(entry) {
            self.0.push(entry.seq);
        }
        let tampering = || {
            let found =
                serde_json::from_value::<VerdictData>(entry.data.clone()).ok().and_then(|d| d.tampering);
            found.is_some_and(|t| t.repeats.is_none())
        };
        if entry.kind == Kind::Verdict && now.since(entry.time) < STILL_NEWS && (exception() || tampering()) {
            self.0.push(entry.seq);
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
        tracing::error!(alert = kind, entry, repo.name = repository.map_or("", |r| r.as_str()), "{text}");
        self.0.metrics.alerted(kind);
        let Some(poster) = self.0.settings.alerts.clone() else { return };
        let place = repository.map_or(String::new(), |r| format!("{r}: "));
        let message = format!("gatelog: {place}{text} (entry {entry})");
        let gate = self.clone();
        tokio::spawn(async move { gate.post(&poster, kind, entry, &message).await });
    }

    async fn post(&self, poster: &Poster, kind: &'static str, entry: u64, message: &str) {
        let mut stopping = self.0.stopping.subscribe();
        for tries in 0..TRIES {
            match poster.post(message).await {
                Ok(()) => {
                    let data = json!({"event": "alerted", "kind": kind});
                    let note = Draft { refs: vec![Ref::Seq(entry)], ..drafts::service(data) };
                    // Not recorded: it is posted once more after the next start.
                    let _ = self.append(vec![note]).await;
                    return;
                }
                Err(why) => tracing::warn!(alert = kind, entry, "the alert could not be posted: {why}"),
            }
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_secs(2 << (2 * tries))) => {}
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
                self.alert(kind, seq, named(&body).as_ref(), super::tampering::text(&body));
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
