//! From a delivery's bytes to an [`Event`]: only what gatelog acts on is read.
//!
//! Unknown events and actions are kept: GitHub adds both without notice. A field that is read but
//! has another type than GitHub documents makes the delivery unreadable: better said than guessed.

mod people;
mod things;

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    About, Account, Cause, CheckRef, ContentType, Delivery, Event, PullRequestRef, RefChange, RefKind,
    RepoName, Repository, Sha, Source, SubjectKind, payload,
};
use crate::time::Time;

/// Commits that GitHub lists in a `push` at most; with that many, some may be missing.
const PUSH_COMMITS_MAX: usize = 2048;

/// Why a well-signed delivery could not be read: names the field and the place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

impl ParseError {
    /// Cut to 500 characters: the text may quote the payload.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(text.char_indices().nth(500).map_or(text.clone(), |(at, _)| format!("{}…", &text[..at])))
    }
}

/// Reads the payload of a delivery: JSON, or a form with the JSON in `payload`.
///
/// # Errors
/// The body is not JSON, or a field that gatelog acts on has another type than GitHub documents.
pub fn parse(delivery: &Delivery) -> Result<Event, ParseError> {
    parse_stored(&delivery.name, Source::Github, None, delivery.content, &delivery.body)
}

/// Reads an event as the ledger kept it: `name`, `source` and `cause` from the entry, the payload
/// from its body. gatelog's own events (`gatelog`) mean something only with `source` gatelog:
/// the event's name comes in a header that no signature covers.
///
/// # Errors
/// As [`parse`].
pub fn parse_stored(
    name: &str,
    source: Source,
    cause: Option<Cause>,
    content: ContentType,
    body: &[u8],
) -> Result<Event, ParseError> {
    let json = payload::json(content, body)?;
    payload::check(&json)?;
    let envelope: Envelope = read(&json)?;
    let about = match about(name, source, &json)? {
        About::Nothing if envelope.repository.is_some() => {
            About::Thing { kind: SubjectKind::Repository, id: None }
        }
        About::Nothing if envelope.organization.is_some() => About::Organization,
        about => about,
    };
    let account = envelope.installation.as_ref().and_then(|i| i.account.as_ref());
    let owner = account.filter(|a| a.kind.as_deref() == Some("Organization")).map(|a| a.id);
    Ok(Event {
        name: name.to_owned(),
        action: envelope.action,
        source,
        cause,
        installation: envelope.installation.map(|i| i.id),
        organization: envelope.organization.map(|o| o.id).or(owner),
        repository: envelope.repository.map(Repo::into_repository).transpose()?,
        sender: envelope.sender.map(|s| Account { id: s.id, login: s.login, kind: s.kind }),
        about,
    })
}

/// Deserialises, and names the field where that fails.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, ParseError> {
    let mut d = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut d).map_err(|e| match e.path().to_string().as_str() {
        "." => ParseError::new(format!("the payload: {}", e.inner())),
        path => ParseError::new(format!("field `{path}`: {}", e.inner())),
    })
}

/// What is common to all events.
#[derive(Deserialize)]
struct Envelope {
    action: Option<String>,
    installation: Option<Installation>,
    organization: Option<Id>,
    repository: Option<Repo>,
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
    account: Option<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    id: u64,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Sender {
    id: u64,
    login: String,
    #[serde(rename = "type", default = "user")]
    kind: String,
}

fn user() -> String {
    "User".to_owned()
}

#[derive(Deserialize)]
struct Repo {
    id: u64,
    full_name: String,
    default_branch: Option<String>,
}

impl Repo {
    fn into_repository(self) -> Result<Repository, ParseError> {
        let name = RepoName::try_from(self.full_name)
            .map_err(|e| ParseError::new(format!("field `repository.full_name`: {e}")))?;
        Ok(Repository { id: self.id, name, default_branch: self.default_branch })
    }
}

/// The subject of each event. What is not listed is about its repository or organisation at most.
fn about(name: &str, source: Source, json: &[u8]) -> Result<About, ParseError> {
    Ok(match name {
        "pull_request"
        | "pull_request_review"
        | "pull_request_review_comment"
        | "pull_request_review_thread" => read::<Pull>(json)?.about(),
        "gatelog" if source == Source::Gatelog => read::<LookAgain>(json)?.about(json)?,
        "issue_comment" => read::<IssueComment>(json)?.about(),
        "push" => read::<Push>(json)?.about(),
        "create" => read::<RefEvent>(json)?.about(true),
        "delete" => read::<RefEvent>(json)?.about(false),
        "merge_group" => read::<Group>(json)?.about(),
        "check_run" => read::<CheckRun>(json)?.about(),
        "check_suite" => read::<CheckSuite>(json)?.about(),
        "status" => read::<Status>(json)?.about(),
        "commit_comment" => commit(read::<CommitComment>(json)?.comment.commit_id),
        "code_scanning_alert" => read::<CodeScanning>(json)?.about()?,
        "deployment" | "deployment_status" | "deployment_protection_rule" => read::<Deployment>(json)?
            .deployment
            .map_or(About::Nothing, |d| About::Deployment { id: d.id, sha: real(d.sha) }),
        "workflow_run" | "deployment_review" => read::<WorkflowRun>(json)?
            .workflow_run
            .map_or(About::Nothing, |r| About::WorkflowRun { id: r.id, head: real(r.head_sha) }),
        "workflow_job" => {
            let job = read::<WorkflowJob>(json)?.workflow_job;
            About::WorkflowJob { id: job.id, head: real(job.head_sha) }
        }
        "secret_scanning_alert" => read::<SecretAlert>(json)?.about(),
        "membership" => read::<people::TeamMembership>(json)?.about(),
        "organization" => read::<people::OrganizationMembership>(json)?.about(),
        "org_block" => About::Organization,
        _ => things::about(name, json),
    })
}

/// GitHub writes "no such commit" as zeros.
fn real(sha: Option<Sha>) -> Option<Sha> {
    sha.filter(|s| !s.is_zero())
}

fn commit(sha: Sha) -> About {
    real(Some(sha)).map_or(About::Nothing, |sha| About::Commit { sha })
}

fn branch(name: &str) -> String {
    name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()
}

/// gatelog's own wish to look again, at a pull request or at a merge group.
#[derive(Deserialize)]
struct LookAgain {
    merge_group: Option<serde::de::IgnoredAny>,
}

impl LookAgain {
    fn about(self, json: &[u8]) -> Result<About, ParseError> {
        match self.merge_group {
            Some(_) => Ok(read::<Group>(json)?.about()),
            None => Ok(read::<Pull>(json)?.about()),
        }
    }
}

#[derive(Deserialize)]
struct Pull {
    pull_request: PullRequest,
    review: Option<Review>,
    before: Option<Sha>,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Changes {
    base: Option<BaseChange>,
}

#[derive(Deserialize)]
struct BaseChange {
    #[serde(rename = "ref")]
    name: Option<From>,
}

#[derive(Deserialize)]
struct From {
    from: Option<String>,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    state: Option<String>,
    merged: Option<bool>,
    commits: Option<u64>,
    updated_at: Option<Time>,
    head: Option<Side>,
    base: Option<Side>,
}

#[derive(Deserialize)]
struct Side {
    sha: Option<Sha>,
    #[serde(rename = "ref")]
    name: Option<String>,
    /// `null`: the fork was deleted.
    repo: Option<Id>,
}

#[derive(Deserialize)]
struct Review {
    id: u64,
    /// Lower case in webhooks, upper case everywhere else at GitHub.
    state: String,
}

impl Pull {
    fn about(self) -> About {
        let p = self.pull_request;
        let (head, head_repository) = p.head.map_or((None, None), |h| (h.sha, h.repo));
        let (base, base_ref) = p.base.map_or((None, None), |b| (b.sha, b.name));
        About::PullRequest(PullRequestRef {
            number: p.number,
            head: real(head),
            head_repository: head_repository.map(|r| r.id),
            base: real(base),
            base_ref,
            open: p.state.map(|s| s == "open"),
            merged: p.merged,
            before: real(self.before),
            commits: p.commits,
            review: self.review.map(|r| (r.id, r.state.to_ascii_uppercase())),
            updated_at: p.updated_at,
            old_base: self.changes.and_then(|c| c.base?.name?.from),
        })
    }
}

#[derive(Deserialize)]
struct IssueComment {
    issue: Issue,
}

#[derive(Deserialize)]
struct Issue {
    number: u64,
    /// Present when the issue is a pull request.
    pull_request: Option<serde::de::IgnoredAny>,
}

impl IssueComment {
    fn about(self) -> About {
        let i = self.issue;
        if i.pull_request.is_none() {
            return About::Thing { kind: SubjectKind::Issue, id: Some(i.number) };
        }
        // Its state is not taken from a comment, which bears no time to tell how late it is: an old one, delivered
        // again, would close a pull request that was reopened since.
        About::PullRequest(PullRequestRef { number: i.number, ..PullRequestRef::default() })
    }
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    name: String,
    before: Sha,
    after: Sha,
    created: bool,
    deleted: bool,
    forced: bool,
    #[serde(default)]
    commits: Vec<PushCommit>,
}

#[derive(Deserialize)]
struct PushCommit {
    added: Option<Vec<String>>,
    removed: Option<Vec<String>>,
    modified: Option<Vec<String>>,
}

impl PushCommit {
    /// A commit whose files are not told may touch anything: a push that a sweep found lists ids only.
    fn may_touch_codeowners(&self) -> bool {
        let lists = [&self.added, &self.removed, &self.modified];
        let mut paths = lists.iter().copied().flatten().flatten();
        lists.iter().all(|list| list.is_none())
            || paths.any(|p| matches!(p.as_str(), "CODEOWNERS" | ".github/CODEOWNERS" | "docs/CODEOWNERS"))
    }
}

impl Push {
    fn about(self) -> About {
        let touches_codeowners = self.may_touch_codeowners();
        let (kind, name) = if let Some(name) = self.name.strip_prefix("refs/heads/") {
            (RefKind::Branch, name)
        } else if let Some(name) = self.name.strip_prefix("refs/tags/") {
            (RefKind::Tag, name)
        } else {
            // GitHub sends branches and tags only.
            return commit(self.after);
        };
        About::Ref(RefChange {
            kind,
            name: name.to_owned(),
            before: real(Some(self.before)),
            after: real(Some(self.after)),
            created: self.created,
            deleted: self.deleted,
            forced: self.forced,
            touches_codeowners,
        })
    }

    /// A force push drops commits that the payload does not list, and long lists are cut.
    fn may_touch_codeowners(&self) -> bool {
        let branch = self.name.starts_with("refs/heads/") && !self.deleted;
        let unlisted = self.forced || self.commits.is_empty() || self.commits.len() >= PUSH_COMMITS_MAX;
        branch && (unlisted || self.commits.iter().any(PushCommit::may_touch_codeowners))
    }
}

/// `create` and `delete`.
#[derive(Deserialize)]
struct RefEvent {
    #[serde(rename = "ref")]
    name: Option<String>,
    ref_type: String,
}

impl RefEvent {
    fn about(self, created: bool) -> About {
        let kind = match self.ref_type.as_str() {
            "branch" => RefKind::Branch,
            "tag" => RefKind::Tag,
            _ => return About::Nothing,
        };
        let Some(name) = self.name else { return About::Nothing };
        About::Ref(RefChange {
            kind,
            name,
            before: None,
            after: None,
            created,
            deleted: !created,
            forced: false,
            touches_codeowners: false,
        })
    }
}

#[derive(Deserialize)]
struct Group {
    merge_group: MergeGroup,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct MergeGroup {
    head_sha: Sha,
    head_ref: String,
    base_sha: Option<Sha>,
    base_ref: String,
}

impl Group {
    fn about(self) -> About {
        let g = self.merge_group;
        About::MergeGroup {
            head: g.head_sha,
            head_ref: branch(&g.head_ref),
            base: real(g.base_sha),
            base_ref: branch(&g.base_ref),
            reason: self.reason,
        }
    }
}

#[derive(Deserialize)]
struct CheckRun {
    check_run: Run,
    requested_action: Option<Button>,
}

#[derive(Deserialize)]
struct Run {
    id: u64,
    name: Option<String>,
    head_sha: Option<Sha>,
    external_id: Option<String>,
    conclusion: Option<String>,
    app: Option<Id>,
}

#[derive(Deserialize)]
struct Button {
    identifier: Option<String>,
}

impl CheckRun {
    fn about(self) -> About {
        About::Check(CheckRef {
            head: real(self.check_run.head_sha),
            app_id: self.check_run.app.map(|a| a.id),
            check_run: Some(self.check_run.id),
            name: self.check_run.name,
            external_id: self.check_run.external_id.filter(|e| !e.is_empty()),
            status: None,
            conclusion: self.check_run.conclusion,
            button: self.requested_action.and_then(|a| a.identifier),
        })
    }
}

#[derive(Deserialize)]
struct CheckSuite {
    check_suite: Suite,
}

#[derive(Deserialize)]
struct Suite {
    head_sha: Option<Sha>,
    app: Option<Id>,
}

impl CheckSuite {
    fn about(self) -> About {
        About::Check(CheckRef {
            head: real(self.check_suite.head_sha),
            app_id: self.check_suite.app.map(|a| a.id),
            check_run: None,
            name: None,
            external_id: None,
            status: None,
            conclusion: None,
            button: None,
        })
    }
}

#[derive(Deserialize)]
struct Status {
    id: Option<u64>,
    sha: Sha,
    context: Option<String>,
    /// `pending`, `success`, `failure` or `error`
    state: Option<String>,
}

impl Status {
    fn about(self) -> About {
        let (Some(id), Some(context)) = (self.id, self.context) else { return commit(self.sha) };
        About::Check(CheckRef {
            head: real(Some(self.sha)),
            app_id: None,
            check_run: None,
            name: Some(context),
            external_id: None,
            status: Some(id),
            conclusion: self.state.filter(|s| s != "pending"),
            button: None,
        })
    }
}

#[derive(Deserialize)]
struct CommitComment {
    comment: Comment,
}

#[derive(Deserialize)]
struct Comment {
    commit_id: Sha,
}

#[derive(Deserialize)]
struct SecretAlert {
    action: Option<String>,
    alert: Option<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    number: u64,
    state: Option<String>,
}

impl SecretAlert {
    fn about(self) -> About {
        let Some(alert) = self.alert else { return About::Nothing };
        // Payloads have no `state` on every kind of GitHub.
        let closed = self.action.as_deref() == Some("resolved") || alert.state.as_deref() == Some("resolved");
        About::SecretAlert { number: alert.number, open: !closed }
    }
}

#[derive(Deserialize)]
struct CodeScanning {
    /// Empty when a person closed or reopened the alert.
    commit_oid: Option<String>,
}

impl CodeScanning {
    fn about(self) -> Result<About, ParseError> {
        let Some(oid) = self.commit_oid.filter(|o| !o.is_empty()) else { return Ok(About::Nothing) };
        Sha::try_from(oid).map(commit).map_err(|e| ParseError::new(format!("field `commit_oid`: {e}")))
    }
}

#[derive(Deserialize)]
struct Deployment {
    deployment: Option<DeploymentIn>,
}

#[derive(Deserialize)]
struct DeploymentIn {
    id: u64,
    sha: Option<Sha>,
}

#[derive(Deserialize)]
struct WorkflowRun {
    workflow_run: Option<RunIn>,
}

#[derive(Deserialize)]
struct RunIn {
    id: u64,
    head_sha: Option<Sha>,
}

#[derive(Deserialize)]
struct WorkflowJob {
    workflow_job: JobIn,
}

#[derive(Deserialize)]
struct JobIn {
    id: u64,
    head_sha: Option<Sha>,
}

#[cfg(test)]
mod tests;
