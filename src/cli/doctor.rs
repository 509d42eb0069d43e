//! `gatelog doctor`: checks a set-up and says what to change.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
};

use http::{Method, StatusCode};

mod app;
mod hook;
mod repositories;

use super::{CommandResult, ConfigArg, Exit, serve};
use crate::{
    config::Config,
    event::RepoName,
    github::{Github, Trouble},
    ledger::verify::{self, VerifyError},
    server::{self, admin},
    time::Time,
};

/// Shorter ones can be guessed from one recorded delivery.
const SHORT_SECRET: usize = 16;

/// Bytes of a journal that are verified in about a second.
const QUICK: u64 = 256 << 20;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Look at this repository alone, of all that the App covers
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<RepoName>,
}

pub fn run(args: Args) -> CommandResult {
    let config = args.config.load()?;
    let report = super::runtime()?.block_on(examine(&config, args.repo.as_ref()));
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

    /// GitHub did not answer what was asked: a matter of the set-up, or of now.
    fn trouble(&mut self, part: &'static str, trouble: Trouble) {
        let state = if trouble.passes() { State::Unknown } else { State::Wrong };
        self.say(part, state, trouble.reason);
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

async fn examine(config: &Config, only: Option<&RepoName>) -> Report {
    let mut report = Report::default();
    report.say("config", State::Good, config.file.display().to_string());
    for warning in config.warnings() {
        report.say("config", State::Note, warning);
    }
    secrets_and_github(config, only, &mut report).await;
    policies(config, &mut report).await;
    let running = ledger(config, &mut report).await;
    for (key, address) in
        [("listen", config.server.listen), ("internal_listen", config.server.internal_listen)]
    {
        port(key, address, running, &mut report).await;
    }
    report
}

async fn secrets_and_github(config: &Config, only: Option<&RepoName>, report: &mut Report) {
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
    let github = serve::outbound(config).and_then(|outbound| serve::connect(config, &secrets, &outbound));
    match github {
        Err(failure) => report.say("key", State::Wrong, failure.message),
        Ok(github) => at_github(config, &github, only, report).await,
    }
}

/// Everything that GitHub knows of the set-up.
async fn at_github(config: &Config, github: &Github, only: Option<&RepoName>, report: &mut Report) {
    let Some(app) = app::examine(config, github, report).await else { return };
    hook::examine(github, &app, Time::now(), report).await;
    let installed = app::installations(github, &app, report).await;
    repositories::examine(config, github, &installed, only, report).await;
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
        Ok(Err(VerifyError::Unsigned(why) | VerifyError::CannotRead(why))) => {
            (State::Unknown, format!("{shown}: {why}"))
        }
        Err(e) => (State::Unknown, format!("{shown}: {e}")),
    };
    report.say("ledger", state, text);
}

fn size(dir: &Path) -> io::Result<u64> {
    std::fs::read_dir(dir)?.map(|file| Ok(file?.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests;
