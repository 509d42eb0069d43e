//! `glob.match` and `glob.quote_meta` with OPA's rules (gobwas/glob 1.0.0).
//!
//! regorus' own speak another language: there `src/**.rs` does not match `src/a/b.rs`, and a protected
//! path would not be seen. A pattern becomes an anchored regular expression, read left to right:
//!
//! * `*` any run of non-delimiters, `**` any run, `?` one non-delimiter; without delimiters `*` is `**`.
//! * `{a,b}` nests, branches may be empty; outside braces `,` and `}` are text.
//! * `[` then perhaps `!`; if the second character is `-` exactly one range, else a plain list up to `]`.
//!   Classes match delimiters.
//! * `\c` is c.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    iter::Peekable,
    str::Chars,
    sync::Mutex,
};

use anyhow::{Result, anyhow, bail};
use regex::Regex;
use regorus::Value;

use super::builtins::{CACHED_PATTERNS, string};

/// Bytes of a compiled pattern.
const MAX_COMPILED: usize = 1 << 20;

pub(crate) fn rego_match(args: &[Value]) -> Result<Value> {
    let [pattern, delimiters, text] = args else { bail!("three arguments") };
    let (pattern, text) = (string("glob.match", pattern)?, string("glob.match", text)?);
    let delimiters = match delimiters {
        Value::Null => vec![],
        Value::Array(a) if a.is_empty() => vec!['.'],
        Value::Array(a) => a.iter().map(delimiter).collect::<Result<_>>()?,
        _ => bail!("`glob.match` expects null or an array of delimiters"),
    };
    Ok(Value::Bool(compiled(pattern, &delimiters)?.is_match(text)))
}

fn delimiter(v: &Value) -> Result<char> {
    let s = string("glob.match", v)?;
    let mut chars = s.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => bail!("`glob.match`: a delimiter is one character"),
    }
}

pub(crate) fn rego_quote_meta(args: &[Value]) -> Result<Value> {
    let [text] = args else { bail!("one argument") };
    Ok(Value::from(quote_meta(string("glob.quote_meta", text)?)))
}

/// The pattern that matches this text and no other.
#[must_use]
pub fn quote_meta(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\' | '[' | ']' | '{' | '}') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

type Cache = HashMap<(String, Vec<char>), Regex>;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

/// Compiling takes 50 µs, matching 0.1 µs.
fn compiled(pattern: &str, delimiters: &[char]) -> Result<Regex> {
    let key = (pattern.to_owned(), delimiters.to_vec());
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cache = cache.get_or_insert_default();
    if let Some(re) = cache.get(&key) {
        return Ok(re.clone());
    }
    let re = regex::RegexBuilder::new(&translate(pattern, delimiters)?)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| anyhow!("`glob.match`: a pattern that is too large"))?;
    if cache.len() >= CACHED_PATTERNS.get() {
        cache.clear();
    }
    cache.insert(key, re.clone());
    Ok(re)
}

/// As `glob.match(pattern, ["/"], text)`; a pattern that is none matches nothing.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    compiled(pattern, &['/']).is_ok_and(|re| re.is_match(text))
}

/// The pattern as a regular expression.
pub(crate) fn translate(pattern: &str, delimiters: &[char]) -> Result<String> {
    let mut out = String::from(r"(?s)\A");
    let any = if delimiters.is_empty() { ".".to_owned() } else { none_of(delimiters) };
    let mut chars = pattern.chars().peekable();
    let mut braces = 0usize;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => out.push_str(".*"),
            '*' => out.extend([any.as_str(), "*"]),
            '?' => out.push_str(&any),
            '{' => {
                braces += 1;
                out.push_str("(?:");
            }
            ',' if braces > 0 => out.push('|'),
            '}' if braces > 0 => {
                braces -= 1;
                out.push(')');
            }
            '[' => class(&mut chars, &mut out)?,
            '\\' => {
                literal(chars.next().ok_or_else(|| anyhow!("`glob.match`: a `\\` at the end"))?, &mut out)
            }
            c => literal(c, &mut out),
        }
    }
    if braces > 0 {
        bail!("`glob.match`: a `{{` without `}}`");
    }
    out.push_str(r"\z");
    Ok(out)
}

fn none_of(delimiters: &[char]) -> String {
    let mut out = String::from("[^");
    for c in delimiters.iter().collect::<BTreeSet<_>>() {
        literal(*c, &mut out);
    }
    out.push(']');
    out
}

/// Hex, so that nothing means anything, in classes too.
fn literal(c: char, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, r"\x{{{:x}}}", u32::from(c));
}

fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<()> {
    let unclosed = || anyhow!("`glob.match`: a `[` without `]`");
    out.push('[');
    if chars.next_if_eq(&'!').is_some() {
        out.push('^');
    }
    let first = chars.next().ok_or_else(unclosed)?;
    if chars.peek() == Some(&'-') {
        chars.next();
        let last = chars.next().ok_or_else(unclosed)?;
        if last < first || chars.next() != Some(']') {
            bail!("`glob.match`: a range that is not `[a-z]`");
        }
        literal(first, out);
        out.push('-');
        literal(last, out);
    } else {
        list(first, chars, out)?;
    }
    out.push(']');
    Ok(())
}

fn list(first: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<()> {
    let mut next = Some(first);
    let mut empty = true;
    loop {
        match next.ok_or_else(|| anyhow!("`glob.match`: a `[` without `]`"))? {
            ']' if empty => bail!("`glob.match`: an empty class"),
            ']' => return Ok(()),
            '\\' => literal(chars.next().ok_or_else(|| anyhow!("`glob.match`: a `\\` at the end"))?, out),
            c => literal(c, out),
        }
        empty = false;
        next = chars.next();
    }
}
