//! `gatelog log prove`: one entry and the way from it to a signed checkpoint, in a file.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use http::{Method, StatusCode};

use super::{CommandResult, Exit, Failure, Place, entries, safe};
use crate::{
    cli::runtime,
    ledger::{
        chain::node_hash,
        entry::Hash,
        proof::{self, Node, TlogProof, verify_inclusion},
    },
    server::admin::{self, CallError},
    store::journal::mark,
};

#[derive(clap::Args)]
pub struct Args {
    /// Number of the entry.
    seq: u64,
    /// Where the proof is written (`c2sp.org/tlog-proof@v1`).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the entry itself here, byte for byte as it is hashed: whoever checks the proof needs it.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    let dir = args.place.folder()?;
    let seq = args.seq;
    let proof = match runtime()?.block_on(admin::call(&dir, Method::GET, &format!("/proofs/{seq}"))) {
        Ok((StatusCode::OK, proof)) => String::from_utf8_lossy(&proof).into_owned(),
        Ok((status, said)) => {
            let said = safe(&String::from_utf8_lossy(&said));
            return Err(Failure::new(Exit::Incomplete, format!("the service answered {status}: {said}")));
        }
        // Nobody to ask: all is in the files.
        Err(CallError::NotRunning) => from_files(&dir, &journal, seq)?.text(),
        Err(e) => return Err(Failure::could_not_run(e.to_string())),
    };
    write(&args.output, proof.as_bytes())?;
    if let Some(file) = &args.entry {
        let item = entries(&journal, seq)?.next().ok_or_else(|| missing(seq))??;
        write(file, &item.raw)?;
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

/// Without the service: reads the whole journal, and proves under the checkpoint that was published last.
fn from_files(dir: &Path, journal: &Path, seq: u64) -> Result<TlogProof, Failure> {
    let signed = mark::last_published(dir)?.ok_or_else(|| {
        Failure::new(Exit::Incomplete, "nothing was signed yet: set [ledger] origin and key_file")
    })?;
    if seq >= signed.size {
        let what = format!("the last published checkpoint holds {} entries, so not entry {seq}", signed.size);
        return Err(Failure::new(Exit::Incomplete, what));
    }
    let mut leaves = vec![];
    for item in entries(journal, 0)?.take(usize::try_from(signed.size).unwrap_or(usize::MAX)) {
        leaves.push(item?.leaf);
    }
    let path =
        proof::inclusion(seq, signed.size, &mut |node| root_of(node, &leaves).ok_or_else(|| missing(seq)))?;
    let leaf = usize::try_from(seq).ok().and_then(|i| leaves.get(i)).ok_or_else(|| missing(seq))?;
    verify_inclusion(*leaf, seq, signed.size, &path, signed.root).map_err(|e| {
        Failure::new(Exit::Integrity, format!("the ledger is not the one that was signed: entry {seq}: {e}"))
    })?;
    Ok(TlogProof { extra: None, index: seq, path, checkpoint: signed.checkpoint })
}

fn root_of(node: Node, leaves: &[Hash]) -> Option<Hash> {
    let first = usize::try_from(node.index << node.height).ok()?;
    let mut row = leaves.get(first..first + (1 << node.height))?.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row.first().copied()
}
