//! What evidence is about: said in words, and compared with what somebody asked for. A file about another pull
//! request is as genuine as one about the right one.

use std::collections::BTreeSet;

use super::Selection;
use crate::time::Time;

/// A repository as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// GitHub's number of it, which no transfer and no new name changes.
    Id(u64),
    /// `owner/name`: in no entry, only in payloads.
    Name(String),
}

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Pull { repository: Named, number: u64 },
    Entry(u64),
    Time { since: Option<Time>, until: Option<Time>, repository: Option<Named> },
}

/// Why evidence is not known to be about what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// It is about something else.
    Differs,
    /// It is about this repository, and no payload in it says the name any more.
    Nameless(u64),
}

impl Selection {
    /// Which repository it is about.
    #[must_use]
    pub fn repository(&self) -> Option<u64> {
        match self {
            Self::PullRequest { repository, .. } => Some(*repository),
            Self::Entry { .. } => None,
            Self::Time { repository, .. } => *repository,
        }
    }

    /// In words. `names`: what the payloads in it call its repository.
    #[must_use]
    pub fn text(&self, names: &BTreeSet<String>) -> String {
        match self {
            Self::PullRequest { repository, number } => {
                format!("pull request {number} of {}", of(*repository, names))
            }
            Self::Entry { entry } => format!("entry {entry} and what belongs to it"),
            Self::Time { since, until, repository } => {
                let of = repository.map_or(String::new(), |id| format!(" of {}", of(id, names)));
                let since = since.map_or("the beginning".to_owned(), |t| t.to_string());
                let until = until.map_or("the checkpoint".to_owned(), |t| t.to_string());
                format!("everything{of} from {since} until {until}")
            }
        }
    }
}

fn of(id: u64, names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.is_empty() {
        true => format!("repository {id} (no payload in it says its name)"),
        false => format!("repository {id} ({}, as its payloads say)", names.join(", ")),
    }
}

impl Asked {
    /// Whether `selection` is this. `names`: what its payloads call its repository.
    ///
    /// # Errors
    /// It is another one, or that cannot be told.
    pub fn is(&self, selection: &Selection, names: &BTreeSet<String>) -> Result<(), Other> {
        let named = match (self, selection) {
            (Self::Pull { repository, number }, Selection::PullRequest { number: n, .. }) if number == n => {
                Some(repository)
            }
            (Self::Entry(asked), Selection::Entry { entry }) if asked == entry => None,
            (Self::Time { since, until, repository }, Selection::Time { since: s, until: u, .. })
                if (since, until) == (s, u) =>
            {
                repository.as_ref()
            }
            _ => return Err(Other::Differs),
        };
        match (named, selection.repository()) {
            (None, None) => Ok(()),
            (Some(Named::Id(asked)), Some(id)) if *asked == id => Ok(()),
            (Some(Named::Name(_)), Some(id)) if names.is_empty() => Err(Other::Nameless(id)),
            (Some(Named::Name(asked)), Some(_)) if names.iter().any(|n| n.eq_ignore_ascii_case(asked)) => {
                Ok(())
            }
            _ => Err(Other::Differs),
        }
    }
}
