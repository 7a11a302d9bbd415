//! `postrider notification`.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{PageFlags, To, send, show};

#[derive(Subcommand)]
pub(super) enum NotificationCommand {
    /// Lists the newest.
    List {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        page: PageFlags,
        #[command(flatten)]
        to: To,
    },
    /// Shows one with its deliveries and every attempt.
    Show {
        /// Its UUID.
        id: String,
        #[command(flatten)]
        to: To,
    },
}

/// Which ones; all of it must fit.
#[derive(Args)]
pub(super) struct Wanted {
    /// Their type: * stands for any characters, ? for one.
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<String>,
    /// Their source, a pattern too.
    #[arg(long, value_name = "PATTERN")]
    source: Option<String>,
    /// A label; may be given again.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = send::label)]
    labels: Vec<(String, String)>,
    /// From this moment on: RFC 3339, or an age such as 2h.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Before this moment.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// arrived, malformed, unrouted, live, delivered, dead or cancelled.
    #[arg(long)]
    state: Option<String>,
}

pub(super) async fn run(command: NotificationCommand) -> Result<()> {
    match command {
        NotificationCommand::List { wanted, page, to } => {
            let query = [page.query(), wanted.query()].concat();
            let found = to.client()?.get(&["v1", "notifications"], &query).await?;
            let columns = ["id", "type", "source", "subject", "time", "fan_out", "malformed"];
            show::list(&found, to.json, &columns)
        }
        NotificationCommand::Show { id, to } => {
            let found = to.client()?.get_fields(&["v1", "notifications", &id]).await?;
            show::notification(&found, to.json)
        }
    }
}

impl Wanted {
    fn query(self) -> Vec<(&'static str, String)> {
        let labels: Vec<String> =
            self.labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let labels = (!labels.is_empty()).then(|| labels.join(","));
        [
            ("type", self.kind),
            ("source", self.source),
            ("label", labels),
            ("since", self.since),
            ("until", self.until),
            ("state", self.state),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }
}
