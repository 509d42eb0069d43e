//! A pull request as it stands now, for whoever writes policies: read as a look of the gate reads it, with
//! what only the ledger knows, and neither judged nor recorded.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Gate, Item,
    drafts::PullAddress,
    lock,
    look::{header, own_event, repo_at, status},
};
use crate::{
    event::SubjectKind,
    github::{Trouble, gather::Needs},
    policy::{Input, InputError},
    time::Time,
};

/// Why there is no input.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error("no event and no sweep has told of a repository `{0}`")]
    UnknownRepository(String),
    #[error("GitHub: {}", .0.reason)]
    Github(Trouble),
    #[error(transparent)]
    Input(#[from] InputError),
}

impl Gate {
    /// The input that a look at pull request `number` of the repository called `name` would be judged by now,
    /// with the facts of `needs`. The event is the gate's own, as when it looks again by itself.
    ///
    /// # Errors
    /// [`PreviewError`]. A fact that cannot be had is no error: the input names it in `facts.missing`.
    pub async fn preview(&self, name: &str, number: u64, needs: Needs) -> Result<Input, PreviewError> {
        let known = lock(&self.0.pulls).repository_named(name);
        let known = known.ok_or_else(|| PreviewError::UnknownRepository(name.to_owned()))?;
        let at = PullAddress {
            installation: known.installation,
            organization: known.organization,
            repository: known.repository,
            number,
        };
        let event = own_event(&at, None);
        let item = Item {
            seq: self.0.ledger.head().size,
            event: Some(Arc::new(event.clone())),
            received_at: Time::now(),
            guid: None,
            replayed: false,
            unreadable: false,
        };
        let mut facts = status(event.repository.clone());
        if let Some(place) = repo_at(&event) {
            self.look_at_pull(&item, &[], &place, &event, &mut facts).await.map_err(PreviewError::Github)?;
            let gathered = self.gathered(&place, facts, &needs, &Value::Null).await;
            (facts, _) = gathered.map_err(PreviewError::Github)?;
        }
        facts.time = Time::now();
        self.add_waivers(&mut facts);
        let payload = json!({"action": "look_again", "pull_request": {"number": number}});
        Ok(Input::new(SubjectKind::PullRequest, header(&item, &event), payload, &facts)?)
    }
}
