//! The commits of a push, and what is needed to tell a merge from a direct push.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{Connection, GitCommit, Oid, Who, account},
    head::RetargetNode,
    pull::REREADS,
};
use crate::{
    event::Sha,
    facts::{
        Commit, Push,
        landed::{self, LandedCommit, Landing, MergedPull},
    },
    github::{Github, RepoAt, Trouble, graphql::Answer},
    time::Time,
};

const FILE: &str = include_str!("../push.graphql");
const FRAGMENTS: &str = "fragment Pushed on GitObject {";

/// Commits of one query, so that it costs one point (2 requests each).
const COMMITS: usize = 49;

/// GitHub's payload lists so many commits; with that many some may be missing.
const MAX_PUSHED: usize = 2048;

/// The last commit of a push, and the pull requests that were merged with it.
pub(super) struct Tip {
    pub commit: Commit,
    pub merged: Vec<MergedPull>,
}

impl Github {
    /// Reads the commits a push brought. `Err`: why that cannot be done.
    pub(super) async fn pushed_commits(
        &self,
        at: &RepoAt,
        pushed: &[Sha],
    ) -> Result<Result<Vec<Commit>, String>, Trouble> {
        if pushed.len() >= MAX_PUSHED {
            return Ok(Err(format!(
                "the push has {MAX_PUSHED} commits or more: GitHub does not list them all"
            )));
        }
        let mut read = Vec::new();
        for some in pushed.chunks(COMMITS) {
            match self.read_commits(at, some).await? {
                Ok(commits) => read.extend(commits),
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(read))
    }

    /// Right after a push GitHub may not show them yet.
    async fn read_commits(&self, at: &RepoAt, shas: &[Sha]) -> Result<Result<Vec<Commit>, String>, Trouble> {
        let mut waits = REREADS.iter();
        loop {
            let answer = self.ask(at, shas, false).await?;
            let read: Result<Vec<Commit>, String> =
                shas.iter().enumerate().map(|(i, sha)| commit_of(&answer, i, sha)).collect();
            match (&read, waits.next()) {
                (Err(_), Some(wait)) => tokio::time::sleep(*wait).await,
                _ => return Ok(read),
            }
        }
    }

    async fn ask(&self, at: &RepoAt, shas: &[Sha], landed: bool) -> Result<Answer, Trouble> {
        let query = query(shas.len(), landed);
        let mut variables = json!({ "owner": at.repository.name.owner(), "repo": at.repository.name.name() });
        for (i, sha) in shas.iter().enumerate() {
            variables[format!("c{i}")] = json!(sha);
        }
        let answer = self.graphql(at.installation, &query, variables).await?;
        super::same_repository(at, &answer)?;
        Ok(answer)
    }

    /// Everything that [`landed::prove`] wants to know of GitHub. `Err`: what cannot be known, though
    /// it decides.
    pub(super) async fn landing(
        &self,
        at: &RepoAt,
        push: &Push,
        commits: &[Commit],
    ) -> Result<Result<Landing, String>, Trouble> {
        let Ok((_, after)) = landed::moved(push) else { return Ok(Ok(Landing::default())) };
        let tip = match self.tip(at, push, after).await? {
            Ok(tip) => tip,
            Err(why) => return Ok(Err(why)),
        };
        let moved_by = self.moved_by(at, &push.ref_name, after).await?;
        let tip = match self.merge_not_shown_yet(at, push, tip, moved_by.as_deref()).await? {
            Ok(tip) => tip,
            Err(why) => return Ok(Err(why)),
        };
        let is_merge = tip.commit.parents.len() == 2;
        // A merge commit without GitHub's signature: only the activity can say who made it.
        if !tip.merged.is_empty() && is_merge && moved_by.is_none() && !made_by_github(&tip.commit) {
            return Ok(Err("GitHub's activity does not show how the branch was moved".to_owned()));
        }
        let mut merged = tip.merged;
        for pull in merged.iter_mut().filter(|_| !is_merge) {
            pull.head_reachable = self.compare(at, after, &pull.head).await?.map(|c| c.contains());
        }
        Ok(Ok(Landing { commits: commits.iter().map(landed_commit).collect(), merged, activity: moved_by }))
    }

    async fn tip(&self, at: &RepoAt, push: &Push, after: &Sha) -> Result<Result<Tip, String>, Trouble> {
        let tip = self.commit_and_pulls(at, after).await?;
        Ok(tip.map(|mut tip| {
            tip.merged.retain(|p| p.merge_commit.as_ref() == Some(after) && p.base_ref == push.ref_name);
            tip
        }))
    }

    /// A commit, and the merged pull requests that it belongs to.
    pub(super) async fn commit_and_pulls(
        &self,
        at: &RepoAt,
        sha: &Sha,
    ) -> Result<Result<Tip, String>, Trouble> {
        let answer = self.ask(at, std::slice::from_ref(sha), true).await?;
        let merged = || merged_of(&answer);
        Ok(commit_of(&answer, 0, sha).and_then(|commit| Ok(Tip { commit, merged: merged()? })))
    }

    /// Right after a merge GitHub may not show yet which pull request it was: that it was one is known
    /// from the activity, or likely for what its web interface made.
    async fn merge_not_shown_yet(
        &self,
        at: &RepoAt,
        push: &Push,
        mut tip: Tip,
        moved_by: Option<&str>,
    ) -> Result<Result<Tip, String>, Trouble> {
        let is_merge = matches!(moved_by, Some("pr_merge" | "merge_queue_merge"));
        for wait in REREADS {
            if !tip.merged.is_empty() || !(is_merge || moved_by.is_none() && tip.commit.committed_via_web) {
                return Ok(Ok(tip));
            }
            tokio::time::sleep(wait).await;
            match self.tip(at, push, &tip.commit.sha).await? {
                Ok(again) => tip = again,
                Err(why) => return Ok(Err(why)),
            }
        }
        // A merge group is proved by our ledger alone.
        if tip.merged.is_empty() && moved_by == Some("pr_merge") {
            return Ok(Err("GitHub calls it the merge of a pull request, and shows none".to_owned()));
        }
        Ok(Ok(tip))
    }

    /// What GitHub says moved the branch there; `None`: it does not say. It may say so late.
    pub(super) async fn moved_by(
        &self,
        at: &RepoAt,
        branch: &str,
        after: &Sha,
    ) -> Result<Option<String>, Trouble> {
        let mut waits = REREADS.iter();
        loop {
            let Some(moves) = self.activity(at.installation, &at.path(""), branch, 1).await? else {
                return Ok(None);
            };
            let own = moves.into_iter().find(|m| m.after.as_deref() == Some(after.as_str()));
            match (own, waits.next()) {
                (Some(own), _) => return Ok(Some(own.activity_type)),
                (None, Some(wait)) => tokio::time::sleep(*wait).await,
                (None, None) => return Ok(None),
            }
        }
    }
}

fn made_by_github(commit: &Commit) -> bool {
    let v = &commit.verification;
    commit.committed_via_web && v.verified && v.state == "VALID" && v.signed_by_github
}

pub(super) fn landed_commit(commit: &Commit) -> LandedCommit {
    LandedCommit {
        sha: commit.sha.clone(),
        parents: commit.parents.clone(),
        made_by_github: made_by_github(commit),
    }
}

fn commit_of(answer: &Answer, i: usize, sha: &Sha) -> Result<Commit, String> {
    let alias = format!("c{i}");
    if let Some(error) = answer.touching(&["repository", &alias]) {
        return Err(format!("commit {}: {}", sha.short(), error.short()));
    }
    let object = &answer.data["repository"][&alias];
    if object["__typename"] != "Commit" {
        return Err(format!("GitHub does not show the commit {}", sha.short()));
    }
    let commit = GitCommit::deserialize(object).map_err(|e| format!("commit {}: {e}", sha.short()))?;
    if commit.oid != *sha {
        return Err(format!("GitHub shows another commit than {}", sha.short()));
    }
    commit.commit()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MergedNode {
    number: u64,
    merged: bool,
    merged_at: Option<Time>,
    head_ref_oid: Sha,
    base_ref_name: String,
    merged_by: Option<Who>,
    merge_commit: Option<Oid>,
    retargets: Option<Retargets>,
}

#[derive(Deserialize)]
struct Retargets {
    nodes: Vec<RetargetNode>,
}

fn merged_of(answer: &Answer) -> Result<Vec<MergedPull>, String> {
    let value = &answer.data["repository"]["c0"]["associatedPullRequests"];
    let pulls = Connection::<MergedNode>::deserialize(value).map_err(|e| format!("pull requests: {e}"))?;
    if pulls.nodes.len() as u64 != pulls.total_count {
        return Err(format!(
            "{} of {} pull requests of the commit read",
            pulls.nodes.len(),
            pulls.total_count
        ));
    }
    pulls.nodes.into_iter().filter(|p| p.merged).map(MergedNode::pull).collect()
}

impl MergedNode {
    fn pull(self) -> Result<MergedPull, String> {
        let newest = self.retargets.and_then(|r| r.nodes.into_iter().next_back());
        Ok(MergedPull {
            number: self.number,
            head: self.head_ref_oid,
            base_ref: self.base_ref_name,
            merge_commit: self.merge_commit.map(|c| c.oid),
            merged_by: account(self.merged_by)?,
            merged_at: self.merged_at,
            retargeted_at: newest.map(RetargetNode::retarget).transpose()?.map(|r| r.at),
            head_reachable: None,
        })
    }
}

/// `push.graphql` for any number of commits; with `landed` the first is asked for its pull requests.
fn query(commits: usize, landed: bool) -> String {
    let (mut heads, mut fields) = (String::new(), String::new());
    for i in 0..commits {
        // Writing to a string does not fail.
        _ = write!(heads, ", $c{i}: GitObjectID!");
        let more = if landed && i == 0 { " ...Landed" } else { "" };
        _ = writeln!(fields, "    c{i}: object(oid: $c{i}) {{ ...Pushed{more} }}");
    }
    let fragments = FILE.find(FRAGMENTS).map_or("", |at| &FILE[at..]);
    let unused = if landed { fragments.to_owned() } else { without_landed(fragments) };
    format!(
        "query Push($owner: String!, $repo: String!{heads}) {{\n  \
         rateLimit {{ cost nodeCount remaining resetAt }}\n  \
         repository(owner: $owner, name: $repo) {{\n    databaseId\n{fields}  }}\n}}\n\n{unused}"
    )
}

/// GraphQL refuses a document with a fragment that nothing uses.
fn without_landed(fragments: &str) -> String {
    let used = |f: &&str| !f.starts_with("Landed ") && !f.starts_with("Who ");
    fragments
        .split("fragment ")
        .filter(|f| !f.is_empty())
        .filter(used)
        .map(|f| format!("fragment {f}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_the_file() {
        let file: String = FILE.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        assert_eq!(query(2, true), file);
        let plain = query(1, false);
        assert!(!plain.contains("Landed") && !plain.contains("Who") && plain.contains("fragment Person"));
    }
}
