//! `gatelog doctor`: checks a set-up and says what to change.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{CommandResult, ConfigArg, Exit, serve};
use crate::{
    config::Config,
    github::{Trouble, rest::Response},
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
        Ok(_) => report.say("ledger", State::Good, format!("{} is there", dir.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            report.say("ledger", State::Good, format!("{} will be made", dir.display()));
        }
        Err(e) => report.say("ledger", State::Wrong, format!("{}: {e}", dir.display())),
    }
    running
}

async fn port(key: &'static str, address: SocketAddr, running: bool, report: &mut Report) {
    match server::bind(key, address).await {
        Ok(_) => report.say("port", State::Good, format!("{address} is free")),
        Err(_) if running => report.say("port", State::Good, format!("{address} is gatelog's own")),
        Err(e) => report.say("port", State::Wrong, e),
    }
}

/// What can be said without reading all of it: `gatelog log verify` does that.
async fn verify(config: &Config, report: &mut Report) {
    let dir = config.ledger.path.display();
    report.say(
        "ledger",
        State::Good,
        format!("{dir} is there; `gatelog log verify --ledger {dir}` checks every byte"),
    );
}
