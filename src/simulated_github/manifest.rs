//! Registering an App from a manifest: the form on the website, and the exchange of the code.
//!
//! Source: <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>; which
//! permission an event needs: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use serde_json::{Value, json};

use super::{
    http::{Call, Reply, Shared},
    state::World,
};

/// Events an App may subscribe to here, and the permission each needs.
const EVENTS: [(&str, &str); 26] = [
    ("branch_protection_configuration", "administration"),
    ("branch_protection_rule", "administration"),
    ("check_run", "checks"),
    ("check_suite", "checks"),
    ("create", "contents"),
    ("delete", "contents"),
    ("deployment", "deployments"),
    ("deployment_protection_rule", "deployments"),
    ("deployment_status", "deployments"),
    ("issue_comment", "pull_requests"),
    ("member", "members"),
    ("membership", "members"),
    ("merge_group", "merge_queues"),
    ("organization", "members"),
    ("pull_request", "pull_requests"),
    ("pull_request_review", "pull_requests"),
    ("pull_request_review_comment", "pull_requests"),
    ("push", "contents"),
    ("repository", "metadata"),
    ("repository_ruleset", "administration"),
    ("secret_scanning_alert", "secret_scanning_alerts"),
    ("status", "statuses"),
    ("team", "members"),
    ("team_add", "members"),
    ("workflow_job", "actions"),
    ("workflow_run", "actions"),
];

/// Permissions there are, as far as anybody here asks for them.
const PERMISSIONS: [&str; 12] = [
    "actions",
    "administration",
    "checks",
    "contents",
    "deployments",
    "issues",
    "members",
    "merge_queues",
    "metadata",
    "pull_requests",
    "secret_scanning_alerts",
    "statuses",
];

/// `POST /organizations/{org}/settings/apps/new`: the owner of the organisation agrees at once.
pub(super) fn form(world: &mut World, call: &Call) -> Reply {
    let ["organizations", org, "settings", "apps", "new"] =
        call.path.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        return Reply::not_found();
    };
    if world.account(org).is_none() {
        return Reply::not_found();
    }
    let field = form_urlencoded::parse(&call.body).find(|(name, _)| name == "manifest");
    let manifest = field.and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
    let Some(manifest) = manifest else { return Reply::message(422, "manifest: is not JSON") };
    if let Err(why) = check(&manifest) {
        return Reply::message(422, &why);
    }
    let redirect = manifest["redirect_url"].as_str().unwrap_or_default().to_owned();
    let code = super::git::hash(&["code", &world.next_guid()]);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("code", &code);
    if let Some(state) = call.query.get("state") {
        query.append_pair("state", state);
    }
    let query = query.finish();
    world.manifests.insert(code, manifest);
    Reply::empty(302).header("location", format!("{redirect}?{query}"))
}

/// What GitHub refuses on its page.
fn check(manifest: &Value) -> Result<(), String> {
    let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let name = text(&manifest["name"]).ok_or("name: can't be blank")?;
    if name.chars().count() > 34 {
        return Err("name: is too long (maximum is 34 characters)".into());
    }
    text(&manifest["url"]).ok_or("url: wasn't supplied")?;
    text(&manifest["redirect_url"]).ok_or("redirect_url: wasn't supplied")?;
    text(&manifest["hook_attributes"]["url"]).ok_or("hook_attributes: url wasn't supplied")?;
    let empty = serde_json::Map::new();
    let permissions = manifest["default_permissions"].as_object().unwrap_or(&empty);
    for (name, level) in permissions {
        if !PERMISSIONS.contains(&name.as_str()) || !matches!(level.as_str(), Some("read" | "write")) {
            return Err(format!("default_permissions: {name} is not included in the list"));
        }
    }
    for event in manifest["default_events"].as_array().into_iter().flatten() {
        let event = event.as_str().unwrap_or_default();
        let known = EVENTS.iter().find(|(e, _)| *e == event);
        let (_, needs) = known.ok_or(format!("default_events: {event} is not included in the list"))?;
        if !permissions.contains_key(*needs) {
            return Err(format!("default_events: {event} is not supported by permissions: {needs}"));
        }
    }
    Ok(())
}

/// `POST /app-manifests/{code}/conversions`: the App under test becomes this one. Once for each code.
pub(super) fn convert(shared: &Shared, world: &mut World, code: &str) -> Reply {
    let Some(manifest) = world.manifests.remove(code) else { return Reply::not_found() };
    let name = manifest["name"].as_str().unwrap_or_default().to_owned();
    let slug = name.to_ascii_lowercase().replace(' ', "-");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let permissions = manifest["default_permissions"].as_object().into_iter().flatten();
    world.app.permissions = permissions.map(|(k, v)| (k.clone(), text(v))).collect();
    world.app.events = manifest["default_events"].as_array().into_iter().flatten().map(text).collect();
    world.app.hook_url = text(&manifest["hook_attributes"]["url"]);
    (world.app.name, world.app.slug) = (name.clone(), slug.clone());
    let body = json!({
        "id": world.app.id,
        "slug": slug,
        "node_id": format!("A_{}", world.app.id),
        "name": name,
        "client_id": "Iv1.simulated",
        "client_secret": super::git::hash(&["client", code]),
        "webhook_secret": super::git::hash(&["secret", code]),
        "pem": shared.key.private_pem,
        "html_url": format!("https://github.test/apps/{slug}"),
        "permissions": world.app.permissions,
        "events": world.app.events,
    });
    Reply::json(201, &body)
}
