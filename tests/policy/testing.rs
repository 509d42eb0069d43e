//! `gatelog policy test`: what passes and what fails is as `opa test` has it, and a failure says why.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::common::{
    foreign::{Tool, foreign},
    program::gatelog,
};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn timeless(s: &str) -> String {
    let s = regex::Regex::new(r"\(\d+\.\d+ ms\)").unwrap().replace_all(s, "(… ms)").into_owned();
    regex::Regex::new("time=\"[0-9.]+\"").unwrap().replace_all(&s, "time=\"…\"").into_owned()
}

#[test]
fn a_failure_says_which_statement_did_not_hold() {
    let out = gatelog(&["policy", "test", "author"], &fixtures());
    assert_eq!(out.status.code(), Some(1));
    insta::assert_snapshot!(timeless(&text(&out.stdout)));
}

#[test]
fn every_format_tells_the_same() {
    for format in ["tap", "junit", "github"] {
        let out = gatelog(&["policy", "test", "author", "--format", format, "--coverage"], &fixtures());
        assert_eq!(out.status.code(), Some(1), "{format}");
        insta::assert_snapshot!(format, timeless(&text(&out.stdout)));
    }
    let out = gatelog(&["policy", "test", "author", "--format", "json", "--coverage"], &fixtures());
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    let tests = said["tests"].as_array().unwrap();
    let count = |what: &str| tests.iter().filter(|t| t["outcome"] == what).count();
    assert_eq!(said["passed"], count("pass"));
    assert_eq!(said["failed"], count("fail") + count("error"));
    let quiet = tests.iter().find(|t| t["name"] == "data.controls.c_test.test_quiet").unwrap();
    assert_eq!(quiet["location"]["line"], 33);
    let failed = &quiet["why"]["bodies"][0]["failed"];
    assert_eq!(failed["text"], "c.quiet with input as x");
    assert_eq!(failed["below"][0]["rule"], "data.controls.c.quiet");
}

#[test]
fn lines_that_no_test_reached_are_named() {
    let run = |args: &[&str]| {
        gatelog(&[&["policy", "test", "author/c.rego", "author/lib"], args].concat(), &fixtures())
    };
    let all = ["author/c_test.rego", "--run", "allow|quiet|not", "--coverage"];
    let out = run(&all);
    let said = text(&out.stdout);
    let tail = said.find("author/c.rego  ").map_or("", |at| &said[at..]);
    insta::assert_snapshot!(tail, @r"
    author/c.rego      100.0 %
    author/lib/x.rego   66.7 %  not covered: 7
    COVERAGE: 90.0 %
    ");
    let out = run(&["author/c_test.rego", "--run", "test_bad", "--threshold", "50"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("less than 50 %"), "{}", text(&out.stderr));
    assert_eq!(run(&["author/c_test.rego", "--run", "test_bad", "--threshold", "1"]).status.code(), Some(0));
    assert_eq!(run(&["--threshold", "101"]).status.code(), Some(2));
}

/// Whatever a definition looks like, it ends as with `opa test`.
#[test]
fn opa_ends_every_test_the_same() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let opa = opa.to_str().unwrap().to_owned();
    let out = gatelog(&["policy", "test", "author", "--with-opa", "--opa", &opa], &fixtures());
    assert_eq!(text(&out.stdout).lines().last(), Some("opa: the same result for each of 26 tests"));
    let out = gatelog(&["policy", "test", "author", "--with-opa", "--opa", "no-such-opa"], &fixtures());
    assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
}

#[test]
fn a_difference_is_shown() {
    // An `opa` that says otherwise.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a_test.rego"), "package a_test\n\ntest_x := true\n").unwrap();
    let fake = dir.path().join("opa");
    std::fs::write(
        &fake,
        "#!/bin/sh\necho '[{\"package\":\"data.a_test\",\"name\":\"test_x\",\"fail\":true}]'\n",
    )
    .unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let out = gatelog(&["policy", "test", ".", "--with-opa", "--opa", "./opa"], dir.path());
        assert_eq!(out.status.code(), Some(1));
        assert!(
            text(&out.stdout).contains("data.a_test.test_x: pass here, fail by opa"),
            "{}",
            text(&out.stdout)
        );
    }
}

#[test]
fn recorded_inputs_are_asked_of_both() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let opa = opa.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::create_dir(dir.path().join("p")).unwrap();
    write("in/one.json", "{\"n\": [1, 2], \"time\": \"2026-11-24T15:00:00Z\"}");
    write("in/two.json", "{\"n\": 5, \"time\": \"2026-11-25T15:00:00Z\"}");
    let control = "package controls.c\n\ndeny contains {\"n\": n, \"at\": time.now_ns()} if some n in input.n\n\n\
                   warn contains 1 if not input.n\n\nskip_reason := data.why\n";
    write("p/c.rego", control);
    write("p/data.yaml", "why: none\n");
    let run = |more: &[&str]| {
        let args = ["policy", "test", "p", "--with-opa", "--opa", opa];
        gatelog(&[&args, more].concat(), dir.path())
    };
    let out = run(&["--input", "in/one.json"]);
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
    assert!(text(&out.stdout).ends_with("opa: the same answer to each of 3 questions about 1 inputs\n"));
    // `some … in` a number is an error here, and nothing to OPA.
    let out = run(&["--input", "in"]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stdout);
    let shown = said.split_once("in/two.json").map(|(_, rest)| format!("in/two.json{rest}"));
    insta::assert_snapshot!(shown.unwrap_or(said));
    for wrong in [&["--input", "p"][..], &["--input", "p/data.yaml"], &["--entry", "1"]] {
        assert_ne!(run(wrong).status.code(), Some(0), "{wrong:?}");
    }
    let out = gatelog(&["policy", "test", "p", "--input", "in"], dir.path());
    assert_eq!(out.status.code(), Some(2), "without --with-opa");
}

#[test]
fn a_change_runs_the_tests_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a_test.rego");
    std::fs::write(&file, "package a_test\n\ntest_x := false\n").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["policy", "test", ".", "--watch"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (send, lines) = mpsc::channel();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|n| n > 0) {
            let _ = send.send(std::mem::take(&mut line));
        }
        let _ = out.read_to_string(&mut line);
    });
    let wait_for = |what: &str| loop {
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{what}: {e}"));
        if line.starts_with(what) {
            return;
        }
    };
    wait_for("FAIL: 1/1");
    wait_for("watching");
    std::fs::write(&file, "package a_test\n\ntest_x := true  # now\n").unwrap();
    wait_for("PASS: 1/1");
    wait_for("watching");
    // What does not load is said, and waits for the next change.
    std::fs::write(&file, "package a_test\n\ntest_x :=\n").unwrap();
    wait_for("watching");
    child.kill().unwrap();
    child.wait().unwrap();
}
