//! What the daemon tells of itself.

use postrider_tests::daemon::{Daemon, PATIENCE, http};
use postrider_tests::receiver::{Receiver, answer};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::{hook, hooked};

async fn metrics(daemon: &Daemon) -> String {
    let answer = http().get(format!("{}/metrics", daemon.url())).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    answer.text().await.unwrap()
}

/// Asks until a line begins so, and answers its value.
async fn value(daemon: &Daemon, series: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = metrics(daemon).await;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        let value = line.and_then(|rest| rest.trim().parse().ok());
        if let Some(value) = value.filter(|value| wanted(*value)) {
            return value;
        }
        assert!(Instant::now() < until, "{series} stayed {value:?} in\n{text}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_delivery_a_death_and_a_bad_file_are_in_the_metrics() {
    let receiver = Receiver::ok().await;
    let refusing = Receiver::start(answer("400 Bad Request", "", "")).await;
    let house = hooked(&receiver, "match = { type = ['good.*'] }");
    house.put("bad.toml", hook(&refusing, "match = { type = ['bad.*'] }"));
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "good.one"})).await;
    daemon.enqueue(&json!({"type": "bad.one"})).await;
    daemon.until_empty().await;
    let one = |value: f64| value == 1.0;
    value(&daemon, r#"postrider_notifications_total{result="stored",way="api"}"#, |v| v == 2.0)
        .await;
    value(
        &daemon,
        r#"postrider_settlements_total{destination="hook",settlement="delivered"}"#,
        one,
    )
    .await;
    value(&daemon, r#"postrider_deaths_total{cause="rejected",destination="bad"}"#, one).await;
    value(
        &daemon,
        r#"postrider_attempt_duration_seconds_count{destination="hook",outcome="delivered"}"#,
        one,
    )
    .await;
    value(&daemon, r#"postrider_sandbox_memory_bytes_sum{destination="hook"}"#, |v| v > 65_536.0)
        .await;
    value(&daemon, r#"postrider_queue_deliveries{state="dead"}"#, one).await;
    value(&daemon, r#"postrider_module_loads_total{result="good"}"#, one).await;
    house.put("broken.toml", "plugin = 5");
    value(&daemon, r#"postrider_destinations{state="refused"}"#, one).await;
    value(&daemon, r#"postrider_reloads_total{result="refused"}"#, one).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn probes_say_which_generation_is_in_force() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let (status, live) = daemon.get("/livez").await;
    assert_eq!((status, live), (200, json!({"live": true, "stuck": []})));
    let ready = daemon.until("/readyz", |answer| answer["ready"] == true).await;
    let loops = ready["loops"].as_array().unwrap();
    let names: Vec<&str> = loops.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dispatcher", "extender", "reload"]);
    let generation = ready["generation"].as_u64().unwrap();
    house.put("second.toml", hook(&receiver, ""));
    daemon.until("/readyz", |answer| answer["generation"].as_u64() > Some(generation)).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_death_is_told_through_a_destination_that_asks_for_it() {
    let refusing = Receiver::start(answer("400 Bad Request", "", "")).await;
    let ops = Receiver::ok().await;
    let house = hooked(&refusing, "");
    house.put("ops.toml", hook(&ops, "match = { type = ['postrider.*'] }"));
    let daemon = house.start().await;
    let id = daemon.enqueue(&json!({"type": "order.paid"})).await;
    ops.until(1, PATIENCE).await;
    let told: serde_json::Value = serde_json::from_slice(&ops.received()[0].body).unwrap();
    assert_eq!(told["notification"], json!(id));
    assert_eq!((&told["subject"], &told["cause"]), (&json!("hook"), &json!("rejected")));
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("\"hook\" gave up (rejected)"), "{message}");
    daemon.until_empty().await;
    // The refused one and the one about it, and none about that.
    let (_, all) = daemon.get("/v1/notifications").await;
    let kinds: Vec<_> = all["items"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    assert_eq!(kinds, ["postrider.delivery.dead", "order.paid"]);
    let (_, dead) = daemon.get("/v1/deliveries?state=dead").await;
    assert_eq!(dead["items"].as_array().unwrap().len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_breaker_that_opens_is_told_of() {
    let failing = Receiver::start(answer("503 Service Unavailable", "", "")).await;
    let ops = Receiver::ok().await;
    let breaker = "policy = { backoff = ['100ms'], breaker = { failures = 2 } }";
    let house = hooked(&failing, breaker);
    house.put("ops.toml", hook(&ops, "match = { type = ['postrider.destination.*'] }"));
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "order.paid"})).await;
    ops.until(1, PATIENCE).await;
    let told: serde_json::Value = serde_json::from_slice(&ops.received()[0].body).unwrap();
    assert_eq!((&told["subject"], &told["state"]), (&json!("hook"), &json!("open")));
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("\"hook\" is left alone (open): "), "{message}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_death_is_one_line_of_json() {
    let refusing = Receiver::start(answer("400 Bad Request", "", "")).await;
    let house = hooked(&refusing, "");
    let mut command = house.command();
    command.env("POSTRIDER_LOG_FORMAT", "json").args(["serve", "--listen", "127.0.0.1:0"]);
    let daemon = house.start_command(command).await;
    let id = daemon.enqueue(&json!({"type": "order.paid"})).await;
    daemon.line("gave up").await;
    let lines: Vec<serde_json::Value> =
        daemon.log().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = lines.iter().filter(|line| line["notification.id"] == json!(id));
    let [line] = &about.collect::<Vec<_>>()[..] else { panic!("not once:\n{lines:#?}") };
    for (field, value) in [
        ("level", json!("WARN")),
        ("destination.name", json!("hook")),
        ("delivery.id", json!("1")),
        ("attempt.number", json!(1)),
        ("attempt.outcome", json!("rejected")),
        ("delivery.cause", json!("rejected")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(daemon.stop().await.success());
}
