//! Rego unit tests, as `opa test` runs them: rules `test_…` must be true, `todo_test_…` are skipped.
//!
//! The same admission, rewriting, extensions and strictness as in a judgement.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use regex::Regex;
use regorus::{Value, unstable::Rule};

use super::{
    ast,
    bundle::Checked,
    engine::{Evaluator, Template},
    error::LoadError,
    folder,
    names::Names,
    on_big_stack, pool,
};
use crate::time::Time;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// In the order of files and lines.
    pub tests: Vec<Test>,
    /// What would keep `serve` from using the bundle.
    pub warning: Option<LoadError>,
}

#[derive(Clone, Debug)]
pub struct Test {
    /// `data.controls.reviews_test.test_two_of_two`
    pub name: String,
    pub path: String,
    pub line: u32,
    /// The line where the test begins.
    pub source: String,
    pub outcome: Outcome,
    pub took: Duration,
    /// What `print` said.
    pub prints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    /// Not true: undefined, false, another value.
    Fail,
    /// Could not be evaluated, and why.
    Error(String),
    Skipped,
}

impl Report {
    /// How many ended so: (passed, failed, skipped).
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |f: fn(&Outcome) -> bool| self.tests.iter().filter(|t| f(&t.outcome)).count();
        let passed = count(|o| *o == Outcome::Pass);
        let skipped = count(|o| *o == Outcome::Skipped);
        (passed, self.tests.len() - passed - skipped, skipped)
    }
}

/// Loads a folder with its tests and runs those whose full name matches.
///
/// # Errors
/// A folder that does not load.
pub fn run(dir: &Path, only: Option<&Regex>) -> Result<Report, LoadError> {
    let files = folder::read(dir)?;
    on_big_stack(|| {
        let checked = Checked::new(files)?;
        let names = Names::new(&checked.modules);
        let warning = match checked.controls(&names) {
            Ok(controls) if controls.is_empty() => Some(LoadError::new("policies", "there is no control")),
            Ok(_) => None,
            Err(e) => Some(e),
        };
        let template = Template::new(&checked, &[], &names)?;
        let mut tests = find(&checked);
        tests.retain(|t| only.is_none_or(|r| r.is_match(&t.name)));
        run_all(&template, &mut tests);
        Ok(Report { tests, warning })
    })
    .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
}

/// Evaluates rules (`data.a.b`) of some files under each input: through the same doors as a bundle,
/// for comparing with OPA. `None` is undefined.
///
/// # Errors
/// Files that do not load.
pub fn evaluate(
    files: BTreeMap<String, String>,
    inputs: &[serde_json::Value],
    rules: &[String],
) -> Result<Vec<Vec<Evaluated>>, LoadError> {
    on_big_stack(|| {
        let checked = Checked::new(files)?;
        let template = Template::new(&checked, &[], &Names::new(&checked.modules))?;
        let one = |input: &serde_json::Value| {
            let input = Value::from_json_str(&input.to_string()).map_err(|e| format!("{e}"));
            let Ok(input) = input else { return vec![Err("the input does not fit".to_owned()); rules.len()] };
            let mut evaluator = template.evaluator(&input, Time::now());
            rules.iter().map(|rule| evaluated(&mut evaluator, rule)).collect()
        };
        Ok(inputs.iter().map(one).collect())
    })
    .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
}

/// A value, undefined, or why there is none.
pub type Evaluated = Result<Option<serde_json::Value>, String>;

fn evaluated(evaluator: &mut Evaluator<'_>, rule: &str) -> Evaluated {
    match evaluator.ask(rule.strip_prefix("data.").unwrap_or(rule))? {
        Value::Undefined => Ok(None),
        value => {
            let json = value.to_json_str().map_err(|e| format!("{e}"))?;
            serde_json::from_str(&json).map(Some).map_err(|e| e.to_string())
        }
    }
}

fn find(checked: &Checked) -> Vec<Test> {
    let mut out: Vec<Test> = Vec::new();
    for module in &checked.modules {
        let package = ast::dotted(&ast::package(module));
        for rule in &module.policy {
            let head = ast::head(rule);
            let Some((parts, whole)) = ast::path(head) else { continue };
            let Some(last) = parts.last() else { continue };
            let span = head.span();
            let source = span.source.line(span.line.saturating_sub(1)).to_owned();
            let mut outcome = match last {
                l if l.starts_with("todo_test_") => Outcome::Skipped,
                l if l.starts_with("test_") => Outcome::Pass,
                _ => continue,
            };
            let name = format!("data.{package}.{}", ast::dotted(&parts));
            if !whole
                || matches!(rule.as_ref(), Rule::Spec { head: regorus::unstable::RuleHead::Set { .. }, .. })
            {
                outcome = Outcome::Error("tests with cases are not supported: use `every`".to_owned());
            } else if out.iter().any(|t| t.name == name) {
                outcome = Outcome::Error("there are two tests of this name".to_owned());
            }
            let path = span.source.file().clone();
            out.push(Test {
                name,
                path,
                line: span.line,
                source,
                outcome,
                took: Duration::ZERO,
                prints: vec![],
            });
        }
    }
    out
}

/// Shares the tests over the machine's cores.
fn run_all(template: &Template, tests: &mut [Test]) {
    let next = AtomicUsize::new(0);
    let slots: Vec<std::sync::Mutex<&mut Test>> = tests.iter_mut().map(std::sync::Mutex::new).collect();
    let now = Time::now();
    let work = || {
        let mut evaluator = template.evaluator(&Value::new_object(), now);
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut test = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            run_one(&mut evaluator, &mut test);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(slots.len());
    thread::scope(|scope| {
        let spawned: Vec<_> = (1..cores)
            .filter_map(|_| thread::Builder::new().stack_size(pool::STACK).spawn_scoped(scope, work).ok())
            .collect();
        work();
        drop(spawned);
    });
}

fn run_one(evaluator: &mut Evaluator<'_>, test: &mut Test) {
    if test.outcome != Outcome::Pass {
        return;
    }
    let start = Instant::now();
    let answer = evaluator.ask(test.name.strip_prefix("data.").unwrap_or(&test.name));
    test.took = start.elapsed();
    test.prints = evaluator.prints();
    test.outcome = match answer {
        Ok(Value::Bool(true)) => Outcome::Pass,
        Ok(_) => Outcome::Fail,
        Err(why) => Outcome::Error(why),
    };
}
