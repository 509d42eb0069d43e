//! The shim of `shim.c`: compiled once per version of it, and its environment.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const SOURCE: &str = include_str!("shim.c");

/// The library to preload. `None`: it cannot be made here; that was said, once per test program.
pub fn library() -> Option<&'static Path> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| match make() {
        Ok(path) => Some(path),
        Err(why) => {
            let line =
                format!("not run: power cuts and broken disks, because the shim is not here ({why})\n");
            // Not `eprintln!`: the test runner would keep it to itself.
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    })
    .as_deref()
}

fn make() -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Err("it is for Linux with glibc".into());
    }
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("target/shim");
    let library = dir.join(format!("shim-{:016x}.so", hasher.finish()));
    if library.exists() {
        return Ok(library);
    }
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    // Test programs may run side by side: each makes its own, the last one stays.
    let aside = dir.join(format!("making-{}.so", std::process::id()));
    let out = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o"])
        .arg(&aside)
        .arg(root.join("tests/shim/shim.c"))
        .args(["-ldl", "-lpthread"])
        .output()
        .map_err(|_| "no cc".to_owned())?;
    assert!(out.status.success(), "cc: {}", String::from_utf8_lossy(&out.stderr));
    fs::rename(&aside, &library).map_err(|e| e.to_string())?;
    Ok(library)
}

/// What the shim is told. See the top of `shim.c`.
#[derive(Clone, Debug)]
pub struct Shim {
    env: Vec<(&'static str, String)>,
}

impl Shim {
    /// Looks at the files under `dir`, which must exist. `None`: see [`library`].
    pub fn over(dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().unwrap();
        Some(Self { env: vec![("LD_PRELOAD", text(library()?)), ("SHIM_DIR", text(&dir))] })
    }

    /// Records every step in `file`.
    pub fn trace(self, file: &Path) -> Self {
        self.with("SHIM_TRACE", text(file))
    }

    /// Dies in place of the `n`-th step.
    pub fn die_at(self, n: u64) -> Self {
        self.with("SHIM_DIE", n.to_string())
    }

    /// Dies right after the `n`-th rename to a path of that `part`, before its folder is synced.
    pub fn die_named(self, part: &str, n: u64) -> Self {
        self.with("SHIM_NAMED", format!("{part}:{n}"))
    }

    /// `class:part:n:times:what`, several with commas.
    pub fn fault(self, rules: &str) -> Self {
        self.with("SHIM_FAULT", rules.to_owned())
    }

    /// The disk is full while `file` exists.
    pub fn full_while(self, file: &Path) -> Self {
        self.with("SHIM_FULL", text(file))
    }

    /// `class:part:milliseconds`.
    pub fn delay(self, rule: &str) -> Self {
        self.with("SHIM_DELAY", rule.to_owned())
    }

    /// The wall clock is off by the seconds in `file`, which must exist.
    pub fn clock(self, file: &Path) -> Self {
        self.with("SHIM_CLOCK", text(file))
    }

    /// How many steps there were of each class is in `file`: see [`counts`].
    pub fn count(self, file: &Path) -> Self {
        self.with("SHIM_COUNT", text(file))
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.env.push((name, value));
        self
    }

    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// Writes, syncs and renames so far.
pub fn counts(file: &Path) -> [u64; 3] {
    let text = fs::read_to_string(file).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
