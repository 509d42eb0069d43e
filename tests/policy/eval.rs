//! `gatelog policy eval`: one input, one verdict, and why.

use std::path::{Path, PathBuf};

use crate::common::{
    program::gatelog,
    scene::{REPO, Scene},
};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    regex::Regex::new("sha256:[0-9a-f]{64}").unwrap().replace_all(&text, "sha256:…").into_owned()
}

fn author() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/author")
}

fn input() -> Value {
    json!({
        "about": "pull_request", "time": "2026-11-24T15:04:05.000000Z", "mode": "strict", "level": 1, "bad": true,
        "event": {"name": "pull_request", "action": "opened", "payload": {}},
        "repository": {"id": 7, "name": "octo-org/payments"},
        "pull_request": {"number": 12, "draft": true, "head": {"sha": "1".repeat(40)}},
        "users": [{"name": "bob"}, {"name": "eve"}],
        "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:04:05.000000Z"},
    })
}

#[test]
fn explain_says_which_rule_gave_what() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.json"), input().to_string()).unwrap();
    let author = author();
    let run = |more: &[&str]| {
        gatelog(&[&["policy", "eval", "-i", "in.json", author.to_str().unwrap()], more].concat(), dir.path())
    };
    let out = run(&["--explain"]);
    assert_eq!(out.status.code(), Some(1));
    insta::assert_snapshot!(text(&out.stdout));
    let out = run(&["--explain", "--format", "json"]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    // `allow` is undefined, which is worse than a `deny`'s word.
    assert_eq!(said["verdict"]["decision"], "error");
    assert_eq!(said["rules"]["controls.c"][0]["rule"], "data.controls.c.deny");
    let out = run(&["--check-run"]);
    assert!(
        text(&out.stdout).starts_with("completed, conclusion: failure\nDraft. Could not decide: "),
        "{}",
        text(&out.stdout)
    );
}

#[test]
fn another_parameter_gives_another_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let control = "package controls.limit\n\ndeny contains \"too long\" if data.params.defaults.limit.max < 5\n\nwarn contains \"here\" if data.params.repositories[\"o/r\"].on\n";
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    std::fs::write(dir.path().join("policies/limit.rego"), control).unwrap();
    std::fs::write(dir.path().join("policies/data.yaml"), "params: {defaults: {limit: {max: 3}}}\n").unwrap();
    std::fs::write(dir.path().join("in.json"), input().to_string()).unwrap();
    let run = |more: &[&str]| gatelog(&[&["policy", "eval", "-i", "in.json"], more].concat(), dir.path());
    assert_eq!(run(&[]).status.code(), Some(1));
    let out =
        run(&["--set", "params.defaults.limit.max=9", "--set", "data.params.repositories.\"o/r\".on=true"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("warn: here"), "{}", text(&out.stdout));
    // Nobody takes that for a verdict of the bundle.
    assert!(text(&out.stdout).contains("with other data"));
    for wrong in ["params", "=3", "params..x=1", "params.defaults.limit.max.x=1"] {
        assert_eq!(run(&["--set", wrong]).status.code(), Some(2), "{wrong}");
    }
}

/// A verdict of a ledger, judged again, gives the same decision; recorded, nobody's name is left in it.
#[test]
fn an_entry_of_a_ledger_is_judged_again_and_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let story = dir.path().join("story");
    let out = gatelog(&["demo", "--dir", story.to_str().unwrap()], dir.path());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let list =
        gatelog(&["log", "list", "--ledger", story.to_str().unwrap(), "--format", "jsonl"], dir.path());
    let entries: Vec<Value> =
        text(&list.stdout).lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let policies = root.join("policies");
    let mut judged = 0;
    for entry in entries.iter().filter(|e| e["kind"] == "verdict") {
        let seq = entry["seq"].to_string();
        let run = |command: &[&str], more: &[&str]| {
            let place = ["--entry", &seq, "--ledger", story.to_str().unwrap()];
            gatelog(&[command, &place, more].concat(), dir.path())
        };
        let out = run(&["policy", "eval"], &[policies.to_str().unwrap(), "--format", "json"]);
        if out.status.code() == Some(4) {
            continue; // decided without an input
        }
        let again: Value = serde_json::from_slice(&out.stdout).unwrap();
        let out = run(&["policy", "record"], &["-o", "fixture.json"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        let fixture = std::fs::read_to_string(dir.path().join("fixture.json")).unwrap();
        let out = gatelog(
            &["policy", "eval", "-i", "fixture.json", policies.to_str().unwrap(), "--format", "json"],
            dir.path(),
        );
        let recorded: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(recorded["decision"], again["decision"], "entry {seq}");
        let input: Value = serde_json::from_str(&fixture).unwrap();
        let login = input["pull_request"]["user"]["login"].as_str();
        assert!(login.is_none_or(|l| l.starts_with("person-") || l.starts_with("app-")), "{login:?}");
        judged += 1;
    }
    assert!(judged > 3, "{judged} verdicts of {} entries", entries.len());
}

/// Read live as the gate would read it, by the policies at hand; nothing is recorded, nothing shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_read_as_it_stands_now() {
    let s = Scene::started().await;
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let ledger = s.service.ledger.to_str().unwrap().to_owned();
    let pull = format!("{REPO}#{number}");
    let eval = |pull: &str, more: &[&str]| {
        let args = ["policy", "eval", policies.to_str().unwrap(), "--ledger", &ledger, "--pull", pull];
        gatelog(&[&args, more].concat(), &s.service.dir)
    };
    let writes = |s: &Scene| {
        s.gh.requests().iter().filter(|r| r.method != "GET" && !r.path.contains("graphql")).count()
    };
    let (entries, written) = (s.view().entries.len(), writes(&s));
    let out = eval(&pull, &["--format", "json"]);
    let said: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stderr)));
    assert_eq!((said["decision"].as_str(), out.status.code()), (Some("deny"), Some(1)));
    assert_eq!(
        (said["reason"].as_str(), s.check(number).1.as_str()),
        (Some("Blocked: 0 of 1 approvals"), "Blocked: 0 of 1 approvals")
    );

    // What no webhook has told yet is there too.
    s.gh.with(|w| w.approve("bob", REPO, number)).unwrap();
    let out = eval(&pull, &["--check-run"]);
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
    assert!(text(&out.stdout).starts_with("completed, conclusion: success\n"), "{}", text(&out.stdout));
    // What if two were required: a fact that the active policies do not ask for is read all the same.
    let two = ["--set", "params.defaults.required_reviews.required_approving_review_count=2"];
    assert_eq!(eval(&pull, &two).status.code(), Some(1));
    let linear = ["--set", "params.defaults.up_to_date.enabled=true", "--format", "json"];
    let said: Value = serde_json::from_slice(&eval(&pull, &linear).stdout).unwrap();
    assert_eq!(said["decision"], "allow", "{said:#}");

    assert_eq!((s.view().entries.len(), writes(&s)), (entries, written), "nothing is recorded or written");
    for (pull, code, why) in [
        ("octo-org/nowhere#1", 2, "no event and no sweep has told of a repository `octo-org/nowhere`"),
        ("octo-org/app", 2, "write it as owner/name#12"),
        ("octo-org/app#999", 1, ""),
    ] {
        let out = eval(pull, &[]);
        let stderr = text(&out.stderr);
        assert!(out.status.code() == Some(code) && stderr.contains(why), "{pull}: {:?} {stderr}", out.status);
    }
    let nowhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(nowhere.path().join("journal")).unwrap();
    let other = nowhere.path().to_str().unwrap();
    let args = ["policy", "eval", policies.to_str().unwrap(), "--ledger", other, "--pull", &pull];
    let out = gatelog(&args, nowhere.path());
    assert!(text(&out.stderr).contains("no gatelog runs"), "{}", text(&out.stderr));
    assert_ne!(out.status.code(), Some(0));
}
