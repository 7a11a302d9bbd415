//! What SQLite makes of the statements.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

use super::{SqliteStand, producer};
use crate::Queue;
use crate::sqlite::{access_sql, breakers_sql, chores_sql, sql, versions_sql};

#[tokio::test]
async fn every_statement_prepares() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    let others = [access_sql::ALL, breakers_sql::ALL, chores_sql::ALL, versions_sql::ALL];
    let sized = sql::SIZED.iter().flat_map(|sizes| sizes.0);
    for statement in sql::ALL.iter().chain(sized).chain(others.into_iter().flatten()) {
        if let Err(error) = connection.prepare((*statement).into_sql_str()).await {
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
        [sql::DUE, sql::READY, sql::LOOK, sql::ORPHANS, sql::SIZE, sql::DELIVERIES_LIVE_OF]
    {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains("deliveries_live"), "{statement}\n{plan}");
        assert!(!plan.contains("SCAN d\n"), "{statement}\n{plan}");
    }
    for statement in [sql::DUE, sql::LOOK] {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains("(destination=? AND lane=?"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

/// A page that is open costs the same however much is stored.
#[tokio::test]
async fn the_backlog_is_counted_by_indexes() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    for (statement, index) in [
        (chores_sql::BACKLOG, "deliveries_live (destination=? AND lane=? AND due<?)"),
        (chores_sql::DEAD_OF, "deliveries_ended (state=?)"),
        (chores_sql::DEAD_GROUPS, "deliveries_ended (state=?)"),
    ] {
        let plan = plan(&mut connection, statement).await;
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("SCAN d\n") && !plan.contains("SCAN deliveries"), "{plan}");
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
        sql::RECORD_DELIVERED.0[4],
        sql::RECORD_LOST,
        sql::SETTLE,
        sql::SETTLE_DELIVERED.0[4],
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
    for statement in [sql::ARRIVED, sql::LOOK] {
        let arrived = plan(&mut connection, statement).await;
        assert!(arrived.contains("notifications_arrived"), "{arrived}");
    }
    let known = plan(&mut connection, sql::KNOWN).await;
    assert!(known.contains("notifications_key"), "{known}");
    assert!(known.contains("(id=?)"), "{known}");
    for ended in [sql::DELIVERIES_DEAD, sql::DELIVERIES_CANCELLED] {
        let plan = plan(&mut connection, ended).await;
        assert!(plan.contains("deliveries_ended"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn sweeps_and_promotions_use_their_indexes() {
    let stand = SqliteStand::new();
    stand.open().await.unwrap().close().await;
    let mut connection = producer(&stand.path()).await;
    for (statement, indexes) in [
        (sql::EXPIRED, &["deliveries_expiring"][..]),
        (sql::TOO_OLD, &["deliveries_live", "deliveries_waiting"]),
        (sql::SEEN, &["deliveries_"]),
        (sql::PROMOTE, &["deliveries_next", "deliveries_head"]),
        (sql::LEASE_OVERDUE, &["INTEGER PRIMARY KEY"]),
        (sql::KEYED, &["INTEGER PRIMARY KEY"]),
    ] {
        let plan = plan(&mut connection, statement).await;
        for index in indexes {
            assert!(plan.contains(index), "{index}: {statement}\n{plan}");
        }
        for scan in ["SCAN d\n", "SCAN q\n", "SCAN deliveries\n"] {
            assert!(!format!("{plan}\n").contains(scan), "{statement}\n{plan}");
        }
    }
}

pub(super) async fn plan(connection: &mut SqliteConnection, statement: &'static str) -> String {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(connection).await.unwrap();
    let steps = rows.iter().map(|row| row.get::<String, _>("detail"));
    steps.collect::<Vec<_>>().join("\n")
}
