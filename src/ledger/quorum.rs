//! Which witnesses must have cosigned a checkpoint for it to be believed: a C2SP tlog-policy.
//!
//! ```text
//! log <vkey> [<url>]                        whose checkpoints; none: any log that is trusted otherwise
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>…          at least k of these
//! quorum <name>|none
//! ```
//! Words are separated by spaces and tabs, a line that begins with `#` is a comment. Names must have been
//! defined on a line before; each may be a member of one group only, so that no witness counts twice.

use std::collections::BTreeMap;

use super::{
    checkpoint::decimal,
    cosignature::{Cosigned, Cosigner, cosigned},
    note::{self, NoteError, Verifier},
};

/// Bytes of a policy at most: a thousand witnesses have a quarter of that.
const MAX_POLICY: usize = 1 << 20;

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub logs: Vec<Verifier>,
    pub witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: no cosignature is needed.
    quorum: Option<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// In the policy; means nothing outside.
    pub name: String,
    pub key: Cosigner,
    /// Where it takes checkpoints: the submission prefix of C2SP tlog-witness.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    /// How many of the members.
    need: usize,
    members: Vec<Member>,
}

/// Places in the lists of the policy. Members of a group stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

impl Policy {
    /// All of these witnesses.
    ///
    /// # Errors
    /// Two of them are one: the same key, whatever their names are.
    pub fn all(witnesses: Vec<Witness>) -> Result<Self, String> {
        let mut parties = Parties::default();
        for Witness { key, .. } in &witnesses {
            if !parties.witness(key)? {
                return Err(format!("the key of witness {} stands there twice", key.name()));
            }
        }
        let members: Vec<Member> = (0..witnesses.len()).map(Member::Witness).collect();
        let quorum = if members.is_empty() { None } else { Some(Member::Group(0)) };
        let group = Group { name: "all".into(), need: members.len(), members };
        Ok(Self { logs: vec![], witnesses, groups: vec![group], quorum })
    }

    /// That none of the witnesses is one of these logs.
    ///
    /// # Errors
    /// Which one is: whoever signs for the log would be a witness of what he signs.
    pub fn witnesses_others(&self, logs: &[Verifier]) -> Result<(), String> {
        Parties::of(logs, &self.witnesses).map(drop)
    }

    /// Reads the text of a policy. Only UTF-8 is read.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let at = |line: usize, what: &str| PolicyError { line, what: what.to_owned() };
        if text.len() > MAX_POLICY {
            return Err(at(1, "the policy is too long"));
        }
        let text = std::str::from_utf8(text).map_err(|e| {
            let line = 1 + text[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            at(line, "it is not UTF-8")
        })?;
        let mut reader = Reader::default();
        let mut last = 1;
        for (line, content) in (1..).zip(text.split('\n')) {
            reader.line(content).map_err(|what| PolicyError { line, what })?;
            last = line;
        }
        let Reader { logs, witnesses, groups, quorum, .. } = reader;
        let quorum = quorum.ok_or_else(|| at(last, "there is no line `quorum NAME` or `quorum none`"))?;
        Ok(Self { logs, witnesses, groups, quorum })
    }

    /// Asks the witness with that key there. One that the policy does not name is asked, too; the quorum does
    /// not need it.
    ///
    /// # Errors
    /// The policy knows that key under another name, or as a log's.
    pub fn asks(&mut self, key: Cosigner, url: String) -> Result<(), String> {
        Parties::of(&self.logs, &self.witnesses)?.witness(&key)?;
        match self.witnesses.iter_mut().find(|w| w.key == key) {
            Some(witness) => witness.url = Some(url),
            None => self.witnesses.push(Witness { name: key.name().to_owned(), key, url: Some(url) }),
        }
        Ok(())
    }

    /// The keys of all witnesses.
    #[must_use]
    pub fn keys(&self) -> Vec<Cosigner> {
        self.witnesses.iter().map(|w| w.key.clone()).collect()
    }

    /// Whether these cosignatures are enough.
    #[must_use]
    pub fn is_met(&self, cosigned: &[Cosigned]) -> bool {
        let Some(quorum) = self.quorum else { return true };
        let witnessed: Vec<bool> =
            self.witnesses.iter().map(|w| cosigned.iter().any(|c| c.by == w.key)).collect();
        // In their order, as members stand before their group; no recursion, however deep they are.
        let mut met = Vec::with_capacity(self.groups.len());
        let is = |met: &[bool], member: &Member| match member {
            Member::Witness(n) => witnessed[*n],
            Member::Group(n) => met[*n],
        };
        for group in &self.groups {
            let have = group.members.iter().filter(|m| is(&met, m)).count();
            met.push(have >= group.need);
        }
        is(&met, &quorum)
    }

    /// What is missing, for people: which witnesses did not cosign. `None`: the quorum is met.
    #[must_use]
    pub fn missing(&self, cosigned: &[Cosigned]) -> Option<String> {
        if self.is_met(cosigned) {
            return None;
        }
        let is_there = |w: &&Witness| cosigned.iter().any(|c| c.by == w.key);
        let names = |there: bool| -> Vec<&str> {
            self.witnesses.iter().filter(|w| is_there(w) == there).map(|w| w.key.name()).collect()
        };
        let (have, lack) = (names(true), names(false));
        let quorum = match self.quorum {
            Some(Member::Group(n)) => {
                let Group { name, need, members } = &self.groups[n];
                format!("{name}, {need} of {}", members.len())
            }
            Some(Member::Witness(n)) => self.witnesses[n].name.clone(),
            None => String::new(),
        };
        let have = if have.is_empty() { "nobody".to_owned() } else { have.join(", ") };
        Some(format!("the quorum ({quorum}) is missed: cosigned by {have}, not by {}", lack.join(", ")))
    }
}

/// Whose each key is: one key is one party, whatever its names are. No log is its own witness, and no witness
/// counts twice.
#[derive(Default)]
struct Parties {
    /// Public key → name.
    logs: BTreeMap<[u8; 32], String>,
    witnesses: BTreeMap<[u8; 32], Cosigner>,
}

impl Parties {
    fn of<'a>(
        logs: impl IntoIterator<Item = &'a Verifier>,
        witnesses: impl IntoIterator<Item = &'a Witness>,
    ) -> Result<Self, String> {
        let mut parties = Self::default();
        for log in logs {
            parties.log(log)?;
        }
        for witness in witnesses {
            parties.witness(&witness.key)?;
        }
        Ok(parties)
    }

    /// `false`: the key was there already.
    fn log(&mut self, log: &Verifier) -> Result<bool, String> {
        match self.witnesses.get(log.public_key()) {
            Some(witness) => Err(own_witness(witness.name(), log.name())),
            None => Ok(self.logs.insert(*log.public_key(), log.name().to_owned()).is_none()),
        }
    }

    /// `false`: it was there already, under that name.
    fn witness(&mut self, key: &Cosigner) -> Result<bool, String> {
        if let Some(log) = self.logs.get(key.public_key()) {
            return Err(own_witness(key.name(), log));
        }
        match self.witnesses.insert(*key.public_key(), key.clone()) {
            Some(other) if other != *key => {
                let (name, other) = (key.name(), other.name());
                Err(format!("witness {name} has the key of {other}: they are one witness"))
            }
            before => Ok(before.is_none()),
        }
    }
}

fn own_witness(witness: &str, log: &str) -> String {
    format!("witness {witness} has the key of the log {log}: no log is its own witness")
}

/// What somebody who verifies demands: each of these policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    policies: Vec<Policy>,
}

/// Why a checkpoint is not witnessed as is demanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwitnessed {
    /// It is no note, or a signature that counts is wrong.
    #[error(transparent)]
    Note(NoteError),
    /// It may come yet.
    #[error("{0}")]
    Missing(String),
}

impl Demand {
    /// Each of these policies, of one of these logs.
    ///
    /// # Errors
    /// A witness has the key of a log, or that of another witness.
    pub fn new(policies: Vec<Policy>, logs: &[Verifier]) -> Result<Self, String> {
        let logs = logs.iter().chain(policies.iter().flat_map(|p| &p.logs));
        Parties::of(logs, policies.iter().flat_map(|p| &p.witnesses))?;
        Ok(Self { policies })
    }

    /// No cosignature is demanded.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.policies.is_empty()
    }

    /// The cosignatures of all witnesses that are named, where they are enough.
    ///
    /// # Errors
    /// See [`Unwitnessed`].
    pub fn check(&self, signed: &[u8]) -> Result<Vec<Cosigned>, Unwitnessed> {
        let parsed = note::parse(signed).map_err(Unwitnessed::Note)?;
        let mut all: Vec<Cosigned> = vec![];
        for policy in &self.policies {
            let found = cosigned(&parsed, &policy.keys()).map_err(Unwitnessed::Note)?;
            if let Some(missing) = policy.missing(&found) {
                return Err(Unwitnessed::Missing(missing));
            }
            if !policy.logs.is_empty() {
                note::open(signed, &policy.logs).map_err(Unwitnessed::Note)?;
            }
            all.extend(found.into_iter().filter(|f| !all.contains(f)).collect::<Vec<_>>());
        }
        Ok(all)
    }
}

#[derive(Default)]
struct Reader {
    logs: Vec<Verifier>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Option<Member>>,
    parties: Parties,
    /// Defined names, and whether they are a member of a group already.
    names: BTreeMap<String, (Member, bool)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err("it holds control characters (a line ends in \\n alone)".into());
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
        match words[..] {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] | ["log", vkey, _] => self.log(vkey),
            ["witness", name, vkey] => self.witness(name, vkey, None),
            ["witness", name, vkey, url] => self.witness(name, vkey, Some(url)),
            ["group", name, need, ref members @ ..] if !members.is_empty() => self.group(name, need, members),
            ["quorum", name] => self.quorum(name),
            ["log", ..] => Err("a log is written `log VKEY [URL]`".into()),
            ["witness", ..] => Err("a witness is written `witness NAME VKEY [URL]`".into()),
            ["group", ..] => Err("a group is written `group NAME all|any|NUMBER NAME…`".into()),
            ["quorum", ..] => Err("a quorum is written `quorum NAME` or `quorum none`".into()),
            [other, ..] => {
                Err(format!("it begins with {other:?}, not with log, witness, group, quorum or #"))
            }
        }
    }

    fn log(&mut self, vkey: &str) -> Result<(), String> {
        let log: Verifier = vkey.parse().map_err(|e| format!("the log's vkey: {e}"))?;
        if !self.parties.log(&log)? {
            return Err("the key of this log stands there already".into());
        }
        self.logs.push(log);
        Ok(())
    }

    fn witness(&mut self, name: &str, vkey: &str, url: Option<&str>) -> Result<(), String> {
        let key: Cosigner = vkey.parse().map_err(|e| format!("the vkey of witness {name}: {e}"))?;
        if !self.parties.witness(&key)? {
            let other = self.witnesses.iter().find(|w| w.key == key).map_or("", |w| &w.name);
            return Err(format!("witness {name} has the key of {other}"));
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_owned(), key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn group(&mut self, name: &str, need: &str, members: &[&str]) -> Result<(), String> {
        let most = members.len();
        let need = match need {
            "any" => 1,
            "all" => most,
            number => decimal(number)
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=most).contains(n))
                .ok_or_else(|| format!("{number} is neither all, any nor a number from 1 to {most}"))?,
        };
        let mut found = vec![];
        for member in members {
            let (place, taken) = self
                .names
                .get_mut(*member)
                .ok_or_else(|| format!("{member} is not defined on a line before"))?;
            if std::mem::replace(taken, true) {
                return Err(format!("{member} is a member of a group already: it would count twice"));
            }
            found.push(*place);
        }
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: name.to_owned(), need, members: found });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a quorum already".into());
        }
        self.quorum = Some(match self.names.get(name) {
            _ if name == "none" => None,
            Some((member, _)) => Some(*member),
            None => return Err(format!("{name} is not defined on a line before")),
        });
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), String> {
        if name == "none" {
            return Err("the name none means that no cosignature is needed".into());
        }
        if self.names.insert(name.to_owned(), (member, false)).is_some() {
            return Err(format!("{name} is defined already"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{cosignature::CosigningKey, note::Signer};

    fn key(n: u8) -> Cosigner {
        CosigningKey::new(&format!("witness.example/{n}"), &[n; 32]).unwrap().cosigner().clone()
    }

    fn by(ns: &[u8]) -> Vec<Cosigned> {
        let time = "2026-11-24T15:04:05Z".parse().unwrap();
        ns.iter().map(|n| Cosigned { by: key(*n), time, line: String::new() }).collect()
    }

    /// The example of the specification, with keys.
    fn example() -> String {
        let log = Signer::new("gate.example.com/log/1", &[99; 32]).unwrap();
        let k = |n: u8| key(n).to_string();
        format!(
            "log {}\n\n# X\nwitness X1 {} https://x1.example\nwitness X2\t{}\n  witness X3 {}\n\
             group X-witnesses 2 X1 X2 X3\n\nwitness Y1 {}\nwitness Y2 {}\nwitness Y3 {}\n\
             group Y-witnesses any Y1 Y2 Y3\n\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
            log.verifier(),
            k(1),
            k(2),
            k(3),
            k(4),
            k(5),
            k(6)
        )
    }

    #[test]
    fn the_example_of_the_specification() {
        let policy = Policy::parse(example().as_bytes()).unwrap();
        assert_eq!((policy.logs.len(), policy.witnesses.len()), (1, 6));
        assert_eq!(policy.witnesses[0].url.as_deref(), Some("https://x1.example"));
        for (who, met) in [
            (&[][..], false),
            (&[1, 2], false),
            (&[1, 2, 3], false),
            (&[4, 5, 6], false),
            (&[1, 4, 5, 6], false),
            (&[1, 3, 6], true),
            (&[2, 3, 4], true),
            (&[1, 2, 3, 4, 5, 6], true),
            (&[7, 8, 9], false),
        ] {
            assert_eq!(policy.is_met(&by(who)), met, "{who:?}");
            assert_eq!(policy.missing(&by(who)).is_none(), met);
        }
        insta::assert_snapshot!(policy.missing(&by(&[1])).unwrap(), @"the quorum (X-and-Y, 2 of 2) is missed: cosigned by witness.example/1, not by witness.example/2, witness.example/3, witness.example/4, witness.example/5, witness.example/6");
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let k = |n: u8| key(n).to_string();
        let w = |n: u8| format!("witness w{n} {}\n", k(n));
        let log = Signer::new("gate.example.com/log/1", &[1; 32]).unwrap().verifier().to_string();
        for (text, line, said) in [
            (String::new(), 1, "no line `quorum"),
            (w(1), 2, "no line `quorum"),
            (w(1) + "quorum w2\n", 2, "w2 is not defined"),
            (w(1) + "quorum w1\nquorum w1\n", 3, "a quorum already"),
            (w(1) + "quorum w1 w1\n", 2, "is written `quorum"),
            (w(1) + &w(1) + "quorum w1\n", 2, "has the key of w1"),
            (w(1) + &format!("witness w1 {}\nquorum w1\n", k(2)), 2, "w1 is defined already"),
            (w(1) + "group g 2 w1\nquorum g\n", 2, "nor a number from 1 to 1"),
            (w(1) + "group g 0 w1\nquorum g\n", 2, "nor a number"),
            (w(1) + "group g 01 w1\nquorum g\n", 2, "nor a number"),
            (w(1) + "group g all\nquorum g\n", 2, "is written `group"),
            (w(1) + "group g any w1 w1\nquorum g\n", 2, "count twice"),
            (w(1) + "group g any w1\ngroup h any w1\nquorum g\n", 3, "count twice"),
            (w(1) + "group g any g\nquorum g\n", 2, "g is not defined"),
            (w(1) + "group g any none\nquorum g\n", 2, "none is not defined"),
            (w(1) + "group none any w1\nquorum none\n", 2, "the name none"),
            (format!("witness w1 {log}\nquorum w1\n"), 1, "of a log, not of a witness"),
            (format!("log {}\nquorum none\n", k(1)), 1, "of a witness, not of a log"),
            (format!("log {log}\nlog {log}\nquorum none\n"), 2, "already"),
            (
                format!("log {log}\n") + &w(1) + "quorum w1\n",
                2,
                "has the key of the log gate.example.com/log/1",
            ),
            (w(1) + &format!("log {log}\nquorum w1\n"), 2, "has the key of the log gate.example.com/log/1"),
            (w(1) + "quorum w1\r\n", 2, "control characters"),
            (w(1) + "policy x\nquorum w1\n", 2, "begins with \"policy\""),
        ] {
            let refused = Policy::parse(text.as_bytes()).unwrap_err();
            assert!(refused.line == line && refused.what.contains(said), "{text}{refused}");
        }
        assert_eq!(Policy::parse(b"quorum none\n\xff").unwrap_err().line, 2);
        assert!(Policy::parse(b"quorum none").unwrap().is_met(&[]));
    }

    #[test]
    fn groups_in_groups_however_deep() {
        let mut text = format!("witness w {}\ngroup g0 all w\n", key(1));
        for n in 1..20_000 {
            text += &format!("group g{n} all g{}\n", n - 1);
        }
        let policy = Policy::parse((text + "quorum g19999\n").as_bytes()).unwrap();
        assert!(policy.is_met(&by(&[1])) && !policy.is_met(&by(&[2])));
    }

    #[test]
    fn without_a_policy_all_must_have_cosigned() {
        let witness = |n: u8| Witness { name: n.to_string(), key: key(n), url: None };
        let policy = Policy::all(vec![witness(1), witness(2)]).unwrap();
        assert!(policy.is_met(&by(&[1, 2])) && !policy.is_met(&by(&[1])));
        assert!(Policy::all(vec![]).unwrap().is_met(&[]));
        assert!(Policy::all(vec![witness(1), witness(1)]).unwrap_err().contains("stands there twice"));
        let twin = CosigningKey::new("witness.example/twin", &[1; 32]).unwrap().cosigner().clone();
        let twice = Policy::all(vec![witness(1), Witness { key: twin.clone(), ..witness(2) }]).unwrap_err();
        assert!(twice.contains("witness.example/twin has the key of witness.example/1"), "{twice}");
        let mut policy = Policy::parse(format!("witness w {}\nquorum w\n", key(1)).as_bytes()).unwrap();
        policy.asks(key(1), "https://a".into()).unwrap();
        policy.asks(key(2), "https://b".into()).unwrap();
        assert!(policy.asks(twin, "https://c".into()).unwrap_err().contains("has the key of"));
        let urls: Vec<_> = policy.witnesses.iter().filter_map(|w| w.url.as_deref()).collect();
        assert_eq!(urls, ["https://a", "https://b"]);
        assert!(policy.is_met(&by(&[1])) && !policy.is_met(&by(&[2])));
    }
}
