//! Publishing is level-triggered.
//!
//! What a target (repository, commit, check name) should show follows from the newest verdicts of
//! the pull requests on it. One write per target is under way at a time; after an ambiguous answer
//! gatelog looks first, then corrects. A failure may always be sent. A success is sent only for the
//! newest verdict of its subject, with no later event of that subject unjudged, on facts younger than
//! [`FRESH`], by the process that judged: otherwise it gathers again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;

use rounds::Turning;

pub(super) use live::Live;

use super::{FRESH, Gate, Later, drafts, lock};
use crate::{
    event::{self, About, Cause, Event, SubjectKind},
    github::{
        RepoAt, Trouble, TroubleKind, Turn,
        check_run::State,
        report::{self, Done, Show},
    },
    ledger::entry::{Ref, ReportData, ReportResult},
    time::Time,
    verdict::{Decision, Target},
};

mod closed;
mod explained;
mod live;
mod page;
mod progress;
mod rounds;
mod shown;
mod turns;

/// Verdicts remembered before the old ones are forgotten: only their freshness is asked for.
const MOST_MADE: usize = 10_000;

#[derive(Default)]
pub(super) struct Publisher {
    targets: Mutex<HashMap<Target, Doing>>,
    /// Verdicts made by this process, with when their facts were frozen.
    made: Mutex<HashMap<u64, Made>>,
    /// Turns to write that are kept for targets whose success is gathered anew.
    kept: Mutex<HashMap<Target, turns::Kept>>,
    live: Mutex<Live>,
}

impl Publisher {
    /// Knows what the processes before this one left in progress.
    pub(super) fn with_live(live: Live) -> Self {
        Self { live: Mutex::new(live), ..Self::default() }
    }
}

#[derive(Clone, Copy)]
struct Made {
    frozen_at: Time,
    without_github: bool,
}

/// An event without verdict.
#[derive(Clone)]
struct Waiting {
    event: u64,
    /// What it waits for, if that is GitHub.
    reason: Option<String>,
    /// A pull request comes where it did not stand.
    comes: bool,
}

/// What is under way for a target. It exists only while a task works on it.
#[derive(Default)]
pub(super) struct Doing {
    /// Something changed since the task last looked.
    dirty: bool,
    /// Tells the task so where it waits for its turn.
    changed: Arc<Notify>,
    /// Write even if nothing changed: a person asked.
    force: bool,
    /// GitHub may show something else than what was written.
    look: bool,
    /// An event that has no verdict yet, and why.
    progress: Option<Waiting>,
    /// Verdicts that wait to be shown, of pull requests that GitHub says are closed.
    closed: BTreeSet<u64>,
    /// Somebody asked why; how often it could not be said.
    pub(super) explain: Option<u32>,
}

/// A verdict as the ledger holds it.
pub(super) struct Recorded {
    pub(super) seq: u64,
    leaf: crate::ledger::entry::Hash,
    number: Option<u64>,
    decision: Decision,
    subject: event::Subject,
}

/// What to do about a target now.
enum Step {
    Nothing,
    Write(Box<Write>),
    /// Record that GitHub shows it already.
    AlreadyShown(ReportData, event::Subject),
    /// A success that is too old to send.
    Again(Vec<Recorded>),
}

struct Write {
    show: Show,
    covers: Vec<u64>,
    subject: event::Subject,
    without_github: bool,
    /// It is written only where GitHub's limits leave plenty.
    spare: bool,
}

impl Gate {
    /// A verdict that has a target is durable: show it.
    pub(super) fn publish_verdict(
        &self,
        target: Target,
        at: RepoAt,
        seq: u64,
        frozen_at: Time,
        without_github: bool,
        force: bool,
    ) {
        let mut made = lock(&self.0.publisher.made);
        if made.len() > MOST_MADE {
            made.retain(|_, m| m.without_github || Time::now().since(m.frozen_at) < 2 * FRESH);
        }
        made.insert(seq, Made { frozen_at, without_github });
        drop(made);
        self.touch(target, at, |doing| doing.force |= force);
    }

    /// Returns when nothing is being written any more.
    pub(super) async fn publishing_done(&self) {
        while !lock(&self.0.publisher.targets).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes sure that a task looks at the target after this.
    pub(super) fn touch(&self, target: Target, at: RepoAt, change: impl FnOnce(&mut Doing)) {
        let mut targets = lock(&self.0.publisher.targets);
        let idle = !targets.contains_key(&target);
        let doing = targets.entry(target.clone()).or_default();
        doing.dirty = true;
        change(doing);
        if !idle {
            doing.changed.notify_one();
        }
        drop(targets);
        if idle {
            let gate = self.clone();
            tokio::spawn(async move { gate.keep_right(target, at).await });
        }
    }

    /// GitHub shows a check of ours that passes. Where the ledger does not let it pass, what it says is written
    /// over it: whoever has the App's key can turn a red run green, with the external id of an older verdict too.
    pub(super) fn look_at_own(&self, event: &Event) {
        let (About::Check(check), Some(repository), Some(installation)) =
            (&event.about, &event.repository, event.installation)
        else {
            return;
        };
        let passes = matches!(check.conclusion.as_deref(), Some("success" | "neutral" | "skipped"));
        let (Some(sha), Some(name), true) = (&check.head, &check.name, passes && check.check_run.is_some())
        else {
            return;
        };
        let target = Target { repository: repository.id, sha: sha.clone(), check: name.clone() };
        let let_pass = self.newest_verdicts(&target).is_ok_and(|all| {
            // None: nothing is to be shown there.
            all.iter().all(|v| v.decision == Decision::Allow)
        });
        if !let_pass {
            let at = RepoAt { installation, repository: repository.clone() };
            self.touch(target, at, |doing| doing.look = true);
        }
    }

    async fn publish_once(
        &self,
        target: &Target,
        at: &RepoAt,
        turn: &Turning,
        ambiguous: bool,
    ) -> Result<(), Trouble> {
        fail::fail_point!("publish::panic");
        let ambiguous = ambiguous || turn.look || self.unsure(target);
        let mut step = self.next_step(target, at, turn, ambiguous)?;
        let mut to_write = None;
        if let Step::Write(write) = &step {
            let Some(given) = self.turn_for(target, at, write, turn, ambiguous).await? else { return Ok(()) };
            to_write = Some(given);
            // It may have been long: what is to be shown may be something else now.
            step = self.next_step(target, at, turn, ambiguous)?;
        }
        match step {
            Step::Nothing => {}
            Step::AlreadyShown(data, subject) => self.record(subject, &data, None).await?,
            Step::Write(write) => self.write(target, at, *write, to_write).await?,
            Step::Again(stale) => {
                let looks = self.judge_again(target, at, stale).await?;
                if let Some(given) = to_write {
                    self.keep_turn(target, at, given, looks);
                }
            }
        }
        if let Some(tries) = turn.explain {
            self.show_explanation(target, at, tries).await;
        }
        // Last: what was in progress there is completed, or shows that verdict after all.
        self.withhold_closed(target, at, &turn.closed, ambiguous).await
    }

    fn next_step(
        &self,
        target: &Target,
        at: &RepoAt,
        turn: &Turning,
        ambiguous: bool,
    ) -> Result<Step, Trouble> {
        let shown = self.shown(target);
        let progress = turn.progress.as_ref().filter(|w| self.0.ledger.verdict_of(w.event).is_none());
        match progress {
            Some(waiting) => self.progress_step(target, at, shown.as_ref(), waiting, ambiguous),
            None => self.verdict_step(target, at, shown.as_ref(), turn.force || turn.look, ambiguous),
        }
    }

    fn verdict_step(
        &self,
        target: &Target,
        at: &RepoAt,
        shown: Option<&ReportData>,
        force: bool,
        ambiguous: bool,
    ) -> Result<Step, Trouble> {
        let newest = self.newest_verdicts(target)?;
        let Some(worst) = newest.iter().max_by_key(|v| (v.decision, v.seq)) else {
            return self.left_step(target, at, shown, ambiguous);
        };
        let covers: Vec<u64> = newest.iter().map(|v| v.seq).collect();
        let Some(mut state) = State::of(worst.decision) else { return Ok(Step::Nothing) };
        // While an alarm lasted it was in progress; what follows it is told by nothing else.
        let withheld = |s: &ReportData| {
            state == State::Success && !self.alarmed() && s.check_run.is_some() && s.conclusion.is_none()
        };
        let covered = shown.is_some_and(|s| covers.iter().all(|seq| s.covers.contains(seq)) && !withheld(s));
        if covered && !force {
            return Ok(Step::Nothing);
        }
        if state == State::Success {
            if self.any_unjudged(target) {
                return Ok(Step::Nothing);
            }
            // A push happened once, and nothing is merged because of its check: it is shown however late.
            let old = |v: &&Recorded| v.subject.kind != SubjectKind::Ref && !self.is_fresh(v.seq);
            let stale: Vec<_> = newest.iter().filter(old).map(|v| v.seq).collect();
            if !stale.is_empty() {
                return Ok(Step::Again(newest.into_iter().filter(|v| stale.contains(&v.seq)).collect()));
            }
            if self.alarmed() {
                state = State::InProgress;
            }
        }
        let Some(stored) = self.stored(worst.seq)? else { return Ok(Step::Nothing) };
        let verdict = self.verdict(worst.seq)?;
        let rendered = self.render(target, at, worst, &newest, &verdict, &stored)?;
        // Where several pull requests stand on the head, the title names the one in the way.
        let alone = newest.len() == 1 && shown.is_some_and(|s| s.covers.len() == 1);
        let same_title = || self.title_shown(target).as_ref() == Some(&rendered.title);
        if !force && !ambiguous && self.says_the_same(shown, &verdict, state) && (alone || same_title()) {
            let data = ReportData {
                target: target.clone(),
                result: ReportResult::Unchanged,
                check_run: shown.and_then(|s| s.check_run),
                conclusion: state.conclusion().map(str::to_owned),
                covers,
            };
            return Ok(Step::AlreadyShown(data, worst.subject.clone()));
        }
        let look_first = ambiguous || !lock(&self.0.publisher.made).contains_key(&worst.seq);
        let show = self.show(target, rendered, &stored, shown, look_first);
        let without_github = newest.iter().any(|v| self.made_without_github(v.seq));
        let subject = worst.subject.clone();
        Ok(Step::Write(Box::new(Write { show, covers, subject, without_github, spare: false })))
    }

    async fn write(
        &self,
        target: &Target,
        at: &RepoAt,
        write: Write,
        given: Option<Turn>,
    ) -> Result<(), Trouble> {
        let begun = Time::now();
        let result = report::show(&self.0.github, at, &write.show, given).await;
        self.0.metrics.stage("report", Time::now().since(begun));
        let shown = result?;
        let data = ReportData {
            target: target.clone(),
            result: match shown.done {
                Done::Created => ReportResult::Created,
                Done::Updated => ReportResult::Updated,
                Done::Unchanged => ReportResult::Unchanged,
            },
            check_run: Some(shown.check_run),
            conclusion: shown.state.conclusion().map(str::to_owned),
            covers: write.covers.clone(),
        };
        self.record(write.subject, &data, Some(write.show.request().to_string().into_bytes())).await?;
        tracing::info!(
            repo.name = at.repository.name.as_str(),
            sha = target.sha.as_str(),
            check = target.check,
            conclusion = data.conclusion.as_deref().unwrap_or("in_progress"),
            "{}",
            write.show.title
        );
        if write.without_github {
            // GitHub took a write, so it is back: what was judged without it is judged again.
            for seq in &write.covers {
                lock(&self.0.publisher.made).remove(seq);
            }
            // If the store cannot take it now, the next event of the pull request does the same.
            let _ = self.ask_again(at, &write.covers, Cause::GithubBack).await;
        }
        Ok(())
    }

    /// A success whose facts are old: if GitHub shows it already, say so; else gather again, by these events.
    /// Nothing is appended before GitHub has answered, so an outage adds no entries.
    async fn judge_again(
        &self,
        target: &Target,
        at: &RepoAt,
        stale: Vec<Recorded>,
    ) -> Result<Vec<u64>, Trouble> {
        let runs = report::find_runs(&self.0.github, at, &target.sha, &target.check).await?;
        let ours: Vec<String> = stale.iter().map(|v| self.external_id(v.seq, v.leaf)).collect();
        if stale.len() == 1
            && let Some(run) = runs.iter().find(|r| {
                r.conclusion.as_deref() == Some("success") && r.external_id.as_ref() == ours.first()
            })
        {
            let data = ReportData {
                target: target.clone(),
                result: ReportResult::Unchanged,
                check_run: Some(run.id),
                conclusion: Some("success".into()),
                covers: stale.iter().map(|v| v.seq).collect(),
            };
            self.record(stale[0].subject.clone(), &data, None).await?;
            return Ok(vec![]);
        }
        let seqs: Vec<u64> = stale.iter().map(|v| v.seq).collect();
        self.ask_again(at, &seqs, Cause::Stale).await.map_err(|later| not_recorded("another look", &later))
    }

    /// Has the subjects of these verdicts judged again; the events that do so.
    ///
    /// # Errors
    /// The store cannot take all of them now. Those that it took are not recorded twice.
    async fn ask_again(&self, at: &RepoAt, verdicts: &[u64], cause: Cause) -> Result<Vec<u64>, Later> {
        let mut looks = Vec::new();
        for seq in verdicts {
            let Ok(Some(stored)) = self.stored(*seq) else { continue };
            if let (SubjectKind::MergeGroup, Some(head)) =
                (stored.entry.subject.kind, &stored.entry.subject.head)
            {
                let (id, key) = (at.repository.id, format!("again:{seq}"));
                looks.extend(self.look_again_at_group(id, head, cause, vec![Ref::Seq(*seq)], key).await?);
            }
            if let (SubjectKind::Ref, Some(event)) = (stored.entry.subject.kind, stored.entry.refs.first()) {
                // If it cannot be taken now, whoever asks for a re-run has it judged.
                let _ = self.look_at_event_again(*event, *seq, cause, "push").await;
            }
            let Some(number) = stored.entry.subject.id else { continue };
            let address = drafts::PullAddress {
                installation: at.installation,
                organization: stored.entry.subject.organization,
                repository: at.repository.clone(),
                number,
            };
            let key = format!("again:{seq}");
            looks.extend(self.look_again(&address, cause, vec![Ref::Seq(*seq)], key).await?);
        }
        Ok(looks)
    }

    /// The repository or commit is not there for us any more: nothing can be shown.
    async fn withhold(&self, target: &Target) {
        let Ok(newest) = self.newest_verdicts(target) else { return };
        let Some(first) = newest.first() else { return };
        let data = ReportData {
            target: target.clone(),
            result: ReportResult::Withheld,
            check_run: None,
            conclusion: None,
            covers: newest.iter().map(|v| v.seq).collect(),
        };
        let _ = self.record(first.subject.clone(), &data, None).await;
    }

    async fn record(
        &self,
        subject: event::Subject,
        data: &ReportData,
        request: Option<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let group = vec![drafts::report(subject, data, request)];
        // A write that is not recorded is ambiguous: look before writing again.
        self.append(group).await.map_err(|later| not_recorded("the report", &later))?;
        lock(&self.0.publisher.live).reported(data);
        Ok(())
    }
}

impl super::Inner {
    pub(super) fn started_at_seq(&self) -> u64 {
        self.started_at_seq.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn not_recorded(what: &str, later: &Later) -> Trouble {
    Trouble::new(TroubleKind::Unavailable, format!("{what} could not be recorded")).after(later.after)
}

fn unreadable(reason: &str) -> Trouble {
    Trouble::new(TroubleKind::Unexpected, format!("the ledger: {reason}"))
}
