//! The schema's versions. Migrations add, or take checks and indexes that nothing depends on, so that a release goes on
//! on its successor's schema.
//!
//! Each is one transaction that begins by writing its own version: of two hosts that start at once the second waits
//! there, finds the version taken and goes on from it. One that is killed midway leaves nothing.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::open::OpenError;
use super::{fault, sql};
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
    include_str!("migrations/0009_rates.sql"),
    include_str!("migrations/0010_unchecked.sql"),
];
/// How often a migration may meet another host's, or give way to those who use a table.
const TRIES: u32 = 20;

/// Brings the database up to date, or refuses one that a newer postrider made unfit for this one, untouched.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    migrations: &[&'static str],
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::of(&error);
    let mut tries = 0;
    loop {
        let schema = schema(connection, migrations).await.map_err(failed)?;
        let Schema { found, oldest, known } = schema;
        if !schema.fits() {
            return Err(OpenError::SchemaTooNew { found, oldest, known });
        }
        let place = usize::try_from(found).unwrap_or(0);
        let Some(migration) = migrations.get(place) else { return Ok(()) };
        match apply(connection, migration, found + 1).await {
            Ok(()) => {}
            Err(error) if tries < TRIES && met_another(&error) => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

/// How the database stands to a postrider with these migrations.
pub(super) async fn schema(
    connection: &mut PgConnection,
    migrations: &[&str],
) -> Result<Schema, sqlx::Error> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let is_ours: bool = sqlx::query_scalar(sql::SCHEMA_KNOWN).fetch_one(&mut *connection).await?;
    if !is_ours {
        return Ok(Schema { found: 0, oldest: 0, known });
    }
    let (found, oldest) = sqlx::query_as(sql::SCHEMA_VERSION).fetch_one(connection).await?;
    Ok(Schema { found, oldest, known })
}

async fn apply(
    connection: &mut PgConnection,
    migration: &'static str,
    version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql::SCHEMA_TABLE).execute(&mut *connection).await?;
    let mut tx = connection.begin().await?;
    sqlx::query(sql::SCHEMA_PATIENCE).execute(&mut *tx).await?;
    sqlx::query(sql::SCHEMA_APPLIED).bind(version).execute(&mut *tx).await?;
    sqlx::raw_sql(migration).execute(&mut *tx).await?;
    tx.commit().await
}

/// Two hosts at the same step: its version, or an object of the same name, is there already. The server finds it at
/// the table, or at the row type that goes with each. Or others use a table all the time that it waited for.
fn met_another(error: &sqlx::Error) -> bool {
    const DUPLICATE_TABLE: &str = "42P07";
    const DUPLICATE_OBJECT: &str = "42710";
    const NO_LOCK: &str = "55P03";
    fault::is_collision(error)
        || fault::sqlstate(error)
            .is_some_and(|at| [DUPLICATE_TABLE, DUPLICATE_OBJECT, NO_LOCK].contains(&&*at))
}
