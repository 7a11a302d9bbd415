//! Limits, retention by hand and the database's commands, beside a running daemon.
#![expect(clippy::panic, reason = "a test may fail loudly")]

use postrider_tests::daemon::House;
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::hooked;

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
        let asked = postrider_tests::daemon::http().post(&url).body(r#"{"type": "x"}"#);
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
