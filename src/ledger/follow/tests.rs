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
    serve_as(ORIGIN, entries, signers)
}

fn serve_as(origin: &str, entries: &[Bytes], signers: &[&Signer]) -> Files {
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
    let text = Checkpoint { origin: origin.into(), size, root: edge.root() }.text();
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

/// The generation after [`ORIGIN`], whose first entry says that `files` is what came before.
fn second(files: Option<&Files>) -> (Files, Signer) {
    let signer = Signer::new("gate.example.com/log/2", &[9; 32]).unwrap();
    let predecessor = files.map(|files| {
        let note = String::from_utf8(files["checkpoint"].to_vec()).unwrap();
        let said = Checkpoint::parse(&format!("{}\n", note.split_once("\n\n").unwrap().0)).unwrap();
        serde_json::json!({
            "origin": said.origin, "size": said.size, "root": said.root, "checkpoint": note,
            "time": "2026-11-24T15:04:05.000000Z",
        })
    });
    let first = serde_json::json!({"format": 1, "generation": 2, "predecessor": predecessor});
    let mut all = vec![entry(0, Hash::default(), &first, "service")];
    all.push(entry(1, leaf_hash(&all[0]), &serde_json::json!({"event": "started"}), "service"));
    (serve_as("gate.example.com/log/2", &all, &[&signer]), signer)
}

#[test]
fn a_new_generation_is_held_against_what_was_seen_of_the_old_one() {
    let (ours, other) = (history(300, "a"), history(300, "b"));
    let signed = |entries: &[Bytes]| serve(entries, &[&signer(1)]);
    let seen = following(&signed(&ours[..120]));
    let follow = |files: &Files, by: &Signer| {
        let mut state = seen.clone();
        state.trust(&[by.verifier().clone()]);
        let result = look(&mut state, files);
        (state, result)
    };
    // What was seen, or more, of which nobody shows what it was.
    for (size, named) in [(120, 120), (130, 130)] {
        let (files, by) = second(Some(&signed(&ours[..size])));
        let (mut state, news) = follow(&files, &by);
        let news = news.unwrap();
        let begun = Begun { before: ORIGIN.into(), seen: 120, named };
        assert_eq!((news.begun, news.before, state.size), (Some(begun), 0, 2));
        assert_eq!(state.vkeys, [by.verifier().to_string()], "the old key says nothing of the new log");
        assert_eq!(state.earlier, [seen.checkpoint.clone().unwrap()], "what was seen is not forgotten");
        assert_eq!(look(&mut state, &files).unwrap().begun, None);
    }
    // Less, and something else: the operator's own signatures prove it.
    for (entries, what) in [
        (
            &ours[..100],
            "gate.example.com/log/2 names 100 entries of gate.example.com/log/1, and 120 were signed and seen",
        ),
        (
            &other[..120],
            "gate.example.com/log/2 names another root of the 120 entries of gate.example.com/log/1 that were seen",
        ),
    ] {
        let (files, by) = second(Some(&signed(entries)));
        let (state, result) = follow(&files, &by);
        let Err(FollowError::Rewritten(proof)) = result else { panic!("{what}: {result:?}") };
        assert_eq!((proof.what.as_str(), &state.checkpoint), (what, &seen.checkpoint));
        let trusted = [signer(1).verifier().clone()];
        for note in [&proof.kept, &proof.served] {
            Checkpoint::open(note.as_bytes(), &trusted).unwrap();
        }
        let Beginning { entry, proof } = proof.generation.unwrap();
        let proof = proof::TlogProof::parse(proof.as_bytes()).unwrap();
        proof.verify(leaf_hash(entry.as_bytes()), &[by.verifier().clone()]).unwrap();
    }
    // Nothing, what another key signed, and what is another log's.
    let mut seen_errors = vec![];
    for files in [
        None,
        Some(serve(&ours[..130], &[&signer(2)])),
        Some(serve_as("gate.example.com/log/7", &ours[..130], &[&signer(1)])),
    ] {
        let (files, by) = second(files.as_ref());
        seen_errors.push(follow(&files, &by).1.unwrap_err().to_string());
    }
    insta::assert_snapshot!(seen_errors.join("\n"), @r"
    entry 0: gate.example.com/log/2 begins, and does not name the last checkpoint of gate.example.com/log/1, of which 120 entries were seen
    entry 0: gate.example.com/log/2 begins, and names what no key that you trust has signed as the last checkpoint of gate.example.com/log/1, of which 120 entries were seen
    entry 0: gate.example.com/log/2 begins, and names what no key that you trust has signed as the last checkpoint of gate.example.com/log/1, of which 120 entries were seen
    ");
    // A key that nobody named, and a generation that was never seen.
    let (files, _) = second(Some(&signed(&ours[..120])));
    assert!(matches!(look(&mut seen.clone(), &files), Err(FollowError::Checkpoint(_))));
    let third = Signer::new("gate.example.com/log/3", &[9; 32]).unwrap();
    let files = serve_as("gate.example.com/log/3", &history(3, "c"), &[&third]);
    assert!(matches!(follow(&files, &third).1, Err(FollowError::State(_))));
}

#[test]
fn what_was_done_around_the_gate_is_counted() {
    let verdict = |kind: &str, decision: &str, more: serde_json::Value| {
        let mut data = serde_json::json!({
            "decision": decision, "bundle": "sha256:00", "engine": "regorus", "rewriter": 1, "valid_until": null,
            "target": null, "superseded_by": null,
        });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::json!({"kind": "verdict", "subject": {"kind": kind}, "data": data})
    };
    let landing = |kind: &str, exceptions: &[&str]| {
        serde_json::json!({"landing": {
            "kind": kind, "required": "bound", "bypassed": kind == "bypass", "exceptions": exceptions,
        }})
    };
    let later = |mut landing: serde_json::Value, of: u64| {
        landing["landing"]["instead_of"] = of.into();
        landing
    };
    let tampering = serde_json::json!({"tampering": {"kind": "rules_weakened", "passes": true}});
    let mut all = history(1, "a");
    for (n, entry) in [
        // The controls allow the push, and it was merged past the gate.
        verdict("ref", "allow", landing("bypass", &["not_allowed", "bypassed"])),
        verdict("ref", "allow", landing("merge", &[])),
        // GitHub's record came later: it counts in the place of the one before, and so does one that is fine.
        verdict("ref", "allow", later(landing("bypass", &["bypassed"]), 1)),
        verdict("ref", "allow", landing("direct", &["unknown"])),
        verdict("ref", "allow", later(landing("merge", &[]), 4)),
        verdict("ref", "deny", landing("direct", &["not_allowed"])),
        // A branch that nobody watches.
        verdict("ref", "deny", serde_json::json!({})),
        verdict("ref", "error", serde_json::json!({})),
        verdict("pull_request", "deny", serde_json::json!({})),
        verdict("ruleset", "allow", tampering),
        serde_json::json!({"kind": "service", "subject": {"kind": "none"}, "data": {"acknowledged": true, "seen": []}}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut entry = entry;
        let whole = serde_json::json!({
            "v": 1, "seq": n + 1, "time": format!("2026-11-24T16:00:{n:02}.000000Z"), "refs": [], "bodies": {},
            "key": format!("x:{n}"), "prev": leaf_hash(all.last().unwrap()),
        });
        entry.as_object_mut().unwrap().extend(whole.as_object().unwrap().clone());
        all.push(serde_json_canonicalizer::to_vec(&entry).unwrap().into());
    }
    let mut state = State::default();
    state.trust(&[signer(1).verifier().clone()]);
    let news = look(&mut state, &serve(&all, &[&signer(1)])).unwrap();
    let News { events, allowed, denied, errors, bypassed, denied_pushes, tampering, acknowledged, .. } = news;
    assert_eq!((events, allowed, denied, errors), (1, 6, 3, 1));
    assert_eq!(bypassed, [3, 6].into());
    assert_eq!((denied_pushes, tampering, acknowledged), (3, 1, 1));
    assert_eq!(news.last, Some("2026-11-24T16:00:10Z".parse().unwrap()));
}
