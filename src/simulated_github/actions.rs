//! What people do on the simulated GitHub. Each action changes the state and returns the webhooks
//! that GitHub would send for it, in GitHub's order. Nothing is delivered until somebody delivers it.

use super::{
    deliver::Webhook,
    state::{Pull, Repository, World},
};

mod comments;
mod commit;
mod organization;
mod other;
mod pulls;
mod pushes;
mod queue;
mod reviews;
mod setup;

pub use commit::{CommitSpec, commit};
pub use pulls::Method;

/// The result of an action and the webhooks it causes.
#[derive(Clone, Debug)]
pub struct Did<T = ()> {
    pub what: T,
    pub hooks: Vec<Webhook>,
}

/// The story asks for something that does not exist.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub String);

pub type Act<T = ()> = Result<Did<T>, Impossible>;

pub(super) fn impossible<T>(what: impl Into<String>) -> Result<T, Impossible> {
    Err(Impossible(what.into()))
}

impl World {
    pub(super) fn repo_id(&self, full_name: &str) -> Result<u64, Impossible> {
        match self.repository(full_name) {
            Some(r) => Ok(r.id),
            None => impossible(format!("there is no repository {full_name}")),
        }
    }

    pub(super) fn who(&self, login: &str) -> Result<u64, Impossible> {
        match self.account(login) {
            Some(a) => Ok(a.id),
            None => impossible(format!("there is no account {login}")),
        }
    }

    pub(super) fn repo(&self, id: u64) -> Result<&Repository, Impossible> {
        self.repositories.get(&id).ok_or_else(|| Impossible(format!("there is no repository {id}")))
    }

    pub(super) fn repo_mut(&mut self, id: u64) -> Result<&mut Repository, Impossible> {
        self.repositories.get_mut(&id).ok_or_else(|| Impossible(format!("there is no repository {id}")))
    }

    pub(super) fn pull_of(&self, repo: u64, number: u64) -> Result<&Pull, Impossible> {
        self.repo(repo)?.pulls.get(&number).ok_or_else(|| Impossible(format!("no pull request #{number}")))
    }

    pub(super) fn pull_mut(&mut self, repo: u64, number: u64) -> Result<&mut Pull, Impossible> {
        let now = self.now;
        let pull = self.repo_mut(repo)?.pulls.get_mut(&number);
        let pull = pull.ok_or_else(|| Impossible(format!("no pull request #{number}")))?;
        pull.updated_at = now;
        Ok(pull)
    }

    pub(super) fn tip(&self, repo: u64, branch: &str) -> Result<String, Impossible> {
        match self.branch(repo, branch) {
            Some(sha) => Ok(sha.to_owned()),
            None => impossible(format!("there is no branch {branch}")),
        }
    }
}
