//! New versions of a module: taken back where they fail by themselves, and only there.

use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::core_module::{looping_module, marked, trapping_module};
use postrider_tests::daemon::{Daemon, House, PATIENCE};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::{hook, hooked};

/// One attempt is all there is: whatever a trial costs kills.
const ONE_ATTEMPT: &str = "policy.attempts = 1";

/// The hash of the module that is in force for `webhook`.
async fn in_force(daemon: &Daemon) -> String {
    let plugin = daemon.until("/v1/plugins/webhook", |plugin| plugin["state"] == "active").await;
    plugin["sha256"].as_str().unwrap().to_owned()
}

/// Delivers one and waits until every host may know that its module works.
async fn prove(daemon: &Daemon, receiver: &Receiver) -> String {
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(1, PATIENCE).await;
    let worked = |plugin: &Value| plugin["versions"][0]["worked"] == true;
    daemon.until("/v1/plugins/webhook", worked).await;
    in_force(daemon).await
}

/// Puts a module in the place of `webhook` and waits until it is in force.
async fn replace(house: &House, daemon: &Daemon, module: &[u8]) -> String {
    let before = in_force(daemon).await;
    house.put("webhook.wasm", module);
    let new = |plugin: &Value| plugin["state"] == "active" && plugin["sha256"] != before.as_str();
    daemon.until("/v1/plugins/webhook", new).await;
    in_force(daemon).await
}

async fn send(daemon: &Daemon, count: usize) {
    for _ in 0..count {
        daemon.enqueue(&json!({"type": "x"})).await;
    }
}

fn item<'a>(plugins: &'a Value, state: &str) -> Option<&'a Value> {
    let mut items = plugins["items"].as_array().unwrap().iter();
    items.find(|item| item["name"] == "webhook" && item["state"] == state)
}

#[tokio::test]
async fn a_new_version_that_traps_is_rolled_back_for_good_and_nothing_is_lost() {
    let (receiver, ops) = (Receiver::ok().await, Receiver::ok().await);
    let house = hooked(&receiver, ONE_ATTEMPT);
    house.put_module("webhook", "teller");
    let teller = hook(&ops, "match = { type = ['postrider.plugin.*'] }");
    house.put("ops.toml", teller.replace("\"webhook\"", "\"teller\""));
    let daemon = house.start().await;
    let good = prove(&daemon, &receiver).await;

    let bad = replace(&house, &daemon, &trapping_module()).await;
    send(&daemon, 10).await;
    receiver.until(11, PATIENCE).await;
    daemon.until_empty().await;
    assert_eq!(in_force(&daemon).await, good);
    ops.until(1, PATIENCE).await;
    let told: Value = serde_json::from_slice(&ops.received()[0].body).unwrap();
    assert_eq!((&told["subject"], &told["sha256"]), (&json!("webhook"), &json!(bad)));
    assert_eq!(told["predecessor"], json!(good));
    let (_, all) = daemon.get("/v1/deliveries?destination=hook").await;
    let all = all["items"].as_array().unwrap();
    assert!(all.iter().all(|delivery| delivery["state"] == "delivered"), "{all:?}");

    // A restart changes nothing, though the bad file still lies there.
    assert!(daemon.stop().await.success());
    let daemon = house.start().await;
    send(&daemon, 2).await;
    receiver.until(13, PATIENCE).await;
    let (_, plugins) = daemon.get("/v1/plugins").await;
    assert_eq!(item(&plugins, "active").unwrap()["sha256"], good.as_str());
    let quarantined = item(&plugins, "quarantined").unwrap();
    assert_eq!(quarantined["sha256"], bad.as_str());
    assert!(quarantined["reason"].as_str().unwrap().contains("by its own fault"), "{quarantined}");
    let url = ["--url", daemon.url()];
    let (status, text, error) = house.run(&[&["plugin", "list"][..], &url].concat()).await;
    assert!(status.success() && text.contains("quarantined"), "{text}{error}");

    // Released, it is tried anew, and fails anew.
    let release = ["plugin", "release", "webhook", "--json"];
    let (status, text, error) = house.run(&[&release[..], &url].concat()).await;
    assert!(status.success(), "{error}");
    let released: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(released["sha256"], bad.as_str(), "{released}");
    send(&daemon, 5).await;
    receiver.until(18, PATIENCE).await;
    daemon.until_empty().await;
    assert_eq!(in_force(&daemon).await, good);
    let (_, audit) = daemon.get("/v1/audit").await;
    assert_eq!(audit["items"][0]["action"], "plugin.release");
    let (status, refused) = daemon.post("/v1/plugins/webook/release", "").await;
    assert_eq!(status, 409, "{refused}");
    let (status, refused) = daemon.get("/v1/plugins/webook").await;
    assert_eq!(status, 404);
    assert!(refused["detail"].as_str().unwrap().contains("did you mean \"webhook\"?"), "{refused}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_new_version_that_computes_for_ever_is_rolled_back_however_many_run_at_once() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "policy = { attempts = 1, timeout = '2s' }");
    let daemon = house.start().await;
    let good = prove(&daemon, &receiver).await;
    replace(&house, &daemon, &looping_module()).await;
    // Together they leave each of them a fraction of its time.
    send(&daemon, 8).await;
    receiver.until(9, PATIENCE).await;
    assert_eq!(in_force(&daemon).await, good);
    let (_, attempts) = daemon.get("/v1/deliveries?destination=hook").await;
    assert!(attempts["items"][0]["attempts"].as_u64() >= Some(2), "{attempts}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_new_version_whose_receiver_is_down_stays_until_somebody_rolls_it_back() {
    let (receiver, answered) = Receiver::holding().await;
    answered.send(1).unwrap();
    let house =
        hooked(&receiver, "policy = { timeout = '1s', backoff = ['200ms'], breaker = false }");
    let daemon = house.start().await;
    let good = prove(&daemon, &receiver).await;
    let module = std::fs::read(house.plugins().join("webhook.wasm")).unwrap();
    let new = replace(&house, &daemon, &marked(&module, "two")).await;
    send(&daemon, 5).await;
    let timed_out = |deliveries: &Value| {
        let items = deliveries["items"].as_array().unwrap().iter();
        let waiting = items.filter(|delivery| delivery["state"] != "delivered");
        waiting.filter(|delivery| delivery["attempts"].as_u64() >= Some(1)).count() == 5
    };
    daemon.until("/v1/deliveries", timed_out).await;
    // No answer within the timeout, five times: not the module's fault.
    assert_eq!(in_force(&daemon).await, new);
    answered.send(usize::MAX).unwrap();
    daemon.until_empty().await;
    let worked = |plugin: &Value| plugin["versions"][0]["worked"] == true;
    daemon.until("/v1/plugins/webhook", worked).await;
    assert_eq!(in_force(&daemon).await, new);

    let body = json!({"reason": "too chatty"}).to_string();
    let (status, back) = daemon.post("/v1/plugins/webhook/rollback", body).await;
    assert_eq!((status, &back["sha256"]), (200, &json!(good)), "{back}");
    let states: Vec<_> = back["versions"].as_array().unwrap().iter().map(|v| &v["state"]).collect();
    assert_eq!(states, ["quarantined", "active"]);
    assert!(back["versions"][0]["reason"].as_str().unwrap().contains("too chatty"), "{back}");
    let (status, refused) = daemon.post("/v1/plugins/webhook/rollback", "").await;
    assert_eq!(status, 409, "there is nothing before it: {refused}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_host_rolled_back_no_other_host_takes() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let receiver = Receiver::ok().await;
    let houses = [hooked(&receiver, ONE_ATTEMPT), hooked(&receiver, ONE_ATTEMPT)];
    let start = async |house: &House| {
        let mut command = house.command();
        command.env("POSTRIDER_DATABASE", cluster.url()).args(["serve", "--listen", "127.0.0.1:0"]);
        house.start_command(command).await
    };
    let first = start(&houses[0]).await;
    let good = prove(&first, &receiver).await;
    let second = start(&houses[1]).await;
    let bad = replace(&houses[1], &second, &trapping_module()).await;
    // What a host stores it takes itself while it has slots; what the second one cannot do is done.
    let quarantined = async {
        let mut sent = 1;
        while item(&first.get("/v1/plugins").await.1, "quarantined").is_none() {
            send(&second, 5).await;
            sent += 5;
            receiver.until(sent, PATIENCE).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), quarantined).await.unwrap();
    second.until("/v1/plugins/webhook", |plugin| plugin["sha256"] == good.as_str()).await;
    // The first one never had it, and does not take it now.
    houses[0].put("webhook.wasm", trapping_module());
    let line = first.line("is quarantined: it failed").await;
    assert!(line.contains(&bad[..12]), "{line}");
    assert_eq!(in_force(&first).await, good);
    first.until_empty().await;
    let (_, dead) = first.get("/v1/deliveries?state=dead").await;
    assert_eq!(dead["items"], json!([]));
    assert!(first.stop().await.success() && second.stop().await.success());
}
