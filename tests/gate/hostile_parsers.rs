//! The functions that `fuzz/` gives to libFuzzer, without it: every seed, and seeds changed at random.
//!
//! `cargo test` alone has them all; `.ci/fuzz` runs the same functions guided by coverage.

#[path = "../../fuzz/src/lib.rs"]
mod parsers;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

/// What no input of this size may take, on a busy machine and in a debug build.
const LONG: Duration = Duration::from_secs(15);

/// Bytes of an input at most.
const LARGE: usize = 64 * 1024;

/// Words that mean something to one of the parsers.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    "\"",
    "\\",
    ",",
    ":",
    "*",
    "**",
    "?",
    "/",
    "../",
    "@",
    "#",
    "!",
    "\n",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "\u{1b}[2J",
    "\\ud800",
    "\\u0000",
    "1e400",
    "-0",
    "18446744073709551616",
    "null",
    "$serde_json::private::Number",
    "payload=",
    "%",
    "&",
    "pull_request\n",
    "{\"a\":",
    "gFRM",
    "gEND",
    "GATELOG1",
    "\n[github]\n",
    "package ",
    "not ",
    "every x in ",
    " if ",
    ":= ",
    "deny contains x",
    "`",
    "# METADATA\n# custom:\n#   id: x\n",
    "&a [*a]",
    "<<: *a",
    "- ",
    "! ",
    "---\n",
    "[^",
    "(?:",
    "{1000}",
    "\u{10ffff}",
    "é",
    "@octo-org/all",
    "<script>",
    "](https://x)",
    "|",
    "&#8203;",
];

#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Cut(Index, usize),
    Word(Index, Index),
    Bytes(Index, Vec<u8>),
    /// A piece again and again.
    Repeat(Index, usize, usize),
    /// Another seed from here on.
    Splice(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        (at(), 1..200usize).prop_map(|(at, n)| Edit::Cut(at, n)),
        (at(), at()).prop_map(|(at, word)| Edit::Word(at, word)),
        (at(), prop::collection::vec(any::<u8>(), 1..24)).prop_map(|(at, bytes)| Edit::Bytes(at, bytes)),
        (at(), 1..40usize, 2..3000usize).prop_map(|(at, n, times)| Edit::Repeat(at, n, times)),
        (at(), at()).prop_map(|(at, other)| Edit::Splice(at, other)),
    ]
}

fn apply(data: &mut Vec<u8>, edit: &Edit, seeds: &[Vec<u8>]) {
    let place = |at: &Index, data: &Vec<u8>| at.index(data.len() + 1);
    match edit {
        Edit::Flip(at, bits) => {
            if !data.is_empty() {
                let place = at.index(data.len());
                data[place] ^= bits;
            }
        }
        Edit::Cut(at, n) => {
            let from = place(at, data);
            data.drain(from..(from + n).min(data.len()));
        }
        Edit::Word(at, word) => insert(data, place(at, data), WORDS[word.index(WORDS.len())].as_bytes()),
        Edit::Bytes(at, bytes) => insert(data, place(at, data), bytes),
        Edit::Repeat(at, n, times) => {
            let from = place(at, data);
            let piece = data[from..(from + n).min(data.len())].repeat(*times);
            insert(data, from, &piece);
        }
        Edit::Splice(at, other) => {
            let (from, other) = (place(at, data), &seeds[other.index(seeds.len())]);
            data.truncate(from);
            data.extend_from_slice(&other[from.min(other.len())..]);
        }
    }
    data.truncate(LARGE);
}

fn insert(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    data.splice(at..at, bytes.iter().copied());
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = crate::common::foreign::root().join("fuzz/seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", dir.display());
    files.iter().map(|f| fs::read(f).unwrap()).collect()
}

/// With backtraces of errors regorus' parser takes twenty times as long (`policy::ensure_no_backtraces`), and
/// the variable is read once: the test then runs in a process of its own.
fn without_backtraces(test: impl FnOnce()) {
    if std::env::var("RUST_LIB_BACKTRACE").is_ok_and(|v| v == "0") {
        return test();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let own = std::env::current_exe().unwrap();
    let args = ["--exact", &name, "--nocapture"];
    let out = std::process::Command::new(own).args(args).env("RUST_LIB_BACKTRACE", "0").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Every seed, then `cases` changed ones (thousands with `GATELOG_EFFORT=long`).
fn survives(name: &str, cases: u32) {
    let (_, target) = parsers::TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    // Where a hang or an abort leaves its input behind.
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("last-{name}"));
    let timed = |data: &[u8]| {
        fs::write(&last, data).unwrap();
        let started = Instant::now();
        target(data);
        assert!(started.elapsed() < LONG, "it took {:?}", started.elapsed());
    };
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| timed(seed));
    let cases = if crate::common::long() { cases * 200 } else { cases };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let change = (any::<Index>(), prop::collection::vec(edit(), 1..8));
    let run = TestRunner::new(config).run(&change, |(seed, edits)| {
        let mut data = seeds[seed.index(seeds.len())].clone();
        edits.iter().for_each(|e| apply(&mut data, e, &seeds));
        timed(&data);
        Ok(())
    });
    if let Err(e) = run {
        panic!("{name}: {e}");
    }
}

#[test]
fn webhooks() {
    survives("webhook", 2000);
}

#[test]
fn journals() {
    survives("journal", 300);
}

#[test]
fn entries() {
    survives("entry", 2000);
}

#[test]
fn codeowners() {
    survives("codeowners", 1000);
}

#[test]
fn patterns() {
    without_backtraces(|| survives("patterns", 300));
}

#[test]
fn policies() {
    without_backtraces(|| survives("policy", 200));
}

#[test]
fn data_files() {
    without_backtraces(|| survives("data", 300));
}

#[test]
fn archives() {
    without_backtraces(|| survives("archive", 200));
}

#[test]
fn configurations() {
    survives("config", 1000);
}

#[test]
fn witnesses_and_their_policies() {
    survives("witness", 1000);
}

#[test]
fn answers_of_github() {
    survives("answers", 200);
}

#[test]
fn texts_in_a_check_run() {
    survives("page", 200);
}

#[test]
fn files_of_a_log() {
    survives("tlog", 2000);
}

#[test]
fn evidence() {
    survives("evidence", 1000);
}

#[test]
fn comments_on_a_pull_request() {
    survives("command", 2000);
}

#[test]
fn what_judge_processes_write() {
    survives("judge", 2000);
}

#[test]
fn every_target_has_seeds_and_a_test() {
    let own = include_str!("hostile_parsers.rs");
    for (name, _) in parsers::TARGETS {
        assert!(own.contains(&format!("survives(\"{name}\", ")), "{name}");
    }
    // What `.ci/fuzz` runs.
    let seeds = fs::read_dir(crate::common::foreign::root().join("fuzz/seeds")).unwrap();
    let mut seeds: Vec<String> = seeds.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    let mut targets: Vec<&str> = parsers::TARGETS.iter().map(|(name, _)| *name).collect();
    seeds.sort();
    targets.sort();
    assert_eq!(seeds, targets);
}
