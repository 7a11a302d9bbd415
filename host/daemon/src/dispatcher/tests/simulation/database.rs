//! The one database of all hosts: the queue in memory, broken on purpose where a test wants it, under the checker's eyes.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use postrider_core::{DeliveryId, LeaseKey};
use postrider_queue::{BreakerTurn, Enqueue, Enqueued, Settle, Sweep, Taken, Taking, Tried, Trip};

use super::checker::{Checker, Times, Way};
use super::dice::Dice;
use super::trace::What;
use super::*;

/// What a mutation test breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    /// A settlement is written whoever holds the lease.
    SettleIgnoresToken,
    /// A claim leaves the token as it was.
    ClaimKeepsToken,
    /// A claim takes what another host holds.
    LiveLeaseTwice,
    /// Deliveries of one key do not wait for each other.
    OrderIgnored,
    /// Settlements are answered and not written.
    SettlementsDropped,
    /// Notifications are acknowledged and not stored.
    EnqueuesDropped,
    /// A breaker's opening is answered and not written.
    TripsDropped,
}

pub(super) struct Database {
    pub(super) queue: MemoryQueue,
    pub(super) checker: Mutex<Checker>,
    pub(super) dice: Dice,
    broken: Broken,
    start: Instant,
    ahead: AtomicI64,
    jumps: AtomicU32,
    /// Faults have ended.
    pub(super) calm: AtomicBool,
    /// Refuses every call.
    pub(super) down: AtomicBool,
    given: Mutex<Vec<Lease>>,
}

impl Database {
    pub(super) fn new(checker: Checker, dice: Dice, broken: Broken) -> Self {
        Self {
            queue: MemoryQueue::new(Timestamp::UNIX_EPOCH),
            checker: Mutex::new(checker),
            dice,
            broken,
            start: Instant::now(),
            ahead: AtomicI64::new(0),
            jumps: AtomicU32::new(0),
            calm: AtomicBool::new(false),
            down: AtomicBool::new(false),
            given: Mutex::default(),
        }
    }

    pub(super) fn times(&self) -> Times {
        let real = i64::try_from(self.start.elapsed().as_millis()).unwrap();
        let database = real + self.ahead.load(Ordering::Relaxed);
        Times { database, real, jumps: self.jumps.load(Ordering::Relaxed) }
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Notes what happens to a host, or to the world.
    pub(super) fn note(&self, host: usize, what: &'static str) {
        let real = self.times().real;
        self.checker.lock().unwrap().trace.add(real, host, 0, What::World(what));
    }

    /// Sets the database's clock.
    pub(super) fn jump(&self, by: Duration, ahead: bool) {
        let millis = i64::try_from(by.as_millis()).unwrap();
        if ahead {
            self.queue.advance(by);
            self.ahead.fetch_add(millis, Ordering::Relaxed);
            self.jumps.fetch_add(1, Ordering::Relaxed);
        } else {
            self.queue.set_back(by);
            self.ahead.fetch_sub(millis, Ordering::Relaxed);
        }
        self.note(0, if ahead { "the clock is set ahead" } else { "the clock is set back" });
    }

    pub(super) async fn enqueue_taking(
        &self,
        host: usize,
        item: Enqueue,
        taking: Taking,
    ) -> Result<Taken, QueueError> {
        if let Some(enqueued) = self.dropped(&item) {
            return Ok(Taken { enqueued, leases: Vec::new() });
        }
        let taken = self.queue.enqueue_taking(item, taking).await?;
        let mut checker = self.checker.lock().unwrap();
        for lease in &taken.leases {
            checker.claimed(host, self.times(), lease, Way::Claim);
        }
        Ok(taken)
    }

    /// What is acknowledged and not stored.
    fn dropped(&self, item: &Enqueue) -> Option<Enqueued> {
        let drops = self.broken == Broken::EnqueuesDropped && self.dice.permille(50);
        drops.then_some(Enqueued::Stored { id: item.notification.id, deliveries: 1 })
    }

    pub(super) async fn enqueue(
        &self,
        mut batch: Vec<Enqueue>,
    ) -> Result<Vec<Enqueued>, QueueError> {
        if let Some(enqueued) = batch.first().and_then(|item| self.dropped(item)) {
            return Ok(vec![enqueued]);
        }
        if self.broken == Broken::OrderIgnored {
            let targets = batch.iter_mut().flat_map(|item| &mut item.destinations);
            targets.for_each(|target| target.order_key = None);
        }
        self.queue.enqueue(batch).await
    }

    pub(super) async fn claim(&self, host: usize, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        let mut leases = self.queue.claim(claim).await?;
        match self.broken {
            Broken::ClaimKeepsToken => {
                for lease in leases.iter_mut().filter(|lease| lease.key.token > 1) {
                    lease.key.token -= 1;
                }
            }
            Broken::OrderIgnored => {
                for lease in leases.iter_mut().filter(|lease| lease.destination == "single") {
                    lease.order_key = lease.notification.subject.clone();
                }
            }
            Broken::LiveLeaseTwice => {
                let mut given = self.given.lock().unwrap();
                let again = given.pop().filter(|_| self.dice.permille(200));
                given.extend(leases.first().cloned());
                leases.extend(again.map(|mut lease| {
                    lease.key.token += 1;
                    lease
                }));
            }
            Broken::Nothing
            | Broken::SettleIgnoresToken
            | Broken::SettlementsDropped
            | Broken::TripsDropped
            | Broken::EnqueuesDropped => {}
        }
        let mut checker = self.checker.lock().unwrap();
        for lease in &leases {
            checker.claimed(host, self.times(), lease, Way::Claim);
        }
        Ok(leases)
    }

    pub(super) async fn claim_overdue(
        &self,
        host: usize,
        sweep: &Sweep,
    ) -> Result<Vec<Lease>, QueueError> {
        let leases = self.queue.claim_overdue(sweep).await?;
        let mut checker = self.checker.lock().unwrap();
        for lease in &leases {
            checker.claimed(host, self.times(), lease, Way::Sweep);
        }
        Ok(leases)
    }

    pub(super) async fn extend(
        &self,
        host: usize,
        held: &[LeaseKey],
        lease: Duration,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        let lost = self.queue.extend(held, lease).await?;
        let mut checker = self.checker.lock().unwrap();
        for key in held {
            checker.extended(host, self.times(), *key, lost.contains(key));
        }
        Ok(lost)
    }

    pub(super) async fn settle(
        &self,
        host: usize,
        batch: Vec<Settle>,
    ) -> Result<Vec<LeaseKey>, QueueError> {
        let mut written = batch.clone();
        match self.broken {
            Broken::SettleIgnoresToken => {
                written.iter_mut().for_each(|item| item.key.token = self.newest(item.key.id));
            }
            Broken::SettlementsDropped => written.retain(|_| !self.dice.permille(50)),
            Broken::Nothing
            | Broken::ClaimKeepsToken
            | Broken::OrderIgnored
            | Broken::LiveLeaseTwice
            | Broken::TripsDropped
            | Broken::EnqueuesDropped => {}
        }
        let mut lost = self.queue.settle(written).await?;
        if self.broken == Broken::SettleIgnoresToken {
            lost.clear();
        }
        let mut checker = self.checker.lock().unwrap();
        for item in &batch {
            checker.settled(host, self.times(), item, lost.contains(&item.key));
        }
        Ok(lost)
    }

    pub(super) async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        let changed = match self.broken {
            Broken::TripsDropped => true,
            _ => self.queue.trip(trip).await?,
        };
        self.checker.lock().unwrap().tripped(trip, changed);
        Ok(changed)
    }

    pub(super) async fn claim_trial(
        &self,
        host: usize,
        claim: &TrialClaim,
    ) -> Result<Option<Tried>, QueueError> {
        let tried = self.queue.claim_trial(claim).await?;
        if let Some(tried) = &tried {
            self.checker.lock().unwrap().tried(host, self.times(), claim, tried);
        }
        Ok(tried)
    }

    pub(super) async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        let changed = self.queue.turn(turn).await?;
        self.checker.lock().unwrap().turned(turn, changed);
        Ok(changed)
    }

    /// A person resumes what is gone.
    pub(super) async fn resume_gone(&self) {
        for blocked in self.queue.blocked().await.unwrap() {
            let gone = blocked.breaker.is_some_and(|breaker| breaker.next.is_none());
            if gone && self.queue.resume(&blocked.destination).await.unwrap() {
                self.checker.lock().unwrap().resumed(&blocked.destination);
            }
        }
    }

    fn newest(&self, id: DeliveryId) -> i64 {
        self.checker.lock().unwrap().known[&id.0].token
    }
}
