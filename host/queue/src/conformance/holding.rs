//! Pauses, and dead letters that are put away.

use postrider_core::DeliveryState;

use super::*;
use crate::{Hold, Trip};

async fn holds(stage: &Stage) -> Vec<Hold> {
    stage.queue.holds().await.unwrap()
}

async fn look(stage: &Stage) -> Option<Duration> {
    stage.queue.look(&["slack".to_owned()]).await.unwrap().due
}

pub(crate) async fn a_paused_destination_is_held_until_somebody_resumes_it(stage: &Stage) {
    stage.enqueue(&["slack", "email"]).await;
    stage.queue.pause("slack", "the room is being moved").await.unwrap();
    stage.advance(MINUTE);
    stage.queue.pause("slack", "still").await.unwrap();
    let held = holds(stage).await;
    let paused = held[0].paused.clone().unwrap();
    assert_eq!((held.len(), held[0].destination.as_str()), (1, "slack"));
    assert_eq!((paused.since, paused.reason.as_str()), (EPOCH, "still"));
    stage.advance(1_000 * MINUTE);
    assert!(stage.claim("slack").await.is_empty());
    assert_eq!(stage.claim("email").await.len(), 1);
    assert!(look(stage).await.unwrap() > 1_000 * MINUTE);
    assert!(stage.queue.resume("slack").await.unwrap());
    assert_eq!(holds(stage).await, []);
    assert_eq!(look(stage).await, Some(Duration::ZERO));
    assert_eq!(stage.claim("slack").await.len(), 1);
}

pub(crate) async fn a_rest_that_is_asked_for_does_not_end_a_pause(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.queue.pause("slack", "").await.unwrap();
    let rest = Settlement::Retry { delay: MINUTE, counted: false, hold: Some(MINUTE) };
    stage.settle(settle(lease.key, rest)).await;
    stage.advance(2 * MINUTE);
    assert!(stage.claim("slack").await.is_empty());
    assert!(stage.queue.resume("slack").await.unwrap());
    assert_eq!(stage.claim("slack").await.len(), 1);
}

pub(crate) async fn a_pause_takes_the_breakers_place_and_none_opens_meanwhile(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let trip = |gone| Trip {
        destination: "slack".to_owned(),
        reason: "HTTP status 503".to_owned(),
        wait: MINUTE,
        gone,
    };
    assert!(stage.queue.trip(&trip(false)).await.unwrap());
    stage.queue.pause("slack", "").await.unwrap();
    assert!(!stage.queue.trip(&trip(false)).await.unwrap());
    assert!(!stage.queue.trip(&trip(true)).await.unwrap());
    let blocked = stage.queue.blocked().await.unwrap();
    assert_eq!((blocked.len(), blocked[0].breaker.clone()), (1, None));
    stage.advance(2 * MINUTE);
    assert!(look(stage).await.unwrap() > 1_000 * MINUTE);
    assert!(stage.queue.resume("slack").await.unwrap());
    assert!(!stage.queue.resume("slack").await.unwrap());
    assert_eq!(stage.claim("slack").await.len(), 1);
}

pub(crate) async fn what_is_put_away_is_cancelled_and_can_be_revived(stage: &Stage) {
    for _ in 0..3 {
        stage.enqueue(&["slack"]).await;
    }
    let leases = stage.queue.claim(&claim(&[("slack", 2, 0)])).await.unwrap();
    stage.settle(settle(leases[0].key, DEAD)).await;
    stage.settle(settle(leases[1].key, Settlement::Delivered)).await;
    let all: Vec<_> = (1..=9).map(DeliveryId).collect();
    assert_eq!(stage.queue.put_away(&all).await.unwrap(), 1);
    assert_eq!(stage.queue.put_away(&all).await.unwrap(), 0);
    let record = stage.delivery(leases[0].key.id).await;
    assert_eq!((record.state, record.cause), (DeliveryState::Cancelled, None));
    assert_eq!(record.finished, Some(EPOCH));
    assert_eq!(stage.attempts(leases[0].key.id).await.len(), 1);
    assert_eq!(stage.queue.redeliver(&[leases[0].key.id]).await.unwrap(), 1);
}
