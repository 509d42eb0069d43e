//! One page of a connection.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::resolve::{Node, Out};

/// The items asked for, and where they stand among all.
#[derive(Clone)]
pub struct Page<'w> {
    /// `<Name>Connection`
    pub kind: &'static str,
    pub items: Vec<Node<'w>>,
    pub total: usize,
    pub start: usize,
}

impl<'w> Page<'w> {
    /// Cuts `first`/`after` or `last`/`before` out of all items.
    pub fn cut(kind: &'static str, all: Vec<Node<'w>>, arguments: &Map<String, Value>) -> Out<'w> {
        let total = all.len();
        let place = |name: &str| match arguments.get(name).and_then(Value::as_str) {
            None => Ok(None),
            Some(cursor) => place_of(cursor).map(Some).ok_or_else(|| cursor.to_owned()),
        };
        let (after, before) = match (place("after"), place("before")) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(c), _) | (_, Err(c)) => {
                return Out::Error(
                    "INVALID_CURSOR_ARGUMENTS",
                    format!("`{c}` does not appear to be a valid cursor."),
                );
            }
        };
        let mut start = after.map_or(0, |a| a + 1).min(total);
        let mut end = before.unwrap_or(total).clamp(start, total);
        let size =
            |name: &str| arguments.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        if let Some(first) = size("first") {
            end = end.min(start.saturating_add(first));
        } else if let Some(last) = size("last") {
            start = start.max(end.saturating_sub(last));
        }
        let items = all.into_iter().skip(start).take(end - start).collect();
        Out::Node(Node::Page(Box::new(Self { kind, items, total, start })))
    }

    pub fn end(&self) -> usize {
        self.start + self.items.len()
    }

    pub fn cursor(&self, place: usize) -> Option<String> {
        (!self.items.is_empty()).then(|| STANDARD.encode(format!("cursor:v2:{place}")))
    }
}

fn place_of(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("cursor:v2:")?.parse().ok()
}
