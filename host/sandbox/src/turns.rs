//! When calls that compute for long go on, beside short ones: a thread of low priority is preempted, but it still wakes
//! up, fills caches, and shares a core with its sibling. So while short calls come, all that compute for long take turns,
//! one slice in [`BESIDE`] for each thread of the slow lane; and once none come, they only share its threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// From one turn to the next of a thread beside short calls.
const BESIDE: Duration = Duration::from_millis(10);
/// Short calls count for so long after they ended.
const REMEMBERED: Duration = Duration::from_millis(50);

/// The queue of turns of one sandbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    shared: Arc<Shared>,
    spacing: Duration,
}

struct Shared {
    next: Mutex<Instant>,
    began: Instant,
    /// Until when short calls count, in milliseconds since it began.
    short_until: AtomicU64,
}

impl Turns {
    /// For so many threads in the slow lane.
    pub(crate) fn new(threads: usize) -> Self {
        let began = Instant::now();
        let (next, short_until) = (Mutex::new(began), AtomicU64::new(0));
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        Self { shared: Arc::new(Shared { next, began, short_until }), spacing: BESIDE / threads }
    }

    /// When a call that computes for long may go on; none: now.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        if self.millis(now) >= self.shared.short_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.spacing;
        Some(turn)
    }

    /// Notes that a short call ended.
    pub(crate) fn was_short(&self, now: Instant) {
        self.shared.short_until.store(self.millis(now + REMEMBERED), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.shared.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_for_the_time_beside_short_calls_only() {
        let turns = Turns::new(2);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(turns.next(now), None);
        turns.was_short(now);
        let (turn, later) = (BESIDE / 2, now + REMEMBERED);
        assert_eq!(turns.next(now), Some(now));
        assert_eq!(turns.next(now), Some(now + turn));
        assert_eq!(turns.next(now + turn * 5), Some(now + turn * 5));
        assert_eq!(turns.next(later), None);
    }
}
