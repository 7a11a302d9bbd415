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

/// Rows that a statement may leave empty. That many take about what one more statement does.
const EMPTY: usize = 12;

impl Sizes {
    /// The rows in parts, each with the statement to bind it to.
    pub(super) fn parts<'c, 'r, T>(
        &self,
        connection: &'c Connection,
        rows: &'r [T],
    ) -> impl Iterator<Item = Result<(Bound<'c>, &'r [T]), Fault>> {
        let mut left = rows;
        std::iter::from_fn(move || {
            let (statement, taken) = self.next(left.len())?;
            let (part, rest) = left.split_at_checked(taken)?;
            left = rest;
            let statement = connection.prepare_cached(statement).map_err(Fault::from);
            Some(statement.map(|statement| (Bound { connection, statement, bound: 0 }, part)))
        })
    }

    /// The statement for the first of so many rows, and how many it takes: the smallest that holds them all, or the
    /// largest that they fill.
    fn next(&self, rows: usize) -> Option<(&'static str, usize)> {
        let sizes = self.0.iter().zip(0..).map(|(statement, place)| (*statement, 1 << (2 * place)));
        let holding = sizes.clone().find(|(_, size)| (rows..=rows + EMPTY).contains(size));
        let filled = sizes.filter(|(_, size)| *size <= rows).last();
        let (statement, size) = holding.or(filled).filter(|_| rows > 0)?;
        Some((statement, rows.min(size)))
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
    fn rows_are_parted_by_what_they_fill() {
        let sizes = Sizes(&["1", "4", "16"]);
        let parted = |mut rows| {
            let parts = std::iter::from_fn(|| {
                let (statement, taken) = sizes.next(rows)?;
                rows -= taken;
                Some(format!("{taken} of {statement}"))
            });
            parts.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(parted(0), "");
        assert_eq!(parted(1), "1 of 1");
        assert_eq!(parted(3), "3 of 4");
        assert_eq!(parted(4), "4 of 4");
        assert_eq!(parted(5), "5 of 16");
        assert_eq!(parted(17), "16 of 16, 1 of 1");
        assert_eq!(parted(40), "16 of 16, 16 of 16, 8 of 16");
    }
}
