//! Checkpoints: the text of a note that says what a log holds, as C2SP tlog-checkpoint v1.0.0 has it.
//!
//! ```text
//! <origin>\n
//! <size, decimal, no leading zeros>\n
//! <root, base64 of 32 bytes>\n
//! [extension lines]                       none in ours
//! ```

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    chain::empty_root,
    entry::Hash,
    note::{self, NoteError, Verifier},
};

/// How much a log held, and the Merkle root over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a URL without scheme, the name of the log's key.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("it is no checkpoint: {0}")]
    Malformed(&'static str),
    /// It says that it holds nothing, with a root that is not that of nothing.
    #[error("it is empty, but its root is not that of nothing")]
    EmptyRoot,
    #[error("it is of the log {found}, not of {expected}")]
    OtherLog { expected: String, found: String },
}

impl Checkpoint {
    /// What is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0))
    }

    /// Reads the text of a note. Extension lines are skipped.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] or [`CheckpointError::EmptyRoot`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        use CheckpointError::Malformed;
        let text = text.strip_suffix('\n').ok_or(Malformed("it does not end in a newline"))?;
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|o| !o.is_empty()).ok_or(Malformed("it has no origin"))?;
        let size = lines.next().and_then(decimal).ok_or(Malformed("its second line is no size"))?;
        let root = lines.next().and_then(hash).ok_or(Malformed("its third line is no root"))?;
        if lines.any(str::is_empty) {
            return Err(Malformed("an extension line is empty"));
        }
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Opens a signed checkpoint of the log whose key is among `trusted`: its origin is the name of a
    /// trusted key that signed it.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(signed: &[u8], trusted: &[Verifier]) -> Result<Self, CheckpointError> {
        let opened = note::open(signed, trusted)?;
        let checkpoint = Self::parse(opened.text)?;
        // A key that signs for another log must not speak for this one.
        if opened.signed_by.iter().any(|v| v.name() == checkpoint.origin) {
            return Ok(checkpoint);
        }
        let expected = opened.signed_by.first().map_or("", Verifier::name).to_owned();
        Err(CheckpointError::OtherLog { expected, found: checkpoint.origin })
    }
}

/// A number as the formats of C2SP write it: decimal digits, no leading zero.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = plain && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A hash as they write it: base64 with padding.
#[must_use]
pub fn hash(text: &str) -> Option<Hash> {
    Some(Hash(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::{Signer, sign};

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "gate.example.com/log/1".into(), size: 43, root: Hash([0xab; 32]) }
    }

    #[test]
    fn golden_text() {
        let expected = "gate.example.com/log/1\n43\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n";
        assert_eq!(checkpoint().text(), expected);
        assert_eq!(Checkpoint::parse(expected), Ok(checkpoint()));
        assert_eq!(Checkpoint::parse(&format!("{expected}extension\n")), Ok(checkpoint()));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let good = checkpoint().text();
        for (from, to) in [
            ("43", "043"),
            ("43", "+43"),
            ("43", ""),
            ("43", "-1"),
            ("43", "18446744073709551616"),
            ("43", "0"),
            ("6s=\n", "6s\n"),
            ("6s=\n", "6s="),
            ("6s=\n", "6s=\n\n"),
            ("q6ur", ""),
            ("gate.example.com/log/1", ""),
        ] {
            assert!(good.contains(from));
            assert!(Checkpoint::parse(&good.replacen(from, to, 1)).is_err(), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_key_speaks_for_its_own_log_only() {
        let ours = Signer::new("gate.example.com/log/1", &[1; 32]).unwrap();
        let other = Signer::new("other.example.com/log", &[2; 32]).unwrap();
        let trusted = [ours.verifier().clone(), other.verifier().clone()];
        let signed = |by: &Signer| sign(&checkpoint().text(), [by]).unwrap();
        assert_eq!(Checkpoint::open(signed(&ours).as_bytes(), &trusted), Ok(checkpoint()));
        let refused = Checkpoint::open(signed(&other).as_bytes(), &trusted);
        assert!(matches!(refused, Err(CheckpointError::OtherLog { .. })), "{refused:?}");
    }
}
