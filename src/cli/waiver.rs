//! `gatelog waiver`: exceptions from controls, as the local operator makes and sees them.

use std::io::Write as _;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{CommandResult, Exit, Failure, log, pull_number, runtime};
use crate::{
    escape::terminal as safe,
    event::command,
    facts::waivers::WaiverKind,
    gate::{
        commands::Exception,
        waivers::{Held, Review, Waivers},
    },
    ledger::{entry::Kind, postings::Query},
    server::admin::{self, CallError},
    store::journal::pick::Spans,
    time::Time,
};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Record an exception and judge again what it concerns. It stays in the ledger for ever.
    Add(AddArgs),
    /// What holds, waits or is to be reviewed.
    List(ListArgs),
    /// End an exception now.
    Revoke(RevokeArgs),
    /// Record that somebody reviewed a break-glass.
    Review(ReviewArgs),
}

#[derive(clap::Args)]
pub struct AddArgs {
    /// Id of a control, such as CHG-02; may be repeated. '*': every control.
    #[arg(long, value_name = "ID", required = true)]
    control: Vec<String>,
    /// Only in this repository. Without it: in every one.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
    /// Only for branches that this glob matches: main, 'release/*'.
    #[arg(long, value_name = "GLOB")]
    branch: Option<String>,
    /// Only for this pull request.
    #[arg(long, value_name = "NUMBER", requires = "repo", value_parser = pull_number)]
    pr: Option<u64>,
    /// Only for findings about paths that this glob matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    path: Vec<String>,
    /// Who answers for it.
    #[arg(long, value_name = "NAME")]
    owner: String,
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// When it begins: 2026-11-24 (UTC) or RFC 3339; now if absent.
    #[arg(long, value_name = "TIME", value_parser = log::parse_time)]
    from: Option<Time>,
    /// When it ends: a day (to its end, UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = command::until)]
    until: Time,
    /// An emergency: alarm, and have it reviewed within so many hours.
    #[arg(long, value_name = "HOURS")]
    break_glass: Option<u32>,
    #[command(flatten)]
    place: log::Place,
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// What has ended too.
    #[arg(long)]
    all: bool,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: log::Place,
}

#[derive(clap::Args)]
pub struct RevokeArgs {
    /// The entry that grants it.
    #[arg(value_parser = log::parse_seq)]
    entry: u64,
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    place: log::Place,
}

#[derive(clap::Args)]
pub struct ReviewArgs {
    /// The entry that grants it.
    #[arg(value_parser = log::parse_seq)]
    entry: u64,
    /// Who reviewed it: nobody who asked for it or answers for it, or worked on what it let through.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// What was found.
    #[arg(long, value_name = "TEXT")]
    note: String,
    #[command(flatten)]
    place: log::Place,
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Add(args) => add(args),
        Command::List(args) => list(&args),
        Command::Revoke(args) => {
            let path = format!("/waivers/{}/revoke", args.entry);
            let seq = ask(&args.place, &path, &json!({"reason": args.reason}))?;
            said(&format!("ended as entry {seq}"))
        }
        Command::Review(args) => {
            let path = format!("/waivers/{}/review", args.entry);
            let seq = ask(&args.place, &path, &json!({"by": args.by, "note": args.note}))?;
            said(&format!("reviewed as entry {seq}"))
        }
    }
}

fn add(args: AddArgs) -> CommandResult {
    let exception = Exception {
        controls: args.control,
        repository: args.repo,
        branch: args.branch,
        pull_request: args.pr,
        paths: args.path,
        owner: args.owner,
        reason: args.reason,
        from: args.from,
        until: args.until,
        break_glass: args.break_glass,
    };
    let seq = ask(&args.place, "/waivers", &json!(exception))?;
    said(&format!("recorded as entry {seq}, until {}", args.until))
}

fn said(line: &str) -> CommandResult {
    writeln!(anstream::stdout(), "{line}")?;
    Ok(Exit::Ok)
}

/// Through the running service, which records it: only it may write to its ledger.
fn ask(place: &log::Place, path: &str, body: &Value) -> Result<u64, Failure> {
    let dir = place.folder()?;
    let body = body.to_string().into();
    match runtime()?.block_on(admin::call_with(&dir, Method::POST, path, body)) {
        Ok((status, answer)) => {
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let why = || safe(answer["error"].as_str().unwrap_or("no reason"));
            match (status, answer["seq"].as_u64()) {
                (StatusCode::OK, Some(seq)) => Ok(seq),
                (StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST, _) => Err(Failure::usage(why())),
                _ => Err(Failure::could_not_run(format!("the service answered {status}: {}", why()))),
            }
        }
        Err(CallError::NotRunning) => {
            let dir = dir.display();
            Err(Failure::could_not_run(format!("no gatelog runs on {dir}; start it first")))
        }
        Err(e) => Err(Failure::could_not_run(e.to_string())),
    }
}

/// Every exception of a ledger, as its entries tell it: those that the catalogs name, and all where there is none.
fn read(place: &log::Place) -> Result<Waivers, Failure> {
    let (journal, mut waivers) = (place.journal()?, Waivers::default());
    let query = Query { kind: Some(Kind::Waiver), ..Query::default() };
    for item in log::picked(&journal, Spans::find(&journal, 0, &query)?.all)? {
        let item = item?;
        let Some(entry) = item.entry.as_ref().filter(|e| e.kind == Kind::Waiver) else { continue };
        let words = item.json("waiver")?.and_then(|w| serde_json::from_value(w).ok());
        waivers.note(entry, words);
    }
    Ok(waivers)
}

fn list(args: &ListArgs) -> CommandResult {
    let (waivers, now) = (read(&args.place)?, Time::now());
    let live = |h: &Held| {
        let holds = !h.revoked && h.waiver.until > now;
        holds || matches!(h.review, Review::Due(_) | Review::Overdue) && !h.waits
    };
    let shown: Vec<_> = waivers.all().filter(|(_, h)| args.all || live(h)).collect();
    let mut out = anstream::stdout().lock();
    if args.json {
        let rows: Vec<Value> = shown.iter().map(|(seq, h)| row(*seq, h, now)).collect();
        writeln!(out, "{}", log::pretty(&json!({"waivers": rows})))?;
        return Ok(Exit::Ok);
    }
    for (seq, held) in &shown {
        write!(out, "{}", text(*seq, held, now))?;
    }
    match shown.len() {
        0 => writeln!(out, "no exceptions")?,
        n => writeln!(out, "{n} exception{}", if n == 1 { "" } else { "s" })?,
    }
    Ok(Exit::Ok)
}

pub(super) fn row(seq: u64, held: &Held, now: Time) -> Value {
    json!({"entry": seq, "state": state(held, now), "review": review(held, now), "by": held.by.login, "waiver": held.waiver})
}

fn state(held: &Held, now: Time) -> &'static str {
    match held {
        h if h.revoked => "revoked",
        h if h.waiver.until <= now => "ended",
        h if h.names_no_base() => {
            "does not hold: it names no base branch, as older ones do; ask for it again"
        }
        h if h.waits => "waits for a second person",
        h if h.waiver.from > now => "to come",
        _ => "holds",
    }
}

/// How far the follow-up review is, if there is to be one.
pub(super) fn review(held: &Held, now: Time) -> Option<String> {
    match held.review {
        _ if held.waits => None,
        Review::NotNeeded => None,
        Review::Due(at) if at > now => Some(format!("to be reviewed until {}", &at.to_string()[..16])),
        Review::Due(_) | Review::Overdue => Some("review overdue".to_owned()),
        Review::Done => Some("reviewed".to_owned()),
    }
}

pub(super) fn text(seq: u64, held: &Held, now: Time) -> String {
    let w = &held.waiver;
    let kind = if w.kind == WaiverKind::BreakGlass { "BREAK-GLASS " } else { "" };
    let mut place = safe(w.scope.repository.as_deref().unwrap_or("")).to_string();
    if place.is_empty() {
        place = w.scope.repository_id.map_or("every repository".to_owned(), |id| format!("repository {id}"));
    }
    if let Some(n) = w.scope.pull_request {
        place += &format!("#{n}");
    }
    if let Some(branch) = &w.scope.branch {
        place += &format!(" branch {}", safe(branch));
    }
    if let Some(head) = &w.scope.head {
        place += &format!(" at {}", &head.to_string()[..7]);
    }
    if !w.scope.paths.is_empty() {
        place += &format!(" paths {}", safe(&w.scope.paths.join(",")));
    }
    let review = review(held, now).map_or(String::new(), |r| format!("; {r}"));
    format!(
        "{seq:>7}  {kind}{} in {place} until {} ({}{review})\n{:>9}{}: {}\n",
        safe(&w.controls.join(",")),
        &w.until.to_string()[..16],
        state(held, now),
        "",
        safe(&w.owner),
        safe(&w.reason),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::waivers::{Scope, Waiver},
        gate::waivers::Who,
    };

    #[test]
    fn what_holds_no_more_is_not_said_to_hold() {
        let now: Time = "2026-11-24T12:00:00Z".parse().unwrap();
        let held = |by_comment: bool, branch: Option<&str>| Held {
            waiver: Waiver {
                entry: Some(7),
                kind: WaiverKind::Waiver,
                controls: vec!["CHG-02".to_owned()],
                scope: Scope { branch: branch.map(str::to_owned), pull_request: Some(7), ..Scope::default() },
                owner: "dora".to_owned(),
                reason: "x".to_owned(),
                from: now,
                until: now.plus(std::time::Duration::from_secs(60)),
            },
            by: Who { id: Some(1), login: "dora".to_owned() },
            waits: false,
            approved_by: None,
            agreed_in: None,
            by_comment,
            revoked: false,
            review: Review::NotNeeded,
            pull: Some((3, 7)),
        };
        assert_eq!(state(&held(true, Some("main")), now), "holds");
        assert_eq!(state(&held(false, None), now), "holds", "the operator may mean every branch");
        let older = text(7, &held(true, None), now);
        assert!(older.contains("does not hold: it names no base branch"), "{older}");
    }
}
