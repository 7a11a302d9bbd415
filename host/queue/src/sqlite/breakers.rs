//! Destinations that are left alone.

use postrider_core::breaker::{BreakerState, Trial, Turn};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

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

pub(super) async fn run(
    connection: &mut SqliteConnection,
    guard: &Guard,
    now: i64,
) -> Result<Guarded, sqlx::Error> {
    let changed = match guard {
        Guard::Trip(one) => trip(connection, one, now).await?,
        Guard::Turn(one) => turn(connection, one, now).await?,
        Guard::Resume(destination) => resume(connection, destination, now).await?,
        Guard::Try(claim) => {
            let tried = claim_trial(connection, claim, now).await?;
            return Ok(Guarded { changed: tried.is_some(), tried });
        }
    };
    Ok(Guarded { changed, tried: None })
}

async fn trip(
    connection: &mut SqliteConnection,
    trip: &Trip,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let query = match trip.gone {
        true => sqlx::query(sql::GONE).bind(&trip.destination).bind(&trip.reason).bind(now),
        false => {
            let query = sqlx::query(sql::TRIP).bind(&trip.destination).bind(&trip.reason);
            query.bind(now).bind(now + millis::of(trip.wait))
        }
    };
    let changed = query.execute(&mut *connection).await?.rows_affected() > 0;
    if changed {
        let hold = sqlx::query(sql::SHUT_HOLD).bind(&trip.destination).bind(now);
        hold.execute(connection).await?;
    }
    Ok(changed)
}

async fn claim_trial(
    connection: &mut SqliteConnection,
    claim: &TrialClaim,
    now: i64,
) -> Result<Option<Tried>, sqlx::Error> {
    let ready = sqlx::query(sql::READY).bind(&claim.destination).bind(now);
    let ready = ready.fetch_optional(&mut *connection).await?;
    let Some(row) = ready.filter(|_| claim.free > 0) else { return Ok(None) };
    let found = state(row.try_get("state")?)?;
    let begin = sqlx::query(sql::BEGIN_TRIAL).bind(&claim.destination);
    begin.bind(now + millis::of(claim.patience)).execute(&mut *connection).await?;
    let batch: u32 = row.try_get("batch")?;
    let asked = batch.min(claim.free);
    let oldest = sqlx::query_scalar(sql::OLDEST).bind(&claim.destination).bind(now);
    let ids: String = oldest.bind(i64::from(asked)).fetch_one(&mut *connection).await?;
    let leases = leases::lease_due(connection, &ids, (claim.host, claim.lease), now).await?;
    let trial = Trial {
        state: if found == BreakerState::Open { BreakerState::Probing } else { found },
        batch,
        asked,
        got: u32::try_from(leases.len()).unwrap_or(u32::MAX),
        failures: row.try_get("failures")?,
    };
    let number = row.try_get::<i64, _>("trial")? + 1;
    Ok(Some(Tried { number, trial, leases }))
}

async fn turn(
    connection: &mut SqliteConnection,
    turn: &BreakerTurn,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let (destination, reason) = (&turn.destination, &turn.reason);
    let query = match turn.turn {
        Turn::Close => sqlx::query(sql::CLOSE).bind(destination).bind(turn.number),
        Turn::Gone => sqlx::query(sql::TURN_GONE).bind(destination).bind(turn.number).bind(reason),
        Turn::Wait { state, batch, wait, failed } => sqlx::query(sql::WAIT)
            .bind(destination)
            .bind(turn.number)
            .bind(state.code())
            .bind(batch)
            .bind(now + millis::of(wait))
            .bind(failed)
            .bind(reason),
    };
    let changed = query.execute(&mut *connection).await?.rows_affected() > 0;
    if changed && turn.turn == Turn::Close {
        sqlx::query(sql::LIFT).bind(destination).execute(connection).await?;
    }
    Ok(changed)
}

async fn resume(
    connection: &mut SqliteConnection,
    destination: &str,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar(sql::IS_HELD).bind(destination).bind(now);
    let held: bool = held.fetch_one(&mut *connection).await?;
    let resume = sqlx::query(sql::RESUME).bind(destination).execute(&mut *connection).await?;
    sqlx::query(sql::LIFT).bind(destination).execute(connection).await?;
    Ok(held || resume.rows_affected() > 0)
}

pub(super) fn blocked(row: &SqliteRow, now: i64) -> Result<Blocked, sqlx::Error> {
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

fn state(code: i16) -> Result<BreakerState, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("a breaker's state {code}").into());
    BreakerState::of_code(code).ok_or_else(unknown)
}
