//! Room for large payloads while they are judged: as JSON values, theirs and the engine's, many small things take up
//! to 45 times as much (measured).
//!
//! What is judged may wait for GitHub's limits, and its payload with it. So that an installation whose budget is used
//! up does not keep the others out, what it has there is never more than a quarter, but for a single payload that is
//! larger; and that one does not wait: it is tried again later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{Gate, Item, lock};
use crate::github;

/// Payloads of more bytes than this need room.
const LARGE: u64 = 256 << 10;

/// Bytes of large payloads that are judged at once: one of the largest.
const AT_ONCE: usize = 25 << 20;

/// The most of it that waits for one installation.
const QUARTER: usize = AT_ONCE / 4;

/// Bytes that are taken, and what each installation may have of them.
#[derive(Default)]
pub(super) struct Room {
    of_one: Mutex<HashMap<Option<u64>, Arc<Semaphore>>>,
    taken: Mutex<usize>,
    freed: Notify,
}

/// A part of the room, until it is dropped.
pub(super) struct Part<'r> {
    room: &'r Room,
    bytes: usize,
    _of_one: Option<OwnedSemaphorePermit>,
}

impl Room {
    async fn enter(&self, installation: Option<u64>, bytes: usize) -> Part<'_> {
        let bytes = bytes.min(AT_ONCE);
        let of_one = lock(&self.of_one)
            .entry(installation)
            .or_insert_with(|| Arc::new(Semaphore::new(QUARTER)))
            .clone();
        let own = u32::try_from(bytes.min(QUARTER)).unwrap_or(u32::MAX);
        // Never closed.
        let of_one = of_one.acquire_many_owned(own).await.ok();
        loop {
            // Before it is looked: what is freed from here on wakes.
            let freed = self.freed.notified();
            {
                let mut taken = lock(&self.taken);
                if *taken + bytes <= AT_ONCE {
                    *taken += bytes;
                    return Part { room: self, bytes, _of_one: of_one };
                }
            }
            freed.await;
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        *lock(&self.room.taken) -= self.bytes;
        self.room.freed.notify_waiters();
    }
}

impl Gate {
    /// Waits until the payload of an event may be taken apart; small ones never do.
    pub(super) async fn room_for(&self, item: &Item) -> Option<Part<'_>> {
        let size = self.0.ledger.entry(item.seq).ok()??.entry.bodies.get("payload")?.size;
        if size <= LARGE {
            return None;
        }
        let (bytes, installation) =
            (usize::try_from(size).unwrap_or(AT_ONCE), item.event.as_deref().and_then(|e| e.installation));
        // Others have its place meanwhile, or events that need no room would wait for one that does.
        let part = github::aside(self.0.large.enter(installation, bytes)).await;
        if bytes > QUARTER {
            github::wait_no_more();
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn enters(room: &Room, installation: u64, bytes: usize) -> Option<Part<'_>> {
        tokio::time::timeout(Duration::from_millis(50), room.enter(Some(installation), bytes)).await.ok()
    }

    #[tokio::test]
    async fn one_installation_never_waits_with_more_than_a_quarter() {
        let room = Room::default();
        let first = enters(&room, 1, QUARTER / 2).await.unwrap();
        let second = enters(&room, 1, QUARTER / 2).await.unwrap();
        assert!(enters(&room, 1, LARGE as usize + 1).await.is_none(), "it has its quarter");
        assert!(enters(&room, 1, AT_ONCE).await.is_none());
        let mut others = Vec::new();
        for other in 2..=4 {
            others.push(enters(&room, other, QUARTER).await.expect("there is room for another installation"));
        }
        assert!(enters(&room, 5, QUARTER).await.is_none(), "all is taken");
        drop(first);
        assert!(enters(&room, 5, QUARTER / 2).await.is_some());
        drop((second, others));
        assert_eq!(*lock(&room.taken), 0);
    }

    #[tokio::test]
    async fn one_of_the_largest_goes_in_alone_and_once_there_is_room() {
        let room = Room::default();
        let small = enters(&room, 1, QUARTER / 2).await.unwrap();
        let (large, ()) = tokio::join!(room.enter(Some(2), 2 * AT_ONCE), async {
            // Who waits for more than there is keeps nobody out.
            drop(enters(&room, 3, QUARTER).await.unwrap());
            drop(small);
        });
        assert!(enters(&room, 3, 1).await.is_none());
        drop(large);
        assert!(enters(&room, 3, QUARTER).await.is_some());
    }
}
