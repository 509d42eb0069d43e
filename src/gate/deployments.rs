//! Environments that wait for gatelog: GitHub asks before it deploys, the verdict is the answer.
//!
//! `allow` approves and `deny` rejects, once. `pending` and `error` do neither: the environment goes on
//! waiting, is told why, and is looked at again. The event of each later look has the payload of the first,
//! so that policies read what GitHub said. An answer that no report covers is given again after a start; an
//! approval then only by a verdict that is new.

use std::{collections::HashMap, time::Duration};

use super::{FRESH, Gate, Item, backoff, drafts, jitter, lock};
use crate::{
    escape,
    event::{self, About, Cause, ContentType, Event, Source, Subject, SubjectKind},
    github::{
        RepoAt, Trouble, TroubleKind,
        deployments::{Review, request},
    },
    ledger::entry::{Body, Draft, EventData, Key, Kind, Ref, ReportData, ReportResult, VerdictData},
    time::Time,
    verdict::{Decision, Target, Verdict},
};

/// The first look after one that decided nothing; each later one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

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
}

/// What GitHub asked.
struct Asked {
    run: u64,
    environment: String,
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
                let trouble = match gate.answer_once(&target, &at, verdict).await {
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
        let review = match data.decision {
            Decision::Allow if self.alarmed() => Review::Waiting,
            Decision::Allow if Time::now().since(stored.entry.time) > FRESH => {
                // Nothing is appended before GitHub answers, so an outage adds no entries.
                self.0.github.can_read(at).await?;
                return self.look_at_deployment_again(event, seq, Cause::Stale).await;
            }
            Decision::Allow => Review::Approved,
            Decision::Deny => Review::Rejected,
            _ => Review::Waiting,
        };
        let done = match review {
            Review::Waiting => self.note_wait(target, at, &asked, event, seq, &verdict).await?,
            review => {
                let text = comment(&verdict, seq);
                match self
                    .0
                    .github
                    .review_deployment(at, asked.run, &asked.environment, review, &text)
                    .await?
                {
                    true => Done::Said(review),
                    false => Done::Over,
                }
            }
        };
        let (result, conclusion) = match done {
            Done::Waits => return Ok(()),
            Done::Said(Review::Approved) => (ReportResult::Created, Some("success")),
            Done::Said(_) => (ReportResult::Created, Some("failure")),
            Done::Over => (ReportResult::Withheld, None),
        };
        let sent = request(&asked.environment, review, &comment(&verdict, seq));
        self.report_deployment(target, stored.entry.subject, result, conclusion, Some(sent)).await
    }

    /// The environment goes on waiting: it is told why, if that is new, and looked at again later.
    async fn note_wait(
        &self,
        target: &Target,
        at: &RepoAt,
        asked: &Asked,
        event: u64,
        seq: u64,
        verdict: &Verdict,
    ) -> Result<Done, Trouble> {
        let text = if verdict.decision == Decision::Allow {
            "Approvals are withheld until an operator has looked at an alarm".to_owned()
        } else {
            verdict.reason.clone()
        };
        let is_news = {
            let waiting = lock(&self.0.deployments);
            waiting.0.get(target).is_none_or(|w| w.note != text && w.notes < MOST_NOTES)
        };
        if is_news {
            let note = format!("Waiting: {}", escape::markdown(&text));
            let review = Review::Waiting;
            if !self.0.github.review_deployment(at, asked.run, &asked.environment, review, &note).await? {
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
        let gate = self.clone();
        tokio::spawn(async move {
            let mut stopping = gate.0.stopping.subscribe();
            let over = tokio::select! {
                () = tokio::time::sleep(after) => false,
                _ = stopping.wait_for(|s| *s) => true,
            };
            if !over {
                // Not appended: the verdict has no report, so the next start takes it up.
                let _ = gate.look_at_deployment_again(event, seq, Cause::Expired).await;
            }
        });
        Ok(Done::Waits)
    }

    /// An own event with the payload of the first: judged and answered anew.
    async fn look_at_deployment_again(&self, event: u64, verdict: u64, cause: Cause) -> Result<(), Trouble> {
        let broken = |why: String| Trouble::new(TroubleKind::Unexpected, why);
        let stored = self.stored(event)?.ok_or_else(|| broken("the event is not in the ledger".into()))?;
        let was: EventData =
            serde_json::from_value(stored.entry.data.clone()).map_err(|e| broken(e.to_string()))?;
        let media = stored.entry.bodies.get("payload").map_or("", |b| b.media.as_str());
        let content = ContentType::of_media(media);
        let body = self.0.ledger.body(event, "payload").map_err(|e| broken(e.to_string()))?;
        let body = body.ok_or_else(|| broken("its payload was erased".into()))?;
        let parsed = event::parse_stored(&was.name, Source::Gatelog, Some(cause), content, &body)
            .map_err(|e| broken(e.to_string()))?;
        let data = EventData { source: Source::Gatelog, cause: Some(cause), flags: vec![], ..was };
        let draft = Draft {
            kind: Kind::Event,
            subject: stored.entry.subject,
            key: Key::Plain(format!("again:{verdict}:deployment")),
            refs: vec![Ref::Seq(verdict)],
            bodies: vec![("payload".into(), Body { bytes: body.to_vec().into(), media: content.media() })],
            data: serde_json::json!(data),
        };
        let receipts = self.append(vec![draft]).await.map_err(|later| {
            Trouble::new(TroubleKind::Unavailable, "the look could not be recorded").after(later.after)
        })?;
        if let Some(receipt) = receipts.first().filter(|r| !r.duplicate) {
            self.enqueue(Item {
                seq: receipt.seq,
                event: Some(std::sync::Arc::new(parsed)),
                received_at: Time::now(),
                guid: None,
                replayed: false,
                unreadable: false,
            });
        }
        Ok(())
    }

    /// What an event asked, from its payload.
    fn asked(&self, at: &RepoAt, event: u64) -> Result<Asked, String> {
        let payload = self.payload_of(event)?;
        let callback = payload["deployment_callback_url"].as_str().ok_or("it has no callback address")?;
        let run = self.0.github.waiting_run(at, callback)?;
        let environment = payload["environment"].as_str().ok_or("it names no environment")?;
        Ok(Asked { run, environment: environment.to_owned() })
    }

    /// It cannot be answered, now or later: the environment stays closed, and somebody must know.
    async fn cannot_answer(&self, target: &Target, at: &RepoAt, verdict: u64, why: &str) {
        let text = format!("a deployment waits and cannot be answered: {why}");
        self.alert("deployment", verdict, Some(&at.repository.name), &text);
        if let Ok(Some(stored)) = self.stored(verdict) {
            let subject = stored.entry.subject;
            let _ = self.report_deployment(target, subject, ReportResult::Withheld, None, None).await;
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
    }
    format!("{text}\n\ngatelog entry {seq}")
}
