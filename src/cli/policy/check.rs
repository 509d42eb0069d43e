//! `gatelog policy check`: what can be known before anything runs.

use std::{io::Write, path::PathBuf};

use anstyle::AnsiColor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{
    super::{CommandResult, Exit},
    coloured, load_failure,
    report::annotation,
    show,
};
use crate::policy::check::{self, Finding, Level, RULES};

#[derive(clap::Args)]
pub struct Args {
    /// Folders and files with policies, tests and data.
    #[arg(default_value = "policies", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to report: `github` are annotations of a workflow.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Warnings fail too.
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Pretty,
    Json,
    Sarif,
    Github,
}

pub fn run(args: &Args) -> CommandResult {
    let first = args.paths.first().cloned().unwrap_or_default();
    let findings = check::check(&args.paths).map_err(|e| load_failure(&first, &e))?;
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Pretty => pretty(&mut out, &findings)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &findings).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Format::Sarif => {
            serde_json::to_writer_pretty(&mut out, &sarif(&findings)).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Format::Github => findings.iter().try_for_each(|f| github(&mut out, f))?,
    }
    let bad = findings.iter().any(|f| args.strict || f.level == Level::Error);
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

fn pretty(out: &mut impl Write, findings: &[Finding]) -> std::io::Result<()> {
    for f in findings {
        let colour = if f.level == Level::Error { AnsiColor::Red } else { AnsiColor::Yellow };
        writeln!(out, "{}[{}] {}", coloured(colour, word(f.level)), f.rule, f.to_error())?;
        if let Some(why) = &f.why {
            writeln!(out, "  = {}", show(why))?;
        }
    }
    let errors = findings.iter().filter(|f| f.level == Level::Error).count();
    match (errors, findings.len() - errors) {
        (0, 0) => writeln!(out, "nothing found"),
        (errors, warnings) => {
            writeln!(out, "{}, {}", count(errors, "error"), count(warnings, "warning"))
        }
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn github(out: &mut impl Write, f: &Finding) -> std::io::Result<()> {
    let fix = f.fix.as_ref().map(|fix| format!("\n{fix}")).unwrap_or_default();
    let message = format!("{}{fix}", f.message);
    annotation(out, word(f.level), &f.path, f.line.max(1), f.column.max(1), f.rule, &message)
}

/// A path as a reference of RFC 3986: relative as it was given, or `file:`.
fn uri(path: &str) -> String {
    const PLAIN: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", utf8_percent_encode(path, PLAIN))
}

/// SARIF 2.1.0, as code scanning reads it.
fn sarif(findings: &[Finding]) -> serde_json::Value {
    let rules: Vec<_> =
        RULES.iter().map(|(id, about)| json!({"id": id, "shortDescription": {"text": about}})).collect();
    let results: Vec<_> = findings
        .iter()
        .map(|f| {
            let text = [Some(&f.message), f.why.as_ref(), f.fix.as_ref()];
            let text: Vec<&str> = text.into_iter().flatten().map(String::as_str).collect();
            json!({
                "ruleId": f.rule,
                "level": word(f.level),
                "message": {"text": text.join("\n")},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(&f.path)},
                    "region": {"startLine": f.line.max(1), "startColumn": f.column.max(1)},
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "gatelog policy check", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}
