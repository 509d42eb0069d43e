//! One kind of time: UTC with microseconds, written as RFC 3339 (`2026-11-24T15:04:05.000000Z`).
//!
//! Time is a field or an argument everywhere; [`Time::now`] is called only where something happens
//! (an event arrives, facts are frozen, an entry is appended), never while judging.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An instant with microsecond precision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(jiff::Timestamp);

/// RFC 3339 in UTC.
impl schemars::JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

impl Time {
    /// The wall clock, cut to microseconds.
    #[must_use]
    pub fn now() -> Self {
        Self::cut(jiff::Timestamp::now())
    }

    /// `None` outside the years -9999 to 9999.
    #[must_use]
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(micros).ok().map(Self)
    }

    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Nanoseconds since 1970, the unit of Rego's `time.now_ns`.
    #[must_use]
    pub fn unix_nanos(self) -> i64 {
        self.unix_micros().saturating_mul(1000)
    }

    /// `self + d`; stays at the last representable instant instead of overflowing.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        jiff::SignedDuration::try_from(d)
            .ok()
            .and_then(|d| self.0.checked_add(d).ok())
            .map_or(Self(jiff::Timestamp::MAX), Self::cut)
    }

    /// `self - d`; stays at the first representable instant instead of overflowing.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        jiff::SignedDuration::try_from(d)
            .ok()
            .and_then(|d| self.0.checked_sub(d).ok())
            .map_or(Self(jiff::Timestamp::MIN), Self::cut)
    }

    /// Without its fraction, as GitHub says when something was.
    #[must_use]
    pub fn whole_second(self) -> Self {
        Self::from_unix_micros(self.unix_seconds().saturating_mul(1_000_000)).unwrap_or(self)
    }

    /// To the minute, for people: `2026-12-01 00:00 UTC`.
    #[must_use]
    pub fn minute(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M UTC").to_string()
    }

    /// How long `earlier` was before `self`; zero if it was not before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.unix_micros() - earlier.unix_micros()).unwrap_or(0))
    }

    fn cut(t: jiff::Timestamp) -> Self {
        // Truncating to a coarser unit cannot leave the range that the finer value was in.
        Self(jiff::Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<jiff::Timestamp>()
            .map(Self::cut)
            .map_err(|e| format!("`{}` is not an RFC 3339 time: {e}", s.chars().take(64).collect::<String>()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_microseconds_and_reads_what_it_wrote() {
        let t: Time = "2026-11-24T15:04:05Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-24T15:04:05.000000Z");
        assert_eq!(t.to_string().parse::<Time>().unwrap(), t);
        assert_eq!(t.minute(), "2026-11-24 15:04 UTC");
        assert_eq!(t.plus(Duration::from_millis(1)).since(t), Duration::from_millis(1));
        assert_eq!(t.since(t.plus(Duration::from_secs(1))), Duration::ZERO);
    }

    #[test]
    fn offsets_become_utc() {
        let t: Time = "2026-11-24T16:04:05.1234567+01:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-24T15:04:05.123456Z");
    }
}
