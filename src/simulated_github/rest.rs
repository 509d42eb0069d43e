//! The simulated GitHub's REST interface.
//!
//! Source: <https://docs.github.com/en/rest>. What gatelog never calls is 404.

use serde_json::{Value, json};

use super::{
    http::{Call, Caller, Inner, Reply, Shared},
    state::{Repository, World},
};

mod app;
mod checks;
mod content;
mod people;

/// Answers one REST request.
pub(super) fn route(shared: &Shared, inner: &mut Inner, call: &Call, caller: Caller) -> Reply {
    let segments: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (caller, segments.as_slice()) {
        (Caller::App, ["app", ..]) => app::route(shared, inner, call, &segments),
        (Caller::App, ["repos", owner, repo, "installation"]) => {
            app::repository_installation(&inner.world, owner, repo)
        }
        (Caller::App, ["orgs", org, "installation"]) => app::org_installation(&inner.world, org),
        (_, ["rate_limit"]) => app::rate_limit(inner),
        (Caller::App, _) | (_, ["app", ..]) => Reply::message(401, "A JSON web token could not be decoded"),
        (Caller::Installation(i), ["installation", "repositories"]) => {
            app::installation_repositories(shared, inner.view(), call, i)
        }
        (Caller::Installation(i), ["repos", owner, repo, rest @ ..]) => {
            repository(shared, inner, call, i, &format!("{owner}/{repo}"), rest)
        }
        (Caller::Installation(i), ["orgs", org, rest @ ..]) => {
            let reply = people::organization(inner.view(), call, i, org, rest);
            inner.read();
            reply
        }
        _ => Reply::not_found(),
    }
}

fn repository(
    shared: &Shared,
    inner: &mut Inner,
    call: &Call,
    installation: u64,
    name: &str,
    rest: &[&str],
) -> Reply {
    // Check runs are read and written as they are now, whatever the rest of the API lags.
    let world = &mut inner.world;
    let Some(repo) = world.repository(name).filter(|r| visible(world, r, installation)) else {
        return Reply::not_found();
    };
    let (repo, covered) = (repo.id, world.installation_of(repo).is_some_and(|i| i.id == installation));
    match (call.method.as_str(), rest) {
        ("POST" | "PATCH", _) if !covered => Reply::message(403, "Resource not accessible by integration"),
        ("POST", ["check-runs"]) => checks::create(world, repo, call),
        ("PATCH", ["check-runs", id]) => checks::update(world, repo, id, call),
        ("POST", ["actions", "runs", run, "deployment_protection_rule"]) => {
            checks::review_deployment(world, repo, run, call)
        }
        ("GET", ["actions", "runs", run]) => checks::run(world, repo, run),
        ("GET", ["check-runs", id]) => checks::show(world, repo, id),
        ("GET", ["commits", sha, "statuses"]) => checks::statuses(shared, world, repo, sha, call),
        ("GET", ["commits", sha, "check-runs"]) => checks::list(shared, world, repo, sha, call),
        ("GET", rest) => {
            let reply = content::read(shared, inner.view(), repo, call, rest);
            inner.read();
            reply
        }
        _ => Reply::not_found(),
    }
}

fn visible(world: &World, r: &Repository, installation: u64) -> bool {
    !r.private || world.installation_of(r).is_some_and(|i| i.id == installation)
}

/// One page of `all`, by `page` and `per_page`, and its `Link`.
fn page(shared: &Shared, call: &Call, all: Vec<Value>) -> (Vec<Value>, Option<String>) {
    let number = |name: &str, or: usize| call.query.get(name).and_then(|n| n.parse().ok()).unwrap_or(or);
    let size = number("per_page", 30).clamp(1, 100);
    let at = number("page", 1).max(1);
    let last = all.len().div_ceil(size).max(1);
    let link =
        |page: usize, rel: &str| format!("<{}>; rel=\"{rel}\"", url(shared, call, "page", &page.to_string()));
    let mut links = Vec::new();
    if at > 1 {
        links.push(link(at - 1, "prev"));
    }
    if at < last {
        links.push(link(at + 1, "next"));
        links.push(link(last, "last"));
    }
    let items = all.into_iter().skip((at - 1) * size).take(size).collect();
    (items, (!links.is_empty()).then(|| links.join(", ")))
}

/// The request's own URL with one query parameter changed.
fn url(shared: &Shared, call: &Call, name: &str, value: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (k, v) in call.query.iter().filter(|(k, _)| *k != name) {
        query.append_pair(k, v);
    }
    let query = query.append_pair(name, value).finish();
    format!("{}{}?{query}", shared.api_url, call.raw_path)
}

fn with_link(reply: Reply, link: Option<String>) -> Reply {
    match link {
        Some(link) => reply.header("link", link),
        None => reply,
    }
}

/// 422 as GitHub writes it.
fn invalid(message: &str, field: &str, code: &str) -> Reply {
    let errors = json!([{"resource": "CheckRun", "field": field, "code": code, "message": message}]);
    let docs = "https://docs.github.com/rest";
    let body = json!({"message": format!("Invalid request.\n\n{message}"), "errors": errors, "documentation_url": docs, "status": "422"});
    Reply::json(422, &body)
}
