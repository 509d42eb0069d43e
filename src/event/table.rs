//! Which events touch which subject, and what gatelog does about them: one table.
use super::Event;

/// What an event asks of gatelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    pub judge: Judge,
    /// Other pull requests to look at again.
    pub fan_out: FanOut,
    /// People and teams may have changed: forget what is cached of them.
    pub drop_caches: bool,
}

/// On which facts the event is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    PullRequest,
    Ref,
    MergeGroup,
    /// On the event alone.
    Bare,
}

/// Which open pull requests are looked at again because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanOut {
    None,
    /// Those with this head (a re-run of our check was asked for).
    Head,
    /// Other open pull requests with the same head as this one (opened, closed, moved).
    SharedHead,
    Repository,
    Organization,
    /// Those with this branch as base.
    Base,
}

#[must_use]
pub fn handling(_event: &Event) -> Handling {
    Handling { judge: Judge::Bare, fan_out: FanOut::None, drop_caches: false }
}
