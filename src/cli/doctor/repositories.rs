//! Each repository: whether GitHub demands our check on the default branch, by our App alone, and who may
//! go past that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Report, State};
use crate::{
    config::Config,
    event::{RepoName, Repository},
    facts::{BaseRules, rules::Required},
    github::{
        Github, RepoAt,
        inspect::{BypassActor, Installed},
    },
};

/// Repositories that are looked at in one go: two calls each, of 5,000 an hour.
const MOST: usize = 500;

pub(super) async fn examine(
    config: &Config,
    github: &Github,
    installed: &[Installed],
    only: Option<&RepoName>,
    report: &mut Report,
) {
    let (mut at, mut unnamed) = (vec![], 0);
    for installation in installed {
        match github.covered(installation.id).await {
            Ok(covered) => {
                for repository in covered {
                    match (repository.name(), repository.default_branch) {
                        (Some(name), branch) if only.is_none_or(|only| *only == name) => {
                            let repository = Repository { id: repository.id, name, default_branch: branch };
                            at.push(RepoAt { installation: installation.id, repository });
                        }
                        (None, _) => unnamed += 1,
                        _ => {}
                    }
                }
            }
            Err(trouble) => report.trouble("repository", trouble),
        }
    }
    match (at.len(), only) {
        (0, Some(only)) => {
            let text = format!("{only} is not covered by any installation of the App");
            return report.say("repository", State::Wrong, text);
        }
        (0, None) if !installed.is_empty() => {
            report.say("repository", State::Wrong, "the App covers no repository");
        }
        (n, _) if n > MOST => {
            let text = format!("{} of {n} were looked at; `--repo OWNER/NAME` looks at one", MOST);
            report.say("repository", State::Note, text);
        }
        _ => {}
    }
    if unnamed > 0 {
        report.say("repository", State::Unknown, format!("{unnamed} have names that are not understood"));
    }
    at.truncate(MOST);
    look(config, github, at, report).await;
}

async fn look(config: &Config, github: &Github, repositories: Vec<RepoAt>, report: &mut Report) {
    let (mut bound, mut rulesets) = (vec![], Rulesets::default());
    for at in repositories {
        let name = at.repository.name.clone();
        let Some(branch) = at.repository.default_branch.clone() else { continue };
        let rules = match github.branch_rules(&at, &branch).await {
            Ok(Ok(rules)) => rules,
            Ok(Err(why)) => {
                report.say("repository", State::Unknown, format!("{name}: {why}"));
                continue;
            }
            Err(trouble) => {
                report.say("repository", State::Unknown, format!("{name}: {}", trouble.reason));
                continue;
            }
        };
        let (check, app) = (&config.github.check_name, config.github.app_id);
        match rules.demands(check, app) {
            Required::Bound => bound.push(name.clone()),
            Required::Unbound => report.say("repository", State::Wrong, unbound(&name, &branch, check)),
            Required::Missing => report.say("repository", State::Wrong, unrequired(&name, &branch, check)),
        }
        if rules.demands(check, app) != Required::Missing {
            rulesets.note(&at, &rules, check, app);
        }
    }
    if !bound.is_empty() {
        let shown: Vec<_> = bound.iter().take(5).map(RepoName::as_str).collect();
        let more = if bound.len() > 5 { format!(" and {} more", bound.len() - 5) } else { String::new() };
        let text = format!("demand the check, by this App alone: {}{more}", shown.join(", "));
        report.say("repository", State::Good, text);
    }
    rulesets.say(github, report).await;
}

fn unbound(name: &RepoName, branch: &str, check: &str) -> String {
    format!(
        "{name}: `{branch}` demands `{check}` by whoever sets it: anyone who may write can make it green\n\
         choose the App as its source, where the check is required ({name}: Settings > Rules)"
    )
}

fn unrequired(name: &RepoName, branch: &str, check: &str) -> String {
    format!(
        "{name}: `{branch}` does not demand the check `{check}`: nothing keeps a change from merging\n\
         add it to a ruleset, with the App as its source ({name}: Settings > Rules > Rulesets)"
    )
}

/// What demands our check, and in which repositories: a ruleset of the organisation is said once.
#[derive(Default)]
struct Rulesets {
    by_id: BTreeMap<u64, (RepoAt, String, BTreeSet<String>)>,
    /// Classic protection that does not hold administrators.
    lax: Vec<String>,
}

impl Rulesets {
    fn note(&mut self, at: &RepoAt, rules: &BaseRules, check: &str, app: u64) {
        for rule in &rules.rules {
            let one = BaseRules {
                rules: vec![rule.clone()],
                protection: None,
                branch: rules.branch.clone(),
                required: None,
            };
            if one.demands(check, app) == Required::Missing {
                continue;
            }
            let Some(id) = rule["ruleset_id"].as_u64() else { continue };
            let source = rule["ruleset_source"].as_str().unwrap_or(at.repository.name.as_str()).to_owned();
            let noted = self.by_id.entry(id).or_insert_with(|| (at.clone(), source, BTreeSet::new()));
            noted.2.insert(at.repository.name.to_string());
        }
        let classic = BaseRules { rules: vec![], ..rules.clone() };
        let level = classic.protection.as_ref().map(|p| &p["required_status_checks"]["enforcement_level"]);
        let alone = !rules.rules.iter().any(|r| r["type"] == "required_status_checks");
        if alone && level == Some(&Value::from("non_admins")) {
            self.lax.push(at.repository.name.to_string());
        }
    }

    async fn say(self, github: &Github, report: &mut Report) {
        for (id, (at, source, of)) in self.by_id {
            let (name, actors) = match github.ruleset(&at, id).await {
                Ok(ruleset) => (ruleset.name, ruleset.bypass_actors),
                Err(trouble) => {
                    report.say(
                        "bypass",
                        State::Unknown,
                        format!("ruleset {id} of {source}: {}", trouble.reason),
                    );
                    continue;
                }
            };
            let n = of.len();
            let many = if n == 1 { "1 repository".to_owned() } else { format!("{n} repositories") };
            let what = format!("ruleset \"{name}\" of {source} ({many})");
            match actors {
                // GitHub shows the list to those who may edit the ruleset; this App must not be one of them.
                None => report.say(
                    "bypass",
                    State::Note,
                    format!("{what}: GitHub shows who may bypass it on its page only"),
                ),
                Some(actors) if actors.is_empty() => {
                    report.say("bypass", State::Good, format!("{what}: nobody may bypass it"));
                }
                Some(actors) => {
                    let who: Vec<String> = actors.iter().map(actor).collect();
                    let text = format!("{what}: may be bypassed by {}", who.join(", "));
                    report.say("bypass", State::Note, text);
                }
            }
        }
        if !self.lax.is_empty() {
            let text = format!(
                "administrators may bypass the branch protection of {} (\"Do not allow bypassing\" is off)",
                self.lax.join(", ")
            );
            report.say("bypass", State::Note, text);
        }
    }
}

fn actor(actor: &BypassActor) -> String {
    let id = actor.actor_id.map(|id| format!(" {id}")).unwrap_or_default();
    let who = match actor.actor_type.as_str() {
        "OrganizationAdmin" => "owners of the organisation".to_owned(),
        // GitHub's own roles have these numbers; custom ones have others.
        "RepositoryRole" => match actor.actor_id {
            Some(2) => "who may maintain the repository".to_owned(),
            Some(4) => "who may write".to_owned(),
            Some(5) => "administrators of the repository".to_owned(),
            _ => format!("the repository role{id}"),
        },
        "Team" => format!("the team{id}"),
        "Integration" => format!("the App{id}"),
        "DeployKey" => "deploy keys".to_owned(),
        other => format!("{other}{id}"),
    };
    match actor.bypass_mode.as_deref() {
        Some("pull_request") => format!("{who} (pull requests only)"),
        _ => who,
    }
}
