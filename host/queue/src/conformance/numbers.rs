//! Numbers about the whole store.

use super::*;
use crate::Rows;

fn exact(count: u64) -> Rows {
    Rows { count, exact: true }
}

pub(crate) async fn an_empty_store_counts_nothing(stage: &Stage) {
    let stats = stage.queue.stats().await.unwrap();
    for rows in [stats.notifications, stats.deliveries, stats.live, stats.dead, stats.arrived] {
        assert_eq!(rows, exact(0));
    }
    assert_eq!((stats.attempts, stats.oldest_due), (Some(exact(0)), None));
}

pub(crate) async fn rows_are_counted_by_state(stage: &Stage) {
    for _ in 0..5 {
        stage.enqueue(&["slack"]).await;
    }
    stage.stand.insert(notification()).await;
    let leases = stage.queue.claim(&claim(&[("slack", 4, 0)])).await.unwrap();
    stage.settle(settle(leases[0].key, Settlement::Delivered)).await;
    stage.settle(settle(leases[1].key, DEAD)).await;
    stage.settle(settle(leases[2].key, DEAD)).await;
    stage.queue.cancel(&[leases[3].key.id]).await.unwrap();
    let stats = stage.queue.stats().await.unwrap();
    assert_eq!((stats.notifications, stats.deliveries), (exact(6), exact(5)));
    assert_eq!((stats.live, stats.dead, stats.cancelled), (exact(1), exact(2), exact(1)));
    assert_eq!((stats.arrived, stats.attempts), (exact(1), Some(exact(4))));
}

pub(crate) async fn the_oldest_due_is_the_one_that_waits_longest(stage: &Stage) {
    stage.enqueue(&["email", "slack"]).await;
    let oldest = async || stage.queue.stats().await.unwrap().oldest_due;
    assert_eq!(oldest().await, Some(Duration::ZERO));
    for (name, delay) in [("slack", MINUTE), ("email", 2 * MINUTE)] {
        let lease = stage.claim_one(name).await;
        stage.settle(settle(lease.key, retry(delay))).await;
    }
    assert_eq!(oldest().await, None);
    stage.advance(3 * MINUTE);
    assert_eq!(oldest().await, Some(2 * MINUTE));
}

pub(crate) async fn depths_tell_what_waits_for_each_destination(stage: &Stage) {
    let names = ["slack", "email", "nobody"].map(str::to_owned);
    let depths = async || {
        let depths = stage.queue.depths(&names).await.unwrap();
        let named: Vec<&str> = depths.iter().map(|depth| &*depth.destination).collect();
        assert_eq!(named, ["slack", "email", "nobody"]);
        depths.into_iter().map(|depth| (depth.live, depth.oldest_due)).collect::<Vec<_>>()
    };
    for destinations in [&["slack", "email"][..], &["slack"]] {
        stage.enqueue(destinations).await;
    }
    let now = Some(Duration::ZERO);
    assert_eq!(depths().await, [(exact(2), now), (exact(1), now), (exact(0), None)]);
    let lease = stage.claim_one("email").await;
    assert_eq!(depths().await[1], (exact(1), None), "what is leased is not due");
    stage.settle(settle(lease.key, retry(MINUTE))).await;
    stage.advance(3 * MINUTE);
    let late = [(exact(2), Some(3 * MINUTE)), (exact(1), Some(2 * MINUTE)), (exact(0), None)];
    assert_eq!(depths().await, late);
    assert_eq!(stage.queue.depths(&[]).await.unwrap(), []);
}

pub(crate) async fn size_counts_up_to_any_bound(stage: &Stage) {
    let many: Vec<Enqueue> = (0..12).map(|_| item(&["slack"])).collect();
    stage.queue.enqueue(many).await.unwrap();
    for (limit, size) in [(0, 0), (5, 5), (12, 12), (99_000, 12)] {
        assert_eq!(stage.queue.size_within(limit).await.unwrap(), size);
    }
}
