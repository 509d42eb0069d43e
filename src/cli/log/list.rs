//! `gatelog log list`

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{IsTerminal as _, Write as _},
    path::Path,
};

use unicode_width::UnicodeWidthStr as _;

use super::{CommandResult, Exit, Failure, Item, Place, from_time, payload, picked, safe, safe_json, story};
use crate::{
    cli::pull_number,
    event::{RepoName, SubjectKind},
    ledger::{
        entry::{Entry, EventData, Kind, ReportData, ReportResult, VerdictData},
        postings::Query,
    },
    store::journal::{
        pick::{Span, Spans},
        segments,
    },
    time::Time,
    verdict::Decision,
};

/// Entries that are read, at most, for the name of one repository: what an entry answers, and what that does.
const LOOK_BACK: usize = 8;

#[derive(clap::Args)]
pub struct Args {
    /// Of this repository: its name as any event gave it, or its id.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
    /// About this pull request.
    #[arg(long, value_name = "NUMBER", value_parser = pull_number)]
    pr: Option<u64>,
    /// Whose subject's head begins with this.
    #[arg(long, value_parser = parse_sha)]
    sha: Option<String>,
    /// event, verdict, report, policy, service …
    #[arg(long, value_parser = parse_kind)]
    kind: Option<String>,
    /// Verdicts that decided allow, deny, pending, error or superseded.
    #[arg(long, value_parser = parse_decision)]
    decision: Option<Decision>,
    /// Not before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Time>,
    /// Before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
    /// Only the newest N.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// table; json and jsonl are the entries byte for byte, so that they can be hashed.
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Jsonl,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    let since = from_time(&journal, args.since)?;
    let repositories =
        args.repo.as_deref().map(|name| resolve(&journal, name, since, By::Catalogs)).transpose()?;
    let query = args.query(repositories);
    let spans = match query.is_everything() {
        true => Spans { all: vec![Span { first: since, next: u64::MAX }], ..Spans::default() },
        false => Spans::find(&journal, since, &query)?,
    };
    let mut out = Output::new(args);
    let from = match args.limit.filter(|_| out.story.is_none()) {
        Some(limit) => newest(args, &journal, since, limit, &query, &spans)?,
        None => since,
    };
    let all = from == 0 && query.is_everything();
    let wanted = spans.within(from, u64::MAX);
    let mut names = Names::new(&journal, spans.names);
    for item in until(picked(&journal, wanted)?, args.until) {
        let item = item?;
        let payload = item
            .entry
            .as_ref()
            .filter(|e| e.kind == Kind::Event && out.needs_names())
            .map(|_| item.json("payload"));
        let payload = payload.transpose()?.flatten();
        names.learn(item.seq, payload.as_ref());
        if matches(args, &query, &item) {
            if !all && out.needs_names() {
                names.look_up(&item)?;
            }
            out.add(&item, payload.as_ref(), &names.known)?;
        }
    }
    out.finish()?;
    Ok(Exit::Ok)
}

impl Args {
    fn query(&self, repositories: Option<BTreeSet<u64>>) -> Query {
        let kind = self.kind.as_deref().and_then(|k| serde_json::from_value(k.into()).ok());
        Query {
            repositories,
            pull: self.pr,
            head: self.sha.clone(),
            kind,
            decision: self.decision,
            names: false,
        }
    }
}

/// Up to the first that is not before: times never go back.
fn until(
    items: impl Iterator<Item = Result<Item, Failure>>,
    time: Option<Time>,
) -> impl Iterator<Item = Result<Item, Failure>> {
    items.take_while(move |item| item.as_ref().map_or(true, |i| time.is_none_or(|t| i.link.time < t)))
}

/// The first entry of the newest segments, back to `since`, that hold `limit` entries to be shown.
fn newest(
    args: &Args,
    journal: &Path,
    since: u64,
    limit: usize,
    query: &Query,
    spans: &Spans,
) -> Result<u64, Failure> {
    let last = args.until.map_or(Ok(u64::MAX), |until| from_time(journal, Some(until)))?;
    let firsts = segments(journal).map_err(|e| Failure::could_not_run(e.to_string()))?;
    let (mut found, mut end) = (0, u64::MAX);
    for first in firsts.into_iter().rev().filter(|first| (since..=last).contains(first)) {
        for item in until(picked(journal, spans.within(first, end))?, args.until) {
            let item = item?;
            if item.seq >= end {
                break;
            }
            found += usize::from(item.seq >= first && matches(args, query, &item));
        }
        if found >= limit {
            return Ok(first);
        }
        end = first;
    }
    Ok(since)
}

/// What repositories were called, as the last event before an entry gave it.
struct Names<'a> {
    journal: &'a Path,
    known: BTreeMap<u64, String>,
    /// Repository → the entry that told it.
    told: BTreeMap<u64, u64>,
    /// As catalogs have it: repository → events that call it otherwise than before.
    changes: BTreeMap<u64, Vec<u64>>,
    /// Entries that were read for a repository.
    reads: BTreeMap<u64, usize>,
}

impl<'a> Names<'a> {
    fn new(journal: &'a Path, changes: BTreeMap<u64, Vec<u64>>) -> Self {
        Self { journal, known: BTreeMap::new(), told: BTreeMap::new(), changes, reads: BTreeMap::new() }
    }

    fn learn(&mut self, seq: u64, payload: Option<&serde_json::Value>) {
        if let Some((id, name)) = payload.and_then(payload::repository) {
            self.known.insert(id, name.to_owned());
            self.told.insert(id, seq);
        }
    }

    /// Where not everything before was read: the catalogs know which entry has the name, or what this one answers
    /// has it.
    fn look_up(&mut self, item: &Item) -> Result<(), Failure> {
        let Some(entry) = &item.entry else { return Ok(()) };
        let Some(repository) = entry.subject.repository else { return Ok(()) };
        let changes = self.changes.get(&repository).map_or(&[][..], Vec::as_slice);
        let last = changes[..changes.partition_point(|seq| *seq <= item.seq)].last().copied();
        if let Some(last) = last.filter(|seq| self.told.get(&repository).is_none_or(|told| told < seq))
            && let Some(event) = super::entry(self.journal, last)?
        {
            self.learn(last, event.json("payload")?.as_ref());
            // Read once, whatever stands there.
            self.told.insert(repository, last);
        }
        let mut todo: VecDeque<u64> = entry.refs.iter().copied().collect();
        while !self.known.contains_key(&repository)
            && let Some(seq) = todo.pop_front()
        {
            let reads = self.reads.entry(repository).or_default();
            if *reads == LOOK_BACK {
                break;
            }
            *reads += 1;
            let Some(item) = super::entry(self.journal, seq)? else { continue };
            let Some(entry) = &item.entry else { continue };
            if entry.kind == Kind::Event {
                self.learn(seq, item.json("payload")?.as_ref());
            }
            todo.extend(&entry.refs);
        }
        Ok(())
    }
}

/// Writes as it goes; with `--limit`, keeps the newest.
struct Output<'a> {
    args: &'a Args,
    out: anstream::AutoStream<std::io::StdoutLock<'static>>,
    newest: VecDeque<String>,
    any: bool,
    story: Option<story::Story>,
    terminal: bool,
}

impl<'a> Output<'a> {
    fn new(args: &'a Args) -> Self {
        let table = args.format == Format::Table;
        Self {
            args,
            out: anstream::stdout().lock(),
            newest: VecDeque::new(),
            any: false,
            story: args.repo.as_ref().zip(args.pr).filter(|_| table).map(|(_, pr)| story::Story::new(pr)),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    fn needs_names(&self) -> bool {
        self.args.format == Format::Table
    }

    fn add(
        &mut self,
        item: &Item,
        payload: Option<&serde_json::Value>,
        names: &BTreeMap<u64, String>,
    ) -> Result<(), Failure> {
        let text = match (self.args.format, &mut self.story) {
            (Format::Table, Some(story)) => story.entry(item, payload, names)?,
            (Format::Table, None) => row(item, names)?,
            (Format::Json | Format::Jsonl, _) => self.raw(item),
        };
        let Some(limit) = self.args.limit else { return self.print(&text) };
        self.newest.push_back(text);
        if self.newest.len() > limit {
            self.newest.pop_front();
        }
        Ok(())
    }

    /// The bytes that are hashed; on a terminal, the same JSON without what could harm it.
    fn raw(&self, item: &Item) -> String {
        let raw = String::from_utf8_lossy(&item.raw);
        if self.terminal { safe_json(&raw) } else { raw.into_owned() }
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        let first = !std::mem::replace(&mut self.any, true);
        match self.args.format {
            Format::Json => write!(self.out, "{}{text}", if first { "[\n" } else { ",\n" })?,
            Format::Jsonl => writeln!(self.out, "{text}")?,
            Format::Table => {
                if first && self.story.is_none() {
                    writeln!(self.out, "{:>6}  {:19}  {:8}  {:28}  WHAT", "ENTRY", "TIME", "KIND", "ABOUT")?;
                }
                writeln!(self.out, "{text}")?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        for text in std::mem::take(&mut self.newest) {
            self.print(&text)?;
        }
        match (self.args.format, self.any) {
            (Format::Json, true) => writeln!(self.out, "\n]")?,
            (Format::Json, false) => writeln!(self.out, "[]")?,
            (Format::Table, false) => writeln!(self.out, "No entry matches.")?,
            _ => {}
        }
        Ok(self.out.flush()?)
    }
}

fn matches(args: &Args, query: &Query, item: &Item) -> bool {
    let time = item.link.time;
    let in_time = args.since.is_none_or(|t| time >= t) && args.until.is_none_or(|t| time < t);
    let Some(entry) = &item.entry else { return in_time && query.is_everything() };
    let Query { repositories, pull: wanted, head: sha, kind, decision: decided, names: _ } = query;
    let subject = &entry.subject;
    let pull = subject.id.filter(|_| subject.kind == SubjectKind::PullRequest);
    let head = subject.head.as_ref().map(|s| s.as_str());
    in_time
        && repositories.as_ref().is_none_or(|ids| subject.repository.is_some_and(|id| ids.contains(&id)))
        && wanted.is_none_or(|n| pull == Some(n))
        && sha.as_deref().is_none_or(|sha| head.is_some_and(|h| h.starts_with(sha)))
        && kind.as_ref().is_none_or(|kind| entry.kind == *kind)
        && decided.is_none_or(|d| decision(entry) == Some(d))
}

fn decision(entry: &Entry) -> Option<Decision> {
    (entry.kind == Kind::Verdict).then(|| data::<VerdictData>(entry).map(|v| v.decision)).flatten()
}

/// How the entries with the names of repositories are found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum By {
    /// In the catalogs, which may be wrong.
    Catalogs,
    /// All are read: what an audit concludes depends on it.
    Reading,
}

/// The ids of a repository that had the name from entry `from` on; where none had, that had it ever. One,
/// unless another repository had the name before.
pub(in crate::cli) fn resolve(
    journal: &Path,
    wanted: &str,
    from: u64,
    by: By,
) -> Result<BTreeSet<u64>, Failure> {
    if let Ok(id) = wanted.parse() {
        return Ok(BTreeSet::from([id]));
    }
    let name: RepoName = wanted.parse().map_err(Failure::usage)?;
    let mut called = called(journal, &name, from, by)?;
    if called.ids.is_empty() && from > 0 {
        called = self::called(journal, &name, 0, by)?;
    }
    if called.ids.is_empty() {
        let known: Vec<_> = called.others.iter().take(10).map(|n| safe(n)).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        return Err(Failure::usage(format!("no event names the repository {name}; known: {known}")));
    }
    Ok(called.ids)
}

/// Repositories by what events call them.
#[derive(Default)]
pub(in crate::cli) struct Called {
    /// Of those that have the name.
    pub ids: BTreeSet<u64>,
    /// Other names.
    others: BTreeSet<String>,
}

/// What events from entry `from` on call by this name.
pub(in crate::cli) fn called(journal: &Path, name: &RepoName, from: u64, by: By) -> Result<Called, Failure> {
    let spans = match by {
        By::Catalogs => Spans::find(journal, from, &Query { names: true, ..Query::default() })?.all,
        By::Reading => vec![Span { first: from, next: u64::MAX }],
    };
    let mut called = Called::default();
    for item in picked(journal, spans)? {
        let item = item?;
        let is_event = item.entry.as_ref().is_some_and(|e| e.kind == Kind::Event);
        let payload = if is_event { item.json("payload")? } else { None };
        if let Some((id, found)) = payload.as_ref().and_then(payload::repository) {
            if found.eq_ignore_ascii_case(name.as_str()) {
                called.ids.insert(id);
            } else {
                called.others.insert(found.to_owned());
            }
        }
    }
    Ok(called)
}

fn row(item: &Item, names: &BTreeMap<u64, String>) -> Result<String, Failure> {
    let time = clock(item.link.time);
    let Some(entry) = &item.entry else {
        return Ok(format!("{:>6}  {time}  {:8}  {:28}  written by a newer gatelog", item.seq, "?", ""));
    };
    let about = padded(&about(entry, names), 28);
    let kind = safe(entry.kind.as_str());
    Ok(format!("{:>6}  {time}  {kind:8}  {about}  {}", item.seq, what(item, entry)?))
}

/// `2026-11-24 15:04:05`, UTC.
pub fn clock(time: Time) -> String {
    time.to_string().chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// `acme/pay#12`, `acme/pay@1a2b3c4`, or ids where no event told the name.
fn about(entry: &Entry, names: &BTreeMap<u64, String>) -> String {
    let s = &entry.subject;
    let repository = match s.repository {
        Some(id) => names.get(&id).map_or_else(|| format!("repository {id}"), |n| safe(n)),
        None => match (s.kind, s.id, s.organization) {
            (SubjectKind::Team | SubjectKind::Installation, Some(id), _) => {
                return format!("{} {id}", s.kind.as_str());
            }
            (_, _, organization) => {
                return organization.map_or(String::new(), |id| format!("organization {id}"));
            }
        },
    };
    match (s.kind, s.id, &s.head) {
        (SubjectKind::PullRequest | SubjectKind::Issue, Some(n), _) => format!("{repository}#{n}"),
        (_, _, Some(sha)) => format!("{repository}@{}", sha.short()),
        (kind, Some(id), _) => format!("{repository} {} {id}", kind.as_str()),
        _ => repository,
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn what(item: &Item, entry: &Entry) -> Result<String, Failure> {
    Ok(match entry.kind {
        Kind::Event => event_name(entry),
        Kind::Verdict => {
            let decision = decision(entry).map_or("?", Decision::as_str);
            let reason = item.json("verdict")?;
            let reason = reason.as_ref().and_then(|v| v.get("reason")?.as_str()).unwrap_or_default();
            if reason.is_empty() { decision.into() } else { format!("{decision}: {}", safe(reason)) }
        }
        Kind::Report => report(entry),
        _ => shortened(&safe_json(&entry.data.to_string()), 100),
    })
}

/// `pull_request.opened`, with what sets it apart.
pub fn event_name(entry: &Entry) -> String {
    let Some(event) = data::<EventData>(entry) else {
        return shortened(&safe_json(&entry.data.to_string()), 100);
    };
    let action = event.action.map_or(String::new(), |a| format!(".{}", safe(&a)));
    let flags: String = event.flags.iter().map(|f| format!("  [{}]", word(f))).collect();
    let cause = event.cause.map_or(String::new(), |c| format!("  ({})", word(&c)));
    format!("{}{action}{cause}{flags}", safe(&event.name))
}

/// What was shown on GitHub.
pub fn report(entry: &Entry) -> String {
    let Some(r) = data::<ReportData>(entry) else { return String::new() };
    let state = r.conclusion.unwrap_or_else(|| "in_progress".into());
    let done = match r.result {
        ReportResult::Created => "created",
        ReportResult::Updated => "updated",
        ReportResult::Unchanged => "was so already",
        ReportResult::Withheld => "not sent",
        ReportResult::Unknown => "perhaps sent",
    };
    format!("{} on {}: {} ({done})", safe(&r.target.check), r.target.sha.short(), safe(&state))
}

/// A unit variant as it is written in JSON.
pub fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    safe(json.as_str().unwrap_or_default())
}

pub fn data<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    serde_json::from_value(entry.data.clone()).ok()
}

fn shortened(text: &str, most: usize) -> String {
    let short: String = text.chars().take(most).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

fn parse_sha(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && (4..=64).contains(&text.len()) { Ok(text) } else { Err("give 4 to 64 hex digits".into()) }
}

/// As entries name them: a kind that this version does not know is a slip of the pen here.
fn parse_kind(text: &str) -> Result<String, String> {
    match serde_json::from_value(text.into()) {
        Ok(Kind::Unknown(_)) | Err(_) => {
            Err("one of event, verdict, report, policy, waiver, reconcile, erasure, key, service".to_owned())
        }
        Ok(_) => Ok(text.to_owned()),
    }
}

/// The number of an entry.
pub(in crate::cli) fn parse_seq(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "entries have numbers: 0, 1, 2 …; `gatelog log list` shows them".to_owned())
}

fn parse_decision(text: &str) -> Result<Decision, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "one of allow, deny, pending, error, superseded".to_owned())
}

pub(in crate::cli) fn parse_time(text: &str) -> Result<Time, String> {
    text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()).map_err(|_: String| {
        "give a day such as 2026-11-24 or a time such as 2026-11-24T15:04:05Z".to_owned()
    })
}
