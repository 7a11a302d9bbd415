//! Two hosts on one database.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use postrider_core::settle::Settlement;
use postrider_core::{HostId, LeaseKey};
use uuid::Uuid;

use super::*;
use crate::conformance::{LEASE, claim, item, notification, settle};
use crate::postgres::schema::MIGRATIONS;
use crate::postgres::watermark::FULL;
use crate::{Claim, Enqueue, Enqueued, HOST_SILENT, HostBeat, Queue, Route};

fn claim_of(host: u128) -> Claim {
    Claim { host: HostId(Uuid::from_u128(host)), ..claim(&[("slack", 100, 50)]) }
}

async fn two(stand: &PostgresStand) -> [PostgresQueue; 2] {
    let options = PostgresOptions::default;
    // At once, on an empty database: both migrate it.
    let (a, b) = tokio::join!(stand.open(options()), stand.open(options()));
    [a, b]
}

#[tokio::test]
async fn hosts_that_start_at_once_migrate_once() {
    let Some(stand) = PostgresStand::new() else { return };
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = stand.url();
        opening.spawn(async move {
            PostgresQueue::open(&url, PostgresOptions::default()).await.unwrap();
        });
    }
    opening.join_all().await;
    let applied = stand.run("SELECT count(*) FROM postrider_schema");
    assert_eq!(applied, MIGRATIONS.len().to_string());
}

#[tokio::test]
async fn a_host_that_was_stopped_past_its_lease_changes_nothing() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    a.enqueue(vec![item(&["slack"])]).await.unwrap();
    let stale = a.claim(&claim_of(1)).await.unwrap().remove(0);
    assert!(b.claim(&claim_of(2)).await.unwrap().is_empty());
    stand.advance(LEASE);
    let taken = b.claim(&claim_of(2)).await.unwrap().remove(0);
    assert_eq!((taken.key.id, taken.standing.lost), (stale.key.id, 1));
    let late = settle(stale.key, Settlement::Delivered);
    assert_eq!(a.settle(vec![late]).await.unwrap(), [stale.key]);
    assert_eq!(a.extend(&[stale.key], LEASE).await.unwrap(), [stale.key]);
    let good = settle(taken.key, Settlement::Delivered);
    assert_eq!(b.settle(vec![good]).await.unwrap(), []);
}

#[tokio::test]
async fn a_host_that_takes_itself_for_alone_claims_nothing_twice() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    let alone = |queue: &PostgresQueue| queue.alone.load(Ordering::Relaxed);
    assert!(!alone(&a), "it is not known before a beat");
    a.beat(&beat(1)).await.unwrap();
    b.beat(&beat(2)).await.unwrap();
    assert_eq!((alone(&a), alone(&b)), (true, false), "the first hears of it with its next beat");
    for _ in 0..20 {
        a.enqueue((0..10).map(|_| item(&["slack"])).collect()).await.unwrap();
        let (of_a, of_b) = (claim_of(1), claim_of(2));
        let (one, two) = tokio::join!(a.claim(&of_a), b.claim(&of_b));
        let mut ids: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).map(|l| l.key).collect();
        // What one met while the other had it.
        ids.extend(a.claim(&claim_of(1)).await.unwrap().into_iter().map(|lease| lease.key));
        let once: HashSet<LeaseKey> = ids.iter().copied().collect();
        assert_eq!((ids.len(), once.len()), (10, 10));
        let settled = ids.iter().map(|key| settle(*key, Settlement::Delivered));
        assert_eq!(a.settle(settled.collect()).await.unwrap(), []);
    }
    a.beat(&beat(1)).await.unwrap();
    assert!(!alone(&a));
    stand.advance(HOST_SILENT + Duration::from_secs(1));
    a.beat(&beat(1)).await.unwrap();
    assert!(alone(&a), "the other was silent for too long");
}

fn beat(host: u128) -> HostBeat {
    let [name, version, listen] = ["name", "1", "127.0.0.1:1"].map(str::to_owned);
    let id = HostId(Uuid::from_u128(host));
    HostBeat { id, name, version, listen, destinations: Vec::new() }
}

#[tokio::test]
async fn one_key_from_two_hosts_is_stored_once() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    let of = |key: usize| Enqueue {
        idempotency_key: Some(format!("key {key}")),
        notification: notification(),
        ..item(&["slack"])
    };
    let forth: Vec<Enqueue> = (0..200).map(of).collect();
    // In the opposite order, so that their transactions meet crosswise.
    let back: Vec<Enqueue> = (0..200).rev().map(of).collect();
    let (forth, back) = tokio::join!(a.enqueue(forth), b.enqueue(back));
    let stored = |answers: Vec<Enqueued>| {
        answers.iter().filter(|answer| matches!(answer, Enqueued::Stored { .. })).count()
    };
    assert_eq!(stored(forth.unwrap()) + stored(back.unwrap()), 200);
    assert_eq!(stand.run("SELECT count(*) FROM notifications"), "200");
    assert_eq!(stand.run("SELECT count(*) FROM deliveries"), "200");
}

#[tokio::test]
async fn what_a_producer_inserted_is_fanned_out_by_one_of_two_hosts() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    stand.run(
        "INSERT INTO notifications (type, content) SELECT 'x', '{}' FROM generate_series(1, 500)",
    );
    let route = |arrived: Vec<crate::Arrived>| {
        let routes = arrived
            .into_iter()
            .map(|arrived| Route { row: arrived.row, destinations: Ok(vec!["slack".into()]) });
        routes.collect::<Vec<_>>()
    };
    let (seen_by_a, seen_by_b) = tokio::join!(a.arrived(1_000), b.arrived(1_000));
    let (by_a, by_b) = (route(seen_by_a.unwrap()), route(seen_by_b.unwrap()));
    let (by_a, by_b) = tokio::join!(a.fan_out(by_a), b.fan_out(by_b));
    assert_eq!(by_a.unwrap() + by_b.unwrap(), 500);
    assert_eq!(stand.run("SELECT count(*) FROM deliveries"), "500");
}

/// A row that commits after later ones were fanned out is not missed: nothing remembers a last id.
#[tokio::test]
async fn rows_that_commit_out_of_order_are_all_fanned_out() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let mut early = <sqlx::PgConnection as sqlx::Connection>::connect(&stand.url()).await.unwrap();
    let mut early = sqlx::Connection::begin(&mut early).await.unwrap();
    let insert = "INSERT INTO notifications (type, content) VALUES ('early', '{}')";
    sqlx::query(insert).execute(&mut *early).await.unwrap();
    stand.run("INSERT INTO notifications (type, content) VALUES ('late', '{}')");
    let kinds = async || {
        let arrived = queue.arrived(10).await.unwrap();
        let routes = arrived.iter().map(|a| Route { row: a.row, destinations: Ok(vec![]) });
        queue.fan_out(routes.collect()).await.unwrap();
        arrived.into_iter().map(|a| a.notification.unwrap().kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds().await, ["late"]);
    early.commit().await.unwrap();
    assert_eq!(kinds().await, ["early"]);
}

/// Rows that a claim from the mark passes over are seen by the next look from the start, and claimed then.
#[tokio::test]
async fn what_becomes_due_behind_the_mark_is_claimed() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let slack = ["slack".to_owned()];
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    assert_eq!(queue.claim(&claim_of(1)).await.unwrap().len(), 1);
    stand.run(
        "INSERT INTO notifications (type, content, fanned_out_at, deliveries) \
         VALUES ('y', '{}', now(), 1); \
         INSERT INTO deliveries (notification, destination, due, created, since) \
         SELECT max(seq), 'slack', now() - interval '1 hour', now(), now() FROM notifications",
    );
    assert!(queue.claim(&claim_of(1)).await.unwrap().is_empty());
    assert_ne!(queue.look(&slack).await.unwrap().due, Some(Duration::ZERO));
    tokio::time::pause();
    tokio::time::advance(FULL).await;
    tokio::time::resume();
    assert_eq!(queue.look(&slack).await.unwrap().due, Some(Duration::ZERO));
    assert_eq!(queue.claim(&claim_of(1)).await.unwrap().len(), 1);
}
