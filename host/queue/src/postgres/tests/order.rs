//! Order and expiry between hosts that do not see each other's open transactions.

use postrider_core::settle::Settlement;

use super::*;
use crate::conformance::{LEASE, claim, host, item, settle};
use crate::postgres::sql;
use crate::{Enqueue, Lease, Queue, Sweep, Target};

fn keyed(key: &str) -> Enqueue {
    let target = Target { order_key: Some(key.to_owned()), ..Target::from("pager") };
    Enqueue { destinations: vec![target], ..item(&[]) }
}

async fn claimed(queue: &PostgresQueue) -> Vec<Lease> {
    queue.claim(&claim(&[("pager", 100, 50)])).await.unwrap()
}

async fn sweep(queue: &PostgresQueue) -> Vec<Lease> {
    let sweep = Sweep { host: host(), lease: LEASE, limit: 100, bounds: Vec::new() };
    queue.claim_overdue(&sweep).await.unwrap()
}

/// One host makes deliveries of a key while another ends its heads: nothing is left waiting, and no two run at once.
#[tokio::test]
async fn a_key_never_stays_without_a_head() {
    let Some(stand) = PostgresStand::new() else { return };
    let (a, b) = (stand.open(Default::default()).await, stand.open(Default::default()).await);
    let making = async {
        for _ in 0..60 {
            a.enqueue(vec![keyed("a"), keyed("b")]).await.unwrap();
        }
    };
    let mut ended = Vec::new();
    let ending = async {
        while ended.len() < 120 {
            let leases = claimed(&b).await;
            assert!(leases.len() <= 2, "{leases:?}");
            for lease in leases {
                ended.push((lease.order_key, lease.key.id));
                let settled = b.settle(vec![settle(lease.key, Settlement::Delivered)]).await;
                assert_eq!(settled.unwrap(), []);
            }
            // What the marks pass over comes with the next look from the start; here time is short.
            b.marks.reset();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(making, ending) })
        .await
        .unwrap();
    for key in ["a", "b"] {
        let of_key = ended.iter().filter(|(of, _)| of.as_deref() == Some(key));
        assert!(of_key.map(|(_, id)| id.0).is_sorted(), "{ended:?}");
    }
}

/// A host that ended between its commit and the promotion, or one of an older release that knows of none.
#[tokio::test]
async fn a_promotion_that_was_lost_is_made_by_the_next_sweep() {
    let Some(stand) = PostgresStand::new() else { return };
    let (a, b) = (stand.open(Default::default()).await, stand.open(Default::default()).await);
    a.enqueue(vec![keyed("a"), keyed("a"), keyed("b"), keyed("b")]).await.unwrap();
    stand.run("UPDATE deliveries SET state = 1, finished = now() WHERE id IN (1, 3)");
    assert!(claimed(&b).await.is_empty());
    assert!(sweep(&b).await.is_empty());
    b.marks.reset();
    let leases = claimed(&b).await;
    assert_eq!(leases.iter().map(|lease| lease.key.id.0).collect::<Vec<_>>(), [2, 4]);
}

/// Two hosts that promote in one key at once make one head.
#[tokio::test]
async fn promoting_twice_changes_nothing() {
    let Some(stand) = PostgresStand::new() else { return };
    let a = stand.open(Default::default()).await;
    a.enqueue(vec![keyed("a"), keyed("a"), keyed("a")]).await.unwrap();
    stand.run("UPDATE deliveries SET state = 1, finished = now() WHERE id = 1");
    let promote = || {
        let promote = sqlx::query(sql::PROMOTE).bind(["pager"]).bind(["a"]).bind([None::<i64>]);
        promote.execute(&a.pool)
    };
    let (one, two) = tokio::join!(promote(), promote());
    let made = [one, two].map(|done| done.map_or(0, |done| done.rows_affected()));
    assert_eq!(made.iter().sum::<u64>(), 1, "{made:?}");
    assert_eq!(stand.run("SELECT count(*) FROM deliveries WHERE state = 0 AND waiting"), "1");
}

/// Of two hosts that sweep at once each takes what the other does not.
#[tokio::test]
async fn an_expired_delivery_is_swept_by_one_of_two_hosts() {
    let Some(stand) = PostgresStand::new() else { return };
    let (a, b) = (stand.open(Default::default()).await, stand.open(Default::default()).await);
    let target = Target { expires_after: Some(LEASE), ..Target::from("slack") };
    let items = (0..50).map(|_| Enqueue { destinations: vec![target.clone()], ..item(&[]) });
    a.enqueue(items.collect()).await.unwrap();
    stand.advance(LEASE);
    let (by_a, by_b) = tokio::join!(sweep(&a), sweep(&b));
    let mut ids: Vec<i64> = by_a.iter().chain(&by_b).map(|lease| lease.key.id.0).collect();
    ids.extend(sweep(&a).await.iter().map(|lease| lease.key.id.0));
    ids.sort_unstable();
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
}

/// A host of version 1 makes, claims and settles with its own statements on this schema.
#[tokio::test]
async fn rows_of_a_host_that_knows_no_schedule_are_ordinary() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(Default::default()).await;
    stand.run(
        "INSERT INTO notifications (type, content, fanned_out_at, deliveries) \
         VALUES ('x', '{}', now(), 1); \
         INSERT INTO deliveries (notification, destination, due, created, since) \
         SELECT seq, 'pager', now(), now(), now() FROM notifications",
    );
    let lease = claimed(&queue).await.remove(0);
    assert_eq!((lease.order_key, lease.standing.left), (None, None));
}

/// With statistics of many rows, and with those of an empty table.
#[tokio::test]
async fn sweeps_and_promotions_go_by_their_indexes() {
    let Some(stand) = PostgresStand::new() else { return };
    stand.open(Default::default()).await;
    stand.run(
        "INSERT INTO deliveries (notification, destination, due, created, since, expires, \
           order_key, waiting) \
         SELECT n, 'd' || n % 3, CASE WHEN n > 100 THEN 'infinity' ELSE now() END, now(), now(), \
           now() + interval '1 day', n % 100, n > 100 FROM generate_series(1, 20000) n \
         WHERE n > 100 OR n % 3 = 0",
    );
    for analyze in ["", "ANALYZE deliveries;"] {
        let explain = |types: &str, statement: &str, values: &str| {
            stand.run(&format!(
                "{analyze} SET plan_cache_mode = force_generic_plan; \
                 PREPARE p ({types}) AS {statement}; EXPLAIN EXECUTE p ({values})"
            ))
        };
        let overdue = explain(
            "text[], bigint[], bigint, bigint, uuid, bigint, text, bool[]",
            sql::CLAIM_OVERDUE,
            "ARRAY['d1'], ARRAY[60000], 100, 1000, gen_random_uuid(), 45000, 'x', ARRAY[true]",
        );
        for index in ["deliveries_expiring", "deliveries_live", "deliveries_waiting"] {
            assert!(overdue.contains(index), "{index}: {overdue}");
        }
        let values = "ARRAY['d1'], ARRAY['7'], ARRAY[1]";
        let promote = explain("text[], text[], bigint[]", sql::PROMOTE, values);
        for index in ["deliveries_next", "deliveries_head"] {
            assert!(promote.contains(index), "{index}: {promote}");
        }
        let forgotten = stand.run(&format!("{analyze} EXPLAIN {}", sql::FORGOTTEN));
        for plan in [&overdue, &promote, &forgotten] {
            assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
        }
    }
}
