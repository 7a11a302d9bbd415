//! Tells the other hosts of this one, again and again, and takes leave at the end.

use std::sync::Arc;
use std::time::Duration;

use postrider_queue::{HostBeat, Queue};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::registry::{Registry, SharedRegistry, Status};

/// Several of them within the time after which a silent host counts as gone.
const EVERY: Duration = Duration::from_secs(10);
/// Longest wait at a stop; who does not take leave counts as gone soon anyway.
const LEAVE: Duration = Duration::from_secs(1);

/// Runs until `stop`. `told` is what never changes; the destinations are the registry's.
pub async fn run(
    queue: Arc<dyn Queue>,
    registry: Arc<SharedRegistry>,
    told: HostBeat,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _at = ticks.tick() => {}
        }
        let beat = HostBeat { destinations: in_force(&registry.load()), ..told.clone() };
        if let Err(error) = queue.beat(&beat).await {
            tracing::debug!(%error, "the other hosts could not be told of this one");
        }
    }
    if let Ok(Err(error)) = timeout(LEAVE, queue.leave(told.id)).await {
        tracing::debug!(%error, "this host could not take leave");
    }
}

/// The names that are kept for a restart, too.
fn in_force(registry: &Registry) -> Vec<String> {
    let in_force = registry.destinations().filter(|(_, e)| !matches!(e.status, Status::Off(_)));
    in_force.map(|(name, _)| name.to_owned()).collect()
}

/// The machine's name, for people.
pub fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_no_proc| std::fs::read_to_string("/etc/hostname"));
    name.map_or_else(|_unnamed| "unknown".to_owned(), |name| name.trim().to_owned())
}
