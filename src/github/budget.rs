//! GitHub's secondary limits, obeyed before they are hit: what does not fit into the minute waits in a queue.
//!
//! Rules: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>.
//! Going on regardless may get an App banned. A call is in the minute from when it is sent until a minute after
//! its answer, so that no minute of GitHub's own clock holds more, whatever the way took.
//!
//! Who waits is served fairly between repositories: the one that was not served for the longest time is next,
//! and of it what is newest. A repository that floods GitHub waits for itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::call::As;

/// One minute, in which the limits hold.
const MINUTE: Duration = Duration::from_secs(60);

/// Repositories whose turn is remembered.
const MOST_SERVED: usize = 10_000;

/// What is limited, for each installation by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Limit {
    /// Of REST: reading costs 1, writing 5.
    Points,
    /// Of GraphQL: a query costs 1.
    GraphQlPoints,
    /// Content: whatever people see, such as check runs.
    Writes,
}

impl Limit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::GraphQlPoints => "graphql_points",
            Self::Writes => "writes",
        }
    }

    /// In a minute. GitHub allows 900, 2,000 and 80; a tenth is left to whatever else uses the App, such as
    /// `gatelog doctor`.
    fn most(self) -> u32 {
        match self {
            Self::Points => 810,
            Self::GraphQlPoints => 1_800,
            Self::Writes => 72,
        }
    }
}

/// The queues of all installations.
pub(super) struct Budget {
    /// `false`: nothing is limited.
    on: bool,
    minute: Duration,
    queues: Mutex<HashMap<(As, Limit), Arc<Queue>>>,
}

/// How full a queue is.
#[derive(Clone, Debug)]
pub struct BudgetUse {
    /// `None`: the app itself.
    pub installation: Option<u64>,
    /// `points`, `graphql_points` or `writes`.
    pub limit: &'static str,
    /// In the last minute.
    pub used: u32,
    pub waiting: usize,
}

impl Budget {
    pub(super) fn new(on: bool) -> Self {
        Self { on, minute: minute(), queues: Mutex::default() }
    }

    /// Waits for room. `repository` is who is served, `newest` which of its own comes first.
    pub(super) async fn turn(&self, who: As, limit: Limit, cost: u32, repository: u64, newest: u64) -> Turn {
        let Some(queue) = self.queue(who, limit) else { return Turn::free() };
        let (wake, woken) = oneshot::channel();
        queue.lock().wait(Waiter { repository, newest, cost, wake });
        queue.serve();
        // The queue lives as long as we do, and wakes whoever waits.
        woken.await.unwrap_or_else(|_| Turn::free())
    }

    /// A turn at once if nobody waits and less than half of the minute is used: for what may as well not
    /// happen.
    pub(super) fn spare(&self, who: As, limit: Limit) -> Option<Turn> {
        let Some(queue) = self.queue(who, limit) else { return Some(Turn::free()) };
        let mut state = queue.lock();
        let spare = state.waiting.is_empty() && state.used(queue.minute) < queue.most / 2;
        if !spare {
            return None;
        }
        state.in_flight += 1;
        drop(state);
        Some(Turn { queue: Some(queue), cost: 1, used: false })
    }

    /// What a process before this one used, so long ago.
    pub(super) fn used_before(&self, who: As, limit: Limit, ago: Duration) {
        let (Some(queue), Some(at)) = (self.queue(who, limit), Instant::now().checked_sub(ago)) else {
            return;
        };
        queue.lock().done.push_back((at, 1));
    }

    pub(super) fn usage(&self) -> Vec<BudgetUse> {
        let queues = lock(&self.queues);
        let one = |((who, limit), queue): (&(As, Limit), &Arc<Queue>)| {
            let mut state = queue.lock();
            let installation = match who {
                As::App => None,
                As::Installation(id) => Some(*id),
            };
            let used = state.used(queue.minute);
            BudgetUse { installation, limit: limit.name(), used, waiting: state.waiting.len() }
        };
        queues.iter().map(one).collect()
    }

    fn queue(&self, who: As, limit: Limit) -> Option<Arc<Queue>> {
        if !self.on {
            return None;
        }
        let new = || Arc::new(Queue { most: limit.most(), minute: self.minute, state: Mutex::default() });
        Some(lock(&self.queues).entry((who, limit)).or_insert_with(new).clone())
    }
}

/// Tests let it pass faster.
fn minute() -> Duration {
    fail::fail_point!("budget::minute", |ms: Option<String>| ms
        .and_then(|ms| ms.parse().ok())
        .map_or(MINUTE, Duration::from_millis));
    MINUTE
}

#[derive(Debug)]
struct Queue {
    most: u32,
    minute: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Cost of what was given and is not done.
    in_flight: u32,
    /// When something was done, and its cost; oldest first.
    done: VecDeque<(Instant, u32)>,
    waiting: Vec<Waiter>,
    /// Repository → when it was served last, in turns.
    served: HashMap<u64, u64>,
    turns: u64,
    /// Somebody looks again then.
    alarm: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    repository: u64,
    newest: u64,
    cost: u32,
    wake: oneshot::Sender<Turn>,
}

impl State {
    fn used(&mut self, minute: Duration) -> u32 {
        let now = Instant::now();
        while self.done.front().is_some_and(|(at, _)| now.duration_since(*at) >= minute) {
            self.done.pop_front();
        }
        self.in_flight + self.done.iter().map(|(_, cost)| cost).sum::<u32>()
    }

    fn wait(&mut self, waiter: Waiter) {
        self.waiting.push(waiter);
    }

    /// Of the repository that was not served for the longest time the newest; of two alike, who came first.
    fn next(&self) -> Option<usize> {
        let last = |w: &Waiter| self.served.get(&w.repository).copied().unwrap_or(0);
        let order = |(i, w): &(usize, &Waiter)| (last(w), std::cmp::Reverse(w.newest), *i);
        self.waiting.iter().enumerate().min_by_key(order).map(|(i, _)| i)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives turns while there is room, and looks again when there is more.
    fn serve(self: &Arc<Self>) {
        let mut given = Vec::new();
        let mut state = self.lock();
        // Who does not wait any more: the task was ended.
        state.waiting.retain(|w| !w.wake.is_closed());
        while let Some(next) = state.next() {
            let cost = state.waiting.get(next).map_or(0, |w| w.cost);
            if state.used(self.minute) + cost > self.most {
                break;
            }
            let waiter = state.waiting.remove(next);
            state.in_flight += cost;
            state.turns += 1;
            let turns = state.turns;
            if state.served.len() >= MOST_SERVED {
                state.served.clear();
            }
            state.served.insert(waiter.repository, turns);
            given.push((waiter.wake, cost));
        }
        let now = Instant::now();
        let more_at =
            state.done.front().map(|(at, _)| *at + self.minute).filter(|_| !state.waiting.is_empty());
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
        for (wake, cost) in given {
            let _ = wake.send(Turn { queue: Some(self.clone()), cost, used: false });
        }
    }
}

/// Room in the minute. Dropped, it is counted if it was used, and else given back.
#[derive(Debug)]
pub struct Turn {
    queue: Option<Arc<Queue>>,
    cost: u32,
    used: bool,
}

impl Turn {
    fn free() -> Self {
        Self { queue: None, cost: 0, used: true }
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
        state.in_flight = state.in_flight.saturating_sub(self.cost);
        if self.used {
            state.done.push_back((Instant::now(), self.cost));
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
mod tests {
    use super::*;

    const WHO: As = As::Installation(7);

    /// Long enough that a busy machine does not matter much.
    const SHORT: Duration = Duration::from_millis(400);

    fn budget() -> Budget {
        Budget { minute: SHORT, ..Budget::new(true) }
    }

    async fn used(budget: &Budget, limit: Limit, cost: u32) {
        budget.turn(WHO, limit, cost, 1, 0).await.begin();
    }

    #[tokio::test]
    async fn no_minute_holds_more_than_the_limit() {
        let (budget, begun) = (budget(), Instant::now());
        let mut times = Vec::new();
        for n in 0..200_u64 {
            let mut turn = budget.turn(WHO, Limit::Writes, 1, n % 5, n).await;
            turn.begin();
            times.push(begun.elapsed());
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        for (i, at) in times.iter().enumerate() {
            let within = times[i..].iter().filter(|t| **t < *at + SHORT).count();
            assert!(within <= 72, "{within} from {at:?}");
        }
        assert!(times[199] >= 2 * SHORT, "{:?}", times[199]);
    }

    #[tokio::test]
    async fn what_is_under_way_counts_until_a_minute_after_its_answer() {
        let budget = budget();
        let mut slow = budget.turn(WHO, Limit::Writes, 72, 1, 0).await;
        slow.begin();
        tokio::time::sleep(2 * SHORT).await;
        assert!(budget.spare(WHO, Limit::Writes).is_none());
        let begun = Instant::now();
        drop(slow);
        used(&budget, Limit::Writes, 1).await;
        assert!(begun.elapsed() >= SHORT);
        // What was not used after all is free at once.
        drop(budget.turn(WHO, Limit::GraphQlPoints, 1_800, 1, 0).await);
        assert_eq!(budget.turn(WHO, Limit::GraphQlPoints, 1_800, 1, 0).await.cost, 1_800);
        assert!(begun.elapsed() < 2 * SHORT);
    }

    #[tokio::test]
    async fn repositories_take_turns_and_the_newest_comes_first() {
        let budget = Arc::new(budget());
        used(&budget, Limit::Writes, 72).await;
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        // One repository floods, two want little.
        for (repository, newest) in [(1, 10), (1, 13), (1, 11), (1, 12), (2, 3), (3, 1), (3, 2)] {
            let (budget, served) = (budget.clone(), served.clone());
            all.push(tokio::spawn(async move {
                let mut turn = budget.turn(WHO, Limit::Writes, 72, repository, newest).await;
                turn.begin();
                lock(&served).push((repository, newest));
            }));
            tokio::task::yield_now().await;
        }
        for one in all {
            one.await.unwrap();
        }
        // Repository 1 was served last, so the others come before it.
        let wanted = [(2, 3), (3, 2), (1, 13), (3, 1), (1, 12), (1, 11), (1, 10)];
        assert_eq!(*lock(&served), wanted);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_nothing() {
        let budget = budget();
        used(&budget, Limit::Writes, 72).await;
        for _ in 0..50 {
            let gone = tokio::time::timeout(Duration::from_millis(1), used(&budget, Limit::Writes, 72)).await;
            assert!(gone.is_err());
        }
        let begun = Instant::now();
        used(&budget, Limit::Writes, 72).await;
        assert!(begun.elapsed() < 2 * SHORT);
        let usage = budget.usage();
        assert_eq!((usage.len(), usage[0].used, usage[0].waiting, usage[0].limit), (1, 72, 0, "writes"));
    }

    #[tokio::test]
    async fn a_spare_turn_takes_nothing_from_those_who_need_one() {
        let budget = Budget::new(true);
        assert!(budget.spare(WHO, Limit::Writes).is_some());
        used(&budget, Limit::Writes, 36).await;
        assert!(budget.spare(WHO, Limit::Writes).is_none());
        assert!(budget.spare(As::Installation(8), Limit::Writes).is_some(), "each has its own");
        let off = Budget::new(false);
        for _ in 0..1_000 {
            used(&off, Limit::Writes, 72).await;
        }
        assert!(off.usage().is_empty());
    }

    #[tokio::test]
    async fn what_the_process_before_wrote_still_counts() {
        let budget = budget();
        (0..72).for_each(|_| budget.used_before(WHO, Limit::Writes, SHORT / 2));
        let begun = Instant::now();
        used(&budget, Limit::Writes, 1).await;
        assert!(begun.elapsed() >= SHORT / 2 - Duration::from_millis(1) && begun.elapsed() < SHORT);
    }
}
