//! The story of a delivery, top to bottom: receive, judge, report.
//!
//! ```text
//! receive   Delivery ─▶ Event ─▶ entry "event", durable ─▶ 202
//! judge     Event ─▶ Facts ─▶ Input ─▶ Verdict ─▶ entry "verdict" (with a fan-out's own events)
//! report    newest verdicts of a target ─▶ check run ─▶ entry "report"
//! ```
//!
//! If the power goes after `receive` has answered, the event is in the ledger without a verdict and
//! is judged at the next start. If it goes after the verdict, the ledger has a target that no report
//! covers, and `report` looks at GitHub before it writes. Nothing is published that is not recorded.
//!
//! | modules | what |
//! |---|---|
//! | `intake`, `waits`, `guard` | deliveries come in; how long things wait; what panics is done once more |
//! | `start`, `tidy`, `attempts` | what a start takes up, what is erased and compressed, how often something was tried |
//! | `look`, `known`, `pushers`, `room` | from an event to the frozen document; what only our ledger knows; room for large ones |
//! | `again`, `pulls`, `groups`, `pushes`, `often` | looking again: at what, why, when, how often |
//! | `drafts` | the entries that the journey writes |
//! | `publish`, `own_app`, `explain`, `deployments` | what GitHub is told, and what it tells of that |
//! | `landed`, `tampering`, `alerts` | after the merge: merge verdicts, what is done against the gate, who is told |
//! | [`commands`], [`waivers`], `waived`, `unwaived` | exceptions: asked for, remembered, given to a judgement, ended |
//! | [`reconcile`] | the sweep: GitHub's record compared with ours |
//! | [`preview`] | a pull request as it stands now, for whoever writes policies |

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

use waits::outage_patience;

use crate::{
    config::Judging,
    event::{self, About, Cause, Event, Handling, Judge as On, Source},
    github::{Github, Turn},
    ledger::{
        Ledger,
        entry::{Draft, Receipt, Ref},
    },
    policy::{Bundle, Judge},
    telemetry::{Metrics, Task, alerts::Poster},
    time::Time,
    verdict::{Target, Verdict},
};

mod again;
mod alerts;
mod attempts;
pub mod commands;
mod deployments;
mod drafts;
mod explain;
mod groups;
mod guard;
mod intake;
mod known;
mod landed;
mod look;
mod often;
mod own_app;
pub mod preview;
mod publish;
mod pulls;
mod pushers;
mod pushes;
pub mod reconcile;
mod room;
mod start;
mod tampering;
mod tidy;
mod unwaived;
mod waits;
mod waived;
pub mod waivers;

pub use intake::{ReceiveError, Received};
pub use start::{ReadBack, Running, load};
pub use tidy::{EraseError, holds};

/// A green is never late: older facts than this are gathered again before a success is sent.
pub(crate) const FRESH: Duration = Duration::from_secs(30);

/// What the gate is told at start.
pub struct Settings {
    /// Folder of the ledger; `attempts/` is kept there.
    pub ledger_dir: PathBuf,
    pub policies_dir: PathBuf,
    pub app_id: u64,
    /// Name of the required check; pushes show under `<check_name>/push`.
    pub check_name: String,
    /// `false`: judge and record without publishing.
    pub publish: bool,
    /// Where policies are judged.
    pub judging: Judging,
    /// Read anew for each erasure: a hold counts from the moment it is written. `None`: no holds, no
    /// retention.
    pub config_file: Option<PathBuf>,
    /// How often GitHub's record is compared with the ledger; `None`: only when asked for.
    pub sweep_every: Option<Duration>,
    /// Branches whose every change is accounted for.
    pub watched: reconcile::Watched,
    /// Where alerts are posted.
    pub alerts: Option<Poster>,
}

/// The gate. A cheap clone of a handle.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    settings: Settings,
    ledger: Ledger,
    github: Github,
    judge: Judge,
    bundle: RwLock<Arc<Bundle>>,
    metrics: Arc<Metrics>,
    attempts: attempts::Attempts,
    /// Bounded by [`MOST_WAITING`] and what follows from those.
    work: mpsc::UnboundedSender<Item>,
    /// Events handed to the worker that have no verdict yet.
    waiting: AtomicUsize,
    large: room::Room,
    pulls: Mutex<pulls::Pulls>,
    groups: Mutex<groups::Groups>,
    /// Events of a pull request that have no verdict yet: while there are any, no green goes out.
    unjudged: Mutex<HashMap<(u64, u64), BTreeSet<u64>>>,
    publisher: publish::Publisher,
    deployments: Mutex<deployments::Waiting>,
    alarm: Mutex<own_app::Alarm>,
    alerts: Mutex<alerts::Held>,
    /// The first entry of this process: what is older was made by another.
    started_at_seq: AtomicU64,
    /// Where people, teams or rules changed lately: the newest event that told of it.
    settling: Mutex<HashMap<again::Place, (u64, Arc<Event>)>>,
    /// When the newest verdict of a pull request ends to be valid.
    timers: Mutex<HashMap<(u64, u64), Time>>,
    waivers: Mutex<waivers::Waivers>,
    tampered: Mutex<tampering::Alerted>,
    /// Digests of bundles → the entry that holds it.
    bundles: Mutex<HashMap<String, u64>>,
    /// Who had which check explained.
    explained: Mutex<often::Often<(Target, u64)>>,
    /// One sweep at a time.
    sweeps: tokio::sync::Mutex<reconcile::Sweeps>,
    stopping: watch::Sender<bool>,
    fatal: watch::Sender<Option<String>>,
}

/// An event to judge.
#[derive(Clone, Debug)]
pub struct Item {
    pub seq: u64,
    /// `None`: the payload could not be read.
    pub event: Option<Arc<Event>>,
    pub received_at: Time,
    pub guid: Option<String>,
    /// The same body came before under another GUID: it gives no facts.
    pub replayed: bool,
    /// Why the payload could not be read.
    pub unreadable: bool,
}

/// Not now: try again after this.
#[derive(Debug)]
pub struct Later {
    pub after: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means another task panicked between two plain assignments; the maps stay usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// Waits until the judgement of an event may begin; it holds the turn. `None`: it asks GitHub for no
    /// repository.
    pub(crate) async fn turn_to_judge(&self, item: &Item) -> Option<Turn> {
        let event = item.event.as_deref()?;
        let at = look::repo_at(event)?;
        // A turn to write is kept for what is judged anew because its facts grew old.
        Some(self.0.github.turn_to_judge(&at, event.cause == Some(Cause::Stale)).await)
    }

    /// Judges an event together with the older "look again" events it stands for, and records the
    /// verdict with everything that follows from it in one atomic group.
    ///
    /// # Errors
    /// GitHub or the store cannot serve now; nothing was recorded.
    pub async fn judge(&self, item: &Item, older: &[Item]) -> Result<(), Later> {
        let event = item.event.as_deref();
        let span = tracing::info_span!(
            "judge",
            seq = item.seq,
            delivery.id = item.guid.as_deref().unwrap_or(""),
            repo.name = event.and_then(|e| e.repository.as_ref()).map_or("", |r| r.name.as_str()),
            event = event.map_or("unreadable", |e| e.name.as_str()),
        );
        self.judge_in_span(item, older).instrument(span).await
    }

    /// Judging an event panicked: it is tried again as after a death of the process.
    pub(crate) fn judging_panicked(&self, item: &Item) {
        tracing::error!(
            seq = item.seq,
            "judging an event panicked, which is a fault of gatelog: it is tried again"
        );
        self.0.metrics.panicked(Task::Judging);
        self.0.attempts.panicked(item.seq);
    }

    async fn judge_in_span(&self, item: &Item, older: &[Item]) -> Result<(), Later> {
        let _room = self.room_for(item).await;
        let event = item.event.as_deref();
        let begun = Time::now();
        let bundle = self.bundle();
        let attempt = self.0.attempts.begin(item.seq);
        let handling = item.event.as_deref().map_or(Handling::BARE, event::handling);
        let mut looked = if attempt.is_hopeless() {
            self.look_at_nothing(item, "judging this event ended the process 3 times")
        } else {
            fail::fail_point!("judge::panic");
            match self.look(item, older, handling, bundle.clone()).await {
                Ok(looked) => looked,
                Err(trouble) if Time::now().since(item.received_at) < outage_patience() => {
                    return Err(self.wait_for_github(item, &trouble));
                }
                Err(trouble) => self.look_without_github(item, &trouble),
            }
        };
        let command = match self.command(item).await {
            Ok(command) => command,
            Err(trouble) if Time::now().since(item.received_at) < outage_patience() => {
                return Err(self.wait_for_github(item, &trouble));
            }
            Err(trouble) => {
                tracing::error!("a command is not carried out: GitHub cannot be asked: {}", trouble.reason);
                None
            }
        };
        self.0.metrics.stage("gather", Time::now().since(begun));
        let judging = Time::now();
        let verdict = match (&looked.verdict, &looked.input) {
            (Some(verdict), _) => verdict.clone(),
            (None, Some(input)) => self.0.judge.judge(bundle.clone(), input.clone()).await,
            (None, None) => self.no_verdict("there is nothing to judge"),
        };
        self.0.metrics.stage("judge", Time::now().since(judging));
        let target = self
            .target(handling, &looked.subject, looked.open, &verdict)
            .or_else(|| self.deployment_target(item, &looked.subject));
        let mut group: Vec<Draft> = Vec::new();
        for old in older {
            let subject = old.event.as_deref().map_or(event::Subject::NONE, Event::subject);
            group.push(drafts::superseded(old.seq, subject, item.seq, bundle.digest()));
        }
        let place = group.len();
        let facts = looked.input.as_ref().map(|input| input.facts_body());
        let draft =
            drafts::verdict(Ref::Seq(item.seq), looked.subject.clone(), &verdict, facts, target.clone());
        let waivers = lock(&self.0.waivers).steps_of(&verdict);
        let draft = drafts::with_concerned(draft, looked.concerns.as_deref(), &waivers);
        let landing = looked.landing.take().or_else(|| {
            // What landed is told of once, when it did.
            let event = event.filter(|e| e.source != Source::Gatelog && self.is_watched_push(item))?;
            Some(self.no_merge_verdict(event, &verdict.reason))
        });
        let landing = landing.and_then(|merge| self.news_of_landing(item, &looked.subject, merge));
        // A look of our own that is behind again was late enough.
        looked.behind &= older.iter().chain([item]).any(is_told_by_github);
        let heals_at = self.heals_at(&looked, &verdict);
        let draft = match heals_at {
            Some(at) => drafts::valid_until(draft, at),
            None => draft,
        };
        let draft = match &landing {
            Some(merge) => drafts::with_landing(draft, &merge.data, &merge.body),
            None => draft,
        };
        let tampering = self.tampering(item);
        group.push(match &tampering {
            Some(found) => drafts::with_tampering(draft, &found.data, &found.body),
            None => draft,
        });
        let mut again = self.fan_outs(item, older);
        if looked.pusher_unknown {
            // `synchronize` named the owner of a deploy key as sender; now it is known better.
            again.extend(self.on_head(looked.subject.repository, looked.subject.head.as_ref(), Cause::Base));
        }
        again.extend(self.not_known_yet(&looked));
        let (step, concerned) = command.map_or((None, vec![]), |c| (c.step, c.again));
        again.extend(concerned);
        group.extend(again.iter().map(|(at, cause)| self.fan_out_draft(item.seq, at, *cause)));
        let groups = self.groups_to_look_at(item, &looked, verdict.decision);
        group.extend(groups.iter().map(|(at, cause)| {
            let key = format!("again:{}:{}:group:{}", item.seq, at.repository.id, at.head);
            at.draft(*cause, vec![Ref::Seq(item.seq)], key)
        }));
        let alarming = step.map(|(step, alarming)| {
            group.push(step);
            alarming
        });
        let receipts = self.append(group).await?;
        // The last of the group. Before anything that follows is judged.
        if let (Some(alarming), Some(receipt)) = (alarming, receipts.last()) {
            self.learn_waiver(receipt.seq);
            if let Some(text) = alarming {
                let name = event.and_then(|e| e.repository.as_ref()).map(|r| &r.name);
                self.alert("break_glass", receipt.seq, name, &text);
            }
        }
        self.0.attempts.end(item.seq, attempt);
        // Not below nothing: after a panic the same is done once more.
        let fewer = |waiting: usize| Some(waiting.saturating_sub(1 + older.len()));
        let _ = self.0.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        let seq = receipts.get(place).map_or(item.seq, |r| r.seq);
        if let Some(merge) = &landing {
            self.look_at_bypass_later(item, seq, &merge.data);
        }
        if let Some(merge) = landing.filter(|m| !m.data.exceptions.is_empty()) {
            let name = event.and_then(|e| e.repository.as_ref()).map(|r| &r.name);
            self.alert("exception", seq, name, &landed::sentence(&merge.data, &merge.body));
        }
        if let Some(found) = tampering {
            let name = event.and_then(|e| e.repository.as_ref()).map(|r| &r.name);
            self.alert_of_tampering(found, seq, name);
        }
        self.explain(item);
        // What follows is known before anything is shown: a green waits for it.
        let mut follow = receipts.iter().skip(place + 1);
        for ((at, cause), receipt) in again.iter().zip(&mut follow) {
            self.enqueue_again(at, *cause, *receipt);
        }
        for ((at, cause), receipt) in groups.iter().zip(follow) {
            self.enqueue_group(at, *cause, *receipt);
        }
        self.judged(item, older, &looked, seq, &verdict, target);
        if let Some(event) = item.event.clone().filter(|_| handling.drop_caches) {
            self.look_when_settled(item.seq, event);
        }
        self.look_when_it_ends(item, &looked, seq, &verdict, heals_at);
        if asks_for_a_look(item) {
            self.look_at_pushes_on(&looked.subject, item.seq).await;
        }
        // After the bookkeeping, which goes by the verdict's own `valid_until`.
        if let (Some(until), Some(at)) = (heals_at, event.and_then(drafts::address)) {
            self.schedule_at(at, until);
        }
        Ok(())
    }

    /// What is true once a verdict is durable: bookkeeping in memory, then publishing.
    fn judged(
        &self,
        item: &Item,
        older: &[Item],
        looked: &look::Looked,
        seq: u64,
        verdict: &Verdict,
        target: Option<Target>,
    ) {
        tracing::info!(
            verdict = seq,
            decision = verdict.decision.as_str(),
            superseded = older.len(),
            "{}",
            verdict.reason
        );
        self.0.metrics.decided(verdict);
        if let Some(event) = item.event.as_deref() {
            lock(&self.0.groups).judged(event, item.seq);
            if let Some(pull) = pull_key(event)
                && self.none_is_unjudged(pull, older.iter().chain([item]))
            {
                self.show_groups_that_carry(pull);
            }
            if let (Some(repository), Some(number), Some(open)) =
                (looked.subject.repository, looked.subject.id, looked.open)
                && looked.subject.kind == event::SubjectKind::PullRequest
                && decides_pull_request(item)
            {
                // A head that a later event has stated is newer than the one just judged.
                let later = lock(&self.0.unjudged).contains_key(&(repository, number));
                let head = looked.subject.head.clone().filter(|_| !later);
                let before = self.head_of(event);
                let mut pulls = lock(&self.0.pulls);
                if open {
                    pulls.open(repository, number, head, looked.base_ref.clone());
                    pulls.seen(repository, number, looked.updated_at);
                    pulls.decide(repository, number, verdict.decision, seq);
                    if let (Some(updated_at), Some(base_ref)) = (looked.updated_at, looked.base_ref.clone()) {
                        let asked_at = item.received_at;
                        let judged = pulls::Judged { verdict: seq, updated_at, base_ref, asked_at };
                        pulls.judge(repository, number, judged);
                    }
                } else if !later {
                    pulls.close(repository, number);
                }
                drop(pulls);
                if let (Some(old), Some(at)) =
                    (before.filter(|old| self.head_of(event).as_ref() != Some(old)), &looked.at)
                {
                    self.left(at, &old);
                }
                if let (false, false, Some(at)) = (open, later, &looked.at) {
                    self.closed(at, number);
                }
            }
            self.schedule(event, verdict);
        }
        if let (Some(target), Some(at)) = (target, looked.at.clone()) {
            if deployments::is_about_one(&looked.subject) {
                return self.answer_deployment(target, at, seq);
            }
            let asked = |i: &Item| i.event.as_deref().is_some_and(|e| e.cause == Some(Cause::Rerequested));
            let force = older.iter().chain([item]).any(asked);
            self.publish_verdict(target, at, seq, looked.frozen_at, looked.without_github, force);
        }
    }

    /// These events of a pull request are judged; whether no other waits.
    fn none_is_unjudged<'i>(&self, pull: (u64, u64), judged: impl Iterator<Item = &'i Item>) -> bool {
        let mut unjudged = lock(&self.0.unjudged);
        let Some(waiting) = unjudged.get_mut(&pull) else { return true };
        for done in judged {
            waiting.remove(&done.seq);
        }
        let none = waiting.is_empty();
        if none {
            unjudged.remove(&pull);
        }
        none
    }

    /// The bundle that judges now.
    pub fn bundle(&self) -> Arc<Bundle> {
        self.0.bundle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Turns to a message when the ledger cannot go on; the process must end.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.0.fatal.subscribe()
    }

    /// Appends a group; a full disk is waited for, anything worse ends the process.
    async fn append(&self, group: Vec<Draft>) -> Result<Vec<Receipt>, Later> {
        let begun = Time::now();
        let result = self.0.ledger.append(group).await;
        self.0.metrics.stage("append", Time::now().since(begun));
        result.map_err(|e| {
            tracing::error!("cannot record: {e}");
            self.refused(e);
            Later { after: Duration::from_secs(5) }
        })
    }

    /// Where a verdict is shown, if anywhere.
    fn target(
        &self,
        handling: Handling,
        subject: &event::Subject,
        open: Option<bool>,
        verdict: &Verdict,
    ) -> Option<Target> {
        let settings = &self.0.settings;
        let check = match handling.judge {
            On::PullRequest if open == Some(true) => settings.check_name.clone(),
            On::MergeGroup => settings.check_name.clone(),
            On::Ref if some_control_applied(verdict) => format!("{}/push", settings.check_name),
            _ => return None,
        };
        let (true, Some(repository), Some(sha)) =
            (settings.publish, subject.repository, subject.head.clone())
        else {
            return None;
        };
        Some(Target { repository, sha, check })
    }
}

/// Where tests end the process as a power cut would. Without the feature `failpoints`: nothing.
fn die_at(name: &'static str) {
    fail::fail_point!(name, |_| std::process::abort());
    let _ = name;
}

/// The pull request whose green an event can take away.
fn pull_key(event: &Event) -> Option<(u64, u64)> {
    match (&event.repository, &event.about) {
        (Some(repository), About::PullRequest(pull)) if event::handling(event).judge == On::PullRequest => {
            Some((repository.id, pull.number))
        }
        _ => None,
    }
}

/// The verdict on it is one on its pull request.
fn decides_pull_request(item: &Item) -> bool {
    item.event.as_deref().is_some_and(|e| event::handling(e).judge == On::PullRequest)
}

fn is_told_by_github(item: &Item) -> bool {
    item.event.as_deref().is_some_and(|e| e.source != Source::Gatelog)
}

/// A person asked for another look, with a button on a check run.
fn asks_for_a_look(item: &Item) -> bool {
    item.event.as_deref().is_some_and(|e| event::handling(e).fan_out == event::FanOut::Head)
}

fn some_control_applied(verdict: &Verdict) -> bool {
    verdict.controls.iter().any(|c| c.outcome != crate::verdict::Outcome::Skip)
}

/// Of those on trial (`evaluate_only`) none decides.
fn some_control_decides(verdict: &Verdict) -> bool {
    verdict.controls.iter().any(|c| !c.evaluate_only && c.outcome != crate::verdict::Outcome::Skip)
}
