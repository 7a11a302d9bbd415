//! `postrider health`: for a container's or a balancer's check.

use anyhow::Result;
use clap::Args;

use super::{To, show};

#[derive(Args)]
pub(super) struct Given {
    /// Asks only whether a restart would help (`/livez`), not whether it can work now (`/readyz`).
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    to: To,
}

/// Fails where the daemon is not well, with its reasons.
pub(super) async fn run(given: &Given) -> Result<()> {
    let path = if given.live { "livez" } else { "readyz" };
    let answer = given.to.client()?.get(&[path], &[]).await?;
    match (given.to.json, given.live) {
        (true, _) => show::one(&answer, true),
        (false, true) => show::print("live\n"),
        (false, false) => show::print("ready\n"),
    }
}
