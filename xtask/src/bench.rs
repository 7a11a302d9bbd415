//! `cargo xtask bench`: figures with their yardsticks, from one run on this machine.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::modules;
use crate::test::{DAEMON_VARIABLE, MODULES_VARIABLE};
use crate::workspace::{Workspace, run_command};

/// Builds the modules and the daemon for release, then runs the benches one after the other.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let built = modules::build_with_test_guests(workspace)?;
    // Together, so that both get the same features of what they share, and it is built once.
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--release", "--locked", "-p", "postrider", "-p", "postrider-tests"]))
        .context("the daemon and its bench could not be built")?;
    let release = workspace.target_dir.join("release");
    let mut way = Command::new(release.join("way_bench"));
    run_command(way.env(MODULES_VARIABLE, built).env(DAEMON_VARIABLE, release.join("postrider")))?;

    let mut queue = workspace.cargo("run");
    run_command(queue.args([
        "--release",
        "--locked",
        "-p",
        "postrider-queue",
        "--example",
        "queue_bench",
    ]))
}
