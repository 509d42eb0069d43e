//! `--with-opa`: the same tests by an installed `opa`, and every difference.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{super::Failure, show};
use crate::policy::testing::{Outcome, Report};

pub mod inputs;

/// Whether anything differs.
///
/// # Errors
/// `opa` cannot be started, or refuses the files.
pub fn compare(
    opa: &Path,
    paths: &[PathBuf],
    only: Option<&regex::Regex>,
    ours: &Report,
) -> Result<bool, Failure> {
    let theirs = ask(opa, paths, only)?;
    let ours: BTreeMap<String, &'static str> =
        ours.tests.iter().map(|t| (t.name.clone(), word(&t.outcome))).collect();
    let mut out = anstream::stdout().lock();
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut different = 0;
    for name in &names {
        let (a, b) = (ours.get(*name).copied(), theirs.get(*name).copied());
        // An error of ours and a failure there are the same to whoever reads "passed or not".
        let same = |w: Option<&str>| w.map(|w| if w == "error" { "fail" } else { w }.to_owned());
        if same(a) != same(b) {
            different += 1;
            let said = |w: Option<&'static str>| w.unwrap_or("no such test");
            writeln!(out, "{}: {} here, {} by opa", show(name), said(a), said(b))?;
        }
    }
    match different {
        0 => writeln!(out, "opa: the same result for each of {} tests", names.len())?,
        n => writeln!(out, "opa: another result for {n} of {} tests", names.len())?,
    }
    Ok(different > 0)
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Error(_) => "error",
        Outcome::Skipped => "skipped",
    }
}

fn ask(
    opa: &Path,
    paths: &[PathBuf],
    only: Option<&regex::Regex>,
) -> Result<BTreeMap<String, &'static str>, Failure> {
    let mut command = Command::new(opa);
    command.args(["test", "--format", "json"]);
    if let Some(only) = only {
        command.args(["--run", only.as_str()]);
    }
    let out = command.args(paths).output().map_err(|e| {
        Failure::could_not_run(format!(
            "{} cannot be started: {e}\ninstall it, or name it with --opa",
            opa.display()
        ))
    })?;
    let refused = || {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Failure::could_not_run(format!("opa did not run the tests\n{}", show(said.trim())))
    };
    // No tests at all are no output.
    if out.stdout.iter().all(u8::is_ascii_whitespace) && out.status.success() {
        return Ok(BTreeMap::new());
    }
    let said: Vec<Value> = serde_json::from_slice(&out.stdout).map_err(|_| refused())?;
    let one = |t: &Value| {
        let name = format!("{}.{}", t["package"].as_str()?, t["name"].as_str()?);
        let is = |key: &str| t.get(key).is_some_and(|v| *v != Value::Bool(false) && !v.is_null());
        let word = match () {
            () if is("skip") => "skipped",
            () if is("error") => "error",
            () if is("fail") => "fail",
            () => "pass",
        };
        Some((name, word))
    };
    Ok(said.iter().filter_map(one).collect())
}
