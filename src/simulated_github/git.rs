//! Just enough of git: commits by content, what reaches what, the difference of two trees.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::time::Time;

use super::state::World;

/// A path → the sha of its blob.
pub type Tree = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub struct Commit {
    pub sha: String,
    /// Root of the network of forks it lives in.
    pub network: u64,
    pub parents: Vec<String>,
    pub author: Identity,
    pub committer: Identity,
    pub co_authors: Vec<Identity>,
    pub message: String,
    pub tree: Tree,
    /// `None`: not signed.
    pub signature: Option<Signature>,
    /// Made by GitHub's own web interface.
    pub via_web: bool,
    pub at: Time,
}

/// A name and e-mail in a commit: a claim, nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub email: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub kind: SignatureKind,
    pub valid: bool,
    /// GraphQL's `GitSignatureState`, such as `VALID` or `UNKNOWN_KEY`.
    pub state: String,
    pub by_github: bool,
    pub signer: Option<u64>,
    pub email: String,
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    Gpg,
    Ssh,
    Smime,
}

/// One changed file between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    pub previous: Option<String>,
    pub status: FileStatus,
    /// Of the blob after the change; of a removed file, before it.
    pub blob: String,
    pub additions: u64,
    pub deletions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStatus {
    Added,
    Modified,
    Removed,
    Renamed,
}

/// The first 40 hex digits of SHA-256 over the parts, each with its length.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut h = Sha256::new();
    for p in parts {
        h.update(p.len().to_be_bytes());
        h.update(p.as_bytes());
    }
    let mut hex = hex::encode(h.finalize());
    hex.truncate(40);
    hex
}

impl Commit {
    /// First line of the message.
    #[must_use]
    pub fn headline(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// Author and co-authors, each e-mail once.
    #[must_use]
    pub fn authors(&self) -> Vec<&Identity> {
        let mut seen = BTreeSet::new();
        std::iter::once(&self.author).chain(&self.co_authors).filter(|i| seen.insert(&i.email)).collect()
    }

    /// Names the commit by its content.
    pub(super) fn seal(mut self) -> Self {
        let content =
            format!("{:?}", (self.network, &self.parents, &self.author, &self.committer, &self.tree));
        let rest = format!("{:?}", (&self.co_authors, &self.message, &self.signature, self.via_web, self.at));
        self.sha = hash(&["commit", &content, &rest]);
        self
    }
}

impl FileStatus {
    /// GraphQL's `PatchStatus`.
    #[must_use]
    pub fn graphql(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Removed => "DELETED",
            Self::Renamed => "RENAMED",
        }
    }

    #[must_use]
    pub fn rest(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
        }
    }
}

impl World {
    /// A commit and all its ancestors.
    #[must_use]
    pub fn reach(&self, sha: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![sha.to_owned()];
        while let Some(at) = todo.pop() {
            let Some(commit) = self.commits.get(&at) else { continue };
            if seen.insert(at) {
                todo.extend(commit.parents.iter().cloned());
            }
        }
        seen
    }

    /// `base..head`, parents before children.
    #[must_use]
    pub fn between(&self, base: &str, head: &str) -> Vec<String> {
        let mut seen = self.reach(base);
        let mut out = Vec::new();
        // Depth first without recursion: a history may be long. (sha, parents already walked)
        let mut stack = vec![(head.to_owned(), false)];
        while let Some((sha, walked)) = stack.pop() {
            if walked {
                out.push(sha);
                continue;
            }
            let Some(commit) = self.commits.get(&sha) else { continue };
            if !seen.insert(sha.clone()) {
                continue;
            }
            stack.push((sha, true));
            stack.extend(commit.parents.iter().rev().map(|p| (p.clone(), false)));
        }
        out
    }

    /// The best common ancestor: the one that no other common ancestor comes after.
    #[must_use]
    pub fn merge_base(&self, a: &str, b: &str) -> Option<String> {
        let common: BTreeSet<String> = self.reach(a).intersection(&self.reach(b)).cloned().collect();
        let below: BTreeSet<&String> =
            common.iter().filter_map(|c| self.commits.get(c)).flat_map(|c| &c.parents).collect();
        common.iter().find(|c| !below.contains(c)).cloned()
    }

    /// What `head` changed since it left `base` (git's three-dot difference).
    #[must_use]
    pub fn changes(&self, base: &str, head: &str) -> Vec<FileChange> {
        let empty = Tree::new();
        let tree = |sha: Option<&str>| sha.and_then(|s| self.commits.get(s)).map_or(&empty, |c| &c.tree);
        let from = self.merge_base(base, head);
        self.diff(tree(from.as_deref()), tree(Some(head)))
    }

    /// The difference of two trees, by path. A path removed and one added with the same blob is a rename.
    #[must_use]
    pub fn diff(&self, from: &Tree, to: &Tree) -> Vec<FileChange> {
        let mut gone: Vec<_> = from.iter().filter(|(p, _)| !to.contains_key(*p)).collect();
        let mut out = Vec::new();
        for (path, blob) in to.iter().filter(|(p, b)| from.get(*p) != Some(*b)) {
            let (before, previous, status) = match from.get(path) {
                Some(before) => (Some(before), None, FileStatus::Modified),
                None => match gone.iter().position(|(_, b)| *b == blob) {
                    Some(i) => {
                        let (old, b) = gone.remove(i);
                        (Some(b), Some(old.clone()), FileStatus::Renamed)
                    }
                    None => (None, None, FileStatus::Added),
                },
            };
            out.push(self.change(path, previous, status, before, Some(blob)));
        }
        out.extend(gone.iter().map(|(p, b)| self.change(p, None, FileStatus::Removed, Some(b), None)));
        out.sort_by(|a, b| a.path.cmp(&b.path));
        out
    }

    fn change(
        &self,
        path: &str,
        previous: Option<String>,
        status: FileStatus,
        before: Option<&String>,
        after: Option<&String>,
    ) -> FileChange {
        let (old, new) = (self.lines(before), self.lines(after));
        let lost = |a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>| -> u64 {
            a.iter().map(|(l, n)| n.saturating_sub(b.get(l).copied().unwrap_or(0))).sum()
        };
        FileChange {
            path: path.to_owned(),
            previous,
            status,
            blob: after.or(before).cloned().unwrap_or_default(),
            additions: lost(&new, &old),
            deletions: lost(&old, &new),
        }
    }

    fn lines(&self, blob: Option<&String>) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        let text =
            blob.and_then(|b| self.blobs.get(b)).map(|b| String::from_utf8_lossy(b)).unwrap_or_default();
        for line in text.lines() {
            *out.entry(line.to_owned()).or_default() += 1;
        }
        out
    }
}
