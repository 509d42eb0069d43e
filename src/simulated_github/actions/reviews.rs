//! Reviews: given, dismissed.

use serde_json::json;

use crate::simulated_github::{
    deliver::Webhook,
    state::{Happening, Review, ReviewState, What, World},
};

use super::{Act, Did, Impossible, impossible};

impl World {
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn approve(&mut self, who: &str, repo: &str, number: u64) -> Act<u64> {
        self.review(who, repo, number, ReviewState::Approved, "")
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn request_changes(&mut self, who: &str, repo: &str, number: u64, body: &str) -> Act<u64> {
        self.review(who, repo, number, ReviewState::ChangesRequested, body)
    }

    /// A review that is only a comment.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn comment(&mut self, who: &str, repo: &str, number: u64, body: &str) -> Act<u64> {
        self.review(who, repo, number, ReviewState::Commented, body)
    }

    /// A review of the head. Returns its id.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn review(&mut self, who: &str, repo: &str, number: u64, state: ReviewState, body: &str) -> Act<u64> {
        let repo_id = self.repo_id(repo)?;
        let head = self.pull_of(repo_id, number)?.head.sha.clone();
        self.review_at(who, repo, number, state, body, &head)
    }

    /// A review of an older commit: somebody pressed the button on an old page.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn review_at(
        &mut self,
        who: &str,
        repo: &str,
        number: u64,
        state: ReviewState,
        body: &str,
        commit: &str,
    ) -> Act<u64> {
        let now = self.tick();
        let (who, repo, id) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        self.pull_mut(repo, number)?.reviews.push(Review {
            id,
            author: Some(who),
            state,
            body: body.to_owned(),
            commit: commit.to_owned(),
            submitted_at: now,
        });
        Ok(Did { what: id, hooks: self.review_hook(repo, number, id, who, "submitted")? })
    }

    /// # Errors
    /// Unknown login, repository, pull request or review.
    pub fn dismiss(&mut self, who: &str, repo: &str, number: u64, review: u64) -> Act {
        let now = self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let pull = self.pull_mut(repo, number)?;
        let Some(r) = pull.reviews.iter_mut().find(|r| r.id == review) else {
            return impossible(format!("there is no review {review}"));
        };
        let previous = std::mem::replace(&mut r.state, ReviewState::Dismissed);
        let what = What::ReviewDismissed { review, previous };
        pull.timeline.push(Happening { at: now, actor: Some(who), what });
        Ok(Did { what: (), hooks: self.review_hook(repo, number, review, who, "dismissed")? })
    }

    fn review_hook(
        &mut self,
        repo: u64,
        number: u64,
        review: u64,
        who: u64,
        action: &str,
    ) -> Result<Vec<Webhook>, Impossible> {
        let pull = self.pull_of(repo, number)?;
        let Some(r) = pull.reviews.iter().find(|r| r.id == review) else { return Ok(Vec::new()) };
        let payload = json!({
            "action": action,
            "review": {
                "id": r.id,
                "user": self.user_json(r.author),
                "body": r.body,
                // Webhooks write the state in lower case, the API in upper case.
                "state": r.state.as_str().to_lowercase(),
                "commit_id": r.commit,
                "submitted_at": super::super::payload::seconds(r.submitted_at),
                "author_association": "MEMBER",
            },
            "pull_request": self.reviewed_json(repo, pull),
        });
        Ok(self.hook(repo, Some(who), "pull_request_review", payload))
    }
}
