//! Housekeeping beside the story: erasing on demand and by age, compressing what is not written to any more.

use std::{path::Path, time::Duration};

use super::Gate;
use crate::{
    config::{self, Config},
    ledger::{
        Ledger,
        erasure::{
            Cause,
            plan::{Hold, Wanted},
            run::{Erased, Request, RunError},
        },
    },
    telemetry::Task,
    time::Time,
};

/// How often bodies are looked for that are older than the retention.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// How often segments are looked for that can be compressed: one is 64 MB.
const COMPRESS_EVERY: Duration = Duration::from_secs(30);

/// Compressing rests as long as it has worked, at most this long: half a core at most.
const LONGEST_REST: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Nothing was erased, because it is not known what must be kept.
    #[error("legal holds cannot be read, so nothing is erased: {0}")]
    Holds(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The holds of a configuration as the ledger takes them.
#[must_use]
pub fn holds(config: &Config) -> Vec<Hold> {
    let hold = |h: &config::Hold| Hold {
        repository: h.repository.clone(),
        pull_request: h.pull_request,
        entries: h.entries,
        reason: h.reason.clone(),
    };
    config.ledger.holds.iter().map(hold).collect()
}

impl Gate {
    /// Erases bodies under the holds that the configuration has now.
    ///
    /// # Errors
    /// See [`EraseError`].
    pub async fn erase(&self, request: Request) -> Result<Erased, EraseError> {
        let holds = self.config().map_err(EraseError::Holds)?.map(|c| holds(&c)).unwrap_or_default();
        let erased = self.0.ledger.erase(request, holds).await;
        // Whatever came of it: some may be done, or one of before was completed.
        self.forget_erased();
        let erased = erased?;
        if let Some(erasure) = erased.erasure {
            tracing::info!(erasure, bodies = erased.plan.count, "bodies were erased");
        }
        Ok(erased)
    }

    fn config(&self) -> Result<Option<Config>, String> {
        let load = |file: &Path| {
            let environment = config::environment().map_err(|e| e.to_string())?;
            Config::load(file, &environment).map_err(|e| e.to_string())
        };
        self.0.settings.config_file.as_deref().map(load).transpose()
    }

    /// Erases what is too old, until the gate stops.
    pub(super) async fn keep_retention(self) {
        let mut stopping = self.0.stopping.subscribe();
        loop {
            if let Some(Err(e)) = self.guarded(Task::Retaining, self.erase_old()).await {
                tracing::warn!("bodies that are too old were not erased: {e}");
            }
            tokio::select! {
                () = tokio::time::sleep(RETENTION_EVERY) => {}
                _ = stopping.wait_for(|s| *s) => return,
            }
        }
    }

    async fn erase_old(&self) -> Result<(), EraseError> {
        let config = self.config().map_err(EraseError::Holds)?;
        let Some(days) = config.and_then(|c| c.ledger.keep_bodies_days) else { return Ok(()) };
        let age = Duration::from_secs(u64::from(days) * 24 * 3600);
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let Some(before) = Time::from_unix_micros(Time::now().unix_micros().saturating_sub(micros)) else {
            return Ok(());
        };
        let reason = format!("retention: older than {days} days");
        let request =
            Request { wanted: Wanted::Before(before), cause: Cause::Retention, reason, dry_run: false };
        let erased = self.erase(request).await?;
        for (hold, entries) in &erased.plan.held {
            tracing::info!(entries = entries.len(), "kept beyond the retention by the legal hold {hold:?}");
        }
        Ok(())
    }

    /// Starts the thread that compresses; it ends when the gate stops.
    pub(super) fn start_compressing(&self) {
        let (ledger, stopping) = (self.0.ledger.clone(), self.0.stopping.subscribe());
        let work = move || compress(&ledger, &|| *stopping.borrow());
        if let Err(e) = std::thread::Builder::new().name("compress".into()).spawn(work) {
            tracing::warn!("nothing is compressed: {e}");
        }
    }
}

fn compress(ledger: &Ledger, stopping: &dyn Fn() -> bool) {
    // On Linux of this thread alone. Where that is refused it rests all the same.
    let _ = rustix::process::nice(10);
    while !stopping() {
        let mut worked = std::time::Instant::now();
        let mut pause = || {
            std::thread::sleep(worked.elapsed().min(LONGEST_REST));
            worked = std::time::Instant::now();
            !stopping()
        };
        match ledger.compress(&mut pause) {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "compressed"),
            Err(e) => {
                tracing::error!("nothing more is compressed until the next start: {e}");
                return;
            }
        }
        let until = std::time::Instant::now() + COMPRESS_EVERY;
        while !stopping() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
