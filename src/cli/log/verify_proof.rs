//! `gatelog log verify-proof`: checks a proof with nothing but the proof, the entry and the log's vkey.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{CommandResult, Exit, Failure, demand, safe};
use crate::ledger::{
    chain::leaf_hash,
    checkpoint::Checkpoint,
    entry::Link,
    note::Verifier,
    proof::{TlogProof, TlogProofError},
};
use crate::time::Time;

#[derive(clap::Args)]
pub struct Args {
    /// The proof (`c2sp.org/tlog-proof@v1`).
    file: PathBuf,
    /// Key of the log, as `gatelog log key show` prints it; several while a key is changed.
    #[arg(long = "vkey", value_name = "VKEY", required = true)]
    vkeys: Vec<String>,
    /// The entry, byte for byte.
    #[arg(long, value_name = "FILE")]
    entry: PathBuf,
    #[command(flatten)]
    demand: demand::DemandArgs,
}

pub fn run(args: &Args) -> CommandResult {
    let trusted = verifiers(&args.vkeys)?;
    let demand = args.demand.read(&trusted)?;
    let (file, entry) = (read(&args.file)?, read(&args.entry)?);
    let mut out = anstream::stdout().lock();
    match check(&file, &entry, &trusted) {
        Ok((index, Checkpoint { origin, size, root }, note)) => {
            let cosigned = match demand.check(note.as_bytes()) {
                Ok(cosigned) => cosigned,
                Err(e) => {
                    writeln!(out, "FAILED: {}", safe(&e.to_string()))?;
                    return Ok(demand::exit(&e));
                }
            };
            if let Some(what) = args.demand.too_old(None, &cosigned, Time::now())? {
                writeln!(out, "FAILED: {what}")?;
                return Ok(Exit::Incomplete);
            }
            writeln!(out, "signed by a key of {}", safe(&origin))?;
            write!(out, "{}", demand::text(&cosigned))?;
            let others = ", and that nobody was shown another log";
            let others = if demand.is_nothing() { others } else { "" };
            writeln!(out, "not proved: what other entries there are{others}")?;
            writeln!(out, "VERIFIED  entry {index} of {size}  root {root}")?;
            Ok(Exit::Ok)
        }
        Err(why) => {
            writeln!(out, "FAILED: {}", safe(&why))?;
            Ok(Exit::Integrity)
        }
    }
}

/// Which entry it is, and the checkpoint that holds it, read and as a note.
fn check(file: &[u8], entry: &[u8], trusted: &[Verifier]) -> Result<(u64, Checkpoint, String), String> {
    let proof = TlogProof::parse(file).map_err(|e| e.to_string())?;
    // An editor or `echo` may have added a line end, with which no entry ends.
    let candidates = [entry, entry.strip_suffix(b"\n").unwrap_or(entry)];
    let entry = candidates.iter().find(|c| Link::parse(c).is_ok_and(|l| l.seq == proof.index));
    let mut last = TlogProofError::Malformed("nothing was checked");
    for candidate in candidates {
        match proof.verify(leaf_hash(candidate), trusted) {
            Ok(checkpoint) if entry.is_some() => return Ok((proof.index, checkpoint, proof.checkpoint)),
            Ok(_) => {
                return Err(format!("it is in the log, but does not say that it is entry {}", proof.index));
            }
            Err(e) => last = e,
        }
    }
    let TlogProofError::Proof(_) = last else { return Err(last.to_string()) };
    let said = candidates.iter().find_map(|c| Link::parse(c).ok()).map(|l| l.seq);
    Err(match said {
        Some(seq) if seq != proof.index => {
            format!("{last}: it is of entry {}, and what is to be proved is entry {seq}", proof.index)
        }
        Some(_) => format!("{last}: the entry or the proof was changed"),
        None => format!("{last}: what is to be proved is no entry of a ledger"),
    })
}

/// # Errors
/// Exit 2: which one is no key, and why.
pub(in crate::cli) fn verifiers(vkeys: &[String]) -> Result<Vec<Verifier>, Failure> {
    let parse = |text: &String| {
        text.trim().parse().map_err(|e| Failure::usage(format!("--vkey {}: {e}", safe(text))))
    };
    vkeys.iter().map(parse).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::could_not_run(format!("reading {}: {e}", path.display())))
}
