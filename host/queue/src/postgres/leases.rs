//! Claim, extend and settle: the hot path.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use postrider_core::settle::{Cause, Settlement};
use postrider_core::{DeliveryId, LeaseKey};
use sqlx::postgres::{PgExecutor, PgRow};
use sqlx::{PgPool, Row};
use tokio::time::Instant;
use uuid::Uuid;

use super::moment::Moment;
use super::order::Keys;
use super::watermark::From;
use super::{Again, LONG_PATIENCE, PostgresQueue, fault, milliseconds, rows, sql, text};
use crate::target::SWEPT;
use crate::{
    Claim, LEASE_EXPIRED, Lease, Look, MAX_BATCH, QueueError, Settle, Slots, Sweep, Target,
};

/// One destination's share of a claim.
struct Ask<'a> {
    destination: &'a str,
    free: i64,
    kept: i64,
}

impl PostgresQueue {
    /// Leases what is due for one host: all destinations in one statement, where they have room in a batch together.
    pub(super) async fn claim_due(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        let mut names = HashSet::new();
        let once = claim.slots.iter().filter(|slots| names.insert(&slots.destination));
        let asked: Vec<&Slots> = once.filter(|slots| slots.free > 0).collect();
        let wanted: u64 = asked.iter().map(|slots| u64::from(slots.free)).sum();
        if wanted <= MAX_BATCH as u64 {
            let asks: Vec<Ask<'_>> =
                asked.iter().map(|slots| Ask::within(slots, MAX_BATCH)).collect();
            return self.claim_at_once(claim, &asks).await;
        }
        let mut leases = Vec::new();
        for slots in asked {
            let ask = Ask::within(slots, MAX_BATCH.saturating_sub(leases.len()));
            leases.extend(self.claim_at_once(claim, &[ask]).await?);
        }
        Ok(leases)
    }

    async fn claim_at_once(
        &self,
        claim: &Claim,
        asks: &[Ask<'_>],
    ) -> Result<Vec<Lease>, QueueError> {
        if asks.is_empty() {
            // A store that is closed says so.
            return if self.pool.is_closed() { Err(fault::closed()) } else { Ok(Vec::new()) };
        }
        let start = Instant::now();
        let from: Vec<From> =
            asks.iter().map(|ask| self.marks.from(ask.destination, start)).collect();
        let destinations: Vec<&str> = asks.iter().map(|ask| ask.destination).collect();
        let free: Vec<i64> = asks.iter().map(|ask| ask.free).collect();
        let kept: Vec<i64> = asks.iter().map(|ask| ask.kept).collect();
        let fresh: Vec<Moment> = from.iter().map(|from| from.fresh).collect();
        let retry: Vec<Moment> = from.iter().map(|from| from.retry).collect();
        let statement = if self.options.skip_locked { sql::CLAIM } else { sql::CLAIM_UNLOCKED };
        let query = || {
            sqlx::query(statement)
                .bind(&destinations)
                .bind(&free)
                .bind(&kept)
                .bind(&fresh)
                .bind(&retry)
                .bind(claim.host.0)
                .bind(milliseconds(claim.lease))
                .bind(LEASE_EXPIRED)
                .fetch_all(&self.pool)
        };
        let rows = self.call(LONG_PATIENCE, Again::No, query).await?;
        let took = start.elapsed();
        for (ask, from) in asks.iter().zip(&from) {
            if from.full {
                self.marks.looked(ask.destination, Instant::now(), took);
            }
        }
        self.note(asks, &rows).map_err(|error| fault::describe(&error))?;
        self.leased(&rows).await
    }

    /// Reads what was just leased. A delivery whose notification cannot be read dies here: it would come back for
    /// ever.
    async fn leased(&self, rows: &[PgRow]) -> Result<Vec<Lease>, QueueError> {
        let failed = |error: sqlx::Error| fault::describe(&error);
        let mut leases = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::new();
        for row in rows {
            match rows::lease(row).map_err(failed)? {
                Ok(lease) => leases.push(lease),
                Err(flaw) => unreadable.push(flaw),
            }
        }
        if !unreadable.is_empty() {
            let (ids, tokens) = keys(unreadable.iter().map(|(key, _)| *key));
            let problems: Vec<&str> = unreadable.iter().map(|(_, problem)| &**problem).collect();
            let bury = || {
                let bury = sqlx::query(sql::BURY_HELD).bind(&ids).bind(&tokens);
                bury.bind(Cause::Rejected.name()).bind(&problems).fetch_all(&self.pool)
            };
            let buried = self.call(LONG_PATIENCE, Again::Yes, bury).await?;
            self.promote_after(&buried).await?;
        }
        Ok(leases)
    }

    /// Leases what came too late, and makes up for promotions that were lost.
    pub(super) async fn sweep(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.promote_forgotten().await?;
        let destinations: Vec<&str> =
            sweep.bounds.iter().map(|bound| bound.destination.as_str()).collect();
        let ages: Vec<i64> = sweep.bounds.iter().map(|bound| milliseconds(bound.max_age)).collect();
        let limit = i64::from(sweep.limit).min(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX));
        let query = || {
            sqlx::query(sql::CLAIM_OVERDUE)
                .bind(&destinations)
                .bind(&ages)
                .bind(limit)
                .bind(SWEPT)
                .bind(sweep.host.0)
                .bind(milliseconds(sweep.lease))
                .bind(LEASE_EXPIRED)
                .fetch_all(&self.pool)
        };
        let rows = self.call(LONG_PATIENCE, Again::No, query).await?;
        self.leased(&rows).await
    }

    /// Remembers where the next claim begins.
    fn note(&self, asks: &[Ask<'_>], rows: &[PgRow]) -> Result<(), sqlx::Error> {
        let mut got: HashMap<&str, (i64, [Option<Moment>; 2])> = HashMap::new();
        for row in rows {
            let (count, latest) = got.entry(row.try_get("destination")?).or_default();
            *count += 1;
            let lane: i16 = row.try_get("lane")?;
            if let Some(latest) = latest.get_mut(usize::from(lane == 1)) {
                *latest = (*latest).max(Some(row.try_get("was_due")?));
            }
        }
        for ask in asks {
            let (count, latest) = got.remove(ask.destination).unwrap_or_default();
            self.marks.claimed(ask.destination, latest, count >= ask.free);
        }
        Ok(())
    }

    /// What a host with room for these destinations could do.
    pub(super) async fn look_for(&self, destinations: &[String]) -> Result<Look, QueueError> {
        let start = Instant::now();
        let from: Vec<From> =
            destinations.iter().map(|name| self.marks.from(name, start)).collect();
        let fresh: Vec<Moment> = from.iter().map(|from| from.fresh).collect();
        let retry: Vec<Moment> = from.iter().map(|from| from.retry).collect();
        let query = || {
            let query = sqlx::query_as(sql::LOOK).bind(destinations);
            query.bind(&fresh).bind(&retry).fetch_one(&self.pool)
        };
        let (arrived, due): (bool, Option<i64>) =
            self.call(LONG_PATIENCE, Again::Yes, query).await?;
        if due.is_some_and(|due| due <= 0) {
            // What only a look from the start saw, a claim from the mark would not.
            for (name, _) in destinations.iter().zip(&from).filter(|(_, from)| from.full) {
                self.marks.look_again(name);
            }
        }
        Ok(Look { arrived, due: due.map(crate::millis::duration) })
    }

    pub(super) async fn extend_held(
        &self,
        held: &[LeaseKey],
        lease: Duration,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        let (ids, tokens) = keys(held.iter().copied());
        let extend = || {
            let extend = sqlx::query(sql::EXTEND).bind(&ids).bind(&tokens);
            extend.bind(milliseconds(lease)).fetch_all(&self.pool)
        };
        let rows = self.call(LONG_PATIENCE, Again::Yes, extend).await?;
        lost(held.iter().copied(), &rows)
    }

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

impl<'a> Ask<'a> {
    fn within(slots: &'a Slots, room: usize) -> Self {
        let (free, kept) = slots.within(room);
        Self { destination: &slots.destination, free: free.into(), kept: kept.into() }
    }
}

fn keys(keys: impl Iterator<Item = LeaseKey>) -> (Vec<i64>, Vec<i64>) {
    keys.map(|key| (key.id.0, key.token)).unzip()
}

/// Those of the leases that a statement did not answer.
fn lost(keys: impl Iterator<Item = LeaseKey>, held: &[PgRow]) -> Result<Vec<LeaseKey>, QueueError> {
    let held = held.iter().map(|row| {
        Ok(LeaseKey { id: DeliveryId(row.try_get("id")?), token: row.try_get("token")? })
    });
    let held: Result<HashSet<LeaseKey>, sqlx::Error> = held.collect();
    let held = held.map_err(|error| fault::describe(&error))?;
    Ok(keys.filter(|key| !held.contains(key)).collect())
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
    reasons: Vec<std::borrow::Cow<'a, str>>,
    causes: Vec<Option<&'static str>>,
    holds: Vec<Option<i64>>,
    takers: Vec<Option<&'a str>>,
    chains: Vec<String>,
    keys: Vec<Option<&'a str>>,
    within: Vec<Option<i64>>,
    started: Vec<Option<Moment>>,
    durations: Vec<Option<i64>>,
    outcomes: Vec<Option<&'a str>>,
    told: Vec<Option<std::borrow::Cow<'a, str>>>,
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
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        self.durations.push(tried.map(|tried| micros(tried.duration)));
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
