//! Things as webhooks and REST write them, in GitHub's documented shape (our own text).
//!
//! Source: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use serde_json::{Value, json};

use crate::time::Time;

use super::{
    deliver::Webhook,
    git::Identity,
    state::{AccountKind, CheckRun, Head, Installation, Pull, Repository, World},
};

/// When repositories, Apps and installations were made.
const MADE: &str = "2026-01-05T10:00:00Z";

/// GitHub's times have whole seconds.
pub(super) fn seconds(t: Time) -> String {
    let text = t.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// Adds the fields of `more` to `into`.
pub(super) fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// REST's word for a state of a signature; those that it does not have are `invalid`.
fn reason(state: &str) -> &'static str {
    match state {
        "VALID" => "valid",
        "EXPIRED_KEY" => "expired_key",
        "NOT_SIGNING_KEY" => "not_signing_key",
        "GPGVERIFY_ERROR" => "gpgverify_error",
        "GPGVERIFY_UNAVAILABLE" => "gpgverify_unavailable",
        "UNKNOWN_SIG_TYPE" => "unknown_signature_type",
        "NO_USER" => "no_user",
        "UNVERIFIED_EMAIL" => "unverified_email",
        "BAD_EMAIL" => "bad_email",
        "UNKNOWN_KEY" => "unknown_key",
        "MALFORMED_SIG" => "malformed_signature",
        "BAD_CERT" => "bad_cert",
        "OCSP_PENDING" => "ocsp_pending",
        _ => "invalid",
    }
}

/// The same name has the same id everywhere.
pub(super) fn label_json(name: &str) -> Value {
    let id = super::git::hash(&["label", name]);
    let id = u32::from_str_radix(id.get(..7).unwrap_or_default(), 16).unwrap_or(1);
    json!({"id": id, "name": name, "color": "ededed", "default": false, "description": null})
}

impl World {
    /// The webhook of an event in a repository: none where the App is not installed.
    pub(super) fn hook(
        &mut self,
        repo: u64,
        sender: Option<u64>,
        event: &str,
        mut payload: Value,
    ) -> Vec<Webhook> {
        let Some(r) = self.repositories.get(&repo) else { return Vec::new() };
        let Some(installation) = self.installation_of(r).cloned() else { return Vec::new() };
        let common = json!({"repository": self.repo_json(r)});
        merge(&mut payload, common);
        self.envelope(&installation, sender, event, payload)
    }

    /// The webhook of an event of an organisation.
    pub(super) fn org_hook(
        &mut self,
        org: u64,
        sender: Option<u64>,
        event: &str,
        payload: Value,
    ) -> Vec<Webhook> {
        match self.installations.values().find(|i| i.account == org).cloned() {
            Some(installation) => self.envelope(&installation, sender, event, payload),
            None => Vec::new(),
        }
    }

    fn envelope(
        &mut self,
        installation: &Installation,
        sender: Option<u64>,
        event: &str,
        mut payload: Value,
    ) -> Vec<Webhook> {
        let common = json!({
            "organization": self.org_json(installation.account),
            "installation": {"id": installation.id, "node_id": format!("MDIz{}", installation.id)},
            "sender": self.user_json(sender),
        });
        merge(&mut payload, common);
        vec![Webhook { guid: self.next_guid(), event: event.to_owned(), payload }]
    }

    /// `null` for a deleted account.
    pub(super) fn user_json(&self, id: Option<u64>) -> Value {
        let Some(a) = id.and_then(|id| self.accounts.get(&id)) else { return Value::Null };
        json!({
            "login": a.rest_login(),
            "id": a.id,
            "node_id": format!("U_{}", a.id),
            "type": a.kind.as_str(),
            "html_url": format!("https://github.test/{}", a.login),
            "site_admin": false,
        })
    }

    fn org_json(&self, id: u64) -> Value {
        self.accounts.get(&id).map_or(
            Value::Null,
            |a| json!({"login": a.login, "id": a.id, "node_id": format!("O_{}", a.id), "description": null}),
        )
    }

    pub(super) fn repo_json(&self, r: &Repository) -> Value {
        json!({
            "id": r.id,
            "node_id": format!("R_{}", r.id),
            "name": r.name,
            "full_name": self.full_name(r),
            "private": r.private,
            "visibility": if r.private { "private" } else { "public" },
            "owner": self.user_json(Some(r.owner)),
            "html_url": format!("https://github.test/{}", self.full_name(r)),
            "description": null,
            "fork": r.parent.is_some(),
            "archived": r.archived,
            "disabled": false,
            "created_at": MADE,
            "updated_at": MADE,
            "default_branch": r.default_branch,
            "pushed_at": r.pushed_at.map(seconds),
        })
    }

    pub(super) fn pull_json(&self, repo: u64, p: &Pull) -> Value {
        let base = Head { repository: Some(repo), name: p.base_ref.clone(), sha: p.base_sha.clone() };
        let files = self.pull_files(p);
        let merged = p.merged.as_ref();
        let labels: Vec<Value> = p.labels.iter().map(|l| label_json(l)).collect();
        json!({
            "id": p.id,
            "node_id": format!("PR_{}", p.id),
            "number": p.number,
            "title": p.title,
            "body": p.body,
            "state": if p.open { "open" } else { "closed" },
            "draft": p.draft,
            "locked": false,
            "user": self.user_json(p.author),
            "labels": labels,
            "head": self.end_json(&p.head),
            "base": self.end_json(&base),
            "merged": merged.is_some(),
            "merged_at": merged.map(|m| seconds(m.at)),
            "merged_by": self.user_json(merged.and_then(|m| m.by)),
            "merge_commit_sha": merged.map(|m| &m.commit),
            "commits": self.pull_commits(p).len(),
            "changed_files": files.len(),
            "additions": files.iter().map(|f| f.additions).sum::<u64>(),
            "deletions": files.iter().map(|f| f.deletions).sum::<u64>(),
            "created_at": seconds(p.created_at),
            "updated_at": seconds(p.updated_at),
            "html_url": format!("https://github.test/pull/{}", p.number),
            "author_association": "MEMBER",
            "requested_reviewers": [],
            "requested_teams": [],
        })
    }

    fn end_json(&self, h: &Head) -> Value {
        let repo = h.repository.and_then(|r| self.repositories.get(&r));
        let owner = repo.and_then(|r| self.accounts.get(&r.owner));
        json!({
            "label": format!("{}:{}", owner.map_or("unknown", |o| o.login.as_str()), h.name),
            "ref": h.name,
            "sha": h.sha,
            "user": self.user_json(owner.map(|o| o.id)),
            "repo": repo.map(|r| self.repo_json(r)),
        })
    }

    /// As a review's webhook shows a pull request: without what GitHub counts for `pull_request` only.
    pub(super) fn reviewed_json(&self, repo: u64, p: &Pull) -> Value {
        let mut out = self.pull_json(repo, p);
        if let Some(all) = out.as_object_mut() {
            for counted in ["merged", "merged_by", "commits", "changed_files", "additions", "deletions"] {
                all.remove(counted);
            }
        }
        out
    }

    /// A commit in a few words, as merge groups and workflow runs show their head.
    pub(super) fn simple_commit(&self, sha: &str) -> Option<Value> {
        let c = self.commits.get(sha)?;
        let who = |i: &Identity| json!({"name": i.name, "email": i.email});
        Some(json!({
            "id": c.sha,
            "tree_id": super::git::hash(&["tree", &c.sha]),
            "message": c.message,
            "timestamp": seconds(c.at),
            "author": who(&c.author),
            "committer": who(&c.committer),
        }))
    }

    /// A commit as REST shows it; `null` for one that does not exist.
    pub(super) fn commit_json(&self, sha: &str) -> Option<Value> {
        let c = self.commits.get(sha)?;
        let parents: Vec<Value> = c.parents.iter().map(|p| json!({"sha": p})).collect();
        let who = |i: &Identity| json!({"name": i.name, "email": i.email, "date": seconds(c.at)});
        let account = |email: &str| self.user_json(self.account_of_email(email).map(|a| a.id));
        let verification = json!({
            "verified": c.signature.as_ref().is_some_and(|s| s.valid),
            "reason": c.signature.as_ref().map_or("unsigned", |s| reason(&s.state)),
            "signature": null, "payload": null, "verified_at": null,
        });
        let (author, committer) = (who(&c.author), who(&c.committer));
        Some(json!({
            "sha": sha,
            "node_id": format!("C_{sha}"),
            "commit": {
                "message": c.message, "author": author, "committer": committer, "verification": verification,
            },
            "author": account(&c.author.email),
            "committer": account(&c.committer.email),
            "parents": parents,
        }))
    }

    /// A workflow run, as its webhook and REST show it.
    pub(super) fn run_json(
        &self,
        r: &Repository,
        run: u64,
        sha: &str,
        status: &str,
        conclusion: Option<&str>,
    ) -> Value {
        let branch = r.refs.iter().find(|(_, s)| *s == sha).and_then(|(n, _)| n.strip_prefix("refs/heads/"));
        let (now, mut repository) = (seconds(self.now), self.repo_json(r));
        if let Some(all) = repository.as_object_mut() {
            // A run shows its repository in fewer words.
            let kept =
                ["id", "node_id", "name", "full_name", "private", "owner", "html_url", "description", "fork"];
            all.retain(|field, _| kept.contains(&field.as_str()));
        }
        json!({
            "id": run, "name": "build", "path": ".github/workflows/build.yml", "workflow_id": 7, "run_number": 1,
            "run_attempt": 1, "event": "push", "status": status, "conclusion": conclusion, "head_sha": sha,
            "head_branch": branch, "created_at": now, "updated_at": now, "pull_requests": [],
            "head_commit": self.simple_commit(sha), "repository": repository, "head_repository": repository,
        })
    }

    /// A commit as `push` lists it; `null` for one that does not exist.
    pub(super) fn push_commit(&self, sha: &str) -> Option<Value> {
        let c = self.commits.get(sha)?;
        let who = |i: &Identity| {
            let account = self.account_of_email(&i.email).filter(|a| a.kind != AccountKind::Organization);
            let mut who = json!({"name": i.name, "email": i.email});
            if let Some(a) = account {
                who["username"] = json!(a.rest_login());
            }
            who
        };
        let first =
            c.parents.first().and_then(|p| self.commits.get(p)).map(|p| p.tree.clone()).unwrap_or_default();
        let files = self.diff(&first, &c.tree);
        let by =
            |status| files.iter().filter(|f| f.status == status).map(|f| f.path.clone()).collect::<Vec<_>>();
        Some(json!({
            "id": c.sha,
            "tree_id": super::git::hash(&["tree", &c.sha]),
            "distinct": true,
            "message": c.message,
            "timestamp": seconds(c.at),
            "author": who(&c.author),
            "committer": who(&c.committer),
            "added": by(super::git::FileStatus::Added),
            "removed": by(super::git::FileStatus::Removed),
            "modified": by(super::git::FileStatus::Modified),
        }))
    }

    pub(super) fn check_run_json(&self, c: &CheckRun) -> Value {
        let pulls = self.repositories.get(&c.repository).into_iter().flat_map(|r| r.pulls.values());
        // Empty for heads in forks, as on GitHub.
        let pulls: Vec<Value> = pulls
            .filter(|p| p.open && p.head.sha == c.head_sha && p.head.repository == Some(c.repository))
            .map(|p| {
                let end = |name: &str, sha: &str| {
                    let name_of = |r: &Repository| json!({"id": r.id, "name": r.name});
                    json!({"ref": name, "sha": sha, "repo": self.repositories.get(&c.repository).map(name_of)})
                };
                let (head, base) = (end(&p.head.name, &p.head.sha), end(&p.base_ref, &p.base_sha));
                json!({"number": p.number, "id": p.id, "head": head, "base": base})
            })
            .collect();
        let owner = self.repositories.get(&c.repository).map(|r| r.owner);
        json!({
            "id": c.id,
            "name": c.name,
            "head_sha": c.head_sha,
            "external_id": c.external_id,
            // Where the App gives none, GitHub shows the App's own address.
            "details_url": c.details_url.as_deref().unwrap_or("https://gatelog.test"),
            "status": c.status,
            "conclusion": c.conclusion,
            "started_at": seconds(c.started_at),
            "completed_at": c.completed_at.map(seconds),
            "output": {
                "title": c.title,
                "summary": c.summary,
                "text": c.text,
                "annotations_count": c.annotations.len(),
            },
            "app": {
                "id": c.app, "slug": self.other_apps.get(&c.app).unwrap_or(&self.app.slug), "name": self.app.name,
                "owner": self.user_json(owner), "description": null, "created_at": MADE, "updated_at": MADE,
                "permissions": self.app.permissions, "events": self.app.events,
            },
            "check_suite": {"id": c.repository * 1_000_003 + c.app},
            "pull_requests": pulls,
        })
    }

    /// The commits GitHub lists for a pull request: `base..head`.
    #[must_use]
    pub fn pull_commits(&self, p: &Pull) -> Vec<String> {
        self.between(&p.base_sha, &p.head.sha)
    }

    #[must_use]
    pub fn pull_files(&self, p: &Pull) -> Vec<super::git::FileChange> {
        self.changes(&p.base_sha, &p.head.sha)
    }
}
