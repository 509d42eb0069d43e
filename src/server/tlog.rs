//! The transparency log over HTTP: what C2SP tlog-tiles says is served, below `/log/`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /log/checkpoint` | the newest signed checkpoint |
//! | `GET /log/tile/<L>/<N>[.p/<W>]` | hashes of the tree |
//! | `GET /log/tile/entries/<N>[.p/<W>]` | entries: no bodies, so no names of people or repositories |
//!
//! Nothing is shown that a published checkpoint does not cover.

use axum::{Router, extract::State, response::IntoResponse, response::Response, routing};
use http::{StatusCode, Uri, header};

use super::App;
use crate::ledger::tile::Tile;

/// What never changes under its name.
const FOREVER: &str = "public, max-age=604800, immutable";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/log/checkpoint", routing::get(checkpoint))
        .route("/log/tile/{*name}", routing::get(tile))
}

async fn checkpoint(State(app): State<App>) -> Response {
    let Some(publisher) = &app.publisher else {
        return problem(StatusCode::NOT_FOUND, "nothing is signed here: [ledger] key_file is not set");
    };
    match publisher.published() {
        Some(published) => {
            let headers =
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
            (headers, published.note.clone()).into_response()
        }
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "no checkpoint was published yet"),
    }
}

/// The path as it was sent: one name for each file, so nothing is decoded.
async fn tile(State(app): State<App>, uri: Uri) -> Response {
    let name = uri.path().strip_prefix("/log/").unwrap_or_default();
    let Some(tile) = Tile::parse(name) else {
        return problem(StatusCode::BAD_REQUEST, "that is no name of a tile");
    };
    let published = app.publisher.as_ref().and_then(|p| p.published());
    let covered = published.is_some_and(|p| tile.is_within(p.checkpoint.size));
    if !covered {
        return problem(StatusCode::NOT_FOUND, "no published checkpoint covers that tile");
    }
    // A bundle is 256 reads of the store.
    let ledger = app.gate.ledger().clone();
    match tokio::task::spawn_blocking(move || ledger.tile(&tile)).await {
        Ok(Ok(Some(bytes))) => {
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOREVER)];
            (headers, bytes).into_response()
        }
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, "there is no such tile"),
        failed => {
            tracing::error!("a tile cannot be read: {failed:?}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the tile cannot be read")
        }
    }
}

fn problem(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{text}\n")).into_response()
}
