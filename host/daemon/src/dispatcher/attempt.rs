//! One attempt: from a lease to a settlement.

use std::sync::Arc;

use postrider_core::settle::{self, Settlement};
use postrider_core::{Attempt, LeaseKey, Outcome};
use postrider_queue::{Handover, Lease, Settle};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::breakers::{self, Diversion, Ticket};
use super::settler::Settler;
use super::{Blame, NotifierCall, Sent, Shared};
use crate::registry::{Entry, Registry};
use crate::signals::Lost;

/// A send does not start when less than this share of its lease is left: its receiver may get it a second time.
const MARGIN_SHARE: u32 = 4;

/// Starts the attempt of a lease that was claimed at `claimed`, or settles it untried where none may start: then its slot
/// is still the caller's, and the answer is false.
pub(super) fn start_in(
    shared: &Arc<Shared>,
    registry: &Registry,
    (mut lease, claimed): (Lease, Instant),
    settler: &Settler,
    ticket: Option<Ticket>,
) -> bool {
    let Some(entry) = registry.destination(&lease.destination) else {
        settler.settle(&lease, release(&lease));
        return false;
    };
    let waited = claimed.elapsed();
    lease.standing = lease.standing.after(waited);
    if let Some(cause) = settle::refuse(&lease.standing, &entry.spec.policy) {
        refuse(shared, Some(entry), &lease, cause, settler);
        return false;
    }
    let stale = waited > shared.options.lease - shared.options.lease / MARGIN_SHARE;
    let Some(call) = entry.call().filter(|_| !stale).cloned() else {
        settler.settle(&lease, release(&lease));
        return false;
    };
    let until = call.patience(&lease.notification).map(|patience| Instant::now() + patience);
    let lost = shared.held.hold(lease.key, until);
    let (shared, settler) = (shared.clone(), settler.clone());
    let attempts = shared.attempts.clone();
    let begun = Begun { shared, lease, settler, freed: false, settled: false };
    let attempt = run(begun, lost, entry.clone(), call.clone(), ticket);
    call.start(Box::pin(attempts.track_future(attempt)));
    true
}

/// Settles what was leased because it came too late, or because its fallback takes over. It took no slot.
pub(super) fn end_overdue(
    shared: &Shared,
    entry: Option<&Entry>,
    lease: &Lease,
    diversion: Option<&Diversion>,
    settler: &Settler,
) {
    let cause = match entry {
        Some(entry) => settle::refuse(&lease.standing, &entry.spec.policy),
        None => lease.standing.is_expired().then_some(settle::Cause::Expired),
    };
    if let Some(cause) = cause {
        return refuse(shared, entry, lease, cause, settler);
    }
    let taker = handover(shared, entry, lease);
    match diversion.filter(|to| taker.is_some() && lease.standing.age >= to.after) {
        Some(diversion) => {
            let dead = Settlement::Dead { cause: settle::Cause::Diverted };
            let dead = without_attempt(lease, dead, &diversion.why);
            settler.settle(lease, Settle { handover: taker, ..dead });
        }
        // A reload has given it more time since.
        None => settler.settle(lease, release(lease)),
    }
}

fn refuse(
    shared: &Shared,
    entry: Option<&Entry>,
    lease: &Lease,
    cause: settle::Cause,
    settler: &Settler,
) {
    let reason = match cause {
        settle::Cause::Lost => "its lease expired too often: its attempts never ended",
        settle::Cause::Expired if lease.standing.is_expired() => "expires_after has passed",
        settle::Cause::Expired => "older than max_age",
        settle::Cause::Rejected
        | settle::Cause::Gone
        | settle::Cause::Exhausted
        | settle::Cause::Orphaned
        | settle::Cause::Diverted => "refused",
    };
    let settle = Settle {
        handover: handover(shared, entry, lease),
        ..without_attempt(lease, Settlement::Dead { cause }, reason)
    };
    settler.settle(lease, settle);
}

/// Hands a lease back untried.
pub(super) fn release(lease: &Lease) -> Settle {
    without_attempt(lease, Settlement::Released, "")
}

async fn run(
    begun: Begun,
    lost: CancellationToken,
    entry: Arc<Entry>,
    call: Arc<dyn NotifierCall>,
    ticket: Option<Ticket>,
) {
    let (shared, lease) = (&begun.shared, &begun.lease);
    let started = (shared.options.now)();
    let clock = Instant::now();
    let _running = shared.options.signals.attempting(&lease.destination);
    let sent = tokio::select! {
        biased;
        sent = call.send(&lease.notification, lease.attempt, lease.parts_done) => Some(sent),
        () = lost.cancelled() => {
            shared.options.signals.lease_lost(&lease.destination, Lost::Sending);
            tracing::warn!(
                delivery.id = %lease.key.id, destination.name = lease.destination,
                "the lease was lost while sending; the attempt is abandoned"
            );
            return;
        }
        () = shared.hand_back.cancelled() => None,
    };
    // Before the slot is free: a destination that is left alone from now on gets no more.
    let sent = sent.map(|sent| breakers::judge(shared, &entry, sent, ticket));
    let duration = clock.elapsed();
    let settle = match sent {
        None => release(lease),
        Some(sent) => {
            shared.options.signals.attempted(&lease.destination, &sent.outcome, duration);
            let attempt = Attempt {
                number: lease.attempt,
                started,
                duration,
                outcome: sent.outcome.label().to_owned(),
                reason: sent.outcome.reason(),
                plugin: call.module().to_owned(),
                host: shared.options.host,
            };
            conclude(shared, &entry, lease, sent, attempt, duration)
        }
    };
    begun.settle(settle);
}

fn conclude(
    shared: &Shared,
    entry: &Entry,
    lease: &Lease,
    sent: Sent,
    attempt: Attempt,
    duration: Duration,
) -> Settle {
    let standing = lease.standing.after(duration);
    let (policy, dice) = (&entry.spec.policy, (shared.options.dice)());
    let settlement = match sent.blame {
        Blame::Spared => settle::spare(&standing, policy, dice),
        Blame::Elsewhere | Blame::Module => settle::settle(&sent.outcome, &standing, policy, dice),
    };
    say(lease, &sent.outcome, &settlement);
    let dead = settlement.is_death();
    Settle {
        key: lease.key,
        settlement,
        parts_done: sent.parts_done,
        reason: attempt.reason.clone(),
        attempt: Some(attempt),
        handover: if dead { handover(shared, Some(entry), lease) } else { None },
    }
}

/// One line for each attempt, where it is decided.
fn say(lease: &Lease, outcome: &Outcome, settlement: &Settlement) {
    let LeaseKey { id, .. } = lease.key;
    let (destination, attempt) = (&lease.destination, lease.attempt);
    let notification = lease.notification.id;
    let (outcome, reason) = (outcome.label(), outcome.reason());
    match settlement {
        Settlement::Delivered | Settlement::Released => {
            tracing::debug!(delivery.id = %id, notification.id = %notification, destination.name = destination, attempt.number = attempt, "delivered");
        }
        Settlement::Retry { delay, .. } => {
            tracing::info!(delivery.id = %id, notification.id = %notification, destination.name = destination, attempt.number = attempt, attempt.outcome = outcome, attempt.reason = reason, delivery.delay = ?delay, "will be tried again");
        }
        Settlement::Dead { cause } => {
            tracing::warn!(delivery.id = %id, notification.id = %notification, destination.name = destination, attempt.number = attempt, attempt.outcome = outcome, attempt.reason = reason, delivery.cause = cause.name(), "gave up");
        }
    }
}

/// Who takes over: what is left of the chain that this delivery came by, else its destination's own chain.
fn handover(shared: &Shared, entry: Option<&Entry>, lease: &Lease) -> Option<Handover> {
    let own = entry.map(|entry| &*entry.spec.fallback).unwrap_or_default();
    let (first, rest) = if lease.chain.is_empty() { own } else { &lease.chain }.split_first()?;
    let taker = shared.registry.load().target(first, &lease.notification);
    Some(Handover { taker, chain: rest.to_vec() })
}

fn without_attempt(lease: &Lease, settlement: Settlement, reason: &str) -> Settle {
    Settle {
        key: lease.key,
        settlement,
        parts_done: lease.parts_done,
        reason: reason.to_owned(),
        attempt: None,
        handover: None,
    }
}

/// An attempt from where its lease is held, which is before its thread has time for it. Frees the slot when the send has
/// ended, whatever ended it. Without a settlement to come (a panic of ours) the lease is not extended any more: it
/// expires and is recorded as lost.
struct Begun {
    shared: Arc<Shared>,
    lease: Lease,
    settler: Settler,
    freed: bool,
    settled: bool,
}

impl Begun {
    /// What waits for a destination that asks for a rest, or is left alone from now on, is handed back.
    fn settle(mut self, settle: Settle) {
        self.settled = true;
        let Self { shared, lease, settler, .. } = &self;
        let rests = matches!(settle.settlement, Settlement::Retry { hold: Some(_), .. });
        if rests || shared.breakers.is_shut(&lease.destination) {
            settler.settle(lease, settle);
            shared.hand_back(&lease.destination, settler);
            self.free();
        } else {
            // The next one first: nobody waits for a settlement.
            self.free();
            self.settler.settle(&self.lease, settle);
        }
    }

    fn free(&mut self) {
        if !std::mem::replace(&mut self.freed, true) {
            self.shared.ended(&self.lease.destination, &self.settler);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.free();
        if !self.settled {
            self.shared.held.done(self.lease.key);
        }
    }
}
