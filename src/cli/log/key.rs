//! `gatelog log key new|show|rotate`

use std::{io::Write as _, path::Path};

use http::{Method, StatusCode};

use super::{CommandResult, Exit, Failure, why};
use crate::{
    cli::{ConfigArg, runtime},
    config::Config,
    ledger::key::{KeyFileError, Keys},
    server::admin::{self, CallError},
};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make the key file that the configuration names.
    New(Args),
    /// Print the vkey: what auditors need to check what the ledger signs.
    Show(Args),
    /// Put a new key beside the old one, in the running service; both sign until `--finish`.
    Rotate(RotateArgs),
}

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(clap::Args)]
pub struct RotateArgs {
    /// End the change: the old key signs no more. Before, everybody who follows the log should have looked.
    #[arg(long)]
    finish: bool,
    #[command(flatten)]
    config: ConfigArg,
}

pub fn run(command: &Command) -> CommandResult {
    match command {
        Command::New(args) => new(&args.config.load()?),
        Command::Show(args) => show(&args.config.load()?),
        Command::Rotate(args) => rotate(&args.config.load()?, args.finish),
    }
}

/// Origin and key file.
fn named(config: &Config) -> Result<(&str, &Path), Failure> {
    match (&config.ledger.origin, &config.ledger.key_file) {
        (Some(origin), Some(file)) => Ok((origin, file)),
        _ => Err(Failure::usage(format!(
            "{}: [ledger] needs `origin = \"gate.example.com/log/1\"` (where the log will be read, and /1) and \
             `key_file = \"log.key\"`",
            config.file.display()
        ))),
    }
}

fn new(config: &Config) -> CommandResult {
    let (origin, file) = named(config)?;
    // Nobody may lose a key by asking for one. (Two who ask at once: the later one wins.)
    if file.exists() {
        let what = "exists already; `gatelog log key rotate` changes a key that is in use";
        return Err(Failure::usage(format!("{} {what}", file.display())));
    }
    let keys = Keys::new(origin).map_err(Failure::could_not_run)?;
    keys.write(file).map_err(|e| Failure::could_not_run(format!("writing {}: {e}", file.display())))?;
    let mut out = anstream::stdout().lock();
    writeln!(out, "made {}; keep a copy where only you can read it", file.display())?;
    print_keys(&mut out, &keys)
}

fn show(config: &Config) -> CommandResult {
    let (origin, file) = named(config)?;
    let keys = Keys::read(file, origin)?;
    print_keys(&mut anstream::stdout().lock(), &keys)
}

/// One a line, old to new: for scripts and for auditors.
fn print_keys(out: &mut impl std::io::Write, keys: &Keys) -> CommandResult {
    for key in keys.verifiers() {
        writeln!(out, "{key}")?;
    }
    Ok(Exit::Ok)
}

fn rotate(config: &Config, finish: bool) -> CommandResult {
    named(config)?;
    let dir = &config.ledger.path;
    let path = if finish { "/keys/finish" } else { "/keys/rotate" };
    let answer = runtime()?.block_on(admin::call(dir, Method::POST, path));
    let mut out = anstream::stdout().lock();
    match answer {
        Ok((StatusCode::OK, body)) => {
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let vkey = answer["vkey"].as_str().unwrap_or_default();
            if finish {
                writeln!(out, "signs no more: {vkey}")?;
            } else {
                writeln!(out, "signs from now on, beside the old one: {vkey}")?;
                writeln!(out, "hand it to auditors; when all have it: `gatelog log key rotate --finish`")?;
            }
            Ok(Exit::Ok)
        }
        // A change is under way, or none is; or nothing is signed.
        Ok((StatusCode::CONFLICT | StatusCode::NOT_FOUND, body)) => Err(Failure::usage(why(&body))),
        Ok((status, body)) => {
            Err(Failure::could_not_run(format!("the service answered {status}: {}", why(&body))))
        }
        Err(CallError::NotRunning) => Err(Failure::could_not_run(format!(
            "no gatelog runs on {}; start it, then change the key: it records the change",
            dir.display()
        ))),
        Err(e) => Err(Failure::could_not_run(e.to_string())),
    }
}

impl From<KeyFileError> for Failure {
    fn from(e: KeyFileError) -> Self {
        match e {
            KeyFileError::Io { .. } => Self::could_not_run(e.to_string()),
            _ => Self::usage(e.to_string()),
        }
    }
}
