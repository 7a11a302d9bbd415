//! What an idle host asks, and how soon it finds what others add.

use super::*;

fn over(unsteady: &Arc<Unsteady>, notifier: &Arc<Scripted>, names: &[String]) -> Stage {
    let destinations: Vec<_> = names.iter().map(|name| (name.as_str(), "", notifier)).collect();
    Stage::through(unsteady.queue(), unsteady.inner.clone(), &destinations)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d{number}")).collect()
}

/// Adds a notification as another host would: nobody here is woken.
async fn add(stage: &Stage, id: u128) {
    add_to(stage, id, "d0").await;
}

async fn add_to(stage: &Stage, id: u128, destination: &str) {
    let notification = Draft { kind: "x".into(), ..Draft::default() }
        .accept(NotificationId(Uuid::from_u128(id)), Timestamp::UNIX_EPOCH)
        .unwrap();
    let destinations = vec![destination.into()];
    let schedule = postrider_core::Schedule::default();
    let item = Enqueue { notification, idempotency_key: None, schedule, destinations };
    stage.queue.enqueue(vec![item]).await.unwrap();
}

/// Time until the notifier was called once more.
async fn found(notifier: &Scripted, calls: usize) -> Duration {
    let start = Instant::now();
    while notifier.attempts() < calls {
        sleep(Duration::from_millis(1)).await;
        assert!(start.elapsed() < Duration::from_secs(60), "not found in a minute");
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_idle_host_asks_once_a_second_however_many_destinations_it_has() {
    for unsteady in [Unsteady::new(0, 0), Unsteady::shared()] {
        let notifier = Scripted::plays([]);
        let stage = over(&unsteady, &notifier, &names(500));
        sleep(Duration::from_secs(10)).await;
        unsteady.asked();
        sleep(Duration::from_secs(600)).await;
        let [claims, looks, arrivals] = unsteady.asked();
        assert!((595..=605).contains(&looks), "{looks} looks in ten minutes");
        assert_eq!(claims, 0, "the looks say that nothing is due");
        assert_eq!(arrivals, 0, "the looks say that none waits");
        stage.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn work_of_another_host_is_found_within_the_poll() {
    let (unsteady, notifier) = (Unsteady::shared(), Scripted::plays([]));
    let stage = over(&unsteady, &notifier, &names(1));
    sleep(Duration::from_secs(60)).await;
    add(&stage, 1).await;
    let idle = found(&notifier, 1).await;
    assert!(idle <= Duration::from_millis(1_002), "{idle:?}");
    for id in 2..100 {
        add(&stage, id).await;
        let busy = found(&notifier, usize::try_from(id).unwrap()).await;
        assert!(busy <= Duration::from_millis(52), "{busy:?} after work");
    }
    stage.stop().await;
}

/// Many more destinations than slots: whichever it is for, it is neither the first nor the last that is asked.
#[tokio::test(start_paused = true)]
async fn work_for_any_of_many_destinations_is_found() {
    let (unsteady, notifier) = (Unsteady::new(0, 0), Scripted::plays([]));
    let stage = over(&unsteady, &notifier, &names(900));
    sleep(Duration::from_secs(60)).await;
    for (place, calls) in [0, 299, 450, 600, 899].into_iter().zip(1..) {
        add_to(&stage, place, &format!("d{place}")).await;
        let found = found(&notifier, calls).await;
        assert!(found <= Duration::from_millis(1_100), "d{place} after {found:?}");
    }
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_word_of_another_host_wakes_at_once() {
    let (unsteady, notifier) = (Unsteady::shared(), Scripted::plays([]));
    let stage = over(&unsteady, &notifier, &names(1));
    sleep(Duration::from_millis(60_500)).await;
    add(&stage, 1).await;
    unsteady.words.notify_one();
    let woken = found(&notifier, 1).await;
    assert!(woken <= Duration::from_millis(3), "{woken:?}");
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn words_in_quick_succession_cause_few_looks() {
    let (unsteady, notifier) = (Unsteady::shared(), Scripted::plays([]));
    let stage = over(&unsteady, &notifier, &names(1));
    sleep(Duration::from_secs(60)).await;
    unsteady.asked();
    for _ in 0..10_000 {
        unsteady.words.notify_one();
        tokio::task::yield_now().await;
    }
    let [claims, looks, _] = unsteady.asked();
    assert!(looks <= 2 && claims == 0, "{looks} looks, {claims} claims without any time passing");
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_listener_costs_no_more_than_polling() {
    let (unsteady, notifier) = (Unsteady::shared(), Scripted::plays([]));
    unsteady.deaf.store(true, std::sync::atomic::Ordering::Relaxed);
    let stage = over(&unsteady, &notifier, &names(1));
    sleep(Duration::from_secs(60)).await;
    unsteady.asked();
    sleep(Duration::from_secs(60)).await;
    let [_, looks, _] = unsteady.asked();
    assert!(looks <= 120, "{looks} looks in a minute");
    add(&stage, 1).await;
    assert!(found(&notifier, 1).await <= Duration::from_millis(1_002));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_producers_rows_is_fanned_out_without_a_look_between() {
    let (unsteady, notifier) = (Unsteady::new(0, 0), Scripted::plays([]));
    for id in 0..2_500 {
        let notification = Draft { kind: "x".into(), ..Draft::default() }
            .accept(NotificationId(Uuid::from_u128(id)), Timestamp::UNIX_EPOCH)
            .unwrap();
        unsteady.inner.insert(notification);
    }
    let stage = over(&unsteady, &notifier, &names(1));
    assert!(found(&notifier, 2_500).await < Duration::from_secs(1));
    let [_, _, arrivals] = unsteady.asked();
    assert_eq!(arrivals, 3, "two full batches and a short one");
    stage.stop().await;
}
