//! What people may do on a repository.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    super::{final_reason, same_repository},
    ALIASES, Id,
};
use crate::{
    event::Account,
    github::{Github, RepoAt, Trouble, graphql::Answer, rest::segment},
};

/// REST's and our names of the levels.
const LEVELS: [&str; 6] = ["admin", "maintain", "write", "triage", "read", "none"];

impl Github {
    /// Levels on the repository by account id. `Err`: the reason why one could not be had.
    pub(in crate::github::gather) async fn permissions(
        &self,
        at: &RepoAt,
        people: &[&Account],
    ) -> Result<Result<BTreeMap<u64, String>, String>, Trouble> {
        let cache = &self.inner.people;
        let key = |id: u64| cache.dated((at.repository.id, id));
        // Taken before the read: see `Dated`.
        let keys: Vec<_> = people.iter().map(|p| key(p.id)).collect();
        let mut levels = BTreeMap::new();
        let mut unknown = Vec::new();
        for (person, key) in people.iter().zip(keys) {
            match cache.permission.get(&key).await {
                Some(level) => _ = levels.insert(person.id, level),
                None => unknown.push((*person, key)),
            }
        }
        for some in unknown.chunks(ALIASES) {
            let asked: Vec<&Account> = some.iter().map(|(p, _)| *p).collect();
            let found = match self.levels(at, &asked).await? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            for ((person, key), level) in some.iter().zip(found) {
                cache.permission.insert(*key, level.clone()).await;
                levels.insert(person.id, level);
            }
        }
        Ok(Ok(levels))
    }

    async fn levels(&self, at: &RepoAt, people: &[&Account]) -> Result<Result<Vec<String>, String>, Trouble> {
        let answer = self.ask_levels(at, people).await?;
        let mut levels = Vec::new();
        for (i, person) in people.iter().enumerate() {
            let level = match &answer {
                Some(answer) => level_of(answer, i, person),
                None => None,
            };
            match level {
                Some(level) => levels.push(level),
                None => match self.level_by_rest(at, person).await? {
                    Ok(level) => levels.push(level),
                    Err(why) => return Ok(Err(why)),
                },
            }
        }
        Ok(Ok(levels))
    }

    /// `None`: GraphQL does not tell us; REST may.
    async fn ask_levels(&self, at: &RepoAt, people: &[&Account]) -> Result<Option<Answer>, Trouble> {
        let (query, mut variables) = people_query(people.iter().map(|p| p.login.as_str()));
        variables.insert("owner".to_owned(), json!(at.repository.name.owner()));
        variables.insert("repo".to_owned(), json!(at.repository.name.name()));
        match self.graphql(at.installation, &query, Value::Object(variables)).await {
            Ok(answer) => {
                same_repository(at, &answer)?;
                Ok(Some(answer))
            }
            Err(trouble) => final_reason(trouble).map(|_| None),
        }
    }

    async fn level_by_rest(&self, at: &RepoAt, person: &Account) -> Result<Result<String, String>, Trouble> {
        #[derive(Deserialize)]
        struct Level {
            permission: String,
            role_name: Option<String>,
            user: Option<Id>,
        }
        let path = at.path(&format!("/collaborators/{}/permission", segment(&person.login)));
        let answer = match self.get(at.installation, &path).await.and_then(|a| a.expect(&[200])) {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        let level: Level = answer.json()?;
        // The login may have gone to somebody else since the review.
        if level.user.is_some_and(|u| u.id != person.id) {
            return Ok(Ok("none".to_owned()));
        }
        // A custom role counts as the permission it is based on.
        let named = level.role_name.filter(|r| LEVELS.contains(&r.as_str()));
        Ok(Ok(named.unwrap_or(level.permission)))
    }

    /// Somebody's level on the repository, past the cache. `Err`: why it could not be had.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub async fn level_now(&self, at: &RepoAt, person: &Account) -> Result<Result<String, String>, Trouble> {
        self.level_by_rest(at, person).await
    }
}

/// The level of the person that alias `u{i}` asked for; `None`: GraphQL does not say.
fn level_of(answer: &Answer, i: usize, person: &Account) -> Option<String> {
    let alias = format!("u{i}");
    if answer.touching(&["repository", &alias]).is_some() {
        return None;
    }
    let edges = answer.data["repository"][&alias]["edges"].as_array()?;
    let own = edges.iter().find(|e| e["node"]["databaseId"].as_u64() == Some(person.id));
    match own {
        Some(edge) => Some(edge["permission"].as_str()?.to_ascii_lowercase()),
        None => Some("none".to_owned()),
    }
}

/// `pr_people.graphql` for any number of people.
fn people_query<'a>(logins: impl Iterator<Item = &'a str>) -> (String, Map<String, Value>) {
    let (mut heads, mut fields, mut variables) = (String::new(), String::new(), Map::new());
    for (i, login) in logins.enumerate() {
        // Writing to a string does not fail.
        _ = write!(heads, ", $u{i}: String!");
        let wanted = "edges { permission node { databaseId login } }";
        _ = writeln!(fields, "    u{i}: collaborators(login: $u{i}, first: 1) {{ {wanted} }}");
        variables.insert(format!("u{i}"), json!(login));
    }
    let query = format!(
        "query PrPeople($owner: String!, $repo: String!{heads}) {{\n  \
         rateLimit {{ cost nodeCount remaining resetAt }}\n  \
         repository(owner: $owner, name: $repo) {{\n    databaseId\n{fields}  }}\n}}\n"
    );
    (query, variables)
}

#[cfg(test)]
mod tests {
    use super::{super::without_comments, *};

    /// The file shows the query for two; what is sent is the same for any number.
    #[test]
    fn the_query_is_the_file() {
        let people = people_query(["a", "b"].into_iter()).0;
        assert_eq!(people, without_comments(include_str!("../../pr_people.graphql")));
    }
}
