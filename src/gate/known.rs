//! What only our own ledger knows: who pushed, which heads came before, what was allowed.
//!
//! Looked up here and handed on as plain data, so that facts stay data and judging stays pure.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use serde_json::Value;

use super::{
    Gate, Item, lock,
    pulls::{Pulls, retargeted},
    waits::sooner,
};
use crate::{
    event::{self, About, PullRequestRef, Sha},
    facts::{Facts, pushes::KnownPush},
    github::{
        RepoAt,
        gather::{Floor, Known, KnownPull},
    },
    ledger::entry::{EventData, Flag, Kind},
    time::Time,
};

/// So long an answer from before what an event told is waited for. GitHub's replicas are seldom a second
/// behind; one that is behind for ever must not hold up everything.
const BEHIND: Duration = Duration::from_secs(30);

/// The most pushes that are followed, those next to the head first. A pull request may have 250 commits.
const MOST_PUSHES: usize = 600;

impl Gate {
    /// The payload of an event entry as JSON.
    ///
    /// # Errors
    /// The body was erased or cannot be read.
    pub(super) fn payload_of(&self, seq: u64) -> Result<Value, String> {
        let stored = self.0.ledger.entry(seq).map_err(|e| e.to_string())?;
        let stored = stored.ok_or_else(|| format!("entry {seq} is not in the ledger"))?;
        let media = stored.entry.bodies.get("payload").map_or("", |b| b.media.as_str());
        let body = self.0.ledger.body(seq, "payload").map_err(|e| e.to_string())?;
        let body = body.ok_or_else(|| format!("the payload of entry {seq} was erased"))?;
        let json = event::json(event::ContentType::of_media(media), &body);
        let unreadable = |e: String| format!("the payload of entry {seq}: {e}");
        serde_json::from_slice(&json.map_err(|e| unreadable(e.to_string()))?)
            .map_err(|e| unreadable(e.to_string()))
    }

    /// What the payloads have stated of a pull request, below which the API must not fall.
    pub(super) fn floor(&self, at: &RepoAt, pull: &PullRequestRef, item: &Item, older: &[Item]) -> Floor {
        let (repository, number) = (at.repository.id, pull.number);
        let (late, head, stated_at) = {
            let pulls = lock(&self.0.pulls);
            let late = item.replayed || pulls.is_late(repository, pull);
            (late, pulls.head(repository, number), pulls.stated_at(repository, number))
        };
        let newest = pull.head.clone().filter(|_| !late).or(head);
        let mut heads = Vec::new();
        for seq in self.0.ledger.of_pull(repository, pull.number) {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            if stored.entry.kind == Kind::Event
                && let Some(head) = stored.entry.subject.head
                && Some(&head) != newest.as_ref()
                && !heads.contains(&head)
            {
                heads.push(head);
            }
        }
        let batch: Vec<&PullRequestRef> = older.iter().chain([item]).filter_map(stated).collect();
        let pulls = lock(&self.0.pulls);
        let in_time = batch.iter().copied().filter(|stated| !pulls.is_late(repository, stated));
        Floor {
            head: newest,
            older_heads: heads,
            base_ref: base_stated(in_time),
            commits: pull.commits,
            at: if late { stated_at } else { pull.updated_at.max(stated_at) },
            ..floor_of(&pulls, (repository, number), item, &batch)
        }
    }

    /// As [`Gate::floor`], of a pull request that a merge group carries: no event in hand states anything of it.
    pub(super) fn floor_in_group(&self, at: &RepoAt, number: u64, item: &Item) -> Floor {
        floor_of(&lock(&self.0.pulls), (at.repository.id, number), item, &[])
    }

    /// Pushes to a branch as our own deliveries tell them, oldest first: every one that led to its head,
    /// or to where another of them began. A branch moved to and fro was at one commit more than once, and
    /// a push and a `synchronize` tell of the same move: [`crate::facts::pushes::chain`] sorts that out.
    ///
    /// Where what told of a push was erased, somebody unknown pushed: GitHub's activity, or a `synchronize`,
    /// may name the owner of a deploy key, so they do not stand in for it.
    pub(super) fn pushes_to(&self, repository: u64, branch: &str, head: &Sha) -> Vec<KnownPush> {
        let mut found: Vec<(u64, KnownPush)> = Vec::new();
        let mut seen = HashSet::from([head.clone()]);
        let mut todo = VecDeque::from([head.clone()]);
        while let Some(sha) = todo.pop_front().filter(|_| found.len() < MOST_PUSHES) {
            let erased = self.erased_pushes(&sha);
            let push_erased = erased.iter().any(|(_, from_push)| *from_push);
            let told = self.pushes_that_made(repository, branch, &sha);
            let push_told = told.iter().any(|t| t.from_push);
            for Told { seq, mut known, from_push } in told {
                if push_erased && !from_push {
                    known.user = None;
                }
                todo.extend(known.before.clone().filter(|before| seen.insert(before.clone())));
                found.push((seq, known));
            }
            for (seq, _) in erased.into_iter().filter(|(_, from_push)| *from_push || !push_told) {
                let after = sha.clone();
                found.push((seq, KnownPush { repository, before: None, after, user: None, forced: false }));
            }
        }
        found.sort_by_key(|(seq, _)| *seq);
        found.into_iter().map(|(_, push)| push).collect()
    }

    fn pushes_that_made(&self, repository: u64, branch: &str, sha: &Sha) -> Vec<Told> {
        let seqs = self.0.ledger.with_head(sha);
        seqs.into_iter().filter_map(|seq| self.push_told_by(seq, repository, branch, sha)).collect()
    }

    /// Events that told who pushed this commit and have lost their payload; whether they are `push`. Branch,
    /// and with a fork the repository, stood in the payload too, so any counts.
    fn erased_pushes(&self, sha: &Sha) -> Vec<(u64, bool)> {
        let erased = |seq: u64| {
            let stored = self.0.ledger.entry(seq).ok()??;
            let is_event = stored.entry.kind == Kind::Event;
            let data: EventData = serde_json::from_value(stored.entry.data).ok().filter(|_| is_event)?;
            let gone = matches!(self.0.ledger.has_body(seq, "payload"), Ok(false));
            (tells_of_pushes(&data) && gone).then_some((seq, data.name == "push"))
        };
        self.0.ledger.with_head(sha).into_iter().filter_map(erased).collect()
    }

    fn push_told_by(&self, seq: u64, repository: u64, branch: &str, sha: &Sha) -> Option<Told> {
        let stored = self.0.ledger.entry(seq).ok()??;
        if stored.entry.kind != Kind::Event {
            return None;
        }
        let data: EventData = serde_json::from_value(stored.entry.data).ok()?;
        if !tells_of_pushes(&data) || data.flags.contains(&Flag::Replayed) {
            return None;
        }
        let payload = self.payload_of(seq).ok()?;
        super::pushers::told(&data.name, &payload, repository, branch, sha).map(|known| Told {
            seq,
            known,
            from_push: data.name == "push",
        })
    }

    /// What the ledger adds to the facts of every pull request that is judged.
    pub(super) fn known(&self, facts: &Facts, payload: &Value) -> Known {
        let base = facts.repository.as_ref().map(|r| r.id);
        let entries = facts.merge_group.iter().filter_map(|g| g.entries.as_ref()).flatten();
        let sha =
            |place: &str| payload.pointer(place).and_then(Value::as_str).and_then(|s| s.parse::<Sha>().ok());
        let mut all = Known {
            pushed: pushed(payload),
            // Of an annotated tag `after` is the tag itself.
            tip: sha("/head_commit/id").or_else(|| sha("/after")).filter(|s| !s.is_zero()),
            deployed: sha("/deployment/sha"),
            deployed_from: payload["deployment"]["ref"].as_str().map(str::to_owned),
            alerts: base.map(|b| lock(&self.0.pulls).open_alerts(b, Time::now())).unwrap_or_default(),
            ..Known::default()
        };
        for change in facts.change.iter().chain(entries) {
            let pull = &change.pull_request;
            let mut known = KnownPull::default();
            if let (Some(head), Some(repo)) = (&pull.head.sha, &pull.head.repo) {
                known.pushes = self.pushes_to(repo.id, &pull.head.name, head);
                let on_head = base.map(|b| lock(&self.0.pulls).on_head(b, head)).unwrap_or_default();
                known.checks =
                    base.map(|b| lock(&self.0.pulls).told_of(b, head, Time::now())).unwrap_or_default();
                known.shared_heads = on_head.into_iter().filter(|n| *n != pull.number).collect();
            }
            known.base_told =
                base.and_then(|b| lock(&self.0.pulls).branch_told(b, &pull.base.name, Time::now()));
            all.pulls.insert(pull.number, known);
        }
        all
    }
}

/// What an event states of its pull request; one sent again states nothing of now.
fn stated(item: &Item) -> Option<&PullRequestRef> {
    match &item.event.as_deref().filter(|_| !item.replayed)?.about {
        About::PullRequest(stated) => Some(stated),
        _ => None,
    }
}

/// The newest base that was stated; of the same second, the one that came last.
fn base_stated<'a>(batch: impl Iterator<Item = &'a PullRequestRef>) -> Option<String> {
    batch.filter(|p| p.base_ref.is_some()).max_by_key(|p| p.updated_at)?.base_ref.clone()
}

/// What events have told lately of a pull request, those in hand too, however old they are.
fn floor_of(
    pulls: &Pulls,
    (repository, number): (u64, u64),
    item: &Item,
    batch: &[&PullRequestRef],
) -> Floor {
    let now = Time::now();
    let mut reviews = Vec::new();
    let in_hand = batch.iter().filter_map(|stated| stated.review.clone());
    // A dismissal stays one, though an older delivery comes after it.
    for review in pulls.reviews(repository, number, now).into_iter().chain(in_hand) {
        let dismissed = reviews.contains(&(review.0, "DISMISSED".to_owned()));
        if !dismissed {
            reviews.retain(|(id, _): &(u64, String)| *id != review.0);
            reviews.push(review);
        }
    }
    let in_hand = batch.iter().filter_map(|stated| retargeted(stated));
    Floor {
        reviews,
        at: pulls.stated_at(repository, number),
        patient: now.since(item.received_at) < sooner("gate::behind", BEHIND),
        // Whatever event came last: the approvals from before the change are stale for all of them.
        retarget: pulls.retarget(repository, number, now).into_iter().chain(in_hand).max_by_key(|r| r.at),
        ..Floor::default()
    }
}

fn tells_of_pushes(data: &EventData) -> bool {
    data.name == "push"
        || (data.name == "pull_request" && matches!(data.action.as_deref(), Some("synchronize" | "opened")))
}

/// Ids of the commits that a `push` lists (GitHub lists at most 2,048).
fn pushed(payload: &Value) -> Option<Vec<Sha>> {
    payload["commits"].as_array()?.iter().map(|c| c["id"].as_str()?.parse().ok()).collect()
}

/// A push, and which event told of it.
struct Told {
    seq: u64,
    known: KnownPush,
    from_push: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Cause, Repository},
        gate::{drafts::PullAddress, look},
        github::gather::Retargeted,
    };

    fn at(second: i64) -> Option<Time> {
        Time::from_unix_micros(second * 1_000_000)
    }

    fn item(seq: u64, stated: PullRequestRef) -> Item {
        let repository = Repository { id: 1, name: "o/r".parse().unwrap(), default_branch: None };
        let address = PullAddress { installation: 1, organization: None, repository, number: 7 };
        let mut event = look::own_event(&address, Cause::Fact);
        event.about = About::PullRequest(PullRequestRef { number: 7, ..stated });
        let event = Some(Arc::new(event));
        Item { seq, event, received_at: Time::now(), guid: None, replayed: false, unreadable: false }
    }

    /// A label is set right after the base was changed, and answers for both.
    #[test]
    fn what_an_older_event_of_the_batch_told_is_a_floor_too() {
        let to = |base: &str, second| PullRequestRef {
            base_ref: Some(base.to_owned()),
            updated_at: at(second),
            ..PullRequestRef::default()
        };
        let edited = item(10, PullRequestRef { old_base: Some("sandbox".to_owned()), ..to("main", 20) });
        for last in [to("main", 20), PullRequestRef::default()] {
            let last = item(11, last);
            let batch: Vec<_> = [&edited, &last].into_iter().filter_map(stated).collect();
            let floor = floor_of(&Pulls::default(), (1, 7), &last, &batch);
            let told = Retargeted { from: "sandbox".to_owned(), to: "main".to_owned(), at: at(20) };
            assert_eq!(floor.retarget, Some(told));
            assert_eq!(base_stated(batch.into_iter()), Some("main".to_owned()));
        }
        // One that is sent again tells nothing.
        let again = Item { replayed: true, ..edited };
        assert!(stated(&again).is_none());
    }

    #[test]
    fn the_newest_change_of_the_base_counts_whatever_came_last() {
        let change = |from: &str, to: &str, second| PullRequestRef {
            old_base: Some(from.to_owned()),
            base_ref: Some(to.to_owned()),
            updated_at: at(second),
            ..PullRequestRef::default()
        };
        let items = [item(10, change("main", "dev", 21)), item(11, change("sandbox", "main", 20))];
        let batch: Vec<_> = items.iter().filter_map(stated).collect();
        let floor = floor_of(&Pulls::default(), (1, 7), &items[1], &batch);
        assert_eq!(floor.retarget.map(|r| r.to), Some("dev".to_owned()));
        assert_eq!(base_stated(batch.into_iter()), Some("dev".to_owned()));
    }
}
