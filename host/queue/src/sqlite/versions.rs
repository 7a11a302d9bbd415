//! Versions of plugins.

use async_trait::async_trait;
use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::Fault;
use super::statement::execute;
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
pub(super) fn run(connection: &Connection, chore: &VersionChore, now: i64) -> Result<bool, Fault> {
    let changed = match chore {
        VersionChore::Tell(seen) => return tell(connection, seen, now),
        VersionChore::Quarantine { module, unless_worked } => {
            let Quarantine { hash, plugin, version, reason } = module;
            let quarantine = (hash, plugin, version, reason, unless_worked, now);
            execute(connection, sql::QUARANTINE, quarantine)?
        }
        VersionChore::Release(hash) => {
            let released = execute(connection, sql::RELEASE, [hash])?;
            if released > 0 {
                execute(connection, sql::FRESH, [hash])?;
            }
            released
        }
    };
    Ok(changed > 0)
}

fn tell(connection: &Connection, seen: &VersionSeen, now: i64) -> Result<bool, Fault> {
    let VersionSeen { plugin, hash, version, predecessor, tried, faults, worked } = seen;
    let told = (plugin, hash, version, predecessor, tried, faults, worked, now);
    execute(connection, sql::TELL, told)?;
    execute(connection, sql::FORGET, (plugin, hash, VERSIONS_KEPT))?;
    Ok(true)
}

fn record(row: &SqliteRow) -> Result<VersionRecord, Fault> {
    let count = |column| -> Result<u32, Fault> {
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

fn quarantined(row: &SqliteRow) -> Result<QuarantineRecord, Fault> {
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
