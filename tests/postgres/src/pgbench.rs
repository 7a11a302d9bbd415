//! What a cluster does bare, by PostgreSQL's own `pgbench`.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::tools::run;

const DATABASE: &str = "pgbench";
/// In hundred thousands of rows.
const SCALE: &str = "10";
/// Neighbours, as what is enqueued together is.
const BATCH: &str = "\\set first random(1, 1000000 - :batch)\n\\set last :first + :batch - 1\n\
     UPDATE pgbench_accounts SET abalance = abalance + 1 \
     WHERE aid BETWEEN :first AND :last;\n";
const FILL: Duration = Duration::from_secs(120);
/// How much longer than its time a run may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `pgbench` with its tables in a database of their own.
pub struct Pgbench<'a>(&'a Cluster);

impl<'a> Pgbench<'a> {
    /// Fills its tables. `None` where `pgbench` is not installed beside the server.
    pub fn new(cluster: &'a Cluster) -> Result<Option<Self>> {
        let mut version = cluster.place().tools.command("pgbench");
        if version.arg("--version").output().is_err() {
            return Ok(None);
        }
        cluster.create_database(DATABASE)?;
        let mut fill = cluster.place().tools.command("pgbench");
        fill.args(["-i", "-q", "-s", SCALE, &cluster.url_of(DATABASE)]);
        run(fill, FILL)?;
        Ok(Some(Self(cluster)))
    }

    /// Transactions a second of its `-N`: one row read, updated, and one inserted.
    pub fn simple_updates(&self, clients: u32, length: Duration) -> Result<f64> {
        self.rate(&["-N"], clients, length)
    }

    /// Transactions a second that each update `rows` rows in a single statement.
    pub fn batches_of_updates(&self, rows: u32, clients: u32, length: Duration) -> Result<f64> {
        let script = self.0.directory().join("batch.sql");
        std::fs::write(&script, BATCH).context("no script can be written")?;
        let (rows, script) = (format!("batch={rows}"), script.display().to_string());
        self.rate(&["-n", "-D", &rows, "-f", &script], clients, length)
    }

    fn rate(&self, what: &[&str], clients: u32, length: Duration) -> Result<f64> {
        let mut pgbench = self.0.place().tools.command("pgbench");
        let (clients, seconds) = (clients.to_string(), length.as_secs().max(1).to_string());
        pgbench.args(what).args(["-M", "prepared", "-j", "2", "-c", &clients, "-T", &seconds]);
        pgbench.arg(self.0.url_of(DATABASE));
        let told = run(pgbench, length + PATIENCE)?;
        rate_in(&told).with_context(|| format!("pgbench told no rate: {told}"))
    }
}

fn rate_in(told: &str) -> Option<f64> {
    let line = told.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_tells() {
        let told = "latency average = 0.4 ms\n\
                    tps = 2276.508361 (without initial connection time)\n";

        assert_eq!(rate_in(told), Some(2_276.508_361));
        assert_eq!(rate_in("nothing"), None);
    }
}
