//! The App's key: made here, checked here.

use std::sync::OnceLock;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// An RSA-2048 key: the private half as PEM (PKCS#8), the public half as DER.
#[derive(Clone)]
pub struct AppKey {
    pub private_pem: String,
    pub public_der: Vec<u8>,
}

/// The key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not generate an RSA key")]
pub struct KeyError;

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

impl AppKey {
    /// A fresh key (takes about 0.1 s).
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let der: Pkcs8V1Der<'_> = pair.as_der()?;
        Ok(Self {
            private_pem: pem("PRIVATE KEY", der.as_ref()),
            public_der: pair.public_key().as_ref().to_vec(),
        })
    }

    /// One key for all simulated GitHubs of this process, because making one takes its time.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn of_this_process() -> Result<Self, KeyError> {
        static KEY: OnceLock<AppKey> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(key.clone());
        }
        let fresh = Self::generate()?;
        Ok(KEY.get_or_init(|| fresh).clone())
    }

    /// Whether `signature` (RS256) is ours over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_der)
            .verify(message, signature)
            .is_ok()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any split is at a character.
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_one_that_the_github_client_reads() {
        let key = AppKey::of_this_process().unwrap();
        assert!(key.private_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        octocrab::auth::create_jwt(octocrab::models::AppId(1), &jsonwebtoken_key(&key.private_pem))
            .map(|jwt| {
                let (message, signature) = jwt.rsplit_once('.').unwrap();
                let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
                assert!(key.verifies(message.as_bytes(), &signature));
                assert!(!key.verifies(b"other", &signature));
            })
            .unwrap();
    }

    fn jsonwebtoken_key(pem: &str) -> octocrab::auth::EncodingKey {
        octocrab::auth::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
    }
}
