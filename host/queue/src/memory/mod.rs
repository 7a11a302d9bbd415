//! A queue in memory: the store of tests, and the model that the others are held against.
//!
//! It holds everything in ordered maps and walks them; simple and obviously right comes before fast. Its clock is
//! tokio's, so that a test with a paused runtime drives it.

mod access;
mod backlog;
mod breakers;
mod chores;
mod holding;
mod order;
mod rules;
mod versions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::settle::Cause;
use postrider_core::{
    Attempt, BreakerState, DeliveryId, HostId, LeaseKey, Notification, NotificationId, Retention,
    Schedule,
};
use tokio::time::Instant;

use crate::taking::{Order, wave};
use crate::{
    Arrived, Backlog, Blocked, BreakerTurn, Claim, DeadGroup, DeliveryFilter, DeliveryRecord,
    Depth, Enqueue, Enqueued, Hold, HostBeat, HostRecord, KeptDestination, Lease, Look, MAX_BATCH,
    NotificationFilter, NotificationRecord, Paused, Pruned, Queue, QueueError, Route, Settle, Slot,
    StateEntry, Stats, Sweep, Taken, Taking, TrialClaim, Tried, Trip, millis,
};

/// A queue that lives as long as the process.
#[derive(Debug)]
pub struct MemoryQueue {
    start: Option<Instant>,
    epoch: i64,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The moment of the running call.
    now: i64,
    ahead: i64,
    closed: bool,
    notifications: BTreeMap<i64, StoredNotification>,
    deliveries: BTreeMap<i64, StoredDelivery>,
    ids: HashMap<NotificationId, i64>,
    keys: HashMap<String, i64>,
    /// What ended with an order key in the running call.
    ended: Vec<i64>,
    pairs: HashMap<(i64, String), i64>,
    attempts: BTreeMap<i64, Vec<Attempt>>,
    holds: HashMap<String, StoredHold>,
    breakers: BTreeMap<String, StoredBreaker>,
    paused: HashMap<String, Paused>,
    destinations: BTreeMap<String, StoredDestination>,
    notes: BTreeMap<(String, String), Note>,
    versions: u64,
    hosts: BTreeMap<uuid::Uuid, StoredHost>,
    tokens: BTreeMap<String, access::StoredToken>,
    audit: BTreeMap<i64, (i64, crate::AuditEntry)>,
    book: versions::Book,
    /// The last numbers given; none is given twice.
    last_notification: i64,
    last_delivery: i64,
    last_audit: i64,
}

#[derive(Debug)]
struct StoredNotification {
    notification: Notification,
    idempotency_key: Option<String>,
    schedule: Schedule,
    expires: Option<i64>,
    fan_out: FanOut,
    fanned_out: Option<i64>,
    /// Of one with a key.
    digest: Option<[u8; 32]>,
    /// Whether retention has taken its content.
    pruned: bool,
}

#[derive(Debug)]
struct StoredHost {
    told: HostBeat,
    started: i64,
    seen: i64,
}

#[derive(Debug)]
enum FanOut {
    Waiting,
    Done(u32),
    Malformed(String),
}

#[derive(Debug)]
struct StoredDelivery {
    notification: i64,
    destination: String,
    state: State,
    lane: Lane,
    due: i64,
    token: i64,
    held: Option<Held>,
    attempt: u32,
    used: u32,
    lost: u32,
    parts_done: u32,
    chain: Vec<String>,
    reason: String,
    created: i64,
    /// What its age counts from: when it was first to be due, or last revived.
    since: i64,
    expires: Option<i64>,
    order_key: Option<String>,
    waiting: bool,
    fallback_of: Option<i64>,
    fallback_to: Option<i64>,
}

#[derive(Debug)]
enum State {
    Live,
    Delivered { at: i64 },
    Dead { at: i64, cause: Cause },
    Cancelled { at: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Fresh,
    Retry,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    host: HostId,
    claimed: i64,
}

/// A destination that is left alone.
#[derive(Debug)]
struct StoredHold {
    since: i64,
    until: i64,
}

/// A breaker that is not closed.
#[derive(Debug)]
struct StoredBreaker {
    state: BreakerState,
    reason: String,
    since: i64,
    next: i64,
    trial: i64,
    batch: u32,
    failures: u32,
}

#[derive(Debug)]
struct StoredDestination {
    kept: KeptDestination,
    removed: Option<i64>,
}

#[derive(Debug)]
struct Note {
    value: Vec<u8>,
    version: u64,
    expires: Option<i64>,
}

impl MemoryQueue {
    /// An empty queue whose clock starts at `epoch` and runs with tokio's.
    pub fn new(epoch: Timestamp) -> Self {
        Self {
            start: Some(Instant::now()),
            epoch: epoch.as_millisecond(),
            tables: Mutex::new(Tables::default()),
        }
    }

    /// An empty queue whose clock stands at `epoch` and moves only by [`MemoryQueue::advance`].
    pub fn stopped(epoch: Timestamp) -> Self {
        Self { start: None, ..Self::new(epoch) }
    }

    /// Sets the queue's clock forward, beside tokio's.
    pub fn advance(&self, by: Duration) {
        self.lock().ahead += millis::of(by);
    }

    /// Sets the queue's clock back, as an administrator or a failover to another server may.
    pub fn set_back(&self, by: Duration) {
        self.lock().ahead -= millis::of(by);
    }

    /// Stores a notification as a producer's own SQL would: nobody has fanned it out.
    pub fn insert(&self, notification: Notification) {
        self.insert_scheduled(notification, Schedule::default());
    }

    /// The same with the times that a producer can give.
    pub fn insert_scheduled(&self, notification: Notification, schedule: Schedule) {
        let mut tables = self.lock();
        tables.store(&notification, None, schedule, FanOut::Waiting);
    }

    /// The tables at the present moment, or none after [`Queue::close`].
    fn open(&self) -> Result<MutexGuard<'_, Tables>, QueueError> {
        let mut tables = self.lock();
        if tables.closed {
            return Err(QueueError::Unavailable("it is closed".to_owned()));
        }
        let run = self.start.map_or(0, |start| start.elapsed().as_millis());
        let run = i64::try_from(run).unwrap_or(i64::MAX);
        tables.now = self.epoch.saturating_add(run).saturating_add(tables.ahead);
        Ok(tables)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        let mut tables = self.open()?;
        let orders: Vec<Order<'_>> = batch.iter().map(Order::plain).collect();
        let mut answers: Vec<Option<Enqueued>> = orders.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            for (place, order) in wave(&orders, &answers) {
                let answer = tables.enqueue(order.item.clone());
                if let Some(slot) = answers.get_mut(place) {
                    *slot = Some(answer);
                }
            }
        }
        tables.promote();
        Ok(answers.into_iter().flatten().collect())
    }

    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        let mut tables = self.open()?;
        let taken = tables.enqueue_taking(item, &taking);
        tables.promote();
        Ok(taken)
    }

    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        let tables = self.open()?;
        let waiting = tables.notifications.iter().filter(|(_, n)| n.waits());
        let arrived = waiting
            .take(limit)
            .map(|(row, n)| Arrived { row: *row, notification: Ok(n.notification.clone()) });
        Ok(arrived.collect())
    }

    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        let made = routes.into_iter().map(|route| tables.fan_out(route)).sum();
        tables.promote();
        Ok(made)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        let mut tables = self.open()?;
        let mut ids = Vec::new();
        let mut named = BTreeSet::new();
        for slots in &claim.slots {
            if !named.insert(&slots.destination) {
                continue;
            }
            if tables.is_held(&slots.destination) {
                continue;
            }
            let room = MAX_BATCH.saturating_sub(ids.len());
            ids.extend(tables.share(slots, room));
        }
        let leased = ids.into_iter().filter_map(|id| tables.lease(id, claim.host, claim.lease));
        Ok(leased.collect())
    }

    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        let mut tables = self.open()?;
        let ids = tables.overdue(sweep);
        let leased = ids.into_iter().filter_map(|id| tables.lease(id, sweep.host, sweep.lease));
        Ok(leased.collect())
    }

    async fn extend(
        &self,
        held: &[LeaseKey],
        lease: Duration,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        let mut tables = self.open()?;
        let due = tables.now + millis::of(lease);
        let mut lost = Vec::new();
        for key in held {
            match tables.held(*key) {
                Some(delivery) => delivery.due = due,
                None => lost.push(*key),
            }
        }
        Ok(lost)
    }

    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        let mut tables = self.open()?;
        let mut lost = Vec::new();
        for item in batch {
            let key = item.key;
            if !tables.settle(item) {
                lost.push(key);
            }
        }
        tables.promote();
        Ok(lost)
    }

    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        tables.check_content(ids)?;
        let revived = ids.iter().map(|id| u64::from(tables.redeliver(id.0))).sum();
        tables.promote();
        Ok(revived)
    }

    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        let cancelled = ids.iter().map(|id| u64::from(tables.cancel(id.0))).sum();
        tables.promote();
        Ok(cancelled)
    }

    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        Ok(self.open()?.trip(trip))
    }

    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        Ok(self.open()?.claim_trial(claim))
    }

    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        Ok(self.open()?.turn(turn))
    }

    async fn resume(&self, destination: &str) -> Result<bool, QueueError> {
        Ok(self.open()?.lift(destination))
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        Ok(self.open()?.blocked())
    }

    async fn put_away(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        Ok(ids.iter().map(|id| u64::from(tables.put_away(id.0))).sum())
    }

    async fn pause(&self, destination: &str, reason: &str) -> Result<(), QueueError> {
        self.open()?.pause(destination, reason);
        Ok(())
    }

    async fn holds(&self) -> Result<Vec<Hold>, QueueError> {
        Ok(self.open()?.all_holds())
    }

    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        let tables = self.open()?;
        let named =
            tables.live().filter(|(_, d)| !d.waiting && destinations.contains(&d.destination));
        let due = named.map(|(_, d)| {
            let held = tables.holds.get(&d.destination).map_or(d.due, |hold| hold.until);
            d.due.max(held)
        });
        let due = due.min().map(|due| millis::duration(due - tables.now));
        let arrived = tables.notifications.values().any(StoredNotification::waits);
        let trial = tables.next_trial(destinations).map(millis::duration);
        Ok(Look { arrived, due, trial })
    }

    async fn size_within(&self, limit: u64) -> Result<u64, QueueError> {
        let tables = self.open()?;
        let waiting = tables.notifications.values().filter(|n| n.waits()).count();
        let size = tables.live().count() + waiting;
        Ok((size as u64).min(limit))
    }

    async fn stats(&self) -> Result<Stats, QueueError> {
        Ok(self.open()?.stats())
    }

    async fn depths(&self, destinations: &[String]) -> Result<Vec<Depth>, QueueError> {
        let tables = self.open()?;
        Ok(destinations.iter().map(|name| tables.depth(name)).collect())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, QueueError> {
        Ok(self.open()?.backlog())
    }

    async fn dead_letters(&self) -> Result<Vec<DeadGroup>, QueueError> {
        Ok(self.open()?.dead_letters())
    }

    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        let tables = self.open()?;
        let row = tables.ids.get(&id);
        Ok(row.and_then(|row| Some(tables.notifications.get(row)?.record(*row))))
    }

    async fn find_notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<NotificationRecord>, QueueError> {
        let tables = self.open()?;
        let below = tables.notifications.range(..filter.page.after.unwrap_or(i64::MAX));
        let above = filter.above.unwrap_or(0);
        let wanted =
            below.rev().filter(|(row, n)| **row > above && tables.is_wanted(**row, n, filter));
        let newest = wanted.take(filter.page.limit as usize).map(|(row, n)| {
            let mut record = n.record(*row);
            record.notification.content = bytes::Bytes::new();
            record
        });
        Ok(newest.collect())
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError> {
        let tables = self.open()?;
        let below = tables.deliveries.range(..filter.page.after.unwrap_or(i64::MAX));
        let records = below.rev().filter_map(|(id, delivery)| tables.record(*id, delivery));
        let wanted = records.filter(|record| {
            filter.state.is_none_or(|state| state == record.state)
                && filter.destination.as_ref().is_none_or(|name| *name == record.destination)
                && filter.notification.is_none_or(|id| id == record.notification)
                && filter.id.is_none_or(|id| id == record.id)
                && filter.above.is_none_or(|above| record.id.0 > above)
        });
        Ok(wanted.take(filter.page.limit as usize).collect())
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        Ok(self.open()?.attempts.get(&id.0).cloned().unwrap_or_default())
    }

    async fn keep_destinations(&self, destinations: &[KeptDestination]) -> Result<(), QueueError> {
        let mut tables = self.open()?;
        let now = tables.now;
        let listed: Vec<bool> =
            tables.destinations.keys().map(|name| tables.is_listed(name)).collect();
        for (stored, listed) in tables.destinations.values_mut().zip(listed) {
            stored.removed = stored.removed.or((!listed).then_some(now));
        }
        for kept in destinations {
            let stored = StoredDestination { kept: kept.clone(), removed: None };
            tables.destinations.insert(kept.name.clone(), stored);
        }
        Ok(())
    }

    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError> {
        let tables = self.open()?;
        let present = tables.destinations.values().filter(|stored| stored.removed.is_none());
        Ok(present.map(|stored| stored.kept.clone()).collect())
    }

    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        let before = tables.now - millis::of(after);
        let orphans = tables.live().filter(|(_, delivery)| {
            let gone = match tables.destinations.get(&delivery.destination) {
                Some(stored) => stored.removed,
                None => Some(delivery.since),
            };
            !delivery.is_leased(tables.now) && gone.is_some_and(|gone| gone <= before)
        });
        let orphans: Vec<i64> = orphans.map(|(id, _)| id).take(MAX_BATCH).collect();
        for id in &orphans {
            tables.bury(*id);
        }
        tables.promote();
        Ok(orphans.len() as u64)
    }

    async fn prune(&self, retention: &Retention, after: Option<i64>) -> Result<Pruned, QueueError> {
        Ok(self.open()?.prune(retention, after))
    }

    async fn beat(&self, beat: &HostBeat) -> Result<(), QueueError> {
        self.open()?.beat(beat);
        Ok(())
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, QueueError> {
        Ok(self.open()?.hosts())
    }

    async fn leave(&self, host: HostId) -> Result<(), QueueError> {
        self.open()?.leave(host);
        Ok(())
    }

    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError> {
        let tables = self.open()?;
        let note = tables.note(slot);
        Ok(note.map(|note| StateEntry { value: note.value.clone(), version: note.version }))
    }

    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        let mut tables = self.open()?;
        let present = tables.note(slot).map(|note| note.version);
        if expected.is_some_and(|expected| expected != present) {
            return Ok(false);
        }
        tables.check_quota(slot, value)?;
        tables.versions += 1;
        let expires = ttl.map(|ttl| tables.now + millis::of(ttl));
        let note = Note { value: value.to_vec(), version: tables.versions, expires };
        tables.notes.insert((slot.destination.clone(), slot.key.clone()), note);
        Ok(true)
    }

    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError> {
        self.open()?.notes.remove(&(slot.destination.clone(), slot.key.clone()));
        Ok(())
    }

    async fn close(&self) {
        self.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::{Stage, Stand};

    #[async_trait]
    impl Stand for MemoryQueue {
        fn advance(&self, by: Duration) {
            Self::advance(self, by);
        }

        async fn insert_scheduled(&self, notification: Notification, schedule: Schedule) {
            Self::insert_scheduled(self, notification, schedule);
        }
    }

    async fn stage() -> Stage {
        let queue = Arc::new(MemoryQueue::stopped(crate::conformance::EPOCH));
        Stage { queue: queue.clone(), access: queue.clone(), stand: queue }
    }

    conformance!(stage);
}
