//! How the head lies to its base, and the whole messages of the commits.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Holes, final_reason, pull::MAX_COMMITS};
use crate::{
    event::Sha,
    facts::{Change, Comparison},
    github::{Github, RepoAt, Trouble, call::As},
};

#[derive(Deserialize)]
struct Compared {
    ahead_by: u64,
    behind_by: u64,
    merge_base_commit: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    sha: Sha,
}

#[derive(Deserialize)]
struct Listed {
    sha: Sha,
    commit: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Github {
    /// Fills `comparison`. A base that an event has told of and the API does not show yet counts too.
    pub(super) async fn add_comparison(
        &self,
        at: &RepoAt,
        change: &mut Change,
        told: Option<&Sha>,
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        let pull = &change.pull_request;
        let (Some(base), Some(head)) = (pull.base.sha.clone(), pull.head.sha.clone()) else {
            holes.add("comparison", None, "the pull request has no head, or its base is gone");
            return Ok(());
        };
        let mut found = self.lies_to(at, &base, &head).await?;
        if let (Ok(compared), Some(told)) = (&mut found, told.filter(|t| **t != base)) {
            match self.lies_to(at, told, &head).await? {
                Ok(newer) => compared.behind_by = compared.behind_by.max(newer.behind_by),
                Err(why) => found = Err(why),
            }
        }
        match found {
            Ok(Compared { ahead_by, behind_by, merge_base_commit }) => {
                let merge_base_sha = merge_base_commit.map(|c| c.sha);
                let (base_sha, head_sha) = (base, head);
                change.comparison =
                    Some(Comparison { base_sha, head_sha, merge_base_sha, ahead_by, behind_by });
            }
            Err(why) => holes.add("comparison", None, why),
        }
        Ok(())
    }

    /// `Err`: why GitHub does not compare them.
    async fn lies_to(
        &self,
        at: &RepoAt,
        base: &Sha,
        head: &Sha,
    ) -> Result<Result<Compared, String>, Trouble> {
        let path = at.path(&format!("/compare/{base}...{head}?per_page=1"));
        let answer = match self.get(at.installation, &path).await {
            Ok(answer) => answer.expect(&[200]).and_then(|a| a.json()),
            Err(trouble) => Err(trouble),
        };
        match answer {
            Ok(compared) => Ok(Ok(compared)),
            Err(trouble) => final_reason(trouble).map(Err),
        }
    }

    /// Fills `commits[].full_message`.
    pub(super) async fn add_messages(
        &self,
        at: &RepoAt,
        change: &mut Change,
        holes: &mut Holes<'_>,
    ) -> Result<(), Trouble> {
        if holes.has("commits") {
            holes.add("commit_messages", None, "the commits of the pull request are missing");
            return Ok(());
        }
        let pages = (MAX_COMMITS as usize).div_ceil(100);
        let path = at.path(&format!("/pulls/{}/commits?per_page=100", change.pull_request.number));
        let who = As::Installation(at.installation);
        let listed: Vec<Listed> = match self.all_of(who, path, "commits", pages).await {
            Ok(listed) => listed,
            Err(trouble) => {
                holes.add("commit_messages", None, final_reason(trouble)?);
                return Ok(());
            }
        };
        let mut messages: BTreeMap<Sha, String> =
            listed.into_iter().map(|c| (c.sha, c.commit.message)).collect();
        for commit in &mut change.commits {
            commit.full_message = messages.remove(&commit.sha);
        }
        if let Some(bare) = change.commits.iter().find(|c| c.full_message.is_none()) {
            let reason = format!("GitHub does not list the commit {}", bare.sha.short());
            holes.add("commit_messages", None, reason);
        }
        Ok(())
    }
}
