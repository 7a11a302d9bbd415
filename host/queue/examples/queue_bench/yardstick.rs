//! What the disk and the databases do without a queue, in the same run.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use postrider_test_postgres::pgbench::Pgbench;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::task::block_in_place;

use crate::load::BATCH;
use crate::report::Report;
use crate::stage::Stage;

pub(crate) const BARE_TRANSACTION: &str = "a bare transaction of SQLite";
pub(crate) const ONE_ROW: &str = "pgbench -N, 4 clients";
pub(crate) const BARE_PAIR: &str = "rows updated twice, 64 a transaction";

/// Length of the yardstick's file: that of a WAL at its checkpoint.
const BLOCKS: u32 = 512;

pub(crate) async fn measure(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(if stage.quick { 1 } else { 4 });
    let directory = stage.directory()?;
    report.add_yardstick("fdatasync of 8 KiB", syncs(&directory, length)?)?;
    report.add_yardstick(BARE_TRANSACTION, bare(&directory, length).await?)?;
    if stage.has_postgres() {
        let pgbench = block_in_place(|| Pgbench::new(stage.cluster()?))?;
        let Some(pgbench) = pgbench else {
            return report.skipped("pgbench", "pgbench is not installed");
        };
        let one_row = block_in_place(|| pgbench.simple_updates(4, length))?;
        report.add_yardstick(ONE_ROW, one_row)?;
        // Each claim -> settle writes a row twice.
        let batches = block_in_place(|| pgbench.batches_of_updates(BATCH, 4, length))?;
        report.add_yardstick(BARE_PAIR, batches * f64::from(BATCH) / 2.0)?;
    }
    Ok(())
}

/// How often the disk takes 8 KiB, in a file of fixed length, as a WAL that has been round once is.
fn syncs(directory: &Path, length: Duration) -> Result<f64> {
    let file = File::create(directory.join("yardstick"))?;
    let block = [7; 8_192];
    file.write_all_at(&[0; 8_192].repeat(usize::try_from(BLOCKS)?), 0)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < length {
        file.write_all_at(&block, u64::from(count % BLOCKS) * 8_192)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// One row a transaction on a connection of sqlx with the queue's settings.
async fn bare(directory: &Path, length: Duration) -> Result<f64> {
    let mut connection = SqliteConnectOptions::new()
        .filename(directory.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT) STRICT").await?;
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < length {
        let insert = sqlx::query("INSERT INTO t (x) VALUES (?1)").bind("x".repeat(256));
        insert.execute(&mut connection).await?;
        count += 1;
    }
    connection.close().await?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
