//! The real daemon under load, end to end: producers over HTTP, the queue, a fresh or reused sandbox, a receiver. Every
//! figure stands beside its goal and beside what the same machine does bare, measured in turn in the same run.
//!
//! `cargo xtask bench [--quick] [--json FILE] [--compare FILE] [SCENARIO…]` builds all of it for release and runs it.
//!
//! - `arguments`, `catalogue`: what to measure.
//! - `setup`, `stage`, `running`: the daemons, their destinations, and what they run beside.
//! - `receiver`, `target`: who gets the requests, a process of its own, and how it is asked what came.
//! - `load`, `paced`: the producers, at full speed and at a given one.
//! - `process`, `bare`, `yardsticks`: what processes used, and what the machine does without a daemon.
//! - `alone`, `queue_alone`, `sandbox_alone`: the parts without a daemon.
//! - `steady`, `latency`, `drain`, `beside`, `growth`, `quiet`: the scenarios.
//! - `numbers`, `figure`, `report`, `compare`: what is made of many, the table and its file, and the comparison with an earlier one.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench prints and may fail loudly, and its counts fit"
)]

mod alone;
mod arguments;
mod bare;
mod beside;
mod catalogue;
mod compare;
mod disk;
mod drain;
mod figure;
mod growth;
mod latency;
mod load;
mod numbers;
mod paced;
mod process;
mod queue_alone;
mod quiet;
mod receiver;
mod report;
mod running;
mod sandbox_alone;
mod setup;
mod stage;
mod steady;
mod target;
mod yardsticks;

use std::process::ExitCode;

use anyhow::Result;

use arguments::Arguments;
use report::Report;
use stage::Stage;

/// The daemon's, for what is measured here without it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<ExitCode> {
    // Before any thread, as in the daemon.
    if let Some(compiled) = postrider_sandbox::compile_child() {
        return Ok(compiled);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == receiver::WORD) {
        receiver::serve();
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::parse(words)?;
    // Read before an hour is spent.
    let earlier = arguments.compare.as_deref().map(compare::read).transpose()?;
    // One thread for the producers, and this one to ask and to wait.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(run(&arguments))?;
    report.finish(arguments.json.as_deref())?;
    let fallen = earlier.map(|earlier| compare::fallen(&earlier, report.figures()));
    for line in fallen.iter().flatten() {
        report.line(line)?;
    }
    if let Some(fallen) = &fallen {
        let allowed = compare::ALLOWED * 100.0;
        report.line(&format!("ratios that fell by more than {allowed:.0} %: {}", fallen.len()))?;
    }
    let good = report.is_whole() && fallen.is_none_or(|fallen| fallen.is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(arguments: &Arguments) -> Result<Report> {
    let mut report = Report::new(arguments.quick)?;
    let cluster = stage::cluster()?;
    let mut stage = Stage::set_up(arguments, cluster.as_ref()).await?;
    yardsticks::measure(&stage, &mut report)?;
    for scenario in &arguments.scenarios {
        report.begin(&scenario.name);
        match stage.lacks(&scenario.setup) {
            Some(why) => report.skipped(&why)?,
            // The others took long, and are worth having.
            None => match scenario.run(&mut stage, &mut report).await {
                Ok(()) => {}
                Err(error) => report.failed(&error)?,
            },
        }
    }
    Ok(report)
}
