//! `gatelog audit`: what an auditor asks of the ledger, read from its journal or from a copy.

use super::{CommandResult, Exit, Failure, log};
use crate::time::Time;

mod completeness;
mod evidence;
mod exceptions;
mod read;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Evidence about a pull request, an entry or a time: to take away, and to check offline.
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Everything GitHub says happened, against what was recorded, judged and shown.
    Completeness(completeness::Args),
    /// Changes that landed on watched branches and were not allowed, or not bound to be; forged checks, weakened
    /// rules, an App taken away; broken glass.
    Exceptions(exceptions::Args),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Evidence(command) => evidence::run(command),
        Command::Completeness(args) => completeness::run(&args),
        Command::Exceptions(args) => exceptions::run(&args),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Which part of the ledger.
#[derive(clap::Args)]
struct Period {
    /// Of this repository: its name as any event gave it, or its id.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
    /// Before: 2026-11-24 (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = log::parse_time)]
    until: Option<Time>,
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    place: log::Place,
}
