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
/// that these rest on, and what any of all that refers to, as far as it is in the range.
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
    let first = range.first().map_or(0, |e| e.seq);
    loop {
        let before = selected.len();
        let rested_on = rested_on(&selected, range);
        for entry in range.iter().filter(|e| e.kind == Kind::Waiver) {
            let of = entry.data.get("of").and_then(Value::as_u64).unwrap_or(entry.seq);
            if rested_on.contains(&of) || rested_on.contains(&entry.seq) {
                selected.insert(entry.seq);
            }
        }
        for entry in range.iter().rev() {
            if selected.contains(&entry.seq) {
                selected.extend(entry.refs.iter().copied().filter(|r| *r >= first));
            }
        }
        // What came in by a reference may rest on an exception of its own.
        if selected.len() == before {
            return selected;
        }
    }
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
    entry.data.get(name)?.as_array()?.iter().map(Value::as_u64).collect()
}

/// What of an entry is not of the form by which it is found out what it is about: nobody could say that it is not.
#[must_use]
pub fn misshapen(entry: &Entry) -> Option<String> {
    if !entry.data.is_object() {
        return Some("its data is no object".into());
    }
    let lists = ["pulls", "waivers"].into_iter().filter(|_| entry.kind == Kind::Verdict);
    let no_list =
        lists.into_iter().find(|name| entry.data.get(name).is_some() && numbers(entry, name).is_none());
    if let Some(name) = no_list {
        return Some(format!("its {name} are no list of numbers"));
    }
    let of = entry.data.get("of").filter(|of| entry.kind == Kind::Waiver && !of.is_null());
    of.is_some_and(|of| !of.is_u64()).then(|| "what it is a step of is no number".into())
}

/// A verdict or report about something selected; not another look that it merely caused.
fn answers(entry: &Entry, reference: u64, selected: &BTreeSet<u64>) -> bool {
    matches!(entry.kind, Kind::Verdict | Kind::Report) && selected.contains(&reference)
}

/// The heads that a pull request ever had, those of merge groups that carried it and what it landed as, so that
/// pushes of them, deployments and checks are found.
fn heads<'e>(selection: &Selection, range: &'e [Entry]) -> BTreeSet<&'e Sha> {
    let Selection::PullRequest { repository, number } = selection else { return BTreeSet::new() };
    range
        .iter()
        .filter(|e| is_pull(e, *repository, *number) || concerns(e, *repository, *number))
        .filter_map(|e| e.subject.head.as_ref())
        .collect()
}

/// A verdict on something else that says that it concerns the pull request.
fn concerns(entry: &Entry, repository: u64, number: u64) -> bool {
    let pulls = || numbers(entry, "pulls").is_some_and(|pulls| pulls.contains(&number));
    entry.kind == Kind::Verdict && entry.subject.repository == Some(repository) && pulls()
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
            is_pull(entry, *repository, *number) || concerns(entry, *repository, *number) || of_its_head
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

/// What may concern a pull request and does not say so: merge groups and what landed on watched branches, each by its
/// first entry, of which no verdict names all pull requests. It was a direct push, GitHub did not tell, an older gatelog
/// judged, or nobody yet.
#[must_use]
pub fn unsaid(selection: &Selection, range: &[Entry]) -> BTreeSet<u64> {
    let Selection::PullRequest { repository, .. } = selection else { return BTreeSet::new() };
    let known = heads(selection, range);
    let of_ref = |e: &&Entry| e.kind == Kind::Verdict && e.subject.kind == SubjectKind::Ref;
    let answered: BTreeSet<u64> = range.iter().filter(of_ref).flat_map(|e| e.refs.iter().copied()).collect();
    // What has no head stands for itself.
    let mut may: BTreeMap<(bool, Result<&Sha, u64>), u64> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for entry in range.iter().filter(|e| e.subject.repository == Some(*repository)) {
        let landing = entry.data.get("landing").filter(|l| !l.is_null());
        let (group, counts, tells) = match (&entry.kind, entry.subject.kind) {
            (Kind::Verdict, SubjectKind::MergeGroup) => (true, true, true),
            (Kind::Event, SubjectKind::MergeGroup) => (true, true, false),
            // Of pushes to other branches nothing is told. What was no merge may have brought more than it names.
            (Kind::Verdict, SubjectKind::Ref) => {
                let kind = landing.and_then(|l| l.get("kind")?.as_str());
                (false, landing.is_some(), kind.is_some_and(is_merge))
            }
            (Kind::Event, SubjectKind::Ref) => (false, !answered.contains(&entry.seq), false),
            _ => continue,
        };
        let key = (group, entry.subject.head.as_ref().ok_or(entry.seq));
        let is_here = |head: &&Sha| known.contains(head);
        if counts && !key.1.as_ref().is_ok_and(is_here) && !is_asked_for(selection, &known, entry) {
            may.entry(key).or_insert(entry.seq);
        }
        if tells && numbers(entry, "pulls").is_some() {
            told.insert(key);
        }
    }
    may.into_iter().filter(|(key, _)| !told.contains(key)).map(|(_, seq)| seq).collect()
}

/// As [`LandingData::kind`](super::entry::LandingData) says it: GitHub merged pull requests, and nothing else came with them.
fn is_merge(kind: &str) -> bool {
    matches!(kind, "merge_group" | "merge" | "squash" | "rebase")
}

/// What is not in evidence about a pull request, by intent.
pub const NOT_IN_IT: &str = "pushes of its head from before it was opened, what it landed as on a branch that is not \
                             watched, deployments of later commits or of which GitHub did not tell what brought them";

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
            if let Some(first) = unsaid.first() {
                return Err(format!(
                    "completeness: which pull requests {} merge groups or landings were of, the first of \
                     them in entry {first}; all else that names it or one of its heads is here, {until}",
                    unsaid.len()
                ));
            }
            if let Some(older) = older_exceptions(&select(selection, range), range).first() {
                return Err(format!(
                    "completeness: what became of the exception of entry {older} until entry {}; all else about it is \
                     here, {until}",
                    first.seq
                ));
            }
            Ok(format!(
                "everything that names it, its heads, merge groups that carried it and what landed of it on a \
                 watched branch is here, {until}"
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str, data: Value) -> Entry {
        let entry = json!({
            "v": 1, "seq": 7, "time": "2026-11-24T00:00:00.000000Z", "prev": "00".repeat(32), "kind": kind,
            "subject": {"kind": "none"}, "key": "k:7", "refs": [], "bodies": {}, "data": data,
        });
        Entry::parse(entry.to_string().as_bytes()).unwrap()
    }

    /// Of what is not of its form nobody can say that it is about something else.
    #[test]
    fn what_an_entry_is_about_is_told_in_numbers() {
        for odd in [
            json!(null),
            json!("12"),
            json!({"12": 1}),
            json!([12.0]),
            json!(["12"]),
            json!([-1]),
            json!(true),
        ] {
            for name in ["pulls", "waivers"] {
                let said = misshapen(&entry("verdict", json!({name: odd})));
                assert_eq!(said, Some(format!("its {name} are no list of numbers")), "{odd}");
            }
        }
        for of in [json!("2"), json!(2.0), json!([2])] {
            assert!(misshapen(&entry("waiver", json!({"of": of}))).is_some(), "{of}");
        }
        assert!(misshapen(&entry("verdict", json!([]))).is_some());
        for (kind, data) in [
            ("verdict", json!({"pulls": [12], "waivers": []})),
            ("verdict", json!({})),
            ("waiver", json!({"of": null})),
            ("waiver", json!({"of": 2})),
        ] {
            assert_eq!(misshapen(&entry(kind, data.clone())), None, "{data}");
        }
    }
}
