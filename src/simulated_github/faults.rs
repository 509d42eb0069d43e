//! What goes wrong on purpose: for the next N requests of a route, or for all until told.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    http::{Call, Reply},
    state::World,
};

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Any,
    Graphql,
    /// GraphQL whose query text contains this.
    GraphqlWith(String),
    /// Creating installation tokens.
    Token,
    CreateCheckRun,
    UpdateCheckRun,
    /// Creating and updating.
    WriteCheckRun,
    /// Looking at the check runs of a commit.
    ListCheckRuns,
    /// REST: method, and what the path contains.
    Rest(&'static str, &'static str),
}

/// What happens to the request.
#[derive(Clone)]
pub enum Fault {
    /// This status, and nothing is done.
    Status(u16),
    /// It is done, and the answer is lost: this status.
    DoneButStatus(u16),
    /// 403 or 429 with `Retry-After` (seconds).
    RetryAfter { status: u16, seconds: u64 },
    /// GraphQL answers 200 with this error and no data.
    GraphqlError { kind: &'static str, message: &'static str },
    /// GraphQL answers 200 with `null` at this path and an error for it.
    GraphqlPartial { path: Vec<String>, kind: &'static str, message: &'static str },
    /// The JSON ends in the middle.
    Truncated,
    /// The connection closes without an answer; nothing is done.
    Disconnect,
    /// Done and answered later, unless the caller has hung up by then.
    Delay(Duration),
    /// Done at once, and answered later.
    LateAnswer(Duration),
    /// Answered when released.
    Hold(Hold),
    /// Something happens right before the request is answered, such as a push while reading.
    Meanwhile(Change),
}

type OnWorld = Box<dyn FnOnce(&mut World) + Send>;

/// A change made once, by the first request that meets it.
#[derive(Clone)]
pub struct Change(Arc<Mutex<Option<OnWorld>>>);

impl Change {
    pub fn new(f: impl FnOnce(&mut World) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(f)))))
    }

    pub(super) fn make(&self, world: &mut World) {
        let change = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(f) = change {
            f(world);
        }
    }
}

/// Requests that wait until they are released.
#[derive(Clone)]
pub struct Hold(Arc<(watch::Sender<usize>, watch::Sender<bool>)>);

impl Default for Hold {
    fn default() -> Self {
        Self(Arc::new((watch::Sender::new(0), watch::Sender::new(false))))
    }
}

impl Hold {
    /// Returns when `n` requests have come and wait (or waited) here.
    pub async fn arrived(&self, n: usize) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.0.subscribe().wait_for(|come| *come >= n).await;
    }

    /// Lets all go, those to come too.
    pub fn release(&self) {
        self.0.1.send_replace(true);
    }

    pub(super) async fn wait(&self) {
        self.0.0.send_modify(|come| *come += 1);
        let _ = self.0.1.subscribe().wait_for(|released| *released).await;
    }
}

/// A fault, for `times` requests of `route` after `skip` of them.
pub(super) struct Rule {
    pub route: Route,
    pub skip: usize,
    pub times: usize,
    pub fault: Fault,
}

impl Route {
    pub(super) fn matches(&self, call: &Call) -> bool {
        let path = call.path.join("/");
        let rest = |method: &str, part: &str| call.method == method && path.contains(part);
        match self {
            Self::Any => true,
            Self::Graphql => call.graphql,
            Self::GraphqlWith(text) => {
                call.graphql && String::from_utf8_lossy(&call.body).contains(text.as_str())
            }
            Self::Token => rest("POST", "access_tokens"),
            Self::CreateCheckRun => rest("POST", "/check-runs"),
            Self::UpdateCheckRun => rest("PATCH", "/check-runs/"),
            Self::WriteCheckRun => rest("POST", "/check-runs") || rest("PATCH", "/check-runs/"),
            Self::ListCheckRuns => rest("GET", "/check-runs") && path.contains("/commits/"),
            Self::Rest(method, part) => !call.graphql && rest(method, part),
        }
    }
}

/// The faults that meet a request, which count as used.
pub(super) fn take(rules: &mut Vec<Rule>, call: &Call) -> Vec<Fault> {
    let mut met = Vec::new();
    for rule in rules.iter_mut().filter(|r| r.route.matches(call)) {
        if rule.skip > 0 {
            rule.skip -= 1;
        } else if rule.times > 0 {
            rule.times -= 1;
            met.push(rule.fault.clone());
        }
    }
    rules.retain(|r| r.times > 0);
    met
}

/// The answer of a fault that keeps the request from being done.
pub(super) fn instead(fault: &Fault) -> Option<Reply> {
    match fault {
        Fault::Status(status) => Some(Reply::message(*status, "Server Error")),
        Fault::RetryAfter { status, seconds } => {
            let text =
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            Some(Reply::message(*status, text).header("retry-after", seconds.to_string()))
        }
        Fault::GraphqlError { kind, message } => {
            Some(Reply::json(200, &json!({"errors": [{"type": kind, "message": message}]})))
        }
        _ => None,
    }
}

/// The answer, as a fault spoils it.
pub(super) fn spoil(fault: &Fault, mut reply: Reply) -> Reply {
    match fault {
        Fault::DoneButStatus(status) => Reply::message(*status, "Server Error"),
        Fault::Truncated => {
            reply.body = reply.body.slice(..reply.body.len() / 2);
            reply
        }
        Fault::GraphqlPartial { path, kind, message } => {
            let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let mut at = body.get_mut("data");
            for key in path {
                at = at.and_then(|v| match key.parse::<usize>() {
                    Ok(i) if v.is_array() => v.get_mut(i),
                    _ => v.get_mut(key.as_str()),
                });
            }
            if let Some(v) = at {
                *v = Value::Null;
            }
            let path: Vec<Value> =
                path.iter().map(|k| k.parse::<u64>().map_or_else(|_| json!(k), |i| json!(i))).collect();
            let error = json!({"type": kind, "path": path, "message": message});
            match body.get_mut("errors").and_then(Value::as_array_mut) {
                Some(errors) => errors.push(error),
                None => body["errors"] = json!([error]),
            }
            Reply { body: body.to_string().into(), ..reply }
        }
        _ => reply,
    }
}
