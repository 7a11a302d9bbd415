//! How the writer's statements are run. Each is compiled once and kept.
//!
//! Where a statement's rows are parameters, SQLite wants to know how many when it compiles it, so each of those is there
//! for 1, 4, 16 rows and so on. A row that nothing is bound to is none.

use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, ToSql};

use super::fault::Fault;
use super::rows::Record;

/// Runs one; answers how many rows it wrote.
pub(super) fn execute(
    connection: &Connection,
    statement: &'static str,
    parameters: impl Params,
) -> Result<u64, Fault> {
    Ok(connection.prepare_cached(statement)?.execute(parameters)? as u64)
}

/// The only value of the only row.
pub(super) fn value<T: FromSql>(
    connection: &Connection,
    statement: &'static str,
    parameters: impl Params,
) -> Result<T, Fault> {
    Ok(connection.prepare_cached(statement)?.query_one(parameters, |row| row.get(0))?)
}

/// The first row, if there is one, as `parse` reads it.
pub(super) fn first<T>(
    connection: &Connection,
    statement: &'static str,
    parameters: impl Params,
    parse: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    Ok(connection.prepare_cached(statement)?.query_row(parameters, parse).optional()?)
}

/// All rows, as `parse` reads them.
pub(super) fn all<T>(
    connection: &Connection,
    statement: &'static str,
    parameters: impl Params,
    parse: impl Fn(&rusqlite::Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(statement)?;
    statement.query_and_then(parameters, parse)?.collect()
}

/// The same of rows with many columns, by their names.
pub(super) fn records<T>(
    connection: &Connection,
    statement: &'static str,
    parameters: impl Params,
    parse: impl Fn(&Record<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(statement)?;
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let parse = |row: &rusqlite::Row<'_>| parse(&Record { row, names: &names });
    statement.query_and_then(parameters, parse)?.collect()
}

/// One statement in its sizes, the smallest first.
pub(super) struct Sizes(pub(super) &'static [&'static str]);

impl Sizes {
    /// Rows of the largest.
    pub(super) fn most(&self) -> usize {
        1 << (2 * self.0.len().saturating_sub(1))
    }

    /// The smallest for so many rows, which are no more than [`Sizes::most`].
    pub(super) fn holding(&self, rows: usize) -> &'static str {
        let mut sizes = self.0.iter().zip(0..);
        let fitting = sizes.find(|(_, place)| rows <= 1 << (2 * place));
        fitting.map(|(statement, _)| statement).or(self.0.last()).copied().unwrap_or_default()
    }

    /// The same, to bind to.
    pub(super) fn bind<'c>(
        &self,
        connection: &'c Connection,
        rows: usize,
    ) -> Result<Bound<'c>, Fault> {
        let statement = connection.prepare_cached(self.holding(rows))?;
        Ok(Bound { connection, statement, bound: 0 })
    }
}

/// A statement whose parameters come one after the other.
pub(super) struct Bound<'c> {
    connection: &'c Connection,
    statement: CachedStatement<'c>,
    bound: usize,
}

/// What it did.
pub(super) struct Done {
    pub(super) rows: u64,
    /// The number of the last row that was inserted by this statement, or where it inserted none by an older one.
    pub(super) last: i64,
}

impl Bound<'_> {
    /// The next parameter.
    pub(super) fn bind(&mut self, value: impl ToSql) -> Result<&mut Self, Fault> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)?;
        Ok(self)
    }

    /// Runs it; what was not bound is NULL.
    pub(super) fn execute(mut self) -> Result<Done, Fault> {
        let rows = self.statement.raw_execute()? as u64;
        Ok(Done { rows, last: self.connection.last_insert_rowid() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_holds_them_is_taken() {
        let sizes = Sizes(&["1", "4", "16"]);
        let held = [0, 1, 2, 4, 5, 16].map(|rows| sizes.holding(rows));
        assert_eq!(held, ["1", "1", "4", "4", "16", "16"]);
        assert_eq!(sizes.most(), 16);
    }
}
