//! The queue's rules, one delivery at a time.

use std::time::Duration;

use postrider_core::delivery::LOST;
use postrider_core::settle::{Cause, Settlement, Standing};
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, HostId, LeaseKey, Notification, Schedule,
};

use super::{FanOut, Held, Lane, Note, State, StoredDelivery, StoredNotification, Tables};
use crate::digest::digest;
use crate::{
    DeliveryRecord, Enqueue, Enqueued, Handover, LEASE_CANCELLED, LEASE_EXPIRED, Lease,
    MAX_STATE_BYTES, MAX_STATE_KEYS, NEVER, NotificationRecord, QueueError, Route, Settle, Slot,
    Slots, Taken, Taking, Target, millis, state_full, target,
};

impl Tables {
    pub(super) fn enqueue(&mut self, item: Enqueue) -> Enqueued {
        let notification = &item.notification;
        let by_key = item.idempotency_key.as_ref().and_then(|key| self.keys.get(key));
        let known = by_key.or_else(|| self.ids.get(&notification.id));
        if let Some(known) = known.and_then(|row| self.notifications.get(row)) {
            let id = known.notification.id;
            return match known.is_same(notification) {
                true => Enqueued::Existing { id, deliveries: known.deliveries().unwrap_or(0) },
                false => Enqueued::Conflict { id },
            };
        }
        let targets = target::once(&item.destinations);
        let deliveries = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        let fan_out = FanOut::Done(deliveries);
        let row = self.store(notification, item.idempotency_key, item.schedule, fan_out);
        self.deliver_all(row, &targets, self.now);
        Enqueued::Stored { id: notification.id, deliveries }
    }

    /// Stores, then leases what a claim at this moment could.
    pub(super) fn enqueue_taking(&mut self, item: Enqueue, taking: &Taking) -> Taken {
        let targets = target::once(&item.destinations).into_iter().filter(|_| item.is_immediate());
        let named = targets.filter(|to| taking.destinations.contains(&to.destination));
        let names: Vec<String> = named.map(|to| to.destination.clone()).collect();
        let enqueued = self.enqueue(item);
        let mut leases = Vec::new();
        if let Enqueued::Stored { id, .. } = enqueued
            && let Some(row) = self.ids.get(&id).copied()
        {
            let free: Vec<String> = names.into_iter().filter(|name| !self.is_held(name)).collect();
            let new = free.into_iter().filter_map(|name| self.pairs.get(&(row, name)).copied());
            let new: Vec<i64> = new.collect();
            leases
                .extend(new.into_iter().filter_map(|id| self.lease(id, taking.host, taking.lease)));
        }
        Taken { enqueued, leases }
    }

    pub(super) fn store(
        &mut self,
        notification: &Notification,
        key: Option<String>,
        schedule: Schedule,
        fan_out: FanOut,
    ) -> i64 {
        self.last_notification += 1;
        let row = self.last_notification;
        let mut notification = notification.clone();
        self.ids.insert(notification.id, row);
        let kept_digest = key.as_ref().map(|_| digest(&notification));
        if let Some(key) = &key {
            self.keys.insert(key.clone(), row);
        }
        notification.time = millis::timestamp(notification.time.as_millisecond());
        let fanned_out = (!matches!(fan_out, FanOut::Waiting)).then_some(self.now);
        let stored = StoredNotification {
            notification,
            idempotency_key: key,
            schedule,
            expires: None,
            fan_out,
            fanned_out,
            digest: kept_digest,
            pruned: false,
        };
        self.notifications.insert(row, stored);
        row
    }

    pub(super) fn fan_out(&mut self, route: Route) -> u64 {
        let Some(stored) = self.notifications.get_mut(&route.row) else { return 0 };
        if !stored.waits() {
            return 0;
        }
        stored.fanned_out = Some(self.now);
        match route.destinations {
            Err(reason) => {
                stored.fan_out = FanOut::Malformed(reason);
                0
            }
            Ok(destinations) => {
                let targets = target::once(&destinations);
                let count = targets.len();
                stored.fan_out = FanOut::Done(u32::try_from(count).unwrap_or(u32::MAX));
                let arrived = stored.notification.time.as_millisecond().min(self.now);
                self.deliver_all(route.row, &targets, arrived);
                count as u64
            }
        }
    }

    /// Fans a notification out that arrived at this moment.
    fn deliver_all(&mut self, row: i64, targets: &[&Target], arrived: i64) {
        let Some(stored) = self.notifications.get_mut(&row) else { return };
        let at = |after: Duration| arrived.saturating_add(millis::of(after));
        stored.expires = stored.schedule.expires_after.map(at);
        let (due, expires) = (at(stored.schedule.deliver_after).max(self.now), stored.expires);
        for target in targets {
            let own = target.expires_after.map(at);
            let expires = [expires, own].into_iter().flatten().min();
            self.deliver(row, target, due, expires, Vec::new(), None);
        }
    }

    /// Makes a delivery unless the destination has the notification already. Answers the one it has then.
    fn deliver(
        &mut self,
        notification: i64,
        target: &Target,
        due: i64,
        expires: Option<i64>,
        chain: Vec<String>,
        fallback_of: Option<i64>,
    ) -> i64 {
        let Target { destination, order_key, .. } = target.clone();
        if let Some(id) = self.pairs.get(&(notification, destination.clone())) {
            return *id;
        }
        let waiting = order_key.is_some();
        self.last_delivery += 1;
        let id = self.last_delivery;
        self.pairs.insert((notification, destination.clone()), id);
        let delivery = StoredDelivery {
            notification,
            destination,
            state: State::Live,
            lane: Lane::Fresh,
            due: if waiting { NEVER } else { due },
            token: 0,
            held: None,
            attempt: 0,
            used: 0,
            lost: 0,
            parts_done: 0,
            chain,
            reason: String::new(),
            created: self.now,
            since: due,
            expires,
            order_key,
            waiting,
            fallback_of,
            fallback_to: None,
        };
        self.deliveries.insert(id, delivery);
        id
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (i64, &StoredDelivery)> {
        self.deliveries.iter().filter(|(_, d)| d.is_live()).map(|(id, d)| (*id, d))
    }

    /// What a claim takes of one destination: the retries that slots are kept for, first attempts, and retries
    /// again where those leave some free.
    pub(super) fn share(&self, slots: &Slots, room: usize) -> Vec<i64> {
        let (free, kept) = slots.within(room);
        let (free, kept) = (free as usize, kept as usize);
        let (fresh, retries) = self.due(&slots.destination);
        let first = retries.len().min(kept);
        let between = fresh.len().min(free - first);
        let last = (retries.len() - first).min(free - first - between);
        let taken = retries.iter().take(first).chain(fresh.iter().take(between));
        taken.chain(retries.iter().skip(first).take(last)).copied().collect()
    }

    /// What is due of a destination, oldest first: first attempts, and retries.
    fn due(&self, destination: &str) -> (Vec<i64>, Vec<i64>) {
        let due = self.live();
        let due =
            due.filter(|(_, d)| d.due <= self.now && !d.waiting && d.destination == destination);
        let mut due: Vec<_> = due.map(|(id, d)| (d.due, id, d.lane)).collect();
        due.sort_unstable_by_key(|(due, id, _)| (*due, *id));
        let (fresh, retries): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(.., lane)| *lane == Lane::Fresh);
        let ids = |lane: Vec<(i64, i64, Lane)>| lane.into_iter().map(|(_, id, _)| id).collect();
        (ids(fresh), ids(retries))
    }

    pub(super) fn lease(&mut self, id: i64, host: HostId, lease: Duration) -> Option<Lease> {
        if self.record_lost(id, LEASE_EXPIRED) {
            self.deliveries.get_mut(&id)?.lost += 1;
        }
        let now = self.now;
        let delivery = self.deliveries.get_mut(&id)?;
        delivery.token += 1;
        delivery.attempt += 1;
        delivery.held = Some(Held { host, claimed: now });
        delivery.due = now + millis::of(lease);
        Some(Lease {
            key: LeaseKey { id: DeliveryId(id), token: delivery.token },
            destination: delivery.destination.clone(),
            notification: self.notifications.get(&delivery.notification)?.notification.clone(),
            attempt: delivery.attempt,
            standing: Standing {
                used: delivery.used,
                lost: delivery.lost,
                age: millis::duration(now - delivery.since),
                left: delivery.expires.map(|expires| millis::duration(expires - now)),
            },
            parts_done: delivery.parts_done,
            chain: delivery.chain.clone(),
            order_key: delivery.order_key.clone(),
        })
    }

    /// The delivery that a lease is held on, if it still is.
    pub(super) fn held(&mut self, key: LeaseKey) -> Option<&mut StoredDelivery> {
        let delivery = self.deliveries.get_mut(&key.id.0)?;
        let ours = delivery.is_live() && delivery.held.is_some() && delivery.token == key.token;
        ours.then_some(delivery)
    }

    pub(super) fn settle(&mut self, item: Settle) -> bool {
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
            Settlement::Released => delivery.come_back(now),
            Settlement::Dead { cause } => {
                delivery.state = State::Dead { at: now, cause };
                if let Some(handover) =
                    item.handover.filter(|to| to.taker.destination != destination)
                {
                    self.hand_over(id, notification, handover);
                }
            }
            Settlement::Retry { delay, counted, hold } => {
                delivery.lane = Lane::Retry;
                delivery.come_back(now + millis::of(delay));
                delivery.used += u32::from(counted);
                if let Some(hold) = hold {
                    self.hold(&destination, now + millis::of(hold));
                }
            }
        }
        if let Some(mut attempt) = recorded {
            attempt.number = number;
            attempt.started = millis::timestamp(attempt.started.as_millisecond());
            self.attempts.entry(id).or_default().push(attempt);
        }
        self.end(id);
        true
    }

    pub(super) fn redeliver(&mut self, id: i64) -> bool {
        let now = self.now;
        let Some(delivery) = self.deliveries.get_mut(&id) else { return false };
        match delivery.state {
            State::Live => {
                let later = delivery.held.is_none() && delivery.due > now && !delivery.waiting;
                if later {
                    delivery.due = now;
                    delivery.since = delivery.since.min(now);
                }
                later
            }
            State::Dead { .. } | State::Cancelled { .. } => {
                delivery.state = State::Live;
                delivery.lane = Lane::Retry;
                delivery.waiting = delivery.order_key.is_some();
                delivery.come_back(now);
                delivery.since = now;
                delivery.expires = None;
                (delivery.used, delivery.lost) = (0, 0);
                delivery.reason = String::new();
                true
            }
            State::Delivered { .. } => false,
        }
    }

    pub(super) fn cancel(&mut self, id: i64) -> bool {
        if !self.deliveries.get(&id).is_some_and(StoredDelivery::is_live) {
            return false;
        }
        self.record_lost(id, LEASE_CANCELLED);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.state = State::Cancelled { at: self.now };
        }
        self.end(id);
        true
    }

    pub(super) fn bury(&mut self, id: i64) {
        self.record_lost(id, LEASE_EXPIRED);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.state = State::Dead { at: self.now, cause: Cause::Orphaned };
            delivery.reason = crate::ORPHANED.to_owned();
        }
        self.end(id);
    }

    fn hand_over(&mut self, id: i64, notification: i64, handover: Handover) {
        let own = self.notifications.get(&notification).and_then(|stored| stored.expires);
        let pair = (notification, handover.taker.destination.clone());
        let expired = own.is_some_and(|own| own <= self.now);
        if expired && !self.pairs.contains_key(&pair) {
            return;
        }
        let within = handover.taker.expires_after.map(|after| self.now + millis::of(after));
        let expires = [own, within].into_iter().flatten().min();
        let Handover { taker, chain } = handover;
        let taker = self.deliver(notification, &taker, self.now, expires, chain, Some(id));
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.fallback_to = Some(taker);
        }
    }

    /// Takes a lease that ends without a settlement off its holder. Answers whether there was one.
    pub(super) fn record_lost(&mut self, id: i64, reason: &str) -> bool {
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

    pub(super) fn record(&self, id: i64, delivery: &StoredDelivery) -> Option<DeliveryRecord> {
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
            due: (delivery.is_live() && !delivery.waiting).then(|| millis::timestamp(delivery.due)),
            expires: delivery.expires.map(millis::timestamp),
            order_key: delivery.order_key.clone(),
            waiting: delivery.waiting,
            finished: finished.map(millis::timestamp),
            reason: delivery.reason.clone(),
            cause,
            fallback_of: delivery.fallback_of.map(DeliveryId),
            fallback_to: delivery.fallback_to.map(DeliveryId),
        })
    }

    pub(super) fn note(&self, slot: &Slot) -> Option<&Note> {
        let note = self.notes.get(&(slot.destination.clone(), slot.key.clone()))?;
        (!note.is_expired(self.now)).then_some(note)
    }

    pub(super) fn check_quota(&self, slot: &Slot, value: &[u8]) -> Result<(), QueueError> {
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
    pub(super) fn waits(&self) -> bool {
        matches!(self.fan_out, FanOut::Waiting)
    }

    /// What has no content any more and kept no digest cannot be compared: its key or id decides.
    fn is_same(&self, notification: &Notification) -> bool {
        match self.digest {
            Some(kept) => kept == digest(notification),
            None => self.pruned || digest(&self.notification) == digest(notification),
        }
    }

    pub(super) fn deliveries(&self) -> Option<u32> {
        match self.fan_out {
            FanOut::Done(count) => Some(count),
            FanOut::Waiting | FanOut::Malformed(_) => None,
        }
    }

    pub(super) fn record(&self, row: i64) -> NotificationRecord {
        NotificationRecord {
            row,
            notification: self.notification.clone(),
            idempotency_key: self.idempotency_key.clone(),
            deliveries: self.deliveries(),
            malformed: match &self.fan_out {
                FanOut::Malformed(reason) => Some(reason.clone()),
                FanOut::Waiting | FanOut::Done(_) => None,
            },
            expires: self.expires.map(millis::timestamp),
            pruned: self.pruned,
        }
    }
}

impl StoredDelivery {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    /// Is due again then; where it waits for its key's head, it goes on waiting.
    fn come_back(&mut self, due: i64) {
        self.due = if self.waiting { NEVER } else { due };
    }

    pub(super) fn is_leased(&self, now: i64) -> bool {
        self.is_live() && self.held.is_some() && self.due > now
    }

    pub(super) fn shown_state(&self, now: i64) -> DeliveryState {
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
    pub(super) fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}
