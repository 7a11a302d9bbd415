//! Versions of plugins.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::writer::Request;
use super::{SqliteQueue, read, versions_sql as sql};
use crate::versions::{
    Quarantine, QuarantineRecord, VERSIONS_KEPT, VersionRecord, VersionSeen, Versions,
};
use crate::{QueueError, millis};

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum VersionChore {
    Tell(VersionSeen),
    Quarantine { module: Quarantine, unless_worked: bool },
    Release(String),
}

#[async_trait]
impl Versions for SqliteQueue {
    async fn tell_version(&self, seen: &VersionSeen) -> Result<VersionRecord, QueueError> {
        self.chore(VersionChore::Tell(seen.clone())).await?;
        let found = sqlx::query(sql::VERSION).bind(&seen.plugin).bind(&seen.hash);
        let mut found = read(found.fetch_all(&self.readers).await, record)?;
        let gone = || QueueError::Unavailable("a version that was just told is gone".to_owned());
        found.pop().ok_or_else(gone)
    }

    async fn versions(&self) -> Result<Vec<VersionRecord>, QueueError> {
        read(sqlx::query(sql::VERSIONS).fetch_all(&self.readers).await, record)
    }

    async fn quarantine(
        &self,
        module: &Quarantine,
        unless_worked: bool,
    ) -> Result<bool, QueueError> {
        let module = module.clone();
        self.chore(VersionChore::Quarantine { module, unless_worked }).await
    }

    async fn quarantined(&self) -> Result<Vec<QuarantineRecord>, QueueError> {
        read(sqlx::query(sql::QUARANTINED).fetch_all(&self.readers).await, quarantined)
    }

    async fn release_module(&self, hash: &str) -> Result<bool, QueueError> {
        self.chore(VersionChore::Release(hash.to_owned())).await
    }
}

impl SqliteQueue {
    /// Answers whether it changed anything.
    async fn chore(&self, chore: VersionChore) -> Result<bool, QueueError> {
        self.write(Request::Version, chore).await
    }
}

/// Answers whether it changed anything.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    chore: &VersionChore,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let changed = match chore {
        VersionChore::Tell(seen) => return tell(connection, seen, now).await,
        VersionChore::Quarantine { module, unless_worked } => {
            sqlx::query(sql::QUARANTINE)
                .bind(&module.hash)
                .bind(&module.plugin)
                .bind(&module.version)
                .bind(&module.reason)
                .bind(unless_worked)
                .bind(now)
                .execute(connection)
                .await?
        }
        VersionChore::Release(hash) => {
            let released = sqlx::query(sql::RELEASE).bind(hash).execute(&mut *connection).await?;
            if released.rows_affected() > 0 {
                sqlx::query(sql::FRESH).bind(hash).execute(connection).await?;
            }
            released
        }
    };
    Ok(changed.rows_affected() > 0)
}

async fn tell(
    connection: &mut SqliteConnection,
    seen: &VersionSeen,
    now: i64,
) -> Result<bool, sqlx::Error> {
    sqlx::query(sql::TELL)
        .bind(&seen.plugin)
        .bind(&seen.hash)
        .bind(&seen.version)
        .bind(&seen.predecessor)
        .bind(i64::from(seen.tried))
        .bind(i64::from(seen.faults))
        .bind(seen.worked)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    let forget = sqlx::query(sql::FORGET).bind(&seen.plugin).bind(&seen.hash);
    forget.bind(i64::from(VERSIONS_KEPT)).execute(connection).await?;
    Ok(true)
}

fn record(row: &SqliteRow) -> Result<VersionRecord, sqlx::Error> {
    let count = |column| -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
    };
    Ok(VersionRecord {
        seen: VersionSeen {
            plugin: row.try_get("plugin")?,
            hash: row.try_get("hash")?,
            version: row.try_get("version")?,
            predecessor: row.try_get("predecessor")?,
            tried: count("tried")?,
            faults: count("faults")?,
            worked: row.try_get("worked")?,
        },
        since: millis::timestamp(row.try_get("since")?),
    })
}

fn quarantined(row: &SqliteRow) -> Result<QuarantineRecord, sqlx::Error> {
    Ok(QuarantineRecord {
        module: Quarantine {
            hash: row.try_get("hash")?,
            plugin: row.try_get("plugin")?,
            version: row.try_get("version")?,
            reason: row.try_get("reason")?,
        },
        since: millis::timestamp(row.try_get("since")?),
    })
}
