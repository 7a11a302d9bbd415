//! How much waits for each of some destinations.

use std::time::Duration;

use crate::stats::{COUNTED, Rows};

/// Fewest rows of one destination that are counted, however many destinations there are.
const LEAST: u64 = 1_000;

/// What one destination has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    pub destination: String,
    /// Its live deliveries. The destinations share what is counted: [`COUNTED`] rows among all that are asked for, and
    /// 1,000 at least of each; beyond it the number is a lower bound.
    pub live: Rows,
    /// How long the delivery that has waited longest is overdue; none when nothing is due.
    pub oldest_due: Option<Duration>,
}

/// How far each of so many destinations is counted.
pub(crate) fn share(destinations: usize) -> u64 {
    (COUNTED / (destinations as u64).max(1)).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_many_destinations_costs_no_more_than_one_at_few() {
        assert_eq!(share(0), COUNTED);
        assert_eq!(share(1), COUNTED);
        assert_eq!(share(4), COUNTED / 4);
        assert_eq!(share(5_000), LEAST);
    }
}
