//! YAML whose aliases cannot blow it up.
//!
//! `yaml_serde` allows a hundred aliases per event of the file, each of which may stand for a whole
//! tree: 64 KiB became 2 GB. Here a document holds little more than its text could without aliases.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Nodes and bytes that aliases may add to those of the text.
const SPARE: usize = 256 * 1024;

/// Reads one document.
///
/// # Errors
/// Not YAML, not what JSON could say, a key twice in one mapping (OPA refuses it too), or aliases
/// that make far more of the text than stands there.
pub(crate) fn value(text: &str) -> Result<Value, yaml_serde::Error> {
    let left = Cell::new(text.len().saturating_mul(2).saturating_add(SPARE));
    Bounded { left: &left }.deserialize(yaml_serde::Deserializer::from_str(text))
}

/// Builds a value and counts what it holds.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    /// A node with `bytes` of text.
    fn count<E: Error>(self, bytes: usize) -> Result<(), E> {
        match self.left.get().checked_sub(bytes + 1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom("aliases make far more of it than stands there: write it out")),
        }
    }

    fn node<E: Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        self.count(0)?;
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON could say")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.node(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.node(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        self.deserialize(d)
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        self.node(v)
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        self.node(v)
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        self.node(v)
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        // What is no number becomes null, as serde_json does it.
        self.node(v)
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        self.count(v.len())?;
        Ok(v.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.count(0)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.count(0)?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.count(key.len())?;
            if fields.contains_key(&key) {
                let key = key.escape_debug();
                return Err(A::Error::custom(format_args!("the key `{key}` stands twice in one mapping")));
            }
            let value = map.next_value_seed(self)?;
            fields.insert(key, value);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laughs(levels: u8) -> String {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in b'b'..b'b' + levels {
            let (own, before) = (char::from(n), char::from(n - 1));
            text.push_str(&format!("{own}: &{own} [{}]\n", vec![format!("*{before}"); 9].join(",")));
        }
        text
    }

    #[test]
    fn reads_what_serde_json_would() {
        for text in [
            "a: 1\nb: [x, ~, true, -3, 1.5]\nc: {d: \"01\", e: }\n",
            "18446744073709551615",
            "1: x\ntrue: y\n",
            "a: .nan\nb: 2020-01-01\n",
            "a: &x {b: [1, 2]}\nc: *x\n",
            "",
        ] {
            let plain: Value = yaml_serde::from_str(text).unwrap();
            assert_eq!(value(text).unwrap(), plain, "{text}");
        }
        for text in ["a: !x {b: 1}", "? [1]\n: 2", "99999999999999999999999", "a: b: c", "a: 1\n---\nb: 2"] {
            assert!(yaml_serde::from_str::<Value>(text).is_err() && value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn aliases_do_not_blow_it_up() {
        value(&laughs(3)).unwrap();
        let started = std::time::Instant::now();
        // Once with few, once with so many that the limit of `yaml_serde` alone would allow gigabytes.
        for text in [laughs(8), format!("{}j: [{}]", laughs(8), vec!["*i"; 200_000].join(","))] {
            let said = value(&text).unwrap_err().to_string();
            assert!(said.contains("aliases make far more") || said.contains("repetition limit"), "{said}");
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 10_000].join(","));
        assert!(value(&long).unwrap_err().to_string().contains("aliases make far more"));
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn a_key_twice_is_refused_as_opa_does() {
        assert!(value("a: 1\nb: 2\na: 3\n").unwrap_err().to_string().contains("`a` stands twice"));
    }
}
