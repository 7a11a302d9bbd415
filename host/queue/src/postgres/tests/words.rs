//! Hosts that tell each other of work.

use futures_util::FutureExt as _;
use postrider_core::HostId;
use uuid::Uuid;

use super::*;
use crate::Queue;
use crate::conformance::{claim, item};

fn listening(host: u128) -> PostgresOptions {
    let host = HostId(Uuid::from_u128(host));
    PostgresOptions { listen_notify: Some(host), ..PostgresOptions::default() }
}

/// Two hosts that hear each other, their greetings heard.
async fn two(stand: &PostgresStand) -> [PostgresQueue; 2] {
    let hosts = [stand.open(listening(1)).await, stand.open(listening(2)).await];
    for host in &hosts {
        // It says itself that it began to listen.
        host.wait_for_work().await;
    }
    hosts
}

#[tokio::test]
async fn another_host_is_told_of_what_was_stored_and_has_it_then() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    a.enqueue(vec![item(&["slack"])]).await.unwrap();
    b.wait_for_work().await;
    assert_eq!(b.claim(&claim(&[("slack", 1, 0)])).await.unwrap().len(), 1);
    b.enqueue(vec![item(&["slack"])]).await.unwrap();
    a.wait_for_work().await;
}

#[tokio::test]
async fn a_producer_may_tell_itself_in_its_own_transaction() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, _b] = two(&stand).await;
    stand.run(
        "BEGIN; INSERT INTO notifications (type, content) VALUES ('x', '{}'); \
         NOTIFY postrider_work; COMMIT",
    );
    a.wait_for_work().await;
    assert!(a.look(&[]).await.unwrap().arrived);
}

#[tokio::test]
async fn a_listener_whose_connection_was_cut_listens_again() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    let cut = stand.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
    );
    assert_eq!(cut, "2");
    // Whatever was said meanwhile it takes for said.
    b.wait_for_work().await;
    a.enqueue(vec![item(&["slack"])]).await.unwrap();
    b.wait_for_work().await;
}

#[tokio::test]
async fn a_host_that_was_closed_neither_speaks_nor_listens() {
    let Some(stand) = PostgresStand::new() else { return };
    let [a, b] = two(&stand).await;
    a.close().await;
    b.close().await;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postrider'";
    // The server takes a moment to notice; the loop ends by the runner's limit.
    while stand.run(left) != "0" {
        tokio::task::yield_now().await;
    }
    assert!(a.wait_for_work().now_or_never().is_none());
}
