//! The schema's versions. Migrations only add, so that a release goes on on its successor's schema; each is one
//! transaction, so a daemon killed midway leaves the old one.

use std::path::Path;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::open::{OpenError, describe};
use super::sql;
use crate::Schema;

/// In order; the version of a database is how many of them it has.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_queue.sql"),
    include_str!("migrations/0002_schedule.sql"),
    include_str!("migrations/0003_upkeep.sql"),
    include_str!("migrations/0004_breakers.sql"),
    include_str!("migrations/0005_access.sql"),
    include_str!("migrations/0006_pause.sql"),
    include_str!("migrations/0007_versions.sql"),
    include_str!("migrations/0008_trace.sql"),
];

/// Brings the database up to date, or refuses one that a newer postrider made unfit for this one, untouched.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    now: i64,
    migrations: &[&'static str],
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| describe(path, error);
    let schema = schema(connection, migrations).await.map_err(failed)?;
    let Schema { found, oldest, known } = schema;
    if !schema.fits() {
        return Err(OpenError::SchemaTooNew { path: path.to_owned(), found, oldest, known });
    }
    let mut version = found;
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        version += 1;
        apply(connection, migration, version, now).await.map_err(failed)?;
    }
    Ok(())
}

/// How the database stands to a postrider with these migrations.
pub(super) async fn schema(
    connection: &mut SqliteConnection,
    migrations: &[&str],
) -> Result<Schema, sqlx::Error> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let is_ours: i64 = sqlx::query_scalar(sql::SCHEMA_KNOWN).fetch_one(&mut *connection).await?;
    if is_ours == 0 {
        return Ok(Schema { found: 0, oldest: 0, known });
    }
    let found = sqlx::query_scalar(sql::SCHEMA_VERSION).fetch_one(&mut *connection).await?;
    let has_oldest: i64 =
        sqlx::query_scalar(sql::SCHEMA_HAS_OLDEST).fetch_one(&mut *connection).await?;
    let oldest = match has_oldest {
        0 => 1,
        _ => sqlx::query_scalar(sql::SCHEMA_OLDEST).fetch_one(connection).await?,
    };
    Ok(Schema { found, oldest, known })
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
