//! `POST /look`: `{"repository": "owner/name", "pull_request": N, "needs": [{"fact", "id"}]}`; answers the input
//! document of that pull request as it stands now. Nothing is judged, recorded or written to GitHub.

use std::collections::BTreeSet;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::{App, answer, problem};
use crate::{gate::preview::PreviewError, policy::Need};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    repository: String,
    pull_request: u64,
    needs: BTreeSet<Need>,
}

pub(super) async fn look(State(app): State<App>, body: Bytes) -> Response {
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(e) => return problem(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    let needs = asked.needs.into_iter().map(|n| (n.fact, n.id)).collect();
    match app.gate.preview(&asked.repository, asked.pull_request, needs).await {
        Ok(input) => answer(StatusCode::OK, input.document()),
        Err(e @ PreviewError::UnknownRepository(_)) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, &e.to_string())
        }
        Err(e @ PreviewError::Github(_)) => problem(StatusCode::BAD_GATEWAY, &e.to_string()),
        Err(e @ PreviewError::Input(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}
