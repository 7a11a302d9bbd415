//! Claim -> settle: how fast, and what tables and snapshots do to it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use postrider_queue::{MAX_BATCH, Queue};
use tokio::task::block_in_place;

use crate::cpu;
use crate::host::Drain;
use crate::load::{BATCH, item};
use crate::report::{Figure, Goal, Report};
use crate::rounds::{pairs, rounds};
use crate::stage::{Database, Stage};
use crate::yardstick::{BARE_PAIR, BARE_TRANSACTION, ONE_ROW};

const DESTINATION: &str = "backlog";
/// A round that one by one takes no longer than.
const ROUND: Duration = Duration::from_secs(2);
/// Callers at once, as a host's loop, settler and API are.
const CALLERS: usize = 4;

const DRAIN: Drain =
    Drain { destination: DESTINATION, callers: CALLERS, batch: BATCH, most: 40_000, length: ROUND };
const ONE_BY_ONE: Drain = Drain { batch: 1, ..DRAIN };

/// The rate, batched and not.
pub(crate) async fn postgres(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let count = if stage.quick { 3 } else { 7 };
    let database = stage.database().await?;
    database.fill(DESTINATION, 1_000 + (4 * count + 1) * DRAIN.most).await?;
    database.analyze().await?;
    let queue = &database.queue;
    let pairs = pairs(count, || ONE_BY_ONE.run(queue), || DRAIN.run(queue)).await?;
    let batched =
        Figure::rate(format!("claim->settle, {BATCH} a call, {CALLERS} callers"), pairs.second);
    report.add(batched.goal(Goal::AtLeast(25_000.0)).beside(report.of(BARE_PAIR, pairs.second)))?;
    let single = Figure::rate(format!("claim->settle, one by one, {CALLERS} callers"), pairs.first);
    report.add(single.beside(report.of(ONE_ROW, pairs.first)))?;
    let ratio = Figure::new("batched / one by one", pairs.ratio, "x");
    report.add(ratio.goal(Goal::AtLeast(10.0)).beside("median of pairs"))?;
    let alone = rounds(count, || Drain { callers: 1, ..DRAIN }.run(queue)).await?;
    report.add(
        Figure::rate(format!("claim->settle, {BATCH} a call, 1 caller"), alone)
            .beside(report.of(BARE_PAIR, alone)),
    )?;
    let before = block_in_place(|| cpu::used(stage.cluster()?))?;
    let delivered = Drain { length: ROUND * 2, ..DRAIN }.count(queue).await?;
    let cost = block_in_place(|| cpu::used(stage.cluster()?))?.saturating_sub(before);
    let micros = cost.as_secs_f64() * 1e6 / crate::rounds::count(delivered);
    let figure = Figure::new("processor time of claim->settle, client and server", micros, "us");
    report.add(figure.beside("for a delivery; neighbours hardly move it"))?;
    let in_line = rounds(count, || DRAIN.run_in_line(queue)).await?;
    report.add(
        Figure::rate(format!("one claims {BATCH}, another settles"), in_line)
            .beside(report.of(BARE_PAIR, in_line))
            .beside("as the dispatcher does for one destination"),
    )?;
    database.close().await;
    Ok(())
}

pub(crate) async fn sqlite(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let count = if stage.quick { 3 } else { 7 };
    let queue = stage.sqlite().await?;
    // A fast machine takes all of every round, and some one by one.
    fill(&queue, 1_000 + (4 * count + 1) * DRAIN.most).await?;
    let pairs = pairs(count, || ONE_BY_ONE.run(&queue), || DRAIN.run(&queue)).await?;
    let batched =
        Figure::rate(format!("claim->settle, {BATCH} a call, {CALLERS} callers"), pairs.second);
    report.add(
        batched
            .goal(Goal::AtLeast(20_000.0))
            .beside(report.of(BARE_TRANSACTION, pairs.second))
            .beside("synchronous=FULL"),
    )?;
    let single = Figure::rate(format!("claim->settle, one by one, {CALLERS} callers"), pairs.first);
    report.add(single.beside(report.of(BARE_TRANSACTION, pairs.first)))?;
    report.add(Figure::new("batched / one by one", pairs.ratio, "x").beside("median of pairs"))?;
    let alone = rounds(count, || Drain { callers: 1, ..DRAIN }.run(&queue)).await?;
    report.add(
        Figure::rate(format!("claim->settle, {BATCH} a call, 1 caller"), alone)
            .beside(report.of(BARE_TRANSACTION, alone)),
    )?;
    queue.close().await;
    Ok(())
}

/// A big table beside a small one.
pub(crate) async fn size(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (small, big) = (stage.rows(100_000), stage.rows(1_000_000));
    let most = small / 5;
    let count = if stage.quick { 3 } else { 9 };
    let (fewer, more) = (filled(stage, small).await?, filled(stage, big).await?);
    let round = async |database: &Database| {
        let rate = Drain { most, ..DRAIN }.run(&database.queue).await;
        // As many rows in every round.
        database.fill(DESTINATION, most).await?;
        rate
    };
    let pairs = pairs(count, || round(&fewer), || round(&more)).await?;
    report.add(Figure::rate(format!("claim->settle beside {small} live rows"), pairs.first))?;
    report.add(Figure::rate(format!("claim->settle beside {big} live rows"), pairs.second))?;
    let ratio = Figure::new("the big one's share of the rate", pairs.ratio, "x");
    report.add(ratio.goal(Goal::AtLeast(0.7)).beside("median of pairs"))?;
    fewer.close().await;
    more.close().await;
    Ok(())
}

/// A database that somebody holds a snapshot in, as a dump does, beside one without.
pub(crate) async fn snapshot(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let count = if stage.quick { 4 } else { 12 };
    let rows = count * DRAIN.most + 1_000;
    let (free, held) = (filled(stage, rows).await?, filled(stage, rows).await?);
    let mut snapshot = held.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    sqlx::query("SELECT count(*) FROM destinations").execute(&mut *snapshot).await?;
    let early = pairs(count / 2, || DRAIN.run(&free.queue), || DRAIN.run(&held.queue)).await?;
    let late = pairs(count / 2, || DRAIN.run(&free.queue), || DRAIN.run(&held.queue)).await?;
    drop(snapshot);
    report.add(Figure::rate("claim->settle without a snapshot", late.first))?;
    report.add(Figure::rate("claim->settle beside a held snapshot", late.second))?;
    let ratio = Figure::new("the latter's share, second half of the run", late.ratio, "x");
    report.add(
        ratio
            .goal(Goal::AtLeast(0.7))
            .beside(format!("median of pairs; first half {:.2}", early.ratio))
            .beside(format!("{rows} rows claimed since the snapshot")),
    )?;
    free.close().await;
    held.close().await;
    Ok(())
}

/// A burst into a queue that was small when its statements were planned, and whose rows nobody has counted since.
pub(crate) async fn burst(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let rows = stage.rows(200_000);
    let count = if stage.quick { 3 } else { 5 };
    let known = filled(stage, rows).await?;
    let round = Drain { most: rows / count / 4, ..DRAIN };
    for (name, counted) in [("never counted", false), ("counted while idle", true)] {
        let fresh = stage.database().await?;
        work_a_little(&fresh).await?;
        if counted {
            fresh.analyze().await?;
            work_a_little(&fresh).await?;
        }
        fresh.fill(DESTINATION, rows).await?;
        let pairs = pairs(count, || round.run(&known.queue), || round.run(&fresh.queue)).await?;
        let figure = Figure::rate(format!("claim->settle after a burst, {name}"), pairs.second);
        report.add(figure.beside(format!("{:.0}/s where the rows are counted", pairs.first)))?;
        let ratio = Figure::new("its share of the rate", pairs.ratio, "x");
        report.add(ratio.goal(Goal::AtLeast(0.7)).beside("median of pairs"))?;
        fresh.close().await;
    }
    known.close().await;
    Ok(())
}

/// Has every statement run more often on each connection than a server plans it anew.
async fn work_a_little(database: &Database) -> Result<()> {
    for _ in 0..20 {
        fill(&database.queue, CALLERS * 8).await?;
        Drain { batch: 8, ..DRAIN }.run_dry(&database.queue).await?;
    }
    Ok(())
}

async fn filled(stage: &mut Stage, rows: usize) -> Result<Database> {
    let database = stage.database().await?;
    database.fill(DESTINATION, rows).await?;
    database.analyze().await?;
    Ok(database)
}

async fn fill(queue: &Arc<dyn Queue>, rows: usize) -> Result<()> {
    let mut left = rows;
    while left > 0 {
        let batch = left.min(MAX_BATCH);
        queue.enqueue((0..batch).map(|_| item(DESTINATION)).collect()).await?;
        left -= batch;
    }
    Ok(())
}
