//! A queue whose claims and settlements fail when a test says so; everything else is the queue in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use postrider_core::{Attempt, DeliveryId, LeaseKey};
use postrider_queue::{
    Arrived, DeliveryFilter, DeliveryRecord, Enqueue, Enqueued, KeptDestination, MemoryQueue,
    NotificationRecord, Page, Settle, Slot, StateEntry,
};

use super::*;

pub(super) struct Unsteady {
    pub(super) inner: Arc<MemoryQueue>,
    /// How many more claims fail.
    pub(super) failing_claims: AtomicUsize,
    /// How many more settlements fail.
    pub(super) failing_settles: AtomicUsize,
    pub(super) claims: AtomicUsize,
}

impl Unsteady {
    pub(super) fn new(failing_claims: usize, failing_settles: usize) -> Self {
        Self {
            inner: Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH)),
            failing_claims: AtomicUsize::new(failing_claims),
            failing_settles: AtomicUsize::new(failing_settles),
            claims: AtomicUsize::new(0),
        }
    }
}

fn fails(counter: &AtomicUsize) -> Result<(), QueueError> {
    match counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(QueueError::Unavailable("the disk is full".into())),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl Queue for Unsteady {
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        self.inner.enqueue(batch).await
    }
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        self.inner.arrived(limit).await
    }
    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        self.inner.fan_out(routes).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        fails(&self.failing_claims)?;
        self.inner.claim(claim).await
    }
    async fn extend(&self, held: &[LeaseKey], l: Duration) -> Result<Vec<LeaseKey>, QueueError> {
        self.inner.extend(held, l).await
    }
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        fails(&self.failing_settles)?;
        self.inner.settle(batch).await
    }
    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.inner.redeliver(ids).await
    }
    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.inner.cancel(ids).await
    }
    async fn next_due(&self, destinations: &[String]) -> Result<Option<Duration>, QueueError> {
        self.inner.next_due(destinations).await
    }
    async fn size(&self) -> Result<u64, QueueError> {
        self.inner.size().await
    }
    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        self.inner.notification(id).await
    }
    async fn notifications(&self, page: &Page) -> Result<Vec<NotificationRecord>, QueueError> {
        self.inner.notifications(page).await
    }
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError> {
        self.inner.deliveries(filter).await
    }
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        self.inner.attempts(id).await
    }
    async fn keep_destinations(&self, kept: &[KeptDestination]) -> Result<(), QueueError> {
        self.inner.keep_destinations(kept).await
    }
    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError> {
        self.inner.kept_destinations().await
    }
    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        self.inner.bury_orphans(after).await
    }
    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError> {
        self.inner.state_get(slot).await
    }
    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        self.inner.state_set(slot, value, ttl, expected).await
    }
    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError> {
        self.inner.state_remove(slot).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
