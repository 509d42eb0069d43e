//! Registering a GitHub App from a manifest: the addresses, the manifest, the exchange of the code.
//!
//! A person sends the manifest to GitHub with a form, agrees there, and is sent back with a code. The code
//! is worth the App's key and secret, once, within an hour; exchanging it needs no authentication.
//!
//! Source: <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{needed, rest::segment, setup::describe};
use crate::outbound::Outbound;

/// Longest name of an App, in characters (GitHub).
const LONGEST_NAME: usize = 34;

/// An answer with a key is a few kilobytes.
const MAX_ANSWER: usize = 256 << 10;

/// One GitHub: where people see it, and where its API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `https://github.com`, `https://HOST`, `https://SUB.ghe.com`; no slash at the end.
    pub web: String,
    /// `https://api.github.com`, `https://HOST/api/v3`, `https://api.SUB.ghe.com`.
    pub api: String,
}

impl Place {
    /// The API that belongs to an address that people see.
    ///
    /// # Errors
    /// It is not `https://HOST` (or `http://HOST`, for tests).
    pub fn of(web: &str) -> Result<Self, String> {
        let bad =
            || format!("`{web}` is not the address of a GitHub; it must be of the form https://github.com");
        let uri: Uri = web.trim().parse().map_err(|_| bad())?;
        let (Some(scheme @ ("https" | "http")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad());
        };
        if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = authority.as_str().to_ascii_lowercase();
        let api = match host.as_str() {
            "github.com" => format!("{scheme}://api.github.com"),
            host if host.ends_with(".ghe.com") => format!("{scheme}://api.{host}"),
            host => format!("{scheme}://{host}/api/v3"),
        };
        Ok(Self { web: format!("{scheme}://{host}"), api })
    }

    /// Where the form with the manifest is sent.
    #[must_use]
    pub fn form(&self, organization: &str, state: &str) -> String {
        let (org, state) = (segment(organization), segment(state));
        format!("{}/organizations/{org}/settings/apps/new?state={state}", self.web)
    }
}

/// What GitHub is told of the App: exactly the permissions and events of [`super::needed`].
#[must_use]
pub fn manifest(name: &str, gate: &str, redirect: &str) -> Value {
    let permissions: serde_json::Map<String, Value> =
        needed::PERMISSIONS.iter().map(|(name, level)| ((*name).to_owned(), json!(level))).collect();
    let events: Vec<&str> = needed::all_events().collect();
    json!({
        "name": name,
        "url": gate,
        "hook_attributes": {"url": format!("{gate}/webhook"), "active": true},
        "redirect_url": redirect,
        "description": "gatelog judges every change with this organisation's policies and records why.",
        "public": false,
        "default_permissions": permissions,
        "default_events": events,
    })
}

/// `gatelog-ORG`, as far as GitHub takes it. Names of Apps are unique in all of GitHub.
#[must_use]
pub fn default_name(organization: &str) -> String {
    let name: String = format!("gatelog-{organization}").chars().take(LONGEST_NAME).collect();
    name.trim_end_matches('-').to_owned()
}

/// The App as GitHub made it.
pub struct Created {
    pub id: u64,
    pub slug: String,
    /// Its page.
    pub html_url: String,
    /// PEM.
    pub private_key: Zeroizing<String>,
    pub webhook_secret: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "App {} ({})", self.slug, self.id)
    }
}

#[derive(Deserialize)]
struct Conversion {
    id: u64,
    slug: String,
    html_url: String,
    pem: String,
    webhook_secret: Option<String>,
}

/// Exchanges the code for the App's key and secret.
///
/// # Errors
/// What GitHub said, or that it could not be asked; never holds the code. The code may be spent.
pub async fn convert(
    outbound: &Outbound,
    place: &Place,
    code: &str,
    timeout: Duration,
) -> Result<Created, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/app-manifests/{}/conversions", place.api, segment(code)))
        .header(header::ACCEPT, "application/vnd.github+json")
        .header(header::USER_AGENT, concat!("gatelog/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()))
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let answer = outbound.client().request(request).await.map_err(|e| describe(&e))?;
        let (status, body) = (answer.status(), Limited::new(answer.into_body(), MAX_ANSWER));
        let body = body.collect().await.map_err(|e| format!("the answer broke off: {e}"))?;
        Ok((status, body.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs())))
        .map_err(|why| format!("{} could not be asked for the App's key: {why}", place.api))?;
    match status {
        StatusCode::CREATED => {}
        StatusCode::NOT_FOUND => {
            return Err("GitHub does not know this code: it was used, or is older than an hour".to_owned());
        }
        status => return Err(format!("{} answered {status}", place.api)),
    }
    let created: Conversion =
        serde_json::from_slice(&body).map_err(|e| format!("GitHub's answer is not understood: {e}"))?;
    if !created.pem.starts_with("-----BEGIN ") {
        return Err("GitHub's answer holds no private key".to_owned());
    }
    Ok(Created {
        id: created.id,
        slug: created.slug,
        html_url: created.html_url,
        private_key: created.pem.into(),
        webhook_secret: created.webhook_secret.filter(|s| !s.is_empty()).map(Zeroizing::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_beside_every_kind_of_github() {
        let api = |web: &str| Place::of(web).map(|p| p.api);
        assert_eq!(api("https://github.com/").as_deref(), Ok("https://api.github.com"));
        assert_eq!(api("https://GitHub.com").as_deref(), Ok("https://api.github.com"));
        assert_eq!(api("https://acme.ghe.com").as_deref(), Ok("https://api.acme.ghe.com"));
        assert_eq!(api("https://git.example.com:8443").as_deref(), Ok("https://git.example.com:8443/api/v3"));
        for bad in
            ["github.com", "https://github.com/octo", "ftp://x", "https://u:p@github.com", "https://x?y"]
        {
            assert!(api(bad).unwrap_err().contains("https://github.com"), "{bad}");
        }
    }

    #[test]
    fn what_is_named_stays_in_its_place() {
        let place = Place::of("https://github.com").unwrap();
        let form = place.form("octo/../x?y", "a&b");
        assert_eq!(form, "https://github.com/organizations/octo%2F..%2Fx%3Fy/settings/apps/new?state=a%26b");
        assert_eq!(default_name("octo-org"), "gatelog-octo-org");
        assert_eq!(default_name("a-very-long-name-of-an-organisation").chars().count(), LONGEST_NAME);
    }
}
