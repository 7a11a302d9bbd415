//! Enqueue, one by one and batched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use postrider_queue::Queue;

use crate::load::{BATCH, item};
use crate::report::{Figure, Goal, Report};
use crate::rounds::{count, rounds};
use crate::stage::Stage;
use crate::yardstick::{BARE_TRANSACTION, ONE_ROW};

const DESTINATION: &str = "new";

pub(crate) async fn postgres(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let database = stage.database().await?;
    let queue = database.queue.clone();
    measure(&queue, stage.quick, report, ONE_ROW, Some(Goal::AtLeast(40_000.0))).await?;
    database.close().await;
    Ok(())
}

pub(crate) async fn sqlite(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let queue = stage.sqlite().await?;
    measure(&queue, stage.quick, report, BARE_TRANSACTION, None).await?;
    queue.close().await;
    Ok(())
}

async fn measure(
    queue: &Arc<dyn Queue>,
    quick: bool,
    report: &mut Report,
    yardstick: &str,
    goal: Option<Goal>,
) -> Result<()> {
    let length = Duration::from_millis(if quick { 700 } else { 2_000 });
    for (callers, batch) in [(1, 1), (32, 1), (1, BATCH), (4, BATCH)] {
        let rate = rounds(3, || enqueue(queue, callers, batch, length)).await?;
        let figure = Figure::rate(format!("enqueue, {batch} a call, {callers} callers"), rate);
        let figure = figure.beside(report.of(yardstick, rate));
        report.add(match goal.filter(|_| callers == 4) {
            Some(goal) => figure.goal(goal),
            None => figure,
        })?;
    }
    Ok(())
}

async fn enqueue(
    queue: &Arc<dyn Queue>,
    callers: u32,
    batch: u32,
    length: Duration,
) -> Result<f64> {
    let start = Instant::now();
    let callers = (0..callers).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut stored = 0;
            while start.elapsed() < length {
                let items = (0..batch).map(|_| item(DESTINATION)).collect();
                stored += queue.enqueue(items).await?.len();
            }
            anyhow::Ok(stored)
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut total = 0;
    for caller in callers {
        total += caller.await??;
    }
    Ok(count(total) / start.elapsed().as_secs_f64())
}
