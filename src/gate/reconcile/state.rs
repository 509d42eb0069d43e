//! What earlier sweeps left: read back from the bodies of their entries, kept in memory between sweeps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    event::{RepoName, Sha},
    ledger::{Ledger, entry::Kind},
    time::Time,
};

/// Between sweeps.
#[derive(Default)]
pub(in crate::gate) struct Sweeps {
    state: Option<State>,
    /// The entry of the last sweep.
    pub(super) last: Option<u64>,
    /// Sweeps since the whole state was written; 0: this process has not written it yet.
    pub(super) since_whole: usize,
    /// Deletions of refs that events told. They have no head by which the ledger would find them.
    pub(super) deleted: BTreeSet<Deletion>,
}

/// A deletion of a ref, as a `push` tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deletion {
    pub repository: u64,
    pub full_ref: String,
    /// The last commit.
    pub before: Option<Sha>,
    pub event: u64,
    pub recorded_at: Time,
}

/// What is compared with next time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub deliveries: DeliveryState,
    pub repositories: BTreeMap<u64, RepoState>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct DeliveryState {
    /// GitHub's list was read whole up to here.
    pub listed_until: Option<Time>,
    /// Entries below this were compared with GitHub's list.
    pub compared_until: u64,
    /// GUID → what was asked for again and has not come.
    pub asked: BTreeMap<String, Asked>,
    /// GUID → entry of a delivery that GitHub's list does not have; said aloud when the next list does not
    /// have it either.
    pub unlisted: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub times: u32,
    /// When GitHub first tried.
    pub at: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RepoState {
    pub name: RepoName,
    pub pushed_at: Option<String>,
    /// The patterns that `branches` was made with.
    pub watched: String,
    /// Watched branches, without `refs/heads/`.
    pub branches: BTreeMap<String, Tip>,
    /// Without `refs/tags/`.
    pub tags: BTreeMap<String, Sha>,
    /// Changes that no event tells, and whose webhook may still come.
    pub waiting: BTreeSet<String>,
    /// In this process.
    #[serde(skip)]
    pub read_at: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tip {
    pub sha: Sha,
    /// The newest activity that was accounted for.
    pub activity: Option<u64>,
}

impl RepoState {
    /// Whether there is nothing to write.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.name.as_str() == other.name.as_str()
            && self.pushed_at == other.pushed_at
            && self.watched == other.watched
            && self.branches == other.branches
            && self.tags == other.tags
            && self.waiting == other.waiting
    }
}

impl State {
    /// The state, or what changed of it.
    pub(super) fn to_write(&self, whole: bool, changed: &[u64]) -> Value {
        let known: Vec<u64> = self.repositories.keys().copied().collect();
        let repositories: BTreeMap<_, _> =
            self.repositories.iter().filter(|(id, _)| whole || changed.contains(id)).collect();
        json!({"deliveries": self.deliveries, "repositories": repositories, "known": known})
    }

    /// Lays what a later sweep wrote over this.
    fn fold(&mut self, written: &Value) -> serde_json::Result<()> {
        let newer = State::deserialize(written)?;
        self.deliveries = newer.deliveries;
        self.repositories.extend(newer.repositories);
        let known: BTreeSet<u64> = Deserialize::deserialize(&written["known"])?;
        self.repositories.retain(|id, _| known.contains(id));
        Ok(())
    }
}

impl Sweeps {
    /// Knows which entries earlier sweeps wrote: from the last with a whole state on.
    pub(in crate::gate) fn of(ledger: &Ledger, entries: &[u64]) -> Self {
        let mut state = None;
        for seq in entries {
            // A body that was erased: what it said of refs is gone, and they are looked at as if new.
            let Ok(Some(body)) = ledger.body(*seq, "sweep") else { continue };
            let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
            if let Err(e) = state.get_or_insert_with(State::default).fold(&body["state"]) {
                tracing::warn!(entry = *seq, "the state of a sweep cannot be read: {e}");
            }
        }
        Self { state, last: entries.last().copied(), since_whole: 0, deleted: BTreeSet::new() }
    }

    pub(super) fn state(&mut self, ledger: &Ledger) -> Result<State, String> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        // The first sweep of this ledger: from its first entry on.
        let first = ledger.entry(0).map_err(|e| e.to_string())?;
        let deliveries =
            DeliveryState { listed_until: first.map(|f| f.entry.time), ..DeliveryState::default() };
        Ok(State { deliveries, repositories: BTreeMap::new() })
    }

    pub(super) fn recorded(&mut self, seq: u64, state: State, whole: bool) {
        self.state = Some(state);
        self.last = Some(seq);
        self.since_whole = if whole { 1 } else { self.since_whole + 1 };
    }
}

/// Takes note of an entry while the ledger is read at start: which sweeps are needed for the state.
pub(in crate::gate) fn note(sweeps: &mut Vec<u64>, entry: &crate::ledger::entry::Entry) {
    if entry.kind != Kind::Reconcile {
        return;
    }
    if entry.data["whole_state"] == json!(true) {
        sweeps.clear();
    }
    sweeps.push(entry.seq);
}
