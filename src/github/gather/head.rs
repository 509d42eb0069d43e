//! The pull request itself: everything of `pr_facts.graphql` outside the three lists.

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Connection, Odd, Oid, Who, account};
use crate::{
    event::Sha,
    facts::{Branch, Label, PullRequest, RepositoryId, Retarget},
    github::{RepoAt, Trouble, TroubleKind},
    time::Time,
};

/// What must be the same in every page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) head: Sha,
    pub(super) base_ref: String,
    /// The base branch now; `None`: it is gone.
    pub(super) base: Option<Sha>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIdentity {
    head_ref_oid: Sha,
    base_ref_name: String,
    base_ref: Option<BaseRef>,
}

#[derive(Deserialize)]
struct BaseRef {
    target: Option<Oid>,
}

fn not_understood(e: &serde_json::Error) -> Trouble {
    Trouble::new(TroubleKind::Unexpected, format!("GraphQL: pull request not understood: {e}"))
}

impl Identity {
    pub(super) fn of(pull: &Value) -> Result<Self, Trouble> {
        let raw = RawIdentity::deserialize(pull).map_err(|e| not_understood(&e))?;
        let base = raw.base_ref.and_then(|b| b.target).map(|t| t.oid);
        Ok(Self { head: raw.head_ref_oid, base_ref: raw.base_ref_name, base })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    number: u64,
    title: String,
    state: String,
    is_draft: bool,
    merged: bool,
    review_decision: Option<String>,
    created_at: Time,
    updated_at: Time,
    pub(super) changed_files: u64,
    head_ref_name: String,
    head_repository: Option<HeadRepository>,
    author: Option<Who>,
    merged_by: Option<Who>,
    merge_commit: Option<Oid>,
    labels: Option<Connection<Label>>,
    tip: Option<Nodes<Tip>>,
    retargets: Option<Nodes<RetargetNode>>,
    base_pushes: Option<Nodes<PushNode>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadRepository {
    database_id: u64,
    name_with_owner: String,
}

#[derive(Deserialize)]
struct Nodes<T> {
    nodes: Vec<T>,
}

#[derive(Deserialize)]
struct Tip {
    commit: TipCommit,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TipCommit {
    associated_pull_requests: Option<Connection<OtherPull>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtherPull {
    number: u64,
    state: String,
    head_ref_oid: Sha,
}

/// Both kinds of events; `currentRefName` and `newBase` are the same thing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetargetNode {
    created_at: Time,
    #[serde(alias = "oldBase")]
    previous_ref_name: String,
    #[serde(alias = "newBase")]
    current_ref_name: String,
    actor: Option<Who>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushNode {
    created_at: Time,
}

fn newest<T>(nodes: Option<Nodes<T>>) -> Result<Option<T>, Odd> {
    // `null` without an error on its path does not happen for a timeline: the query asked for it.
    let mut nodes = nodes.ok_or("the timeline is not readable")?.nodes;
    Ok(nodes.pop())
}

impl Head {
    pub(super) fn of(pull: &Value) -> Result<Self, Trouble> {
        Self::deserialize(pull).map_err(|e| not_understood(&e))
    }

    /// Labels are not paged: more than a page of them is not readable.
    pub(super) fn odd(&self) -> Option<Odd> {
        let labels = self.labels.as_ref()?;
        (labels.nodes.len() as u64 != labels.total_count)
            .then(|| format!("{} of {} labels read", labels.nodes.len(), labels.total_count))
    }

    /// The pull request, other open ones with its head as far as GitHub shows them, and what is odd
    /// about the answer.
    pub(super) fn pull_request(
        self,
        at: &RepoAt,
        identity: Identity,
        commits: u64,
    ) -> (PullRequest, Vec<u64>, Option<Odd>) {
        let mut odd = None;
        let mut keep = |e: Odd| {
            odd.get_or_insert(e);
        };
        let mut who = |w| {
            account(w).unwrap_or_else(|e| {
                keep(e);
                None
            })
        };
        let (user, merged_by) = (who(self.author), who(self.merged_by));
        let retarget = newest(self.retargets).and_then(|r| r.map(RetargetNode::retarget).transpose());
        let retarget = retarget.unwrap_or_else(|e| {
            keep(e);
            None
        });
        let base_push = newest(self.base_pushes).unwrap_or_else(|e| {
            keep(e);
            None
        });
        let shared = shared_head(self.tip, self.number, &identity.head);
        let head_repo = self.head_repository;
        let pull_request = PullRequest {
            number: self.number,
            title: self.title,
            state: if self.state == "OPEN" { "open" } else { "closed" }.to_owned(),
            draft: self.is_draft,
            merged: self.merged,
            user,
            head: Branch {
                name: self.head_ref_name,
                sha: Some(identity.head),
                repo: head_repo.map(|r| RepositoryId { id: r.database_id, full_name: r.name_with_owner }),
            },
            base: Branch {
                name: identity.base_ref,
                sha: identity.base,
                repo: Some(RepositoryId {
                    id: at.repository.id,
                    full_name: at.repository.name.as_str().to_owned(),
                }),
            },
            labels: self.labels.map(|l| l.nodes).unwrap_or_default(),
            commits,
            changed_files: self.changed_files,
            created_at: self.created_at,
            updated_at: self.updated_at,
            merged_by,
            merge_commit_sha: self.merge_commit.map(|c| c.oid),
            retarget,
            base_force_pushed_at: base_push.map(|p| p.created_at),
            review_decision: self.review_decision,
        };
        (pull_request, shared, odd)
    }
}

impl RetargetNode {
    pub(super) fn retarget(self) -> Result<Retarget, Odd> {
        Ok(Retarget {
            at: self.created_at,
            from: self.previous_ref_name,
            to: self.current_ref_name,
            actor: account(self.actor)?,
        })
    }
}

/// GitHub's opinion of who shares the head: empty for heads in forks, so our own index adds to it.
fn shared_head(tip: Option<Nodes<Tip>>, own: u64, head: &Sha) -> Vec<u64> {
    let tips = tip.map(|t| t.nodes).unwrap_or_default();
    let others = tips.into_iter().filter_map(|t| t.commit.associated_pull_requests).flat_map(|c| c.nodes);
    let mut numbers: Vec<u64> = others
        .filter(|p| p.number != own && p.state == "OPEN" && p.head_ref_oid == *head)
        .map(|p| p.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
