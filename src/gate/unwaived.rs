//! Exceptions that end because what they said was erased: what stood on them is judged again.

use super::{Gate, again::pace, drafts::PullAddress, lock};
use crate::{
    event::Cause,
    ledger::entry::{Kind, Ref, WaiverData, WaiverStep},
    time::Time,
};

impl Gate {
    /// Forgets what an erasure took of the exceptions, or it would be written anew with the next verdict.
    pub(super) fn forget_erased(&self) {
        let told = lock(&self.0.waivers).told_by();
        let is_gone = |seq: &u64| matches!(self.0.ledger.has_body(*seq, "waiver"), Ok(false));
        let gone: Vec<u64> = told.into_iter().filter(is_gone).collect();
        if gone.is_empty() {
            return;
        }
        for seq in &gone {
            lock(&self.0.waivers).forget(*seq);
        }
        let gate = self.clone();
        // If the process dies meanwhile, the next start does it.
        tokio::spawn(async move { gate.look_at_what_was_waived(&gone).await });
    }

    /// Looks again, once for each erasure, at the open pull requests that these steps may concern: a green may stand
    /// on what they said.
    pub(super) async fn look_at_what_was_waived(&self, erased: &[u64]) {
        for seq in erased {
            let erasure = self.0.ledger.erasure_of(*seq, "waiver").ok().flatten().map_or(*seq, |e| e.seq);
            for at in self.waived_by(*seq) {
                let key = format!("erased:{erasure}:{}:{}", at.repository.id, at.number);
                let refs = vec![Ref::Seq(erasure)];
                if self.look_again_for_sure(&at, Cause::Waiver, refs, key).await.is_none() {
                    return;
                }
                tokio::time::sleep(pace()).await;
            }
        }
    }

    /// The open pull requests that a step has made an exception for which would still hold.
    fn waived_by(&self, seq: u64) -> Vec<PullAddress> {
        let step = |seq: u64| {
            let entry = self.0.ledger.entry(seq).ok()??.entry;
            let data = serde_json::from_value::<WaiverData>(entry.data.clone()).ok()?;
            (entry.kind == Kind::Waiver).then_some((entry.subject, data))
        };
        let Some((subject, data)) = step(seq) else { return vec![] };
        let until = data.until.or_else(|| step(data.of?)?.1.until);
        let began = matches!(data.step, WaiverStep::Granted | WaiverStep::Requested | WaiverStep::Approved);
        if !began || until.is_none_or(|until| until <= Time::now()) {
            return vec![];
        }
        self.concerned_by((subject.repository, subject.id))
    }

    /// The open pull requests that an exception may concern: of one repository or all, one of them or all.
    pub(super) fn concerned_by(&self, (repository, pull): (Option<u64>, Option<u64>)) -> Vec<PullAddress> {
        let pulls = lock(&self.0.pulls);
        let all = match repository {
            Some(id) => pulls.of_repository(id),
            None => pulls.everywhere(),
        };
        all.into_iter().filter(|at| pull.is_none_or(|n| at.number == n)).collect()
    }
}
