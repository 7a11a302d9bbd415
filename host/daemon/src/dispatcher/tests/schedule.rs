//! Later, not later than, and one after the other.

use postrider_core::Schedule;
use postrider_queue::Target;

use super::*;

impl Stage {
    async fn enqueue_scheduled(&self, id: u128, schedule: Schedule, target: Target) {
        let notification = Draft { kind: "x".into(), ..Draft::default() }
            .accept(NotificationId(Uuid::from_u128(id)), Timestamp::UNIX_EPOCH)
            .unwrap();
        let destinations = vec![target];
        let item = Enqueue { notification, idempotency_key: None, schedule, destinations };
        self.queue.enqueue(vec![item]).await.unwrap();
        self.waker.wake();
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[tokio::test(start_paused = true)]
async fn a_later_delivery_starts_at_its_time() {
    let notifier = Scripted::plays([]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    let schedule = Schedule { deliver_after: minutes(10), expires_after: None };
    stage.enqueue_scheduled(1, schedule, "a".into()).await;
    sleep(minutes(10) - Duration::from_millis(1)).await;
    assert_eq!(notifier.attempts(), 0);
    sleep(Duration::from_millis(3)).await;
    assert_eq!(notifier.attempts(), 1);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_expires_is_not_tried_again() {
    let notifier = Scripted::plays([retry(), retry(), retry(), retry()]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    let expires_after = Some(Duration::from_secs(20));
    let schedule = Schedule { deliver_after: Duration::ZERO, expires_after };
    stage.enqueue_scheduled(1, schedule, "a".into()).await;
    let all = stage.until_all(DeliveryState::Dead).await;
    // At 0 s, 5 s and 15 s; the next would be at 35 s.
    assert_eq!((notifier.attempts(), all[0].cause.as_deref()), (3, Some("expired")));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_expires_behind_a_pause_is_handed_over_in_time() {
    let pause = Outcome::Retry {
        reason: "busy".into(),
        after: Some(minutes(60)),
        scope: Scope::Destination,
    };
    let (paused, heir) = (Scripted::plays([Play::Now(pause)]), Scripted::plays([]));
    let stage = Stage::start(&[("a", "fallback = ['b']", &paused), ("b", "", &heir)]);
    stage.enqueue(1, &["a"]).await;
    sleep(Duration::from_secs(1)).await;
    let bound = Target { expires_after: Some(minutes(10)), ..Target::from("a") };
    stage.enqueue_scheduled(2, Schedule::default(), bound).await;
    sleep(minutes(10)).await;
    sleep(SWEEP_POLL).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((paused.attempts(), heir.attempts()), (1, 1));
    let all = stage.deliveries().await;
    let dead = all.iter().find(|d| d.state == DeliveryState::Dead).unwrap();
    assert_eq!((dead.attempts, &*dead.reason), (0, "expires_after has passed"));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_of_a_key_starts_when_the_one_before_it_ends() {
    let notifier = Scripted::plays([retry()]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    let target = Target { order_key: Some("k".into()), ..Target::from("a") };
    for id in 1..=3 {
        stage.enqueue_scheduled(id, Schedule::default(), target.clone()).await;
    }
    let start = Instant::now();
    stage.until_all(DeliveryState::Delivered).await;
    assert!(start.elapsed() < Duration::from_millis(5_500), "{:?}", start.elapsed());
    let sent = notifier.sent.lock().unwrap().clone();
    assert_eq!(sent, [(1, 1), (1, 2), (2, 1), (3, 1)]);
    stage.stop().await;
}
