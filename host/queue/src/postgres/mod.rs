//! The store for many hosts: one PostgreSQL database, any number of daemons.
//!
//! - [`open`](PostgresQueue::open): pool, schema; errors that an operator can act on.
//! - `intake`, `leases`, `settle`, `upkeep`: the verbs, in the order of a delivery's life.
//! - `gather`: many callers' notifications in one statement.
//! - `order`: one at a time for each key.
//! - `breakers`: destinations that are left alone; `rates`: one rate for all hosts.
//! - `chores`: retention, hosts and numbers; `access`: tokens and the audit.
//! - `versions`: how plugins' versions do, and which are quarantined.
//! - `sql`, `access_sql`, `breakers_sql`, `chores_sql`, `versions_sql`: every statement.
//! - `doubt`: connections that no longer answer.
//! - `watermark`: where claims begin to look.
//! - `words`: telling other hosts of work, an option.
//! - `rows`, `moment`: from rows to types.
//!
//! Every verb is one statement and so one transaction, but for a settlement with a handover: there, and only there,
//! a transaction runs in a task of its own, because a dropped one would poison its connection.
//!
//! *Invariant:* nothing that hosts tell each other matters. A lease's token in the row is all that keeps them apart.
//!
//! *Invariant:* every statement ends within its patience, whatever the network does, and so does the whole of a call
//! that somebody outside waits for.

#[macro_use]
mod sql;
mod access;
mod access_sql;
mod breakers;
mod breakers_sql;
mod chores;
mod chores_sql;
mod doubt;
mod fault;
mod gather;
mod intake;
mod leases;
mod moment;
mod open;
mod order;
mod rates;
mod rows;
mod schema;
mod settle;
#[cfg(test)]
mod tests;
mod upkeep;
mod versions;
mod versions_sql;
mod watermark;
mod words;

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, HostId, LeaseKey, NotificationId, Retention,
};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

use self::doubt::Doubt;
use self::gather::Gatherer;
pub(crate) use self::intake::known_under;
use self::moment::Moment;
pub use self::open::{OpenError, PostgresOptions};
use self::order::Search;
pub(crate) use self::sql::OUTBOX;
use self::watermark::Watermarks;
use self::words::Words;
use crate::listing::as_like;
use crate::{
    Arrived, Backlog, Blocked, BreakerTurn, Claim, DeadGroup, DeliveryFilter, DeliveryRecord,
    Depth, Enqueue, Enqueued, Hold, HostBeat, HostRecord, KeptDestination, Lease, Look,
    NotificationFilter, NotificationRecord, NotificationState, Pruned, Queue, QueueError, RateAsk,
    Route, Schema, Settle, Slot, StateEntry, Stats, Sweep, Taken, Taking, TrialClaim, Tried, Trip,
    millis,
};

/// Longest time of a call that somebody outside waits for.
const PATIENCE: Duration = Duration::from_millis(1_900);
/// Longest time of a statement of the dispatcher: giving up on one that still takes effect costs a lease.
const LONG_PATIENCE: Duration = Duration::from_secs(10);
/// How often a call is tried again at once, because it met another or its connection was cut.
const TRIES: u32 = 5;

/// A queue in a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresQueue {
    pool: PgPool,
    options: PostgresOptions,
    marks: Arc<Watermarks>,
    words: Option<Arc<Words>>,
    doubt: Doubt,
    search: Arc<Search>,
    /// No other host was alive at this one's last beat. Then claims lock no rows before they write them: nobody else
    /// would skip them. Where another came since, they wait for each other until the next beat.
    alone: Arc<AtomicBool>,
    /// None in those who write what was gathered.
    gatherer: Option<Gatherer>,
}

/// Whether a call whose connection was cut may be sent again: it has no effect the second time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

impl PostgresQueue {
    /// Connects to `url`, such as `postgres://user:password@host/database`, and brings the schema up to date.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, OpenError> {
        let doubt = Doubt::default();
        let pool = open::open(url, doubt.clone()).await?;
        let words = options.listen_notify.map(|host| Arc::new(Words::start(&pool, host)));
        let (marks, search, alone) = (Arc::default(), Arc::default(), Arc::default());
        let store = Self { pool, options, marks, words, doubt, search, alone, gatherer: None };
        Ok(Self { gatherer: Some(Gatherer::start(&store)), ..store })
    }

    /// Stores a batch, and tells other hosts of what this one does not take.
    async fn store_gathered(
        &self,
        batch: Vec<Enqueue>,
        taking: Option<Taking>,
    ) -> Result<Vec<Taken>, QueueError> {
        let gatherer = self.gatherer.as_ref().ok_or_else(fault::closed)?;
        let taken = gatherer.enqueue(batch, taking).await?;
        let left = |taken: &Taken| {
            deliveries_made(&taken.enqueued).saturating_sub(taken.leases.len() as u64)
        };
        self.tell(taken.iter().map(left).sum());
        Ok(taken)
    }

    /// Tells other hosts of `work` pieces of work, if there are any and somebody is to be told.
    fn tell(&self, work: u64) {
        if let Some(words) = self.words.as_ref().filter(|_| work > 0) {
            words.say();
        }
    }

    /// How the database at `url` stands to this postrider, without migrating it.
    pub async fn schema(url: &str) -> Result<Schema, OpenError> {
        open::schema(url).await
    }

    /// Runs `call` within `patience`, again where it met another's.
    async fn call<T, F: Future<Output = Result<T, sqlx::Error>>>(
        &self,
        patience: Duration,
        again: Again,
        call: impl Fn() -> F,
    ) -> Result<T, QueueError> {
        let tries = async {
            let mut left = TRIES;
            loop {
                let error = match call().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                let worth =
                    fault::is_collision(&error) || (again == Again::Yes && fault::is_cut(&error));
                left -= 1;
                if !worth || left == 0 {
                    return Err(fault::describe(&error));
                }
            }
        };
        let call = pin!(tokio::time::timeout(patience, tries));
        // After it, so that it is dropped before it.
        let under_way = self.doubt.under_way();
        let Ok(answer) = call.await else { return Err(fault::timed_out()) };
        under_way.answered();
        answer
    }

    async fn rows<T, F: Future<Output = Result<Vec<PgRow>, sqlx::Error>>>(
        &self,
        query: impl Fn() -> F,
        parse: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, QueueError> {
        let rows = self.call(PATIENCE, Again::Yes, query).await?;
        let parsed: Result<_, sqlx::Error> = rows.iter().map(parse).collect();
        parsed.map_err(|error| fault::describe(&error))
    }
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        let taken = self.store_gathered(batch, None).await?;
        Ok(taken.into_iter().map(|taken| taken.enqueued).collect())
    }

    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        let mut taken = self.store_gathered(vec![item], Some(taking)).await?;
        taken.pop().ok_or_else(|| QueueError::Corrupt("the store gave no answer".to_owned()))
    }

    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows(|| sqlx::query(sql::ARRIVED).bind(limit).fetch_all(&self.pool), rows::arrived)
            .await
    }

    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        let made = self.fan_out_all(&routes).await?;
        self.tell(made);
        Ok(made)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.claim_due(claim).await
    }

    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.sweep(sweep).await
    }

    async fn extend(
        &self,
        held: &[LeaseKey],
        lease: Duration,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        self.extend_held(held, lease).await
    }

    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.settle_all(batch).await
    }

    async fn redeliver(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        let hastened = self.redeliver_all(ids).await?;
        self.tell(hastened);
        Ok(hastened)
    }

    async fn cancel(&self, ids: &[DeliveryId]) -> Result<u64, QueueError> {
        self.cancel_all(ids).await
    }

    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        self.trip_one(trip).await
    }

    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        self.try_one(claim).await
    }

    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        self.turn_one(turn).await
    }

    async fn resume(&self, destination: &str) -> Result<bool, QueueError> {
        self.resume_one(destination).await
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        self.rows(|| sqlx::query(breakers_sql::BLOCKED).fetch_all(&self.pool), breakers::blocked)
            .await
    }

    async fn put_away(&self, dead: &[DeliveryId]) -> Result<u64, QueueError> {
        let ids = ids(dead);
        let put_away = || sqlx::query(sql::PUT_AWAY).bind(&ids).execute(&self.pool);
        Ok(self.call(PATIENCE, Again::Yes, put_away).await?.rows_affected())
    }

    async fn pause(&self, destination: &str, reason: &str) -> Result<(), QueueError> {
        self.pause_for(destination, reason).await
    }

    async fn holds(&self) -> Result<Vec<Hold>, QueueError> {
        self.held().await
    }

    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.look_for(destinations).await
    }

    async fn take_rate(&self, asks: &[RateAsk]) -> Result<Vec<u32>, QueueError> {
        self.take_rates(asks).await
    }

    fn shared(&self) -> bool {
        true
    }

    async fn wait_for_work(&self) {
        match &self.words {
            Some(words) => words.hear().await,
            None => std::future::pending().await,
        }
    }

    async fn size_within(&self, limit: u64) -> Result<u64, QueueError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let size = || sqlx::query_scalar(sql::SIZE).bind(limit).fetch_one(&self.pool);
        self.call(PATIENCE, Again::Yes, size).await.map(i64::cast_unsigned)
    }

    async fn stats(&self) -> Result<Stats, QueueError> {
        self.numbers().await
    }

    async fn depths(&self, destinations: &[String]) -> Result<Vec<Depth>, QueueError> {
        self.waiting_for(destinations).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, QueueError> {
        self.waiting().await
    }

    async fn dead_letters(&self) -> Result<Vec<DeadGroup>, QueueError> {
        self.dead_groups().await
    }

    async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, QueueError> {
        let query = || sqlx::query(sql::NOTIFICATION).bind(id.0).fetch_all(&self.pool);
        let records = self.rows(query, |row| {
            let mut record = rows::notification_record(row)?;
            record.notification.content = rows::content(row)?;
            Ok(record)
        });
        Ok(records.await?.pop())
    }

    async fn find_notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<NotificationRecord>, QueueError> {
        let whole = !filter.is_narrow() && filter.above.is_none();
        let labels = serde_json::to_string(&filter.labels).ok();
        let labels = labels.filter(|_| !filter.labels.is_empty());
        let pattern = |pattern: &Option<String>| pattern.as_deref().map(as_like);
        let (kind, source) = (pattern(&filter.kind), pattern(&filter.source));
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::from_millis(at.as_millisecond()));
        let query = || {
            let query =
                sqlx::query(if whole { sql::NOTIFICATIONS } else { sql::FIND_NOTIFICATIONS })
                    .bind(filter.page.after.unwrap_or(i64::MAX))
                    .bind(i64::from(filter.page.limit));
            match whole {
                true => query,
                false => query
                    .bind(filter.above.unwrap_or(0))
                    .bind(&kind)
                    .bind(&source)
                    .bind(&labels)
                    .bind(moment(filter.since))
                    .bind(moment(filter.until))
                    .bind(filter.state.map(NotificationState::name)),
            }
            .fetch_all(&self.pool)
        };
        self.rows(query, rows::notification_record).await
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRecord>, QueueError> {
        let newest = newest_of(filter);
        let query = || {
            let query = sqlx::query(newest.unwrap_or_else(|| list_of(filter)))
                .bind(filter.page.after.unwrap_or(i64::MAX))
                .bind(i64::from(filter.page.limit));
            match newest {
                Some(_) => query,
                None => query
                    .bind(&filter.destination)
                    .bind(filter.state.map(DeliveryState::name))
                    .bind(filter.id.map(|id| id.0))
                    .bind(filter.notification.map(|id| id.0))
                    .bind(filter.above.unwrap_or(0)),
            }
            .fetch_all(&self.pool)
        };
        self.rows(query, rows::delivery_record).await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, QueueError> {
        self.rows(|| sqlx::query(sql::ATTEMPTS).bind(id.0).fetch_all(&self.pool), rows::attempt)
            .await
    }

    async fn keep_destinations(&self, destinations: &[KeptDestination]) -> Result<(), QueueError> {
        self.keep(destinations).await
    }

    async fn kept_destinations(&self) -> Result<Vec<KeptDestination>, QueueError> {
        self.rows(|| sqlx::query(sql::KEPT).fetch_all(&self.pool), rows::kept_destination).await
    }

    async fn bury_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        self.bury_old_orphans(after).await
    }

    async fn prune(&self, retention: &Retention, after: Option<i64>) -> Result<Pruned, QueueError> {
        self.prune_chunk(retention, after).await
    }

    async fn beat(&self, beat: &HostBeat) -> Result<(), QueueError> {
        self.beat_of(beat).await
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, QueueError> {
        self.told().await
    }

    async fn leave(&self, host: HostId) -> Result<(), QueueError> {
        self.forget(host).await
    }

    async fn state_get(&self, slot: &Slot) -> Result<Option<StateEntry>, QueueError> {
        let query = || {
            let get = sqlx::query(sql::STATE_GET).bind(&slot.destination).bind(&slot.key);
            get.fetch_all(&self.pool)
        };
        let entries = self.rows(query, |row| {
            let version: i64 = row.try_get("version")?;
            Ok(StateEntry { value: row.try_get("value")?, version: version.cast_unsigned() })
        });
        Ok(entries.await?.pop())
    }

    async fn state_set(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        self.set_note(slot, value, ttl, expected).await
    }

    async fn state_remove(&self, slot: &Slot) -> Result<(), QueueError> {
        let remove = || {
            let remove = sqlx::query(sql::STATE_REMOVE).bind(&slot.destination).bind(&slot.key);
            remove.execute(&self.pool)
        };
        self.call(PATIENCE, Again::Yes, remove).await.map(drop)
    }

    async fn close(&self) {
        if let Some(words) = &self.words {
            words.stop();
        }
        // A connection that hangs is left to the end of the process.
        drop(tokio::time::timeout(PATIENCE, self.pool.close()).await);
    }
}

fn deliveries_made(enqueued: &Enqueued) -> u64 {
    match enqueued {
        Enqueued::Stored { deliveries, .. } => u64::from(*deliveries),
        Enqueued::Existing { .. } | Enqueued::Conflict { .. } => 0,
    }
}

/// The statement that has only to walk an index to its limit, where there is one.
fn newest_of(filter: &DeliveryFilter) -> Option<&'static str> {
    use DeliveryState::{Cancelled, Dead, Delivered, Leased, Pending};
    let DeliveryFilter { state, destination, notification, id, above, page: _ } = filter;
    if destination.is_some() || notification.is_some() || id.is_some() || above.is_some() {
        return None;
    }
    match state {
        None => Some(sql::DELIVERIES_NEWEST),
        Some(Dead) => Some(sql::DEAD_NEWEST),
        Some(Cancelled) => Some(sql::CANCELLED_NEWEST),
        Some(Pending | Leased | Delivered) => None,
    }
}

/// The statement whose index serves the filter best; each applies all of it.
fn list_of(filter: &DeliveryFilter) -> &'static str {
    use DeliveryState::{Cancelled, Dead, Delivered, Leased, Pending};
    match (filter.id, filter.notification, filter.state, &filter.destination) {
        (Some(_), ..) => sql::DELIVERY,
        (None, Some(_), ..) => sql::DELIVERIES_OF_NOTIFICATION,
        // What is bounded goes by the numbers: of a long backlog an index would be sorted whole.
        (None, None, Some(Pending | Leased), _) if filter.above.is_some() => sql::DELIVERIES,
        (None, None, Some(Pending | Leased), Some(_)) => sql::DELIVERIES_LIVE_OF,
        (None, None, Some(Pending | Leased), None) => sql::DELIVERIES_LIVE,
        (None, None, Some(Dead), _) => sql::DELIVERIES_DEAD,
        (None, None, Some(Cancelled), _) => sql::DELIVERIES_CANCELLED,
        (None, None, Some(Delivered) | None, _) => sql::DELIVERIES,
    }
}

/// Text as PostgreSQL takes it: without NUL.
fn text(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

fn ids(ids: &[DeliveryId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    millis::of(duration)
}
