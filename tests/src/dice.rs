//! Chance that can be repeated from its seed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Where a seed is given, to repeat a run.
const SEED: &str = "POSTRIDER_TEST_SEED";

/// `SplitMix64`: small, and good enough to choose whom to kill.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of the environment, else one of its own for each run.
    pub fn seed() -> u64 {
        let given = std::env::var_os(SEED).and_then(|seed| seed.to_str()?.parse().ok());
        given.unwrap_or_else(|| RandomState::new().build_hasher().finish())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end.max(1) as u64).unwrap_or(0)
    }
}
