//! What an operator, a reload and a destination's plugin write.

use std::time::Duration;

use postrider_core::DeliveryId;
use postrider_core::settle::Cause;
use rusqlite::Connection;
use serde::Serialize;

use super::fault::Fault;
use super::order::Keys;
use super::statement::{all, execute, first};
use super::{chores, chores_sql, json, leases, sql};
use crate::{
    KeptDestination, LEASE_CANCELLED, LEASE_EXPIRED, MAX_BATCH, MAX_STATE_BYTES, MAX_STATE_KEYS,
    ORPHANED, QueueError, Slot, millis, state_full,
};

pub(super) fn redeliver(
    connection: &Connection,
    ids: &[DeliveryId],
    now: i64,
) -> Result<u64, Fault> {
    let ids = json(&ids)?;
    let hastened = execute(connection, sql::HASTEN, (&ids, now))?;
    let revived = execute(connection, sql::REVIVE, (&ids, now))?;
    let mut keys = Keys::default();
    keys.add_revived(connection, &ids)?;
    keys.promote(connection, now)?;
    Ok(hastened + revived)
}

pub(super) fn cancel(connection: &Connection, ids: &[DeliveryId], now: i64) -> Result<u64, Fault> {
    let ids = json(&ids)?;
    leases::record_lost(connection, &ids, LEASE_CANCELLED, now)?;
    let mut keys = Keys::default();
    keys.add_ending(connection, &ids)?;
    let cancelled = execute(connection, sql::CANCEL, (&ids, now))?;
    keys.promote(connection, now)?;
    Ok(cancelled)
}

pub(super) fn put_away(connection: &Connection, ids: &[DeliveryId]) -> Result<u64, Fault> {
    execute(connection, sql::PUT_AWAY, [json(&ids)?])
}

/// A destination file as [`sql::KEEP`] takes it.
#[derive(Serialize)]
struct Kept<'a> {
    name: &'a str,
    text: &'a str,
    module: &'a str,
}

pub(super) fn keep(
    connection: &Connection,
    destinations: &[KeptDestination],
    now: i64,
) -> Result<(), Fault> {
    let names: Vec<&str> = destinations.iter().map(|kept| kept.name.as_str()).collect();
    let removed = (json(&names)?, now, chores::silent(now));
    execute(connection, chores_sql::REMOVED, removed)?;
    let kept = destinations.iter().map(|kept| Kept {
        name: &kept.name,
        text: &kept.text,
        module: &kept.module,
    });
    execute(connection, sql::KEEP, [json(&kept.collect::<Vec<_>>())?]).map(drop)
}

pub(super) fn bury_orphans(
    connection: &Connection,
    after: Duration,
    now: i64,
) -> Result<u64, Fault> {
    let most = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
    let asked = (now - millis::of(after), now, most);
    let orphans: Vec<i64> = all(connection, sql::ORPHANS, asked, |row| Ok(row.get(0)?))?;
    if orphans.is_empty() {
        return Ok(0);
    }
    let ids = json(&orphans)?;
    leases::record_lost(connection, &ids, LEASE_EXPIRED, now)?;
    leases::bury(connection, &ids, Cause::Orphaned, ORPHANED, now)
}

/// A note to write.
#[derive(Clone, Debug)]
pub(super) struct SetNote {
    pub(super) slot: Slot,
    pub(super) value: Vec<u8>,
    pub(super) ttl: Option<Duration>,
    pub(super) expected: Option<Option<u64>>,
}

pub(super) fn state_set(
    connection: &Connection,
    note: &SetNote,
    now: i64,
) -> Result<Result<bool, QueueError>, Fault> {
    let Slot { destination, key } = &note.slot;
    if let Some(expected) = note.expected {
        let slot = (destination, key, now);
        let version = first(connection, sql::STATE_GET, slot, |row| row.get::<_, i64>("version"))?;
        if version.map(i64::cast_unsigned) != expected {
            return Ok(Ok(false));
        }
    }
    execute(connection, sql::STATE_EXPIRE, (destination, now))?;
    let mut size = connection.prepare_cached(sql::STATE_SIZE)?;
    let (keys, bytes): (i64, i64) = size.query_one((destination, key), |row| row.try_into())?;
    let bytes = bytes.cast_unsigned() + (key.len() + note.value.len()) as u64;
    if keys.cast_unsigned() >= MAX_STATE_KEYS || bytes > MAX_STATE_BYTES {
        return Ok(Err(state_full(destination)));
    }
    let expires = note.ttl.map(|ttl| now + millis::of(ttl));
    execute(connection, sql::STATE_SET, (destination, key, &note.value, expires))?;
    Ok(Ok(true))
}

pub(super) fn state_remove(connection: &Connection, slot: &Slot) -> Result<(), Fault> {
    execute(connection, sql::STATE_REMOVE, (&slot.destination, &slot.key)).map(drop)
}
