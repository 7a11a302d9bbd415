//! `GET /metrics`: brings the gauges up to date and writes everything down in Prometheus' text format.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postrider_core::BreakerState;
use postrider_queue::{QueueError, Stats};
use prometheus::{Encoder as _, TextEncoder};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::depth::{FRESH, Standing};
use super::metrics::Gauges;
use super::{Inner, Signals};
use crate::api::Api;
use crate::api::problem::Problem;
use crate::registry::{Registry, Status};

/// A scraper gives up after ten seconds, and wants the other numbers most when the queue is slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// One scrape at a time, and when the queue was last asked.
#[derive(Default)]
pub(super) struct Scrapes(Mutex<Option<Instant>>);

/// `GET /metrics`.
pub async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.signals.exposition(&api).await.map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}"),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

impl Signals {
    pub(super) async fn exposition(&self, api: &Api) -> Result<String, prometheus::Error> {
        let Inner { metrics, pulse, scrapes, depths: _, rates: _, events: _ } = &*self.0;
        let mut asked = scrapes.0.lock().await;
        let gauges = &metrics.gauges;
        if asked.is_none_or(|at| at.elapsed() >= FRESH) {
            gauges.ask(api).await;
            *asked = Some(Instant::now());
        }
        gauges.count(&api.registry.load());
        for state in pulse.states() {
            gauges.loop_late.with_label_values(&[state.who.name()]).set(state.late.as_secs_f64());
        }
        gauges.of_process();
        let mut text = Vec::new();
        TextEncoder::new().encode(&metrics.all.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Notes when the daemon started.
    pub fn started(&self, now: jiff::Timestamp) {
        let gauges = &self.0.metrics.gauges;
        gauges.started.set(now.as_duration().as_secs_f64());
        let versions = [env!("CARGO_PKG_VERSION"), postrider_sandbox::wasmtime_version()];
        gauges.build.with_label_values(&versions).set(1);
    }
}

impl Gauges {
    /// What the queue knows. One that cannot be asked is said to be down; its numbers stay as they were.
    async fn ask(&self, api: &Api) {
        let asking = async {
            let stats = api.queue.stats().await?;
            let hosts = api.queue.hosts().await?;
            let registry = api.registry.load();
            let standings = api.signals.standings(&*api.queue, &registry).await?;
            Ok::<_, QueueError>((stats, hosts, standings))
        };
        let Ok(Ok((stats, hosts, standings))) = timeout(PATIENCE, asking).await else {
            self.queue_up.set(0);
            return;
        };
        self.queue_up.set(1);
        self.note(&stats);
        self.stand(&standings);
        let live = hosts.iter().filter(|host| host.live).count();
        self.hosts.with_label_values(&["live"]).set(number(live as u64));
        self.hosts.with_label_values(&["silent"]).set(number((hosts.len() - live) as u64));
    }

    fn note(&self, stats: &Stats) {
        let states = [("live", stats.live), ("dead", stats.dead), ("cancelled", stats.cancelled)];
        for (state, rows) in states {
            self.deliveries.with_label_values(&[state]).set(number(rows.count));
        }
        self.arrived.set(number(stats.arrived.count));
        self.oldest_due.set(stats.oldest_due.unwrap_or_default().as_secs_f64());
        let sizes = &stats.sizes;
        let parts = [("total", Some(sizes.total)), ("log", sizes.log), ("free", sizes.free)];
        for (part, bytes) in parts {
            if let Some(bytes) = bytes {
                self.database.with_label_values(&[part]).set(number(bytes));
            }
        }
    }

    /// Those that are gone are forgotten.
    fn stand(&self, standings: &[Standing]) {
        for gauges in [&self.depth, &self.breaker, &self.paused] {
            gauges.reset();
        }
        self.depth_oldest.reset();
        for Standing { depth, breaker, paused } in standings {
            let name = &*depth.destination;
            self.depth.with_label_values(&[name]).set(number(depth.live.count));
            let oldest = depth.oldest_due.unwrap_or_default().as_secs_f64();
            self.depth_oldest.with_label_values(&[name]).set(oldest);
            self.paused.with_label_values(&[name]).set((*paused).into());
            let state = breaker.map_or("closed", BreakerState::name);
            for known in ["closed"].into_iter().chain(BreakerState::ALL.map(BreakerState::name)) {
                self.breaker.with_label_values(&[name, known]).set((known == state).into());
            }
        }
    }

    fn count(&self, registry: &Registry) {
        self.generation.set(number(registry.generation));
        let (mut ready, mut parked, mut off) = (0, 0, 0);
        for (_, entry) in registry.destinations() {
            *match entry.status {
                Status::Ready => &mut ready,
                Status::Parked(_) => &mut parked,
                Status::Off(_) => &mut off,
            } += 1;
        }
        let refused = registry.refused.len() as u64;
        for (state, count) in
            [("ready", ready), ("parked", parked), ("off", off), ("refused", refused)]
        {
            self.destinations.with_label_values(&[state]).set(number(count));
        }
        let (mut loaded, mut kept, mut rejected) = (0, 0, 0);
        for entry in registry.plugins.values() {
            *match (&entry.plugin, &entry.unfit) {
                (Some(_), None) => &mut loaded,
                (Some(_), Some(_)) => &mut kept,
                (None, _) => &mut rejected,
            } += 1;
        }
        for (state, count) in [("loaded", loaded), ("kept", kept), ("rejected", rejected)] {
            self.plugins.with_label_values(&[state]).set(number(count));
        }
    }

    fn of_process(&self) {
        if let Some(bytes) = resident() {
            self.resident.set(number(bytes));
        }
    }
}

/// Resident memory in bytes, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
