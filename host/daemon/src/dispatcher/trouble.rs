//! What the log says of an outage: the loop, the settler and the extender all meet it, and complain with one voice.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_queue::QueueError;
use tokio::time::Instant;

/// Shortest time between two complaints. With one line for each end that is at most six lines a minute, however the
/// queue comes and goes.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// The complaints about the queue, of all who use it.
#[derive(Default)]
pub(super) struct Trouble(Mutex<State>);

#[derive(Default)]
struct State {
    waits: Waits,
    since: Option<Instant>,
    said_at: Option<Instant>,
    /// A complaint was logged that nobody has taken back yet.
    said: bool,
}

/// What waits for the queue now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waits {
    dispatching: bool,
    settlements: usize,
    extensions: usize,
}

/// Who could not do its work, or can again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Loop,
    /// So many settlements wait; none when it is over.
    Settler(usize),
    /// So many leases wait to be extended; none when it is over.
    Extender(usize),
}

impl Trouble {
    /// Notes that a part waits, and says what waits in all if nothing was said of late.
    pub(super) fn waits(&self, part: Part, error: &QueueError) {
        let mut state = self.state();
        state.waits.note(part, true);
        let now = Instant::now();
        state.since.get_or_insert(now);
        if state.said_at.is_some_and(|at| now - at < SAY_AGAIN) {
            return;
        }
        (state.said, state.said_at) = (true, Some(now));
        let waits = state.waits;
        drop(state);
        tracing::error!(%error, "{} by itself as soon as the queue can be used", waits.sentence());
    }

    /// Notes that a part does not wait any more, and says so when none does.
    pub(super) fn over(&self, part: Part) {
        let mut state = self.state();
        state.waits.note(part, false);
        if state.waits != Waits::default() {
            return;
        }
        let Some(since) = state.since.take() else { return };
        if std::mem::take(&mut state.said) {
            drop(state);
            tracing::info!(queue.waited = ?since.elapsed(), "the queue can be used again; everything goes on");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn note(&mut self, part: Part, waits: bool) {
        match part {
            Part::Loop => self.dispatching = waits,
            Part::Settler(count) => self.settlements = if waits { count } else { 0 },
            Part::Extender(count) => self.extensions = if waits { count } else { 0 },
        }
    }

    /// Such as "dispatching and 3 settlements wait, and go on".
    fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if self.dispatching {
            parts.push("dispatching".to_owned());
        }
        if self.settlements > 0 {
            parts.push(format!("{} to be written", counted(self.settlements, "settlement")));
        }
        if self.extensions > 0 {
            parts.push(format!("{} to be extended", counted(self.extensions, "lease")));
        }
        let one = matches!((parts.len(), self.settlements, self.extensions), (1, 0 | 1, 0 | 1));
        let verbs = if one { "waits; it goes on" } else { "wait; they go on" };
        format!("{} {verbs}", parts.join(" and "))
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_all_that_waits() {
        for (waits, sentence) in [
            ((true, 0, 0), "dispatching waits; it goes on"),
            ((false, 1, 0), "1 settlement to be written waits; it goes on"),
            ((false, 0, 7), "7 leases to be extended wait; they go on"),
            (
                (true, 2, 1),
                "dispatching and 2 settlements to be written and 1 lease to be extended wait; they go on",
            ),
        ] {
            let (dispatching, settlements, extensions) = waits;
            let waits = Waits { dispatching, settlements, extensions };
            assert_eq!(waits.sentence(), sentence);
        }
    }
}
