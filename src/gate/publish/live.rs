//! Targets whose run is in progress, as GitHub shows it by our last report.
//!
//! While an alarm lasts, what was allowed shows so, and its report covers the verdict: nothing else would bring it
//! up again, neither when an operator has looked, nor at a start.

use std::collections::HashSet;

use super::super::{Gate, lock, pulls::Known};
use crate::{github::RepoAt, ledger::entry::ReportData, verdict::Target};

#[derive(Debug, Default)]
pub(in crate::gate) struct Live(HashSet<Target>);

impl Live {
    pub(in crate::gate) fn reported(&mut self, data: &ReportData) {
        match data.check_run.is_some() && data.conclusion.is_none() {
            true => _ = self.0.insert(data.target.clone()),
            false => _ = self.0.remove(&data.target),
        }
    }
}

impl Gate {
    /// Has the publisher look at every run that is in progress, or only at those of pushes.
    pub(in crate::gate) fn show_live(&self, pushes_only: bool) {
        let live: Vec<Target> = lock(&self.0.publisher.live).0.iter().cloned().collect();
        for target in live.into_iter().filter(|t| !pushes_only || t.check != self.0.settings.check_name) {
            let known = lock(&self.0.pulls).repository(target.repository);
            if let Some(Known { installation, repository, .. }) = known {
                self.touch(target, RepoAt { installation, repository }, |_| {});
            }
        }
    }
}
