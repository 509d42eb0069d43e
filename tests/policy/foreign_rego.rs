//! Rego that others wrote: OPA's conformance cases, trivy's checks, the examples of conftest, and OPA's own
//! policies. The same answer as OPA, or refused; counted.
//!
//! A plain run takes a sample; `GATELOG_EFFORT=long` all, and then the table in `docs/rego-support.md` must
//! be the one that came out. `.ci/foreign-rego` writes it there.

mod conformance;
mod suites;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::common::{
    foreign::{Tool, foreign, root},
    long,
};

/// Of how many a plain run takes one.
const SAMPLE: usize = 8;
/// Kinds of refusals that are listed.
const REASONS: usize = 12;

/// What came of one case or test, beside OPA's answer.
#[derive(Debug)]
pub enum Said {
    Same,
    /// OPA has an error there too.
    SameError,
    /// Not loaded, and why.
    Refused(String),
    /// Loaded, and an error where OPA has an answer: the control blocks.
    Stopped(String),
    /// Another answer.
    Otherwise(String),
}

/// One row of the table.
#[derive(Default)]
struct Tally {
    same: usize,
    same_error: usize,
    refused: usize,
    stopped: usize,
    otherwise: Vec<String>,
    reasons: BTreeMap<String, usize>,
}

impl Tally {
    fn of(said: impl IntoIterator<Item = (String, Said)>) -> Self {
        let mut out = Self::default();
        for (name, said) in said {
            match said {
                Said::Same => out.same += 1,
                Said::SameError => out.same_error += 1,
                Said::Refused(why) => {
                    out.refused += 1;
                    *out.reasons.entry(kind(&why)).or_default() += 1;
                }
                Said::Stopped(why) => {
                    out.stopped += 1;
                    *out.reasons.entry(format!("when evaluated: {}", kind(&why))).or_default() += 1;
                }
                Said::Otherwise(what) => out.otherwise.push(format!("{name}: {what}")),
            }
        }
        out
    }

    fn count(&self) -> usize {
        self.same + self.same_error + self.refused + self.stopped + self.otherwise.len()
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            self.count(),
            self.same,
            self.same_error,
            self.refused,
            self.stopped,
            self.otherwise.len()
        )
    }
}

/// A reason without the place and the names in it.
fn kind(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let message =
        line.rsplit_once(".rego:").map_or(line, |(_, rest)| rest.split_once(": ").map_or(rest, |r| r.1));
    let file = |word: &str| if word.contains(".rego") { "…".to_owned() } else { word.to_owned() };
    let message = message.split(' ').map(file).collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    for (i, part) in message.split('`').enumerate() {
        // Names of built-in functions say something, others do not.
        let keep = i % 2 == 0 || message.contains("there is no function") || message.contains("not allowed");
        let family = |p: &str| p.rsplit_once('.').map_or(p.to_owned(), |(family, _)| format!("{family}.*"));
        out.push_str(if i % 2 == 1 { "`" } else { "" });
        out.push_str(&if i % 2 == 0 {
            part.to_owned()
        } else if keep {
            family(part)
        } else {
            "…".to_owned()
        });
        out.push_str(if i % 2 == 1 { "`" } else { "" });
    }
    out
}

/// Works through things on all cores, in their order.
pub fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let result = work(item);
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Every [`SAMPLE`]th, or all in a long run.
pub fn sample<T>(items: Vec<T>) -> Vec<T> {
    let step = if long() { 1 } else { SAMPLE };
    items.into_iter().step_by(step).collect()
}

#[test]
fn what_others_wrote_gets_opas_answers() {
    let (Some(cache), Some(opa)) = (foreign(Tool::Rego), foreign(Tool::Opa)) else { return };
    let mut rows = Vec::new();
    for (name, said) in [conformance::run(&cache)].into_iter().chain(suites::run(&cache, &opa)) {
        let tally = Tally::of(said);
        println!("{}", tally.row(&name));
        rows.push((name, tally));
    }
    let wrong: Vec<&String> = rows.iter().flat_map(|(_, tally)| &tally.otherwise).collect();
    let shown: Vec<&str> = wrong.iter().take(many()).map(|w| w.as_str()).collect();
    let table = table(&rows);
    if let Some(file) = std::env::var_os("GATELOG_FOREIGN_TABLE") {
        fs::write(file, &table).unwrap();
    } else if long() {
        let page = fs::read_to_string(root().join("docs/rego-support.md")).unwrap();
        assert!(page.contains(&table), "docs/rego-support.md is not current: run .ci/foreign-rego\n{table}");
    }
    assert!(wrong.is_empty(), "{} answered otherwise than OPA:\n{}", wrong.len(), shown.join("\n\n"));
    for (name, tally) in &rows {
        assert!(tally.same * 3 >= tally.count(), "{name}: hardly any answers\n{table}");
    }
}

fn many() -> usize {
    std::env::var("GATELOG_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

fn table(rows: &[(String, Tally)]) -> String {
    let mut out = String::from(
        "| from | asked | the same answer | an error in both | refused at load | error when evaluated | another answer |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, tally) in rows {
        out.push_str(&tally.row(name));
        out.push('\n');
        for (reason, n) in &tally.reasons {
            *reasons.entry(reason).or_default() += n;
        }
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, n)| (std::cmp::Reverse(*n), *reason));
    out.push_str("\nWhy not answered, most frequent first:\n\n| times | reason |\n|---|---|\n");
    for (reason, n) in reasons.iter().take(REASONS) {
        out.push_str(&format!("| {n} | {} |\n", reason.replace('|', "\\|")));
    }
    let others: usize = reasons.iter().skip(REASONS).map(|(_, n)| n).sum();
    if others > 0 {
        out.push_str(&format!("| {others} | {} other reasons |\n", reasons.len() - REASONS));
    }
    out
}

/// Files below a folder whose name ends so, in order; hidden ones are not.
pub fn files_below(dir: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                _ if name.starts_with('.') => {}
                true => folders.push(path),
                false if ends.iter().any(|e| name.ends_with(e)) => out.push(path),
                false => {}
            }
        }
    }
    out.sort();
    out
}

/// conftest's example of exceptions as a control, on the documents beside it: what conftest excepts is allowed
/// and shown, the rest is denied. Its two files become one, with the package of a control.
#[test]
fn the_exceptions_of_conftests_example_hold() {
    let Some(cache) = foreign(Tool::Rego) else { return };
    let (conftest, _) = crate::common::foreign::module(&cache, "github.com/open-policy-agent/conftest");
    let example = conftest.join("examples/exceptions");
    let mut control = "package controls.moved_in\n".to_owned();
    for file in files_below(&example.join("policy"), &[".rego"]) {
        let text = fs::read_to_string(file).unwrap();
        let rules = text.lines().filter(|l| !l.starts_with("package ") && !l.starts_with("import "));
        control.extend(rules.flat_map(|l| [l, "\n"]));
    }
    let dir = crate::opa_support::folder(&BTreeMap::from([("c.rego".to_owned(), control)]));
    let bundle = gatelog::policy::Bundle::load(dir.path()).unwrap();
    let documents = fs::read_to_string(example.join("deployments.yaml")).unwrap();
    let mut said = BTreeMap::new();
    for text in documents.split("---\n").filter(|t| !t.trim().is_empty()) {
        let mut document: serde_json::Value = yaml_serde::from_str(text).unwrap();
        let name = document["metadata"]["name"].as_str().unwrap().to_owned();
        document["about"] = "pull_request".into();
        document["time"] = "2026-11-24T15:04:05.000000Z".into();
        document["event"] = serde_json::json!({"name": "pull_request", "action": "opened", "payload": {}});
        document["facts"] =
            serde_json::json!({"complete": true, "missing": [], "fetched_at": document["time"]});
        let verdict = bundle.judge(&gatelog::policy::Input::from_json(document).unwrap());
        let findings = verdict.controls[0].findings.iter().map(|f| (f.kind, f.msg.clone()));
        said.insert(name, (verdict.decision, findings.collect::<Vec<_>>()));
    }
    insta::assert_debug_snapshot!(said);
}
