//! A module uses only lower floors: the table of `src/lib.rs`, held by reading the source.
//!
//! Read as text, because the compiler lets modules of one crate use each other in any direction.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each module and the modules it may use. `policy` and `ledger` do not know each other; `github` knows
/// neither; only `gate` and what stands above it know all three.
const FLOORS: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("escape", &[]),
    ("event", &["time"]),
    ("facts", &["event", "time"]),
    ("verdict", &["event", "time"]),
    ("policy", &["escape", "event", "facts", "time", "verdict"]),
    ("ledger", &["escape", "event", "outbound", "store", "time", "verdict"]),
    ("store", &["event", "ledger", "time"]),
    ("outbound", &[]),
    ("github", &["escape", "event", "facts", "outbound", "time", "verdict"]),
    ("simulated_github", &["escape", "time"]),
    ("config", &["escape"]),
    ("telemetry", &["config", "escape", "event", "outbound", "time", "verdict"]),
    ("gate", &STORY),
    ("worker", &STORY),
    ("server", &DOORS),
    ("cli", &DOORS),
];

const STORY: [&str; 12] = [
    "config",
    "escape",
    "event",
    "facts",
    "gate",
    "github",
    "ledger",
    "policy",
    "telemetry",
    "time",
    "verdict",
    "worker",
];

const DOORS: [&str; 16] = [
    "config",
    "escape",
    "event",
    "facts",
    "gate",
    "github",
    "ledger",
    "outbound",
    "policy",
    "server",
    "simulated_github",
    "store",
    "telemetry",
    "time",
    "verdict",
    "worker",
];

#[test]
fn a_module_uses_only_lower_floors() {
    let mut wrong = Vec::new();
    for (module, allowed) in FLOORS {
        for file in files_of(module) {
            for used in modules_used(&code(&file)) {
                if used != *module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} uses `{used}`, which `{module}` may not know", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_floor_and_a_line_on_the_map() {
    let map = fs::read_to_string(src().join("lib.rs")).unwrap();
    let modules: BTreeSet<&str> =
        map.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let floors: BTreeSet<&str> = FLOORS.iter().map(|(m, _)| *m).collect();
    assert_eq!(modules, floors);
    for module in modules {
        assert!(map.contains(&format!("[`{module}`]")), "`{module}` has no line on the map in src/lib.rs");
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use crate::time::Time;\nuse crate::{\n  event::{Sha, RefKind},\n  facts,\n};\nlet x = crate::ledger::f();";
    let found: Vec<String> = modules_used(text).into_iter().collect();
    assert_eq!(found, ["event", "facts", "ledger", "time"]);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `src/<module>.rs` and everything below `src/<module>/`, but for files of tests.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut found = vec![src().join(format!("{module}.rs"))];
    let mut folders = vec![src().join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Without comments, and without the tests at the end of the file, which may use what they like.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect()
}

/// First segments of the paths that begin with `crate::`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(first_segments(group)),
            None => used.extend([identifier(rest)]),
        }
    }
    used.retain(|m| !m.is_empty());
    used
}

/// Of `a::{b, c}, d }`: `a` and `d`.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut found, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && (c.is_alphabetic() || c == '_') => {
                found.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// A module's name starts in lower case; a macro or type does not count.
fn identifier(text: &str) -> String {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let is_module = src().join(format!("{name}.rs")).exists();
    if is_module { name } else { String::new() }
}
