//! Instances that wait for another delivery of their destination, where it says `reuse`. One that trapped, timed out
//! or was cut off never gets here.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use postrider_core::Reuse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use wasmtime::Store;

use crate::bindings::Notifier;
use crate::context::Context;

/// An instance between two calls.
pub(crate) struct Live {
    pub(crate) store: Store<Context>,
    /// None until it was started.
    pub(crate) notifier: Option<Notifier>,
    born: Instant,
    used: u32,
    /// Its place among all instances that wait, while it does.
    place: Option<OwnedSemaphorePermit>,
}

/// The instances of one destination, by worker thread: their connections stay there.
pub(crate) struct Shelf {
    rules: Reuse,
    /// Places for waiting instances of all destinations.
    places: Arc<Semaphore>,
    waiting: Vec<Mutex<Waiting>>,
}

/// Those of one worker thread.
#[derive(Default)]
struct Waiting {
    instances: Vec<Live>,
    /// Somebody looks for those that have their age.
    watched: bool,
}

impl Live {
    pub(crate) fn new(store: Store<Context>) -> Self {
        Self { store, notifier: None, born: Instant::now(), used: 0, place: None }
    }
}

impl Shelf {
    pub(crate) fn new(rules: Reuse, places: Arc<Semaphore>, workers: usize) -> Arc<Self> {
        let waiting = (0..workers).map(|_| Mutex::default()).collect();
        Arc::new(Self { rules, places, waiting })
    }

    /// An instance that is still good. The one used last: its memory is warm, and the others may grow old.
    pub(crate) fn take(&self, worker: usize) -> Option<Live> {
        let mut waiting = self.of(worker)?;
        let mut live = waiting.instances.pop()?;
        // Those at work need none, so that what waits is as many as may, and not the first that ever waited.
        live.place = None;
        (live.born.elapsed() < self.rules.age).then_some(live)
    }

    /// Puts an instance back after a delivery, or throws it away.
    pub(crate) fn put(self: &Arc<Self>, worker: usize, mut live: Live) {
        live.used = live.used.saturating_add(1);
        let memory = live.store.data().limiter.memory();
        let is_worn = is_worn(&self.rules, live.used, live.born.elapsed(), memory);
        if is_worn || live.store.data_mut().is_crowded() {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        live.place = Some(place);
        let end = live.born + self.rules.age;
        let Some(mut waiting) = self.of(worker) else { return };
        waiting.instances.push(live);
        if !std::mem::replace(&mut waiting.watched, true) {
            tokio::spawn(bury(Arc::downgrade(self), worker, end));
        }
    }

    fn of(&self, worker: usize) -> Option<std::sync::MutexGuard<'_, Waiting>> {
        let waiting = self.waiting.get(worker)?;
        Some(waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends instances when they have their age, until none waits: nobody may ask for them again.
async fn bury(shelf: Weak<Shelf>, worker: usize, mut end: Instant) {
    loop {
        sleep_until(end).await;
        let Some(shelf) = shelf.upgrade() else { return };
        let Some(mut waiting) = shelf.of(worker) else { return };
        waiting.instances.retain(|live| live.born.elapsed() < shelf.rules.age);
        let Some(oldest) = waiting.instances.iter().map(|live| live.born).min() else {
            waiting.watched = false;
            return;
        };
        end = oldest + shelf.rules.age;
    }
}

/// Whether an instance has done its duty.
fn is_worn(rules: &Reuse, used: u32, age: Duration, memory: u64) -> bool {
    used >= rules.count || age >= rules.age || memory > rules.memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_age_and_memory_each_end_an_instance() {
        let rules = Reuse { count: 3, age: Duration::from_secs(10), memory: 100 };
        let second = Duration::from_secs(1);
        assert!(!is_worn(&rules, 2, second * 9, 100));
        assert!(is_worn(&rules, 3, second, 0));
        assert!(is_worn(&rules, 1, second * 10, 0));
        assert!(is_worn(&rules, 1, second, 101));
    }
}
