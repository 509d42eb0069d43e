//! What an erasure would remove, and what keeps it from removing more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bodies, people::Person};
use crate::{
    event::SubjectKind,
    ledger::{
        Ledger, Stored,
        entry::{Entry, Kind},
    },
    store::ReadError,
    time::Time,
};

/// Which bodies somebody wants gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of one entry: these, or all where none is named.
    Entry { seq: u64, bodies: Vec<String> },
    /// Every body of an event, a verdict, a report or an exception that names this person.
    Person { login: String, also: Vec<String> },
    /// Every body of an event, a verdict or a report that was recorded before this.
    Before(Time),
}

/// A legal hold: what it covers stays, whoever asks and however old it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hold {
    /// As people write it, or its number.
    pub repository: Option<String>,
    /// Of that repository; `None`: all that is about it.
    pub pull_request: Option<u64>,
    /// First and last entry.
    pub entries: Option<(u64, u64)>,
    pub reason: String,
}

/// What would go and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub bodies: Bodies,
    /// Entries and bodies that would go.
    pub entries: u64,
    pub count: u64,
    /// Reason of a hold → entries whose bodies it keeps.
    pub held: BTreeMap<String, Vec<u64>>,
    /// Entries that are still being judged or reported.
    pub in_work: Vec<u64>,
    /// Bodies that were gone already.
    pub gone: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing can be erased like this; says why.
    #[error("{0}")]
    Refused(String),
    /// The entry that was named stays, for this reason.
    #[error("entry {seq} is under a legal hold: {reason}")]
    Held { seq: u64, reason: String },
    #[error("the ledger cannot be read: {0}")]
    Read(#[from] ReadError),
}

fn refused<T>(what: String) -> Result<T, PlanError> {
    Err(PlanError::Refused(what))
}

/// What runs of this process have looked at, so that the next ones need not: retention is kept every hour, and holds
/// may be told by name.
#[derive(Debug, Default)]
pub struct Known {
    /// Name of a repository in lower case → its numbers, as payloads tell.
    names: BTreeMap<String, BTreeSet<u64>>,
    /// Entries whose payloads told `names`.
    named: u64,
    /// What has gone by age.
    aged: Aged,
}

#[derive(Clone, Debug, Default)]
struct Aged {
    /// Under which it was looked for.
    holds: Vec<(Hold, BTreeSet<u64>)>,
    /// Entries `0..next` have no body that is to go under those holds, but for `left`.
    next: u64,
    /// Those that could not go yet.
    left: Vec<u64>,
    /// Bodies that have gone.
    gone: u64,
}

/// What the plan, once it is carried out, tells later runs.
#[derive(Debug)]
pub struct Carried(Option<Aged>);

impl Known {
    /// The plan is carried out.
    pub fn carried_out(&mut self, carried: Carried) {
        if let Some(aged) = carried.0 {
            self.aged = aged;
        }
    }
}

/// Finds what is wanted. Reads bodies, so it may take a while: for a person all of them, twice; by age what has
/// grown old since the last run; for holds by name the payloads since the last run.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(
    ledger: &Ledger,
    wanted: &Wanted,
    holds: &[Hold],
    known: &mut Known,
) -> Result<(Plan, Carried), PlanError> {
    let end = ledger.head().size;
    let holds = Holds::resolve(ledger, holds, end, known)?;
    let in_work = in_work(ledger);
    let mut planner = Planner { ledger, holds, in_work, plan: Plan::default() };
    let mut carried = Carried(None);
    match wanted {
        Wanted::Entry { seq, bodies } => planner.entry(*seq, bodies)?,
        Wanted::Person { login, also } => planner.person(&Person::new(login, also), end)?,
        Wanted::Before(time) => carried.0 = Some(planner.before(*time, end, &known.aged)?),
    }
    Ok((planner.plan, carried))
}

/// Whose bodies are read when they are judged or reported.
fn in_work(ledger: &Ledger) -> BTreeSet<u64> {
    let mut all: BTreeSet<u64> = ledger.unjudged().into_iter().collect();
    all.extend(ledger.unreported());
    all
}

struct Planner<'a> {
    ledger: &'a Ledger,
    holds: Holds,
    in_work: BTreeSet<u64>,
    plan: Plan,
}

impl Planner<'_> {
    fn entry(&mut self, seq: u64, names: &[String]) -> Result<(), PlanError> {
        let Some(stored) = self.ledger.entry(seq)? else {
            return refused(format!("entry {seq} does not exist"));
        };
        if super::is_kept_for_ever(&stored.entry.kind) {
            return refused(format!("entry {seq} is an erasure: its list explains what is gone, and stays"));
        }
        if let Some(name) = names.iter().find(|n| !stored.entry.bodies.contains_key(*n)) {
            let has: Vec<&str> = stored.entry.bodies.keys().map(String::as_str).collect();
            let has = if has.is_empty() { "no bodies".to_owned() } else { has.join(", ") };
            return refused(format!("entry {seq} has no body {name:?}; it has {has}"));
        }
        if let Some(hold) = self.holds.over(&stored.entry) {
            return Err(PlanError::Held { seq, reason: hold.reason.clone() });
        }
        if self.in_work.contains(&seq) {
            return refused(format!("entry {seq} is still being judged or reported; erase it afterwards"));
        }
        let all = names.is_empty();
        self.take(&stored, |name| all || names.iter().any(|n| n == name))
    }

    fn person(&mut self, person: &Person, end: u64) -> Result<(), PlanError> {
        let mut person = person.clone();
        // What ties an address to the login may stand in a later body than the address.
        let told = |kind: &Kind| by_itself(kind) || *kind == Kind::Waiver;
        self.each(end, told, |_, stored, name, bytes| {
            person.learn(bytes, media(&stored.entry, name));
            Ok(())
        })?;
        self.each(end, told, |this, stored, name, bytes| {
            if person.is_named_in(bytes, media(&stored.entry, name)) {
                this.want(stored, name);
            }
            Ok(())
        })
    }

    /// What was looked at under the same holds is not looked at again.
    fn before(&mut self, time: Time, end: u64, aged: &Aged) -> Result<Aged, PlanError> {
        let aged = if aged.holds == self.holds.0 { aged.clone() } else { Aged::default() };
        self.plan.gone = aged.gone;
        let (mut next, mut left) = (aged.next, vec![]);
        for seq in aged.left {
            // The retention may have become longer since.
            match self.ledger.entry(seq)? {
                Some(stored) if stored.entry.time < time => self.take(&stored, |_| true)?,
                _ => left.push(seq),
            }
        }
        for seq in aged.next..end {
            let Some(stored) = self.ledger.entry(seq)? else { break };
            if stored.entry.time >= time {
                break;
            }
            next = seq + 1;
            if by_itself(&stored.entry.kind) {
                self.take(&stored, |_| true)?;
            }
        }
        left.extend(&self.plan.in_work);
        let gone = self.plan.gone + self.plan.count;
        Ok(Aged { holds: self.holds.0.clone(), next, left, gone })
    }

    fn take(&mut self, stored: &Stored, wanted: impl Fn(&str) -> bool) -> Result<(), PlanError> {
        for name in stored.entry.bodies.keys().filter(|n| wanted(n)) {
            if self.ledger.has_body(stored.entry.seq, name)? {
                self.want(stored, name);
            } else {
                self.plan.gone += 1;
            }
        }
        Ok(())
    }

    fn each(
        &mut self,
        end: u64,
        told: impl Fn(&Kind) -> bool,
        mut visit: impl FnMut(&mut Self, &Stored, &str, &[u8]) -> Result<(), PlanError>,
    ) -> Result<(), PlanError> {
        for seq in 0..end {
            let Some(stored) = self.ledger.entry(seq)? else { break };
            if !told(&stored.entry.kind) {
                continue;
            }
            for name in stored.entry.bodies.keys() {
                if let Some(bytes) = self.ledger.body(seq, name)? {
                    visit(self, &stored, name, &bytes)?;
                }
            }
        }
        Ok(())
    }

    fn want(&mut self, stored: &Stored, name: &str) {
        let seq = stored.entry.seq;
        if let Some(hold) = self.holds.over(&stored.entry) {
            push(self.plan.held.entry(hold.reason.clone()).or_default(), seq);
        } else if self.in_work.contains(&seq) {
            push(&mut self.plan.in_work, seq);
        } else {
            self.plan.entries += u64::from(!self.plan.bodies.has_entry(seq));
            self.plan.count += 1;
            self.plan.bodies.insert(seq, name);
        }
    }
}

fn push(seqs: &mut Vec<u64>, seq: u64) {
    if seqs.last() != Some(&seq) {
        seqs.push(seq);
    }
}

fn media<'a>(entry: &'a Entry, name: &str) -> &'a str {
    entry.bodies.get(name).map_or("", |b| &b.media)
}

/// What people did and what was said of it. Bundles of policies and the lists of erasures are not erased
/// by whom they name or how old they are: without them nothing can be judged again, or be told from damage. Nor are
/// exceptions by how old they are: they would end.
fn by_itself(kind: &Kind) -> bool {
    matches!(kind, Kind::Event | Kind::Verdict | Kind::Report)
}

/// Holds with repositories by number: names change, and other repositories get old names.
struct Holds(Vec<(Hold, BTreeSet<u64>)>);

impl Holds {
    fn resolve(ledger: &Ledger, holds: &[Hold], end: u64, known: &mut Known) -> Result<Self, PlanError> {
        let by_name = holds.iter().any(|h| h.repository.as_ref().is_some_and(|r| r.parse::<u64>().is_err()));
        if by_name {
            learn_names(ledger, end, known)?;
        }
        let names = &known.names;
        let resolved = holds.iter().map(|hold| {
            let ids = match hold.repository.as_deref().map(|r| (r, r.parse::<u64>())) {
                None => BTreeSet::new(),
                Some((_, Ok(id))) => BTreeSet::from([id]),
                Some((name, Err(_))) => names.get(&name.to_lowercase()).cloned().ok_or_else(|| {
                    // Rather nothing is erased than what should have been kept.
                    PlanError::Refused(format!(
                        "the legal hold on {name:?} ({}) names a repository that the ledger does not know by \
                         that name; write its number as `repository` instead",
                        hold.reason
                    ))
                })?,
            };
            Ok((hold.clone(), ids))
        });
        resolved.collect::<Result<_, PlanError>>().map(Self)
    }

    fn over(&self, entry: &Entry) -> Option<&Hold> {
        self.0.iter().find(|(hold, ids)| covers(hold, ids, entry)).map(|(hold, _)| hold)
    }
}

fn covers(hold: &Hold, ids: &BTreeSet<u64>, entry: &Entry) -> bool {
    let subject = &entry.subject;
    let of_repository = subject.repository.is_some_and(|id| ids.contains(&id));
    let pull = subject.id.filter(|_| subject.kind == SubjectKind::PullRequest);
    let about = of_repository && (hold.pull_request.is_none() || hold.pull_request == pull);
    about || hold.entries.is_some_and(|(from, to)| (from..=to).contains(&entry.seq))
}

/// Names of repositories, in lower case, as payloads tell them that came since the last time.
fn learn_names(ledger: &Ledger, end: u64, known: &mut Known) -> Result<(), PlanError> {
    #[derive(serde::Deserialize)]
    struct Payload {
        repository: Repository,
    }
    #[derive(serde::Deserialize)]
    struct Repository {
        id: u64,
        full_name: String,
    }
    for seq in known.named..end {
        let Some(stored) = ledger.entry(seq)? else { break };
        if stored.entry.kind != Kind::Event || stored.entry.subject.repository.is_none() {
            continue;
        }
        let Some(body) = ledger.body(seq, "payload")? else { continue };
        let json = super::people::json(&body, media(&stored.entry, "payload"));
        if let Ok(Payload { repository }) = serde_json::from_slice(&json) {
            known.names.entry(repository.full_name.to_lowercase()).or_default().insert(repository.id);
        }
    }
    known.named = known.named.max(end);
    Ok(())
}
