//! Doing something again whenever files change. They are looked at four times a second: that works on
//! every file system, and a folder of policies is small.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::super::CommandResult;

const EVERY: Duration = Duration::from_millis(250);

/// Never returns, except when standard output is closed.
pub fn again_and_again(paths: &[PathBuf], mut act: impl FnMut()) -> CommandResult {
    loop {
        let before = state(paths);
        act();
        writeln!(anstream::stdout(), "\nwatching for changes (Ctrl-C ends it)")?;
        // A change while it ran counts too: the state is that from before.
        while state(paths) == before {
            std::thread::sleep(EVERY);
        }
        writeln!(anstream::stdout())?;
    }
}

type State = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

fn state(paths: &[PathBuf]) -> State {
    let mut out = State::new();
    paths.iter().for_each(|p| look(p, &mut out, 0));
    out
}

fn look(path: &Path, out: &mut State, depth: usize) {
    let Ok(about) = std::fs::metadata(path) else { return };
    if about.is_file() {
        out.insert(path.to_owned(), (about.modified().ok(), about.len()));
    } else if depth < 16 {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let shown = |e: &std::fs::DirEntry| !e.file_name().to_string_lossy().starts_with('.');
        entries.filter(shown).for_each(|e| look(&e.path(), out, depth + 1));
    }
}
