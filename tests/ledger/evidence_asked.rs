//! Evidence about something else, and files that show something else than what is proved: all of it as genuine as
//! the log's key makes it.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::Path,
    process::{Command, Output},
};

use crate::common::{
    foreign::{Tool, foreign, root},
    program::said,
};
use crate::evidence::{export_of, gatelog, hours, pack, raw_zip, unpack, zeros};
use gatelog::ledger::evidence::Selection;

/// What both verifiers say; the second only where there is Python.
fn both(file: &Path, vkey: &str, asked: &[&str]) -> Vec<Output> {
    let args = [&[file.to_str().unwrap(), "--vkey", vkey], asked].concat();
    let mut out = vec![gatelog(&[&["audit", "evidence", "verify"], &args[..]].concat())];
    if let Some(python) = foreign(Tool::PlainPython) {
        let script = root().join("examples/verify_evidence.py");
        out.push(Command::new(python).arg("-B").arg(script).args(&args).output().unwrap());
    }
    out
}

/// The exit code and the words of all of them.
fn expect(file: &Path, vkey: &str, asked: &[&str], code: i32, part: &str) {
    let all = both(file, vkey, asked);
    for out in &all {
        assert_eq!(out.status.code(), Some(code), "{asked:?}: {}", said(out));
        assert!(said(out).contains(part), "{asked:?}: no `{part}` in {}", said(out));
    }
    if code != 5 {
        assert!(all.iter().all(|out| said(out) == said(&all[0])), "{asked:?}: {all:?}");
    }
}

#[tokio::test]
async fn evidence_about_something_else_is_not_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (data, twelve, seven) = (file("data"), file("12.zip"), file("7.zip"));
    let vkey = hours(&data).await;
    export_of(&data, &["--pr", "acme/pay#12"], &twelve);
    let about = "about: pull request 12 of repository 3 (acme/pay, as its payloads say)\n";
    expect(&twelve, &vkey, &[], 0, about);
    for asked in ["acme/pay#12", "ACME/Pay#12", "3#12"] {
        expect(&twelve, &vkey, &["--pr", asked], 0, about);
    }
    let other = "FAILED: it is about pull request 12 of repository 3 (acme/pay, as its payloads say), and that was not";
    for asked in [
        &["--pr", "acme/pay#7"][..],
        &["--pr", "acme/shop#12"],
        &["--pr", "4#12"],
        &["--entry", "3"],
        &["--since", "2026-11-24"],
        &["--repo", "acme/pay"],
    ] {
        expect(&twelve, &vkey, asked, 3, other);
    }
    // The page of another one, and a manifest that fits.
    export_of(&data, &["--pr", "acme/pay#7"], &seven);
    let (manifest, mut files) = unpack(&seven);
    files.insert("index.html".into(), b"<h1>acme/pay#12</h1>".to_vec());
    pack(manifest, &files, &seven);
    expect(&seven, &vkey, &[], 0, "about: pull request 7 of repository 3");
    expect(&seven, &vkey, &[], 0, "not proved: what index.html says");
    expect(&seven, &vkey, &["--pr", "acme/pay#12"], 3, "it is about pull request 7 of");

    let (one, time) = (file("one.zip"), file("time.zip"));
    export_of(&data, &["--entry", "3"], &one);
    expect(&one, &vkey, &["--entry", "3"], 0, "about: entry 3 and what belongs to it");
    expect(&one, &vkey, &["--entry", "2"], 3, "it is about entry 3");
    export_of(&data, &["--since", "2026-11-24", "--repo", "acme/pay"], &time);
    let asked = ["--since", "2026-11-24", "--repo", "acme/pay"];
    let about = "about: everything of repository 3 (acme/pay, as its payloads say) from 2026-11-24T00:00:00.000000Z until the checkpoint";
    expect(&time, &vkey, &asked, 0, about);
    expect(&time, &vkey, &["--since", "2026-11-24T00:00:00Z", "--repo", "3"], 0, about);
    for asked in [
        &["--since", "2026-11-24"][..],
        &["--since", "2026-11-23", "--repo", "3"],
        &["--since", "2026-11-24", "--until", "2026-11-25", "--repo", "3"],
        &["--since", "2026-11-24", "--repo", "4"],
    ] {
        expect(&time, &vkey, asked, 3, "and that was not asked for");
    }

    let nameless = file("20.zip");
    export_of(&data, &["--pr", "5#20"], &nameless);
    expect(&nameless, &vkey, &["--pr", "5#20"], 0, "repository 5 (no payload in it says its name)");
    expect(&nameless, &vkey, &["--pr", "acme/pay#20"], 4, "ask by the number 5");
}

/// A file that is about nothing is no clean bill, and what no entry commits to is not in one.
#[tokio::test]
async fn what_is_in_evidence_is_about_something_and_all_of_it_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (data, twelve, changed) = (file("data"), file("12.zip"), file("changed.zip"));
    let vkey = hours(&data).await;
    export_of(&data, &["--pr", "acme/pay#12"], &twelve);
    let (mut manifest, mut files) = unpack(&twelve);
    manifest.selection = Selection::PullRequest { repository: 3, number: 999 };
    manifest.selected.clear();
    files.retain(|name, _| !name.starts_with("bodies/"));
    pack(manifest, &files, &changed);
    expect(&changed, &vkey, &[], 3, "no entry in it belongs to what it is said to be about");

    // Of an entry that is in the range and was not asked for; of none.
    for name in ["bodies/0/verdict", "bodies/999/verdict", "story.html"] {
        let (manifest, mut files) = unpack(&twelve);
        files.insert(name.into(), b"{\"decision\":\"allow\"}".to_vec());
        pack(manifest, &files, &changed);
        expect(&changed, &vkey, &[], 3, &format!("the file {name} belongs to nothing that it is about"));
    }

    // A number that is none: no entry is about it.
    let rewrite = |change: &dyn Fn(String) -> String| {
        let mut archive = zip::ZipArchive::new(fs::File::open(&twelve).unwrap()).unwrap();
        let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
        for at in 0..archive.len() {
            let mut bytes = vec![];
            let mut file = archive.by_index(at).unwrap();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            let name = file.name().unwrap().into_owned();
            if name == "manifest.json" {
                bytes = change(String::from_utf8(bytes).unwrap()).into_bytes();
            }
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        fs::write(&changed, zip.finish().unwrap().into_inner()).unwrap();
    };
    for other in ["\"12\"", "12.0", "true"] {
        rewrite(&|text| {
            assert!(text.contains("\"number\": 12"), "{text}");
            text.replace("\"number\": 12", &format!("\"number\": {other}"))
        });
        expect(&changed, &vkey, &[], 5, "");
    }
    rewrite(&|_| "[".repeat(200_000));
    expect(&changed, &vkey, &[], 5, "");
}

/// Archive programs show one of two files of one name, and a verifier checks the other.
#[test]
fn two_files_of_one_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("two.zip");
    let vkey = gatelog::ledger::note::Signer::new("gate.example.com/log/1", &[7; 32])
        .unwrap()
        .verifier()
        .to_string();
    let names = ["manifest.json", "bodies/3/verdict", "bodies/3/verdict"];
    let files: Vec<_> = names.iter().map(|name| zeros(name, 10)).collect();
    fs::write(&file, raw_zip(&files, false)).unwrap();
    expect(&file, &vkey, &[], 5, "it holds two files of one name");
}
