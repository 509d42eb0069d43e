//! Workflows and actions of GitHub Actions, as documents that a policy can read. Pure.
//!
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{File, yaml};

/// GitHub refuses larger workflows; a larger action is not looked into either.
const MAX_SIZE: usize = 1024 * 1024;

/// A workflow or action at the head of a pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workflow {
    pub path: String,
    /// What the YAML says; `null` where it cannot be read.
    pub document: Option<Value>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

impl Workflow {
    /// Reads the text of one.
    #[must_use]
    pub fn of(path: &str, text: &str) -> Self {
        let document = match text.len() {
            0..=MAX_SIZE => yaml::value(text).map_err(|e| e.to_string()),
            _ => Err("it has more than 1 MiB".to_owned()),
        };
        let (document, error) = match document {
            Ok(document) => (Some(document), None),
            Err(why) => (None, Some(why)),
        };
        Self { path: path.to_owned(), document, error }
    }

    /// One whose bytes are no text.
    #[must_use]
    pub fn unreadable(path: &str, why: &str) -> Self {
        Self { path: path.to_owned(), document: None, error: Some(why.to_owned()) }
    }
}

/// Paths of changed files that are workflows or actions and still there.
#[must_use]
pub fn changed(files: &[File]) -> Vec<&str> {
    let there = files.iter().filter(|f| f.status != "removed");
    there.map(|f| f.filename.as_str()).filter(|path| is_one(path)).collect()
}

fn is_one(path: &str) -> bool {
    let yaml = |name: &str| name.ends_with(".yml") || name.ends_with(".yaml");
    let workflow = path.strip_prefix(".github/workflows/").is_some_and(|n| !n.contains('/') && yaml(n));
    let name = path.rsplit('/').next().unwrap_or(path);
    workflow || matches!(name, "action.yml" | "action.yaml")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(path: &str, status: &str) -> File {
        let (filename, status) = (path.to_owned(), status.to_owned());
        File { filename, previous_filename: None, status, additions: 1, deletions: 0, owners: None }
    }

    #[test]
    fn workflows_and_actions_that_are_still_there() {
        let files = [
            file(".github/workflows/a.yml", "added"),
            file(".github/workflows/b.yaml", "renamed"),
            file(".github/workflows/c.yml", "removed"),
            file(".github/workflows/deeper/d.yml", "added"),
            file(".github/workflows/e.md", "added"),
            file("x/.github/workflows/f.yml", "added"),
            file("action.yml", "modified"),
            file("tools/action.yaml", "modified"),
            file("tools/reaction.yml", "modified"),
        ];
        let found =
            [".github/workflows/a.yml", ".github/workflows/b.yaml", "action.yml", "tools/action.yaml"];
        assert_eq!(changed(&files), found);
    }

    #[test]
    fn the_key_on_stays_a_word() {
        let read = Workflow::of("w", "on: [push]\njobs: {}\n");
        assert_eq!(read.document, Some(json!({"on": ["push"], "jobs": {}})));
        assert_eq!(read.error, None);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_not_read() {
        for text in ["a: 1\na: 2\n", "a: [", "? [1]\n: 2\n", "a: 1\n---\nb: 2\n"] {
            let read = Workflow::of("w", text);
            assert!(read.document.is_none() && read.error.is_some(), "{text:?}: {read:?}");
        }
        let large = format!("a: \"{}\"", "x".repeat(MAX_SIZE));
        assert!(Workflow::of("w", &large).error.unwrap().contains("1 MiB"));
    }
}
