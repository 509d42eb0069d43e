//! People: their level on the repository, their teams, their organisations.
//!
//! "Not a member" is said only when GitHub said so; everything else is a missing fact.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cache::Roster, final_reason, pull::REREADS};
use crate::{
    event::{Account, Circle},
    facts::Team,
    github::{Github, RepoAt, Trouble, TroubleKind, graphql::Answer, rest::segment},
};

mod levels;
mod organizations;

/// The part of the query that is the same for any number of teams.
const MEMBERS: &str = "fragment Members on Team {";
const TEAMS_FILE: &str = include_str!("../teams.graphql");

/// GitHub's pages of members that are read; larger teams are asked person by person.
const MEMBER_PAGES: usize = 3;

/// Aliases in one query: one request each, so that a hundred cost one point.
const ALIASES: usize = 100;

/// The media type that makes GitHub say which right a team has, instead of an empty 204.
const WITH_PERMISSIONS: &str = "application/vnd.github.v3.repository+json";

/// What became of a question.
#[derive(Debug)]
pub(super) enum Found<T> {
    Yes(T),
    /// GitHub says that it is not there, or not for us to see.
    Absent(String),
    /// GitHub does not say.
    Unreadable(String),
}

/// Everyone but apps: apps are in no team and no organisation.
pub(super) fn persons(accounts: &[Account]) -> Vec<&Account> {
    let mut seen = BTreeSet::new();
    accounts.iter().filter(|a| a.kind == "User" && seen.insert(a.id)).collect()
}

/// One read, and one more after each wait.
fn waits() -> impl Iterator<Item = Option<Duration>> {
    REREADS.into_iter().map(Some).chain([None])
}

fn behind(place: &str) -> Trouble {
    let reason = format!("GitHub's API does not show yet who is {place} since the last change");
    Trouble::new(TroubleKind::Unavailable, reason)
}

impl Github {
    /// Whether somebody is an active member of the team `org/slug`, past the cache. A team that we cannot
    /// see has no members. `Err`: why it could not be had.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub async fn is_member_now(
        &self,
        at: &RepoAt,
        team: &str,
        person: &Account,
    ) -> Result<Result<bool, String>, Trouble> {
        match team.split_once('/') {
            Some((org, slug)) => self.is_in_team(at.installation, org, slug, person).await,
            None => Ok(Ok(false)),
        }
    }

    /// A team with what it may do on the repository. Of a team too large to list, only those of
    /// `people` are members in the fact.
    ///
    /// `Unavailable` if GitHub goes on contradicting its own event about who is in it.
    pub(super) async fn team(
        &self,
        at: &RepoAt,
        name: &str,
        people: &[&Account],
    ) -> Result<Found<Team>, Trouble> {
        let Some((org, slug)) = name.split_once('/').filter(|(o, s)| !o.is_empty() && !s.is_empty()) else {
            return Ok(Found::Absent(format!("`{name}` is not the name of a team (org/slug)")));
        };
        for wait in waits() {
            let (team, all) = match self.team_as_shown(at, org, slug, people).await? {
                Found::Yes(found) => found,
                Found::Absent(why) => return Ok(Found::Absent(why)),
                Found::Unreadable(why) => return Ok(Found::Unreadable(why)),
            };
            let circles = [Circle::Team(team.id), Circle::Organization(org.to_ascii_lowercase())];
            let asked = (!all).then_some(people);
            if !self.inner.people.is_contradicted(&circles, &team.members, asked) {
                return Ok(Found::Yes(team));
            }
            self.read_people_again(wait).await;
        }
        Err(behind(&format!("in @{org}/{slug}")))
    }

    /// As [`Self::team`], and whether its members are all that it has.
    async fn team_as_shown(
        &self,
        at: &RepoAt,
        org: &str,
        slug: &str,
        people: &[&Account],
    ) -> Result<Found<(Team, bool)>, Trouble> {
        let roster = match self.roster(at.installation, org, slug).await? {
            Found::Yes(roster) => roster,
            Found::Absent(why) => return Ok(Found::Absent(why)),
            Found::Unreadable(why) => return Ok(Found::Unreadable(why)),
        };
        let can_write = match self.team_writes(at, org, slug, roster.id).await? {
            Ok(can_write) => can_write,
            Err(why) => return Ok(Found::Unreadable(why)),
        };
        let members = match &roster.members {
            Some(members) => members.clone(),
            None => match self.team_members(at, org, slug, roster.id, people).await? {
                Ok(members) => members,
                Err(why) => return Ok(Found::Unreadable(why)),
            },
        };
        Ok(Found::Yes((Team { id: roster.id, members, can_write }, roster.members.is_some())))
    }

    async fn read_people_again(&self, wait: Option<Duration>) {
        self.inner.people.read_again();
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }

    /// Teams by name, each with what became of it.
    pub(super) async fn teams(
        &self,
        at: &RepoAt,
        names: &BTreeSet<String>,
        people: &[&Account],
    ) -> Result<BTreeMap<String, Found<Team>>, Trouble> {
        self.list_together(at.installation, names).await?;
        let mut found = BTreeMap::new();
        for name in names {
            found.insert(name.clone(), self.team(at, name, people).await?);
        }
        Ok(found)
    }

    /// One query for all teams of an organisation that are not remembered. Those that fit a page are
    /// remembered; the others, and what went wrong, are left to be asked for one by one.
    async fn list_together(&self, installation: u64, names: &BTreeSet<String>) -> Result<(), Trouble> {
        let cache = &self.inner.people;
        let mut unknown: BTreeMap<&str, Vec<(&str, _)>> = BTreeMap::new();
        for name in names {
            let key = cache.dated((installation, name.to_ascii_lowercase()));
            if let Some((org, slug)) = name.split_once('/')
                && !cache.team.contains_key(&key)
            {
                unknown.entry(org).or_default().push((slug, key));
            }
        }
        for (org, teams) in unknown.into_iter().filter(|(_, teams)| teams.len() > 1) {
            for some in teams.chunks(ALIASES) {
                let slugs: Vec<&str> = some.iter().map(|(slug, _)| *slug).collect();
                let (query, variables) = teams_query(org, &slugs, None);
                let answer = match self.graphql(installation, &query, variables).await {
                    Ok(answer) => answer,
                    Err(trouble) if trouble.passes() => return Err(trouble),
                    Err(_) => break,
                };
                for (i, (slug, key)) in some.iter().enumerate() {
                    if let Found::Yes(page) = team_of(&answer, i, org, slug)
                        && page.members.nodes.len() as u64 == page.members.total_count
                    {
                        let members = page.members.nodes.into_iter().map(|m| m.database_id).collect();
                        let roster = Roster { id: page.database_id, members: Some(members) };
                        cache.team.insert(key.clone(), Arc::new(roster)).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn roster(&self, installation: u64, org: &str, slug: &str) -> Result<Found<Arc<Roster>>, Trouble> {
        let cache = &self.inner.people;
        let key = cache.dated((installation, format!("{org}/{slug}").to_ascii_lowercase()));
        if let Some(roster) = cache.team.get(&key).await {
            return Ok(Found::Yes(roster));
        }
        let found = self.read_roster(installation, org, slug).await?;
        Ok(match found {
            Found::Yes(roster) => {
                let roster = Arc::new(roster);
                cache.team.insert(key, Arc::clone(&roster)).await;
                Found::Yes(roster)
            }
            Found::Absent(why) => Found::Absent(why),
            Found::Unreadable(why) => Found::Unreadable(why),
        })
    }

    async fn read_roster(&self, installation: u64, org: &str, slug: &str) -> Result<Found<Roster>, Trouble> {
        let mut members = Vec::new();
        let mut after = None;
        for _ in 0..MEMBER_PAGES {
            let (query, variables) = teams_query(org, &[slug], after.as_deref());
            let answer = match self.graphql(installation, &query, variables).await {
                Ok(answer) => answer,
                Err(trouble) => return final_reason(trouble).map(Found::Unreadable),
            };
            let page = match team_of(&answer, 0, org, slug) {
                Found::Yes(page) => page,
                Found::Absent(why) => return Ok(Found::Absent(why)),
                Found::Unreadable(why) => return Ok(Found::Unreadable(why)),
            };
            if page.members.total_count > (MEMBER_PAGES * 100) as u64 {
                return Ok(Found::Yes(Roster { id: page.database_id, members: None }));
            }
            let (next, total, id) = (page.members.next(), page.members.total_count, page.database_id);
            members.extend(page.members.nodes.into_iter().map(|m| m.database_id));
            match next {
                Some(cursor) => after = Some(cursor),
                None if members.len() as u64 == total => {
                    return Ok(Found::Yes(Roster { id, members: Some(members) }));
                }
                None => break,
            }
        }
        Ok(Found::Unreadable(format!("not all members of @{org}/{slug} could be read")))
    }

    /// Whether the team has write on the repository, itself or through a parent. The team was seen,
    /// so that 404 means "no right".
    async fn team_writes(
        &self,
        at: &RepoAt,
        org: &str,
        slug: &str,
        team: u64,
    ) -> Result<Result<bool, String>, Trouble> {
        #[derive(Deserialize)]
        struct Repository {
            permissions: Permissions,
        }
        #[derive(Deserialize)]
        struct Permissions {
            #[serde(default)]
            admin: bool,
            #[serde(default)]
            maintain: bool,
            #[serde(default)]
            push: bool,
        }
        let cache = &self.inner.people;
        let key = cache.dated((team, at.repository.id));
        if let Some(known) = cache.team_writes.get(&key).await {
            return Ok(Ok(known));
        }
        let repository = &at.repository.name;
        let path = format!("/orgs/{}/teams/{}/repos/{repository}", segment(org), segment(slug));
        let answer = match self.get_as(at.installation, &path, WITH_PERMISSIONS).await {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        let can_write = match answer.status.as_u16() {
            200 => {
                let p = answer.json::<Repository>()?.permissions;
                p.admin || p.maintain || p.push
            }
            404 => false,
            other => {
                return Ok(Err(format!("the right of @{org}/{slug} on {repository}: GitHub says {other}")));
            }
        };
        cache.team_writes.insert(key, can_write).await;
        Ok(Ok(can_write))
    }

    async fn team_members(
        &self,
        at: &RepoAt,
        org: &str,
        slug: &str,
        team: u64,
        people: &[&Account],
    ) -> Result<Result<Vec<u64>, String>, Trouble> {
        let cache = &self.inner.people;
        let mut members = Vec::new();
        for person in people {
            let key = cache.dated((team, person.id));
            let member = match cache.team_member.get(&key).await {
                Some(member) => member,
                None => match self.is_in_team(at.installation, org, slug, person).await? {
                    Ok(member) => {
                        cache.team_member.insert(key, member).await;
                        member
                    }
                    Err(why) => return Ok(Err(why)),
                },
            };
            members.extend(member.then_some(person.id));
        }
        Ok(Ok(members))
    }

    /// The team was seen, so that 404 means "no". An invitation not yet accepted is no membership.
    async fn is_in_team(
        &self,
        installation: u64,
        org: &str,
        slug: &str,
        person: &Account,
    ) -> Result<Result<bool, String>, Trouble> {
        #[derive(Deserialize)]
        struct Membership {
            state: String,
        }
        let (org_part, slug_part, login) = (segment(org), segment(slug), segment(&person.login));
        let path = format!("/orgs/{org_part}/teams/{slug_part}/memberships/{login}");
        let answer = match self.get(installation, &path).await {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        Ok(match answer.status.as_u16() {
            200 => Ok(answer.json::<Membership>()?.state == "active"),
            404 => Ok(false),
            other => Err(format!("membership in @{org}/{slug}: GitHub says {other}")),
        })
    }
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    database_id: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MembersOf {
    database_id: u64,
    members: super::answer::Connection<Member>,
}

/// What alias `t{i}` gave.
fn team_of(answer: &Answer, i: usize, org: &str, slug: &str) -> Found<MembersOf> {
    let alias = format!("t{i}");
    let team = &answer.data["organization"][&alias];
    if let Some(error) = answer.touching(&["organization", &alias]) {
        let why = format!("the team @{org}/{slug}: {}", error.short());
        let absent = team.is_null() && error.kind.as_deref() == Some("NOT_FOUND");
        return if absent { Found::Absent(why) } else { Found::Unreadable(why) };
    }
    if team.is_null() {
        return Found::Absent(format!("the team @{org}/{slug} does not exist or cannot be seen"));
    }
    match MembersOf::deserialize(team) {
        Ok(members) => Found::Yes(members),
        Err(e) => Found::Unreadable(format!("the team @{org}/{slug}: answer not understood: {e}")),
    }
}

/// `teams.graphql` for any number of teams; `after` is for one alone.
fn teams_query(org: &str, slugs: &[&str], after: Option<&str>) -> (String, Value) {
    let (mut heads, mut fields) = (String::new(), String::new());
    let mut variables = json!({ "org": org, "after": after });
    for (i, slug) in slugs.iter().enumerate() {
        // Writing to a string does not fail.
        _ = write!(heads, ", $t{i}: String!");
        _ = writeln!(fields, "    t{i}: team(slug: $t{i}) {{ ...Members }}");
        variables[format!("t{i}")] = json!(slug);
    }
    let fragment = TEAMS_FILE.find(MEMBERS).map_or("", |at| &TEAMS_FILE[at..]);
    let query = format!(
        "query Teams($org: String!{heads}, $after: String) {{\n  \
         rateLimit {{ cost nodeCount remaining resetAt }}\n  \
         organization(login: $org) {{\n    databaseId\n{fields}  }}\n}}\n\n{fragment}"
    );
    (query, variables)
}

/// A query as its file has it.
#[cfg(test)]
fn without_comments(file: &str) -> String {
    file.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file shows the query for two; what is sent is the same for any number.
    #[test]
    fn the_query_is_the_file() {
        assert_eq!(teams_query("o", &["a", "b"], None).0, without_comments(TEAMS_FILE));
    }
}
