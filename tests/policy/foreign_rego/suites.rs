//! Policies with their tests: each test by `opa test` and by ours, with the files that it can reach; and
//! policies without tests on the documents that lie beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use gatelog::policy::testing::{self, Outcome, Test, evaluate};
use regex::Regex;
use serde_json::{Value, json};

use super::{Said, files_below, parallel, sample};
use crate::{
    common::foreign::module,
    opa_support::{ask_opa, cut, drop_refused, equal, folder},
};

type Files = BTreeMap<String, String>;
type Rows = Vec<(String, Vec<(String, Said)>)>;

/// What trivy adds to OPA, as rules: both sides get the same.
const TRIVYS_OWN: &str = r#"package gl_trivy

result_new(msg, cause) := {"msg": msg, "cause": cause}

result_location(a) := a

is_public(x) if not startswith(x, "10.")

count_addresses(x) := count(x)

scan_string(x) := {"transgressionFound": contains(x, "AKIA")}

parse_commands(x) := [split(c, " ") | some c in split(x, "&&")]
"#;

pub fn run(cache: &Path, opa: &Path) -> Rows {
    let (trivy, trivy_name) = module(cache, "github.com/aquasecurity/trivy-checks");
    let (conftest, conftest_name) = module(cache, "github.com/open-policy-agent/conftest");
    let (own, own_name) = module(cache, "github.com/open-policy-agent/opa");
    let mut checks = rego(&trivy, &["checks", "lib"]);
    for text in checks.values_mut() {
        for (theirs, ours) in [
            ("result.new(", "data.gl_trivy.result_new("),
            ("result.location(", "data.gl_trivy.result_location("),
            ("cidr.is_public(", "data.gl_trivy.is_public("),
            ("cidr.count_addresses(", "data.gl_trivy.count_addresses("),
            ("squealer.scan_string(", "data.gl_trivy.scan_string("),
            ("sh.parse_commands(", "data.gl_trivy.parse_commands("),
        ] {
            *text = text.replace(theirs, ours);
        }
    }
    checks.insert("gl_trivy.rego".to_owned(), TRIVYS_OWN.to_owned());
    let examples = ["examples", "tests"].iter().flat_map(|d| subfolders(&conftest.join(d)));
    let examples = sample(examples.collect::<Vec<_>>());
    let with_tests = ["build/policy/files", "build/policy/pr-check"].map(|d| own.join(d));
    vec![
        (format!("tests of {trivy_name}"), tests(opa, &sampled(checks))),
        (
            format!("tests of {conftest_name}"),
            examples.iter().flat_map(|d| tests(opa, &rego(d, &["."]))).collect(),
        ),
        (
            format!("examples of {conftest_name} on the documents beside them"),
            parallel(&examples, |d| documents(opa, d)).into_iter().flatten().collect(),
        ),
        (
            format!("tests of the own policies of {own_name}"),
            with_tests.iter().flat_map(|d| tests(opa, &rego(d, &["."]))).collect(),
        ),
    ]
}

fn subfolders(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    out.sort();
    out
}

fn rego(dir: &Path, below: &[&str]) -> Files {
    let files = below.iter().flat_map(|b| files_below(&dir.join(b), &[".rego"]));
    files
        .map(|f| {
            (f.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), fs::read_to_string(&f).unwrap())
        })
        .map(|(path, text)| (path.trim_start_matches("./").to_owned(), text))
        .collect()
}

fn package(text: &str) -> &str {
    text.lines().find_map(|l| l.strip_prefix("package ")).unwrap_or_default().trim()
}

fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}

/// A part of the tests, and what they reach.
fn sampled(files: Files) -> Files {
    let reach = Reach::new(&files);
    let kept = sample(files.keys().filter(|p| is_test(p)).cloned().collect::<Vec<_>>());
    let kept: BTreeSet<String> = kept.iter().flat_map(|test| reach.from(test)).collect();
    files.into_iter().filter(|(path, _)| kept.contains(path)).collect()
}

/// Which files a file can reach through `data.…`.
struct Reach {
    packages: BTreeMap<String, String>,
    uses: BTreeMap<String, Vec<String>>,
}

impl Reach {
    fn new(files: &Files) -> Self {
        static REFERENCE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"\bdata(\.\w+|\["[^"]+"\])+"#).unwrap());
        // `policy["pr-check"]` is `policy.pr-check`.
        let plain = |path: &str| path.replace("[\"", ".").replace("\"]", "");
        let package = |text: &str| plain(package(text));
        let uses = |text: &str| -> Vec<String> {
            let own = package(text);
            let used = REFERENCE.find_iter(text).map(|m| plain(&m.as_str()["data".len()..]));
            used.map(|u| u[1..].to_owned()).chain([own]).collect()
        };
        Self {
            packages: files.iter().map(|(path, text)| (path.clone(), package(text))).collect(),
            uses: files.iter().map(|(path, text)| (path.clone(), uses(text))).collect(),
        }
    }

    fn from(&self, start: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([start.to_owned()]);
        let mut todo = vec![start.to_owned()];
        while let Some(path) = todo.pop() {
            for (other, package) in &self.packages {
                // Other tests are reached by nobody.
                let within = |used: &String| {
                    used == package
                        || used.starts_with(&format!("{package}."))
                        || package.starts_with(&format!("{used}."))
                };
                if !is_test(other) && self.uses[&path].iter().any(within) && seen.insert(other.clone()) {
                    todo.push(other.clone());
                }
            }
        }
        seen
    }
}

/// Each test, by the place where it begins: its name may be there twice.
type Outcomes = BTreeMap<(String, u64), (String, bool)>;

fn tests(opa: &Path, files: &Files) -> Vec<(String, Said)> {
    let mut files = files.clone();
    drop_refused(opa, &mut files);
    if !files.keys().any(|p| is_test(p)) {
        return vec![];
    }
    let theirs = opa_test(opa, &files);
    let reach = Reach::new(&files);
    let paths: Vec<&String> = files.keys().filter(|p| is_test(p)).collect();
    let one = |path: &&String| {
        let reached = reach.from(path);
        let files: Files = reached.iter().filter_map(|p| Some((p.clone(), files.get(p)?.clone()))).collect();
        let dir = folder(&files);
        let ours = testing::run(dir.path(), None).map(|r| r.tests);
        let theirs = theirs.range((path.to_string(), 0)..=(path.to_string(), u64::MAX));
        theirs.map(|(at, theirs)| (theirs.0.clone(), compared(at, theirs.1, &ours))).collect::<Vec<_>>()
    };
    parallel(&paths, one).into_iter().flatten().collect()
}

fn compared(at: &(String, u64), passed: bool, ours: &Result<Vec<Test>, gatelog::policy::LoadError>) -> Said {
    let ours = match ours {
        Ok(tests) => tests.iter().find(|t| t.path == at.0 && u64::from(t.line) == at.1),
        Err(e) => return Said::Refused(e.to_string()),
    };
    match (ours.map(|t| &t.outcome), passed) {
        (Some(Outcome::Pass), true) | (Some(Outcome::Fail), false) => Said::Same,
        (Some(Outcome::Error(_)), false) => Said::SameError,
        (Some(Outcome::Error(why)), true) => Said::Stopped(why.clone()),
        (ours, _) => Said::Otherwise(format!("{at:?}: passed by OPA: {passed}; ours {ours:?}")),
    }
}

fn opa_test(opa: &Path, files: &Files) -> Outcomes {
    let dir = folder(files);
    let out = Command::new(opa).args(["test", "--format", "json"]).arg(dir.path()).output().unwrap();
    let said: Vec<Value> = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", cut(&String::from_utf8_lossy(&out.stderr))));
    let one = |t: &Value| {
        let file = Path::new(t["location"]["file"].as_str()?).strip_prefix(dir.path()).ok()?.to_str()?;
        let passed = ["fail", "error", "skip"].iter().all(|k| t.get(k).is_none());
        let name = format!("{}.{}", t["package"].as_str()?, t["name"].as_str()?);
        Some(((file.to_owned(), t["location"]["row"].as_u64()?), (name, passed)))
    };
    let found: Outcomes = said.iter().filter(|t| t.get("skip").is_none()).filter_map(one).collect();
    assert!(!found.is_empty() || said.is_empty(), "{}", cut(&String::from_utf8_lossy(&out.stdout)));
    found
}

/// What the rules say about the documents of an example's folder, and about nothing.
fn documents(opa: &Path, dir: &Path) -> Vec<(String, Said)> {
    static RULE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?m)^((?:deny|violation|warn|exception|allow)\w*)\b[^(\n]").unwrap());
    let mut files = rego(dir, &["."]);
    files.retain(|path, _| !is_test(path));
    drop_refused(opa, &mut files);
    let mut rules = BTreeSet::new();
    for text in files.values() {
        rules.extend(RULE.captures_iter(text).map(|c| format!("data.{}.{}", package(text), &c[1])));
    }
    let rules: Vec<String> = rules.into_iter().collect();
    let mut inputs = vec![json!({})];
    for file in files_below(dir, &[".yaml", ".yml", ".json"]) {
        let text = fs::read_to_string(&file).unwrap();
        let documents = text.split("\n---").filter_map(|part| yaml_serde::from_str::<Value>(part).ok());
        inputs.extend(documents.filter(Value::is_object));
    }
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    if rules.is_empty() {
        return vec![];
    }
    let ours = match evaluate(files.clone(), &inputs, &rules) {
        Ok(ours) => ours,
        Err(e) => {
            let asked = inputs.len() * rules.len();
            return (0..asked).map(|_| (name.clone(), Said::Refused(e.to_string()))).collect();
        }
    };
    let theirs = ask_opa(opa, &files, &inputs, &rules);
    let mut out = Vec::new();
    for ((input, ours), theirs) in inputs.iter().zip(ours).zip(theirs) {
        for (rule, ours) in rules.iter().zip(ours) {
            let theirs = theirs.as_ref().map(|t| t[rule].get(0).cloned());
            let said = match (ours, theirs) {
                (Err(_), None) => Said::SameError,
                (Err(why), Some(_)) => Said::Stopped(why),
                (Ok(o), Some(t)) if equal(o.as_ref(), t.as_ref()) => Said::Same,
                (o, t) => Said::Otherwise(format!("{rule}\ninput {input}\nOPA {t:?}\nours {o:?}")),
            };
            out.push((name.clone(), said));
        }
    }
    out
}
