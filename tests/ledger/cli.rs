//! `gatelog log` through the real binary.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use gatelog::{
    ledger::{
        Ledger,
        entry::{Body, Draft, Key, Kind, Ref, ReportData, ReportResult},
    },
    policy::{Bundle, Input},
    time::Time,
    verdict::{Control, Decision, Finding, FindingKind, Outcome, Verdict},
};
use serde_json::{Value, json};

use crate::ledger_util::*;

fn gatelog(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .arg("log")
        .args(args)
        .arg("--ledger")
        .arg(dir)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let output = gatelog(dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    stdout(&output).to_owned()
}

fn body(value: &Value) -> Body {
    Body { bytes: value.to_string().into(), media: "application/json" }
}

fn event(name: &str, action: &str, payload: &Value) -> Draft {
    let mut payload = payload.clone();
    let action = (!action.is_empty()).then_some(action);
    payload["action"] = action.into();
    payload["repository"] = json!({"id": 3, "full_name": "Acme/Pay"});
    let guid = format!("{name}-{action:?}");
    Draft {
        bodies: vec![("payload".into(), body(&payload))],
        data: json!({"name": name, "action": action, "source": "github", "cause": null, "flags": []}),
        ..delivery(&guid, "")
    }
}

fn finding(msg: &str) -> Finding {
    let kind = FindingKind::Deny;
    let fix = Some("git commit --amend -S".into());
    Finding {
        kind,
        msg: msg.into(),
        path: None,
        line: None,
        commit: None,
        who: Some("the author".into()),
        fix,
    }
}

fn denied() -> Draft {
    let control = |id: &str, outcome, findings| Control {
        id: id.into(),
        package: "controls.x".into(),
        title: "X".into(),
        severity: None,
        outcome,
        evaluate_only: false,
        findings,
        skip_reason: None,
        waived_by: vec![],
    };
    let verdict_body = Verdict {
        decision: Decision::Deny,
        reason: "Blocked: 1 commit is not signed".into(),
        controls: vec![
            control("CHG-02", Outcome::Pass, vec![]),
            control("CHG-05", Outcome::Deny, vec![finding("0011223 is \u{1b}]0;owned\u{7}unsigned")]),
        ],
        valid_until: None,
        bundle: "sha256:00".into(),
        engine: "regorus".into(),
        rewriter: 1,
        answers: vec![],
    };
    let facts =
        json!({"about": "pull_request", "event": {"name": "pull_request"}, "time": "2026-11-24T15:04:06Z"});
    Draft {
        bodies: vec![
            ("verdict".into(), body(&serde_json::to_value(verdict_body).unwrap())),
            ("facts".into(), body(&facts)),
        ],
        ..verdict(Ref::InGroup(0), Decision::Deny)
    }
}

fn shown() -> Draft {
    let data = ReportData {
        target: target(),
        result: ReportResult::Created,
        check_run: Some(9),
        conclusion: Some("failure".into()),
        covers: vec![2],
    };
    Draft { data: serde_json::to_value(data).unwrap(), ..report(&[2]) }
}

/// Every entry a second after the one before.
fn clock() -> impl FnMut() -> Time {
    let mut now: Time = "2026-11-24T15:04:04Z".parse().unwrap();
    move || {
        now = now.plus(std::time::Duration::from_secs(1));
        now
    }
}

async fn story() -> (Dir, Ledger) {
    let dir = Dir::new();
    let (ledger, _) = Ledger::open(&dir.path(), clock()).unwrap();
    let alice = json!({"login": "alice", "id": 1});
    let opened = json!({
        "sender": alice,
        "pull_request": {"title": "Fix \u{1b}[2J\u{202e}rounding", "head": {"sha": SHA}},
    });
    ledger.append(vec![event("pull_request", "opened", &opened), denied()]).await.unwrap();
    ledger.append(vec![shown()]).await.unwrap();
    let review = json!({"sender": {"login": "bob"}, "review": {"state": "approved", "commit_id": SHA}});
    // This one came form-encoded.
    let mut reviewed = event("pull_request_review", "submitted", &review);
    let json = String::from_utf8(reviewed.bodies[0].1.bytes.to_vec()).unwrap();
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
    reviewed.bodies[0].1 = Body { bytes: form.into(), media: "application/x-www-form-urlencoded" };
    ledger.append(vec![reviewed, denied()]).await.unwrap();
    let push = Draft {
        subject: gatelog::event::Subject { kind: gatelog::event::SubjectKind::Ref, id: None, ..subject() },
        ..event("push", "", &json!({"sender": alice, "ref": "refs/heads/main", "after": SHA}))
    };
    ledger.append(vec![push]).await.unwrap();
    (dir, ledger)
}

#[tokio::test]
async fn a_pull_request_reads_as_a_story() {
    let (dir, _ledger) = story().await;
    insta::assert_snapshot!(ok(&dir.path(), &["list", "--repo", "acme/pay", "--pr", "4"]), @r"
    Acme/Pay#4

    2026-11-24 15:04:06       1  alice opened it at 0011223: Fix \u{1b}[2J\u{202e}rounding
                              2  deny: Blocked: 1 commit is not signed
                                   CHG-05 deny: 0011223 is \u{1b}]0;owned\u{7}unsigned  (can fix it: the author)
                                       fix: git commit --amend -S
    2026-11-24 15:04:07       3  shown: gatelog on 0011223: failure (created)
    2026-11-24 15:04:08       4  bob approved 0011223
                              5  deny: Blocked: 1 commit is not signed (nothing new)
    ");
}

#[tokio::test]
async fn a_list_is_a_table() {
    let (dir, _ledger) = story().await;
    let table = ok(&dir.path(), &["list"]);
    let id = hex::encode(_ledger.head().ledger_id);
    insta::assert_snapshot!(table.replace(&id, "<id>"), @r#"
    ENTRY  TIME                 KIND      ABOUT                         WHAT
        0  2026-11-24 15:04:05  service                                 {"format":1,"generation":1,"ledger_id":"<id>","predecessor":null}
        1  2026-11-24 15:04:06  event     Acme/Pay#4                    pull_request.opened
        2  2026-11-24 15:04:06  verdict   Acme/Pay#4                    deny: Blocked: 1 commit is not signed
        3  2026-11-24 15:04:07  report    Acme/Pay#4                    gatelog on 0011223: failure (created)
        4  2026-11-24 15:04:08  event     Acme/Pay#4                    pull_request_review.submitted
        5  2026-11-24 15:04:08  verdict   Acme/Pay#4                    deny: Blocked: 1 commit is not signed
        6  2026-11-24 15:04:09  event     Acme/Pay@0011223              push
    "#);
}

#[tokio::test]
async fn filters() {
    let (dir, _ledger) = story().await;
    let seqs = |args: &[&str]| -> Vec<u64> {
        let args = [&["list", "--format", "jsonl"], args].concat();
        let lines = ok(&dir.path(), &args);
        lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&[]), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(seqs(&["--kind", "verdict"]), [2, 5]);
    assert_eq!(seqs(&["--decision", "deny", "--limit", "1"]), [5]);
    assert_eq!(seqs(&["--decision", "allow"]), [0; 0]);
    assert_eq!(seqs(&["--sha", "00112233", "--kind", "event"]), [1, 4, 6]);
    assert_eq!(seqs(&["--repo", "3", "--pr", "4"]), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&["--since", "2026-11-24T15:04:07Z", "--until", "2026-11-24T15:04:08Z"]), [3]);
    assert_eq!(seqs(&["--since", "2026-11-25"]), [0; 0]);
    let unknown = gatelog(&dir.path(), &["list", "--repo", "acme/other"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("known: Acme/Pay"));
    assert_eq!(gatelog(&dir.path(), &["list", "--decision", "maybe"]).status.code(), Some(2));
    assert_eq!(ok(&dir.path(), &["list", "--decision", "allow"]), "No entry matches.\n");
}

#[tokio::test]
async fn jsonl_is_the_chain_itself() {
    let (dir, ledger) = story().await;
    let mut prev = [0; 32];
    for line in ok(&dir.path(), &["list", "--format", "jsonl"]).lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["prev"], hex::encode(prev));
        prev = gatelog::ledger::chain::leaf_hash(line.as_bytes()).0;
    }
    assert_eq!(prev, ledger.head().leaf.0);
    let all: Vec<Value> = serde_json::from_str(&ok(&dir.path(), &["list", "--format", "json"])).unwrap();
    assert_eq!(all.len(), 7);
    assert_eq!(ok(&dir.path(), &["list", "--format", "json", "--kind", "waiver"]), "[]\n");
}

#[tokio::test]
async fn show_and_its_input() {
    let (dir, ledger) = story().await;
    let shown = ok(&dir.path(), &["show", "1"]);
    assert!(
        shown.starts_with(&format!("entry 1  leaf {}", ledger.entry(1).unwrap().unwrap().leaf)),
        "{shown}"
    );
    assert!(
        shown.contains("body payload  application/json") && shown.contains("\"login\": \"alice\""),
        "{shown}"
    );
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");

    // From the verdict, from its event, and where the payload was form-encoded.
    for (asked, sender) in [("2", "alice"), ("1", "alice"), ("5", "bob"), ("4", "bob")] {
        let input: Value = serde_json::from_str(&ok(&dir.path(), &["show", asked, "--input"])).unwrap();
        assert_eq!(input["about"], "pull_request");
        assert_eq!(input["event"]["payload"]["sender"]["login"], sender, "{asked}");
        assert_eq!(input["event"]["name"], "pull_request");
    }
    let code = |args: &[&str]| gatelog(&dir.path(), args).status.code();
    assert_eq!(code(&["show", "6", "--input"]), Some(4), "not judged yet");
    assert_eq!(code(&["show", "3", "--input"]), Some(2), "a report has no input");
    assert_eq!(code(&["show", "7"]), Some(2), "there is no such entry");
}

#[tokio::test]
async fn verify_while_it_runs_on_a_copy_and_from_a_folder_above() {
    let (dir, ledger) = story().await;
    let last = format!("VERIFIED  entries 0..6  root {}", ledger.head().root);
    let above = dir.0.path();
    let elsewhere = tempfile::tempdir().unwrap();
    copy(&dir.path().join("journal"), elsewhere.path());
    for place in [&dir.path(), above, &dir.path().join("journal"), elsewhere.path()] {
        let text = ok(place, &["verify"]);
        assert_eq!(text.lines().last(), Some(last.as_str()), "{}", place.display());
        assert!(text.lines().rev().nth(1).unwrap().starts_with("not proved without a witness"), "{text}");
    }
    ledger.close().await.unwrap();
    assert_eq!(ok(&dir.path(), &["verify"]).lines().last(), Some(last.as_str()));
}

#[tokio::test]
async fn exit_codes_of_a_bad_ledger_and_of_none() {
    let (dir, ledger) = story().await;
    ledger.close().await.unwrap();
    let segment = dir.path().join("journal/00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() - 300;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = gatelog(&dir.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stdout(&output).lines().last().unwrap().starts_with("FAILED at entry 6: "),
        "{}",
        stdout(&output)
    );
    assert_eq!(gatelog(&dir.path(), &["list"]).status.code(), Some(3));
    assert_eq!(gatelog(&dir.path(), &["show", "1"]).status.code(), Some(0), "what is whole can be read");

    for missing in [dir.path().join("nowhere"), dir.path().join("sled")] {
        for args in [&["verify"][..], &["list"], &["show", "1"]] {
            let output = gatelog(&missing, args);
            assert_eq!(output.status.code(), Some(5));
            assert!(String::from_utf8_lossy(&output.stderr).contains("--ledger"));
        }
    }
}

/// Whoever may not look into a ledger is not told that there is none.
#[tokio::test]
async fn a_folder_that_cannot_be_looked_into_is_not_called_empty() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path()).unwrap();
    let itself = dir.path().join("loop");
    std::os::unix::fs::symlink(&itself, &itself).unwrap();
    let output = gatelog(&itself, &["list"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5));
    assert!(said.contains("cannot be read: ") && said.contains("as the user that gatelog runs as"), "{said}");
}

#[tokio::test]
async fn a_backup_goes_into_a_folder() {
    let (dir, ledger) = story().await;
    ledger.close().await.unwrap();
    let file = dir.0.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = gatelog(&dir.path(), &["backup", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("is a file: name the folder of the backup"), "{said}");
}

/// Of a ledger that was stopped cleanly too, whose last segment ends with its seal.
#[tokio::test]
async fn an_entry_beyond_the_end_does_not_exist() {
    let (dir, ledger) = story().await;
    let size = ledger.head().size;
    for stopped in [false, true] {
        if stopped {
            ledger.close().await.unwrap();
        }
        for seq in [size, size + 900] {
            let out = gatelog(&dir.path(), &["show", &seq.to_string()]);
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(2), "stopped: {stopped}, {seq}: {said}");
            assert!(
                said.contains(&format!("entry {seq} does not exist: the ledger ends before it")),
                "{said}"
            );
        }
    }
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let (dir, _ledger) = story().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["log", "list", "--ledger"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[tokio::test]
async fn a_story_without_its_bodies_is_still_told() {
    let dir = Dir::new();
    let (ledger, _) = Ledger::open(&dir.path(), clock()).unwrap();
    let plain = Draft { kind: Kind::Event, key: Key::Plain("x".into()), bodies: vec![], ..delivery("", "") };
    ledger.append(vec![plain, verdict(Ref::InGroup(0), Decision::Allow)]).await.unwrap();
    let text = ok(&dir.path(), &["list", "--repo", "3", "--pr", "4"]);
    assert!(text.contains("push (its payload is not there)"), "{text}");
    assert!(text.contains("allow (its reasons are not there)"), "{text}");
}

/// A verdict that its input and bundle do not give, entered by someone who could write the ledger.
#[tokio::test]
async fn a_verdict_that_cannot_be_judged_again_is_named() {
    let (dir, ledger) = story().await;
    let policies = tempfile::tempdir().unwrap();
    let rego = "package controls.titles\n\ndeny contains \"rude\" if input.event.payload.title == \"rude\"\n";
    std::fs::write(policies.path().join("titles.rego"), rego).unwrap();
    let bundle = Bundle::load(policies.path()).unwrap();
    let archive = Body { bytes: bundle.archive().into(), media: "application/vnd.gatelog.bundle" };
    let service = |kind, key, bodies, data| Draft { kind, key, bodies, data, ..delivery("x", "") };
    let policy = json!({"bundle": bundle.digest()});
    ledger
        .append(vec![service(Kind::Policy, Key::Own("policy"), vec![("bundle".into(), archive)], policy)])
        .await
        .unwrap();

    let mut entries = vec![];
    for (guid, title) in [("a", "rude"), ("b", "fine"), ("c", "rude")] {
        let payload = json!({"title": title});
        let event = Draft { bodies: vec![("payload".into(), body(&payload))], ..delivery(guid, "") };
        let event = ledger.append(vec![event]).await.unwrap()[0].seq;
        let facts = json!({
            "time": "2026-11-24T15:04:05.000000Z", "about": "none",
            "event": {}, "facts": {"complete": true, "missing": []},
        });
        let input = Input::splice(facts.to_string().as_bytes(), payload.to_string().as_bytes()).unwrap();
        let mut verdict = bundle.judge(&input);
        if guid == "c" {
            verdict.decision = Decision::Allow;
        }
        let data = json!({
            "decision": verdict.decision, "bundle": verdict.bundle, "engine": verdict.engine,
            "rewriter": verdict.rewriter, "valid_until": null, "target": null, "superseded_by": null,
        });
        let raw = Body { bytes: verdict.to_bytes().into(), media: "application/json" };
        let bodies = vec![("verdict".into(), raw), ("facts".into(), body(&facts))];
        let draft = service(Kind::Verdict, Key::Verdict(Ref::Seq(event)), bodies, data);
        entries.push(ledger.append(vec![draft]).await.unwrap()[0].seq);
    }
    let replayed = gatelog(&dir.path(), &["replay"]);
    assert_eq!(replayed.status.code(), Some(3), "{}", stdout(&replayed));
    let expected = format!("entry {}: differs in decision\n  then  allow\n  now   deny\n", entries[2]);
    assert!(stdout(&replayed).contains(&expected), "{}", stdout(&replayed));
    assert!(stdout(&replayed).ends_with("FAILED  1 of 3 verdicts differ\n"), "{}", stdout(&replayed));
    let one = gatelog(&dir.path(), &["replay", &entries[1].to_string()]);
    assert_eq!(
        (one.status.code(), stdout(&one)),
        (Some(0), "REPLAYED  1 verdicts, 1 the same byte for byte\n")
    );
    let event = gatelog(&dir.path(), &["replay", "0"]);
    assert_eq!(event.status.code(), Some(2));
}
