//! One at a time for each key.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::Serialize;

use super::fault::Fault;
use super::statement::{all, execute};
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
    pub(super) fn add_ending(&mut self, connection: &Connection, ids: &str) -> Result<(), Fault> {
        for Keyed { id, pair } in keyed(connection, ids)? {
            self.0.entry(pair).or_default().push(id);
        }
        Ok(())
    }

    /// Adds the keys of these deliveries that are alive.
    pub(super) fn add_revived(&mut self, connection: &Connection, ids: &str) -> Result<(), Fault> {
        for Keyed { pair, .. } in keyed(connection, ids)? {
            self.0.entry(pair).or_default();
        }
        Ok(())
    }

    /// Makes the first that waits the head of each key that has none. At the end of the transaction.
    pub(super) fn promote(&self, connection: &Connection, now: i64) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let keys = self.0.iter();
        let keys = keys.map(|((destination, key), ended)| Key { destination, key, ended });
        let keys = json(&keys.collect::<Vec<_>>())?;
        execute(connection, sql::PROMOTE, (keys, now)).map(drop)
    }
}

/// A delivery that has a key.
struct Keyed {
    id: i64,
    pair: (String, String),
}

fn keyed(connection: &Connection, ids: &str) -> Result<Vec<Keyed>, Fault> {
    all(connection, sql::KEYED, [ids], |row| {
        Ok(Keyed { id: row.get("id")?, pair: (row.get("destination")?, row.get("order_key")?) })
    })
}
