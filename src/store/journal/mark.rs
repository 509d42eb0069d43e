//! Marks: small files that say how much existed, kept apart from the bytes they speak of.
//!
//! `journal/stopped` is written by a clean stop. `signed`, beside the journal, is written before a
//! checkpoint is published, `witnessed` when witnesses have cosigned one. A journal that holds less than a mark
//! says was damaged or rolled back. `erased`, beside the journal too, is written when an erasure is complete.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::{
    ledger::entry::Hash,
    store::{Tip, files},
    time::Time,
};

const STOPPED: &str = "stopped";
const SIGNED: &str = "signed";
pub(in crate::store) const WITNESSED: &str = "witnessed";
/// Beside the journal too: see [`write_restored`].
pub(in crate::store) const RESTORED: &str = "restored";
pub(in crate::store) const ERASED: &str = "erased";

/// At least this existed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Entries.
    pub size: u64,
    /// Leaf hash of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Hash>,
    /// Merkle root over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// Every segment that holds one of them was sealed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// The mark of the last clean stop, if there was one.
///
/// # Errors
/// The file is there and cannot be read as a mark.
pub fn stopped(journal: &Path) -> Result<Option<Mark>, JournalError> {
    read(&journal.join(STOPPED))
}

/// The last size that was signed, if any was. `dir` is the ledger's.
///
/// # Errors
/// The file is there and cannot be read as a mark.
pub fn signed(dir: &Path) -> Result<Option<Mark>, JournalError> {
    read(&dir.join(SIGNED))
}

/// The last checkpoint that was signed. Its file is also the [`Mark`] that [`signed`] reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Of which log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Merkle root over them.
    pub root: Hash,
    /// When it was signed.
    pub time: Time,
    /// The signed note.
    pub checkpoint: String,
}

/// The last checkpoint that was signed, if any was. `dir` is the ledger's.
///
/// # Errors
/// The file is there and cannot be read as one.
pub fn last_signed(dir: &Path) -> Result<Option<Signed>, JournalError> {
    read(&dir.join(SIGNED))
}

/// Says what is signed, before anybody sees it.
///
/// # Errors
/// I/O.
pub fn write_signed(dir: &Path, signed: &Signed) -> io::Result<()> {
    files::fail_at("ledger.signed.before")?;
    files::replace(dir, SIGNED, &[serde_json::to_vec_pretty(signed)?, b"\n".to_vec()].concat())?;
    files::fail_at("ledger.signed.after")
}

/// What witnesses have cosigned. Its file is also the [`Mark`] of the largest tree that one of them saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    /// Of which log.
    pub origin: String,
    /// Entries under the largest checkpoint that a witness cosigned.
    pub size: u64,
    /// Merkle root over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// What each witness cosigned last, by its vkey.
    pub witnesses: BTreeMap<String, Seen>,
    /// The last checkpoint that was published, with its cosignatures. `None`: witnesses are not asked, or none
    /// was published since they are.
    pub published: Option<Signed>,
    /// Nothing is published without the quorum of witnesses. Written before the first of them is asked: what is
    /// signed may be withheld from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_with_quorum: bool,
}

/// What a witness cosigned last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Entries.
    pub size: u64,
    /// Of its cosignature.
    pub time: Time,
}

/// What witnesses have cosigned, if any has. `dir` is the ledger's.
///
/// # Errors
/// The file is there and cannot be read.
pub fn witnessed(dir: &Path) -> Result<Option<Witnessed>, JournalError> {
    read(&dir.join(WITNESSED))
}

/// Says what was cosigned, before it is published.
///
/// # Errors
/// I/O.
pub fn write_witnessed(dir: &Path, witnessed: &Witnessed) -> io::Result<()> {
    files::fail_at("ledger.witnessed.before")?;
    files::replace(dir, WITNESSED, &[serde_json::to_vec_pretty(witnessed)?, b"\n".to_vec()].concat())?;
    files::fail_at("ledger.witnessed.after")
}

/// The checkpoint that was published last, with the cosignatures that it had; where nothing waits for a quorum
/// of witnesses, the one that was signed last. `None`: none was, or it is withheld.
///
/// # Errors
/// A file is there and cannot be read.
pub fn last_published(dir: &Path) -> Result<Option<Signed>, JournalError> {
    match witnessed(dir)? {
        Some(Witnessed { published: Some(published), .. }) => Ok(Some(published)),
        Some(Witnessed { only_with_quorum: true, .. }) => Ok(None),
        Some(_) | None => last_signed(dir),
    }
}

/// The largest tree that a witness cosigned, if one did. `dir` is the ledger's.
///
/// # Errors
/// The file is there and cannot be read as a mark.
pub fn witnessed_mark(dir: &Path) -> Result<Option<Mark>, JournalError> {
    Ok(read::<Mark>(&dir.join(WITNESSED))?.filter(|m| m.size > 0))
}

/// What others have seen of this ledger, and who says so: it must hold all of that. `dir` is the ledger's.
///
/// # Errors
/// A file is there and cannot be read as a mark.
pub fn seen_outside(dir: &Path) -> Result<Vec<(&'static str, Mark)>, JournalError> {
    // The smaller one first: what comes meanwhile only makes the other larger.
    let witnessed = witnessed_mark(dir)?;
    let known = [("the last signed checkpoint", signed(dir)?), ("the last cosigned checkpoint", witnessed)];
    Ok(known.into_iter().filter_map(|(who, mark)| Some((who, mark?))).collect())
}

/// Up to which erasure everything that was to go is gone. `dir` is the ledger's. Not copied with the
/// journal, so a copy is looked through once.
///
/// # Errors
/// The file is there and cannot be read.
pub fn erased(dir: &Path) -> Result<Option<u64>, JournalError> {
    let path = dir.join(ERASED);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| {
            let what = format!("{} does not hold the number of an entry; it may be deleted", path.display());
            JournalError::damaged(0, what)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(JournalError::io("reading", &path)(e)),
    }
}

/// # Errors
/// I/O.
pub fn write_erased(dir: &Path, through: u64) -> io::Result<()> {
    files::fail_at("erase.mark.before")?;
    files::replace(dir, ERASED, format!("{through}\n").as_bytes())?;
    files::fail_at("erase.mark.after")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, JournalError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| JournalError::damaged(0, format!("{} is not a mark: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(JournalError::io("reading", path)(e)),
    }
}

/// Says that the ledger in `dir` is from a backup after which more may have been signed.
///
/// # Errors
/// I/O.
pub fn write_restored(dir: &Path) -> io::Result<()> {
    files::replace(dir, RESTORED, b"from a backup; see `gatelog log restore --help`\n")
}

/// Whether [`write_restored`] said so.
#[must_use]
pub fn is_restored(dir: &Path) -> bool {
    dir.join(RESTORED).exists()
}

/// Says that a clean stop left `tip`.
///
/// # Errors
/// I/O.
pub fn write_stopped(journal: &Path, tip: Tip) -> io::Result<()> {
    let mark = Mark { size: tip.size, leaf: Some(tip.leaf), root: None, sealed: true };
    files::fail_at("journal.stopped.before")?;
    files::replace(journal, STOPPED, &[serde_json::to_vec(&mark)?, b"\n".to_vec()].concat())?;
    files::fail_at("journal.stopped.after")
}
