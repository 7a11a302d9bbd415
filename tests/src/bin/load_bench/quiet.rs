//! A daemon that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figure::Figure;
use crate::latency;
use crate::report::Report;
use crate::setup::Setup;
use crate::stage::Stage;

/// After the last delivery, until everything about it is written and its waits are long.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) async fn run(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let running = stage.start(setup).await?;
    let mut counter = stage.counter(&setup).await;
    latency::idle(&running, &mut counter, Duration::from_secs(1)).await?;
    tokio::time::sleep(SETTLE).await;
    let (started, cpu) = (Instant::now(), running.cpu());
    tokio::time::sleep(Duration::from_secs(stage.of(20, 10))).await;
    let share = (running.cpu() - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    let figure = Figure::new("a quiet daemon, of one core", share * 100.0, "%").at_most(0.5);
    report.add(figure.beside(format!("{} destinations", setup.destinations)))?;
    running.end().await;
    Ok(())
}
