//! A release and its successor on one schema, and what happens beside a running daemon.

use postrider_core::settle::Settlement;
use sqlx::{Connection as _, Row};

use super::{SqliteStand, producer};
use crate::conformance::{claim, item, settle};
use crate::sqlite::{SqliteQueue, chores_sql, schema, sql};
use crate::{Queue, Schema};

/// Every column as it is told: (table, name, type, not null, default).
async fn columns(
    connection: &mut sqlx::SqliteConnection,
) -> Vec<(String, String, String, bool, bool)> {
    let rows = sqlx::query(
        "SELECT m.name AS t, c.name AS c, c.type, c.\"notnull\" AS n, c.dflt_value IS NOT NULL AS d \
         FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2",
    );
    let rows = rows.fetch_all(connection).await.unwrap();
    rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4))).collect()
}

#[tokio::test]
async fn each_migration_leaves_the_release_before_it_at_work() {
    let stand = SqliteStand::new();
    let mut connection = producer(&stand.path()).await;
    let mut before = Vec::new();
    for known in 1..=schema::MIGRATIONS.len() {
        let migrations = &schema::MIGRATIONS[..known];
        schema::migrate(&mut connection, &stand.path(), 0, migrations).await.unwrap();
        let now = columns(&mut connection).await;
        for column in &before {
            assert!(now.contains(column), "migration {known} took or changed {column:?}");
        }
        let tables: Vec<String> = before.iter().map(|(table, ..)| table.clone()).collect();
        for column in now.iter().filter(|column| !before.contains(column)) {
            let (table, _, _, not_null, has_default) = column;
            let bears = !tables.contains(table) || !not_null || *has_default;
            assert!(bears, "an older release cannot insert without {column:?}");
        }
        before = now;
    }
    // Then an older one finds the newest schema, and neither refuses nor touches it.
    schema::migrate(&mut connection, &stand.path(), 0, &schema::MIGRATIONS[..1]).await.unwrap();
    let found = schema::schema(&mut connection, &schema::MIGRATIONS[..1]).await.unwrap();
    let all = i64::try_from(schema::MIGRATIONS.len()).unwrap();
    assert_eq!(found, Schema { found: all, oldest: 1, known: 1 });
    assert!(found.fits() && !found.is_behind());
}

#[tokio::test]
async fn the_schema_is_told_without_a_lock_and_without_making_one() {
    let stand = SqliteStand::new();
    let schema = SqliteQueue::schema(&stand.path()).await.unwrap();
    assert!(schema.found == 0 && schema.is_behind() && !stand.path().exists());
    let _running = stand.open().await.unwrap();
    let schema = SqliteQueue::schema(&stand.path()).await.unwrap();
    assert!(schema.found == schema.known && !schema.is_behind());
}

#[tokio::test]
async fn a_backup_of_a_running_daemon_opens_with_all_that_was_committed() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue((0..50).map(|_| item(&["slack"])).collect()).await.unwrap();
    let copy = stand.directory.path().join("copy.db");
    SqliteQueue::backup(&stand.path(), &copy).await.unwrap();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let error = SqliteQueue::backup(&stand.path(), &copy).await.unwrap_err();
    assert!(error.to_string().contains("copy.db") && copy.exists(), "{error}");
    let restored = SqliteQueue::open(&copy, stand.options()).await.unwrap();
    assert_eq!(restored.size().await.unwrap(), 50);
    assert_eq!(SqliteQueue::stats_of(&stand.path()).await.unwrap().live.count, 51);
}

#[tokio::test]
async fn finished_rows_are_not_in_the_hot_index_and_retention_needs_none() {
    let stand = SqliteStand::new();
    let queue = stand.open().await.unwrap();
    queue.enqueue((0..30).map(|_| item(&["slack"])).collect()).await.unwrap();
    let leases = queue.claim(&claim(&[("slack", 20, 0)])).await.unwrap();
    let done = leases.iter().map(|lease| settle(lease.key, Settlement::Delivered));
    assert_eq!(queue.settle(done.collect()).await.unwrap(), []);
    queue.close().await;
    let mut connection = producer(&stand.path()).await;
    let entries = "SELECT count(*) FROM deliveries INDEXED BY deliveries_live WHERE state = 0";
    let entries: i64 = sqlx::query_scalar(entries).fetch_one(&mut connection).await.unwrap();
    assert_eq!(entries, 10);
    for (statement, by) in [
        (chores_sql::CANDIDATES, "SEARCH notifications USING INTEGER PRIMARY KEY (rowid>?)"),
        (chores_sql::CANDIDATES, "(notification=?)"),
        (chores_sql::DROP_ATTEMPTS, "SEARCH attempts USING PRIMARY KEY (delivery=?)"),
        (chores_sql::DROP_DELIVERIES, "(notification=?)"),
        (chores_sql::STATS, "deliveries_live"),
        (sql::DUE, "deliveries_live"),
    ] {
        let plan = super::statements::plan(&mut connection, statement).await;
        assert!(plan.contains(by), "{statement}\n{plan}");
    }
    connection.close().await.unwrap();
}
