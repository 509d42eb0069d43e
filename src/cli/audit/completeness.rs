//! `gatelog audit completeness`
//!
//! The population is GitHub's own record, as the sweeps wrote it down: deliveries it says it sent, and the
//! first-parent commits of watched branches. Each must be in the ledger, judged, and shown; each commit must
//! have a merge verdict or be an exception that somebody was told of.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Format, Period,
    read::{FoundItems, LandedCommit, Ledger, Sent, Sweep},
};
use crate::{
    cli::{CommandResult, Exit, Failure, log},
    escape::terminal as safe,
    event::RepoName,
    store::journal::when,
    time::Time,
};

/// GitHub keeps deliveries three days: sweeps further apart may have missed some.
const COMPARABLE: Duration = Duration::from_secs(66 * 3600);

/// An event that counts by the time at which GitHub sent it last may have been recorded so long before: it was
/// sent again. Longer than [`COMPARABLE`], so that the sweep before the period is there too.
const RECORDED_BEFORE: Duration = Duration::from_secs(4 * 24 * 3600);

/// The first sweep follows the start of a ledger within this.
const FIRST_SWEEP: Duration = Duration::from_secs(600);

/// Unexplained things that the table names; JSON names all.
const MOST_NAMED: usize = 50;

#[derive(clap::Args)]
pub struct Args {
    /// From: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = log::parse_time)]
    since: Time,
    #[command(flatten)]
    period: Period,
}

/// Exit 4: something is unexplained, or part of the period was never compared.
pub fn run(args: &Args) -> CommandResult {
    if args.period.until.is_some_and(|until| until <= args.since) {
        return Err(Failure::usage("--until is not after --since: there is nothing between them"));
    }
    let journal = args.period.place.journal()?;
    // What belongs to the period was recorded in it, or in the days before.
    let mut from = when::before(&journal, &|time| time.plus(RECORDED_BEFORE) < args.since)?;
    let mut ledger = Ledger::read(&journal, from)?;
    // Without a sweep from before the period, nothing tells what came between.
    let reaches = ledger.sweeps.iter().any(|s| s.begun <= args.since);
    if from > 0 && !reaches {
        (ledger, from) = (Ledger::read(&journal, 0)?, 0);
    }
    let name = args.period.repo.as_deref();
    let wanted = name.map(|name| repositories(&journal, name, from, &ledger)).transpose()?;
    let until = args.period.until;
    let mut answer = Answer::of(&ledger, args.since, until, wanted.as_ref());
    if from > 0 && !answer.unexplained.is_empty() {
        // Said to be missing is only what the whole ledger does not have.
        answer = Answer::of(&Ledger::read(&journal, 0)?, args.since, until, wanted.as_ref());
    }
    let mut out = anstream::stdout().lock();
    match args.period.format {
        Format::Json => writeln!(out, "{}", log::pretty(&answer.json()))?,
        Format::Table => write!(out, "{}{}", several(wanted.as_ref()), answer.table())?,
    }
    Ok(if answer.unexplained.is_empty() { Exit::Ok } else { Exit::Incomplete })
}

/// Those that had the name in the period, as events and sweeps tell, also if nothing is heard of them any more;
/// where none had, that had it ever.
fn repositories(journal: &Path, name: &str, from: u64, ledger: &Ledger) -> Result<BTreeSet<u64>, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(BTreeSet::from([id]));
    }
    let parsed: RepoName = name.parse().map_err(Failure::usage)?;
    let ids = &ledger.called(&parsed) | &log::called(journal, &parsed, from, log::By::Reading)?.ids;
    if ids.is_empty() { log::resolve(journal, name, 0, log::By::Reading) } else { Ok(ids) }
}

/// That one name was that of several.
fn several(ids: Option<&BTreeSet<u64>>) -> String {
    match ids {
        Some(ids) if ids.len() > 1 => {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            format!("the name was that of the repositories {}: all of them are in this\n", ids.join(", "))
        }
        _ => String::new(),
    }
}

#[derive(Default)]
struct Events {
    sent: usize,
    recorded: usize,
    by_api: usize,
    judged: usize,
    reported: usize,
    /// A report says that the verdict is not sent: its pull request was closed before, or there is no place for it.
    withheld: usize,
    nothing_to_report: usize,
    /// Neither reported nor replaced.
    not_shown: usize,
}

#[derive(Default)]
struct Landed {
    commits: usize,
    with_verdict: usize,
    with_exception: usize,
    unexplained: usize,
}

struct Answer {
    since: Time,
    until: Time,
    sweeps: usize,
    events: Events,
    landed: Landed,
    /// Changes of refs that no webhook told.
    found: usize,
    down: Vec<(Time, Time, &'static str)>,
    unexplained: Vec<Value>,
}

impl Answer {
    fn of(ledger: &Ledger, since: Time, until: Option<Time>, wanted: Option<&BTreeSet<u64>>) -> Self {
        // What came after the last sweep that read everything was not compared with anything.
        let compared = ledger.sweeps.iter().rev().find(|s| s.complete).map(|s| s.begun);
        let until = until.or(compared).unwrap_or(since).max(since);
        let mut answer = Self {
            since,
            until,
            sweeps: 0,
            events: Events::default(),
            landed: Landed::default(),
            found: 0,
            down: ledger.down.iter().filter(|(a, b, _)| *b > since && *a < until).copied().collect(),
            unexplained: vec![],
        };
        answer.not_compared(ledger, compared);
        for id in wanted.into_iter().flatten().filter(|id| !ledger.is_swept(**id)) {
            let why = "no sweep knew it, so nothing tells what happened there";
            answer.unexplained.push(json!({"what": "not compared", "repository": id, "why": why}));
        }
        let here = |id: Option<u64>| wanted.is_none_or(|w| id.is_some_and(|id| w.contains(&id)));
        // What one sweep begins the next may list again.
        let mut sent: BTreeMap<&str, &Sent> = BTreeMap::new();
        let mut commits: BTreeMap<(u64, &str, &str), &LandedCommit> = BTreeMap::new();
        for sweep in &ledger.sweeps {
            // Deliveries have times of their own; what a sweep found counts by the sweep.
            let Some(found) = &sweep.found else { continue };
            sent.extend(found.sent.iter().map(|s| (s.guid.as_str(), s)));
            if sweep.begun < since || sweep.begun > until {
                continue;
            }
            answer.sweeps += 1;
            answer.swept(sweep, found, &here);
            let own = found.landed.iter().filter(|c| here(Some(c.repository)));
            commits.extend(own.map(|c| ((c.repository, c.full_ref.as_str(), c.sha.as_str()), c)));
        }
        // GitHub's times are whole seconds: what it sent in the second in which the period begins may be of it.
        let from = since.whole_second();
        for event in sent.values().filter(|s| s.at >= from && s.at < until && here(s.repository)) {
            answer.event(ledger, event);
        }
        for commit in commits.values() {
            answer.commit(ledger, commit);
        }
        answer
    }

    /// Parts of the period that no sweep compared.
    fn not_compared(&mut self, ledger: &Ledger, compared: Option<Time>) {
        let mut window = |from: Time, to: Time, why: &str| {
            if from < to {
                self.unexplained.push(json!({"what": "not compared", "from": from, "to": to, "why": why}));
            }
        };
        let (since, until) = (self.since, self.until);
        let Some(compared) = compared else {
            let why = "no sweep has read everything yet; `gatelog reconcile` makes one";
            self.unexplained.push(json!({"what": "not compared", "from": since, "to": null, "why": why}));
            return;
        };
        if compared <= since {
            let why = "no sweep has read everything since then; `gatelog reconcile` makes one";
            self.unexplained.push(json!({"what": "not compared", "from": since, "to": null, "why": why}));
            return;
        }
        let begun = ledger.begun.unwrap_or(since);
        window(since, begun.min(until), "before the ledger begins");
        let first = ledger.sweeps.first().map_or(compared, |s| s.begun);
        if first.since(begun.max(since)) > FIRST_SWEEP {
            window(begun.max(since), first.min(until), "before the first sweep");
        }
        window(compared.max(since), until, "after the last sweep that read everything");
        for pair in ledger.sweeps.windows(2) {
            if pair[1].begun.since(pair[0].begun) > COMPARABLE {
                let (from, to) = (pair[0].begun.max(since), pair[1].begun.min(until));
                window(from, to, "sweeps were further apart than GitHub keeps deliveries");
            }
        }
        for erased in
            ledger.sweeps.iter().filter(|s| s.found.is_none() && s.begun >= since && s.begun <= until)
        {
            let why = "what the sweep found was erased";
            self.unexplained.push(json!({"what": "not compared", "sweep": erased.seq, "why": why}));
        }
    }

    fn swept(&mut self, sweep: &Sweep, found: &FoundItems, here: &dyn Fn(Option<u64>) -> bool) {
        self.found += found.found.iter().filter(|f| here(f["repository"].as_u64())).count();
        let lost = found.lost.iter().filter(|l| here(l.repository));
        self.unexplained.extend(lost.map(|l| {
            json!({"what": "lost", "guid": l.guid, "event": l.event, "sweep": sweep.seq,
                   "why": "GitHub was told that it arrived, and the ledger did not have it"})
        }));
        // Whose they are is not known: they count for every repository.
        self.unexplained.extend(found.never_sent.iter().map(|n| {
            json!({"what": "never sent", "guid": n.guid, "entry": n.seq, "sweep": sweep.seq,
                   "why": "a recorded delivery that GitHub never sent"})
        }));
        let vanished = found.vanished.iter().filter(|v| here(Some(v.repository)));
        self.unexplained.extend(vanished.map(|v| {
            json!({"what": "vanished", "repository": v.repository, "name": v.name, "sweep": sweep.seq,
                   "why": "the repository is not there for this App any more; what landed since is not known"})
        }));
    }

    fn event(&mut self, ledger: &Ledger, sent: &Sent) {
        self.events.sent += 1;
        let why = match ledger.deliveries.get(&sent.guid) {
            None => "it is not in the ledger",
            Some(seq) => {
                self.events.recorded += 1;
                self.events.by_api += usize::from(ledger.by_api.contains(seq));
                match ledger.verdicts.get(seq) {
                    None => "it is not judged",
                    Some(verdict) => {
                        self.events.judged += 1;
                        if !verdict.shown {
                            self.events.nothing_to_report += 1;
                            return;
                        }
                        // A verdict that a newer one of its pull request replaced is covered by no report.
                        let reported = ledger.covered.contains(&verdict.seq);
                        self.events.reported += usize::from(reported);
                        if reported {
                            return;
                        }
                        if ledger.withheld.contains(&verdict.seq) {
                            self.events.withheld += 1;
                            return;
                        }
                        if ledger.is_replaced(verdict.seq) {
                            return;
                        }
                        self.events.not_shown += 1;
                        "its verdict is not shown, and no newer one is"
                    }
                }
            }
        };
        self.unexplained.push(json!({
            "what": "event", "guid": sent.guid, "event": sent.event, "at": sent.at,
            "repository": sent.repository, "why": why,
        }));
    }

    fn commit(&mut self, ledger: &Ledger, commit: &LandedCommit) {
        self.landed.commits += 1;
        let verdict = commit.event.and_then(|seq| ledger.verdicts.get(&seq));
        let why = match (commit.event, verdict.map(|v| &v.landing)) {
            (_, Some(Some(exceptions))) if exceptions.is_empty() => {
                self.landed.with_verdict += 1;
                return;
            }
            (_, Some(Some(_))) => {
                self.landed.with_exception += 1;
                return;
            }
            (None, _) => "no event tells of it",
            (Some(_), None) => "its push is not judged",
            (Some(_), Some(None)) => "its push has no merge verdict",
        };
        self.landed.unexplained += 1;
        self.unexplained.push(json!({
            "what": "commit", "repository": commit.repository, "name": ledger.names.get(&commit.repository),
            "ref": commit.full_ref, "sha": commit.sha, "event": commit.event, "why": why,
        }));
    }

    fn json(&self) -> Value {
        let down = |(from, to, how): &(Time, Time, &str)| json!({"from": from, "to": to, "how": how});
        json!({
            "since": self.since,
            "until": self.until,
            "sweeps": self.sweeps,
            "events": {
                "sent": self.events.sent,
                "recorded": self.events.recorded,
                "read_from_api": self.events.by_api,
                "judged": self.events.judged,
                "reported": self.events.reported,
                "withheld": self.events.withheld,
                "nothing_to_report": self.events.nothing_to_report,
            },
            "landed": {
                "commits": self.landed.commits,
                "with_verdict": self.landed.with_verdict,
                "with_exception": self.landed.with_exception,
                "unexplained": self.landed.unexplained,
            },
            "found_without_webhook": self.found,
            "down": self.down.iter().map(down).collect::<Vec<_>>(),
            "unexplained": self.unexplained,
            "complete": self.unexplained.is_empty(),
        })
    }

    fn table(&self) -> String {
        let (e, l) = (&self.events, &self.landed);
        let replaced = e.judged - e.reported - e.withheld - e.nothing_to_report - e.not_shown;
        let mut out = format!("from {} until {}, {} sweeps\n\n", self.since, self.until, self.sweeps);
        out += &format!(
            "events   GitHub sent {}, recorded {} ({} read from its API), judged {}\n",
            e.sent, e.recorded, e.by_api, e.judged
        );
        out += &format!(
            "         reported {}, withheld {}, had nothing to show {}, replaced by a newer verdict {replaced}\n",
            e.reported, e.withheld, e.nothing_to_report
        );
        out += &format!(
            "landed   commits {}, with verdict {}, with exception {}, unexplained {}\n",
            l.commits, l.with_verdict, l.with_exception, l.unexplained
        );
        out += &format!("found    {} changes of refs that no webhook told\n", self.found);
        for (from, to, how) in &self.down {
            out += &format!("down     {from} to {to} ({how})\n");
        }
        for item in self.unexplained.iter().take(MOST_NAMED) {
            out += &named(item);
        }
        if self.unexplained.len() > MOST_NAMED {
            out += &format!("         and {} more: --format json\n", self.unexplained.len() - MOST_NAMED);
        }
        match self.unexplained.len() {
            0 => out + "\nCOMPLETE\n",
            n => out + &format!("\nINCOMPLETE  {n} unexplained\n"),
        }
    }
}

/// An unexplained thing in one line.
fn named(item: &Value) -> String {
    let text = |v: &Value| match v {
        Value::String(s) => safe(s),
        other => other.to_string(),
    };
    let fields = item.as_object().into_iter().flatten();
    let told = fields.filter(|(k, v)| !matches!(k.as_str(), "what" | "why") && !v.is_null());
    let told: Vec<String> = told.map(|(k, v)| format!("{k} {}", text(v))).collect();
    format!("?        {} ({}): {}\n", text(&item["what"]), told.join(", "), text(&item["why"]))
}
