//! The merge queue.

use serde_json::json;

use crate::simulated_github::state::{Merged, QueueEntry, World};

use super::{Act, Did, impossible, pushes::Change};

impl World {
    /// Puts a pull request at the end of its base branch's queue and makes the merge group for it,
    /// on top of the group ahead. Returns the group's head.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn enqueue(&mut self, login: &str, repo: &str, number: u64) -> Act<String> {
        self.tick();
        let (who, repo) = (self.who(login)?, self.repo_id(repo)?);
        let pull = self.pull_of(repo, number)?.clone();
        let ahead = self.repo(repo)?.queues.get(&pull.base_ref).and_then(|q| q.last()).cloned();
        let base = ahead.map_or_else(|| self.tip(repo, &pull.base_ref), |e| Ok(e.head_commit))?;
        let tree = self.merged_tree(&base, &pull.head.sha);
        let message = format!("Merge pull request #{number} from {}", pull.head.name);
        let merge = self.by_github(repo, login, vec![base.clone(), pull.head.sha], message, tree);
        let head = self.store(merge);
        let head_ref = format!("refs/heads/gh-readonly-queue/{}/pr-{number}-{base}", pull.base_ref);
        let entry = QueueEntry {
            pull: number,
            head_commit: head.clone(),
            base_commit: base.clone(),
            head_ref: head_ref.clone(),
        };
        let repository = self.repo_mut(repo)?;
        repository.queues.entry(pull.base_ref.clone()).or_default().push(entry);
        repository.refs.insert(head_ref.clone(), head.clone());
        let mut hooks = self.pull_hook(repo, number, Some(who), "enqueued", json!({}))?;
        let group = self.group_json(&head, &head_ref, &base, &pull.base_ref);
        let payload = json!({"action": "checks_requested", "merge_group": group});
        hooks.extend(self.hook(repo, Some(who), "merge_group", payload));
        Ok(Did { what: head, hooks })
    }

    /// The first group of the queue is merged: the base branch moves to its head.
    ///
    /// # Errors
    /// Unknown login or repository; an empty queue.
    pub fn merge_queue_lands(&mut self, login: &str, repo: &str, branch: &str) -> Act<String> {
        let now = self.tick();
        let (who, repo) = (self.who(login)?, self.repo_id(repo)?);
        let before = self.tip(repo, branch)?;
        let repository = self.repo_mut(repo)?;
        let queue = repository.queues.entry(branch.to_owned()).or_default();
        if queue.is_empty() {
            return impossible(format!("the queue of {branch} is empty"));
        }
        let entry = queue.remove(0);
        repository.refs.remove(&entry.head_ref);
        let after = entry.head_commit;
        let landed = self.between(&before, &after);
        let pull = self.pull_mut(repo, entry.pull)?;
        pull.open = false;
        pull.merged = Some(Merged { at: now, by: Some(who), commit: after.clone(), landed });
        let group = self.group_json(&after, &entry.head_ref, &entry.base_commit, branch);
        let payload = json!({"action": "destroyed", "reason": "merged", "merge_group": group});
        let mut hooks = self.hook(repo, Some(who), "merge_group", payload);
        hooks.extend(self.pull_hook(repo, entry.pull, Some(who), "closed", json!({}))?);
        let full_ref = format!("refs/heads/{branch}");
        let change = Change {
            repo,
            who,
            full_ref: &full_ref,
            before,
            after: after.clone(),
            kind: "merge_queue_merge",
            deploy_key: None,
        };
        hooks.extend(self.move_ref(&change)?);
        Ok(Did { what: after, hooks })
    }

    fn group_json(&self, head: &str, head_ref: &str, base: &str, base_ref: &str) -> serde_json::Value {
        json!({
            "head_sha": head,
            "head_ref": head_ref,
            "base_sha": base,
            "base_ref": format!("refs/heads/{base_ref}"),
            "head_commit": self.simple_commit(head),
        })
    }
}
