//! The sweep: GitHub's own record is compared with ours, and what ours lacks is fetched.
//!
//! ```text
//! deliveries   what GitHub tried to deliver and the ledger does not have: asked for again, in the end read
//! heads        open pull requests whose head has no verdict: looked at
//! landed       what moved watched branches and tags and no event told: recorded as an event of source `api`;
//!              the first-parent history since the last sweep, each commit with the event that brought it
//! ```
//!
//! Every sweep ends in a `reconcile` entry, so that the absence of a sweep shows. It is level-triggered: what
//! to compare with is the state in the bodies of earlier sweeps, and a sweep that dies leaves that state as
//! it was. What it appended before it died has a key that the next sweep makes again.
//!
//! A webhook may be on its way while a sweep looks. So what seems to be missing only *waits* at first, and
//! is taken for missing when the next sweep, a minute later, still does not find it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Gate, lock, pulls::Known, waits::sooner};
use crate::{
    event::{Repository, Subject},
    github::{RepoAt, Trouble, reconcile::Covered},
    ledger::entry::{Body, Draft, Key, Kind, Ref},
    telemetry::Task,
    time::Time,
};

mod deliveries;
mod heads;
mod landed;
mod state;
mod watched;

use state::{DeliveryState, RepoState, State};
pub(super) use state::{Sweeps, note};
pub use watched::Watched;

/// How soon a sweep follows one that found something waiting for its webhook: longer than GitHub takes to
/// deliver, or to try again what was asked for.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// REST calls of one sweep for one installation, of the 5,000 an hour it has at least: six sweeps leave half
/// of them to judging. What is left over comes first in the next sweep.
const MOST_CALLS: u64 = 400;

/// Lists of open pull requests (a GraphQL point each at least) in one sweep for one installation.
const MOST_LISTS: u64 = 300;

/// Below this many calls left of the hour a sweep leaves the rest to judging.
const KEEP: u64 = 1_000;

/// A repository that seems not to have moved is read all the same this often: GitHub's `pushed_at` has
/// whole seconds.
const READ_ANYWAY: Duration = Duration::from_secs(3600);

/// A whole state is written this often, so that a start need not read the bodies of many sweeps.
const WHOLE_STATE_EVERY: usize = 144;

/// Why a sweep is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Start,
    Timer,
    Operator,
}

/// What a sweep did: the counts of its entry.
#[derive(Clone, Debug)]
pub struct Swept {
    pub seq: u64,
    /// `data` of the entry.
    pub data: Value,
}

/// What one sweep found, item by item: the body of its entry.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// Events that GitHub says it sent, since the last list: GUID, event, repository, when.
    sent: Vec<Value>,
    asked: Vec<Value>,
    by_get: Vec<Value>,
    /// GitHub was told that they arrived, and the ledger does not have them.
    lost: Vec<Value>,
    /// Recorded, and never sent by GitHub.
    never_sent: Vec<Value>,
    judged_again: Vec<Value>,
    /// First-parent commits that landed on watched branches, each with the event that tells of it.
    landed: Vec<Value>,
    /// Changes of refs that no webhook told.
    found: Vec<Value>,
    waiting: Vec<Value>,
    vanished: Vec<Value>,
    trouble: Vec<Value>,
    #[serde(skip)]
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    truncated: bool,
    known: usize,
    swept: usize,
    left_over: usize,
    open: usize,
}

impl Found {
    fn trouble(&mut self, what: &str, repository: Option<u64>, trouble: &Trouble) {
        tracing::warn!("reconcile: {what}: {}", trouble.reason);
        self.trouble.push(json!({"what": what, "repository": repository, "reason": trouble.reason}));
    }
}

/// What a sweep may still ask of an installation.
struct Budget {
    calls: u64,
    lists: u64,
}

impl Gate {
    /// Makes sweeps until the gate stops; the first at once.
    pub(super) async fn sweep_for_ever(self, every: Duration) {
        let mut stopping = self.0.stopping.subscribe();
        let mut trigger = Trigger::Start;
        loop {
            let waits = match self.guarded(Task::Sweeping, self.reconcile(trigger)).await {
                Some(Ok(swept)) => swept.data["waiting"].as_u64().unwrap_or(0) > 0,
                Some(Err(why)) => {
                    tracing::warn!("the sweep could not be recorded: {why}");
                    false
                }
                None => true,
            };
            trigger = Trigger::Timer;
            let pause = if waits { sooner("reconcile::again", AGAIN_AFTER).min(every) } else { every };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|s| *s) => return,
            }
        }
    }

    /// One sweep, recorded. Waits for one that is under way.
    ///
    /// # Errors
    /// The ledger cannot be read or written. What GitHub does not answer is in the entry.
    pub async fn reconcile(&self, trigger: Trigger) -> Result<Swept, String> {
        let mut sweeps = self.0.sweeps.lock().await;
        fail::fail_point!("reconcile::panic");
        let mut state = sweeps.state(&self.0.ledger)?;
        let (begun, last) = (Time::now(), sweeps.last);
        let mut found = Found::default();
        self.sweep_deliveries(&mut state.deliveries, &mut sweeps.deleted, &mut found).await;
        let changed = self.sweep_repositories(&mut state, &sweeps, &mut found).await;
        let whole = sweeps.since_whole == 0 || sweeps.since_whole >= WHOLE_STATE_EVERY;
        crate::gate::die_at("reconcile::record");
        let swept = self.record_sweep(trigger, begun, last, whole, &state, &changed, &found).await?;
        sweeps.recorded(swept.seq, state, whole);
        self.alert_of(&found, swept.seq);
        self.0.metrics.swept(found.trouble.is_empty(), Time::now());
        Ok(swept)
    }

    /// What no sweep mends.
    fn alert_of(&self, found: &Found, seq: u64) {
        let alerts = [
            (
                "never_sent",
                &found.never_sent,
                "deliveries with a good signature that GitHub never sent: change the webhook secret",
            ),
            (
                "lost",
                &found.lost,
                "deliveries that GitHub takes for arrived are not in the ledger: was it restored from an old copy?",
            ),
            (
                "vanished",
                &found.vanished,
                "repositories are not there for this App any more: was it uninstalled?",
            ),
        ];
        for (kind, items, what) in alerts {
            if !items.is_empty() {
                self.alert(kind, seq, None, &format!("{} {what}", items.len()));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is one field of the entry")]
    async fn record_sweep(
        &self,
        trigger: Trigger,
        begun: Time,
        last: Option<u64>,
        whole: bool,
        state: &State,
        changed: &[u64],
        found: &Found,
    ) -> Result<Swept, String> {
        let data = json!({
            "trigger": trigger,
            "begun": begun,
            "whole_state": whole,
            "complete": found.trouble.is_empty() && !found.counts.truncated && found.counts.left_over == 0,
            "sent": found.sent.len(),
            "asked_again": found.asked.len(),
            "read_by_get": found.by_get.len(),
            "lost": found.lost.len(),
            "never_sent": found.never_sent.len(),
            "deliveries_truncated": found.counts.truncated,
            "repositories": found.counts.known,
            "swept": found.counts.swept,
            "left_over": found.counts.left_over,
            "vanished": found.vanished.len(),
            "open_heads": found.counts.open,
            "judged_again": found.judged_again.len(),
            "landed": found.landed.len(),
            "found": found.found.len(),
            "waiting": found.waiting.len(),
            "trouble": found.trouble.len(),
        });
        let body = json!({
            "begun": begun,
            "ended": Time::now(),
            "state": state.to_write(whole, changed),
            "found": found,
        });
        let bytes = body.to_string().into_bytes().into();
        let draft = Draft {
            kind: Kind::Reconcile,
            subject: Subject::NONE,
            key: Key::Own("reconcile"),
            refs: last.map(Ref::Seq).into_iter().collect(),
            bodies: vec![("sweep".to_owned(), Body { bytes, media: "application/json" })],
            data: data.clone(),
        };
        let receipts =
            self.append(vec![draft]).await.map_err(|_| "the ledger takes nothing now".to_owned())?;
        let seq = receipts.first().map_or(0, |r| r.seq);
        tracing::info!(entry = seq, found = found.found.len(), waiting = found.waiting.len(), "swept");
        Ok(Swept { seq, data })
    }

    /// Every repository of every installation: its refs and its open pull requests, as far as the budget
    /// goes. Returns those whose state changed.
    async fn sweep_repositories(&self, state: &mut State, sweeps: &Sweeps, found: &mut Found) -> Vec<u64> {
        let installations = match self.0.github.installations().await {
            Ok(all) => all,
            Err(trouble) => {
                found.trouble("installations", None, &trouble);
                return vec![];
            }
        };
        let mut changed = Vec::new();
        let mut present = BTreeMap::new();
        let mut all_listed = true;
        for installation in installations {
            match self.0.github.covered(installation.id).await {
                Ok(covered) => {
                    present.extend(covered.iter().map(|c| (c.id, installation.id)));
                    self.sweep_installation(installation.id, covered, state, sweeps, found, &mut changed)
                        .await;
                }
                Err(trouble) => {
                    all_listed = false;
                    found.trouble("repositories", None, &trouble);
                }
            }
        }
        // Half a list would look like repositories that vanished.
        if all_listed {
            self.note_vanished(state, &present, found);
        }
        changed
    }

    fn note_vanished(&self, state: &mut State, present: &BTreeMap<u64, u64>, found: &mut Found) {
        let gone: Vec<u64> =
            state.repositories.keys().filter(|id| !present.contains_key(id)).copied().collect();
        for id in gone {
            let Some(repo) = state.repositories.remove(&id) else { continue };
            tracing::error!(
                repo.name = repo.name.as_str(),
                "a repository is not there for this App any more"
            );
            found.vanished.push(json!({"repository": id, "name": repo.name}));
        }
    }

    async fn sweep_installation(
        &self,
        installation: u64,
        covered: Vec<Covered>,
        state: &mut State,
        sweeps: &Sweeps,
        found: &mut Found,
        changed: &mut Vec<u64>,
    ) {
        let mut budget = Budget { calls: MOST_CALLS, lists: MOST_LISTS };
        found.counts.known += covered.len();
        // Those that moved first, then those that were not read for the longest time.
        let mut all: Vec<(bool, Option<Time>, Covered)> = covered
            .into_iter()
            .map(|c| {
                let known = state.repositories.get(&c.id);
                let still = known.is_some_and(|r| r.pushed_at == c.pushed_at && r.waiting.is_empty());
                (still, known.and_then(|r| r.read_at), c)
            })
            .collect();
        all.sort_by_key(|(still, read_at, c)| (*still, *read_at, c.id));
        for (still, read_at, covered) in all {
            let Some(known) = known(installation, &covered) else { continue };
            lock(&self.0.pulls).know(known.clone());
            let at = RepoAt { installation, repository: known.repository.clone() };
            let fresh = read_at.is_some_and(|at| Time::now().since(at) < READ_ANYWAY);
            if !self.has_room(installation) || (budget.calls == 0 && budget.lists == 0) {
                found.counts.left_over += 1;
                continue;
            }
            found.counts.swept += 1;
            if !(still && fresh) {
                let repo = state.repositories.get(&covered.id);
                match self.sweep_refs(&at, &covered, repo, sweeps, &mut budget, found).await {
                    Ok(repo) => {
                        if state.repositories.get(&covered.id).is_none_or(|old| !old.same(&repo)) {
                            changed.push(covered.id);
                        }
                        state.repositories.insert(covered.id, repo);
                    }
                    Err(t) => found.trouble("refs", Some(covered.id), &t),
                }
            }
            if let Err(t) = self.sweep_heads(&at, &known, sweeps.last, &mut budget, found).await {
                found.trouble("open pull requests", Some(covered.id), &t);
            }
        }
    }

    /// Whether an installation has calls to spare for a sweep.
    fn has_room(&self, installation: u64) -> bool {
        let left = |resource| self.0.github.calls_left(installation, resource);
        ["core", "graphql"].iter().all(|r| left(r).is_none_or(|left| left > KEEP))
    }
}

/// How a repository is reached, as the installation lists it.
fn known(installation: u64, covered: &Covered) -> Option<Known> {
    let name = covered.name()?;
    let repository = Repository { id: covered.id, name, default_branch: covered.default_branch.clone() };
    Some(Known { installation, organization: covered.organization(), repository })
}
