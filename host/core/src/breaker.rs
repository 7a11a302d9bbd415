//! When a destination is left alone, how it is tried again, and how fast it comes back. Pure.
//!
//! ```text
//!   closed --failures in a row--> open --wait--> probing --works--> ramping --works, a whole batch--> closed
//!      |                           ^  ^             |                  |  ^                            ^
//!      |                           |  +----fails----+                  |  +--works: twice the batch--+ |
//!      |                           +--------------fails----------------+                               |
//!      +--the destination is gone--> gone ------------------------ a person, or a reload --------------+
//! ```
//!
//! The state is the database's: all hosts share it, and a trial is one for all of them. Failures are counted by each
//! host for itself, so that a success writes nothing.

use std::time::Duration;

use serde::Serialize;

use crate::Policy;
use crate::outcome::{Outcome, Scope};
use crate::policy::{Backoff, Schedule};

/// When a breaker opens, and when it is tried: the `breaker` of a destination's `[policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row, as one host sees them, that open it.
    pub failures: u32,
    /// Wait before the first probe; twice as long before each further one.
    pub wait: Duration,
    /// Longest wait between two probes.
    pub cap: Duration,
    /// HTTP statuses of which one is enough: they speak of the destination, not of the notification. A revoked token
    /// of a chat service answers 401 to all.
    pub open_on: Vec<u16>,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 10,
            wait: Duration::from_secs(5),
            cap: Duration::from_secs(300),
            open_on: Vec::new(),
        }
    }
}

/// Where a breaker stands that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Deliveries park until the next probe.
    Open,
    /// One delivery is being tried.
    Probing,
    /// It works again: batches, each twice as large as the one before.
    Ramping,
    /// The destination is dead: nothing is tried until a person or a reload resumes it.
    Gone,
}

/// What one attempt says of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It took the notification, or understood and refused it.
    Works,
    Fails,
    /// It fails for whatever it is sent: one such answer is enough.
    Shuts,
    /// It is there, and asked to be left alone for so long.
    Waits(Duration),
    Gone,
    /// The attempt did not come to an answer.
    Nothing,
}

/// A trial that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Probing or ramping.
    pub state: BreakerState,
    /// Deliveries that may be tried at once.
    pub batch: u32,
    /// How many of them this host had room for.
    pub asked: u32,
    /// How many were due.
    pub got: u32,
    /// Probes in a row that failed before.
    pub failures: u32,
}

/// What becomes of a breaker after a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Close,
    Gone,
    /// The next trial comes after `wait`.
    Wait {
        state: BreakerState,
        batch: u32,
        wait: Duration,
        /// It counts as one more failed probe.
        failed: bool,
    },
}

/// Largest batch of a ramp; what works with it is closed.
const LARGEST_BATCH: u32 = 64;
/// Wait between two batches of a ramp.
const RAMP_PAUSE: Duration = Duration::from_millis(500);
/// Wait after a trial that came to nothing.
const AGAIN: Duration = Duration::from_millis(500);

impl BreakerState {
    pub const ALL: [Self; 4] = [Self::Open, Self::Probing, Self::Ramping, Self::Gone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Probing => "probing",
            Self::Ramping => "ramping",
            Self::Gone => "gone",
        }
    }

    /// Its number in a database.
    pub fn code(self) -> i16 {
        match self {
            Self::Open => 1,
            Self::Probing => 2,
            Self::Ramping => 3,
            Self::Gone => 4,
        }
    }

    pub fn of_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

impl BreakerPolicy {
    /// What an attempt came to whose receiver last answered with `status`. Where that status opens the breaker, what
    /// was not delivered waits with the rest: another try after a person's repair will do.
    pub fn reword(&self, outcome: Outcome, status: Option<u16>) -> (Outcome, bool) {
        let opens = status.is_some_and(|status| self.open_on.contains(&status));
        match outcome {
            Outcome::Rejected { reason } if opens => {
                (Outcome::Retry { reason, after: None, scope: Scope::Delivery }, true)
            }
            Outcome::Retry { after: None, .. } if opens => (outcome, true),
            other => (other, false),
        }
    }

    /// Wait before the next probe when so many have failed in a row. `dice` in `0.0..1.0` is the jitter.
    pub fn delay(&self, failed: u32, dice: f64) -> Duration {
        let schedule = Schedule::Exponential { initial: self.wait, factor: 2.0, cap: self.cap };
        Backoff { schedule, jitter: 0.1 }.delay(failed.saturating_add(1), dice)
    }
}

impl Sign {
    /// What an outcome says. A refusal is a sign of life; a wait that was asked for is neither life nor death.
    pub fn of(outcome: &Outcome, policy: &Policy) -> Self {
        match outcome {
            Outcome::Delivered(_) | Outcome::Rejected { .. } => Self::Works,
            Outcome::Gone { .. } => Self::Gone,
            Outcome::Retry { after: Some(after), .. } => {
                Self::Waits((*after).min(policy.retry_after_cap))
            }
            Outcome::Retry { after: None, .. } | Outcome::Fault { .. } => Self::Fails,
        }
    }
}

impl Trial {
    /// What becomes of the breaker, by the signs of the trial's attempts. More failures than signs of life open it
    /// again; a batch that leaves nothing due, or as large as the destination's `concurrency`, closes it.
    pub fn turn(&self, signs: &[Sign], policy: &Policy, dice: f64) -> Turn {
        let breaker = policy.breaker.clone().unwrap_or_default();
        let count = |sign| signs.iter().filter(|s| **s == sign).count();
        let works = count(Sign::Works);
        let fails = count(Sign::Fails) + count(Sign::Shuts);
        let waits = signs.iter().filter_map(|sign| match sign {
            Sign::Waits(wait) => Some(*wait),
            Sign::Works | Sign::Fails | Sign::Shuts | Sign::Gone | Sign::Nothing => None,
        });
        if signs.contains(&Sign::Gone) {
            return Turn::Gone;
        }
        if fails > works {
            let wait = breaker.delay(self.failures.saturating_add(1), dice);
            return Turn::Wait { state: BreakerState::Open, batch: 1, wait, failed: true };
        }
        if let Some(wait) = waits.max() {
            return self.stay(wait);
        }
        if works == 0 {
            return self.stay(AGAIN);
        }
        let largest = policy.concurrency.clamp(1, LARGEST_BATCH);
        if self.got < self.asked || self.batch >= largest {
            return Turn::Close;
        }
        let batch = self.batch.saturating_mul(2).min(largest);
        Turn::Wait { state: BreakerState::Ramping, batch, wait: RAMP_PAUSE, failed: false }
    }

    fn stay(&self, wait: Duration) -> Turn {
        let state = match self.state {
            BreakerState::Ramping => BreakerState::Ramping,
            BreakerState::Open | BreakerState::Probing | BreakerState::Gone => BreakerState::Open,
        };
        Turn::Wait { state, batch: self.batch, wait, failed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Fault, Receipt};
    use proptest::prelude::*;

    fn trial(state: BreakerState, batch: u32) -> Trial {
        Trial { state, batch, asked: batch, got: batch, failures: 0 }
    }

    fn signs(works: usize, fails: usize) -> Vec<Sign> {
        [vec![Sign::Works; works], vec![Sign::Fails; fails]].concat()
    }

    #[test]
    fn a_status_that_opens_keeps_what_it_refused() {
        let policy = BreakerPolicy { open_on: vec![401], ..BreakerPolicy::default() };
        let refused = || Outcome::Rejected { reason: "401 invalid_auth".to_owned() };
        let waits = Outcome::Retry {
            reason: "401 invalid_auth".to_owned(),
            after: None,
            scope: Scope::Delivery,
        };
        assert_eq!(policy.reword(refused(), Some(401)), (waits.clone(), true));
        assert_eq!(policy.reword(waits.clone(), Some(401)), (waits, true));
        for status in [None, Some(400)] {
            assert_eq!(policy.reword(refused(), status), (refused(), false));
        }
        let delivered = || Outcome::Delivered(Receipt::default());
        assert_eq!(policy.reword(delivered(), Some(401)), (delivered(), false));
    }

    #[test]
    fn a_refusal_is_a_sign_of_life_and_a_fault_is_none() {
        let of = |outcome| Sign::of(&outcome, &Policy::default());
        let reason = String::new;
        assert_eq!(of(Outcome::Delivered(Receipt::default())), Sign::Works);
        assert_eq!(of(Outcome::Rejected { reason: reason() }), Sign::Works);
        assert_eq!(of(Outcome::Gone { reason: reason() }), Sign::Gone);
        let fault = Outcome::Fault { fault: Fault::Timeout, reason: reason() };
        assert_eq!(of(fault), Sign::Fails);
        let retry = |after| Outcome::Retry { reason: reason(), after, scope: Scope::Delivery };
        assert_eq!(of(retry(None)), Sign::Fails);
        let minute = Duration::from_secs(60);
        assert_eq!(of(retry(Some(minute))), Sign::Waits(minute));
        let cap = Policy::default().retry_after_cap;
        assert_eq!(of(retry(Some(cap * 2))), Sign::Waits(cap));
    }

    #[test]
    fn a_ramp_doubles_until_a_whole_batch_works() {
        let policy = Policy { concurrency: 8, ..Policy::default() };
        let mut trial = trial(BreakerState::Probing, 1);
        let mut batches = Vec::new();
        loop {
            match trial.turn(&signs(trial.batch as usize, 0), &policy, 0.0) {
                Turn::Wait { state: BreakerState::Ramping, batch, failed: false, .. } => {
                    batches.push(batch);
                    trial = Trial {
                        state: BreakerState::Ramping,
                        batch,
                        asked: batch,
                        got: batch,
                        ..trial
                    };
                }
                turn => {
                    assert_eq!(turn, Turn::Close);
                    break;
                }
            }
        }
        assert_eq!(batches, [2, 4, 8]);
    }

    #[test]
    fn a_batch_that_leaves_nothing_due_closes() {
        let short = Trial { got: 3, ..trial(BreakerState::Ramping, 4) };
        assert_eq!(short.turn(&signs(3, 0), &Policy::default(), 0.0), Turn::Close);
        // A host that had no room for more says nothing of what is due.
        let narrow = Trial { asked: 3, got: 3, ..trial(BreakerState::Ramping, 4) };
        assert_ne!(narrow.turn(&signs(3, 0), &Policy::default(), 0.0), Turn::Close);
    }

    #[test]
    fn more_failures_than_signs_of_life_open_it_again_for_longer() {
        let policy = Policy::default();
        let wait = |failures| {
            let trial = Trial { failures, ..trial(BreakerState::Probing, 1) };
            match trial.turn(&signs(0, 1), &policy, 0.0) {
                Turn::Wait { state: BreakerState::Open, batch: 1, wait, failed: true } => {
                    wait.as_secs()
                }
                turn => panic!("{turn:?}"),
            }
        };
        assert_eq!([0, 1, 2, 20].map(wait), [10, 20, 40, 300]);
        let ramping = trial(BreakerState::Ramping, 4);
        let one_bad = ramping.turn(&signs(3, 1), &policy, 0.0);
        assert!(matches!(one_bad, Turn::Wait { batch: 8, failed: false, .. }), "{one_bad:?}");
    }

    #[test]
    fn a_wait_that_was_asked_for_is_no_failure() {
        let minute = Duration::from_secs(60);
        let turn =
            trial(BreakerState::Probing, 1).turn(&[Sign::Waits(minute)], &Policy::default(), 0.0);
        let state = BreakerState::Open;
        assert_eq!(turn, Turn::Wait { state, batch: 1, wait: minute, failed: false });
    }

    proptest! {
        #[test]
        fn only_works_close_and_a_batch_never_more_than_doubles(
            works in 0usize..5, fails in 0usize..5, nothing in 0usize..5, batch in 1u32..100,
            asked in 1u32..100, concurrency in 1u32..200, dice in 0.0f64..1.0,
        ) {
            let policy = Policy { concurrency, ..Policy::default() };
            let asked = asked.min(batch);
            let got = u32::try_from(works + fails + nothing).unwrap().min(asked);
            let trial = Trial { state: BreakerState::Ramping, batch, asked, got, failures: 0 };
            let signs = [signs(works, fails), vec![Sign::Nothing; nothing]].concat();
            match trial.turn(&signs, &policy, dice) {
                Turn::Close => prop_assert!(works > 0 && fails <= works),
                Turn::Wait { state, batch: next, wait, .. } => {
                    prop_assert!(next >= 1 && next <= batch * 2);
                    prop_assert!(!wait.is_zero());
                    prop_assert_eq!(state == BreakerState::Open, fails > works);
                }
                Turn::Gone => prop_assert!(false),
            }
        }
    }
}
