use postrider_tests::daemon::PATIENCE;
use postrider_tests::receiver::{Receiver, answer};
use serde_json::json;

use crate::{hook, hooked};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn a_signed_request_verifies_with_the_public_library() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "[secrets]\nsigning = { file = 'key' }");
    std::fs::write(house.path().join("key"), format!("{SECRET}\n")).unwrap();
    let daemon = house.start().await;
    let id = daemon.enqueue(&json!({"type": "alert.firing", "content": {"disk": "full"}})).await;
    receiver.ids(1, PATIENCE).await;
    let request = receiver.received().remove(0);
    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(
        (request.header("webhook-id"), request.text().as_str()),
        (Some(id.as_str()), r#"{"disk":"full"}"#)
    );
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.header(name).unwrap().parse().unwrap());
    }
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    verifier.verify(&request.body, &headers).unwrap();
    verifier.verify(b"forged", &headers).unwrap_err();
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_whole_story_is_in_the_api_and_the_commands() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let url = ["--url", daemon.url()];
    std::fs::write(house.path().join("body"), "plain words").unwrap();
    let send = ["send", "--type", "alert.x", "--label", "severity=high", "--key", "k1", "body"];
    let (status, id, error) = house.run(&[&send[..], &url].concat()).await;
    assert!(status.success(), "{error}");
    let id = id.trim();
    let done = daemon
        .until(&format!("/v1/notifications/{id}"), |n| n["deliveries"][0]["state"] == "delivered")
        .await;
    assert_eq!(done["labels"], json!({"severity": "high"}));
    assert_eq!(done["content_text"], "plain words");
    let attempt = &done["deliveries"][0]["history"][0];
    assert_eq!((&attempt["number"], &attempt["outcome"]), (&json!(1), &json!("delivered")));
    assert_eq!(attempt["plugin"].as_str().unwrap().len(), 64);

    let (_, health) = daemon.get("/healthz").await;
    let expected = json!({"essential": false, "healthy": true, "details": {"queue_size": 0}});
    assert_eq!(health, expected);

    let (_, again, _) = house.run(&[&send[..], &url].concat()).await;
    assert_eq!(again.trim(), id, "the same key with the same body is the same notification");
    let other = ["send", "--type", "alert.y", "--key", "k1"];
    let (status, _, error) = house.run(&[&other[..], &url].concat()).await;
    assert!(!status.success() && error.contains("idempotency_key: was used before"), "{error}");

    for list in [
        ["notification", "list"],
        ["delivery", "list"],
        ["plugin", "list"],
        ["destination", "list"],
    ] {
        let (status, text, error) = house.run(&[&list[..], &url].concat()).await;
        assert!(status.success() && text.lines().count() == 2, "{list:?}: {text}{error}");
        let (_, text, _) = house.run(&[&list[..], &url, &["--json"]].concat()).await;
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    }
    let (_, text, _) = house.run(&[&["notification", "show", id][..], &url].concat()).await;
    assert!(text.contains("alert.x") && text.contains("delivered"), "{text}");
    let (status, _, error) =
        house.run(&[&["delivery", "list", "--state", "ded"][..], &url].concat()).await;
    assert!(!status.success() && error.contains("did you mean \"dead\"?"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_refused_delivery_dies_and_its_fallback_takes_over() {
    let (bad, good) =
        (Receiver::start(answer("400 Bad Request", "", "no")).await, Receiver::ok().await);
    let house = hooked(&bad, "");
    house.put("hook.toml", format!("fallback = [\"spare\"]\n{}", hook(&bad, "")));
    house.put("spare.toml", format!("match.type = \"never\"\n{}", hook(&good, "")));
    let daemon = house.start().await;
    let id = daemon.enqueue(&json!({"type": "x", "content_text": "hello"})).await;
    assert_eq!(good.ids(1, PATIENCE).await, std::slice::from_ref(&id));
    let both = daemon
        .until(&format!("/v1/notifications/{id}"), |n| {
            let states: Vec<_> =
                n["deliveries"].as_array().unwrap().iter().map(|d| d["state"].clone()).collect();
            states == ["delivered", "dead"]
        })
        .await;
    let (taker, dead) = (&both["deliveries"][0], &both["deliveries"][1]);
    assert_eq!(dead["cause"], "rejected");
    assert_eq!((&dead["fallback_to"], &taker["fallback_of"]), (&taker["id"], &dead["id"]));
    assert_eq!(bad.received().len(), 1, "rejected is not tried again");
    daemon.stop().await;
}

#[tokio::test]
async fn a_rate_limit_is_honoured_and_burns_no_attempt() {
    let busy = Receiver::start(answer("429 Too Many Requests", "retry-after: 3600\r\n", "")).await;
    let house = hooked(&busy, "policy.attempts = 1");
    let daemon = house.start().await;
    let first = daemon.enqueue(&json!({"type": "x"})).await;
    let waiting = daemon
        .until(&format!("/v1/notifications/{first}"), |n| {
            n["deliveries"][0]["attempts"] == 1 && n["deliveries"][0]["state"] == "pending"
        })
        .await;
    assert!(waiting["deliveries"][0]["reason"].as_str().unwrap().starts_with("429"));
    daemon.enqueue(&json!({"type": "x"})).await;
    daemon.until("/v1/deliveries", |d| d["items"].as_array().unwrap().len() == 2).await;
    assert!(daemon.stop().await.success());
    assert_eq!(busy.received().len(), 1, "the whole destination is held");
}

#[tokio::test]
async fn a_big_notification_arrives_in_parts_in_order() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    house.put_module("parts", "parts");
    house.put("hook.toml", hook(&receiver, "").replace("\"webhook\"", "\"parts\""));
    let daemon = house.start().await;
    let items: Vec<u32> = (1000..1040).collect();
    let id = daemon.enqueue(&json!({"type": "x", "content": items})).await;
    daemon.until_empty().await;
    let requests = receiver.received();
    let joined: Vec<u32> = requests
        .iter()
        .flat_map(|r| serde_json::from_slice::<Vec<u32>>(&r.body).unwrap())
        .collect();
    assert_eq!(joined, items);
    for (index, request) in requests.iter().enumerate() {
        assert_eq!(request.header("webhook-id"), Some(format!("{id}.{index}").as_str()));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn each_start_has_an_identity_of_its_own() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let daemon = house.start().await;
        let id = daemon.enqueue(&json!({"type": "x"})).await;
        let path = format!("/v1/notifications/{id}");
        let done = daemon.until(&path, |n| n["deliveries"][0]["state"] == "delivered").await;
        let host = done["deliveries"][0]["history"][0]["host"].as_str().unwrap().to_owned();
        assert!(daemon.line("ready at").await.contains(&host));
        hosts.push(host);
        daemon.stop().await;
    }
    assert_ne!(hosts[0], hosts[1]);
}

#[tokio::test]
async fn a_web_page_is_kept_out() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let http = postrider_tests::daemon::http();
    let url = format!("{}/v1/notifications", daemon.url());
    for (name, value) in [("origin", "https://evil.example"), ("host", "rebound.example")] {
        let request = http.post(&url).header(name, value).body(r#"{"type":"x"}"#);
        assert_eq!(request.send().await.unwrap().status(), 403);
    }
    daemon.stop().await;
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_redelivered_and_pending_ones_cancelled_by_hand() {
    let refusing = Receiver::start(answer("400 Bad Request", "", "")).await;
    let house = hooked(&refusing, "");
    let daemon = house.start().await;
    let url = ["--url", daemon.url()];
    for _ in 0..3 {
        daemon.enqueue(&json!({"type": "x"})).await;
    }
    daemon
        .until("/v1/deliveries?state=dead", |dead| dead["items"].as_array().unwrap().len() == 3)
        .await;
    let all = ["delivery", "redeliver", "--all", "--destination", "hook", "--json"];
    let (_, counted, error) = house.run(&[&all[..], &["--dry-run"], &url].concat()).await;
    assert!(
        counted.contains("\"found\": 3") && counted.contains("\"done\": 0"),
        "{counted}{error}"
    );

    // The receiver is mended.
    let willing = Receiver::ok().await;
    house.put("hook.toml", hook(&willing, ""));
    let origin = willing.origin();
    daemon.until("/v1/destinations", |all| all["items"][0]["allow"][0] == origin).await;
    let (status, _, error) = house.run(&[&["delivery", "redeliver", "1"][..], &url].concat()).await;
    assert!(status.success(), "{error}");
    let (_, done, error) = house.run(&[&all[..], &url].concat()).await;
    assert!(done.contains("\"done\": 2"), "{done}{error}");
    willing.until(3, PATIENCE).await;
    daemon.until_empty().await;

    let (status, _, error) = house.run(&[&["delivery", "cancel", "1"][..], &url].concat()).await;
    assert!(!status.success() && error.contains("the delivery is delivered"), "{error}");
    daemon.enqueue(&json!({"type": "x", "deliver_after": "1h"})).await;
    let (status, shown, error) =
        house.run(&[&["delivery", "cancel", "4"][..], &url].concat()).await;
    assert!(status.success() && shown.contains("cancelled"), "{shown}{error}");
    assert_eq!(willing.received().len(), 3);
    assert!(daemon.stop().await.success());
}
