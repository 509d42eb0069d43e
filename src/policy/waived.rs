//! Waivers: which findings an exception covers, and who may make one.
//!
//! Both stand in reviewed data: `data.waivers` holds exceptions, `data.waiving` says who may make others by
//! comment. The ledger's own exceptions come with the input. Applied after the controls have spoken, so a
//! control cannot see, forge or forget one, and a waived finding is still there to read.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{LoadError, glob, input::Input};
use crate::{
    event::command,
    facts::waivers::{EVERY_CONTROL, Scope, Waiver, WaiverKind},
    time::Time,
    verdict::{Control, Finding, FindingKind, Outcome, WaivedBy},
};

/// What a bundle says about exceptions.
#[derive(Clone, Debug, Default)]
pub struct Waiving {
    /// Those that stand in its data.
    pub waivers: Vec<Waiver>,
    pub rules: Rules,
}

/// `data.waiving`: who may do what by comment. What is absent, nobody may.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub waive: Option<WaiveRule>,
    pub break_glass: Option<BreakGlassRule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiveRule {
    pub by: By,
    /// Ids of the controls that may be waived; `*`: every one.
    pub controls: Vec<String>,
    /// People in all, whoever asks included: 1, or 2 for four eyes.
    #[serde(default = "one")]
    pub approvals: u32,
    /// Days that an exception may last.
    pub max_days: u32,
    /// An exception goes on when the pull request gets another head. Otherwise it ends with the head it was
    /// asked for at.
    #[serde(default)]
    pub keeps_on_push: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRule {
    pub by: By,
    #[serde(default = "every")]
    pub controls: Vec<String>,
    #[serde(default = "one")]
    pub approvals: u32,
    /// Hours that it lasts.
    pub hours: u32,
    /// Hours in which somebody else reviews it.
    pub review_within_hours: u32,
}

/// Either is enough.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// `write`, `maintain` or `admin` on the repository, or more.
    pub permission: Option<Permission>,
    /// `org/slug`.
    #[serde(default)]
    pub teams: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    Write,
    Maintain,
    Admin,
}

impl Permission {
    /// Whether a level, as GitHub calls it, is this one or more.
    #[must_use]
    pub fn reached_by(self, level: &str) -> bool {
        let level = match level {
            "write" => Some(Self::Write),
            "maintain" => Some(Self::Maintain),
            "admin" => Some(Self::Admin),
            _ => None,
        };
        level.is_some_and(|level| level >= self)
    }
}

impl By {
    /// In words, for whoever was refused.
    #[must_use]
    pub fn words(&self) -> String {
        let permission = self.permission.map(|p| match p {
            Permission::Write => "people with write access".to_owned(),
            Permission::Maintain => "people with maintain access".to_owned(),
            Permission::Admin => "people with admin access".to_owned(),
        });
        let teams = self.teams.iter().map(|t| format!("members of @{t}"));
        let all: Vec<String> = permission.into_iter().chain(teams).collect();
        if all.is_empty() { "nobody".to_owned() } else { all.join(" or ") }
    }
}

fn one() -> u32 {
    1
}

fn every() -> Vec<String> {
    vec![EVERY_CONTROL.to_owned()]
}

/// One item of `data.waivers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    control: Option<String>,
    #[serde(default)]
    controls: Vec<String>,
    repository: Option<String>,
    branch: Option<String>,
    pull_request: Option<u64>,
    #[serde(default)]
    paths: Vec<String>,
    owner: String,
    reason: String,
    from: Option<String>,
    until: String,
}

/// Reads `data.waivers` and `data.waiving`.
///
/// # Errors
/// An item without owner, reason or end, a field that does not exist, an id that no control has: an exception
/// that means something else than its author thinks must not be used.
pub(crate) fn read(data: &Value, ids: &BTreeSet<&str>) -> Result<Waiving, LoadError> {
    let wrong = |at: &str, why: String| LoadError::new("data", format!("`{at}`: {why}"));
    let mut waivers = Vec::new();
    if let Some(all) = data.get("waivers") {
        let Value::Array(items) = all else {
            return Err(wrong("waivers", "it is no list".to_owned()));
        };
        for (i, item) in items.iter().enumerate() {
            let at = format!("waivers[{i}]");
            waivers.push(waiver(item, ids).map_err(|why| wrong(&at, why))?);
        }
    }
    let rules = match data.get("waiving") {
        None => Rules::default(),
        Some(rules) => Rules::deserialize(rules).map_err(|e| wrong("waiving", e.to_string()))?,
    };
    check_rules(&rules, ids).map_err(|why| wrong("waiving", why))?;
    Ok(Waiving { waivers, rules })
}

fn check_rules(rules: &Rules, ids: &BTreeSet<&str>) -> Result<(), String> {
    let waive = rules.waive.iter().map(|r| ("waive", &r.by, &r.controls, r.approvals));
    let glass = rules.break_glass.iter().map(|r| ("break_glass", &r.by, &r.controls, r.approvals));
    for (name, by, controls, approvals) in waive.chain(glass) {
        known(controls, ids).map_err(|why| format!("{name}.controls: {why}"))?;
        if !(1..=2).contains(&approvals) {
            return Err(format!("{name}.approvals: {approvals} is neither 1 nor 2"));
        }
        if by.permission.is_none() && by.teams.is_empty() {
            return Err(format!(
                "{name}.by: neither `permission` nor `teams`: leave `{name}` out if nobody may"
            ));
        }
        if let Some(team) = by.teams.iter().find(|t| t.split('/').filter(|p| !p.is_empty()).count() != 2) {
            return Err(format!("{name}.by.teams: `{team}` is not of the form org/slug"));
        }
    }
    Ok(())
}

fn known(controls: &[String], ids: &BTreeSet<&str>) -> Result<(), String> {
    if controls.is_empty() {
        return Err("no control is named".to_owned());
    }
    match controls.iter().find(|c| *c != EVERY_CONTROL && !ids.contains(c.as_str())) {
        Some(id) => Err(format!("no control has the id `{id}`")),
        None => Ok(()),
    }
}

fn waiver(item: &Value, ids: &BTreeSet<&str>) -> Result<Waiver, String> {
    let written = Written::deserialize(item).map_err(|e| e.to_string())?;
    let controls: Vec<String> = written.control.into_iter().chain(written.controls).collect();
    known(&controls, ids)?;
    for (name, text) in [("owner", &written.owner), ("reason", &written.reason)] {
        if text.trim().is_empty() {
            return Err(format!("`{name}` is empty"));
        }
    }
    let from = match &written.from {
        None => Time::from_unix_micros(0).unwrap_or_else(Time::now),
        Some(text) => begins(text).map_err(|why| format!("from: {why}"))?,
    };
    let until = command::until(&written.until).map_err(|why| format!("until: {why}"))?;
    if until <= from {
        return Err("it ends before it begins".to_owned());
    }
    if let Some(why) = written.paths.iter().chain(&written.branch).find_map(|p| not_a_glob(p)) {
        return Err(why);
    }
    let scope = Scope {
        repository: written.repository,
        repository_id: None,
        branch: written.branch,
        pull_request: written.pull_request,
        head: None,
        paths: written.paths,
    };
    let (owner, reason) = (written.owner, written.reason);
    Ok(Waiver { entry: None, kind: WaiverKind::Waiver, controls, scope, owner, reason, from, until })
}

/// Why a pattern is no glob; `None`: it is one.
#[must_use]
pub fn not_a_glob(pattern: &str) -> Option<String> {
    glob::translate(pattern, &['/']).err().map(|e| format!("`{pattern}`: {e}"))
}

/// A time, or a day: from its begin, UTC.
fn begins(text: &str) -> Result<Time, String> {
    text.parse::<Time>()
        .or_else(|_| command::until(text).map(|end| end.before(Duration::from_secs(24 * 3600))))
}

/// Makes every control `waived` whose findings are all covered, and says when that may change: the first end
/// of an exception in use, or begin of one to come.
pub(crate) fn apply(waiving: &Waiving, input: &Input, controls: &mut [Control]) -> Option<Time> {
    let places = places(input.document());
    let all: Vec<&Waiver> = waiving.waivers.iter().chain(input.waivers()).collect();
    let mut change = None;
    for control in controls {
        if !matches!(control.outcome, Outcome::Deny | Outcome::Pending) {
            continue;
        }
        let time = input.time();
        let to_come = |w: &&Waiver| w.from > time && places.iter().any(|p| w.holds_in(p));
        let about = |w: &&&Waiver| w.controls.iter().any(|c| c == EVERY_CONTROL || *c == control.id);
        let mine: Vec<&Waiver> = all.iter().filter(about).copied().collect();
        let begin = mine.iter().filter(|w| to_come(w)).map(|w| w.from).min();
        let now: Vec<&Waiver> = mine.into_iter().filter(|w| w.from <= time && time < w.until).collect();
        let used = covered(control, &now, &places);
        let end = used.iter().flatten().map(|w| w.until).min();
        change = [change, begin, end].into_iter().flatten().min();
        if let Some(used) = used {
            control.outcome = Outcome::Waived;
            control.waived_by = used.into_iter().map(said).collect::<BTreeSet<_>>().into_iter().collect();
        }
    }
    change
}

fn said(w: &Waiver) -> WaivedBy {
    WaivedBy {
        entry: w.entry,
        break_glass: w.kind == WaiverKind::BreakGlass,
        owner: w.owner.clone(),
        reason: w.reason.clone(),
        until: w.until,
    }
}

/// The exceptions that together cover every finding that blocks, in every place. `None`: one is not covered.
fn covered<'w>(control: &Control, waivers: &[&'w Waiver], places: &[Place<'_>]) -> Option<Vec<&'w Waiver>> {
    let mut used = Vec::new();
    for finding in &control.findings {
        match finding.kind {
            FindingKind::Warn | FindingKind::Excepted => continue,
            // What could not be decided is not known to be an exception.
            FindingKind::Error => return None,
            FindingKind::Deny | FindingKind::Pending => {}
        }
        for place in places {
            used.push(*waivers.iter().find(|w| w.holds_in(place) && w.covers(finding))?);
        }
    }
    (!used.is_empty()).then_some(used)
}

/// Where a decision is made. That about a merge group, and about the merge of pull requests, is made for each of
/// them.
struct Place<'d> {
    repository: Option<(u64, &'d str)>,
    branch: Option<&'d str>,
    pull: Option<(u64, Option<&'d str>)>,
}

fn places(document: &Value) -> Vec<Place<'_>> {
    let repository = &document["repository"];
    let repository = repository["id"].as_u64().zip(repository["name"].as_str());
    let target = &document["target"];
    // A tag is no branch: what is excused for branches is not for it.
    let branch = target["name"].as_str().filter(|_| target["ref_kind"] == "branch");
    let of = |change: &'_ Value| change["pull_request"]["number"].as_u64();
    match document["about"].as_str() {
        Some("merge_group") => document["merge_group"]["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|change| Place {
                repository,
                branch,
                pull: of(change).map(|n| (n, change["pull_request"]["head"]["sha"].as_str())),
            })
            .collect(),
        Some("pull_request") => {
            let head = document["pull_request"]["head"]["sha"].as_str();
            vec![Place { repository, branch, pull: of(document).map(|n| (n, head)) }]
        }
        // Nothing but what was allowed on pull requests landed: what is excused on each of them is excused here.
        Some("ref") if document["push"]["landed"]["waivers_hold"] == true => {
            let pulls = document["push"]["landed"]["pull_requests"].as_array();
            let landed = pulls.into_iter().flatten();
            landed
                .map(|p| Place {
                    repository,
                    branch,
                    pull: p["number"].as_u64().map(|n| (n, p["head"].as_str())),
                })
                .collect()
        }
        _ => vec![Place { repository, branch, pull: None }],
    }
}

trait Holds {
    fn holds_in(&self, place: &Place<'_>) -> bool;
    fn covers(&self, finding: &Finding) -> bool;
}

impl Holds for Waiver {
    fn holds_in(&self, place: &Place<'_>) -> bool {
        let scope = &self.scope;
        let repository = match (scope.repository_id, &scope.repository) {
            (Some(id), _) => place.repository.is_some_and(|(here, _)| here == id),
            (None, Some(name)) => place.repository.is_some_and(|(_, here)| same_repository(name, here)),
            (None, None) => true,
        };
        let branch = scope.branch.as_ref().is_none_or(|g| place.branch.is_some_and(|b| glob::matches(g, b)));
        let pull = scope.pull_request.is_none_or(|n| place.pull.is_some_and(|(here, _)| here == n));
        let head = scope.head.as_ref().is_none_or(|sha| {
            place.pull.and_then(|(_, head)| head).is_some_and(|here| here == sha.to_string())
        });
        repository && branch && pull && head
    }

    fn covers(&self, finding: &Finding) -> bool {
        let paths = &self.scope.paths;
        paths.is_empty() || finding.path.as_ref().is_some_and(|p| paths.iter().any(|g| glob::matches(g, p)))
    }
}

fn same_repository(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(owner) => name.split('/').next().is_some_and(|o| o.eq_ignore_ascii_case(owner)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests;
