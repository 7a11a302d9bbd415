//! One host's slots, shared by its destinations.

use super::*;

fn hangs() -> Arc<Scripted> {
    Scripted::plays((0..100).map(|_| Play::Hang))
}

fn stage(slots: u32, destinations: &[(&str, &str, &Arc<Scripted>)]) -> Stage {
    let queue = Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH));
    Stage::with_room(slots, queue.clone(), queue, destinations)
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_leaves_a_slot_to_the_others() {
    let (hanging, healthy) = (hangs(), Scripted::plays([]));
    let stage = stage(8, &[("a", "", &hanging), ("z", "", &healthy)]);
    for id in 0..50 {
        stage.enqueue(id, &["a"]).await;
    }
    while hanging.attempts() < 7 {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    for id in 50..90 {
        stage.enqueue(id, &["z"]).await;
    }
    while healthy.attempts() < 40 {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert_eq!(hanging.attempts(), 7);
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_hosts_slots_are_under_way() {
    let hanging = hangs();
    let stage = stage(5, &[("a", "", &hanging)]);
    for id in 0..50 {
        stage.enqueue(id, &["a"]).await;
    }
    for _ in 0..100 {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert_eq!(hanging.attempts(), 5);
    stage.stop().await;
}

/// Four times as many wait as there are slots: each that ends lets the next begin at once.
#[tokio::test(start_paused = true)]
async fn scarce_slots_are_used_as_soon_as_they_are_free() {
    let notifiers: Vec<_> = (0..4).map(|_| Scripted::plays([])).collect();
    let names = ["a", "b", "c", "d"];
    let destinations: Vec<_> = names.into_iter().zip(&notifiers).map(|(n, s)| (n, "", s)).collect();
    let stage = stage(2, &destinations);
    let start = Instant::now();
    for id in 0..100 {
        stage.enqueue(id, &names).await;
    }
    stage.until_all(DeliveryState::Delivered).await;
    // The test's own steps take ten; waiting for a poll each time would take more than a minute.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    stage.stop().await;
}
