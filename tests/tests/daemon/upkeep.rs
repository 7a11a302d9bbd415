//! Limits, retention by hand and the database's commands, beside a running daemon.
#![expect(clippy::panic, reason = "a test may fail loudly")]

use std::process::Command;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{House, PATIENCE, http};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::{hooked, run, there};

async fn told(house: &House, arguments: &[&str]) -> Value {
    let (status, out, error) = house.run(arguments).await;
    assert!(status.success(), "{arguments:?}: {error}");
    serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("{wrong}: {out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_looked_after_beside_the_daemon() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let empty = told(&house, &["db", "status", "--json"]).await;
    assert_eq!(empty["version"], 0);
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x", "content": 1})).await;
    daemon.until_empty().await;

    let status = told(&house, &["db", "status", "--json"]).await;
    assert_eq!(status["state"], "up to date");
    let stats = told(&house, &["db", "stats", "--json"]).await;
    assert_eq!(stats["notifications"], json!({"count": 1, "exact": true}));
    assert_eq!(told(&house, &["db", "migrate", "--json"]).await, status);
    let copy = told(&house, &["db", "backup", "copy.db", "--json"]).await;
    assert!(copy["bytes"].as_u64().unwrap() > 0);
    let hosts = told(&house, &["host", "list", "--json", "--url", daemon.url()]).await;
    assert_eq!(hosts["items"][0]["destinations"], json!(["hook"]));

    let prune = ["db", "prune", "--finished", "0s", "--json", "--url", daemon.url()];
    let pruned = told(&house, &prune).await;
    assert_eq!(pruned, json!({"notifications": 1, "deliveries": 1, "attempts": 1, "contents": 0}));
    assert_eq!(daemon.get("/v1/db/stats").await.1["notifications"]["count"], 0);

    // Another daemon's database is not touched.
    let other = House::new();
    let elsewhere = other.start().await;
    let wrong = ["db", "prune", "--finished", "0s", "--url", elsewhere.url()];
    let (status, _, error) = house.run(&wrong).await;
    assert!(!status.success() && error.contains("say where it is with --url"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_accepts_nothing_and_says_when_to_come_back() {
    let house = House::new();
    let mut command = house.command();
    command.env("POSTRIDER_MIN_FREE_DISK", "9000000GB");
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let daemon = house.start_command(command).await;
    daemon.until("/v1/db/stats", |stats| stats["live"]["count"] == 0).await;
    let url = format!("{}/v1/notifications", daemon.url());
    let refused = loop {
        let asked = http().post(&url).body(r#"{"type": "x"}"#);
        let answer = asked.send().await.unwrap();
        // The first measurement may still be under way.
        if answer.status() != 201 {
            break answer;
        }
    };
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "30");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert!(refused.text().await.unwrap().contains("min_free_disk"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_at_its_limit_takes_no_more_until_there_is_room() {
    let (receiver, answered) = Receiver::holding().await;
    let house = hooked(&receiver, "");
    let mut command = house.command();
    command.env("POSTRIDER_MAX_QUEUE", "2").args(["serve", "--listen", "127.0.0.1:0"]);
    let daemon = house.start_command(command).await;
    let offer = async || {
        let url = format!("{}/v1/notify", daemon.url());
        http().post(url).body("x").send().await.unwrap().status().as_u16()
    };
    // It is measured once a second.
    let mut accepted = 0;
    while offer().await == 201 {
        accepted += 1;
    }
    assert!(accepted >= 2, "{accepted}");
    assert_eq!(offer().await, 503);
    answered.send(accepted).unwrap();
    receiver.until(accepted, PATIENCE).await;
    daemon.until_empty().await;
    while offer().await == 503 {
        tokio::task::yield_now().await;
    }
    answered.send(usize::MAX).unwrap();
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_database_is_backed_up_and_pruned_beside_its_hosts() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    if !there("pg_restore", &["--version"]) {
        return;
    }
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let mut command = house.command();
    command.env("POSTRIDER_DATABASE", cluster.url());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let daemon = house.start_command(command).await;
    daemon.enqueue(&json!({"type": "x", "content": 1})).await;
    daemon.until_empty().await;
    let url = cluster.url();
    let copy = told(&house, &["db", "backup", "copy.dump", "--json", "--database", &url]).await;
    assert!(copy["bytes"].as_u64().unwrap() > 0, "{copy}");
    let listed = run(Command::new("pg_restore").arg("--list").arg(house.path().join("copy.dump")));
    assert!(listed.contains("TABLE DATA public notifications"), "{listed}");
    let pruned =
        told(&house, &["db", "prune", "--finished", "0s", "--json", "--database", &url]).await;
    assert_eq!(pruned["notifications"], 1, "{pruned}");
    let stats = told(&house, &["db", "stats", "--json", "--database", &url]).await;
    assert_eq!(stats["live"]["count"], 0, "{stats}");
    let hosts = daemon.get("/v1/hosts").await.1;
    assert_eq!(hosts["items"].as_array().unwrap().len(), 1, "{hosts}");
    assert!(daemon.stop().await.success());
    assert_eq!(cluster.psql("postgres", "SELECT count(*) FROM hosts").unwrap(), "0");
}
