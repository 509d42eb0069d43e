//! Posts alerts to a webhook that takes `{"text": …}`: Slack, Mattermost, Teams workflows, or one's own.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;

use crate::outbound::{Connector, Outbound};

/// Longest one post may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where alerts go. A cheap clone; shows nothing of the address, which is a secret.
#[derive(Clone)]
pub struct Poster {
    url: http::Uri,
    client: Client<Connector, Full<Bytes>>,
}

impl Poster {
    /// # Errors
    /// The text is no address of `http` or `https`.
    pub fn new(url: &str, outbound: &Outbound) -> Result<Self, String> {
        let url: http::Uri = url.trim().parse().map_err(|_| "it is not an address".to_owned())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err("it is not an address that begins with https://".to_owned());
        }
        Ok(Self { url, client: outbound.client() })
    }

    /// # Errors
    /// It was not taken. Never names the address.
    pub async fn post(&self, text: &str) -> Result<(), String> {
        let body = serde_json::json!({"text": plain(text)}).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("gatelog/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        match tokio::time::timeout(PATIENCE, self.client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("it answered {}", answer.status())),
            Ok(Err(_)) => Err("it could not be reached".to_owned()),
            Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// What people named must not become a link, a mention or a command: Slack reads `<…>` and `&`, and its
/// documentation says to escape just these.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays_text() {
        assert_eq!(plain("a <!channel> & b\n`c`"), "a &lt;!channel&gt; &amp; b `c`");
    }

    #[tokio::test]
    async fn addresses() {
        let outbound = Outbound::new(None, &crate::outbound::Proxies::default()).unwrap();
        assert!(Poster::new("https://hooks.example.com/services/x\n", &outbound).is_ok());
        for bad in ["", "ftp://x", "hooks.example.com", "https://"] {
            assert!(Poster::new(bad, &outbound).is_err(), "{bad}");
        }
    }
}
