//! Facts, gathered in two stages: what every judgement of a pull request reads (one query of one
//! point), then what the active controls asked for beyond it.
//!
//! A fact that cannot be had is named in `missing`, with the reason, and the controls that need it
//! are `error`. Only what a later try may mend (an outage, a limit, an API that is behind its own
//! webhook) ends in [`Trouble`], and what is gone altogether.

mod answer;
mod cache;
mod head;
mod pull;

pub(super) use cache::{PeopleCaches, ShaCaches};
pub use pull::{Floor, Pulled, pull};

use super::{RepoAt, Trouble, TroubleKind, graphql::Answer};
use crate::facts::Missing;

fn missing(fact: &str, id: Option<String>, reason: impl Into<String>) -> Missing {
    Missing { fact: fact.to_owned(), id, reason: reason.into() }
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
