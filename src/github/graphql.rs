//! GraphQL: our own envelope, because GitHub answers 200 with `errors` and nulls where data is
//! missing, and a gate must know which nulls are facts and which are holes.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Github, Trouble, TroubleKind,
    call::{As, Call},
    rest::Response,
};

/// An answer with data. `errors` may stand beside it: see [`Answer::touching`].
#[derive(Debug)]
pub struct Answer {
    pub data: Value,
    pub errors: Vec<GraphError>,
}

/// One item of `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// `NOT_FOUND`, `FORBIDDEN`, `RATE_LIMITED` …
    pub kind: Option<String>,
    /// Field names, aliases and list positions from the root. Empty: GitHub did not say.
    pub path: Vec<String>,
    pub message: String,
    /// The query itself was refused (`extensions.code`): ours to mend, never to repeat.
    refused: bool,
}

impl GraphError {
    fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Whether what stands at or below `prefix` may be missing because of this error.
    fn touches(&self, prefix: &[&str]) -> bool {
        // Shorter path: something above is null. No path: anything may be.
        self.path.iter().zip(prefix).all(|(a, b)| a == b)
    }

    fn trouble(&self) -> Trouble {
        let kind = match self.kind.as_deref() {
            Some("NOT_FOUND") => TroubleKind::Gone,
            Some("FORBIDDEN" | "INSUFFICIENT_SCOPES") => TroubleKind::Denied,
            _ if self.refused => TroubleKind::Unexpected,
            _ => TroubleKind::Unavailable,
        };
        Trouble::new(kind, format!("GraphQL: {}", self.short()))
    }

    /// The message, cut to what fits a line.
    #[must_use]
    pub fn short(&self) -> String {
        self.message.chars().take(300).collect()
    }
}

impl Answer {
    /// The first error that makes what stands at or below `prefix` unreliable.
    #[must_use]
    pub fn touching(&self, prefix: &[&str]) -> Option<&GraphError> {
        self.errors.iter().find(|e| e.touches(prefix))
    }

    /// The value at `path`; `Trouble` of the error that explains why it is null.
    ///
    /// # Errors
    /// `Gone` if it is null and GitHub says NOT_FOUND or nothing; else what the error says.
    pub fn at(&self, path: &[&str]) -> Result<&Value, Trouble> {
        let mut value = &self.data;
        for name in path {
            value = value.get(*name).unwrap_or(&Value::Null);
        }
        if !value.is_null() {
            return Ok(value);
        }
        Err(match self.touching(path) {
            Some(error) => error.trouble(),
            None => Trouble::new(TroubleKind::Gone, format!("GraphQL: no {}", path.join("."))),
        })
    }
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    path: Vec<Value>,
    #[serde(default)]
    message: String,
    extensions: Option<Value>,
}

impl From<RawError> for GraphError {
    fn from(raw: RawError) -> Self {
        let name = |v: Value| match v {
            Value::String(s) => s,
            other => other.to_string(),
        };
        let code = raw.extensions.as_ref().and_then(|e| e.get("code"));
        Self {
            kind: raw.kind,
            path: raw.path.into_iter().map(name).collect(),
            message: raw.message,
            refused: code.is_some(),
        }
    }
}

impl Github {
    /// Sends a query (never a mutation: it may be sent twice) in the name of the installation.
    ///
    /// # Errors
    /// As of [`Github::get`]; `RateLimited` too where GitHub says so inside a 200; and the first
    /// error's meaning if there is no data at all.
    pub async fn graphql(&self, installation: u64, query: &str, variables: Value) -> Result<Answer, Trouble> {
        let who = As::Installation(installation);
        let path = &self.inner.transport.graphql_path;
        let call = Call::graphql(who, path, name_of(query), query, &variables);
        let response = self.call(&call).await?.expect(&[200])?;
        let envelope: Envelope = response.json()?;
        let errors: Vec<GraphError> = envelope.errors.into_iter().map(GraphError::from).collect();
        self.check_limited(who, &errors, &response)?;
        match envelope.data.filter(|d| !d.is_null()) {
            Some(data) => {
                self.inner.limits.paid(data["rateLimit"]["cost"].as_u64().unwrap_or(0));
                let errors = errors.into_iter().filter(|e| e.path.first().is_none_or(|p| p != "rateLimit"));
                Ok(Answer { data, errors: errors.collect() })
            }
            None => Err(match errors.first() {
                Some(error) => error.trouble(),
                None => Trouble::new(TroubleKind::Unexpected, "GraphQL: neither data nor errors"),
            }),
        }
    }

    fn check_limited(&self, who: As, errors: &[GraphError], response: &Response) -> Result<(), Trouble> {
        let Some(error) = errors.iter().find(|e| e.is("RATE_LIMITED") || e.is("RATE_LIMIT")) else {
            return Ok(());
        };
        let wait = self.inner.limits.graphql_used_up(who, &response.headers);
        Err(Trouble::new(TroubleKind::RateLimited, format!("GraphQL: {}", error.short())).after(wait))
    }
}

/// `PrFacts` of `query PrFacts($owner …`.
fn name_of(query: &str) -> &str {
    let operation = query.lines().find_map(|line| line.strip_prefix("query ")).unwrap_or_default();
    operation.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: &str, path: &[&str]) -> GraphError {
        GraphError {
            kind: Some(kind.to_owned()),
            path: path.iter().map(|&s| s.to_owned()).collect(),
            message: "no".to_owned(),
            refused: false,
        }
    }

    #[test]
    fn an_error_touches_what_is_below_and_above_it() {
        let e = error("FORBIDDEN", &["repository", "pullRequest", "reviews", "nodes", "3", "author"]);
        assert!(e.touches(&["repository", "pullRequest", "reviews"]));
        assert!(e.touches(&["repository"]));
        assert!(!e.touches(&["repository", "pullRequest", "files"]));
        assert!(error("X", &["repository"]).touches(&["repository", "pullRequest", "files"]));
        assert!(error("X", &[]).touches(&["repository", "pullRequest", "files"]), "no path: anything");
    }

    #[test]
    fn a_null_says_why() {
        let data = serde_json::json!({"repository": {"pullRequest": null, "name": "x"}});
        let gone = error("NOT_FOUND", &["repository", "pullRequest"]);
        let answer = Answer { data: data.clone(), errors: vec![gone] };
        assert_eq!(answer.at(&["repository", "pullRequest"]).unwrap_err().kind, TroubleKind::Gone);
        assert_eq!(answer.at(&["repository", "name"]).unwrap(), "x");
        let denied = Answer { data, errors: vec![error("FORBIDDEN", &["repository", "pullRequest"])] };
        assert_eq!(denied.at(&["repository", "pullRequest"]).unwrap_err().kind, TroubleKind::Denied);
    }
}
