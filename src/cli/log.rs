//! `gatelog log`: the ledger, read from its journal while the service runs, or from a copy.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{CommandResult, Exit, Failure, runtime};
use crate::{
    escape::{is_invisible, terminal as safe},
    ledger::{
        body::{Salt, commitment},
        entry::{BodyRef, Entry, Hash, Link},
        erasure::{Erasure, LIST},
    },
    store::{
        embedded::OpenError,
        journal::{
            JournalError,
            catalog::Directory,
            frame::FrameEntry,
            locate,
            pick::{Picked, Span},
            reader::{Group, Groups},
            when,
        },
    },
    time::Time,
};

mod acknowledge;
mod backup;
pub(super) mod demand;
mod erase;
mod key;
pub(super) mod list;
mod monitor;
mod new_generation;
pub(super) mod payload;
mod prove;
mod remote;
mod replay;
mod show;
mod status;
mod story;
pub(super) mod verify;
pub(super) mod verify_proof;

pub(super) use list::{By, called, parse_seq, parse_time, resolve};

pub(super) use prove::UNPUBLISHED;
pub(super) use show::input_of;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Check frames, chain, order, bodies and root, reading nothing but the journal.
    Verify(verify::Args),
    /// Show one entry and its bodies.
    Show(show::Args),
    /// List entries; with --repo and --pr, tell the story of a pull request.
    List(list::Args),
    /// Judge every verdict again from what the ledger keeps, and compare it byte for byte.
    Replay(replay::Args),
    /// After an alarm: a run of this App was seen that the ledger does not have; you looked at it.
    Acknowledge(acknowledge::Args),
    /// The key that signs checkpoints: make it, show what to hand to auditors, change it.
    #[command(subcommand)]
    Key(key::Command),
    /// Write a proof that an entry is in the ledger, or in a log that is published, to be checked offline.
    Prove(prove::Args),
    /// Check such a proof, with nothing but the log's vkey.
    VerifyProof(verify_proof::Args),
    /// Follow a log from outside: check what is new and that nothing old was changed. For cron.
    Monitor(monitor::Args),
    /// Set a ledger aside that lost what was signed, and begin another that names it.
    NewGeneration(new_generation::Args),
    /// Erase bodies, of an entry or of a person, and keep every proof.
    Erase(erase::Args),
    /// Copy the ledger into another folder; only what is new or was rewritten.
    Backup(backup::Args),
    /// Make a ledger from a backup.
    Restore(backup::RestoreArgs),
    /// Size, segments, bodies, disk, and what the running service has taken in.
    Status(status::Args),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Verify(args) => verify::run(&args),
        Command::Show(args) => show::run(&args),
        Command::List(args) => list::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Acknowledge(args) => acknowledge::run(&args),
        Command::Key(command) => key::run(&command),
        Command::Prove(args) => prove::run(&args),
        Command::VerifyProof(args) => verify_proof::run(&args),
        Command::Monitor(args) => monitor::run(&args),
        Command::NewGeneration(args) => new_generation::run(&args),
        Command::Erase(args) => erase::run(args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Status(args) => status::run(&args),
    }
}

/// Which ledger.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The ledger's folder (`[ledger] path`), a copy of it, or a folder that holds it as `data`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    ledger: PathBuf,
}

impl Place {
    /// The ledger's folder, where the running service has its socket.
    pub(super) fn folder(&self) -> Result<PathBuf, Failure> {
        let journal = self.journal()?;
        Ok(if journal.ends_with("journal") {
            journal.parent().map_or(journal.clone(), PathBuf::from)
        } else {
            journal
        })
    }

    pub(super) fn journal(&self) -> Result<PathBuf, Failure> {
        let dir = &self.ledger;
        locate(dir).ok_or_else(|| {
            // A ledger is its service's alone: whoever else looks there sees nothing.
            if let Err(e) = dir.join("journal").try_exists() {
                let what = "run this as the user that gatelog runs as, or on a copy";
                return Failure::could_not_run(format!("{} cannot be read: {e}; {what}", dir.display()));
            }
            let what = if dir.exists() { "holds no ledger (no folder journal)" } else { "does not exist" };
            Failure::could_not_run(format!(
                "{} {what}; name the ledger's folder with --ledger",
                dir.display()
            ))
        })
    }
}

/// Why the service did not do what it was asked, in its own words.
pub(super) fn why(answer: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    said["error"].as_str().map_or_else(|| safe(&String::from_utf8_lossy(answer)), safe)
}

/// An entry with its bodies, as a source hands it out.
pub(super) struct Item {
    pub seq: u64,
    pub leaf: Hash,
    pub raw: Bytes,
    /// `None`: written by a newer gatelog, shown as it stands.
    pub entry: Option<Entry>,
    pub link: Link,
    stored: FrameEntry,
}

/// What is there of a body.
pub(super) enum Found {
    Bytes(Bytes),
    Redacted,
}

impl Item {
    /// `None`: the entry has no body of that name.
    ///
    /// # Errors
    /// It is not what the entry commits to.
    pub(super) fn body(&self, name: &str) -> Result<Option<Found>, Failure> {
        match self.link.bodies.get(name) {
            Some(promised) => self.promised_body(name, promised).map(Some),
            None => Ok(None),
        }
    }

    fn promised_body(&self, name: &str, promised: &BodyRef) -> Result<Found, Failure> {
        let broken = |what: &str| {
            let name = safe(name);
            Failure::new(Exit::Integrity, format!("body {name} of entry {}: {what}", self.seq))
        };
        let body =
            self.stored.bodies.iter().find(|b| b.name == name).ok_or_else(|| broken("it is missing"))?;
        match body.bytes().map_err(broken)? {
            None => Ok(Found::Redacted),
            Some(bytes) if commitment(&body.salt, &bytes) == promised.commit => Ok(Found::Bytes(bytes)),
            Some(_) => Err(broken("it is not what the entry commits to")),
        }
    }

    /// The salt of a body that is there.
    pub(super) fn salt(&self, name: &str) -> Option<Salt> {
        self.stored.bodies.iter().find(|b| b.name == name).map(|b| b.salt)
    }

    /// A body as JSON, an event's payload with its form unwrapped. `None`: absent, erased or no JSON.
    pub(super) fn json(&self, name: &str) -> Result<Option<serde_json::Value>, Failure> {
        let Some(Found::Bytes(bytes)) = self.body(name)? else { return Ok(None) };
        let media = self.link.bodies.get(name).map_or("", |b| b.media.as_str());
        Ok(payload::json(&bytes, media))
    }
}

/// Entries from `from` on, in order. This is the one place that knows where they come from: the
/// journal's files. (The service's admin socket could be asked here instead.)
pub(super) fn entries(
    journal: &Path,
    from: u64,
) -> Result<impl Iterator<Item = Result<Item, Failure>> + use<>, Failure> {
    let mut groups = Groups::open_near(journal, from)?.ok_or_else(|| no_segments(journal))?;
    let items = items(move || groups.next_group());
    Ok(items.skip_while(move |item| item.as_ref().is_ok_and(|i| i.seq < from)))
}

/// The entries of these spans, and others of the same groups, in order.
pub(super) fn picked(
    journal: &Path,
    spans: Vec<Span>,
) -> Result<impl Iterator<Item = Result<Item, Failure>> + use<>, Failure> {
    // What no span asks for is not read, but a ledger without a beginning is none.
    Groups::open(journal)?.ok_or_else(|| no_segments(journal))?;
    let mut picked = Picked::new(journal, spans);
    Ok(items(move || picked.next_group()))
}

fn no_segments(journal: &Path) -> Failure {
    Failure::could_not_run(format!("there are no segments in {}", journal.display()))
}

/// Up to the first error.
fn items(
    mut next_group: impl FnMut() -> Result<Option<Group>, JournalError>,
) -> impl Iterator<Item = Result<Item, Failure>> {
    let mut failed = false;
    let next = move || -> Option<Result<Vec<Item>, Failure>> {
        if failed {
            return None;
        }
        let items = next_group().map_err(Failure::from).transpose()?.and_then(items_of);
        failed = items.is_err();
        Some(items)
    };
    std::iter::from_fn(next).flat_map(|group| match group {
        Ok(items) => items.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(e) => vec![Err(e)],
    })
}

/// From the segment on in which entries begin not to be before `time`: from the first, if there is none.
pub(super) fn from_time(journal: &Path, time: Option<Time>) -> Result<u64, Failure> {
    time.map_or(Ok(0), |time| Ok(when::before(journal, &|t| t < time)?))
}

/// Entry `seq`: of its segment headers of frames are read, and its own frame. `None`: it does not exist.
pub(super) fn entry(journal: &Path, seq: u64) -> Result<Option<Item>, Failure> {
    entries(journal, seq)?.next().transpose().map(|item| item.filter(|i| i.seq == seq))
}

/// The erasure that took body `name` of entry `seq`, among those that the directory knows.
///
/// # Errors
/// An erasure cannot be read.
pub(super) fn erasure_of(
    journal: &Path,
    directory: &Directory,
    seq: u64,
    name: &str,
) -> Result<Option<Erasure>, Failure> {
    let all = directory.parts().iter().flat_map(|p| &p.contents.erasures);
    for named in all.filter(|e| (e.first..=e.last).contains(&seq) && e.erasure < directory.size()) {
        let Some(item) = entry(journal, named.erasure)? else { continue };
        let (Some(entry), Some(Found::Bytes(list))) = (&item.entry, item.body(LIST)?) else { continue };
        if let Some(erasure) = Erasure::read(entry, &list).filter(|e| e.bodies.contains(seq, name)) {
            return Ok(Some(erasure));
        }
    }
    Ok(None)
}

/// `redacted at entry N (erasure M: reason)`
///
/// # Errors
/// Exit 3: no erasure names the body.
fn redaction(journal: &Path, seq: u64, name: &str) -> Result<String, Failure> {
    for trust in [true, false] {
        let directory = Directory::open(journal, u64::MAX, trust)?;
        if let Some(erasure) = erasure_of(journal, &directory, seq, name)? {
            let reason = safe(&erasure.reason);
            return Ok(format!("redacted at entry {seq} (erasure {}: {reason})", erasure.seq));
        }
    }
    let what = format!("body {} of entry {seq} was removed, and no erasure explains it", safe(name));
    Err(Failure::new(Exit::Integrity, what))
}

fn items_of(group: Group) -> Result<Vec<Item>, Failure> {
    let links = group.links()?;
    let all = group.entries.into_iter().zip(links).zip(group.leaves);
    let item = |((stored, link), leaf): ((FrameEntry, Link), Hash)| Item {
        seq: link.seq,
        leaf,
        raw: stored.raw.clone(),
        entry: Entry::parse(&stored.raw).ok(),
        link,
        stored,
    };
    Ok(all.map(item).collect())
}

impl From<JournalError> for Failure {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Damaged { .. } => Self::new(
                Exit::Integrity,
                format!("the ledger is damaged at {}; see `gatelog log verify`", safe(&e.to_string())),
            ),
            JournalError::Io { .. } => Self::could_not_run(e.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(e: OpenError) -> Self {
        let exit = match e {
            OpenError::Damaged { .. } => Exit::Integrity,
            OpenError::Locked { .. } | OpenError::CannotOpen(_) => Exit::CouldNotRun,
        };
        Self::new(exit, e.to_string())
    }
}

/// JSON text with the same meaning in which nothing is hostile to a terminal: such characters can
/// only stand inside strings, and become escapes there.
fn safe_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_invisible(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

pub(super) fn pretty(value: &serde_json::Value) -> String {
    safe_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_in_json_is_harmless_and_means_the_same() {
        let hostile = "a\u{1b}[31m\u{202e}b\u{7}\u{9b}c\u{7f}é\u{e0041}";
        let json = serde_json::json!({ "title": hostile });
        let text = pretty(&json);
        assert!(!text.chars().any(|c| c != '\n' && is_invisible(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
    }
}
