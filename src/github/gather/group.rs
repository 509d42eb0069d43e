//! Merge groups, and the open pull requests of a repository.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Floor, Holes,
    answer::{Connection, Odd, Oid},
    pull::{REREADS, pull},
};
use crate::{
    event::Sha,
    facts::{MergeGroup, Missing},
    github::{Github, RepoAt, Trouble, TroubleKind, graphql::Answer},
    time::Time,
};

const QUERY: &str = include_str!("../merge_group.graphql");
const OPEN_QUERY: &str = include_str!("../open_pulls.graphql");

/// Open pull requests that are read: a hundred pages.
const OPEN_PAGES: usize = 100;

/// Pages of a merge queue that are read.
const QUEUE_PAGES: usize = 5;

/// A merge group with its pull requests, and what of them could not be read.
#[derive(Clone, Debug)]
pub struct Grouped {
    pub group: MergeGroup,
    /// `merge_group` without an id if any of it is missing; beside it what exactly.
    pub missing: Vec<Missing>,
    /// What was read of a pull request is from before what an event told, and was taken all the same.
    pub behind: bool,
}

/// Which pull requests the group carries, each read at the head it has in the queue.
///
/// The group is the queue entry whose commit is `head_sha` and all entries before it, whatever
/// `base_sha` is (of a stacked group it is the head of the group ahead). `floor` says below what the answer on
/// each must not fall, but for its head.
///
/// # Errors
/// As of [`pull`].
pub async fn merge_group(
    github: &Github,
    at: &RepoAt,
    group: &MergeGroup,
    floor: &(dyn Fn(u64) -> Floor + Sync),
) -> Result<Grouped, Trouble> {
    let mut grouped = Grouped { group: group.clone(), missing: Vec::new(), behind: false };
    let entries = match github.queue(at, group).await? {
        Ok(entries) => entries,
        Err(why) => {
            Holes::of_group(&mut grouped.missing).add("merge_group", None, why);
            return Ok(grouped);
        }
    };
    let mut changes = Vec::new();
    for entry in entries {
        // Where it has moved on, older heads do not matter: the group carries this one.
        let floor = Floor { head: Some(entry.head.clone()), older_heads: vec![], ..floor(entry.number) };
        let pulled = pull(github, at, entry.number, &floor).await?;
        grouped.behind |= pulled.behind;
        let mut holes = Holes::of_entry(&mut grouped.missing, entry.number);
        if pulled.change.pull_request.head.sha.as_ref() != Some(&entry.head) {
            holes.add("pull_request", None, format!("its head is not {} any more", entry.head.short()));
        }
        let base = branch(&group.base_ref);
        if pulled.change.pull_request.base.name != base {
            holes.add("pull_request", None, format!("its base is not `{base}`"));
        }
        for m in pulled.missing {
            holes.add(&m.fact, m.id, m.reason);
        }
        changes.push(pulled.change);
    }
    grouped.group.entries = Some(changes);
    Ok(grouped)
}

/// A pull request in the queue.
#[derive(Debug, PartialEq, Eq)]
struct Queued {
    number: u64,
    head: Sha,
}

impl Github {
    /// The entries of the group, first in the queue first. The queue may lag behind the event.
    async fn queue(&self, at: &RepoAt, group: &MergeGroup) -> Result<Result<Vec<Queued>, Odd>, Trouble> {
        let mut waits = REREADS.iter();
        loop {
            let found = self.queue_once(at, group).await?;
            match (&found, waits.next()) {
                (Err(_), Some(wait)) => tokio::time::sleep(*wait).await,
                _ => return Ok(found),
            }
        }
    }

    async fn queue_once(&self, at: &RepoAt, group: &MergeGroup) -> Result<Result<Vec<Queued>, Odd>, Trouble> {
        let (mut nodes, mut line) = (Vec::new(), Line::new());
        let mut after = Value::Null;
        for _ in 0..QUEUE_PAGES {
            let variables = json!({
                "owner": at.repository.name.owner(),
                "repo": at.repository.name.name(),
                "branch": branch(&group.base_ref),
                "head": group.head_sha,
                "after": after,
                "withHistory": after.is_null(),
            });
            let answer = self.graphql(at.installation, QUERY, variables).await?;
            super::same_repository(at, &answer)?;
            let page = match entries_of(&answer) {
                Ok(page) => page,
                Err(why) => return Ok(Err(why)),
            };
            line.extend(line_of(&answer));
            let next = page.next();
            nodes.extend(page.nodes);
            match next {
                Some(cursor) => after = json!(cursor),
                None => return Ok(pick(group, nodes, &line)),
            }
        }
        Ok(Err("the merge queue is too long to be read".to_owned()))
    }
}

fn branch(base_ref: &str) -> &str {
    base_ref.strip_prefix("refs/heads/").unwrap_or(base_ref)
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryNode {
    position: u64,
    head_commit: Option<Oid>,
    pull_request: Option<EntryPull>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryPull {
    number: u64,
    state: String,
    head_ref_oid: Sha,
    base_ref_name: String,
}

fn entries_of(answer: &Answer) -> Result<Connection<EntryNode>, Odd> {
    if let Some(error) = answer.touching(&["repository", "mergeQueue"]) {
        return Err(format!("the merge queue: {}", error.short()));
    }
    let queue = &answer.data["repository"]["mergeQueue"];
    if queue.is_null() {
        return Err("the branch has no merge queue that can be seen".to_owned());
    }
    Connection::deserialize(&queue["entries"])
        .map_err(|e| format!("the merge queue: answer not understood: {e}"))
}

/// Parents of the commits below the group's head.
type Line = HashMap<Sha, Vec<Sha>>;

fn line_of(answer: &Answer) -> Line {
    #[derive(Deserialize)]
    struct Node {
        oid: Sha,
        parents: Connection<Oid>,
    }
    let nodes = answer.data["repository"]["head"]["history"]["nodes"].as_array();
    let nodes = nodes.map(Vec::as_slice).unwrap_or_default();
    let node = |v: &Value| {
        Node::deserialize(v).ok().map(|n| (n.oid, n.parents.nodes.into_iter().map(|p| p.oid).collect()))
    };
    nodes.iter().filter_map(node).collect()
}

/// The entry of the group and all before it.
fn pick(group: &MergeGroup, mut nodes: Vec<EntryNode>, line: &Line) -> Result<Vec<Queued>, Odd> {
    nodes.sort_by_key(|n| n.position);
    let is_last = |n: &EntryNode| n.head_commit.as_ref().is_some_and(|c| c.oid == group.head_sha);
    let last = nodes.iter().position(is_last).ok_or("no entry of the merge queue has this head")?;
    nodes.truncate(last + 1);
    let mut entries = Vec::new();
    for node in nodes {
        let pull = node.pull_request.ok_or("an entry of the merge queue has no pull request")?;
        if pull.base_ref_name != branch(&group.base_ref) {
            return Err(format!("#{} in the queue is for the branch `{}`", pull.number, pull.base_ref_name));
        }
        if pull.state != "OPEN" {
            return Err(format!("#{} in the queue is not open", pull.number));
        }
        entries.push(Queued { number: pull.number, head: pull.head_ref_oid });
    }
    let own = entries.last().map(|e| e.number);
    if own.is_none() || own != number_in(&group.head_ref) {
        return Err(format!(
            "the queue and the group's branch `{}` name different pull requests",
            group.head_ref
        ));
    }
    check_line(&group.head_sha, &entries, line)?;
    Ok(entries)
}

/// `refs/heads/gh-readonly-queue/main/pr-7-<sha>`: 7.
fn number_in(head_ref: &str) -> Option<u64> {
    let last = head_ref.rsplit('/').next()?;
    last.strip_prefix("pr-")?.split('-').next()?.parse().ok()
}

/// With merge commits, the second parent of each is the head of its entry: a cross-check of what the
/// queue says, as far as the line consists of merges.
fn check_line(head: &Sha, entries: &[Queued], line: &Line) -> Result<(), Odd> {
    let mut at = head;
    for entry in entries.iter().rev() {
        let Some([first, second]) = line.get(at).map(Vec::as_slice) else { return Ok(()) };
        if *second != entry.head {
            return Err(format!("the group does not merge #{} at {}", entry.number, entry.head.short()));
        }
        at = first;
    }
    Ok(())
}

/// An open pull request, as far as the index of heads needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPull {
    pub number: u64,
    #[serde(rename = "headRefOid")]
    pub head: Sha,
    #[serde(rename = "baseRefName")]
    pub base_ref: String,
    #[serde(rename = "headRefName")]
    pub head_ref: String,
    #[serde(rename = "isDraft")]
    pub draft: bool,
    /// When anything of it last changed; whether what we write moves it too is GitHub's affair.
    pub updated_at: Time,
}

/// Head and base of every open pull request of the repository.
///
/// # Errors
/// As of [`pull`]; also if the list cannot be read whole.
pub async fn open_pulls(github: &Github, at: &RepoAt) -> Result<Vec<OpenPull>, Trouble> {
    let mut all: Vec<OpenPull> = Vec::new();
    let mut after = Value::Null;
    for _ in 0..OPEN_PAGES {
        let variables = json!({
            "owner": at.repository.name.owner(), "repo": at.repository.name.name(), "after": after,
        });
        let answer = github.graphql(at.installation, OPEN_QUERY, variables).await?;
        super::same_repository(at, &answer)?;
        let broken =
            |why: String| Trouble::new(TroubleKind::Unavailable, format!("open pull requests: {why}"));
        if let Some(error) = answer.touching(&["repository", "pullRequests"]) {
            return Err(broken(error.short()));
        }
        let value = &answer.data["repository"]["pullRequests"];
        let page = Connection::<OpenPull>::deserialize(value).map_err(|e| broken(e.to_string()))?;
        let next = page.next();
        all.extend(page.nodes);
        match next {
            Some(cursor) => after = json!(cursor),
            None => return Ok(all),
        }
    }
    Err(Trouble::new(TroubleKind::Unexpected, "there are too many open pull requests to list"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::graph::tests::sha;

    fn group(head: usize, number: u64) -> MergeGroup {
        MergeGroup {
            head_sha: sha(head),
            head_ref: format!("refs/heads/gh-readonly-queue/main/pr-{number}-{}", sha(1)),
            base_sha: None,
            base_ref: "refs/heads/main".to_owned(),
            entries: None,
        }
    }

    fn entry(position: u64, head_commit: usize, number: u64) -> EntryNode {
        EntryNode {
            position,
            head_commit: Some(Oid { oid: sha(head_commit) }),
            pull_request: Some(EntryPull {
                number,
                state: "OPEN".to_owned(),
                head_ref_oid: sha(usize::try_from(number).unwrap()),
                base_ref_name: "main".to_owned(),
            }),
        }
    }

    fn numbers(found: Result<Vec<Queued>, Odd>) -> Vec<u64> {
        found.unwrap().into_iter().map(|e| e.number).collect()
    }

    #[test]
    fn the_group_is_its_entry_and_all_before_it() {
        let queue = || vec![entry(3, 93, 13), entry(1, 91, 11), entry(2, 92, 12)];
        assert_eq!(numbers(pick(&group(92, 12), queue(), &Line::new())), [11, 12]);
        assert_eq!(numbers(pick(&group(93, 13), queue(), &Line::new())), [11, 12, 13]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let no_pull = EntryNode { pull_request: None, ..entry(1, 91, 11) };
        let mut other_base = entry(1, 91, 11);
        let mut closed = entry(1, 91, 11);
        if let (Some(a), Some(b)) = (&mut other_base.pull_request, &mut closed.pull_request) {
            a.base_ref_name = "dev".to_owned();
            b.state = "CLOSED".to_owned();
        }
        let own = entry(2, 92, 12);
        for (what, first) in [("no pull", no_pull), ("other base", other_base), ("closed", closed)] {
            assert!(pick(&group(92, 12), vec![first, own.clone()], &Line::new()).is_err(), "{what}");
        }
        assert!(pick(&group(99, 12), vec![own.clone()], &Line::new()).is_err(), "no entry has the head");
        assert!(pick(&group(92, 13), vec![own], &Line::new()).is_err(), "the branch names another");
    }

    #[test]
    fn merge_commits_must_merge_the_entries() {
        let queue = || vec![entry(1, 91, 11), entry(2, 92, 12)];
        let mut line = Line::from([(sha(92), vec![sha(91), sha(12)]), (sha(91), vec![sha(90), sha(11)])]);
        assert_eq!(numbers(pick(&group(92, 12), queue(), &line)), [11, 12]);
        line.insert(sha(91), vec![sha(90), sha(55)]);
        assert!(pick(&group(92, 12), queue(), &line).is_err());
    }

    #[test]
    fn the_number_in_the_branch() {
        assert_eq!(number_in("refs/heads/gh-readonly-queue/release/1/pr-7-abc"), Some(7));
        assert_eq!(number_in("gh-readonly-queue/main/pr-x"), None);
        assert_eq!(number_in("main"), None);
    }
}
