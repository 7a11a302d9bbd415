//! `delivery redeliver` and `delivery cancel`.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::show;

/// Which deliveries.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Their numbers.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "state", "destination", "reason", "note", "dry_run"])]
    ids: Vec<i64>,
    /// All that the query matches.
    #[arg(long, required_unless_present = "ids")]
    all: bool,
    /// redeliver: dead (the default), cancelled or pending; cancel: pending (the default) or leased; drop: dead.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this destination.
    #[arg(long)]
    destination: Option<String>,
    /// Only those whose last reason is this, to the letter.
    #[arg(long)]
    reason: Option<String>,
    /// Why it is done, for the audit.
    #[arg(long)]
    note: Option<String>,
    /// Counts them and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Does it, a thousand at a time, and prints what it came to.
pub(super) async fn run(client: &Client, action: &str, which: Which, as_json: bool) -> Result<()> {
    if which.all {
        return show::one(&by_query(client, action, &which).await?, as_json);
    }
    for id in &which.ids {
        let path = ["v1", "deliveries", &id.to_string(), action];
        show::delivery(&client.post(&path, String::new()).await?, as_json)?;
    }
    Ok(())
}

/// Shown on a terminal only: standard error, so that the answer stays what it is.
fn progress(action: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style =
        ProgressStyle::with_template("{spinner} {msg}: {human_pos} in {elapsed}, {per_sec}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(action.to_owned());
    bar
}

async fn by_query(client: &Client, action: &str, which: &Which) -> Result<Value> {
    let mut query = Map::new();
    query.insert("dry_run".to_owned(), which.dry_run.into());
    for (name, value) in [
        ("state", &which.state),
        ("destination", &which.destination),
        ("reason", &which.reason),
        ("note", &which.note),
    ] {
        query.extend(value.clone().map(|value| (name.to_owned(), value.into())));
    }
    let mut sums = [("found", 0), ("done", 0), ("gone", 0)];
    let progress = progress(action);
    loop {
        let body = Value::Object(query.clone()).to_string();
        let answer = client.post(&["v1", "deliveries", action], body).await?;
        for (name, sum) in &mut sums {
            *sum += answer.get(*name).and_then(Value::as_u64).unwrap_or(0);
        }
        let [(_, found), ..] = sums;
        progress.set_position(found);
        match answer.get("next") {
            None | Some(Value::Null) => break,
            Some(next) => drop(query.insert("after".to_owned(), next.clone())),
        }
    }
    progress.finish_and_clear();
    let [(_, found), (_, done), (_, gone)] = sums;
    Ok(json!({"found": found, "done": done, "content_gone": gone}))
}
