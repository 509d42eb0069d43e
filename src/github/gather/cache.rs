//! What may be remembered between evaluations, and for how long.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::future::Cache;

use super::owners::OwnersFile;
use crate::event::{Account, Circle, Membership, Sha};

/// How long people and permissions are believed without an event.
const PEOPLE_LIVE: Duration = Duration::from_secs(300);

/// How long GitHub's answers may contradict its own event about people. What is read in that time is
/// forgotten at its end.
const SETTLING: Duration = Duration::from_secs(60);

/// A person and a team, or the like, take some hundred bytes.
const MANY: u64 = 50_000;

/// CODEOWNERS files, by what they take in memory.
const OWNERS_BYTES: u64 = 64 << 20;

/// A key that an event makes worthless: what is read before [`PeopleCaches::forget`] is stored under
/// the old epoch, so an answer that was under way cannot come back. Nor does one that was read right
/// after the event, when GitHub may not have shown the change everywhere: that is an epoch of its own.
pub(super) type Dated<K> = (Epoch, K);

/// Changes to people so far, and whether the last of them is [`SETTLING`].
pub(super) type Epoch = (u64, bool);

/// Who is in a team and who may do what: five minutes, or until an event says that it changed.
pub struct PeopleCaches {
    changes: Mutex<Changes>,
    /// (repository, account) → level.
    pub(super) permission: Cache<Dated<(u64, u64)>, String>,
    /// (installation, `org/slug`) → members.
    pub(super) team: Cache<Dated<(u64, String)>, Arc<Roster>>,
    /// (team, repository) → may write.
    pub(super) team_writes: Cache<Dated<(u64, u64)>, bool>,
    /// (team, account) → active member; only for teams too large to be listed.
    pub(super) team_member: Cache<Dated<(u64, u64)>, bool>,
    /// (installation, organisation, account) → member.
    pub(super) org_member: Cache<Dated<(u64, String, u64)>, bool>,
    /// (installation, organisation): seen to exist.
    pub(super) org_seen: Cache<Dated<(u64, String)>, ()>,
    /// (repository, e-mail) → login, if a commit shows one.
    pub(super) email: Cache<Dated<(u64, String)>, Option<String>>,
}

/// A team as listed.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) id: u64,
    /// `None`: too many to list; each person is asked for.
    pub(super) members: Option<Vec<u64>>,
}

fn people<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> Cache<K, V> {
    Cache::builder().max_capacity(MANY).time_to_live(PEOPLE_LIVE).build()
}

/// What events said about people.
#[derive(Default)]
struct Changes {
    number: u64,
    /// When the last of them settles.
    settled: Option<Instant>,
    /// (team or organisation, account) → member, until when that is remembered.
    stated: HashMap<(Circle, u64), (bool, Instant)>,
}

impl Default for PeopleCaches {
    fn default() -> Self {
        Self {
            changes: Mutex::default(),
            permission: people(),
            team: people(),
            team_writes: people(),
            team_member: people(),
            org_member: people(),
            org_seen: people(),
            email: people(),
        }
    }
}

impl PeopleCaches {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dated<K>(&self, key: K) -> Dated<K> {
        let changes = self.changes();
        ((changes.number, changes.settled.is_some_and(|at| Instant::now() < at)), key)
    }

    pub(in crate::github) fn forget(&self) {
        let mut changes = self.changes();
        changes.number += 1;
        changes.settled = Some(Instant::now() + SETTLING);
    }

    /// What was read is forgotten, and nothing else is changed.
    pub(super) fn read_again(&self) {
        self.changes().number += 1;
    }

    /// Keeps in mind what an event stated: an answer that says otherwise is behind.
    pub(in crate::github) fn state(&self, said: &Membership) {
        self.forget();
        let now = Instant::now();
        let stated = &mut self.changes().stated;
        stated.retain(|_, (_, until)| now < *until);
        if stated.len() < MANY as usize {
            stated.insert((said.circle.clone(), said.account), (said.member, now + SETTLING));
        }
    }

    /// Whether an event stated a moment ago that one of `members` left one of `circles`, or that somebody
    /// joined the first of them who is not in `members`; of the latter only `asked`, where it is not all
    /// members that were read.
    pub(super) fn is_contradicted(
        &self,
        circles: &[Circle],
        members: &[u64],
        asked: Option<&[&Account]>,
    ) -> bool {
        let is_asked = |id: u64| asked.is_none_or(|asked| asked.iter().any(|a| a.id == id));
        let now = Instant::now();
        self.changes().stated.iter().any(|((circle, account), (is_member, until))| {
            if *until < now {
                return false;
            }
            match circles.iter().position(|c| c == circle) {
                Some(_) if !is_member => members.contains(account),
                Some(0) => is_asked(*account) && !members.contains(account),
                _ => false,
            }
        })
    }
}

/// What commit ids fix for ever.
pub struct ShaCaches {
    /// (repository, commit of the base) → the file, if there is one.
    pub(super) owners: Cache<(u64, Sha), Arc<OwnersFile>>,
    /// (repository, merge commit) → changed on top of the base what the pull request had changed.
    pub(super) clean: Cache<(u64, Sha), bool>,
    /// (repository, commit of the base, other commit) → the base contains it.
    pub(super) on_base: Cache<(u64, Sha, Sha), bool>,
}

impl Default for ShaCaches {
    fn default() -> Self {
        let weight =
            |_: &(u64, Sha), file: &Arc<OwnersFile>| u32::try_from(file.size + 200).unwrap_or(u32::MAX);
        Self {
            owners: Cache::builder().max_capacity(OWNERS_BYTES).weigher(weight).build(),
            clean: Cache::new(MANY),
            on_base: Cache::new(MANY),
        }
    }
}
