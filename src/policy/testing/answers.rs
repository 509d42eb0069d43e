//! What rules answer to inputs, for comparing with OPA: through the same doors as a bundle.

use std::{collections::BTreeMap, path::PathBuf};

use regorus::Value;

use super::super::{
    bundle::{Checked, is_test},
    engine::{Evaluator, Template},
    error::LoadError,
    folder,
    judge::SETS,
    names::Names,
    on_big_stack,
};
use crate::time::Time;

/// A value, undefined, or why there is none.
pub type Evaluated = Result<Option<serde_json::Value>, String>;

/// A rule (`data.a.b`), and what it is under each input.
#[derive(Debug)]
pub struct Answer {
    pub rule: String,
    pub values: Vec<Evaluated>,
}

/// Rules that gatelog reads of a control, beside its sets of findings.
const READ: &[&str] = &["allow", "violations", "applies", "skip_reason", "needs", "valid_until"];

/// Evaluates rules (`data.a.b`) of some files under each input. `None` is undefined.
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
        answers(&checked, &Names::new(&checked.modules), inputs, rules)
    })
    .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
}

/// All that gatelog reads of the controls in some folders and files, under each input, at its `time`.
///
/// # Errors
/// Files that do not load.
pub fn evaluate_controls(paths: &[PathBuf], inputs: &[serde_json::Value]) -> Result<Vec<Answer>, LoadError> {
    on_big_stack(|| {
        let mut below = folder::read_all(paths)?;
        below.files.retain(|path, _| !is_test(path));
        let checked = Checked::below(below)?;
        let names = Names::new(&checked.modules);
        let mut rules = Vec::new();
        for control in checked.controls(&names)? {
            let package: Vec<String> = control.package.split('.').map(str::to_owned).collect();
            let read = SETS.iter().map(|(name, _)| *name).chain(READ.iter().copied());
            let declared = read.filter(|name| names.declares(&package, name));
            rules.extend(declared.map(|name| format!("data.{}.{name}", control.package)));
        }
        let mut columns: Vec<_> = rules.iter().map(|_| Vec::with_capacity(inputs.len())).collect();
        for row in answers(&checked, &names, inputs, &rules)? {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let answer = |(rule, values)| Answer { rule, values };
        Ok(rules.into_iter().zip(columns).map(answer).collect())
    })
    .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
}

fn answers(
    checked: &Checked,
    names: &Names<'_>,
    inputs: &[serde_json::Value],
    rules: &[String],
) -> Result<Vec<Vec<Evaluated>>, LoadError> {
    let template = Template::new(checked, &[], names)?;
    let one = |document: &serde_json::Value| {
        let Ok(input) = Value::from_json_str(&document.to_string()) else {
            return vec![Err("the input does not fit".to_owned()); rules.len()];
        };
        let time = document.get("time").and_then(serde_json::Value::as_str).and_then(|t| t.parse().ok());
        let mut evaluator = template.evaluator(&input, time.unwrap_or_else(Time::now));
        rules.iter().map(|rule| evaluated(&mut evaluator, rule)).collect()
    };
    Ok(inputs.iter().map(one).collect())
}

fn evaluated(evaluator: &mut Evaluator<'_>, rule: &str) -> Evaluated {
    match evaluator.ask(rule.strip_prefix("data.").unwrap_or(rule))? {
        Value::Undefined => Ok(None),
        value => {
            let json = value.to_json_str().map_err(|e| format!("{e}"))?;
            serde_json::from_str(&json).map(Some).map_err(|e| e.to_string())
        }
    }
}
