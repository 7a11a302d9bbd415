//! Destinations that are left alone.

use postrider_core::breaker::{BreakerState, Trial, Turn};
use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::Fault;
use super::statement::{execute, first, value};
use super::{breakers_sql as sql, leases};
use crate::{Blocked, Breaker, BreakerTurn, TrialClaim, Tried, Trip, millis};

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Guard {
    Trip(Trip),
    Try(TrialClaim),
    Turn(BreakerTurn),
    Resume(String),
}

/// What it answers.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    pub(super) changed: bool,
    pub(super) tried: Option<Tried>,
}

pub(super) fn run(connection: &Connection, guard: &Guard, now: i64) -> Result<Guarded, Fault> {
    let changed = match guard {
        Guard::Trip(one) => trip(connection, one, now)?,
        Guard::Turn(one) => turn(connection, one, now)?,
        Guard::Resume(destination) => resume(connection, destination, now)?,
        Guard::Try(claim) => {
            let tried = claim_trial(connection, claim, now)?;
            return Ok(Guarded { changed: tried.is_some(), tried });
        }
    };
    Ok(Guarded { changed, tried: None })
}

fn trip(connection: &Connection, trip: &Trip, now: i64) -> Result<bool, Fault> {
    let Trip { destination, reason, .. } = trip;
    let changed = match trip.gone {
        true => execute(connection, sql::GONE, (destination, reason, now))?,
        false => {
            let next = now + millis::of(trip.wait);
            execute(connection, sql::TRIP, (destination, reason, now, next))?
        }
    };
    if changed > 0 {
        execute(connection, sql::SHUT_HOLD, (destination, now))?;
    }
    Ok(changed > 0)
}

/// A breaker whose trial may begin, as [`sql::READY`] answers it.
struct Ready {
    state: i16,
    batch: u32,
    failures: u32,
    trial: i64,
}

fn claim_trial(
    connection: &Connection,
    claim: &TrialClaim,
    now: i64,
) -> Result<Option<Tried>, Fault> {
    let destination = &claim.destination;
    let ready = first(connection, sql::READY, (destination, now), |row| {
        Ok(Ready {
            state: row.get("state")?,
            batch: row.get("batch")?,
            failures: row.get("failures")?,
            trial: row.get("trial")?,
        })
    });
    let Some(ready) = ready?.filter(|_| claim.free > 0) else { return Ok(None) };
    let found = state(ready.state)?;
    let until = now + millis::of(claim.patience);
    execute(connection, sql::BEGIN_TRIAL, (destination, until))?;
    let asked = ready.batch.min(claim.free);
    let ids: String = value(connection, sql::OLDEST, (destination, now, asked))?;
    let leases = leases::lease_due(connection, &ids, (claim.host, claim.lease), now)?;
    let trial = Trial {
        state: if found == BreakerState::Open { BreakerState::Probing } else { found },
        batch: ready.batch,
        asked,
        got: u32::try_from(leases.len()).unwrap_or(u32::MAX),
        failures: ready.failures,
    };
    Ok(Some(Tried { number: ready.trial + 1, trial, leases }))
}

fn turn(connection: &Connection, turn: &BreakerTurn, now: i64) -> Result<bool, Fault> {
    let BreakerTurn { destination, number, reason, .. } = turn;
    let changed = match turn.turn {
        Turn::Close => execute(connection, sql::CLOSE, (destination, number))?,
        Turn::Gone => execute(connection, sql::TURN_GONE, (destination, number, reason))?,
        Turn::Wait { state, batch, wait, failed } => {
            let next = now + millis::of(wait);
            let wait = (destination, number, state.code(), batch, next, failed, reason);
            execute(connection, sql::WAIT, wait)?
        }
    };
    if changed > 0 && turn.turn == Turn::Close {
        execute(connection, sql::LIFT, [destination])?;
    }
    Ok(changed > 0)
}

fn resume(connection: &Connection, destination: &str, now: i64) -> Result<bool, Fault> {
    let held: bool = value(connection, sql::IS_HELD, (destination, now))?;
    let resumed = execute(connection, sql::RESUME, [destination])?;
    execute(connection, sql::LIFT, [destination])?;
    Ok(held || resumed > 0)
}

pub(super) fn blocked(row: &SqliteRow, now: i64) -> Result<Blocked, Fault> {
    let since: i64 = row.try_get("held_since")?;
    let breaker = match row.try_get::<Option<i16>, _>("state")? {
        None => None,
        Some(code) => {
            let state = state(code)?;
            let next: i64 = row.try_get("next")?;
            Some(Breaker {
                state,
                reason: row.try_get("reason")?,
                since: millis::timestamp(row.try_get("since")?),
                next: (state != BreakerState::Gone).then(|| millis::timestamp(next)),
                next_in: millis::duration(next - now),
                failures: row.try_get("failures")?,
                batch: row.try_get("batch")?,
            })
        }
    };
    let until = millis::timestamp(row.try_get("until")?);
    Ok(Blocked {
        destination: row.try_get("destination")?,
        since: millis::timestamp(since),
        age: millis::duration(now - since),
        until: breaker.is_none().then_some(until),
        breaker,
    })
}

fn state(code: i16) -> Result<BreakerState, Fault> {
    let unknown = || Fault::Value(format!("a breaker's state {code}"));
    BreakerState::of_code(code).ok_or_else(unknown)
}
