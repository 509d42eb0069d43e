//! The part of an entry that look-ups need, in a fixed binary form.
//!
//! Summaries are kept beside the entries in sequential records, so that the index of a ledger with
//! millions of entries is rebuilt at open without parsing JSON. They are a view: the journal can
//! always make them again.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::entry::{Entry, Kind, ReportData, VerdictData};
use crate::{
    event::{Sha, SubjectKind},
    store::wire::Take,
    time::Time,
    verdict::{Decision, Target},
};

/// A hash cut to 16 bytes. Two that are equal by chance are not to be expected (2^64 tries), so
/// look-ups need not read the entry to confirm.
pub type Short = [u8; 16];

/// The ledger's own secret, for fingerprints of bodies: without it a fingerprint of a guessable body
/// tells nothing.
#[derive(Clone)]
pub struct Secret(pub Zeroizing<[u8; 32]>);

impl Secret {
    /// HMAC-SHA-256 of a body, 16 bytes.
    #[must_use]
    pub fn fingerprint(&self, body: &[u8]) -> Short {
        // HMAC takes keys of any length, so a key of 32 bytes cannot be refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.0) else { return Short::default() };
        mac.update(body);
        cut(mac.finalize().into_bytes().into())
    }
}

/// What an entry is to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub time: Time,
    /// Kinds of a newer gatelog are all `Unknown("")`.
    pub kind: Kind,
    pub about: SubjectKind,
    pub repository: Option<u64>,
    /// Pull request number, deployment or workflow run id.
    pub id: Option<u64>,
    /// Of the subject's head.
    pub head: Option<Short>,
    /// Of the idempotency key.
    pub key: Short,
    /// Of the body of a delivery; gone when the body was erased.
    pub fingerprint: Option<Short>,
    /// Of a verdict: what it decided and which event it answers.
    pub verdict: Option<(Decision, u64)>,
    /// Of a verdict: what it publishes; of a report: what was written.
    pub target: Option<Short>,
    /// Of a report: the entries it shows.
    pub covers: Vec<u64>,
}

impl Summary {
    /// `fingerprint`: of the delivery's body, if there is one.
    #[must_use]
    pub fn of(entry: &Entry, fingerprint: Option<Short>) -> Self {
        let mut summary = Self {
            time: entry.time,
            kind: kind_of(kind_code(&entry.kind)),
            about: entry.subject.kind,
            repository: entry.subject.repository,
            id: entry.subject.id,
            head: entry.subject.head.as_ref().filter(|sha| !sha.is_zero()).map(head_hash),
            key: key_hash(&entry.key),
            fingerprint,
            verdict: None,
            target: None,
            covers: vec![],
        };
        match entry.kind {
            Kind::Verdict => summary.read_verdict(entry),
            Kind::Report => summary.read_report(entry),
            _ => {}
        }
        summary
    }

    /// Of an entry of a newer gatelog, which this one cannot read: no look-up finds it.
    #[must_use]
    pub fn opaque(time: Time) -> Self {
        Self {
            time,
            kind: Kind::Unknown(String::new()),
            about: SubjectKind::None,
            repository: None,
            id: None,
            head: None,
            key: Short::default(),
            fingerprint: None,
            verdict: None,
            target: None,
            covers: vec![],
        }
    }

    fn read_verdict(&mut self, entry: &Entry) {
        use serde::Deserialize as _;
        let event = entry.key.strip_prefix("verdict:").and_then(|s| s.parse().ok());
        if let (Some(event), Ok(data)) = (event, VerdictData::deserialize(&entry.data)) {
            self.verdict = Some((data.decision, event));
            self.target = data.target.as_ref().map(target_hash);
        }
    }

    fn read_report(&mut self, entry: &Entry) {
        use serde::Deserialize as _;
        if let Ok(data) = ReportData::deserialize(&entry.data) {
            self.target = Some(target_hash(&data.target));
            self.covers = data.covers;
        }
    }

    /// Adds the binary form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let decision = self.verdict.map_or(0, |(d, _)| decision_code(d));
        out.extend_from_slice(&[kind_code(&self.kind), about_code(self.about), decision]);
        out.extend_from_slice(&self.time.unix_micros().to_le_bytes());
        for number in [self.repository, self.id, self.verdict.map(|(_, event)| event)] {
            out.extend_from_slice(&number.map_or(u64::MAX, |n| n).to_le_bytes());
        }
        out.extend_from_slice(&self.key);
        for hash in [self.head, self.fingerprint, self.target] {
            out.extend_from_slice(&hash.unwrap_or_default());
        }
        let covers = u16::try_from(self.covers.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&covers.to_le_bytes());
        for seq in self.covers.iter().take(covers.into()) {
            out.extend_from_slice(&seq.to_le_bytes());
        }
    }

    /// `None`: not the form that [`Summary::encode`] writes.
    #[must_use]
    pub fn decode(take: &mut Take<'_>) -> Option<Self> {
        let (kind, about, decision) = (take.u8()?, take.u8()?, take.u8()?);
        let time = Time::from_unix_micros(take.i64()?)?;
        let mut number = || take.u64().map(|n| (n != u64::MAX).then_some(n));
        let (repository, id, event) = (number()?, number()?, number()?);
        let key = take.array()?;
        let mut hash = || take.array::<16>().map(|h| (h != Short::default()).then_some(h));
        let (head, fingerprint, target) = (hash()?, hash()?, hash()?);
        let covers = (0..take.u16()?).map(|_| take.u64()).collect::<Option<_>>()?;
        Some(Self {
            time,
            kind: kind_of(kind),
            about: about_of(about)?,
            repository,
            id,
            head,
            key,
            fingerprint,
            verdict: decision_of(decision).zip(event),
            target,
            covers,
        })
    }
}

/// Of an idempotency key.
#[must_use]
pub fn key_hash(key: &str) -> Short {
    cut(Sha256::digest(key).into())
}

/// Git object ids are hashes already: their first 16 bytes.
#[must_use]
pub fn head_hash(sha: &Sha) -> Short {
    let mut out = Short::default();
    // A Sha has at least 40 hex digits.
    let _ = hex::decode_to_slice(&sha.as_str()[..32], &mut out);
    out
}

/// Of a target: repository, sha and check name.
#[must_use]
pub fn target_hash(target: &Target) -> Short {
    cut(Sha256::digest(format!("{} {} {}", target.repository, target.sha, target.check)).into())
}

fn cut(hash: [u8; 32]) -> Short {
    let mut out = Short::default();
    out.copy_from_slice(&hash[..16]);
    out
}

const KINDS: [Kind; 9] = [
    Kind::Event,
    Kind::Verdict,
    Kind::Report,
    Kind::Policy,
    Kind::Waiver,
    Kind::Reconcile,
    Kind::Erasure,
    Kind::Key,
    Kind::Service,
];
// The place of each is its code on disk: new ones at the end.
const ABOUTS: [SubjectKind; 18] = [
    SubjectKind::PullRequest,
    SubjectKind::Commit,
    SubjectKind::Ref,
    SubjectKind::MergeGroup,
    SubjectKind::Deployment,
    SubjectKind::WorkflowRun,
    SubjectKind::Organization,
    SubjectKind::None,
    SubjectKind::WorkflowJob,
    SubjectKind::SecretAlert,
    SubjectKind::Ruleset,
    SubjectKind::BranchProtection,
    SubjectKind::Member,
    SubjectKind::Team,
    SubjectKind::Installation,
    SubjectKind::Issue,
    SubjectKind::Release,
    SubjectKind::Repository,
];
const DECISIONS: [Decision; 5] =
    [Decision::Allow, Decision::Superseded, Decision::Pending, Decision::Error, Decision::Deny];

/// Place in `all`, from one; 0 where it is not there.
fn code<T: PartialEq>(all: &[T], x: &T) -> u8 {
    all.iter().zip(1..).find_map(|(y, code)| (x == y).then_some(code)).unwrap_or(0)
}
fn of_code<T: Clone>(all: &[T], code: u8) -> Option<T> {
    all.get(usize::from(code).checked_sub(1)?).cloned()
}
pub(super) fn kind_code(kind: &Kind) -> u8 {
    code(&KINDS, kind)
}
fn kind_of(n: u8) -> Kind {
    of_code(&KINDS, n).unwrap_or_else(|| Kind::Unknown(String::new()))
}
fn about_code(about: SubjectKind) -> u8 {
    code(&ABOUTS, &about)
}
fn about_of(n: u8) -> Option<SubjectKind> {
    of_code(&ABOUTS, n)
}
pub(super) fn decision_code(decision: Decision) -> u8 {
    code(&DECISIONS, &decision)
}
fn decision_of(n: u8) -> Option<Decision> {
    of_code(&DECISIONS, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Summary {
        Summary {
            time: "2026-11-24T15:04:05.000001Z".parse().unwrap(),
            kind: Kind::Report,
            about: SubjectKind::PullRequest,
            repository: Some(7),
            id: Some(12),
            head: Some([1; 16]),
            key: [2; 16],
            fingerprint: Some([3; 16]),
            verdict: Some((Decision::Deny, 0)),
            target: Some([4; 16]),
            covers: vec![1, 2, 1 << 40],
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let bare = Summary {
            kind: Kind::Unknown(String::new()),
            about: SubjectKind::None,
            repository: None,
            id: None,
            head: None,
            fingerprint: None,
            verdict: None,
            target: None,
            covers: vec![],
            ..full()
        };
        for summary in [full(), bare] {
            let mut bytes = vec![];
            summary.encode(&mut bytes);
            let mut take = Take(&bytes);
            assert_eq!(Summary::decode(&mut take), Some(summary));
            assert!(take.0.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(Summary::decode(&mut Take(&bytes[..cut])), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_code_of_a_subject_stays_what_it_was() {
        let codes: Vec<(&str, u8)> = ABOUTS.iter().map(|a| (a.as_str(), about_code(*a))).collect();
        let first = ["pull_request", "commit", "ref", "merge_group", "deployment", "workflow_run"];
        let then = ["organization", "none", "workflow_job", "secret_alert", "ruleset", "branch_protection"];
        let last = ["member", "team", "installation", "issue", "release", "repository"];
        let wanted: Vec<(&str, u8)> = first.into_iter().chain(then).chain(last).zip(1..).collect();
        assert_eq!(codes, wanted);
        for about in ABOUTS {
            // The name in the entry is the same, and none is left out.
            assert_eq!(serde_json::to_value(about).unwrap(), about.as_str());
            assert_eq!(about_of(about_code(about)), Some(about));
        }
    }

    #[test]
    fn a_head_is_its_first_sixteen_bytes() {
        let sha: Sha = "00112233445566778899aabbccddeeff00112233".parse().unwrap();
        assert_eq!(hex::encode(head_hash(&sha)), "00112233445566778899aabbccddeeff");
    }
}
