//! A healthy destination beside one with a backlog that only fails, on one host.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use postrider_core::NotificationId;
use postrider_queue::{Lease, Queue, Settle};
use tokio::sync::{Notify, mpsc};
use tokio::time::{interval, sleep, timeout};

use crate::load::{claim, delivered, failed, item};
use crate::report::{Figure, Goal, Report};
use crate::rounds::{count, quantile};
use crate::stage::Stage;

const FAILING: &str = "failing";
const HEALTHY: &str = "healthy";
/// Slots of each destination, as is the default.
const SLOTS: u32 = 64;
/// How long a send to the failing destination takes.
const FAILURE: Duration = Duration::from_millis(5);
/// The first wait of the default policy.
const BACKOFF: Duration = Duration::from_secs(5);
/// The offered load: so many notifications each tick.
const TICK: Duration = Duration::from_millis(20);
const A_TICK: usize = 10;
/// How long the host waits when a claim brought nothing and no slot became free.
const POLL: Duration = Duration::from_millis(20);
const SETTLE_BATCH: usize = 512;

/// One host, made like the dispatcher: a loop that claims, sends at once, and a settler.
struct Host {
    queue: Arc<dyn Queue>,
    /// Slots in use of the failing and of the healthy destination.
    used: [AtomicU32; 2],
    woken: Notify,
    offered: Mutex<HashMap<NotificationId, Instant>>,
    /// From commit to claim, in milliseconds.
    waits: Mutex<Vec<f64>>,
    served: AtomicUsize,
    failures: AtomicUsize,
}

pub(crate) async fn postgres(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.rows(1_000_000);
    let length = Duration::from_secs(if stage.quick { 4 } else { 15 });
    let database = stage.database().await?;
    database.fill(FAILING, rows).await?;
    database.analyze().await?;
    let host = Arc::new(Host::new(database.queue.clone()));
    let end = Instant::now() + length;
    let (sender, receiver) = mpsc::unbounded_channel();
    let settling = tokio::spawn(host.clone().settle(receiver, end));
    let claiming = tokio::spawn(host.clone().dispatch(sender, end));
    let offered = host.offer(end).await?;
    claiming.await??;
    settling.await??;
    let served = host.served.load(Ordering::Relaxed);
    let failures = count(host.failures.load(Ordering::Relaxed)) / length.as_secs_f64();
    let waits = std::mem::take(&mut *host.waits());
    report.add(
        Figure::new(
            "the healthy one's share of its offered load",
            count(served) / count(offered),
            "x",
        )
        .goal(Goal::AtLeast(0.9))
        .beside(format!("offered {:.0}/s", count(offered) / length.as_secs_f64()))
        .beside(format!("beside {rows} due rows that fail, at {failures:.0}/s")),
    )?;
    let worst = quantile(waits.clone(), 99, 100);
    report.add(
        Figure::new("its wait from commit to claim, p50", quantile(waits, 1, 2), "ms")
            .beside(format!("p99 {worst:.1} ms")),
    )?;
    database.close().await;
    Ok(())
}

impl Host {
    fn new(queue: Arc<dyn Queue>) -> Self {
        Self {
            queue,
            used: [AtomicU32::new(0), AtomicU32::new(0)],
            woken: Notify::new(),
            offered: Mutex::default(),
            waits: Mutex::default(),
            served: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// Offers the load of the healthy destination. Answers how many.
    async fn offer(&self, end: Instant) -> Result<usize> {
        let mut ticks = interval(TICK);
        let mut offered = 0;
        while Instant::now() < end {
            ticks.tick().await;
            let items: Vec<_> = (0..A_TICK).map(|_| item(HEALTHY)).collect();
            let ids: Vec<NotificationId> = items.iter().map(|item| item.notification.id).collect();
            self.queue.enqueue(items).await?;
            let now = Instant::now();
            self.offered().extend(ids.into_iter().map(|id| (id, now)));
            self.woken.notify_one();
            offered += A_TICK;
        }
        Ok(offered)
    }

    async fn dispatch(
        self: Arc<Self>,
        settler: mpsc::UnboundedSender<Settle>,
        end: Instant,
    ) -> Result<()> {
        while Instant::now() < end {
            let [failing, healthy] = &self.used;
            let free = [(FAILING, failing), (HEALTHY, healthy)]
                .map(|(name, used)| (name, SLOTS.saturating_sub(used.load(Ordering::Relaxed))));
            let free = free.into_iter().filter(|(_, free)| *free > 0);
            let leases = self.queue.claim(&claim(free)).await?;
            if leases.is_empty() {
                // Over by its time or by a wake-up alike.
                timeout(POLL, self.woken.notified()).await.ok();
            }
            let (sick, well): (Vec<Lease>, _) =
                leases.into_iter().partition(|lease| lease.destination == FAILING);
            self.note_waits(&well);
            for (leases, used) in [(sick, failing), (well, healthy)] {
                used.fetch_add(u32::try_from(leases.len())?, Ordering::Relaxed);
                tokio::spawn(self.clone().send(leases, settler.clone()));
            }
        }
        Ok(())
    }

    async fn send(self: Arc<Self>, leases: Vec<Lease>, settler: mpsc::UnboundedSender<Settle>) {
        let Some(first) = leases.first() else { return };
        let sick = first.destination == FAILING;
        if sick {
            sleep(FAILURE).await;
        }
        let [failing, healthy] = &self.used;
        let used = if sick { failing } else { healthy };
        used.fetch_sub(u32::try_from(leases.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        for lease in &leases {
            let settle = if sick { failed(lease, BACKOFF) } else { delivered(lease) };
            // Only the end of the run closes it.
            settler.send(settle).ok();
        }
        self.woken.notify_one();
    }

    async fn settle(
        self: Arc<Self>,
        mut receiver: mpsc::UnboundedReceiver<Settle>,
        end: Instant,
    ) -> Result<()> {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, SETTLE_BATCH).await > 0 {
            let served = batch.iter().filter(|settle| settle.reason.is_empty()).count();
            let failures = batch.len() - served;
            self.queue.settle(std::mem::take(&mut batch)).await?;
            if Instant::now() < end {
                self.served.fetch_add(served, Ordering::Relaxed);
                self.failures.fetch_add(failures, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn note_waits(&self, leases: &[Lease]) {
        let mut offered = self.offered();
        let waits = leases.iter().filter_map(|lease| offered.remove(&lease.notification.id));
        let waits: Vec<f64> = waits.map(|at| at.elapsed().as_secs_f64() * 1_000.0).collect();
        drop(offered);
        self.waits().extend(waits);
    }

    fn offered(&self) -> std::sync::MutexGuard<'_, HashMap<NotificationId, Instant>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Vec<f64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
