//! `gatelog log replay`

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    CommandResult, Exit, Failure, Found, Item, Place, entries, entry, from_time, list, payload, safe, show,
};
use crate::{
    cli::runtime,
    ledger::{
        entry::{Entry, Kind, VerdictData},
        judged::{Decided, Shown, contradicts, shows, unfounded},
    },
    policy::{
        Bundle, Input, Judge,
        replay::{Difference, Replayed, replay},
    },
    store::journal::catalog::Directory,
    time::Time,
    verdict::Decision,
};

/// Verdicts judged side by side. Their inputs are in memory: at most this many payloads.
const AT_ONCE: usize = 32;
/// Bytes of payloads kept until their verdict comes; an older one is read again.
const KEPT: usize = 128 << 20;
/// Verdicts of which it is remembered what they decided, until a report shows them; an older one is read again.
const DECIDED: usize = 1 << 16;

#[derive(clap::Args)]
pub struct Args {
    /// Only this verdict. Default: all of them.
    seq: Option<u64>,
    /// Not before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = list::parse_time)]
    since: Option<Time>,
    /// Before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = list::parse_time)]
    until: Option<Time>,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    if let Some(seq) = args.seq {
        let item = show::find(&journal, seq)?;
        if item.entry.is_none_or(|e| e.kind != Kind::Verdict) {
            return Err(Failure::usage(format!(
                "entry {seq} is no verdict; `gatelog log show {seq}` says what it is"
            )));
        }
    }
    runtime()?.block_on(all(args, &journal))
}

async fn all(args: &Args, journal: &Path) -> CommandResult {
    let judges = std::thread::available_parallelism().map_or(1, usize::from);
    let judge = Judge::in_processes(judges)
        .map_err(|e| Failure::could_not_run(format!("no judge process can be started: {e}")))?;
    let from = args.seq.map_or_else(|| from_time(journal, args.since), Ok)?;
    let mut bundles = Bundles { from, ..Bundles::default() };
    let mut payloads = Payloads::default();
    let mut counts = Counts::default();
    let mut decided = Decisions::default();
    let mut waiting = Vec::new();
    let mut out = anstream::stdout().lock();
    for item in entries(journal, from)? {
        let item = item?;
        if args.until.is_some_and(|until| item.link.time >= until) {
            break;
        }
        let Some(entry) = &item.entry else { continue };
        match entry.kind {
            Kind::Policy => bundles.add(&item)?,
            Kind::Event => payloads.add(&item)?,
            Kind::Verdict => {
                decided.add(entry);
                if args.wants(&item, entry.time) {
                    waiting.push(prepared(journal, &item, &mut bundles, &mut payloads)?);
                }
            }
            Kind::Report if args.wants(&item, entry.time) => {
                let shown = shows(entry, &mut |seq| decided.get(journal, seq))?;
                counts.shown(item.seq, shown, &mut out)?;
            }
            _ => {}
        }
        if waiting.len() == AT_ONCE {
            counts.add(judged(&judge, std::mem::take(&mut waiting)).await, &mut out)?;
        }
        if args.seq.is_some_and(|seq| seq == item.seq) {
            break;
        }
    }
    counts.add(judged(&judge, waiting).await, &mut out)?;
    write!(out, "{}", counts.summary())?;
    Ok(counts.exit())
}

impl Args {
    fn wants(&self, item: &Item, time: Time) -> bool {
        self.seq.is_none_or(|seq| seq == item.seq)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }
}

/// What the verdicts decided that were read last.
#[derive(Default)]
struct Decisions(BTreeMap<u64, Option<Decided>>);

impl Decisions {
    fn add(&mut self, entry: &Entry) {
        self.0.insert(entry.seq, Decided::of(entry));
        if self.0.len() > DECIDED {
            self.0.pop_first();
        }
    }

    fn get(&self, journal: &Path, seq: u64) -> Result<Option<Option<Decided>>, Failure> {
        if let Some(known) = self.0.get(&seq) {
            return Ok(Some(known.clone()));
        }
        Ok(entry(journal, seq)?.and_then(|item| item.entry).map(|entry| Decided::of(&entry)))
    }
}

/// What came of judging a verdict again.
enum Outcome {
    NoInput,
    /// It says something else than what was judged, or rests on nothing.
    Wrong(String),
    Replayed(Replayed),
}

/// A verdict on its way to be judged again.
enum Todo {
    /// It was decided without an input: a merged look, an event of our own App, GitHub out of reach.
    NoInput,
    Wrong(String),
    Judge {
        bundle: Arc<Bundle>,
        input: Arc<Input>,
        recorded: Bytes,
    },
    CannotTell(String),
}

fn prepared(
    journal: &Path,
    item: &Item,
    bundles: &mut Bundles,
    payloads: &mut Payloads,
) -> Result<(u64, Todo), Failure> {
    let todo = todo(journal, item, bundles, payloads)?.unwrap_or_else(Todo::CannotTell);
    Ok((item.seq, todo))
}

/// `Ok(Err)`: it cannot be told, and why.
fn todo(
    journal: &Path,
    item: &Item,
    bundles: &mut Bundles,
    payloads: &mut Payloads,
) -> Result<Result<Todo, String>, Failure> {
    let Some(entry) = &item.entry else { return Ok(Err("it cannot be read".into())) };
    let data: VerdictData = match serde_json::from_value(entry.data.clone()) {
        Ok(data) => data,
        Err(e) => return Ok(Err(format!("its data cannot be read: {e}"))),
    };
    let recorded = match item.body("verdict")? {
        Some(Found::Bytes(recorded)) => Some(recorded),
        _ => None,
    };
    let wrong = unfounded(entry).or_else(|| contradicts(entry, recorded.as_ref()?));
    if let Some(what) = wrong {
        return Ok(Ok(Todo::Wrong(what)));
    }
    if data.decision == Decision::Superseded || !entry.bodies.contains_key("facts") {
        return Ok(Ok(Todo::NoInput));
    }
    let (recorded, facts) = match (recorded, item.body("facts")?) {
        (Some(recorded), Some(Found::Bytes(facts))) => (recorded, facts),
        _ => return Ok(Err("what it was made of was redacted".into())),
    };
    let Some(event) = entry.key.strip_prefix("verdict:").and_then(|seq| seq.parse().ok()) else {
        return Ok(Err("it does not say which event it answers".into()));
    };
    let Some(payload) = payloads.take(journal, event)? else {
        return Ok(Err(format!("the payload of event {event} was redacted")));
    };
    Ok(bundles.get(journal, &data.bundle)?.and_then(|bundle| {
        let input = Input::splice(&facts, &payload).map_err(|e| e.to_string())?;
        Ok(Todo::Judge { bundle, input: Arc::new(input), recorded })
    }))
}

async fn judged(judge: &Judge, todo: Vec<(u64, Todo)>) -> Vec<(u64, Outcome)> {
    let one = |(seq, todo): (u64, Todo)| async move {
        let replayed = match todo {
            Todo::NoInput => Outcome::NoInput,
            Todo::Wrong(what) => Outcome::Wrong(what),
            Todo::CannotTell(why) => Outcome::Replayed(Replayed::CannotTell(why)),
            Todo::Judge { bundle, input, recorded } => {
                Outcome::Replayed(replay(judge, bundle, input, &recorded).await)
            }
        };
        (seq, replayed)
    };
    join_all(todo.into_iter().map(one)).await
}

/// Bundles by digest: as recorded, and loaded once they are needed.
#[derive(Default)]
struct Bundles {
    /// The first entry that is read in order; what was recorded before it is looked up.
    from: u64,
    /// Entry and digest of what was recorded before: as catalogs have it, and as it is.
    before: [Option<Vec<(u64, String)>>; 2],
    recorded: BTreeMap<String, (u64, Option<Bytes>)>,
    loaded: BTreeMap<String, Result<Arc<Bundle>, String>>,
}

impl Bundles {
    fn add(&mut self, item: &Item) -> Result<(), Failure> {
        let digest = item.entry.as_ref().and_then(|e| e.data.get("bundle")?.as_str().map(str::to_owned));
        if let Some(digest) = digest {
            let archive = match item.body("bundle")? {
                Some(Found::Bytes(archive)) => Some(archive),
                _ => None,
            };
            self.recorded.entry(digest).or_insert((item.seq, archive));
        }
        Ok(())
    }

    /// Finds what was recorded before the first entry that is read: by the catalogs, and by reading all of it where
    /// they do not lead there.
    fn look_up(&mut self, journal: &Path, digest: &str) -> Result<(), Failure> {
        for (before, trust) in [0, 1].into_iter().zip([true, false]) {
            if self.from == 0 || self.recorded.contains_key(digest) {
                break;
            }
            let known = match self.before[before].take() {
                Some(known) => known,
                None => {
                    let directory = Directory::open(journal, self.from, trust)?;
                    directory.parts().iter().flat_map(|p| p.contents.policies.clone()).collect()
                }
            };
            let from = self.from;
            for (seq, _) in known.iter().filter(|(seq, d)| d == digest && *seq < from) {
                let item = entry(journal, *seq)?;
                if let Some(item) = item.filter(|i| i.entry.as_ref().is_some_and(|e| e.kind == Kind::Policy))
                {
                    self.add(&item)?;
                }
            }
            self.before[before] = Some(known);
        }
        Ok(())
    }

    /// `Ok(Err)`: there is none that can be used, and why.
    fn get(&mut self, journal: &Path, digest: &str) -> Result<Result<Arc<Bundle>, String>, Failure> {
        if !self.loaded.contains_key(digest) {
            self.look_up(journal, digest)?;
        }
        let recorded = &self.recorded;
        let load = || {
            let Some((seq, archive)) = recorded.get(digest) else {
                return Err(format!("bundle {digest} is not in the ledger"));
            };
            let Some(archive) = archive else {
                return Err(format!("the bundle of entry {seq} was redacted"));
            };
            let bundle = Bundle::from_archive(archive)
                .map_err(|e| format!("the bundle of entry {seq} does not load any more: {e}"))?;
            if bundle.digest() != digest {
                return Err(format!("the bundle of entry {seq} is not the one it names"));
            }
            Ok(Arc::new(bundle))
        };
        Ok(self.loaded.entry(digest.to_owned()).or_insert_with(load).clone())
    }
}

/// Payloads of the latest events, as JSON: a verdict mostly follows its event closely.
#[derive(Default)]
struct Payloads {
    kept: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Payloads {
    fn add(&mut self, item: &Item) -> Result<(), Failure> {
        let Some(json) = payload_of(item)? else { return Ok(()) };
        self.bytes += json.len();
        self.kept.push_back((item.seq, json));
        while self.bytes > KEPT
            && let Some((_, json)) = self.kept.pop_front()
        {
            self.bytes -= json.len();
        }
        Ok(())
    }

    fn take(&mut self, journal: &Path, event: u64) -> Result<Option<Bytes>, Failure> {
        if let Ok(at) = self.kept.binary_search_by_key(&event, |(seq, _)| *seq)
            && let Some((_, json)) = self.kept.remove(at)
        {
            self.bytes -= json.len();
            return Ok(Some(json));
        }
        payload_of(&show::find(journal, event)?)
    }
}

/// `None`: redacted.
fn payload_of(item: &Item) -> Result<Option<Bytes>, Failure> {
    let Some(Found::Bytes(bytes)) = item.body("payload")? else { return Ok(None) };
    let media = item.link.bodies.get("payload").map_or("", |b| b.media.as_str());
    if media == "application/json" {
        return Ok(Some(bytes));
    }
    Ok(payload::json(&bytes, media).map(|json| Bytes::from(json.to_string())))
}

#[derive(Default)]
struct Counts {
    same: u64,
    same_meaning: u64,
    no_input: u64,
    differ: u64,
    /// Entries that say something else than what was judged.
    wrong: u64,
    differ_by_engine: u64,
    cannot_tell: u64,
}

impl Counts {
    /// Counts, and says what is not as it should be.
    fn add(&mut self, all: Vec<(u64, Outcome)>, out: &mut impl std::io::Write) -> Result<(), Failure> {
        for (seq, outcome) in all {
            let replayed = match outcome {
                Outcome::Replayed(replayed) => replayed,
                Outcome::NoInput => {
                    self.no_input += 1;
                    continue;
                }
                Outcome::Wrong(what) => {
                    self.wrong(seq, &what, out)?;
                    continue;
                }
            };
            match replayed {
                Replayed::Same => self.same += 1,
                Replayed::SameMeaning => self.same_meaning += 1,
                Replayed::Differs(d) => {
                    self.differ += 1;
                    write!(out, "{}", shown(seq, "differs", &d))?;
                }
                Replayed::DiffersByEngine(d) => {
                    self.differ_by_engine += 1;
                    write!(out, "{}", shown(seq, "another engine decided otherwise", &d))?;
                }
                Replayed::CannotTell(why) => {
                    self.cannot_tell += 1;
                    writeln!(out, "entry {seq}: cannot tell: {}", safe(&why))?;
                }
            }
        }
        Ok(())
    }

    fn wrong(&mut self, seq: u64, what: &str, out: &mut impl std::io::Write) -> std::io::Result<()> {
        self.wrong += 1;
        writeln!(out, "entry {seq}: {}", safe(what))
    }

    /// What a report shows of its verdicts.
    fn shown(&mut self, seq: u64, shown: Shown, out: &mut impl std::io::Write) -> std::io::Result<()> {
        match shown {
            Shown::Follows => Ok(()),
            Shown::Overstated(what) => self.wrong(seq, &what, out),
            Shown::Unknown(of) => self.wrong(seq, &format!("it shows entry {of}, which is not there"), out),
        }
    }

    /// The last line is for scripts.
    fn summary(&self) -> String {
        let judged = self.same + self.same_meaning + self.differ + self.differ_by_engine;
        let mut out = String::new();
        for (n, what) in [
            (self.no_input, "were decided without an input"),
            (self.same_meaning, "say the same, judged by another version of the engine"),
            (self.differ_by_engine, "were decided otherwise by another version of the engine"),
            (self.cannot_tell, "cannot be told"),
        ] {
            if n > 0 {
                out += &format!("{n} verdicts {what}\n");
            }
        }
        if self.wrong > 0 {
            let (n, differ) = (self.wrong, self.differ);
            let text = format!(
                "FAILED  {n} entries say what was not judged, {differ} of {judged} verdicts differ\n"
            );
            return out + &text;
        }
        out += &match self.differ {
            0 => format!("REPLAYED  {judged} verdicts, {} the same byte for byte\n", self.same),
            n => format!("FAILED  {n} of {judged} verdicts differ\n"),
        };
        out
    }

    fn exit(&self) -> Exit {
        match (self.differ + self.wrong, self.cannot_tell + self.differ_by_engine) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Incomplete,
            _ => Exit::Integrity,
        }
    }
}

fn shown(seq: u64, what: &str, d: &Difference) -> String {
    format!("entry {seq}: {what} in {}\n  then  {}\n  now   {}\n", safe(&d.at), safe(&d.then), safe(&d.now))
}
