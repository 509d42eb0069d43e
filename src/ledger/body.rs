//! Bodies: what people wrote, kept beside the chain so that it can be erased.

use sha2::{Digest as _, Sha256};

use super::entry::Hash;

/// 32 random bytes, kept with the body and erased with it: without it, a commitment to a guessable
/// body tells nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl Salt {
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self(salt))
    }
}

/// `SHA-256(0x02 ‖ salt ‖ body)`
#[must_use]
pub fn commitment(salt: &Salt, body: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([2]).chain_update(salt.0).chain_update(body).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '\x02'; 32 × '\x07'; 'hello'` through `sha256sum`.
    #[test]
    fn golden() {
        let plain: Vec<u8> = [&[2][..], &[7; 32], b"hello"].concat();
        assert_eq!(commitment(&Salt([7; 32]), b"hello").0, <[u8; 32]>::from(Sha256::digest(plain)));
        assert_ne!(commitment(&Salt([7; 32]), b"hello"), commitment(&Salt([8; 32]), b"hello"));
    }
}
