//! The databases of a run: a PostgreSQL cluster of its own, as durable as an operator's, and files of SQLite.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use postrider_core::HostId;
use postrider_queue::{PostgresOptions, PostgresQueue, Queue, SqliteOptions, SqliteQueue};
use postrider_test_postgres::binaries::Binaries;
use postrider_test_postgres::{Cluster, Settings};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;
use tokio::task::block_in_place;
use uuid::Uuid;

/// Deliveries that one statement makes, so that a table of any size is filled within a statement's time.
const CHUNK: usize = 50_000;

/// $1: how many, $2: destination. Each is due at once, a bit after the one before, as what is enqueued is.
const FILL: &str = "WITH n AS ( \
     INSERT INTO notifications (type, source, labels, content, fanned_out_at, deliveries) \
     SELECT 'bench.load', 'queue_bench', '{\"severity\":\"low\"}', \
       '{\"text\":\"' || repeat('x', 240) || '\"}', now(), 1 FROM generate_series(1, $1) \
     RETURNING seq) \
     INSERT INTO deliveries (notification, destination, due, created, since) \
     SELECT seq, $2, clock_timestamp(), now(), now() FROM n";

/// Where the scenarios play.
pub(crate) struct Stage {
    pub(crate) quick: bool,
    directory: TempDir,
    cluster: Option<Cluster>,
    made: u32,
}

/// A database of PostgreSQL with the schema of the queue.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) queue: Arc<dyn Queue>,
    /// For what the queue is not to be asked.
    pub(crate) pool: PgPool,
}

impl Stage {
    pub(crate) fn set_up(quick: bool) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory can be made")?;
        let cluster = Binaries::find()
            .map(|_| block_in_place(|| Cluster::start(Settings::durable())))
            .transpose()?;
        Ok(Self { quick, directory, cluster, made: 0 })
    }

    pub(crate) fn has_postgres(&self) -> bool {
        self.cluster.is_some()
    }

    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("PostgreSQL is not installed")
    }

    /// `full` rows, or a tenth of them in a quick run.
    pub(crate) fn rows(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }

    /// A directory on the disk that everything lies on.
    pub(crate) fn directory(&mut self) -> Result<PathBuf> {
        self.made += 1;
        let directory = self.directory.path().join(self.made.to_string());
        std::fs::create_dir(&directory)?;
        Ok(directory)
    }

    /// A fresh queue on SQLite.
    pub(crate) async fn sqlite(&mut self) -> Result<Arc<dyn Queue>> {
        let file = self.directory()?.join("queue.db");
        Ok(Arc::new(SqliteQueue::open(&file, SqliteOptions::default()).await?))
    }

    /// A fresh database.
    pub(crate) async fn database(&mut self) -> Result<Database> {
        self.made += 1;
        let name = format!("bench_{}", self.made);
        let url = block_in_place(|| self.cluster()?.create_database(&name))?;
        let queue = another(&url).await?;
        let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
        Ok(Database { name, url, queue, pool })
    }
}

impl Database {
    /// The queue as another host has it.
    pub(crate) async fn another(&self) -> Result<Arc<dyn Queue>> {
        another(&self.url).await
    }

    /// The queue as a host has it that tells others of work, and hears of theirs.
    pub(crate) async fn talking(&self, host: u128) -> Result<Arc<dyn Queue>> {
        let host = HostId(Uuid::from_u128(host));
        let options = PostgresOptions { listen_notify: Some(host), ..PostgresOptions::default() };
        Ok(Arc::new(PostgresQueue::open(&self.url, options).await?))
    }

    /// Makes due deliveries to `destination`, without asking the queue.
    pub(crate) async fn fill(&self, destination: &str, rows: usize) -> Result<()> {
        let mut left = rows;
        while left > 0 {
            let chunk = left.min(CHUNK);
            let fill = sqlx::query(FILL).bind(i32::try_from(chunk)?).bind(destination);
            fill.execute(&self.pool).await?;
            left -= chunk;
        }
        Ok(())
    }

    /// What autovacuum does some time after a table was filled.
    pub(crate) async fn analyze(&self) -> Result<()> {
        sqlx::query("VACUUM ANALYZE").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.queue.close().await;
        self.pool.close().await;
    }
}

async fn another(url: &str) -> Result<Arc<dyn Queue>> {
    Ok(Arc::new(PostgresQueue::open(url, PostgresOptions::default()).await?))
}
