//! `postrider plugin …`: notifier modules, most of it without a daemon.
//!
//! - `check`: whether this host can use a module.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::{To, show};

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Says whether this host can use a module, what it is and what it asks for. Exits with 1 when it cannot.
    Check {
        /// The `.wasm` file: a component or a core module.
        file: PathBuf,
        /// Answers in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the modules that the daemon knows, and what is wrong with files that are not in force.
    List {
        #[command(flatten)]
        to: To,
    },
}

pub(super) async fn run(command: PluginCommand) -> Result<ExitCode> {
    match command {
        PluginCommand::Check { file, json } => return check::run(&file, json).await,
        PluginCommand::List { to } => {
            let found = to.client()?.get(&["v1", "plugins"], &[]).await?;
            show::list(&found, to.json, &["name", "version", "state", "sha256", "problem"])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
