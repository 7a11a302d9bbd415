//! Workers on a queue, with sends that take no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postrider_queue::{Lease, Queue};
use tokio::sync::mpsc;

use crate::load::{claim, delivered};
use crate::rounds::count;

/// Most settlements that the dispatcher writes at once.
const SETTLE_BATCH: usize = 512;

/// A round of claim -> settle: it ends when so many are taken, or with its time.
#[derive(Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) destination: &'static str,
    /// Callers at once; each claims, then settles.
    pub(crate) callers: usize,
    pub(crate) batch: u32,
    pub(crate) most: usize,
    pub(crate) length: Duration,
}

impl Drain {
    /// Answers deliveries a second.
    pub(crate) async fn run(self, queue: &Arc<dyn Queue>) -> Result<f64> {
        let start = Instant::now();
        Ok(count(self.count(queue).await?) / start.elapsed().as_secs_f64())
    }

    /// Answers how many it took.
    pub(crate) async fn count(self, queue: &Arc<dyn Queue>) -> Result<usize> {
        let start = Instant::now();
        let taken = Arc::new(AtomicUsize::new(0));
        let callers = (0..self.callers).map(|_| {
            let (queue, taken) = (queue.clone(), taken.clone());
            tokio::spawn(async move { self.work(&*queue, &taken, start).await })
        });
        let callers: Vec<_> = callers.collect();
        let mut total = 0;
        for caller in callers {
            total += caller.await??;
        }
        Ok(total)
    }

    /// Works until nothing is due.
    pub(crate) async fn run_dry(self, queue: &Arc<dyn Queue>) -> Result<()> {
        let callers = (0..self.callers).map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let claim = claim([(self.destination, self.batch)]);
                loop {
                    let leases = queue.claim(&claim).await?;
                    if leases.is_empty() {
                        return anyhow::Ok(());
                    }
                    settle(&*queue, &leases).await?;
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        for caller in callers {
            caller.await??;
        }
        Ok(())
    }

    /// Like [`Self::run`] in the way of the dispatcher: one task claims, another settles what has come meanwhile.
    pub(crate) async fn run_in_line(self, queue: &Arc<dyn Queue>) -> Result<f64> {
        let start = Instant::now();
        let (sender, receiver) = mpsc::unbounded_channel();
        let settling = tokio::spawn(settle_all(queue.clone(), receiver));
        let claim = claim([(self.destination, self.batch)]);
        let mut taken = 0;
        while taken < self.most && start.elapsed() < self.length {
            let leases = queue.claim(&claim).await?;
            ensure!(!leases.is_empty(), "the backlog is too small");
            taken += leases.len();
            for lease in leases {
                sender.send(lease)?;
            }
        }
        drop(sender);
        settling.await??;
        Ok(count(taken) / start.elapsed().as_secs_f64())
    }

    async fn work(self, queue: &dyn Queue, taken: &AtomicUsize, start: Instant) -> Result<usize> {
        let claim = claim([(self.destination, self.batch)]);
        let batch = usize::try_from(self.batch)?;
        let mut done = 0;
        while start.elapsed() < self.length && taken.fetch_add(batch, Ordering::Relaxed) < self.most
        {
            let leases = queue.claim(&claim).await?;
            ensure!(!leases.is_empty(), "the backlog is too small");
            settle(queue, &leases).await?;
            done += leases.len();
        }
        Ok(done)
    }
}

/// Settles as delivered.
pub(crate) async fn settle(queue: &dyn Queue, leases: &[Lease]) -> Result<()> {
    let lost = queue.settle(leases.iter().map(delivered).collect()).await?;
    ensure!(lost.is_empty(), "a lease was lost");
    Ok(())
}

async fn settle_all(
    queue: Arc<dyn Queue>,
    mut receiver: mpsc::UnboundedReceiver<Lease>,
) -> Result<()> {
    let mut leases = Vec::new();
    while receiver.recv_many(&mut leases, SETTLE_BATCH).await > 0 {
        settle(&*queue, &std::mem::take(&mut leases)).await?;
    }
    Ok(())
}
