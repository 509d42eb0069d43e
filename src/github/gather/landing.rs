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
        landed::{LandedCommit, Landing, MergedPull},
    },
    github::{Github, RepoAt, Trouble, graphql::Answer},
};

const FILE: &str = include_str!("../push.graphql");
const FRAGMENTS: &str = "fragment Pushed on GitObject {";

/// Commits of one query, so that it costs one point (14 + 2 × 40 requests).
const COMMITS: usize = 40;

/// GitHub's payload lists so many commits; with that many some may be missing.
const MAX_PUSHED: usize = 2048;

/// The commits of a push as read.
pub(super) struct PushRead {
    /// In the order of the payload.
    pub(super) commits: Vec<Commit>,
    pub(super) tip: Tip,
}

/// What `after` says beyond a commit.
pub(super) struct Tip {
    /// In the form of a fact, `after` itself.
    pub(super) commit: Commit,
    merged: Vec<MergedPull>,
}

impl Github {
    /// Reads the commits a push brought, and its last one. `Err`: why that cannot be done.
    pub(super) async fn read_push(
        &self,
        at: &RepoAt,
        after: &Sha,
        pushed: &[Sha],
    ) -> Result<Result<PushRead, String>, Trouble> {
        if pushed.len() >= MAX_PUSHED {
            return Ok(Err(format!(
                "the push has {MAX_PUSHED} commits or more: GitHub does not list them all"
            )));
        }
        let tip = match self.read_tip(at, after).await? {
            Ok(tip) => tip,
            Err(why) => return Ok(Err(why)),
        };
        let others: Vec<&Sha> = pushed.iter().filter(|s| *s != after).collect();
        let mut read = Vec::new();
        for some in others.chunks(COMMITS) {
            match self.read_commits(at, some).await? {
                Ok(commits) => read.extend(commits),
                Err(why) => return Ok(Err(why)),
            }
        }
        let mut read = read.into_iter();
        let in_order = |sha: &Sha| if sha == after { Some(tip.commit.clone()) } else { read.next() };
        let commits: Vec<Commit> = pushed.iter().filter_map(in_order).collect();
        Ok(Ok(PushRead { commits, tip }))
    }

    /// The last commit with its pull requests. Right after a merge GitHub may not show either yet.
    async fn read_tip(&self, at: &RepoAt, after: &Sha) -> Result<Result<Tip, String>, Trouble> {
        let mut tip = self.read_tip_once(at, after).await?;
        for wait in REREADS {
            if tip.as_ref().is_ok_and(|tip| !tip.may_be_early()) {
                break;
            }
            tokio::time::sleep(wait).await;
            tip = self.read_tip_once(at, after).await?;
        }
        Ok(tip)
    }

    async fn read_tip_once(&self, at: &RepoAt, after: &Sha) -> Result<Result<Tip, String>, Trouble> {
        let answer = self.ask(at, &[after], true).await?;
        Ok(commit_of(&answer, 0, after).and_then(|commit| Ok(Tip { commit, merged: merged_of(&answer)? })))
    }

    async fn read_commits(&self, at: &RepoAt, shas: &[&Sha]) -> Result<Result<Vec<Commit>, String>, Trouble> {
        let answer = self.ask(at, shas, false).await?;
        Ok(shas.iter().enumerate().map(|(i, sha)| commit_of(&answer, i, sha)).collect())
    }

    async fn ask(&self, at: &RepoAt, shas: &[&Sha], landed: bool) -> Result<Answer, Trouble> {
        let query = query(shas.len(), landed);
        let mut variables = json!({ "owner": at.repository.name.owner(), "repo": at.repository.name.name() });
        for (i, sha) in shas.iter().enumerate() {
            variables[format!("c{i}")] = json!(sha);
        }
        let answer = self.graphql(at.installation, &query, variables).await?;
        super::same_repository(at, &answer)?;
        Ok(answer)
    }

    /// Everything that [`crate::facts::landed::prove`] wants to know of GitHub. `Err`: what cannot be
    /// known, though it decides.
    pub(super) async fn landing(
        &self,
        at: &RepoAt,
        push: &Push,
        read: PushRead,
    ) -> Result<Result<Landing, String>, Trouble> {
        let after = read.tip.commit.sha.clone();
        let mut merged = read.tip.merged;
        merged.retain(|p| p.merge_commit.as_ref() == Some(&after) && p.base_ref == push.ref_name);
        let tip_by_github = made_by_github(&read.tip.commit);
        let mut landing =
            Landing { commits: read.commits.iter().map(landed_commit).collect(), merged, activity: None };
        if landing.merged.is_empty() {
            return Ok(Ok(landing));
        }
        if read.tip.commit.parents.len() != 2 {
            for pull in &mut landing.merged {
                pull.head_reachable = self.compare(at, &after, &pull.head).await?.map(|c| c.contains());
            }
        }
        landing.activity = self.moved_by(at, &push.ref_name, &after).await?;
        // A merge commit without GitHub's signature: only the activity can say who made it.
        if landing.activity.is_none() && read.tip.commit.parents.len() == 2 && !tip_by_github {
            return Ok(Err("GitHub's activity does not show how the branch was moved".to_owned()));
        }
        Ok(Ok(landing))
    }

    /// What GitHub says moved the branch there; `None`: it does not say.
    async fn moved_by(&self, at: &RepoAt, branch: &str, after: &Sha) -> Result<Option<String>, Trouble> {
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

impl Tip {
    /// Made by GitHub, and yet no pull request was merged with it: perhaps not shown yet.
    fn may_be_early(&self) -> bool {
        let own = |p: &MergedPull| p.merge_commit.as_ref() == Some(&self.commit.sha);
        self.commit.committed_via_web && !self.merged.iter().any(own)
    }
}

fn made_by_github(commit: &Commit) -> bool {
    let v = &commit.verification;
    commit.committed_via_web && v.verified && v.state == "VALID" && v.signed_by_github
}

fn landed_commit(commit: &Commit) -> LandedCommit {
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
