//! `gatelog policy`: test, eval.

use std::{
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};

use super::{CommandResult, Exit, Failure};
use crate::{
    policy::{
        Bundle, Input,
        testing::{self, Outcome, Report, Test},
    },
    verdict::{Control, Decision, Finding, FindingKind, Outcome as ControlOutcome, Verdict},
};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the unit tests in Rego: rules `test_…`, as `opa test` does.
    Test(TestArgs),
    /// Judge one input and print the verdict.
    Eval(EvalArgs),
}

#[derive(clap::Args)]
pub struct TestArgs {
    /// Folder of the policies.
    #[arg(default_value = "policies")]
    path: PathBuf,
    /// Only tests whose full name (`data.…`) matches.
    #[arg(long, value_name = "REGEX")]
    run: Option<regex::Regex>,
    /// Name every test, and show what `print` says.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(clap::Args)]
pub struct EvalArgs {
    /// The input document as JSON (`gatelog log show --input` prints one); `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Folder of the policies.
    #[arg(default_value = "policies")]
    path: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Pretty,
    Json,
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Test(args) => test(&args),
        Command::Eval(args) => eval(&args),
    }
}

fn test(args: &TestArgs) -> CommandResult {
    let report = testing::run(&args.path, args.run.as_ref()).map_err(|e| load_failure(&args.path, &e))?;
    if let Some(warning) = &report.warning {
        writeln!(anstream::stderr(), "warning: `serve` would refuse these policies: {warning}")?;
    }
    let mut out = anstream::stdout().lock();
    write_report(&mut out, &report, args.verbose)?;
    let (_, failed, _) = report.counts();
    Ok(if failed > 0 { Exit::Failed } else { Exit::Ok })
}

fn load_failure(path: &Path, e: &crate::policy::LoadError) -> Failure {
    Failure::usage(format!("the policies in {} cannot be used\n{e}", path.display()))
}

fn write_report(out: &mut impl Write, report: &Report, verbose: bool) -> std::io::Result<()> {
    let shown = |t: &&Test| verbose || t.outcome != Outcome::Pass;
    let mut any = false;
    for test in report.tests.iter().filter(shown) {
        any = true;
        write_test(out, test, verbose)?;
    }
    let (passed, failed, skipped) = report.counts();
    let all = report.tests.len();
    if any {
        writeln!(out, "{}", "-".repeat(80))?;
    }
    writeln!(out, "{}", coloured(AnsiColor::Green, &format!("PASS: {passed}/{all}")))?;
    if failed > 0 {
        writeln!(out, "{}", coloured(AnsiColor::Red, &format!("FAIL: {failed}/{all}")))?;
    }
    if skipped > 0 {
        writeln!(out, "SKIPPED: {skipped}/{all}")?;
    }
    Ok(())
}

fn write_test(out: &mut impl Write, test: &Test, verbose: bool) -> std::io::Result<()> {
    let took = format!("({:.3} ms)", test.took.as_secs_f64() * 1000.0);
    let (name, place) = (show(&test.name), format!("{}:{}", show(&test.path), test.line));
    match &test.outcome {
        Outcome::Pass => writeln!(out, "{place}:\n{name}: {} {took}", coloured(AnsiColor::Green, "PASS"))?,
        Outcome::Skipped => writeln!(out, "{place}:\n{name}: SKIPPED")?,
        Outcome::Fail => writeln!(out, "{place}:\n{name}: {} {took}", coloured(AnsiColor::Red, "FAIL"))?,
        Outcome::Error(_) => writeln!(out, "{place}:\n{name}: {} {took}", coloured(AnsiColor::Red, "ERROR"))?,
    }
    if matches!(test.outcome, Outcome::Fail | Outcome::Error(_)) {
        writeln!(out, "  {} | {}", test.line, show(&test.source))?;
    }
    if let Outcome::Error(why) = &test.outcome {
        writeln!(out, "  {}", show(why))?;
    }
    if verbose || test.outcome != Outcome::Pass {
        for line in &test.prints {
            writeln!(out, "  {}", show(line))?;
        }
    }
    Ok(())
}

fn eval(args: &EvalArgs) -> CommandResult {
    let bundle = Bundle::load(&args.path).map_err(|e| load_failure(&args.path, &e))?;
    let bytes = read_input(&args.input)?;
    let input = Input::parse(&bytes).map_err(|e| Failure::usage(format!("{}: {e}", args.input.display())))?;
    let verdict = bundle.judge(&input);
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Json => {
            out.write_all(&verdict.to_bytes())?;
            out.write_all(b"\n")?;
        }
        Format::Pretty => write_verdict(&mut out, &verdict)?,
    }
    Ok(if verdict.decision == Decision::Allow { Exit::Ok } else { Exit::Failed })
}

fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(e) => Err(Failure::could_not_run(format!("{} cannot be read: {e}", path.display()))),
    }
}

fn write_verdict(out: &mut impl Write, verdict: &Verdict) -> std::io::Result<()> {
    let decision = coloured(colour(verdict.decision), verdict.decision.as_str());
    writeln!(out, "{decision}  {}\n", show(&verdict.reason))?;
    let width = verdict.controls.iter().map(|c| c.id.chars().count()).max().unwrap_or(0);
    for control in &verdict.controls {
        write_control(out, control, width)?;
    }
    writeln!(out)?;
    if let Some(until) = verdict.valid_until {
        writeln!(out, "valid until {until}")?;
    }
    writeln!(out, "bundle {}", verdict.bundle)?;
    writeln!(out, "engine {}, rewriter {}", verdict.engine, verdict.rewriter)
}

fn write_control(out: &mut impl Write, control: &Control, width: usize) -> std::io::Result<()> {
    let outcome = format!("{:<7}", outcome_word(control.outcome));
    let outcome = coloured(colour(control.outcome.decision()), &outcome);
    let only = if control.evaluate_only { " (evaluated only: does not block)" } else { "" };
    writeln!(out, "{:<width$}  {outcome}  {}{only}", show(&control.id), show(&control.title))?;
    if let Some(reason) = &control.skip_reason {
        writeln!(out, "{:width$}           {}", "", show(reason))?;
    }
    for finding in &control.findings {
        write_finding(out, finding, width)?;
    }
    Ok(())
}

fn write_finding(out: &mut impl Write, f: &Finding, width: usize) -> std::io::Result<()> {
    let kind = match f.kind {
        FindingKind::Deny => "deny",
        FindingKind::Error => "error",
        FindingKind::Pending => "pending",
        FindingKind::Warn => "warn",
    };
    writeln!(out, "{:width$}    {kind}: {}", "", show(&f.msg))?;
    let line = f.line.map(|l| l.to_string());
    let details =
        [("path", &f.path), ("line", &line), ("commit", &f.commit), ("who", &f.who), ("fix", &f.fix)];
    for (name, value) in details {
        if let Some(value) = value {
            writeln!(out, "{:width$}      {name}: {}", "", show(value))?;
        }
    }
    Ok(())
}

fn outcome_word(outcome: ControlOutcome) -> &'static str {
    match outcome {
        ControlOutcome::Pass => "pass",
        ControlOutcome::Deny => "deny",
        ControlOutcome::Warn => "warn",
        ControlOutcome::Pending => "pending",
        ControlOutcome::Skip => "skip",
        ControlOutcome::Waived => "waived",
        ControlOutcome::Error => "error",
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
