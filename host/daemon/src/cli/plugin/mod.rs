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
//! - `hand`: what asks a running daemon.

mod bench;
mod build;
mod case;
mod check;
mod conform;
mod expect;
mod hand;
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

use super::To;

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
    /// Shows one with the versions of it that are remembered.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Looks at the plugins directory now, also at files that could not be used before.
    Reload {
        /// Shows this plugin only.
        name: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// Takes a module out of use on every host; the version before it that worked takes its place.
    Quarantine {
        #[command(flatten)]
        which: hand::Which,
        /// Shown wherever the module is.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// Puts the version before the one in force back, where it worked, and quarantines the one in force.
    Rollback {
        /// Its name.
        name: String,
        /// Shown wherever the module is.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// Lets quarantined modules of a plugin be tried again.
    Release {
        #[command(flatten)]
        which: hand::Which,
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
        PluginCommand::List { to } => hand::list(&to.client()?, to.json).await?,
        PluginCommand::Reload { name, to } => {
            hand::reload(&to.client()?, name.as_deref(), to.json).await?;
        }
        PluginCommand::Quarantine { which, reason, to } => {
            hand::act(&to.client()?, "quarantine", which, reason, to.json).await?;
        }
        PluginCommand::Release { which, to } => {
            hand::act(&to.client()?, "release", which, None, to.json).await?;
        }
        PluginCommand::Rollback { name, reason, to } => {
            let which = hand::Which { name, sha256: None };
            hand::act(&to.client()?, "rollback", which, reason, to.json).await?;
        }
        PluginCommand::Show { name, to } => hand::show(&to.client()?, &name, to.json).await?,
    }
    Ok(ExitCode::SUCCESS)
}
