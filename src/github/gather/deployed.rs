//! What stands beside a pull request: the commit to be deployed, changed workflows, leaked secrets.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Floor, Holes, Known, final_reason,
    landing::{Tip, landed_commit},
    pull::REREADS,
};
use crate::{
    event::{Account, Sha},
    facts::{
        Change, Commit, DeployedPull, Deployment, SecretAlert, Workflow,
        landed::{LandedCommit, MergedPull},
        workflows,
    },
    github::{Github, RepoAt, Trouble, TroubleKind, call::As, rest::segment},
};

/// Changed workflows that are read of one pull request.
const MAX_WORKFLOWS: usize = 100;
/// Pages of a hundred alerts.
const ALERT_PAGES: usize = 10;

/// What GitHub shows of a commit to be deployed, for the ledger to say whether it was allowed.
#[derive(Clone, Debug)]
pub struct Deploying {
    pub tip: LandedCommit,
    /// Pull requests whose merge made the commit, in the order of `deployment.pull_requests`.
    pub merged: Vec<MergedPull>,
    /// Base branch → what GitHub's activity says moved it there; `None`: it does not say.
    pub moved_by: BTreeMap<String, Option<String>>,
    /// The pull requests, in the same order.
    pub changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Branch {
    commit: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: Sha,
}

impl Github {
    /// Whether a commit is on the default branch. GitHub may show the branch late. `Err`: why it is not known.
    pub(super) async fn on_default_branch(
        &self,
        at: &RepoAt,
        commit: Option<&Sha>,
    ) -> Result<Result<bool, String>, Trouble> {
        let (Some(commit), Some(branch)) = (commit, &at.repository.default_branch) else {
            return Ok(Err("the event names no commit, or no default branch".to_owned()));
        };
        let there = self.on_branch(at, branch, commit).await?;
        Ok(there.and_then(|is| is.ok_or_else(|| format!("GitHub shows no branch `{branch}`"))))
    }

    /// Whether a commit is on a branch; `None`: there is no such branch. `Err`: why it is not known.
    async fn on_branch(
        &self,
        at: &RepoAt,
        branch: &str,
        commit: &Sha,
    ) -> Result<Result<Option<bool>, String>, Trouble> {
        let path = at.path(&format!("/branches/{}", segment(branch)));
        for wait in REREADS.iter().map(Some).chain([None]) {
            let tip = match self.get(at.installation, &path).await.and_then(|a| a.expect(&[200])) {
                Ok(answer) => Some(answer.json::<Branch>()?.commit.sha),
                Err(trouble) if trouble.kind == TroubleKind::Gone => None,
                Err(trouble) => return final_reason(trouble).map(Err),
            };
            let compared = match &tip {
                Some(tip) => self.compare(at, tip, commit).await?,
                None => None,
            };
            match (tip, compared, wait) {
                (_, Some(compared), _) if compared.contains() => return Ok(Ok(Some(true))),
                (None, _, None) => return Ok(Ok(None)),
                (_, Some(_), None) => return Ok(Ok(Some(false))),
                (_, None, None) => return Ok(Err(format!("GitHub does not compare {}", commit.short()))),
                (_, _, Some(wait)) => tokio::time::sleep(*wait).await,
            }
        }
        // The last turn of the loop has no wait, and returns.
        Ok(Ok(Some(false)))
    }

    /// What is to be deployed. What our ledger says of it is left out. `Err`: why it is not known.
    pub(super) async fn deployment(
        &self,
        at: &RepoAt,
        known: &Known,
    ) -> Result<Result<(Deployment, Deploying), String>, Trouble> {
        let Some(sha) = &known.deployed else { return Ok(Err("the event names no commit".to_owned())) };
        let Tip { commit, mut merged } = match self.merge_of(at, sha).await? {
            Ok(tip) => tip,
            Err(why) => return Ok(Err(why)),
        };
        let on_default_branch = match self.on_default_branch(at, Some(sha)).await? {
            Ok(is) => is,
            Err(why) => return Ok(Err(why)),
        };
        let on_named_branch = match known.deployed_from.as_deref().and_then(branch_named) {
            None => None,
            Some(name) if at.repository.default_branch.as_deref() == Some(name) => Some(on_default_branch),
            Some(name) => match self.on_branch(at, name, sha).await? {
                // A tag, or a branch that is gone: nothing shows that it came from there.
                Ok(is) => Some(is == Some(true)),
                Err(why) => return Ok(Err(why)),
            },
        };
        let is_merge = commit.parents.len() == 2;
        let mut moved_by = BTreeMap::new();
        for pull in &mut merged {
            if !is_merge {
                pull.head_reachable = self.compare(at, sha, &pull.head).await?.map(|c| c.contains());
            }
            // What joins two branches can be made by hand and look alike: only the activity says who did.
            let by = if is_merge { self.moved_by(at, &pull.base_ref, sha).await? } else { None };
            moved_by.insert(pull.base_ref.clone(), by);
        }
        let (mut pull_requests, mut changes) = (Vec::new(), Vec::new());
        for pull in &merged {
            let read = match super::pull(self, at, pull.number, &Floor::default()).await {
                Ok(read) => read,
                Err(trouble) => return final_reason(trouble).map(Err),
            };
            if let Some(hole) = read.missing.iter().find(|m| m.fact != "files" && m.fact != "reviews") {
                return Ok(Err(format!("#{}: `{}`: {}", pull.number, hole.fact, hole.reason)));
            }
            pull_requests.push(DeployedPull {
                number: pull.number,
                head: pull.head.clone(),
                base_ref: pull.base_ref.clone(),
                user: read.change.pull_request.user.clone(),
                merged_by: pull.merged_by.clone(),
                authors: authors(&read.change.commits),
                nameless: nameless(&read.change.commits),
                pushers: vec![],
                allowed: false,
            });
            changes.push(read.change);
        }
        let proof = Deploying { tip: landed_commit(&commit), merged, moved_by, changes };
        let (landed, pushers, sha) = (vec![], vec![], sha.clone());
        let deployment =
            Deployment { sha, on_default_branch, on_named_branch, commit, pull_requests, landed, pushers };
        Ok(Ok((deployment, proof)))
    }

    /// A commit, and the pull requests whose merge made it. GitHub may show late which these are.
    async fn merge_of(&self, at: &RepoAt, sha: &Sha) -> Result<Result<Tip, String>, Trouble> {
        let mut waits = REREADS.iter();
        loop {
            let tip = match self.commit_and_pulls(at, sha).await? {
                Ok(Tip { commit, mut merged }) => {
                    merged.retain(|p| p.merge_commit.as_ref() == Some(sha));
                    Tip { commit, merged }
                }
                Err(why) => return Ok(Err(why)),
            };
            match waits.next().filter(|_| tip.merged.is_empty() && tip.commit.committed_via_web) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Ok(Ok(tip)),
            }
        }
    }

    /// Fills `workflows`.
    pub(super) async fn add_workflows(
        &self,
        at: &RepoAt,
        change: &mut Change,
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        if holes.has("files") {
            holes.add("workflows", None, "the changed files are missing");
            return Ok(());
        }
        let Some(head) = change.pull_request.head.sha.clone() else {
            holes.add("workflows", None, "the pull request has no head");
            return Ok(());
        };
        let paths = workflows::changed(&change.files);
        if paths.len() > MAX_WORKFLOWS {
            holes.add("workflows", None, format!("more than {MAX_WORKFLOWS} changed"));
            return Ok(());
        }
        let mut read = Vec::new();
        for path in paths {
            match self.workflow(at, &head, path).await? {
                Ok(workflow) => read.push(workflow),
                Err(why) => {
                    holes.add("workflows", None, why);
                    return Ok(());
                }
            }
        }
        change.workflows = Some(read);
        Ok(())
    }

    /// A file of the head; of a fork too, because forks share their objects with the base repository.
    async fn workflow(
        &self,
        at: &RepoAt,
        head: &Sha,
        path: &str,
    ) -> Result<Result<Workflow, String>, Trouble> {
        let place: Vec<String> = path.split('/').map(segment).collect();
        let asked = at.path(&format!("/contents/{}?ref={head}", place.join("/")));
        let raw = self.get_as(at.installation, &asked, "application/vnd.github.raw+json").await;
        let raw = match raw.and_then(|a| a.expect(&[200])) {
            Ok(raw) => raw,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        Ok(Ok(match std::str::from_utf8(&raw.body) {
            Ok(text) => Workflow::of(path, text),
            Err(_) => Workflow::unreadable(path, "it is not text in UTF-8"),
        }))
    }

    /// Open alerts of the repository. An answer without one that an event has told of is behind, and no
    /// answer. `Err`: why they are not known.
    pub(super) async fn secret_alerts(
        &self,
        at: &RepoAt,
        told: &[u64],
    ) -> Result<Result<Vec<SecretAlert>, String>, Trouble> {
        let path = at.path("/secret-scanning/alerts?state=open&per_page=100&hide_secret=true");
        let mut waits = REREADS.iter();
        loop {
            let who = As::Installation(at.installation);
            let alerts: Vec<SecretAlert> =
                match self.all_of(who, path.clone(), "secret alerts", ALERT_PAGES).await {
                    Ok(alerts) => alerts,
                    Err(trouble) => return final_reason(trouble).map(Err),
                };
            let late = told.iter().find(|n| alerts.iter().all(|a| a.number != **n));
            match (late, waits.next()) {
                (None, _) => return Ok(Ok(alerts)),
                (Some(_), Some(wait)) => tokio::time::sleep(*wait).await,
                (Some(n), None) => return Ok(Err(format!("GitHub's API does not show the alert {n} yet"))),
            }
        }
    }
}

/// The branch that a deployment names, if it may be one. A name alone may be a tag too: what it is shows when
/// it is looked up.
fn branch_named(reference: &str) -> Option<&str> {
    match reference.strip_prefix("refs/heads/") {
        Some(branch) => Some(branch),
        None => (!reference.is_empty() && !reference.starts_with("refs/")).then_some(reference),
    }
}

/// GitHub's web interface stands as committer of what it makes; on Enterprise Server without an account.
fn nameless(commits: &[Commit]) -> Vec<Sha> {
    let is = |c: &&Commit| {
        let by_nobody = c.committer.user.is_none() && !c.committed_via_web;
        by_nobody || c.author.user.is_none() || c.authors.iter().any(|p| p.user.is_none())
    };
    commits.iter().filter(is).map(|c| c.sha.clone()).collect()
}

fn authors(commits: &[Commit]) -> Vec<Account> {
    let named = commits.iter().flat_map(|c| [&c.author, &c.committer].into_iter().chain(&c.authors));
    let mut found: Vec<Account> = Vec::new();
    for account in named.filter_map(|p| p.user.as_ref()) {
        let web_flow = account.login.eq_ignore_ascii_case("web-flow");
        if !web_flow && found.iter().all(|a| a.id != account.id) {
            found.push(account.clone());
        }
    }
    found
}
