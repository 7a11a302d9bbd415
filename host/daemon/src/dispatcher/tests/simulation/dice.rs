//! Chance from a seed: splitmix64. One seed, one run.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

thread_local! {
    /// The state of [`jitter`]: a dispatcher takes its dice as a plain function.
    static JITTER: Cell<u64> = const { Cell::new(0) };
}

/// Dice that everything in one world throws, in the order in which it happens.
pub(super) struct Dice(Mutex<u64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        JITTER.set(seed);
        Self(Mutex::new(seed))
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        next(&mut self.0.lock().unwrap()) % end
    }

    /// True so many times in a thousand.
    pub(super) fn permille(&self, share: u64) -> bool {
        self.below(1_000) < share
    }

    pub(super) fn of<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    pub(super) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// The dispatchers' dice.
pub(super) fn jitter() -> f64 {
    let mut state = JITTER.get();
    let thrown = next(&mut state);
    JITTER.set(state);
    f64::from(u32::try_from(thrown >> 32).unwrap()) / f64::from(u32::MAX)
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
