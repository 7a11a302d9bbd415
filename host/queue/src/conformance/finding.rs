//! Notifications by a filter.

use super::*;
use crate::{NotificationFilter, NotificationState, Route};

fn all() -> NotificationFilter {
    NotificationFilter::all(Page { after: None, limit: 100 })
}

/// The rows that the filter finds.
async fn found(stage: &Stage, filter: &NotificationFilter) -> Vec<i64> {
    let records = stage.queue.find_notifications(filter).await.unwrap();
    assert!(records.iter().all(|record| record.notification.content.is_empty()));
    records.iter().map(|record| record.row).collect()
}

async fn stored(stage: &Stage, change: impl FnOnce(&mut Notification)) {
    let mut item = item(&["slack"]);
    change(&mut item.notification);
    stage.queue.enqueue(vec![item]).await.unwrap();
}

pub(crate) async fn notifications_are_found_by_every_field(stage: &Stage) {
    stored(stage, |n| n.kind = "disk.full".into()).await;
    stored(stage, |n| n.source = "db1".into()).await;
    stored(stage, |n| n.labels = [("a".into(), "1".into()), ("b".into(), "x\"'".into())].into())
        .await;
    stored(stage, |n| n.labels = [("a".into(), "2".into())].into()).await;
    stored(stage, |n| n.time = EPOCH + MINUTE).await;
    assert_eq!(found(stage, &all()).await, [5, 4, 3, 2, 1]);
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let by = |change: fn(&mut NotificationFilter)| {
        let mut filter = all();
        change(&mut filter);
        filter
    };
    for (filter, expected) in [
        (by(|f| f.kind = Some("disk.full".into())), &[1][..]),
        (by(|f| f.source = Some("db1".into())), &[2]),
        (by(|f| f.since = Some(EPOCH + MINUTE)), &[5]),
        (by(|f| f.until = Some(EPOCH + MINUTE)), &[4, 3, 2, 1]),
        (by(|f| (f.since, f.until) = (Some(EPOCH), Some(EPOCH))), &[]),
        (NotificationFilter { labels: [label("a", "1")].into(), ..all() }, &[3]),
        (NotificationFilter { labels: [label("b", "x\"'")].into(), ..all() }, &[3]),
        (NotificationFilter { labels: [label("a", "1"), label("b", "y")].into(), ..all() }, &[]),
        (NotificationFilter { labels: [label("A", "1")].into(), ..all() }, &[]),
    ] {
        assert_eq!(found(stage, &filter).await, expected, "{filter:?}");
    }
}

pub(crate) async fn notifications_are_found_by_where_they_stand(stage: &Stage) {
    for _ in 0..4 {
        stage.enqueue(&["slack"]).await;
    }
    stage.enqueue(&[]).await;
    let leases = stage.queue.claim(&claim(&[("slack", 2, 0)])).await.unwrap();
    stage.settle(settle(leases[0].key, Settlement::Delivered)).await;
    stage.settle(settle(leases[1].key, DEAD)).await;
    stage.queue.cancel(&[DeliveryId(3)]).await.unwrap();
    stage.stand.insert(notification()).await;
    stage.stand.insert(notification()).await;
    let row = stage.queue.arrived(1).await.unwrap()[0].row;
    let aside = Route { row, destinations: Err("malformed".to_owned()) };
    stage.queue.fan_out(vec![aside]).await.unwrap();
    use NotificationState::{Arrived, Cancelled, Dead, Delivered, Live, Malformed, Unrouted};
    let states = [Delivered, Dead, Cancelled, Live, Unrouted, Malformed, Arrived];
    for (state, expected) in states.into_iter().zip(1..) {
        let filter = NotificationFilter { state: Some(state), ..all() };
        assert_eq!(found(stage, &filter).await, [expected], "{}", state.name());
    }
}

pub(crate) async fn patterns_mean_the_same_in_every_store(stage: &Stage) {
    for kind in ["disk.full", "disk_full", "Disk.full", "disk[a]", "100%\\"] {
        stored(stage, |n| n.kind = kind.into()).await;
    }
    for (pattern, expected) in [
        ("disk*", &[4, 2, 1][..]),
        ("*", &[5, 4, 3, 2, 1]),
        ("disk?full", &[2, 1]),
        ("disk_full", &[2]),
        ("disk[a]", &[4]),
        ("100%\\", &[5]),
        ("1%", &[]),
        ("disk", &[]),
    ] {
        let filter = NotificationFilter { kind: Some(pattern.into()), ..all() };
        assert_eq!(found(stage, &filter).await, expected, "{pattern}");
    }
}

pub(crate) async fn a_bound_below_ends_a_list(stage: &Stage) {
    for _ in 0..5 {
        stage.enqueue(&["slack"]).await;
    }
    let filter = NotificationFilter { above: Some(2), ..all() };
    assert_eq!(found(stage, &filter).await, [5, 4, 3]);
    let page = Page { after: Some(4), limit: 100 };
    assert_eq!(found(stage, &NotificationFilter { page, ..filter }).await, [3]);
    let filter = DeliveryFilter { above: Some(3), ..everything() };
    for state in [None, Some(postrider_core::DeliveryState::Pending)] {
        let filter = DeliveryFilter { state, destination: Some("slack".into()), ..filter.clone() };
        let records = stage.queue.deliveries(&filter).await.unwrap();
        assert_eq!(records.iter().map(|record| record.id.0).collect::<Vec<_>>(), [5, 4]);
    }
}
