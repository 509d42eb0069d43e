//! Who notices what: each thing that an attacker or a bad disk can do to a ledger, and what each verifier says.
//!
//! The table itself is the snapshot. `docs/threat-model.md` claims nothing that is not in it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Cursor,
    path::Path,
    process::{Command, Output},
};

use crate::common::foreign::{Tool, foreign, root};
use crate::ledger_util::{Dir, delivery};
use bytes::Bytes;
use gatelog::{
    ledger::{
        chain::leaf_hash,
        checkpoint::Checkpoint,
        edge::Edge,
        entry::Hash,
        evidence::{
            CHECKPOINT, ENTRIES, FORMAT, Manifest, OTHERS, SALTS, Selection, TREE, Tree, archive::Builder,
            body_path,
        },
        follow::State,
        note::{Signer, sign},
        summary::Summary,
        tile::{self, Kind, Tile, new_tiles},
        verify::{verify, verify_signed},
    },
    store::{
        Record, SaltedBody,
        journal::{
            frame::{self, Seal, SegmentHeader},
            mark::{self, Signed},
            reader::Groups,
            segment_path,
        },
    },
    time::Time,
};

const ORIGIN: &str = "gate.example.com/log/1";
/// Entries, and how many of them the auditor has seen.
const SIZE: usize = 40;
const SEEN: usize = 30;

fn key(n: u8) -> Signer {
    Signer::new(ORIGIN, &[n; 32]).unwrap()
}

/// All that an attack changes.
#[derive(Clone)]
struct World {
    header: SegmentHeader,
    records: Vec<Record>,
    /// The file beside the journal, and what is served as the checkpoint.
    signed: Signed,
    checkpoint: String,
    /// Names of files that are not served.
    deleted: Vec<&'static str>,
}

impl World {
    /// The honest one.
    async fn honest() -> Self {
        let dir = Dir::new();
        let (ledger, _) = crate::ledger_util::open(&dir.path());
        for n in 1..SIZE {
            let body = format!("{{\"number\":{n}}}");
            ledger.append(vec![delivery(&format!("g{n}"), &body)]).await.unwrap();
        }
        ledger.close().await.unwrap();
        let (header, records) = read(&dir.path().join("journal"));
        let mut world = Self {
            header,
            records,
            signed: signed(&Edge::default(), &key(1)),
            checkpoint: String::new(),
            deleted: vec![],
        };
        world.sign();
        world
    }

    /// With the log's own key.
    fn sign(&mut self) {
        self.signed = signed(&self.edge(self.records.len()), &key(1));
        self.checkpoint = self.signed.checkpoint.clone();
    }

    fn edge(&self, size: usize) -> Edge {
        let mut edge = Edge::default();
        self.records[..size].iter().for_each(|r| drop(edge.push(leaf_hash(&r.raw))));
        edge
    }

    /// Numbers and hashes made right again from `from` on, as somebody with time would.
    fn mend(&mut self, from: usize) {
        let mut prev = from.checked_sub(1).map_or(Hash::default(), |i| leaf_hash(&self.records[i].raw));
        for (seq, record) in self.records.iter_mut().enumerate().skip(from) {
            let mut entry: serde_json::Value = serde_json::from_slice(&record.raw).unwrap();
            (entry["seq"], entry["prev"]) = (seq.into(), prev.to_string().into());
            record.raw = serde_json_canonicalizer::to_vec(&entry).unwrap().into();
            prev = leaf_hash(&record.raw);
        }
    }

    fn change(&mut self, seq: usize) {
        let text = std::str::from_utf8(&self.records[seq].raw).unwrap();
        self.records[seq].raw = Bytes::from(text.replace("\"push\"", "\"pull\""));
    }

    /// Every file that is served.
    fn files(&self) -> BTreeMap<String, Bytes> {
        let size = self.records.len() as u64;
        let edge = self.edge(self.records.len());
        let mut files = BTreeMap::new();
        for tile in new_tiles(0, size) {
            let Kind::Hashes(0) = tile.kind else { continue };
            // A server has the partial tiles of every size that was published.
            for width in 1..=tile.width {
                let raws: Vec<Bytes> = self.records[..width.into()].iter().map(|r| r.raw.clone()).collect();
                let (hashes, bundle) = (Tile { width, ..tile }, Tile { kind: Kind::Entries, width, ..tile });
                files.insert(hashes.path(), tile::encode_hashes(&edge.partial(0)[..width.into()]).into());
                files.insert(bundle.path(), tile::encode_entries(&raws).unwrap().into());
            }
        }
        files.insert("checkpoint".into(), self.checkpoint.clone().into());
        files.retain(|name, _| !self.deleted.contains(&name.as_str()));
        files
    }

    /// What those say who have the files: the ledger, or evidence that was exported from it.
    fn of_files(&self) -> Vec<(&'static str, String)> {
        let dir = tempfile::tempdir().unwrap();
        let (journal, file) = (dir.path().join("journal"), dir.path().join("evidence.zip"));
        fs::create_dir(&journal).unwrap();
        write(&journal, self);
        mark::write_signed(dir.path(), &self.signed).unwrap();
        let vkey = key(1).verifier().to_string();
        let (ledger, zip) = (dir.path().to_str().unwrap(), file.to_str().unwrap());
        let all = ["--since", "2026-01-01", "--ledger", ledger, "-o", zip];
        let exported = gatelog(&[&["audit", "evidence", "export"], &all[..]].concat());
        let mut rows = vec![
            ("log verify", noticed(verify(&journal).map(|v| v.lints))),
            (
                "log verify --vkey",
                noticed(verify_signed(&journal, &[key(1).verifier().clone()]).map(|v| v.lints)),
            ),
            ("audit evidence export", words(&exported)),
        ];
        if !exported.status.success() {
            fs::write(&file, self.evidence()).unwrap();
        }
        let checked = gatelog(&["audit", "evidence", "verify", zip, "--vkey", &vkey]);
        rows.push(("audit evidence verify", words(&checked)));
        if let Some(python) = foreign(Tool::PlainPython) {
            let script = root().join("examples/verify_evidence.py");
            let args = [script.to_str().unwrap(), zip, "--vkey", &vkey];
            let out = Command::new(python).arg("-B").args(args).output().unwrap();
            rows.push(("verify_evidence.py", words(&out)));
        }
        let files = dir.path().display().to_string();
        rows.into_iter().map(|(who, what)| (who, what.replace(&files, "DIR"))).collect()
    }

    /// Evidence as somebody writes it who leaves out the checks of our export.
    fn evidence(&self) -> Vec<u8> {
        let mut zip = Builder::new(Cursor::new(vec![]));
        let (mut entries, mut salts) = (vec![], BTreeMap::new());
        for (seq, record) in self.records.iter().enumerate() {
            entries.extend_from_slice(&record.raw);
            entries.push(b'\n');
            for body in &record.bodies {
                zip.add(&body_path(seq as u64, &body.name), &body.bytes).unwrap();
                salts.insert(format!("{seq}/{}", body.name), hex::encode(body.salt.0));
            }
        }
        zip.add(ENTRIES, &entries).unwrap();
        zip.add(OTHERS, b"").unwrap();
        zip.add(SALTS, &serde_json::to_vec(&salts).unwrap()).unwrap();
        zip.add(TREE, &serde_json::to_vec(&Tree::default()).unwrap()).unwrap();
        zip.add(CHECKPOINT, self.signed.checkpoint.as_bytes()).unwrap();
        let to = self.records.len() as u64;
        let manifest = Manifest {
            format: FORMAT.into(),
            made_by: "somebody".into(),
            selection: Selection::Time { since: None, until: None, repository: None },
            from: 0,
            to,
            selected: (0..to).collect(),
            redacted: vec![],
            files: BTreeMap::new(),
        };
        zip.finish(manifest).unwrap().into_inner()
    }

    fn monitor(&self, state: &State) -> String {
        let files = self.files();
        let mut state = state.clone();
        noticed(state.follow(&mut |name| Ok(files.get(name).cloned())).map(|news| news.lints))
    }
}

fn noticed<E: std::fmt::Display>(checked: Result<Vec<(u64, String)>, E>) -> String {
    match checked.as_deref() {
        Err(e) => e.to_string(),
        Ok([]) => "-".into(),
        Ok([(seq, what), ..]) => format!("lint: entry {seq}: {what}"),
    }
}

fn gatelog(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatelog")).args(args).output().unwrap()
}

/// The last line of what went wrong, or what is odd.
fn words(out: &Output) -> String {
    let said = [&out.stdout, &out.stderr].map(|b| String::from_utf8_lossy(b).into_owned()).concat();
    if out.status.success() {
        return said.lines().find(|l| l.starts_with("lint: ")).unwrap_or("-").to_owned();
    }
    said.lines().last().unwrap_or_default().to_owned()
}

fn signed(edge: &Edge, by: &Signer) -> Signed {
    let (size, root) = (edge.size(), edge.root());
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
    let note = sign(&checkpoint.text(), [by]).unwrap();
    Signed {
        origin: ORIGIN.into(),
        size,
        root,
        time: "2026-11-24T15:04:05Z".parse().unwrap(),
        checkpoint: note,
    }
}

fn read(journal: &Path) -> (SegmentHeader, Vec<Record>) {
    let mut groups = Groups::open(journal).unwrap().unwrap();
    let header = SegmentHeader {
        ledger_id: groups.ledger_id,
        first: 0,
        prev: Hash::default(),
        compressed: false,
        rewritten: 0,
    };
    let mut records = vec![];
    while let Some(group) = groups.next_group().unwrap() {
        for (entry, leaf) in group.entries.into_iter().zip(group.leaves) {
            let body = |b: frame::BodyRecord| SaltedBody { name: b.name, salt: b.salt, bytes: b.stored };
            records.push(Record {
                raw: entry.raw,
                leaf,
                summary: Summary::opaque(Time::now()),
                bodies: entry.bodies.into_iter().map(body).collect(),
                tiles: vec![],
            });
        }
    }
    (header, records)
}

/// One sealed segment, every CRC right.
fn write(journal: &Path, world: &World) {
    let mut bytes = world.header.encode();
    for (seq, record) in (0..).zip(&world.records) {
        bytes.extend(frame::encode(seq, std::slice::from_ref(record)).unwrap().bytes);
    }
    let count = world.records.len();
    let seal = Seal {
        next: count as u64,
        frames: u32::try_from(count).unwrap(),
        leaf: world.records.last().map_or(Hash::default(), |r| leaf_hash(&r.raw)),
        length: (bytes.len() + frame::SEAL) as u64,
    };
    bytes.extend(seal.encode());
    fs::write(segment_path(journal, 0), bytes).unwrap();
}

type Attack = fn(&mut World);

/// Without the log's key: the checkpoint that is served and kept is the last honest one.
const WITHOUT_KEY: &[(&str, Attack)] = &[
    ("nothing", |_| {}),
    ("flip a bit of an entry", |w| w.change(35)),
    ("change an entry, mend the chain", |w| {
        w.change(35);
        w.mend(35);
    }),
    ("drop an entry", |w| drop(w.records.remove(35))),
    ("repeat an entry", |w| {
        let again = w.records[35].clone();
        w.records.insert(35, again);
    }),
    ("reorder two entries", |w| w.records.swap(34, 35)),
    ("insert an entry, mend the chain", |w| {
        let again = w.records[35].clone();
        w.records.insert(35, again);
        w.mend(35);
    }),
    ("cut off the end", |w| w.records.truncate(35)),
    ("swap two bodies", |w| {
        let body = std::mem::take(&mut w.records[34].bodies);
        w.records[34].bodies = std::mem::replace(&mut w.records[35].bodies, body);
    }),
    ("forge a checkpoint with another key", |w| {
        w.change(35);
        w.mend(35);
        w.signed = signed(&w.edge(SIZE), &key(2));
        w.checkpoint = w.signed.checkpoint.clone();
    }),
    ("serve an old checkpoint", |w| w.checkpoint = signed(&w.edge(20), &key(1)).checkpoint),
    ("delete a tile", |w| w.deleted = vec!["tile/0/000.p/40"]),
    ("delete a bundle of entries", |w| w.deleted = vec!["tile/entries/000.p/40"]),
];

/// With the log's key and every file: whoever holds all of it.
const WITH_KEY: &[(&str, Attack)] = &[
    ("roll back and sign that", |w| {
        w.records.truncate(25);
        w.sign();
    }),
    ("fork: another end of the same size", |w| {
        w.records.truncate(SEEN);
        w.change(29);
        w.mend(29);
        w.sign();
    }),
    ("rewrite what the auditor saw, and grow", |w| {
        w.change(10);
        w.mend(10);
        w.sign();
    }),
    ("write an entry in another form, and sign that", |w| {
        w.records[35].raw = [b"{ ", &w.records[35].raw[1..]].concat().into();
        w.mend(36);
        w.sign();
    }),
    ("rewrite only what the auditor did not see yet", |w| {
        w.change(35);
        w.mend(35);
        w.sign();
    }),
];

#[tokio::test]
async fn who_notices_what() {
    let honest = World::honest().await;
    let mut fresh = State::default();
    fresh.trust(&[key(1).verifier().clone()]);
    let mut auditor = fresh.clone();
    let mut before = honest.clone();
    before.records.truncate(SEEN);
    before.sign();
    let files = before.files();
    auditor.follow(&mut |name| Ok(files.get(name).cloned())).unwrap();
    let mut table = String::new();
    for (who, attacks) in [("without the log's key", WITHOUT_KEY), ("with the log's key", WITH_KEY)] {
        for (name, attack) in attacks {
            let mut world = honest.clone();
            attack(&mut world);
            writeln!(table, "{name} ({who})").unwrap();
            let mut rows = world.of_files();
            rows.push(("log monitor", world.monitor(&auditor)));
            rows.push(("log monitor, new one", world.monitor(&fresh)));
            for (verifier, says) in rows {
                writeln!(table, "    {verifier:<22} {says}").unwrap();
            }
        }
    }
    // Roots depend on the random parts of entries.
    let hex = regex::Regex::new("[0-9a-f]{64}").unwrap();
    if foreign(Tool::PlainPython).is_some() {
        insta::assert_snapshot!(hex.replace_all(&table, "ROOT"));
    }
}
