//! What only our own ledger knows: who pushed, which heads came before, what was allowed.
//!
//! Looked up here and handed on as plain data, so that facts stay data and judging stays pure.

use serde_json::Value;

use super::{Gate, Item, lock};
use crate::{
    event::{self, About, PullRequestRef, Sha},
    facts::{Facts, pushes::KnownPush},
    github::{
        RepoAt,
        gather::{Floor, Known, KnownPull},
    },
    ledger::entry::{EventData, Flag, Kind},
};

/// The longest chain of pushes that is followed. A pull request may have 250 commits.
const MOST_PUSHES: usize = 300;

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
        let repository = at.repository.id;
        let stated = pull.head.clone().filter(|_| !item.replayed);
        let newest = stated.or_else(|| lock(&self.0.pulls).head(repository, pull.number));
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
        let batch = older.iter().chain([item]).filter(|i| !i.replayed);
        let mut reviews = Vec::new();
        for stated in batch.filter_map(|i| i.event.as_deref()) {
            if let About::PullRequest(PullRequestRef { review: Some(review), .. }) = &stated.about {
                reviews.retain(|(id, _): &(u64, String)| *id != review.0);
                reviews.push(review.clone());
            }
        }
        Floor {
            head: newest,
            older_heads: heads,
            base_ref: if item.replayed { None } else { pull.base_ref.clone() },
            reviews,
            commits: pull.commits,
        }
    }

    /// Pushes to a branch as our own deliveries tell them, followed back from its head.
    pub(super) fn pushes_to(&self, repository: u64, branch: &str, head: &Sha) -> Vec<KnownPush> {
        let mut found = Vec::new();
        let mut at = Some(head.clone());
        while let Some(sha) = at.take() {
            if found.len() >= MOST_PUSHES {
                break;
            }
            let here = self.pushes_that_made(repository, branch, &sha);
            let erased = self.has_erased_push(&sha);
            // Where a push and a synchronize tell of the same move, the push says more: it alone
            // shows a deploy key, whose owner the synchronize names as sender.
            let best = here.iter().position(|p| p.from_push).unwrap_or(0);
            if let Some(mut push) = here.into_iter().nth(best) {
                if erased && !push.from_push {
                    // What it would have shown is gone: somebody unknown pushed.
                    push.known.user = None;
                }
                at = push.known.before.clone().filter(|b| found.iter().all(|f: &Told| f.known.after != *b));
                found.push(push);
            } else if erased {
                // GitHub's activity may name the owner of a deploy key, so it does not stand in for this.
                let known = KnownPush { repository, before: None, after: sha, user: None, forced: false };
                found.push(Told { known, from_push: true });
            }
        }
        // Oldest first.
        found.into_iter().rev().map(|t| t.known).collect()
    }

    fn pushes_that_made(&self, repository: u64, branch: &str, sha: &Sha) -> Vec<Told> {
        let seqs = self.0.ledger.with_head(sha);
        seqs.into_iter().filter_map(|seq| self.push_told_by(seq, repository, branch, sha)).collect()
    }

    /// Whether an event that told who pushed this commit has lost its payload. Branch, and with a fork the
    /// repository, stood in the payload too, so any counts.
    fn has_erased_push(&self, sha: &Sha) -> bool {
        self.0.ledger.with_head(sha).into_iter().any(|seq| {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { return false };
            stored.entry.kind == Kind::Event
                && serde_json::from_value::<EventData>(stored.entry.data).is_ok_and(|d| tells_of_pushes(&d))
                && matches!(self.0.ledger.has_body(seq, "payload"), Ok(false))
        })
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
        super::pushers::told(&data.name, &payload, repository, branch, sha)
            .map(|known| Told { known, from_push: data.name == "push" })
    }

    /// What the ledger adds to the facts of every pull request that is judged.
    pub(super) fn known(&self, facts: &Facts, payload: &Value) -> Known {
        let base = facts.repository.as_ref().map(|r| r.id);
        let entries = facts.merge_group.iter().filter_map(|g| g.entries.as_ref()).flatten();
        let mut all = Known { pushed: pushed(payload), ..Known::default() };
        for change in facts.change.iter().chain(entries) {
            let pull = &change.pull_request;
            let mut known = KnownPull::default();
            if let (Some(head), Some(repo)) = (&pull.head.sha, &pull.head.repo) {
                known.pushes = self.pushes_to(repo.id, &pull.head.name, head);
                let on_head = base.map(|b| lock(&self.0.pulls).on_head(b, head)).unwrap_or_default();
                known.shared_heads = on_head.into_iter().filter(|n| *n != pull.number).collect();
            }
            all.pulls.insert(pull.number, known);
        }
        all
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

struct Told {
    known: KnownPush,
    from_push: bool,
}
