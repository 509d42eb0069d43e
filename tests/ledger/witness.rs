//! Witnesses: our own as a process, other people's, and what a log makes of their answers.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::common::{
    measured,
    program::{copy, said},
    scene::Scene,
};
use crate::witness_util::{
    Answer, Fake, ORIGIN, Process, Say, cosigner, gatelog,
    log::{asking, open, policy, vkey},
    send,
};
use gatelog::{
    ledger::{
        checkpoint::Checkpoint,
        cosignature::{Cosigned, Cosigner, CosigningKey, cosigned},
        key::Keys,
        note::{self, Signer, Verifier},
        publish::PublishError,
        witness::{AddCheckpoint, origin_hash},
    },
    store::journal::mark::{self, Signed, Witnessed},
    time::Time,
};

/// The cosignature in an answer to a request.
fn cosignature(request: &AddCheckpoint, answer: &Answer, key: &Cosigner) -> Cosigned {
    assert_eq!(answer.status, 200, "{answer:?}");
    let note = request.checkpoint.clone() + &answer.body;
    let found = cosigned(&note::parse(note.as_bytes()).unwrap(), std::slice::from_ref(key)).unwrap();
    found.into_iter().next().unwrap()
}

/// A log of so few entries that its proofs are written by hand.
mod small {
    use gatelog::ledger::{
        chain::{leaf_hash, node_hash},
        entry::Hash,
    };

    pub fn leaf(n: u8) -> Hash {
        leaf_hash(&[n])
    }

    /// Of the entries 1, 2.
    pub fn two() -> Hash {
        node_hash(&leaf(1), &leaf(2))
    }

    /// Of the entries 1, 2, `third`.
    pub fn three(third: u8) -> Hash {
        node_hash(&two(), &leaf(third))
    }
}

fn log() -> Signer {
    Signer::new(ORIGIN, &[1; 32]).unwrap()
}

fn request(
    old: u64,
    proof: Vec<gatelog::ledger::entry::Hash>,
    size: u64,
    root: gatelog::ledger::entry::Hash,
) -> AddCheckpoint {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
    AddCheckpoint { old, proof, checkpoint: note::sign(&checkpoint.text(), [&log()]).unwrap() }
}

#[tokio::test]
async fn our_witness_answers_as_c2sp_says() {
    let vkey = log().verifier().to_string();
    let witness = Process::started("witness.example/w1", &[&vkey]);
    let path = format!("/{}/checkpoint", origin_hash(ORIGIN));
    assert_eq!(send(witness.port, "GET", &path, b"").await.unwrap().status, 404);
    let two = request(0, vec![], 2, small::two());
    let answer = witness.ask(two.text().as_bytes()).await;
    cosignature(&two, &answer, &witness.key());
    let conflict = witness.ask(two.text().as_bytes()).await;
    assert_eq!((conflict.status, &*conflict.body), (409, "2\n"));
    assert!(conflict.head.contains("content-type: text/x.tlog.size"), "{}", conflict.head);
    let three = request(2, vec![small::leaf(3)], 3, small::three(3));
    cosignature(&three, &witness.ask(three.text().as_bytes()).await, &witness.key());
    let shown = send(witness.port, "GET", &path, b"").await.unwrap();
    assert_eq!(shown.status, 200);
    let shown_note = note::parse(shown.body.as_bytes()).unwrap();
    assert_eq!(shown_note.signatures.len(), 2, "the log's and the witness'");
    assert_eq!(Checkpoint::open(shown.body.as_bytes(), &[log().verifier().clone()]).unwrap().size, 3);

    let unsigned = AddCheckpoint { checkpoint: three.checkpoint.replace("\n3\n", "\n4\n"), ..three.clone() };
    let unknown = three.text().replace("/log/1", "/log/2");
    for (body, status) in [
        (b"nonsense".to_vec(), 400),
        (AddCheckpoint { old: 4, ..three.clone() }.text().into_bytes(), 400),
        (unsigned.text().into_bytes(), 403),
        (unknown.into_bytes(), 404),
        (request(3, vec![], 3, small::three(4)).text().into_bytes(), 422),
        (request(3, vec![small::leaf(9)], 4, small::three(4)).text().into_bytes(), 422),
        (vec![b'x'; 200 << 10], 413),
    ] {
        let answer = witness.ask(&body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.body.contains("nonsense") && !answer.body.contains(ORIGIN), "{answer:?}");
    }
    assert_eq!(send(witness.port, "GET", "/add-checkpoint", b"").await.unwrap().status, 405);
    assert_eq!(send(witness.port, "GET", "/x/../witness/checkpoint", b"").await.unwrap().status, 404);
}

/// A log with its real key that shows another past, or less than before.
#[tokio::test]
async fn a_lying_log_is_refused_by_our_witness() {
    let vkey = log().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    let three = request(0, vec![], 3, small::three(3));
    cosignature(&three, &witness.ask(three.text().as_bytes()).await, &witness.key());
    for killed in [false, true] {
        if killed {
            witness.kill9();
            witness.start(&[]);
        }
        let rollback = witness.ask(request(0, vec![], 2, small::two()).text().as_bytes()).await;
        assert_eq!((rollback.status, &*rollback.body), (409, "3\n"));
        let fork = witness.ask(request(3, vec![], 3, small::three(4)).text().as_bytes()).await;
        assert_eq!(fork.status, 422, "{fork:?}");
        let root = gatelog::ledger::chain::node_hash(&small::three(4), &small::leaf(5));
        let longer = witness.ask(request(3, vec![small::leaf(5)], 4, root).text().as_bytes()).await;
        assert_eq!(longer.status, 422, "{longer:?}");
    }
    assert!(witness.log().contains("does not go on from what was seen before"), "{}", witness.log());
}

/// Killed at any step of keeping what it saw: nobody ever has a cosignature that it does not remember.
#[tokio::test]
async fn a_witness_that_dies_forgets_nothing_it_cosigned() {
    let vkey = log().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    let two = request(0, vec![], 2, small::two());
    cosignature(&two, &witness.ask(two.text().as_bytes()).await, &witness.key());
    let three = request(2, vec![small::leaf(3)], 3, small::three(3));
    for (step, size) in [("witness.seen.before", 2), ("witness.seen.after", 3)] {
        witness.kill9();
        witness.start(&[("FAILPOINTS", &format!("{step}=return(die)"))]);
        let cut = send(witness.port, "POST", "/add-checkpoint", three.text().as_bytes()).await;
        assert!(cut.is_none_or(|a| a.status != 200), "no cosignature came");
        assert!(!witness.wait().success());
        witness.start(&[]);
        let asked = witness.ask(request(0, vec![], 2, small::two()).text().as_bytes()).await;
        assert_eq!((asked.status, asked.body), (409, format!("{size}\n")), "{step}");
        let fork = request(size, if size == 2 { vec![small::leaf(4)] } else { vec![] }, 3, small::three(4));
        let fork = witness.ask(fork.text().as_bytes()).await;
        assert_eq!(
            fork.status,
            if size == 2 { 200 } else { 422 },
            "{step}: what it has not cosigned binds nobody"
        );
        if size == 2 {
            // Back to where it was, so that the next step is looked at from there.
            witness.kill9();
            fs::remove_file(witness.state()).unwrap();
            witness.start(&[]);
            cosignature(&two, &witness.ask(two.text().as_bytes()).await, &witness.key());
        }
    }
    // What cannot be read is no memory: it does not start.
    witness.kill9();
    fs::write(witness.state(), "{}").unwrap();
    let args = ["witness", "serve", "--key", "w.key", "--log", &vkey, "--listen", "127.0.0.1:0"];
    let out = gatelog(witness.dir.path(), &args);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
}

/// It died after its memory got its name and before that was durable: whoever reads it makes it so first, or the
/// power would take what was shown meanwhile.
#[tokio::test]
async fn a_witness_makes_a_name_durable_before_it_believes_it() {
    let vkey = log().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&vkey]);
    witness.kill9();
    let Some(shim) = crate::shim::Shim::over(witness.dir.path()) else { return };
    let env = |shim: &crate::shim::Shim| -> Vec<(String, String)> {
        shim.env().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let named = env(&shim.clone().die_named(".json", 1));
    witness.start(&named.iter().map(|(n, v)| (&**n, &**v)).collect::<Vec<_>>());
    let two = request(0, vec![], 2, small::two());
    let cut = send(witness.port, "POST", "/add-checkpoint", two.text().as_bytes()).await;
    assert!(cut.is_none_or(|a| a.status != 200), "no cosignature came");
    assert!(!witness.wait().success() && witness.state().exists());

    let args = ["witness", "serve", "--key", "w.key", "--log", &vkey, "--listen", "127.0.0.1:0"];
    let mut serve = Command::new(env!("CARGO_BIN_EXE_gatelog"));
    serve.args(args).current_dir(witness.dir.path()).envs(env(&shim.fault("sync:=witness:1:0:EIO")));
    let serve = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = ended(serve).await;
    assert!(!out.status.success() && said(&out).contains("witness: Input/output error"), "{}", said(&out));
    witness.start(&[]);
    let asked = witness.ask(two.text().as_bytes()).await;
    assert_eq!((asked.status, &*asked.body), (409, "2\n"));
}

/// Within five seconds, or it is ended.
async fn ended(mut child: Child) -> Output {
    let until = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

#[test]
fn the_key_of_a_witness_is_its_owners_alone() {
    let witness = Process::new("witness.example/w1", &[]);
    let dir = witness.dir.path();
    let out = gatelog(dir, &["witness", "key", "show", "--key", "w.key"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), witness.vkey);
    assert_eq!(fs::metadata(dir.join("w.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = gatelog(dir, &["witness", "key", "new", "--key", "w.key", "--name", "x"]);
    assert!(again.status.code() == Some(2) && said(&again).contains("exists already"), "{}", said(&again));
    let vkey = log().verifier().to_string();
    fs::set_permissions(dir.join("w.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for args in [
        &["witness", "key", "show", "--key", "w.key"][..],
        &["witness", "serve", "--key", "w.key", "--log", &vkey, "--listen", "127.0.0.1:0"],
    ] {
        let out = gatelog(dir, args);
        assert!(out.status.code() == Some(2) && said(&out).contains("mode 644"), "{}", said(&out));
    }
    let args = ["witness", "serve", "--key", "w.key", "--log", &witness.vkey, "--listen", "127.0.0.1:0"];
    let out = gatelog(dir, &args);
    assert!(
        out.status.code() == Some(2) && said(&out).contains("of a witness, not of a log"),
        "{}",
        said(&out)
    );
}

/// The signed checkpoint in a request.
fn note_in(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").unwrap().1;
    AddCheckpoint::parse(body.as_bytes()).unwrap().checkpoint
}

/// Its text.
pub(crate) fn text_in(request: &str) -> String {
    note::parse(note_in(request).as_bytes()).unwrap().text.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_witnesses_that_are_wrong_count_for_nothing() {
    let wrong: &[(Say, &str)] = &[
        (|_, _| Some((409, "99999\n".into())), "it says that it saw 99999 entries, and there are"),
        (|_, _| Some((409, "0\n".into())), "409 with the size that it was asked with"),
        (|_, _| Some((409, "01\n".into())), "409 without the size"),
        (|_, _| Some((422, String::new())), "it says that it saw another log"),
        (|_, _| Some((403, String::new())), "does not trust the log's key"),
        (|_, _| Some((404, String::new())), "does not know the log"),
        (|_, _| Some((500, String::new())), "it answers 500"),
        (|_, _| Some((302, String::new())), "it answers 302"),
        (|_, _| Some((200, String::new())), "no signature line"),
        (|_, _| Some((200, "nonsense\n".into())), "no signature line"),
        // Blank lines, after which more than the text of the checkpoint would be what is cosigned.
        (
            |key, request| Some((200, format!("\n{}", key.cosign(&note_in(request), Time::now())))),
            "no signature line",
        ),
        (
            |key, request| {
                let first = key.cosign(&text_in(request), Time::now());
                let more = key.cosign(&(note_in(request) + &first), Time::now());
                Some((200, format!("{first}\n{more}")))
            },
            "no signature line",
        ),
        (|_, _| Some((200, "x".repeat(200 << 10))), "too large"),
        (
            |key, _| Some((200, key.cosign("gate.example.com/log/1\n0\nx\n", Time::now()))),
            "its cosignature is wrong",
        ),
        (
            |key, request| {
                let other = CosigningKey::new(key.cosigner().name(), &[99; 32]).unwrap();
                Some((200, other.cosign(&text_in(request), Time::now())))
            },
            "no cosignature of its key",
        ),
        (|_, _| None, "did not answer within a second"),
    ];
    let honest =
        Fake::start(100, |key, request| Some((200, key.cosign(&text_in(request), Time::now())))).await;
    let mut fakes = vec![];
    for (seed, (say, _)) in (1..).zip(wrong) {
        fakes.push(Fake::start(seed, *say).await);
    }
    let closed = CosigningKey::new("witness.example/closed", &[101; 32]).unwrap();
    let mut who: Vec<_> = fakes.iter().chain([&honest]).map(|f| (f.key.cosigner(), &*f.url)).collect();
    who.push((closed.cosigner(), "http://127.0.0.1:1/w"));
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), asking(&who, "2", false)).unwrap();
    log.grow("a", 3).await;
    let began = Instant::now();
    let published = log.publisher.publish().await.unwrap();
    let took = began.elapsed();
    measured("witnesses: published though one never answers", &format!("{took:?}"));
    assert!(took < Duration::from_secs(4), "a slow witness held it up for {took:?}");
    for (fake, (_, said)) in fakes.iter().zip(wrong) {
        let trouble = log.trouble(fake.key.cosigner().name()).expect(said);
        assert!(trouble.contains(said), "{trouble}");
    }
    let trouble = log.trouble("witness.example/closed").unwrap();
    assert!(trouble.contains("cannot be reached"), "{trouble}");
    assert_eq!(log.trouble("witness.example/fake100"), None);
    let by: Vec<&str> = published.cosigned.iter().map(|c| c.by.name()).collect();
    assert_eq!(by, ["witness.example/fake100"]);
    let note = note::parse(published.note.as_bytes()).unwrap();
    assert_eq!(note.signatures.len(), 2, "nothing that is wrong is published: {}", published.note);
    let missed = log.publisher.quorum_missed().unwrap();
    assert!(
        missed.contains("both, 2 of 18") && missed.contains("cosigned by witness.example/fake100"),
        "{missed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_is_asked_from_where_it_is_and_what_it_saw_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let mut witness = Process::started("witness.example/w1", &[&vkey(dir.path())]);
    let (key, url) = (witness.key(), witness.url());
    let asks = || asking(&[(&key, &url)], "all", false);
    for size in [1, 2, 300] {
        // The first knows nothing; then the size is kept over restarts; then it is forgotten here.
        let log = open(dir.path(), asks()).unwrap();
        log.grow("a", size).await;
        let published = log.publisher.publish().await.unwrap();
        assert_eq!((published.cosigned.len(), log.publisher.quorum_missed()), (1, None), "{}", witness.log());
        log.ledger.close().await.unwrap();
        let data = dir.path().join("data");
        let kept = mark::witnessed(&data).unwrap().unwrap();
        assert_eq!((kept.size, kept.witnesses[&witness.vkey].size), (size, size));
        assert_eq!(mark::last_published(&data).unwrap().unwrap().checkpoint, published.note);
        if size == 2 {
            fs::remove_file(data.join("witnessed")).unwrap();
        }
    }
    // The witness forgot, or is another one with that key: it is shown all of the log again.
    witness.kill9();
    fs::remove_file(witness.state()).unwrap();
    witness.start(&[]);
    let log = open(dir.path(), asks()).unwrap();
    assert_eq!(log.publisher.publish().await.unwrap().cosigned.len(), 1);
    log.ledger.close().await.unwrap();
    drop(log);
    // Where none is asked any more, what is signed is what is published.
    let log = open(dir.path(), None).unwrap();
    log.grow("b", 301).await;
    log.publisher.publish().await.unwrap();
    assert_eq!(mark::last_published(&dir.path().join("data")).unwrap().unwrap().size, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_quorum_nothing_is_published_if_so_wanted() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let mut witness = Process::started("witness.example/w1", &[&vkey(dir.path())]);
    let (key, url) = (witness.key(), witness.url());
    witness.kill9();
    let log = open(dir.path(), asking(&[(&key, &url)], "all", true)).unwrap();
    log.publisher.begin().await.unwrap();
    assert!(log.publisher.published().is_none() && log.publisher.quorum_missed().is_some());
    let signed = mark::last_signed(&dir.path().join("data")).unwrap().unwrap();
    assert_eq!(signed.size, log.ledger.head().size, "it is signed all the same");
    assert_eq!(mark::last_published(&dir.path().join("data")).unwrap(), None, "and not for others to see");
    for (args, what) in [
        (&["log", "prove", "0", "-o", "p", "--ledger", "data"][..], "proof"),
        (&["audit", "evidence", "export", "--entry", "0", "-o", "e.zip", "--ledger", "data"], "evidence"),
    ] {
        let out = gatelog(dir.path(), args);
        let text = said(&out);
        assert!(out.status.code() == Some(4) && text.contains("nothing was published yet"), "{what}: {text}");
    }
    witness.start(&[]);
    let first = log.publisher.publish().await.unwrap();
    assert_eq!((first.cosigned.len(), log.publisher.quorum_missed()), (1, None));
    witness.kill9();
    log.grow("a", 9).await;
    let withheld = log.publisher.publish().await;
    assert!(matches!(withheld, Err(PublishError::Withheld(_))), "{withheld:?}");
    assert_eq!(log.publisher.published().unwrap(), first);
    assert_eq!(mark::last_published(&dir.path().join("data")).unwrap().unwrap().size, first.checkpoint.size);
    witness.start(&[]);
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(log.publisher.clone().run(stopped));
    let until = Instant::now() + Duration::from_secs(20);
    while log.publisher.published().unwrap().checkpoint.size != 9 {
        assert!(Instant::now() < until, "it publishes by itself once the witness is there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stopping.send_replace(true);
    running.await.unwrap().unwrap();
}

/// What was published before the quorum was asked for stays so; what is signed after is withheld, also when the
/// process is gone before it heard of any witness, and by the process that comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_stays_and_what_is_signed_from_then_on_is_withheld() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let published = || mark::last_published(&data).unwrap().map(|s| s.size);
    let key = CosigningKey::new("witness.example/w1", &[7; 32]).unwrap().cosigner().clone();
    let who = [(&key, "http://127.0.0.1:1/w")];
    // Nothing was signed yet: nothing is handed out.
    let log = open(dir.path(), asking(&who, "all", true)).unwrap();
    assert_eq!(published(), None);
    log.ledger.close().await.unwrap();
    drop(log);
    let log = open(dir.path(), None).unwrap();
    let first = log.publisher.publish().await.unwrap();
    let size = first.checkpoint.size;
    assert_eq!(published(), Some(size));
    log.ledger.close().await.unwrap();
    drop(log);
    for asks in [true, false, true] {
        // Nothing is asked nor signed before it is gone again.
        let log = open(dir.path(), asking(&who, "all", asks)).unwrap();
        log.ledger.close().await.unwrap();
        drop(log);
        assert_eq!(published(), Some(size), "{asks}");
    }
    for entries in [size + 3, size + 6] {
        let log = open(dir.path(), asking(&who, "all", true)).unwrap();
        assert!(log.publisher.published().is_none(), "not before it is known that there is nothing newer");
        log.grow("a", entries).await;
        log.publisher.begin().await.unwrap();
        let signed = mark::last_signed(&data).unwrap().unwrap();
        assert!(signed.size > size && published() == Some(size), "{signed:?}");
        assert_eq!(log.publisher.published().unwrap(), first, "everybody is shown what was published before");
        assert!(log.publisher.prove(0).unwrap().is_some() && log.publisher.prove(size).unwrap().is_none());
        let proved = gatelog(dir.path(), &["log", "prove", "0", "-o", "p", "--ledger", "data"]);
        assert!(proved.status.success(), "{}", said(&proved));
        log.ledger.close().await.unwrap();
    }
    // A file that says that more was published is not believed: no key of ours signed it, or of another tree.
    let kept = mark::witnessed(&data).unwrap().unwrap();
    let stranger = Signer::new(ORIGIN, &[77; 32]).unwrap();
    let own = Keys::read(&dir.path().join("log.key"), ORIGIN).unwrap();
    for (forged, contradicts) in [(false, false), (true, true)] {
        let (size, root) = (size + 2, first.checkpoint.root);
        let text = Checkpoint { origin: ORIGIN.into(), size, root }.text();
        let checkpoint = match forged {
            false => note::sign(&text, [&stranger]).unwrap(),
            true => note::sign(&text, own.signers()).unwrap(),
        };
        let published = Signed { size, root, checkpoint, ..kept.published.clone().unwrap() };
        mark::write_witnessed(&data, &Witnessed { published: Some(published), ..kept.clone() }).unwrap();
        let log = open(dir.path(), asking(&who, "all", true)).unwrap();
        let begun = log.publisher.begin().await;
        assert_eq!(matches!(begun, Err(PublishError::Contradiction(_))), contradicts, "{begun:?}");
        assert!(log.publisher.published().is_none());
        log.ledger.close().await.unwrap();
    }
    // Where none is asked any more, what is signed is what is published.
    let log = open(dir.path(), None).unwrap();
    assert_eq!(published(), Some(mark::last_signed(&data).unwrap().unwrap().size));
    log.ledger.close().await.unwrap();
}

/// Journal, `signed`, `witnessed`: all from an older copy. Only the witness remembers.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_put_back_whole_is_found_out_by_its_witness() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let witness = Process::started("witness.example/w1", &[&vkey(dir.path())]);
    let (key, url) = (witness.key(), witness.url());
    let asks = || asking(&[(&key, &url)], "all", false);
    let (data, old) = (dir.path().join("data"), dir.path().join("old"));
    for (size, keep) in [(5, true), (8, false)] {
        let log = open(dir.path(), asks()).unwrap();
        log.grow("a", size).await;
        assert_eq!(log.publisher.publish().await.unwrap().cosigned.len(), 1);
        log.ledger.close().await.unwrap();
        drop(log);
        if keep {
            copy(&data, &old);
        }
    }
    fs::remove_dir_all(&data).unwrap();
    copy(&old, &data);
    let shown = format!("/{}/checkpoint", origin_hash(ORIGIN));
    let seen = send(witness.port, "GET", &shown, b"").await.unwrap().body;
    // Shorter than what the witness saw, as long, and longer with another end.
    for size in [5, 8, 12] {
        let log = open(dir.path(), asks()).unwrap();
        log.grow("b", size).await;
        let signed = fs::read(data.join("signed")).unwrap();
        let found = log.publisher.begin().await;
        // A signature under what contradicts the log would speak against it for good, and the right journal would
        // not go on from it.
        assert_eq!(fs::read(data.join("signed")).unwrap(), signed, "nothing was signed");
        let Err(PublishError::Contradiction(what)) = found else { panic!("{size}: {found:?}") };
        assert!(what.contains("the witness witness.example/w1 has seen 8 entries"), "{what}");
        assert!(log.publisher.published().is_none());
        log.ledger.close().await.unwrap();
        drop(log);
        fs::remove_dir_all(&data).unwrap();
        copy(&old, &data);
    }
    assert_eq!(send(witness.port, "GET", &shown, b"").await.unwrap().body, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_not_the_one_that_was_witnessed_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let witness = Process::started("witness.example/w1", &[&vkey(dir.path())]);
    let (data, old) = (dir.path().join("data"), dir.path().join("old"));
    let log = open(dir.path(), None).unwrap();
    log.grow("a", 4).await;
    log.ledger.close().await.unwrap();
    drop(log);
    copy(&data, &old);
    let log = open(dir.path(), asking(&[(&witness.key(), &witness.url())], "all", false)).unwrap();
    log.grow("a", 8).await;
    log.publisher.publish().await.unwrap();
    log.ledger.close().await.unwrap();
    drop(log);
    let witnessed = fs::read(data.join("witnessed")).unwrap();
    // Older than that, and then grown into another one; `signed` is gone.
    for size in [4, 8, 9] {
        fs::remove_dir_all(&data).unwrap();
        copy(&old, &data);
        let log = open(dir.path(), None).unwrap();
        log.grow("b", size).await;
        log.ledger.close().await.unwrap();
        drop(log);
        fs::write(data.join("witnessed"), &witnessed).unwrap();
        let refused = open(dir.path(), None).err().expect("it is not the ledger that was witnessed");
        assert!(refused.contains("the last cosigned checkpoint"), "{size}: {refused}");
        let verified = gatelog(dir.path(), &["log", "verify", "--ledger", "data"]);
        assert_eq!(verified.status.code(), Some(3), "{}", said(&verified));
    }
}

/// Settings for a service whose witnesses are these: the first in the policy, the second in a table.
fn configure(s: &Scene, who: &[(&Cosigner, &str)], need: &str) {
    let policy = policy(who, need).replace(who[1].1, "");
    fs::write(s.service.dir.join("w.policy"), policy).unwrap();
    s.service.configure("[ledger]\n", "[ledger]\nquorum_file = \"w.policy\"\n");
    let table = format!("[[ledger.witness]]\nvkey = \"{}\"\nurl = \"{}\"\n[reconcile]\n", who[1].0, who[1].1);
    s.service.configure("[reconcile]\n", &table);
}

/// What is published, once that is the whole ledger.
async fn covered(s: &Scene, vkey: &str) -> Vec<u8> {
    covered_by(s, vkey, &[]).await
}

/// And with the cosignatures of all of these. One that did not answer within its second, as on a machine with much to
/// do, is asked again five seconds later.
async fn covered_by(s: &Scene, vkey: &str, by: &[Cosigner]) -> Vec<u8> {
    let trusted: [Verifier; 1] = [vkey.parse().unwrap()];
    let until = Instant::now() + Duration::from_secs(if by.is_empty() { 30 } else { 120 });
    loop {
        let (_, _, note) = s.service.fetch(s.service.internal, "/log/checkpoint").await;
        if Checkpoint::open(&note, &trusted).unwrap().size == s.view().entries.len() as u64
            && cosigned(&note::parse(&note).unwrap(), by).unwrap().len() == by.len()
        {
            return note;
        }
        assert!(Instant::now() < until, "{}\n{}", String::from_utf8_lossy(&note), s.service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_is_missed_is_said_and_nothing_waits_longer_than_a_second() {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let real = Process::started("witness.example/w1", &[&vkey]);
    let dead = Fake::start(2, |_, _| None).await;
    let (key, url) = (real.key(), real.url());
    configure(&s, &[(&key, &url), (dead.key.cosigner(), &dead.url)], "all");
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    let began = Instant::now();
    let note = covered(&s, &vkey).await;
    let took = began.elapsed();
    measured("witnesses: growth to checkpoint with one that never answers", &format!("{took:?}"));
    assert!(took < Duration::from_secs(6), "{took:?}");
    let parsed = note::parse(&note).unwrap();
    let both = [key.clone(), dead.key.cosigner().clone()];
    let by: Vec<String> = cosigned(&parsed, &both).unwrap().iter().map(|c| c.by.name().to_owned()).collect();
    assert_eq!(by, ["witness.example/w1"], "published with what came");

    let (status, text) = s.service.get(s.service.port, "/readyz").await.unwrap();
    let degraded = "degraded: the quorum (both, 2 of 2) is missed: cosigned by witness.example/w1, not by witness.example/fake2\n";
    assert_eq!((status, text), (200, format!("ready\n{degraded}")));
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_witness_quorum_missed 1\n"), "{metrics}");
    assert!(
        metrics.contains("gatelog_witnessed_entries{witness=\"witness.example/fake2\"} 0\n"),
        "{metrics}"
    );
    let seen =
        metrics.lines().find(|l| l.starts_with("gatelog_witnessed_entries{witness=\"witness.example/w1\"}"));
    assert!(seen.is_some_and(|l| !l.ends_with(" 0")), "{metrics}");
    let status = said(&s.service.gatelog(&["log", "status"]).await);
    assert!(status.contains("witnesses  witness.example/w1: cosigned "), "{status}");
    assert!(
        status.contains("fake2: cosigned nothing yet; now: it did not answer within a second"),
        "{status}"
    );

    // The same, and nothing newer is published; then the word of one is enough.
    s.service.stop().await;
    s.service.configure("[ledger]\n", "[ledger]\npublish_only_with_quorum = true\n");
    s.service.start().await;
    let (status, _, text) = s.service.fetch(s.service.internal, "/log/checkpoint").await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
    let shown = Checkpoint::open(&text, &[vkey.parse().unwrap()]).unwrap();
    assert!(shown.size < s.view().entries.len() as u64, "what was published before: {shown:?}");
    let (status, text) = s.service.get(s.service.port, "/readyz").await.unwrap();
    assert!(status == 200 && text.contains("degraded: the quorum"), "{text}");
    s.service.stop().await;
    let policy = policy(&[(&key, &url), (dead.key.cosigner(), "")], "any");
    fs::write(s.service.dir.join("w.policy"), policy).unwrap();
    s.service.start().await;
    covered(&s, &vkey).await;
    assert_eq!(s.service.get(s.service.port, "/readyz").await.unwrap(), (200, "ready\n".into()));
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.contains("gatelog_witness_quorum_missed 0\n"), "{metrics}");
}

/// Whoever can sign as the log is nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_not_its_own_witness() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let own: Verifier = vkey(dir.path()).parse().unwrap();
    let own = cosigner("witness.example/own", own.public_key());
    let refused = open(dir.path(), asking(&[(&own, "https://w.example")], "all", false)).err();
    let refused = refused.expect("its key is the log's");
    assert!(
        refused.contains("witness.example/own has the key of the log gate.example.com/log/1"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cosignatures_are_demanded_by_every_verifier() {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let (w1, w2) =
        (Process::started("witness.example/w1", &[&vkey]), Process::started("witness.example/w2", &[&vkey]));
    let absent = CosigningKey::new("witness.example/absent", &[9; 32]).unwrap();
    let (k1, k2) = (w1.key(), w2.key());
    configure(&s, &[(&k1, &w1.url()), (&k2, &w2.url())], "all");
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    covered_by(&s, &vkey, &[k1.clone(), k2.clone()]).await;
    let url = format!("http://127.0.0.1:{}/log", s.service.internal);
    let any = policy(&[(&k1, ""), (absent.cosigner(), "")], "any");
    fs::write(s.service.dir.join("any"), format!("log {vkey}\n{any}")).unwrap();
    let all = policy(&[(&k1, ""), (absent.cosigner(), "")], "all");
    fs::write(s.service.dir.join("all"), all).unwrap();
    let other = Signer::new(ORIGIN, &[8; 32]).unwrap().verifier().to_string();
    fs::write(s.service.dir.join("other"), format!("log {other}\nquorum none\n")).unwrap();
    fs::write(s.service.dir.join("bad"), "quorum nobody\n").unwrap();
    // One key under two names, and the log's own key.
    let twin = cosigner("witness.example/twin", k1.public_key()).to_string();
    let own = cosigner("witness.example/own", vkey.parse::<Verifier>().unwrap().public_key());
    fs::write(s.service.dir.join("own"), self::policy(&[(&own, "")], "all")).unwrap();
    let own = own.to_string();
    for args in [
        &["log", "prove", "0", "-o", "p", "--entry", "e.json"][..],
        &["audit", "evidence", "export", "--entry", "0", "-o", "e.zip"],
    ] {
        let out = s.service.gatelog(args).await;
        assert!(out.status.success(), "{}", said(&out));
    }
    let verifiers: [&[&str]; 3] = [
        &["log", "verify-proof", "p", "--entry", "e.json"],
        &["audit", "evidence", "verify", "e.zip"],
        &["log", "monitor", &url, "--state", "auditor.json"],
    ];
    for verifier in verifiers {
        for (demand, code, text) in [
            (&["--witness", &w1.vkey, "--witness", &w2.vkey][..], 0, "cosigned by witness.example/w2 at "),
            (&["--quorum", "any"], 0, "cosigned by witness.example/w1 at "),
            (&["--witness", &absent.cosigner().to_string()], 4, "not by witness.example/absent"),
            (&["--quorum", "all"], 4, "the quorum (both, 2 of 2) is missed"),
            (&["--quorum", "any", "--witness", &absent.cosigner().to_string()], 4, "is missed"),
            (&["--quorum", "other"], 3, "no key that you trust has signed it"),
            (&["--quorum", "bad"], 2, "line 1: nobody is not defined"),
            (&["--witness", &vkey], 2, "of a log, not of a witness"),
            (&["--witness", &w1.vkey, "--witness", &twin], 2, "has the key of witness.example/w1"),
            (&["--witness", &twin, "--quorum", "any"], 2, "has the key of witness.example/"),
            (&["--witness", &own], 2, "has the key of the log gate.example.com/log/1"),
            (&["--quorum", "own"], 2, "has the key of the log gate.example.com/log/1"),
        ] {
            let out = s.service.gatelog(&[verifier, &["--vkey", &vkey], demand].concat()).await;
            let all = said(&out);
            assert!(out.status.code() == Some(code) && all.contains(text), "{verifier:?} {demand:?}: {all}");
            let unproved = all.contains("shown another log") || all.contains("showed others the same");
            assert!(code != 0 || !unproved, "{verifier:?} {demand:?}: {all}");
        }
    }
    // A cosignature over something else, put in place of the right one.
    let proof = fs::read_to_string(s.service.dir.join("p")).unwrap();
    let line = proof.lines().find(|l| l.starts_with("— witness.example/w1 ")).unwrap();
    let forged = w1_line(&w1, line);
    fs::write(s.service.dir.join("forged"), proof.replace(line, forged.trim_end())).unwrap();
    let args = ["log", "verify-proof", "forged", "--entry", "e.json", "--vkey", &vkey, "--witness", &w1.vkey];
    let out = s.service.gatelog(&args).await;
    assert!(
        out.status.code() == Some(3) && said(&out).contains("witness.example/w1 is wrong"),
        "{}",
        said(&out)
    );
}

/// The line with the time of its cosignature a second later.
fn w1_line(witness: &Process, line: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let mut bytes = BASE64_STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap();
    bytes[11] = bytes[11].wrapping_add(1);
    format!("— {} {}\n", witness.key().name(), BASE64_STANDARD.encode(bytes))
}

/// The power goes while what was cosigned is written: nothing is signed twice, and the witness goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_between_witnesses_and_publication() {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let (w1, w2) =
        (Process::started("witness.example/w1", &[&vkey]), Process::started("witness.example/w2", &[&vkey]));
    configure(&s, &[(&w1.key(), &w1.url()), (&w2.key(), &w2.url())], "all");
    for step in ["ledger.witnessed.before", "ledger.witnessed.after"] {
        let died = s.service.start_with_failpoints(&format!("{step}=return(die)")).await;
        let status = match died {
            Err(status) => status,
            // It was ready just before.
            Ok(()) => s.service.wait_until_ended(Duration::from_secs(20)).await.expect("it dies"),
        };
        assert!(!status.success(), "{step}");
        s.service.start().await;
        covered_by(&s, &vkey, &[w1.key(), w2.key()]).await;
        s.service.stop().await;
        s.service.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_witnesses_is_said_before_anything_runs() {
    let s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let key = CosigningKey::new("witness.example/w1", &[1; 32]).unwrap().cosigner().to_string();
    let file = s.service.dir.join("gatelog.toml");
    let plain = fs::read_to_string(&file).unwrap();
    let twin = CosigningKey::new("witness.example/twin", &[1; 32]).unwrap().cosigner().to_string();
    let own = cosigner("witness.example/own", vkey.parse::<Verifier>().unwrap().public_key()).to_string();
    let other = Signer::new("other.example.com/log/1", &[2; 32]).unwrap().verifier().to_string();
    for (name, text) in [
        ("good", format!("log {vkey}\nwitness w {key} https://w.example/w1\nquorum w\n")),
        ("no-url", format!("witness w {key}\nquorum w\n")),
        ("other-log", format!("log {other}\nquorum none\n")),
        ("bad", "quorum x\n".to_owned()),
    ] {
        fs::write(s.service.dir.join(name), text).unwrap();
    }
    let quorum = |name: &str| format!("quorum_file = \"{name}\"\n");
    let table = |vkey: &str, url: &str| format!("[[ledger.witness]]\nvkey = \"{vkey}\"\nurl = \"{url}\"\n");
    for (keys, tables, said_of_it) in [
        (quorum("good"), String::new(), "witnesses witness.example/w1"),
        (quorum("no-url"), table(&key, "http://127.0.0.1:1"), "witnesses witness.example/w1"),
        (
            "publish_only_with_quorum = true\n".into(),
            String::new(),
            "needs [[ledger.witness]] or quorum_file",
        ),
        (quorum("no-url"), String::new(), "the witness witness.example/w1 has no URL"),
        (quorum("other-log"), String::new(), "it is for other logs than gate.example.com/log/1"),
        (quorum("bad"), String::new(), "line 1: x is not defined on a line before"),
        (quorum("absent"), String::new(), "reading "),
        (String::new(), table(&key, "https://w.example/?a=b"), "is not one of the form https://HOST/PATH"),
        (String::new(), table(&key, "https://me:pw@w.example"), "is not one of the form"),
        (String::new(), table(&vkey, "https://w.example"), "of a log, not of a witness"),
        (String::new(), table(&key, "https://a") + &table(&key, "https://b"), "stands there twice"),
        (
            String::new(),
            table(&key, "https://a") + &table(&twin, "https://b"),
            "witness.example/twin has the key of witness.example/w1",
        ),
        (quorum("good"), table(&twin, "https://b"), "witness.example/twin has the key of witness.example/w1"),
        (
            String::new(),
            table(&own, "https://a"),
            "witness.example/own has the key of the log gate.example.com/log/1",
        ),
    ] {
        let text = plain.replacen("[ledger]\n", &format!("[ledger]\n{keys}"), 1);
        fs::write(&file, text.replacen("[reconcile]\n", &format!("{tables}[reconcile]\n"), 1)).unwrap();
        let out = s.service.gatelog(&["check-config", "--config", "gatelog.toml"]).await;
        assert!(said(&out).contains(said_of_it), "{keys}{tables}{}", said(&out));
        assert_eq!(out.status.success(), said_of_it.starts_with("witnesses "), "{}", said(&out));
        assert!(!said(&out).contains("pw@"), "{}", said(&out));
    }
}

/// An empty folder, because its disk is not mounted or the command was given elsewhere: it would cosign a fork.
#[tokio::test]
async fn a_witness_whose_memory_is_not_there_does_not_start() {
    let log = Signer::new(ORIGIN, &[8; 32]).unwrap().verifier().to_string();
    let mut witness = Process::started("witness.example/w1", &[&log]);
    witness.kill9();
    let at = witness.dir.path().to_owned();
    let (folder, away) = (at.join("witness"), at.join("away"));
    // Where it came so far, it could not listen there, and would say so.
    let serve = ["witness", "serve", "--key", "w.key", "--log", &witness.logs[0], "--listen", "192.0.2.1:1"];
    let refused = |more: &[&str]| {
        let out = gatelog(&at, &[&serve[..], more].concat());
        (out.status.code(), said(&out))
    };
    fs::rename(&folder, &away).unwrap();
    let (code, text) = refused(&[]);
    assert!(code == Some(3) && text.contains("witness is not the memory of witness.example/w1+"), "{text}");
    fs::create_dir(&folder).unwrap();
    let (code, text) = refused(&[]);
    assert!(code == Some(3) && text.contains("--first-use"), "{text}");
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    // Another key.
    let out = gatelog(
        &at,
        &["witness", "key", "new", "--key", "v.key", "--name", "witness.example/w2", "--state", "v"],
    );
    assert!(out.status.success(), "{}", said(&out));
    let (code, text) = refused(&["--state", "v"]);
    assert!(code == Some(3) && text.contains("v is the memory of the witness witness.example/w2+"), "{text}");
    let (code, text) = refused(&["--state", "new", "--first-use"]);
    assert!(code == Some(5) && text.contains("nothing was seen yet of "), "{text}");
    witness.start(&[]);
}
