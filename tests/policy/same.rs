//! The same input and bundle give the same bytes: in every thread and process, whatever the order in which
//! files were written and keys stand.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use crate::opa_support::{
    Chance, cases,
    inputs::{files, inputs_of_tests, mutate},
};
use gatelog::policy::{Bundle, Input};
use serde_json::{Value, json};

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

/// Whole inputs: those of the shipped tests, and changed ones.
fn inputs(chance: &mut Chance, number: usize) -> Vec<Value> {
    let seeds = inputs_of_tests(&policies());
    let mut out = Vec::new();
    while out.len() < number {
        let mut document = mutate(&seeds[chance.below(seeds.len())], chance);
        document["time"] = json!("2026-11-24T15:00:00.000000Z");
        document["event"] = json!({"name": "pull_request", "payload": {"z": 1, "a": [{"y": 2, "b": null}]}});
        document["facts"] = json!({"missing": []});
        if Input::from_json(document.clone()).is_ok() {
            out.push(document);
        }
    }
    out
}

fn judged(bundle: &Bundle, document: &Value) -> Vec<u8> {
    bundle.judge(&Input::from_json(document.clone()).unwrap()).to_bytes()
}

fn shuffle<T>(items: &mut [T], chance: &mut Chance) {
    for i in (1..items.len()).rev() {
        items.swap(i, chance.below(i + 1));
    }
}

/// JSON text whose keys stand in a random order.
fn disorderly(value: &Value, chance: &mut Chance) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            shuffle(&mut pairs, chance);
            let field = |(k, v): (&String, &Value)| format!("{}: {}", json!(k), disorderly(v, chance));
            format!("{{{}}}", pairs.into_iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|v| disorderly(v, chance)).collect();
            format!("[{}]", items.join(",\n"))
        }
        other => other.to_string(),
    }
}

#[test]
fn threads_and_processes_judge_the_same() {
    let mut chance = Chance::new(3);
    let documents = inputs(&mut chance, cases(16));
    let bundle = Bundle::load(&policies()).unwrap();
    let expected: Vec<Vec<u8>> = documents.iter().map(|d| judged(&bundle, d)).collect();
    let again = Bundle::from_archive(&bundle.archive()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..5 {
            let (bundle, documents, expected) =
                (if thread % 2 == 0 { &bundle } else { &again }, &documents, &expected);
            scope.spawn(move || {
                for i in 0..documents.len() {
                    let i = (i * 7 + thread * 3) % documents.len();
                    assert_eq!(judged(bundle, &documents[i]), expected[i], "{}", documents[i]);
                }
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    for (document, expected) in documents.iter().zip(&expected).take(3) {
        // Each process has other seeds for its hash tables.
        std::fs::write(dir.path().join("in.json"), disorderly(document, &mut chance)).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_gatelog"))
            .args(["policy", "eval", "-i", "in.json", "--format", "json"])
            .arg(policies())
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(out.stdout.strip_suffix(b"\n"), Some(expected.as_slice()), "{document}");
    }
}

/// Without the digest of the bundle.
fn said(bundle: &Bundle, document: &str) -> Value {
    let verdict = bundle.judge(&Input::parse(document.as_bytes()).unwrap());
    let mut said: Value = serde_json::from_slice(&verdict.to_bytes()).unwrap();
    said["bundle"] = Value::Null;
    said
}

#[test]
fn the_order_of_files_and_keys_does_not_matter() {
    let mut chance = Chance::new(5);
    let documents = inputs(&mut chance, cases(8));
    let shipped = files(&policies());
    let bundle = Bundle::load(&policies()).unwrap();
    let mut data: BTreeMap<&String, Value> = BTreeMap::new();
    for (path, text) in shipped.iter().filter(|(path, _)| path.ends_with(".yaml")) {
        data.insert(path, yaml_serde::from_str(text).unwrap());
    }
    assert!(!data.is_empty());
    for _ in 0..cases(2) {
        let (same, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut paths: Vec<&String> = shipped.keys().collect();
        shuffle(&mut paths, &mut chance);
        let write = |dir: &Path, path: &str, text: &str| {
            let file = dir.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        for path in paths {
            write(same.path(), path, &shipped[path]);
            match data.get(path) {
                None => write(other.path(), path, &shipped[path]),
                // One file per key, as JSON, in any order.
                Some(data) => {
                    let stem = path.trim_end_matches(".yaml");
                    for (i, (key, value)) in data.as_object().unwrap().iter().enumerate() {
                        let text = format!("{{{}: {}}}", json!(key), disorderly(value, &mut chance));
                        write(other.path(), &format!("{stem}-part{i}.json"), &text);
                    }
                }
            }
        }
        let (same, other) = (Bundle::load(same.path()).unwrap(), Bundle::load(other.path()).unwrap());
        assert_eq!(same.digest(), bundle.digest());
        assert_ne!(other.digest(), bundle.digest());
        for document in &documents {
            let expected = said(&bundle, &document.to_string());
            let text = disorderly(document, &mut chance);
            assert_eq!(said(&same, &text), expected, "{text}");
            assert_eq!(said(&other, &text), expected, "{text}");
        }
    }
}
