//! What is done against the gate itself: a check or status of our name by somebody else, rules that demand
//! our check no more, an App that was taken away or may do less.
//!
//! Read from the signed payload alone, so it needs no answer of a GitHub that may have shut us out. It stands
//! in the verdict on that event (`tampering`, with names in the body of that name), is alerted once that
//! verdict is durable, and after a crash at the next start: see [`super::alerts`].
//!
//! Payloads: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Gate, Item, lock};
use crate::{
    event::{About, CheckRef, Event, RepoName, Source},
    github::needed,
    ledger::entry::TamperingData,
    time::Time,
};

mod rules;

/// The same by the same App or person in the same repository is not posted again for so long: a workflow
/// that happens to have our name makes a check run for every commit. One that newly passes always is.
const QUIET: Duration = Duration::from_secs(3600);

/// Alerts remembered for that.
const MOST_REMEMBERED: usize = 10_000;

/// Repositories named in an alert; the body names all.
const MOST_NAMED: usize = 5;

/// Something done against the gate, as its entry will say it.
pub(super) struct Tampering {
    pub data: TamperingData,
    /// With names; `text` is the alert.
    pub body: Value,
    /// What is not posted again within [`QUIET`]; `None`: it always is.
    once: Option<String>,
}

/// What was alerted: entry and time.
#[derive(Default)]
pub(super) struct Alerted(HashMap<String, (u64, Time)>);

impl Alerted {
    fn before(&self, once: &str, now: Time) -> Option<u64> {
        self.0.get(once).filter(|(_, at)| now.since(*at) < QUIET).map(|(seq, _)| *seq)
    }

    fn remember(&mut self, once: String, seq: u64, now: Time) {
        if self.0.len() >= MOST_REMEMBERED {
            self.0.retain(|_, (_, at)| now.since(*at) < QUIET);
        }
        if self.0.len() < MOST_REMEMBERED {
            self.0.insert(once, (seq, now));
        }
    }
}

impl Gate {
    /// What an event does against the gate. A payload sent again (GitHub signs the body only) does nothing.
    pub(super) fn tampering(&self, item: &Item) -> Option<Tampering> {
        let event = item.event.as_deref().filter(|e| !item.replayed && e.source != Source::Gatelog)?;
        let settings = &self.0.settings;
        // Only where the payload may tell of one is it read.
        let payload = match tells(event).then(|| self.payload_of(item.seq))? {
            Ok(payload) => payload,
            // The event itself says what a check is, and whose.
            Err(why) if matches!(event.about, About::Check(_)) => {
                tracing::error!(seq = item.seq, "what may be a forgery cannot be read: {why}");
                Value::Null
            }
            Err(why) => {
                tracing::error!(seq = item.seq, "what may be done against the gate cannot be read: {why}");
                return None;
            }
        };
        let bundle = self.bundle();
        let ours = Ours { check: &settings.check_name, app: settings.app_id, reads: bundle.reads() };
        Some(self.said_before(of(event, &payload, &ours)?))
    }

    /// A run of our own App that this ledger did not write.
    pub(super) fn unknown_run(&self, event: &Event, check: &CheckRef) -> Tampering {
        let passes = passes(check.conclusion.as_deref());
        let name = short(check.name.as_deref().unwrap_or("?"));
        let at = check.head.as_ref().map_or("?", |h| h.short());
        let lost = self.names_what_is_lost(check).map_or(String::new(), |lost| format!(" ({lost})"));
        let text = format!(
            "a check run `{name}` of our own App on {at} is not in the ledger: the App's key was stolen, or \
             the ledger was rolled back{lost}; success is withheld until `gatelog log acknowledge`"
        );
        self.said_before(Tampering {
            data: data("unknown_run", passes),
            body: body(event, &text, json!({"check_run": check.check_run, "head": check.head})),
            once: Some(once("unknown_run", event, check, passes, 0)),
        })
    }

    /// Notes whether the same was alerted a while ago.
    fn said_before(&self, mut found: Tampering) -> Tampering {
        let said = lock(&self.0.tampered);
        found.data.repeats = found.once.as_deref().and_then(|once| said.before(once, Time::now()));
        found
    }

    /// The entry is durable: say it, unless it was said a while ago.
    pub(super) fn alert_of_tampering(&self, found: Tampering, entry: u64, name: Option<&RepoName>) {
        if found.data.repeats.is_some() {
            return;
        }
        if let Some(once) = found.once {
            lock(&self.0.tampered).remember(once, entry, Time::now());
        }
        let kind = alert_kind(&found.data.kind);
        self.alert_of_forgery(kind, entry, name, text(&found.body), found.data.passes);
    }
}

/// The name of the alert: a label of a metric, so one of a few.
pub(super) fn alert_kind(kind: &str) -> &'static str {
    match kind {
        "forged_check" => "forged_check",
        "forged_status" => "forged_status",
        "unknown_run" => "unknown_run",
        "rules_weakened" => "rules_weakened",
        "access_lost" => "access_lost",
        _ => "tampering",
    }
}

/// The alert, of a body.
pub(super) fn text(body: &Value) -> &str {
    body["text"].as_str().unwrap_or("something was done against the gate")
}

fn tells(event: &Event) -> bool {
    let name = event.name.as_str();
    matches!(name, "check_run" | "status" | "installation" | "installation_repositories")
        || rules::tells(name)
}

/// What is tampered with.
struct Ours<'g> {
    check: &'g str,
    app: u64,
    /// Facts that the controls may ask for.
    reads: &'g BTreeSet<String>,
}

/// What this event does against the gate.
fn of(event: &Event, payload: &Value, ours: &Ours<'_>) -> Option<Tampering> {
    let (check, app) = (ours.check, ours.app);
    let action = event.action.as_deref().unwrap_or_default();
    match (event.name.as_str(), action, &event.about) {
        ("check_run", _, About::Check(run)) if run.app_id != Some(app) => {
            forged_run(event, payload, run, check)
        }
        ("status", _, About::Check(status)) => forged_status(event, status, check),
        ("installation", "deleted", _) => Some(lost(event, payload, "the App was uninstalled")),
        ("installation", "suspend", _) => Some(lost(event, payload, "the App was suspended")),
        ("installation", "new_permissions_accepted", _) => {
            let lacking = needed::lacking(&payload["installation"]["permissions"], ours.reads);
            let lacking: Vec<String> =
                lacking.iter().map(|(name, level)| format!("{name}: {level}")).collect();
            let what = format!("the App was left without permissions that it needs ({})", lacking.join(", "));
            (!lacking.is_empty()).then(|| lost(event, payload, &what))
        }
        ("installation_repositories", "removed", _) => {
            Some(lost(event, payload, "repositories were taken from the App"))
        }
        (name, action, _) => {
            let (what, details) = rules::weakened(name, action, payload, check, app)?;
            let text = format!("{what}{}", by(event));
            Some(Tampering {
                data: data("rules_weakened", false),
                body: body(event, &text, details),
                once: None,
            })
        }
    }
}

fn forged_run(event: &Event, payload: &Value, run: &CheckRef, check: &str) -> Option<Tampering> {
    let name = run.name.as_deref().filter(|n| is_ours(n, check))?;
    let maker = &payload["check_run"]["app"];
    let slug = short(maker["slug"].as_str().unwrap_or("an App that GitHub does not name"));
    let passes = passes(run.conclusion.as_deref());
    let text = format!(
        "the check run `{}` on {} is not ours: the App `{slug}` made it, and it {}",
        short(name),
        run.head.as_ref().map_or("?", |h| h.short()),
        says(run.conclusion.as_deref(), passes),
    );
    let details = json!({
        "check": name, "check_run": run.check_run, "head": run.head, "conclusion": run.conclusion,
        "app": {"id": run.app_id, "slug": maker["slug"], "name": maker["name"]},
    });
    Some(Tampering {
        data: data("forged_check", passes),
        body: body(event, &text, details),
        once: Some(once("forged_check", event, run, passes, run.app_id.unwrap_or(0))),
    })
}

/// gatelog sets no commit statuses, but a rule that is not bound to our App takes one for our check.
fn forged_status(event: &Event, status: &CheckRef, check: &str) -> Option<Tampering> {
    let name = status.name.as_deref().filter(|n| is_ours(n, check))?;
    let passes = status.conclusion.as_deref() == Some("success");
    let text = format!(
        "the commit status `{}` on {} is not ours: gatelog sets none, and it {}{}",
        short(name),
        status.head.as_ref().map_or("?", |h| h.short()),
        says(status.conclusion.as_deref(), passes),
        by(event).replace("; by", "; set by"),
    );
    let details = json!({
        "check": name, "status": status.status, "head": status.head, "conclusion": status.conclusion,
    });
    let who = event.sender.as_ref().map_or(0, |s| s.id);
    Some(Tampering {
        data: data("forged_status", passes),
        body: body(event, &text, details),
        once: Some(once("forged_status", event, status, passes, who)),
    })
}

fn lost(event: &Event, payload: &Value, what: &str) -> Tampering {
    let account = payload["installation"]["account"]["login"].as_str().map(short);
    let listed = payload["repositories_removed"].as_array().or(payload["repositories"].as_array());
    let repositories: Vec<Value> =
        listed.into_iter().flatten().map(|r| json!({"id": r["id"], "name": r["full_name"]})).collect();
    let mut names: Vec<&str> =
        repositories.iter().filter_map(|r| r["name"].as_str()).take(MOST_NAMED).collect();
    if repositories.len() > names.len() {
        names.push("…");
    }
    let of_account = account.map_or(String::new(), |a| format!(" at {a}"));
    let which = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    let text = format!("{what}{of_account}{which}{}", by(event));
    Tampering {
        data: data("access_lost", false),
        body: body(event, &text, json!({"repositories": repositories})),
        once: None,
    }
}

/// Our check's name or that of pushes. People do not see case.
fn is_ours(name: &str, check: &str) -> bool {
    let name = name.trim();
    name.eq_ignore_ascii_case(check) || name.eq_ignore_ascii_case(&format!("{check}/push"))
}

/// What passes a required check:
/// <https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/troubleshooting-required-status-checks>
fn passes(conclusion: Option<&str>) -> bool {
    matches!(conclusion, Some("success" | "neutral" | "skipped"))
}

fn says(conclusion: Option<&str>, passes: bool) -> String {
    match conclusion {
        Some(said) if passes => format!("PASSES ({})", short(said)),
        Some(said) => format!("says {}", short(said)),
        None => "has not ended".to_owned(),
    }
}

fn by(event: &Event) -> String {
    event.sender.as_ref().map_or(String::new(), |s| format!("; by {}", short(&s.login)))
}

/// What people named, in a line that a person reads.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn once(kind: &str, event: &Event, check: &CheckRef, passes: bool, who: u64) -> String {
    let repository = event.repository.as_ref().map_or(0, |r| r.id);
    let commit = check.head.as_ref().filter(|_| passes).map_or("", |h| h.as_str());
    let name = check.name.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    format!("{kind}:{repository}:{who}:{commit}:{name}")
}

fn data(kind: &str, passes: bool) -> TamperingData {
    TamperingData { kind: kind.to_owned(), passes, repeats: None }
}

fn body(event: &Event, text: &str, details: Value) -> Value {
    let mut body = json!({
        "text": text,
        "repository": event.repository.as_ref().map(|r| &r.name),
        "by": event.sender,
    });
    if let (Value::Object(body), Value::Object(details)) = (&mut body, details) {
        body.extend(details);
    }
    body
}

#[cfg(test)]
mod tests;
