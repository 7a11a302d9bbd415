//! The parts alone: what the whole could be at most.

use std::sync::Arc;

use crate::figure::Figure;
use crate::queue_alone;
use crate::report::Report;
use crate::sandbox_alone::Bench;
use crate::setup::{Setup, Store};
use crate::stage::Stage;
use anyhow::Result;
use postrider_queue::{PostgresOptions, PostgresQueue, Queue, SqliteOptions, SqliteQueue};

pub(crate) async fn run(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    sandbox(stage, report, &setup).await?;
    queue(stage, report, Store::Sqlite, "queue alone, SQLite").await?;
    if stage.lacks(&Setup::new(Store::Postgres, 1)).is_none() {
        queue(stage, report, Store::Postgres, "queue alone, PostgreSQL").await?;
    }
    Ok(())
}

async fn sandbox(stage: &Stage<'_>, report: &mut Report, setup: &Setup) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let bench = Bench::new(cache.path()).await?;
    let receiver = stage.receiver(setup);
    for (name, reuse, goal) in [("fresh", false, 0.4), ("reused", true, 0.6)] {
        let bare = stage.bare(setup)?;
        let rates = bench.measure(reuse, receiver, stage.slice()).await?;
        let figure =
            Figure::new(format!("sandbox alone, {name}: CPU of no send"), rates.cpu_us, "µs");
        report.add(figure.beside("no network"))?;
        let figure =
            Figure::rate(format!("sandbox alone, {name}: posted by webhook"), rates.posted);
        report.add(figure)?;
        let figure =
            Figure::new(format!("sandbox alone, {name}: CPU of a post"), rates.post_cpu_us, "µs");
        report.add(figure.beside(format!("{:.1} µs of the bare client", bare.cpu_us)))?;
        let ratio =
            Figure::ratio(format!("  of the bare client, {name}"), rates.posted / bare.rate)
                .at_least(goal);
        report.add(ratio.beside(format!("{:.0} requests/s", bare.rate)))?;
    }
    Ok(())
}

async fn queue(stage: &mut Stage<'_>, report: &mut Report, store: Store, name: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let queue: Arc<dyn Queue> = match stage.database(store)? {
        Some(url) => Arc::new(PostgresQueue::open(&url, PostgresOptions::default()).await?),
        None => {
            let file = directory.path().join("queue.db");
            Arc::new(SqliteQueue::open(&file, SqliteOptions::default()).await?)
        }
    };
    let rows = stage.of(100_000, 20_000);
    let rates = queue_alone::measure(queue.clone(), rows).await?;
    queue.close().await;
    report.add(Figure::rate(format!("{name}: enqueued, 1,000 a call"), rates.enqueued))?;
    report.add(Figure::rate(format!("{name}: claim -> settle, no send"), rates.settled))
}
