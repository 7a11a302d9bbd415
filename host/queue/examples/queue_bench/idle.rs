//! What a host with nothing to do costs: looks, as often as the dispatcher makes them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tokio::time::interval;

use crate::report::{Figure, Goal, Report};
use crate::stage::Stage;

const DESTINATIONS: usize = 500;
/// The dispatcher's longest time between two looks.
const POLL: Duration = Duration::from_secs(1);
/// A session tells its numbers no sooner than this after the last time.
const TOLD: Duration = Duration::from_millis(1_200);
/// Of the kernel's clock for processes.
const TICKS_A_SECOND: f64 = 100.0;
/// Where processes' times are, in ticks, counted from the name's end: of the process, and of the kernel for it.
const TIMES: [usize; 2] = [11, 12];
/// Where a process's parent is.
const PARENT: usize = 1;

/// What was spent since the start.
struct Cost {
    transactions: f64,
    /// Seconds of a core.
    host: f64,
    server: f64,
}

pub(crate) async fn postgres(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let looks: u32 = if stage.quick { 6 } else { 30 };
    let database = stage.database().await?;
    let names: Vec<String> = (0..DESTINATIONS).map(|n| format!("idle-{n}")).collect();
    let server = stage.cluster()?.pid().context("the server is down")?;
    let mut watcher = PgConnection::connect(&stage.cluster()?.url()).await?;
    let mut polls = interval(POLL);
    // The first ones find no plan.
    for _ in 0..10 {
        database.queue.look(&names).await?;
    }
    tokio::time::sleep(TOLD).await;
    database.queue.look(&names).await?;
    polls.reset();
    let began = Instant::now();
    let before = Cost::so_far(&mut watcher, &database.name, server).await?;
    for _ in 0..looks {
        polls.tick().await;
        database.queue.look(&names).await?;
    }
    let after = Cost::so_far(&mut watcher, &database.name, server).await?;
    let rate = |of: fn(&Cost) -> f64| (of(&after) - of(&before)) / began.elapsed().as_secs_f64();
    report.add(
        Figure::new(
            format!("{DESTINATIONS} idle destinations: queries"),
            rate(|cost| cost.transactions),
            "/s",
        )
        .goal(Goal::AtMost(2.0))
        .beside("counted by the server, autovacuum's included, at one look a second"),
    )?;
    report.add(
        Figure::new("the host's share of a core", rate(|cost| cost.host) * 100.0, "%")
            .goal(Goal::AtMost(1.0))
            .beside("of the store's looks alone, without the daemon around it"),
    )?;
    let share = rate(|cost| cost.server) * 100.0;
    report.add(Figure::new("the server's share of a core", share, "%"))?;
    watcher.close().await?;
    database.close().await;
    Ok(())
}

impl Cost {
    async fn so_far(watcher: &mut PgConnection, database: &str, server: u32) -> Result<Self> {
        let counted = sqlx::query(
            "SELECT (xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = $1",
        );
        let transactions = counted.bind(database).fetch_one(watcher).await?.try_get(0)?;
        let (host, server) = (seconds_of(std::process::id())?, seconds_with_children(server)?);
        Ok(Self { transactions, host, server })
    }
}

/// The time of a process and of its children that live.
fn seconds_with_children(pid: u32) -> Result<f64> {
    let mut seconds = seconds_of(pid)?;
    for entry in std::fs::read_dir("/proc").context("/proc cannot be read")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has just ended is nobody's child any more.
        let Ok(fields) = fields_of(other) else { continue };
        if fields.get(PARENT).is_some_and(|parent| *parent == pid.to_string()) {
            seconds += seconds_of(other).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

fn seconds_of(pid: u32) -> Result<f64> {
    let fields = fields_of(pid)?;
    let ticks = TIMES.iter().map(|place| {
        let field = fields.get(*place).context("/proc is not Linux's")?;
        Ok(field.parse::<f64>()?)
    });
    let ticks: Result<Vec<f64>> = ticks.collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_A_SECOND)
}

/// What `/proc` says of a process after its name, which may hold anything.
fn fields_of(pid: u32) -> Result<Vec<String>> {
    let path = Path::new("/proc").join(pid.to_string()).join("stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let (_, fields) = text.rsplit_once(") ").context("/proc is not Linux's")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}
