//! What may be remembered between evaluations, and for how long.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;

use super::owners::OwnersFile;
use crate::event::Sha;

/// How long people and permissions are believed without an event.
const PEOPLE_LIVE: Duration = Duration::from_secs(300);

/// A person and a team, or the like, take some hundred bytes.
const MANY: u64 = 50_000;

/// CODEOWNERS files, by what they take in memory.
const OWNERS_BYTES: u64 = 64 << 20;

/// A key that an event makes worthless: what is read before [`PeopleCaches::forget`] is stored under
/// the old epoch, so an answer that was under way cannot come back.
pub(super) type Dated<K> = (u64, K);

/// Who is in a team and who may do what: five minutes, or until an event says that it changed.
pub struct PeopleCaches {
    epoch: AtomicU64,
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

impl Default for PeopleCaches {
    fn default() -> Self {
        Self {
            epoch: AtomicU64::new(0),
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
    pub(super) fn dated<K>(&self, key: K) -> Dated<K> {
        (self.epoch.load(Ordering::Acquire), key)
    }

    pub(in crate::github) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
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
