//! The commits of one pull request as a graph: what can be reached from what.
//!
//! S, the commits of the pull request, is all that is known; a parent outside S ends a walk. Order of
//! lists and dates play no part: both are in the hand of whoever pushes.

use std::collections::{HashMap, HashSet};

use super::{Commit, Review};
use crate::event::Sha;

/// S with the edges to parents.
pub struct Graph<'a> {
    parents: HashMap<&'a Sha, &'a [Sha]>,
    listed: Vec<&'a Sha>,
}

impl<'a> Graph<'a> {
    #[must_use]
    pub fn new(commits: &'a [Commit]) -> Self {
        Self {
            parents: commits.iter().map(|c| (&c.sha, c.parents.as_slice())).collect(),
            listed: commits.iter().map(|c| &c.sha).collect(),
        }
    }

    #[must_use]
    pub fn contains(&self, sha: &Sha) -> bool {
        self.parents.contains_key(sha)
    }

    /// `from` and all its ancestors in S, over every parent. Nothing if `from` is outside S.
    #[must_use]
    pub fn reach(&self, from: &Sha) -> HashSet<&'a Sha> {
        let mut seen = HashSet::new();
        let mut todo: Vec<&Sha> = vec![from];
        while let Some(sha) = todo.pop() {
            let Some((&sha, parents)) = self.parents.get_key_value(sha) else { continue };
            if seen.insert(sha) {
                todo.extend(parents.iter());
            }
        }
        seen
    }

    /// Commits that `after` reaches and `before` does not, in the order of the list. A `before`
    /// outside S, or none, reaches nothing.
    #[must_use]
    pub fn brought(&self, before: Option<&Sha>, after: &Sha) -> Vec<Sha> {
        let had = before.map(|b| self.reach(b)).unwrap_or_default();
        let has = self.reach(after);
        self.listed.iter().filter(|s| has.contains(*s) && !had.contains(*s)).map(|&s| s.clone()).collect()
    }

    /// Commits of S that cannot be reached from `reviewed`, in the order of the list; `None` if
    /// `reviewed` is not in S (it vanished, or the base has it).
    #[must_use]
    pub fn since(&self, reviewed: &Sha) -> Option<Vec<Sha>> {
        if !self.contains(reviewed) {
            return None;
        }
        let seen = self.reach(reviewed);
        Some(self.listed.iter().filter(|s| !seen.contains(*s)).map(|&s| s.clone()).collect())
    }
}

/// Fills `commits_since` of every review.
pub fn mark_reviews(reviews: &mut [Review], commits: &[Commit]) {
    let graph = Graph::new(commits);
    for review in reviews {
        review.commits_since = review.commit_id.as_ref().and_then(|sha| graph.since(sha));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::{Person, Verification};

    /// A made-up commit id: one letter or number, repeated.
    pub(crate) fn sha(n: usize) -> Sha {
        format!("{n:040x}").parse().unwrap()
    }

    pub(crate) fn commit(n: usize, parents: &[usize]) -> Commit {
        let nobody = Person { email: None, user: None };
        Commit {
            sha: sha(n),
            message: String::new(),
            parents: parents.iter().map(|&p| sha(p)).collect(),
            author: nobody.clone(),
            committer: nobody,
            authors: Vec::new(),
            committed_via_web: false,
            full_message: None,
            update_merge: false,
            verification: Verification {
                verified: false,
                state: "UNSIGNED".to_owned(),
                signed_by_github: false,
                signer: None,
                key_id: None,
            },
        }
    }

    #[test]
    fn commits_since_a_review() {
        // 1 ─ 2 ─ 4 (head), 3 ─ 4; 1 and 3 stand on the base (100).
        let s = [commit(1, &[100]), commit(2, &[1]), commit(3, &[100]), commit(4, &[2, 3])];
        let graph = Graph::new(&s);
        assert_eq!(graph.since(&sha(4)), Some(vec![]), "the head itself");
        assert_eq!(graph.since(&sha(2)), Some(vec![sha(3), sha(4)]), "what a merge brought is new too");
        assert_eq!(graph.since(&sha(1)), Some(vec![sha(2), sha(3), sha(4)]));
        assert_eq!(graph.since(&sha(9)), None, "vanished");
        assert_eq!(graph.since(&sha(100)), None, "on the base");
    }

    #[test]
    fn a_push_that_began_outside_brought_everything() {
        let s = [commit(1, &[100]), commit(2, &[1])];
        let graph = Graph::new(&s);
        assert_eq!(graph.brought(Some(&sha(1)), &sha(2)), [sha(2)]);
        assert_eq!(graph.brought(Some(&sha(77)), &sha(2)), [sha(1), sha(2)]);
        assert_eq!(graph.brought(None, &sha(2)), [sha(1), sha(2)]);
        assert_eq!(graph.brought(Some(&sha(2)), &sha(1)), []);
    }

    #[test]
    fn a_cycle_ends_though_git_has_none() {
        let s = [commit(1, &[2]), commit(2, &[1])];
        assert_eq!(Graph::new(&s).reach(&sha(1)).len(), 2);
    }

    proptest! {
        #[test]
        fn reach_is_the_transitive_closure(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let s: Vec<Commit> = (0..12)
                .map(|n| {
                    let parents: Vec<usize> = edges.iter().filter(|e| e.0 == n).map(|e| e.1).collect();
                    commit(n, &parents)
                })
                .collect();
            let mut can = [[false; 12]; 12];
            for (n, row) in can.iter_mut().enumerate() {
                row[n] = true;
            }
            for &(a, b) in &edges {
                can[a][b] = true;
            }
            for k in 0..12 {
                for i in 0..12 {
                    for j in 0..12 {
                        can[i][j] |= can[i][k] && can[k][j];
                    }
                }
            }
            let graph = Graph::new(&s);
            for (i, row) in can.iter().enumerate() {
                let reached = graph.reach(&sha(i));
                for (j, yes) in row.iter().enumerate() {
                    prop_assert_eq!(reached.contains(&sha(j)), *yes);
                }
            }
        }
    }
}
