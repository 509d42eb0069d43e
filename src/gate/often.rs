//! How often somebody may ask for something. Begins anew with the process.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use crate::time::Time;

/// When each asked, as far back as it counts.
#[derive(Debug)]
pub struct Often<K>(HashMap<K, VecDeque<Time>>);

impl<K> Default for Often<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Often<K> {
    /// Whether `who` may once more, not counting those longer ago than `within`; counted if so.
    pub fn may(&mut self, who: K, now: Time, most: usize, within: Duration) -> bool {
        self.0.retain(|_, times| {
            times.retain(|t| now.since(*t) < within);
            !times.is_empty()
        });
        let times = self.0.entry(who).or_default();
        let may = times.len() < most;
        if may {
            times.push_back(now);
        }
        may
    }
}
