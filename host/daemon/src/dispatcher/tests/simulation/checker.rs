//! What must hold, whatever fails: the model that sees every call take effect, and says what it must not have seen.

use std::collections::BTreeMap;

use postrider_core::settle::{Cause, MAX_LOST, Settlement};
use postrider_core::{BreakerState, LeaseKey, Policy, Turn};
use postrider_queue::{BreakerTurn, Lease, Settle, TrialClaim, Tried, Trip};

use super::trace::{Trace, What};

/// The database's clock and the true one, in milliseconds, and how often the first was set ahead.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) database: i64,
    pub(super) real: i64,
    pub(super) jumps: u32,
}

/// Everything that was given out, and what became of it.
pub(super) struct Checker {
    pub(super) known: BTreeMap<i64, Known>,
    pairs: BTreeMap<(u128, String), i64>,
    policies: BTreeMap<String, (Policy, Vec<String>)>,
    lease: i64,
    /// Destinations whose breakers are not closed, and until when a trial runs.
    shut: BTreeMap<String, Option<i64>>,
    pub(super) trace: Trace,
}

/// How a delivery was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Claim,
    Trial,
    /// To be settled, not to be sent.
    Sweep,
}

/// One delivery.
pub(super) struct Known {
    /// How it was given out last.
    way: Way,
    pub(super) token: i64,
    pub(super) attempts: u32,
    pub(super) ended: Option<Settlement>,
    /// Who takes over if it dies.
    pub(super) handover: Vec<String>,
    destination: String,
    order_key: Option<String>,
    used: u32,
    lost: u32,
    holder: Option<Holder>,
    /// Each host's last claim: how often the clock had been set ahead by then.
    claims: BTreeMap<usize, u32>,
    /// Each host's last send, and when it began.
    sends: BTreeMap<usize, (u32, i64)>,
}

struct Holder {
    host: usize,
    /// By the database's clock and by the true one.
    expires: (i64, i64),
    attempt: u32,
}

impl Checker {
    pub(super) fn new(policies: BTreeMap<String, (Policy, Vec<String>)>, lease: i64) -> Self {
        let trace = Trace::default();
        let (known, pairs, shut) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { known, pairs, policies, lease, shut, trace }
    }

    pub(super) fn claimed(&mut self, host: usize, times: Times, lease: &Lease, way: Way) {
        let LeaseKey { id, token } = lease.key;
        self.trace.add(times.real, host, id.0, What::Claimed { token, attempt: lease.attempt });
        let fallback = || self.policies[&lease.destination].1.clone();
        let handover = if lease.chain.is_empty() { fallback() } else { lease.chain.clone() };
        let beside = self.known.iter().any(|(other, known)| {
            *other != id.0
                && known.ended.is_none()
                && lease.order_key.is_some()
                && known.order_key == lease.order_key
                && known.destination == lease.destination
        });
        let pair = (lease.notification.id.0.as_u128(), lease.destination.clone());
        self.pairs.insert(pair, id.0);
        let known = self.known.entry(id.0).or_insert_with(|| Known {
            way,
            token: 0,
            attempts: 0,
            ended: None,
            handover,
            destination: lease.destination.clone(),
            order_key: lease.order_key.clone(),
            used: 0,
            lost: 0,
            holder: None,
            claims: BTreeMap::new(),
            sends: BTreeMap::new(),
        });
        let mut broken = Vec::new();
        if known.ended.is_some() {
            broken.push("a finished delivery was given out again");
        }
        if let Some(holder) = known.holder.take() {
            if times.database < holder.expires.0 {
                broken.push("a live lease was given out a second time");
            }
            known.lost += 1;
            known.attempts += 1;
        }
        if token <= known.token {
            broken.push("a claim did not make a newer token");
        }
        if lease.attempt != known.attempts + 1 {
            broken.push("the attempts are not numbered without gaps");
        }
        if (lease.standing.used, lease.standing.lost) != (known.used, known.lost) {
            broken.push("a budget was not kept");
        }
        if beside && broken.is_empty() {
            broken.push("two of one key were given out at once");
        }
        if way == Way::Claim && self.shut.contains_key(&lease.destination) {
            broken.push("something was given out behind an open breaker");
        }
        known.way = way;
        known.token = token;
        known.claims.insert(host, times.jumps);
        let expires = (times.database + self.lease, times.real + self.lease);
        known.holder = Some(Holder { host, expires, attempt: lease.attempt });
        self.trace.broken(id.0, broken);
    }

    /// A breaker opens, or is found gone.
    pub(super) fn tripped(&mut self, trip: &Trip, changed: bool) {
        if changed {
            self.shut.insert(trip.destination.clone(), None);
        }
    }

    pub(super) fn tried(&mut self, host: usize, times: Times, claim: &TrialClaim, tried: &Tried) {
        let patience = i64::try_from(claim.patience.as_millis()).unwrap();
        let until = Some(times.database + patience);
        let broken = match self.shut.insert(claim.destination.clone(), until) {
            None => Some("a closed breaker was tried"),
            Some(Some(until)) if times.database < until => Some("two trials ran at once"),
            Some(_) => None,
        };
        let most = if tried.trial.state == BreakerState::Probing { 1 } else { tried.trial.batch };
        let too_many = tried.leases.len() > most as usize;
        let too_many = too_many.then_some("a trial took more than its batch");
        self.trace.broken(0, broken.into_iter().chain(too_many));
        for lease in &tried.leases {
            self.claimed(host, times, lease, Way::Trial);
        }
    }

    pub(super) fn turned(&mut self, turn: &BreakerTurn, changed: bool) {
        if changed && turn.turn == Turn::Close {
            self.shut.remove(&turn.destination);
        } else if changed {
            self.shut.insert(turn.destination.clone(), None);
        }
    }

    pub(super) fn resumed(&mut self, destination: &str) {
        self.shut.remove(destination);
    }

    pub(super) fn extended(&mut self, host: usize, times: Times, key: LeaseKey, lost: bool) {
        let LeaseKey { id, token } = key;
        self.trace.add(times.real, host, id.0, What::Extended { token, lost });
        let Some(known) = self.known.get_mut(&id.0) else { return };
        let expires = (times.database + self.lease, times.real + self.lease);
        let holder = known.holder.as_mut().filter(|_| known.token == token);
        let broken = match (holder, lost) {
            (Some(holder), false) => {
                holder.expires = expires;
                None
            }
            (Some(_), true) => Some("the holder of the newest token could not extend"),
            (None, false) => Some("a stale extension was accepted"),
            (None, true) => None,
        };
        self.trace.broken(id.0, broken);
    }

    pub(super) fn settled(&mut self, host: usize, times: Times, item: &Settle, lost: bool) {
        let LeaseKey { id, token } = item.key;
        let what = What::Settled { token, settlement: item.settlement.clone(), lost };
        self.trace.add(times.real, host, id.0, what);
        let Some(known) = self.known.get_mut(&id.0) else { return };
        let held = known.holder.is_some() && known.token == token;
        if held == lost {
            let broken = if lost {
                "the holder of the newest token could not settle"
            } else {
                "a stale settlement was accepted"
            };
            self.trace.broken(id.0, [broken]);
        }
        if lost {
            return;
        }
        known.holder = None;
        let (policy, _) = &self.policies[&known.destination];
        let broken = known.settle(item, policy);
        self.trace.broken(id.0, broken);
    }

    /// A send begins.
    pub(super) fn started(&mut self, host: usize, times: Times, pair: (u128, &str), attempt: u32) {
        let Some(id) = self.pairs.get(&(pair.0, pair.1.to_owned())).copied() else {
            self.trace.broken(0, ["something was sent that was never given out"]);
            return;
        };
        self.trace.add(times.real, host, id, What::Started { attempt });
        let Some(known) = self.known.get_mut(&id) else { return };
        known.sends.insert(host, (attempt, times.real));
        // A lease that ends early because the database's clock was set ahead is nobody's fault.
        if known.claims.get(&host).is_none_or(|jumps| *jumps != times.jumps) {
            return;
        }
        let mut broken = Vec::new();
        if known.way == Way::Sweep
            && known.holder.as_ref().is_some_and(|h| h.host == host && h.attempt == attempt)
        {
            broken.push("what was swept was sent");
        }
        match &known.holder {
            Some(holder) if holder.host == host => {
                // It may be claimed more often than that: the claim that is to end it can be lost, too.
                if holder.attempt == attempt && known.lost >= MAX_LOST {
                    broken.push("a delivery that was lost too often was sent");
                }
            }
            Some(holder) => {
                let live = times.database < holder.expires.0 && times.real < holder.expires.1;
                if live {
                    broken.push("a send was started while another host holds a live lease");
                }
            }
            None => broken.push("a send was started without a lease"),
        }
        self.trace.broken(id, broken);
    }

    /// A send has its answer.
    pub(super) fn answered(&mut self, host: usize, times: Times, pair: (u128, &str), attempt: u32) {
        let Some(id) = self.pairs.get(&(pair.0, pair.1.to_owned())).copied() else { return };
        self.trace.add(times.real, host, id, What::Answered { attempt });
        let last = self.known.get(&id).and_then(|known| known.sends.get(&host));
        let outlived = last.is_some_and(|(last, at)| *last > attempt && times.real > *at);
        let broken = outlived.then_some("a send went on beside the next one of its own host");
        self.trace.broken(id, broken);
    }
}

impl Known {
    fn settle(&mut self, item: &Settle, policy: &Policy) -> Option<&'static str> {
        if item.settlement == Settlement::Released {
            return None;
        }
        let lost = std::mem::take(&mut self.lost);
        self.attempts += u32::from(item.attempt.is_some());
        let outcome = item.attempt.as_ref().map(|attempt| attempt.outcome.as_str());
        let legal = match &item.settlement {
            Settlement::Delivered => outcome == Some("delivered"),
            Settlement::Retry { counted, .. } => {
                self.used += u32::from(*counted);
                policy.attempts.is_none_or(|budget| self.used < budget)
            }
            Settlement::Dead { cause } => match cause {
                Cause::Rejected => outcome == Some("rejected"),
                Cause::Gone => outcome == Some("gone"),
                Cause::Exhausted => policy.attempts == Some(self.used + 1),
                // Only where it is short does a run last so long.
                Cause::Expired => policy.max_age.as_secs() <= 600,
                Cause::Lost => lost >= MAX_LOST && outcome.is_none(),
                Cause::Orphaned => false,
                Cause::Diverted => outcome.is_none() && !self.handover.is_empty(),
            },
            Settlement::Released => true,
        };
        match item.settlement {
            Settlement::Retry { .. } | Settlement::Released => {}
            Settlement::Delivered | Settlement::Dead { .. } => {
                self.ended = Some(item.settlement.clone());
            }
        }
        if !legal {
            return Some("a settlement without a legal cause");
        }
        let dead = matches!(item.settlement, Settlement::Dead { .. });
        let heirs = item
            .handover
            .iter()
            .flat_map(|to| std::iter::once(&to.taker.destination).chain(&to.chain));
        (dead && !heirs.eq(&self.handover)).then_some("a dead delivery was not handed over")
    }
}
