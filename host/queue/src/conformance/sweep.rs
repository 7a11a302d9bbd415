//! What came too late dies wherever it waits.

use super::*;
use crate::{AgeBound, KeptDestination, Sweep};

async fn sweep(stage: &Stage, bounds: &[(&str, Duration)], limit: u32) -> Vec<Lease> {
    let bounds = bounds.iter().map(|&(destination, max_age)| AgeBound {
        destination: destination.to_owned(),
        max_age,
        early: false,
    });
    let sweep = Sweep { host: host(), lease: LEASE, limit, bounds: bounds.collect() };
    let mut leases = stage.queue.claim_overdue(&sweep).await.unwrap();
    leases.sort_by_key(|lease| lease.key.id);
    leases
}

fn ids(leases: &[Lease]) -> Vec<i64> {
    leases.iter().map(|lease| lease.key.id.0).collect()
}

async fn enqueue_expiring(stage: &Stage, expires_after: Duration) {
    let expires_after = Some(expires_after);
    let schedule = Schedule { expires_after, ..Schedule::default() };
    let item = Enqueue { schedule, ..item(&["slack"]) };
    stage.queue.enqueue(vec![item]).await.unwrap();
}

pub(crate) async fn what_has_expired_is_swept_and_nothing_else(stage: &Stage) {
    enqueue_expiring(stage, MINUTE).await;
    enqueue_expiring(stage, 2 * MINUTE).await;
    stage.enqueue(&["slack"]).await;
    stage.advance(MINUTE - Duration::from_millis(1));
    assert!(sweep(stage, &[], 10).await.is_empty());
    stage.advance(Duration::from_millis(1));
    let swept = sweep(stage, &[], 10).await;
    assert_eq!(ids(&swept), [1]);
    assert!(swept[0].standing.is_expired());
    // It is leased like any other: nobody else gets it.
    assert!(sweep(stage, &[], 10).await.is_empty());
}

pub(crate) async fn a_swept_delivery_dies_without_an_attempt(stage: &Stage) {
    enqueue_expiring(stage, MINUTE).await;
    stage.advance(MINUTE);
    let swept = sweep(stage, &[], 10).await.remove(0);
    let settlement = Settlement::Dead { cause: Cause::Expired };
    stage.settle(Settle { attempt: None, ..settle(swept.key, settlement) }).await;
    let record = stage.delivery(swept.key.id).await;
    assert_eq!((record.attempts, record.cause.as_deref()), (0, Some("expired")));
}

pub(crate) async fn what_is_not_due_yet_is_swept_when_it_expires(stage: &Stage) {
    enqueue_expiring(stage, MINUTE).await;
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, retry(10 * MINUTE))).await;
    stage.advance(MINUTE);
    assert!(stage.claim("slack").await.is_empty());
    assert_eq!(ids(&sweep(stage, &[], 10).await), [1]);
}

pub(crate) async fn a_running_attempt_is_left_alone_until_its_lease_expires(stage: &Stage) {
    enqueue_expiring(stage, LEASE / 2).await;
    stage.claim_one("slack").await;
    stage.advance(LEASE - Duration::from_millis(1));
    assert!(sweep(stage, &[], 10).await.is_empty());
    stage.advance(Duration::from_millis(1));
    let swept = sweep(stage, &[], 10).await.remove(0);
    assert_eq!((swept.attempt, swept.standing.lost), (2, 1));
    assert_eq!(stage.attempts(swept.key.id).await, [(1, "lost".to_owned())]);
}

pub(crate) async fn max_age_counts_in_both_lanes_also_where_a_destination_is_held(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.enqueue(&["slack"]).await;
    let lease = stage.queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
    let hold = Some(100 * MINUTE);
    let held = Settlement::Retry { delay: MINUTE, counted: true, hold };
    stage.settle(settle(lease.key, held)).await;
    stage.advance(2 * MINUTE);
    stage.enqueue(&["slack"]).await;
    assert!(stage.claim("slack").await.is_empty());
    assert!(sweep(stage, &[("slack", 3 * MINUTE)], 10).await.is_empty());
    assert!(sweep(stage, &[("email", MINUTE)], 10).await.is_empty());
    assert_eq!(ids(&sweep(stage, &[("slack", 2 * MINUTE)], 10).await), [1, 2]);
}

pub(crate) async fn a_sweep_takes_no_more_than_its_limit(stage: &Stage) {
    for _ in 0..5 {
        stage.enqueue(&["slack"]).await;
    }
    stage.advance(MINUTE);
    let bound = [("slack", MINUTE)];
    assert_eq!(sweep(stage, &bound, 3).await.len(), 3);
    assert_eq!(sweep(stage, &bound, 3).await.len(), 2);
    assert_eq!(sweep(stage, &bound, 0).await.len(), 0);
}

pub(crate) async fn what_expires_is_swept_of_removed_destinations_too(stage: &Stage) {
    let kept = KeptDestination { name: "slack".into(), text: "".into(), module: "".into() };
    stage.queue.keep_destinations(&[kept]).await.unwrap();
    enqueue_expiring(stage, MINUTE).await;
    stage.queue.keep_destinations(&[]).await.unwrap();
    stage.advance(MINUTE);
    assert_eq!(ids(&sweep(stage, &[], 10).await), [1]);
}

pub(crate) async fn what_waits_for_its_head_is_swept_and_waits_on_if_it_is_handed_back(
    stage: &Stage,
) {
    let target = Target { order_key: Some("a".into()), ..Target::from("slack") };
    let items = (0..2).map(|_| Enqueue { destinations: vec![target.clone()], ..item(&[]) });
    stage.queue.enqueue(items.collect()).await.unwrap();
    stage.claim_one("slack").await;
    stage.advance(LEASE / 2);
    let bound = [("slack", LEASE / 2)];
    let swept = sweep(stage, &bound, 10).await.remove(0);
    assert_eq!(swept.key.id, DeliveryId(2));
    stage.settle(settle(swept.key, Settlement::Released)).await;
    let record = stage.delivery(swept.key.id).await;
    assert_eq!((record.waiting, record.due), (true, None));
    // Nor does it come out of order when whoever swept it ends.
    sweep(stage, &bound, 10).await;
    stage.advance(2 * LEASE);
    assert_eq!(stage.claim_one("slack").await.key.id, DeliveryId(1));
}
