//! Merge groups that wait in a queue: which pull requests each carries, so that it is judged again when
//! one of them is.
//!
//! GitHub judges a group once and merges it when all checks have passed, which may be an hour later. What
//! a green group rests on, an approval say, may be gone by then.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde_json::json;

use super::{Gate, Item, Later, again::passed, drafts, lock};
use crate::{
    event::{self, About, Cause, Event, Repository, Sha, Source, Subject, SubjectKind},
    github::RepoAt,
    ledger::entry::{Draft, EventData, Key, Kind, Receipt, Ref},
    time::Time,
    verdict::{Decision, Target},
};

/// GitHub waits no longer for the checks of a group: 360 minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);

/// Groups that wait now.
#[derive(Default)]
pub(super) struct Groups {
    waiting: HashMap<(u64, Sha), Waiting>,
    /// Events of a group that have no verdict yet: while there are any, no green goes out.
    unjudged: HashMap<(u64, Sha), BTreeSet<u64>>,
}

struct Waiting {
    address: GroupAddress,
    since: Time,
    /// The newest decision, and the pull requests it was about; `None`: not judged by this process.
    judged: Option<(Decision, Vec<u64>)>,
    /// When that decision ends to be valid.
    ends: Option<Time>,
}

/// A merge group that gatelog can be asked to look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupAddress {
    pub installation: u64,
    pub organization: Option<u64>,
    pub repository: Repository,
    pub head: Sha,
    pub head_ref: String,
    pub base: Option<Sha>,
    pub base_ref: String,
}

impl Groups {
    /// Learns from `merge_group`: `checks_requested` begins the wait, `destroyed` ends it.
    pub fn learn(&mut self, event: &Event, now: Time) {
        let Some(address) = GroupAddress::of(event) else { return };
        let key = (address.repository.id, address.head.clone());
        self.waiting.retain(|_, waiting| now.since(waiting.since) < LONGEST_WAIT);
        if event.action.as_deref() == Some("destroyed") {
            self.waiting.remove(&key);
        } else if event.source != Source::Gatelog {
            self.waiting.insert(key, Waiting { address, since: now, judged: None, ends: None });
        }
    }

    fn decide(&mut self, repository: u64, head: &Sha, decision: Decision, pulls: Vec<u64>) {
        if let Some(waiting) = self.waiting.get_mut(&(repository, head.clone())) {
            waiting.judged = Some((decision, pulls));
        }
    }

    pub fn on_head(&self, repository: u64, head: &Sha) -> Option<GroupAddress> {
        Some(self.waiting.get(&(repository, head.clone()))?.address.clone())
    }

    /// An event has no verdict yet.
    pub fn waits(&mut self, event: &Event, seq: u64) {
        if let Some(key) = key(event) {
            self.unjudged.entry(key).or_default().insert(seq);
        }
    }

    /// Its verdict is durable.
    pub fn judged(&mut self, event: &Event, seq: u64) {
        let Some(key) = key(event) else { return };
        if let Some(waiting) = self.unjudged.get_mut(&key) {
            waiting.remove(&seq);
            if waiting.is_empty() {
                self.unjudged.remove(&key);
            }
        }
    }

    pub fn is_unjudged(&self, repository: u64, head: &Sha) -> bool {
        self.unjudged.contains_key(&(repository, head.clone()))
    }

    /// The pull requests that the newest decision on a group was about.
    pub fn carried(&self, repository: u64, head: &Sha) -> Vec<u64> {
        let judged = self.waiting.get(&(repository, head.clone())).and_then(|w| w.judged.as_ref());
        judged.map(|(_, pulls)| pulls.clone()).unwrap_or_default()
    }

    /// Groups whose newest decision was about this pull request.
    pub fn that_carry(&self, (repository, number): (u64, u64)) -> Vec<GroupAddress> {
        let carries = |w: &&Waiting| w.judged.as_ref().is_some_and(|(_, pulls)| pulls.contains(&number));
        let here = self.waiting.values().filter(|w| w.address.repository.id == repository);
        here.filter(carries).map(|w| w.address.clone()).collect()
    }

    /// Groups that wait now, by head.
    pub fn all(&self) -> Vec<(u64, Sha)> {
        let mut all: Vec<_> = self.waiting.keys().cloned().collect();
        all.sort();
        all
    }

    /// Notes when the newest decision on a group ends to be valid.
    pub fn end(&mut self, repository: u64, head: &Sha, ends: Option<Time>) {
        if let Some(waiting) = self.waiting.get_mut(&(repository, head.clone())) {
            waiting.ends = ends;
        }
    }

    pub fn ends(&self, repository: u64, head: &Sha) -> Option<Time> {
        self.waiting.get(&(repository, head.clone()))?.ends
    }

    /// Groups whose decision can turn because of this one on a pull request.
    fn that_may_turn(&self, repository: u64, number: u64, decision: Decision) -> Vec<GroupAddress> {
        let allowed = |d: Decision| d == Decision::Allow;
        let may_turn = |waiting: &&Waiting| {
            waiting.address.repository.id == repository
                && waiting
                    .judged
                    .as_ref()
                    .is_none_or(|(d, pulls)| pulls.contains(&number) && allowed(*d) != allowed(decision))
        };
        let mut found: Vec<_> = self.waiting.values().filter(may_turn).map(|w| w.address.clone()).collect();
        found.sort_by(|a, b| a.head.cmp(&b.head));
        found
    }
}

/// The group that an event decides about.
fn key(event: &Event) -> Option<(u64, Sha)> {
    match (&event.repository, &event.about) {
        (Some(repository), About::MergeGroup { head, .. })
            if event::handling(event).judge == event::Judge::MergeGroup =>
        {
            Some((repository.id, head.clone()))
        }
        _ => None,
    }
}

impl GroupAddress {
    fn of(event: &Event) -> Option<Self> {
        let About::MergeGroup { head, head_ref, base, base_ref, .. } = &event.about else { return None };
        Some(Self {
            installation: event.installation?,
            organization: event.organization,
            repository: event.repository.clone()?,
            head: head.clone(),
            head_ref: head_ref.clone(),
            base: base.clone(),
            base_ref: base_ref.clone(),
        })
    }

    fn about(&self) -> About {
        About::MergeGroup {
            head: self.head.clone(),
            head_ref: self.head_ref.clone(),
            base: self.base.clone(),
            base_ref: self.base_ref.clone(),
            reason: None,
        }
    }

    /// The event that [`GroupAddress::draft`] records.
    fn event(&self, cause: Cause) -> Event {
        Event {
            name: "gatelog".into(),
            action: Some("look_again".into()),
            source: Source::Gatelog,
            cause: Some(cause),
            installation: Some(self.installation),
            organization: self.organization,
            repository: Some(self.repository.clone()),
            sender: None,
            about: self.about(),
        }
    }

    /// An event of our own: another look at a merge group. `key` makes it happen once.
    pub fn draft(&self, cause: Cause, refs: Vec<Ref>, key: String) -> Draft {
        let mut payload = json!({
            "action": "look_again",
            "cause": cause,
            "installation": {"id": self.installation},
            "repository": {
                "id": self.repository.id,
                "full_name": self.repository.name,
                "default_branch": self.repository.default_branch,
            },
            "merge_group": {
                "head_sha": self.head,
                "head_ref": format!("refs/heads/{}", self.head_ref),
                "base_sha": self.base,
                "base_ref": format!("refs/heads/{}", self.base_ref),
            },
        });
        if let Some(id) = self.organization {
            payload["organization"] = json!({"id": id});
        }
        let subject = Subject {
            kind: SubjectKind::MergeGroup,
            installation: Some(self.installation),
            organization: self.organization,
            repository: Some(self.repository.id),
            head: Some(self.head.clone()),
            base: self.base.clone(),
            ..Subject::NONE
        };
        let data = EventData {
            name: "gatelog".into(),
            action: Some("look_again".into()),
            source: Source::Gatelog,
            cause: Some(cause),
            flags: vec![],
        };
        Draft {
            kind: Kind::Event,
            subject,
            key: Key::Plain(key),
            refs,
            bodies: vec![("payload".into(), drafts::json_body(&payload))],
            data: json!(data),
        }
    }
}

impl Gate {
    /// Notes a decision, and says which merge groups it may turn.
    ///
    /// A group that was read before one of its pull requests turned red, and judged after, would stay
    /// green: it is looked at again as well. So is, once, a green one with a pull request that is not:
    /// GitHub's answer may have been late.
    pub(super) fn groups_to_look_at(
        &self,
        item: &Item,
        looked: &super::look::Looked,
        decision: Decision,
    ) -> Vec<(GroupAddress, Cause)> {
        let subject = &looked.subject;
        let Some(repository) = subject.repository else { return vec![] };
        let mut again = Vec::new();
        match (subject.kind, subject.id, &subject.head) {
            (SubjectKind::PullRequest, Some(number), _)
                if looked.open == Some(true) && super::decides_pull_request(item) =>
            {
                again = lock(&self.0.groups).that_may_turn(repository, number, decision);
            }
            (SubjectKind::MergeGroup, _, Some(head)) => {
                let carried = looked.carries.clone();
                let first_look = item.event.as_deref().is_some_and(|e| e.source != Source::Gatelog);
                let turned = |number: &u64| {
                    let decided = lock(&self.0.pulls).decided(repository, *number);
                    decided.is_some_and(|(d, seq)| d != Decision::Allow && (first_look || seq > item.seq))
                };
                let outdated = decision == Decision::Allow && carried.iter().any(turned);
                let mut groups = lock(&self.0.groups);
                groups.decide(repository, head, decision, carried);
                again.extend(groups.on_head(repository, head).filter(|_| outdated));
            }
            (SubjectKind::Commit, _, Some(head)) if super::asks_for_a_look(item) => {
                let found = lock(&self.0.groups).on_head(repository, head);
                return found.map(|at| (at, Cause::Rerequested)).into_iter().collect();
            }
            _ => {}
        }
        again.into_iter().map(|at| (at, Cause::MergeGroup)).collect()
    }

    /// Every event of a pull request is judged: what waited for that may be shown on the groups that carry it.
    pub(super) fn show_groups_that_carry(&self, pull: (u64, u64)) {
        if !self.0.settings.publish {
            return;
        }
        let groups = lock(&self.0.groups).that_carry(pull);
        for group in groups {
            let check = self.0.settings.check_name.clone();
            let target = Target { repository: pull.0, sha: group.head, check };
            let at = RepoAt { installation: group.installation, repository: group.repository };
            self.touch(target, at, |_| {});
        }
    }

    pub(super) fn enqueue_group(&self, at: &GroupAddress, cause: Cause, receipt: Receipt) {
        if receipt.duplicate {
            return;
        }
        self.enqueue(Item {
            seq: receipt.seq,
            event: Some(std::sync::Arc::new(at.event(cause))),
            received_at: Time::now(),
            guid: None,
            replayed: false,
            unreadable: false,
        });
    }

    /// Looks again at a merge group when its verdict is no longer valid, if it waits still.
    pub(super) fn look_at_group_at(&self, repository: u64, head: Sha, until: Time) {
        lock(&self.0.groups).end(repository, &head, Some(until));
        let gate = self.clone();
        tokio::spawn(async move {
            passed(until, Time::now).await;
            while lock(&gate.0.groups).ends(repository, &head) == Some(until) && !*gate.0.stopping.borrow() {
                let key = format!("expired:{until}:{repository}:group:{head}");
                let look = gate.look_again_at_group(repository, &head, Cause::Expired, vec![], key).await;
                // What cannot be recorded now (the ledger is full) must be later: a green stands on it.
                let Err(later) = look else { return };
                tokio::time::sleep(later.after).await;
            }
        });
    }

    /// Another look at every merge group that waits and is wanted: nobody would send an event for one.
    pub(super) async fn look_again_at_groups(&self, cause: Cause, wanted: impl Fn(&Sha) -> bool) {
        let size = self.0.ledger.head().size;
        let all = lock(&self.0.groups).all();
        for (repository, head) in all.into_iter().filter(|(_, head)| wanted(head)) {
            let key = format!("all:{size}:{repository}:group:{head}");
            // What cannot be recorded now (the ledger is full) must be later: a green stands on it.
            while let Err(later) =
                self.look_again_at_group(repository, &head, cause, vec![], key.clone()).await
            {
                if *self.0.stopping.borrow() {
                    return;
                }
                tokio::time::sleep(later.after).await;
            }
            tokio::time::sleep(super::again::pace()).await;
        }
    }

    /// Asks for another look at the merge group on this head, if it waits still.
    pub(super) async fn look_again_at_group(
        &self,
        repository: u64,
        head: &Sha,
        cause: Cause,
        refs: Vec<Ref>,
        key: String,
    ) -> Result<Vec<u64>, Later> {
        let Some(at) = lock(&self.0.groups).on_head(repository, head) else { return Ok(vec![]) };
        let receipts = self.append(vec![at.draft(cause, refs, key)]).await?;
        let seqs = receipts.iter().map(|r| r.seq).collect();
        for receipt in receipts {
            self.enqueue_group(&at, cause, receipt);
        }
        Ok(seqs)
    }
}
