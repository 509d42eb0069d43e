//! `gatelog audit evidence export`
//!
//! Reads the journal twice: once for all entries, once for the bodies of those that were asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{CommandResult, Exit, Failure, page};
use crate::{
    cli::log::{
        Found, Item, Place, entries,
        list::{parse_time, resolve},
    },
    escape::terminal as safe,
    event::SubjectKind,
    ledger::{
        chain::node_hash,
        entry::{Entry, Hash, Kind},
        evidence::{
            CHECKPOINT, CLOCKS, ENTRIES, FORMAT, Manifest, OTHERS, Redacted, SALTS, Selection, TREE, Tree,
            archive::Builder, body_path, bundles_of, created_at, is_erased_by, select,
        },
        proof::{self, Node},
    },
    store::journal::mark::{self, Signed},
    time::Time,
};

#[derive(clap::Args)]
#[group(id = "what", required = true, multiple = true, args = ["pr", "entry", "since", "until"])]
pub struct Args {
    /// Everything about a pull request: `owner/name#12`, or `id#12` with the repository's id.
    #[arg(long, value_name = "REPO#NUMBER", conflicts_with_all = ["entry", "since", "until", "repo"])]
    pr: Option<String>,
    /// One entry and what belongs to it.
    #[arg(long, value_name = "N", conflicts_with_all = ["since", "until", "repo"])]
    entry: Option<u64>,
    /// Not before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Time>,
    /// Before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
    /// With --since or --until: only of this repository, by name or id.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
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
        let what = "nothing was signed yet, so nothing can be proved: set [ledger] origin and key_file, make the \
                    key with `gatelog log key new`, and let `gatelog serve` sign";
        Failure::new(Exit::Incomplete, what)
    })?;
    let selection = selection(args, &journal)?;
    let read = Read::all(&journal, signed.size, &selection)?;
    let (from, to) = range(&selection, &read)?;
    let chosen = Chosen::of(&selection, &read, from, to);
    if chosen.selected.is_empty() {
        return Err(Failure::usage("the ledger has nothing of what was asked for"));
    }
    let file = fs::File::create_new(&args.output)
        .map_err(|e| Failure::could_not_run(format!("writing {}: {e}", args.output.display())))?;
    let written = write(file, &journal, &signed, selection, &read, &chosen);
    let redacted = written.inspect_err(|_| drop(fs::remove_file(&args.output)))?;
    said(args, &signed, &chosen, redacted)
}

fn said(args: &Args, signed: &Signed, chosen: &Chosen, redacted: usize) -> CommandResult {
    let mut out = anstream::stdout().lock();
    let file = args.output.display();
    writeln!(
        out,
        "{} entries were asked for; all {} from {} to {} are in {file}",
        chosen.selected.len(),
        chosen.to - chosen.from,
        chosen.from,
        chosen.to - 1
    )?;
    if redacted > 0 {
        writeln!(out, "{redacted} of their bodies were erased")?;
    }
    writeln!(out, "signed as {}: {} entries, root {}", safe(&signed.origin), signed.size, signed.root)?;
    writeln!(out, "check it: gatelog audit evidence verify {file} --vkey VKEY --replay")?;
    Ok(Exit::Ok)
}

fn selection(args: &Args, journal: &Path) -> Result<Selection, Failure> {
    let repository = |name: &str| {
        let ids = resolve(journal, name)?;
        let mut ids = ids.iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(*id),
            (Some(a), Some(b)) => Err(Failure::usage(format!(
                "{} was the name of several repositories: give an id, {a} or {b}",
                safe(name)
            ))),
            _ => Err(Failure::usage(format!("no event names the repository {}", safe(name)))),
        }
    };
    if let Some(pr) = &args.pr {
        let parts = pr.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let (name, number) =
            parts.ok_or_else(|| Failure::usage(format!("--pr {}: write it as owner/name#12", safe(pr))))?;
        return Ok(Selection::PullRequest { repository: repository(name)?, number });
    }
    if let Some(entry) = args.entry {
        return Ok(Selection::Entry { entry });
    }
    let repository = args.repo.as_deref().map(repository).transpose()?;
    Ok(Selection::Time { since: args.since, until: args.until, repository })
}

/// What the first reading keeps: all leaves, the entries without their bodies.
struct Read {
    leaves: Vec<Hash>,
    entries: Vec<Entry>,
    raw: Vec<Bytes>,
    /// When GitHub made the pull request that is asked for.
    created: Option<Time>,
    /// Lists of erasures.
    erasures: BTreeMap<u64, serde_json::Value>,
}

impl Read {
    fn all(journal: &Path, size: u64, selection: &Selection) -> Result<Self, Failure> {
        let mut read =
            Self { leaves: vec![], entries: vec![], raw: vec![], created: None, erasures: BTreeMap::new() };
        for item in entries(journal, 0)?.take(usize::try_from(size).unwrap_or(usize::MAX)) {
            let item = item?;
            let broken = |what: &str| Failure::new(Exit::Incomplete, format!("entry {}: {what}", item.seq));
            if item.raw.contains(&b'\n') {
                return Err(broken("it is not written as gatelog writes: it cannot be put on a line"));
            }
            let entry = item.entry.clone().ok_or_else(|| broken("a newer gatelog wrote it: use that one"))?;
            if entry.kind == Kind::Erasure {
                read.erasures.extend(item.json("list")?.map(|list| (item.seq, list)));
            }
            if entry.kind == Kind::Event && may_say_when(selection, &entry) {
                let payload = item.json("payload")?;
                let said = payload.and_then(|payload| created_at(selection, &payload));
                read.created = read.created.into_iter().chain(said).min();
            }
            read.leaves.push(item.leaf);
            read.entries.push(entry);
            read.raw.push(item.raw);
        }
        let missing = (read.leaves.len() as u64) < size;
        let unknown = matches!(selection, Selection::Entry { entry } if *entry >= size);
        match (missing, unknown) {
            (true, _) => Err(Failure::new(
                Exit::Integrity,
                format!("{size} entries were signed, the journal has {}", read.leaves.len()),
            )),
            (_, true) => {
                Err(Failure::usage(format!("the last signed checkpoint holds entries 0..{}", size - 1)))
            }
            _ => Ok(read),
        }
    }

    fn node(&self, node: Node) -> Option<Hash> {
        let first = usize::try_from(node.index << node.height).ok()?;
        let mut row = self.leaves.get(first..first + (1 << node.height))?.to_vec();
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        row.first().copied()
    }

    fn at(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq).ok()?)
    }

    /// Entries `from..to`.
    fn range(&self, from: u64, to: u64) -> &[Entry] {
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(self.entries.len());
        &self.entries[at(from).min(at(to))..at(to)]
    }
}

/// From where to where all entries are given, so that nothing asked for can lie outside.
fn range(selection: &Selection, read: &Read) -> Result<(u64, u64), Failure> {
    let size = read.entries.len() as u64;
    match selection {
        Selection::PullRequest { .. } => {
            // Without a word of GitHub on when it was made, only the whole ledger shows that nothing came
            // before. Otherwise the range begins with an entry that is older.
            let is_older = |created: Time| move |e: &Entry| e.time.plus(CLOCKS) < created;
            let older =
                read.created.map_or(0, |created| read.entries.partition_point(is_older(created)) as u64);
            Ok((older.saturating_sub(1), size))
        }
        Selection::Entry { entry } => {
            let mut all = select(selection, read.range(*entry, size));
            // What it answers, as far back as that goes.
            let mut todo: Vec<u64> = all.iter().copied().collect();
            while let Some(seq) = todo.pop() {
                let refs = read.at(seq).map_or(&[][..], |e| &e.refs);
                todo.extend(refs.iter().filter(|r| all.insert(**r)));
            }
            let (first, last) =
                (all.first().copied().unwrap_or(*entry), all.last().copied().unwrap_or(*entry));
            Ok((first, last + 1))
        }
        Selection::Time { since, until, .. } => {
            if since.zip(*until).is_some_and(|(a, b)| a >= b) {
                return Err(Failure::usage("--since is not before --until"));
            }
            // One more on each side shows that there is nothing between it and the time asked for.
            let from = since.map_or(0, |since| read.entries.partition_point(|e| e.time < since) as u64);
            let to = until.map_or(size, |until| read.entries.partition_point(|e| e.time < until) as u64);
            Ok((from.saturating_sub(1), (to + 1).min(size)))
        }
    }
}

fn may_say_when(selection: &Selection, entry: &Entry) -> bool {
    let s = &entry.subject;
    matches!(selection, Selection::PullRequest { repository, number }
        if (s.repository, s.id) == (Some(*repository), Some(*number)) && s.kind == SubjectKind::PullRequest)
}

struct Chosen {
    from: u64,
    to: u64,
    selected: BTreeSet<u64>,
    /// Bundles of policies and erasures, wherever they are.
    others: BTreeSet<u64>,
}

impl Chosen {
    fn of(selection: &Selection, read: &Read, from: u64, to: u64) -> Self {
        let selected = select(selection, read.range(from, to));
        let mut others = BTreeSet::new();
        for bundle in bundles_of(&selected, read.range(from, to)) {
            let is_it = |e: &&Entry| {
                e.kind == Kind::Policy && e.data.get("bundle").and_then(|b| b.as_str()) == Some(&bundle)
            };
            others.extend(read.entries.iter().find(is_it).map(|e| e.seq));
        }
        let is_gone = |seq: &u64, list: &serde_json::Value| {
            read.at(*seq).is_some_and(|e| e.bodies.keys().any(|name| is_erased_by(list, *seq, name)))
        };
        for (erasure, list) in &read.erasures {
            if selected.iter().chain(&others.clone()).any(|seq| is_gone(seq, list)) {
                others.insert(*erasure);
            }
        }
        Self { from, to, selected, others }
    }
}

/// How many bodies were erased.
fn write(
    file: impl Write + Seek,
    journal: &Path,
    signed: &Signed,
    selection: Selection,
    read: &Read,
    chosen: &Chosen,
) -> Result<usize, Failure> {
    let failed = |e: String| Failure::could_not_run(format!("writing the evidence: {e}"));
    let mut zip = Builder::new(file);
    let lines = |seqs: &mut dyn Iterator<Item = u64>| {
        let raw = |seq: u64| read.raw.get(usize::try_from(seq).ok()?);
        seqs.filter_map(raw).fold(Vec::new(), |mut all, raw| {
            all.extend_from_slice(raw);
            all.push(b'\n');
            all
        })
    };
    let mut salts = BTreeMap::new();
    let mut redacted = vec![];
    let mut shown = page::Page::new(&selection, signed);
    zip.add("README.txt", page::README.as_bytes()).map_err(failed)?;
    zip.add(CHECKPOINT, signed.checkpoint.as_bytes()).map_err(failed)?;
    zip.add(TREE, &json(&tree(read, chosen, signed.size)?)).map_err(failed)?;
    zip.add(ENTRIES, &lines(&mut (chosen.from..chosen.to))).map_err(failed)?;
    zip.add(OTHERS, &lines(&mut chosen.others.iter().copied())).map_err(failed)?;
    let wanted: BTreeSet<u64> = chosen.selected.union(&chosen.others).copied().collect();
    let mut left = wanted.len();
    for item in entries(journal, wanted.first().copied().unwrap_or(0))? {
        let item = item?;
        if !wanted.contains(&item.seq) {
            continue;
        }
        for name in item.link.bodies.keys() {
            match item.body(name)? {
                Some(Found::Bytes(bytes)) => {
                    zip.add(&body_path(item.seq, name), &bytes).map_err(failed)?;
                    salts.extend(item.salt(name).map(|s| (format!("{}/{name}", item.seq), hex::encode(s.0))));
                }
                _ => redacted.push(Redacted { entry: item.seq, body: name.clone() }),
            }
        }
        if chosen.selected.contains(&item.seq) {
            shown.add(&item)?;
        }
        left -= 1;
        if left == 0 {
            break;
        }
    }
    zip.add(SALTS, &json(&salts)).map_err(failed)?;
    zip.add("index.html", shown.html().as_bytes()).map_err(failed)?;
    let gone = redacted.len();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        made_by: format!("gatelog {}", env!("CARGO_PKG_VERSION")),
        selection,
        from: chosen.from,
        to: chosen.to,
        selected: chosen.selected.iter().copied().collect(),
        redacted,
        files: BTreeMap::new(),
    };
    let mut file = zip.finish(manifest).map_err(failed)?;
    file.flush()?;
    Ok(gone)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and lists only.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn tree(read: &Read, chosen: &Chosen, size: u64) -> Result<Tree, Failure> {
    let damaged = || Failure::new(Exit::Integrity, "the ledger changed while it was read");
    let mut node = |node: Node| read.node(node).ok_or_else(damaged);
    let mut left = vec![];
    let mut at = 0;
    // From the largest perfect subtree down.
    for height in (0..63_u8).rev().filter(|h| chosen.from & (1 << h) != 0) {
        left.push(node(Node { height, index: at >> height })?);
        at += 1 << height;
    }
    let right = proof::consistency(chosen.to, size, &mut node)?;
    let mut others = BTreeMap::new();
    for seq in &chosen.others {
        others.insert(*seq, proof::inclusion(*seq, size, &mut node)?);
    }
    Ok(Tree { left, right, others })
}

/// For the page.
pub(super) fn body_json(item: &Item, name: &str) -> Option<serde_json::Value> {
    item.json(name).ok().flatten()
}
