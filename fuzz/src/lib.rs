//! One function per parser of outside bytes, for two runners: libFuzzer (`.ci/fuzz`) and, without it,
//! `tests/gate/hostile_parsers.rs`. A function returns, whatever the bytes; a panic is a finding.
//!
//! Seeds lie in `seeds/<name>/`; they are text where the format allows it.

use std::{path::Path, sync::OnceLock};

use bytes::Bytes;
use gatelog::{
    config::{Config, Environment},
    escape,
    event::{self, ContentType, Delivery, SubjectKind},
    facts::{
        Facts, Status,
        codeowners::{Resolved, Rules, owned},
    },
    github::check_run,
    ledger::{
        checkpoint::Checkpoint,
        cosignature::{Cosigner, CosigningKey, cosigned},
        entry::{Entry, Hash, Link, not_canonical},
        follow::State,
        index::Index,
        note::{self, Signer, Verifier},
        proof::TlogProof,
        quorum::Policy,
        summary::Summary,
        tile::{self, Tile},
        verify::verify,
        witness::AddCheckpoint,
    },
    policy::{Bundle, EventHeader, Input, judge_process},
    store::{
        journal::frame::{self, FrameHeader, Seal, SegmentHeader},
        wire::Take,
    },
    time::Time,
    verdict::{Control, Decision, Finding, FindingKind, Outcome, Verdict},
};
use serde_json::{Value, json};

mod answers;
mod evidence;

pub use answers::answers;
pub use evidence::evidence;

pub type Target = fn(&[u8]);

/// Name (of the fuzz target and of the folder of its seeds) and function.
pub const TARGETS: &[(&str, Target)] = &[
    ("webhook", webhook),
    ("journal", journal),
    ("entry", entry),
    ("codeowners", codeowners),
    ("patterns", patterns),
    ("policy", policy),
    ("data", data),
    ("archive", archive),
    ("config", config),
    ("answers", answers),
    ("page", page),
    ("tlog", tlog),
    ("witness", witness),
    ("evidence", evidence),
    ("command", command),
    ("judge", judge),
];

const NOW: &str = "2026-11-24T15:04:05Z";

fn now() -> Time {
    NOW.parse().expect("a constant")
}

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A comment on a pull request.
pub fn command(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = event::command::parse(&text);
    let _ = event::command::parse(&format!("/gatelog {text}"));
    let comment = json!({"user": {"id": 1, "login": "a", "type": "User"}, "body": text, "created_at": text});
    let payload = json!({"action": "created", "issue": {"pull_request": {}}, "comment": comment, "sender": comment["user"]});
    let _ = event::command::given("issue_comment", &payload);
}

/// What a judge process writes to the service.
pub fn judge(data: &[u8]) {
    let understood = judge_process::answers_in(data);
    // An answer has five bytes at least: the count comes of what was read.
    assert!(understood <= data.len() / 5, "{understood} answers in {} bytes", data.len());
    // The same bytes as one answer of each kind, with a length that is right.
    for kind in b"hlrnjed" {
        let length = u32::try_from(data.len() + 1).expect("an input is small");
        let _ = judge_process::answers_in(&[&length.to_le_bytes(), &[*kind][..], data].concat());
    }
}

/// The first line, and what follows it.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|b| *b == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// First line: `X-GitHub-Event`, then `form` for a form. The rest is the body.
pub fn webhook(data: &[u8]) {
    let (head, body) = first_line(data);
    let head = text(head);
    let mut words = head.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let content = if words.next() == Some("form") { ContentType::Form } else { ContentType::Json };
    let body = Bytes::copy_from_slice(body);
    let delivery = Delivery { guid: "1".into(), name, content, body, received_at: now() };
    let _ = event::payload_json(delivery.content.media(), &delivery.body);
    let Ok(event) = event::parse(&delivery) else { return };
    let _ = (event.subject(), event::handling(&event), event::lane(&event), event::is_look_again(&event));
    // What is an event to us is a document to every later reader.
    let payload = event::payload_json(delivery.content.media(), &delivery.body).expect("it was parsed");
    let header = EventHeader {
        name: event.name.clone(),
        action: event.action.clone(),
        delivery: Some(delivery.guid),
        received_at: now(),
        source: event.source,
        cause: event.cause,
    };
    if let Ok(input) = Input::new(told(&event), header, payload.clone(), &no_facts()) {
        let again =
            Input::splice(&input.facts_body(), payload.to_string().as_bytes()).expect("its own parts");
        assert_eq!(again.document(), input.document());
    }
}

pub(crate) fn no_facts() -> Facts {
    let time = now();
    Facts {
        time,
        repository: None,
        target: None,
        change: None,
        push: None,
        merge_group: None,
        teams: Default::default(),
        organizations: Default::default(),
        base_rules: None,
        secret_alerts: None,
        deployment: None,
        waivers: vec![],
        commands: vec![],
        facts: Status { complete: true, missing: vec![], fetched_at: time },
    }
}

/// Chunks of {length (2 bytes, little-endian; the highest bit: no checksum is mended), entries (1 byte),
/// payload} become a segment that is read and verified.
pub fn journal(data: &[u8]) {
    let _ = (SegmentHeader::decode(data), FrameHeader::decode(data), Seal::decode(data));
    let _ = frame::decode_body_start(&mut Take(data));
    for count in [1, 2, u32::MAX] {
        let _ = frame::decode_payload(&Bytes::copy_from_slice(data), count);
    }
    let mut segment = SegmentHeader {
        ledger_id: [7; 16],
        first: 0,
        prev: Hash::default(),
        compressed: false,
        rewritten: 0,
    }
    .encode();
    let (mut take, mut first) = (Take(data), 0u64);
    while let (Some(length), Some(count)) = (take.u16(), take.u8()) {
        let mended = length & 0x8000 == 0;
        let length = usize::from(length & 0x7fff).min(take.0.len());
        let payload = take.bytes(length).unwrap_or_default();
        if mended {
            segment.extend(framed(first, u32::from(count), payload));
            first += u64::from(count);
        } else {
            segment.extend_from_slice(payload);
        }
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join(format!("{:020}.seg", 0)), &segment).expect("written");
    let _ = verify(dir.path());
}

/// A frame whose checksums are right.
fn framed(first: u64, count: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = b"gFRM\0\0\0\0".to_vec();
    out.extend(first.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(crc32c::crc32c(&out).to_le_bytes());
    out.extend(payload);
    out.extend(crc32c::crc32c(payload).to_le_bytes());
    out
}

/// One entry, as a journal or a dump holds it.
pub fn entry(data: &[u8]) {
    let _ = (Link::parse(data), not_canonical(data));
    let Ok(entry) = Entry::parse(data) else { return };
    let mut index = Index::default();
    for seq in [entry.seq, 0] {
        index.apply(seq, &Summary::of(&entry, None));
    }
    let _ = (index.unjudged(), index.unreported());
    let mut bytes = Vec::new();
    let summary = Summary::of(&entry, None);
    summary.encode(&mut bytes);
    let _ = Summary::decode(&mut Take(&bytes)).expect("its own bytes");
    if let Ok(raw) = entry.canonical() {
        assert_eq!(not_canonical(&raw), None);
    }
}

/// First line: a path. The rest: CODEOWNERS.
pub fn codeowners(data: &[u8]) {
    let (path, file) = first_line(data);
    let (path, file) = (text(path), text(file));
    let rules = Rules::parse(&file);
    let (decision, lines) = (rules.decide(&path), file.lines().count());
    assert!(decision.is_none_or(|d| d.line as usize <= lines));
    assert!(rules.errors().iter().all(|e| e.line as usize <= lines));
    let _ = owned(&path, decision, &Resolved::default());
}

const PATTERNS: &str = r#"package controls.patterns

deny contains "glob" if glob.match(input.event.payload.pattern, input.event.payload.delimiters, input.event.payload.text)

deny contains "regex" if regex.match(input.event.payload.pattern, input.event.payload.text)

deny contains "quoted" if not glob.match(glob.quote_meta(input.event.payload.text), [], input.event.payload.text)
"#;

/// Three lines: a pattern, delimiters, a text.
pub fn patterns(data: &[u8]) {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    let (pattern, rest) = first_line(data);
    let (delimiters, text_of) = first_line(rest);
    let delimiters: Vec<String> = text(delimiters).chars().map(String::from).collect();
    let payload = json!({"pattern": text(pattern), "delimiters": delimiters, "text": text(text_of)});
    let bundle = BUNDLE.get_or_init(|| {
        Bundle::from_archive(&pack(&[("controls/patterns/patterns.rego", PATTERNS)])).expect("a constant")
    });
    let header = EventHeader {
        name: "push".into(),
        action: None,
        delivery: None,
        received_at: now(),
        source: event::Source::Github,
        cause: None,
    };
    let Ok(input) = Input::new(SubjectKind::None, header, payload, &no_facts()) else { return };
    let verdict = bundle.judge(&input);
    let said = format!("{verdict:?}");
    assert!(!said.contains("a panic") && !said.contains("took longer"), "{said}");
}

/// The archive of a bundle; the files must be in the order of their paths.
fn pack(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = b"gatelog bundle 1\n".to_vec();
    out.extend((files.len() as u64).to_be_bytes());
    for part in files.iter().flat_map(|(path, text)| [path, text]) {
        out.extend((part.len() as u64).to_be_bytes());
        out.extend(part.as_bytes());
    }
    out
}

/// Loading never judges; errors are shown to people.
fn load(archive: &[u8]) {
    match Bundle::from_archive(archive) {
        Ok(bundle) => {
            let again = Bundle::from_archive(&bundle.archive()).expect("its own archive");
            assert_eq!(again.digest(), bundle.digest());
        }
        Err(e) => {
            let said = e.to_string();
            assert!(!said.contains("(a panic)"), "{said}");
            assert!(!said.chars().any(|c| c != '\n' && escape::is_invisible(c)), "{said:?}");
        }
    }
}

/// A policy: admission, parser, names, rewriting.
pub fn policy(data: &[u8]) {
    load(&pack(&[("controls/x/x.rego", &text(data))]));
}

/// First line: the name of a data file. The rest: what is in it.
pub fn data(data: &[u8]) {
    let (name, file) = first_line(data);
    let path = format!("d/{}", text(name));
    let control = "package controls.x\n\ndeny contains \"no\" if data.d.x\n";
    load(&pack(&[("controls/x/x.rego", control), (&path, &text(file))]));
}

/// What a log, or somebody between, hands to those who check it: one file of any kind.
pub fn tlog(data: &[u8]) {
    let trusted = [Signer::new("example.com/log/1", &[1; 32]).expect("a name").verifier().clone()];
    if let Ok(parsed) = note::parse(data)
        && let Ok(checkpoint) = Checkpoint::parse(parsed.text)
    {
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
    let _ = Checkpoint::open(data, &trusted);
    let _ = Policy::parse(data);
    if let Some(request) = AddCheckpoint::parse(data) {
        assert_eq!(AddCheckpoint::parse(request.text().as_bytes()), Some(request));
    }
    if let Ok(proof) = TlogProof::parse(data) {
        assert_eq!(TlogProof::parse(proof.text().as_bytes()), Ok(proof.clone()));
        let _ = proof.verify(Hash([1; 32]), &trusted);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some(tile) = Tile::parse(text) {
            assert_eq!(tile.path(), text);
            let _ = tile.is_within(u64::MAX);
        }
        if let Ok(key) = text.parse::<Verifier>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        if let Ok(key) = text.parse::<Cosigner>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        let _ = Signer::parse(text);
    }
    let bytes = Bytes::copy_from_slice(data);
    if let Some(entries) = tile::decode_entries(&bytes) {
        assert_eq!(tile::encode_entries(&entries).as_deref(), Some(data));
    }
    let _ = tile::decode_hashes(data);
    // Every file of the log is this one: nothing of it is signed.
    let mut state = State::default();
    state.trust(&trusted);
    assert!(state.follow(&mut |_| Ok(Some(bytes.clone()))).is_err());
}

/// What a log says to a witness, a witness to a log, and somebody to those who verify: a request, a note with
/// cosignatures, a policy, a key.
pub fn witness(data: &[u8]) {
    let key = CosigningKey::new("witness.example/w1", &[2; 32]).expect("a name");
    let trusted = [key.cosigner().clone()];
    if let Some(request) = AddCheckpoint::parse(data) {
        assert_eq!(AddCheckpoint::parse(request.text().as_bytes()), Some(request.clone()));
        assert_eq!(request.text().as_bytes(), data);
    }
    if let Ok(parsed) = note::parse(data) {
        // What is on it already may be wrong; ours is not, and counts.
        let _ = cosigned(&parsed, &trusted);
        let line = key.cosign(parsed.text, now());
        let note = format!("{}\n{line}", parsed.text);
        let found = cosigned(&note::parse(note.as_bytes()).expect("a note"), &trusted).expect("ours");
        assert_eq!((found[0].time, &found[0].line), (now(), &line));
    }
    if let Ok(policy) = Policy::parse(data) {
        let _ = (policy.missing(&[]), policy.keys());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = text.parse::<Cosigner>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        let _ = CosigningKey::parse(text);
    }
}

/// The bytes that the ledger keeps of a bundle.
pub fn archive(data: &[u8]) {
    load(data);
    load(&[b"gatelog bundle 1\n", data].concat());
}

/// First line: `VARIABLE=value`. The rest: the file.
pub fn config(data: &[u8]) {
    let (variable, file) = first_line(data);
    let mut environment = Environment::new();
    if let Some((name, value)) = text(variable).split_once('=') {
        environment.insert(name.to_owned(), value.to_owned());
    }
    if let Ok(config) = Config::parse(Path::new("gatelog.toml"), &text(file), &environment) {
        let _ = (config.lines().len(), config.warnings());
    }
}

/// What people wrote, one text per line, shown in a check run.
pub fn page(data: &[u8]) {
    let said: Vec<String> = text(data).lines().map(str::to_owned).collect();
    let at = |n: usize| said.get(n % said.len().max(1)).cloned().unwrap_or_default();
    let finding = |n: usize| Finding {
        kind: FindingKind::Deny,
        msg: at(n),
        path: Some(at(n + 1)),
        line: Some(n as u64),
        commit: Some(at(n + 2)),
        who: Some(at(n + 3)),
        fix: Some(at(n + 4)),
    };
    let verdict = Verdict {
        decision: Decision::Deny,
        reason: at(0),
        controls: vec![Control {
            id: at(1),
            package: "controls.x".into(),
            title: at(2),
            severity: Some(at(3)),
            outcome: Outcome::Deny,
            evaluate_only: false,
            findings: (0..said.len().min(2000)).map(finding).collect(),
            skip_reason: None,
            waived_by: vec![],
        }],
        valid_until: None,
        bundle: "sha256:0".into(),
        engine: "x".into(),
        rewriter: 1,
        answers: vec![],
    };
    let context = check_run::Context {
        check_name: at(5),
        repository: "o/r".parse().expect("a constant"),
        head: "0123456789012345678901234567890123456789".parse().expect("a constant"),
        pull_request: Some(1),
        draft: false,
        judged_at: now(),
        entry: 1,
        leaf: "0".into(),
        tree_size: 2,
        root: "0".into(),
        in_the_way: None,
    };
    let shown = check_run::render(&verdict, &context);
    let visible = |s: &str| !s.chars().any(|c| c != '\n' && escape::is_invisible(c));
    assert!(shown.summary.len() <= 65_535 && shown.text.len() <= 65_535);
    assert!(!shown.title.contains('\n') && shown.title.chars().count() <= 255);
    assert!(visible(&shown.title) && visible(&shown.summary) && visible(&shown.text));
    let _ = Value::from(shown.text);
}

/// What policies are told that an event is about, as the gate does.
fn told(event: &event::Event) -> SubjectKind {
    match event::handling(event).judge {
        event::Judge::PullRequest => SubjectKind::PullRequest,
        event::Judge::Ref => SubjectKind::Ref,
        event::Judge::MergeGroup => SubjectKind::MergeGroup,
        event::Judge::Bare => SubjectKind::None,
    }
}
