//! From outcome, policy and standing to what the queue writes. Pure; the dispatcher acts on it.

use std::time::Duration;

use crate::outcome::{Outcome, Scope};
use crate::policy::Policy;

/// Leases in a row that may expire without a settlement before a delivery dies: a notification that takes its host
/// down with it cannot loop for ever.
pub const MAX_LOST: u32 = 5;

/// Where a delivery stands when its attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Budgeted attempts before this one.
    pub used: u32,
    /// Leases in a row that expired before this one.
    pub lost: u32,
    /// Time since the delivery was first due, by the database's clock.
    pub age: Duration,
    /// Time until it expires, by the same clock; zero once it has, none where nothing but `max_age` bounds it.
    pub left: Option<Duration>,
}

/// What the host writes for an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Delivered,
    /// Due again after `delay`. `counted`: it used one attempt of the budget. `hold`: nothing of this destination is
    /// due before that.
    Retry {
        delay: Duration,
        counted: bool,
        hold: Option<Duration>,
    },
    /// Gave up.
    Dead {
        cause: Cause,
    },
    /// Handed back untried, as at shutdown: due at once, nothing counted.
    Released,
}

/// Why a delivery died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Rejected,
    Gone,
    /// Its budgeted attempts are used up.
    Exhausted,
    /// Older than `max_age` or past its expiry, or would be at its next attempt.
    Expired,
    /// Its lease expired [`MAX_LOST`] times in a row.
    Lost,
    /// Its destination's file has been gone for longer than `orphan_after`.
    Orphaned,
    /// Its fallback took over while its destination was left alone.
    Diverted,
}

impl Settlement {
    /// Whether the delivery gives up, and a fallback may take over.
    pub fn is_death(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }
}

impl Standing {
    /// The same when `duration` has passed.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self {
            age: self.age.saturating_add(duration),
            left: self.left.map(|left| left.saturating_sub(duration)),
            ..self
        }
    }

    /// Whether it has expired.
    pub fn is_expired(&self) -> bool {
        self.left == Some(Duration::ZERO)
    }

    /// Whether, when `delay` has passed, it is too late for an attempt.
    fn is_over_after(&self, delay: Duration, policy: &Policy) -> bool {
        let then = self.after(delay);
        then.age >= policy.max_age || then.is_expired()
    }
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Orphaned => "orphaned",
            Self::Diverted => "diverted",
        }
    }
}

/// Settles a delivery before its attempt starts, where none may: too old, or lost too often.
pub fn refuse(standing: &Standing, policy: &Policy) -> Option<Cause> {
    if standing.lost >= MAX_LOST {
        Some(Cause::Lost)
    } else if standing.is_over_after(Duration::ZERO, policy) {
        Some(Cause::Expired)
    } else {
        None
    }
}

/// Turns an attempt's outcome into its settlement. `dice` in `0.0..1.0` is the jitter.
///
/// A Retry-After only lengthens the wait, is capped by `retry_after_cap`, and burns no attempt: the receiver asked
/// for it. `max_age` and the expiry bound everything: a delivery whose next attempt would come too late dies now.
pub fn settle(outcome: &Outcome, standing: &Standing, policy: &Policy, dice: f64) -> Settlement {
    let (after, scope) = match outcome {
        Outcome::Delivered(_) => return Settlement::Delivered,
        Outcome::Rejected { .. } => return Settlement::Dead { cause: Cause::Rejected },
        Outcome::Gone { .. } => return Settlement::Dead { cause: Cause::Gone },
        Outcome::Retry { after, scope, .. } => (*after, *scope),
        Outcome::Fault { .. } => (None, Scope::Delivery),
    };
    let counted = after.is_none();
    let failed = standing.used.saturating_add(1);
    if counted && policy.attempts.is_some_and(|budget| failed >= budget) {
        return Settlement::Dead { cause: Cause::Exhausted };
    }
    let backoff = policy.backoff.delay(failed, dice);
    let asked = after.map(|after| after.min(policy.retry_after_cap));
    // Those that a receiver sent away together must not come back together either.
    let asked = asked.map(|after| after + after.min(SPREAD).mul_f64(dice.clamp(0.0, 1.0)));
    let delay = asked.map_or(backoff, |asked| asked.max(backoff));
    if standing.is_over_after(delay, policy) {
        return Settlement::Dead { cause: Cause::Expired };
    }
    let hold = match scope {
        // A receiver that is overrun but does not say for how long gets the shortest pause.
        Scope::Destination => Some(
            after.map_or(policy.backoff.delay(1, 0.0), |after| after.min(policy.retry_after_cap)),
        ),
        Scope::Delivery => None,
    };
    Settlement::Retry { delay, counted, hold }
}

/// Settles an attempt that its module alone failed while it was on trial: the delivery loses nothing and is soon tried
/// again, by then perhaps with the module's predecessor.
pub fn spare(standing: &Standing, policy: &Policy, dice: f64) -> Settlement {
    let delay = SPARED + SPARED.mul_f64(dice.clamp(0.0, 1.0));
    if standing.is_over_after(delay, policy) {
        return Settlement::Dead { cause: Cause::Expired };
    }
    Settlement::Retry { delay, counted: false, hold: None }
}

/// Shortest wait of a spared delivery: as long as it takes to put a predecessor back in force.
const SPARED: Duration = Duration::from_secs(1);
/// Longest spread that is added to a Retry-After.
const SPREAD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Fault, Receipt};
    use proptest::prelude::*;

    const FRESH: Standing = Standing { used: 0, lost: 0, age: Duration::ZERO, left: None };

    fn retry(after: Option<u64>, scope: Scope) -> Outcome {
        Outcome::Retry { reason: "503".into(), after: after.map(Duration::from_secs), scope }
    }

    #[test]
    fn verdicts_are_final() {
        let policy = Policy::default();
        let delivered = Outcome::Delivered(Receipt::default());
        assert_eq!(settle(&delivered, &FRESH, &policy, 0.0), Settlement::Delivered);
        let rejected = Outcome::Rejected { reason: "400".into() };
        let dead = Settlement::Dead { cause: Cause::Rejected };
        assert_eq!(settle(&rejected, &FRESH, &policy, 0.0), dead);
    }

    #[test]
    fn attempts_exceeded_gives_up() {
        let policy = Policy { attempts: Some(3), ..Policy::default() };
        let at =
            |used| settle(&retry(None, Scope::Delivery), &Standing { used, ..FRESH }, &policy, 0.0);
        assert!(matches!(at(1), Settlement::Retry { counted: true, .. }));
        assert_eq!(at(2), Settlement::Dead { cause: Cause::Exhausted });
    }

    #[test]
    fn a_trap_uses_the_budget_like_a_retry() {
        let policy = Policy { attempts: Some(1), ..Policy::default() };
        let trap = Outcome::Fault { fault: Fault::Trap, reason: String::new() };
        assert_eq!(
            settle(&trap, &FRESH, &policy, 0.0),
            Settlement::Dead { cause: Cause::Exhausted }
        );
    }

    #[test]
    fn what_is_spared_loses_nothing_but_its_time() {
        let policy = Policy { attempts: Some(1), ..Policy::default() };
        let again = Settlement::Retry { delay: SPARED, counted: false, hold: None };
        assert_eq!(spare(&FRESH, &policy, 0.0), again);
        let old = Standing { age: policy.max_age - SPARED, ..FRESH };
        assert_eq!(spare(&old, &policy, 0.0), Settlement::Dead { cause: Cause::Expired });
    }

    #[test]
    fn retry_after_burns_no_attempt_and_holds_the_destination() {
        let policy = Policy { attempts: Some(1), ..Policy::default() };
        let minute = Duration::from_secs(60);
        assert_eq!(
            settle(&retry(Some(60), Scope::Destination), &FRESH, &policy, 0.0),
            Settlement::Retry { delay: minute, counted: false, hold: Some(minute) }
        );
    }

    #[test]
    fn an_overrun_destination_without_retry_after_pauses_for_the_first_backoff() {
        let settlement = settle(&retry(None, Scope::Destination), &FRESH, &Policy::default(), 0.0);
        let Settlement::Retry { counted, hold, .. } = settlement else { panic!("{settlement:?}") };
        assert_eq!((counted, hold), (true, Some(Duration::from_secs(5))));
    }

    #[test]
    fn retry_after_is_capped_and_only_lengthens() {
        let policy = Policy { retry_after_cap: Duration::from_secs(100), ..Policy::default() };
        let delay = |after| match settle(&retry(Some(after), Scope::Delivery), &FRESH, &policy, 0.0)
        {
            Settlement::Retry { delay, .. } => delay.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(delay(10_000), 100);
        assert_eq!(delay(1), 5);
    }

    #[test]
    fn a_delivery_that_was_lost_five_times_or_is_too_old_is_not_tried() {
        let policy = Policy::default();
        assert_eq!(refuse(&FRESH, &policy), None);
        assert_eq!(refuse(&Standing { lost: 5, ..FRESH }, &policy), Some(Cause::Lost));
        let old = Standing { age: policy.max_age, ..FRESH };
        assert_eq!(refuse(&old, &policy), Some(Cause::Expired));
        let left = |left| Standing { left: Some(left), ..FRESH };
        assert_eq!(refuse(&left(Duration::ZERO), &policy), Some(Cause::Expired));
        assert_eq!(refuse(&left(Duration::from_nanos(1)), &policy), None);
    }

    #[test]
    fn the_earlier_of_max_age_and_expiry_bounds_a_retry() {
        let at = |age, left| {
            let policy = Policy { max_age: Duration::from_secs(60), ..Policy::default() };
            let (age, left) = (Duration::from_secs(age), Some(Duration::from_secs(left)));
            settle(&retry(None, Scope::Delivery), &Standing { age, left, ..FRESH }, &policy, 0.0)
        };
        let dead = Settlement::Dead { cause: Cause::Expired };
        assert_eq!(at(0, 5), dead);
        assert!(matches!(at(0, 6), Settlement::Retry { .. }));
        assert_eq!(at(55, 600), dead);
        assert!(matches!(at(54, 600), Settlement::Retry { .. }));
    }

    proptest! {
        #[test]
        fn a_retry_always_comes_before_max_age_and_not_before_it_was_asked(
            used in 0u32..1_000, age in 0u64..400_000, after in proptest::option::of(0u64..1_000_000),
            dice in 0.0f64..1.0, wide in any::<bool>(), left in proptest::option::of(0u64..400_000),
        ) {
            let policy = Policy::default();
            let scope = if wide { Scope::Destination } else { Scope::Delivery };
            let left = left.map(Duration::from_secs);
            let standing = Standing { used, lost: 0, age: Duration::from_secs(age), left };
            match settle(&retry(after, scope), &standing, &policy, dice) {
                Settlement::Retry { delay, counted, .. } => {
                    prop_assert!(standing.age + delay < policy.max_age);
                    prop_assert!(left.is_none_or(|left| delay < left));
                    prop_assert_eq!(counted, after.is_none());
                    let asked = Duration::from_secs(after.unwrap_or(0)).min(policy.retry_after_cap);
                    prop_assert!(delay >= asked);
                }
                Settlement::Dead { cause } => prop_assert_eq!(cause, Cause::Expired),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
