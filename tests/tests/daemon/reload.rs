use std::time::Duration;

use postrider_tests::daemon::{House, PATIENCE};
use postrider_tests::receiver::Receiver;
use serde_json::json;

use crate::{hook, hooked};

#[tokio::test]
async fn replacing_the_module_under_load_loses_and_doubles_none() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let first = std::fs::read(house.plugins().join("webhook.wasm")).unwrap();
    // The same module with a custom section more: another hash, the same behaviour.
    let mut second = first.clone();
    second.extend([0, 5, 4, b'm', b'a', b'r', b'k']);
    let hash = |plugins: &serde_json::Value| plugins["items"][0]["sha256"].clone();
    let at_first = hash(&daemon.get("/v1/plugins").await.1);
    let mut accepted = Vec::new();
    for batch in 0..10 {
        house.put("webhook.wasm", if batch % 2 == 0 { &second } else { &first });
        for _ in 0..100 {
            accepted.push(daemon.enqueue(&json!({"type": "x", "content": batch})).await);
        }
    }
    let mut ids = receiver.ids(accepted.len(), Duration::from_secs(60)).await;
    daemon.until_empty().await;
    ids.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(ids, accepted, "each once");
    // Looks were taken meanwhile, and still are.
    daemon.until("/v1/plugins", |p| hash(p) == at_first).await;
    house.put("webhook.wasm", &second);
    daemon.until("/v1/plugins", |p| hash(p) != at_first).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_module_dropped_in_later_gets_what_waited_for_it() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    std::fs::remove_file(house.plugins().join("webhook.wasm")).unwrap();
    let daemon = house.start().await;
    daemon.line("no destination is ready; waiting for modules").await;
    let (_, listed) = daemon.get("/v1/destinations").await;
    assert_eq!(listed["items"][0]["state"], "parked");
    assert_eq!(
        listed["items"][0]["reason"],
        "plugin \"webhook\" is not in the plugins directory; put webhook.wasm there"
    );
    let id = daemon.enqueue(&json!({"type": "x"})).await;
    house.put_module("webhook", "webhook");
    assert_eq!(receiver.ids(1, PATIENCE).await, [id]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_may_be_called_like_an_action() {
    let receiver = Receiver::ok().await;
    let house = House::new();
    house.put_module("webhook", "reload");
    house.put("hook.toml", hook(&receiver, "").replace("\"webhook\"", "\"reload\""));
    let daemon = house.start().await;
    let id = daemon.enqueue(&json!({"type": "x"})).await;
    assert_eq!(receiver.ids(1, PATIENCE).await, [id]);
    let (status, plugin) = daemon.get("/v1/plugins/reload").await;
    assert_eq!(
        (status, &plugin["name"], &plugin["state"]),
        (200, &json!("reload"), &json!("active"))
    );
    let (status, all) = daemon.post("/v1/plugins/reload", "").await;
    assert_eq!((status, &all["items"][0]["name"]), (200, &json!("reload")));
    let (status, one) = daemon.post("/v1/plugins/reload/reload", "").await;
    assert_eq!((status, &one["name"]), (200, &json!("reload")));
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn broken_files_leave_the_last_good_ones_in_force_even_after_a_restart() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    house.put("webhook.wasm", "not a module");
    house.put("hook.toml", "macth = 1");
    daemon.line("unknown key \"macth\"; did you mean \"match\"?").await;
    daemon.line("plugin \"webhook\"").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.ids(1, PATIENCE).await;
    assert!(daemon.stop().await.success());

    let daemon = house.start().await;
    daemon.line("the last good module is used instead of the broken file").await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.ids(2, PATIENCE).await;
    let (_, plugins) = daemon.get("/v1/plugins").await;
    let states = ["active", "rejected"];
    assert_eq!([&plugins["items"][0]["state"], &plugins["items"][1]["state"]], states);
    let (_, listed) = daemon.get("/v1/destinations").await;
    assert!(listed["items"][0]["problem"].as_str().unwrap().contains("macth"), "{listed}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_bad_neighbour_harms_nobody() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    house.put_module("fixture", "fixture");
    house.put("refusing.toml", "plugin = 'fixture'\nconfig.configure = 'error'");
    house.put("disabled.toml", "plugin = 'fixture'\nconfig.configure = 'no'");
    house.put("trapping.toml", "plugin = 'fixture'\nconfig.do = 'trap'");
    house.put("looping.toml", "plugin = 'fixture'\nconfig.do = 'loop'\npolicy.timeout = '1s'");
    let daemon = house.start().await;
    let (_, listed) = daemon.get("/v1/destinations").await;
    let state = |name: &str| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|d| d["name"] == name).unwrap()["state"].as_str().unwrap().to_owned()
    };
    let states = ["refusing", "disabled", "trapping", "looping", "hook"].map(state);
    assert_eq!(states, ["off", "off", "ready", "ready", "ready"]);
    for _ in 0..20 {
        daemon.enqueue(&json!({"type": "x"})).await;
    }
    receiver.ids(20, PATIENCE).await;
    daemon
        .until("/v1/deliveries?destination=trapping", |d| {
            // Those after the breaker has opened wait without an attempt.
            let mut items = d["items"].as_array().unwrap().iter();
            items.any(|d| d["attempts"].as_u64() >= Some(1) && d["state"] == "pending")
        })
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_rotated_secret_counts_without_a_restart() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    std::fs::write(house.path().join("token"), "one").unwrap();
    let secret =
        "config.headers = { x-token = '{{secret:token}}' }\nsecrets.token = { file = 'token' }";
    house.put("hook.toml", hook(&receiver, secret));
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.ids(1, PATIENCE).await;
    std::fs::write(house.path().join("token"), "two").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let mut sent = 1;
    while receiver.received().last().unwrap().header("x-token") == Some("one") {
        daemon.enqueue(&json!({"type": "x"})).await;
        sent += 1;
        receiver.ids(sent, PATIENCE).await;
    }
    assert_eq!(receiver.received().last().unwrap().header("x-token"), Some("two"));
    assert!(daemon.log().iter().all(|line| !line.contains("two")), "no value in the log");
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_that_is_empty_for_a_moment_does_not_match_everything() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "match.type = \"chat.*\"");
    let daemon = house.start().await;
    let good = std::fs::read(house.plugins().join("hook.toml")).unwrap();
    for mistake in ["", " \n", "plugin = \"webhok\""] {
        house.put("hook.toml", mistake);
        daemon.until("/v1/destinations", |d| !d["items"][0]["problem"].is_null()).await;
        let (_, answer) = daemon.post("/v1/notifications", r#"{"type":"secret.other"}"#).await;
        assert_eq!(answer["deliveries"], 0, "{mistake:?} widened the match");
        house.put("hook.toml", &good);
        daemon.until("/v1/destinations", |d| d["items"][0]["problem"].is_null()).await;
    }
    let id = daemon.enqueue(&json!({"type": "chat.hello"})).await;
    assert_eq!(receiver.ids(1, PATIENCE).await, [id]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_module_without_a_destination_gets_nothing() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    house.put("stray.wasm", "not a module");
    let daemon = house.start().await;
    let (_, answer) = daemon.post("/v1/notifications", r#"{"type":"x"}"#).await;
    assert_eq!(answer["deliveries"], 1);
    let (_, plugins) = daemon.get("/v1/plugins").await;
    assert_eq!(
        (&plugins["items"][0]["name"], &plugins["items"][0]["state"]),
        (&json!("stray"), &json!("rejected"))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_config_that_is_refused_after_a_restart_leaves_the_last_bound_one_in_force() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    assert!(house.start().await.stop().await.success());
    house.put("hook.toml", "plugin = \"webhook\"\nconfig.url = \"ftp://nowhere\"");
    for _ in 0..2 {
        let daemon = house.start().await;
        let (_, listed) = daemon.get("/v1/destinations").await;
        assert_eq!(listed["items"][0]["state"], "ready", "{listed}");
        assert!(listed["items"][0]["problem"].as_str().unwrap().contains("configure"), "{listed}");
        daemon.enqueue(&json!({"type": "x"})).await;
        daemon.until_empty().await;
        assert!(daemon.stop().await.success());
    }
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_configure_that_never_ends_is_cut_off_and_harms_nobody() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    assert!(house.start().await.stop().await.success());
    house.put_module("fixture", "fixture");
    house.put("stuck.toml", "plugin = 'fixture'\nconfig.configure = 'loop'");
    let daemon = house.start().await;
    let id = daemon.enqueue(&json!({"type": "x"})).await;
    assert_eq!(receiver.ids(1, PATIENCE).await, [id]);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_loop_of_fallbacks_is_refused_and_an_unknown_one_is_said() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    house.put("hook.toml", format!("fallback = [\"ghost\"]\n{}", hook(&receiver, "")));
    house.put("a.toml", "plugin = \"webhook\"\nfallback = [\"b\"]");
    house.put("b.toml", "plugin = \"webhook\"\nfallback = [\"a\"]");
    let daemon = house.start().await;
    daemon.line("fallback: a -> b -> a is a loop").await;
    let (_, listed) = daemon.get("/v1/destinations").await;
    let hook = listed["items"].as_array().unwrap().iter().find(|d| d["name"] == "hook").unwrap();
    assert_eq!(hook["problem"], "fallback \"ghost\" is not a destination");
    assert_eq!(hook["state"], "ready");
    daemon.stop().await;
}
