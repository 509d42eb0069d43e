//! What moved watched branches and tags, and which event tells of it.
//!
//! A branch: GitHub's activity lists every move, also one that was taken back; each must be a `push` in the
//! ledger. Where GitHub tells no activity, the pushes that the ledger has must lead from the last tip to this
//! one. Then the first-parent history between the two is walked, commit by commit.
//!
//! GitHub sends no event for more than three tags pushed at once: they are compared by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Budget, Found, RepoState, Sweeps,
    state::{Deletion, Tip},
};
use crate::{
    event::{Account, Sha, SubjectKind},
    gate::Gate,
    github::{
        RepoAt, Trouble, TroubleKind,
        reconcile::{Covered, Moved},
        rest,
    },
    ledger::entry::Kind,
    time::Time,
};

/// Pages of activity for one branch in one sweep: 500 moves.
const ACTIVITY_PAGES: usize = 5;

/// First-parent commits of one branch in one sweep.
const MOST_COMMITS: usize = 2_000;

/// Pushes that are followed back from a tip.
const MOST_PUSHES: usize = 2_000;

/// Changes of refs of one repository that are recorded in one sweep; the rest waits for the next.
const MOST_FOUND: usize = 200;

/// What GitHub lists may be behind what its webhooks told by so much.
const LAG: Duration = Duration::from_secs(60);

/// A change of a ref that ought to have had a webhook.
#[derive(Clone, Debug)]
struct Change {
    full_ref: String,
    before: Option<Sha>,
    after: Option<Sha>,
    /// As GitHub's activity tells it, where it does.
    activity: Option<u64>,
    kind: Option<String>,
    actor: Option<Account>,
}

impl Change {
    /// Names the change among those of its repository.
    fn name(&self) -> String {
        let sha = |s: &Option<Sha>| s.as_ref().map_or("0", |s| s.as_str()).to_owned();
        match self.activity {
            Some(id) => format!("{}@{id}", self.full_ref),
            None => format!("{}:{}:{}", self.full_ref, sha(&self.before), sha(&self.after)),
        }
    }
}

/// What one look at a repository carries along.
struct Look<'a> {
    gate: &'a Gate,
    at: &'a RepoAt,
    old: Option<&'a RepoState>,
    sweeps: &'a Sweeps,
    budget: &'a mut Budget,
    found: &'a mut Found,
    waiting: BTreeSet<String>,
    recorded: usize,
    /// Events that tell of one change each, and of no other: a branch may be moved to and fro.
    used: BTreeSet<u64>,
}

impl Gate {
    /// Compares the refs of a repository with the ledger; its state afterwards.
    pub(super) async fn sweep_refs(
        &self,
        at: &RepoAt,
        covered: &Covered,
        old: Option<&RepoState>,
        sweeps: &Sweeps,
        budget: &mut Budget,
        found: &mut Found,
    ) -> Result<RepoState, Trouble> {
        let (waiting, recorded, used) = (BTreeSet::new(), 0, BTreeSet::new());
        let mut look = Look { gate: self, at, old, sweeps, budget, found, waiting, recorded, used };
        let branches = look.branches().await?;
        let tags = look.tags().await?;
        Ok(RepoState {
            name: at.repository.name.clone(),
            pushed_at: covered.pushed_at.clone(),
            watched: self.0.settings.watched.text(),
            branches,
            tags,
            waiting: look.waiting,
            read_at: Some(Time::now()),
        })
    }

    /// Pushes in the ledger that moved a ref to `after`: entry and state before, newest first.
    fn pushes_onto(&self, repository: u64, full_ref: &str, after: &Sha) -> Vec<(u64, Option<Sha>)> {
        let seqs = self.0.ledger.with_head(after).into_iter().rev();
        seqs.filter_map(|seq| {
            let stored = self.0.ledger.entry(seq).ok()??;
            let subject = &stored.entry.subject;
            let push = stored.entry.kind == Kind::Event
                && subject.kind == SubjectKind::Ref
                && subject.repository == Some(repository)
                && stored.entry.data["name"] == json!("push")
                // Another look at one says what it was, and has no merge verdict.
                && stored.entry.data["source"] != json!("gatelog");
            let same = push && self.payload_of(seq).ok()?["ref"].as_str() == Some(full_ref);
            same.then(|| (seq, subject.base.clone()))
        })
        .collect()
    }
}

impl Look<'_> {
    fn id(&self) -> u64 {
        self.at.repository.id
    }

    /// Whether a `push` in the ledger tells of this change, and of no other that was looked at before. Of a tag
    /// the state before does not count: of two moves GitHub may show one.
    fn is_told(&mut self, change: &Change) -> bool {
        let (ledger, since) = (self.gate.ledger(), self.accounted_until());
        let late_enough = |at: Time| since.is_none_or(|since| at >= since);
        let recorded = |seq: u64| ledger.entry(seq).ok().flatten().is_some_and(|s| late_enough(s.entry.time));
        let told = match &change.after {
            None => {
                let gone =
                    self.deletions(&change.full_ref, late_enough).filter(|d| d.before == change.before);
                gone.map(|d| d.event).filter(|seq| !self.used.contains(seq)).max()
            }
            Some(after) => {
                let any_before = change.full_ref.starts_with("refs/tags/");
                let pushes = self.gate.pushes_onto(self.id(), &change.full_ref, after).into_iter();
                let mut same = pushes.filter(|(_, before)| any_before || *before == change.before);
                same.find(|(seq, _)| !self.used.contains(seq) && recorded(*seq)).map(|(seq, _)| seq)
            }
        };
        told.is_some_and(|seq| self.used.insert(seq))
    }

    /// Deletions of a ref that events tell.
    fn deletions(
        &self,
        full_ref: &str,
        late_enough: impl Fn(Time) -> bool,
    ) -> impl Iterator<Item = &Deletion> {
        let of_it = move |d: &&Deletion| d.repository == self.id() && d.full_ref == full_ref;
        self.sweeps.deleted.iter().filter(of_it).filter(move |d| late_enough(d.recorded_at))
    }

    async fn branches(&mut self) -> Result<BTreeMap<String, Tip>, Trouble> {
        let watched = self.gate.0.settings.watched.clone();
        let default = self.at.repository.default_branch.clone();
        let mut tips: BTreeMap<String, Sha> = BTreeMap::new();
        for prefix in watched.prefixes(default.as_deref()) {
            self.spend(1);
            for (name, sha) in self.gate.0.github.refs(self.at, &format!("heads/{prefix}")).await? {
                if let Some(branch) = name.strip_prefix("refs/heads/")
                    && watched.has(branch, default.as_deref())
                {
                    tips.insert(branch.to_owned(), sha);
                }
            }
        }
        let known = self.old.map(|o| o.branches.clone()).unwrap_or_default();
        let names: BTreeSet<String> = tips.keys().chain(known.keys()).cloned().collect();
        let mut after = BTreeMap::new();
        for branch in names {
            let tip = tips.get(&branch).cloned();
            if let Some(tip) = self.branch(&branch, known.get(&branch), tip).await? {
                after.insert(branch, tip);
            }
        }
        Ok(after)
    }

    /// What is to be compared with next time; `None`: the branch is gone, and that is accounted for.
    async fn branch(
        &mut self,
        branch: &str,
        old: Option<&Tip>,
        tip: Option<Sha>,
    ) -> Result<Option<Tip>, Trouble> {
        let same_watch = self.old.is_some_and(|o| o.watched == self.gate.0.settings.watched.text());
        self.spend(1);
        let github = &self.gate.0.github;
        let since = old.and_then(|o| o.activity);
        let moves = github.moves(self.at, branch, since, ACTIVITY_PAGES).await?;
        // 0: there was none yet, so that all that comes is new.
        let newest = moves.as_ref().map(|m| m.items.first().map_or(since.unwrap_or(0), |m| m.id)).or(since);
        self.found.counts.truncated |= moves.as_ref().is_some_and(|m| !m.complete);
        let first_look = old.is_none() && !same_watch;
        if first_look {
            return Ok(tip.map(|sha| Tip { sha, activity: newest }));
        }
        let full_ref = format!("refs/heads/{branch}");
        let waits = match &moves {
            // Activity that was never read is no record of what happened since.
            Some(moves) if since.is_some() => self.by_activity(&full_ref, &moves.items).await?,
            // A branch that was made since: what an earlier one of that name went through is not its own.
            Some(moves) if old.is_none() => {
                let made = moves.items.iter().position(|m| m.activity_type == "branch_creation");
                let own = made.map_or(moves.items.len(), |at| at + 1);
                self.by_activity(&full_ref, &moves.items[..own]).await?
            }
            _ => false,
        };
        let before = old.map(|o| o.sha.clone());
        if waits || self.by_chain(&full_ref, before.as_ref(), tip.as_ref()).await? {
            return Ok(old.cloned());
        }
        if let Some(tip) = &tip {
            self.walk(&full_ref, before.as_ref(), tip).await?;
        }
        Ok(tip.map(|sha| Tip { sha, activity: newest }))
    }

    /// Whether a move that no event tells still waits for its webhook.
    async fn by_activity(&mut self, full_ref: &str, moves: &[Moved]) -> Result<bool, Trouble> {
        let change = |moved: &Moved| Change {
            full_ref: full_ref.to_owned(),
            before: moved.before(),
            after: moved.after(),
            activity: Some(moved.id),
            kind: Some(moved.activity_type.clone()),
            actor: moved.actor.clone(),
        };
        // The newest push tells of the newest move of its kind.
        let mut untold: Vec<Change> = moves.iter().map(change).collect();
        untold.retain(|change| !self.is_told(change));
        let mut waits = false;
        for change in untold.into_iter().rev() {
            waits |= self.account_for_untold(change).await?;
        }
        Ok(waits)
    }

    /// Follows the pushes of the ledger from the tip back to where the branch was. Whether a gap waits.
    async fn by_chain(
        &mut self,
        full_ref: &str,
        from: Option<&Sha>,
        to: Option<&Sha>,
    ) -> Result<bool, Trouble> {
        let Some(gap) = self.gap(full_ref, from, to) else { return Ok(false) };
        let (before, after) = gap;
        let change =
            Change { full_ref: full_ref.to_owned(), before, after, activity: None, kind: None, actor: None };
        self.account_for(change).await
    }

    fn gap(
        &self,
        full_ref: &str,
        from: Option<&Sha>,
        to: Option<&Sha>,
    ) -> Option<(Option<Sha>, Option<Sha>)> {
        if from == to {
            return None;
        }
        let Some(to) = to else {
            // One from before it was last seen is of an earlier branch of that name.
            let since = self.accounted_until();
            let late_enough = |at: Time| since.is_none_or(|since| at >= since);
            let told = self.deletions(full_ref, late_enough).next().is_some();
            return (!told).then(|| (from.cloned(), None));
        };
        let links = self.links(full_ref, from, to);
        let reached = links.last().map_or(Some(to.clone()), |(_, _, before)| before.clone());
        // A branch that was made anew starts a chain of its own.
        let whole = reached.as_ref() == from || reached.is_none();
        (!whole).then(|| (from.cloned(), reached))
    }

    /// Pushes back from `to`: after, entry, before. Ends at `from`, at a gap, or where the branch was made.
    fn links(&self, full_ref: &str, from: Option<&Sha>, to: &Sha) -> Vec<(Sha, u64, Option<Sha>)> {
        let (mut links, mut used) = (Vec::new(), BTreeSet::new());
        let mut at = Some(to.clone());
        while let Some(after) = at.take().filter(|at| Some(at) != from) {
            let pushes = self.gate.pushes_onto(self.id(), full_ref, &after);
            let Some((seq, before)) = pushes.into_iter().find(|(seq, _)| used.insert(*seq)) else { break };
            links.push((after, seq, before.clone()));
            if links.len() >= MOST_PUSHES {
                break;
            }
            at = before;
        }
        links
    }

    /// What is new here happened after the refs were read last, and so did the event that tells of it: one from
    /// before tells of an older change. `None`: something of then waits still, or it is not known when that was,
    /// because a process before this one read them.
    fn accounted_until(&self) -> Option<Time> {
        let read_at = self.old.filter(|old| old.waiting.is_empty())?.read_at?;
        let lag = i64::try_from(LAG.as_micros()).unwrap_or(i64::MAX);
        Time::from_unix_micros(read_at.unix_micros().saturating_sub(lag))
    }

    /// Accounts for one change: an event tells of it, or it waits, or it is recorded now. Whether it waits.
    async fn account_for(&mut self, change: Change) -> Result<bool, Trouble> {
        if self.is_told(&change) {
            return Ok(false);
        }
        self.account_for_untold(change).await
    }

    async fn account_for_untold(&mut self, change: Change) -> Result<bool, Trouble> {
        let name = change.name();
        let waited = self.old.is_some_and(|o| o.waiting.contains(&name));
        if !waited || self.recorded >= MOST_FOUND {
            self.found.waiting.push(json!({"repository": self.id(), "change": name}));
            self.waiting.insert(name);
            return Ok(true);
        }
        let seq = self.record(&change).await?;
        self.recorded += 1;
        tracing::warn!(
            repo.name = self.at.repository.name.as_str(),
            entry = seq,
            "no webhook told of a change of {}",
            change.full_ref
        );
        self.found.found.push(json!({
            "repository": self.id(), "ref": change.full_ref, "before": change.before,
            "after": change.after, "activity": change.activity, "kind": change.kind, "event": seq,
        }));
        Ok(false)
    }

    /// Appends the `push` that GitHub's API tells of.
    async fn record(&mut self, change: &Change) -> Result<u64, Trouble> {
        let (commits, forced) = self.brought(change).await?;
        let payload = payload(self.at, change, commits, forced);
        // Once per change; without an activity, once since the last sweep: the same may happen again.
        let which = match change.activity {
            Some(id) => format!("a{id}"),
            None => format!("s{}", self.sweeps.last.unwrap_or_default()),
        };
        let hidden = self.gate.0.ledger.pseudonym(&change.name());
        let key = format!("found:{}:{which}:{hidden}", self.id());
        let draft = self.gate.found_event("push", &payload, key);
        self.gate.take_in_found(draft, "push", &payload, None).await
    }

    /// The commits of a change, and whether it left some behind. `None`: they cannot be listed.
    async fn brought(&mut self, change: &Change) -> Result<(Option<Vec<Sha>>, bool), Trouble> {
        let by_kind = change.kind.as_deref() == Some("force_push");
        let branch = change.full_ref.starts_with("refs/heads/");
        let Some(after) = change.after.as_ref().filter(|_| branch) else {
            return Ok((Some(vec![]), by_kind));
        };
        // Of a new branch GitHub lists what the default branch lacks.
        let default = self.at.repository.default_branch.as_deref().map(rest::segment);
        let Some(base) = change.before.as_ref().map(|s| s.as_str().to_owned()).or(default) else {
            return Ok((None, by_kind));
        };
        self.spend(1);
        match self.gate.0.github.between(self.at, &base, after).await {
            Ok(between) => {
                let forced =
                    change.before.is_some() && matches!(between.status.as_str(), "behind" | "diverged");
                Ok((between.commits, by_kind || forced))
            }
            Err(trouble) if trouble.passes() => Err(trouble),
            Err(_) => Ok((None, by_kind)),
        }
    }

    /// The first-parent history since the last sweep, each commit with the push that brought it.
    async fn walk(&mut self, full_ref: &str, from: Option<&Sha>, to: &Sha) -> Result<(), Trouble> {
        if from == Some(to) {
            return Ok(());
        }
        let links = self.links(full_ref, from, to);
        self.spend(1);
        // A branch that left its old tip behind: down to where the oldest push began.
        let mut ends: BTreeSet<&Sha> = links.iter().filter_map(|(_, _, before)| before.as_ref()).collect();
        ends.extend(from);
        let oldest = links.last().and_then(|(_, _, before)| before.as_ref()).or(from);
        let walked = match self.gate.0.github.first_parents(self.at, to, oldest, MOST_COMMITS).await {
            Ok(walked) => walked,
            Err(t) if t.kind == TroubleKind::Gone => return Ok(()),
            Err(t) => return Err(t),
        };
        let mut line = walked.items;
        if !walked.complete {
            // The old tip is not among the ancestors: a force push. Only what is after a known end is new.
            line.truncate(line.iter().position(|sha| ends.contains(sha)).unwrap_or(line.len()));
            if line.len() >= MOST_COMMITS {
                self.found.counts.truncated = true;
            }
        }
        let mut told = links.iter().peekable();
        let mut event = None;
        for sha in line {
            if let Some((_, seq, _)) = told.next_if(|(after, _, _)| *after == sha) {
                event = Some(*seq);
            }
            self.found.landed.push(json!({
                "repository": self.id(), "ref": full_ref, "sha": sha, "event": event,
            }));
        }
        Ok(())
    }

    async fn tags(&mut self) -> Result<BTreeMap<String, Sha>, Trouble> {
        self.spend(1);
        let listed = self.gate.0.github.refs(self.at, "tags/").await?;
        let now: BTreeMap<String, Sha> = listed
            .into_iter()
            .filter_map(|(name, sha)| Some((name.strip_prefix("refs/tags/")?.to_owned(), sha)))
            .collect();
        let Some(old) = self.old.map(|o| o.tags.clone()) else { return Ok(now) };
        let mut after = now.clone();
        let names: BTreeSet<&String> = now.keys().chain(old.keys()).collect();
        for name in names.into_iter().filter(|n| now.get(*n) != old.get(*n)) {
            let change = Change {
                full_ref: format!("refs/tags/{name}"),
                before: old.get(name).cloned(),
                after: now.get(name).cloned(),
                activity: None,
                kind: None,
                actor: None,
            };
            if self.account_for(change).await? {
                // Not accounted for: as it was, so that the next sweep sees the change again.
                match old.get(name) {
                    Some(sha) => after.insert(name.clone(), sha.clone()),
                    None => after.remove(name),
                };
            }
        }
        Ok(after)
    }

    fn spend(&mut self, calls: u64) {
        self.budget.calls = self.budget.calls.saturating_sub(calls);
    }
}

/// A `push` as GitHub's webhook has it, made of what its API tells. Fields that cannot be known are absent.
fn payload(at: &RepoAt, change: &Change, commits: Option<Vec<Sha>>, forced: bool) -> Value {
    let zeros = "0".repeat(40);
    let sha = |s: &Option<Sha>| s.as_ref().map_or(zeros.clone(), |s| s.as_str().to_owned());
    let mut payload = json!({
        "ref": change.full_ref,
        "before": sha(&change.before),
        "after": sha(&change.after),
        "created": change.before.is_none(),
        "deleted": change.after.is_none(),
        "forced": forced,
        "installation": {"id": at.installation},
        "repository": {
            "id": at.repository.id,
            "full_name": at.repository.name,
            "default_branch": at.repository.default_branch,
        },
        "gatelog": {"found_by": "reconcile", "activity": change.activity, "activity_type": change.kind},
    });
    if let Some(commits) = commits {
        payload["commits"] = commits.iter().map(|id| json!({"id": id})).collect();
    }
    if let Some(actor) = &change.actor {
        payload["sender"] = json!(actor);
        payload["pusher"] = json!({"name": actor.login});
    }
    payload
}
