//! What waits for each destination, and what it gave up, for people to look at. Neither costs a scan of a big table.

use std::time::Duration;

use jiff::Timestamp;
use postrider_core::DeliveryId;

use crate::Rows;

/// Each number of a [`Backlog`] is counted no further than this, through an index.
pub const BACKLOG_COUNTED: u64 = 10_000;
/// Dead letters are looked at from the newest to no further than so many.
pub const DEAD_LOOKED: u64 = 10_000;
/// Most groups of dead letters, the largest first.
pub const DEAD_GROUPS: u64 = 500;

/// What waits for one destination, and what it gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub destination: String,
    /// Deliveries that had no attempt yet, or have their first one now.
    pub fresh: Rows,
    /// Those that are to be tried again.
    pub retries: Rows,
    /// Of both, those whose time has come.
    pub due: Rows,
    /// Among the newest [`DEAD_LOOKED`].
    pub dead: Rows,
    /// How long the delivery that has waited longest is overdue; none when nothing is due.
    pub oldest_due: Option<Duration>,
}

/// Dead letters of one destination that gave up for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    pub destination: String,
    pub cause: String,
    pub reason: String,
    pub count: u64,
    /// When the first and the last of them gave up.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The newest of them.
    pub newest: DeliveryId,
}

impl Backlog {
    pub(crate) fn of(destination: &str) -> Self {
        let exact = Rows::exact(0);
        let destination = destination.to_owned();
        Self {
            destination,
            fresh: exact,
            retries: exact,
            due: exact,
            dead: exact,
            oldest_due: None,
        }
    }

    /// Puts how many are dead beside what waits. Beyond [`DEAD_LOOKED`] nobody knows whose the others are.
    pub(crate) fn with_dead(mut waiting: Vec<Self>, dead: &[(String, u64)]) -> Vec<Self> {
        let all: u64 = dead.iter().map(|(_, count)| count).sum();
        let exact = all < DEAD_LOOKED;
        for one in &mut waiting {
            one.dead.exact = exact;
        }
        for (destination, count) in dead {
            let rows = Rows { count: *count, exact };
            match waiting.iter_mut().find(|one| one.destination == *destination) {
                Some(one) => one.dead = rows,
                None => waiting.push(Self { dead: rows, ..Self::of(destination) }),
            }
        }
        waiting.sort_by(|a, b| a.destination.cmp(&b.destination));
        waiting
    }
}
