//! The ledger, as far as completeness is asked of it: one pass over the journal, or its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::{Failure, log},
    event::{self, RepoName, Sha, SubjectKind},
    ledger::entry::{Entry, EventData, Kind, ReportData, ReportResult, VerdictData},
    time::Time,
    verdict::Decision,
};

#[derive(Default)]
pub(super) struct Ledger {
    /// Time of the first entry.
    pub begun: Option<Time>,
    /// GUID → event, however it was read.
    pub deliveries: BTreeMap<String, u64>,
    /// Of them, read from GitHub's API.
    pub by_api: BTreeSet<u64>,
    /// Event → its verdict.
    pub verdicts: BTreeMap<u64, Judged>,
    /// Verdicts that a report covers, and not only by saying that they are withheld.
    pub covered: BTreeSet<u64>,
    /// Verdicts of which a report says that they are withheld.
    pub withheld: BTreeSet<u64>,
    /// Merge verdicts, and the event of the push that each is about.
    landings: BTreeMap<u64, u64>,
    /// Events that decide about a pull request.
    decides: BTreeSet<u64>,
    /// Verdicts that are to be shown, and what each is on.
    subjects: BTreeMap<u64, Subject>,
    /// The newest verdict on something that a report covers, or of which nothing is to be shown.
    settled: BTreeMap<Subject, u64>,
    pub sweeps: Vec<Sweep>,
    /// When no gatelog ran: from the last entry before, to the start.
    pub down: Vec<(Time, Time, &'static str)>,
    last: Option<(Time, bool)>,
    pub names: BTreeMap<u64, String>,
    /// Name in lower case → repositories that a sweep knew by it: also those of which nothing is heard.
    called: BTreeMap<String, BTreeSet<u64>>,
}

/// What a verdict is on: kind, repository, number or id, and for what has none the commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject(&'static str, Option<u64>, Option<u64>, Option<Sha>);

impl Subject {
    fn of(entry: &Entry) -> Self {
        let subject = &entry.subject;
        let head = subject.head.clone().filter(|_| subject.kind != SubjectKind::PullRequest);
        Self(subject.kind.as_str(), subject.repository, subject.id, head)
    }
}

pub(super) struct Judged {
    pub seq: u64,
    /// It is to be shown somewhere.
    pub shown: bool,
    /// Why what landed is an exception, by the last merge verdict on it; `None`: it has none.
    pub landing: Option<Vec<String>>,
}

pub(super) struct Sweep {
    pub seq: u64,
    pub begun: Time,
    pub complete: bool,
    /// `None`: the body was erased.
    pub found: Option<FoundItems>,
}

#[derive(Deserialize)]
pub(super) struct FoundItems {
    pub sent: Vec<Sent>,
    pub lost: Vec<Sent>,
    pub never_sent: Vec<NeverSent>,
    pub landed: Vec<LandedCommit>,
    pub found: Vec<Value>,
    pub vanished: Vec<Vanished>,
}

#[derive(Deserialize)]
pub(super) struct Sent {
    pub guid: String,
    pub event: String,
    pub repository: Option<u64>,
    pub at: Time,
}

#[derive(Deserialize)]
pub(super) struct NeverSent {
    pub guid: String,
    pub seq: u64,
}

#[derive(Deserialize)]
pub(super) struct Vanished {
    pub repository: u64,
    pub name: String,
}

#[derive(Deserialize)]
pub(super) struct LandedCommit {
    pub repository: u64,
    #[serde(rename = "ref")]
    pub full_ref: String,
    pub sha: String,
    pub event: Option<u64>,
}

impl Ledger {
    /// From entry `from` on.
    ///
    /// # Errors
    /// The journal cannot be read, or is damaged.
    pub(super) fn read(journal: &Path, from: u64) -> Result<Self, Failure> {
        let begun = log::entry(journal, 0)?.map(|item| item.link.time);
        let mut ledger = Self { begun, ..Self::default() };
        for item in log::entries(journal, from)? {
            let item = item?;
            let Some(entry) = &item.entry else { continue };
            match entry.kind {
                Kind::Event => ledger.event(entry),
                Kind::Verdict => ledger.verdict(entry),
                Kind::Report => ledger.report(entry),
                Kind::Reconcile => ledger.sweep(entry, item.json("sweep")?),
                Kind::Service => ledger.service(entry),
                _ => {}
            }
            let stopped = entry.kind == Kind::Service && entry.data["event"] == json!("stopped");
            ledger.last = Some((entry.time, stopped));
        }
        Ok(ledger)
    }

    fn report(&mut self, entry: &Entry) {
        let Ok(data) = serde_json::from_value::<ReportData>(entry.data.clone()) else { return };
        for seq in data.covers {
            match data.result {
                ReportResult::Withheld => self.withheld.insert(seq),
                _ => self.covered.insert(seq),
            };
            if let Some(subject) = self.subjects.get(&seq).cloned() {
                self.settle(subject, seq);
            }
        }
    }

    fn settle(&mut self, subject: Subject, verdict: u64) {
        let newest = self.settled.entry(subject).or_default();
        *newest = verdict.max(*newest);
    }

    /// Whether a newer verdict on the same was shown, or needed not to be.
    pub(super) fn is_replaced(&self, verdict: u64) -> bool {
        let settled = self.subjects.get(&verdict).and_then(|s| self.settled.get(s));
        settled.is_some_and(|newest| *newest > verdict)
    }

    fn event(&mut self, entry: &Entry) {
        if let Ok(data) = serde_json::from_value::<EventData>(entry.data.clone())
            && event::decides_pull_request(&data.name, data.source)
        {
            self.decides.insert(entry.seq);
        }
        let by_get = entry.key.strip_prefix("delivery-by-get:");
        let Some(guid) = by_get.or_else(|| entry.key.strip_prefix("delivery:")) else { return };
        if by_get.is_some() {
            self.by_api.insert(entry.seq);
        }
        self.deliveries.entry(guid.to_owned()).or_insert(entry.seq);
    }

    fn verdict(&mut self, entry: &Entry) {
        let Ok(data) = serde_json::from_value::<VerdictData>(entry.data.clone()) else { return };
        let Some(event) = entry.refs.first() else { return };
        let subject = Subject::of(entry);
        if data.target.is_some() {
            self.subjects.insert(entry.seq, subject);
        } else if data.decision != Decision::Superseded && self.decides.contains(event) {
            // Closed: nothing is to be shown of it any more.
            self.settle(subject, entry.seq);
        }
        let landing = data.landing.map(|landing| {
            // A push that was judged again: what was said of it last counts.
            let push = landing.instead_of.and_then(|seq| self.landings.get(&seq)).copied().unwrap_or(*event);
            self.landings.insert(entry.seq, push);
            if let Some(first) = self.verdicts.get_mut(&push) {
                first.landing = Some(landing.exceptions.clone());
            }
            landing.exceptions
        });
        let judged = Judged { seq: entry.seq, shown: data.target.is_some(), landing };
        self.verdicts.entry(*event).or_insert(judged);
    }

    fn sweep(&mut self, entry: &Entry, body: Option<Value>) {
        let begun = entry.data["begun"].as_str().and_then(|t| t.parse().ok()).unwrap_or(entry.time);
        let complete = entry.data["complete"] == json!(true);
        let mut found = None;
        if let Some(body) = body {
            self.learn_names(&body["state"]["repositories"]);
            found = FoundItems::deserialize(&body["found"]).ok();
            for gone in found.iter().flat_map(|f| &f.vanished) {
                self.called.entry(gone.name.to_ascii_lowercase()).or_default().insert(gone.repository);
            }
        }
        self.sweeps.push(Sweep { seq: entry.seq, begun, complete, found });
    }

    fn learn_names(&mut self, repositories: &Value) {
        for (id, repository) in repositories.as_object().into_iter().flatten() {
            if let (Ok(id), Some(name)) = (id.parse(), repository["name"].as_str()) {
                self.names.insert(id, name.to_owned());
                self.called.entry(name.to_ascii_lowercase()).or_default().insert(id);
            }
        }
    }

    /// The repositories that a sweep knew by this name.
    pub(super) fn called(&self, name: &RepoName) -> BTreeSet<u64> {
        self.called.get(&name.as_str().to_ascii_lowercase()).cloned().unwrap_or_default()
    }

    /// Whether some sweep that was read knew the repository.
    pub(super) fn is_swept(&self, repository: u64) -> bool {
        self.called.values().any(|ids| ids.contains(&repository))
    }

    fn service(&mut self, entry: &Entry) {
        if entry.data["event"] == json!("started")
            && let Some((last, stopped)) = self.last
            && self.deliveries.len() + self.sweeps.len() > 0
        {
            self.down.push((last, entry.time, if stopped { "stopped" } else { "died" }));
        }
    }
}

/// Who did it, of the body of a merge verdict.
pub(super) fn by(body: &Value) -> Value {
    let people = [&body["bypassed_by"], &body["merged_by"][0], &body["pusher"]];
    people.into_iter().map(|p| p["login"].clone()).find(Value::is_string).unwrap_or_default()
}
