//! What gatelog handles by the event's name alone: only the ledger wants to know which one it is about.

use serde::Deserialize;

use super::{Id, read};
use crate::event::{About, SubjectKind};

/// The objects of payloads that events are about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Things {
    repository_ruleset: Option<Id>,
    rule: Option<Id>,
    team: Option<Id>,
    installation: Option<Id>,
    issue: Option<Numbered>,
    release: Option<Id>,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

/// [`About::Nothing`] for events that are about their repository or organisation at most. An id that is not
/// where GitHub documents it is left out: nothing is decided by it.
pub(super) fn about(name: &str, json: &[u8]) -> About {
    let kind = match name {
        "repository_ruleset" => SubjectKind::Ruleset,
        "branch_protection_rule" | "branch_protection_configuration" => SubjectKind::BranchProtection,
        "member" => SubjectKind::Member,
        "team" | "team_add" => SubjectKind::Team,
        "installation" | "installation_repositories" | "installation_target" => SubjectKind::Installation,
        "issues" => SubjectKind::Issue,
        "release" => SubjectKind::Release,
        _ => return About::Nothing,
    };
    let things = read::<Things>(json).unwrap_or_default();
    let id = match kind {
        SubjectKind::Ruleset => things.repository_ruleset.map(|r| r.id),
        SubjectKind::BranchProtection => things.rule.map(|r| r.id),
        SubjectKind::Team => things.team.map(|t| t.id),
        SubjectKind::Installation => things.installation.map(|i| i.id),
        SubjectKind::Issue => things.issue.map(|i| i.number),
        SubjectKind::Release => things.release.map(|r| r.id),
        // Of a person nothing stands in an entry.
        _ => None,
    };
    About::Thing { kind, id }
}
