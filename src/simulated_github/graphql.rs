//! The simulated GitHub's GraphQL: a small real executor over the state.
//!
//! A query is parsed, checked against [`schema`] (an unknown field is an error, as on GitHub),
//! its cost computed by GitHub's published formula, and executed field by field.

use serde_json::{Value, json};

use super::state::World;

mod document;
mod execute;
mod page;
mod resolve;
mod schema;
mod validate;

/// One GraphQL request.
pub struct Request<'a> {
    pub query: &'a str,
    pub variables: &'a Value,
    /// The installation whose token was sent.
    pub installation: u64,
    /// Points left, for `rateLimit`.
    pub remaining: u64,
    pub reset_at: &'a str,
}

/// What was computed of a query before it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub points: u64,
    pub nodes: u64,
}

/// Answers a request: `{"data", "errors"}` as GitHub's body has them, and the cost.
#[must_use]
pub fn answer(world: &World, request: &Request<'_>) -> (Value, Cost) {
    let checked =
        document::parse(request.query).and_then(|doc| Ok((validate::check(&doc, request.variables)?, doc)));
    match checked {
        Err(errors) => (json!({"errors": errors.0}), Cost::default()),
        Ok((plan, doc)) => {
            let cost = plan.cost;
            let (data, errors) = execute::run(world, request, &doc, &plan);
            let body = if errors.is_empty() {
                json!({"data": data})
            } else {
                json!({"data": data, "errors": errors})
            };
            (body, cost)
        }
    }
}

/// Errors that leave no data.
pub(super) struct Refused(pub Vec<Value>);

impl Refused {
    fn one(message: impl Into<String>) -> Self {
        Self(vec![json!({"message": message.into()})])
    }
}
