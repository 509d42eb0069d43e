//! Environments that wait for gatelog: GitHub asks before it deploys, the verdict is the answer.
//!
//! `allow` approves and `deny` rejects, once. `pending` and `error` do neither: the environment goes on
//! waiting, is told why, and is looked at again. The event of each later look has the payload of the first,
//! so that policies read what GitHub said. An answer that no report covers is given again after a start; an
//! approval then only by a verdict of this process.
//!
//! Nobody opens an environment by saying nothing: an `allow` on which no control applied, or that was found
//! without GitHub's facts, is not an approval. The environment waits.
//!
//! An answer is durable nowhere before GitHub has it: if the power goes between, or GitHub does not say
//! whether it took it, the answer is given again; where GitHub then refuses it, the report says `unknown`, and
//! there is an alert. It ends when the run has ended, or when GitHub must have given up.

use std::{collections::HashMap, time::Duration};

use super::{
    FRESH, Gate, Item, drafts, lock,
    waits::{backoff, jitter},
};
use crate::{
    escape,
    event::{About, Cause, Event, Subject, SubjectKind},
    facts::Status,
    github::{
        RepoAt, Trouble, TroubleKind,
        deployments::{Review, Taken, request},
    },
    ledger::entry::{ReportData, ReportResult, VerdictData},
    telemetry::Task,
    time::Time,
    verdict::{Decision, Target, Verdict},
};

/// The first look after one that decided nothing; each later one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// GitHub gives up after 30 days; where we may not read the run, its wait is then over all the same.
const GITHUB_GIVES_UP: Duration = Duration::from_secs(31 * 24 * 3600);

/// GitHub takes ten notes for a deployment; the last is left for others.
const MOST_NOTES: u32 = 9;

/// Environments that wait for another look.
#[derive(Default)]
pub(super) struct Waiting(HashMap<Target, Wait>);

#[derive(Default)]
struct Wait {
    looks: u32,
    notes: u32,
    note: String,
    /// An answer was sent, and GitHub did not say whether it took it.
    doubt: bool,
}

/// What GitHub asked.
struct Asked {
    run: u64,
    environment: String,
    /// When the deployment was made, by GitHub's clock.
    at: Option<Time>,
}

/// How an answer ended.
enum Done {
    Said(Review),
    /// It waits for nothing any more.
    Over,
    /// Looked at again later.
    Waits,
}

impl Gate {
    /// Where the verdict on this event is the answer to an environment.
    pub(super) fn deployment_target(&self, item: &Item, subject: &Subject) -> Option<Target> {
        let event = item.event.as_deref().filter(|e| asks(e))?;
        // A body sent again could have an old question answered anew.
        if item.replayed || !self.0.settings.publish {
            return None;
        }
        let About::Deployment { id, .. } = event.about else { return None };
        let check = format!("{}/deployment/{id}", self.0.settings.check_name);
        Some(Target { repository: subject.repository?, sha: subject.head.clone()?, check })
    }

    /// A verdict on a waiting environment is durable: answer.
    pub(super) fn answer_deployment(&self, target: Target, at: RepoAt, verdict: u64) {
        let gate = self.clone();
        tokio::spawn(async move {
            let begun = Time::now();
            let mut stopping = gate.0.stopping.subscribe();
            loop {
                let answer = gate.answer_once(&target, &at, verdict);
                let trouble = match gate.guarded_try(Task::Answering, answer).await {
                    Ok(()) => return,
                    Err(trouble) if trouble.passes() => trouble,
                    Err(trouble) => return gate.cannot_answer(&target, &at, verdict, &trouble.reason).await,
                };
                let wait = trouble.retry_after.unwrap_or_else(|| backoff(Time::now().since(begun)));
                tracing::warn!(retry_in_s = wait.as_secs_f64(), "cannot answer: {}", trouble.reason);
                tokio::select! {
                    () = tokio::time::sleep(wait + jitter(wait)) => {}
                    // What is not answered is found again at the next start.
                    _ = stopping.wait_for(|s| *s) => return,
                }
            }
        });
    }

    async fn answer_once(&self, target: &Target, at: &RepoAt, seq: u64) -> Result<(), Trouble> {
        fail::fail_point!("answer::panic");
        let broken = |why: &str| Trouble::new(TroubleKind::Unexpected, why.to_owned());
        let stored = self.stored(seq)?.ok_or_else(|| broken("the verdict is not in the ledger"))?;
        let data: VerdictData =
            serde_json::from_value(stored.entry.data.clone()).map_err(|e| broken(&e.to_string()))?;
        let event = stored.entry.refs.first().copied().ok_or_else(|| broken("a verdict on nothing"))?;
        // A newer verdict answers for this one.
        if self.newest_on(target).is_some_and(|newest| newest > seq) {
            return Ok(());
        }
        let asked = self.asked(at, event).map_err(|why| broken(&why))?;
        let verdict = self.verdict(seq)?;
        let (review, note) = match data.decision {
            Decision::Allow => match self.why_not_approved(seq, &verdict) {
                Some(why) => (Review::Waiting, why.to_owned()),
                None if !self.is_newly_judged(seq, &verdict) => {
                    // Nothing is appended before GitHub answers, so an outage adds no entries.
                    self.0.github.can_read(at).await?;
                    return self.look_at_event_again(event, seq, Cause::Stale, "deployment").await;
                }
                None => (Review::Approved, String::new()),
            },
            Decision::Deny => (Review::Rejected, String::new()),
            _ => (Review::Waiting, verdict.reason.clone()),
        };
        let done = match review {
            Review::Waiting => self.note_wait(target, at, &asked, event, seq, note).await?,
            review => self.give_answer(target, at, &asked, review, &comment(&verdict, seq)).await?,
        };
        let (result, conclusion) = match done {
            Done::Waits => return Ok(()),
            Done::Said(Review::Approved) => (ReportResult::Created, Some("success")),
            Done::Said(_) => (ReportResult::Created, Some("failure")),
            Done::Over => self.over(target, at, seq),
        };
        let sent = request(&asked.environment, review, &comment(&verdict, seq));
        self.report_deployment(target, stored.entry.subject, result, conclusion, Some(sent)).await
    }

    /// Why an environment is not opened by this `allow`, and will not be by another; `None`: it may be.
    fn why_not_approved(&self, seq: u64, verdict: &Verdict) -> Option<&'static str> {
        if self.alarmed() {
            return Some("Approvals are withheld until an operator has looked at an alarm");
        }
        if !super::some_control_decides(verdict) {
            return Some(
                "No control judges this deployment: switch one on (such as CHG-09, deployments), or take gatelog \
                 off this environment",
            );
        }
        let complete = self.facts_status(seq).is_some_and(|f| f.complete);
        (!complete).then_some("Not everything about it could be read")
    }

    /// An approval is said only by the process that judged, with the policies that hold now, on new facts.
    fn is_newly_judged(&self, seq: u64, verdict: &Verdict) -> bool {
        let read_at = self.facts_status(seq).map(|f| f.fetched_at);
        seq >= self.0.started_at_seq()
            && verdict.bundle == self.bundle().digest()
            && read_at.is_some_and(|at| still_holds(at, verdict.valid_until, Time::now()))
    }

    /// How the facts of a verdict were read; `None`: they were erased, or there were none.
    fn facts_status(&self, seq: u64) -> Option<Status> {
        let facts = self.0.ledger.body(seq, "facts").ok()??;
        let facts: serde_json::Value = serde_json::from_slice(&facts).ok()?;
        serde_json::from_value(facts["facts"].clone()).ok()
    }

    /// Approves or rejects.
    async fn give_answer(
        &self,
        target: &Target,
        at: &RepoAt,
        asked: &Asked,
        review: Review,
        text: &str,
    ) -> Result<Done, Trouble> {
        let before = self.doubt(target, true);
        let said = self.0.github.review_deployment(at, asked.run, &asked.environment, review, text).await;
        match said {
            Ok(Taken::Yes) => return Ok(Done::Said(review)),
            Ok(Taken::No) => _ = self.doubt(target, before),
            Err(trouble) => {
                if refused(trouble.kind) {
                    self.doubt(target, before);
                }
                return Err(trouble);
            }
        }
        if !before && self.0.github.run_goes_on(at, asked.run).await? == Some(true) {
            let why =
                "GitHub does not take the answer, and the run goes on: was it answered by somebody else?";
            return Err(Trouble::new(TroubleKind::Unexpected, why));
        }
        Ok(Done::Over)
    }

    /// Sets whether GitHub may have taken an answer without saying so; returns what was.
    fn doubt(&self, target: &Target, is: bool) -> bool {
        let mut waiting = lock(&self.0.deployments);
        std::mem::replace(&mut waiting.0.entry(target.clone()).or_default().doubt, is)
    }

    /// It waits for nothing any more, and we have not seen an answer taken.
    fn over(&self, target: &Target, at: &RepoAt, seq: u64) -> (ReportResult, Option<&'static str>) {
        let Some(decision) = self.perhaps_said(target) else { return (ReportResult::Withheld, None) };
        let conclusion = if decision == Decision::Allow { "success" } else { "failure" };
        let text =
            format!("whether a deployment was answered ({conclusion}) is not known: GitHub did not say");
        self.alert("deployment", seq, Some(&at.repository.name), &text);
        (ReportResult::Unknown, Some(conclusion))
    }

    /// What GitHub may have been told: by a try that ended without an answer, or by an earlier process, of
    /// which that is not known. The approval, if it may have been one.
    fn perhaps_said(&self, target: &Target) -> Option<Decision> {
        let started = self.0.started_at_seq();
        let doubt = lock(&self.0.deployments).0.get(target).is_some_and(|w| w.doubt);
        let decided = self.unanswered(target).into_iter().filter(|seq| doubt || *seq < started);
        let decided = decided.filter_map(|seq| {
            let stored = self.stored(seq).ok()??;
            serde_json::from_value::<VerdictData>(stored.entry.data).ok().map(|d| d.decision)
        });
        let mut said: Vec<Decision> =
            decided.filter(|d| matches!(d, Decision::Allow | Decision::Deny)).collect();
        said.sort_by_key(|d| *d != Decision::Allow);
        said.first().copied()
    }

    /// The environment goes on waiting: it is told why, if that is new, and looked at again later.
    async fn note_wait(
        &self,
        target: &Target,
        at: &RepoAt,
        asked: &Asked,
        event: u64,
        seq: u64,
        text: String,
    ) -> Result<Done, Trouble> {
        let is_news = {
            let waiting = lock(&self.0.deployments);
            waiting.0.get(target).is_none_or(|w| w.note != text && w.notes < MOST_NOTES)
        };
        if is_news {
            let note = format!("Waiting: {}", escape::markdown(&text));
            let review = Review::Waiting;
            let taken =
                self.0.github.review_deployment(at, asked.run, &asked.environment, review, &note).await?;
            // Only a note was refused: it may be one too many. The environment waits as long as its run does.
            if taken == Taken::No && self.is_over(at, asked).await? {
                return Ok(Done::Over);
            }
        }
        let after = {
            let mut waiting = lock(&self.0.deployments);
            let wait = waiting.0.entry(target.clone()).or_default();
            wait.notes += u32::from(is_news);
            wait.note = text;
            wait.looks += 1;
            (FIRST_WAIT * 2u32.saturating_pow((wait.looks - 1).min(16))).min(LONGEST_WAIT)
        };
        let (gate, target, at) = (self.clone(), target.clone(), at.clone());
        tokio::spawn(async move {
            let mut stopping = gate.0.stopping.subscribe();
            tokio::select! {
                () = gate.look_after(after, &target, &at, event, seq) => {}
                // No report: the next start takes it up.
                _ = stopping.wait_for(|s| *s) => {}
            }
        });
        Ok(Done::Waits)
    }

    /// After a while the environment is judged again, unless its run has ended.
    async fn look_after(&self, wait: Duration, target: &Target, at: &RepoAt, event: u64, seq: u64) {
        let begun = Time::now();
        let mut wait = wait;
        loop {
            tokio::time::sleep(wait).await;
            let look = self.look_or_end(target, at, event, seq);
            let trouble = match self.guarded_try(Task::Answering, look).await {
                Ok(()) => return,
                Err(trouble) if trouble.passes() => trouble,
                Err(trouble) => return self.cannot_answer(target, at, seq, &trouble.reason).await,
            };
            let pause = trouble.retry_after.unwrap_or_else(|| backoff(Time::now().since(begun)));
            wait = pause + jitter(pause);
        }
    }

    async fn look_or_end(&self, target: &Target, at: &RepoAt, event: u64, seq: u64) -> Result<(), Trouble> {
        let broken = |why: String| Trouble::new(TroubleKind::Unexpected, why);
        if !self.is_over(at, &self.asked(at, event).map_err(broken)?).await? {
            return self.look_at_event_again(event, seq, Cause::Expired, "deployment").await;
        }
        let stored = self.stored(seq)?.ok_or_else(|| broken("the verdict is not in the ledger".into()))?;
        let (result, conclusion) = self.over(target, at, seq);
        self.report_deployment(target, stored.entry.subject, result, conclusion, None).await
    }

    /// Whether its wait has ended: with its run, or because GitHub must have given up.
    async fn is_over(&self, at: &RepoAt, asked: &Asked) -> Result<bool, Trouble> {
        match self.0.github.run_goes_on(at, asked.run).await? {
            Some(goes_on) => Ok(!goes_on),
            None => Ok(asked.at.is_some_and(|at| Time::now().since(at) > GITHUB_GIVES_UP)),
        }
    }

    /// What an event asked, from its payload.
    fn asked(&self, at: &RepoAt, event: u64) -> Result<Asked, String> {
        let payload = self.payload_of(event)?;
        let callback = payload["deployment_callback_url"].as_str().ok_or("it has no callback address")?;
        let run = self.0.github.waiting_run(at, callback)?;
        let environment = payload["environment"].as_str().ok_or("it names no environment")?;
        let at = payload["deployment"]["created_at"].as_str().and_then(|t| t.parse().ok());
        Ok(Asked { run, environment: environment.to_owned(), at })
    }

    /// It cannot be answered, now or later: the environment stays closed, and somebody must know.
    async fn cannot_answer(&self, target: &Target, at: &RepoAt, verdict: u64, why: &str) {
        let text = format!("a deployment waits and cannot be answered: {why}");
        self.alert("deployment", verdict, Some(&at.repository.name), &text);
        if let Ok(Some(stored)) = self.stored(verdict) {
            let subject = stored.entry.subject;
            let (result, conclusion) = self.over(target, at, verdict);
            let _ = self.report_deployment(target, subject, result, conclusion, None).await;
        }
    }

    async fn report_deployment(
        &self,
        target: &Target,
        subject: Subject,
        result: ReportResult,
        conclusion: Option<&str>,
        sent: Option<serde_json::Value>,
    ) -> Result<(), Trouble> {
        lock(&self.0.deployments).0.remove(target);
        let conclusion = conclusion.map(str::to_owned);
        let covers = self.unanswered(target);
        let data = ReportData { target: target.clone(), result, check_run: None, conclusion, covers };
        let sent = sent.map(|s| s.to_string().into_bytes());
        self.append(vec![drafts::report(subject, &data, sent)]).await.map(drop).map_err(|later| {
            Trouble::new(TroubleKind::Unavailable, "the answer could not be recorded").after(later.after)
        })
    }

    /// Verdicts on this deployment that no report covers, oldest first.
    fn unanswered(&self, target: &Target) -> Vec<u64> {
        let on_it = |seq: &u64| {
            let stored = self.stored(*seq).ok().flatten();
            let data = stored.and_then(|s| serde_json::from_value::<VerdictData>(s.entry.data).ok());
            data.and_then(|d| d.target).as_ref() == Some(target)
        };
        self.0.ledger.unreported().into_iter().filter(on_it).collect()
    }

    fn newest_on(&self, target: &Target) -> Option<u64> {
        self.unanswered(target).last().copied()
    }
}

/// What was decided on facts of `read_at` may still be said: a freeze may have begun since, or an exception
/// ended.
fn still_holds(read_at: Time, valid_until: Option<Time>, now: Time) -> bool {
    now.since(read_at) <= FRESH && valid_until.is_none_or(|end| now < end)
}

/// GitHub refused the call before it did anything.
fn refused(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::RateLimited | TroubleKind::Denied | TroubleKind::Gone)
}

/// GitHub asks whether an environment may be deployed to.
pub(super) fn asks(event: &Event) -> bool {
    event.name == "deployment_protection_rule" && event.action.as_deref() == Some("requested")
}

/// Whether a verdict is about a deployment, and so its target no check run.
pub(super) fn is_about_one(subject: &Subject) -> bool {
    subject.kind == SubjectKind::Deployment
}

/// The reason, and each finding with who can mend it.
fn comment(verdict: &Verdict, seq: u64) -> String {
    let mut text = escape::markdown(&verdict.reason);
    for finding in verdict.controls.iter().flat_map(|c| &c.findings) {
        text += &format!("\n- {}", escape::markdown(&finding.msg));
        let shown = |words: &Option<String>| words.as_deref().map(escape::markdown);
        match (shown(&finding.fix), shown(&finding.who)) {
            (Some(fix), Some(who)) => text += &format!("\n  {fix} ({who})"),
            (Some(one), None) | (None, Some(one)) => text += &format!("\n  {one}"),
            (None, None) => {}
        }
    }
    format!("{text}\n\ngatelog entry {seq}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_is_on_new_facts_and_before_its_end() {
        let time = |s: &str| format!("2026-11-24T15:{s}Z").parse::<Time>().unwrap();
        let read = time("00:00");
        assert!(still_holds(read, None, time("00:30")));
        assert!(!still_holds(read, None, time("00:31")));
        assert!(still_holds(read, Some(time("00:20")), time("00:19")));
        assert!(!still_holds(read, Some(time("00:20")), time("00:20")));
    }
}
