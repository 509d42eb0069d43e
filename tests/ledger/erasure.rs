//! Bodies that are compressed or erased: everything else stays as it was, and everyone says what is gone.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use gatelog::{
    event::Subject,
    ledger::{
        Ledger,
        entry::{Draft, Kind, Ref},
        erasure::{
            Cause, LIST,
            plan::{Hold, PlanError, Wanted},
            run::{Request, RunError},
        },
        verify::{Verified, VerifyError, verify},
    },
    store::{
        journal::{
            Sizes, mark,
            reader::{Groups, SegmentReader},
            rewrite::{erased, rewrite},
            segments,
        },
        memory::{Disk, Memory},
    },
    time::Time,
    verdict::Decision,
};

use crate::{ledger_util::*, tiles::Counting};

const SIZES: Sizes = Sizes { segment: 20_000, ahead: 1_000 };

fn open_small(dir: &Path) -> Ledger {
    Ledger::open_sized(dir, SIZES, Time::now).unwrap().0
}

fn payload(i: u64) -> String {
    let who = ["ada", "bob", "eve"][(i % 3) as usize];
    let words = "the same words again and again, ".repeat((i % 7) as usize * 20);
    format!(
        r#"{{"sender": {{"login": "{who}", "email": "{who}@example.com"}}, "n": {i}, "text": "{words}"}}"#
    )
}

/// Entry 0, then events 1, 3, 5 … each with its verdict.
async fn filled(dir: &Path, events: u64) -> Ledger {
    let ledger = open_small(dir);
    for i in 0..events {
        let group =
            vec![delivery(&format!("guid-{i}"), &payload(i)), verdict(Ref::InGroup(0), Decision::Allow)];
        ledger.append(group).await.unwrap();
    }
    // No verdict waits to be reported: what is in work cannot be erased.
    ledger.append(vec![report(&ledger.unreported())]).await.unwrap();
    ledger
}

/// A verdict that shows nothing: it waits for no report.
fn silent(event: Ref) -> Draft {
    let mut draft = verdict(event, Decision::Allow);
    draft.data["target"] = serde_json::Value::Null;
    draft
}

fn request(wanted: Wanted) -> Request {
    Request { wanted, cause: Cause::LocalOperator, reason: "ticket 7".into(), dry_run: false }
}

fn entry(seq: u64, bodies: &[&str]) -> Wanted {
    Wanted::Entry { seq, bodies: bodies.iter().map(|b| (*b).to_owned()).collect() }
}

fn person(login: &str) -> Wanted {
    Wanted::Person { login: login.into(), also: vec![] }
}

fn verified(dir: &Path) -> Verified {
    verify(&dir.join("journal")).unwrap()
}

/// Every body by entry and name.
fn bodies(ledger: &Ledger) -> BTreeMap<(u64, String), Option<String>> {
    let mut all = BTreeMap::new();
    for seq in 0..ledger.head().size {
        for name in ledger.entry(seq).unwrap().unwrap().entry.bodies.keys() {
            let body = ledger.body(seq, name).unwrap().map(|b| String::from_utf8(b.to_vec()).unwrap());
            all.insert((seq, name.clone()), body);
        }
    }
    all
}

/// Bytes of the segments. Not of their catalogs, which say of each entry where it is, and with segments of a
/// few kilobytes are as large as those.
fn disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("journal")).unwrap().map(|f| f.unwrap());
    let segments = files.filter(|f| f.path().extension().is_none_or(|e| e != "idx"));
    segments.map(|f| f.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn compressed_segments_hold_the_same_in_less_room() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 60).await;
    let (before, root, size) = (bodies(&ledger), ledger.head().root, disk(&dir.path()));
    let done = ledger.compress(&mut || true).unwrap();
    assert!(done > 2, "{done} segments");
    assert_eq!(ledger.compress(&mut || true).unwrap(), 0, "once is enough");
    assert_eq!(bodies(&ledger), before, "read while it is open");
    assert!(disk(&dir.path()) < size / 2, "{} of {size}", disk(&dir.path()));
    assert_eq!((verified(&dir.path()).root, verified(&dir.path()).bodies), (root, before.len() as u64));
    ledger.append(vec![delivery("later", "{}")]).await.unwrap();
    assert!(ledger.append(vec![delivery("guid-3", &payload(3))]).await.unwrap()[0].duplicate);
    let index = ledger.index_snapshot();
    ledger.close().await.unwrap();
    drop(ledger);
    for forget_sled in [false, true] {
        if forget_sled {
            fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
        let ledger = open_small(&dir.path());
        assert_eq!(bodies(&ledger).into_iter().take(before.len()).collect::<BTreeMap<_, _>>(), before);
        assert_eq!(ledger.index_snapshot(), index, "fingerprints of compressed bodies are the same");
    }
}

#[tokio::test]
async fn a_reader_in_the_middle_of_a_segment_reads_on_when_it_is_replaced() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 60).await;
    let before = bodies(&ledger);
    let mut groups = Groups::open(&dir.path().join("journal")).unwrap().unwrap();
    groups.next_group().unwrap().unwrap();
    assert!(ledger.compress(&mut || true).unwrap() > 2);
    let mut entries = 1;
    while let Some(group) = groups.next_group().unwrap() {
        entries += group.entries.len() as u64;
    }
    assert_eq!(entries, ledger.head().size);
    let reading = ledger.clone();
    let reads = std::thread::spawn(move || (0..20).map(|_| bodies(&reading)).collect::<Vec<_>>());
    ledger.erase(request(entry(1, &[])), vec![]).await.unwrap();
    for now in reads.join().unwrap() {
        let same = |(key, body): (&(u64, String), &Option<String>)| key.0 == 1 || now[key] == *body;
        assert!(before.iter().all(same));
    }
}

#[tokio::test]
async fn an_erased_body_is_gone_and_explained_and_nothing_else_changes() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 40).await;
    let (before, head) = (bodies(&ledger), ledger.head());
    ledger.compress(&mut || true).unwrap();
    let done = ledger.erase(request(entry(5, &["payload"])), vec![]).await.unwrap();
    // And one in the segment that is being written.
    let last = head.size - 3;
    let again = ledger.erase(request(entry(last, &["payload"])), vec![]).await.unwrap();
    assert_eq!((done.erasure, again.erasure), (Some(head.size), Some(head.size + 1)));
    let check = |ledger: &Ledger| {
        let mut now = bodies(ledger);
        for seq in [5, last] {
            assert_eq!(
                now.insert((seq, "payload".into()), before[&(seq, "payload".into())].clone()),
                Some(None)
            );
        }
        now.retain(|(seq, name), _| name != LIST && *seq < head.size);
        assert_eq!(now, before);
        let erasure = ledger.erasure_of(5, "payload").unwrap().unwrap();
        assert_eq!((erasure.seq, erasure.reason.as_str()), (head.size, "ticket 7"));
        assert_eq!(ledger.erasure_of(5, "other").unwrap(), None);
    };
    check(&ledger);
    // Nobody can tell whether it is the same body: what was erased does not come back.
    assert!(ledger.append(vec![delivery("guid-2", "another")]).await.unwrap()[0].duplicate);
    let new = ledger.append(vec![delivery("guid-new", &payload(2))]).await.unwrap()[0];
    assert_eq!((new.duplicate, new.flag), (false, None), "its fingerprint is gone");
    assert!(ledger.compress(&mut || true).unwrap() > 0, "the segment that was sealed to erase from it");
    check(&ledger);
    let index = ledger.index_snapshot();
    drop(ledger);
    let found = verified(&dir.path());
    assert_eq!(found.redacted_bodies, 2);
    assert_eq!(
        found.redactions.iter().map(|r| (r.erasure, r.entries.clone(), r.left)).collect::<Vec<_>>(),
        [(head.size, vec![5], 0), (head.size + 1, vec![last], 0)]
    );
    for forget_sled in [false, true] {
        if forget_sled {
            fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
        let ledger = open_small(&dir.path());
        assert_eq!(ledger.index_snapshot(), index);
    }
    // Neither the body nor its salt is anywhere in the folder's journal.
    let text = payload(2);
    for first in segments(&dir.path().join("journal")).unwrap() {
        let bytes = fs::read(dir.path().join(format!("journal/{first:020}.seg"))).unwrap();
        // The new delivery brought the same body again, in the last segment.
        let there = bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert_eq!(there, first > head.size, "segment {first}");
    }
}

#[tokio::test]
async fn a_person_is_found_by_login_address_and_name() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 9).await;
    let commit =
        |name: &str, email: &str| format!(r#"{{"author": {{"name": "{name}", "email": "{email}"}}}}"#);
    for (guid, body) in [("c1", commit("Ada", "ADA@example.com")), ("c2", commit("Bob", "b@x"))] {
        ledger.append(vec![delivery(guid, &body), verdict(Ref::InGroup(0), Decision::Allow)]).await.unwrap();
    }
    ledger.append(vec![report(&ledger.unreported())]).await.unwrap();
    let dry = ledger.erase(Request { dry_run: true, ..request(person("ADA")) }, vec![]).await.unwrap();
    assert_eq!(dry.erasure, None);
    let done = ledger.erase(request(person("ADA")), vec![]).await.unwrap();
    assert_eq!(dry.plan, done.plan);
    let gone: Vec<u64> = done.plan.bodies.entries().iter().collect();
    assert_eq!(gone, [1, 7, 13, 20], "events 0, 3, 6 and the commit");
    let nothing = ledger.erase(request(person("ada")), vec![]).await.unwrap();
    assert_eq!((nothing.erasure, nothing.plan.count), (None, 0));
    let all = fs::read_dir(dir.path().join("journal")).unwrap().map(|f| fs::read(f.unwrap().path()).unwrap());
    let all: Vec<u8> = all.flatten().collect();
    assert!(!all.to_ascii_lowercase().windows(5).any(|w| w == b"\"ada\""), "the login is in the journal");
    let erasure = ledger.entry(done.erasure.unwrap()).unwrap().unwrap().entry;
    assert_eq!(erasure.kind, Kind::Erasure);
    assert_eq!(erasure.data["bodies"], 4);
    assert_eq!(verified(&dir.path()).redactions[0].entries, gone);
}

#[tokio::test]
async fn a_reason_that_names_the_person_is_refused() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 3).await;
    let said = |reason: &str, wanted| Request { reason: reason.into(), ..request(wanted) };
    let also = vec!["ada@example.com".to_owned(), "Ada Lovelace".to_owned()];
    let wanted = || Wanted::Person { login: "@Ada".into(), also: also.clone() };
    for reason in ["ada left", "ticket 7 (@ADA)", "of ada@example.com", "asked by ada lovelace"] {
        let refused = ledger.erase(said(reason, wanted()), vec![]).await.unwrap_err().to_string();
        assert!(refused.contains("the reason names the person"), "{reason}: {refused}");
    }
    let done = ledger.erase(said("ticket 7 of the Canadaproject", wanted()), vec![]).await.unwrap();
    assert_eq!(done.plan.count, 1);
}

/// Retention is kept every hour: what was looked at is not read again, unless other things are held.
#[tokio::test]
async fn what_has_gone_by_age_is_not_looked_at_again() {
    let store = Arc::new(Counting { inner: Some(Memory::open(&Disk::default())), ..Counting::default() });
    let (ledger, _) = Ledger::on_store(store.clone(), Time::now).unwrap();
    let named = r#"{"repository": {"id": 3, "full_name": "octo-org/app"}}"#;
    for n in 0..200 {
        let group = vec![delivery(&format!("g{n}"), named), silent(Ref::InGroup(0))];
        ledger.append(group).await.unwrap();
    }
    // Not judged yet.
    let elsewhere = |draft| Draft { subject: Subject { repository: Some(9), ..subject() }, ..draft };
    let waits = one(&ledger, elsewhere(delivery("waits", "{}"))).await.seq;
    let hold = Hold { repository: Some("octo-org/app".into()), reason: "case 12".into(), ..Hold::default() };
    let keep = async |holds: Vec<Hold>| {
        let before = store.entries.load(Relaxed);
        let wanted = Wanted::Before(Time::now());
        let plan = ledger.erase(request(wanted), holds).await.unwrap().plan;
        (plan, store.entries.load(Relaxed) - before)
    };
    let (held, reads) = keep(vec![hold.clone()]).await;
    assert_eq!((held.count, held.held["case 12"].len(), held.in_work), (0, 400, vec![waits]));
    assert!(reads > 400, "{reads}");
    let (again, reads) = keep(vec![hold.clone()]).await;
    assert_eq!((again.count, again.in_work), (0, vec![waits]));
    assert!(reads < 10, "{reads} entries were read again");
    let longer = Wanted::Before(Time::from_unix_micros(0).unwrap());
    assert_eq!(ledger.erase(request(longer), vec![hold.clone()]).await.unwrap().plan.count, 0);
    // What comes after is found, and so is what waited.
    let judged = elsewhere(silent(Ref::Seq(waits)));
    ledger.append(vec![judged, delivery("after", named), silent(Ref::InGroup(1))]).await.unwrap();
    let (later, reads) = keep(vec![hold.clone()]).await;
    assert_eq!((later.count, later.held["case 12"].len()), (2, 2));
    assert!(reads < 30, "{reads}");
    let (freed, reads) = keep(vec![]).await;
    assert_eq!((freed.count, freed.gone), (402, 2), "another hold: all is looked at");
    assert!(reads > 400, "{reads}");
    let (last, reads) = keep(vec![]).await;
    assert_eq!((last.count, last.gone), (0, 404));
    assert!(reads < 10, "{reads}");
}

#[tokio::test]
async fn holds_win_and_say_so() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 9).await;
    let hold = |hold: Hold| vec![Hold { reason: "case 12".into(), ..hold }];
    let by_range = hold(Hold { entries: Some((1, 8)), ..Hold::default() });
    let done = ledger.erase(request(person("ada")), by_range.clone()).await.unwrap();
    assert_eq!(done.plan.bodies.entries().iter().collect::<Vec<_>>(), [13]);
    assert_eq!(done.plan.held, BTreeMap::from([("case 12".to_owned(), vec![1, 7])]));
    let one = ledger.erase(request(entry(1, &[])), by_range).await.unwrap_err();
    assert!(one.to_string().contains("legal hold: case 12"), "{one}");
    // The subject of every entry here is pull request 4 of repository 3.
    for (repository, pull_request, kept) in
        [("3", None, true), ("3", Some(4), true), ("3", Some(5), false), ("4", None, false)]
    {
        let holds = hold(Hold { repository: Some(repository.into()), pull_request, ..Hold::default() });
        let plan =
            ledger.erase(Request { dry_run: true, ..request(person("bob")) }, holds).await.unwrap().plan;
        assert_eq!(plan.count == 0, kept, "{repository} {pull_request:?}");
    }
    let unknown = hold(Hold { repository: Some("octo-org/app".into()), ..Hold::default() });
    let error = ledger.erase(request(person("bob")), unknown.clone()).await.unwrap_err();
    assert!(error.to_string().contains("octo-org/app"), "{error}");
    let named = r#"{"repository": {"id": 3, "full_name": "Octo-Org/App"}}"#;
    ledger.append(vec![delivery("named", named), verdict(Ref::InGroup(0), Decision::Allow)]).await.unwrap();
    let plan = ledger.erase(request(person("bob")), unknown).await.unwrap().plan;
    assert_eq!((plan.count, plan.held["case 12"].len()), (0, 3));
}

#[tokio::test]
async fn what_is_in_work_or_explains_others_is_not_erased() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 3).await;
    let event = ledger.append(vec![delivery("new", &payload(0))]).await.unwrap()[0].seq;
    let refused = |e: RunError| match e {
        RunError::Plan(PlanError::Refused(why)) => why,
        other => panic!("{other}"),
    };
    assert!(
        refused(ledger.erase(request(entry(event, &[])), vec![]).await.unwrap_err()).contains("still being")
    );
    assert_eq!(ledger.erase(request(person("ada")), vec![]).await.unwrap().plan.in_work, [event]);
    let erasure = ledger.erase(request(entry(3, &[])), vec![]).await.unwrap().erasure.unwrap();
    let why = refused(ledger.erase(request(entry(erasure, &[])), vec![]).await.unwrap_err());
    assert!(why.contains("is an erasure"), "{why}");
    let why = refused(ledger.erase(request(entry(5, &["facts"])), vec![]).await.unwrap_err());
    assert!(why.contains("it has payload"), "{why}");
    assert!(
        refused(ledger.erase(request(entry(999, &[])), vec![]).await.unwrap_err()).contains("does not exist")
    );
    let silent = Request { reason: "  ".into(), ..request(entry(5, &[])) };
    assert!(refused(ledger.erase(silent, vec![]).await.unwrap_err()).contains("needs a reason"));
}

#[tokio::test]
async fn what_is_old_goes_once() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 20).await;
    let middle = ledger.entry(21).unwrap().unwrap().entry.time;
    let wanted = || Request { cause: Cause::Retention, ..request(Wanted::Before(middle)) };
    let done = ledger.erase(wanted(), vec![]).await.unwrap();
    assert_eq!(done.plan.bodies.entries().iter().collect::<Vec<_>>(), (1..21).collect::<Vec<_>>());
    let again = ledger.erase(wanted(), vec![]).await.unwrap();
    assert_eq!((again.erasure, again.plan.gone), (None, 20));
}

/// Removes a body as somebody would who writes to the files, without a word in the ledger.
#[tokio::test]
async fn an_absent_body_that_no_erasure_explains_is_a_failure() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 20).await;
    ledger.erase(request(entry(1, &["payload"])), vec![]).await.unwrap();
    ledger.close().await.unwrap();
    let journal = dir.path().join("journal");
    let mut transform = |seq, body| if seq == 3 { erased(body) } else { body };
    rewrite(&journal, 0, false, &mut transform, &mut || true).unwrap();
    match verify(&journal) {
        Err(VerifyError::Failed { at: 3, what }) => {
            assert!(what.contains("no erasure explains it"), "{what}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rewrite_that_would_change_something_is_refused() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 20).await;
    let journal = dir.path().join("journal");
    let before = fs::read(journal.join(format!("{:020}.seg", 0))).unwrap();
    let mut forge = |_, mut body: gatelog::store::journal::frame::BodyRecord| {
        body.stored = "{\"forged\": 1}".into();
        body
    };
    rewrite(&journal, 0, false, &mut forge, &mut || true).unwrap_err();
    let last = *segments(&journal).unwrap().last().unwrap();
    rewrite(&journal, last, false, &mut |_, b| b, &mut || true).unwrap_err();
    assert_eq!(fs::read(journal.join(format!("{:020}.seg", 0))).unwrap(), before);
    assert_eq!(
        fs::read_dir(&journal).unwrap().count(),
        segments(&journal).unwrap().len(),
        "nothing is left aside"
    );
    drop(ledger);
}

/// What another process would have copied, with the erasure said and not done, is completed when it opens.
#[tokio::test]
async fn an_erasure_that_was_said_and_not_done_is_done_at_the_next_start() {
    let dir = Dir::new();
    let ledger = filled(&dir.path(), 30).await;
    ledger.close().await.unwrap();
    drop(ledger);
    let journal = dir.path().join("journal");
    let old = dir.0.path().join("old");
    copy(&journal, &old);
    let ledger = open_small(&dir.path());
    ledger.erase(request(person("eve")), vec![]).await.unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    // The segments as they were before, under an erasure that came later.
    for first in segments(&old).unwrap() {
        let name = format!("{first:020}.seg");
        if SegmentReader::open(&journal, first).unwrap().header.rewritten != 0 {
            fs::copy(old.join(&name), journal.join(&name)).unwrap();
        }
    }
    let left = verified(&dir.path()).redactions[0].clone();
    assert_eq!((left.bodies, left.left), (0, 10), "said, and still there: no failure");
    let ledger = open_small(&dir.path());
    assert_eq!(verified(&dir.path()).redactions[0].left, 10, "the mark says that it was done");
    drop(ledger);
    fs::remove_file(dir.path().join("erased")).unwrap();
    let ledger = open_small(&dir.path());
    let done = verified(&dir.path()).redactions[0].clone();
    assert_eq!((done.bodies, done.left), (10, 0));
    assert_eq!(mark::erased(&dir.path()).unwrap(), Some(done.erasure));
    drop(ledger);
}
