//! `POST /waivers`, `POST /waivers/{seq}/revoke`, `POST /waivers/{seq}/review`: answer `{"seq": N}`; 422 where
//! what is asked for cannot be an exception.

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{App, answer, problem};
use crate::gate::commands::{Exception, WaiverError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reviewed {
    by: String,
    note: String,
}

pub(super) async fn add(State(app): State<App>, body: Bytes) -> Response {
    match read::<Exception>(&body) {
        Ok(exception) => said(app.gate.waive_as_operator(exception).await),
        Err(response) => *response,
    }
}

pub(super) async fn revoke(State(app): State<App>, Path(seq): Path<u64>, body: Bytes) -> Response {
    match read::<Reason>(&body) {
        Ok(r) => said(app.gate.revoke_as_operator(seq, r.reason).await),
        Err(response) => *response,
    }
}

pub(super) async fn review(State(app): State<App>, Path(seq): Path<u64>, body: Bytes) -> Response {
    match read::<Reviewed>(&body) {
        Ok(r) => said(app.gate.review_as_operator(seq, r.by, r.note).await),
        Err(response) => *response,
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|e| Box::new(problem(StatusCode::BAD_REQUEST, &e.to_string())))
}

fn said(done: Result<u64, WaiverError>) -> Response {
    match done {
        Ok(seq) => answer(StatusCode::OK, &json!({"seq": seq})),
        Err(WaiverError::Refused(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(e @ WaiverError::Ledger(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
    }
}
