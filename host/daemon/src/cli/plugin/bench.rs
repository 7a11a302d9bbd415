//! `postrider plugin bench`: what a delivery costs in the sandbox, without a network.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use postrider_core::units::{parse_bytes, parse_span};
use postrider_core::{Notification, Outcome, Reuse};
use postrider_sandbox::Notifier;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::project::Project;
use super::script::Scripted;
use super::stage::{Given, Stage, TempDir, mib, ms, sandbox};

/// Loads from the cache, of which the median counts.
const LOADS: usize = 9;
/// Part of the measured time that is run before, unmeasured.
const WARM_UP: u32 = 5;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The `.wasm` file, or the directory of its project.
    file: PathBuf,
    #[command(flatten)]
    given: Given,
    /// Size of the content, a JSON text.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_bytes)]
    content: u64,
    /// How long each way is measured.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_span)]
    time: Duration,
    /// Deliveries at once.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// Answers in JSON.
    #[arg(long)]
    json: bool,
}

/// What loading the module takes.
struct Load {
    compile: Option<Duration>,
    cached: Duration,
    /// What hashing a mebibyte takes here and now: the machine's own speed, to compare the other figures by.
    yardstick: Duration,
}

/// What deliveries cost one way.
struct Cost {
    name: &'static str,
    deliveries: u32,
    /// Processor time of a delivery.
    cpu: Duration,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Linear memory in bytes, of the largest.
    memory: u64,
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.time.is_zero() {
        bail!("--time: must be above zero");
    }
    let project = Project::of(&arguments.file)?;
    let load = load(&project).await?;
    let stage = Stage::open(&project, &arguments.given).await?;
    let mut notification = stage.notification()?;
    let size = usize::try_from(arguments.content).unwrap_or(usize::MAX).max(2);
    notification.content = format!("\"{}\"", "x".repeat(size - 2)).into();
    notification.content_type = "application/json".to_owned();
    let notification = Arc::new(notification);
    let mut costs = Vec::new();
    for (name, reuse) in [("fresh", None), ("reused", Some(Reuse::default()))] {
        let mut destination = stage.destination.clone();
        destination.reuse = reuse.map(|default| stage.destination.reuse.unwrap_or(default));
        // Lines cost by their number, which is the module's choice; nobody reads them here.
        let receiver = Scripted::forgetful();
        let notifier = stage
            .bind_to(&destination, &stage.secrets, receiver)
            .await
            .context("configure refuses; say with --config what it needs")?;
        run_for(&notifier, &notification, arguments, arguments.time / WARM_UP).await?;
        costs.push(measure(name, &notifier, &notification, arguments).await?);
    }
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{:#}", value(&stage, &load, &costs))?,
        false => write!(out, "{}", text(&stage, &load, &costs, arguments))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Compiles once into an empty cache, then loads from it as a daemon does that starts.
async fn load(project: &Project) -> Result<Load> {
    let cache = TempDir::new("bench")?;
    let bytes = bytes::Bytes::from(project.bytes()?);
    let compiling = sandbox(cache.path())?.load(&project.name, bytes.clone()).await?;
    let mut times = Vec::with_capacity(LOADS);
    for _ in 0..LOADS {
        let sandbox = sandbox(cache.path())?;
        let started = Instant::now();
        sandbox.load(&project.name, bytes.clone()).await?;
        times.push(started.elapsed());
    }
    let (cached, yardstick) = (at(&mut times, 50), yardstick());
    Ok(Load { compile: compiling.compiled(), cached, yardstick })
}

fn yardstick() -> Duration {
    let mebibyte = vec![7; 1 << 20];
    let mut times = [Duration::ZERO; LOADS];
    for time in &mut times {
        let started = Instant::now();
        std::hint::black_box(Sha256::digest(std::hint::black_box(&mebibyte)));
        *time = started.elapsed();
    }
    at(&mut times, 50)
}

async fn measure(
    name: &'static str,
    notifier: &Notifier,
    notification: &Arc<Notification>,
    arguments: &Arguments,
) -> Result<Cost> {
    let (cpu, started) = (cpu_time(), Instant::now());
    let (mut times, memory) = run_for(notifier, notification, arguments, arguments.time).await?;
    let (cpu, elapsed) = (cpu_time().saturating_sub(cpu), started.elapsed());
    let deliveries = u32::try_from(times.len()).unwrap_or(u32::MAX);
    Ok(Cost {
        name,
        deliveries,
        cpu: cpu / deliveries.max(1),
        per_second: f64::from(deliveries) / elapsed.as_secs_f64(),
        p50: at(&mut times, 50),
        p99: at(&mut times, 99),
        memory,
    })
}

/// The time of each delivery in its instance, and the most memory that one took. They are made where a daemon makes
/// them: on the threads of the guests.
async fn run_for(
    notifier: &Notifier,
    notification: &Arc<Notification>,
    arguments: &Arguments,
    time: Duration,
) -> Result<(Vec<Duration>, u64)> {
    let end = Instant::now() + time;
    let loops: Vec<_> = (0..arguments.in_flight)
        .map(|_| {
            let (told, ended) = oneshot::channel();
            let sending = send_until(end, notifier.clone(), notification.clone());
            notifier.start(Box::pin(async move { drop(told.send(sending.await)) }));
            ended
        })
        .collect();
    let (mut times, mut memory) = (Vec::new(), 0);
    for ended in loops {
        let (more, most) = ended.await.context("the sandbox panicked")??;
        times.extend(more);
        memory = memory.max(most);
    }
    Ok((times, memory))
}

async fn send_until(
    end: Instant,
    notifier: Notifier,
    notification: Arc<Notification>,
) -> Result<(Vec<Duration>, u64)> {
    let (mut times, mut memory) = (Vec::new(), 0);
    loop {
        let sent = notifier.send(&notification, 1, 0).await;
        if !matches!(sent.outcome, Outcome::Delivered(_)) {
            bail!(
                "the module does not deliver but answers {}: {}; see postrider plugin test",
                sent.outcome.label(),
                sent.outcome.reason()
            );
        }
        times.push(sent.usage.elapsed);
        memory = memory.max(sent.usage.memory);
        if Instant::now() >= end {
            return Ok((times, memory));
        }
        // Nothing else lets the other deliveries of this thread on.
        tokio::task::yield_now().await;
    }
}

/// The percentile of times.
fn at(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get(last * percent / 100).copied().unwrap_or_default()
}

/// Processor time of all threads of this process.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or_default())
}

fn us(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

fn value(stage: &Stage, load: &Load, costs: &[Cost]) -> Value {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let costs = costs.iter().map(|cost| {
        let of = json!({
            "deliveries": cost.deliveries, "cpu_us": micros(cost.cpu), "per_second": cost.per_second,
            "p50_us": micros(cost.p50), "p99_us": micros(cost.p99), "memory": cost.memory,
        });
        (cost.name.to_owned(), of)
    });
    let mut all: serde_json::Map<String, Value> = costs.collect();
    all.insert("module".to_owned(), stage.plugin.name().into());
    all.insert("sha256".to_owned(), stage.plugin.hash().into());
    all.insert("size".to_owned(), stage.plugin.size().into());
    let compile = load.compile.map(|compile| compile.as_secs_f64() * 1e3);
    all.insert("compile_ms".to_owned(), compile.into());
    all.insert("sha256_mib_us".to_owned(), micros(load.yardstick).into());
    all.insert("cached_load_ms".to_owned(), (load.cached.as_secs_f64() * 1e3).into());
    Value::Object(all)
}

fn text(stage: &Stage, load: &Load, costs: &[Cost], arguments: &Arguments) -> String {
    let d = stage.plugin.description();
    let mut text = format!("{} {}, {}\n", d.name, d.version, mib(stage.plugin.size() as u64));
    if let Some(compile) = load.compile {
        text += &format!("compile      {}\n", ms(compile));
    }
    text += &format!("cached load  {}\n", ms(load.cached));
    text += &format!("this machine  hashes 1 MiB (SHA-256) in {} µs\n\n", us(load.yardstick));
    text += &format!(
        "{} bytes of content, {} at once, no network\n",
        arguments.content, arguments.in_flight
    );
    text += "instance   cpu µs  deliveries/s     p50 µs     p99 µs     memory\n";
    for cost in costs {
        text += &format!(
            "{:<8} {:>8} {:>13.0} {:>10} {:>10} {:>10}\n",
            cost.name,
            us(cost.cpu),
            cost.per_second,
            us(cost.p50),
            us(cost.p99),
            mib(cost.memory)
        );
    }
    if cfg!(debug_assertions) {
        text += "this postrider is a debug build: its own part is many times slower than in a release\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times: Vec<Duration> = (1..=101).rev().map(Duration::from_micros).collect();
        assert_eq!(at(&mut times, 50), Duration::from_micros(51));
        assert_eq!(at(&mut times, 99), Duration::from_micros(100));
        assert_eq!(at(&mut [], 50), Duration::ZERO);
    }
}
