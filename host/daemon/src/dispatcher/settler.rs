//! Writes settlements in batches: what comes in while one batch is being written is the next. Where that is much, more
//! comes at once, and is gathered for a moment: a statement and its commit cost more than the rows in them, and nobody
//! waits for a settlement but the next of an ordered key.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::LeaseKey;
use postrider_core::settle::Settlement;
use postrider_queue::{Lease, Settle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::trouble::Part;
use crate::feed::{Event, Feed};
use crate::signals::Lost;
use crate::signals::notices::About;

/// Most settlements in one batch: keeps the transaction short.
const BATCH: usize = 512;
/// A batch of so many is a crowd.
const CROWD: usize = 4;
/// How long a crowd is gathered for, as much longer as its leases are held. A host that dies within it sends as many again.
const GATHER: Duration = Duration::from_millis(5);
/// First and longest wait between tries while the queue is unavailable.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A handle to settle with. Settling never blocks: the leases in flight bound what can wait.
#[derive(Clone)]
pub(super) struct Settler(mpsc::UnboundedSender<Ending>, Option<Feed>);

/// A settlement, and whether another delivery of its key may be due after it.
struct Ending {
    settle: Settle,
    ordered: bool,
    about: About,
    /// What to tell once it is written.
    event: Option<Event>,
}

impl Settler {
    /// Starts the settler. It ends when every handle is dropped and everything is written.
    pub(super) fn start(shared: Arc<Shared>) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let feed = shared.feed.clone();
        (Self(sender, feed), tokio::spawn(write_all(shared, receiver)))
    }

    pub(super) fn settle(&self, lease: &Lease, settle: Settle) {
        let ordered = lease.order_key.is_some();
        let about = About::of(lease, &settle);
        let feed = self.1.as_ref().filter(|feed| feed.wants());
        let event = feed.and_then(|feed| feed.settled(lease, &settle));
        if self.0.send(Ending { settle, ordered, about, event }).is_err() {
            tracing::error!("a settlement came after the end; its lease will expire");
        }
    }
}

async fn write_all(shared: Arc<Shared>, mut receiver: mpsc::UnboundedReceiver<Ending>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let promotes = |ending: &Ending| ending.ordered && ending.settle.ends();
        if batch.len() >= CROWD && !batch.iter().any(promotes) {
            gather(&mut batch, &mut receiver).await;
        }
        let ordered = batch.iter().any(promotes);
        let mut settles = Vec::with_capacity(batch.len());
        let mut abouts = Vec::with_capacity(batch.len());
        let mut events = Vec::with_capacity(batch.len());
        for Ending { settle, about, event, .. } in batch.drain(..) {
            events.extend(event.map(|event| (settle.key, event)));
            abouts.push(about);
            settles.push(settle);
        }
        let lost = write(&shared, settles, &abouts, &receiver).await;
        if let Some(feed) = &shared.feed {
            let written = events.into_iter().filter(|(key, _)| !lost.contains(key));
            feed.tell(written.map(|(_, event)| event));
        }
        if ordered {
            shared.waker.wake();
        }
    }
}

/// Adds what comes within the moment, up to a whole batch.
async fn gather<T>(batch: &mut Vec<T>, receiver: &mut mpsc::UnboundedReceiver<T>) {
    // One sleep and not a wait for each: every one that comes would wake this task.
    tokio::time::sleep(GATHER).await;
    while batch.len() < BATCH
        && let Ok(next) = receiver.try_recv()
    {
        batch.push(next);
    }
}

/// Writes a batch, for ever if need be: at a stop the dispatcher puts an end to it. Answers what was lost.
async fn write(
    shared: &Shared,
    batch: Vec<Settle>,
    abouts: &[About],
    receiver: &mpsc::UnboundedReceiver<Ending>,
) -> Vec<LeaseKey> {
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
    lost
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_the_moment_is_gathered_up_to_a_whole_batch() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let later = sender.clone();
        tokio::spawn(async move {
            for after in 1..=3 {
                tokio::time::sleep(GATHER / 2).await;
                later.send(after).unwrap();
            }
        });
        let mut batch = vec![0; CROWD];
        gather(&mut batch, &mut receiver).await;
        assert!(batch.ends_with(&[0, 1]), "the second came after the moment: {batch:?}");
        let mut batch = vec![0; BATCH - 1];
        for more in 10..13 {
            sender.send(more).unwrap();
        }
        gather(&mut batch, &mut receiver).await;
        assert_eq!(batch.len(), BATCH);
    }
}
