//! What an operator, a reload and a destination's plugin write.

use std::time::Duration;

use postrider_core::DeliveryId;
use postrider_core::settle::Cause;
use sqlx::postgres::PgRow;

use super::order::Keys;
use super::{Again, LONG_PATIENCE, PATIENCE, PostgresQueue, chores_sql, ids, milliseconds, sql};
use crate::{
    HOST_SILENT, KeptDestination, LEASE_CANCELLED, LEASE_EXPIRED, MAX_BATCH, MAX_STATE_BYTES,
    MAX_STATE_KEYS, ORPHANED, Queue, QueueError, Slot, state_full,
};

impl PostgresQueue {
    pub(super) async fn redeliver_all(&self, revived: &[DeliveryId]) -> Result<u64, QueueError> {
        self.check_content(revived).await?;
        let ids = ids(revived);
        let redeliver = || sqlx::query(sql::REDELIVER).bind(&ids).fetch_all(&self.pool);
        let rows = self.call(PATIENCE, Again::No, redeliver).await?;
        // What is due now was behind the mark.
        self.marks.reset();
        let mut keys = Keys::default();
        keys.read(&rows, false)?;
        self.promote(keys).await;
        Ok(rows.len() as u64)
    }

    pub(super) async fn cancel_all(&self, cancelled: &[DeliveryId]) -> Result<u64, QueueError> {
        let ids = ids(cancelled);
        let cancel =
            || sqlx::query(sql::CANCEL).bind(&ids).bind(LEASE_CANCELLED).fetch_all(&self.pool);
        let rows = self.call(PATIENCE, Again::No, cancel).await?;
        self.promote_after(&rows).await
    }

    pub(super) async fn keep(&self, destinations: &[KeptDestination]) -> Result<(), QueueError> {
        let names: Vec<&str> = destinations.iter().map(|kept| kept.name.as_str()).collect();
        let texts: Vec<&str> = destinations.iter().map(|kept| kept.text.as_str()).collect();
        let modules: Vec<&str> = destinations.iter().map(|kept| kept.module.as_str()).collect();
        let keep = || {
            let keep = sqlx::query(sql::KEEP).bind(&names).bind(&texts).bind(&modules);
            keep.execute(&self.pool)
        };
        self.call(LONG_PATIENCE, Again::Yes, keep).await?;
        let silent = milliseconds(HOST_SILENT);
        let removed =
            || sqlx::query(chores_sql::REMOVED).bind(&names).bind(silent).execute(&self.pool);
        self.call(LONG_PATIENCE, Again::Yes, removed).await.map(drop)
    }

    pub(super) async fn bury_old_orphans(&self, after: Duration) -> Result<u64, QueueError> {
        let limit = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
        let bury = || {
            sqlx::query(sql::BURY_ORPHANS)
                .bind(milliseconds(after))
                .bind(limit)
                .bind(Cause::Orphaned.name())
                .bind(ORPHANED)
                .bind(LEASE_EXPIRED)
                .fetch_all(&self.pool)
        };
        let rows = self.call(LONG_PATIENCE, Again::Yes, bury).await?;
        self.promote_after(&rows).await
    }

    /// Promotes in the keys of deliveries that a statement ended. Answers how many those are.
    pub(super) async fn promote_after(&self, ended: &[PgRow]) -> Result<u64, QueueError> {
        let mut keys = Keys::default();
        keys.read(ended, true)?;
        self.promote(keys).await;
        Ok(ended.len() as u64)
    }

    /// The quota is checked before, so hosts that write at once may exceed it by a note each.
    pub(super) async fn set_note(
        &self,
        slot: &Slot,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Option<Option<u64>>,
    ) -> Result<bool, QueueError> {
        let size = || {
            let size = sqlx::query_as(sql::STATE_SIZE).bind(&slot.destination).bind(&slot.key);
            size.fetch_one(&self.pool)
        };
        let (keys, bytes): (i64, i64) = self.call(PATIENCE, Again::Yes, size).await?;
        let bytes = bytes.cast_unsigned() + (slot.key.len() + value.len()) as u64;
        if keys.cast_unsigned() >= MAX_STATE_KEYS || bytes > MAX_STATE_BYTES {
            let present = self.state_get(slot).await?.map(|entry| entry.version);
            // A swap that fails anyway is told so first.
            return match expected.is_some_and(|expected| expected != present) {
                true => Ok(false),
                false => Err(state_full(&slot.destination)),
            };
        }
        let (statement, version) = match expected {
            None => (sql::STATE_SET, None),
            Some(None) => (sql::STATE_SET_NEW, None),
            Some(Some(version)) => (sql::STATE_SET_AT, Some(version.cast_signed())),
        };
        let set = || {
            let set = sqlx::query(statement).bind(&slot.destination).bind(&slot.key).bind(value);
            let set = set.bind(ttl.map(milliseconds));
            match version {
                Some(version) => set.bind(version).execute(&self.pool),
                None => set.execute(&self.pool),
            }
        };
        Ok(self.call(PATIENCE, Again::No, set).await?.rows_affected() > 0)
    }
}
