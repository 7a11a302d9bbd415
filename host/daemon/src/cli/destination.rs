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
        /// Its name.
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Lets its deliveries wait, on every host, until it is resumed.
    Pause {
        /// Its name.
        name: String,
        /// For those who find it paused.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        to: To,
    },
    /// Tries it again now: ends its pause, closes its breaker, and lifts the rest that it asked for.
    Resume {
        /// Its name.
        name: String,
        #[command(flatten)]
        to: To,
    },
    /// Sends it a marked notification and shows what came of it. Exits with 1 when it was not delivered.
    Test {
        /// Its name.
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
            let mut found = to.client()?.get(&["v1", "destinations"], &[]).await?;
            if !to.json {
                found = in_words(found);
            }
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

/// A pause as a table has room for it, and what is wrong only once.
fn in_words(mut found: Value) -> Value {
    let items = found.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        let paused = item.get("paused").filter(|paused| paused.is_object());
        if let Some([since, reason]) = paused.map(|paused| {
            ["since", "reason"].map(|name| paused.get(name).map(show::cell).unwrap_or_default())
        }) {
            let words = format!("since {since} {reason}").trim_end().to_owned();
            item.insert("paused".to_owned(), words.into());
        }
        if item.get("problem") == item.get("reason") {
            item.remove("problem");
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_in_words_and_a_problem_once() {
        let paused = json!({"since": "2026-11-28T05:14:31Z", "reason": "moving"});
        let told = in_words(json!({"items": [
            {"name": "a", "paused": paused, "reason": null, "problem": "line 3"},
            {"name": "b", "paused": null, "reason": "line 4", "problem": "line 4"},
        ]}));
        assert_eq!(told["items"][0]["paused"], "since 2026-11-28T05:14:31Z moving");
        assert_eq!(told["items"][0]["problem"], "line 3");
        assert_eq!(told["items"][1]["reason"], "line 4");
        assert_eq!(told["items"][1].get("problem"), None);
    }
}
