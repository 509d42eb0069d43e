//! What a check of the set-up asks GitHub: the App, its installations, its webhook, who may bypass a rule.
//!
//! | call | source |
//! |---|---|
//! | the App, its installations | <https://docs.github.com/en/rest/apps/apps> |
//! | its webhook | <https://docs.github.com/en/rest/apps/webhooks#get-a-webhook-configuration-for-an-app> |
//! | rulesets | <https://docs.github.com/en/rest/repos/rules#get-a-repository-ruleset> |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Github, RepoAt, Trouble, call::As};
use crate::{facts::BaseRules, time::Time};

/// Pages of a hundred installations.
const INSTALLATION_PAGES: usize = 100;

/// Permission → level, as the API writes them.
pub type Permissions = BTreeMap<String, String>;

/// The App, as `GET /app` shows it to itself.
#[derive(Clone, Debug, Deserialize)]
pub struct App {
    pub name: String,
    pub slug: String,
    /// The page that everyone sees; its host is where people see this GitHub.
    pub html_url: String,
    pub owner: Account,
    #[serde(default)]
    pub permissions: Permissions,
    #[serde(default)]
    pub events: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    pub login: String,
    #[serde(rename = "type", default)]
    pub kind: String,
}

/// The App in an organisation: with the permissions that were accepted there, which may be older than the
/// App's own.
#[derive(Clone, Debug, Deserialize)]
pub struct Installed {
    pub id: u64,
    pub account: Account,
    pub html_url: Option<String>,
    #[serde(default)]
    pub permissions: Permissions,
    #[serde(default)]
    pub events: Vec<String>,
    pub suspended_at: Option<Time>,
}

/// Where GitHub sends events to.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Hook {
    pub url: Option<String>,
    /// `json` or `form`
    pub content_type: Option<String>,
    /// `"1"` (or the number): GitHub does not check our certificate.
    #[serde(default)]
    pub insecure_ssl: Value,
}

/// Who may go past a ruleset.
#[derive(Clone, Debug, Deserialize)]
pub struct Ruleset {
    pub name: String,
    /// `None`: GitHub does not show it to us.
    pub bypass_actors: Option<Vec<BypassActor>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct BypassActor {
    pub actor_id: Option<u64>,
    /// `Integration`, `OrganizationAdmin`, `RepositoryRole`, `Team`, `DeployKey`
    pub actor_type: String,
    /// `always` or `pull_request`
    pub bypass_mode: Option<String>,
}

impl Github {
    /// The App and GitHub's clock (the `Date` header), as GitHub answered.
    ///
    /// # Errors
    /// GitHub cannot be asked, or does not take the key.
    pub async fn app(&self) -> Result<(App, Option<String>), Trouble> {
        let answer = self.get_app("/app").await?.expect(&[200])?;
        Ok((answer.json()?, answer.header("date").map(str::to_owned)))
    }

    /// Every installation, suspended ones too.
    ///
    /// # Errors
    /// GitHub does not give the list.
    pub async fn installed(&self) -> Result<Vec<Installed>, Trouble> {
        let path = "/app/installations?per_page=100".to_owned();
        self.all_of(As::App, path, "installations", INSTALLATION_PAGES).await
    }

    /// # Errors
    /// GitHub does not say.
    pub async fn hook(&self) -> Result<Hook, Trouble> {
        self.get_app("/app/hook/config").await?.expect(&[200])?.json()
    }

    /// Rules and classic protection of a branch. `Err` inside: why they cannot be had.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub async fn branch_rules(
        &self,
        at: &RepoAt,
        branch: &str,
    ) -> Result<Result<BaseRules, String>, Trouble> {
        self.base_rules(at, branch).await
    }

    /// A ruleset of the repository, or of what is above it.
    ///
    /// # Errors
    /// GitHub does not show it.
    pub async fn ruleset(&self, at: &RepoAt, id: u64) -> Result<Ruleset, Trouble> {
        let path = at.path(&format!("/rulesets/{id}?includes_parents=true"));
        self.get(at.installation, &path).await?.expect(&[200])?.json()
    }
}
