//! The wasm target and the modules built for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{Workspace, run_command, say, succeeds, variable};

/// The notifier modules that come with postrider, as their files are called.
pub(crate) const MODULES: [&str; 2] = ["console", "webhook"];

/// What modules are built for.
const TARGET: &str = "wasm32-wasip2";
/// The profile of the root `Cargo.toml` that they are built with.
const PROFILE: &str = "module";
/// The packages of [`MODULES`].
const PACKAGES: [&str; 2] = ["postrider-console", "postrider-webhook"];
/// The guests that only tests use: whatever lies in `tests/guests`.
const TEST_PACKAGES: &str = "*-guest";

/// Builds the modules that come with postrider. Gives the directory they lie in.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    build_packages(workspace, &PACKAGES)
}

/// Builds them and the guests that only tests use. Gives the directory they lie in.
pub(crate) fn build_with_test_guests(workspace: &Workspace) -> Result<PathBuf> {
    build_packages(workspace, &[PACKAGES.as_slice(), &[TEST_PACKAGES]].concat())
}

/// Adds the target where it is missing.
pub(crate) fn add_target(workspace: &Workspace) -> Result<()> {
    if has_target(&workspace.root) {
        return Ok(());
    }
    // In the root, so that it is added to the toolchain that `rust-toolchain.toml` names.
    let rustup = |arguments: &[&str]| {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(&workspace.root).args(arguments);
        rustup
    };
    if !succeeds(&mut rustup(&["--version"])) {
        bail!(
            "the Rust target {TARGET} is missing and there is no rustup to add it; install rustup \
             (https://rustup.rs), or the package of your system that brings Rust's standard library for {TARGET}"
        );
    }
    say(&format!("adding the Rust target {TARGET}"))?;
    run_command(&mut rustup(&["target", "add", TARGET]))
}

/// Whether the toolchain has the target's standard library. Asks the compiler, which is there without rustup too.
fn has_target(root: &Path) -> bool {
    let mut rustc = Command::new(variable("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(root).args(["--print", "target-libdir", "--target", TARGET]);
    rustc.output().is_ok_and(|output| {
        output.status.success()
            && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

fn build_packages(workspace: &Workspace, packages: &[&str]) -> Result<PathBuf> {
    add_target(workspace)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--profile", PROFILE, "--target", TARGET]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    run_command(&mut cargo).context("the modules could not be built")?;
    Ok(workspace.target_dir.join(TARGET).join(PROFILE))
}
