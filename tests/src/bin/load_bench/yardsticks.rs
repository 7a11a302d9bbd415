//! What the machine does without a daemon.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figure::Figure;
use crate::report::Report;
use crate::setup::{Setup, Store};
use crate::stage::Stage;

/// Clients of `pgbench`, as many as there are producers.
pub(crate) const CLIENTS: u32 = 32;

/// Each of them once, before everything else.
pub(crate) fn measure(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.begin("yardsticks");
    let bare = stage.bare(&Setup::new(Store::Sqlite, 1))?;
    report.add(Figure::rate("bare client, 1 KiB, one thread", bare.rate))?;
    report.add(Figure::new("  its CPU for a request", bare.cpu_us, "µs"))?;
    if let Some(rate) = stage.transactions()? {
        report.add(Figure::rate(format!("pgbench -N -c {CLIENTS}, fsync on"), rate))?;
    }
    let rate = syncs(stage.directory(), stage.slice())?;
    report.add(Figure::rate("4 KiB appended and synced (fdatasync)", rate))
}

/// How often a second the disk takes 4 KiB for good.
fn syncs(directory: &Path, time: Duration) -> Result<f64> {
    let mut file =
        OpenOptions::new().create(true).append(true).open(directory.join("yardstick"))?;
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
