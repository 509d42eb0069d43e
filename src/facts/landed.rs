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
    if let Some(landed) = by_groups(push, before, after, judged) {
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
    Landed { kind: "direct".to_owned(), pull_requests: Vec::new(), reason: Some(why.into()) }
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
fn by_groups(push: &Push, before: &Sha, after: &Sha, judged: &Judged) -> Option<Landed> {
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
    Landed { kind: kind.to_owned(), pull_requests: pulls.into_iter().map(pull).collect(), reason }
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
        return Landed { kind: "bypass".to_owned(), pull_requests, reason: Some(why.clone()) };
    }
    let mut why = String::new();
    for (pull, verdict) in merged.iter().zip(&verdicts) {
        let Ok(verdict) = verdict else { continue };
        match form(before, after, pull, verdict, landing) {
            Ok(kind) => return Landed { kind: kind.to_owned(), pull_requests, reason: None },
            Err(reason) => why = reason,
        }
    }
    Landed { kind: "direct".to_owned(), pull_requests, reason: Some(why) }
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
    Ok(verdict)
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
mod tests {
    use super::*;
    use crate::facts::graph::tests::sha;

    const BEFORE: usize = 100;

    /// What makes a case differ.
    type Change<T> = fn(&mut T);

    fn push(before: usize, after: usize) -> Push {
        Push {
            full_ref: "refs/heads/main".to_owned(),
            ref_kind: RefKind::Branch,
            ref_name: "main".to_owned(),
            before: Some(sha(before)),
            after: Some(sha(after)),
            created: false,
            deleted: false,
            forced: false,
            pusher_kind: "user".to_owned(),
            pusher: None,
            commits: None,
            on_default_branch: None,
            landed: None,
        }
    }

    fn landed_commit(n: usize, parents: &[usize], made_by_github: bool) -> LandedCommit {
        LandedCommit { sha: sha(n), parents: parents.iter().map(|&p| sha(p)).collect(), made_by_github }
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix_micros(seconds * 1_000_000).unwrap()
    }

    /// Pull request 7: commits 1, 2 on the base, head 2, judged at 50 and allowed by entry 40.
    fn judged_pull() -> JudgedPull {
        JudgedPull {
            number: 7,
            head: sha(2),
            base_ref: "main".to_owned(),
            allowed: true,
            verdict: 40,
            at: at(50),
            commits: vec![(sha(1), 1), (sha(2), 1)],
        }
    }

    fn merged(merge_commit: usize, head_reachable: bool) -> MergedPull {
        MergedPull {
            number: 7,
            head: sha(2),
            base_ref: "main".to_owned(),
            merge_commit: Some(sha(merge_commit)),
            merged_by: None,
            retargeted_at: None,
            head_reachable: Some(head_reachable),
        }
    }

    fn judged() -> Judged {
        Judged { pulls: vec![judged_pull()], groups: vec![] }
    }

    fn a_merge() -> Landing {
        Landing {
            commits: vec![
                landed_commit(1, &[99], false),
                landed_commit(2, &[1], false),
                landed_commit(9, &[BEFORE, 2], true),
            ],
            merged: vec![merged(9, true)],
            activity: None,
        }
    }

    fn a_squash() -> Landing {
        Landing {
            commits: vec![landed_commit(9, &[BEFORE], true)],
            merged: vec![merged(9, false)],
            activity: None,
        }
    }

    fn a_rebase() -> Landing {
        Landing {
            commits: vec![landed_commit(8, &[BEFORE], true), landed_commit(9, &[8], true)],
            merged: vec![merged(9, false)],
            activity: None,
        }
    }

    fn kind(landing: &Landing, judged: &Judged) -> String {
        prove(&push(BEFORE, 9), landing, judged).kind
    }

    #[test]
    fn the_three_forms() {
        assert_eq!(kind(&a_merge(), &judged()), "merge");
        assert_eq!(kind(&a_squash(), &judged()), "squash");
        assert_eq!(kind(&a_rebase(), &judged()), "rebase");
        let landed = prove(&push(BEFORE, 9), &a_merge(), &judged());
        assert_eq!(landed.pull_requests.len(), 1);
        assert_eq!((landed.pull_requests[0].allowed, landed.pull_requests[0].verdict), (true, Some(40)));
    }

    #[test]
    fn github_merging_what_was_not_allowed_is_a_bypass() {
        let cases: &[(&str, Change<Judged>)] = &[
            ("denied", |j| j.pulls[0].allowed = false),
            ("never judged", |j| j.pulls.clear()),
            ("another head", |j| j.pulls[0].head = sha(1)),
            ("another pull request", |j| j.pulls[0].number = 8),
            ("another base", |j| j.pulls[0].base_ref = "dev".to_owned()),
            ("denied later", |j| j.pulls.push(JudgedPull { verdict: 41, allowed: false, ..judged_pull() })),
        ];
        for landing in [a_merge(), a_squash(), a_rebase()] {
            for (what, change) in cases {
                let mut judged = judged();
                change(&mut judged);
                assert_eq!(kind(&landing, &judged), "bypass", "{what}");
            }
        }
    }

    #[test]
    fn a_verdict_from_before_the_retarget_does_not_count() {
        for mut landing in [a_merge(), a_squash(), a_rebase()] {
            landing.merged[0].retargeted_at = Some(at(50));
            assert_ne!(kind(&landing, &judged()), "bypass", "the verdict saw it");
            landing.merged[0].retargeted_at = Some(at(51));
            assert_eq!(kind(&landing, &judged()), "bypass");
        }
    }

    #[test]
    fn nothing_merged_is_direct() {
        let mut other_commit = a_squash();
        other_commit.merged[0].merge_commit = Some(sha(5));
        let mut other_branch = a_squash();
        other_branch.merged[0].base_ref = "dev".to_owned();
        let mut nothing = a_squash();
        nothing.merged.clear();
        for landing in [other_commit, other_branch, nothing] {
            assert_eq!(kind(&landing, &judged()), "direct");
        }
    }

    #[test]
    fn merges_that_are_not_githubs() {
        let cases: &[(&str, Change<Landing>)] = &[
            ("made by hand", |l| l.commits[2].made_by_github = false),
            ("parents swapped", |l| l.commits[2].parents.reverse()),
            ("of an older branch", |l| l.commits[2].parents[0] = sha(98)),
            ("of another head", |l| l.commits[2].parents[1] = sha(1)),
            ("an octopus", |l| l.commits[2].parents.push(sha(3))),
            ("something came along", |l| l.commits.push(landed_commit(5, &[2], false))),
            ("the commit itself is not listed", |l| l.commits.truncate(2)),
            ("the activity says push", |l| l.activity = Some("push".to_owned())),
        ];
        for (what, change) in cases {
            let mut landing = a_merge();
            change(&mut landing);
            assert_eq!(kind(&landing, &judged()), "direct", "{what}");
        }
    }

    #[test]
    fn where_github_does_not_sign_its_activity_decides() {
        let mut landing = a_merge();
        landing.commits[2].made_by_github = false;
        for activity in ["pr_merge", "merge_queue_merge"] {
            landing.activity = Some(activity.to_owned());
            assert_eq!(kind(&landing, &judged()), "merge");
        }
    }

    #[test]
    fn a_stacked_pull_request_lands_with_fewer_commits() {
        let mut landing = a_merge();
        landing.commits.remove(0);
        assert_eq!(kind(&landing, &judged()), "merge");
    }

    #[test]
    fn squashes_and_rebases_that_are_none() {
        let cases: &[(&str, Landing, Change<Landing>)] = &[
            ("the head is in the branch", a_squash(), |l| l.merged[0].head_reachable = Some(true)),
            ("nobody knows whether it is", a_squash(), |l| l.merged[0].head_reachable = None),
            ("not on the branch", a_squash(), |l| l.commits[0].parents = vec![sha(98)]),
            ("no parent", a_squash(), |l| l.commits[0].parents.clear()),
            ("the activity says push", a_squash(), |l| l.activity = Some("push".to_owned())),
            ("longer than what was judged", a_rebase(), |l| {
                l.commits = vec![
                    landed_commit(7, &[BEFORE], true),
                    landed_commit(8, &[7], true),
                    landed_commit(9, &[8], true),
                ];
            }),
            ("not on the branch", a_rebase(), |l| l.commits[0].parents = vec![sha(98)]),
            ("a merge in the line", a_rebase(), |l| l.commits[0].parents.push(sha(98))),
            ("one beside the line", a_rebase(), |l| l.commits.push(landed_commit(5, &[BEFORE], true))),
            ("a circle", a_rebase(), |l| l.commits[0].parents = vec![sha(9)]),
            ("the head is in the branch", a_rebase(), |l| l.merged[0].head_reachable = Some(true)),
        ];
        for (what, landing, change) in cases {
            let mut landing = landing.clone();
            change(&mut landing);
            assert_eq!(kind(&landing, &judged()), "direct", "{what}");
        }
    }

    #[test]
    fn merges_of_the_pull_request_do_not_count_for_a_rebase() {
        let mut judged = judged();
        judged.pulls[0].commits = vec![(sha(1), 1), (sha(2), 2)];
        assert_eq!(kind(&a_rebase(), &judged), "direct");
    }

    #[test]
    fn what_is_no_move_of_a_branch_is_direct() {
        let cases: &[fn(&mut Push)] = &[
            |p| p.forced = true,
            |p| (p.created, p.before) = (true, None),
            |p| (p.deleted, p.after) = (true, None),
            |p| p.ref_kind = RefKind::Tag,
            |p| p.before = None,
        ];
        for change in cases {
            let mut push = push(BEFORE, 9);
            change(&mut push);
            assert_eq!(prove(&push, &a_squash(), &judged()).kind, "direct");
        }
    }

    #[test]
    fn pull_requests_with_one_head_must_all_be_allowed() {
        let mut landing = a_merge();
        landing.merged.push(MergedPull { number: 8, ..merged(9, true) });
        assert_eq!(kind(&landing, &judged()), "bypass");
        let mut both = judged();
        both.pulls.push(JudgedPull { number: 8, ..judged_pull() });
        assert_eq!(kind(&landing, &both), "merge");
        assert_eq!(prove(&push(BEFORE, 9), &landing, &both).pull_requests.len(), 2);
    }

    fn group(head: usize, base: usize, pull: u64) -> JudgedGroup {
        JudgedGroup {
            head: sha(head),
            base: Some(sha(base)),
            base_ref: "main".to_owned(),
            allowed: true,
            verdict: pull * 10,
            pulls: vec![(pull, sha(usize::try_from(pull).unwrap()))],
        }
    }

    #[test]
    fn a_chain_of_merge_groups() {
        let judged = Judged { pulls: vec![], groups: vec![group(8, BEFORE, 3), group(9, 8, 4)] };
        let landed = prove(&push(BEFORE, 9), &Landing::default(), &judged);
        assert_eq!(landed.kind, "merge_group");
        let numbers: Vec<u64> = landed.pull_requests.iter().map(|p| p.number).collect();
        assert_eq!(numbers, [3, 4]);
        // Only the second landed: the first was there before.
        assert_eq!(prove(&push(8, 9), &Landing::default(), &judged).pull_requests.len(), 1);
    }

    #[test]
    fn a_group_that_was_not_allowed_is_a_bypass_whatever_its_pull_request_was() {
        let mut judged = judged();
        judged.groups = vec![JudgedGroup { allowed: false, ..group(9, BEFORE, 7) }];
        assert_eq!(kind(&a_squash(), &judged), "bypass");
        let chain = vec![JudgedGroup { allowed: false, ..group(8, BEFORE, 3) }, group(9, 8, 4)];
        assert_eq!(kind(&Landing::default(), &Judged { pulls: vec![], groups: chain }), "bypass");
    }

    #[test]
    fn chains_that_do_not_reach_the_branch() {
        let mut elsewhere = group(9, BEFORE, 4);
        elsewhere.base_ref = "dev".to_owned();
        let cases = [
            vec![group(9, 55, 4)],
            vec![group(9, 8, 4), group(8, 9, 3)],
            vec![JudgedGroup { base: None, ..group(9, BEFORE, 4) }],
            vec![elsewhere],
        ];
        for groups in cases {
            assert_eq!(kind(&Landing::default(), &Judged { pulls: vec![], groups }), "direct");
        }
    }
}
