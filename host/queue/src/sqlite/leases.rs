//! Claim and extend: half of the hot path.

use std::collections::HashSet;
use std::time::Duration;

use postrider_core::settle::Cause;
use postrider_core::{DeliveryId, HostId, LeaseKey};
use rusqlite::Connection;
use serde::Serialize;

use super::fault::Fault;
use super::order::Keys;
use super::rows::Unreadable;
use super::statement::{execute, first, records, value};
use super::{json, rows, sql};
use crate::target::SWEPT;
use crate::{Claim, LEASE_EXPIRED, Lease, MAX_BATCH, Slots, Sweep, millis};

/// From this many destinations on, one statement first finds those with anything due.
const MANY: usize = 4;

/// Leases what is due for one host.
///
/// SQLite needs no watermark on its way into the live index: it takes an entry out in place, so none is dead.
pub(super) fn claim(connection: &Connection, claim: &Claim, now: i64) -> Result<Vec<Lease>, Fault> {
    let mut ids: Vec<i64> = Vec::new();
    let mut expired = false;
    for slots in ready(connection, &claim.slots, now)? {
        let (free, kept) = slots.within(MAX_BATCH.saturating_sub(ids.len()));
        let asked = (&slots.destination, now, free, kept);
        let due = first(connection, sql::DUE, asked, |row| <(String, bool)>::try_from(row))?;
        if let Some((due, lost)) = due {
            ids.extend(places(&due)?);
            expired |= lost;
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = json(&ids)?;
    if expired {
        record_lost(connection, &ids, LEASE_EXPIRED, now)?;
    }
    lease_of(connection, &ids, (claim.host, claim.lease), now)
}

/// Leases these, which are due, also where leases on them have expired.
pub(super) fn lease_due(
    connection: &Connection,
    ids: &str,
    by: (HostId, Duration),
    now: i64,
) -> Result<Vec<Lease>, Fault> {
    record_lost(connection, ids, LEASE_EXPIRED, now)?;
    lease_of(connection, ids, by, now)
}

fn lease_of(
    connection: &Connection,
    ids: &str,
    (host, lease): (HostId, Duration),
    now: i64,
) -> Result<Vec<Lease>, Fault> {
    execute(connection, sql::LEASE, (ids, now, host.to_string(), now + millis::of(lease)))?;
    leased(connection, ids, now)
}

/// A destination and the moment before which what is alive is too old, as [`sql::TOO_OLD`] takes them.
#[derive(Serialize)]
struct Before<'a> {
    destination: &'a str,
    before: i64,
    early: bool,
}

/// Leases what came too late: what is past its expiry, then what is too old.
pub(super) fn claim_overdue(
    connection: &Connection,
    sweep: &Sweep,
    now: i64,
) -> Result<Vec<Lease>, Fault> {
    let limit = i64::from(sweep.limit).min(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX));
    let expired: String = value(connection, sql::EXPIRED, (now, limit))?;
    let bounds = sweep.bounds.iter().map(|bound| Before {
        destination: &bound.destination,
        before: now - millis::of(bound.max_age),
        early: bound.early,
    });
    let bounds = json(&bounds.collect::<Vec<_>>())?;
    let too_old: String = value(connection, sql::TOO_OLD, (bounds, now, SWEPT, limit))?;
    let mut ids = places(&expired)?;
    ids.extend(places(&too_old)?);
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids.truncate(usize::try_from(limit).unwrap_or(0));
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = json(&ids)?;
    record_lost(connection, &ids, LEASE_EXPIRED, now)?;
    let by = (&ids, now, sweep.host.to_string(), now + millis::of(sweep.lease));
    execute(connection, sql::LEASE_OVERDUE, by)?;
    leased(connection, &ids, now)
}

/// The destinations that are worth a statement of their own, each once.
fn ready<'a>(
    connection: &Connection,
    slots: &'a [Slots],
    now: i64,
) -> Result<Vec<&'a Slots>, Fault> {
    let mut names = HashSet::new();
    let once = slots.iter().filter(|slots| names.insert(&slots.destination));
    let asked: Vec<&Slots> = once.filter(|slots| slots.free > 0).collect();
    if asked.len() < MANY {
        return Ok(asked);
    }
    let names: Vec<&str> = asked.iter().map(|slots| slots.destination.as_str()).collect();
    let ready: String = value(connection, sql::READY, (json(&names)?, now))?;
    let places: HashSet<i64> = places(&ready)?.into_iter().collect();
    let ready = (0..).zip(asked).filter(|(place, _)| places.contains(place));
    Ok(ready.map(|(_, slots)| slots).collect())
}

/// Reads what was just leased. A delivery whose notification cannot be read dies here: it would come back for ever.
fn leased(connection: &Connection, ids: &str, now: i64) -> Result<Vec<Lease>, Fault> {
    let mut leases = Vec::new();
    for lease in records(connection, sql::LEASED, [ids], |row| rows::lease(row, now))? {
        match lease {
            Ok(lease) => leases.push(lease),
            Err(Unreadable { id, problem }) => {
                bury(connection, &json(&[id])?, Cause::Rejected, &problem, now)?;
            }
        }
    }
    Ok(leases)
}

/// Records the leases on these deliveries as lost attempts; the caller then ends them.
pub(super) fn record_lost(
    connection: &Connection,
    ids: &str,
    reason: &str,
    now: i64,
) -> Result<(), Fault> {
    execute(connection, sql::RECORD_LOST, (ids, now, reason)).map(drop)
}

pub(super) fn bury(
    connection: &Connection,
    ids: &str,
    cause: Cause,
    reason: &str,
    now: i64,
) -> Result<u64, Fault> {
    let mut keys = Keys::default();
    keys.add_ending(connection, ids)?;
    let buried = execute(connection, sql::BURY, (ids, now, cause.name(), reason))?;
    keys.promote(connection, now)?;
    Ok(buried)
}

/// Leases and how long to hold them from now.
#[derive(Clone, Debug)]
pub(super) struct Extend {
    pub(super) held: Vec<LeaseKey>,
    pub(super) lease: Duration,
}

/// A lease and its new expiry, as [`sql::EXTEND`] takes it.
#[derive(Serialize)]
struct Extended {
    id: i64,
    token: i64,
    due: i64,
}

/// Extends many callers' leases at once. Answers those that are lost.
pub(super) fn extend(
    connection: &Connection,
    batch: &[&Extend],
    now: i64,
) -> Result<HashSet<LeaseKey>, Fault> {
    let extended = batch.iter().flat_map(|extend| {
        let due = now + millis::of(extend.lease);
        extend.held.iter().map(move |key| Extended { id: key.id.0, token: key.token, due })
    });
    let extended: Vec<Extended> = extended.collect();
    if extended.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = json(&extended)?;
    let keys = extended.iter().map(|row| LeaseKey { id: DeliveryId(row.id), token: row.token });
    let lost = lost(connection, &rows, keys)?;
    execute(connection, sql::EXTEND, [&rows])?;
    Ok(lost)
}

/// Those of the rows' leases that are no longer held.
pub(super) fn lost(
    connection: &Connection,
    rows: &str,
    keys: impl Iterator<Item = LeaseKey>,
) -> Result<HashSet<LeaseKey>, Fault> {
    let lost: String = value(connection, sql::LOST, [rows])?;
    let lost: HashSet<i64> = places(&lost)?.into_iter().collect();
    Ok((0..).zip(keys).filter(|(place, _)| lost.contains(place)).map(|(_, key)| key).collect())
}

/// Numbers that a statement answers as one JSON array.
fn places(array: &str) -> Result<Vec<i64>, Fault> {
    serde_json::from_str(array).map_err(|error| Fault::Value(error.to_string()))
}
