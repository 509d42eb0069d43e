//! What each field of each type is: one function per type.

use serde_json::{Map, Value, json};

use super::{Cost, Request, page::Page};
use crate::simulated_github::{
    git::{Commit, FileChange, Identity, Signature, SignatureKind},
    payload::seconds,
    state::{
        Account, AccountKind, CodeownersError, Happening, Pull, QueueEntry, Repository, Review, ReviewState,
        Role, Team, What, World,
    },
};

pub struct Context<'w> {
    pub world: &'w World,
    pub request: &'w Request<'w>,
    pub cost: Cost,
}

pub type Arguments = Map<String, Value>;

/// The value of a field.
pub enum Out<'w> {
    Leaf(Value),
    Node(Node<'w>),
    List(Vec<Out<'w>>),
    /// `null`, with an entry in `errors`: its type and message.
    Error(&'static str, String),
}

/// An object of the graph.
#[derive(Clone)]
pub enum Node<'w> {
    Query,
    RateLimit,
    Repository(&'w Repository),
    Organization(&'w Account),
    Team(&'w Team),
    Actor(&'w Account),
    /// An account as `user` of a commit: a bot too is a User there, with `[bot]` in its login.
    CommitUser(&'w Account),
    Pull(&'w Repository, &'w Pull),
    PullCommit(&'w Repository, &'w Commit),
    Commit(&'w Repository, &'w Commit),
    Blob(&'w str, &'w bytes::Bytes),
    GitActor(&'w Identity),
    Signature(&'w Signature),
    Review(&'w Repository, &'w Review),
    File(Box<FileChange>),
    Label(&'w str),
    Happening(&'w Repository, &'w Pull, &'w Happening),
    /// Full name of the ref.
    Ref(&'w Repository, String),
    Queue(&'w Repository, String),
    QueueEntry(&'w Repository, usize, &'w QueueEntry),
    Collaborator(&'w Account, Role),
    Codeowners(&'w Repository),
    CodeownersError(&'w CodeownersError),
    Page(Box<Page<'w>>),
    PageInfo(Box<Page<'w>>),
    /// Anything kept as JSON in GraphQL's names.
    Json(String, Value),
}

impl<'w> Out<'w> {
    fn node(n: Option<Node<'w>>) -> Self {
        n.map_or(Self::Leaf(Value::Null), Self::Node)
    }
}

fn leaf<'w>(v: impl Into<Value>) -> Out<'w> {
    Out::Leaf(v.into())
}

impl Node<'_> {
    pub fn type_name(&self) -> String {
        let name = match self {
            Self::Query => "Query",
            Self::RateLimit => "RateLimit",
            Self::Repository(_) => "Repository",
            Self::Organization(_) => "Organization",
            Self::Team(_) => "Team",
            Self::Actor(a) => a.kind.as_str(),
            Self::CommitUser(_) => "User",
            Self::Pull(..) => "PullRequest",
            Self::PullCommit(..) => "PullRequestCommit",
            Self::Commit(..) => "Commit",
            Self::Blob(..) => "Blob",
            Self::GitActor(_) => "GitActor",
            Self::Signature(s) => match s.kind {
                SignatureKind::Gpg => "GpgSignature",
                SignatureKind::Ssh => "SshSignature",
                SignatureKind::Smime => "SmimeSignature",
            },
            Self::Review(..) => "PullRequestReview",
            Self::File(_) => "PullRequestChangedFile",
            Self::Label(_) => "Label",
            Self::Happening(_, _, h) => match h.what {
                What::BaseRefChanged { .. } => "BaseRefChangedEvent",
                What::AutomaticBaseChangeSucceeded { .. } => "AutomaticBaseChangeSucceededEvent",
                What::BaseRefForcePushed { .. } => "BaseRefForcePushedEvent",
                What::HeadRefForcePushed { .. } => "HeadRefForcePushedEvent",
                What::ReviewDismissed { .. } => "ReviewDismissedEvent",
            },
            Self::Ref(..) => "Ref",
            Self::Queue(..) => "MergeQueue",
            Self::QueueEntry(..) => "MergeQueueEntry",
            Self::Collaborator(..) => "RepositoryCollaboratorEdge",
            Self::Codeowners(_) => "RepositoryCodeowners",
            Self::CodeownersError(_) => "RepositoryCodeownersError",
            Self::Page(p) => p.kind,
            Self::PageInfo(_) => "PageInfo",
            Self::Json(name, _) => name,
        };
        name.to_owned()
    }
}

impl<'w> Context<'w> {
    /// The value of `field` of `node`. `expected` is the name of its type in the schema.
    pub fn resolve(&self, node: &Node<'w>, field: &str, args: &Arguments, expected: &str) -> Out<'w> {
        match node {
            Node::Query => self.query(field, args),
            Node::RateLimit => self.rate_limit(field),
            Node::Repository(r) => self.repository(r, field, args),
            Node::Organization(o) => self.organization(o, field, args),
            Node::Team(t) => self.team(t, field, args),
            Node::Actor(a) => account(a, field, &a.login),
            Node::CommitUser(a) => account(a, field, &a.rest_login()),
            Node::Pull(r, p) => self.pull(r, p, field, args),
            Node::PullCommit(r, c) => Out::Node(Node::Commit(r, c)),
            Node::Commit(r, c) => self.commit(r, c, field, args),
            Node::Blob(sha, bytes) => blob(sha, bytes, field),
            Node::GitActor(i) => self.git_actor(i, field),
            Node::Signature(s) => self.signature(s, field),
            Node::Review(r, v) => self.review(r, v, field),
            Node::File(f) => file(f, field),
            Node::Label(name) => leaf(*name),
            Node::Happening(r, p, h) => self.happening(r, p, h, field),
            Node::Ref(r, name) => self.git_ref(r, name, field),
            Node::Queue(r, branch) => queue(r, branch, args),
            Node::QueueEntry(r, i, e) => self.queue_entry(r, *i, e, field),
            Node::Collaborator(a, role) => match field {
                "permission" => leaf(role.name().to_uppercase()),
                _ => Out::Node(Node::Actor(a)),
            },
            Node::Codeowners(r) => {
                Out::List(r.codeowners_errors.iter().map(|e| Out::Node(Node::CodeownersError(e))).collect())
            }
            Node::CodeownersError(e) => codeowners_error(e, field),
            Node::Page(p) => page(p, field),
            Node::PageInfo(p) => page_info(p, field),
            Node::Json(_, v) => from_json(v.get(field).unwrap_or(&Value::Null), expected),
        }
    }

    fn query(&self, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "rateLimit" => Out::Node(Node::RateLimit),
            "repository" => {
                let full = format!("{}/{}", text(args, "owner"), text(args, "name"));
                match self.world.repository(&full).filter(|r| self.visible(r)) {
                    Some(r) => Out::Node(Node::Repository(r)),
                    None => Out::Error(
                        "NOT_FOUND",
                        format!("Could not resolve to a Repository with the name '{full}'."),
                    ),
                }
            }
            _ => {
                let login = text(args, "login");
                match self.world.account(login).filter(|a| a.kind == AccountKind::Organization) {
                    Some(o) => Out::Node(Node::Organization(o)),
                    None => Out::Error(
                        "NOT_FOUND",
                        format!("Could not resolve to an Organization with the login of '{login}'."),
                    ),
                }
            }
        }
    }

    fn visible(&self, r: &Repository) -> bool {
        !r.private || self.world.installation_of(r).is_some_and(|i| i.id == self.request.installation)
    }

    fn rate_limit(&self, field: &str) -> Out<'w> {
        match field {
            "cost" => leaf(self.cost.points),
            "nodeCount" => leaf(self.cost.nodes),
            "remaining" => leaf(self.request.remaining.saturating_sub(self.cost.points)),
            "used" => leaf(super::super::http::HOURLY_LIMIT - self.request.remaining + self.cost.points),
            "limit" => leaf(super::super::http::HOURLY_LIMIT),
            _ => leaf(self.request.reset_at),
        }
    }

    fn repository(&self, r: &'w Repository, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "databaseId" => leaf(r.id),
            "name" => leaf(r.name.as_str()),
            "nameWithOwner" => leaf(self.world.full_name(r)),
            "isFork" => leaf(r.parent.is_some()),
            "isArchived" => leaf(r.archived),
            "isPrivate" => leaf(r.private),
            "defaultBranchRef" => self.ref_node(r, &format!("refs/heads/{}", r.default_branch)),
            "pullRequest" => {
                let number = args.get("number").and_then(Value::as_u64).unwrap_or_default();
                match r.pulls.get(&number) {
                    Some(p) => Out::Node(Node::Pull(r, p)),
                    None => Out::Error(
                        "NOT_FOUND",
                        format!("Could not resolve to a PullRequest with the number of {number}."),
                    ),
                }
            }
            "pullRequests" => {
                let branch =
                    |name: &str, is: &str| args.get(name).and_then(Value::as_str).is_none_or(|w| w == is);
                let all = r.pulls.values().filter(|p| {
                    listed(args, "states", p.state())
                        && branch("headRefName", &p.head.name)
                        && branch("baseRefName", &p.base_ref)
                });
                Page::cut("PullRequestConnection", all.map(|p| Node::Pull(r, p)).collect(), args)
            }
            "ref" => {
                let name = text(args, "qualifiedName");
                let full =
                    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
                self.ref_node(r, &full)
            }
            "object" => self.object(r, args),
            "mergeQueue" => {
                let branch = args.get("branch").and_then(Value::as_str).unwrap_or(&r.default_branch);
                Out::node(r.queues.contains_key(branch).then(|| Node::Queue(r, branch.to_owned())))
            }
            "collaborators" => self.collaborators(r, args),
            _ => self.codeowners(r, args),
        }
    }

    fn ref_node(&self, r: &'w Repository, full: &str) -> Out<'w> {
        Out::node(r.refs.contains_key(full).then(|| Node::Ref(r, full.to_owned())))
    }

    /// By `oid`, or by `<revision>:<path>`, or by a revision.
    fn object(&self, r: &'w Repository, args: &Arguments) -> Out<'w> {
        if let Some(oid) = args.get("oid").and_then(Value::as_str) {
            return Out::node(self.world.commit_in(r.id, oid).map(|c| Node::Commit(r, c)));
        }
        let expression = text(args, "expression");
        let (revision, path) = expression.split_once(':').map_or((expression, None), |(r, p)| (r, Some(p)));
        let Some(commit) = self.revision(r, revision) else { return leaf(Value::Null) };
        let Some(path) = path else { return Out::Node(Node::Commit(r, commit)) };
        let blob = commit.tree.get(path).and_then(|b| self.world.blobs.get_key_value(b));
        Out::node(blob.map(|(sha, bytes)| Node::Blob(sha, bytes)))
    }

    /// A tag comes before a branch of the same name, as git reads it.
    fn revision(&self, r: &'w Repository, name: &str) -> Option<&'w Commit> {
        let by_ref = ["refs/tags/", "refs/heads/"].iter().find_map(|p| r.refs.get(&format!("{p}{name}")));
        self.world.commit_in(r.id, by_ref.map_or(name, String::as_str))
    }

    fn collaborators(&self, r: &'w Repository, args: &Arguments) -> Out<'w> {
        if r.collaborators_hidden {
            return Out::Error(
                "FORBIDDEN",
                "Must have push access to view repository collaborators.".to_owned(),
            );
        }
        let login = args.get("login").and_then(Value::as_str);
        let query = args.get("query").and_then(Value::as_str);
        let all = self.world.collaborators(r).into_iter().filter_map(|id| {
            let a = self.world.accounts.get(&id)?;
            let wanted = login.is_none_or(|l| a.login.eq_ignore_ascii_case(l))
                && query.is_none_or(|q| a.login.to_lowercase().contains(&q.to_lowercase()));
            wanted.then_some(Node::Collaborator(a, self.world.role(id, r)?))
        });
        Page::cut("RepositoryCollaboratorConnection", all.collect(), args)
    }

    fn codeowners(&self, r: &'w Repository, args: &Arguments) -> Out<'w> {
        let branch = args.get("refName").and_then(Value::as_str).unwrap_or(&r.default_branch);
        let tree = self.revision(r, branch).map(|c| &c.tree);
        let places = [".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"];
        let there = tree.is_some_and(|t| places.iter().any(|p| t.contains_key(*p)));
        Out::node(there.then_some(Node::Codeowners(r)))
    }

    fn git_ref(&self, r: &'w Repository, full: &str, field: &str) -> Out<'w> {
        let short = full.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
        match field {
            "name" => leaf(short),
            "prefix" => leaf(full.strip_suffix(short).unwrap_or_default()),
            _ => {
                let commit = r.refs.get(full).and_then(|sha| self.world.commits.get(sha));
                Out::node(commit.map(|c| Node::Commit(r, c)))
            }
        }
    }

    fn organization(&self, o: &'w Account, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "team" => Out::node(self.world.team(o.id, text(args, "slug")).map(Node::Team)),
            _ => account(o, field, &o.login),
        }
    }

    fn team(&self, t: &'w Team, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "databaseId" => leaf(t.id),
            "slug" | "name" => leaf(t.slug.as_str()),
            "combinedSlug" => {
                let org = self.world.accounts.get(&t.org).map_or("", |o| o.login.as_str());
                leaf(format!("{org}/{}", t.slug))
            }
            "parentTeam" => Out::node(t.parent.and_then(|p| self.world.teams.get(&p)).map(Node::Team)),
            _ => {
                let members = match text(args, "membership") {
                    "IMMEDIATE" => t.members.clone(),
                    _ => self.world.team_members(t),
                };
                let all = members.iter().filter_map(|m| self.world.accounts.get(m)).map(Node::Actor);
                Page::cut("TeamMemberConnection", all.collect(), args)
            }
        }
    }

    fn actor(&self, id: Option<u64>) -> Out<'w> {
        Out::node(id.and_then(|id| self.world.accounts.get(&id)).map(Node::Actor))
    }

    fn pull(&self, r: &'w Repository, p: &'w Pull, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "fullDatabaseId" => leaf(p.id.to_string()),
            "number" => leaf(p.number),
            "title" => leaf(p.title.as_str()),
            "state" => leaf(p.state()),
            "isDraft" => leaf(p.draft),
            "merged" => leaf(p.merged.is_some()),
            "mergedAt" => leaf(p.merged.as_ref().map(|m| seconds(m.at))),
            "isInMergeQueue" => leaf(r.queues.values().flatten().any(|e| e.pull == p.number)),
            "reviewDecision" => leaf(self.review_decision(r, p)),
            "createdAt" => leaf(seconds(p.created_at)),
            "updatedAt" => leaf(seconds(p.updated_at)),
            "changedFiles" => leaf(self.world.pull_files(p).len()),
            "isCrossRepository" => leaf(p.head.repository != Some(r.id)),
            "headRefName" => leaf(p.head.name.as_str()),
            "headRefOid" => leaf(p.head.sha.as_str()),
            "headRepository" => Out::node(
                p.head.repository.and_then(|h| self.world.repositories.get(&h)).map(Node::Repository),
            ),
            "baseRefName" => leaf(p.base_ref.as_str()),
            "baseRefOid" => leaf(p.base_sha.as_str()),
            "baseRef" => self.ref_node(r, &format!("refs/heads/{}", p.base_ref)),
            "baseRepository" => Out::Node(Node::Repository(r)),
            "author" => self.actor(p.author),
            "mergedBy" => self.actor(p.merged.as_ref().and_then(|m| m.by)),
            "mergeCommit" => {
                let commit = p.merged.as_ref().and_then(|m| self.world.commits.get(&m.commit));
                Out::node(commit.map(|c| Node::Commit(r, c)))
            }
            "labels" => Page::cut("LabelConnection", p.labels.iter().map(|l| Node::Label(l)).collect(), args),
            "commits" => {
                let all = self.world.pull_commits(p).into_iter().filter_map(|s| self.world.commits.get(&s));
                Page::cut("PullRequestCommitConnection", all.map(|c| Node::PullCommit(r, c)).collect(), args)
            }
            "reviews" => {
                let all = p.reviews.iter().filter(|v| listed(args, "states", v.state.as_str()));
                Page::cut("PullRequestReviewConnection", all.map(|v| Node::Review(r, v)).collect(), args)
            }
            "files" => {
                let all = self.world.pull_files(p).into_iter().map(|f| Node::File(Box::new(f)));
                Page::cut("PullRequestChangedFileConnection", all.collect(), args)
            }
            _ => {
                let all = p.timeline.iter().filter(|h| listed(args, "itemTypes", item_type(&h.what)));
                let all = all.map(|h| Node::Happening(r, p, h)).collect();
                Page::cut("PullRequestTimelineItemsConnection", all, args)
            }
        }
    }

    /// GitHub's own opinion: who may push and what they said last.
    fn review_decision(&self, r: &Repository, p: &Pull) -> Value {
        let mut last = std::collections::BTreeMap::new();
        for v in &p.reviews {
            let opinion = matches!(
                v.state,
                ReviewState::Approved | ReviewState::ChangesRequested | ReviewState::Dismissed
            );
            if let Some(who) = v.author.filter(|&who| opinion && self.world.can_push(who, r)) {
                last.insert(who, v.state);
            }
        }
        let any = |state| last.values().any(|s| *s == state);
        if any(ReviewState::ChangesRequested) {
            return "CHANGES_REQUESTED".into();
        }
        if any(ReviewState::Approved) { "APPROVED".into() } else { "REVIEW_REQUIRED".into() }
    }

    fn review(&self, r: &'w Repository, v: &'w Review, field: &str) -> Out<'w> {
        match field {
            "fullDatabaseId" => leaf(v.id.to_string()),
            "state" => leaf(v.state.as_str()),
            "submittedAt" => leaf(seconds(v.submitted_at)),
            "authorCanPushToRepository" => leaf(v.author.is_some_and(|a| self.world.can_push(a, r))),
            "commit" => Out::node(self.world.commits.get(&v.commit).map(|c| Node::Commit(r, c))),
            "author" => self.actor(v.author),
            _ => leaf(v.body.as_str()),
        }
    }

    fn happening(&self, r: &'w Repository, p: &'w Pull, h: &'w Happening, field: &str) -> Out<'w> {
        let commit = |sha: &str| Out::node(self.world.commits.get(sha).map(|c| Node::Commit(r, c)));
        match (field, &h.what) {
            ("createdAt", _) => leaf(seconds(h.at)),
            ("actor", _) => self.actor(h.actor),
            (
                "previousRefName" | "oldBase",
                What::BaseRefChanged { from, .. } | What::AutomaticBaseChangeSucceeded { from, .. },
            ) => leaf(from.as_str()),
            (
                "currentRefName" | "newBase",
                What::BaseRefChanged { to, .. } | What::AutomaticBaseChangeSucceeded { to, .. },
            ) => leaf(to.as_str()),
            (
                "beforeCommit",
                What::BaseRefForcePushed { before, .. } | What::HeadRefForcePushed { before, .. },
            ) => commit(before),
            (
                "afterCommit",
                What::BaseRefForcePushed { after, .. } | What::HeadRefForcePushed { after, .. },
            ) => commit(after),
            ("previousReviewState", What::ReviewDismissed { previous, .. }) => leaf(previous.as_str()),
            ("review", What::ReviewDismissed { review, .. }) => {
                Out::node(p.reviews.iter().find(|v| v.id == *review).map(|v| Node::Review(r, v)))
            }
            _ => leaf(Value::Null),
        }
    }

    fn commit(&self, r: &'w Repository, c: &'w Commit, field: &str, args: &Arguments) -> Out<'w> {
        match field {
            "oid" => leaf(c.sha.as_str()),
            "message" => leaf(c.message.as_str()),
            "messageHeadline" => leaf(c.headline()),
            "committedViaWeb" => leaf(c.via_web),
            "parents" => {
                let all = c.parents.iter().filter_map(|p| self.world.commits.get(p));
                Page::cut("CommitConnection", all.map(|c| Node::Commit(r, c)).collect(), args)
            }
            "author" => Out::Node(Node::GitActor(&c.author)),
            "authors" => {
                Page::cut("GitActorConnection", c.authors().into_iter().map(Node::GitActor).collect(), args)
            }
            "committer" => Out::Node(Node::GitActor(&c.committer)),
            "signature" => Out::node(c.signature.as_ref().map(Node::Signature)),
            "associatedPullRequests" => {
                let all = r.pulls.values().filter(|p| self.associated(r, p, &c.sha));
                Page::cut("PullRequestConnection", all.map(|p| Node::Pull(r, p)).collect(), args)
            }
            "file" => self.file(c, text(args, "path")),
            _ => {
                let emails = args.get("author").and_then(|a| a.get("emails")).and_then(Value::as_array);
                let by = |c: &&Commit| emails.is_none_or(|e| e.iter().any(|e| *e == c.author.email));
                let mut all = self.world.between("", &c.sha);
                // Newest first.
                all.reverse();
                let all = all.iter().filter_map(|s| self.world.commits.get(s)).filter(by);
                Page::cut("CommitHistoryConnection", all.map(|c| Node::Commit(r, c)).collect(), args)
            }
        }
    }

    fn file(&self, c: &Commit, path: &str) -> Out<'w> {
        let Some(blob) = c.tree.get(path) else {
            return Out::Error("NOT_FOUND", format!("Could not resolve file for path '{path}'."));
        };
        let mode = if self.world.links.contains(blob) { 0o120_000 } else { 0o100_644 };
        let entry = json!({"mode": mode, "oid": blob, "path": path, "type": "blob"});
        Out::Node(Node::Json("TreeEntry".to_owned(), entry))
    }

    /// Empty for open heads in forks; for a commit that is on the default branch, merged ones only.
    fn associated(&self, r: &Repository, p: &Pull, sha: &str) -> bool {
        let landed = p.merged.as_ref().is_some_and(|m| m.commit == sha || m.landed.iter().any(|l| l == sha));
        let on_default = r.refs.get(&format!("refs/heads/{}", r.default_branch));
        let on_default = on_default.is_some_and(|tip| self.world.reach(tip).contains(sha));
        let own = p.head.repository == Some(r.id) && self.world.pull_commits(p).iter().any(|s| s == sha);
        landed || (own && (p.merged.is_some() || !on_default))
    }

    fn git_actor(&self, i: &'w Identity, field: &str) -> Out<'w> {
        match field {
            "name" => leaf(i.name.as_str()),
            "email" => leaf(i.email.as_str()),
            _ => Out::node(self.world.account_of_email(&i.email).map(Node::CommitUser)),
        }
    }

    fn signature(&self, s: &'w Signature, field: &str) -> Out<'w> {
        match field {
            "isValid" => leaf(s.valid),
            "state" => leaf(s.state.as_str()),
            "wasSignedByGitHub" => leaf(s.by_github),
            "email" => leaf(s.email.as_str()),
            "signer" => Out::node(s.signer.and_then(|id| self.world.accounts.get(&id)).map(Node::CommitUser)),
            _ => leaf(s.key.as_str()),
        }
    }

    fn queue_entry(&self, r: &'w Repository, i: usize, e: &'w QueueEntry, field: &str) -> Out<'w> {
        let commit = |sha: &str| Out::node(self.world.commits.get(sha).map(|c| Node::Commit(r, c)));
        match field {
            "position" => leaf(i + 1),
            "state" => leaf("AWAITING_CHECKS"),
            "headCommit" => commit(&e.head_commit),
            "baseCommit" => commit(&e.base_commit),
            _ => Out::node(r.pulls.get(&e.pull).map(|p| Node::Pull(r, p))),
        }
    }
}

fn text<'a>(args: &'a Arguments, name: &str) -> &'a str {
    args.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a filter leaves a value: one that is absent or null leaves everything.
fn listed(args: &Arguments, name: &str, value: &str) -> bool {
    match args.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Array(l)) => l.iter().any(|v| v == value),
        Some(one) => one == value,
    }
}

fn item_type(what: &What) -> &'static str {
    match what {
        What::BaseRefChanged { .. } => "BASE_REF_CHANGED_EVENT",
        What::AutomaticBaseChangeSucceeded { .. } => "AUTOMATIC_BASE_CHANGE_SUCCEEDED_EVENT",
        What::BaseRefForcePushed { .. } => "BASE_REF_FORCE_PUSHED_EVENT",
        What::HeadRefForcePushed { .. } => "HEAD_REF_FORCE_PUSHED_EVENT",
        What::ReviewDismissed { .. } => "REVIEW_DISMISSED_EVENT",
    }
}

fn account<'w>(a: &Account, field: &str, login: &str) -> Out<'w> {
    match field {
        "databaseId" => leaf(a.id),
        _ => leaf(login),
    }
}

/// Bytes of a blob beyond which GitHub gives no text.
const BLOB_TEXT_LIMIT: usize = 512_000;

fn blob<'w>(sha: &str, bytes: &bytes::Bytes, field: &str) -> Out<'w> {
    let text = std::str::from_utf8(bytes).ok().filter(|t| !t.contains('\0'));
    let truncated = bytes.len() > BLOB_TEXT_LIMIT;
    match field {
        "oid" => leaf(sha),
        "byteSize" => leaf(bytes.len()),
        "isBinary" => leaf(text.is_none()),
        "isTruncated" => leaf(truncated),
        _ => leaf(text.filter(|_| !truncated)),
    }
}

fn file<'w>(f: &FileChange, field: &str) -> Out<'w> {
    match field {
        "path" => leaf(f.path.as_str()),
        "changeType" => leaf(f.status.graphql()),
        "additions" => leaf(f.additions),
        _ => leaf(f.deletions),
    }
}

fn queue<'w>(r: &'w Repository, branch: &str, args: &Arguments) -> Out<'w> {
    let entries = r.queues.get(branch).into_iter().flatten().enumerate();
    let all = entries.map(|(i, e)| Node::QueueEntry(r, i, e)).collect();
    Page::cut("MergeQueueEntryConnection", all, args)
}

fn codeowners_error<'w>(e: &CodeownersError, field: &str) -> Out<'w> {
    match field {
        "path" => leaf(e.path.as_str()),
        "line" => leaf(e.line),
        "column" => leaf(1),
        "kind" => leaf(e.kind.as_str()),
        "suggestion" => leaf(Value::Null),
        "source" => leaf(""),
        _ => leaf(e.message.as_str()),
    }
}

fn page<'w>(p: &Page<'w>, field: &str) -> Out<'w> {
    let edge = |n: &Node<'w>| match n {
        Node::Collaborator(a, _) => Out::Node(Node::Actor(a)),
        n => Out::Node(n.clone()),
    };
    match field {
        "totalCount" | "filteredCount" => leaf(p.total),
        "pageInfo" => Out::Node(Node::PageInfo(Box::new(p.clone()))),
        "edges" => Out::List(p.items.iter().cloned().map(Out::Node).collect()),
        _ => Out::List(p.items.iter().map(edge).collect()),
    }
}

fn page_info<'w>(p: &Page<'w>, field: &str) -> Out<'w> {
    match field {
        "hasNextPage" => leaf(p.end() < p.total),
        "hasPreviousPage" => leaf(p.start > 0),
        "startCursor" => leaf(p.cursor(p.start)),
        _ => leaf(p.cursor(p.end().saturating_sub(1))),
    }
}

fn from_json<'w>(v: &Value, expected: &str) -> Out<'w> {
    match v {
        Value::Object(o) => {
            let name = o.get("__typename").and_then(Value::as_str).unwrap_or(expected);
            Out::Node(Node::Json(name.to_owned(), v.clone()))
        }
        Value::Array(l) => Out::List(l.iter().map(|v| from_json(v, expected)).collect()),
        other => Out::Leaf(other.clone()),
    }
}
