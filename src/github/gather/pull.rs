//! Stage 1 of a pull request: one query, all its pages, one consistent moment.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    answer::{CommitNode, Connection, FileNode, Odd, ReviewNode},
    head::{Head, Identity},
    missing,
};
use crate::{
    event::Sha,
    facts::{Change, Commit, File, Missing, PullRequest, Retarget, Review, graph},
    github::{Github, RepoAt, Trouble, TroubleKind, graphql::Answer},
    time::Time,
};

const QUERY: &str = include_str!("../pr_facts.graphql");

/// With so many commits the query costs one point (10 + 2 × 45 requests).
const COMMITS_FOR_ONE_POINT: u64 = 45;
const PAGE: u64 = 100;

/// More commits are not judged: GitHub's REST interface does not show them either.
pub(super) const MAX_COMMITS: u64 = 250;
/// GitHub shows no more files.
pub(super) const MAX_FILES: u64 = 3000;
/// Not a limit of GitHub; keeps one pull request from eating the hour's budget.
const MAX_REVIEWS: u64 = 5000;

/// How often a pull request may move while it is read.
const RESTARTS: u32 = 4;

/// Waits before the API is read again when it is behind the event.
pub(super) const REREADS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(800)];

/// What the event already states: an answer that does not show it yet is behind.
#[derive(Clone, Debug, Default)]
pub struct Floor {
    pub head: Option<Sha>,
    /// Heads that the ledger knows to be older than `head`.
    pub older_heads: Vec<Sha>,
    pub base_ref: Option<String>,
    /// Reviews by id, with their state in upper case.
    pub reviews: Vec<(u64, String)>,
    /// Number of commits the payload claims: sizes the query, proves nothing.
    pub commits: Option<u64>,
    /// When the pull request last changed before this was stated. An answer that is newer is not behind
    /// in its head and base, whatever they are: deliveries may come late. One that is older is behind.
    pub at: Option<Time>,
    /// Whether an answer from before `at` is refused: it is waited for. Else it is taken, and marked.
    pub patient: bool,
    /// The base was just changed: the timeline must show it, because approvals from before it are stale.
    pub retarget: Option<Retargeted>,
}

/// A change of the base, as an event told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retargeted {
    pub from: String,
    pub to: String,
    /// When the pull request had last changed by that event, so not before the base did.
    pub at: Option<Time>,
}

/// A pull request as read, and what of it could not be read.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub change: Change,
    /// `pull_request`, `commits`, `reviews` or `files`, each at most once. What is named here is
    /// empty or not to be trusted in `change`.
    pub missing: Vec<Missing>,
    /// The answer is from before what an event told, and was taken all the same.
    pub behind: bool,
}

/// Reads the pull request: identity, reviews, commits, files, with `commits_since` filled in.
///
/// # Errors
/// `Unavailable` also if it keeps moving, or if the API stays behind `floor` (its base, a review, an
/// older head, or where it is patient the time of its change) after three re-reads. `Gone` if GitHub does not show it, after the
/// re-reads where an event has stated its head: it may just have been opened. A head that is neither the floor's nor
/// older is newer, and accepted after the re-reads.
pub async fn pull(github: &Github, at: &RepoAt, number: u64, floor: &Floor) -> Result<Pulled, Trouble> {
    let mut told = read(github, at, number, floor.commits).await;
    for wait in REREADS {
        match &told {
            Ok(pulled) if floor.lag(pulled).is_some() => {}
            Err(trouble) if trouble.kind == TroubleKind::Gone && floor.head.is_some() => {}
            _ => return told,
        }
        tokio::time::sleep(wait).await;
        told = read(github, at, number, floor.commits).await;
    }
    let pulled = told?;
    match floor.lag(&pulled) {
        None | Some(Lag::OtherHead) => Ok(pulled),
        Some(Lag::Before(_)) if !floor.patient => Ok(Pulled { behind: true, ..pulled }),
        Some(Lag::Before(at)) => {
            let reason = format!("pull request #{number}: GitHub's API does not show its change of {at} yet");
            Err(Trouble::new(TroubleKind::Unavailable, reason))
        }
        Some(Lag::Behind(what)) => {
            let reason = format!("pull request #{number}: GitHub's API does not show {what} yet");
            Err(Trouble::new(TroubleKind::Unavailable, reason))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Lag {
    Behind(String),
    /// It had not changed yet when the answer was made: whatever of it the event is about is missing.
    Before(Time),
    /// Neither the floor's head nor one known to be older.
    OtherHead,
}

impl Floor {
    fn lag(&self, pulled: &Pulled) -> Option<Lag> {
        self.behind(pulled).map(Lag::Behind).or_else(|| {
            if let Some(at) = self.at.filter(|at| pulled.change.pull_request.updated_at < *at) {
                return Some(Lag::Before(at));
            }
            if self.is_past(pulled) {
                return None;
            }
            let (floor, head) = (self.head.as_ref()?, pulled.change.pull_request.head.sha.as_ref());
            (head != Some(floor)).then_some(Lag::OtherHead)
        })
    }

    /// The answer is newer than what was stated.
    fn is_past(&self, pulled: &Pulled) -> bool {
        self.at.is_some_and(|at| at < pulled.change.pull_request.updated_at)
    }

    fn behind(&self, pulled: &Pulled) -> Option<String> {
        let place = self.behind_in_place(&pulled.change.pull_request).filter(|_| !self.is_past(pulled));
        place.or_else(|| self.behind_in_timeline(&pulled.change.pull_request)).or_else(|| {
            // Reviews that could not be read are missing, not late.
            let readable = !pulled.missing.iter().any(|m| m.fact == "reviews");
            let late = self.reviews.iter().find(|(id, state)| !shows(&pulled.change.reviews, *id, state));
            late.filter(|_| readable).map(|(id, state)| format!("review {id} ({state})"))
        })
    }

    fn behind_in_timeline(&self, pr: &PullRequest) -> Option<String> {
        let told = self.retarget.as_ref()?;
        let is_it = |r: &Retarget| r.from == told.from && r.to == told.to;
        let is_later = |r: &Retarget| told.at.is_some_and(|at| at < r.at);
        let shown = pr.retarget.as_ref().is_some_and(|r| is_it(r) || is_later(r));
        // It may have been changed again since.
        (!shown && pr.base.name == told.to).then(|| format!("the change of the base to `{}`", told.to))
    }

    fn behind_in_place(&self, pr: &PullRequest) -> Option<String> {
        if let (Some(floor), Some(head)) = (&self.head, &pr.head.sha)
            && head != floor
            && self.older_heads.contains(head)
        {
            return Some(format!("the head {}", floor.short()));
        }
        let base = self.base_ref.as_ref().filter(|b| **b != pr.base.name)?;
        Some(format!("the base `{base}`"))
    }
}

/// A review may only go on from its state to `DISMISSED`; comments are not read at all.
fn shows(reviews: &[Review], id: u64, state: &str) -> bool {
    if !matches!(state, "APPROVED" | "CHANGES_REQUESTED" | "DISMISSED") {
        return true;
    }
    reviews.iter().any(|r| r.id == id && (r.state == state || r.state == "DISMISSED"))
}

async fn read(github: &Github, at: &RepoAt, number: u64, commits: Option<u64>) -> Result<Pulled, Trouble> {
    for _ in 0..RESTARTS {
        if let Some(pulled) = read_once(github, at, number, commits).await? {
            return Ok(pulled);
        }
    }
    let reason = format!("pull request #{number} moved {RESTARTS} times while it was read");
    Err(Trouble::new(TroubleKind::Unavailable, reason))
}

/// All pages; `None` if head or base moved between two of them.
async fn read_once(
    github: &Github,
    at: &RepoAt,
    number: u64,
    commits: Option<u64>,
) -> Result<Option<Pulled>, Trouble> {
    let mut reading = Reading::default();
    let mut variables = json!({
        "owner": at.repository.name.owner(),
        "repo": at.repository.name.name(),
        "number": number,
        "commits": commits.unwrap_or(0).clamp(COMMITS_FOR_ONE_POINT, PAGE),
    });
    let mut first: Option<(Identity, Head)> = None;
    loop {
        let answer = github.graphql(at.installation, QUERY, variables.clone()).await?;
        let pull = page(at, &answer)?;
        let identity = Identity::of(pull)?;
        match &first {
            None => first = Some((identity, Head::of(pull)?)),
            Some((began, _)) if *began != identity => return Ok(None),
            Some(_) => {}
        }
        reading.take(&answer, pull);
        if !reading.ask_on(&mut variables) {
            break;
        }
    }
    // The loop is left only after a first page.
    let Some((identity, head)) = first else { return Ok(None) };
    Ok(Some(reading.finish(at, identity, head)))
}

/// The pull request of an answer, after checking that it is of the repository we mean: names are
/// given to others after a rename.
fn page<'a>(at: &RepoAt, answer: &'a Answer) -> Result<&'a Value, Trouble> {
    super::same_repository(at, answer)?;
    answer.at(&["repository", "pullRequest"])
}

/// What has been read so far, one section beside the other.
#[derive(Default)]
struct Reading {
    head: Option<Odd>,
    commits: Section<Commit>,
    reviews: Section<Review>,
    files: Section<File>,
}

impl Reading {
    fn take(&mut self, answer: &Answer, pull: &Value) {
        self.commits.take::<CommitNode>(answer, pull, "commits", MAX_COMMITS, |n| n.commit.commit());
        self.reviews.take::<ReviewNode>(answer, pull, "reviews", MAX_REVIEWS, ReviewNode::review);
        self.files.take::<FileNode>(answer, pull, "files", MAX_FILES, FileNode::file);
        // What is left of the errors is about the pull request itself.
        let sections = ["commits", "reviews", "files"];
        let other = answer.errors.iter().find(|e| {
            let below = e.path.get(2).map(String::as_str);
            !below.is_some_and(|name| sections.contains(&name))
        });
        if let Some(error) = other {
            self.head.get_or_insert_with(|| error.short());
        }
    }

    /// Sets the variables for the next page; `false` if all is read.
    fn ask_on(&self, variables: &mut Value) -> bool {
        let more = [&self.commits.cursor, &self.reviews.cursor, &self.files.cursor];
        variables["withHead"] = json!(false);
        // Points are paid for what is asked, not for what comes.
        variables["commits"] = json!(self.commits.left().clamp(1, PAGE));
        for (name, cursor) in ["Commits", "Reviews", "Files"].iter().zip(more) {
            variables[format!("with{name}")] = json!(cursor.is_some());
            variables[format!("after{name}")] = json!(cursor);
        }
        more.iter().any(|cursor| cursor.is_some())
    }

    fn finish(self, at: &RepoAt, identity: Identity, head: Head) -> Pulled {
        let mut gone: Vec<Missing> =
            self.head.map(|why| missing("pull_request", None, why)).into_iter().collect();
        let labels = head.odd();
        gone.extend(labels.map(|why| missing("pull_request", None, why)));
        let changed_files = head.changed_files;
        let commits =
            self.commits.finish("commits", &mut gone, |all, total| check_commits(all, total, &identity));
        let mut reviews =
            self.reviews.finish("reviews", &mut gone, |all, total| check_count(all.len(), total));
        let files = self.files.finish("files", &mut gone, |all, total| {
            check_count(all.len(), total).and_then(|()| check_count(all.len(), changed_files))
        });
        let commits_known = self.commits.total;
        graph::mark_reviews(&mut reviews, &commits);
        let (pull_request, shared_head, odd) = head.pull_request(at, identity, commits_known);
        gone.extend(odd.map(|why| missing("pull_request", None, why)));
        let mut seen = std::collections::HashSet::new();
        gone.retain(|m| seen.insert(m.fact.clone()));
        let change = Change {
            pull_request,
            reviews,
            commits,
            files,
            shared_head,
            codeowners: None,
            pushes: None,
            comparison: None,
            checks: None,
            workflows: None,
        };
        Pulled { change, missing: gone, behind: false }
    }
}

fn check_count(read: usize, total: u64) -> Result<(), Odd> {
    if read as u64 == total { Ok(()) } else { Err(format!("{read} of {total} read")) }
}

fn check_commits(all: &[Commit], total: u64, identity: &Identity) -> Result<(), Odd> {
    let distinct: std::collections::HashSet<&Sha> = all.iter().map(|c| &c.sha).collect();
    check_count(distinct.len(), total)?;
    if distinct.contains(&identity.head) {
        Ok(())
    } else {
        Err(format!("the list lacks the head {}", identity.head.short()))
    }
}

/// One connection, page after page.
struct Section<T> {
    begun: bool,
    all: Vec<T>,
    total: u64,
    cursor: Option<String>,
    odd: Option<Odd>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self { begun: false, all: Vec::new(), total: 0, cursor: None, odd: None }
    }
}

impl<T> Section<T> {
    fn left(&self) -> u64 {
        self.total.saturating_sub(self.all.len() as u64)
    }

    fn take<N: DeserializeOwned>(
        &mut self,
        answer: &Answer,
        pull: &Value,
        name: &str,
        limit: u64,
        convert: impl Fn(N) -> Result<T, Odd>,
    ) {
        let asked = !self.begun || self.cursor.take().is_some();
        self.begun = true;
        if self.odd.is_some() || !asked {
            return;
        }
        if let Err(odd) = self.add(answer, pull, name, limit, convert) {
            (self.odd, self.cursor) = (Some(odd), None);
        }
    }

    fn add<N: DeserializeOwned>(
        &mut self,
        answer: &Answer,
        pull: &Value,
        name: &str,
        limit: u64,
        convert: impl Fn(N) -> Result<T, Odd>,
    ) -> Result<(), Odd> {
        if let Some(error) = answer.touching(&["repository", "pullRequest", name]) {
            return Err(error.short());
        }
        let page = Connection::<N>::deserialize_from(pull, name)?;
        self.total = page.total_count;
        if page.total_count > limit {
            return Err(format!("there are {}, more than {limit}", page.total_count));
        }
        self.cursor = page.next();
        if self.cursor.is_some() && page.nodes.is_empty() {
            return Err("GitHub's pages do not end".to_owned());
        }
        for node in page.nodes {
            self.all.push(convert(node)?);
        }
        if self.all.len() as u64 > limit {
            return Err(format!("there are more than {limit}"));
        }
        Ok(())
    }

    /// All of it if it passes `check`; else nothing, and the fact is missing.
    fn finish(
        &self,
        fact: &str,
        gone: &mut Vec<Missing>,
        check: impl Fn(&[T], u64) -> Result<(), Odd>,
    ) -> Vec<T>
    where
        T: Clone,
    {
        let odd = self.odd.clone().or_else(|| check(&self.all, self.total).err());
        match odd {
            None => self.all.clone(),
            Some(why) => {
                gone.push(missing(fact, None, why));
                Vec::new()
            }
        }
    }
}

impl<N: DeserializeOwned> Connection<N> {
    fn deserialize_from(pull: &Value, name: &str) -> Result<Self, Odd> {
        let value = pull.get(name).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|e| format!("answer not understood: {e}"))
    }
}
