//! `gatelog log erase`

use std::{io::Write as _, path::PathBuf};

use http::{Method, StatusCode};

use super::{CommandResult, Exit, Failure, safe, why};
use crate::{
    cli::runtime,
    config::{self, Config},
    gate::holds,
    ledger::{
        Ledger,
        erasure::{
            plan::PlanError,
            run::{Erased, RunError},
        },
    },
    server::admin::{
        self, CallError,
        erase::{Answer, Question},
    },
    time::Time,
};

/// Erases bodies (payloads, facts, reasons) for good. Entries, chain and proofs stay; everybody who reads
/// or verifies the ledger is told that a body is redacted, by which erasure and why. What is under a legal
/// hold ([[ledger.hold]]) stays. Copies and backups are not touched: make a new backup afterwards.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["entry", "login"]))]
pub struct Args {
    /// Bodies of this entry.
    #[arg(long, value_name = "N", value_parser = super::parse_seq)]
    entry: Option<u64>,
    /// With --entry: only the body of this name (payload, facts, verdict …); may be repeated.
    #[arg(long, value_name = "NAME", requires = "entry")]
    body: Vec<String>,
    /// Every body that names this person: by login, by @mention, by the e-mail addresses and names that
    /// stand beside the login in some body.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// With --login: an e-mail address or name of the same person, known from elsewhere; may be repeated.
    #[arg(long, value_name = "TEXT", requires = "login")]
    also: Vec<String>,
    /// Why. It stays in the ledger for ever and everybody sees it: never write a name or other personal
    /// data here, only a law, a ticket, a case.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// The configuration: where the ledger is, and which legal holds there are.
    #[arg(long, short, value_name = "FILE", default_value = "gatelog.toml")]
    config: PathBuf,
    /// The ledger's folder, if it is not the configuration's.
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
}

pub fn run(args: Args) -> CommandResult {
    let config = config::environment().and_then(|e| Config::load(&args.config, &e));
    let folder = match (&args.ledger, &config) {
        (Some(folder), _) => super::Place { ledger: folder.clone() }.folder()?,
        (None, Ok(config)) => super::Place { ledger: config.ledger.path.clone() }.folder()?,
        (None, Err(e)) => return Err(Failure::usage(e.to_string())),
    };
    let (dry_run, login) = (args.dry_run, args.login.clone());
    let question = Question {
        entry: args.entry,
        bodies: args.body,
        login: args.login,
        also: args.also,
        reason: args.reason,
        dry_run,
    };
    let answer = runtime()?.block_on(async {
        match ask(&folder, &question).await {
            Err(CallError::NotRunning) => directly(&folder, question, config).await,
            Err(e) => Err(Failure::could_not_run(e.to_string())),
            Ok((StatusCode::OK, body)) => serde_json::from_slice(&body)
                .map_err(|e| Failure::could_not_run(format!("the service answered something else: {e}"))),
            Ok((status, body)) => Err(refused(status, &body)),
        }
    })?;
    anstream::stdout().write_all(text(&answer, dry_run, login.as_deref()).as_bytes())?;
    Ok(Exit::Ok)
}

async fn ask(folder: &std::path::Path, question: &Question) -> Result<(StatusCode, bytes::Bytes), CallError> {
    let body = serde_json::to_vec(question).map_err(|e| CallError::Io(e.to_string()))?;
    admin::call_with(folder, Method::POST, "/erase", body.into()).await
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let said = why(body);
    match status {
        StatusCode::FORBIDDEN => Failure::new(Exit::Failed, said),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => Failure::usage(said),
        _ => Failure::could_not_run(format!("the service answered {status}: {said}")),
    }
}

/// Nobody serves this ledger: it is opened here, under the same lock.
async fn directly(
    folder: &std::path::Path,
    question: Question,
    config: Result<Config, config::ConfigError>,
) -> Result<Answer, Failure> {
    let config = config.map_err(|e| {
        Failure::usage(format!(
            "legal holds stand in the configuration, so it is needed: {e}; name it with --config"
        ))
    })?;
    let request = question.request().map_err(Failure::usage)?;
    let dir = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&dir, Time::now)).await;
    let (ledger, _) = opened.map_err(|e| Failure::could_not_run(e.to_string()))??;
    let erased = ledger.erase(request, holds(&config)).await;
    let closed = ledger.close().await;
    let erased: Erased = erased.map_err(failure)?;
    closed.map_err(|e| Failure::could_not_run(format!("closing the ledger: {e}")))?;
    Ok(erased.into())
}

fn failure(e: RunError) -> Failure {
    let exit = match &e {
        RunError::Plan(PlanError::Held { .. }) => Exit::Failed,
        RunError::Plan(PlanError::Refused(_)) => Exit::Usage,
        _ => Exit::CouldNotRun,
    };
    Failure::new(exit, safe(&e.to_string()))
}

fn text(a: &Answer, dry_run: bool, login: Option<&str>) -> String {
    let mut out = match a.erasure {
        Some(erasure) => {
            format!(
                "erased {} bodies of {} entries, recorded as erasure {erasure}\n",
                a.bodies,
                a.entries.len()
            )
        }
        None if dry_run && a.bodies > 0 => {
            format!("would erase {} bodies of {} entries: {}\n", a.bodies, a.entries.len(), list(&a.entries))
        }
        None => match login.filter(|_| a.names_nobody()) {
            Some(login) => format!("nothing to erase: no body names {}\n", safe(login)),
            None => "nothing to erase\n".to_owned(),
        },
    };
    for (reason, entries) in &a.held {
        out += &format!("kept by the legal hold {:?}: entries {}\n", safe(reason), list(entries));
    }
    if !a.in_work.is_empty() {
        out += &format!("still being judged or reported, erase again later: entries {}\n", list(&a.in_work));
    }
    if a.gone > 0 {
        out += &format!("{} bodies were erased before\n", a.gone);
    }
    if a.erasure.is_some() {
        out += "copies and backups still hold them: make a new backup\n";
    }
    out
}

fn list(seqs: &[u64]) -> String {
    let shown: Vec<_> = seqs.iter().take(20).map(ToString::to_string).collect();
    let more = if seqs.len() > 20 { format!(" … ({} in all)", seqs.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
