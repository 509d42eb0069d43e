//! `gatelog log prove`: one entry and the way from it to a signed checkpoint, in a file.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{
    CommandResult, Exit, Failure, Place, entry, monitor, remote::Remote, verify_proof::verifiers, why,
};
use crate::{
    cli::runtime,
    ledger::{
        follow,
        proof::{self, TlogProof, verify_inclusion},
    },
    server::admin::{self, CallError},
    store::journal::{catalog::Directory, mark},
};

/// How something comes to be published.
pub(in crate::cli) const UNPUBLISHED: &str = "nothing can be proved: set [ledger] origin and key_file, make the key with `gatelog log key new`, and let \
     `gatelog serve` sign; with publish_only_with_quorum, the witnesses have to cosign first";

#[derive(clap::Args)]
pub struct Args {
    /// Number of the entry.
    #[arg(value_parser = super::parse_seq)]
    seq: u64,
    /// Where the proof is written (`c2sp.org/tlog-proof@v1`).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the entry itself here, byte for byte as it is hashed: whoever checks the proof needs it.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// Prove from what a log publishes, instead of a ledger here: https://HOST/log
    #[arg(long, value_name = "URL", requires = "vkeys", conflicts_with = "ledger")]
    url: Option<String>,
    /// With --url: key of the log. What it did not sign is not turned into a proof.
    #[arg(long = "vkey", value_name = "VKEY", requires = "url")]
    vkeys: Vec<String>,
    /// With --url: certificates to trust beside the system's (PEM).
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    match &args.url {
        Some(url) => from_outside(args, url),
        None => from_here(args),
    }
}

fn from_outside(args: &Args, url: &str) -> CommandResult {
    let trusted = verifiers(&args.vkeys)?;
    let remote = Remote::new(url, args.ca_file.as_deref())?;
    match follow::prove(args.seq, &trusted, &mut |name| remote.get(name)) {
        Ok((proof, entry)) => written(args, &proof.text(), || Ok(entry)),
        Err(e) => monitor::failed(&e, &mut anstream::stdout().lock()),
    }
}

fn from_here(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    let dir = args.place.folder()?;
    let seq = args.seq;
    let proof = match runtime()?.block_on(admin::call(&dir, Method::GET, &format!("/proofs/{seq}"))) {
        Ok((StatusCode::OK, proof)) => String::from_utf8_lossy(&proof).into_owned(),
        Ok((StatusCode::NOT_FOUND, said)) => return Err(Failure::new(Exit::Incomplete, why(&said))),
        Ok((status, said)) => {
            let what = format!("the service answered {status}: {}", why(&said));
            return Err(Failure::new(Exit::Incomplete, what));
        }
        // Nobody to ask: all is in the files.
        Err(CallError::NotRunning) => from_files(&dir, &journal, seq)?.text(),
        Err(e) => return Err(Failure::could_not_run(e.to_string())),
    };
    written(args, &proof, || Ok(entry(&journal, seq)?.ok_or_else(|| missing(seq))?.raw))
}

fn written(args: &Args, proof: &str, entry: impl FnOnce() -> Result<Bytes, Failure>) -> CommandResult {
    write(&args.output, proof.as_bytes())?;
    if let Some(file) = &args.entry {
        write(file, &entry()?)?;
    }
    let out = args.output.display();
    let entry = args.entry.as_ref().map_or("ENTRY.json".into(), |e| e.display().to_string());
    writeln!(anstream::stdout(), "check it: gatelog log verify-proof {out} --vkey VKEY --entry {entry}")?;
    Ok(Exit::Ok)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|e| Failure::could_not_run(format!("writing {}: {e}", path.display())))
}

fn missing(seq: u64) -> Failure {
    Failure::usage(format!("entry {seq} does not exist: the ledger ends before it"))
}

/// Without the service: proves under the checkpoint that was published last, from what is kept beside the
/// segments, and where that does not lead to the signed root, from the segments.
fn from_files(dir: &Path, journal: &Path, seq: u64) -> Result<TlogProof, Failure> {
    let signed = mark::last_published(dir)?.ok_or_else(|| {
        Failure::new(Exit::Incomplete, format!("nothing was published yet, so {UNPUBLISHED}"))
    })?;
    if seq >= signed.size {
        let what = format!("the last published checkpoint holds {} entries, so not entry {seq}", signed.size);
        return Err(Failure::new(Exit::Incomplete, what));
    }
    let leaf = entry(journal, seq)?.ok_or_else(|| missing(seq))?.leaf;
    let proved = |trust| -> Result<TlogProof, Failure> {
        let directory = Directory::open(journal, signed.size, trust)?;
        let path = proof::inclusion(seq, signed.size, &mut |node| directory.node(node))?;
        verify_inclusion(leaf, seq, signed.size, &path, signed.root).map_err(|e| {
            let what = format!("the ledger is not the one that was signed: entry {seq}: {e}");
            Failure::new(Exit::Integrity, what)
        })?;
        Ok(TlogProof { extra: None, index: seq, path, checkpoint: signed.checkpoint.clone() })
    };
    proved(true).or_else(|_| proved(false))
}
