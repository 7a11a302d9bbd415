//! Numbers about a store, for people and for admission. None of them costs a scan of a big table.

use std::time::Duration;

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub count: u64,
    /// Otherwise an estimate: of the database's statistics, or of the span of the rows' numbers.
    pub exact: bool,
}

/// What a store holds. Counts are exact up to [`crate::EXACT_SIZE`]; what is live, dead, cancelled or arrived is
/// counted through its own index, much further (see [`COUNTED`]), and beyond it the number is a lower bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub notifications: Rows,
    pub deliveries: Rows,
    /// None where the store cannot estimate it.
    pub attempts: Option<Rows>,
    /// Notifications that nobody has fanned out.
    pub arrived: Rows,
    pub live: Rows,
    pub dead: Rows,
    pub cancelled: Rows,
    /// How long the delivery that has waited longest is overdue; none when nothing is due.
    pub oldest_due: Option<Duration>,
    pub sizes: Sizes,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The whole database.
    pub total: u64,
    /// Of these, SQLite's log of what is not yet in the file.
    pub log: Option<u64>,
    /// Of these, room that pruning made and new rows will take.
    pub free: Option<u64>,
    /// By table, with its indexes.
    pub notifications: Option<u64>,
    pub deliveries: Option<u64>,
    pub attempts: Option<u64>,
}

/// What has an index of its own is counted no further than this: some 20 ms.
pub const COUNTED: u64 = 100_000;

impl Rows {
    pub(crate) fn exact(count: u64) -> Self {
        Self { count, exact: true }
    }

    /// Of a count that was stopped at `limit`, and what it may be instead.
    pub(crate) fn counted(count: u64, limit: u64, estimate: Option<u64>) -> Self {
        match count < limit {
            true => Self::exact(count),
            false => Self { count: estimate.unwrap_or(0).max(count), exact: false },
        }
    }
}
