//! A queue whose claims and settlements fail when a test says so, and that counts what it is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use postrider_core::LeaseKey;
use postrider_queue::{Arrived, Look, Settle};

use super::wrapped::{Between, Wrapped};
use super::*;

pub(super) struct Unsteady {
    pub(super) inner: Arc<MemoryQueue>,
    /// How many more claims fail.
    pub(super) failing_claims: AtomicUsize,
    /// How many more settlements fail.
    pub(super) failing_settles: AtomicUsize,
    /// Every call fails.
    pub(super) down: AtomicBool,
    /// No call is ever answered.
    pub(super) stuck: AtomicBool,
    pub(super) claims: AtomicUsize,
    pub(super) looks: AtomicUsize,
    pub(super) arrivals: AtomicUsize,
    pub(super) shared: AtomicBool,
    /// Words of other hosts.
    pub(super) words: Notify,
    /// Its listener is closed: every wait for a word ends at once.
    pub(super) deaf: AtomicBool,
}

impl Unsteady {
    pub(super) fn new(failing_claims: usize, failing_settles: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH)),
            failing_claims: AtomicUsize::new(failing_claims),
            failing_settles: AtomicUsize::new(failing_settles),
            down: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            claims: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            arrivals: AtomicUsize::new(0),
            shared: AtomicBool::new(false),
            words: Notify::new(),
            deaf: AtomicBool::new(false),
        })
    }

    /// One that other hosts use, too.
    pub(super) fn shared() -> Arc<Self> {
        let unsteady = Self::new(0, 0);
        unsteady.shared.store(true, Ordering::Relaxed);
        unsteady
    }

    pub(super) fn queue(self: &Arc<Self>) -> Arc<dyn Queue> {
        Arc::new(Wrapped(Arc::clone(self)))
    }

    async fn answers(&self) -> Result<(), QueueError> {
        if self.stuck.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.down.load(Ordering::Relaxed) {
            true => Err(QueueError::Unavailable("connection refused".into())),
            false => Ok(()),
        }
    }

    /// Claims, looks and looks for arrivals since the last call.
    pub(super) fn asked(&self) -> [usize; 3] {
        [&self.claims, &self.looks, &self.arrivals].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

fn fails(counter: &AtomicUsize) -> Result<(), QueueError> {
    match counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(QueueError::Unavailable("the disk is full".into())),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl Between for Unsteady {
    fn behind(&self) -> &MemoryQueue {
        &self.inner
    }
    async fn arrived(&self, limit: usize) -> Result<Vec<Arrived>, QueueError> {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        self.inner.arrived(limit).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.answers().await?;
        fails(&self.failing_claims)?;
        self.inner.claim(claim).await
    }
    async fn extend(&self, held: &[LeaseKey], l: Duration) -> Result<Vec<LeaseKey>, QueueError> {
        self.answers().await?;
        self.inner.extend(held, l).await
    }
    async fn settle(&self, batch: Vec<Settle>) -> Result<Vec<LeaseKey>, QueueError> {
        self.answers().await?;
        fails(&self.failing_settles)?;
        self.inner.settle(batch).await
    }
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.answers().await?;
        self.inner.look(destinations).await
    }
    fn shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }
    async fn wait_for_work(&self) {
        if !self.deaf.load(Ordering::Relaxed) {
            self.words.notified().await;
        }
    }
}
