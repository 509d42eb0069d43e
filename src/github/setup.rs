//! From settings to a transport: addresses and the app's key.

use std::{convert::Infallible, time::Duration};

use http::Uri;
use octocrab::{
    AuthState, OctoBody, Octocrab, OctocrabBuilder, auth::AppAuth, models::AppId,
    service::middleware::base_uri::BaseUriLayer,
};
use tower_http::follow_redirect::FollowRedirectLayer;

use super::{Settings, call::Transport};

/// Why no way to GitHub could be made. All are mistakes of configuration.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("`{value}` is not the address of a GitHub API: {why} (example: https://api.github.com)")]
    Url { value: String, why: &'static str },
    #[error("the app's private key is not an RSA key in PEM form: {0}")]
    Key(String),
}

pub(super) fn transport(settings: &Settings) -> Result<Transport, SetupError> {
    let api = Address::parse(&settings.api_url)?;
    let graphql = match &settings.graphql_url {
        Some(url) => Address::parse(url)?,
        None => api.graphql(),
    };
    let pem = &settings.private_key_pem;
    let key = octocrab::auth::EncodingKey::from_rsa_pem(pem);
    let app = AppAuth { app_id: AppId(settings.app_id), key: key_or_sentence(key)? };
    let rest = build(settings, AuthState::App(app), &api.whole())?;
    // GraphQL lives outside `/api/v3` on Enterprise Server, and octocrab puts the base before every
    // path: a client of its own, with the bare host as its base.
    let graph = build(settings, AuthState::None, &graphql.origin)?;
    let signs = api.signs();
    let (graphql_path, api_path) = (graphql.path, api.path);
    // Tests wait less long.
    let told = super::told("github::timeout").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let (origin, timeout) = (api.origin, told.unwrap_or(settings.timeout));
    Ok(Transport { rest, graph, graphql_path, api_path, origin, signs, timeout })
}

fn key_or_sentence<K, E: std::fmt::Display>(key: Result<K, E>) -> Result<K, SetupError> {
    key.map_err(|e| SetupError::Key(e.to_string()))
}

/// The layers of octocrab that we use, over a connection that is ours: neither its retries nor its cache.
fn build(settings: &Settings, auth: AuthState, base: &str) -> Result<Octocrab, SetupError> {
    let bad = || SetupError::Url { value: base.chars().take(200).collect(), why: "not a URL" };
    let base: Uri = base.parse().map_err(|_| bad())?;
    let built: Result<Octocrab, Infallible> = OctocrabBuilder::new_empty()
        .with_service(settings.outbound.client::<OctoBody>())
        .with_layer(&FollowRedirectLayer::new())
        .with_layer(&BaseUriLayer::new(base))
        .with_auth(auth)
        .build();
    built.map_err(|never| match never {})
}

/// octocrab's outer error says only its kind: the sentence is further in.
pub(super) fn describe(e: &dyn std::error::Error) -> String {
    let mut said = e.to_string();
    let mut at = e.source();
    while let Some(inner) = at {
        let text = inner.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        at = inner.source();
    }
    said
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    /// `https://host:port`
    origin: String,
    /// Without a slash at the end; empty for the root.
    path: String,
}

impl Address {
    fn parse(url: &str) -> Result<Self, SetupError> {
        let bad = |why| SetupError::Url { value: url.chars().take(200).collect(), why };
        let uri: Uri = url.trim().parse().map_err(|_| bad("not a URL"))?;
        let scheme = uri.scheme_str().ok_or_else(|| bad("it must start with https://"))?;
        if !matches!(scheme, "https" | "http") {
            return Err(bad("it must start with https://"));
        }
        let host = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if host.as_str().contains('@') {
            return Err(bad("it must not hold a user or password"));
        }
        if uri.query().is_some() {
            return Err(bad("it must not hold a query"));
        }
        Ok(Self { origin: format!("{scheme}://{host}"), path: uri.path().trim_end_matches('/').to_owned() })
    }

    fn whole(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// GitHub signs the commits it makes on github.com and ghe.com. An Enterprise Server may have been
    /// told to; that cannot be seen from outside.
    fn signs(&self) -> bool {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host).to_ascii_lowercase();
        let host = host.split(':').next().unwrap_or_default();
        host == "api.github.com" || host.ends_with(".ghe.com")
    }

    /// Enterprise Server: `/api/v3` has `/api/graphql` beside it. Elsewhere it is below the base.
    fn graphql(&self) -> Self {
        let base = self.path.strip_suffix("/v3").filter(|p| p.ends_with("/api")).unwrap_or(&self.path);
        Self { origin: self.origin.clone(), path: format!("{base}/graphql") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graphql_of(url: &str) -> String {
        Address::parse(url).unwrap().graphql().whole()
    }

    #[test]
    fn graphql_is_found_beside_every_kind_of_api() {
        assert_eq!(graphql_of("https://api.github.com"), "https://api.github.com/graphql");
        assert_eq!(graphql_of("https://api.github.com/"), "https://api.github.com/graphql");
        assert_eq!(graphql_of("https://git.example.com/api/v3"), "https://git.example.com/api/graphql");
        assert_eq!(graphql_of("https://git.example.com/api/v3/"), "https://git.example.com/api/graphql");
        assert_eq!(graphql_of("https://api.acme.ghe.com"), "https://api.acme.ghe.com/graphql");
        assert_eq!(graphql_of("http://127.0.0.1:4242"), "http://127.0.0.1:4242/graphql");
    }

    #[test]
    fn only_github_itself_is_known_to_sign() {
        let signs = |url: &str| Address::parse(url).unwrap().signs();
        assert!(signs("https://api.github.com") && signs("https://API.acme.ghe.com:443/"));
        assert!(!signs("https://git.example.com/api/v3") && !signs("https://ghe.com.evil.example/"));
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong() {
        for bad in ["", "api.github.com", "ftp://x/", "https://u:p@x/", "https://x/?a=b", "/api/v3"] {
            let said = Address::parse(bad).unwrap_err().to_string();
            assert!(said.contains("example: https://api.github.com"), "{bad}: {said}");
        }
    }
}
