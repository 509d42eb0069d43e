//! Patterns of `[reconcile] branches`: what could never match watches nothing without anybody noticing.

/// Why a pattern is none, with what to write instead; `None`: it is one. `*` stops at `/`, `**` does not, and
/// all else stands for itself, so it must be what a branch can be called.
///
/// Source: <https://git-scm.com/docs/git-check-ref-format>.
pub(super) fn problem(pattern: &str) -> Option<&'static str> {
    let never = |c: char| c.is_whitespace() || c.is_control() || "~^:\\".contains(c);
    let part = |p: &str| p.starts_with('.') || p.ends_with(".lock");
    Some(match pattern {
        "" => "is empty: leave it out",
        "@" => "is no name of a branch",
        p if p.starts_with("refs/") => "begins with `refs/`: write the branch without `refs/heads/`",
        p if p.starts_with('!') => "begins with `!`: exceptions cannot be written, name what is watched",
        p if p.contains(['?', '[', ']']) => "has `?` or `[…]` in it: only `*` and `**` stand for something",
        p if p.contains('{') && p.contains(',') => "has `{a,b}` in it: write two patterns",
        p if p.starts_with('/') || p.ends_with('/') => {
            "begins or ends with `/`: write `/**` for all that is below"
        }
        p if p.contains("***") => "has `***` in it: `**` is everything",
        p if p.contains("//") || p.contains("..") || p.contains("@{") => "no branch can be called",
        p if p.ends_with('.') || p.contains(never) || p.split('/').any(part) => "no branch can be called",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_match_is_refused() {
        for good in
            ["main", "release/*", "lts/**", "**", "v*.*", "a{b", "hot-fix", "x/**/y", "@x", "jürgen/*"]
        {
            assert_eq!(problem(good), None, "{good}");
        }
        let bad = [
            "",
            "refs/heads/main",
            "!main",
            "release/?",
            "release/[12]",
            "{a,b}",
            "/main",
            "main/",
            "***",
            "a//b",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a\\*",
            "a.lock",
            "x/.y",
            "main.",
            "@",
            "@{1}",
            "a\tb",
        ];
        for bad in bad {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
