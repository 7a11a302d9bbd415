//! The dispatcher on a paused clock, over the queue in memory.

mod ahead;
mod breaker;
mod door;
mod fairness;
mod idle;
mod outage;
mod schedule;
mod simulation;
mod spared;
mod unsteady;
mod wrapped;

use std::collections::VecDeque;

use postrider_core::{DeliveryState, Draft, Fault, NotificationId, Receipt, Scope};
use postrider_queue::{Claim, DeliveryFilter, DeliveryRecord, Enqueue, Lease, MemoryQueue, Page};
use uuid::Uuid;

use super::*;
use crate::registry::tests::entry;
use unsteady::Unsteady;

/// A notifier that plays a script: one outcome for each attempt, then delivered for ever.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Play>>,
    sent: Mutex<Vec<(u128, u32)>>,
    patience: Option<Duration>,
}

enum Play {
    Now(Outcome),
    /// A fault of a module that is on trial.
    Spared(Outcome),
    /// Never answers.
    Hang,
    /// Delivered after so long.
    Late(Duration),
}

#[async_trait]
impl NotifierCall for Scripted {
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        self.sent.lock().unwrap().push((notification.id.0.as_u128(), attempt));
        let next = self.script.lock().unwrap().pop_front();
        let outcome = match next {
            None => Outcome::Delivered(Receipt::default()),
            Some(Play::Now(outcome)) => outcome,
            Some(Play::Spared(outcome)) => {
                return Sent { blame: Blame::Spared, ..Sent::new(outcome, parts_done) };
            }
            Some(Play::Hang) => std::future::pending().await,
            Some(Play::Late(after)) => {
                sleep(after).await;
                Outcome::Delivered(Receipt::default())
            }
        };
        Sent::new(outcome, parts_done)
    }

    fn module(&self) -> &str {
        "00"
    }

    fn patience(&self, _notification: &Notification) -> Option<Duration> {
        self.patience
    }
}

impl Scripted {
    fn plays(script: impl IntoIterator<Item = Play>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    fn attempts(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

fn item(id: u128, destinations: &[&str]) -> Enqueue {
    let notification = Draft { kind: "x".into(), ..Draft::default() }
        .accept(NotificationId(Uuid::from_u128(id)), Timestamp::UNIX_EPOCH)
        .unwrap();
    let destinations = destinations.iter().map(|&d| d.into()).collect();
    let schedule = postrider_core::Schedule::default();
    Enqueue { notification, idempotency_key: None, schedule, destinations }
}

struct Stage {
    queue: Arc<MemoryQueue>,
    waker: Waker,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn start(destinations: &[(&str, &str, &Arc<Scripted>)]) -> Self {
        Self::over(Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH)), destinations)
    }

    fn over(queue: Arc<MemoryQueue>, destinations: &[(&str, &str, &Arc<Scripted>)]) -> Self {
        Self::through(queue.clone(), queue, destinations)
    }

    /// The dispatcher sees `seen`, the test looks at `queue` behind it.
    fn through(
        seen: Arc<dyn Queue>,
        queue: Arc<MemoryQueue>,
        destinations: &[(&str, &str, &Arc<Scripted>)],
    ) -> Self {
        Self::with_room(256, seen, queue, destinations)
    }

    /// At most so many deliveries are under way at once.
    fn with_room(
        max_concurrency: u32,
        seen: Arc<dyn Queue>,
        queue: Arc<MemoryQueue>,
        destinations: &[(&str, &str, &Arc<Scripted>)],
    ) -> Self {
        let mut registry = Registry::default();
        for (name, text, notifier) in destinations {
            let notifier: Arc<dyn NotifierCall> = (*notifier).clone();
            registry.insert(entry(name, text, Some(notifier))).unwrap();
        }
        Self::of(max_concurrency, seen, queue, registry)
    }

    fn of(
        max_concurrency: u32,
        seen: Arc<dyn Queue>,
        queue: Arc<MemoryQueue>,
        registry: Registry,
    ) -> Self {
        let options = Options {
            host: HostId(Uuid::nil()),
            lease: Duration::from_secs(45),
            grace: Duration::from_secs(20),
            orphan_after: Duration::from_secs(86_400),
            max_concurrency,
            ahead: Duration::from_millis(500),
            signals: Signals::new().unwrap(),
            now: || Timestamp::UNIX_EPOCH,
            dice: || 0.0,
        };
        let (waker, stop) = (Waker::default(), CancellationToken::new());
        let registry = Arc::new(SharedRegistry::from_pointee(registry));
        let dispatcher = Dispatcher::new(seen, registry, waker.clone(), options);
        let running = tokio::spawn(dispatcher.run(stop.clone()));
        Self { queue, waker, stop, running }
    }

    async fn enqueue(&self, id: u128, destinations: &[&str]) {
        self.queue.enqueue(vec![item(id, destinations)]).await.unwrap();
        self.waker.wake();
    }

    async fn deliveries(&self) -> Vec<DeliveryRecord> {
        let page = Page { after: None, limit: 1_000 };
        let filter = DeliveryFilter {
            state: None,
            destination: None,
            notification: None,
            id: None,
            above: None,
            page,
        };
        self.queue.deliveries(&filter).await.unwrap()
    }

    /// Lets the (paused) time run until `state` is everyone's, for at most an hour.
    async fn until_all(&self, state: DeliveryState) -> Vec<DeliveryRecord> {
        let start = Instant::now();
        loop {
            let all = self.deliveries().await;
            if all.iter().all(|d| d.state == state) {
                return all;
            }
            assert!(start.elapsed() < Duration::from_secs(3_600), "still {all:?}");
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stop.cancel();
        self.running.await.unwrap();
        start.elapsed()
    }
}

fn retry() -> Play {
    Play::Now(Outcome::Retry { reason: "503".into(), after: None, scope: Scope::Delivery })
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_delivered_and_its_attempt_recorded() {
    let notifier = Scripted::plays([]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    let all = stage.until_all(DeliveryState::Delivered).await;
    let attempts = stage.queue.attempts(all[0].id).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].number), (1, 1));
    assert_eq!((attempts[0].outcome.as_str(), attempts[0].plugin.as_str()), ("delivered", "00"));
    stage.stop().await;
}

/// Seed defect: one failing notifier made the whole notification "not sent", and sent it to the others again.
#[tokio::test(start_paused = true)]
async fn a_failing_destination_does_not_send_to_the_others_again() {
    let (bad, good) = (Scripted::plays([retry(), retry(), retry()]), Scripted::plays([]));
    let stage = Stage::start(&[("bad", "policy.attempts = 3", &bad), ("good", "", &good)]);
    stage.enqueue(1, &["bad", "good"]).await;
    while stage
        .deliveries()
        .await
        .iter()
        .any(|d| d.destination == "bad" && d.state != DeliveryState::Dead)
    {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!((bad.attempts(), good.attempts()), (3, 1));
    stage.stop().await;
}

/// Seed defect: serial sending; a notifier in backoff or in a slow send stalled every other.
#[tokio::test(start_paused = true)]
async fn a_hanging_destination_does_not_delay_another() {
    let (slow, quick) = (Scripted::plays([Play::Hang]), Scripted::plays([]));
    let stage = Stage::start(&[("slow", "", &slow), ("quick", "", &quick)]);
    stage.enqueue(1, &["slow"]).await;
    stage.enqueue(2, &["quick"]).await;
    let start = Instant::now();
    while quick.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    stage.stop().await;
}

/// Seed defect: attempts were counted in memory, so a restart gave everyone a fresh budget.
#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_budget() {
    let first = Scripted::plays([retry()]);
    let stage = Stage::start(&[("a", "policy.attempts = 2", &first)]);
    stage.enqueue(1, &["a"]).await;
    while stage.deliveries().await[0].attempts == 0 || first.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    let queue = stage.queue.clone();
    stage.stop().await;
    let second = Scripted::plays([retry(), retry()]);
    let stage = Stage::over(queue, &[("a", "policy.attempts = 2", &second)]);
    let all = stage.until_all(DeliveryState::Dead).await;
    assert_eq!((second.attempts(), all[0].cause.as_deref()), (1, Some("exhausted")));
    stage.stop().await;
}

/// Seed defect: after giving up, the same notification was found again at once, for ever.
#[tokio::test(start_paused = true)]
async fn a_dead_delivery_is_left_alone() {
    let notifier = Scripted::plays([Play::Now(Outcome::Rejected { reason: "400".into() })]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    stage.until_all(DeliveryState::Dead).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(notifier.attempts(), 1);
    stage.stop().await;
}

/// Seed defect: the result of refreshing the lock was ignored, and delivery went on without it.
#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_its_attempt_and_settles_nothing() {
    let notifier = Scripted::plays([Play::Hang]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    while notifier.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    let id = stage.deliveries().await[0].id;
    assert_eq!(stage.queue.cancel(&[id]).await.unwrap(), 1);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(stage.deliveries().await[0].state, DeliveryState::Cancelled);
    assert_eq!(stage.stop().await, Duration::ZERO, "nothing was left to drain");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_outlasts_all_patience_is_left_to_its_lease() {
    let script = Mutex::new([Play::Hang].into());
    let patience = Some(Duration::from_secs(40));
    let notifier = Arc::new(Scripted { script, patience, ..Scripted::default() });
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    sleep(Duration::from_secs(74)).await;
    assert_eq!(notifier.attempts(), 1, "the lease was extended at 30 s");
    stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(notifier.attempts(), 2, "it was not extended at 45 s");
    assert_eq!(stage.stop().await, Duration::ZERO, "nothing was left to drain");
}

/// Found by the simulation: the lease ran out unnoticed, and the host sent the same delivery twice at a time.
#[tokio::test(start_paused = true)]
async fn a_lease_that_its_own_host_claims_anew_ends_the_older_attempt() {
    let notifier = Scripted::plays([Play::Hang]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    while notifier.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    stage.queue.advance(Duration::from_secs(46));
    stage.waker.wake();
    stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(notifier.attempts(), 2);
    assert_eq!(stage.stop().await, Duration::ZERO, "nothing was left to drain");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_extended_as_long_as_its_attempt_runs() {
    let notifier = Scripted::plays([Play::Hang]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(notifier.attempts(), 1, "nobody took the lease in five minutes");
    assert_eq!(stage.deliveries().await[0].state, DeliveryState::Leased);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_hands_back_what_outlasts_the_grace_period_and_counts_nothing() {
    let notifier = Scripted::plays([Play::Hang]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    while notifier.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    let queue = stage.queue.clone();
    assert_eq!(stage.stop().await, Duration::from_secs(20));
    let stage = Stage::over(queue, &[("a", "", &Scripted::plays([]))]);
    let all = stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(all[0].attempts, 1);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_during_a_backoff_is_immediate() {
    let notifier = Scripted::plays([retry()]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    while notifier.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.stop().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_trap_is_a_budgeted_attempt_and_the_fallback_takes_over() {
    let trap = || Play::Now(Outcome::Fault { fault: Fault::Trap, reason: "unreachable".into() });
    let (bad, good) = (Scripted::plays([trap(), trap()]), Scripted::plays([]));
    let text = "policy.attempts = 2\nfallback = ['good']";
    // A directory's order of keys: top-level keys come before tables.
    let text = text.split('\n').rev().collect::<Vec<_>>().join("\n");
    let stage = Stage::start(&[("bad", &text, &bad), ("good", "match.type = 'never'", &good)]);
    stage.enqueue(1, &["bad"]).await;
    while good.attempts() == 0 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!((bad.attempts(), good.attempts()), (2, 1));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn notifications_inserted_by_sql_are_fanned_out_within_a_second() {
    let notifier = Scripted::plays([]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    sleep(Duration::from_secs(5)).await;
    let notification = Draft { kind: "x".into(), ..Draft::default() }
        .accept(NotificationId(Uuid::from_u128(9)), Timestamp::UNIX_EPOCH)
        .unwrap();
    stage.queue.insert(notification);
    let start = Instant::now();
    while notifier.attempts() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() <= Duration::from_millis(1_020), "{:?}", start.elapsed());
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_notifications_respect_the_concurrency() {
    let notifier = Scripted::plays([]);
    let stage = Stage::start(&[("a", "policy.concurrency = 3", &notifier)]);
    for id in 0..1_000 {
        stage.enqueue(id, &["a"]).await;
    }
    stage.until_all(DeliveryState::Delivered).await;
    let mut ids: Vec<u128> = notifier.sent.lock().unwrap().iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..1_000).collect::<Vec<_>>(), "each once");
    stage.stop().await;
}

/// Seed defect: the result of marking a notification as sent was ignored, so an error there sent it again.
#[tokio::test(start_paused = true)]
async fn a_settlement_that_could_not_be_written_is_written_later_and_nothing_is_sent_again() {
    let notifier = Scripted::plays([]);
    let unsteady = Unsteady::new(0, 20);
    let stage = Stage::through(unsteady.queue(), unsteady.inner.clone(), &[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(notifier.attempts(), 1);
    stage.stop().await;
}

/// Seed defect: an error while looking for work was followed by the next look at once.
#[tokio::test(start_paused = true)]
async fn an_unavailable_queue_is_asked_ever_more_rarely_and_work_goes_on_by_itself() {
    let notifier = Scripted::plays([]);
    let unsteady = Unsteady::new(20, 0);
    let stage = Stage::through(unsteady.queue(), unsteady.inner.clone(), &[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    sleep(Duration::from_secs(60)).await;
    let claims = unsteady.claims.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..=20).contains(&claims), "{claims} claims in a minute");
    stage.until_all(DeliveryState::Delivered).await;
    stage.stop().await;
}
