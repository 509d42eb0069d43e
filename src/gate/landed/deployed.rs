//! Whether a commit that is to be deployed was allowed, and who brought it.
//!
//! A pull request that counts as merged proves little: it does also when somebody pushes its commits by hand,
//! or a merge of his own making. So the verdict on the push counts; where it was not judged (yet, or because
//! nothing reads that branch), what GitHub's record of the merge proves.

use std::collections::BTreeMap;

use super::{super::Gate, Found, Judged};
use crate::{
    event::{Account, RefKind, Repository, Sha, SubjectKind},
    facts::{
        Change, DeployedLanding, Deployment, Push,
        landed::{self, Landing, MergedPull},
        pushes::chain,
    },
    github::gather::Deploying,
    verdict::Decision,
};

impl Gate {
    /// Fills in what only the ledger knows. `from`: the branch or tag that the deployment names.
    pub(in crate::gate) fn add_what_was_allowed(
        &self,
        repository: &Repository,
        deployment: &mut Deployment,
        proof: &Deploying,
        from: Option<&str>,
    ) {
        let (mut judged, whole) = self.landed_before(repository.id, &deployment.sha);
        let of_each: Vec<Judged> = proof.merged.iter().map(|m| self.judged_with(repository.id, m)).collect();
        for (branch, moved_by) in &proof.moved_by {
            if !judged.contains_key(branch) {
                let landing = match whole {
                    true => self.landing_shown(repository.id, branch, moved_by.as_deref(), proof),
                    false => {
                        unknown(branch, "what a push of it was judged on cannot be read any more".into())
                    }
                };
                judged.insert(branch.clone(), landing);
            }
        }
        deployment.landed = judged.into_values().collect();
        let pulls = deployment.pull_requests.iter_mut().zip(&proof.merged).zip(&of_each).zip(&proof.changes);
        for (((pull, merged), judged), change) in pulls {
            pull.allowed = landed::is_allowed(merged, judged);
            pull.pushers = self.pushers_of(change);
        }
        if !deployment.landed.iter().any(|l| l.allowed) {
            let named = from.map(|f| f.strip_prefix("refs/heads/").unwrap_or(f));
            let branches = repository.default_branch.as_deref().into_iter().chain(named);
            let pushes = branches.flat_map(|b| self.pushes_to(repository.id, b, &deployment.sha));
            let ended_here = pushes.filter(|p| p.after == deployment.sha).map(|p| p.user);
            deployment.pushers = or_somebody(ended_here);
        }
    }

    fn judged_with(&self, repository: u64, merged: &MergedPull) -> Judged {
        Judged { pulls: self.judged_pull(repository, merged).into_iter().collect(), groups: vec![] }
    }

    /// By branch, what our verdicts on pushes of this commit say: of each push the newest, for one that was judged
    /// again is what it was judged last. Where it was pushed to a branch more than once: that it was allowed, or
    /// else the newest. And whether all of them could be read.
    fn landed_before(&self, repository: u64, sha: &Sha) -> (BTreeMap<String, DeployedLanding>, bool) {
        // By the first event of each push.
        let mut pushes: BTreeMap<u64, DeployedLanding> = BTreeMap::new();
        let mut whole = true;
        for seq in self.0.ledger.with_head(sha) {
            let (decision, facts) = match self.verdict_on(seq, SubjectKind::Ref, sha) {
                Found::Nothing => continue,
                Found::Unreadable => {
                    whole = false;
                    pushes.remove(&self.push_of(seq));
                    continue;
                }
                Found::Verdict { decision, facts, .. } => (decision, facts),
            };
            let push = &facts["push"];
            let here = facts["repository"]["id"].as_u64() == Some(repository)
                && push["ref_kind"] == "branch"
                && push["after"].as_str() == Some(sha.as_str());
            let (true, Some(branch), Some(kind)) =
                (here, push["ref_name"].as_str(), push["landed"]["kind"].as_str())
            else {
                continue;
            };
            let landing = judged_landing(branch, kind, push["landed"]["reason"].as_str(), decision, seq);
            pushes.insert(self.push_of(seq), landing);
        }
        let mut found: BTreeMap<String, DeployedLanding> = BTreeMap::new();
        for landing in pushes.into_values() {
            if landing.allowed || !found.get(&landing.branch).is_some_and(|l| l.allowed) {
                found.insert(landing.branch.clone(), landing);
            }
        }
        (found, whole)
    }

    /// The event that a verdict was first about.
    fn push_of(&self, verdict: u64) -> u64 {
        let event = || self.0.ledger.entry(verdict).ok()??.entry.refs.first().copied();
        event().and_then(|event| self.first_event(event)).unwrap_or(verdict)
    }

    /// What GitHub's record of the merge proves.
    fn landing_shown(
        &self,
        repository: u64,
        branch: &str,
        moved_by: Option<&str>,
        proof: &Deploying,
    ) -> DeployedLanding {
        let tip = &proof.tip;
        if tip.parents.len() == 2 && moved_by.is_none() {
            let why = format!("the push to `{branch}` is not judged, and GitHub's activity does not show it");
            return unknown(branch, why);
        }
        let push = merge_push(branch, tip.parents.first(), &tip.sha);
        let shown = Landing {
            commits: vec![tip.clone()],
            merged: proof.merged.iter().filter(|m| m.base_ref == branch).cloned().collect(),
            activity: moved_by.map(str::to_owned),
        };
        let proved = landed::prove(&push, &shown, &self.judged_before(repository, &push, &shown));
        let allowed = landed::is_merge(&proved.kind);
        let (branch, kind, reason) = (branch.to_owned(), proved.kind, proved.reason);
        DeployedLanding { branch, kind, allowed, verdict: None, reason }
    }

    /// Who pushed the commits of a pull request, as our ledger knows.
    fn pushers_of(&self, change: &Change) -> Vec<Option<Account>> {
        let head = &change.pull_request.head;
        let (Some(sha), Some(repo)) = (&head.sha, &head.repo) else { return vec![None] };
        let known = self.pushes_to(repo.id, &head.name, sha);
        let pushes = chain(sha, &change.commits, &known, &[]).pushes;
        or_somebody(pushes.into_iter().filter(|p| !p.commits.is_empty()).map(|p| p.user))
    }
}

fn unknown(branch: &str, why: String) -> DeployedLanding {
    let (branch, kind) = (branch.to_owned(), "unknown".to_owned());
    DeployedLanding { branch, kind, allowed: false, verdict: None, reason: Some(why) }
}

fn judged_landing(
    branch: &str,
    kind: &str,
    reason: Option<&str>,
    decision: Decision,
    verdict: u64,
) -> DeployedLanding {
    let is_merge = landed::is_merge(kind);
    let (kind, reason) = match decision {
        Decision::Allow | Decision::Deny if !is_merge => (kind, reason.map(str::to_owned)),
        Decision::Allow => (kind, None),
        Decision::Deny => (kind, Some(format!("the push to `{branch}` was denied"))),
        _ => ("unknown", Some(format!("the push to `{branch}` is not decided"))),
    };
    let allowed = is_merge && decision == Decision::Allow;
    DeployedLanding {
        branch: branch.to_owned(),
        kind: kind.to_owned(),
        allowed,
        verdict: Some(verdict),
        reason,
    }
}

/// The move of a branch that a merge is.
fn merge_push(branch: &str, before: Option<&Sha>, after: &Sha) -> Push {
    Push {
        full_ref: format!("refs/heads/{branch}"),
        ref_kind: RefKind::Branch,
        ref_name: branch.to_owned(),
        before: before.cloned(),
        after: Some(after.clone()),
        created: false,
        deleted: false,
        forced: false,
        pusher_kind: "unknown".to_owned(),
        pusher: None,
        commits: None,
        on_default_branch: None,
        landed: None,
    }
}

/// Each once; where nobody is known it was somebody.
fn or_somebody(who: impl Iterator<Item = Option<Account>>) -> Vec<Option<Account>> {
    let mut found: Vec<Option<Account>> = Vec::new();
    for one in who {
        if found.iter().all(|f| f.as_ref().map(|a| a.id) != one.as_ref().map(|a| a.id)) {
            found.push(one);
        }
    }
    if found.is_empty() {
        found.push(None);
    }
    found
}
