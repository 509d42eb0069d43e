//! `gatelog log new-generation`: a ledger that lost what was signed begins anew, and says so.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{CommandResult, Exit, Failure};
use crate::{
    cli::ConfigArg,
    config::Config,
    ledger::{Ledger, checkpoint::Checkpoint, key::Keys, publish::generation_of, verify::verify},
    store::{
        generation::{self, SetAsideError},
        journal::mark::Signed,
    },
    time::Time,
};

#[derive(clap::Args)]
pub struct Args {
    /// The last checkpoint that others have seen, as a signed note: of a witness, or of somebody who follows the
    /// log. Without it: the last one that the ledger here has signed.
    #[arg(long, value_name = "FILE")]
    last: Option<PathBuf>,
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
    let last = args.last.as_deref().map(|file| seen(file, &config)).transpose()?;
    let origin = config.ledger.origin.as_deref();
    // One that was restored from a backup proves nothing by having what the backup had.
    let is_whole = |dir: &Path| !args.although_whole && verify(&dir.join("journal")).is_ok();
    let (beginning, aside) = generation::set_aside_unless(dir, origin, last, is_whole)?;
    // A crash before: the next start of the service does it.
    let (ledger, _) = Ledger::open(dir, Time::now)?;
    let generation = ledger.head().generation;
    drop(ledger);
    let mut out = anstream::stdout().lock();
    writeln!(out, "the old ledger is in {}", aside.display())?;
    match &beginning.predecessor {
        Some(old) => writeln!(
            out,
            "generation {generation} names its last checkpoint: {} entries, root {}",
            old.size, old.root
        )?,
        None => writeln!(
            out,
            "generation {generation} names no checkpoint before it: none is known here (--last FILE gives one)"
        )?,
    }
    let old = beginning.predecessor.as_ref().map(|old| old.origin.as_str()).or(origin);
    if let Some((prefix, _)) = old.and_then(generation_of) {
        writeln!(out, "now set [ledger] origin = \"{prefix}/{generation}\" in {}", config.file.display())?;
    }
    writeln!(out, "move the old key file away, `gatelog log key new`, and hand the new vkey to auditors")?;
    Ok(Exit::Ok)
}

/// A checkpoint that others have seen. Our own key must have signed it: a new generation that names somebody
/// else's word is worth nothing.
fn seen(file: &Path, config: &Config) -> Result<Signed, Failure> {
    let ledger = &config.ledger;
    let (Some(origin), Some(key_file)) = (&ledger.origin, &ledger.key_file) else {
        return Err(Failure::usage(format!(
            "{}: --last needs the [ledger] origin and key_file of the log that ends",
            config.file.display()
        )));
    };
    let named = file.display();
    let note = std::fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("reading the checkpoint {named}: {e}")))?;
    let keys: Vec<_> = Keys::read(key_file, origin)?.verifiers().cloned().collect();
    let seen = Checkpoint::open(note.as_bytes(), &keys).map_err(|e| {
        Failure::usage(format!("{named} is no checkpoint that the key in {} signed: {e}", key_file.display()))
    })?;
    Ok(Signed { origin: seen.origin, size: seen.size, root: seen.root, time: Time::now(), checkpoint: note })
}

impl From<SetAsideError> for Failure {
    fn from(e: SetAsideError) -> Self {
        match e {
            SetAsideError::NothingSigned(_) | SetAsideError::Origin(_) => Self::usage(e.to_string()),
            SetAsideError::Whole { .. } => Self::usage(format!(
                "{e}, and starts as it is; to begin a new log all the same, because somebody may have changed it: \
                 --although-whole"
            )),
            SetAsideError::Open(e) => e.into(),
            SetAsideError::Io(_) => Self::could_not_run(e.to_string()),
        }
    }
}
