//! Facts, gathered in two stages: what every judgement of a pull request reads (one query of one
//! point), then what the active controls asked for beyond it.
//!
//! A fact that cannot be had is named in `missing`, with the reason, and the controls that need it
//! are `error`. Only what a later try may mend (an outage, a limit, an API that is behind its own
//! webhook) ends in [`Trouble`], and what is gone altogether.
//!
//! | file | what |
//! |---|---|
//! | `pull` | stage 1 of a pull request: all pages, one moment, the floor of the event |
//! | `group` | stage 1 of a merge group; open pull requests |
//! | `complete` | stage 2, with `history` (update merges, pushes), `owners`, `people`, `landing`, `rules`, `checks`, `compared`, `deployed` |
//! | `answer`, `head`, `page`, `cache` | shapes of answers; paging; what may be remembered |

mod answer;
mod cache;
mod checks;
mod compared;
mod complete;
mod deployed;
mod group;
mod head;
mod history;
mod landing;
mod owners;
pub(super) mod page;
mod people;
mod pull;
mod rules;

pub(super) use cache::{PeopleCaches, ShaCaches};
pub use complete::{Completed, Known, KnownPull, Needs, complete};
pub use deployed::Deploying;
pub use group::{Grouped, OpenPull, merge_group, open_pulls};
pub use pull::{Floor, Pulled, Retargeted, pull};
pub use rules::Bypass;

use super::{RepoAt, Trouble, TroubleKind, graphql::Answer};
use crate::facts::Missing;
pub use crate::facts::pushes::KnownPush;

fn missing(fact: &str, id: Option<String>, reason: impl Into<String>) -> Missing {
    Missing { fact: fact.to_owned(), id, reason: reason.into() }
}

/// The reason of a `Trouble` that no later try mends: it is a missing fact.
fn final_reason(trouble: Trouble) -> Result<String, Trouble> {
    if trouble.passes() { Err(trouble) } else { Ok(trouble.reason) }
}

/// The missing facts, as seen by who reads one pull request.
struct Holes<'a> {
    all: &'a mut Vec<Missing>,
    /// The pull request is an entry of a merge group: what it lacks, the group lacks.
    entry: Option<u64>,
}

impl<'a> Holes<'a> {
    fn of_pull(all: &'a mut Vec<Missing>) -> Self {
        Self { all, entry: None }
    }

    fn of_entry(all: &'a mut Vec<Missing>, number: u64) -> Self {
        Self { all, entry: Some(number) }
    }

    fn of_group(all: &'a mut Vec<Missing>) -> Self {
        Self { all, entry: None }
    }

    /// Whether the whole fact is missing (of any entry, in a group: it is an error as a whole).
    fn has(&self, fact: &str) -> bool {
        self.all.iter().any(|m| m.fact == fact && m.id.is_none())
    }

    fn add(&mut self, fact: &str, id: Option<String>, reason: impl Into<String>) {
        let reason = reason.into();
        let reason = match self.entry {
            Some(number) => format!("#{number}: {reason}"),
            None => reason,
        };
        if self.entry.is_some() {
            self.all.push(missing("merge_group", None, format!("`{fact}` of {reason}")));
        }
        self.all.push(missing(fact, id, reason));
    }
}

/// Refuses an answer about another repository: after a rename the old name may be someone else's.
fn same_repository(at: &RepoAt, answer: &Answer) -> Result<(), Trouble> {
    let repository = answer.at(&["repository"])?;
    match repository["databaseId"].as_u64() {
        Some(id) if id == at.repository.id => Ok(()),
        Some(_) => {
            let reason = format!("`{}` is the name of another repository now", at.repository.name);
            Err(Trouble::new(TroubleKind::Gone, reason))
        }
        None => Err(Trouble::new(TroubleKind::Unexpected, "GraphQL: the repository has no id")),
    }
}
