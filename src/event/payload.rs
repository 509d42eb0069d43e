//! The JSON inside a delivery, and whether it is JSON that every later reader reads alike.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{ContentType, ParseError};

/// Levels of nesting in a payload. serde_json stops at 128; the document that policies read puts
/// a few levels around the payload. GitHub's own payloads stay below 10.
const MAX_DEPTH: usize = 100;

/// serde_json reads an object with this key as a number, and then two readers of the same bytes
/// see two documents.
const PRIVATE_NUMBER: &str = "$serde_json::private::Number";

/// The payload of a delivery as JSON bytes: the body itself, or the form's one field `payload`.
///
/// # Errors
/// A form without exactly one `payload`, or one that is not UTF-8. JSON is not looked into.
pub fn json(content: ContentType, body: &[u8]) -> Result<Cow<'_, [u8]>, ParseError> {
    if content == ContentType::Json {
        return Ok(Cow::Borrowed(body));
    }
    if std::str::from_utf8(body).is_err() {
        return Err(ParseError::new("the form is not UTF-8"));
    }
    let mut payloads = form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
    match (payloads.next(), payloads.next()) {
        // `form_urlencoded` decodes invalid UTF-8 to U+FFFD, which would hide what was sent.
        (Some((_, p)), None) if p.contains('\u{fffd}') => {
            Err(ParseError::new("field `payload` of the form is not UTF-8"))
        }
        (Some((_, p)), None) => Ok(Cow::Owned(p.into_owned().into_bytes())),
        (None, _) => Err(ParseError::new("the form has no field `payload`")),
        (Some(_), Some(_)) => Err(ParseError::new("the form has more than one field `payload`")),
    }
}

/// The payload that the ledger kept, as a document: `media` is the body's media type.
///
/// # Errors
/// As [`super::parse`], for the payload's shape as JSON.
pub fn payload_json(media: &str, body: &[u8]) -> Result<serde_json::Value, ParseError> {
    let json = json(ContentType::of_media(media), body)?;
    check(&json)?;
    serde_json::from_slice(&json)
        .map_err(|e| ParseError::new(format!("the payload is not readable JSON: {e}")))
}

/// The repository of a payload that the ledger kept, and what it is called there: for look-ups, nothing else is
/// checked.
#[must_use]
pub fn repository_in(media: &str, body: &[u8]) -> Option<(u64, String)> {
    #[derive(serde::Deserialize)]
    struct Payload {
        repository: Option<Repository>,
    }
    #[derive(serde::Deserialize)]
    struct Repository {
        id: u64,
        full_name: String,
    }
    let json = json(ContentType::of_media(media), body).ok()?;
    if let Ok(payload) = serde_json::from_slice::<Payload>(&json) {
        return payload.repository.map(|r| (r.id, r.full_name));
    }
    // Of a key that stands twice the last counts, as everywhere.
    let payload: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let repository = payload.get("repository")?;
    Some((repository.get("id")?.as_u64()?, repository.get("full_name")?.as_str()?.to_owned()))
}

/// Walks the whole document: JSON in UTF-8, an object, nested at most [`MAX_DEPTH`] levels, numbers
/// in range, no key twice in one object (readers differ in which one counts), and without the one key
/// that serde_json gives a meaning of its own.
pub(super) fn check(json: &[u8]) -> Result<(), ParseError> {
    let start = json.iter().find(|b| !b.is_ascii_whitespace());
    if start.is_some_and(|b| *b != b'{') {
        return Err(ParseError::new("the payload is not a JSON object"));
    }
    let mut d = serde_json::Deserializer::from_slice(json);
    Walk { depth: 0 }
        .deserialize(&mut d)
        .and_then(|()| d.end())
        .map_err(|e| ParseError::new(format!("the payload is not readable JSON: {e}")))
}

#[derive(Clone, Copy)]
struct Walk {
    depth: usize,
}

impl Walk {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if seen.contains(&key) {
                let key = key.escape_debug();
                return Err(serde::de::Error::custom(format_args!(
                    "the key `{key}` stands twice in one object"
                )));
            }
            seen.insert(key);
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<String, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if key == PRIVATE_NUMBER {
            return Err(E::custom(format_args!("the key `{PRIVATE_NUMBER}` is not accepted")));
        }
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        check(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_form_has_one_payload() {
        let read = |b: &str| json(ContentType::Form, b.as_bytes()).map(|p| p.into_owned());
        assert_eq!(read("payload=%7B%22a%22%3A1%7D").unwrap(), b"{\"a\":1}");
        assert!(read("other=1").unwrap_err().to_string().contains("no field `payload`"));
        assert!(read("payload=1&payload=2").unwrap_err().to_string().contains("more than one"));
        assert!(read("payload=%ff").unwrap_err().to_string().contains("UTF-8"));
        assert!(json(ContentType::Form, b"payload=\xff").is_err());
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        assert!(refused(r#"{"a":[{"$serde_json::private::Number":"1"}]}"#).contains("private::Number"));
        // Escaped keys are the same keys.
        assert!(refused(r#"{"\u0024serde_json::private::Number":"1"}"#).contains("private::Number"));
        check(br#"{"a":"$serde_json::private::Number"}"#).unwrap();
        assert!(refused(r#"{"a":{"b":1,"c":2,"b":3}}"#).contains("`b` stands twice"));
        assert!(refused(r#"{"a":1,"\u0061":1}"#).contains("`a` stands twice"));
        check(br#"{"a":{"a":[{"a":1},{"a":1}]}}"#).unwrap();
        assert!(refused(r#"{"a":"\ud800"}"#).contains("hex escape"));
        assert!(check(b"{\"a\":\"\xff\"}").is_err());
        assert!(refused("{\"a\":1e999}").contains("out of range"));
        assert!(refused("[]").contains("not a JSON object"));
        assert!(refused("").contains("EOF"));
        assert!(refused("{} {}").contains("trailing"));
    }

    #[test]
    fn nesting_ends_in_an_error() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        check(nested(MAX_DEPTH - 1).as_bytes()).unwrap();
        assert!(refused(&nested(MAX_DEPTH)).contains("nested deeper"));
        assert!(check(nested(1_000_000).as_bytes()).is_err());
    }
}
