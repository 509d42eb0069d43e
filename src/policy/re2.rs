//! Regular expressions as OPA reads them (Go's RE2 syntax) for the `regex` crate.
//!
//! In Go `\d`, `\w`, `\s` and `\b` are ASCII, `[`, `&&` and `--` in a class are text, `a**` is an error.
//! The pattern is written anew, every literal as hex; what this page does not know is an error, which
//! blocks.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

use anyhow::{Result, bail};
use regorus::Value;

use super::builtins::{self, string};

/// Bytes of a compiled pattern, as in regorus.
const MAX_COMPILED: usize = 100 * 1024;

/// Go's limit for a repetition, nested ones multiplied.
const MAX_REPEAT: u32 = 1000;

/// Calls regorus' own function with the pattern (argument `at`) written anew.
pub(crate) fn delegate(name: &str, at: usize, args: &[Value]) -> Result<Value> {
    let mut args = args.to_vec();
    if let Some(pattern) = args.get_mut(at) {
        *pattern = Value::from(translate(string(name, pattern)?)?);
    }
    builtins::delegate(name, &args)
}

pub(crate) fn is_valid(args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(s)] => delegate("regex.is_valid", 0, &[Value::from(s.as_ref())]),
        _ => Ok(Value::Bool(false)),
    }
}

/// Go's `Regexp.Split`, which leaves out an empty match at the very beginning and end.
pub(crate) fn split(args: &[Value]) -> Result<Value> {
    let [pattern, text] = args else { bail!("two arguments") };
    let (pattern, text) = (string("regex.split", pattern)?, string("regex.split", text)?);
    let re = regex::RegexBuilder::new(&translate(pattern)?).size_limit(MAX_COMPILED).build();
    let re = re.map_err(|_| anyhow::anyhow!("a regular expression that is wrong or too large"))?;
    if !pattern.is_empty() && text.is_empty() {
        return Ok(Value::from(vec![Value::from("")]));
    }
    let (mut parts, mut begin, mut end) = (Vec::new(), 0, 0);
    for m in re.find_iter(text) {
        end = m.start();
        if m.end() != 0 {
            parts.push(Value::from(&text[begin..end]));
        }
        begin = m.end();
    }
    if end != text.len() {
        parts.push(Value::from(&text[begin..]));
    }
    Ok(Value::from(parts))
}

/// The pattern in the syntax of the `regex` crate.
pub(crate) fn translate(pattern: &str) -> Result<String> {
    let mut t = Translation {
        rest: pattern.chars().peekable(),
        out: String::new(),
        groups: vec![1],
        last: 1,
        repeatable: true,
    };
    while let Some(c) = t.rest.next() {
        t.step(c)?;
    }
    Ok(t.out)
}

struct Translation<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Per open group: the largest product of repetitions in it.
    groups: Vec<u32>,
    /// The same for the last atom.
    last: u32,
    /// The last thing was no repetition; Go refuses `a**`.
    repeatable: bool,
}

impl Translation<'_> {
    fn step(&mut self, c: char) -> Result<()> {
        match c {
            '*' | '+' | '?' => return self.repeat(&c.to_string(), 1),
            '{' => {
                if let Some((text, max)) = self.counted()? {
                    return self.repeat(&text, max);
                }
                self.atom();
                literal('{', &mut self.out);
            }
            '(' => self.open()?,
            ')' => {
                let inside = if self.groups.len() > 1 { self.groups.pop() } else { None };
                self.atom();
                self.last = inside.unwrap_or(1);
                self.note(self.last);
                self.out.push(')');
            }
            '|' => {
                self.atom();
                self.out.push('|');
            }
            '.' | '^' | '$' => {
                self.atom();
                self.out.push(c);
            }
            '[' => {
                self.atom();
                self.class()?;
            }
            '\\' => {
                self.atom();
                self.escape()?;
            }
            c => {
                self.atom();
                literal(c, &mut self.out);
            }
        }
        Ok(())
    }

    fn atom(&mut self) {
        self.last = 1;
        self.repeatable = true;
    }

    fn note(&mut self, product: u32) {
        if let Some(g) = self.groups.last_mut() {
            *g = (*g).max(product);
        }
    }

    fn repeat(&mut self, text: &str, max: u32) -> Result<()> {
        if !self.repeatable {
            bail!("a regular expression with a repetition of a repetition");
        }
        self.last = self.last.saturating_mul(max.max(1));
        if self.last > MAX_REPEAT {
            bail!("a regular expression that repeats more than {MAX_REPEAT} times");
        }
        self.note(self.last);
        self.out.push_str(text);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.repeatable = false;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}` after its brace; anything else is text.
    fn counted(&mut self) -> Result<Option<(String, u32)>> {
        let mut ahead = self.rest.clone();
        let text: String = ahead.by_ref().take_while(|c| *c != '}').take(12).collect();
        let (min, max) = text.split_once(',').unwrap_or((&text, &text));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let closed = self.rest.clone().nth(text.chars().count()) == Some('}');
        if !closed || !digits(min) || !(digits(max) || max.is_empty()) {
            return Ok(None);
        }
        let (low, high): (u32, u32) = (min.parse()?, if max.is_empty() { min } else { max }.parse()?);
        if low > high || high > MAX_REPEAT || min.len() > 1 && min.starts_with('0') {
            bail!("a regular expression with the repetition `{{{text}}}`");
        }
        for _ in 0..=text.chars().count() {
            self.rest.next();
        }
        Ok(Some((format!("{{{text}}}"), high)))
    }

    fn open(&mut self) -> Result<()> {
        self.atom();
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            self.groups.push(1);
            return Ok(());
        }
        let head: String = self.rest.clone().take_while(|c| !matches!(c, ')' | ':' | '>')).take(64).collect();
        let end = self.rest.clone().nth(head.chars().count());
        let name = head.strip_prefix("P<").or_else(|| head.strip_prefix('<'));
        match (name, end) {
            (Some(name), Some('>')) if is_name(name) => self.groups.push(1),
            (None, Some(':')) if are_flags(&head) || head.is_empty() => self.groups.push(1),
            (None, Some(')')) if are_flags(&head) => self.repeatable = false,
            _ => bail!("a regular expression with the group `(?{}`", head.escape_debug()),
        }
        self.out.push('?');
        for _ in 0..=head.chars().count() {
            self.out.extend(self.rest.next());
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        let Some(c) = self.rest.next() else { bail!("a regular expression that ends in `\\`") };
        match c {
            'b' | 'B' => {
                let _ = write!(self.out, r"(?-u:\{c})");
            }
            'A' | 'z' => self.out.extend(['\\', c]),
            _ => match shorthand(c) {
                Some(set) => self.out.push_str(set),
                None if matches!(c, 'p' | 'P') => self.category(c)?,
                None => {
                    let c = self.escaped_char(c)?;
                    literal(c, &mut self.out);
                }
            },
        }
        Ok(())
    }

    /// `\pL`, `\p{Lu}`: general categories, which Go and the crate name alike.
    fn category(&mut self, p: char) -> Result<()> {
        let Some(c) = self.rest.next() else { bail!("a regular expression that ends in `\\{p}`") };
        let name: String = if c == '{' {
            self.rest.by_ref().take_while(|c| *c != '}').take(9).collect()
        } else {
            c.to_string()
        };
        const CATEGORIES: &[&str] =
            &["L", "Ll", "Lu", "Lt", "Lm", "Lo", "M", "N", "Nd", "Nl", "No", "P", "S", "Z", "Zs"];
        if !CATEGORIES.contains(&name.as_str()) {
            bail!("a regular expression with `\\{p}{{{}}}`", name.escape_debug());
        }
        let _ = write!(self.out, "\\{p}{{{name}}}");
        Ok(())
    }

    /// What `\n`, `\x41`, `\.` stand for, after the backslash.
    fn escaped_char(&mut self, c: char) -> Result<char> {
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => {
                let digits: String = if self.rest.next_if_eq(&'{').is_some() {
                    self.rest.by_ref().take_while(|c| *c != '}').take(9).collect()
                } else {
                    self.rest.by_ref().take(2).collect()
                };
                let hex = digits.bytes().all(|b| b.is_ascii_hexdigit()) && digits.len() >= 2;
                let code =
                    if hex { u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) } else { None };
                let Some(code) = code else { bail!("a regular expression with a bad `\\x`") };
                code
            }
            c if c.is_ascii_punctuation() => c,
            c => bail!("a regular expression with `\\{}`", c.escape_debug()),
        })
    }

    /// A class after its `[`.
    fn class(&mut self) -> Result<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.rest.next() else { bail!("a regular expression with a `[` without `]`") };
            match c {
                ']' if !first => break,
                '[' if self.rest.peek() == Some(&':') => self.posix()?,
                '\\' if self.rest.peek().is_some_and(|c| shorthand(*c).is_some()) => {
                    let set = self.rest.next().and_then(shorthand).unwrap_or_default();
                    self.out.push_str(set);
                }
                '\\' if matches!(self.rest.peek(), Some('p' | 'P')) => {
                    let p = self.rest.next().unwrap_or('p');
                    self.category(p)?;
                }
                c => self.range(c)?,
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    fn range(&mut self, c: char) -> Result<()> {
        let low = self.class_char(c)?;
        literal(low, &mut self.out);
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
            self.rest.next();
            let Some(c) = self.rest.next() else { bail!("a regular expression with a `[` without `]`") };
            let high = self.class_char(c)?;
            if high < low {
                bail!("a regular expression with a range that runs backwards");
            }
            self.out.push('-');
            literal(high, &mut self.out);
        }
        Ok(())
    }

    fn class_char(&mut self, c: char) -> Result<char> {
        if c != '\\' {
            return Ok(c);
        }
        match self.rest.next() {
            Some(c) => self.escaped_char(c),
            None => bail!("a regular expression that ends in `\\`"),
        }
    }

    /// `[:alpha:]`; where Go would read text, an error.
    fn posix(&mut self) -> Result<()> {
        self.rest.next();
        let name: String = self.rest.by_ref().take_while(|c| *c != ']').take(9).collect();
        const NAMES: &[&str] = &[
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        let known = name.strip_suffix(':').is_some_and(|n| NAMES.contains(&n.strip_prefix('^').unwrap_or(n)));
        if !known {
            bail!("a regular expression with the class `[:{}]`", name.escape_debug());
        }
        let _ = write!(self.out, "[:{name}]");
        Ok(())
    }
}

/// Go's Perl classes, which are ASCII.
fn shorthand(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        _ => return None,
    })
}

fn is_name(s: &str) -> bool {
    super::ast::is_identifier(s)
}

fn are_flags(s: &str) -> bool {
    !s.is_empty()
        && !s.ends_with('-')
        && s.matches('-').count() <= 1
        && s.chars().all(|c| "imsU-".contains(c))
}

fn literal(c: char, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, r"\x{{{:x}}}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> Option<bool> {
        let re = regex::Regex::new(&translate(pattern).ok()?).ok()?;
        Some(re.is_match(text))
    }

    #[test]
    fn shorthands_are_ascii() {
        assert_eq!(matches(r"^\w+$", "ü"), Some(false));
        assert_eq!(matches(r"^\d+$", "٣"), Some(false));
        assert_eq!(matches(r"^[^\W]+$", "a_1"), Some(true));
        assert_eq!(matches(r"\bfoo\B", "a foox"), Some(true));
        assert_eq!(matches(r"\Bx", "fux"), Some(true));
    }

    #[test]
    fn class_text_is_text() {
        assert_eq!(matches("^[a&&b]+$", "&ab"), Some(true));
        assert_eq!(matches("^[[]$", "["), Some(true));
        assert_eq!(matches("^[]a]+$", "]a"), Some(true));
        assert_eq!(matches(r"^[\w-]+$", "a-b"), Some(true));
        assert_eq!(matches("^a{,2}$", "a{,2}"), Some(true));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in [
            "a**",
            "a{2}{3}",
            "(a{40}){40}",
            "a{1001}",
            r"\Qa",
            r"\1",
            "(?x)a",
            "[b-a]",
            r"\u0041",
            "(?P<1>a)",
        ] {
            assert_eq!(matches(bad, "a"), None, "{bad}");
        }
        for good in
            ["a*?", "(a{40}){25}", "(?i)A", "(?P<x>a)|(?:b)", "[[:alpha:]_]", r"\x{1F600}|a", "a{2,3}|a"]
        {
            assert!(matches(good, "a").is_some(), "{good}");
        }
    }
}
