//! `postrider destination`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::{To, show};

/// Between two looks at a test's delivery.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(super) enum DestinationCommand {
    /// Lists the destinations that the daemon knows, and what is wrong with files that are not in force.
    List {
        #[command(flatten)]
        to: To,
    },
    /// Shows one.
    Show {
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Lets its deliveries wait, on every host, until it is resumed.
    Pause {
        name: String,
        /// For those who find it paused.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        to: To,
    },
    /// Tries it again now: ends its pause, closes its breaker, and lifts the rest that it asked for.
    Resume {
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Sends it a marked notification and shows what came of it. Exits with 1 when it was not delivered.
    Test {
        name: String,
        /// Seconds to wait for the outcome.
        #[arg(long, default_value_t = 30)]
        wait: u64,
        #[command(flatten)]
        to: To,
    },
}

pub(super) async fn run(command: DestinationCommand) -> Result<ExitCode> {
    match command {
        DestinationCommand::List { to } => {
            let found = to.client()?.get(&["v1", "destinations"], &[]).await?;
            show::list(
                &found,
                to.json,
                &["name", "plugin", "state", "paused", "breaker.state", "reason", "problem"],
            )?;
        }
        DestinationCommand::Show { name, to } => {
            show::one(&to.client()?.get(&["v1", "destinations", &name], &[]).await?, to.json)?;
        }
        DestinationCommand::Pause { name, reason, to } => {
            let body = json!({"reason": reason}).to_string();
            let path = ["v1", "destinations", &name, "pause"];
            show::one(&to.client()?.post(&path, body).await?, to.json)?;
        }
        DestinationCommand::Resume { name, to } => {
            let path = ["v1", "destinations", &name, "resume"];
            show::one(&to.client()?.post(&path, String::new()).await?, to.json)?;
        }
        DestinationCommand::Test { name, wait, to } => {
            return test(&to.client()?, &name, Duration::from_secs(wait), to.json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(client: &Client, name: &str, wait: Duration, as_json: bool) -> Result<ExitCode> {
    let sent = client.post(&["v1", "destinations", name, "test"], String::new()).await?;
    let delivery = sent.get("delivery").map(show::cell).unwrap_or_default();
    let began = Instant::now();
    loop {
        let found = client.get(&["v1", "deliveries", &delivery], &[]).await?;
        let state = found.get("state").and_then(Value::as_str).unwrap_or_default();
        let ended = !matches!(state, "pending" | "leased");
        if ended || began.elapsed() >= wait {
            let code = if state == "delivered" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            show::delivery(&found, as_json)?;
            return Ok(code);
        }
        sleep(LOOK).await;
    }
}
