//! `docs/policies.md`: every command of it, in its order, as it is written. And what is generated.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn gatelog(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Lines `$ gatelog …` in the blocks of a page.
fn commands(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter_map(|l| l.strip_prefix("$ gatelog "));
    lines.map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
}

/// The number of the first verdict on the first pull request of the story, as `log list` names it.
fn first_verdict(dir: &Path) -> String {
    let listed = said(&gatelog(&["log", "list", "--ledger", "story", "--kind", "verdict"], dir));
    let row = listed.lines().find(|line| line.contains(" octo-org/shop#1 "));
    row.and_then(|row| row.split_whitespace().next()).unwrap_or_else(|| panic!("{listed}")).to_owned()
}

/// It runs until it is ended: long enough to see its tests pass.
fn watch(args: &[&str], dir: &Path) {
    let log = std::fs::File::create(dir.join("watch.log")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !std::fs::read_to_string(dir.join("watch.log")).unwrap().contains("watching") {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_tutorial_ends_with_a_control_that_decides() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let out = gatelog(&["demo", "--dir", "story"], dir);
    assert!(out.status.success(), "{}", said(&out));
    let page = std::fs::read_to_string(root().join("docs/policies.md")).unwrap();
    let mut commands = commands(&page);
    assert!(commands.len() > 10, "{commands:?}");
    // The page takes 8 for the number that the reader finds: what is at once in the story has no fixed order.
    let first = first_verdict(dir);
    commands.iter_mut().flatten().filter(|word| *word == "8").for_each(|word| first.clone_into(word));
    for command in &commands {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        if args.contains(&"--watch") {
            watch(&args, dir);
            continue;
        }
        let out = gatelog(&args, dir);
        // A verdict may be a deny; everything else ends well.
        let fine = if args.starts_with(&["policy", "eval"]) { vec![0, 1] } else { vec![0] };
        assert!(out.status.code().is_some_and(|c| fine.contains(&c)), "{args:?}: {}", said(&out));
    }
    // Off evaluate, it blocks.
    let control = dir.join("policies/controls/no_stop_label/no_stop_label.rego");
    let text = std::fs::read_to_string(&control).unwrap();
    std::fs::write(&control, text.replace("#   mode: evaluate\n", "")).unwrap();
    let fixture = std::fs::read_to_string(dir.join("fixture.json")).unwrap();
    let mut input: serde_json::Value = serde_json::from_str(&fixture).unwrap();
    input["pull_request"]["labels"] = serde_json::json!([{"name": "do not merge"}]);
    std::fs::write(dir.join("labelled.json"), input.to_string()).unwrap();
    let out = gatelog(&["policy", "eval", "--input", "labelled.json", "policies"], dir);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("the label do not merge says that it must not be merged"), "{}", said(&out));
}

#[test]
fn a_new_control_is_clean_and_covered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(gatelog(&["init", "."], dir).status.success());
    assert!(gatelog(&["policy", "new", "ticket_in_title"], dir).status.success());
    let out = gatelog(&["policy", "test", "--coverage"], dir);
    assert!(out.status.success(), "{}", said(&out));
    let line = said(&out).lines().find(|l| l.contains("ticket_in_title.rego")).unwrap().to_owned();
    assert!(line.contains("100.0 %"), "{line}");
    let out = gatelog(&["policy", "check", "--strict"], dir);
    assert!(out.status.success(), "{}", said(&out));
    for (args, why) in [
        (vec!["policy", "new", "ticket_in_title"], "is there already"),
        (vec!["policy", "new", "Ticket"], "no name for a control"),
        (vec!["policy", "new", "../x"], "no name for a control"),
        (vec!["policy", "new", "x", "--policies", "nowhere"], "gatelog init"),
    ] {
        let out = gatelog(&args, dir);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(said(&out).contains(why), "{args:?}: {}", said(&out));
    }
}

#[test]
fn the_list_of_controls_in_the_documents_is_current() {
    let page = std::fs::read_to_string(root().join("docs/controls.md")).unwrap();
    let begin = "<!-- made by `gatelog policy catalog policies` -->\n";
    let (_, rest) = page.split_once(begin).unwrap();
    let (listed, _) = rest.split_once("<!-- until here -->").unwrap();
    let out = gatelog(&["policy", "catalog", "policies"], &root());
    assert_eq!(listed, String::from_utf8(out.stdout).unwrap(), "run `gatelog policy catalog policies`");
    for format in ["json", "csv"] {
        let out = gatelog(&["policy", "catalog", "policies", "--format", format], &root());
        assert!(said(&out).contains("CHG-02"), "{format}");
    }
}

/// Every line of the shipped policies is reached by their tests.
#[test]
fn the_shipped_policies_are_covered() {
    let out = gatelog(&["policy", "test", "policies", "--threshold", "100"], &root());
    assert!(out.status.success(), "{}", said(&out));
}
