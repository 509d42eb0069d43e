//! What we depend on: licences, one TLS provider, few duplicates. Asked of cargo itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Licences that let gatelog be used as `Apache-2.0 OR MIT`.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that are there in more than one version; sled 0.34, regorus and octocrab (the last sha2 0.10) bring
/// most. May only go down.
const MOST_DUPLICATES: usize = 21;

/// (name, version, licence) of every crate that is built here, tests and build scripts included.
///
/// `cargo tree` and not `cargo metadata`: the latter also lists what no feature turns on.
fn crates() -> BTreeSet<(String, String, String)> {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8(out.stdout).unwrap();
    said.lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let mut words = package.split(' ');
            Some((words.next()?.to_owned(), words.next()?.to_owned(), licence.to_owned()))
        })
        .collect()
}

/// `(A OR B) AND C`: every part of a conjunction needs a licence we take.
fn is_taken(licence: &str) -> bool {
    let parts = licence.replace(['(', ')'], "").replace('/', " OR ");
    !licence.is_empty()
        && parts.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn licences_are_ones_we_take() {
    let crates = crates();
    let wrong: Vec<_> = crates.iter().filter(|(_, _, licence)| !is_taken(licence)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(
        !is_taken("GPL-3.0-only") && !is_taken("MIT AND GPL-2.0-only") && is_taken("MIT OR GPL-2.0-only")
    );
}

#[test]
fn one_tls_provider() {
    let crates = crates();
    let has = |name: &str| crates.iter().any(|(n, _, _)| n == name);
    assert!(has("aws-lc-rs"));
    for other in ["ring", "openssl", "openssl-sys", "native-tls"] {
        assert!(!has(other), "{other} is a second TLS provider");
    }
}

#[test]
fn few_crates_are_there_twice() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version, _) in crates() {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, v| v.len() > 1);
    assert!(versions.len() <= MOST_DUPLICATES, "{}: {versions:?}", versions.len());
}

/// Package, version and features of all that a package is built from.
fn built_for(package: &str, edges: &str) -> BTreeSet<String> {
    let args = ["tree", "--locked", "--prefix", "none", "--format", "{p}|{f}", "-e", edges, "-p", package];
    let dir = env!("CARGO_MANIFEST_DIR");
    let out = Command::new(env!("CARGO")).args(args).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8(out.stdout).unwrap();
    said.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// With other features than in the tests a dependency, and all that use it, would be built once more.
#[test]
fn fuzzing_builds_no_dependency_again() {
    let tests = built_for("gatelog", "normal,build,dev");
    let own = ["arbitrary ", "gatelog-fuzz ", "libfuzzer-sys "];
    let other: Vec<String> = built_for("gatelog-fuzz", "normal,build")
        .into_iter()
        .filter(|line| !tests.contains(line) && !own.iter().any(|o| line.starts_with(o)))
        .collect();
    assert!(other.is_empty(), "give these the features of the tests in fuzz/Cargo.toml: {other:?}");
}
