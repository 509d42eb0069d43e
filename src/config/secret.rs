//! Secrets: read from files only, wiped when dropped, never shown.

use std::{fmt, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::{Resource, Rlimit, setrlimit};
use zeroize::Zeroizing;

use super::ConfigError;

/// Larger than any key or secret.
const MAX_SECRET: u64 = 64 * 1024;

/// Bytes that no log, error or `Debug` output shows.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who uses them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads a secret without the line end that editors and `echo` leave, and a warning where others
/// may read the file too. `what` names it in errors: `[github] private_key_file`.
///
/// # Errors
/// [`ConfigError::Wrong`] if there is no such file, or it is empty or too large,
/// [`ConfigError::Unreadable`] if it cannot be read.
pub fn read(what: &str, path: &Path) -> Result<(Secret, Option<String>), ConfigError> {
    let unreadable =
        |e: std::io::Error| ConfigError::Unreadable(format!("{what}: cannot read {}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let p = path.display();
            ConfigError::Wrong(format!(
                "{what}: there is no file {p}; put it there (mode 0600), or name another"
            ))
        }
        _ => unreadable(e),
    })?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    // Never grows, so no copy stays behind unwiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize + 64));
    file.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(ConfigError::Wrong(format!("{what}: {} is over {MAX_SECRET} bytes", path.display())));
    }
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ConfigError::Wrong(format!("{what}: {} is empty", path.display())));
    }
    let warning = (mode & 0o077 != 0).then(|| {
        format!(
            "{what}: {p} can be read by others (mode {:03o}); `chmod 600 {p}` mends it",
            mode & 0o777,
            p = path.display()
        )
    });
    Ok((Secret(bytes), warning))
}

/// For the whole process, and for those that it starts: no core dump is written. On Linux no other
/// process of the same user can read its memory either (`ptrace`, `/proc/PID/mem`), and a program
/// that the kernel pipes core dumps to gets none.
///
/// # Errors
/// The system refuses. Going on is right; the caller says it.
pub fn keep_secrets_out_of_core_dumps() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    /// Holds for the rest of this test program, which it does not hurt.
    #[test]
    fn no_core_dump_and_nobody_reads_the_memory() {
        super::keep_secrets_out_of_core_dumps().unwrap();
        let core = rustix::process::getrlimit(rustix::process::Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
    }
}
