//! A log in memory, and what an operator with its key could do to it.

use std::collections::BTreeMap;

use super::*;
use crate::ledger::note::{Signer, sign};

const ORIGIN: &str = "gate.example.com/log/1";

/// Files of a log, by name.
type Files = BTreeMap<String, Bytes>;

fn signer(n: u8) -> Signer {
    Signer::new(ORIGIN, &[n; 32]).unwrap()
}

fn entry(seq: u64, prev: Hash, data: &serde_json::Value, kind: &str) -> Bytes {
    let time = format!("2026-11-24T15:{:02}:{:02}.000000Z", seq / 60 % 60, seq % 60);
    let entry = serde_json::json!({
        "v": 1, "seq": seq, "time": time, "kind": kind, "prev": prev, "subject": {"kind": "none"},
        "key": format!("x:{seq}"), "refs": [], "bodies": {}, "data": data,
    });
    serde_json_canonicalizer::to_vec(&entry).unwrap().into()
}

/// Entries that follow each other; `mark` tells one history from another.
fn history(n: u64, mark: &str) -> Vec<Bytes> {
    let (mut all, mut prev) = (vec![], Hash::default());
    for seq in 0..n {
        let raw = entry(seq, prev, &serde_json::json!({ "mark": mark }), "event");
        prev = leaf_hash(&raw);
        all.push(raw);
    }
    all
}

/// What a log with these entries serves.
fn serve(entries: &[Bytes], signers: &[&Signer]) -> Files {
    let (mut edge, mut files) = (Edge::default(), Files::new());
    let size = entries.len() as u64;
    let mut full = HashMap::new();
    for (n, raw) in (1..).zip(entries) {
        for (level, tile) in (0..).zip(edge.push(leaf_hash(raw))) {
            full.insert((level, tile::hashes(level, n) / WIDTH - 1), tile);
        }
    }
    for tile in new_tiles(0, size) {
        let Kind::Hashes(level) = tile.kind else { continue };
        let hashes = full.get(&(level, tile.index)).map_or(edge.partial(level), Vec::as_slice);
        files.insert(tile.path(), tile::encode_hashes(hashes).into());
        if level == 0 {
            let bundle = Tile { kind: Kind::Entries, ..tile };
            let first = (tile.index * WIDTH) as usize;
            let part = &entries[first..first + usize::from(tile.width)];
            files.insert(bundle.path(), tile::encode_entries(part).unwrap().into());
        }
    }
    let text = Checkpoint { origin: ORIGIN.into(), size, root: edge.root() }.text();
    files.insert("checkpoint".into(), sign(&text, signers.iter().copied()).unwrap().into());
    files
}

fn look(state: &mut State, files: &Files) -> Result<News, FollowError> {
    let before = state.clone();
    let result = state.follow(&mut |name| Ok(files.get(name).cloned()));
    assert!(result.is_ok() || *state == before, "a failed look leaves the state alone");
    result
}

fn following(files: &Files) -> State {
    let mut state = State::default();
    state.trust(&[signer(1).verifier().clone()]);
    look(&mut state, files).unwrap();
    state
}

#[test]
fn a_log_that_grows_is_followed_and_only_what_is_new_is_fetched() {
    let all = history(700, "a");
    let mut state = State::default();
    state.trust(&[signer(1).verifier().clone()]);
    let mut before = 0;
    for size in [1, 2, 255, 256, 257, 257, 600, 700] {
        let files = serve(&all[..size], &[&signer(1)]);
        let mut fetched = vec![];
        let news = state
            .follow(&mut |name| {
                fetched.push(name.to_owned());
                Ok(files.get(name).cloned())
            })
            .unwrap();
        assert_eq!((news.before, news.events, state.size), (before, size as u64 - before, size as u64));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        if before == size as u64 {
            assert_eq!(fetched, ["checkpoint"]);
        }
        if size == 600 {
            assert!(!fetched.iter().any(|f| f == "tile/entries/000" || f == "tile/0/000"), "{fetched:?}");
        }
        before = size as u64;
    }
}

#[test]
fn a_rewritten_log_is_proved_to_be() {
    let (ours, other) = (history(300, "a"), history(400, "b"));
    let mut forked = ours[..290].to_vec();
    let last = leaf_hash(&forked[289]);
    forked.push(entry(290, last, &serde_json::json!({"mark": "c"}), "event"));
    let mut state = following(&serve(&ours, &[&signer(1)]));
    for files in [
        serve(&other, &[&signer(1)]),
        serve(&other[..300], &[&signer(1)]),
        serve(&other[..100], &[&signer(1)]),
        serve(&forked, &[&signer(1)]),
    ] {
        let Err(FollowError::Rewritten(proof)) = look(&mut state, &files) else { panic!() };
        let trusted = [signer(1).verifier().clone()];
        for note in [&proof.kept, &proof.served] {
            Checkpoint::open(note.as_bytes(), &trusted).unwrap();
        }
    }
    look(&mut state, &serve(&ours, &[&signer(1)])).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    let all = history(300, "a");
    let good = serve(&all, &[&signer(1)]);
    let mut state = following(&serve(&all[..200], &[&signer(1)]));
    let mut seen = vec![];
    let mut with = |name: &str, change: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>| {
        let mut files = good.clone();
        let bytes = files.remove(name).unwrap_or_else(|| panic!("{name}"));
        files.extend(change(bytes.to_vec()).map(|b| (name.to_owned(), b.into())));
        seen.push(look(&mut state, &files).unwrap_err().to_string());
    };
    let flip = |at: usize| {
        move |mut b: Vec<u8>| {
            let at = at.min(b.len() - 1);
            b[at] ^= 1;
            Some(b)
        }
    };
    with("tile/entries/001.p/44", &flip(30));
    with("tile/entries/001.p/44", &|b| Some(b[..b.len() - 1].to_vec()));
    with("tile/entries/000", &|_| None);
    with("tile/0/000", &flip(40));
    with("tile/1/000.p/1", &flip(3));
    with("tile/0/001.p/44", &|_| None);
    with("checkpoint", &flip(24));
    with("checkpoint", &|_| None);
    with("checkpoint", &|_| Some(serve(&all, &[&signer(2)])["checkpoint"].to_vec()));
    with("checkpoint", &|_| Some(serve(&all[..150], &[&signer(1)])["checkpoint"].to_vec()));
    insta::assert_snapshot!(seen.join("\n"), @r"
    entry 256: not an entry: expected value at line 1 column 29
    tile/entries/001.p/44 does not have 44 entries
    tile/entries/000 is not served, though the checkpoint covers it
    tile/0/000 does not hold the hashes of the entries
    tile/1/000.p/1 does not hold the hashes of the entries
    tile/0/001.p/44 is not served, though the checkpoint covers it
    the checkpoint: the signature of gate.example.com/log/1 is wrong
    checkpoint is not served, though the checkpoint covers it
    the checkpoint: no key that you trust has signed it; it is signed by gate.example.com/log/1+bb8eaa3e
    an older checkpoint is served: 150 entries, 200 were seen
    ");
}

#[test]
fn a_change_of_keys_is_followed() {
    let (old, new) = (signer(1), signer(2));
    let mut all = history(5, "a");
    let mut add = |data: serde_json::Value| {
        let raw = entry(all.len() as u64, leaf_hash(all.last().unwrap()), &data, "key");
        all.push(raw);
        all.clone()
    };
    let (old_key, new_key) = (old.verifier().to_string(), new.verifier().to_string());
    let rotated = add(serde_json::json!({"event": "active", "vkey": new_key, "beside": old_key}));
    let retired = add(serde_json::json!({"event": "retired", "vkey": old_key}));
    let mut state = following(&serve(&rotated[..5], &[&old]));
    look(&mut state, &serve(&rotated, &[&old, &new])).unwrap();
    assert_eq!(state.vkeys, [old_key.clone(), new_key.clone()]);
    look(&mut state, &serve(&retired, &[&old, &new])).unwrap();
    assert_eq!(state.vkeys, [new_key]);
    look(&mut state, &serve(&retired, &[&new])).unwrap();
    // The command line still names the old key: it stays what it is.
    state.trust(&[old.verifier().clone()]);
    assert!(look(&mut state, &serve(&retired, &[&old])).is_err());
}
