//! Copying a ledger while it is written to, and making one from the copy.
//!
//! ```text
//! DIR/journal/      the segments, each whole; the last without the zeros ahead of it
//! DIR/signed        the last signed size, if there is one: read before the journal, so never ahead of it
//! DIR/witnessed     what witnesses cosigned, if they did: read before `signed`
//! DIR/backup.json   what the last backup that came to its end holds
//! ```
//!
//! A journal only grows, and what is replaced in it is replaced whole, so reading it is enough: no lock,
//! and no word to the service. A segment that is in the backup as it is in the ledger is not copied again;
//! one that was rewritten since, because a body was erased, replaces its copy.
//!
//! All of a run counts or nothing: an erased body and the erasure that explains it may lie in different
//! segments. What is new is written aside and synced; then `backup.json` says that it counts; then it gets
//! its names. A run that was cut short before is taken up by the next one, and a restore takes what
//! `backup.json` says.
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
        mark,
        reader::{Groups, SegmentReader, Step, Tail, list},
        segment_path, segments,
    },
};
use crate::{ledger::entry::Hash, time::Time};

const MANIFEST: &str = "backup.json";

/// What is copied beside the journal.
const BESIDE: &[&str] = &["witnessed", "signed"];

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
    /// Segments whose copies count under the name that is aside, where they still have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<u64>,
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
/// See [`BackupError`]. What the backup held before, it holds.
pub fn backup(journal: &Path, dir: &Path, now: Time) -> Result<BackedUp, BackupError> {
    let target = dir.join("journal");
    check_target(journal, dir)?;
    files::create_dir(&target).map_err(BackupError::io("creating", &target))?;
    if let Some(before) = manifest(dir)? {
        give_names(dir, before)?;
    }
    let ledger_id = same_ledger(journal, &target)?;
    let beside = read_beside(journal.parent().unwrap_or(journal))?;
    let mut done = BackedUp {
        manifest: Manifest { format: 1, ledger_id, size: 0, leaf: Hash::default(), time: now, aside: vec![] },
        copied: 0,
        bytes: 0,
        kept: 0,
    };
    copy_segments(journal, &target, &mut done)?;
    files::sync_dir(&target).map_err(BackupError::io("syncing", &target))?;
    write_manifest(dir, &done.manifest)?;
    done.manifest = give_names(dir, done.manifest)?;
    for (name, content) in beside {
        files::replace(dir, name, &content).map_err(BackupError::io("writing", dir))?;
    }
    Ok(done)
}

/// Copies until there is no newer segment than the last one copied. A body that an earlier segment had lost
/// when it was copied is explained by an erasure that stood in the ledger then: in a segment that may have
/// been begun after the others were listed.
fn copy_segments(journal: &Path, target: &Path, done: &mut BackedUp) -> Result<(), BackupError> {
    let mut todo = list(journal)?.firsts;
    while let Some(last) = todo.last().copied() {
        for first in todo {
            let Some((tip, copied)) = copy_segment(journal, target, first)? else { return Ok(()) };
            (done.manifest.size, done.manifest.leaf) = (tip.size, tip.leaf);
            match copied {
                Some(bytes) => {
                    done.bytes += bytes;
                    if !done.manifest.aside.contains(&first) {
                        done.copied += 1;
                        done.manifest.aside.push(first);
                    }
                }
                None => done.kept += 1,
            }
        }
        // The last one may have grown since.
        todo = list(journal)?.firsts.into_iter().filter(|first| *first >= last).collect();
        if todo.last() == Some(&last) {
            break;
        }
    }
    Ok(())
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let write = || -> io::Result<()> {
        fail_at("backup.manifest.before")?;
        files::replace(dir, MANIFEST, &serde_json::to_vec_pretty(manifest)?)?;
        fail_at("backup.manifest.after")
    };
    write().map_err(BackupError::io("writing", dir))
}

/// What counts gets its name; whatever else lies aside is left of a run that was cut short.
fn give_names(dir: &Path, manifest: Manifest) -> Result<Manifest, BackupError> {
    let target = dir.join("journal");
    let named = Manifest { aside: vec![], ..manifest };
    if manifest.aside.is_empty() {
        return Ok(named);
    }
    let rename = || -> io::Result<()> {
        for first in manifest.aside {
            match fs::rename(aside_name(&target, first), segment_path(&target, first)) {
                // It has its name already.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            fail_at("backup.renamed")?;
        }
        files::sync_dir(&target)
    };
    rename().map_err(BackupError::io("renaming in", &target))?;
    write_manifest(dir, &named)?;
    Ok(named)
}

fn aside_name(target: &Path, first: u64) -> PathBuf {
    segment_path(target, first).with_extension("seg.new")
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

/// Where the segment ends, and the bytes that lie aside; `None` of them: the backup has it. Nothing at all:
/// it is gone, as a clean stop removes one that nothing was written to.
fn copy_segment(
    journal: &Path,
    target: &Path,
    first: u64,
) -> Result<Option<(Tip, Option<u64>)>, BackupError> {
    let mut source = match SegmentReader::open(journal, first) {
        Err(JournalError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let aside = aside_name(target, first);
    if let Some(seal) = source.seal_at_end()? {
        let (wanted, tip) = (Some((source.header.clone(), seal)), Tip { size: seal.next, leaf: seal.leaf });
        if whole(segment_path(target, first), first) == wanted {
            return Ok(Some((tip, None)));
        }
        // Of a run that was cut short. The power may have gone then: every frame is read.
        if whole(aside.clone(), first) == wanted && is_sound(&aside, first) {
            return Ok(Some((tip, Some(seal.length))));
        }
    }
    let end = end_of(&mut source)?;
    // What is copied must not be lost by the ledger itself: it could be in memory only.
    source.sync().map_err(BackupError::io("syncing", journal))?;
    let write = || -> io::Result<()> {
        fail_at("backup.segment.before")?;
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        source.copy(end, &mut out)?;
        out.sync_all()?;
        fail_at("backup.segment.after")
    };
    write().map_err(BackupError::io("copying to", &aside))?;
    Ok(Some((source.tip, Some(end))))
}

/// Header and seal of a sealed segment in the backup.
fn whole(path: PathBuf, first: u64) -> Option<(SegmentHeader, Seal)> {
    let reader = SegmentReader::open_file(path, first).ok()?;
    let seal = reader.seal_at_end().ok()??;
    Some((reader.header, seal))
}

/// Whether every frame of a copy is as it was written; it is durable then.
fn is_sound(path: &Path, first: u64) -> bool {
    let Ok(mut reader) = SegmentReader::open_file(path.to_owned(), first) else { return false };
    end_of(&mut reader).is_ok() && reader.sync().is_ok()
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
    last: Last,
    check: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let held = manifest(dir)?.ok_or_else(|| {
        BackupError::Refused(format!(
            "{} holds no backup that came to its end (no {MANIFEST})",
            dir.display()
        ))
    })?;
    is_empty(into)?;
    let aside = aside_of(into)?;
    let made = copy_all(dir, &held, &aside)
        .and_then(|()| holds(&aside.join("journal"), &held))
        .and_then(|()| mark_restored(&aside, last));
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

/// Whether something may have been signed after the backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// The service had stopped before, and was not started again.
    Nothing,
    /// Not known: the ledger may not sign under its old name any more.
    Unknown,
}

/// A ledger that signed and lost what came after must not sign again under the same name: it would
/// contradict what others saw. Whether it signed cannot be seen: it may have begun to after the backup.
fn mark_restored(aside: &Path, last: Last) -> Result<(), BackupError> {
    if last == Last::Nothing {
        return Ok(());
    }
    mark::write_restored(aside).map_err(BackupError::io("marking", aside))
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

fn copy_all(dir: &Path, held: &Manifest, aside: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(BackupError::io("removing", aside)(e)),
        _ => {}
    }
    let (from, to) = (dir.join("journal"), aside.join("journal"));
    files::create_dir(&to).map_err(BackupError::io("creating", &to))?;
    let mut firsts = segments(&from).map_err(BackupError::io("reading the backup", &from))?;
    firsts.extend(held.aside.iter().copied());
    firsts.sort_unstable();
    firsts.dedup();
    for first in firsts {
        let new = aside_name(&from, first);
        let counts = held.aside.contains(&first) && new.exists();
        let copied = if counts { new } else { segment_path(&from, first) };
        copy_file(&copied, &segment_path(&to, first))?;
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

/// What the backup said it holds must be there.
fn holds(journal: &Path, held: &Manifest) -> Result<(), BackupError> {
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
