//! Open heads without our completed run, and pull requests that changed since they were judged, are judged.

use serde_json::json;

use super::{Budget, Found, Known};
use crate::{
    event::Cause,
    gate::{Gate, drafts::PullAddress, lock},
    github::{RepoAt, Trouble, gather},
    ledger::entry::Ref,
    verdict::Target,
};

impl Gate {
    pub(super) async fn sweep_heads(
        &self,
        at: &RepoAt,
        known: &Known,
        last: Option<u64>,
        budget: &mut Budget,
        found: &mut Found,
    ) -> Result<(), Trouble> {
        if budget.lists == 0 {
            return Ok(());
        }
        let id = at.repository.id;
        let open = gather::open_pulls(&self.0.github, at).await?;
        budget.lists = budget.lists.saturating_sub(1 + open.len() as u64 / 100);
        found.counts.open += open.len();
        for pull in open {
            lock(&self.0.pulls).open(id, pull.number, Some(pull.head.clone()), Some(pull.base_ref.clone()));
            if self.has_answer(id, &pull) {
                self.show_again(at, &pull);
                continue;
            }
            // What the list shows, the look must not fall behind of.
            lock(&self.0.pulls).seen(id, pull.number, Some(pull.updated_at));
            let address = PullAddress {
                installation: known.installation,
                organization: known.organization,
                repository: known.repository.clone(),
                number: pull.number,
            };
            let after = last.map_or(0, |seq| seq + 1);
            let key = format!("sweep:{after}:{id}:{}:{}", pull.number, pull.head);
            let refs = last.map(Ref::Seq).into_iter().collect();
            // A store that takes nothing now: the next sweep asks again.
            if self.look_again(&address, Cause::Sweep, refs, key).await.is_ok() {
                let again = json!({"repository": id, "number": pull.number, "head": pull.head});
                found.judged_again.push(again);
            }
        }
        Ok(())
    }

    /// A head that has its verdict, which may not be what is shown: the publisher looks. What was withheld
    /// because GitHub refused it is tried again.
    fn show_again(&self, at: &RepoAt, pull: &gather::OpenPull) {
        let check = self.0.settings.check_name.clone();
        let target = Target { repository: at.repository.id, sha: pull.head.clone(), check };
        let shown = self.shown(&target);
        if self.0.settings.publish && shown.is_none_or(|s| s.conclusion.is_none() || s.covers.is_empty()) {
            self.touch(target, at.clone(), |_| {});
        }
    }
}
