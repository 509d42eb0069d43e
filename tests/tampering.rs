//! What is done against the gate itself is recorded, alerted, and listed among the exceptions.

mod common;

use std::time::{Duration, Instant};

use common::scene::{REPO, Scene, alerts_listener};
use gatelog::{
    ledger::entry::{Entry, Kind},
    simulated_github::Webhook,
};
use serde_json::{Value, json};

/// Verdicts that say something was done against the gate, oldest first.
fn tampered(s: &Scene) -> Vec<Entry> {
    let view = s.view();
    let found = view.of_kind(&Kind::Verdict).filter(|e| !e.data["tampering"].is_null());
    found.cloned().collect()
}

async fn until(what: &str, s: &Scene, f: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !f() {
        assert!(Instant::now() < end, "{what}:\n{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn texts(told: &[String]) -> Vec<String> {
    let text = |t: &String| serde_json::from_str::<Value>(t).unwrap()["text"].as_str().unwrap().to_owned();
    told.iter().map(text).collect()
}

/// An event of the whole App, which has no repository.
fn of_the_app(s: &Scene, event: &str, mut payload: Value) -> Webhook {
    let installation = s.gh.with(|w| w.installations.keys().next().copied().unwrap());
    payload["installation"] = json!({
        "id": installation, "account": {"id": 1, "login": "octo-org", "type": "Organization"},
        "permissions": payload["permissions"].take(),
    });
    payload["sender"] = json!({"id": 66, "login": "carol", "type": "User"});
    let guid = format!("00000000-0000-4000-8000-{:012x}", s.view().entries.len());
    Webhook { guid, event: event.to_owned(), payload }
}

fn ruleset_without_us(s: &Scene) -> Value {
    let ours = json!({"type": "required_status_checks", "parameters": {"required_status_checks": [
        {"context": "gatelog", "integration_id": s.gh.app_id()}]}});
    json!({
        "action": "edited",
        "repository_ruleset": {"id": 42, "name": "main <rules>", "target": "branch", "enforcement": "active",
            "source": REPO, "source_type": "Repository", "rules": []},
        "changes": {"rules": {"deleted": [ours]}},
    })
}

#[tokio::test]
async fn each_is_recorded_then_posted_and_listed() {
    let mut s = Scene::set().await;
    let (url, told) = alerts_listener().await;
    let file = s.service.dir.join("alerts.url");
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let env = [("GATELOG__ALERTS__URL_FILE", file.to_str().unwrap())];
    s.service.start_with(env).await.unwrap();
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let head = s.head(number);
    assert_eq!(s.check(number).0, "failure");

    // One after the other: each event is judged in a lane of its own.
    // Somebody else says that our check passes; what another check says is no matter.
    s.act(|w| w.check_by("evil", REPO, &head, "gatelog", Some("success"))).await;
    s.settle().await;
    s.act(|w| w.check_by("ci", REPO, &head, "build", Some("success"))).await;
    s.settle().await;
    s.act(|w| w.set_status("bob", REPO, &head, "gatelog", "success")).await;
    s.settle().await;
    s.act(|w| w.set_status("bob", REPO, &head, "ci/lint", "success")).await;
    s.settle().await;
    // Said already: recorded, and not posted once more.
    s.act(|w| w.set_status("bob", REPO, &head, "gatelog", "success")).await;
    s.settle().await;
    let weaker = ruleset_without_us(&s);
    s.act(|w| w.any_event("carol", REPO, "repository_ruleset", weaker)).await;
    s.settle().await;
    for (event, payload) in [
        ("installation", json!({"action": "new_permissions_accepted", "permissions": {"checks": "read"}})),
        (
            "installation_repositories",
            json!({"action": "removed", "repositories_removed": [{"id": 99, "full_name": REPO}]}),
        ),
        ("installation", json!({"action": "suspend"})),
        ("installation", json!({"action": "deleted"})),
    ] {
        let hook = of_the_app(&s, event, payload);
        assert_eq!(s.deliver(&hook).await.status, 202);
        s.settle().await;
    }

    let entries = tampered(&s);
    let said: Vec<_> = entries.iter().map(|e| e.data["tampering"].clone()).collect();
    let lost = json!({"kind": "access_lost", "passes": false});
    let first = entries[1].seq;
    let wanted = [
        json!({"kind": "forged_check", "passes": true}),
        json!({"kind": "forged_status", "passes": true}),
        json!({"kind": "forged_status", "passes": true, "repeats": first}),
        json!({"kind": "rules_weakened", "passes": false}),
        lost.clone(),
        lost.clone(),
        lost.clone(),
        lost,
    ];
    assert_eq!(said, wanted, "{}", s.service.log());
    assert!(entries.iter().all(|e| !e.data.to_string().contains("carol")), "names stand in bodies only");

    until("posted", &s, || told.lock().unwrap().len() == 7).await;
    let (posts, posted) = (texts(&told.lock().unwrap()), |seq: u64| format!("(entry {seq})"));
    let about = |e: &Entry| posts.iter().find(|p| p.ends_with(&posted(e.seq))).cloned().unwrap_or_default();
    let short = &head[..7];
    let forged = format!(
        "gatelog: {REPO}: the check run `gatelog` on {short} is not ours: the App `evil` made it, and it PASSES (success)"
    );
    assert!(about(&entries[0]).starts_with(&forged), "{posts:?}");
    assert!(about(&entries[1]).contains("PASSES (success); set by bob"), "{posts:?}");
    assert_eq!(about(&entries[2]), "", "a repetition");
    let rules = "the ruleset `main &lt;rules&gt;` does not demand our check any more; by carol";
    assert!(about(&entries[3]).contains(rules), "{posts:?}");
    assert!(about(&entries[4]).contains("without permissions that it needs (checks: write, "), "{posts:?}");
    assert!(about(&entries[5]).contains("repositories were taken from the App at octo-org: octo-org/app"));
    assert!(about(&entries[6]).contains("suspended") && about(&entries[7]).contains("uninstalled"));

    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    for counted in
        ["\"forged_check\"} 1", "\"forged_status\"} 1", "\"rules_weakened\"} 1", "\"access_lost\"} 4"]
    {
        assert!(metrics.contains(&format!("gatelog_alerts_total{{kind={counted}")), "{metrics}");
    }
    // What was forged changes nothing about ours.
    assert_eq!(s.check(number).0, "failure");

    let out = s.service.gatelog(&["audit", "exceptions", "--ledger", "data", "--format", "json"]).await;
    let rows: Value = serde_json::from_slice(&out.stdout).unwrap();
    let rows = rows["tampering"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|r| r["entry"].as_u64().unwrap()).collect::<Vec<_>>(),
        entries.iter().map(|e| e.seq).collect::<Vec<_>>()
    );
    assert_eq!(
        (&rows[1]["by"], &rows[1]["passes"], &rows[1]["name"]),
        (&json!("bob"), &json!(true), &json!(REPO))
    );
    let table = s.service.gatelog(&["audit", "exceptions", "--ledger", "data", "--repo", REPO]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("forged_check: octo-org/app: the check run `gatelog`"), "{table}");
    // `removed` names another repository (id 99); what names none counts for all.
    assert!(table.ends_with("7 against the gate\n"), "{table}");
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn what_was_not_posted_before_a_crash_is_posted_after_it() {
    let mut s = Scene::set().await;
    let (url, told) = alerts_listener().await;
    let file = s.service.dir.join("alerts.url");
    // Nobody listens there.
    std::fs::write(&file, "http://127.0.0.1:9/nobody\n").unwrap();
    let env = [("GATELOG__ALERTS__URL_FILE", file.to_str().unwrap())];
    s.service.start_with(env).await.unwrap();
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let head = s.head(number);
    s.act(|w| w.check_by("evil", REPO, &head, "gatelog", Some("success"))).await;
    s.settle().await;
    // Of our own App, and not in the ledger: whoever has its key.
    let run = json!({"id": 99, "name": "gatelog", "head_sha": head, "status": "completed",
        "conclusion": "success", "external_id": "1:3:0", "app": {"id": s.gh.app_id()}});
    let payload = json!({"action": "completed", "check_run": run});
    s.act(|w| w.any_event("mallory", REPO, "check_run", payload)).await;
    s.settle().await;
    let kinds = |s: &Scene| -> Vec<String> {
        tampered(s).iter().map(|e| e.data["tampering"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&s), ["forged_check", "unknown_run"]);
    s.service.kill9().await;
    std::fs::write(&file, format!("{url}\n")).unwrap();
    s.service.start_with(env).await.unwrap();
    until("posted after the start", &s, || told.lock().unwrap().len() == 2).await;
    let posts = texts(&told.lock().unwrap());
    for (entry, what) in tampered(&s).iter().zip(["the App `evil` made it", "not in the ledger"]) {
        let about = posts.iter().find(|p| p.ends_with(&format!("(entry {})", entry.seq)));
        assert!(about.is_some_and(|p| p.contains(what)), "{posts:?}");
    }
    until("recorded", &s, || {
        s.view().entries.iter().filter(|e| e.data["event"] == json!("alerted")).count() == 2
    })
    .await;
    s.service.stop().await;
    s.service.start_with(env).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(told.lock().unwrap().len(), 2, "posted once");
    s.service.stop().await;
}
