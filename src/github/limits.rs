//! GitHub's limits, obeyed: an installation that used its budget up makes no call until it is
//! filled again. Calls are refused here, not slept through: the worker goes on with others.
//!
//! Rules: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>. The
//! primary limit is per resource (`core`, `graphql`); a secondary limit is for everything that an
//! installation does, and going on regardless may get it banned.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};

use super::{Trouble, TroubleKind, budget::BudgetUse, call::As, rest::Response};
use crate::time::Time;

/// Secondary limit without `Retry-After`: at least a minute, then longer each time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// A primary limit is filled again after an hour; a clock that is wrong shall not stop us for days.
const LONGEST_RESET: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Resource {
    Core,
    GraphQl,
    /// Everything: the secondary limits.
    All,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::GraphQl => "graphql",
            Self::All => "all",
        }
    }
}

#[derive(Default)]
pub(super) struct Limits {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: HashMap<(As, Resource), Instant>,
    /// Secondary limits in a row.
    strikes: HashMap<As, u32>,
    calls: BTreeMap<(&'static str, Option<u16>), u64>,
    remaining: BTreeMap<(As, Resource), u64>,
    graphql_points: u64,
    refused: u64,
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and times: never left half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be made now.
    pub(super) fn check(&self, who: As, resource: Resource) -> Result<(), Trouble> {
        let now = Instant::now();
        let mut state = self.state();
        let open_at = [resource, Resource::All].iter().filter_map(|r| state.closed.get(&(who, *r))).max();
        let Some(wait) = open_at.and_then(|at| at.checked_duration_since(now)).filter(|w| !w.is_zero())
        else {
            return Ok(());
        };
        state.refused += 1;
        let reason = format!("GitHub's rate limit is used up for another {} s", wait.as_secs() + 1);
        Err(Trouble::new(TroubleKind::RateLimited, reason).after(wait))
    }

    /// Reads the limits off an answer. `Some(wait)`: the answer is a limit.
    pub(super) fn learn(&self, who: As, resource: Resource, answer: &Response) -> Option<Duration> {
        let remaining = number(&answer.headers, "x-ratelimit-remaining");
        let mut state = self.state();
        if let Some(left) = remaining {
            state.remaining.insert((who, resource), left);
            if left == 0 {
                let wait = until_reset(&answer.headers);
                state.close(who, resource, wait);
            }
        }
        if !is_limit(answer, remaining) {
            if answer.status.is_success() {
                state.strikes.remove(&who);
            }
            return None;
        }
        if let Some(seconds) = number(&answer.headers, "retry-after") {
            let wait = Duration::from_secs(seconds.max(1));
            state.close(who, Resource::All, wait);
            return Some(wait);
        }
        if remaining == Some(0) {
            return Some(until_reset(&answer.headers));
        }
        let wait = state.strike(who);
        state.close(who, Resource::All, wait);
        Some(wait)
    }

    /// GraphQL says `RATE_LIMITED` inside a 200.
    pub(super) fn graphql_used_up(&self, who: As, headers: &HeaderMap) -> Duration {
        let wait = match number(headers, "retry-after") {
            Some(seconds) => Duration::from_secs(seconds.max(1)),
            None => until_reset(headers),
        };
        self.state().close(who, Resource::GraphQl, wait);
        wait
    }

    pub(super) fn paid(&self, points: u64) {
        self.state().graphql_points += points;
    }

    pub(super) fn count(&self, kind: &'static str, status: Option<StatusCode>) {
        *self.state().calls.entry((kind, status.map(|s| s.as_u16()))).or_default() += 1;
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state();
        let calls = state.calls.iter();
        let remaining = state.remaining.iter();
        Usage {
            calls: calls.map(|(&(kind, status), &count)| CallCount { kind, status, count }).collect(),
            remaining: remaining
                .map(|(&(who, resource), &left)| Remaining {
                    installation: match who {
                        As::App => None,
                        As::Installation(id) => Some(id),
                    },
                    resource: resource.name(),
                    left,
                })
                .collect(),
            graphql_points: state.graphql_points,
            refused: state.refused,
            budget: vec![],
        }
    }
}

impl State {
    fn close(&mut self, who: As, resource: Resource, wait: Duration) {
        let until = Instant::now() + wait;
        let closed = self.closed.entry((who, resource)).or_insert(until);
        *closed = until.max(*closed);
    }

    fn strike(&mut self, who: As) -> Duration {
        let strikes = self.strikes.entry(who).or_default();
        let wait = FIRST_WAIT.saturating_mul(1 << (*strikes).min(8)).min(LONGEST_WAIT);
        *strikes += 1;
        wait
    }
}

fn is_limit(answer: &Response, remaining: Option<u64>) -> bool {
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => {
            let said = answer.message().to_ascii_lowercase();
            answer.headers.contains_key("retry-after")
                || remaining == Some(0)
                || said.contains("rate limit")
                || said.contains("abuse detection")
        }
        _ => false,
    }
}

fn until_reset(headers: &HeaderMap) -> Duration {
    let now = u64::try_from(Time::now().unix_seconds()).unwrap_or(0);
    match number(headers, "x-ratelimit-reset") {
        // One second more: the reset is given in whole seconds.
        Some(at) => Duration::from_secs(at.saturating_sub(now) + 1).min(LONGEST_RESET),
        None => FIRST_WAIT,
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// What was asked of GitHub since the start, and what is left.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub calls: Vec<CallCount>,
    pub remaining: Vec<Remaining>,
    /// Sum of `rateLimit.cost`.
    pub graphql_points: u64,
    /// Calls not made because a limit was used up.
    pub refused: u64,
    /// How full GitHub's other limits are.
    pub budget: Vec<BudgetUse>,
}

#[derive(Clone, Debug)]
pub struct CallCount {
    /// `rest_get`, `rest_post`, `rest_patch`, `graphql`, `token`.
    pub kind: &'static str,
    /// `None`: no answer (network, time-out).
    pub status: Option<u16>,
    pub count: u64,
}

#[derive(Clone, Debug)]
pub struct Remaining {
    /// `None`: the app itself.
    pub installation: Option<u64>,
    /// `core` or `graphql`.
    pub resource: &'static str,
    pub left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: As = As::Installation(7);

    fn answer(status: u16, headers: &[(&'static str, String)], message: &str) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: serde_json::json!({"message": message}).to_string().into(),
            redirected: false,
            what: "GET /x".to_owned(),
        }
    }

    fn in_seconds(s: i64) -> String {
        (Time::now().unix_seconds() + s).to_string()
    }

    #[test]
    fn the_last_call_of_a_budget_closes_that_resource_only() {
        let limits = Limits::default();
        let last =
            answer(200, &[("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", in_seconds(600))], "");
        assert_eq!(limits.learn(WHO, Resource::Core, &last), None, "the answer itself is good");
        let held = limits.check(WHO, Resource::Core).unwrap_err();
        assert_eq!(held.kind, TroubleKind::RateLimited);
        assert!(held.retry_after.unwrap() > Duration::from_secs(590));
        limits.check(WHO, Resource::GraphQl).unwrap();
        limits.check(As::Installation(8), Resource::Core).unwrap();
    }

    #[test]
    fn a_secondary_limit_closes_everything_of_the_installation() {
        let limits = Limits::default();
        let wait = limits.learn(WHO, Resource::Core, &answer(403, &[("retry-after", "2".into())], "no"));
        assert_eq!(wait, Some(Duration::from_secs(2)));
        limits.check(WHO, Resource::GraphQl).unwrap_err();
        limits.check(As::App, Resource::Core).unwrap();
    }

    #[test]
    fn without_a_time_it_waits_longer_each_time() {
        let limits = Limits::default();
        let said = answer(403, &[], "You have exceeded a secondary rate limit.");
        let waits: Vec<_> =
            (0..6).filter_map(|_| limits.learn(WHO, Resource::Core, &said)).map(|w| w.as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        limits.learn(WHO, Resource::Core, &answer(200, &[], ""));
        assert_eq!(limits.learn(WHO, Resource::Core, &said), Some(FIRST_WAIT));
    }

    #[test]
    fn a_plain_403_is_not_a_limit() {
        let limits = Limits::default();
        let said = answer(
            403,
            &[("x-ratelimit-remaining", "4000".into())],
            "Resource not accessible by integration",
        );
        assert_eq!(limits.learn(WHO, Resource::Core, &said), None);
        limits.check(WHO, Resource::Core).unwrap();
    }

    #[test]
    fn a_wrong_clock_does_not_stop_us_for_days() {
        let limits = Limits::default();
        let far = answer(
            429,
            &[("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", in_seconds(900_000))],
            "",
        );
        assert_eq!(limits.learn(WHO, Resource::Core, &far), Some(LONGEST_RESET));
    }
}
