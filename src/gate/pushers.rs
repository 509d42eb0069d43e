//! Who pushed, as payloads tell it. Pure.
//!
//! A `push` has no `pusher_type`: a deploy key shows only in `pusher.name`, while `sender` is the
//! owner of the key. So the sender alone is never taken for the person who pushed.

use serde_json::Value;

use crate::{
    event::{Account, Event, Sha},
    facts::pushes::KnownPush,
};

/// `user`, `app`, `deploy_key` or `unknown`, and the account where it is known.
pub(super) fn pusher_of(event: &Event, payload: &Value) -> (&'static str, Option<Account>) {
    let Some(sender) = event.sender.clone() else { return ("unknown", None) };
    // `create` and `delete` say it: `user` or a deploy key.
    match payload["pusher_type"].as_str() {
        Some("user") => return kind_of(sender),
        Some("deploy_key") => return ("deploy_key", None),
        Some(_) => return ("unknown", None),
        None => {}
    }
    match payload["pusher"]["name"].as_str() {
        Some(name) if name.eq_ignore_ascii_case(&sender.login) => kind_of(sender),
        // The owner of the key is the sender; GitHub writes `deploy_key` as the name.
        Some("deploy_key") => ("deploy_key", None),
        _ => ("unknown", None),
    }
}

fn kind_of(sender: Account) -> (&'static str, Option<Account>) {
    if sender.kind == "Bot" { ("app", Some(sender)) } else { ("user", Some(sender)) }
}

/// The push to `branch` of `repository` that made `sha` its head, if this payload tells of one.
pub(super) fn told(
    name: &str,
    payload: &Value,
    repository: u64,
    branch: &str,
    sha: &Sha,
) -> Option<KnownPush> {
    match name {
        "push" => told_by_push(payload, repository, branch, sha),
        "pull_request" => told_by_pull(payload, repository, branch, sha),
        _ => None,
    }
}

fn told_by_push(payload: &Value, repository: u64, branch: &str, sha: &Sha) -> Option<KnownPush> {
    let here = payload["repository"]["id"].as_u64() == Some(repository)
        && payload["ref"].as_str()?.strip_prefix("refs/heads/") == Some(branch)
        && payload["after"].as_str() == Some(sha.as_str());
    let sender = account(&payload["sender"]);
    let pushed_it = |s: &Account| {
        payload["pusher"]["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&s.login))
    };
    here.then(|| KnownPush {
        repository,
        before: commit(&payload["before"]),
        after: sha.clone(),
        user: sender.filter(pushed_it),
        forced: payload["forced"].as_bool().unwrap_or(false),
    })
}

/// `synchronize`, and, for the first head of a fork, `opened`.
fn told_by_pull(payload: &Value, repository: u64, branch: &str, sha: &Sha) -> Option<KnownPush> {
    let head = &payload["pull_request"]["head"];
    let here = head["repo"]["id"].as_u64() == Some(repository) && head["ref"].as_str() == Some(branch);
    let (before, after) = match payload["action"].as_str()? {
        "synchronize" => (commit(&payload["before"]), payload["after"].as_str()),
        "opened" if payload["repository"]["id"].as_u64() != Some(repository) => (None, head["sha"].as_str()),
        _ => return None,
    };
    (here && after == Some(sha.as_str())).then(|| KnownPush {
        repository,
        before,
        after: sha.clone(),
        user: account(&payload["sender"]),
        forced: false,
    })
}

fn account(value: &Value) -> Option<Account> {
    Some(Account {
        id: value["id"].as_u64()?,
        login: value["login"].as_str()?.to_owned(),
        kind: value["type"].as_str().unwrap_or("User").to_owned(),
    })
}

/// All zeros and anything that is no object id mean "no commit".
fn commit(value: &Value) -> Option<Sha> {
    value.as_str()?.parse::<Sha>().ok().filter(|s| !s.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sha(c: char) -> Sha {
        c.to_string().repeat(40).parse().unwrap()
    }

    fn push(pusher: &str) -> Value {
        json!({"ref": "refs/heads/fix", "before": sha('a'), "after": sha('b'), "forced": true,
               "repository": {"id": 1}, "pusher": {"name": pusher},
               "sender": {"id": 5, "login": "Ivan", "type": "User"}})
    }

    #[test]
    fn a_push_names_its_pusher() {
        let known = told("push", &push("ivan"), 1, "fix", &sha('b')).unwrap();
        assert_eq!(known.user.unwrap().id, 5);
        assert_eq!(known.before, Some(sha('a')));
        assert!(known.forced);
    }

    #[test]
    fn the_owner_of_a_deploy_key_did_not_push() {
        assert_eq!(told("push", &push("deploy_key"), 1, "fix", &sha('b')).unwrap().user, None);
    }

    #[test]
    fn another_branch_repository_or_head_is_no_answer() {
        assert!(told("push", &push("ivan"), 2, "fix", &sha('b')).is_none());
        assert!(told("push", &push("ivan"), 1, "fix2", &sha('b')).is_none());
        assert!(told("push", &push("ivan"), 1, "fix", &sha('a')).is_none());
    }

    #[test]
    fn who_opened_counts_only_for_a_fork() {
        let opened = |base: u64| {
            json!({"action": "opened", "repository": {"id": base},
                   "pull_request": {"head": {"ref": "fix", "sha": sha('b'), "repo": {"id": 1}}},
                   "sender": {"id": 5, "login": "ivan", "type": "User"}})
        };
        assert!(told("pull_request", &opened(2), 1, "fix", &sha('b')).is_some());
        assert!(told("pull_request", &opened(1), 1, "fix", &sha('b')).is_none());
    }
}
