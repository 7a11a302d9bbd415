//! Opening: what is refused, and how it is told.

use std::path::PathBuf;

use sqlx::{Connection as _, Executor};

use super::{SqliteStand, producer};
use crate::Queue;
use crate::conformance::item;
use crate::sqlite::{OpenError, SqliteOptions, SqliteQueue, open, sql};

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
    newer.execute("INSERT INTO postrider_schema VALUES (99, 0, 99)").await.unwrap();
    let error = stand.open().await.unwrap_err();
    assert!(matches!(error, OpenError::SchemaTooNew { found: 99, oldest: 99, .. }), "{error}");
}

#[tokio::test]
async fn a_file_of_another_encoding_is_refused() {
    let stand = SqliteStand::new();
    let mut other = producer(&stand.path()).await;
    other.execute("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a)").await.unwrap();
    let error = stand.open().await.unwrap_err().to_string();
    assert!(
        error.ends_with("queue.db: its text is UTF-16le; make the file anew, with UTF-8"),
        "{error}"
    );
}

#[tokio::test]
async fn a_migration_that_was_cut_short_runs_again() {
    let stand = SqliteStand::new();
    let mut killed = producer(&stand.path()).await;
    killed.execute(sql::SCHEMA_TABLE).await.unwrap();
    killed.execute("BEGIN IMMEDIATE; CREATE TABLE notifications (x)").await.unwrap();
    // Its transaction ends with its connection, uncommitted; a dropped one would still be at it.
    killed.close().await.unwrap();
    let queue = stand.open().await.unwrap();
    assert_eq!(queue.size().await.unwrap(), 0);
}

#[tokio::test]
async fn the_write_connection_waits_for_the_disk() {
    let stand = SqliteStand::new();
    let opened = open::open(&stand.path(), &stand.options()).await.unwrap();
    let settings = "SELECT journal_mode, synchronous, foreign_keys \
                    FROM pragma_journal_mode, pragma_synchronous, pragma_foreign_keys";
    let settings: (String, i64, bool) =
        opened.writer.query_row(settings, [], |row| row.try_into()).unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, true));
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
