//! The short way in: a notification whose destinations have free slots, or so many ends that a place among those that
//! wait for one will do, is leased as it is stored, and its attempts start from memory. No claim has to find it.
//!
//! None goes this way while more waits for its destination than the last claim took, and claims bring what waits in the
//! queue to the same places: it is not overtaken for long.
//!
//! *Invariant:* a slot or place that is kept for a delivery is given to it or back, whatever becomes of the call and of
//! whoever made it.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use postrider_queue::{Enqueue, Enqueued, Lease, Queue, QueueError, Taking};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::places::{Kept, Placed};
use super::settler::Settler;
use super::{Shared, Waker, attempt};
use crate::registry::Registry;

/// What a running dispatcher starts attempts with. It ends when the last of those that came in by it does.
#[derive(Clone)]
pub(super) struct Door {
    shared: Arc<Shared>,
    settler: Settler,
}

/// Slots and places that are kept for deliveries while they are stored.
struct Places {
    door: Door,
    kept: Vec<Kept>,
}

/// One notification that comes in by the door.
struct Entering {
    places: Places,
    /// A stop waits for it.
    _token: TaskTrackerToken,
}

impl Waker {
    /// Stores a batch in one transaction and sees to it that its deliveries are tried: by itself where their
    /// destinations have free slots, else by waking the dispatcher.
    pub async fn enqueue(
        &self,
        queue: &Arc<dyn Queue>,
        mut batch: Vec<Enqueue>,
    ) -> Result<Vec<Enqueued>, QueueError> {
        // A claim takes many in one statement, and is no slower for them.
        let entering = if let [item] = &*batch { self.entering(item) } else { None };
        let Some((entering, item)) = entering.and_then(|one| Some((one, batch.pop()?))) else {
            let names = batch.iter().flat_map(|item| &item.destinations);
            let names: HashSet<String> = names.map(|target| target.destination.clone()).collect();
            let answers = queue.enqueue(batch).await?;
            self.wake_for(&names);
            return Ok(answers);
        };
        // A task of its own: whoever gives up waiting must not leave leases behind that nobody holds.
        let stored = tokio::spawn(entering.store(item)).await;
        let failed = |panic| QueueError::Unavailable(format!("storing failed: {panic}"));
        stored.map_err(failed)?.map(|answer| vec![answer])
    }

    /// Makes the dispatcher claim what was stored for these destinations, if there is one that takes it now.
    fn wake_for(&self, names: &HashSet<String>) {
        let shared = self.door().as_ref().map(|door| door.shared.clone());
        if shared.is_none_or(|shared| shared.takes_any(names)) {
            self.wake();
        }
    }

    /// A destination is left alone from now on: what waits for its slots on this host is handed back.
    pub fn rest(&self, destination: &str) {
        if let Some(Door { shared, settler }) = &*self.door() {
            shared.hand_back(destination, settler);
        }
    }

    /// Opens the door of a dispatcher that runs.
    pub(super) fn open(&self, shared: &Arc<Shared>, settler: &Settler) {
        *self.door() = Some(Door { shared: shared.clone(), settler: settler.clone() });
    }

    /// Closes it: what came in before is waited for with the attempts, and nothing comes after.
    pub(super) fn close(&self) {
        *self.door() = None;
    }

    fn entering(&self, item: &Enqueue) -> Option<Entering> {
        let door = self.door();
        let door = door.as_ref()?;
        let places = Places::of(door, item)?;
        Some(Entering { places, _token: door.shared.attempts.token() })
    }

    fn door(&self) -> MutexGuard<'_, Option<Door>> {
        self.0.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entering {
    async fn store(mut self, item: Enqueue) -> Result<Enqueued, QueueError> {
        let shared = self.places.door.shared.clone();
        let names = item.destinations.iter().map(|target| target.destination.clone()).collect();
        let (host, lease) = (shared.options.host, shared.options.lease);
        let destinations = self.places.kept.iter().map(|kept| kept.destination.clone()).collect();
        let taking = Taking { host, lease, destinations };
        // Taken before the call, so that the lease can only be older in our eyes than it is.
        let claimed = Instant::now();
        let taken = tokio::select! {
            biased;
            taken = shared.queue.enqueue_taking(item, taking) => taken?,
            // It may still be stored: its leases then expire.
            () = shared.hand_back.cancelled() => {
                return Err(QueueError::Unavailable("this host stops; send it again".to_owned()));
            }
        };
        shared.options.signals.taken(&taken.leases);
        let all = match taken.enqueued {
            Enqueued::Stored { deliveries, .. } => deliveries as usize,
            Enqueued::Existing { .. } | Enqueued::Conflict { .. } => 0,
        };
        let rest = all > taken.leases.len();
        let registry = shared.registry.load();
        for lease in taken.leases {
            self.places.take(&registry, lease, claimed);
        }
        if rest {
            shared.waker.wake_for(&names);
        }
        Ok(taken.enqueued)
    }
}

impl Places {
    /// Those that there are for a notification; none where there is none.
    fn of(door: &Door, item: &Enqueue) -> Option<Self> {
        if !item.is_immediate() {
            return None;
        }
        let registry = door.shared.registry.load();
        let names = item.destinations.iter().map(|target| &*target.destination);
        let kept = door.shared.keep(&registry, &item.notification, names);
        (!kept.is_empty()).then(|| Self { door: door.clone(), kept })
    }

    /// A lease takes what was kept for it.
    fn take(&mut self, registry: &Registry, lease: Lease, claimed: Instant) {
        let Door { shared, settler } = &self.door;
        let place = self.kept.iter().position(|kept| kept.destination == lease.destination);
        let Some(kept) = place.map(|place| self.kept.swap_remove(place)) else {
            return settler.settle(&lease, attempt::release(&lease));
        };
        let waiting = (lease, claimed);
        let placed = match kept.is_slot() {
            true => Placed::Begins(waiting),
            false => shared.take_place(&kept, waiting),
        };
        match placed {
            Placed::Waits => {}
            Placed::Begins(next) => {
                if !attempt::start_in(shared, registry, next, settler, None) {
                    shared.free_slot(&kept.destination, settler);
                }
            }
            Placed::Closed((lease, _)) => {
                shared.give_back(&kept, settler);
                settler.settle(&lease, attempt::release(&lease));
            }
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for kept in &self.kept {
            self.door.shared.give_back(kept, &self.door.settler);
        }
    }
}
