//! Reading what an event's payload says, for people.

use serde_json::Value;

/// A body as JSON; a form-encoded webhook has it in the field `payload`.
pub fn json(bytes: &[u8], media: &str) -> Option<Value> {
    if media == "application/x-www-form-urlencoded" {
        let (_, text) = form_urlencoded::parse(bytes).find(|(name, _)| name == "payload")?;
        return serde_json::from_str(&text).ok();
    }
    serde_json::from_slice(bytes).ok()
}

/// `repository.id` and `repository.full_name`.
pub fn repository(payload: &Value) -> Option<(u64, &str)> {
    let repository = payload.get("repository")?;
    Some((repository.get("id")?.as_u64()?, repository.get("full_name")?.as_str()?))
}

/// A string at a JSON pointer.
pub fn text<'a>(payload: &'a Value, pointer: &str) -> Option<&'a str> {
    payload.pointer(pointer)?.as_str()
}

/// The first seven digits of a sha at a JSON pointer.
pub fn short_sha<'a>(payload: &'a Value, pointer: &str) -> &'a str {
    text(payload, pointer).and_then(|s| s.get(..7)).unwrap_or("?")
}

/// What someone did, as the end of a sentence that begins with their name. Not escaped.
pub fn deed(name: &str, action: Option<&str>, p: &Value) -> String {
    let at = |pointer| text(p, pointer).unwrap_or("?");
    let head = short_sha(p, "/pull_request/head/sha");
    match (name, action.unwrap_or_default()) {
        ("pull_request", "opened") => format!("opened it at {head}: {}", at("/pull_request/title")),
        ("pull_request", "synchronize") => format!("pushed {head} (was {})", short_sha(p, "/before")),
        ("pull_request", "closed") if p.pointer("/pull_request/merged") == Some(&Value::Bool(true)) => {
            format!("merged it as {}", short_sha(p, "/pull_request/merge_commit_sha"))
        }
        ("pull_request", "closed") => "closed it".into(),
        ("pull_request", "reopened") => format!("reopened it at {head}"),
        ("pull_request", "ready_for_review") => "marked it ready for review".into(),
        ("pull_request", "converted_to_draft") => "made it a draft".into(),
        ("pull_request", "labeled") => format!("added the label {}", at("/label/name")),
        ("pull_request", "unlabeled") => format!("removed the label {}", at("/label/name")),
        ("pull_request", "edited") => edited(p),
        ("pull_request_review", "submitted") => review(p),
        ("pull_request_review", "dismissed") => {
            format!("dismissed the review of {}", at("/review/user/login"))
        }
        ("issue_comment", "created") => "commented".into(),
        ("check_run" | "check_suite", "rerequested") => "asked for another run".into(),
        ("push", _) => format!("pushed {} to {}", short_sha(p, "/after"), at("/ref")),
        ("gatelog", "look_again") => format!("looked again, because of {}", at("/cause")),
        (name, "") => format!("caused {name}"),
        (name, action) => format!("caused {name}.{action}"),
    }
}

fn edited(p: &Value) -> String {
    if let Some(from) = text(p, "/changes/base/ref/from") {
        return format!(
            "changed the base from {from} to {}",
            text(p, "/pull_request/base/ref").unwrap_or("?")
        );
    }
    match text(p, "/changes/title/from") {
        Some(_) => format!("changed the title to {}", text(p, "/pull_request/title").unwrap_or("?")),
        None => "edited the description".into(),
    }
}

fn review(p: &Value) -> String {
    let commit = short_sha(p, "/review/commit_id");
    match text(p, "/review/state").unwrap_or_default().to_ascii_lowercase().as_str() {
        "approved" => format!("approved {commit}"),
        "changes_requested" => format!("requested changes on {commit}"),
        _ => format!("reviewed {commit} without approving"),
    }
}
