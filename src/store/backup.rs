//! Copying a ledger while it is written to, and making one from the copy.
//!
//! ```text
//! DIR/journal/      the segments, each whole; the last without the zeros ahead of it
//! DIR/signed        the last signed size, if there is one: read before the journal, so never ahead of it
//! DIR/backup.json   what the last backup that came to its end holds
//! ```
//!
//! A journal only grows, and what is replaced in it is replaced whole, so reading it is enough: no lock,
//! and no word to the service. A segment that is in the backup as it is in the ledger is not copied again;
//! one that was rewritten since, because a body was erased, replaces its copy. Segments are written aside,
//! synced, renamed, in order: at any moment the backup is a beginning of the ledger.
//!
//! Not in it: `secret` (fingerprints of bodies are made anew from the bodies, under a new one), `sled`
//! (made anew from the journal), `erased` (so that a restored ledger looks once whether what was to be
//! erased is gone), `lock`, the socket. Keys are not in it either.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Tip,
    files::{self, fail_at},
    journal::{
        JournalError,
        frame::{Seal, SegmentHeader},
        reader::{Groups, SegmentReader, Step, Tail, list},
        segment_path, segments,
    },
};
use crate::{ledger::entry::Hash, time::Time};

const MANIFEST: &str = "backup.json";

/// What is copied beside the journal.
const BESIDE: &[&str] = &["signed"];

/// `backup.json`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file.
    pub format: u32,
    pub ledger_id: String,
    /// Entries.
    pub size: u64,
    /// Leaf hash of the last.
    pub leaf: Hash,
    pub time: Time,
}

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    pub manifest: Manifest,
    /// Segments that were copied, and their bytes.
    pub copied: u64,
    pub bytes: u64,
    /// Segments that were there already.
    pub kept: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Copying would make things worse, or there is nothing to copy.
    #[error("{0}")]
    Refused(String),
    /// The backup knows of entries that the ledger has lost or changed.
    #[error("{0}")]
    RolledBack(String),
    #[error("{doing} {}: {error}", .path.display())]
    Io { doing: &'static str, path: PathBuf, error: io::Error },
}

impl BackupError {
    fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| Self::Io { doing, path: path.to_owned(), error }
    }
}

/// Brings the backup in `dir` up to the ledger whose segments are in `journal`.
///
/// # Errors
/// See [`BackupError`]. The backup is a beginning of the ledger all the same.
pub fn backup(journal: &Path, dir: &Path, now: Time) -> Result<BackedUp, BackupError> {
    let target = dir.join("journal");
    check_target(journal, dir)?;
    files::create_dir(&target).map_err(BackupError::io("creating", &target))?;
    remove_unfinished(&target).map_err(BackupError::io("cleaning up", &target))?;
    let ledger_id = same_ledger(journal, &target)?;
    let beside = read_beside(journal.parent().unwrap_or(journal))?;
    let mut done = BackedUp {
        manifest: Manifest { format: 1, ledger_id, size: 0, leaf: Hash::default(), time: now },
        copied: 0,
        bytes: 0,
        kept: 0,
    };
    for first in list(journal)?.firsts {
        let Some((tip, bytes)) = copy_segment(journal, &target, first)? else { break };
        (done.manifest.size, done.manifest.leaf) = (tip.size, tip.leaf);
        done.bytes += bytes;
        *if bytes > 0 { &mut done.copied } else { &mut done.kept } += 1;
    }
    for (name, content) in beside {
        files::replace(dir, name, &content).map_err(BackupError::io("writing", dir))?;
    }
    let text = serde_json::to_vec_pretty(&done.manifest).unwrap_or_default();
    fail_at("backup.manifest.before").map_err(BackupError::io("writing", dir))?;
    files::replace(dir, MANIFEST, &text).map_err(BackupError::io("writing", dir))?;
    Ok(done)
}

/// A backup goes into a folder of its own: empty, or one that holds a backup.
fn check_target(journal: &Path, dir: &Path) -> Result<(), BackupError> {
    let (from, to) = (fs::canonicalize(journal).ok(), fs::canonicalize(dir).ok());
    if let (Some(from), Some(to)) = (from, to)
        && from.starts_with(&to)
    {
        return Err(BackupError::Refused(format!("{} holds the ledger itself", dir.display())));
    }
    let strange = match fs::read_dir(dir) {
        Ok(items) => items.flatten().map(|i| i.file_name()).find(|name| {
            let name = name.to_string_lossy();
            let known =
                ["journal", MANIFEST].iter().chain(BESIDE).any(|k| name == *k || name == format!("{k}.new"));
            !known && name != "lost+found"
        }),
        Err(_) => None,
    };
    match strange {
        Some(name) => Err(BackupError::Refused(format!(
            "{} holds {name:?}, which is no part of a backup; name an empty folder or an earlier backup",
            dir.display()
        ))),
        None => Ok(()),
    }
}

fn remove_unfinished(target: &Path) -> io::Result<()> {
    for item in fs::read_dir(target)? {
        let path = item?.path();
        if path.extension().is_some_and(|e| e == "new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The ledger's id; what the backup holds must be a beginning of this ledger.
fn same_ledger(journal: &Path, target: &Path) -> Result<String, BackupError> {
    let Some(source) = Groups::open(journal)? else {
        return Err(BackupError::Refused(format!("there is no ledger in {}", journal.display())));
    };
    let id = hex::encode(source.ledger_id);
    let Some(&last) = segments(target).map_err(BackupError::io("listing", target))?.last() else {
        return Ok(id);
    };
    let mut kept = SegmentReader::open(target, last)?;
    if kept.header.ledger_id != source.ledger_id {
        let other = hex::encode(kept.header.ledger_id);
        return Err(BackupError::Refused(format!("the backup is of another ledger ({other}, not {id})")));
    }
    while let Step::Group(_) = kept.step()? {}
    let found = leaf_at(journal, kept.tip)?;
    if found != Some(kept.tip.leaf) {
        return Err(BackupError::RolledBack(format!(
            "the backup holds {} entries, and the ledger does not hold the last of them: the ledger was rolled \
             back or changed; keep the backup and look into it",
            kept.tip.size
        )));
    }
    Ok(id)
}

/// The leaf hash before `tip.size` in the journal.
fn leaf_at(journal: &Path, tip: Tip) -> Result<Option<Hash>, JournalError> {
    let Some(last) = tip.size.checked_sub(1) else { return Ok(Some(tip.leaf)) };
    let Some(mut groups) = Groups::open_at(journal, last)? else { return Ok(None) };
    while let Some(group) = groups.next_group()? {
        if let Some(leaf) =
            last.checked_sub(group.first).and_then(|i| group.leaves.get(usize::try_from(i).ok()?))
        {
            return Ok(Some(*leaf));
        }
    }
    Ok(None)
}

fn read_beside(dir: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, BackupError> {
    let mut all = vec![];
    for name in BESIDE {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(content) => all.push((*name, content)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(BackupError::io("reading", &path)(e)),
        }
    }
    Ok(all)
}

/// Where the segment ends, and the bytes copied: 0 if the backup has it. `None`: it is gone, as a clean
/// stop removes one that nothing was written to.
fn copy_segment(journal: &Path, target: &Path, first: u64) -> Result<Option<(Tip, u64)>, BackupError> {
    let mut source = match SegmentReader::open(journal, first) {
        Err(JournalError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let seal = source.seal_at_end()?;
    if let Some(seal) = seal
        && whole(target, first) == Some((source.header.clone(), seal))
    {
        return Ok(Some((Tip { size: seal.next, leaf: seal.leaf }, 0)));
    }
    let end = end_of(&mut source)?;
    // What is copied must not be lost by the ledger itself: it could be in memory only.
    source.sync().map_err(BackupError::io("syncing", journal))?;
    let path = segment_path(target, first);
    let aside = path.with_extension("seg.new");
    let write = || -> io::Result<()> {
        fail_at("backup.segment.before")?;
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        source.copy(end, &mut out)?;
        out.sync_all()?;
        fail_at("backup.segment.synced")?;
        fs::rename(&aside, &path)?;
        files::sync_dir(target)?;
        fail_at("backup.segment.after")
    };
    write().map_err(BackupError::io("copying to", &path))?;
    Ok(Some((source.tip, end)))
}

/// Header and seal of a sealed segment in the backup.
fn whole(target: &Path, first: u64) -> Option<(SegmentHeader, Seal)> {
    let reader = SegmentReader::open(target, first).ok()?;
    let seal = reader.seal_at_end().ok()??;
    Some((reader.header, seal))
}

/// Reads and checks every frame; how many bytes of the file are to be copied.
fn end_of(source: &mut SegmentReader) -> Result<u64, JournalError> {
    loop {
        match source.step()? {
            Step::Group(group) => drop(group.links()?),
            Step::Sealed(seal) => return Ok(seal.length),
            Step::Tail(Tail { later: Some(_), .. }) => {
                let what = "its frame is damaged, and whole frames follow it";
                return Err(JournalError::damaged(source.tip.size, what));
            }
            Step::Tail(_) => return Ok(source.position),
        }
    }
}

/// What the last backup in `dir` that came to its end holds; `None`: none did.
///
/// # Errors
/// It cannot be read.
pub fn manifest(dir: &Path) -> Result<Option<Manifest>, BackupError> {
    let path = dir.join(MANIFEST);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| BackupError::Refused(format!("{} cannot be read: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(BackupError::io("reading", &path)(e)),
    }
}

/// Makes a ledger in `into`, which must not exist or be empty. `check` is given the new journal before it
/// gets its name. A crash leaves `into` as it was; what was made aside is removed by the next restore.
///
/// # Errors
/// See [`BackupError`], or what `check` says.
pub fn restore<E: From<BackupError>, T>(
    dir: &Path,
    into: &Path,
    check: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let held = manifest(dir)?;
    is_empty(into)?;
    let aside = aside_of(into)?;
    let made = copy_all(dir, &aside).and_then(|()| holds(&aside.join("journal"), held.as_ref()));
    let checked = made.map_err(E::from).and_then(|()| check(&aside.join("journal")));
    let found = match checked {
        Ok(found) => found,
        Err(e) => {
            let _ = fs::remove_dir_all(&aside);
            return Err(e);
        }
    };
    let name = || -> io::Result<()> {
        fail_at("restore.rename.before")?;
        fs::rename(&aside, into)?;
        files::sync_dir(into.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    };
    name().map_err(BackupError::io("making", into))?;
    Ok(found)
}

fn is_empty(into: &Path) -> Result<(), BackupError> {
    match fs::read_dir(into).map(|mut items| items.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError::Refused(format!(
            "{} is not empty; a ledger is restored into a new or empty folder, so that none is written over",
            into.display()
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(BackupError::io("reading", into)(e)),
    }
}

fn aside_of(into: &Path) -> Result<PathBuf, BackupError> {
    let name =
        into.file_name().ok_or_else(|| BackupError::Refused(format!("{} has no name", into.display())))?;
    let mut aside = name.to_owned();
    aside.push(".restoring");
    Ok(into.with_file_name(aside))
}

fn copy_all(dir: &Path, aside: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(BackupError::io("removing", aside)(e)),
        _ => {}
    }
    let (from, to) = (dir.join("journal"), aside.join("journal"));
    files::create_dir(&to).map_err(BackupError::io("creating", &to))?;
    for first in segments(&from).map_err(BackupError::io("reading the backup", &from))? {
        copy_file(&segment_path(&from, first), &segment_path(&to, first))?;
    }
    for (name, content) in read_beside(dir)? {
        files::replace(aside, name, &content).map_err(BackupError::io("writing", aside))?;
    }
    files::sync_dir(&to).and_then(|()| files::sync_dir(aside)).map_err(BackupError::io("syncing", aside))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copy = || -> io::Result<()> {
        fail_at("restore.segment")?;
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut File::open(from)?, &mut out)?;
        out.sync_all()
    };
    copy().map_err(BackupError::io("copying", from))
}

/// What the backup said it holds must be there; more may be, from a backup that was cut short.
fn holds(journal: &Path, held: Option<&Manifest>) -> Result<(), BackupError> {
    let Some(held) = held else { return Ok(()) };
    let found = leaf_at(journal, Tip { size: held.size, leaf: held.leaf })?;
    if found == Some(held.leaf) {
        return Ok(());
    }
    let at = held.size.saturating_sub(1);
    Err(JournalError::damaged(
        at,
        format!("the backup held {} entries, and this one is missing or another", held.size),
    )
    .into())
}
