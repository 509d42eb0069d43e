//! `--with-opa --input …`: what the controls say about recorded inputs, here and by `opa eval`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::super::{super::Failure, load_failure, show};
use crate::{
    policy::testing::{self, Answer, Asked},
    time::Time,
};

/// Inputs that one process of `opa` is asked about.
const AT_ONCE: usize = 200;
/// Characters of a value that are shown.
const MAX_SHOWN: usize = 300;

/// The JSON files that are named, and those in the folders that are: name → document.
///
/// # Errors
/// What cannot be read, is no JSON, or is no object.
pub fn read(paths: &[PathBuf]) -> Result<Vec<(String, Value)>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let cannot =
            |e: std::io::Error| Failure::could_not_run(format!("{} cannot be read: {e}", path.display()));
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(cannot)? {
            let file = entry.map_err(cannot)?.path();
            found.extend(file.extension().is_some_and(|e| e == "json").then_some(file));
        }
        if found.is_empty() {
            return Err(Failure::usage(format!("{} holds no inputs (*.json)", path.display())));
        }
        found.sort();
        files.append(&mut found);
    }
    files.iter().map(|file| Ok((file.display().to_string(), document(file)?))).collect()
}

fn document(file: &Path) -> Result<Value, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|e| Failure::could_not_run(format!("{} cannot be read: {e}", file.display())))?;
    match serde_json::from_slice(&bytes) {
        Ok(document @ Value::Object(_)) => Ok(document),
        Ok(_) => Err(Failure::usage(format!("{} is not an object", file.display()))),
        Err(e) => Err(Failure::usage(format!("{} is not JSON: {e}", file.display()))),
    }
}

/// Whether anything differs.
///
/// # Errors
/// Policies that do not load; an `opa` that cannot be started.
pub fn compare(opa: &Path, paths: &[PathBuf], inputs: &[(String, Value)]) -> Result<bool, Failure> {
    let documents: Vec<Value> = inputs.iter().map(|(_, document)| document.clone()).collect();
    let first = paths.first().map_or(Path::new("policies"), PathBuf::as_path);
    let ours = testing::evaluate_controls(paths, &documents).map_err(|e| load_failure(first, &e))?;
    let mut out = anstream::stdout().lock();
    let mut different = 0;
    let mut theirs = Vec::new();
    for chunk in documents.chunks(AT_ONCE) {
        theirs.append(&mut ask(opa, paths, chunk, &ours)?);
    }
    for (i, ((name, _), theirs)) in inputs.iter().zip(&theirs).enumerate() {
        for Answer { rule, values } in &ours {
            let Some(here) = values.get(i) else { continue };
            let there = theirs.as_ref().map(|t| t[rule].get(0).cloned());
            if !same(here, there.as_ref()) {
                different += 1;
                writeln!(
                    out,
                    "{}: {rule}\n  here    {}\n  by opa  {}",
                    show(name),
                    said(here),
                    heard(there)
                )?;
            }
        }
    }
    let asked = inputs.len() * ours.len();
    match different {
        0 => {
            writeln!(out, "opa: the same answer to each of {asked} questions about {} inputs", inputs.len())?
        }
        n => writeln!(out, "opa: another answer to {n} of {asked} questions about {} inputs", inputs.len())?,
    }
    Ok(different > 0)
}

fn said(here: &Asked) -> String {
    match here {
        Ok(Some(value)) => {
            value.json().map_or_else(|e| format!("no JSON: {e}"), |json| cut(&json.to_string()))
        }
        Ok(None) => "undefined".to_owned(),
        Err(why) => format!("an error: {}", cut(why)),
    }
}

fn heard(there: Option<Option<Value>>) -> String {
    match there {
        None => "an error".to_owned(),
        Some(None) => "undefined".to_owned(),
        Some(Some(value)) => cut(&value.to_string()),
    }
}

fn cut(text: &str) -> String {
    let end = text.char_indices().nth(MAX_SHOWN).map_or(text.len(), |(at, _)| at);
    let more = if end < text.len() { "…" } else { "" };
    show(&text[..end]) + more
}

/// Per input: rule → its value in an array, which is empty where it is undefined. `None`: OPA fails.
fn ask(
    opa: &Path,
    paths: &[PathBuf],
    inputs: &[Value],
    rules: &[Answer],
) -> Result<Vec<Option<Value>>, Failure> {
    let fields: Vec<String> = rules.iter().map(|a| format!("\"{0}\": [x | x := {0}]", a.rule)).collect();
    // Names first: `with input as i.input` does not replace it where `i` is a part of `input` (OPA 1.22).
    let query = format!(
        "[r | some i in input; given := i.input; now := i.now; r := {{{}}} with input as given with time.now_ns as now]",
        fields.join(", ")
    );
    let now = |input: &Value| {
        let time: Option<Time> = input["time"].as_str().and_then(|t| t.parse().ok());
        time.unwrap_or_else(Time::now).unix_nanos()
    };
    let asked: Vec<Value> = inputs.iter().map(|i| json!({"input": i, "now": now(i)})).collect();
    if let Some(all) = eval(opa, paths, &query, &Value::from(asked.clone()))?
        && all.len() == inputs.len()
    {
        return Ok(all.into_iter().map(Some).collect());
    }
    // It fails on one of them: each alone.
    let alone = |one: &Value| {
        let answer = eval(opa, paths, &query, &json!([one]))?;
        Ok(answer.and_then(|all| all.into_iter().next()))
    };
    asked.iter().map(alone).collect()
}

fn eval(opa: &Path, paths: &[PathBuf], query: &str, input: &Value) -> Result<Option<Vec<Value>>, Failure> {
    let cannot = |e: std::io::Error| {
        Failure::could_not_run(format!(
            "{} cannot be started: {e}\ninstall it, or name it with --opa",
            opa.display()
        ))
    };
    let mut command = Command::new(opa);
    command.args(["eval", "--format", "json", "--stdin-input", "--ignore", "*_test.rego"]);
    for path in paths {
        command.arg("--data").arg(path);
    }
    let mut child = command
        .arg(query)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    // It reads all of its input before it answers.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.to_string().as_bytes()));
    let answer = child.wait_with_output().map_err(cannot)?;
    if written.is_err() {
        return Ok(None);
    }
    let said: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
    Ok(said.pointer("/result/0/expressions/0/value").and_then(Value::as_array).cloned())
}

fn same(here: &Asked, there: Option<&Option<Value>>) -> bool {
    match (here, there) {
        (Err(_), None) | (Ok(None), Some(None)) => true,
        (Ok(Some(a)), Some(Some(b))) => a.is(b),
        _ => false,
    }
}
