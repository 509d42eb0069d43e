//! The files that hold what GitHub gives out once: there before it is asked.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{cli::Failure, store::files::create_dir};

/// New files, empty and ours alone (0600). Dropped before [`Reserved::write`], they go away again.
///
/// GitHub shows key and secret once. Made before that, they fail where it costs nothing.
pub struct Reserved {
    files: Vec<(PathBuf, File)>,
    written: bool,
}

impl Reserved {
    /// # Errors
    /// Exit 2: one is there already; nothing was made. Exit 5: the folder cannot be written.
    pub fn new(dir: &Path, names: &[&str]) -> Result<Self, Failure> {
        let cannot = |e: io::Error| Failure::could_not_run(format!("cannot write to {}: {e}", dir.display()));
        // What it will hold is given out once: its own name must not go with the power either.
        create_dir(dir).map_err(cannot)?;
        let mut reserved = Self { files: vec![], written: false };
        for path in names.iter().map(|name| dir.join(name)) {
            let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
            match made {
                Ok(file) => reserved.files.push((path, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let empty = path.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
                    let hint = if empty { " (empty: an earlier try was cut short; remove it)" } else { "" };
                    let text = format!("{} exists{hint}, nothing was written", path.display());
                    return Err(Failure::usage(text));
                }
                Err(e) => return Err(cannot(e)),
            }
        }
        Ok(reserved)
    }

    /// Writes them, durably, in the order they were named.
    ///
    /// # Errors
    /// What could not be written.
    pub fn write(mut self, contents: &[&[u8]]) -> io::Result<()> {
        self.written = true;
        for ((path, file), contents) in self.files.iter_mut().zip(contents) {
            let done = file.write_all(contents).and_then(|()| file.sync_all());
            done.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        }
        match self.files.first().and_then(|(path, _)| path.parent()) {
            Some(dir) => {
                File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.sync_all()
            }
            None => Ok(()),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.written {
            for (path, _) in &self.files {
                // It is empty; left behind it only asks to be removed.
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn are_private_and_never_anybody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("b"), "mine").unwrap();
        let failure = Reserved::new(dir.path(), &["a", "b"]).err().unwrap();
        assert!(failure.message.contains("b exists, nothing"), "{}", failure.message);
        assert!(!at("a").exists() && fs::read_to_string(at("b")).unwrap() == "mine");
        // A link that leads nowhere is somebody's, too.
        std::os::unix::fs::symlink(at("elsewhere"), at("d")).unwrap();
        assert!(Reserved::new(dir.path(), &["c", "d"]).is_err() && !at("elsewhere").exists());

        drop(Reserved::new(dir.path(), &["a", "c"]).unwrap());
        assert!(!at("a").exists() && !at("c").exists());
        Reserved::new(dir.path(), &["a", "c"]).unwrap().write(&[b"1", b"2"]).unwrap();
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "2");
        assert_eq!(at("a").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
