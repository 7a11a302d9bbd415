//! Tokens that the store does not know: how often it is asked about them, however many are tried.
//!
//! Whoever guesses pays by waiting. An id that was just asked about in vain is answered from here, for so short a time
//! that a token which another host has made meanwhile works within a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an id is believed not to be there.
const ABSENT: Duration = Duration::from_secs(1);
/// From one question to the next: five hundred a second at most.
const PACE: Duration = Duration::from_millis(2);
/// Longest wait for the turn. Who would wait longer is told to come again, and holds no connection meanwhile.
const LONGEST: Duration = Duration::from_secs(2);
/// Most ids that are remembered; the pace makes fewer in their time.
const MOST: usize = 1_024;

/// What is known of those that nobody knows.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    absent: HashMap<String, Instant>,
    /// When the next question may be asked.
    free: Option<Instant>,
}

impl Strangers {
    /// Whether the store said a moment ago that there is no such id.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.inner().absent.get(id).is_some_and(|at| at.elapsed() < ABSENT)
    }

    /// When the store may be asked about an id; none where too many wait already.
    pub(super) fn turn(&self) -> Option<Instant> {
        let (mut inner, now) = (self.inner(), Instant::now());
        let turn = inner.free.map_or(now, |free| free.max(now));
        (turn - now <= LONGEST).then(|| {
            inner.free = Some(turn + PACE);
            turn
        })
    }

    /// Remembers that there is no such id.
    pub(super) fn note(&self, id: &str) {
        let mut inner = self.inner();
        if inner.absent.len() >= MOST {
            inner.absent.retain(|_, at| at.elapsed() < ABSENT);
        }
        if inner.absent.len() < MOST {
            inner.absent.insert(id.to_owned(), Instant::now());
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_waits_for_nobody_and_the_many_wait_in_turn() {
        let strangers = Strangers::default();
        let start = Instant::now();
        let turns: Vec<Instant> = std::iter::from_fn(|| strangers.turn()).collect();
        assert_eq!(turns[0], start);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == PACE));
        assert_eq!(*turns.last().unwrap() - start, LONGEST);
        tokio::time::advance(2 * LONGEST).await;
        assert_eq!(strangers.turn(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_absent_id_is_remembered_for_a_moment_and_so_many_at_most() {
        let strangers = Strangers::default();
        for number in 0..2 * MOST {
            strangers.note(&number.to_string());
        }
        assert!(strangers.knows("0") && !strangers.knows(&MOST.to_string()));
        tokio::time::advance(ABSENT).await;
        assert!(!strangers.knows("0"));
        strangers.note("new");
        assert!(strangers.knows("new"));
        assert_eq!(strangers.inner().absent.len(), 1);
    }
}
