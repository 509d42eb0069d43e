//! The configuration: one typed struct from one TOML file and the environment.
//!
//! Every value can be overridden by `GATELOG__SECTION__KEY`. Relative paths are relative to the
//! file. Secrets stand in files of their own. `examples/gatelog.toml` shows every key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

mod branches;
mod holds;
mod secret;
mod settings;
mod tables;
mod witnesses;

pub use holds::Hold;
pub use secret::{Secret, keep_secrets_out_of_core_dumps};
pub use settings::Origin;
use settings::{KEYS, Raw, Settings};
pub use witnesses::Witness;

/// Why a configuration cannot be used. The text is for people and complete.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something in the file or the environment is wrong or missing.
    #[error("{0}")]
    Wrong(String),
    /// A file that the configuration names cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Variables of the environment that begin with `GATELOG`.
pub type Environment = BTreeMap<String, String>;

/// The variables of this process that matter here.
///
/// # Errors
/// One of them is not UTF-8.
pub fn environment() -> Result<Environment, ConfigError> {
    std::env::vars_os()
        .filter_map(|(name, value)| name.into_string().ok().map(|n| (n, value)))
        .filter(|(name, _)| name.starts_with("GATELOG"))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::Wrong(format!("environment variable {name} is not UTF-8"))),
        })
        .collect()
}

/// Everything gatelog can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    pub server: Server,
    pub github: Github,
    pub policies: Policies,
    pub ledger: Ledger,
    pub reconcile: Reconcile,
    pub outbound: Outbound,
    pub alerts: Alerts,
    pub log: Log,
    settings: Settings,
}

/// `[server]`: where gatelog listens.
#[derive(Clone, Debug)]
pub struct Server {
    /// `listen`: webhooks and health, for GitHub to reach through a proxy that ends TLS.
    pub listen: SocketAddr,
    /// `internal_listen`: metrics, for those who run gatelog. Loopback unless told otherwise.
    pub internal_listen: SocketAddr,
}

/// `[github]`: the GitHub App.
#[derive(Clone, Debug)]
pub struct Github {
    /// `api_url`: `https://api.github.com`, on GitHub Enterprise Server `https://HOST/api/v3`. No slash
    /// at the end.
    pub api_url: String,
    /// `graphql_url`: derived from `api_url` unless given.
    pub graphql_url: Option<String>,
    /// `app_id`: the number on the App's page.
    pub app_id: u64,
    /// `private_key_file`: the App's private key (PEM), as GitHub gave it.
    pub private_key_file: PathBuf,
    /// `webhook_secret_file`, or `webhook_secret_files` while the secret is changed: any of them
    /// signs a delivery. Never empty.
    pub webhook_secret_files: Vec<PathBuf>,
    /// `check_name`: the name of the check run that branch protection requires.
    pub check_name: String,
    /// `publish`
    pub publish: Publish,
    /// `secondary_limits`: GitHub's limits for a minute and an hour are obeyed. `false` where an Enterprise Server has
    /// none; there are never more than 90 calls of an installation at once all the same.
    pub secondary_limits: bool,
}

/// `[github] publish`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// `"checks"`: verdicts are reported as check runs.
    Checks,
    /// `"observe"`: verdicts are recorded and nothing is written to GitHub.
    Observe,
}

/// `[policies]`
#[derive(Clone, Debug)]
pub struct Policies {
    /// `path`: the folder with Rego and data.
    pub path: PathBuf,
    /// `judging`
    pub judging: Judging,
}

/// `[policies] judging`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// `"processes"`: in processes of their own, with limits.
    Processes,
    /// `"in_process"`: in gatelog itself, which a policy can then take down.
    InProcess,
}

/// `[ledger]`
#[derive(Clone, Debug)]
pub struct Ledger {
    /// `path`: the folder of the ledger; made if it is not there.
    pub path: PathBuf,
    /// `origin`: the name under which checkpoints are signed, such as `gate.example.com/log/1`.
    pub origin: Option<String>,
    /// `key_file`: the log's key, as `gatelog log key new` made it. Without it nothing is signed.
    pub key_file: Option<PathBuf>,
    /// `public`: whether the transparency log is served to everyone. It shows activity.
    pub public: bool,
    /// `[[ledger.witness]]`: who is asked to cosign checkpoints.
    pub witnesses: Vec<Witness>,
    /// `quorum_file`: whose cosignatures are enough, a C2SP tlog-policy; witnesses in it that have a URL are
    /// asked, too. Without it all of [`Ledger::witnesses`] are needed.
    pub quorum_file: Option<PathBuf>,
    /// `publish_only_with_quorum`: a checkpoint without the quorum is not published. Otherwise it is, and
    /// readiness and metrics say so.
    pub publish_only_with_quorum: bool,
    /// `[ledger.retention] bodies`: days after which bodies are erased. `None`: they are kept.
    pub keep_bodies_days: Option<u32>,
    /// `[[ledger.hold]]`: what is kept whatever else is said.
    pub holds: Vec<Hold>,
}

/// `[reconcile]`: comparing GitHub's own record with the ledger.
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// `minutes` between sweeps, 1 to 60; 0: only `gatelog reconcile`, by hand.
    pub minutes: u64,
    /// `branches`: watched beside the default branch of every repository. `*` stops at `/`, `**` does not.
    pub branches: Vec<String>,
}

/// `[outbound]`: connections that gatelog makes, to GitHub and to where alerts go.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// `ca_file`: certificate authorities (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// `[alerts]`: what somebody must look at, beside log and metrics.
#[derive(Clone, Debug)]
pub struct Alerts {
    /// `url_file`: holds the address of a webhook that takes `{"text": …}`, as Slack's do. A secret.
    pub url_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `format`
    pub format: LogFormat,
    /// `level`: `error`, `warn`, `info`, `debug`, `trace`, or per module (`info,gatelog::gate=debug`).
    pub level: String,
}

/// `[log] format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `"text"`: for people.
    Text,
    /// `"json"`: one object per line.
    Json,
}

/// The secrets the configuration names, and what to warn of.
#[derive(Debug)]
pub struct Secrets {
    pub private_key: Secret,
    pub webhook: Vec<Secret>,
    /// The address that alerts are posted to.
    pub alerts: Option<Secret>,
    pub warnings: Vec<String>,
}

/// One line of the effective configuration.
#[derive(Debug)]
pub struct Line {
    pub section: &'static str,
    pub key: &'static str,
    /// As it would stand in the file.
    pub value: String,
    pub origin: Origin,
}

impl Config {
    /// Reads `path` and overlays `environment`. Secrets are not read yet.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], naming the value, where it stands and an example.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            let hint = match e.kind() {
                std::io::ErrorKind::NotFound => "; `gatelog init DIR` writes one to start from",
                _ => "",
            };
            ConfigError::Wrong(format!("cannot read the configuration {}: {e}{hint}", path.display()))
        })?;
        Self::parse(path, &text, environment)
    }

    /// As [`Config::load`], with the text of the file at hand.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let r = Reader { settings: Settings::read(path, text, environment)?, file: path };
        let config = Self {
            file: path.to_owned(),
            server: r.server()?,
            github: r.github()?,
            policies: r.policies()?,
            ledger: r.ledger()?,
            reconcile: r.reconcile()?,
            outbound: r.outbound()?,
            alerts: r.alerts()?,
            log: r.log()?,
            settings: r.settings,
        };
        let Server { listen, internal_listen } = config.server;
        if listen == internal_listen && listen.port() != 0 {
            let why = "is also internal_listen, but metrics have a door of their own";
            return Err(config.settings.wrong("server", "listen", why));
        }
        Ok(config)
    }

    /// Reads the private key and the webhook secrets.
    ///
    /// # Errors
    /// A file cannot be read, is empty, or the key is not PEM.
    pub fn secrets(&self) -> Result<Secrets, ConfigError> {
        let mut warnings = Vec::new();
        let what = "[github] private_key_file";
        let (private_key, warning) = secret::read(what, &self.github.private_key_file)?;
        warnings.extend(warning);
        if !private_key.expose().starts_with(b"-----BEGIN ") {
            return Err(ConfigError::Wrong(format!(
                "{what}: {} is not a private key in PEM (it must begin with `-----BEGIN`); \
                 the App's page generates one",
                self.github.private_key_file.display()
            )));
        }
        let mut webhook = Vec::new();
        for file in &self.github.webhook_secret_files {
            let (secret, warning) = secret::read("[github] webhook_secret_file", file)?;
            warnings.extend(warning);
            webhook.push(secret);
        }
        let mut alerts = None;
        if let Some(file) = &self.alerts.url_file {
            let (url, warning) = secret::read("[alerts] url_file", file)?;
            warnings.extend(warning);
            alerts = Some(url);
        }
        Ok(Secrets { private_key, webhook, alerts, warnings })
    }

    /// Every value in force, in the order of the documentation.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let line = |k: &settings::Key| {
            let s = self.settings.get(k.section, k.name)?;
            let (value, origin) = (s.raw.to_string(), s.origin.clone());
            Some(Line { section: k.section, key: k.name, value, origin })
        };
        KEYS.iter().filter_map(line).collect()
    }

    /// What is allowed and yet unwise.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let urls =
            [("api_url", Some(&self.github.api_url)), ("graphql_url", self.github.graphql_url.as_ref())];
        for (name, url) in urls {
            if url.is_some_and(|u| u.starts_with("http://") && !is_loopback(u)) {
                out.push(format!("[github] {name} is not https: tokens would cross the network in the open"));
            }
        }
        if !self.server.internal_listen.ip().is_loopback() {
            let what = "metrics and the transparency log are open to that network";
            out.push(format!("[server] internal_listen is not a loopback address: {what}"));
        }
        if self.ledger.public && self.ledger.key_file.is_none() {
            out.push("[ledger] public: nothing is served, because key_file is not set".into());
        }
        out
    }
}

/// What a log level means. Libraries speak up from `warn` on unless the level names them. `None`: the
/// text is no level and no list of directives.
#[must_use]
pub fn log_filter(level: &str) -> Option<EnvFilter> {
    if level.contains(['=', ',']) {
        return EnvFilter::builder().parse(level).ok();
    }
    // `EnvFilter` alone would take an unknown word for the name of a module.
    let level: LevelFilter = level.parse().ok()?;
    EnvFilter::builder().parse(format!("warn,gatelog={level}")).ok()
}

fn is_loopback(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|u| u.host().map(str::to_owned)).unwrap_or_default();
    host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Gives settings their types.
struct Reader<'a> {
    settings: Settings,
    file: &'a Path,
}

impl Reader<'_> {
    fn server(&self) -> Result<Server, ConfigError> {
        Ok(Server { listen: self.address("listen")?, internal_listen: self.address("internal_listen")? })
    }

    fn github(&self) -> Result<Github, ConfigError> {
        Ok(Github {
            api_url: self.url("api_url")?.ok_or_else(|| self.settings.missing("github", "api_url"))?,
            graphql_url: self.url("graphql_url")?,
            app_id: self.app_id()?,
            private_key_file: self.path("github", "private_key_file")?,
            webhook_secret_files: self.webhook_secret_files()?,
            check_name: self.check_name()?,
            publish: self.choice(
                "github",
                "publish",
                &[("checks", Publish::Checks), ("observe", Publish::Observe)],
            )?,
            secondary_limits: self.settings.require("github", "secondary_limits")?.raw != Raw::Flag(false),
        })
    }

    fn policies(&self) -> Result<Policies, ConfigError> {
        let judging = [("processes", Judging::Processes), ("in_process", Judging::InProcess)];
        Ok(Policies {
            path: self.path("policies", "path")?,
            judging: self.choice("policies", "judging", &judging)?,
        })
    }

    fn ledger(&self) -> Result<Ledger, ConfigError> {
        let origin = self.optional_text("ledger", "origin");
        if origin
            .as_ref()
            .is_some_and(|o| o.is_empty() || o.contains(|c: char| c.is_whitespace() || c == '+'))
        {
            let why = "must not be empty nor hold spaces or `+`";
            return Err(self.settings.wrong("ledger", "origin", why));
        }
        // The last part is the generation: a log that begins anew needs a name of its own.
        let is_generation = |last: &str| last.parse().is_ok_and(|n: u64| n > 0 && n.to_string() == last);
        if origin.as_ref().is_some_and(|o| !o.rsplit_once('/').is_some_and(|(_, last)| is_generation(last))) {
            let why = "must end in the number of the generation: `/1` for a new ledger";
            return Err(self.settings.wrong("ledger", "origin", why));
        }
        let key_file = match self.settings.get("ledger", "key_file") {
            Some(_) if origin.is_none() => return Err(self.settings.missing("ledger", "origin")),
            Some(_) => Some(self.path("ledger", "key_file")?),
            None => None,
        };
        let flag = |name| matches!(self.settings.get("ledger", name).map(|s| &s.raw), Some(Raw::Flag(true)));
        let (public, publish_only_with_quorum) = (flag("public"), flag("publish_only_with_quorum"));
        let has_quorum = self.settings.get("ledger", "quorum_file").is_some();
        let quorum_file = has_quorum.then(|| self.path("ledger", "quorum_file")).transpose()?;
        let witnesses = self.settings.witnesses.clone();
        let (keep_bodies_days, holds) = (self.keep_bodies_days()?, self.settings.holds.clone());
        let path = self.path("ledger", "path")?;
        Ok(Ledger {
            path,
            origin,
            key_file,
            public,
            witnesses,
            quorum_file,
            publish_only_with_quorum,
            keep_bodies_days,
            holds,
        })
    }

    /// `400d`. Not less than a day: what is being judged is a few minutes old.
    fn keep_bodies_days(&self) -> Result<Option<u32>, ConfigError> {
        let Some(text) = self.optional_text("ledger.retention", "bodies") else { return Ok(None) };
        let days =
            text.trim().strip_suffix('d').and_then(|n| n.parse().ok()).filter(|n| (1..=36_500).contains(n));
        let why = "is not a number of days from 1d to 36500d";
        days.map(Some).ok_or_else(|| self.settings.wrong("ledger.retention", "bodies", why))
    }

    fn outbound(&self) -> Result<Outbound, ConfigError> {
        let given = self.settings.get("outbound", "ca_file").is_some();
        Ok(Outbound { ca_file: given.then(|| self.path("outbound", "ca_file")).transpose()? })
    }

    fn alerts(&self) -> Result<Alerts, ConfigError> {
        let given = self.settings.get("alerts", "url_file").is_some();
        Ok(Alerts { url_file: given.then(|| self.path("alerts", "url_file")).transpose()? })
    }

    fn reconcile(&self) -> Result<Reconcile, ConfigError> {
        let minutes = match self.settings.require("reconcile", "minutes")?.raw {
            Raw::Number(n) if n <= 60 => n,
            _ => return Err(self.settings.wrong("reconcile", "minutes", "is not 0 to 60")),
        };
        let branches = match self.settings.get("reconcile", "branches").map(|s| &s.raw) {
            Some(Raw::List(branches)) => branches.clone(),
            _ => vec![],
        };
        if let Some((pattern, why)) = branches.iter().find_map(|b| Some((b, branches::problem(b)?))) {
            let why = format!("holds `{pattern}`, which {why}");
            return Err(self.settings.wrong("reconcile", "branches", &why));
        }
        Ok(Reconcile { minutes, branches })
    }

    fn log(&self) -> Result<Log, ConfigError> {
        let level = self.text("log", "level")?;
        if log_filter(&level).is_none() {
            return Err(self.settings.wrong("log", "level", "is no level (error, warn, info, debug, trace)"));
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Ok(Log { format: self.choice("log", "format", &formats)?, level })
    }

    fn optional_text(&self, section: &'static str, name: &'static str) -> Option<String> {
        match self.settings.get(section, name).map(|s| &s.raw) {
            Some(Raw::Text(t)) => Some(t.clone()),
            _ => None,
        }
    }

    fn text(&self, section: &'static str, name: &'static str) -> Result<String, ConfigError> {
        self.optional_text(section, name).ok_or_else(|| self.settings.missing(section, name))
    }

    fn choice<T: Copy>(
        &self,
        section: &'static str,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let text = self.text(section, name)?;
        choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.settings.wrong(section, name, &format!("is none of {}", words.join(", ")))
        })
    }

    fn address(&self, name: &'static str) -> Result<SocketAddr, ConfigError> {
        let text = self.text("server", name)?;
        text.parse().map_err(|_| self.settings.wrong("server", name, "is not an IP address and port"))
    }

    fn app_id(&self) -> Result<u64, ConfigError> {
        match self.settings.require("github", "app_id")?.raw {
            Raw::Number(n) if n > 0 => Ok(n),
            _ => Err(self.settings.wrong("github", "app_id", "is not the number of an App")),
        }
    }

    fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.optional_text("github", name) else { return Ok(None) };
        if text.contains('@') {
            // Not shown: it may hold a password.
            return Err(ConfigError::Wrong(format!("[github] {name} must not hold a user or password")));
        }
        let usable = text.parse::<http::Uri>().is_ok_and(|u| {
            matches!(u.scheme_str(), Some("http" | "https"))
                && u.query().is_none()
                && u.host().is_some_and(|h| !h.is_empty())
        });
        if !usable {
            let why = "is not a URL of the form https://HOST/PATH";
            return Err(self.settings.wrong("github", name, why));
        }
        Ok(Some(text.trim_end_matches('/').to_owned()))
    }

    fn check_name(&self) -> Result<String, ConfigError> {
        let name = self.text("github", "check_name")?;
        // Rulesets compare names exactly; surrounding blanks would never be seen.
        let fine = !name.is_empty()
            && name.trim() == name
            && name.len() <= 100
            && !name.chars().any(char::is_control);
        if fine {
            Ok(name)
        } else {
            Err(self.settings.wrong("github", "check_name", "is not a name of 1 to 100 bytes"))
        }
    }

    fn path(&self, section: &'static str, name: &'static str) -> Result<PathBuf, ConfigError> {
        let text = self.text(section, name)?;
        self.resolve(section, name, &text)
    }

    fn resolve(&self, section: &'static str, name: &'static str, text: &str) -> Result<PathBuf, ConfigError> {
        if text.contains("-----BEGIN") {
            // Not shown: it is the secret.
            return Err(ConfigError::Wrong(format!(
                "[{section}] {name} holds a key; it must be the path of the file with it"
            )));
        }
        if text.is_empty() || text.contains('\0') {
            return Err(self.settings.wrong(section, name, "is not a path"));
        }
        Ok(self.file.parent().unwrap_or(Path::new("")).join(text))
    }

    /// One key or the other; the environment's wins over the file's.
    fn webhook_secret_files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        const ONE: &str = "webhook_secret_file";
        const MANY: &str = "webhook_secret_files";
        let from_variable =
            |name| self.settings.get("github", name).is_some_and(|s| matches!(s.origin, Origin::Variable(_)));
        let (one, many) = (self.settings.get("github", ONE), self.settings.get("github", MANY));
        let use_many = match (one, many) {
            (None, None) => return Err(self.settings.missing("github", ONE)),
            (Some(_), Some(_)) if from_variable(ONE) == from_variable(MANY) => {
                return Err(self.settings.wrong(
                    "github",
                    MANY,
                    "stands beside webhook_secret_file: give one of them",
                ));
            }
            (Some(_), Some(_)) => from_variable(MANY),
            (_, many) => many.is_some(),
        };
        if !use_many {
            return Ok(vec![self.path("github", ONE)?]);
        }
        match many.map(|s| &s.raw) {
            Some(Raw::List(files)) if !files.is_empty() => {
                files.iter().map(|f| self.resolve("github", MANY, f)).collect()
            }
            _ => Err(self.settings.wrong("github", MANY, "names no file")),
        }
    }
}

#[cfg(test)]
mod tests;
