//! Pushes: branches and tags made, moved and deleted, and what that does to pull requests.

use serde_json::{Value, json};

use crate::simulated_github::{
    deliver::Webhook,
    state::{Activity, Happening, Merged, NO_COMMIT, What, World},
};

use super::{Act, CommitSpec, Did, Impossible, impossible};

/// One change of a ref, before it is known what follows from it.
pub(super) struct Change<'a> {
    pub repo: u64,
    pub who: u64,
    /// `refs/heads/main`
    pub full_ref: &'a str,
    pub before: String,
    pub after: String,
    /// REST's `activity_type`.
    pub kind: &'static str,
    /// A deploy key pushed, with this name; the sender is the key's owner.
    pub deploy_key: Option<&'a str>,
}

impl World {
    /// New commits on a branch; a branch that does not exist is made from the default branch.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn push(&mut self, who: &str, repo: &str, branch: &str, commits: &[CommitSpec]) -> Act<String> {
        self.push_as(who, None, repo, branch, commits)
    }

    /// A push with a deploy key that `owner` added.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn push_with_key(
        &mut self,
        owner: &str,
        key: &str,
        repo: &str,
        branch: &str,
        commits: &[CommitSpec],
    ) -> Act<String> {
        self.push_as(owner, Some(key), repo, branch, commits)
    }

    fn push_as(
        &mut self,
        who: &str,
        key: Option<&str>,
        repo: &str,
        branch: &str,
        commits: &[CommitSpec],
    ) -> Act<String> {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let default = self.repo(repo)?.default_branch.clone();
        let old = self.branch(repo, branch).map(str::to_owned);
        let parent = old.clone().map_or_else(|| self.tip(repo, &default), Ok)?;
        let after = self.make_all(repo, &parent, commits)?;
        let kind = if old.is_some() { "push" } else { "branch_creation" };
        let before = old.unwrap_or_else(|| NO_COMMIT.to_owned());
        let full_ref = format!("refs/heads/{branch}");
        let change =
            Change { repo, who, full_ref: &full_ref, before, after: after.clone(), kind, deploy_key: key };
        let hooks = self.move_ref(&change)?;
        Ok(Did { what: after, hooks })
    }

    /// Replaces the history of a branch: `commits` on top of `onto` (a sha or a branch).
    ///
    /// # Errors
    /// Unknown login, repository, branch or commit.
    pub fn force_push(
        &mut self,
        who: &str,
        repo: &str,
        branch: &str,
        onto: &str,
        commits: &[CommitSpec],
    ) -> Act<String> {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let parent = self.branch(repo, onto).unwrap_or(onto).to_owned();
        if self.commit_in(repo, &parent).is_none() {
            return impossible(format!("there is no commit or branch {onto}"));
        }
        let after = self.make_all(repo, &parent, commits)?;
        self.replace_tip(who, repo, branch, after)
    }

    /// Amends the head of a branch with its author's valid signature: a force push.
    ///
    /// # Errors
    /// Unknown repository or branch; the author of the head has no account.
    pub fn sign_head(&mut self, who: &str, repo: &str, branch: &str) -> Act<String> {
        self.tick();
        let (login, repo) = (who, self.repo_id(repo)?);
        let tip = self.tip(repo, branch)?;
        let Some(mut amended) = self.commits.get(&tip).cloned() else {
            return impossible(format!("there is no commit {tip}"));
        };
        amended.signature = Some(self.valid_signature(login)?);
        amended.at = self.now;
        let after = self.store(amended);
        self.replace_tip(self.who(login)?, repo, branch, after)
    }

    fn replace_tip(&mut self, who: u64, repo: u64, branch: &str, after: String) -> Act<String> {
        let before = self.tip(repo, branch)?;
        let full_ref = format!("refs/heads/{branch}");
        let kind = if self.reach(&after).contains(&before) { "push" } else { "force_push" };
        let change =
            Change { repo, who, full_ref: &full_ref, before, after: after.clone(), kind, deploy_key: None };
        let hooks = self.move_ref(&change)?;
        Ok(Did { what: after, hooks })
    }

    /// # Errors
    /// Unknown login, repository or branch.
    pub fn delete_branch(&mut self, who: &str, repo: &str, branch: &str) -> Act {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let before = self.tip(repo, branch)?;
        let full_ref = format!("refs/heads/{branch}");
        let after = NO_COMMIT.to_owned();
        let change = Change {
            repo,
            who,
            full_ref: &full_ref,
            before,
            after,
            kind: "branch_deletion",
            deploy_key: None,
        };
        let mut hooks = self.move_ref(&change)?;
        hooks.extend(self.retarget_stacked(repo, branch, who)?);
        Ok(Did { what: (), hooks })
    }

    /// Makes a tag, or moves it.
    ///
    /// # Errors
    /// Unknown login, repository or commit.
    pub fn tag(&mut self, who: &str, repo: &str, name: &str, sha: &str) -> Act {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        if self.commit_in(repo, sha).is_none() {
            return impossible(format!("there is no commit {sha}"));
        }
        let full_ref = format!("refs/tags/{name}");
        let before = self.repo(repo)?.refs.get(&full_ref).cloned().unwrap_or_else(|| NO_COMMIT.to_owned());
        let after = sha.to_owned();
        let change = Change { repo, who, full_ref: &full_ref, before, after, kind: "", deploy_key: None };
        Ok(Did { what: (), hooks: self.move_ref(&change)? })
    }

    /// Makes an annotated tag: the ref then names the tag itself, an object of its own.
    ///
    /// # Errors
    /// Unknown login, repository or commit.
    pub fn annotated_tag(&mut self, who: &str, repo: &str, name: &str, sha: &str) -> Act<String> {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        if self.commit_in(repo, sha).is_none() {
            return impossible(format!("there is no commit {sha}"));
        }
        let after = crate::simulated_github::git::hash(&["tag", name, sha]);
        self.tag_objects.insert(after.clone(), sha.to_owned());
        let (full_ref, before) = (format!("refs/tags/{name}"), NO_COMMIT.to_owned());
        let change = Change {
            repo,
            who,
            full_ref: &full_ref,
            before,
            after: after.clone(),
            kind: "",
            deploy_key: None,
        };
        Ok(Did { what: after, hooks: self.move_ref(&change)? })
    }

    /// # Errors
    /// Unknown login, repository or tag.
    pub fn delete_tag(&mut self, who: &str, repo: &str, name: &str) -> Act {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let full_ref = format!("refs/tags/{name}");
        let Some(before) = self.repo(repo)?.refs.get(&full_ref).cloned() else {
            return impossible(format!("there is no tag {name}"));
        };
        let after = NO_COMMIT.to_owned();
        let change = Change { repo, who, full_ref: &full_ref, before, after, kind: "", deploy_key: None };
        Ok(Did { what: (), hooks: self.move_ref(&change)? })
    }

    /// Moves a ref, notes the activity, brings pull requests up to date; all webhooks of it.
    pub(super) fn move_ref(&mut self, c: &Change<'_>) -> Result<Vec<Webhook>, Impossible> {
        let now = self.now;
        let repo = self.repo_mut(c.repo)?;
        repo.pushed_at = Some(now);
        match c.after.as_str() {
            NO_COMMIT => repo.refs.remove(c.full_ref),
            _ => repo.refs.insert(c.full_ref.to_owned(), c.after.clone()),
        };
        let mut hooks = self.push_hooks(c)?;
        if let Some(branch) = c.full_ref.strip_prefix("refs/heads/") {
            self.note_activity(c)?;
            if c.after != NO_COMMIT {
                hooks.extend(self.follow_heads(c, branch)?);
                hooks.extend(self.follow_bases(c, branch)?);
            }
        }
        Ok(hooks)
    }

    fn note_activity(&mut self, c: &Change<'_>) -> Result<(), Impossible> {
        let (id, at) = (self.next_id(), self.now);
        let activity = Activity {
            id,
            full_ref: c.full_ref.to_owned(),
            before: c.before.clone(),
            after: c.after.clone(),
            actor: c.deploy_key.is_none().then_some(c.who),
            kind: c.kind,
            at,
        };
        self.repo_mut(c.repo)?.activity.push(activity);
        Ok(())
    }

    /// Pull requests whose head branch this is: `synchronize`.
    fn follow_heads(&mut self, c: &Change<'_>, branch: &str) -> Result<Vec<Webhook>, Impossible> {
        let forced = self.is_forced(c);
        let mut hooks = Vec::new();
        for (base_repo, number) in
            self.open_pulls_where(|p| p.head.repository == Some(c.repo) && p.head.name == branch)
        {
            let base_ref = self.pull_of(base_repo, number)?.base_ref.clone();
            let base = self.branch(base_repo, &base_ref).map(str::to_owned);
            let (now, who) = (self.now, c.who);
            let pull = self.pull_mut(base_repo, number)?;
            if pull.head.sha == c.after {
                continue;
            }
            pull.head.sha.clone_from(&c.after);
            pull.base_sha = base.unwrap_or_else(|| pull.base_sha.clone());
            if forced {
                let what = What::HeadRefForcePushed { before: c.before.clone(), after: c.after.clone() };
                pull.timeline.push(Happening { at: now, actor: Some(who), what });
            }
            let more = json!({"before": c.before, "after": c.after});
            hooks.extend(self.pull_hook(base_repo, number, Some(who), "synchronize", more)?);
        }
        Ok(hooks)
    }

    /// Pull requests whose base branch this is: noted when forced, merged when their head is now in it.
    fn follow_bases(&mut self, c: &Change<'_>, branch: &str) -> Result<Vec<Webhook>, Impossible> {
        let forced = self.is_forced(c);
        let reach = self.reach(&c.after);
        let landed = self.between(&c.before, &c.after);
        let mut hooks = Vec::new();
        for (repo, number) in self.open_pulls_where(|p| p.base_ref == branch) {
            if repo != c.repo {
                continue;
            }
            let (now, who) = (self.now, c.who);
            let pull = self.pull_mut(repo, number)?;
            if forced {
                let what = What::BaseRefForcePushed { before: c.before.clone(), after: c.after.clone() };
                pull.timeline.push(Happening { at: now, actor: Some(who), what });
            }
            // GitHub marks a pull request merged when somebody pushes its commits by hand.
            if !forced && reach.contains(&pull.head.sha) && pull.merged.is_none() {
                pull.open = false;
                pull.merged =
                    Some(Merged { at: now, by: Some(who), commit: c.after.clone(), landed: landed.clone() });
                hooks.extend(self.pull_hook(repo, number, Some(who), "closed", json!({}))?);
            }
        }
        Ok(hooks)
    }

    pub(super) fn open_pulls_where(&self, keep: impl Fn(&super::Pull) -> bool) -> Vec<(u64, u64)> {
        let all = self.repositories.values().flat_map(|r| r.pulls.values().map(move |p| (r.id, p)));
        all.filter(|(_, p)| p.open && keep(p)).map(|(r, p)| (r, p.number)).collect()
    }

    fn is_forced(&self, c: &Change<'_>) -> bool {
        c.before != NO_COMMIT && c.after != NO_COMMIT && !self.reach(&c.after).contains(&c.before)
    }

    fn push_hooks(&mut self, c: &Change<'_>) -> Result<Vec<Webhook>, Impossible> {
        let created = c.before == NO_COMMIT;
        let deleted = c.after == NO_COMMIT;
        let mut hooks = self.hook(c.repo, Some(c.who), "push", self.push_payload(c)?);
        let (short, kind) = match c.full_ref.strip_prefix("refs/tags/") {
            Some(tag) => (tag, "tag"),
            None => (c.full_ref.trim_start_matches("refs/heads/"), "branch"),
        };
        let pusher_type = if c.deploy_key.is_some() { "deploy_key" } else { "user" };
        let mut ref_payload = json!({"ref": short, "ref_type": kind, "pusher_type": pusher_type});
        if created {
            ref_payload["master_branch"] = json!(self.repo(c.repo)?.default_branch);
            ref_payload["description"] = Value::Null;
            hooks.extend(self.hook(c.repo, Some(c.who), "create", ref_payload));
        } else if deleted {
            hooks.extend(self.hook(c.repo, Some(c.who), "delete", ref_payload));
        }
        Ok(hooks)
    }

    fn push_payload(&self, c: &Change<'_>) -> Result<Value, Impossible> {
        let created = c.before == NO_COMMIT;
        let commit = self.tag_objects.get(&c.after).unwrap_or(&c.after);
        let default = self.repo(c.repo)?.default_branch.clone();
        // Of a new ref GitHub lists what the default branch does not have yet.
        let from = if created { self.branch(c.repo, &default).unwrap_or_default() } else { &c.before };
        let commits: Vec<Value> =
            self.between(from, commit).iter().filter_map(|s| self.push_commit(s)).collect();
        let login = self.accounts.get(&c.who).map(super::super::state::Account::rest_login);
        let pusher = match c.deploy_key {
            Some(key) => json!({"name": key}),
            None => json!({"name": login, "email": self.identity(&login.clone().unwrap_or_default()).email}),
        };
        Ok(json!({
            "ref": c.full_ref,
            "before": c.before,
            "after": c.after,
            "created": created,
            "deleted": c.after == NO_COMMIT,
            "forced": self.is_forced(c),
            "base_ref": null,
            "compare": "",
            "commits": commits,
            "head_commit": self.push_commit(commit),
            "pusher": pusher,
        }))
    }
}
