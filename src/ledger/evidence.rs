//! Evidence: what an auditor takes away, and everything needed to check it without the ledger.
//!
//! A zip file of these:
//!
//! ```text
//! README.txt, index.html   for people; nothing is proved by them
//! manifest.json            what was asked for and what is there ([`Manifest`])
//! checkpoint               the signed note, C2SP tlog-checkpoint
//! tree.json                hashes that lead from the entries to the checkpoint ([`Tree`])
//! entries.jsonl            all entries of the range, one a line, as they were hashed
//! others.jsonl             entries outside of it that are needed: bundles of policies, erasures
//! salts.json               of the bodies: {"<seq>/<name>": hex}
//! bodies/<seq>/<name>      the bodies of what was selected
//! ```
//!
//! **Complete**, because all entries of the range are there, not only those that were asked for: which of
//! them belong to a pull request is computed again by whoever verifies ([`select`]), so that a denial or
//! a waiver cannot be left out. Entries name nobody; only the bodies of what was asked for are in it.
//!
//! What concerns a pull request and names neither it nor one of its heads is not found so ([`Selection::beyond`]):
//! then the evidence says what it does not prove.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Hash, Kind};
use crate::{
    event::{Sha, SubjectKind},
    time::Time,
};

pub mod about;
pub mod archive;
pub mod verify;

pub const FORMAT: &str = "gatelog-evidence/1";

pub const MANIFEST: &str = "manifest.json";
pub const CHECKPOINT: &str = "checkpoint";
pub const TREE: &str = "tree.json";
pub const ENTRIES: &str = "entries.jsonl";
pub const OTHERS: &str = "others.jsonl";
pub const SALTS: &str = "salts.json";

/// All that is in it beside the bodies. `index.html` and `README.txt` are for people: nothing proves them.
pub const FILES: &[&str] = &["README.txt", "index.html", MANIFEST, CHECKPOINT, TREE, ENTRIES, OTHERS, SALTS];

/// Where a body lies in the file.
#[must_use]
pub fn body_path(seq: u64, name: &str) -> String {
    format!("bodies/{seq}/{name}")
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    /// The gatelog that made it.
    pub made_by: String,
    pub selection: Selection,
    /// Entries `from..to` are all there.
    pub from: u64,
    pub to: u64,
    /// Those that were asked for, by number.
    pub selected: Vec<u64>,
    /// Bodies of these that were erased.
    pub redacted: Vec<Redacted>,
    /// Every other file with its SHA-256, in hex.
    pub files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Redacted {
    pub entry: u64,
    pub body: String,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Selection {
    /// Ids of GitHub: a name may have moved.
    PullRequest {
        repository: u64,
        number: u64,
    },
    Entry {
        entry: u64,
    },
    /// `since` is in it, `until` is not.
    Time {
        since: Option<Time>,
        until: Option<Time>,
        repository: Option<u64>,
    },
}

/// Hashes that lead from the entries to the root of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Roots of the perfect subtrees that cover the entries before the range, largest first: as many as
    /// `from` has one-bits.
    pub left: Vec<Hash>,
    /// Consistency proof (RFC 9162 §2.1.4) from the tree of `to` entries to the checkpoint's.
    pub right: Vec<Hash>,
    /// Inclusion proofs (RFC 9162 §2.1.3) of the other entries in the checkpoint's tree.
    pub others: BTreeMap<u64, Vec<Hash>>,
}

/// Which entries of a range were asked for: they themselves, what answers them (verdicts, reports), then
/// what any of these refer to, as far as it is in the range.
#[must_use]
pub fn select(selection: &Selection, range: &[Entry]) -> BTreeSet<u64> {
    let heads = heads(selection, range);
    let mut selected = BTreeSet::new();
    for entry in range {
        if is_asked_for(selection, &heads, entry) || entry.refs.iter().any(|r| answers(entry, *r, &selected))
        {
            selected.insert(entry.seq);
        }
    }
    for entry in range.iter().rev() {
        if selected.contains(&entry.seq) {
            let first = range.first().map_or(0, |e| e.seq);
            selected.extend(entry.refs.iter().copied().filter(|r| *r >= first));
        }
    }
    selected
}

/// A verdict or report about something selected; not another look that it merely caused.
fn answers(entry: &Entry, reference: u64, selected: &BTreeSet<u64>) -> bool {
    matches!(entry.kind, Kind::Verdict | Kind::Report) && selected.contains(&reference)
}

/// The heads that a pull request ever had, so that pushes of them and checks on them are found.
fn heads<'e>(selection: &Selection, range: &'e [Entry]) -> BTreeSet<&'e Sha> {
    let Selection::PullRequest { repository, number } = selection else { return BTreeSet::new() };
    range
        .iter()
        .filter(|e| is_pull(e, *repository, *number))
        .filter_map(|e| e.subject.head.as_ref())
        .collect()
}

fn is_pull(entry: &Entry, repository: u64, number: u64) -> bool {
    let s = &entry.subject;
    s.kind == SubjectKind::PullRequest && s.repository == Some(repository) && s.id == Some(number)
}

fn is_asked_for(selection: &Selection, heads: &BTreeSet<&Sha>, entry: &Entry) -> bool {
    let s = &entry.subject;
    match selection {
        Selection::PullRequest { repository, number } => {
            let of_its_head = s.repository == Some(*repository)
                && !matches!(s.kind, SubjectKind::PullRequest)
                && s.head.as_ref().is_some_and(|h| heads.contains(h));
            is_pull(entry, *repository, *number) || of_its_head
        }
        Selection::Entry { entry: seq } => entry.seq == *seq,
        Selection::Time { since, until, repository } => {
            since.is_none_or(|since| entry.time >= since)
                && until.is_none_or(|until| entry.time < until)
                && repository.is_none_or(|id| s.repository == Some(id))
        }
    }
}

/// The bundles that judged what was selected.
#[must_use]
pub fn bundles_of(selected: &BTreeSet<u64>, range: &[Entry]) -> BTreeSet<String> {
    let verdicts = range.iter().filter(|e| e.kind == Kind::Verdict && selected.contains(&e.seq));
    verdicts.filter_map(|e| Some(e.data.get("bundle")?.as_str()?.to_owned())).collect()
}

/// Clocks of GitHub and of the gate may differ by less than this.
pub const CLOCKS: Duration = Duration::from_secs(3600);

/// When GitHub says that the pull request was made: in the payload of an event about it.
#[must_use]
pub fn created_at(selection: &Selection, payload: &serde_json::Value) -> Option<Time> {
    let Selection::PullRequest { repository, number } = selection else { return None };
    let id = payload.pointer("/repository/id")?.as_u64()?;
    let pull = payload.get("pull_request")?;
    let is_it = (id, pull.get("number")?.as_u64()?) == (*repository, *number);
    pull.get("created_at")?.as_str()?.parse().ok().filter(|_| is_it)
}

impl Selection {
    /// What concerns it and may not be selected, because no number in an entry says so: it is asked for by `--entry`,
    /// or by a time of the repository.
    #[must_use]
    pub fn beyond(&self) -> Option<&'static str> {
        let beyond = "completeness: merge groups that it was in, what landed of it and where that was deployed, \
                      exceptions wider than it, and pushes of its head from before it was opened";
        matches!(self, Self::PullRequest { .. }).then_some(beyond)
    }
}

/// Whether nothing that was asked for can lie outside of the range, or what is not proved.
///
/// `range` is not empty, `size` is that of the checkpoint, `created` what [`created_at`] says.
///
/// # Errors
/// What is not proved.
pub fn completeness(
    selection: &Selection,
    created: Option<Time>,
    range: &[Entry],
    size: u64,
) -> Result<String, String> {
    let (Some(first), Some(last)) = (range.first(), range.last()) else { return Err("completeness".into()) };
    let until = if last.seq + 1 == size {
        format!("until the checkpoint of {size} entries, the last of {}", last.time)
    } else {
        format!("until entry {}, {}", last.seq, last.time)
    };
    match selection {
        Selection::Entry { .. } => Err("completeness: that no other entry says more about it".into()),
        Selection::PullRequest { .. } => {
            // What comes before the range is older still, and so than the pull request.
            let before = |created: Time| first.time.plus(CLOCKS) < created;
            if first.seq > 0 && !created.is_some_and(before) {
                return Err("completeness: that nothing about it comes before the range".into());
            }
            Ok(format!("everything that names it or one of its heads is here, {until}"))
        }
        Selection::Time { since, until: end, .. } => {
            if first.seq > 0 && since.is_none_or(|since| first.time >= since) {
                return Err("completeness: that nothing of that time comes before the range".into());
            }
            if last.seq + 1 < size && end.is_none_or(|end| last.time < end) {
                return Err("completeness: that nothing of that time comes after the range".into());
            }
            Ok(format!("everything of that time is here, {until}"))
        }
    }
}
