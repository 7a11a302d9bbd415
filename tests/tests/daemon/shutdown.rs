use std::time::Duration;

use postrider_tests::receiver::{Behaviour, Receiver, answer};
use rustix::process::Signal;
use serde_json::json;

use crate::hooked;

#[tokio::test]
async fn both_signals_end_it_with_0_while_deliveries_back_off() {
    let receiver = Receiver::start(answer("503 Service Unavailable", "", "")).await;
    let house = hooked(&receiver, "");
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = house.start().await;
        let id = daemon.enqueue(&json!({"type": "x"})).await;
        daemon
            .until(&format!("/v1/notifications/{id}"), |n| {
                n["deliveries"][0]["attempts"] == 1 && n["deliveries"][0]["state"] == "pending"
            })
            .await;
        daemon.signal(signal);
        assert_eq!(daemon.end().await.code(), Some(0));
    }
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_handed_back_and_delivered_after_a_restart() {
    let hanging = Receiver::start(Behaviour::Hang).await;
    let house = hooked(&hanging, "policy.timeout = \"5m\"");
    std::fs::write(house.path().join("postrider.toml"), "grace = \"200ms\"").unwrap();
    let mut command = house.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "postrider.toml"]);
    let daemon = house.start_command(command).await;
    let id = daemon.enqueue(&json!({"type": "x"})).await;
    hanging.ids(1, Duration::from_secs(30)).await;
    assert_eq!(daemon.stop().await.code(), Some(0));

    let good = Receiver::ok().await;
    house.put("hook.toml", crate::hook(&good, ""));
    let daemon = house.start().await;
    let done = daemon
        .until(&format!("/v1/notifications/{id}"), |n| n["deliveries"][0]["state"] == "delivered")
        .await;
    assert_eq!(done["deliveries"][0]["attempts"], 1, "the release counted nothing");
    daemon.stop().await;
}
