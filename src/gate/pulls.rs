//! The open pull requests that gatelog knows of: which stand on a head, which to look at again.
//!
//! GitHub does not answer "which pull requests have this head" for heads in forks, so this index is
//! ours: filled from events and from `open_pulls` at start.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::drafts::PullAddress;
use crate::{
    event::{About, CheckRef, Event, PullRequestRef, RefKind, Repository, Sha},
    facts::checks::{CheckKind, ToldCheck},
    github::gather::Retargeted,
    time::Time,
    verdict::Decision,
};

/// How long after something was stated (a review, a check, a push) an answer without it is taken for late.
/// GitHub's replicas are seldom a second behind.
const FLOOR: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(super) struct Pulls {
    open: HashMap<(u64, u64), Open>,
    by_head: HashMap<Sha, BTreeSet<(u64, u64)>>,
    repositories: HashMap<u64, Known>,
    /// By repository and head: checks that events have told of lately.
    checks: HashMap<(u64, Sha), Vec<(ToldCheck, Time)>>,
    /// By repository and branch: where a push has told lately that it is.
    branches: HashMap<(u64, String), (Sha, Time)>,
    /// By repository: secret alerts that events have told of lately, and whether as open.
    alerts: HashMap<u64, Vec<(u64, bool, Time)>>,
}

#[derive(Default)]
struct Open {
    head: Option<Sha>,
    base_ref: Option<String>,
    /// When it had last changed, by the newest payload or answer.
    stated_at: Option<Time>,
    /// Reviews that payloads stated lately: id, state, when.
    reviews: Vec<(u64, String, Time)>,
    /// The newest change of its base that a payload stated lately, and when.
    retarget: Option<(Retargeted, Time)>,
    /// The facts that controls asked for when it was last looked at by this process.
    read: Option<BTreeSet<String>>,
    /// The newest decision on it, and the entry of its verdict.
    decided: Option<(Decision, u64)>,
    /// What a verdict was made of.
    judged: Option<Judged>,
}

/// A verdict, and what it was made of: anything newer has not been judged.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub verdict: u64,
    pub updated_at: Time,
    pub base_ref: String,
    /// When the event that was judged was recorded: what was read is younger.
    pub asked_at: Time,
}

/// GitHub tells in whole seconds when something changed, and clocks differ.
const SAME_SECOND: Duration = Duration::from_secs(2);

impl Judged {
    /// Something more may have changed in the very second, after it was read, and nothing would tell.
    pub fn may_lack(&self) -> bool {
        self.asked_at < self.updated_at.plus(SAME_SECOND)
    }
}

/// How to reach a repository.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub installation: u64,
    pub organization: Option<u64>,
    pub repository: Repository,
}

impl Pulls {
    /// Learns what an event says of its repository and pull request. What comes late says nothing about
    /// where the pull request stands now.
    pub fn learn(&mut self, event: &Event, now: Time) {
        self.learn_repository(event);
        self.learn_facts(event, now);
        let (Some(repository), About::PullRequest(pull)) = (&event.repository, &event.about) else { return };
        let id = repository.id;
        match pull.open {
            _ if self.is_late(id, pull) => {}
            Some(false) => self.close(id, pull.number),
            Some(true) => self.open(id, pull.number, pull.head.clone(), pull.base_ref.clone()),
            None => {}
        }
        if let Some(open) = self.open.get_mut(&(id, pull.number)) {
            open.stated_at = open.stated_at.max(pull.updated_at);
            open.reviews.retain(|(_, _, at)| now.since(*at) < FLOOR);
            open.reviews.extend(pull.review.clone().map(|(review, state)| (review, state, now)));
            if let Some(told) = retargeted(pull)
                && open.retarget.as_ref().is_none_or(|(known, _)| known.at <= told.at)
            {
                open.retarget = Some((told, now));
            }
        }
    }

    /// What the API must not fall behind of, beside pull requests: checks, and where branches are.
    fn learn_facts(&mut self, event: &Event, now: Time) {
        let Some(repository) = event.repository.as_ref().map(|r| r.id) else { return };
        match &event.about {
            About::Check(check) => {
                self.checks.retain(|_, told| {
                    told.retain(|(_, at)| now.since(*at) < FLOOR);
                    !told.is_empty()
                });
                if let (Some(head), Some(told)) = (&check.head, told(check)) {
                    self.checks.entry((repository, head.clone())).or_default().push((told, now));
                }
            }
            About::Ref(r) if r.kind == RefKind::Branch => {
                self.branches.retain(|_, (_, at)| now.since(*at) < FLOOR);
                let key = (repository, r.name.clone());
                match &r.after {
                    Some(after) => _ = self.branches.insert(key, (after.clone(), now)),
                    None if r.deleted => _ = self.branches.remove(&key),
                    None => {}
                }
            }
            About::SecretAlert { number, open } => {
                let told = self.alerts.entry(repository).or_default();
                told.retain(|(n, _, at)| n != number && now.since(*at) < FLOOR);
                told.push((*number, *open, now));
            }
            _ => {}
        }
    }

    /// Secret alerts that events have told of lately as open.
    pub fn open_alerts(&self, repository: u64, now: Time) -> Vec<u64> {
        let told = self.alerts.get(&repository).into_iter().flatten();
        told.filter(|(_, open, at)| *open && now.since(*at) < FLOOR).map(|(n, ..)| *n).collect()
    }

    /// Checks on a commit that events have told of lately, oldest first.
    pub fn told_of(&self, repository: u64, head: &Sha, now: Time) -> Vec<ToldCheck> {
        let told = self.checks.get(&(repository, head.clone())).into_iter().flatten();
        told.filter(|(_, at)| now.since(*at) < FLOOR).map(|(told, _)| told.clone()).collect()
    }

    /// Where a push has told lately that a branch is.
    pub fn branch_told(&self, repository: u64, branch: &str, now: Time) -> Option<Sha> {
        let told = self.branches.get(&(repository, branch.to_owned()));
        told.filter(|(_, at)| now.since(*at) < FLOOR).map(|(sha, _)| sha.clone())
    }

    /// Notes the facts that the controls of a pull request ask for.
    pub fn read(&mut self, repository: u64, number: u64, facts: BTreeSet<String>) {
        if let Some(open) = self.open.get_mut(&(repository, number)) {
            open.read = Some(facts);
        }
    }

    /// Whether the controls of a pull request read a fact; one not looked at by this process may.
    pub fn reads(&self, repository: u64, number: u64, fact: &str) -> bool {
        let open = self.open.get(&(repository, number));
        open.is_some_and(|o| o.read.as_ref().is_none_or(|facts| facts.contains(fact)))
    }

    /// The payload is older than what is known of the pull request.
    pub fn is_late(&self, repository: u64, pull: &PullRequestRef) -> bool {
        let known = self.stated_at(repository, pull.number);
        pull.updated_at.zip(known).is_some_and(|(payload, known)| payload < known)
    }

    pub fn stated_at(&self, repository: u64, number: u64) -> Option<Time> {
        self.open.get(&(repository, number))?.stated_at
    }

    /// GitHub's API has shown it as it was then.
    pub fn seen(&mut self, repository: u64, number: u64, updated_at: Option<Time>) {
        if let Some(open) = self.open.get_mut(&(repository, number)) {
            open.stated_at = open.stated_at.max(updated_at);
        }
    }

    /// Reviews that payloads have stated lately, in the order they came.
    pub fn reviews(&self, repository: u64, number: u64, now: Time) -> Vec<(u64, String)> {
        let open = self.open.get(&(repository, number));
        let lately = open.into_iter().flat_map(|o| &o.reviews).filter(|(_, _, at)| now.since(*at) < FLOOR);
        lately.map(|(id, state, _)| (*id, state.clone())).collect()
    }

    /// The newest change of its base that a payload has stated lately.
    pub fn retarget(&self, repository: u64, number: u64, now: Time) -> Option<Retargeted> {
        let (told, at) = self.open.get(&(repository, number))?.retarget.clone()?;
        Some(told).filter(|_| now.since(at) < FLOOR)
    }

    pub fn decide(&mut self, repository: u64, number: u64, decision: Decision, verdict: u64) {
        if let Some(open) = self.open.get_mut(&(repository, number)) {
            open.decided = Some((decision, verdict));
        }
    }

    pub fn decided(&self, repository: u64, number: u64) -> Option<(Decision, u64)> {
        self.open.get(&(repository, number))?.decided
    }

    pub fn judge(&mut self, repository: u64, number: u64, judged: Judged) {
        if let Some(open) = self.open.get_mut(&(repository, number)) {
            open.judged = Some(judged);
        }
    }

    /// What this verdict was made of, if it is the one last noted.
    pub fn judged(&self, repository: u64, number: u64, verdict: u64) -> Option<Judged> {
        let judged = self.open.get(&(repository, number))?.judged.clone();
        judged.filter(|j| j.verdict == verdict)
    }

    pub fn learn_repository(&mut self, event: &Event) {
        if let (Some(repository), Some(installation)) = (&event.repository, event.installation) {
            let mut repository = repository.clone();
            if repository.default_branch.is_none() {
                repository.default_branch =
                    self.repositories.get(&repository.id).and_then(|k| k.repository.default_branch.clone());
            }
            let organization = event.organization;
            self.repositories.insert(repository.id, Known { installation, organization, repository });
        }
    }

    /// A repository as an installation lists it.
    pub fn know(&mut self, known: Known) {
        self.repositories.insert(known.repository.id, known);
    }

    /// An open pull request, as GitHub or a payload states it.
    pub fn open(&mut self, repository: u64, number: u64, head: Option<Sha>, base_ref: Option<String>) {
        let key = (repository, number);
        let before = self.open.remove(&key).unwrap_or_default();
        if let Some(head) = &before.head {
            self.forget_head(head, key);
        }
        let head = head.or_else(|| before.head.clone());
        let base_ref = base_ref.or_else(|| before.base_ref.clone());
        if let Some(head) = &head {
            self.by_head.entry(head.clone()).or_default().insert(key);
        }
        self.open.insert(key, Open { head, base_ref, ..before });
    }

    pub fn close(&mut self, repository: u64, number: u64) {
        if let Some(Open { head: Some(head), .. }) = self.open.remove(&(repository, number)) {
            self.forget_head(&head, (repository, number));
        }
    }

    fn forget_head(&mut self, head: &Sha, key: (u64, u64)) {
        if let Some(keys) = self.by_head.get_mut(head) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_head.remove(head);
            }
        }
    }

    pub fn is_open(&self, repository: u64, number: u64) -> bool {
        self.open.contains_key(&(repository, number))
    }

    pub fn head(&self, repository: u64, number: u64) -> Option<Sha> {
        self.open.get(&(repository, number)).and_then(|o| o.head.clone())
    }

    /// Numbers of the open pull requests of a repository on this head, ascending.
    pub fn on_head(&self, repository: u64, head: &Sha) -> Vec<u64> {
        let keys = self.by_head.get(head).into_iter().flatten();
        keys.filter(|(r, _)| *r == repository).map(|(_, n)| *n).collect()
    }

    pub fn numbers(&self, repository: u64) -> Vec<u64> {
        self.open.keys().filter(|(r, _)| *r == repository).map(|(_, n)| *n).collect()
    }

    pub fn of_repository(&self, repository: u64) -> Vec<PullAddress> {
        self.addresses(|key, _| key.0 == repository)
    }

    /// Open pull requests of an organisation; of the installation where the organisation is not known.
    pub fn of_organization(&self, organization: Option<u64>, installation: Option<u64>) -> Vec<PullAddress> {
        self.addresses(|key, _| {
            self.repositories.get(&key.0).is_some_and(|known| match (organization, known.organization) {
                (Some(a), Some(b)) => a == b,
                _ => Some(known.installation) == installation,
            })
        })
    }

    /// Open pull requests into a branch. One whose base is not known counts as into it.
    pub fn with_base(&self, repository: u64, branch: &str) -> Vec<PullAddress> {
        self.addresses(|key, open| {
            key.0 == repository && open.base_ref.as_deref().is_none_or(|b| b == branch)
        })
    }

    fn addresses(&self, wanted: impl Fn(&(u64, u64), &Open) -> bool) -> Vec<PullAddress> {
        let mut keys: Vec<_> = self.open.iter().filter(|(k, o)| wanted(k, o)).map(|(k, _)| *k).collect();
        keys.sort_unstable();
        keys.into_iter().filter_map(|(repository, number)| self.address(repository, number)).collect()
    }

    pub fn address(&self, repository: u64, number: u64) -> Option<PullAddress> {
        let known = self.repositories.get(&repository)?.clone();
        Some(PullAddress {
            installation: known.installation,
            organization: known.organization,
            repository: known.repository,
            number,
        })
    }

    pub fn everywhere(&self) -> Vec<PullAddress> {
        self.addresses(|_, _| true)
    }

    /// By its name as it was last told, without case.
    pub fn repository_named(&self, name: &str) -> Option<Known> {
        let mut known = self.repositories.values();
        known.find(|k| k.repository.name.as_str().eq_ignore_ascii_case(name)).cloned()
    }

    pub fn repositories(&self) -> Vec<Known> {
        let mut all: Vec<_> = self.repositories.values().cloned().collect();
        all.sort_by_key(|k| k.repository.id);
        all
    }

    pub fn repository(&self, id: u64) -> Option<Known> {
        self.repositories.get(&id).cloned()
    }
}

/// The change of the base that a payload tells of.
pub(super) fn retargeted(pull: &PullRequestRef) -> Option<Retargeted> {
    Some(Retargeted { from: pull.old_base.clone()?, to: pull.base_ref.clone()?, at: pull.updated_at })
}

/// What an event states of a check run or status; nothing of a suite.
fn told(check: &CheckRef) -> Option<ToldCheck> {
    let (kind, id) = match (check.check_run, check.status) {
        (Some(id), _) => (CheckKind::CheckRun, id),
        (None, Some(id)) => (CheckKind::Status, id),
        (None, None) => return None,
    };
    let (app, conclusion) = (check.app_id, check.conclusion.clone());
    Some(ToldCheck { kind, id, app, name: check.name.clone()?, conclusion })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(c: char) -> Sha {
        c.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn a_head_is_shared_until_one_moves_or_closes() {
        let mut pulls = Pulls::default();
        pulls.open(1, 7, Some(sha('a')), Some("main".into()));
        pulls.open(1, 8, Some(sha('a')), None);
        pulls.open(2, 9, Some(sha('a')), None);
        assert_eq!(pulls.on_head(1, &sha('a')), [7, 8]);
        pulls.open(1, 8, Some(sha('b')), None);
        assert_eq!(pulls.on_head(1, &sha('a')), [7]);
        pulls.close(1, 7);
        assert_eq!(pulls.on_head(1, &sha('a')), [] as [u64; 0]);
        assert!(!pulls.is_open(1, 7) && pulls.is_open(1, 8));
    }

    fn stated(at: i64, head: char, open: bool, review: Option<(u64, &str)>) -> Event {
        let pull = PullRequestRef {
            number: 7,
            head: Some(sha(head)),
            open: Some(open),
            updated_at: Time::from_unix_micros(at * 1_000_000),
            review: review.map(|(id, state)| (id, state.to_owned())),
            ..PullRequestRef::default()
        };
        let mut event = super::super::look::own_event(&address(), crate::event::Cause::Start);
        event.about = About::PullRequest(pull);
        event
    }

    fn address() -> PullAddress {
        let repository = Repository { id: 1, name: "o/r".parse().unwrap(), default_branch: None };
        PullAddress { installation: 1, organization: None, repository, number: 7 }
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix_micros(seconds * 1_000_000).unwrap()
    }

    #[test]
    fn what_comes_late_moves_nothing() {
        let mut pulls = Pulls::default();
        pulls.learn(&stated(20, 'b', true, None), at(20));
        pulls.learn(&stated(10, 'a', true, None), at(21));
        pulls.learn(&stated(15, 'b', false, None), at(22));
        assert_eq!(pulls.head(1, 7), Some(sha('b')));
        pulls.seen(1, 7, Some(at(30)));
        pulls.learn(&stated(25, 'c', true, None), at(31));
        assert_eq!(pulls.head(1, 7), Some(sha('b')));
        pulls.learn(&stated(30, 'c', true, None), at(32));
        assert_eq!(pulls.head(1, 7), Some(sha('c')), "of the same second: the one that came last");
        pulls.learn(&stated(33, 'c', false, None), at(33));
        assert!(!pulls.is_open(1, 7));
    }

    #[test]
    fn a_review_is_a_floor_for_a_while() {
        let mut pulls = Pulls::default();
        pulls.learn(&stated(10, 'a', true, Some((5, "APPROVED"))), at(10));
        pulls.learn(&stated(11, 'a', true, Some((5, "DISMISSED"))), at(11));
        let both = [(5, "APPROVED".to_owned()), (5, "DISMISSED".to_owned())];
        assert_eq!(pulls.reviews(1, 7, at(100)), both);
        assert_eq!(pulls.reviews(1, 7, at(200)), []);
    }

    fn retarget(at: i64, from: &str, to: &str) -> Event {
        let mut event = stated(at, 'a', true, None);
        if let About::PullRequest(pull) = &mut event.about {
            (pull.old_base, pull.base_ref) = (Some(from.to_owned()), Some(to.to_owned()));
        }
        event
    }

    #[test]
    fn a_change_of_the_base_is_a_floor_for_a_while() {
        let mut pulls = Pulls::default();
        pulls.learn(&retarget(10, "dev", "main"), at(10));
        pulls.learn(&stated(11, 'a', true, None), at(11));
        let told = |pulls: &Pulls, now| pulls.retarget(1, 7, at(now)).map(|r| (r.from, r.to, r.at));
        let is = |from: &str, to: &str, s| Some((from.to_owned(), to.to_owned(), Some(at(s))));
        assert_eq!(told(&pulls, 100), is("dev", "main", 10), "whatever came after it");
        pulls.learn(&retarget(12, "main", "next"), at(12));
        pulls.learn(&retarget(10, "dev", "main"), at(13));
        assert_eq!(told(&pulls, 100), is("main", "next", 12), "the newest, though an older one came late");
        assert_eq!(told(&pulls, 200), None);
    }

    #[test]
    fn what_an_event_does_not_say_stays() {
        let mut pulls = Pulls::default();
        pulls.open(1, 7, Some(sha('a')), Some("main".into()));
        pulls.open(1, 7, None, None);
        assert_eq!(pulls.head(1, 7), Some(sha('a')));
    }
}
