//! What is kept beside sealed segments: right, made anew when it is not, and enough to leave the rest unread.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use gatelog::{
    event::Subject,
    ledger::{
        Ledger,
        chain::{leaf_hash, node_hash},
        entry::{Body, Draft, Entry, Hash, Key, Kind, Ref},
        erasure::{Cause, plan::Wanted, run::Request},
        key::Keys,
        proof::Node,
        publish::{Place, Publisher},
        verify::verify,
    },
    store::journal::{
        Sizes,
        catalog::{Directory, keep},
        census::count,
        reader::Groups,
        segments,
    },
    time::Time,
    verdict::Decision,
};

use crate::common::{long, measured, program::said, scene::Scene};
use crate::ledger_util::*;

const ORIGIN: &str = "gate.example.com/log/1";
const SMALL: Sizes = Sizes { segment: 24 << 10, ahead: 4 << 10 };
const SIZE: u64 = 400;

/// A ledger of many small segments, signed and closed: its vkey, and the times of its entries.
async fn signed_ledger(dir: &Path) -> (String, Vec<String>) {
    let mut now: Time = "2026-11-24T00:00:00Z".parse().unwrap();
    let clock = move || {
        now = now.plus(Duration::from_secs(1));
        now
    };
    let (ledger, _) = Ledger::open_sized(dir, SMALL, clock).unwrap();
    while ledger.head().size < SIZE - 1 {
        let n = ledger.head().size;
        let draft = match n {
            40 => policy(),
            // What is erased below was judged, and shows nothing.
            61 | 91 => silent(n - 1),
            _ => delivery(&format!("g{n}"), &format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(200))),
        };
        one(&ledger, draft).await;
    }
    erase(&ledger, 60).await;
    assert_eq!(
        ledger.compress(&mut || true).unwrap(),
        segments(&dir.join("journal")).unwrap().len() as u64 - 1
    );
    let vkey = sign_and_close(&ledger, dir, ORIGIN).await;
    let times = (0..SIZE).map(|seq| ledger.entry(seq).unwrap().unwrap().entry.time.to_string());
    (vkey, times.collect())
}

fn silent(event: u64) -> Draft {
    let mut verdict = verdict(Ref::Seq(event), Decision::Allow);
    verdict.data["target"] = serde_json::Value::Null;
    // Its body says what it says.
    let body = Body { bytes: verdict.data.to_string().into(), media: "application/json" };
    verdict.bodies = vec![("verdict".into(), body)];
    verdict
}

async fn erase(ledger: &Ledger, seq: u64) -> u64 {
    let wanted = Wanted::Entry { seq, bodies: vec!["payload".into()] };
    let request = Request { wanted, cause: Cause::LocalOperator, reason: "ticket 7".into(), dry_run: false };
    ledger.erase(request, vec![]).await.unwrap().erasure.unwrap()
}

fn gatelog(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog")).args(args).output().unwrap()
}

/// Every perfect subtree, from the entries alone.
fn nodes(leaves: &[Hash]) -> Vec<(Node, Hash)> {
    let (mut all, mut row) = (vec![], leaves.to_vec());
    for height in 0.. {
        all.extend((0..).zip(&row).map(|(index, hash)| (Node { height, index }, *hash)));
        row = row.as_chunks::<2>().0.iter().map(|[a, b]| node_hash(a, b)).collect();
        if row.is_empty() {
            return all;
        }
    }
    unreachable!()
}

fn leaves(dir: &Path) -> Vec<Hash> {
    let mut groups = Groups::open(&dir.join("journal")).unwrap().unwrap();
    let mut all = vec![];
    while let Some(group) = groups.next_group().unwrap() {
        all.extend(group.entries.iter().map(|e| leaf_hash(&e.raw)));
    }
    all
}

#[tokio::test]
async fn catalogs_are_what_the_segments_say() {
    let dir = Dir::new();
    signed_ledger(&dir.path()).await;
    let journal = dir.path().join("journal");
    let (all, firsts) = (leaves(&dir.path()), segments(&journal).unwrap());
    assert!(firsts.len() > 8, "{firsts:?}");
    assert_eq!(catalogs(&dir.path()).len(), firsts.len() - 1, "of every segment that another one follows");
    let counted = || {
        let (census, tip) = count(&journal, true).unwrap();
        (census.segments, census.sealed, census.bodies, tip)
    };
    let naive = counted();
    let check = |trust: bool| {
        for size in [1, 2, 41, 255, 256, 257, all.len() as u64] {
            let directory = Directory::open(&journal, size, trust).unwrap();
            assert_eq!(directory.size(), size);
            for (node, hash) in nodes(&all[..usize::try_from(size).unwrap()]) {
                assert_eq!(directory.node(node).unwrap(), hash, "{node:?} of {size}");
            }
            assert!(directory.node(Node { height: 0, index: size }).is_err());
            assert!(directory.node(Node { height: 63, index: 1 << 40 }).is_err());
        }
        let directory = Directory::open(&journal, u64::MAX, trust).unwrap();
        let contents = |f: fn(&gatelog::store::journal::catalog::Contents) -> Vec<u64>| {
            directory.parts().iter().flat_map(|p| f(&p.contents)).collect::<Vec<_>>()
        };
        assert_eq!(contents(|c| c.policies.iter().map(|(seq, _)| *seq).collect()), [40]);
        let erasures: Vec<_> = directory.parts().iter().flat_map(|p| p.contents.erasures.clone()).collect();
        assert_eq!(erasures.iter().map(|e| (e.first, e.last)).collect::<Vec<_>>(), [(60, 60)]);
        assert_eq!(counted(), naive);
    };
    check(true);
    check(false);
    // Missing, cut, changed in their contents: made without, then anew.
    let files = catalogs(&dir.path());
    fs::remove_file(&files[1]).unwrap();
    let bytes = fs::read(&files[3]).unwrap();
    fs::write(&files[3], &bytes[..bytes.len() - 1]).unwrap();
    let mut bytes = fs::read(&files[4]).unwrap();
    bytes[98] ^= 1;
    fs::write(&files[4], &bytes).unwrap();
    check(true);
    assert_eq!(keep(&journal, &mut || true).unwrap(), 3);
    assert_eq!(keep(&journal, &mut || true).unwrap(), 0);
    check(true);
    // A segment that is rewritten has other bodies and the same entries.
    let (ledger, _) = Ledger::open_sized(&dir.path(), SMALL, Time::now).unwrap();
    erase(&ledger, 90).await;
    ledger.close().await.unwrap();
    let (census, _) = count(&journal, true).unwrap();
    assert_eq!(census.bodies.unwrap().erased, 2);
    assert!(keep(&journal, &mut || true).unwrap() > 0);
    let (anew, _) = count(&journal, true).unwrap();
    assert!(anew.by_catalog > 5 && anew.by_catalog < anew.segments, "that they were believed is said");
    catalogs(&dir.path()).iter().for_each(|file| fs::remove_file(file).unwrap());
    let (read, _) = count(&journal, true).unwrap();
    assert_eq!((read.bodies, read.by_catalog), (anew.bodies, 0));
}

/// A proof, evidence and the status leave alone what they do not need: here it cannot even be read.
#[tokio::test]
async fn what_is_not_asked_for_is_not_read() {
    let dir = Dir::new();
    let (vkey, times) = signed_ledger(&dir.path()).await;
    let journal = dir.path().join("journal");
    let firsts = segments(&journal).unwrap();
    // Where the time asked for lies, with an entry on each side; the policies; the last one, which has no catalog.
    let holds = |seq: u64| firsts.partition_point(|first| *first <= seq) - 1;
    let needed: Vec<usize> = (59..=63).chain([40, SIZE - 1]).map(holds).chain([firsts.len() - 1]).collect();
    let before = gatelog(&["log", "status", "--format", "json", "--ledger", dir.path().to_str().unwrap()]);
    let unneeded = firsts.iter().enumerate().filter(|(i, _)| !needed.contains(i));
    assert!(destroy(&journal, unneeded.map(|(_, first)| *first)) > 5);
    assert!(verify(&journal).is_err(), "a full verify reads all of it");
    let (data, tmp) = (dir.path(), dir.0.path().to_owned());
    let place = ["--ledger", data.to_str().unwrap()];
    let file = |name: &str| tmp.join(name).to_str().unwrap().to_owned();
    let (proof, entry, zip) = (file("p"), file("e"), file("z"));
    let proved = gatelog(&[&["log", "prove", "61", "-o", &proof, "--entry", &entry], &place[..]].concat());
    assert!(proved.status.success(), "{}", said(&proved));
    let checked = gatelog(&["log", "verify-proof", &proof, "--vkey", &vkey, "--entry", &entry]);
    assert!(checked.status.success(), "{}", said(&checked));
    let period = ["--since", &times[60], "--until", &times[63], "-o", &zip];
    let exported = gatelog(&[&["audit", "evidence", "export"], &period[..], &place[..]].concat());
    assert!(exported.status.success(), "{}", said(&exported));
    let checked = gatelog(&["audit", "evidence", "verify", &zip, "--vkey", &vkey]);
    assert!(checked.status.success(), "{}", said(&checked));
    for part in ["complete: everything of that time is here", "redacted at entry 60 (erasure 399: ticket 7)"]
    {
        assert!(said(&checked).contains(part), "no `{part}` in {}", said(&checked));
    }
    let status = gatelog(&[&["log", "status", "--format", "json"], &place[..]].concat());
    let counts = |out: &Output| {
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (all["bodies"].clone(), all["size"].clone())
    };
    assert_eq!(counts(&status), counts(&before), "{}", said(&status));
}

/// A hash that was changed in a catalog leads to no signed root; the segments then tell.
#[tokio::test]
async fn a_wrong_catalog_only_costs_time() {
    let dir = Dir::new();
    let (vkey, _) = signed_ledger(&dir.path()).await;
    for file in catalogs(&dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let length = u32::from_le_bytes(bytes[76..80].try_into().unwrap()) as usize;
        let postings = u32::from_le_bytes(bytes[80..84].try_into().unwrap()) as usize;
        bytes[88 + length + 4 + postings..].fill(0x11);
        fs::write(&file, bytes).unwrap();
    }
    let (data, tmp) = (dir.path(), dir.0.path().to_owned());
    let place = ["--ledger", data.to_str().unwrap()];
    let file = |name: &str| tmp.join(name).to_str().unwrap().to_owned();
    let (proof, entry, zip) = (file("p"), file("e"), file("z"));
    let proved = gatelog(&[&["log", "prove", "61", "-o", &proof, "--entry", &entry], &place[..]].concat());
    assert!(proved.status.success(), "{}", said(&proved));
    assert!(gatelog(&["log", "verify-proof", &proof, "--vkey", &vkey, "--entry", &entry]).status.success());
    let exported =
        gatelog(&[&["audit", "evidence", "export", "--entry", "60", "-o", &zip], &place[..]].concat());
    assert!(exported.status.success(), "{}", said(&exported));
    let checked = gatelog(&["audit", "evidence", "verify", &zip, "--vkey", &vkey]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(said(&checked).contains("redacted at entry 60 (erasure 399: ticket 7)"), "{}", said(&checked));
    let shown = gatelog(&[&["log", "show", "60"], &place[..]].concat());
    assert!(said(&shown).contains("redacted at entry 60 (erasure 399: ticket 7)"), "{}", said(&shown));
}

/// It names another entry for the policies, its checksum fits, and its hashes are right.
#[tokio::test]
async fn a_catalog_that_lies_about_the_policies_is_not_believed() {
    let dir = Dir::new();
    let (vkey, _) = signed_ledger(&dir.path()).await;
    let mut lies = 0;
    for file in catalogs(&dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let end = 88 + u32::from_le_bytes(bytes[76..80].try_into().unwrap()) as usize;
        let contents = String::from_utf8(bytes[88..end].to_vec()).unwrap();
        let lie = contents.replace("[40,\"sha256:00\"]", "[41,\"sha256:00\"]");
        lies += u32::from(lie != contents);
        bytes[88..end].copy_from_slice(lie.as_bytes());
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(lies, 1);
    let zip = dir.0.path().join("z").to_str().unwrap().to_owned();
    let place = dir.path().to_str().unwrap().to_owned();
    let out = gatelog(&["audit", "evidence", "export", "--entry", "60", "-o", &zip, "--ledger", &place]);
    assert!(out.status.success(), "{}", said(&out));
    let checked = gatelog(&["audit", "evidence", "verify", &zip, "--vkey", &vkey]);
    assert!(checked.status.success(), "{}", said(&checked));
}

/// As they once had it: when the last entry of their segment was written. Each says that it was long ago.
#[tokio::test]
async fn no_catalog_is_asked_for_a_time() {
    let dir = Dir::new();
    let (vkey, times) = signed_ledger(&dir.path()).await;
    for file in catalogs(&dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let end = 88 + u32::from_le_bytes(bytes[76..80].try_into().unwrap()) as usize;
        let contents = String::from_utf8(bytes[88..end].to_vec()).unwrap();
        let lie = contents.replacen('{', "{\"until\":\"2020-01-01T00:00:00.000000Z\",", 1);
        let hashes = bytes.split_off(end + 4);
        bytes.truncate(88);
        bytes[76..80].copy_from_slice(&u32::try_from(lie.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(lie.as_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        fs::write(&file, [bytes, hashes].concat()).unwrap();
    }
    let zip = dir.0.path().join("z").to_str().unwrap().to_owned();
    let place = dir.path().to_str().unwrap().to_owned();
    let period = ["--since", &times[60], "--until", &times[63], "-o", &zip, "--ledger", &place];
    let out = gatelog(&[&["audit", "evidence", "export"], &period[..]].concat());
    assert!(said(&out).contains("3 entries were asked for; all 5 from 59 to 63 are in"), "{}", said(&out));
    let checked = gatelog(&["audit", "evidence", "verify", &zip, "--vkey", &vkey]);
    assert!(checked.status.success(), "{}", said(&checked));
}

/// An entry each hour. A delivery unless it is said otherwise.
async fn hourly(dir: &Path, sent_again: bool) -> Vec<String> {
    let begun: Time = "2026-11-01T00:00:00Z".parse().unwrap();
    let hour = move |n: u64| begun.plus(Duration::from_secs(3600 * n));
    let mut ticks = 0;
    let clock = move || {
        ticks += 1;
        hour(ticks)
    };
    let (ledger, _) = Ledger::open_sized(dir, SMALL, clock).unwrap();
    let json = |value: serde_json::Value| Body { bytes: value.to_string().into(), media: "application/json" };
    let waiver = |step: &str, of: Option<u64>, n: u64| Draft {
        kind: Kind::Waiver,
        key: Key::Own("waiver"),
        bodies: vec![(
            "waiver".into(),
            json(serde_json::json!({"by": {"id": 5, "login": "mona"}, "reason": "shop is down"})),
        )],
        data: serde_json::json!({
            "step": step, "break_glass": true, "of": of, "controls": ["*"], "from": hour(n),
            "until": "2099-01-01T00:00:00.000000Z", "via": "comment",
        }),
        ..delivery("", "")
    };
    while ledger.head().size < 260 {
        let n = ledger.head().size;
        let draft = match n {
            11 => silent(10),
            241 => silent(239),
            150 => waiver("requested", None, n),
            230 => waiver("approved", Some(150), n),
            235 => {
                let mut landed = silent(234);
                landed.data["landing"] = serde_json::json!({
                    "kind": "bypass", "required": "bound", "bypassed": true, "exceptions": ["bypassed"],
                });
                let what = serde_json::json!({"repository": "octo/pay", "branch": "main"});
                landed.bodies.push(("landing".into(), json(what)));
                landed
            }
            n if n % 12 == 0 => {
                let sent = |guid: &str| serde_json::json!({"guid": guid, "event": "push", "repository": 3, "at": hour(239)});
                let sent = match n {
                    240 if sent_again => vec![sent("g239"), sent("g10")],
                    240 => vec![sent("g239")],
                    _ => vec![],
                };
                let found = serde_json::json!({
                    "sent": sent, "lost": [], "never_sent": [], "landed": [], "found": [], "vanished": [],
                });
                Draft {
                    kind: Kind::Reconcile,
                    key: Key::Own("reconcile"),
                    bodies: vec![(
                        "sweep".into(),
                        json(serde_json::json!({"state": {"repositories": {}}, "found": found})),
                    )],
                    data: serde_json::json!({"begun": hour(n), "complete": true}),
                    ..delivery("", "")
                }
            }
            n => {
                let payload = serde_json::json!({
                    "repository": {"id": 3, "full_name": "octo/pay"}, "text": "x".repeat(1200),
                });
                delivery(&format!("g{n}"), &payload.to_string())
            }
        };
        one(&ledger, draft).await;
    }
    let times = (0..260).map(|seq| ledger.entry(seq).unwrap().unwrap().entry.time.to_string()).collect();
    ledger.close().await.unwrap();
    times
}

/// What a time or the newest are asked of, leaves the rest alone: here it cannot even be read.
#[tokio::test]
async fn what_is_older_than_the_period_is_not_read() {
    let dir = Dir::new();
    let times = hourly(&dir.path(), false).await;
    let journal = dir.path().join("journal");
    let data = dir.path().to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let out = gatelog(&[args, &["--ledger", &data]].concat());
        assert!(out.status.success(), "{args:?}: {}", said(&out));
        String::from_utf8(out.stdout).unwrap()
    };
    let all = run(&["log", "list"]);
    let rows: Vec<&str> = all.lines().skip(1).collect();
    assert_eq!(rows.len(), 260);
    let (since, until) = (&*times[228], &*times[250]);
    let period: [(&[&str], &[&str]); 6] = [
        (&["log", "list", "--since", since], &rows[228..]),
        (&["log", "list", "--since", since, "--until", until], &rows[228..250]),
        // Its first row is a verdict: what it answers has the name of the repository.
        (&["log", "list", "--since", &times[241]], &rows[241..]),
        (&["log", "list", "--limit", "7"], &rows[253..]),
        (&["log", "list", "--limit", "7", "--until", until], &rows[243..250]),
        (&["log", "list", "--limit", "2", "--kind", "waiver"], &[rows[150], rows[230]]),
    ];
    let audits: [&[&str]; 2] =
        [&["audit", "exceptions", "--since", since], &["audit", "completeness", "--since", since]];
    let before = audits.map(run);
    for part in ["235", "bypassed", "BREAK-GLASS", "shop is down"] {
        assert!(before[0].contains(part), "no `{part}` in {}", before[0]);
    }
    assert!(
        before[1].contains("GitHub sent 1, recorded 1") && before[1].contains("\nCOMPLETE"),
        "{}",
        before[1]
    );
    let firsts = segments(&journal).unwrap();
    // Four days before the period, for what was sent again; the first entry says when the ledger began.
    let oldest = firsts.partition_point(|first| *first <= 228 - 97) - 1;
    assert!(destroy(&journal, firsts[1..oldest].iter().copied()) > 3, "{firsts:?}");
    for (args, rows) in period {
        assert_eq!(run(args).lines().skip(1).collect::<Vec<_>>(), rows, "{args:?}");
    }
    assert_eq!(audits.map(run), before);
    assert_eq!(gatelog(&["log", "list", "--ledger", &data]).status.code(), Some(3), "it reads all of it");
}

/// It was recorded nine days before GitHub sent it again, and counts by when it was sent last.
#[tokio::test]
async fn an_event_is_missing_only_if_the_whole_ledger_does_not_have_it() {
    let dir = Dir::new();
    let times = hourly(&dir.path(), true).await;
    let data = dir.path().to_str().unwrap().to_owned();
    let out = gatelog(&["audit", "completeness", "--since", &times[228], "--ledger", &data]);
    assert!(out.status.success() && said(&out).contains("GitHub sent 2, recorded 2"), "{}", said(&out));
}

/// That nothing was found, because there was nothing to look at, does not look like a good answer.
#[tokio::test]
async fn an_audit_of_nothing_says_so() {
    let dir = Dir::new();
    let times = hourly(&dir.path(), false).await;
    let data = dir.path().to_str().unwrap().to_owned();
    let later = "2027-01-01";
    let wanted: [(&[&str], i32, &str); 8] = [
        (&["exceptions", "--repo", "99"], 2, "no entry is about the repository 99"),
        (&["exceptions", "--repo", "99", "--since", later], 2, "no entry is about the repository 99"),
        (&["exceptions", "--repo", "3", "--since", later], 0, "no entry of that time is about 3"),
        (
            &["exceptions", "--repo", "Octo/Pay", "--since", later],
            0,
            "no entry of that time is about Octo/Pay",
        ),
        (&["exceptions", "--since", later], 0, "no entry is of that time"),
        (&["exceptions", "--since", later, "--until", &times[9]], 2, "--until is not after --since"),
        (&["completeness", "--since", later], 4, "no sweep has read everything since then"),
        (
            &["completeness", "--repo", "octo/pay", "--since", &times[228]],
            4,
            "repository 3): no sweep knew it",
        ),
    ];
    for (args, code, text) in wanted {
        let out = gatelog(&[&["audit"], args, &["--ledger", &data]].concat());
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", said(&out));
        assert!(said(&out).contains(text), "{args:?}: no `{text}` in {}", said(&out));
    }
    for args in
        [&["exceptions", "--repo", "3"][..], &["exceptions", "--repo", "octo/pay", "--since", &times[9]]]
    {
        let out = gatelog(&[&["audit"], args, &["--ledger", &data]].concat());
        assert!(out.status.success() && out.stderr.is_empty(), "{}", said(&out));
    }
}

/// What commands on the files take, with catalogs and without: 200,000 entries with `GATELOG_EFFORT=long`.
#[tokio::test(flavor = "multi_thread")]
async fn commands_on_the_files_do_not_grow_with_the_ledger() {
    let (size, segment) = if long() { (200_000, 16 << 20) } else { (2_000, 256 << 10) };
    let dir = Dir::new();
    let (ledger, _) = Ledger::open_sized(&dir.path(), Sizes { segment, ahead: 64 << 10 }, Time::now).unwrap();
    one(&ledger, policy()).await;
    while ledger.head().size < size {
        let first = ledger.head().size;
        let draft =
            |n| delivery(&format!("g{n}"), &format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1500)));
        ledger.append((first..size.min(first + 200)).map(draft).collect()).await.unwrap();
    }
    let place = Place { dir: dir.path(), origin: ORIGIN.into(), key_file: dir.path().join("log.key") };
    Keys::new(ORIGIN).unwrap().write(&place.key_file).unwrap();
    Publisher::open(ledger.clone(), place, None).unwrap().begin().await.unwrap();
    keep(&dir.path().join("journal"), &mut || true).unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    let (data, tmp) = (dir.path(), dir.0.path().to_owned());
    let file = |name: &str| tmp.join(name).to_str().unwrap().to_owned();
    let seq = (size / 3).to_string();
    let run = |what: &str, with: &str, args: &[&str]| {
        let begun = std::time::Instant::now();
        let out = gatelog(&[args, &["--ledger", data.to_str().unwrap()]].concat());
        assert!(out.status.success(), "{what}: {}", said(&out));
        measured(&format!("{size} entries, {with}: {what}"), &format!("{:?}", begun.elapsed()));
        begun.elapsed()
    };
    run("log list", "all", &["log", "list"]);
    run("log verify", "all", &["log", "verify"]);
    run("audit exceptions", "all", &["audit", "exceptions"]);
    let begun = std::time::Instant::now();
    let (ledger, _) = open(&data);
    measured(&format!("{size} entries, all: opening"), &format!("{:?}", begun.elapsed()));
    let begun = std::time::Instant::now();
    let wanted = Wanted::Person { login: "mona".into(), also: vec![] };
    let request = Request { wanted, cause: Cause::LocalOperator, reason: "ticket 7".into(), dry_run: true };
    assert_eq!(ledger.erase(request, vec![]).await.unwrap().plan.count, 0);
    measured(&format!("{size} entries, all: log erase --login"), &format!("{:?}", begun.elapsed()));
    ledger.close().await.unwrap();
    drop(ledger);
    let mut took = vec![];
    for with in ["with catalogs", "without"] {
        let (proof, zip) = (file(&format!("{with}.p")), file(&format!("{with}.zip")));
        took.push(run("log prove", with, &["log", "prove", &seq, "-o", &proof]));
        run(
            "audit evidence export --entry",
            with,
            &["audit", "evidence", "export", "--entry", &seq, "-o", &zip],
        );
        run("log status", with, &["log", "status"]);
        run("log list --limit 20", with, &["log", "list", "--limit", "20"]);
        run("audit exceptions --since", with, &["audit", "exceptions", "--since", "2099-01-01"]);
        catalogs(&dir.path()).iter().for_each(|file| fs::remove_file(file).unwrap());
    }
    assert_eq!(fs::read(file("with catalogs.p")).unwrap(), fs::read(file("without.p")).unwrap());
    assert_eq!(fs::read(file("with catalogs.zip")).unwrap(), fs::read(file("without.zip")).unwrap());
    assert!(!long() || took[0] * 5 < took[1], "{took:?}");
}

/// A start reads every entry, and costs as much for each however many there are: 200,000 and 1,000,000 of them with
/// `GATELOG_EFFORT=long`.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_every_entry_and_repeats_nothing() {
    let mut each = vec![];
    for size in if long() { &[0, 200_000, 1_000_000][..] } else { &[900] } {
        let mut s = Scene::set().await;
        let size = changes(&s.service.ledger, *size).await;
        let begun = std::time::Instant::now();
        s.service.start().await;
        let (took, cpu) = (begun.elapsed(), cpu_of(s.service.pid().unwrap()));
        measured(&format!("start with {size} entries"), &format!("{took:?}, {cpu:?} of processor time"));
        each.push((size, cpu));
        let mut groups = Groups::open_near(&s.service.ledger.join("journal"), size).unwrap().unwrap();
        let mut new = vec![];
        while let Some(group) = groups.next_group().unwrap() {
            new.extend(group.entries.iter().map(|e| Entry::parse(&e.raw).unwrap()));
        }
        let new: Vec<Kind> = new.into_iter().filter(|e| e.seq >= size).map(|e| e.kind).collect();
        assert_eq!(new, [Kind::Service, Kind::Policy], "nothing is judged or shown again");
        s.service.stop().await;
    }
    if let [(_, none), (some, of_some), (many, of_many)] = each[..] {
        let of_each = |cpu: Duration, n: u64| cpu.saturating_sub(none).as_nanos() / u128::from(n);
        assert!(of_each(of_many, many) < 2 * of_each(of_some, some), "{each:?}");
    }
}

/// Makes a ledger of events, their verdicts and what was shown of those: at least so many entries. How many.
async fn changes(dir: &Path, size: u64) -> u64 {
    let (ledger, _) = open(dir);
    while ledger.head().size < size {
        let first = ledger.head().size;
        let change = |n: u64| {
            let about = Subject { installation: None, id: Some(n), ..subject() };
            let of = |draft| Draft { subject: about.clone(), ..draft };
            let at = usize::try_from(n - first).unwrap();
            let event = delivery(&format!("g{n}"), &format!("{{\"n\":{n}}}"));
            let verdict = verdict(Ref::InGroup(at), Decision::Allow);
            let shown = Draft { refs: vec![Ref::InGroup(at + 1)], ..report(&[n + 1]) };
            [of(event), of(verdict), of(shown)]
        };
        ledger.append((first..size.min(first + 300)).step_by(3).flat_map(change).collect()).await.unwrap();
    }
    ledger.close().await.unwrap();
    ledger.head().size
}

/// Processor time that a process has taken.
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [fields[11], fields[12]].iter().map(|t| t.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 wherever Linux runs.
    Duration::from_millis(10 * ticks)
}
