//! `POST /webhook`: headers, size, signature; then the delivery is recorded and answered.

use std::{
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use sha2::Sha256;

use super::{App, connection::Peer};
use crate::{
    config::Secret,
    event::{ContentType, Delivery},
    gate::{ReceiveError, Received},
    telemetry,
    time::Time,
};

/// GitHub sends no larger payload.
const MAX_BODY: usize = 25 * 1024 * 1024;

/// Bytes of bodies in memory at once whose signature is not known yet: ten of the largest.
const MAX_UNVERIFIED: usize = 10 * MAX_BODY;

/// For a whole body. GitHub gives up on a delivery after 10 s.
const BODY_TIME: Duration = Duration::from_secs(10);

/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("10");

/// What the intake knows and counts.
pub struct Intake {
    secrets: Vec<Secret>,
    unverified: AtomicUsize,
    /// Second of the last warning of a bad signature: anyone can cause one.
    warned: AtomicI64,
}

impl Intake {
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets, unverified: AtomicUsize::new(0), warned: AtomicI64::new(0) }
    }

    /// At most one warning a second.
    fn may_warn(&self, now: Time) -> bool {
        self.warned.swap(now.unix_seconds(), Ordering::Relaxed) != now.unix_seconds()
    }
}

/// Why a delivery is not taken. The texts go out: they tell nothing of the inside.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("header {0} is missing")]
    NoHeader(&'static str),
    #[error("header {0} is not what GitHub sends")]
    BadHeader(&'static str),
    #[error("content type must be application/json or application/x-www-form-urlencoded")]
    ContentType,
    #[error("the payload is larger than 25 MB")]
    TooLarge,
    #[error("the payload did not arrive in 10 s")]
    TooSlow,
    #[error("the payload was cut off")]
    CutOff,
    #[error("X-Hub-Signature-256 is missing or does not match")]
    Signature,
    #[error("too much is being received")]
    Busy,
    #[error("the delivery cannot be recorded now")]
    Store(#[from] ReceiveError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoHeader(_) | Self::BadHeader(_) | Self::CutOff => StatusCode::BAD_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Signature => StatusCode::UNAUTHORIZED,
            Self::Busy | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn outcome(&self) -> telemetry::Intake {
        match self {
            Self::Signature => telemetry::Intake::BadSignature,
            Self::Busy | Self::Store(_) => telemetry::Intake::Refused,
            _ => telemetry::Intake::Malformed,
        }
    }

    fn answer(&self) -> Response {
        let status = self.status();
        let mut answer = json(status, &serde_json::json!({"error": self.to_string()}).to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        answer
    }
}

/// 202 once the event is durable, 200 for a delivery that came before.
pub async fn receive(State(app): State<App>, request: Request) -> Response {
    match take(&app, request).await {
        Ok((event, received)) => {
            let outcome =
                if received.duplicate { telemetry::Intake::Duplicate } else { telemetry::Intake::Recorded };
            app.metrics.intake(&event, outcome);
            accepted(received)
        }
        Err((event, refusal)) => {
            app.metrics.intake(&event, refusal.outcome());
            app.intake.log(&event, &refusal);
            refusal.answer()
        }
    }
}

fn accepted(Received { seq, duplicate }: Received) -> Response {
    if duplicate {
        json(StatusCode::OK, &format!("{{\"seq\":{seq},\"duplicate\":true}}"))
    } else {
        json(StatusCode::ACCEPTED, &format!("{{\"seq\":{seq}}}"))
    }
}

/// Checks a request and has it recorded. An error names the event once the signature is known to be
/// good, so that nobody without the secret fills logs or metrics with names.
async fn take(app: &App, request: Request) -> Result<(String, Received), (String, Refusal)> {
    let unknown = |refusal| (String::new(), refusal);
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.headers).map_err(unknown)?;
    let peer = parts.extensions.get::<Peer>().cloned().unwrap_or_default();
    let body = peer.waited_for(app.intake.read(&parts.headers, body)).await.map_err(unknown)?;
    if !is_signed(&app.intake.secrets, parts.headers.get("x-hub-signature-256"), &body) {
        return Err(unknown(Refusal::Signature));
    }
    let Head { guid, name, content } = head;
    let (event, id, bytes) = (name.clone(), guid.clone(), body.len());
    let delivery = Delivery { guid, name, content, body, received_at: Time::now() };
    match app.gate.receive(delivery).await {
        Ok(received) => {
            let Received { seq, duplicate } = received;
            tracing::info!(delivery.id = id, event, seq, duplicate, bytes, "received {event} as entry {seq}");
            Ok((event, received))
        }
        Err(e) => Err((event, e.into())),
    }
}

/// What the headers say.
#[derive(Debug)]
struct Head {
    guid: String,
    name: String,
    content: ContentType,
}

impl Head {
    fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let event = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let guid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        Ok(Self {
            name: word(headers, "X-GitHub-Event", 64, event)?,
            guid: word(headers, "X-GitHub-Delivery", 100, guid)?,
            content: content_type(headers)?,
        })
    }
}

/// The one value of a header. It goes into keys, logs and metrics, so its letters are bounded.
fn word(
    headers: &HeaderMap,
    name: &'static str,
    max: usize,
    letter: impl Fn(u8) -> bool,
) -> Result<String, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Refusal::NoHeader(name))?;
    match value.to_str() {
        Ok(v) if !v.is_empty() && v.len() <= max && v.bytes().all(letter) && values.next().is_none() => {
            Ok(v.to_owned())
        }
        _ => Err(Refusal::BadHeader(name)),
    }
}

fn content_type(headers: &HeaderMap) -> Result<ContentType, Refusal> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|e| e != "identity") {
        return Err(Refusal::ContentType);
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" => Ok(ContentType::Json),
        "application/x-www-form-urlencoded" => Ok(ContentType::Form),
        _ => Err(Refusal::ContentType),
    }
}

impl Intake {
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        let length: Option<usize> = length.and_then(|l| l.parse().ok());
        if length.is_some_and(|l| l > MAX_BODY) {
            return Err(Refusal::TooLarge);
        }
        tokio::time::timeout(BODY_TIME, self.collect(body, length)).await.unwrap_or(Err(Refusal::TooSlow))
    }

    async fn collect(&self, mut body: Body, length: Option<usize>) -> Result<Bytes, Refusal> {
        let mut held = Held { of: &self.unverified, bytes: 0 };
        // A length is a claim: believed up to what costs nothing.
        let mut out = BytesMut::with_capacity(length.unwrap_or(0).min(64 * 1024));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::CutOff)?.into_data() else { continue };
            if out.len() + data.len() > MAX_BODY {
                return Err(Refusal::TooLarge);
            }
            held.take(data.len())?;
            out.extend_from_slice(&data);
        }
        Ok(out.freeze())
    }

    fn log(&self, event: &str, refusal: &Refusal) {
        match refusal {
            Refusal::Store(e) => tracing::error!(event, "a delivery was not recorded: {e}"),
            Refusal::Busy => tracing::warn!("a delivery was refused: {refusal}"),
            Refusal::Signature if self.may_warn(Time::now()) => {
                tracing::warn!("a delivery was refused: {refusal}")
            }
            _ => tracing::debug!("a delivery was refused: {refusal}"),
        }
    }
}

/// A share of [`MAX_UNVERIFIED`], given back when dropped.
struct Held<'a> {
    of: &'a AtomicUsize,
    bytes: usize,
}

impl Held<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let before = self.of.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > MAX_UNVERIFIED { Err(Refusal::Busy) } else { Ok(()) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether one of the secrets signed the body: HMAC-SHA-256 over the raw bytes, compared in constant
/// time (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).
fn is_signed(secrets: &[Secret], signature: Option<&HeaderValue>, body: &[u8]) -> bool {
    let hex = signature.and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("sha256="));
    let mut expected = [0; 32];
    if hex.is_none_or(|h| hex::decode_to_slice(h, &mut expected).is_err()) {
        return false;
    }
    secrets.iter().any(|secret| {
        // HMAC takes keys of any length.
        Hmac::<Sha256>::new_from_slice(secret.expose())
            .is_ok_and(|mac| mac.chain_update(body).verify_slice(&expected).is_ok())
    })
}

fn json(status: StatusCode, body: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn signed(secrets: &[&str], signature: &str, body: &str) -> bool {
        let secrets: Vec<_> = secrets.iter().map(|s| Secret::new(s.as_bytes().to_vec())).collect();
        is_signed(&secrets, Some(&HeaderValue::from_str(signature).unwrap()), body.as_bytes())
    }

    /// The example of GitHub's documentation.
    #[test]
    fn the_documented_signature() {
        let secret = "It's a Secret to Everybody";
        assert!(signed(&[secret], HELLO, "Hello, World!"));
        assert!(signed(&["new", secret], HELLO, "Hello, World!"));
        assert!(!signed(&["new"], HELLO, "Hello, World!"));
        assert!(!signed(&[], HELLO, "Hello, World!"));
        assert!(!signed(&[secret], HELLO, "Hello, World?"));
        assert!(!signed(&[secret], &HELLO[..HELLO.len() - 2], "Hello, World!"));
        assert!(!signed(&[secret], &HELLO.replace("sha256=", "sha1="), "Hello, World!"));
        assert!(!signed(&[secret], "", "Hello, World!"));
        assert!(!is_signed(&[Secret::new(secret.into())], None, b"Hello, World!"));
    }

    #[test]
    fn headers_are_words() {
        let read = |guid: &str, event: &str, content: &str| {
            let mut h = HeaderMap::new();
            for (name, value) in
                [("x-github-delivery", guid), ("x-github-event", event), ("content-type", content)]
            {
                if !value.is_empty() {
                    h.insert(name, HeaderValue::from_str(value).unwrap());
                }
            }
            Head::read(&h).map(|h| h.content).map_err(|e| format!("{} {e}", e.status().as_u16()))
        };
        let (guid, form) = ("72d3162e-cc78-11e3-81ab-4c9367dc0958", "application/x-www-form-urlencoded");
        assert_eq!(read(guid, "push", "application/json; charset=utf-8"), Ok(ContentType::Json));
        assert_eq!(read(guid, "push", form), Ok(ContentType::Form));
        assert_eq!(read("", "push", form), Err("400 header X-GitHub-Delivery is missing".into()));
        assert_eq!(read(guid, "", form), Err("400 header X-GitHub-Event is missing".into()));
        assert_eq!(
            read("a#2", "push", form),
            Err("400 header X-GitHub-Delivery is not what GitHub sends".into())
        );
        assert_eq!(read(guid, "a b", form), Err("400 header X-GitHub-Event is not what GitHub sends".into()));
        assert!(read(guid, "push", "text/plain").unwrap_err().starts_with("415"));
        assert!(read(guid, "push", "").unwrap_err().starts_with("415"));
    }

    #[test]
    fn unverified_bytes_are_bounded_and_given_back() {
        let used = AtomicUsize::new(0);
        {
            let mut held = Held { of: &used, bytes: 0 };
            held.take(MAX_UNVERIFIED).unwrap();
            assert!(matches!(Held { of: &used, bytes: 0 }.take(1), Err(Refusal::Busy)));
        }
        assert_eq!(used.load(Ordering::Relaxed), 0);
    }
}
