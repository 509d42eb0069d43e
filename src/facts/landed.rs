//! What a push to a branch is: the merge, by GitHub itself, of pull requests that our ledger allowed,
//! or not.
//!
//! Everything that cannot be shown to be such a merge is a direct push: the default is the strict one.
//! Where GitHub merged a pull request that was not allowed, it is a bypass.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Landed, LandedPull, Push};
use crate::{
    event::{Account, RefKind, Sha},
    time::Time,
};

/// What GitHub says about a push, gathered for [`prove`].
#[derive(Clone, Debug, Default)]
pub struct Landing {
    /// The commits the push brought (those between `before` and `after`).
    pub commits: Vec<LandedCommit>,
    /// Merged pull requests that GitHub associates with `after`.
    pub merged: Vec<MergedPull>,
    /// What GitHub's activity says moved the branch to `after` (`push`, `pr_merge`,
    /// `merge_queue_merge` …); `None`: not known.
    pub activity: Option<String>,
}

#[derive(Clone, Debug)]
pub struct LandedCommit {
    pub sha: Sha,
    pub parents: Vec<Sha>,
    /// Made by GitHub's web interface or API, and validly signed by GitHub.
    pub made_by_github: bool,
}

/// A merged pull request, as GitHub shows it.
#[derive(Clone, Debug)]
pub struct MergedPull {
    pub number: u64,
    pub head: Sha,
    pub base_ref: String,
    pub merge_commit: Option<Sha>,
    pub merged_by: Option<Account>,
    pub merged_at: Option<Time>,
    /// The newest change of the base.
    pub retargeted_at: Option<Time>,
    /// Whether `head` can be reached from `after`; `None`: not known.
    pub head_reachable: Option<bool>,
}

/// What our ledger says: the verdicts that stood when the push happened.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    pub pulls: Vec<JudgedPull>,
    pub groups: Vec<JudgedGroup>,
}

/// The last verdict on a pull request at one head before it was merged.
#[derive(Clone, Debug)]
pub struct JudgedPull {
    pub number: u64,
    pub head: Sha,
    /// The base branch it was judged for.
    pub base_ref: String,
    pub allowed: bool,
    /// When the verdict ended; `None`: it stands until something happens.
    pub until: Option<Time>,
    /// Entry of the verdict.
    pub verdict: u64,
    /// When its facts were frozen.
    pub at: Time,
    /// Its commits, each with the number of its parents.
    pub commits: Vec<(Sha, usize)>,
}

/// The last verdict on a merge group.
#[derive(Clone, Debug)]
pub struct JudgedGroup {
    pub head: Sha,
    pub base: Option<Sha>,
    pub base_ref: String,
    pub allowed: bool,
    /// As [`JudgedPull::until`].
    pub until: Option<Time>,
    pub verdict: u64,
    /// Number and head of the pull requests it carries.
    pub pulls: Vec<(u64, Sha)>,
}

/// Whether the push is exactly the merge of pull requests that were allowed.
#[must_use]
pub fn prove(push: &Push, landing: &Landing, judged: &Judged) -> Landed {
    let (before, after) = match moved(push) {
        Ok(ends) => ends,
        Err(why) => return direct(why),
    };
    if let Some(landed) = by_groups(push, before, after, landing, judged) {
        return landed;
    }
    let merged: Vec<&MergedPull> = landing
        .merged
        .iter()
        .filter(|p| p.merge_commit.as_ref() == Some(after) && p.base_ref == push.ref_name)
        .collect();
    if merged.is_empty() {
        return direct("no pull request into this branch was merged with this commit");
    }
    by_pulls(before, after, &merged, landing, judged)
}

/// Our ledger allowed this head for this base, not before its last change of base.
#[must_use]
pub fn is_allowed(pull: &MergedPull, judged: &Judged) -> bool {
    allowed(pull, judged).is_ok()
}

/// GitHub merged what was allowed.
#[must_use]
pub fn is_merge(kind: &str) -> bool {
    matches!(kind, "merge_group" | "merge" | "squash" | "rebase")
}

fn direct(why: impl Into<String>) -> Landed {
    Landed {
        kind: "direct".to_owned(),
        pull_requests: Vec::new(),
        reason: Some(why.into()),
        waivers_hold: false,
    }
}

/// Only a branch that went on from one commit to another can be a merge. `Err`: why it is none.
pub fn moved(push: &Push) -> Result<(&Sha, &Sha), &'static str> {
    if push.ref_kind != RefKind::Branch {
        return Err("a tag is not merged into");
    }
    if push.forced {
        return Err("a force push is not a merge");
    }
    match (&push.before, &push.after) {
        (Some(before), Some(after)) if !push.created && !push.deleted => Ok((before, after)),
        _ => Err("the branch was created or deleted"),
    }
}

/// A merge queue: groups stand one on the other, and their last head becomes the branch.
fn by_groups(push: &Push, before: &Sha, after: &Sha, landing: &Landing, judged: &Judged) -> Option<Landed> {
    // What lands with one push lands at one time.
    let merged = landing.merged.iter().filter(|p| p.merge_commit.as_ref() == Some(after));
    let merged_at = merged.filter_map(|p| p.merged_at).max();
    let here = judged.groups.iter().filter(|g| g.base_ref == push.ref_name);
    let groups: HashMap<&Sha, &JudgedGroup> = here.map(|g| (&g.head, g)).collect();
    let mut at = after;
    let mut pulls = BTreeMap::new();
    // Each group is left once: a chain that bites its tail ends.
    for _ in 0..groups.len() {
        let group = *groups.get(at)?;
        pulls
            .extend(group.pulls.iter().map(|(n, head)| ((*n, head.clone()), (group.allowed, group.verdict))));
        if !group.allowed {
            let reason = format!("the merge group at {} was not allowed", group.head.short());
            return Some(landed("bypass", pulls, Some(reason)));
        }
        if let Some(ended) = ended(group.until, merged_at) {
            let reason = format!("the verdict on the merge group at {} {ended}", group.head.short());
            return Some(landed("bypass", pulls, Some(reason)));
        }
        at = group.base.as_ref()?;
        if at == before {
            return Some(landed("merge_group", pulls, None));
        }
    }
    None
}

type Pulls = BTreeMap<(u64, Sha), (bool, u64)>;

fn landed(kind: &str, pulls: Pulls, reason: Option<String>) -> Landed {
    let pull =
        |((number, head), (allowed, verdict))| LandedPull { number, head, allowed, verdict: Some(verdict) };
    let waivers_hold = reason.is_none() && !pulls.is_empty();
    Landed {
        kind: kind.to_owned(),
        pull_requests: pulls.into_iter().map(pull).collect(),
        reason,
        waivers_hold,
    }
}

fn by_pulls(before: &Sha, after: &Sha, merged: &[&MergedPull], landing: &Landing, judged: &Judged) -> Landed {
    let verdicts: Vec<Result<&JudgedPull, (Option<u64>, String)>> =
        merged.iter().map(|p| allowed(p, judged)).collect();
    let pull_requests: Vec<LandedPull> = merged
        .iter()
        .zip(&verdicts)
        .map(|(p, v)| LandedPull {
            number: p.number,
            head: p.head.clone(),
            allowed: v.is_ok(),
            verdict: v.as_ref().map_or_else(|(seq, _)| *seq, |j| Some(j.verdict)),
        })
        .collect();
    // Pull requests with the same head are merged together: none of them may be one not allowed.
    if let Some(Err((_, why))) = verdicts.iter().find(|v| v.is_err()) {
        let (kind, reason) = ("bypass".to_owned(), Some(why.clone()));
        return Landed { kind, pull_requests, reason, waivers_hold: false };
    }
    let mut why = String::new();
    for (pull, verdict) in merged.iter().zip(&verdicts) {
        let Ok(verdict) = verdict else { continue };
        match form(before, after, pull, verdict, landing) {
            Ok(kind) => {
                let kind = kind.to_owned();
                return Landed { kind, pull_requests, reason: None, waivers_hold: true };
            }
            Err(reason) => why = reason,
        }
    }
    Landed { kind: "direct".to_owned(), pull_requests, reason: Some(why), waivers_hold: false }
}

/// The verdict that allowed this head for this base, not older than its last change of base.
fn allowed<'a>(pull: &MergedPull, judged: &'a Judged) -> Result<&'a JudgedPull, (Option<u64>, String)> {
    let at_head = judged.pulls.iter().filter(|j| j.number == pull.number && j.head == pull.head);
    let Some(verdict) = at_head.max_by_key(|j| j.verdict) else {
        let why = format!("#{} was never judged at {}", pull.number, pull.head.short());
        return Err((None, why));
    };
    let no = |why: String| Err((Some(verdict.verdict), why));
    if !verdict.allowed {
        return no(format!("#{} was not allowed at {}", pull.number, pull.head.short()));
    }
    if verdict.base_ref != pull.base_ref {
        return no(format!("#{} was judged for the branch `{}`", pull.number, verdict.base_ref));
    }
    if pull.retargeted_at.is_some_and(|at| verdict.at < at) {
        return no(format!("#{} was judged before its base was changed", pull.number));
    }
    if let Some(ended) = ended(verdict.until, pull.merged_at) {
        return no(format!("the verdict on #{} {ended}", pull.number));
    }
    Ok(verdict)
}

/// Why a verdict that ends stood no more at the merge: what nobody looked at again after its end was not allowed.
fn ended(until: Option<Time>, merged_at: Option<Time>) -> Option<String> {
    let until = until?;
    match merged_at {
        Some(at) if at < until => None,
        Some(at) => Some(format!("ended at {}, and it was merged at {}", until.minute(), at.minute())),
        None => Some(format!("ended at {}, and GitHub does not say when it was merged", until.minute())),
    }
}

/// How GitHub merged it, if it was GitHub and nothing else came along.
fn form(
    before: &Sha,
    after: &Sha,
    pull: &MergedPull,
    verdict: &JudgedPull,
    landing: &Landing,
) -> Result<&'static str, String> {
    let moved_by = landing.activity.as_deref();
    let by_merge = match moved_by {
        Some("pr_merge" | "merge_queue_merge") => true,
        Some(other) => return Err(format!("GitHub's activity calls it `{other}`, not a merge")),
        None => false,
    };
    let new: HashMap<&Sha, &LandedCommit> = landing.commits.iter().map(|c| (&c.sha, c)).collect();
    let tip = *new.get(after).ok_or("the push does not list its own last commit")?;
    if tip.parents.len() == 2 {
        return merge(before, pull, verdict, tip, &new, by_merge);
    }
    // A squash or rebase leaves no trace of the head in the branch. That the pull request counts as
    // merged all the same is GitHub's doing: pushed commits alone would have to contain the head.
    match pull.head_reachable {
        Some(false) => {}
        Some(true) => return Err(format!("the commits of #{} were pushed as they are", pull.number)),
        None => return Err(format!("cannot tell whether the branch contains the head of #{}", pull.number)),
    }
    if tip.parents == [before.clone()] && new.len() == 1 {
        return Ok("squash");
    }
    rebase(before, after, pull, verdict, &new)
}

fn merge(
    before: &Sha,
    pull: &MergedPull,
    verdict: &JudgedPull,
    tip: &LandedCommit,
    new: &HashMap<&Sha, &LandedCommit>,
    by_merge: bool,
) -> Result<&'static str, String> {
    if tip.parents != [before.clone(), pull.head.clone()] {
        return Err(format!("the merge commit does not join the branch with the head of #{}", pull.number));
    }
    if !tip.made_by_github && !by_merge {
        return Err("the merge commit was not made by GitHub".to_owned());
    }
    // Fewer than were judged is well: the others came into the branch with another pull request. All
    // that is new hangs on `head`, which was judged whole.
    let judged: HashSet<&Sha> = verdict.commits.iter().map(|(sha, _)| sha).collect();
    match new.keys().find(|sha| **sha != &tip.sha && !judged.contains(**sha)) {
        None => Ok("merge"),
        Some(other) => Err(format!("{} is not one of the commits judged in #{}", other.short(), pull.number)),
    }
}

fn rebase(
    before: &Sha,
    after: &Sha,
    pull: &MergedPull,
    verdict: &JudgedPull,
    new: &HashMap<&Sha, &LandedCommit>,
) -> Result<&'static str, String> {
    let not_a_line = || "the push is not one line of commits on the branch".to_owned();
    let mut at = after;
    let mut length = 0;
    while at != before {
        let commit = new.get(at).ok_or_else(not_a_line)?;
        let [parent] = commit.parents.as_slice() else { return Err(not_a_line()) };
        length += 1;
        if length > new.len() {
            return Err(not_a_line());
        }
        at = parent;
    }
    if length != new.len() {
        return Err(not_a_line());
    }
    // Rebasing leaves merges out and may drop what has become empty; it never adds.
    let judged = verdict.commits.iter().filter(|(_, parents)| *parents < 2).count();
    if length <= judged {
        Ok("rebase")
    } else {
        Err(format!("{length} commits landed, {judged} were judged in #{}", pull.number))
    }
}

#[cfg(test)]
mod tests;
