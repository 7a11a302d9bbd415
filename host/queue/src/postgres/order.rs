//! One at a time for each key.
//!
//! Everything with a key is made waiting, and what ends a head says so only after its commit: two transactions of two
//! hosts, one of which makes a delivery while the other ends the head, do not see each other, but of their promotions
//! after the commits the second sees both. A promotion that a host did not live to make is made by the next sweep.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::{Again, LONG_PATIENCE, PostgresQueue, fault, sql};
use crate::{QueueError, Target};

/// Shortest time between two searches for keys whose promotion was lost.
const SEARCH: Duration = Duration::from_secs(5);
/// A search takes at most this share of the time.
const SEARCH_SHARE: u32 = 20;

/// Keys to promote in, and who ended last in each.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<(String, String), Option<i64>>);

/// When to search next.
#[derive(Debug, Default)]
pub(super) struct Search(Mutex<Option<Instant>>);

impl Keys {
    /// The keys of what is made.
    pub(super) fn of<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let keyed = targets.filter_map(|to| Some((to.destination.clone(), to.order_key.clone()?)));
        Self(keyed.map(|pair| (pair, None)).collect())
    }

    /// Adds the keys of rows that a statement answered: `destination` and `order_key` of each, and the `id` of those
    /// that it ended.
    pub(super) fn read(&mut self, rows: &[PgRow], ended: bool) -> Result<(), QueueError> {
        let read = rows.iter().try_for_each(|row| {
            let Some(key) = row.try_get::<Option<String>, _>("order_key")? else { return Ok(()) };
            let last = self.0.entry((row.try_get("destination")?, key)).or_default();
            if ended {
                *last = (*last).max(Some(row.try_get("id")?));
            }
            Ok(())
        });
        read.map_err(|error: sqlx::Error| fault::describe(&error))
    }

    /// Adds the key of a delivery that has ended.
    pub(super) fn ended(&mut self, destination: &str, key: &str, id: i64) {
        let last = self.0.entry((destination.to_owned(), key.to_owned())).or_default();
        *last = (*last).max(Some(id));
    }
}

impl Keys {
    /// Adds the keys of settlements.
    pub(super) fn settled(mut self, rows: &[PgRow]) -> Result<Self, QueueError> {
        for row in rows {
            let state: i16 = row.try_get("state").map_err(|error| fault::describe(&error))?;
            if state != 0 {
                self.read(std::slice::from_ref(row), true)?;
            }
        }
        Ok(self)
    }
}

impl Search {
    fn is_due(&self) -> bool {
        self.next().is_none_or(|at| Instant::now() >= at)
    }

    fn took(&self, took: Duration) {
        *self.next() = Some(Instant::now() + SEARCH.max(took * SEARCH_SHARE));
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresQueue {
    /// Makes the first that waits the head of each key that has none. What led to it is committed, so a failure is
    /// not the caller's: the next sweep makes up for it.
    pub(super) async fn promote(&self, keys: Keys) {
        if keys.0.is_empty() {
            return;
        }
        let (pairs, ended): (Vec<_>, Vec<_>) = keys.0.into_iter().unzip();
        let (destinations, keys): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
        let promote = || {
            let promote = sqlx::query(sql::PROMOTE).bind(&destinations).bind(&keys).bind(&ended);
            promote.execute(&self.pool)
        };
        if let Err(error) = self.call(LONG_PATIENCE, Again::Yes, promote).await {
            tracing::debug!(%error, "a key's next delivery waits for the next sweep");
            *self.search.next() = None;
        }
    }

    /// Promotes in keys without a head: their host ended, or lost its connection, before it could.
    pub(super) async fn promote_forgotten(&self) -> Result<(), QueueError> {
        if !self.search.is_due() {
            return Ok(());
        }
        let start = Instant::now();
        let search = || sqlx::query(sql::FORGOTTEN).fetch_all(&self.pool);
        let rows = self.call(LONG_PATIENCE, Again::Yes, search).await?;
        self.search.took(start.elapsed());
        let mut keys = Keys::default();
        keys.read(&rows, false)?;
        self.promote(keys).await;
        Ok(())
    }
}
