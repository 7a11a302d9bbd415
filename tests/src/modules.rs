//! The guests of the tests: where they are built, or built when first asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// A directory with guests that were built before, as the pipeline does once for all tests.
const BUILT: &str = "POSTRIDER_TEST_MODULES";
const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "module";
/// First-party modules, and whatever lies in `tests/guests`.
const PACKAGES: [&str; 3] = ["postrider-console", "postrider-webhook", "*-guest"];

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// The file of a guest, such as `fixture` or `webhook`. Builds all of them at the first call.
///
/// # Panics
/// Where they cannot be built: no test can go on then.
#[expect(clippy::panic, reason = "for tests only")]
pub fn module(name: &str) -> PathBuf {
    let directory =
        DIRECTORY.get_or_init(|| directory().unwrap_or_else(|error| panic!("{error:#}")));
    directory.join(format!("{name}.wasm"))
}

fn directory() -> Result<PathBuf> {
    if let Some(built) = std::env::var_os(BUILT) {
        return Ok(built.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).args(["build", "--profile", PROFILE, "--target", TARGET]);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let status = cargo.status().context("cargo does not start")?;
    if !status.success() {
        bail!("the guests could not be built; is the target there? rustup target add {TARGET}");
    }
    Ok(target(&root).join(TARGET).join(PROFILE))
}

/// The daemon's binary, built.
///
/// # Panics
/// Where it cannot be built: no test can go on then.
#[expect(clippy::panic, reason = "for tests only")]
pub fn daemon() -> PathBuf {
    let built = || -> Result<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let arguments = ["build", "--workspace", "--bins", "--tests", "--examples"];
        let status =
            cargo.current_dir(&root).args(arguments).status().context("cargo does not start")?;
        if !status.success() {
            bail!("the daemon could not be built");
        }
        Ok(target(&root).join("debug/postrider"))
    };
    built().unwrap_or_else(|error| panic!("{error:#}"))
}

fn target(root: &Path) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target)
}
