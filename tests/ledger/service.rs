//! The transparency log of the real service: what is published, proved, and refused.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::common::{
    measured,
    program::{copy, said},
    scene::Scene,
    service::{ORIGIN, Service},
};
use bytes::Bytes;
use gatelog::ledger::{
    chain::leaf_hash,
    checkpoint::Checkpoint,
    edge::Edge,
    entry::{Entry, Kind},
    note::{self, Verifier},
    proof::TlogProof,
    tile::{self, Kind as TileKind, Tile, new_tiles},
};

async fn checkpoint(s: &Service, vkeys: &[&str]) -> (Checkpoint, String) {
    let (status, _, note) = s.fetch(s.internal, "/log/checkpoint").await;
    assert_eq!(status, 200, "{}", s.log());
    let trusted: Vec<Verifier> = vkeys.iter().map(|v| v.parse().unwrap()).collect();
    (Checkpoint::open(&note, &trusted).unwrap(), String::from_utf8(note).unwrap())
}

/// Waits until the newest checkpoint covers `size` entries.
async fn covered(s: &Service, vkey: &str, size: u64) -> Checkpoint {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (checkpoint, _) = checkpoint(s, &[vkey]).await;
        if checkpoint.size >= size {
            return checkpoint;
        }
        assert!(Instant::now() < until, "{size} entries are not covered: {checkpoint:?}\n{}", s.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A scene with a log, in which one pull request was judged.
async fn scene(public: bool) -> (Scene, String) {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(public).await;
    s.service.start().await;
    s.pull("topic", "A door").await;
    s.settle().await;
    (s, vkey)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_the_ledger_and_within_a_second() {
    let (mut s, vkey) = scene(false).await;
    let size = s.view().entries.len() as u64;
    let grown = Instant::now();
    let checkpoint = covered(&s.service, &vkey, size).await;
    measured("log: growth to published checkpoint", &format!("{:?}", grown.elapsed()));
    assert_eq!(checkpoint.origin, ORIGIN);
    let port = s.service.internal;
    let (_, head, _) = s.service.fetch(port, "/log/checkpoint").await;
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    assert!(head.contains("cache-control: no-cache"), "{head}");

    let mut edge = Edge::default();
    let bundle = Tile::of(TileKind::Entries, 0, checkpoint.size).unwrap();
    let (status, head, bytes) = s.service.fetch(port, &format!("/log/{}", bundle.path())).await;
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: public, max-age=604800, immutable"), "{head}");
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    for raw in tile::decode_entries(&Bytes::from(bytes)).unwrap() {
        edge.push(leaf_hash(&raw));
    }
    assert_eq!((edge.size(), edge.root()), (checkpoint.size, checkpoint.root));
    for tile in new_tiles(0, checkpoint.size) {
        let (status, _, bytes) = s.service.fetch(port, &format!("/log/{}", tile.path())).await;
        let TileKind::Hashes(level) = tile.kind else { panic!() };
        assert_eq!((status, bytes), (200, tile::encode_hashes(edge.partial(level))), "{}", tile.path());
    }
    // The log is not for everybody unless told so.
    for path in ["/log/checkpoint", "/log/tile/0/000.p/1"] {
        assert_eq!(s.service.fetch(s.service.port, path).await.0, 404, "{path}");
    }
    // The stop itself is signed.
    assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
    let signed: serde_json::Value =
        serde_json::from_slice(&fs::read(s.service.ledger.join("signed")).unwrap()).unwrap();
    assert_eq!(signed["size"], s.view().entries.len());
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_that_is_not_signed() {
    let (s, vkey) = scene(false).await;
    let before = covered(&s.service, &vkey, s.view().entries.len() as u64).await;
    // What is signed cannot be written: so nothing new is published, and the service goes on.
    let in_the_way = s.service.ledger.join("signed.new");
    fs::create_dir(&in_the_way).unwrap();
    s.pull("more", "A window").await;
    let size = s.settle().await.entries.len() as u64;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (after, _) = checkpoint(&s.service, &[&vkey]).await;
    assert_eq!(after, before);
    for kind in [TileKind::Entries, TileKind::Hashes(0)] {
        let name = Tile::of(kind, 0, size).unwrap().path();
        let (status, ..) = s.service.fetch(s.service.internal, &format!("/log/{name}")).await;
        assert_eq!(status, 404, "{name} is not under {before:?}");
    }
    fs::remove_dir(&in_the_way).unwrap();
    covered(&s.service, &vkey, size).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_get_nothing() {
    let (s, _) = scene(true).await;
    for port in [s.service.internal, s.service.port] {
        assert_eq!(s.service.fetch(port, "/log/tile/0/000.p/1").await.0, 200, "{}", s.service.log());
        for path in [
            "/log/tile/0/000",
            "/log/tile/0/000.p/255",
            "/log/tile/1/000.p/1",
            "/log/tile/63/000.p/1",
            "/log/tile/entries/x018/x446/x744/x073/x709/x551/615",
            "/log/",
            "/log/tile",
            "/log/tile/",
            "/log/checkpoint/",
            "/log/../log/key",
        ] {
            assert_eq!(s.service.fetch(port, path).await.0, 404, "{path}");
        }
        for path in [
            "/log/tile/0/000.p/0",
            "/log/tile/0/000.p/256",
            "/log/tile/0/000.p/1/",
            "/log/tile/64/000",
            "/log/tile/0/../../signed",
            "/log/tile/0/%2e%2e/%2e%2e/secret",
            "/log/tile/0/000%2ep/1",
            "/log/tile/0//000.p/1",
            "/log/tile/-1/000",
            "/log/tile/entries/x018/x446/x744/x073/x709/x551/616",
            "/log/tile/0/%00",
            &format!("/log/tile/0/{}000", "x000/".repeat(500)),
        ] {
            assert_eq!(s.service.fetch(port, path).await.0, 400, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_is_proved_offline() {
    let (mut s, vkey) = scene(false).await;
    let size = s.view().entries.len() as u64;
    covered(&s.service, &vkey, size).await;
    let seq = s.view().of_kind(&Kind::Verdict).next().unwrap().seq.to_string();
    for running in [true, false] {
        if !running {
            s.service.stop().await;
        }
        let args = ["log", "prove", &seq, "-o", "change.tlog-proof", "--entry", "entry.json"];
        let out = s.service.gatelog(&args).await;
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        let verify = async |vkey: &str, entry: &str| {
            let args = ["log", "verify-proof", "change.tlog-proof", "--vkey", vkey, "--entry", entry];
            let out = s.service.gatelog(&args).await;
            (out.status.code(), said(&out))
        };
        let (code, text) = verify(&vkey, "entry.json").await;
        assert!(code == Some(0) && text.contains(&format!("VERIFIED  entry {seq} of ")), "{text}");
        let file = |name: &str| s.service.dir.join(name);
        let entry = fs::read_to_string(file("entry.json")).unwrap();
        fs::write(file("with-line-end.json"), format!("{entry}\n")).unwrap();
        assert_eq!(verify(&vkey, "with-line-end.json").await.0, Some(0));
        fs::write(file("forged.json"), entry.replace("\"deny\"", "\"allow\"").replace("\"v\":1", "\"v\":2"))
            .unwrap();
        let (code, text) = verify(&vkey, "forged.json").await;
        assert!(code == Some(3) && text.contains("FAILED"), "{text}");
        let other = note::Signer::new(ORIGIN, &[9; 32]).unwrap().verifier().to_string();
        let (code, text) = verify(&other, "entry.json").await;
        assert!(code == Some(3) && text.contains("no key that you trust"), "{text}");
        assert_eq!(verify("nonsense", "entry.json").await.0, Some(2));
        let args = ["log", "prove", "0", "-o", "first.tlog-proof", "--entry", "first.json"];
        assert_eq!(s.service.gatelog(&args).await.status.code(), Some(0));
        let (code, text) = verify(&vkey, "first.json").await;
        let why = format!("it is of entry {seq}, and what is to be proved is entry 0");
        assert!(code == Some(3) && text.contains(&why), "{text}");
        let out = s.service.gatelog(&["log", "prove", "100000", "-o", "no.tlog-proof"]).await;
        assert_eq!(out.status.code(), Some(4));
        let why = " entries, so not entry 100000\n";
        assert!(
            said(&out).starts_with("gatelog: the last published") && said(&out).ends_with(why),
            "{}",
            said(&out)
        );
        let proof = TlogProof::parse(&fs::read(file("change.tlog-proof")).unwrap()).unwrap();
        assert_eq!(proof.index.to_string(), seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_owners_alone() {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    let key = s.service.dir.join("log.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = s.service.gatelog(&["log", "key", "show"]).await;
    assert_eq!(said(&shown), format!("{vkey}\n"));
    assert!(vkey.starts_with(&format!("{ORIGIN}+")));
    let again = s.service.gatelog(&["log", "key", "new"]).await;
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let status = s.service.start_with([]).await.unwrap_err();
    assert_eq!(status.code(), Some(2), "{}", s.service.log());
    assert!(s.service.log().contains("can be read by others (mode 640)"), "{}", s.service.log());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    s.service.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_recorded_and_both_sign_meanwhile() {
    let (mut s, old) = scene(false).await;
    let rotate = s.service.gatelog(&["log", "key", "rotate"]).await;
    assert_eq!(rotate.status.code(), Some(0), "{}", said(&rotate));
    let shown = said(&s.service.gatelog(&["log", "key", "show"]).await);
    let keys: Vec<&str> = shown.lines().collect();
    assert_eq!((keys.len(), keys[0]), (2, old.as_str()));
    let new = keys[1].to_owned();
    assert!(said(&rotate).contains(&new));
    for key in [&old, &new] {
        checkpoint(&s.service, &[key]).await;
    }
    let twice = s.service.gatelog(&["log", "key", "rotate"]).await;
    let why = "gatelog: a change of keys is under way: finish it first (`gatelog log key rotate --finish`)\n";
    assert_eq!((twice.status.code(), said(&twice).as_str()), (Some(2), why));
    // It survives a stop, and is recorded once.
    s.service.stop().await;
    s.service.start().await;
    let finish = s.service.gatelog(&["log", "key", "rotate", "--finish"]).await;
    assert!(said(&finish).contains(&old), "{}", said(&finish));
    let finished = s.service.gatelog(&["log", "key", "rotate", "--finish"]).await;
    let why = "gatelog: no change of keys is under way: begin one with `gatelog log key rotate`\n";
    assert_eq!((finished.status.code(), said(&finished).as_str()), (Some(2), why));
    let (_, note) = checkpoint(&s.service, &[&new]).await;
    let trusted: [Verifier; 1] = [old.parse().unwrap()];
    assert!(note::open(note.as_bytes(), &trusted).is_err(), "the old key signs no more");
    let view = s.view();
    let told: Vec<_> = view.of_kind(&Kind::Key).map(|e| &e.data).cloned().collect();
    let expected = serde_json::json!([
        {"event": "active", "vkey": old, "beside": null},
        {"event": "active", "vkey": new, "beside": old},
        {"event": "retired", "vkey": old},
    ]);
    assert_eq!(serde_json::Value::from(told), expected);
}

/// The ledger as it was in `backup`, with what was signed since.
fn roll_back(data: &Path, backup: &Path) {
    for name in ["journal", "sled"] {
        fs::remove_dir_all(data.join(name)).unwrap();
        copy(&backup.join(name), &data.join(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_older_than_what_it_signed_goes_on_only_as_another() {
    let (mut s, vkey) = scene(false).await;
    // An erasure far up in the old generation.
    for _ in 0..3 {
        s.pull(&format!("branch-{}", s.view().entries.len()), "Stones").await;
        s.settle().await;
    }
    let out = s.service.gatelog(&["log", "erase", "--entry", "5", "--reason", "ticket 7"]).await;
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    s.settle().await;
    let url = format!("http://127.0.0.1:{}/log", s.service.internal);
    let monitor = ["log", "monitor", &url, "--state", "auditor.json", "--vkey"];
    let seen = s.service.gatelog(&[&monitor[..], &[&vkey]].concat()).await;
    assert_eq!(seen.status.code(), Some(0), "{}", said(&seen));
    s.service.stop().await;
    let (data, backup) = (s.service.ledger.clone(), s.service.dir.join("backup"));
    copy(&data, &backup);
    s.service.start().await;
    s.pull("more", "A window").await;
    s.settle().await;
    s.service.stop().await;
    let newest = s.service.dir.join("newest");
    copy(&data, &newest);
    let signed: serde_json::Value = serde_json::from_slice(&fs::read(data.join("signed")).unwrap()).unwrap();
    roll_back(&data, &backup);
    let status = s.service.start_with([]).await.unwrap_err();
    let log = s.service.log();
    assert_eq!(status.code(), Some(3), "{log}");
    let needed = format!("at least {} entries", signed["size"]);
    assert!(log.contains("Restore a backup") && log.contains(&needed), "{log}");

    // The right backup is taken.
    roll_back(&data, &newest);
    s.service.start().await;
    s.service.stop().await;

    // One that is whole is not left behind by mistake.
    let out = s.service.gatelog(&["log", "new-generation"]).await;
    let whole = said(&out).contains("is whole: it has all") && said(&out).contains("--although-whole");
    assert!(out.status.code() == Some(2) && whole, "{}", said(&out));
    assert!(!data.join("generation-1").exists() && !data.join("generation").exists());

    // Without one: another generation, which names where the old one ended.
    let signed: serde_json::Value = serde_json::from_slice(&fs::read(data.join("signed")).unwrap()).unwrap();
    roll_back(&data, &backup);
    let out = s.service.gatelog(&["log", "new-generation"]).await;
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert!(said(&out).contains("origin = \"gate.example.com/log/2\""), "{}", said(&out));
    assert_eq!(s.service.start_with([]).await.unwrap_err().code(), Some(2), "the old origin is refused");
    s.service.configure(ORIGIN, "gate.example.com/log/2");
    assert_eq!(s.service.start_with([]).await.unwrap_err().code(), Some(2), "the old key is refused");
    fs::rename(s.service.dir.join("log.key"), s.service.dir.join("old.key")).unwrap();
    let vkey = s.service.new_key().await;
    s.service.start().await;
    s.settle().await;
    let (now, _) = checkpoint(&s.service, &[&vkey]).await;
    assert_eq!(now.origin, "gate.example.com/log/2");
    let view = s.view();
    let first: &Entry = &view.entries[0];
    assert_eq!(first.data["generation"], 2);
    assert_eq!(first.data["predecessor"], signed);
    // Who followed the old one is told once what nobody shows any more, and follows the new one.
    let goes_on = "generation: the log goes on from gate.example.com/log/1";
    for (code, part) in [(4, goes_on), (0, "VERIFIED")] {
        let seen = s.service.gatelog(&[&monitor[..], &[&vkey]].concat()).await;
        assert!(seen.status.code() == Some(code) && said(&seen).contains(part), "{}", said(&seen));
    }
    let verified = s.service.gatelog(&["log", "verify"]).await;
    assert!(
        said(&verified).contains("goes on from gate.example.com/log/1, whose last"),
        "{}",
        said(&verified)
    );
    let in_use = s.service.gatelog(&["log", "new-generation"]).await;
    assert!(said(&in_use).contains("in use"), "{}", said(&in_use));
    // What the old one erased says nothing about this one.
    let pr = s.pull("third", "A roof").await;
    s.settle().await;
    let event = s.view().of_kind(&Kind::Event).find(|e| e.subject.id == Some(pr)).unwrap().seq;
    let erase = ["log", "erase", "--entry", &event.to_string(), "--reason", "ticket 8"];
    let out = s.service.gatelog(&erase).await;
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let shown = s.service.gatelog(&["log", "show", &event.to_string()]).await;
    assert!(said(&shown).contains("(erasure "), "{}", said(&shown));
    s.service.stop().await;
    s.service.verify().await;
    let out = s.service.gatelog(&["log", "new-generation", "--although-whole"]).await;
    assert!(out.status.code() == Some(0) && said(&out).contains("generation 3 names"), "{}", said(&out));
}

/// An empty folder, as where a disk was not mounted, would begin another ledger: under a name and with a key
/// that have signed the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_signed_signs_no_other_ledger() {
    let (mut s, _) = scene(false).await;
    s.service.stop().await;
    let away = s.service.dir.join("away");
    fs::rename(&s.service.ledger, &away).unwrap();
    let status = s.service.start_with([]).await.unwrap_err();
    assert_eq!(status.code(), Some(3), "{}", s.service.log());
    let log = s.service.log();
    assert!(log.contains("has signed the ledger") && log.contains("is its disk mounted?"), "{log}");
    assert!(!s.service.ledger.join("signed").exists(), "nothing was signed");
    // The change of a key does not let go of it.
    fs::remove_dir_all(&s.service.ledger).unwrap();
    fs::rename(&away, &s.service.ledger).unwrap();
    s.service.start().await;
    for args in [&["log", "key", "rotate"][..], &["log", "key", "rotate", "--finish"]] {
        let out = s.service.gatelog(args).await;
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    }
    s.service.stop().await;
    fs::rename(&s.service.ledger, &away).unwrap();
    assert_eq!(s.service.start_with([]).await.unwrap_err().code(), Some(3), "{}", s.service.log());
    fs::remove_dir_all(&s.service.ledger).unwrap();
    fs::rename(&away, &s.service.ledger).unwrap();
    s.service.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_not_the_one_that_was_signed_does_not_start() {
    let (mut s, _) = scene(false).await;
    s.service.stop().await;
    let file = s.service.ledger.join("signed");
    let signed: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // Somebody else's entries in the place of ours: to the mark it is all the same who is wrong.
    for (size, root) in [(signed["size"].clone(), "ab".repeat(32)), (7.into(), "cd".repeat(32))] {
        let mut other = signed.clone();
        (other["size"], other["root"]) = (size.clone(), root.into());
        fs::write(&file, other.to_string()).unwrap();
        let status = s.service.start_with([]).await.unwrap_err();
        assert_eq!(status.code(), Some(3), "{}", s.service.log());
        let wanted = format!("the first {size} entries have the root");
        assert!(s.service.log().contains(&wanted), "{}", s.service.log());
    }
    fs::write(&file, signed.to_string()).unwrap();
    s.service.start().await;
}
