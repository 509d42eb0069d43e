//! Foreign tools: found or installed once, under a lock, into `target/`; missing ones said in one line.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

/// The version whose answers the tests compare with.
const OPA: &str = "github.com/open-policy-agent/opa@v1.22.2";

/// The verifier that comes with Tessera.
const FSCK: &str = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4";

/// A log of Tessera in a folder, with Tessera's own client of witnesses.
const TESSERA: &str = "github.com/transparency-dev/tessera/cmd/examples/posix-oneshot@v1.0.4";

/// The witness that other logs use; with this one witnesses of logs are compared. The newest that Go 1.26 takes.
const LITEWITNESS: &str = "filippo.io/torchwood/cmd/litewitness@v0.9.1-0.20260706112420-c22a68158d96";

/// Trail of Bits' canonical JSON.
const RFC8785: &str = "rfc8785==0.1.4";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Node with the packages of `tests/foreign` beside it: the path is the folder to run it in.
    Node,
    /// The program of `tests/foreign/golog`, built by Go: verifiers of transparency logs.
    Go,
    /// Python with the package rfc8785.
    Python,
    /// Tessera's `fsck`.
    Fsck,
    /// Tessera's log in a folder.
    Tessera,
    /// The witness `litewitness`, and what it needs: an SSH agent, Python for its database.
    Litewitness,
    /// The `opa` binary.
    Opa,
    /// The `python3` command.
    PlainPython,
    /// Go's cache with the modules of `tests/foreign/rego`: see [`module`].
    Rego,
    /// The program of `tests/foreign/sigstore`, built by Go.
    Sigstore,
    /// Node with Prism and GitHub's OpenAPI description: the path is the folder to run it in.
    Prism,
    /// The linter of Rego, built with the modules of `tests/foreign/regal`.
    Regal,
    /// The program of `tests/foreign/sarif`, built by Go: the schema of SARIF.
    Sarif,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Go => "go",
            Self::Python => "python",
            Self::Fsck => "fsck",
            Self::Tessera => "tessera",
            Self::Litewitness => "litewitness",
            Self::Opa => "opa",
            Self::PlainPython => "python3",
            Self::Rego => "rego",
            Self::Sigstore => "sigstore",
            Self::Prism => "prism",
            Self::Regal => "regal",
            Self::Sarif => "sarif",
        }
    }

    /// What the tests do with it.
    fn purpose(self) -> &'static str {
        match self {
            Self::Node => {
                "GitHub's own webhook library, its 329 example payloads, and its schemas of GraphQL and webhooks"
            }
            Self::Go => "the Go team's, torchwood's and transparency-dev's verifiers of transparency logs",
            Self::Fsck => "Tessera's fsck of the log that is served",
            Self::Tessera => "a log of Tessera that our witness cosigns",
            Self::Litewitness => "litewitness as a witness of our log",
            Self::Python => "Python's rfc8785 on the bytes of entries",
            Self::Opa => "the comparison of our answers with opa's",
            Self::PlainPython => "the verifier of evidence written in Python",
            Self::Rego => "policies, tests and conformance cases that others wrote",
            Self::Sigstore => "Sigstore's reader of checkpoints",
            Self::Prism => "every REST call and its answer against GitHub's OpenAPI description",
            Self::Regal => "regal over the shipped policies, and the comparison of `policy check` with it",
            Self::Sarif => "the schema of SARIF on what `policy check` writes",
        }
    }
}

/// The tool, installed if need be.
///
/// `None`: it is not here; that was said, once per test program.
///
/// # Panics
/// If it is missing and `GATELOG_REQUIRE` (comma-separated) lists it.
pub fn foreign(tool: Tool) -> Option<PathBuf> {
    let found = match tool {
        Tool::Node => node(),
        Tool::Go => ours("golog"),
        Tool::Sigstore => ours("sigstore"),
        Tool::Python => python(),
        Tool::Opa => built(OPA),
        Tool::Fsck => built(FSCK),
        Tool::Tessera => built(TESSERA),
        Tool::Litewitness => litewitness(),
        Tool::PlainPython => on_path("python3", "--version"),
        Tool::Rego => rego(),
        Tool::Prism => prism(),
        Tool::Regal => regal(),
        Tool::Sarif => ours("sarif"),
    };
    match found {
        Ok(path) => Some(path),
        Err(why) => {
            missing(tool, &why);
            None
        }
    }
}

fn missing(tool: Tool, why: &str) {
    static SAID: Mutex<BTreeSet<Tool>> = Mutex::new(BTreeSet::new());
    let name = tool.name();
    let required = std::env::var("GATELOG_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r.trim() == name), "{name} is required (GATELOG_REQUIRE): {why}");
    if SAID.lock().unwrap().insert(tool) {
        // Not `eprintln!`: the test runner would keep it to itself. One write, so that lines stay whole.
        let line = format!("not run: {}, because {name} is not here ({why})\n", tool.purpose());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn on_path(name: &str, version: &str) -> Result<PathBuf, String> {
    let asked = Command::new(name).arg(version).stdin(Stdio::null()).output();
    match asked {
        Ok(out) if out.status.success() => Ok(PathBuf::from(name)),
        Ok(out) => Err(format!("`{name} {version}` ended with {}", out.status)),
        Err(_) => Err("not installed".to_owned()),
    }
}

/// `npm ci` of `tests/foreign` into `target/foreign`, once per lock file.
fn node() -> Result<PathBuf, String> {
    on_path("node", "--version")?;
    let (source, dir) = (root().join("tests/foreign"), root().join("target/foreign"));
    let wanted = fs::read(source.join("package-lock.json")).map_err(|e| e.to_string())?;
    let _lock = lock("foreign")?;
    // Written last: an installation that broke off is done again.
    let mark = dir.join("installed-lock.json");
    if fs::read(&mark).is_ok_and(|have| have == wanted) {
        return Ok(dir);
    }
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(file), dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    }
    run(Command::new("npm").arg("ci").current_dir(&dir))?;
    fs::write(&mark, wanted).map_err(|e| e.to_string())?;
    Ok(dir)
}

/// `npm ci` of `tests/foreign/prism` into `target/foreign/prism`, once per lock file.
fn prism() -> Result<PathBuf, String> {
    on_path("node", "--version")?;
    let (source, dir) = (root().join("tests/foreign/prism"), root().join("target/foreign/prism"));
    let lock_file = fs::read(source.join("package-lock.json")).map_err(|e| e.to_string())?;
    let _lock = lock("prism")?;
    let mark = dir.join("installed-lock.json");
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(file), dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    }
    if fs::read(&mark).is_ok_and(|have| have == lock_file) {
        return Ok(dir);
    }
    run(Command::new("npm").arg("ci").current_dir(&dir))?;
    // 370 MB describe other kinds of GitHub.
    let described = dir.join("node_modules/@octokit/openapi/generated");
    for entry in fs::read_dir(described).map_err(|e| e.to_string())?.flatten() {
        if entry.file_name() != "api.github.com.json" {
            fs::remove_file(entry.path()).map_err(|e| e.to_string())?;
        }
    }
    fs::write(&mark, lock_file).map_err(|e| e.to_string())?;
    Ok(dir)
}

/// A program of exactly our version: built by Go into `target/tools` the first time.
fn built(package: &str) -> Result<PathBuf, String> {
    let tools = root().join("target/tools");
    let (path, version) = package.rsplit_once("@v").ok_or("no version")?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let binary = tools.join(format!("{name}-{version}"));
    let _lock = lock("tools")?;
    if binary.exists() {
        return Ok(binary);
    }
    on_path("go", "version").map_err(|_| "no go to build it with".to_owned())?;
    let bin = tools.join("bin");
    run(Command::new("go").args(["install", package]).env("GOBIN", &bin).env("GOFLAGS", ""))?;
    fs::rename(bin.join(name), &binary).map_err(|e| e.to_string())?;
    Ok(binary)
}

fn litewitness() -> Result<PathBuf, String> {
    on_path("python3", "--version")?;
    // Without an argument it is a usage error, or asks: what matters is that it is there.
    for tool in ["ssh-agent", "ssh-add", "ssh-keygen"] {
        let asked = Command::new(tool).arg("-?").stdin(Stdio::null()).output();
        asked.map_err(|_| format!("{tool} is not installed"))?;
    }
    built(LITEWITNESS)
}

/// A program of `tests/foreign`. Go itself sees whether there is something to build.
fn ours(name: &str) -> Result<PathBuf, String> {
    on_path("go", "version")?;
    let binary = root().join("target/tools").join(name);
    let _lock = lock("tools")?;
    let source = root().join("tests/foreign").join(name);
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .current_dir(source)
        .env("GOFLAGS", "-mod=readonly"))?;
    Ok(binary)
}

fn regal() -> Result<PathBuf, String> {
    on_path("go", "version").map_err(|_| "no go to build it with".to_owned())?;
    let binary = root().join("target/tools/regal");
    let _lock = lock("tools")?;
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg("github.com/open-policy-agent/regal")
        .current_dir(root().join("tests/foreign/regal"))
        .env("GOFLAGS", "-mod=readonly"))?;
    Ok(binary)
}

/// The modules of `tests/foreign/rego`, downloaded once per `go.sum`. Go holds them to its hashes.
fn rego() -> Result<PathBuf, String> {
    let (source, dir) = (root().join("tests/foreign/rego"), root().join("target/foreign/rego"));
    let wanted = fs::read(source.join("go.sum")).map_err(|e| e.to_string())?;
    let _lock = lock("rego")?;
    let (mark, cache) = (dir.join("installed.sum"), dir.join("modules"));
    if fs::read(&mark).is_ok_and(|have| have == wanted) {
        return Ok(cache);
    }
    on_path("go", "version").map_err(|_| "no go to fetch it with".to_owned())?;
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    for file in ["go.mod", "go.sum"] {
        fs::copy(source.join(file), dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    }
    // Writable, so that `cargo clean` can remove it.
    run(Command::new("go")
        .args(["mod", "download"])
        .current_dir(&dir)
        .env("GOMODCACHE", &cache)
        .env("GOFLAGS", "-modcacherw"))?;
    fs::write(&mark, wanted).map_err(|e| e.to_string())?;
    Ok(cache)
}

/// The folder of a module of `tests/foreign/rego` in the cache, and the module with its version.
pub fn module(cache: &Path, name: &str) -> (PathBuf, String) {
    let wanted = fs::read_to_string(root().join("tests/foreign/rego/go.mod")).unwrap();
    let version = wanted.lines().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix(" v"));
    let version = version.unwrap_or_else(|| panic!("{name} is not in go.mod"));
    (cache.join(format!("{name}@v{version}")), format!("{name} {version}"))
}

/// A Python with the package, made the first time.
fn python() -> Result<PathBuf, String> {
    on_path("python3", "--version")?;
    let dir = root().join("target/tools/python");
    let (mark, _lock) = (dir.join(RFC8785), lock("tools")?);
    if !mark.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", RFC8785]))?;
        fs::write(&mark, "").map_err(|e| e.to_string())?;
    }
    Ok(dir.join("bin/python"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    Err(format!("`{}` ended with {}: {last}", command.get_program().display(), out.status))
}

/// Held until dropped; test programs may run side by side.
fn lock(name: &str) -> Result<File, String> {
    let dir = root().join("target");
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let file = File::create(dir.join(format!(".{name}.lock"))).map_err(|e| e.to_string())?;
    file.lock().map_err(|e| e.to_string())?;
    Ok(file)
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
