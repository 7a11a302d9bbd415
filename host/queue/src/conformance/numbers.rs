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

pub(crate) async fn the_backlog_is_told_for_each_destination(stage: &Stage) {
    assert_eq!(stage.queue.backlog().await.unwrap(), []);
    for _ in 0..4 {
        stage.enqueue(&["email", "slack"]).await;
    }
    stage.enqueue(&["pager"]).await;
    let leases = stage.queue.claim(&claim(&[("slack", 3, 0), ("pager", 1, 0)])).await.unwrap();
    let of = |name: &str, place: usize| {
        leases.iter().filter(|lease| lease.destination == name).nth(place).unwrap().key
    };
    stage.settle(settle(of("slack", 0), retry(2 * MINUTE))).await;
    stage.settle(settle(of("slack", 1), DEAD)).await;
    stage.settle(settle(of("pager", 0), DEAD)).await;
    stage.advance(Duration::from_secs(30));
    let told = stage.queue.backlog().await.unwrap();
    let numbers = told.iter().map(|one| {
        let counts = [one.fresh, one.retries, one.due, one.dead].map(|rows| {
            assert!(rows.exact);
            rows.count
        });
        (one.destination.as_str(), counts, one.oldest_due)
    });
    let half = Some(Duration::from_secs(30));
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        [
            ("email", [4, 0, 4, 0], half),
            ("pager", [0, 0, 0, 1], None),
            // One is leased, and so not due.
            ("slack", [2, 1, 1, 1], half),
        ]
    );
}

pub(crate) async fn dead_letters_are_grouped_by_destination_cause_and_reason(stage: &Stage) {
    for _ in 0..3 {
        stage.enqueue(&["email", "slack"]).await;
    }
    let mut newest = Vec::new();
    for (name, reasons) in [("email", ["404", "404", "500"]), ("slack", ["404"; 3])] {
        for (lease, reason) in stage.claim(name).await.into_iter().zip(reasons) {
            stage.settle(Settle { reason: reason.to_owned(), ..settle(lease.key, DEAD) }).await;
            newest.push(lease.key.id);
            stage.advance(MINUTE);
        }
    }
    let at = |minutes: i64| EPOCH + jiff::SignedDuration::from_mins(minutes);
    let found = stage.queue.dead_letters().await.unwrap();
    let told = found.iter().map(|group| {
        assert_eq!(group.cause, "rejected");
        let (destination, reason) = (group.destination.as_str(), group.reason.as_str());
        (destination, reason, group.count, group.first, group.last, group.newest)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("slack", "404", 3, at(3), at(5), newest[5]),
            ("email", "404", 2, at(0), at(1), newest[1]),
            ("email", "500", 1, at(2), at(2), newest[2]),
        ]
    );
}
