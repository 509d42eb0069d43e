//! Erasing through the real binary, while the service runs, over its death, and when it does not run.

use std::{fs, path::Path};

use crate::common::scene::{REPO, Scene};
use crate::shim::Shim;
use gatelog::{event::SubjectKind, ledger::verify::verify};

const REASON: &str = "ticket 7";

struct Said {
    code: Option<i32>,
    text: String,
}

async fn gatelog(s: &Scene, args: &[&str]) -> Said {
    let out = s.service.gatelog(args).await;
    let text = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    Said { code: out.status.code(), text }
}

async fn erase(s: &Scene, args: &[&str]) -> Said {
    gatelog(s, &[&["log", "erase", "--reason", REASON], args].concat()).await
}

/// Pull requests of alice, approved by bob; mallory comments.
async fn history(s: &Scene) -> u64 {
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.act(|w| w.comment("mallory", REPO, pr, "nice")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
    pr
}

fn names(ledger: &Path, word: &str) -> bool {
    let files = fs::read_dir(ledger.join("journal")).unwrap().map(|f| fs::read(f.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(word.len()).any(|w| w == word.as_bytes()))
}

/// Verdicts and events by now: what is judged again adds some.
fn judged(s: &Scene) -> usize {
    s.view().entries.iter().filter(|e| matches!(e.kind.as_str(), "verdict")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_while_the_service_runs_and_stays_erased_over_its_death() {
    let mut s = Scene::started().await;
    let pr = history(&s).await;
    let dry = erase(&s, &["--login", "Mallory", "--dry-run"]).await;
    assert_eq!(dry.code, Some(0), "{}", dry.text);
    assert!(dry.text.contains("would erase"), "{}", dry.text);
    assert!(names(&s.service.ledger, "\"mallory\""));
    let done = erase(&s, &["--login", "Mallory"]).await;
    assert_eq!(done.code, Some(0), "{}", done.text);
    assert!(done.text.contains("recorded as erasure"), "{}", done.text);
    assert!(!names(&s.service.ledger, "\"mallory\""), "the body is in a file");
    let found = verify(&s.service.ledger.join("journal")).unwrap();
    let redaction = found.redactions[0].clone();
    assert_eq!((redaction.left, redaction.reason.as_str()), (0, REASON));
    let seq = redaction.entries[0];
    let says = format!("redacted at entry {seq} (erasure {}: {REASON})", redaction.erasure);

    let check = async |s: &Scene| {
        let shown = gatelog(s, &["log", "show", &seq.to_string()]).await;
        assert!(shown.code == Some(0) && shown.text.contains(&says), "{}", shown.text);
        assert!(s.service.verify().await.contains(&says));
    };
    check(&s).await;
    let path = format!("/entries/{seq}/bodies/payload");
    let dir = s.service.ledger.clone();
    let (status, body) = gatelog::server::admin::call(&dir, http::Method::GET, &path).await.unwrap();
    assert_eq!(status, 410);
    assert!(String::from_utf8_lossy(&body).contains(&says));

    let (before, shown) = (judged(&s), s.check(pr));
    s.service.kill9().await;
    check(&s).await;
    s.service.start().await;
    let view = s.settle().await;
    assert_eq!(
        (judged(&s), s.check(pr)),
        (before, shown),
        "nothing is judged again: {:?}",
        view.entries.last()
    );
    check(&s).await;
    // The gate goes on, and so does the pull request.
    s.act(|w| w.comment("bob", REPO, pr, "so it is")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    assert_eq!(s.service.stop().await.code(), Some(0));
    check(&s).await;

    let copy = s.service.dir.join("copy");
    fs::create_dir_all(&copy).unwrap();
    for file in fs::read_dir(s.service.ledger.join("journal")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let copied = gatelog(&s, &["log", "verify", "--ledger", copy.to_str().unwrap()]).await;
    assert!(copied.code == Some(0) && copied.text.contains(&says), "{}", copied.text);
}

/// Who pushed the head stood in payloads that are gone: nobody is taken for the pusher, and nothing that
/// depends on it is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_missing_and_never_allows() {
    let mut s = Scene::started().await;
    let pr = history(&s).await;
    let done = erase(&s, &["--login", "alice"]).await;
    assert_eq!(done.code, Some(0), "{}", done.text);
    s.service.kill9().await;
    s.service.start().await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "what was decided stands");
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (conclusion, title) = s.check(pr);
    assert_eq!(conclusion, "failure", "bob himself may have pushed: {title}");
    s.act(|w| w.approve("carol", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "of two at least one did not push");
    s.service.verify().await;
    let replayed = gatelog(&s, &["log", "replay"]).await;
    assert!(replayed.code == Some(4) && replayed.text.contains("redacted"), "{}", replayed.text);
    assert!(replayed.text.contains("REPLAYED"), "{}", replayed.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_in_the_middle_of_an_erasure_is_made_good_at_the_next_start() {
    let mut s = Scene::set().await;
    s.service.start().await;
    history(&s).await;
    s.service.stop().await;
    for place in ["erase.segment.before", "erase.segment.after", "erase.mark.before"] {
        let login = if place == "erase.segment.before" { "mallory" } else { "bob" };
        s.service.start_with_failpoints(&format!("{place}=return(die)")).await.unwrap();
        let pr = s.pull(&place.replace('.', "-"), "A window").await;
        s.act(|w| w.comment(login, REPO, pr, "nice")).await;
        s.settle().await;
        let said = erase(&s, &["--login", login]).await;
        assert_eq!(said.code, Some(5), "{place}: {}", said.text);
        assert!(s.service.wait_until_ended(std::time::Duration::from_secs(20)).await.is_some(), "{place}");
        let found = verify(&s.service.ledger.join("journal")).unwrap();
        assert!(!found.redactions.is_empty(), "{place}: it was said before anything was done");
        s.service.start().await;
        let found = verify(&s.service.ledger.join("journal")).unwrap();
        assert!(found.redactions.iter().all(|r| r.left == 0), "{place}: {:?}", found.redactions);
        s.settle().await;
        s.service.stop().await;
        s.service.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_the_ledger_is_opened_and_holds_stand_in_the_configuration() {
    let mut s = Scene::started().await;
    history(&s).await;
    assert_eq!(s.service.stop().await.code(), Some(0));
    let file = s.service.dir.join("gatelog.toml");
    let config = fs::read_to_string(&file).unwrap();
    let hold = format!("{config}\n[[ledger.hold]]\nrepository = \"{REPO}\"\nreason = \"case 12\"\n");
    fs::write(&file, &hold).unwrap();
    let event = verify(&s.service.ledger.join("journal")).map(|_| s.view()).unwrap();
    let event = event.entries.iter().find(|e| e.kind.as_str() == "event").unwrap().seq.to_string();
    let held = erase(&s, &["--entry", &event, "--body", "payload"]).await;
    assert!(held.code == Some(1) && held.text.contains("legal hold: case 12"), "{}", held.text);
    let held = erase(&s, &["--login", "bob"]).await;
    assert!(
        held.code == Some(0) && held.text.contains("kept by the legal hold \"case 12\""),
        "{}",
        held.text
    );
    let bad = hold.replace("reason", "raison");
    fs::write(&file, bad).unwrap();
    let ledger = s.service.ledger.to_str().unwrap().to_owned();
    let unknown = erase(&s, &["--login", "bob", "--ledger", &ledger]).await;
    assert!(unknown.code == Some(2) && unknown.text.contains("legal holds stand in"), "{}", unknown.text);
    assert!(names(&s.service.ledger, "\"bob\""));
    fs::write(&file, &config).unwrap();
    for wrong in [&["--entry", "99999"][..], &["--entry", &event, "--body", "facts"]] {
        assert_eq!(erase(&s, wrong).await.code, Some(2));
    }
    let done = erase(&s, &["--login", "bob"]).await;
    assert!(done.code == Some(0) && done.text.contains("recorded as erasure"), "{}", done.text);
    assert!(!names(&s.service.ledger, "\"bob\""));
    s.service.verify().await;
    // Holds are read anew: the running service knows of one that was written after it started.
    s.service.start().await;
    s.settle().await;
    fs::write(&file, hold.replace("12", "13")).unwrap();
    let held = erase(&s, &["--login", "alice"]).await;
    assert!(held.code == Some(0) && held.text.contains("case 13"), "{}", held.text);
}

/// Through the service, whose clock is moved on: by age, but never what a hold keeps.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_when_their_time_has_come_and_those_under_a_hold_stay() {
    let mut s = Scene::set().await;
    let clock = s.service.dir.join("clock");
    fs::write(&clock, "0").unwrap();
    fs::create_dir_all(&s.service.ledger).unwrap();
    let Some(shim) = Shim::over(&s.service.ledger).map(|shim| shim.clock(&clock)) else { return };
    let file = s.service.dir.join("gatelog.toml");
    let config = fs::read_to_string(&file).unwrap();
    let hold = format!("[[ledger.hold]]\nrepository = \"{REPO}\"\npull_request = 1\nreason = \"case 12\"\n");
    fs::write(&file, format!("{config}\n[ledger.retention]\nbodies = \"30d\"\n\n{hold}")).unwrap();
    s.service.start_with(shim.env()).await.unwrap();
    let (held, other) = (s.pull("held", "A door").await, s.pull("other", "A window").await);
    assert_eq!((held, other), (1, 2));
    let old = s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0));

    // A day before its time, and a day after it.
    fs::write(&clock, (29 * 24 * 3600).to_string()).unwrap();
    s.service.start_with(shim.env()).await.unwrap();
    s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0));
    assert_eq!(verify(&s.service.ledger.join("journal")).unwrap().redactions, []);
    fs::write(&clock, (31 * 24 * 3600).to_string()).unwrap();
    s.service.start_with(shim.env()).await.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let redaction = loop {
        let found = verify(&s.service.ledger.join("journal")).unwrap();
        if let Some(redaction) = found.redactions.into_iter().next().filter(|r| r.left == 0) {
            break redaction;
        }
        assert!(std::time::Instant::now() < until, "nothing was erased\n{}", s.service.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(redaction.reason, "retention: older than 30 days");
    let about = |number: u64| {
        let of = move |e: &&gatelog::ledger::entry::Entry| {
            e.subject.kind == SubjectKind::PullRequest && e.subject.id == Some(number) && !e.bodies.is_empty()
        };
        old.entries.iter().filter(of).map(|e| e.seq).collect::<Vec<_>>()
    };
    assert!(!about(held).is_empty() && !about(other).is_empty());
    for seq in about(held) {
        assert!(!redaction.entries.contains(&seq), "entry {seq} is under a hold");
    }
    for seq in about(other) {
        assert!(redaction.entries.contains(&seq), "entry {seq} is older than the retention");
    }
    s.settle().await;
    assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
    s.service.verify().await;
}
