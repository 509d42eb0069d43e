//! The door: every request is logged, meets its faults, shows who it is, and is answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::time::Time;

use super::{
    faults::{self, Fault, Rule},
    graphql,
    keys::AppKey,
    manifest,
    payload::seconds,
    rest,
    secondary::Secondary,
    state::World,
};

/// Requests an installation has per hour.
pub(super) const HOURLY_LIMIT: u64 = 5_000;

/// Bytes of a request that are read.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// All that requests share.
pub(super) struct Shared {
    pub key: AppKey,
    /// `http://127.0.0.1:PORT`, with `/api/v3` in Enterprise mode.
    pub api_url: String,
    pub enterprise: bool,
    pub inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub world: World,
    /// What the API shows while it lags behind, and for how many more reads.
    pub frozen: Option<(World, usize)>,
    pub tokens: BTreeMap<String, Token>,
    pub minted: u64,
    pub rules: Vec<Rule>,
    pub outage: bool,
    pub log: Vec<Logged>,
    /// Requests and points left this hour.
    pub left: Left,
    /// The limits for one minute, where they are enforced. All installations are one to it.
    pub secondary: Option<Secondary>,
}

#[derive(Clone, Copy)]
pub(super) struct Left {
    pub core: u64,
    pub graphql: u64,
    /// At zero, refuse. Off by default, so that load tests run.
    pub enforced: bool,
}

impl Left {
    /// A limit that is not enforced never shows zero: whoever obeys limits would stop for an hour.
    fn spend(&self, left: u64, cost: u64) -> u64 {
        match left.saturating_sub(cost) {
            0 if !self.enforced => HOURLY_LIMIT,
            left => left,
        }
    }
}

/// An installation token.
#[derive(Clone)]
pub(super) struct Token {
    pub installation: u64,
    pub expires_at: Time,
}

/// A request as it came in, and what it was answered with.
#[derive(Clone, Debug)]
pub struct Logged {
    pub method: String,
    /// With the query.
    pub path: String,
    pub body: String,
    /// `None`: not yet, or never.
    pub status: Option<u16>,
    /// Empty until then.
    pub answer: Bytes,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    App,
    Installation(u64),
}

/// A request, taken apart.
pub(super) struct Call {
    pub method: String,
    /// Segments of the path below the API's root, decoded.
    pub path: Vec<String>,
    /// The path below the API's root, as sent.
    pub raw_path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub graphql: bool,
}

/// An answer.
pub(super) struct Reply {
    pub status: u16,
    pub body: Bytes,
    pub kind: &'static str,
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        let kind = "application/json; charset=utf-8";
        Self { status, body: body.to_string().into(), kind, headers: vec![] }
    }
    pub fn empty(status: u16) -> Self {
        Self { status, body: Bytes::new(), kind: "application/json; charset=utf-8", headers: vec![] }
    }
    /// GitHub's form of an error.
    pub fn message(status: u16, message: &str) -> Self {
        let docs = "https://docs.github.com/rest";
        Self::json(
            status,
            &json!({"message": message, "documentation_url": docs, "status": status.to_string()}),
        )
    }
    pub fn not_found() -> Self {
        Self::message(404, "Not Found")
    }
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked while holding the lock leaves a state that is still good to look at.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return respond(Reply::message(413, "Payload Too Large"));
    };
    let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    let logged = Logged {
        method: parts.method.to_string(),
        path,
        body: String::from_utf8_lossy(&body).into_owned(),
        status: None,
        answer: Bytes::new(),
    };
    let number = {
        let mut inner = shared.lock();
        inner.log.push(logged);
        inner.log.len() - 1
    };
    let call = take_apart(&parts, body, shared.enterprise);
    let reply = match call {
        Some(call) => meet_faults(&shared, call).await,
        None => Some(Reply::not_found()),
    };
    let Some(reply) = reply else { return broken_off() };
    if let Some(l) = shared.lock().log.get_mut(number) {
        l.status = Some(reply.status);
        l.answer = reply.body.clone();
    }
    respond(reply)
}

fn take_apart(parts: &http::request::Parts, body: Bytes, enterprise: bool) -> Option<Call> {
    let path = parts.uri.path();
    let graphql = path == if enterprise { "/api/graphql" } else { "/graphql" };
    let website = path.starts_with("/organizations/");
    let below = if enterprise && !graphql && !website { path.strip_prefix("/api/v3")? } else { path };
    let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
    Some(Call {
        method: parts.method.to_string(),
        path: below.trim_matches('/').split('/').map(decode).collect(),
        raw_path: below.to_owned(),
        query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers.clone(),
        body,
        graphql,
    })
}

/// `None`: the connection breaks.
async fn meet_faults(shared: &Arc<Shared>, call: Call) -> Option<Reply> {
    // As the App itself tokens are made and deliveries are read.
    let limited = call.path.first().is_some_and(|p| p != "app" && p != "app-manifests");
    let refused = limited.then(|| shared.lock().secondary.as_mut().and_then(|s| s.begin(&call))).flatten();
    let _end = limited.then(|| UnderWay(shared));
    if let Some(refused) = refused {
        return Some(refused);
    }
    let met = faults::take(&mut shared.lock().rules, &call);
    for fault in &met {
        match fault {
            Fault::Delay(d) => tokio::time::sleep(*d).await,
            Fault::Hold(hold) => hold.wait().await,
            Fault::Meanwhile(change) => change.make(&mut shared.lock().world),
            Fault::Disconnect => return None,
            _ => {}
        }
    }
    if shared.lock().outage {
        return Some(Reply::message(503, "Service Unavailable"));
    }
    if let Some(reply) = met.iter().find_map(faults::instead) {
        return Some(reply);
    }
    let reply = answer(shared, &call);
    for fault in &met {
        if let Fault::LateAnswer(late) = fault {
            tokio::time::sleep(*late).await;
        }
    }
    Some(met.iter().fold(reply, |reply, fault| faults::spoil(fault, reply)))
}

/// A request, until it is answered.
struct UnderWay<'s>(&'s Arc<Shared>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(secondary) = self.0.lock().secondary.as_mut() {
            secondary.end();
        }
    }
}

fn answer(shared: &Shared, call: &Call) -> Reply {
    let mut inner = shared.lock();
    // A person's browser, or the App before it has a key.
    match call.path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["organizations", ..] if call.method == "POST" => return manifest::form(&mut inner.world, call),
        ["app-manifests", code, "conversions"] if call.method == "POST" => {
            return manifest::convert(shared, &mut inner.world, code);
        }
        _ => {}
    }
    let caller = match authenticate(shared, &inner, call) {
        Ok(caller) => caller,
        Err(reply) => return reply,
    };
    let reset = Time::now().plus(std::time::Duration::from_secs(3600));
    let left = if call.graphql { inner.left.graphql } else { inner.left.core };
    let reply = if inner.left.enforced && left == 0 {
        Reply::message(403, "API rate limit exceeded for installation.")
    } else if call.graphql {
        graphql_reply(&mut inner, call, caller, &seconds(reset))
    } else {
        inner.left.core = inner.left.spend(inner.left.core, 1);
        rest::route(shared, &mut inner, call, caller)
    };
    let (left, resource) =
        if call.graphql { (inner.left.graphql, "graphql") } else { (inner.left.core, "core") };
    reply
        .header("x-ratelimit-limit", HOURLY_LIMIT.to_string())
        .header("x-ratelimit-remaining", left.to_string())
        .header("x-ratelimit-used", HOURLY_LIMIT.saturating_sub(left).to_string())
        .header("x-ratelimit-reset", reset.unix_seconds().to_string())
        .header("x-ratelimit-resource", resource)
}

fn graphql_reply(inner: &mut Inner, call: &Call, caller: Caller, reset_at: &str) -> Reply {
    let Caller::Installation(installation) = caller else {
        return Reply::message(403, "Resource not accessible by integration");
    };
    let Some(body) = call.json().filter(|_| call.method == "POST") else {
        return Reply::message(400, "Problems parsing JSON");
    };
    let remaining = inner.left.graphql;
    let request = graphql::Request {
        query: body.get("query").and_then(Value::as_str).unwrap_or_default(),
        variables: body.get("variables").unwrap_or(&Value::Null),
        installation,
        remaining,
        reset_at,
    };
    let (answer, cost) = graphql::answer(inner.view(), &request);
    inner.read();
    inner.left.graphql = inner.left.spend(remaining, cost.points);
    Reply::json(200, &answer)
}

impl Inner {
    /// What the API shows: the world, or what it was.
    pub fn view(&self) -> &World {
        self.frozen.as_ref().map_or(&self.world, |(w, _)| w)
    }

    /// One read of a lagging API is over.
    pub fn read(&mut self) {
        if let Some((_, reads)) = &mut self.frozen {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                self.frozen = None;
            }
        }
    }
}

fn authenticate(shared: &Shared, inner: &Inner, call: &Call) -> Result<Caller, Reply> {
    let header = call.header("authorization");
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token"));
    let Some((_, token)) = token else { return Err(Reply::message(401, "Requires authentication")) };
    if token.matches('.').count() == 2 {
        return check_jwt(shared, inner, token).map(|()| Caller::App);
    }
    match inner.tokens.get(token) {
        Some(t) if t.expires_at > Time::now() => Ok(Caller::Installation(t.installation)),
        _ => Err(Reply::message(401, "Bad credentials")),
    }
}

/// The App's JWT: RS256 by its key, issued by it, not expired, at most 10 minutes long.
fn check_jwt(shared: &Shared, inner: &Inner, token: &str) -> Result<(), Reply> {
    let undecodable = || Reply::message(401, "A JSON web token could not be decoded");
    let (message, signature) = token.rsplit_once('.').ok_or_else(undecodable)?;
    let (header, claims) = message.split_once('.').ok_or_else(undecodable)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let read = |part: &str| decode(part).and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    let (header, claims) = (read(header).ok_or_else(undecodable)?, read(claims).ok_or_else(undecodable)?);
    let signature = decode(signature).ok_or_else(undecodable)?;
    if header.get("alg") != Some(&json!("RS256")) || !shared.key.verifies(message.as_bytes(), &signature) {
        return Err(undecodable());
    }
    let issuer = claims.get("iss").map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned));
    if issuer != Some(inner.world.app.id.to_string()) {
        return Err(Reply::message(404, "Integration not found"));
    }
    let now = Time::now().unix_seconds();
    match claims.get("exp").and_then(Value::as_i64) {
        None => {
            return Err(Reply::message(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            ));
        }
        Some(exp) if exp <= now => {
            return Err(Reply::message(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            ));
        }
        Some(exp) if exp > now + 600 => {
            return Err(Reply::message(401, "'Expiration time' claim ('exp') is too far in the future"));
        }
        Some(_) => {}
    }
    match claims.get("iat").and_then(Value::as_i64) {
        Some(iat) if iat <= now + 60 => Ok(()),
        _ => Err(Reply::message(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        )),
    }
}

fn respond(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(reply.kind));
    headers.insert("x-github-media-type", HeaderValue::from_static("github.v3; format=json"));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// An answer whose body fails at once: the connection is closed in the middle.
fn broken_off() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("disconnected")) });
    Response::new(Body::from_stream(broken))
}
