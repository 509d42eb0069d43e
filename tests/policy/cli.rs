//! `gatelog policy test` and `gatelog policy eval`, as they are called.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

fn gatelog(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog")).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    dir
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

const CONTROL: &str = "package controls.c\n\ndeny contains \"no\" if input.bad\n";

const TESTS: &str = r#"package controls.c_test

import data.controls.c

test_bad if count(c.deny) == 1 with input as {"bad": true}

test_wrong if {
	print("found", c.deny)
	count(c.deny) == 2 with input as {"bad": true}
}

test_false := false

test_number := 5

test_error if input.a + 1 > 2 with input as {"a": "x"}

todo_test_later if false

test_cases[name] if some name in ["a"]
"#;

/// Times differ from run to run.
fn timeless(s: &str) -> String {
    regex::Regex::new(r"\(\d+\.\d+ ms\)").unwrap().replace_all(s, "(… ms)").into_owned()
}

#[test]
fn tests_are_reported_as_opa_does() {
    let dir = folder(&[("policies/c.rego", CONTROL), ("policies/c_test.rego", TESTS)]);
    let out = gatelog(&["policy", "test"], dir.path());
    assert_eq!(out.status.code(), Some(1));
    insta::assert_snapshot!(timeless(&text(&out.stdout)));
    let out = gatelog(&["policy", "test", "policies", "--run", "test_bad", "-v"], dir.path());
    assert_eq!(out.status.code(), Some(0));
    insta::assert_snapshot!(timeless(&text(&out.stdout)), @"
    policies/c_test.rego:5:
    data.controls.c_test.test_bad: PASS (… ms)
    --------------------------------------------------------------------------------
    PASS: 1/1
    ");
}

#[test]
fn policies_that_do_not_load_are_usage_errors() {
    let dir = folder(&[(
        "policies/c.rego",
        "package controls.c\n\ndeny contains x if {\n\tx := string.upper(\"a\")\n}\n",
    )]);
    for command in ["test", "eval"] {
        let args: &[&str] =
            if command == "test" { &["policy", "test"] } else { &["policy", "eval", "-i", "x.json"] };
        let out = gatelog(args, dir.path());
        assert_eq!(out.status.code(), Some(2), "{command}");
        insta::allow_duplicates! {
            // `test` takes several paths, and shows them as they were given.
            insta::assert_snapshot!(text(&out.stderr).replace("policies/c.rego", "c.rego"), @r#"
            gatelog: the policies in policies cannot be used
            c.rego:4:7: there is no function `string.upper`
              |
            4 |  x := string.upper("a")
              |       ^
            "#);
        }
    }
    assert_eq!(gatelog(&["policy", "test", "nowhere"], dir.path()).status.code(), Some(2));
    let lib = folder(&[("policies/a.rego", "package a\n\ntest_x := true\n")]);
    let out = gatelog(&["policy", "test"], lib.path());
    assert_eq!(out.status.code(), Some(0));
    insta::assert_snapshot!(text(&out.stderr), @"warning: `serve` would refuse these policies: policies: there is no control");
}

fn document() -> Value {
    json!({
        "about": "pull_request", "time": "2026-11-24T15:04:05.000000Z",
        "event": {"name": "pull_request", "action": "opened", "payload": {}},
        "pull_request": {"title": "WIP \u{1b}[31mred", "draft": false, "user": {"id": 1, "login": "ann"}}, "reviews": [],
        "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:04:05.000000Z"},
    })
}

#[test]
fn eval_prints_the_verdict() {
    let dir = folder(&[("in.json", &document().to_string())]);
    let policies = fixtures().join("policies");
    let policies = policies.to_str().unwrap();
    let out = gatelog(&["policy", "eval", "-i", "in.json", policies], dir.path());
    assert_eq!(out.status.code(), Some(1));
    let digest = regex::Regex::new("sha256:[0-9a-f]{64}").unwrap();
    insta::assert_snapshot!(digest.replace(&text(&out.stdout), "sha256:…"));
    let out = gatelog(&["policy", "eval", "-i", "in.json", "--format", "json", policies], dir.path());
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(verdict["decision"], "deny");

    let mut good = document();
    good["about"] = json!("ref");
    std::fs::write(dir.path().join("in.json"), good.to_string()).unwrap();
    let out = gatelog(&["policy", "eval", "-i", "in.json", policies], dir.path());
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
    std::fs::write(dir.path().join("in.json"), "{}").unwrap();
    assert_eq!(gatelog(&["policy", "eval", "-i", "in.json", policies], dir.path()).status.code(), Some(2));
    assert_eq!(gatelog(&["policy", "eval", "-i", "none.json", policies], dir.path()).status.code(), Some(5));
}

/// With backtraces each of the parser's many errors walks the stack: twenty times slower.
#[cfg(unix)]
#[test]
fn no_backtraces_are_recorded() {
    let literal = format!("{}1{}", "[".repeat(10), "]".repeat(10));
    let rules: String = (0..400).map(|i| format!("r{i} := {literal}\n")).collect();
    let dir = folder(&[("policies/a.rego", &format!("package a\n\n{rules}"))]);
    let run = |backtrace: &str| -> Duration {
        let start = Instant::now();
        let out = Command::new(env!("CARGO_BIN_EXE_gatelog"))
            .args(["policy", "test"])
            .env("RUST_BACKTRACE", backtrace)
            .env_remove("RUST_LIB_BACKTRACE")
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        start.elapsed()
    };
    let (without, with) = (run("0"), run("1"));
    assert!(with < without * 4 + Duration::from_millis(500), "{with:?} with, {without:?} without");
}
