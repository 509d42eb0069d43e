//! Postings: which entries are about what, so that a search reads no others.
//!
//! Kept in the catalog beside a sealed segment. No name of a person or a repository is in it: where an event
//! calls a repository otherwise than the one before, stands the number of that entry, and its payload has the
//! name as long as that is not erased.
//!
//! ```text
//! per key: tag 1 · what 16 · entries 4 · per entry: how much more than the one before it, LEB128
//! ```
//! The first is counted from the first entry of the segment. Keys ascend.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize as _;

use super::{
    entry::{Entry, Kind, VerdictData},
    summary::{Short, decision_code, head_hash, kind_code},
};
use crate::{
    event::{SubjectKind, repository_in},
    store::{journal::frame::FrameEntry, wire::Take},
    verdict::Decision,
};

/// What an entry is about, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Not read by this version of gatelog: it may be anything.
    Opaque,
    Kind(u8),
    /// Of a verdict.
    Decision(u8),
    Repository(u64),
    /// Repository and number.
    Pull(u64, u64),
    /// First bytes of the subject's head.
    Head(Short),
    /// An event that calls this repository otherwise than the one before in the segment.
    Name(u64),
}

/// Entries by what they are about, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Postings(BTreeMap<Key, Vec<u64>>);

/// What is looked for: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub repositories: Option<BTreeSet<u64>>,
    /// Number of the pull request.
    pub pull: Option<u64>,
    /// Hex digits that the subject's head begins with.
    pub head: Option<String>,
    pub kind: Option<Kind>,
    pub decision: Option<Decision>,
    /// Events that call a repository otherwise than before.
    pub names: bool,
}

impl Query {
    /// Whether it leaves out nothing.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self { repositories, pull, head, kind, decision, names } = self;
        repositories.is_none()
            && pull.is_none()
            && head.is_none()
            && kind.is_none()
            && decision.is_none()
            && !names
    }
}

/// Postings of a segment that is being read.
#[derive(Debug, Default)]
pub struct Made {
    postings: Postings,
    called: HashMap<u64, String>,
}

impl Made {
    /// The next entry.
    pub fn add(&mut self, seq: u64, stored: &FrameEntry) {
        let Ok(entry) = Entry::parse(&stored.raw) else { return self.postings.add(Key::Opaque, seq) };
        let subject = &entry.subject;
        let mut keys = vec![Key::Kind(kind_code(&entry.kind))];
        if entry.kind == Kind::Verdict
            && let Ok(data) = VerdictData::deserialize(&entry.data)
        {
            keys.push(Key::Decision(decision_code(data.decision)));
        }
        if let Some(repository) = subject.repository {
            keys.push(Key::Repository(repository));
        }
        if let (SubjectKind::PullRequest, Some(number)) = (subject.kind, subject.id) {
            // A pull request without its repository is found by its number.
            keys.push(Key::Pull(subject.repository.unwrap_or(u64::MAX), number));
        }
        keys.extend(subject.head.as_ref().map(|sha| Key::Head(head_hash(sha))));
        if let Some((repository, name)) = named(&entry, stored)
            && self.called.get(&repository) != Some(&name)
        {
            self.called.insert(repository, name);
            keys.push(Key::Name(repository));
        }
        keys.into_iter().for_each(|key| self.postings.add(key, seq));
    }

    #[must_use]
    pub fn done(self) -> Postings {
        self.postings
    }
}

/// What an event calls its repository.
fn named(entry: &Entry, stored: &FrameEntry) -> Option<(u64, String)> {
    let promised = (entry.kind == Kind::Event).then(|| entry.bodies.get("payload"))??;
    let payload = stored.bodies.iter().find(|b| b.name == "payload")?.bytes().ok()??;
    repository_in(&promised.media, &payload)
}

impl Postings {
    fn add(&mut self, key: Key, seq: u64) {
        self.0.entry(key).or_default().push(seq);
    }

    /// The entries that may be what is looked for: no other is.
    #[must_use]
    pub fn find(&self, query: &Query) -> BTreeSet<u64> {
        let Query { repositories, pull, head, kind, decision, names } = query;
        let of_repository = |r: u64| repositories.as_ref().is_none_or(|ids| ids.contains(&r));
        let mut all: Vec<BTreeSet<u64>> = vec![];
        match (repositories, pull) {
            (None, None) => {}
            (Some(_), None) => all.push(self.of(|k| matches!(k, Key::Repository(r) if of_repository(*r)))),
            (_, Some(number)) => {
                all.push(self.of(|k| matches!(k, Key::Pull(r, n) if n == number && of_repository(*r))));
            }
        }
        if let Some(wanted) = head {
            let wanted = &wanted[..wanted.len().min(2 * Short::default().len())];
            all.push(self.of(|k| matches!(k, Key::Head(h) if hex::encode(h).starts_with(wanted))));
        }
        if let Some(kind) = kind {
            let wanted = Key::Kind(kind_code(kind));
            all.push(self.of(|k| *k == wanted));
        }
        if let Some(decision) = decision {
            let wanted = Key::Decision(decision_code(*decision));
            all.push(self.of(|k| *k == wanted));
        }
        if *names {
            all.push(self.of(|k| matches!(k, Key::Name(_))));
        }
        let found = all.into_iter().reduce(|a, b| &a & &b).unwrap_or_default();
        &found | &self.of(|k| *k == Key::Opaque)
    }

    fn of(&self, is_it: impl Fn(&Key) -> bool) -> BTreeSet<u64> {
        self.0.iter().filter(|(key, _)| is_it(key)).flat_map(|(_, seqs)| seqs).copied().collect()
    }

    /// Repositories, and the events that call them otherwise than before.
    pub fn names(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.0.iter().filter_map(|(key, seqs)| match key {
            Key::Name(repository) => Some((*repository, &seqs[..])),
            _ => None,
        })
    }

    /// The same but for what is told by bodies, which may be erased.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        self.0.retain(|key, _| !matches!(key, Key::Name(_)));
        self
    }

    /// Their binary form, of a segment whose first entry is `first`.
    #[must_use]
    pub fn encode(&self, first: u64) -> Vec<u8> {
        let mut out = vec![];
        for (key, seqs) in &self.0 {
            let (tag, a, b) = key.parts();
            out.push(tag);
            out.extend_from_slice(&a.to_be_bytes());
            out.extend_from_slice(&b.to_be_bytes());
            // A segment has fewer.
            out.extend_from_slice(&u32::try_from(seqs.len()).unwrap_or(u32::MAX).to_le_bytes());
            let mut before = first;
            for seq in seqs {
                write_number(seq - before, &mut out);
                before = *seq;
            }
        }
        out
    }

    /// `None`: not what [`Postings::encode`] writes of a segment with the entries `first..next`.
    #[must_use]
    pub fn decode(bytes: &[u8], first: u64, next: u64) -> Option<Self> {
        let mut take = Take(bytes);
        let mut all = BTreeMap::new();
        while !take.0.is_empty() {
            let (tag, a, b) = (take.u8()?, take.array()?, take.array()?);
            let key = Key::of_parts(tag, u64::from_be_bytes(a), u64::from_be_bytes(b))?;
            let (mut seqs, mut before) = (vec![], first);
            for _ in 0..take.u32()? {
                before = before.checked_add(read_number(&mut take)?).filter(|seq| *seq < next)?;
                seqs.push(before);
            }
            all.insert(key, seqs);
        }
        Some(Self(all))
    }
}

impl Key {
    fn parts(self) -> (u8, u64, u64) {
        match self {
            Self::Opaque => (0, 0, 0),
            Self::Kind(code) => (1, code.into(), 0),
            Self::Decision(code) => (2, code.into(), 0),
            Self::Repository(id) => (3, id, 0),
            Self::Pull(repository, number) => (4, repository, number),
            Self::Head(head) => {
                let n = u128::from_be_bytes(head);
                // Its two halves.
                (5, (n >> 64) as u64, n as u64)
            }
            Self::Name(id) => (6, id, 0),
        }
    }

    fn of_parts(tag: u8, a: u64, b: u64) -> Option<Self> {
        Some(match tag {
            0 => Self::Opaque,
            1 => Self::Kind(u8::try_from(a).ok()?),
            2 => Self::Decision(u8::try_from(a).ok()?),
            3 => Self::Repository(a),
            4 => Self::Pull(a, b),
            5 => Self::Head((u128::from(a) << 64 | u128::from(b)).to_be_bytes()),
            6 => Self::Name(a),
            _ => return None,
        })
    }
}

/// LEB128: seven bits a byte, the lowest first, all but the last with the top bit set.
fn write_number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn read_number(take: &mut Take<'_>) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = take.u8()?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        prop_oneof![
            Just(Key::Opaque),
            any::<u8>().prop_map(Key::Kind),
            any::<u8>().prop_map(Key::Decision),
            any::<u64>().prop_map(Key::Repository),
            any::<(u64, u64)>().prop_map(|(a, b)| Key::Pull(a, b)),
            any::<Short>().prop_map(Key::Head),
            any::<u64>().prop_map(Key::Name),
        ]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(all in prop::collection::btree_map(key(), prop::collection::btree_set(7_u64..1 << 40, 1..20), 0..20)) {
            let all = Postings(all.into_iter().map(|(k, seqs)| (k, seqs.into_iter().collect())).collect());
            let bytes = all.encode(7);
            prop_assert_eq!(Postings::decode(&bytes, 7, 1 << 40), Some(all));
            for cut in 1..bytes.len() {
                // Cut between keys it is shorter, and never more.
                if let Some(less) = Postings::decode(&bytes[..cut], 7, 1 << 40) {
                    prop_assert!(less.encode(7) == bytes[..cut]);
                }
            }
        }

        #[test]
        fn whatever_stands_there_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Postings::decode(&bytes, 3, 1 << 20);
        }
    }

    #[test]
    fn what_lies_outside_of_the_segment_is_refused() {
        let all = Postings(BTreeMap::from([(Key::Kind(1), vec![7, 9])]));
        assert_eq!(Postings::decode(&all.encode(7), 7, 10), Some(all.clone()));
        assert_eq!(Postings::decode(&all.encode(7), 7, 9), None);
        assert_eq!(Postings::decode(&all.encode(0), u64::MAX - 1, u64::MAX), None);
    }

    #[test]
    fn all_that_is_given_must_hold() {
        let head = |b: u8| Key::Head([b; 16]);
        let all = Postings(BTreeMap::from([
            (Key::Kind(1), vec![1, 2, 4]),
            (Key::Kind(2), vec![3, 5]),
            (Key::Decision(5), vec![5]),
            (Key::Repository(7), vec![1, 2, 3, 5]),
            (Key::Repository(8), vec![4]),
            (Key::Pull(7, 12), vec![1, 3]),
            (Key::Pull(8, 12), vec![4]),
            (head(0x11), vec![1, 3]),
            (head(0x12), vec![4]),
            (Key::Name(7), vec![2]),
        ]));
        let found = |query: Query| all.find(&query).into_iter().collect::<Vec<_>>();
        let of = |ids: &[u64]| Some(ids.iter().copied().collect());
        let none = Query::default;
        assert!(none().is_everything());
        assert_eq!(found(Query { pull: Some(12), ..none() }), [1, 3, 4]);
        assert_eq!(found(Query { pull: Some(12), repositories: of(&[7]), ..none() }), [1, 3]);
        assert_eq!(found(Query { repositories: of(&[7, 8]), kind: Some(Kind::Event), ..none() }), [1, 2, 4]);
        assert!(found(Query { repositories: of(&[9]), ..none() }).is_empty());
        assert_eq!(found(Query { decision: Some(Decision::Deny), ..none() }), [5]);
        assert_eq!(found(Query { head: Some("111".into()), ..none() }), [1, 3]);
        assert_eq!(found(Query { head: Some("1".into()), ..none() }), [1, 3, 4]);
        let longer = "12".repeat(16) + "ffffffff";
        assert_eq!(found(Query { head: Some(longer), kind: Some(Kind::Event), ..none() }), [4]);
        assert_eq!(found(Query { names: true, ..none() }), [2]);
        let mut newer = all.clone();
        newer.add(Key::Opaque, 6);
        let found = newer.find(&Query { names: true, ..none() });
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [2, 6], "what cannot be read may be anything");
    }
}
