//! Teams and members of an organisation.

use serde_json::json;

use crate::simulated_github::{
    http::{Call, Reply},
    state::{AccountKind, Role, World},
};

pub(super) fn organization(world: &World, call: &Call, installation: u64, org: &str, rest: &[&str]) -> Reply {
    let org = world.account(org).filter(|o| o.kind == AccountKind::Organization);
    let ours = |o: &u64| world.installations.get(&installation).is_some_and(|i| i.account == *o);
    let Some(org) = org.filter(|o| ours(&o.id)) else { return Reply::not_found() };
    match (call.method.as_str(), rest) {
        ("GET", ["members", login]) => {
            if org.members_hidden {
                return Reply::empty(302)
                    .header("location", format!("/orgs/{}/public_members/{login}", org.login));
            }
            let member = world.account(login).is_some_and(|a| org.members.contains(&a.id));
            if member { Reply::empty(204) } else { Reply::not_found() }
        }
        ("GET", ["teams", slug, "memberships", login]) => membership(world, org.id, slug, login),
        ("GET", ["teams", slug, "repos", owner, repo]) => {
            team_repository(world, org.id, slug, &format!("{owner}/{repo}"), call)
        }
        _ => Reply::not_found(),
    }
}

fn membership(world: &World, org: u64, slug: &str, login: &str) -> Reply {
    let (Some(team), Some(who)) = (world.team(org, slug), world.account(login)) else {
        return Reply::not_found();
    };
    let state = if world.team_members(team).contains(&who.id) {
        "active"
    } else if team.pending.contains(&who.id) {
        "pending"
    } else {
        return Reply::not_found();
    };
    let url = format!("https://api.github.test/teams/{}/memberships/{login}", team.id);
    Reply::json(200, &json!({"state": state, "role": "member", "url": url}))
}

/// With its own media type the repository and the rights; without it 204 and nothing.
fn team_repository(world: &World, org: u64, slug: &str, name: &str, call: &Call) -> Reply {
    let (Some(team), Some(repo)) = (world.team(org, slug), world.repository(name)) else {
        return Reply::not_found();
    };
    let Some(role) = world.team_role(team, repo.id) else { return Reply::not_found() };
    if !call.header("accept").contains("application/vnd.github.v3.repository+json") {
        return Reply::empty(204);
    }
    let mut body = world.repo_json(repo);
    body["role_name"] = json!(role.name());
    body["permissions"] = json!({
        "pull": true,
        "triage": role >= Role::Triage,
        "push": role >= Role::Write,
        "maintain": role >= Role::Maintain,
        "admin": role >= Role::Admin,
    });
    Reply::json(200, &body)
}

/// `repos/{o}/{r}/collaborators/{login}/permission`
pub(super) fn permission(world: &World, repo: u64, login: &str) -> Reply {
    let (Some(repo), Some(who)) = (world.repositories.get(&repo), world.account(login)) else {
        return Reply::not_found();
    };
    let role = world.role(who.id, repo);
    let public = (!repo.private).then_some("read");
    let flat = role.map(Role::flat).or(public).unwrap_or("none");
    let name = if role.is_some() { world.role_name(who.id, repo) } else { flat.to_owned() };
    let mut user = world.user_json(Some(who.id));
    user["role_name"] = json!(name);
    Reply::json(200, &json!({"permission": flat, "role_name": name, "user": user}))
}
