//! Asking the real `opa`, and a source of chance that a seed repeats.
#![allow(dead_code)]

pub mod inputs;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

/// Number of cases: `GATELOG_EFFORT=long` means 20 times as many.
pub fn cases(quick: usize) -> usize {
    if std::env::var("GATELOG_EFFORT").is_ok_and(|e| e == "long") { quick * 20 } else { quick }
}

/// Chance that a seed repeats (splitmix64). `GATELOG_SEED` changes it.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let extra = std::env::var("GATELOG_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        Self(seed ^ extra)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// Writes files into a new folder.
pub fn folder(files: &BTreeMap<String, String>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    dir
}

/// What `opa check` has against a folder: file name and line (from 1).
pub fn refused(opa: &Path, dir: &Path) -> BTreeSet<(String, usize)> {
    let out = Command::new(opa)
        .args(["check", "--format", "json", "--max-errors", "100000"])
        .arg(dir)
        .output()
        .unwrap();
    if out.status.success() {
        return BTreeSet::new();
    }
    let said: Value = serde_json::from_slice(&out.stderr)
        .or_else(|_| serde_json::from_slice(&out.stdout))
        .unwrap_or_else(|e| panic!("{e}: {}", cut(&String::from_utf8_lossy(&out.stderr))));
    let place = |e: &Value| {
        let file = Path::new(e["location"]["file"].as_str()?).file_name()?.to_str()?.to_owned();
        Some((file, e["location"]["row"].as_u64()? as usize))
    };
    said["errors"].as_array().into_iter().flatten().filter_map(place).collect()
}

/// Takes out the files that `opa check` refuses.
pub fn drop_refused(opa: &Path, files: &mut BTreeMap<String, String>) {
    loop {
        let dir = folder(files);
        let bad: BTreeSet<String> = refused(opa, dir.path()).into_iter().map(|(file, _)| file).collect();
        if bad.is_empty() {
            return;
        }
        files.retain(|path, _| !bad.contains(path.rsplit('/').next().unwrap_or_default()));
    }
}

/// The beginning of a long text.
pub fn cut(s: &str) -> String {
    s.chars().take(400).collect()
}

/// The whole `data` document of a folder under an input.
///
/// # Errors
/// The file and the words of an error that stops OPA altogether: a rule with two values.
pub fn try_eval(opa: &Path, dir: &Path, input: &Value, query: &str) -> Result<Value, (String, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input.to_string()).unwrap();
    let out = Command::new(opa)
        .args(["eval", "--format", "json", "-i"])
        .arg(file.path())
        .arg("-d")
        .arg(dir)
        .arg(query)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", cut(&String::from_utf8_lossy(&out.stderr))));
    if let Some(e) = said.pointer("/errors/0") {
        let file = Path::new(e["location"]["file"].as_str().unwrap_or_default());
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err((name, cut(&e.to_string())));
    }
    Ok(said.pointer("/result/0/expressions/0/value").cloned().unwrap_or(Value::Null))
}

pub fn eval(opa: &Path, dir: &Path, input: &Value, query: &str) -> Value {
    try_eval(opa, dir, input, query).unwrap_or_else(|e| panic!("opa: {e:?}"))
}

/// Are they the same to JSON? `1` and `1.0` are.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b
                || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b || (a - b).abs() < 1e-9 * a.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// Whether `opa check` with a schema of the input has something against a folder.
pub fn refused_with(opa: &Path, dir: &Path, schema: &Path) -> bool {
    let out = Command::new(opa).args(["check", "--schema"]).args([schema, dir]).output().unwrap();
    !out.status.success()
}

/// One process for many inputs; where OPA fails on one of them, one process each.
pub fn ask_opa(
    opa: &Path,
    files: &BTreeMap<String, String>,
    inputs: &[Value],
    rules: &[String],
) -> Vec<Option<Value>> {
    let mut files = files.clone();
    files.insert("gl_inputs/data.json".to_owned(), Value::from(inputs.to_vec()).to_string());
    let fields: Vec<String> = rules.iter().map(|r| format!("\"{r}\": [x | x := {r}]")).collect();
    let object = format!("{{{}}}", fields.join(", "));
    let dir = folder(&files);
    let query = format!("[r | some i in data.gl_inputs; r := {object} with input as i]");
    if let Ok(Value::Array(all)) = try_eval(opa, dir.path(), &json!({}), &query) {
        assert_eq!(all.len(), inputs.len());
        return all.into_iter().map(Some).collect();
    }
    inputs.iter().map(|input| try_eval(opa, dir.path(), input, &object).ok()).collect()
}

/// The same answer? Sets of unlike values have another order here and there.
pub fn equal(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    let sorted = |v: &Value| match v {
        Value::Array(items) => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        v => v.clone(),
    };
    match (ours, theirs) {
        (Some(a), Some(b)) => same(&sorted(a), &sorted(b)),
        (a, b) => a.is_none() && b.is_none(),
    }
}
