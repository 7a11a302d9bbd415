//! The schema's versions. Migrations only add; each is one transaction, so a daemon killed midway leaves the old one.

use std::path::Path;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::open::{OpenError, describe};
use super::sql;

/// In order; the version of a database is how many of them it has.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_queue.sql"), include_str!("migrations/0002_schedule.sql")];

/// Brings the database up to date, or refuses one that a newer postrider wrote, untouched.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    now: i64,
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| describe(path, &error);
    let mut version = version(connection).await.map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(OpenError::SchemaTooNew { path: path.to_owned(), found: version, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        version += 1;
        apply(connection, migration, version, now).await.map_err(failed)?;
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let known: i64 = sqlx::query_scalar(sql::SCHEMA_KNOWN).fetch_one(&mut *connection).await?;
    if known == 0 {
        return Ok(0);
    }
    sqlx::query_scalar(sql::SCHEMA_VERSION).fetch_one(connection).await
}

async fn apply(
    connection: &mut SqliteConnection,
    migration: &'static str,
    version: i64,
    now: i64,
) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin_with(sql::BEGIN).await?;
    sqlx::raw_sql(sql::SCHEMA_TABLE).execute(&mut *tx).await?;
    sqlx::raw_sql(migration).execute(&mut *tx).await?;
    sqlx::query(sql::SCHEMA_APPLIED).bind(version).bind(now).execute(&mut *tx).await?;
    tx.commit().await
}
