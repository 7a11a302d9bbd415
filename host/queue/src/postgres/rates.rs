//! Rates over all hosts.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{Again, LONG_PATIENCE, PostgresQueue, fault};
use crate::{QueueError, RateAsk};

/// The row that a destination's first ask makes: with the one token that a host begins with, too.
pub(super) const BEGIN: &str = "INSERT INTO rates (destination, tokens, filled) \
    SELECT destination, 1, now() FROM unnest($1::text[]) AS a (destination) ON CONFLICT DO NOTHING";

/// Fills the buckets and takes from them; answers for those that have a row. Half a token too early is as good as in
/// time, since it is owed: two clocks that count the same second are never quite at one. Nothing taken or brought back
/// writes nothing.
pub(super) const TAKE: &str = "WITH ask AS ( \
        SELECT * FROM unnest($1::text[], $2::float8[], $3::float8[], $4::float8[]) \
            AS a (destination, wanted, unused, per_second)), \
    had AS MATERIALIZED ( \
        SELECT r.destination, a.wanted, a.unused, least(greatest(a.per_second, 1), r.tokens + a.unused \
            + greatest(extract(epoch FROM now() - r.filled)::float8, 0) * a.per_second) AS tokens \
        FROM rates r JOIN ask a ON a.destination = r.destination \
        ORDER BY r.destination FOR UPDATE OF r), \
    given AS ( \
        SELECT destination, unused, tokens, least(wanted, floor(greatest(tokens + 0.5, 0))) AS granted FROM had), \
    taken AS ( \
        UPDATE rates r SET tokens = g.tokens - g.granted, filled = greatest(r.filled, now()) FROM given g \
        WHERE r.destination = g.destination AND g.granted + g.unused > 0) \
    SELECT destination, granted::int8 FROM given";

#[cfg(test)]
pub(super) const ALL: &[&str] = &[BEGIN, TAKE];

impl PostgresQueue {
    /// How many each may begin, in the order of the asks.
    pub(super) async fn take_rates(&self, asks: &[RateAsk]) -> Result<Vec<u32>, QueueError> {
        let mut granted = self.take_known(asks).await?;
        let new = asks.iter().filter(|ask| !granted.contains_key(&ask.destination));
        let new: Vec<RateAsk> = new.cloned().collect();
        if !new.is_empty() {
            let names: Vec<&str> = new.iter().map(|ask| ask.destination.as_str()).collect();
            let begin = || sqlx::query(BEGIN).bind(&names).execute(&self.pool);
            self.call(LONG_PATIENCE, Again::Yes, begin).await?;
            granted.extend(self.take_known(&new).await?);
        }
        Ok(asks.iter().map(|ask| granted.get(&ask.destination).copied().unwrap_or(0)).collect())
    }

    async fn take_known(&self, asks: &[RateAsk]) -> Result<HashMap<String, u32>, QueueError> {
        let names: Vec<&str> = asks.iter().map(|ask| ask.destination.as_str()).collect();
        let wanted: Vec<f64> = asks.iter().map(|ask| f64::from(ask.wanted)).collect();
        let unused: Vec<f64> = asks.iter().map(|ask| f64::from(ask.unused)).collect();
        let per_second: Vec<f64> = asks.iter().map(|ask| ask.per_second).collect();
        let query = || {
            let query = sqlx::query(TAKE).bind(&names).bind(&wanted).bind(&unused);
            query.bind(&per_second).fetch_all(&self.pool)
        };
        // Taken twice would only slow the destination for a moment, taken untold as well.
        let rows = self.call(LONG_PATIENCE, Again::Yes, query).await?;
        let read = |row: &PgRow| -> Result<(String, u32), sqlx::Error> {
            let granted: i64 = row.try_get("granted")?;
            Ok((row.try_get("destination")?, u32::try_from(granted).unwrap_or(0)))
        };
        rows.iter().map(|row| read(row).map_err(|error| fault::describe(&error))).collect()
    }
}
