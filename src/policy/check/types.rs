//! What is known of the form of a value: from the schema of `input`, and from what is made of it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// The form of a value. `Any` is "not known": nothing is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Any,
    Null,
    /// `a string`, `a number`, `a boolean`.
    Scalar(&'static str),
    Array(Arc<Type>),
    Set(Arc<Type>),
    /// Fields by name, and what all others are; `None`: there are no others.
    Object(Arc<BTreeMap<String, Type>>, Option<Arc<Type>>),
    Union(Arc<Vec<Type>>),
}

/// What a step into a value cannot find.
pub(super) enum Miss {
    /// The fields that there are.
    NoField(Vec<String>),
    /// What it is instead of an object: `a string`.
    NotAnObject(&'static str),
}

/// Alternatives beyond which nothing is said any more.
const MAX_ALTERNATIVES: usize = 12;

impl Type {
    /// Of a JSON Schema as [`crate::policy::schema`] writes it; what it does not say is `Any`.
    pub(super) fn of_schema(schema: &Value) -> Self {
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            return alternatives.iter().map(Self::of_schema).reduce(Self::or).unwrap_or(Self::Any);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("null") => Self::Null,
            Some("string") => Self::Scalar("a string"),
            Some("integer" | "number") => Self::Scalar("a number"),
            Some("boolean") => Self::Scalar("a boolean"),
            Some("array") => Self::Array(Arc::new(schema.get("items").map_or(Self::Any, Self::of_schema))),
            Some("object") => {
                let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                let fields = fields.map(|(k, v)| (k.clone(), Self::of_schema(v))).collect();
                let rest = match schema.get("additionalProperties") {
                    Some(Value::Bool(false)) => None,
                    Some(other) => Some(Arc::new(Self::of_schema(other))),
                    None => Some(Arc::new(Self::Any)),
                };
                Self::Object(Arc::new(fields), rest)
            }
            _ => Self::Any,
        }
    }

    /// What an empty list holds: it says nothing about the alternatives beside it.
    pub(super) fn nothing() -> Self {
        Self::Union(Arc::default())
    }

    /// One of the two.
    pub(super) fn or(self, other: Self) -> Self {
        let mut all = Vec::new();
        for t in [self, other] {
            match t {
                Self::Any => return Self::Any,
                Self::Union(items) => all.extend(items.iter().cloned()),
                one => all.push(one),
            }
        }
        let mut out: Vec<Self> = Vec::new();
        for t in all {
            if !out.contains(&t) {
                out.push(t);
            }
        }
        match out.len() {
            0 => Self::nothing(),
            1 => out.remove(0),
            n if n > MAX_ALTERNATIVES => Self::Any,
            _ => Self::Union(Arc::new(out)),
        }
    }

    pub(super) fn may_be_set(&self) -> bool {
        match self {
            Self::Any | Self::Set(_) => true,
            Self::Union(items) => items.is_empty() || items.iter().any(Self::may_be_set),
            Self::Null | Self::Scalar(_) | Self::Array(_) | Self::Object(..) => false,
        }
    }

    /// What stands under a name that is known.
    pub(super) fn field(&self, name: &str) -> Result<Self, Miss> {
        match self {
            Self::Object(fields, rest) => match (fields.get(name), rest) {
                (Some(t), _) => Ok(t.clone()),
                (None, Some(rest)) => Ok(rest.as_ref().clone()),
                (None, None) => Err(Miss::NoField(fields.keys().cloned().collect())),
            },
            // `set["x"]` asks whether it is in it.
            Self::Any | Self::Set(_) => Ok(Self::Any),
            Self::Array(_) => Err(Miss::NotAnObject("a list")),
            Self::Scalar(what) => Err(Miss::NotAnObject(what)),
            Self::Null => Err(Miss::NotAnObject("null")),
            Self::Union(items) if items.is_empty() => Ok(Self::Any),
            Self::Union(items) => Self::field_of_some(items, name),
        }
    }

    fn field_of_some(items: &[Self], name: &str) -> Result<Self, Miss> {
        let (mut found, mut fields, mut other) = (None, Vec::new(), "null");
        for item in items {
            match item.field(name) {
                Ok(t) => found = Some(found.map_or(t.clone(), |f: Self| f.or(t))),
                Err(Miss::NoField(names)) => fields.extend(names),
                Err(Miss::NotAnObject("null")) => {}
                Err(Miss::NotAnObject(what)) => other = what,
            }
        }
        match found {
            Some(t) => Ok(t),
            None if fields.is_empty() => Err(Miss::NotAnObject(other)),
            None => Err(Miss::NoField(fields)),
        }
    }

    /// What stands under some key or index that is not known.
    pub(super) fn element(&self) -> Self {
        match self {
            Self::Array(t) | Self::Set(t) => t.as_ref().clone(),
            Self::Object(fields, rest) => {
                let all = fields.values().cloned().chain(rest.iter().map(|r| r.as_ref().clone()));
                all.reduce(Self::or).unwrap_or_else(Self::nothing)
            }
            Self::Union(items) => {
                let has = |t: &&Self| !matches!(t, Self::Null | Self::Scalar(_));
                items.iter().filter(has).map(Self::element).reduce(Self::or).unwrap_or_else(Self::nothing)
            }
            Self::Any | Self::Null | Self::Scalar(_) => Self::Any,
        }
    }
}
