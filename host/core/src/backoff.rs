//! The delay before the next attempt. Pure: the number of the attempt and the dice come in.

use std::time::Duration;

use crate::policy::{Backoff, Schedule};

impl Backoff {
    /// The delay after `failed` budgeted attempts in a row (1 is the first), with `dice` in `0.0..1.0`.
    ///
    /// The exponential schedule is `min(initial × factor^(failed−1), cap)`, the one of the 2015 Clair notifier with
    /// its cap of 15 minutes. Jitter only adds, up to its share of the delay, so that no attempt comes early and a
    /// crowd that failed together does not come back together.
    pub fn delay(&self, failed: u32, dice: f64) -> Duration {
        let step = failed.saturating_sub(1);
        let base = match &self.schedule {
            Schedule::Exponential { initial, factor, cap } => {
                // Beyond 2^10 steps every factor above 1 has met any cap.
                let power = i32::try_from(step.min(1024)).unwrap_or(1024);
                let seconds = initial.as_secs_f64() * factor.powi(power);
                if seconds < cap.as_secs_f64() { Duration::from_secs_f64(seconds) } else { *cap }
            }
            Schedule::List(delays) => {
                let at = usize::try_from(step).unwrap_or(usize::MAX);
                delays.get(at).or(delays.last()).copied().unwrap_or_default()
            }
        };
        base + base.mul_f64(self.jitter.clamp(0.0, 1.0) * dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exponential(initial: u64, factor: f64, cap: u64, jitter: f64) -> Backoff {
        let schedule = Schedule::Exponential {
            initial: Duration::from_millis(initial),
            factor,
            cap: Duration::from_millis(cap),
        };
        Backoff { schedule, jitter }
    }

    #[test]
    fn the_default_doubles_from_five_seconds_to_fifteen_minutes() {
        let delays: Vec<u64> =
            (1..=10).map(|n| Backoff::default().delay(n, 0.0).as_secs()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(Backoff::default().delay(u32::MAX, 0.0).as_secs(), 900);
    }

    #[test]
    fn a_list_is_followed_and_its_last_delay_repeats() {
        let schedule = Schedule::List(vec![Duration::from_secs(1), Duration::from_secs(60)]);
        let backoff = Backoff { schedule, jitter: 0.0 };
        let delays: Vec<u64> = (1..=3).map(|n| backoff.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 60, 60]);
    }

    proptest! {
        #[test]
        fn delays_never_shrink_and_stay_within_cap_and_jitter(
            initial in 1u64..100_000, factor in 1.0f64..10.0, extra in 0u64..1_000_000,
            jitter in 0.0f64..1.0, dice in 0.0f64..1.0, failed in 1u32..5_000,
        ) {
            let backoff = exponential(initial, factor, initial + extra, jitter);
            let plain = backoff.delay(failed, 0.0);
            let cap = Duration::from_millis(initial + extra);
            prop_assert!(plain >= Duration::from_millis(initial).min(cap));
            prop_assert!(plain <= cap);
            prop_assert!(backoff.delay(failed + 1, 0.0) >= plain);
            let jittered = backoff.delay(failed, dice);
            prop_assert!(jittered >= plain);
            prop_assert!(jittered <= plain.mul_f64(1.0 + jitter) + Duration::from_nanos(1));
        }
    }
}
