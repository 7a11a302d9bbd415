//! What is enqueued, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::settle::Settlement;
use postrider_core::{Attempt, HostId, Notification, NotificationId};
use postrider_queue::{Claim, Enqueue, Lease, Settle, Slots};
use uuid::Uuid;

/// How many deliveries a call takes, where nothing else is said.
pub(crate) const BATCH: u32 = 64;
const LEASE: Duration = Duration::from_secs(45);
const HOST: HostId = HostId(Uuid::from_u128(7));

/// A notification of some 256 bytes to one destination.
#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
pub(crate) fn item(destination: &str) -> Enqueue {
    Enqueue {
        notification: Notification {
            id: NotificationId(Uuid::now_v7()),
            kind: "bench.load".to_owned(),
            source: "queue_bench".to_owned(),
            subject: None,
            labels: [("severity".to_owned(), "low".to_owned())].into(),
            content_type: "application/json".to_owned(),
            content: Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(240))),
            time: Timestamp::now(),
            trace: None,
        },
        idempotency_key: None,
        schedule: postrider_core::Schedule::default(),
        destinations: vec![destination.into()],
    }
}

/// A claim for each destination's slots, half of them kept for retries, as the dispatcher shares them.
pub(crate) fn claim<'a>(slots: impl IntoIterator<Item = (&'a str, u32)>) -> Claim {
    let slots = slots.into_iter().map(|(destination, free)| Slots {
        destination: destination.to_owned(),
        free,
        retries: free / 2,
    });
    Claim { host: HOST, lease: LEASE, slots: slots.collect() }
}

pub(crate) fn delivered(lease: &Lease) -> Settle {
    settle(lease, Settlement::Delivered, "delivered", "")
}

pub(crate) fn failed(lease: &Lease, delay: Duration) -> Settle {
    let retry = Settlement::Retry { delay, counted: true, hold: None };
    settle(lease, retry, "retry", "HTTP status 503")
}

#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
fn settle(lease: &Lease, settlement: Settlement, outcome: &str, reason: &str) -> Settle {
    let attempt = Attempt {
        number: lease.attempt,
        started: Timestamp::now(),
        duration: Duration::from_micros(300),
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        plugin: "5f0c7a".repeat(10),
        host: HOST,
    };
    Settle {
        key: lease.key,
        settlement,
        parts_done: 0,
        reason: reason.to_owned(),
        attempt: Some(attempt),
        handover: None,
    }
}
