//! Checking evidence with nothing but the file and the keys that one trusts.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek},
};

use sha2::{Digest as _, Sha256};

use super::{
    CHECKPOINT, ENTRIES, FILES, FORMAT, MANIFEST, Manifest, OTHERS, Redacted, SALTS, Selection, TREE, Tree,
    archive::Archive, body_path, bundles_of, completeness, created_at, misshapen, rested_on, select,
};
use crate::{
    ledger::{
        body::{Salt, commitment},
        chain::leaf_hash,
        checkpoint::Checkpoint,
        entry::{Entry, Hash, Kind, Link, not_canonical},
        erasure::{Erasure, LIST},
        judged::{Decided, Shown, contradicts, shows, unfounded, unnamed_exceptions},
        merkle::CompactRange,
        note::Verifier,
        proof::{verify_consistency, verify_inclusion},
    },
    time::Time,
};

/// What holds.
#[derive(Debug)]
pub struct Checked {
    pub checkpoint: Checkpoint,
    pub manifest: Manifest,
    /// All of the range, then the others.
    pub entries: Vec<Entry>,
    pub bodies: u64,
    /// What the payloads call the repository that it is about.
    pub names: BTreeSet<String>,
    /// Entries that are not as gatelog writes them, though nothing is wrong with the chain.
    pub lints: Vec<(u64, String)>,
    /// Erased bodies, by entry, with what took them.
    pub redacted: Vec<Explained>,
    /// What is complete, or what about that is not proved.
    pub complete: Result<String, String>,
}

/// A body that is gone, and the erasure that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub entry: u64,
    pub body: String,
    /// Entry of the erasure.
    pub erasure: u64,
    /// As it stands there.
    pub reason: String,
}

/// What does not hold: the first thing found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is not evidence, or a part of it is missing.
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Failed(String),
    #[error("entry {at}: {what}")]
    Entry { at: u64, what: String },
}

/// # Errors
/// The first thing that does not hold.
pub fn verify<R: Read + Seek>(files: &mut Archive<R>, trusted: &[Verifier]) -> Result<Checked, Wrong> {
    let manifest: Manifest = json(files, MANIFEST)?;
    if manifest.format != FORMAT {
        return Err(Wrong::Unreadable(format!("its format is {:?}, this reads {FORMAT:?}", manifest.format)));
    }
    same_files(files, &manifest)?;
    let checkpoint = Checkpoint::open(&needed(files, CHECKPOINT)?, trusted)
        .map_err(|e| Wrong::Failed(format!("the checkpoint: {e}")))?;
    let tree: Tree = json(files, TREE)?;
    let range = lines(&needed(files, ENTRIES)?)?;
    let others = lines(&needed(files, OTHERS)?)?;
    check_range(&manifest, &tree, &range, &checkpoint)?;
    check_others(&tree, &others, &checkpoint)?;
    let parsed = |all: &[Line]| all.iter().map(Line::entry).collect::<Result<Vec<_>, _>>();
    let (range_entries, other_entries) = (parsed(&range)?, parsed(&others)?);
    for entry in range_entries.iter().chain(&other_entries) {
        if let Some(what) = misshapen(entry) {
            return Err(Wrong::Entry { at: entry.seq, what });
        }
    }

    let selected = select(&manifest.selection, &range_entries);
    if selected != manifest.selected.iter().copied().collect() {
        let differs =
            selected.symmetric_difference(&manifest.selected.iter().copied().collect()).next().copied();
        let what = "belongs to what was asked for and is not named, or is named and does not belong to it";
        return Err(Wrong::Entry { at: differs.unwrap_or_default(), what: what.into() });
    }
    if selected.is_empty() {
        return Err(Wrong::Failed("no entry in it belongs to what it is said to be about".into()));
    }
    let lints = range.iter().chain(&others).filter_map(Line::lint).collect();
    let with_bodies = range.iter().filter(|l| selected.contains(&l.link.seq)).chain(&others);
    let mut bodies = Bodies {
        salts: json(files, SALTS)?,
        files,
        selection: &manifest.selection,
        created: None,
        names: BTreeSet::new(),
        there: FILES.iter().map(|name| (*name).to_owned()).collect(),
        said_redacted: manifest.redacted.iter().cloned().collect(),
        checked: 0,
        redacted: vec![],
        erasures: vec![],
        unnamed: None,
    };
    for line in with_bodies {
        bodies.check(line)?;
    }
    let Bodies { checked, redacted, erasures, created, names, there, files, unnamed, .. } = bodies;
    if let Some(name) = files.names().iter().find(|name| !there.contains(*name)) {
        return Err(Wrong::Failed(format!("the file {name} belongs to nothing that it is about")));
    }
    let complete = completeness(&manifest.selection, created, &range_entries, checkpoint.size);
    let complete = complete.and_then(|what| match unnamed {
        None => Ok(what),
        Some(seq) => Err(format!("completeness: the exceptions on which the verdict of entry {seq} rests")),
    });
    let redacted = explained(redacted, &erasures)?;
    check_bundles(&selected, &range_entries, &other_entries)?;
    check_exceptions(&selected, &range_entries, &other_entries)?;
    check_judged(&selected, &range_entries)?;
    let entries: Vec<Entry> = range_entries.into_iter().chain(other_entries).collect();
    Ok(Checked { checkpoint, manifest, entries, bodies: checked, names, lints, redacted, complete })
}

/// A line that was hashed.
struct Line {
    raw: Vec<u8>,
    link: Link,
    leaf: Hash,
}

impl Line {
    fn entry(&self) -> Result<Entry, Wrong> {
        Entry::parse(&self.raw).map_err(|e| self.wrong(format!("it cannot be read: {e}")))
    }

    fn lint(&self) -> Option<(u64, String)> {
        not_canonical(&self.raw).map(|e| (self.link.seq, e.to_string()))
    }

    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong::Entry { at: self.link.seq, what: what.into() }
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<Line>, Wrong> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    let line = |raw: &[u8]| {
        let link = Link::parse(raw).map_err(|e| Wrong::Failed(format!("a line is no entry: {e}")))?;
        Ok(Line { raw: raw.to_vec(), link, leaf: leaf_hash(raw) })
    };
    lines.map(line).collect()
}

/// No file was added, dropped or changed since it was made. Whoever made it anew is found by the rest.
fn same_files<R: Read + Seek>(files: &mut Archive<R>, manifest: &Manifest) -> Result<(), Wrong> {
    let there: BTreeSet<String> = files.names().iter().filter(|n| *n != MANIFEST).cloned().collect();
    let named: BTreeSet<String> = manifest.files.keys().cloned().collect();
    if let Some(name) = there.symmetric_difference(&named).next() {
        let what = if there.contains(name) { "is not in the manifest" } else { "is missing" };
        return Err(Wrong::Failed(format!("the file {name} {what}")));
    }
    for (name, sha256) in &manifest.files {
        if hex::encode(Sha256::digest(needed(files, name)?)) != *sha256 {
            return Err(Wrong::Failed(format!("the file {name} was changed")));
        }
    }
    Ok(())
}

/// The entries are those of the checkpoint, each names the one before, and time goes on.
fn check_range(m: &Manifest, tree: &Tree, range: &[Line], checkpoint: &Checkpoint) -> Result<(), Wrong> {
    if m.from >= m.to || m.to > checkpoint.size || (m.to - m.from) != range.len() as u64 {
        let what = format!(
            "entries {}..{} of {} are said to be there, and {} are",
            m.from,
            m.to,
            checkpoint.size,
            range.len()
        );
        return Err(Wrong::Failed(what));
    }
    let mut known = CompactRange::of_peaks(m.from, tree.left.clone())
        .ok_or_else(|| Wrong::Failed("the tree before the range has too many or too few hashes".into()))?;
    let mut before: Option<&Line> = None;
    for (seq, line) in (m.from..).zip(range) {
        if line.link.seq != seq {
            return Err(Wrong::Entry { at: seq, what: format!("in its place is entry {}", line.link.seq) });
        }
        let prev = before.map_or_else(|| (seq == 0).then(Hash::default), |b| Some(b.leaf));
        if prev.is_some_and(|prev| prev != line.link.prev) {
            return Err(line.wrong("it does not name the entry before"));
        }
        if before.is_some_and(|b| line.link.time < b.link.time) {
            return Err(line.wrong("its time is before that of the entry before"));
        }
        known.push(line.leaf);
        before = Some(line);
    }
    verify_consistency(m.to, known.root(), checkpoint.size, checkpoint.root, &tree.right)
        .map_err(|e| Wrong::Failed(format!("the entries are not those of the checkpoint: {e}")))
}

fn check_others(tree: &Tree, others: &[Line], checkpoint: &Checkpoint) -> Result<(), Wrong> {
    for line in others {
        let path = tree.others.get(&line.link.seq).ok_or_else(|| line.wrong("it has no proof"))?;
        verify_inclusion(line.leaf, line.link.seq, checkpoint.size, path, checkpoint.root)
            .map_err(|e| line.wrong(format!("it is not in the tree of the checkpoint: {e}")))?;
    }
    Ok(())
}

/// Bodies against what their entries commit to.
struct Bodies<'f, R> {
    files: &'f mut Archive<R>,
    salts: BTreeMap<String, String>,
    selection: &'f Selection,
    /// When GitHub made the pull request: the earliest that a payload says.
    created: Option<Time>,
    /// What payloads call the repository that was asked for.
    names: BTreeSet<String>,
    /// Files that belong here.
    there: BTreeSet<String>,
    said_redacted: BTreeSet<Redacted>,
    checked: u64,
    redacted: Vec<Redacted>,
    erasures: Vec<Erasure>,
    /// The first verdict that rests on an exception which its entry does not name.
    unnamed: Option<u64>,
}

impl<R: Read + Seek> Bodies<'_, R> {
    fn check(&mut self, line: &Line) -> Result<(), Wrong> {
        for (name, promised) in &line.link.bodies {
            let seq = line.link.seq;
            let redacted = Redacted { entry: seq, body: name.clone() };
            let path = body_path(seq, name);
            let bytes = self.files.read(&path).map_err(Wrong::Unreadable)?;
            let Some(bytes) = bytes else {
                if !self.said_redacted.contains(&redacted) {
                    return Err(line.wrong(format!("its body {name} is missing")));
                }
                // What it rests on stands nowhere any more, if its entry does not say so.
                let entry = line.entry()?;
                if entry.kind == Kind::Verdict && name == "verdict" && entry.data.get("waivers").is_none() {
                    self.unnamed = self.unnamed.or(Some(seq));
                }
                self.redacted.push(redacted);
                continue;
            };
            let salt = self.salts.get(&format!("{seq}/{name}")).and_then(|s| hex::decode(s).ok());
            let salt = salt.and_then(|s| s.try_into().ok()).map(Salt);
            let salt = salt.ok_or_else(|| line.wrong(format!("its body {name} has no salt")))?;
            if commitment(&salt, &bytes) != promised.commit {
                return Err(line.wrong(format!("its body {name} is not what it commits to")));
            }
            self.checked += 1;
            self.there.insert(path);
            let entry = line.entry()?;
            if entry.kind == Kind::Event && name == "payload" {
                let payload = serde_json::from_slice(&bytes).unwrap_or_default();
                let said = created_at(self.selection, &payload);
                self.created = self.created.into_iter().chain(said).min();
                self.names.extend(name_of(self.selection, &payload));
            }
            if entry.kind == Kind::Verdict && name == "verdict" {
                if let Some(what) = contradicts(&entry, &bytes) {
                    return Err(line.wrong(what));
                }
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let unnamed = unnamed_exceptions(&entry, &body).is_none_or(|unnamed| !unnamed.is_empty());
                self.unnamed = self.unnamed.or(unnamed.then_some(seq));
            }
            if entry.kind == Kind::Erasure && name == LIST {
                let erasure = Erasure::read(&entry, &bytes);
                self.erasures
                    .push(erasure.ok_or_else(|| line.wrong("its list of erased bodies cannot be read"))?);
            }
        }
        Ok(())
    }
}

/// What a payload calls the repository that was asked for.
fn name_of(selection: &Selection, payload: &serde_json::Value) -> Option<String> {
    let repository = payload.get("repository")?;
    let is_it = repository.get("id")?.as_u64()? == selection.repository()?;
    repository.get("full_name")?.as_str().filter(|_| is_it).map(str::to_owned)
}

/// Every body that is not there was erased by an erasure that is.
fn explained(redacted: Vec<Redacted>, erasures: &[Erasure]) -> Result<Vec<Explained>, Wrong> {
    let find = |Redacted { entry, body }| match erasures.iter().find(|e| e.bodies.contains(entry, &body)) {
        Some(e) => Ok(Explained { entry, body, erasure: e.seq, reason: e.reason.clone() }),
        None => Err(Wrong::Entry {
            at: entry,
            what: format!("its body {body} is missing, and no erasure names it"),
        }),
    };
    redacted.into_iter().map(find).collect()
}

/// The policies that judged are there with their bundles, as the ledger recorded them.
fn check_bundles(selected: &BTreeSet<u64>, range: &[Entry], others: &[Entry]) -> Result<(), Wrong> {
    let policies: BTreeSet<&str> = others
        .iter()
        .filter(|e| e.kind == Kind::Policy)
        .filter_map(|e| e.data.get("bundle")?.as_str())
        .collect();
    match bundles_of(selected, range).iter().find(|b| !policies.contains(b.as_str())) {
        None => Ok(()),
        Some(bundle) => Err(Wrong::Failed(format!("the policies {bundle}, which judged, are missing"))),
    }
}

/// The exceptions that something rests on, though they are older than the range.
fn check_exceptions(selected: &BTreeSet<u64>, range: &[Entry], others: &[Entry]) -> Result<(), Wrong> {
    let all = range.iter().chain(others);
    let there: BTreeSet<u64> = all.filter(|e| e.kind == Kind::Waiver).map(|e| e.seq).collect();
    match rested_on(selected, range).difference(&there).next() {
        None => Ok(()),
        Some(seq) => {
            Err(Wrong::Failed(format!("the exception of entry {seq}, on which a verdict rests, is missing")))
        }
    }
}

/// What allows was made of something, and what was shown follows from it.
fn check_judged(selected: &BTreeSet<u64>, range: &[Entry]) -> Result<(), Wrong> {
    let first = range.first().map_or(0, |e| e.seq);
    let entry = |seq: u64| range.get(usize::try_from(seq.checked_sub(first)?).ok()?);
    let mut decided = |seq| Ok::<_, Wrong>(entry(seq).map(Decided::of));
    for entry in range.iter().filter(|e| selected.contains(&e.seq)) {
        let wrong = match entry.kind {
            Kind::Verdict => unfounded(entry),
            Kind::Report => match shows(entry, &mut decided)? {
                Shown::Overstated(what) => Some(what),
                // Of another pull request on the same head, from before the range.
                Shown::Follows | Shown::Unknown(_) => None,
            },
            _ => None,
        };
        if let Some(what) = wrong {
            return Err(Wrong::Entry { at: entry.seq, what });
        }
    }
    Ok(())
}

fn needed<R: Read + Seek>(files: &mut Archive<R>, name: &str) -> Result<Vec<u8>, Wrong> {
    files.read(name).map_err(Wrong::Unreadable)?.ok_or_else(|| {
        Wrong::Unreadable(format!("the file {name} is missing: this is no evidence of gatelog"))
    })
}

fn json<T: serde::de::DeserializeOwned, R: Read + Seek>(
    files: &mut Archive<R>,
    name: &str,
) -> Result<T, Wrong> {
    serde_json::from_slice(&needed(files, name)?)
        .map_err(|e| Wrong::Unreadable(format!("the file {name} cannot be read: {e}")))
}
