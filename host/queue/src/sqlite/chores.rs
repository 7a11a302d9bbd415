//! Retention, hosts and numbers. What writes is one kind of request: it is rare, and never large.

use postrider_core::retention::Remains;
use postrider_core::{DeliveryId, HostId};
use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use uuid::Uuid;

use super::fault::Fault;
use super::rows::legible;
use super::statement::{self, execute};
use super::{breakers_sql, chores_sql as sql, json};
use crate::holding::PAUSED_UNTIL;
use crate::pruning::{CHUNK_LOOKED, Candidate, Chunk};
use crate::{
    BACKLOG_COUNTED, Backlog, COUNTED, DeadGroup, Depth, EXACT_SIZE, HOST_FORGOTTEN, HOST_SILENT,
    Hold, HostBeat, HostRecord, Paused, Pruned, Retention, Rows, Sizes, Stats, millis,
};

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Chore {
    Prune(Chunk),
    Beat(HostBeat),
    Leave(HostId),
    Pause { destination: String, reason: String },
}

pub(super) fn run(connection: &Connection, chore: &Chore, now: i64) -> Result<Pruned, Fault> {
    match chore {
        Chore::Prune(chunk) => return prune(connection, chunk),
        Chore::Beat(host) => beat(connection, host, now)?,
        Chore::Leave(host) => drop(execute(connection, sql::LEAVE, [host.to_string()])?),
        Chore::Pause { destination, reason } => {
            execute(connection, sql::PAUSE, (destination, PAUSED_UNTIL, now, reason))?;
            execute(connection, breakers_sql::RESUME, [destination])?;
        }
    }
    Ok(Pruned::default())
}

pub(super) fn hold(row: &SqliteRow) -> Result<Hold, Fault> {
    let paused: Option<i64> = row.try_get("paused")?;
    let reason: String = row.try_get("reason")?;
    Ok(Hold {
        destination: row.try_get("destination")?,
        until: millis::timestamp(row.try_get("until")?),
        paused: paused.map(|since| Paused { since: millis::timestamp(since), reason }),
    })
}

/// What the next chunk is to do.
pub(super) async fn chunk(
    readers: &SqlitePool,
    retention: &Retention,
    after: Option<i64>,
    now: i64,
) -> Result<Chunk, Fault> {
    let rows = sqlx::query(sql::CANDIDATES)
        .bind(after.unwrap_or(0))
        .bind(i64::try_from(CHUNK_LOOKED).unwrap_or(i64::MAX))
        .bind(now)
        .fetch_all(readers)
        .await?;
    let looked: Result<Vec<Candidate>, Fault> = rows.iter().map(candidate).collect();
    Ok(Chunk::of(retention, &looked?))
}

fn candidate(row: &SqliteRow) -> Result<Candidate, Fault> {
    let age = |column| -> Result<_, Fault> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(millis::duration))
    };
    let remains = Remains {
        fanned_out: age("fanned_out")?,
        malformed: row.try_get("malformed")?,
        has_key: row.try_get("has_key")?,
        pruned: row.try_get("pruned")?,
        deliveries: count(row, "deliveries")?,
        live: count(row, "live")?,
        dead: count(row, "dead")?,
        finished: age("finished")?,
    };
    Ok(Candidate { row: row.try_get("seq")?, remains, attempts: count(row, "attempts")? })
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, Fault> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}

/// The chunk was looked up before this transaction: what lives again stays.
fn prune(connection: &Connection, chunk: &Chunk) -> Result<Pruned, Fault> {
    let all: Vec<i64> = [&chunk.go, &chunk.lose_deliveries, &chunk.lose_content]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let again: Vec<i64> =
        statement::all(connection, sql::LIVE_AGAIN, [json(&all)?], |row| Ok(row.get(0)?))?;
    let still = |lists: &[&Vec<i64>]| {
        let rows = lists.iter().copied().flatten().filter(|row| !again.contains(row));
        json(&rows.collect::<Vec<_>>())
    };
    let run = |statement: &'static str, rows: &[&Vec<i64>]| -> Result<u64, Fault> {
        execute(connection, statement, [still(rows)?])
    };
    let ended = [&chunk.go, &chunk.lose_deliveries];
    Ok(Pruned {
        attempts: run(sql::DROP_ATTEMPTS, &ended)?,
        deliveries: run(sql::DROP_DELIVERIES, &ended)?,
        notifications: run(sql::DROP_NOTIFICATIONS, &[&chunk.go])?,
        contents: run(sql::DROP_CONTENT, &[&chunk.lose_deliveries, &chunk.lose_content])?,
        next: chunk.next,
    })
}

fn beat(connection: &Connection, host: &HostBeat, now: i64) -> Result<(), Fault> {
    let (id, destinations) = (host.id.to_string(), json(&host.destinations)?);
    let told = (id, &host.name, &host.version, &host.listen, destinations, now);
    execute(connection, sql::BEAT, told)?;
    execute(connection, sql::FORGET, [now - millis::of(HOST_FORGOTTEN)])?;
    execute(connection, sql::MARK, (silent(now), now)).map(drop)
}

/// The moment of the last beat of a host that counts as gone.
pub(super) fn silent(now: i64) -> i64 {
    now - millis::of(HOST_SILENT)
}

pub(super) fn host(row: &SqliteRow, now: i64) -> Result<HostRecord, Fault> {
    let decode = |error: &dyn std::error::Error| Fault::Value(error.to_string());
    let id: Uuid = row.try_get::<&str, _>("id")?.parse().map_err(|e: uuid::Error| decode(&e))?;
    let destinations: &str = row.try_get("destinations")?;
    let seen: i64 = row.try_get("seen")?;
    Ok(HostRecord {
        told: HostBeat {
            id: HostId(id),
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            listen: row.try_get("listen")?,
            destinations: serde_json::from_str(destinations).map_err(|e| decode(&e))?,
        },
        started: millis::timestamp(row.try_get("started")?),
        seen: millis::timestamp(seen),
        live: seen > silent(now),
    })
}

pub(super) fn depth(row: &SqliteRow, share: u64) -> Result<Depth, Fault> {
    let overdue: Option<i64> = row.try_get("overdue")?;
    Ok(Depth {
        destination: row.try_get("destination")?,
        live: Rows::counted(count(row, "live")?, share, None),
        oldest_due: overdue.map(millis::duration),
    })
}

/// Numbers, of which the sizes are the file's. The log beside it is the caller's to add.
pub(super) async fn stats(connection: &mut SqliteConnection, now: i64) -> Result<Stats, Fault> {
    let bound = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let counted = sqlx::query(sql::STATS).bind(bound(COUNTED)).bind(bound(EXACT_SIZE)).bind(now);
    let row = counted.fetch_one(&mut *connection).await?;
    let indexed = |column| Ok::<_, Fault>(Rows::counted(count(&row, column)?, COUNTED, None));
    let estimated = |column, span| -> Result<_, Fault> {
        Ok(Rows::counted(count(&row, column)?, EXACT_SIZE, Some(count(&row, span)?)))
    };
    let attempts = Rows::counted(count(&row, "attempts")?, EXACT_SIZE, None);
    let overdue: Option<i64> = row.try_get("overdue")?;
    let pages = sqlx::query(sql::PAGES).fetch_one(connection).await?;
    Ok(Stats {
        notifications: estimated("notifications", "notifications_span")?,
        deliveries: estimated("deliveries", "deliveries_span")?,
        attempts: Some(attempts).filter(|attempts| attempts.exact),
        arrived: indexed("arrived")?,
        live: indexed("live")?,
        dead: indexed("dead")?,
        cancelled: indexed("cancelled")?,
        oldest_due: overdue.map(millis::duration),
        sizes: Sizes {
            total: count(&pages, "total")?,
            free: Some(count(&pages, "free")?),
            ..Sizes::default()
        },
    })
}

/// What waits for a destination. How many are dead comes from elsewhere.
pub(super) fn backlog(row: &SqliteRow) -> Result<Backlog, Fault> {
    let rows = |count| Rows::counted(count, BACKLOG_COUNTED, None);
    Ok(Backlog {
        destination: legible(row, "destination")?,
        fresh: rows(count(row, "fresh")?),
        retries: rows(count(row, "retries")?),
        due: rows(count(row, "due_fresh")? + count(row, "due_retries")?),
        dead: Rows::exact(0),
        oldest_due: row.try_get::<Option<i64>, _>("overdue")?.map(millis::duration),
    })
}

pub(super) fn dead_of(row: &SqliteRow) -> Result<(String, u64), Fault> {
    Ok((legible(row, "destination")?, count(row, "count")?))
}

pub(super) fn dead_group(row: &SqliteRow) -> Result<DeadGroup, Fault> {
    Ok(DeadGroup {
        destination: legible(row, "destination")?,
        cause: legible(row, "cause")?,
        reason: legible(row, "reason")?,
        count: count(row, "count")?,
        first: millis::timestamp(row.try_get("first")?),
        last: millis::timestamp(row.try_get("last")?),
        newest: DeliveryId(row.try_get("newest")?),
    })
}
