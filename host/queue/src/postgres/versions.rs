//! Versions of plugins.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::moment::Moment;
use super::{Again, PATIENCE, PostgresQueue, fault, versions_sql as sql};
use crate::versions::{
    Quarantine, QuarantineRecord, VERSIONS_KEPT, VersionRecord, VersionSeen, Versions,
};
use crate::{QueueError, millis};

#[async_trait]
impl Versions for PostgresQueue {
    async fn tell_version(&self, seen: &VersionSeen) -> Result<VersionRecord, QueueError> {
        let tell = || {
            sqlx::query(sql::TELL)
                .bind(&seen.plugin)
                .bind(&seen.hash)
                .bind(&seen.version)
                .bind(&seen.predecessor)
                .bind(i64::from(seen.tried))
                .bind(i64::from(seen.faults))
                .bind(seen.worked)
                .fetch_one(&self.pool)
        };
        // Twice would count twice.
        let row = self.call(PATIENCE, Again::No, tell).await?;
        let told = record(&row).map_err(|error| fault::describe(&error))?;
        let forget = || {
            sqlx::query(sql::FORGET)
                .bind(&seen.plugin)
                .bind(&seen.hash)
                .bind(&told.seen.predecessor)
                .bind(i64::from(VERSIONS_KEPT))
                .execute(&self.pool)
        };
        self.call(PATIENCE, Again::Yes, forget).await?;
        Ok(told)
    }

    async fn versions(&self) -> Result<Vec<VersionRecord>, QueueError> {
        self.rows(|| sqlx::query(sql::VERSIONS).fetch_all(&self.pool), record).await
    }

    async fn quarantine(
        &self,
        module: &Quarantine,
        unless_worked: bool,
    ) -> Result<bool, QueueError> {
        let quarantine = || {
            sqlx::query(sql::QUARANTINE)
                .bind(&module.hash)
                .bind(&module.plugin)
                .bind(&module.version)
                .bind(&module.reason)
                .bind(unless_worked)
                .execute(&self.pool)
        };
        Ok(self.call(PATIENCE, Again::No, quarantine).await?.rows_affected() > 0)
    }

    async fn quarantined(&self) -> Result<Vec<QuarantineRecord>, QueueError> {
        self.rows(|| sqlx::query(sql::QUARANTINED).fetch_all(&self.pool), quarantined).await
    }

    async fn release_module(&self, hash: &str) -> Result<bool, QueueError> {
        let release = || sqlx::query(sql::RELEASE).bind(hash).fetch_optional(&self.pool);
        Ok(self.call(PATIENCE, Again::No, release).await?.is_some())
    }
}

fn record(row: &PgRow) -> Result<VersionRecord, sqlx::Error> {
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
        since: millis::timestamp(row.try_get::<Moment, _>("since")?.millis()),
    })
}

fn quarantined(row: &PgRow) -> Result<QuarantineRecord, sqlx::Error> {
    Ok(QuarantineRecord {
        module: Quarantine {
            hash: row.try_get("hash")?,
            plugin: row.try_get("plugin")?,
            version: row.try_get("version")?,
            reason: row.try_get("reason")?,
        },
        since: millis::timestamp(row.try_get::<Moment, _>("since")?.millis()),
    })
}
