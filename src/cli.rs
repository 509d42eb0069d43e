//! The command line: one file per command, one meaning per exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigError};

mod app;
mod audit;
mod check_config;
mod demo;
mod doctor;
pub(crate) mod init;
mod log;
mod policy;
mod reconcile;
mod schema;
mod serve;
mod waiver;
mod witness;
mod witnesses;

/// A merge gate that can prove itself.
#[derive(Parser)]
#[command(name = "gatelog", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play a whole story against a simulated GitHub: no account, no configuration.
    Demo(demo::Args),
    /// Receive webhooks, judge, record, report.
    Serve(serve::Args),
    /// Write a commented starter configuration and the policies.
    Init(init::Args),
    /// The GitHub App: register it.
    #[command(subcommand)]
    App(app::Command),
    /// Read the configuration and say what it means, or what is wrong.
    CheckConfig(check_config::Args),
    /// Check a set-up: clock, key, App, permissions, policies, ledger.
    Doctor(doctor::Args),
    /// Compare GitHub's own record with the ledger now, through the running service.
    Reconcile(reconcile::Args),
    /// The ledger: look into it, verify, prove, follow, back up, erase.
    #[command(subcommand)]
    Log(log::Command),
    /// For auditors: evidence, completeness, exceptions.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Cosign the checkpoints of other people's logs.
    #[command(subcommand)]
    Witness(witness::Command),
    /// Policies: test, check, eval.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Exceptions from controls: add, list, revoke, review.
    #[command(subcommand)]
    Waiver(waiver::Command),
    /// JSON Schema of what policies read and say.
    Schema(schema::Args),
    /// Judge what standard input says: `serve` starts this.
    #[command(hide = true)]
    JudgeProcess,
}

/// What a command ends with. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// A policy failed or denied.
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The ledger is damaged or was changed.
    Integrity = 3,
    /// Data is missing.
    Incomplete = 4,
    /// Could not run: I/O, network, ledger locked, port in use.
    CouldNotRun = 5,
}

/// A failure that is told to the user in one or a few lines, and how the command then ends.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Self::new(Exit::CouldNotRun, message)
    }
}

/// I/O errors while writing to standard output: a closed pipe ends a command quietly.
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, String::new());
        }
        Self::could_not_run(e.to_string())
    }
}

/// A wrong value is a matter of configuration; a file that cannot be read keeps the command from running.
impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        match e {
            ConfigError::Wrong(message) => Self::usage(message),
            ConfigError::Unreadable(message) => Self::could_not_run(message),
        }
    }
}

/// Where the configuration is.
#[derive(clap::Args)]
pub struct ConfigArg {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "gatelog.toml")]
    config: PathBuf,
}

impl ConfigArg {
    /// # Errors
    /// Exit 2: the value, where it stands, an example.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config, &config::environment()?)?)
    }
}

/// A pull request's number, where the repository is said by an option of its own.
fn pull_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| match text.rsplit_once('#') {
        Some((repo, number)) => format!("give the repository apart: --repo {repo} --pr {number}"),
        None => "give its number, such as 12".to_owned(),
    })
}

/// A runtime for the commands that talk to GitHub, to a socket, or serve.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Failure::could_not_run(format!("cannot start: {e}")))
}

pub type CommandResult = Result<Exit, Failure>;

/// Parses the arguments, runs the command, prints a failure, returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // `--help` and `--version` are no failures; a closed pipe is none either.
            let _ = e.print();
            let code = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            return ExitCode::from(code as u8);
        }
    };
    let result = match cli.command {
        Command::JudgeProcess => return crate::policy::judge_process::run(),
        Command::Demo(a) => demo::run(a),
        Command::Serve(a) => serve::run(a),
        Command::Init(a) => init::run(a),
        Command::App(c) => app::run(c),
        Command::CheckConfig(a) => check_config::run(a),
        Command::Doctor(a) => doctor::run(a),
        Command::Reconcile(a) => reconcile::run(&a),
        Command::Log(c) => log::run(c),
        Command::Audit(c) => audit::run(c),
        Command::Witness(c) => witness::run(c),
        Command::Policy(c) => policy::run(c),
        Command::Waiver(c) => waiver::run(c),
        Command::Schema(a) => schema::run(&a),
    };
    let exit = result.unwrap_or_else(|f| {
        if !f.message.is_empty() {
            use std::io::Write as _;
            let _ = writeln!(anstream::stderr(), "gatelog: {}", f.message);
        }
        f.exit
    });
    ExitCode::from(exit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_request_is_a_number_and_its_repository_stands_apart() {
        assert_eq!(pull_number("12"), Ok(12));
        assert_eq!(pull_number("a/b#12"), Err("give the repository apart: --repo a/b --pr 12".to_owned()));
        assert_eq!(pull_number("-1"), Err("give its number, such as 12".to_owned()));
    }
}
