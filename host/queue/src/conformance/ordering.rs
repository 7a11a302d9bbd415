//! One at a time for each key, in the order of arrival.

use super::*;
use crate::Route;

fn to(key: &str) -> Vec<Target> {
    vec![Target { order_key: Some(key.to_owned()), ..Target::from("pager") }]
}

/// Enqueues one notification for each key, in one call.
async fn enqueue(stage: &Stage, keys: &[&str]) {
    let items = keys.iter().map(|key| Enqueue { destinations: to(key), ..item(&[]) });
    stage.queue.enqueue(items.collect()).await.unwrap();
}

async fn claimed(stage: &Stage) -> Vec<i64> {
    stage.claim("pager").await.into_iter().map(|lease| lease.key.id.0).collect()
}

async fn end(stage: &Stage, settlement: Settlement) -> i64 {
    let lease = stage.claim_one("pager").await;
    stage.settle(settle(lease.key, settlement)).await;
    lease.key.id.0
}

pub(crate) async fn only_the_head_of_each_key_is_due(stage: &Stage) {
    enqueue(stage, &["a", "b", "a", "b", "a"]).await;
    enqueue(stage, &["a"]).await;
    assert_eq!(claimed(stage).await, [1, 2]);
    assert!(claimed(stage).await.is_empty());
    let waiting = stage.delivery(DeliveryId(3)).await;
    assert_eq!((waiting.waiting, waiting.due), (true, None));
    assert_eq!(waiting.order_key.as_deref(), Some("a"));
    assert_eq!(stage.queue.size().await.unwrap(), 6);
}

pub(crate) async fn a_lease_tells_its_key(stage: &Stage) {
    enqueue(stage, &["a"]).await;
    assert_eq!(stage.claim_one("pager").await.order_key.as_deref(), Some("a"));
}

pub(crate) async fn delivering_the_head_makes_the_next_one_due(stage: &Stage) {
    enqueue(stage, &["a", "a", "a"]).await;
    for expected in 1..=3 {
        stage.advance(MINUTE);
        assert_eq!(end(stage, Settlement::Delivered).await, expected);
    }
    assert!(claimed(stage).await.is_empty());
}

pub(crate) async fn a_retry_of_the_head_keeps_the_others_waiting(stage: &Stage) {
    enqueue(stage, &["a", "a"]).await;
    end(stage, retry(MINUTE)).await;
    assert!(claimed(stage).await.is_empty());
    stage.advance(MINUTE);
    assert_eq!(claimed(stage).await, [1]);
}

pub(crate) async fn a_dead_head_is_skipped_and_the_next_one_says_so(stage: &Stage) {
    enqueue(stage, &["a", "a"]).await;
    end(stage, DEAD).await;
    let next = stage.delivery(DeliveryId(2)).await;
    assert!(!next.waiting);
    assert_eq!(next.reason, "delivery 1 before it died (rejected) and was skipped");
    assert_eq!(claimed(stage).await, [2]);
}

pub(crate) async fn a_cancelled_head_is_skipped_and_the_next_one_says_so(stage: &Stage) {
    enqueue(stage, &["a", "a"]).await;
    stage.queue.cancel(&[DeliveryId(1)]).await.unwrap();
    let next = stage.delivery(DeliveryId(2)).await;
    assert_eq!(next.reason, "delivery 1 before it was cancelled and was skipped");
    assert_eq!(claimed(stage).await, [2]);
}

pub(crate) async fn cancelling_one_that_waits_leaves_the_head_alone(stage: &Stage) {
    enqueue(stage, &["a", "a", "a"]).await;
    stage.queue.cancel(&[DeliveryId(2)]).await.unwrap();
    assert_eq!(end(stage, Settlement::Delivered).await, 1);
    assert_eq!(claimed(stage).await, [3]);
}

pub(crate) async fn an_orphaned_head_gives_way(stage: &Stage) {
    enqueue(stage, &["a"]).await;
    stage.advance(MINUTE);
    enqueue(stage, &["a"]).await;
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 1);
    assert_eq!(claimed(stage).await, [2]);
}

pub(crate) async fn what_is_redelivered_comes_after_the_head_of_its_key(stage: &Stage) {
    enqueue(stage, &["a", "a", "a"]).await;
    end(stage, DEAD).await;
    let head = stage.claim_one("pager").await;
    assert_eq!(stage.queue.redeliver(&[DeliveryId(1)]).await.unwrap(), 1);
    assert!(stage.delivery(DeliveryId(1)).await.waiting);
    stage.settle(settle(head.key, Settlement::Delivered)).await;
    assert_eq!(end(stage, Settlement::Delivered).await, 1);
    assert_eq!(end(stage, Settlement::Delivered).await, 3);
    // Alone in its key it is the head at once.
    stage.queue.enqueue(vec![Enqueue { destinations: to("b"), ..item(&[]) }]).await.unwrap();
    assert_eq!(end(stage, DEAD).await, 4);
    assert_eq!(stage.queue.redeliver(&[DeliveryId(4)]).await.unwrap(), 1);
    assert_eq!(claimed(stage).await, [4]);
}

pub(crate) async fn what_waits_cannot_be_hastened(stage: &Stage) {
    enqueue(stage, &["a", "a"]).await;
    stage.claim_one("pager").await;
    assert_eq!(stage.queue.redeliver(&[DeliveryId(2)]).await.unwrap(), 0);
    assert!(claimed(stage).await.is_empty());
}

pub(crate) async fn a_look_is_not_woken_by_what_waits(stage: &Stage) {
    let pager = ["pager".to_owned()];
    enqueue(stage, &["a", "a"]).await;
    stage.claim_one("pager").await;
    assert_eq!(stage.queue.look(&pager).await.unwrap().due, Some(LEASE));
}

pub(crate) async fn a_lost_lease_keeps_the_order(stage: &Stage) {
    enqueue(stage, &["a", "a"]).await;
    let lost = stage.claim_one("pager").await;
    stage.advance(LEASE);
    let again = stage.claim_one("pager").await;
    assert_eq!(again.key.id, lost.key.id);
    let late = settle(lost.key, Settlement::Delivered);
    assert_eq!(stage.queue.settle(vec![late]).await.unwrap(), [lost.key]);
    assert!(claimed(stage).await.is_empty());
}

pub(crate) async fn keys_and_destinations_do_not_wait_for_each_other(stage: &Stage) {
    let other = Target { order_key: Some("a".into()), ..Target::from("sms") };
    let both = [to("a"), vec![other]].concat();
    let items = (0..2).map(|_| Enqueue { destinations: both.clone(), ..item(&[]) });
    stage.queue.enqueue(items.collect()).await.unwrap();
    stage.queue.enqueue(vec![item(&["pager"]), item(&["pager"])]).await.unwrap();
    assert_eq!(claimed(stage).await, [1, 5, 6]);
    assert_eq!(stage.claim_one("sms").await.key.id, DeliveryId(2));
}

pub(crate) async fn a_later_head_holds_its_key_back(stage: &Stage) {
    let schedule = Schedule { deliver_after: MINUTE, expires_after: None };
    let later = Enqueue { destinations: to("a"), schedule, ..item(&[]) };
    let after_it = Enqueue { destinations: to("a"), ..item(&[]) };
    stage.queue.enqueue(vec![later, after_it]).await.unwrap();
    assert!(claimed(stage).await.is_empty());
    stage.advance(MINUTE);
    assert_eq!(end(stage, Settlement::Delivered).await, 1);
    assert_eq!(claimed(stage).await, [2]);
}

pub(crate) async fn arrivals_are_kept_in_order(stage: &Stage) {
    for _ in 0..2 {
        stage.stand.insert(notification()).await;
    }
    let arrived = stage.queue.arrived(10).await.unwrap();
    let routes = arrived.iter().map(|a| Route { row: a.row, destinations: Ok(to("a")) });
    assert_eq!(stage.queue.fan_out(routes.collect()).await.unwrap(), 2);
    assert_eq!(end(stage, Settlement::Delivered).await, 1);
    assert_eq!(claimed(stage).await, [2]);
}

pub(crate) async fn a_taker_waits_for_its_own_key(stage: &Stage) {
    enqueue(stage, &["a"]).await;
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let handover = Some(Handover { taker: to("a").remove(0), chain: Vec::new() });
    stage.settle(Settle { handover, ..settle(lease.key, DEAD) }).await;
    assert_eq!(end(stage, Settlement::Delivered).await, 1);
    assert_eq!(stage.claim_one("pager").await.key.id, DeliveryId(3));
}
