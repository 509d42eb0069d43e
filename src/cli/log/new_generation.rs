//! `gatelog log new-generation`: a ledger that lost what was signed begins anew, and says so.

use std::{io::Write as _, path::Path};

use super::{CommandResult, Exit, Failure};
use crate::{
    cli::ConfigArg,
    ledger::{Ledger, publish::generation_of, verify::verify},
    store::generation::{self, SetAsideError},
    time::Time,
};

#[derive(clap::Args)]
pub struct Args {
    /// Also if the ledger has all that it signed: whoever has its key may have changed it. All of it is left
    /// behind in generation-N, and a new log begins.
    #[arg(long)]
    although_whole: bool,
    #[command(flatten)]
    config: ConfigArg,
}

pub fn run(args: &Args) -> CommandResult {
    let config = args.config.load()?;
    let dir = &config.ledger.path;
    // One that was restored from a backup proves nothing by having what the backup had.
    let is_whole = |dir: &Path| !args.although_whole && verify(&dir.join("journal")).is_ok();
    let (beginning, aside) = generation::set_aside_unless(dir, is_whole)?;
    // A crash before: the next start of the service does it.
    let (ledger, _) = Ledger::open(dir, Time::now)?;
    let generation = ledger.head().generation;
    drop(ledger);
    let mut out = anstream::stdout().lock();
    writeln!(out, "the old ledger is in {}", aside.display())?;
    if let Some(old) = &beginning.predecessor {
        writeln!(
            out,
            "generation {generation} names its last checkpoint: {} entries, root {}",
            old.size, old.root
        )?;
        let prefix = generation_of(&old.origin).map_or(old.origin.as_str(), |(prefix, _)| prefix);
        writeln!(out, "now set [ledger] origin = \"{prefix}/{generation}\" in {}", config.file.display())?;
    }
    writeln!(out, "move the old key file away, `gatelog log key new`, and hand the new vkey to auditors")?;
    Ok(Exit::Ok)
}

impl From<SetAsideError> for Failure {
    fn from(e: SetAsideError) -> Self {
        match e {
            SetAsideError::NothingSigned(_) => Self::usage(e.to_string()),
            SetAsideError::Whole { .. } => Self::usage(format!(
                "{e}, and starts as it is; to begin a new log all the same, because somebody may have changed it: \
                 --although-whole"
            )),
            SetAsideError::Open(e) => e.into(),
            SetAsideError::Io(_) => Self::could_not_run(e.to_string()),
        }
    }
}
