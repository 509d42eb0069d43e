//! The key that signs a ledger's checkpoints, or cosigns those of others: a file of its own that only its
//! owner may read.
//!
//! ```text
//! # said to people
//! ledger 1f6c…                     32 hex digits: the ledger that the keys sign, and no other
//! PRIVATE+KEY+gate.example.com/log/1+…
//! ```
//! One skey a line (`ledger::note`). While a log's key is changed there are two, and both sign; a witness has
//! one, and no ledger. The file is replaced whole, so a crash leaves the old or the new.
//!
//! A key lies outside of the ledger's folder, and outlives it: where a disk was not mounted, an empty folder
//! would begin another ledger under the name and key of the first, and sign what contradicts it.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    cosignature::CosigningKey,
    note::{KeyError, Signer, Verifier},
};
use crate::store::files;

/// Larger than any two keys.
const MAX_FILE: u64 = 16 * 1024;

/// The old one and the new one.
const MAX_KEYS: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the key file {} does not exist; `gatelog {} key new` makes one", .path.display(), .of.command())]
    Missing { path: PathBuf, of: Of },
    /// Somebody else may have read it.
    #[error(
        "the key file {path} can be read by others (mode {mode:03o}): `chmod 600 {path}`; if somebody may have \
         read it, {}", .of.change()
    )]
    Open { path: String, mode: u32, of: Of },
    #[error("the key file {}: {why}", .path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("the key file {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Whose key a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Log,
    Witness,
}

impl Of {
    fn command(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Witness => "witness",
        }
    }

    fn change(self) -> &'static str {
        match self {
            Self::Log => "change the key: `gatelog log key rotate`",
            Self::Witness => "make another witness with another key, and tell the logs",
        }
    }
}

/// The keys of a ledger: never none.
#[derive(Clone, Debug)]
pub struct Keys {
    signers: Vec<Signer>,
    /// `ledger_id` of the ledger that they sign. `None`: they have not signed yet.
    ledger: Option<[u8; 16]>,
}

impl Keys {
    /// A key of its own for the log `origin`.
    ///
    /// # Errors
    /// There is no randomness, or the origin cannot name a key.
    pub fn new(origin: &str) -> Result<Self, String> {
        Ok(Self { signers: vec![fresh(origin)?], ledger: None })
    }

    /// Reads the file; all its keys must be of the log `origin`.
    ///
    /// # Errors
    /// See [`KeyFileError`]. No key is ever shown.
    pub fn read(path: &Path, origin: &str) -> Result<Self, KeyFileError> {
        let malformed = |why: String| KeyFileError::Malformed { path: path.to_owned(), why };
        let (signers, ledgers): (Vec<_>, Vec<_>) =
            lines(path, Of::Log, Line::parse)?.into_iter().partition(|line| matches!(line, Line::Key(_)));
        let keys: Vec<Signer> = signers.into_iter().filter_map(Line::key).collect();
        let ledger = match ledgers[..] {
            [] => None,
            [Line::Ledger(id)] => Some(id),
            _ => return Err(malformed("it names more than one ledger".into())),
        };
        if let Some(name) = keys.iter().map(|k| k.verifier().name()).find(|name| *name != origin) {
            return Err(malformed(format!(
                "it holds the key of {name}, but [ledger] origin is {origin}; a log has a key of its own"
            )));
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(malformed(format!("it holds {} keys, not one or two", keys.len())));
        }
        Ok(Self { signers: keys, ledger })
    }

    /// Writes the file, readable for its owner alone from its first moment.
    ///
    /// # Errors
    /// I/O.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut said =
            "# The key of a gatelog ledger. Whoever reads it can sign for the ledger.\n".to_owned();
        said.extend(self.ledger.map(|id| format!("{LEDGER}{}\n", hex::encode(id))));
        write_private(path, &said, self.signers.iter().map(Signer::to_skey))
    }

    /// The `ledger_id` of the ledger that they sign. `None`: they have not signed yet.
    #[must_use]
    pub fn ledger(&self) -> Option<[u8; 16]> {
        self.ledger
    }

    /// For the ledger with this `ledger_id` and no other.
    #[must_use]
    pub fn bound_to(self, ledger: [u8; 16]) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// A new key beside the one there is. From then on both sign.
    ///
    /// # Errors
    /// A change is under way, or there is no randomness.
    pub fn rotated(&self) -> Result<Self, String> {
        let [old] = &self.signers[..] else {
            return Err(
                "a change of keys is under way: finish it first (`gatelog log key rotate --finish`)".into()
            );
        };
        Ok(Self { signers: vec![old.clone(), fresh(old.verifier().name())?], ledger: self.ledger })
    }

    /// Without the old key: the end of a change.
    ///
    /// # Errors
    /// No change is under way.
    pub fn finished(&self) -> Result<Self, String> {
        match &self.signers[..] {
            [_, new] => Ok(Self { signers: vec![new.clone()], ledger: self.ledger }),
            _ => Err("no change of keys is under way: begin one with `gatelog log key rotate`".into()),
        }
    }

    /// Old to new.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    pub fn verifiers(&self) -> impl Iterator<Item = &Verifier> {
        self.signers.iter().map(Signer::verifier)
    }
}

/// Before the id of the ledger that the keys of a file sign.
pub const LEDGER: &str = "ledger ";

/// A line of a log's key file that is no comment.
enum Line {
    Key(Box<Signer>),
    Ledger([u8; 16]),
}

impl Line {
    fn parse(line: &str) -> Result<Self, KeyError> {
        let Some(id) = line.strip_prefix(LEDGER) else {
            return Signer::parse(line).map(|key| Self::Key(key.into()));
        };
        let mut out = [0; 16];
        hex::decode_to_slice(id.trim(), &mut out)
            .map_err(|_| KeyError("`ledger` is followed by 32 hex digits, as `gatelog log show 0` says"))?;
        Ok(Self::Ledger(out))
    }

    fn key(self) -> Option<Signer> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Ledger(_) => None,
        }
    }
}

fn fresh(origin: &str) -> Result<Signer, String> {
    let seed = seed()?;
    Signer::new(origin, &seed).map_err(|e| e.to_string())
}

fn seed() -> Result<Zeroizing<[u8; 32]>, String> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|e| format!("no randomness: {e}"))?;
    Ok(seed)
}

/// A key of its own for the witness `name`.
///
/// # Errors
/// There is no randomness, or that cannot name a key.
pub fn new_witness(name: &str) -> Result<CosigningKey, String> {
    let seed = seed()?;
    CosigningKey::new(name, &seed).map_err(|e| e.to_string())
}

/// Reads the key file of a witness.
///
/// # Errors
/// See [`KeyFileError`]. No key is ever shown.
pub fn read_witness(path: &Path) -> Result<CosigningKey, KeyFileError> {
    let mut keys: Vec<CosigningKey> = lines(path, Of::Witness, CosigningKey::parse)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, more) => {
            let why = format!("it holds {} keys, not one", if more > 0 { more + 1 } else { 0 });
            Err(KeyFileError::Malformed { path: path.to_owned(), why })
        }
    }
}

/// Writes the key file of a witness, as [`Keys::write`] does.
///
/// # Errors
/// I/O.
pub fn write_witness(path: &Path, key: &CosigningKey) -> io::Result<()> {
    let said = "# The key of a witness. Whoever reads it can cosign in its name.\n";
    write_private(path, said, [key.to_skey()])
}

/// Every line that is no comment, read as a key.
fn lines<K>(path: &Path, of: Of, parse: fn(&str) -> Result<K, KeyError>) -> Result<Vec<K>, KeyFileError> {
    let malformed = |why: String| KeyFileError::Malformed { path: path.to_owned(), why };
    let text = read_private(path, of)?;
    let text = std::str::from_utf8(&text).map_err(|_| malformed("it is not text".into()))?;
    let is_key = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let numbered = (1..).zip(text.lines()).filter(|(_, line)| is_key(line));
    numbered
        .map(|(n, line)| parse(line.trim()).map_err(|e| malformed(format!("line {n} is no key: {e}"))))
        .collect()
}

fn write_private(
    path: &Path,
    said: &str,
    skeys: impl IntoIterator<Item = Zeroizing<String>>,
) -> io::Result<()> {
    // Never grows, so no copy stays behind unwiped.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    text.push_str(said);
    for skey in skeys {
        text.push_str(&skey);
        text.push('\n');
    }
    let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::fail_at("key.write.before")?;
    files::replace(dir, name, text.as_bytes())?;
    files::fail_at("key.write.after")
}

fn read_private(path: &Path, of: Of) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned(), of },
        _ => KeyFileError::Io { path: path.to_owned(), error },
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.display().to_string(), mode, of });
    }
    // Never grows, so no copy stays behind unwiped.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 64));
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(KeyFileError::Malformed { path: path.to_owned(), why: "it is too large".into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ORIGIN: &str = "gate.example.com/log/1";

    #[test]
    fn keys_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        assert!(matches!(Keys::read(&path, ORIGIN), Err(KeyFileError::Missing { .. })));
        let keys = Keys::new(ORIGIN).unwrap();
        assert!(keys.finished().is_err());
        let both = keys.rotated().unwrap();
        assert!(both.rotated().is_err());
        let vkeys = |k: &Keys| k.verifiers().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(vkeys(&both)[0], vkeys(&keys)[0]);
        for keys in [&keys, &both, &both.finished().unwrap()] {
            keys.write(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(vkeys(&Keys::read(&path, ORIGIN).unwrap()), vkeys(keys));
        }
        let bound = keys.clone().bound_to([7; 16]);
        assert_eq!(
            (keys.ledger(), bound.rotated().unwrap().finished().unwrap().ledger()),
            (None, Some([7; 16]))
        );
        bound.write(&path).unwrap();
        let read = Keys::read(&path, ORIGIN).unwrap();
        assert_eq!((read.ledger(), vkeys(&read)), (Some([7; 16]), vkeys(&keys)));
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, said) in
            [("07\n", "0\n", "32 hex digits"), ("\nledger", "\nledger 00\nledger", "32 hex digits")]
        {
            fs::write(&path, text.replace(from, to)).unwrap();
            let refused = Keys::read(&path, ORIGIN).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        let twice = format!("\n{LEDGER}{}\n{LEDGER}", "00".repeat(16));
        fs::write(&path, text.replace("\nledger ", &twice)).unwrap();
        assert!(Keys::read(&path, ORIGIN).unwrap_err().to_string().contains("more than one ledger"));
        fs::write(&path, text).unwrap();
        let other = Keys::read(&path, "gate.example.com/log/2").unwrap_err().to_string();
        assert!(other.contains("holds the key of gate.example.com/log/1"), "{other}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_key_of_a_witness_is_one_and_private_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.key");
        let missing = read_witness(&path).unwrap_err().to_string();
        assert!(missing.contains("gatelog witness key new"), "{missing}");
        let key = new_witness("witness.example/w1").unwrap();
        write_witness(&path, &key).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_witness(&path).unwrap().cosigner(), key.cosigner());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read_witness(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 640") && refused.contains("another witness"), "{refused}");
        Keys::new(ORIGIN).unwrap().write(&path).unwrap();
        let refused = read_witness(&path).unwrap_err().to_string();
        assert!(refused.contains("of a log, not of a witness"), "{refused}");
        for (text, said) in
            [("# none\n", "holds 0 keys"), (&format!("{0}\n{0}\n", *key.to_skey()), "holds 2 keys")]
        {
            fs::write(&path, text).unwrap();
            let refused = read_witness(&path).unwrap_err().to_string();
            assert!(refused.contains(said) && !refused.contains(&**key.to_skey()), "{refused}");
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        Keys::new(ORIGIN).unwrap().write(&path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Keys::read(&path, ORIGIN).unwrap_err();
            assert!(matches!(refused, KeyFileError::Open { .. }), "{refused}");
            assert!(refused.to_string().contains(&format!("mode {mode:03o}")));
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let skey = Signer::new(ORIGIN, &[1; 32]).unwrap().to_skey();
        for text in ["", "# nothing\n", "key\n", &skey[..skey.len() - 8], &format!("{}\n", &**skey).repeat(3)]
        {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = Keys::read(&path, ORIGIN).unwrap_err().to_string();
            assert!(!refused.contains("PRIVATE+KEY+gate"), "{refused}");
        }
    }
}
