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
//! others.jsonl             entries outside of it that are needed: bundles of policies, exceptions, erasures
//! salts.json               of the bodies: {"<seq>/<name>": hex}
//! bodies/<seq>/<name>      the bodies of what was selected
//! ```
//!
//! **Complete**, because all entries of the range are there, not only those that were asked for: which of
//! them belong to a pull request is computed again by whoever verifies ([`select`]), so that a denial or
//! a waiver cannot be left out. Entries name nobody; only the bodies of what was asked for are in it.
//!
//! Merge groups that carried it, what landed of it and where that was deployed say its number in the verdicts on
//! them; a verdict says which exceptions it rests on. Entries of an older gatelog do not: what of these is there is
//! said to be not proved ([`unsaid`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Which entries of a range were asked for: they themselves, what answers them (verdicts, reports), the exceptions
/// that these rest on, then what any of all that refers to, as far as it is in the range.
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
    let rested_on = rested_on(&selected, range);
    for entry in range.iter().filter(|e| e.kind == Kind::Waiver) {
        let of = entry.data.get("of").and_then(Value::as_u64).unwrap_or(entry.seq);
        if rested_on.contains(&of) || rested_on.contains(&entry.seq) {
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

/// The exceptions that what was selected rests on: the entries of the steps that made them.
#[must_use]
pub fn rested_on(selected: &BTreeSet<u64>, range: &[Entry]) -> BTreeSet<u64> {
    let verdicts = range.iter().filter(|e| e.kind == Kind::Verdict && selected.contains(&e.seq));
    let steps = |e: &Entry| numbers(e, "waivers").unwrap_or_default();
    verdicts.flat_map(steps).collect()
}

/// Those of them that come before the range.
#[must_use]
pub fn older_exceptions(selected: &BTreeSet<u64>, range: &[Entry]) -> BTreeSet<u64> {
    let first = range.first().map_or(0, |e| e.seq);
    rested_on(selected, range).into_iter().filter(|seq| *seq < first).collect()
}

/// A list of numbers in the data of an entry; `None`: there is none.
fn numbers(entry: &Entry, name: &str) -> Option<Vec<u64>> {
    Some(entry.data.get(name)?.as_array()?.iter().filter_map(Value::as_u64).collect())
}

/// A verdict or report about something selected; not another look that it merely caused.
fn answers(entry: &Entry, reference: u64, selected: &BTreeSet<u64>) -> bool {
    matches!(entry.kind, Kind::Verdict | Kind::Report) && selected.contains(&reference)
}

/// The heads that a pull request ever had, those of merge groups that carried it and what it landed as, so that
/// pushes of them, deployments and checks are found.
fn heads<'e>(selection: &Selection, range: &'e [Entry]) -> BTreeSet<&'e Sha> {
    let Selection::PullRequest { repository, number } = selection else { return BTreeSet::new() };
    let concerns = |e: &Entry| {
        let pulls = || numbers(e, "pulls").is_some_and(|pulls| pulls.contains(number));
        e.kind == Kind::Verdict && e.subject.repository == Some(*repository) && pulls()
    };
    range
        .iter()
        .filter(|e| is_pull(e, *repository, *number) || concerns(e))
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
pub fn created_at(selection: &Selection, payload: &Value) -> Option<Time> {
    let Selection::PullRequest { repository, number } = selection else { return None };
    let id = payload.pointer("/repository/id")?.as_u64()?;
    let pull = payload.get("pull_request")?;
    let is_it = (id, pull.get("number")?.as_u64()?) == (*repository, *number);
    pull.get("created_at")?.as_str()?.parse().ok().filter(|_| is_it)
}

/// What may concern a pull request and does not say so: heads of merge groups and of what landed, each with its first
/// entry, of which no verdict names the pull requests. Either GitHub did not tell, or an older
/// gatelog judged, or nobody yet.
#[must_use]
pub fn unsaid(selection: &Selection, range: &[Entry]) -> BTreeMap<u64, Sha> {
    let Selection::PullRequest { repository, .. } = selection else { return BTreeMap::new() };
    let known = heads(selection, range);
    let answered: BTreeSet<u64> =
        range.iter().filter(|e| e.kind == Kind::Verdict).flat_map(|e| e.refs.iter().copied()).collect();
    let (mut may, mut told) = (BTreeMap::new(), BTreeSet::new());
    for entry in range.iter().filter(|e| e.subject.repository == Some(*repository)) {
        let Some(head) = &entry.subject.head else { continue };
        if entry.kind == Kind::Verdict && numbers(entry, "pulls").is_some() {
            told.insert(head);
        }
        let counts = match (&entry.kind, entry.subject.kind) {
            (Kind::Event | Kind::Verdict, SubjectKind::MergeGroup) => true,
            // Pushes to other branches land nowhere.
            (Kind::Verdict, SubjectKind::Ref) => entry.data.get("landing").is_some_and(|l| !l.is_null()),
            (Kind::Event, SubjectKind::Ref) => !answered.contains(&entry.seq),
            _ => false,
        };
        if counts && !known.contains(head) {
            may.entry(head).or_insert(entry.seq);
        }
    }
    may.into_iter().filter(|(head, _)| !told.contains(head)).map(|(head, seq)| (seq, head.clone())).collect()
}

/// What is not in evidence about a pull request, by intent.
pub const NOT_IN_IT: &str = "pushes of its head from before it was opened, and deployments of later commits";

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
            let unsaid = unsaid(selection, range);
            if let Some((first, _)) = unsaid.first_key_value() {
                return Err(format!(
                    "completeness: which pull requests {} merge groups or landings were of, the first of \
                     them in entry {first}; all else that names it or one of its heads is here, {until}",
                    unsaid.len()
                ));
            }
            Ok(format!(
                "everything that names it, its heads, merge groups that carried it and what landed of it is here, \
                 {until}"
            ))
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
