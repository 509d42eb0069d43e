//! Commits beyond the list: update merges, and who pushed the head.

use std::collections::HashSet;

use serde::Deserialize;

use super::{Holes, KnownPull, page};
use crate::{
    event::{Account, Sha},
    facts::{
        Change,
        pushes::{self, KnownPush},
        update_merge::{self, Candidate, Compared},
    },
    github::{Github, RepoAt, Trouble, rest::segment},
};

/// Pages of activity read to fill a gap: 500 pushes.
const ACTIVITY_PAGES: usize = 5;

impl Github {
    /// Marks the update merges of a change. What cannot be shown to be one is an ordinary commit.
    pub(super) async fn mark_update_merges(&self, at: &RepoAt, change: &mut Change) -> Result<(), Trouble> {
        let candidates = update_merge::candidates(&change.commits, self.inner.transport.signs);
        let mut proved: HashSet<Sha> = HashSet::new();
        for candidate in candidates {
            if self.still_on_base(at, change, &candidate.second).await? && self.clean(at, &candidate).await? {
                proved.insert(candidate.sha);
            }
        }
        for commit in &mut change.commits {
            commit.update_merge = proved.contains(&commit.sha);
        }
        Ok(())
    }

    /// The list of commits is what the base lacked when GitHub made it; a base that was changed or
    /// force-pushed since then is asked again.
    async fn still_on_base(&self, at: &RepoAt, change: &Change, commit: &Sha) -> Result<bool, Trouble> {
        let pr = &change.pull_request;
        if pr.retarget.is_none() && pr.base_force_pushed_at.is_none() {
            return Ok(true);
        }
        let Some(base) = &pr.base.sha else { return Ok(false) };
        let key = (at.repository.id, base.clone(), commit.clone());
        if let Some(known) = self.inner.shas.on_base.get(&key).await {
            return Ok(known);
        }
        let on_base = self.compare(at, base, commit).await?.is_some_and(|c| c.contains());
        self.inner.shas.on_base.insert(key, on_base).await;
        Ok(on_base)
    }

    async fn clean(&self, at: &RepoAt, c: &Candidate) -> Result<bool, Trouble> {
        let key = (at.repository.id, c.sha.clone());
        if let Some(known) = self.inner.shas.clean.get(&key).await {
            return Ok(known);
        }
        let merge = self.compare(at, &c.second, &c.sha).await?;
        let before = self.compare(at, &c.second, &c.first).await?;
        let (Some(merge), Some(before)) = (merge, before) else { return Ok(false) };
        let clean = update_merge::clean(&merge, &before);
        self.inner.shas.clean.insert(key, clean).await;
        Ok(clean)
    }

    /// `None`: GitHub cannot or will not compare them.
    pub(super) async fn compare(
        &self,
        at: &RepoAt,
        from: &Sha,
        to: &Sha,
    ) -> Result<Option<Compared>, Trouble> {
        // Files stand on the first page, however many commits it holds.
        let path = at.path(&format!("/compare/{from}...{to}?per_page=1"));
        match self.get(at.installation, &path).await {
            Ok(answer) if answer.status.is_success() => Ok(Some(answer.json()?)),
            Ok(_) => Ok(None),
            Err(trouble) if trouble.passes() => Err(trouble),
            Err(_) => Ok(None),
        }
    }

    /// Fills `pushes`. A pusher who cannot be had is a push without `user`, not a missing fact.
    pub(super) async fn add_pushes(
        &self,
        at: &RepoAt,
        change: &mut Change,
        known: Option<&KnownPull>,
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        if holes.has("commits") {
            holes.add("pushes", None, "the commits of the pull request are missing");
            return Ok(());
        }
        let Some(head) = change.pull_request.head.sha.clone() else {
            holes.add("pushes", None, "the pull request has no head");
            return Ok(());
        };
        let repository = change.pull_request.head.repo.clone();
        let all = known.map(|k| k.pushes.as_slice()).unwrap_or_default();
        let here = |p: &&KnownPush| repository.as_ref().is_some_and(|r| r.id == p.repository);
        let ledger: Vec<KnownPush> = all.iter().filter(here).cloned().collect();
        let mut chain = pushes::chain(&head, &change.commits, &ledger, &[]);
        if let Some(repository) = repository.filter(|_| !chain.whole) {
            let branch = &change.pull_request.head.name;
            let path = format!("/repos/{}", repository.full_name);
            let activity = self.activity(at.installation, &path, branch, ACTIVITY_PAGES).await?;
            let activity = activity.unwrap_or_default();
            let mut moves: Vec<KnownPush> = activity.iter().filter_map(|m| m.push(repository.id)).collect();
            moves.reverse();
            chain = pushes::chain(&head, &change.commits, &ledger, &moves);
        }
        change.pushes = Some(chain.pushes);
        Ok(())
    }

    /// What moved a branch, newest first; `None`: we may not know.
    pub(super) async fn activity(
        &self,
        installation: u64,
        repository: &str,
        branch: &str,
        pages: usize,
    ) -> Result<Option<Vec<Move>>, Trouble> {
        let mut all = Vec::new();
        let reference = segment(&format!("refs/heads/{branch}"));
        let mut path = Some(format!("{repository}/activity?ref={reference}&per_page=100"));
        for _ in 0..pages {
            let Some(asked) = path.take() else { break };
            let answer = match self.get(installation, &asked).await {
                Ok(answer) if answer.status.is_success() => answer,
                Err(trouble) if trouble.passes() => return Err(trouble),
                Ok(_) | Err(_) => return Ok(None),
            };
            all.extend(answer.json::<Vec<Move>>()?);
            path = answer.next_link().map(|url| page::same_host(url, &self.inner.transport.api_path));
        }
        Ok(Some(all))
    }
}

/// One item of `GET /repos/{owner}/{repo}/activity`.
#[derive(Debug, Deserialize)]
pub(super) struct Move {
    before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) activity_type: String,
    actor: Option<Account>,
}

impl Move {
    fn push(&self, repository: u64) -> Option<KnownPush> {
        if self.activity_type == "branch_deletion" {
            return None;
        }
        let real =
            |s: &Option<String>| s.as_ref().and_then(|s| s.parse::<Sha>().ok()).filter(|s| !s.is_zero());
        Some(KnownPush {
            repository,
            before: real(&self.before),
            after: real(&self.after)?,
            user: self.actor.clone(),
            forced: self.activity_type == "force_push",
        })
    }
}
