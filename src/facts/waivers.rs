//! Waivers: recorded exceptions from a control, each with an owner, a reason and an end.
//!
//! A waiver never removes a finding: where it covers everything that a control holds against a change, the
//! control's outcome becomes `waived`, with the waiver beside it. What a control cannot decide (`error`) is
//! never waived: an exception needs to be known to be one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{event::Sha, time::Time};

/// Stands for every control in [`Waiver::controls`].
pub const EVERY_CONTROL: &str = "*";

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiver {
    /// The entry that grants it; `null`: it stands in the data of the policies.
    #[serde(default)]
    pub entry: Option<u64>,
    #[serde(default)]
    pub kind: WaiverKind,
    /// Ids of controls, such as `CHG-02`; `*` stands for every control.
    pub controls: Vec<String>,
    #[serde(flatten)]
    pub scope: Scope,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
    /// Not before this.
    pub from: Time,
    /// Not at this time any more.
    pub until: Time,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaiverKind {
    #[default]
    Waiver,
    /// For an emergency: short, alarmed, and reviewed afterwards.
    BreakGlass,
}

impl WaiverKind {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Waiver => "waiver",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// Where a waiver holds; what is absent does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// `owner/name`, or `owner/*` for all of an owner's. Compares without case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The repository's id, which survives a rename: counts instead of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<u64>,
    /// A glob over the base branch (or the branch that was pushed), without `refs/heads/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<u64>,
    /// Only at this head of the pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Sha>,
    /// Globs: only findings about a path that one of them matches. Empty: every finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// What gatelog answered to a comment command on this pull request, newest last: shown in the check run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The entry that holds the answer.
    pub entry: u64,
    pub by: String,
    /// One line, such as `waive CHG-02: refused, the author cannot waive`.
    pub answer: String,
}
