//! When a delivery is due, and until when it is worth an attempt.

use super::*;
use crate::Route;

fn scheduled(deliver_after: Duration, expires_after: Option<Duration>) -> Enqueue {
    Enqueue { schedule: Schedule { deliver_after, expires_after }, ..item(&["slack"]) }
}

async fn arrived(stage: &Stage, targets: Vec<Target>) {
    let row = stage.queue.arrived(10).await.unwrap().remove(0).row;
    let route = Route { row, destinations: Ok(targets) };
    assert_eq!(stage.queue.fan_out(vec![route]).await.unwrap(), 1);
}

pub(crate) async fn a_later_delivery_is_due_then_and_not_before(stage: &Stage) {
    stage.queue.enqueue(vec![scheduled(MINUTE, None)]).await.unwrap();
    let slack = ["slack".to_owned()];
    assert_eq!(stage.queue.look(&slack).await.unwrap().due, Some(MINUTE));
    stage.advance(MINUTE - Duration::from_millis(1));
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(Duration::from_millis(1));
    stage.claim_one("slack").await;
}

pub(crate) async fn the_age_of_a_later_delivery_counts_from_when_it_is_due(stage: &Stage) {
    stage.queue.enqueue(vec![scheduled(5 * MINUTE, None)]).await.unwrap();
    stage.advance(6 * MINUTE);
    assert_eq!(stage.claim_one("slack").await.standing.age, MINUTE);
}

pub(crate) async fn a_lease_tells_what_is_left_until_expiry(stage: &Stage) {
    stage.queue.enqueue(vec![scheduled(Duration::ZERO, Some(2 * MINUTE))]).await.unwrap();
    stage.advance(MINUTE);
    let lease = stage.claim_one("slack").await;
    assert_eq!(lease.standing.left, Some(MINUTE));
    assert!(!lease.standing.is_expired());
    stage.settle(settle(lease.key, retry(MINUTE))).await;
    stage.advance(MINUTE);
    assert!(stage.claim_one("slack").await.standing.is_expired());
}

pub(crate) async fn the_earlier_of_both_expiries_wins(stage: &Stage) {
    let within = |after| Target { expires_after: Some(after), ..Target::from("slack") };
    let of = |own: Option<Duration>, after| Enqueue {
        destinations: vec![within(after)],
        ..scheduled(Duration::ZERO, own)
    };
    let items =
        vec![of(Some(MINUTE), 2 * MINUTE), of(Some(3 * MINUTE), 2 * MINUTE), of(None, 2 * MINUTE)];
    stage.queue.enqueue(items).await.unwrap();
    let left = stage.claim("slack").await.into_iter().map(|lease| lease.standing.left.unwrap());
    assert_eq!(left.collect::<Vec<_>>(), [MINUTE, 2 * MINUTE, 2 * MINUTE]);
}

pub(crate) async fn without_a_schedule_nothing_expires(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    assert_eq!((lease.standing.left, lease.order_key), (None, None));
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.expires, record.order_key, record.waiting), (None, None, false));
}

pub(crate) async fn records_show_the_expiry(stage: &Stage) {
    let item = scheduled(MINUTE, Some(2 * MINUTE));
    let id = item.notification.id;
    stage.queue.enqueue(vec![item]).await.unwrap();
    let record = stage.queue.deliveries(&everything()).await.unwrap().remove(0);
    assert_eq!((record.due, record.expires), (Some(EPOCH + MINUTE), Some(EPOCH + 2 * MINUTE)));
    let notification = stage.queue.notification(id).await.unwrap().unwrap();
    assert_eq!(notification.expires, Some(EPOCH + 2 * MINUTE));
}

pub(crate) async fn a_producers_times_count_from_its_insert(stage: &Stage) {
    let expires_after = Some(5 * MINUTE);
    let schedule = Schedule { deliver_after: 2 * MINUTE, expires_after };
    stage.stand.insert_scheduled(notification(), schedule).await;
    stage.advance(MINUTE);
    arrived(stage, vec!["slack".into()]).await;
    let record = stage.queue.deliveries(&everything()).await.unwrap().remove(0);
    assert_eq!(record.due, Some(EPOCH + 2 * MINUTE));
    assert_eq!(record.expires, Some(EPOCH + 5 * MINUTE));
}

pub(crate) async fn a_producers_time_that_has_passed_is_now(stage: &Stage) {
    let schedule = Schedule { deliver_after: MINUTE, expires_after: None };
    stage.stand.insert_scheduled(notification(), schedule).await;
    stage.advance(2 * MINUTE);
    let bound = Target { expires_after: Some(MINUTE), ..Target::from("slack") };
    arrived(stage, vec![bound]).await;
    let lease = stage.claim_one("slack").await;
    assert_eq!(lease.standing.age, Duration::ZERO);
    assert!(lease.standing.is_expired());
}

pub(crate) async fn redelivery_hastens_and_lifts_the_expiry(stage: &Stage) {
    stage.queue.enqueue(vec![scheduled(MINUTE, Some(2 * MINUTE))]).await.unwrap();
    let id = stage.queue.deliveries(&everything()).await.unwrap()[0].id;
    assert_eq!(stage.queue.redeliver(&[id]).await.unwrap(), 1);
    let lease = stage.claim_one("slack").await;
    assert_eq!(lease.standing.left, Some(2 * MINUTE));
    stage.settle(settle(lease.key, DEAD)).await;
    stage.advance(3 * MINUTE);
    assert_eq!(stage.queue.redeliver(&[id]).await.unwrap(), 1);
    assert_eq!(stage.claim_one("slack").await.standing.left, None);
}

pub(crate) async fn a_taker_expires_with_its_notification(stage: &Stage) {
    stage.queue.enqueue(vec![scheduled(Duration::ZERO, Some(MINUTE))]).await.unwrap();
    let lease = stage.claim_one("slack").await;
    let death = Settle { handover: handover(&["email"]), ..settle(lease.key, DEAD) };
    stage.settle(death).await;
    assert_eq!(stage.claim_one("email").await.standing.left, Some(MINUTE));
}

pub(crate) async fn what_has_expired_by_itself_is_not_handed_over(stage: &Stage) {
    let bound = Target { expires_after: Some(MINUTE), ..Target::from("slack") };
    let own = scheduled(Duration::ZERO, Some(MINUTE));
    let by_policy = Enqueue { destinations: vec![bound], ..scheduled(Duration::ZERO, None) };
    stage.queue.enqueue(vec![own, by_policy]).await.unwrap();
    stage.advance(MINUTE);
    for lease in stage.claim("slack").await {
        let death = Settle { handover: handover(&["email"]), ..settle(lease.key, DEAD) };
        stage.settle(death).await;
    }
    let taken = stage.claim_one("email").await;
    let heir = stage.delivery(taken.key.id).await;
    assert_eq!(heir.fallback_of, Some(DeliveryId(2)));
    assert_eq!(stage.delivery(DeliveryId(1)).await.fallback_to, None);
}
