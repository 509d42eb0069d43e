//! One judge process, as its parent sees it.

use std::{
    fmt, io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::STACK;
use crate::policy::{
    Bundle,
    judge_process::{
        limits::{CPU, MEMORY},
        wire::{self, Answer},
    },
};

/// Wall time of one control, of reading an input, of taking a question. The engine's limit and the CPU
/// limit come first; this is for a process that sleeps, or gets no turn.
pub(crate) const WALL: Duration = Duration::from_secs(30);
/// Wall time for starting, and for loading a bundle.
const START_WALL: Duration = Duration::from_secs(90);
/// For dropping what was judged.
const CLEAR_UP: Duration = Duration::from_millis(500);
/// Resident bytes beyond which a process is not used again.
const MAX_RESIDENT: u64 = 256 << 20;
/// Requests after which a process is not used again: what leaks by then is little.
const MAX_SERVED: u32 = 5_000;
/// How often its memory is looked at, in requests.
const LOOK_EVERY: u32 = 16;

/// What ended a judge process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Memory,
    CpuTime,
    Stack,
    WallTime,
    /// None that we know: a signal from elsewhere, an answer that is none.
    Unknown(String),
}

impl fmt::Display for Limit {
    /// Completes "stopped: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => write!(f, "it reached the limit of memory ({} MiB)", MEMORY >> 20),
            Self::CpuTime => write!(f, "it reached the limit of CPU time ({} s)", CPU.as_secs()),
            Self::Stack => write!(f, "it reached the limit of the stack ({} MiB)", STACK >> 20),
            Self::WallTime => write!(f, "it reached the limit of wall time ({} s)", WALL.as_secs()),
            Self::Unknown(what) => write!(f, "the process that judged it {what}"),
        }
    }
}

impl Limit {
    /// Whether it is the control at work that did it: its own budget is spent. Memory may have been
    /// taken by an earlier control.
    pub(crate) fn is_sure(&self) -> bool {
        matches!(self, Self::CpuTime | Self::Stack | Self::WallTime)
    }
}

/// The thread that starts processes. The system kills them when it ends: with the pool, or with this
/// process, however that ends. (A thread of tokio's would not do: it may end while the pool lives.)
#[derive(Debug)]
pub(crate) struct Starter(mpsc::Sender<oneshot::Sender<io::Result<Child>>>);

impl Starter {
    /// # Errors
    /// The thread cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn new(program: &Path) -> io::Result<Self> {
        let (wanted, wishes) = mpsc::channel::<oneshot::Sender<io::Result<Child>>>();
        let (runtime, program) = (tokio::runtime::Handle::current(), program.to_owned());
        thread::Builder::new().name("judge-starter".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            for wish in wishes {
                // If nobody waits any more, dropping the process kills it.
                let _ = wish.send(command(&program).spawn());
            }
        })?;
        Ok(Self(wanted))
    }

    async fn start(&self) -> io::Result<Child> {
        let (wish, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts judge processes is gone");
        self.0.send(wish).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("judge-process")
        .env_clear()
        // Without it the parser records a backtrace for every step back.
        .env("RUST_LIB_BACKTRACE", "0")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own: Ctrl-C in a terminal is for the parent, and priority is set per group.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// A judge process that stands. Dropped: killed.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Read, not yet taken.
    buffer: BytesMut,
    /// Of the bundle it has loaded.
    pub(crate) digest: String,
    /// Why its system calls are not filtered.
    pub(crate) unfiltered: Option<String>,
    pub(crate) slowed: bool,
    served: u32,
    /// CPU time it had used when the last question was put.
    used_before: Option<Duration>,
}

impl Worker {
    /// Starts a process, slowed down or not, and has it load the bundle.
    ///
    /// # Errors
    /// It cannot be started, says something else than that it stands, or cannot load the bundle.
    pub(crate) async fn start(starter: &Starter, bundle: &Bundle, slow: bool) -> Result<Self, String> {
        let mut child = starter.start().await.map_err(|e| format!("no judge process can be started: {e}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no judge process can be started: no pipes".to_owned());
        };
        let mut worker = Self {
            child,
            stdin,
            stdout,
            buffer: BytesMut::new(),
            digest: String::new(),
            unfiltered: None,
            slowed: false,
            served: 0,
            used_before: None,
        };
        if slow {
            worker.slow_down();
        }
        match worker.set_up(bundle).await {
            Ok(()) => Ok(worker),
            Err(Trouble::Said(why)) => Err(format!("a judge process cannot load the policies: {why}")),
            Err(Trouble::Ended(hint)) => {
                Err(format!("a judge process does not start: {}", worker.end(hint).await))
            }
            Err(Trouble::TooSlow) => Err("a judge process does not start in time".to_owned()),
        }
    }

    async fn set_up(&mut self, bundle: &Bundle) -> Result<(), Trouble> {
        let until = Instant::now() + START_WALL;
        match self.answer(until).await? {
            Answer::Hello(filtered) => self.unfiltered = filtered.err(),
            _ => return Err(nonsense()),
        }
        let frame = wire::load(&bundle.archive()).map_err(|e| Trouble::Said(e.to_string()))?;
        self.ask(&frame).await?;
        match self.answer(until).await? {
            Answer::Loaded(Ok(digest)) if digest == bundle.digest() => self.digest = digest,
            Answer::Loaded(Err(why)) => return Err(Trouble::Said(why)),
            _ => return Err(nonsense()),
        }
        Ok(())
    }

    /// Sends a frame.
    pub(crate) async fn ask(&mut self, frame: &[u8]) -> Result<(), Trouble> {
        self.used_before = self.used();
        match timeout(WALL, self.stdin.write_all(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Trouble::Ended(None)),
            Err(_) => Err(Trouble::Ended(Some(Limit::WallTime))),
        }
    }

    /// The next answer, or `Ended(WallTime)` if there is none by then. Nothing is lost by asking again.
    pub(crate) async fn answer(&mut self, until: Instant) -> Result<Answer, Trouble> {
        loop {
            if let Some(answer) = wire::take_answer(&mut self.buffer).map_err(|_| nonsense())? {
                return Ok(answer);
            }
            match timeout_at(until, self.stdout.read_buf(&mut self.buffer)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Err(Trouble::Ended(None)),
                Err(_) => return Err(Trouble::Ended(Some(Limit::WallTime))),
            }
        }
    }

    /// Lets others go first: a quarter of a turn while all cores are busy, not less, because the engine
    /// measures its 5 s by the wall clock. It cannot be taken back.
    pub(crate) fn slow_down(&mut self) {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let (false, Some(group)) = (self.slowed, pid) {
            // It may have ended.
            let _ = rustix::process::setpriority_pgrp(Some(group), 5);
        }
        self.slowed = true;
    }

    /// Waits until it has cleared up after the last answer, not for long.
    pub(crate) async fn is_done(&mut self) -> bool {
        matches!(self.answer(Instant::now() + CLEAR_UP).await, Ok(Answer::Done))
    }

    /// Whether it may serve again.
    pub(crate) fn is_good(&mut self) -> bool {
        self.served += 1;
        let looked_at = !self.served.is_multiple_of(LOOK_EVERY) && self.served > 1;
        self.buffer.is_empty()
            && self.served < MAX_SERVED
            && (looked_at || self.resident().is_none_or(|bytes| bytes < MAX_RESIDENT))
    }

    /// CPU time of the question it works on, where the system says so. On a busy machine that is much
    /// less than the time that went by.
    pub(crate) fn working_for(&self) -> Option<Duration> {
        self.used()?.checked_sub(self.used_before?)
    }

    fn used(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // Behind the name, which may hold anything: user and system time are the 12th and 13th.
        let mut times = text.rsplit_once(") ")?.1.split(' ').skip(11).map_while(|n| n.parse::<u64>().ok());
        let ticks = times.next()? + times.next()?;
        Some(Duration::from_millis(ticks * 10))
    }

    /// Bytes of memory it holds, where the system says so.
    fn resident(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    }

    /// Kills what is left of it and says what ended it.
    pub(crate) async fn end(mut self, hint: Option<Limit>) -> Limit {
        if hint.is_none() {
            // Its pipe is closed: it is ending by itself, and how it does is what we want to know.
            let _ = timeout(Duration::from_secs(5), self.child.wait()).await;
        }
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = timeout(Duration::from_secs(1), stderr.take(4096).read_to_end(&mut said)).await;
        }
        hint.unwrap_or_else(|| match status {
            Ok(status) => diagnose(status, &String::from_utf8_lossy(&said)),
            Err(e) => Limit::Unknown(format!("is gone: {e}")),
        })
    }
}

/// Why a worker gave no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is no good any more; what we know of why.
    Ended(Option<Limit>),
    /// It answers, and says that it cannot.
    Said(String),
    /// It works and takes too long for its lane.
    TooSlow,
}

pub(crate) fn nonsense() -> Trouble {
    Trouble::Ended(Some(Limit::Unknown("answered nonsense".to_owned())))
}

/// Rust's runtime says in one line why it aborts.
fn diagnose(status: ExitStatus, said: &str) -> Limit {
    use rustix::process::Signal;
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal();
    if said.contains("memory allocation of") {
        Limit::Memory
    } else if said.contains("has overflowed its stack") {
        Limit::Stack
    } else if signal == Some(Signal::XCPU.as_raw()) {
        Limit::CpuTime
    } else if signal == Some(Signal::KILL.as_raw()) {
        // Not by us: the machine ran out of memory.
        Limit::Memory
    } else {
        Limit::Unknown(format!("ended ({status})"))
    }
}
