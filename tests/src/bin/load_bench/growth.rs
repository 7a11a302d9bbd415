//! The same work with more of everything, as a share of that with the least. Both daemons run all the time and are
//! measured in turn, since the machine does not stay the same for as long as it takes to grow.

use std::time::Duration;

use anyhow::Result;

use crate::drain::{self, fill};
use crate::figure::Figure;
use crate::numbers::median;
use crate::report::Report;
use crate::running::Running;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::steady::window;
use crate::target::Counter;

/// What of the rate with the least must be left.
const FLAT: f64 = 0.8;
const WARM_UP: Duration = Duration::from_secs(1);
/// Backlogs before the first that counts.
const SMALL_ONES: usize = 10;
const ROUNDS: usize = 3;

/// What a daemon did beside the smallest one.
struct Pair {
    smallest: f64,
    rate: f64,
    /// The median of the rounds'.
    ratio: f64,
}

/// Notifications that are stored, each with a delivery to a destination that is paused.
pub(crate) async fn stored(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let mut sizes = stage.of(vec![100_000, 1_000_000], vec![100_000]);
    sizes.extend(stage.huge.then_some(10_000_000));
    let setup = Setup { held: true, ..setup };
    let (smallest, running) = (stage.start(setup).await?, stage.start(setup).await?);
    let waiting = [setup.of_type("held")];
    for running in [&smallest, &running] {
        running.act("held", "pause").await?;
        fill(running, &waiting, 10_000).await;
    }
    let mut counter = stage.counter(&setup).await;
    let mut stored = 10_000;
    for size in sizes {
        fill(&running, &waiting, size - stored).await;
        stored = size;
        running.reset_peak();
        let (back, pair) = pair(stage, &smallest, &running, counter).await?;
        counter = back;
        tell(report, &format!("{size} stored"), "10,000", &pair, Some(FLAT))?;
        peak(report, &format!("{size} stored"), &running)?;
    }
    peak(report, "10000 stored", &smallest)?;
    smallest.end().await;
    running.end().await;
    Ok(())
}

/// Daemons with ever more destinations.
pub(crate) async fn destinations(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let sizes = stage.of(vec![10, 100, 500], vec![100]);
    let named = |size| (format!("{size} destinations"), Setup { destinations: size, ..setup });
    each(stage, report, setup, sizes.into_iter().map(named), Some(FLAT)).await
}

/// Daemons with ever more plugins, of equally many destinations.
pub(crate) async fn plugins(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let sizes = stage.of(vec![10, 50, 200], vec![50]);
    let named = |size| (format!("{size} plugins"), Setup { plugins: size, ..setup });
    each(stage, report, setup, sizes.into_iter().map(named), Some(FLAT)).await
}

/// Ever more daemons on one database, all on this one machine.
pub(crate) async fn hosts(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let named = |hosts| (format!("{hosts} hosts"), Setup { hosts, ..setup });
    each(stage, report, setup, [2, 4].map(named).into_iter(), None).await
}

/// A backlog between two smaller ones, of one daemon. As many small ones come before as its allocator needs to have
/// seen what it costs to hand such in: that is not what is asked here.
pub(crate) async fn backlog(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let (few, many) = stage.of((10_000, 200_000), (5_000, 20_000));
    let running = stage.start(setup).await?;
    let mut counter = stage.counter(&setup).await;
    for _ in 0..SMALL_ONES {
        drain::drain(&running, &mut counter, few).await?;
    }
    let before = drain::drain(&running, &mut counter, few).await?;
    let drained = drain::drain(&running, &mut counter, many).await?;
    let after = drain::drain(&running, &mut counter, few).await?;
    let smallest = f64::midpoint(before.rate, after.rate);
    let pair = Pair { smallest, rate: drained.rate, ratio: drained.rate / smallest };
    tell(report, &format!("backlog of {many}"), &few.to_string(), &pair, Some(FLAT))?;
    report.add(Figure::new("  peak resident memory while it drains", drained.peak_mib, "MiB"))?;
    let memory = drained.peak_mib / before.peak_mib;
    let figure = Figure::cost("  its memory, of that of the smallest", memory).at_most(1.0 / FLAT);
    report.add(figure.beside(format!("{:.0} MiB", before.peak_mib)))?;
    running.end().await;
    Ok(())
}

/// Each of these daemons beside the one of the first setup.
async fn each(
    stage: &mut Stage<'_>,
    report: &mut Report,
    first: Setup,
    setups: impl Iterator<Item = (String, Setup)>,
    goal: Option<f64>,
) -> Result<()> {
    let smallest = stage.start(first).await?;
    for (name, setup) in setups {
        let running = stage.start(setup).await?;
        let counter = stage.counter(&setup).await;
        let (_, pair) = pair(stage, &smallest, &running, counter).await?;
        tell(report, &name, "one", &pair, goal)?;
        peak(report, &name, &running)?;
        running.end().await;
    }
    peak(report, "one", &smallest)?;
    smallest.end().await;
    Ok(())
}

async fn pair(
    stage: &Stage<'_>,
    smallest: &Running,
    running: &Running,
    counter: Counter,
) -> Result<(Counter, Pair)> {
    let mut counter = counter;
    for running in [smallest, running] {
        (counter, _) = window(running, counter, WARM_UP).await?;
    }
    let time = Duration::from_secs(stage.of(5, 2));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (back, least) = window(smallest, counter, time).await?;
        let (back, most) = window(running, back, time).await?;
        counter = back;
        rounds.push((least.delivered, most.delivered));
    }
    let of = |value: fn(&(f64, f64)) -> f64| median(rounds.iter().map(value));
    let (smallest, rate, ratio) =
        (of(|(least, _)| *least), of(|(_, most)| *most), of(|(l, m)| m / l));
    Ok((counter, Pair { smallest, rate, ratio }))
}

fn tell(
    report: &mut Report,
    what: &str,
    smallest: &str,
    pair: &Pair,
    goal: Option<f64>,
) -> Result<()> {
    report.add(Figure::rate(format!("{what}: delivered"), pair.rate))?;
    let ratio = Figure::ratio(format!("  {what}, of {smallest}"), pair.ratio);
    let ratio = ratio.beside(format!("{:.0}/s, in turn", pair.smallest));
    report.add(goal.into_iter().fold(ratio, Figure::at_least))
}

fn peak(report: &mut Report, what: &str, running: &Running) -> Result<()> {
    let beside = format!("{} daemons, the largest", running.daemons.len());
    let figure = Figure::new(format!("  {what}, peak resident memory"), running.peak_mib(), "MiB");
    report.add(if running.daemons.len() > 1 { figure.beside(beside) } else { figure })
}
