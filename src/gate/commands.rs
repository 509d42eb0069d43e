//! Commands in comments on a pull request, and what the operator does on the command line: exceptions asked
//! for, agreed to, ended, reviewed. Every step is an entry, a refusal too.
//!
//! Who may do what is read from GitHub at the moment of deciding, past every cache. Nobody makes an exception
//! for a change of their own: not its author, not whoever pushed a commit of it, not a second time in the role
//! of the second person.

use serde_json::json;

use super::{
    Gate, Item,
    drafts::{self, PullAddress},
    lock,
    look::repo_at,
    waivers::{COMMENT, Held, Review, Who, Words},
};
use crate::{
    event::{
        Account, Cause, Event, Sha, Source, Subject, SubjectKind,
        command::{self, Command, Given},
    },
    facts::{Change, waivers::WaiverKind},
    github::{
        RepoAt, Trouble, TroubleKind,
        gather::{self, Needs},
    },
    ledger::entry::{Draft, Key, Kind, Ref, WaiverData, WaiverStep},
    policy::Rules,
    time::Time,
};

mod checks;
mod operator;

pub use operator::{Exception, WaiverError};

/// `recheck` of one person on one pull request in an hour.
const RECHECKS: usize = 5;

/// A comment that comes later than this was looked at by nobody as it stands now: one that was never delivered
/// and is asked for again, or one sent again after its first copy was erased.
const LATE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// What follows from a command.
pub(super) struct Followed {
    /// The step that is recorded, with whether it is alarming.
    pub step: Option<(Draft, Option<String>)>,
    pub again: Vec<(PullAddress, Cause)>,
}

/// A command with what decides about it.
struct Asked<'a> {
    given: &'a Given,
    at: &'a RepoAt,
    change: &'a Change,
    /// Nobody signed what was read: GitHub's API told of the comment.
    unsigned: bool,
    /// Where the pull request stands.
    head: Sha,
    /// Level on the repository, as GitHub calls it.
    level: &'a str,
    now: Time,
}

/// A step to record: what it is, the words that stand in its body, and what to alert.
struct Step {
    data: WaiverData,
    words: Words,
    alert: Option<String>,
}

impl Gate {
    /// Carries out the command of an event, if it is one that counts. `None`: it is no command, or that of
    /// somebody who has no say here, who is not answered.
    ///
    /// # Errors
    /// GitHub cannot say now who may do what.
    pub(super) async fn command(&self, item: &Item) -> Result<Option<Followed>, Trouble> {
        let Some((event, given)) = self.given(item) else { return Ok(None) };
        let (Some(at), Some(address)) = (repo_at(event), drafts::address(event)) else { return Ok(None) };
        let change = match self.commented(&at, address.number, item).await {
            Ok(Some(change)) => change,
            Ok(None) => return Ok(None),
            Err(t) if t.kind == TroubleKind::Gone => return Ok(None),
            Err(t) => return Err(t),
        };
        let level = match self.0.github.level_now(&at, &given.by).await? {
            Ok(level) => level,
            Err(why) => {
                tracing::warn!("a command is not carried out: {why}");
                return Ok(None);
            }
        };
        let own = change.pull_request.user.as_ref().is_some_and(|u| u.id == given.by.id);
        if !writes(&level) && !own {
            tracing::info!(
                by = given.by.login,
                "a command of somebody without write access: nothing is done"
            );
            return Ok(None);
        }
        let Some(head) = change.pull_request.head.sha.clone() else { return Ok(None) };
        let again = vec![(address.clone(), Cause::Waiver)];
        if given.command == Ok(Command::Recheck) {
            let mut waivers = lock(&self.0.waivers);
            let who = (at.repository.id, address.number, given.by.id);
            if !waivers.may_recheck(who, Time::now(), RECHECKS, HOUR) {
                tracing::info!(
                    by = given.by.login,
                    "more than {RECHECKS} rechecks in an hour: nothing is done"
                );
                return Ok(Some(Followed { step: None, again: vec![] }));
            }
            return Ok(Some(Followed { step: None, again: vec![(address, Cause::Rerequested)] }));
        }
        let unsigned = event.source == Source::Api;
        let (given, at, change, level) = (&given, &at, &change, &*level);
        let asked = Asked { given, at, change, unsigned, head, level, now: Time::now() };
        let step = match self.decide(&asked).await? {
            Ok(step) => step,
            Err(why) => refusal(&asked, &why),
        };
        let subject = Subject {
            kind: SubjectKind::PullRequest,
            installation: Some(at.installation),
            organization: address.organization,
            repository: Some(at.repository.id),
            id: Some(address.number),
            head: Some(asked.head.clone()),
            ..Subject::NONE
        };
        let key = Key::Plain(format!("command:{}", item.seq));
        let draft = draft(subject, key, vec![Ref::Seq(item.seq)], &step);
        Ok(Some(Followed { step: Some((draft, step.alert)), again }))
    }

    /// An event sent again gives no command.
    fn given<'i>(&self, item: &'i Item) -> Option<(&'i Event, Given)> {
        let event = item.event.as_deref()?;
        if item.replayed || event.source == Source::Gatelog || event.name != "issue_comment" {
            return None;
        }
        let payload = self.payload_of(item.seq).ok()?;
        Some((event, command::given(&event.name, &payload)?))
    }

    /// The pull request as it stands, with who pushed it.
    async fn commented(&self, at: &RepoAt, number: u64, item: &Item) -> Result<Option<Change>, Trouble> {
        let stated = crate::event::PullRequestRef { number, ..Default::default() };
        let floor = self.floor(at, &stated, item, &[]);
        let pulled = gather::pull(&self.0.github, at, number, &floor).await?;
        let mut facts = super::look::status(Some(at.repository.clone()));
        facts.change = Some(pulled.change);
        let known = self.known(&facts, &serde_json::Value::Null);
        let needs = Needs::from([("pushes".to_owned(), None)]);
        Ok(gather::complete(&self.0.github, at, facts, &needs, &known).await?.facts.change)
    }

    /// `Err`: why not.
    async fn decide(&self, asked: &Asked<'_>) -> Result<Result<Step, String>, Trouble> {
        let command = match &asked.given.command {
            Ok(command) => command.clone(),
            Err(why) => return Ok(Err(why.clone())),
        };
        if asked.unsigned {
            return Ok(Err(
                "the comment did not arrive as GitHub signed it and was only read from its record of \
                           deliveries: write it again"
                    .to_owned(),
            ));
        }
        if asked.now.since(asked.given.at) > LATE {
            return Ok(Err(
                "the comment came more than 15 minutes after it was written: write it again".to_owned()
            ));
        }
        if asked.change.pull_request.state != "open" && !matches!(command, Command::Reviewed { .. }) {
            return Ok(Err("the pull request is closed".to_owned()));
        }
        let rules = self.bundle().waiving().rules.clone();
        match command {
            // Answered before.
            Command::Recheck => Ok(Err("nothing to do".to_owned())),
            Command::Waive { controls, paths, until, reason } => {
                self.waive(asked, &rules, controls, paths, until, reason).await
            }
            Command::BreakGlass { reason } => self.break_glass(asked, &rules, reason).await,
            Command::Approve { of } => self.approve(asked, &rules, of).await,
            Command::Revoke { of, reason } => Ok(self.revoke(asked, of, reason)),
            Command::Reviewed { of, note } => self.reviewed(asked, &rules, of, note).await,
        }
    }

    async fn waive(
        &self,
        asked: &Asked<'_>,
        rules: &Rules,
        controls: Vec<String>,
        paths: Vec<String>,
        until: Time,
        reason: String,
    ) -> Result<Result<Step, String>, Trouble> {
        let Some(rule) = &rules.waive else {
            return Ok(Err("the policies let nobody waive by comment (`data.waiving.waive`)".to_owned()));
        };
        if let Err(why) = self.may_here(asked, &rule.by).await? {
            return Ok(Err(why));
        }
        if let Some(id) = self.unknown_control(&controls) {
            return Ok(Err(format!("no control has the id {id}")));
        }
        let wanted =
            checks::Wanted { controls: &controls, from: asked.now, until, keeps: rule.keeps_on_push };
        if let Err(why) = checks::may_be_waived(rule, &wanted) {
            return Ok(Err(why));
        }
        if let Some(why) = paths.iter().find_map(|p| crate::policy::not_a_glob(p)) {
            return Ok(Err(why));
        }
        let waits = rule.approvals > 1;
        let what = format!("waive {}", controls.join(","));
        let answer = if waits {
            format!(
                "{what}: waits for a second person, who writes `/gatelog approve` with this entry's number"
            )
        } else {
            format!("{what}: holds until {}", until.minute())
        };
        let data = WaiverData {
            step: if waits { WaiverStep::Requested } else { WaiverStep::Granted },
            break_glass: false,
            of: None,
            controls,
            from: Some(asked.now),
            until: Some(until),
            head: Some(asked.head.clone()).filter(|_| !rule.keeps_on_push),
            review_due: None,
            via: COMMENT.to_owned(),
        };
        Ok(Ok(Step { data, words: Words { paths, ..asked.here(reason, answer) }, alert: None }))
    }

    async fn break_glass(
        &self,
        asked: &Asked<'_>,
        rules: &Rules,
        reason: String,
    ) -> Result<Result<Step, String>, Trouble> {
        let Some(rule) = &rules.break_glass else {
            return Ok(
                Err("the policies let nobody break the glass (`data.waiving.break_glass`)".to_owned()),
            );
        };
        if let Err(why) = self.may_here(asked, &rule.by).await? {
            return Ok(Err(why));
        }
        let waits = rule.approvals > 1;
        let until = asked.now.plus(HOUR * rule.hours);
        let due = asked.now.plus(HOUR * rule.review_within_hours);
        let answer = if waits {
            "break-glass: waits for a second person, who writes `/gatelog approve` with this entry's number"
                .to_owned()
        } else {
            format!("break-glass: holds until {}; to be reviewed until {}", until.minute(), due.minute())
        };
        let alert = format!("break-glass by @{} on #{}: {reason}", asked.given.by.login, asked.number());
        let data = WaiverData {
            step: if waits { WaiverStep::Requested } else { WaiverStep::Granted },
            break_glass: true,
            of: None,
            controls: rule.controls.clone(),
            from: Some(asked.now),
            until: Some(until),
            head: Some(asked.head.clone()),
            review_due: Some(due),
            via: COMMENT.to_owned(),
        };
        Ok(Ok(Step { data, words: asked.here(reason, answer), alert: Some(alert).filter(|_| !waits) }))
    }

    async fn approve(
        &self,
        asked: &Asked<'_>,
        rules: &Rules,
        of: Option<u64>,
    ) -> Result<Result<Step, String>, Trouble> {
        let waiting = lock(&self.0.waivers).requests(asked.pull(), asked.now);
        let of = match (of, waiting.as_slice()) {
            (Some(of), all) if all.contains(&of) => of,
            (Some(of), _) => {
                return Ok(Err(format!("entry {of} is no request that waits on this pull request")));
            }
            (None, [one]) => *one,
            (None, []) => return Ok(Err("no request waits on this pull request".to_owned())),
            (None, _) => {
                return Ok(Err("several requests wait: say which, by its entry's number".to_owned()));
            }
        };
        let Some(held) = lock(&self.0.waivers).get(of).cloned() else {
            return Ok(Err(format!("entry {of} is no request")));
        };
        let glass = held.waiver.kind == WaiverKind::BreakGlass;
        // By the rules of today: who may not ask any more may not agree either.
        let (by, hours, review) = match (glass, &rules.waive, &rules.break_glass) {
            (true, _, Some(rule)) => (&rule.by, Some(rule.hours), Some(rule.review_within_hours)),
            (false, Some(rule), _) => (&rule.by, None, None),
            _ => return Ok(Err("the policies allow it no more".to_owned())),
        };
        if let Err(why) = self.may_here(asked, by).await? {
            return Ok(Err(why));
        }
        if held.by.id == Some(asked.given.by.id) {
            return Ok(Err("whoever asked cannot be the second person".to_owned()));
        }
        if let Err(why) = self.still_waits(asked, rules, &held).and_then(|()| self.did_not_push(asked, &held))
        {
            return Ok(Err(why));
        }
        if let Err(why) = self.asker_may(asked, by, &held).await? {
            return Ok(Err(why));
        }
        let until = hours.map(|h| asked.now.plus(HOUR * h));
        let end = until.unwrap_or(held.waiver.until);
        let answer = format!("approve {of}: {} holds until {}", what(&held), end.minute());
        let alert = glass.then(|| {
            let (asker, reason) = (&held.by.login, &held.waiver.reason);
            format!("break-glass by @{asker} with @{} on #{}: {reason}", asked.given.by.login, asked.number())
        });
        let data = WaiverData {
            step: WaiverStep::Approved,
            break_glass: glass,
            of: Some(of),
            controls: vec![],
            from: until.map(|_| asked.now),
            until,
            head: None,
            review_due: review.map(|h| asked.now.plus(HOUR * h)),
            via: COMMENT.to_owned(),
        };
        Ok(Ok(Step { data, words: words(asked, "agreed".to_owned(), answer), alert }))
    }

    fn revoke(&self, asked: &Asked<'_>, of: u64, reason: String) -> Result<Step, String> {
        let held = self.held_here(asked, of)?;
        if !writes(asked.level) {
            return Err("only people with write access may".to_owned());
        }
        if held.revoked || held.waiver.until <= asked.now {
            return Err(format!("the exception of entry {of} has ended already"));
        }
        let answer = format!("revoke {of}: {} ended", what(&held));
        Ok(Step {
            data: later_step(WaiverStep::Revoked, of, &held, COMMENT),
            words: words(asked, reason, answer),
            alert: None,
        })
    }

    async fn reviewed(
        &self,
        asked: &Asked<'_>,
        rules: &Rules,
        of: u64,
        note: String,
    ) -> Result<Result<Step, String>, Trouble> {
        let held = match self.held_here(asked, of) {
            Ok(held) => held,
            Err(why) => return Ok(Err(why)),
        };
        if held.waits || !matches!(held.review, Review::Due(_) | Review::Overdue) {
            return Ok(Err(format!("entry {of} waits for no review")));
        }
        let Some(rule) = &rules.break_glass else {
            return Ok(Err("the policies say nobody who may (`data.waiving.break_glass`)".to_owned()));
        };
        if let Err(why) = self.may(asked, &rule.by, &asked.given.by, asked.level).await? {
            return Ok(Err(why));
        }
        if let Err(why) = asked.had_no_part(&held) {
            return Ok(Err(why));
        }
        let answer = format!("reviewed {of}: done");
        Ok(Ok(Step {
            data: later_step(WaiverStep::Reviewed, of, &held, COMMENT),
            words: words(asked, note, answer),
            alert: None,
        }))
    }

    fn held_here(&self, asked: &Asked<'_>, of: u64) -> Result<Held, String> {
        let held = lock(&self.0.waivers).get(of).cloned();
        held.filter(|h| h.pull == Some(asked.pull()))
            .ok_or_else(|| format!("entry {of} is no exception on this pull request"))
    }

    /// Learns a step that was just recorded, as a restart would.
    pub(super) fn learn_waiver(&self, seq: u64) {
        let Ok(Some(stored)) = self.0.ledger.entry(seq) else { return };
        lock(&self.0.waivers).note(&stored.entry, words_of(&self.0.ledger, seq));
        self.watch_review(seq);
    }

    /// Says so when the time for a review has passed.
    pub(super) fn watch_reviews(&self) {
        let due = lock(&self.0.waivers).due();
        for (seq, _) in due {
            self.watch_review(seq);
        }
    }

    fn watch_review(&self, seq: u64) {
        let due = move |gate: &Self| match lock(&gate.0.waivers).get(seq) {
            Some(held) if !held.waits => match held.review {
                Review::Due(at) => Some((at, held.clone())),
                _ => None,
            },
            _ => None,
        };
        let Some((at, _)) = due(self) else { return };
        let gate = self.clone();
        let mut stopping = self.0.stopping.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(at.since(Time::now())) => {}
                _ = stopping.wait_for(|s| *s) => return,
            }
            let Some((still, held)) = due(&gate).filter(|(now, _)| *now <= at) else { return };
            let by = Who { id: None, login: "gatelog".to_owned() };
            let reason = format!("not reviewed until {}", still.minute());
            let words = Words { answer: None, ..plain(by, reason) };
            let step =
                Step { data: later_step(WaiverStep::Overdue, seq, &held, "gatelog"), words, alert: None };
            let key = Key::Plain(format!("overdue:{seq}"));
            let draft = draft(subject_of(&held), key, vec![Ref::Seq(seq)], &step);
            if let Ok(receipts) = gate.append(vec![draft]).await
                && let Some(receipt) = receipts.first().filter(|r| !r.duplicate)
            {
                gate.learn_waiver(receipt.seq);
                let text = format!("the break-glass of entry {seq} was not reviewed in time");
                gate.alert("overdue_review", receipt.seq, None, &text);
            }
        });
    }
}

impl Asked<'_> {
    fn number(&self) -> u64 {
        self.change.pull_request.number
    }

    fn pull(&self) -> (u64, u64) {
        (self.at.repository.id, self.number())
    }

    /// A glob for the branch that it is to go into: an exception holds for no other.
    fn base(&self) -> String {
        crate::policy::quote_meta(&self.change.pull_request.base.name)
    }

    /// The words of an exception for this pull request into its base.
    fn here(&self, reason: String, answer: String) -> Words {
        Words { branch: Some(self.base()), ..words(self, reason, answer) }
    }
}

pub(super) fn writes(level: &str) -> bool {
    crate::policy::Permission::Write.reached_by(level)
}

fn refusal(asked: &Asked<'_>, why: &str) -> Step {
    let word = asked.given.command.as_ref().map_or("a command", Command::word);
    let answer = format!("{word}: refused: {why}");
    let data = WaiverData {
        step: WaiverStep::Refused,
        break_glass: matches!(asked.given.command, Ok(Command::BreakGlass { .. })),
        of: None,
        controls: vec![],
        from: None,
        until: None,
        head: None,
        review_due: None,
        via: COMMENT.to_owned(),
    };
    Step { data, words: words(asked, why.to_owned(), answer), alert: None }
}

/// A step of an exception that is there.
fn later_step(step: WaiverStep, of: u64, held: &Held, via: &str) -> WaiverData {
    WaiverData {
        step,
        break_glass: held.waiver.kind == WaiverKind::BreakGlass,
        of: Some(of),
        controls: vec![],
        from: None,
        until: None,
        head: None,
        review_due: None,
        via: via.to_owned(),
    }
}

fn words(asked: &Asked<'_>, reason: String, answer: String) -> Words {
    let Account { id, login, .. } = asked.given.by.clone();
    Words { answer: Some(answer), ..plain(Who { id: Some(id), login }, reason) }
}

fn plain(by: Who, reason: String) -> Words {
    Words { by, owner: None, reason, repository: None, branch: None, paths: vec![], answer: None }
}

/// What the ledger keeps of a step, without its body if that was erased.
pub(super) fn words_of(ledger: &crate::ledger::Ledger, seq: u64) -> Option<Words> {
    serde_json::from_slice(&ledger.body(seq, "waiver").ok()??).ok()
}

fn draft(subject: Subject, key: Key, refs: Vec<Ref>, step: &Step) -> Draft {
    let of = step.data.of.map(Ref::Seq).filter(|of| !refs.contains(of));
    Draft {
        kind: Kind::Waiver,
        subject,
        key,
        refs: refs.into_iter().chain(of).collect(),
        bodies: vec![("waiver".to_owned(), drafts::json_body(&json!(step.words)))],
        data: json!(step.data),
    }
}

fn subject_of(held: &Held) -> Subject {
    let repository = held.waiver.scope.repository_id;
    match (repository, held.waiver.scope.pull_request) {
        (Some(_), Some(_)) => Subject {
            kind: SubjectKind::PullRequest,
            repository,
            id: held.waiver.scope.pull_request,
            ..Subject::NONE
        },
        _ => Subject { repository, ..Subject::NONE },
    }
}

fn what(held: &Held) -> String {
    match held.waiver.kind {
        WaiverKind::BreakGlass => "break-glass".to_owned(),
        WaiverKind::Waiver => format!("the waiver of {}", held.waiver.controls.join(",")),
    }
}
