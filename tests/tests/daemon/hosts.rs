//! Two daemons on one PostgreSQL.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, House, http};
use postrider_tests::receiver::Receiver;
use serde_json::json;
use tokio::time::interval;

use crate::hooked;

const CONCURRENCY: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(house: &House, cluster: &Cluster) -> Daemon {
    start_at(house, cluster, "127.0.0.1:0").await
}

async fn start_at(house: &House, cluster: &Cluster, listen: &str) -> Daemon {
    let mut command = house.command();
    // The shortest lease, so that what a killed host held is due again within the test.
    command.env("POSTRIDER_LEASE", "3s").env("POSTRIDER_DATABASE", cluster.url());
    command.args(["serve", "--listen", listen]);
    house.start_command(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_leaves_its_work_to_the_other() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let receiver = Receiver::ok().await;
    let policy = format!("policy.concurrency = {CONCURRENCY}");
    let houses = [hooked(&receiver, &policy), hooked(&receiver, &policy)];
    let staying = start(&houses[0], &cluster).await;
    let mut accepted = Vec::new();
    for round in 1..=3 {
        let killed = start(&houses[1], &cluster).await;
        for _ in 0..50 {
            accepted.push(staying.enqueue(&json!({"type": "x", "content": round})).await);
            accepted.push(killed.enqueue(&json!({"type": "x", "content": round})).await);
        }
        killed.kill().await;
    }
    receiver.ids(accepted.len(), PATIENCE).await;
    staying.until_empty().await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in receiver.ids(accepted.len(), PATIENCE).await {
        *times.entry(id).or_default() += 1;
    }
    assert!(accepted.iter().all(|id| times.contains_key(id)), "lost");
    let doubled: usize = times.values().map(|n| n - 1).sum();
    assert!(doubled <= 3 * CONCURRENCY, "{doubled} were doubled: more than were in flight");
    assert!(staying.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_text_of_the_database_can_hold_is_a_wrong_request_and_no_failure() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let house = House::new();
    let daemon = start(&house, &cluster).await;
    for path in [
        "/v1/notifications?type=%00",
        "/v1/notifications?source=%00",
        "/v1/notifications?label=a%00=b",
        "/v1/deliveries?destination=%00",
    ] {
        let (status, problem) = daemon.get(path).await;
        assert_eq!(status, 400, "{path}: {problem}");
    }
    let body = json!({"destination": "\0"}).to_string();
    let (status, problem) = daemon.post("/v1/deliveries/redeliver", body).await;
    assert_eq!((status, &problem["field"]), (400, &json!("destination")), "{problem}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_callers_are_told_and_then_it_goes_on() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = start(&house, &cluster).await;
    cluster.stop().unwrap();
    let refused = offer(daemon.url()).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    cluster.start_again().unwrap();
    daemon.until("/healthz", |health| health.get("healthy").is_some()).await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(1, PATIENCE).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_starts_before_its_database() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    cluster.stop().unwrap();
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let url = format!("http://{free}");
    let told = async {
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let Ok(refused) = offer(&url).await else { continue };
            assert_eq!(refused.status(), 503);
            let text = refused.text().await.unwrap();
            if text.contains("waits for its database: PostgreSQL cannot be reached") {
                return cluster.start_again().unwrap();
            }
        }
    };
    let (daemon, ()) = tokio::join!(start_at(&house, &cluster, &free), told);
    daemon.line("the database cannot be used yet").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(1, PATIENCE).await;
    assert!(daemon.stop().await.success());
}

async fn offer(url: &str) -> reqwest::Result<reqwest::Response> {
    let body = json!({"type": "x"}).to_string();
    http().post(format!("{url}/v1/notifications")).body(body).send().await
}

/// The first second's worth goes at once. At twice the rate it would take one second more, at the rate it takes three; a
/// slow machine only makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_keep_one_rate_together() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let receiver = Receiver::ok().await;
    let policy = "policy.rate = '10/s'";
    let houses = [hooked(&receiver, policy), hooked(&receiver, policy)];
    let daemons = [start(&houses[0], &cluster).await, start(&houses[1], &cluster).await];
    let begun = std::time::Instant::now();
    for place in 0..40 {
        daemons[place % 2].enqueue(&json!({"type": "x"})).await;
    }
    receiver.until(40, PATIENCE).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2), "40 at ten a second took {took:?}");
    for daemon in daemons {
        daemon.until_empty().await;
        assert!(daemon.stop().await.success());
    }
}
