//! The power-cut lab.
//!
//! A script runs real processes under the shim ([`Player`]), which records every write, sync and rename
//! they make in the ledger's folder, and what they acknowledge. A [`Run`] then rebuilds states that a
//! power cut could have left, at any step, and each is opened and must hold every acknowledged entry,
//! verify, and go on ([`check`]).
//!
//! **To add a feature** (sealing, erasing, rotating a key, publishing a checkpoint): let the driver
//! `child` in `tests/ledger/powercut.rs` do it (a field of [`Task`]), add a script to `SCRIPTS` there that uses
//! it, and if it promises something that [`check::check`] does not look at yet (an erased body stays
//! erased), acknowledge that promise (as `ERASED` is) and check it there. What the shim cannot model yet (`link`,
//! `fallocate`) ends the program with a message that says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use gatelog::{ledger::entry::Hash, store::journal::Sizes};
use serde::{Deserialize, Serialize};

use crate::{common::Random, shim::Shim};

pub mod check;
pub mod disk;
pub mod trace;

use check::Promise;
use disk::{Disk, Folders, Image, Pages};
use trace::Step;

/// What one process is to do. The default: open, append nothing, go away without a stop.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Task {
    /// Number of the first append. Numbers make GUIDs and bodies, so a number that was stored before is
    /// a duplicate.
    pub first: u64,
    pub count: u64,
    /// Appends under way at once.
    pub at_once: u64,
    pub segment: u64,
    pub ahead: u64,
    /// Remove the applied view before opening.
    pub forget_sled: bool,
    /// Time for sled's own flusher, before the end.
    pub linger_ms: u64,
    /// Stop cleanly at the end.
    pub close: bool,
    /// Sign and publish a checkpoint after each append.
    pub publish: bool,
    /// Change the key: begin after this many appends, finish after twice as many.
    pub rotate_after: Option<u64>,
    /// Compress what is sealed, all the time.
    pub compress: bool,
    /// Erase the body of every event that [`check::is_erased`] names, once its append was acknowledged.
    pub erase: bool,
    /// Back up into the folder [`BACKUP`], all the time.
    pub backup: bool,
    /// Set the ledger aside before opening, as `gatelog log new-generation` does.
    pub new_generation: bool,
}

impl Task {
    pub fn sizes(&self) -> Sizes {
        Sizes { segment: self.segment, ahead: self.ahead }
    }
}

/// The ledger, below the folder that the shim looks at: so its own name can be lost too.
pub const LEDGER: &str = "data";

/// Beside it.
pub const BACKUP: &str = "backup";

/// Runs the processes of a script in a folder.
pub struct Player {
    dir: tempfile::TempDir,
    from: Image,
    before: Vec<Promise>,
    /// Appends that were acknowledged.
    pub acked: u64,
}

impl Player {
    pub fn new() -> Self {
        Self::on(Image { folders: vec![String::new()], ..Image::default() }, vec![])
    }

    /// On a disk that holds `image`, in which `before` was promised.
    pub fn on(from: Image, before: Vec<Promise>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        from.write(&dir.path().join("disk"));
        let acked = before.iter().filter_map(|p| Some(p.number? + 1)).max().unwrap_or(0);
        Self { dir, from, before, acked }
    }

    pub fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    pub fn shim(&self) -> Shim {
        // The caller made sure that there is one.
        Shim::over(&self.disk()).unwrap().trace(&self.trace())
    }

    fn trace(&self) -> PathBuf {
        self.dir.path().join("trace")
    }

    /// Runs the driver until it is done, is killed, or its ledger has failed. Whether it was killed.
    pub fn child(&mut self, task: &Task, shim: Shim) -> bool {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["powercut::child", "--exact", "--ignored", "--nocapture"])
            .env("POWERCUT_TASK", serde_json::to_string(task).unwrap())
            .env("POWERCUT_LEDGER", self.disk().join(LEDGER))
            .envs(shim.env())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let acked = said.lines().filter_map(|l| Some(check::acknowledged(l)?.0? + 1)).max();
        self.acked = self.acked.max(acked.unwrap_or(0));
        use std::os::unix::process::ExitStatusExt as _;
        let killed = out.status.signal() == Some(9);
        let ended = out.status.success() || killed || out.status.code() == Some(5);
        assert!(ended, "{task:?}: {}", String::from_utf8_lossy(&out.stderr));
        killed
    }

    pub fn done(self, sizes: Sizes) -> Run {
        let steps = trace::read(&self.trace());
        Run { from: self.from, before: self.before, steps, sizes, ledger: LEDGER }
    }
}

/// What was recorded.
pub struct Run {
    from: Image,
    before: Vec<Promise>,
    pub steps: Vec<Step>,
    sizes: Sizes,
    /// Below the folder that was looked at.
    ledger: &'static str,
}

/// One state to build.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Steps that were made.
    pub after: usize,
    pub rule: Folders,
    pub pages: Pages,
    pub seed: u64,
}

/// A state, and what it must hold.
pub struct Found {
    pub cut: Cut,
    pub image: Image,
    pub promised: Vec<Promise>,
}

impl Run {
    /// Of a ledger that `gatelog serve` wrote, whose answers were acknowledgements of entries: `leaves` of
    /// all there are. The folder that was looked at is the ledger itself.
    pub fn of_service(mut steps: Vec<Step>, leaves: &[Hash]) -> Self {
        for step in &mut steps {
            if let Step::Ack(text) = step {
                *text = check::answered(text, leaves);
            }
        }
        let from = Image { folders: vec![String::new()], ..Image::default() };
        Self { from, before: vec![], steps, sizes: Sizes::default(), ledger: "" }
    }

    pub fn random_cuts(&self, n: usize, random: &mut Random) -> Vec<Cut> {
        let mut cut = || Cut {
            after: random.below(self.steps.len() as u64 + 1) as usize,
            rule: if random.below(2) == 0 { Folders::Journaled } else { Folders::Strict },
            pages: match random.below(8) {
                0 => Pages::Lost,
                1 => Pages::Kept,
                2 => Pages::Mixed(90),
                3 | 4 => Pages::Mixed(10),
                _ => Pages::Mixed(45),
            },
            seed: random.next(),
        };
        (0..n).map(|_| cut()).collect()
    }

    /// Builds the states, in the order of their steps.
    pub fn found(&self, rule: Folders, cuts: &[Cut], mut each: impl FnMut(Found)) {
        let mut cuts: Vec<Cut> = cuts.iter().copied().filter(|c| c.rule == rule).collect();
        cuts.sort_by_key(|c| c.after);
        let mut disk = Disk::holding(rule, &self.from);
        let mut promised = self.before.clone();
        let mut played = 0;
        for cut in cuts {
            for step in &self.steps[played..cut.after] {
                disk.play(step);
                if let Step::Ack(text) = step {
                    promised.extend(check::promises(text));
                }
            }
            played = cut.after;
            let image = disk.cut(cut.pages, &mut Random::new(cut.seed));
            each(Found { cut, image, promised: promised.clone() });
        }
    }

    /// Opens every state; a state that lost something fails the test, once all were opened. How many
    /// there were.
    pub fn all_survive(&self, name: &str, cuts: &[Cut]) -> u64 {
        let (done, failures) = self.survivors(name, cuts);
        let shown = failures[..failures.len().min(5)].join("\n\n");
        assert!(failures.is_empty(), "{} of {done} states failed\n\n{shown}", failures.len());
        done
    }

    /// How many states were opened, and what is wrong with some.
    pub fn survivors(&self, name: &str, cuts: &[Cut]) -> (u64, Vec<String>) {
        let done = AtomicU64::new(0);
        let failures = Mutex::new(vec![]);
        std::thread::scope(|scope| {
            for rule in [Folders::Journaled, Folders::Strict] {
                let (done, failures) = (&done, &failures);
                scope.spawn(move || {
                    self.found(rule, cuts, |found| {
                        failures.lock().unwrap().extend(self.failure(name, &found));
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                });
            }
        });
        (done.into_inner(), failures.into_inner().unwrap())
    }

    fn failure(&self, name: &str, found: &Found) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        found.image.write(&disk);
        let why = check::check(&disk.join(self.ledger), self.sizes, &found.promised, found.cut.seed).err()?;
        let kept = self.keep(name, found);
        let last = &self.steps[found.cut.after.saturating_sub(12)..found.cut.after];
        let last: Vec<String> = last.iter().map(Step::shown).collect();
        Some(format!(
            "{name}: {why}\n{:?} of {} steps, the last ones:\n  {}\nthe state is kept in {}",
            found.cut,
            self.steps.len(),
            last.join("\n  "),
            kept.display()
        ))
    }

    /// The state as it was found, to look at.
    fn keep(&self, name: &str, found: &Found) -> PathBuf {
        let failed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/powercut-failed");
        let kept = failed.join(format!("{}-{}", name.replace(' ', "-"), found.cut.seed));
        let _ = fs::remove_dir_all(&kept);
        found.image.write(&kept);
        kept
    }
}
