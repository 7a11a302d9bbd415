//! Deliveries that are leased as they are stored.

use postrider_core::DeliveryState;
use postrider_core::delivery::LOST;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn destinations(taken: &Taken) -> Vec<&str> {
    taken.leases.iter().map(|lease| lease.destination.as_str()).collect()
}

pub(crate) async fn what_is_taken_is_leased_as_it_is_stored(stage: &Stage) {
    let wanted = item(&["slack"]);
    let id = wanted.notification.id;
    let taken = stage.take(wanted, &["slack"]).await;
    assert_eq!(taken.enqueued, Enqueued::Stored { id, deliveries: 1 });
    let [lease] = taken.leases.try_into().unwrap();
    assert_eq!(stage.delivery(lease.key.id).await.state, DeliveryState::Leased);
    assert!(stage.claim("slack").await.is_empty());
    stage.settle(settle(lease.key, retry(SECOND))).await;
    stage.advance(SECOND);
    // A claim answers the same of it, but for what the attempt changed.
    let again = stage.claim_one("slack").await;
    let notification = |lease: &Lease| format!("{:?}", lease.notification);
    assert_eq!(notification(&lease), notification(&again));
    assert_eq!((lease.attempt, again.attempt), (1, 2));
    assert_eq!((lease.standing.used, lease.standing.lost, lease.standing.left), (0, 0, None));
    assert_eq!((lease.parts_done, lease.chain.len(), &lease.order_key), (0, 0, &None));
    assert_eq!((lease.standing.age, again.standing.age), (Duration::ZERO, SECOND));
    stage.settle(settle(again.key, Settlement::Delivered)).await;
    let attempts = [(1, "retry".to_owned()), (2, "delivered".to_owned())];
    assert_eq!(stage.attempts(again.key.id).await, attempts);
}

pub(crate) async fn what_goes_to_many_is_taken_for_each(stage: &Stage) {
    let names: Vec<String> = (0..300).map(|number| format!("d{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let taken = stage.take(item(&names), &names).await;
    let mut destinations = destinations(&taken);
    destinations.sort_unstable();
    assert_eq!(destinations, names);
    for place in [0, 255, 256, 299] {
        let lease = &taken.leases[place];
        let record = stage.delivery(lease.key.id).await;
        assert_eq!(
            (record.destination, record.state),
            (lease.destination.clone(), DeliveryState::Leased)
        );
    }
}

pub(crate) async fn only_what_is_named_is_taken(stage: &Stage) {
    let taken = stage.take(item(&["slack", "email", "pager"]), &["email", "nobody"]).await;
    assert_eq!(destinations(&taken), ["email"]);
    for name in ["slack", "pager"] {
        assert_eq!(stage.claim_one(name).await.key.token, 1);
    }
    assert!(stage.claim("email").await.is_empty());
    let taken = stage.take(item(&[]), &["email"]).await;
    assert!(taken.leases.is_empty());
}

pub(crate) async fn what_is_held_is_left_to_claims(stage: &Stage) {
    stage.queue.pause("slack", "maintenance").await.unwrap();
    let taken = stage.take(item(&["slack", "email"]), &["slack", "email"]).await;
    assert_eq!(destinations(&taken), ["email"]);
    assert!(stage.claim("slack").await.is_empty());
    stage.queue.resume("slack").await.unwrap();
    assert_eq!(stage.claim_one("slack").await.attempt, 1);
    let taken = stage.take(item(&["slack"]), &["slack"]).await;
    let rest = Settlement::Retry { delay: SECOND, counted: false, hold: Some(MINUTE) };
    stage.settle(settle(taken.leases[0].key, rest)).await;
    assert!(stage.take(item(&["slack"]), &["slack"]).await.leases.is_empty());
    stage.advance(MINUTE);
    assert_eq!(stage.take(item(&["slack"]), &["slack"]).await.leases.len(), 1);
}

pub(crate) async fn what_came_before_is_not_taken(stage: &Stage) {
    let first = Enqueue { idempotency_key: Some("once".to_owned()), ..item(&["slack"]) };
    let id = first.notification.id;
    stage.queue.enqueue(vec![first.clone()]).await.unwrap();
    let taken = stage.take(first, &["slack"]).await;
    assert_eq!(taken.enqueued, Enqueued::Existing { id, deliveries: 1 });
    assert!(taken.leases.is_empty());
    let mut other = item(&["slack"]);
    other.idempotency_key = Some("once".to_owned());
    other.notification.kind = "alert.resolved".to_owned();
    let taken = stage.take(other, &["slack"]).await;
    assert_eq!(taken.enqueued, Enqueued::Conflict { id });
    assert!(taken.leases.is_empty());
    assert_eq!(stage.claim("slack").await.len(), 1);
}

pub(crate) async fn what_has_a_schedule_or_a_key_is_left_to_claims(stage: &Stage) {
    let later = Schedule { deliver_after: SECOND, expires_after: None };
    let short = Schedule { expires_after: Some(MINUTE), ..Schedule::default() };
    for schedule in [later, short] {
        let taken = stage.take(Enqueue { schedule, ..item(&["slack"]) }, &["slack"]).await;
        assert!(taken.leases.is_empty());
    }
    let keyed = Target { order_key: Some("k".to_owned()), ..Target::new("slack") };
    let short = Target { expires_after: Some(MINUTE), ..Target::new("slack") };
    for target in [keyed, short] {
        let taken =
            stage.take(Enqueue { destinations: vec![target], ..item(&[]) }, &["slack"]).await;
        assert!(taken.leases.is_empty());
    }
    stage.advance(SECOND);
    assert_eq!(stage.claim("slack").await.len(), 4);
}

pub(crate) async fn a_taken_lease_expires_and_is_recorded_as_lost(stage: &Stage) {
    let taken = stage.take(item(&["slack"]), &["slack"]).await;
    let lease = &taken.leases[0];
    assert_eq!(stage.queue.extend(&[lease.key], MINUTE).await.unwrap(), []);
    stage.advance(LEASE);
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(MINUTE - LEASE);
    let again = stage.claim_one("slack").await;
    assert_eq!((again.attempt, again.standing.lost, again.standing.used), (2, 1, 0));
    assert_eq!(stage.attempts(again.key.id).await, [(1, LOST.to_owned())]);
    let late = settle(lease.key, Settlement::Delivered);
    assert_eq!(stage.queue.settle(vec![late]).await.unwrap(), [lease.key]);
}

pub(crate) async fn many_take_at_once(stage: &Stage) {
    let mut producers = tokio::task::JoinSet::new();
    for number in 0..100 {
        let queue = Arc::clone(&stage.queue);
        producers.spawn(async move {
            let mut item = item(&["slack", "email"]);
            // Among them some that only one of ten may store, and some with a schedule, which none takes.
            item.idempotency_key = (number % 2 == 0).then(|| format!("key {}", number % 10));
            if number % 25 == 1 {
                item.schedule.expires_after = Some(MINUTE);
            }
            let destinations = vec!["email".to_owned()];
            let taking = Taking { host: host(), lease: LEASE, destinations };
            queue.enqueue_taking(item, taking).await.unwrap()
        });
    }
    let all = producers.join_all().await;
    let stored = all.iter().filter(|taken| matches!(taken.enqueued, Enqueued::Stored { .. }));
    assert_eq!(stored.count(), 55);
    assert!(all.iter().flat_map(|taken| destinations(taken)).all(|name| name == "email"));
    // None is both leased and left to claims, and none is neither.
    let leased: usize = all.iter().map(|taken| taken.leases.len()).sum();
    assert_eq!(leased + stage.claim("email").await.len(), 55);
    assert_eq!(stage.claim("slack").await.len(), 55);
    let ids = all.iter().flat_map(|taken| taken.leases.iter().map(|lease| lease.key.id));
    assert_eq!(ids.collect::<std::collections::HashSet<_>>().len(), leased);
}
