//! What gatelog and the simulated GitHub said to each other, held against GitHub's own schemas by `tests/foreign/schemas.cjs`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use gatelog::simulated_github::{Logged, Webhook};
use serde::Deserialize;
use serde_json::{Value, json};

use super::foreign::{Tool, foreign, root};

/// Names that stand in our source for other things than fields of GitHub's repositories, people and commits: addresses,
/// which are never followed, and numbers of no meaning here.
const NOT_READ: [&str; 4] = ["url", "html_url", "forks", "size"];

/// What was compared, by name.
#[derive(Deserialize)]
pub struct Checked {
    /// Queries that were sent.
    #[serde(default)]
    pub operations: BTreeSet<String>,
    /// Fields that were asked for and never there.
    #[serde(default)]
    pub empty: Vec<String>,
    /// `<event>` or `<event>.<action>`
    #[serde(default)]
    pub webhooks: BTreeSet<String>,
    wrong: Vec<String>,
}

/// Every query sent and its answer, every webhook. `None`: Node is not here, which was said.
///
/// # Panics
/// If one is not as GitHub's schemas say.
pub fn check(requests: &[Logged], hooks: &[Webhook]) -> Option<Checked> {
    let dir = foreign(Tool::Node)?;
    let queries: Vec<Value> = requests.iter().filter(|r| r.path.ends_with("/graphql")).map(pair).collect();
    let webhooks: Vec<Value> =
        hooks.iter().map(|h| json!({"event": h.event, "payload": h.payload})).collect();
    let files: serde_json::Map<String, Value> =
        documents().into_iter().map(|(name, text)| (name, text.into())).collect();
    let own = fs::read_to_string(root().join("src/simulated_github/graphql/schema.graphql")).unwrap();
    let read = read_names(&["src/event", "src/event.rs", "src/gate", "policies"]);
    let checked = ask(
        &dir,
        &json!({"files": files, "schema": own, "queries": queries, "webhooks": webhooks, "read": read}),
    );
    assert!(checked.wrong.is_empty(), "{}", checked.wrong.join("\n"));
    Some(checked)
}

fn ask(dir: &std::path::Path, question: &Value) -> Checked {
    let packages = dir.join("node_modules");
    let mut child = Command::new("node")
        .arg(root().join("tests/foreign/schemas.cjs"))
        .arg(&packages)
        .env("NODE_PATH", &packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "schemas.cjs ended with {}", out.status);
    serde_json::from_slice(&out.stdout).unwrap()
}

fn pair(request: &Logged) -> Value {
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let answer: Value = serde_json::from_slice(&request.answer).unwrap_or_default();
    json!({"query": sent["query"], "variables": sent["variables"], "data": answer["data"]})
}

/// The files of queries in our source, by name.
fn documents() -> Vec<(String, String)> {
    let all = fs::read_dir(root().join("src/github")).unwrap().map(|e| e.unwrap().path());
    let all = all.filter(|p| p.extension().is_some_and(|e| e == "graphql"));
    all.map(|p| (p.file_name().unwrap().display().to_string(), fs::read_to_string(&p).unwrap())).collect()
}

/// The names of all queries that stand in our source, in files and between quotes.
pub fn declared() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources(&["src/github"]) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().map(|l| l.trim_start().trim_start_matches('"')) {
            let name = line.strip_prefix("query ").unwrap_or_default();
            let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
            // A query is named with a capital; a sentence in a comment is not.
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                found.insert(name);
            }
        }
    }
    found
}

/// The names by which our source may read a field: those of fields of structs that are deserialised, and words between
/// quotes. More than are read, so what GitHub always sends under one of them is not left out by the simulated GitHub.
pub fn read_names(of: &[&str]) -> BTreeSet<String> {
    let plain = |w: &&str| {
        !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let mut found = BTreeSet::new();
    for path in sources(of) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        if path.extension().is_some_and(|e| e == "rego") {
            let words = code.lines().filter(|l| !l.trim_start().starts_with('#'));
            let words = words.flat_map(|l| l.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
            found.extend(words.filter(plain).map(str::to_owned));
            continue;
        }
        let mut deserialised = false;
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            if line.contains("#[derive(") {
                deserialised = line.contains("Deserialize");
            } else if line.starts_with('}') {
                deserialised = false;
            }
            // Pointers are quoted names too.
            let quoted = line.split('"').skip(1).step_by(2).flat_map(|q| q.split('/'));
            found.extend(quoted.filter(plain).map(str::to_owned));
            let field = line.trim_start().split_once(": ").map_or("", |(f, _)| f);
            let field = field.rsplit(' ').next().unwrap_or_default();
            found.extend(Some(field).filter(|_| deserialised).filter(plain).map(str::to_owned));
        }
    }
    found.retain(|name| !NOT_READ.contains(&name.as_str()));
    assert!(found.contains("id") && found.len() > 50, "the source is not read as it should be: {found:?}");
    found
}

fn sources(of: &[&str]) -> Vec<PathBuf> {
    let mut todo: Vec<PathBuf> = of.iter().map(|p| root().join(p)).collect();
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "rego" || e == "graphql")
            && path.file_name().is_some_and(|n| n != "tests.rs")
        {
            found.push(path);
        }
    }
    found
}
