//! Places among those that wait for a slot: what is being stored is promised one, and what waits in vain is handed back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use postrider_core::Notification;
use tokio::time::Instant;

use super::ahead::{self, Waiting};
use super::room::busy;
use super::settler::Settler;
use super::{Shared, attempt};
use crate::registry::Registry;

/// What waits for so many times longer than it should is handed back.
const LATE: u32 = 4;

/// Of a destination, for what is being stored: a slot, or a place that so many bytes were set aside for.
pub(super) struct Kept {
    pub(super) destination: String,
    bytes: Option<usize>,
}

impl Kept {
    pub(super) fn is_slot(&self) -> bool {
        self.bytes.is_none()
    }
}

/// What became of a lease that was put in its place.
pub(super) enum Placed {
    /// This one has a slot now: it, or another that had waited for longer.
    Begins(Waiting),
    Waits,
    /// The dispatcher stops: nothing waits any more.
    Closed(Waiting),
}

impl Shared {
    /// Keeps a slot each for what is being stored, or a place among those that wait for one, of those of these
    /// destinations that have one to spare.
    pub(super) fn keep<'a>(
        &self,
        registry: &Registry,
        notification: &Notification,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<Kept> {
        let (now, cost) = (Instant::now(), ahead::cost(notification));
        let mut slots = self.room.slots();
        // Of all slots together, too, half stay for claims, which share them out fairly.
        let mut left = (self.options.max_concurrency / 2).saturating_sub(busy(&slots));
        let keeps = |name: &str| {
            let entry = registry.destination(name).filter(|entry| entry.is_ready());
            let entry = entry.filter(|_| !self.breakers.is_shut(name))?;
            let (state, policy) = (slots.entry(name.to_owned()).or_default(), &entry.spec.policy);
            let destination = name.to_owned();
            if left > 0 && state.keep(policy) {
                left -= 1;
                return Some(Kept { destination, bytes: None });
            }
            let fits = self.room.bytes.load(Ordering::Relaxed) + cost <= ahead::BYTES;
            if !fits || !state.promise(policy, self.options.ahead, now) {
                return None;
            }
            self.room.bytes.fetch_add(cost, Ordering::Relaxed);
            Some(Kept { destination, bytes: Some(cost) })
        };
        names.filter_map(keeps).collect()
    }

    /// Gives back what was kept and is not needed.
    pub(super) fn give_back(self: &Arc<Self>, kept: &Kept, settler: &Settler) {
        let Some(bytes) = kept.bytes else {
            return self.free_slot(&kept.destination, settler);
        };
        self.room.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(state) = self.room.slots().get_mut(&kept.destination) {
            state.promise_over();
        }
    }

    /// Puts a lease in the place that was promised to it.
    pub(super) fn take_place(&self, kept: &Kept, waiting: Waiting) -> Placed {
        let mut slots = self.room.slots();
        if self.room.closing.load(Ordering::SeqCst) {
            return Placed::Closed(waiting);
        }
        let state = slots.entry(kept.destination.clone()).or_default();
        state.promise_over();
        // What its place was promised for is what it takes, but for a trace.
        let cost = ahead::cost(&waiting.0.notification);
        self.room.bytes.fetch_add(cost, Ordering::Relaxed);
        self.room.bytes.fetch_sub(kept.bytes.unwrap_or(0), Ordering::Relaxed);
        state.wait(waiting);
        if busy(&slots) >= self.options.max_concurrency {
            return Placed::Waits;
        }
        let next = self.next(&mut slots, &kept.destination);
        let is_free = slots.get(&kept.destination).is_some_and(|state| state.free() > 0);
        if next.is_none() && is_free {
            self.waker.wake();
        }
        next.map_or(Placed::Waits, Placed::Begins)
    }

    /// Hands back what waits for a destination: it is left alone from now on.
    pub(super) fn hand_back(&self, destination: &str, settler: &Settler) {
        let mut slots = self.room.slots();
        let given_up = slots.get_mut(destination).map(|state| state.give_up(None).collect());
        drop(slots);
        self.release_all(given_up.unwrap_or_default(), settler);
    }

    /// Hands back what has waited for longer than it should, and others may have slots for.
    pub(super) fn hand_back_late(&self, settler: &Settler) {
        let since = Instant::now().checked_sub(self.options.ahead * LATE);
        let Some(since) = since else { return };
        self.hand_back_older(Some(since), settler);
    }

    /// Hands back everything that waits, and lets nothing wait from now on.
    pub(super) fn stop_waiting(&self, settler: &Settler) {
        self.room.closing.store(true, Ordering::SeqCst);
        self.hand_back_older(None, settler);
    }

    fn hand_back_older(&self, since: Option<Instant>, settler: &Settler) {
        let mut slots = self.room.slots();
        let given_up = slots.values_mut().flat_map(|state| state.give_up(since)).collect();
        drop(slots);
        self.release_all(given_up, settler);
    }

    pub(super) fn release_all(&self, given_up: Vec<Waiting>, settler: &Settler) {
        self.begun(&given_up);
        for (lease, _) in given_up {
            settler.settle(&lease, attempt::release(&lease));
        }
    }
}
