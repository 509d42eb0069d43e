//! What Prometheus scrapes. Every method is cheap and never fails.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{
    time::Time,
    verdict::{Outcome, Verdict},
};

/// Event names get a label of their own up to this many; the header that carries them is not signed.
const MAX_EVENT_NAMES: usize = 150;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intake {
    Recorded,
    Duplicate,
    /// 503: the store could not take it.
    Refused,
    /// 401
    BadSignature,
    /// 400, 413 or 415
    Malformed,
}

impl Intake {
    fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
        }
    }
}

/// What does its work in rounds that a panic must not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Judging,
    /// Showing check runs.
    Publishing,
    /// Answering environments.
    Answering,
    /// Comparing GitHub's record with the ledger.
    Sweeping,
    /// Erasing what is too old.
    Retaining,
}

impl Task {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Judging => "judging",
            Self::Publishing => "publishing",
            Self::Answering => "answering",
            Self::Sweeping => "sweeping",
            Self::Retaining => "retaining",
        }
    }
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    pub entries: u64,
    pub groups: u64,
    pub syncs: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IntakeLabels {
    event: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    kind: &'static str,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    installation: String,
    resource: &'static str,
}

impl LimitLabels {
    /// No `installation`: the App itself.
    fn of(installation: Option<u64>, resource: &'static str) -> Self {
        let installation = installation.map_or_else(|| "app".to_owned(), |i| i.to_string());
        Self { installation, resource }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControlLabels {
    control: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PanicLabels {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    witness: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SweepLabels {
    complete: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: &'static str,
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Deny => "deny",
        Outcome::Warn => "warn",
        Outcome::Pending => "pending",
        Outcome::Skip => "skip",
        Outcome::Waived => "waived",
        Outcome::Error => "error",
    }
}

/// Counters and gauges of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    event_names: Mutex<BTreeSet<String>>,
    intake: Family<IntakeLabels, Counter>,
    rejected: Counter,
    stages: Family<StageLabels, Histogram>,
    /// When the oldest waiting event was received.
    oldest: Mutex<Option<Time>>,
    queue_depth: Gauge,
    queue_age: Gauge<f64, AtomicU64>,
    calls: Family<CallLabels, Counter>,
    remaining: Family<LimitLabels, Gauge>,
    minute_used: Family<LimitLabels, Gauge>,
    minute_waiting: Family<LimitLabels, Gauge>,
    hour_used: Family<LimitLabels, Gauge>,
    at_once: Family<LimitLabels, Gauge>,
    at_once_waiting: Family<LimitLabels, Gauge>,
    controls: Family<ControlLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    alarm: Gauge,
    alerts: Family<AlertLabels, Counter>,
    panics: Family<PanicLabels, Counter>,
    sweeps: Family<SweepLabels, Counter>,
    last_sweep: Gauge,
    store_entries: Gauge,
    signed_entries: Gauge,
    witnessed_entries: Family<WitnessLabels, Gauge>,
    quorum_missed: Gauge,
    store_groups: Counter,
    store_syncs: Counter,
    store_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        // 1 ms to 33 s.
        let stages: Family<StageLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16)));
        let mut inner = Inner {
            registry: Registry::with_prefix("gatelog"),
            event_names: Mutex::default(),
            intake: Family::default(),
            rejected: Counter::default(),
            stages,
            oldest: Mutex::default(),
            queue_depth: Gauge::default(),
            queue_age: Gauge::default(),
            calls: Family::default(),
            minute_used: Family::default(),
            minute_waiting: Family::default(),
            hour_used: Family::default(),
            at_once: Family::default(),
            at_once_waiting: Family::default(),
            remaining: Family::default(),
            controls: Family::default(),
            decisions: Family::default(),
            alarm: Gauge::default(),
            alerts: Family::default(),
            panics: Family::default(),
            sweeps: Family::default(),
            last_sweep: Gauge::default(),
            store_entries: Gauge::default(),
            signed_entries: Gauge::default(),
            witnessed_entries: Family::default(),
            quorum_missed: Gauge::default(),
            store_groups: Counter::default(),
            store_syncs: Counter::default(),
            store_bytes: Counter::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// A delivery was answered. Where it was refused before its event was known, `event` is empty.
    pub fn intake(&self, event: &str, outcome: Intake) {
        let event = self.0.label(event);
        self.0.intake.get_or_create(&IntakeLabels { event, outcome: outcome.as_str() }).inc();
        if outcome == Intake::BadSignature {
            self.0.rejected.inc();
        }
    }

    /// A stage of some event took so long: `append` (until the entry was durable), `gather` (facts from
    /// GitHub), `judge` (policies), `report` (the check run).
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.0.stages.get_or_create(&StageLabels { stage }).observe(took.as_secs_f64());
    }

    /// Events that wait for a verdict, and when the oldest of them was received.
    pub fn queue(&self, depth: usize, oldest: Option<Time>) {
        self.0.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        *self.0.oldest.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }

    /// Calls to GitHub so far. `kind` names the way (`rest_get`, `graphql`); no `status`: no answer.
    pub fn github_calls(&self, kind: &'static str, status: Option<u16>, total: u64) {
        let status = status.map_or_else(|| "none".to_owned(), |s| s.to_string());
        self.0.calls.get_or_create(&CallLabels { kind, status }).inner().store(total, Ordering::Relaxed);
    }

    /// Calls left until GitHub's limit. `resource` is `core` or `graphql`; no `installation`: the App
    /// itself.
    pub fn github_remaining(&self, installation: Option<u64>, resource: &'static str, left: u64) {
        let labels = LimitLabels::of(installation, resource);
        self.0.remaining.get_or_create(&labels).set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    /// How much of GitHub's limit for one minute is used (`points`, `graphql_points`, `writes`), and how many
    /// calls wait for room.
    pub fn github_minute(
        &self,
        installation: Option<u64>,
        resource: &'static str,
        used: u32,
        waiting: usize,
    ) {
        let labels = LimitLabels::of(installation, resource);
        self.0.minute_used.get_or_create(&labels).set(i64::from(used));
        self.0.minute_waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// How much of GitHub's limit for one hour is used (`writes`). Who waits, waits for minute and hour at once.
    pub fn github_hour(&self, installation: Option<u64>, resource: &'static str, used: u32) {
        let labels = LimitLabels::of(installation, resource);
        self.0.hour_used.get_or_create(&labels).set(i64::from(used));
    }

    /// How many are under way (`calls`, `judgements`), and how many wait to begin.
    pub fn github_at_once(
        &self,
        installation: Option<u64>,
        resource: &'static str,
        used: u32,
        waiting: usize,
    ) {
        let labels = LimitLabels::of(installation, resource);
        self.0.at_once.get_or_create(&labels).set(i64::from(used));
        self.0.at_once_waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// A verdict was recorded.
    pub fn decided(&self, verdict: &Verdict) {
        let decision = verdict.decision.as_str();
        self.0.decisions.get_or_create(&DecisionLabels { decision }).inc();
        for control in &verdict.controls {
            let labels = ControlLabels { control: control.id.clone(), outcome: outcome(control.outcome) };
            self.0.controls.get_or_create(&labels).inc();
        }
    }

    /// A check run of our App that the ledger does not have was seen, and nobody has acknowledged it.
    pub fn alarm(&self, on: bool) {
        self.0.alarm.set(i64::from(on));
    }

    /// Entries under the newest published checkpoint.
    pub fn signed(&self, entries: u64) {
        self.0.signed_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Entries under the newest checkpoint that a witness cosigned.
    pub fn witnessed(&self, witness: &str, entries: u64) {
        let labels = WitnessLabels { witness: witness.to_owned() };
        self.0.witnessed_entries.get_or_create(&labels).set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// The newest checkpoint lacks the quorum of witnesses.
    pub fn quorum_missed(&self, missed: bool) {
        self.0.quorum_missed.set(i64::from(missed));
    }

    /// Somebody must look: `exception`, `never_sent`, `lost`, `vanished`.
    pub fn alerted(&self, kind: &'static str) {
        self.0.alerts.get_or_create(&AlertLabels { kind }).inc();
    }

    /// A round of work panicked, which is a fault of gatelog, and is done once more.
    pub fn panicked(&self, task: Task) {
        self.0.panics.get_or_create(&PanicLabels { task: task.as_str() }).inc();
    }

    /// A sweep over GitHub's record ended and is in the ledger; whether everything could be read.
    pub fn swept(&self, complete: bool, at: Time) {
        let complete = if complete { "yes" } else { "no" };
        self.0.sweeps.get_or_create(&SweepLabels { complete }).inc();
        self.0.last_sweep.set(at.unix_seconds());
    }

    /// Totals of the store, as it counts them itself.
    pub fn store(&self, counts: StoreCounts) {
        self.0.store_entries.set(i64::try_from(counts.entries).unwrap_or(i64::MAX));
        self.0.store_groups.inner().store(counts.groups, Ordering::Relaxed);
        self.0.store_syncs.inner().store(counts.syncs, Ordering::Relaxed);
        self.0.store_bytes.inner().store(counts.bytes, Ordering::Relaxed);
    }

    /// The OpenMetrics text of this moment.
    #[must_use]
    pub fn text(&self, now: Time) -> String {
        let oldest = *self.0.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.queue_age.set(oldest.map_or(0.0, |t| now.since(t).as_secs_f64()));
        let mut out = String::new();
        // Writing into a `String` does not fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }
}

impl Inner {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("deliveries", "Deliveries answered, by event and outcome", self.intake.clone());
        r.register("rejected_signatures", "Deliveries without a good signature", self.rejected.clone());
        r.register_with_unit("stage", "Duration of each stage", Unit::Seconds, self.stages.clone());
        r.register("queue_depth", "Events without a verdict", self.queue_depth.clone());
        r.register_with_unit(
            "queue_oldest",
            "Age of the oldest of them",
            Unit::Seconds,
            self.queue_age.clone(),
        );
        r.register("github_calls", "Calls to GitHub, by kind and status", self.calls.clone());
        r.register("github_rate_limit_remaining", "Calls left until GitHub's limit", self.remaining.clone());
        r.register("github_minute_used", "Of GitHub's limits for one minute, used", self.minute_used.clone());
        r.register(
            "github_minute_waiting",
            "Calls that wait for room in GitHub's limits for one minute",
            self.minute_waiting.clone(),
        );
        r.register("github_hour_used", "Of GitHub's limits for one hour, used", self.hour_used.clone());
        r.register("github_at_once", "Calls to GitHub and judgements, under way", self.at_once.clone());
        r.register(
            "github_at_once_waiting",
            "Those that wait because too many are under way",
            self.at_once_waiting.clone(),
        );
        r.register("controls", "Outcomes of controls", self.controls.clone());
        r.register("decisions", "Verdicts, by decision", self.decisions.clone());
        r.register("alerts", "Things somebody must look at, by kind", self.alerts.clone());
        r.register("panics", "Faults of gatelog, by what was done once more", self.panics.clone());
        r.register("alarm", "1: a check run of this App is not in the ledger", self.alarm.clone());
        r.register(
            "sweeps",
            "Sweeps over GitHub's record, and whether all could be read",
            self.sweeps.clone(),
        );
        r.register(
            "last_sweep_timestamp",
            "When the last sweep ended, seconds since 1970",
            self.last_sweep.clone(),
        );
        r.register("ledger_entries", "Entries in the ledger", self.store_entries.clone());
        r.register(
            "signed_entries",
            "Entries under the newest published checkpoint",
            self.signed_entries.clone(),
        );
        r.register(
            "witnessed_entries",
            "Entries under the newest checkpoint that a witness cosigned",
            self.witnessed_entries.clone(),
        );
        r.register(
            "witness_quorum_missed",
            "1: the newest checkpoint lacks the quorum of witnesses",
            self.quorum_missed.clone(),
        );
        r.register("store_groups", "Groups of entries written", self.store_groups.clone());
        r.register("store_syncs", "Times the journal was synced to disk", self.store_syncs.clone());
        r.register_with_unit(
            "store_written",
            "Bytes written to the journal",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
    }

    fn label(&self, event: &str) -> String {
        let mut names = self.event_names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(event) {
            return event.to_owned();
        }
        if names.len() >= MAX_EVENT_NAMES {
            return "other".to_owned();
        }
        names.insert(event.to_owned());
        event.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Control, Decision};

    fn verdict() -> Verdict {
        let control = Control {
            id: "CHG-02".into(),
            package: "controls.required_reviews".into(),
            title: "Reviews".into(),
            severity: None,
            outcome: Outcome::Deny,
            evaluate_only: false,
            findings: vec![],
            skip_reason: None,
            waived_by: vec![],
        };
        Verdict {
            decision: Decision::Deny,
            reason: String::new(),
            controls: vec![control],
            valid_until: None,
            bundle: "sha256:0".into(),
            engine: "none".into(),
            rewriter: 1,
            answers: vec![],
        }
    }

    #[test]
    fn the_text_prometheus_reads() {
        let now: Time = "2026-11-24T15:00:10Z".parse().unwrap();
        let m = Metrics::new();
        m.intake("push", Intake::Recorded);
        m.queue(2, Some("2026-11-24T15:00:00Z".parse().unwrap()));
        m.github_calls("rest_get", Some(200), 3);
        m.github_remaining(Some(9), "graphql", 4999);
        m.github_minute(Some(9), "writes", 72, 3);
        m.github_hour(Some(9), "writes", 300);
        m.github_at_once(Some(9), "calls", 4, 1);
        m.decided(&verdict());
        m.panicked(Task::Publishing);
        m.alarm(true);
        m.signed(4);
        m.witnessed("witness.example/w1", 4);
        m.quorum_missed(true);
        m.store(StoreCounts { entries: 5, groups: 2, syncs: 2, bytes: 900 });
        insta::assert_snapshot!(m.text(now));
    }

    #[test]
    fn stages_are_histograms() {
        let m = Metrics::new();
        m.stage("judge", Duration::from_millis(3));
        let text = m.text(Time::now());
        assert!(text.contains("gatelog_stage_seconds_count{stage=\"judge\"} 1"), "{text}");
    }

    #[test]
    fn rejected_signatures_are_counted() {
        let m = Metrics::new();
        m.intake("", Intake::BadSignature);
        assert!(m.text(Time::now()).contains("gatelog_rejected_signatures_total 1"));
    }

    #[test]
    fn names_of_events_cannot_fill_the_memory() {
        let m = Metrics::new();
        for i in 0..10_000 {
            m.intake(&format!("e{i}"), Intake::Recorded);
        }
        assert!(
            m.text(Time::now()).lines().filter(|l| l.starts_with("gatelog_deliveries_total")).count() <= 152
        );
    }
}
