//! Settle: the other half of the hot path.

use std::collections::HashSet;

use postrider_core::settle::Settlement;
use postrider_core::{Attempt, HostId, LeaseKey};
use rusqlite::Connection;
use serde::Serialize;

use super::fault::Fault;
use super::leases::lost;
use super::order::Keys;
use super::statement::execute;
use super::{json, sql};
use crate::{Settle, millis};

/// A settlement as [`sql::SETTLE`] and its companions take it.
#[derive(Serialize)]
struct Settled<'a> {
    id: i64,
    token: i64,
    state: i64,
    due: Option<i64>,
    lane: i64,
    counted: i64,
    /// Handed back: what was lost before still counts.
    released: i64,
    /// No attempt to record: its number is free again.
    untried: i64,
    parts_done: u32,
    reason: &'a str,
    cause: Option<&'static str>,
    finished: Option<i64>,
    hold: Option<i64>,
    taker: Option<&'a str>,
    chain: &'a [String],
    key: Option<&'a str>,
    expires: Option<i64>,
}

/// An attempt as [`sql::RECORD`] takes it, apart from its settlement: neither statement reads the other's fields.
#[derive(Serialize)]
struct Tried<'a> {
    id: i64,
    token: i64,
    started: i64,
    duration: i64,
    outcome: &'a str,
    reason: &'a str,
    plugin: &'a str,
    host: String,
}

/// Writes many callers' settlements, at most one for each lease. Answers those whose lease is lost. Where nothing waits
/// for its key's head, `keyed` is false and nobody asks for keys.
pub(super) fn settle(
    connection: &Connection,
    batch: &[&Settle],
    keyed: bool,
    now: i64,
) -> Result<HashSet<LeaseKey>, Fault> {
    if keyed {
        return settle_any(connection, batch, keyed, now);
    }
    let first = batch.iter().find_map(|item| Alike::of(item));
    let (alike, others): (Vec<&Settle>, Vec<&Settle>) =
        batch.iter().partition(|item| first.is_some() && Alike::of(item) == first);
    let mut lost = settle_any(connection, &others, keyed, now)?;
    if let Some(first) = first {
        lost.extend(first.settle(connection, &alike, now)?);
    }
    Ok(lost)
}

/// What those have in common that were delivered in one way: most of what is settled, and written with a fifth of the
/// fields.
#[derive(PartialEq)]
struct Alike<'a> {
    parts_done: u32,
    reason: &'a str,
    told: &'a str,
    outcome: &'a str,
    plugin: &'a str,
    host: HostId,
}

impl<'a> Alike<'a> {
    /// None where it was not delivered, or without an attempt.
    fn of(item: &'a Settle) -> Option<Self> {
        let tried = item.attempt.as_ref().filter(|_| item.settlement == Settlement::Delivered)?;
        Some(Self {
            parts_done: item.parts_done,
            reason: &item.reason,
            told: &tried.reason,
            outcome: &tried.outcome,
            plugin: &tried.plugin,
            host: tried.host,
        })
    }

    /// Writes those that are like this. Answers the leases that are lost.
    fn settle(
        &self,
        connection: &Connection,
        alike: &[&Settle],
        now: i64,
    ) -> Result<HashSet<LeaseKey>, Fault> {
        let recorded = self.record(connection, alike)?;
        let lost = lost_of(connection, alike, recorded)?;
        let held = alike.iter().map(|item| item.key).filter(|key| !lost.contains(key));
        let held: Vec<i64> = held.map(|key| key.id.0).collect();
        for part in sql::SETTLE_DELIVERED.parts(connection, &held) {
            let (mut settle, part) = part?;
            settle.bind(self.parts_done)?.bind(self.reason)?.bind(now)?;
            for id in part {
                settle.bind(id)?;
            }
            written(settle.execute()?.rows, part.len())?;
        }
        Ok(lost)
    }

    /// Answers how many of their attempts it recorded.
    fn record(&self, connection: &Connection, alike: &[&Settle]) -> Result<u64, Fault> {
        let (host, mut recorded) = (self.host.to_string(), 0);
        for part in sql::RECORD_DELIVERED.parts(connection, alike) {
            let (mut record, part) = part?;
            record.bind(self.outcome)?.bind(self.told)?.bind(self.plugin)?.bind(&host)?;
            for item in part {
                let Some(Attempt { started, duration, .. }) = &item.attempt else { continue };
                let LeaseKey { id, token } = item.key;
                record.bind(id.0)?.bind(token)?;
                record.bind(started.as_millisecond())?.bind(millis::micros(*duration))?;
            }
            recorded += record.execute()?.rows;
        }
        Ok(recorded)
    }
}

/// A lease as [`sql::LOST`] takes it.
#[derive(Serialize)]
struct Held {
    id: i64,
    token: i64,
}

/// Those whose lease is lost, after so many attempts were recorded: one is recorded only under a lease that is held, so
/// where all were, none is lost.
fn lost_of(
    connection: &Connection,
    batch: &[&Settle],
    recorded: u64,
) -> Result<HashSet<LeaseKey>, Fault> {
    if recorded == batch.len() as u64 {
        return Ok(HashSet::new());
    }
    let keys = batch.iter().map(|item| item.key);
    let rows = keys.clone().map(|key| Held { id: key.id.0, token: key.token });
    lost(connection, &json(&rows.collect::<Vec<_>>())?, keys)
}

/// An error where a statement wrote others than it was to: its round is rolled back.
fn written(written: u64, held: usize) -> Result<(), Fault> {
    if written == held as u64 {
        return Ok(());
    }
    Err(Fault::Miscounted(format!("{written} settlements written of {held} held")))
}

/// Settles in any way, one of each lease.
fn settle_any(
    connection: &Connection,
    batch: &[&Settle],
    keyed: bool,
    now: i64,
) -> Result<HashSet<LeaseKey>, Fault> {
    let settled: Vec<Settled<'_>> = batch.iter().map(|item| Settled::new(item, now)).collect();
    if settled.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = json(&settled)?;
    let tried = batch.iter().filter(|item| item.settlement != Settlement::Released);
    let tried: Vec<Tried<'_>> = tried.filter_map(|item| Tried::new(item)).collect();
    let recorded =
        if tried.is_empty() { 0 } else { execute(connection, sql::RECORD, [json(&tried)?])? };
    let lost = lost_of(connection, batch, recorded)?;
    if settled.iter().any(|item| item.taker.is_some()) {
        execute(connection, sql::HAND_OVER, (&rows, now))?;
    }
    if settled.iter().any(|item| item.hold.is_some()) {
        execute(connection, sql::HOLD, (&rows, now))?;
    }
    // What is handed over may wait for a head, too.
    let keys = match keyed || settled.iter().any(|row| row.key.is_some()) {
        true => ending_keys(connection, batch, &settled, &lost)?,
        false => Keys::default(),
    };
    written(execute(connection, sql::SETTLE, [&rows])?, batch.len() - lost.len())?;
    keys.promote(connection, now)?;
    Ok(lost)
}

/// The keys in which a settlement ends one or hands one over.
fn ending_keys(
    connection: &Connection,
    batch: &[&Settle],
    settled: &[Settled<'_>],
    lost: &HashSet<LeaseKey>,
) -> Result<Keys, Fault> {
    let mut keys = Keys::default();
    for row in settled {
        if let (Some(taker), Some(key)) = (row.taker, row.key) {
            keys.add(taker, key);
        }
    }
    let ending =
        batch.iter().zip(settled).filter(|(item, row)| row.state != 0 && !lost.contains(&item.key));
    let ids: Vec<i64> = ending.map(|(item, _)| item.key.id.0).collect();
    keys.add_ending(connection, &json(&ids)?)?;
    Ok(keys)
}

impl<'a> Settled<'a> {
    fn new(item: &'a Settle, now: i64) -> Self {
        let untouched = Self {
            id: item.key.id.0,
            token: item.key.token,
            state: 0,
            due: None,
            lane: 0,
            counted: 0,
            released: 0,
            untried: i64::from(item.attempt.is_none()),
            parts_done: item.parts_done,
            reason: &item.reason,
            cause: None,
            finished: None,
            hold: None,
            taker: None,
            chain: &[],
            key: None,
            expires: None,
        };
        match &item.settlement {
            Settlement::Delivered => Self { state: 1, finished: Some(now), ..untouched },
            Settlement::Retry { delay, counted, hold } => Self {
                due: Some(now + millis::of(*delay)),
                lane: 1,
                counted: i64::from(*counted),
                hold: hold.map(|hold| now + millis::of(hold)),
                ..untouched
            },
            Settlement::Dead { cause } => {
                let cause = Some(cause.name());
                let dead = Self { state: 2, cause, finished: Some(now), ..untouched };
                let Some(handover) = &item.handover else { return dead };
                let taker = &handover.taker;
                Self {
                    taker: Some(&taker.destination),
                    chain: &handover.chain,
                    key: taker.order_key.as_deref(),
                    expires: taker.expires_after.map(|after| now + millis::of(after)),
                    ..dead
                }
            }
            Settlement::Released => Self { due: Some(now), released: 1, untried: 1, ..untouched },
        }
    }
}

impl<'a> Tried<'a> {
    fn new(item: &'a Settle) -> Option<Self> {
        let attempt = item.attempt.as_ref()?;
        Some(Self {
            id: item.key.id.0,
            token: item.key.token,
            started: attempt.started.as_millisecond(),
            duration: millis::micros(attempt.duration),
            outcome: &attempt.outcome,
            reason: &attempt.reason,
            plugin: &attempt.plugin,
            host: attempt.host.to_string(),
        })
    }
}
