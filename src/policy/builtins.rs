//! Built-in functions: which there are, and those that answer otherwise than OPA's, done again.
//!
//! A policy may call what OPA has and regorus answers alike. What differs is replaced by an extension
//! (regorus looks up user functions first, then extensions, then built-ins), which answers as OPA does
//! or raises an error: a control that errors blocks.

use std::{fmt::Write as _, num::NonZeroUsize};

use anyhow::{Result, anyhow, bail};
use regorus::{
    Engine, Value,
    unstable::{BUILTINS, Expr, Ref, Span},
};

use super::{ast, error::EngineError, glob, re2};

/// Items that `numbers.range` may make; the engine's timer cannot stop it.
const MAX_RANGE: i64 = 1_000_000;

/// What is known of a name.
pub(crate) enum Known {
    /// With its number of arguments; `None`: any number.
    Yes(Option<usize>),
    /// Why a policy may not call it.
    Forbidden(&'static str),
    /// A way round, where there is one.
    No(Option<&'static str>),
}

pub(crate) fn known(name: &str) -> Known {
    if name == "print" {
        return Known::Yes(None);
    }
    let below = |n: &str| name.strip_prefix(n).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if let Some((_, why)) = FORBIDDEN.iter().find(|(n, _)| below(n)) {
        return Known::Forbidden(why);
    }
    if let Some((_, arity, _)) = EXTENSIONS.iter().find(|(n, ..)| *n == name) {
        return Known::Yes(Some(usize::from(*arity)));
    }
    let elsewhere = |n: &str| name == n || (n.ends_with(['.', '_']) && name.starts_with(n));
    if let Some((_, help)) = ELSEWHERE.iter().find(|(n, _)| elsewhere(n)) {
        return Known::No(Some(help));
    }
    match BUILTINS.get(name) {
        Some((_, arity)) => Known::Yes(Some(usize::from(*arity))),
        None => Known::No(None),
    }
}

const FORBIDDEN: &[(&str, &str)] = &[
    ("http.send", "a verdict must be reproducible; facts are fetched before judging"),
    ("net.lookup_ip_addr", "a verdict must be reproducible"),
    ("opa.runtime", "a verdict must not depend on the machine"),
    ("net.cidr_expand", "it gives a set in OPA; use `net.cidr_contains`"),
    ("time.parse_ns", "layouts are not as OPA has them; write `time.parse_rfc3339_ns`"),
    ("yaml", "YAML has dialects; write `json.marshal` and `json.unmarshal`"),
    ("rand", "a verdict must be reproducible"),
    ("regex.globs_match", "it is not as OPA has it; write `regex.match`"),
    ("regex.template_match", "it is not as OPA has it; write `regex.match`"),
    ("rego.parse_module", "policies do not read policies"),
    ("uuid.rfc4122", "a verdict must be reproducible"),
];

/// Names that OPA has and gatelog has not, or that only regorus has.
const ELSEWHERE: &[(&str, &str)] = &[
    ("__builtin_sets.", "OPA does not have it"),
    ("azure.", "OPA does not have it"),
    ("test.sleep", "OPA does not have it"),
    ("crypto.", "cryptography is not for policies: ask for a fact instead"),
    ("io.jwt.", "cryptography is not for policies: ask for a fact instead"),
    ("rego.metadata.", "METADATA is read by gatelog, not by rules"),
    ("strings.render_template", "use `sprintf`"),
    ("re_match", "write `regex.match`"),
    ("cast_", "write `is_…` and `to_number`"),
    ("all", "write `every`"),
    ("any", "write `some … in`"),
    ("set_diff", "write `a - b`"),
];

type Extension = fn(&[Value]) -> Result<Value>;

const EXTENSIONS: &[(&str, u8, Extension)] = &[
    ("glob.match", 3, glob::rego_match),
    ("glob.quote_meta", 1, glob::rego_quote_meta),
    ("regex.match", 2, |a| re2::delegate("regex.match", 0, a)),
    ("regex.is_valid", 1, re2::is_valid),
    ("regex.split", 2, re2::split),
    ("regex.find_n", 3, |a| re2::delegate("regex.find_n", 0, a)),
    ("regex.find_all_string_submatch_n", 3, |a| re2::delegate("regex.find_all_string_submatch_n", 0, a)),
    ("regex.replace", 3, |a| re2::delegate("regex.replace", 1, a)),
    ("sprintf", 2, sprintf),
    ("strings.replace_n", 2, replace_n),
    ("strings.count", 2, strings_count),
    ("object.subset", 2, object_subset),
    ("indexof", 2, |a| not_empty("indexof", a)),
    ("indexof_n", 2, |a| not_empty("indexof_n", a)),
    ("substring", 3, substring),
    ("semver.is_valid", 1, semver_is_valid),
    ("bits.lsh", 2, |a| shift("bits.lsh", a)),
    ("bits.rsh", 2, |a| shift("bits.rsh", a)),
    ("units.parse", 1, |a| whole_units("units.parse", a)),
    ("units.parse_bytes", 1, |a| whole_units("units.parse_bytes", a)),
    ("urlquery.decode", 1, |a| urlquery("urlquery.decode", b"-_.~+", a)),
    ("urlquery.decode_object", 1, |a| urlquery("urlquery.decode_object", b"-_.~+&=", a)),
    ("json.marshal", 1, json_marshal),
    ("json.filter", 2, |a| json_paths("json.filter", a)),
    ("json.remove", 2, |a| json_paths("json.remove", a)),
    ("to_number", 1, to_number),
    ("numbers.range", 2, |a| numbers_range("numbers.range", a)),
    ("numbers.range_step", 3, |a| numbers_range("numbers.range_step", a)),
    ("time.parse_rfc3339_ns", 1, parse_rfc3339_ns),
    ("time.clock", 1, |a| without_local_zone("time.clock", a)),
    ("time.date", 1, |a| without_local_zone("time.date", a)),
    ("time.diff", 2, |a| without_local_zone("time.diff", a)),
    ("time.format", 1, time_format),
    ("time.weekday", 1, |a| without_local_zone("time.weekday", a)),
    ("trace", 1, |_| Ok(Value::Bool(true))),
];

/// Adds all extensions but `time.now_ns`, which is set per judgement.
///
/// # Errors
/// None that can happen with a new engine.
pub(crate) fn install(engine: &mut Engine) -> Result<()> {
    for (name, arity, f) in EXTENSIONS {
        engine.add_extension((*name).to_owned(), *arity, Box::new(move |args: Vec<Value>| f(&args)))?;
    }
    Ok(())
}

/// Calls regorus' own function.
pub(crate) fn delegate(name: &str, args: &[Value]) -> Result<Value> {
    let (function, _) = BUILTINS.get(name).ok_or_else(|| anyhow!("there is no function `{name}`"))?;
    let source = ast::nowhere().ok_or_else(|| anyhow!("no place for `{name}`"))?;
    let span = Span { source, line: 1, col: 1, start: 0, end: 1 };
    let params: Vec<Ref<Expr>> = args
        .iter()
        .map(|_| Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 }))
        .collect();
    function(&span, &params, args, true)
        .map_err(|e| anyhow!("{}", EngineError::read(&format!("{e}")).message))
}

pub(crate) fn string<'v>(function: &str, v: &'v Value) -> Result<&'v str> {
    match v {
        Value::String(s) => Ok(s),
        other => bail!("`{function}` expects a string, got {}", kind(other)),
    }
}

fn kind(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "nothing",
    }
}

/// regorus panics on an empty search string; OPA counts the places between characters.
fn strings_count(args: &[Value]) -> Result<Value> {
    let [s, search] = args else { bail!("two arguments") };
    let (s, search) = (string("strings.count", s)?, string("strings.count", search)?);
    let n = if search.is_empty() { s.chars().count() + 1 } else { s.matches(search).count() };
    Ok(Value::from(n as u64))
}

/// regorus panics on an empty array to look for, and says false where OPA says nothing.
fn object_subset(args: &[Value]) -> Result<Value> {
    match args {
        [Value::Array(_), Value::Array(sub)] if sub.is_empty() => {
            bail!("`object.subset` with an empty array")
        }
        [Value::Object(_), Value::Object(_)]
        | [Value::Set(_), Value::Set(_)]
        | [Value::Array(_), Value::Array(_) | Value::Set(_)] => delegate("object.subset", args),
        _ => bail!("`object.subset` of values of different kinds"),
    }
}

/// Paths as OPA reads them: `/a/b~1c` is the same as `a/b~1c` and as `["a", "b/c"]`. The engine keeps the
/// first slash and finds nothing.
fn json_paths(name: &str, args: &[Value]) -> Result<Value> {
    let [value, paths] = args else { bail!("two arguments") };
    let segments = |path: &Value| match path {
        Value::String(s) if !s.is_empty() => {
            let parts = s.trim_start_matches('/').split('/');
            Value::from(
                parts.map(|p| Value::from(p.replace("~1", "/").replace("~0", "~"))).collect::<Vec<_>>(),
            )
        }
        other => other.clone(),
    };
    let paths = match paths {
        Value::Array(a) => a.iter().map(segments).collect::<Vec<_>>(),
        Value::Set(s) => s.iter().map(segments).collect(),
        _ => return delegate(name, args),
    };
    delegate(name, &[value.clone(), Value::from(paths)])
}

fn not_empty(name: &str, args: &[Value]) -> Result<Value> {
    if matches!(args, [_, Value::String(s)] if s.is_empty()) {
        bail!("`{name}` of an empty string");
    }
    delegate(name, args)
}

fn substring(args: &[Value]) -> Result<Value> {
    let fits = |v: &Value| v.as_i64().is_ok_and(|n| i32::try_from(n).is_ok());
    if !args.iter().skip(1).all(fits) {
        bail!("`substring` with a place that is no place");
    }
    delegate("substring", args)
}

/// OPA allows a leading `v`, the engine does not.
fn semver_is_valid(args: &[Value]) -> Result<Value> {
    if matches!(args, [Value::String(s)] if s.starts_with(['v', 'V'])) {
        bail!("`semver.is_valid` of a version that begins with `v` (trim it first)");
    }
    delegate("semver.is_valid", args)
}

/// Beyond 31 bits the engine runs into its largest number.
fn shift(name: &str, args: &[Value]) -> Result<Value> {
    if !args.iter().all(|v| v.as_i64().is_ok_and(|n| (0..1 << 31).contains(&n)))
        || !args.get(1).is_some_and(|v| v.as_i64().is_ok_and(|n| n < 32))
    {
        bail!("`{name}` beyond 31 bits");
    }
    delegate(name, args)
}

/// Whole numbers with a unit; fractions are rounded differently.
fn whole_units(name: &str, args: &[Value]) -> Result<Value> {
    let [value] = args else { bail!("one argument") };
    let s = string(name, value)?;
    let unit = s.trim_start_matches(|c: char| c.is_ascii_digit());
    if unit.len() == s.len() || s.len() - unit.len() > 9 || !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        bail!("`{name}` of something else than a whole number and a unit");
    }
    delegate(name, args)
}

/// Text that is properly encoded; regorus drops or keeps the rest otherwise than Go.
fn urlquery(name: &str, plain: &[u8], args: &[Value]) -> Result<Value> {
    let [value] = args else { bail!("one argument") };
    let b = string(name, value)?.as_bytes();
    let hex = |i: usize| b.get(i).is_some_and(u8::is_ascii_hexdigit);
    let fine = |(i, c): (usize, &u8)| {
        c.is_ascii_alphanumeric() || plain.contains(c) || (*c == b'%' && hex(i + 1) && hex(i + 2))
    };
    if !b.iter().enumerate().all(fine) {
        bail!("`{name}` of text that is not encoded");
    }
    delegate(name, args)
}

/// Go leaves out zeros at the end of the fraction. Layouts are not as OPA has them.
fn time_format(args: &[Value]) -> Result<Value> {
    if matches!(args, [Value::Array(a)] if a.len() > 2) {
        bail!("`time.format` with a layout");
    }
    let text = without_local_zone("time.format", args)?;
    let Value::String(s) = &text else { return Ok(text) };
    let Some((head, tail)) = s.split_once('.') else { return Ok(text) };
    let zone = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    let fraction = tail[..tail.len() - zone.len()].trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(Value::from(format!("{head}{dot}{fraction}{zone}")))
}

fn numbers_range(name: &str, args: &[Value]) -> Result<Value> {
    let bound = |v: &Value| v.as_i64().map_err(|_| anyhow!("`{name}` expects whole numbers"));
    let (Some(from), Some(to)) = (args.first(), args.get(1)) else { bail!("two arguments") };
    let length = bound(from)?.abs_diff(bound(to)?);
    if length >= MAX_RANGE.unsigned_abs() {
        bail!("`{name}` of more than {MAX_RANGE} numbers");
    }
    if let Some(step) = args.get(2)
        && bound(step)? <= 0
    {
        bail!("`{name}` with a step that is not positive");
    }
    delegate(name, args)
}

/// The machine's own time zone is no fact.
fn without_local_zone(name: &str, args: &[Value]) -> Result<Value> {
    let local = |v: &Value| matches!(v, Value::String(s) if s.eq_ignore_ascii_case("local"));
    let inside = |v: &Value| matches!(v, Value::Array(a) if a.iter().any(local));
    if args.iter().any(inside) {
        bail!("`{name}` with the time zone of the machine");
    }
    delegate(name, args)
}

/// Go's RFC 3339: `T` and `Z` in upper case, no second 60.
fn parse_rfc3339_ns(args: &[Value]) -> Result<Value> {
    let [value] = args else { bail!("one argument") };
    let s = string("time.parse_rfc3339_ns", value)?;
    let b = s.as_bytes();
    let shape = b.len() >= 20
        && b[..19]
            .iter()
            .zip(b"0000-00-00T00:00:00")
            .all(|(c, p)| if *p == b'0' { c.is_ascii_digit() } else { c == p })
        && b[17] < b'6'
        && matches!(b[19], b'.' | b'Z' | b'+' | b'-')
        && b[19..].iter().all(|c| c.is_ascii_digit() || b".Z+-:".contains(c));
    if !shape {
        bail!("`{}` is not an RFC 3339 time", s.chars().take(64).collect::<String>().escape_debug());
    }
    delegate("time.parse_rfc3339_ns", args)
}

/// As OPA: no spaces, no `+1`, no `0x10`. Text that is no JSON number is an error.
fn to_number(args: &[Value]) -> Result<Value> {
    match args {
        [Value::Null] => Ok(Value::from(0u64)),
        [Value::Bool(b)] => Ok(Value::from(u64::from(*b))),
        [n @ Value::Number(_)] => Ok(n.clone()),
        [Value::String(s)] => {
            let plain = s.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            let number: serde_json::Number = if plain { serde_json::from_str(s).ok() } else { None }
                .ok_or_else(|| anyhow!("`to_number` of text that is no number"))?;
            Value::from_json_str(&number.to_string())
        }
        _ => bail!("`to_number` of something else than text, a number, a boolean or null"),
    }
}

/// Go's `json.Marshal` escapes what HTML would read.
fn json_marshal(args: &[Value]) -> Result<Value> {
    let [value] = args else { bail!("one argument") };
    Ok(Value::from(go_json(value)?))
}

fn go_json(value: &Value) -> Result<String> {
    let compact: serde_json::Value = serde_json::from_str(&value.to_json_str()?)?;
    let text = compact.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Go's `strings.NewReplacer`: one pass, replacements are not replaced again.
fn replace_n(args: &[Value]) -> Result<Value> {
    let [Value::Object(patterns), text] = args else {
        bail!("`strings.replace_n` expects an object and a string")
    };
    let text = string("strings.replace_n", text)?;
    let mut pairs = Vec::new();
    for (from, to) in patterns.iter() {
        pairs.push((string("strings.replace_n", from)?, string("strings.replace_n", to)?));
    }
    if pairs.iter().any(|(from, _)| from.is_empty()) {
        bail!("`strings.replace_n` of an empty string");
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match pairs.iter().find(|(from, _)| rest.starts_with(from)) {
            Some((from, to)) => {
                out.push_str(to);
                rest = &rest[from.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(Value::from(out))
}

/// Go's `fmt.Sprintf` over what OPA hands it: whole numbers as `int`, text as `string`, everything
/// else as OPA prints it. What Go would mark as a mistake (`%!d(string=x)`) is an error here.
fn sprintf(args: &[Value]) -> Result<Value> {
    let [format, Value::Array(values)] = args else { bail!("`sprintf` expects a string and an array") };
    let format = string("sprintf", format)?;
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (spec, tail) = Spec::read(&rest[at + 1..])?;
        rest = tail;
        if spec.verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| anyhow!("`sprintf` has fewer values than verbs"))?;
        out.push_str(&spec.apply(value)?);
    }
    out.push_str(rest);
    if values.next().is_some() {
        bail!("`sprintf` has more values than verbs");
    }
    Ok(Value::from(out))
}

struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
    verb: char,
}

impl Spec {
    /// Reads what follows `%`.
    fn read(text: &str) -> Result<(Self, &str)> {
        let mut s = Self { left: false, zero: false, plus: false, width: 0, precision: None, verb: '%' };
        let flags = text.len() - text.trim_start_matches(['-', '0', '+']).len();
        for c in text[..flags].chars() {
            match c {
                '-' => s.left = true,
                '0' => s.zero = true,
                _ => s.plus = true,
            }
        }
        let (width, rest) = number(&text[flags..])?;
        s.width = width.unwrap_or(0);
        let mut rest = rest;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, tail) = number(after)?;
            s.precision = Some(precision.unwrap_or(0));
            rest = tail;
        }
        s.verb = rest.chars().next().ok_or_else(|| anyhow!("`sprintf` ends in a lone `%`"))?;
        if s.verb == '%' && rest.len() != text.len() {
            bail!("`sprintf` with flags before `%%`");
        }
        let tail = &rest[s.verb.len_utf8()..];
        Ok((s, tail))
    }

    fn apply(&self, value: &Value) -> Result<String> {
        let whole = match value {
            Value::Number(_) => value.as_i64().ok(),
            _ => None,
        };
        match (self.verb, value) {
            ('d' | 'v', Value::Number(_)) if whole.is_some() => Ok(self.integer(whole.unwrap_or(0), 10)),
            ('x', Value::Number(_)) if whole.is_some() => Ok(self.integer(whole.unwrap_or(0), 16)),
            ('f', Value::Number(_)) if whole.is_none() => {
                let x = value.as_f64()?;
                let digits = format!("{:.*}", self.precision.unwrap_or(6), x.abs());
                Ok(self.sign_and_pad(x < 0.0, &digits))
            }
            ('s' | 'v', Value::String(s)) => self.text(s),
            ('q', Value::String(s)) => self.text(&quoted(s)?),
            ('s' | 'v', Value::Number(_)) if self.verb == 's' || self.plus || self.precision.is_some() => {
                bail!("`sprintf`: `%s` of a number (write `%d` or `%v`)")
            }
            ('v', Value::Number(_)) => bail!("`sprintf`: `%v` of a fraction (write `%f`)"),
            ('s' | 'v', other) => self.text(&printed(other)?),
            (verb, other) => bail!("`sprintf`: `%{verb}` of {}", kind(other)),
        }
    }

    fn integer(&self, n: i64, radix: u32) -> String {
        let digits =
            if radix == 16 { format!("{:x}", n.unsigned_abs()) } else { n.unsigned_abs().to_string() };
        self.sign_and_pad(n < 0, &digits)
    }

    fn sign_and_pad(&self, negative: bool, digits: &str) -> String {
        let sign = if negative {
            "-"
        } else if self.plus {
            "+"
        } else {
            ""
        };
        let missing = self.width.saturating_sub(sign.len() + digits.len());
        match (self.left, self.zero) {
            (true, _) => format!("{sign}{digits}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{digits}", "0".repeat(missing)),
            (false, false) => format!("{}{sign}{digits}", " ".repeat(missing)),
        }
    }

    fn text(&self, s: &str) -> Result<String> {
        if self.zero || self.plus {
            bail!("`sprintf`: the flags `0` and `+` are for numbers");
        }
        let cut: String = s.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        let missing = " ".repeat(self.width.saturating_sub(cut.chars().count()));
        Ok(if self.left { cut + &missing } else { missing + &cut })
    }
}

fn number(text: &str) -> Result<(Option<usize>, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return Ok((None, text));
    }
    let n: usize = text[..digits]
        .parse()
        .ok()
        .filter(|n| *n <= 1000)
        .ok_or_else(|| anyhow!("`sprintf`: width over 1000"))?;
    Ok((Some(n), &text[digits..]))
}

/// Go's `strconv.Quote`, for text where it agrees with JSON.
fn quoted(s: &str) -> Result<String> {
    if s.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r') || !c.is_ascii()) {
        bail!("`sprintf`: `%q` of text beyond printable ASCII");
    }
    Ok(serde_json::to_string(s)?)
}

/// A value as OPA writes it in text: `["a", 1]`, `{"k": true}`, `{1, 2}`, `set()`.
fn printed(value: &Value) -> Result<String> {
    let list = |items: Vec<String>, open: &str, close: &str| format!("{open}{}{close}", items.join(", "));
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(_) => value.to_json_str()?,
        Value::String(s) => quoted(s)?,
        Value::Array(a) => list(a.iter().map(printed).collect::<Result<_>>()?, "[", "]"),
        Value::Set(s) if s.is_empty() => "set()".to_owned(),
        Value::Set(s) => list(s.iter().map(printed).collect::<Result<_>>()?, "{", "}"),
        Value::Object(o) => {
            let field = |(k, v)| Ok(format!("{}: {}", printed(k)?, printed(v)?));
            list(o.iter().map(field).collect::<Result<_>>()?, "{", "}")
        }
        Value::Undefined => bail!("`sprintf` of nothing"),
    })
}

/// Entries of a cache of compiled patterns.
pub(crate) const CACHED_PATTERNS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);
