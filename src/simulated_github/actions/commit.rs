//! Commits as a story describes them, and how they come to be.

use crate::simulated_github::{
    git::{Commit, Identity, Signature, SignatureKind},
    state::World,
};

use super::Impossible;

/// A commit to be made: `commit("alice", "Add a door").write("src/door.rs", "…").signed()`.
#[derive(Clone, Debug)]
pub struct CommitSpec {
    author: String,
    committer: Option<String>,
    co_authors: Vec<String>,
    message: String,
    /// Path → text, or `None` to remove it.
    files: Vec<(String, Option<String>)>,
    renames: Vec<(String, String)>,
    /// Path → where it leads.
    links: Vec<(String, String)>,
    signature: Sign,
}

#[derive(Clone, Debug)]
enum Sign {
    No,
    /// By the author, with a key GitHub knows.
    Author,
    By(String),
    /// A signature GitHub does not accept, with its state.
    Bad(String),
    /// As a story's author wrote it.
    Exact(Box<Signature>),
}

/// An unsigned commit. `author` is a login, or an e-mail that belongs to nobody.
#[must_use]
pub fn commit(author: &str, message: &str) -> CommitSpec {
    CommitSpec {
        author: author.to_owned(),
        committer: None,
        co_authors: Vec::new(),
        message: message.to_owned(),
        files: Vec::new(),
        renames: Vec::new(),
        links: Vec::new(),
        signature: Sign::No,
    }
}

impl CommitSpec {
    #[must_use]
    pub fn write(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), Some(text.to_owned())));
        self
    }
    #[must_use]
    pub fn remove(mut self, path: &str) -> Self {
        self.files.push((path.to_owned(), None));
        self
    }
    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, to: &str) -> Self {
        self.links.push((path.to_owned(), to.to_owned()));
        self
    }
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.renames.push((from.to_owned(), to.to_owned()));
        self
    }
    /// Signed by the author.
    #[must_use]
    pub fn signed(mut self) -> Self {
        self.signature = Sign::Author;
        self
    }
    #[must_use]
    pub fn signed_by(mut self, login: &str) -> Self {
        self.signature = Sign::By(login.to_owned());
        self
    }
    /// Signed, but GitHub says `state` (`UNKNOWN_KEY`, `BAD_EMAIL`, `GPGVERIFY_UNAVAILABLE` …).
    #[must_use]
    pub fn signed_badly(mut self, state: &str) -> Self {
        self.signature = Sign::Bad(state.to_owned());
        self
    }
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = Sign::Exact(Box::new(signature));
        self
    }
    #[must_use]
    pub fn co_author(mut self, login: &str) -> Self {
        self.co_authors.push(login.to_owned());
        self
    }
    #[must_use]
    pub fn committer(mut self, login: &str) -> Self {
        self.committer = Some(login.to_owned());
        self
    }
}

impl World {
    /// A login's name and first e-mail; anything else is taken for an e-mail of nobody.
    pub(super) fn identity(&self, who: &str) -> Identity {
        match self.account(who) {
            Some(a) => Identity {
                name: a.login.clone(),
                email: a.emails.first().cloned().unwrap_or_else(|| format!("{}@nowhere.invalid", a.login)),
            },
            None => Identity { name: who.to_owned(), email: who.to_owned() },
        }
    }

    /// GitHub itself, as committer of what its web interface makes.
    pub(super) fn web_flow() -> Identity {
        Identity { name: "GitHub".to_owned(), email: "noreply@github.com".to_owned() }
    }

    /// GitHub's own signature under what its web interface makes.
    pub(super) fn github_signature(&self) -> Signature {
        Signature {
            kind: SignatureKind::Gpg,
            valid: true,
            state: "VALID".to_owned(),
            by_github: true,
            signer: self.account("web-flow").map(|a| a.id),
            email: "noreply@github.com".to_owned(),
            key: "B5690EEEBB952194".to_owned(),
        }
    }

    pub(super) fn valid_signature(&self, who: &str) -> Result<Signature, Impossible> {
        let signer = self.who(who)?;
        Ok(Signature {
            kind: SignatureKind::Ssh,
            valid: true,
            state: "VALID".to_owned(),
            by_github: false,
            signer: Some(signer),
            email: self.identity(who).email,
            key: format!("simulated+key+of+{who}"),
        })
    }

    fn sign(&self, spec: &CommitSpec) -> Result<Option<Signature>, Impossible> {
        Ok(match &spec.signature {
            Sign::No => None,
            Sign::Author => Some(self.valid_signature(&spec.author)?),
            Sign::By(who) => Some(self.valid_signature(who)?),
            Sign::Exact(s) => Some(s.as_ref().clone()),
            Sign::Bad(state) => Some(Signature {
                kind: SignatureKind::Gpg,
                valid: false,
                state: state.clone(),
                by_github: false,
                signer: None,
                email: self.identity(&spec.author).email,
                key: "0123456789ABCDEF".to_owned(),
            }),
        })
    }

    /// Makes the commit on top of `parent` and returns its sha.
    pub(super) fn make(
        &mut self,
        repo: u64,
        parent: Option<&str>,
        spec: &CommitSpec,
    ) -> Result<String, Impossible> {
        let mut tree = parent.and_then(|p| self.commits.get(p)).map(|c| c.tree.clone()).unwrap_or_default();
        for (from, to) in &spec.renames {
            match tree.remove(from) {
                Some(blob) => tree.insert(to.clone(), blob),
                None => return super::impossible(format!("there is no file {from} to rename")),
            };
        }
        for (path, text) in &spec.files {
            match text {
                Some(text) => tree.insert(path.clone(), self.add_blob(text)),
                None => tree.remove(path),
            };
        }
        for (path, to) in &spec.links {
            tree.insert(path.clone(), self.add_link(to));
        }
        let author = self.identity(&spec.author);
        let committer = spec.committer.as_deref().map_or_else(|| author.clone(), |c| self.identity(c));
        let commit = Commit {
            sha: String::new(),
            network: self.network(repo),
            parents: parent.map(str::to_owned).into_iter().collect(),
            author,
            committer,
            co_authors: spec.co_authors.iter().map(|c| self.identity(c)).collect(),
            message: spec.message.clone(),
            tree,
            signature: self.sign(spec)?,
            via_web: false,
            at: self.now,
        };
        Ok(self.store(commit))
    }

    /// All of `specs`, each on the one before; the last one's sha (or `parent` if there are none).
    pub(super) fn make_all(
        &mut self,
        repo: u64,
        parent: &str,
        specs: &[CommitSpec],
    ) -> Result<String, Impossible> {
        let mut at = parent.to_owned();
        for spec in specs {
            at = self.make(repo, Some(&at), spec)?;
        }
        Ok(at)
    }

    pub(super) fn store(&mut self, commit: Commit) -> String {
        let commit = commit.seal();
        let sha = commit.sha.clone();
        self.commits.insert(sha.clone(), commit);
        sha
    }

    fn add_link(&mut self, to: &str) -> String {
        let sha = crate::simulated_github::git::hash(&["link", to]);
        self.blobs.insert(sha.clone(), bytes::Bytes::copy_from_slice(to.as_bytes()));
        self.links.insert(sha.clone());
        sha
    }

    pub(super) fn add_blob(&mut self, text: &str) -> String {
        let sha = crate::simulated_github::git::hash(&["blob", text]);
        self.blobs.insert(sha.clone(), bytes::Bytes::copy_from_slice(text.as_bytes()));
        sha
    }
}
