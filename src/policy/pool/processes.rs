//! Judge processes, each with the bundle loaded, each judging one input at a time. One is started ahead, another when all
//! are at work; each waits for more work then.
//!
//! A request that takes long moves to a second lane, with less priority, so that it does not stand in
//! the way of the others; where that lane is full it is broken off and waits for its turn there. Slow
//! ones have half of the cores at most, quick ones one process more than there are cores: one that is
//! about to turn out slow keeps nobody waiting.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::worker::{Limit, Starter, Trouble, WALL, Worker, nonsense};
use crate::policy::{
    Bundle, Input,
    judge_process::wire::{Answer, Question, What},
};

/// After this much CPU time a request moves to the slow lane. A judgement usually takes milliseconds.
const QUICK: Duration = Duration::from_millis(250);
/// How often that is looked at, when the machine is busy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Controls that may be stopped in one request; the others are `error` then. Each costs seconds.
const MOST_STOPPED: usize = 8;

/// A pool of judge processes; a cheap clone of a handle. Dropping the last one kills them.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    starter: Starter,
    /// Of processes that may stand ready.
    count: usize,
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    ready: Mutex<Ready>,
}

/// Processes that wait for work, all with the same bundle.
#[derive(Debug, Default)]
struct Ready {
    bundle: Option<Arc<Bundle>>,
    workers: Vec<Worker>,
}

/// What became of one control.
pub(crate) enum Said {
    Answer(Answer),
    /// Why there is none.
    Stopped(String),
}

/// Where a request is at work.
struct Lane {
    _permit: OwnedSemaphorePermit,
    quick: bool,
}

/// Why a run of controls ended early.
enum Broken {
    /// The next control's process ended.
    Limit(Limit),
    /// Too slow for its lane: again, in the slow one.
    Again,
    /// The process ended before it had read the input.
    Unread,
    /// Nothing can be asked at all.
    Never(String),
}

impl Processes {
    /// For so many cores.
    ///
    /// # Errors
    /// Not even a thread can be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn new(program: &Path, count: usize) -> std::io::Result<Self> {
        let (count, slow) = (count.max(1) + 1, count.div_ceil(2).max(1));
        Ok(Self(Arc::new(Inner {
            starter: Starter::new(program)?,
            count,
            quick: Arc::new(Semaphore::new(count)),
            slow: Arc::new(Semaphore::new(slow)),
            ready: Mutex::default(),
        })))
    }

    /// Starts a process for a bundle, which from now on is the usual one. Returns when it stands, with why it
    /// could not filter its system calls, if so.
    ///
    /// # Errors
    /// It cannot be started, or cannot load the bundle.
    pub(crate) async fn prepare(&self, bundle: &Arc<Bundle>) -> Result<Option<String>, String> {
        let first = Worker::start(&self.0.starter, bundle, false).await?;
        let unfiltered = first.unfiltered.clone();
        let old = std::mem::replace(
            &mut *self.ready(),
            Ready { bundle: Some(bundle.clone()), workers: vec![first] },
        );
        drop(old);
        Ok(unfiltered)
    }

    /// What the bundle's controls say about an input, in their order.
    ///
    /// # Errors
    /// They cannot be asked: why.
    pub(crate) async fn ask(
        &self,
        what: What,
        bundle: &Arc<Bundle>,
        input: &Input,
    ) -> Result<Vec<Said>, String> {
        let mut question = Question::new(what, input.document()).map_err(|e| format!("the input: {e}"))?;
        let count = bundle.controls().len();
        let mut said = Vec::with_capacity(count);
        let mut lane = self.quick_lane().await?;
        // The next control is asked alone, in a process of its own: is it really the one?
        let mut suspect = false;
        let mut stopped = 0;
        while said.len() < count && stopped < MOST_STOPPED {
            let at = said.len();
            let controls = if suspect { at..at + 1 } else { at..count };
            match self.run(&mut lane, bundle, &mut question, controls, suspect, &mut said).await {
                Ok(()) => suspect = false,
                Err(Broken::Again) => {
                    // Out of the way first.
                    drop(lane);
                    lane = self.slow_lane().await?;
                }
                Err(Broken::Unread) => suspect = true,
                Err(Broken::Never(why)) => return Err(why),
                Err(Broken::Limit(limit)) => {
                    // Where others answered since, it is another control that is at work now.
                    let alone = suspect && said.len() == at;
                    suspect = !(alone || limit.is_sure());
                    if !suspect {
                        stopped += 1;
                        tracing::warn!(
                            control = control(bundle, said.len()),
                            "a control was stopped: {limit}"
                        );
                        said.push(Said::Stopped(format!("stopped: {limit}")));
                    }
                }
            }
        }
        let given_up =
            || Said::Stopped(format!("not judged: {MOST_STOPPED} other controls had to be stopped"));
        said.resize_with(count, given_up);
        Ok(said)
    }

    /// Asks some controls in one process, as long as it lives.
    async fn run(
        &self,
        lane: &mut Lane,
        bundle: &Arc<Bundle>,
        question: &mut Question,
        controls: Range<usize>,
        alone: bool,
        said: &mut Vec<Said>,
    ) -> Result<(), Broken> {
        let mut worker = self.worker(bundle, alone, !lane.quick).await.map_err(Broken::Never)?;
        let mut read = false;
        let listened = match worker.ask(question.about(&controls)).await {
            Ok(()) => self.listen(lane, &mut worker, bundle, controls.end, &mut read, said).await,
            Err(trouble) => Err(trouble),
        };
        match listened {
            Ok(()) => {
                self.give_back(worker).await;
                Ok(())
            }
            Err(Trouble::TooSlow) => {
                self.lose(worker);
                Err(Broken::Again)
            }
            Err(Trouble::Said(why)) => {
                self.lose(worker);
                Err(Broken::Never(why))
            }
            Err(Trouble::Ended(hint)) => {
                let slowed = worker.slowed;
                let limit = worker.end(hint).await;
                if !slowed {
                    self.refill();
                }
                Err(match (read, alone) {
                    (true, _) => Broken::Limit(limit),
                    // Of something that came before, or of the input: a new process shows it.
                    (false, false) => Broken::Unread,
                    (false, true) => Broken::Never(format!("reading the input was stopped: {limit}")),
                })
            }
        }
    }

    /// Takes the answers about controls up to `end`, and changes the lane when it takes long.
    async fn listen(
        &self,
        lane: &mut Lane,
        worker: &mut Worker,
        bundle: &Bundle,
        end: usize,
        read: &mut bool,
        said: &mut Vec<Said>,
    ) -> Result<(), Trouble> {
        let mut wall = Instant::now() + WALL;
        let mut slow_at = Instant::now() + QUICK;
        while !*read || said.len() < end {
            let until = if lane.quick { wall.min(slow_at) } else { wall };
            match worker.answer(until).await {
                Err(Trouble::Ended(Some(Limit::WallTime))) if until < wall => {
                    let left = worker.working_for().and_then(|worked| QUICK.checked_sub(worked));
                    match left {
                        // It is the machine that is slow.
                        Some(left) => slow_at = Instant::now() + left.max(LOOK_AGAIN),
                        None => self.change_lane(lane, worker)?,
                    }
                    continue;
                }
                Err(trouble) => return Err(trouble),
                Ok(Answer::Read(Ok(()))) if !*read => *read = true,
                Ok(Answer::Read(Err(why))) if !*read => return Err(Trouble::Said(why)),
                Ok(answer) if *read && fits(&answer, bundle, said.len()) => said.push(Said::Answer(answer)),
                Ok(_) => return Err(nonsense()),
            }
            wall = Instant::now() + WALL;
        }
        Ok(())
    }

    fn change_lane(&self, lane: &mut Lane, worker: &mut Worker) -> Result<(), Trouble> {
        let Ok(permit) = self.0.slow.clone().try_acquire_owned() else { return Err(Trouble::TooSlow) };
        worker.slow_down();
        // In its place for the quick ones.
        self.refill();
        *lane = Lane { _permit: permit, quick: false };
        Ok(())
    }

    async fn quick_lane(&self) -> Result<Lane, String> {
        let permit = self.0.quick.clone().acquire_owned().await.map_err(|e| e.to_string())?;
        Ok(Lane { _permit: permit, quick: true })
    }

    async fn slow_lane(&self) -> Result<Lane, String> {
        let permit = self.0.slow.clone().acquire_owned().await.map_err(|e| e.to_string())?;
        Ok(Lane { _permit: permit, quick: false })
    }

    /// A process with this bundle: one that waits, or a new one. The slow lane takes none from the quick.
    async fn worker(&self, bundle: &Bundle, new: bool, slow: bool) -> Result<Worker, String> {
        if !new
            && !slow
            && let Some(worker) = self.waiting(bundle.digest())
        {
            return Ok(worker);
        }
        Worker::start(&self.0.starter, bundle, slow).await
    }

    fn waiting(&self, digest: &str) -> Option<Worker> {
        let mut ready = self.ready();
        let at = ready.workers.iter().rposition(|w| w.digest == digest)?;
        Some(ready.workers.swap_remove(at))
    }

    /// Everything is answered. What the controls left behind may still hurt it (a value too deep to be
    /// dropped); that concerns no control.
    async fn give_back(&self, mut worker: Worker) {
        if !worker.slowed && worker.is_done().await && worker.is_good() {
            self.keep(worker);
        } else {
            self.lose(worker);
        }
    }

    /// Kills a process. One that was slowed down has been replaced already.
    fn lose(&self, worker: Worker) {
        if !worker.slowed {
            self.refill();
        }
    }

    /// Lets a process wait for work, if it has the usual bundle and there are not enough yet.
    fn keep(&self, worker: Worker) {
        let mut ready = self.ready();
        let usual = ready.bundle.as_ref().is_some_and(|b| b.digest() == worker.digest);
        if usual && ready.workers.len() < self.0.count {
            ready.workers.push(worker);
        }
    }

    /// Starts a process for the usual bundle, in the background.
    fn refill(&self) {
        let Some(bundle) = self.ready().bundle.clone() else { return };
        let pool = self.clone();
        tokio::spawn(async move {
            match Worker::start(&pool.0.starter, &bundle, false).await {
                Ok(worker) => pool.keep(worker),
                Err(e) => tracing::warn!("{e}"),
            }
        });
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this can be what that control says.
fn fits(answer: &Answer, bundle: &Bundle, control: usize) -> bool {
    match (answer, bundle.controls().get(control)) {
        (Answer::Needs(_) | Answer::Explained(_), Some(_)) => true,
        (Answer::Judged(judged), Some(meta)) => {
            judged.control.id == meta.id && judged.control.package == meta.package
        }
        _ => false,
    }
}

fn control(bundle: &Bundle, at: usize) -> &str {
    bundle.controls().get(at).map_or("?", |c| &c.id)
}

/// This very program, even if its file was replaced since: another version might judge otherwise.
pub(crate) fn this_program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}
