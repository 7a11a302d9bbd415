//! A destination that a reload changed is tried again, whatever its breaker says.

use std::collections::BTreeMap;

use postrider_queue::{KeptDestination, Queue, QueueError};

use crate::registry::{Entry, Registry};

/// Closes the breakers of destinations whose text, module or secrets are others than before.
pub(super) async fn resume_changed(
    queue: &dyn Queue,
    (old, new): (&Registry, &Registry),
    kept: &BTreeMap<String, KeptDestination>,
) -> Result<(), QueueError> {
    let ready = new.ready().filter(|(name, entry)| {
        old.destination(name).is_some_and(|old| is_changed(old, entry, kept.get(*name)))
    });
    let changed: Vec<&str> = ready.map(|(name, _)| name).collect();
    if changed.is_empty() {
        return Ok(());
    }
    for blocked in queue.blocked().await? {
        let name = &*blocked.destination;
        if blocked.breaker.is_some() && changed.contains(&name) && queue.resume(name).await? {
            tracing::info!(destination.name = name, "changed; its breaker is closed");
        }
    }
    Ok(())
}

/// After a restart only what was kept is known of the one before.
fn is_changed(old: &Entry, new: &Entry, kept: Option<&KeptDestination>) -> bool {
    match (old.fingerprint.is_empty(), kept) {
        (false, _) => old.fingerprint != new.fingerprint,
        (true, Some(kept)) => {
            kept.text != new.text || (!kept.module.is_empty() && kept.module != new.module)
        }
        (true, None) => false,
    }
}
