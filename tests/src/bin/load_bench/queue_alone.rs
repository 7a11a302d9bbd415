//! The queue without a daemon, with sends that take no time: one task claims, another settles, as the dispatcher does
//! for one destination. `cargo xtask bench queue` has more of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::settle::Settlement;
use postrider_core::{Attempt, HostId, Notification, NotificationId, Schedule};
use postrider_queue::{Claim, Enqueue, Lease, Queue, Settle, Slots};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::setup::{Setup, Store};

/// Notifications of a call that enqueues.
const ENQUEUED: usize = 1_000;
/// Deliveries of a claim.
const CLAIMED: u32 = 64;
/// Most settlements that the dispatcher writes at once.
const SETTLED: usize = 512;
const HOST: HostId = HostId(Uuid::from_u128(7));

/// What a queue does a second.
pub(crate) struct Rates {
    pub(crate) enqueued: f64,
    pub(crate) settled: f64,
}

pub(crate) async fn measure(queue: Arc<dyn Queue>, rows: usize) -> Result<Rates> {
    let started = Instant::now();
    for _ in 0..rows / ENQUEUED {
        queue.enqueue((0..ENQUEUED).map(|_| item()).collect()).await?;
    }
    let enqueued = rows as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (sender, receiver) = mpsc::unbounded_channel();
    let settling = tokio::spawn(settle(queue.clone(), receiver));
    let slots = Slots { destination: "d0".to_owned(), free: CLAIMED, retries: CLAIMED / 2 };
    let claim = Claim { host: HOST, lease: Duration::from_secs(45), slots: vec![slots] };
    let mut taken = 0;
    while taken < rows {
        let leases = queue.claim(&claim).await?;
        ensure!(!leases.is_empty(), "{taken} of {rows} were due");
        taken += leases.len();
        for lease in leases {
            sender.send(lease).ok().context("settling ended")?;
        }
    }
    drop(sender);
    settling.await??;
    Ok(Rates { enqueued, settled: rows as f64 / started.elapsed().as_secs_f64() })
}

async fn settle(queue: Arc<dyn Queue>, mut leases: mpsc::UnboundedReceiver<Lease>) -> Result<()> {
    let mut batch = Vec::new();
    while leases.recv_many(&mut batch, SETTLED).await > 0 {
        let lost = queue.settle(batch.drain(..).map(|lease| delivered(&lease)).collect()).await?;
        ensure!(lost.is_empty(), "a lease was lost");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
fn item() -> Enqueue {
    Enqueue {
        notification: Notification {
            id: NotificationId(Uuid::now_v7()),
            kind: "load.0".to_owned(),
            source: "bench".to_owned(),
            subject: None,
            labels: [("severity".to_owned(), "low".to_owned())].into(),
            content_type: "application/json".to_owned(),
            content: Bytes::from(Setup::new(Store::Sqlite, 1).content()),
            time: Timestamp::now(),
            trace: None,
        },
        idempotency_key: None,
        schedule: Schedule::default(),
        destinations: vec!["d0".into()],
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
fn delivered(lease: &Lease) -> Settle {
    let attempt = Attempt {
        number: lease.attempt,
        started: Timestamp::now(),
        duration: Duration::from_micros(300),
        outcome: "delivered".to_owned(),
        reason: String::new(),
        plugin: "5f0c7a".repeat(10),
        host: HOST,
    };
    Settle {
        key: lease.key,
        settlement: Settlement::Delivered,
        parts_done: 0,
        reason: String::new(),
        attempt: Some(attempt),
        handover: None,
    }
}
