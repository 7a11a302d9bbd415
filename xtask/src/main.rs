//! The toolbox of this workspace: `cargo xtask <tool>`.
//!
//! - `workspace`: where things are, and how cargo is run.
//! - `modules`: the wasm target and the modules built for it.
//! - `plugins_dir`: what a fresh plugins directory holds.
//! - `examples`: the examples of notifiers, in every language.
//! - `counts`: instructions of a delivery, beside those that are kept.
//! - `serve`, `test`, `bench`, `fuzz_api`, `dist`, `deb`: one tool each.

mod bench;
mod counts;
mod deb;
mod dist;
mod examples;
mod fuzz_api;
mod modules;
mod plugins_dir;
mod serve;
mod test;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The toolbox of postrider's workspace")]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Builds everything, fills the plugins directory and runs the daemon
    Serve {
        /// Where the daemon keeps its data; by default `data` below the workspace
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Further flags of the daemon, such as `-- --listen 127.0.0.1:7412`
        #[arg(last = true)]
        flags: Vec<OsString>,
    },
    /// Builds the test modules and the daemon, then runs the tests
    Test {
        /// Arguments of the test runner, such as a part of a test's name; they leave the doc tests out
        #[arg(last = true)]
        filter: Vec<OsString>,
    },
    /// Builds for release and measures: the daemon under load, or a part of it alone
    Bench(bench::Bench),
    /// Tries the API by schemathesis: some thousand good and bad requests, made of its own description
    FuzzApi(fuzz_api::FuzzApi),
    /// Builds and tries the examples of notifiers in every language; installs their tools into the cache
    Examples(examples::Options),
    /// Puts the daemon, the modules and the contract into `dist` below the target directory
    Dist,
    /// Makes a Debian package of the daemon, its units and the modules; takes cargo-deb
    Deb {
        /// How the daemon is built
        #[arg(long, value_enum, default_value_t = deb::Profile::Release)]
        profile: deb::Profile,
        /// Takes the daemon that was built before
        #[arg(long)]
        no_build: bool,
    },
    /// Adds the target that modules are built for, where it is missing
    Target,
}

fn main() -> ExitCode {
    let Err(error) = run(Cli::parse().tool) else { return ExitCode::SUCCESS };
    // Not by returning the error: that would print a backtrace to people who have RUST_BACKTRACE set.
    let _written = workspace::say(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

fn run(tool: Tool) -> Result<()> {
    let workspace = Workspace::locate()?;
    if !matches!(tool, Tool::Target) {
        workspace::check_make()?;
    }
    match tool {
        Tool::Serve { data_dir, flags } => serve::run(&workspace, data_dir, &flags),
        Tool::Test { filter } => test::run(&workspace, &filter),
        Tool::Bench(bench) => bench::run(&workspace, bench),
        Tool::FuzzApi(options) => fuzz_api::run(&workspace, &options),
        Tool::Examples(options) => examples::run(&workspace, &options),
        Tool::Dist => dist::run(&workspace),
        Tool::Deb { profile, no_build } => deb::run(&workspace, profile, !no_build),
        Tool::Target => modules::add_target(&workspace),
    }
}
