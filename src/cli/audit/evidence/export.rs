//! `gatelog audit evidence export`
//!
//! Reads the entries of the range twice: once for themselves, once for the bodies of those that were asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use super::{
    CommandResult, Exit, Failure, page,
    search::{Ledger, Range},
};
use crate::{
    cli::log::{Found, Item, Place, UNPUBLISHED, entry, erasure_of, list::parse_time},
    escape::terminal as safe,
    ledger::{
        entry::Kind,
        erasure::Erasure,
        evidence::{
            CHECKPOINT, ENTRIES, FORMAT, Manifest, OTHERS, Redacted, SALTS, Selection, TREE, Tree,
            archive::Builder, body_path, bundles_of, older_exceptions, select,
        },
        merkle::CompactRange,
        proof::{self, verify_consistency, verify_inclusion},
    },
    store::journal::{
        catalog::{Directory, peaks_of},
        mark::{self, Signed},
    },
    time::Time,
};

#[derive(clap::Args)]
#[group(id = "what", required = true, multiple = true, args = ["pr", "entry", "since", "until"])]
pub struct Args {
    /// Everything about a pull request: `owner/name#12`, or `id#12` with the repository's id.
    #[arg(long, value_name = "REPO#NUMBER", conflicts_with_all = ["entry", "since", "until", "repo"])]
    pub(super) pr: Option<String>,
    /// One entry, what it answers, and what answers it within the next 4096 entries.
    #[arg(long, value_name = "N", value_parser = crate::cli::log::parse_seq, conflicts_with_all = ["since", "until", "repo"])]
    pub(super) entry: Option<u64>,
    /// Not before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) since: Option<Time>,
    /// Before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) until: Option<Time>,
    /// With --since or --until: only of this repository, by name or id.
    #[arg(long, value_name = "OWNER/NAME")]
    pub(super) repo: Option<String>,
    /// The file to write; one that is there is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    let dir = args.place.folder()?;
    let signed = mark::last_published(&dir)?.ok_or_else(|| {
        Failure::new(Exit::Incomplete, format!("nothing was published yet, so {UNPUBLISHED}"))
    })?;
    if args.output.exists() {
        return Err(there(args));
    }
    // What is kept beside the segments is believed first. Where that does not lead to the signed root, the
    // segments themselves are read.
    match attempt(args, &journal, &signed, true) {
        Err(e) if e.exit == Exit::Integrity => attempt(args, &journal, &signed, false),
        done => done,
    }
}

fn attempt(args: &Args, journal: &Path, signed: &Signed, trust: bool) -> CommandResult {
    let directory = Directory::open(journal, signed.size, trust)?;
    if directory.size() < signed.size {
        let what = format!("{} entries were signed, the journal has {}", signed.size, directory.size());
        return Err(Failure::new(Exit::Integrity, what));
    }
    let ledger = Ledger { journal, directory, trusted: trust };
    let (selection, range) = ledger.find(args)?;
    let chosen = Chosen::of(&ledger, &selection, range)?;
    if chosen.selected.is_empty() {
        return Err(Failure::usage(format!(
            "the ledger has nothing of what was asked for: {}",
            asked(args, signed.size)
        )));
    }
    let file = fs::File::create_new(&args.output).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => there(args),
        _ => Failure::could_not_run(format!("writing {}: {e}", args.output.display())),
    })?;
    let written = write(file, &ledger, signed, selection, &chosen);
    let redacted = written.inspect_err(|_| drop(fs::remove_file(&args.output)))?;
    said(args, signed, &chosen, redacted)
}

fn there(args: &Args) -> Failure {
    Failure::usage(format!(
        "{} exists already and is not written over: name another file",
        args.output.display()
    ))
}

/// In words, and how far it was looked for.
fn asked(args: &Args, size: u64) -> String {
    let what = match (&args.pr, &args.repo) {
        (Some(pr), _) => format!("pull request {}", safe(pr)),
        (None, Some(repo)) => format!("repository {}", safe(repo)),
        (None, None) => "any entry".into(),
    };
    let from = args.since.map_or(String::new(), |t| format!(" from {t}"));
    let until = args.until.map_or(String::new(), |t| format!(" until {t}"));
    format!("{what}{from}{until}, among the {size} entries that are signed")
}

fn said(args: &Args, signed: &Signed, chosen: &Chosen, redacted: usize) -> CommandResult {
    let mut out = anstream::stdout().lock();
    let file = args.output.display();
    writeln!(
        out,
        "{} entries were asked for; all {} from {} to {} are in {file}",
        chosen.selected.len(),
        chosen.range.entries.len(),
        chosen.range.from,
        chosen.range.to - 1
    )?;
    if redacted > 0 {
        writeln!(out, "{redacted} of their bodies were erased")?;
    }
    writeln!(out, "signed as {}: {} entries, root {}", safe(&signed.origin), signed.size, signed.root)?;
    writeln!(out, "check it: gatelog audit evidence verify {file} --vkey VKEY{} --replay", asked_for(args))?;
    Ok(Exit::Ok)
}

/// As options of `verify`, which then refuses evidence about something else.
fn asked_for(args: &Args) -> String {
    let texts = [("--pr", args.pr.clone()), ("--entry", args.entry.map(|n| n.to_string()))];
    let times =
        [("--since", args.since), ("--until", args.until)].map(|(name, t)| (name, t.map(|t| t.to_string())));
    let all = texts.into_iter().chain(times).chain([("--repo", args.repo.clone())]);
    all.filter_map(|(name, value)| Some(format!(" {name} {}", safe(&value?)))).collect()
}

struct Chosen {
    range: Range,
    selected: BTreeSet<u64>,
    /// Entries of the policies that judged, and of exceptions older than the range.
    elsewhere: BTreeSet<u64>,
}

impl Chosen {
    fn of(ledger: &Ledger<'_>, selection: &Selection, range: Range) -> Result<Self, Failure> {
        let selected = select(selection, &range.entries);
        let mut elsewhere = older_exceptions(&selected, &range.entries);
        let known = || ledger.directory.parts().iter().flat_map(|p| &p.contents.policies);
        for bundle in bundles_of(&selected, &range.entries) {
            let first = known().find(|(seq, b)| *b == bundle && *seq < ledger.size()).map(|(seq, _)| *seq);
            let holds = |seq: u64| -> Result<bool, Failure> {
                let item = entry(ledger.journal, seq)?;
                let entry = item.and_then(|i| i.entry).filter(|e| e.kind == Kind::Policy);
                Ok(entry.is_some_and(|e| e.data["bundle"].as_str() == Some(bundle.as_str())))
            };
            if ledger.trusted && !first.map_or(Ok(false), holds)? {
                let what = format!("the policies {} are not where the catalogs say", safe(&bundle));
                return Err(Failure::new(Exit::Integrity, what));
            }
            elsewhere.extend(first);
        }
        Ok(Self { range, selected, elsewhere })
    }
}

/// The bodies that are written, and those that are gone.
struct Bodies<'z, W: Write + Seek> {
    zip: &'z mut Builder<W>,
    salts: BTreeMap<String, String>,
    redacted: Vec<Redacted>,
}

impl<W: Write + Seek> Bodies<'_, W> {
    fn add(&mut self, item: &Item) -> Result<(), Failure> {
        for name in item.link.bodies.keys() {
            match item.body(name)? {
                Some(Found::Bytes(bytes)) => {
                    self.zip.add(&body_path(item.seq, name), &bytes).map_err(failed)?;
                    let salt = item.salt(name).map(|s| (format!("{}/{name}", item.seq), hex::encode(s.0)));
                    self.salts.extend(salt);
                }
                _ => self.redacted.push(Redacted { entry: item.seq, body: name.clone() }),
            }
        }
        Ok(())
    }
}

fn failed(e: String) -> Failure {
    Failure::could_not_run(format!("writing the evidence: {e}"))
}

/// How many bodies were erased.
fn write(
    file: impl Write + Seek,
    ledger: &Ledger<'_>,
    signed: &Signed,
    selection: Selection,
    chosen: &Chosen,
) -> Result<usize, Failure> {
    let mut zip = Builder::new(file);
    let mut shown = page::Page::new(&selection, signed);
    zip.add("README.txt", page::README.as_bytes()).map_err(failed)?;
    zip.add(CHECKPOINT, signed.checkpoint.as_bytes()).map_err(failed)?;
    let mut bodies = Bodies { zip: &mut zip, salts: BTreeMap::new(), redacted: vec![] };
    let (first, last) = (chosen.selected.first().copied(), chosen.selected.last().copied());
    for item in ledger.items(first.unwrap_or(0), last.map_or(0, |l| l + 1))? {
        let item = item?;
        if chosen.selected.contains(&item.seq) {
            bodies.add(&item)?;
            shown.add(&item)?;
        }
    }
    let mut others = BTreeMap::new();
    for seq in &chosen.elsewhere {
        let item = entry(ledger.journal, *seq)?.ok_or_else(|| changed(*seq))?;
        if !chosen.selected.contains(seq) {
            bodies.add(&item)?;
        }
        others.insert(*seq, item);
    }
    for erasure in erasures(ledger, &bodies.redacted)? {
        let item = entry(ledger.journal, erasure)?.ok_or_else(|| changed(erasure))?;
        if !chosen.selected.contains(&erasure) {
            bodies.add(&item)?;
        }
        others.insert(erasure, item);
    }
    let Bodies { salts, redacted, .. } = bodies;
    let lines = |raws: &mut dyn Iterator<Item = &bytes::Bytes>| {
        raws.flat_map(|r| [&r[..], b"\n"]).collect::<Vec<_>>().concat()
    };
    zip.add(TREE, &json(&tree(ledger, chosen, &others, signed)?)).map_err(failed)?;
    zip.add(ENTRIES, &lines(&mut chosen.range.raw.iter())).map_err(failed)?;
    zip.add(OTHERS, &lines(&mut others.values().map(|i| &i.raw))).map_err(failed)?;
    zip.add(SALTS, &json(&salts)).map_err(failed)?;
    zip.add("index.html", shown.html().as_bytes()).map_err(failed)?;
    let gone = redacted.len();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        made_by: format!("gatelog {}", env!("CARGO_PKG_VERSION")),
        selection,
        from: chosen.range.from,
        to: chosen.range.to,
        selected: chosen.selected.iter().copied().collect(),
        redacted,
        files: BTreeMap::new(),
    };
    let mut file = zip.finish(manifest).map_err(failed)?;
    file.flush()?;
    Ok(gone)
}

/// The erasures that explain what is gone.
fn erasures(ledger: &Ledger<'_>, redacted: &[Redacted]) -> Result<BTreeSet<u64>, Failure> {
    let mut known: Vec<Erasure> = vec![];
    for Redacted { entry, body } in redacted {
        if known.iter().any(|e| e.bodies.contains(*entry, body)) {
            continue;
        }
        let erasure = erasure_of(ledger.journal, &ledger.directory, *entry, body)?;
        known.push(erasure.map_or_else(|| unexplained(ledger, *entry, body), Ok)?);
    }
    Ok(known.iter().map(|e| e.seq).collect())
}

/// Damage, or an erasure that came after the last checkpoint.
fn unexplained(ledger: &Ledger<'_>, entry: u64, body: &str) -> Result<Erasure, Failure> {
    let all = Directory::open(ledger.journal, u64::MAX, ledger.trusted)?;
    let what = format!("body {} of entry {entry} was removed, and ", safe(body));
    Err(match erasure_of(ledger.journal, &all, entry, body)? {
        Some(e) => {
            let what = format!("{what}the erasure that explains it, entry {}, is not signed yet", e.seq);
            Failure::new(Exit::Incomplete, what + ": ask again once the service has signed")
        }
        None => Failure::new(Exit::Integrity, format!("{what}no erasure explains it")),
    })
}

fn changed(seq: u64) -> Failure {
    Failure::new(Exit::Integrity, format!("the ledger changed while it was read: entry {seq} is gone"))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and lists only.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// The hashes that lead to the signed root; that they do is checked here.
fn tree(
    ledger: &Ledger<'_>,
    chosen: &Chosen,
    others: &BTreeMap<u64, Item>,
    signed: &Signed,
) -> Result<Tree, Failure> {
    let other = |what: String| {
        let what = format!("the ledger is not the one that was signed: {what}; see `gatelog log verify`");
        Failure::new(Exit::Integrity, what)
    };
    let mut node = |node| ledger.directory.node(node);
    let range = &chosen.range;
    let left = peaks_of(range.from).map(&mut node).collect::<Result<Vec<_>, _>>()?;
    let right = proof::consistency(range.to, signed.size, &mut node)?;
    let mut known = CompactRange::of_peaks(range.from, left.clone()).unwrap_or_default();
    range.leaves.iter().for_each(|leaf| known.push(*leaf));
    verify_consistency(range.to, known.root(), signed.size, signed.root, &right)
        .map_err(|e| other(format!("entries {}..{}: {e}", range.from, range.to - 1)))?;
    let mut paths = BTreeMap::new();
    for (seq, item) in others {
        let path = proof::inclusion(*seq, signed.size, &mut node)?;
        verify_inclusion(item.leaf, *seq, signed.size, &path, signed.root)
            .map_err(|e| other(format!("entry {seq}: {e}")))?;
        paths.insert(*seq, path);
    }
    Ok(Tree { left, right, others: paths })
}

/// For the page.
pub(super) fn body_json(item: &Item, name: &str) -> Option<serde_json::Value> {
    item.json(name).ok().flatten()
}
