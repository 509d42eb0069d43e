//! What GitHub says, frozen: the document that policies read beside the event.
//!
//! Names are GitHub's REST names. A fact states what is, never what it means: that is the policy's
//! to say. Neutral results of graph and set work (`update_merge`, `commits_since`, `owners`) are
//! computed here once, because Rust does in microseconds what Rego does in milliseconds.
//!
//! An absent field means "not fetched, because no active control asked for it"; what was asked for
//! and could not be had stands in [`Status::missing`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Account, RefKind, Repository, Sha},
    time::Time,
};

pub mod alerts;
pub mod checks;
pub mod codeowners;
pub mod graph;
pub mod landed;
pub mod pushes;
pub mod rules;
pub mod update_merge;
pub mod waivers;
pub mod workflows;
pub(crate) mod yaml;

pub use alerts::SecretAlert;
pub use checks::Check;
pub use rules::BaseRules;
pub use workflows::Workflow;

/// All facts of one judgement: the `input` of the policies without `event`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// When the facts were frozen; Rego's `time.now_ns` is pinned to it.
    pub time: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The ref this is about: the base of a pull request or merge group, the pushed branch or tag.
    /// Parameters are chosen by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetRef>,
    /// `pull_request`, `reviews`, `commits`, `files`, … of the pull request this is about.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_group: Option<MergeGroup>,
    /// `org/slug` in lower case → team.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: BTreeMap<String, Team>,
    /// Login of an organisation in lower case → ids of the reviewers who are members.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organizations: BTreeMap<String, Vec<u64>>,
    /// With the fact `base_rules`: what GitHub itself demands on the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_rules: Option<BaseRules>,
    /// With the fact `secret_alerts`: the open ones of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_alerts: Option<Vec<SecretAlert>>,
    /// With the fact `deployment`, where GitHub asks whether to deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Exceptions that the ledger holds for this repository and that have not ended: `data.waivers` has those
    /// of the policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<waivers::Waiver>,
    /// Answers to comment commands on this pull request's head, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<waivers::Answered>,
    pub facts: Status,
}

impl Facts {
    /// The pull requests of a merge group, first in the queue first.
    pub fn entries_mut(&mut self) -> Vec<&mut Change> {
        self.merge_group.iter_mut().filter_map(|g| g.entries.as_mut()).flatten().collect()
    }

    /// Every pull request that is judged: the one this is about, or those of the merge group.
    pub fn changes_mut(&mut self) -> Vec<&mut Change> {
        let entries = self.merge_group.iter_mut().filter_map(|g| g.entries.as_mut()).flatten();
        self.change.iter_mut().chain(entries).collect()
    }
}

/// Whether all that was asked for is here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub complete: bool,
    pub missing: Vec<Missing>,
    pub fetched_at: Time,
}

/// A fact that was asked for and could not be had: the controls that need it are `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// A name of [`FACTS`].
    pub fact: String,
    /// Which one: a team, a pull request. `null`: the whole fact.
    pub id: Option<String>,
    pub reason: String,
}

/// The names that `custom.facts` and `needs` may use.
pub const FACTS: &[(&str, &str)] = &[
    ("pull_request", "the pull request itself: head, base, author, state, labels, retarget"),
    ("reviews", "approvals, requested changes and dismissals, in the order of submission"),
    ("commits", "commits of the pull request: people, parents, signature, update merges"),
    ("files", "changed files"),
    ("old_paths", "`files[].previous_filename` (REST, only when a file was renamed)"),
    ("codeowners", "the CODEOWNERS file, `files[].owners`, and the teams that own changed files"),
    ("permissions", "`reviews[].permission`: level on the base repository (beyond `can_push`)"),
    ("team_members", "id `org/slug`: members of a team and whether it may write"),
    ("organization_members", "id `org`: which reviewers are members"),
    ("commit_messages", "`commits[].full_message` (REST)"),
    ("comparison", "how far the head is ahead of the base branch, and behind it"),
    ("checks", "check runs and commit statuses of the head, with the app that made them"),
    ("workflows", "changed workflows and actions as they are at the head, parsed"),
    ("secret_alerts", "open secret scanning alerts of the repository, without the secrets"),
    ("deployment", "the commit to be deployed, and the pull requests that brought it"),
    ("on_default_branch", "whether the commit that was pushed or tagged is on the default branch"),
    ("pushes", "who pushed the head, push by push"),
    ("push_commits", "commits of a push: people, parents, signature"),
    ("landed", "which pull requests a push merged, and whether they were allowed"),
    ("base_rules", "what GitHub itself demands on the base branch, or the branch that was pushed"),
    ("merge_group", "the pull requests of a merge group, each with its own facts"),
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRef {
    pub ref_kind: RefKind,
    /// Without `refs/heads/` or `refs/tags/`.
    pub name: String,
}

/// A pull request with everything the controls read of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub pull_request: PullRequest,
    /// In GitHub's order, which is the order of submission. Comments are left out.
    pub reviews: Vec<Review>,
    /// In GitHub's order; the order carries no meaning.
    pub commits: Vec<Commit>,
    pub files: Vec<File>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codeowners: Option<Codeowners>,
    /// Who pushed the head, newest push first, as a chain followed from the head. Where it breaks,
    /// one last push with `user: null` stands for all that came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushes: Option<Vec<PushedBy>>,
    /// With the fact `comparison`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// With the fact `checks`: of the head, the newest of each name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Check>>,
    /// With the fact `workflows`: of the changed files, those that are workflows or actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflows: Option<Vec<Workflow>>,
    /// Other open pull requests with the same head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_head: Vec<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    /// `open` or `closed`.
    pub state: String,
    pub draft: bool,
    pub merged: bool,
    /// `null`: the account was deleted (a ghost).
    pub user: Option<Account>,
    pub head: Branch,
    pub base: Branch,
    pub labels: Vec<Label>,
    /// How many commits and files GitHub counts.
    pub commits: u64,
    pub changed_files: u64,
    pub created_at: Time,
    pub updated_at: Time,
    pub merged_by: Option<Account>,
    pub merge_commit_sha: Option<Sha>,
    /// The newest change of the base, by hand or by GitHub.
    pub retarget: Option<Retarget>,
    /// The newest force push of the base branch while this was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_force_pushed_at: Option<Time>,
    /// GitHub's own opinion (`APPROVED`, `REVIEW_REQUIRED` …): shown, never decided on.
    pub review_decision: Option<String>,
}

/// How the head lies to the base branch, as it was when the pull request was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    pub base_sha: Sha,
    pub head_sha: Sha,
    /// `null`: they have no commit in common.
    pub merge_base_sha: Option<Sha>,
    /// Commits of the head that the base lacks.
    pub ahead_by: u64,
    /// Commits of the base that the head lacks; also of a newer base that an event has told of.
    pub behind_by: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Branch {
    /// Name of the branch, without `refs/heads/`.
    #[serde(rename = "ref")]
    pub name: String,
    /// Head: the commit judged. Base: the branch as it is now; `null` if the branch is gone.
    pub sha: Option<Sha>,
    /// `null`: the fork was deleted.
    pub repo: Option<RepositoryId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryId {
    pub id: u64,
    pub full_name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Retarget {
    pub at: Time,
    pub from: String,
    pub to: String,
    pub actor: Option<Account>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    pub id: u64,
    /// `APPROVED`, `CHANGES_REQUESTED` or `DISMISSED`.
    pub state: String,
    /// `null`: the account was deleted.
    pub user: Option<Account>,
    /// The commit reviewed; `null`: it vanished.
    pub commit_id: Option<Sha>,
    pub submitted_at: Time,
    /// Has push access to the base repository now.
    pub can_push: bool,
    /// `admin`, `maintain`, `write`, `triage`, `read` or `none`; absent unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// Commits of the pull request that cannot be reached from the reviewed commit; `null`: the
    /// reviewed commit is not in the pull request any more.
    pub commits_since: Option<Vec<Sha>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    pub sha: Sha,
    /// First line only.
    pub message: String,
    /// With the fact `commit_messages`: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_message: Option<String>,
    pub parents: Vec<Sha>,
    pub author: Person,
    pub committer: Person,
    /// All authors that GitHub sees: the author and the co-authors of the trailers.
    pub authors: Vec<Person>,
    /// Made by GitHub's web interface or API; cannot be forged by a push.
    pub committed_via_web: bool,
    /// A clean "Update branch" merge of the base, as `docs/controls.md` defines it.
    pub update_merge: bool,
    pub verification: Verification,
}

/// A name in a commit. Both e-mail and account are claims of whoever made the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    pub email: Option<String>,
    /// `null`: no account has this e-mail.
    pub user: Option<Account>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// GraphQL's `isValid`.
    pub verified: bool,
    /// GraphQL's `state`: `VALID`, `UNSIGNED`, `UNKNOWN_KEY` …; `UNSIGNED` where there is no signature.
    pub state: String,
    /// Signed by GitHub for the person (web merges, edits).
    pub signed_by_github: bool,
    pub signer: Option<Account>,
    /// GPG key id or SSH key fingerprint.
    pub key_id: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct File {
    pub filename: String,
    /// Only with the fact `old_paths`; `null` there for a file that was not renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_filename: Option<String>,
    /// `added`, `removed`, `modified`, `renamed`, `copied`, `changed`.
    pub status: String,
    pub additions: u64,
    pub deletions: u64,
    /// With the fact `codeowners`: one item for `filename` and, of a renamed file, one for the old
    /// path. A path that nobody owns has no item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Vec<Owned>>,
}

/// The CODEOWNERS line that decides who owns a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owned {
    pub path: String,
    pub line: u64,
    /// People, by login; teams, by `org/slug` in lower case, whose members are in `teams`.
    pub users: Vec<String>,
    pub teams: Vec<String>,
    /// The line cannot be used (bad syntax, an e-mail that no account has …) and why.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Codeowners {
    /// `.github/CODEOWNERS`, `CODEOWNERS` or `docs/CODEOWNERS`; `null`: there is no file.
    pub path: Option<String>,
    /// The commit of the base branch it was read at.
    pub sha: Sha,
    /// Bad lines, ours and GitHub's opinion, to show as warnings.
    pub errors: Vec<CodeownersError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeownersError {
    pub line: u64,
    pub message: String,
}

/// One push to the head branch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PushedBy {
    pub before: Option<Sha>,
    pub after: Sha,
    /// `null`: not known (a gap, a deploy key, a fork we cannot read).
    pub user: Option<Account>,
    pub forced: bool,
    /// Commits of the pull request that this push brought.
    pub commits: Vec<Sha>,
    /// `ledger`, `activity` or `unknown`.
    pub source: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Team {
    pub id: u64,
    /// Ids of active members, those of child teams included.
    pub members: Vec<u64>,
    /// The team has write, maintain or admin on the repository, itself or through a parent.
    pub can_write: bool,
}

/// A change of a ref: `push`, `create` and `delete` events.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Push {
    /// In full: `refs/heads/main`.
    #[serde(rename = "ref")]
    pub full_ref: String,
    pub ref_kind: RefKind,
    /// Without `refs/heads/` or `refs/tags/`.
    pub ref_name: String,
    pub before: Option<Sha>,
    pub after: Option<Sha>,
    pub created: bool,
    pub deleted: bool,
    pub forced: bool,
    /// `user`, `app`, `deploy_key` or `unknown`.
    pub pusher_kind: String,
    /// `null` for a deploy key: the sender is then the owner of the key, not who pushed.
    pub pusher: Option<Account>,
    /// With the fact `push_commits`: the commits the push brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<Vec<Commit>>,
    /// With the fact `on_default_branch`; of a tag: the commit that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_default_branch: Option<bool>,
    /// With the fact `landed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Landed>,
}

/// A commit that is to be deployed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    pub sha: Sha,
    pub on_default_branch: bool,
    /// The deployment names a branch, and the commit is on it; `null`: it names a tag, or nothing.
    pub on_named_branch: Option<bool>,
    pub commit: Commit,
    /// Pull requests of this repository whose merge made the commit.
    pub pull_requests: Vec<DeployedPull>,
    /// How the commit came to branches, one item for each that is known.
    pub landed: Vec<DeployedLanding>,
    /// Who pushed it, where no item of `landed` is allowed; `null` for a push by somebody unknown.
    pub pushers: Vec<Option<Account>>,
}

/// How a commit came to a branch: as our ledger judged the push, or else as GitHub's record of the merge proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployedLanding {
    pub branch: String,
    /// As in [`Landed`]; `unknown`: it could not be told, or is not decided yet.
    pub kind: String,
    /// GitHub merged pull requests that our ledger allowed, and the push, if it was judged, was allowed too.
    pub allowed: bool,
    /// Entry of the verdict on the push; `null`: it was not judged.
    pub verdict: Option<u64>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeployedPull {
    pub number: u64,
    pub head: Sha,
    pub base_ref: String,
    pub user: Option<Account>,
    pub merged_by: Option<Account>,
    /// Accounts named in its commits: author, committer, co-authors.
    pub authors: Vec<Account>,
    /// Commits that name somebody without an account.
    pub nameless: Vec<Sha>,
    /// Who pushed its commits; `null` for pushes by somebody unknown (a gap, a deploy key).
    pub pushers: Vec<Option<Account>>,
    /// Our ledger allowed it at this head, for this base, after its last retarget, while it was open.
    pub allowed: bool,
}

/// What a push is, as far as it can be proved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Landed {
    /// `merge_group`, `merge`, `squash`, `rebase`: GitHub merged these pull requests, and our ledger
    /// allowed them at these heads. `bypass`: GitHub merged one that was not allowed.
    /// `direct`: anything else.
    pub kind: String,
    pub pull_requests: Vec<LandedPull>,
    /// Why it is taken for a direct push or a bypass.
    pub reason: Option<String>,
    /// It is nothing but the merge of pull requests that were allowed: what is excused on all of them is excused
    /// here. Absent: it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waivers_hold: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LandedPull {
    pub number: u64,
    pub head: Sha,
    pub allowed: bool,
    /// Entry of the verdict that decided.
    pub verdict: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MergeGroup {
    pub head_sha: Sha,
    pub head_ref: String,
    pub base_sha: Option<Sha>,
    pub base_ref: String,
    /// The queue entry of this group and all before it, first in the queue first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<Change>>,
}
