//! Time as the stores keep it: whole milliseconds since 1970.

use std::time::Duration;

use jiff::Timestamp;

/// Longest duration that enters a store, a century: sums of times then never overflow.
const LONGEST: i64 = 100 * 366 * 24 * 3_600 * 1_000;

/// A duration in whole milliseconds, rounded up: nothing is due before it was asked for.
pub(crate) fn of(duration: Duration) -> i64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    i64::try_from(millis).unwrap_or(LONGEST).min(LONGEST)
}

/// A duration in whole microseconds, as attempts keep theirs.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The duration of so many milliseconds; a negative one is none.
pub(crate) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The moment so many milliseconds after 1970; one that no calendar holds becomes the nearest that it does.
pub(crate) fn timestamp(millis: i64) -> Timestamp {
    let nearest = if millis < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(millis).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_is_a_whole_one() {
        assert_eq!(of(Duration::from_nanos(1)), 1);
        assert_eq!(of(Duration::from_millis(7)), 7);
        assert_eq!(of(Duration::ZERO), 0);
    }

    #[test]
    fn extremes_are_clamped() {
        assert_eq!(of(Duration::MAX), LONGEST);
        assert_eq!(duration(-1), Duration::ZERO);
        assert_eq!(timestamp(i64::MAX), Timestamp::MAX);
        assert_eq!(timestamp(i64::MIN), Timestamp::MIN);
    }
}
