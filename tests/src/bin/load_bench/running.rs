//! Daemons that run, with what they are asked and given.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use postrider_tests::daemon::{Daemon, House};
use postrider_tests::wire::{Wire, get};

use crate::process;
use crate::setup::Setup;

/// How long settlements may be written after their requests came.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// One or more daemons on one database. They end when dropped.
pub(crate) struct Running {
    pub(crate) setup: Setup,
    pub(crate) daemons: Vec<Daemon>,
    /// In words, what is not as the daemon does by itself.
    pub(crate) says: String,
    houses: Vec<House>,
}

impl Running {
    pub(crate) fn new(
        setup: Setup,
        daemons: Vec<Daemon>,
        says: String,
        houses: Vec<House>,
    ) -> Self {
        Self { setup, daemons, says, houses }
    }

    /// Where producers reach them.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let address = |daemon: &Daemon| daemon.url().strip_prefix("http://")?.parse().ok();
        self.daemons.iter().filter_map(address).collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.addresses().first().expect("at least one daemon")
    }

    /// A directory on the disk that they write to.
    pub(crate) fn directory(&self) -> &Path {
        self.houses.first().expect("at least one house").path()
    }

    /// Processor time of all of them.
    pub(crate) fn cpu(&self) -> Duration {
        self.daemons.iter().map(|daemon| process::cpu(daemon.pid())).sum()
    }

    /// The largest resident memory of any of them, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        self.daemons.iter().map(|daemon| process::peak_mib(daemon.pid())).fold(0.0, f64::max)
    }

    pub(crate) fn reset_peak(&self) {
        self.daemons.iter().for_each(|daemon| process::reset_peak(daemon.pid()));
    }

    /// Pauses or resumes all destinations.
    pub(crate) async fn all(&self, action: &str) -> Result<()> {
        for place in 0..self.setup.destinations {
            self.act(&format!("d{place}"), action).await?;
        }
        Ok(())
    }

    /// Pauses or resumes a destination.
    pub(crate) async fn act(&self, destination: &str, action: &str) -> Result<()> {
        let daemon = self.daemons.first().context("no daemon")?;
        let path = format!("/v1/destinations/{destination}/{action}");
        let (status, answer) = daemon.post(&path, "").await;
        ensure!(status == 200, "{action}: {status} {answer}");
        Ok(())
    }

    /// Waits until the daemons say that they made so many deliveries, and no more.
    pub(crate) async fn settled(&self, came: u64) -> Result<()> {
        let waiting = Instant::now();
        loop {
            let settled = self.delivered().await;
            if settled == came {
                return Ok(());
            }
            ensure!(waiting.elapsed() < PATIENCE, "{came} came, {settled} are settled");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn delivered(&self) -> u64 {
        let mut sum = 0;
        for address in self.addresses() {
            let text = Wire::connect(address).await.ask(&get("/metrics")).await;
            sum += delivered(&String::from_utf8_lossy(&text));
        }
        sum
    }

    /// Ends them at once: what hangs would use up the time of grace.
    pub(crate) async fn end(self) {
        for daemon in self.daemons {
            daemon.kill().await;
        }
    }
}

fn delivered(metrics: &str) -> u64 {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let wanted = name.starts_with("postrider_settlements_total{")
            && name.contains("settlement=\"delivered\"");
        wanted.then(|| value.parse::<u64>().ok())?
    };
    metrics.lines().filter_map(line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_summed_up_over_destinations() {
        let metrics = "postrider_settlements_total{destination=\"a\",settlement=\"delivered\"} 3\n\
             postrider_settlements_total{destination=\"a\",settlement=\"dead\"} 9\n\
             postrider_settlements_total{destination=\"b\",settlement=\"delivered\"} 4\n";
        assert_eq!(delivered(metrics), 7);
    }
}
