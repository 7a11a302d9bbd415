//! Where claims begin to look.
//!
//! PostgreSQL keeps the index entries of what was claimed until a vacuum, and a long snapshot anywhere keeps vacuum
//! from taking them. A claim that begins at the index's start walks over all of them, ever more slowly. So a claim begins where the last one ended, and only now
//! and then at the start, for what became visible late or came due out of order.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::moment::Moment;

/// Shortest time between two looks from the start.
pub(super) const FULL: Duration = Duration::from_secs(2);
/// A look from the start takes at most this share of the time.
const FULL_SHARE: u32 = 20;
/// While there is no backlog, claims reach so far back, in milliseconds: a transaction that took longer to commit is
/// found by the next look from the start.
const SLACK: i64 = 250;

/// The marks of every destination.
#[derive(Debug, Default)]
pub(super) struct Watermarks(Mutex<HashMap<String, Mark>>);

#[derive(Debug)]
struct Mark {
    /// The latest due of a claimed first attempt, and of a claimed retry.
    lanes: [Moment; 2],
    /// The last claim brought as many as were asked for.
    backlog: bool,
    next_full: Option<Instant>,
}

impl Default for Mark {
    fn default() -> Self {
        Self { lanes: [Moment::MIN; 2], backlog: false, next_full: None }
    }
}

/// Where to look for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct From {
    pub(super) fresh: Moment,
    pub(super) retry: Moment,
    /// From the start.
    pub(super) full: bool,
}

impl Watermarks {
    pub(super) fn from(&self, destination: &str, now: Instant) -> From {
        let mut marks = self.marks();
        let mark = match marks.get_mut(destination) {
            Some(mark) => mark,
            None => marks.entry(destination.to_owned()).or_default(),
        };
        if mark.next_full.is_none_or(|at| now >= at) {
            mark.next_full = Some(now + FULL);
            return From { fresh: Moment::MIN, retry: Moment::MIN, full: true };
        }
        let slack = if mark.backlog { 0 } else { SLACK };
        let [fresh, retry] = mark.lanes.map(|mark| mark.minus_millis(slack));
        From { fresh, retry, full: false }
    }

    /// A look from the start took so long: the next comes the later.
    pub(super) fn looked(&self, destination: &str, now: Instant, took: Duration) {
        if let Some(mark) = self.marks().get_mut(destination) {
            mark.next_full = Some(now + FULL.max(took * FULL_SHARE));
        }
    }

    /// A claim brought all that was asked for, or less.
    pub(super) fn claimed(&self, destination: &str, latest: [Option<Moment>; 2], backlog: bool) {
        if let Some(mark) = self.marks().get_mut(destination) {
            for (lane, latest) in mark.lanes.iter_mut().zip(latest) {
                *lane = latest.map_or(*lane, |latest| latest.max(*lane));
            }
            mark.backlog = backlog;
        }
    }

    /// The next look is from the start again.
    pub(super) fn look_again(&self, destination: &str) {
        if let Some(mark) = self.marks().get_mut(destination) {
            mark.next_full = None;
        }
    }

    /// Something became due out of order.
    pub(super) fn reset(&self) {
        self.marks().clear();
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<String, Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Moment = Moment::from_millis(1_800_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn looks_begin_where_the_last_claim_ended_and_now_and_then_at_the_start() {
        let marks = Watermarks::default();
        let start = Instant::now();
        assert!(marks.from("slack", start).full);
        marks.claimed("slack", [Some(AT), None], true);
        let from = marks.from("slack", start);
        assert_eq!((from.fresh, from.retry, from.full), (AT, Moment::MIN, false));
        // Without a backlog, a bit further back.
        marks.claimed("slack", [None, Some(AT)], false);
        let from = marks.from("slack", start);
        assert_eq!(
            (from.fresh.millis(), from.retry.millis()),
            (AT.millis() - 250, AT.millis() - 250)
        );
        assert!(marks.from("slack", start + FULL).full);
        marks.looked("slack", start + FULL, FULL);
        assert!(!marks.from("slack", start + FULL * 20).full);
        assert!(marks.from("slack", start + FULL * 21).full);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_looks_from_the_start() {
        let marks = Watermarks::default();
        let start = Instant::now();
        assert!(marks.from("slack", start).full);
        assert!(!marks.from("slack", start).full);
        marks.reset();
        assert!(marks.from("slack", start).full);
    }
}
