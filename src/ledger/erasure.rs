//! Erasing bodies: which ones, on whose word, and how the ledger tells of it.
//!
//! One `erasure` entry per run names the reason and, in its body `list`, every body that goes. It is
//! durable before the first of them goes, so an absent body without an erasure that names it is always
//! damage. The list holds entry numbers only and is never erased itself.
//!
//! ```text
//! {"facts": [7, [10, 12]], "payload": [6]}     `facts` of entries 7, 10, 11 and 12; `payload` of 6
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entry::{Body, Draft, Entry, Key, Kind, Ref};
use crate::event::Subject;

pub mod people;
pub mod plan;
pub mod run;

/// Name of the body of an `erasure` entry.
pub const LIST: &str = "list";

/// Entry numbers: one bit for each, in blocks of 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqSet(BTreeMap<u64, u64>);

impl SeqSet {
    pub fn insert(&mut self, seq: u64) {
        *self.0.entry(seq / 64).or_default() |= 1 << (seq % 64);
    }

    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.0.get(&(seq / 64)).is_some_and(|block| block & (1 << (seq % 64)) != 0)
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let in_block = |(at, block): (&u64, &u64)| {
            let (at, block) = (*at, *block);
            (0..64).filter(move |bit| block & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        };
        self.0.iter().flat_map(in_block)
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.values().map(|block| u64::from(block.count_ones())).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number of `from..to` is in it.
    fn meets(&self, from: u64, to: u64) -> bool {
        let inside = |seq: u64| (from..to).contains(&seq);
        let mut blocks = self.0.range(from / 64..=to / 64);
        blocks.any(|(at, block)| (0..64).any(|b| block & (1 << b) != 0 && inside(at * 64 + b)))
    }

    /// `[7, [10, 12]]`: numbers, and ranges with both ends.
    fn to_json(&self) -> Value {
        let mut ranges: Vec<(u64, u64)> = vec![];
        for seq in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges.into_iter().map(|(a, b)| if a == b { json!(a) } else { json!([a, b]) }).collect()
    }

    /// `None`: not what [`SeqSet::to_json`] writes, or a number that is not below `end`.
    fn of_json(value: &Value, end: u64) -> Option<Self> {
        let (mut set, mut next) = (Self::default(), 0);
        for item in value.as_array()? {
            let (a, b) = match item.as_array() {
                Some(pair) if pair.len() == 2 => (pair[0].as_u64()?, pair[1].as_u64()?),
                Some(_) => return None,
                None => (item.as_u64()?, item.as_u64()?),
            };
            if a < next || b < a || b >= end {
                return None;
            }
            (a..=b).for_each(|seq| set.insert(seq));
            next = b + 1;
        }
        Some(set)
    }
}

/// Bodies, by name and entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies(BTreeMap<String, SeqSet>);

impl Bodies {
    pub fn insert(&mut self, seq: u64, name: &str) {
        match self.0.get_mut(name) {
            Some(set) => set.insert(seq),
            None => self.0.entry(name.to_owned()).or_default().insert(seq),
        }
    }

    #[must_use]
    pub fn contains(&self, seq: u64, name: &str) -> bool {
        self.0.get(name).is_some_and(|set| set.contains(seq))
    }

    /// Whether a body of this entry goes.
    #[must_use]
    pub fn has_entry(&self, seq: u64) -> bool {
        self.0.values().any(|set| set.contains(seq))
    }

    /// Whether it names a body of an entry in `from..to`.
    #[must_use]
    pub fn meets(&self, from: u64, to: u64) -> bool {
        self.0.values().any(|set| set.meets(from, to))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(SeqSet::is_empty)
    }

    /// The entries whose body of this name goes.
    pub fn entries_with(&self, name: &str) -> impl Iterator<Item = u64> + '_ {
        self.0.get(name).into_iter().flat_map(SeqSet::iter)
    }

    /// All entries, ascending.
    #[must_use]
    pub fn entries(&self) -> SeqSet {
        let mut all = SeqSet::default();
        self.0.values().flat_map(SeqSet::iter).for_each(|seq| all.insert(seq));
        all
    }

    pub fn each(&self) -> impl Iterator<Item = (&str, &SeqSet)> {
        self.0.iter().map(|(name, set)| (name.as_str(), set))
    }

    /// Takes in what `other` names.
    pub fn extend(&mut self, other: &Self) {
        for (name, set) in &other.0 {
            let here = self.0.entry(name.clone()).or_default();
            set.iter().for_each(|seq| here.insert(seq));
        }
    }

    /// The body `list` of an erasure.
    #[must_use]
    pub fn to_list(&self) -> Vec<u8> {
        let map: serde_json::Map<_, _> = self.0.iter().map(|(n, s)| (n.clone(), s.to_json())).collect();
        Value::Object(map).to_string().into_bytes()
    }

    /// Of the erasure that is entry `erasure`: it can only name what came before it.
    #[must_use]
    pub fn of_list(list: &[u8], erasure: u64) -> Option<Self> {
        let map: BTreeMap<String, Value> = serde_json::from_slice(list).ok()?;
        let sets = map.into_iter().map(|(name, v)| Some((name, SeqSet::of_json(&v, erasure)?)));
        sets.collect::<Option<_>>().map(Self)
    }
}

/// Who or what asked for an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Whoever may use the admin socket or write to the ledger's files.
    LocalOperator,
    /// `[ledger.retention]`
    Retention,
}

/// `data` of an `erasure`. Nothing here says whom it was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureData {
    pub cause: Cause,
    pub reason: String,
    /// How many bodies and entries the list names.
    pub bodies: u64,
    pub entries: u64,
}

/// An erasure as verifiers read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub seq: u64,
    pub reason: String,
    pub bodies: Bodies,
}

impl Erasure {
    /// `list`: the body of that name, checked against its commitment. `None`: not an erasure that
    /// gatelog writes.
    #[must_use]
    pub fn read(entry: &Entry, list: &[u8]) -> Option<Self> {
        let data = ErasureData::deserialize(&entry.data).ok().filter(|_| entry.kind == Kind::Erasure)?;
        let bodies = Bodies::of_list(list, entry.seq)?;
        Some(Self { seq: entry.seq, reason: data.reason, bodies })
    }
}

/// Bodies that nothing may erase: without the list nobody could tell an erasure from damage.
#[must_use]
pub fn is_kept_for_ever(kind: &Kind) -> bool {
    *kind == Kind::Erasure
}

/// The entry of a run. `about`: the entry that was named, where one was.
#[must_use]
pub fn draft(data: &ErasureData, bodies: &Bodies, about: Option<u64>) -> Draft {
    let list = Body { bytes: bodies.to_list().into(), media: "application/json" };
    Draft {
        kind: Kind::Erasure,
        subject: Subject::NONE,
        key: Key::Own("erasure"),
        refs: about.into_iter().map(Ref::Seq).collect(),
        bodies: vec![(LIST.to_owned(), list)],
        data: json!(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_and_is_short() {
        let mut bodies = Bodies::default();
        for seq in [7, 10, 11, 12, 63, 64, 200] {
            bodies.insert(seq, "facts");
        }
        bodies.insert(0, "payload");
        let list = bodies.to_list();
        assert_eq!(String::from_utf8_lossy(&list), r#"{"facts":[7,[10,12],[63,64],200],"payload":[0]}"#);
        assert_eq!(Bodies::of_list(&list, 201), Some(bodies.clone()));
        assert_eq!(Bodies::of_list(&list, 200), None, "an erasure names only what came before it");
        assert!(bodies.contains(11, "facts") && !bodies.contains(11, "payload") && bodies.has_entry(0));
        assert!(bodies.meets(64, 65) && !bodies.meets(65, 200) && bodies.meets(65, 201));
        assert_eq!(bodies.entries().len(), 8);
        assert_eq!(bodies.entries_with("payload").collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn other_lists_are_refused() {
        for bad in
            ["[]", r#"{"a":[2,1]}"#, r#"{"a":[[5,4]]}"#, r#"{"a":[[1,2],2]}"#, r#"{"a":[-1]}"#, r#"{"a":1}"#]
        {
            assert_eq!(Bodies::of_list(bad.as_bytes(), 100), None, "{bad}");
        }
        let huge = format!(r#"{{"a":[[0,{}]]}}"#, u64::MAX);
        assert_eq!(Bodies::of_list(huge.as_bytes(), 100), None);
    }
}
