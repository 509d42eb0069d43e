//! `gatelog demo`, as somebody who has just cloned the project runs it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const GATELOG: &str = env!("CARGO_BIN_EXE_gatelog");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn gatelog(arguments: &[&str]) -> Output {
    Command::new(GATELOG).args(arguments).output().unwrap()
}

#[test]
fn the_whole_story_is_decided_as_expected_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let begun = Instant::now();
    let run = gatelog(&["demo", "--dir", at]);
    let shown = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{shown}\n{}", text(&run.stderr));
    // 15 s are promised for a release build on an idle machine.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let deliveries = shown.lines().filter(|l| l.contains("octo-org/shop") && l.contains("entry")).count();
    assert!(deliveries >= 14, "{deliveries} deliveries\n{shown}");
    for part in [
        "VERIFIED  entries 0..",
        "killed: entry",
        "nothing lost, nothing twice: the verdict was sent to GitHub 1 time",
        "✗ gatelog",
    ] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "plain when piped");
    assert!(!shown.contains("unexpected:"), "{shown}");

    // What it left behind is a ledger that anyone can check, and secrets that only the owner reads.
    assert!(dir.path().join("data/journal").is_dir());
    let verify = gatelog(&["log", "verify", "--ledger", &format!("{at}/data")]);
    assert_eq!(verify.status.code(), Some(0), "{}", text(&verify.stdout));
    let replay = gatelog(&["log", "replay", "--ledger", &format!("{at}/data")]);
    let replayed = text(&replay.stdout);
    assert_eq!(replay.status.code(), Some(0), "{replayed}\n{}", text(&replay.stderr));
    let counts: Vec<u64> = replayed.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let [.., judged, same] = counts[..] else { panic!("{replayed}") };
    assert!(judged == same && judged > 20, "{replayed}");
    for secret in ["app.pem", "webhook.secret"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = dir.path().join(secret).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }

    let again = gatelog(&["demo", "--dir", at]);
    assert_eq!(again.status.code(), Some(2), "a folder in use is left alone");
    assert!(text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));
}

#[test]
fn it_serves_until_it_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Command::new(GATELOG)
        .args(["demo", "--serve", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let running = lines.map(Result::unwrap).find(|l| l.starts_with("Running:")).unwrap();
    let url = running.split_whitespace().find(|w| w.starts_with("http://")).unwrap();
    let address = url.trim_start_matches("http://").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok(), "{running}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert!(std::net::TcpStream::connect(&address).is_err(), "the server stopped too");
}
