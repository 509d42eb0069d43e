//! What is shown without a verdict: that an event is judged, and that nothing stands on a commit any more.

use super::{
    super::{
        Gate, Item, lock,
        waits::{PROGRESS_AFTER, sooner},
    },
    Step, Waiting, Write,
};
use crate::{
    event::{self, About, Event, Judge as On, SubjectKind},
    github::{RepoAt, Trouble, check_run, report::Show},
    ledger::entry::{EventData, Kind, ReportData},
    verdict::Target,
};

impl Gate {
    /// After half a second without verdict an event shows as in progress.
    pub(in crate::gate) fn watch_progress(&self, item: &Item) {
        let Some(event) = item.event.as_deref() else { return };
        let judged = matches!(event::handling(event).judge, On::PullRequest | On::MergeGroup);
        if !judged || !self.0.settings.publish {
            return;
        }
        let (gate, item, at_once) = (self.clone(), item.clone(), self.comes_to_a_green(event));
        tokio::spawn(async move {
            if !at_once {
                tokio::time::sleep(sooner("gate::progress", PROGRESS_AFTER)).await;
            }
            gate.show_progress(&item, None);
        });
    }

    /// A pull request comes to a commit, or to a base, and the commit shows a success that was given to something
    /// else: GitHub would let it be merged before it is judged.
    fn comes_to_a_green(&self, event: &Event) -> bool {
        let (Some(repository), Some(sha)) = (&event.repository, event.subject().head) else { return false };
        let target = Target { repository: repository.id, sha, check: self.0.settings.check_name.clone() };
        comes(event) && self.shows_green(&target)
    }

    pub(super) fn shows_green(&self, target: &Target) -> bool {
        self.shown(target).is_some_and(|s| s.conclusion.as_deref() == Some(SUCCESS))
    }

    /// Shows an event without verdict as in progress, with the reason.
    pub(in crate::gate) fn show_progress(&self, item: &Item, reason: Option<&str>) {
        if !self.0.settings.publish || self.0.ledger.verdict_of(item.seq).is_some() {
            return;
        }
        let Some(event) = item.event.as_deref() else { return };
        let subject = event.subject();
        let (Some(repository), Some(installation)) = (event.repository.clone(), event.installation) else {
            return;
        };
        let head = subject
            .head
            .clone()
            .or_else(|| subject.id.and_then(|number| lock(&self.0.pulls).head(repository.id, number)));
        let open = match (subject.kind, subject.id) {
            (SubjectKind::PullRequest, Some(n)) => lock(&self.0.pulls).is_open(repository.id, n),
            (SubjectKind::MergeGroup, _) => true,
            _ => false,
        };
        let (Some(sha), true) = (head, open) else { return };
        // It has moved on since: nobody waits on the old head.
        if let (SubjectKind::PullRequest, Some(number)) = (subject.kind, subject.id)
            && lock(&self.0.pulls).head(repository.id, number).is_some_and(|now| now != sha)
        {
            return;
        }
        let target = Target { repository: repository.id, sha, check: self.0.settings.check_name.clone() };
        let at = RepoAt { installation, repository };
        let waiting = Waiting { event: item.seq, reason: reason.map(str::to_owned), comes: comes(event) };
        self.touch(target, at, |doing| doing.progress = Some(waiting));
    }

    /// An event without verdict: in progress, unless the target blocks anyway.
    pub(super) fn progress_step(
        &self,
        target: &Target,
        at: &RepoAt,
        shown: Option<&ReportData>,
        waiting: &Waiting,
        ambiguous: bool,
    ) -> Result<Step, Trouble> {
        let Some(stored) = self.stored(waiting.event)? else { return Ok(Step::Nothing) };
        let context = self.context(target, at, &stored, stored.entry.subject.id, None);
        let rendered = match &waiting.reason {
            Some(reason) => check_run::waiting_for_github(reason, &context),
            None => check_run::in_progress(&context),
        };
        let blocks_as_it_is = shown.is_some_and(|s| match s.conclusion.as_deref() {
            Some("failure") => true,
            None => self.title_shown(target).as_ref() == Some(&rendered.title),
            _ => false,
        });
        if blocks_as_it_is && !ambiguous {
            return Ok(Step::Nothing);
        }
        let subject = stored.entry.subject.clone();
        let covers = vec![waiting.event];
        let show = Show { keep_red: true, ..self.show(target, rendered, &stored, shown, ambiguous) };
        let spare = !waiting.comes || !self.shows_green(target);
        Ok(Step::Write(Box::new(Write { show, covers, subject, without_github: false, spare })))
    }

    /// No pull request stands on the target any more. What is still in progress there would stay so for
    /// ever: it is completed, as a failure, because nothing there was allowed. And a success there would let
    /// every later pull request from this commit pass, into whatever branch, until that is judged: GitHub goes by
    /// the commit. It is taken back, unless it led to a merge, whose record it is.
    pub(super) fn left_step(
        &self,
        target: &Target,
        at: &RepoAt,
        shown: Option<&ReportData>,
        ambiguous: bool,
    ) -> Result<Step, Trouble> {
        let passes = |s: &&ReportData| s.conclusion.as_deref() == Some(SUCCESS);
        let stays = |s: &&ReportData| s.conclusion.is_none() || passes(s);
        let Some(shown) = shown.filter(|s| s.check_run.is_some()).filter(stays) else {
            return Ok(Step::Nothing);
        };
        let Some(stored) = shown.covers.first().map(|seq| self.stored(*seq)).transpose()?.flatten() else {
            return Ok(Step::Nothing);
        };
        let subject = stored.entry.subject.clone();
        let (SubjectKind::PullRequest, Some(number)) = (subject.kind, subject.id) else {
            return Ok(Step::Nothing);
        };
        let newer = {
            let pulls = lock(&self.0.pulls);
            if !pulls.on_head(target.repository, &target.sha).is_empty() {
                return Ok(Step::Nothing);
            }
            pulls.head(target.repository, number)
        };
        let context = self.context(target, at, &stored, Some(number), None);
        let (rendered, covers) = if passes(&shown) {
            if self.led_to_a_merge(target.repository, shown)? {
                return Ok(Step::Nothing);
            }
            // It says nothing of a verdict: should the pull request stand here after all, that is shown again.
            (check_run::taken_back(newer.as_ref(), &context), vec![])
        } else {
            // Closed while it waited for something: that is what its verdict says, and it stays said.
            if newer.is_none() && stored.entry.kind == Kind::Verdict {
                return Ok(Step::Nothing);
            }
            (check_run::left(newer.as_ref(), &context), shown.covers.clone())
        };
        let spare = covers.is_empty();
        let show = self.show(target, rendered, &stored, Some(shown), ambiguous);
        Ok(Step::Write(Box::new(Write { show, covers, subject, without_github: false, spare })))
    }

    /// Whether a pull request that a report is about was merged. One that is not open, and of which no event
    /// tells how it ended, may have been.
    fn led_to_a_merge(&self, repository: u64, shown: &ReportData) -> Result<bool, Trouble> {
        for seq in &shown.covers {
            let Some(number) = self.stored(*seq)?.and_then(|s| s.entry.subject.id) else { return Ok(true) };
            if !lock(&self.0.pulls).is_open(repository, number) && self.ended_by_merge(repository, number)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ended_by_merge(&self, repository: u64, number: u64) -> Result<bool, Trouble> {
        for seq in self.0.ledger.of_pull(repository, number).into_iter().rev() {
            let Some(stored) = self.stored(seq)?.filter(|s| s.entry.kind == Kind::Event) else { continue };
            let Ok(data) = serde_json::from_value::<EventData>(stored.entry.data) else { continue };
            if data.name == "pull_request" && data.action.as_deref() == Some("closed") {
                return Ok(self.payload_of(seq).map_or(true, |p| p["pull_request"]["merged"] == true));
            }
        }
        Ok(true)
    }

    /// A pull request has left this commit, or was closed on it.
    pub(in crate::gate) fn left(&self, at: &RepoAt, sha: &event::Sha) {
        if self.0.settings.publish {
            let check = self.0.settings.check_name.clone();
            let target = Target { repository: at.repository.id, sha: sha.clone(), check };
            self.touch(target, at.clone(), |_| {});
        }
    }
}

/// What a check run says that lets a pull request pass.
const SUCCESS: &str = "success";

/// Whether an event puts a pull request on a commit, or on a base, where it did not stand.
fn comes(event: &Event) -> bool {
    let About::PullRequest(pull) = &event.about else { return false };
    let opens = matches!(event.action.as_deref(), Some("opened" | "reopened"));
    event.name == "pull_request" && (opens || pull.old_base.is_some())
}
