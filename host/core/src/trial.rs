//! Whether a new version of a plugin is taken back: it is when it fails by its own fault while its predecessor worked.
//! Pure; the reload acts on it.

use std::time::Duration;

use crate::outcome::{Fault, Outcome};

/// Deliveries that a new version is watched for.
pub const TRIAL: u32 = 20;
/// So many failures by its own fault, and no success, condemn it.
pub const FAULTS: u32 = 3;

/// How a version did in its first deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub tried: u32,
    pub faults: u32,
    /// Whether it delivered one.
    pub worked: bool,
}

/// What that says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough was seen.
    Open,
    /// It stays.
    Stays,
    /// It is rolled back, if its predecessor worked.
    Condemned,
}

impl Tally {
    pub fn verdict(&self) -> Verdict {
        if self.worked {
            Verdict::Stays
        } else if self.faults >= FAULTS {
            Verdict::Condemned
        } else if self.tried >= TRIAL {
            Verdict::Stays
        } else {
            Verdict::Open
        }
    }

    /// The tally after one more attempt; faults after the first [`TRIAL`] deliveries do not count.
    #[must_use]
    pub fn after(self, worked: bool, fault: bool) -> Self {
        let counts = fault && self.tried < TRIAL;
        Self {
            tried: self.tried.saturating_add(1),
            faults: self.faults + u32::from(counts),
            worked: self.worked || worked,
        }
    }
}

/// Whether a module failed an attempt by its own fault: it trapped, broke a limit, or computed until its time was over.
/// One that waited for its receiver did not: a receiver that is down is no reason to take a version back.
/// `computed` is the part of `elapsed` in which the guest ran, or would have if others had not.
pub fn is_own_fault(outcome: &Outcome, computed: Duration, elapsed: Duration) -> bool {
    match outcome {
        Outcome::Fault { fault: Fault::Trap | Fault::Limit, .. } => true,
        Outcome::Fault { fault: Fault::Timeout, .. } => computed >= elapsed / 2,
        Outcome::Fault { fault: Fault::Configure | Fault::Host, .. }
        | Outcome::Delivered(_)
        | Outcome::Retry { .. }
        | Outcome::Rejected { .. }
        | Outcome::Gone { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(fault: Fault) -> Outcome {
        Outcome::Fault { fault, reason: String::new() }
    }

    #[test]
    fn three_faults_without_a_success_condemn() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally = tally.after(false, true);
            assert_eq!(tally.verdict(), Verdict::Open);
        }
        assert_eq!(tally.after(false, true).verdict(), Verdict::Condemned);
        assert_eq!(tally.after(true, false).after(false, true).verdict(), Verdict::Stays);
    }

    #[test]
    fn waiting_for_a_receiver_is_no_fault_and_computing_is_one() {
        let (second, none) = (Duration::from_secs(1), Duration::ZERO);
        assert!(is_own_fault(&fault(Fault::Trap), none, second));
        assert!(is_own_fault(&fault(Fault::Limit), none, second));
        assert!(is_own_fault(&fault(Fault::Timeout), second * 2 / 3, second));
        assert!(!is_own_fault(&fault(Fault::Timeout), second / 3, second));
        assert!(!is_own_fault(&fault(Fault::Configure), second, second));
        assert!(!is_own_fault(&fault(Fault::Host), second, second));
        let gone = Outcome::Gone { reason: String::new() };
        assert!(!is_own_fault(&gone, second, second));
    }

    proptest! {
        #[test]
        fn what_worked_once_or_lived_through_its_trial_stays(
            attempts in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut tally = Tally::default();
            let mut condemned = false;
            for (place, (worked, fault)) in attempts.iter().enumerate() {
                let before = tally.verdict();
                tally = tally.after(*worked, *fault && !worked);
                condemned |= tally.verdict() == Verdict::Condemned;
                if before == Verdict::Stays {
                    prop_assert_eq!(tally.verdict(), Verdict::Stays);
                }
                if place >= TRIAL as usize && before != Verdict::Condemned {
                    prop_assert_ne!(tally.verdict(), Verdict::Condemned);
                }
            }
            let faults = attempts.iter().take(TRIAL as usize).filter(|(w, f)| *f && !w).count();
            prop_assert!(!condemned || faults >= FAULTS as usize);
        }
    }
}
