//! The admin socket: HTTP over `<ledger>/admin.sock` for commands on the same machine, run by the same
//! user. Whoever may open the file may use it; what changes something is recorded as the local operator's.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | size, root, last checkpoint, witnesses, process, version, bundle |
//! | `GET /entries?from=N&limit=M` | JSON lines: `seq`, `leaf`, `raw` (the entry as hashed), `bodies` (names) |
//! | `GET /entries/{seq}/bodies/{name}` | the body; 410 if it was erased, with the erasure and its reason |
//! | `POST /erase` | erases bodies: see [`erase`] |
//! | `POST /look` | a pull request as it would be judged now: see [`look`] |
//! | `POST /reconcile` | makes a sweep now; the entry that records it, and its counts |
//! | `POST /waivers` | records an exception: [`crate::gate::commands::Exception`]; its entry |
//! | `POST /waivers/{seq}/revoke` | ends it: `{"reason"}` |
//! | `POST /waivers/{seq}/review` | its follow-up review is done: `{"by", "note"}` |
//! | `POST /acknowledge` | ends the alarm about an unknown check run; the entry that records it |
//! | `GET /proofs/{seq}` | a tlog-proof of the entry under the newest checkpoint; 404 if none covers it yet |
//! | `POST /keys/rotate` | a new key for the log beside the old one: its vkey |
//! | `POST /keys/finish` | ends the change of keys: the vkey that signs no more |

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, RawQuery, State},
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};

use super::App;
use crate::{
    gate::reconcile::Trigger,
    ledger::{note::Verifier, publish::PublishError},
};

pub mod erase;
pub mod look;
mod waivers;

/// Name of the socket in the ledger's folder.
pub const NAME: &str = "admin.sock";

/// Entries in one answer at most.
const MAX_ENTRIES: u64 = 1000;

/// The bound socket. The file is removed when this is dropped.
pub struct Socket {
    listener: UnixListener,
    file: Removed,
}

/// Removes the socket's file at the end of its life.
pub struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Whoever finds it later finds nobody listening and treats it as stale.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Binds `<ledger>/admin.sock`, readable for this user alone from its first moment: it is made in
    /// a folder of its own and moved into place. One that is already there is stale, because the
    /// caller holds the ledger's lock.
    ///
    /// # Errors
    /// The folder cannot be written, or its path is too long for a socket (about 90 bytes).
    pub fn bind(ledger: &Path) -> io::Result<Self> {
        let (place, private) = (ledger.join(NAME), ledger.join(".admin"));
        let _ = std::fs::remove_dir_all(&private);
        std::fs::DirBuilder::new().mode(0o700).create(&private)?;
        let made = private.join("s");
        let bound = UnixListener::bind(&made).and_then(|listener| {
            std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&made, &place)?;
            Ok(Self { listener, file: Removed(place) })
        });
        let _ = std::fs::remove_dir_all(&private);
        bound
    }

    pub(super) fn into_parts(self) -> (UnixListener, Removed) {
        (self.listener, self.file)
    }
}

pub(super) fn routes(app: App) -> Router {
    Router::new()
        .route("/status", routing::get(status))
        .route("/entries", routing::get(entries))
        .route("/entries/{seq}/bodies/{name}", routing::get(body))
        .route("/acknowledge", routing::post(acknowledge))
        .route("/proofs/{seq}", routing::get(proof))
        .route("/keys/rotate", routing::post(rotate))
        .route("/keys/finish", routing::post(finish_rotation))
        .route("/erase", routing::post(erase::erase))
        .route("/look", routing::post(look::look))
        .route("/reconcile", routing::post(reconcile))
        .route("/waivers", routing::post(waivers::add))
        .route("/waivers/{seq}/revoke", routing::post(waivers::revoke))
        .route("/waivers/{seq}/review", routing::post(waivers::review))
        .with_state(app)
}

async fn status(State(app): State<App>) -> Response {
    let head = app.gate.ledger().head();
    let ready = app.gate.ready();
    let published = app.publisher.as_ref().and_then(|p| p.published());
    let checkpoint = published.map(|p| {
        let (size, root) = (p.checkpoint.size, p.checkpoint.root);
        json!({"origin": p.checkpoint.origin, "size": size, "root": root, "time": p.time})
    });
    let witnesses = app.publisher.as_ref().map(|p| p.witnesses()).unwrap_or_default();
    let witnesses: Vec<_> =
        witnesses.into_iter().map(|w| json!({"name": w.name, "trouble": w.trouble})).collect();
    answer(
        StatusCode::OK,
        &json!({
            "size": head.size,
            "applied": app.gate.ledger().applied(),
            "root": head.root,
            "generation": head.generation,
            "checkpoint": checkpoint,
            "witnesses": witnesses,
            "quorum_missed": app.publisher.as_ref().and_then(|p| p.quorum_missed()),
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "bundle": app.gate.bundle().digest(),
            "ready": ready.is_ok(),
            "reason": ready.err(),
        }),
    )
}

/// `from` and `limit` of a query. `None`: one of them is no number.
fn range(query: &str) -> Option<(u64, u64)> {
    let (mut from, mut limit) = (0, MAX_ENTRIES);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "from" => from = value.parse().ok()?,
            "limit" => limit = value.parse().ok()?,
            _ => {}
        }
    }
    Some((from, limit.min(MAX_ENTRIES)))
}

async fn entries(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let Some((from, limit)) = range(query.as_deref().unwrap_or_default()) else {
        return problem(StatusCode::BAD_REQUEST, "from and limit must be whole numbers");
    };
    let ledger = app.gate.ledger();
    let end = ledger.head().size.min(from.saturating_add(limit));
    let mut lines = String::new();
    for seq in from..end {
        match ledger.entry(seq) {
            Ok(Some(stored)) => {
                let raw = String::from_utf8_lossy(&stored.raw);
                let bodies: Vec<_> = stored.entry.bodies.keys().collect();
                let line = json!({"seq": seq, "leaf": stored.leaf, "raw": raw, "bodies": bodies});
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
            Ok(None) => break,
            Err(e) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("entry {seq}: {e}")),
        }
    }
    ([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response()
}

async fn body(State(app): State<App>, UrlPath((seq, name)): UrlPath<(u64, String)>) -> Response {
    match app.gate.ledger().body(seq, &name) {
        Ok(Some(body)) => ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response(),
        Ok(None) => no_body(&app, seq, &name),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

fn no_body(app: &App, seq: u64, name: &str) -> Response {
    match app.gate.ledger().erasure_of(seq, name) {
        Ok(Some(e)) => {
            let text = format!("redacted at entry {seq} (erasure {}: {})", e.seq, e.reason);
            problem(StatusCode::GONE, &text)
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "no such body"),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

async fn acknowledge(State(app): State<App>) -> Response {
    match app.gate.acknowledge().await {
        Ok(seq) => answer(StatusCode::OK, &json!({"seq": seq})),
        Err(e) => problem(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
    }
}

async fn proof(State(app): State<App>, UrlPath(seq): UrlPath<u64>) -> Response {
    let Some(publisher) = app.publisher else { return unsigned() };
    let newest = publisher.published().map(|p| p.checkpoint.size);
    match tokio::task::spawn_blocking(move || publisher.prove(seq)).await {
        Ok(Ok(Some(proof))) => ([(header::CONTENT_TYPE, "text/plain")], proof.text()).into_response(),
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, &not_covered(seq, newest)),
        Ok(Err(e)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

fn not_covered(seq: u64, newest: Option<u64>) -> String {
    match newest {
        Some(size) => format!("the last published checkpoint holds {size} entries, so not entry {seq}"),
        None => {
            "nothing was published yet; with publish_only_with_quorum, the witnesses have to cosign first"
                .into()
        }
    }
}

async fn rotate(State(app): State<App>) -> Response {
    let Some(publisher) = app.publisher else { return unsigned() };
    key_answer(publisher.rotate().await)
}

async fn finish_rotation(State(app): State<App>) -> Response {
    let Some(publisher) = app.publisher else { return unsigned() };
    key_answer(publisher.finish_rotation().await)
}

fn key_answer(done: Result<Verifier, PublishError>) -> Response {
    match done {
        Ok(key) => answer(StatusCode::OK, &json!({"vkey": key.to_string()})),
        Err(PublishError::Refused(why)) => problem(StatusCode::CONFLICT, &why),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

fn unsigned() -> Response {
    problem(StatusCode::NOT_FOUND, "nothing is signed here: set [ledger] origin and key_file")
}

async fn reconcile(State(app): State<App>) -> Response {
    // A task of its own: whoever asked may go away in the middle.
    let gate = app.gate.clone();
    let swept = tokio::spawn(async move { gate.reconcile(Trigger::Operator).await });
    match swept.await.unwrap_or_else(|e| Err(e.to_string())) {
        Ok(swept) => answer(StatusCode::OK, &json!({"seq": swept.seq, "sweep": swept.data})),
        Err(e) => problem(StatusCode::SERVICE_UNAVAILABLE, &e),
    }
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

/// The one who asks is the operator: told everything.
fn problem(status: StatusCode, text: &str) -> Response {
    answer(status, &json!({"error": text}))
}

/// Why a running gatelog gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No socket, or nobody behind it: gatelog does not run on this ledger.
    #[error("no gatelog runs on this ledger")]
    NotRunning,
    #[error("the running gatelog cannot be asked: {0}")]
    Io(String),
}

/// Asks the gatelog that runs on `ledger`; `path` is a path of the table above.
///
/// # Errors
/// [`CallError`]. An answer that says no is no error here: see its status.
pub async fn call(ledger: &Path, method: Method, path: &str) -> Result<(StatusCode, Bytes), CallError> {
    call_with(ledger, method, path, Bytes::new()).await
}

/// As [`call`], with a body.
///
/// # Errors
/// As [`call`].
pub async fn call_with(
    ledger: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CallError> {
    let other = |e: &dyn std::fmt::Display| CallError::Io(e.to_string());
    let stream = UnixStream::connect(ledger.join(NAME)).await.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::NotRunning,
        _ => other(&e),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| other(&e))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Body::from(body))
        .map_err(|e| other(&e))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        drop(sender);
        Ok::<_, hyper::Error>((status, body))
    };
    let (answer, _) = tokio::join!(exchange, connection);
    answer.map_err(|e| other(&e))
}
