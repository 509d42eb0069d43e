//! Signatures by GitHub's own library (`@octokit/webhooks`) are taken by ours, and ours by it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::common::{
    foreign::{Tool, foreign, root},
    scene::Scene,
    service::SECRET,
};
use gatelog::simulated_github::sign;
use serde_json::{Value, json};

/// Bodies that signing code has been seen to get wrong: bytes beyond ASCII, escapes, line ends.
const BODIES: &[&str] = &["{}", "{\"zen\": \"Grüße, 世界 🔏\"}", "{\"a\": \"\\u00e9\\n\"}\r\n", "[1, 2,\t3]"];

/// Asks `tests/foreign/sign.cjs`, one request per line.
fn ask_node(node: &std::path::Path, questions: &[Value]) -> Vec<Value> {
    let script = std::fs::read_to_string(root().join("tests/foreign/sign.cjs")).unwrap();
    let mut child = Command::new("node")
        .args(["--input-type=commonjs", "--eval", &script])
        .current_dir(node)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = questions.iter().map(|q| format!("{q}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_by_githubs_library_taken_by_ours() {
    let Some(node) = foreign(Tool::Node) else { return };
    let questions: Vec<Value> = BODIES.iter().map(|b| json!({"secret": SECRET, "body": b})).collect();
    let answers = ask_node(&node, &questions);
    let s = Scene::started().await;
    for (n, (body, answer)) in BODIES.iter().zip(&answers).enumerate() {
        let signature = answer["signature"].as_str().unwrap();
        let guid = format!("signed-by-node-{n}");
        let mut headers = vec![
            ("content-type", "application/json"),
            ("x-github-event", "ping"),
            ("x-github-delivery", &*guid),
            ("x-hub-signature-256", signature),
        ];
        let taken = s.service.post(&headers, body.as_bytes()).await.unwrap();
        assert_eq!(taken.0, 202, "{taken:?}");
        let changed = format!("{body} ");
        headers[2].1 = "changed";
        assert_eq!(s.service.post(&headers, changed.as_bytes()).await.unwrap().0, 401);
    }
}

#[test]
fn signed_by_ours_taken_by_githubs_library() {
    let Some(node) = foreign(Tool::Node) else { return };
    let question = |body: &str, key: &str| json!({"secret": SECRET, "body": body, "signature": sign(key.as_bytes(), body.as_bytes())});
    let mut questions: Vec<Value> = BODIES.iter().map(|b| question(b, SECRET)).collect();
    questions.push(question("{}", "another secret"));
    let accepted: Vec<bool> =
        ask_node(&node, &questions).iter().map(|a| a["accepted"].as_bool().unwrap()).collect();
    let (last, rest) = accepted.split_last().unwrap();
    assert!(rest.iter().all(|a| *a), "{accepted:?}");
    assert!(!last, "signed with another secret");
}
