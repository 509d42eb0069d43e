//! Inputs from the tests of a folder, and changed ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use gatelog::policy::testing;
use serde_json::{Value, json};

use super::{Chance, folder};

/// Path → text of everything below a folder.
pub fn files(dir: &Path) -> BTreeMap<String, String> {
    fn read(dir: &Path, prefix: &str, out: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                read(&entry.path(), &format!("{path}/"), out);
            } else {
                out.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    read(dir, "", &mut out);
    out
}

/// The inputs that the tests of a folder build: each `with input as X` becomes `with input as seen(X)`,
/// which prints.
pub fn inputs_of_tests(dir: &Path) -> Vec<Value> {
    let mut files = files(dir);
    for (path, text) in &mut files {
        if path.ends_with("_test.rego") {
            *text = format!("{}\n\ngl_seen(x) := x if print(json.marshal(x))\n", with_seen(text));
        }
    }
    let dir = folder(&files);
    let report = testing::run(dir.path(), None).unwrap_or_else(|e| panic!("{e}"));
    let said: BTreeSet<String> = report
        .tests
        .iter()
        .flat_map(|t| &t.prints)
        .filter_map(|p| p.find('{').map(|at| p[at..].to_owned()))
        .collect();
    said.iter().filter_map(|s| serde_json::from_str(s).ok()).filter(Value::is_object).collect()
}

fn with_seen(text: &str) -> String {
    const MARK: &str = "with input as ";
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at + MARK.len()]);
        rest = &rest[at + MARK.len()..];
        let end = expression_end(rest);
        out.push_str(&format!("gl_seen({})", rest[..end].trim_end()));
        rest = &rest[end..];
    }
    out + rest
}

/// Where an expression ends: at the end of a line, `;`, a closing bracket or the next `with`.
fn expression_end(text: &str) -> usize {
    let (mut depth, mut quote) = (0i32, None);
    let mut before = ' ';
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q && before != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') if depth == 0 => return i,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, '\n' | ';' | ',') if depth == 0 => return i,
            (None, 'w') if depth == 0 && text[i..].starts_with("with ") => return i,
            _ => {}
        }
        before = c;
    }
    text.len()
}

/// Changes a document in one to four places.
pub fn mutate(document: &Value, chance: &mut Chance) -> Value {
    let mut out = document.clone();
    for _ in 0..=chance.below(4) {
        let mut places = Vec::new();
        collect(&out, String::new(), &mut places);
        if places.is_empty() {
            return out;
        }
        let place = places[chance.below(places.len())].clone();
        let other = places[chance.below(places.len())].clone();
        let other = out.pointer(&other).cloned().unwrap_or_default();
        change(&mut out, &place, other, chance);
    }
    out
}

fn collect(value: &Value, at: String, out: &mut Vec<String>) {
    let escape = |k: &str| k.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| {
            out.push(format!("{at}/{}", escape(k)));
            collect(v, format!("{at}/{}", escape(k)), out);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| {
            out.push(format!("{at}/{i}"));
            collect(v, format!("{at}/{i}"), out);
        }),
        _ => {}
    }
}

fn change(out: &mut Value, place: &str, other: Value, chance: &mut Chance) {
    let (parent, key) = place.rsplit_once('/').unwrap();
    if chance.one_in(3) {
        match out.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
            Some(Value::Array(items)) => {
                drop(key.parse().ok().filter(|i| *i < items.len()).map(|i: usize| items.remove(i)))
            }
            _ => {}
        }
        return;
    }
    let Some(value) = out.pointer_mut(place) else { return };
    *value = match (&*value, chance.below(5)) {
        (_, 0) => Value::Null,
        (_, 1) => other,
        (Value::Bool(b), _) => json!(!b),
        (Value::Number(n), 2) => json!(n.as_i64().unwrap_or(0) + 1),
        (Value::String(s), 2) => json!(s.to_uppercase()),
        (Value::String(s), 3) => json!(format!("{s}x")),
        (Value::Array(items), 2) => items.iter().rev().cloned().collect(),
        (Value::Array(items), 3) => items.iter().chain(items.first()).cloned().collect(),
        (v, 4) => json!([v]),
        (v, _) => v.clone(),
    };
}
