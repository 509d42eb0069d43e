//! Which commits are clean "Update branch" merges of the base.
//!
//! Four conditions can be read off the commits (two parents, made by GitHub, first parent inside the
//! pull request, second outside). They do not suffice: "Resolve conflicts" in the browser makes a
//! commit that meets them all, with any content. So GitHub is asked whether the merge changed, on top
//! of the base, exactly what the pull request had changed: [`clean`].

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Commit, graph::Graph};
use crate::event::Sha;

/// A commit that is an update merge if it can be shown to be clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub sha: Sha,
    /// In the pull request.
    pub first: Sha,
    /// Outside it: on the base, if the base is still the one the list was made with.
    pub second: Sha,
}

/// The commits that meet every condition but cleanness. `signed`: GitHub signs what it commits here,
/// so a web commit without its valid signature is none.
#[must_use]
pub fn candidates(commits: &[Commit], signed: bool) -> Vec<Candidate> {
    let graph = Graph::new(commits);
    let made_by_github = |c: &&Commit| {
        let v = &c.verification;
        c.committed_via_web && (!signed || (v.verified && v.state == "VALID" && v.signed_by_github))
    };
    let candidate = |c: &Commit| match c.parents.as_slice() {
        [first, second] if graph.contains(first) && !graph.contains(second) => {
            Some(Candidate { sha: c.sha.clone(), first: first.clone(), second: second.clone() })
        }
        _ => None,
    };
    commits.iter().filter(made_by_github).filter_map(candidate).collect()
}

/// GitHub's answer to "what lies between these two commits".
#[derive(Clone, Debug, Deserialize)]
pub struct Compared {
    /// `ahead`, `behind`, `identical`, `diverged`: the second as seen from the first.
    pub status: String,
    pub files: Option<Vec<ComparedFile>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ComparedFile {
    pub filename: String,
    pub status: String,
    /// Of the blob.
    pub sha: Option<String>,
    pub previous_filename: Option<String>,
}

/// GitHub lists so many files of a comparison; with that many the list may be cut.
const CUT: usize = 300;

impl Compared {
    /// The second commit can be reached from the first.
    #[must_use]
    pub fn contains(&self) -> bool {
        matches!(self.status.as_str(), "identical" | "behind")
    }

    fn whole(&self) -> Option<BTreeSet<&ComparedFile>> {
        let files = self.files.as_ref()?;
        (files.len() < CUT).then(|| files.iter().collect())
    }
}

/// `merge`: from the second parent to the merge; `before`: from the second parent to the first. The
/// merge is clean if both changed the same files to the same blobs. A file changed on both sides
/// makes it not clean, though git may have merged it well: what nobody reviewed counts as new.
#[must_use]
pub fn clean(merge: &Compared, before: &Compared) -> bool {
    match (merge.whole(), before.whole()) {
        (Some(merge), Some(before)) => merge == before,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::graph::tests::{commit, sha};

    fn web(n: usize, parents: &[usize]) -> Commit {
        let mut c = commit(n, parents);
        c.committed_via_web = true;
        c.verification.verified = true;
        c.verification.state = "VALID".to_owned();
        c.verification.signed_by_github = true;
        c
    }

    fn found(commits: &[Commit], signed: bool) -> Vec<Sha> {
        candidates(commits, signed).into_iter().map(|c| c.sha).collect()
    }

    #[test]
    fn an_update_of_the_base_is_a_candidate() {
        let s = [commit(1, &[100]), web(2, &[1, 101])];
        assert_eq!(found(&s, true), [sha(2)]);
    }

    #[test]
    fn what_is_none() {
        let one = commit(1, &[100]);
        let cases = [
            ("a local merge", vec![one.clone(), commit(2, &[1, 101])]),
            ("a web merge of another topic branch", vec![one.clone(), commit(3, &[100]), web(2, &[1, 3])]),
            ("first parent outside", vec![one.clone(), web(2, &[101, 1])]),
            ("both parents outside", vec![web(2, &[100, 101])]),
            ("an octopus", vec![one.clone(), web(2, &[1, 101, 102])]),
            ("an edit in the browser", vec![one.clone(), web(2, &[1])]),
        ];
        for (what, commits) in cases {
            assert!(found(&commits, true).is_empty(), "{what}");
        }
    }

    #[test]
    fn where_github_signs_its_signature_is_asked_for() {
        for broken in 0..3 {
            let mut merge = web(2, &[1, 101]);
            match broken {
                0 => merge.verification.signed_by_github = false,
                1 => merge.verification.verified = false,
                _ => merge.verification.state = "UNKNOWN_KEY".to_owned(),
            }
            let s = [commit(1, &[100]), merge];
            assert!(found(&s, true).is_empty());
            assert_eq!(found(&s, false), [sha(2)], "Enterprise Server does not sign by default");
        }
    }

    fn compared(files: &[(&str, &str, &str)]) -> Compared {
        let file = |&(name, status, blob): &(&str, &str, &str)| ComparedFile {
            filename: name.to_owned(),
            status: status.to_owned(),
            sha: Some(blob.to_owned()),
            previous_filename: None,
        };
        Compared { status: "ahead".to_owned(), files: Some(files.iter().map(file).collect()) }
    }

    #[test]
    fn clean_means_the_same_files_with_the_same_content() {
        let before = compared(&[("a", "modified", "1"), ("b", "added", "2")]);
        assert!(clean(&compared(&[("b", "added", "2"), ("a", "modified", "1")]), &before));
        assert!(!clean(&compared(&[("a", "modified", "9"), ("b", "added", "2")]), &before), "content");
        assert!(!clean(&compared(&[("a", "modified", "1")]), &before), "one less");
        assert!(!clean(&compared(&[("a", "added", "1"), ("b", "added", "2")]), &before), "status");
        assert!(clean(&compared(&[]), &compared(&[])));
    }

    #[test]
    fn a_list_that_may_be_cut_shows_nothing() {
        let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        let many: Vec<_> = names.iter().map(|n| (n.as_str(), "added", "1")).collect();
        assert!(!clean(&compared(&many), &compared(&many)));
        assert!(clean(&compared(&many[1..]), &compared(&many[1..])));
        let none = Compared { status: "ahead".to_owned(), files: None };
        assert!(!clean(&none, &none));
    }

    #[test]
    fn contained_in_the_base() {
        let with = |status: &str| Compared { status: status.to_owned(), files: None }.contains();
        assert!(with("identical") && with("behind"));
        assert!(!with("ahead") && !with("diverged") && !with(""));
    }
}
