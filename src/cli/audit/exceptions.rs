//! `gatelog audit exceptions`

use std::{collections::BTreeSet, io::Write as _};

use serde_json::{Value, json};

use super::{Format, Period, read};
use crate::{
    cli::{CommandResult, Exit, log, waiver},
    escape::terminal as safe,
    facts::waivers::WaiverKind,
    gate::waivers::Waivers,
    ledger::entry::{Entry, Kind, TamperingData, VerdictData},
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

/// One row per landing that is an exception, in the order of the ledger; then what was done against the gate
/// itself; then every broken glass and how far its review is.
pub fn run(args: &Args) -> CommandResult {
    let journal = args.period.place.journal()?;
    let wanted = args.period.repo.as_deref().map(|name| log::resolve(&journal, name)).transpose()?;
    let (mut rows, mut against) = (Vec::new(), Vec::new());
    let mut waivers = Waivers::default();
    for item in log::entries(&journal, 0)? {
        let item = item?;
        let Some(entry) = item.entry.as_ref() else { continue };
        if entry.kind == Kind::Waiver {
            waivers.note(entry, item.json("waiver")?.and_then(|w| serde_json::from_value(w).ok()));
        }
        if entry.kind != Kind::Verdict {
            continue;
        }
        let inside =
            args.since.is_none_or(|t| entry.time >= t) && args.period.until.is_none_or(|t| entry.time < t);
        let here =
            wanted.as_ref().is_none_or(|ids| entry.subject.repository.is_some_and(|r| ids.contains(&r)));
        let Ok(data) = serde_json::from_value::<VerdictData>(entry.data.clone()) else { continue };
        if let Some(found) = data.tampering.filter(|_| inside) {
            let body = item.json("tampering")?;
            if here || wanted.as_ref().is_some_and(|ids| concerns(entry, body.as_ref(), ids)) {
                against.push(tampering(entry, &found, body.as_ref()));
            }
        }
        let Some(landing) = data.landing.filter(|l| inside && here && !l.exceptions.is_empty()) else {
            continue;
        };
        let body = item.json("landing")?;
        rows.push(json!({
            "entry": entry.seq,
            "event": entry.refs.first(),
            "time": entry.time,
            "repository": entry.subject.repository,
            "name": body.as_ref().map(|b| &b["repository"]),
            "branch": body.as_ref().map(|b| &b["branch"]),
            "commit": entry.subject.head,
            "kind": landing.kind,
            "required": landing.required,
            "bypassed": landing.bypassed,
            "exceptions": landing.exceptions,
            "by": body.as_ref().map(read::by),
            "reason": body.as_ref().map(|b| &b["landed"]["reason"]),
        }));
    }
    let now = Time::now();
    let broken: Vec<_> = waivers
        .all()
        .filter(|(_, h)| h.waiver.kind == WaiverKind::BreakGlass && !h.waits)
        .filter(|(_, h)| args.since.is_none_or(|t| h.waiver.from >= t))
        .filter(|(_, h)| args.period.until.is_none_or(|t| h.waiver.from < t))
        .filter(|(_, h)| {
            let at = h.waiver.scope.repository_id;
            wanted.as_ref().is_none_or(|ids| at.is_none_or(|r| ids.contains(&r)))
        })
        .collect();
    let mut out = anstream::stdout().lock();
    match args.period.format {
        Format::Json => {
            let glass: Vec<Value> = broken.iter().map(|(seq, h)| waiver::row(*seq, h, now)).collect();
            writeln!(
                out,
                "{}",
                log::pretty(&json!({"exceptions": rows, "tampering": against, "break_glass": glass}))
            )?;
        }
        Format::Table => {
            write!(out, "{}{}", table(&rows), table_of_tampering(&against))?;
            for (seq, held) in broken {
                write!(out, "{}", waiver::text(seq, held, now))?;
            }
        }
    }
    Ok(Exit::Ok)
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
