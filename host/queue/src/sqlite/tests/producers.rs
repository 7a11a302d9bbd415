//! What producers insert with their own SQLite.

use postrider_core::{DeliveryState, Notification};
use sqlx::{AssertSqlSafe, Executor};

use super::{SqliteStand, Stand, producer};
use crate::conformance::{LEASE, claim, everything, item, notification};
use crate::sqlite::Clock;
use crate::{Enqueued, Queue, Route};

#[tokio::test]
async fn the_shortest_insert_is_a_notification() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    for _ in 0..50 {
        let insert = "INSERT INTO notifications (type, content) VALUES ('x', '{}')";
        producer.execute(insert).await.unwrap();
    }
    let arrived = queue.arrived(100).await.unwrap();
    assert_eq!(arrived.len(), 50);
    for arrived in arrived {
        let notification = arrived.notification.unwrap();
        let id = notification.id.0;
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let made = i64::try_from(seconds * 1_000).unwrap() + i64::from(nanos / 1_000_000);
        assert_eq!(made, notification.time.as_millisecond());
        assert_eq!((notification.kind.as_str(), notification.source.as_str()), ("x", ""));
        assert_eq!(notification.content_type, "application/json");
        assert_eq!(&*notification.content, b"{}");
        assert!(notification.labels.is_empty());
    }
}

#[tokio::test]
async fn a_trace_that_is_none_costs_no_notification() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    for trace in ["'mine', 'a=1'", "CAST(x'ff' AS TEXT), CAST(x'ff' AS TEXT)", "NULL, 'a=1'"] {
        let insert = format!(
            "INSERT INTO notifications (type, traceparent, tracestate) VALUES ('x', {trace})"
        );
        producer.execute(AssertSqlSafe(insert)).await.unwrap();
    }
    let arrived = queue.arrived(10).await.unwrap();
    let traces: Vec<_> = arrived.into_iter().map(|row| row.notification.unwrap().trace).collect();
    assert_eq!(traces, [None, None, None]);
}

#[tokio::test]
async fn the_default_time_is_now() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    let before = Clock::Machine.now();
    producer.execute("INSERT INTO notifications (type) VALUES ('x')").await.unwrap();
    let after = Clock::Machine.now();
    let made = queue.arrived(1).await.unwrap().remove(0).notification.unwrap().time;
    assert!((before..=after).contains(&made.as_millisecond()), "{before} {made:?} {after}");
}

#[tokio::test]
async fn malformed_rows_are_told_apart_with_their_reasons() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    let cases = [
        ("INSERT INTO notifications (type) VALUES ('')", "type: is required"),
        ("INSERT INTO notifications (type) VALUES ('postrider.x')", "type: must not begin with"),
        ("INSERT INTO notifications (type) VALUES ('a b')", "type: must not contain white space"),
        (
            "INSERT INTO notifications (type, labels) VALUES ('x', '[1]')",
            "labels: must be a JSON object",
        ),
        (
            "INSERT INTO notifications (type, labels) VALUES ('x', '{\"a\":1}')",
            "labels: must be a JSON object",
        ),
        (
            "INSERT INTO notifications (type, id) VALUES ('x', '------------------------------------')",
            "id: ",
        ),
        ("INSERT INTO notifications (type, idempotency_key) VALUES ('x', '')", "idempotency_key: "),
    ];
    for (insert, _) in cases {
        producer.execute(insert).await.unwrap();
    }
    let extreme = "INSERT INTO notifications (type, created_at, content_bytes) VALUES ('x', 9223372036854775807, x'00ff')";
    producer.execute(extreme).await.unwrap();
    let arrived = queue.arrived(100).await.unwrap();
    for (arrived, (insert, reason)) in arrived.iter().zip(cases) {
        let problem = arrived.notification.as_ref().unwrap_err();
        assert!(problem.starts_with(reason), "{insert}: {problem}");
    }
    assert_eq!(&*arrived[7].notification.clone().unwrap().content, &[0, 255]);
    // When they are set aside, they can be listed.
    let aside = arrived.iter().map(|arrived| Route {
        row: arrived.row,
        destinations: arrived.notification.clone().map(|_| vec!["slack".into()]),
    });
    assert_eq!(queue.fan_out(aside.collect()).await.unwrap(), 1);
    let page = crate::Page { after: None, limit: 100 };
    let listed = queue.notifications(&page).await.unwrap();
    assert_eq!(listed.iter().filter(|record| record.malformed.is_some()).count(), 7);
    assert_eq!(queue.size().await.unwrap(), 1);
}

#[tokio::test]
async fn the_schema_refuses_what_it_can() {
    let stand = SqliteStand::new();
    let _queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    for insert in [
        "INSERT INTO notifications (type, id) VALUES ('x', 'one')",
        "INSERT INTO notifications (type, id) VALUES ('x', upper('018f0000-0000-7000-8000-00000000000a'))",
        "INSERT INTO notifications (type, content, content_bytes) VALUES ('x', 'a', x'00')",
        "INSERT INTO notifications (type, created_at) VALUES ('x', 'today')",
        "INSERT INTO notifications (type, deliveries) VALUES ('x', 1)",
        "INSERT INTO deliveries (notification, destination, due, created, since, state) VALUES (1, 'a', 0, 0, 0, 1)",
        "INSERT INTO deliveries (notification, destination, due, created, since, owner) VALUES (1, 'a', 0, 0, 0, 'h')",
        "INSERT INTO deliveries (notification, destination, due, created, since, cause) VALUES (1, 'a', 0, 0, 0, 'gone')",
    ] {
        producer.execute(insert).await.expect_err(insert);
    }
}

#[tokio::test]
async fn a_row_that_comes_late_with_a_low_number_is_seen() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    for seq in [10, 5] {
        let insert =
            AssertSqlSafe(format!("INSERT INTO notifications (seq, type) VALUES ({seq}, 'x')"));
        producer.execute(insert).await.unwrap();
        let arrived = queue.arrived(100).await.unwrap();
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].row, seq);
        let route = Route { row: seq, destinations: Ok(vec!["slack".into()]) };
        assert_eq!(queue.fan_out(vec![route]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_producers_open_transaction_is_not_seen_and_only_delays() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    producer.execute("BEGIN IMMEDIATE").await.unwrap();
    producer.execute("INSERT INTO notifications (type) VALUES ('x')").await.unwrap();
    assert!(queue.arrived(9).await.unwrap().is_empty());
    let (stored, ()) = tokio::join!(queue.enqueue(vec![item(&["slack"])]), async {
        producer.execute("COMMIT").await.unwrap();
    });
    stored.unwrap();
    assert_eq!(queue.arrived(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_producers_key_meets_the_apis() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    let insert =
        "INSERT INTO notifications (type, content, idempotency_key) VALUES ('x', '{}', 'k')";
    producer.execute(insert).await.unwrap();
    producer.execute(insert).await.unwrap_err();
    let theirs = queue.arrived(1).await.unwrap().remove(0).notification.unwrap();
    let mut ours = item(&["slack"]);
    ours.idempotency_key = Some("k".into());
    ours.notification = Notification { id: notification().id, ..theirs.clone() };
    let mut other = ours.clone();
    other.notification.source = "elsewhere".into();
    let answers = queue.enqueue(vec![ours, other]).await.unwrap();
    let id = theirs.id;
    assert_eq!(answers, [Enqueued::Existing { id, deliveries: 0 }, Enqueued::Conflict { id }]);
}

#[tokio::test]
async fn a_delivery_without_its_notification_dies_instead_of_coming_back() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&["slack"]), item(&["slack"])]).await.unwrap();
    let mut producer = producer(&stand.path()).await;
    producer.execute("UPDATE notifications SET labels = 'x' WHERE seq = 1").await.unwrap();
    let leases = queue.claim(&claim(&[("slack", 9, 9)])).await.unwrap();
    assert_eq!(leases.len(), 1);
    let dead = queue.deliveries(&everything()).await.unwrap().remove(1);
    assert_eq!(dead.state, DeliveryState::Dead);
    assert!(dead.reason.starts_with("labels: "), "{}", dead.reason);
    producer.execute("DELETE FROM notifications WHERE seq = 2").await.unwrap();
    stand.advance(LEASE);
    assert!(queue.claim(&claim(&[("slack", 9, 9)])).await.unwrap().is_empty());
    assert_eq!(queue.size().await.unwrap(), 0);
}
