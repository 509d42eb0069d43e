//! What a start must know of the past: told by the entries while they are checked, so that they are read once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::json;

use super::super::{alerts, commands, own_app, publish, pulls::Pulls, pushes, reconcile, waivers};
use crate::{
    event::{self, Source, SubjectKind},
    github::Before,
    ledger::{
        Ledger, Scanned,
        entry::{Entry, EntryError, EventData, Flag, Kind, ReportData},
    },
    time::Time,
};

/// GitHub counts what was written for an hour, and what was asked for a minute.
const COUNTED: Duration = Duration::from_secs(3600);
const ASKED: Duration = Duration::from_secs(60);

/// What the ledger's entries tell at start.
#[derive(Default)]
pub(super) struct Told {
    pub pulls: Pulls,
    /// Repository → events that name it, oldest first.
    pub events: HashMap<u64, Vec<u64>>,
    pub alarm: own_app::Told,
    pub policy: Option<u64>,
    /// Digest → its newest entry.
    pub bundles: HashMap<String, u64>,
    /// Merge groups that were not destroyed: repository and head → the event that asked for checks.
    pub groups: HashMap<(u64, event::Sha), u64>,
    pub unposted: alerts::Unposted,
    /// Pushes that are to be judged again.
    pub pushes: pushes::Told,
    /// Runs that are in progress.
    pub live: publish::Live,
    pub waivers: waivers::Waivers,
    /// Steps of exceptions whose words were erased.
    pub wordless: Vec<u64>,
    /// What installations did that GitHub still counts, and when; oldest first.
    pub did: Vec<(u64, Before, Time)>,
    /// Entries that hold the state of the sweeps.
    pub sweeps: Vec<u64>,
}

/// Takes in the entries of a ledger that is being opened ([`Ledger::open_telling`]), in order. It begins anew with
/// entry 0, which comes again where the ledger had to be made again from its journal.
pub struct ReadBack {
    told: Told,
    /// When it began: what is old for a start is so for all of it.
    now: Time,
    /// The entry to come.
    next: u64,
    /// Their words are bodies, which are not read in the middle of a scan.
    waivers: BTreeMap<u64, Entry>,
    unreadable: Option<(u64, EntryError)>,
}

impl Default for ReadBack {
    fn default() -> Self {
        Self { told: Told::default(), now: Time::now(), next: 0, waivers: BTreeMap::new(), unreadable: None }
    }
}

impl ReadBack {
    /// An entry, of which no more is taken apart than tells something today: of most kinds all; of verdicts and
    /// reports, which are more than half, those of the last time, and verdicts that left a push undecided.
    pub fn take(&mut self, scanned: Scanned<'_>) {
        if scanned.seq == 0 {
            *self = Self { now: self.now, ..Self::default() };
        }
        self.next = scanned.seq + 1;
        let summary = scanned.summary;
        let age = self.now.since(summary.time);
        let is_past = match summary.kind {
            Kind::Verdict => {
                let undecided = summary.about == SubjectKind::Ref
                    && summary.verdict.is_none_or(|(decision, _)| pushes::is_open(decision));
                age >= alerts::STILL_NEWS && !undecided
            }
            Kind::Report => age >= COUNTED,
            _ => false,
        };
        if is_past {
            // A run may be in progress for long.
            if summary.kind == Kind::Report
                && let Ok(ReportEntry { data }) = serde_json::from_slice(scanned.raw)
            {
                self.told.live.reported(&data);
            }
            return;
        }
        if summary.kind == Kind::Event
            && let Ok(EventEntry { subject, refs, data }) = serde_json::from_slice(scanned.raw)
        {
            return self.told.event(scanned.seq, &subject, &refs, Some(data));
        }
        match Entry::parse(scanned.raw) {
            Ok(entry) => self.entry(entry),
            Err(e) => _ = self.unreadable.get_or_insert((scanned.seq, e)),
        }
    }

    fn entry(&mut self, entry: Entry) {
        self.told.entry(&entry, self.now);
        if entry.kind == Kind::Waiver {
            self.waivers.insert(entry.seq, entry);
        }
    }

    /// With what was written since the ledger was opened, and what waivers say.
    ///
    /// # Errors
    /// An entry cannot be read.
    pub(super) fn finish(mut self, ledger: &Ledger) -> anyhow::Result<Told> {
        if let Some((seq, e)) = self.unreadable {
            anyhow::bail!("entry {seq}: it cannot be read: {e}");
        }
        for seq in self.next..ledger.head().size {
            if let Some(stored) = ledger.entry(seq)? {
                self.entry(stored.entry);
            }
        }
        for (seq, entry) in &self.waivers {
            let words = commands::words_of(ledger, *seq);
            self.told.wordless.extend(words.is_none().then_some(*seq));
            self.told.waivers.note(entry, words);
        }
        Ok(self.told)
    }
}

/// What an event tells at a start; the rest of it is not taken apart.
#[derive(serde::Deserialize)]
struct EventEntry {
    subject: event::Subject,
    #[serde(default)]
    refs: Vec<u64>,
    data: EventData,
}

/// What a report of long ago tells.
#[derive(serde::Deserialize)]
struct ReportEntry {
    data: ReportData,
}

impl Told {
    /// But for what waivers say.
    fn entry(&mut self, entry: &Entry, now: Time) {
        self.unposted.note(entry, now);
        match entry.kind {
            Kind::Event => self.event(entry.seq, &entry.subject, &entry.refs, event_data(entry)),
            Kind::Policy => self.policy(entry),
            Kind::Report => self.report(entry, now),
            Kind::Reconcile => reconcile::note(&mut self.sweeps, entry),
            Kind::Verdict => self.verdict(entry, now),
            Kind::Service if entry.data["acknowledged"] == json!(true) => {
                self.alarm.acknowledged(entry.seq, &entry.data);
            }
            _ => {}
        }
    }

    fn report(&mut self, entry: &Entry, now: Time) {
        if let Ok(data) = serde_json::from_value(entry.data.clone()) {
            self.live.reported(&data);
        }
        let wrote = matches!(entry.data["result"].as_str(), Some("created" | "updated" | "unknown"));
        if wrote {
            self.did(entry, Before::Wrote, now, COUNTED);
        }
    }

    fn verdict(&mut self, entry: &Entry, now: Time) {
        self.pushes.judged(entry, now);
        if entry.bodies.contains_key("facts") {
            self.did(entry, Before::Judged, now, ASKED);
        }
    }

    fn did(&mut self, entry: &Entry, did: Before, now: Time, counted: Duration) {
        if let Some(installation) = entry.subject.installation
            && now.since(entry.time) < counted
        {
            self.did.push((installation, did, entry.time));
        }
    }

    fn policy(&mut self, entry: &Entry) {
        self.policy = Some(entry.seq);
        if let Some(digest) = entry.data["bundle"].as_str() {
            self.bundles.insert(digest.to_owned(), entry.seq);
        }
    }

    /// `data`: `None`, if it is of a newer gatelog.
    fn event(&mut self, seq: u64, subject: &event::Subject, refs: &[u64], data: Option<EventData>) {
        self.pushes.looked(subject, refs);
        if data.as_ref().is_some_and(|d| d.flags.contains(&Flag::UnknownRun)) {
            self.alarm.unknown_run(seq);
        }
        let Some(repository) = subject.repository else { return };
        if subject.installation.is_some() {
            self.events.entry(repository).or_default().push(seq);
        }
        let Some(data) = data else { return };
        if let (SubjectKind::MergeGroup, Some(head)) = (subject.kind, &subject.head) {
            return self.group(seq, data, (repository, head.clone()));
        }
        let (SubjectKind::PullRequest, Some(number)) = (subject.kind, subject.id) else { return };
        if data.source == Source::Gatelog || data.flags.contains(&Flag::Replayed) {
            return;
        }
        match (data.name.as_str(), data.action.as_deref()) {
            ("pull_request", Some("closed")) => self.pulls.close(repository, number),
            ("pull_request", _) => self.pulls.open(repository, number, subject.head.clone(), None),
            _ => {}
        }
    }

    fn group(&mut self, seq: u64, data: EventData, group: (u64, event::Sha)) {
        match data.action.filter(|_| data.source != Source::Gatelog).as_deref() {
            Some("checks_requested") => _ = self.groups.insert(group, seq),
            Some("destroyed") => _ = self.groups.remove(&group),
            _ => {}
        }
    }
}

/// `None`: of a newer gatelog.
pub(super) fn event_data(entry: &Entry) -> Option<EventData> {
    serde_json::from_value(entry.data.clone()).ok()
}

#[cfg(test)]
mod tests;
