//! Proofs and keys as those see them who have no more than what is published or handed to them.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::common::{
    foreign::{Tool, foreign, root},
    program::said,
    scene::{REPO, Scene},
    service::{ORIGIN, Service},
};
use gatelog::ledger::{checkpoint::Checkpoint, key::Keys, note::Verifier, proof::TlogProof};

fn url(s: &Service) -> String {
    format!("http://127.0.0.1:{}/log", s.internal)
}

/// A service with a log in which a pull request was judged, and all of it is published.
async fn scene() -> (Scene, String, u64) {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    let size = s.settle().await.entries.len() as u64;
    published(&s.service, &vkey, size).await;
    (s, vkey, pr)
}

/// Waits until `size` entries are under a checkpoint that this key signed.
async fn published(s: &Service, vkey: &str, size: u64) -> (Checkpoint, Vec<u8>) {
    let trusted: [Verifier; 1] = [vkey.parse().unwrap()];
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, _, note) = s.fetch(s.internal, "/log/checkpoint").await;
        if let Some(checkpoint) = Checkpoint::open(&note, &trusted).ok().filter(|c| c.size >= size) {
            return (checkpoint, note);
        }
        assert!(Instant::now() < until, "{size} entries are not covered\n{}", s.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_is_proved_from_what_is_published() {
    let (mut s, vkey, _) = scene().await;
    let url = url(&s.service);
    let dir = s.service.dir.clone();
    let prove = |seq: &str, vkey: &str| {
        let args = ["log", "prove", seq, "-o", "p", "--entry", "e.json", "--url", &url, "--vkey", vkey];
        Command::new(env!("CARGO_BIN_EXE_gatelog")).args(args).current_dir(&dir).output().unwrap()
    };
    let size = s.view().entries.len() as u64;
    for seq in [0, size / 2, size - 1] {
        let seq = seq.to_string();
        let out = prove(&seq, &vkey);
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        let checked =
            s.service.gatelog(&["log", "verify-proof", "p", "--vkey", &vkey, "--entry", "e.json"]).await;
        assert!(said(&checked).contains(&format!("VERIFIED  entry {seq} of ")), "{}", said(&checked));
        // The one who has the ledger gives the same proof, under the same checkpoint.
        let outside = TlogProof::parse(&fs::read(s.service.dir.join("p")).unwrap()).unwrap();
        let out = s.service.gatelog(&["log", "prove", &seq, "-o", "q", "--entry", "f.json"]).await;
        assert!(out.status.success(), "{}", said(&out));
        let inside = TlogProof::parse(&fs::read(s.service.dir.join("q")).unwrap()).unwrap();
        if inside.checkpoint == outside.checkpoint {
            assert_eq!(inside, outside);
        }
        let entry = |name: &str| fs::read(s.service.dir.join(name)).unwrap();
        assert_eq!(entry("e.json"), entry("f.json"));
    }
    fs::remove_file(s.service.dir.join("p")).unwrap();
    let other = Keys::new(ORIGIN).unwrap().verifiers().next().unwrap().to_string();
    for (out, code, part) in [
        (prove("99999", &vkey), 4, "entry 99999 is not covered by the checkpoint"),
        (prove("1", &other), 3, "no key that you trust has signed it"),
        (prove("1", "nonsense"), 2, "--vkey nonsense"),
        (s.service.gatelog(&["log", "prove", "1", "-o", "p", "--url", &url]).await, 2, "--vkey"),
    ] {
        assert_eq!(out.status.code(), Some(code), "{}", said(&out));
        assert!(said(&out).contains(part), "no `{part}` in {}", said(&out));
    }
    s.service.stop().await;
    assert_eq!(prove("1", &vkey).status.code(), Some(5));
    assert!(!s.service.dir.join("p").exists(), "what is not proved is not written");
}

/// Everyone who can be asked about a log, with one key: who accepts it.
struct Verifiers<'a> {
    s: &'a Scene,
    dir: &'a Path,
}

impl Verifiers<'_> {
    async fn accepting(&self, vkey: &str, bundle: &str) -> Vec<(&'static str, bool)> {
        let gatelog = async |args: &[&str]| self.s.service.gatelog(args).await.status;
        let mut all = vec![
            ("log verify", gatelog(&["log", "verify", "--vkey", vkey]).await),
            ("evidence verify", gatelog(&["audit", "evidence", "verify", bundle, "--vkey", vkey]).await),
        ];
        let run = |command: &mut Command| command.current_dir(&self.s.service.dir).output().unwrap().status;
        if let Some(python) = foreign(Tool::PlainPython) {
            let script = root().join("examples/verify_evidence.py");
            let args = [script.to_str().unwrap(), bundle, "--vkey", vkey];
            all.push(("python", run(Command::new(python).arg("-B").args(args))));
        }
        let (_, _, note) = self.s.service.fetch(self.s.service.internal, "/log/checkpoint").await;
        let checkpoint = self.dir.join("checkpoint");
        fs::write(&checkpoint, note).unwrap();
        if let Some(golog) = foreign(Tool::Go) {
            all.push(("go", run(Command::new(golog).args(["log", &url(&self.s.service), vkey]))));
        }
        if let Some(sigstore) = foreign(Tool::Sigstore) {
            all.push(("sigstore", run(Command::new(sigstore).arg(&checkpoint).arg(vkey))));
        }
        all.into_iter().map(|(who, status)| (who, status.success())).collect()
    }

    async fn all_say(&self, vkey: &str, bundle: &str, expected: bool) {
        let wrong: Vec<_> =
            self.accepting(vkey, bundle).await.into_iter().filter(|(_, is)| *is != expected).collect();
        assert!(wrong.is_empty(), "expected {expected}: {wrong:?}");
    }
}

/// Whoever followed the log goes on; whoever was told the new key accepts it; the old one vouches for what it
/// signed, and for nothing after.
#[tokio::test(flavor = "multi_thread")]
async fn every_verifier_follows_a_change_of_keys() {
    let (s, old, pr) = scene().await;
    let dir = tempfile::tempdir().unwrap();
    let verifiers = Verifiers { s: &s, dir: dir.path() };
    let export = async |name: &str| {
        let file = dir.path().join(name).to_str().unwrap().to_owned();
        let pr = format!("{REPO}#{pr}");
        let out = s.service.gatelog(&["audit", "evidence", "export", "--pr", &pr, "-o", &file]).await;
        assert!(out.status.success(), "{}", said(&out));
        file
    };
    let monitor = async |vkey: Option<&str>| {
        let (url, state) = (url(&s.service), dir.path().join("auditor.json"));
        let mut args = vec!["log", "monitor", &url, "--state", state.to_str().unwrap()];
        args.extend(vkey.iter().flat_map(|vkey| ["--vkey", vkey]));
        let out = s.service.gatelog(&args).await;
        assert!(out.status.success(), "{}", said(&out));
        said(&out)
    };
    monitor(Some(&old)).await;
    let before = export("before.zip").await;
    verifiers.all_say(&old, &before, true).await;

    // Both sign.
    let rotated = s.service.gatelog(&["log", "key", "rotate"]).await;
    assert!(rotated.status.success(), "{}", said(&rotated));
    let shown = said(&s.service.gatelog(&["log", "key", "show"]).await);
    let new = shown.lines().nth(1).unwrap().to_owned();
    published(&s.service, &new, s.view().entries.len() as u64).await;
    assert!(monitor(None).await.contains("key: "), "the monitor tells of the new key");
    let during = export("during.zip").await;
    for vkey in [&old, &new] {
        verifiers.all_say(vkey, &during, true).await;
    }

    // Only the new one does.
    let finished = s.service.gatelog(&["log", "key", "rotate", "--finish"]).await;
    assert!(finished.status.success(), "{}", said(&finished));
    published(&s.service, &new, s.view().entries.len() as u64).await;
    monitor(None).await;
    let after = export("after.zip").await;
    verifiers.all_say(&new, &after, true).await;
    verifiers.all_say(&old, &after, false).await;
    let refused = s.service.gatelog(&["log", "verify", "--vkey", &old]).await;
    assert!(refused.status.code() == Some(3) && said(&refused).contains("ask for the vkey that signs now"));
    // What was handed over before is as good as it was.
    for (vkey, bundle) in [(&old, &before), (&old, &during), (&new, &during)] {
        let out = s.service.gatelog(&["audit", "evidence", "verify", bundle, "--vkey", vkey]).await;
        assert!(out.status.success(), "{}", said(&out));
    }
}
