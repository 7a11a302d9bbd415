//! What goes when, and what must not.

use postrider_core::{DeliveryState, Retention};

use super::*;
use crate::{Pruned, QueueError, Route};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn rows_after(age: Duration) -> Retention {
    Retention { finished: Some(age), dead: Some(2 * age), content: None }
}

fn content_after(age: Duration) -> Retention {
    Retention { finished: None, dead: None, content: Some(age) }
}

/// A whole pass.
async fn prune(stage: &Stage, retention: &Retention) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let chunk = stage.queue.prune(retention, all.next).await.unwrap();
        all.notifications += chunk.notifications;
        all.deliveries += chunk.deliveries;
        all.attempts += chunk.attempts;
        all.contents += chunk.contents;
        all.next = chunk.next;
        if all.next.is_none() {
            return all;
        }
    }
}

async fn send(stage: &Stage, destination: &str, end: Settlement) -> DeliveryId {
    let lease = stage.claim_one(destination).await;
    stage.settle(settle(lease.key, end)).await;
    lease.key.id
}

async fn left(stage: &Stage) -> (usize, usize) {
    let page = Page { after: None, limit: 1_000 };
    let notifications = stage.queue.notifications(&page).await.unwrap().len();
    (notifications, stage.queue.deliveries(&everything()).await.unwrap().len())
}

pub(crate) async fn a_finished_notification_goes_with_all_that_belongs_to_it(stage: &Stage) {
    let id = stage.enqueue(&["email", "slack"]).await;
    let email = send(stage, "email", retry(MINUTE)).await;
    stage.advance(MINUTE);
    send(stage, "email", Settlement::Delivered).await;
    send(stage, "slack", Settlement::Delivered).await;
    stage.advance(HOUR - Duration::from_millis(1));
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    stage.advance(Duration::from_millis(1));
    let gone = Pruned { notifications: 1, deliveries: 2, attempts: 3, ..Pruned::default() };
    assert_eq!(prune(stage, &rows_after(HOUR)).await, gone);
    assert_eq!(left(stage).await, (0, 0));
    assert!(stage.queue.notification(id).await.unwrap().is_none());
    assert!(stage.attempts(email).await.is_empty());
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
}

pub(crate) async fn what_is_not_wholly_finished_stays(stage: &Stage) {
    stage.enqueue(&["email", "slack"]).await;
    stage.stand.insert(notification()).await;
    send(stage, "slack", Settlement::Delivered).await;
    stage.advance(99 * DAY);
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    assert_eq!(prune(stage, &content_after(HOUR)).await, Pruned::default());
    send(stage, "email", Settlement::Delivered).await;
    // The age counts from the last of them.
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    stage.advance(HOUR);
    assert_eq!(prune(stage, &rows_after(HOUR)).await.deliveries, 2);
    assert_eq!(left(stage).await, (1, 0));
    assert_eq!(stage.queue.arrived(9).await.unwrap().len(), 1);
}

pub(crate) async fn dead_letters_and_malformed_rows_stay_longer(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    send(stage, "slack", DEAD).await;
    stage.stand.insert(notification()).await;
    let row = stage.queue.arrived(1).await.unwrap()[0].row;
    let aside = Route { row, destinations: Err("malformed".to_owned()) };
    stage.queue.fan_out(vec![aside]).await.unwrap();
    stage.advance(HOUR);
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    stage.advance(HOUR);
    let gone = Pruned { notifications: 2, deliveries: 1, attempts: 1, ..Pruned::default() };
    assert_eq!(prune(stage, &rows_after(HOUR)).await, gone);
}

pub(crate) async fn an_unrouted_notification_goes_by_the_age_of_its_fan_out(stage: &Stage) {
    stage.enqueue(&[]).await;
    stage.advance(HOUR);
    stage.enqueue(&[]).await;
    assert_eq!(prune(stage, &rows_after(HOUR)).await.notifications, 1);
    let never = Retention { finished: None, dead: None, content: None };
    stage.advance(99 * DAY);
    assert_eq!(prune(stage, &never).await, Pruned::default());
}

pub(crate) async fn content_goes_before_its_rows(stage: &Stage) {
    let id = stage.enqueue(&["slack"]).await;
    let delivery = send(stage, "slack", Settlement::Delivered).await;
    stage.advance(HOUR);
    let gone = Pruned { contents: 1, ..Pruned::default() };
    assert_eq!(prune(stage, &content_after(HOUR)).await, gone);
    let record = stage.queue.notification(id).await.unwrap().unwrap();
    assert!(record.pruned && record.notification.content.is_empty());
    assert_eq!(record.notification.subject.as_deref(), Some("db-1"));
    assert_eq!(stage.attempts(delivery).await.len(), 1);
    assert_eq!(prune(stage, &content_after(HOUR)).await, Pruned::default());
    assert_eq!(prune(stage, &rows_after(HOUR)).await.notifications, 1);
}

pub(crate) async fn what_has_no_content_is_not_redelivered(stage: &Stage) {
    for _ in 0..2 {
        stage.enqueue(&["slack"]).await;
    }
    let leases = stage.claim("slack").await;
    stage.settle(settle(leases[0].key, DEAD)).await;
    stage.advance(HOUR);
    stage.queue.cancel(&[leases[1].key.id]).await.unwrap();
    assert_eq!(prune(stage, &content_after(HOUR)).await.contents, 1);
    let both = [leases[0].key.id, leases[1].key.id];
    let error = stage.queue.redeliver(&both).await.unwrap_err();
    assert!(matches!(error, QueueError::Pruned(_)), "{error}");
    assert!(error.to_string().contains(&format!("deliveries {};", both[0])), "{error}");
    // Nothing was done, and without it the other is.
    assert_eq!(stage.delivery(both[1]).await.state, DeliveryState::Cancelled);
    assert_eq!(stage.queue.redeliver(&both[1..]).await.unwrap(), 1);
    assert_eq!(&*stage.claim_one("slack").await.notification.content, &*notification().content);
}

pub(crate) async fn what_is_redelivered_stays(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let id = send(stage, "slack", DEAD).await;
    stage.advance(9 * HOUR);
    assert_eq!(stage.queue.redeliver(&[id]).await.unwrap(), 1);
    let all = Retention { content: Some(HOUR), ..rows_after(HOUR) };
    assert_eq!(prune(stage, &all).await, Pruned::default());
    send(stage, "slack", Settlement::Delivered).await;
    assert_eq!(prune(stage, &all).await, Pruned::default());
}

pub(crate) async fn a_key_outlives_its_deliveries(stage: &Stage) {
    let mut first = item(&["slack"]);
    first.idempotency_key = Some("key".into());
    stage.queue.enqueue(vec![first.clone()]).await.unwrap();
    send(stage, "slack", Settlement::Delivered).await;
    stage.advance(HOUR);
    let gone = Pruned { deliveries: 1, attempts: 1, contents: 1, ..Pruned::default() };
    assert_eq!(prune(stage, &rows_after(HOUR)).await, gone);
    assert_eq!(left(stage).await, (1, 0));
    stage.advance(6 * DAY);
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    let id = first.notification.id;
    let mut again = Enqueue { notification: notification(), ..first.clone() };
    let known = [Enqueued::Existing { id, deliveries: 1 }];
    assert_eq!(stage.queue.enqueue(vec![again.clone()]).await.unwrap(), known);
    again.notification.content = Bytes::from_static(b"another");
    assert_eq!(stage.queue.enqueue(vec![again]).await.unwrap(), [Enqueued::Conflict { id }]);
    stage.advance(DAY);
    assert_eq!(prune(stage, &rows_after(HOUR)).await.notifications, 1);
    let stored = stage.queue.enqueue(vec![first]).await.unwrap();
    assert_eq!(stored, [Enqueued::Stored { id, deliveries: 1 }]);
}

/// Without its content and without a digest nothing can be compared, and nobody is told of a conflict that may be none.
pub(crate) async fn what_came_before_without_a_digest_counts_as_the_same(stage: &Stage) {
    let first = item(&[]);
    let id = first.notification.id;
    stage.queue.enqueue(vec![first.clone()]).await.unwrap();
    stage.advance(HOUR);
    assert_eq!(prune(stage, &content_after(HOUR)).await.contents, 1);
    let known = [Enqueued::Existing { id, deliveries: 0 }];
    assert_eq!(stage.queue.enqueue(vec![first]).await.unwrap(), known);
}

pub(crate) async fn a_chunk_is_bounded_and_the_next_goes_on_behind_it(stage: &Stage) {
    let many: Vec<Enqueue> = (0..700).map(|_| item(&[])).collect();
    stage.queue.enqueue(many).await.unwrap();
    stage.enqueue(&["slack"]).await;
    stage.advance(HOUR);
    let first = stage.queue.prune(&rows_after(HOUR), None).await.unwrap();
    assert_eq!(first.notifications, 500);
    let second = stage.queue.prune(&rows_after(HOUR), first.next).await.unwrap();
    assert_eq!((second.notifications, second.next), (200, None));
    assert_eq!(left(stage).await, (1, 1));
}

pub(crate) async fn numbers_are_not_given_twice(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let first = send(stage, "slack", Settlement::Delivered).await;
    stage.advance(HOUR);
    assert_eq!(prune(stage, &rows_after(HOUR)).await.notifications, 1);
    stage.enqueue(&["slack"]).await;
    assert!(send(stage, "slack", Settlement::Delivered).await > first);
}

pub(crate) async fn a_handover_goes_as_a_whole(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let handover = handover(&["email"]);
    stage.settle(Settle { handover, ..settle(lease.key, DEAD) }).await;
    stage.advance(9 * HOUR);
    assert_eq!(prune(stage, &rows_after(HOUR)).await, Pruned::default());
    send(stage, "email", Settlement::Delivered).await;
    stage.advance(2 * HOUR);
    assert_eq!(prune(stage, &rows_after(HOUR)).await.deliveries, 2);
}
