//! `postrider plugin`: modules on the author's machine, and those that the daemon has.
//!
//! - `new`: a ready project; `language`: what it is made of.
//! - `build`: a project's module; `toolchain`: the tools of each language.
//! - `check`: whether this host can use a module, what it is and what it asks for.
//! - `test`: one notification, or a suite of cases, against a scripted receiver.
//! - `bench`: what a delivery costs.
//! - `conform`: what every good notifier does.
//! - `project`: what lies beside a module: its destination and a notification.
//! - `stage`: the module in this process, bound offline.
//! - `script`: the receiver's answers, and the requests that came.
//! - `case`, `expect`: the file of one case.

mod bench;
mod build;
mod case;
mod check;
mod conform;
mod expect;
mod language;
mod new;
mod project;
mod script;
mod stage;
mod test;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::{To, show};

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Writes a ready project of a notifier: sources, the contract, a payload, a destination file, a README.
    New(new::New),
    /// Builds a project's module, and says what to install where a tool is missing.
    Build(build::Build),
    /// Says whether this host can use a module, what it is and what it asks for. Exits with 1 when it cannot.
    Check(check::Arguments),
    /// Sends a notification through a module, offline: a scripted receiver answers. With cases, runs them as a suite.
    Test(test::Arguments),
    /// Measures what a delivery costs, with a fresh instance and with one that is used again, offline.
    Bench(bench::Arguments),
    /// Tries what every good notifier does, offline. Exits with 1 when something fails.
    Conform(conform::Arguments),
    /// Lists the modules that the daemon knows, and what is wrong with files that are not in force.
    List {
        #[command(flatten)]
        to: To,
    },
}

pub(super) async fn run(command: PluginCommand) -> Result<ExitCode> {
    match command {
        PluginCommand::Check(arguments) => return check::run(&arguments).await,
        PluginCommand::Test(arguments) => return test::run(&arguments).await,
        PluginCommand::Bench(arguments) => return bench::run(&arguments).await,
        PluginCommand::Conform(arguments) => return conform::run(&arguments).await,
        PluginCommand::New(given) => new::run(&given)?,
        PluginCommand::Build(given) => build::run(&given)?,
        PluginCommand::List { to } => {
            let found = to.client()?.get(&["v1", "plugins"], &[]).await?;
            show::list(&found, to.json, &["name", "version", "state", "sha256", "problem"])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
