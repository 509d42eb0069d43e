//! Which exceptions of the ledger one judgement is given.
//!
//! One that goes on after a push is tied here to the head that is judged, if nobody who made it has pushed a
//! commit of the change: judging itself needs no pushes, and what was judged can be judged again.

use super::{Gate, lock, waivers::Held};
use crate::{
    event::Sha,
    facts::{Change, Facts, pushes, waivers::Waiver},
    github::gather::Needs,
};

impl Gate {
    /// The ledger's exceptions, and what was answered to commands at this head.
    pub(super) fn add_waivers(&self, facts: &mut Facts) {
        let Some(repository) = facts.repository.as_ref().map(|r| r.id) else { return };
        let held: Vec<Held> = {
            let waivers = lock(&self.0.waivers);
            if let Some(pull) = facts.change.as_ref().map(|c| &c.pull_request) {
                facts.commands = waivers.answers((repository, pull.number), pull.head.sha.as_ref());
            }
            waivers.of_repository(repository, facts.time).into_iter().cloned().collect()
        };
        facts.waivers = held.iter().filter_map(|h| self.in_force(h, facts)).collect();
    }

    /// What is needed to know whether an exception goes on: who pushed.
    pub(super) fn needs_of_waivers(&self, facts: &Facts, needs: &Needs) -> Needs {
        let mut needs = needs.clone();
        let Some(repository) = facts.repository.as_ref().map(|r| r.id) else { return needs };
        let waivers = lock(&self.0.waivers);
        let about = |h: &&Held| h.waiver.scope.pull_request.is_some_and(|n| change_of(facts, n).is_some());
        if waivers
            .of_repository(repository, facts.time)
            .into_iter()
            .filter(|h| h.goes_on())
            .any(|h| about(&h))
        {
            needs.insert(("pushes".to_owned(), None));
        }
        needs
    }

    fn in_force(&self, held: &Held, facts: &Facts) -> Option<Waiver> {
        let mut waiver = held.waiver.clone();
        if held.goes_on() {
            let number = waiver.scope.pull_request?;
            let head = match change_of(facts, number) {
                Some(change) => head_of_others(held, change),
                None => self.head_then(waiver.entry?, number, facts),
            };
            waiver.scope.head = Some(head?);
        }
        Some(waiver)
    }

    /// Of a push that a pull request landed with: the head that this exception held at when that was allowed.
    fn head_then(&self, entry: u64, number: u64, facts: &Facts) -> Option<Sha> {
        let landed = facts.push.as_ref()?.landed.as_ref()?;
        let pull = landed.pull_requests.iter().find(|p| p.number == number)?;
        let body = self.0.ledger.body(pull.verdict?, "facts").ok()??;
        let then: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let waiver = then["waivers"].as_array()?.iter().find(|w| w["entry"].as_u64() == Some(entry))?;
        waiver["head"].as_str()?.parse().ok()
    }
}

/// The head, if nobody who made the exception pushed a commit of the change.
fn head_of_others(held: &Held, change: &Change) -> Option<Sha> {
    let pushers = pushes::pushers(&change.commits, change.pushes.as_deref()?)?;
    change.pull_request.head.sha.clone().filter(|_| !held.made_by_one_of(&pushers))
}

/// The pull request of this number, if it is among what is judged.
fn change_of(facts: &Facts, number: u64) -> Option<&Change> {
    let entries = facts.merge_group.iter().filter_map(|g| g.entries.as_ref()).flatten();
    facts.change.iter().chain(entries).find(|c| c.pull_request.number == number)
}
