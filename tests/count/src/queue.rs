//! The queue alone: enqueue, claim and settle, in batches.

use std::time::Duration;

use anyhow::{Result, ensure};
use postrider_core::Attempt;
use postrider_core::settle::Settlement;
use postrider_queue::{Claim, Lease, Queue, Settle, Slots};

use crate::notification::{HOST, LEASE, item, now, open};

/// Deliveries of each call.
const BATCH: u32 = 64;
const DESTINATION: &str = "d0";

pub(crate) async fn run(deliveries: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let queue = open(directory.path()).await?;
    let slots = Slots { destination: DESTINATION.to_owned(), free: BATCH, retries: BATCH / 2 };
    let claim = Claim { host: HOST, lease: LEASE, slots: vec![slots] };
    let batch = usize::try_from(BATCH)?;
    for first in (0..deliveries).step_by(batch) {
        let last = deliveries.min(first + batch);
        queue.enqueue((first..last).map(|number| item(number, DESTINATION)).collect()).await?;
        let leases = queue.claim(&claim).await?;
        ensure!(leases.len() == last - first, "{} of {} were due", leases.len(), last - first);
        let lost = queue.settle(leases.iter().map(delivered).collect()).await?;
        ensure!(lost.is_empty(), "a lease was lost");
    }
    queue.close().await;
    Ok(())
}

fn delivered(lease: &Lease) -> Settle {
    let attempt = Attempt {
        number: lease.attempt,
        started: now(),
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
