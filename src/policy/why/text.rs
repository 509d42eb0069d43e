//! What kept a rule from holding, as indented lines of text for people.

use super::{Attempt, Body, Statement, Told};

/// How much of it is written, and how.
#[derive(Clone, Copy)]
pub struct Style {
    /// The values that were known. They are parts of the input: names, memberships.
    pub values: bool,
    /// Makes the statement that did not hold stand out.
    pub paint: fn(&str) -> String,
}

impl Style {
    pub const PLAIN: Self = Self { values: true, paint: str::to_owned };
    pub const WITHOUT_VALUES: Self = Self { values: false, ..Self::PLAIN };
}

/// The bodies of a rule, indented by `depth`. Control characters are shown as U+FFFD.
#[must_use]
pub fn text(rule: &Told, depth: usize, style: Style) -> String {
    let mut out = Lines { out: String::new(), style };
    out.told(rule, depth);
    out.out
}

struct Lines {
    out: String,
    style: Style,
}

impl Lines {
    fn line(&mut self, depth: usize, text: &str) {
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn told(&mut self, rule: &Told, depth: usize) {
        for (i, body) in rule.bodies.iter().enumerate() {
            if i > 0 {
                self.line(depth, "else");
            }
            self.body(rule, body, depth);
        }
    }

    fn body(&mut self, rule: &Told, body: &Body, depth: usize) {
        let Some(failed) = &body.failed else {
            self.line(depth, &format!("{}:{}: all of it holds", show(&rule.path), body.line));
            let values = self.style.values;
            for a in body.held.iter().filter(|_| values) {
                for (_, value) in &a.parts {
                    self.line(depth + 1, &format!("gives {}", show(value.as_deref().unwrap_or("undefined"))));
                }
                self.known(a, depth + 1);
            }
            return self.more(body.more, depth + 1);
        };
        self.statement(rule, failed, depth);
    }

    fn statement(&mut self, rule: &Told, failed: &Statement, depth: usize) {
        let verb = if failed.error.is_some() { "is an error" } else { "does not hold" };
        self.line(depth, &format!("{}:{}:{}: {verb}", show(&rule.path), failed.line, failed.column));
        let text = (self.style.paint)(&show(&failed.text));
        self.line(depth + 1, &format!("{} | {text}", failed.line));
        // It may quote a value.
        if let Some(error) = failed.error.as_ref().filter(|_| self.style.values) {
            self.line(depth + 1, &show(error));
        }
        let (several, values) = (failed.attempts.len() > 1, self.style.values);
        for (i, a) in failed.attempts.iter().enumerate().filter(|_| values) {
            if several {
                self.line(depth + 1, &format!("attempt {}", i + 1));
            }
            self.attempt(a, depth + 1 + usize::from(several));
        }
        self.more(failed.more, depth + 1);
        for below in &failed.below {
            self.line(depth + 1, &format!("{}, {}:{}", show(&below.rule), show(&below.path), below.line));
            self.told(below, depth + 2);
        }
    }

    fn attempt(&mut self, a: &Attempt, depth: usize) {
        for (name, value) in &a.parts {
            self.line(depth, &format!("{} = {}", show(name), show(value.as_deref().unwrap_or("undefined"))));
        }
        self.known(a, depth);
    }

    fn known(&mut self, a: &Attempt, depth: usize) {
        for (name, value) in a.known.iter().filter(|(name, _)| !a.parts.iter().any(|(p, _)| p == name)) {
            self.line(depth, &format!("{} = {}", show(name), show(value)));
        }
    }

    fn more(&mut self, more: usize, depth: usize) {
        if more > 0 && self.style.values {
            self.line(depth, &format!("… and {more} more"));
        }
    }
}

fn show(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
