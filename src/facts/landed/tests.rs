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
        until: None,
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
        merged_at: Some(at(60)),
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
fn a_verdict_that_had_ended_at_the_merge_does_not_count() {
    for mut landing in [a_merge(), a_squash(), a_rebase()] {
        let until = |second| Judged {
            pulls: vec![JudgedPull { until: Some(at(second)), ..judged_pull() }],
            groups: vec![],
        };
        let landed = prove(&push(BEFORE, 9), &landing, &until(61));
        assert!(is_merge(&landed.kind) && landed.waivers_hold, "{landed:?}");
        assert!(is_allowed(&landing.merged[0], &until(61)));
        assert_eq!(kind(&landing, &until(60)), "bypass", "it ended as it was merged");
        assert!(!is_allowed(&landing.merged[0], &until(60)));
        landing.merged[0].merged_at = None;
        let landed = prove(&push(BEFORE, 9), &landing, &until(61));
        assert_eq!((landed.kind.as_str(), landed.waivers_hold), ("bypass", false));
        assert!(landed.reason.unwrap().contains("GitHub does not say when"));
        // Merge groups: whatever their pull requests were.
        let group = |second| JudgedGroup { until: Some(at(second)), ..group(9, BEFORE, 7) };
        let groups = |second| Judged { pulls: vec![judged_pull()], groups: vec![group(second)] };
        assert_eq!(kind(&landing, &groups(61)), "bypass", "merged nobody knows when");
        landing.merged[0].merged_at = Some(at(60));
        assert_eq!(kind(&landing, &groups(61)), "merge_group");
        assert_eq!(kind(&landing, &groups(60)), "bypass");
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
        until: None,
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
