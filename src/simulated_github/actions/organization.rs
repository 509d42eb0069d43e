//! People and rights change.

use serde_json::{Value, json};

use crate::simulated_github::state::{Collaborator, Role, World};

use super::{Act, Did, impossible};

impl World {
    /// Adds somebody to a team or takes them out: `membership`.
    ///
    /// # Errors
    /// Unknown organisation, team or login.
    pub fn set_team_member(&mut self, who: &str, org: &str, team: &str, login: &str, member: bool) -> Act {
        self.tick();
        let (who, org, login) = (self.who(who)?, self.who(org)?, self.who(login)?);
        let Some(id) = self.team(org, team).map(|t| t.id) else {
            return impossible(format!("there is no team {team}"));
        };
        if let Some(t) = self.teams.get_mut(&id) {
            t.pending.remove(&login);
            if member {
                t.members.insert(login)
            } else {
                t.members.remove(&login)
            };
        }
        let payload = json!({
            "action": if member { "added" } else { "removed" },
            "scope": "team",
            "member": self.user_json(Some(login)),
            "team": self.team_json(id),
        });
        Ok(Did { what: (), hooks: self.org_hook(org, Some(who), "membership", payload) })
    }

    /// Takes somebody out of the organisation and all its teams: `organization`.
    ///
    /// # Errors
    /// Unknown organisation or login.
    pub fn remove_org_member(&mut self, who: &str, org: &str, login: &str) -> Act {
        self.tick();
        let (who, org, login) = (self.who(who)?, self.who(org)?, self.who(login)?);
        if let Some(o) = self.accounts.get_mut(&org) {
            o.members.remove(&login);
            o.owners.remove(&login);
        }
        for t in self.teams.values_mut().filter(|t| t.org == org) {
            t.members.remove(&login);
        }
        let membership =
            json!({"state": "inactive", "role": "unaffiliated", "user": self.user_json(Some(login))});
        let payload = json!({"action": "member_removed", "membership": membership});
        Ok(Did { what: (), hooks: self.org_hook(org, Some(who), "organization", payload) })
    }

    /// Changes somebody's own right on a repository (`None` takes it away): `member`.
    ///
    /// # Errors
    /// Unknown repository or login.
    pub fn set_role(&mut self, who: &str, repo: &str, login: &str, role: Option<Role>) -> Act {
        self.tick();
        let (who, repo, login) = (self.who(who)?, self.repo_id(repo)?, self.who(login)?);
        let all = &mut self.repo_mut(repo)?.collaborators;
        let before = match role {
            Some(role) => all.insert(login, Collaborator { role, custom: None }),
            None => all.remove(&login),
        };
        let action = match (&before, role) {
            (_, None) => "removed",
            (None, _) => "added",
            _ => "edited",
        };
        let mut payload = json!({"action": action, "member": self.user_json(Some(login))});
        match (before, role) {
            (_, None) => {}
            (None, Some(role)) => {
                let changes = json!({"permission": {"to": role.flat()}, "role_name": {"to": role.name()}});
                payload["changes"] = changes;
            }
            (Some(before), Some(role)) => {
                payload["changes"] = json!({"permission": {"from": before.role.name(), "to": role.name()}});
            }
        }
        Ok(Did { what: (), hooks: self.hook(repo, Some(who), "member", payload) })
    }

    /// Changes a team's right on a repository: `team`.
    ///
    /// # Errors
    /// Unknown organisation, team or repository.
    pub fn set_team_role(&mut self, who: &str, org: &str, team: &str, repo: &str, role: Option<Role>) -> Act {
        self.tick();
        let (who, org, repo) = (self.who(who)?, self.who(org)?, self.repo_id(repo)?);
        let Some(id) = self.team(org, team).map(|t| t.id) else {
            return impossible(format!("there is no team {team}"));
        };
        if let Some(t) = self.teams.get_mut(&id) {
            match role {
                Some(role) => t.repositories.insert(repo, role),
                None => t.repositories.remove(&repo),
            };
        }
        let action = if role.is_some() { "added_to_repository" } else { "removed_from_repository" };
        let payload = json!({"action": action, "team": self.team_json(id)});
        Ok(Did { what: (), hooks: self.hook(repo, Some(who), "team", payload) })
    }

    fn team_json(&self, id: u64) -> Value {
        let short = |id: u64| {
            self.teams.get(&id).map(|t| {
                json!({"id": t.id, "node_id": format!("T_{}", t.id), "slug": t.slug, "name": t.slug,
                       "description": null, "privacy": "closed", "permission": "pull", "type": "organization"})
            })
        };
        let Some(mut team) = short(id) else { return Value::Null };
        team["parent"] = self.teams.get(&id).and_then(|t| short(t.parent?)).unwrap_or_default();
        team
    }
}
