//! Comments on the conversation of a pull request.

use serde_json::json;

use crate::simulated_github::{
    payload::{label_json, seconds},
    state::World,
};

use super::{Act, Did};

impl World {
    /// Writes a comment. Returns its id.
    ///
    /// # Errors
    /// Unknown login, repository or pull request.
    pub fn say(&mut self, who: &str, repo: &str, number: u64, body: &str) -> Act<u64> {
        let now = self.tick();
        let (who, repo, id) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        let pull = self.pull_of(repo, number)?;
        let user = self.user_json(Some(who));
        let labels: Vec<_> = pull.labels.iter().map(|l| label_json(l)).collect();
        let payload = json!({
            "action": "created",
            "issue": {
                "id": pull.id,
                "number": number,
                "title": pull.title,
                "body": pull.body,
                "labels": labels,
                "created_at": seconds(pull.created_at),
                "updated_at": seconds(pull.updated_at),
                "state": if pull.open { "open" } else { "closed" },
                "user": self.user_json(pull.author),
                "pull_request": {"url": format!("https://api.github.com/repositories/{repo}/pulls/{number}")},
            },
            "comment": {
                "id": id,
                "user": user,
                "body": body,
                "created_at": seconds(now),
                "updated_at": seconds(now),
                "author_association": "MEMBER",
                "performed_via_github_app": null,
            },
        });
        Ok(Did { what: id, hooks: self.hook(repo, Some(who), "issue_comment", payload) })
    }
}
