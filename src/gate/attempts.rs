//! How often judging an event was begun in a process that then died, or ended in a panic.
//!
//! One small file per event being judged, in `attempts/`; its length is the count. It is removed when
//! the verdict is durable, so what stands there at start killed its process. No sync: a process that
//! dies leaves its written pages to the kernel, and after a power cut one more try is right.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// After so many deaths an event is not tried again: its verdict is `error`.
const HOPELESS: u64 = 3;

pub(super) struct Attempts {
    dir: PathBuf,
    /// Begun by this process: trying again after an outage is no death.
    begun: Mutex<HashSet<u64>>,
}

/// Judging begun. Dropping it leaves the mark, as a death would.
pub(super) struct Attempt {
    file: PathBuf,
    died_before: u64,
}

impl Attempts {
    pub fn open(dir: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, begun: Mutex::default() })
    }

    pub fn begin(&self, seq: u64) -> Attempt {
        let file = self.dir.join(seq.to_string());
        let first = self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(seq);
        let marks = fs::metadata(&file).map_or(0, |m| m.len());
        let died_before = if first { marks } else { marks.saturating_sub(1) };
        // Counting must not stop judging: without the file an event is only tried more often.
        if first && let Ok(mut f) = fs::OpenOptions::new().create(true).append(true).open(&file) {
            let _ = f.write_all(b".");
        }
        Attempt { file, died_before }
    }

    /// It panicked: as if the process had died of it.
    pub fn panicked(&self, seq: u64) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
    }

    /// The process survived it.
    pub fn end(&self, seq: u64, attempt: Attempt) {
        let _ = fs::remove_file(&attempt.file);
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
    }
}

impl Attempt {
    pub fn is_hopeless(&self) -> bool {
        self.died_before >= HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_deaths_are_enough() {
        let dir = tempfile::tempdir().unwrap();
        let process = || Attempts::open(dir.path().join("attempts")).unwrap();
        for _ in 0..3 {
            assert!(!process().begin(7).is_hopeless());
        }
        let last = process();
        let fourth = last.begin(7);
        assert!(fourth.is_hopeless());
        last.end(7, fourth);
        assert!(!process().begin(7).is_hopeless());
        assert!(!process().begin(8).is_hopeless());
    }

    #[test]
    fn a_panic_counts_as_a_death() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::open(dir.path().join("attempts")).unwrap();
        for _ in 0..3 {
            assert!(!attempts.begin(7).is_hopeless());
            attempts.panicked(7);
        }
        assert!(attempts.begin(7).is_hopeless());
    }

    #[test]
    fn trying_again_in_the_same_process_is_no_death() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::open(dir.path().join("attempts")).unwrap();
        for _ in 0..9 {
            assert!(!attempts.begin(7).is_hopeless());
        }
    }
}
