//! The API beyond the way of one notification: batches, lists, pauses, tests, events, its own description.

use postrider_tests::daemon::{House, PATIENCE, http};
use postrider_tests::receiver::{Receiver, answer};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::hooked;

async fn told(house: &House, arguments: &[&str]) -> Value {
    let (status, out, error) = house.run(arguments).await;
    assert!(status.success(), "{arguments:?}: {error}");
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_whole_or_not_at_all_and_found_again() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "match.type = 'alert.*'");
    let daemon = house.start().await;
    let wrong = json!([{"type": "alert.a"}, {"type": "alert.b", "labels": {"a": "\u{7}"}}]);
    let (status, problem) = daemon.post("/v1/notifications/batch", wrong.to_string()).await;
    assert_eq!((status, problem["field"].as_str()), (400, Some("[1].labels.a")), "{problem}");
    let batch = json!([
        {"type": "alert.a", "source": "db1", "labels": {"severity": "high"}, "idempotency_key": "k"},
        {"type": "alert.b"},
        {"type": "other"},
        {"type": "alert.c", "idempotency_key": "k"},
    ]);
    let (status, answer) = daemon.post("/v1/notifications/batch", batch.to_string()).await;
    let statuses: Vec<_> =
        answer["items"].as_array().unwrap().iter().map(|i| &i["status"]).collect();
    assert_eq!((status, statuses), (200, vec![&json!(201), &json!(201), &json!(201), &json!(409)]));
    daemon.until_empty().await;
    for (query, expected) in [
        ("type=alert.*", &["alert.b", "alert.a"][..]),
        ("source=db1", &["alert.a"]),
        ("label=severity=high", &["alert.a"]),
        ("state=unrouted", &["other"]),
        ("state=delivered&since=1h", &["alert.b", "alert.a"]),
        ("until=1h", &[]),
    ] {
        let (_, found) = daemon.get(&format!("/v1/notifications?{query}")).await;
        let found: Vec<_> = found["items"].as_array().unwrap().iter().map(|i| &i["type"]).collect();
        assert_eq!(found, expected, "{query}");
    }
    let list = ["notification", "list", "--url", daemon.url(), "--json"];
    let by = ["--type", "alert.*", "--label", "severity=high", "--since", "1h", "--source", "db?"];
    let found = told(&house, &[&list[..], &by].concat()).await;
    assert_eq!((&found["items"][0]["type"], &found["next"]), (&json!("alert.a"), &Value::Null));
    let list = ["delivery", "list", "--url", daemon.url(), "--json", "--notification"];
    let id = found["items"][0]["id"].as_str().unwrap();
    let found = told(&house, &[&list[..], &[id]].concat()).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_destination_waits_also_over_a_restart_until_it_is_resumed() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let url = ["--url", daemon.url(), "--json"];
    let pause = ["destination", "pause", "hook", "--reason", "moving"];
    let paused = told(&house, &[&pause[..], &url].concat()).await;
    assert_eq!(paused["paused"]["reason"], "moving");
    assert_eq!(paused["breaker"], json!({"state": "closed"}), "a pause has no end");
    daemon.enqueue(&json!({"type": "x", "content": 1})).await;
    let tested = ["destination", "test", "hook", "--wait", "0"];
    let (status, out, _) = house.run(&[&tested[..], &url].concat()).await;
    assert!(!status.success() && out.contains("\"pending\""), "{out}");
    let explained = told(&house, &[&["explain", "--type", "x"][..], &url].concat()).await;
    assert_eq!(
        (&explained["items"][0]["goes"], &explained["items"][0]["paused"]),
        (&json!(true), &json!(true))
    );
    assert!(daemon.stop().await.success());

    let daemon = house.start().await;
    let url = ["--url", daemon.url(), "--json"];
    let (_, shown) = daemon.get("/v1/destinations/hook").await;
    assert_eq!(shown["paused"]["reason"], "moving");
    assert!(receiver.received().is_empty(), "nothing was sent while it was paused");
    let resumed = told(&house, &[&["destination", "resume", "hook"][..], &url].concat()).await;
    assert_eq!(resumed["paused"], Value::Null);
    receiver.ids(2, PATIENCE).await;
    let (status, _, error) =
        house.run(&[&["destination", "pause", "hok"][..], &url].concat()).await;
    assert!(status.code() == Some(4) && error.contains("did you mean \"hook\"?"), "{error}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_put_away() {
    let receiver = Receiver::start(answer("400 Bad Request", "", "no")).await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let url = ["--url", daemon.url(), "--json"];
    daemon.enqueue(&json!({"type": "x", "content": 1})).await;
    daemon.until("/v1/deliveries?state=dead", |found| found["items"][0]["state"] == "dead").await;
    let listed = told(&house, &[&["dead", "list"][..], &url].concat()).await;
    assert_eq!(listed["items"][0]["cause"], "rejected");
    let drop = [&["dead", "drop", "--all", "--note", "seen"][..], &url].concat();
    let other = told(&house, &[&drop[..], &["--reason", "another"]].concat()).await;
    assert_eq!(other["found"], 0);
    let reason = listed["items"][0]["reason"].as_str().unwrap();
    let dropped = told(&house, &[&drop[..], &["--reason", reason]].concat()).await;
    assert_eq!(dropped, json!({"found": 1, "done": 1, "content_gone": 0}));
    let (_, audit) = daemon.get("/v1/audit").await;
    assert_eq!(audit["items"][0]["details"]["note"], "seen");
    let (_, left) = daemon.get("/v1/deliveries?state=cancelled").await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_listen_and_those_who_never_read_hurt_nobody() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let url = format!("{}/v1/events", daemon.url());
        silent.push(http().get(url).send().await.unwrap());
    }
    let url = format!("{}/v1/events?event=delivery.delivered", daemon.url());
    let mut reading = http().get(url).send().await.unwrap();
    assert_eq!(reading.headers()["content-type"], "text/event-stream");
    for n in 0..300 {
        daemon.enqueue(&json!({"type": "x", "content": n})).await;
    }
    receiver.ids(300, PATIENCE).await;
    let heard = async {
        // The whole of it: a chunk may end within an event.
        let mut heard = String::new();
        while heard.matches("event: delivery.delivered\n").count() < 300 {
            let bytes = reading.chunk().await.unwrap().expect("the feed goes on");
            heard += std::str::from_utf8(&bytes).unwrap();
        }
    };
    timeout(PATIENCE, heard).await.expect("every delivery is told");
    // A stop waits for none of them.
    assert!(daemon.stop().await.success());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself_and_names_every_request() {
    let house = House::new();
    let daemon = house.start().await;
    let (_, document) = daemon.get("/openapi.json").await;
    for path in
        ["/v1/notifications/batch", "/v1/destinations/{name}/pause", "/v1/explain", "/v1/tokens"]
    {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    assert!(document["paths"].get("/v1/events").is_none(), "it never ends");
    let page = http().get(format!("{}/docs", daemon.url())).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("/v1/destinations/{name}/pause") && !page.contains("<script"), "{page}");
    let url = format!("{}/v1/nothing", daemon.url());
    let answer = http().get(&url).header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    assert_eq!(answer.json::<Value>().await.unwrap()["request_id"], "mine-1");
    let answer = http().get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"].len(), 32);
    let (status, out, _) = house.run(&["completions", "bash"]).await;
    assert!(status.success() && out.contains("complete -F"), "{out}");
    assert!(daemon.stop().await.success());
}
