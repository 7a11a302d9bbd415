//! Claim and extend: half of the hot path.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_core::settle::Cause;
use postrider_core::{DeliveryId, LeaseKey};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::moment::Moment;
use super::watermark::From;
use super::{Again, LONG_PATIENCE, PostgresQueue, fault, milliseconds, rows, sql};
use crate::target::SWEPT;
use crate::{Claim, LEASE_EXPIRED, Lease, Look, MAX_BATCH, QueueError, Slots, Sweep};

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
        let skip = self.options.skip_locked && !self.alone.load(Ordering::Relaxed);
        let statement = if skip { sql::CLAIM } else { sql::CLAIM_UNLOCKED };
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
    pub(super) async fn leased(&self, rows: &[PgRow]) -> Result<Vec<Lease>, QueueError> {
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
        let early: Vec<bool> = sweep.bounds.iter().map(|bound| bound.early).collect();
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
                .bind(&early)
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
        let (arrived, due, trial): (bool, Option<i64>, Option<i64>) =
            self.call(LONG_PATIENCE, Again::Yes, query).await?;
        if due.is_some_and(|due| due <= 0) {
            // What only a look from the start saw, a claim from the mark would not.
            for (name, _) in destinations.iter().zip(&from).filter(|(_, from)| from.full) {
                self.marks.look_again(name);
            }
        }
        let after = crate::millis::duration;
        Ok(Look { arrived, due: due.map(after), trial: trial.map(after) })
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
}

impl<'a> Ask<'a> {
    fn within(slots: &'a Slots, room: usize) -> Self {
        let (free, kept) = slots.within(room);
        Self { destination: &slots.destination, free: free.into(), kept: kept.into() }
    }
}

pub(super) fn keys(keys: impl Iterator<Item = LeaseKey>) -> (Vec<i64>, Vec<i64>) {
    keys.map(|key| (key.id.0, key.token)).unzip()
}

/// Those of the leases that a statement did not answer.
pub(super) fn lost(
    keys: impl Iterator<Item = LeaseKey>,
    held: &[PgRow],
) -> Result<Vec<LeaseKey>, QueueError> {
    let held = held.iter().map(|row| {
        Ok(LeaseKey { id: DeliveryId(row.try_get("id")?), token: row.try_get("token")? })
    });
    let held: Result<HashSet<LeaseKey>, sqlx::Error> = held.collect();
    let held = held.map_err(|error| fault::describe(&error))?;
    Ok(keys.filter(|key| !held.contains(key)).collect())
}
