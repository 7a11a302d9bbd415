//! A queue in memory: the store of tests, and the model that the others are held against.
//!
//! It holds everything in ordered maps and walks them; simple and obviously right comes before fast. Its clock is
//! tokio's, so that a test with a paused runtime drives it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::delivery::LOST;
use postrider_core::settle::{Cause, Settlement, Standing};
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, HostId, LeaseKey, Notification, NotificationId,
};
use tokio::time::Instant;

use crate::digest::digest;
use crate::{
    Arrived, Claim, DeliveryFilter, DeliveryRecord, EXACT_SIZE, Enqueue, Enqueued, KeptDestination,
    LEASE_CANCELLED, LEASE_EXPIRED, Lease, MAX_BATCH, MAX_STATE_BYTES, MAX_STATE_KEYS,
    NotificationRecord, Page, Queue, QueueError, Route, Settle, Slot, StateEntry, millis,
    state_full,
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
    pairs: HashMap<(i64, String), i64>,
    attempts: BTreeMap<i64, Vec<Attempt>>,
    holds: HashMap<String, i64>,
    destinations: BTreeMap<String, StoredDestination>,
    notes: BTreeMap<(String, String), Note>,
    versions: u64,
}

#[derive(Debug)]
struct StoredNotification {
    notification: Notification,
    idempotency_key: Option<String>,
    fan_out: FanOut,
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
    /// What its age counts from: when it was made or last revived.
    since: i64,
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

    /// Stores a notification as a producer's own SQL would: nobody has fanned it out.
    pub fn insert(&self, notification: Notification) {
        let mut tables = self.lock();
        tables.store(&notification, None, FanOut::Waiting);
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
        Ok(batch.into_iter().map(|item| tables.enqueue(item)).collect())
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
        Ok(routes.into_iter().map(|route| tables.fan_out(route)).sum())
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        let mut tables = self.open()?;
        let mut ids = Vec::new();
        let mut named = BTreeSet::new();
        for slots in &claim.slots {
            if !named.insert(&slots.destination) {
                continue;
            }
            if tables.holds.get(&slots.destination).is_some_and(|until| *until > tables.now) {
                continue;
            }
            for (lane, free) in [(Lane::Fresh, slots.fresh), (Lane::Retry, slots.retries)] {
                let room = (free as usize).min(MAX_BATCH.saturating_sub(ids.len()));
                let due = tables.due(&slots.destination, lane);
                ids.extend(due.into_iter().take(room));
            }
        }
        Ok(ids.into_iter().filter_map(|id| tables.lease(id, claim)).collect())
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
        Ok(lost)
    }

    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        Ok(ids.iter().map(|id| u64::from(tables.redeliver(id.0))).sum())
    }

    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let mut tables = self.open()?;
        Ok(ids.iter().map(|id| u64::from(tables.cancel(id.0))).sum())
    }

    async fn next_due(&self, destinations: &[String]) -> Result<Option<Duration>, QueueError> {
        let tables = self.open()?;
        let named = tables.live().filter(|(_, d)| destinations.contains(&d.destination));
        let due = named.map(|(_, d)| {
            let held = tables.holds.get(&d.destination).copied().unwrap_or(d.due);
            d.due.max(held)
        });
        Ok(due.min().map(|due| millis::duration(due - tables.now)))
    }

    async fn size(&self) -> Result<u64, QueueError> {
        let tables = self.open()?;
        let waiting = tables.notifications.values().filter(|n| n.waits()).count();
        let size = tables.live().count() + waiting;
        Ok((size as u64).min(EXACT_SIZE))
    }

    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        let tables = self.open()?;
        let row = tables.ids.get(&id);
        Ok(row.and_then(|row| Some(tables.notifications.get(row)?.record(*row))))
    }

    async fn notifications(&self, page: &Page) -> Result<Vec<NotificationRecord>, QueueError> {
        let tables = self.open()?;
        let below = tables.notifications.range(..page.after.unwrap_or(i64::MAX));
        let newest = below.rev().take(page.limit as usize).map(|(row, n)| {
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
        });
        Ok(wanted.take(filter.page.limit as usize).collect())
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        Ok(self.open()?.attempts.get(&id.0).cloned().unwrap_or_default())
    }

    async fn keep_destinations(&self, destinations: &[KeptDestination]) -> Result<(), QueueError> {
        let mut tables = self.open()?;
        let now = tables.now;
        for stored in tables.destinations.values_mut() {
            stored.removed = stored.removed.or(Some(now));
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
        Ok(orphans.len() as u64)
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

impl Tables {
    fn enqueue(&mut self, item: Enqueue) -> Enqueued {
        let notification = &item.notification;
        let by_key = item.idempotency_key.as_ref().and_then(|key| self.keys.get(key));
        let known = by_key.or_else(|| self.ids.get(&notification.id));
        if let Some(known) = known.and_then(|row| self.notifications.get(row)) {
            let id = known.notification.id;
            return match digest(&known.notification) == digest(notification) {
                true => Enqueued::Existing { id, deliveries: known.deliveries().unwrap_or(0) },
                false => Enqueued::Conflict { id },
            };
        }
        let destinations: BTreeSet<String> = item.destinations.into_iter().collect();
        let deliveries = u32::try_from(destinations.len()).unwrap_or(u32::MAX);
        let row = self.store(notification, item.idempotency_key, FanOut::Done(deliveries));
        for destination in destinations {
            self.deliver(row, destination, Vec::new(), None);
        }
        Enqueued::Stored { id: notification.id, deliveries }
    }

    fn store(&mut self, notification: &Notification, key: Option<String>, fan_out: FanOut) -> i64 {
        let row = self.notifications.last_key_value().map_or(1, |(row, _)| row + 1);
        let mut notification = notification.clone();
        self.ids.insert(notification.id, row);
        if let Some(key) = &key {
            self.keys.insert(key.clone(), row);
        }
        notification.time = millis::timestamp(notification.time.as_millisecond());
        let stored = StoredNotification { notification, idempotency_key: key, fan_out };
        self.notifications.insert(row, stored);
        row
    }

    fn fan_out(&mut self, route: Route) -> u64 {
        let Some(stored) = self.notifications.get_mut(&route.row) else { return 0 };
        if !stored.waits() {
            return 0;
        }
        match route.destinations {
            Err(reason) => {
                stored.fan_out = FanOut::Malformed(reason);
                0
            }
            Ok(destinations) => {
                let destinations: BTreeSet<String> = destinations.into_iter().collect();
                let count = destinations.len();
                stored.fan_out = FanOut::Done(u32::try_from(count).unwrap_or(u32::MAX));
                for destination in destinations {
                    self.deliver(route.row, destination, Vec::new(), None);
                }
                count as u64
            }
        }
    }

    /// Makes a delivery unless the destination has the notification already. Answers the one it has then.
    fn deliver(
        &mut self,
        notification: i64,
        destination: String,
        chain: Vec<String>,
        fallback_of: Option<i64>,
    ) -> i64 {
        let mut all = self.deliveries.iter();
        let same =
            |d: &StoredDelivery| d.notification == notification && d.destination == destination;
        if let Some((id, _)) = all.find(|(_, d)| same(d)) {
            return *id;
        }
        let id = self.deliveries.last_key_value().map_or(1, |(id, _)| id + 1);
        self.pairs.insert((notification, destination.clone()), id);
        let delivery = StoredDelivery {
            notification,
            destination,
            state: State::Live,
            lane: Lane::Fresh,
            due: self.now,
            token: 0,
            held: None,
            attempt: 0,
            used: 0,
            lost: 0,
            parts_done: 0,
            chain,
            reason: String::new(),
            created: self.now,
            since: self.now,
            fallback_of,
            fallback_to: None,
        };
        self.deliveries.insert(id, delivery);
        id
    }

    fn live(&self) -> impl Iterator<Item = (i64, &StoredDelivery)> {
        self.deliveries.iter().filter(|(_, d)| d.is_live()).map(|(id, d)| (*id, d))
    }

    fn due(&self, destination: &str, lane: Lane) -> Vec<i64> {
        let lane = self.live().filter(|(_, d)| d.destination == destination && d.lane == lane);
        let mut due: Vec<_> =
            lane.filter(|(_, d)| d.due <= self.now).map(|(id, d)| (d.due, id)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn lease(&mut self, id: i64, claim: &Claim) -> Option<Lease> {
        if self.record_lost(id, LEASE_EXPIRED) {
            self.deliveries.get_mut(&id)?.lost += 1;
        }
        let now = self.now;
        let delivery = self.deliveries.get_mut(&id)?;
        delivery.token += 1;
        delivery.attempt += 1;
        delivery.held = Some(Held { host: claim.host, claimed: now });
        delivery.due = now + millis::of(claim.lease);
        Some(Lease {
            key: LeaseKey { id: DeliveryId(id), token: delivery.token },
            destination: delivery.destination.clone(),
            notification: self.notifications.get(&delivery.notification)?.notification.clone(),
            attempt: delivery.attempt,
            standing: Standing {
                used: delivery.used,
                lost: delivery.lost,
                age: millis::duration(now - delivery.since),
            },
            parts_done: delivery.parts_done,
            chain: delivery.chain.clone(),
        })
    }

    /// The delivery that a lease is held on, if it still is.
    fn held(&mut self, key: LeaseKey) -> Option<&mut StoredDelivery> {
        let delivery = self.deliveries.get_mut(&key.id.0)?;
        let ours = delivery.is_live() && delivery.held.is_some() && delivery.token == key.token;
        ours.then_some(delivery)
    }

    fn settle(&mut self, item: Settle) -> bool {
        let (now, id) = (self.now, item.key.id.0);
        let Some(delivery) = self.held(item.key) else { return false };
        delivery.held = None;
        delivery.parts_done = item.parts_done;
        delivery.reason = item.reason;
        let released = item.settlement == Settlement::Released;
        if !released {
            delivery.lost = 0;
        }
        let number = delivery.attempt;
        let recorded = item.attempt.filter(|_| !released);
        if recorded.is_none() {
            // What is not recorded was not tried.
            delivery.attempt -= 1;
        }
        let (notification, destination) = (delivery.notification, delivery.destination.clone());
        match item.settlement {
            Settlement::Delivered => delivery.state = State::Delivered { at: now },
            Settlement::Released => delivery.due = now,
            Settlement::Dead { cause } => {
                delivery.state = State::Dead { at: now, cause };
                let mut chain = item.handover.into_iter();
                if let Some(first) = chain.next().filter(|first| *first != destination) {
                    let taker = self.deliver(notification, first, chain.collect(), Some(id));
                    if let Some(delivery) = self.deliveries.get_mut(&id) {
                        delivery.fallback_to = Some(taker);
                    }
                }
            }
            Settlement::Retry { delay, counted, hold } => {
                delivery.lane = Lane::Retry;
                delivery.due = now + millis::of(delay);
                delivery.used += u32::from(counted);
                if let Some(hold) = hold {
                    let until = self.holds.entry(destination).or_insert(i64::MIN);
                    *until = (*until).max(now + millis::of(hold));
                }
            }
        }
        if let Some(mut attempt) = recorded {
            attempt.number = number;
            attempt.started = millis::timestamp(attempt.started.as_millisecond());
            self.attempts.entry(id).or_default().push(attempt);
        }
        true
    }

    fn redeliver(&mut self, id: i64) -> bool {
        let now = self.now;
        let Some(delivery) = self.deliveries.get_mut(&id) else { return false };
        match delivery.state {
            State::Live => {
                let waits = delivery.held.is_none() && delivery.due > now;
                if waits {
                    delivery.due = now;
                }
                waits
            }
            State::Dead { .. } | State::Cancelled { .. } => {
                delivery.state = State::Live;
                delivery.lane = Lane::Retry;
                delivery.due = now;
                delivery.since = now;
                (delivery.used, delivery.lost) = (0, 0);
                delivery.reason = String::new();
                true
            }
            State::Delivered { .. } => false,
        }
    }

    fn cancel(&mut self, id: i64) -> bool {
        if !self.deliveries.get(&id).is_some_and(StoredDelivery::is_live) {
            return false;
        }
        self.record_lost(id, LEASE_CANCELLED);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.state = State::Cancelled { at: self.now };
        }
        true
    }

    fn bury(&mut self, id: i64) {
        self.record_lost(id, LEASE_EXPIRED);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.state = State::Dead { at: self.now, cause: Cause::Orphaned };
            delivery.reason = crate::ORPHANED.to_owned();
        }
    }

    /// Takes a lease that ends without a settlement off its holder. Answers whether there was one.
    fn record_lost(&mut self, id: i64, reason: &str) -> bool {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return false };
        let Some(held) = delivery.held.take() else { return false };
        self.attempts.entry(id).or_default().push(Attempt {
            number: delivery.attempt,
            started: millis::timestamp(held.claimed),
            duration: millis::duration(self.now - held.claimed),
            outcome: LOST.to_owned(),
            reason: reason.to_owned(),
            plugin: String::new(),
            host: held.host,
        });
        true
    }

    fn record(&self, id: i64, delivery: &StoredDelivery) -> Option<DeliveryRecord> {
        let notification = &self.notifications.get(&delivery.notification)?.notification;
        let (finished, cause) = match delivery.state {
            State::Live => (None, None),
            State::Delivered { at } | State::Cancelled { at } => (Some(at), None),
            State::Dead { at, cause } => (Some(at), Some(cause.name().to_owned())),
        };
        Some(DeliveryRecord {
            id: DeliveryId(id),
            notification: notification.id,
            kind: notification.kind.clone(),
            destination: delivery.destination.clone(),
            state: delivery.shown_state(self.now),
            attempts: delivery.attempt,
            created: millis::timestamp(delivery.created),
            due: delivery.is_live().then(|| millis::timestamp(delivery.due)),
            finished: finished.map(millis::timestamp),
            reason: delivery.reason.clone(),
            cause,
            fallback_of: delivery.fallback_of.map(DeliveryId),
            fallback_to: delivery.fallback_to.map(DeliveryId),
        })
    }

    fn note(&self, slot: &Slot) -> Option<&Note> {
        let note = self.notes.get(&(slot.destination.clone(), slot.key.clone()))?;
        (!note.is_expired(self.now)).then_some(note)
    }

    fn check_quota(&self, slot: &Slot, value: &[u8]) -> Result<(), QueueError> {
        let others = self.notes.iter().filter(|((destination, key), note)| {
            *destination == slot.destination && *key != slot.key && !note.is_expired(self.now)
        });
        let (mut keys, mut bytes) = (1, slot.key.len() + value.len());
        for ((_, key), note) in others {
            keys += 1;
            bytes += key.len() + note.value.len();
        }
        match keys > MAX_STATE_KEYS || bytes as u64 > MAX_STATE_BYTES {
            true => Err(state_full(&slot.destination)),
            false => Ok(()),
        }
    }
}

impl StoredNotification {
    fn waits(&self) -> bool {
        matches!(self.fan_out, FanOut::Waiting)
    }

    fn deliveries(&self) -> Option<u32> {
        match self.fan_out {
            FanOut::Done(count) => Some(count),
            FanOut::Waiting | FanOut::Malformed(_) => None,
        }
    }

    fn record(&self, row: i64) -> NotificationRecord {
        NotificationRecord {
            row,
            notification: self.notification.clone(),
            idempotency_key: self.idempotency_key.clone(),
            deliveries: self.deliveries(),
            malformed: match &self.fan_out {
                FanOut::Malformed(reason) => Some(reason.clone()),
                FanOut::Waiting | FanOut::Done(_) => None,
            },
        }
    }
}

impl StoredDelivery {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    fn is_leased(&self, now: i64) -> bool {
        self.is_live() && self.held.is_some() && self.due > now
    }

    fn shown_state(&self, now: i64) -> DeliveryState {
        match self.state {
            State::Live if self.is_leased(now) => DeliveryState::Leased,
            State::Live => DeliveryState::Pending,
            State::Delivered { .. } => DeliveryState::Delivered,
            State::Dead { .. } => DeliveryState::Dead,
            State::Cancelled { .. } => DeliveryState::Cancelled,
        }
    }
}

impl Note {
    fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
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

        async fn insert(&self, notification: Notification) {
            Self::insert(self, notification);
        }
    }

    async fn stage() -> Stage {
        let queue = Arc::new(MemoryQueue::stopped(crate::conformance::EPOCH));
        Stage { queue: Arc::clone(&queue) as Arc<dyn Queue>, stand: queue }
    }

    conformance!(stage);
}
