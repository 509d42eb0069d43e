//! What is done against the gate itself is recorded, alerted, and listed among the exceptions.

use std::time::Duration;

use crate::common::scene::{REPO, Scene, alerts_listener};
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
    s.until(what, 30, || f().then_some(())).await;
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
    // What follows soon is said together; here soon is over at once.
    let env =
        [("GATELOG__ALERTS__URL_FILE", file.to_str().unwrap()), ("FAILPOINTS", "alerts::together=return(1)")];
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

/// The status of a commit of its own, set by somebody: it passes, so it is one of its own.
fn forged_status(s: &Scene, who: &str, n: usize) -> Webhook {
    let payload = json!({"id": n, "sha": format!("{n:040x}"), "context": "gatelog", "state": "success"});
    s.gh.with(|w| w.any_event(who, REPO, "status", payload)).unwrap().hooks.remove(0)
}

/// Entries of which a note says that they were posted, and how many notes there are.
fn noted(s: &Scene) -> (Vec<u64>, usize) {
    let notes: Vec<Entry> =
        s.view().entries.into_iter().filter(|e| e.data["event"] == json!("alerted")).collect();
    let mut seqs: Vec<u64> = notes.iter().flat_map(|e| e.refs.clone()).collect();
    seqs.sort_unstable();
    (seqs, notes.len())
}

#[tokio::test]
async fn many_of_one_kind_are_said_together_and_drown_no_other() {
    let mut s = Scene::set().await;
    let (url, told) = alerts_listener().await;
    let file = s.service.dir.join("alerts.url");
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let env = |together: &'static str| {
        [("GATELOG__ALERTS__URL_FILE", file.to_str().unwrap()), ("FAILPOINTS", together)]
    };
    s.service.start_with(env("")).await.unwrap();
    for n in 1..=120 {
        assert_eq!(s.deliver(&forged_status(&s, "mallory", n)).await.status, 202);
    }
    let number = s.pull("topic", "A door").await;
    let head = s.head(number);
    s.act(|w| w.check_by("evil", REPO, &head, "gatelog", Some("success"))).await;
    s.settle().await;
    until("the first of each kind", &s, || told.lock().unwrap().len() == 2).await;
    let posts = texts(&told.lock().unwrap());
    assert!(posts.iter().any(|p| p.contains("the commit status `gatelog`")), "{posts:?}");
    assert!(posts.iter().any(|p| p.contains("the App `evil` made it")), "the real one: {posts:?}");
    let all: Vec<u64> = tampered(&s).iter().map(|e| e.seq).collect();
    assert_eq!(all.len(), 121, "the ledger has each");
    until("noted", &s, || noted(&s).1 == 2).await;

    // What waits to be said is lost neither by a crash …
    s.service.kill9().await;
    s.service.start_with(env("alerts::together=return(400)")).await.unwrap();
    until("said after the crash", &s, || noted(&s).0.len() == all.len()).await;
    assert_eq!(noted(&s).0, all, "each once");
    let posts = texts(&told.lock().unwrap());
    let together = posts.iter().filter(|p| p.contains(" more alerts `forged_status`")).count();
    assert!((1..=3).contains(&together) && posts.len() <= 6, "{posts:?}");
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_alerts_total{kind=\"forged_status\"} 119"), "{metrics}");

    // … nor by a clean stop, which says it at once.
    s.service.stop().await;
    s.service.start_with(env("")).await.unwrap();
    for n in 200..203 {
        assert_eq!(s.deliver(&forged_status(&s, "mallory", n)).await.status, 202);
    }
    s.settle().await;
    until("the first", &s, || noted(&s).0.len() == all.len() + 1).await;
    s.service.stop().await;
    until("the others", &s, || texts(&told.lock().unwrap()).last().unwrap().contains("2 more alerts")).await;
    s.service.verify().await;
}

/// A run of our own App, as GitHub tells of it.
fn own_run(s: &Scene, id: u64, head: &str, completed: &str) -> Value {
    let run = json!({"id": id, "name": "gatelog", "head_sha": head, "status": "completed",
        "conclusion": "success", "external_id": "1:3:0", "completed_at": completed, "app": {"id": s.gh.app_id()}});
    json!({"action": "completed", "check_run": run})
}

#[tokio::test]
async fn what_an_operator_has_looked_at_raises_no_alarm_again_and_anything_new_does() {
    let mut s = Scene::started().await;
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let head = s.head(number);
    let alarm = async |s: &Scene| {
        let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
        metrics.lines().any(|l| l == "gatelog_alarm 1")
    };
    let flags = |s: &Scene, guid: &str| s.view().flags(s.view().deliveries(guid)[0].seq);
    let acknowledge = async |s: &Scene| {
        let said = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
        assert!(said.status.success(), "{said:?}");
    };
    let payload = own_run(&s, 99, &head, "2026-11-28T10:00:00Z");
    let first = s.gh.with(|w| w.any_event("mallory", REPO, "check_run", payload)).unwrap().hooks.remove(0);
    assert_eq!(s.deliver(&first).await.status, 202);
    assert!(alarm(&s).await);
    // While nobody has looked, it stays on whatever comes.
    let again = |n: u32| Webhook { guid: format!("00000000-0000-4000-8000-{n:012}"), ..first.clone() };
    assert_eq!(s.deliver(&again(1)).await.status, 202);
    assert!(alarm(&s).await);
    acknowledge(&s).await;
    assert!(!alarm(&s).await);

    // The very same bytes again, by GitHub and by whoever saw them: nothing new, listed all the same.
    assert_eq!(s.deliver(&first).await.status, 200);
    assert_eq!(s.deliver(&again(2)).await.status, 202);
    assert!(!alarm(&s).await, "{}", s.service.log());
    assert_eq!(flags(&s, &again(2).guid), [json!("own_app"), json!("replayed")]);
    let listed = tampered(&s);
    let last = listed.last().unwrap();
    assert_eq!(last.data["tampering"]["kind"], json!("unknown_run"));
    let entry = s.view().deliveries(&first.guid)[0].seq;
    assert_eq!(last.data["tampering"]["repeats"], json!(entry), "names what it repeats");
    // Nor after a restart.
    s.service.stop().await;
    s.service.start().await;
    assert!(!alarm(&s).await, "{}", s.service.log());
    assert_eq!(s.deliver(&again(3)).await.status, 202);
    assert!(!alarm(&s).await);

    // One byte that differs is something new: the same run completed at another time, and another run.
    let mut n = 10;
    for new in
        [own_run(&s, 99, &head, "2026-11-28T10:00:01Z"), own_run(&s, 98, &head, "2026-11-28T10:00:00Z")]
    {
        let hook = s.gh.with(|w| w.any_event("mallory", REPO, "check_run", new)).unwrap().hooks.remove(0);
        n += 1;
        let hook = Webhook { guid: format!("00000000-0000-4000-8000-{n:012}"), ..hook };
        assert_eq!(s.deliver(&hook).await.status, 202);
        assert!(alarm(&s).await, "{}", s.service.log());
        assert!(flags(&s, &hook.guid).contains(&json!("unknown_run")));
        s.service.stop().await;
        s.service.start().await;
        assert!(alarm(&s).await, "a restart does not forget it");
        acknowledge(&s).await;
        assert!(!alarm(&s).await);
    }
    s.settle().await;
    s.service.stop().await;
    s.service.verify().await;
}
