//! When a notification is sent, until when, and after which other.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use jiff::{SignedDuration, Timestamp};
use postrider_tests::daemon::{Daemon, PATIENCE};
use postrider_tests::receiver::{Receiver, answer};
use serde_json::{Value, json};

use crate::hooked;

fn between(from: &Value, to: &Value) -> SignedDuration {
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    time(to).duration_since(time(from))
}

async fn only_delivery(daemon: &Daemon, state: &str) -> Value {
    let listed = daemon.until("/v1/deliveries", |all| all["items"][0]["state"] == state).await;
    let (_, delivery) = daemon.get(&format!("/v1/deliveries/{}", listed["items"][0]["id"])).await;
    delivery
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_not_sent_before_its_time() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x", "deliver_after": "1500ms"})).await;
    let delivery = only_delivery(&daemon, "delivered").await;
    let waited = between(&delivery["created"], &delivery["history"][0]["started"]);
    assert!(waited.as_millis() >= 1_490, "{delivery:#}");
    assert_eq!(receiver.received().len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_came_too_late_dies_and_says_so() {
    let receiver = Receiver::start(answer("503 Service Unavailable", "", "")).await;
    let house = hooked(&receiver, "policy.backoff.initial = \"10s\"");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x", "expires_after": "1s"})).await;
    let delivery = only_delivery(&daemon, "dead").await;
    assert_eq!(delivery["cause"], "expired", "{delivery:#}");
    let lived = between(&delivery["created"], &delivery["finished"]);
    assert!(lived.as_secs() < 9, "{delivery:#}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_sends_later() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let send = ["send", "--type", "x", "--after", "10m", "--expires", "1h", "--url", daemon.url()];
    let (status, _, error) = house.run(&send).await;
    assert!(status.success(), "{error}");
    let delivery = only_delivery(&daemon, "pending").await;
    let due = between(&delivery["created"], &delivery["due"]);
    assert_eq!(due, SignedDuration::from_mins(10));
    let (status, _, error) =
        house.run(&["send", "--type", "x", "--after", "soon", "--url", daemon.url()]).await;
    assert!(!status.success() && error.contains("soon"), "{error}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_subject_one_is_sent_at_a_time_and_in_order() {
    let (receiver, answered) = Receiver::holding().await;
    let house = hooked(&receiver, "ordered_by = \"subject\"");
    let daemon = house.start().await;
    for (subject, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 1)] {
        let content = format!("{subject}{number}");
        daemon.enqueue(&json!({"type": "x", "subject": subject, "content_text": content})).await;
    }
    receiver.until(2, PATIENCE).await;
    let (_, pending) = daemon.get("/v1/deliveries?state=pending").await;
    let waiting = pending["items"].as_array().unwrap();
    assert!(waiting.len() == 2 && waiting.iter().all(|d| d["waiting"] == true), "{pending:#}");
    assert!(waiting.iter().all(|delivery| delivery["order_key"] == "a"), "{pending:#}");
    let sent = |count: usize| {
        answered.send(count).unwrap();
        let receiver = receiver.clone();
        async move { receiver.until((count + 1).min(4), PATIENCE).await }
    };
    for count in 2..=4 {
        sent(count).await;
    }
    daemon.until_empty().await;
    let bodies: Vec<String> = receiver.received().iter().map(|request| request.text()).collect();
    let of_a: Vec<&String> = bodies.iter().filter(|body| body.starts_with('a')).collect();
    assert_eq!(of_a, ["a1", "a2", "a3"]);
    assert_eq!(bodies.len(), 4);
    assert!(daemon.stop().await.success());
}

/// An ordered destination goes on behind a notification that its receiver will never take.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_one_is_skipped_and_its_successor_says_so() {
    let receiver = Receiver::start(answer("400 Bad Request", "", "")).await;
    let house = hooked(&receiver, "ordered_by = \"subject\"");
    let daemon = house.start().await;
    for _ in 0..2 {
        daemon.enqueue(&json!({"type": "x", "subject": "a"})).await;
    }
    let dead = daemon.until("/v1/deliveries?state=dead", |dead| dead["items"][1].is_object()).await;
    assert_eq!(dead["items"][1]["cause"], "rejected");
    assert!(daemon.stop().await.success());
}
