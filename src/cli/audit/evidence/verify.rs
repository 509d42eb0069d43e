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
        log::{demand, list::parse_time, payload, verify::some_of, verify_proof::verifiers},
        runtime,
    },
    escape::terminal as safe,
    event::RepoName,
    ledger::{
        entry::{Entry, Kind},
        evidence::{
            CHECKPOINT, NOT_IN_IT, Selection,
            about::{Asked, Named, Other},
            archive::Archive,
            body_path,
            verify::{Checked, Explained, Wrong, verify},
        },
    },
    policy::{
        Bundle, Input, Judge,
        replay::{Replayed, replay},
    },
    time::Time,
};

#[derive(clap::Args)]
pub struct Args {
    /// The evidence.
    file: PathBuf,
    /// Key of the log, as `gatelog log key show` prints it; several while a key is changed.
    #[arg(long = "vkey", value_name = "VKEY", required = true)]
    vkeys: Vec<String>,
    /// Fail unless it is about this pull request: `owner/name#12`, or `id#12` with the repository's id.
    #[arg(long, value_name = "REPO#NUMBER", conflicts_with_all = ["entry", "since", "until", "repo"])]
    pr: Option<String>,
    /// Fail unless it is about this entry.
    #[arg(long, value_name = "N", value_parser = crate::cli::log::parse_seq, conflicts_with_all = ["since", "until", "repo"])]
    entry: Option<u64>,
    /// Fail unless it is about the time from here on: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Time>,
    /// Fail unless it is about the time before this.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
    /// Fail unless it is about a time of this repository, by name or id.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
    /// Judge every verdict in it again, and compare byte for byte.
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    demand: demand::DemandArgs,
}

pub fn run(args: &Args) -> CommandResult {
    let trusted = verifiers(&args.vkeys)?;
    let demand = args.demand.read(&trusted)?;
    let asked = args.asked()?;
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
    let about = safe(&checked.manifest.selection.text(&checked.names));
    match asked.map(|asked| asked.is(&checked.manifest.selection, &checked.names)) {
        None | Some(Ok(())) => {}
        Some(Err(Other::Differs)) => {
            writeln!(out, "FAILED: it is about {about}, and that was not asked for")?;
            return Ok(Exit::Integrity);
        }
        Some(Err(Other::Nameless(id))) => {
            writeln!(
                out,
                "not proved: that it is about what was asked for: it is about {about}; ask by the number {id}"
            )?;
            return Ok(Exit::Incomplete);
        }
    }
    writeln!(out, "about: {about}")?;
    write!(out, "{}", said(&checked))?;
    writeln!(out, "not proved: what index.html says, which is for reading")?;
    if demand.is_nothing() {
        writeln!(
            out,
            "not proved without a witness or an earlier checkpoint: that the log showed others the same"
        )?;
    }
    write!(out, "{}", demand::text(&cosigned))?;
    let last = checked.manifest.to.checked_sub(1).filter(|last| last + 1 == checked.checkpoint.size);
    let last = last.and_then(|seq| checked.entries.iter().find(|e| e.seq == seq)).map(|e| e.time);
    if let Some(what) = args.demand.too_old(last, &cosigned, Time::now())? {
        writeln!(out, "FAILED: {what}")?;
        return Ok(Exit::Incomplete);
    }
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

impl Args {
    /// What it has to be about; `None`: anything.
    fn asked(&self) -> Result<Option<Asked>, Failure> {
        let repository = |name: &str| match name.parse() {
            Ok(id) => Ok(Named::Id(id)),
            Err(_) => {
                name.parse::<RepoName>().map_err(Failure::usage).map(|n| Named::Name(n.as_str().to_owned()))
            }
        };
        if let Some(asked) = &self.pr {
            let parts = asked.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse().ok()?)));
            let (name, number) = parts
                .ok_or_else(|| Failure::usage(format!("--pr {}: write it as owner/name#12", safe(asked))))?;
            return Ok(Some(Asked::Pull { repository: repository(name)?, number }));
        }
        if let Some(entry) = self.entry {
            return Ok(Some(Asked::Entry(entry)));
        }
        if self.since.is_none() && self.until.is_none() && self.repo.is_none() {
            return Ok(None);
        }
        let repository = self.repo.as_deref().map(repository).transpose()?;
        Ok(Some(Asked::Time { since: self.since, until: self.until, repository }))
    }
}

fn said(checked: &Checked) -> String {
    let mut out = format!("{} bodies are what their entries commit to\n", checked.bodies);
    for Explained { entry, body, erasure, reason } in &checked.redacted {
        let (body, reason) = (safe(body), safe(reason));
        out += &format!("redacted at entry {entry} (erasure {erasure}: {reason}): {body}\n");
    }
    if let Some((seq, what)) = checked.lints.first() {
        let n = checked.lints.len();
        out += &format!("lint: {n} entries are not in canonical form, first entry {seq}: {}\n", safe(what));
    }
    out += &match &checked.complete {
        Ok(what) => format!("complete: {}\n", safe(what)),
        Err(what) => format!("not proved: {}\n", safe(what)),
    };
    if let Selection::PullRequest { .. } = checked.manifest.selection {
        out += &format!("not in it: {NOT_IN_IT}\n");
    }
    out
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
    let verdicts =
        checked.entries.iter().filter(|e| e.kind == Kind::Verdict && selected.binary_search(&e.seq).is_ok());
    let (verdicts, bare): (Vec<&Entry>, Vec<&Entry>) = verdicts.partition(|e| e.bodies.contains_key("facts"));
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
    if !bare.is_empty() {
        let seqs: Vec<u64> = bare.iter().map(|e| e.seq).collect();
        let entries = some_of(&seqs);
        writeln!(
            out,
            "not judged again: {} verdicts that were decided without facts: {entries}",
            seqs.len()
        )?;
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
