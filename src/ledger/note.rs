//! Signed notes: a text with signature lines, as C2SP signed-note v1.0.0 has them, Ed25519 only.
//!
//! ```text
//! <text, every line ends in \n>\n
//! — <key name> base64(key id, 4 bytes big-endian ‖ signature)\n        one line per signature
//!
//! key id   SHA-256(name ‖ 0x0A ‖ type ‖ public key)[..4]
//! vkey     name "+" key id in hex "+" base64(0x01 ‖ public key, 32 bytes)
//! skey     "PRIVATE+KEY+" name "+" key id in hex "+" base64(0x01 ‖ seed, 32 bytes)      as Go has it
//! ```
//! Signatures of other keys and of kinds that are not known here are kept and count for nothing. A
//! signature of a known key that is wrong rejects the note, whatever else signed it.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a note at most. A checkpoint with a hundred signatures has 20,000.
pub const MAX_NOTE: usize = 1 << 20;

/// Signature lines that are looked at; C2SP demands 16. More is no note of a log.
pub const MAX_SIGNATURES: usize = 128;

/// Type byte of an Ed25519 key that signs the text itself.
const ED25519: u8 = 0x01;

/// Type byte of an Ed25519 key that cosigns checkpoints: see [`super::cosignature`].
pub(super) const COSIGNATURE: u8 = 0x04;

pub(super) const SKEY: &str = "PRIVATE+KEY+";

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

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub(super) &'static str);

/// A key name: not empty, no white space, no `+`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A public key that is trusted to sign: a vkey.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl Verifier {
    fn new(name: &str, key: VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: key_id(name, ED25519, key.as_bytes()), key }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
        self.key.verify_strict(text.as_bytes(), &signature.into()).is_ok()
    }
}

/// The id of a 32-byte key of a type.
pub(super) fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> u32 {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(key).finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

/// A vkey, or what stands behind `PRIVATE+KEY+` of an skey.
pub(super) fn key_text(name: &str, id: u32, kind: u8, key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([kind; 33]);
    bytes[1..].copy_from_slice(key);
    let key = Zeroizing::new(BASE64_STANDARD.encode(*bytes));
    Zeroizing::new(format!("{name}+{id:08x}+{}", *key))
}

/// A point that may be trusted to sign.
///
/// # Errors
/// It is none, or a weak one.
pub(super) fn public_key(key: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| KeyError("its key is no point of the curve"))?;
    if key.is_weak() {
        return Err(KeyError("its key is weak: anybody could sign for it"));
    }
    Ok(key)
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id, ED25519, self.key.as_bytes()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({self})")
    }
}

impl FromStr for Verifier {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = parse_key(text, ED25519)?;
        let verifier = Self::new(name, public_key(&key)?);
        if verifier.id == id { Ok(verifier) } else { Err(OTHER_ID) }
    }
}

pub(super) const OTHER_ID: KeyError =
    KeyError("its key id does not fit its name and key: it was cut or mistyped");

/// Name, key id and the 32 bytes behind the type, which must be `kind`.
pub(super) fn parse_key(text: &str, kind: u8) -> Result<(&str, u32, [u8; 32]), KeyError> {
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
        Some((&ED25519, _)) => Err(KeyError("it is the key of a log, not of a witness")),
        Some((&COSIGNATURE, _)) => Err(KeyError("it is the key of a witness, not of a log")),
        Some(_) => Err(KeyError("its key is of a kind that is not known here: only Ed25519 is")),
        None => Err(SHAPE),
    }
}

/// A private key and the name it signs under: an skey. Wiped when dropped.
#[derive(Clone)]
pub struct Signer {
    verifier: Verifier,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

impl Signer {
    /// # Errors
    /// The name cannot be one.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError("the name of a key must not be empty nor hold spaces or `+`"));
        }
        let key = SigningKey::from_bytes(seed);
        Ok(Self { verifier: Verifier::new(name, key.verifying_key()), key })
    }

    /// Reads an skey.
    ///
    /// # Errors
    /// It is not one. The text is not shown.
    pub fn parse(skey: &str) -> Result<Self, KeyError> {
        let rest = skey.strip_prefix(SKEY).ok_or(KeyError("it does not begin with PRIVATE+KEY+"))?;
        let (name, id, seed) = parse_key(rest, ED25519)?;
        let seed = Zeroizing::new(seed);
        let signer = Self::new(name, &seed)?;
        if signer.verifier.id == id { Ok(signer) } else { Err(OTHER_ID) }
    }

    /// The skey. Secret.
    #[must_use]
    pub fn to_skey(&self) -> Zeroizing<String> {
        let Verifier { name, id, .. } = &self.verifier;
        Zeroizing::new(format!("{SKEY}{}", *key_text(name, *id, ED25519, self.key.as_bytes())))
    }

    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
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
        let signature = signer.key.sign(text.as_bytes()).to_bytes();
        note.push_str(&line(&signer.verifier.name, signer.verifier.id, &signature));
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
        let mut known = trusted.iter().filter(|v| v.name == s.name && v.id == s.id).peekable();
        if known.peek().is_none() {
            opened.others.push(s.name);
            continue;
        }
        let signer = known.find(|v| v.verifies(text, &s.bytes));
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
        let weak = format!(
            "a+{:08x}+{}",
            key_id("a", ED25519, &[0; 32]),
            BASE64_STANDARD.encode([&[1][..], &[0; 32]].concat())
        );
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
