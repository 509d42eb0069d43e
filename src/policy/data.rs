//! Data files, merged as OPA merges them: a file's content stands under the path of its folder.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::LoadError;
use crate::facts::yaml;

/// Reads `data.yaml`, `x.yml`, `x.json`.
///
/// # Errors
/// What is not YAML 1.2 or JSON, and what OPA's reader of YAML 1.1 would read as something else.
pub(crate) fn parse(path: &str, text: &str) -> Result<Value, LoadError> {
    let value: Value = if path.ends_with(".json") {
        serde_json::from_str(text).map_err(|e| {
            let (line, column) = (clamp(e.line()), clamp(e.column()));
            LoadError::at_line(path, text, line, column, format!("not JSON: {e}"))
        })?
    } else {
        parse_yaml(path, text)?
    };
    Ok(value)
}

fn parse_yaml(path: &str, text: &str) -> Result<Value, LoadError> {
    if text.lines().any(|l| l == "---" || l.starts_with("--- "))
        && text.trim_start().lines().skip(1).any(|l| l.starts_with("---"))
    {
        return Err(LoadError::new(path, "several YAML documents in one file")
            .help("OPA reads only the first: make it one document"));
    }
    let value = yaml::value(text).map_err(|e| {
        let message = format!("not YAML: {e}");
        match e.location() {
            Some(l) => LoadError::at_line(path, text, clamp(l.line()), clamp(l.column()), message),
            None => LoadError::new(path, message),
        }
    })?;
    same_as_yaml_1_1(path, text, &unquoted(text), &value)?;
    Ok(value)
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Refuses what OPA reads otherwise: `010` and `1_000` are numbers there and text here; `<<` merges.
fn same_as_yaml_1_1(
    path: &str,
    text: &str,
    unquoted: &HashMap<&str, usize>,
    value: &Value,
) -> Result<(), LoadError> {
    match value {
        Value::String(s) if number_in_yaml_1_1(s) => match unquoted.get(s.as_str()) {
            Some(&at) => {
                Err(LoadError::at(path, text, at, format!("`{s}` is a number to OPA and text to others"))
                    .help("quote it, or write the number plainly"))
            }
            None => Ok(()),
        },
        Value::Array(items) => items.iter().try_for_each(|v| same_as_yaml_1_1(path, text, unquoted, v)),
        Value::Object(map) => map.iter().try_for_each(|(k, v)| {
            if k == "<<" {
                return Err(
                    LoadError::new(path, "merge keys (`<<`) are not supported").help("write the keys out")
                );
            }
            same_as_yaml_1_1(path, text, unquoted, v)
        }),
        _ => Ok(()),
    }
}

fn number_in_yaml_1_1(s: &str) -> bool {
    let digits = s.trim_start_matches(['-', '+']);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b'_' | b'.' | b'x' | b'o' | b'b' | b'+' | b'-'))
        && (digits.contains('_') || digits.starts_with('0') || digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Words that stand in the text without quotes round them, and where the first of each does. Found
/// once for a file: a search per value would take minutes for a file full of quoted numbers.
fn unquoted(text: &str) -> HashMap<&str, usize> {
    let breaks = |c: char| c.is_whitespace() || "[]{},:".contains(c);
    let mut words = HashMap::new();
    let mut at = 0;
    for word in text.split(breaks) {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let plain = before.is_none_or(|c| c.is_whitespace() || "[,{:".contains(c))
            && after.is_none_or(|c| c.is_whitespace() || "],}".contains(c));
        if plain {
            words.entry(word).or_insert(at);
        }
        at += word.len() + after.map_or(0, char::len_utf8);
    }
    words
}

/// All data of a bundle as one document.
#[derive(Default)]
pub(crate) struct Merged {
    root: Map<String, Value>,
}

impl Merged {
    /// Puts a file's content under its folder. Objects merge, anything else must not meet.
    pub(crate) fn add(&mut self, path: &str, value: Value) -> Result<(), LoadError> {
        let folders: Vec<&str> = path.split('/').collect();
        let value = folders[..folders.len() - 1]
            .iter()
            .rev()
            .fold(value, |v, folder| Value::Object(Map::from_iter([((*folder).to_owned(), v)])));
        match value {
            Value::Object(map) => merge(&mut self.root, map)
                .map_err(|at| LoadError::new(path, format!("`data{at}` has another value in another file"))),
            _ => Err(LoadError::new(path, "data at the root of a bundle must be an object")),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.root)
    }

    pub(crate) fn root(&self) -> &Map<String, Value> {
        &self.root
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (key, value) in from {
        let Some(old) = into.get_mut(&key) else {
            into.insert(key, value);
            continue;
        };
        match (old, value) {
            (Value::Object(old), Value::Object(new)) => {
                merge(old, new).map_err(|at| format!(".{key}{at}"))?
            }
            _ => return Err(format!(".{key}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[(&str, &str)]) -> Result<Value, LoadError> {
        let mut m = Merged::default();
        for (path, text) in files {
            m.add(path, parse(path, text)?)?;
        }
        Ok(m.into_value())
    }

    #[test]
    fn content_stands_under_its_folder() {
        let v = merged(&[
            ("data.yaml", "a: 1"),
            ("x/data.json", "{\"b\": {\"c\": 1}}"),
            ("x/y.yml", "b: {d: 2}"),
        ]);
        assert_eq!(v.unwrap(), serde_json::json!({"a": 1, "x": {"b": {"c": 1, "d": 2}}}));
    }

    #[test]
    fn conflicts_and_odd_numbers_are_refused() {
        let e = |files: &[(&str, &str)]| merged(files).unwrap_err().to_string();
        insta::assert_snapshot!(e(&[("a/x.json", "{\"v\": 1}"), ("a/y.json", "{\"v\": 2}")]), @"a/y.json: `data.a.v` has another value in another file");
        insta::assert_snapshot!(e(&[("x.json", "[1]")]), @"x.json: data at the root of a bundle must be an object");
        insta::assert_snapshot!(e(&[("x.yaml", "a: 1\nmode: 0644\n")]), @"
        x.yaml:2:7: `0644` is a number to OPA and text to others
          |
        2 | mode: 0644
          |       ^
          = quote it, or write the number plainly
        ");
        insta::assert_snapshot!(e(&[("x.yaml", "a: &b {c: 1}\nd:\n  <<: *b\n")]), @"
        x.yaml: merge keys (`<<`) are not supported
          = write the keys out
        ");
        for bare in ["a: [01,2]", "a: {b: 01}", "01: x\na: 01", "a: [x, 01]", "a:\n- 01"] {
            assert!(merged(&[("x.yaml", bare)]).is_err(), "{bare}");
        }
        assert!(merged(&[("x.yaml", "mode: \"0644\"\nday: 2020-01-01\non: yes")]).is_ok());
    }

    #[test]
    fn a_file_full_of_quoted_numbers_is_read_in_its_length() {
        let text: String = (0..100_000).map(|n| format!("- \"0{n}\"\n")).collect();
        let started = std::time::Instant::now();
        parse("x.yaml", &text).unwrap();
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
