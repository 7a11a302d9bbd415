//! The leases that this host holds, and their extension.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::{DeliveryId, LeaseKey};
use postrider_queue::{MAX_BATCH, QueueError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::trouble::Part;
use crate::signals::pulse::Loop;

/// A lease is extended when this share of it has passed: two extensions may fail before it expires.
const EXTEND_SHARE: u32 = 3;
/// What a queue that does not answer may keep an extension for.
const EXTENSION: Duration = Duration::from_secs(30);
/// Wait after an extension that failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Leases from their claim to their settlement.
#[derive(Default)]
pub(super) struct Held(Mutex<BTreeMap<DeliveryId, HeldLease>>);

struct HeldLease {
    token: i64,
    /// Cancelled when the lease is lost.
    lost: CancellationToken,
    /// When its attempt is given up, as its thread must be stuck.
    until: Option<Instant>,
}

impl Held {
    /// Holds a lease until [`Held::done`]. The answer is cancelled when the lease is lost: also when this host claims
    /// the delivery anew, which it may after its lease expired unnoticed. It is held until `until` at most.
    pub(super) fn hold(&self, key: LeaseKey, until: Option<Instant>) -> CancellationToken {
        let lost = CancellationToken::new();
        let held = HeldLease { token: key.token, lost: lost.clone(), until };
        let older = self.map().insert(key.id, held);
        if let Some(older) = older {
            older.lost.cancel();
        }
        lost
    }

    pub(super) fn done(&self, key: LeaseKey) {
        let mut map = self.map();
        if map.get(&key.id).is_some_and(|held| held.token == key.token) {
            map.remove(&key.id);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map().len()
    }

    fn lose(&self, key: LeaseKey) {
        let mut map = self.map();
        if map.get(&key.id).is_some_and(|held| held.token == key.token)
            && let Some(held) = map.remove(&key.id)
        {
            held.lost.cancel();
        }
    }

    /// Lets go of those whose attempts are given up: their leases expire, and others try them.
    fn give_up(&self, now: Instant) {
        self.map().retain(|id, held| {
            let given_up = held.until.is_some_and(|until| until <= now);
            if given_up {
                tracing::error!(delivery.id = %id, "an attempt did not end in its time: its thread is held up; the lease will expire");
                held.lost.cancel();
            }
            !given_up
        });
    }

    fn keys(&self) -> Vec<LeaseKey> {
        let map = self.map();
        map.iter().map(|(id, held)| LeaseKey { id: *id, token: held.token }).collect()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<DeliveryId, HeldLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends every held lease, for ever. A lease that the queue no longer grants us ends its attempt.
pub(super) async fn extend_all(shared: Arc<Shared>) {
    let lease = shared.options.lease;
    let mut wait = lease / EXTEND_SHARE;
    shared.options.signals.beat(Loop::Extender, wait);
    loop {
        tokio::time::sleep(wait).await;
        shared.options.signals.beat(Loop::Extender, lease + EXTENSION);
        shared.held.give_up(Instant::now());
        let keys = shared.held.keys();
        wait = match extend(&shared, &keys).await {
            Ok(()) => {
                shared.trouble.over(Part::Extender(0));
                lease / EXTEND_SHARE
            }
            Err(error) => {
                shared.trouble.waits(Part::Extender(keys.len()), &error);
                TRY_AGAIN.min(lease / EXTEND_SHARE)
            }
        };
    }
}

async fn extend(shared: &Shared, keys: &[LeaseKey]) -> Result<(), QueueError> {
    for batch in keys.chunks(MAX_BATCH) {
        let lost = shared.queue.extend(batch, shared.options.lease).await?;
        lost.into_iter().for_each(|key| shared.held.lose(key));
    }
    Ok(())
}
