//! Whether somebody may do what a command asks for.

use std::collections::BTreeSet;

use super::{Asked, Gate, HOUR, Held, writes};
use crate::{
    event::{About, Account, Sha},
    facts::{
        Change, pushes,
        waivers::{EVERY_CONTROL, WaiverKind},
    },
    github::Trouble,
    ledger::entry::Kind,
    policy::{By, Rules, WaiveRule},
    time::Time,
};

/// An exception that is asked for, or that waits.
pub(super) struct Wanted<'a> {
    pub controls: &'a [String],
    pub from: Time,
    pub until: Time,
    /// Goes on when the head moves.
    pub keeps: bool,
}

/// Whether the policies let this be waived by comment. `Err`: why not.
pub(super) fn may_be_waived(rule: &WaiveRule, wanted: &Wanted<'_>) -> Result<(), String> {
    if let Some(id) = beyond(&rule.controls, wanted.controls) {
        return Err(format!("{id} may not be waived by comment"));
    }
    if wanted.until <= wanted.from {
        return Err("it would have ended before it began".to_owned());
    }
    let latest = wanted.from.plus(24 * HOUR * rule.max_days);
    if wanted.until > latest {
        let days = rule.max_days;
        return Err(format!("an exception lasts at most {days} days: until {}", latest.minute()));
    }
    if wanted.keeps && !rule.keeps_on_push {
        return Err("an exception does not go on after a push any more: ask again".to_owned());
    }
    Ok(())
}

/// A control of `wanted` that is not among those allowed.
fn beyond<'w>(allowed: &[String], wanted: &'w [String]) -> Option<&'w String> {
    let every = allowed.iter().any(|c| c == EVERY_CONTROL);
    wanted.iter().find(|id| !every && !allowed.contains(id))
}

impl Gate {
    /// One that no control of the policies has.
    pub(super) fn unknown_control<'c>(&self, controls: &'c [String]) -> Option<&'c String> {
        let bundle = self.bundle();
        controls.iter().find(|id| bundle.controls().iter().all(|c| c.id != **id))
    }

    /// Whether the policies let whoever gave the command, on this change of somebody else. `Err`: why not.
    pub(super) async fn may_here(&self, asked: &Asked<'_>, by: &By) -> Result<Result<(), String>, Trouble> {
        let may = self.may(asked, by, &asked.given.by, asked.level).await?;
        Ok(may.and_then(|()| self.is_others_change(asked)))
    }

    /// Whether the policies let this person, as GitHub says now. `Err`: who may.
    pub(super) async fn may(
        &self,
        asked: &Asked<'_>,
        by: &By,
        person: &Account,
        level: &str,
    ) -> Result<Result<(), String>, Trouble> {
        if by.permission.is_some_and(|p| p.reached_by(level)) {
            return Ok(Ok(()));
        }
        for team in &by.teams {
            match self.0.github.is_member_now(asked.at, team, person).await? {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => {}
                Err(why) => return Ok(Err(format!("it could not be read who is in @{team}: {why}"))),
            }
        }
        Ok(Err(format!("only {} may", by.words())))
    }

    /// Whether whoever asked for what waits may ask for it still.
    pub(super) async fn asker_may(
        &self,
        asked: &Asked<'_>,
        by: &By,
        held: &Held,
    ) -> Result<Result<(), String>, Trouble> {
        let login = &held.by.login;
        let no = || Ok(Err(format!("@{login}, who asked, may not any more: ask again")));
        let Some(id) = held.by.id else { return no() };
        let asker = Account { id, login: login.clone(), kind: "User".to_owned() };
        let level = match self.0.github.level_now(asked.at, &asker).await? {
            Ok(level) => level,
            Err(why) => return Ok(Err(format!("it could not be read what @{login}, who asked, may: {why}"))),
        };
        // Whoever has the name now and is somebody else has no level; teams are asked by name alone.
        if !writes(&level) {
            return no();
        }
        match self.may(asked, by, &asker, &level).await? {
            Ok(()) => Ok(Ok(())),
            Err(_) => no(),
        }
    }

    /// Whether what waits is for what the pull request is now, and may be asked for by the policies of now.
    pub(super) fn still_waits(&self, asked: &Asked<'_>, rules: &Rules, held: &Held) -> Result<(), String> {
        let scope = &held.waiver.scope;
        let other = |what: &str| {
            Err(format!("the pull request has another {what} than when this was asked for: ask again"))
        };
        if scope.head.as_ref().is_some_and(|head| *head != asked.head) {
            return other("head");
        }
        if scope.branch.as_deref() != Some(&*asked.base()) {
            return other("base");
        }
        let controls = &held.waiver.controls;
        match (held.waiver.kind, &rules.waive, &rules.break_glass) {
            (WaiverKind::BreakGlass, _, Some(rule)) => match beyond(&rule.controls, controls) {
                Some(id) => Err(format!("{id} is not waived by break-glass any more: ask again")),
                None => Ok(()),
            },
            (WaiverKind::Waiver, Some(rule), _) => {
                if let Some(id) = self.unknown_control(controls) {
                    return Err(format!("no control has the id {id} any more"));
                }
                let (from, until) = (held.waiver.from, held.waiver.until);
                may_be_waived(rule, &Wanted { controls, from, until, keeps: scope.head.is_none() })
            }
            _ => Err("the policies allow it no more".to_owned()),
        }
    }

    /// Whether the change is still somebody else's than theirs who asked.
    pub(super) fn did_not_push(&self, asked: &Asked<'_>, held: &Held) -> Result<(), String> {
        if held.made_by_one_of(&asked.pushers()?) {
            return Err("whoever asked has pushed to it since: somebody else asks again".to_owned());
        }
        Ok(())
    }

    /// Somebody else's change, at the head and for the base that were there when the comment was written.
    fn is_others_change(&self, asked: &Asked<'_>) -> Result<(), String> {
        let me = asked.given.by.id;
        let pull = &asked.change.pull_request;
        if pull.user.as_ref().is_some_and(|u| u.id == me) {
            return Err("the author of a pull request makes no exception for it".to_owned());
        }
        if asked.pushers()?.contains(&me) {
            return Err("whoever pushed a commit of it makes no exception for it".to_owned());
        }
        let (repository, number) = asked.pull();
        if self.moved_at(repository, number, &asked.head).is_none_or(|moved| moved >= asked.given.at) {
            return Err(
                "the head moved after the comment was written: look at it, and write it again".to_owned()
            );
        }
        // Both by GitHub's clock, in whole seconds.
        if pull.retarget.as_ref().is_some_and(|r| r.at >= asked.given.at) {
            return Err("the base was changed after the comment was written: look at it, and write it again"
                .to_owned());
        }
        Ok(())
    }

    /// When the pull request came to its head, by GitHub's clock where an event told of it.
    fn moved_at(&self, repository: u64, number: u64, head: &Sha) -> Option<Time> {
        let (mut now, mut moved) = (None, None);
        for seq in self.0.ledger.of_pull(repository, number) {
            let Ok(Some(stored)) = self.0.ledger.entry(seq) else { continue };
            let Some(sha) = stored.entry.subject.head.clone() else { continue };
            if !matches!(stored.entry.kind, Kind::Event | Kind::Verdict) || now.as_ref() == Some(&sha) {
                continue;
            }
            moved = Some((seq, stored.entry.time));
            now = Some(sha);
        }
        let (seq, recorded) = moved.filter(|_| now.as_ref() == Some(head))?;
        let stated = self.recorded_event(seq).and_then(|event| match event.about {
            About::PullRequest(pull) => pull.updated_at,
            _ => None,
        });
        Some(stated.unwrap_or(recorded))
    }
}

impl Asked<'_> {
    /// Everyone who pushed a commit of the change. `Err`: that is not known.
    fn pushers(&self) -> Result<BTreeSet<u64>, String> {
        let pushes = self.change.pushes.as_deref().unwrap_or_default();
        pushes::pushers(&self.change.commits, pushes).ok_or_else(|| {
            "who pushed one of its commits is not known, so nobody is known not to be that person".to_owned()
        })
    }

    /// Whether whoever gave the command did nothing of what is to be reviewed.
    pub(super) fn had_no_part(&self, held: &Held) -> Result<(), String> {
        let me = self.given.by.id;
        if worked_on(self.change).any(|u| u.id == me)
            || held.made_by_one_of(&BTreeSet::from([me]))
            || self.pushers()?.contains(&me)
        {
            return Err(NO_PART.to_owned());
        }
        Ok(())
    }
}

/// Who may review an emergency.
pub(super) const NO_PART: &str = "it is reviewed by somebody who had no part in it";

/// Accounts that opened a change, are named in its commits, or pushed one, as far as they are known. Clean
/// updates from the base are nobody's work.
pub(super) fn worked_on(change: &Change) -> impl Iterator<Item = &Account> {
    let work = change.commits.iter().filter(|c| !c.update_merge);
    let named = work.flat_map(|c| c.authors.iter().chain([&c.author, &c.committer]));
    let pushed = pushes::of_work(&change.commits, change.pushes.as_deref().unwrap_or_default());
    let author = change.pull_request.user.iter();
    author.chain(named.filter_map(|p| p.user.as_ref())).chain(pushed.filter_map(|p| p.user.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_held_to_the_rules_of_now() {
        let time = |s: &str| s.parse::<Time>().unwrap();
        let rule = |controls: &[&str], max_days, keeps_on_push| WaiveRule {
            by: By::default(),
            controls: controls.iter().map(|c| (*c).to_owned()).collect(),
            approvals: 2,
            max_days,
            keeps_on_push,
        };
        let controls = ["CHG-02".to_owned()];
        let (from, until) = (time("2026-11-24T12:00:00Z"), time("2026-12-01T12:00:00Z"));
        let says = |rule: &WaiveRule, keeps| {
            may_be_waived(rule, &Wanted { controls: &controls, from, until, keeps })
        };
        assert_eq!(says(&rule(&["CHG-02"], 7, false), false), Ok(()));
        assert_eq!(says(&rule(&["*"], 7, true), true), Ok(()));
        for (rule, keeps, why) in [
            (rule(&["CHG-05"], 7, true), false, "CHG-02 may not be waived by comment"),
            (rule(&["CHG-02"], 6, true), false, "an exception lasts at most 6 days: until 2026-11-30 12:00"),
            (rule(&["CHG-02"], 7, false), true, "does not go on after a push any more"),
        ] {
            let said = says(&rule, keeps).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let ended = Wanted { controls: &controls, from: until, until, keeps: false };
        assert!(may_be_waived(&rule(&["*"], 7, false), &ended).is_err());
    }
}
