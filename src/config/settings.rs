//! Values before they have a type: from the file, from the environment, or a default, each with
//! where it came from.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    ConfigError,
    holds::{self, Hold},
    witnesses::{self, Witness},
};

/// One key that a configuration may have.
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    /// As it stands in the file.
    pub example: &'static str,
    pub default: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Flag,
    /// Of texts.
    List,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    example: &'static str,
    default: Option<&'static str>,
) -> Key {
    Key { section, name, kind, example, default }
}

/// Every key there is. What they mean stands at the fields of [`super::Config`].
pub const KEYS: &[Key] = &[
    key("server", "listen", Kind::Text, "127.0.0.1:8080", None),
    key("server", "internal_listen", Kind::Text, "127.0.0.1:9464", Some("127.0.0.1:9464")),
    key("github", "api_url", Kind::Text, "https://api.github.com", Some("https://api.github.com")),
    key("github", "graphql_url", Kind::Text, "https://api.github.com/graphql", None),
    key("github", "app_id", Kind::Number, "12345", None),
    key("github", "private_key_file", Kind::Text, "app.pem", None),
    key("github", "webhook_secret_file", Kind::Text, "webhook.secret", None),
    key("github", "webhook_secret_files", Kind::List, "new.secret,old.secret", None),
    key("github", "check_name", Kind::Text, "gatelog", Some("gatelog")),
    key("github", "publish", Kind::Text, "checks", Some("checks")),
    key("github", "secondary_limits", Kind::Flag, "true", Some("true")),
    key("policies", "path", Kind::Text, "policies", None),
    key("policies", "judging", Kind::Text, "processes", Some("processes")),
    key("ledger", "path", Kind::Text, "data", None),
    key("ledger", "origin", Kind::Text, "gate.example.com/log/1", None),
    key("ledger", "key_file", Kind::Text, "log.key", None),
    key("ledger", "public", Kind::Flag, "false", Some("false")),
    key("ledger", "quorum_file", Kind::Text, "witnesses.policy", None),
    key("ledger", "publish_only_with_quorum", Kind::Flag, "false", Some("false")),
    key("ledger.retention", "bodies", Kind::Text, "400d", None),
    key("reconcile", "minutes", Kind::Number, "10", Some("10")),
    key("reconcile", "branches", Kind::List, "release/*,lts/**", None),
    key("outbound", "ca_file", Kind::Text, "ca.pem", None),
    key("alerts", "url_file", Kind::Text, "alerts.url", None),
    key("log", "format", Kind::Text, "text", Some("text")),
    key("log", "level", Kind::Text, "info", Some("info")),
];

/// What someone may write by mistake: a secret in the file or in a variable.
const SECRETS: &[(&str, &str)] =
    &[("webhook_secret", "webhook_secret_file"), ("private_key", "private_key_file")];

impl Key {
    fn find(section: &str, name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|k| k.section == section && k.name == name)
    }

    /// `GATELOG__SECTION__KEY`; a dot in the section is an underscore.
    pub fn variable(&self) -> String {
        let section = self.section.replace('.', "_");
        format!("{PREFIX}{section}__{}", self.name).to_ascii_uppercase()
    }

    /// A line for the file.
    pub fn example_line(&self) -> String {
        match self.kind {
            Kind::Text => format!("{} = \"{}\"", self.name, self.example),
            Kind::Number | Kind::Flag => format!("{} = {}", self.name, self.example),
            Kind::List => format!("{} = [\"{}\"]", self.name, self.example.replace(',', "\", \"")),
        }
    }

    fn wanted(&self) -> &'static str {
        match self.kind {
            Kind::Text => "a text in quotes",
            Kind::Number => "a whole number",
            Kind::Flag => "true or false",
            Kind::List => "a list of texts",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.section, self.name)
    }
}

const PREFIX: &str = "GATELOG__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File { file: PathBuf, line: usize },
    Variable(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value of the right kind, not yet of the right type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<String>),
}

impl fmt::Display for Raw {
    /// As it would stand in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(t) => write!(f, "{t:?}"),
            Self::Number(n) => write!(f, "{n}"),
            Self::Flag(b) => write!(f, "{b}"),
            Self::List(l) => write!(f, "{l:?}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub raw: Raw,
    pub origin: Origin,
}

/// All settings by section and key.
#[derive(Clone, Debug)]
pub struct Settings {
    file: PathBuf,
    values: BTreeMap<(&'static str, &'static str), Setting>,
    /// `[[ledger.hold]]`, in the order of the file.
    pub holds: Vec<Hold>,
    /// `[[ledger.witness]]`, in the order of the file.
    pub witnesses: Vec<Witness>,
}

impl Settings {
    /// Defaults, overlaid by the file's text, overlaid by the environment.
    ///
    /// # Errors
    /// Bad TOML, an unknown section, key or variable, a value of another kind.
    pub fn read(file: &Path, text: &str, environment: &super::Environment) -> Result<Self, ConfigError> {
        let mut settings =
            Self { file: file.to_owned(), values: BTreeMap::new(), holds: vec![], witnesses: vec![] };
        for key in KEYS {
            if let Some(raw) = key.default.and_then(|d| from_text(key, d)) {
                settings.set(key, raw, Origin::Default);
            }
        }
        settings.overlay_file(text)?;
        settings.overlay_environment(environment)?;
        Ok(settings)
    }

    pub fn get(&self, section: &'static str, name: &'static str) -> Option<&Setting> {
        self.values.get(&(section, name))
    }

    /// # Errors
    /// The key has no value: names it with an example.
    pub fn require(&self, section: &'static str, name: &'static str) -> Result<&Setting, ConfigError> {
        self.get(section, name).ok_or_else(|| self.missing(section, name))
    }

    pub fn missing(&self, section: &str, name: &str) -> ConfigError {
        let example = Key::find(section, name)
            .map(|k| format!("; for example `{}` (or {}={})", k.example_line(), k.variable(), k.example))
            .unwrap_or_default();
        ConfigError::Wrong(format!("{}: [{section}] {name} is missing{example}", self.file.display()))
    }

    /// A value that has the right kind and is still wrong: `why` completes "listen = \"x\" …".
    pub fn wrong(&self, section: &'static str, name: &'static str, why: &str) -> ConfigError {
        let (Some(setting), Some(key)) = (self.get(section, name), Key::find(section, name)) else {
            return self.missing(section, name);
        };
        ConfigError::Wrong(format!(
            "{}: {key} = {} {why}; for example {}",
            setting.origin,
            setting.raw,
            example(key, &setting.origin)
        ))
    }

    fn set(&mut self, key: &Key, raw: Raw, origin: Origin) {
        self.values.insert((key.section, key.name), Setting { raw, origin });
    }

    fn overlay_file(&mut self, text: &str) -> Result<(), ConfigError> {
        let lines = Lines { file: &self.file.clone(), text };
        let document = DeTable::parse(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            ConfigError::Wrong(format!("{}:{}: {}", lines.place(at), lines.column(at), one_line(e.message())))
        })?;
        for (section, body) in document.get_ref() {
            let place = lines.place(section.span().start);
            let name: &str = section.get_ref();
            let DeValue::Table(table) = body.get_ref() else { return Err(outside(&place, name)) };
            if !KEYS.iter().any(|k| k.section == name) {
                return Err(unknown_section(&place, name));
            }
            self.overlay_section(&lines, name, table)?;
        }
        Ok(())
    }

    fn overlay_section(
        &mut self,
        lines: &Lines<'_>,
        name: &str,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (entry, value) in table {
            let at = lines.place(entry.span().start);
            let nested = format!("{name}.{}", entry.get_ref());
            if nested == holds::SECTION {
                self.holds = holds::read(value, |at| lines.place(at))?;
                continue;
            }
            if nested == witnesses::SECTION {
                self.witnesses = witnesses::read(value, |at| lines.place(at))?;
                continue;
            }
            if let DeValue::Table(table) = value.get_ref()
                && KEYS.iter().any(|k| k.section == nested)
            {
                self.overlay_section(lines, &nested, table)?;
                continue;
            }
            let key =
                Key::find(name, entry.get_ref()).ok_or_else(|| unknown_key(&at, name, entry.get_ref()))?;
            let raw = from_toml(key, value.get_ref()).ok_or_else(|| {
                ConfigError::Wrong(format!(
                    "{at}: {key} must be {}, for example `{}`",
                    key.wanted(),
                    key.example_line()
                ))
            })?;
            let line = lines.line(entry.span().start);
            self.set(key, raw, Origin::File { file: lines.file.to_owned(), line });
        }
        Ok(())
    }

    fn overlay_environment(&mut self, environment: &super::Environment) -> Result<(), ConfigError> {
        for (variable, value) in environment {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let place = format!("environment variable {variable}");
            let lower = rest.to_ascii_lowercase();
            let Some((section, name)) = lower.split_once("__") else {
                return Err(ConfigError::Wrong(format!("{place}: must be {PREFIX}SECTION__KEY")));
            };
            let dotted = KEYS.iter().map(|k| k.section).find(|s| s.replace('.', "_") == section);
            let section = dotted.unwrap_or(section);
            if !KEYS.iter().any(|k| k.section == section) {
                return Err(unknown_section(&place, section));
            }
            let key = Key::find(section, name).ok_or_else(|| unknown_key(&place, section, name))?;
            let raw = from_text(key, value).ok_or_else(|| {
                let wanted = key.wanted().trim_end_matches(" in quotes");
                let example = key.example;
                ConfigError::Wrong(format!(
                    "{place}: {key} must be {wanted}, for example {variable}={example}"
                ))
            })?;
            self.set(key, raw, Origin::Variable(variable.clone()));
        }
        Ok(())
    }
}

struct Lines<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }
    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        1 + before.rsplit('\n').next().map_or(0, |l| l.chars().count())
    }
    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.file.display(), self.line(at))
    }
}

fn example(key: &Key, origin: &Origin) -> String {
    match origin {
        Origin::Variable(name) => format!("{name}={}", key.example),
        Origin::File { .. } | Origin::Default => format!("`{}`", key.example_line()),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn outside(place: &str, name: &str) -> ConfigError {
    let mut sections = KEYS.iter().filter(|k| k.name == name).map(|k| format!("[{}]", k.section));
    let hint = sections.next().map(|s| format!("; it belongs in {s}")).unwrap_or_default();
    ConfigError::Wrong(format!("{place}: `{name}` stands outside of a section{hint}"))
}

fn unknown_section(place: &str, name: &str) -> ConfigError {
    let known = KEYS.iter().map(|k| k.section);
    let hint = closest(name, known).map(|s| format!("; did you mean [{s}]?")).unwrap_or_default();
    ConfigError::Wrong(format!("{place}: unknown section [{name}]{hint}"))
}

/// Never shows the value: the key may be one where someone put a secret.
fn unknown_key(place: &str, section: &str, name: &str) -> ConfigError {
    let known: Vec<&str> = KEYS.iter().filter(|k| k.section == section).map(|k| k.name).collect();
    let tables: BTreeMap<&str, String> = tables_below(section).collect();
    let hint = if let Some((_, file)) = SECRETS.iter().find(|(secret, _)| *secret == name) {
        format!("; secrets are read from files only: put it in a file and name that in `{file}`")
    } else if let Some(near) = closest(name, known.iter().copied()) {
        format!("; did you mean `{near}`?")
    } else if let Some(near) = closest(name, tables.keys().copied()) {
        format!("; did you mean {}?", tables[near])
    } else {
        let all: Vec<&str> = known.iter().copied().chain(tables.values().map(String::as_str)).collect();
        format!("; there are {}", all.join(", "))
    };
    ConfigError::Wrong(format!("{place}: unknown key `{name}` in [{section}]{hint}"))
}

/// Sections and lists whose name continues that of a section: the last part, and how it is written.
fn tables_below(section: &str) -> impl Iterator<Item = (&'static str, String)> {
    let below = move |whole: &'static str| whole.strip_prefix(section)?.strip_prefix('.');
    let sections = KEYS.iter().filter_map(move |k| Some((below(k.section)?, format!("[{}]", k.section))));
    let lists = [witnesses::SECTION, holds::SECTION];
    sections.chain(lists.into_iter().filter_map(move |l| Some((below(l)?, format!("[[{l}]]")))))
}

fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

fn from_toml(key: &Key, value: &DeValue<'_>) -> Option<Raw> {
    match key.kind {
        Kind::Text => value.as_str().map(|s| Raw::Text(s.to_owned())),
        Kind::Flag => value.as_bool().map(Raw::Flag),
        Kind::Number => {
            let n = value.as_integer().filter(|n| n.radix() == 10)?;
            n.as_str().parse().ok().map(Raw::Number)
        }
        Kind::List => {
            let texts = value.as_array()?.iter().map(|v| v.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(Raw::List)
        }
    }
}

/// A value as an environment variable writes it. Lists: separated by commas.
fn from_text(key: &Key, text: &str) -> Option<Raw> {
    match key.kind {
        Kind::Text => Some(Raw::Text(text.to_owned())),
        Kind::Number => text.trim().parse().ok().map(Raw::Number),
        Kind::Flag => text.trim().parse().ok().map(Raw::Flag),
        Kind::List => Some(Raw::List(text.split(',').map(|p| p.trim().to_owned()).collect())),
    }
}
