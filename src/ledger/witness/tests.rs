use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::ledger::{
    chain::{leaf_hash, node_hash},
    cosignature::{Cosigner, cosigned},
    note::{Signer, sign},
    proof::{self, Node},
};

const ORIGIN: &str = "gate.example.com/log/1";

/// A log as somebody would run it who may show anything to anybody.
struct Log {
    leaves: Vec<Hash>,
    signer: Signer,
}

impl Log {
    fn new(size: u64) -> Self {
        let leaves = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        Self { leaves, signer: Signer::new(ORIGIN, &[1; 32]).unwrap() }
    }

    /// The same beginning, then something else.
    fn forked_at(&self, at: usize) -> Self {
        let leaves = self.leaves.iter().enumerate();
        let leaves = leaves.map(|(n, l)| if n < at { *l } else { leaf_hash(&l.0) }).collect();
        Self { leaves, signer: self.signer.clone() }
    }

    fn node(&self, node: Node) -> Result<Hash, Infallible> {
        let first = (node.index << node.height) as usize;
        let mut row = self.leaves[first..first + (1 << node.height)].to_vec();
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Ok(row[0])
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let Ok(root) = proof::root(size, &mut |n| self.node(n));
        Checkpoint { origin: ORIGIN.into(), size, root }
    }

    fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        let Ok(proof) = proof::consistency(old, size, &mut |n| self.node(n));
        let checkpoint = sign(&self.checkpoint(size).text(), [&self.signer]).unwrap();
        AddCheckpoint { old, proof, checkpoint }
    }
}

fn key() -> CosigningKey {
    CosigningKey::new("witness.example/w1", &[7; 32]).unwrap()
}

fn open(dir: &Path, log: &Log) -> Witness {
    Witness::begin(dir, &key()).unwrap();
    Witness::open(dir, key(), &[log.signer.verifier().clone()]).unwrap()
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn ask(witness: &Witness, request: &AddCheckpoint) -> Result<Checkpoint, Refusal> {
    let line = witness.add_checkpoint(request.text().as_bytes(), time("2026-11-24T15:04:05Z"))?;
    let note = request.checkpoint.clone() + &line;
    let parsed = note::parse(note.as_bytes()).unwrap();
    let trusted: [Cosigner; 1] = [witness.key().cosigner().clone()];
    assert_eq!(cosigned(&parsed, &trusted).unwrap().len(), 1);
    Ok(Checkpoint::parse(parsed.text).unwrap())
}

#[test]
fn every_answer_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(20);
    let witness = open(dir.path(), &log);
    let hash = origin_hash(ORIGIN);
    assert_eq!(witness.seen(&hash), None);
    assert_eq!(ask(&witness, &log.request(5, 7)), Err(Refusal::Conflict(0)), "nothing was seen yet");
    assert_eq!(ask(&witness, &log.request(0, 7)), Ok(log.checkpoint(7)));
    assert_eq!(ask(&witness, &log.request(0, 7)), Err(Refusal::Conflict(7)));
    assert_eq!(ask(&witness, &log.request(7, 7)), Ok(log.checkpoint(7)), "again, with a newer time");
    assert_eq!(ask(&witness, &log.request(7, 13)), Ok(log.checkpoint(13)));
    assert_eq!(ask(&witness, &log.request(7, 14)), Err(Refusal::Conflict(13)), "also if it would go on");
    assert_eq!(ask(&witness, &AddCheckpoint { old: 14, ..log.request(0, 13) }), Err(Refusal::OldIsLarger));

    let fork = log.forked_at(12);
    assert_eq!(ask(&witness, &fork.request(13, 13)), Err(Refusal::Inconsistent), "same size, other root");
    assert_eq!(ask(&witness, &fork.request(13, 20)), Err(Refusal::Inconsistent));
    let mut short = log.request(13, 20);
    short.proof.pop();
    assert_eq!(ask(&witness, &short), Err(Refusal::Inconsistent));
    let more = AddCheckpoint { proof: vec![Hash([0; 32])], ..log.request(13, 13) };
    assert_eq!(ask(&witness, &more), Err(Refusal::Inconsistent));

    let other = Signer::new(ORIGIN, &[2; 32]).unwrap();
    let text = log.checkpoint(20).text();
    let signed = |by: &[&Signer]| sign(&text, by.iter().copied()).unwrap();
    let with = |checkpoint: String| AddCheckpoint { checkpoint, ..log.request(13, 20) };
    assert_eq!(ask(&witness, &with(signed(&[&other]))), Err(Refusal::Untrusted));
    let wrong = signed(&[&log.signer]).replace("\n20\n", "\n21\n");
    assert_eq!(ask(&witness, &with(wrong)), Err(Refusal::Untrusted));
    let unknown = Signer::new("other.example.com/log", &[1; 32]).unwrap();
    let elsewhere = Checkpoint { origin: "other.example.com/log".into(), ..log.checkpoint(20) };
    let elsewhere = sign(&elsewhere.text(), [&unknown]).unwrap();
    assert_eq!(ask(&witness, &with(elsewhere)), Err(Refusal::UnknownLog));
    for bad in ["", "old 13\n", "old 013\n\n", "old -1\n\n", "13\n\n", "old 13\nAAAA\n\n", "old 13\r\n\r\n"] {
        let body = bad.to_owned() + &signed(&[&log.signer]);
        let refused = witness.add_checkpoint(body.as_bytes(), Time::now());
        assert_eq!(refused, Err(Refusal::Malformed), "{bad:?}");
    }
    let many = AddCheckpoint { proof: vec![Hash([0; 32]); 64], ..log.request(13, 20) };
    assert_eq!(ask(&witness, &many), Err(Refusal::Malformed));

    // Signatures of others beside the log's do no harm, and are not kept.
    let both = with(signed(&[&unknown, &log.signer]));
    assert_eq!(ask(&witness, &both), Ok(log.checkpoint(20)));
    let seen = witness.seen(&hash).unwrap();
    let parsed = note::parse(seen.checkpoint.as_bytes()).unwrap();
    let names: Vec<&str> = parsed.signatures.iter().map(|s| s.name).collect();
    assert_eq!(names, [ORIGIN, "witness.example/w1"]);
}

#[test]
fn a_tree_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(3);
    let witness = open(dir.path(), &log);
    let wrong = Checkpoint { root: Hash([0; 32]), ..log.checkpoint(0) };
    let wrong = sign(&wrong.text(), [&log.signer]).unwrap();
    let request = AddCheckpoint { checkpoint: wrong, ..log.request(0, 0) };
    assert_eq!(ask(&witness, &request), Err(Refusal::Inconsistent));
    assert_eq!(ask(&witness, &log.request(0, 0)), Ok(log.checkpoint(0)));
    let proved = AddCheckpoint { proof: vec![Hash([0; 32])], ..log.request(0, 3) };
    assert_eq!(ask(&witness, &proved), Err(Refusal::Inconsistent), "nothing needs no proof");
    assert_eq!(ask(&witness, &log.request(0, 3)), Ok(log.checkpoint(3)));
}

#[test]
fn what_was_seen_outlives_the_process_and_a_damaged_memory_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(20);
    let witness = open(dir.path(), &log);
    ask(&witness, &log.request(0, 13)).unwrap();
    let again = Witness::open(dir.path(), key(), &[]);
    assert!(matches!(again, Err(WitnessError::Locked { .. })), "one process at a time");
    drop(witness);
    let witness = open(dir.path(), &log);
    assert_eq!(ask(&witness, &log.request(0, 5)), Err(Refusal::Conflict(13)));
    assert_eq!(ask(&witness, &log.forked_at(3).request(13, 14)), Err(Refusal::Inconsistent));
    drop(witness);
    let path = dir.path().join(file_of(ORIGIN));
    let kept = fs::read_to_string(&path).unwrap();
    for bad in ["", "{}", &kept.replace("\"size\": 13", "\"size\": 12"), &kept.replace("/log/1", "/log/2")] {
        fs::write(&path, bad).unwrap();
        let refused = Witness::open(dir.path(), key(), &[log.signer.verifier().clone()]);
        assert!(matches!(refused, Err(WitnessError::Damaged { .. })), "{bad}");
    }
    // What cannot be kept is not cosigned, and what was before still counts.
    fs::write(&path, kept).unwrap();
    let witness = open(dir.path(), &log);
    fs::create_dir(dir.path().join(format!("{}.new", file_of(ORIGIN)))).unwrap();
    assert!(matches!(ask(&witness, &log.request(13, 20)), Err(Refusal::NotKept(_))));
    fs::remove_dir(dir.path().join(format!("{}.new", file_of(ORIGIN)))).unwrap();
    assert_eq!(ask(&witness, &log.request(13, 14)), Ok(log.checkpoint(14)));
}

#[test]
fn what_is_kept_can_be_read_again_however_often_it_was_signed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(7);
    let witness = open(dir.path(), &log);
    let mut request = log.request(0, 7);
    let line = request.checkpoint.split_once("\n\n").unwrap().1.to_owned();
    request.checkpoint += &line.repeat(note::MAX_SIGNATURES - 1);
    witness.add_checkpoint(request.text().as_bytes(), time("2026-11-24T15:04:05Z")).unwrap();
    let seen = witness.seen(&origin_hash(ORIGIN)).unwrap();
    let names = note::parse(seen.checkpoint.as_bytes()).unwrap().signatures;
    let names: Vec<&str> = names.iter().map(|s| s.name).collect();
    assert_eq!(names, [ORIGIN, "witness.example/w1"], "each key once");
    drop(witness);
    assert_eq!(open(dir.path(), &log).seen(&origin_hash(ORIGIN)), Some(seen));

    // As many keys as a note has room for: with the cosignature it has one line too many.
    let dir = tempfile::tempdir().unwrap();
    Witness::begin(dir.path(), &key()).unwrap();
    let signers: Vec<Signer> = (1..=128).map(|n| Signer::new(ORIGIN, &[n; 32]).unwrap()).collect();
    let keys: Vec<Verifier> = signers.iter().map(|s| s.verifier().clone()).collect();
    let witness = Witness::open(dir.path(), key(), &keys).unwrap();
    let ask = |by: &[Signer]| {
        let checkpoint = sign(&log.checkpoint(7).text(), by).unwrap();
        let request = AddCheckpoint { checkpoint, ..log.request(0, 7) };
        witness.add_checkpoint(request.text().as_bytes(), time("2026-11-24T15:04:05Z"))
    };
    let refused = ask(&signers);
    assert!(
        matches!(&refused, Err(Refusal::NotKept(why)) if why.contains("too many signatures")),
        "{refused:?}"
    );
    assert_eq!(witness.seen(&origin_hash(ORIGIN)), None);
    assert!(!dir.path().join(file_of(ORIGIN)).exists());
    ask(&signers[1..]).unwrap();
    drop(witness);
    assert!(Witness::open(dir.path(), key(), &keys).unwrap().seen(&origin_hash(ORIGIN)).is_some());
}

#[test]
fn the_time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(3);
    let witness = open(dir.path(), &log);
    let at = |size, t: &str| {
        witness.add_checkpoint(log.request(size, size + 1).text().as_bytes(), time(t)).unwrap();
        witness.seen(&origin_hash(ORIGIN)).unwrap().time
    };
    assert_eq!(at(0, "2026-11-24T15:04:05Z"), time("2026-11-24T15:04:05Z"));
    assert_eq!(at(1, "2026-11-24T15:00:00Z"), time("2026-11-24T15:04:05Z"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a log with its real key asks for, all that was ever cosigned is one tree that grew.
    #[test]
    fn nothing_inconsistent_is_ever_cosigned(
        asked in prop::collection::vec((0..3_usize, 0..24_u64, 0..24_u64, any::<bool>(), any::<bool>()), 1..24)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let honest = Log::new(24);
        let logs = [honest.forked_at(5), honest.forked_at(11), honest];
        let mut witness = open(dir.path(), &logs[0]);
        let mut cosigned: Vec<(usize, u64)> = vec![];
        for (log, old, size, knows, restart) in asked {
            if restart {
                drop(witness);
                witness = open(dir.path(), &logs[0]);
            }
            // Mostly a log knows what the witness saw.
            let old = if knows { cosigned.last().map_or(0, |(_, s)| *s) } else { old };
            if ask(&witness, &logs[log].request(old, size.max(old))).is_ok() {
                cosigned.push((log, size.max(old)));
            }
        }
        for pair in cosigned.windows(2) {
            let [(a, small), (b, large)] = *pair else { unreachable!() };
            prop_assert!(small <= large);
            prop_assert_eq!(logs[a].checkpoint(small), logs[b].checkpoint(small), "{:?}", pair);
        }
    }
}

/// A folder that is empty because its disk is not mounted looks like one of a key that was never used.
#[test]
fn a_folder_that_does_not_know_the_key_is_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(3);
    let open = |dir: &Path| Witness::open(dir, key(), &[log.signer.verifier().clone()]);
    for dir in [dir.path().to_owned(), dir.path().join("gone")] {
        assert!(matches!(open(&dir), Err(WitnessError::Unknown { .. })), "{dir:?}");
        assert!(!dir.join("vkey").exists(), "a refusal is no first use");
    }
    let other = CosigningKey::new("witness.example/w2", &[7; 32]).unwrap();
    let at = dir.path().join("w1");
    Witness::begin(&at, &key()).unwrap();
    Witness::begin(&at, &key()).unwrap();
    assert!(matches!(Witness::begin(&at, &other), Err(WitnessError::OfAnother { .. })));
    let refused = Witness::open(&at, other, &[]);
    assert!(matches!(refused, Err(WitnessError::OfAnother { .. })));
    let witness = open(&at).unwrap();
    assert_eq!(witness.unseen(), [ORIGIN]);
    ask(&witness, &log.request(0, 3)).unwrap();
    assert!(witness.unseen().is_empty());
    drop(witness);
    // Of before the key was written there.
    fs::remove_file(at.join("vkey")).unwrap();
    assert!(open(&at).unwrap().unseen().is_empty());
    assert_eq!(fs::read_to_string(at.join("vkey")).unwrap(), format!("{}\n", key().cosigner()));
}
