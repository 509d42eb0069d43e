//! Keys as text: vkey and skey of C2SP signed-note v1.0.0, Ed25519 only.
//!
//! ```text
//! key id   SHA-256(name ‖ 0x0A ‖ kind ‖ public key)[..4]
//! vkey     name "+" key id in hex "+" base64(kind ‖ public key, 32 bytes)
//! skey     "PRIVATE+KEY+" name "+" key id in hex "+" base64(kind ‖ seed, 32 bytes)      as Go has it
//! ```
//! The kind says what is signed. It is a part of the type, so that no key can stand in for one of another kind.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Of a key that signs the text itself: a log's.
pub const LOG: u8 = 0x01;

/// Of a key that cosigns checkpoints: a witness's. C2SP tlog-cosignature.
pub const WITNESS: u8 = 0x04;

const SKEY: &str = "PRIVATE+KEY+";

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub(super) &'static str);

/// A key name: not empty, no white space, no `+`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A public key and the name it signs under.
#[derive(Clone, PartialEq, Eq)]
pub struct Vkey<const KIND: u8> {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl<const KIND: u8> Vkey<KIND> {
    fn new(name: &str, key: VerifyingKey) -> Self {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', KIND])
            .chain_update(key.as_bytes())
            .finalize();
        let id = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Self { name: name.to_owned(), id, key }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The 32 bytes of the key: two names of one key are one signer.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether the signature is one of `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
        self.key.verify_strict(message, &signature.into()).is_ok()
    }
}

impl<const KIND: u8> fmt::Display for Vkey<KIND> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self, self.key.as_bytes()))
    }
}

impl<const KIND: u8> fmt::Debug for Vkey<KIND> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vkey({self})")
    }
}

impl<const KIND: u8> FromStr for Vkey<KIND> {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = parse(text, KIND)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyError("its key is no point of the curve"))?;
        if key.is_weak() {
            return Err(KeyError("its key is weak: anybody could sign for it"));
        }
        Self::new(name, key).with_id(id)
    }
}

impl<const KIND: u8> Vkey<KIND> {
    fn with_id(self, id: u32) -> Result<Self, KeyError> {
        if self.id == id {
            return Ok(self);
        }
        Err(KeyError("its key id does not fit its name and key: it was cut or mistyped"))
    }
}

/// A private key and the name it signs under. Wiped when dropped.
#[derive(Clone)]
pub struct Skey<const KIND: u8> {
    public: Vkey<KIND>,
    key: SigningKey,
}

impl<const KIND: u8> fmt::Debug for Skey<KIND> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Skey({})", self.public)
    }
}

impl<const KIND: u8> Skey<KIND> {
    /// # Errors
    /// The name cannot be one.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError("the name of a key must not be empty nor hold spaces or `+`"));
        }
        let key = SigningKey::from_bytes(seed);
        Ok(Self { public: Vkey::new(name, key.verifying_key()), key })
    }

    /// Reads an skey.
    ///
    /// # Errors
    /// It is not one of this kind. The text is not shown.
    pub fn parse(skey: &str) -> Result<Self, KeyError> {
        let rest = skey.strip_prefix(SKEY).ok_or(KeyError("it does not begin with PRIVATE+KEY+"))?;
        let (name, id, seed) = parse(rest, KIND)?;
        let seed = Zeroizing::new(seed);
        let Self { public, key } = Self::new(name, &seed)?;
        Ok(Self { public: public.with_id(id)?, key })
    }

    /// The skey. Secret.
    #[must_use]
    pub fn to_skey(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{SKEY}{}", *text(&self.public, self.key.as_bytes())))
    }

    pub(super) fn public(&self) -> &Vkey<KIND> {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

/// A vkey, or what stands behind `PRIVATE+KEY+` of an skey.
fn text<const KIND: u8>(of: &Vkey<KIND>, key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([KIND; 33]);
    bytes[1..].copy_from_slice(key);
    let key = Zeroizing::new(BASE64_STANDARD.encode(*bytes));
    Zeroizing::new(format!("{}+{:08x}+{}", of.name, of.id, *key))
}

/// Name, key id and the 32 bytes behind the kind.
fn parse(text: &str, kind: u8) -> Result<(&str, u32, [u8; 32]), KeyError> {
    const SHAPE: KeyError = KeyError("it is not of the form NAME+KEYID+BASE64");
    // Base64 may hold `+`, names may not.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(SHAPE);
    };
    if !is_name(name) || id.len() != 8 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(SHAPE);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| SHAPE)?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|_| SHAPE)?);
    match bytes.split_first() {
        Some((found, key)) if *found == kind => Ok((name, id, key.try_into().map_err(|_| SHAPE)?)),
        Some((&LOG, _)) => Err(KeyError("it is the key of a log, not of a witness")),
        Some((&WITNESS, _)) => Err(KeyError("it is the key of a witness, not of a log")),
        Some(_) => Err(KeyError("its key is of a kind that is not known here: only Ed25519 is")),
        None => Err(SHAPE),
    }
}
