//! Rates of the SQLite store, beside what the same disk and the same driver do bare in the same run.
//!
//! `cargo run --release -p postrider-queue --example queue_bench [directory] [seconds a figure]`

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use jiff::Timestamp;
use postrider_core::settle::Settlement;
use postrider_core::{Attempt, HostId, Notification, NotificationId};
use postrider_queue::{
    Claim, Enqueue, MAX_BATCH, Queue, Settle, Slots, SqliteOptions, SqliteQueue,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor};
use uuid::Uuid;

const BATCH: u32 = 64;
/// Length of the yardstick's file: that of a WAL at its checkpoint.
const BLOCKS: u32 = 512;
/// Enough due deliveries for every measurement of claims.
const BACKLOG: usize = 400;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse()).context("seconds")?;
    let length = Duration::from_secs(seconds);
    let directory = tempfile::tempdir_in(directory)?;

    println!("yardstick: fdatasync of 8 KiB      {:>9.0}/s", syncs(directory.path(), length)?);
    println!("yardstick: bare small transaction  {:>9.0}/s", bare(directory.path(), length).await?);

    let path = directory.path().join("queue.db");
    let queue = Arc::new(SqliteQueue::open(&path, SqliteOptions::default()).await?);
    for callers in [1, 32] {
        let rate = enqueue(&queue, callers, 1, length).await?;
        println!("enqueue one by one, {callers:>2} callers    {rate:>9.0}/s");
    }
    println!(
        "enqueue {BATCH} a call, 1 caller        {:>9.0}/s",
        enqueue(&queue, 1, BATCH, length).await?
    );
    println!(
        "enqueue {BATCH} a call, 4 callers       {:>9.0}/s",
        enqueue(&queue, 4, BATCH, length).await?
    );
    for _ in 0..BACKLOG {
        queue.enqueue((0..MAX_BATCH).map(|_| item("backlog")).collect()).await?;
    }
    for (workers, batch) in [(1, BATCH), (4, BATCH), (1, 1)] {
        let rate = cycle(&queue, workers, batch, length).await?;
        println!("claim->settle {batch:>2} a call, {workers} workers {rate:>9.0}/s");
    }
    let idle = idle(&queue, length).await?;
    println!("claim of 500 idle destinations     {idle:>9.0}/s");
    queue.close().await;
    Ok(())
}

/// How often the disk takes 8 KiB, in a file of fixed length, as a WAL that has been round once is.
fn syncs(directory: &Path, length: Duration) -> anyhow::Result<f64> {
    let file = File::create(directory.join("yardstick"))?;
    let block = [7; 8_192];
    file.write_all_at(&[0; 8_192].repeat(BLOCKS as usize), 0)?;
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
async fn bare(directory: &Path, length: Duration) -> anyhow::Result<f64> {
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

async fn enqueue(
    queue: &Arc<SqliteQueue>,
    callers: u32,
    batch: u32,
    length: Duration,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let tasks = (0..callers).map(|_| {
        let queue = Arc::clone(queue);
        tokio::spawn(async move {
            let mut count = 0_u32;
            while start.elapsed() < length {
                queue.enqueue((0..batch).map(|_| item("other")).collect()).await?;
                count += batch;
            }
            anyhow::Ok(count)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut total = 0.0;
    for task in tasks {
        total += f64::from(task.await??);
    }
    Ok(total / start.elapsed().as_secs_f64())
}

async fn cycle(
    queue: &Arc<SqliteQueue>,
    workers: u32,
    batch: u32,
    length: Duration,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let tasks = (0..workers).map(|_| {
        let (queue, done) = (Arc::clone(queue), Arc::clone(&done));
        tokio::spawn(async move {
            let slots = Slots { destination: "backlog".into(), free: batch, retries: batch / 2 };
            let claim = claim(vec![slots]);
            while start.elapsed() < length {
                let leases = queue.claim(&claim).await?;
                anyhow::ensure!(!leases.is_empty(), "the backlog is too small");
                let settled = leases.len() as u64;
                let batch = leases.into_iter().map(|lease| Settle {
                    key: lease.key,
                    settlement: Settlement::Delivered,
                    parts_done: 0,
                    reason: String::new(),
                    attempt: Some(attempt(claim.host)),
                    handover: Vec::new(),
                });
                let lost = queue.settle(batch.collect()).await?;
                anyhow::ensure!(lost.is_empty(), "a lease was lost");
                done.fetch_add(settled, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    let done = done.load(Ordering::Relaxed) as f64;
    Ok(done / start.elapsed().as_secs_f64())
}

async fn idle(queue: &SqliteQueue, length: Duration) -> anyhow::Result<f64> {
    let slots = (0..500).map(|n| Slots { destination: format!("idle-{n}"), free: 64, retries: 32 });
    let claim = claim(slots.collect());
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < length {
        anyhow::ensure!(queue.claim(&claim).await?.is_empty(), "they should be idle");
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn claim(slots: Vec<Slots>) -> Claim {
    Claim { host: HostId(Uuid::from_u128(7)), lease: Duration::from_secs(45), slots }
}

#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
fn item(destination: &str) -> Enqueue {
    Enqueue {
        notification: Notification {
            id: NotificationId(Uuid::now_v7()),
            kind: "bench.load".to_owned(),
            source: "queue_bench".to_owned(),
            subject: None,
            labels: [("severity".to_owned(), "low".to_owned())].into(),
            content_type: "application/json".to_owned(),
            content: Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(240))),
            time: Timestamp::now(),
        },
        idempotency_key: None,
        destinations: vec![destination.to_owned()],
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench plays the daemon, which reads its clock")]
fn attempt(host: HostId) -> Attempt {
    Attempt {
        number: 1,
        started: Timestamp::now(),
        duration: Duration::from_micros(300),
        outcome: "delivered".to_owned(),
        reason: String::new(),
        plugin: "5f0c7a".repeat(10),
        host,
    }
}
