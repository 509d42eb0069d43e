//! What the App asks about itself: installations, tokens, its webhook.

use std::time::Duration;

use serde_json::{Value, json};

use super::{page, url, with_link};
use crate::{
    simulated_github::{
        http::{Call, HOURLY_LIMIT, Inner, Reply, Shared, Token},
        payload::seconds,
        state::{Installation, PastDelivery, World},
    },
    time::Time,
};

/// How long an installation token lives.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

pub(super) fn route(shared: &Shared, inner: &mut Inner, call: &Call, segments: &[&str]) -> Reply {
    match (call.method.as_str(), segments) {
        ("GET", ["app"]) => Reply::json(200, &app_json(&inner.world)),
        ("GET", ["app", "installations"]) => {
            let all =
                inner.world.installations.values().map(|i| installation_json(&inner.world, i)).collect();
            let (items, link) = page(shared, call, all);
            with_link(Reply::json(200, &Value::Array(items)), link)
        }
        ("GET", ["app", "installations", id]) => match find(&inner.world, id) {
            Some(i) => Reply::json(200, &installation_json(&inner.world, i)),
            None => Reply::not_found(),
        },
        ("POST", ["app", "installations", id, "access_tokens"]) => mint(inner, id),
        ("GET", ["app", "hook", "config"]) => {
            let url = &inner.world.app.hook_url;
            let config =
                json!({"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": url});
            Reply::json(200, &config)
        }
        ("GET", ["app", "hook", "deliveries"]) => deliveries(shared, &inner.world, call),
        ("GET", ["app", "hook", "deliveries", id]) => {
            let found = inner.world.deliveries.iter().find(|d| d.id.to_string() == **id);
            found.map_or_else(Reply::not_found, |d| Reply::json(200, &full_delivery_json(d)))
        }
        ("POST", ["app", "hook", "deliveries", id, "attempts"]) => {
            let hook =
                inner.world.deliveries.iter().find(|d| d.id.to_string() == **id).map(|d| d.hook.clone());
            match hook {
                Some(hook) => {
                    inner.world.outbox.push(hook);
                    Reply::json(202, &json!({}))
                }
                None => Reply::not_found(),
            }
        }
        _ => Reply::not_found(),
    }
}

fn find<'w>(world: &'w World, id: &str) -> Option<&'w Installation> {
    world.installations.get(&id.parse().ok()?)
}

fn mint(inner: &mut Inner, id: &str) -> Reply {
    let Some(installation) = find(&inner.world, id).map(|i| i.id) else { return Reply::not_found() };
    inner.minted += 1;
    let token = format!("ghs_simulated{:024}", inner.minted);
    let expires_at = Time::now().plus(TOKEN_LIFE);
    inner.tokens.insert(token.clone(), Token { installation, expires_at });
    let body = json!({
        "token": token,
        "expires_at": seconds(expires_at),
        "permissions": inner.world.app.permissions,
        "repository_selection": "all",
    });
    Reply::json(201, &body)
}

fn app_json(world: &World) -> Value {
    let app = &world.app;
    json!({
        "id": app.id,
        "slug": app.slug,
        "name": app.name,
        "node_id": format!("A_{}", app.id),
        "owner": {"login": "simulated", "id": 1, "type": "Organization"},
        "description": "",
        "external_url": "https://gatelog.test",
        "html_url": format!("https://github.test/apps/{}", app.slug),
        "permissions": app.permissions,
        "events": app.events,
        "installations_count": world.installations.len(),
        "created_at": seconds(world.now),
        "updated_at": seconds(world.now),
    })
}

fn installation_json(world: &World, i: &Installation) -> Value {
    json!({
        "id": i.id,
        "app_id": world.app.id,
        "app_slug": world.app.slug,
        "account": world.user_json(Some(i.account)),
        "html_url": format!("https://github.test/organizations/{}/settings/installations/{}", world.accounts.get(&i.account).map_or("ghost", |a| &a.login), i.id),
        "target_id": i.account,
        "target_type": "Organization",
        "repository_selection": if i.repositories.is_some() { "selected" } else { "all" },
        "permissions": world.app.permissions,
        "events": world.app.events,
        "created_at": seconds(world.now),
        "updated_at": seconds(world.now),
        "suspended_at": null,
    })
}

/// Newest first, paged by `cursor`: the id of the first delivery of the page.
fn deliveries(shared: &Shared, world: &World, call: &Call) -> Reply {
    let size = call.query.get("per_page").and_then(|n| n.parse().ok()).unwrap_or(30usize).clamp(1, 100);
    let from = call.query.get("cursor").and_then(|c| c.strip_prefix("v1_")?.parse::<u64>().ok());
    let mut left = world.deliveries.iter().rev().filter(|d| from.is_none_or(|from| d.id <= from));
    let items: Vec<Value> = left.by_ref().take(size).map(delivery_json).collect();
    let next = left.next().map(|d| format!("v1_{}", d.id));
    let link = next.map(|cursor| format!("<{}>; rel=\"next\"", url(shared, call, "cursor", &cursor)));
    with_link(Reply::json(200, &Value::Array(items)), link)
}

/// With what was sent and answered: parsed, not the signed bytes.
fn full_delivery_json(d: &PastDelivery) -> Value {
    let mut out = delivery_json(d);
    let headers = json!({"X-GitHub-Delivery": d.hook.guid, "X-GitHub-Event": d.hook.event});
    out["request"] = json!({"headers": headers, "payload": d.hook.payload});
    out["response"] = json!({"headers": {}, "payload": ""});
    out
}

fn delivery_json(d: &PastDelivery) -> Value {
    let ok = (200..300).contains(&d.status);
    json!({
        "id": d.id,
        "guid": d.hook.guid,
        "event": d.hook.event,
        "action": d.hook.payload.get("action"),
        "delivered_at": seconds(d.at),
        "throttled_at": null,
        "redelivery": d.redelivery,
        "duration": 0.01,
        "status": if ok { "OK" } else { "Invalid HTTP Response" },
        "status_code": d.status,
        "installation_id": d.hook.payload.pointer("/installation/id"),
        "repository_id": d.hook.payload.pointer("/repository/id"),
    })
}

pub(super) fn repository_installation(world: &World, owner: &str, repo: &str) -> Reply {
    let found = world.repository(&format!("{owner}/{repo}")).and_then(|r| world.installation_of(r));
    found.map_or_else(Reply::not_found, |i| Reply::json(200, &installation_json(world, i)))
}

pub(super) fn org_installation(world: &World, org: &str) -> Reply {
    let found = world.account(org).and_then(|o| world.installations.values().find(|i| i.account == o.id));
    found.map_or_else(Reply::not_found, |i| Reply::json(200, &installation_json(world, i)))
}

pub(super) fn installation_repositories(
    shared: &Shared,
    world: &World,
    call: &Call,
    installation: u64,
) -> Reply {
    let ours = world
        .repositories
        .values()
        .filter(|r| world.installation_of(r).is_some_and(|i| i.id == installation));
    let all: Vec<Value> = ours.map(|r| world.repo_json(r)).collect();
    let total = all.len();
    let (repositories, link) = page(shared, call, all);
    let body = json!({"total_count": total, "repository_selection": "all", "repositories": repositories});
    with_link(Reply::json(200, &body), link)
}

pub(super) fn rate_limit(inner: &Inner) -> Reply {
    let reset = Time::now().plus(Duration::from_secs(3600)).unix_seconds();
    let of = |left: u64| json!({"limit": HOURLY_LIMIT, "remaining": left, "used": HOURLY_LIMIT.saturating_sub(left), "reset": reset});
    let (core, graphql) = (of(inner.left.core), of(inner.left.graphql));
    Reply::json(200, &json!({"resources": {"core": core, "graphql": graphql}, "rate": core}))
}
