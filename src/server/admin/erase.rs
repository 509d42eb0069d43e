//! `POST /erase`.
//!
//! ```json
//! {"entry": 17, "bodies": ["facts"], "reason": "ticket 7", "dry_run": false}
//! {"login": "ada", "also": ["ada@example.com"], "reason": "ticket 7", "dry_run": true}
//! ```
//!
//! Answers [`Answer`]; 403 where a legal hold keeps the entry that was named, 422 where nothing can be
//! erased like this.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{App, answer, problem};
use crate::{
    gate::EraseError,
    ledger::erasure::{
        Cause,
        plan::{PlanError, Wanted},
        run::{Erased, Request, RunError},
    },
};

/// What is asked: an entry or a login.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    pub entry: Option<u64>,
    /// Names; none: all of the entry.
    pub bodies: Vec<String>,
    pub login: Option<String>,
    /// Addresses and names of the same person that are known from elsewhere.
    pub also: Vec<String>,
    pub reason: String,
    pub dry_run: bool,
}

/// What was erased, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The entry that records it; `null`: nothing was erased.
    pub erasure: Option<u64>,
    pub bodies: u64,
    /// Whose bodies.
    pub entries: Vec<u64>,
    /// Reason of a legal hold → entries that it keeps.
    pub held: BTreeMap<String, Vec<u64>>,
    /// Still being judged or reported: to be asked again.
    pub in_work: Vec<u64>,
    /// Bodies that were erased before.
    pub gone: u64,
}

impl Answer {
    /// No body is there of what was asked for, to go or to stay.
    #[must_use]
    pub fn names_nobody(&self) -> bool {
        self.bodies == 0 && self.held.is_empty() && self.in_work.is_empty()
    }
}

impl Question {
    /// # Errors
    /// Neither an entry nor a login, or both.
    pub fn request(self) -> Result<Request, &'static str> {
        let Self { entry, bodies, login, also, reason, dry_run } = self;
        let wanted = match (entry, login) {
            (Some(seq), None) => Wanted::Entry { seq, bodies },
            (None, Some(login)) if !login.trim().is_empty() => Wanted::Person { login, also },
            _ => return Err("name an entry or a login"),
        };
        Ok(Request { wanted, cause: Cause::LocalOperator, reason, dry_run })
    }
}

impl From<Erased> for Answer {
    fn from(Erased { erasure, plan }: Erased) -> Self {
        Self {
            erasure,
            bodies: plan.count,
            entries: plan.bodies.entries().iter().collect(),
            held: plan.held,
            in_work: plan.in_work,
            gone: plan.gone,
        }
    }
}

pub(super) async fn erase(State(app): State<App>, body: Bytes) -> Response {
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(e) => return problem(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    let request = match question.request() {
        Ok(request) => request,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    // A task of its own: what was begun is done, whether or not somebody waits for the answer.
    let gate = app.gate.clone();
    match tokio::spawn(async move { gate.erase(request).await }).await {
        Ok(Ok(erased)) => answer(StatusCode::OK, &json!(Answer::from(erased))),
        Ok(Err(e)) => problem(status(&e), &e.to_string()),
        Err(e) => problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

fn status(e: &EraseError) -> StatusCode {
    match e {
        EraseError::Run(RunError::Plan(PlanError::Held { .. })) => StatusCode::FORBIDDEN,
        EraseError::Run(RunError::Plan(PlanError::Refused(_))) => StatusCode::UNPROCESSABLE_ENTITY,
        EraseError::Run(RunError::Append(_)) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
