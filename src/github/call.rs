//! One call: held back by limits, authorized, timed, tried once more where that is harmless.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use octocrab::Octocrab;
use serde_json::Value;
use tower_http::follow_redirect::RequestUri;

use super::{
    Github, Trouble, TroubleKind,
    behalf::{Lane, hurries},
    budget::{Limit, Turn},
    limits::Resource,
    rest::Response,
    setup::describe,
};

/// GitHub's answers are far smaller; whatever stands at the other end shall not fill our memory.
const MAX_ANSWER: usize = 64 << 20;

/// GitHub's media type, and the version of the REST API that the code was written against.
const ACCEPT: &str = "application/vnd.github+json";
const API_VERSION: &str = "2022-11-28";

/// When a call is tried again that could not wait.
const IN_A_HURRY: Duration = Duration::from_secs(5);

/// Before the one repetition of a call that got 502.
const PAUSE_AFTER_502: Duration = Duration::from_millis(250);

/// The connections: REST below `api_path`, GraphQL at `graphql_path`.
pub(super) struct Transport {
    pub(super) rest: Octocrab,
    pub(super) graph: Octocrab,
    pub(super) api_path: String,
    /// `https://host:port` of REST.
    pub(super) origin: String,
    pub(super) graphql_path: String,
    /// GitHub signs what it commits itself here.
    pub(super) signs: bool,
    pub(super) timeout: Duration,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of octocrab: it holds the key.
        write!(f, "rest below `{}/`, GraphQL at `{}`", self.api_path, self.graphql_path)
    }
}

/// In whose name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum As {
    App,
    Installation(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Rest,
    GraphQl,
}

/// What goes into `Authorization`.
pub(super) enum Authorization {
    /// The app's JWT, made by octocrab for this one call.
    App,
    Token(HeaderValue),
}

pub(super) struct Call<'a> {
    pub(super) who: As,
    door: Door,
    pub(super) method: Method,
    /// Path and query, from `/`.
    pub(super) path: &'a str,
    name: &'a str,
    body: Option<Bytes>,
    accept: &'static str,
    /// For the metrics: `rest_get`, `graphql`, `token` …
    pub(super) kind: &'static str,
    /// In whose turn.
    lane: Lane,
    /// To write, if it was waited for already.
    turn: Mutex<Option<Turn>>,
}

impl<'a> Call<'a> {
    pub(super) fn rest(who: As, method: Method, path: &'a str) -> Self {
        let kind = match method {
            Method::GET => "rest_get",
            Method::POST => "rest_post",
            Method::PATCH => "rest_patch",
            _ => "rest",
        };
        Self {
            who,
            door: Door::Rest,
            method,
            path,
            name: path,
            body: None,
            accept: ACCEPT,
            kind,
            lane: Lane::of_path(path),
            turn: Mutex::default(),
        }
    }

    /// `name`: of the operation, for messages.
    pub(super) fn graphql(who: As, path: &'a str, name: &'a str, query: &str, variables: &Value) -> Self {
        let body = serde_json::json!({ "query": query, "variables": variables }).to_string();
        Self {
            who,
            door: Door::GraphQl,
            method: Method::POST,
            path,
            name,
            body: Some(body.into()),
            accept: ACCEPT,
            kind: "graphql",
            lane: Lane::of_query(variables),
            turn: Mutex::default(),
        }
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(super) fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = media_type;
        self
    }

    pub(super) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn turn(self, turn: Option<Turn>) -> Self {
        Self { turn: Mutex::new(turn), ..self }
    }

    /// Which limit of the minute it counts for, and how much.
    fn costs(&self) -> (Limit, u32) {
        match (self.door, &self.method) {
            (Door::GraphQl, _) => (Limit::GraphQlPoints, 1),
            (Door::Rest, method) if method == Method::GET => (Limit::Points, 1),
            (Door::Rest, _) => (Limit::Points, 5),
        }
    }

    /// It makes something that people see. A token is none.
    fn writes(&self) -> bool {
        self.door == Door::Rest && self.method != Method::GET && matches!(self.who, As::Installation(_))
    }

    pub(super) fn resource(&self) -> Resource {
        match self.door {
            Door::Rest => Resource::Core,
            Door::GraphQl => Resource::GraphQl,
        }
    }

    /// Doing it twice is the same as doing it once (our GraphQL only reads).
    fn repeatable(&self) -> bool {
        self.door == Door::GraphQl || matches!(self.method, Method::GET | Method::PATCH)
    }

    /// For messages: `GET /repos/o/r/pulls/1/files`.
    pub(super) fn what(&self) -> String {
        match self.door {
            Door::Rest => format!("{} {}", self.method, self.name),
            Door::GraphQl => format!("GraphQL {}", self.name),
        }
    }

    fn trouble(&self, kind: TroubleKind, why: impl fmt::Display) -> Trouble {
        Trouble::new(kind, format!("{}: {why}", self.what()))
    }
}

impl Github {
    /// Makes the call; answers that are an outage, a limit or a refusal become `Trouble`.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Response, Trouble> {
        self.inner.limits.check(call.who, call.resource())?;
        let mut answer = self.authorized(call).await?;
        if answer.status == StatusCode::BAD_GATEWAY && call.repeatable() {
            tokio::time::sleep(PAUSE_AFTER_502).await;
            answer = self.authorized(call).await?;
        }
        self.admit(call, answer)
    }

    /// With the token of the installation; a token that was refused is replaced once (it may have
    /// been revoked, or the clocks differ).
    async fn authorized(&self, call: &Call<'_>) -> Result<Response, Trouble> {
        let As::Installation(installation) = call.who else {
            return self.attempt(call, Authorization::App).await;
        };
        let token = self.token(installation).await?;
        let answer = self.attempt(call, Authorization::Token(token.header())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.refused(installation, &token).await;
        let token = self.token(installation).await?;
        self.attempt(call, Authorization::Token(token.header())).await
    }

    /// One exchange with GitHub, whatever the status, within the time limit.
    pub(super) async fn attempt(&self, call: &Call<'_>, auth: Authorization) -> Result<Response, Trouble> {
        let mut turns = self.turns(call).await?;
        // It may have been long: GitHub may have said meanwhile that nothing goes.
        self.inner.limits.check(call.who, call.resource())?;
        turns.iter_mut().for_each(Turn::begin);
        let (limit, began) = (self.inner.transport.timeout, Instant::now());
        let told = match tokio::time::timeout(limit, self.exchange(call, auth)).await {
            Ok(told) => told,
            Err(_) => Err(call.trouble(
                TroubleKind::Unavailable,
                format_args!("GitHub did not answer within {} s", limit.as_secs_f32()),
            )),
        };
        let status = told.as_ref().ok().map(|r| r.status);
        self.inner.limits.count(call.kind, status);
        let (what, duration_ms) = (call.what(), began.elapsed().as_millis());
        tracing::debug!(github.call = call.kind, status = status.map(|s| s.as_u16()), duration_ms, "{what}");
        told
    }

    /// Waits for what the call takes of the limits. A write that is made a second time waits once more.
    async fn turns(&self, call: &Call<'_>) -> Result<Vec<Turn>, Trouble> {
        let (budget, lane) = (&self.inner.budget, call.lane);
        let mut turns = Vec::new();
        if call.writes() {
            let waited = call.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
            turns.push(match waited {
                Some(turn) => turn,
                // Nobody ordered it: before those of its repository that are ordered.
                None => budget.turn(call.who, Limit::Writes, 1, lane, u64::MAX).await,
            });
        }
        let (limit, cost) = call.costs();
        turns.push(match hurries() {
            false => budget.turn(call.who, limit, cost, lane, 0).await,
            true => budget.at_once(call.who, limit, cost, lane).ok_or_else(|| {
                let why = "the installation has used its minute up";
                call.trouble(TroubleKind::RateLimited, why).after(IN_A_HURRY)
            })?,
        });
        // Last: what is under way is for a moment, the others for a minute.
        turns.push(budget.turn(call.who, Limit::Calls, 1, lane, 0).await);
        Ok(turns)
    }

    async fn exchange(&self, call: &Call<'_>, auth: Authorization) -> Result<Response, Trouble> {
        let down = |e: octocrab::Error| call.trouble(TroubleKind::Unavailable, describe(&e));
        let request = request(call, &auth)?;
        let transport = &self.inner.transport;
        let answer = match (call.door, auth) {
            (Door::GraphQl, _) => transport.graph.send(request).await,
            (Door::Rest, Authorization::Token(_)) => transport.rest.send(request).await,
            (Door::Rest, Authorization::App) => transport.rest.execute(request).await,
        };
        let (parts, body) = answer.map_err(down)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| call.trouble(TroubleKind::Unavailable, format_args!("the answer broke off: {e}")))?;
        let asked = call.path.split('?').next().unwrap_or_default();
        let redirected =
            parts.extensions.get::<RequestUri>().is_some_and(|uri| !uri.0.path().ends_with(asked));
        Ok(Response {
            what: call.what(),
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
            redirected,
        })
    }

    /// Learns the limits of the answer, and lets it through unless it is an outage, a limit or a
    /// refusal.
    pub(super) fn admit(&self, call: &Call<'_>, answer: Response) -> Result<Response, Trouble> {
        if let Some(wait) = self.inner.limits.learn(call.who, call.resource(), &answer) {
            let why = format!("GitHub's rate limit, again in {} s", wait.as_secs());
            return Err(call.trouble(TroubleKind::RateLimited, why).after(wait));
        }
        let status = answer.status;
        let kind = match status.as_u16() {
            401 | 403 => TroubleKind::Denied,
            500.. => TroubleKind::Unavailable,
            // Followed or not, a write that was sent elsewhere did not happen.
            300..=399 => TroubleKind::Gone,
            _ if answer.redirected && call.method != Method::GET => TroubleKind::Gone,
            _ => return Ok(answer),
        };
        Err(call.trouble(kind, format_args!("{status}{}", answer.message())))
    }
}

fn request(call: &Call<'_>, auth: &Authorization) -> Result<Request<octocrab::OctoBody>, Trouble> {
    let mut builder = Request::builder()
        .method(call.method.clone())
        .uri(call.path)
        .header(header::ACCEPT, call.accept)
        .header(header::USER_AGENT, concat!("gatelog/", env!("CARGO_PKG_VERSION")))
        .header("X-GitHub-Api-Version", API_VERSION);
    if let Authorization::Token(token) = auth {
        builder = builder.header(header::AUTHORIZATION, token.clone());
    }
    if call.body.is_some() {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    } else if call.method == Method::POST {
        builder = builder.header(header::CONTENT_LENGTH, "0");
    }
    let body = call.body.clone().unwrap_or_default();
    builder.body(body.into()).map_err(|e| call.trouble(TroubleKind::Unexpected, e))
}
