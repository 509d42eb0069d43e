//! Installation tokens: one per installation, minted by one caller at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method};
use serde::Deserialize;

use super::{
    Github, Trouble, TroubleKind,
    call::{As, Authorization, Call},
};
use crate::time::Time;

/// A token this close to its end is not used any more: the call it goes with takes time too, and
/// the two clocks may differ.
const MARGIN: Duration = Duration::from_secs(60);

/// What a token without `expires_at` is good for; GitHub's live an hour.
const LIFE: Duration = Duration::from_secs(50 * 60);

/// An installation token, ready to be sent.
#[derive(Clone)]
pub(super) struct Token {
    header: HeaderValue,
    expires: Time,
    /// Tells this token from its successor, so that two calls that both got 401 drop it once.
    number: u64,
}

impl Token {
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// The tokens at hand. The async lock of an installation is held while its token is minted, so that
/// twenty first calls make one request.
#[derive(Default)]
pub(super) struct Tokens {
    of: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    minted: u64,
}

impl Tokens {
    fn slot(&self, installation: u64) -> Arc<tokio::sync::Mutex<Slot>> {
        // The map is never left half-changed: a panic elsewhere does not spoil it.
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(of.entry(installation).or_default())
    }
}

impl Github {
    /// The token of the installation, minted if there is none that lives long enough.
    pub(super) async fn token(&self, installation: u64) -> Result<Token, Trouble> {
        let slot = self.inner.tokens.slot(installation);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.token.as_ref().filter(|t| t.expires > Time::now().plus(MARGIN)) {
            return Ok(token.clone());
        }
        slot.minted += 1;
        let token = self.mint(installation, slot.minted).await?;
        slot.token = Some(token.clone());
        Ok(token)
    }

    /// GitHub refused `token` (401): it is not used again.
    pub(super) async fn refused(&self, installation: u64, token: &Token) {
        let slot = self.inner.tokens.slot(installation);
        let mut slot = slot.lock().await;
        if slot.token.as_ref().is_some_and(|t| t.number == token.number) {
            slot.token = None;
        }
    }

    async fn mint(&self, installation: u64, number: u64) -> Result<Token, Trouble> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let call = Call::rest(As::App, Method::POST, &path).kind("token");
        let answer = self.attempt(&call, Authorization::App).await?;
        let minted: Minted = self.admit(&call, answer)?.expect(&[201])?.json()?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", minted.token))
            .map_err(|_| Trouble::new(TroubleKind::Unexpected, "GitHub minted a token that is not text"))?;
        header.set_sensitive(true);
        let expires = minted.expires_at.unwrap_or_else(|| Time::now().plus(LIFE));
        Ok(Token { header, expires, number })
    }
}

#[derive(Deserialize)]
struct Minted {
    token: String,
    expires_at: Option<Time>,
}
