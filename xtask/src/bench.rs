//! `cargo xtask bench`: figures with their yardsticks, from one run on this machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::counts::{self, Count};
use crate::examples::{self, EXAMPLES_VARIABLE};
use crate::modules;
use crate::test::{DAEMON_VARIABLE, MODULES_VARIABLE};
use crate::workspace::{Workspace, run_command};

/// What `bench` may be told: without a subcommand the whole daemon is put under load.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    load: LoadBench,
}

/// The benches of parts.
#[derive(Subcommand)]
enum Part {
    /// The API of the daemon: ingest, lists at a million rows, listeners, a good client beside bad ones
    Api(ApiBench),
    /// The queue alone, in SQLite and in a PostgreSQL cluster of its own
    Queue(QueueBench),
    /// The sandbox alone: what an instance costs, and the guarded client beside a bare one
    Sandbox,
    /// Instructions of a delivery, beside those that are kept in the repository
    Count(Count),
}

/// What the bench of the whole may be told.
#[derive(Args)]
struct LoadBench {
    /// Short rounds of a few scenarios: two minutes at most, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Also writes the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fails where a ratio to its yardstick is 15 % worse than in this file of an earlier run
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// `policy.concurrency` of every destination, instead of the daemon's default
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Growth up to ten million stored notifications
    #[arg(long)]
    huge: bool,
    /// Scenarios, such as `one-postgres`, or parts of their names; by default all
    scenarios: Vec<String>,
}

/// What the bench of the API may be told.
#[derive(Args)]
struct ApiBench {
    /// A tenth of the rows and requests
    #[arg(long)]
    quick: bool,
    /// An empty PostgreSQL database instead of SQLite, such as `postgres://me@db/bench`
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// What the bench of the queue may be told.
#[derive(Args)]
struct QueueBench {
    /// Small tables and short rounds: two minutes at most, and rougher figures
    #[arg(long)]
    quick: bool,
    /// Also writes the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Parts of scenarios' names, such as `postgres` or `drain`; by default all
    scenarios: Vec<String>,
}

/// Builds what is to be measured for release, then measures it.
pub(crate) fn run(workspace: &Workspace, bench: Bench) -> Result<()> {
    match bench.part {
        None => load(workspace, &bench.load),
        Some(Part::Api(options)) => api(workspace, &options),
        Some(Part::Queue(options)) => queue(workspace, options),
        Some(Part::Sandbox) => sandbox(workspace),
        Some(Part::Count(options)) => counts::run(workspace, &options),
    }
}

fn load(workspace: &Workspace, options: &LoadBench) -> Result<()> {
    let mut arguments: Vec<OsString> = Vec::new();
    for (flag, given) in [("--quick", options.quick), ("--huge", options.huge)] {
        arguments.extend(given.then(|| flag.into()));
    }
    for (flag, file) in [("--json", &options.json), ("--compare", &options.compare)] {
        arguments.extend(file.iter().flat_map(|file| [flag.into(), file.into()]));
    }
    let concurrency = options.concurrency.map(|concurrency| concurrency.to_string());
    arguments.extend(concurrency.into_iter().flat_map(|n| ["--concurrency".into(), n.into()]));
    arguments.extend(options.scenarios.iter().map(OsString::from));
    with_daemon(workspace, "load_bench", &arguments)
}

fn api(workspace: &Workspace, options: &ApiBench) -> Result<()> {
    let mut arguments: Vec<OsString> = Vec::new();
    if options.quick {
        arguments.push("--quick".into());
    }
    if let Some(database) = &options.database {
        arguments.extend(["--database".into(), database.into()]);
    }
    with_daemon(workspace, "api_bench", &arguments)
}

/// Builds the daemon and a bench of it, and runs the bench.
fn with_daemon(workspace: &Workspace, bench: &str, arguments: &[OsString]) -> Result<()> {
    let built = modules::build_with_test_guests(workspace)?;
    // Together, so that both get the same features of what they share, and it is built once.
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]))
        .context("the daemon and its bench could not be built")?;
    let release = workspace.target_dir.join("release");
    let mut bench = Command::new(release.join(bench));
    bench.args(arguments).env(MODULES_VARIABLE, built);
    bench.env(EXAMPLES_VARIABLE, workspace.target_dir.join(examples::FOLDER));
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
