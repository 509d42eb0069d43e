//! Secrets that GitHub found in a repository. Pure.
//!
//! <https://docs.github.com/en/rest/secret-scanning/secret-scanning>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// One alert; the secret itself is neither read nor kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretAlert {
    pub number: u64,
    /// GitHub's name for the kind of secret: `aws_access_key_id` …
    pub secret_type: String,
    /// `open` or `resolved`.
    pub state: String,
    pub created_at: Time,
    /// Somebody pushed it past the push protection; `null`: GitHub does not say.
    #[serde(default)]
    pub push_protection_bypassed: Option<bool>,
}
