//! Pull requests: opened, changed, merged by GitHub.

use serde_json::{Value, json};

use crate::simulated_github::{
    deliver::Webhook,
    git::{Commit, Tree},
    payload::label_json,
    state::{Happening, Head, Merged, Pull, What, World},
};

use super::{Act, Did, Impossible, impossible, pushes::Change};

/// How GitHub merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Merge,
    Squash,
    Rebase,
}

impl World {
    /// `head` is a branch of the base repository, or `owner/fork:branch`. Returns the number.
    ///
    /// # Errors
    /// Unknown login, repository or branch.
    pub fn open_pull(&mut self, who: &str, repo: &str, head: &str, base: &str, title: &str) -> Act<u64> {
        self.open_pull_as(who, repo, head, base, title, false)
    }

    /// # Errors
    /// Unknown login, repository or branch.
    pub fn open_draft(&mut self, who: &str, repo: &str, head: &str, base: &str, title: &str) -> Act<u64> {
        self.open_pull_as(who, repo, head, base, title, true)
    }

    fn open_pull_as(
        &mut self,
        who: &str,
        repo: &str,
        head: &str,
        base: &str,
        title: &str,
        draft: bool,
    ) -> Act<u64> {
        let now = self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let (head_repo, branch) = match head.split_once(':') {
            Some((fork, branch)) => (self.repo_id(fork)?, branch),
            None => (repo, head),
        };
        let head =
            Head { repository: Some(head_repo), name: branch.to_owned(), sha: self.tip(head_repo, branch)? };
        let (id, base_sha) = (self.next_id(), self.tip(repo, base)?);
        let repository = self.repo_mut(repo)?;
        repository.last_number += 1;
        let number = repository.last_number;
        let pull = Pull {
            number,
            id,
            title: title.to_owned(),
            body: String::new(),
            author: Some(who),
            open: true,
            draft,
            merged: None,
            labels: Vec::new(),
            head,
            base_ref: base.to_owned(),
            base_sha,
            reviews: Vec::new(),
            timeline: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        repository.pulls.insert(number, pull);
        Ok(Did { what: number, hooks: self.pull_hook(repo, number, Some(who), "opened", json!({}))? })
    }

    /// # Errors
    /// Unknown login, repository, pull request or branch.
    pub fn retarget(&mut self, who: &str, repo: &str, number: u64, base: &str) -> Act {
        let now = self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        let tip = self.tip(repo, base)?;
        let pull = self.pull_mut(repo, number)?;
        let (old_sha, from) = (std::mem::replace(&mut pull.base_sha, tip), pull.base_ref.clone());
        base.clone_into(&mut pull.base_ref);
        let what = What::BaseRefChanged { from: from.clone(), to: base.to_owned() };
        pull.timeline.push(Happening { at: now, actor: Some(who), what });
        let changes = json!({"changes": {"base": {"ref": {"from": from}, "sha": {"from": old_sha}}}});
        Ok(Did { what: (), hooks: self.pull_hook(repo, number, Some(who), "edited", changes)? })
    }

    /// A base branch is gone: GitHub moves the pull requests stacked on it to where it was merged.
    pub(super) fn retarget_stacked(
        &mut self,
        repo: u64,
        gone: &str,
        who: u64,
    ) -> Result<Vec<Webhook>, Impossible> {
        let merged_into = self.repo(repo)?.pulls.values().find(|p| p.head.name == gone && p.merged.is_some());
        let Some(to) = merged_into.map(|p| p.base_ref.clone()) else { return Ok(Vec::new()) };
        let tip = self.tip(repo, &to)?;
        let mut hooks = Vec::new();
        for (r, number) in self.open_pulls_where(|p| p.base_ref == gone) {
            if r != repo {
                continue;
            }
            let now = self.now;
            let pull = self.pull_mut(repo, number)?;
            let old_sha = std::mem::replace(&mut pull.base_sha, tip.clone());
            pull.base_ref.clone_from(&to);
            let what = What::AutomaticBaseChangeSucceeded { from: gone.to_owned(), to: to.clone() };
            pull.timeline.push(Happening { at: now, actor: Some(who), what });
            let changes = json!({"changes": {"base": {"ref": {"from": gone}, "sha": {"from": old_sha}}}});
            hooks.extend(self.pull_hook(repo, number, Some(who), "edited", changes)?);
        }
        Ok(hooks)
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn edit_title(&mut self, who: &str, repo: &str, number: u64, title: &str) -> Act {
        let mut from = String::new();
        let set = |p: &mut Pull| from = std::mem::replace(&mut p.title, title.to_owned());
        let did = self.alter(who, repo, number, "edited", set);
        did.map(|mut d| {
            for h in &mut d.hooks {
                h.payload["changes"] = json!({"title": {"from": from}});
            }
            d
        })
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn label(&mut self, who: &str, repo: &str, number: u64, label: &str) -> Act {
        self.alter(who, repo, number, "labeled", |p| p.labels.push(label.to_owned()))
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn close(&mut self, who: &str, repo: &str, number: u64) -> Act {
        self.alter(who, repo, number, "closed", |p| p.open = false)
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn reopen(&mut self, who: &str, repo: &str, number: u64) -> Act {
        self.alter(who, repo, number, "reopened", |p| p.open = true)
    }

    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn ready_for_review(&mut self, who: &str, repo: &str, number: u64) -> Act {
        self.alter(who, repo, number, "ready_for_review", |p| p.draft = false)
    }

    fn alter(&mut self, who: &str, repo: &str, number: u64, action: &str, f: impl FnOnce(&mut Pull)) -> Act {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        f(self.pull_mut(repo, number)?);
        Ok(Did { what: (), hooks: self.pull_hook(repo, number, Some(who), action, json!({}))? })
    }

    /// The "Update branch" button: GitHub merges the base into the head, cleanly.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn update_branch(&mut self, who: &str, repo: &str, number: u64) -> Act<String> {
        self.web_merge(who, repo, number, &[])
    }

    /// "Resolve conflicts" in the browser: the same kind of commit, with content written by hand.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn resolve_conflicts(
        &mut self,
        who: &str,
        repo: &str,
        number: u64,
        by_hand: &[(&str, &str)],
    ) -> Act<String> {
        self.web_merge(who, repo, number, by_hand)
    }

    fn web_merge(&mut self, login: &str, repo: &str, number: u64, by_hand: &[(&str, &str)]) -> Act<String> {
        self.tick();
        let (who, repo) = (self.who(login)?, self.repo_id(repo)?);
        let pull = self.pull_of(repo, number)?.clone();
        let base = self.tip(repo, &pull.base_ref)?;
        let Some(head_repo) = pull.head.repository else { return impossible("the fork is gone") };
        let mut tree = self.merged_tree(&base, &pull.head.sha);
        for (path, text) in by_hand {
            tree.insert((*path).to_owned(), self.add_blob(text));
        }
        let message = format!("Merge branch '{}' into {}", pull.base_ref, pull.head.name);
        let merge = self.by_github(repo, login, vec![pull.head.sha.clone(), base], message, tree);
        let after = self.store(merge);
        let full_ref = format!("refs/heads/{}", pull.head.name);
        let change = Change {
            repo: head_repo,
            who,
            full_ref: &full_ref,
            before: pull.head.sha,
            after: after.clone(),
            kind: "push",
            deploy_key: None,
        };
        let hooks = self.move_ref(&change)?;
        Ok(Did { what: after, hooks })
    }

    /// Merged by GitHub. Returns the commit on the base branch.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn merge(&mut self, login: &str, repo: &str, number: u64, method: Method) -> Act<String> {
        let now = self.tick();
        let (who, repo) = (self.who(login)?, self.repo_id(repo)?);
        let pull = self.pull_of(repo, number)?.clone();
        let before = self.tip(repo, &pull.base_ref)?;
        let after = self.merge_commits(login, repo, &pull, &before, method);
        let landed = self.between(&before, &after);
        let p = self.pull_mut(repo, number)?;
        p.open = false;
        p.merged = Some(Merged { at: now, by: Some(who), commit: after.clone(), landed });
        let full_ref = format!("refs/heads/{}", pull.base_ref);
        let change = Change {
            repo,
            who,
            full_ref: &full_ref,
            before,
            after: after.clone(),
            kind: "pr_merge",
            deploy_key: None,
        };
        let mut hooks = self.pull_hook(repo, number, Some(who), "closed", json!({}))?;
        hooks.extend(self.move_ref(&change)?);
        Ok(Did { what: after, hooks })
    }

    fn merge_commits(&mut self, login: &str, repo: u64, pull: &Pull, base: &str, method: Method) -> String {
        let tree = self.merged_tree(base, &pull.head.sha);
        match method {
            Method::Merge => {
                let message = format!("Merge pull request #{} from {}", pull.number, pull.head.name);
                let merge =
                    self.by_github(repo, login, vec![base.to_owned(), pull.head.sha.clone()], message, tree);
                self.store(merge)
            }
            Method::Squash => {
                let message = format!("{} (#{})", pull.title, pull.number);
                let mut squash = self.by_github(repo, login, vec![base.to_owned()], message, tree);
                let author =
                    pull.author.and_then(|a| self.accounts.get(&a)).map(|a| self.identity(&a.rest_login()));
                squash.author = author.unwrap_or(squash.author);
                self.store(squash)
            }
            Method::Rebase => self.rebase(base, &pull.base_sha, &pull.head.sha),
        }
    }

    /// The pull request's own commits, one by one on top of `onto`. GitHub does not sign these.
    fn rebase(&mut self, onto: &str, base: &str, head: &str) -> String {
        let mut at = onto.to_owned();
        for sha in self.between(base, head) {
            let Some(mut c) = self.commits.get(&sha).filter(|c| c.parents.len() < 2).cloned() else {
                continue;
            };
            c.tree = self.merged_tree(&at, &sha);
            c.parents = vec![at];
            c.signature = None;
            c.committer = Self::web_flow();
            at = self.store(c);
        }
        at
    }

    /// A commit by GitHub's own hand.
    pub(super) fn by_github(
        &self,
        repo: u64,
        login: &str,
        parents: Vec<String>,
        message: String,
        tree: Tree,
    ) -> Commit {
        Commit {
            sha: String::new(),
            network: self.network(repo),
            parents,
            author: self.identity(login),
            committer: Self::web_flow(),
            co_authors: Vec::new(),
            message,
            tree,
            signature: Some(self.github_signature()),
            via_web: true,
            at: self.now,
        }
    }

    /// `base` with everything that `head` changed since it left it.
    pub(super) fn merged_tree(&self, base: &str, head: &str) -> Tree {
        let mut tree = self.commits.get(base).map(|c| c.tree.clone()).unwrap_or_default();
        for f in self.changes(base, head) {
            if let Some(old) = f.previous {
                tree.remove(&old);
            }
            if f.status == crate::simulated_github::git::FileStatus::Removed {
                tree.remove(&f.path);
            } else {
                tree.insert(f.path, f.blob);
            }
        }
        tree
    }

    /// The `pull_request` webhook for what just happened.
    pub(super) fn pull_hook(
        &mut self,
        repo: u64,
        number: u64,
        who: Option<u64>,
        action: &str,
        more: Value,
    ) -> Result<Vec<Webhook>, Impossible> {
        let pull = self.pull_of(repo, number)?;
        let mut payload = json!({
            "action": action,
            "number": number,
            "pull_request": self.pull_json(repo, pull),
        });
        if action == "labeled" {
            payload["label"] = pull.labels.last().map_or(Value::Null, |l| label_json(l));
        }
        super::super::payload::merge(&mut payload, more);
        Ok(self.hook(repo, who, "pull_request", payload))
    }
}
