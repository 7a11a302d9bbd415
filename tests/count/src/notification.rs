//! What is delivered: like that of the other benches, but of fixed ids and times.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::{HostId, Notification, NotificationId, Schedule};
use postrider_queue::sqlite::Clock;
use postrider_queue::{Enqueue, SqliteOptions, SqliteQueue};
use uuid::Uuid;

/// Bytes of content.
const CONTENT: usize = 1 << 10;
/// Of an id as producers get them, so that they are stored in their order.
const FIRST_ID: u128 = 0x01a2_0c86_9261_70cc_97ff_0000_0000_0000;
/// What the queue's clock says all the time, in milliseconds since 1970.
const NOW: i64 = 1_764_000_000_000;

pub(crate) const HOST: HostId = HostId(Uuid::from_u128(7));
/// Longer than any run, so that nothing extends one.
pub(crate) const LEASE: Duration = Duration::from_secs(86_400);

pub(crate) fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_millis(NOW.unsigned_abs())
}

/// A queue in a new file, with all that it does for a commit to last.
pub(crate) async fn open(directory: &Path) -> Result<SqliteQueue> {
    let clock = Clock::Manual(Arc::new(AtomicI64::new(NOW)));
    let options = SqliteOptions { clock, ..SqliteOptions::default() };
    Ok(SqliteQueue::open(&directory.join("queue.db"), options).await?)
}

pub(crate) fn item(number: usize, destination: &str) -> Enqueue {
    Enqueue {
        notification: notification(number),
        idempotency_key: None,
        schedule: Schedule::default(),
        destinations: vec![destination.into()],
    }
}

pub(crate) fn notification(number: usize) -> Notification {
    Notification {
        id: NotificationId(Uuid::from_u128(FIRST_ID + number as u128)),
        kind: "load.0".to_owned(),
        source: "bench".to_owned(),
        subject: None,
        labels: [("severity".to_owned(), "low".to_owned())].into(),
        content_type: "application/json".to_owned(),
        content: Bytes::from(format!("\"{}\"", "x".repeat(CONTENT - 2))),
        time: now(),
        trace: None,
    }
}
