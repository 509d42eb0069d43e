//! What was asked for, found in the journal: as much of it is read as the evidence holds, not all of it.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;

use super::{Exit, Failure, export::Args};
use crate::{
    cli::log::{
        Item, entries, entry,
        list::{By, resolve},
        payload,
    },
    escape::terminal as safe,
    event::{RepoName, SubjectKind},
    ledger::{
        entry::{Entry, Hash, Kind},
        evidence::{CLOCKS, Selection, created_at, select},
    },
    store::journal::{catalog::Directory, when},
    time::Time,
};

/// What answers an entry is looked for among so many after it.
pub const ANSWERED_WITHIN: u64 = 4096;

/// The entries that are signed.
pub struct Ledger<'a> {
    pub journal: &'a Path,
    pub directory: Directory,
    /// The directory was made of files that may be wrong.
    pub trusted: bool,
}

/// Entries, all of `from..to`.
pub struct Range {
    pub from: u64,
    pub to: u64,
    pub entries: Vec<Entry>,
    pub raw: Vec<Bytes>,
    pub leaves: Vec<Hash>,
}

impl Ledger<'_> {
    pub fn size(&self) -> u64 {
        self.directory.size()
    }

    /// The entries `from..to`, with their bodies.
    pub fn items(&self, from: u64, to: u64) -> Result<impl Iterator<Item = Result<Item, Failure>>, Failure> {
        Ok(entries(self.journal, from)?.take_while(move |item| item.as_ref().map_or(true, |i| i.seq < to)))
    }

    /// What is asked for, and from where to where all entries are given, so that none of it can lie outside.
    pub fn find(&self, args: &Args) -> Result<(Selection, Range), Failure> {
        let (selection, from, to) = if let Some(pr) = &args.pr {
            self.pull(pr)?
        } else if let Some(entry) = args.entry {
            self.around(entry)?
        } else {
            self.time(args)?
        };
        Ok((selection, self.range(from, to)?))
    }

    fn range(&self, from: u64, to: u64) -> Result<Range, Failure> {
        let mut range = Range { from, to, entries: vec![], raw: vec![], leaves: vec![] };
        for item in self.items(from, to)? {
            let item = item?;
            let broken = |what: &str| Failure::new(Exit::Incomplete, format!("entry {}: {what}", item.seq));
            if item.raw.contains(&b'\n') {
                return Err(broken("it is not written as gatelog writes: it cannot be put on a line"));
            }
            let entry = item.entry.ok_or_else(|| broken("a newer gatelog wrote it: use that one"))?;
            range.entries.push(entry);
            range.raw.push(item.raw);
            range.leaves.push(item.leaf);
        }
        Ok(range)
    }

    fn pull(&self, asked: &str) -> Result<(Selection, u64, u64), Failure> {
        let parts = asked.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let (name, number) = parts
            .ok_or_else(|| Failure::usage(format!("--pr {}: write it as owner/name#12", safe(asked))))?;
        let id = name.parse::<u64>().ok();
        if id.is_none() {
            name.parse::<RepoName>().map_err(Failure::usage)?;
        }
        let newest = self.newest(&mut |item| made(item, id, name, number))?;
        let (repository, created) = match newest {
            Some((repository, created)) => (repository, Some(created)),
            // No payload tells any more when it was made: only the whole ledger shows that nothing came before.
            None => (self.repository(name, 0, 0)?, None),
        };
        let from = match created {
            // The range begins with an entry that is older.
            Some(created) => self.count(&|time| time.plus(CLOCKS) < created)?.saturating_sub(1),
            None => 0,
        };
        Ok((Selection::PullRequest { repository, number }, from, self.size()))
    }

    /// The newest entry of which something is wanted.
    fn newest<T>(
        &self,
        wanted: &mut dyn FnMut(&Item) -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        for part in self.directory.parts().iter().rev() {
            let mut found = None;
            for item in self.items(part.first, part.next)? {
                found = wanted(&item?)?.or(found);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// How many entries, from the first on, have such a time: times never go back.
    fn count(&self, is_before: &dyn Fn(Time) -> bool) -> Result<u64, Failure> {
        let size = self.size();
        for item in self.items(when::before(self.journal, is_before)?, size)? {
            let item = item?;
            if !is_before(item.link.time) {
                return Ok(item.seq);
            }
        }
        Ok(size)
    }

    fn around(&self, seq: u64) -> Result<(Selection, u64, u64), Failure> {
        let (selection, size) = (Selection::Entry { entry: seq }, self.size());
        if seq >= size {
            let what = format!("the last signed checkpoint holds entries 0..{}", size - 1);
            return Err(Failure::usage(what));
        }
        let after = self.range(seq, size.min(seq + ANSWERED_WITHIN))?;
        let mut all = select(&selection, &after.entries);
        // What it answers, as far back as that goes.
        let mut todo: Vec<u64> = all.iter().copied().collect();
        while let Some(at) = todo.pop() {
            let known =
                at.checked_sub(seq).and_then(|i| after.entries.get(usize::try_from(i).ok()?)).cloned();
            let found = match known {
                Some(known) => Some(known),
                None => entry(self.journal, at)?.and_then(|i| i.entry),
            };
            todo.extend(found.iter().flat_map(|e| &e.refs).filter(|r| all.insert(**r)));
        }
        let (first, last) = (all.first().copied().unwrap_or(seq), all.last().copied().unwrap_or(seq));
        Ok((selection, first, last + 1))
    }

    fn time(&self, args: &Args) -> Result<(Selection, u64, u64), Failure> {
        let (since, until) = (args.since, args.until);
        if since.zip(until).is_some_and(|(a, b)| a >= b) {
            return Err(Failure::usage("--since is not before --until"));
        }
        // One more on each side shows that there is nothing between it and the time asked for.
        let from = since.map_or(Ok(0), |since| self.count(&|time| time < since))?.saturating_sub(1);
        let to = until.map_or(Ok(self.size()), |until| self.count(&|time| time < until))?;
        let to = (to + 1).min(self.size());
        let repository = args.repo.as_deref().map(|name| self.repository(name, from, to)).transpose()?;
        Ok((Selection::Time { since, until, repository }, from, to))
    }

    /// The repository that had the name in `from..to`; where none had, that had it ever.
    fn repository(&self, name: &str, from: u64, to: u64) -> Result<u64, Failure> {
        if let Ok(id) = name.parse() {
            return Ok(id);
        }
        name.parse::<RepoName>().map_err(Failure::usage)?;
        let mut ids = BTreeSet::new();
        for item in self.items(from, to)? {
            let item = item?;
            if item.entry.as_ref().is_some_and(|e| e.kind == Kind::Event)
                && let Some(payload) = item.json("payload")?
                && let Some((id, _)) =
                    payload::repository(&payload).filter(|(_, n)| n.eq_ignore_ascii_case(name))
            {
                ids.insert(id);
            }
        }
        if ids.is_empty() {
            ids = resolve(self.journal, name, 0, By::Reading)?;
        }
        let mut ids = ids.iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(*id),
            (Some(a), Some(b)) => {
                let name = safe(name);
                Err(Failure::usage(format!(
                    "{name} was the name of several repositories: give an id, {a} or {b}"
                )))
            }
            _ => Err(Failure::usage(format!("no event names the repository {}", safe(name)))),
        }
    }
}

/// Where an event is about that pull request and tells when it was made: its repository, and that time.
fn made(item: &Item, id: Option<u64>, name: &str, number: u64) -> Result<Option<(u64, Time)>, Failure> {
    let is_it = item.entry.as_ref().is_some_and(|e| {
        let s = &e.subject;
        let repository = id.is_none() || s.repository == id;
        e.kind == Kind::Event && s.kind == SubjectKind::PullRequest && s.id == Some(number) && repository
    });
    let Some(payload) = (if is_it { item.json("payload")? } else { None }) else { return Ok(None) };
    let Some((repository, full)) = payload::repository(&payload) else { return Ok(None) };
    let created = created_at(&Selection::PullRequest { repository, number }, &payload);
    let is_named = id.is_some() || full.eq_ignore_ascii_case(name);
    Ok(created.filter(|_| is_named).map(|created| (repository, created)))
}
