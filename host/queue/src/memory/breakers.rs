//! Destinations that are left alone, in the model.

use postrider_core::breaker::{BreakerState, Trial, Turn};

use super::{StoredBreaker, StoredHold, Tables};
use crate::breaker::SHUT;
use crate::{Blocked, Breaker, BreakerTurn, TrialClaim, Tried, Trip, millis};

impl Tables {
    pub(super) fn is_held(&self, destination: &str) -> bool {
        self.holds.get(destination).is_some_and(|hold| hold.until > self.now)
    }

    /// Holds a destination at least until then.
    pub(super) fn hold(&mut self, destination: &str, until: i64) {
        let now = self.now;
        let hold = self
            .holds
            .entry(destination.to_owned())
            .or_insert(StoredHold { since: now, until: i64::MIN });
        if hold.until <= now {
            hold.since = now;
        }
        hold.until = hold.until.max(until);
    }

    pub(super) fn trip(&mut self, trip: &Trip) -> bool {
        if self.paused.contains_key(&trip.destination) {
            return false;
        }
        let known = self.breakers.get_mut(&trip.destination);
        let changed = match known {
            Some(breaker) if trip.gone && breaker.state != BreakerState::Gone => {
                breaker.state = BreakerState::Gone;
                breaker.reason.clone_from(&trip.reason);
                breaker.trial += 1;
                breaker.next = SHUT;
                true
            }
            Some(_) => false,
            None => {
                let held = self.holds.get(&trip.destination).map_or(0, |hold| hold.until);
                let next = (self.now + millis::of(trip.wait)).max(held);
                let (state, next) = match trip.gone {
                    true => (BreakerState::Gone, SHUT),
                    false => (BreakerState::Open, next),
                };
                let breaker = StoredBreaker {
                    state,
                    reason: trip.reason.clone(),
                    since: self.now,
                    next,
                    trial: 0,
                    batch: 1,
                    failures: 0,
                };
                self.breakers.insert(trip.destination.clone(), breaker);
                true
            }
        };
        if changed {
            self.hold(&trip.destination, SHUT);
        }
        changed
    }

    pub(super) fn claim_trial(&mut self, claim: &TrialClaim) -> Option<Tried> {
        let mut due = self.due_of_both(&claim.destination);
        let now = self.now;
        let breaker = self.breakers.get_mut(&claim.destination)?;
        let may = breaker.state != BreakerState::Gone && breaker.next <= now;
        if !may || due.is_empty() || claim.free == 0 {
            return None;
        }
        breaker.trial += 1;
        breaker.next = now + millis::of(claim.patience);
        if breaker.state == BreakerState::Open {
            breaker.state = BreakerState::Probing;
        }
        let (number, asked) = (breaker.trial, breaker.batch.min(claim.free));
        let (state, batch, failures) = (breaker.state, breaker.batch, breaker.failures);
        due.truncate(asked as usize);
        let leases = due.into_iter().filter_map(|id| self.lease(id, claim.host, claim.lease));
        let leases: Vec<_> = leases.collect();
        let got = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        Some(Tried { number, trial: Trial { state, batch, asked, got, failures }, leases })
    }

    pub(super) fn turn(&mut self, turn: &BreakerTurn) -> bool {
        let now = self.now;
        let Some(breaker) = self.breakers.get_mut(&turn.destination) else { return false };
        if breaker.trial != turn.number || breaker.state == BreakerState::Gone {
            return false;
        }
        breaker.trial += 1;
        if !turn.reason.is_empty() {
            breaker.reason.clone_from(&turn.reason);
        }
        match turn.turn {
            Turn::Close => drop(self.lift(&turn.destination)),
            Turn::Gone => (breaker.state, breaker.next) = (BreakerState::Gone, SHUT),
            Turn::Wait { state, batch, wait, failed } => {
                breaker.state = state;
                breaker.batch = batch;
                breaker.next = now + millis::of(wait);
                breaker.failures += u32::from(failed);
            }
        }
        true
    }

    /// Closes the breaker and ends the hold.
    pub(super) fn lift(&mut self, destination: &str) -> bool {
        self.paused.remove(destination);
        let held = self.holds.remove(destination).is_some_and(|hold| hold.until > self.now);
        self.breakers.remove(destination).is_some() || held
    }

    pub(super) fn blocked(&self) -> Vec<Blocked> {
        let mut blocked: Vec<Blocked> = self
            .holds
            .iter()
            .filter(|(_, hold)| hold.until > self.now)
            .map(|(destination, hold)| {
                let breaker = self.breakers.get(destination);
                Blocked {
                    destination: destination.clone(),
                    since: millis::timestamp(hold.since),
                    age: millis::duration(self.now - hold.since),
                    until: breaker.is_none().then(|| millis::timestamp(hold.until)),
                    breaker: breaker.map(|breaker| breaker.record(self.now)),
                }
            })
            .collect();
        blocked.sort_by(|a, b| a.destination.cmp(&b.destination));
        blocked
    }

    /// Time until a trial of one of them may begin, in milliseconds.
    pub(super) fn next_trial(&self, destinations: &[String]) -> Option<i64> {
        let named = self.breakers.iter().filter(|(name, _)| destinations.contains(name));
        let open = named.filter(|(_, breaker)| breaker.state != BreakerState::Gone);
        let worth =
            open.filter(|(name, b)| b.next > self.now || !self.due_of_both(name).is_empty());
        worth.map(|(_, breaker)| (breaker.next - self.now).max(0)).min()
    }

    /// What is due of a destination in both lanes, oldest first.
    fn due_of_both(&self, destination: &str) -> Vec<i64> {
        let due = self
            .live()
            .filter(|(_, d)| d.due <= self.now && !d.waiting && d.destination == destination);
        let mut due: Vec<(i64, i64)> = due.map(|(id, d)| (d.due, id)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }
}

impl StoredBreaker {
    fn record(&self, now: i64) -> Breaker {
        let gone = self.state == BreakerState::Gone;
        Breaker {
            state: self.state,
            reason: self.reason.clone(),
            since: millis::timestamp(self.since),
            next: (!gone).then(|| millis::timestamp(self.next)),
            next_in: millis::duration(self.next - now),
            failures: self.failures,
            batch: self.batch,
        }
    }
}
