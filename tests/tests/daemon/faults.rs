//! Hosts stand still, their database crashes, their connections break: everything accepted is delivered, and twice
//! only what was being sent.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::{Duration, Instant};

use postrider_tests::daemon::http;
use postrider_tests::proxy::Proxy;
use postrider_tests::receiver::Receiver;
use rustix::process::Signal;
use serde_json::json;

use crate::bad_database::until;
use crate::fleet::{DESTINATIONS, Fleet, LIVE, cluster};

const PATIENCE: Duration = Duration::from_secs(90);
/// The API's own limit is two seconds; the rest is a busy machine's. Without it nobody would answer for minutes.
const ANSWER: Duration = Duration::from_secs(8);
/// More requests at once than a host has connections.
const AT_ONCE: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stood_still_past_its_lease_writes_nothing_stale() {
    let Some(cluster) = cluster() else { return };
    let port = cluster.port();
    let (holding, answers) = Receiver::holding().await;
    let receivers = [holding, Receiver::of_many().await];
    let mut fleet = Fleet::start_with(cluster, vec![port], receivers).await;
    let count = 4;
    for _ in 0..count {
        fleet.hosts[0].enqueue(&json!({"type": "x"})).await;
    }
    // All are being sent, by the first host.
    fleet.receivers[0].until(count, PATIENCE).await;
    fleet.until_sql(LIVE, &count.to_string()).await;
    fleet.join(port).await;
    fleet.stand_still(0).await;
    let requests = || fleet.receivers[0].received().len();
    assert!(until(async || (requests() == 2 * count).then_some(())).await.is_some());

    // The second is sending them, and the first gets its answers: for a moment it believes that it delivered.
    answers.send(count).unwrap();
    fleet.hosts[0].signal(Signal::CONT);
    fleet.until_lost(0, count).await;
    answers.send(usize::MAX).unwrap();

    let reckoning = fleet.settle_up(count, PATIENCE).await;
    assert_eq!((reckoning.lost, reckoning.doubled), (count, count));
    // It goes on as before.
    fleet.hosts[0].enqueue(&json!({"type": "x"})).await;
    fleet.settle_up(count + 1, PATIENCE).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_under_load_loses_nothing() {
    let Some(cluster) = cluster() else { return };
    let port = cluster.port();
    let mut fleet = Fleet::start(cluster, vec![port; 4]).await;
    fleet.disturb_all();
    let (by_sql, by_api, crashes) = (1_000, 100, 3);
    fleet.insert(by_sql);
    let producing = fleet.produce(by_api);
    let share = (by_sql + by_api) * DESTINATIONS.len() / (crashes + 1);
    for crash in 1..=crashes {
        fleet.until_received(crash * share, PATIENCE).await;
        fleet.cluster.restart_immediately().unwrap();
    }
    producing.await.unwrap();
    fleet.settle_up(by_sql + by_api, PATIENCE).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_or_forgotten_are_made_anew() {
    let Some(cluster) = cluster() else { return };
    let proxies = [Proxy::start(cluster.port()).await, Proxy::start(cluster.port()).await];
    let ports = proxies.iter().map(Proxy::port).collect();
    let mut fleet = Fleet::start(cluster, ports).await;
    fleet.disturb_all();
    let share = 200;
    let blows: [&dyn Fn(&Fleet); 3] = [
        &|fleet| {
            fleet
                .cluster
                .psql(
                    "postgres",
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postrider'",
                )
                .unwrap();
        },
        &|_| proxies.iter().for_each(Proxy::cut),
        &|_| proxies.iter().for_each(Proxy::forget),
    ];
    for (place, blow) in blows.into_iter().enumerate() {
        fleet.insert(share);
        let come = share * DESTINATIONS.len();
        fleet.until_received(place * come + come / 4, PATIENCE).await;
        blow(&fleet);
        fleet.until_received((place + 1) * come, PATIENCE).await;
    }
    fleet.settle_up(blows.len() * share, PATIENCE).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_do_not_wait_for_a_network_that_stands_still() {
    let Some(cluster) = cluster() else { return };
    let proxy = Proxy::start(cluster.port()).await;
    let mut fleet = Fleet::start(cluster, vec![proxy.port()]).await;
    fleet.disturb_all();
    let url = fleet.hosts[0].url().to_owned();
    let all_at_once = || {
        let offers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(offer(url.clone()))).collect();
        async move {
            for offer in offers {
                let (status, took) = offer.await.unwrap();
                assert_eq!(status, 503);
                assert!(took < ANSWER, "answered after {took:?}");
            }
        }
    };
    proxy.stall();
    all_at_once().await;
    // The router forgets what it held up. What waits on it never hears of it, and must not keep others waiting.
    proxy.forget();
    proxy.flow();
    fleet.hosts[0].until("/healthz", |health| health.get("healthy").is_some()).await;
    fleet.hosts[0].enqueue(&json!({"type": "x"})).await;
    fleet.until_sql(LIVE, "0").await;
    fleet.stop().await;
}

async fn offer(url: String) -> (u16, Duration) {
    let start = Instant::now();
    let body = json!({"type": "x"}).to_string();
    let answer = http().post(format!("{url}/v1/notifications")).body(body).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    (answer.status().as_u16(), start.elapsed())
}
