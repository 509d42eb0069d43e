//! Rights: who belongs to a team, and who may do what in a repository.

use std::collections::BTreeSet;

use super::state::{Repository, Role, Team, World};

impl World {
    /// Active members of a team, those of its child teams included.
    #[must_use]
    pub fn team_members(&self, team: &Team) -> BTreeSet<u64> {
        let children = self.teams.values().filter(|t| t.parent == Some(team.id));
        team.members.iter().copied().chain(children.flat_map(|t| self.team_members(t))).collect()
    }

    /// A team's right on a repository: its own, or its parents' if that is more.
    #[must_use]
    pub fn team_role(&self, team: &Team, repository: u64) -> Option<Role> {
        let own = team.repositories.get(&repository).copied();
        let parent = team.parent.and_then(|p| self.teams.get(&p));
        own.max(parent.and_then(|p| self.team_role(p, repository)))
    }

    /// Somebody's right on a repository now: own, by teams, or as owner of the organisation.
    #[must_use]
    pub fn role(&self, account: u64, repository: &Repository) -> Option<Role> {
        let own = repository.collaborators.get(&account).map(|c| c.role);
        let teams = self.teams.values().filter(|t| t.members.contains(&account));
        let by_team = teams.filter_map(|t| self.team_role(t, repository.id)).max();
        let owner = self.accounts.get(&repository.owner).is_some_and(|o| o.owners.contains(&account));
        let owner = (owner || account == repository.owner).then_some(Role::Admin);
        own.max(by_team).max(owner)
    }

    /// What REST shows as `role_name`: a custom role by its own name.
    #[must_use]
    pub fn role_name(&self, account: u64, repository: &Repository) -> String {
        let Some(role) = self.role(account, repository) else { return "none".to_owned() };
        let own = repository.collaborators.get(&account).filter(|c| c.role == role);
        own.and_then(|c| c.custom.clone()).unwrap_or_else(|| role.name().to_owned())
    }

    #[must_use]
    pub fn can_push(&self, account: u64, repository: &Repository) -> bool {
        !repository.archived && self.role(account, repository) >= Some(Role::Write)
    }

    /// Everybody with a right on the repository. Apps are not listed, as on GitHub.
    #[must_use]
    pub fn collaborators(&self, repository: &Repository) -> Vec<u64> {
        let person = |id: &u64| self.accounts.get(id).is_some_and(|a| a.kind == super::AccountKind::User);
        self.accounts
            .keys()
            .copied()
            .filter(person)
            .filter(|&id| self.role(id, repository).is_some())
            .collect()
    }
}
