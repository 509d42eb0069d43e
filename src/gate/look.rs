//! From an event to the frozen document that policies read.

use std::sync::Arc;

use serde_json::Value;

use super::{Gate, Item, drafts::PullAddress, landed::MergeVerdict, lock};
use crate::{
    event::{About, Cause, Event, Handling, Judge as On, PullRequestRef, Sha, Source, Subject, SubjectKind},
    facts::{Change, FACTS, Facts, MergeGroup, Missing, Push, Status, TargetRef, landed::Landing},
    github::{
        RepoAt, Trouble, TroubleKind,
        gather::{self, Needs},
    },
    policy::{Bundle, ENGINE, EventHeader, Input, REWRITER},
    time::Time,
    verdict::{Decision, Verdict},
};

/// What a judgement starts from.
pub(super) struct Looked {
    /// `None` only where no policy is asked.
    pub input: Option<Arc<Input>>,
    /// The event's subject with the head and base that were read.
    pub subject: Subject,
    pub at: Option<RepoAt>,
    /// Whether the pull request is open; `None` if this is not about one.
    pub open: Option<bool>,
    pub base_ref: Option<String>,
    /// When the pull request had last changed, by GitHub's answer.
    pub updated_at: Option<Time>,
    /// That answer is from before what an event told.
    pub behind: bool,
    /// Other pull requests on this head, as far as GitHub shows them.
    pub shared_head: Vec<u64>,
    /// The pull requests of a merge group.
    pub carries: Vec<u64>,
    /// The pull requests that this concerns and is not about; `None`: not known, or it is about one.
    pub concerns: Option<Vec<u64>>,
    /// When the facts were frozen.
    pub frozen_at: Time,
    /// A push of a branch whose pusher the payload does not show.
    pub pusher_unknown: bool,
    /// GitHub could not be asked: to be judged again when it is back.
    pub without_github: bool,
    /// The decision where no policy is asked.
    pub verdict: Option<Verdict>,
    /// Something that was asked for could not be had.
    pub incomplete: bool,
    /// Of a push to a watched branch.
    pub landing: Option<MergeVerdict>,
}

impl Gate {
    /// Gathers what the controls need and freezes it.
    pub(super) async fn look(
        &self,
        item: &Item,
        older: &[Item],
        handling: Handling,
        bundle: Arc<Bundle>,
    ) -> Result<Looked, Trouble> {
        let Some(event) = item.event.as_deref() else {
            return Ok(self.look_at_nothing(item, "the payload could not be read"));
        };
        let payload = match self.payload_of(item.seq) {
            Ok(payload) => payload,
            Err(e) => return Ok(self.look_at_nothing(item, &e)),
        };
        let about = self.about(item, handling);
        let at = repo_at(event);
        let (mut facts, mut behind) = (bare(event), false);
        if let Some(at) = &at {
            match about {
                SubjectKind::PullRequest => {
                    behind = self.look_at_pull(item, older, at, event, &mut facts).await?;
                }
                SubjectKind::MergeGroup => behind = self.look_at_group(item, at, event, &mut facts).await?,
                _ => {}
            }
        } else if about != SubjectKind::None {
            missing(&mut facts, about, "the delivery names no installation or repository");
        }
        if about == SubjectKind::Ref {
            let push = push_of(event, &payload);
            facts.target =
                push.as_ref().map(|p| TargetRef { ref_kind: p.ref_kind, name: p.ref_name.clone() });
            facts.push = push;
        }
        let header = header(item, event);
        let (mut merged, mut concerns) = (None, None);
        if let Some(at) = &at {
            let early = match Input::new(about, header.clone(), payload.clone(), &facts) {
                Ok(early) => Arc::new(early),
                Err(e) => return Ok(self.look_at_nothing(item, &e.to_string())),
            };
            let watched = about == SubjectKind::Ref && self.is_watched_push(item);
            let (done, landing) = self.complete(at, early, &payload, facts, bundle, watched).await?;
            facts = done;
            concerns = concerned_pulls(&facts, landing.as_ref());
            if watched {
                merged = self.merge_verdict(at, &facts, landing.as_ref()).await?;
            }
        }
        facts.time = Time::now();
        self.add_waivers(&mut facts);
        let tagged = tagged_commit(event, &payload);
        let input = match Input::new(about, header, payload, &facts) {
            Ok(input) => Arc::new(input),
            Err(e) => return Ok(self.look_at_nothing(item, &e.to_string())),
        };
        let mut subject = subject_of(event, about, &facts);
        if let (SubjectKind::Ref, Some(commit)) = (about, tagged) {
            subject.head = Some(commit);
        }
        let (known_head, known_open) = self.known_place(at.as_ref(), &subject);
        subject.head = subject.head.or(known_head);
        let entries = facts.merge_group.iter().flat_map(|g| g.entries.iter().flatten());
        Ok(Looked {
            subject,
            // One that GitHub does not show any more is as open as it was: what stood green must turn.
            open: facts.change.as_ref().map(|c| c.pull_request.state == "open").or(known_open),
            updated_at: facts.change.as_ref().map(|c| c.pull_request.updated_at),
            behind,
            shared_head: facts.change.as_ref().map(|c| c.shared_head.clone()).unwrap_or_default(),
            carries: entries.map(|c| c.pull_request.number).collect(),
            concerns,
            base_ref: facts.change.as_ref().map(|c| c.pull_request.base.name.clone()),
            pusher_unknown: facts.push.as_ref().is_some_and(|p| p.pusher.is_none()),
            frozen_at: facts.time,
            input: Some(input),
            at,
            without_github: false,
            verdict: None,
            incomplete: !facts.facts.missing.is_empty(),
            landing: merged,
        })
    }

    /// Whether GitHub's answer is from before what an event told.
    pub(super) async fn look_at_pull(
        &self,
        item: &Item,
        older: &[Item],
        at: &RepoAt,
        event: &Event,
        facts: &mut Facts,
    ) -> Result<bool, Trouble> {
        let About::PullRequest(pull) = &event.about else { return Ok(false) };
        let floor = self.floor(at, pull, item, older);
        match gather::pull(&self.0.github, at, pull.number, &floor).await {
            Ok(pulled) => {
                facts.target = Some(TargetRef {
                    ref_kind: crate::event::RefKind::Branch,
                    name: pulled.change.pull_request.base.name.clone(),
                });
                facts.change = Some(pulled.change);
                facts.facts.missing.extend(pulled.missing);
                return Ok(pulled.behind);
            }
            Err(t) if t.kind == TroubleKind::Gone => missing(facts, SubjectKind::PullRequest, &t.reason),
            Err(t) => return Err(t),
        }
        Ok(false)
    }

    /// Whether GitHub's answer on a pull request that it carries is from before what an event told.
    async fn look_at_group(
        &self,
        item: &Item,
        at: &RepoAt,
        event: &Event,
        facts: &mut Facts,
    ) -> Result<bool, Trouble> {
        let About::MergeGroup { head, head_ref, base, base_ref, .. } = &event.about else { return Ok(false) };
        let name = base_ref.strip_prefix("refs/heads/").unwrap_or(base_ref).to_owned();
        facts.target = Some(TargetRef { ref_kind: crate::event::RefKind::Branch, name: name.clone() });
        let group = MergeGroup {
            head_sha: head.clone(),
            head_ref: head_ref.clone(),
            base_sha: base.clone(),
            base_ref: name,
            entries: None,
        };
        let floor = |number: u64| self.floor_in_group(at, number, item);
        match gather::merge_group(&self.0.github, at, &group, &floor).await {
            Ok(grouped) => {
                facts.merge_group = Some(grouped.group);
                facts.facts.missing.extend(grouped.missing);
                return Ok(grouped.behind);
            }
            Err(t) if t.kind == TroubleKind::Gone => {
                facts.merge_group = Some(group);
                missing(facts, SubjectKind::MergeGroup, &t.reason);
            }
            Err(t) => return Err(t),
        }
        Ok(false)
    }

    /// Asks the controls what they need, and fetches it; of a push to a watched branch also what the merge
    /// verdict needs.
    async fn complete(
        &self,
        at: &RepoAt,
        early: Arc<Input>,
        payload: &Value,
        facts: Facts,
        bundle: Arc<Bundle>,
        watched: bool,
    ) -> Result<(Facts, Option<Landing>), Trouble> {
        let needs = self.0.judge.needs(bundle, early).await;
        let mut needs: Needs = needs.into_iter().map(|n| (n.fact, n.id)).collect();
        if watched {
            needs.extend(["landed", "base_rules"].map(|fact| (fact.to_owned(), None)));
        }
        if let Some(change) = &facts.change {
            let read = needs.iter().map(|(fact, _)| fact.clone()).collect();
            lock(&self.0.pulls).read(at.repository.id, change.pull_request.number, read);
        }
        self.gathered(at, facts, &needs, payload).await
    }

    /// Fetches what was asked for, and adds what only the ledger knows of it.
    pub(super) async fn gathered(
        &self,
        at: &RepoAt,
        facts: Facts,
        needs: &Needs,
        payload: &Value,
    ) -> Result<(Facts, Option<Landing>), Trouble> {
        let known = self.known(&facts, payload);
        let needs = self.needs_of_waivers(&facts, needs);
        let done = gather::complete(&self.0.github, at, facts, &needs, &known).await?;
        let mut facts = self.with_landed(at.repository.id, done.facts, done.landing.as_ref());
        if let Some(rules) = &mut facts.base_rules {
            let settings = &self.0.settings;
            rules.required = Some(rules.demands(&settings.check_name, settings.app_id));
        }
        if let (Some(deployment), Some(proof)) = (&mut facts.deployment, &done.deploying) {
            self.add_what_was_allowed(&at.repository, deployment, proof, known.deployed_from.as_deref());
        }
        facts.facts.complete = facts.facts.missing.is_empty();
        facts.facts.fetched_at = Time::now();
        Ok((facts, done.landing))
    }

    /// GitHub did not answer for too long: every control that needs it is `error`.
    pub(super) fn look_without_github(&self, item: &Item, trouble: &Trouble) -> Looked {
        let handling = item.event.as_deref().map_or(Handling::BARE, crate::event::handling);
        let about = self.about(item, handling);
        let reason = format!("GitHub could not be asked: {}", trouble.reason);
        let mut looked = self.look_empty(item, about, Some(&reason));
        looked.without_github = true;
        if looked.input.is_none() {
            return self.look_at_nothing(item, &reason);
        }
        looked
    }

    /// No policy is asked: the decision is `error`, with the reason.
    pub(super) fn look_at_nothing(&self, item: &Item, reason: &str) -> Looked {
        let handling = item.event.as_deref().map_or(Handling::BARE, crate::event::handling);
        let mut looked = self.look_empty(item, self.about(item, handling), None);
        looked.verdict = Some(self.no_verdict(reason));
        looked
    }

    pub(super) fn no_verdict(&self, reason: &str) -> Verdict {
        Verdict {
            decision: Decision::Error,
            reason: format!("Cannot decide: {reason}"),
            controls: vec![],
            valid_until: None,
            bundle: self.bundle().digest().to_owned(),
            engine: ENGINE.to_owned(),
            rewriter: REWRITER,
            answers: vec![],
        }
    }

    fn look_empty(&self, item: &Item, about: SubjectKind, gone: Option<&str>) -> Looked {
        let event = item.event.as_deref();
        let mut facts = event.map_or_else(|| status(None), bare);
        if let Some(reason) = gone {
            missing(&mut facts, about, reason);
        }
        let header = event.map_or_else(|| unreadable_header(item), |e| header(item, e));
        let payload = event.and_then(|_| self.payload_of(item.seq).ok()).unwrap_or(Value::Null);
        let subject = event.map_or(Subject::NONE, |e| subject_of(e, about, &facts));
        let at = event.and_then(repo_at);
        let (known_head, open) = self.known_place(at.as_ref(), &subject);
        Looked {
            input: Input::new(about, header, payload, &facts).ok().map(Arc::new),
            subject: Subject { head: subject.head.clone().or(known_head), ..subject },
            at,
            open,
            base_ref: None,
            updated_at: None,
            behind: false,
            shared_head: vec![],
            carries: vec![],
            concerns: None,
            pusher_unknown: false,
            frozen_at: facts.time,
            without_github: false,
            verdict: None,
            incomplete: false,
            landing: None,
        }
    }

    /// Head of a pull request and whether it is open, as far as payloads and answers have told.
    fn known_place(&self, at: Option<&RepoAt>, subject: &Subject) -> (Option<Sha>, Option<bool>) {
        match (at, subject.kind, subject.id) {
            (Some(at), SubjectKind::PullRequest, Some(number)) => {
                let pulls = lock(&self.0.pulls);
                let id = at.repository.id;
                (pulls.head(id, number), Some(pulls.is_open(id, number)))
            }
            _ => (None, None),
        }
    }

    /// On what an event is judged. A replayed body gives no facts: GitHub signs only the body, so
    /// anyone who saw it could send it again under a new GUID. It may cause another look, no more.
    fn about(&self, item: &Item, handling: Handling) -> SubjectKind {
        match handling.judge {
            On::PullRequest => SubjectKind::PullRequest,
            On::Ref if item.replayed => SubjectKind::None,
            On::Ref => SubjectKind::Ref,
            On::MergeGroup => SubjectKind::MergeGroup,
            On::Bare if !item.replayed && item.event.as_deref().is_some_and(super::deployments::asks) => {
                SubjectKind::Deployment
            }
            On::Bare => SubjectKind::None,
        }
    }
}

/// The event that [`super::drafts::look_again`] records.
pub(super) fn own_event(at: &PullAddress, cause: impl Into<Option<Cause>>) -> Event {
    Event {
        name: "gatelog".into(),
        action: Some("look_again".into()),
        source: Source::Gatelog,
        cause: cause.into(),
        installation: Some(at.installation),
        organization: at.organization,
        repository: Some(at.repository.clone()),
        sender: None,
        about: About::PullRequest(PullRequestRef { number: at.number, ..PullRequestRef::default() }),
    }
}

/// The pull requests of a merge group, those that a push landed, those that brought a deployed commit.
fn concerned_pulls(facts: &Facts, landing: Option<&Landing>) -> Option<Vec<u64>> {
    let mut numbers: Vec<u64> = if let Some(group) = &facts.merge_group {
        group.entries.as_ref()?.iter().map(|c| c.pull_request.number).collect()
    } else if let Some(push) = &facts.push {
        let landed = push.landed.as_ref()?.pull_requests.iter().map(|p| p.number);
        landed.chain(landing.into_iter().flat_map(|l| &l.merged).map(|m| m.number)).collect()
    } else {
        facts.deployment.as_ref()?.pull_requests.iter().map(|p| p.number).collect()
    };
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

pub(super) fn repo_at(event: &Event) -> Option<RepoAt> {
    Some(RepoAt { installation: event.installation?, repository: event.repository.clone()? })
}

pub(super) fn status(repository: Option<crate::event::Repository>) -> Facts {
    let now = Time::now();
    Facts {
        time: now,
        repository,
        target: None,
        change: None,
        push: None,
        merge_group: None,
        teams: Default::default(),
        organizations: Default::default(),
        base_rules: None,
        secret_alerts: None,
        deployment: None,
        waivers: vec![],
        commands: vec![],
        facts: Status { complete: true, missing: vec![], fetched_at: now },
    }
}

fn bare(event: &Event) -> Facts {
    status(event.repository.clone())
}

/// Nothing could be read: whatever a control needs is missing, the fact that the rest hangs on first.
fn missing(facts: &mut Facts, about: SubjectKind, reason: &str) {
    let first = match about {
        SubjectKind::PullRequest => Some("pull_request"),
        SubjectKind::MergeGroup => Some("merge_group"),
        SubjectKind::Ref => Some("push_commits"),
        SubjectKind::Deployment => Some("deployment"),
        _ => None,
    };
    // Without a pull request every control is an error, whatever it needs: it is missing only where it is asked for.
    let rest =
        FACTS.iter().map(|(name, _)| *name).filter(|name| Some(*name) != first && *name != "pull_request");
    facts.facts.complete = false;
    facts.facts.missing.extend(first.into_iter().chain(rest).map(|fact| Missing {
        fact: fact.into(),
        id: None,
        reason: reason.to_owned(),
    }));
}

pub(super) fn header(item: &Item, event: &Event) -> EventHeader {
    EventHeader {
        name: event.name.clone(),
        action: event.action.clone(),
        delivery: item.guid.clone(),
        received_at: item.received_at,
        source: event.source,
        cause: event.cause,
    }
}

fn unreadable_header(item: &Item) -> EventHeader {
    EventHeader {
        name: "unreadable".into(),
        action: None,
        delivery: item.guid.clone(),
        received_at: item.received_at,
        source: Source::Github,
        cause: None,
    }
}

/// The subject of the verdict: the head that was judged, whatever the webhook said.
fn subject_of(event: &Event, about: SubjectKind, facts: &Facts) -> Subject {
    let mut subject = event.subject();
    if about == SubjectKind::PullRequest
        && let Some(Change { pull_request, .. }) = &facts.change
    {
        subject.head.clone_from(&pull_request.head.sha);
        subject.base.clone_from(&pull_request.base.sha);
    }
    subject
}

/// The commit that an annotated tag names: `after` is then the tag itself, which no check run can be on.
///
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>
fn tagged_commit(event: &Event, payload: &Value) -> Option<Sha> {
    let About::Ref(change) = &event.about else { return None };
    let commit = payload["head_commit"]["id"].as_str()?.parse().ok()?;
    (change.kind == crate::event::RefKind::Tag && change.after.is_some()).then_some(commit)
}

/// What `push`, `create` and `delete` payloads state.
///
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>
fn push_of(event: &Event, payload: &Value) -> Option<Push> {
    let About::Ref(change) = &event.about else { return None };
    let prefix = match change.kind {
        crate::event::RefKind::Branch => "refs/heads/",
        crate::event::RefKind::Tag => "refs/tags/",
    };
    let (pusher_kind, pusher) = super::pushers::pusher_of(event, payload);
    Some(Push {
        full_ref: format!("{prefix}{}", change.name),
        ref_kind: change.kind,
        ref_name: change.name.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
        created: change.created,
        deleted: change.deleted,
        forced: change.forced,
        pusher_kind: pusher_kind.into(),
        pusher,
        commits: None,
        on_default_branch: None,
        landed: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a control needs is named, so that none is judged as if it had been read.
    #[test]
    fn without_github_every_fact_is_missing() {
        for (about, first) in [
            (SubjectKind::PullRequest, "pull_request"),
            (SubjectKind::MergeGroup, "merge_group"),
            (SubjectKind::Ref, "push_commits"),
            (SubjectKind::Deployment, "deployment"),
            (SubjectKind::None, "reviews"),
        ] {
            let mut facts = status(None);
            missing(&mut facts, about, "GitHub could not be asked");
            assert!(!facts.facts.complete);
            let named: Vec<&str> = facts.facts.missing.iter().map(|m| m.fact.as_str()).collect();
            assert_eq!(named.first(), Some(&first), "{about:?}");
            for (fact, _) in FACTS.iter().filter(|(f, _)| *f != "pull_request") {
                assert_eq!(named.iter().filter(|n| *n == fact).count(), 1, "{about:?}: {fact}");
            }
            let whole = named.contains(&"pull_request");
            assert_eq!(whole, about == SubjectKind::PullRequest);
        }
    }
}
