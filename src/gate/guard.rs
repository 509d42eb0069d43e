//! A panic is a fault of gatelog. It ends what it was about, and not the task that does such things one after the
//! other: what that does would be done no more, without a word.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;

use super::Gate;
use crate::{
    github::{Trouble, TroubleKind},
    telemetry::Task,
};

impl Gate {
    /// What came of some work. `None`: it panicked, which is logged and counted. What it left half done is as a
    /// death leaves it, so that it can be done once more.
    pub(super) async fn guarded<T>(&self, task: Task, work: impl Future<Output = T>) -> Option<T> {
        // What is shared is behind locks that a panic leaves usable: see `lock`.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        if done.is_err() {
            let what = task.as_str();
            tracing::error!(task = what, "{what} panicked, which is a fault of gatelog: it is tried again");
            self.0.metrics.panicked(task);
        }
        done.ok()
    }

    /// As [`Gate::guarded`]; a panic is a trouble that passes.
    pub(super) async fn guarded_try<T>(
        &self,
        task: Task,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let done = self.guarded(task, work).await;
        done.unwrap_or_else(|| Err(Trouble::new(TroubleKind::Unavailable, "a fault of gatelog")))
    }
}
