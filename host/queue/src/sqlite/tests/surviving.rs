//! Kills, clocks, full disks and bad neighbours.

use std::sync::atomic::Ordering;

use postrider_core::settle::Settlement;
use tokio::sync::mpsc;

use super::{SqliteStand, Stand, producer};
use crate::conformance::{EPOCH, MINUTE, claim, everything, item, retry, settle};
use crate::sqlite::writer::{WAITING, Writer};
use crate::sqlite::{OpenError, SqliteOptions, SqliteQueue, open};
use crate::{Enqueued, Queue, QueueError, Slot};

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
    assert_eq!(queue.look(&["slack".into()]).await.unwrap().due, Some(MINUTE));
    stand.advance(MINUTE);
    assert_eq!(queue.claim(&all).await.unwrap()[0].destination, "slack");
}

#[tokio::test]
async fn a_full_disk_refuses_everybody_and_writes_nothing() {
    let stand = SqliteStand::new();
    let opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let pages: i64 =
        opened.writer.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    opened.writer.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 8)).unwrap();
    let (requests, waiting) = mpsc::channel(WAITING);
    let clock = stand.options().clock;
    let writer = Writer {
        requests: waiting,
        connection: opened.writer,
        clock: clock.clone(),
        checkpoints: opened.checkpoints,
        lock: opened.lock,
    };
    let queue = SqliteQueue { requests, readers: opened.readers, clock, path: stand.path() };
    // Given that all of it waits before the writer starts: one transaction.
    let batch = || (0..300).map(|_| item(&["slack"])).collect();
    let answers = async {
        tokio::join!(queue.enqueue(batch()), queue.enqueue(batch()), queue.enqueue(vec![]))
    };
    let (answers, ()) = tokio::join!(answers, async {
        writer.start().unwrap();
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
    let opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON deliveries WHEN NEW.destination = 'poison' \
                  BEGIN SELECT RAISE(ABORT, 'poison'); END";
    opened.writer.execute_batch(poison).unwrap();
    let (requests, waiting) = mpsc::channel(WAITING);
    let clock = stand.options().clock;
    let writer = Writer {
        requests: waiting,
        connection: opened.writer,
        clock: clock.clone(),
        checkpoints: opened.checkpoints,
        lock: opened.lock,
    };
    let queue = SqliteQueue { requests, readers: opened.readers, clock, path: stand.path() };
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
        writer.start().unwrap();
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
