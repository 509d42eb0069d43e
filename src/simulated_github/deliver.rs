//! Delivering webhooks: signed as GitHub signs, with GitHub's headers.

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use sha2::Sha256;

/// One event on its way to the App.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `X-GitHub-Delivery`; the same for every redelivery.
    pub guid: String,
    /// `X-GitHub-Event`
    pub event: String,
    pub payload: Value,
}

/// What the receiver answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The delivery could not be made: nobody listens, or the connection broke.
#[derive(Debug, thiserror::Error)]
#[error("delivery of {event} {guid} to {url} failed: {reason}")]
pub struct DeliveryError {
    event: String,
    guid: String,
    url: String,
    reason: String,
}

/// Delivers to one URL with one secret. Cheap to clone.
#[derive(Clone)]
pub struct Courier {
    url: String,
    secret: Vec<u8>,
    hook_id: u64,
    app_id: u64,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Courier {
    #[must_use]
    pub fn new(url: &str, secret: &str, hook_id: u64, app_id: u64) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url: url.to_owned(), secret: secret.as_bytes().to_vec(), hook_id, app_id, client }
    }

    /// Signs and sends; a redelivery is the same call again.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver(&self, hook: &Webhook) -> Result<Answer, DeliveryError> {
        let body = hook.payload.to_string();
        let signature = sign(&self.secret, body.as_bytes());
        self.send(hook, body.into(), &signature, "application/json").await
    }

    /// As a webhook that is set to send forms.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver_form(&self, hook: &Webhook) -> Result<Answer, DeliveryError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let body = form.append_pair("payload", &hook.payload.to_string()).finish();
        let signature = sign(&self.secret, body.as_bytes());
        self.send(hook, body.into(), &signature, "application/x-www-form-urlencoded").await
    }

    /// With a signature made with another secret.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver_badly_signed(&self, hook: &Webhook) -> Result<Answer, DeliveryError> {
        let body = hook.payload.to_string();
        let signature = sign(b"not the secret", body.as_bytes());
        self.send(hook, body.into(), &signature, "application/json").await
    }

    /// Any bytes under a good signature, such as broken JSON.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver_raw(&self, guid: &str, event: &str, body: &[u8]) -> Result<Answer, DeliveryError> {
        let hook = Webhook { guid: guid.to_owned(), event: event.to_owned(), payload: Value::Null };
        let signature = sign(&self.secret, body);
        self.send(&hook, Bytes::copy_from_slice(body), &signature, "application/json").await
    }

    async fn send(
        &self,
        hook: &Webhook,
        body: Bytes,
        signature: &str,
        kind: &str,
    ) -> Result<Answer, DeliveryError> {
        let failed = |reason: String| DeliveryError {
            event: hook.event.clone(),
            guid: hook.guid.clone(),
            url: self.url.clone(),
            reason,
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::USER_AGENT, "GitHub-Hookshot/simulated")
            .header(header::ACCEPT, "*/*")
            .header(header::CONTENT_TYPE, kind)
            .header("X-GitHub-Event", &hook.event)
            .header("X-GitHub-Delivery", &hook.guid)
            .header("X-GitHub-Hook-ID", self.hook_id)
            .header("X-GitHub-Hook-Installation-Target-ID", self.app_id)
            .header("X-GitHub-Hook-Installation-Target-Type", "integration")
            .header("X-Hub-Signature-256", signature)
            .body(Full::new(body))
            .map_err(|e| failed(e.to_string()))?;
        let response = self.client.request(request).await.map_err(|e| failed(causes(&e)))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| failed(causes(&e)))?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// `X-Hub-Signature-256` of a body.
#[must_use]
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    // HMAC takes a key of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn causes(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut at = e.source();
    while let Some(cause) = at {
        out.push_str(&format!(": {cause}"));
        at = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    /// The example of GitHub's documentation ("Validating webhook deliveries").
    #[test]
    fn signs_as_github_documents() {
        assert_eq!(
            super::sign(b"It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
