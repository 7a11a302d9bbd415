//! Producers and deliveries at once, for as long as one likes.

use std::time::Duration;

use anyhow::Result;

use crate::bare::Bare;
use crate::figure::Figure;
use crate::latency::{self, Latency};
use crate::load::{Load, So};
use crate::numbers::median;
use crate::report::Report;
use crate::running::Running;
use crate::setup::{Answers, Module, Setup};
use crate::stage::Stage;
use crate::target::Counter;

/// Until every slot and queue is as full as it stays.
const RAMP: Duration = Duration::from_millis(700);

const WINDOW: Duration = Duration::from_secs(8);
const QUICK_WINDOW: Duration = Duration::from_millis(2_500);
/// How long latencies are measured.
const LATENCIES: Duration = Duration::from_secs(6);
const QUICK_LATENCIES: Duration = Duration::from_millis(1_500);

/// What a daemon did in a while.
pub(crate) struct Window {
    pub(crate) taken: f64,
    pub(crate) delivered: f64,
    /// Processor time of the daemons for a delivery, with its ingest, in µs.
    pub(crate) cpu_us: f64,
}

/// One measurement of each of what is compared.
struct Round {
    bare: Bare,
    transactions: Option<f64>,
    window: Window,
}

/// Rates, costs and latencies of a setup.
pub(crate) async fn run(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let running = stage.start(setup).await?;
    let mut counter = stage.counter(&setup).await;
    let mut before = counter.total().await;
    (counter, _) = window(&running, counter, RAMP).await?;
    let mut rounds = Vec::new();
    for _ in 0..stage.of(3, 2) {
        let (transactions, asked) = (stage.transactions()?, counter.total().await);
        let bare = stage.bare(&setup)?;
        // nginx counts the bare client's requests, too.
        before += counter.total().await - asked;
        let (back, window) = window(&running, counter, stage.of(WINDOW, QUICK_WINDOW)).await?;
        counter = back;
        rounds.push(Round { bare, transactions, window });
    }
    tell(report, &running, &rounds)?;
    // The others say the notification's id in another header, or are not asked for it.
    if setup.answers == Answers::Always && setup.module == Module::Webhook {
        let rate = median(rounds.iter().map(|round| round.window.delivered)) / 2.0;
        let time = stage.of(LATENCIES, QUICK_LATENCIES);
        let idle = latency::idle(&running, &mut counter, time).await?;
        tell_latency(report, "idle", &idle, (0.5, 1.5))?;
        let pace = rate / setup.fan() as f64;
        let half = latency::at(&running, &mut counter, pace, time).await?;
        tell_latency(report, "at half load", &half, (0.99, 20.0))?;
    }
    running.settled(counter.total().await - before).await?;
    let peak = Figure::new("peak resident memory of the daemon", running.peak_mib(), "MiB");
    report.add(if setup.plugins == 10 { peak.at_most(80.0) } else { peak })?;
    running.end().await;
    Ok(())
}

/// What a daemon sustains, after a while for it to fill up.
pub(crate) async fn window(
    running: &Running,
    counter: Counter,
    time: Duration,
) -> Result<(Counter, Window)> {
    let load = Load::start(running, counter).await;
    tokio::time::sleep(RAMP).await;
    let before = load.so(running);
    tokio::time::sleep(time).await;
    let after = load.so(running);
    Ok((load.finish().await?, between(before, after)))
}

fn between(before: So, after: So) -> Window {
    let seconds = (after.at - before.at).as_secs_f64();
    let delivered = (after.delivered - before.delivered) as f64;
    Window {
        taken: (after.taken - before.taken) as f64 / seconds,
        delivered: delivered / seconds,
        cpu_us: (after.cpu - before.cpu).as_secs_f64() * 1e6 / delivered,
    }
}

fn tell(report: &mut Report, running: &Running, rounds: &[Round]) -> Result<()> {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let setup = &running.setup;
    report.add(Figure::rate("taken in over HTTP", of(|round| round.window.taken)))?;
    let rate = of(|round| round.window.delivered);
    report.add(Figure::rate("delivered end to end", rate).beside(&running.says))?;
    if rounds.iter().all(|round| round.transactions.is_some()) {
        let transactions = |round: &Round| round.transactions.unwrap_or(f64::NAN);
        let ratio = median(rounds.iter().map(|r| r.window.delivered / transactions(r)));
        let beside = format!("{:.0} tx/s", median(rounds.iter().map(transactions)));
        let ratio = Figure::ratio("  of pgbench -N -c 32", ratio).beside(beside);
        report.add(match (goals(setup), setup.fan_out) {
            (true, true) => ratio.at_least(3.5),
            (true, false) => ratio.at_least(1.8),
            _ => ratio,
        })?;
    }
    let bare = format!("{:.0} requests/s", of(|round| round.bare.rate));
    let ratio = of(|round| round.window.delivered / round.bare.rate);
    // Not held against earlier runs: the disk counts for more here, and the bare client has none.
    report.add(Figure::new("  of the bare client", ratio, "x").beside(bare))?;
    let cpu = of(|round| round.window.cpu_us);
    report.add(Figure::new("daemon's CPU for 1,000 deliveries, with ingest", cpu / 1e3, "s"))?;
    let bare = format!("{:.1} µs a request", of(|round| round.bare.cpu_us));
    let cost = of(|round| round.window.cpu_us / round.bare.cpu_us);
    report.add(Figure::cost("  of the bare client's", cost).beside(bare))
}

/// Whether the goals of rates were meant for this.
fn goals(setup: &Setup) -> bool {
    let fair = matches!(setup.answers, Answers::Always | Answers::Nginx);
    let base = Setup { answers: setup.answers, ..Setup::new(setup.store, setup.destinations) };
    let alike = setup.content == base.content && setup.module == base.module;
    fair && alike && setup.hosts == 1 && setup.destinations <= 10
}

/// The goal is for one of the percentiles, in milliseconds.
pub(crate) fn tell_latency(
    report: &mut Report,
    when: &str,
    latency: &Latency,
    (goal, most): (f64, f64),
) -> Result<()> {
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let value = latency.since_commit.percentile(share);
        let whole = latency.since_post.percentile(share);
        let figure = Figure::new(format!("commit -> receiver, {when}, {name}"), value, "ms");
        let mut figure = figure.beside(format!("{whole:.2} ms since it was posted"));
        if share == goal {
            figure = figure.beside(latency.disk()).at_most(most);
        }
        report.add(figure)?;
    }
    Ok(())
}
