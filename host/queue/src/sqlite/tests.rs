//! What only the SQLite store has: its file, its producers, its plans.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use postrider_core::settle::Settlement;
use postrider_core::{DeliveryState, Notification};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqlSafeStr};
use tokio::sync::mpsc;

use super::writer::{WAITING, Writer};
use super::{Clock, OpenError, SqliteOptions, SqliteQueue, open, sql};
use crate::conformance::{
    EPOCH, LEASE, MINUTE, Stage, Stand, claim, everything, item, notification, retry, settle,
};
use crate::{Enqueued, Queue, QueueError, Route, Slot};

conformance!(stage);

/// A database in a directory of its own, and its clock.
struct SqliteStand {
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
}

#[async_trait]
impl Stand for SqliteStand {
    fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.clock.fetch_add(by, Ordering::Relaxed);
    }

    async fn insert(&self, notification: Notification) {
        insert_as_producer(&self.path(), &notification).await;
    }
}

impl SqliteStand {
    fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(EPOCH.as_millisecond()));
        Self { directory: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("queue.db")
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions { recover: true, clock: Clock::Manual(Arc::clone(&self.clock)) }
    }

    async fn open(&self) -> Result<SqliteQueue, OpenError> {
        SqliteQueue::open(&self.path(), self.options()).await
    }

    /// Opens as soon as the last daemon's writer has let go.
    async fn reopen(&self) -> SqliteQueue {
        loop {
            match self.open().await {
                Ok(queue) => return queue,
                Err(OpenError::Held { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn stage() -> Stage {
    let stand = Arc::new(SqliteStand::new());
    let queue = Arc::new(stand.open().await.unwrap());
    Stage { queue, stand }
}

/// What another program has: a connection of its own, with SQLite's defaults.
async fn producer(path: &Path) -> SqliteConnection {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(MINUTE);
    SqliteConnection::connect_with(&options).await.unwrap()
}

pub(crate) async fn insert_as_producer(path: &Path, notification: &Notification) {
    let mut producer = producer(path).await;
    sqlx::query(
        "INSERT INTO notifications (id, type, source, subject, labels, content_type, content, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(notification.id.to_string())
    .bind(&notification.kind)
    .bind(&notification.source)
    .bind(&notification.subject)
    .bind(serde_json::to_string(&notification.labels).unwrap())
    .bind(&notification.content_type)
    .bind(std::str::from_utf8(&notification.content).unwrap())
    .bind(notification.time.as_millisecond())
    .execute(&mut producer)
    .await
    .unwrap();
    producer.close().await.unwrap();
}

async fn plan(connection: &mut SqliteConnection, statement: &'static str) -> String {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(connection).await.unwrap();
    let steps = rows.iter().map(|row| row.get::<String, _>("detail"));
    steps.collect::<Vec<_>>().join("\n")
}

// ---- statements ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_statement_prepares() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    for statement in sql::ALL {
        if let Err(error) = connection.prepare(statement.into_sql_str()).await {
            panic!("{error}: {statement}");
        }
    }
}

#[tokio::test]
async fn the_hot_statements_use_the_live_index() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    for statement in
        [sql::DUE, sql::READY, sql::NEXT_DUE, sql::ORPHANS, sql::SIZE, sql::DELIVERIES_LIVE_OF]
    {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains("deliveries_live"), "{statement}\n{plan}");
        assert!(!plan.contains("SCAN d\n"), "{statement}\n{plan}");
    }
    for statement in [sql::DUE, sql::NEXT_DUE] {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains("(destination=? AND lane=?"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn a_batch_finds_its_rows_by_number() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    for statement in [
        sql::LEASE,
        sql::LEASED,
        sql::EXTEND,
        sql::RECORD,
        sql::RECORD_LOST,
        sql::SETTLE,
        sql::HAND_OVER,
        sql::HOLD,
        sql::REVIVE,
        sql::HASTEN,
        sql::CANCEL,
        sql::BURY,
        sql::FAN_OUT,
        sql::FANNED_OUT,
        sql::DELIVERY,
    ] {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains("USING INTEGER PRIMARY KEY (rowid=?)"), "{statement}\n{plan}");
        assert!(!plan.contains("SCAN d") || plan.contains("SCAN d VIRTUAL"), "{statement}\n{plan}");
    }
    let arrived = plan(&mut connection, sql::ARRIVED).await;
    assert!(arrived.contains("notifications_arrived"), "{arrived}");
    let known = plan(&mut connection, sql::KNOWN).await;
    assert!(known.contains("notifications_key"), "{known}");
    assert!(known.contains("(id=?)"), "{known}");
    for ended in [sql::DELIVERIES_DEAD, sql::DELIVERIES_CANCELLED] {
        let plan = plan(&mut connection, ended).await;
        assert!(plan.contains("deliveries_ended"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

// ---- opening -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let stand = SqliteStand::new();
    std::fs::write(stand.path(), "#!/bin/sh\n".repeat(1_000)).unwrap();
    let error = stand.open().await.unwrap_err();
    assert!(matches!(&error, OpenError::NotADatabase { path } if *path == stand.path()), "{error}");
    assert_eq!(std::fs::read_to_string(stand.path()).unwrap().len(), 10_000);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().join("queue.db"), PathBuf::from("/proc/queue.db")] {
        let error = SqliteQueue::open(&path, SqliteOptions::default()).await.unwrap_err();
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_of_the_first() {
    let stand = SqliteStand::new();
    let first = stand.open().await.unwrap();
    let error = stand.open().await.unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, OpenError::Held { pid: Some(held_by), .. } if held_by == pid),
        "{error}"
    );
    assert!(error.to_string().contains("queue.db.lock"), "{error}");
    first.close().await;
    stand.open().await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut newer = producer(&stand.path()).await;
    newer.execute("INSERT INTO postrider_schema VALUES (99, 0)").await.unwrap();
    let error = stand.open().await.unwrap_err();
    assert!(matches!(error, OpenError::SchemaTooNew { found: 99, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_migration_that_was_cut_short_runs_again() {
    let stand = SqliteStand::new();
    let mut killed = producer(&stand.path()).await;
    killed.execute(sql::SCHEMA_TABLE).await.unwrap();
    killed.execute("BEGIN IMMEDIATE; CREATE TABLE notifications (x)").await.unwrap();
    drop(killed);
    // The killed one may still be rolling back; the daemon waits for it as for any producer.
    let queue = stand.open().await.unwrap();
    assert_eq!(queue.size().await.unwrap(), 0);
}

#[tokio::test]
async fn the_write_connection_waits_for_the_disk() {
    let stand = SqliteStand::new();
    let mut opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let journal: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut opened.writer).await.unwrap();
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut opened.writer).await.unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
    let mut reader = opened.readers.acquire().await.unwrap();
    reader.execute("DELETE FROM notifications").await.unwrap_err();
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_is_not_for_the_world_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&[])]).await.unwrap();
    for entry in std::fs::read_dir(stand.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{:?}", entry.path());
    }
}

// ---- surviving -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn everything_survives_a_kill() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&["slack"]), item(&["email"])]).await.unwrap();
    let lease = queue.claim(&claim(&[("slack", 1, 1)])).await.unwrap().remove(0);
    let slot = Slot { destination: "slack".into(), key: "k".into() };
    queue.state_set(&slot, b"v", None, None).await.unwrap();
    let before = format!("{:?}", queue.deliveries(&everything()).await.unwrap());
    // When the daemon goes without closing, and another one comes that does not recover.
    drop(queue);
    drop(stand.reopen().await);
    let options = SqliteOptions { recover: false, ..stand.options() };
    let queue = loop {
        match SqliteQueue::open(&stand.path(), options.clone()).await {
            Ok(queue) => break queue,
            Err(OpenError::Held { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let after = queue.deliveries(&everything()).await.unwrap();
    assert_eq!(after.len(), 2);
    assert!(before.contains("Leased"));
    assert_eq!(queue.state_get(&slot).await.unwrap().unwrap().value, b"v");
    // Then even the old lease can still be settled: nobody took it.
    assert_eq!(queue.settle(vec![settle(lease.key, Settlement::Delivered)]).await.unwrap(), []);
    let mut check = producer(&stand.path()).await;
    let integrity: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut check).await.unwrap();
    assert_eq!(integrity, "ok");
}

#[tokio::test]
async fn recovery_makes_the_last_daemons_leases_due_and_lost() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&["slack"]), item(&["slack"])]).await.unwrap();
    let leases = queue.claim(&claim(&[("slack", 2, 2)])).await.unwrap();
    queue.settle(vec![settle(leases[0].key, retry(MINUTE))]).await.unwrap();
    drop(queue);
    let queue = stand.reopen().await;
    let again = queue.claim(&claim(&[("slack", 2, 2)])).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].key.id, again[0].standing.lost), (leases[1].key.id, 1));
    assert_eq!(queue.attempts(again[0].key.id).await.unwrap()[0].outcome, "lost");
}

#[tokio::test]
async fn a_clock_that_went_back_parks_nothing() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    // Given a day ahead of time, a retry and a hold, and one that is made then.
    stand.advance(1_440 * MINUTE);
    let lease = queue.claim(&claim(&[("slack", 1, 1)])).await.unwrap().remove(0);
    let held = Settlement::Retry { delay: MINUTE, counted: true, hold: Some(MINUTE) };
    queue.settle(vec![settle(lease.key, held)]).await.unwrap();
    queue.enqueue(vec![item(&["email"])]).await.unwrap();
    queue.close().await;
    stand.clock.store(EPOCH.as_millisecond(), Ordering::Relaxed);
    let queue = stand.open().await.unwrap();
    let all = claim(&[("slack", 1, 1), ("email", 1, 1)]);
    assert_eq!(queue.claim(&all).await.unwrap()[0].destination, "email");
    assert_eq!(queue.next_due(&["slack".into()]).await.unwrap(), Some(MINUTE));
    stand.advance(MINUTE);
    assert_eq!(queue.claim(&all).await.unwrap()[0].destination, "slack");
}

#[tokio::test]
async fn a_full_disk_refuses_everybody_and_writes_nothing() {
    let stand = SqliteStand::new();
    let mut opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let pages: i64 =
        sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut opened.writer).await.unwrap();
    let full = AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 8));
    opened.writer.execute(full).await.unwrap();
    let (requests, waiting) = mpsc::channel(WAITING);
    let clock = stand.options().clock;
    let writer = Writer {
        requests: waiting,
        connection: opened.writer,
        clock: clock.clone(),
        lock: opened.lock,
    };
    let queue = SqliteQueue { requests, readers: opened.readers, clock };
    // Given that all of it waits before the writer starts: one transaction.
    let batch = || (0..300).map(|_| item(&["slack"])).collect();
    let answers = async {
        tokio::join!(queue.enqueue(batch()), queue.enqueue(batch()), queue.enqueue(vec![]))
    };
    let (answers, ()) = tokio::join!(answers, async {
        tokio::spawn(writer.run());
    });
    for error in [answers.0.unwrap_err(), answers.1.unwrap_err(), answers.2.unwrap_err()] {
        assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    }
    assert_eq!(queue.size().await.unwrap(), 0);
    // Then what fits still works.
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    assert_eq!(queue.size().await.unwrap(), 1);
}

#[tokio::test]
async fn one_bad_request_does_not_fail_its_neighbours() {
    let stand = SqliteStand::new();
    let mut opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON deliveries WHEN NEW.destination = 'poison' \
                  BEGIN SELECT RAISE(ABORT, 'poison'); END";
    opened.writer.execute(poison).await.unwrap();
    let (requests, waiting) = mpsc::channel(WAITING);
    let clock = stand.options().clock;
    let writer = Writer {
        requests: waiting,
        connection: opened.writer,
        clock: clock.clone(),
        lock: opened.lock,
    };
    let queue = SqliteQueue { requests, readers: opened.readers, clock };
    let slot = Slot { destination: "slack".into(), key: "k".into() };
    let asked = async {
        tokio::join!(
            queue.enqueue(vec![item(&["slack"])]),
            queue.enqueue(vec![item(&["slack", "poison"])]),
            queue.enqueue(vec![item(&["slack"])]),
            queue.state_set(&slot, b"v", None, Some(None)),
        )
    };
    let (answers, ()) = tokio::join!(asked, async {
        tokio::spawn(writer.run());
    });
    let stored = |answer: Result<Vec<Enqueued>, QueueError>| {
        assert!(matches!(answer.unwrap()[0], Enqueued::Stored { deliveries: 1, .. }));
    };
    stored(answers.0);
    let error = answers.1.unwrap_err();
    assert!(error.to_string().contains("poison"), "{error}");
    stored(answers.2);
    assert!(answers.3.unwrap());
    assert_eq!(queue.size().await.unwrap(), 2);
}

// ---- producers -----------------------------------------------------------------------------------------------

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
    assert_eq!(&*arrived[6].notification.clone().unwrap().content, &[0, 255]);
    // When they are set aside, they can be listed.
    let aside = arrived.iter().map(|arrived| Route {
        row: arrived.row,
        destinations: arrived.notification.clone().map(|_| vec!["slack".into()]),
    });
    assert_eq!(queue.fan_out(aside.collect()).await.unwrap(), 1);
    let page = crate::Page { after: None, limit: 100 };
    let listed = queue.notifications(&page).await.unwrap();
    assert_eq!(listed.iter().filter(|record| record.malformed.is_some()).count(), 6);
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
