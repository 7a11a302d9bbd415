//! Claim and extend: half of the hot path.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use postrider_core::settle::Cause;
use postrider_core::{DeliveryId, HostId, LeaseKey};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::order::Keys;
use super::rows::Unreadable;
use super::{json, packed, rows, sql};
use crate::target::SWEPT;
use crate::{Claim, LEASE_EXPIRED, Lease, MAX_BATCH, Slots, Sweep, millis};

/// From this many destinations on, one statement first finds those with anything due.
const MANY: usize = 4;

/// Leases what is due for one host.
///
/// SQLite needs no watermark on its way into the live index: it takes an entry out in place, so none is dead.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
    now: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    let mut ids: Vec<i64> = Vec::new();
    let mut expired = false;
    for slots in ready(connection, &claim.slots, now).await? {
        let (free, kept) = slots.within(MAX_BATCH.saturating_sub(ids.len()));
        let due: Option<(String, bool)> = sqlx::query_as(sql::DUE)
            .bind(&slots.destination)
            .bind(now)
            .bind(i64::from(free))
            .bind(i64::from(kept))
            .fetch_optional(&mut *connection)
            .await?;
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
        record_lost(connection, &ids, LEASE_EXPIRED, now).await?;
    }
    lease_of(connection, &ids, (claim.host, claim.lease), now).await
}

/// Leases these, which are due, also where leases on them have expired.
pub(super) async fn lease_due(
    connection: &mut SqliteConnection,
    ids: &str,
    by: (HostId, Duration),
    now: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    record_lost(connection, ids, LEASE_EXPIRED, now).await?;
    lease_of(connection, ids, by, now).await
}

async fn lease_of(
    connection: &mut SqliteConnection,
    ids: &str,
    (host, lease): (HostId, Duration),
    now: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    sqlx::query(sql::LEASE)
        .bind(ids)
        .bind(now)
        .bind(host.to_string())
        .bind(now + millis::of(lease))
        .execute(&mut *connection)
        .await?;
    leased(connection, ids, now).await
}

/// A destination and the moment before which what is alive is too old, as [`sql::TOO_OLD`] takes them.
#[derive(Serialize)]
struct Before<'a> {
    destination: &'a str,
    before: i64,
    early: bool,
}

/// Leases what came too late: what is past its expiry, then what is too old.
pub(super) async fn claim_overdue(
    connection: &mut SqliteConnection,
    sweep: &Sweep,
    now: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    let limit = i64::from(sweep.limit).min(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX));
    let expired = sqlx::query_scalar(sql::EXPIRED).bind(now).bind(limit);
    let expired: String = expired.fetch_one(&mut *connection).await?;
    let bounds = sweep.bounds.iter().map(|bound| Before {
        destination: &bound.destination,
        before: now - millis::of(bound.max_age),
        early: bound.early,
    });
    let too_old = sqlx::query_scalar(sql::TOO_OLD).bind(json(&bounds.collect::<Vec<_>>())?);
    let too_old = too_old.bind(now).bind(SWEPT).bind(limit);
    let too_old: String = too_old.fetch_one(&mut *connection).await?;
    let mut ids = places(&expired)?;
    ids.extend(places(&too_old)?);
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids.truncate(usize::try_from(limit).unwrap_or(0));
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = json(&ids)?;
    record_lost(connection, &ids, LEASE_EXPIRED, now).await?;
    sqlx::query(sql::LEASE_OVERDUE)
        .bind(&ids)
        .bind(now)
        .bind(sweep.host.to_string())
        .bind(now + millis::of(sweep.lease))
        .execute(&mut *connection)
        .await?;
    leased(connection, &ids, now).await
}

/// The destinations that are worth a statement of their own, each once.
async fn ready<'a>(
    connection: &mut SqliteConnection,
    slots: &'a [Slots],
    now: i64,
) -> Result<Vec<&'a Slots>, sqlx::Error> {
    let mut names = HashSet::new();
    let once = slots.iter().filter(|slots| names.insert(&slots.destination));
    let asked: Vec<&Slots> = once.filter(|slots| slots.free > 0).collect();
    if asked.len() < MANY {
        return Ok(asked);
    }
    let names: Vec<&str> = asked.iter().map(|slots| slots.destination.as_str()).collect();
    let ready = sqlx::query_scalar(sql::READY).bind(json(&names)?).bind(now);
    let ready: String = ready.fetch_one(connection).await?;
    let places: HashSet<i64> = places(&ready)?.into_iter().collect();
    let ready = (0..).zip(asked).filter(|(place, _)| places.contains(place));
    Ok(ready.map(|(_, slots)| slots).collect())
}

/// Reads what was just leased. A delivery whose notification cannot be read dies here: it would come back for ever.
async fn leased(
    connection: &mut SqliteConnection,
    ids: &str,
    now: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    let ids = places(ids)?;
    let mut leases = Vec::with_capacity(ids.len());
    for ids in ids.chunks(packed::AT_ONCE) {
        for lease in read(connection, ids, now).await? {
            match lease {
                Ok(lease) => leases.push(lease),
                Err(Unreadable { id, problem }) => {
                    bury(connection, &json(&[id])?, Cause::Rejected, &problem, now).await?;
                }
            }
        }
    }
    Ok(leases)
}

/// What can be packed in one trip, and the others row by row; in the order of their ids here.
async fn read(
    connection: &mut SqliteConnection,
    ids: &[i64],
    now: i64,
) -> Result<Vec<Result<Lease, Unreadable>>, sqlx::Error> {
    let together = sqlx::query_as(sql::LEASED_TOGETHER).bind(json(ids)?).bind(packed::MOST);
    let (array, contents): (Vec<u8>, Vec<u8>) = together.fetch_one(&mut *connection).await?;
    let mut read = packed::leases(&array, &contents, now).unwrap_or_default();
    if read.len() == ids.len() {
        return Ok(read);
    }
    let id = |lease: &Result<Lease, Unreadable>| match lease {
        Ok(lease) => lease.key.id.0,
        Err(unreadable) => unreadable.id,
    };
    let known: HashSet<i64> = read.iter().map(id).collect();
    let rest: Vec<i64> = ids.iter().copied().filter(|id| !known.contains(id)).collect();
    for row in sqlx::query(sql::LEASED).bind(json(&rest)?).fetch_all(connection).await? {
        read.push(rows::lease(&row, now)?);
    }
    let place: HashMap<i64, usize> = ids.iter().copied().zip(0..).collect();
    read.sort_by_key(|lease| place.get(&id(lease)).copied());
    Ok(read)
}

/// Records the leases on these deliveries as lost attempts; the caller then ends them.
pub(super) async fn record_lost(
    connection: &mut SqliteConnection,
    ids: &str,
    reason: &str,
    now: i64,
) -> Result<(), sqlx::Error> {
    let record = sqlx::query(sql::RECORD_LOST).bind(ids).bind(now).bind(reason);
    record.execute(connection).await.map(drop)
}

pub(super) async fn bury(
    connection: &mut SqliteConnection,
    ids: &str,
    cause: Cause,
    reason: &str,
    now: i64,
) -> Result<u64, sqlx::Error> {
    let mut keys = Keys::default();
    keys.add_ending(connection, ids).await?;
    let bury = sqlx::query(sql::BURY).bind(ids).bind(now).bind(cause.name()).bind(reason);
    let buried = bury.execute(&mut *connection).await?.rows_affected();
    keys.promote(connection, now).await?;
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
pub(super) async fn extend(
    connection: &mut SqliteConnection,
    batch: &[&Extend],
    now: i64,
) -> Result<HashSet<LeaseKey>, sqlx::Error> {
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
    let lost = lost(connection, &rows, keys).await?;
    sqlx::query(sql::EXTEND).bind(&rows).execute(connection).await?;
    Ok(lost)
}

/// Those of the rows' leases that are no longer held.
pub(super) async fn lost(
    connection: &mut SqliteConnection,
    rows: &str,
    keys: impl Iterator<Item = LeaseKey>,
) -> Result<HashSet<LeaseKey>, sqlx::Error> {
    let lost: String = sqlx::query_scalar(sql::LOST).bind(rows).fetch_one(connection).await?;
    let lost: HashSet<i64> = places(&lost)?.into_iter().collect();
    Ok((0..).zip(keys).filter(|(place, _)| lost.contains(place)).map(|(_, key)| key).collect())
}

/// Numbers that a statement answers as one JSON array: a row each would be a trip each.
fn places(array: &str) -> Result<Vec<i64>, sqlx::Error> {
    serde_json::from_str(array).map_err(|error| sqlx::Error::Decode(error.into()))
}
