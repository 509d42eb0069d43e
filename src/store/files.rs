//! Making files durable, the lock, the secret: small things around a directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use crate::ledger::summary::Secret;

/// Makes names created, renamed or removed in `dir` durable.
///
/// # Errors
/// I/O.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the name of a file durable that somebody else may have left unsynced. Not everybody may sync a folder
/// that an administrator made: its names are taken for durable.
///
/// # Errors
/// I/O.
pub fn sync_name(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    match sync_dir(parent.unwrap_or(Path::new("."))) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Creates `dir` and its missing parents, durably. Only the owner may enter what is new.
///
/// # Errors
/// I/O.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if dir.is_dir() {
        // Whoever made it may have died before its name was durable.
        return sync_name(dir);
    }
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(dir)?;
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Replaces `dir/name` whole: write aside, sync, rename, sync the folder. A crash leaves the old
/// file or the new one.
///
/// # Errors
/// I/O.
pub fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let aside = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(name))?;
    sync_dir(dir)
}

/// No room: nothing is broken, the same may work later.
#[must_use]
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that stay free: the journal takes no more when others would be out of room. What sled has yet
/// to apply is a few megabytes; once it has met a full disk, only a restart mends it.
const KEEP_FREE: u64 = 32 << 20;

/// Whether there is room for `more` bytes in the file system of `dir`. One that does not say is asked by
/// writing to it.
#[must_use]
pub fn has_room(dir: &Path, more: u64) -> bool {
    match rustix::fs::statvfs(dir) {
        Ok(s) if s.f_blocks > 0 => s.f_bavail.saturating_mul(s.f_frsize) >= KEEP_FREE + more,
        _ => true,
    }
}

/// Held until it is dropped; the kernel frees it when the process dies, however it dies.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting has the file open until it
        // executes its program. That it fails leaves it to closing.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

pub enum Locked {
    Ours(Lock),
    /// With the process id that the holder wrote, if it is there.
    Theirs(Option<u32>),
}

/// Takes the lock of a ledger's directory.
///
/// # Errors
/// I/O.
pub fn lock(dir: &Path) -> io::Result<Locked> {
    lock_file(&dir.join("lock"))
}

/// Takes a lock of its own file, which is made if it is not there and stays.
///
/// # Errors
/// I/O.
pub fn lock_file(path: &Path) -> io::Result<Locked> {
    use rustix::fs::{FlockOperation, flock};
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            return Ok(Locked::Theirs(text.trim().parse().ok()));
        }
        Err(e) => return Err(e.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Locked::Ours(Lock(file)))
}

/// Reads the ledger's secret, or makes one. `true`: it is new, so fingerprints made before are void.
///
/// # Errors
/// I/O, no randomness, or the file is not 64 hex digits.
pub fn secret(dir: &Path) -> io::Result<(Secret, bool)> {
    let path = dir.join("secret");
    let mut key = Zeroizing::new([0; 32]);
    match fs::read(&path).map(Zeroizing::new) {
        Ok(text) => {
            hex::decode_to_slice(text.trim_ascii(), &mut *key).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "the ledger's secret is not 64 hex digits")
            })?;
            Ok((Secret(key), false))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(&mut *key).map_err(io::Error::other)?;
            let text = Zeroizing::new(hex::encode(*key) + "\n");
            replace(dir, "secret", text.as_bytes())?;
            Ok((Secret(key), true))
        }
        Err(e) => Err(e),
    }
}

/// A place where tests make a durable step fail. `return(die)` ends the process as a power cut
/// would, `return(full)` is a full disk, any other `return` an I/O error. The name says whether
/// the step was done: `….before` was not, `….after` was.
///
/// # Errors
/// Only what a test asked for; without the feature `failpoints` never.
#[inline]
pub fn fail_at(name: &'static str) -> io::Result<()> {
    fail::fail_point!(name, |how| match how.as_deref() {
        Some("die") => std::process::abort(),
        Some("full") => Err(io::ErrorKind::StorageFull.into()),
        _ => Err(io::Error::other(format!("injected at {name}"))),
    });
    let _ = name;
    Ok(())
}
