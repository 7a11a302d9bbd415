//! One host's line to the database, and what goes wrong on it.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use postrider_core::LeaseKey;
use postrider_queue::{
    Arrived, Blocked, BreakerTurn, Enqueue, Enqueued, Look, Settle, Sweep, Taken, Taking, Tried,
    Trip,
};

use super::database::Database;
use super::*;
use crate::dispatcher::tests::wrapped::Between;

/// How often, in a thousand calls, what goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    /// The call fails and changes nothing.
    pub(super) refused: u64,
    /// The call takes effect and fails all the same.
    pub(super) answer_lost: u64,
    /// The call, or its answer, takes its time.
    pub(super) slow: u64,
}

pub(super) struct Faulty {
    pub(super) database: Arc<Database>,
    pub(super) host: usize,
    odds: Odds,
    shared: bool,
    /// The process was killed: nothing of it happens any more.
    dead: AtomicBool,
    /// It stands still until then.
    paused: Mutex<Instant>,
}

impl Faulty {
    pub(super) fn new(database: Arc<Database>, host: usize, odds: Odds, shared: bool) -> Self {
        let (dead, paused) = (AtomicBool::new(false), Mutex::new(Instant::now()));
        Self { database, host, odds, shared, dead, paused }
    }

    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(super) fn pause(&self, length: Duration) {
        *self.paused.lock().unwrap() = Instant::now() + length;
    }

    /// Waits while the host stands still, and for ever once it is dead.
    pub(super) async fn runs(&self) {
        loop {
            if self.dead.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            let until = *self.paused.lock().unwrap();
            if until <= Instant::now() || self.database.is_calm() {
                return;
            }
            sleep_until(until).await;
        }
    }

    async fn call<T>(
        &self,
        effect: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        self.runs().await;
        if self.database.is_calm() {
            return effect.await;
        }
        self.takes_its_time().await;
        if self.database.down.load(Ordering::Relaxed) || self.dice(self.odds.refused) {
            return Err(QueueError::Unavailable("refused".into()));
        }
        let answer = effect.await;
        self.takes_its_time().await;
        if self.dice(self.odds.answer_lost) {
            return Err(QueueError::Unavailable("the answer is lost".into()));
        }
        answer
    }

    async fn takes_its_time(&self) {
        if self.dice(self.odds.slow) {
            let longest = if self.dice(100) { 60_000 } else { 500 };
            sleep(self.database.dice.millis(1, longest)).await;
        }
        self.runs().await;
    }

    fn dice(&self, permille: u64) -> bool {
        self.database.dice.permille(permille)
    }
}

#[async_trait]
impl Between for Faulty {
    fn behind(&self) -> &MemoryQueue {
        &self.database.queue
    }
    async fn enqueue(&self, batch: Vec<Enqueue>) -> Result<Vec<Enqueued>, QueueError> {
        self.call(self.database.enqueue(batch)).await
    }
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        self.call(self.database.enqueue_taking(self.host, item, taking)).await
    }
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        self.call(self.behind().arrived(limit)).await
    }
    async fn fan_out(&self, routes: Vec<Route>) -> Result<u64, QueueError> {
        self.call(self.behind().fan_out(routes)).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.call(self.database.claim(self.host, claim)).await
    }
    async fn claim_overdue(&self, sweep: &Sweep) -> Result<Vec<Lease>, QueueError> {
        self.call(self.database.claim_overdue(self.host, sweep)).await
    }
    async fn extend(&self, held: &[LeaseKey], l: Duration) -> Result<Vec<LeaseKey>, QueueError> {
        self.call(self.database.extend(self.host, held, l)).await
    }
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.call(self.database.settle(self.host, batch)).await
    }
    async fn trip(&self, trip: &Trip) -> Result<bool, QueueError> {
        self.call(self.database.trip(trip)).await
    }
    async fn claim_trial(&self, claim: &TrialClaim) -> Result<Option<Tried>, QueueError> {
        self.call(self.database.claim_trial(self.host, claim)).await
    }
    async fn turn(&self, turn: &BreakerTurn) -> Result<bool, QueueError> {
        self.call(self.database.turn(turn)).await
    }
    async fn blocked(&self) -> Result<Vec<Blocked>, QueueError> {
        self.call(self.behind().blocked()).await
    }
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.call(self.behind().look(destinations)).await
    }
    fn shared(&self) -> bool {
        self.shared
    }
}
