//! `cargo xtask test`: all tests of the workspace.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::modules;
use crate::workspace::{Workspace, become_command, run_command, say, succeeds};

/// Where tests find the built modules.
pub(crate) const MODULES_VARIABLE: &str = "POSTRIDER_TEST_MODULES";
/// Where tests find the daemon's binary.
pub(crate) const DAEMON_VARIABLE: &str = "POSTRIDER_TEST_DAEMON";

/// Builds what the tests run, then runs them: doc tests first, so that the summary of the others ends the output.
/// Arguments are the test runner's; with any, doc tests are left out.
pub(crate) fn run(workspace: &Workspace, filter: &[OsString]) -> Result<()> {
    let modules = modules::build_with_test_guests(workspace)?;
    build_daemon(workspace)?;
    let cargo = |subcommand| {
        let mut cargo = workspace.cargo(subcommand);
        cargo.env(MODULES_VARIABLE, &modules);
        cargo.env(DAEMON_VARIABLE, workspace.target_dir.join("debug/postrider"));
        cargo
    };
    if filter.is_empty() {
        run_command(cargo("test").args(["--doc", "--workspace"]))?;
    }
    if succeeds(workspace.cargo("nextest").arg("--version")) {
        return become_command(cargo("nextest").args(["run", "--workspace"]).args(filter));
    }
    say("cargo-nextest is not installed: the tests run by `cargo test`, without its time limits")?;
    become_command(
        cargo("test")
            .args(["--workspace", "--lib", "--bins", "--tests", "--examples"])
            .args(filter),
    )
}

/// Runs one ignored test, which finds what it needs by an environment variable. The daemon is built by then.
pub(crate) fn run_ignored(workspace: &Workspace, test: &str, given: (&str, &Path)) -> Result<()> {
    let has_nextest = succeeds(workspace.cargo("nextest").arg("--version"));
    let mut cargo = workspace.cargo(if has_nextest { "nextest" } else { "test" });
    cargo.env(given.0, given.1);
    cargo.env(DAEMON_VARIABLE, workspace.target_dir.join("debug/postrider"));
    match has_nextest {
        true => cargo.args(["run", "--workspace", "--run-ignored", "only", test]),
        false => cargo.args(["--workspace", "--tests", test, "--", "--ignored"]),
    };
    run_command(&mut cargo)
}

/// Builds the daemon together with the tests: alone it would get other features of the shared dependencies, as
/// those that only tests ask for would be missing, and they would all be built twice.
pub(crate) fn build_daemon(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--workspace", "--bins", "--tests", "--examples"]))
        .context("the daemon and the tests could not be built")
}
