//! Settle: the other half of the hot path.

use std::borrow::Cow;
use std::collections::HashSet;

use postrider_core::LeaseKey;
use postrider_core::settle::Settlement;
use sqlx::PgPool;
use sqlx::postgres::{PgExecutor, PgRow};
use uuid::Uuid;

use super::leases::lost;
use super::moment::Moment;
use super::order::Keys;
use super::{Again, LONG_PATIENCE, PostgresQueue, fault, milliseconds, sql, text};
use crate::{QueueError, Settle, Target, millis};

impl PostgresQueue {
    /// Writes settlements, of one lease's the first: it ends the lease. Those that hand over go apart, in a
    /// transaction.
    pub(super) async fn settle_all(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        let mut seen = HashSet::new();
        let (mut plain, mut handing) = (Vec::new(), Vec::new());
        let mut again = Vec::new();
        for item in batch {
            if !seen.insert(item.key) {
                again.push(item.key);
            } else if item.settlement.is_death() && item.handover.is_some() {
                handing.push(item);
            } else {
                plain.push(item);
            }
        }
        let mut lost = self.settle_plain(&plain).await?;
        if !handing.is_empty() {
            lost.extend(self.settle_handing(handing).await?);
        }
        lost.extend(again);
        Ok(lost)
    }

    async fn settle_plain(&self, batch: &[Settle]) -> Result<Vec<LeaseKey>, QueueError> {
        if batch.is_empty() {
            return if self.pool.is_closed() { Err(fault::closed()) } else { Ok(Vec::new()) };
        }
        if let Some(delivered) = Delivered::of(batch) {
            let settle = || delivered.settle(&self.pool);
            let ended: Ended = self.call(LONG_PATIENCE, Again::No, settle).await?;
            self.promote(ended.keys()).await;
            return Ok(ended.lost(batch));
        }
        let columns = Columns::of(batch);
        let settle = || columns.settle(&self.pool);
        let rows = self.call(LONG_PATIENCE, Again::No, settle).await?;
        self.promote(Keys::default().settled(&rows)?).await;
        lost(batch.iter().map(|item| item.key), &rows)
    }

    async fn settle_handing(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        let mut tries = 0;
        loop {
            let (pool, items) = (self.pool.clone(), batch.clone());
            // In a task of its own: a transaction that is dropped midway poisons its connection.
            let settling = tokio::spawn(async move { hand_over(&pool, &items).await });
            let settled = match tokio::time::timeout(LONG_PATIENCE, settling).await {
                Ok(Ok(settled)) => settled,
                Ok(Err(panic)) => return Err(QueueError::Corrupt(panic.to_string())),
                Err(_elapsed) => return Err(fault::timed_out()),
            };
            match settled {
                Ok(rows) => {
                    let takers = batch.iter().filter_map(|item| item.handover.as_ref());
                    let keys = Keys::of(takers.map(|handover| &handover.taker));
                    self.promote(keys.settled(&rows)?).await;
                    return lost(batch.iter().map(|item| item.key), &rows);
                }
                Err(error) if fault::is_collision(&error) && tries < super::TRIES => tries += 1,
                Err(error) => return Err(fault::describe(&error)),
            }
        }
    }
}

/// Locks what is held, makes the takers, settles.
async fn hand_over(pool: &PgPool, batch: &[Settle]) -> Result<Vec<PgRow>, sqlx::Error> {
    let columns = Columns::of(batch);
    let mut tx = pool.begin().await?;
    let lock = sqlx::query(sql::LOCK).bind(&columns.ids).bind(&columns.tokens);
    lock.execute(&mut *tx).await?;
    sqlx::query(sql::HAND_OVER)
        .bind(&columns.ids)
        .bind(&columns.tokens)
        .bind(&columns.takers)
        .bind(&columns.chains)
        .bind(&columns.keys)
        .bind(&columns.within)
        .execute(&mut *tx)
        .await?;
    let rows = columns.settle(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows)
}

/// The columns of [`sql::SETTLE_DELIVERED`].
struct Delivered<'a> {
    ids: Vec<i64>,
    tokens: Vec<i64>,
    parts_done: Vec<i64>,
    reasons: Vec<Cow<'a, str>>,
    started: Vec<Moment>,
    durations: Vec<i64>,
    told: Vec<Cow<'a, str>>,
    plugins: Vec<&'a str>,
    outcome: &'a str,
    host: Uuid,
}

impl<'a> Delivered<'a> {
    /// Where all were delivered, by one host.
    fn of(batch: &'a [Settle]) -> Option<Self> {
        let first = batch.first()?.attempt.as_ref()?;
        let mut columns = Self {
            ids: Vec::with_capacity(batch.len()),
            tokens: Vec::with_capacity(batch.len()),
            parts_done: Vec::with_capacity(batch.len()),
            reasons: Vec::with_capacity(batch.len()),
            started: Vec::with_capacity(batch.len()),
            durations: Vec::with_capacity(batch.len()),
            told: Vec::with_capacity(batch.len()),
            plugins: Vec::with_capacity(batch.len()),
            outcome: &first.outcome,
            host: first.host.0,
        };
        for item in batch {
            let tried = item.attempt.as_ref()?;
            let alike = tried.outcome == first.outcome && tried.host == first.host;
            if item.settlement != Settlement::Delivered || !alike {
                return None;
            }
            columns.ids.push(item.key.id.0);
            columns.tokens.push(item.key.token);
            columns.parts_done.push(item.parts_done.into());
            columns.reasons.push(text(&item.reason));
            columns.started.push(Moment::from_millis(tried.started.as_millisecond()));
            columns.durations.push(millis::micros(tried.duration));
            columns.told.push(text(&tried.reason));
            columns.plugins.push(&tried.plugin);
        }
        Some(columns)
    }

    async fn settle(&self, executor: impl PgExecutor<'_>) -> Result<Ended, sqlx::Error> {
        let settle = sqlx::query_as(sql::SETTLE_DELIVERED)
            .bind(&self.ids)
            .bind(&self.tokens)
            .bind(&self.parts_done)
            .bind(&self.reasons)
            .bind(&self.started)
            .bind(&self.durations)
            .bind(&self.told)
            .bind(&self.plugins)
            .bind(self.outcome)
            .bind(self.host);
        let (ids, tokens, keyed, destinations, keys) = settle.fetch_one(executor).await?;
        Ok(Ended { ids, tokens, keyed, destinations, keys })
    }
}

/// What [`sql::SETTLE_DELIVERED`] answers.
struct Ended {
    ids: Vec<i64>,
    tokens: Vec<i64>,
    keyed: Vec<i64>,
    destinations: Vec<String>,
    keys: Vec<String>,
}

impl Ended {
    /// The keys of what it ended.
    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        for ((destination, key), id) in self.destinations.iter().zip(&self.keys).zip(&self.keyed) {
            keys.ended(destination, key, *id);
        }
        keys
    }

    /// Those of the batch's leases that it did not end.
    fn lost(&self, batch: &[Settle]) -> Vec<LeaseKey> {
        let ended: HashSet<(i64, i64)> =
            self.ids.iter().copied().zip(self.tokens.iter().copied()).collect();
        let keys = batch.iter().map(|item| item.key);
        keys.filter(|key| !ended.contains(&(key.id.0, key.token))).collect()
    }
}

/// The columns of [`sql::SETTLE`] and its companions.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<i64>,
    tokens: Vec<i64>,
    states: Vec<i16>,
    delays: Vec<Option<i64>>,
    lanes: Vec<i16>,
    counted: Vec<i32>,
    /// Handed back: what was lost before still counts.
    released: Vec<i32>,
    parts_done: Vec<i64>,
    reasons: Vec<Cow<'a, str>>,
    causes: Vec<Option<&'static str>>,
    holds: Vec<Option<i64>>,
    takers: Vec<Option<&'a str>>,
    chains: Vec<String>,
    keys: Vec<Option<&'a str>>,
    within: Vec<Option<i64>>,
    started: Vec<Option<Moment>>,
    durations: Vec<Option<i64>>,
    outcomes: Vec<Option<&'a str>>,
    told: Vec<Option<Cow<'a, str>>>,
    plugins: Vec<Option<&'a str>>,
    hosts: Vec<Option<Uuid>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Settle]) -> Self {
        let mut columns = Self::default();
        for item in batch {
            columns.push(item);
        }
        columns
    }

    fn push(&mut self, item: &'a Settle) {
        self.ids.push(item.key.id.0);
        self.tokens.push(item.key.token);
        self.parts_done.push(item.parts_done.into());
        self.reasons.push(text(&item.reason));
        let mut row = Written::default();
        match &item.settlement {
            Settlement::Delivered => row.state = 1,
            Settlement::Retry { delay, counted, hold } => {
                row.delay = Some(milliseconds(*delay));
                row.lane = 1;
                row.counted = i32::from(*counted);
                row.hold = hold.map(milliseconds);
            }
            Settlement::Dead { cause } => {
                row.state = 2;
                row.cause = Some(cause.name());
                if let Some(handover) = &item.handover {
                    (row.taker, row.chain) = (Some(&handover.taker), &handover.chain);
                }
            }
            Settlement::Released => (row.delay, row.released) = (Some(0), 1),
        }
        self.states.push(row.state);
        self.delays.push(row.delay);
        self.lanes.push(row.lane);
        self.counted.push(row.counted);
        self.released.push(row.released);
        self.causes.push(row.cause);
        self.holds.push(row.hold);
        self.takers.push(row.taker.map(|taker| &*taker.destination));
        self.keys.push(row.taker.and_then(|taker| taker.order_key.as_deref()));
        let within = row.taker.and_then(|taker| taker.expires_after);
        self.within.push(within.map(milliseconds));
        self.chains.push(serde_json::json!(row.chain).to_string());
        let tried = item.attempt.as_ref().filter(|_| item.settlement != Settlement::Released);
        self.started.push(tried.map(|t| Moment::from_millis(t.started.as_millisecond())));
        self.durations.push(tried.map(|tried| millis::micros(tried.duration)));
        self.outcomes.push(tried.map(|tried| &*tried.outcome));
        self.told.push(tried.map(|tried| text(&tried.reason)));
        self.plugins.push(tried.map(|tried| &*tried.plugin));
        self.hosts.push(tried.map(|tried| tried.host.0));
    }

    async fn settle(&self, executor: impl PgExecutor<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::query(sql::SETTLE)
            .bind(&self.ids)
            .bind(&self.tokens)
            .bind(&self.states)
            .bind(&self.delays)
            .bind(&self.lanes)
            .bind(&self.counted)
            .bind(&self.released)
            .bind(&self.parts_done)
            .bind(&self.reasons)
            .bind(&self.causes)
            .bind(&self.holds)
            .bind(&self.takers)
            .bind(&self.started)
            .bind(&self.durations)
            .bind(&self.outcomes)
            .bind(&self.told)
            .bind(&self.plugins)
            .bind(&self.hosts)
            .fetch_all(executor)
            .await
    }
}

/// What a settlement alone decides of its row.
#[derive(Default)]
struct Written<'a> {
    state: i16,
    delay: Option<i64>,
    lane: i16,
    counted: i32,
    released: i32,
    cause: Option<&'static str>,
    hold: Option<i64>,
    taker: Option<&'a Target>,
    chain: &'a [String],
}
