//! A backlog that was handed in while all destinations were paused, and is delivered at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postrider_tests::wire::{Wire, post};

use crate::figure::Figure;
use crate::numbers::median;
use crate::report::Report;
use crate::running::Running;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::target::Counter;

/// Notifications of one request.
const BATCH: usize = 1_000;
/// Connections that send batches.
const BATCHERS: usize = 4;
const LOOK: Duration = Duration::from_millis(10);
/// A backlog that does not move for so long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What a daemon did to a backlog.
pub(crate) struct Drained {
    /// Notifications that were handed in a second.
    pub(crate) filled: f64,
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Processor time of the daemon for a delivery, in µs.
    pub(crate) cpu_us: f64,
    /// While it was delivered.
    pub(crate) peak_mib: f64,
}

pub(crate) async fn run(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
    rows: usize,
) -> Result<()> {
    let running = stage.start(setup).await?;
    let mut counter = stage.counter(&setup).await;
    let before = stage.bare(&setup)?;
    let drained = drain(&running, &mut counter, rows).await?;
    let after = stage.bare(&setup)?;
    running_says(report, &running, rows, &drained)?;
    let (rate, cpu) = (median([before.rate, after.rate]), median([before.cpu_us, after.cpu_us]));
    let (least, most) = if setup.reuse { (0.3, 4.0) } else { (0.2, 7.0) };
    let figure = Figure::ratio("  of the bare client", drained.rate / rate).at_least(least);
    report.add(figure.beside(format!("{rate:.0} requests/s")))?;
    report.add(Figure::new("daemon's CPU for 1,000 deliveries", drained.cpu_us / 1e3, "s"))?;
    let figure = Figure::cost("  of the bare client's", drained.cpu_us / cpu).at_most(most);
    report.add(figure.beside(format!("{cpu:.1} µs a request")))?;
    report.add(Figure::new("peak resident memory while it drains", drained.peak_mib, "MiB"))?;
    running.end().await;
    Ok(())
}

fn running_says(
    report: &mut Report,
    running: &Running,
    rows: usize,
    drained: &Drained,
) -> Result<()> {
    report.add(Figure::rate(format!("{rows} handed in, {BATCH} a batch"), drained.filled))?;
    report.add(Figure::rate("delivered of the backlog", drained.rate).beside(&running.says))
}

/// Hands a backlog in and lets it go.
pub(crate) async fn drain(
    running: &Running,
    counter: &mut Counter,
    rows: usize,
) -> Result<Drained> {
    running.all("pause").await?;
    let setup = &running.setup;
    let all: Vec<_> = (0..setup.destinations).map(|place| setup.notification(place)).collect();
    let filled = fill(running, &all, rows).await;
    running.reset_peak();
    let (before, cpu, started) = (counter.total().await, running.cpu(), Instant::now());
    running.all("resume").await?;
    let (mut came, mut moved) = (0, Instant::now());
    while came < rows as u64 {
        tokio::time::sleep(LOOK).await;
        let now = counter.total().await - before;
        if now > came {
            (came, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < STUCK, "{came} of {rows} came, and no more");
    }
    let elapsed = started.elapsed().as_secs_f64();
    let rows = rows as f64;
    Ok(Drained {
        filled,
        rate: rows / elapsed,
        cpu_us: (running.cpu() - cpu).as_secs_f64() * 1e6 / rows,
        peak_mib: running.peak_mib(),
    })
}

/// Hands notifications in, in batches of these in turn. Answers how many a second.
pub(crate) async fn fill(running: &Running, all: &[String], rows: usize) -> f64 {
    let batch: Vec<&str> = all.iter().cycle().take(BATCH).map(String::as_str).collect();
    let request = post("/v1/notifications/batch", &format!("[{}]", batch.join(",")));
    let started = Instant::now();
    let batches = rows.div_ceil(BATCH);
    let tasks: Vec<_> = (0..BATCHERS)
        .map(|number| {
            let (address, request) = (running.address(), request.clone());
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await;
                for _ in (number..batches).step_by(BATCHERS) {
                    wire.ask(&request).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("batches are taken");
    }
    rows as f64 / started.elapsed().as_secs_f64()
}
