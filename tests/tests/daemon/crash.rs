use std::collections::BTreeMap;
use std::time::Duration;

use postrider_tests::receiver::Receiver;
use serde_json::json;

use crate::hooked;

/// The most attempts in flight, each of which a kill may double.
const CONCURRENCY: usize = 8;

#[tokio::test]
async fn kill_9_under_load_and_a_restart_deliver_everything() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, &format!("policy.concurrency = {CONCURRENCY}"));
    let mut accepted = Vec::new();
    for round in 1..=4 {
        let daemon = house.start().await;
        for _ in 0..100 {
            accepted.push(daemon.enqueue(&json!({"type": "x", "content": round})).await);
        }
        // Some of this round's are delivered, some are in flight, some wait.
        receiver.ids(accepted.len() - 60, Duration::from_secs(30)).await;
        daemon.kill().await;
    }
    let daemon = house.start().await;
    let ids = receiver.ids(accepted.len(), Duration::from_secs(60)).await;
    daemon.until_empty().await;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &ids {
        *times.entry(id).or_default() += 1;
    }
    assert!(accepted.iter().all(|id| times.contains_key(id.as_str())), "lost");
    let doubled: usize = times.values().map(|n| n - 1).sum();
    assert!(doubled <= 4 * CONCURRENCY, "{doubled} were doubled: more than were in flight");
    daemon.stop().await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_database_is_refused() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let (status, _, error) = house.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(!status.success());
    let pid = daemon.pid();
    assert!(error.contains("data/postrider.db.lock is locked by another postrider"), "{error}");
    assert!(error.contains(&format!("(process {pid})")), "{error}");
    assert!(daemon.stop().await.success());
}
