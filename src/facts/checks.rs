//! What apps say of a commit: check runs and commit statuses, and whether an answer is behind the events.
//! Pure.
//!
//! <https://docs.github.com/en/rest/checks/runs>, <https://docs.github.com/en/rest/commits/statuses>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Account;

/// The newest check run of a name and app, or the newest status of a context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub kind: CheckKind,
    pub id: u64,
    /// Of a status: its context.
    pub name: String,
    /// The app that made the check run; `null` for a status, and where GitHub names none.
    pub app: Option<CheckApp>,
    /// Who set the status; `null` for a check run, and for a deleted account.
    pub creator: Option<Account>,
    /// `queued`, `in_progress`, `completed` … A status is `completed` unless its state is `pending`.
    pub status: String,
    /// `success`, `failure`, `neutral`, `skipped` …; of a status its state; `null` until completed.
    pub conclusion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    CheckRun,
    Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckApp {
    pub id: u64,
    pub slug: String,
}

/// A check run or status as an event stated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldCheck {
    pub kind: CheckKind,
    pub id: u64,
    /// Of a check run.
    pub app: Option<u64>,
    pub name: String,
    /// `None`: not completed then.
    pub conclusion: Option<String>,
}

/// The first of what events told, oldest first, that an answer does not show yet. The newest word on each
/// id counts; a newer run of the same name and app stands in for an older one.
#[must_use]
pub fn behind<'t>(shown: &[Check], told: &'t [ToldCheck]) -> Option<&'t ToldCheck> {
    let newest =
        |i: usize, t: &ToldCheck| told[i + 1..].iter().all(|later| (later.kind, later.id) != (t.kind, t.id));
    let mut last_words = told.iter().enumerate().filter(|(i, t)| newest(*i, t)).map(|(_, t)| t);
    last_words.find(|t| !shown.iter().any(|check| t.is_shown_by(check)))
}

impl ToldCheck {
    fn is_shown_by(&self, check: &Check) -> bool {
        let same = check.kind == self.kind
            && check.name == self.name
            && check.app.as_ref().map(|a| a.id) == self.app.filter(|_| self.kind == CheckKind::CheckRun);
        let as_far = self.conclusion.is_none() || check.conclusion == self.conclusion;
        same && (check.id > self.id || check.id == self.id && as_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: u64, conclusion: Option<&str>) -> Check {
        Check {
            kind: CheckKind::CheckRun,
            id,
            name: "build".into(),
            app: Some(CheckApp { id: 5, slug: "ci".into() }),
            creator: None,
            status: if conclusion.is_some() { "completed" } else { "in_progress" }.into(),
            conclusion: conclusion.map(str::to_owned),
        }
    }

    fn told(id: u64, conclusion: Option<&str>) -> ToldCheck {
        let conclusion = conclusion.map(str::to_owned);
        ToldCheck { kind: CheckKind::CheckRun, id, app: Some(5), name: "build".into(), conclusion }
    }

    #[test]
    fn an_answer_may_be_ahead_of_the_events_and_never_behind() {
        assert_eq!(behind(&[], &[]), None);
        assert_eq!(behind(&[check(1, Some("success"))], &[told(1, None)]), None);
        assert_eq!(behind(&[check(1, Some("success"))], &[told(1, None), told(1, Some("success"))]), None);
        let done = told(1, Some("failure"));
        assert_eq!(behind(&[check(1, None)], std::slice::from_ref(&done)), Some(&done));
        assert_eq!(behind(&[check(1, Some("success"))], std::slice::from_ref(&done)), Some(&done));
        assert_eq!(behind(&[check(2, None)], &[done]), None, "a newer run");
    }

    #[test]
    fn a_run_that_is_not_shown_is_missed_though_an_older_one_is_green() {
        let again = told(2, None);
        assert_eq!(behind(&[check(1, Some("success"))], std::slice::from_ref(&again)), Some(&again));
    }

    #[test]
    fn another_app_or_another_kind_stands_in_for_nothing() {
        let mut other = check(9, Some("success"));
        other.app = Some(CheckApp { id: 6, slug: "evil".into() });
        assert!(behind(&[other], &[told(1, Some("success"))]).is_some());
        let status = Check { kind: CheckKind::Status, app: None, ..check(9, Some("success")) };
        assert!(behind(std::slice::from_ref(&status), &[told(1, Some("success"))]).is_some());
        let context = ToldCheck { kind: CheckKind::Status, app: None, ..told(9, Some("success")) };
        assert_eq!(behind(&[status], &[context]), None);
    }
}
