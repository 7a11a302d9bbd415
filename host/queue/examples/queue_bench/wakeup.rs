//! From the commit of a notification to its claim, by the same host and by another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postrider_queue::{Lease, Queue};
use rand::RngExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::host::settle;
use crate::load::{BATCH, claim, item};
use crate::report::{Figure, Goal, Report};
use crate::rounds::quantile;
use crate::stage::Stage;

const DESTINATION: &str = "quick";
/// The dispatcher's shortest time between two looks: just after there was work.
const POLL: Duration = Duration::from_millis(50);
/// Longest pause before a notification, so that it meets any moment of a poll.
const PAUSE: Duration = Duration::from_millis(40);
/// A word that has not come by then never will.
const NEVER: Duration = Duration::from_secs(3);

/// How the claimer hears of work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// In process: it is the host that enqueued.
    AtOnce,
    /// By `Queue::wait_for_work`.
    Word,
    /// It does not, and looks by itself.
    Poll,
}

pub(crate) async fn sqlite(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let queue = stage.sqlite().await?;
    let samples = if stage.quick { 50 } else { 300 };
    let waits = waits(&queue, &queue, Hears::AtOnce, samples).await?;
    report_waits(report, "commit -> claim, the same host, p50", waits, None)?;
    queue.close().await;
    Ok(())
}

pub(crate) async fn postgres(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let samples = if stage.quick { 50 } else { 300 };
    let database = stage.database().await?;
    let (ours, other) = (&database.queue, database.another().await?);
    let same = waits(ours, ours, Hears::AtOnce, samples).await?;
    report_waits(report, "commit -> claim, the same host, p50", same, Some(2.0))?;
    let told = "commit -> claim, another host with LISTEN, p50";
    let (teller, listener) = (database.talking(1).await?, database.talking(2).await?);
    if tells_of_work(&teller, &listener).await? {
        let heard = waits(&teller, &listener, Hears::Word, samples).await?;
        report_waits(report, told, heard, Some(5.0))?;
    } else {
        report.skipped(told, "no LISTEN: the store never tells of work")?;
    }
    teller.close().await;
    listener.close().await;
    let found = waits(ours, &other, Hears::Poll, samples).await?;
    let poll = POLL.as_secs_f64() * 1_000.0;
    report_waits(report, "commit -> claim, another host that polls, p50", found, Some(poll))?;
    other.close().await;
    database.close().await;
    Ok(())
}

fn report_waits(report: &mut Report, name: &str, waits: Vec<f64>, goal: Option<f64>) -> Result<()> {
    let p99 = quantile(waits.clone(), 99, 100);
    let figure = Figure::new(name, quantile(waits, 1, 2), "ms").beside(format!("p99 {p99:.2} ms"));
    report.add(match goal {
        Some(goal) => figure.goal(Goal::AtMost(goal)),
        None => figure,
    })
}

/// Whether another host hears of work at all; leaves nothing due.
async fn tells_of_work(ours: &Arc<dyn Queue>, other: &Arc<dyn Queue>) -> Result<bool> {
    let start = Instant::now();
    let mut word = std::pin::pin!(other.wait_for_work());
    let mut told = false;
    while !told && start.elapsed() < NEVER {
        ours.enqueue(vec![item(DESTINATION)]).await?;
        told = timeout(POLL, &mut word).await.is_ok();
    }
    let claim = claim([(DESTINATION, BATCH)]);
    loop {
        let leases = other.claim(&claim).await?;
        if leases.is_empty() {
            return Ok(told);
        }
        settle(&**other, &leases).await?;
    }
}

/// Milliseconds from commit to claim.
async fn waits(
    producer: &Arc<dyn Queue>,
    claimer: &Arc<dyn Queue>,
    hears: Hears,
    samples: usize,
) -> Result<Vec<f64>> {
    let woken = Arc::new(Notify::new());
    let (sender, mut claimed) = mpsc::unbounded_channel();
    let claiming = tokio::spawn(claim_all(claimer.clone(), hears, woken.clone(), sender));
    let _claiming = Ends(claiming.abort_handle());
    let mut waits = Vec::new();
    while waits.len() < samples {
        sleep(pause()).await;
        producer.enqueue(vec![item(DESTINATION)]).await?;
        let committed = Instant::now();
        woken.notify_one();
        let Some((at, leases)) = timeout(NEVER, claimed.recv()).await? else {
            claiming.await??;
            break;
        };
        ensure!(leases.len() == 1, "somebody else enqueues here");
        // A claimer that looks by itself may see the commit before its answer has come.
        waits.push(at.saturating_duration_since(committed).as_secs_f64() * 1_000.0);
        settle(&**claimer, &leases).await?;
    }
    Ok(waits)
}

#[expect(clippy::disallowed_methods, reason = "a bench need not come to the same pauses again")]
fn pause() -> Duration {
    PAUSE.mul_f64(rand::rng().random())
}

async fn claim_all(
    queue: Arc<dyn Queue>,
    hears: Hears,
    woken: Arc<Notify>,
    sender: mpsc::UnboundedSender<(Instant, Vec<Lease>)>,
) -> Result<()> {
    let claim = claim([(DESTINATION, BATCH)]);
    let names = [DESTINATION.to_owned()];
    loop {
        match hears {
            Hears::AtOnce => woken.notified().await,
            Hears::Word => queue.wait_for_work().await,
            Hears::Poll => sleep(POLL).await,
        }
        if hears != Hears::AtOnce {
            let look = queue.look(&names).await?;
            if look.due.is_none_or(|due| !due.is_zero()) {
                continue;
            }
        }
        let leases = queue.claim(&claim).await?;
        if !leases.is_empty() {
            sender.send((Instant::now(), leases))?;
        }
    }
}

/// Ends a task when dropped.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
