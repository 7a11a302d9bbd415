//! A destination that fails is left alone, tried, and comes back slowly; one that is gone hands over.

use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, House};
use postrider_tests::receiver::{Receiver, text};
use serde_json::{Value, json};

use crate::{hook, hooked};

const PATIENCE: Duration = Duration::from_secs(90);
const FAILURES: usize = 3;
const CONCURRENCY: usize = 4;
const POLICY: &str = "policy = { concurrency = 4, backoff = ['100ms'], \
                      breaker = { failures = 3, wait = '1s', cap = '2s' } }";

fn breaker(destinations: &Value) -> Option<&Value> {
    let items = destinations.get("items")?.as_array()?;
    let hook = items.iter().find(|item| item.get("name") == Some(&"hook".into()))?;
    hook.get("breaker")
}

fn state(destinations: &Value) -> Option<&str> {
    breaker(destinations)?.get("state")?.as_str()
}

fn failed_probes(destinations: &Value) -> u64 {
    let failed = breaker(destinations).and_then(|breaker| breaker.get("failed_probes"));
    failed.and_then(Value::as_u64).unwrap_or(0)
}

async fn until_state(daemon: &Daemon, wanted: &str) -> Value {
    daemon.until("/v1/destinations", |found| state(found) == Some(wanted)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_is_left_alone_and_gets_everything_in_the_end() {
    let (receiver, switch) = Receiver::switching("503 Service Unavailable").await;
    let house = hooked(&receiver, POLICY);
    let daemon = house.start().await;
    let count = 60;
    for _ in 0..count {
        daemon.enqueue(&json!({"type": "x"})).await;
    }
    let probed = daemon.until("/v1/destinations", |found| failed_probes(found) >= 3).await;
    let requests = receiver.received().len();
    let probes = usize::try_from(failed_probes(&probed)).unwrap() + 1;
    // Those that were in flight when it opened have ended, too.
    let most = FAILURES + CONCURRENCY + probes;
    assert!(requests <= most, "{requests} requests, {most} were due");
    let untried = daemon.get("/v1/deliveries?limit=1000").await.1;
    let untried = untried.get("items").and_then(Value::as_array).unwrap().iter();
    let untried = untried.filter(|d| d.get("attempts") == Some(&0.into())).count();
    assert!(untried >= count - most, "{untried} waited without an attempt");
    let (status, listed, _) = house.run(&["destination", "list", "--url", daemon.url()]).await;
    assert!(status.success() && listed.contains("BREAKER.STATE"), "{listed}");

    switch.send(text("200 OK")).unwrap();
    daemon.until_empty().await;
    assert_eq!(receiver.distinct(), count);
    until_state(&daemon, "closed").await;
    daemon.line("works again").await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_a_breaker_and_its_probes() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let (receiver, switch) = Receiver::switching("503 Service Unavailable").await;
    let houses = [hooked(&receiver, POLICY), hooked(&receiver, POLICY)];
    let mut daemons = Vec::new();
    for house in &houses {
        let mut command = house.command();
        command.env("POSTRIDER_DATABASE", cluster.url());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        daemons.push(house.start_command(command).await);
    }
    let count = 60;
    for place in 0..count {
        daemons[place % 2].enqueue(&json!({"type": "x"})).await;
    }
    let probed = daemons[0].until("/v1/destinations", |found| failed_probes(found) >= 3).await;
    let requests = receiver.received().len();
    let probes = usize::try_from(failed_probes(&probed)).unwrap() + 1;
    let most = 2 * (FAILURES + CONCURRENCY) + probes;
    assert!(requests <= most, "{requests} requests, {most} were due");
    let seen = daemons[1].get("/v1/destinations").await.1;
    assert_ne!(state(&seen), Some("closed"), "the other host sees it, too");

    switch.send(text("200 OK")).unwrap();
    for daemon in &daemons {
        daemon.until_empty().await;
        until_state(daemon, "closed").await;
    }
    assert_eq!(receiver.distinct(), count);
    for daemon in daemons {
        assert!(daemon.stop().await.success());
    }
}

fn with_fallback(receiver: &Receiver, fallback: &Receiver, more: &str) -> House {
    let house = hooked(receiver, "match.type = 'x'");
    house.put(
        "hook.toml",
        format!("fallback = ['email']\n{more}{}", hook(receiver, "match.type = 'x'")),
    );
    house.put("email.toml", hook(fallback, "match.type = 'never'"));
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_hands_over_also_after_a_restart_until_a_person_resumes_it() {
    let (receiver, switch) = Receiver::switching("410 Gone").await;
    let fallback = Receiver::ok().await;
    let house = with_fallback(&receiver, &fallback, "");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    until_state(&daemon, "gone").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    fallback.until(2, PATIENCE).await;
    assert!(daemon.stop().await.success());

    let daemon = house.start().await;
    until_state(&daemon, "gone").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    fallback.until(3, PATIENCE).await;
    daemon.until_empty().await;
    assert_eq!(receiver.received().len(), 1, "it was tried once");
    let dead = daemon.get("/v1/deliveries?state=dead&destination=hook").await.1;
    let dead = dead.get("items").and_then(Value::as_array).unwrap();
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().all(|d| d.get("fallback_to").is_some_and(Value::is_number)), "{dead:?}");
    assert!(dead[0].get("reason").unwrap().as_str().unwrap().contains("its destination is gone"));

    switch.send(text("200 OK")).unwrap();
    let resume = ["destination", "resume", "hook", "--json", "--url", daemon.url()];
    let (status, said, complained) = house.run(&resume).await;
    assert!(status.success(), "{complained}");
    assert!(said.contains("\"state\": \"closed\""), "{said}");
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(2, PATIENCE).await;
    let unknown = ["destination", "resume", "hok", "--url", daemon.url()];
    let (status, _, complained) = house.run(&unknown).await;
    assert!(!status.success() && complained.contains("no destination \"hok\""), "{complained}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_resumes_what_is_gone() {
    let (receiver, switch) = Receiver::switching("410 Gone").await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    until_state(&daemon, "gone").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    switch.send(text("200 OK")).unwrap();
    house.put("hook.toml", hook(&receiver, "policy.timeout = '7s'"));
    receiver.until(2, PATIENCE).await;
    until_state(&daemon, "closed").await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_takes_over_what_waits_behind_an_open_breaker() {
    let (receiver, _switch) = Receiver::switching("503 Service Unavailable").await;
    let fallback = Receiver::ok().await;
    let house = with_fallback(&receiver, &fallback, &format!("fallback_after = '2s'\n{POLICY}\n"));
    let daemon = house.start().await;
    let count = 20;
    for _ in 0..count {
        daemon.enqueue(&json!({"type": "x"})).await;
    }
    fallback.until(count, PATIENCE).await;
    daemon.until_empty().await;
    let dead = daemon.get("/v1/deliveries?state=dead&destination=hook").await.1;
    let dead = dead.get("items").and_then(Value::as_array).unwrap();
    assert_eq!(dead.len(), count);
    assert!(dead.iter().all(|d| d.get("cause") == Some(&"diverted".into())), "{dead:?}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_that_speaks_of_the_destination_opens_it_and_kills_nothing() {
    let (receiver, switch) = Receiver::switching("401 Unauthorized").await;
    let policy =
        "policy = { backoff = ['100ms'], breaker = { open_on = [401], wait = '1s', cap = '1s' } }";
    let house = hooked(&receiver, policy);
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    let open = daemon.until("/v1/destinations", |found| failed_probes(found) >= 1).await;
    let reason = breaker(&open).and_then(|breaker| breaker.get("reason")).unwrap();
    assert!(reason.as_str().unwrap().contains("401"), "{reason}");
    switch.send(text("200 OK")).unwrap();
    daemon.until_empty().await;
    let delivered = daemon.get("/v1/deliveries?state=delivered").await.1;
    assert_eq!(delivered["items"].as_array().unwrap().len(), 1, "{delivered}");
    assert!(daemon.stop().await.success());
}
