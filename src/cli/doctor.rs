//! `gatelog doctor`: checks a set-up and says what to change.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{CommandResult, ConfigArg, Exit, serve};
use crate::{
    config::Config,
    github::{Trouble, rest::Response},
    ledger::verify::{self, VerifyError},
    server::{self, admin},
    time::Time,
};

/// Permissions of the GitHub App, as the API names them.
pub const PERMISSIONS: &[(&str, &str)] = &[
    ("checks", "write"),
    ("pull_requests", "read"),
    ("contents", "read"),
    ("metadata", "read"),
    ("administration", "read"),
    ("merge_queues", "read"),
    ("actions", "read"),
    ("deployments", "read"),
    ("members", "read"),
];

/// Without these gatelog works; only events of workflows and deployments never come.
const OPTIONAL: &[&str] = &["actions", "deployments"];

/// Events the App must subscribe to. `check_run` and `check_suite` come by themselves to whoever may
/// write checks.
pub const EVENTS: &[&str] = &[
    "pull_request",
    "pull_request_review",
    "push",
    "create",
    "delete",
    "merge_group",
    "member",
    "membership",
    "team",
    "team_add",
    "organization",
    "repository",
    "branch_protection_rule",
    "repository_ruleset",
];

/// GitHub refuses a token of an App whose clock is a minute ahead.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// Shorter ones can be guessed from one recorded delivery.
const SHORT_SECRET: usize = 16;

/// Bytes of a journal that are verified in about a second.
const QUICK: u64 = 256 << 20;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub fn run(args: Args) -> CommandResult {
    let config = args.config.load()?;
    let report = super::runtime()?.block_on(examine(&config));
    anstream::stdout().write_all(report.text().as_bytes())?;
    Ok(report.exit())
}

/// How one part of the set-up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Works, and could be better.
    Note,
    /// Has to be changed.
    Wrong,
    /// Could not be found out.
    Unknown,
}

#[derive(Debug)]
struct Line {
    part: &'static str,
    state: State,
    text: String,
}

#[derive(Debug, Default)]
struct Report(Vec<Line>);

impl Report {
    fn say(&mut self, part: &'static str, state: State, text: impl Into<String>) {
        self.0.push(Line { part, state, text: text.into() });
    }

    /// What must be changed outranks what could not be found out.
    fn exit(&self) -> Exit {
        let any = |state| self.0.iter().any(|l| l.state == state);
        match (any(State::Wrong), any(State::Unknown)) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::CouldNotRun,
            (false, false) => Exit::Ok,
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.0 {
            let (colour, word) = match line.state {
                State::Good => (anstyle::AnsiColor::Green, "ok"),
                State::Note => (anstyle::AnsiColor::Yellow, "note"),
                State::Wrong => (anstyle::AnsiColor::Red, "change"),
                State::Unknown => (anstyle::AnsiColor::Yellow, "unknown"),
            };
            let style = colour.on_default();
            let text = crate::escape::terminal_block(&line.text).replace('\n', "\n                      ");
            // Writing into a `String` does not fail.
            let _ = writeln!(out, "{style}{word:<8}{style:#}  {:<10}  {text}", line.part);
        }
        let _ = match self.exit() {
            Exit::Ok => writeln!(out, "\nNothing has to be changed."),
            Exit::Failed => writeln!(out, "\nChange what is marked `change`, then run this again."),
            _ => writeln!(out, "\nSome things could not be found out."),
        };
        out
    }
}

async fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    report.say("config", State::Good, config.file.display().to_string());
    for warning in config.warnings() {
        report.say("config", State::Note, warning);
    }
    secrets_and_app(config, &mut report).await;
    policies(config, &mut report).await;
    let running = ledger(config, &mut report).await;
    for (key, address) in
        [("listen", config.server.listen), ("internal_listen", config.server.internal_listen)]
    {
        port(key, address, running, &mut report).await;
    }
    report
}

async fn secrets_and_app(config: &Config, report: &mut Report) {
    let secrets = match config.secrets() {
        Ok(secrets) => secrets,
        Err(e) => return report.say("secrets", State::Wrong, e.to_string()),
    };
    for warning in &secrets.warnings {
        report.say("secrets", State::Note, warning.clone());
    }
    match secrets.webhook.iter().map(|s| s.expose().len()).min() {
        Some(length) if length < SHORT_SECRET => {
            let text =
                format!("a webhook secret has {length} bytes; `openssl rand -hex 32` makes a good one");
            report.say("secrets", State::Note, text);
        }
        _ => report.say("secrets", State::Good, "private key and webhook secrets can be read"),
    }
    match serve::connect(config, &secrets) {
        Err(failure) => report.say("key", State::Wrong, failure.message),
        Ok(github) => {
            let asked = github.get_app("/app").await.and_then(|r| r.expect(&[200]));
            app(config, asked, Time::now(), report);
        }
    }
}

/// What `GET /app` says of the App.
#[derive(Deserialize)]
struct App {
    name: String,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    #[serde(default)]
    events: Vec<String>,
}

fn app(config: &Config, asked: Result<Response, Trouble>, now: Time, report: &mut Report) {
    let asked = asked.and_then(|r| r.json::<App>().map(|app| (r, app)));
    let (response, app) = match asked {
        Ok(answer) => answer,
        Err(trouble) if trouble.passes() => return report.say("github", State::Unknown, trouble.reason),
        Err(trouble) => {
            let hint = "app_id and private_key_file must belong to the same App, and the clock must be right";
            return report.say("github", State::Wrong, format!("{}\n{hint}", trouble.reason));
        }
    };
    let text =
        format!("{} accepts the key of App {} ({})", config.github.api_url, config.github.app_id, app.name);
    report.say("github", State::Good, text);
    clock(response.header("date"), now, report);
    permissions(&app.permissions, report);
    events(&app.events, report);
}

fn clock(date: Option<&str>, now: Time, report: &mut Report) {
    let theirs = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok());
    let Some(theirs) = theirs.and_then(|z| Time::from_unix_micros(z.timestamp().as_microsecond())) else {
        return report.say("clock", State::Unknown, "GitHub did not say what time it is");
    };
    let skew = now.since(theirs).max(theirs.since(now));
    if skew > MAX_SKEW {
        let text = format!("{} s away from GitHub's clock; set it (NTP)", skew.as_secs());
        report.say("clock", State::Wrong, text);
    } else {
        report.say("clock", State::Good, "agrees with GitHub's");
    }
}

fn permissions(granted: &BTreeMap<String, String>, report: &mut Report) {
    let enough = |name: &str, level: &str| {
        granted.get(name).is_some_and(|has| has == level || has == "write" || has == "admin")
    };
    let missing = PERMISSIONS.iter().filter(|(name, level)| !enough(name, level));
    let (optional, needed): (Vec<_>, Vec<_>) = missing.partition(|(name, _)| OPTIONAL.contains(name));
    let list =
        |p: &[&(&str, &str)]| p.iter().map(|(n, l)| format!("{n}: {l}")).collect::<Vec<_>>().join(", ");
    if needed.is_empty() {
        report.say("app", State::Good, "has the permissions it needs");
    } else {
        report.say("app", State::Wrong, format!("permissions to add: {}", list(&needed)));
    }
    if !optional.is_empty() {
        let text = format!("without {} there are no events of workflows and deployments", list(&optional));
        report.say("app", State::Note, text);
    }
    let allowed = |name: &str, has: &str| {
        PERMISSIONS.iter().any(|(n, level)| *n == name && (*level == has || *level == "write"))
    };
    let more: Vec<_> =
        granted.iter().filter(|(n, l)| !allowed(n, l)).map(|(n, l)| format!("{n}: {l}")).collect();
    if !more.is_empty() {
        report.say("app", State::Note, format!("permissions that gatelog does not use: {}", more.join(", ")));
    }
}

fn events(subscribed: &[String], report: &mut Report) {
    let missing: Vec<_> = EVENTS.iter().filter(|e| !subscribed.iter().any(|s| s == *e)).copied().collect();
    if missing.is_empty() {
        report.say("app", State::Good, "subscribes to the events it needs");
    } else {
        report.say("app", State::Wrong, format!("events to subscribe to: {}", missing.join(", ")));
    }
}

async fn policies(config: &Config, report: &mut Report) {
    match serve::load_policies(config).await {
        Ok(bundle) => {
            let text = format!("{} controls, {}", bundle.controls().len(), bundle.digest());
            report.say("policies", State::Good, text);
        }
        Err(failure) => report.say("policies", State::Wrong, failure.message),
    }
}

/// Whether gatelog runs on this ledger, and a look at the ledger itself.
async fn ledger(config: &Config, report: &mut Report) -> bool {
    let dir = &config.ledger.path;
    let running = match admin::call(dir, Method::GET, "/status").await {
        Ok((StatusCode::OK, body)) => {
            let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let text =
                format!("gatelog {} runs, process {}", status["version"], status["pid"]).replace('"', "");
            report.say("running", State::Good, text);
            true
        }
        Ok(_) | Err(admin::CallError::NotRunning) => false,
        Err(e) => {
            report.say("running", State::Unknown, e.to_string());
            false
        }
    };
    match dir.join("journal").symlink_metadata() {
        Ok(_) => verify_journal(dir, report).await,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            report.say("ledger", State::Good, format!("{} will be made", dir.display()));
        }
        Err(e) => report.say("ledger", State::Wrong, format!("{}: {e}", dir.display())),
    }
    running
}

async fn port(key: &'static str, address: SocketAddr, running: bool, report: &mut Report) {
    match server::bind(&format!("[server] {key}"), address).await {
        Ok(_) => report.say("port", State::Good, format!("{address} is free")),
        Err(_) if running => report.say("port", State::Good, format!("{address} is gatelog's own")),
        Err(e) => report.say("port", State::Wrong, e),
    }
}

/// Verifies the journal, unless it is so large that it takes long.
async fn verify_journal(dir: &Path, report: &mut Report) {
    let (journal, shown) = (dir.join("journal"), dir.display());
    let looked = tokio::task::spawn_blocking(move || match size(&journal) {
        Ok(bytes) if bytes > QUICK => Ok(None),
        Ok(_) => verify::verify(&journal).map(Some),
        Err(e) => Err(VerifyError::CannotRead(e.to_string())),
    });
    let (state, text) = match looked.await {
        Ok(Ok(Some(found))) => (State::Good, format!("{shown}: {} entries, all verified", found.entries)),
        Ok(Ok(None)) => {
            let how = format!("`gatelog log verify --ledger {shown}` takes its time");
            (State::Note, format!("{shown} is large and was not verified: {how}"))
        }
        Ok(Err(VerifyError::Failed { at, what })) => {
            (State::Wrong, format!("{shown} is damaged at entry {at}: {what}"))
        }
        Ok(Err(VerifyError::CannotRead(why))) => (State::Unknown, format!("{shown}: {why}")),
        Err(e) => (State::Unknown, format!("{shown}: {e}")),
    };
    report.say("ledger", state, text);
}

fn size(dir: &Path) -> io::Result<u64> {
    std::fs::read_dir(dir)?.map(|file| Ok(file?.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect()
    }

    #[test]
    fn what_the_app_has_and_what_it_needs() {
        let mut report = Report::default();
        permissions(&granted(PERMISSIONS), &mut report);
        events(&EVENTS.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>(), &mut report);
        assert_eq!(report.exit(), Exit::Ok);
        permissions(
            &granted(&[("checks", "read"), ("contents", "write"), ("metadata", "read")]),
            &mut report,
        );
        events(&["push".to_owned()], &mut report);
        assert_eq!(report.exit(), Exit::Failed);
        insta::assert_snapshot!(anstream::adapter::strip_str(&report.text()).to_string());
    }

    #[test]
    fn the_clock() {
        let says = |now: &str| {
            let mut report = Report::default();
            clock(Some("Tue, 24 Nov 2026 15:00:00 GMT"), now.parse().unwrap(), &mut report);
            report.0[0].state
        };
        assert_eq!(says("2026-11-24T15:00:20Z"), State::Good);
        assert_eq!(says("2026-11-24T15:00:31Z"), State::Wrong);
        assert_eq!(says("2026-11-24T14:59:00Z"), State::Wrong);
        let mut report = Report::default();
        clock(None, Time::now(), &mut report);
        assert_eq!(report.exit(), Exit::CouldNotRun);
    }
}
