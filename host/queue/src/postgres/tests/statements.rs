//! Each statement is valid, and the hot ones go by their index.

use sqlx::{Connection, Executor, SqlSafeStr};

use super::*;
use crate::postgres::{access_sql, breakers_sql, chores_sql, rates, sql, versions_sql};

#[tokio::test]
async fn every_statement_prepares() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(PostgresOptions::default()).await;
    let mut connection = sqlx::PgConnection::connect(&stand.url()).await.unwrap();
    let others =
        [access_sql::ALL, breakers_sql::ALL, chores_sql::ALL, rates::ALL, versions_sql::ALL];
    for statement in sql::ALL.iter().chain(others.into_iter().flatten()) {
        if let Err(error) = connection.prepare((*statement).into_sql_str()).await {
            panic!("{error}\n{statement}");
        }
    }
}

/// The default that a producer leaves to the database is a UUIDv7 of now.
#[tokio::test]
async fn the_shortest_insert_gets_a_uuid_of_version_7() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    stand.run("INSERT INTO notifications (type, content) VALUES ('x', '{}')");
    let arrived = crate::Queue::arrived(&queue, 10).await.unwrap().remove(0);
    let id = arrived.notification.unwrap().id.0;
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
}

/// With statistics that say that everything is due, and with those of an empty table.
#[tokio::test]
async fn a_claim_goes_by_the_live_index() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(PostgresOptions::default()).await;
    stand.run(
        "INSERT INTO deliveries (notification, destination, due, created, since) \
         SELECT n, 'd' || n % 3, now() - interval '1 s', now(), now() \
         FROM generate_series(1, 20000) n",
    );
    for analyze in ["", "ANALYZE deliveries;"] {
        // The parameters as a prepared statement has them: a generic plan knows no limit.
        let plan = stand.run(&format!(
            "{analyze} SET plan_cache_mode = force_generic_plan; \
             PREPARE claim AS {claim}; \
             EXPLAIN EXECUTE claim (ARRAY['d1'], ARRAY[64], ARRAY[32], ARRAY['-infinity'::timestamptz], \
             ARRAY['-infinity'::timestamptz], gen_random_uuid(), 45000, 'x')",
            claim = sql::CLAIM
        ));
        assert!(plan.contains("deliveries_live"), "{plan}");
        assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
    }
}

/// A page that is open costs the same however much is stored.
#[tokio::test]
async fn the_backlog_is_counted_by_indexes() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(PostgresOptions::default()).await;
    stand.run(
        "INSERT INTO deliveries (notification, destination, due, created, since, state, cause, finished) \
         SELECT n, 'd' || n / 3 % 3, now() - interval '1 s', now(), now(), CASE WHEN n % 3 = 0 THEN 0 \
           WHEN n % 30 = 1 THEN 2 ELSE 1 END, CASE WHEN n % 3 > 0 AND n % 30 = 1 THEN 'rejected' END, \
           CASE WHEN n % 3 > 0 THEN now() END FROM generate_series(1, 60000) n; ANALYZE deliveries",
    );
    for (statement, arguments, index) in [
        (chores_sql::BACKLOG, "(10000)", "deliveries_live"),
        (chores_sql::DEAD_OF, "(100)", "deliveries_ended"),
        (chores_sql::DEAD_GROUPS, "(100, 10)", "deliveries_ended"),
    ] {
        let plan = stand.run(&format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE look AS {statement}; \
             EXPLAIN EXECUTE look {arguments}"
        ));
        assert!(plan.contains(index), "{plan}");
        assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
    }
}

/// Before the server counted what came and after: a list walks an index to its limit, and sorts or reads nothing whole.
#[tokio::test]
async fn lists_walk_an_index_to_their_limit() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(PostgresOptions::default()).await;
    stand.run(
        "INSERT INTO notifications (type, content, fanned_out_at, deliveries) \
         SELECT 'x', '{}', now(), 1 FROM generate_series(1, 60000); \
         INSERT INTO deliveries (notification, destination, due, created, since, state, cause, finished) \
         SELECT n, 'd' || n / 3 % 3, now() - interval '1 s', now(), now(), CASE WHEN n % 3 = 0 THEN 0 \
           WHEN n % 30 = 1 THEN 2 WHEN n % 30 = 2 THEN 3 ELSE 1 END, \
           CASE WHEN n % 30 = 1 THEN 'rejected' END, CASE WHEN n % 3 > 0 THEN now() END \
         FROM generate_series(1, 60000) n",
    );
    let pin = sql::PIN_PLANS.join("; ");
    for analyze in ["", "ANALYZE deliveries; ANALYZE notifications;"] {
        let plan = |statement: &str, values: &str| {
            stand.run(&format!(
                "{analyze} {pin}; PREPARE list AS {statement}; EXPLAIN EXECUTE list ({values})"
            ))
        };
        for (statement, values, index) in [
            (sql::DELIVERIES_NEWEST, "50000, 100", "deliveries_pkey"),
            (sql::DEAD_NEWEST, "50000, 100", "deliveries_ended"),
            (sql::CANCELLED_NEWEST, "50000, 100", "deliveries_ended"),
            (sql::NOTIFICATIONS, "50000, 100", "notifications_pkey"),
            (sql::SIZE, "10000", "deliveries_live"),
        ] {
            let plan = plan(statement, values);
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("Bitmap"), "{plan}");
        }
        let of = "50000, 100, NULL, NULL, NULL, gen_random_uuid(), 0";
        let of = plan(sql::DELIVERIES_OF_NOTIFICATION, of);
        assert!(of.contains("deliveries_notification_destination_key"), "{of}");
        assert!(!of.contains("deliveries_pkey"), "{of}");
        let find = "50000, 100, 49000, NULL, NULL, NULL, NULL, NULL, 'live'";
        let find = plan(sql::FIND_NOTIFICATIONS, find);
        assert!(find.contains("deliveries_notification_destination_key"), "{find}");
        for other in ["deliveries_live", "deliveries_ended", "hashed"] {
            assert!(!find.contains(other), "{other}: {find}");
        }
    }
}
