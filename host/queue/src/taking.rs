//! Deliveries that a host leases as it stores them, so that no claim has to find them: one write and one read less
//! for each. And the order within a batch that every store keeps to.

use std::collections::HashSet;
use std::time::Duration;

use postrider_core::settle::Standing;
use postrider_core::{DeliveryId, HostId, LeaseKey, Notification, Schedule};

use crate::{Enqueue, Enqueued, Lease, Target, millis};

/// What a host takes of a notification that it stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    pub host: HostId,
    pub lease: Duration,
    /// The destinations that it has a free slot for.
    pub destinations: Vec<String>,
}

/// What became of a notification, and of those of its deliveries that were to be taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub enqueued: Enqueued,
    /// On the first attempts of those that were taken.
    pub leases: Vec<Lease>,
}

impl Taken {
    /// Of one whose deliveries are left to claims.
    pub(crate) fn none(enqueued: Enqueued) -> Self {
        Self { enqueued, leases: Vec::new() }
    }
}

impl Enqueue {
    /// Whether all its deliveries are due at once, without bound and order: then they can be taken.
    pub fn is_immediate(&self) -> bool {
        let plain = |to: &Target| to.order_key.is_none() && to.expires_after.is_none();
        self.schedule == Schedule::default() && self.destinations.iter().all(plain)
    }
}

/// A notification to store, and what is to be taken of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) item: &'a Enqueue,
    pub(crate) taking: Option<&'a Taking>,
}

impl<'a> Order<'a> {
    pub(crate) fn plain(item: &'a Enqueue) -> Self {
        Self { item, taking: None }
    }

    /// By whom and for how long its delivery to this target is to be leased.
    pub(crate) fn taker(&self, target: &Target) -> Option<(HostId, Duration)> {
        let taking = self.taking.filter(|_| self.item.is_immediate())?;
        let named = taking.destinations.contains(&target.destination);
        named.then_some((taking.host, taking.lease))
    }

    /// The lease on its new delivery, as a claim would answer it.
    pub(crate) fn lease(&self, destination: &str, id: i64) -> Lease {
        Lease {
            key: LeaseKey { id: DeliveryId(id), token: 1 },
            destination: destination.to_owned(),
            notification: Notification {
                time: millis::timestamp(self.item.notification.time.as_millisecond()),
                ..self.item.notification.clone()
            },
            attempt: 1,
            standing: Standing { used: 0, lost: 0, age: Duration::ZERO, left: None },
            parts_done: 0,
            chain: Vec::new(),
            order_key: None,
        }
    }
}

/// Those of a batch without an answer that share no id and no key with one before them, and their places: what can be
/// stored at once. The others wait for the next wave, and come after these.
pub(crate) fn wave<'a, T>(batch: &[Order<'a>], answers: &[Option<T>]) -> Vec<(usize, Order<'a>)> {
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    let open = batch.iter().zip(answers).enumerate().filter(|(_, (_, answer))| answer.is_none());
    let first = open.map(|(place, (order, _))| (place, *order)).filter(|(_, order)| {
        // Both, so that nothing overtakes what waits for the next wave under its other name.
        let new_id = ids.insert(order.item.notification.id);
        let key = order.item.idempotency_key.as_deref();
        let new_key = key.is_none_or(|key| keys.insert(key));
        new_id && new_key
    });
    first.collect()
}
