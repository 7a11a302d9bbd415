//! What an operator, a reload and a destination's plugin write.

use std::time::Duration;

use postrider_core::DeliveryId;
use postrider_core::settle::Cause;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::order::Keys;
use super::{chores, chores_sql, json, leases, sql};
use crate::{
    KeptDestination, LEASE_CANCELLED, LEASE_EXPIRED, MAX_BATCH, MAX_STATE_BYTES, MAX_STATE_KEYS,
    ORPHANED, QueueError, Slot, millis, state_full,
};

pub(super) async fn redeliver(
    connection: &mut SqliteConnection,
    ids: &[DeliveryId],
    now: i64,
) -> Result<u64, sqlx::Error> {
    let ids = json(&ids)?;
    let hasten = sqlx::query(sql::HASTEN).bind(&ids).bind(now);
    let hastened = hasten.execute(&mut *connection).await?.rows_affected();
    let revive = sqlx::query(sql::REVIVE).bind(&ids).bind(now);
    let revived = revive.execute(&mut *connection).await?.rows_affected();
    let mut keys = Keys::default();
    keys.add_revived(connection, &ids).await?;
    keys.promote(connection, now).await?;
    Ok(hastened + revived)
}

pub(super) async fn cancel(
    connection: &mut SqliteConnection,
    ids: &[DeliveryId],
    now: i64,
) -> Result<u64, sqlx::Error> {
    let ids = json(&ids)?;
    leases::record_lost(connection, &ids, LEASE_CANCELLED, now).await?;
    let mut keys = Keys::default();
    keys.add_ending(connection, &ids).await?;
    let cancel = sqlx::query(sql::CANCEL).bind(&ids).bind(now);
    let cancelled = cancel.execute(&mut *connection).await?.rows_affected();
    keys.promote(connection, now).await?;
    Ok(cancelled)
}

pub(super) async fn put_away(
    connection: &mut SqliteConnection,
    ids: &[DeliveryId],
) -> Result<u64, sqlx::Error> {
    let put_away = sqlx::query(sql::PUT_AWAY).bind(json(&ids)?);
    Ok(put_away.execute(connection).await?.rows_affected())
}

/// A destination file as [`sql::KEEP`] takes it.
#[derive(Serialize)]
struct Kept<'a> {
    name: &'a str,
    text: &'a str,
    module: &'a str,
}

pub(super) async fn keep(
    connection: &mut SqliteConnection,
    destinations: &[KeptDestination],
    now: i64,
) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = destinations.iter().map(|kept| kept.name.as_str()).collect();
    let removed = sqlx::query(chores_sql::REMOVED).bind(json(&names)?).bind(now);
    let removed = removed.bind(chores::silent(now));
    removed.execute(&mut *connection).await?;
    let kept = destinations.iter().map(|kept| Kept {
        name: &kept.name,
        text: &kept.text,
        module: &kept.module,
    });
    let keep = sqlx::query(sql::KEEP).bind(json(&kept.collect::<Vec<_>>())?);
    keep.execute(connection).await.map(drop)
}

pub(super) async fn bury_orphans(
    connection: &mut SqliteConnection,
    after: Duration,
    now: i64,
) -> Result<u64, sqlx::Error> {
    let orphans: Vec<i64> = sqlx::query_scalar(sql::ORPHANS)
        .bind(now - millis::of(after))
        .bind(now)
        .bind(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
    if orphans.is_empty() {
        return Ok(0);
    }
    let ids = json(&orphans)?;
    leases::record_lost(connection, &ids, LEASE_EXPIRED, now).await?;
    leases::bury(connection, &ids, Cause::Orphaned, ORPHANED, now).await
}

/// A note to write.
#[derive(Clone, Debug)]
pub(super) struct SetNote {
    pub(super) slot: Slot,
    pub(super) value: Vec<u8>,
    pub(super) ttl: Option<Duration>,
    pub(super) expected: Option<Option<u64>>,
}

pub(super) async fn state_set(
    connection: &mut SqliteConnection,
    note: &SetNote,
    now: i64,
) -> Result<Result<bool, QueueError>, sqlx::Error> {
    let Slot { destination, key } = &note.slot;
    if let Some(expected) = note.expected {
        let get = sqlx::query_as(sql::STATE_GET).bind(destination).bind(key).bind(now);
        let present: Option<(Vec<u8>, i64)> = get.fetch_optional(&mut *connection).await?;
        let version = present.map(|(_, version)| version.cast_unsigned());
        if version != expected {
            return Ok(Ok(false));
        }
    }
    let expire = sqlx::query(sql::STATE_EXPIRE).bind(destination).bind(now);
    expire.execute(&mut *connection).await?;
    let size = sqlx::query_as(sql::STATE_SIZE).bind(destination).bind(key);
    let (keys, bytes): (i64, i64) = size.fetch_one(&mut *connection).await?;
    let bytes = bytes.cast_unsigned() + (key.len() + note.value.len()) as u64;
    if keys.cast_unsigned() >= MAX_STATE_KEYS || bytes > MAX_STATE_BYTES {
        return Ok(Err(state_full(destination)));
    }
    sqlx::query(sql::STATE_SET)
        .bind(destination)
        .bind(key)
        .bind(&note.value)
        .bind(note.ttl.map(|ttl| now + millis::of(ttl)))
        .execute(connection)
        .await?;
    Ok(Ok(true))
}

pub(super) async fn state_remove(
    connection: &mut SqliteConnection,
    slot: &Slot,
) -> Result<(), sqlx::Error> {
    let remove = sqlx::query(sql::STATE_REMOVE).bind(&slot.destination).bind(&slot.key);
    remove.execute(connection).await.map(drop)
}
