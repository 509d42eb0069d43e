//! The shapes of GraphQL answers, and what they become. Only what the queries ask for.

use serde::{Deserialize, Deserializer};

use crate::{
    event::{Account, Sha},
    facts::{Commit, File, Person, Review, Verification},
    time::Time,
};

/// Why an answer without `errors` is still not a fact.
pub(super) type Odd = String;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<T> {
    pub(super) total_count: u64,
    #[serde(default = "Vec::new")]
    pub(super) nodes: Vec<T>,
    pub(super) page_info: Option<PageInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) end_cursor: Option<String>,
}

impl<T> Connection<T> {
    /// The cursor of the next page, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        self.page_info.as_ref().filter(|p| p.has_next_page).and_then(|p| p.end_cursor.clone())
    }
}

/// Connections that are never paged: shorter than their count is not readable.
fn whole<T>(c: Connection<T>, what: &str) -> Result<Vec<T>, Odd> {
    if c.nodes.len() as u64 == c.total_count {
        Ok(c.nodes)
    } else {
        Err(format!("{what}: {} of {} read", c.nodes.len(), c.total_count))
    }
}

#[derive(Clone, Deserialize)]
pub(super) struct Oid {
    pub(super) oid: Sha,
}

/// An `Actor`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Who {
    #[serde(rename = "__typename")]
    kind: String,
    login: String,
    database_id: Option<u64>,
}

impl Who {
    pub(super) fn account(self) -> Result<Account, Odd> {
        let id = self.database_id.ok_or_else(|| format!("the {} account has no id", self.kind))?;
        let mut login = self.login;
        // GraphQL leaves out what REST and webhooks write: `renovate` is a person, `renovate[bot]` an app.
        if self.kind == "Bot" && !login.ends_with("[bot]") {
            login.push_str("[bot]");
        }
        Ok(Account { id, login, kind: self.kind })
    }
}

pub(super) fn account(who: Option<Who>) -> Result<Option<Account>, Odd> {
    who.map(Who::account).transpose()
}

/// A `User` that stands behind a git signature or e-mail; an app's is a user called `x[bot]`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GitUser {
    database_id: Option<u64>,
    login: String,
}

impl GitUser {
    pub(super) fn account(self) -> Result<Account, Odd> {
        let id = self.database_id.ok_or("an account has no id")?;
        let kind = if self.login.ends_with("[bot]") { "Bot" } else { "User" };
        Ok(Account { id, login: self.login, kind: kind.to_owned() })
    }
}

#[derive(Deserialize)]
pub(super) struct GitActor {
    email: Option<String>,
    user: Option<GitUser>,
}

fn person(actor: Option<GitActor>) -> Result<Person, Odd> {
    let Some(actor) = actor else { return Ok(Person { email: None, user: None }) };
    Ok(Person { email: actor.email, user: actor.user.map(GitUser::account).transpose()? })
}

#[derive(Deserialize)]
pub(super) struct CommitNode {
    pub(super) commit: GitCommit,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GitCommit {
    pub(super) oid: Sha,
    message_headline: String,
    pub(super) committed_via_web: bool,
    parents: Connection<Oid>,
    author: Option<GitActor>,
    authors: Connection<GitActor>,
    committer: Option<GitActor>,
    signature: Option<Signature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    is_valid: bool,
    state: String,
    was_signed_by_git_hub: bool,
    signer: Option<GitUser>,
    key_id: Option<String>,
    key_fingerprint: Option<String>,
}

impl GitCommit {
    pub(super) fn commit(self) -> Result<Commit, Odd> {
        let of = |what: &str| format!("{what} of commit {}", self.oid.short());
        let parents = whole(self.parents, &of("parents"))?;
        let authors = whole(self.authors, &of("authors"))?;
        Ok(Commit {
            message: self.message_headline,
            parents: parents.into_iter().map(|p| p.oid).collect(),
            author: person(self.author)?,
            committer: person(self.committer)?,
            authors: authors.into_iter().map(|a| person(Some(a))).collect::<Result<_, _>>()?,
            committed_via_web: self.committed_via_web,
            full_message: None,
            update_merge: false,
            verification: verification(self.signature)?,
            sha: self.oid,
        })
    }
}

fn verification(signature: Option<Signature>) -> Result<Verification, Odd> {
    let Some(s) = signature else {
        let state = "UNSIGNED".to_owned();
        return Ok(Verification {
            verified: false,
            state,
            signed_by_github: false,
            signer: None,
            key_id: None,
        });
    };
    Ok(Verification {
        verified: s.is_valid,
        state: s.state,
        signed_by_github: s.was_signed_by_git_hub,
        signer: s.signer.map(GitUser::account).transpose()?,
        key_id: s.key_id.or(s.key_fingerprint),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewNode {
    #[serde(deserialize_with = "big_int")]
    full_database_id: u64,
    state: String,
    submitted_at: Time,
    author_can_push_to_repository: bool,
    commit: Option<Oid>,
    author: Option<Who>,
}

impl ReviewNode {
    pub(super) fn review(self) -> Result<Review, Odd> {
        Ok(Review {
            id: self.full_database_id,
            state: self.state,
            user: account(self.author)?,
            commit_id: self.commit.map(|c| c.oid),
            submitted_at: self.submitted_at,
            can_push: self.author_can_push_to_repository,
            permission: None,
            commits_since: None,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileNode {
    path: String,
    change_type: String,
    additions: u64,
    deletions: u64,
}

impl FileNode {
    pub(super) fn file(self) -> Result<File, Odd> {
        let status = match self.change_type.as_str() {
            "ADDED" => "added",
            "DELETED" => "removed",
            "MODIFIED" => "modified",
            "RENAMED" => "renamed",
            "COPIED" => "copied",
            "CHANGED" => "changed",
            other => return Err(format!("a file was changed in an unknown way ({other})")),
        };
        Ok(File {
            filename: self.path,
            previous_filename: None,
            status: status.to_owned(),
            additions: self.additions,
            deletions: self.deletions,
            owners: None,
        })
    }
}

/// GraphQL's `BigInt` is a string; a number is read too.
fn big_int<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(d)? {
        Either::Number(n) => Ok(n),
        Either::Text(s) => s.parse().map_err(serde::de::Error::custom),
    }
}
