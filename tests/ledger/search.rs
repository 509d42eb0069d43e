//! Searches read what the catalogs name and nothing else; a catalog that hides something is found out.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use gatelog::{
    event::Subject,
    ledger::{
        Ledger,
        entry::{Body, Draft, Entry, Key, Kind, Ref},
        erasure::{Cause, plan::Wanted, run::Request},
    },
    store::journal::{Sizes, catalog::keep, segments},
    time::Time,
    verdict::Decision,
};

use crate::common::program::said;
use crate::ledger_util::*;

const SMALL: Sizes = Sizes { segment: 16 << 10, ahead: 4 << 10 };
const OTHER_SHA: &str = "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd";

fn gatelog(dir: &Path, args: &[&str]) -> Output {
    let place = ["--ledger", dir.to_str().unwrap()];
    Command::new(env!("CARGO_BIN_EXE_gatelog")).args([args, &place].concat()).output().unwrap()
}

fn json(value: &serde_json::Value) -> Body {
    Body { bytes: value.to_string().into(), media: "application/json" }
}

/// An event of pull request `number` of a repository with this id and name.
fn event(n: u64, repository: u64, name: &str, number: u64) -> Draft {
    let payload = serde_json::json!({"repository": {"id": repository, "full_name": name}, "n": n, "text": "x".repeat(700)});
    let head = if number == 14 { OTHER_SHA } else { SHA };
    Draft {
        subject: Subject {
            repository: Some(repository),
            id: Some(number),
            head: Some(head.parse().unwrap()),
            ..subject()
        },
        ..delivery(&format!("g{n}"), &payload.to_string())
    }
}

fn answer(n: u64, decision: Decision, of: &Draft) -> Draft {
    let verdict = verdict(Ref::Seq(n - 1), decision);
    // Its body says what it says.
    let bodies = vec![("verdict".into(), json(&verdict.data))];
    Draft { subject: of.subject.clone(), bodies, ..verdict }
}

fn exception(n: u64) -> Draft {
    let words = serde_json::json!({"by": {"id": 5, "login": "mona"}, "reason": format!("reason of {n}")});
    Draft {
        kind: Kind::Waiver,
        key: Key::Own("waiver"),
        bodies: vec![("waiver".into(), json(&words))],
        data: serde_json::json!({
            "step": "granted", "break_glass": false, "of": null, "controls": ["CHG-02"],
            "from": "2026-11-24T00:00:00.000000Z", "until": "2099-01-01T00:00:00.000000Z", "via": "operator",
        }),
        ..delivery("", "")
    }
}

/// Two repositories, of which the first is renamed at entry 150 and the second takes its name at 170. Closed, with
/// catalogs.
async fn searched(dir: &Path) {
    let mut now: Time = "2026-11-24T00:00:00Z".parse().unwrap();
    let clock = move || {
        now = now.plus(Duration::from_secs(1));
        now
    };
    let (ledger, _) = Ledger::open_sized(dir, SMALL, clock).unwrap();
    while ledger.head().size < 240 {
        let n = ledger.head().size;
        let first = if n < 150 { "octo/pay" } else { "octo/payments" };
        let second = if n < 170 { "octo/web" } else { "octo/pay" };
        let draft = match n {
            20 | 200 => exception(n),
            61 | 63 => answer(n, Decision::Deny, &event(n, 3, first, 12)),
            60..=66 => event(n, 3, first, 12),
            90..=92 => event(n, 7, second, 14),
            180 => event(n, 3, first, 12),
            _ if n % 3 == 0 => event(n, 7, second, 1000 + n),
            _ => event(n, 3, first, 2000 + n),
        };
        one(&ledger, draft).await;
    }
    ledger.close().await.unwrap();
    assert!(keep(&dir.join("journal"), &mut || true).unwrap() > 12);
}

fn listed(dir: &Path, args: &[&str]) -> String {
    let out = gatelog(dir, args);
    assert!(out.status.success(), "{args:?}: {}", said(&out));
    String::from_utf8(out.stdout).unwrap()
}

fn seqs(jsonl: &str) -> BTreeSet<u64> {
    jsonl.lines().map(|l| Entry::parse(l.as_bytes()).unwrap().seq).collect()
}

const SEARCHES: &[(&[&str], &[u64])] = &[
    (&["--repo", "3", "--pr", "12"], &[60, 61, 62, 63, 64, 65, 66, 180]),
    (&["--pr", "14"], &[90, 91, 92]),
    (&["--pr", "14", "--limit", "2"], &[91, 92]),
    (&["--repo", "7", "--pr", "12"], &[]),
    (&["--kind", "waiver"], &[20, 200]),
    (&["--kind", "waiver", "--limit", "1"], &[200]),
    (&["--decision", "deny"], &[61, 63]),
    (&["--decision", "allow"], &[]),
    (&["--sha", "abcdab"], &[90, 91, 92]),
    (&["--repo", "3", "--pr", "12", "--kind", "verdict"], &[61, 63]),
    (&["--repo", "3", "--pr", "12", "--since", "2026-11-24T00:02:00Z"], &[180]),
    (&["--repo", "3", "--pr", "12", "--until", "2026-11-24T00:02:00Z"], &[60, 61, 62, 63, 64, 65, 66]),
];

/// Here it cannot even be read.
#[tokio::test]
async fn a_search_leaves_alone_what_it_does_not_find() {
    let dir = Dir::new();
    let (data, copied) = (dir.path(), dir.0.path().join("copy"));
    searched(&data).await;
    let firsts = segments(&data.join("journal")).unwrap();
    for (args, found) in SEARCHES {
        let args = [&["log", "list", "--format", "jsonl"], *args].concat();
        let wanted: BTreeSet<u64> = found.iter().copied().collect();
        let text = listed(&data, &args);
        assert_eq!(seqs(&text), wanted, "{args:?}");
        copy(&data, &copied);
        let needed: BTreeSet<usize> = found
            .iter()
            .map(|seq| firsts.partition_point(|f| f <= seq) - 1)
            .chain([firsts.len() - 1])
            .collect();
        // A time is looked for in the segments: where those cannot be read, all of the pull request is.
        let timed = args.iter().any(|a| a.starts_with("2026-"));
        let seen = |first: u64| timed && (first <= 66 || (170..=180).contains(&first));
        let others = firsts.iter().enumerate().filter(|(i, _)| !needed.contains(i)).map(|(_, first)| *first);
        let others = others.filter(|first| !seen(*first));
        assert!(destroy(&copied.join("journal"), others) > 5);
        assert_eq!(listed(&copied, &args), text, "{args:?}");
        catalogs(&copied).iter().for_each(|file| fs::remove_file(file).unwrap());
        assert_eq!(gatelog(&copied, &args).status.code(), Some(3), "without catalogs all is read: {args:?}");
        fs::remove_dir_all(&copied).unwrap();
    }
    copy(&data, &copied);
    let needed: Vec<usize> =
        [20, 200, 239].iter().map(|seq| firsts.partition_point(|f| f <= seq) - 1).collect();
    let others = firsts.iter().enumerate().filter(|(i, _)| !needed.contains(i)).map(|(_, first)| *first);
    destroy(&copied.join("journal"), others);
    let waivers = listed(&copied, &["waiver", "list"]);
    assert_eq!(waivers, listed(&data, &["waiver", "list"]));
    assert!(waivers.contains("reason of 20") && waivers.contains("reason of 200"), "{waivers}");
}

/// With catalogs, with some of them, of bodies that were erased since, and without: the same is shown, names too.
#[tokio::test]
async fn what_is_shown_does_not_depend_on_catalogs() {
    let dir = Dir::new();
    let data = dir.path();
    searched(&data).await;
    let names: [&[&str]; 7] = [
        &["--repo", "octo/pay"],
        &["--repo", "Octo/Payments", "--pr", "12"],
        &["--repo", "octo/pay", "--pr", "12"],
        &["--repo", "octo/web", "--kind", "event"],
        &["--kind", "verdict"],
        &["--repo", "octo/payments", "--since", "2026-11-24T00:03:00Z"],
        &["--pr", "12", "--limit", "3"],
    ];
    let all = |data: &Path| -> Vec<String> {
        let tables = SEARCHES.iter().map(|(args, _)| *args).chain(names);
        let mut all: Vec<String> =
            tables.map(|args| listed(data, &[&["log", "list"], args].concat())).collect();
        let unknown = gatelog(data, &["log", "list", "--repo", "octo/none"]);
        assert_eq!(unknown.status.code(), Some(2));
        all.push(said(&unknown));
        all
    };
    let without = |data: &Path| catalogs(data).iter().for_each(|file| fs::remove_file(file).unwrap());
    let with = all(&data);
    assert!(with.last().unwrap().contains("known: octo/pay, octo/payments, octo/web"), "{:?}", with.last());
    // Both repositories had the name; the old name finds the pull request after the rename.
    assert!(with[SEARCHES.len() + 1].contains("180") && with[SEARCHES.len() + 2].contains("180"));
    fs::remove_file(&catalogs(&data)[3]).unwrap();
    assert_eq!(all(&data), with);
    without(&data);
    assert_eq!(all(&data), with);
    // The first event of its segment that has the name is erased: the next one has it.
    keep(&data.join("journal"), &mut || true).unwrap();
    let firsts = segments(&data.join("journal")).unwrap();
    let (ledger, _) = Ledger::open_sized(&data, SMALL, Time::now).unwrap();
    for seq in [firsts[2], firsts[2] + 1] {
        one(&ledger, Draft { key: Key::Verdict(Ref::Seq(seq)), ..silent(seq) }).await;
        let wanted = Wanted::Entry { seq, bodies: vec!["payload".into()] };
        let request =
            Request { wanted, cause: Cause::LocalOperator, reason: "ticket".into(), dry_run: false };
        ledger.erase(request, vec![]).await.unwrap();
    }
    ledger.close().await.unwrap();
    let stale = all(&data);
    assert!(keep(&data.join("journal"), &mut || true).unwrap() > 0);
    assert_eq!(all(&data), stale);
    without(&data);
    assert_eq!(all(&data), stale);
}

#[tokio::test]
async fn a_replay_reads_from_where_it_is_asked_to() {
    let dir = Dir::new();
    let data = dir.path();
    searched(&data).await;
    let firsts = segments(&data.join("journal")).unwrap();
    let needed = |seq: u64| firsts.partition_point(|f| *f <= seq) - 1;
    let others = (0..firsts.len() - 1).filter(|i| !(needed(61)..=needed(66)).contains(i));
    assert!(destroy(&data.join("journal"), others.map(|i| firsts[i])) > 8);
    let until = ["--since", "2026-11-24T00:01:02Z", "--until", "2026-11-24T00:01:07Z"];
    for (args, found) in [(&["63"][..], "1 verdicts were decided"), (&until, "2 verdicts were decided")] {
        let out = gatelog(&data, &[&["log", "replay"], args].concat());
        assert!(out.status.success() && said(&out).contains(found), "{args:?}: {}", said(&out));
    }
    assert_eq!(gatelog(&data, &["log", "replay"]).status.code(), Some(3), "all of it");
}

fn silent(event: u64) -> Draft {
    let mut verdict = verdict(Ref::Seq(event), Decision::Allow);
    verdict.data["target"] = serde_json::Value::Null;
    verdict
}

/// Changes a catalog and makes its checksums right again.
fn forge(file: &Path, change: impl Fn(&mut Vec<u8>, usize, usize)) {
    let mut bytes = fs::read(file).unwrap();
    let at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let contents = 88 + at(&bytes, 76);
    let postings = contents + 4 + at(&bytes, 80);
    change(&mut bytes, contents, postings);
    let crc = crc32c::crc32c(&bytes[contents + 4..postings]);
    bytes[84..88].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..contents]);
    bytes[contents..contents + 4].copy_from_slice(&crc.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

/// Of the bytes, where the contents end, and where the postings do.
type Lie<'a> = &'a dyn Fn(&mut Vec<u8>, usize, usize);

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> bool {
    let found = bytes.windows(from.len()).position(|w| w == from);
    if let Some(at) = found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    found.is_some()
}

/// Whoever may write files can make a search miss something; `log verify` names the file.
#[tokio::test]
async fn a_catalog_that_hides_something_is_named_by_verify() {
    let dir = Dir::new();
    let data = dir.path();
    searched(&data).await;
    let pull = |number: u64| [&[4][..], &3_u64.to_be_bytes(), &number.to_be_bytes()].concat();
    let search = ["log", "list", "--repo", "3", "--pr", "12", "--format", "jsonl"];
    let all = seqs(&listed(&data, &search));
    let verified = gatelog(&data, &["log", "verify"]);
    assert!(
        verified.status.success() && said(&verified).contains("VERIFIED  entries 0..239"),
        "{}",
        said(&verified)
    );
    let holds = |file: &Path| fs::read(file).unwrap().windows(17).any(|w| w == pull(12));
    let file = catalogs(&data).into_iter().find(|f| holds(f)).unwrap();
    let right = fs::read(&file).unwrap();
    let hidden = |bytes: &mut Vec<u8>, from: usize, to: usize| {
        assert!(replace(&mut bytes[from..to], &pull(12), &pull(13)));
    };
    let lies: [(&str, Lie<'_>); 3] = [
        ("which entries are about what", &hidden),
        ("how many bodies it has", &|bytes, end, _| {
            let text = String::from_utf8(bytes[88..end].to_vec()).unwrap();
            let digit = text.find("\"raw\":").unwrap() + 6;
            bytes[88 + digit] = if bytes[88 + digit] == b'9' { b'8' } else { b'9' };
        }),
        ("the hashes of its entries", &|bytes, _, end| bytes[end + 40] ^= 1),
    ];
    for (what, lie) in lies {
        forge(&file, lie);
        let name = file.file_name().unwrap().to_str().unwrap();
        let verified = gatelog(&data, &["log", "verify"]);
        let text = said(&verified);
        assert_eq!(verified.status.code(), Some(3), "{what}: {text}");
        let last = text.trim_end().lines().last().unwrap();
        assert_eq!(last, format!("FAILED  catalog {name}: {what}: its segment says otherwise"));
        let found = seqs(&listed(&data, &search));
        assert_eq!(found == all, what != "which entries are about what", "{what}");
        fs::write(&file, &right).unwrap();
    }
    // What nobody uses hides nothing: of another version, or damaged.
    let contents = u32::from_le_bytes(right[76..80].try_into().unwrap()) as usize;
    for (what, at) in [("version", 7), ("contents", 90), ("postings", 88 + contents + 4 + 9)] {
        let mut bytes = right.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        let verified = gatelog(&data, &["log", "verify"]);
        assert!(verified.status.success(), "{what}: {}", said(&verified));
        assert_eq!(seqs(&listed(&data, &search)), all, "{what}");
    }
    // An older version is made anew.
    let mut bytes = right.clone();
    bytes[7] = b'1';
    fs::write(&file, bytes).unwrap();
    assert_eq!(keep(&data.join("journal"), &mut || true).unwrap(), 1);
    assert_eq!(fs::read(&file).unwrap(), right);
}

/// A sweep: what it knows of repositories, and which of them are gone.
fn sweep(begun: Time, known: &serde_json::Value, vanished: &serde_json::Value) -> Draft {
    let found = serde_json::json!({
        "sent": [], "lost": [], "never_sent": [], "landed": [], "found": [], "vanished": vanished,
    });
    let body = serde_json::json!({"state": {"repositories": known}, "found": found});
    Draft {
        kind: Kind::Reconcile,
        key: Key::Own("reconcile"),
        bodies: vec![("sweep".into(), json(&body))],
        data: serde_json::json!({"begun": begun, "complete": true}),
        ..delivery("", "")
    }
}

/// Nothing was heard of repository 3 for a week; then it is gone, and another one has its name.
#[tokio::test]
async fn completeness_counts_every_repository_that_had_the_name() {
    let dir = Dir::new();
    let data = dir.path();
    let begun: Time = "2026-11-01T00:00:00Z".parse().unwrap();
    let hour = move |n: u64| begun.plus(Duration::from_secs(3600 * n));
    let mut ticks = 0;
    let clock = move || {
        ticks += 1;
        hour(ticks)
    };
    let (ledger, _) = Ledger::open_sized(&data, SMALL, clock).unwrap();
    while ledger.head().size < 240 {
        let n = ledger.head().size;
        let known = match n {
            0..192 => serde_json::json!({"3": {"name": "octo/pay"}, "9": {"name": "octo/web"}}),
            _ => serde_json::json!({"7": {"name": "octo/pay"}, "9": {"name": "octo/web"}}),
        };
        let gone = match n {
            192 => serde_json::json!([{"repository": 3, "name": "octo/pay"}]),
            _ => serde_json::json!([]),
        };
        let draft = match n {
            1..5 => event(n, 3, "octo/pay", n),
            n if n % 12 == 0 => sweep(hour(n), &known, &gone),
            200.. => event(n, 7, "octo/pay", n),
            n => event(n, 9, "octo/web", n),
        };
        one(&ledger, draft).await;
    }
    ledger.close().await.unwrap();
    let since = hour(170).to_string();
    let completeness =
        |repo: &str| gatelog(&data, &["audit", "completeness", "--since", &since, "--repo", repo]);
    for (repo, code, texts) in [
        (
            "octo/pay",
            4,
            &["repositories 3, 7: all of them are in this", "? vanished (name octo/pay, repository 3"][..],
        ),
        ("Octo/Pay", 4, &["repositories 3, 7"]),
        ("3", 4, &["vanished"]),
        ("7", 0, &["COMPLETE"]),
        ("octo/web", 0, &["COMPLETE"]),
        ("octo/none", 2, &["no event names the repository octo/none"]),
    ] {
        let out = completeness(repo);
        let text = said(&out).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(out.status.code(), Some(code), "{repo}: {text}");
        for part in texts {
            assert!(text.contains(part), "{repo}: no `{part}` in {text}");
        }
    }
}
