//! GitHub: authentication, REST and GraphQL, gathering facts, writing check runs.
//!
//! octocrab is the authenticated transport and nothing more: it signs the app's JWT and speaks TLS.
//! Tokens, limits, retries, paging and the GraphQL envelope are ours, because octocrab's were
//! measured unsafe for a gate (a partial GraphQL answer loses its data, ten first calls mint ten
//! tokens, a page of a `Link` header goes out without authorization on Enterprise Server).
//!
//! ```text
//!  gather, report ──▶ rest, graphql ──▶ call (limits ─ token ─ timeout ─ one more try) ──▶ octocrab
//! ```

use std::{fmt, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use self::budget::Limit;
use crate::{event, outbound::Outbound};

mod auth;
mod behalf;
mod budget;
mod call;
pub mod check_run;
pub mod deployments;
pub mod gather;
pub mod graphql;
pub mod inspect;
mod limits;
pub mod manifest;
pub mod needed;
pub mod reconcile;
pub mod report;
pub mod rest;
mod setup;

pub use behalf::in_place;
pub(crate) use behalf::{aside, wait_no_more};
pub use budget::{BudgetUse, Turn, Window};
pub use limits::{CallCount, Remaining, Usage};
pub use setup::SetupError;

/// How to reach GitHub, and as which app.
#[derive(Clone)]
pub struct Settings {
    /// `https://api.github.com`, `https://HOST/api/v3` (Enterprise Server), `https://api.SUB.ghe.com`.
    pub api_url: String,
    /// Where GraphQL is; derived from `api_url` when `None`.
    pub graphql_url: Option<String>,
    pub app_id: u64,
    /// RSA key of the app, PKCS#1 or PKCS#8 PEM as GitHub hands it out.
    pub private_key_pem: Zeroizing<Vec<u8>>,
    /// Longest one call may take, body included.
    pub timeout: Duration,
    /// How connections are made.
    pub outbound: Outbound,
    /// GitHub limits what an App does in a minute. An Enterprise Server may not.
    pub secondary_limits: bool,
}

/// Where GitHub is asked when nothing else is configured.
pub const DEFAULT_API_URL: &str = "https://api.github.com";

/// The way to GitHub. Cheap to clone: all clones share connections, tokens, limits and caches.
#[derive(Clone)]
pub struct Github {
    inner: Arc<Inner>,
}

struct Inner {
    app_id: u64,
    transport: call::Transport,
    tokens: auth::Tokens,
    limits: limits::Limits,
    budget: budget::Budget,
    people: gather::PeopleCaches,
    shas: gather::ShaCaches,
}

impl Github {
    /// # Errors
    /// An address that is not one, a key that is not an RSA key.
    ///
    /// # Panics
    /// Outside a tokio runtime: the transport runs as a task of it.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Ok(Self {
            inner: Arc::new(Inner {
                app_id: settings.app_id,
                transport: setup::transport(settings)?,
                tokens: auth::Tokens::default(),
                limits: limits::Limits::default(),
                budget: budget::Budget::new(settings.secondary_limits),
                people: gather::PeopleCaches::default(),
                shas: gather::ShaCaches::default(),
            }),
        })
    }

    /// The app whose check runs are ours.
    #[must_use]
    pub fn app_id(&self) -> u64 {
        self.inner.app_id
    }

    /// Forgets teams, members and permissions: to be called when a `member`, `membership`, `team`,
    /// `team_add`, `organization` or `repository` event arrives.
    ///
    /// Everything is forgotten, whatever the event names: a team of one organisation may count in
    /// another, and what is dropped too much costs one call. A read under way does not bring an
    /// old answer back.
    pub fn drop_people_cache(&self) {
        self.inner.people.forget();
    }

    /// As [`Self::drop_people_cache`], for an event that states who joined or left: for a minute an
    /// answer that says otherwise is not believed.
    pub fn people_changed(&self, said: &event::Membership) {
        self.inner.people.state(said);
    }

    /// Calls an installation has left of an hourly budget (`core` or `graphql`), as GitHub last said.
    /// `None`: not said yet.
    #[must_use]
    pub fn calls_left(&self, installation: u64, resource: &str) -> Option<u64> {
        let usage = self.usage();
        let own = |r: &&Remaining| r.installation == Some(installation) && r.resource == resource;
        usage.remaining.iter().find(own).map(|r| r.left)
    }

    /// Calls made, limits left, points paid: for the metrics.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { budget: self.inner.budget.usage(), ..self.inner.limits.usage() }
    }

    /// Waits until something may be written in a repository without hitting GitHub's limits. Of those who wait
    /// for the same repository the newest comes first; the repositories take turns. What is to be written
    /// should be looked at again then.
    pub async fn turn_to_write(&self, at: &RepoAt, newest: u64) -> Turn {
        self.inner.budget.turn(at.who(), Limit::Writes, 1, at.lane(), newest).await
    }

    /// The same before all others, and with room that is kept for it where the limits leave none: for what takes
    /// a green away.
    pub async fn urgent_turn_to_write(&self, at: &RepoAt, newest: u64) -> Turn {
        self.inner.budget.urgent_turn(at.who(), Limit::Writes, at.lane(), newest).await
    }

    /// How much an installation may write in a minute.
    #[must_use]
    pub fn writes_in_a_minute(&self) -> u32 {
        self.inner.budget.writes_in_a_minute()
    }

    /// The same at once, where plenty is left: for what may as well not be written.
    #[must_use]
    pub fn spare_turn_to_write(&self, at: &RepoAt) -> Option<Turn> {
        self.inner.budget.spare(at.who(), Limit::Writes, at.lane())
    }

    /// Waits until one more judgement may begin that asks GitHub for a repository, which it may do while it
    /// holds the turn: so that as many as wait for GitHub's limits fit into memory, and none of them keeps
    /// those of another repository or installation from beginning.
    pub async fn turn_to_judge(&self, at: &RepoAt, soon: bool) -> Turn {
        let newest = if soon { u64::MAX } else { 0 };
        self.inner.budget.turn(at.who(), Limit::Judgements, 1, at.lane(), newest).await
    }

    /// What the process before this one did for an installation, so long ago, oldest first: GitHub still
    /// counts it.
    pub fn did_before(&self, installation: u64, did: Before, ago: Duration) {
        let (budget, who) = (&self.inner.budget, call::As::Installation(installation));
        match did {
            Before::Wrote => {
                budget.used_before(who, Limit::Writes, 1, ago);
                budget.used_before(who, Limit::Points, 5, ago);
            }
            Before::Judged => {
                budget.used_before(who, Limit::GraphQlPoints, 2, ago);
                budget.used_before(who, Limit::Points, 3, ago);
            }
        }
    }

    /// How many writes may have been under way when the process before this one ended: they are in no entry.
    pub fn perhaps_wrote_before(&self, installation: u64, writes: usize) {
        self.inner.budget.under_way_before(call::As::Installation(installation), writes);
    }
}

/// What a test says, as `FAILPOINTS=name=return(what)`. Without the feature `failpoints`: nothing.
fn told(name: &'static str) -> Option<String> {
    fail::fail_point!(name, |what| what);
    let _ = name;
    None
}

/// What a process did, as its entries tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It wrote something.
    Wrote,
    /// It gathered facts. What that took is not recorded: taken for rather more than the usual
    /// judgement, which is one query.
    Judged,
}

impl fmt::Debug for Github {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Github").field("transport", &self.inner.transport).finish_non_exhaustive()
    }
}

/// A repository, and the installation through which it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoAt {
    pub installation: u64,
    pub repository: event::Repository,
}

impl RepoAt {
    fn who(&self) -> call::As {
        call::As::Installation(self.installation)
    }

    fn lane(&self) -> behalf::Lane {
        behalf::Lane::of(&self.repository.name)
    }

    /// `/repos/{owner}/{name}{rest}`; `rest` starts with `/` or is empty.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        // `RepoName` admits only characters that stand for themselves in a path.
        format!("/repos/{}{rest}", self.repository.name)
    }
}

/// A call that did not give what was asked. What it means for the event is the worker's to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    /// One sentence for people; never holds a token.
    pub reason: String,
    /// Do not call again sooner.
    pub retry_after: Option<Duration>,
    pub kind: TroubleKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// Network, time-out, 5xx, an answer that lags behind the event: try again.
    Unavailable,
    /// A limit of GitHub: try again after `retry_after`.
    RateLimited,
    /// 404 or 410: not there, or not for us.
    Gone,
    /// 401 or 403.
    Denied,
    /// An answer that no documented GitHub gives.
    Unexpected,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None, kind }
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether the same call may well succeed later.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self.kind, TroubleKind::Unavailable | TroubleKind::RateLimited)
    }
}
