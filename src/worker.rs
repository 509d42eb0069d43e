//! Order per subject, many subjects at once.
//!
//! Events of one pull request (or one ref) are judged in the order they came, in a lane of their
//! own; lanes run side by side. "Look again" events that arrive while their pull request is being
//! judged are judged once more, together. There is no debounce timer: an idle lane judges at once.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use crate::{
    event::{Lane, is_look_again, lane},
    gate::{Gate, Item, Later},
    github::in_place,
};

/// Judgements at work at once, of all installations. One that waits for GitHub's limits does not count: others
/// have its place. How many have begun is limited for each installation, fairly between its repositories, by
/// [`Gate::turn_to_judge`].
const AT_ONCE: usize = 32;

/// Before an event is judged anew whose judging panicked.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

type Lanes = Arc<Mutex<HashMap<Key, VecDeque<Item>>>>;

/// What is judged in order. An event that shares its lane with none has one of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Shared(Lane),
    Own(u64),
}

impl Key {
    fn of(item: &Item) -> Self {
        match item.event.as_deref().map(lane) {
            Some(Lane::Own) | None => Self::Own(item.seq),
            Some(shared) => Self::Shared(shared),
        }
    }
}

/// Judges what comes through `work` until `stop` turns true or the channel closes, then finishes
/// what is in hand. What it leaves is in the ledger and is found again at the next start.
pub async fn run(gate: Gate, mut work: mpsc::UnboundedReceiver<Item>, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let lanes = Lanes::default();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            Some(_) = running.join_next(), if !running.is_empty() => {}
            item = work.recv() => {
                let Some(item) = item else { break };
                if let Some(key) = enqueue(&lanes, item) {
                    let (gate, lanes, places, stop) = (gate.clone(), lanes.clone(), places.clone(), stop.clone());
                    running.spawn(run_lane(gate, key, lanes, places, stop));
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Puts an item in its lane; the lane's key if nobody runs it yet.
fn enqueue(lanes: &Lanes, item: Item) -> Option<Key> {
    let key = Key::of(&item);
    let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(queue) = lanes.get_mut(&key) {
        queue.push_back(item);
        return None;
    }
    lanes.insert(key.clone(), VecDeque::from([item]));
    Some(key)
}

async fn run_lane(
    gate: Gate,
    key: Key,
    lanes: Lanes,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut waiting = VecDeque::new();
    loop {
        let first = {
            let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
            collect(&mut lanes, &key, &mut waiting);
            match waiting.front() {
                Some(first) if !*stop.borrow() => first.clone(),
                _ => {
                    lanes.remove(&key);
                    return;
                }
            }
        };
        let begun = tokio::select! {
            begun = gate.turn_to_judge(&first) => begun,
            // It is found again at the next start.
            _ = stop.wait_for(|stopping| *stopping) => continue,
        };
        // It may have been long: what came meanwhile is judged together.
        collect(&mut lanes.lock().unwrap_or_else(PoisonError::into_inner), &key, &mut waiting);
        let turn = next_turn(&waiting);
        let (older, item) = (waiting.range(..turn).cloned().collect::<Vec<_>>(), waiting[turn].clone());
        let repository = item.event.as_deref().and_then(|e| e.repository.as_ref()).map(|r| &r.name);
        // A panic is a fault of ours. It must not end the lane: what comes after it would never be judged, and no
        // green of this pull request would ever go out. What it left half done is what a death leaves.
        let judged =
            AssertUnwindSafe(in_place(&places, repository, gate.judge(&item, &older))).catch_unwind();
        let judged = judged.await;
        drop(begun);
        match judged {
            Ok(Ok(())) => drop(waiting.drain(..=turn)),
            Ok(Err(Later { after })) => pause(after, &mut stop).await,
            Err(_) => {
                gate.judging_panicked(&item);
                pause(AFTER_A_PANIC, &mut stop).await;
            }
        }
    }
}

/// Takes what came for a lane, in the ledger's order: two deliveries received at once may come here in another.
fn collect(lanes: &mut HashMap<Key, VecDeque<Item>>, key: &Key, waiting: &mut VecDeque<Item>) {
    if let Some(queue) = lanes.get_mut(key) {
        waiting.extend(queue.drain(..));
    }
    waiting.make_contiguous().sort_by_key(|item: &Item| item.seq);
}

/// Index of the item to judge now: the last of the "look again" items at the front of the lane,
/// which stands for those before it, or else the first item.
fn next_turn(waiting: &VecDeque<Item>) -> usize {
    let again = |item: &&Item| item.event.as_deref().is_some_and(is_look_again);
    waiting.iter().take_while(again).count().saturating_sub(1)
}

async fn pause(after: Duration, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(after) => {}
        _ = stop.wait_for(|stopping| *stopping) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{About, Event, PullRequestRef, Source},
        time::Time,
    };

    fn item(seq: u64, name: &str, action: &str, open: bool) -> Item {
        let pull = PullRequestRef { number: 1, open: Some(open), ..PullRequestRef::default() };
        let event = Event {
            name: name.into(),
            action: Some(action.into()),
            source: Source::Github,
            cause: None,
            installation: Some(1),
            organization: None,
            repository: None,
            sender: None,
            about: About::PullRequest(pull),
        };
        Item {
            seq,
            event: Some(Arc::new(event)),
            received_at: Time::from_unix_micros(0).unwrap(),
            guid: None,
            replayed: false,
            unreadable: false,
        }
    }

    fn turn(items: Vec<Item>) -> usize {
        next_turn(&items.into())
    }

    #[test]
    fn the_newest_look_again_stands_for_those_before_it() {
        assert_eq!(turn(vec![item(1, "pull_request", "opened", true)]), 0);
        let three = (1..=3).map(|n| item(n, "pull_request_review", "submitted", true)).collect();
        assert_eq!(turn(three), 2);
    }

    #[test]
    fn what_happens_once_is_judged_alone() {
        let labeled = || item(1, "pull_request", "labeled", true);
        let closed = || item(2, "pull_request", "closed", false);
        assert_eq!(turn(vec![labeled(), closed(), labeled()]), 0);
        assert_eq!(turn(vec![closed(), labeled()]), 0);
        assert_eq!(turn(vec![labeled(), labeled(), closed()]), 1);
    }
}
