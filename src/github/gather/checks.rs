//! Check runs and statuses of the head.

use serde::Deserialize;

use super::{Holes, final_reason, pull::REREADS};
use crate::{
    event::{Account, Sha},
    facts::{
        Change,
        checks::{self, Check, CheckApp, CheckKind, ToldCheck},
    },
    github::{Github, RepoAt, Trouble, call::As},
};

/// Pages of a hundred. GitHub lists the runs of the newest 1,000 suites.
const PAGES: usize = 20;

#[derive(Deserialize)]
struct Run {
    id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    app: Option<CheckApp>,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    context: String,
    state: String,
    creator: Option<Account>,
}

impl Github {
    /// Fills `checks`. An answer that is behind `told` after all re-reads is a missing fact.
    pub(super) async fn add_checks(
        &self,
        at: &RepoAt,
        change: &mut Change,
        told: &[ToldCheck],
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        let Some(head) = change.pull_request.head.sha.clone() else {
            holes.add("checks", None, "the pull request has no head");
            return Ok(());
        };
        let mut waits = REREADS.iter();
        loop {
            let shown = match self.checks_on(at, &head).await {
                Ok(shown) => shown,
                Err(trouble) => {
                    holes.add("checks", None, final_reason(trouble)?);
                    return Ok(());
                }
            };
            match (checks::behind(&shown, told), waits.next()) {
                (None, _) => {
                    change.checks = Some(shown);
                    return Ok(());
                }
                (Some(_), Some(wait)) => tokio::time::sleep(*wait).await,
                (Some(late), None) => {
                    let reason =
                        format!("GitHub's API does not show what it told of the check `{}`", late.name);
                    holes.add("checks", None, reason);
                    return Ok(());
                }
            }
        }
    }

    async fn checks_on(&self, at: &RepoAt, head: &Sha) -> Result<Vec<Check>, Trouble> {
        let who = As::Installation(at.installation);
        let path = at.path(&format!("/commits/{head}/check-runs?filter=latest&per_page=100"));
        let runs: Vec<Run> = self.all_in(who, path, "check_runs", PAGES).await?;
        let path = at.path(&format!("/commits/{head}/statuses?per_page=100"));
        let statuses: Vec<Status> = self.all_of(who, path, "statuses", PAGES).await?;
        let mut shown: Vec<Check> = runs.into_iter().map(Run::check).collect();
        // All there ever were, newest first.
        for status in statuses {
            let known = |c: &Check| c.kind == CheckKind::Status && c.name == status.context;
            if !shown.iter().any(known) {
                shown.push(status.check());
            }
        }
        shown.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(shown)
    }
}

impl Run {
    fn check(self) -> Check {
        let Self { id, name, status, conclusion, app } = self;
        Check { kind: CheckKind::CheckRun, id, name, app, creator: None, status, conclusion }
    }
}

impl Status {
    fn check(self) -> Check {
        let done = self.state != "pending";
        Check {
            kind: CheckKind::Status,
            id: self.id,
            name: self.context,
            app: None,
            creator: self.creator,
            status: if done { "completed" } else { "pending" }.to_owned(),
            conclusion: Some(self.state).filter(|_| done),
        }
    }
}
