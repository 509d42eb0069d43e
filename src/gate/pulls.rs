//! The open pull requests that gatelog knows of: which stand on a head, which to look at again.
//!
//! GitHub does not answer "which pull requests have this head" for heads in forks, so this index is
//! ours: filled from events and from `open_pulls` at start.

use std::collections::{BTreeSet, HashMap};

use super::drafts::PullAddress;
use crate::event::{About, Event, Repository, Sha};

#[derive(Default)]
pub(super) struct Pulls {
    open: HashMap<(u64, u64), Open>,
    by_head: HashMap<Sha, BTreeSet<(u64, u64)>>,
    repositories: HashMap<u64, Known>,
}

struct Open {
    head: Option<Sha>,
    base_ref: Option<String>,
}

/// How to reach a repository.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub installation: u64,
    pub organization: Option<u64>,
    pub repository: Repository,
}

impl Pulls {
    /// Learns what an event says of its repository and pull request.
    pub fn learn(&mut self, event: &Event) {
        self.learn_repository(event);
        let (Some(repository), About::PullRequest(pull)) = (&event.repository, &event.about) else { return };
        match pull.open {
            Some(false) => self.close(repository.id, pull.number),
            Some(true) => self.open(repository.id, pull.number, pull.head.clone(), pull.base_ref.clone()),
            None => {}
        }
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
        let before = self.open.remove(&key);
        if let Some(head) = before.as_ref().and_then(|o| o.head.as_ref()) {
            self.forget_head(&head.clone(), key);
        }
        let head = head.or_else(|| before.as_ref().and_then(|o| o.head.clone()));
        let base_ref = base_ref.or_else(|| before.and_then(|o| o.base_ref));
        if let Some(head) = &head {
            self.by_head.entry(head.clone()).or_default().insert(key);
        }
        self.open.insert(key, Open { head, base_ref });
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

    pub fn repositories(&self) -> Vec<Known> {
        let mut all: Vec<_> = self.repositories.values().cloned().collect();
        all.sort_by_key(|k| k.repository.id);
        all
    }

    pub fn repository(&self, id: u64) -> Option<Known> {
        self.repositories.get(&id).cloned()
    }
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

    #[test]
    fn what_an_event_does_not_say_stays() {
        let mut pulls = Pulls::default();
        pulls.open(1, 7, Some(sha('a')), Some("main".into()));
        pulls.open(1, 7, None, None);
        assert_eq!(pulls.head(1, 7), Some(sha('a')));
    }
}
