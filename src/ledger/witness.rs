//! What a witness does: it remembers of each log the largest tree that it was shown, and cosigns only what
//! goes on from that. C2SP tlog-witness v1.0.0.
//!
//! ```text
//! request   old <size>\n                     the size that the witness saw last
//!           <hash in base64>\n …             a consistency proof from there, at most 63
//!           \n
//!           <signed checkpoint>
//! answer    — <name> <cosignature>\n
//! ```
//! A log that shows two trees to two people has to show one of them to the witness, and the other is then
//! without its cosignature. This holds as long as the witness forgets nothing: what it cosigns is durable in a
//! file of its own for each log before anybody sees the cosignature, and one process at a time has the folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod ask;

pub use ask::{Told, Trouble, Witnesses};

use super::{
    checkpoint::{Checkpoint, CheckpointError, decimal, hash},
    cosignature::CosigningKey,
    entry::Hash,
    note::{self, NoteError, Verifier},
    proof::verify_consistency,
};
use crate::{
    store::files::{self, Lock, Locked},
    time::Time,
};

/// Bytes of a request at most. C2SP demands 16 signatures; those of ML-DSA-44 have 3,300 bytes.
pub const MAX_REQUEST: usize = 128 << 10;

/// Hashes of a consistency proof at most.
pub const MAX_PROOF: usize = 63;

/// A request to a witness to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness saw last, as far as the log knows; 0: it saw nothing.
    pub old: u64,
    /// That the checkpoint goes on from there.
    pub proof: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// The body of the request.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("old {}\n", self.old);
        for hash in &self.proof {
            out += &BASE64_STANDARD.encode(hash.0);
            out.push('\n');
        }
        out.push('\n');
        out + &self.checkpoint
    }

    /// Reads the body of a request. The note in it is not read yet. `None`: it is none.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = std::str::from_utf8(body).ok().filter(|b| b.len() <= MAX_REQUEST)?;
        let (head, checkpoint) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ").and_then(decimal)?;
        let proof: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
        if proof.len() > MAX_PROOF {
            return None;
        }
        Some(Self { old, proof, checkpoint: checkpoint.to_owned() })
    }
}

/// Why a witness does not cosign. The words are constant: nothing of a request is said back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400
    #[error("that is no request to cosign a checkpoint")]
    Malformed,
    /// 400
    #[error("the old size is larger than the checkpoint")]
    OldIsLarger,
    /// 403
    #[error("no key of that log has signed it, or one has wrongly")]
    Untrusted,
    /// 404
    #[error("this witness does not know that log")]
    UnknownLog,
    /// 409: so much was seen last.
    #[error("{0}")]
    Conflict(u64),
    /// 422
    #[error("it does not go on from what was seen before")]
    Inconsistent,
    /// 500: what is seen could not be made durable, so nothing was cosigned.
    #[error("the witness cannot keep what it saw")]
    NotKept(String),
}

/// What was seen last of a log: a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// Of the cosignature.
    pub time: Time,
    /// The note with the signatures of the log that were verified, and the cosignature.
    pub checkpoint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Another process has the folder.
    #[error("another witness{} keeps its state in {}", .pid.map_or(String::new(), |p| format!(" (process {p})")), .dir.display())]
    Locked { dir: PathBuf, pid: Option<u32> },
    /// What was seen cannot be told, so nothing may be cosigned.
    /// The folder does not know this key: it may not be the one with the memory.
    #[error(
        "{} is not the memory of {key}: it was never written there. Put back the folder that was (is a disk not mounted?), or, \
         if the key has cosigned nothing yet, say --first-use", .dir.display()
    )]
    Unknown { dir: PathBuf, key: String },
    /// It is that of another key.
    #[error("{} is the memory of the witness {key}: a key has a folder of its own", .dir.display())]
    OfAnother { dir: PathBuf, key: String },
    #[error("{}: {what}; restore it from a copy, or make another witness with another key", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// A witness with its memory.
pub struct Witness {
    key: CosigningKey,
    /// The keys of each log that is witnessed, by its origin.
    logs: BTreeMap<String, Vec<Verifier>>,
    dir: PathBuf,
    /// By origin. Held while a checkpoint is compared, kept and cosigned: one after the other.
    seen: Mutex<BTreeMap<String, Seen>>,
    _lock: Lock,
}

/// In the folder: the vkey whose memory it is.
const KEY: &str = "vkey";

/// Lowercase hex of `SHA-256(origin)`: how a log is named in the folder and in URLs.
#[must_use]
pub fn origin_hash(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

impl Witness {
    /// Makes the folder in which a key that has cosigned nothing yet will remember what it cosigns. Where it is
    /// there already for this key, nothing is done.
    ///
    /// # Errors
    /// It is that of another key, or I/O.
    pub fn begin(dir: &Path, key: &CosigningKey) -> Result<(), WitnessError> {
        let failed = |path: &Path, error: io::Error| WitnessError::Io { path: path.to_owned(), error };
        files::create_dir(dir).map_err(|e| failed(dir, e))?;
        match owner(dir)? {
            Some(owner) => is_owner(dir, &owner, key),
            None => {
                let text = format!("{}\n", key.cosigner());
                files::replace(dir, KEY, text.as_bytes()).map_err(|e| failed(&dir.join(KEY), e))
            }
        }
    }

    /// Takes the folder and reads what was seen of the logs. A log may have several keys, as while they are
    /// changed. A folder that is not known to be this key's is refused: one that is empty because its disk is not
    /// mounted would make the witness cosign what contradicts what it cosigned.
    ///
    /// # Errors
    /// See [`WitnessError`].
    pub fn open(dir: &Path, key: CosigningKey, logs: &[Verifier]) -> Result<Self, WitnessError> {
        let failed = |path: &Path, error: io::Error| WitnessError::Io { path: path.to_owned(), error };
        let unknown = || WitnessError::Unknown { dir: dir.to_owned(), key: key.cosigner().to_string() };
        if !dir.is_dir() {
            return Err(unknown());
        }
        let lock = match files::lock(dir).map_err(|e| failed(dir, e))? {
            Locked::Ours(lock) => lock,
            Locked::Theirs(pid) => return Err(WitnessError::Locked { dir: dir.to_owned(), pid }),
        };
        // Whoever had the folder may have died between a name and its sync: what is read and shown must not be
        // gone after the next power cut.
        files::sync_dir(dir).map_err(|e| failed(dir, e))?;
        match owner(dir)? {
            Some(owner) => is_owner(dir, &owner, &key)?,
            // Of before the key was written there: what it saw shows that it is one.
            None if remembers(dir).map_err(|e| failed(dir, e))? => Self::begin(dir, &key)?,
            None => return Err(unknown()),
        }
        let mut by_origin: BTreeMap<String, Vec<Verifier>> = BTreeMap::new();
        for log in logs {
            by_origin.entry(log.name().to_owned()).or_default().push(log.clone());
        }
        let mut seen = BTreeMap::new();
        for origin in by_origin.keys() {
            seen.extend(read(&dir.join(file_of(origin)), origin)?.map(|s| (origin.clone(), s)));
        }
        Ok(Self { key, logs: by_origin, dir: dir.to_owned(), seen: seen.into(), _lock: lock })
    }

    /// The logs of which nothing was seen yet.
    pub fn unseen(&self) -> Vec<&str> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.logs.keys().map(String::as_str).filter(|origin| !seen.contains_key(*origin)).collect()
    }

    #[must_use]
    pub fn key(&self) -> &CosigningKey {
        &self.key
    }

    /// What was seen last of the log with that [`origin_hash`].
    #[must_use]
    pub fn seen(&self, origin_hash: &str) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().find(|s| self::origin_hash(&s.origin) == origin_hash).cloned()
    }

    /// Cosigns the checkpoint in the request, if it goes on from what was seen: the signature line. Blocks for
    /// a sync.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn add_checkpoint(&self, body: &[u8], now: Time) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(body).ok_or(Refusal::Malformed)?;
        let origin = request.checkpoint.split('\n').next().unwrap_or_default();
        let keys = self.logs.get(origin).ok_or(Refusal::UnknownLog)?;
        let opened = note::open(request.checkpoint.as_bytes(), keys).map_err(|e| match e {
            NoteError::Malformed(_) => Refusal::Malformed,
            NoteError::BadSignature(_) | NoteError::Untrusted(_) => Refusal::Untrusted,
        })?;
        let checkpoint = Checkpoint::parse(opened.text).map_err(|e| match e {
            CheckpointError::EmptyRoot => Refusal::Inconsistent,
            _ => Refusal::Malformed,
        })?;
        if request.old > checkpoint.size {
            return Err(Refusal::OldIsLarger);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.get(origin);
        goes_on(last, &request, &checkpoint)?;
        // A clock that was set back does not make the newest statement look older than one before.
        let time = last.map_or(now, |s| s.time.max(now));
        let line = self.key.cosign(opened.text, time);
        let checkpoint = Seen {
            origin: checkpoint.origin,
            size: checkpoint.size,
            root: checkpoint.root,
            time,
            checkpoint: verified(&request.checkpoint, keys) + &line,
        };
        // What is kept must be read at the next start, and opened by whoever it is shown to.
        checkpoint.check().map_err(Refusal::NotKept)?;
        // A power cut before: nobody has the cosignature. After: it is what the next one must go on from.
        self.keep(&checkpoint).map_err(|e| Refusal::NotKept(e.to_string()))?;
        seen.insert(origin.to_owned(), checkpoint);
        Ok(line)
    }

    fn keep(&self, seen: &Seen) -> io::Result<()> {
        files::fail_at("witness.seen.before")?;
        let text = [serde_json::to_vec_pretty(seen)?, b"\n".to_vec()].concat();
        files::replace(&self.dir, &file_of(&seen.origin), &text)?;
        files::fail_at("witness.seen.after")
    }
}

/// Whose memory the folder is.
fn owner(dir: &Path) -> Result<Option<String>, WitnessError> {
    let path = dir.join(KEY);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WitnessError::Io { path, error }),
    }
}

fn is_owner(dir: &Path, owner: &str, key: &CosigningKey) -> Result<(), WitnessError> {
    if owner == key.cosigner().to_string() {
        return Ok(());
    }
    Err(WitnessError::OfAnother { dir: dir.to_owned(), key: owner.escape_debug().to_string() })
}

/// Whether something that was seen is kept there.
fn remembers(dir: &Path) -> io::Result<bool> {
    let mut files = fs::read_dir(dir)?;
    files.try_fold(false, |found, file| Ok(found || file?.path().extension().is_some_and(|e| e == "json")))
}

fn file_of(origin: &str) -> String {
    format!("{}.json", origin_hash(origin))
}

fn goes_on(last: Option<&Seen>, request: &AddCheckpoint, new: &Checkpoint) -> Result<(), Refusal> {
    let size = last.map_or(0, |s| s.size);
    if request.old != size {
        return Err(Refusal::Conflict(size));
    }
    // That a tree goes on from nothing needs no proof, and must have none.
    let Some(last) = last.filter(|s| s.size > 0) else {
        return if request.proof.is_empty() { Ok(()) } else { Err(Refusal::Inconsistent) };
    };
    verify_consistency(last.size, last.root, new.size, new.root, &request.proof)
        .map_err(|_| Refusal::Inconsistent)
}

impl Seen {
    /// Whether the note is one, and of what is said beside it.
    fn check(&self) -> Result<(), String> {
        let note = note::parse(self.checkpoint.as_bytes()).map_err(|e| format!("it holds no note: {e}"))?;
        let held = Checkpoint::parse(note.text).map_err(|e| format!("it holds no checkpoint: {e}"))?;
        if (&*held.origin, held.size, held.root) != (&*self.origin, self.size, self.root) {
            return Err("it does not fit the checkpoint in it".into());
        }
        Ok(())
    }
}

/// The note with the signatures of the log alone, each key once: it may repeat them until there is no room for
/// the cosignature.
fn verified(signed: &str, keys: &[Verifier]) -> String {
    // It was opened before.
    let Ok(parsed) = note::parse(signed.as_bytes()) else { return String::new() };
    let (mut lines, mut kept) = (String::new(), BTreeSet::new());
    for s in &parsed.signatures {
        if keys.iter().any(|k| k.name() == s.name && k.id() == s.id) && kept.insert((s.name, s.id)) {
            lines += &note::line(s.name, s.id, &s.bytes);
        }
    }
    format!("{}\n{lines}", parsed.text)
}

fn read(path: &Path, origin: &str) -> Result<Option<Seen>, WitnessError> {
    let damaged = |what: &str| WitnessError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(WitnessError::Io { path: path.to_owned(), error }),
    };
    let seen: Seen =
        serde_json::from_slice(&text).map_err(|e| damaged(&format!("it cannot be read: {e}")))?;
    seen.check().map_err(|what| damaged(&what))?;
    if seen.origin != origin {
        return Err(damaged("it is of another log"));
    }
    Ok(Some(seen))
}

#[cfg(test)]
mod tests;
