//! The embedded store: one file, one writer.
//!
//! - [`open`](SqliteQueue::open): lock, schema, recovery; errors that an operator can act on.
//! - `writer`: the one thread that writes, and merges what waits into one transaction.
//! - `intake`, `leases`, `upkeep`: what it does for each request, in the order of a delivery's life.
//! - `order`: one at a time for each key.
//! - `breakers`: destinations that are left alone.
//! - `chores`: retention, hosts and numbers; `access`: tokens and the audit.
//! - `versions`: how plugins' versions do, and which are quarantined.
//! - `statement`: how the writer's statements are run, and those for so many rows.
//! - `sql`, `access_sql`, `breakers_sql`, `chores_sql`, `versions_sql`: every statement.
//! - `checkpoint`: from the log into the file.
//! - `beside`: what another process does to the file while a daemon runs on it.
//! - `rows`: from rows to types.
//!
//! WAL with `synchronous = FULL`: what was answered survives the power. Producers may insert notifications at any
//! time from their own processes; they only ever wait for one short transaction.
//!
//! The writer and the checkpoints have connections of rusqlite on threads of their own, where a statement is a call;
//! those who read have a pool of sqlx. Both link one SQLite.
//!
//! *Invariant:* one daemon a database, kept by a lock on `<database>.lock`, and in it one connection that writes.

mod access;
mod access_sql;
mod beside;
mod breakers;
mod breakers_sql;
mod checkpoint;
mod chores;
mod chores_sql;
mod fault;
mod intake;
mod leases;
mod open;
mod order;
mod rows;
mod schema;
mod settle;
mod sql;
mod statement;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;
mod versions;
mod versions_sql;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, HostId, LeaseKey, NotificationId, Retention,
};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tokio::sync::{mpsc, oneshot};

pub use self::beside::BackupError;
use self::breakers::Guard;
use self::chores::Chore;
use self::fault::Fault;
pub(crate) use self::intake::known_under;
use self::leases::Extend;
use self::open::Opened;
pub use self::open::{Clock, OpenError, SqliteOptions};
pub(crate) use self::sql::OUTBOX;
use self::upkeep::SetNote;
use self::writer::{Pending, Request, Writer};
use crate::listing::as_glob;
use crate::{
    Arrived, BACKLOG_COUNTED, Backlog, Blocked, BreakerTurn, Claim, DEAD_GROUPS, DEAD_LOOKED,
    DeadGroup, DeliveryFilter, DeliveryRecord, Depth, Enqueue, Enqueued, Hold, HostBeat,
    HostRecord, KeptDestination, Lease, Look, NotificationFilter, NotificationRecord,
    NotificationState, Pruned, Queue, QueueError, Route, Settle, Slot, StateEntry, Stats, Sweep,
    Taken, Taking, TrialClaim, Tried, Trip, content_gone, depth, millis,
};

/// A queue in an SQLite file.
#[derive(Debug)]
pub struct SqliteQueue {
    requests: mpsc::Sender<Request>,
    readers: SqlitePool,
    clock: Clock,
    path: PathBuf,
}

impl SqliteQueue {
    /// Opens the database at `path`, or creates it. Within a tokio runtime; the writer gets a thread of its own.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let Opened { lock, writer, checkpoints, readers } = open::open(path, &options).await?;
        let (sender, requests) = mpsc::channel(writer::WAITING);
        let clock = options.clock.clone();
        let writer = Writer { requests, connection: writer, clock, checkpoints, lock };
        writer.start().map_err(|error| open::no_thread(path, &error))?;
        Ok(Self { requests: sender, readers, clock: options.clock, path: path.to_owned() })
    }

    async fn write<T, R>(
        &self,
        kind: impl FnOnce(Pending<T, R>) -> Request,
        input: T,
    ) -> Result<R, QueueError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(kind(Pending { input, reply })).await;
        sent.map_err(|_closed| fault::closed())?;
        answer.await.unwrap_or_else(|_closed| Err(fault::closed()))
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        self.write(Request::Enqueue, batch).await
    }

    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        self.write(|pending| Request::Take(Box::new(pending)), (item, taking)).await
    }

    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql::ARRIVED).bind(limit).fetch_all(&self.readers).await;
        read(rows, rows::arrived)
    }

    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        self.write(Request::FanOut, routes).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.write(Request::Claim, claim.clone()).await
    }

    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.write(Request::ClaimOverdue, sweep.clone()).await
    }

    async fn extend(
        &self,
        held: &[LeaseKey],
        lease: Duration,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        self.write(Request::Extend, Extend { held: held.to_vec(), lease }).await
    }

    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.write(Request::Settle, batch).await
    }

    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let numbers = json(&numbers).map_err(fault::describe)?;
        let gone = sqlx::query_scalar(chores_sql::CONTENT_GONE).bind(numbers);
        let gone: Result<Vec<i64>, _> = gone.fetch_all(&self.readers).await;
        match gone.map_err(fault::describe)? {
            gone if gone.is_empty() => self.write(Request::Redeliver, ids.to_vec()).await,
            gone => Err(content_gone(&gone)),
        }
    }

    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.write(Request::Cancel, ids.to_vec()).await
    }

    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        Ok(self.write(Request::Guard, Guard::Trip(trip.clone())).await?.changed)
    }

    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        Ok(self.write(Request::Guard, Guard::Try(claim.clone())).await?.tried)
    }

    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        Ok(self.write(Request::Guard, Guard::Turn(turn.clone())).await?.changed)
    }

    async fn resume(&self, destination: &str) -> Result<bool, QueueError> {
        let resume = Guard::Resume(destination.to_owned());
        Ok(self.write(Request::Guard, resume).await?.changed)
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        let now = self.clock.now();
        let rows = sqlx::query(breakers_sql::BLOCKED).bind(now).fetch_all(&self.readers).await;
        read(rows, |row| breakers::blocked(row, now))
    }

    async fn put_away(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.write(Request::PutAway, ids.to_vec()).await
    }

    async fn pause(&self, destination: &str, reason: &str) -> Result<(), QueueError> {
        let (destination, reason) = (destination.to_owned(), reason.to_owned());
        self.write(Request::Chore, Chore::Pause { destination, reason }).await.map(drop)
    }

    async fn holds(&self) -> Result<Vec<Hold>, QueueError> {
        let holds = sqlx::query(chores_sql::HOLDS).bind(self.clock.now());
        read(holds.fetch_all(&self.readers).await, chores::hold)
    }

    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        let names = json(&destinations).map_err(fault::describe)?;
        let now = self.clock.now();
        let look = sqlx::query_as(sql::LOOK).bind(names).bind(now).fetch_one(&self.readers).await;
        let (arrived, due, trial): (bool, Option<i64>, Option<i64>) =
            look.map_err(fault::describe)?;
        let after = |at: i64| millis::duration(at.saturating_sub(now));
        Ok(Look { arrived, due: due.map(after), trial: trial.map(after) })
    }

    async fn size_within(&self, limit: u64) -> Result<u64, QueueError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let size = sqlx::query_scalar(sql::SIZE).bind(limit).fetch_one(&self.readers).await;
        size.map(i64::cast_unsigned).map_err(fault::describe)
    }

    async fn stats(&self) -> Result<Stats, QueueError> {
        let reader = self.readers.acquire().await;
        let mut reader = reader.map_err(fault::describe)?;
        let stats = chores::stats(&mut reader, self.clock.now()).await;
        stats.map(|stats| beside::with_log(stats, &self.path)).map_err(fault::describe)
    }

    async fn depths(&self, destinations: &[String]) -> Result<Vec<Depth>, QueueError> {
        let names = json(destinations).map_err(fault::describe)?;
        let share = depth::share(destinations.len());
        let depths = sqlx::query(chores_sql::DEPTHS).bind(names).bind(self.clock.now());
        let depths = depths.bind(i64::try_from(share).unwrap_or(i64::MAX));
        read(depths.fetch_all(&self.readers).await, |row| chores::depth(row, share))
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, QueueError> {
        let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let waiting = sqlx::query(chores_sql::BACKLOG).bind(bound(BACKLOG_COUNTED));
        let waiting = waiting.bind(self.clock.now()).fetch_all(&self.readers).await;
        let dead = sqlx::query(chores_sql::DEAD_OF).bind(bound(DEAD_LOOKED));
        let dead = read(dead.fetch_all(&self.readers).await, chores::dead_of)?;
        Ok(Backlog::with_dead(read(waiting, chores::backlog)?, &dead))
    }

    async fn dead_letters(&self) -> Result<Vec<DeadGroup>, QueueError> {
        let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        let groups = sqlx::query(chores_sql::DEAD_GROUPS).bind(bound(DEAD_LOOKED));
        let groups = groups.bind(bound(DEAD_GROUPS)).fetch_all(&self.readers).await;
        read(groups, chores::dead_group)
    }

    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        let rows =
            sqlx::query(sql::NOTIFICATION).bind(id.to_string()).fetch_all(&self.readers).await;
        let records = read(rows, |row| {
            let mut record = rows::notification_record(row)?;
            record.notification.content = rows::content(row)?;
            Ok(record)
        });
        Ok(records?.pop())
    }

    async fn find_notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<NotificationRecord>, QueueError> {
        let whole = !filter.is_narrow() && filter.above.is_none();
        let query = sqlx::query(if whole { sql::NOTIFICATIONS } else { sql::FIND_NOTIFICATIONS })
            .bind(filter.page.after.unwrap_or(i64::MAX))
            .bind(i64::from(filter.page.limit));
        let moment = |at: Option<Timestamp>| at.map(|at| at.as_millisecond());
        let labels = json(&filter.labels).map_err(fault::describe)?;
        let query = match whole {
            true => query,
            false => query
                .bind(filter.above.unwrap_or(0))
                .bind(filter.kind.as_deref().map(as_glob))
                .bind(filter.source.as_deref().map(as_glob))
                .bind(Some(labels).filter(|_| !filter.labels.is_empty()))
                .bind(moment(filter.since))
                .bind(moment(filter.until))
                .bind(filter.state.map(NotificationState::name)),
        };
        read(query.fetch_all(&self.readers).await, rows::notification_record)
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError> {
        let now = self.clock.now();
        let rows = sqlx::query(list_of(filter))
            .bind(filter.page.after.unwrap_or(i64::MAX))
            .bind(now)
            .bind(&filter.destination)
            .bind(filter.state.map(DeliveryState::name))
            .bind(filter.id.map(|id| id.0))
            .bind(filter.notification.map(|id| id.to_string()))
            .bind(i64::from(filter.page.limit))
            .bind(filter.above.unwrap_or(0))
            .fetch_all(&self.readers)
            .await;
        read(rows, |row| rows::delivery_record(row, now))
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        let rows = sqlx::query(sql::ATTEMPTS).bind(id.0).fetch_all(&self.readers).await;
        read(rows, rows::attempt)
    }

    async fn keep_destinations(&self, destinations: &[KeptDestination]) -> Result<(), QueueError> {
        self.write(Request::Keep, destinations.to_vec()).await
    }

    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError> {
        read(sqlx::query(sql::KEPT).fetch_all(&self.readers).await, rows::kept_destination)
    }

    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        self.write(Request::BuryOrphans, after).await
    }

    async fn prune(&self, retention: &Retention, after: Option<i64>) -> Result<Pruned, QueueError> {
        let chunk = chores::chunk(&self.readers, retention, after, self.clock.now()).await;
        let chunk = chunk.map_err(fault::describe)?;
        match chunk.is_empty() {
            true => Ok(Pruned { next: chunk.next, ..Pruned::default() }),
            false => self.write(Request::Chore, Chore::Prune(chunk)).await,
        }
    }

    async fn beat(&self, beat: &HostBeat) -> Result<(), QueueError> {
        self.write(Request::Chore, Chore::Beat(beat.clone())).await.map(drop)
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, QueueError> {
        let now = self.clock.now();
        let rows = sqlx::query(chores_sql::HOSTS).fetch_all(&self.readers).await;
        read(rows, |row| chores::host(row, now))
    }

    async fn leave(&self, host: HostId) -> Result<(), QueueError> {
        self.write(Request::Chore, Chore::Leave(host)).await.map(drop)
    }

    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError> {
        let rows = sqlx::query(sql::STATE_GET)
            .bind(&slot.destination)
            .bind(&slot.key)
            .bind(self.clock.now())
            .fetch_all(&self.readers)
            .await;
        let entries = read(rows, |row| {
            let version: i64 = row.try_get("version")?;
            Ok(StateEntry { value: row.try_get("value")?, version: version.cast_unsigned() })
        });
        Ok(entries?.pop())
    }

    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        let note = SetNote { slot: slot.clone(), value: value.to_vec(), ttl, expected };
        self.write(Request::StateSet, note).await
    }

    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError> {
        self.write(Request::StateRemove, slot.clone()).await
    }

    async fn close(&self) {
        self.readers.close().await;
        let (closed, wait) = oneshot::channel();
        if self.requests.send(Request::Close(closed)).await.is_ok() {
            // An error means that another call closed it first.
            drop(wait.await);
        }
    }
}

/// The statement whose index serves the filter best; each applies all of it.
fn list_of(filter: &DeliveryFilter) -> &'static str {
    match (filter.id, filter.notification, filter.state, &filter.destination) {
        (Some(_), ..) => sql::DELIVERY,
        (None, Some(_), ..) => sql::DELIVERIES_OF_NOTIFICATION,
        // What is bounded goes by the numbers: of a long backlog an index would be sorted whole.
        (None, None, Some(DeliveryState::Pending | DeliveryState::Leased), _)
            if filter.above.is_some() =>
        {
            sql::DELIVERIES
        }
        (None, None, Some(DeliveryState::Pending | DeliveryState::Leased), Some(_)) => {
            sql::DELIVERIES_LIVE_OF
        }
        (None, None, Some(DeliveryState::Pending | DeliveryState::Leased), None) => {
            sql::DELIVERIES_LIVE
        }
        (None, None, Some(DeliveryState::Dead), _) => sql::DELIVERIES_DEAD,
        (None, None, Some(DeliveryState::Cancelled), _) => sql::DELIVERIES_CANCELLED,
        (None, None, Some(DeliveryState::Delivered) | None, _) => sql::DELIVERIES,
    }
}

fn read<T>(
    rows: Result<Vec<SqliteRow>, sqlx::Error>,
    parse: impl Fn(&SqliteRow) -> Result<T, Fault>,
) -> Result<Vec<T>, QueueError> {
    let rows = rows.map_err(fault::describe)?;
    rows.iter().map(parse).collect::<Result<_, _>>().map_err(fault::describe)
}

/// A batch as one parameter.
fn json<T: Serialize + ?Sized>(batch: &T) -> Result<String, Fault> {
    serde_json::to_string(batch).map_err(|error| Fault::Value(error.to_string()))
}
