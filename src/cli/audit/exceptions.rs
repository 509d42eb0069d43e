//! `gatelog audit exceptions`

use std::{collections::BTreeSet, io::Write as _, path::Path};

use serde_json::{Value, json};

use super::{Format, Period, read};
use crate::{
    cli::{CommandResult, Exit, Failure, log, waiver},
    escape::terminal as safe,
    facts::waivers::WaiverKind,
    gate::waivers::Waivers,
    ledger::entry::{Entry, Kind, LandingData, TamperingData, VerdictData, WaiverData, WaiverStep},
    time::Time,
};

#[derive(clap::Args)]
pub struct Args {
    /// Not before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = log::parse_time)]
    since: Option<Time>,
    #[command(flatten)]
    period: Period,
}

impl Args {
    /// Whether the period holds this time.
    fn holds(&self, time: Time) -> bool {
        self.since.is_none_or(|t| time >= t) && self.period.until.is_none_or(|t| time < t)
    }
}

/// One row per landing that is an exception by the last that was said of it, in the order of the ledger; then what was done against the gate
/// itself; then every broken glass and how far its review is.
pub fn run(args: &Args) -> CommandResult {
    if args.since.zip(args.period.until).is_some_and(|(since, until)| until <= since) {
        return Err(Failure::usage("--until is not after --since: there is nothing between them"));
    }
    let journal = args.period.place.journal()?;
    let from = log::from_time(&journal, args.since)?;
    let wanted = args
        .period
        .repo
        .as_deref()
        .map(|name| log::resolve(&journal, name, from, log::By::Reading))
        .transpose()?;
    let mut found = Found::read(args, &journal, from, wanted.as_ref())?;
    if let Some(begun) = found.begun_before.filter(|begun| *begun < from) {
        // Glass that was asked for then and broken now: all of its steps are needed.
        found = Found::read(args, &journal, begun, wanted.as_ref())?;
    }
    if let Some(silence) = found.silence(args, &journal, wanted.as_ref())? {
        // What follows is about nothing, and must not look as if somebody had found nothing.
        anstream::eprintln!("gatelog: {silence}");
    }
    let now = Time::now();
    let broken: Vec<_> = found
        .waivers
        .all()
        .filter(|(_, h)| h.waiver.kind == WaiverKind::BreakGlass && !h.waits)
        .filter(|(_, h)| args.since.is_none_or(|t| h.waiver.from >= t))
        .filter(|(_, h)| args.period.until.is_none_or(|t| h.waiver.from < t))
        .filter(|(_, h)| {
            let at = h.waiver.scope.repository_id;
            wanted.as_ref().is_none_or(|ids| at.is_none_or(|r| ids.contains(&r)))
        })
        .collect();
    let (rows, against) = (&found.rows(), &found.against);
    let mut out = anstream::stdout().lock();
    match args.period.format {
        Format::Json => {
            let known = broken.iter().map(|(seq, h)| waiver::row(*seq, h, now));
            let glass: Vec<Value> = known.chain(found.erased.iter().cloned()).collect();
            writeln!(
                out,
                "{}",
                log::pretty(&json!({"exceptions": rows, "tampering": against, "break_glass": glass}))
            )?;
        }
        Format::Table => {
            write!(out, "{}{}", table(rows), table_of_tampering(against))?;
            for (seq, held) in broken {
                write!(out, "{}", waiver::text(seq, held, now))?;
            }
            for row in &found.erased {
                let time = row["time"].as_str().unwrap_or_default().get(..19).unwrap_or_default();
                writeln!(out, "{time}  {:>6}  break-glass: (erased)", row["entry"])?;
            }
        }
    }
    Ok(Exit::Ok)
}

#[derive(Default)]
struct Found {
    landings: Vec<Landing>,
    against: Vec<Value>,
    waivers: Waivers,
    /// Glass that was broken in the period, and of which nothing more is known.
    erased: Vec<Value>,
    /// Something was recorded in the period.
    any: bool,
    /// Something in it is about the repository that was named.
    about: bool,
    /// The oldest entry of an exception that was agreed to among what was read.
    begun_before: Option<u64>,
}

/// The last merge verdict on a push.
struct Landing {
    entry: u64,
    /// It, or one that it took the place of, is of the period.
    inside: bool,
    /// `None`: what landed is no exception.
    row: Option<Value>,
}

impl Found {
    fn rows(&self) -> Vec<Value> {
        self.landings.iter().filter(|l| l.inside).filter_map(|l| l.row.clone()).collect()
    }

    /// From entry `from` to the end: a review may come long after the period. No emergency begins after its
    /// first entry and the one that agrees to it, so what is older than both is not needed.
    fn read(args: &Args, journal: &Path, from: u64, wanted: Option<&BTreeSet<u64>>) -> Result<Self, Failure> {
        let mut all = Self::default();
        for item in log::entries(journal, from)? {
            let item = item?;
            if args.holds(item.link.time) {
                all.any = true;
                let repository = item.entry.as_ref().and_then(|e| e.subject.repository);
                all.about |= wanted.is_none_or(|ids| repository.is_some_and(|r| ids.contains(&r)));
            }
            match item.entry.as_ref() {
                Some(entry) if entry.kind == Kind::Waiver => all.waiver(args, entry, &item, wanted)?,
                Some(entry) if entry.kind == Kind::Verdict => all.verdict(args, entry, &item, wanted)?,
                _ => {}
            }
        }
        Ok(all)
    }

    /// Why there is nothing to find. `None`: there could be something.
    fn silence(
        &self,
        args: &Args,
        journal: &Path,
        wanted: Option<&BTreeSet<u64>>,
    ) -> Result<Option<String>, Failure> {
        let repository = args.period.repo.as_deref().map(safe).unwrap_or_default();
        let is_about = |ids: &BTreeSet<u64>| -> Result<bool, Failure> {
            for item in log::entries(journal, 0)? {
                let repository = item?.entry.and_then(|e| e.subject.repository);
                if repository.is_some_and(|r| ids.contains(&r)) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match wanted {
            Some(ids) if !self.about && !is_about(ids)? => {
                Err(Failure::usage(format!("no entry is about the repository {repository}")))
            }
            Some(_) if !self.about => Ok(Some(format!("no entry of that time is about {repository}"))),
            _ if !self.any => Ok(Some("no entry is of that time".to_owned())),
            _ => Ok(None),
        }
    }

    fn waiver(
        &mut self,
        args: &Args,
        entry: &Entry,
        item: &log::Item,
        wanted: Option<&BTreeSet<u64>>,
    ) -> Result<(), Failure> {
        let words = item.json("waiver")?.and_then(|w| serde_json::from_value(w).ok());
        let here = wanted.is_none_or(|ids| entry.subject.repository.is_none_or(|r| ids.contains(&r)));
        if words.is_none() && here && args.holds(entry.time) && is_broken_glass(entry) {
            let repository = entry.subject.repository;
            let row =
                json!({"entry": entry.seq, "time": entry.time, "repository": repository, "erased": true});
            self.erased.push(row);
        }
        self.waivers.note(entry, words);
        let step = serde_json::from_value::<WaiverData>(entry.data.clone()).ok();
        if let Some(of) = step.filter(|s| s.step == WaiverStep::Approved).and_then(|s| s.of) {
            self.begun_before = Some(self.begun_before.map_or(of, |b| b.min(of)));
        }
        Ok(())
    }

    fn verdict(
        &mut self,
        args: &Args,
        entry: &Entry,
        item: &log::Item,
        wanted: Option<&BTreeSet<u64>>,
    ) -> Result<(), Failure> {
        let inside = args.holds(entry.time);
        let here = wanted.is_none_or(|ids| entry.subject.repository.is_some_and(|r| ids.contains(&r)));
        let Ok(data) = serde_json::from_value::<VerdictData>(entry.data.clone()) else { return Ok(()) };
        if let Some(found) = data.tampering.filter(|_| inside) {
            let body = item.json("tampering")?;
            if here || wanted.is_some_and(|ids| concerns(entry, body.as_ref(), ids)) {
                self.against.push(tampering(entry, &found, body.as_ref()));
                self.about = true;
            }
        }
        let Some(landing) = data.landing.filter(|_| here) else { return Ok(()) };
        let before = landing.instead_of.and_then(|seq| self.landings.iter().position(|l| l.entry == seq));
        let before = before.map(|place| self.landings.remove(place));
        let inside = inside || before.is_some_and(|known| known.inside);
        let row = match landing.exceptions.is_empty() {
            true => None,
            false => Some(row(entry, &landing, item.json("landing")?.as_ref())),
        };
        self.landings.push(Landing { entry: entry.seq, inside, row });
        Ok(())
    }
}

fn row(entry: &Entry, landing: &LandingData, body: Option<&Value>) -> Value {
    json!({
            "entry": entry.seq,
            "event": entry.refs.first(),
            "time": entry.time,
            "repository": entry.subject.repository,
            "name": body.map(|b| &b["repository"]),
            "branch": body.map(|b| &b["branch"]),
            "commit": entry.subject.head,
            "kind": landing.kind,
            "required": landing.required,
            "bypassed": landing.bypassed,
            "exceptions": landing.exceptions,
            "instead_of": landing.instead_of,
            "by": body.map(read::by),
            "reason": body.map(|b| &b["landed"]["reason"]),
    })
}

/// A step with which an exception from everything began to hold.
fn is_broken_glass(entry: &Entry) -> bool {
    serde_json::from_value::<WaiverData>(entry.data.clone())
        .is_ok_and(|d| d.break_glass && matches!(d.step, WaiverStep::Granted | WaiverStep::Approved))
}

/// Whether what is about no one repository is about one of these. What does not list its repositories is.
fn concerns(entry: &Entry, body: Option<&Value>, ids: &BTreeSet<u64>) -> bool {
    let listed = body.and_then(|b| b["repositories"].as_array()).filter(|l| !l.is_empty());
    let has =
        |listed: &Vec<Value>| listed.iter().any(|r| r["id"].as_u64().is_some_and(|id| ids.contains(&id)));
    entry.subject.repository.is_none() && listed.is_none_or(has)
}

fn tampering(entry: &Entry, found: &TamperingData, body: Option<&Value>) -> Value {
    json!({
        "entry": entry.seq,
        "event": entry.refs.first(),
        "time": entry.time,
        "repository": entry.subject.repository,
        "name": body.map(|b| &b["repository"]),
        "commit": entry.subject.head,
        "kind": found.kind,
        "passes": found.passes,
        "by": body.map(|b| &b["by"]["login"]),
        "text": body.map(|b| &b["text"]),
    })
}

fn table_of_tampering(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in rows {
        let text = |key: &str| safe(row[key].as_str().unwrap_or("(erased)"));
        let place = row["name"].as_str().map_or(String::new(), |name| format!("{}: ", safe(name)));
        let time = row["time"].as_str().unwrap_or_default().get(..19).unwrap_or_default();
        let (kind, what) = (text("kind"), text("text"));
        out += &format!("{time}  {:>6}  {kind}: {place}{what}\n", row["entry"]);
    }
    match rows.len() {
        0 => out,
        n => out + &format!("{n} against the gate\n"),
    }
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no exceptions\n".to_owned();
    }
    let text = |v: &Value| safe(v.as_str().unwrap_or("(erased)"));
    let mut out = String::new();
    for row in rows {
        let commit = row["commit"].as_str().map_or("deleted", |c| c.get(..7).unwrap_or(c));
        let why: Vec<&str> =
            row["exceptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let by = row["by"].as_str().map_or(String::new(), |by| format!(" by {}", safe(by)));
        out += &format!(
            "{}  {:>6}  {} {} {commit}{by}: {} ({})\n",
            row["time"].as_str().unwrap_or_default().get(..19).unwrap_or_default(),
            row["entry"],
            text(&row["name"]),
            text(&row["branch"]),
            why.join(", "),
            safe(row["kind"].as_str().unwrap_or_default()),
        );
        if let Some(reason) = row["reason"].as_str() {
            out += &format!("{:>29} {}\n", "", safe(reason));
        }
    }
    out + &format!("{} exceptions\n", rows.len())
}
