//! Destinations that are left alone, for all hosts.

use postrider_core::breaker::{BreakerState, Trial, Turn};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::moment::Moment;
use super::{Again, LONG_PATIENCE, PATIENCE, PostgresQueue, breakers_sql as sql, fault};
use super::{milliseconds, text};
use crate::{
    Blocked, Breaker, BreakerTurn, LEASE_EXPIRED, QueueError, TrialClaim, Tried, Trip, millis,
};

impl PostgresQueue {
    pub(super) async fn trip_one(&self, trip: &Trip) -> Result<bool, QueueError> {
        let reason = text(&trip.reason);
        let query = || match trip.gone {
            true => sqlx::query_scalar(sql::GONE).bind(&trip.destination).bind(&reason),
            false => {
                let query = sqlx::query_scalar(sql::TRIP).bind(&trip.destination).bind(&reason);
                query.bind(milliseconds(trip.wait))
            }
        };
        let tripped = || query().fetch_one(&self.pool);
        let changed: i64 = self.call(LONG_PATIENCE, Again::Yes, tripped).await?;
        Ok(changed > 0)
    }

    pub(super) async fn try_one(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        let query = || {
            sqlx::query(sql::TRIAL)
                .bind(&claim.destination)
                .bind(i64::from(claim.free))
                .bind(milliseconds(claim.patience))
                .bind(claim.host.0)
                .bind(milliseconds(claim.lease))
                .bind(LEASE_EXPIRED)
                .fetch_all(&self.pool)
        };
        let mut rows = self.call(LONG_PATIENCE, Again::No, query).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (number, trial) = begun(first).map_err(|error| fault::describe(&error))?;
        rows.retain(|row| row.try_get::<i64, _>("id").is_ok());
        let got = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let leases = self.leased(&rows).await?;
        Ok(Some(Tried { number, trial: Trial { got, ..trial }, leases }))
    }

    pub(super) async fn turn_one(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        let reason = text(&turn.reason);
        let changed = match turn.turn {
            Turn::Close => {
                let close = || {
                    let close = sqlx::query_scalar(sql::CLOSE).bind(&turn.destination);
                    close.bind(turn.number).fetch_one(&self.pool)
                };
                let closed: i64 = self.call(LONG_PATIENCE, Again::Yes, close).await?;
                // What is due was behind the mark.
                self.marks.reset();
                closed.cast_unsigned()
            }
            Turn::Gone => {
                let gone = || {
                    let gone = sqlx::query(sql::TURN_GONE).bind(&turn.destination);
                    gone.bind(turn.number).bind(&reason).execute(&self.pool)
                };
                self.call(LONG_PATIENCE, Again::Yes, gone).await?.rows_affected()
            }
            Turn::Wait { state, batch, wait, failed } => {
                let wait = || {
                    sqlx::query(sql::WAIT)
                        .bind(&turn.destination)
                        .bind(turn.number)
                        .bind(state.code())
                        .bind(i32::try_from(batch).unwrap_or(i32::MAX))
                        .bind(milliseconds(wait))
                        .bind(i32::from(failed))
                        .bind(&reason)
                        .execute(&self.pool)
                };
                self.call(LONG_PATIENCE, Again::Yes, wait).await?.rows_affected()
            }
        };
        Ok(changed > 0)
    }

    pub(super) async fn resume_one(&self, destination: &str) -> Result<bool, QueueError> {
        let resume = || sqlx::query_scalar(sql::RESUME).bind(destination).fetch_one(&self.pool);
        let lifted: i64 = self.call(PATIENCE, Again::Yes, resume).await?;
        self.marks.reset();
        self.tell(lifted.cast_unsigned());
        Ok(lifted > 0)
    }
}

fn begun(row: &PgRow) -> Result<(i64, Trial), sqlx::Error> {
    let trial = Trial {
        state: state(row.try_get("breaker")?)?,
        batch: number(row.try_get("batch")?),
        asked: u32::try_from(row.try_get::<i64, _>("asked")?).unwrap_or(1),
        got: 0,
        failures: number(row.try_get("failures")?),
    };
    Ok((row.try_get("trial")?, trial))
}

pub(super) fn blocked(row: &PgRow) -> Result<Blocked, sqlx::Error> {
    let moment = |column| -> Result<_, sqlx::Error> {
        Ok(millis::timestamp(row.try_get::<Moment, _>(column)?.millis()))
    };
    let breaker = match row.try_get::<Option<i16>, _>("state")? {
        None => None,
        Some(code) => {
            let state = state(code)?;
            Some(Breaker {
                state,
                reason: row.try_get("reason")?,
                since: moment("since")?,
                next: if state == BreakerState::Gone { None } else { Some(moment("next")?) },
                next_in: millis::duration(row.try_get("next_in")?),
                failures: number(row.try_get("failures")?),
                batch: number(row.try_get("batch")?),
            })
        }
    };
    Ok(Blocked {
        destination: row.try_get("destination")?,
        since: moment("held_since")?,
        age: millis::duration(row.try_get("age")?),
        until: if breaker.is_some() { None } else { Some(moment("until")?) },
        breaker,
    })
}

fn state(code: i16) -> Result<BreakerState, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("a breaker's state {code}").into());
    BreakerState::of_code(code).ok_or_else(unknown)
}

fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
