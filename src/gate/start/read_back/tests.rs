//! What is left out when a ledger is read back tells nothing.

use super::*;
use crate::{
    event::Subject,
    gate::drafts,
    ledger::entry::{Body, Draft, Key, Ref},
    store::sled::View,
};

fn sha(n: u64) -> event::Sha {
    format!("{n:040x}").parse().unwrap()
}

fn about(kind: SubjectKind, id: u64) -> Subject {
    Subject {
        kind,
        installation: Some(1),
        repository: Some(3),
        id: Some(id),
        head: Some(sha(id)),
        ..Subject::NONE
    }
}

fn draft(kind: Kind, subject: Subject, data: serde_json::Value) -> Draft {
    Draft { kind, subject, key: Key::Own("test"), refs: vec![], bodies: vec![], data }
}

fn event(subject: Subject, name: &str, action: &str, source: &str, flags: &[&str]) -> Draft {
    let data = json!({"name": name, "action": action, "source": source, "cause": null, "flags": flags});
    draft(Kind::Event, subject, data)
}

fn verdict(event: u64, exceptions: &[&str]) -> Draft {
    let landing = json!({"kind": "merge", "required": "bound", "bypassed": false, "exceptions": exceptions});
    let data = json!({
        "decision": "allow", "bundle": "sha256:00", "engine": "e", "rewriter": 1, "valid_until": null,
        "target": null, "superseded_by": null, "landing": landing,
    });
    let key = Key::Verdict(Ref::Seq(event));
    Draft { key, refs: vec![Ref::Seq(event)], ..draft(Kind::Verdict, about(SubjectKind::Ref, 1), data) }
}

/// On a push, and to be judged again.
fn undecided(event: u64) -> Draft {
    let mut draft = verdict(event, &[]);
    draft.data["decision"] = json!("pending");
    draft.data["valid_until"] = json!("2099-01-01T00:00:00.000000Z");
    draft
}

fn look(verdict: u64) -> Draft {
    let about = about(SubjectKind::Ref, 1);
    Draft { refs: vec![Ref::Seq(verdict)], ..event(about, "push", "", "gatelog", &[]) }
}

fn report(result: &str) -> Draft {
    let target = json!({"repository": 3, "sha": sha(1), "check": "gatelog"});
    let data =
        json!({"target": target, "result": result, "check_run": 1, "conclusion": "success", "covers": []});
    draft(Kind::Report, about(SubjectKind::PullRequest, 1), data)
}

fn waiver(break_glass: bool) -> Draft {
    let words = json!({"by": {"id": 5, "login": "mona"}, "reason": "shop is down"});
    let body = Body { bytes: words.to_string().into(), media: "application/json" };
    let data = json!({
        "step": "granted", "break_glass": break_glass, "of": null, "controls": ["*"], "via": "comment",
        "from": "2026-11-24T00:00:00.000000Z", "until": "2099-01-01T00:00:00.000000Z",
    });
    Draft {
        bodies: vec![("waiver".into(), body)],
        ..draft(Kind::Waiver, about(SubjectKind::PullRequest, 1), data)
    }
}

fn alerted(of: u64) -> Draft {
    Draft { refs: vec![Ref::Seq(of)], ..drafts::service(json!({"event": "alerted", "kind": "exception"})) }
}

/// All of it in words, to compare.
fn words(told: Told) -> String {
    let mut events: Vec<_> = told.events.iter().collect();
    events.sort();
    let mut groups: Vec<_> = told.groups.values().collect();
    groups.sort();
    let mut bundles: Vec<_> = told.bundles.iter().collect();
    bundles.sort();
    let waivers: Vec<_> = told.waivers.all().map(|(seq, h)| (seq, h.waiver.reason.clone())).collect();
    let mut pushes: Vec<_> = told.pushes.undecided.values().map(|p| (p.verdict, p.event)).collect();
    pushes.sort_unstable();
    format!(
        "open {:?} events {events:?} alarm {:?} policy {:?} bundles {bundles:?} groups {groups:?} unposted {:?} waivers \
         {waivers:?} pushes {pushes:?} did {:?} sweeps {:?}",
        told.pulls.numbers(3),
        told.alarm.alarm(),
        told.policy,
        told.unposted,
        told.did.iter().map(|(i, did, _)| (i, did)).collect::<Vec<_>>(),
        told.sweeps
    )
}

#[tokio::test]
async fn what_a_start_skips_tells_nothing() {
    let (pull, group) = (SubjectKind::PullRequest, SubjectKind::MergeGroup);
    let begun = Time::now();
    let half = Time::from_unix_micros(begun.unix_micros() - 30 * 3600 * 1_000_000).unwrap();
    // The first half was written thirty hours ago, the second now.
    let all = |n: u64| -> Vec<Draft> {
        vec![
            event(about(pull, 1), "pull_request", "opened", "github", &[]),
            event(about(pull, 2), "pull_request", "opened", "github", &[]),
            event(about(pull, 2), "pull_request", "closed", "github", &["replayed"]),
            event(about(pull, 1), "pull_request", "closed", "github", &[]),
            event(about(pull, 3), "look_again", "", "gatelog", &[]),
            event(about(pull, 4), "of_a_newer_gatelog", "opened", "telepathy", &["unheard_of"]),
            event(about(group, 7), "merge_group", "checks_requested", "github", &[]),
            event(about(group, 8), "merge_group", "checks_requested", "github", &[]),
            event(about(group, 8), "merge_group", "destroyed", "github", &[]),
            event(about(SubjectKind::Commit, 9), "check_run", "created", "github", &["unknown_run"]),
            drafts::policy(&format!("sha256:{n:02}"), vec![1]),
            draft(Kind::Reconcile, Subject::NONE, json!({"whole_state": n == 0})),
            verdict(n + 1, &["bypassed"]),
            verdict(n + 2, &["bypassed"]),
            verdict(n + 3, &[]),
            alerted(n + 14),
            report("created"),
            report("unchanged"),
            waiver(true),
            waiver(true),
            waiver(false),
            alerted(n + 19),
            event(about(SubjectKind::Ref, 1), "push", "", "github", &[]),
            undecided(n + 6),
            undecided(n + 7),
            look(n + 25),
        ]
    };
    let mut times = [half; 27].into_iter();
    let clock = move || times.next().unwrap_or(begun);
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), clock).unwrap();
    for n in [0, 26] {
        for draft in all(n) {
            ledger.append(vec![draft]).await.unwrap();
        }
    }
    let every = || {
        let mut every = Told::default();
        for seq in 0..ledger.head().size {
            let entry = ledger.entry(seq).unwrap().unwrap().entry;
            every.entry(&entry, Time::now());
            if entry.kind == Kind::Waiver {
                every.waivers.note(&entry, commands::words_of(&ledger, seq));
            }
        }
        words(every)
    };
    let wanted = every();
    assert_eq!(words(ReadBack::default().finish(&ledger).unwrap()), wanted, "nothing was told before");
    ledger.close().await.unwrap();
    drop(ledger);
    let (mut past, mut came) = (ReadBack::default(), vec![]);
    let open = |past: &mut ReadBack, came: &mut Vec<u64>| {
        let tell = &mut |scanned: Scanned<'_>| {
            came.push(scanned.seq);
            past.take(scanned);
        };
        Ledger::open_telling(dir.path(), Time::now, tell).unwrap()
    };
    let (ledger, _) = open(&mut past, &mut came);
    assert_eq!(came, Vec::from_iter(0..53), "each once");
    let told = past.finish(&ledger).unwrap();
    assert_eq!((told.policy, &told.sweeps[..], told.did.len()), (Some(37), &[12, 38][..], 1));
    assert_eq!((told.pulls.numbers(3), told.waivers.all().count()), (vec![2], 6));
    assert!(told.alarm.alarm().is_on());
    let said = words(told);
    assert_eq!(said, wanted);
    for part in ["unposted Unposted({39, 46})", "pushes [(24, 6), (50, 32)]"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    ledger.close().await.unwrap();
    drop(ledger);
    // They come again, where sled is found to be wrong in the middle.
    let view = View::open(&dir.path().join("sled")).unwrap();
    let mut value = view.get(30).unwrap().unwrap();
    value.raw = view.get(31).unwrap().unwrap().raw;
    view.amend(30, &value).unwrap();
    view.finish();
    drop(view);
    let (mut past, mut came) = (ReadBack::default(), vec![]);
    let (ledger, report) = open(&mut past, &mut came);
    assert!(report.rebuilt.is_some() && came.len() == 2 * 53, "{report:?} {came:?}");
    // And what is written before the gate starts is read with it.
    ledger.append(vec![drafts::policy("sha256:77", vec![1])]).await.unwrap();
    let told = past.finish(&ledger).unwrap();
    assert_eq!((told.policy, told.bundles.get("sha256:77"), told.did.len()), (Some(53), Some(&53), 1));
}
