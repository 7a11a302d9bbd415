//! The short way in.

use std::sync::atomic::Ordering;

use postrider_queue::{Enqueued, Taken, Taking};

use super::wrapped::{Between, Wrapped};
use super::*;

/// Counts claims, and what they bring; may keep those who store waiting, or refuse them.
struct Counting {
    inner: Arc<MemoryQueue>,
    asked: std::sync::atomic::AtomicUsize,
    claims: std::sync::atomic::AtomicUsize,
    taken: std::sync::atomic::AtomicUsize,
    refuses: std::sync::atomic::AtomicBool,
    /// A permit for each call that is to be answered.
    answers: tokio::sync::Semaphore,
}

impl Counting {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH)),
            asked: Default::default(),
            claims: Default::default(),
            taken: Default::default(),
            refuses: Default::default(),
            answers: tokio::sync::Semaphore::new(1_000),
        })
    }

    fn claims(&self) -> usize {
        self.claims.load(Ordering::Relaxed)
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Between for Counting {
    fn behind(&self) -> &MemoryQueue {
        &self.inner
    }
    async fn enqueue_taking(&self, item: Enqueue, taking: Taking) -> Result<Taken, QueueError> {
        let taken = self.inner.enqueue_taking(item, taking).await;
        self.answers.acquire().await.unwrap().forget();
        if self.refuses.load(Ordering::Relaxed) {
            return Err(QueueError::Unavailable("the answer is lost".into()));
        }
        self.taken.fetch_add(taken.as_ref().map_or(0, |t| t.leases.len()), Ordering::Relaxed);
        taken
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, QueueError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let leases = self.inner.claim(claim).await?;
        self.claims.fetch_add(leases.len(), Ordering::Relaxed);
        Ok(leases)
    }
}

struct Hall {
    queue: Arc<dyn Queue>,
    counting: Arc<Counting>,
    stage: Stage,
}

impl Hall {
    async fn open(destinations: &[(&str, &str, &Arc<Scripted>)]) -> Self {
        let counting = Counting::new();
        let queue: Arc<dyn Queue> = Arc::new(Wrapped(counting.clone()));
        let stage = Stage::through(queue.clone(), counting.inner.clone(), destinations);
        // Until it has looked for the first time.
        sleep(Duration::from_millis(10)).await;
        Self { queue, counting, stage }
    }

    async fn enqueue(&self, id: u128, destinations: &[&str]) -> Result<Enqueued, QueueError> {
        let answers = self.stage.waker.enqueue(&self.queue, vec![item(id, destinations)]).await;
        answers.map(|mut answers| answers.remove(0))
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_while_slots_are_free_needs_no_claim() {
    let (slack, email) = (Scripted::plays([]), Scripted::plays([]));
    let hall = Hall::open(&[("slack", "", &slack), ("email", "", &email)]).await;
    for id in 1..=20 {
        let stored = hall.enqueue(id, &["slack", "email"]).await.unwrap();
        let id = NotificationId(Uuid::from_u128(id));
        assert_eq!(stored, Enqueued::Stored { id, deliveries: 2 });
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((slack.attempts(), email.attempts()), (20, 20));
    let deliveries = hall.stage.deliveries().await;
    assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
    assert_eq!((hall.counting.taken(), hall.counting.claims()), (40, 0));
}

/// More destinations than the host has slots, which alone is no reason to claim.
#[tokio::test(start_paused = true)]
async fn slots_that_nothing_waits_for_cost_no_claims() {
    let slack = Scripted::plays([]);
    let names: Vec<String> = (0..600).map(|number| format!("d{number}")).collect();
    let destinations: Vec<_> = names.iter().map(|name| (name.as_str(), "", &slack)).collect();
    let hall = Hall::open(&destinations).await;
    let asked = || hall.counting.asked.swap(0, Ordering::Relaxed);
    asked();
    for id in 1..=100 {
        hall.enqueue(id, &["d7"]).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((hall.counting.taken(), slack.attempts()), (100, 100));
    assert_eq!(asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_free_slot_is_claimed() {
    let slack = Scripted::plays((0..8).map(|_| Play::Hang));
    let hall = Hall::open(&[("slack", "policy.concurrency = 8", &slack)]).await;
    for id in 1..=10 {
        hall.enqueue(id, &["slack"]).await.unwrap();
    }
    sleep(Duration::from_millis(10)).await;
    // Half of the slots one way, the rest by claims, and what is left waits.
    assert_eq!((hall.counting.taken(), hall.counting.claims()), (4, 4));
    assert_eq!(slack.attempts(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_for_a_full_destination_costs_no_claims() {
    let (hanging, slack) = (Scripted::plays((0..2).map(|_| Play::Hang)), Scripted::plays([]));
    let hanging_for = "policy.concurrency = 2";
    let hall = Hall::open(&[("hanging", hanging_for, &hanging), ("slack", "", &slack)]).await;
    for id in 1..=2 {
        hall.enqueue(id, &["hanging"]).await.unwrap();
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(hanging.attempts(), 2);
    hall.counting.asked.store(0, Ordering::Relaxed);
    for id in 3..=100 {
        hall.enqueue(id, &["hanging"]).await.unwrap();
        hall.enqueue(100 + id, &["slack"]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(slack.attempts(), 98);
    let asked = hall.counting.asked.load(Ordering::Relaxed);
    assert!(asked <= 2, "{asked} claims");
}

/// The slot that becomes free finds what came while there was none.
#[tokio::test(start_paused = true)]
async fn what_came_for_a_full_destination_begins_when_a_slot_is_free() {
    let slow = Scripted::plays([Play::Late(Duration::from_millis(500))]);
    let hall = Hall::open(&[("slow", "policy.concurrency = 1", &slow)]).await;
    for id in 1..=3 {
        hall.enqueue(id, &["slow"]).await.unwrap();
    }
    sleep(Duration::from_millis(400)).await;
    assert_eq!(slow.attempts(), 1, "its only slot is taken");
    // Long before the next poll.
    sleep(Duration::from_millis(110)).await;
    assert_eq!(slow.attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_by_claims() {
    let again = Outcome::Retry { reason: "no".into(), after: None, scope: Scope::Delivery };
    let slack = Scripted::plays([Play::Now(again)]);
    let hall = Hall::open(&[("slack", "policy.backoff = ['10s']", &slack)]).await;
    hall.enqueue(1, &["slack"]).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((hall.counting.taken(), hall.counting.claims()), (1, 1));
    assert_eq!(slack.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_leaves_no_lease_behind() {
    let slack = Scripted::plays([]);
    let hall = Hall::open(&[("slack", "", &slack)]).await;
    hall.counting.answers.forget_permits(1_000);
    let given_up = timeout(Duration::from_millis(1), hall.enqueue(1, &["slack"])).await;
    assert!(given_up.is_err());
    assert_eq!(slack.attempts(), 0);
    hall.counting.answers.add_permits(1);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(slack.attempts(), 1);
    assert_eq!(hall.stage.deliveries().await[0].state, DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_gives_the_slot_back() {
    let slack = Scripted::plays([]);
    let hall = Hall::open(&[("slack", "policy.concurrency = 2", &slack)]).await;
    hall.counting.refuses.store(true, Ordering::Relaxed);
    for id in 1..=3 {
        assert!(hall.enqueue(id, &["slack"]).await.is_err());
    }
    hall.counting.refuses.store(false, Ordering::Relaxed);
    hall.enqueue(4, &["slack"]).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!((hall.counting.taken(), slack.attempts()), (1, 1));
    // Those that were stored all the same are tried when their leases have expired.
    sleep(Duration::from_secs(60)).await;
    assert_eq!((hall.counting.claims(), slack.attempts()), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_coming_in() {
    let slack = Scripted::plays([]);
    let hall = Hall::open(&[("slack", "", &slack)]).await;
    hall.counting.answers.forget_permits(1_000);
    let entering = hall.enqueue(1, &["slack"]);
    tokio::pin!(entering);
    assert!(timeout(Duration::from_millis(1), &mut entering).await.is_err());
    hall.stage.stop.cancel();
    sleep(Duration::from_millis(10)).await;
    assert!(!hall.stage.running.is_finished());
    hall.counting.answers.add_permits(1);
    entering.await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert!(hall.stage.running.is_finished());
    assert_eq!(slack.attempts(), 1);
    assert_eq!(hall.stage.deliveries().await[0].state, DeliveryState::Delivered);
    // Nobody is there any more to start it.
    hall.enqueue(2, &["slack"]).await.unwrap();
    assert_eq!(hall.counting.taken(), 1);
}
