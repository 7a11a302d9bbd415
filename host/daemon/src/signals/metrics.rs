//! Every metric, and the events that move it. Names begin with `postrider_`, which the registry puts before them.
//!
//! Label sets are closed: destinations are those that files name; outcomes, causes and states are enums' words.

use std::time::Duration;

use postrider_core::settle::{Cause, Settlement};
use postrider_queue::{Enqueued, Lease};
use postrider_sandbox::notifier::Usage;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

use super::Lost;
use crate::registry;

/// What the names begin with.
pub const PREFIX: &str = "postrider";
/// Of an attempt, in seconds: from a receiver on the same machine to one that hangs until the timeout.
const ATTEMPTS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Of a request of the API, in seconds: a commit of its own takes milliseconds.
const REQUESTS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Of a statement, in seconds.
const STATEMENTS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
/// Of reading and compiling a module, in seconds: from the cache, to what the compiler's limit allows.
const LOADS: &[f64] = &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];
const MIB: f64 = 1_048_576.0;
/// Of a guest's linear memory, in bytes: C and Rust begin below 2 MiB, Python at some 30.
const MEMORY: &[f64] = &[
    0.25 * MIB,
    1.0 * MIB,
    2.0 * MIB,
    4.0 * MIB,
    8.0 * MIB,
    16.0 * MIB,
    32.0 * MIB,
    64.0 * MIB,
    128.0 * MIB,
    256.0 * MIB,
];

/// All metrics of one daemon.
pub struct Metrics {
    pub(super) all: Registry,
    notifications: IntCounterVec,
    unrouted: IntCounter,
    claims: IntCounterVec,
    claim_duration: Histogram,
    running: IntGaugeVec,
    attempts: IntCounterVec,
    attempt_duration: HistogramVec,
    settlements: IntCounterVec,
    deaths: IntCounterVec,
    leases_lost: IntCounterVec,
    orphans: IntCounter,
    reloads: IntCounterVec,
    module_loads: IntCounterVec,
    module_load_duration: Histogram,
    memory: HistogramVec,
    compute: CounterVec,
    lines_dropped: IntCounterVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    pub(super) notices: IntCounterVec,
    pub(super) gauges: Gauges,
}

/// What is looked up when somebody asks.
pub(super) struct Gauges {
    pub(super) build: IntGaugeVec,
    pub(super) started: Gauge,
    pub(super) resident: IntGauge,
    pub(super) generation: IntGauge,
    pub(super) destinations: IntGaugeVec,
    pub(super) plugins: IntGaugeVec,
    pub(super) loop_late: GaugeVec,
    pub(super) queue_up: IntGauge,
    pub(super) deliveries: IntGaugeVec,
    pub(super) arrived: IntGauge,
    pub(super) oldest_due: Gauge,
    pub(super) depth: IntGaugeVec,
    pub(super) depth_oldest: GaugeVec,
    pub(super) breaker: IntGaugeVec,
    pub(super) paused: IntGaugeVec,
    pub(super) database: IntGaugeVec,
    pub(super) hosts: IntGaugeVec,
}

/// An attempt that runs; it has ended when this is dropped.
pub struct Running(IntGauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let all = Registry::new_custom(Some(PREFIX.to_owned()), None)?;
        let make = Make(&all);
        Ok(Self {
            notifications: make.counters(
                "notifications_total",
                "Notifications taken in, by the way they came and what became of them.",
                &["way", "result"],
            )?,
            unrouted: make.counter(
                "notifications_unrouted_total",
                "Notifications taken in that no destination's match lets through.",
            )?,
            claims: make.counters(
                "claims_total",
                "Deliveries that this host has leased.",
                &["destination"],
            )?,
            claim_duration: make.histogram(
                "claim_duration_seconds",
                "Time that one claim took in the database.",
                STATEMENTS,
            )?,
            running: make.gauges(
                "attempts_running",
                "Attempts that run on this host now.",
                &["destination"],
            )?,
            attempts: make.counters(
                "attempts_total",
                "Attempts that have ended, by outcome.",
                &["destination", "outcome"],
            )?,
            attempt_duration: make.histograms(
                "attempt_duration_seconds",
                "Time from the start of an attempt to its outcome.",
                ATTEMPTS,
                &["destination", "outcome"],
            )?,
            settlements: make.counters(
                "settlements_total",
                "Settlements that are written: what followed from an attempt.",
                &["destination", "settlement"],
            )?,
            deaths: make.counters(
                "deaths_total",
                "Deliveries that gave up, by cause.",
                &["destination", "cause"],
            )?,
            leases_lost: make.counters(
                "leases_lost_total",
                "Leases that ended without their holder's settlement, by where that was found.",
                &["destination", "found"],
            )?,
            orphans: make.counter(
                "orphans_buried_total",
                "Deliveries that died because their destination's file is gone.",
            )?,
            reloads: make.counters(
                "reloads_total",
                "Looks at the plugins directory that changed something, by whether anything new was refused.",
                &["result"],
            )?,
            module_loads: make.counters(
                "module_loads_total",
                "Module files that were read, compiled where the cache had none, and type-checked.",
                &["result"],
            )?,
            module_load_duration: make.histogram(
                "module_load_duration_seconds",
                "Time that it took to read, compile and type-check a module file.",
                LOADS,
            )?,
            memory: make.histograms(
                "sandbox_memory_bytes",
                "Linear memory that an attempt's guest ended with.",
                MEMORY,
                &["destination"],
            )?,
            compute: make.float_counters(
                "sandbox_compute_seconds_total",
                "Time in which guests computed; what is shorter than a slice of the ticker counts as none.",
                &["destination"],
            )?,
            lines_dropped: make.counters(
                "sandbox_log_lines_dropped_total",
                "Log lines of guests that did not fit into limits.log.",
                &["destination"],
            )?,
            requests: make.counters(
                "http_requests_total",
                "Requests of the API, by the class of the answer's status.",
                &["route", "method", "class"],
            )?,
            request_duration: make.histograms(
                "http_request_duration_seconds",
                "Time until the answer of the API begins.",
                REQUESTS,
                &["route", "method"],
            )?,
            notices: make.counters(
                "notices_total",
                "Notifications of postrider's own, by what became of them.",
                &["kind", "result"],
            )?,
            gauges: Gauges::new(&make)?,
            all,
        })
    }

    pub(super) fn enqueued(&self, answer: &Enqueued) {
        let result = match answer {
            Enqueued::Stored { deliveries, .. } => {
                if *deliveries == 0 {
                    self.unrouted.inc();
                }
                "stored"
            }
            Enqueued::Existing { .. } => "existing",
            Enqueued::Conflict { .. } => "conflict",
        };
        self.notifications.with_label_values(&["api", result]).inc();
    }

    pub(super) fn answered(&self, route: &str, method: &str, class: &str, took: Duration) {
        self.requests.with_label_values(&[route, method, class]).inc();
        let durations = &self.request_duration;
        durations.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    pub(super) fn arrived(&self, destinations: Option<usize>) {
        if destinations == Some(0) {
            self.unrouted.inc();
        }
        let result = if destinations.is_some() { "stored" } else { "malformed" };
        self.notifications.with_label_values(&["sql", result]).inc();
    }

    pub(super) fn claimed(&self, leases: &[Lease], took: Duration) {
        self.claim_duration.observe(took.as_secs_f64());
        self.leased(leases);
    }

    pub(super) fn leased(&self, leases: &[Lease]) {
        for lease in leases {
            self.claims.with_label_values(&[&lease.destination]).inc();
            if lease.standing.lost > 0 {
                self.lease_lost(&lease.destination, Lost::Expired);
            }
        }
    }

    pub(super) fn attempting(&self, destination: &str) -> Running {
        let running = self.running.with_label_values(&[destination]);
        running.inc();
        Running(running)
    }

    pub(super) fn attempted(&self, destination: &str, outcome: &str, took: Duration) {
        self.attempts.with_label_values(&[destination, outcome]).inc();
        let durations = &self.attempt_duration;
        durations.with_label_values(&[destination, outcome]).observe(took.as_secs_f64());
    }

    pub(super) fn settled(&self, destination: &str, settlement: &Settlement) {
        let word = match settlement {
            Settlement::Delivered => "delivered",
            Settlement::Retry { .. } => "retry",
            Settlement::Dead { cause } => {
                self.died(destination, *cause);
                "dead"
            }
            Settlement::Released => "released",
        };
        self.settlements.with_label_values(&[destination, word]).inc();
    }

    fn died(&self, destination: &str, cause: Cause) {
        self.deaths.with_label_values(&[destination, cause.name()]).inc();
    }

    pub(super) fn lease_lost(&self, destination: &str, found: Lost) {
        self.leases_lost.with_label_values(&[destination, found.name()]).inc();
    }

    pub(super) fn buried(&self, deliveries: u64) {
        self.orphans.inc_by(deliveries);
    }

    pub(super) fn reloaded(&self, old: &registry::Registry, new: &registry::Registry) {
        let result = if new.refusals().any(|new| !old.refusals().any(|old| old == new)) {
            "refused"
        } else {
            "changed"
        };
        self.reloads.with_label_values(&[result]).inc();
        // A rate of what never happened yet is zero, not absent.
        for (name, _) in new.destinations() {
            for settlement in ["delivered", "retry", "dead"] {
                self.settlements.with_label_values(&[name, settlement]);
            }
            for found in [Lost::Sending, Lost::Settling, Lost::Expired] {
                self.leases_lost.with_label_values(&[name, found.name()]);
            }
        }
    }

    pub(super) fn module_loaded(&self, good: bool, took: Duration) {
        self.module_loads.with_label_values(&[if good { "good" } else { "bad" }]).inc();
        self.module_load_duration.observe(took.as_secs_f64());
    }

    #[expect(clippy::cast_precision_loss, reason = "a guest's memory is far below 2^53 bytes")]
    pub(super) fn used(&self, destination: &str, usage: &Usage) {
        self.memory.with_label_values(&[destination]).observe(usage.memory as f64);
        self.compute.with_label_values(&[destination]).inc_by(usage.computed.as_secs_f64());
        self.lines_dropped.with_label_values(&[destination]).inc_by(usage.lines_dropped);
    }
}

impl Gauges {
    fn new(make: &Make<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            build: make.gauges(
                "build_info",
                "Always 1; the labels tell the versions.",
                &["version", "wasmtime"],
            )?,
            started: make.float_gauge(
                "start_time_seconds",
                "When this daemon started, in seconds since 1970.",
            )?,
            resident: make.gauge(
                "process_resident_bytes",
                "Memory that the daemon holds, guests' included.",
            )?,
            generation: make.gauge(
                "registry_generation",
                "How many looks at the plugins directory have changed something since the start.",
            )?,
            destinations: make.gauges(
                "destinations",
                "Destinations by state; refused ones are files that never were good.",
                &["state"],
            )?,
            plugins: make.gauges("plugins", "Module files by state.", &["state"])?,
            loop_late: make.float_gauges(
                "loop_late_seconds",
                "By how much a loop's next round is overdue.",
                &["loop"],
            )?,
            queue_up: make.gauge(
                "queue_up",
                "Whether the queue could be asked just now; while 0, what follows is as it last was.",
            )?,
            deliveries: make.gauges(
                "queue_deliveries",
                "Deliveries in the queue of all hosts; beyond 100000 of a state, an estimate.",
                &["state"],
            )?,
            arrived: make.gauge(
                "queue_arrived",
                "Notifications that came by SQL and are not fanned out yet.",
            )?,
            oldest_due: make.float_gauge(
                "queue_oldest_due_seconds",
                "How long the delivery that has waited longest is overdue; 0 when none is due.",
            )?,
            depth: make.gauges(
                "queue_depth",
                "Live deliveries of each destination; beyond its share of 100000, a lower bound.",
                &["destination"],
            )?,
            depth_oldest: make.float_gauges(
                "queue_depth_oldest_due_seconds",
                "How long the delivery of a destination that has waited longest is overdue; 0 when none is due.",
                &["destination"],
            )?,
            breaker: make.gauges(
                "destination_breaker",
                "1 for the state that a destination's breaker is in, 0 for the others.",
                &["destination", "state"],
            )?,
            paused: make.gauges(
                "destination_paused",
                "Whether somebody has paused the destination.",
                &["destination"],
            )?,
            database: make.gauges(
                "database_bytes",
                "Bytes of the database on disk: the whole, and of these the log and the free part.",
                &["part"],
            )?,
            hosts: make.gauges(
                "hosts",
                "Hosts on this queue; silent ones were not heard of for a minute.",
                &["state"],
            )?,
        })
    }
}

/// Makes metrics and registers them.
pub(super) struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: Result<M, prometheus::Error>,
    ) -> Result<M, prometheus::Error> {
        let made = made?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn float_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, prometheus::Error> {
        self.add(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::new(name, help))
    }

    fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels))
    }
}
