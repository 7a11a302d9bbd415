//! What a module on trial fails by its own fault costs its deliveries nothing.

use super::*;

fn trap() -> Play {
    Play::Spared(Outcome::Fault { fault: Fault::Trap, reason: "unreachable".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn faults_on_trial_burn_no_attempt_and_open_no_breaker() {
    let notifier = Scripted::plays((0..5).map(|_| trap()));
    let text =
        "policy = { attempts = 1, concurrency = 1, backoff = ['1h'], breaker = { failures = 2 } }";
    let stage = Stage::start(&[("a", text, &notifier)]);
    stage.enqueue(1, &["a"]).await;
    let start = Instant::now();
    let all = stage.until_all(DeliveryState::Delivered).await;
    assert!(start.elapsed() < Duration::from_secs(15), "tried again soon: {:?}", start.elapsed());
    assert!(stage.queue.blocked().await.unwrap().is_empty());
    let attempts = stage.queue.attempts(all[0].id).await.unwrap();
    let outcomes: Vec<&str> = attempts.iter().map(|attempt| &*attempt.outcome).collect();
    assert_eq!(outcomes, ["trap", "trap", "trap", "trap", "trap", "delivered"]);
    stage.stop().await;
}
