//! JSON Schemas of what policies read and say, made from the Rust types.
//!
//! Written so that `opa check --schema` understands them: nothing is referred to, "or null" is an
//! `anyOf`, and objects whose fields are known are closed, so that a misspelt field is noticed.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{input::EventHeader, metadata::Annotations};
use crate::{
    event::SubjectKind,
    facts::{FACTS, Facts},
};

/// The whole `input`.
#[derive(serde::Serialize, JsonSchema)]
struct Document {
    /// What the event is about.
    about: SubjectKind,
    event: Event,
    #[serde(flatten)]
    facts: Facts,
}

#[derive(serde::Serialize, JsonSchema)]
struct Event {
    #[serde(flatten)]
    header: EventHeader,
    /// The webhook, as GitHub sent it.
    payload: Value,
}

/// Schema of `input`.
#[must_use]
pub fn input() -> Value {
    let mut schema = made::<Document>(true);
    schema["title"] = json!("input of gatelog's policies");
    schema
}

/// Schema of `data`: parameters; whatever else a bundle brings is open.
#[must_use]
pub fn data() -> Value {
    let section = json!({
        "type": "object",
        "description": "Name of a control → its parameters; `branches`: entries for some branches.",
        "properties": {"branches": {"type": "array", "items": {"type": "object", "properties": {"pattern": {"type": "string"}}, "additionalProperties": {}}}},
        "additionalProperties": {"type": "object", "additionalProperties": {}},
    });
    json!({
        "$schema": DRAFT,
        "title": "data of gatelog's policies",
        "type": "object",
        "properties": {"params": {
            "type": "object",
            "properties": {
                "defaults": section,
                "repositories": {"type": "object", "description": "owner/name → what differs there.", "additionalProperties": section},
            },
            "additionalProperties": false,
        }},
        "additionalProperties": {},
    })
}

/// Schema of a `# METADATA` block before the package of a control.
#[must_use]
pub fn metadata() -> Value {
    let mut schema = made::<Annotations>(false);
    schema["title"] = json!("METADATA of a control");
    let facts: Vec<&str> = FACTS.iter().map(|(name, _)| *name).collect();
    if let Some(custom) = schema.pointer_mut("/properties/custom") {
        custom["properties"]["facts"] = json!({
            "description": "The upper bound of what is fetched.", "type": "array", "items": {"enum": facts},
        });
    }
    schema
}

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// `closed`: a field that the type does not have is a mistake; otherwise other tools may have theirs.
fn made<T: JsonSchema>(closed: bool) -> Value {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let settings = if closed { settings.for_serialize() } else { settings };
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    trim(&mut schema, closed);
    schema
}

fn trim(schema: &mut Value, closed: bool) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|i| trim(i, closed)),
        Value::Object(map) => {
            trim_object(map, closed);
            map.values_mut().for_each(|v| trim(v, closed));
        }
        _ => {}
    }
}

fn trim_object(map: &mut Map<String, Value>, closed: bool) {
    // Sizes of numbers mean nothing to a policy.
    if map.get("format").is_some_and(|f| f != "date-time") {
        map.remove("format");
        map.remove("minimum");
    }
    // OPA reads `anyOf`, not a list of types, and no `oneOf`.
    if let Some(Value::Array(types)) = map.get("type").cloned() {
        let rest: Map<String, Value> = map
            .iter()
            .filter(|(k, _)| !matches!(k.as_str(), "type" | "description" | "default" | "title"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        rest.keys().for_each(|k| {
            map.remove(k);
        });
        map.remove("type");
        let one = |t: &Value| {
            let mut one = if t == "null" { Map::new() } else { rest.clone() };
            one.insert("type".to_owned(), t.clone());
            Value::Object(one)
        };
        map.insert("anyOf".to_owned(), types.iter().map(one).collect());
    }
    if let Some(one_of) = map.remove("oneOf") {
        let consts: Option<Vec<Value>> =
            one_of.as_array().and_then(|a| a.iter().map(|o| o.get("const").cloned()).collect());
        match consts {
            Some(values) => {
                map.insert("type".to_owned(), json!("string"));
                map.insert("enum".to_owned(), Value::Array(values));
            }
            None => {
                map.insert("anyOf".to_owned(), one_of);
            }
        }
    }
    if closed && map.contains_key("properties") && map.get("type").is_some_and(|t| t == "object") {
        map.entry("additionalProperties").or_insert(json!(false));
    }
}
