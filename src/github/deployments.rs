//! Environments that wait for us: where they are answered, and what is said.
//!
//! Source: <https://docs.github.com/en/rest/actions/workflow-runs#review-custom-deployment-protection-rules-for-a-workflow-run>.

use http::Uri;
use serde_json::json;

use super::{Github, RepoAt, Trouble, TroubleKind};

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

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Yes,
    /// GitHub refused it: the environment was answered before, its run has ended, or it may not be said.
    No,
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

    /// Says it.
    ///
    /// # Errors
    /// GitHub could not be asked, or does not let us. Only [`Trouble`] of the kinds that come before GitHub does
    /// anything says that nothing was taken.
    pub async fn review_deployment(
        &self,
        at: &RepoAt,
        run: u64,
        environment: &str,
        review: Review,
        comment: &str,
    ) -> Result<Taken, Trouble> {
        let path = at.path(&format!("/actions/runs/{run}/deployment_protection_rule"));
        let answer = self.post(at.installation, &path, &request(environment, review, comment)).await?;
        match answer.status.as_u16() {
            404 | 410 | 422 => Ok(Taken::No),
            _ => answer.expect(&[200, 204]).map(|_| Taken::Yes),
        }
    }

    /// Whether the run goes on: what has ended (cancelled, expired after GitHub's 30 days, deleted) waits for
    /// no answer. `None`: we may not read it.
    ///
    /// Source: <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>.
    ///
    /// # Errors
    /// GitHub could not be asked.
    pub async fn run_goes_on(&self, at: &RepoAt, run: u64) -> Result<Option<bool>, Trouble> {
        #[derive(serde::Deserialize)]
        struct Run {
            status: Option<String>,
        }
        let path = at.path(&format!("/actions/runs/{run}"));
        let answer = self.get(at.installation, &path).await.and_then(|a| a.expect(&[200]));
        match answer.and_then(|a| a.json::<Run>()) {
            Ok(run) => Ok(run.status.map(|status| status != "completed")),
            // The same is said of all that is in a repository which was taken from us.
            Err(trouble) if trouble.kind == TroubleKind::Gone => match self.can_read(at).await {
                Ok(()) => Ok(Some(false)),
                Err(trouble) if trouble.passes() => Err(trouble),
                Err(_) => Ok(None),
            },
            Err(trouble) if trouble.passes() => Err(trouble),
            Err(_) => Ok(None),
        }
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
