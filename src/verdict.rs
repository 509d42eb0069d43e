//! What the policies say, and what follows from it. Plain data and pure functions.

use serde::{Deserialize, Serialize};

use crate::{event::Sha, time::Time};

/// The answer to one event: every control's outcome with its findings.
///
/// Written as RFC 8785 canonical JSON; the same input and bundle give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    /// One line that says why, as the check run's title shows it.
    pub reason: String,
    /// In the order of their ids.
    pub controls: Vec<Control>,
    /// After this, gatelog looks again.
    pub valid_until: Option<Time>,
    /// `sha256:` and hex of the bundle that judged.
    pub bundle: String,
    /// Engine and version: `regorus 0.14.1`.
    pub engine: String,
    /// Version of the rewriting of `not` and `every` to OPA's meaning.
    pub rewriter: u32,
    /// Answers to comment commands, to show with the verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
}

/// What one control said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// `custom.id` of its METADATA, such as `CHG-02`; the package's last word where it has none.
    pub id: String,
    /// Its package: `controls.required_reviews`.
    pub package: String,
    pub title: String,
    pub severity: Option<String>,
    pub outcome: Outcome,
    /// Findings are shown but do not block (`custom.mode: evaluate`, or `effective_on` is to come).
    pub evaluate_only: bool,
    pub findings: Vec<Finding>,
    /// Why it does not apply.
    pub skip_reason: Option<String>,
    /// With the outcome `waived`: the exceptions that cover its findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived_by: Vec<WaivedBy>,
}

/// An exception that covers findings of a control.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WaivedBy {
    /// The entry that grants it; absent: it stands in the data of the policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// It is the emergency kind, which is reviewed afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    pub owner: String,
    pub reason: String,
    pub until: Time,
}

/// One message of a control.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub msg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who can fix it: people and teams, or a phrase such as `the author`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The exact command or step that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    Deny,
    Error,
    Pending,
    Warn,
    /// What an `exception` of the policy takes out: it does not count.
    Excepted,
}

/// The outcome of one control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pass,
    Deny,
    Warn,
    Pending,
    Skip,
    Waived,
    Error,
}

/// The decision of a verdict: deny > error > pending > allow, the worst outcome decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    /// Judged together with a newer event of the same pull request.
    Superseded,
    Pending,
    Error,
    Deny,
}

impl Outcome {
    /// What this outcome alone would decide.
    #[must_use]
    pub fn decision(self) -> Decision {
        match self {
            Self::Deny => Decision::Deny,
            Self::Error => Decision::Error,
            Self::Pending => Decision::Pending,
            Self::Pass | Self::Warn | Self::Skip | Self::Waived => Decision::Allow,
        }
    }
}

impl Verdict {
    /// RFC 8785 canonical JSON: what the ledger keeps, and what a replay must give again.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, whole numbers and booleans only: nothing that canonical JSON cannot write.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }
}

impl Decision {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Superseded => "superseded",
            Self::Pending => "pending",
            Self::Error => "error",
            Self::Deny => "deny",
        }
    }
}

/// The worst decision of the controls that block.
#[must_use]
pub fn decide(controls: &[Control]) -> Decision {
    controls
        .iter()
        .filter(|c| !c.evaluate_only)
        .map(|c| c.outcome.decision())
        .max()
        .unwrap_or(Decision::Allow)
}

/// Where a verdict is shown: one check run of one name on one commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    pub repository: u64,
    pub sha: Sha,
    pub check: String,
}
