//! One row of the table, and the rooms around it.

pub mod facts;
pub mod github;
pub mod story;
pub mod table;

use gatelog::verdict::Decision;

/// (name, parameters of the repository, what happens, decision, a piece of the reason, source)
pub type Line = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// YAML, without the braces around it; empty: the defaults.
    pub parameters: &'static str,
    pub story: &'static str,
    pub decision: Decision,
    pub says: &'static str,
    pub source: &'static str,
}

impl Row {
    pub fn of(&(name, parameters, story, decision, says, source): &Line) -> Self {
        let decision = match decision {
            "allow" => Decision::Allow,
            "deny" => Decision::Deny,
            "error" => Decision::Error,
            "pending" => Decision::Pending,
            other => panic!("{name}: {other} is no decision"),
        };
        Self { name, parameters, story, decision, says, source }
    }
}
