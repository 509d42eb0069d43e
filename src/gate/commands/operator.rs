//! Exceptions on the command line of the machine that gatelog runs on.

use super::{HOUR, Held, Step, checks, draft, later_step, plain, subject_of, what};
use crate::{
    event::{Cause, Subject, SubjectKind},
    facts::{Change, waivers::EVERY_CONTROL},
    gate::{
        Gate, drafts, lock,
        waivers::{Review, Who},
    },
    ledger::entry::{Draft, Key, Ref, WaiverData, WaiverStep},
    time::Time,
};

/// An exception as the operator asks for it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    pub controls: Vec<String>,
    /// `owner/name`; `None`: every repository.
    pub repository: Option<String>,
    /// A glob.
    pub branch: Option<String>,
    pub pull_request: Option<u64>,
    #[serde(default)]
    pub paths: Vec<String>,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
    pub from: Option<Time>,
    pub until: Time,
    /// Hours in which it is reviewed: an emergency.
    pub break_glass: Option<u32>,
}

/// Why an exception was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum WaiverError {
    #[error("{0}")]
    Refused(String),
    #[error("it could not be recorded: {0}")]
    Ledger(String),
}

impl Gate {
    /// Records an exception of the operator and judges again what it may concern. The entry's number.
    ///
    /// # Errors
    /// It says nothing that could hold, or the ledger cannot be written.
    pub async fn waive_as_operator(&self, asked: Exception) -> Result<u64, WaiverError> {
        let refused = |why: String| Err(WaiverError::Refused(why));
        let now = Time::now();
        let from = asked.from.unwrap_or(now);
        if asked.controls.is_empty() {
            return refused("no control is named".to_owned());
        }
        let bundle = self.bundle();
        let known = |id: &String| id == EVERY_CONTROL || bundle.controls().iter().any(|c| c.id == *id);
        if let Some(id) = asked.controls.iter().find(|id| !known(id)) {
            let ids: Vec<&str> = bundle.controls().iter().map(|c| c.id.as_str()).collect();
            return refused(format!("no control has the id `{id}`; there are {}", ids.join(", ")));
        }
        for (name, text) in [("owner", &asked.owner), ("reason", &asked.reason)] {
            if text.trim().is_empty() {
                return refused(format!("the {name} is empty"));
            }
        }
        if asked.until <= from.max(now) {
            return refused(format!("it would end ({}) before it begins", asked.until.minute()));
        }
        if asked.break_glass.is_some() && from > now {
            return refused(
                "an emergency begins now: leave out when it begins, or make it a waiver".to_owned(),
            );
        }
        let mut patterns = asked.paths.iter().chain(&asked.branch);
        if let Some(why) = patterns.find_map(|p| crate::policy::not_a_glob(p)) {
            return refused(why);
        }
        if asked.pull_request.is_some() && asked.repository.is_none() {
            return refused("a pull request is one of a repository: name it too".to_owned());
        }
        let at = match &asked.repository {
            None => None,
            Some(name) => match lock(&self.0.pulls).repository_named(name) {
                Some(known) => Some(known),
                None => return refused(format!("no event of a repository `{name}` was recorded yet")),
            },
        };
        let step = Step {
            data: WaiverData {
                step: WaiverStep::Granted,
                break_glass: asked.break_glass.is_some(),
                of: None,
                controls: asked.controls,
                from: Some(from),
                until: Some(asked.until),
                head: None,
                review_due: asked.break_glass.map(|hours| now.plus(HOUR * hours)),
                via: "operator".to_owned(),
            },
            words: super::Words {
                owner: Some(asked.owner.clone()),
                repository: asked.repository,
                branch: asked.branch,
                paths: asked.paths,
                ..plain(operator(), asked.reason.clone())
            },
            alert: asked.break_glass.map(|_| format!("break-glass for {}: {}", asked.owner, asked.reason)),
        };
        let subject = Subject {
            kind: if asked.pull_request.is_some() { SubjectKind::PullRequest } else { SubjectKind::None },
            installation: at.as_ref().map(|k| k.installation),
            organization: at.as_ref().and_then(|k| k.organization),
            repository: at.as_ref().map(|k| k.repository.id),
            id: asked.pull_request,
            ..Subject::NONE
        };
        let name = at.as_ref().map(|k| k.repository.name.clone());
        let place = (at.as_ref().map(|k| k.repository.id), asked.pull_request);
        // One that is to begin later too: the verdict then says until when it stands.
        let seq = self.record_step(draft(subject, Key::Own("waiver"), vec![], &step), Some(place)).await?;
        if let Some(text) = &step.alert {
            self.alert("break_glass", seq, name.as_ref(), text);
        }
        Ok(seq)
    }

    /// Ends an exception now. The entry's number.
    ///
    /// # Errors
    /// There is none, it has ended, or the ledger cannot be written.
    pub async fn revoke_as_operator(&self, of: u64, reason: String) -> Result<u64, WaiverError> {
        let held = self.exception(of)?;
        if held.revoked || held.waiver.until <= Time::now() {
            return Err(WaiverError::Refused(format!("{} (entry {of}) has ended already", what(&held))));
        }
        let step = Step {
            data: later_step(WaiverStep::Revoked, of, &held, "operator"),
            words: plain(operator(), reason),
            alert: None,
        };
        let place = (held.waiver.scope.repository_id, held.waiver.scope.pull_request);
        self.record_step(draft(subject_of(&held), Key::Own("waiver"), vec![], &step), Some(place)).await
    }

    /// The follow-up review of a break-glass is done by `by`. The entry's number.
    ///
    /// # Errors
    /// There is none that waits for a review, its own people reviewed it, or the ledger cannot be written.
    pub async fn review_as_operator(&self, of: u64, by: String, note: String) -> Result<u64, WaiverError> {
        let held = self.exception(of)?;
        if held.waits || !matches!(held.review, Review::Due(_) | Review::Overdue) {
            return Err(WaiverError::Refused(format!("entry {of} waits for no review")));
        }
        let name = by.trim_start_matches('@');
        let agreed = held.approved_by.as_ref().map(|w| &w.login);
        let mut names = [&held.by.login, &held.waiver.owner].into_iter().chain(agreed);
        let is_named = |n: &str| n.trim_start_matches('@').eq_ignore_ascii_case(name);
        if name.is_empty() || names.any(|n| is_named(n)) {
            return Err(WaiverError::Refused(checks::NO_PART.to_owned()));
        }
        if self.judged_under(&held).iter().any(|c| checks::worked_on(c).any(|u| is_named(&u.login))) {
            let why = format!("@{name} worked on the pull request: {}", checks::NO_PART);
            return Err(WaiverError::Refused(why));
        }
        let step = Step {
            data: later_step(WaiverStep::Reviewed, of, &held, "operator"),
            words: super::Words { owner: Some(by), ..plain(operator(), note) },
            alert: None,
        };
        self.record_step(draft(subject_of(&held), Key::Own("waiver"), vec![], &step), None).await
    }

    /// The change that an exception of a pull request is for, as far as the ledger still has what it was judged on.
    fn judged_under(&self, held: &Held) -> Vec<Change> {
        let (Some(_), Some(head)) = (held.pull, &held.waiver.scope.head) else { return vec![] };
        let facts = |seq: u64| {
            let subject = self.0.ledger.entry(seq).ok()??.entry.subject;
            if subject.kind != SubjectKind::PullRequest || subject.repository.zip(subject.id) != held.pull {
                return None;
            }
            let facts = self.0.ledger.body(seq, "facts").ok()??;
            serde_json::from_slice(&facts).ok()
        };
        self.0.ledger.with_head(head).into_iter().filter_map(facts).collect()
    }

    fn exception(&self, of: u64) -> Result<Held, WaiverError> {
        let held = lock(&self.0.waivers).get(of).cloned();
        held.ok_or_else(|| {
            WaiverError::Refused(format!("entry {of} grants no exception (`gatelog waiver list`)"))
        })
    }

    /// Records a step and, in the same group, another look at the open pull requests that it may concern.
    async fn record_step(
        &self,
        step: Draft,
        concerns: Option<(Option<u64>, Option<u64>)>,
    ) -> Result<u64, WaiverError> {
        let again = concerns.map_or(vec![], |place| self.concerned_by(place));
        let size = self.0.ledger.head().size;
        let looks = again.iter().map(|at| {
            let key = format!("waiver:{size}:{}:{}", at.repository.id, at.number);
            drafts::look_again(at, Cause::Waiver, vec![Ref::InGroup(0)], key)
        });
        let group = std::iter::once(step).chain(looks).collect();
        let receipts = self.0.ledger.append(group).await;
        let receipts = receipts.map_err(|e| WaiverError::Ledger(self.refused(e).to_string()))?;
        let seq =
            receipts.first().map(|r| r.seq).ok_or_else(|| WaiverError::Ledger("no answer".to_owned()))?;
        self.learn_waiver(seq);
        for (at, receipt) in again.iter().zip(receipts.iter().skip(1)) {
            self.enqueue_again(at, Cause::Waiver, *receipt);
        }
        Ok(seq)
    }
}

fn operator() -> Who {
    Who { id: None, login: "local operator".to_owned() }
}
