//! `gatelog policy new`: a control with parameters, a test and a fixture, which pass.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use super::super::{CommandResult, Exit, Failure};

#[derive(clap::Args)]
pub struct Args {
    /// Of the control: lower-case letters, digits and `_`.
    name: String,
    /// Folder of the policies (`gatelog init` writes one).
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
}

const CONTROL: &str = include_str!("new/control.rego");
const TEST: &str = include_str!("new/control_test.rego");

pub fn run(args: &Args) -> CommandResult {
    let name = args.name.as_str();
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !first || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(Failure::usage(format!(
            "`{}` is no name for a control: write lower-case letters, digits and `_`, such as ticket_in_title",
            super::show(name)
        )));
    }
    let dir = &args.policies;
    if !dir.join("lib/params.rego").is_file() {
        return Err(Failure::usage(format!(
            "{} has no lib/params.rego; `gatelog init` writes a folder of policies to begin with",
            dir.display()
        )));
    }
    let folder = dir.join("controls").join(name);
    if folder.exists() {
        return Err(Failure::usage(format!("{} is there already", folder.display())));
    }
    let data = dir.join("data.yaml");
    let with_section = with_section(&data, name)?;
    let fill = |text: &str| text.replace("NAME", name).replace("TITLE", &title(name));
    let failed = |path: &Path, e: std::io::Error| {
        Failure::could_not_run(format!("{} cannot be written: {e}", path.display()))
    };
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    let files = [
        (folder.join(format!("{name}.rego")), fill(CONTROL)),
        (folder.join(format!("{name}_test.rego")), fill(TEST)),
        (data, with_section),
    ];
    let mut out = anstream::stdout().lock();
    for (path, text) in files {
        std::fs::write(&path, text).map_err(|e| failed(&path, e))?;
        writeln!(out, "wrote {}", path.display())?;
    }
    writeln!(out, "now: gatelog policy test {} --run {name} --watch", dir.display())?;
    Ok(Exit::Ok)
}

/// `ticket_in_title` → `Ticket in title`
fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// The data file with defaults for the control, put first, so that comments stay where they are.
fn with_section(data: &Path, name: &str) -> Result<String, Failure> {
    let section = format!(
        "    {name}:\n      # Labels with which nothing is merged.\n      labels: [\"do not merge\"]\n\n"
    );
    let text = match std::fs::read_to_string(data) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!("params:\n  defaults:\n{section}  repositories: {{}}\n"));
        }
        Err(e) => return Err(Failure::could_not_run(format!("{} cannot be read: {e}", data.display()))),
    };
    let line = "  defaults:\n";
    match text.find(&format!("\n{line}")) {
        Some(at) => {
            let (before, after) = text.split_at(at + 1 + line.len());
            Ok(format!("{before}{section}{after}"))
        }
        None => Err(Failure::usage(format!("{} has no line `  defaults:` below `params:`", data.display()))),
    }
}
