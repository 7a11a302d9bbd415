//! Enqueue and fan-out.

use std::collections::HashSet;

use super::*;
use crate::Route;

pub(crate) async fn a_notification_is_stored_and_fanned_out(stage: &Stage) {
    let id = stage.enqueue(&["slack", "email"]).await;
    let record = stage.queue.notification(id).await.unwrap().unwrap();
    assert_eq!(record.deliveries, Some(2));
    assert_eq!((record.malformed, record.idempotency_key), (None, None));
    let lease = stage.claim_one("email").await;
    assert_eq!(lease.notification, record.notification);
    assert_eq!(lease.destination, "email");
    assert_eq!((lease.attempt, lease.parts_done, lease.chain.len()), (1, 0, 0));
    stage.claim_one("slack").await;
}

pub(crate) async fn a_destination_named_twice_gets_one_delivery(stage: &Stage) {
    let mut item = item(&["slack", "slack"]);
    item.idempotency_key = Some("k".into());
    let id = item.notification.id;
    let stored = stage.queue.enqueue(vec![item]).await.unwrap();
    assert_eq!(stored, [Enqueued::Stored { id, deliveries: 1 }]);
    stage.claim_one("slack").await;
}

pub(crate) async fn a_notification_without_destinations_is_kept(stage: &Stage) {
    let id = stage.enqueue(&[]).await;
    assert_eq!(stage.queue.notification(id).await.unwrap().unwrap().deliveries, Some(0));
    assert_eq!(stage.queue.size().await.unwrap(), 0);
}

pub(crate) async fn every_kind_of_content_comes_back_as_it_was(stage: &Stage) {
    let contents: [&[u8]; 6] = [
        b"",
        b"{\"a\": \"\\u0000\"}",
        b"a\0b",
        &[0xff, 0, 0xfe],
        "🐎 \"q\" \\ \n".as_bytes(),
        b"null",
    ];
    let items = contents.map(|content| {
        let mut item = item(&["slack"]);
        item.notification.content = Bytes::copy_from_slice(content);
        item.notification.subject = None;
        item.notification.labels = [("ü \"'".to_owned(), "\\ 🐎".to_owned())].into();
        item
    });
    let sent: Vec<Notification> = items.iter().map(|item| item.notification.clone()).collect();
    stage.queue.enqueue(items.to_vec()).await.unwrap();
    let leases = stage.claim("slack").await;
    let got: Vec<Notification> = leases.into_iter().map(|lease| lease.notification).collect();
    assert_eq!(got, sent);
    for notification in sent {
        let record = stage.queue.notification(notification.id).await.unwrap().unwrap();
        assert_eq!(record.notification, notification);
    }
}

pub(crate) async fn the_same_key_with_the_same_notification_is_stored_once(stage: &Stage) {
    let first = keyed("k", "slack");
    let id = first.notification.id;
    let mut second = keyed("k", "slack");
    // Later and with another id, as a client's second try is.
    second.notification.time += MINUTE;
    stage.queue.enqueue(vec![first]).await.unwrap();
    let answer = stage.queue.enqueue(vec![second]).await.unwrap();
    assert_eq!(answer, [Enqueued::Existing { id, deliveries: 1 }]);
    stage.claim_one("slack").await;
}

pub(crate) async fn the_same_key_with_another_notification_is_a_conflict(stage: &Stage) {
    let first = keyed("k", "slack");
    let id = first.notification.id;
    stage.queue.enqueue(vec![first]).await.unwrap();
    let mut other = keyed("k", "slack");
    other.notification.content = Bytes::from_static(b"other");
    let fine = keyed("l", "slack");
    let fine_id = fine.notification.id;
    let answer = stage.queue.enqueue(vec![other, fine]).await.unwrap();
    let stored = Enqueued::Stored { id: fine_id, deliveries: 1 };
    assert_eq!(answer, [Enqueued::Conflict { id }, stored]);
}

pub(crate) async fn an_idempotency_key_counts_within_one_batch(stage: &Stage) {
    let mut batch = vec![keyed("k", "slack"), keyed("k", "slack"), keyed("k", "slack")];
    batch[2].notification.kind = "another".into();
    let id = batch[0].notification.id;
    let answer = stage.queue.enqueue(batch).await.unwrap();
    let stored = Enqueued::Stored { id, deliveries: 1 };
    let existing = Enqueued::Existing { id, deliveries: 1 };
    assert_eq!(answer, [stored, existing, Enqueued::Conflict { id }]);
}

pub(crate) async fn a_key_that_was_not_stored_is_free_for_the_next_of_a_batch(stage: &Stage) {
    let (first, other) = (item(&["slack"]), item(&["slack"]));
    let keyed = |item: &Enqueue| Enqueue { idempotency_key: Some("k".into()), ..item.clone() };
    let (id, other_id) = (first.notification.id, other.notification.id);
    // The second came before by its id, so its key is no one's until the third.
    let batch = vec![first.clone(), keyed(&first), keyed(&other)];
    let expected = [
        Enqueued::Stored { id, deliveries: 1 },
        Enqueued::Existing { id, deliveries: 1 },
        Enqueued::Stored { id: other_id, deliveries: 1 },
    ];
    assert_eq!(stage.queue.enqueue(batch).await.unwrap(), expected);
    let known = stage.queue.enqueue(vec![keyed(&item(&["slack"]))]).await.unwrap();
    assert_eq!(known, [Enqueued::Existing { id: other_id, deliveries: 1 }]);
}

pub(crate) async fn what_shares_an_id_within_a_batch_comes_after_the_others(stage: &Stage) {
    let known = keyed("k", "slack");
    stage.queue.enqueue(vec![known.clone()]).await.unwrap();
    let (again, other) = (item(&["slack"]), item(&["slack"]));
    let under_known_key = Enqueue { idempotency_key: Some("k".into()), ..again.clone() };
    let ids = [&other, &again].map(|item| item.notification.id);
    stage.queue.enqueue(vec![under_known_key, again, other]).await.unwrap();
    let newest = stage.queue.notifications(&Page { after: None, limit: 2 }).await.unwrap();
    let newest: Vec<NotificationId> = newest.iter().rev().map(|n| n.notification.id).collect();
    assert_eq!(newest, ids);
}

pub(crate) async fn concurrent_enqueues_of_one_key_store_one_notification(stage: &Stage) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let queue = Arc::clone(&stage.queue);
        tasks.spawn(
            async move { queue.enqueue(vec![keyed("k", "slack")]).await.unwrap().remove(0) },
        );
    }
    let answers = tasks.join_all().await;
    let stored = answers.iter().filter(|answer| matches!(answer, Enqueued::Stored { .. }));
    assert_eq!(stored.count(), 1);
    assert!(!answers.iter().any(|answer| matches!(answer, Enqueued::Conflict { .. })));
    stage.claim_one("slack").await;
}

pub(crate) async fn an_id_that_exists_is_not_stored_again(stage: &Stage) {
    let first = item(&["slack"]);
    let id = first.notification.id;
    let mut other = first.clone();
    other.notification.kind = "another".into();
    stage.queue.enqueue(vec![first.clone()]).await.unwrap();
    let answer = stage.queue.enqueue(vec![first, other]).await.unwrap();
    assert_eq!(answer, [Enqueued::Existing { id, deliveries: 1 }, Enqueued::Conflict { id }]);
    stage.claim_one("slack").await;
}

pub(crate) async fn what_is_known_in_a_long_batch_is_left_out_and_nothing_else(stage: &Stage) {
    let batch: Vec<Enqueue> = (0..150).map(|_| item(&["slack"])).collect();
    let known = |place: usize| [3, 70, 71, 149].contains(&place);
    let before = batch.iter().enumerate().filter(|(place, _)| known(*place));
    stage.queue.enqueue(before.map(|(_, item)| item.clone()).collect()).await.unwrap();
    let answers = stage.queue.enqueue(batch.clone()).await.unwrap();
    for (place, (answer, item)) in answers.into_iter().zip(&batch).enumerate() {
        let (id, deliveries) = (item.notification.id, 1);
        let existing = Enqueued::Existing { id, deliveries };
        assert_eq!(
            answer,
            if known(place) { existing } else { Enqueued::Stored { id, deliveries } }
        );
    }
    let stored = stage.queue.notifications(&Page { after: None, limit: 150 }).await.unwrap();
    let (rows, ids): (Vec<i64>, Vec<NotificationId>) =
        stored.iter().rev().map(|stored| (stored.row, stored.notification.id)).unzip();
    let places =
        (0..150).filter(|place| known(*place)).chain((0..150).filter(|place| !known(*place)));
    assert_eq!(ids, places.map(|place| batch[place].notification.id).collect::<Vec<_>>());
    assert!(rows.is_sorted(), "{rows:?}");
    let leases = [stage.claim("slack").await, stage.claim("slack").await].concat();
    let leased: HashSet<NotificationId> =
        leases.iter().map(|lease| lease.notification.id).collect();
    assert_eq!((leases.len(), leased), (150, ids.into_iter().collect()));
}

pub(crate) async fn an_empty_batch_is_no_error(stage: &Stage) {
    assert_eq!(stage.queue.enqueue(vec![]).await.unwrap(), []);
    assert_eq!(stage.queue.settle(vec![]).await.unwrap(), []);
    assert_eq!(stage.queue.extend(&[], LEASE).await.unwrap(), []);
    assert_eq!(stage.queue.fan_out(vec![]).await.unwrap(), 0);
    assert!(stage.queue.claim(&claim(&[])).await.unwrap().is_empty());
}

pub(crate) async fn a_producers_notification_is_fanned_out_once(stage: &Stage) {
    let (first, second) = (notification(), notification());
    stage.stand.insert(first.clone()).await;
    stage.stand.insert(second.clone()).await;
    assert_eq!(stage.queue.size().await.unwrap(), 2);
    let arrived = stage.queue.arrived(1).await.unwrap();
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].notification.clone().unwrap(), first);
    let route = |destinations: &[&str]| Route {
        row: arrived[0].row,
        destinations: Ok(destinations.iter().map(|&name| name.into()).collect()),
    };
    // When it is fanned out twice, and in the second call to more.
    assert_eq!(stage.queue.fan_out(vec![route(&["slack", "slack"])]).await.unwrap(), 1);
    assert_eq!(stage.queue.fan_out(vec![route(&["slack", "email"])]).await.unwrap(), 0);
    // Then the first call counts.
    let record = stage.queue.notification(first.id).await.unwrap().unwrap();
    assert_eq!(record.deliveries, Some(1));
    assert_eq!(stage.claim_one("slack").await.notification, first);
    assert!(stage.claim("email").await.is_empty());
    let left = stage.queue.arrived(10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].notification.clone().unwrap(), second);
}

pub(crate) async fn a_malformed_notification_is_set_aside_with_its_reason(stage: &Stage) {
    let bad = notification();
    stage.stand.insert(bad.clone()).await;
    let row = stage.queue.arrived(10).await.unwrap()[0].row;
    let aside = Route { row, destinations: Err("labels: no".into()) };
    let late = Route { row, destinations: Ok(vec!["slack".into()]) };
    assert_eq!(stage.queue.fan_out(vec![aside, late]).await.unwrap(), 0);
    assert!(stage.queue.arrived(10).await.unwrap().is_empty());
    assert_eq!(stage.queue.size().await.unwrap(), 0);
    let record = stage.queue.notification(bad.id).await.unwrap().unwrap();
    assert_eq!(record.malformed.as_deref(), Some("labels: no"));
    assert_eq!(record.deliveries, None);
}

fn keyed(key: &str, destination: &str) -> Enqueue {
    Enqueue { idempotency_key: Some(key.to_owned()), ..item(&[destination]) }
}
