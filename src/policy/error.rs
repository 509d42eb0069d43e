//! Why a bundle is not loaded: the place, the line, and the way round.

use std::fmt;

use regorus::unstable::Span;

use crate::escape::is_invisible;

/// A bundle that cannot be used. `Display` is for people, several lines:
///
/// ```text
/// controls/reviews/reviews.rego:12:9: there is no function `string.upper`
///    |
/// 12 |   x := string.upper(y)
///    |        ^
///    = write `upper(y)`
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Relative to the bundle's folder, or the folder itself.
    pub path: String,
    pub place: Option<Place>,
    pub message: String,
    /// The way round.
    pub help: Option<String>,
}

/// Where in a file, both counted from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    /// The line itself.
    pub text: String,
}

impl std::error::Error for LoadError {}

impl LoadError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), place: None, message: message.into(), help: None }
    }

    /// At a byte offset of a file's text.
    pub(crate) fn at(path: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        Self::at_line(path, text, count(line), count(column), message)
    }

    /// At a span of regorus' tree.
    pub(crate) fn span(span: &Span, message: impl Into<String>) -> Self {
        Self::at(span.source.file(), span.source.contents(), span.start as usize, message)
    }

    pub(crate) fn at_line(
        path: &str,
        text: &str,
        line: u32,
        column: u32,
        message: impl Into<String>,
    ) -> Self {
        let source = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default().to_owned();
        let place = Place { line, column: column.max(1), text: source };
        Self { place: Some(place), ..Self::new(path, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// From 0-based to 1-based.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX - 1) + 1
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.path))?;
        if let Some(p) = &self.place {
            write!(f, ":{}:{}", p.line, p.column)?;
        }
        write!(f, ": {}", plain(&self.message))?;
        let margin = self.place.as_ref().map_or(1, |p| p.line.to_string().len());
        if let Some(p) = &self.place {
            let (text, indent) = excerpt(&p.text, p.column);
            write!(f, "\n{:margin$} |\n{} | {text}\n{:margin$} | {:indent$}^", "", p.line, "", "")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:margin$} = {}", "", plain(help))?;
        }
        Ok(())
    }
}

/// The line as it can be shown (at most 120 characters round the column) and where the caret stands.
fn excerpt(line: &str, column: u32) -> (String, usize) {
    let at = (column as usize).saturating_sub(1);
    let skip = if at > 100 { at - 60 } else { 0 };
    (plain(&line.chars().skip(skip).take(120).collect::<String>()), at - skip)
}

/// One line of as many characters, in which nothing acts on a terminal or hides: what a policy's text
/// could carry there.
pub(crate) fn plain(s: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        c if is_invisible(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    s.chars().map(shown).collect()
}

/// What regorus says, taken apart: it formats `\n--> file:line:col\n … \nerror: message`.
pub(crate) struct EngineError {
    pub path: Option<String>,
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl EngineError {
    /// Reads an error of regorus. Text of any other form becomes the message alone.
    pub(crate) fn read(text: &str) -> Self {
        let message = text.rsplit("error: ").next().unwrap_or(text).trim();
        let mut out = Self { path: None, line: 0, column: 0, message: one_line(message) };
        let head = text.lines().find_map(|l| l.strip_prefix("--> "));
        let mut parts = head.unwrap_or_default().rsplitn(3, ':');
        let column = parts.next().and_then(|c| c.parse().ok());
        let line = parts.next().and_then(|l| l.parse().ok());
        if let (Some(column), Some(line), Some(path)) = (column, line, parts.next()) {
            (out.path, out.line, out.column) = (Some(path.to_owned()), line, column);
        }
        out
    }
}

/// The first line; regorus appends traces of rules below it.
fn one_line(s: &str) -> String {
    plain(s.lines().next().unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_and_a_caret() {
        let text = "package a\nx := f(1)\n";
        let e = LoadError::at("a.rego", text, 15, "there is no function `f`").help("define it");
        insta::assert_snapshot!(e, @r"
        a.rego:2:6: there is no function `f`
          |
        2 | x := f(1)
          |      ^
          = define it
        ");
    }

    #[test]
    fn shows_hostile_text_harmlessly() {
        let e = LoadError::at("a\x1b[31m.rego", "x := \"\x1b]0;hi\x07\"", 5, "bad\nthing");
        assert!(!e.to_string().contains('\x1b'));
        assert_eq!(e.to_string().lines().count(), 4);
        let e = LoadError::at("a.rego", "x if \u{202e}y\u{2066}z", 5, "what");
        assert!(!e.to_string().chars().any(|c| c != '\n' && is_invisible(c)), "{e}");
    }

    #[test]
    fn reads_what_regorus_says() {
        let e = EngineError::read("\n--> a/b:c.rego:2:19\n  |\n2 | x\n  |   ^\nerror: no `if`");
        assert_eq!((e.path.as_deref(), e.line, e.column), (Some("a/b:c.rego"), 2, 19));
        assert_eq!(e.message, "no `if`");
        assert_eq!(EngineError::read("something else").message, "something else");
    }
}
