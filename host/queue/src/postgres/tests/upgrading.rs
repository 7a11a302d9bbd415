//! A release and its successor on one database, and retention from several hosts.

use postrider_core::Retention;
use postrider_core::settle::Settlement;
use sqlx::Connection as _;

use super::*;
use crate::conformance::{DEAD, claim, everything, item, settle};
use crate::postgres::{chores_sql, schema};
use crate::{Queue, Schema};

const COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' \
     || is_nullable || ' ' || (column_default IS NOT NULL OR is_identity = 'YES') \
     FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1";

#[tokio::test]
async fn each_migration_leaves_the_release_before_it_at_work() {
    let Some(stand) = PostgresStand::new() else { return };
    let mut connection = sqlx::PgConnection::connect(&stand.url()).await.unwrap();
    let mut before: Vec<String> = Vec::new();
    for known in 1..=schema::MIGRATIONS.len() {
        schema::migrate(&mut connection, &schema::MIGRATIONS[..known]).await.unwrap();
        let now: Vec<String> = stand.run(COLUMNS).lines().map(str::to_owned).collect();
        for column in &before {
            assert!(now.contains(column), "migration {known} took or changed {column}");
        }
        let table = |column: &str| column.split('.').next().unwrap_or_default().to_owned();
        let tables: Vec<String> = before.iter().map(|column| table(column)).collect();
        for column in now.iter().filter(|column| !before.contains(column)) {
            let bears = !tables.contains(&table(column)) || !column.ends_with(" NO false");
            assert!(bears, "an older release cannot insert without {column}");
        }
        before = now;
    }
}

/// One host knows the first migration only, and its connection stays; the other brings the schema up to date.
#[tokio::test]
async fn a_release_works_beside_its_successor() {
    let Some(stand) = PostgresStand::new() else { return };
    let mut older = sqlx::PgConnection::connect(&stand.url()).await.unwrap();
    schema::migrate(&mut older, &schema::MIGRATIONS[..1]).await.unwrap();
    // What the first release writes.
    let insert = "INSERT INTO notifications (type, content) VALUES ('x', '{}')";
    sqlx::query(insert).execute(&mut older).await.unwrap();
    let newer = stand.open(PostgresOptions::default()).await;
    sqlx::query(insert).execute(&mut older).await.unwrap();
    assert_eq!(newer.arrived(9).await.unwrap().len(), 2);
    // And when it starts anew.
    schema::migrate(&mut older, &schema::MIGRATIONS[..1]).await.unwrap();
    let found = schema::schema(&mut older, &schema::MIGRATIONS[..1]).await.unwrap();
    let all = i64::try_from(schema::MIGRATIONS.len()).unwrap();
    assert_eq!(found, Schema { found: all, oldest: 1, known: 1 });
    stand.run("UPDATE postrider_schema SET oldest = 2");
    let refused = schema::migrate(&mut older, &schema::MIGRATIONS[..1]).await.unwrap_err();
    assert!(refused.to_string().contains("needs a postrider that knows version 2"), "{refused}");
}

#[tokio::test]
async fn hosts_that_prune_at_once_remove_everything_once() {
    let Some(stand) = PostgresStand::new() else { return };
    let open = || stand.open(PostgresOptions::default());
    let hosts = [open().await, open().await];
    hosts[0].enqueue((0..400).map(|_| item(&["slack"])).collect()).await.unwrap();
    let leases = hosts[0].claim(&claim(&[("slack", 400, 0)])).await.unwrap();
    let done = leases.iter().map(|lease| settle(lease.key, Settlement::Delivered));
    hosts[0].settle(done.collect()).await.unwrap();
    let now = Duration::ZERO;
    let retention = Retention { finished: Some(now), dead: Some(now), content: None };
    let both = tokio::join!(hosts[0].prune(&retention, None), hosts[1].prune(&retention, None));
    let (one, other) = (both.0.unwrap(), both.1.unwrap());
    let rest = hosts[0].prune(&retention, None).await.unwrap();
    let sum = |of: fn(&crate::Pruned) -> u64| of(&one) + of(&other) + of(&rest);
    assert_eq!(sum(|p| p.notifications), 400);
    assert_eq!((sum(|p| p.deliveries), sum(|p| p.attempts)), (400, 400));
}

/// What is revived while retention has looked but not yet written, lives.
#[tokio::test]
async fn what_is_revived_meanwhile_is_not_removed() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    queue.enqueue(vec![item(&["slack"]), item(&["slack"])]).await.unwrap();
    let leases = queue.claim(&claim(&[("slack", 9, 0)])).await.unwrap();
    queue.settle(leases.iter().map(|lease| settle(lease.key, DEAD)).collect()).await.unwrap();
    queue.redeliver(&[leases[0].key.id]).await.unwrap();
    let mut late = sqlx::PgConnection::connect(&stand.url()).await.unwrap();
    let looked = sqlx::query_as(chores_sql::DROP).bind(vec![1i64, 2]).fetch_one(&mut late).await;
    let gone: (i64, i64, i64) = looked.unwrap();
    assert_eq!(gone, (1, 1, 1));
    let emptied = sqlx::query_as(chores_sql::EMPTY).bind(vec![1i64]).bind(vec![2i64]);
    let emptied: (i64, i64, i64) = emptied.fetch_one(&mut late).await.unwrap();
    assert_eq!(emptied, (0, 0, 0));
    let left = queue.deliveries(&everything()).await.unwrap();
    assert_eq!(left.iter().map(|record| record.id).collect::<Vec<_>>(), [leases[0].key.id]);
    let lease = queue.claim(&claim(&[("slack", 9, 9)])).await.unwrap().remove(0);
    assert!(!lease.notification.content.is_empty());
}

#[tokio::test]
async fn finished_rows_are_not_in_the_hot_index_and_retention_needs_none() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(PostgresOptions::default()).await;
    stand.run(
        "INSERT INTO notifications (type, fanned_out_at, deliveries) \
         SELECT 'x', now(), 1 FROM generate_series(1, 20000); \
         INSERT INTO deliveries (notification, destination, due, created, since, state, finished) \
         SELECT n, 'd', now(), now(), now(), (n > 100)::int, CASE WHEN n > 100 THEN now() END \
         FROM generate_series(1, 20000) n; ANALYZE notifications; ANALYZE deliveries; ANALYZE attempts",
    );
    let entries = "SELECT reltuples FROM pg_class WHERE oid = 'deliveries_live'::regclass";
    assert_eq!(stand.run(entries), "100");
    let plan = stand.run(&format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE look AS {}; EXPLAIN EXECUTE look (7, 500)",
        chores_sql::CANDIDATES
    ));
    assert!(!plan.contains("Seq Scan"), "{plan}");
    let rows = "array_fill(7::bigint, ARRAY[500])";
    let plan = stand.run(&format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE gone AS {}; EXPLAIN EXECUTE gone ({rows})",
        chores_sql::DROP
    ));
    assert!(
        !plan.contains("Seq Scan on notifications") && !plan.contains("Seq Scan on deliveries"),
        "{plan}"
    );
}
