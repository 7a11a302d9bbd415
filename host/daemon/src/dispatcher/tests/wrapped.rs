//! A queue between the dispatcher and the queue in memory: a test says what it does to the calls that matter.

use postrider_core::{Attempt, DeliveryId, LeaseKey, Retention};
use postrider_queue::{
    Arrived, Backlog, Blocked, BreakerTurn, DeadGroup, DeliveryFilter, DeliveryRecord, Depth,
    Enqueue, Enqueued, Hold, HostBeat, HostRecord, KeptDestination, Look, NotificationFilter,
    NotificationRecord, Pruned, Quarantine, QuarantineRecord, Settle, Slot, StateEntry, Stats,
    Sweep, Taken, Taking, Tried, Trip, VersionRecord, VersionSeen, Versions,
};

use super::*;

/// The dispatcher's own calls; each goes to the queue behind unless a test says otherwise.
#[async_trait]
pub(super) trait Between: Send + Sync + 'static {
    fn behind(&self) -> &MemoryQueue;

    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        self.behind().enqueue(batch).await
    }
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        self.behind().enqueue_taking(item, taking).await
    }
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        self.behind().arrived(limit).await
    }
    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        self.behind().fan_out(routes).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.behind().claim(claim).await
    }
    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.behind().claim_overdue(sweep).await
    }
    async fn extend(&self, held: &[LeaseKey], l: Duration) -> Result<Vec<LeaseKey>, QueueError> {
        self.behind().extend(held, l).await
    }
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.behind().settle(batch).await
    }
    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        self.behind().trip(trip).await
    }
    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        self.behind().claim_trial(claim).await
    }
    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        self.behind().turn(turn).await
    }
    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        self.behind().blocked().await
    }
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.behind().look(destinations).await
    }
    fn shared(&self) -> bool {
        false
    }
    async fn wait_for_work(&self) {
        std::future::pending::<()>().await;
    }
}

/// A [`Between`] with all the other calls of a queue.
pub(super) struct Wrapped<B>(pub(super) Arc<B>);

#[async_trait]
impl<B: Between> Versions for Wrapped<B> {
    async fn tell_version(&self, seen: &VersionSeen) -> Result<VersionRecord, QueueError> {
        self.0.behind().tell_version(seen).await
    }
    async fn versions(&self) -> Result<Vec<VersionRecord>, QueueError> {
        self.0.behind().versions().await
    }
    async fn quarantine(&self, module: &Quarantine, new_only: bool) -> Result<bool, QueueError> {
        self.0.behind().quarantine(module, new_only).await
    }
    async fn quarantined(&self) -> Result<Vec<QuarantineRecord>, QueueError> {
        self.0.behind().quarantined().await
    }
    async fn release_module(&self, hash: &str) -> Result<bool, QueueError> {
        self.0.behind().release_module(hash).await
    }
}

#[async_trait]
impl<B: Between> Queue for Wrapped<B> {
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        self.0.enqueue(batch).await
    }
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        self.0.enqueue_taking(item, taking).await
    }
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        self.0.arrived(limit).await
    }
    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        self.0.fan_out(routes).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.0.claim(claim).await
    }
    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.0.claim_overdue(sweep).await
    }
    async fn extend(&self, held: &[LeaseKey], l: Duration) -> Result<Vec<LeaseKey>, QueueError> {
        self.0.extend(held, l).await
    }
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.0.settle(batch).await
    }
    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.0.behind().redeliver(ids).await
    }
    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.0.behind().cancel(ids).await
    }
    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        self.0.trip(trip).await
    }
    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        self.0.claim_trial(claim).await
    }
    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        self.0.turn(turn).await
    }
    async fn resume(&self, destination: &str) -> Result<bool, QueueError> {
        self.0.behind().resume(destination).await
    }
    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        self.0.blocked().await
    }
    async fn put_away(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.0.behind().put_away(ids).await
    }
    async fn pause(&self, destination: &str, reason: &str) -> Result<(), QueueError> {
        self.0.behind().pause(destination, reason).await
    }
    async fn holds(&self) -> Result<Vec<Hold>, QueueError> {
        self.0.behind().holds().await
    }
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.0.look(destinations).await
    }
    fn shared(&self) -> bool {
        self.0.shared()
    }
    async fn wait_for_work(&self) {
        self.0.wait_for_work().await;
    }
    async fn size_within(&self, limit: u64) -> Result<u64, QueueError> {
        self.0.behind().size_within(limit).await
    }
    async fn stats(&self) -> Result<Stats, QueueError> {
        self.0.behind().stats().await
    }
    async fn depths(&self, names: &[String]) -> Result<Vec<Depth>, QueueError> {
        self.0.behind().depths(names).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, QueueError> {
        self.0.behind().backlog().await
    }
    async fn dead_letters(&self) -> Result<Vec<DeadGroup>, QueueError> {
        self.0.behind().dead_letters().await
    }
    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        self.0.behind().notification(id).await
    }
    async fn find_notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<NotificationRecord>, QueueError> {
        self.0.behind().find_notifications(filter).await
    }
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError> {
        self.0.behind().deliveries(filter).await
    }
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        self.0.behind().attempts(id).await
    }
    async fn keep_destinations(&self, kept: &[KeptDestination]) -> Result<(), QueueError> {
        self.0.behind().keep_destinations(kept).await
    }
    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError> {
        self.0.behind().kept_destinations().await
    }
    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        self.0.behind().bury_orphans(after).await
    }
    async fn prune(&self, ages: &Retention, after: Option<i64>) -> Result<Pruned, QueueError> {
        self.0.behind().prune(ages, after).await
    }
    async fn beat(&self, beat: &HostBeat) -> Result<(), QueueError> {
        self.0.behind().beat(beat).await
    }
    async fn hosts(&self) -> Result<Vec<HostRecord>, QueueError> {
        self.0.behind().hosts().await
    }
    async fn leave(&self, host: HostId) -> Result<(), QueueError> {
        self.0.behind().leave(host).await
    }
    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError> {
        self.0.behind().state_get(slot).await
    }
    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        self.0.behind().state_set(slot, value, ttl, expected).await
    }
    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError> {
        self.0.behind().state_remove(slot).await
    }
    async fn close(&self) {
        self.0.behind().close().await;
    }
}
