//! What sick neighbours do to healthy destinations: the same load without them, with them, and without them again.

use std::time::Duration;

use anyhow::Result;
use postrider_tests::wire::{Wire, post};

use crate::figure::Figure;
use crate::latency;
use crate::report::Report;
use crate::running::Running;
use crate::setup::{Answers, Setup};
use crate::stage::Stage;
use crate::steady::window;

/// Notifications for the module that never returns: all its slots, and a backlog.
const LOOPING: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);

/// What destinations that are not sick got.
struct Seen {
    /// Deliveries a second to as many of them as are healthy in both.
    rate: f64,
    /// Of the commit to the receiver, in milliseconds.
    p99: f64,
    disk: String,
}

pub(crate) async fn run(stage: &mut Stage<'_>, report: &mut Report, sick: Setup) -> Result<()> {
    let well = Setup { answers: Answers::Always, looping: false, ..sick };
    let healthy = (0..sick.destinations).filter(|place| sick.arrives(*place)).count();
    let share = healthy as f64 / sick.destinations as f64;
    let before = see(stage, well, share, None).await?;
    // Half of what they take when nothing is wrong, at which latencies can be compared.
    let pace = before.rate / share / well.fan() as f64 / 2.0;
    let beside = see(stage, sick, 1.0, Some(pace)).await?;
    let after = see(stage, well, share, Some(pace)).await?;
    let rate = f64::midpoint(before.rate, after.rate);
    report.add(Figure::rate(format!("delivered to {healthy} healthy ones, alone"), rate))?;
    report.add(Figure::rate("  their rate beside the sick", beside.rate))?;
    let ratio = Figure::ratio("  their rate, of that alone", beside.rate / rate);
    report.add(if sick.looping { ratio } else { ratio.at_least(0.95) })?;
    let p99 = f64::midpoint(before.p99, after.p99);
    let alone = Figure::new("commit -> receiver, half load, p99, alone", p99, "ms");
    report.add(alone.beside(before.disk).beside(after.disk))?;
    let sick = Figure::new("  their p99 beside the sick", beside.p99, "ms");
    report.add(sick.beside(beside.disk))?;
    report.add(Figure::cost("  their p99, of that alone", beside.p99 / p99).at_most(2.0))
}

async fn see(stage: &mut Stage<'_>, setup: Setup, share: f64, pace: Option<f64>) -> Result<Seen> {
    let running = stage.start(setup).await?;
    if setup.looping {
        loop_for_ever(&running).await;
    }
    let mut counter = stage.counter(&setup).await;
    (counter, _) = window(&running, counter, WARM_UP).await?;
    let (mut counter, window) =
        window(&running, counter, Duration::from_secs(stage.of(10, 3))).await?;
    let pace = pace.unwrap_or(window.delivered / setup.fan() as f64 / 2.0);
    let time = Duration::from_secs(stage.of(10, 3));
    let latency = latency::at(&running, &mut counter, pace, time).await?;
    running.end().await;
    let (p99, disk) = (latency.since_commit.percentile(0.99), latency.disk());
    Ok(Seen { rate: window.delivered * share, p99, disk })
}

async fn loop_for_ever(running: &Running) {
    let all = vec![r#"{"type":"loop"}"#; LOOPING].join(",");
    let request = post("/v1/notifications/batch", &format!("[{all}]"));
    Wire::connect(running.address()).await.ask(&request).await;
}
