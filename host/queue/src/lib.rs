//! The durable queue of postrider: one trait, one conformance suite, several stores.
//!
//! - [`Queue`]: what every store does, in the order of a delivery's life.
//! - [`Access`]: tokens and the audit, kept beside it.
//! - [`Versions`]: how plugins' versions do, and which are quarantined.
//! - [`memory`]: the store of tests, and the model that the others are held against.
//! - [`sqlite`]: the embedded store, one file, one writer.
//! - [`postgres`]: the store for many hosts.
//! - [`outbox`]: enqueueing from a producer's program, in its own transaction.
//! - `conformance` (tests only): the claims that every store must keep, written once.
//! - `lease_model` (tests only): the lease protocol, searched exhaustively.
//!
//! # Order
//!
//! Deliveries of one destination with one `order_key` run one at a time, in the order of their ids. The first is the
//! key's *head*, an ordinary live delivery. The others *wait*: they are live but never due. A key without a head
//! promotes the first that waits; whatever ends a head, or makes a delivery, does so. A delivery without a key knows
//! nothing of this.
//!
//! # The lease protocol
//!
//! A live delivery has one clock, `due`: when it may next be claimed. A claim moves `due` forward by the lease and
//! adds one to `token`; while leased, `due` is the lease's expiry, so an expired lease is simply a due delivery and
//! there is no rescuer. Every write of a worker names `(id, token)` and takes effect only while that token is the
//! delivery's newest and the delivery is live.
//!
//! *Invariant:* a write by anyone but the holder of the newest claim changes nothing and is reported as lost.
//!
//! *Invariant:* the store's clock is the only clock; delays come in, times of day do not.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::settle::{Settlement, Standing};
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, HostId, LeaseKey, Notification, NotificationId, Retention,
    Schedule,
};

mod access;
#[cfg(test)]
mod agreement;
mod backlog;
mod breaker;
#[cfg(test)]
#[macro_use]
mod conformance;
mod depth;
mod digest;
mod holding;
mod hosts;
#[cfg(test)]
mod lease_model;
mod listing;
pub mod memory;
mod millis;
pub mod outbox;
pub mod postgres;
mod pruning;
mod rates;
mod schema;
pub mod sqlite;
mod stats;
mod taking;
mod target;
mod versions;

pub use access::{AUDIT_KEPT, Access, AuditEntry, AuditRecord, LAST_USE, NewToken, TokenRecord};
pub use backlog::{BACKLOG_COUNTED, Backlog, DEAD_GROUPS, DEAD_LOOKED, DeadGroup};
pub use breaker::{Blocked, Breaker, BreakerTurn, TrialClaim, Tried, Trip};
pub use depth::Depth;
pub use holding::{Hold, Paused};
pub use hosts::{HOST_FORGOTTEN, HOST_SILENT, HostBeat, HostRecord};
pub use listing::{NotificationFilter, NotificationState};
pub use memory::MemoryQueue;
pub use postgres::{OpenError as OpenPostgresError, PostgresOptions, PostgresQueue};
pub use pruning::Pruned;
pub use rates::RateAsk;
pub use schema::Schema;
pub use sqlite::{BackupError, OpenError, SqliteOptions, SqliteQueue};
pub use stats::{COUNTED, Rows, Sizes, Stats};
pub use taking::{Taken, Taking};
pub use target::{AgeBound, Sweep, Target};
pub use versions::{
    Quarantine, QuarantineRecord, VERSIONS_KEPT, VersionRecord, VersionSeen, Versions,
};

/// Most items that one call takes: keeps transactions short. Callers batch within it.
pub const MAX_BATCH: usize = 1_000;

/// A queue of deliveries. Methods stand in the order of a delivery's life.
///
/// Every method answers only after its effect is durable. A method whose future is dropped may or may not have
/// taken effect, never half.
#[async_trait]
pub trait Queue: Versions + Send + Sync + 'static {
    /// Stores notifications and fans them out, in one transaction. One answer for each, in order. An id that is
    /// stored already counts like a key: the same call may be sent again when its answer was lost. Items that share an id
    /// or a key with one before them in the batch come after the others.
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError>;

    /// Stores one notification like [`Queue::enqueue`]. If it is [immediate](Enqueue::is_immediate), the same transaction
    /// may lease its deliveries to those destinations that `taking` names, if they are not held. What is answered is to be
    /// started or handed back like a claim's; a caller that is gone before the answer leaves leases that expire.
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError>;

    /// Notifications that a producer inserted itself and that nobody has fanned out, oldest first, at most `limit`.
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError>;

    /// Fans arrived notifications out, or sets a malformed one aside with its reason. Doing it twice changes
    /// nothing. Answers the number of deliveries made.
    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError>;

    /// Leases what is due: for each destination up to its slots, shared as [`Slots`] says. A lease that expired
    /// without a settlement is recorded as an attempt `lost` of the host that held it. At most [`MAX_BATCH`] a call,
    /// and a destination that is named twice counts once.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError>;

    /// Leases what came too late, whether or not it is due: live deliveries past their expiry, and those older than
    /// their destination's `max_age`; also of destinations that are held, and those that wait for their key's head.
    /// The caller settles them as dead. At most [`MAX_BATCH`] a call, and bounded work: what it leaves comes with the
    /// next ones. Promotes what a host that ended left waiting, too.
    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError>;

    /// Extends leases to `lease` from now. Answers those that are no longer ours.
    async fn extend(&self, held: &[LeaseKey], lease: Duration)
    -> Result<Vec<LeaseKey>, QueueError>;

    /// Writes settlements and attempts. Answers those whose lease is no longer ours; for them nothing is written. A
    /// settlement ends its lease: the same one again is reported like a stranger's. Attempts are numbered by the
    /// store; one that is not recorded gives its number back.
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError>;

    /// Revives dead or cancelled deliveries with a fresh budget, due at once, and makes later ones due at once.
    /// Answers how many it revived or hastened; delivered, leased and due ones, and those that wait for their key's
    /// head, are left alone. The revived are retries: a thousand dead letters must not starve fresh traffic. They
    /// expire no more, and one with an order key comes after its key's head. Where the content of one is gone, nothing
    /// is done and the answer is [`QueueError::Pruned`].
    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError>;

    /// Cancels live deliveries; a running attempt then finds its lease lost, and is recorded as `lost`. Answers how
    /// many.
    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError>;

    /// Opens the breaker of a destination, or notes that it is gone. Answers whether that changed anything.
    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError>;

    /// Begins a trial of a destination whose breaker is open or ramping, if its time has come and anything is due:
    /// leases the oldest due, as many as the batch and the host's room allow. None otherwise. Of many hosts one gets it.
    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError>;

    /// Ends a trial. Answers whether it was still the newest one; another's changes nothing.
    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError>;

    /// Closes a destination's breaker, whatever its state, ends its pause and lifts its hold. Answers whether there was
    /// any of them.
    async fn resume(&self, destination: &str) -> Result<bool, QueueError>;

    /// The destinations that are left alone now, by name.
    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError>;

    /// Puts dead deliveries away: they become cancelled, with their history. Answers how many; others are left alone.
    async fn put_away(&self, ids: &[DeliveryId]) -> Result<u64, QueueError>;

    /// Holds a destination on every host until [`Queue::resume`]: nothing of it is claimed, attempts that run go on. Its
    /// breaker, if any, is forgotten, and none opens meanwhile.
    /// A second pause changes the reason only.
    async fn pause(&self, destination: &str, reason: &str) -> Result<(), QueueError>;

    /// Destinations that are held now, by name.
    async fn holds(&self) -> Result<Vec<Hold>, QueueError>;

    /// Takes from the rates that all hosts share: how many each may begin now, in the order of `asks`. A queue that only
    /// one host works on leaves its rates to that host, and grants what is wanted.
    async fn take_rate(&self, asks: &[RateAsk]) -> Result<Vec<u32>, QueueError> {
        Ok(asks.iter().map(|ask| ask.wanted).collect())
    }

    /// Looks, in one statement, for what a host with room for these destinations could do.
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError>;

    /// Whether other hosts work on this queue, too. They add work that only a look finds, so a dispatcher looks more
    /// often.
    fn shared(&self) -> bool {
        false
    }

    /// Waits until another host tells of work; a look then shows what it is. Word that comes while nobody waits is
    /// kept for the next who does, dropping the future loses none, and an idle word is no error: the caller looks by
    /// itself, too, and takes words ever more slowly when they come to nothing. By default there is never any.
    async fn wait_for_work(&self) {
        std::future::pending::<()>().await;
    }

    /// Live deliveries and notifications not fanned out: exact up to [`EXACT_SIZE`], that number beyond it.
    async fn size(&self) -> Result<u64, QueueError> {
        self.size_within(EXACT_SIZE).await
    }

    /// The same up to `limit`. Its cost grows with the answer.
    async fn size_within(&self, limit: u64) -> Result<u64, QueueError>;

    /// Numbers about the whole store.
    async fn stats(&self) -> Result<Stats, QueueError>;

    /// How much waits for each of these destinations, in their order; each is named once.
    async fn depths(&self, destinations: &[String]) -> Result<Vec<Depth>, QueueError>;

    /// What waits for each destination that has anything, and what it gave up, by name.
    async fn backlog(&self) -> Result<Vec<Backlog>, QueueError>;

    /// The newest [`DEAD_LOOKED`] dead deliveries by destination, cause and reason, the most first; of the groups no
    /// more than [`DEAD_GROUPS`].
    async fn dead_letters(&self) -> Result<Vec<DeadGroup>, QueueError>;

    /// One notification with its content.
    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError>;

    /// Notifications, newest first, without content.
    async fn notifications(&self, page: &Page) -> Result<Vec<NotificationRecord>, QueueError> {
        self.find_notifications(&NotificationFilter::all(*page)).await
    }

    /// Those notifications that the filter lets through, newest first, without content. Looks at every row between
    /// `above` and the page's `after`.
    async fn find_notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<NotificationRecord>, QueueError>;

    /// Deliveries, newest first.
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError>;

    /// One delivery's attempts, oldest first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError>;

    /// Keeps the last good text of each destination file in force. Those kept before and not named now are marked
    /// as removed at this moment (if they were not already), unless a live host has them in force; those named are
    /// marked as present.
    async fn keep_destinations(&self, destinations: &[KeptDestination]) -> Result<(), QueueError>;

    /// The destinations last kept, removed ones left out.
    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError>;

    /// Kills live, unleased deliveries of destinations that were removed longer than `after` ago, and of names that
    /// were never kept and are older than `after`; at most [`MAX_BATCH`] a call. Answers how many.
    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError>;

    /// Does one chunk of retention, from the start or where the last chunk says. A chunk is one short transaction;
    /// callers pause between. Safe beside everything else, and from several hosts at once.
    async fn prune(&self, retention: &Retention, after: Option<i64>) -> Result<Pruned, QueueError>;

    /// Tells that a host is alive, and what it has in force: kept destinations that no live host has any more are
    /// marked as removed, those that it has as present. Forgets hosts that were silent for [`HOST_FORGOTTEN`].
    async fn beat(&self, beat: &HostBeat) -> Result<(), QueueError>;

    /// Hosts, the newest first.
    async fn hosts(&self) -> Result<Vec<HostRecord>, QueueError>;

    /// Takes a host that stops off the list.
    async fn leave(&self, host: HostId) -> Result<(), QueueError>;

    /// Reads one of a destination's own notes.
    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError>;

    /// Writes a note, for `ttl` or until removed. With `expected` only if its version is that (`Some(None)`: only
    /// if it is absent). Answers whether it wrote.
    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError>;

    /// Removes a note; an absent one is no error.
    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError>;

    /// Finishes running work and closes. Calls after it fail with [`QueueError::Unavailable`].
    async fn close(&self);
}

/// Queue sizes up to this are counted exactly.
pub const EXACT_SIZE: u64 = 10_000;

/// Most notes of one destination.
pub const MAX_STATE_KEYS: u64 = 1_000;
/// Most bytes of one destination's notes, keys and values together.
pub const MAX_STATE_BYTES: u64 = 1 << 20;

/// Why a store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// Try again later: busy, disk full, connection lost, closed.
    #[error("the queue is unavailable: {0}")]
    Unavailable(String),
    /// A destination's notes would exceed [`MAX_STATE_KEYS`] or [`MAX_STATE_BYTES`].
    #[error("{0}")]
    StateFull(String),
    /// The content is gone, so it cannot be sent again.
    #[error("{0}")]
    Pruned(String),
    /// A row holds what no version of postrider writes.
    #[error("the queue holds a value that cannot be read: {0}")]
    Corrupt(String),
}

/// A notification to store, and the destinations it goes to.
#[derive(Clone, Debug)]
pub struct Enqueue {
    pub notification: Notification,
    pub idempotency_key: Option<String>,
    pub schedule: Schedule,
    /// Of two targets of one destination the first counts.
    pub destinations: Vec<Target>,
}

/// What became of one [`Enqueue`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    Stored {
        id: NotificationId,
        deliveries: u32,
    },
    /// The same key with the same notification came before.
    Existing {
        id: NotificationId,
        deliveries: u32,
    },
    /// The same key came before with another notification.
    Conflict {
        id: NotificationId,
    },
}

/// A notification that a producer inserted by SQL.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The row, for [`Route`].
    pub row: i64,
    /// Or why it is malformed.
    pub notification: Result<Notification, String>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// A notification that a producer inserted itself waits for fan-out.
    pub arrived: bool,
    /// Time until the first live delivery of the destinations is due; zero when one is, none without any. Those that
    /// wait for their key's head do not count.
    pub due: Option<Duration>,
    /// Time until a trial of one of the destinations may begin; none where no breaker is open, or nothing is due.
    pub trial: Option<Duration>,
}

/// Where an arrived notification goes.
#[derive(Clone, Debug)]
pub struct Route {
    pub row: i64,
    /// The destinations, or the reason to set it aside.
    pub destinations: Result<Vec<Target>, String>,
}

/// What a host asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    pub host: HostId,
    pub lease: Duration,
    pub slots: Vec<Slots>,
}

/// How many deliveries of one destination a host can take, and how first attempts and retries share them. What one
/// lane leaves free the other takes: a claim fills `free` whenever enough is due in the two together.
#[derive(Clone, Debug)]
pub struct Slots {
    pub destination: String,
    /// Most deliveries to lease now.
    pub free: u32,
    /// How many of them are kept for retries, if so many are due.
    pub retries: u32,
}

impl Slots {
    /// Most deliveries where a batch has so much room left, and how many of them are kept for retries. The batch's
    /// bound cuts both by the same share: a backlog of retries gets no more than its own of a small rest.
    fn within(&self, room: usize) -> (u32, u32) {
        let free = u32::try_from(room).unwrap_or(u32::MAX).min(self.free);
        let kept = u64::from(self.retries.min(self.free)) * u64::from(free);
        let kept = kept.div_ceil(u64::from(self.free).max(1));
        (free, u32::try_from(kept).unwrap_or(free))
    }
}

/// The exclusive right to one delivery until it expires.
#[derive(Clone, Debug)]
pub struct Lease {
    pub key: LeaseKey,
    pub destination: String,
    pub notification: Notification,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    pub standing: Standing,
    /// Parts of a split notification that are already delivered.
    pub parts_done: u32,
    /// What is left of the chain of fallbacks that this delivery came by; empty for an ordinary one.
    pub chain: Vec<String>,
    /// The key whose deliveries run one at a time.
    pub order_key: Option<String>,
}

/// One delivery's settlement.
#[derive(Clone, Debug)]
pub struct Settle {
    pub key: LeaseKey,
    pub settlement: Settlement,
    pub parts_done: u32,
    /// The line for the operator: why it waits or died.
    pub reason: String,
    /// The attempt to record; none for a release or a refusal.
    pub attempt: Option<Attempt>,
    /// Used by [`Settlement::Dead`]: takes over in the same transaction, unless the notification itself has expired. A
    /// destination that already has this notification is linked, not sent to twice.
    pub handover: Option<Handover>,
}

impl Settle {
    /// Whether the delivery ends with it.
    pub fn ends(&self) -> bool {
        matches!(self.settlement, Settlement::Delivered | Settlement::Dead { .. })
    }
}

/// Who takes a dead delivery over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    pub taker: Target,
    /// Who comes after it.
    pub chain: Vec<String>,
}

/// One page of a list: up to `limit` rows after the row `after`.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub after: Option<i64>,
    pub limit: u32,
}

/// Which deliveries to list.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    pub state: Option<DeliveryState>,
    pub destination: Option<String>,
    pub notification: Option<NotificationId>,
    pub id: Option<DeliveryId>,
    /// Numbers above this one only: what bounds the work of a filter that matches little.
    pub above: Option<i64>,
    pub page: Page,
}

/// A stored notification.
#[derive(Clone, Debug)]
pub struct NotificationRecord {
    /// Its place in the order of arrival, for paging.
    pub row: i64,
    pub notification: Notification,
    pub idempotency_key: Option<String>,
    /// None until it is fanned out.
    pub deliveries: Option<u32>,
    /// Why it was set aside.
    pub malformed: Option<String>,
    /// When it expires by its own `expires_after`; none until it is fanned out.
    pub expires: Option<Timestamp>,
    /// Whether retention has taken its content.
    pub pruned: bool,
}

/// A stored delivery.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    pub id: DeliveryId,
    pub notification: NotificationId,
    pub kind: String,
    pub destination: String,
    pub state: DeliveryState,
    /// Attempts made, lost ones included.
    pub attempts: u32,
    pub created: Timestamp,
    /// When it may next be claimed, or when its lease expires; none when it is finished, or waits for its key's head.
    pub due: Option<Timestamp>,
    /// From when on no attempt starts.
    pub expires: Option<Timestamp>,
    pub order_key: Option<String>,
    /// Whether it waits for those of its key that came before.
    pub waiting: bool,
    pub finished: Option<Timestamp>,
    /// The last line for the operator.
    pub reason: String,
    /// Why it died, a name of [`postrider_core::settle::Cause`].
    pub cause: Option<String>,
    /// The delivery that it took over from.
    pub fallback_of: Option<DeliveryId>,
    /// The delivery that took over from it.
    pub fallback_to: Option<DeliveryId>,
}

/// A destination file in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDestination {
    pub name: String,
    pub text: String,
    /// SHA-256 of the last good module, in hexadecimal; empty where none was ever good.
    pub module: String,
}

/// The place of one note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub destination: String,
    pub key: String,
}

/// A note and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    pub value: Vec<u8>,
    pub version: u64,
}

/// Reason of a `lost` attempt: its host did not settle or extend the lease in time.
const LEASE_EXPIRED: &str = "its host did not settle or extend the lease: it ended, or was cut off";
/// Reason of a `lost` attempt: somebody cancelled the delivery meanwhile.
const LEASE_CANCELLED: &str = "the delivery was cancelled while the attempt ran";
/// When a delivery is due that waits for its key's head: in no time that a clock reaches, in milliseconds.
const NEVER: i64 = i64::MAX / 4;
/// Line for the operator of a buried orphan.
const ORPHANED: &str = "the destination's file is gone";

fn content_gone(deliveries: &[i64]) -> QueueError {
    let numbers: Vec<String> = deliveries.iter().take(10).map(ToString::to_string).collect();
    let more = if deliveries.len() > 10 { ", …" } else { "" };
    QueueError::Pruned(format!(
        "cannot be redelivered: retention has removed the content of deliveries {}{more}; leave these out, and keep \
         contents longer with `retention.content`",
        numbers.join(", ")
    ))
}

fn state_full(destination: &str) -> QueueError {
    QueueError::StateFull(format!(
        "the notes of destination \"{destination}\" would exceed {MAX_STATE_KEYS} keys or {} KiB; \
         remove some or give them a time to live",
        MAX_STATE_BYTES >> 10
    ))
}
