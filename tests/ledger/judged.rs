//! Entries that say something else than what was judged, written and signed by whoever has the log's key.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::common::{
    foreign::{Tool, foreign, root},
    program::said,
};
use crate::evidence::gatelog;
use crate::ledger_util::{delivery, report, sign_and_close, target, verdict};
use bytes::Bytes;
use gatelog::{
    event::SubjectKind,
    ledger::{
        Ledger,
        entry::{Body, Draft, Key, Kind, Ref, ReportResult},
    },
    verdict::Decision,
};
use serde_json::{Value, json};

const ORIGIN: &str = "gate.example.com/log/1";

fn body(name: &str, value: &Value) -> (String, Body) {
    (name.to_owned(), Body { bytes: Bytes::from(value.to_string()), media: "application/json" })
}

/// The bundle, one event, a verdict that denies, a verdict that allows what came then, and a success of that.
struct Story {
    denied: Draft,
    allowed: Draft,
    shown: Draft,
}

impl Story {
    fn honest() -> Self {
        let judged = |event: u64, decision: Decision| {
            let mut draft = verdict(Ref::Seq(event), decision);
            draft.data["bundle"] = json!("sha256:00");
            let body_of = json!({
                "decision": decision, "reason": "because", "controls": [], "valid_until": "2026-12-01T00:00:00.000000Z",
                "bundle": "sha256:00", "engine": draft.data["engine"], "rewriter": draft.data["rewriter"],
            });
            // It is judged again before that.
            draft.data["valid_until"] = json!("2026-11-30T00:00:00.000000Z");
            draft.bodies = vec![body("verdict", &body_of), body("facts", &json!({"about": "pull_request"}))];
            draft
        };
        let mut shown = report(&[5]);
        shown.data["conclusion"] = json!("success");
        Self { denied: judged(2, Decision::Deny), allowed: judged(4, Decision::Allow), shown }
    }

    /// Signed, and taken away: the evidence, and the vkey.
    async fn written(self, dir: &Path) -> (PathBuf, String) {
        let data = dir.join("data");
        let (ledger, _) = Ledger::open(&data, gatelog::time::Time::now).unwrap();
        let policy = Draft {
            kind: Kind::Policy,
            key: Key::Own("policy"),
            bodies: vec![body("bundle", &json!({}))],
            data: json!({"bundle": "sha256:00"}),
            ..delivery("", "")
        };
        let event = |guid: &str| delivery(guid, "{\"repository\":{\"id\":3}}");
        ledger.append(vec![policy, event("a"), self.denied]).await.unwrap();
        ledger.append(vec![event("b"), self.allowed]).await.unwrap();
        ledger.append(vec![self.shown]).await.unwrap();
        let vkey = sign_and_close(&ledger, &data, ORIGIN).await;
        let file = dir.join("evidence.zip");
        let (ledger, zip) = (data.to_str().unwrap(), file.to_str().unwrap());
        let out =
            gatelog(&["audit", "evidence", "export", "--since", "2020-01-01", "--ledger", ledger, "-o", zip]);
        assert!(out.status.success(), "{}", said(&out));
        (file, vkey)
    }
}

/// Both verifiers of evidence, then the replay of the ledger.
fn all(file: &Path, vkey: &str) -> Vec<Output> {
    let zip = file.to_str().unwrap();
    let mut out = vec![gatelog(&["audit", "evidence", "verify", zip, "--vkey", vkey])];
    if let Some(python) = foreign(Tool::PlainPython) {
        let script = root().join("examples/verify_evidence.py");
        out.push(Command::new(python).arg("-B").arg(script).args([zip, "--vkey", vkey]).output().unwrap());
    }
    let data = file.parent().unwrap().join("data");
    out.push(gatelog(&["log", "replay", "--ledger", data.to_str().unwrap()]));
    out
}

type Lie = fn(&mut Story);

/// What is done, and what is said of it.
const LIES: &[(&str, Lie, &str)] = &[
    (
        "the entry allows what its body denies",
        |s| {
            s.denied.data["decision"] = json!("allow");
            s.shown.data["covers"] = json!([3]);
        },
        "entry 3: its decision is \"allow\", and \"deny\" in its body `verdict`",
    ),
    (
        "the body is no verdict",
        |s| s.allowed.bodies[0] = body("verdict", &json!("fine")),
        "entry 5: its decision is \"allow\", and nothing in its body `verdict`",
    ),
    (
        "other policies are named",
        |s| s.allowed.data["engine"] = json!("opa 1.0"),
        "entry 5: its engine is \"opa 1.0\", and \"regorus\" in its body `verdict`",
    ),
    (
        "it is valid for longer",
        |s| s.allowed.data["valid_until"] = json!("2027-01-01T00:00:00.000000Z"),
        "entry 5: it is valid until \"2027-01-01T00:00:00.000000Z\", and until \"2026-12-01T00:00:00.000000Z\" in its body",
    ),
    (
        "it is valid for ever",
        |s| s.allowed.data["valid_until"] = json!(null),
        "entry 5: it is valid until null, and until",
    ),
    (
        "it allows by no facts",
        |s| drop(s.allowed.bodies.pop()),
        "entry 5: it allows, and commits to no facts that it was made of",
    ),
    (
        "it allows without a verdict",
        |s| s.allowed.bodies.clear(),
        "entry 5: it allows, and commits to no verdict that it was made of",
    ),
    (
        "a denial was shown as a success",
        |s| s.shown.data["covers"] = json!([5, 3]),
        "entry 6: it shows a success of entry 3, which decided deny",
    ),
    (
        "an event was shown as a success",
        |s| s.shown.data["covers"] = json!([4]),
        "entry 6: it shows a success of entry 4, no verdict",
    ),
    (
        "nothing was shown as a success",
        |s| s.shown.data["covers"] = json!([]),
        "entry 6: it shows a success of no verdict",
    ),
];

#[tokio::test]
async fn an_entry_that_says_what_was_not_judged_is_found_out() {
    for (what, lie, expected) in LIES {
        let dir = tempfile::tempdir().unwrap();
        let mut story = Story::honest();
        lie(&mut story);
        let (file, vkey) = story.written(dir.path()).await;
        for out in all(&file, &vkey) {
            let text = said(&out).replace("FAILED at entry", "entry");
            assert_eq!(out.status.code(), Some(3), "{what}: {text}");
            assert!(text.contains(expected), "{what}: no `{expected}` in {text}");
        }
    }
}

/// Not every success needs each of its verdicts to allow, and not every verdict needs facts.
#[tokio::test]
async fn an_honest_entry_is_not_called_a_lie() {
    let honest: [(&str, Lie); 5] = [
        ("as it is", |_| {}),
        ("a deployment is answered by its newest verdict", |s| {
            s.denied.subject.kind = SubjectKind::Deployment;
            s.allowed.subject.kind = SubjectKind::Deployment;
            s.shown.data["covers"] = json!([3, 5]);
        }),
        ("a success that nobody may have seen", |s| {
            s.shown.data["covers"] = json!([3]);
            s.shown.data["result"] = json!(ReportResult::Unknown);
        }),
        ("an event of our own App is recorded, and shown nowhere", |s| {
            s.allowed.bodies.truncate(1);
            s.allowed.data["target"] = json!(null);
            s.shown.data["conclusion"] = json!("failure");
        }),
        ("what is red without a reason harms nobody", |s| s.shown.data["conclusion"] = json!("failure")),
    ];
    assert!(serde_json::to_value(target()).unwrap().is_object());
    for (what, change) in honest {
        let dir = tempfile::tempdir().unwrap();
        let mut story = Story::honest();
        change(&mut story);
        let (file, vkey) = story.written(dir.path()).await;
        let mut outs = all(&file, &vkey);
        // No bundle is there to judge with: that is said, and is no lie.
        let replay = outs.pop().unwrap();
        assert_eq!(replay.status.code(), Some(4), "{what}: {}", said(&replay));
        for out in outs {
            assert_eq!(out.status.code(), Some(0), "{what}: {}", said(&out));
        }
    }
}
