//! The command line.

mod check;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A notifier daemon with a durable queue and sandboxed WebAssembly notifiers.
#[derive(Parser)]
#[command(name = "postrider", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at notifier modules.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Says whether this host can use a module, what it is and what it asks for. Exits with 1 when it cannot.
    Check {
        /// The `.wasm` file: a component or a core module.
        file: PathBuf,
        /// Answers in JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command. Errors go to standard error, in one line.
pub async fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Plugin(PluginCommand::Check { file, json }) => check::run(&file, json).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _closed = writeln!(std::io::stderr(), "postrider: {error:#}").is_err();
            ExitCode::FAILURE
        }
    }
}
