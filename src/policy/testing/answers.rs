//! What rules answer to inputs, for comparing with OPA: through the same doors as a bundle.

use std::{collections::BTreeMap, path::PathBuf};

use regorus::Value;

use super::super::{
    bundle::{Checked, is_test},
    engine::{self, Evaluator, Template},
    error::LoadError,
    folder,
    names::Names,
    on_big_stack,
    saying::{READ, sets},
};
use crate::time::Time;

/// A value, undefined, or why there is none.
pub type Evaluated = Result<Option<serde_json::Value>, String>;

/// A rule (`data.a.b`), and what it is under each input.
#[derive(Debug)]
pub struct Answer {
    pub rule: String,
    pub values: Vec<Asked>,
}

/// A value, undefined, or why there is none.
pub type Asked = Result<Option<Known>, String>;

/// A value of which it is known what is a set: JSON has only lists.
#[derive(Clone, Debug)]
pub struct Known(Value);

impl Known {
    /// Sets as lists.
    ///
    /// # Errors
    /// A number that JSON does not have.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        let json = self.0.to_json_str().map_err(|e| format!("{e}"))?;
        serde_json::from_str(&json).map_err(|e| e.to_string())
    }

    /// The same value as JSON that OPA wrote: a set is the same in any order, a list is not; `1` is `1.0`.
    #[must_use]
    pub fn is(&self, json: &serde_json::Value) -> bool {
        alike(&self.0, json)
    }
}

fn alike(here: &Value, there: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (here, there) {
        (Value::Set(items), Json::Array(others)) => {
            let mut others: Vec<&Json> = others.iter().collect();
            items.len() == others.len()
                && items.iter().all(|item| {
                    let found = others.iter().position(|other| alike(item, other));
                    found.map(|at| others.swap_remove(at)).is_some()
                })
        }
        (Value::Array(items), Json::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(a, b)| alike(a, b))
        }
        (Value::Object(fields), Json::Object(others)) => {
            let named = |key: &Value| match key {
                Value::String(name) => Some(name.to_string()),
                other => serde_json::to_string(other).ok(),
            };
            fields.len() == others.len()
                && fields.iter().all(|(key, value)| {
                    named(key).and_then(|name| others.get(&name)).is_some_and(|other| alike(value, other))
                })
        }
        (Value::Number(a), Json::Number(b)) => {
            let a = serde_json::to_value(a).unwrap_or_default();
            a == *there || (a.as_f64().is_some() && a.as_f64() == b.as_f64())
        }
        (Value::String(a), Json::String(b)) => a.as_ref() == b,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Null, Json::Null) => true,
        _ => false,
    }
}

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
        let json = |known: Asked| known?.map(|known| known.json()).transpose();
        let rows = answers(&checked, &Names::new(&checked.modules), inputs, rules)?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(json).collect()).collect())
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
            let beside = READ.iter().copied().filter(|name| names.declares(&package, name));
            let read = sets(&names, &package).chain(beside);
            rules.extend(read.map(|name| format!("data.{}.{name}", control.package)));
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
) -> Result<Vec<Vec<Asked>>, LoadError> {
    // What is wrong shows at the author's columns.
    engine::prepare(checked, &checked.files, "")?;
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

fn evaluated(evaluator: &mut Evaluator<'_>, rule: &str) -> Asked {
    match evaluator.ask(rule.strip_prefix("data.").unwrap_or(rule))? {
        Value::Undefined => Ok(None),
        value => Ok(Some(Known(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_sets_are_the_same_in_any_order() {
        let object = |items: Value| {
            let mut object = Value::new_object();
            object.as_object_mut().unwrap().insert("inner".into(), items);
            Known(object)
        };
        let items = || [Value::from(1u64), Value::from("a"), Value::from(2u64)];
        let (set, list) = (
            object(items().into_iter().collect::<std::collections::BTreeSet<_>>().into()),
            object(items().to_vec().into()),
        );
        for (json, is_set, is_list) in [
            (json!({"inner": [1, "a", 2]}), true, true),
            (json!({"inner": [1.0, "a", 2]}), true, true),
            (json!({"inner": ["a", 2, 1]}), true, false),
            (json!({"inner": ["a", 2, 2]}), false, false),
            (json!({"inner": ["a", 2]}), false, false),
            (json!({"outer": [1, "a", 2]}), false, false),
        ] {
            assert_eq!((set.is(&json), list.is(&json)), (is_set, is_list), "{json}");
        }
    }
}
