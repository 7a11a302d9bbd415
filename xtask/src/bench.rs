//! `cargo xtask bench`: figures with their yardsticks, from one run on this machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::modules;
use crate::test::{DAEMON_VARIABLE, MODULES_VARIABLE};
use crate::workspace::{Workspace, run_command};

/// One of the benches.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The way of a notification through the daemon
    Way,
    /// The API of the daemon: ingest, lists at a million rows, listeners, a good client beside bad ones
    Api(ApiBench),
    /// The queue alone, in SQLite and in a PostgreSQL cluster of its own
    Queue(QueueBench),
    /// The sandbox alone: what an instance costs, and the guarded client beside a bare one
    Sandbox,
}

/// What the bench of the API may be told.
#[derive(Args, Default)]
pub(crate) struct ApiBench {
    /// A tenth of the rows and requests
    #[arg(long)]
    quick: bool,
    /// An empty PostgreSQL database instead of SQLite, such as `postgres://me@db/bench`
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// What the bench of the queue may be told.
#[derive(Args, Default)]
pub(crate) struct QueueBench {
    /// Small tables and short rounds: two minutes at most, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Also writes the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Parts of scenarios' names, such as `postgres` or `drain`; by default all
    scenarios: Vec<String>,
}

/// Builds what is to be measured for release, then measures it; by default everything, one after the other.
pub(crate) fn run(workspace: &Workspace, what: Option<Bench>) -> Result<()> {
    match what {
        Some(Bench::Way) => way(workspace),
        Some(Bench::Api(options)) => api(workspace, &options),
        Some(Bench::Queue(options)) => queue(workspace, options),
        Some(Bench::Sandbox) => sandbox(workspace),
        None => way(workspace)
            .and_then(|()| api(workspace, &ApiBench::default()))
            .and_then(|()| queue(workspace, QueueBench::default()))
            .and_then(|()| sandbox(workspace)),
    }
}

fn way(workspace: &Workspace) -> Result<()> {
    with_daemon(workspace, "way_bench", &[])
}

fn api(workspace: &Workspace, options: &ApiBench) -> Result<()> {
    let mut arguments = Vec::new();
    if options.quick {
        arguments.push("--quick");
    }
    if let Some(database) = &options.database {
        arguments.extend(["--database", database]);
    }
    with_daemon(workspace, "api_bench", &arguments)
}

/// Builds the daemon and a bench of it, and runs the bench.
fn with_daemon(workspace: &Workspace, bench: &str, arguments: &[&str]) -> Result<()> {
    let built = modules::build_with_test_guests(workspace)?;
    // Together, so that both get the same features of what they share, and it is built once.
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]))
        .context("the daemon and its bench could not be built")?;
    let release = workspace.target_dir.join("release");
    let mut bench = Command::new(release.join(bench));
    bench.args(arguments).env(MODULES_VARIABLE, built);
    run_command(bench.env(DAEMON_VARIABLE, release.join("postrider")))
}

fn queue(workspace: &Workspace, options: QueueBench) -> Result<()> {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "--locked", "-p", "postrider-queue", "--example", "queue_bench"]);
    run_command(&mut cargo).context("the bench of the queue could not be built")?;
    let mut bench = Command::new(workspace.target_dir.join("release/examples/queue_bench"));
    if options.quick {
        bench.arg("--quick");
    }
    if let Some(file) = options.json {
        bench.arg("--json").arg(file);
    }
    run_command(bench.args(options.scenarios))
}

fn sandbox(workspace: &Workspace) -> Result<()> {
    let built = modules::build_with_test_guests(workspace)?;
    // With the packages of the other benches, so that all share what was built.
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]);
    cargo.args(["-p", "postrider-sandbox", "--bins", "--example", "sandbox_bench"]);
    run_command(&mut cargo).context("the bench of the sandbox could not be built")?;
    let mut bench = Command::new(workspace.target_dir.join("release/examples/sandbox_bench"));
    run_command(bench.arg(built.join("fixture.wasm")))
}
