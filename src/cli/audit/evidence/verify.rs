//! `gatelog audit evidence verify`

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Write as _},
    path::PathBuf,
    sync::Arc,
};

use super::{CommandResult, Exit, Failure};
use crate::{
    cli::{
        log::{demand, payload, verify_proof::verifiers},
        runtime,
    },
    escape::terminal as safe,
    ledger::{
        entry::{Entry, Kind},
        evidence::{
            CHECKPOINT,
            archive::Archive,
            body_path,
            verify::{Checked, Explained, Wrong, verify},
        },
    },
    policy::{
        Bundle, Input, Judge,
        replay::{Replayed, replay},
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// The evidence.
    file: PathBuf,
    /// Key of the log, as `gatelog log key show` prints it; several while a key is changed.
    #[arg(long = "vkey", value_name = "VKEY", required = true)]
    vkeys: Vec<String>,
    /// Judge every verdict in it again, and compare byte for byte.
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    demand: demand::DemandArgs,
}

pub fn run(args: &Args) -> CommandResult {
    let trusted = verifiers(&args.vkeys)?;
    let demand = args.demand.read(&trusted)?;
    let cannot = |e: &dyn std::fmt::Display| {
        Failure::could_not_run(format!("reading {}: {}", args.file.display(), safe(&e.to_string())))
    };
    let file = File::open(&args.file).map_err(|e| cannot(&e))?;
    let mut archive = Archive::open(BufReader::new(file)).map_err(|e| cannot(&e))?;
    let mut out = anstream::stdout().lock();
    let checked = match verify(&mut archive, &trusted) {
        Ok(checked) => checked,
        Err(Wrong::Unreadable(what)) => return Err(cannot(&what)),
        Err(Wrong::Entry { at, what }) => {
            writeln!(out, "FAILED at entry {at}: {}", safe(&what))?;
            return Ok(Exit::Integrity);
        }
        Err(Wrong::Failed(what)) => {
            writeln!(out, "FAILED: {}", safe(&what))?;
            return Ok(Exit::Integrity);
        }
    };
    let note = archive.read(CHECKPOINT).map_err(|e| cannot(&e))?.unwrap_or_default();
    let cosigned = match demand.check(&note) {
        Ok(cosigned) => cosigned,
        Err(e) => {
            writeln!(out, "FAILED: the checkpoint: {}", safe(&e.to_string()))?;
            return Ok(demand::exit(&e));
        }
    };
    write!(out, "{}", said(&checked))?;
    if demand.is_nothing() {
        writeln!(
            out,
            "not proved without a witness or an earlier checkpoint: that the log showed others the same"
        )?;
    }
    write!(out, "{}", demand::text(&cosigned))?;
    let exit = if args.replay { again(&checked, &mut archive, &mut out)? } else { Exit::Ok };
    if exit == Exit::Integrity {
        return Ok(exit);
    }
    let m = &checked.manifest;
    writeln!(
        out,
        "VERIFIED  {} entries of {}..{}  checkpoint {} of {}  root {}",
        m.selected.len(),
        m.from,
        m.to - 1,
        checked.checkpoint.size,
        safe(&checked.checkpoint.origin),
        checked.checkpoint.root
    )?;
    Ok(exit)
}

fn said(checked: &Checked) -> String {
    let mut out = format!("{} bodies are what their entries commit to\n", checked.bodies);
    for Explained { entry, body, erasure, reason } in &checked.redacted {
        let (body, reason) = (safe(body), safe(reason));
        out += &format!("redacted at entry {entry} (erasure {erasure}: {reason}): {body}\n");
    }
    out + &match &checked.complete {
        Ok(what) => format!("complete: {}\n", safe(what)),
        Err(what) => format!("not proved: {}\n", safe(what)),
    }
}

/// Judges again what the evidence holds.
fn again<R: std::io::Read + std::io::Seek>(
    checked: &Checked,
    archive: &mut Archive<R>,
    out: &mut impl std::io::Write,
) -> Result<Exit, Failure> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let judge = Judge::in_processes(1)
        .map_err(|e| Failure::could_not_run(format!("no judge process can be started: {e}")))?;
    let mut again = Again { checked, archive, bundles: BTreeMap::new() };
    let (mut same, mut differ, mut unknown) = (0, 0, 0);
    let selected = &checked.manifest.selected;
    let verdicts = checked.entries.iter().filter(|e| {
        e.kind == Kind::Verdict && e.bodies.contains_key("facts") && selected.binary_search(&e.seq).is_ok()
    });
    for entry in verdicts {
        let replayed = match again.parts(entry) {
            Err(why) => Replayed::CannotTell(why),
            Ok((bundle, input, recorded)) => runtime.block_on(replay(&judge, bundle, input, &recorded)),
        };
        match replayed {
            Replayed::Same | Replayed::SameMeaning => same += 1,
            Replayed::CannotTell(why) => {
                unknown += 1;
                writeln!(out, "entry {}: cannot be judged again: {}", entry.seq, safe(&why))?;
            }
            Replayed::Differs(d) | Replayed::DiffersByEngine(d) => {
                differ += 1;
                let (at, then, now) = (safe(&d.at), safe(&d.then), safe(&d.now));
                writeln!(out, "entry {}: differs in {at}\n  then  {then}\n  now   {now}", entry.seq)?;
            }
        }
    }
    if differ > 0 {
        writeln!(out, "FAILED  {differ} verdicts are not what their facts and policies give")?;
        return Ok(Exit::Integrity);
    }
    writeln!(out, "replayed: {same} verdicts are what their facts and policies give")?;
    Ok(if unknown > 0 { Exit::Incomplete } else { Exit::Ok })
}

struct Again<'a, R> {
    checked: &'a Checked,
    archive: &'a mut Archive<R>,
    bundles: BTreeMap<String, Result<Arc<Bundle>, String>>,
}

type Parts = (Arc<Bundle>, Arc<Input>, Vec<u8>);

impl<R: std::io::Read + std::io::Seek> Again<'_, R> {
    fn parts(&mut self, verdict: &Entry) -> Result<Parts, String> {
        let digest = verdict.data.get("bundle").and_then(|b| b.as_str()).unwrap_or_default().to_owned();
        let bundle = self.bundle(&digest)?;
        let event = verdict.key.strip_prefix("verdict:").and_then(|seq| seq.parse().ok());
        let event: u64 = event.ok_or("it does not say which event it answers")?;
        let entry = self.checked.entries.iter().find(|e| e.seq == event);
        let media = entry.and_then(|e| e.bodies.get("payload")).map_or("", |b| b.media.as_str());
        let payload = self.body(event, "payload")?;
        let payload = payload::json(&payload, media).ok_or("the payload is no JSON")?.to_string();
        let facts = self.body(verdict.seq, "facts")?;
        let input = Input::splice(&facts, payload.as_bytes()).map_err(|e| e.to_string())?;
        Ok((bundle, Arc::new(input), self.body(verdict.seq, "verdict")?))
    }

    fn body(&mut self, seq: u64, name: &str) -> Result<Vec<u8>, String> {
        self.archive
            .read(&body_path(seq, name))?
            .ok_or_else(|| format!("the {name} of entry {seq} is not there"))
    }

    fn bundle(&mut self, digest: &str) -> Result<Arc<Bundle>, String> {
        if let Some(known) = self.bundles.get(digest) {
            return known.clone();
        }
        let is_it = |e: &&Entry| {
            e.kind == Kind::Policy && e.data.get("bundle").and_then(|b| b.as_str()) == Some(digest)
        };
        let seq = self.checked.entries.iter().find(is_it).map(|e| e.seq);
        let load = |archive: Vec<u8>| Bundle::from_archive(&archive).map(Arc::new).map_err(|e| e.to_string());
        let bundle = match seq {
            Some(seq) => self.body(seq, "bundle").and_then(load),
            None => Err("its policies are not there".to_owned()),
        };
        self.bundles.entry(digest.to_owned()).or_insert(bundle).clone()
    }
}
