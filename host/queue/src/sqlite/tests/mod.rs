//! What only the SQLite store has: its file, its producers, its plans.

mod opening;
mod producers;
mod statements;
mod surviving;
mod unreadable;
mod upgrading;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use postrider_core::{Notification, Schedule};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::{Clock, OpenError, SqliteOptions, SqliteQueue};
use crate::conformance::{EPOCH, MINUTE, Stage, Stand};

conformance!(stage);

/// A database in a directory of its own, and its clock.
struct SqliteStand {
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
}

#[async_trait]
impl Stand for SqliteStand {
    fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.clock.fetch_add(by, Ordering::Relaxed);
    }

    async fn insert_scheduled(&self, notification: Notification, schedule: Schedule) {
        insert_as_producer(&self.path(), &notification, schedule).await;
    }
}

impl SqliteStand {
    fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(EPOCH.as_millisecond()));
        Self { directory: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("queue.db")
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions { recover: true, clock: Clock::Manual(Arc::clone(&self.clock)) }
    }

    async fn open(&self) -> Result<SqliteQueue, OpenError> {
        SqliteQueue::open(&self.path(), self.options()).await
    }

    /// Opens as soon as the last daemon's writer has let go.
    async fn reopen(&self) -> SqliteQueue {
        loop {
            match self.open().await {
                Ok(queue) => return queue,
                Err(OpenError::Held { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn stage() -> Stage {
    let stand = Arc::new(SqliteStand::new());
    let queue = Arc::new(stand.open().await.unwrap());
    Stage { queue: queue.clone(), access: queue, stand }
}

/// What another program has: a connection of its own, with SQLite's defaults.
async fn producer(path: &Path) -> SqliteConnection {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(MINUTE);
    SqliteConnection::connect_with(&options).await.unwrap()
}

pub(crate) async fn insert_as_producer(
    path: &Path,
    notification: &Notification,
    schedule: Schedule,
) {
    let millis = |after: Duration| i64::try_from(after.as_millis()).unwrap();
    let deliver_after = Some(millis(schedule.deliver_after)).filter(|after| *after > 0);
    let mut producer = producer(path).await;
    sqlx::query(
        "INSERT INTO notifications (id, type, source, subject, labels, content_type, content, created_at, \
         deliver_after_ms, expires_after_ms, traceparent, tracestate) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )
    .bind(notification.id.to_string())
    .bind(&notification.kind)
    .bind(&notification.source)
    .bind(&notification.subject)
    .bind(serde_json::to_string(&notification.labels).unwrap())
    .bind(&notification.content_type)
    .bind(std::str::from_utf8(&notification.content).unwrap())
    .bind(notification.time.as_millisecond())
    .bind(deliver_after)
    .bind(schedule.expires_after.map(millis))
    .bind(notification.trace.as_ref().map(|trace| trace.parent()))
    .bind(notification.trace.as_ref().and_then(|trace| trace.state()))
    .execute(&mut producer)
    .await
    .unwrap();
    producer.close().await.unwrap();
}
