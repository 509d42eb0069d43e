//! Starting and stopping: what the ledger says is still to do, and what moved while nobody looked.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicU64, atomic::AtomicUsize},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    Gate, Inner, Item, Settings,
    again::pace,
    attempts, drafts,
    drafts::PullAddress,
    lock, publish,
    pulls::{Judged, Known},
    reconcile, room,
};
use crate::{
    config::Judging,
    event::{self, Cause, ContentType, Event, SubjectKind},
    github::{Before, Github, RepoAt, Trouble, gather},
    ledger::{
        Ledger, Stored,
        entry::{EventData, Flag, Kind, Ref, VerdictData},
    },
    policy::{Bundle, ENGINE, Judge, LoadError, REWRITER},
    telemetry::Metrics,
    time::Time,
    verdict::Decision,
    worker,
};

mod read_back;

pub use read_back::ReadBack;

/// A gate that runs, and the task that judges for it.
pub struct Running {
    pub gate: Gate,
    worker: JoinHandle<()>,
}

impl Running {
    /// Finishes what is in hand, at most for `patience`, records the stop, seals the ledger.
    pub async fn stop(self, patience: Duration) {
        let gate = self.gate;
        gate.0.stopping.send_replace(true);
        let in_hand = async {
            // A lane that panicked has nothing in hand.
            let _ = self.worker.await;
            gate.publishing_done().await;
            gate.alerts_done().await;
        };
        if tokio::time::timeout(patience, in_hand).await.is_err() {
            tracing::warn!("some events are still being judged or reported; the next start takes them up");
        }
        let stopped = json!({"event": "stopped"});
        if let Err(e) = gate.0.ledger.append(vec![drafts::service(stopped)]).await {
            tracing::error!("the stop could not be recorded: {e}");
        }
        if let Err(e) = gate.0.ledger.close().await {
            tracing::error!("the ledger could not be sealed: {e}");
        }
    }
}

impl Gate {
    /// Starts the gate on an open ledger: records the start, takes up what is unfinished. `past`: what was told
    /// while it was opened; the rest of it is read here.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub async fn start(
        settings: Settings,
        ledger: Ledger,
        past: ReadBack,
        github: Github,
        bundle: Bundle,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Running> {
        let bundle = Arc::new(bundle);
        let judge = judge(settings.judging, &bundle).await?;
        let mut told = past.finish(&ledger)?;
        let opened = ledger.open_report();
        let changed = !is_active(&ledger, told.policy, &bundle)?;
        let started = json!({
            "event": "started",
            "version": env!("CARGO_PKG_VERSION"),
            "rebuilt": opened.rebuilt,
            "torn_bytes": opened.torn.as_ref().map(|t| t.bytes),
            "unclean": opened.unclean,
        });
        let mut group = vec![drafts::service(started)];
        if changed {
            group.push(drafts::policy(bundle.digest(), bundle.archive()));
        }
        let receipts = ledger.append(group).await?;
        let service = receipts.first().map_or(0, |r| r.seq);
        if let Some(policy) = receipts.get(1) {
            told.bundles.insert(bundle.digest().to_owned(), policy.seq);
        }
        let (work, rx) = mpsc::unbounded_channel();
        let (stopping, stop) = watch::channel(false);
        let sweeps = reconcile::Sweeps::of(&ledger, &told.sweeps);
        let gate = Self(Arc::new(Inner {
            attempts: attempts::Attempts::open(settings.ledger_dir.join("attempts"))?,
            settings,
            ledger,
            github,
            judge,
            bundle: RwLock::new(bundle),
            metrics,
            work,
            waiting: AtomicUsize::new(0),
            large: room::Room::default(),
            pulls: Mutex::new(told.pulls),
            groups: Mutex::default(),
            unjudged: Mutex::default(),
            publisher: publish::Publisher::with_live(told.live),
            deployments: Mutex::default(),
            alarm: Mutex::new(told.alarm.alarm()),
            alerts: Mutex::default(),
            started_at_seq: AtomicU64::new(service),
            settling: Mutex::default(),
            timers: Mutex::default(),
            waivers: Mutex::new(told.waivers),
            tampered: Mutex::default(),
            bundles: Mutex::new(told.bundles),
            explained: Mutex::default(),
            sweeps: tokio::sync::Mutex::new(sweeps),
            stopping,
            fatal: watch::channel(None).0,
        }));
        gate.remember(&told.did);
        gate.0.metrics.alarm(gate.alarmed());
        gate.learn_repositories(&told.events);
        gate.learn_groups(&told.groups);
        gate.take_up_unjudged();
        gate.take_up_unreported();
        gate.show_live(false);
        gate.schedule_all();
        gate.settle_again();
        gate.look_at_pushes_told(told.pushes);
        gate.post_again(told.unposted);
        gate.watch_reviews();
        let worker = tokio::spawn(worker::run(gate.clone(), rx, stop));
        let cause = if changed { Cause::Bundle } else { Cause::Start };
        let (looking, wordless) = (gate.clone(), told.wordless);
        tokio::spawn(async move {
            let outdated =
                |head: &event::Sha| looking.newest_of_group(head).is_some_and(|v| !looking.judges_so(&v));
            looking.look_again_at_groups(cause, outdated).await;
            looking.look_at_open_pulls(cause, service).await;
            looking.look_at_what_was_waived(&wordless).await;
            if let Some(every) = looking.0.settings.sweep_every {
                looking.sweep_for_ever(every).await;
            }
        });
        tokio::spawn(gate.clone().keep_retention());
        gate.start_compressing();
        Ok(Running { gate, worker })
    }

    /// Loads the policies again. On an error the old bundle stays active.
    ///
    /// # Errors
    /// The new bundle does not load, or its activation cannot be recorded.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let bundle = match load(&self.0.settings.policies_dir) {
            Ok(bundle) => bundle,
            Err(e) => {
                let rejected = json!({"event": "policies_rejected"});
                self.0.ledger.append(vec![drafts::service(rejected)]).await?;
                anyhow::bail!("the policies were not reloaded, the old ones stay active: {e}");
            }
        };
        if bundle.digest() == self.bundle().digest() {
            return Ok(());
        }
        let bundle = Arc::new(bundle);
        self.0.judge.prepare(&bundle).await.map_err(anyhow::Error::msg)?;
        let entry = drafts::policy(bundle.digest(), bundle.archive());
        let receipts = self.0.ledger.append(vec![entry]).await?;
        if let Some(receipt) = receipts.first() {
            lock(&self.0.bundles).insert(bundle.digest().to_owned(), receipt.seq);
        }
        tracing::info!(bundle = bundle.digest(), "policies reloaded");
        *self.0.bundle.write().unwrap_or_else(std::sync::PoisonError::into_inner) = bundle;
        let gate = self.clone();
        tokio::spawn(async move { gate.look_again_at_all(Cause::Bundle).await });
        Ok(())
    }

    /// What GitHub still counts of an earlier process. A write that was under way when it ended is in no entry:
    /// whatever waits to be shown or judged may be one, of now.
    fn remember(&self, did: &[(u64, Before, Time)]) {
        let now = Time::now();
        for (installation, did, at) in did {
            self.0.github.did_before(*installation, *did, now.since(*at));
        }
        let unfinished = [self.0.ledger.unreported(), self.0.ledger.unjudged()].concat();
        let entries = unfinished.into_iter().filter_map(|seq| self.0.ledger.entry(seq).ok()?);
        let mut heads = HashSet::new();
        let mut under_way: HashMap<u64, usize> = HashMap::new();
        for (kind, subject) in entries.map(|stored| (stored.entry.kind, stored.entry.subject)) {
            let is_shown = kind == Kind::Verdict
                || matches!(subject.kind, SubjectKind::PullRequest | SubjectKind::MergeGroup);
            if let Some(installation) = subject.installation.filter(|_| is_shown)
                && heads.insert((subject.repository, subject.head))
            {
                *under_way.entry(installation).or_default() += 1;
            }
        }
        for (installation, writes) in under_way {
            self.0.github.perhaps_wrote_before(installation, writes);
        }
    }

    /// From the newest event of each whose payload is there.
    fn learn_repositories(&self, events: &HashMap<u64, Vec<u64>>) {
        for (repository, seqs) in events {
            match seqs.iter().rev().find_map(|seq| self.recorded_event(*seq)) {
                Some(event) => lock(&self.0.pulls).learn_repository(&event),
                None => tracing::warn!(
                    repository,
                    "every payload of this repository was erased: it is known again with its next event"
                ),
            }
        }
    }

    /// Merge groups that still wait, as of when GitHub asked for their checks.
    fn learn_groups(&self, asked: &HashMap<(u64, event::Sha), u64>) {
        for seq in asked.values() {
            let Ok(Some(stored)) = self.0.ledger.entry(*seq) else { continue };
            if let Some(event) = self.recorded_event(*seq) {
                lock(&self.0.groups).learn(&event, stored.entry.time);
            }
            if let (Some(repository), Some(head)) =
                (stored.entry.subject.repository, stored.entry.subject.head)
                && let Some(until) = self.newest_of_group(&head).and_then(|verdict| verdict.valid_until)
            {
                self.look_at_group_at(repository, head, until);
            }
        }
    }

    /// The newest verdict on a merge group.
    fn newest_of_group(&self, head: &event::Sha) -> Option<VerdictData> {
        let newest = self.0.ledger.with_head(head).into_iter().rev().find_map(|seq| {
            let entry = self.0.ledger.entry(seq).ok()??.entry;
            (entry.kind == Kind::Verdict && entry.subject.kind == SubjectKind::MergeGroup).then_some(entry)
        })?;
        serde_json::from_value(newest.data).ok()
    }

    fn take_up_unjudged(&self) {
        for seq in self.0.ledger.unjudged() {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            let event = self.recorded_event(seq).map(Arc::new);
            let flags = flags(&stored);
            self.enqueue(Item {
                seq,
                unreadable: event.is_none(),
                event,
                received_at: stored.entry.time,
                guid: guid(&stored.entry.key),
                replayed: flags.contains(&Flag::Replayed),
            });
        }
    }

    fn take_up_unreported(&self) {
        for seq in self.0.ledger.unreported() {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            let Ok(data) = serde_json::from_value::<VerdictData>(stored.entry.data) else { continue };
            let Some(target) = data.target else { continue };
            let known = lock(&self.0.pulls).repository(target.repository);
            if let Some(Known { installation, repository, .. }) = known {
                let at = RepoAt { installation, repository };
                match super::deployments::is_about_one(&stored.entry.subject) {
                    true => self.answer_deployment(target, at, seq),
                    false => self.touch(target, at, |_| {}),
                }
            }
        }
    }

    /// The event of an entry, from its payload.
    pub(super) fn recorded_event(&self, seq: u64) -> Option<Event> {
        let stored = self.0.ledger.entry(seq).ok()??;
        let data: EventData = serde_json::from_value(stored.entry.data.clone()).ok()?;
        let media = stored.entry.bodies.get("payload").map(|b| b.media.clone()).unwrap_or_default();
        let body = self.0.ledger.body(seq, "payload").ok()??;
        event::parse_stored(&data.name, data.source, data.cause, ContentType::of_media(&media), &body).ok()
    }

    /// Asks GitHub for the open pull requests of every repository we know, and looks again at those
    /// whose head has no verdict, or only an `error`, and at those that changed since they were judged: what
    /// told of that may be lost.
    async fn look_at_open_pulls(&self, cause: Cause, service: u64) {
        let repositories = lock(&self.0.pulls).repositories();
        for known in repositories {
            let at = RepoAt { installation: known.installation, repository: known.repository.clone() };
            let known_before = lock(&self.0.pulls).numbers(at.repository.id);
            match self.open_pulls(&at).await {
                Ok(pulls) => {
                    self.close_all_but(at.repository.id, &known_before, &pulls);
                    self.closed_all_but(&at, &pulls.iter().map(|p| p.number).collect::<Vec<_>>());
                    for pull in pulls {
                        let id = at.repository.id;
                        let (number, changed) = (pull.number, pull.updated_at);
                        let answered = self.has_answer(id, &pull);
                        lock(&self.0.pulls).open(id, number, Some(pull.head), Some(pull.base_ref));
                        if cause == Cause::Bundle || !answered {
                            lock(&self.0.pulls).seen(id, number, Some(changed));
                            let address = address(&known, number);
                            let key = format!("start:{service}:{id}:{number}");
                            let refs = vec![Ref::Seq(service)];
                            if self.look_again_for_sure(&address, cause, refs, key).await.is_none() {
                                return;
                            }
                            tokio::time::sleep(pace()).await;
                        }
                    }
                }
                Err(trouble) => tracing::warn!(
                    repo.name = known.repository.name.as_str(),
                    "open pull requests could not be read at start: {}",
                    trouble.reason
                ),
            }
        }
    }

    /// What GitHub does not list was closed while nobody looked, or by an event that the entries do not
    /// show as one. An event in hand knows better.
    fn close_all_but(&self, repository: u64, known: &[u64], listed: &[gather::OpenPull]) {
        let unjudged = lock(&self.0.unjudged);
        let mut pulls = lock(&self.0.pulls);
        for &number in known {
            if !listed.iter().any(|p| p.number == number) && !unjudged.contains_key(&(repository, number)) {
                pulls.close(repository, number);
            }
        }
    }

    async fn open_pulls(&self, at: &RepoAt) -> Result<Vec<gather::OpenPull>, Trouble> {
        let mut waited = Duration::from_secs(1);
        loop {
            match gather::open_pulls(&self.0.github, at).await {
                Err(t) if t.passes() && waited < Duration::from_secs(600) => {
                    tokio::time::sleep(t.retry_after.unwrap_or(waited)).await;
                    waited *= 2;
                }
                done => return done,
            }
        }
    }

    /// Whether what GitHub lists has a verdict that stands, or an event that will bring one. A verdict made
    /// before something changed does not stand: the event that told of it never came.
    pub(super) fn has_answer(&self, repository: u64, pull: &gather::OpenPull) -> bool {
        let (number, head) = (pull.number, &pull.head);
        if lock(&self.0.unjudged).contains_key(&(repository, number)) {
            return true;
        }
        let seqs = self.0.ledger.of_pull(repository, number);
        for seq in seqs.into_iter().rev() {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            let here = stored.entry.subject.head.as_ref() == Some(head);
            if !here || !self.decides_pull_request(&stored) {
                continue;
            }
            let at = stored.entry.time;
            let Ok(data) = serde_json::from_value::<VerdictData>(stored.entry.data) else { continue };
            match data.decision {
                Decision::Superseded => {}
                Decision::Error => return false,
                // The looks that a new bundle asks for take time, and the process may have ended meanwhile.
                _ if !self.judges_so(&data) => return false,
                _ => return self.is_as_judged(repository, pull, seq, at),
            }
        }
        false
    }

    /// Whether a verdict is by the bundle and the engine that judge now.
    fn judges_so(&self, verdict: &VerdictData) -> bool {
        verdict.bundle == self.bundle().digest() && verdict.engine == ENGINE && verdict.rewriter == REWRITER
    }

    /// Whether the verdict was made of what GitHub lists now, or of something newer. What was judged is
    /// compared, and not what events told, because the one that matters may be lost. What was judged in the second
    /// in which it changed is looked at once more. Where the facts were erased, a verdict stands as long as nothing changed after it.
    fn is_as_judged(&self, repository: u64, pull: &gather::OpenPull, verdict: u64, at: Time) -> bool {
        let noted = lock(&self.0.pulls).judged(repository, pull.number, verdict);
        let Some(judged) = noted.or_else(|| self.judged_of(verdict)) else { return pull.updated_at < at };
        let stands = judged.updated_at > pull.updated_at
            || (judged.updated_at == pull.updated_at
                && judged.base_ref == pull.base_ref
                && !judged.may_lack());
        lock(&self.0.pulls).judge(repository, pull.number, judged);
        stands
    }

    /// What a verdict was made of, from its facts.
    fn judged_of(&self, verdict: u64) -> Option<Judged> {
        let facts = self.0.ledger.body(verdict, "facts").ok()??;
        let facts: serde_json::Value = serde_json::from_slice(&facts).ok()?;
        let pull = &facts["pull_request"];
        let updated_at = pull["updated_at"].as_str()?.parse().ok()?;
        let base_ref = pull["base"]["ref"].as_str()?.to_owned();
        let event = *self.0.ledger.entry(verdict).ok()??.entry.refs.first()?;
        let asked_at = self.0.ledger.entry(event).ok()??.entry.time;
        Some(Judged { verdict, updated_at, base_ref, asked_at })
    }

    /// The second looks that the process before may not have come to: an event may have waited to be judged, and
    /// its looks take time. One that was recorded is not recorded again.
    fn settle_again(&self) {
        let head = self.0.started_at_seq();
        let entry = |seq: u64| self.0.ledger.entry(seq).ok().flatten();
        let Some(last) = head.checked_sub(1).and_then(entry) else { return };
        let lately = (0..head).rev().map_while(entry);
        let lately = lately.take_while(|s| last.entry.time.since(s.entry.time) < MAY_SETTLE);
        for stored in lately.filter(|s| s.entry.kind == Kind::Event) {
            let seq = stored.entry.seq;
            if let Some(event) = self.recorded_event(seq).filter(|e| event::handling(e).drop_caches)
                && self.0.ledger.verdict_of(seq).is_some()
            {
                self.look_when_settled(seq, Arc::new(event));
            }
        }
    }

    fn schedule_all(&self) {
        let repositories = lock(&self.0.pulls).repositories();
        for known in repositories {
            let addresses = lock(&self.0.pulls).of_repository(known.repository.id);
            for at in addresses {
                if let Some(until) = self.valid_until(at.repository.id, at.number) {
                    self.schedule_at(at, until);
                }
            }
        }
    }

    /// Whether an entry is a verdict on its pull request, not one on an event that only mentions it.
    pub(super) fn decides_pull_request(&self, stored: &Stored) -> bool {
        let event = || {
            let event = self.0.ledger.entry(*stored.entry.refs.first()?).ok()??;
            serde_json::from_value::<EventData>(event.entry.data).ok()
        };
        stored.entry.kind == Kind::Verdict
            && event().is_some_and(|e| event::decides_pull_request(&e.name, e.source))
    }

    fn valid_until(&self, repository: u64, number: u64) -> Option<Time> {
        let seqs = self.0.ledger.of_pull(repository, number);
        let newest = seqs.into_iter().rev().find_map(|seq| {
            let stored = self.0.ledger.entry(seq).ok()??;
            self.decides_pull_request(&stored).then_some(stored)
        })?;
        serde_json::from_value::<VerdictData>(newest.entry.data).ok()?.valid_until
    }
}

/// As many judges as there are cores, ready for the bundle.
async fn judge(judging: Judging, bundle: &Arc<Bundle>) -> anyhow::Result<Judge> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let judge = match judging {
        Judging::Processes => Judge::in_processes(cores)?,
        Judging::InProcess => Judge::in_process(cores)?,
    };
    let contained = judge.prepare(bundle).await.map_err(anyhow::Error::msg)?;
    tracing::info!("{contained}");
    Ok(judge)
}

/// Loads a bundle for serving: only one in which `policy check` finds no error.
///
/// # Errors
/// Whatever is wrong with it, with file, line and column.
pub fn load(dir: &Path) -> Result<Bundle, LoadError> {
    Bundle::load_for_serving(dir)
}

/// How long ago an event may have come whose second looks are not all recorded.
const MAY_SETTLE: Duration = Duration::from_secs(3600);

fn is_active(ledger: &Ledger, policy: Option<u64>, bundle: &Bundle) -> anyhow::Result<bool> {
    let Some(seq) = policy else { return Ok(false) };
    let Some(stored) = ledger.entry(seq)? else { return Ok(false) };
    let data = &stored.entry.data;
    Ok(data["bundle"] == json!(bundle.digest())
        && data["engine"] == json!(ENGINE)
        && data["rewriter"] == json!(REWRITER))
}

fn flags(stored: &Stored) -> Vec<Flag> {
    read_back::event_data(&stored.entry).map(|d| d.flags).unwrap_or_default()
}

/// `delivery:<GUID>` or `delivery:<GUID>#2`.
fn guid(key: &str) -> Option<String> {
    let guid = key.strip_prefix("delivery:")?;
    Some(guid.split('#').next().unwrap_or(guid).to_owned())
}

fn address(known: &Known, number: u64) -> PullAddress {
    PullAddress {
        installation: known.installation,
        organization: known.organization,
        repository: known.repository.clone(),
        number,
    }
}
