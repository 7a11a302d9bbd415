//! What the machine does without a daemon.

use anyhow::Result;

use crate::disk;
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
    let rate = disk::rate(stage.directory(), stage.slice())?;
    report.add(Figure::rate("4 KiB appended and synced (fdatasync)", rate))
}
