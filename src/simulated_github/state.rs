//! Who and what exists on the simulated GitHub: plain data, and the questions asked of it.
//!
//! Ids come from one counter and commits are named by the hash of their content, so the same story
//! gives the same ids and shas on every run.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use crate::time::Time;

use super::{deliver::Webhook, git::Commit};

/// The whole of the simulated GitHub. Cheap enough to clone: that is how a lagging API is made.
#[derive(Clone)]
pub struct World {
    /// GitHub's own clock. Every action moves it on by one second.
    pub now: Time,
    pub app: App,
    pub installations: BTreeMap<u64, Installation>,
    pub accounts: BTreeMap<u64, Account>,
    pub teams: BTreeMap<u64, Team>,
    pub repositories: BTreeMap<u64, Repository>,
    pub commits: BTreeMap<String, Commit>,
    pub blobs: BTreeMap<String, Bytes>,
    /// Those that are symbolic links: to what is in them, from the folder of the path. (In git the mode is
    /// the tree's, and a file with the same bytes has the same hash; here it has another one.)
    pub links: BTreeSet<String>,
    /// Annotated tags: the tag itself → the commit it names.
    pub tag_objects: BTreeMap<String, String>,
    pub check_runs: BTreeMap<u64, CheckRun>,
    /// Commit statuses, oldest first.
    pub statuses: Vec<Status>,
    /// Slugs of other apps that make check runs, by id.
    pub other_apps: BTreeMap<u64, String>,
    /// Webhooks that no action returned: those that our own REST writes caused.
    pub outbox: Vec<Webhook>,
    /// Runs that wait for the App's word on an environment: run → repository.
    pub waiting_runs: BTreeMap<u64, u64>,
    /// All that ever asked: run → repository and commit.
    pub deploying_runs: BTreeMap<u64, (u64, String)>,
    /// What the App said of waiting runs, in order: run and body.
    pub deployment_reviews: Vec<(u64, Value)>,
    /// Apps being registered: code → manifest.
    pub manifests: BTreeMap<String, Value>,
    /// What `/app/hook/deliveries` lists, oldest first.
    pub deliveries: Vec<PastDelivery>,
    pub(super) seed: String,
    last_id: u64,
    last_guid: u64,
}

/// The App under test.
#[derive(Clone, Debug)]
pub struct App {
    pub id: u64,
    pub slug: String,
    pub name: String,
    /// Of its webhook; shown by `/app/hook/config`.
    pub hook_url: String,
    pub hook_id: u64,
    pub permissions: BTreeMap<String, String>,
    pub events: Vec<String>,
}

/// The App installed in an organisation.
#[derive(Clone, Debug)]
pub struct Installation {
    pub id: u64,
    /// Account id of the organisation.
    pub account: u64,
    /// `None`: all repositories of the organisation.
    pub repositories: Option<BTreeSet<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    User,
    Bot,
    Organization,
    Mannequin,
}

/// A person, app or organisation.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: u64,
    /// A bot's is its app's slug, without `[bot]`.
    pub login: String,
    pub kind: AccountKind,
    /// Commits with these e-mails are linked to the account.
    pub emails: Vec<String>,
    /// Organisations: login → members (active) with their role in it.
    pub members: BTreeSet<u64>,
    pub owners: BTreeSet<u64>,
    /// Organisations: whether the App may know who is a member (else GitHub redirects, 302).
    pub members_hidden: bool,
}

/// A permission on a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Read,
    Triage,
    Write,
    Maintain,
    Admin,
}

#[derive(Clone, Debug)]
pub struct Team {
    pub id: u64,
    /// Account id of the organisation.
    pub org: u64,
    pub slug: String,
    pub parent: Option<u64>,
    pub members: BTreeSet<u64>,
    /// Invited, not yet a member.
    pub pending: BTreeSet<u64>,
    pub repositories: BTreeMap<u64, Role>,
}

/// Somebody's own right on a repository.
#[derive(Clone, Debug)]
pub struct Collaborator {
    pub role: Role,
    /// Name of a custom role that is based on `role`.
    pub custom: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Repository {
    pub id: u64,
    pub owner: u64,
    pub name: String,
    pub default_branch: String,
    pub private: bool,
    pub archived: bool,
    /// The repository it was forked from. Forks share the commits of their network.
    pub parent: Option<u64>,
    pub collaborators: BTreeMap<u64, Collaborator>,
    /// Full name (`refs/heads/main`) → commit.
    pub refs: BTreeMap<String, String>,
    pub pulls: BTreeMap<u64, Pull>,
    pub last_number: u64,
    /// Base branch → its merge queue, first in the queue first.
    pub queues: BTreeMap<String, Vec<QueueEntry>>,
    /// When a ref last moved, tags included.
    pub pushed_at: Option<Time>,
    /// Oldest first.
    pub activity: Vec<Activity>,
    /// Branch → active rules, as `rules/branches` shows them.
    pub rules: BTreeMap<String, Vec<Value>>,
    /// Rulesets by id, as `rulesets/{id}` shows them.
    pub rulesets: BTreeMap<u64, Value>,
    /// Branch → `protection` as REST's `branches/{branch}` shows it to those who may only read.
    pub protection_shown: BTreeMap<String, Value>,
    /// Secret scanning alerts, as REST shows them; `None`: it is switched off.
    pub secret_alerts: Option<Vec<Value>>,
    /// Evaluations of rulesets, oldest first, as `rulesets/rule-suites` lists them.
    pub rule_suites: Vec<Value>,
    /// `rulesets/rule-suites` and `activity` answer 403.
    pub records_hidden: bool,
    /// What GitHub itself says is wrong with the CODEOWNERS file.
    pub codeowners_errors: Vec<CodeownersError>,
    /// GraphQL `collaborators` answers FORBIDDEN.
    pub collaborators_hidden: bool,
}

#[derive(Clone, Debug)]
pub struct CodeownersError {
    pub path: String,
    pub line: u64,
    pub kind: String,
    pub message: String,
}

#[derive(Clone, Debug)]
pub struct Pull {
    pub number: u64,
    pub id: u64,
    pub title: String,
    pub body: String,
    /// `None`: the account was deleted.
    pub author: Option<u64>,
    pub open: bool,
    pub draft: bool,
    pub merged: Option<Merged>,
    pub labels: Vec<String>,
    pub head: Head,
    pub base_ref: String,
    /// The base branch when GitHub last looked: at opening, a push, a retarget.
    pub base_sha: String,
    pub reviews: Vec<Review>,
    pub timeline: Vec<Happening>,
    pub created_at: Time,
    pub updated_at: Time,
}

#[derive(Clone, Debug)]
pub struct Head {
    /// `None`: the fork was deleted.
    pub repository: Option<u64>,
    pub name: String,
    pub sha: String,
}

#[derive(Clone, Debug)]
pub struct Merged {
    pub at: Time,
    pub by: Option<u64>,
    pub commit: String,
    /// All commits that the merge put on the base branch.
    pub landed: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewState {
    Approved,
    ChangesRequested,
    Commented,
    Dismissed,
    Pending,
}

#[derive(Clone, Debug)]
pub struct Review {
    pub id: u64,
    pub author: Option<u64>,
    pub state: ReviewState,
    pub body: String,
    pub commit: String,
    pub submitted_at: Time,
}

/// One item of a pull request's timeline.
#[derive(Clone, Debug)]
pub struct Happening {
    pub at: Time,
    pub actor: Option<u64>,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    BaseRefChanged { from: String, to: String },
    AutomaticBaseChangeSucceeded { from: String, to: String },
    BaseRefForcePushed { before: String, after: String },
    HeadRefForcePushed { before: String, after: String },
    ReviewDismissed { review: u64, previous: ReviewState },
}

#[derive(Clone, Debug)]
pub struct QueueEntry {
    pub pull: u64,
    pub head_commit: String,
    pub base_commit: String,
    pub head_ref: String,
}

/// One line of a repository's activity: a change of a branch (tags are not listed).
#[derive(Clone, Debug)]
pub struct Activity {
    pub id: u64,
    pub full_ref: String,
    pub before: String,
    pub after: String,
    pub actor: Option<u64>,
    pub kind: &'static str,
    pub at: Time,
}

/// One commit status.
#[derive(Clone, Debug)]
pub struct Status {
    pub id: u64,
    pub repository: u64,
    pub sha: String,
    pub context: String,
    /// `pending`, `success`, `failure` or `error`
    pub state: String,
    pub creator: u64,
    pub at: Time,
}

#[derive(Clone, Debug)]
pub struct CheckRun {
    pub id: u64,
    pub repository: u64,
    pub app: u64,
    pub name: String,
    pub head_sha: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub external_id: String,
    pub details_url: Option<String>,
    pub title: Option<String>,
    pub summary: Option<String>,
    pub text: Option<String>,
    pub annotations: Vec<Value>,
    pub actions: Vec<Value>,
    pub started_at: Time,
    pub completed_at: Option<Time>,
    /// How often it was written, creation included.
    pub writes: u64,
}

#[derive(Clone, Debug)]
pub struct PastDelivery {
    pub id: u64,
    pub hook: Webhook,
    pub status: u16,
    pub redelivery: bool,
    /// By the clock of this machine, as the receiver sees it.
    pub at: Time,
}

/// All zeros: GitHub's name for "no commit".
pub const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

impl World {
    pub(super) fn new(seed: &str, app: App, now: Time) -> Self {
        Self {
            now,
            app,
            installations: BTreeMap::new(),
            accounts: BTreeMap::new(),
            teams: BTreeMap::new(),
            repositories: BTreeMap::new(),
            commits: BTreeMap::new(),
            blobs: BTreeMap::new(),
            links: BTreeSet::new(),
            tag_objects: BTreeMap::new(),
            check_runs: BTreeMap::new(),
            statuses: Vec::new(),
            other_apps: BTreeMap::new(),
            outbox: Vec::new(),
            waiting_runs: BTreeMap::new(),
            deploying_runs: BTreeMap::new(),
            deployment_reviews: Vec::new(),
            manifests: BTreeMap::new(),
            deliveries: Vec::new(),
            seed: seed.to_owned(),
            last_id: 1000,
            last_guid: 0,
        }
    }

    /// Time passes: one second per action, because GitHub's times have seconds only.
    pub(super) fn tick(&mut self) -> Time {
        self.now = self.now.plus(std::time::Duration::from_secs(1));
        self.now
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The next GUID: of the seed and a counter, in the form of a UUID.
    pub(super) fn next_guid(&mut self) -> String {
        self.last_guid += 1;
        let h = super::git::hash(&["guid", &self.seed, &self.last_guid.to_string()]);
        format!("{}-{}-4{}-8{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
    }

    #[must_use]
    pub fn account(&self, login: &str) -> Option<&Account> {
        let plain = login.strip_suffix("[bot]");
        self.accounts.values().find(|a| match plain {
            Some(slug) => a.kind == AccountKind::Bot && a.login.eq_ignore_ascii_case(slug),
            None => a.kind != AccountKind::Bot && a.login.eq_ignore_ascii_case(login),
        })
    }

    /// The account that GitHub links to an e-mail of a commit.
    #[must_use]
    pub fn account_of_email(&self, email: &str) -> Option<&Account> {
        self.accounts.values().find(|a| a.emails.iter().any(|e| e.eq_ignore_ascii_case(email)))
    }

    #[must_use]
    pub fn repository(&self, full_name: &str) -> Option<&Repository> {
        let (owner, name) = full_name.split_once('/')?;
        self.repositories.values().find(|r| {
            r.name.eq_ignore_ascii_case(name)
                && self.accounts.get(&r.owner).is_some_and(|o| o.login.eq_ignore_ascii_case(owner))
        })
    }

    #[must_use]
    pub fn full_name(&self, r: &Repository) -> String {
        let owner = self.accounts.get(&r.owner).map_or("ghost", |o| &o.login);
        format!("{owner}/{}", r.name)
    }

    #[must_use]
    pub fn pull(&self, full_name: &str, number: u64) -> Option<&Pull> {
        self.repository(full_name)?.pulls.get(&number)
    }

    #[must_use]
    pub fn team(&self, org: u64, slug: &str) -> Option<&Team> {
        self.teams.values().find(|t| t.org == org && t.slug.eq_ignore_ascii_case(slug))
    }

    /// The repository at the root of a network of forks.
    #[must_use]
    pub fn network(&self, repository: u64) -> u64 {
        let mut at = repository;
        while let Some(parent) = self.repositories.get(&at).and_then(|r| r.parent) {
            at = parent;
        }
        at
    }

    /// A commit as one repository sees it: any of its network.
    #[must_use]
    pub fn commit_in(&self, repository: u64, sha: &str) -> Option<&Commit> {
        self.commits.get(sha).filter(|c| c.network == self.network(repository))
    }

    #[must_use]
    pub fn branch(&self, repository: u64, name: &str) -> Option<&str> {
        self.repositories.get(&repository)?.refs.get(&format!("refs/heads/{name}")).map(String::as_str)
    }

    /// The installation that covers a repository.
    #[must_use]
    pub fn installation_of(&self, repository: &Repository) -> Option<&Installation> {
        self.installations.values().find(|i| {
            i.account == repository.owner
                && i.repositories.as_ref().is_none_or(|some| some.contains(&repository.id))
        })
    }

    /// Check runs on a commit, oldest first.
    #[must_use]
    pub fn check_runs_on(&self, sha: &str) -> Vec<CheckRun> {
        self.check_runs.values().filter(|c| c.head_sha == sha).cloned().collect()
    }

    /// Webhooks that no action returned, such as `check_run` for our own writes.
    pub fn take_outbox(&mut self) -> Vec<Webhook> {
        std::mem::take(&mut self.outbox)
    }
}

impl Account {
    /// With `[bot]`, as REST and webhooks write a bot's login.
    #[must_use]
    pub fn rest_login(&self) -> String {
        match self.kind {
            AccountKind::Bot => format!("{}[bot]", self.login),
            _ => self.login.clone(),
        }
    }
}

impl AccountKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Bot => "Bot",
            Self::Organization => "Organization",
            Self::Mannequin => "Mannequin",
        }
    }
}

impl ReviewState {
    /// As GraphQL and REST write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::ChangesRequested => "CHANGES_REQUESTED",
            Self::Commented => "COMMENTED",
            Self::Dismissed => "DISMISSED",
            Self::Pending => "PENDING",
        }
    }
}

impl Role {
    /// REST's `role_name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }

    /// REST's `permission`, which flattens `maintain` and `triage`.
    #[must_use]
    pub fn flat(self) -> &'static str {
        match self {
            Self::Read | Self::Triage => "read",
            Self::Write | Self::Maintain => "write",
            Self::Admin => "admin",
        }
    }
}

impl Pull {
    /// GraphQL's state.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.open, &self.merged) {
            (true, _) => "OPEN",
            (false, Some(_)) => "MERGED",
            (false, None) => "CLOSED",
        }
    }
}
