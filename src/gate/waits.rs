//! How long things wait; tests wait less.

use std::time::Duration;

use super::{Gate, Item, Later};
use crate::{github::Trouble, time::Time};

/// How long an event waits for GitHub before it is judged without it, which is `error`.
pub(super) const OUTAGE_PATIENCE: Duration = Duration::from_secs(600);

/// Nobody waits on "Expected": 500 ms after its entry an event without verdict shows as in progress. GitHub's
/// answer takes a part of that.
pub(super) const PROGRESS_AFTER: Duration = Duration::from_millis(350);

impl Gate {
    /// GitHub cannot be asked now: the check says so, the event stays pending.
    pub(super) fn wait_for_github(&self, item: &Item, trouble: &Trouble) -> Later {
        let waited = Time::now().since(item.received_at);
        let after = trouble.retry_after.unwrap_or_else(|| backoff(waited)).min(Duration::from_secs(300));
        tracing::warn!(retry_in_s = after.as_secs_f64(), "waiting for GitHub: {}", trouble.reason);
        self.show_progress(item, Some(&trouble.reason));
        Later { after: after + jitter(after) }
    }
}

pub(super) fn outage_patience() -> Duration {
    sooner("gate::patience", OUTAGE_PATIENCE)
}

/// So long: as usual, or as many milliseconds as a test says with `FAILPOINTS=name=return(ms)`.
pub(super) fn sooner(name: &'static str, usual: Duration) -> Duration {
    let told = |ms: Option<String>| Some(Duration::from_millis(ms?.parse().ok()?));
    fail::fail_point!(name, |ms| told(ms).unwrap_or(usual));
    let _ = (name, told);
    usual
}

/// One second at first, growing with the time waited, at most a minute.
pub(super) fn backoff(waited: Duration) -> Duration {
    (waited / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// Up to a fifth more, so that what failed together does not come back together.
pub(super) fn jitter(d: Duration) -> Duration {
    let mut byte = [0u8];
    // Without randomness there is just no jitter.
    let _ = getrandom::fill(&mut byte);
    d.mul_f64(f64::from(byte[0]) / 255.0 / 5.0)
}
