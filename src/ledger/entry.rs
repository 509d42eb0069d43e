//! Entries: the leaves of the ledger.
//!
//! An entry is RFC 8785 canonical JSON of at most [`MAX_ENTRY`] bytes, hashed as the raw bytes that
//! were stored. It names no person, repository or ref; such things live in bodies, which can be
//! erased while the chain stays whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Cause, Sha, Source, Subject},
    time::Time,
    verdict::{Decision, Target},
};

/// Bytes of canonical JSON. C2SP tlog-tiles allows 65,535; a quarter keeps bundles of 256 small.
pub const MAX_ENTRY: usize = 16 * 1024;

/// Version of the entry format, field `v`.
pub const FORMAT: u64 = 1;

/// SHA-256 with a domain tag: 0x00 a leaf, 0x01 a node (RFC 6962 §2.1), 0x02 a body's commitment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// The largest integer an entry may hold: what every JSON reader keeps exactly (RFC 8785 §3.2.2.3).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// An entry as it is read back. Unknown kinds and fields are kept in the raw bytes and verify.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub v: u64,
    pub seq: u64,
    pub time: Time,
    pub kind: Kind,
    /// Leaf hash of the entry before; zeros at seq 0.
    pub prev: Hash,
    pub subject: Subject,
    /// Idempotency key: `delivery:<GUID>`, `verdict:<event seq>` …
    pub key: String,
    /// Earlier entries this one answers.
    #[serde(default)]
    pub refs: Vec<u64>,
    /// Name → commitment to a body kept beside the chain.
    #[serde(default)]
    pub bodies: BTreeMap<String, BodyRef>,
    /// One object per kind: [`EventData`], [`VerdictData`], [`ReportData`] … opaque to the chain.
    pub data: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRef {
    /// `SHA-256(0x02 ‖ salt₃₂ ‖ body)`.
    pub commit: Hash,
    pub size: u64,
    /// Media type.
    #[serde(rename = "type")]
    pub media: String,
}

/// The kinds gatelog writes. Others verify as opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Event,
    Verdict,
    Report,
    /// A bundle became active.
    Policy,
    Waiver,
    Reconcile,
    Erasure,
    Key,
    /// Started, stopped, rebuilt: gaps are visible.
    Service,
    #[serde(untagged)]
    Unknown(String),
}

/// `data` of an `event`. The entry's `time` is when it was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventData {
    pub name: String,
    pub action: Option<String>,
    pub source: Source,
    pub cause: Option<Cause>,
    /// Whatever sets this event apart; empty for an ordinary one.
    pub flags: Vec<Flag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The same GUID came with another body: key `delivery:<GUID>#2`.
    OtherBody,
    /// The same body came under another GUID. GitHub signs only the body, so it gives no facts.
    Replayed,
    /// Well signed, but not JSON, or not the shape GitHub documents.
    Unreadable,
    /// Of our own app: recorded, not judged.
    OwnApp,
    /// Names a run of our app that this ledger did not write: a stolen key or a rolled-back ledger. Not set
    /// again for the same bytes once an operator has looked at them.
    UnknownRun,
}

/// `data` of a `verdict`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictData {
    pub decision: Decision,
    pub bundle: String,
    pub engine: String,
    pub rewriter: u32,
    pub valid_until: Option<Time>,
    /// What it publishes; `null`: nothing.
    pub target: Option<Target>,
    /// The newer event it was judged with.
    pub superseded_by: Option<u64>,
    /// Of a push to a watched branch: whether what landed was allowed and had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing: Option<LandingData>,
    /// What the event does against the gate itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tampering: Option<TamperingData>,
    /// Of what is not itself a pull request: the numbers of those that a merge group carries, that a push landed,
    /// that brought a deployed commit; of what was no merge perhaps not all. Absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulls: Option<Vec<u64>>,
    /// Entries of the exceptions that excused something: that asked for or granted it, and that agreed to it. Absent:
    /// nothing was judged, or an older gatelog wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waivers: Option<Vec<u64>>,
}

/// Something done against the gate: a forged check, weakened rules, an App that was taken away. Names and the
/// text of the alert stand in the body `tampering`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TamperingData {
    /// `forged_check`, `forged_status` (of our name, by somebody else), `unknown_run` (of our App, not in the
    /// ledger), `rules_weakened`, `access_lost`.
    pub kind: String,
    /// A forged check or status lets a change pass where the rule is not bound to our App.
    pub passes: bool,
    /// The entry that was alerted for the same a short while before; this one is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
}

/// The merge verdict: what landed on a watched branch, beside what the policies say of the push. Names of
/// people stand in the body `landing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandingData {
    /// `merge_group`, `merge`, `squash`, `rebase`, `bypass`, `direct`, as the fact `landed` says; `unknown`:
    /// it could not be told.
    pub kind: String,
    /// Whether GitHub demanded our check there: `bound`, `unbound`, `missing` or `unknown`.
    pub required: String,
    /// GitHub's own record says that somebody bypassed its rules; `null`: we may not read it.
    pub bypassed: Option<bool>,
    /// Why this is an exception: `not_allowed`, `not_required`, `not_bound`, `bypassed`, `unknown`. Empty: it
    /// is none.
    pub exceptions: Vec<String>,
    /// The entry of an earlier merge verdict on the same push, which this one takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<u64>,
}

/// `data` of a `waiver`: one step in the life of an exception. Owner, reason, names and paths stand in the
/// body `waiver`; what it is about in the subject (repository; pull request and head, if it is tied to one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverData {
    pub step: WaiverStep,
    pub break_glass: bool,
    /// The first entry of the exception this is a step of; `null`: it begins here, or nothing came of it.
    pub of: Option<u64>,
    /// Ids of controls; `*`: every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Holds at this head of the pull request only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Sha>,
    /// Until when somebody else must have reviewed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_due: Option<Time>,
    /// `comment` or `operator`.
    pub via: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaiverStep {
    /// Waits for a second person.
    Requested,
    /// Holds from now on.
    Granted,
    /// A second person agreed: the request of `of` holds from now on.
    Approved,
    Refused,
    /// Ended before its time.
    Revoked,
    /// A break-glass was looked at afterwards.
    Reviewed,
    /// The time for that look has passed.
    Overdue,
}

/// `data` of a `report`: what was written to GitHub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportData {
    pub target: Target,
    pub result: ReportResult,
    pub check_run: Option<u64>,
    /// `success`, `failure`, or `null` while `in_progress`.
    pub conclusion: Option<String>,
    /// The verdicts (or, while in progress, events) it shows.
    pub covers: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportResult {
    Created,
    Updated,
    /// GitHub showed it already.
    Unchanged,
    /// Not sent, for good: the repository is gone, or the pull request was closed first. Run and conclusion
    /// are what GitHub goes on to show.
    Withheld,
    /// It was sent, and whether GitHub took it is not known: an earlier try ended without an answer, and now
    /// there is nothing left to ask. The conclusion is what may stand there.
    Unknown,
}

/// An entry to be: what the caller says. The sequencer adds `seq`, `time`, `prev` and commitments.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: Kind,
    pub subject: Subject,
    pub key: Key,
    pub refs: Vec<Ref>,
    /// Name → bytes and media type.
    pub bodies: Vec<(String, Body)>,
    pub data: serde_json::Value,
}

#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Bytes,
    pub media: &'static str,
}

/// An earlier entry: one that exists, or one of the same group by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ref {
    Seq(u64),
    InGroup(usize),
}

/// Idempotency keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `delivery:<GUID>`. A delivery that came before answers with the first entry; the same GUID
    /// with another body becomes `delivery:<GUID>#2`; the same body under another GUID is flagged.
    Delivery { guid: String },
    /// `verdict:<seq of the event>`
    Verdict(Ref),
    /// As it stands. A key that exists answers with the first entry.
    Plain(String),
    /// `<prefix>:<own seq>`: for entries that nothing could repeat, such as `report` and `service`.
    Own(&'static str),
}

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub seq: u64,
    pub leaf: Hash,
    /// The key existed: nothing was written, `seq` is the first entry's.
    pub duplicate: bool,
    /// Flag set by the sequencer ([`Flag::OtherBody`] or [`Flag::Replayed`]).
    pub flag: Option<Flag>,
}

/// Why something cannot be an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("it has {0} bytes, the limit is {MAX_ENTRY}")]
    TooLarge(usize),
    #[error("{0} is not an integer below 2^53")]
    Number(String),
    #[error("{0}")]
    Json(String),
}

impl Entry {
    /// The bytes that are stored and hashed: RFC 8785.
    ///
    /// # Errors
    /// More than [`MAX_ENTRY`] bytes, or a number that not every JSON reader would keep.
    pub fn canonical(&self) -> Result<Bytes, EntryError> {
        let value = serde_json::to_value(self).map_err(|e| EntryError::Json(e.to_string()))?;
        check_numbers(&value)?;
        let raw = serde_json_canonicalizer::to_vec(&value).map_err(|e| EntryError::Json(e.to_string()))?;
        if raw.len() > MAX_ENTRY {
            return Err(EntryError::TooLarge(raw.len()));
        }
        Ok(raw.into())
    }

    /// # Errors
    /// Not JSON, or a field that gatelog acts on has another shape. Such an entry (of a newer
    /// gatelog) still verifies: see [`Link`].
    pub fn parse(raw: &[u8]) -> Result<Self, EntryError> {
        serde_json::from_slice(raw).map_err(|e| EntryError::Json(e.to_string()))
    }
}

/// What binds an entry to the one before and to its bodies: all that verification needs to read, so
/// that unknown kinds and fields verify as opaque.
#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    pub v: u64,
    pub seq: u64,
    pub time: Time,
    pub prev: Hash,
    #[serde(default)]
    pub bodies: BTreeMap<String, BodyRef>,
}

impl Link {
    /// # Errors
    /// Not JSON, or without one of these fields.
    pub fn parse(raw: &[u8]) -> Result<Self, EntryError> {
        serde_json::from_slice(raw).map_err(|e| EntryError::Json(e.to_string()))
    }
}

/// What keeps raw bytes from being what gatelog would have written; `None` if nothing does.
/// A lint: hashes are over the raw bytes, whatever they are.
#[must_use]
pub fn not_canonical(raw: &[u8]) -> Option<EntryError> {
    if raw.len() > MAX_ENTRY {
        return Some(EntryError::TooLarge(raw.len()));
    }
    let json = |e: &dyn std::fmt::Display| Some(EntryError::Json(e.to_string()));
    let value: serde_json::Value = match serde_json::from_slice(raw) {
        Ok(value) => value,
        Err(e) => return json(&e),
    };
    if let Err(e) = check_numbers(&value) {
        return Some(e);
    }
    match serde_json_canonicalizer::to_vec(&value) {
        Ok(canonical) if canonical == raw => None,
        Ok(_) => json(&"not in the form of RFC 8785"),
        Err(e) => json(&e),
    }
}

fn check_numbers(value: &serde_json::Value) -> Result<(), EntryError> {
    use serde_json::Value;
    match value {
        Value::Number(n) => {
            let size = n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|n| n <= MAX_INTEGER) {
                Ok(())
            } else {
                Err(EntryError::Number(n.to_string()))
            }
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

impl Kind {
    /// As it stands in the entry.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Event => "event",
            Self::Verdict => "verdict",
            Self::Report => "report",
            Self::Policy => "policy",
            Self::Waiver => "waiver",
            Self::Reconcile => "reconcile",
            Self::Erasure => "erasure",
            Self::Key => "key",
            Self::Service => "service",
            Self::Unknown(name) => name,
        }
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for Hash {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let mut out = [0; 32];
        hex::decode_to_slice(s, &mut out)
            .map_err(|_| format!("`{}` is not 64 hex digits", s.escape_debug()))?;
        Ok(Self(out))
    }
}
impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(data: serde_json::Value) -> Entry {
        Entry {
            v: FORMAT,
            seq: 7,
            time: "2026-11-24T15:04:05Z".parse().unwrap(),
            kind: Kind::Event,
            prev: Hash([0xab; 32]),
            subject: Subject { repository: Some(5), ..Subject::NONE },
            key: "delivery:1".into(),
            refs: vec![],
            bodies: BTreeMap::new(),
            data,
        }
    }

    #[test]
    fn golden_bytes() {
        let raw = entry(serde_json::json!({"name": "push", "flags": []})).canonical().unwrap();
        let expected = concat!(
            r#"{"bodies":{},"data":{"flags":[],"name":"push"},"key":"delivery:1","kind":"event","prev":"#,
            r#""abababababababababababababababababababababababababababababababab","refs":[],"seq":7,"#,
            r#""subject":{"kind":"none","repository":5},"time":"2026-11-24T15:04:05.000000Z","v":1}"#,
        );
        assert_eq!(std::str::from_utf8(&raw).unwrap(), expected);
        assert_eq!(not_canonical(&raw), None);
        assert_eq!(Entry::parse(&raw).unwrap().canonical().unwrap(), raw);
    }

    #[test]
    fn numbers_that_readers_would_change_are_refused() {
        for bad in [serde_json::json!(1.5), serde_json::json!(1_u64 << 53), serde_json::json!(-(1_i64 << 53))]
        {
            let error = entry(serde_json::json!({"deep": [{"n": bad}]})).canonical().unwrap_err();
            assert!(matches!(error, EntryError::Number(_)), "{error}");
        }
        entry(serde_json::json!({"n": MAX_INTEGER})).canonical().unwrap();
    }

    #[test]
    fn the_limit_is_exact() {
        let spare = MAX_ENTRY - entry(serde_json::json!({"s": ""})).canonical().unwrap().len();
        entry(serde_json::json!({"s": "x".repeat(spare)})).canonical().unwrap();
        let over = entry(serde_json::json!({"s": "x".repeat(spare + 1)})).canonical();
        assert_eq!(over.unwrap_err(), EntryError::TooLarge(MAX_ENTRY + 1));
    }

    #[test]
    fn other_writings_of_the_same_json_are_told() {
        assert!(not_canonical(br#"{"b":1,"a":2}"#).is_some());
        assert!(not_canonical(br#"{"a": 1}"#).is_some());
        assert!(not_canonical(br#"{"a":1.0}"#).is_some());
        assert!(not_canonical(br#"{"a":1}"#).is_none());
    }
}
