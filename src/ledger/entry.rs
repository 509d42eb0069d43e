//! Entries: the leaves of the ledger.
//!
//! An entry is RFC 8785 canonical JSON of at most [`MAX_ENTRY`] bytes, hashed as the raw bytes that
//! were stored. It names no person, repository or ref; such things live in bodies, which can be
//! erased while the chain stays whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Cause, Source, Subject},
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
    /// Names a run of our app that this ledger did not write: a stolen key or a rolled-back ledger.
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
    /// Not sent, for good: the repository is gone, or `publish = "observe"`.
    Withheld,
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
