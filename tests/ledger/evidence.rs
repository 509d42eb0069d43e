//! Evidence for an audit, from the real service, checked by our verifier and by one in plain Python, and
//! changed in every way that whoever hands it over could think of.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use crate::common::{
    foreign::{Tool, foreign, root},
    program::said,
    scene::{REPO, Scene},
    service::ORIGIN,
};
use crate::ledger_util::{delivery, sign_and_close};
use gatelog::{
    event::{Subject, SubjectKind},
    ledger::{
        Ledger,
        checkpoint::Checkpoint,
        entry::{Body, Draft, Entry},
        evidence::{
            Manifest, Selection, Tree,
            archive::{Archive, Builder},
            select,
        },
        note::{Signer, sign},
    },
    store::journal::Sizes,
    time::Time,
};
use serde_json::Value;

/// A service with a log, in which two pull requests were judged, pushed to and reviewed; it has stopped.
async fn story() -> (Scene, String, u64) {
    let mut s = Scene::set().await;
    let vkey = s.service.with_log(false).await;
    s.service.start().await;
    let other = s.pull("other", "A window").await;
    let pr = s.pull("topic", "A door <script>alert(1)</script>").await;
    // Denied, then allowed.
    s.settle().await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.act(|w| w.approve("bob", REPO, other)).await;
    s.settle().await;
    let size = s.view().entries.len() as u64;
    signed(&s, size).await;
    (s, vkey, pr)
}

/// Waits until that many entries are signed.
pub(crate) async fn signed(s: &Scene, size: u64) {
    let file = s.service.dir.join("data/signed");
    for _ in 0..500 {
        let signed = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        if signed.is_some_and(|signed| signed["size"].as_u64() >= Some(size)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{size} entries are not signed");
}

pub(crate) fn gatelog(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog")).args(args).output().unwrap()
}

pub(crate) fn export(s: &Scene, what: &[&str], to: &Path) -> Output {
    let data = s.service.dir.join("data");
    let fixed =
        ["audit", "evidence", "export", "--ledger", data.to_str().unwrap(), "-o", to.to_str().unwrap()];
    gatelog(&[&fixed[..], what].concat())
}

pub(crate) fn verify(file: &Path, vkey: &str) -> Output {
    gatelog(&["audit", "evidence", "verify", file.to_str().unwrap(), "--vkey", vkey])
}

/// `None`: no Python.
pub(crate) fn python(file: &Path, vkey: &str) -> Option<Output> {
    let python = foreign(Tool::PlainPython)?;
    let script = root().join("examples/verify_evidence.py");
    Some(Command::new(python).arg("-B").arg(script).arg(file).args(["--vkey", vkey]).output().unwrap())
}

fn last_line(out: &Output) -> String {
    said(out).lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_a_pull_request_is_taken_away_and_checked_twice() {
    let (mut s, vkey, pr) = story().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pr.zip");
    // While it runs, and once it has stopped.
    let out = export(&s, &["--pr", &format!("{REPO}#{pr}")], &file);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let ours = gatelog(&["audit", "evidence", "verify", file.to_str().unwrap(), "--vkey", &vkey, "--replay"]);
    assert_eq!(ours.status.code(), Some(0), "{}", said(&ours));
    let text = said(&ours);
    for part in [
        "complete: everything that names it, its heads, merge groups that carried it and what landed of it on a \
         watched branch is here, until the checkpoint",
        "not in it: pushes of its head from before it was opened",
        " verdicts are what their facts and policies give",
        "VERIFIED  ",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    if let Some(theirs) = python(&file, &vkey) {
        assert_eq!(theirs.status.code(), Some(0), "{}", said(&theirs));
        assert_eq!(last_line(&theirs), last_line(&ours));
    }
    // Names are in it only of what was asked for.
    let (_, files) = unpack(&file);
    let all = |part: &str| {
        files.iter().filter(|(_, b)| contains(b, part)).map(|(n, _)| n.as_str()).collect::<Vec<_>>()
    };
    assert!(all("A window").is_empty(), "{:?}", all("A window"));
    assert!(!all("A door").is_empty());
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    for part in [
        "opened it at",
        "approved",
        "octo-org/app#",
        "class=\"badge deny\"",
        "Can fix it: ",
        "href=\"bodies/",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }

    assert_eq!(s.service.stop().await.code(), Some(0));
    let again = export(&s, &["--pr", &format!("{REPO}#{pr}")], &file);
    assert_eq!(again.status.code(), Some(2), "a file that is there is left alone: {}", said(&again));
    assert!(said(&again).contains("exists already and is not written over"), "{}", said(&again));
    for (vkey, why) in [
        ("junk".to_owned(), "not of the form NAME+KEYID+BASE64"),
        (vkey.replace("/log/", "/lag/"), "its key id does not fit"),
    ] {
        let both = [Some(verify(&file, &vkey)), python(&file, &vkey)];
        for out in both.into_iter().flatten() {
            assert_eq!(out.status.code(), Some(2), "{vkey}: {}", said(&out));
            assert!(said(&out).contains("--vkey ") && said(&out).contains(why), "{}", said(&out));
        }
    }
    for (name, what, expected) in [
        ("entry", vec!["--entry", "3"], "not proved: completeness: that no other entry says more about it"),
        (
            "time",
            vec!["--since", "2020-01-01"],
            "complete: everything of that time is here, until the checkpoint",
        ),
        ("repo", vec!["--until", "2120-01-01", "--repo", REPO], "complete: everything of that time"),
    ] {
        let file = dir.path().join(name);
        let out = export(&s, &what, &file);
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        let ours = verify(&file, &vkey);
        assert!(said(&ours).contains(expected) && ours.status.success(), "{name}: {}", said(&ours));
        if let Some(theirs) = python(&file, &vkey) {
            assert_eq!(said(&theirs), said(&ours), "{name}");
        }
    }
    let nothing = format!("{REPO}#999");
    for (what, why) in [
        (vec!["--pr", "octo-org/nowhere#1"], "no event names the repository octo-org/nowhere"),
        (vec!["--pr", "octo-org/shop"], "write it as owner/name#12"),
        (vec!["--pr", &nothing], "nothing of what was asked for: pull request octo-org/app#999, among the "),
        (vec!["--entry", "999999"], "the last signed checkpoint holds entries 0.."),
        (vec!["--since", "2026-01-02", "--until", "2026-01-01"], "--since is not before --until"),
        (vec!["--since", "2120-01-01", "--repo", REPO], "repository octo-org/app from 2120-01-01T00:00:00"),
        (vec!["--since", "yesterday"], "yesterday"),
        (vec![], "required"),
    ] {
        let out = export(&s, &what, &dir.path().join("none"));
        assert_eq!(out.status.code(), Some(2), "{what:?}: {}", said(&out));
        assert!(said(&out).contains(why), "{what:?}: {}", said(&out));
        assert!(!dir.path().join("none").exists(), "{what:?}");
    }
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|w| w == part.as_bytes())
}

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn unpack(file: &Path) -> (Manifest, Files) {
    let mut archive = Archive::open(File::open(file).unwrap()).unwrap();
    let names = archive.names().to_vec();
    let mut files: Files =
        names.into_iter().map(|n| (n.clone(), archive.read(&n).unwrap().unwrap())).collect();
    let manifest = serde_json::from_slice(&files.remove("manifest.json").unwrap()).unwrap();
    (manifest, files)
}

/// With a manifest that fits: whoever changes the files knows how.
pub(crate) fn pack(manifest: Manifest, files: &Files, to: &Path) {
    let mut zip = Builder::new(Cursor::new(vec![]));
    for (name, bytes) in files {
        zip.add(name, bytes).unwrap();
    }
    fs::write(to, zip.finish(manifest).unwrap().into_inner()).unwrap();
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

pub(crate) fn joined(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|l| format!("{l}\n").into_bytes()).collect()
}

/// The number of the first denial among what was asked for.
fn denial(manifest: &Manifest, files: &Files) -> u64 {
    let all = lines(&files["entries.jsonl"]);
    let entry = |l: &String| serde_json::from_str::<Value>(l).unwrap();
    let mut denials = all.iter().filter(|l| l.contains("\"decision\":\"deny\"")).map(entry);
    let asked_for = |e: &Value| e["seq"].as_u64().filter(|seq| manifest.selected.contains(seq));
    denials.find_map(|e| asked_for(&e)).unwrap()
}

type Change = fn(&mut Manifest, &mut Files);

const CHANGES: &[(&str, Change)] = &[
    ("a denial is left out of what was asked for", |m, f| {
        let seq = denial(m, f);
        m.selected.retain(|s| *s != seq);
    }),
    ("another pull request is said to be this one", |m, _| {
        let gatelog::ledger::evidence::Selection::PullRequest { number, .. } = &mut m.selection else {
            panic!()
        };
        *number = 1;
    }),
    ("a denial becomes an allow", |_, f| {
        let text = String::from_utf8(f["entries.jsonl"].clone()).unwrap();
        let changed = text.replacen("\"decision\":\"deny\"", "\"decision\":\"allow\"", 1);
        f.insert("entries.jsonl".into(), changed.into_bytes());
    }),
    ("an entry is left out", |m, f| {
        let mut all = lines(&f["entries.jsonl"]);
        all.remove(3);
        f.insert("entries.jsonl".into(), joined(&all));
        m.to -= 1;
    }),
    ("two entries are swapped", |_, f| {
        let mut all = lines(&f["entries.jsonl"]);
        all.swap(2, 3);
        f.insert("entries.jsonl".into(), joined(&all));
    }),
    ("an entry is there twice", |m, f| {
        let mut all = lines(&f["entries.jsonl"]);
        all.insert(2, all[2].clone());
        f.insert("entries.jsonl".into(), joined(&all));
        m.to += 1;
    }),
    ("the range is cut at its end", |m, f| {
        let mut all = lines(&f["entries.jsonl"]);
        all.pop();
        f.insert("entries.jsonl".into(), joined(&all));
        m.to -= 1;
    }),
    ("the range is cut at its beginning", |m, f| {
        let mut all = lines(&f["entries.jsonl"]);
        all.remove(0);
        f.insert("entries.jsonl".into(), joined(&all));
        m.from += 1;
    }),
    ("what a person said is changed", |_, f| {
        let (_, body) = f.iter_mut().find(|(n, b)| n.ends_with("/payload") && contains(b, "bob")).unwrap();
        let at = body.windows(3).position(|w| w == b"bob").unwrap();
        body[at] = b'B';
    }),
    ("a body is left out", |_, f| {
        let name = f.keys().find(|n| n.ends_with("/facts")).unwrap().clone();
        f.remove(&name);
    }),
    ("a body is left out and said to be erased", |m, f| {
        let name = f.keys().find(|n| n.ends_with("/facts")).unwrap().clone();
        f.remove(&name);
        let entry = name.split('/').nth(1).unwrap().parse().unwrap();
        m.redacted.push(gatelog::ledger::evidence::Redacted { entry, body: "facts".into() });
    }),
    ("two bodies are swapped", |_, f| {
        let names: Vec<String> = f.keys().filter(|n| n.ends_with("/payload")).take(2).cloned().collect();
        let (a, b) = (f[&names[0]].clone(), f[&names[1]].clone());
        f.insert(names[0].clone(), b);
        f.insert(names[1].clone(), a);
    }),
    ("a salt is changed", |_, f| {
        let text = String::from_utf8(f["salts.json"].clone()).unwrap();
        let at = text.find("/payload\": \"").unwrap() + 12;
        let digit = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        let mut changed = text;
        changed.replace_range(at..=at, digit);
        f.insert("salts.json".into(), changed.into_bytes());
    }),
    ("the policies that judged are left out", |_, f| {
        f.insert("others.jsonl".into(), vec![]);
        f.retain(|n, _| !n.ends_with("/bundle"));
    }),
    ("the policies are proved by another path", |_, f| {
        let mut tree: Tree = serde_json::from_slice(&f["tree.json"]).unwrap();
        for path in tree.others.values_mut() {
            path.reverse();
        }
        f.insert("tree.json".into(), serde_json::to_vec(&tree).unwrap());
    }),
    ("the checkpoint says one more", |_, f| {
        let note = String::from_utf8(f["checkpoint"].clone()).unwrap();
        let size = note.lines().nth(1).unwrap().to_owned();
        let more = (size.parse::<u64>().unwrap() + 1).to_string();
        f.insert("checkpoint".into(), note.replacen(&size, &more, 1).into_bytes());
    }),
    ("the checkpoint is signed by another key", |_, f| {
        let note = String::from_utf8(f["checkpoint"].clone()).unwrap();
        let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
        let other = Signer::new(ORIGIN, &[7; 32]).unwrap();
        assert!(Checkpoint::parse(&text).is_ok());
        f.insert("checkpoint".into(), sign(&text, [&other]).unwrap().into_bytes());
    }),
    ("nothing", |_, _| {}),
];

/// Whoever hands evidence over can change every byte of it, and fit the manifest to that; only the log's
/// key is not theirs. Who notices what, in which words.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_tampered_with_is_noticed_by_both_verifiers() {
    let (s, vkey, pr) = story().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pr.zip");
    let out = export(&s, &["--pr", &format!("{REPO}#{pr}")], &file);
    assert!(out.status.success(), "{}", said(&out));
    let mut table = String::new();
    for (what, change) in CHANGES {
        let (mut manifest, mut files) = unpack(&file);
        change(&mut manifest, &mut files);
        let changed = dir.path().join("changed.zip");
        pack(manifest, &files, &changed);
        let ours = verify(&changed, &vkey);
        let theirs = python(&changed, &vkey);
        let code = if *what == "nothing" { 0 } else { 3 };
        assert_eq!(ours.status.code(), Some(code), "{what}: {}", said(&ours));
        let mut row = format!("{what}\n  gatelog  {}\n", shown(&ours));
        if let Some(theirs) = &theirs {
            assert_eq!(theirs.status.code(), Some(code), "{what}: {}", said(theirs));
            row += &format!("  python   {}\n", shown(theirs));
        }
        table += &row;
    }
    // Bytes of the file itself: no manifest fits.
    let whole = fs::read(&file).unwrap();
    for n in 0..40 {
        let mut changed = whole.clone();
        let at = whole.len() * n / 40;
        changed[at] ^= 0x55;
        let path: PathBuf = dir.path().join("flipped.zip");
        fs::write(&path, &changed).unwrap();
        let code = verify(&path, &vkey).status.code();
        // What a zip file says of times and permissions is nobody's evidence.
        let same = Archive::open(Cursor::new(changed)).is_ok_and(|mut a| {
            a.names().to_vec().iter().all(|n| a.read(n).is_ok_and(|b| b == unpacked(&file, n)))
        });
        assert!(matches!(code, Some(3 | 5)) || same, "byte {at}: {code:?}");
    }
    if foreign(Tool::PlainPython).is_some() {
        insta::assert_snapshot!(table);
    }
}

/// One file of a zip, written as somebody would who wants to harm the reader.
pub(crate) struct Raw {
    name: String,
    deflated: Vec<u8>,
    crc: u32,
    /// Bytes that it is said to unpack to.
    said: u32,
}

/// `size` zeros, honestly said.
pub(crate) fn zeros(name: &str, size: usize) -> Raw {
    let mut zip = Builder::new(Cursor::new(vec![]));
    zip.add("x", &vec![0; size]).unwrap();
    let manifest = Manifest {
        format: String::new(),
        made_by: String::new(),
        selection: Selection::Entry { entry: 0 },
        from: 0,
        to: 0,
        selected: vec![],
        redacted: vec![],
        files: BTreeMap::new(),
    };
    let bytes = zip.finish(manifest).unwrap().into_inner();
    // Local file header, APPNOTE 4.3.7: CRC at 14, sizes at 18 and 22, 30 bytes and the name before the data.
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let deflated = bytes[31..31 + number(18) as usize].to_vec();
    assert_eq!(number(22) as usize, size);
    Raw { name: name.into(), deflated, crc: number(14), said: number(22) }
}

/// Local headers with their data, then the directory (APPNOTE 4.3.12), then its end (4.3.16). `shared`: all files
/// are the bytes of the first.
pub(crate) fn raw_zip(files: &[Raw], shared: bool) -> Vec<u8> {
    let head = |f: &Raw| {
        let mut out = [20u16, 0, 8, 0, 0x21].map(u16::to_le_bytes).concat();
        out.extend([f.crc, f.deflated.len() as u32, f.said].map(u32::to_le_bytes).concat());
        out.extend([f.name.len() as u16, 0].map(u16::to_le_bytes).concat());
        out
    };
    let (mut out, mut directory) = (vec![], vec![]);
    for (n, file) in files.iter().enumerate() {
        let at = if shared { 0 } else { out.len() as u32 };
        if !(shared && n > 0) {
            out.extend([b"PK\x03\x04", &head(file)[..], file.name.as_bytes(), &file.deflated].concat());
        }
        directory.extend([b"PK\x01\x02\x14\0", &head(file)[..], &[0; 10], &at.to_le_bytes()].concat());
        directory.extend(file.name.as_bytes());
    }
    let (count, at, length) = (files.len() as u16, out.len() as u32, directory.len() as u32);
    out.extend(directory);
    out.extend([b"PK\x05\x06", &[0; 4][..], &count.to_le_bytes(), &count.to_le_bytes()].concat());
    out.extend([&length.to_le_bytes()[..], &at.to_le_bytes(), &[0; 2]].concat());
    out
}

/// Runs it where it may have 1.5 GB of memory.
fn bounded(command: &Command) -> Output {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh"]).arg(command.get_program());
    limited.args(command.get_args()).output().unwrap()
}

/// A few megabytes that say they are many, or are: refused before they fill memory, and by name.
#[test]
fn a_zip_bomb_is_refused_by_both_verifiers() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = |said| {
        let mut file = zeros("manifest.json", 256 << 20);
        file.said = said;
        file
    };
    let many = |n: usize, said: u32, shared: bool| {
        let files = (0..n).map(|i| Raw { name: format!("f{i}"), said, ..zeros("x", 1 << 20) });
        raw_zip(&files.collect::<Vec<_>>(), shared)
    };
    let total = "it unpacks to more than 8589934592 bytes";
    for (what, bytes, expected) in [
        (
            "a file that says 4 GB",
            raw_zip(&[manifest(u32::MAX - 1)], false),
            "manifest.json has more than 1073741824 bytes",
        ),
        ("a file that says 1 byte and is 256 MB", raw_zip(&[manifest(1)], false), "manifest.json"),
        ("files that say 40 GB together", many(40, 1 << 30, false), total),
        ("files that share their bytes and say 40 GB", many(40, 1 << 30, true), total),
    ] {
        assert!(bytes.len() < 1 << 20, "{what} has {} bytes", bytes.len());
        let file = dir.path().join("bomb.zip");
        fs::write(&file, bytes).unwrap();
        let vkey = Signer::new(ORIGIN, &[7; 32]).unwrap().verifier().to_string();
        let mut ours = Command::new(env!("CARGO_BIN_EXE_gatelog"));
        ours.args(["audit", "evidence", "verify"]).arg(&file).args(["--vkey", &vkey]);
        let mut both = vec![ours];
        if let Some(python) = foreign(Tool::PlainPython) {
            let mut theirs = Command::new(python);
            theirs
                .arg("-B")
                .arg(root().join("examples/verify_evidence.py"))
                .arg(&file)
                .args(["--vkey", &vkey]);
            both.push(theirs);
        }
        for command in both {
            let began = std::time::Instant::now();
            let out = bounded(&command);
            assert_eq!(out.status.code(), Some(5), "{what}: {}", said(&out));
            assert!(said(&out).contains(expected), "{what}: {}", said(&out));
            assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
        }
    }
}

/// What is missing is named, by both in the same words.
#[tokio::test]
async fn a_file_that_is_missing_is_named_by_both_verifiers() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("pr.zip"));
    let vkey = hours(&data).await;
    export_of(&data, &["--pr", "acme/pay#12"], &file);
    for name in ["checkpoint", "tree.json", "entries.jsonl", "others.jsonl", "salts.json"] {
        let (manifest, mut files) = unpack(&file);
        files.remove(name).unwrap();
        let without = dir.path().join("without.zip");
        pack(manifest, &files, &without);
        let expected = format!("the file {name} is missing");
        let ours = verify(&without, &vkey);
        assert_eq!(ours.status.code(), Some(5), "{}", said(&ours));
        assert!(said(&ours).contains(&expected), "{}", said(&ours));
        if let Some(theirs) = python(&without, &vkey) {
            assert_eq!(theirs.status.code(), Some(5), "{}", said(&theirs));
            assert!(said(&theirs).contains(&expected), "{}", said(&theirs));
        }
    }
    // No evidence at all.
    fs::write(&file, raw_zip(&[zeros("x", 1)], false)).unwrap();
    for out in [Some(verify(&file, &vkey)), python(&file, &vkey)].into_iter().flatten() {
        assert_eq!(out.status.code(), Some(5), "{}", said(&out));
        assert!(said(&out).contains("the file manifest.json is missing"), "{}", said(&out));
    }
}

fn unpacked(file: &Path, name: &str) -> Option<Vec<u8>> {
    Archive::open(File::open(file).unwrap()).unwrap().read(name).unwrap()
}

/// The end of what was said, without what differs from run to run: digits, and the digest of the policies.
fn shown(out: &Output) -> String {
    let line = last_line(out);
    let word = |w: &str| if w.contains("sha256:") { "sha256:…".to_owned() } else { w.to_owned() };
    let words: Vec<String> = line.split("  ").next().unwrap_or_default().split(' ').map(word).collect();
    let text = words.join(" ");
    let mut out = String::new();
    for c in text.chars() {
        match (c.is_ascii_digit(), out.ends_with('N')) {
            (true, true) => {}
            (true, false) => out.push('N'),
            _ => out.push(c),
        }
    }
    out
}

/// What was really erased is said with the reason, by both verifiers, and all else still holds; what is only
/// withheld is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_explained_and_what_is_withheld_is_not() {
    let (s, vkey, pr) = story().await;
    let done = s.service.gatelog(&["log", "erase", "--login", "bob", "--reason", "GDPR, ticket 7"]).await;
    assert!(done.status.success(), "{}", said(&done));
    let view = s.settle().await;
    signed(&s, view.entries.len() as u64).await;
    let erasure = view.of_kind(&gatelog::ledger::entry::Kind::Erasure).next().unwrap().seq;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pr.zip");
    let out = export(&s, &["--pr", &format!("{REPO}#{pr}")], &file);
    assert!(out.status.success(), "{}", said(&out));
    let (manifest, files) = unpack(&file);
    assert!(!manifest.redacted.is_empty());
    assert!(!files.values().any(|b| contains(b, "\"bob\"")), "what was erased is in the file");
    assert!(contains(&files["index.html"], "payload erased</span>"));
    let ours = verify(&file, &vkey);
    assert_eq!(ours.status.code(), Some(0), "{}", said(&ours));
    for gone in &manifest.redacted {
        let line =
            format!("redacted at entry {} (erasure {erasure}: GDPR, ticket 7): {}\n", gone.entry, gone.body);
        assert!(said(&ours).contains(&line), "no `{line}` in\n{}", said(&ours));
    }
    if let Some(theirs) = python(&file, &vkey) {
        assert_eq!(said(&theirs), said(&ours));
    }
    let again =
        gatelog(&["audit", "evidence", "verify", file.to_str().unwrap(), "--vkey", &vkey, "--replay"]);
    assert!(
        again.status.code() == Some(4) && said(&again).contains("cannot be judged again"),
        "{}",
        said(&again)
    );

    let erased: Vec<u64> = manifest.redacted.iter().map(|r| r.entry).collect();
    let there = files.keys().find(|n| {
        let seq = n.strip_prefix("bodies/").and_then(|n| n.split('/').next()?.parse().ok());
        n.ends_with("/payload") && seq.is_some_and(|seq: u64| !erased.contains(&seq))
    });
    let there = there.unwrap().clone();
    let withheld: Change = |m, f| {
        let name =
            f.keys().find(|n| m.redacted.iter().any(|r| **n == format!("bodies/{}/{}", r.entry, r.body)));
        f.remove(&name.unwrap().clone());
    };
    let cases: [(&str, Change); 3] = [
        ("another body is withheld and said to be erased", withheld),
        ("the list of the erasure is withheld", |_, f| f.retain(|n, _| !n.ends_with("/list"))),
        ("the erasure is left out", |_, f| {
            let others = lines(&f["others.jsonl"]);
            let kept: Vec<String> =
                others.into_iter().filter(|l| !l.contains("\"kind\":\"erasure\"")).collect();
            f.insert("others.jsonl".into(), joined(&kept));
            f.retain(|n, _| !n.ends_with("/list"));
        }),
    ];
    for (what, change) in cases {
        let (mut manifest, mut files) = (manifest.clone(), files.clone());
        if what.starts_with("another") {
            let entry = there.split('/').nth(1).unwrap().parse().unwrap();
            manifest.redacted.push(gatelog::ledger::evidence::Redacted { entry, body: "payload".into() });
        }
        change(&mut manifest, &mut files);
        let changed = dir.path().join("changed.zip");
        pack(manifest, &files, &changed);
        let ours = verify(&changed, &vkey);
        assert!(ours.status.code() == Some(3) && said(&ours).contains("missing"), "{what}: {}", said(&ours));
        if let Some(theirs) = python(&changed, &vkey) {
            assert!(
                theirs.status.code() == Some(3) && said(&theirs).contains("missing"),
                "{what}: {}",
                said(&theirs)
            );
        }
    }
}

/// Somebody who exports only from a later entry on cannot call it complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_which_a_part_is_left_out_is_not_complete() {
    let (s, vkey, _) = story().await;
    let dir = tempfile::tempdir().unwrap();
    let times: Vec<String> = s.view().entries.iter().map(|e| e.time.to_string()).collect();
    let file = dir.path().join("time.zip");
    let middle = &times[times.len() / 2];
    let out = export(&s, &["--since", middle], &file);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&verify(&file, &vkey)).contains("complete: "), "{}", said(&verify(&file, &vkey)));
    // The same range, said to be of an earlier time.
    let (mut manifest, files) = unpack(&file);
    let gatelog::ledger::evidence::Selection::Time { since, .. } = &mut manifest.selection else { panic!() };
    *since = Some(times[0].parse().unwrap());
    manifest.selected = (manifest.from..manifest.to).collect();
    pack(manifest, &files, &file);
    let out = verify(&file, &vkey);
    // The entry before the time was not exported with its bodies, or the range begins too late.
    assert!(!said(&out).contains("complete: everything"), "{}", said(&out));
    if let Some(theirs) = python(&file, &vkey) {
        assert!(!said(&theirs).contains("complete: everything"), "{}", said(&theirs));
    }
    // A time written in another way has another place in the order of texts.
    let (mut manifest, files) = unpack(&file);
    let gatelog::ledger::evidence::Selection::Time { since, .. } = &mut manifest.selection else { panic!() };
    let canonical = times.last().unwrap().clone();
    *since = Some(canonical.parse().unwrap());
    manifest.selected.clear();
    for other in [canonical.replace('Z', "+02:00"), "9".repeat(canonical.len())] {
        pack(manifest.clone(), &files, &file);
        write_in_manifest(&file, &format!("\"{canonical}\""), &format!("\"{other}\""));
        assert!(!verify(&file, &vkey).status.success(), "{other}");
        if let Some(theirs) = python(&file, &vkey) {
            assert!(!theirs.status.success(), "{other}: {}", said(&theirs));
            assert!(said(&theirs).contains("is not a time as gatelog writes it"), "{}", said(&theirs));
        }
    }
}

/// Changes the text of the manifest, whatever it then is.
fn write_in_manifest(file: &Path, from: &str, to: &str) {
    let mut archive = Archive::open(File::open(file).unwrap()).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    for name in archive.names().to_vec() {
        let mut bytes = archive.read(&name).unwrap().unwrap();
        if name == "manifest.json" {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{text}");
            bytes = text.replace(from, to).into_bytes();
        }
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &bytes).unwrap();
    }
    fs::write(file, zip.finish().unwrap().into_inner()).unwrap();
}

/// Two pull requests hours apart, in a ledger whose clock is ours.
pub(crate) async fn hours(dir: &Path) -> String {
    let now = std::sync::Arc::new(std::sync::Mutex::new("2026-11-24T00:00:00Z".parse::<Time>().unwrap()));
    let clock = now.clone();
    let (ledger, _) = Ledger::open_sized(dir, Sizes::default(), move || *clock.lock().unwrap()).unwrap();
    for (n, (number, action, pause)) in [
        (7, "opened", 60),
        (7, "synchronize", 4 * 3600),
        (7, "synchronize", 30),
        (12, "opened", 60),
        (12, "synchronize", 60),
        // Of a repository whose name nothing says.
        (20, "opened", 60),
    ]
    .into_iter()
    .enumerate()
    {
        let made = now.lock().unwrap().to_string();
        let repository = if number == 20 { 5 } else { 3 };
        let named = serde_json::json!({"id": 3, "full_name": "acme/pay"});
        let nameless = serde_json::json!({"id": 5});
        let payload = serde_json::json!({
            "action": action, "repository": if number == 20 { nameless } else { named },
            "pull_request": {"number": number, "created_at": made.replace(".000000", "")},
        });
        let draft = Draft {
            subject: Subject {
                kind: SubjectKind::PullRequest,
                repository: Some(repository),
                id: Some(number),
                ..delivery("x", "").subject
            },
            bodies: vec![(
                "payload".into(),
                Body { bytes: payload.to_string().into(), media: "application/json" },
            )],
            ..delivery(&format!("guid-{n}"), "")
        };
        ledger.append(vec![draft]).await.unwrap();
        let mut now = now.lock().unwrap();
        *now = now.plus(Duration::from_secs(pause));
    }
    sign_and_close(&ledger, dir, ORIGIN).await
}

pub(crate) fn export_of(dir: &Path, what: &[&str], to: &Path) {
    let fixed =
        ["audit", "evidence", "export", "--ledger", dir.to_str().unwrap(), "-o", to.to_str().unwrap()];
    let out = gatelog(&[&fixed[..], what].concat());
    assert!(out.status.success(), "{}", said(&out));
}

/// A range that begins too late is not called complete, though all that is in it is genuine.
#[tokio::test]
async fn what_may_lie_before_the_range_is_not_called_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("pr.zip"));
    let vkey = hours(&data).await;
    export_of(&data, &["--pr", "acme/pay#12"], &file);
    let check = |file: &Path, expected: &str| {
        let ours = said(&verify(file, &vkey));
        assert!(ours.contains(expected) && ours.contains("VERIFIED"), "{ours}");
        if let Some(theirs) = python(file, &vkey) {
            assert_eq!(said(&theirs), ours);
        }
    };
    let (manifest, _) = unpack(&file);
    assert!(manifest.from > 0, "{manifest:?}");
    check(&file, "complete: everything that names it, its heads, merge groups that carried it");

    // Genuine entries from a later one on, said to be all about the pull request.
    let late = dir.path().join("late.zip");
    export_of(&data, &["--since", "2026-11-24T04:01:10Z"], &late);
    let (mut manifest, files) = unpack(&late);
    manifest.selection = Selection::PullRequest { repository: 3, number: 12 };
    let entries: Vec<Entry> =
        lines(&files["entries.jsonl"]).iter().map(|l| Entry::parse(l.as_bytes()).unwrap()).collect();
    manifest.selected = select(&manifest.selection, &entries).into_iter().collect();
    assert!(!manifest.selected.is_empty() && manifest.from > 0, "{manifest:?}");
    let mut files = files;
    files.retain(|name, _| {
        let seq = name.strip_prefix("bodies/").and_then(|n| n.split('/').next()?.parse().ok());
        seq.is_none_or(|seq: u64| manifest.selected.contains(&seq))
    });
    pack(manifest, &files, &late);
    check(&late, "not proved: completeness: that nothing about it comes before the range");
}
