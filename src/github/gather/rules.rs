//! What GitHub demands on a branch, and who went past it.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    event::Sha,
    facts::BaseRules,
    github::{Github, RepoAt, Trouble, call::As, rest::segment},
};

/// Pages of a hundred rules.
const RULE_PAGES: usize = 10;

/// Somebody who went past GitHub's rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bypass {
    pub actor_id: Option<u64>,
    pub actor_name: Option<String>,
}

/// One evaluation of the rulesets.
///
/// <https://docs.github.com/en/rest/repos/rule-suites#list-repository-rule-suites>
#[derive(Deserialize)]
struct RuleSuite {
    after_sha: Option<String>,
    /// `pass`, `fail` or `bypass`
    result: Option<String>,
    #[serde(flatten)]
    by: Bypass,
}

impl Github {
    /// Rules and classic protection of a branch. `Err`: why they cannot be had.
    pub(in crate::github) async fn base_rules(
        &self,
        at: &RepoAt,
        branch: &str,
    ) -> Result<Result<BaseRules, String>, Trouble> {
        match self.read_rules(at, branch).await {
            Ok(rules) => Ok(Ok(rules)),
            Err(trouble) => super::final_reason(trouble).map(Err),
        }
    }

    async fn read_rules(&self, at: &RepoAt, branch: &str) -> Result<BaseRules, Trouble> {
        let name = segment(branch);
        let path = at.path(&format!("/rules/branches/{name}?per_page=100"));
        let rules = self.all_of(As::Installation(at.installation), path, "rules", RULE_PAGES).await?;
        let answer = self.get(at.installation, &at.path(&format!("/branches/{name}"))).await?;
        let protection = match answer.status.as_u16() {
            404 => None,
            _ => Some(answer.expect(&[200])?.json::<Value>()?["protection"].take()),
        };
        Ok(BaseRules { branch: branch.to_owned(), rules, protection, required: None })
    }

    /// Who bypassed the rules with the push to `after`: `Some(None)` is nobody. `None`: we may not read
    /// GitHub's record (it needs Administration), or this GitHub keeps none.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub async fn bypass(
        &self,
        at: &RepoAt,
        branch: &str,
        after: &Sha,
    ) -> Result<Option<Option<Bypass>>, Trouble> {
        let reference = segment(&format!("refs/heads/{branch}"));
        let path = at.path(&format!(
            "/rulesets/rule-suites?ref={reference}&time_period=week&rule_suite_result=bypass&per_page=100"
        ));
        let suites: Vec<RuleSuite> = match self.get(at.installation, &path).await {
            Ok(answer) if answer.status.is_success() => answer.json()?,
            Err(trouble) if trouble.passes() => return Err(trouble),
            Ok(_) | Err(_) => return Ok(None),
        };
        let own = |s: &RuleSuite| {
            s.after_sha.as_deref() == Some(after.as_str()) && s.result.as_deref() == Some("bypass")
        };
        Ok(Some(suites.into_iter().find(own).map(|s| s.by)))
    }
}
