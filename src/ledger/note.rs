//! Signed notes: a text with signature lines, as C2SP signed-note v1.0.0 has them, Ed25519 only.
//!
//! ```text
//! <text, every line ends in \n>\n
//! — <key name> base64(key id, 4 bytes big-endian ‖ signature)\n        one line per signature
//!
//! ```
//! Keys are those of [`super::vkey`], of kind 0x01. Signatures of other keys and of kinds that are not known here are kept and count for nothing. A
//! signature of a known key that is wrong rejects the note, whatever else signed it.

use base64::{Engine as _, prelude::BASE64_STANDARD};

pub use super::vkey::{KeyError, is_name};
use super::vkey::{LOG, Skey, Vkey};

/// A public key that is trusted to sign: a vkey.
pub type Verifier = Vkey<LOG>;

/// A private key that signs: an skey.
pub type Signer = Skey<LOG>;

/// Bytes of a note at most. A checkpoint with a hundred signatures has 20,000.
pub const MAX_NOTE: usize = 1 << 20;

/// Signature lines that are looked at; C2SP demands 16. More is no note of a log.
pub const MAX_SIGNATURES: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not of the form of a note.
    #[error("it is not a signed note: {0}")]
    Malformed(&'static str),
    /// A trusted key is named, and its signature is not one of this text.
    #[error("the signature of {0} is wrong")]
    BadSignature(String),
    #[error("no key that you trust has signed it; it is signed by {0}")]
    Untrusted(String),
}

impl Signer {
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        self.public()
    }
}

/// Signs `text` with each key.
///
/// # Errors
/// The text cannot be that of a note.
pub fn sign<'a>(text: &str, signers: impl IntoIterator<Item = &'a Signer>) -> Result<String, NoteError> {
    check_text(text)?;
    let mut note = format!("{text}\n");
    for signer in signers {
        note.push_str(&line(signer.verifier().name(), signer.verifier().id(), &signer.sign(text.as_bytes())));
    }
    Ok(note)
}

/// A signature line of a note, with its newline.
pub(super) fn line(name: &str, id: u32, signature: &[u8]) -> String {
    format!("— {name} {}\n", BASE64_STANDARD.encode([&id.to_be_bytes()[..], signature].concat()))
}

/// A note whose form is right. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub text: &'a str,
    pub signatures: Vec<Signature<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    pub name: &'a str,
    pub id: u32,
    /// What follows the key id; what it means depends on the key's type.
    pub bytes: Vec<u8>,
}

/// Takes a note apart.
///
/// # Errors
/// [`NoteError::Malformed`].
pub fn parse(note: &[u8]) -> Result<Parsed<'_>, NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Malformed("it is too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
    if note.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("it holds control characters"));
    }
    let blank = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line stands before signatures"))?;
    let (text, rest) = (&note[..=blank], &note[blank + 2..]);
    check_text(text)?;
    let lines = rest.strip_suffix('\n').ok_or(NoteError::Malformed("its last line is cut"))?;
    let lines: Vec<&str> = lines.split('\n').collect();
    if lines.len() > MAX_SIGNATURES {
        return Err(NoteError::Malformed("it has too many signatures"));
    }
    let signatures = lines.into_iter().map(signature).collect::<Option<_>>();
    Ok(Parsed { text, signatures: signatures.ok_or(NoteError::Malformed("a signature line is malformed"))? })
}

fn signature(line: &str) -> Option<Signature<'_>> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(encoded).ok()?;
    let (id, bytes) = bytes.split_first_chunk::<4>()?;
    if !is_name(name) || bytes.is_empty() {
        return None;
    }
    Some(Signature { name, id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.is_empty() || !text.ends_with('\n') || text.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("its text is empty, does not end in a newline or has controls"));
    }
    Ok(())
}

/// A note that at least one trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    pub text: &'a str,
    /// The trusted keys that signed it, each once.
    pub signed_by: Vec<Verifier>,
    /// Names of other keys, whose signatures say nothing here.
    pub others: Vec<&'a str>,
}

/// Opens a note: its form is right, one of `trusted` has signed it, and none of them wrongly.
///
/// # Errors
/// See [`NoteError`].
pub fn open<'a>(note: &'a [u8], trusted: &[Verifier]) -> Result<Opened<'a>, NoteError> {
    let Parsed { text, signatures } = parse(note)?;
    let mut opened = Opened { text, signed_by: vec![], others: vec![] };
    for s in &signatures {
        // Two trusted keys may share name and id by chance or by attack: then one of them must fit.
        let mut known = trusted.iter().filter(|v| v.name() == s.name && v.id() == s.id).peekable();
        if known.peek().is_none() {
            opened.others.push(s.name);
            continue;
        }
        let signer = known.find(|v| v.verifies(text.as_bytes(), &s.bytes));
        let signer = signer.ok_or_else(|| NoteError::BadSignature(s.name.to_owned()))?;
        if !opened.signed_by.contains(signer) {
            opened.signed_by.push(signer.clone());
        }
    }
    if opened.signed_by.is_empty() {
        let by: Vec<String> = signatures.iter().map(|s| format!("{}+{:08x}", s.name, s.id)).collect();
        return Err(NoteError::Untrusted(by.join(", ")));
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn signer(n: u8) -> Signer {
        Signer::new("gate.example.com/log/1", &[n; 32]).unwrap()
    }

    #[test]
    fn the_example_of_c2sp_opens() {
        let vkey: Verifier = VKEY.parse().unwrap();
        assert_eq!(vkey.to_string(), VKEY);
        let opened = open(NOTE.as_bytes(), &[vkey]).unwrap();
        assert_eq!(opened.text, "This is an example message.\n");
    }

    /// Key and note of `golang.org/x/mod/sumdb/note`, example_test.go.
    #[test]
    fn the_key_of_go_signs_as_go_does() {
        let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let signer = Signer::parse(skey).unwrap();
        assert_eq!(*signer.to_skey(), skey);
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(signer.verifier().to_string(), vkey);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let expected = format!(
            "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(sign(text, [&signer]).unwrap(), expected);
    }

    #[test]
    fn unknown_lines_are_ignored_and_known_wrong_ones_reject() {
        let (a, b) = (signer(1), signer(2));
        let note = sign("hello\n", [&a, &b]).unwrap();
        let opened = open(note.as_bytes(), &[a.verifier().clone()]).unwrap();
        assert_eq!((opened.signed_by.len(), opened.others.len()), (1, 1));
        let both = [a.verifier().clone(), b.verifier().clone()];
        assert_eq!(open(note.as_bytes(), &both).unwrap().signed_by.len(), 2);
        let other = note.replace("hello", "hullo");
        assert!(matches!(open(other.as_bytes(), &both), Err(NoteError::BadSignature(_))));
        // A wrong signature of one trusted key is not made good by a right one of another.
        let (right, wrong) = (sign("hello\n", [&a]).unwrap(), sign("hullo\n", [&b]).unwrap());
        let mixed = right + wrong.split_once("\n\n").unwrap().1;
        assert!(matches!(open(mixed.as_bytes(), &both), Err(NoteError::BadSignature(_))));
        assert!(matches!(open(NOTE.as_bytes(), &both), Err(NoteError::Untrusted(_))));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let line = NOTE.split_once("\n\n").unwrap().1;
        for bad in [
            "",
            "\n\n",
            "text\n\n",
            "text\n",
            &format!("text\n{line}"),
            &format!("text\n\n{}", line.trim_end()),
            &format!("te\txt\n\n{line}"),
            &format!("te\rxt\n\n{line}"),
            &format!("text\n\n{line}\n"),
            &format!("text\n\n{}", line.replace('—', "-")),
            &format!("text\n\n{}", line.replace("foo ", "foo  ")),
            &format!("text\n\n{}", line.replace("foo", "f+o")),
            &format!("text\n\n{}", line.repeat(MAX_SIGNATURES + 1)),
            "text\n\n— a AAAAAA==\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Err(NoteError::Malformed(_))), "{bad:?}");
        }
        // The text may hold blank lines: the last one counts.
        assert_eq!(parse(format!("a\n\nb\n\n{line}").as_bytes()).unwrap().text, "a\n\nb\n");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        // Its id fits: of 0x61 0x0A 0x01 and 32 zeros.
        let weak = format!("a+a5269a0a+{}", BASE64_STANDARD.encode([&[1][..], &[0; 32]].concat()));
        for bad in [
            "",
            "example.com/foo",
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
            &weak,
        ] {
            assert!(bad.parse::<Verifier>().is_err(), "{bad}");
        }
        assert!(Signer::new("two words", &[0; 32]).is_err());
        assert!(!format!("{:?}", signer(7)).contains(&**signer(7).to_skey()));
    }

    proptest! {
        #[test]
        fn a_signed_text_opens_and_no_changed_byte_does(text in "[a-z\n é—]{0,60}", at: prop::sample::Index, bits in 1_u8..) {
            let signer = signer(3);
            let text = text + "\n";
            let note = sign(&text, [&signer]).unwrap();
            let trusted = [signer.verifier().clone()];
            prop_assert_eq!(open(note.as_bytes(), &trusted).unwrap().text, &text);
            let mut bad = note.clone().into_bytes();
            let at = at.index(bad.len());
            bad[at] ^= bits;
            prop_assert!(open(&bad, &trusted).is_err());
        }
    }
}
