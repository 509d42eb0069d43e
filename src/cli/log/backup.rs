//! `gatelog log backup` and `gatelog log restore`

use std::{io::Write as _, path::PathBuf};

use super::{CommandResult, Exit, Failure, Place, safe};
use crate::{
    ledger::{
        Ledger,
        verify::{Verified, VerifyError, verify},
    },
    store::{
        backup::{self, BackupError, Last},
        journal::mark,
    },
    time::Time,
};

/// Copies the ledger into a folder of its own, while the service runs or not. Run it again and only what is
/// new or was rewritten (because a body was erased) is copied. No keys and no secret are copied.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the backup: new, empty, or an earlier backup of the same ledger.
    dir: PathBuf,
    /// Check the whole backup afterwards, as `log verify` does.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    if args.dir.is_file() {
        let dir = safe(&args.dir.display().to_string());
        return Err(Failure::usage(format!("{dir} is a file: name the folder of the backup")));
    }
    let done = backup::backup(&journal, &args.dir, Time::now())?;
    let mut out = anstream::stdout().lock();
    let (size, copied, kept) = (done.manifest.size, done.copied, done.kept);
    writeln!(
        out,
        "{size} entries are in {}: {copied} segments copied ({} bytes), {kept} were there",
        safe(&args.dir.display().to_string()),
        done.bytes
    )?;
    if args.verify {
        let found = verified(&args.dir.join("journal"))?;
        writeln!(out, "VERIFIED  {} entries  root {}", found.entries, found.root)?;
    }
    Ok(Exit::Ok)
}

/// Makes a ledger from a backup, checks it, and gives it its name only then.
#[derive(clap::Args)]
pub struct RestoreArgs {
    /// The folder of the backup.
    dir: PathBuf,
    /// The new ledger's folder: it must not exist, or be empty.
    #[arg(long, value_name = "DATA")]
    into: PathBuf,
    /// The service was stopped before the backup was made, and not started again: the ledger may go on
    /// signing as the same log. Without this, one that signed must begin a new generation.
    #[arg(long)]
    nothing_signed_since: bool,
}

pub fn restore(args: &RestoreArgs) -> CommandResult {
    let last = if args.nothing_signed_since { Last::Nothing } else { Last::Unknown };
    let found = backup::restore(&args.dir, &args.into, last, verified)?;
    let mut out = anstream::stdout().lock();
    if found.redactions.iter().any(|r| r.left > 0) {
        // Said in the backup, and not done in it.
        let (ledger, _) = Ledger::open(&args.into, Time::now)?;
        super::runtime()?
            .block_on(ledger.close())
            .map_err(|e| Failure::could_not_run(format!("closing the ledger: {e}")))?;
        writeln!(out, "what the backup still held of erased bodies was erased")?;
    }
    writeln!(out, "restored {} entries, root {}", found.entries, found.root)?;
    if mark::is_restored(&args.into) {
        writeln!(
            out,
            "Where it has a log key, and may have signed since the backup: to serve it, `gatelog log new-generation` \
             (--help says when not)."
        )?;
    }
    writeln!(
        out,
        "A ledger from an old backup has forgotten what came after it: compare the root before you serve it."
    )?;
    Ok(Exit::Ok)
}

fn verified(journal: &std::path::Path) -> Result<Verified, Failure> {
    verify(journal).map_err(|e| match e {
        VerifyError::Failed { .. } => {
            Failure::new(Exit::Integrity, format!("the backup does not verify: {}", safe(&e.to_string())))
        }
        VerifyError::Unsigned(what) | VerifyError::CannotRead(what) => Failure::could_not_run(what),
    })
}

impl From<BackupError> for Failure {
    fn from(e: BackupError) -> Self {
        match e {
            BackupError::Journal(e) => e.into(),
            BackupError::Refused(what) => Self::usage(safe(&what)),
            BackupError::RolledBack(what) => Self::new(Exit::Integrity, safe(&what)),
            BackupError::Io { .. } => Self::could_not_run(safe(&e.to_string())),
        }
    }
}
