//! `gatelog policy test`: runs the tests, says what failed and why.

use std::{io::Write as _, path::PathBuf};

use super::{
    super::{
        CommandResult, Exit, Failure,
        log::{Place, input_of},
    },
    report, watch, with_opa,
};
use crate::policy::{
    LoadError,
    testing::{self, Options, Report},
};

#[derive(clap::Args)]
pub struct Args {
    /// Folders and files with policies, tests and data.
    #[arg(default_value = "policies", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only tests whose full name (`data.…`) matches.
    #[arg(long, short = 'r', value_name = "REGEX")]
    run: Option<regex::Regex>,
    /// Name every test, and show what `print` says.
    #[arg(short, long)]
    verbose: bool,
    /// How to report: `github` are annotations of a workflow.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Say which lines of the policies no test reached.
    #[arg(long)]
    coverage: bool,
    /// Fail if less than so many per cent of the lines are covered.
    #[arg(long, value_name = "PERCENT")]
    threshold: Option<f64>,
    /// Run again whenever a file changes.
    #[arg(long)]
    watch: bool,
    /// Run `opa test` beside it and show every difference.
    #[arg(long)]
    with_opa: bool,
    /// The `opa` to compare with.
    #[arg(long, value_name = "FILE", default_value = "opa")]
    opa: PathBuf,
    /// Also ask both what the controls say about recorded inputs: JSON files, or folders of them.
    #[arg(long, value_name = "PATH", requires = "with_opa")]
    input: Vec<PathBuf>,
    /// The same about the input that a verdict of the ledger (or the verdict of an event) was judged by.
    #[arg(long, value_name = "SEQ", requires = "with_opa")]
    entry: Vec<u64>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Pretty,
    Json,
    Junit,
    Tap,
    Github,
}

pub fn run(args: &Args) -> CommandResult {
    if args.threshold.is_some_and(|t| !(0.0..=100.0).contains(&t)) {
        return Err(Failure::usage("--threshold is a percentage: 0 to 100"));
    }
    if args.watch {
        return watch::again_and_again(&args.paths, || {
            // What is wrong is shown and waits for the next change.
            if let Err(e) = once(args) {
                let _ = writeln!(anstream::stderr(), "gatelog: {}", e.message);
            }
        });
    }
    once(args)
}

fn once(args: &Args) -> CommandResult {
    let options = Options {
        only: args.run.clone(),
        coverage: args.coverage || args.threshold.is_some(),
        why: matches!(args.format, Format::Pretty | Format::Json),
    };
    let report = testing::run_all(&args.paths, &options).map_err(|e| cannot_load(args, &e))?;
    if let Some(warning) = &report.warning {
        writeln!(anstream::stderr(), "warning: `serve` would refuse these policies: {warning}")?;
    }
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Pretty => report::pretty(&mut out, &report, args.verbose)?,
        Format::Json => report::json(&mut out, &report)?,
        Format::Junit => report::junit(&mut out, &report)?,
        Format::Tap => report::tap(&mut out, &report)?,
        Format::Github => report::github(&mut out, &report)?,
    }
    let mut exit = exit(&report, args.threshold);
    if exit == Exit::Failed && below(&report, args.threshold) {
        let percent = report.coverage.as_ref().map_or(0.0, testing::Coverage::percent);
        writeln!(
            anstream::stderr(),
            "gatelog: {percent:.1} % of the lines are covered, less than {} %",
            args.threshold.unwrap_or_default()
        )?;
    }
    if args.with_opa {
        let different = with_opa::compare(&args.opa, &args.paths, args.run.as_ref(), &report)?;
        exit = if different { Exit::Failed } else { exit };
        let mut inputs = with_opa::inputs::read(&args.input)?;
        for seq in &args.entry {
            inputs.push((format!("entry {seq}"), input_of(&args.place, *seq)?));
        }
        if !inputs.is_empty() && with_opa::inputs::compare(&args.opa, &args.paths, &inputs)? {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn cannot_load(args: &Args, e: &LoadError) -> Failure {
    let paths: Vec<String> = args.paths.iter().map(|p| p.display().to_string()).collect();
    Failure::usage(format!("the policies in {} cannot be used\n{e}", paths.join(", ")))
}

fn below(report: &Report, threshold: Option<f64>) -> bool {
    report.coverage.as_ref().zip(threshold).is_some_and(|(c, t)| c.percent() < t)
}

fn exit(report: &Report, threshold: Option<f64>) -> Exit {
    let (_, failed, _) = report.counts();
    if failed > 0 || below(report, threshold) { Exit::Failed } else { Exit::Ok }
}
