//! `postrider dead`: deliveries that gave up.

use anyhow::Result;
use clap::Subcommand;

use super::{PageFlags, To, act, show};

#[derive(Subcommand)]
pub(super) enum DeadCommand {
    /// Lists the newest.
    List {
        /// Only those of this destination.
        #[arg(long)]
        destination: Option<String>,
        #[command(flatten)]
        page: PageFlags,
        #[command(flatten)]
        to: To,
    },
    /// Revives them with a fresh budget: those named, or by a query.
    Redeliver {
        #[command(flatten)]
        which: act::Which,
        #[command(flatten)]
        to: To,
    },
    /// Puts them away: they become cancelled, keep their history, and can still be redelivered.
    Drop {
        #[command(flatten)]
        which: act::Which,
        #[command(flatten)]
        to: To,
    },
}

pub(super) async fn run(command: DeadCommand) -> Result<()> {
    match command {
        DeadCommand::List { destination, page, to } => {
            let mut query = page.query();
            query.push(("state", "dead".to_owned()));
            query.extend(destination.map(|name| ("destination", name)));
            let found = to.client()?.get(&["v1", "deliveries"], &query).await?;
            let columns = ["id", "type", "destination", "cause", "attempts", "finished", "reason"];
            show::list(&found, to.json, &columns)
        }
        DeadCommand::Redeliver { which, to } => {
            act::run(&to.client()?, "redeliver", which, to.json).await
        }
        DeadCommand::Drop { which, to } => act::run(&to.client()?, "drop", which, to.json).await,
    }
}
