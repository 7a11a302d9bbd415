//! Removes what is finished and old enough, chunk by chunk.

use std::sync::Arc;
use std::time::Duration;

use postrider_queue::{Pruned, Queue};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::settings::Settings;

/// After the start there is more important work.
const FIRST: Duration = Duration::from_secs(60);

/// Runs until `stop`.
pub async fn run(queue: Arc<dyn Queue>, settings: Settings, stop: CancellationToken) {
    let mut plan = Plan::default();
    let mut wait = FIRST;
    let mut pass = Pruned::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        let began = Instant::now();
        let chunk = queue.prune(&settings.current().retention, plan.after).await;
        wait = plan.chunk(chunk.as_ref().ok(), began.elapsed());
        match chunk {
            Ok(chunk) => pass = add(pass, chunk),
            Err(error) => tracing::debug!(%error, "retention waits for the queue"),
        }
        if plan.after.is_none() {
            say(std::mem::take(&mut pass));
        }
    }
}

/// Two chunks as one.
pub fn add(sum: Pruned, chunk: Pruned) -> Pruned {
    Pruned {
        notifications: sum.notifications + chunk.notifications,
        deliveries: sum.deliveries + chunk.deliveries,
        attempts: sum.attempts + chunk.attempts,
        contents: sum.contents + chunk.contents,
        next: chunk.next,
    }
}

fn say(pass: Pruned) {
    if pass == Pruned::default() {
        return;
    }
    tracing::info!(
        pruned.notifications = pass.notifications,
        pruned.deliveries = pass.deliveries,
        pruned.attempts = pass.attempts,
        pruned.contents = pass.contents,
        "retention removed what was old enough"
    );
}
