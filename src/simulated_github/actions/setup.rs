//! Building the scene: organisations, people, teams, repositories. No webhooks.

use std::collections::{BTreeMap, BTreeSet};

use crate::simulated_github::state::{
    Account, AccountKind, Collaborator, Installation, Repository, Role, Team, World,
};

use super::{CommitSpec, Impossible, commit};

impl World {
    fn add_account(&mut self, login: &str, kind: AccountKind, emails: Vec<String>) -> u64 {
        let id = self.next_id();
        let (members, owners) = (BTreeSet::new(), BTreeSet::new());
        let login = login.to_owned();
        self.accounts.insert(id, Account { id, login, kind, emails, members, owners, members_hidden: false });
        id
    }

    /// A person, with the e-mail `<login>@example.com`.
    pub fn add_user(&mut self, login: &str) -> u64 {
        self.add_account(login, AccountKind::User, vec![format!("{login}@example.com")])
    }

    /// An app's account. `slug` is its login without `[bot]`.
    pub fn add_bot(&mut self, slug: &str) -> u64 {
        let email = format!("{slug}[bot]@users.noreply.github.com");
        self.add_account(slug, AccountKind::Bot, vec![email])
    }

    pub(in crate::simulated_github) fn add_web_flow(&mut self) {
        self.add_account("web-flow", AccountKind::User, vec!["noreply@github.com".to_owned()]);
    }

    /// An organisation where the App is installed, on all repositories. Returns the installation.
    pub fn add_organization(&mut self, login: &str) -> u64 {
        let account = self.add_account(login, AccountKind::Organization, Vec::new());
        let id = self.next_id();
        self.installations.insert(id, Installation { id, account, repositories: None });
        id
    }

    /// A member of an organisation; `owner` may do everything in its repositories.
    ///
    /// # Errors
    /// Unknown organisation or login.
    pub fn add_org_member(&mut self, org: &str, login: &str, owner: bool) -> Result<(), Impossible> {
        let (org, who) = (self.who(org)?, self.who(login)?);
        if let Some(o) = self.accounts.get_mut(&org) {
            o.members.insert(who);
            if owner {
                o.owners.insert(who);
            }
        }
        Ok(())
    }

    /// A team with its members, who become members of the organisation too.
    ///
    /// # Errors
    /// Unknown organisation, parent or login.
    pub fn add_team(
        &mut self,
        org: &str,
        slug: &str,
        parent: Option<&str>,
        members: &[&str],
    ) -> Result<u64, Impossible> {
        let org_id = self.who(org)?;
        let parent = match parent {
            None => None,
            Some(p) => match self.team(org_id, p) {
                Some(t) => Some(t.id),
                None => return super::impossible(format!("there is no team {org}/{p}")),
            },
        };
        let mut ids = BTreeSet::new();
        for m in members {
            self.add_org_member(org, m, false)?;
            ids.insert(self.who(m)?);
        }
        let id = self.next_id();
        let slug = slug.to_owned();
        let (pending, repositories) = (BTreeSet::new(), BTreeMap::new());
        self.teams.insert(id, Team { id, org: org_id, slug, parent, members: ids, pending, repositories });
        Ok(id)
    }

    /// Gives a team a right on a repository.
    ///
    /// # Errors
    /// Unknown team or repository.
    pub fn grant_team(&mut self, team: u64, repository: &str, role: Role) -> Result<(), Impossible> {
        let repo = self.repo_id(repository)?;
        match self.teams.get_mut(&team) {
            Some(t) => t.repositories.insert(repo, role),
            None => return super::impossible(format!("there is no team {team}")),
        };
        Ok(())
    }

    /// Gives a person or bot a right on a repository.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn grant(&mut self, login: &str, repository: &str, role: Role) -> Result<(), Impossible> {
        let (who, repo) = (self.who(login)?, self.repo_id(repository)?);
        self.repo_mut(repo)?.collaborators.insert(who, Collaborator { role, custom: None });
        Ok(())
    }

    /// A right by a custom role that is based on `role`.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn grant_custom(
        &mut self,
        login: &str,
        repository: &str,
        role: Role,
        name: &str,
    ) -> Result<(), Impossible> {
        let (who, repo) = (self.who(login)?, self.repo_id(repository)?);
        let custom = Some(name.to_owned());
        self.repo_mut(repo)?.collaborators.insert(who, Collaborator { role, custom });
        Ok(())
    }

    /// A repository with one commit on `main`.
    ///
    /// # Errors
    /// Unknown owner.
    pub fn add_repository(&mut self, full_name: &str) -> Result<u64, Impossible> {
        self.add_repository_with(
            full_name,
            &commit("web-flow", "Initial commit").write("README.md", "# Hello\n"),
        )
    }

    /// A repository whose first commit is `first`.
    ///
    /// # Errors
    /// Unknown owner.
    pub fn add_repository_with(&mut self, full_name: &str, first: &CommitSpec) -> Result<u64, Impossible> {
        let id = self.new_repository(full_name, None)?;
        let sha = self.make(id, None, first)?;
        self.repo_mut(id)?.refs.insert("refs/heads/main".to_owned(), sha);
        Ok(id)
    }

    /// A fork with the branches of its parent.
    ///
    /// # Errors
    /// Unknown parent or owner.
    pub fn fork(&mut self, parent: &str, full_name: &str) -> Result<u64, Impossible> {
        let parent = self.repo_id(parent)?;
        let refs = self.repo(parent)?.refs.clone();
        let id = self.new_repository(full_name, Some(parent))?;
        self.repo_mut(id)?.refs = refs;
        Ok(id)
    }

    fn new_repository(&mut self, full_name: &str, parent: Option<u64>) -> Result<u64, Impossible> {
        let Some((owner, name)) = full_name.split_once('/') else {
            return super::impossible(format!("{full_name} is not owner/name"));
        };
        let owner = self.who(owner)?;
        let id = self.next_id();
        let repository = Repository {
            id,
            owner,
            name: name.to_owned(),
            default_branch: "main".to_owned(),
            private: true,
            archived: false,
            parent,
            collaborators: BTreeMap::new(),
            refs: BTreeMap::new(),
            pulls: BTreeMap::new(),
            last_number: 0,
            queues: BTreeMap::new(),
            pushed_at: None,
            activity: Vec::new(),
            rules: BTreeMap::new(),
            rulesets: BTreeMap::new(),
            secret_alerts: Some(Vec::new()),
            protection_shown: BTreeMap::new(),
            rule_suites: Vec::new(),
            records_hidden: false,
            codeowners_errors: Vec::new(),
            collaborators_hidden: false,
        };
        self.repositories.insert(id, repository);
        Ok(id)
    }

    /// The account is deleted: what it made becomes a ghost's, its e-mails nobody's.
    ///
    /// # Errors
    /// Unknown login.
    pub fn delete_account(&mut self, login: &str) -> Result<(), Impossible> {
        let gone = self.who(login)?;
        self.accounts.remove(&gone);
        let forget = |who: &mut Option<u64>| {
            if *who == Some(gone) {
                *who = None;
            }
        };
        for pull in self.repositories.values_mut().flat_map(|r| r.pulls.values_mut()) {
            forget(&mut pull.author);
            pull.reviews.iter_mut().for_each(|r| forget(&mut r.author));
            pull.timeline.iter_mut().for_each(|h| forget(&mut h.actor));
            if let Some(m) = &mut pull.merged {
                forget(&mut m.by);
            }
        }
        for a in self.repositories.values_mut().flat_map(|r| r.activity.iter_mut()) {
            forget(&mut a.actor);
        }
        Ok(())
    }
}
