//! Generations: a ledger that cannot go on is set aside, and another begins where it stood.
//!
//! A ledger that lost entries must not go on under the name it signed with: it would sign what contradicts
//! what it signed before. So it begins anew, with entry 0, and says there what came before.
//!
//! ```text
//! DIR/generation        how the ledger that is here begins: its number, and the closing checkpoint before
//! DIR/generation-1/     what was here before: journal, signed
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    embedded::OpenError,
    files::{self, Locked},
    journal::mark::{self, Signed},
};
use crate::ledger::publish::generation_of;

const FILE: &str = "generation";

/// How a ledger begins: what its entry 0 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    pub generation: u64,
    /// The last checkpoint of the generation before.
    pub predecessor: Option<Signed>,
}

impl Default for Beginning {
    fn default() -> Self {
        Self { generation: 1, predecessor: None }
    }
}

/// How the ledger in `dir` begins, or is to begin.
///
/// # Errors
/// It was written down and cannot be read.
pub fn beginning(dir: &Path) -> Result<Beginning, OpenError> {
    let path = dir.join(FILE);
    let failed =
        |e: &dyn std::fmt::Display| OpenError::CannotOpen(format!("reading {}: {e}", path.display()));
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| failed(&e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Beginning::default()),
        Err(e) => Err(failed(&e)),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SetAsideError {
    /// There is nothing that a new generation would have to name.
    #[error("nothing was ever signed in {}: the ledger needs no new generation", .0.display())]
    NothingSigned(PathBuf),
    /// No generation can be counted on from there.
    #[error("the origin {0:?} does not end in the number of a generation, such as /1")]
    Origin(String),
    /// It has all that it signed: so many entries. Nothing forces it to end.
    #[error("the ledger in {} is whole: it has all {size} entries that it signed", .dir.display())]
    Whole { dir: PathBuf, size: u64 },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("setting the ledger aside: {0}")]
    Io(#[from] io::Error),
}

/// Sets the ledger in `dir` aside, so that the next open begins a new one; how that begins and where the
/// old one is.
///
/// `origin`: of the log that ends, which a ledger from a backup does not know where nothing was signed before the
/// backup. `last`: the last checkpoint of it that others have seen; `None`: what the ledger itself says.
///
/// May be called again after a crash at any step: what says that the ledger signed is moved last, and until then
/// nothing signs here.
///
/// # Errors
/// It is in use, nothing was signed, or I/O.
pub fn set_aside(
    dir: &Path,
    origin: Option<&str>,
    last: Option<Signed>,
) -> Result<(Beginning, PathBuf), SetAsideError> {
    set_aside_unless(dir, origin, last, |_| false)
}

/// [`set_aside`], unless the ledger, which nobody else has open meanwhile, proves to be whole: others have seen
/// no more than it has.
///
/// # Errors
/// As [`set_aside`], and that it is whole.
pub fn set_aside_unless(
    dir: &Path,
    origin: Option<&str>,
    last: Option<Signed>,
    is_whole: impl FnOnce(&Path) -> bool,
) -> Result<(Beginning, PathBuf), SetAsideError> {
    let _lock = match files::lock(dir)? {
        Locked::Ours(lock) => lock,
        Locked::Theirs(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }.into()),
    };
    let signed = mark::last_signed(dir).map_err(OpenError::from)?;
    if let (Some(signed), None) = (&signed, &last)
        && !mark::is_restored(dir)
        && is_whole(dir)
    {
        return Err(SetAsideError::Whole { dir: dir.to_owned(), size: signed.size });
    }
    let predecessor = last.or(signed);
    let origin = match (&predecessor, origin) {
        (Some(signed), _) => &signed.origin,
        (None, Some(origin)) if mark::is_restored(dir) => origin,
        (None, _) => return Err(SetAsideError::NothingSigned(dir.to_owned())),
    };
    let (_, old) = generation_of(origin).ok_or_else(|| SetAsideError::Origin(origin.to_owned()))?;
    let next = Beginning { generation: old + 1, predecessor };
    files::replace(
        dir,
        FILE,
        &[serde_json::to_vec_pretty(&next).map_err(io::Error::other)?, b"\n".to_vec()].concat(),
    )?;
    let aside = dir.join(format!("generation-{old}"));
    files::create_dir(&aside)?;
    for name in ["journal", "attempts", mark::WITNESSED, mark::ERASED, mark::RESTORED, "signed"] {
        let (from, to) = (dir.join(name), aside.join(name));
        // A start between a crash of this and now was refused, and left an empty folder in the journal's place.
        let moved =
            if name == "journal" && to.exists() { fs::remove_dir(from) } else { fs::rename(from, to) };
        match moved {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        if name == "journal" {
            remove(&dir.join("sled"))?;
        }
        files::sync_dir(&aside)?;
        files::sync_dir(dir)?;
    }
    Ok((next, aside))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
