//! What may be remembered between evaluations, and for how long.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Who is in a team and who may do what: five minutes, or until an event says that it changed.
#[derive(Default)]
pub struct PeopleCaches {
    epoch: AtomicU64,
}

impl PeopleCaches {
    /// Part of every key. What is read before the epoch changes is stored under the old one, so an
    /// answer that was under way cannot come back.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(in crate::github) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a commit id fixes for ever.
#[derive(Default)]
pub struct ShaCaches {}

/// How long people and permissions are believed without an event.
pub(super) const PEOPLE_LIVE: Duration = Duration::from_secs(300);
