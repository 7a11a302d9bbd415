//! Rows that hold what they should not: bytes that are no text, and numbers at their ends.
//!
//! STRICT accepts `CAST(x'ff' AS TEXT)`. Such a row is set aside or dies alone; a good one beside it is delivered.

use postrider_core::settle::Settlement;
use postrider_core::{Attempt, DeliveryId, DeliveryState};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::{SqliteStand, Stand, producer};
use crate::conformance::{LEASE, claim, everything, item, retry, settle};
use crate::sqlite::SqliteQueue;
use crate::{DeliveryRecord, Enqueued, NotificationRecord, Page, Queue, Route};

/// Bytes that are no text.
const NO_TEXT: &str = "CAST(x'61ff' AS TEXT)";
/// The same for people to read.
const LEGIBLE: &str = "a\u{fffd}";

/// Every column of text that a producer fills, the bytes it takes, and what is then said of them.
const COLUMNS: [(&str, &str, &str); 8] = [
    // The schema's check sees a UUID: SQLite's GLOB ends at the NUL.
    (
        "id",
        "CAST('018f0000-0000-7000-8000-00000000000a' || x'00ff' AS TEXT)",
        "id: must be a UUID in lower case",
    ),
    ("type", NO_TEXT, "type: is not UTF-8 text"),
    ("source", NO_TEXT, "source: is not UTF-8 text"),
    ("subject", NO_TEXT, "subject: is not UTF-8 text"),
    ("labels", "CAST('{\"a\":\"' || x'ff' || '\"}' AS TEXT)", "labels: is not UTF-8 text"),
    ("content_type", NO_TEXT, "content_type: is not UTF-8 text"),
    ("content", NO_TEXT, "content: is not UTF-8 text; bytes belong into content_bytes"),
    ("idempotency_key", NO_TEXT, "idempotency_key: is not UTF-8 text"),
];

const PAGE: Page = Page { after: None, limit: 100 };

async fn run(connection: &mut SqliteConnection, statement: String) {
    if let Err(error) = connection.execute(AssertSqlSafe(statement.clone())).await {
        panic!("{error}: {statement}");
    }
}

/// Fans out what arrived, as the dispatcher does.
async fn fan_out(queue: &SqliteQueue) {
    let routes = queue.arrived(100).await.unwrap().into_iter().map(|arrived| Route {
        row: arrived.row,
        destinations: arrived.notification.map(|_| vec!["slack".into()]),
    });
    queue.fan_out(routes.collect()).await.unwrap();
}

/// Claims all, which must be one, and delivers it.
async fn deliver_the_one(queue: &SqliteQueue, column: &str) -> DeliveryId {
    let leases = queue.claim(&claim(&[("slack", 9, 4)])).await.unwrap();
    assert_eq!(leases.len(), 1, "{column}");
    assert_eq!(leases[0].notification.kind, "good", "{column}");
    let key = leases[0].key;
    assert_eq!(queue.settle(vec![settle(key, Settlement::Delivered)]).await.unwrap(), []);
    key.id
}

/// What a list shows of a column.
fn shown(record: &NotificationRecord, column: &str) -> Option<String> {
    let notification = &record.notification;
    match column {
        "type" => Some(notification.kind.clone()),
        "source" => Some(notification.source.clone()),
        "subject" => notification.subject.clone(),
        "labels" => notification.labels.get("a").map(|value| format!("a{value}")),
        "content_type" => Some(notification.content_type.clone()),
        "idempotency_key" => record.idempotency_key.clone(),
        "id" => notification.id.0.is_nil().then(|| LEGIBLE.to_owned()),
        // Lists leave it out.
        "content" => Some(LEGIBLE.to_owned()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_set_their_row_aside_and_no_other() {
    for (column, bytes, reason) in COLUMNS {
        let stand = SqliteStand::new();
        let queue = stand.open().await.unwrap();
        let mut producer = producer(&stand.path()).await;
        let bad = match column {
            "type" => format!("INSERT INTO notifications (type) VALUES ({bytes})"),
            other => format!("INSERT INTO notifications (type, {other}) VALUES ('bad', {bytes})"),
        };
        run(&mut producer, bad).await;
        run(&mut producer, "INSERT INTO notifications (type) VALUES ('good')".to_owned()).await;

        let arrived = queue.arrived(100).await.unwrap();
        assert_eq!(arrived.len(), 2, "{column}");
        assert_eq!(arrived[0].notification.as_ref().unwrap_err(), reason);
        // Before it is set aside the lists show it already, after it they give the reason.
        assert_eq!(queue.notifications(&PAGE).await.unwrap().len(), 2, "{column}");
        fan_out(&queue).await;
        let good = deliver_the_one(&queue, column).await;

        let listed = queue.notifications(&PAGE).await.unwrap();
        assert_eq!(listed.len(), 2, "{column}");
        assert_eq!((listed[0].deliveries, &listed[0].malformed), (Some(1), &None), "{column}");
        assert_eq!(listed[1].malformed.as_deref(), Some(reason));
        assert_eq!(shown(&listed[1], column).as_deref(), Some(LEGIBLE), "{column}");
        let page = queue.notification(listed[1].notification.id).await.unwrap();
        assert_eq!(page.is_some(), column != "id", "{column}");
        let deliveries = queue.deliveries(&everything()).await.unwrap();
        assert_eq!(deliveries.len(), 1, "{column}");
        assert_eq!((deliveries[0].id, deliveries[0].state), (good, DeliveryState::Delivered));
        assert_eq!(queue.size().await.unwrap(), 0, "{column}");
    }
}

#[tokio::test]
async fn content_that_is_no_text_is_shown_as_it_is() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut producer = producer(&stand.path()).await;
    let insert = format!("INSERT INTO notifications (type, content) VALUES ('bad', {NO_TEXT})");
    run(&mut producer, insert).await;
    let id = queue.notifications(&PAGE).await.unwrap()[0].notification.id;
    let record = queue.notification(id).await.unwrap().unwrap();
    assert_eq!(&*record.notification.content, b"a\xff");
}

#[tokio::test]
async fn a_row_that_is_garbled_after_its_fan_out_kills_its_delivery_and_no_other() {
    let notifications = COLUMNS.iter().filter(|(column, ..)| *column != "idempotency_key");
    let notifications = notifications.map(|(column, bytes, reason)| {
        (format!("UPDATE notifications SET {column} = {bytes} WHERE seq = 1"), *column, *reason)
    });
    let chain = |value: &str| format!("UPDATE deliveries SET chain = {value} WHERE id = 1");
    let chains = [
        (chain(NO_TEXT), "chain", "chain: is not UTF-8 text"),
        (chain("'{}'"), "chain", "chain: must be a JSON array of strings"),
    ];
    for (update, column, reason) in notifications.chain(chains) {
        let stand = SqliteStand::new();
        let queue = stand.open().await.unwrap();
        let (bad, mut good) = (item(&["slack"]), item(&["slack"]));
        good.notification.kind = "good".to_owned();
        queue.enqueue(vec![bad, good]).await.unwrap();
        run(&mut producer(&stand.path()).await, update).await;

        deliver_the_one(&queue, column).await;
        let deliveries = queue.deliveries(&everything()).await.unwrap();
        assert_eq!(deliveries.len(), 2, "{column}");
        assert_eq!(deliveries[0].state, DeliveryState::Delivered, "{column}");
        assert_eq!(deliveries[1].state, DeliveryState::Dead, "{column}");
        assert_eq!(deliveries[1].cause.as_deref(), Some("rejected"), "{column}");
        assert!(deliveries[1].reason.starts_with(reason), "{}", deliveries[1].reason);
        assert_eq!(queue.notifications(&PAGE).await.unwrap().len(), 2, "{column}");
        stand.advance(LEASE);
        assert!(queue.claim(&claim(&[("slack", 9, 4)])).await.unwrap().is_empty(), "{column}");
    }
}

#[tokio::test]
async fn a_garbled_idempotency_key_stops_neither_its_delivery_nor_its_neighbours() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    let mut first = item(&["slack"]);
    first.notification.kind = "good".to_owned();
    first.idempotency_key = Some("k".to_owned());
    let id = first.notification.id;
    queue.enqueue(vec![first.clone()]).await.unwrap();
    let garble = format!("UPDATE notifications SET idempotency_key = {NO_TEXT}");
    run(&mut producer(&stand.path()).await, garble).await;
    // When the same id comes again, and a key that only reads like the garbled one.
    let mut legible = item(&["email"]);
    legible.idempotency_key = Some(LEGIBLE.to_owned());
    let new = legible.notification.id;
    let answers = queue.enqueue(vec![first, legible]).await.unwrap();
    let existing = Enqueued::Existing { id, deliveries: 1 };
    assert_eq!(answers, [existing, Enqueued::Stored { id: new, deliveries: 1 }]);
    deliver_the_one(&queue, "idempotency_key").await;
}

#[tokio::test]
async fn a_list_shows_what_can_be_read() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    let lease = queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
    let death = Settlement::Dead { cause: postrider_core::settle::Cause::Rejected };
    queue.settle(vec![settle(lease.key, death)]).await.unwrap();
    let mut producer = producer(&stand.path()).await;
    for update in [
        "UPDATE notifications SET type = ?",
        "UPDATE deliveries SET destination = ?, reason = ?, cause = ?",
        "UPDATE attempts SET outcome = ?, reason = ?, plugin = ?, host = ?",
    ] {
        run(&mut producer, update.replace('?', NO_TEXT)).await;
    }
    let DeliveryRecord { kind, destination, reason, cause, .. } =
        queue.deliveries(&everything()).await.unwrap().remove(0);
    assert_eq!([kind, destination, reason, cause.unwrap()], [LEGIBLE; 4]);
    let Attempt { outcome, reason, plugin, host, .. } =
        queue.attempts(lease.key.id).await.unwrap().remove(0);
    assert_eq!([outcome, reason, plugin], [LEGIBLE; 3]);
    assert!(host.0.is_nil());
    run(
        &mut producer,
        format!("UPDATE notifications SET malformed = {NO_TEXT}, deliveries = NULL"),
    )
    .await;
    let record = queue.notifications(&PAGE).await.unwrap().remove(0);
    assert_eq!(record.malformed.as_deref(), Some(LEGIBLE));
}

#[tokio::test]
async fn numbers_at_their_ends_stop_nothing() {
    for end in [i64::MIN, i64::MAX] {
        let stand = SqliteStand::new();
        let queue = stand.open().await.unwrap();
        let mut producer = producer(&stand.path()).await;
        let insert = |columns: &str, values: String| {
            format!("INSERT INTO notifications (type, {columns}) VALUES ('good', {values})")
        };
        run(&mut producer, insert("created_at", end.to_string())).await;
        fan_out(&queue).await;
        // Given one that its producer says was fanned out to so many, a moment ago or to come.
        let columns = "created_at, fanned_out_at, deliveries";
        run(&mut producer, insert(columns, format!("{end}, {end}, {end}"))).await;
        run(&mut producer, format!("UPDATE deliveries SET created = {end}, since = {end}")).await;
        assert_eq!(queue.notifications(&PAGE).await.unwrap().len(), 2);
        queue.look(&["slack".to_owned()]).await.unwrap();
        let lease = queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
        queue.settle(vec![settle(lease.key, retry(LEASE))]).await.unwrap();
        // Then a restart, too, reads them.
        queue.close().await;
        let queue = stand.open().await.unwrap();
        stand.advance(LEASE);
        deliver_the_one(&queue, "created_at").await;
        assert_eq!(queue.deliveries(&everything()).await.unwrap().len(), 1);
        run(&mut producer, format!("UPDATE deliveries SET finished = {end}, due = {end}")).await;
        assert_eq!(queue.deliveries(&everything()).await.unwrap().len(), 1);
        run(&mut producer, "UPDATE deliveries SET state = 0, finished = NULL".to_owned()).await;
        queue.look(&["slack".to_owned()]).await.unwrap();
    }
}
