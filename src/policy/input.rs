//! The document that policies read: the event and the facts, frozen.

use regorus::Value;
use serde::Deserialize as _;
use serde_json::{Map, Value as Json};

use crate::{
    event::{Cause, Source, SubjectKind},
    facts::{
        Facts, Missing,
        waivers::{Answered, Waiver},
    },
    time::Time,
};

/// `input.event` without its payload.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct EventHeader {
    pub name: String,
    pub action: Option<String>,
    /// GUID of the delivery; `null` for events of our own.
    pub delivery: Option<String>,
    pub received_at: Time,
    pub source: Source,
    pub cause: Option<Cause>,
}

/// What one judgement reads. Policies see nothing else.
#[derive(Clone, Debug)]
pub struct Input {
    document: Json,
    /// Parsed once, shared by all evaluations.
    value: Value,
    time: Time,
    missing: Vec<Missing>,
    waivers: Vec<Waiver>,
    answers: Vec<Answered>,
}

/// Why a document is no input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("the input is not JSON: {0}")]
    NotJson(String),
    #[error("the input has no `{0}` of the right form: {1}")]
    Shape(&'static str, String),
    /// A number beyond 64 bits, nesting beyond 128 levels, a key that means something to the engine.
    #[error("the engine cannot hold the input: {0}")]
    Engine(String),
}

impl Input {
    /// # Errors
    /// A payload that the engine cannot hold ([`InputError::Engine`]).
    pub fn new(
        about: SubjectKind,
        event: EventHeader,
        payload: Json,
        facts: &Facts,
    ) -> Result<Self, InputError> {
        let shape = |name| move |e: serde_json::Error| InputError::Shape(name, e.to_string());
        let mut document = match serde_json::to_value(facts).map_err(shape("facts"))? {
            Json::Object(map) => map,
            _ => Map::new(),
        };
        let mut header = serde_json::to_value(&event).map_err(shape("event"))?;
        if let Json::Object(header) = &mut header {
            header.insert("payload".to_owned(), payload);
        }
        document.insert("about".to_owned(), serde_json::to_value(about).map_err(shape("about"))?);
        document.insert("event".to_owned(), header);
        Self::from_json(Json::Object(document))
    }

    /// A whole document, as `gatelog log show --input` prints it.
    ///
    /// # Errors
    /// Without `time`, `event` or `facts` of the right form, or if the engine cannot hold it.
    pub fn from_json(document: Json) -> Result<Self, InputError> {
        let time = document.get("time").and_then(Json::as_str).unwrap_or_default();
        let time = time.parse().map_err(|e| InputError::Shape("time", e))?;
        if !document.get("event").is_some_and(Json::is_object) {
            return Err(InputError::Shape("event", "not an object".to_owned()));
        }
        let missing = document.pointer("/facts/missing").cloned().unwrap_or_default();
        let missing =
            serde_json::from_value(missing).map_err(|e| InputError::Shape("facts.missing", e.to_string()))?;
        let waivers = list(&document, "waivers")?;
        let answers = list(&document, "commands")?;
        let value = to_rego(&document)?;
        Ok(Self { document, value, time, missing, waivers, answers })
    }

    /// # Errors
    /// As [`Input::from_json`], and if it is not JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, InputError> {
        Self::from_json(serde_json::from_slice(bytes).map_err(|e| InputError::NotJson(e.to_string()))?)
    }

    /// Canonical JSON of the whole input without `event.payload`, which the event entry holds.
    #[must_use]
    pub fn facts_body(&self) -> Vec<u8> {
        // The payload may have 25 MB: it is not copied to be left out.
        let without = |key: &'static str, value: &Json| match value {
            Json::Object(all) => Json::Object(
                all.iter().filter(|(k, _)| *k != key).map(|(k, v)| (k.clone(), v.clone())).collect(),
            ),
            other => other.clone(),
        };
        let mut document = without("event", &self.document);
        if let (Json::Object(document), Some(event)) = (&mut document, self.document.get("event")) {
            document.insert("event".to_owned(), without("payload", event));
        }
        canonical(&document)
    }

    /// Puts a facts body and the payload of its event together again.
    ///
    /// # Errors
    /// As [`Input::parse`].
    pub fn splice(facts_body: &[u8], payload: &[u8]) -> Result<Self, InputError> {
        let json =
            |b: &[u8]| serde_json::from_slice::<Json>(b).map_err(|e| InputError::NotJson(e.to_string()));
        let mut document = json(facts_body)?;
        match document.get_mut("event") {
            Some(Json::Object(event)) => event.insert("payload".to_owned(), json(payload)?),
            _ => return Err(InputError::Shape("event", "not an object".to_owned())),
        };
        Self::from_json(document)
    }

    /// In a judge process: the same from the JSON of [`Input::document`], with the parts that judging
    /// reads and without the document itself. The JSON is read once.
    ///
    /// # Errors
    /// As [`Input::parse`].
    pub(crate) fn received(json: &[u8]) -> Result<Self, InputError> {
        let json = std::str::from_utf8(json).map_err(|e| InputError::NotJson(e.to_string()))?;
        let value = rego(json)?;
        let time = match field(&value, "time") {
            Some(Value::String(time)) => time.parse().map_err(|e| InputError::Shape("time", e))?,
            _ => return Err(InputError::Shape("time", "not a string".to_owned())),
        };
        let missing = match field(&value, "facts").and_then(|f| field(f, "missing")) {
            Some(missing) => missing
                .to_json_str()
                .map_err(|e| e.to_string())
                .and_then(|json| serde_json::from_str(&json).map_err(|e| e.to_string())),
            None => Ok(Vec::new()),
        };
        let missing = missing.map_err(|e| InputError::Shape("facts.missing", e))?;
        // The verdict is put together where the document is.
        Ok(Self { document: Json::Null, value, time, missing, waivers: vec![], answers: vec![] })
    }

    /// The whole document.
    #[must_use]
    pub fn document(&self) -> &Json {
        &self.document
    }

    /// When the facts were frozen.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// Facts that were asked for and could not be had.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Exceptions that the ledger holds.
    pub(crate) fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// Answers to comment commands, to show with the verdict.
    pub(crate) fn answers(&self) -> &[Answered] {
        &self.answers
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }
}

/// RFC 8785 bytes. Of JSON values this cannot fail: they hold no NaN and no infinity.
pub(crate) fn canonical(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap_or_default()
}

/// Never through `Value::from`, which turns what it cannot hold into "undefined" without a word.
fn to_rego(document: &Json) -> Result<Value, InputError> {
    if let Some(key) = private_key(document) {
        return Err(InputError::Engine(format!("the key `{key}`")));
    }
    rego(&document.to_string())
}

/// A list of the document; an absent one is empty.
fn list<T: serde::de::DeserializeOwned>(document: &Json, name: &'static str) -> Result<Vec<T>, InputError> {
    match document.get(name) {
        None => Ok(vec![]),
        Some(items) => Vec::<T>::deserialize(items).map_err(|e| InputError::Shape(name, e.to_string())),
    }
}

fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => fields.get(&Value::from(name)),
        _ => None,
    }
}

fn rego(json: &str) -> Result<Value, InputError> {
    match Value::from_json_str(json) {
        Ok(Value::Object(o)) => Ok(Value::Object(o)),
        Ok(_) => Err(InputError::Engine("not an object".to_owned())),
        Err(e) => Err(InputError::Engine(super::error::plain(&format!("{e}")))),
    }
}

/// `{"$serde_json::private::Number": "5"}` would become the number 5.
fn private_key(value: &Json) -> Option<&str> {
    match value {
        Json::Object(map) => map.iter().find_map(|(k, v)| {
            if k.starts_with("$serde_json::private") { Some(k.as_str()) } else { private_key(v) }
        }),
        Json::Array(items) => items.iter().find_map(private_key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Json {
        json!({
            "time": "2026-11-24T15:04:05.000000Z", "about": "pull_request",
            "event": {"name": "pull_request", "payload": {"n": 1.0, "s": "ü", "big": 9_007_199_254_740_993_u64}},
            "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:04:05Z"},
        })
    }

    #[test]
    fn splicing_gives_back_the_exact_input() {
        let input = Input::from_json(document()).unwrap();
        let body = input.facts_body();
        assert!(!String::from_utf8_lossy(&body).contains("payload"));
        let payload = document()["event"]["payload"].to_string();
        let again = Input::splice(&body, payload.as_bytes()).unwrap();
        assert_eq!(again.document(), input.document());
        assert_eq!(again.value(), input.value());
        assert_eq!(again.facts_body(), body);
    }

    #[test]
    fn what_the_engine_cannot_hold_is_an_error_never_undefined() {
        let with = |payload: Json| {
            let mut d = document();
            d["event"]["payload"] = payload;
            Input::from_json(d)
        };
        assert!(matches!(with(json!({"$serde_json::private::Number": "zzz"})), Err(InputError::Engine(_))));
        let mut deep = json!(1);
        for _ in 0..200 {
            deep = json!([deep]);
        }
        assert!(matches!(with(deep), Err(InputError::Engine(_))));
        assert!(with(json!({"n": 1e300})).is_ok());
        assert!(matches!(Input::parse(b"{\"time\":1}"), Err(InputError::Shape("time", _))));
    }
}
