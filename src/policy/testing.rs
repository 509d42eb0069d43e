//! Rego unit tests, as `opa test` runs them: rules `test_…` must be true, `todo_test_…` are skipped.
//!
//! The same admission, rewriting, extensions and strictness as in a judgement.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use regex::Regex;
use regorus::{Value, unstable::Rule};

use super::{
    bundle::Checked,
    check,
    engine::{self, Evaluator, Template},
    error::LoadError,
    folder,
    names::Names,
    on_big_stack, pool,
    why::{self, Told},
};
use crate::time::Time;

mod answers;
mod coverage;
mod find;

pub use answers::{Answer, Asked, Evaluated, evaluate, evaluate_controls};
pub use coverage::{Coverage, FileCoverage};
use find::Found;

/// Failed tests that are taken apart; the others only say that they failed.
const MAX_EXPLAINED: usize = 25;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// In the order of files and lines.
    pub tests: Vec<Test>,
    /// What would keep `serve` from using the bundle.
    pub warning: Option<LoadError>,
    /// If it was asked for.
    pub coverage: Option<Coverage>,
}

#[derive(Clone, Debug)]
pub struct Test {
    /// `data.controls.reviews_test.test_two_of_two`; the second of a name ends in `#01`.
    pub name: String,
    /// `controls.reviews_test`
    pub package: String,
    pub path: String,
    pub line: u32,
    pub column: u32,
    /// The line where the test begins.
    pub source: String,
    pub outcome: Outcome,
    pub took: Duration,
    /// What `print` said.
    pub prints: Vec<String>,
    /// Of a test `test_x[name]`, in the order of their names.
    pub cases: Vec<Case>,
    /// Which statement did not hold.
    pub why: Option<Told>,
}

/// One case of `test_x[name] if …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// As JSON, the steps with dots between them.
    pub name: String,
    pub passed: bool,
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

/// What to run, and what to find out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only tests whose full name (`data.…`) matches.
    pub only: Option<Regex>,
    pub coverage: bool,
    /// Take failed tests apart.
    pub why: bool,
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
    let options = Options { only: only.cloned(), ..Options::default() };
    run_checked(|| Checked::new(folder::read(dir)?), &options)
}

/// The same for several folders and files, whose paths are shown as they are given.
///
/// # Errors
/// What does not load.
pub fn run_all(paths: &[PathBuf], options: &Options) -> Result<Report, LoadError> {
    run_checked(|| Checked::below(folder::read_all(paths)?), options)
}

fn run_checked(
    load: impl FnOnce() -> Result<Checked, LoadError> + Send,
    options: &Options,
) -> Result<Report, LoadError> {
    on_big_stack(|| {
        let checked = load()?;
        let names = Names::new(&checked.modules);
        let warning = check::first_error(&checked, &names);
        let plan = find::plan(&checked, &names, options.only.as_ref());
        // What is wrong shows at the author's columns; what is right need not be read twice.
        let mut engine = match engine::prepare(&checked, &plan.texts, &plan.asking) {
            Ok(engine) => engine,
            Err(e) => {
                engine::prepare(&checked, &checked.files, "")?;
                return Err(e);
            }
        };
        engine.set_enable_coverage(options.coverage);
        let template = Template::of(engine);
        let mut found = plan.found;
        let now = Time::now();
        let reached = run_found(&template, &mut found, now, options.coverage);
        if options.why {
            explain(&checked, &names, &mut found, now);
        }
        let coverage = options.coverage.then(|| Coverage::new(&checked, &reached));
        Ok(Report { tests: found.into_iter().map(|f| f.test).collect(), warning, coverage })
    })
    .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
}

/// Path → lines that were reached.
type Reached = BTreeMap<String, BTreeSet<u32>>;

/// Shares the tests over the machine's cores.
fn run_found(template: &Template, found: &mut [Found<'_>], now: Time, coverage: bool) -> Reached {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<&mut Found<'_>>> = found.iter_mut().map(Mutex::new).collect();
    let reached = Mutex::new(Reached::new());
    let work = || {
        let mut evaluator = template.evaluator(&Value::new_object(), now);
        if coverage {
            evaluator.gather_coverage();
        }
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut found = slot.lock().unwrap_or_else(PoisonError::into_inner);
            run_one(&mut evaluator, &mut found);
        }
        let mut all = reached.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, lines) in evaluator.coverage() {
            all.entry(path).or_default().extend(lines);
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
    reached.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_one(evaluator: &mut Evaluator<'_>, found: &mut Found<'_>) {
    let test = &mut found.test;
    if test.outcome != Outcome::Pass {
        return;
    }
    let start = Instant::now();
    let answer = evaluator.ask(&found.ask).map(|answer| match answer {
        Value::Array(a) if found.wrapped => a.first().cloned().unwrap_or(Value::Undefined),
        answer => answer,
    });
    test.took = start.elapsed();
    test.prints = evaluator.prints();
    test.outcome = match (answer, &found.cases) {
        (Ok(Value::Bool(true)), None) => Outcome::Pass,
        (Ok(_), None) => Outcome::Fail,
        (Ok(answer), Some(cases)) => match evaluator.ask(cases) {
            Ok(paths) => {
                test.cases = judge_cases(&answer, &paths);
                let passed = test.cases.iter().all(|c| c.passed) && answer != Value::Undefined;
                if passed { Outcome::Pass } else { Outcome::Fail }
            }
            Err(why) => Outcome::Error(why),
        },
        (Err(why), _) => Outcome::Error(why),
    };
}

/// Every case that the body came to must have a value, and all values must be true.
fn judge_cases(answer: &Value, paths: &Value) -> Vec<Case> {
    let mut cases: BTreeMap<String, bool> = BTreeMap::new();
    leaves(answer, String::new(), &mut cases);
    if let Value::Array(paths) = paths {
        for path in paths.iter() {
            let Value::Array(steps) = path else { continue };
            let mut here = Some(answer);
            let mut name = String::new();
            for step in steps.iter() {
                here = match here {
                    Some(Value::Object(o)) => o.get(step),
                    _ => None,
                };
                name = joined(&name, step);
            }
            if here.is_none() {
                cases.insert(name, false);
            }
        }
    }
    cases.into_iter().map(|(name, passed)| Case { name, passed }).collect()
}

fn leaves(value: &Value, name: String, out: &mut BTreeMap<String, bool>) {
    match value {
        Value::Object(o) => o.iter().for_each(|(k, v)| leaves(v, joined(&name, k), out)),
        other if !name.is_empty() => {
            out.insert(name, *other == Value::Bool(true));
        }
        _ => {}
    }
}

fn joined(name: &str, step: &Value) -> String {
    let step = match step {
        Value::String(s) => s.to_string(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    if name.is_empty() { step } else { format!("{name}.{step}") }
}

fn explain(checked: &Checked, names: &Names<'_>, found: &mut [Found<'_>], now: Time) {
    let failed =
        |f: &&mut Found<'_>| f.cases.is_none() && matches!(f.test.outcome, Outcome::Fail | Outcome::Error(_));
    let mut failed: Vec<&mut Found<'_>> = found.iter_mut().filter(failed).take(MAX_EXPLAINED).collect();
    let rules: Vec<&Rule> = failed.iter().map(|f| f.rule).collect();
    let told = why::explain(checked, names, &rules, &Value::new_object(), now);
    for (found, told) in failed.iter_mut().zip(told) {
        found.test.why = told;
    }
}
