//! How long computations share the guests' threads.
//!
//! A guest that computes for longer than a delivery should is a spinner, or heavy: from then on it asks for a turn
//! before each further slice. Turns of all such guests come one after the other, one a tick, so a hundred spinners
//! together take no more than about one thread, and a delivery beside them waits for a slice, not for a spinner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The ticker's period, and so the length of a slice: short enough for a fair share, long enough to cost nothing.
pub(crate) const SLICE: Duration = Duration::from_millis(10);
/// Slices that a call computes without asking: the slowest language starts within them.
const FREE_SLICES: u32 = 10;

/// The queue of turns of one sandbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    next: Arc<Mutex<Instant>>,
    spacing: Duration,
}

impl Turns {
    /// With one thread only, every other slice is left to short calls.
    pub(crate) fn new(threads: usize) -> Self {
        let spacing = if threads > 1 { SLICE } else { SLICE * 2 };
        Self { next: Arc::new(Mutex::new(Instant::now())), spacing }
    }

    /// When a call that has computed for `slices` may go on.
    pub(crate) fn next(&self, slices: u32, now: Instant) -> Option<Instant> {
        if slices <= FREE_SLICES {
            return None;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.spacing;
        Some(turn)
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
}
