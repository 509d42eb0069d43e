//! Who is a member of an organisation.

use serde_json::json;

use super::{super::final_reason, behind, waits};
use crate::{
    event::{Account, Circle},
    github::{Github, Trouble, rest::segment},
};

/// Whether an organisation is there for us: no connections, 1 point.
const ORGANIZATION_QUERY: &str =
    "query Organization($org: String!) { rateLimit { cost } organization(login: $org) { databaseId } }";

impl Github {
    /// Ids of those of `people` who are members of the organisation.
    ///
    /// `Unavailable` if GitHub goes on contradicting its own event about who is.
    pub(in crate::github::gather) async fn organization_members(
        &self,
        installation: u64,
        org: &str,
        people: &[&Account],
    ) -> Result<Result<Vec<u64>, String>, Trouble> {
        let circle = [Circle::Organization(org.to_ascii_lowercase())];
        for wait in waits() {
            let members = match self.organization_members_as_shown(installation, org, people).await? {
                Ok(members) => members,
                Err(why) => return Ok(Err(why)),
            };
            if !self.inner.people.is_contradicted(&circle, &members, Some(people)) {
                return Ok(Ok(members));
            }
            self.read_people_again(wait).await;
        }
        Err(behind(&format!("in the organisation `{org}`")))
    }

    async fn organization_members_as_shown(
        &self,
        installation: u64,
        org: &str,
        people: &[&Account],
    ) -> Result<Result<Vec<u64>, String>, Trouble> {
        // "Not found" is said of members and of organisations alike.
        if let Err(why) = self.organization_is_there(installation, org).await? {
            return Ok(Err(why));
        }
        let cache = &self.inner.people;
        let mut members = Vec::new();
        for person in people {
            let key = cache.dated((installation, org.to_ascii_lowercase(), person.id));
            let member = match cache.org_member.get(&key).await {
                Some(member) => member,
                None => match self.is_in_organization(installation, org, person).await? {
                    Ok(member) => {
                        cache.org_member.insert(key, member).await;
                        member
                    }
                    Err(why) => return Ok(Err(why)),
                },
            };
            members.extend(member.then_some(person.id));
        }
        Ok(Ok(members))
    }

    async fn organization_is_there(
        &self,
        installation: u64,
        org: &str,
    ) -> Result<Result<(), String>, Trouble> {
        let cache = &self.inner.people;
        let key = cache.dated((installation, org.to_ascii_lowercase()));
        if cache.org_seen.contains_key(&key) {
            return Ok(Ok(()));
        }
        let answer = self.graphql(installation, ORGANIZATION_QUERY, json!({ "org": org })).await;
        match answer.and_then(|a| a.at(&["organization", "databaseId"]).map(|_| ())) {
            Ok(()) => {
                cache.org_seen.insert(key, ()).await;
                Ok(Ok(()))
            }
            Err(trouble) => Ok(Err(format!("the organisation `{org}`: {}", final_reason(trouble)?))),
        }
    }

    async fn is_in_organization(
        &self,
        installation: u64,
        org: &str,
        person: &Account,
    ) -> Result<Result<bool, String>, Trouble> {
        let path = format!("/orgs/{}/members/{}", segment(org), segment(&person.login));
        let answer = match self.get(installation, &path).await {
            Ok(answer) => answer,
            Err(trouble) => return final_reason(trouble).map(Err),
        };
        // Sent on to the public members: we may not know.
        if answer.redirected {
            return Ok(Err(format!("GitHub does not let us see who is in `{org}`")));
        }
        Ok(match answer.status.as_u16() {
            204 => Ok(true),
            404 => Ok(false),
            other => Err(format!("membership in `{org}`: GitHub says {other}")),
        })
    }
}
