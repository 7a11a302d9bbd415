//! The schema's versions. Migrations only add, so that a release goes on on its successor's schema.
//!
//! Each is one transaction that begins by writing its own version: of two hosts that start at once the second waits
//! there, finds the version taken and goes on from it. One that is killed midway leaves nothing.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::open::OpenError;
use super::{fault, sql};

/// In order; the version of a database is how many of them it has.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_queue.sql"), include_str!("migrations/0002_schedule.sql")];
/// The newest version that this postrider knows.
pub(super) const KNOWN: i64 = 2;
/// How often a migration may meet another host's.
const TRIES: u32 = 20;

/// Brings the database up to date, or refuses one that a newer postrider made unfit for this one, untouched.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        let at = version(connection).await?;
        let place = usize::try_from(at).unwrap_or(0);
        let Some(migration) = MIGRATIONS.get(place) else { return Ok(()) };
        match apply(connection, migration, at + 1).await {
            Ok(()) => {}
            Err(error) if tries < TRIES && met_another(&error) => tries += 1,
            Err(error) => return Err(OpenError::of(&error)),
        }
    }
}

/// The version, checked against what this postrider can run on; zero of an empty database.
pub(super) async fn version(connection: &mut PgConnection) -> Result<i64, OpenError> {
    let known: bool = sqlx::query_scalar(sql::SCHEMA_KNOWN)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| OpenError::of(&error))?;
    if !known {
        return Ok(0);
    }
    let (version, oldest): (i64, i64) = sqlx::query_as(sql::SCHEMA_VERSION)
        .fetch_one(connection)
        .await
        .map_err(|error| OpenError::of(&error))?;
    if oldest > KNOWN {
        return Err(OpenError::SchemaTooNew { found: version, oldest, known: KNOWN });
    }
    Ok(version)
}

async fn apply(
    connection: &mut PgConnection,
    migration: &'static str,
    version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql::SCHEMA_TABLE).execute(&mut *connection).await?;
    let mut tx = connection.begin().await?;
    sqlx::query(sql::SCHEMA_APPLIED).bind(version).execute(&mut *tx).await?;
    sqlx::raw_sql(migration).execute(&mut *tx).await?;
    tx.commit().await
}

/// Two hosts at the same step: its version, or an object of the same name, is there already. The server finds it at
/// the table, or at the row type that goes with each.
fn met_another(error: &sqlx::Error) -> bool {
    const DUPLICATE_TABLE: &str = "42P07";
    const DUPLICATE_OBJECT: &str = "42710";
    fault::is_collision(error)
        || fault::sqlstate(error)
            .is_some_and(|at| [DUPLICATE_TABLE, DUPLICATE_OBJECT].contains(&&*at))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_version_is_the_number_of_migrations() {
        assert_eq!(super::KNOWN, i64::try_from(super::MIGRATIONS.len()).unwrap());
    }
}
