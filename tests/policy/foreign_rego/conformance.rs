//! OPA's conformance cases (`v1/test/cases/testdata/v1`): modules, data, input, a query, and what OPA must
//! answer. OPA's own tests hold it to them, so they are its answers.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use gatelog::policy::testing::evaluate;
use regex::Regex;
use serde_json::{Value, json};

use super::{Said, files_below, parallel, sample};
use crate::{
    common::foreign::module,
    opa_support::{cut, same},
};

struct Case {
    note: String,
    json: Value,
}

pub fn run(cache: &Path) -> (String, Vec<(String, Said)>) {
    let (dir, version) = module(cache, "github.com/open-policy-agent/opa");
    let mut cases = Vec::new();
    for file in files_below(&dir.join("v1/test/cases/testdata/v1"), &[".yaml"]) {
        let text = fs::read_to_string(&file).unwrap();
        let Value::Object(mut set) =
            yaml_serde::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        else {
            panic!("{}", file.display())
        };
        for json in
            set.remove("cases").unwrap_or_default().as_array_mut().into_iter().flatten().map(Value::take)
        {
            cases.push(Case { note: json["note"].as_str().unwrap_or("?").to_owned(), json });
        }
    }
    assert!(cases.len() > 2_000, "{} cases", cases.len());
    // gatelog always has an input.
    cases.retain(|case| !reads_no_input(case));
    let cases = sample(cases);
    let said = parallel(&cases, |case| (case.note.clone(), one(case)));
    (format!("conformance cases of {version}"), said)
}

/// The case is about there being no `input` at all.
fn reads_no_input(case: &Case) -> bool {
    static BARE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\binput\b[^.\[\w]").unwrap());
    let text = case.json["modules"].to_string().replace("with input", "");
    case.json.get("input").is_none() && case.json.get("input_term").is_none() && BARE.is_match(&text)
}

fn one(case: &Case) -> Said {
    let want_error = ["want_error", "want_error_code"].iter().find_map(|k| case.json.get(*k));
    match (answer(case), want_error) {
        (Err(_) | Ok(Err(_)), Some(_)) => Said::SameError,
        (Err(why), None) => Said::Refused(why),
        (Ok(Err(why)), None) => Said::Stopped(why),
        (Ok(Ok(ours)), Some(error)) => Said::Otherwise(format!(
            "OPA: error {error}\nours {}\n{}",
            cut(&format!("{ours:?}")),
            shown(case)
        )),
        (Ok(Ok(ours)), None) => {
            let want = &case.json["want_result"];
            let ours = ours.unwrap_or_else(|| json!([]));
            match equal(&ours, want, case.json["sort_bindings"] == json!(true)) {
                true => Said::Same,
                false => Said::Otherwise(format!("OPA {want}\nours {ours}\n{}", shown(case))),
            }
        }
    }
}

fn shown(case: &Case) -> String {
    let modules: Vec<&str> =
        case.json["modules"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let given =
        |k: &str| case.json.get(k).map(|v| format!("{k} {}\n", cut(&v.to_string()))).unwrap_or_default();
    format!("{}{}{}{}", given("query"), given("input"), given("input_term"), modules.join("\n---\n"))
}

/// Not loaded; or evaluated, to an error, or to a value or nothing.
fn answer(case: &Case) -> Result<Result<Option<Value>, String>, String> {
    let mut files = BTreeMap::new();
    for (i, module) in case.json["modules"].as_array().into_iter().flatten().enumerate() {
        files.insert(format!("test-{i}.rego"), module.as_str().unwrap_or_default().to_owned());
    }
    if let Some(data) = case.json.get("data").filter(|d| d.is_object()) {
        files.insert("data.json".to_owned(), data.to_string());
    }
    let query = case.json["query"].as_str().unwrap_or_default();
    let first = case.json["want_result"].get(0).and_then(Value::as_object);
    let bindings: Vec<String> =
        first.into_iter().flat_map(|b| b.keys()).map(|k| format!("{k:?}: {k}")).collect();
    let (input, with) = match case.json["input_term"].as_str() {
        Some(term) => match serde_json::from_str(term) {
            Ok(input) => (input, String::new()),
            // A term that is no JSON: a set.
            Err(_) => (json!({}), format!(" with input as {term}")),
        },
        None => (case.json.get("input").cloned().unwrap_or_else(|| json!({})), String::new()),
    };
    let query = format!("package gl_query\n\ngl_ask := [{{{}}} | {query}{with}\n]\n", bindings.join(", "));
    files.insert("gl_query.rego".to_owned(), query);
    let answers =
        evaluate(files, &[input], &["data.gl_query.gl_ask".to_owned()]).map_err(|e| e.to_string())?;
    Ok(answers[0][0].clone())
}

/// Results are a set; with `sort_bindings` the values in them are too.
fn equal(ours: &Value, want: &Value, sort: bool) -> bool {
    let list = |v: &Value| -> Vec<Value> {
        let binding = |b: &Value| match b {
            Value::Object(map) if sort => map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect(),
            other => other.clone(),
        };
        let mut out: Vec<Value> = v.as_array().into_iter().flatten().map(binding).collect();
        out.sort_by_key(Value::to_string);
        out.dedup();
        out
    };
    same(&Value::from(list(ours)), &Value::from(list(want)))
}

fn sorted(v: &Value) -> Value {
    match v {
        Value::Array(items) => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}
