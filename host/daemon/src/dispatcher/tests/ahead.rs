//! What is leased ahead of the free slots.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use postrider_queue::{Look, Taken, Taking};

use super::wrapped::{Between, Wrapped};
use super::*;

const SLOTS: usize = 4;
const TOOK: Duration = Duration::from_millis(10);

/// Counts claims and looks; each claim takes a moment.
struct Counting {
    inner: Arc<MemoryQueue>,
    claims: AtomicUsize,
    brought: AtomicUsize,
    looks: AtomicUsize,
}

#[async_trait]
impl Between for Counting {
    fn behind(&self) -> &MemoryQueue {
        &self.inner
    }
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        self.inner.enqueue_taking(item, taking).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        sleep(Duration::from_millis(1)).await;
        let leases = self.inner.claim(claim).await?;
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.brought.fetch_add(leases.len(), Ordering::Relaxed);
        Ok(leases)
    }
    async fn look(&self, destinations: &[String]) -> Result<Look, QueueError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.inner.look(destinations).await
    }
}

/// Takes ten milliseconds for each, until it is told to do otherwise.
#[derive(Default)]
struct Steady {
    sent: Mutex<Vec<u128>>,
    hangs: AtomicBool,
    /// Answers once that it wants no more for a minute.
    tired: AtomicBool,
    fails: AtomicBool,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl NotifierCall for Steady {
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        self.sent.lock().unwrap().push(notification.id.0.as_u128());
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(under_way, Ordering::Relaxed);
        sleep(TOOK).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let outcome = if self.tired.swap(false, Ordering::Relaxed) {
            let after = Some(Duration::from_secs(60));
            Outcome::Retry { reason: "429".into(), after, scope: Scope::Destination }
        } else if self.fails.load(Ordering::Relaxed)
            || attempt == 1 && notification.id.0.as_u128() % 50 == 7
        {
            Outcome::Retry { reason: "503".into(), after: None, scope: Scope::Delivery }
        } else {
            Outcome::Delivered(Receipt::default())
        };
        Sent::new(outcome, parts_done)
    }

    fn module(&self) -> &str {
        "00"
    }
}

struct Mill {
    steady: Arc<Steady>,
    counting: Arc<Counting>,
    queue: Arc<dyn Queue>,
    stage: Stage,
    next: u128,
}

impl Mill {
    fn start() -> Self {
        let inner = Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH));
        let counting =
            Counting { inner: inner.clone(), claims: 0.into(), brought: 0.into(), looks: 0.into() };
        let counting = Arc::new(counting);
        let queue: Arc<dyn Queue> = Arc::new(Wrapped(counting.clone()));
        let steady = Arc::new(Steady::default());
        let text = format!(
            "policy = {{ concurrency = {SLOTS}, backoff = ['2s'], breaker = {{ failures = 3, wait = '60s' }} }}"
        );
        let notifier: Arc<dyn NotifierCall> = steady.clone();
        let mut registry = Registry::default();
        registry.insert(entry("a", &text, Some(notifier))).unwrap();
        let stage = Stage::of(256, queue.clone(), inner, registry);
        Self { steady, counting, queue, stage, next: 0 }
    }

    /// Stores so many, as fast as they are delivered.
    async fn stores(&mut self, many: u32) {
        for _ in 0..many {
            self.next += 1;
            self.stage.waker.enqueue(&self.queue, vec![item(self.next, &["a"])]).await.unwrap();
            sleep(TOOK / u32::try_from(SLOTS).unwrap()).await;
        }
    }

    /// Stores many more at once than there are slots, by the door.
    async fn floods(&mut self, many: u32) {
        for _ in 0..many {
            self.next += 1;
            self.stage.waker.enqueue(&self.queue, vec![item(self.next, &["a"])]).await.unwrap();
        }
    }

    async fn in_state(&self, state: DeliveryState) -> usize {
        self.stage.deliveries().await.iter().filter(|one| one.state == state).count()
    }

    /// Those of other hosts do not count.
    async fn leased_above(&self, id: u128) -> usize {
        let all = self.stage.deliveries().await;
        let leased =
            all.iter().filter(|one| one.state == DeliveryState::Leased && one.attempts > 1);
        leased.filter(|one| one.notification.0.as_u128() > id).count()
    }

    fn sent(&self) -> usize {
        self.steady.sent.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_brings_what_ends_within_the_time() {
    let mut mill = Mill::start();
    // It is not known yet how fast it is.
    mill.floods(900).await;
    while mill.sent() < 900 {
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(5)).await;
    let all = mill.stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(all.len(), 900);
    let (claims, brought) = (
        mill.counting.claims.load(Ordering::Relaxed),
        mill.counting.brought.load(Ordering::Relaxed),
    );
    assert!(brought > 850 && claims < 60, "{claims} claims for {brought}");
    assert_eq!(mill.steady.most.load(Ordering::Relaxed), SLOTS);
    mill.stage.stop().await;
}

/// Of these, as many fit among what waits as a claim has to bring to be worth it: no slot that becomes free has the loop
/// ask in vain.
#[tokio::test(start_paused = true)]
async fn what_finds_no_bytes_left_wakes_nobody() {
    let mut mill = Mill::start();
    mill.stores(100).await;
    let large = super::super::ahead::BYTES / 105 - (1 << 10);
    for id in 1_000..1_900 {
        let mut large_one = item(id, &["a"]);
        large_one.notification.content = vec![b'x'; large].into();
        mill.stage.waker.enqueue(&mill.queue, vec![large_one]).await.unwrap();
    }
    let before = mill.counting.looks.load(Ordering::Relaxed);
    while mill.in_state(DeliveryState::Delivered).await < 900 {
        sleep(Duration::from_millis(50)).await;
    }
    let looks = mill.counting.looks.load(Ordering::Relaxed) - before;
    assert!(looks < 60, "{looks} looks for some 800 deliveries");
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_waits_for_a_slot_without_a_claim() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    sleep(Duration::from_millis(100)).await;
    let claims = mill.counting.claims.load(Ordering::Relaxed);
    mill.floods(60).await;
    assert_eq!(mill.in_state(DeliveryState::Leased).await, 60);
    sleep(Duration::from_millis(250)).await;
    assert_eq!(mill.sent() - 200, 60);
    assert!(mill.counting.claims.load(Ordering::Relaxed) - claims < 5);
    let sent = mill.steady.sent.lock().unwrap().clone();
    assert!(sent.ends_with(&(201..=260).collect::<Vec<_>>()), "in their order");
    assert_eq!(mill.steady.most.load(Ordering::Relaxed), SLOTS);
    mill.stage.stop().await;
}

/// The flood does not end, and all of it goes by the door.
#[tokio::test(start_paused = true)]
async fn what_is_due_again_does_not_starve_beside_a_flood() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.floods(150).await;
    mill.stores(2_000).await;
    let sent = mill.steady.sent.lock().unwrap().clone();
    for again in (7..1_000).step_by(50) {
        let tries = sent.iter().filter(|id| **id == again).count();
        assert_eq!(tries, 2, "{again} was due long before the end");
    }
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_asks_for_a_rest_gets_nothing_that_waited() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.floods(60).await;
    mill.steady.tired.store(true, Ordering::Relaxed);
    let sent = mill.sent();
    sleep(Duration::from_secs(5)).await;
    assert!(mill.sent() - sent <= 2 * SLOTS, "{}", mill.sent() - sent);
    assert_eq!(mill.in_state(DeliveryState::Leased).await, 0);
    let all = mill.stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(all.len(), 260);
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_left_alone_gets_nothing_that_waited() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.floods(60).await;
    mill.steady.fails.store(true, Ordering::Relaxed);
    let sent = mill.sent();
    sleep(Duration::from_secs(5)).await;
    assert!(mill.sent() - sent <= 3 * SLOTS, "{}", mill.sent() - sent);
    assert_eq!(mill.in_state(DeliveryState::Leased).await, 0);
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_destination_gets_nothing_that_waited() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.floods(60).await;
    mill.queue.pause("a", "").await.unwrap();
    mill.stage.waker.rest("a");
    let sent = mill.sent();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(mill.sent(), sent);
    assert_eq!(mill.in_state(DeliveryState::Leased).await, 0);
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_destination_that_hangs_is_handed_back() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.steady.hangs.store(true, Ordering::Relaxed);
    mill.floods(60).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(mill.in_state(DeliveryState::Leased).await, SLOTS);
    let waiting = mill.stage.deliveries().await;
    let waiting = waiting.iter().filter(|one| one.state == DeliveryState::Pending);
    assert!(waiting.clone().count() >= 60 - SLOTS);
    assert!(waiting.clone().all(|one| one.attempts == 0 || one.notification.0.as_u128() % 50 == 7));
    mill.stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_back_what_waits_and_counts_nothing() {
    let mut mill = Mill::start();
    mill.stores(200).await;
    mill.floods(60).await;
    let Mill { stage, .. } = mill;
    let (queue, start) = (stage.queue.clone(), Instant::now());
    stage.stop().await;
    assert!(start.elapsed() <= TOOK);
    let page = Page { after: None, limit: 1_000 };
    let filter = DeliveryFilter {
        state: Some(DeliveryState::Pending),
        destination: None,
        notification: None,
        id: None,
        above: None,
        page,
    };
    let waiting = queue.deliveries(&filter).await.unwrap();
    assert!(waiting.len() >= 50, "{}", waiting.len());
    for delivery in waiting.iter().filter(|one| one.notification.0.as_u128() > 200) {
        assert!(queue.attempts(delivery.id).await.unwrap().is_empty());
    }
}

/// A host went with many leases. Whatever of them it was, the others do not wait beside it again.
#[tokio::test(start_paused = true)]
async fn what_was_lost_is_not_leased_ahead() {
    let mut mill = Mill::start();
    mill.stores(100).await;
    let host = HostId(Uuid::from_u128(9));
    let gone = Taking { host, lease: Duration::from_secs(1), destinations: vec!["a".into()] };
    for id in 1_001..=1_150 {
        mill.queue.enqueue_taking(item(id, &["a"]), gone.clone()).await.unwrap();
    }
    // As fast as ever, until they have expired.
    mill.stores(410).await;
    while mill.leased_above(1_000).await == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // What the first claim brought too many of is back.
    sleep(Duration::from_millis(10)).await;
    let mut most = 0;
    while mill.in_state(DeliveryState::Delivered).await < 600 {
        most = most.max(mill.leased_above(1_000).await);
        sleep(Duration::from_millis(1)).await;
    }
    assert!(most <= SLOTS, "{most} at once");
    mill.stage.stop().await;
}
