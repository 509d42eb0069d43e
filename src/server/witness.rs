//! A witness over HTTP, in a process of its own: C2SP tlog-witness v1.0.0.
//!
//! | request | answer |
//! |---|---|
//! | `POST /add-checkpoint` | 200 with the cosignature; 409 with the size that was seen last; or why not |
//! | `GET /<hex SHA-256 of the origin>/checkpoint` | what was cosigned last, with the log's signature and ours |
//!
//! Errors have constant words: nothing of a request is said back.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use tokio::{net::TcpListener, sync::watch};

use super::{
    PATIENCE,
    connection::{Limits, accept},
};
use crate::{
    ledger::witness::{MAX_REQUEST, Refusal, Witness},
    time::Time,
};

/// For a whole body. A log waits for a second.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Serves until `stop` is ready, then finishes what is in hand, for at most 5 s.
pub async fn serve(listener: TcpListener, witness: Arc<Witness>, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let accepting = accept(listener, routes(witness), Limits::INTERNET, stopped);
    tokio::pin!(accepting);
    tokio::select! {
        () = &mut accepting => return,
        () = stop => {}
    }
    stopping.send_replace(true);
    if tokio::time::timeout(PATIENCE, accepting).await.is_err() {
        tracing::warn!("some connections did not end in {PATIENCE:?} and were cut");
    }
}

fn routes(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", routing::post(add_checkpoint))
        .route("/{origin}/checkpoint", routing::get(checkpoint))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, request: Request<Body>) -> Response {
    let body = match body(request.into_body()).await {
        Ok(body) => body,
        Err(status) => return problem(status, "the request is too large, too slow or was cut"),
    };
    // It waits for the disk.
    let added = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, Time::now())).await;
    match added.unwrap_or_else(|e| Err(Refusal::NotKept(e.to_string()))) {
        Ok(line) => text(StatusCode::OK, "text/plain; charset=utf-8", line),
        Err(refusal) => refused(&refusal),
    }
}

async fn body(body: Body) -> Result<Bytes, StatusCode> {
    let read = Limited::new(body, MAX_REQUEST).collect();
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Conflict(_) => {
            // A client reads this size and asks again.
            return text(StatusCode::CONFLICT, "text/x.tlog.size", format!("{refusal}\n"));
        }
        Refusal::Malformed | Refusal::OldIsLarger => StatusCode::BAD_REQUEST,
        Refusal::Untrusted => StatusCode::FORBIDDEN,
        Refusal::UnknownLog => StatusCode::NOT_FOUND,
        Refusal::Inconsistent => {
            tracing::error!("a checkpoint with the log's signature does not go on from what was seen before");
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::NotKept(why) => {
            tracing::error!("nothing is cosigned, because what was seen cannot be kept: {why}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    problem(status, &refusal.to_string())
}

async fn checkpoint(State(witness): State<Arc<Witness>>, Path(origin): Path<String>) -> Response {
    match witness.seen(&origin) {
        Some(seen) => text(StatusCode::OK, "text/plain; charset=utf-8", seen.checkpoint),
        None => problem(StatusCode::NOT_FOUND, "nothing was cosigned of that log"),
    }
}

fn text(status: StatusCode, media: &'static str, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn problem(status: StatusCode, what: &str) -> Response {
    text(status, "text/plain; charset=utf-8", format!("{what}\n"))
}
