//! The same work with more of everything, as a share of that with the least. Each rate is taken beside the bare client's
//! of its moment, since the machine does not stay the same for so long.

use std::time::Duration;

use anyhow::Result;

use crate::drain::{self, fill};
use crate::figure::Figure;
use crate::report::Report;
use crate::running::Running;
use crate::setup::Setup;
use crate::stage::Stage;
use crate::steady::window;
use crate::target::Counter;

/// What of the rate with the least must be left.
const FLAT: f64 = 0.8;
const WARM_UP: Duration = Duration::from_secs(1);
/// Measured in turn with the bare client, so often.
const ROUNDS: usize = 3;

/// One size of what grows.
struct Point {
    rate: f64,
    /// Of the bare client's.
    ratio: f64,
    peak_mib: f64,
}

/// Notifications that are stored, each with a delivery to a destination that is paused.
pub(crate) async fn stored(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let mut sizes = stage.of(vec![10_000, 100_000, 1_000_000], vec![10_000, 100_000]);
    sizes.extend(stage.huge.then_some(10_000_000));
    let setup = Setup { held: true, ..setup };
    let running = stage.start(setup).await?;
    running.act("held", "pause").await?;
    let mut counter = stage.counter(&setup).await;
    let (mut stored, mut first) = (0, None);
    for size in sizes {
        fill(&running, &[setup.of_type("held")], size - stored).await;
        stored = size;
        running.reset_peak();
        let (back, point) = point(stage, &running, counter).await?;
        counter = back;
        tell(report, &format!("{size} stored"), &point, first.get_or_insert(point.ratio))?;
    }
    running.end().await;
    Ok(())
}

/// Daemons with ever more destinations.
pub(crate) async fn destinations(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let sizes = stage.of(vec![1, 10, 100, 500], vec![1, 100]);
    let named = |size| (format!("{size} destinations"), Setup { destinations: size, ..setup });
    each(stage, report, sizes.into_iter().map(named)).await
}

/// Daemons with ever more plugins, of equally many destinations.
pub(crate) async fn plugins(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let sizes = stage.of(vec![1, 10, 50, 200], vec![1, 50]);
    let named = |size| (format!("{size} plugins"), Setup { plugins: size, ..setup });
    each(stage, report, sizes.into_iter().map(named)).await
}

/// Ever more daemons on one database.
pub(crate) async fn hosts(stage: &mut Stage<'_>, report: &mut Report, setup: Setup) -> Result<()> {
    let named = |hosts| (format!("{hosts} hosts"), Setup { hosts, ..setup });
    let mut first = None;
    for (name, setup) in [1, 2, 4].map(named) {
        let running = stage.start(setup).await?;
        let counter = stage.counter(&setup).await;
        let (_, point) = point(stage, &running, counter).await?;
        let ratio = point.ratio / *first.get_or_insert(point.ratio);
        report.add(Figure::rate(format!("{name}: delivered end to end"), point.rate))?;
        report.add(
            Figure::ratio(format!("  {name}, of that of one"), ratio)
                .beside("beside the bare client's"),
        )?;
        report.add(Figure::new(
            format!("  {name}, peak resident memory of any"),
            point.peak_mib,
            "MiB",
        ))?;
        running.end().await;
    }
    Ok(())
}

/// Backlogs of two sizes, each delivered by a daemon of its own.
pub(crate) async fn backlog(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setup: Setup,
) -> Result<()> {
    let mut first = None;
    for rows in stage.of([10_000, 200_000], [5_000, 20_000]) {
        let running = stage.start(setup).await?;
        let mut counter = stage.counter(&setup).await;
        let bare = stage.bare(&setup)?;
        let drained = drain::drain(&running, &mut counter, rows).await?;
        let (ratio, peak_mib) = (drained.rate / bare.rate, drained.peak_mib);
        let point = Point { rate: drained.rate, ratio, peak_mib };
        let (first_ratio, first_peak) = *first.get_or_insert((ratio, peak_mib));
        tell(report, &format!("backlog of {rows}"), &point, &first_ratio)?;
        let figure = Figure::cost(
            format!("  backlog of {rows}, memory of that of the smallest"),
            peak_mib / first_peak,
        );
        report.add(figure.at_most(1.0 / FLAT))?;
        running.end().await;
    }
    Ok(())
}

async fn each(
    stage: &mut Stage<'_>,
    report: &mut Report,
    setups: impl Iterator<Item = (String, Setup)>,
) -> Result<()> {
    let mut first = None;
    for (name, setup) in setups {
        let running = stage.start(setup).await?;
        let counter = stage.counter(&setup).await;
        let (_, point) = point(stage, &running, counter).await?;
        tell(report, &name, &point, first.get_or_insert(point.ratio))?;
        running.end().await;
    }
    Ok(())
}

async fn point(stage: &Stage<'_>, running: &Running, counter: Counter) -> Result<(Counter, Point)> {
    let (mut counter, _) = window(running, counter, WARM_UP).await?;
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let bare = stage.bare(&running.setup)?;
        let time = Duration::from_secs(stage.of(5, 2));
        let (back, window) = window(running, counter, time).await?;
        counter = back;
        rates.push(window.delivered);
        ratios.push(window.delivered / bare.rate);
    }
    let (rate, ratio) = (crate::numbers::median(rates), crate::numbers::median(ratios));
    Ok((counter, Point { rate, ratio, peak_mib: running.peak_mib() }))
}

fn tell(report: &mut Report, what: &str, point: &Point, first: &f64) -> Result<()> {
    report.add(Figure::rate(format!("{what}: delivered"), point.rate))?;
    let ratio = Figure::ratio(format!("  {what}, of the smallest"), point.ratio / first);
    report.add(ratio.at_least(FLAT).beside("beside the bare client's"))?;
    report.add(Figure::new(format!("  {what}, peak resident memory"), point.peak_mib, "MiB"))
}
