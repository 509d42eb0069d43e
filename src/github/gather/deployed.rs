//! What stands beside a pull request: the commit to be deployed, changed workflows, leaked secrets.

use serde::Deserialize;

use super::{Floor, Holes, final_reason, landing::Tip, pull::REREADS};
use crate::{
    event::{Account, Sha},
    facts::{Change, Commit, DeployedPull, Deployment, SecretAlert, Workflow, workflows},
    github::{Github, RepoAt, Trouble, call::As, rest::segment},
};

/// Changed workflows that are read of one pull request.
const MAX_WORKFLOWS: usize = 100;
/// Pages of a hundred alerts.
const ALERT_PAGES: usize = 10;

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
        let path = at.path(&format!("/branches/{}", segment(branch)));
        for wait in REREADS.iter().map(Some).chain([None]) {
            let tip = match self.get(at.installation, &path).await.and_then(|a| a.expect(&[200])) {
                Ok(answer) => answer.json::<Branch>()?.commit.sha,
                Err(trouble) => return final_reason(trouble).map(Err),
            };
            match (self.compare(at, &tip, commit).await?, wait) {
                (Some(compared), _) if compared.contains() => return Ok(Ok(true)),
                (Some(_), None) => return Ok(Ok(false)),
                (None, None) => return Ok(Err(format!("GitHub does not compare {}", commit.short()))),
                (_, Some(wait)) => tokio::time::sleep(*wait).await,
            }
        }
        // The last turn of the loop has no wait, and returns.
        Ok(Ok(false))
    }

    /// What is to be deployed. `allowed` is for the ledger to say. `Err`: why it is not known.
    pub(super) async fn deployment(
        &self,
        at: &RepoAt,
        commit: Option<&Sha>,
    ) -> Result<Result<Deployment, String>, Trouble> {
        let Some(sha) = commit else { return Ok(Err("the event names no commit".to_owned())) };
        let Tip { commit, merged } = match self.commit_and_pulls(at, sha).await? {
            Ok(tip) => tip,
            Err(why) => return Ok(Err(why)),
        };
        let on_default_branch = match self.on_default_branch(at, Some(sha)).await? {
            Ok(is) => is,
            Err(why) => return Ok(Err(why)),
        };
        let mut pull_requests = Vec::new();
        for pull in merged.into_iter().filter(|p| p.merge_commit.as_ref() == Some(sha)) {
            let read = match super::pull(self, at, pull.number, &Floor::default()).await {
                Ok(read) => read,
                Err(trouble) => return final_reason(trouble).map(Err),
            };
            if let Some(hole) = read.missing.iter().find(|m| m.fact != "files" && m.fact != "reviews") {
                return Ok(Err(format!("#{}: `{}`: {}", pull.number, hole.fact, hole.reason)));
            }
            pull_requests.push(DeployedPull {
                number: pull.number,
                head: pull.head,
                base_ref: pull.base_ref,
                user: read.change.pull_request.user,
                merged_by: pull.merged_by,
                authors: authors(&read.change.commits),
                allowed: false,
            });
        }
        Ok(Ok(Deployment { sha: sha.clone(), on_default_branch, commit, pull_requests }))
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
