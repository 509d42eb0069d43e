//! What happened: deliveries, events, and what they are about.
//!
//! Plain data, no I/O. Our own narrow structs instead of a library's webhook types, because an
//! unknown action must never fail the whole parse (GitHub adds actions without notice). The whole
//! payload is kept as received; these types hold only what gatelog itself acts on.
//!
//! Source of names and shapes: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

pub mod command;
mod parse;
mod payload;
mod table;

pub use parse::{ParseError, parse, parse_stored};
pub use payload::{json, payload_json, repository_in};
pub use table::{
    EXPLAIN, FanOut, Handling, Judge, Lane, RECHECK, decides_pull_request, handling, is_look_again, lane,
};

/// One webhook POST whose signature was checked. The body is kept as received.
#[derive(Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`: GitHub keeps it on a redelivery.
    pub guid: String,
    /// `X-GitHub-Event`.
    pub name: String,
    pub content: ContentType,
    pub body: bytes::Bytes,
    pub received_at: Time,
}

/// How GitHub was told to send payloads (a setting of the webhook).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded` with one field, `payload`
    Form,
}

impl ContentType {
    /// The media type, as HTTP and the ledger write it.
    #[must_use]
    pub fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }

    /// The other way round; what is no form is taken for JSON.
    #[must_use]
    pub fn of_media(media: &str) -> Self {
        if media == Self::Form.media() { Self::Form } else { Self::Json }
    }
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A signed webhook.
    Github,
    /// gatelog's own "look again", with its [`Cause`].
    Gatelog,
    /// Read from GitHub's API because the webhook never came.
    Api,
}

/// Why gatelog itself asks for another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person, team or organisation changed (fan-out of another event).
    Membership,
    /// Another pull request with the same head was opened, closed or moved.
    SharedHead,
    /// The verdict was too old to publish as a success.
    Stale,
    /// GitHub answers again after an outage.
    GithubBack,
    /// Another bundle is active.
    Bundle,
    /// `valid_until` of the last verdict has passed.
    Expired,
    /// Found at start: an open pull request whose head has no verdict.
    Start,
    /// The base branch moved or its rules changed.
    Base,
    /// A pull request that a waiting merge group carries was decided otherwise.
    MergeGroup,
    /// A person asked for it on GitHub: always answered with a write.
    Rerequested,
    /// A sweep found that GitHub shows what the ledger does not have.
    Sweep,
    /// A waiver was asked for, granted, refused or ended.
    Waiver,
    /// A fact changed that the controls of this pull request read: a check, an alert, a rule, the base.
    Fact,
}

/// One thing that happened, as gatelog handles it.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub action: Option<String>,
    pub source: Source,
    pub cause: Option<Cause>,
    pub installation: Option<u64>,
    pub organization: Option<u64>,
    pub repository: Option<Repository>,
    pub sender: Option<Account>,
    pub about: About,
}

/// What an event is about, with what the payload states of it.
#[derive(Clone, Debug)]
pub enum About {
    PullRequest(PullRequestRef),
    /// A push to, or the creation or deletion of, a branch or tag.
    Ref(RefChange),
    Commit {
        sha: Sha,
    },
    /// The refs are without `refs/heads/`; `reason` is why a group was destroyed.
    MergeGroup {
        head: Sha,
        head_ref: String,
        base: Option<Sha>,
        base_ref: String,
        reason: Option<String>,
    },
    /// A check run or suite of some app.
    Check(CheckRef),
    Deployment {
        id: u64,
        sha: Option<Sha>,
    },
    WorkflowRun {
        id: u64,
        head: Option<Sha>,
    },
    WorkflowJob {
        id: u64,
        head: Option<Sha>,
    },
    /// A leaked secret was found, or its alert closed.
    SecretAlert {
        number: u64,
        open: bool,
    },
    /// What the ledger names and gatelog handles by the event's name alone.
    Thing {
        kind: SubjectKind,
        id: Option<u64>,
    },
    Organization,
    /// Somebody joined or left a team or an organisation.
    Membership(Membership),
    Nothing,
}

/// Who is in a team or organisation now, as `membership` and `organization` events state it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub circle: Circle,
    /// Id of the account.
    pub account: u64,
    pub member: bool,
}

/// What somebody can be a member of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Circle {
    /// A team, by id.
    Team(u64),
    /// An organisation, by its login in lower case.
    Organization(String),
}

/// A pull request as a payload states it. `None` means the payload does not say.
#[derive(Clone, Debug, Default)]
pub struct PullRequestRef {
    pub number: u64,
    pub head: Option<Sha>,
    pub head_repository: Option<u64>,
    pub base: Option<Sha>,
    pub base_ref: Option<String>,
    pub open: Option<bool>,
    pub merged: Option<bool>,
    /// `synchronize`: the head before.
    pub before: Option<Sha>,
    /// Number of commits the payload claims, to size the query.
    pub commits: Option<u64>,
    /// The review an event is about: (id, state in upper case). A floor for the facts.
    pub review: Option<(u64, String)>,
    /// When the pull request last changed before GitHub wrote this: orders what came out of order.
    pub updated_at: Option<Time>,
    /// `edited`: the base it had before.
    pub old_base: Option<String>,
}

#[derive(Clone, Debug)]
pub struct RefChange {
    pub kind: RefKind,
    /// Without `refs/heads/` or `refs/tags/`.
    pub name: String,
    /// `None`: the ref did not exist (all zeros), or the event does not say.
    pub before: Option<Sha>,
    pub after: Option<Sha>,
    pub created: bool,
    pub deleted: bool,
    pub forced: bool,
    /// A commit of the push changes a CODEOWNERS file, or the payload cannot rule it out.
    pub touches_codeowners: bool,
}

#[derive(Clone, Debug)]
pub struct CheckRef {
    pub head: Option<Sha>,
    pub app_id: Option<u64>,
    pub check_run: Option<u64>,
    pub name: Option<String>,
    pub external_id: Option<String>,
    /// Id of a commit status (`status` events); its context is the `name`.
    pub status: Option<u64>,
    /// `None` while it is not completed, and of a suite. The state of a commit status that is not pending.
    pub conclusion: Option<String>,
    /// `requested_action`: which button.
    pub button: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefKind {
    Branch,
    Tag,
}

/// A repository: the id is the identity, the name only says how to reach it now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    pub id: u64,
    pub name: RepoName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
}

/// `owner/name` as GitHub writes it. Compares without case, as GitHub does.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    full: String,
    slash: usize,
}

impl RepoName {
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.full[..self.slash]
    }
    #[must_use]
    pub fn name(&self) -> &str {
        &self.full[self.slash + 1..]
    }
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

impl TryFrom<String> for RepoName {
    type Error = String;
    fn try_from(full: String) -> Result<Self, String> {
        // GitHub: letters, digits, `-`, `_`, `.`; checked because the name becomes part of URLs.
        let part = |s: &str| {
            !s.is_empty()
                && s != "."
                && s != ".."
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match full.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => {
                let slash = owner.len();
                Ok(Self { full, slash })
            }
            _ => Err(format!("`{}` is not a repository name (owner/name)", full.escape_debug())),
        }
    }
}

impl std::str::FromStr for RepoName {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::try_from(s.to_owned())
    }
}

impl From<RepoName> for String {
    fn from(r: RepoName) -> Self {
        r.full
    }
}

impl PartialEq for RepoName {
    fn eq(&self, other: &Self) -> bool {
        self.full.eq_ignore_ascii_case(&other.full)
    }
}
impl Eq for RepoName {}
impl std::hash::Hash for RepoName {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        self.full.to_ascii_lowercase().hash(h);
    }
}
impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}
impl fmt::Debug for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// A git object id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Sha(Box<str>);

impl Sha {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first seven digits, as people write it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
    /// All zeros: GitHub's way to say "no such commit" in `push`.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl TryFrom<String> for Sha {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        let hex = s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (s.len() == 40 || s.len() == 64) {
            Ok(Self(s.into_boxed_str()))
        } else {
            Err(format!("`{}` is not a git object id", s.chars().take(80).collect::<String>().escape_debug()))
        }
    }
}

impl std::str::FromStr for Sha {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::try_from(s.to_owned())
    }
}

impl From<Sha> for String {
    fn from(s: Sha) -> Self {
        s.0.into()
    }
}
impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A GitHub account. The id is the identity; logins change and compare without case.
///
/// Logins are in REST form: a bot's ends in `[bot]` (GraphQL omits it), so that `renovate`, the
/// person, and `renovate[bot]`, the app, are never taken for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    pub id: u64,
    pub login: String,
    /// `User`, `Bot`, `Mannequin`, `Organization` …
    #[serde(rename = "type")]
    pub kind: String,
}

/// What an entry of the ledger is about: ids and shas only, no name of a person, repository or ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub kind: SubjectKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<u64>,
    /// Number of the pull request, issue or alert; id of what else the kind names. Never of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Head of the pull request or merge group; `after` of a push; the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Sha>,
    /// Base of the pull request or merge group; `before` of a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Sha>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_kind: Option<RefKind>,
}

impl Subject {
    /// Of what is about nothing on GitHub: the service itself, a key, an erasure.
    pub const NONE: Self = Self {
        kind: SubjectKind::None,
        installation: None,
        organization: None,
        repository: None,
        id: None,
        head: None,
        base: None,
        ref_kind: None,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    PullRequest,
    Commit,
    Ref,
    MergeGroup,
    Deployment,
    WorkflowRun,
    Organization,
    None,
    // From here on policies are never told that an event is about one: it is `none` to them.
    #[schemars(skip)]
    WorkflowJob,
    #[schemars(skip)]
    SecretAlert,
    #[schemars(skip)]
    Ruleset,
    #[schemars(skip)]
    BranchProtection,
    /// Somebody's own right in a repository; who stands in the payload.
    #[schemars(skip)]
    Member,
    #[schemars(skip)]
    Team,
    #[schemars(skip)]
    Installation,
    #[schemars(skip)]
    Issue,
    #[schemars(skip)]
    Release,
    /// Whatever else happens in a repository.
    #[schemars(skip)]
    Repository,
}

impl SubjectKind {
    /// As it stands in the entry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PullRequest => "pull_request",
            Self::Commit => "commit",
            Self::Ref => "ref",
            Self::MergeGroup => "merge_group",
            Self::Deployment => "deployment",
            Self::WorkflowRun => "workflow_run",
            Self::Organization => "organization",
            Self::None => "none",
            Self::WorkflowJob => "workflow_job",
            Self::SecretAlert => "secret_alert",
            Self::Ruleset => "ruleset",
            Self::BranchProtection => "branch_protection",
            Self::Member => "member",
            Self::Team => "team",
            Self::Installation => "installation",
            Self::Issue => "issue",
            Self::Release => "release",
            Self::Repository => "repository",
        }
    }
}

impl Event {
    /// The subject as the ledger writes it.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let mut s = Subject {
            installation: self.installation,
            organization: self.organization,
            repository: self.repository.as_ref().map(|r| r.id),
            ..Subject::NONE
        };
        match &self.about {
            About::PullRequest(p) => {
                s.kind = SubjectKind::PullRequest;
                s.id = Some(p.number);
                s.head.clone_from(&p.head);
                s.base.clone_from(&p.base);
            }
            About::Ref(r) => {
                s.kind = SubjectKind::Ref;
                s.head.clone_from(&r.after);
                s.base.clone_from(&r.before);
                s.ref_kind = Some(r.kind);
            }
            About::Commit { sha } => {
                s.kind = SubjectKind::Commit;
                s.head = Some(sha.clone());
            }
            About::MergeGroup { head, base, .. } => {
                s.kind = SubjectKind::MergeGroup;
                s.head = Some(head.clone());
                s.base.clone_from(base);
            }
            About::Check(c) => {
                s.kind = SubjectKind::Commit;
                s.head.clone_from(&c.head);
            }
            About::Deployment { id, sha } => {
                s.kind = SubjectKind::Deployment;
                s.id = Some(*id);
                s.head.clone_from(sha);
            }
            About::WorkflowJob { id, head } => {
                s.kind = SubjectKind::WorkflowJob;
                s.id = Some(*id);
                s.head.clone_from(head);
            }
            About::WorkflowRun { id, head } => {
                s.kind = SubjectKind::WorkflowRun;
                s.id = Some(*id);
                s.head.clone_from(head);
            }
            About::SecretAlert { number, .. } => {
                s.kind = SubjectKind::SecretAlert;
                s.id = Some(*number);
            }
            About::Thing { kind, id } => {
                s.kind = *kind;
                s.id = *id;
            }
            About::Membership(Membership { circle: Circle::Team(id), .. }) => {
                s.kind = SubjectKind::Team;
                s.id = Some(*id);
            }
            About::Organization | About::Membership(_) => s.kind = SubjectKind::Organization,
            About::Nothing => {}
        }
        s
    }
}
