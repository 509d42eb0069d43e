//! `gatelog policy`: what the authors of policies do all day.

use std::path::Path;

use anstyle::{AnsiColor, Style};

use super::{CommandResult, Failure};
use crate::verdict::{Decision, Outcome};

mod catalog;
mod check;
mod eval;
mod new;
mod record;
mod report;
mod test;
mod watch;
mod with_opa;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the unit tests in Rego: rules `test_…`, as `opa test` does.
    Test(test::Args),
    /// Say what is wrong or odd before anything runs.
    Check(check::Args),
    /// Judge one input and print the verdict.
    Eval(eval::Args),
    /// Write a new control with parameters and a test that pass.
    New(new::Args),
    /// Write an input from the ledger as a fixture, with other people in it.
    Record(record::Args),
    /// List the controls, as Markdown, JSON or CSV.
    Catalog(catalog::Args),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::New(args) => new::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Catalog(args) => catalog::run(&args),
    }
}

fn load_failure(path: &Path, e: &crate::policy::LoadError) -> Failure {
    Failure::usage(format!("the policies in {} cannot be used\n{e}", path.display()))
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Deny => "deny",
        Outcome::Warn => "warn",
        Outcome::Pending => "pending",
        Outcome::Skip => "skip",
        Outcome::Waived => "waived",
        Outcome::Error => "error",
    }
}

fn colour(decision: Decision) -> AnsiColor {
    match decision {
        Decision::Allow => AnsiColor::Green,
        Decision::Superseded | Decision::Pending => AnsiColor::Yellow,
        Decision::Error | Decision::Deny => AnsiColor::Red,
    }
}

fn coloured(colour: AnsiColor, text: &str) -> String {
    let style: Style = colour.on_default();
    format!("{style}{text}{style:#}")
}

/// Policies and inputs are written by others: no control characters reach the terminal.
fn show(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
