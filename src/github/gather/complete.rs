//! Stage 2: what the active controls asked for beyond the first query.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Holes,
    deployed::Deploying,
    final_reason,
    owners::Owning,
    people::{Found, persons},
};
use crate::{
    event::{Account, Sha},
    facts::{Change, Facts, Missing, checks::ToldCheck, landed::Landing, pushes::KnownPush},
    github::{Github, RepoAt, Trouble},
};

/// What only our ledger knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By number of the pull request.
    pub pulls: BTreeMap<u64, KnownPull>,
    /// Ids of the payload's `commits`, for a `push`; `None`: the payload has no such list.
    pub pushed: Option<Vec<Sha>>,
    /// The commit that a push or tag is about.
    pub tip: Option<Sha>,
    /// The commit that GitHub asks about, whether to deploy it.
    pub deployed: Option<Sha>,
    /// The branch or tag that it says this commit comes from.
    pub deployed_from: Option<String>,
    /// Secret alerts that events have told of lately as open.
    pub alerts: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct KnownPull {
    /// Pushes to the head branch, oldest first.
    pub pushes: Vec<KnownPush>,
    /// Other open pull requests with the same head.
    pub shared_heads: Vec<u64>,
    /// What events have stated lately of checks on the head, oldest first.
    pub checks: Vec<ToldCheck>,
    /// Where a push has stated lately that the base branch is.
    pub base_told: Option<Sha>,
}

/// A fact that a control asks for: a name of [`crate::facts::FACTS`], and which one.
pub type Needs = BTreeSet<(String, Option<String>)>;

/// The facts, as complete as they get.
#[derive(Clone, Debug)]
pub struct Completed {
    /// `facts.missing` holds what was asked for and could not be had; `push.landed` is left to
    /// [`crate::facts::landed::prove`].
    pub facts: Facts,
    /// With the fact `landed`, for a push whose commits could be read.
    pub landing: Option<Landing>,
    /// With the fact `deployment`, whose `landed`, `pushers` and `allowed` are for the ledger to say.
    pub deploying: Option<Deploying>,
}

/// Gathers what `needs` names and stage 1 did not bring. Facts whose controls did not ask stay absent.
///
/// # Errors
/// Only what a later try may mend; everything else is in `facts.missing`.
pub async fn complete(
    github: &Github,
    at: &RepoAt,
    mut facts: Facts,
    needs: &Needs,
    known: &Known,
) -> Result<Completed, Trouble> {
    let mut missing = std::mem::take(&mut facts.facts.missing);
    let wanted = Wanted { needs };
    let people = people(&facts);
    let people = persons(&people);
    let mut teams: BTreeSet<String> = wanted.ids("team_members");
    let mut owning = Vec::new();
    for change in facts.change.iter_mut() {
        let mut holes = Holes::of_pull(&mut missing);
        owning.push(finish_change(github, at, change, &wanted, known, &mut holes, &mut teams).await?);
    }
    for change in facts.entries_mut() {
        let mut holes = Holes::of_entry(&mut missing, change.pull_request.number);
        owning.push(finish_change(github, at, change, &wanted, known, &mut holes, &mut teams).await?);
    }
    let no_team = add_teams(github, at, &mut facts, &wanted, &teams, &people, &mut missing).await?;
    for (change, owning) in facts.changes_mut().into_iter().zip(&owning) {
        if let Some(owning) = owning {
            owning.apply(change, &no_team);
        }
    }
    add_organizations(github, at, &mut facts, &wanted, &people, &mut missing).await?;
    add_rules(github, at, &mut facts, &wanted, &mut missing).await?;
    if wanted.has("secret_alerts") {
        match github.secret_alerts(at, &known.alerts).await? {
            Ok(alerts) => facts.secret_alerts = Some(alerts),
            Err(why) => missing.push(super::missing("secret_alerts", None, why)),
        }
    }
    let mut deploying = None;
    if wanted.has("deployment") {
        match github.deployment(at, known).await? {
            Ok((deployment, proof)) => (facts.deployment, deploying) = (Some(deployment), Some(proof)),
            Err(why) => missing.push(super::missing("deployment", None, why)),
        }
    }
    if let Some(push) = facts.push.as_mut().filter(|_| wanted.has("on_default_branch")) {
        match github.on_default_branch(at, known.tip.as_ref()).await? {
            Ok(is) => push.on_default_branch = Some(is),
            Err(why) => missing.push(super::missing("on_default_branch", None, why)),
        }
    }
    let landing = add_push(github, at, &mut facts, &wanted, known, &mut missing).await?;
    facts.facts.complete = missing.is_empty();
    facts.facts.missing = missing;
    Ok(Completed { facts, landing, deploying })
}

struct Wanted<'a> {
    needs: &'a Needs,
}

impl Wanted<'_> {
    fn has(&self, fact: &str) -> bool {
        self.needs.iter().any(|(f, _)| f == fact)
    }

    /// Names in lower case, as the facts have them.
    fn ids(&self, fact: &str) -> BTreeSet<String> {
        self.spelt(fact).map(|id| id.to_ascii_lowercase()).collect()
    }

    fn spelt(&self, fact: &str) -> impl Iterator<Item = &String> {
        let own = self.needs.iter().filter(move |(f, _)| f == fact);
        own.filter_map(|(_, id)| id.as_ref())
    }

    /// The one called `name` is missing, in every spelling that was asked for.
    fn lacks(&self, fact: &str, name: &str, why: &str) -> Vec<Missing> {
        let own = self.spelt(fact).filter(|id| id.eq_ignore_ascii_case(name));
        own.map(|id| super::missing(fact, Some(id.clone()), why)).collect()
    }
}

/// Everyone whose membership may decide: reviewers, and who pushed.
fn people(facts: &Facts) -> Vec<Account> {
    let entries = facts.merge_group.iter().filter_map(|g| g.entries.as_ref()).flatten();
    let changes = facts.change.iter().chain(entries);
    let reviewers = changes.flat_map(|c| &c.reviews).filter_map(|r| r.user.clone());
    reviewers.chain(facts.push.iter().filter_map(|p| p.pusher.clone())).collect()
}

async fn finish_change(
    github: &Github,
    at: &RepoAt,
    change: &mut Change,
    wanted: &Wanted<'_>,
    known: &Known,
    holes: &mut Holes<'_>,
    teams: &mut BTreeSet<String>,
) -> Result<Option<Owning>, Trouble> {
    let known = known.pulls.get(&change.pull_request.number);
    share_heads(change, known);
    if ["commits", "reviews", "pushes"].iter().any(|f| wanted.has(f)) {
        github.mark_update_merges(at, change).await?;
    }
    if wanted.has("pushes") {
        github.add_pushes(at, change, known, holes).await?;
    }
    if wanted.has("comparison") {
        github.add_comparison(at, change, known.and_then(|k| k.base_told.as_ref()), holes).await?;
    }
    if wanted.has("commit_messages") {
        github.add_messages(at, change, holes).await?;
    }
    if wanted.has("workflows") {
        github.add_workflows(at, change, holes).await?;
    }
    if wanted.has("checks") {
        let told = known.map(|k| k.checks.as_slice()).unwrap_or_default();
        github.add_checks(at, change, told, holes).await?;
    }
    if wanted.has("permissions") {
        add_permissions(github, at, change, holes).await?;
    }
    if wanted.has("old_paths") || wanted.has("codeowners") {
        github.add_old_paths(at, change, holes).await?;
    }
    if !wanted.has("codeowners") {
        return Ok(None);
    }
    let owning = github.owning(at, change, holes).await?;
    if let Some(owning) = &owning {
        teams.extend(owning.teams());
    }
    Ok(owning)
}

fn share_heads(change: &mut Change, known: Option<&KnownPull>) {
    let own = change.pull_request.number;
    change.shared_head.extend(known.iter().flat_map(|k| &k.shared_heads).filter(|n| **n != own));
    change.shared_head.sort_unstable();
    change.shared_head.dedup();
}

async fn add_permissions(
    github: &Github,
    at: &RepoAt,
    change: &mut Change,
    holes: &mut Holes<'_>,
) -> Result<(), Trouble> {
    if holes.has("reviews") {
        holes.add("permissions", None, "`reviews` is missing");
        return Ok(());
    }
    let reviewers: Vec<Account> = change.reviews.iter().filter_map(|r| r.user.clone()).collect();
    let levels = match github.permissions(at, &persons(&reviewers)).await? {
        Ok(levels) => levels,
        Err(why) => {
            holes.add("permissions", None, why);
            return Ok(());
        }
    };
    for review in &mut change.reviews {
        let Some(user) = &review.user else { continue };
        // An app is no collaborator: its right is only that it can push.
        let of_app = || if review.can_push { "write" } else { "none" }.to_owned();
        review.permission = Some(levels.get(&user.id).cloned().unwrap_or_else(of_app));
    }
    Ok(())
}

/// Fills `teams` and says which teams are not there.
async fn add_teams(
    github: &Github,
    at: &RepoAt,
    facts: &mut Facts,
    wanted: &Wanted<'_>,
    names: &BTreeSet<String>,
    people: &[&Account],
    missing: &mut Vec<Missing>,
) -> Result<BTreeSet<String>, Trouble> {
    let mut no_team = BTreeSet::new();
    for (name, found) in github.teams(at, names, people).await? {
        let (why, absent) = match found {
            Found::Yes(team) => {
                facts.teams.insert(name, team);
                continue;
            }
            Found::Absent(why) => (why, true),
            Found::Unreadable(why) => (why, false),
        };
        missing.extend(wanted.lacks("team_members", &name, &why));
        // An owner who is not there is an error of the line; one who cannot be read, of the fact.
        if absent {
            no_team.insert(name);
        } else if wanted.has("codeowners") {
            missing.push(super::missing("codeowners", None, why));
        }
    }
    Ok(no_team)
}

async fn add_organizations(
    github: &Github,
    at: &RepoAt,
    facts: &mut Facts,
    wanted: &Wanted<'_>,
    people: &[&Account],
    missing: &mut Vec<Missing>,
) -> Result<(), Trouble> {
    for org in wanted.ids("organization_members") {
        match github.organization_members(at.installation, &org, people).await? {
            Ok(members) => _ = facts.organizations.insert(org, members),
            Err(why) => missing.extend(wanted.lacks("organization_members", &org, &why)),
        }
    }
    Ok(())
}

/// Rules of the branch this is about: base of a pull request, or pushed.
async fn add_rules(
    github: &Github,
    at: &RepoAt,
    facts: &mut Facts,
    wanted: &Wanted<'_>,
    missing: &mut Vec<Missing>,
) -> Result<(), Trouble> {
    let branch = facts.target.as_ref().filter(|t| t.ref_kind == crate::event::RefKind::Branch);
    let Some(branch) = branch.filter(|_| wanted.has("base_rules")) else { return Ok(()) };
    match github.base_rules(at, &branch.name).await? {
        Ok(rules) => facts.base_rules = Some(rules),
        Err(why) => missing.push(super::missing("base_rules", None, why)),
    }
    Ok(())
}

async fn add_push(
    github: &Github,
    at: &RepoAt,
    facts: &mut Facts,
    wanted: &Wanted<'_>,
    known: &Known,
    missing: &mut Vec<Missing>,
) -> Result<Option<Landing>, Trouble> {
    let asked: Vec<&str> = ["push_commits", "landed"].into_iter().filter(|f| wanted.has(f)).collect();
    let Some(push) = facts.push.as_mut().filter(|_| !asked.is_empty()) else { return Ok(None) };
    let commits = match &known.pushed {
        _ if push.after.is_none() => Ok(Vec::new()),
        None => Err("the event lists no commits".to_owned()),
        Some(pushed) => match github.pushed_commits(at, pushed).await {
            Ok(commits) => commits,
            Err(trouble) => Err(final_reason(trouble)?),
        },
    };
    let commits = match commits {
        Ok(commits) => commits,
        Err(why) => {
            missing.extend(asked.iter().map(|fact| super::missing(fact, None, why.clone())));
            return Ok(None);
        }
    };
    let landing = match wanted.has("landed") {
        false => None,
        true => match github.landing(at, push, &commits).await.map_err(final_reason) {
            Ok(Ok(landing)) => Some(landing),
            Ok(Err(why)) | Err(Ok(why)) => {
                missing.push(super::missing("landed", None, why));
                None
            }
            Err(Err(trouble)) => return Err(trouble),
        },
    };
    push.commits = wanted.has("push_commits").then_some(commits);
    Ok(landing)
}
