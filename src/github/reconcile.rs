//! GitHub's own record of what happened, to compare ours with: deliveries of the App, installations,
//! refs, what moved a branch, its history.
//!
//! | call | source |
//! |---|---|
//! | deliveries of the App | <https://docs.github.com/en/rest/apps/webhooks> |
//! | installations and their repositories | <https://docs.github.com/en/rest/apps/installations> |
//! | refs | <https://docs.github.com/en/rest/git/refs#list-matching-references> |
//! | what moved a branch | <https://docs.github.com/en/rest/repos/repos#list-repository-activities> |
//! | history, compare | <https://docs.github.com/en/rest/commits/commits> |

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Github, RepoAt, Trouble, TroubleKind,
    call::{As, Call},
    gather::page::same_host,
    rest::{Response, segment},
};
use crate::{
    event::{Account, RepoName, Sha},
    time::Time,
};

/// Commits that a `push` lists at most; a compare that has more is not read to its end.
const MOST_COMMITS: usize = 2048;

/// A list, read from its beginning, and whether it was read as far as was asked.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub complete: bool,
}

/// One attempt of GitHub to deliver an event to the App.
#[derive(Clone, Debug, Deserialize)]
pub struct PastDelivery {
    pub id: u64,
    /// The same for every attempt of one event.
    pub guid: String,
    pub delivered_at: Time,
    pub redelivery: bool,
    /// HTTP status of the answer; 0 or 5xx where there was none.
    pub status_code: i64,
    pub event: String,
    pub action: Option<String>,
    pub installation_id: Option<u64>,
    pub repository_id: Option<u64>,
}

impl PastDelivery {
    /// GitHub was told that it arrived.
    #[must_use]
    pub fn arrived(&self) -> bool {
        (200..300).contains(&self.status_code)
    }
}

/// The App installed somewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct Installation {
    pub id: u64,
    pub suspended_at: Option<Time>,
}

/// A repository that an installation covers.
#[derive(Clone, Debug, Deserialize)]
pub struct Covered {
    pub id: u64,
    pub full_name: String,
    pub default_branch: Option<String>,
    /// When any ref last moved. Changes with every push, so what has not changed need not be read.
    pub pushed_at: Option<String>,
    pub owner: Owner,
}

impl Covered {
    /// `None`: not a name that GitHub documents.
    #[must_use]
    pub fn name(&self) -> Option<RepoName> {
        self.full_name.parse().ok()
    }

    /// Id of the organisation that owns it.
    #[must_use]
    pub fn organization(&self) -> Option<u64> {
        (self.owner.kind == "Organization").then_some(self.owner.id)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct Owner {
    pub id: u64,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A branch or tag.
#[derive(Clone, Debug, Deserialize)]
struct Reference {
    #[serde(rename = "ref")]
    name: String,
    object: Object,
}

#[derive(Clone, Debug, Deserialize)]
struct Object {
    sha: Sha,
}

/// One change of a branch, as the activity of the repository tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Moved {
    pub id: u64,
    before: Option<String>,
    after: Option<String>,
    /// `push`, `force_push`, `branch_creation`, `branch_deletion`, `pr_merge`, `merge_queue_merge`.
    pub activity_type: String,
    pub actor: Option<Account>,
}

impl Moved {
    #[must_use]
    pub fn before(&self) -> Option<Sha> {
        real(self.before.as_deref())
    }

    #[must_use]
    pub fn after(&self) -> Option<Sha> {
        real(self.after.as_deref())
    }
}

/// GitHub writes "no commit" as zeros.
fn real(sha: Option<&str>) -> Option<Sha> {
    sha?.parse::<Sha>().ok().filter(|s| !s.is_zero())
}

/// What lies between two commits.
#[derive(Clone, Debug)]
pub struct Between {
    /// `ahead`, `identical`, `behind` or `diverged`.
    pub status: String,
    /// Oldest first; `None`: there are too many to list.
    pub commits: Option<Vec<Sha>>,
    pub merge_base: Option<Sha>,
}

#[derive(Deserialize)]
struct ComparePage {
    status: String,
    total_commits: usize,
    commits: Vec<HistoryCommit>,
    merge_base_commit: Option<Object>,
}

#[derive(Deserialize)]
struct HistoryCommit {
    sha: Sha,
    #[serde(default)]
    parents: Vec<Object>,
}

impl Github {
    /// Attempts to deliver, newest first, back to `since`; at most `pages` pages of a hundred.
    ///
    /// # Errors
    /// GitHub does not give the list.
    pub async fn deliveries(&self, since: Time, pages: usize) -> Result<Listed<PastDelivery>, Trouble> {
        let reached = |page: &[PastDelivery]| page.last().is_some_and(|d| d.delivered_at < since);
        let mut listed = self
            .pages(As::App, "/app/hook/deliveries?per_page=100".to_owned(), pages, plain, reached)
            .await?;
        listed.items.retain(|d| d.delivered_at >= since);
        Ok(listed)
    }

    /// Asks GitHub to deliver once more, under the same GUID and freshly signed.
    ///
    /// # Errors
    /// GitHub does not (too old, or not ours).
    pub async fn redeliver(&self, delivery: u64) -> Result<(), Trouble> {
        let path = format!("/app/hook/deliveries/{delivery}/attempts");
        self.call(&Call::rest(As::App, Method::POST, &path)).await?.expect(&[202]).map(drop)
    }

    /// The payload of a delivery as GitHub parsed it: not the bytes that were signed.
    ///
    /// # Errors
    /// GitHub does not give it.
    pub async fn delivered_payload(&self, delivery: u64) -> Result<Value, Trouble> {
        let path = format!("/app/hook/deliveries/{delivery}");
        let full: Value = self.get_app(&path).await?.expect(&[200])?.json()?;
        match full.pointer("/request/payload") {
            Some(payload) if payload.is_object() => Ok(payload.clone()),
            _ => Err(Trouble::new(TroubleKind::Unexpected, format!("delivery {delivery} has no payload"))),
        }
    }

    /// Where the App is installed and not suspended.
    ///
    /// # Errors
    /// GitHub does not give the list.
    pub async fn installations(&self) -> Result<Vec<Installation>, Trouble> {
        let path = "/app/installations?per_page=100".to_owned();
        let listed: Listed<Installation> = self.pages(As::App, path, 100, plain, |_| false).await?;
        complete("installations", listed)
            .map(|all| all.into_iter().filter(|i| i.suspended_at.is_none()).collect())
    }

    /// The repositories that an installation covers.
    ///
    /// # Errors
    /// GitHub does not give the list.
    pub async fn covered(&self, installation: u64) -> Result<Vec<Covered>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Vec<Covered>,
        }
        let path = "/installation/repositories?per_page=100".to_owned();
        let take = |r: &Response| r.json::<Page>().map(|p| p.repositories);
        let listed = self.pages(As::Installation(installation), path, 200, take, |_| false).await?;
        complete("repositories", listed)
    }

    /// Refs whose full name begins with `refs/<prefix>`, such as `tags/` or `heads/main`, with what
    /// they point to (of an annotated tag, the tag object).
    ///
    /// # Errors
    /// GitHub does not give the list; `Gone`: the repository is not there for us.
    pub async fn refs(&self, at: &RepoAt, prefix: &str) -> Result<HashMap<String, Sha>, Trouble> {
        let parts: Vec<String> = prefix.split('/').map(segment).collect();
        let path = at.path(&format!("/git/matching-refs/{}?per_page=100", parts.join("/")));
        let who = As::Installation(at.installation);
        let listed: Listed<Reference> = self.pages(who, path, 200, plain, |_| false).await?;
        Ok(complete("refs", listed)?.into_iter().map(|r| (r.name, r.object.sha)).collect())
    }

    /// What moved a branch after the activity `since`, newest first. `None`: we may not know, or this
    /// GitHub does not tell.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub async fn moves(
        &self,
        at: &RepoAt,
        branch: &str,
        since: Option<u64>,
        pages: usize,
    ) -> Result<Option<Listed<Moved>>, Trouble> {
        let reference = segment(&format!("refs/heads/{branch}"));
        let path = at.path(&format!("/activity?ref={reference}&per_page=100"));
        let known = |m: &Moved| since.is_some_and(|since| m.id <= since);
        let who = As::Installation(at.installation);
        match self.pages(who, path, pages, plain, |page| page.iter().any(known)).await {
            Ok(mut listed) => {
                listed.items.retain(|m| !known(m));
                Ok(Some(listed))
            }
            Err(trouble) if trouble.passes() => Err(trouble),
            Err(_) => Ok(None),
        }
    }

    /// The first-parent history of a commit, newest first, down to and without `until`; at most `most`
    /// commits. Not complete: `until` was not met.
    ///
    /// # Errors
    /// GitHub does not give it.
    pub async fn first_parents(
        &self,
        at: &RepoAt,
        tip: &Sha,
        until: Option<&Sha>,
        most: usize,
    ) -> Result<Listed<Sha>, Trouble> {
        let path = at.path(&format!("/commits?sha={tip}&per_page=100"));
        let who = As::Installation(at.installation);
        let mut walk = Walk { next: Some(tip.clone()), until, line: Vec::new(), first: HashMap::new() };
        let over = |page: &[HistoryCommit]| walk.take(page) || walk.line.len() >= most;
        let listed: Listed<HistoryCommit> =
            self.pages(who, path, most.div_ceil(100) * 3, plain, over).await?;
        let complete = walk.next.is_none() || (until.is_none() && listed.complete);
        walk.line.truncate(most);
        Ok(Listed { items: walk.line, complete })
    }

    /// What a push from `base` (a commit, or a branch as one part of a path) to `head` brings.
    ///
    /// # Errors
    /// GitHub does not give it; `Gone`: one of the commits is not there any more.
    pub async fn between(&self, at: &RepoAt, base: &str, head: &Sha) -> Result<Between, Trouble> {
        let mut commits: Vec<Sha> = Vec::new();
        for number in 1.. {
            let path = at.path(&format!("/compare/{base}...{head}?per_page=100&page={number}"));
            let page: ComparePage = self.get(at.installation, &path).await?.expect(&[200])?.json()?;
            let got = page.commits.len();
            commits.extend(page.commits.into_iter().map(|c| c.sha));
            let too_many = page.total_commits >= MOST_COMMITS;
            if commits.len() >= page.total_commits || got == 0 || too_many {
                let whole = commits.len() == page.total_commits;
                return Ok(Between {
                    status: page.status,
                    commits: whole.then_some(commits),
                    merge_base: page.merge_base_commit.map(|c| c.sha),
                });
            }
        }
        Err(Trouble::new(TroubleKind::Unexpected, "a compare without end"))
    }

    /// A list read whole.
    pub(super) async fn all_of<T: DeserializeOwned>(
        &self,
        who: As,
        path: String,
        what: &str,
        most: usize,
    ) -> Result<Vec<T>, Trouble> {
        complete(what, self.pages(who, path, most, plain, |_| false).await?)
    }

    /// As [`Github::all_of`], where each page is an object with the list under `name` and says how many
    /// there are in all (`total_count`).
    pub(super) async fn all_in<T: DeserializeOwned>(
        &self,
        who: As,
        path: String,
        name: &str,
        most: usize,
    ) -> Result<Vec<T>, Trouble> {
        let total = AtomicU64::new(0);
        let take = |answer: &Response| {
            let mut page: Value = answer.json()?;
            total.store(page["total_count"].as_u64().unwrap_or(u64::MAX), Ordering::Relaxed);
            let items = page.get_mut(name).map(Value::take).unwrap_or_default();
            serde_json::from_value(items).map_err(|e| {
                Trouble::new(TroubleKind::Unexpected, format!("{name}: answer not understood: {e}"))
            })
        };
        let all = complete(name, self.pages(who, path, most, take, |_| false).await?)?;
        let (read, total) = (all.len() as u64, total.into_inner());
        if read != total {
            return Err(Trouble::new(TroubleKind::Unexpected, format!("{read} of {total} {name} read")));
        }
        Ok(all)
    }

    /// Follows `Link` until `over` says so of a page, or there are no more.
    async fn pages<T>(
        &self,
        who: As,
        path: String,
        most: usize,
        take: impl Fn(&Response) -> Result<Vec<T>, Trouble>,
        mut over: impl FnMut(&[T]) -> bool,
    ) -> Result<Listed<T>, Trouble> {
        let (mut items, mut next) = (Vec::new(), Some(path));
        for _ in 0..most {
            let Some(path) = next.take() else { break };
            let answer = self.call(&Call::rest(who, Method::GET, &path)).await?.expect(&[200])?;
            let page = take(&answer)?;
            next = answer.next_link().map(|url| same_host(url, &self.inner.transport.api_path));
            let enough = over(&page);
            items.extend(page);
            if enough {
                next = None;
            }
        }
        Ok(Listed { items, complete: next.is_none() })
    }
}

/// A page that is the list itself.
fn plain<T: DeserializeOwned>(answer: &Response) -> Result<Vec<T>, Trouble> {
    answer.json()
}

/// Half a list would look like things that vanished.
fn complete<T>(what: &str, listed: Listed<T>) -> Result<Vec<T>, Trouble> {
    match listed.complete {
        true => Ok(listed.items),
        false => Err(Trouble::new(TroubleKind::Unexpected, format!("there are too many {what} to list"))),
    }
}

/// A walk along first parents through pages that list all that is reachable.
struct Walk<'a> {
    /// The commit that comes next; `None`: `until` or the first commit of all was met.
    next: Option<Sha>,
    until: Option<&'a Sha>,
    line: Vec<Sha>,
    /// Commit → its first parent, of what was listed and not walked yet.
    first: HashMap<Sha, Option<Sha>>,
}

impl Walk<'_> {
    /// Takes in a page; whether the walk is over.
    fn take(&mut self, page: &[HistoryCommit]) -> bool {
        let parent = |c: &HistoryCommit| c.parents.first().map(|p| p.sha.clone());
        self.first.extend(page.iter().map(|c| (c.sha.clone(), parent(c))));
        loop {
            if self.next.as_ref() == self.until {
                self.next = None;
            }
            let Some(at) = &self.next else { return true };
            let Some(parent) = self.first.remove(at) else { return false };
            self.line.push(at.clone());
            self.next = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::graph::tests::sha;

    fn commit(n: usize, parents: &[usize]) -> HistoryCommit {
        let parents = parents.iter().map(|p| Object { sha: sha(*p) }).collect();
        HistoryCommit { sha: sha(n), parents }
    }

    #[test]
    fn a_walk_leaves_side_branches_out_and_goes_on_over_pages() {
        let until = sha(1);
        let mut walk =
            Walk { next: Some(sha(9)), until: Some(&until), line: vec![], first: HashMap::default() };
        assert!(!walk.take(&[commit(9, &[5, 8]), commit(8, &[7])]));
        assert!(walk.take(&[commit(7, &[1]), commit(5, &[1]), commit(1, &[])]));
        assert_eq!((walk.line, walk.next), (vec![sha(9), sha(5)], None));
    }

    #[test]
    fn a_walk_to_the_root_ends_there() {
        let mut walk = Walk { next: Some(sha(2)), until: None, line: vec![], first: HashMap::default() };
        assert!(walk.take(&[commit(2, &[1]), commit(1, &[])]));
        assert_eq!(walk.line, [sha(2), sha(1)]);
    }
}
