//! GitHub's CODEOWNERS: which line decides who owns a path.
//!
//! The language is that of gitignore with GitHub's exceptions (no `!`, no `[ ]`, no `\#`):
//! <https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners>.
//! The last matching line wins; a line without owners takes ownership away; paths are case-sensitive.
//! A bad line is skipped and shown, as on GitHub; a path that only bad lines match is an error, where
//! GitHub would let anyone approve it.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use super::{CodeownersError, Owned};

/// The lines of a CODEOWNERS file.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    errors: Vec<CodeownersError>,
}

#[derive(Clone, Debug)]
struct Rule {
    line: u64,
    pattern: Pattern,
    owners: Vec<Owner>,
    /// Why the line cannot be used.
    bad: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Login, as written.
    User(String),
    /// `org/slug` in lower case.
    Team(String),
    Email(String),
}

/// The line that decides on a path.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    pub line: u64,
    /// Empty: nobody owns the path.
    pub owners: &'a [Owner],
    /// Only bad lines match the path; this is what is wrong with the last of them.
    pub bad: Option<&'a str>,
}

/// Steps of matching that may still be made; when they are used up, the answer is an error.
///
/// A file has up to 3 MB and a change 3,000 paths, and both may be written to be slow. Steps and not
/// seconds, so that the same file and paths always have the same owners.
#[derive(Debug)]
pub struct Work(Cell<u64>);

/// For one path that is asked about alone.
const WORK_OF_ONE: u64 = 10_000_000;

const TOO_MUCH: &str = "the file takes too long to be matched with the changed paths";

impl Work {
    /// For all paths of a change: a few seconds. 30,000 lines and 3,000 paths take half of it.
    pub const OF_A_CHANGE: u64 = 500_000_000;

    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self(Cell::new(steps))
    }

    fn step(&self) {
        self.0.set(self.0.get().saturating_sub(1));
    }

    fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }
}

impl Rules {
    /// Never fails: what is wrong with a line is kept beside it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut rules = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, number) in text.lines().zip(1..) {
            rules.add(line, number);
        }
        rules
    }

    fn add(&mut self, line: &str, number: u64) {
        let mut words = words(line);
        if words.is_empty() {
            return;
        }
        let first = words.remove(0);
        let pattern = Pattern::parse(&first);
        let owners: Result<Vec<Owner>, String> = words.iter().map(|w| Owner::parse(w)).collect();
        let bad = pattern.bad.clone().or_else(|| owners.as_ref().err().cloned());
        if let Some(message) = &bad {
            self.errors.push(CodeownersError { line: number, message: message.clone() });
        }
        self.rules.push(Rule { line: number, pattern, owners: owners.unwrap_or_default(), bad });
    }

    /// Bad lines, in order.
    #[must_use]
    pub fn errors(&self) -> &[CodeownersError] {
        &self.errors
    }

    /// `None`: no line matches.
    #[must_use]
    pub fn decide(&self, path: &str) -> Option<Decision<'_>> {
        self.decide_within(path, &Work::new(WORK_OF_ONE))
    }

    /// As [`Rules::decide`]; `work` is for all paths of a change together.
    #[must_use]
    pub fn decide_within(&self, path: &str, work: &Work) -> Option<Decision<'_>> {
        let segments: Vec<Vec<char>> = path.split('/').map(|s| s.chars().collect()).collect();
        let mut bad = None;
        for rule in self.rules.iter().rev() {
            work.step();
            let matches = rule.pattern.matches(&segments, work);
            if work.is_used_up() {
                return Some(Decision { line: rule.line, owners: &[], bad: Some(TOO_MUCH) });
            }
            match rule.bad {
                None if matches => return Some(rule.decision()),
                Some(_) if matches => bad = bad.or(Some(rule)),
                _ => {}
            }
        }
        bad.map(Rule::decision)
    }
}

impl Rule {
    fn decision(&self) -> Decision<'_> {
        Decision { line: self.line, owners: &self.owners, bad: self.bad.as_deref() }
    }
}

/// What GitHub knows of the owners that are neither a plain login nor a team that can be read.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// E-mail → login.
    pub emails: BTreeMap<String, String>,
    /// `org/slug` of teams that GitHub says are not there.
    pub no_team: BTreeSet<String>,
}

/// The fact about one path; `None`: nobody owns it. An owner that is not there makes the line an
/// error, also where others are named beside it: who was meant to look cannot be known.
#[must_use]
pub fn owned(path: &str, decision: Option<Decision<'_>>, resolved: &Resolved) -> Option<Owned> {
    let decision = decision.filter(|d| d.bad.is_some() || !d.owners.is_empty())?;
    let mut owned = Owned {
        path: path.to_owned(),
        line: decision.line,
        users: Vec::new(),
        teams: Vec::new(),
        error: decision.bad.map(str::to_owned),
    };
    for owner in decision.owners {
        match owner {
            Owner::User(login) => owned.users.push(login.clone()),
            Owner::Team(team) if resolved.no_team.contains(team) => {
                let why = format!("the team @{team} does not exist or cannot be seen");
                owned.error.get_or_insert(why);
            }
            Owner::Team(team) => owned.teams.push(team.clone()),
            Owner::Email(email) => match resolved.emails.get(email) {
                Some(login) => owned.users.push(login.clone()),
                None => {
                    owned.error.get_or_insert_with(|| format!("no account is known for {email}"));
                }
            },
        }
    }
    Some(owned)
}

/// Splits at spaces and tabs that are not escaped; `#` at the start of a word begins a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_empty() => break,
            '\\' => {
                word.push(c);
                word.extend(chars.next());
            }
            c if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

impl Owner {
    fn parse(word: &str) -> Result<Self, String> {
        let bad = || Err(format!("`{word}` is not an owner (@user, @org/team or an e-mail address)"));
        if let Some(name) = word.strip_prefix('@') {
            return match name.split_once('/') {
                Some((org, team)) if is_name(org) && is_name(team) => {
                    Ok(Self::Team(name.to_ascii_lowercase()))
                }
                None if is_login(name) => Ok(Self::User(name.to_owned())),
                _ => bad(),
            };
        }
        match word.split_once('@') {
            Some((local, host)) if !local.is_empty() && !host.is_empty() && !host.contains('@') => {
                Ok(Self::Email(word.to_owned()))
            }
            _ => bad(),
        }
    }
}

fn is_name(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_login(s: &str) -> bool {
    is_name(s.strip_suffix("[bot]").unwrap_or(s))
}

/// A path pattern, cut at its slashes. The path of a file matches if it, or a folder above it, does.
#[derive(Clone, Debug, Default)]
struct Pattern {
    segments: Vec<Segment>,
    bad: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of folders, also none.
    Any,
    /// One name; `*` and `?` within it.
    Name(Vec<Glyph>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glyph {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let bad = Self::fault(text);
        let anchored = text.trim_end_matches('/').contains('/');
        let below = text.ends_with('/');
        let names: Vec<&str> = text.split('/').filter(|s| !s.is_empty()).collect();
        let mut segments: Vec<Segment> = Vec::new();
        if !anchored {
            segments.push(Segment::Any);
        }
        segments.extend(names.iter().map(|name| match *name {
            "**" => Segment::Any,
            name => Segment::Name(glyphs(name)),
        }));
        match segments.last() {
            // `docs/*` is one level: a name that is only a star does not stand for a folder.
            Some(Segment::Name(last)) if *last == [Glyph::Many] && !below => {}
            // `apps/` and `docs/**` are what is below, `apps` is also a file of that name.
            Some(Segment::Name(_)) if below => {
                segments.extend([Segment::Any, Segment::Name(vec![Glyph::Many])])
            }
            Some(Segment::Any) if !names.is_empty() => segments.push(Segment::Name(vec![Glyph::Many])),
            _ if !names.is_empty() => segments.push(Segment::Any),
            _ => {}
        }
        Self { segments, bad }
    }

    fn fault(text: &str) -> Option<String> {
        let why = if text.starts_with('!') {
            "`!` does not work in CODEOWNERS"
        } else if text.starts_with("\\#") {
            "a pattern cannot start with `#`, not even after a backslash"
        } else if has_plain(text, &['[', ']']) {
            "`[ ]` does not work in CODEOWNERS (a backslash before each makes it an ordinary character)"
        } else if text.contains("***") {
            "three stars in a row"
        } else if text.ends_with('\\') && !text.ends_with("\\\\") {
            "a backslash at the end"
        } else if text.split('/').all(str::is_empty) {
            "the pattern names nothing"
        } else {
            return None;
        };
        Some(format!("`{text}` is not a pattern: {why}"))
    }

    fn matches(&self, path: &[Vec<char>], work: &Work) -> bool {
        !self.segments.is_empty() && matches(&self.segments, path, work)
    }
}

/// Whether one of the characters stands in the text without a backslash before it.
fn has_plain(text: &str, of: &[char]) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            c if of.contains(&c) => return true,
            _ => {}
        }
    }
    false
}

fn glyphs(name: &str) -> Vec<Glyph> {
    let mut glyphs = Vec::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        let glyph = match c {
            '\\' => Glyph::Char(chars.next().unwrap_or('\\')),
            '*' => Glyph::Many,
            '?' => Glyph::One,
            c => Glyph::Char(c),
        };
        // Two stars within a name are one.
        if glyph != Glyph::Many || glyphs.last() != Some(&Glyph::Many) {
            glyphs.push(glyph);
        }
    }
    glyphs
}

/// Glob matching over any alphabet, in time |pattern| × |text| (never exponential: a CODEOWNERS file
/// is written by people who may not be friends). Used-up work is no match.
fn glob<P, T>(
    pattern: &[P],
    text: &[T],
    work: &Work,
    any: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        work.step();
        if work.is_used_up() {
            return false;
        }
        if p < pattern.len() && any(&pattern[p]) {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && fits(&pattern[p], &text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(any)
}

fn matches(segments: &[Segment], path: &[Vec<char>], work: &Work) -> bool {
    let name = |s: &Segment, text: &Vec<char>| match s {
        Segment::Any => true,
        Segment::Name(glyphs) => matches_name(glyphs, text, work),
    };
    glob(segments, path, work, |s| *s == Segment::Any, name)
}

fn matches_name(glyphs: &[Glyph], name: &[char], work: &Work) -> bool {
    let one = |g: &Glyph, c: &char| match g {
        Glyph::Char(want) => want == c,
        Glyph::One | Glyph::Many => true,
    };
    glob(glyphs, name, work, |g| *g == Glyph::Many, one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits(pattern: &str, path: &str) -> bool {
        Rules::parse(&format!("{pattern} @a")).decide(path).is_some_and(|d| d.bad.is_none())
    }

    #[test]
    fn patterns() {
        // (pattern, paths it matches, paths it does not)
        let table: &[(&str, &[&str], &[&str])] = &[
            ("*", &["a", "a/b", ".github/x"], &[]),
            ("*.js", &["a.js", "x/y/a.js", ".js"], &["a.jsx", "a.js.map", "A.JS"]),
            ("/build/logs/", &["build/logs/a", "build/logs/x/y"], &["build/logs", "x/build/logs/a"]),
            ("docs/*", &["docs/a.md"], &["docs/x/a.md", "x/docs/a.md", "docs"]),
            ("apps/", &["apps/a", "x/apps/a", "x/apps/y/z"], &["apps", "x/apps", "myapps/a"]),
            ("/docs/", &["docs/a", "docs/x/a"], &["x/docs/a"]),
            ("/apps/github", &["apps/github", "apps/github/x/y"], &["apps/githubber", "x/apps/github"]),
            ("apps", &["apps", "x/apps", "apps/y", "x/apps/y"], &["apps2", "xapps/y"]),
            ("**/logs", &["logs", "build/logs", "a/b/logs/x"], &["logs2", "xlogs"]),
            ("/scripts/**", &["scripts/a", "scripts/a/b"], &["scripts", "x/scripts/a"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "a/b/c"], &["b", "a/bc", "x/a/b"]),
            ("**", &["a", "a/b/c"], &[]),
            ("/*", &["a"], &["a/b"]),
            ("/**", &["a", "a/b"], &[]),
            ("/docs/*.md", &["docs/a.md"], &["docs/x/a.md"]),
            ("src/*/api", &["src/a/api", "src/a/api/x"], &["src/a/b/api", "src/api"]),
            ("file?.txt", &["file1.txt", "x/fileä.txt"], &["file.txt", "file12.txt"]),
            ("with\\ space/", &["with space/a"], &["with/a"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("pages/\\[id\\].tsx", &["pages/[id].tsx"], &["pages/i.tsx"]),
            ("README", &["README", "x/README"], &["readme", "README.md"]),
            ("x//y", &["x/y"], &["xy"]),
        ];
        for (pattern, yes, no) in table {
            for path in *yes {
                assert!(hits(pattern, path), "`{pattern}` should match {path}");
            }
            for path in *no {
                assert!(!hits(pattern, path), "`{pattern}` should not match {path}");
            }
        }
    }

    fn owners(text: &str, path: &str) -> Option<(u64, Vec<String>, Vec<String>, bool)> {
        let rules = Rules::parse(text);
        let owned = owned(path, rules.decide(path), &Resolved::default())?;
        Some((owned.line, owned.users, owned.teams, owned.error.is_some()))
    }

    fn s(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn the_last_matching_line_wins() {
        let text = "* @all\n/docs/ @writers\n/docs/api/ @Org/API-Team\n";
        assert_eq!(owners(text, "a"), Some((1, s(&["all"]), s(&[]), false)));
        assert_eq!(owners(text, "docs/a"), Some((2, s(&["writers"]), s(&[]), false)));
        assert_eq!(owners(text, "docs/api/a"), Some((3, s(&[]), s(&["org/api-team"]), false)));
    }

    #[test]
    fn a_line_without_owners_takes_ownership_away() {
        let text = "/apps/ @octocat\n/apps/github\n/apps/mine # nobody\n";
        assert!(owners(text, "apps/x").is_some());
        assert_eq!(owners(text, "apps/github/x"), None);
        assert_eq!(owners(text, "apps/mine/x"), None);
        assert_eq!(owners(text, "other"), None);
    }

    #[test]
    fn comments_blank_lines_tabs_and_line_ends() {
        let text = "\u{feff}# all\r\n\r\n  *\t@a  @b # and why\r\n#*.x @c\r\n";
        assert_eq!(owners(text, "f.x"), Some((3, s(&["a", "b"]), s(&[]), false)));
        let glued = owners("* @a#b @c", "f");
        assert!(glued.unwrap().3, "a `#` inside a word is part of it, and `@a#b` is no owner");
    }

    #[test]
    fn a_bad_line_is_skipped_and_shown() {
        let text = "* @all\n*.go @dev nonsense\n!a @x\n";
        let rules = Rules::parse(text);
        let lines: Vec<u64> = rules.errors().iter().map(|e| e.line).collect();
        assert_eq!(lines, [2, 3]);
        assert_eq!(owners(text, "a.go"), Some((1, s(&["all"]), s(&[]), false)));
    }

    #[test]
    fn a_path_that_only_a_bad_line_matches_is_an_error() {
        let text = "/docs/ @w\n*.go @dev nonsense\n";
        let (line, users, teams, error) = owners(text, "a.go").unwrap();
        assert_eq!((line, users.len(), teams.len(), error), (2, 0, 0, true));
        // A good line that takes ownership away is a good line.
        assert_eq!(owners("*.go\n*.go oops\n", "a.go"), None);
    }

    #[test]
    fn bad_patterns() {
        for bad in ["!x", "a[bc]", "\\#x", "a***", "/", "//"] {
            assert_eq!(Rules::parse(&format!("{bad} @a")).errors().len(), 1, "{bad}");
        }
        assert_eq!(Rules::parse("x\\").errors().len(), 1, "nothing to escape");
        // Sections are GitLab's.
        assert_eq!(Rules::parse("[Docs]\n* @a").errors().len(), 1);
    }

    #[test]
    fn what_an_owner_may_be() {
        for good in ["@a", "@octo-cat", "@a_corp", "@dependabot[bot]", "@o/t", "@O/t.x_y", "a@b.c"] {
            assert!(Owner::parse(good).is_ok(), "{good}");
        }
        for bad in ["a", "@", "@o/", "@/t", "@o/t/u", "@a b", "a@", "@@a", "a@b@c", "@a,@b"] {
            assert!(Owner::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_owner_who_is_not_there_makes_the_line_an_error() {
        let rules = Rules::parse("* @alice x@y.z @o/gone");
        let mut resolved = Resolved::default();
        let all = |r: &Resolved| owned("f", rules.decide("f"), r).unwrap();
        assert!(all(&resolved).error.unwrap().contains("x@y.z"));
        resolved.emails.insert("x@y.z".to_owned(), "xavier".to_owned());
        let fine = all(&resolved);
        assert_eq!((fine.users, fine.teams, fine.error), (s(&["alice", "xavier"]), s(&["o/gone"]), None));
        resolved.no_team.insert("o/gone".to_owned());
        let gone = all(&resolved);
        assert!(gone.error.unwrap().contains("@o/gone"));
        assert!(gone.teams.is_empty());
    }

    fn plainly(pattern: &[Segment], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((Segment::Any, rest)), first) => {
                plainly(rest, path) || first.is_some_and(|(_, below)| plainly(pattern, below))
            }
            (Some((Segment::Name(name), rest)), Some((first, below))) => {
                let chars: Vec<char> = first.chars().collect();
                plainly_named(name, &chars) && plainly(rest, below)
            }
            (Some(_), None) => false,
        }
    }

    fn plainly_named(pattern: &[Glyph], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Glyph::Many, rest)), first) => {
                plainly_named(rest, text) || first.is_some_and(|(_, more)| plainly_named(pattern, more))
            }
            (Some((Glyph::One, rest)), Some((_, more))) => plainly_named(rest, more),
            (Some((Glyph::Char(c), rest)), Some((d, more))) => c == d && plainly_named(rest, more),
            _ => false,
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "a*".repeat(200);
        let path = "a".repeat(5000) + "b";
        assert!(!hits(&format!("{pattern}c"), &path));
        let folders = "**/a/".repeat(60);
        assert!(!hits(&format!("/{folders}b"), &"a/".repeat(2000)));
    }

    proptest! {
        /// A pattern that is a path matches that path, what is below it, and, with its slash in
        /// front, nothing else.
        #[test]
        fn a_path_is_a_pattern(path in "[a-z.]{1,4}(/[a-z.]{1,4}){0,3}", other in "[a-z.]{1,4}(/[a-z.]{1,4}){0,3}") {
            let anchored = format!("/{path}");
            prop_assert!(hits(&anchored, &path));
            let below = format!("{path}/x");
            prop_assert!(hits(&anchored, &below));
            let expected = other == path || other.starts_with(&format!("{path}/"));
            prop_assert_eq!(hits(&anchored, &other), expected);
        }

        /// The fast matcher says what the obvious one says.
        #[test]
        fn matching_is_what_the_stars_say(
            pattern in "/?((a|b|\\*|\\?|a\\*b|\\*\\*)/){0,4}(a|b|\\*|ab|\\*\\*)/?",
            path in "(a|b|ab|aab)(/(a|b|ab|aab)){0,4}",
        ) {
            let parsed = Pattern::parse(&pattern);
            prop_assume!(parsed.bad.is_none());
            let segments: Vec<&str> = path.split('/').collect();
            let letters: Vec<Vec<char>> = segments.iter().map(|s| s.chars().collect()).collect();
            let found = parsed.matches(&letters, &Work::new(WORK_OF_ONE));
            prop_assert_eq!(found, plainly(&parsed.segments, &segments));
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}", path in "\\PC{0,40}") {
            _ = Rules::parse(&text).decide(&path);
        }
    }

    #[test]
    fn a_file_that_is_written_to_be_slow_is_an_error_and_not_a_wait() {
        let (name, star) = ("a".repeat(4000), format!("*{}b", "a".repeat(2000)));
        let rules = Rules::parse(&format!("{star} @a\n").repeat(1000));
        let work = Work::new(1_000_000);
        let d = rules.decide_within(&name, &work).unwrap();
        assert!(d.bad.is_some_and(|why| why.contains("too long")) && d.owners.is_empty());
        assert!(
            owned(&name, Some(d), &Resolved::default()).unwrap().error.is_some(),
            "nobody may approve it"
        );
        // The budget is of all paths together.
        assert!(rules.decide_within("x", &work).unwrap().bad.is_some());
        assert!(rules.decide("x").is_none());
        let started = std::time::Instant::now();
        assert!(rules.decide(&name).unwrap().bad.is_some());
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
