//! The operator's hand, kept destinations, orphans, and the end.

use postrider_core::DeliveryState;
use postrider_core::delivery::LOST;

use super::*;
use crate::{KeptDestination, QueueError, Slot};

pub(crate) async fn redelivery_gives_a_fresh_budget_and_goes_on_counting(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, retry(MINUTE))).await;
    stage.advance(MINUTE);
    let lease = stage.claim_one("slack").await;
    let mut death = settle(lease.key, DEAD);
    death.parts_done = 2;
    stage.settle(death).await;
    stage.advance(MINUTE);
    assert_eq!(stage.queue.redeliver(&[lease.key.id, lease.key.id]).await.unwrap(), 1);
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.finished), (DeliveryState::Pending, None));
    assert_eq!((record.cause, record.reason.as_str()), (None, ""));
    let again = stage.claim_one("slack").await;
    assert_eq!((again.attempt, again.parts_done), (3, 2));
    assert_eq!((again.standing.used, again.standing.lost), (0, 0));
    assert_eq!(again.standing.age, Duration::ZERO);
    let numbers = stage.attempts(lease.key.id).await.into_iter().map(|(number, _)| number);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
}

pub(crate) async fn redelivery_hastens_what_waits_and_leaves_the_rest_alone(stage: &Stage) {
    for _ in 0..4 {
        stage.enqueue(&["slack"]).await;
    }
    let leases = stage.queue.claim(&claim(&[("slack", 3, 0)])).await.unwrap();
    stage.settle(settle(leases[0].key, retry(MINUTE))).await;
    stage.settle(settle(leases[1].key, Settlement::Delivered)).await;
    let all: Vec<_> = (1..=5).map(DeliveryId).collect();
    assert_eq!(stage.queue.redeliver(&all).await.unwrap(), 1);
    let due = stage.claim("slack").await;
    assert_eq!(due.len(), 2);
    assert!(due.iter().any(|lease| lease.key.id == leases[0].key.id && lease.standing.used == 1));
    stage.settle(settle(leases[2].key, Settlement::Delivered)).await;
}

pub(crate) async fn cancelling_takes_a_running_lease_away(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.enqueue(&["slack"]).await;
    let lease = stage.queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
    let all: Vec<_> = (1..=9).map(DeliveryId).collect();
    assert_eq!(stage.queue.cancel(&all).await.unwrap(), 2);
    assert_eq!(stage.queue.cancel(&all).await.unwrap(), 0);
    let late = settle(lease.key, Settlement::Delivered);
    assert_eq!(stage.queue.settle(vec![late]).await.unwrap(), [lease.key]);
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.attempts), (DeliveryState::Cancelled, 1));
    assert_eq!((record.due, record.finished), (None, Some(EPOCH)));
    // Then the attempt that ran is not forgotten.
    assert_eq!(stage.attempts(lease.key.id).await, [(1, LOST.to_owned())]);
    stage.advance(LEASE);
    assert!(stage.claim("slack").await.is_empty());
}

pub(crate) async fn a_cancelled_delivery_can_be_redelivered(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let stale = stage.claim_one("slack").await.key;
    stage.queue.cancel(&[stale.id]).await.unwrap();
    assert_eq!(stage.queue.redeliver(&[stale.id]).await.unwrap(), 1);
    let late = settle(stale, Settlement::Delivered);
    assert_eq!(stage.queue.settle(vec![late]).await.unwrap(), [stale]);
    let lease = stage.claim_one("slack").await;
    assert_eq!((lease.attempt, lease.standing.lost), (2, 0));
    stage.settle(settle(lease.key, Settlement::Delivered)).await;
}

fn kept(name: &str, text: &str) -> KeptDestination {
    KeptDestination { name: name.into(), text: text.into(), module: "c0ffee".into() }
}

pub(crate) async fn destinations_are_kept_as_a_whole(stage: &Stage) {
    let first = [kept("email", "a"), kept("slack", "b")];
    stage.queue.keep_destinations(&first).await.unwrap();
    assert_eq!(stage.queue.kept_destinations().await.unwrap(), first);
    let second = [kept("pager", "d"), kept("slack", "c")];
    stage.queue.keep_destinations(&second).await.unwrap();
    assert_eq!(stage.queue.kept_destinations().await.unwrap(), second);
    stage.queue.keep_destinations(&first).await.unwrap();
    assert_eq!(stage.queue.kept_destinations().await.unwrap(), first);
    stage.queue.keep_destinations(&[]).await.unwrap();
    assert_eq!(stage.queue.kept_destinations().await.unwrap(), []);
}

pub(crate) async fn orphans_of_removed_destinations_are_buried(stage: &Stage) {
    let both = [kept("email", ""), kept("slack", "")];
    stage.queue.keep_destinations(&both).await.unwrap();
    stage.enqueue(&["email", "slack"]).await;
    stage.queue.keep_destinations(&both[..1]).await.unwrap();
    stage.advance(MINUTE / 2);
    // When it is still gone at the next reload, its time does not start again.
    stage.queue.keep_destinations(&both[..1]).await.unwrap();
    stage.advance(MINUTE / 2 - Duration::from_millis(1));
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    stage.advance(Duration::from_millis(1));
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 1);
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    let dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..everything() };
    let dead = stage.queue.deliveries(&dead).await.unwrap();
    assert_eq!((dead.len(), dead[0].destination.as_str()), (1, "slack"));
    assert_eq!(dead[0].cause.as_deref(), Some("orphaned"));
    stage.claim_one("email").await;
}

pub(crate) async fn orphans_of_unknown_destinations_are_buried_when_old(stage: &Stage) {
    stage.enqueue(&["a", "b", "c"]).await;
    stage.queue.keep_destinations(&[kept("b", "")]).await.unwrap();
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    stage.advance(MINUTE);
    stage.enqueue(&["a"]).await;
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 2);
    stage.claim_one("b").await;
    stage.claim_one("a").await;
}

pub(crate) async fn leased_orphans_are_left_alone_until_the_lease_expires(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.advance(MINUTE);
    let lease = stage.claim_one("slack").await;
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 0);
    stage.advance(LEASE);
    assert_eq!(stage.queue.bury_orphans(MINUTE).await.unwrap(), 1);
    assert_eq!(stage.attempts(lease.key.id).await, [(1, LOST.to_owned())]);
}

pub(crate) async fn every_call_after_close_is_refused(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.queue.close().await;
    stage.queue.close().await;
    let refused =
        |error: QueueError| assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    let slot = Slot { destination: "slack".into(), key: "k".into() };
    refused(stage.queue.enqueue(vec![item(&["slack"])]).await.unwrap_err());
    refused(stage.queue.claim(&claim(&[("slack", 1, 1)])).await.unwrap_err());
    refused(stage.queue.settle(vec![]).await.unwrap_err());
    refused(stage.queue.look(&["slack".into()]).await.unwrap_err());
    refused(stage.queue.size().await.unwrap_err());
    refused(stage.queue.deliveries(&everything()).await.unwrap_err());
    refused(stage.queue.state_get(&slot).await.unwrap_err());
    refused(stage.queue.state_set(&slot, b"", None, None).await.unwrap_err());
}
