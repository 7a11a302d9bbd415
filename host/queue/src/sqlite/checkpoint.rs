//! Brings what was committed from the log into the database file, beside the writer: a commit waits for its own bytes
//! only.
//!
//! Each of these checkpoints is passive: it waits for nobody, and nobody waits for it. Under a load that never pauses the
//! log would grow; from [`LONGEST_LOG`] on the writer does it by itself between two commits, and the log begins anew.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::sql;

/// Pages of the log, 64 MiB of them, after which the writer waits for a checkpoint.
pub(super) const LONGEST_LOG: &str = "16384";
/// Work after which a checkpoint is worth its fsync: rows, and KiB of content.
const WORTH: usize = 2_000;

/// The writer's end. Dropped without [`Checkpoints::end`] it leaves the rest to the log.
#[derive(Debug)]
pub(super) struct Checkpoints {
    due: SyncSender<()>,
    running: JoinHandle<()>,
    done: usize,
}

impl Checkpoints {
    /// Starts what makes them, on a thread and a connection of its own.
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        // One that is asked for while another is under way is enough for all that ask meanwhile.
        let (due, asked) = sync_channel(1);
        let thread = thread::Builder::new().name("checkpoints".to_owned());
        let running = thread.spawn(move || run(connection, &asked))?;
        Ok(Self { due, running, done: 0 })
    }

    /// Something was committed.
    pub(super) fn committed(&mut self, rows: usize, bytes: usize) {
        self.done = self.done.saturating_add(rows).saturating_add(bytes >> 10);
        if self.done >= WORTH {
            self.done = 0;
            // Full where one is asked for already.
            self.due.try_send(()).ok();
        }
    }

    /// Waits for the one under way, and closes.
    pub(super) fn end(self) {
        drop(self.due);
        if self.running.join().is_err() {
            tracing::warn!("checkpoints of the queue's database ended early");
        }
    }
}

fn run(connection: Connection, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        // What keeps it from working keeps the writer's own from working, too, and that is told by its commits.
        if let Err(error) = connection.query_row(sql::CHECKPOINT, [], |_| Ok(())) {
            tracing::debug!(%error, "a checkpoint of the queue's database failed");
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::debug!(%error, "the connection for checkpoints did not close cleanly");
    }
}
