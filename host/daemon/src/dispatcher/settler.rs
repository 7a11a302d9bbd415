//! Writes settlements in batches: what comes in while one batch is being written is the next.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::settle::Settlement;
use postrider_queue::{Lease, Settle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::trouble::Part;
use crate::signals::Lost;
use crate::signals::notices::About;

/// Most settlements in one batch: keeps the transaction short.
const BATCH: usize = 512;
/// First and longest wait between tries while the queue is unavailable.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A handle to settle with. Settling never blocks: the leases in flight bound what can wait.
#[derive(Clone)]
pub(super) struct Settler(mpsc::UnboundedSender<Ending>);

/// A settlement, and whether another delivery of its key may be due after it.
struct Ending {
    settle: Settle,
    ordered: bool,
    about: About,
}

impl Settler {
    /// Starts the settler. It ends when every handle is dropped and everything is written.
    pub(super) fn start(shared: Arc<Shared>) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), tokio::spawn(write_all(shared, receiver)))
    }

    pub(super) fn settle(&self, lease: &Lease, settle: Settle) {
        let ordered = lease.order_key.is_some();
        let about = About::of(lease, &settle);
        if self.0.send(Ending { settle, ordered, about }).is_err() {
            tracing::error!("a settlement came after the end; its lease will expire");
        }
    }
}

async fn write_all(shared: Arc<Shared>, mut receiver: mpsc::UnboundedReceiver<Ending>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let ordered = batch.iter().any(|ending| ending.ordered && ending.settle.ends());
        let endings = batch.drain(..).map(|ending| (ending.settle, ending.about));
        let (settles, abouts): (Vec<_>, Vec<_>) = endings.unzip();
        write(&shared, settles, &abouts, &receiver).await;
        if ordered {
            shared.waker.wake();
        }
    }
}

/// Writes a batch, for ever if need be: at a stop the dispatcher puts an end to it.
async fn write(
    shared: &Shared,
    batch: Vec<Settle>,
    abouts: &[About],
    receiver: &mpsc::UnboundedReceiver<Ending>,
) {
    let (mut wait, longest) = TRY_AGAIN;
    let mut again = false;
    let lost = loop {
        match shared.queue.settle(batch.clone()).await {
            Ok(lost) => break lost,
            Err(error) => {
                let waiting = batch.len() + receiver.len();
                shared.trouble.waits(Part::Settler(waiting), &error);
            }
        }
        again = true;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(longest);
    };
    shared.trouble.over(Part::Settler(0));
    let signals = &shared.options.signals;
    for (settle, about) in batch.iter().zip(abouts) {
        shared.held.done(settle.key);
        if !lost.contains(&settle.key) {
            signals.settled(about, &settle.settlement);
            continue;
        }
        signals.lease_lost(&about.destination, Lost::Settling);
        if again {
            tracing::info!(delivery.id = %settle.key.id, "the lease was over when its settlement was tried again: an earlier try had written it, or another attempt decides");
        } else {
            tracing::warn!(delivery.id = %settle.key.id, "the lease was lost before its settlement; another attempt decides");
        }
    }
    wake_for(shared, &batch);
}

/// The loop plans its next look by what was due before this batch.
fn wake_for(shared: &Shared, batch: &[Settle]) {
    let soonest = batch.iter().filter_map(|settle| match &settle.settlement {
        Settlement::Retry { delay, .. } => Some(*delay),
        Settlement::Released => Some(Duration::ZERO),
        Settlement::Dead { .. } if settle.handover.is_some() => Some(Duration::ZERO),
        Settlement::Dead { .. } | Settlement::Delivered => None,
    });
    if let Some(delay) = soonest.min() {
        shared.waker.wake_in(delay);
    }
}
