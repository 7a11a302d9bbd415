//! One chunk of retention: which notifications are looked at, and what becomes of them. The stores read and write.

use postrider_core::retention::{Fate, Remains, Retention};

/// Most notifications that one chunk looks at.
pub(crate) const CHUNK_LOOKED: usize = 500;
/// A chunk ends with the notification that takes it to so many rows, attempts and deliveries included: its
/// transaction stays short.
pub(crate) const CHUNK_ROWS: u64 = 2_000;

/// What one chunk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub notifications: u64,
    pub deliveries: u64,
    pub attempts: u64,
    /// Contents that went while their notifications stayed.
    pub contents: u64,
    /// Where the next chunk goes on; none at the end of a pass.
    pub next: Option<i64>,
}

/// A notification that a chunk looks at.
pub(crate) struct Candidate {
    pub(crate) row: i64,
    pub(crate) remains: Remains,
    /// Its attempts.
    pub(crate) attempts: u64,
}

/// The rows of a chunk by what becomes of them. Whoever writes checks that none is live again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) go: Vec<i64>,
    pub(crate) lose_deliveries: Vec<i64>,
    pub(crate) lose_content: Vec<i64>,
    pub(crate) next: Option<i64>,
}

impl Chunk {
    /// `looked` in order, and fewer than [`CHUNK_LOOKED`] only at the end of the table.
    pub(crate) fn of(retention: &Retention, looked: &[Candidate]) -> Self {
        let mut chunk = Self::default();
        let mut rows = 0;
        for candidate in looked {
            let list = match retention.fate(&candidate.remains) {
                Fate::Stay => continue,
                Fate::LoseContent => &mut chunk.lose_content,
                Fate::LoseDeliveries => &mut chunk.lose_deliveries,
                Fate::Go => &mut chunk.go,
            };
            list.push(candidate.row);
            rows += 1 + candidate.remains.deliveries + candidate.attempts;
            if rows >= CHUNK_ROWS {
                chunk.next = Some(candidate.row);
                return chunk;
            }
        }
        // Those that come after young ones are younger, or will be looked at when they are old.
        let spares = |c: &Candidate| c.remains.fanned_out.is_none_or(|age| retention.spares(age));
        if looked.len() == CHUNK_LOOKED && !looked.iter().all(spares) {
            chunk.next = looked.last().map(|last| last.row);
        }
        chunk
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.go.is_empty() && self.lose_deliveries.is_empty() && self.lose_content.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OLD: Duration = Duration::from_secs(40 * 86_400);

    fn candidates(count: usize, age: Duration, attempts: u64) -> Vec<Candidate> {
        let rows = 1..=i64::try_from(count).unwrap();
        let remains = Remains { fanned_out: Some(age), ..Remains::default() };
        rows.map(|row| Candidate { row, remains: remains.clone(), attempts }).collect()
    }

    #[test]
    fn a_chunk_ends_at_so_many_rows_but_takes_at_least_one() {
        let chunk = Chunk::of(&Retention::default(), &candidates(3, OLD, CHUNK_ROWS * 9));
        assert_eq!((chunk.go, chunk.next), (vec![1], Some(1)));
        let chunk = Chunk::of(&Retention::default(), &candidates(CHUNK_LOOKED, OLD, 0));
        assert_eq!((chunk.go.len(), chunk.next), (CHUNK_LOOKED, Some(500)));
    }

    #[test]
    fn a_pass_ends_with_the_table_or_where_everything_is_young() {
        let end = Chunk::of(&Retention::default(), &candidates(3, OLD, 0));
        assert_eq!((end.go.len(), end.next), (3, None));
        let mut young = candidates(CHUNK_LOOKED, Duration::ZERO, 0);
        assert_eq!(Chunk::of(&Retention::default(), &young).next, None);
        young[7].remains.fanned_out = Some(OLD);
        young[7].remains.live = 1;
        assert_eq!(Chunk::of(&Retention::default(), &young).next, Some(500));
    }
}
