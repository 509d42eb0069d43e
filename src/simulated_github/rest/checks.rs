//! Check runs: created, updated, shown, with the limits GitHub documents.
//!
//! Source: <https://docs.github.com/en/rest/checks/runs>.

use serde_json::{Value, json};

use super::{invalid, page, with_link};
use crate::simulated_github::{
    http::{Call, Reply, Shared},
    payload::seconds,
    state::{CheckRun, Status, World},
};

/// Characters of `summary` and of `text`.
const TEXT_LIMIT: usize = 65_535;
/// Annotations of one request; each update appends.
const ANNOTATION_LIMIT: usize = 50;
/// Buttons, and characters of their parts.
const ACTION_LIMIT: usize = 3;
const ACTION_TEXT: [(&str, usize); 3] = [("label", 20), ("identifier", 20), ("description", 40)];

const STATUSES: [&str; 3] = ["queued", "in_progress", "completed"];
const CONCLUSIONS: [&str; 7] =
    ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"];

pub(super) fn create(world: &mut World, repo: u64, call: &Call) -> Reply {
    let Some(body) = call.json() else { return Reply::message(400, "Problems parsing JSON") };
    for field in ["name", "head_sha"] {
        if body.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            return invalid(&format!("\"{field}\" wasn't supplied."), field, "missing_field");
        }
    }
    if let Err(reply) = check(&body) {
        return reply;
    }
    let sha = text(&body, "head_sha").unwrap_or_default();
    if world.commit_in(repo, &sha).is_none() {
        return Reply::message(422, &format!("No commit found for SHA: {sha}"));
    }
    let (id, now) = (world.next_id(), world.tick());
    let mut run = CheckRun {
        id,
        repository: repo,
        app: world.app.id,
        name: text(&body, "name").unwrap_or_default(),
        head_sha: sha,
        status: "queued".to_owned(),
        conclusion: None,
        external_id: String::new(),
        details_url: None,
        title: None,
        summary: None,
        text: None,
        annotations: vec![],
        actions: vec![],
        started_at: now,
        completed_at: None,
        writes: 0,
    };
    write(world, &mut run, &body);
    Reply::json(201, &publish(world, run, "created"))
}

pub(super) fn update(world: &mut World, repo: u64, id: &str, call: &Call) -> Reply {
    let Some(mut run) = find(world, repo, id).cloned() else { return Reply::not_found() };
    let Some(body) = call.json() else { return Reply::message(400, "Problems parsing JSON") };
    if run.app != world.app.id {
        let text = format!(
            "Invalid app_id `{}` - check run can only be modified by the GitHub App that created it.",
            run.app
        );
        return Reply::message(403, &text);
    }
    if let Err(reply) = check(&body) {
        return reply;
    }
    if let Some(name) = text(&body, "name") {
        run.name = name;
    }
    world.tick();
    write(world, &mut run, &body);
    Reply::json(200, &publish(world, run, "completed"))
}

/// The App's word on an environment that waits: a note, or the answer, which ends the wait.
///
/// <https://docs.github.com/en/rest/actions/workflow-runs#review-custom-deployment-protection-rules-for-a-workflow-run>
pub(super) fn review_deployment(world: &mut World, repo: u64, run: &str, call: &Call) -> Reply {
    let Some(run) = run.parse().ok().filter(|run| world.waiting_runs.get(run) == Some(&repo)) else {
        return Reply::not_found();
    };
    let Some(body) = call.json() else { return Reply::message(400, "Problems parsing JSON") };
    if body.get("environment_name").and_then(Value::as_str).is_none() {
        return invalid("\"environment_name\" wasn't supplied.", "environment_name", "missing_field");
    }
    let state = body.get("state").and_then(Value::as_str);
    let comment = body.get("comment").and_then(Value::as_str);
    let fine = match state {
        None => comment.is_some_and(|c| c.chars().count() <= 1024),
        Some(state) => matches!(state, "approved" | "rejected"),
    };
    if !fine {
        return invalid("state or comment is not allowed", "state", "invalid");
    }
    let notes =
        world.deployment_reviews.iter().filter(|(r, b)| *r == run && b.get("state").is_none()).count();
    if state.is_none() && notes >= 10 {
        return invalid("the limit of status reports is reached", "comment", "invalid");
    }
    if state.is_some() {
        world.waiting_runs.remove(&run);
    }
    world.deployment_reviews.push((run, body));
    Reply::empty(204)
}

/// A run that waits for its environment, or has ended.
///
/// <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>
pub(super) fn run(world: &World, repo: u64, run: &str) -> Reply {
    let run: Option<u64> = run.parse().ok();
    let asked = run.and_then(|run| Some((run, world.deploying_runs.get(&run)?)));
    let asked = asked.filter(|(_, (of, _))| *of == repo).zip(world.repositories.get(&repo));
    let Some(((run, (_, sha)), repository)) = asked else { return Reply::not_found() };
    let waits = world.waiting_runs.contains_key(&run);
    let conclusion = (!waits).then_some("success");
    let status = if waits { "waiting" } else { "completed" };
    Reply::json(200, &world.run_json(repository, run, sha, status, conclusion))
}

pub(super) fn show(world: &World, repo: u64, id: &str) -> Reply {
    find(world, repo, id).map_or_else(Reply::not_found, |r| Reply::json(200, &world.check_run_json(r)))
}

/// Newest first. `filter=latest` (the default) leaves the newest of each name and app.
pub(super) fn list(shared: &Shared, world: &World, repo: u64, name: &str, call: &Call) -> Reply {
    let sha = world.branch(repo, name).unwrap_or(name);
    if world.commit_in(repo, sha).is_none() {
        return Reply::message(422, &format!("No commit found for SHA: {name}"));
    }
    let wanted = |field: &str, is: &str| call.query.get(field).is_none_or(|w| w == is);
    let mut seen = std::collections::BTreeSet::new();
    let latest = call.query.get("filter").is_none_or(|f| f == "latest");
    let all: Vec<Value> = world
        .check_runs
        .values()
        .rev()
        .filter(|r| r.repository == repo && r.head_sha == sha)
        .filter(|r| !latest || seen.insert((r.app, r.name.clone())))
        .filter(|r| {
            wanted("check_name", &r.name)
                && wanted("app_id", &r.app.to_string())
                && wanted("status", &r.status)
        })
        .map(|r| world.check_run_json(r))
        .collect();
    let total = all.len();
    let (runs, link) = page(shared, call, all);
    with_link(Reply::json(200, &json!({"total_count": total, "check_runs": runs})), link)
}

/// All statuses of a commit, newest first.
pub(super) fn statuses(shared: &Shared, world: &World, repo: u64, sha: &str, call: &Call) -> Reply {
    let all = world.statuses.iter().rev().filter(|s| s.repository == repo && s.sha == sha);
    let (items, link) = page(shared, call, all.map(|s| world.status_json(s)).collect());
    with_link(Reply::json(200, &Value::Array(items)), link)
}

impl World {
    pub(in crate::simulated_github) fn status_json(&self, s: &Status) -> Value {
        json!({
            "id": s.id, "state": s.state, "context": s.context, "description": null, "target_url": null,
            "creator": self.user_json(Some(s.creator)), "created_at": seconds(s.at), "updated_at": seconds(s.at),
        })
    }

    /// A completed check run of another app. Returns its id.
    pub fn add_foreign_check_run(
        &mut self,
        app: u64,
        repo: u64,
        sha: &str,
        name: &str,
        conclusion: &str,
    ) -> u64 {
        let (id, now) = (self.next_id(), self.now);
        let run = CheckRun {
            id,
            repository: repo,
            app,
            name: name.to_owned(),
            head_sha: sha.to_owned(),
            status: "completed".to_owned(),
            conclusion: Some(conclusion.to_owned()),
            external_id: String::new(),
            details_url: None,
            title: None,
            summary: None,
            text: None,
            annotations: vec![],
            actions: vec![],
            started_at: now,
            completed_at: Some(now),
            writes: 1,
        };
        self.check_runs.insert(id, run);
        id
    }
}

fn find<'w>(world: &'w World, repo: u64, id: &str) -> Option<&'w CheckRun> {
    world.check_runs.get(&id.parse().ok()?).filter(|r| r.repository == repo)
}

fn text(body: &Value, field: &str) -> Option<String> {
    body.get(field).and_then(Value::as_str).map(str::to_owned)
}

/// Writes the run down and puts GitHub's webhook about it into the outbox.
fn publish(world: &mut World, run: CheckRun, otherwise: &str) -> Value {
    let json = world.check_run_json(&run);
    let action = if run.status == "completed" { "completed" } else { otherwise };
    let body = json!({"action": action, "check_run": json});
    let repo = run.repository;
    // An update that does not complete the run is not told.
    let told = otherwise == "created" || run.status == "completed";
    world.check_runs.insert(run.id, run);
    if told {
        let app = world.account(&format!("{}[bot]", world.app.slug)).map(|a| a.id);
        let hooks = world.hook(repo, app, "check_run", body);
        world.outbox.extend(hooks);
    }
    json
}

fn write(world: &World, run: &mut CheckRun, body: &Value) {
    if let Some(conclusion) = text(body, "conclusion") {
        run.conclusion = Some(conclusion);
        run.status = "completed".to_owned();
        run.completed_at = Some(world.now);
    } else if let Some(status) = text(body, "status").filter(|_| run.conclusion.is_none()) {
        // A run that is done stays done, as several apps found on GitHub: they make a new one.
        run.status = status;
    }
    if let Some(id) = text(body, "external_id") {
        run.external_id = id;
    }
    run.details_url = text(body, "details_url").or(run.details_url.take());
    if let Some(output) = body.get("output").filter(|o| o.is_object()) {
        run.title = text(output, "title").or(run.title.take());
        run.summary = text(output, "summary").or(run.summary.take());
        run.text = text(output, "text").or(run.text.take());
        run.annotations
            .extend(output.get("annotations").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    if let Some(actions) = body.get("actions").and_then(Value::as_array) {
        run.actions.clone_from(actions);
    }
    run.writes += 1;
}

/// Everything but `name` and `head_sha`.
fn check(body: &Value) -> Result<(), Reply> {
    for field in [
        "name",
        "head_sha",
        "details_url",
        "external_id",
        "status",
        "conclusion",
        "started_at",
        "completed_at",
    ] {
        if body.get(field).is_some_and(|v| !v.is_string()) {
            return Err(invalid(
                &format!("For '{field}', {} is not a string.", body[field]),
                field,
                "invalid",
            ));
        }
    }
    let known = |field: &str, all: &[&str]| match body.get(field).and_then(Value::as_str) {
        Some(v) if !all.contains(&v) => {
            Err(invalid(&format!("{v} is not a member of {all:?}."), field, "invalid"))
        }
        _ => Ok(()),
    };
    known("status", &STATUSES)?;
    known("conclusion", &CONCLUSIONS)?;
    let status = body.get("status").and_then(Value::as_str);
    if status == Some("completed") && body.get("conclusion").is_none() {
        return Err(invalid(
            "\"conclusion\" is required when \"status\" is \"completed\".",
            "conclusion",
            "missing_field",
        ));
    }
    if let Some(output) = body.get("output") {
        check_output(output)?;
    }
    let actions = body.get("actions").and_then(Value::as_array);
    actions.map_or(Ok(()), |a| check_actions(a))
}

fn check_output(output: &Value) -> Result<(), Reply> {
    for field in ["title", "summary"] {
        if output.get(field).and_then(Value::as_str).is_none() {
            return Err(invalid(
                &format!("\"{field}\" wasn't supplied."),
                &format!("output.{field}"),
                "missing_field",
            ));
        }
    }
    for field in ["summary", "text"] {
        if output.get(field).and_then(Value::as_str).is_some_and(|t| t.chars().count() > TEXT_LIMIT) {
            let message = format!("Only {TEXT_LIMIT} characters are allowed; {field} is longer.");
            return Err(invalid(&message, &format!("output.{field}"), "too_long"));
        }
    }
    let annotations = output.get("annotations").and_then(Value::as_array).map_or(0, Vec::len);
    if annotations > ANNOTATION_LIMIT {
        let message =
            format!("No more than {ANNOTATION_LIMIT} items are allowed; {annotations} were supplied.");
        return Err(invalid(&message, "output.annotations", "too_many"));
    }
    Ok(())
}

fn check_actions(actions: &[Value]) -> Result<(), Reply> {
    if actions.len() > ACTION_LIMIT {
        let message =
            format!("No more than {ACTION_LIMIT} items are allowed; {} were supplied.", actions.len());
        return Err(invalid(&message, "actions", "too_many"));
    }
    for action in actions {
        for (field, limit) in ACTION_TEXT {
            match action.get(field).and_then(Value::as_str) {
                None => {
                    return Err(invalid(
                        &format!("\"{field}\" wasn't supplied."),
                        "actions",
                        "missing_field",
                    ));
                }
                Some(t) if t.chars().count() > limit => {
                    return Err(invalid(
                        &format!("{field} is longer than {limit} characters."),
                        "actions",
                        "too_long",
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}
