//! What the App needs at GitHub: permissions and events. `docs/security.md` says why.
//!
//! Names as the API and App manifests write them. Source:
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads> (which permission an event needs).

use std::collections::BTreeSet;

/// Permissions: name and level.
pub const PERMISSIONS: &[(&str, &str)] = &[
    ("checks", "write"),
    ("pull_requests", "read"),
    ("contents", "read"),
    ("metadata", "read"),
    ("administration", "read"),
    ("merge_queues", "read"),
    ("issues", "read"),
    ("statuses", "read"),
    ("actions", "read"),
    ("deployments", "write"),
    ("members", "read"),
];

/// Without these the gate works. What is missing then.
pub const OPTIONAL_PERMISSIONS: &[(&str, &str)] = &[
    ("issues", "commands in comments (`/gatelog recheck`, `waive` …) never come"),
    ("statuses", "controls that ask for commit statuses cannot decide"),
    ("actions", "there are no events of workflows, and deployments cannot be answered"),
    ("deployments", "deployments are not recorded, and with `read` not answered"),
];

/// What only some controls ask for: neither asked for by `app create`, nor too much.
pub const FOR_CONTROLS: &[(&str, &str)] = &[("secret_scanning_alerts", "read")];

/// Events that only some controls judge by.
pub const EVENTS_FOR_CONTROLS: &[&str] = &["secret_scanning_alert", "release"];

/// Events without which something is judged late or not at all.
pub const EVENTS: &[&str] = &[
    "pull_request",
    "pull_request_review",
    "push",
    "create",
    "delete",
    "merge_group",
    "member",
    "membership",
    "team",
    "team_add",
    "organization",
    "repository",
    "branch_protection_rule",
    "repository_ruleset",
];

/// All that an App subscribes to.
pub fn all_events() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().copied().chain(OPTIONAL_EVENTS.iter().map(|(event, _)| *event))
}

/// Events that are good to have. What is missing without them.
pub const OPTIONAL_EVENTS: &[(&str, &str)] = &[
    ("issue_comment", "commands in comments (`/gatelog recheck`, `waive` …) never come"),
    (
        "check_run",
        "controls that ask for other checks are not judged again when those end, and forged ones are not seen",
    ),
    (
        "status",
        "controls that ask for commit statuses are not judged again when those change, and forged ones are not seen",
    ),
    (
        "branch_protection_configuration",
        "the protection of all branches can be switched off unseen until something lands",
    ),
    ("deployment", "deployments are not recorded"),
    ("deployment_protection_rule", "environments that wait for gatelog wait for ever"),
    ("workflow_run", "workflows are not recorded"),
];

/// Permissions that the gate can do without, but not a control that asks for these facts.
const FOR_FACTS: &[(&str, &str, &str)] = &[
    ("checks", "statuses", "read"),
    ("deployment", "actions", "read"),
    ("deployment", "deployments", "write"),
    ("secret_alerts", "secret_scanning_alerts", "read"),
];

/// The permissions that the gate, or a control that asks for one of these facts, cannot do without and an
/// installation has not, or not at that level.
#[must_use]
pub fn lacking(granted: &serde_json::Value, facts: &BTreeSet<String>) -> Vec<(&'static str, &'static str)> {
    let optional = |name: &str| OPTIONAL_PERMISSIONS.iter().any(|(n, _)| *n == name);
    let rank = |level: &str| ["read", "write", "admin"].iter().position(|l| *l == level);
    let has = |name: &str, level: &str| granted[name].as_str().and_then(rank) >= rank(level);
    let always = PERMISSIONS.iter().copied().filter(|(name, _)| !optional(name));
    let asked = FOR_FACTS.iter().filter(|(fact, ..)| facts.contains(*fact));
    always.chain(asked.map(|(_, name, level)| (*name, *level))).filter(|(n, level)| !has(n, level)).collect()
}
