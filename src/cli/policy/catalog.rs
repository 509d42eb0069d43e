//! `gatelog policy catalog`: what the controls say of themselves.

use std::{fmt::Write as _, io::Write, path::PathBuf};

use serde_json::{Value, json};

use super::{
    super::{CommandResult, Exit},
    load_failure,
};
use crate::{
    escape::markdown,
    policy::{Bundle, ControlMeta, Mode},
};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policies.
    #[arg(default_value = "policies")]
    path: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Md,
    Json,
    Csv,
}

pub fn run(args: &Args) -> CommandResult {
    let bundle = Bundle::load(&args.path).map_err(|e| load_failure(&args.path, &e))?;
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Md => out.write_all(markdown_table(bundle.controls()).as_bytes())?,
        Format::Json => {
            let all: Vec<Value> = bundle.controls().iter().map(control).collect();
            serde_json::to_writer_pretty(&mut out, &all).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Format::Csv => csv(&mut out, bundle.controls())?,
    }
    Ok(Exit::Ok)
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Evaluate => "evaluate",
    }
}

fn control(c: &ControlMeta) -> Value {
    json!({
        "id": c.id, "package": c.package, "title": c.title, "description": c.description, "severity": c.severity,
        "mode": mode(c.mode), "effective_on": c.effective_on, "owner": c.owner, "solution": c.solution,
        "frameworks": c.frameworks, "facts": c.facts,
    })
}

/// `soc2` → `CC8.1, CC6.1`
fn requirements(c: &ControlMeta, framework: &str) -> String {
    let listed = c.frameworks.as_ref().and_then(|f| f.get(framework)).and_then(Value::as_array);
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    listed.into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

const FRAMEWORKS: &[(&str, &str)] = &[
    ("soc2", "SOC 2"),
    ("iso27001", "ISO 27001"),
    ("pci", "PCI DSS"),
    ("nist", "NIST 800-53"),
    ("slsa", "SLSA source"),
];

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn markdown_table(controls: &[ControlMeta]) -> String {
    let cell = |s: &str| markdown(&one_line(s)).replace('|', "\\|");
    let mut out = String::from("| id | package | says |\n|---|---|---|\n");
    for c in controls {
        let says = c.description.as_deref().unwrap_or(&c.title);
        let _ = writeln!(out, "| `{}` | `{}` | {} |", c.id, c.package, cell(says));
    }
    out.push_str("\n| id |");
    FRAMEWORKS.iter().for_each(|(_, name)| out.push_str(&format!(" {name} |")));
    out.push_str("\n|---|");
    FRAMEWORKS.iter().for_each(|_| out.push_str("---|"));
    out.push('\n');
    for c in controls {
        let cells: Vec<String> = FRAMEWORKS.iter().map(|(key, _)| cell(&requirements(c, key))).collect();
        let _ = writeln!(out, "| `{}` | {} |", c.id, cells.join(" | "));
    }
    out
}

/// RFC 4180; a cell that a spreadsheet would take for a formula begins with an apostrophe.
fn csv(out: &mut impl Write, controls: &[ControlMeta]) -> std::io::Result<()> {
    let cell = |s: &str| {
        let s = one_line(s);
        let s = if s.starts_with(['=', '+', '-', '@']) { format!("'{s}") } else { s };
        if s.contains([',', '"']) { format!("\"{}\"", s.replace('"', "\"\"")) } else { s }
    };
    let names: Vec<&str> = FRAMEWORKS.iter().map(|(key, _)| *key).collect();
    write!(out, "id,package,title,severity,mode,owner,facts,{}\r\n", names.join(","))?;
    for c in controls {
        let facts: Vec<&str> = c.facts.iter().flatten().map(String::as_str).collect();
        let (severity, owner) = (c.severity.as_deref().unwrap_or(""), c.owner.as_deref().unwrap_or(""));
        let mut cells: Vec<String> =
            [&c.id, &c.package, &c.title, severity, mode(c.mode), owner, &facts.join(" ")]
                .iter()
                .map(|s| cell(s))
                .collect();
        cells.extend(names.iter().map(|n| cell(&requirements(c, n))));
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}
