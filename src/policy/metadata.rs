//! `# METADATA` blocks at package scope: what a control says of itself.
//!
//! regorus drops comments, so the blocks are read from the text: lines of `#` that begin with
//! `# METADATA`, YAML inside, right before `package` (or anywhere with `scope: package`).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::LoadError;
use crate::{
    facts::{FACTS, yaml},
    time::Time,
};

/// A control of a bundle: package `controls.<name>` with what its METADATA says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMeta {
    /// `custom.id`; the package's last word where there is none.
    pub id: String,
    /// `controls.required_reviews`
    pub package: String,
    /// `title`; the package's last word where there is none.
    pub title: String,
    pub description: Option<String>,
    pub severity: Option<String>,
    pub mode: Mode,
    /// Until then findings are shown but do not block.
    pub effective_on: Option<Time>,
    pub owner: Option<String>,
    /// How to mend what it finds, in general.
    pub solution: Option<String>,
    /// `custom.frameworks`, as written.
    pub frameworks: Option<serde_json::Value>,
    /// `custom.facts`; `None`: not said, so whatever is missing may be its own.
    pub facts: Option<BTreeSet<String>>,
    /// The file that declares it.
    pub path: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Enforce,
    /// Findings are shown but do not block.
    Evaluate,
}

/// The YAML of a block. Keys that other tools use are let through.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub(crate) struct Annotations {
    /// `package` for a control.
    scope: Option<String>,
    /// As check runs show it.
    title: Option<String>,
    description: Option<String>,
    #[serde(default)]
    custom: Custom,
}

impl Annotations {
    /// What a control should say of itself and does not.
    pub(crate) fn lacking(&self) -> Vec<&'static str> {
        let said = [
            ("title", self.title.is_some()),
            ("custom.id", self.custom.id.is_some()),
            ("custom.facts", self.custom.facts.is_some()),
        ];
        said.into_iter().filter(|(_, said)| !said).map(|(name, _)| name).collect()
    }
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
struct Custom {
    /// Such as `CHG-02`.
    id: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    mode: Mode,
    /// RFC 3339, or a day, which begins at midnight UTC.
    effective_on: Option<String>,
    owner: Option<String>,
    /// How to mend what it finds, in general.
    solution: Option<String>,
    /// Name of a framework → its requirements.
    frameworks: Option<serde_json::Value>,
    /// The upper bound of what is fetched.
    facts: Option<Vec<String>>,
}

struct Block {
    /// 1-based line of `# METADATA`.
    line: usize,
    yaml: String,
    before_package: bool,
}

/// The package's annotations in one file, with the line they begin at.
///
/// # Errors
/// YAML that does not parse, values that are not what they should be, two blocks.
pub(crate) fn read(path: &str, text: &str) -> Result<Option<(Annotations, u32)>, LoadError> {
    let mut found = None;
    for block in blocks(text) {
        let line = u32::try_from(block.line).unwrap_or(u32::MAX);
        // A block elsewhere belongs to a rule; only one that says so is the package's.
        if !block.before_package && !block.yaml.lines().any(|l| l.trim_end() == "scope: package") {
            continue;
        }
        let read = yaml::value(&block.yaml).and_then(|_| yaml_serde::from_str(&block.yaml));
        let annotations: Annotations = read.map_err(|e| {
            let (inside, column) = e.location().map_or((0, 1), |l| (l.line(), l.column()));
            let at = line.saturating_add(u32::try_from(inside).unwrap_or(0));
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            LoadError::at_line(
                path,
                text,
                at,
                u32::try_from(column).unwrap_or(1) + 2,
                format!("METADATA: {message}"),
            )
        })?;
        if annotations.scope.as_deref().is_some_and(|s| s != "package" && s != "subpackages") {
            continue;
        }
        check_facts(path, text, line, &annotations)?;
        check_date(path, text, line, &annotations)?;
        if found.replace((annotations, line)).is_some() {
            return Err(LoadError::at_line(path, text, line, 1, "the package has METADATA twice"));
        }
    }
    Ok(found)
}

fn check_facts(path: &str, text: &str, line: u32, a: &Annotations) -> Result<(), LoadError> {
    let known = |f: &str| FACTS.iter().any(|(name, _)| *name == f);
    match a.custom.facts.iter().flatten().find(|f| !known(f)) {
        None => Ok(()),
        Some(f) => {
            let names: Vec<&str> = FACTS.iter().map(|(name, _)| *name).collect();
            Err(LoadError::at_line(path, text, line, 1, format!("METADATA: there is no fact `{f}`"))
                .help(format!("facts are: {}", names.join(", "))))
        }
    }
}

fn check_date(path: &str, text: &str, line: u32, a: &Annotations) -> Result<(), LoadError> {
    match a.custom.effective_on.as_deref().map(date) {
        Some(Err(e)) => {
            let below = text.lines().skip(line as usize).take_while(|l| !l.contains("effective_on")).count();
            let at = line + 1 + u32::try_from(below).unwrap_or(0);
            Err(LoadError::at_line(path, text, at, 3, format!("METADATA: custom.effective_on: {e}"))
                .help("write `2026-12-01` or `2026-12-01T08:00:00Z`"))
        }
        _ => Ok(()),
    }
}

fn date(s: &str) -> Result<Time, String> {
    if s.len() == 10 { format!("{s}T00:00:00Z").parse() } else { s.parse() }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut open = false;
    for (i, line) in text.lines().enumerate() {
        let comment = line.strip_prefix('#');
        match comment {
            Some(c) if c.trim() == "METADATA" => {
                out.push(Block { line: i + 1, yaml: String::new(), before_package: false });
                open = true;
            }
            Some(c) if open => {
                if let Some(b) = out.last_mut() {
                    b.yaml.push_str(c.strip_prefix(' ').unwrap_or(c));
                    b.yaml.push('\n');
                }
            }
            _ => {
                if open && let Some(b) = out.last_mut() {
                    b.before_package = line.starts_with("package ");
                }
                open = false;
            }
        }
    }
    out
}

impl ControlMeta {
    /// Puts defaults where the annotations say nothing.
    pub(crate) fn new(package: String, path: String, a: Annotations) -> Self {
        let name = package.rsplit('.').next().unwrap_or_default().to_owned();
        Self {
            id: a.custom.id.unwrap_or_else(|| name.clone()),
            title: a.title.unwrap_or(name),
            description: a.description,
            severity: a.custom.severity,
            mode: a.custom.mode,
            effective_on: a.custom.effective_on.as_deref().and_then(|s| date(s).ok()),
            owner: a.custom.owner,
            solution: a.custom.solution,
            frameworks: a.custom.frameworks,
            facts: a.custom.facts.map(|f| f.into_iter().collect()),
            package,
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Licence
# METADATA
# title: Reviews
# custom:
#   id: CHG-02
#   mode: evaluate
#   effective_on: 2026-12-01
#   facts: [reviews, commits]
#   frameworks:
#     soc2: [CC8.1]
package controls.reviews

# METADATA
# title: A rule
deny contains \"x\"
";

    #[test]
    fn the_block_before_package_is_the_controls() {
        let (a, line) = read("r.rego", TEXT).unwrap().unwrap();
        let m = ControlMeta::new("controls.reviews".into(), "r.rego".into(), a);
        assert_eq!(line, 2);
        insta::assert_debug_snapshot!(m);
    }

    #[test]
    fn no_block_means_defaults() {
        assert_eq!(read("r.rego", "package controls.x\n").unwrap().map(|a| a.1), None);
        let m = ControlMeta::new("controls.x".into(), "r.rego".into(), Annotations::default());
        assert_eq!((m.id.as_str(), m.title.as_str(), m.mode), ("x", "x", Mode::Enforce));
    }

    #[test]
    fn mistakes_show_their_place() {
        let e = |from: &str, to: &str| read("r.rego", &TEXT.replace(from, to)).unwrap_err().to_string();
        insta::assert_snapshot!(e("mode: evaluate", "mode: audit"), @"
        r.rego:6:11: METADATA: custom.mode: unknown variant `audit`, expected `enforce` or `evaluate`
          |
        6 | #   mode: audit
          |           ^
        ");
        insta::assert_snapshot!(e("2026-12-01", "soon"), @"
        r.rego:7:3: METADATA: custom.effective_on: `soon` is not an RFC 3339 time: failed to parse four digit integer as year: invalid digit, expected 0-9 but got s
          |
        7 | #   effective_on: soon
          |   ^
          = write `2026-12-01` or `2026-12-01T08:00:00Z`
        ");
        insta::assert_snapshot!(e("[reviews,", "[review,"), @"
        r.rego:2:1: METADATA: there is no fact `review`
          |
        2 | # METADATA
          | ^
          = facts are: pull_request, reviews, commits, files, old_paths, codeowners, permissions, team_members, organization_members, commit_messages, comparison, checks, workflows, secret_alerts, deployment, on_default_branch, pushes, push_commits, landed, base_rules, merge_group
        ");
        insta::assert_snapshot!(e("title: Reviews", "title: [Reviews"), @"
        r.rego:4:9: METADATA: did not find expected ',' or ']'
          |
        4 | # custom:
          |         ^
        ");
    }
}
