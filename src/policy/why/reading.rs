//! What the engine answers to the questions about a body: the statement that did not hold, and what was known.

use std::collections::BTreeSet;

use regorus::Value;

use super::{
    super::engine::Evaluator,
    Attempt, Body, Statement,
    groups::{Group, one_line, short},
};

/// Ways to satisfy the statements before the one that did not hold.
const MAX_ATTEMPTS: usize = 3;

/// Goes through the prefixes until one has no solution. Each is asked with the parts of the next
/// statement and, should those be an error, without.
pub(super) fn read_body(
    groups: &[Group<'_>],
    names: &[[String; 2]],
    depth: usize,
    evaluator: &mut Evaluator<'_>,
) -> Body {
    let line = groups.first().map_or(0, |g| g.line);
    let mut before: (Vec<Attempt>, usize) = (vec![], 0);
    for (i, [with_parts, without]) in names.iter().enumerate() {
        let known: Vec<&String> = groups[..i].iter().flat_map(|g| &g.binds).collect();
        let parts = &groups[i].parts;
        let mut ask = |name: &str, parts: &[String]| {
            let asked = evaluator.ask(name.strip_prefix("data.").unwrap_or(name));
            asked.map(|v| attempts(&v, depth, &known, parts))
        };
        let failed = |at: usize, error, (attempts, more)| Body {
            line,
            failed: groups.get(at).map(|g| g.failed(error, attempts, more)),
            held: vec![],
            more: 0,
        };
        match (ask(with_parts, parts), i.checked_sub(1)) {
            (Ok(found), _) if !found.0.is_empty() => before = found,
            (Ok(_), Some(at)) => return failed(at, None, before),
            (Ok(_), None) => return failed(i, None, before),
            (Err(error), at) => match (ask(without, &[]), at) {
                (Ok(found), _) if !found.0.is_empty() => return failed(i, Some(error), found),
                (_, at) => return failed(at.unwrap_or(i), Some(error), before),
            },
        }
    }
    Body { line, failed: None, held: before.0, more: before.1 }
}

/// An error without the `file:line: ` in front.
fn without_place(error: &str) -> &str {
    match error.split_once(": ") {
        Some((place, message)) if place.rsplit_once(':').is_some_and(|(_, n)| n.parse::<u32>().is_ok()) => {
            message
        }
        _ => error,
    }
}

impl Group<'_> {
    fn failed(&self, error: Option<String>, attempts: Vec<Attempt>, more: usize) -> Statement {
        let (line, column, text) = (self.line, self.column, self.text.clone());
        // The place is that of the question, which is below the author's text.
        let error = error.map(|e| without_place(&e).to_owned());
        Statement { line, column, text, error, attempts, more, below: vec![] }
    }
}

/// Takes what the question collected apart. A question inside others is the first element of theirs.
fn attempts(answer: &Value, depth: usize, known: &[&String], parts: &[String]) -> (Vec<Attempt>, usize) {
    let mut answer = answer;
    for _ in 0..depth {
        match answer {
            Value::Array(a) if !a.is_empty() => answer = &a[0],
            _ => return (vec![], 0),
        }
    }
    let Value::Array(found) = answer else { return (vec![], 0) };
    let one = |item: &Value| {
        let (v, e) = (&item["v"], &item["e"]);
        let mut seen = BTreeSet::new();
        Attempt {
            known: known
                .iter()
                .filter(|k| seen.insert(k.as_str()))
                .map(|k| ((**k).clone(), shown(&v[k.as_str()])))
                .collect(),
            parts: parts
                .iter()
                .enumerate()
                .filter(|(_, p)| !known.contains(p))
                .map(|(i, p)| (one_line(p), first(&e[i]).map(shown)))
                .collect(),
        }
    };
    let attempts: Vec<Attempt> = found.iter().take(MAX_ATTEMPTS).map(one).collect();
    (attempts, found.len().saturating_sub(MAX_ATTEMPTS))
}

fn first(values: &Value) -> Option<&Value> {
    match values {
        Value::Array(a) => a.first(),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    short(&serde_json::to_string(value).unwrap_or_else(|_| "?".to_owned()))
}
