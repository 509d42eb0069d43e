//! Connections that gatelog makes: which certificates it trusts, and whether it goes through a proxy.
//!
//! One way out for all of them (GitHub's API, alerts, somebody else's log), so that what an operator
//! sets for one holds for the others:
//! - trusted are the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` in their place) and
//!   those of `[outbound] ca_file`;
//! - `https` goes through the proxy of `HTTPS_PROXY` (`https_proxy`) by `CONNECT` (RFC 9110 §9.3.6), except to the
//!   hosts of `NO_PROXY` (`no_proxy`), which are written as curl reads them. `http`, which is for the loopback and
//!   tests, never does. TLS is ours from end to end: a proxy sees names of hosts and no content.

use std::{
    fmt,
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tower_service::Service;

/// Larger than the certificates of all authorities together.
const MAX_CA_FILE: u64 = 4 << 20;

/// Why no connection could ever be made. All are mistakes of the set-up; none shows a password.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// `why` says what is wrong with the file.
    #[error("[outbound] ca_file: {file}: {why}")]
    CaFile { file: String, why: String },
    #[error(
        "no certificate authority is trusted here: install ca-certificates, or set [outbound] ca_file{0}"
    )]
    NoRoots(String),
    #[error("environment variable {0} is no proxy; it must be http://HOST:PORT or https://HOST:PORT")]
    Proxy(&'static str),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Proxies, as the environment names them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    https: Option<(&'static str, String)>,
    no: String,
}

impl Proxies {
    /// What the variables say now. Upper case wins; an empty one is none.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn of_environment() -> Result<Self, OutboundError> {
        let https = first(["HTTPS_PROXY", "https_proxy"])?;
        Ok(Self { https, no: first(["NO_PROXY", "no_proxy"])?.map(|(_, no)| no).unwrap_or_default() })
    }

    /// As if `HTTPS_PROXY` and `NO_PROXY` were these.
    #[must_use]
    pub fn of(https: &str, no: &str) -> Self {
        Self { https: Some(("HTTPS_PROXY", https.to_owned())), no: no.to_owned() }
    }

    fn matcher(&self) -> Result<Matcher, OutboundError> {
        let Some((variable, proxy)) = &self.https else { return Ok(Matcher::builder().build()) };
        let all = Matcher::builder().https(proxy.as_str()).build();
        // One that is not understood would be no proxy at all: said, not passed over in silence.
        let fine = all
            .intercept(&Uri::from_static("https://github.com/"))
            .is_some_and(|p| matches!(p.uri().scheme_str(), Some("http" | "https")));
        if !fine {
            return Err(OutboundError::Proxy(variable));
        }
        Ok(Matcher::builder().https(proxy.as_str()).no(self.no.as_str()).build())
    }
}

fn first(names: [&'static str; 2]) -> Result<Option<(&'static str, String)>, OutboundError> {
    for name in names {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => return Ok(Some((name, value.trim().to_owned()))),
            Err(std::env::VarError::NotUnicode(_)) => return Err(OutboundError::Proxy(name)),
            _ => {}
        }
    }
    Ok(None)
}

/// How connections are made. A cheap clone.
#[derive(Clone)]
pub struct Outbound {
    tls: ClientConfig,
    proxies: Arc<Matcher>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Matcher` shows no password.
        f.debug_struct("Outbound").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

/// What a client connects with.
pub type Connector = HttpsConnector<Door>;

impl Outbound {
    /// Trusts the system's roots and those of `ca_file` (PEM, one or more certificates).
    ///
    /// # Errors
    /// `ca_file` cannot be read or holds no certificate, nothing is trusted at all, or the proxy is none.
    pub fn new(ca_file: Option<&Path>, proxies: &Proxies) -> Result<Self, OutboundError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        // One unreadable certificate among the system's is not worth stopping for; none at all is.
        roots.add_parsable_certificates(system.certs);
        if let Some(file) = ca_file {
            add(&mut roots, file)?;
        }
        if roots.is_empty() {
            let why = system.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
            return Err(OutboundError::NoRoots(why));
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| OutboundError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls, proxies: Arc::new(proxies.matcher()?) })
    }

    /// A client of HTTP/1.1 that connects this way. Its connections are its own.
    #[must_use]
    pub fn client<B>(&self) -> Client<Connector, B>
    where
        B: http_body::Body + Send,
        B::Data: Send,
    {
        Client::builder(TokioExecutor::new()).build(self.connector())
    }

    fn connector(&self) -> Connector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let to_proxy = https_over(tcp.clone(), self.tls.clone());
        let door = Door { tcp, to_proxy, proxies: self.proxies.clone() };
        https_over(door, self.tls.clone())
    }

    /// Host and port of the proxy that a connection to `uri` goes through.
    #[must_use]
    pub fn proxy_for(&self, uri: &Uri) -> Option<String> {
        let authority = self.proxies.intercept(uri)?.uri().authority()?.to_string();
        Some(authority)
    }
}

fn https_over<T>(inner: T, tls: ClientConfig) -> HttpsConnector<T> {
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(inner)
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), OutboundError> {
    let wrong = |why: String| OutboundError::CaFile { file: file.display().to_string(), why };
    let size = file.metadata().map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_CA_FILE {
        return Err(wrong(format!("it is over {MAX_CA_FILE} bytes")));
    }
    let text = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|e| wrong(format!("it is not PEM: {e}")))?;
        roots.add(certificate).map_err(|e| wrong(format!("a certificate in it cannot be used: {e}")))?;
    }
    if roots.len() == before {
        return Err(wrong("it holds no certificate (it must have `-----BEGIN CERTIFICATE-----`)".to_owned()));
    }
    Ok(())
}

/// Opens what TLS then goes over: a connection to the host, or a tunnel through a proxy.
#[derive(Clone)]
pub struct Door {
    tcp: HttpConnector,
    /// A proxy may itself be reached over TLS.
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: Arc<Matcher>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Door {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.tcp.poll_ready(cx))?;
        self.to_proxy.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let proxy = (to.scheme() == Some(&Scheme::HTTPS)).then(|| self.proxies.intercept(&to)).flatten();
        let Some(proxy) = proxy else {
            let connecting = self.tcp.call(to);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let tunnel = tunnel(&proxy, self.to_proxy.clone()).call(to);
        let name = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
        Box::pin(async move {
            tunnel.await.map_err(|e| io::Error::other(format!("the proxy {name}: {}", sentence(&e))).into())
        })
    }
}

fn tunnel<C>(proxy: &Intercept, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(password) => tunnel.with_auth(password.clone()),
        None => tunnel,
    }
}

/// With the causes, which the outer error does not say.
fn sentence(e: &dyn std::error::Error) -> String {
    let mut said = e.to_string();
    let mut at = e.source();
    while let Some(inner) = at {
        said = format!("{said}: {inner}");
        at = inner.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxy: &str, no: &str, to: &str) -> Option<String> {
        let outbound = Outbound { tls: tls(), proxies: Arc::new(Proxies::of(proxy, no).matcher().unwrap()) };
        outbound.proxy_for(&to.parse().unwrap())
    }

    fn tls() -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    }

    #[test]
    fn https_goes_through_the_proxy_unless_told_otherwise() {
        let to = |no: &str, to: &str| through("http://user:word@proxy.example:3128", no, to);
        assert_eq!(to("", "https://api.github.com/x").as_deref(), Some("proxy.example:3128"));
        assert_eq!(to("github.com", "https://api.github.com/x"), None);
        assert_eq!(to(".example.com, 10.0.0.0/8", "https://10.1.2.3/x"), None);
        assert_eq!(to("*", "https://api.github.com/"), None);
        assert_eq!(to("hub.com", "https://github.com/").as_deref(), Some("proxy.example:3128"));
        assert_eq!(to("", "http://127.0.0.1:8080/"), None);
    }

    #[test]
    fn what_is_no_proxy_is_said_without_its_password() {
        for bad in ["socks5://u:secret@proxy:1080", "ftp://u:secret@proxy", "http://", "u:secret@"] {
            let said = Proxies::of(bad, "").matcher().unwrap_err().to_string();
            assert!(said.contains("HTTPS_PROXY") && !said.contains("secret"), "{bad}: {said}");
        }
        let shown = format!("{:?}", Proxies::of("http://u:secret@proxy:1", "").matcher().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_ca_file_holds_certificates_or_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let said = |text: &str| {
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, text).unwrap();
            Outbound::new(Some(&file), &Proxies::default()).unwrap_err().to_string()
        };
        assert!(said("").contains("no certificate"));
        assert!(
            said("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("cannot be used")
        );
        assert!(said("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").contains("not PEM"));
        let gone = Outbound::new(Some(Path::new("/nowhere/ca.pem")), &Proxies::default()).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/ca.pem"));
    }
}
