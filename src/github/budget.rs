//! GitHub's secondary limits, obeyed before they are hit: what does not fit waits in a queue.
//!
//! Rules: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>.
//! Going on regardless may get an App banned. Each installation has limits of its own. A call counts from when
//! it is sent until a minute (or an hour) after its answer, so that no minute of GitHub's own clock holds more,
//! whatever the way took.
//!
//! Who waits is served fairly between repositories: the one that was not served for the longest time is next,
//! and of it what is newest. A repository that floods GitHub waits for itself. Whoever waits here while it
//! judges gives up its place meanwhile: see [`super::behalf`].
//!
//! Before all of them comes what takes a green away, and where a minute or an hour is full for the others there
//! is a little room left for it: whoever floods GitHub must not keep a check green that is denied.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    behalf::{Lane, aside},
    call::As,
    told,
};

const MINUTE: Duration = Duration::from_secs(60);

/// An hour has so many minutes, where tests let them pass faster too.
const MINUTES: u32 = 60;

/// Repositories whose turn is remembered.
const MOST_SERVED: usize = 10_000;

/// What is limited, for each installation by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Limit {
    /// Of REST: reading costs 1, writing 5.
    Points,
    /// Of GraphQL: a query costs 1.
    GraphQlPoints,
    /// Content: whatever people see, such as check runs. GitHub does not say which calls are meant, so every
    /// one that changes something counts.
    Writes,
    /// Calls under way, of REST and GraphQL together.
    Calls,
    /// Judgements begun. No limit of GitHub's: what has begun holds its payload in memory while it waits.
    Judgements,
}

/// How long a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Minute,
    Hour,
    /// While it is under way.
    AtOnce,
}

/// So much within a window.
#[derive(Clone, Copy, Debug)]
struct Bound {
    window: Window,
    /// Of [`Window::AtOnce`]: none.
    lasts: Duration,
    most: u32,
    /// So much more, for what is urgent.
    urgent: u32,
}

impl Bound {
    fn most(&self, urgent: bool) -> u32 {
        self.most + if urgent { self.urgent } else { 0 }
    }
}

/// Windows and what fits into them. Tests let the time pass faster, and fill it sooner.
#[derive(Clone, Copy, Debug)]
struct Scale {
    minute: Duration,
    hour: Duration,
    graphql: u32,
    writes: u32,
    writes_in_hour: u32,
}

impl Scale {
    /// GitHub allows 2,000 points of GraphQL and 80 writes in a minute, and 500 in an hour; a tenth is left to whatever else uses the App,
    /// such as `gatelog doctor`, which writes nothing: half of that tenth is for writes that are urgent.
    fn new() -> Self {
        let ms = |name| Some(Duration::from_millis(told(name)?.parse().ok()?));
        let minute = ms("budget::minute").unwrap_or(MINUTE);
        let hour = ms("budget::hour").unwrap_or(minute * MINUTES);
        let graphql = told("budget::graphql").and_then(|most| most.parse().ok()).unwrap_or(1_800);
        let writes = told("budget::writes").and_then(|most| {
            most.split_once('/').and_then(|(m, h)| Some((m.parse().ok()?, h.parse().ok()?)))
        });
        let (writes, writes_in_hour) = writes.unwrap_or((72, 450));
        Self { minute, hour, graphql, writes, writes_in_hour }
    }

    fn bounds(&self, limit: Limit) -> Vec<Bound> {
        let minute = |most| Bound { window: Window::Minute, lasts: self.minute, most, urgent: 0 };
        let at_once = |most| Bound { window: Window::AtOnce, lasts: Duration::ZERO, most, urgent: 0 };
        match limit {
            // GitHub: 900.
            Limit::Points => vec![minute(810)],
            Limit::GraphQlPoints => vec![minute(self.graphql)],
            // GitHub: 100.
            Limit::Calls => vec![at_once(90)],
            Limit::Judgements => vec![at_once(256)],
            Limit::Writes => {
                // 72 of 80 and 4 more, 450 of 500 and 25 more.
                let urgent = |most: u32| most.div_ceil(18);
                let (minute, most) = (minute(self.writes), self.writes_in_hour);
                let hour = Bound { window: Window::Hour, lasts: self.hour, most, urgent: urgent(most) };
                vec![Bound { urgent: urgent(self.writes), ..minute }, hour]
            }
        }
    }
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::GraphQlPoints => "graphql_points",
            Self::Writes => "writes",
            Self::Calls => "calls",
            Self::Judgements => "judgements",
        }
    }

    /// The most that one repository may have under way, so that one alone never has all.
    fn of_one(self) -> u32 {
        match self {
            Self::Judgements => 64,
            _ => u32::MAX,
        }
    }

    /// Holds where GitHub has no limits, too.
    fn is_ours(self) -> bool {
        matches!(self, Self::Calls | Self::Judgements)
    }
}

/// The queues of all installations.
pub(super) struct Budget {
    /// `false`: GitHub has no limits.
    on: bool,
    scale: Scale,
    queues: Mutex<HashMap<(As, Limit), Arc<Queue>>>,
}

/// How full a queue is.
#[derive(Clone, Debug)]
pub struct BudgetUse {
    /// `None`: the app itself.
    pub installation: Option<u64>,
    /// `points`, `graphql_points`, `writes`, `calls` or `judgements`.
    pub limit: &'static str,
    pub window: Window,
    /// In the last minute or hour, or now.
    pub used: u32,
    pub waiting: usize,
}

impl Budget {
    pub(super) fn new(on: bool) -> Self {
        Self { on, scale: Scale::new(), queues: Mutex::default() }
    }

    /// Waits for room. `lane` is who is served, `newest` which of its own comes first.
    pub(super) async fn turn(&self, who: As, limit: Limit, cost: u32, lane: Lane, newest: u64) -> Turn {
        self.turn_in(who, limit, cost, lane, Rank { urgent: false, newest }).await
    }

    /// The same before all that is not urgent, of whatever repository, and with the room that is kept for it.
    pub(super) async fn urgent_turn(&self, who: As, limit: Limit, lane: Lane, newest: u64) -> Turn {
        self.turn_in(who, limit, 1, lane, Rank { urgent: true, newest }).await
    }

    async fn turn_in(&self, who: As, limit: Limit, cost: u32, lane: Lane, rank: Rank) -> Turn {
        let Some(queue) = self.queue(who, limit) else { return Turn::free() };
        let (wake, mut woken) = oneshot::channel();
        queue.lock().wait(lane, rank, Waiter { cost, wake });
        queue.serve();
        if let Ok(turn) = woken.try_recv() {
            return turn;
        }
        // The queue lives as long as we do, and wakes whoever waits.
        aside(woken).await.unwrap_or_else(|_| Turn::free())
    }

    /// A turn at once, before all who wait, or none.
    pub(super) fn at_once(&self, who: As, limit: Limit, cost: u32, lane: Lane) -> Option<Turn> {
        let Some(queue) = self.queue(who, limit) else { return Some(Turn::free()) };
        let mut state = queue.lock();
        if state.is_full(&queue.bounds, &Next { lane, cost, urgent: false }).is_some() {
            return None;
        }
        state.begin(lane, cost);
        drop(state);
        Some(Turn { queue: Some(queue), lane, cost, used: false })
    }

    pub(super) fn writes_in_a_minute(&self) -> u32 {
        self.scale.writes
    }

    /// A turn at once if nobody waits and less than half of the minute, and of the hour, is used: for what may
    /// as well not happen.
    pub(super) fn spare(&self, who: As, limit: Limit, lane: Lane) -> Option<Turn> {
        let Some(queue) = self.queue(who, limit) else { return Some(Turn::free()) };
        let mut state = queue.lock();
        let plenty = |(i, bound): (usize, &Bound)| state.used(i, bound) < bound.most / 2;
        let spare = queue.bounds.iter().enumerate().all(plenty) && state.next(queue.of_one).is_none();
        if !spare {
            return None;
        }
        state.begin(lane, 1);
        drop(state);
        Some(Turn { queue: Some(queue), lane, cost: 1, used: false })
    }

    /// What a process before this one used, so long ago; oldest first.
    pub(super) fn used_before(&self, who: As, limit: Limit, cost: u32, ago: Duration) {
        let Some(queue) = self.queue(who, limit) else { return };
        let now = Instant::now();
        queue.lock().end(&queue.bounds, now.checked_sub(ago).unwrap_or(now), cost);
    }

    /// What may have been under way when a process before this one ended: no more than fits into a minute.
    pub(super) fn under_way_before(&self, who: As, writes: usize) {
        for _ in 0..writes.min(self.scale.writes as usize) {
            self.used_before(who, Limit::Writes, 1, Duration::ZERO);
            self.used_before(who, Limit::Points, 5, Duration::ZERO);
        }
    }

    pub(super) fn usage(&self) -> Vec<BudgetUse> {
        let queues = lock(&self.queues);
        let mut all = Vec::new();
        for ((who, limit), queue) in queues.iter() {
            let mut state = queue.lock();
            let installation = match who {
                As::App => None,
                As::Installation(id) => Some(*id),
            };
            let waiting = state.live();
            for (i, bound) in queue.bounds.iter().enumerate() {
                let used = state.used(i, bound);
                all.push(BudgetUse {
                    installation,
                    limit: limit.name(),
                    window: bound.window,
                    used,
                    waiting,
                });
            }
        }
        all
    }

    fn queue(&self, who: As, limit: Limit) -> Option<Arc<Queue>> {
        if !self.on && !limit.is_ours() {
            return None;
        }
        let new = || {
            let bounds = self.scale.bounds(limit);
            let state = Mutex::new(State::new(bounds.len()));
            Arc::new(Queue { bounds, of_one: limit.of_one(), state })
        };
        Some(lock(&self.queues).entry((who, limit)).or_insert_with(new).clone())
    }
}

#[derive(Debug)]
struct Queue {
    bounds: Vec<Bound>,
    of_one: u32,
    state: Mutex<State>,
}

/// What comes first within a repository: the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    urgent: bool,
    newest: u64,
}

/// The greatest rank first, and then who came first.
type Place = (Reverse<Rank>, u64);

/// Whose turn it would be.
struct Next {
    lane: Lane,
    cost: u32,
    urgent: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Cost of what was given and is not done.
    in_flight: u32,
    /// The same of each repository.
    running: HashMap<Lane, u32>,
    /// For each bound.
    done: Vec<Done>,
    waiting: BTreeMap<Lane, BTreeMap<Place, Waiter>>,
    /// How many ever waited.
    came: u64,
    /// When a repository was served last, in turns.
    served: HashMap<Lane, u64>,
    turns: u64,
    /// Somebody looks again then.
    alarm: Option<Instant>,
}

/// When something was done, and its cost; oldest first, and in all.
#[derive(Debug, Default)]
struct Done {
    times: VecDeque<(Instant, u32)>,
    sum: u32,
}

#[derive(Debug)]
struct Waiter {
    cost: u32,
    wake: oneshot::Sender<Turn>,
}

impl State {
    fn new(bounds: usize) -> Self {
        Self { done: (0..bounds).map(|_| Done::default()).collect(), ..Self::default() }
    }

    /// Of the bound with this number.
    fn used(&mut self, nth: usize, bound: &Bound) -> u32 {
        let Some(done) = self.done.get_mut(nth) else { return self.in_flight };
        let now = Instant::now();
        while let Some((_, cost)) = done.times.pop_front_if(|(at, _)| now.duration_since(*at) >= bound.lasts)
        {
            done.sum -= cost;
        }
        self.in_flight + done.sum
    }

    /// `None`: it fits. Otherwise when there may be room, unless that hangs on what is under way.
    fn is_full(&mut self, bounds: &[Bound], next: &Next) -> Option<Option<Instant>> {
        let mut full = None;
        for (i, bound) in bounds.iter().enumerate() {
            if self.used(i, bound) + next.cost > bound.most(next.urgent) {
                let ends = self.done.get(i).and_then(|d| d.times.front()).map(|(at, _)| *at + bound.lasts);
                full = Some(ends.max(full.flatten()));
            }
        }
        full
    }

    fn wait(&mut self, lane: Lane, rank: Rank, waiter: Waiter) {
        self.came += 1;
        self.waiting.entry(lane).or_default().insert((Reverse(rank), self.came), waiter);
    }

    /// Whoever waits and still does.
    fn live(&self) -> usize {
        self.waiting.values().flat_map(BTreeMap::values).filter(|w| !w.wake.is_closed()).count()
    }

    /// What is urgent before the rest; then the repository that was not served for the longest time; of two
    /// alike, whose newest comes first.
    fn next(&mut self, of_one: u32) -> Option<Next> {
        // Who does not wait any more: the task was ended.
        for waiters in self.waiting.values_mut() {
            while waiters.first_key_value().is_some_and(|(_, w)| w.wake.is_closed()) {
                waiters.pop_first();
            }
        }
        self.waiting.retain(|_, waiters| !waiters.is_empty());
        let (served, running) = (&self.served, &self.running);
        let may = |lane: &Lane| running.get(lane).copied().unwrap_or(0) < of_one;
        let firsts = self.waiting.iter().filter(|(lane, _)| may(lane));
        let firsts = firsts.filter_map(|(lane, waiters)| Some((lane, waiters.first_key_value()?)));
        let last = |lane: &Lane| served.get(lane).copied().unwrap_or(0);
        let (lane, (place, waiter)) =
            firsts.min_by_key(|(lane, (place, _))| (Reverse(place.0.0.urgent), last(lane), **place))?;
        Some(Next { lane: *lane, cost: waiter.cost, urgent: place.0.0.urgent })
    }

    fn take(&mut self, lane: Lane) -> Option<Waiter> {
        self.waiting.get_mut(&lane)?.pop_first().map(|(_, waiter)| waiter)
    }

    fn begin(&mut self, lane: Lane, cost: u32) {
        self.in_flight += cost;
        *self.running.entry(lane).or_default() += cost;
    }

    fn served(&mut self, lane: Lane) {
        self.turns += 1;
        if self.served.len() >= MOST_SERVED {
            self.served.clear();
        }
        self.served.insert(lane, self.turns);
    }

    fn give_back(&mut self, lane: Lane, cost: u32) {
        self.in_flight = self.in_flight.saturating_sub(cost);
        if let Some(running) = self.running.get_mut(&lane) {
            *running = running.saturating_sub(cost);
            if *running == 0 {
                self.running.remove(&lane);
            }
        }
    }

    fn end(&mut self, bounds: &[Bound], at: Instant, cost: u32) {
        for (bound, done) in bounds.iter().zip(&mut self.done) {
            if bound.window != Window::AtOnce {
                done.times.push_back((at, cost));
                done.sum += cost;
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives turns while there is room, and looks again when there is more.
    fn serve(self: &Arc<Self>) {
        let mut given = Vec::new();
        let mut more_at = None;
        let mut state = self.lock();
        while let Some(next) = state.next(self.of_one) {
            if let Some(ends) = state.is_full(&self.bounds, &next) {
                more_at = ends;
                break;
            }
            let Next { lane, cost, .. } = next;
            let Some(waiter) = state.take(lane) else { break };
            state.begin(lane, cost);
            state.served(lane);
            given.push((waiter.wake, lane, cost));
        }
        let now = Instant::now();
        let unwatched = |at: &Instant| state.alarm.is_none_or(|alarm| alarm <= now || alarm > *at);
        let alarm = more_at.filter(unwatched);
        if alarm.is_some() {
            state.alarm = alarm;
        }
        drop(state);
        if let (Some(at), Ok(runtime)) = (alarm, tokio::runtime::Handle::try_current()) {
            let queue = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep_until(at).await;
                queue.serve();
            });
        }
        // Not under the lock: who does not wait any more gives the turn back at once.
        for (wake, lane, cost) in given {
            let _ = wake.send(Turn { queue: Some(self.clone()), lane, cost, used: false });
        }
    }
}

/// Room in what is limited. Dropped, it is counted if it was used, and else given back.
#[derive(Debug)]
pub struct Turn {
    queue: Option<Arc<Queue>>,
    lane: Lane,
    cost: u32,
    used: bool,
}

impl Turn {
    fn free() -> Self {
        Self { queue: None, lane: Lane::default(), cost: 0, used: true }
    }

    /// The call is made now.
    pub(super) fn begin(&mut self) {
        self.used = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let mut state = queue.lock();
        state.give_back(self.lane, self.cost);
        if self.used {
            state.end(&queue.bounds, Instant::now(), self.cost);
        }
        drop(state);
        queue.serve();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and lists that are whole between any two lines.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
