//! Threads with large stacks, and an async front to them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use super::{Bundle, Input, Need};
use crate::verdict::Verdict;

/// Bytes of stack for parsing and judging: chains of 1,000 rules (the limit) fit several times.
pub(crate) const STACK: usize = 64 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that judge, so that tokio's workers, whose stacks are small, stay free.
///
/// Dropping the last clone ends the threads once their work is done.
#[derive(Clone, Debug)]
pub struct Judge {
    jobs: mpsc::Sender<Job>,
}

impl Judge {
    /// # Errors
    /// Where not even one thread can be started.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for i in 0..threads.max(1) {
            let queue = queue.clone();
            let started = thread::Builder::new()
                .name(format!("judge-{i}"))
                .stack_size(STACK)
                .spawn(move || work(&queue));
            if let (0, Err(e)) = (i, started) {
                return Err(e);
            }
        }
        Ok(Self { jobs })
    }

    /// [`Bundle::needs`] on a thread of the pool.
    pub async fn needs(&self, bundle: Arc<Bundle>, input: Arc<Input>) -> BTreeSet<Need> {
        self.run(move || bundle.needs_here(&input)).await.unwrap_or_default()
    }

    /// [`Bundle::judge`] on a thread of the pool.
    pub async fn judge(&self, bundle: Arc<Bundle>, input: Arc<Input>) -> Verdict {
        let (b, i) = (bundle.clone(), input.clone());
        match self.run(move || b.judge_here(&i)).await {
            Some(verdict) => verdict,
            None => bundle.cannot_judge(&input, "judging failed"),
        }
    }

    async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            // The caller may have gone away.
            let _ = reply.send(f());
        });
        self.jobs.send(job).ok()?;
        answer.await.ok()
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A job that panics drops its reply, which the caller sees; the thread goes on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

/// Runs `f` on a thread of its own with a large stack, and waits for it.
///
/// # Errors
/// The thread cannot be started, or `f` panicked.
pub(crate) fn on_big_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let started =
            thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn_scoped(scope, f);
        match started {
            Ok(handle) => handle.join().map_err(|_| "the engine failed (a panic)".to_owned()),
            Err(e) => Err(format!("no thread can be started: {e}")),
        }
    })
}
