//! Who pushed the head: the pushes to its branch, followed back from the head.

use std::collections::{BTreeSet, HashSet};

use super::{Commit, PushedBy, graph::Graph};
use crate::event::{Account, Sha};

/// One push to a branch, as our ledger recorded it or GitHub's activity lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPush {
    /// The repository of the branch: that of the head.
    pub repository: u64,
    /// `None`: the push created the branch.
    pub before: Option<Sha>,
    pub after: Sha,
    /// `None`: not known, or a deploy key.
    pub user: Option<Account>,
    pub forced: bool,
}

/// The pushes that made the head, newest first. Both lists are ordered oldest first; the ledger's
/// word goes before the activity's, because a person it does not know (a deploy key) the activity
/// may name by the key's owner.
///
/// The chain is followed by commit ids, not by time of arrival: recovered deliveries come late. It
/// goes on through heads that a force push threw away: who pushed one of them may have brought what is
/// in the pull request still. Where it breaks before all is brought, one push without `user` stands
/// for all that came earlier.
#[must_use]
pub fn chain(head: &Sha, commits: &[Commit], ledger: &[KnownPush], activity: &[KnownPush]) -> Chain {
    let graph = Graph::new(commits);
    let (edges, visited) = (edges(ledger, activity), HashSet::new());
    let mut walk = Walk { edges, pushes: Vec::new(), visited, graph, whole: true };
    let mut at = Some(head.clone());
    while let Some(sha) = at {
        at = walk.step(&sha);
    }
    Chain { pushes: walk.pushes, whole: walk.whole }
}

/// The pushes that are known, and whether these are all.
#[derive(Debug)]
pub struct Chain {
    /// Newest first.
    pub pushes: Vec<PushedBy>,
    /// They go back to where the branch was made. `false`: earlier ones may be known elsewhere.
    pub whole: bool,
}

/// Ids of everyone who pushed a commit of a change, clean updates from the base left out. `None`: of one of them
/// nobody knows who pushed it.
#[must_use]
pub fn pushers(commits: &[Commit], pushes: &[PushedBy]) -> Option<BTreeSet<u64>> {
    let mut unknown: HashSet<&Sha> = commits.iter().filter(|c| !c.update_merge).map(|c| &c.sha).collect();
    let mut people = BTreeSet::new();
    for push in of_work(commits, pushes) {
        people.insert(push.user.as_ref()?.id);
        unknown.retain(|sha| !push.commits.contains(sha));
    }
    // Nothing at all is nothing that is known.
    (unknown.is_empty() && !pushes.is_empty()).then_some(people)
}

/// The pushes that brought more than clean updates from the base.
pub fn of_work<'a>(
    commits: &'a [Commit],
    pushes: &'a [PushedBy],
) -> impl Iterator<Item = &'a PushedBy> + use<'a> {
    let work: HashSet<&Sha> = commits.iter().filter(|c| !c.update_merge).map(|c| &c.sha).collect();
    pushes.iter().filter(move |p| p.commits.iter().any(|sha| work.contains(sha)))
}

struct Edge<'a> {
    push: &'a KnownPush,
    source: &'static str,
    used: bool,
}

fn edges<'a>(ledger: &'a [KnownPush], activity: &'a [KnownPush]) -> Vec<Edge<'a>> {
    // Newest first, the ledger's before all of the activity's.
    let edge = |source| move |push| Edge { push, source, used: false };
    let ledger = ledger.iter().rev().map(edge("ledger"));
    ledger.chain(activity.iter().rev().map(edge("activity"))).collect()
}

struct Walk<'a> {
    edges: Vec<Edge<'a>>,
    pushes: Vec<PushedBy>,
    visited: HashSet<Sha>,
    graph: Graph<'a>,
    whole: bool,
}

impl Walk<'_> {
    /// Adds the push that led to `sha` and says where it came from.
    fn step(&mut self, sha: &Sha) -> Option<Sha> {
        self.visited.insert(sha.clone());
        let Some(i) = self.edges.iter().position(|e| !e.used && e.push.after == *sha) else {
            return self.dead_end(sha);
        };
        self.take(i)
    }

    fn take(&mut self, i: usize) -> Option<Sha> {
        let (push, source) = (self.edges[i].push, self.edges[i].source);
        let mut user = push.user.as_ref();
        // `push`, `synchronize` and the activity tell of the same push. A branch moved to and fro may
        // also have gone this way twice: what another person did stays to be taken.
        for e in self.edges.iter_mut().filter(|e| e.push.after == push.after && e.push.before == push.before)
        {
            let other = e.push.user.as_ref();
            if source == "ledger" && e.source == "ledger" && other.is_none() {
                user = None;
            }
            let same_person = other.is_none() || user.is_none() || other.map(|u| u.id) == user.map(|u| u.id);
            e.used |= same_person || source != e.source;
        }
        // What a vanished head brought cannot be told any more, only where it came from.
        if self.graph.contains(&push.after) {
            self.pushes.push(PushedBy {
                before: push.before.clone(),
                after: push.after.clone(),
                user: user.cloned(),
                forced: push.forced,
                commits: self.graph.brought(push.before.as_ref(), &push.after),
                source: source.to_owned(),
            });
        }
        match &push.before {
            Some(before) => Some(before.clone()),
            None => self.strand(),
        }
    }

    /// No push is known that led here. A branch moved to and fro may have left one aside.
    fn dead_end(&mut self, sha: &Sha) -> Option<Sha> {
        if let Some(left) = self.strand() {
            return Some(left);
        }
        self.whole = false;
        let brought: HashSet<&Sha> = self.pushes.iter().flat_map(|p| &p.commits).collect();
        let before = self.graph.brought(None, sha);
        if before.iter().any(|c| !brought.contains(c)) {
            self.pushes.push(PushedBy {
                before: None,
                after: sha.clone(),
                user: None,
                forced: false,
                commits: before,
                source: "unknown".to_owned(),
            });
        }
        None
    }

    /// A commit we came by that another push, not yet taken, led to as well.
    fn strand(&self) -> Option<Sha> {
        let left = self.edges.iter().find(|e| !e.used && self.visited.contains(&e.push.after));
        left.map(|e| e.push.after.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::graph::tests::{commit, sha};

    fn who(id: u64) -> Account {
        Account { id, login: format!("u{id}"), kind: "User".to_owned() }
    }

    fn push(before: usize, after: usize, user: u64) -> KnownPush {
        KnownPush {
            repository: 1,
            before: (before != 0).then(|| sha(before)),
            after: sha(after),
            user: Some(who(user)),
            forced: false,
        }
    }

    fn chain(head: &Sha, commits: &[Commit], ledger: &[KnownPush], activity: &[KnownPush]) -> Vec<PushedBy> {
        super::chain(head, commits, ledger, activity).pushes
    }

    /// Somebody unknown pushed some of it.
    fn has_gap(chain: &[PushedBy]) -> bool {
        chain.last().is_some_and(|p| p.source == "unknown")
    }

    /// (user, commits, source) of each push.
    fn told(chain: &[PushedBy]) -> Vec<(Option<u64>, Vec<Sha>, &str)> {
        chain.iter().map(|p| (p.user.as_ref().map(|u| u.id), p.commits.clone(), p.source.as_str())).collect()
    }

    fn line() -> Vec<Commit> {
        vec![commit(1, &[100]), commit(2, &[1]), commit(3, &[2])]
    }

    #[test]
    fn follows_the_chain_not_the_order_of_arrival() {
        let ledger = [push(2, 3, 12), push(100, 1, 10), push(1, 2, 11)];
        let chain = chain(&sha(3), &line(), &ledger, &[]);
        assert_eq!(
            told(&chain),
            [
                (Some(12), vec![sha(3)], "ledger"),
                (Some(11), vec![sha(2)], "ledger"),
                (Some(10), vec![sha(1)], "ledger")
            ]
        );
        assert!(!has_gap(&chain));
    }

    #[test]
    fn a_gap_is_one_push_by_nobody_unless_the_activity_fills_it() {
        let ledger = [push(2, 3, 12)];
        let chain1 = chain(&sha(3), &line(), &ledger, &[]);
        assert_eq!(
            told(&chain1),
            [(Some(12), vec![sha(3)], "ledger"), (None, vec![sha(1), sha(2)], "unknown")]
        );
        assert!(has_gap(&chain1));
        let chain2 = chain(&sha(3), &line(), &ledger, &[push(0, 2, 10), push(2, 3, 99)]);
        assert_eq!(
            told(&chain2),
            [(Some(12), vec![sha(3)], "ledger"), (Some(10), vec![sha(1), sha(2)], "activity")]
        );
    }

    #[test]
    fn a_force_push_from_a_vanished_head_brought_everything() {
        let chain = chain(&sha(3), &line(), &[push(100, 77, 10), push(77, 3, 11)], &[]);
        assert_eq!(told(&chain), [(Some(11), vec![sha(1), sha(2), sha(3)], "ledger")]);
    }

    #[test]
    fn who_pushed_before_a_force_push_is_known_still() {
        // 10 made the branch with 1, 11 pushed 77 on top of it, 12 replaced that by 2 and 3.
        let ledger = [push(0, 1, 10), push(1, 77, 11), push(77, 3, 12)];
        let told_of = super::chain(&sha(3), &line(), &ledger, &[]);
        assert_eq!(
            told(&told_of.pushes),
            [(Some(12), vec![sha(1), sha(2), sha(3)], "ledger"), (Some(10), vec![sha(1)], "ledger")]
        );
        assert!(told_of.whole);
        let gap = super::chain(&sha(3), &line(), &ledger[1..], &[]);
        assert_eq!((gap.pushes.len(), gap.whole), (1, false), "who pushed 1 first is not known");
    }

    #[test]
    fn whoever_pushed_work_is_a_pusher_and_who_updated_from_the_base_is_none() {
        let update = Commit { update_merge: true, ..commit(3, &[2, 200]) };
        let commits = [commit(1, &[100]), commit(2, &[1]), update];
        let all = [push(100, 1, 10), push(1, 2, 11), push(2, 3, 12)];
        let of = |ledger: &[KnownPush]| pushers(&commits, &chain(&sha(3), &commits, ledger, &[]));
        assert_eq!(of(&all), Some(BTreeSet::from([10, 11])));
        assert_eq!(of(&all[1..]), None, "who pushed 1 is not known");
        let mut by_key = all.clone();
        by_key[1].user = None;
        assert_eq!(of(&by_key), None, "a deploy key");
        by_key[1].user = Some(who(11));
        by_key[2].user = None;
        assert_eq!(
            of(&by_key),
            Some(BTreeSet::from([10, 11])),
            "an update of somebody unknown is none the less"
        );
        assert_eq!(pushers(&commits, &[]), None);
        let some = [chain(&sha(3), &commits, &all, &[]).remove(1)];
        assert_eq!(pushers(&commits, &some), None, "a commit that no push is known to have brought");
    }

    #[test]
    fn nothing_known() {
        let chain = chain(&sha(3), &line(), &[], &[]);
        assert_eq!(told(&chain), [(None, vec![sha(1), sha(2), sha(3)], "unknown")]);
    }

    #[test]
    fn the_same_push_told_twice_is_one() {
        let ledger = [push(100, 1, 10), push(100, 1, 10), push(1, 3, 11), push(1, 3, 11)];
        assert_eq!(chain(&sha(3), &line(), &ledger, &[push(1, 3, 12)]).len(), 2);
    }

    #[test]
    fn a_deploy_key_stays_unknown_whoever_the_activity_names() {
        let mut key = push(2, 3, 0);
        key.user = None;
        let chain = chain(&sha(3), &line(), &[push(0, 2, 10), key], &[push(2, 3, 10)]);
        assert_eq!(told(&chain)[0], (None, vec![sha(3)], "ledger"));
    }

    #[test]
    fn a_deploy_key_is_not_taken_for_the_sender_of_synchronize() {
        let mut key = push(2, 3, 0);
        key.user = None;
        for ledger in [[push(0, 2, 10), key.clone(), push(2, 3, 11)], [push(0, 2, 10), push(2, 3, 11), key]] {
            let chain = chain(&sha(3), &line(), &ledger, &[]);
            assert_eq!(told(&chain)[0], (None, vec![sha(3)], "ledger"));
            assert_eq!(chain.len(), 2);
        }
    }

    #[test]
    fn a_branch_moved_to_and_fro_names_everyone() {
        // 10 pushed 1, 11 pushed 2, 12 went back to 1, 13 pushed 2 again.
        let s = [commit(1, &[100]), commit(2, &[1])];
        let ledger = [push(0, 1, 10), push(1, 2, 11), push(2, 1, 12), push(1, 2, 13)];
        let chain = chain(&sha(2), &s, &ledger, &[]);
        assert_eq!(chain[0].user, Some(who(13)), "the last push");
        let mut names: Vec<u64> = chain.iter().filter_map(|p| p.user.as_ref()).map(|u| u.id).collect();
        names.sort_unstable();
        assert_eq!(names, [10, 11, 12, 13]);
        assert!(!has_gap(&chain));
    }

    #[test]
    fn a_cycle_of_claims_ends() {
        let s = [commit(1, &[100]), commit(2, &[1])];
        let ledger = [push(1, 2, 10), push(2, 1, 11)];
        let chain = chain(&sha(2), &s, &ledger, &[]);
        assert!(has_gap(&chain), "nobody is known to have brought commit 1");
    }
}
