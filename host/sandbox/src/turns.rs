//! How long computations share the guests' threads.
//!
//! A guest that computes for longer than a delivery should is a spinner, or heavy: from then on it asks for a turn
//! before each further slice. Turns of all such guests come one after the other: one a tick while nobody else is there,
//! so a hundred spinners together take no more than about one thread; and one in ten ticks beside short calls, which
//! then hardly notice, and which do not keep a heavy module from its work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The ticker's period, and so the length of a slice: a delivery waits for one of each call that computes before it.
pub(crate) const SLICE: Duration = Duration::from_millis(1);
/// Slices that a call computes without asking: the slowest language starts within them.
const FREE_SLICES: u32 = 30;
/// From one turn to the next beside short calls.
const BESIDE: Duration = Duration::from_millis(10);
/// Short calls count for so long after they ended.
const REMEMBERED: Duration = Duration::from_millis(50);

/// The queue of turns of one sandbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    shared: Arc<Shared>,
    alone: Duration,
}

struct Shared {
    next: Mutex<Instant>,
    began: Instant,
    /// Until when short calls count, in milliseconds since it began.
    short_until: AtomicU64,
}

impl Turns {
    /// With one thread only, every other slice is left to calls that begin.
    pub(crate) fn new(threads: usize) -> Self {
        let alone = if threads > 1 { SLICE } else { SLICE * 2 };
        let began = Instant::now();
        let (next, short_until) = (Mutex::new(began), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { next, began, short_until }), alone }
    }

    /// When a call that has computed for `slices` may go on.
    pub(crate) fn next(&self, slices: u32, now: Instant) -> Option<Instant> {
        if slices <= FREE_SLICES {
            return None;
        }
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.spacing(now);
        Some(turn)
    }

    /// Notes a call that ended, after it had computed for `slices`.
    pub(crate) fn ended(&self, slices: u32, now: Instant) {
        if slices <= FREE_SLICES {
            let until = self.millis(now + REMEMBERED);
            self.shared.short_until.store(until, Ordering::Relaxed);
        }
    }

    fn spacing(&self, now: Instant) -> Duration {
        let beside = self.millis(now) < self.shared.short_until.load(Ordering::Relaxed);
        if beside { BESIDE } else { self.alone }
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
    fn short_calls_never_wait_and_long_ones_take_turns() {
        let turns = Turns::new(2);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(turns.next(FREE_SLICES, now), None);
        assert_eq!(turns.next(FREE_SLICES + 1, now), Some(now));
        assert_eq!(turns.next(FREE_SLICES + 1, now), Some(now + SLICE));
        assert_eq!(turns.next(FREE_SLICES + 1, now + SLICE * 9), Some(now + SLICE * 9));
    }

    #[test]
    fn turns_are_rarer_beside_short_calls_and_not_for_long_ones() {
        let turns = Turns::new(2);
        let now = Instant::now() + Duration::from_secs(1);
        turns.ended(FREE_SLICES + 1, now);
        assert_eq!(turns.next(FREE_SLICES + 1, now), Some(now));
        turns.ended(FREE_SLICES, now);
        assert_eq!(turns.next(FREE_SLICES + 1, now), Some(now + SLICE));
        assert_eq!(turns.next(FREE_SLICES + 1, now), Some(now + SLICE + BESIDE));
        let later = now + REMEMBERED;
        assert_eq!(turns.next(FREE_SLICES + 1, later), Some(later));
        assert_eq!(turns.next(FREE_SLICES + 1, later), Some(later + SLICE));
    }
}
