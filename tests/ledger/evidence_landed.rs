//! What says a pull request's number in no subject is in the evidence about it: the merge group that carried it, what
//! landed of it, where that was deployed, and an exception of the whole repository from the day before.

use std::{fs, path::Path, time::Duration};

use super::evidence::{Files, export, export_of, joined, lines, pack, python, signed, unpack, verify};
use crate::common::{
    program::said,
    scene::{REPO, Scene},
    service::ORIGIN,
};
use crate::ledger_util::{delivery, policy, report, sign_and_close, verdict};
use gatelog::{
    event::{Sha, Subject, SubjectKind},
    ledger::{
        Ledger,
        entry::{Body, Draft, Entry, Key, Kind, Ref},
        erasure::{Cause, plan::Wanted, run::Request},
        evidence::{Manifest, Tree},
    },
    store::journal::Sizes,
    time::Time,
    verdict::Decision,
};
use serde_json::{Value, json};

/// A pull request that nobody approved is excused with all of its repository, carried by a merge group, denied there
/// once the exception is revoked, landed all the same, and deployed. Another one is beside it.
async fn story(s: &mut Scene) -> u64 {
    s.service.start().await;
    let other = s.pull("other", "A window").await;
    s.settle().await;
    let until = Time::now().plus(Duration::from_secs(7 * 24 * 3600)).to_string();
    let wide =
        ["waiver", "add", "--control", "CHG-02", "--repo", REPO, "--owner", "mona", "--reason", "a move"];
    let out = s.service.gatelog(&[&wide[..], &["--until", &until]].concat()).await;
    assert!(out.status.success(), "{}", said(&out));
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("success"));
    let waiver = s.view().of_kind(&Kind::Waiver).next().unwrap().seq.to_string();
    let out = s.service.gatelog(&["waiver", "revoke", &waiver, "--reason", "they are back"]).await;
    assert!(out.status.success(), "{}", said(&out));
    s.settle().await;
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("failure"));
    assert_eq!(s.check(other).0, "failure");
    s.act(|w| w.merge_queue_lands("alice", REPO, "main")).await;
    s.settle().await;
    let api = s.gh.api_url();
    s.act(|w| w.ask_to_deploy("alice", REPO, "production", &api)).await;
    // No control judges it, so it is not answered; its verdict is there.
    let deployed = |s: &Scene| {
        let is_it = |e: &&Entry| e.subject.kind == SubjectKind::Deployment;
        let view = s.view();
        view.of_kind(&Kind::Verdict).find(is_it).map(|e| e.seq + 1)
    };
    let size = s.until("no verdict on the deployment", 60, || deployed(s)).await;
    signed(s, size).await;
    pr
}

/// Both verifiers, with the same words; ours where there is no Python.
fn both(file: &Path, vkey: &str, code: i32, part: &str) {
    let ours = verify(file, vkey);
    assert_eq!(ours.status.code(), Some(code), "{}", said(&ours));
    assert!(said(&ours).contains(part), "no `{part}` in\n{}", said(&ours));
    if let Some(theirs) = python(file, vkey) {
        assert_eq!(theirs.status.code(), Some(code), "{}", said(&theirs));
        assert!(said(&theirs).contains(part), "no `{part}` in\n{}", said(&theirs));
        if code == 0 {
            assert_eq!(said(&theirs), said(&ours));
        }
    }
}

fn entries(files: &Files, name: &str) -> Vec<Entry> {
    lines(&files[name]).iter().map(|l| Entry::parse(l.as_bytes()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_against_a_pull_request_and_does_not_name_it_is_there() {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let pr = story(&mut s).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pr.zip");
    let out = export(&s, &["--pr", &format!("{REPO}#{pr}")], &file);
    assert!(out.status.success(), "{}", said(&out));
    both(
        &file,
        &vkey,
        0,
        "complete: everything that names it, its heads, merge groups that carried it and what landed",
    );

    let (manifest, files) = unpack(&file);
    let range = entries(&files, "entries.jsonl");
    let there: Vec<&Entry> = range.iter().filter(|e| manifest.selected.contains(&e.seq)).collect();
    let decided = |kind, decision: &str| {
        let is_it = |e: &&&Entry| {
            e.kind == Kind::Verdict && e.subject.kind == kind && e.data["decision"].as_str() == Some(decision)
        };
        there.iter().find(is_it).unwrap_or_else(|| panic!("no {kind:?} with {decision}")).seq
    };
    let denied = decided(SubjectKind::MergeGroup, "deny");
    decided(SubjectKind::MergeGroup, "allow");
    let landed =
        there.iter().find(|e| e.data.pointer("/landing/kind") == Some(&json!("bypass"))).unwrap().seq;
    assert!(there.iter().any(|e| e.subject.kind == SubjectKind::Deployment && e.kind == Kind::Verdict));
    let steps: Vec<&&Entry> = there.iter().filter(|e| e.kind == Kind::Waiver).collect();
    assert_eq!(
        steps.iter().map(|e| e.data["step"].as_str().unwrap()).collect::<Vec<_>>(),
        ["granted", "revoked"]
    );
    let granted = steps[0].seq;
    assert!(files.keys().any(|n| *n == format!("bodies/{granted}/waiver")));
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    for part in [
        "Exception from CHG-02 granted until ",
        ": a move",
        &format!("Exception revoked (of entry {granted}) by "),
        "deny</span> On the merge group: Blocked: #2: 0 of 1 approvals",
        "On the push: ",
        "<b>What landed</b> (bypass) is an exception: not_allowed, not_required",
        "On the deployment: ",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }
    // Nothing of the other one.
    assert!(!files.iter().any(|(_, b)| String::from_utf8_lossy(b).contains("A window")));

    // Whoever hands it over leaves one of them out, with all that belongs to it.
    let cut = dir.path().join("cut.zip");
    for seq in [denied, landed, granted, steps[1].seq] {
        let (manifest, files) = without(seq, &manifest, &files);
        pack(manifest, &files, &cut);
        both(&cut, &vkey, 3, &format!("entry {seq}: "));
    }

    // Of a time after the exception was made: it comes along, proved by itself.
    let late = dir.path().join("late.zip");
    let since = range.iter().find(|e| e.subject.id == Some(pr)).unwrap().time.to_string();
    let out = export(&s, &["--since", &since], &late);
    assert!(out.status.success(), "{}", said(&out));
    both(&late, &vkey, 0, "complete: everything of that time is here");
    let (manifest, files) = unpack(&late);
    assert!(granted < manifest.from, "the range begins after it: {manifest:?}");
    assert!(files.keys().any(|n| *n == format!("bodies/{granted}/waiver")));
    let (manifest, mut files) = without(granted, &manifest, &files);
    let kept: Vec<String> =
        lines(&files["others.jsonl"]).into_iter().filter(|l| !l.contains("\"kind\":\"waiver\"")).collect();
    files.insert("others.jsonl".into(), joined(&kept));
    let mut tree: Tree = serde_json::from_slice(&files["tree.json"]).unwrap();
    tree.others.remove(&granted);
    files.insert("tree.json".into(), serde_json::to_vec(&tree).unwrap());
    pack(manifest, &files, &cut);
    both(&cut, &vkey, 3, &format!("the exception of entry {granted}, on which a verdict rests, is missing"));
}

fn without(seq: u64, manifest: &Manifest, files: &Files) -> (Manifest, Files) {
    let (mut manifest, mut files) = (manifest.clone(), files.clone());
    manifest.selected.retain(|s| *s != seq);
    files.retain(|name, _| !name.starts_with(&format!("bodies/{seq}/")));
    (manifest, files)
}

/// Of a merge group or a landing whose verdict does not say which pull requests it was of, nobody knows whether it is
/// about one: an older gatelog wrote it, or it was no merge and may have brought anything.
#[tokio::test]
async fn a_merge_group_that_names_no_pull_request_is_not_proved_to_be_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let untold = "not proved: completeness: which pull requests 1 merge groups or landings were of, the first of them in \
                  entry ";
    let complete = "complete: everything that names it, its heads, merge groups that carried it and what landed of it on a \
                    watched branch is here, until the checkpoint";
    let landed = |kind: &str| json!({"kind": kind, "required": "bound", "bypassed": false, "exceptions": []});
    for (n, (kind, landing, pulls, part)) in [
        (SubjectKind::MergeGroup, json!(null), None, untold),
        (SubjectKind::MergeGroup, json!(null), Some(vec![13]), complete),
        (SubjectKind::Ref, landed("squash"), None, untold),
        (SubjectKind::Ref, landed("squash"), Some(vec![13]), complete),
        // A push of its commits and one more names nobody.
        (SubjectKind::Ref, landed("direct"), Some(vec![]), untold),
        (SubjectKind::Ref, landed("bypass"), Some(vec![13]), untold),
        (SubjectKind::Ref, json!(null), None, complete),
    ]
    .into_iter()
    .enumerate()
    {
        let data = dir.path().join(n.to_string());
        fs::create_dir(&data).unwrap();
        let vkey = beside_another(&data, kind, landing, pulls).await;
        let file = dir.path().join(format!("{n}.zip"));
        export_of(&data, &["--pr", "acme/pay#12"], &file);
        both(&file, &vkey, 0, part);
    }
}

/// A pull request, and an event of something else with its verdict.
async fn beside_another(dir: &Path, kind: SubjectKind, landing: Value, pulls: Option<Vec<u64>>) -> String {
    let (ledger, _) = Ledger::open_sized(dir, Sizes::default(), Time::now).unwrap();
    let payload = json!({"repository": {"id": 3, "full_name": "acme/pay"}, "pull_request": {"number": 12,
                         "created_at": "2026-11-24T00:00:00Z"}});
    let about = |kind, id, head: char| Subject {
        kind,
        repository: Some(3),
        id,
        head: Some(head.to_string().repeat(40).parse::<Sha>().unwrap()),
        ..delivery("x", "").subject
    };
    let opened = Draft {
        subject: about(SubjectKind::PullRequest, Some(12), 'a'),
        bodies: vec![(
            "payload".into(),
            Body { bytes: payload.to_string().into(), media: "application/json" },
        )],
        ..delivery("opened", "")
    };
    let other = Draft { subject: about(kind, None, 'b'), ..delivery("other", "{}") };
    let mut verdict = Draft { subject: other.subject.clone(), ..verdict(Ref::InGroup(1), Decision::Deny) };
    if let Some(pulls) = pulls {
        verdict.data["pulls"] = json!(pulls);
    }
    if !landing.is_null() {
        verdict.data["landing"] = landing;
    }
    ledger.append(vec![opened, other, verdict]).await.unwrap();
    sign_and_close(&ledger, dir, ORIGIN).await
}

/// What an allow rests on is named by its entry, or stands in its body. Where the one never did and the other is erased,
/// nobody knows of the exception, and nobody says that it is there.
#[tokio::test]
async fn an_exception_that_was_erased_with_its_verdict_is_not_proved_to_be_there() {
    let dir = tempfile::tempdir().unwrap();
    for (name, waivers, part) in [
        ("older", None, "not proved: completeness: the exceptions on which the verdict of entry 3 rests"),
        ("newer", Some(json!([])), "complete: everything that names it"),
    ] {
        let data = dir.path().join(name);
        let (ledger, _) = Ledger::open_sized(&data, Sizes::default(), Time::now).unwrap();
        let mut judged = verdict(Ref::InGroup(1), Decision::Deny);
        match waivers {
            Some(list) => judged.data["waivers"] = list,
            None => _ = judged.data.as_object_mut().unwrap().remove("waivers"),
        }
        let opened = delivery("opened", r#"{"repository":{"id":3,"full_name":"acme/pay"}}"#);
        let receipts = ledger.append(vec![policy(), opened, judged]).await.unwrap();
        let judged = receipts[2].seq;
        ledger.append(vec![report(&[judged])]).await.unwrap();
        let wanted = Wanted::Entry { seq: judged, bodies: vec!["verdict".into()] };
        let request =
            Request { wanted, cause: Cause::LocalOperator, reason: "ticket 7".into(), dry_run: false };
        ledger.erase(request, vec![]).await.unwrap();
        let vkey = sign_and_close(&ledger, &data, ORIGIN).await;
        let file = dir.path().join(format!("{name}.zip"));
        export_of(&data, &["--pr", "3#4"], &file);
        both(&file, &vkey, 0, part);
    }
}

/// A success covers two pull requests with one head; what one of them rests on is in the evidence about the other.
#[tokio::test]
async fn an_exception_of_the_other_pull_request_on_the_same_head_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (ledger, _) = Ledger::open_sized(&data, Sizes::default(), Time::now).unwrap();
    let other = |draft: Draft| Draft { subject: Subject { id: Some(5), ..draft.subject.clone() }, ..draft };
    let excused = Draft {
        kind: Kind::Waiver,
        subject: Subject { kind: SubjectKind::None, id: None, head: None, ..delivery("", "").subject },
        key: Key::Own("waiver"),
        bodies: vec![("waiver".into(), Body { bytes: "{}".into(), media: "application/json" })],
        data: json!({"step": "granted", "break_glass": false, "of": null, "via": "operator"}),
        ..delivery("", "")
    };
    let first = ledger.append(vec![policy(), excused]).await.unwrap()[1].seq;
    let denied = |event| {
        let mut judged = verdict(Ref::InGroup(event), Decision::Deny);
        let body = Body { bytes: judged.data.to_string().into(), media: "application/json" };
        judged.bodies = vec![("verdict".into(), body)];
        judged
    };
    let mut of_other = other(denied(1));
    of_other.data["waivers"] = json!([first]);
    let opened = delivery("mine", r#"{"repository":{"id":3}}"#);
    let beside = other(delivery("other", r#"{"repository":{"id":3}}"#));
    let seqs = ledger.append(vec![opened, beside, denied(0), of_other]).await.unwrap();
    ledger.append(vec![report(&[seqs[2].seq, seqs[3].seq])]).await.unwrap();
    let vkey = sign_and_close(&ledger, &data, ORIGIN).await;
    let file = dir.path().join("4.zip");
    export_of(&data, &["--pr", "3#4"], &file);
    both(&file, &vkey, 0, "complete: everything that names it");
    let (manifest, files) = unpack(&file);
    assert!(manifest.selected.contains(&first), "{manifest:?}");
    let (manifest, files) = without(first, &manifest, &files);
    let cut = dir.path().join("cut.zip");
    pack(manifest, &files, &cut);
    both(&cut, &vkey, 3, &format!("entry {first}: "));
}
