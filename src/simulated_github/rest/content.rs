//! What a repository holds: files of pull requests, compares, activity, tags, rules.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{page, people, url, with_link};
use crate::simulated_github::{
    git::FileChange,
    http::{Call, Reply, Shared},
    payload::seconds,
    state::{Repository, World},
};

/// Files of a pull request that REST lists at most.
const PULL_FILE_LIMIT: usize = 3_000;
/// Files of a compare.
const COMPARE_FILE_LIMIT: usize = 300;

pub(super) fn read(shared: &Shared, world: &World, repo: u64, call: &Call, rest: &[&str]) -> Reply {
    // A lagging API may not know the repository yet.
    let Some(r) = world.repositories.get(&repo) else { return Reply::not_found() };
    match rest {
        [] => Reply::json(200, &world.repo_json(r)),
        ["pulls", number] => match number.parse().ok().and_then(|n: u64| r.pulls.get(&n)) {
            Some(p) => Reply::json(200, &world.pull_json(r.id, p)),
            None => Reply::not_found(),
        },
        ["pulls", number, "commits"] => match number.parse().ok().and_then(|n: u64| r.pulls.get(&n)) {
            Some(p) => {
                // REST lists 250 at most, oldest first.
                let shas = world.pull_commits(p).into_iter().take(250);
                let all = shas.filter_map(|sha| world.commit_json(&sha)).collect();
                let (items, link) = page(shared, call, all);
                with_link(Reply::json(200, &Value::Array(items)), link)
            }
            None => Reply::not_found(),
        },
        ["pulls", number, "files"] => files(shared, world, r, number, call),
        ["activity"] | ["rulesets", "rule-suites"] if r.records_hidden => {
            Reply::message(403, "Resource not accessible by integration")
        }
        ["activity"] => activity(shared, world, r, call),
        ["rulesets", "rule-suites"] => rule_suites(shared, r, call),
        ["rulesets", id] => {
            let found = id.parse().ok().and_then(|id: u64| r.rulesets.get(&id));
            found.map_or_else(Reply::not_found, |ruleset| Reply::json(200, ruleset))
        }
        ["commits"] => commits(shared, world, r, call),
        ["secret-scanning", "alerts"] => match &r.secret_alerts {
            Some(all) => {
                let state = call.query.get("state");
                let wanted = |a: &&Value| state.is_none_or(|s| a["state"].as_str() == Some(s));
                let (items, link) = page(shared, call, all.iter().filter(wanted).cloned().collect());
                with_link(Reply::json(200, &Value::Array(items)), link)
            }
            None => Reply::message(404, "Secret scanning is disabled on this repository."),
        },
        ["branches", branch @ ..] => branch_json(world, r, &branch.join("/")),
        ["collaborators", login, "permission"] => people::permission(world, r.id, login),
        ["compare", range @ ..] => compare(shared, world, r, &range.join("/"), call),
        ["git", "matching-refs", prefix @ ..] => matching_refs(r, &prefix.join("/")),
        ["contents", path @ ..] => contents(world, r, &path.join("/"), call),
        ["rules", "branches", branch @ ..] => {
            let rules = r.rules.get(&branch.join("/")).cloned().unwrap_or_default();
            let (items, link) = page(shared, call, rules);
            with_link(Reply::json(200, &Value::Array(items)), link)
        }
        _ => Reply::not_found(),
    }
}

fn file_json(f: &FileChange) -> Value {
    let mut out = json!({
        "sha": f.blob,
        "filename": f.path,
        "status": f.status.rest(),
        "additions": f.additions,
        "deletions": f.deletions,
        "changes": f.additions + f.deletions,
    });
    if let Some(previous) = &f.previous {
        out["previous_filename"] = json!(previous);
    }
    out
}

fn files(shared: &Shared, world: &World, r: &Repository, number: &str, call: &Call) -> Reply {
    let Some(pull) = number.parse().ok().and_then(|n: u64| r.pulls.get(&n)) else {
        return Reply::not_found();
    };
    let all = world.pull_files(pull).iter().take(PULL_FILE_LIMIT).map(file_json).collect();
    let (items, link) = page(shared, call, all);
    with_link(Reply::json(200, &Value::Array(items)), link)
}

/// Newest first; the cursor `after` is the id of the last item seen.
fn activity(shared: &Shared, world: &World, r: &Repository, call: &Call) -> Reply {
    let wanted = |name: &str, is: &str| call.query.get(name).is_none_or(|w| w == is);
    let after = call.query.get("after").and_then(|a| a.parse::<u64>().ok());
    let size = call.query.get("per_page").and_then(|n| n.parse().ok()).unwrap_or(30usize).clamp(1, 100);
    let mut left = r.activity.iter().rev().filter(|a| {
        let short = a.full_ref.trim_start_matches("refs/heads/");
        (wanted("ref", &a.full_ref) || wanted("ref", short))
            && wanted("activity_type", a.kind)
            && after.is_none_or(|after| a.id < after)
    });
    let shown: Vec<_> = left.by_ref().take(size).collect();
    let more = left.next().is_some();
    let items = shown
        .iter()
        .map(|a| {
            json!({
                "id": a.id, "node_id": format!("PSH_{}", a.id), "ref": a.full_ref, "before": a.before,
                "after": a.after, "timestamp": seconds(a.at), "activity_type": a.kind,
                "actor": world.user_json(a.actor),
            })
        })
        .collect();
    let next = shown.last().filter(|_| more);
    let link = next.map(|a| format!("<{}>; rel=\"next\"", url(shared, call, "after", &a.id.to_string())));
    with_link(Reply::json(200, &Value::Array(items)), link)
}

/// Newest first: everything that `sha` (a branch or a commit) reaches, children before parents.
fn commits(shared: &Shared, world: &World, r: &Repository, call: &Call) -> Reply {
    let from = call.query.get("sha").map_or(r.default_branch.as_str(), String::as_str);
    let tip = world.branch(r.id, from).unwrap_or(from);
    if world.commit_in(r.id, tip).is_none() {
        return Reply::not_found();
    }
    let all = world.between("", tip).iter().rev().filter_map(|sha| world.commit_json(sha)).collect();
    let (items, link) = page(shared, call, all);
    with_link(Reply::json(200, &Value::Array(items)), link)
}

/// `branches/{branch}`, as everyone who may read sees it.
fn branch_json(world: &World, r: &Repository, name: &str) -> Reply {
    let Some(sha) = r.refs.get(&format!("refs/heads/{name}")) else {
        return Reply::message(404, "Branch not found");
    };
    let shown = r.protection_shown.get(name).cloned();
    let protected = shown.is_some() || r.rules.get(name).is_some_and(|rules| !rules.is_empty());
    let off = json!({
        "enabled": false,
        "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
    });
    let protection = shown.unwrap_or(off);
    Reply::json(
        200,
        &json!({"name": name, "commit": world.commit_json(sha), "protected": protected, "protection": protection}),
    )
}

/// Newest first; only `ref` and `rule_suite_result` are asked for.
fn rule_suites(shared: &Shared, r: &Repository, call: &Call) -> Reply {
    let wanted = |field: &str, name: &str, suite: &Value| {
        call.query.get(name).is_none_or(|w| w == "all" || suite[field].as_str() == Some(w))
    };
    let all = r.rule_suites.iter().rev();
    let all = all.filter(|s| wanted("ref", "ref", s) && wanted("result", "rule_suite_result", s));
    let (items, link) = page(shared, call, all.cloned().collect());
    with_link(Reply::json(200, &Value::Array(items)), link)
}

fn compare(shared: &Shared, world: &World, r: &Repository, range: &str, call: &Call) -> Reply {
    let Some((base, head)) = range.split_once("...") else { return Reply::not_found() };
    let resolve = |name: &str| {
        let sha = world.branch(r.id, name).unwrap_or(name);
        world.commit_in(r.id, sha).map(|c| c.sha.clone())
    };
    let (Some(base), Some(head)) = (resolve(base), resolve(head)) else { return Reply::not_found() };
    let (ahead, behind) = (world.between(&base, &head), world.between(&head, &base));
    let status = match (ahead.is_empty(), behind.is_empty()) {
        (true, true) => "identical",
        (true, false) => "behind",
        (false, true) => "ahead",
        (false, false) => "diverged",
    };
    let commit = |sha: &String| world.commit_json(sha).unwrap_or_default();
    let files: Vec<Value> =
        world.changes(&base, &head).iter().take(COMPARE_FILE_LIMIT).map(file_json).collect();
    let merge_base = world.merge_base(&base, &head);
    let listed: Vec<Value> = ahead.iter().map(commit).collect();
    // Without paging 250 commits are listed.
    let paged = call.query.contains_key("page") || call.query.contains_key("per_page");
    let (commits, link) =
        if paged { page(shared, call, listed) } else { (listed.into_iter().take(250).collect(), None) };
    let body = json!({
        "status": status,
        "ahead_by": ahead.len(),
        "behind_by": behind.len(),
        "total_commits": ahead.len(),
        "base_commit": commit(&base),
        "merge_base_commit": merge_base.as_ref().map(commit),
        "commits": commits,
        "files": if call.query.get("page").is_none_or(|p| p == "1") { files } else { vec![] },
    });
    with_link(Reply::json(200, &body), link)
}

fn matching_refs(r: &Repository, prefix: &str) -> Reply {
    let prefix = format!("refs/{prefix}");
    let refs: Vec<Value> = r
        .refs
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(name, sha)| json!({"ref": name, "node_id": format!("REF_{name}"), "object": {"type": "commit", "sha": sha}}))
        .collect();
    Reply::json(200, &Value::Array(refs))
}

fn contents(world: &World, r: &Repository, path: &str, call: &Call) -> Reply {
    let revision = call.query.get("ref").map_or(r.default_branch.as_str(), String::as_str);
    let sha = world.branch(r.id, revision).unwrap_or(revision);
    let blob = world.commit_in(r.id, sha).and_then(|c| c.tree.get(path));
    let Some((blob, bytes)) = blob.and_then(|b| world.blobs.get_key_value(b)) else {
        return Reply::not_found();
    };
    if call.header("accept").contains("raw") {
        let kind = "application/vnd.github.raw; charset=utf-8";
        return Reply { status: 200, body: bytes.clone(), kind, headers: vec![] };
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let body = json!({
        "type": "file", "name": name, "path": path, "sha": blob, "size": bytes.len(),
        "encoding": "base64", "content": STANDARD.encode(bytes),
    });
    Reply::json(200, &body)
}
