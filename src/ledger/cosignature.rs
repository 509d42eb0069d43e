//! Cosignatures: what a witness says of a checkpoint, as C2SP tlog-cosignature v1.0.1 has it, Ed25519 only.
//!
//! ```text
//! line     — <name> base64(key id, 4 bytes ‖ time, 8 bytes, both big-endian ‖ signature)\n
//! signed   cosignature/v1\n
//!          time <POSIX seconds, decimal>\n
//!          <text of the checkpoint>
//! ```
//! Keys are those of [`super::vkey`], of kind 0x04.
//!
//! It means: at that time, this was the largest tree of that log that the witness had seen, and all it had
//! seen before is the beginning of it. Keys of logs and of witnesses are different types, so that neither can
//! stand in for the other.

use super::{
    note::{self, NoteError, Parsed},
    vkey::{Skey, Vkey, WITNESS},
};
use crate::time::Time;

/// The public key of a witness: a vkey with the type byte 0x04.
pub type Cosigner = Vkey<WITNESS>;

/// The private key of a witness, and the name it cosigns under.
pub type CosigningKey = Skey<WITNESS>;

impl Cosigner {
    /// When it cosigned `text`. `None`: these bytes are no cosignature of it.
    fn time_of(&self, text: &str, bytes: &[u8]) -> Option<Time> {
        let (time, signature) = bytes.split_first_chunk::<8>()?;
        let seconds = u64::from_be_bytes(*time);
        // Zero would say nothing of when, and none is after the year 9999, where times end.
        let at = i64::try_from(seconds).ok().filter(|s| *s > 0)?;
        let at = Time::from_unix_micros(at.checked_mul(1_000_000)?)?;
        self.verifies(&message(text, seconds), signature).then_some(at)
    }
}

/// What the signature is over.
fn message(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

impl CosigningKey {
    #[must_use]
    pub fn cosigner(&self) -> &Cosigner {
        self.public()
    }

    /// The signature line over the text of a checkpoint, with its newline. Before 1970 is 1970: no witness
    /// runs with such a clock and is believed.
    #[must_use]
    pub fn cosign(&self, text: &str, time: Time) -> String {
        let seconds = u64::try_from(time.unix_seconds()).unwrap_or_default();
        let signature = self.sign(&message(text, seconds));
        note::line(
            self.cosigner().name(),
            self.cosigner().id(),
            &[&seconds.to_be_bytes()[..], &signature].concat(),
        )
    }
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub by: Cosigner,
    /// To the second.
    pub time: Time,
    /// Its line in the note, with the newline.
    pub line: String,
}

/// The cosignatures of trusted witnesses on a note, each witness once: its latest. Lines of others are
/// ignored.
///
/// # Errors
/// [`NoteError::BadSignature`]: a trusted witness is named and its cosignature is not one of this text.
pub fn cosigned(note: &Parsed<'_>, trusted: &[Cosigner]) -> Result<Vec<Cosigned>, NoteError> {
    let mut found: Vec<Cosigned> = vec![];
    for s in &note.signatures {
        let mut known = trusted.iter().filter(|c| c.name() == s.name && c.id() == s.id).peekable();
        if known.peek().is_none() {
            continue;
        }
        let by = known.find_map(|c| Some((c, c.time_of(note.text, &s.bytes)?)));
        let (by, time) = by.ok_or_else(|| NoteError::BadSignature(s.name.to_owned()))?;
        let line = note::line(s.name, s.id, &s.bytes);
        let cosigned = Cosigned { by: by.clone(), time, line };
        match found.iter_mut().find(|f| f.by == *by) {
            Some(before) if before.time >= time => {}
            Some(before) => *before = cosigned,
            None => found.push(cosigned),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::note::{Signer, Verifier, parse, sign};

    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key(n: u8) -> CosigningKey {
        CosigningKey::new("witness.example/w1", &[n; 32]).unwrap()
    }

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn with(lines: &str) -> String {
        let log = Signer::new("example.com/behind-the-sofa", &[1; 32]).unwrap();
        sign(TEXT, [&log]).unwrap() + lines
    }

    #[test]
    fn what_is_signed_is_as_c2sp_writes_it() {
        let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
                        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message(TEXT, 1_679_315_147), expected.as_bytes());
    }

    #[test]
    fn keys_read_as_they_were_written() {
        let key = key(2);
        let vkey = key.cosigner().to_string();
        assert_eq!(vkey.parse::<Cosigner>().unwrap(), *key.cosigner());
        assert_eq!(CosigningKey::parse(&key.to_skey()).unwrap().cosigner(), key.cosigner());
        assert!(!format!("{key:?}").contains(&**key.to_skey()));
        // A key is a log's or a witness', never both.
        let log = Signer::new("witness.example/w1", &[2; 32]).unwrap();
        assert_ne!(log.verifier().id(), key.cosigner().id());
        for (wrong, said) in [
            (log.verifier().to_string().parse::<Cosigner>().unwrap_err(), "of a log, not"),
            (vkey.parse::<Verifier>().unwrap_err(), "of a witness, not"),
            (CosigningKey::parse(&log.to_skey()).unwrap_err(), "of a log, not"),
            (Signer::parse(&key.to_skey()).unwrap_err(), "of a witness, not"),
            (vkey.replace("/w1", "/w2").parse::<Cosigner>().unwrap_err(), "key id does not fit"),
            (CosigningKey::new("two words", &[2; 32]).unwrap_err(), "spaces"),
        ] {
            assert!(wrong.to_string().contains(said), "{wrong}");
        }
    }

    #[test]
    fn a_cosignature_of_a_trusted_witness_counts_once_and_a_wrong_one_rejects() {
        let (a, b) = (key(2), key(3));
        let early = a.cosign(TEXT, time("2026-11-24T15:00:00Z"));
        let late = a.cosign(TEXT, time("2026-11-24T15:00:01Z"));
        let other = b.cosign(TEXT, time("2026-11-24T15:00:01Z"));
        let note = with(&format!("{late}{other}{early}"));
        let parsed = parse(note.as_bytes()).unwrap();
        let found = cosigned(&parsed, &[a.cosigner().clone()]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].time, &found[0].line), (time("2026-11-24T15:00:01Z"), &late));
        assert_eq!(cosigned(&parsed, &[]).unwrap(), []);
        let both = [a.cosigner().clone(), b.cosigner().clone()];
        assert_eq!(cosigned(&parsed, &both).unwrap().len(), 2);
        // Over another text, or with another time.
        let elsewhere = a.cosign("example.com/other\n1\nx\n", time("2026-11-24T15:00:00Z"));
        for wrong in [elsewhere, with_time(&early, 7), with_time(&early, 0)] {
            let note = with(&format!("{late}{wrong}"));
            let refused = cosigned(&parse(note.as_bytes()).unwrap(), &both);
            assert_eq!(refused, Err(NoteError::BadSignature("witness.example/w1".into())), "{wrong}");
        }
        let zero = a.cosign(TEXT, time("1970-01-01T00:00:00Z"));
        assert!(cosigned(&parse(with(&zero).as_bytes()).unwrap(), &both).is_err());
    }

    /// The line with another time in it.
    fn with_time(line: &str, seconds: u64) -> String {
        let note = with(line);
        let parsed = parse(note.as_bytes()).unwrap();
        let s = parsed.signatures.last().unwrap();
        note::line(s.name, s.id, &[&seconds.to_be_bytes()[..], &s.bytes[8..]].concat())
    }

    proptest! {
        #[test]
        fn no_changed_byte_of_a_cosigned_note_counts(at: prop::sample::Index, bits in 1_u8..) {
            let key = key(2);
            let note = with(&key.cosign(TEXT, time("2026-11-24T15:00:00Z")));
            let trusted = [key.cosigner().clone()];
            prop_assert_eq!(cosigned(&parse(note.as_bytes()).unwrap(), &trusted).unwrap().len(), 1);
            let mut bad = note.into_bytes();
            let at = at.index(bad.len());
            bad[at] ^= bits;
            // What is left of it may still be a note: of the log's signature nothing is known here.
            let log_line = TEXT.len() + 1..bad.len() - key.cosign(TEXT, time("2026-11-24T15:00:00Z")).len();
            if let Ok(parsed) = parse(&bad) {
                let found = cosigned(&parsed, &trusted).map_or(0, |f| f.len());
                prop_assert!(found == 0 || log_line.contains(&at));
            }
        }
    }
}
