//! The limits for one minute and one hour, enforced: what goes beyond is refused and remembered.
//!
//! Source: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::http::{Call, Reply};

/// Under way at once, REST and GraphQL together.
const AT_ONCE: usize = 100;
/// Per minute: points of REST (reading 1, writing 5), and points of GraphQL.
const POINTS: u32 = 900;
const GRAPHQL_POINTS: u32 = 2_000;

/// Who goes on after this is told to wait so long.
const RETRY_AFTER: u64 = 60;

/// What holds. A test lets time pass faster, and fills it sooner.
#[derive(Clone, Copy, Debug)]
pub struct Enforced {
    pub minute: Duration,
    pub hour: Duration,
    /// Content that people see, in a minute and in an hour.
    pub writes: u32,
    pub writes_in_hour: u32,
}

impl Enforced {
    /// GitHub's numbers, where a minute is so long.
    #[must_use]
    pub fn in_minutes_of(minute: Duration) -> Self {
        Self { minute, hour: 60 * minute, writes: 80, writes_in_hour: 500 }
    }
}

/// What one installation did, and the limits it broke.
pub(super) struct Secondary {
    limits: Enforced,
    at_once: usize,
    calls: VecDeque<(Instant, Cost)>,
    pub broken: Vec<String>,
    /// The most that was seen: at once, and in any minute.
    pub most: Most,
}

/// The most that was under way at once, and in any minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most {
    pub at_once: usize,
    pub points: u32,
    pub graphql_points: u32,
    pub writes: u32,
    /// In any hour.
    pub writes_in_hour: u32,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    points: u32,
    graphql: u32,
    writes: u32,
}

impl Cost {
    fn of(call: &Call) -> Self {
        let reads = call.method == "GET";
        match call.graphql {
            true => Self { graphql: 1, ..Self::default() },
            false => Self { points: if reads { 1 } else { 5 }, writes: u32::from(!reads), graphql: 0 },
        }
    }
}

impl Secondary {
    pub fn new(limits: Enforced) -> Self {
        Self { limits, at_once: 0, calls: VecDeque::new(), broken: vec![], most: Most::default() }
    }

    /// A call of the installation came in. `Some`: it is refused. In any case it is under way until
    /// [`Secondary::end`].
    pub fn begin(&mut self, call: &Call) -> Option<Reply> {
        let (now, limits) = (Instant::now(), self.limits);
        self.at_once += 1;
        self.calls.push_back((now, Cost::of(call)));
        let longest = limits.hour.max(limits.minute);
        while self.calls.front().is_some_and(|(at, _)| now.duration_since(*at) >= longest) {
            self.calls.pop_front();
        }
        let within = |window: Duration, of: fn(&Cost) -> u32| -> u32 {
            let recent = self.calls.iter().rev().take_while(|(at, _)| now.duration_since(*at) < window);
            recent.map(|(_, cost)| of(cost)).sum()
        };
        let points = within(limits.minute, |c| c.points);
        let graphql = within(limits.minute, |c| c.graphql);
        let writes = within(limits.minute, |c| c.writes);
        let in_hour = within(limits.hour, |c| c.writes);
        self.most.at_once = self.most.at_once.max(self.at_once);
        self.most.points = self.most.points.max(points);
        self.most.graphql_points = self.most.graphql_points.max(graphql);
        self.most.writes = self.most.writes.max(writes);
        self.most.writes_in_hour = self.most.writes_in_hour.max(in_hour);
        let broken = match () {
            () if self.at_once > AT_ONCE => format!("{} at once", self.at_once),
            () if points > POINTS => format!("{points} points"),
            () if graphql > GRAPHQL_POINTS => format!("{graphql} points of GraphQL"),
            () if writes > limits.writes => format!("{writes} writes"),
            () if in_hour > limits.writes_in_hour => format!("{in_hour} writes in an hour"),
            () => return None,
        };
        self.broken.push(format!("{broken}: {} {}", call.method, call.raw_path));
        let text =
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
        Some(Reply::message(403, text).header("retry-after", RETRY_AFTER.to_string()))
    }

    pub fn end(&mut self) {
        self.at_once = self.at_once.saturating_sub(1);
    }
}
