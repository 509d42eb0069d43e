//! Deliveries come in: recorded, learnt from, handed to who judges.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tracing::Instrument as _;

use super::{Gate, Item, lock, look, pull_key};
use crate::{
    event::{self, About, Delivery, Event, Source},
    ledger::{AppendError, entry::Flag},
    time::Time,
};

/// Events that may wait to be judged before deliveries have to wait. A few kilobytes each; what GitHub
/// sends a large organisation during an hour of outage.
const MOST_WAITING: usize = 20_000;

/// How long a delivery waits while that many do. GitHub gives up after 10 s.
const WAIT_FOR_JUDGES: Duration = Duration::from_secs(4);

/// What GitHub is told about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub seq: u64,
    /// It came before; `seq` is the first one's.
    pub duplicate: bool,
}

/// Why a delivery was not recorded. GitHub shows it as failed and it can be sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the disk of the ledger is full")]
    StoreFull,
    #[error("the ledger cannot be written: {0}")]
    StoreDown(String),
    #[error("gatelog is stopping")]
    Stopping,
    #[error("too many events wait to be judged")]
    Behind,
}

impl Gate {
    /// Records a delivery. On return it is durable.
    ///
    /// # Errors
    /// The store or the judges cannot take more; nothing was recorded.
    pub async fn receive(&self, delivery: Delivery) -> Result<Received, ReceiveError> {
        let gate = self.clone();
        // A task of its own: GitHub may hang up while the disk is slow, and what is recorded must also
        // be judged, because the same delivery sent again is then only a duplicate.
        let recorded = tokio::spawn(async move { gate.take_in(delivery).await }.in_current_span());
        recorded.await.unwrap_or_else(|e| Err(ReceiveError::StoreDown(e.to_string())))
    }

    async fn take_in(&self, delivery: Delivery) -> Result<Received, ReceiveError> {
        if *self.0.stopping.borrow() {
            return Err(ReceiveError::Stopping);
        }
        self.wait_for_judges().await?;
        let parsed = event::parse(&delivery);
        if let Err(e) = &parsed {
            tracing::warn!(delivery.id = delivery.guid, event = delivery.name, "unreadable payload: {e}");
        }
        let event = parsed.ok().map(Arc::new);
        let mut entries = self.entries_of(&delivery, event.as_deref());
        let group = std::mem::take(&mut entries.group);
        let receipts = self.0.ledger.append(group).await.map_err(|e| self.refused(e))?;
        let Some(first) = receipts.first().copied() else {
            return Err(ReceiveError::StoreDown("the ledger answered nothing".into()));
        };
        self.keep_alarm(&entries, first.seq);
        if let (Some(found), Some(verdict), false) = (entries.forged, receipts.get(1), first.duplicate) {
            let name = event.as_deref().and_then(|e| e.repository.as_ref()).map(|r| &r.name);
            self.alert_of_tampering(found, verdict.seq, name);
        }
        if let (Some(event), true) = (event.as_deref(), entries.own) {
            self.look_at_own(event);
        }
        if !first.duplicate && !entries.own {
            self.enqueue(Item {
                seq: first.seq,
                unreadable: event.is_none(),
                event,
                received_at: delivery.received_at,
                guid: Some(delivery.guid),
                replayed: first.flag == Some(Flag::Replayed),
            });
        }
        Ok(Received { seq: first.seq, duplicate: first.duplicate })
    }

    /// Intake slows down to what is judged; if that is not enough, GitHub is told to come again.
    async fn wait_for_judges(&self) -> Result<(), ReceiveError> {
        let until = tokio::time::Instant::now() + WAIT_FOR_JUDGES;
        while self.0.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            if tokio::time::Instant::now() >= until {
                return Err(ReceiveError::Behind);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// # Errors
    /// Why no delivery can be taken now.
    pub fn ready(&self) -> Result<(), String> {
        if *self.0.stopping.borrow() {
            return Err("stopping".into());
        }
        if let Some(why) = self.0.fatal.borrow().as_ref() {
            return Err(why.clone());
        }
        self.0.ledger.failure().map_or(Ok(()), Err)
    }

    pub(super) fn enqueue(&self, item: Item) {
        if let Some(event) = item.event.as_deref() {
            // GitHub signs the body only: one sent again tells nothing new, and nothing true of now.
            let of_old = event.source == Source::Gatelog && matches!(event.about, About::Ref(_));
            if !item.replayed && !of_old {
                let before = self.head_of(event);
                lock(&self.0.pulls).learn(event, Time::now());
                lock(&self.0.groups).learn(event, Time::now());
                if let Some(at) = look::repo_at(event)
                    && let Some(old) = before.filter(|old| self.head_of(event).as_ref() != Some(old))
                {
                    self.left(&at, &old);
                }
            }
            if let Some(pull) = pull_key(event) {
                lock(&self.0.unjudged).entry(pull).or_default().insert(item.seq);
            }
            lock(&self.0.groups).waits(event, item.seq);
            if event::handling(event).drop_caches {
                self.0.github.drop_people_cache();
            }
            // An event sent again says nothing of now.
            if let About::Membership(said) = &event.about
                && !item.replayed
            {
                self.0.github.people_changed(said);
            }
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        self.watch_progress(&item);
        // The worker only goes when the process stops; then the next start finds the event.
        let _ = self.0.work.send(item);
    }

    /// Where the pull request stands that an event is about, as far as it is known.
    pub(super) fn head_of(&self, event: &Event) -> Option<event::Sha> {
        let (About::PullRequest(pull), Some(repository)) = (&event.about, &event.repository) else {
            return None;
        };
        lock(&self.0.pulls).head(repository.id, pull.number)
    }

    pub(super) fn refused(&self, e: AppendError) -> ReceiveError {
        match e {
            AppendError::Full => ReceiveError::StoreFull,
            other => {
                let why = other.to_string();
                if matches!(other, AppendError::Fatal(_)) {
                    self.0.fatal.send_replace(Some(why.clone()));
                }
                ReceiveError::StoreDown(why)
            }
        }
    }
}
