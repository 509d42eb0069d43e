//! Environments that wait for us: where they are answered, and what is said.
//!
//! Source: <https://docs.github.com/en/rest/actions/workflow-runs#review-custom-deployment-protection-rules-for-a-workflow-run>.

use http::Uri;
use serde_json::json;

use super::{Github, RepoAt, Trouble};

/// Characters of a comment (GitHub's limit is 1,024).
const LONGEST_COMMENT: usize = 1000;

/// What an environment is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Approved,
    Rejected,
    /// A note beside the wait; it goes on waiting.
    Waiting,
}

impl Github {
    /// The workflow run that waits. The address comes with the event; it counts only where it is the one
    /// that GitHub documents, below the API of the configuration and for this repository.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn waiting_run(&self, at: &RepoAt, callback: &str) -> Result<u64, &'static str> {
        let transport = &self.inner.transport;
        let uri: Uri = callback.parse().map_err(|_| "its callback address is none")?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("its callback address is none");
        };
        let origin = format!("{scheme}://{authority}");
        if !origin.eq_ignore_ascii_case(&transport.origin) || uri.query().is_some() {
            return Err("its callback address is not below the API of [github] api_url");
        }
        let before = format!("{}{}", transport.api_path, at.path("/actions/runs/")).to_ascii_lowercase();
        let path = uri.path().to_ascii_lowercase();
        let run = path.strip_prefix(&before).and_then(|p| p.strip_suffix("/deployment_protection_rule"));
        let run = run.filter(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_digit()));
        run.and_then(|r| r.parse().ok()).ok_or("its callback address is not that of a run of this repository")
    }

    /// Says it. `false`: the environment does not wait any more (it was answered, cancelled, or is gone).
    ///
    /// # Errors
    /// GitHub could not be asked, or does not let us.
    pub async fn review_deployment(
        &self,
        at: &RepoAt,
        run: u64,
        environment: &str,
        review: Review,
        comment: &str,
    ) -> Result<bool, Trouble> {
        let path = at.path(&format!("/actions/runs/{run}/deployment_protection_rule"));
        let answer = self.post(at.installation, &path, &request(environment, review, comment)).await?;
        match answer.status.as_u16() {
            404 | 410 | 422 => Ok(false),
            _ => answer.expect(&[200, 204]).map(|_| true),
        }
    }

    /// Whether the repository can be read now.
    ///
    /// # Errors
    /// It cannot.
    pub async fn can_read(&self, at: &RepoAt) -> Result<(), Trouble> {
        self.get(at.installation, &at.path("")).await?.expect(&[200]).map(drop)
    }
}

/// The body that is sent.
#[must_use]
pub fn request(environment: &str, review: Review, comment: &str) -> serde_json::Value {
    let comment: String = comment.chars().take(LONGEST_COMMENT).collect();
    let mut body = json!({"environment_name": environment, "comment": comment});
    match review {
        Review::Approved => body["state"] = json!("approved"),
        Review::Rejected => body["state"] = json!("rejected"),
        Review::Waiting => {}
    }
    body
}
