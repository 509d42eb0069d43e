//! Reading only what a search needs: the entries that catalogs name, and all of a segment that has none.
//!
//! Catalogs may be wrong, so nothing follows from what is not found this way.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use super::{
    JournalError, catalog,
    reader::{Group, Groups, list},
};
use crate::ledger::postings::Query;

/// Entries `first..next`; of the segment that may be written to, `next` is [`u64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub next: u64,
}

/// Where what is looked for may be.
#[derive(Debug, Default)]
pub struct Spans {
    /// Ascending, and apart.
    pub all: Vec<Span>,
    /// Repository → events that call it otherwise than before, as far as catalogs tell.
    pub names: BTreeMap<u64, Vec<u64>>,
}

impl Spans {
    /// From the segment on that holds entry `from`.
    ///
    /// # Errors
    /// The folder, or the header of a segment, cannot be read.
    pub fn find(dir: &Path, from: u64, query: &Query) -> Result<Self, JournalError> {
        let firsts = list(dir)?.firsts;
        let mut found = Self::default();
        let start = firsts.partition_point(|first| *first <= from).saturating_sub(1);
        for (at, &first) in firsts.iter().enumerate().skip(start) {
            let next = firsts.get(at + 1).copied();
            let known = next.map(|next| catalog::known(dir, first, next)).transpose()?.flatten();
            match known.filter(|k| k.names || !query.names) {
                None => found.add(Span { first, next: next.unwrap_or(u64::MAX) }),
                Some(known) => {
                    let seqs = known.postings.find(query);
                    seqs.into_iter().for_each(|seq| found.add(Span { first: seq, next: seq + 1 }));
                    if known.names {
                        for (repository, seqs) in known.postings.names() {
                            found.names.entry(repository).or_default().extend(seqs);
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, span: Span) {
        match self.all.last_mut() {
            Some(last) if last.next == span.first => last.next = span.next,
            _ => self.all.push(span),
        }
    }

    /// What of them lies in `first..next`.
    pub fn within(&self, first: u64, next: u64) -> Vec<Span> {
        let cut = |s: &Span| Span { first: s.first.max(first), next: s.next.min(next) };
        self.all.iter().map(cut).filter(|s| s.first < s.next).collect()
    }
}

/// The groups that hold the entries of some spans; with them come others of the same groups.
pub struct Picked {
    dir: PathBuf,
    todo: VecDeque<Span>,
    groups: Option<Groups>,
}

impl Picked {
    #[must_use]
    pub fn new(dir: &Path, spans: Vec<Span>) -> Self {
        Self { dir: dir.to_owned(), todo: spans.into(), groups: None }
    }

    /// `None`: all were read.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn next_group(&mut self) -> Result<Option<Group>, JournalError> {
        let Some(span) = self.todo.front().copied() else { return Ok(None) };
        if let Some(groups) = &mut self.groups
            && !groups.skip_to(span.first)?
        {
            self.groups = None;
        }
        if self.groups.is_none() {
            self.groups = Groups::open_near(&self.dir, span.first)?;
        }
        let group = self.groups.as_mut().map(Groups::next_group).transpose()?.flatten();
        let Some(group) = group else {
            // The end of the ledger.
            self.todo.clear();
            return Ok(None);
        };
        let next = group.first + group.entries.len() as u64;
        while let Some(span) = self.todo.front_mut() {
            if span.next > next {
                span.first = span.first.max(next);
                break;
            }
            self.todo.pop_front();
        }
        Ok(Some(group))
    }
}
