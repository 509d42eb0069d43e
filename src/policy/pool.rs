//! Where judging happens: in processes of their own ([`processes`]) or on threads with large stacks;
//! and an async front to both.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use super::{
    Bundle, Input, Need,
    judge_process::wire::{Answer, What},
    why::Told,
};
use crate::verdict::Verdict;
use processes::{Processes, Said};

mod processes;
mod worker;

/// Bytes of stack for parsing and judging: chains of 1,000 rules (the limit) fit several times.
pub(crate) const STACK: usize = 64 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A control's package, and what its rules did or why that cannot be said.
pub type Explained = (String, Result<Vec<Told>, String>);

/// Judges, and keeps tokio's workers, whose stacks are small, free of it. A cheap clone of a handle.
///
/// Dropping the last clone ends its processes, or its threads once their work is done.
#[derive(Clone, Debug)]
pub struct Judge(Front);

#[derive(Clone, Debug)]
enum Front {
    Threads(mpsc::Sender<Job>),
    Processes(Processes),
}

impl Judge {
    /// Judges on threads of this process: a policy that eats all memory takes it down.
    ///
    /// # Errors
    /// Where not even one thread can be started.
    pub fn in_process(threads: usize) -> std::io::Result<Self> {
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
        Ok(Self(Front::Threads(jobs)))
    }

    /// Judges in processes of this program, at most one more than `count` at once, limited in memory and time and without files and
    /// network.
    ///
    /// # Errors
    /// Not even a thread can be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn in_processes(count: usize) -> std::io::Result<Self> {
        Self::in_processes_of(&processes::this_program()?, count)
    }

    /// The same with the program named, for what is not gatelog itself: a test, a benchmark.
    ///
    /// # Errors
    /// As [`Judge::in_processes`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn in_processes_of(program: &Path, count: usize) -> std::io::Result<Self> {
        Ok(Self(Front::Processes(Processes::new(program, count)?)))
    }

    /// Makes ready to judge with this bundle from now on, and says what contains its policies.
    ///
    /// # Errors
    /// No judge process can be started, or it cannot load the bundle.
    pub async fn prepare(&self, bundle: &Arc<Bundle>) -> Result<String, String> {
        let Front::Processes(processes) = &self.0 else {
            return Ok("policies are judged in this process".to_owned());
        };
        let limits = "policies are judged in processes of their own, limited in memory, time and stack";
        Ok(match processes.prepare(bundle).await? {
            None => {
                format!("{limits}; all system calls but a few are refused (seccomp): no files, no network")
            }
            Some(why) => format!("{limits}; their system calls are not filtered: {why}"),
        })
    }

    /// [`Bundle::needs`], contained.
    pub async fn needs(&self, bundle: Arc<Bundle>, input: Arc<Input>) -> BTreeSet<Need> {
        match &self.0 {
            Front::Threads(jobs) => run(jobs, move || bundle.needs_here(&input)).await.unwrap_or_default(),
            // A control that was stopped needs nothing here: judging makes it `error`.
            Front::Processes(processes) => {
                let said = processes.ask(What::Needs, &bundle, &input).await.unwrap_or_default();
                let needs =
                    |one| if let Said::Answer(Answer::Needs(needs)) = one { needs } else { BTreeSet::new() };
                said.into_iter().flat_map(needs).collect()
            }
        }
    }

    /// [`Bundle::explain`], contained: per control its package and what its rules did, or why that cannot be
    /// said.
    pub async fn explain(&self, bundle: Arc<Bundle>, input: Arc<Input>) -> Vec<Explained> {
        let packages: Vec<String> = bundle.controls().iter().map(|c| c.package.clone()).collect();
        let told: Result<Vec<Result<Vec<Told>, String>>, String> = match &self.0 {
            Front::Threads(jobs) => {
                let told = run(jobs, move || bundle.explain(&input, &[])).await;
                let told = told.ok_or_else(|| "explaining failed".to_owned());
                told.and_then(|t| t.map_err(|e| e.to_string()))
                    .map(|all| all.into_iter().map(|(_, told)| Ok(told)).collect())
            }
            Front::Processes(processes) => processes.ask(What::Explain, &bundle, &input).await.map(|said| {
                said.into_iter()
                    .map(|one| match one {
                        Said::Answer(Answer::Explained(told)) => Ok(told),
                        Said::Answer(_) => Err("the judge process answered nonsense".to_owned()),
                        Said::Stopped(why) => Err(why),
                    })
                    .collect()
            }),
        };
        match told {
            Ok(told) => packages.into_iter().zip(told).collect(),
            Err(why) => packages.into_iter().map(|p| (p, Err(why.clone()))).collect(),
        }
    }

    /// [`Bundle::judge`], contained: the same verdict, but that a control which had to be stopped is
    /// `error` and says at which limit.
    pub async fn judge(&self, bundle: Arc<Bundle>, input: Arc<Input>) -> Verdict {
        let judged = match &self.0 {
            Front::Threads(jobs) => {
                let (b, i) = (bundle.clone(), input.clone());
                run(jobs, move || b.judge_here(&i)).await.ok_or_else(|| "judging failed".to_owned())
            }
            Front::Processes(processes) => {
                let said = processes.ask(What::Judge, &bundle, &input).await;
                said.map(|said| verdict(&bundle, &input, said))
            }
        };
        judged.unwrap_or_else(|why| bundle.cannot_judge(&input, &why))
    }
}

fn verdict(bundle: &Bundle, input: &Input, said: Vec<Said>) -> Verdict {
    let judged = said.into_iter().enumerate().filter_map(|(i, one)| match one {
        Said::Answer(Answer::Judged(judged)) => Some(judged),
        Said::Answer(_) => bundle.stopped(i, input, "the judge process answered nonsense".to_owned()),
        Said::Stopped(why) => bundle.stopped(i, input, why),
    });
    let judged = judged.collect();
    bundle.verdict(input, judged)
}

async fn run<T: Send + 'static>(
    jobs: &mpsc::Sender<Job>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    let job: Job = Box::new(move || {
        // The caller may have gone away.
        let _ = reply.send(f());
    });
    jobs.send(job).ok()?;
    answer.await.ok()
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
    side_by_side(f, || ()).0
}

/// The same, with `beside` on this thread meanwhile.
///
/// # Errors
/// As [`on_big_stack`].
pub(crate) fn side_by_side<A: Send, B>(
    f: impl FnOnce() -> A + Send,
    beside: impl FnOnce() -> B,
) -> (Result<A, String>, B) {
    thread::scope(|scope| {
        let started =
            thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn_scoped(scope, f);
        let b = beside();
        let a = match started {
            Ok(handle) => handle.join().map_err(|_| "the engine failed (a panic)".to_owned()),
            Err(e) => Err(format!("no thread can be started: {e}")),
        };
        (a, b)
    })
}
