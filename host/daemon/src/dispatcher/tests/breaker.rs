//! Destinations that fail are left alone, tried, and come back slowly.

use postrider_core::BreakerState;
use postrider_queue::Breaker;

use super::*;

const BREAKER: &str = "policy = { attempts = 50, backoff = ['1s'], \
                       breaker = { failures = 3, wait = '10s', cap = '20s' } }";

fn gone() -> Play {
    Play::Now(Outcome::Gone { reason: "410".into() })
}

impl Stage {
    async fn breaker(&self) -> Option<Breaker> {
        self.queue.blocked().await.unwrap().into_iter().find_map(|blocked| blocked.breaker)
    }

    async fn until_breaker(&self, state: Option<BreakerState>) {
        let start = Instant::now();
        while self.breaker().await.map(|breaker| breaker.state) != state {
            assert!(start.elapsed() < Duration::from_secs(600), "{:?}", self.breaker().await);
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_what_waits_burns_nothing() {
    let notifier = Scripted::plays((0..3).map(|_| retry()));
    let text = BREAKER.replace("attempts = 50", "attempts = 50, concurrency = 1");
    let stage = Stage::start(&[("a", &text, &notifier)]);
    for id in 0..20 {
        stage.enqueue(id, &["a"]).await;
    }
    stage.until_breaker(Some(BreakerState::Open)).await;
    let tried = notifier.attempts();
    assert_eq!(tried, 3);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(notifier.attempts(), tried, "nothing is sent while it is open");
    let untouched = stage.deliveries().await.iter().filter(|d| d.attempts == 0).count();
    assert!(untouched >= 17, "{untouched}");
    stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(stage.breaker().await, None);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn probes_come_one_by_one_and_ever_more_rarely() {
    let notifier = Scripted::plays((0..6).map(|_| retry()));
    let text = BREAKER.replace("attempts = 50", "attempts = 50, concurrency = 3");
    let stage = Stage::start(&[("a", &text, &notifier)]);
    for id in 0..20 {
        stage.enqueue(id, &["a"]).await;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 7 {
        let before = times.len();
        times.resize(notifier.attempts(), start.elapsed().as_secs());
        assert!(before < 3 || times.len() - before <= 1, "two probes at once: {times:?}");
        assert!(start.elapsed() < Duration::from_secs(300), "{times:?}");
        sleep(Duration::from_millis(100)).await;
    }
    let waits: Vec<u64> = times.windows(2).skip(2).map(|pair| pair[1] - pair[0]).collect();
    // 10, 20, 20, 20 seconds, and up to a second until the look that finds it.
    for (wait, least) in waits.iter().zip([10, 20, 20, 20]) {
        assert!((least..=least + 2).contains(wait), "{times:?}");
    }
    stage.until_all(DeliveryState::Delivered).await;
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_comes_back_in_doubling_batches() {
    let notifier = Scripted::plays((0..8).map(|_| retry()));
    let text = BREAKER.replace("attempts = 50", "attempts = 50, concurrency = 8");
    let stage = Stage::start(&[("a", &text, &notifier)]);
    for id in 0..200 {
        stage.enqueue(id, &["a"]).await;
    }
    stage.until_breaker(Some(BreakerState::Open)).await;
    let failed = notifier.attempts();
    let mut batches = Vec::new();
    let mut before = failed;
    while stage.breaker().await.is_some() {
        sleep(Duration::from_millis(20)).await;
        let now = notifier.attempts();
        if now > before && stage.breaker().await.is_some() {
            batches.push(now - before);
            before = now;
        }
    }
    assert!(batches.starts_with(&[1, 2, 4]), "{batches:?}");
    assert!(batches.iter().all(|batch| *batch <= 8), "{batches:?}");
    stage.until_all(DeliveryState::Delivered).await;
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_hands_over_now_and_later_until_it_is_resumed() {
    let (bad, good) = (Scripted::plays([gone()]), Scripted::plays([]));
    let destinations = [("a", "fallback = ['b']", &bad), ("b", "match.type = 'never'", &good)];
    let stage = Stage::start(&destinations);
    stage.enqueue(1, &["a"]).await;
    stage.until_breaker(Some(BreakerState::Gone)).await;
    stage.enqueue(2, &["a"]).await;
    while good.attempts() < 2 {
        sleep(Duration::from_millis(100)).await;
    }
    let all = stage.deliveries().await;
    let causes: Vec<_> = all.iter().filter_map(|d| d.cause.clone()).collect();
    assert_eq!(causes, ["diverted", "gone"]);
    assert!(all.iter().filter(|d| d.destination == "a").all(|d| d.fallback_to.is_some()));
    assert_eq!(bad.attempts(), 1);
    assert!(stage.queue.resume("a").await.unwrap());
    stage.enqueue(3, &["a"]).await;
    while bad.attempts() < 2 {
        sleep(Duration::from_millis(100)).await;
    }
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_without_a_fallback_parks() {
    let notifier = Scripted::plays([gone()]);
    let stage = Stage::start(&[("a", "", &notifier)]);
    stage.enqueue(1, &["a"]).await;
    stage.until_breaker(Some(BreakerState::Gone)).await;
    stage.enqueue(2, &["a"]).await;
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(notifier.attempts(), 1);
    assert_eq!(stage.deliveries().await[0].state, DeliveryState::Pending);
    stage.queue.resume("a").await.unwrap();
    while notifier.attempts() < 2 {
        sleep(Duration::from_millis(100)).await;
    }
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_fallback_takes_over_what_waited_behind_an_open_breaker() {
    let (bad, good) = (Scripted::plays((0..1_000).map(|_| retry())), Scripted::plays([]));
    let text = format!("fallback = ['b']\nfallback_after = '1m'\n{BREAKER}");
    let stage = Stage::start(&[("a", &text, &bad), ("b", "match.type = 'never'", &good)]);
    for id in 0..20 {
        stage.enqueue(id, &["a"]).await;
    }
    stage.until_breaker(Some(BreakerState::Open)).await;
    sleep(Duration::from_secs(50)).await;
    assert_eq!(good.attempts(), 0);
    while good.attempts() < 20 {
        sleep(Duration::from_millis(100)).await;
    }
    let all = stage.deliveries().await;
    let left = all.iter().filter(|d| d.destination == "a");
    for delivery in left {
        assert_eq!(delivery.cause.as_deref(), Some("diverted"));
        assert!(delivery.reason.starts_with("fallback_after has passed"), "{}", delivery.reason);
        assert!(delivery.fallback_to.is_some());
    }
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_fallback_takes_over_what_a_receiver_keeps_waiting() {
    let hour = Some(Duration::from_secs(3_600));
    let held = Outcome::Retry { reason: "429".into(), after: hour, scope: Scope::Destination };
    let (bad, good) = (Scripted::plays([Play::Now(held)]), Scripted::plays([]));
    let text = "fallback = ['b']\nfallback_after = '5m'";
    let stage = Stage::start(&[("a", text, &bad), ("b", "match.type = 'never'", &good)]);
    stage.enqueue(1, &["a"]).await;
    let start = Instant::now();
    while good.attempts() < 1 {
        sleep(Duration::from_millis(100)).await;
    }
    let waited = start.elapsed().as_secs();
    assert!((300..=306).contains(&waited), "{waited}");
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_off_never_opens() {
    let notifier = Scripted::plays((0..30).map(|_| retry()));
    let text = "policy = { breaker = false, backoff = ['1s'] }";
    let stage = Stage::start(&[("a", text, &notifier)]);
    stage.enqueue(1, &["a"]).await;
    stage.until_all(DeliveryState::Delivered).await;
    assert_eq!(notifier.attempts(), 31);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_between_failures_keeps_it_closed() {
    let rejected = || Play::Now(Outcome::Rejected { reason: "400".into() });
    let script = (0..10).flat_map(|_| [retry(), retry(), rejected()]);
    let notifier = Scripted::plays(script);
    let text = BREAKER.replace("attempts = 50", "attempts = 50, concurrency = 1");
    let stage = Stage::start(&[("a", &text, &notifier)]);
    for id in 0..30 {
        stage.enqueue(id, &["a"]).await;
    }
    while notifier.attempts() < 30 {
        assert_eq!(stage.breaker().await, None);
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    stage.stop().await;
}
