//! One at a time for each key.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{json, sql};

/// Keys to promote in, and who ended in each.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<(String, String), Vec<i64>>);

/// One of them as [`sql::PROMOTE`] takes it.
#[derive(Serialize)]
struct Key<'a> {
    destination: &'a str,
    key: &'a str,
    ended: &'a [i64],
}

impl Keys {
    /// A delivery was made or revived.
    pub(super) fn add(&mut self, destination: &str, key: &str) {
        self.0.entry((destination.to_owned(), key.to_owned())).or_default();
    }

    /// Adds the keys of these deliveries, which the caller ends in this transaction.
    pub(super) async fn add_ending(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), sqlx::Error> {
        for row in sqlx::query(sql::KEYED).bind(ids).fetch_all(connection).await? {
            let pair = (row.try_get("destination")?, row.try_get("order_key")?);
            self.0.entry(pair).or_default().push(row.try_get("id")?);
        }
        Ok(())
    }

    /// Adds the keys of these deliveries that are alive.
    pub(super) async fn add_revived(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), sqlx::Error> {
        for row in sqlx::query(sql::KEYED).bind(ids).fetch_all(connection).await? {
            self.add(row.try_get("destination")?, row.try_get("order_key")?);
        }
        Ok(())
    }

    /// Makes the first that waits the head of each key that has none. At the end of the transaction.
    pub(super) async fn promote(
        &self,
        connection: &mut SqliteConnection,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let keys = self.0.iter();
        let keys = keys.map(|((destination, key), ended)| Key { destination, key, ended });
        let keys = json(&keys.collect::<Vec<_>>())?;
        sqlx::query(sql::PROMOTE).bind(keys).bind(now).execute(connection).await.map(drop)
    }
}
