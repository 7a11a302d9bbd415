//! Brings what was committed from the log into the database file, beside the writer: a commit waits for its own bytes
//! only.
//!
//! Each of these checkpoints is passive: it waits for nobody, and nobody waits for it. Under a load that never pauses the
//! log would grow; from [`LONGEST_LOG`] on the writer does it by itself between two commits, and the log begins anew.

use std::sync::Arc;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::sql;

/// Pages of the log, 64 MiB of them, after which the writer waits for a checkpoint.
pub(super) const LONGEST_LOG: &str = "16384";
/// Work after which a checkpoint is worth its fsync: rows, and KiB of content.
const WORTH: usize = 2_000;

/// The writer's end. Dropped without [`Checkpoints::end`] it leaves the rest to the log.
#[derive(Debug)]
pub(super) struct Checkpoints {
    due: Arc<Notify>,
    running: JoinHandle<()>,
    done: usize,
    stop: Arc<Notify>,
}

impl Checkpoints {
    /// Starts what makes them on a connection of its own.
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (due, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let running = tokio::spawn(run(connection, due.clone(), stop.clone()));
        Self { due, running, done: 0, stop }
    }

    /// Something was committed.
    pub(super) fn committed(&mut self, rows: usize, bytes: usize) {
        self.done = self.done.saturating_add(rows).saturating_add(bytes >> 10);
        if self.done >= WORTH {
            self.done = 0;
            self.due.notify_one();
        }
    }

    /// Waits for the one under way, and closes.
    pub(super) async fn end(self) {
        self.stop.notify_one();
        if let Err(error) = self.running.await {
            tracing::warn!(%error, "checkpoints of the queue's database ended early");
        }
    }
}

async fn run(mut connection: SqliteConnection, due: Arc<Notify>, stop: Arc<Notify>) {
    loop {
        tokio::select! {
            biased;
            () = stop.notified() => break,
            () = due.notified() => {}
        }
        // What keeps it from working keeps the writer's own from working, too, and that is told by its commits.
        if let Err(error) = sqlx::query(sql::CHECKPOINT).execute(&mut connection).await {
            tracing::debug!(%error, "a checkpoint of the queue's database failed");
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection for checkpoints did not close cleanly");
    }
}
