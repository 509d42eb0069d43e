//! What the documents say exists: linked files, and the commands they tell people to type.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let markdown = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
        entries.filter(|p| p.extension().is_some_and(|e| e == "md")).collect()
    };
    [root().to_owned(), root().join("docs"), root().join("tests/foreign")]
        .iter()
        .flat_map(|d| markdown(d))
        .collect()
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn links_lead_to_files_that_exist() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).filter(|l| !l.contains("://") && !l.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            if !document.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// No claim about what is noticed without a test of that name.
#[test]
fn every_claim_of_the_threat_model_names_a_test() {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let is_name = |w: &&str| w.contains('_') && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_name).collect();
    let mut files = vec![];
    rust_files(&root().join("tests"), &mut files);
    rust_files(&root().join("src"), &mut files);
    let code: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(named.len() > 10 && missing.is_empty(), "{missing:?}");
    for line in text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| what is done")) {
        assert!(named.iter().any(|name| line.contains(name)), "no test stands for: {line}");
    }
    // What stands outside of tables, after the verifiers were introduced: each item of a list, each paragraph.
    let (_, claims) = text.split_once("\n## ").unwrap();
    let listed = claims.split("\n- ").skip(1).map(|item| item.split("\n\n").next().unwrap_or_default());
    let is_text = |p: &&str| !p.starts_with(['#', '|', '-']) && p.contains(' ');
    let paragraphs = claims.split("\n\n").skip(1).filter(is_text);
    for claim in listed.chain(paragraphs) {
        assert!(named.iter().any(|name| claim.contains(name)), "no test stands for: {claim}");
    }
}

/// The first two commands of the README, which `.ci/run` runs as they are written.
#[test]
fn the_readme_begins_with_its_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<&str> = readme
        .lines()
        .filter_map(|l| l.strip_prefix("$ "))
        .map(|l| l.split('#').next().unwrap_or_default().trim())
        .take(2)
        .collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo test"]);
}

/// `gatelog log verify --x` → [`log`, `verify`], in code spans and code blocks.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    // Three backticks open and close as one does.
    let code = text.split('`').skip(1).step_by(2).flat_map(str::lines);
    let typed = code.map(|l| l.trim().trim_start_matches("$ "));
    typed.filter_map(|l| l.strip_prefix("gatelog ").map(words)).filter(|w| !w.is_empty()).collect()
}

fn words(rest: &str) -> Vec<String> {
    let is_command = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let mut words = rest.split(' ').take_while(is_command).filter(|w| !w.starts_with('-'));
    let first: Vec<String> = words.next().map(str::to_owned).into_iter().collect();
    let has_more = first.first().is_some_and(|f| matches!(f.as_str(), "log" | "policy"));
    let second = if has_more { words.next().map(str::to_owned) } else { None };
    first.into_iter().chain(second).collect()
}

#[test]
fn commands_that_are_told_exist() {
    let mut unknown = Vec::new();
    for document in documents().iter().filter(|d| !d.ends_with("CHANGELOG.md")) {
        for command in commands(&fs::read_to_string(document).unwrap()) {
            let help =
                Command::new(env!("CARGO_BIN_EXE_gatelog")).args(&command).arg("--help").output().unwrap();
            if !help.status.success() {
                unknown.push(format!("{}: gatelog {}", document.display(), command.join(" ")));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn commands_are_found() {
    let text = "gatelog receives\n`gatelog log verify --ledger data`.\n```console\n$ gatelog check-config --config x\n```\n";
    let found = commands(text);
    let found: Vec<String> = found.iter().map(|c| c.join(" ")).collect();
    assert_eq!(found, ["check-config", "log verify"]);
}

/// `*Pull request*, *Push*` → `pull_request`, `push`: GitHub's pages and its API name events differently.
fn events(text: &str) -> BTreeSet<String> {
    text.split('*').skip(1).step_by(2).map(|e| e.to_lowercase().replace([' ', '\n'], "_")).collect()
}

#[test]
fn events_that_are_told_are_those_that_are_needed() {
    use gatelog::github::needed;
    let names = |all: &mut dyn Iterator<Item = &str>| all.map(str::to_owned).collect::<BTreeSet<_>>();
    let needed = names(&mut needed::EVENTS.iter().copied());
    let good = names(&mut needed::OPTIONAL_EVENTS.iter().map(|(event, _)| *event));
    for (file, begin, between, end) in [
        ("README.md", "everything you want on record; at least ", "good to have:", ".\n"),
        (
            "docs/security.md",
            "`gatelog app create` subscribes to ",
            "which are needed",
            "which are good to have",
        ),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, list) = unwrapped.split_once(begin).unwrap_or_else(|| panic!("{file}: no `{begin}`"));
        let (first, rest) = list.split_once(between).unwrap_or_else(|| panic!("{file}: no `{between}`"));
        let second = rest.split(end.trim_end()).next().unwrap();
        assert_eq!(events(first), needed, "{file}");
        assert_eq!(events(second), good, "{file}");
    }
}
