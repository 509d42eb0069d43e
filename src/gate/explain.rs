//! The button `Explain` on a check run: which rules decided, from what was recorded.
//!
//! The press is an event entry like any other, the update a `report`. It changes the text of a run that shows
//! its newest verdict, and nothing else; what is not shown yet is not explained. If the process dies in
//! between, the button is pressed again: nothing is owed to anybody.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{Gate, Item, commands, lock, look::repo_at};
use crate::{
    event::{self, About, Account, Event, Source},
    github::{
        RepoAt,
        check_run::{Context, Explained, explanation},
    },
    ledger::Stored,
    policy::{
        Bundle, Input,
        why::{self, Style},
    },
    time::Time,
    verdict::{Target, Verdict},
};

/// Presses of one person on one commit in an hour: each costs an update, and the time of judging once more.
const PRESSES: usize = 5;
const HOUR: Duration = Duration::from_secs(3600);

impl Gate {
    /// Does what a press of the button asks for, if the event is one. Pressed twice, GitHub sends the same body
    /// twice, so that one counts which the ledger takes for sent again; the limit is for it too.
    pub(super) fn explain(&self, item: &Item) {
        let Some(event) = item.event.as_deref().filter(|e| e.source == Source::Github) else { return };
        let Some((target, at)) = self.to_explain(event) else { return };
        let Some(by) = event.sender.clone() else { return };
        let gate = self.clone();
        tokio::spawn(async move {
            if gate.may_explain(&target, &at, &by).await {
                gate.touch(target, at, |doing| doing.explain = Some(0));
            }
        });
    }

    fn to_explain(&self, event: &Event) -> Option<(Target, RepoAt)> {
        let About::Check(check) = &event.about else { return None };
        let settings = &self.0.settings;
        let asked = event.name == "check_run"
            && event.action.as_deref() == Some("requested_action")
            && check.button.as_deref() == Some(event::EXPLAIN)
            && check.app_id == Some(settings.app_id);
        let at = repo_at(event).filter(|_| asked && settings.publish)?;
        let (sha, check) = (check.head.clone()?, check.name.clone()?);
        Some((Target { repository: at.repository.id, sha, check }, at))
    }

    /// Only people who may write, as GitHub says now, and not without end.
    async fn may_explain(&self, target: &Target, at: &RepoAt, by: &Account) -> bool {
        // Counted before GitHub is asked: who may not costs a call, too.
        if !lock(&self.0.explained).may((target.clone(), by.id), Time::now(), PRESSES, HOUR) {
            tracing::info!(
                by = by.login,
                "more than {PRESSES} explanations of a commit in an hour: not once more"
            );
            return false;
        }
        let level = match self.0.github.level_now(at, by).await {
            Ok(Ok(level)) => level,
            Ok(Err(why)) => {
                tracing::warn!("nothing is explained: {why}");
                return false;
            }
            Err(trouble) => {
                tracing::warn!("nothing is explained: {}", trouble.reason);
                return false;
            }
        };
        if !commands::writes(&level) {
            tracing::info!(by = by.login, "nothing is explained to somebody without write access");
            return false;
        }
        true
    }

    /// The text that explains a recorded verdict. Never an error: what cannot be told is said in it.
    pub(super) async fn explanation(
        &self,
        stored: &Stored,
        verdict: &Verdict,
        private: bool,
        context: &Context,
    ) -> String {
        let seq = stored.entry.seq;
        let style = if private { Style::PLAIN } else { Style::WITHOUT_VALUES };
        let note = match private {
            true => {
                "Rules whose statements all hold gave the findings; of the others the statement is shown that did not."
            }
            false => {
                "Rules whose statements all hold gave the findings; of the others the statement is shown that did \
                 not. Values are left out, because not only people who were let in see this repository."
            }
        };
        let explained = match self.judged_on(stored, verdict) {
            Ok((bundle, input)) => self.0.judge.explain(bundle, input).await,
            Err(why) => {
                tracing::warn!(verdict = seq, "it cannot be explained: {why}");
                verdict.controls.iter().map(|c| (c.package.clone(), Err(why.clone()))).collect()
            }
        };
        let of_rule = |told: &why::Told| {
            let name = told.rule.rsplit('.').next().unwrap_or(&told.rule);
            (format!("{name} ({}:{})", told.path, told.line), why::text(told, 0, style))
        };
        let explained: Vec<Explained> = explained
            .into_iter()
            .map(|(package, told)| Explained {
                package,
                rules: told.map(|t| t.iter().map(of_rule).collect()),
            })
            .collect();
        explanation(verdict, &explained, note, context)
    }

    /// The bundle and the input of a verdict, as recorded.
    fn judged_on(&self, stored: &Stored, verdict: &Verdict) -> Result<(Arc<Bundle>, Arc<Input>), String> {
        let ledger = &self.0.ledger;
        let body = |seq, name: &str| ledger.body(seq, name).map_err(|e| e.to_string());
        let facts =
            body(stored.entry.seq, "facts")?.ok_or("the facts are not there: erased, or never read")?;
        let event = *stored.entry.refs.first().ok_or("the verdict names no event")?;
        let payload: Value = self.payload_of(event)?;
        let input = Input::splice(&facts, payload.to_string().as_bytes()).map_err(|e| e.to_string())?;
        let active = self.bundle();
        if active.digest() == verdict.bundle {
            return Ok((active, Arc::new(input)));
        }
        let seq = lock(&self.0.bundles).get(&verdict.bundle).copied();
        let seq = seq.ok_or("the policies that judged are not in the ledger")?;
        let archive = body(seq, "bundle")?.ok_or("the policies that judged were erased")?;
        let bundle = Bundle::from_archive(&archive).map_err(|e| e.to_string())?;
        Ok((Arc::new(bundle), Arc::new(input)))
    }
}
