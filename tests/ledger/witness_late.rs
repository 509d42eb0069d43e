//! A witness that does not answer holds nobody up for longer than once, and is heard all the same.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use super::witness::text_in;
use crate::witness_util::{
    Fake, ORIGIN, Say,
    log::{Log, asking, open},
};
use gatelog::{
    ledger::{
        checkpoint::Checkpoint,
        key::Keys,
        note::sign,
        publish::{PublishError, Published},
    },
    time::Time,
};
use std::sync::Arc;

/// Rounds in which what is asked for has to happen once: on a machine with much to do, the other witness may be late too.
const ROUNDS: u64 = 20;

const HONEST: Say = |key, request| Some((200, key.cosign(&text_in(request), Time::now())));

async fn publish(log: &Log, round: u64) -> Result<Arc<Published>, PublishError> {
    log.grow("a", round + 2).await;
    log.publisher.publish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_does_not_answer_is_not_waited_for_again() {
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    let honest = Fake::start(1, HONEST).await;
    let dead = Fake::start(2, |key, request| {
        ANSWERS.load(Ordering::SeqCst).then(|| (200, key.cosign(&text_in(request), Time::now())))
    })
    .await;
    let who = [(honest.key.cosigner(), &*honest.url), (dead.key.cosigner(), &*dead.url)];
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), asking(&who, "any", false)).unwrap();
    publish(&log, 0).await.unwrap();
    let trouble = log.trouble("witness.example/fake2");
    assert_eq!(trouble.as_deref(), Some("it did not answer within a second"));

    // It is published while it is asked still.
    let mut asked = false;
    for round in 1..ROUNDS {
        let published = publish(&log, round).await.unwrap();
        let waits = dead.waiting.load(Ordering::SeqCst) > 0;
        assert_eq!(log.trouble("witness.example/fake2"), trouble, "and that is said");
        if waits && published.cosigned.len() == 1 {
            asked = true;
            break;
        }
    }
    assert!(asked, "it was waited for each time");

    // Once it answers, it counts again.
    ANSWERS.store(true, Ordering::SeqCst);
    for round in ROUNDS..2 * ROUNDS {
        if publish(&log, round).await.unwrap().cosigned.len() == 2 {
            return;
        }
        // Nothing else grows: what it is asked is answered meanwhile.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it never counted again: {:?}", log.trouble("witness.example/fake2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_waited_for_no_more_is_believed_that_the_log_was_rolled_back() {
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    static SEEN: OnceLock<String> = OnceLock::new();
    let honest = Fake::start(1, HONEST).await;
    // It saw another log, and takes its time: the other one has answered before.
    let slow = Fake::start(2, |_, request| {
        if !ANSWERS.load(Ordering::SeqCst) {
            return None;
        }
        if request.starts_with("GET ") {
            return SEEN.get().map(|note| (200, note.clone()));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        Some((422, String::new()))
    })
    .await;
    let who = [(honest.key.cosigner(), &*honest.url), (slow.key.cosigner(), &*slow.url)];
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), asking(&who, "any", false)).unwrap();
    publish(&log, 0).await.unwrap();
    let keys = Keys::read(&dir.path().join("log.key"), ORIGIN).unwrap();
    let tree = log.ledger.tree();
    let other = Checkpoint { origin: ORIGIN.into(), size: tree.size() + 1000, root: tree.root() };
    SEEN.set(sign(&other.text(), keys.signers()).unwrap()).unwrap();
    ANSWERS.store(true, Ordering::SeqCst);
    // What it shows comes after the checkpoint that nobody waited with, and is believed all the same, with nothing more
    // to sign.
    let found = match publish(&log, 1).await {
        Ok(_) => {
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            let running = log.publisher.clone().run(stopped);
            tokio::time::timeout(std::time::Duration::from_secs(60), running).await.expect("nobody heard it")
        }
        Err(e) => Err(e),
    };
    let Err(PublishError::Contradiction(what)) = found else { panic!("{found:?}") };
    assert!(what.contains("the witness witness.example/fake2 has seen "), "{what}");
}
