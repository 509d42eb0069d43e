//! `GET /healthz`: the process answers. `GET /readyz`: deliveries can be taken.

use axum::extract::State;
use http::StatusCode;

use super::App;

pub async fn alive() -> &'static str {
    "ok\n"
}

/// 200, or 503 with the reason. Does not depend on GitHub: without it deliveries are recorded.
pub async fn ready(State(app): State<App>) -> (StatusCode, String) {
    match app.gate.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}
