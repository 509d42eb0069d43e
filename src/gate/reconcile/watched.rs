//! Which branches are watched: the default branch of every repository, and those of the configuration.

/// Patterns of `[reconcile] branches`: `*` stops at `/`, `**` does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched(Vec<String>);

impl Watched {
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether a branch of a repository with this default branch is watched.
    #[must_use]
    pub fn has(&self, branch: &str, default_branch: Option<&str>) -> bool {
        // Where the default branch is not known, nobody can say that this one is not it.
        default_branch.is_none_or(|d| d == branch)
            || self.0.iter().any(|p| matches(p.as_bytes(), branch.as_bytes()))
    }

    /// What the names of watched branches begin with: a question to GitHub each.
    pub(super) fn prefixes(&self, default_branch: Option<&str>) -> Vec<String> {
        let literal = |p: &String| p.split('*').next().unwrap_or_default().to_owned();
        let mut all: Vec<String> = self.0.iter().map(literal).collect();
        all.extend(default_branch.map(str::to_owned));
        all.sort();
        // A longer one is answered with the shorter.
        let mut out: Vec<String> = Vec::new();
        for prefix in all {
            if out.last().is_none_or(|shorter| !prefix.starts_with(shorter.as_str())) {
                out.push(prefix);
            }
        }
        out
    }

    /// Tells one set of patterns from another: a branch that is watched only now is not a new branch.
    pub(super) fn text(&self) -> String {
        self.0.join(" ")
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|n| matches(rest, &name[n..])),
        [b'*', rest @ ..] => {
            let end = name.iter().position(|c| *c == b'/').unwrap_or(name.len());
            (0..=end).any(|n| matches(rest, &name[n..]))
        }
        [c, rest @ ..] => name.first() == Some(c) && matches(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_branch_and_the_patterns() {
        let watched = Watched::new(vec!["release/*".into(), "lts/**".into()]);
        let has = |b| watched.has(b, Some("main"));
        assert!(has("main") && has("release/1") && has("lts/1/2"));
        assert!(!has("main2") && !has("release/1/2") && !has("release") && !has("x"));
        assert_eq!(watched.prefixes(Some("main")), ["lts/", "main", "release/"]);
        assert_eq!(Watched::new(vec!["**".into()]).prefixes(Some("main")), [""]);
    }

    #[test]
    fn an_unknown_default_branch_hides_nothing() {
        assert!(Watched::default().has("x", None));
    }
}
