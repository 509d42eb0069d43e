//! Reading a log over HTTP.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;

use super::Failure;
use crate::outbound::{Connector, Outbound, Proxies};

/// A bundle of 256 entries of 65,535 bytes each is the largest file there can be.
const MAX_FILE: usize = 17 << 20;

/// What one file may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The log at a URL.
pub struct Remote {
    url: String,
    client: Client<Connector, Empty<Bytes>>,
    runtime: tokio::runtime::Runtime,
}

impl Remote {
    /// # Errors
    /// The URL is none, nothing is trusted here, or the proxy of the environment is none.
    pub fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let usable = url.parse::<Uri>().is_ok_and(|u| {
            matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some() && u.query().is_none()
        });
        if !usable {
            return Err(Failure::usage(format!("{url} is not the URL of a log (https://HOST/log)")));
        }
        let runtime = crate::cli::runtime()?;
        let client = Proxies::of_environment()
            .and_then(|proxies| Outbound::new(ca_file, &proxies))
            .map_err(|e| Failure::usage(e.to_string()))?
            .client();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client, runtime })
    }

    /// A file of the log. `None`: it does not exist.
    ///
    /// # Errors
    /// It cannot be fetched: what, and why.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>, String> {
        let url = format!("{}/{name}", self.url);
        let failed = |e: &dyn std::fmt::Display| format!("fetching {url}: {e}");
        let request = Request::get(&url)
            .header(header::USER_AGENT, concat!("gatelog/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|e| failed(&e))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|e| failed(&cause(&e)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_FILE).collect().await;
            Ok::<_, String>((status, body.map_err(|e| failed(&e))?.to_bytes()))
        };
        let limited = async { tokio::time::timeout(TIMEOUT, exchange).await };
        match self.runtime.block_on(limited).map_err(|_| failed(&"it took over 30 s"))?? {
            (StatusCode::OK, body) => Ok(Some(body)),
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Ok(None),
            (status, _) => Err(failed(&status)),
        }
    }
}

/// The innermost reason: "connection refused" and not "client error (Connect)".
fn cause(e: &dyn std::error::Error) -> String {
    let mut last = e;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
