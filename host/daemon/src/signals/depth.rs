//! How much waits for each destination, and what the destinations' breakers say: asked for at most once in a moment,
//! however many want to know. `GET /metrics` does; others of the API may.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::BreakerState;
use postrider_queue::{Depth, Queue, QueueError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Signals;
use crate::registry::Registry;

/// All who ask within this time share one look at the queue.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// One destination as the queue knows it, whatever host serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub depth: Depth,
    /// None: it is closed.
    pub breaker: Option<BreakerState>,
    /// Somebody has paused it.
    pub paused: bool,
}

/// The last look.
#[derive(Default)]
pub(super) struct Depths(Mutex<Option<(Instant, Arc<[Standing]>)>>);

impl Signals {
    /// The registry's destinations, as they stood at most five seconds ago. A destination that came since is not among them yet.
    pub async fn standings(
        &self,
        queue: &dyn Queue,
        registry: &Registry,
    ) -> Result<Arc<[Standing]>, QueueError> {
        let mut last = self.0.depths.0.lock().await;
        if let Some((at, standings)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(standings.clone());
        }
        let standings: Arc<[Standing]> = look(queue, registry).await?.into();
        *last = Some((Instant::now(), standings.clone()));
        Ok(standings)
    }
}

async fn look(queue: &dyn Queue, registry: &Registry) -> Result<Vec<Standing>, QueueError> {
    let names: Vec<String> = registry.destinations().map(|(name, _)| name.to_owned()).collect();
    let depths = queue.depths(&names).await?;
    let (blocked, holds) = (queue.blocked().await?, queue.holds().await?);
    let standings = depths.into_iter().map(|depth| {
        let name = &depth.destination;
        let breaker = blocked.iter().find(|blocked| blocked.destination == *name);
        let paused = holds.iter().any(|hold| hold.destination == *name && hold.paused.is_some());
        let breaker = breaker.and_then(|blocked| Some(blocked.breaker.as_ref()?.state));
        Standing { breaker, paused, depth }
    });
    Ok(standings.collect())
}
