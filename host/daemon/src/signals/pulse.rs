//! When each loop last went round. A loop says with every beat by when the next one comes; who is past that is late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What a beat may come late by on a busy machine before anybody is told.
const SLACK: Duration = Duration::from_secs(10);

/// The loops without which the daemon does not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Claims and starts attempts.
    Dispatcher,
    /// Extends leases.
    Extender,
    /// Looks at the plugins directory.
    Reload,
}

/// All beats of one daemon.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    beats: [Beat; Loop::ALL.len()],
}

/// Milliseconds since the pulse began; zero: never.
#[derive(Debug, Default)]
struct Beat {
    at: AtomicU64,
    next: AtomicU64,
}

/// How a loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub who: Loop,
    /// Time since its last beat; none before the first.
    pub since: Option<Duration>,
    /// By how much its next beat is overdue.
    pub late: Duration,
}

impl Loop {
    pub const ALL: [Self; 3] = [Self::Dispatcher, Self::Extender, Self::Reload];

    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Extender => "extender",
            Self::Reload => "reload",
        }
    }
}

impl State {
    pub fn is_late(&self) -> bool {
        self.late > SLACK
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    pub fn new() -> Self {
        Self { began: Instant::now(), beats: Default::default() }
    }

    /// Notes that a loop went round, and will again within `within`.
    pub fn beat(&self, who: Loop, within: Duration) {
        // Never zero, which means that there was none.
        let now = self.millis().max(1);
        if let Some(beat) = self.of(who) {
            beat.at.store(now, Ordering::Relaxed);
            let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            beat.next.store(now.saturating_add(within), Ordering::Relaxed);
        }
    }

    /// How every loop is now.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        let now = self.millis();
        Loop::ALL.into_iter().filter_map(move |who| {
            let beat = self.of(who)?;
            let (at, next) = (beat.at.load(Ordering::Relaxed), beat.next.load(Ordering::Relaxed));
            let since = (at > 0).then(|| Duration::from_millis(now.saturating_sub(at)));
            let late = if at > 0 { now.saturating_sub(next) } else { 0 };
            Some(State { who, since, late: Duration::from_millis(late) })
        })
    }

    fn of(&self, who: Loop) -> Option<&Beat> {
        Loop::ALL.iter().position(|other| *other == who).and_then(|place| self.beats.get(place))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(pulse: &Pulse, who: Loop) -> State {
        pulse.states().find(|state| state.who == who).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_is_late_when_its_next_beat_is_overdue() {
        let pulse = Pulse::new();
        assert_eq!(state(&pulse, Loop::Reload).since, None);
        pulse.beat(Loop::Reload, 5 * SECOND);
        tokio::time::advance(5 * SECOND + SLACK).await;
        assert!(!state(&pulse, Loop::Reload).is_late());
        tokio::time::advance(SECOND).await;
        let late = state(&pulse, Loop::Reload);
        assert!(late.is_late());
        assert!(late.since.unwrap() > late.late);
        pulse.beat(Loop::Reload, 5 * SECOND);
        assert!(!state(&pulse, Loop::Reload).is_late());
    }

    #[tokio::test(start_paused = true)]
    async fn one_loop_does_not_speak_for_another() {
        let pulse = Pulse::new();
        pulse.beat(Loop::Extender, SECOND);
        tokio::time::advance(100 * SECOND).await;
        pulse.beat(Loop::Dispatcher, SECOND);
        let late = pulse.states().filter(State::is_late).map(|state| state.who);
        assert_eq!(late.collect::<Vec<_>>(), [Loop::Extender]);
    }
}
