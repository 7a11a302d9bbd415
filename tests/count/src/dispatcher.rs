//! The dispatcher over a queue that holds all deliveries before it starts: claim, attempt and settle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use postrider::dispatcher::{Dispatcher, NotifierCall, Options, Sent, Waker};
use postrider::registry::{Entry, Registry, SharedRegistry, Status};
use postrider::signals::Signals;
use postrider_core::{Destination, Notification, Outcome, Receipt};
use postrider_queue::{MAX_BATCH, Queue};
use tokio_util::sync::CancellationToken;

use crate::notification::{HOST, LEASE, item, now, open};

/// Deliveries that every run stores, so that runs differ by what they deliver only.
const STORED: usize = 1_920;
/// Who gets what is delivered, and who is not there to get the others.
const DESTINATION: &str = "d0";
const NOBODY: &str = "d1";
/// The daemon's own `max_concurrency`.
const MAX_CONCURRENCY: u32 = 256;

/// Delivers at once, and ends the dispatcher with the last.
struct Nothing {
    left: AtomicUsize,
    stop: CancellationToken,
}

pub(crate) async fn run(deliveries: usize) -> Result<()> {
    ensure!((1..=STORED).contains(&deliveries), "from 1 to {STORED} can be delivered");
    let directory = tempfile::tempdir()?;
    let queue = Arc::new(open(directory.path()).await?);
    let numbers: Vec<usize> = (0..STORED).collect();
    for numbers in numbers.chunks(MAX_BATCH) {
        let to = |number| if number < deliveries { DESTINATION } else { NOBODY };
        queue.enqueue(numbers.iter().map(|&number| item(number, to(number))).collect()).await?;
    }
    let stop = CancellationToken::new();
    let call = Nothing { left: AtomicUsize::new(deliveries), stop: stop.clone() };
    let mut registry = Registry::default();
    registry.insert(entry(Arc::new(call))?)?;
    let registry = Arc::new(SharedRegistry::from_pointee(registry));
    Dispatcher::new(queue.clone(), registry, Waker::default(), options()?).run(stop).await;
    let (left, live) = (STORED - deliveries, queue.size_within(STORED as u64).await?);
    ensure!(live == left as u64, "{live} deliveries are left and not {left}");
    queue.close().await;
    Ok(())
}

fn options() -> Result<Options> {
    Ok(Options {
        host: HOST,
        lease: LEASE,
        grace: Duration::from_secs(20),
        orphan_after: LEASE,
        max_concurrency: MAX_CONCURRENCY,
        // By the clock, which is the machine's.
        ahead: Duration::ZERO,
        signals: Signals::new()?,
        now,
        dice: || 0.5,
    })
}

fn entry(call: Arc<dyn NotifierCall>) -> Result<Arc<Entry>> {
    let text = "policy.concurrency = 64\n";
    Ok(Arc::new(Entry {
        spec: Destination::parse(DESTINATION, text)?,
        text: text.to_owned(),
        module: String::new(),
        fingerprint: String::new(),
        status: Status::Ready,
        problem: None,
        notifier: Some(call),
        since: now(),
    }))
}

#[async_trait]
impl NotifierCall for Nothing {
    async fn send(&self, _notification: &Notification, _attempt: u32, parts_done: u32) -> Sent {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.cancel();
        }
        Sent::new(Outcome::Delivered(Receipt::default()), parts_done)
    }

    fn module(&self) -> &str {
        "00"
    }
}
