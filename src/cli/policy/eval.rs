//! `gatelog policy eval`: one input, one verdict.

use std::{
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use super::{
    super::{CommandResult, Exit, Failure},
    colour, coloured, load_failure, outcome_word, show,
};
use crate::{
    policy::{Bundle, Input},
    verdict::{Control, Decision, Finding, FindingKind, Verdict},
};

#[derive(clap::Args)]
pub struct Args {
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

pub fn run(args: &Args) -> CommandResult {
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
