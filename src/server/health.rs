//! `GET /healthz`: the process answers. `GET /readyz`: deliveries can be taken.

use axum::extract::State;
use http::StatusCode;

use super::App;

pub async fn alive() -> &'static str {
    "ok\n"
}

/// 200, or 503 with the reason. Depends neither on GitHub nor on witnesses: without them deliveries are
/// recorded. What of a quorum of witnesses is missed, a second line says.
pub async fn ready(State(app): State<App>) -> (StatusCode, String) {
    match app.gate.ready() {
        Ok(()) => {
            let missed = app.publisher.as_ref().and_then(|p| p.quorum_missed());
            let missed = missed.map_or(String::new(), |why| format!("degraded: {why}\n"));
            (StatusCode::OK, format!("ready\n{missed}"))
        }
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}
